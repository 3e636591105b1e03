/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A console handle: turns the pull interface of a TbxConsoleStream into signals.
 *
 * There is one read under way whenever the console is open and not paused. Reads refer to the
 * console weakly, so that dropping the last reference closes it; writes keep it.
 */
#include "libtenbox/tenbox-internal.h"

#include "libtenbox/wire/wire-error.h"

#define READ_SIZE   (64 * 1024)
#define WRITE_QUEUE (1024 * 1024)

struct _TenboxConsole {
    GObject parent_instance;
    TbxConsoleStream *stream;
    GSource *start; /* nullable: begins the first read */
    gboolean is_paused;
    gboolean is_reading; /* a read is under way */
    gboolean is_closed;  /* the signal was emitted */
    gsize writing;       /* bytes of writes under way */
};

G_DEFINE_FINAL_TYPE(TenboxConsole, tenbox_console, G_TYPE_OBJECT)

enum { SIGNAL_OUTPUT, SIGNAL_CLOSED, SIGNAL_COUNT };

static const char *const signal_names[SIGNAL_COUNT] = {"output", "closed"};

static void read_more(TenboxConsole *self);

static void end(TenboxConsole *self, const GError *error)
{
    if (self->is_closed)
        return;
    self->is_closed = TRUE;
    tbx_console_stream_close(self->stream);
    g_signal_emit_by_name(self, signal_names[SIGNAL_CLOSED], error);
}

static void on_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    GWeakRef *weak = user_data;
    g_autoptr(TenboxConsole) self = g_weak_ref_get(weak);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(result), &error);

    g_weak_ref_clear(weak);
    g_free(weak);
    if (!self)
        return;
    self->is_reading = FALSE;
    if (self->is_closed)
        return;
    if (error || g_bytes_get_size(bytes) == 0) {
        end(self, error);
        return;
    }
    g_signal_emit_by_name(self, signal_names[SIGNAL_OUTPUT], bytes);
    read_more(self);
}

static void read_more(TenboxConsole *self)
{
    if (self->is_reading || self->is_paused || self->is_closed || self->start)
        return;

    GWeakRef *weak = g_new0(GWeakRef, 1);
    g_weak_ref_init(weak, self);
    self->is_reading = TRUE;
    tbx_console_stream_read(self->stream, READ_SIZE, g_task_new(NULL, NULL, on_read, weak));
}

static gboolean on_start(gpointer user_data)
{
    TenboxConsole *self = user_data;

    g_clear_pointer(&self->start, g_source_unref);
    read_more(self);
    return G_SOURCE_REMOVE;
}

static void tenbox_console_dispose(GObject *object)
{
    TenboxConsole *self = TENBOX_CONSOLE(object);

    if (self->start)
        g_source_destroy(self->start);
    g_clear_pointer(&self->start, g_source_unref);
    self->is_closed = TRUE;
    if (self->stream)
        tbx_console_stream_close(self->stream);
    G_OBJECT_CLASS(tenbox_console_parent_class)->dispose(object);
}

static void tenbox_console_finalize(GObject *object)
{
    TenboxConsole *self = TENBOX_CONSOLE(object);

    tbx_console_stream_unref(self->stream);
    G_OBJECT_CLASS(tenbox_console_parent_class)->finalize(object);
}

static void tenbox_console_class_init(TenboxConsoleClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);

    object_class->dispose = tenbox_console_dispose;
    object_class->finalize = tenbox_console_finalize;
    g_signal_new(signal_names[SIGNAL_OUTPUT], TENBOX_TYPE_CONSOLE, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                 NULL, G_TYPE_NONE, 1, G_TYPE_BYTES);
    g_signal_new(signal_names[SIGNAL_CLOSED], TENBOX_TYPE_CONSOLE, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                 NULL, G_TYPE_NONE, 1, G_TYPE_ERROR);
}

static void tenbox_console_init(TenboxConsole *self)
{
}

TenboxConsole *tbx_console_new(TbxConsoleStream *stream)
{
    TenboxConsole *self = g_object_new(TENBOX_TYPE_CONSOLE, NULL);
    g_autoptr(GMainContext) context = g_main_context_ref_thread_default();

    self->stream = stream;
    self->start = g_idle_source_new();
    g_source_set_priority(self->start, G_PRIORITY_DEFAULT);
    g_source_set_callback(self->start, on_start, self, NULL);
    g_source_attach(self->start, context);
    return self;
}

/* ---- writing ------------------------------------------------------------------------------ */

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConsole *self = TENBOX_CONSOLE(source);
    GError *error = NULL;

    self->writing -= GPOINTER_TO_SIZE(g_task_get_task_data(task));
    if (g_task_propagate_boolean(G_TASK(result), &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

void tenbox_console_write_async(TenboxConsole *self, GBytes *bytes, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONSOLE(self) && bytes);

    g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
    gsize size = g_bytes_get_size(bytes);

    g_task_set_source_tag(task, tenbox_console_write_async);
    if (self->is_closed) {
        g_task_return_error(task, tbx_error_new("closed", NULL, "the console is closed"));
    } else if (size == 0) {
        g_task_return_boolean(task, TRUE);
    } else if (self->writing > 0 && size > WRITE_QUEUE - MIN(self->writing, WRITE_QUEUE)) {
        g_task_return_error(task,
                            tbx_error_new("console-busy", NULL,
                                          "more than 1 MiB of input would wait for the guest"));
    } else {
        self->writing += size;
        g_task_set_task_data(task, GSIZE_TO_POINTER(size), NULL);
        tbx_console_stream_write(self->stream, bytes, tbx_task_inner(task, on_written));
    }
}

gboolean tenbox_console_write_finish(TenboxConsole *self, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}

/* ---- the rest ----------------------------------------------------------------------------- */

void tenbox_console_set_paused(TenboxConsole *self, gboolean paused)
{
    g_return_if_fail(TENBOX_IS_CONSOLE(self));

    self->is_paused = paused;
    read_more(self);
}

guint64 tenbox_console_get_skipped(TenboxConsole *self)
{
    g_return_val_if_fail(TENBOX_IS_CONSOLE(self), 0);

    return self->stream->skipped;
}

gboolean tenbox_console_is_closed(TenboxConsole *self)
{
    g_return_val_if_fail(TENBOX_IS_CONSOLE(self), TRUE);

    return self->is_closed;
}

void tenbox_console_close(TenboxConsole *self)
{
    g_return_if_fail(TENBOX_IS_CONSOLE(self));

    g_autoptr(TenboxConsole) keep = g_object_ref(self);
    end(keep, NULL);
}
