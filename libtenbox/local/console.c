/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/console.h"

#include <string.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

/* The largest piece that a read returns, whatever it asks for. */
#define READ_MAX   65536u
/* How often a read looks at the ring: a finished ring, the next one and a writer that overtakes need less;
 * a hostile one overtakes forever. */
#define READ_TURNS 4

struct _TbxConsole {
    grefcount references; /* one for the owner, one for each stream */
    GMainContext *home;
    void (*send)(const guint8 *data, gsize length, gpointer user_data); /* NULL once closed */
    gpointer user_data;
    TbxConsoleRing *ring; /* nullable; kept while streams wait for the next */
    gboolean is_live;     /* a process writes to @ring */
    gboolean is_connected;
    guint32 credit;
    TbxConsoleClaim claim;
    GQueue streams;  /* of Stream; the head has the next turn */
    GSource *wakeup; /* completes reads from the main loop, never from within a caller */
};

typedef struct {
    TbxConsoleStream base;
    TbxLocalConsole *console; /* a reference */
    TbxConsoleRing *ring;     /* what is being read */
    guint64 position;
    gboolean is_ended; /* @ring is the last one, and nobody takes input any more */
    GTask *reading;    /* nullable */
    gsize maximum;
    GSource *reading_cancelled;
    GQueue writes; /* of Write */
    GError *fault; /* nullable: what ended it */
} Stream;

typedef struct {
    GTask *task;
    GBytes *bytes;
    gsize sent;
} Write;

static void console_unref(TbxLocalConsole *self)
{
    if (!g_ref_count_dec(&self->references))
        return;
    tbx_source_clear(&self->wakeup);
    tbx_console_claim_clear(&self->claim);
    tbx_console_ring_unref(self->ring);
    g_main_context_unref(self->home);
    g_free(self);
}

static void write_free(Write *write)
{
    g_bytes_unref(write->bytes);
    g_object_unref(write->task);
    g_free(write);
}

static GError *closed_error(void)
{
    return tbx_error_new("closed", NULL, "The console is closed: the VM does not run");
}

/* ---- output ------------------------------------------------------------------------------- */

/* Takes the read out of @stream; the caller completes and drops it. */
static GTask *take_read(Stream *stream)
{
    tbx_source_clear(&stream->reading_cancelled);
    return g_steal_pointer(&stream->reading);
}

static void wake_streams(TbxLocalConsole *self);

/* Bytes for @stream, NULL when there are none now. */
static GBytes *read_ring(Stream *stream, gsize maximum)
{
    TbxLocalConsole *console = stream->console;
    gsize size = MIN(maximum, READ_MAX);
    g_autofree guint8 *buffer = g_malloc(size);

    for (guint turn = 0; turn < READ_TURNS; turn++) {
        guint64 lost;
        gsize length = tbx_console_ring_read(stream->ring, &stream->position, buffer, size, &lost);

        stream->base.skipped += lost;
        if (length > 0)
            return g_bytes_new_take(g_steal_pointer(&buffer), length);
        if (lost > 0)
            continue;
        if (stream->is_ended || console->ring == NULL || console->ring == stream->ring)
            return NULL;
        /* The old ring is finished, there is a new one. */
        tbx_console_ring_unref(stream->ring);
        stream->ring = tbx_console_ring_ref(console->ring);
        stream->position = 0;
    }
    /* Everybody else first. */
    wake_streams(console);
    return NULL;
}

/* Completes the read that waits, if it can be. */
static void serve_read(Stream *stream)
{
    g_autoptr(GTask) task = NULL;
    GBytes *bytes;

    if (stream->reading == NULL)
        return;
    bytes = read_ring(stream, stream->maximum);
    if (bytes == NULL && !stream->is_ended)
        return;
    task = take_read(stream);
    g_task_return_pointer(task, bytes != NULL ? bytes : g_bytes_new(NULL, 0),
                          (GDestroyNotify)g_bytes_unref);
}

