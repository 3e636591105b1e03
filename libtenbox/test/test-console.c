/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/test/test-console.h"

#include <string.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define READ_MAX 65536u

struct _TbxTestConsole {
    grefcount references; /* one for the guest, one for each stream */
    GMainContext *home;
    TbxTestScript *script;
    void (*input)(const guint8 *data, gsize length, gpointer user_data); /* nullable */
    gboolean is_over;
    gpointer user_data;
    guint64 credit;
    guint8 *ring;
    guint64 written; /* bytes ever printed */
    TbxConsoleClaim claim;
    GQueue streams;  /* of Stream, not owned */
    GSource *wakeup; /* completes reads from the main loop, never from within a caller */
};

typedef struct {
    TbxConsoleStream base;
    TbxTestConsole *console; /* a reference */
    guint64 position;
    GTask *reading; /* nullable */
    gsize maximum;
    GSource *reading_cancelled;
    GQueue writes; /* of Write */
    GError *fault; /* nullable: what ended it */
} Stream;

typedef struct {
    GTask *task;
    GBytes *bytes;
    gsize sent;
    GSource *cancelled; /* nullable */
    Stream *stream;
} Write;

static GError *closed_error(void)
{
    return tbx_error_new("closed", NULL, "The console is closed: the VM does not run");
}

static void write_free(Write *write)
{
    tbx_source_clear(&write->cancelled);
    g_bytes_unref(write->bytes);
    g_object_unref(write->task);
    g_free(write);
}

void tbx_test_console_unref(TbxTestConsole *self)
{
    if (self == NULL || !g_ref_count_dec(&self->references))
        return;
    tbx_source_clear(&self->wakeup);
    tbx_console_claim_clear(&self->claim);
    tbx_test_script_unref(self->script);
    g_main_context_unref(self->home);
    g_free(self->ring);
    g_free(self);
}

TbxTestConsole *tbx_test_console_new(TbxTestScript *script,
                                     void (*input)(const guint8 *data, gsize length,
                                                   gpointer user_data),
                                     gpointer user_data, guint64 credit)
{
    TbxTestConsole *self = g_new0(TbxTestConsole, 1);

    g_ref_count_init(&self->references);
    self->home = g_main_context_ref_thread_default();
    self->script = tbx_test_script_ref(script);
    self->input = input;
    self->user_data = user_data;
    self->credit = credit;
    self->ring = g_malloc(TBX_TEST_CONSOLE_KEPT);
    return self;
}

/* ---- output ------------------------------------------------------------------------------- */

static guint64 oldest(TbxTestConsole *self)
{
    return self->written > TBX_TEST_CONSOLE_KEPT ? self->written - TBX_TEST_CONSOLE_KEPT : 0;
}

/* (nullable): NULL when there is nothing new. */
static GBytes *take_output(Stream *stream)
{
    TbxTestConsole *console = stream->console;
    guint64 first = MAX(stream->position, oldest(console));
    gsize length = (gsize)MIN(console->written - first, MIN(stream->maximum, READ_MAX));
    guint8 *copy;

    stream->base.skipped += first - stream->position;
    stream->position = first + length;
    if (length == 0)
        return NULL;
    copy = g_malloc(length);
    for (gsize i = 0; i < length; i++)
        copy[i] = console->ring[(first + i) % TBX_TEST_CONSOLE_KEPT];
    return g_bytes_new_take(copy, length);
}

static GTask *take_read(Stream *stream)
{
    tbx_source_clear(&stream->reading_cancelled);
    return g_steal_pointer(&stream->reading);
}

static void serve_read(Stream *stream)
{
    g_autoptr(GTask) task = NULL;
    GBytes *bytes;

    if (stream->reading == NULL)
        return;
    bytes = take_output(stream);
    if (bytes == NULL && !stream->console->is_over)
        return;
    task = take_read(stream);
    g_task_return_pointer(task, bytes != NULL ? bytes : g_bytes_new(NULL, 0),
                          (GDestroyNotify)g_bytes_unref);
}

static gboolean on_wakeup(gpointer user_data)
{
    TbxTestConsole *self = user_data;
    g_autoptr(GPtrArray) streams =
        g_ptr_array_new_with_free_func((GDestroyNotify)tbx_console_stream_unref);

    tbx_source_clear(&self->wakeup);
    /* Callbacks may close streams and the console itself. */
    for (GList *link = self->streams.head; link != NULL; link = link->next)
        g_ptr_array_add(streams, tbx_console_stream_ref(link->data));
    for (guint i = 0; i < streams->len; i++)
        serve_read(g_ptr_array_index(streams, i));
    return G_SOURCE_REMOVE;
}

static void wake_streams(TbxTestConsole *self)
{
    if (self->wakeup == NULL && !g_queue_is_empty(&self->streams))
        self->wakeup = tbx_source_timer(self->home, 0, on_wakeup, self);
}

void tbx_test_console_print(TbxTestConsole *self, const void *data, gsize length)
{
    const guint8 *bytes = data;

    for (gsize i = 0; i < length; i++)
        self->ring[self->written++ % TBX_TEST_CONSOLE_KEPT] = bytes[i];
    wake_streams(self);
}

static gboolean on_read_cancelled(GCancellable *cancellable, gpointer user_data)
{
    g_autoptr(GTask) task = take_read(user_data);

    g_task_return_error_if_cancelled(task);
    return G_SOURCE_REMOVE;
}

/* A source that calls @function once the caller of @task withdraws; NULL when he cannot. */
static GSource *watch_cancellable(TbxTestConsole *self, GTask *task,
                                  GCancellableSourceFunc function, gpointer user_data)
{
    GCancellable *cancellable = g_task_get_cancellable(task);
    GSource *source;

    if (cancellable == NULL)
        return NULL;
    source = g_cancellable_source_new(cancellable);
    g_source_set_callback(source, G_SOURCE_FUNC(function), user_data, NULL);
    g_source_attach(source, self->home);
    return source;
}

static void stream_read(TbxConsoleStream *base, gsize maximum, GTask *task)
{
    Stream *stream = (Stream *)base;
    GError *fault;

    if (stream->fault != NULL)
        fault = g_error_copy(stream->fault);
    else if (stream->reading != NULL || maximum == 0)
        fault = tbx_error_new("internal", NULL, "One read at a time");
    else
        fault = tbx_test_script_take_fault(stream->console->script, "console-read", NULL);
    if (fault != NULL) {
        g_task_return_error(task, fault);
        g_object_unref(task);
        return;
    }
    if (g_task_return_error_if_cancelled(task)) {
        g_object_unref(task);
        return;
    }
    stream->reading = task;
    stream->maximum = maximum;
    stream->reading_cancelled = watch_cancellable(stream->console, task, on_read_cancelled, stream);
    if (!tbx_test_script_hangs(stream->console->script, "console-read"))
        serve_read(stream);
}

/* ---- input -------------------------------------------------------------------------------- */

static gboolean on_write_cancelled(GCancellable *cancellable, gpointer user_data)
{
    Write *write = user_data;

    g_queue_remove(&write->stream->writes, write);
    g_task_return_error_if_cancelled(write->task);
    write_free(write);
    return G_SOURCE_REMOVE;
}

static void stream_write(TbxConsoleStream *base, GBytes *bytes, GTask *task)
{
    Stream *stream = (Stream *)base;
    TbxTestConsole *console = stream->console;
    GError *fault = tbx_test_script_take_fault(console->script, "console-write", NULL);
    gsize length, share;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    Write *write;

    if (fault == NULL && stream->fault != NULL)
        fault = g_error_copy(stream->fault);
    if (fault == NULL && console->is_over)
        fault = closed_error();
    if (fault == NULL && console->input == NULL)
        fault = tbx_error_new("unsupported", NULL, "Nothing can be written to a log");
    if (fault != NULL) {
        g_task_return_error(task, fault);
        g_object_unref(task);
        return;
    }
    share = g_queue_is_empty(&stream->writes) &&
                    !tbx_test_script_hangs(console->script, "console-write")
                ? (gsize)MIN(length, console->credit)
                : 0;
    write = g_new0(Write, 1);
    write->task = task;
    write->bytes = g_bytes_ref(bytes);
    write->stream = stream;
    g_queue_push_tail(&stream->writes, write);
    if (console->credit != G_MAXUINT64)
        console->credit -= share;
    if (share == length) {
        g_queue_remove(&stream->writes, write);
        g_task_return_boolean(write->task, TRUE);
    } else {
        write->cancelled = watch_cancellable(console, task, on_write_cancelled, write);
    }
    /* The guest may switch itself off by what it is told: nothing of the stream is touched after it. */
    if (share > 0)
        console->input(data, share, console->user_data);
    if (share == length)
        write_free(write);
}

/* ---- streams ------------------------------------------------------------------------------ */