static gboolean on_wakeup(gpointer user_data)
{
    TbxLocalConsole *self = user_data;
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

static void wake_streams(TbxLocalConsole *self)
{
    if (self->wakeup == NULL && !g_queue_is_empty(&self->streams))
        self->wakeup = tbx_source_timer(self->home, 0, on_wakeup, self);
}

static gboolean on_read_cancelled(GCancellable *cancellable, gpointer user_data)
{
    g_autoptr(GTask) task = take_read(user_data);

    g_task_return_error_if_cancelled(task);
    return G_SOURCE_REMOVE;
}

static void stream_read(TbxConsoleStream *base, gsize maximum, GTask *task)
{
    Stream *stream = (Stream *)base;
    GCancellable *cancellable = g_task_get_cancellable(task);

    if (g_task_return_error_if_cancelled(task)) {
        g_object_unref(task);
        return;
    }
    if (stream->fault != NULL || stream->reading != NULL || maximum == 0) {
        g_task_return_error(task, stream->fault != NULL
                                      ? g_error_copy(stream->fault)
                                      : tbx_error_new("internal", NULL, "One read at a time"));
        g_object_unref(task);
        return;
    }
    stream->reading = task;
    stream->maximum = maximum;
    if (cancellable != NULL) {
        stream->reading_cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(stream->reading_cancelled, G_SOURCE_FUNC(on_read_cancelled), stream,
                              NULL);
        g_source_attach(stream->reading_cancelled, stream->console->home);
    }
    serve_read(stream);
}

/* ---- input -------------------------------------------------------------------------------- */

/* Hands over one turn of @stream. Returns a write that is complete, to be returned by the caller. */
static Write *send_share(Stream *stream)
{
    TbxLocalConsole *console = stream->console;
    Write *write = g_queue_peek_head(&stream->writes);
    gsize length;
    const guint8 *data = g_bytes_get_data(write->bytes, &length);
    gsize share = MIN(MIN(length - write->sent, TBX_CONSOLE_SHARE), console->credit);

    if (share > 0) {
        console->send(data + write->sent, share, console->user_data);
        console->credit -= (guint32)share;
        write->sent += share;
    }
    if (write->sent < length)
        return NULL;
    return g_queue_pop_head(&stream->writes);
}

/* The next stream that has something to say, moved behind the others. */
static Stream *next_writer(TbxLocalConsole *self)
{
    for (guint i = 0; i < self->streams.length; i++) {
        Stream *stream = g_queue_pop_head(&self->streams);

        g_queue_push_tail(&self->streams, stream);
        if (!g_queue_is_empty(&stream->writes))
            return stream;
    }
    return NULL;
}

/* Completes what @finished holds; callbacks may do anything. */
static void complete_writes(GQueue *finished)
{
    Write *write;

    while ((write = g_queue_pop_head(finished)) != NULL) {
        if (!g_task_return_error_if_cancelled(write->task))
            g_task_return_boolean(write->task, TRUE);
        write_free(write);
    }
}

static void pump_input(TbxLocalConsole *self)
{
    GQueue finished = G_QUEUE_INIT;
    Stream *stream;

    while (self->is_connected && self->credit > 0 && (stream = next_writer(self)) != NULL) {
        Write *write = g_queue_peek_head(&stream->writes);

        if (g_cancellable_is_cancelled(g_task_get_cancellable(write->task)))
            g_queue_push_tail(&finished, g_queue_pop_head(&stream->writes));
        else if ((write = send_share(stream)) != NULL)
            g_queue_push_tail(&finished, write);
    }
    complete_writes(&finished);
}

/* What is open now ends: it does not go on with the ring of a later start, nor keep others from writing
 * to that. */
static void end_streams(TbxLocalConsole *self)
{
    GQueue failed = G_QUEUE_INIT;
    Write *write;

    tbx_console_claim_clear(&self->claim);
    for (GList *link = self->streams.head; link != NULL; link = link->next) {
        Stream *stream = link->data;

        stream->is_ended = TRUE;
        while ((write = g_queue_pop_head(&stream->writes)) != NULL)
            g_queue_push_tail(&failed, write);
    }
    while ((write = g_queue_pop_head(&failed)) != NULL) {
        g_task_return_error(write->task, closed_error());
        write_free(write);
    }
}

static void stream_write(TbxConsoleStream *base, GBytes *bytes, GTask *task)
{
    Stream *stream = (Stream *)base;
    Write *write;

    if (stream->is_ended || stream->fault != NULL) {
        g_task_return_error(task,
                            stream->fault != NULL ? g_error_copy(stream->fault) : closed_error());
        g_object_unref(task);
        return;
    }
    if (g_bytes_get_size(bytes) == 0) {
        g_task_return_boolean(task, TRUE);
        g_object_unref(task);
        return;
    }
    write = g_new0(Write, 1);
    write->task = task;
    write->bytes = g_bytes_ref(bytes);
    g_queue_push_tail(&stream->writes, write);
    pump_input(stream->console);
}

/* ---- streams ------------------------------------------------------------------------------ */

static void stream_close(TbxConsoleStream *base)
{
    Stream *stream = (Stream *)base;
    g_autoptr(GTask) reading = take_read(stream);
    GQueue writes = stream->writes;
    Write *write;

    g_queue_init(&stream->writes);
    g_queue_remove(&stream->console->streams, stream);
    if (reading != NULL)
        g_task_return_error(reading, closed_error());
    while ((write = g_queue_pop_head(&writes)) != NULL) {
        g_task_return_error(write->task, closed_error());
        write_free(write);
    }
}

/* Others go on; this one is over. */
static void stream_fail(TbxConsoleStream *base, const GError *error)
{
    Stream *stream = (Stream *)base;
    g_autoptr(GTask) reading = take_read(stream);
    GQueue writes = stream->writes;
    Write *write;

    stream->fault = g_error_copy(error);
    g_queue_init(&stream->writes);
    if (reading != NULL)
        g_task_return_error(reading, g_error_copy(error));
    while ((write = g_queue_pop_head(&writes)) != NULL) {
        g_task_return_error(write->task, g_error_copy(error));
        write_free(write);
    }
}

static void stream_free(TbxConsoleStream *base)
{
    Stream *stream = (Stream *)base;

    g_clear_error(&stream->fault);
    tbx_console_ring_unref(stream->ring);
    console_unref(stream->console);
    g_free(stream);
}

static const TbxConsoleStreamOps stream_ops = {
    .read = stream_read,
    .write = stream_write,
    .close = stream_close,
    .fail = stream_fail,
    .free = stream_free,
};

TbxConsoleStream *tbx_local_console_open_stream(TbxLocalConsole *self, TenboxConsoleFlags flags,
                                                const char *holder, GError **error)
{
    Stream *stream;

    if (!self->is_live) {
        tbx_error_set(error, "vm-not-running", NULL, "The VM does not run, so it has no console");
        return NULL;
    }
    stream = g_new0(Stream, 1);
    tbx_console_stream_init(&stream->base, &stream_ops);
    g_ref_count_inc(&self->references);
    stream->console = self;
    stream->ring = tbx_console_ring_ref(self->ring);
    stream->position = flags & TENBOX_CONSOLE_FLAGS_NO_REPLAY
                           ? tbx_console_ring_get_position(self->ring)
                           : tbx_console_ring_get_oldest(self->ring);
    g_queue_push_tail(&self->streams, stream);
    if (!tbx_console_claim_open(&self->claim, &stream->base, flags, holder, error)) {
        tbx_console_stream_unref(&stream->base);
        return NULL;
    }
    return &stream->base;
}

/* ---- the console -------------------------------------------------------------------------- */

TbxLocalConsole *tbx_local_console_new(void (*send)(const guint8 *data, gsize length,
                                                    gpointer user_data),
                                       gpointer user_data)
{
    TbxLocalConsole *self = g_new0(TbxLocalConsole, 1);

    g_ref_count_init(&self->references);
    self->home = g_main_context_ref_thread_default();
    self->send = send;
    self->user_data = user_data;
    return self;
}

void tbx_local_console_close(TbxLocalConsole *self)
{
    Stream *stream;

    if (self == NULL)
        return;
    self->is_live = FALSE;
    self->is_connected = FALSE;
    self->send = NULL;
    while ((stream = g_queue_peek_head(&self->streams)) != NULL) {
        g_autoptr(TbxConsoleStream) keep = tbx_console_stream_ref(&stream->base);

        tbx_console_stream_close(keep);
    }
    tbx_source_clear(&self->wakeup);
    console_unref(self);
}

void tbx_local_console_attach(TbxLocalConsole *self, TbxConsoleRing *ring)
{
    if (self->ring != ring) {
        tbx_console_ring_unref(self->ring);
        self->ring = tbx_console_ring_ref(ring);
    }
    self->is_live = TRUE;
    self->is_connected = TRUE;
    self->credit = RT_CONSOLE_INPUT_CREDIT;
    wake_streams(self);
    pump_input(self);
}

void tbx_local_console_disconnect(TbxLocalConsole *self)
{
    self->is_connected = FALSE;
}

void tbx_local_console_detach(TbxLocalConsole *self, gboolean stays_open)
{
    self->is_live = FALSE;
    self->is_connected = FALSE;
    wake_streams(self);
    if (!stays_open) {
        g_clear_pointer(&self->ring, tbx_console_ring_unref);
        end_streams(self);
    }
}

void tbx_local_console_notify(TbxLocalConsole *self)
{
    wake_streams(self);
}

void tbx_local_console_grant(TbxLocalConsole *self, guint32 bytes)
{
    self->credit = MIN(self->credit + bytes, RT_CONSOLE_INPUT_CREDIT);
    pump_input(self);
}