/* @error NULL: closed. */
static void fail_writes(GQueue *writes, const GError *error)
{
    Write *write;

    while ((write = g_queue_pop_head(writes)) != NULL) {
        g_task_return_error(write->task, error != NULL ? g_error_copy(error) : closed_error());
        write_free(write);
    }
}

static void stream_close(TbxConsoleStream *base)
{
    Stream *stream = (Stream *)base;
    g_autoptr(GTask) reading = take_read(stream);
    GQueue writes = stream->writes;

    g_queue_init(&stream->writes);
    g_queue_remove(&stream->console->streams, stream);
    if (reading != NULL)
        g_task_return_error(reading, closed_error());
    fail_writes(&writes, NULL);
}

static void stream_fail(TbxConsoleStream *base, const GError *error)
{
    Stream *stream = (Stream *)base;
    g_autoptr(GTask) reading = take_read(stream);
    GQueue writes = stream->writes;

    stream->fault = g_error_copy(error);
    g_queue_init(&stream->writes);
    if (reading != NULL)
        g_task_return_error(reading, g_error_copy(error));
    fail_writes(&writes, error);
}

static void stream_free(TbxConsoleStream *base)
{
    Stream *stream = (Stream *)base;

    g_clear_error(&stream->fault);
    tbx_test_console_unref(stream->console);
    g_free(stream);
}

static const TbxConsoleStreamOps stream_ops = {
    .read = stream_read,
    .write = stream_write,
    .close = stream_close,
    .fail = stream_fail,
    .free = stream_free,
};

TbxConsoleStream *tbx_test_console_open_stream(TbxTestConsole *self, TenboxConsoleFlags flags,
                                               const char *holder, GError **error)
{
    Stream *stream = g_new0(Stream, 1);

    tbx_console_stream_init(&stream->base, &stream_ops);
    g_ref_count_inc(&self->references);
    stream->console = self;
    stream->position = flags & TENBOX_CONSOLE_FLAGS_NO_REPLAY ? self->written : oldest(self);
    g_queue_push_tail(&self->streams, stream);
    if (!tbx_console_claim_open(&self->claim, &stream->base, flags, holder, error)) {
        tbx_console_stream_unref(&stream->base);
        return NULL;
    }
    return &stream->base;
}

/* Where the last @line_count lines begin. */
static guint64 find_lines(TbxTestConsole *self, guint line_count)
{
    guint64 position = self->written;
    guint found = 0;

    for (; position > oldest(self); position--) {
        if (self->ring[(position - 1) % TBX_TEST_CONSOLE_KEPT] == '\n' &&
            position != self->written && ++found >= line_count)
            break;
    }
    return line_count > 0 ? position : self->written;
}

TbxConsoleStream *tbx_test_console_follow(TbxTestConsole *self, gint line_count)
{
    TbxConsoleStream *stream =
        tbx_test_console_open_stream(self, TENBOX_CONSOLE_FLAGS_READ_ONLY, NULL, NULL);

    if (line_count >= 0)
        ((Stream *)stream)->position = find_lines(self, (guint)line_count);
    return stream;
}

char *tbx_test_console_dup_text(TbxTestConsole *self, guint line_count)
{
    guint64 first = line_count > 0 ? find_lines(self, line_count) : oldest(self);
    g_autoptr(GString) text = g_string_sized_new((gsize)(self->written - first));

    for (guint64 i = first; i < self->written; i++)
        g_string_append_c(text, (char)self->ring[i % TBX_TEST_CONSOLE_KEPT]);
    return g_utf8_make_valid(text->str, (gssize)text->len);
}

void tbx_test_console_end(TbxTestConsole *self)
{
    GQueue failed = G_QUEUE_INIT;
    Write *write;

    self->is_over = TRUE;
    for (GList *link = self->streams.head; link != NULL; link = link->next) {
        Stream *stream = link->data;

        while ((write = g_queue_pop_head(&stream->writes)) != NULL)
            g_queue_push_tail(&failed, write);
    }
    wake_streams(self);
    fail_writes(&failed, NULL);
}

void tbx_test_console_close(TbxTestConsole *self)
{
    Stream *stream;

    self->is_over = TRUE;
    while ((stream = g_queue_peek_head(&self->streams)) != NULL) {
        g_autoptr(TbxConsoleStream) keep = tbx_console_stream_ref(&stream->base);

        tbx_console_stream_close(keep);
    }
    tbx_source_clear(&self->wakeup);
}
