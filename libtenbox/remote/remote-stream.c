/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events and consoles over one WebSocket; see remote-stream.h.
 *
 * Whoever wants a channel becomes an Opening: a task, a limit, and the caller's right to withdraw.
 * An opening waits first for the socket, then for the server's `ready`; whatever happens first ends
 * it, once. What lives on is a Console, or the events channel of the stream itself.
 *
 * Back-pressure both ways is the codec's: received bytes are given back as credit when the reader
 * takes them, and writes wait for room. A write completes when the daemon has given credit back for
 * its last byte, which it does when the guest's side took it: closing a console cuts off nothing that
 * was written.
 *
 * Completing a task may run its caller's code at once, and that may do anything: close other consoles,
 * open new ones, drop the whole stream. Each loop that completes tasks therefore looks anew at what is
 * left, and no channel is freed while a console knows it.
 */
#include "libtenbox/remote/remote-stream.h"

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/stream.h"
#include "libtenbox/wire/wire-error.h"

typedef struct _Opening Opening;

struct _TbxRemoteStream {
    grefcount references;
    TbxHttpClient *http;
    TbxEventSink *events;
    gboolean is_destroyed;

    GCancellable *connecting; /* nullable: while the socket is being made */
    GSource *connect_timer;
    gboolean connect_timed_out;
    TbxStream *stream; /* nullable */

    TbxStreamChannel *events_channel; /* nullable */
    GList *openings;                  /* of Opening */
    GList *consoles;                  /* of Console, those with a channel */
};

typedef struct {
    TbxConsoleStream base;
    TbxRemoteStream *owner;    /* a reference */
    TbxStreamChannel *channel; /* NULL before and after its time */
    Opening *opening;          /* nullable */
    char *vm;
    TenboxConsoleFlags flags;

    GQueue input;      /* of GBytes, none empty */
    gboolean is_ended; /* nothing more will be added to input */
    GError *error;     /* nullable: how it ended */
    GTask *read_task;  /* nullable */
    gsize read_maximum;
    GSource *read_withdrawal;
    GQueue output;   /* of Write, not sent or in part */
    GQueue untaken;  /* of Write, sent */
    guint64 written; /* bytes sent so far */
} Console;

typedef struct {
    GTask *task;
    GBytes *bytes;
    gsize sent;
    guint64 end; /* once sent: Console.written behind its last byte */
    GSource *withdrawal;
} Write;

struct _Opening {
    TbxRemoteStream *owner;
    GTask *task;
    Console *console;  /* a reference; NULL for the events */
    char *since;       /* nullable: where the events begin */
    gboolean is_asked; /* subscribed on the present socket */
    GSource *withdrawal;
    GSource *limit;
};

/* Calls @callback when the caller of @task withdraws; NULL when nobody can. */
static GSource *watch_withdrawal(GTask *task, GCancellableSourceFunc callback, gpointer user_data)
{
    if (!g_task_get_cancellable(task))
        return NULL;

    GSource *source = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(source, G_SOURCE_FUNC(callback), user_data, NULL);
    g_source_attach(source, g_task_get_context(task));
    return source;
}

static GError *withdrawn_error(void)
{
    return g_error_new_literal(G_IO_ERROR, G_IO_ERROR_CANCELLED, "the request was withdrawn");
}

static GError *closed_error(void)
{
    return tbx_error_new("closed", NULL, "the connection was closed");
}

static GError *stopped_error(void)
{
    return tbx_error_new("closed", NULL, "the VM has stopped");
}

/* What a channel's end means; NULL = in order. */
static GError *error_of_close(const char *code, const char *detail)
{
    if (!code)
        return NULL;

    const TbxErrorKind *kind = tbx_error_kind_lookup(code);
    GError *error = g_error_new_literal(TENBOX_ERROR, kind ? kind->code : TENBOX_ERROR_FAILED,
                                        detail && detail[0] ? detail
                                        : kind              ? kind->title
                                                            : code);
    tbx_error_set_details(error, code, NULL, NULL);
    return error;
}

/* ---- openings ----------------------------------------------------------------------------- */

/* Takes the opening off its owner and returns its task. */
static GTask *opening_finish(Opening *opening)
{
    GTask *task = opening->task;

    opening->owner->openings = g_list_remove(opening->owner->openings, opening);
    tbx_source_clear(&opening->withdrawal);
    tbx_source_clear(&opening->limit);
    if (opening->console)
        opening->console->opening = NULL;
    g_free(opening->since);
    g_free(opening);
    return task;
}

/* @error: (transfer full) */
static void opening_fail(Opening *opening, GError *error)
{
    TbxRemoteStream *owner = opening->owner;
    Console *console = opening->console;
    g_autoptr(GTask) task = opening_finish(opening);

    if (console) {
        tbx_console_stream_unref(&console->base);
    } else if (owner->events_channel) {
        tbx_stream_channel_close(owner->events_channel, NULL, NULL);
        owner->events_channel = NULL;
    }
    g_task_return_error(task, error);
}

static void opening_succeed(Opening *opening)
{
    Console *console = opening->console;
    g_autoptr(GTask) task = opening_finish(opening);

    if (console)
        g_task_return_pointer(task, &console->base, (GDestroyNotify)tbx_console_stream_unref);
    else
        g_task_return_boolean(task, TRUE);
}

static gboolean on_opening_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    opening_fail(user_data, withdrawn_error());
    return G_SOURCE_REMOVE;
}

static gboolean on_opening_limit(gpointer user_data)
{
    opening_fail(user_data,
                 tbx_error_new("timed-out", NULL, "the daemon did not answer within %d seconds",
                               TBX_HTTP_ANSWER_SECONDS));
    return G_SOURCE_REMOVE;
}

static Opening *find_events_opening(TbxRemoteStream *self)
{
    for (GList *node = self->openings; node; node = node->next) {
        Opening *opening = node->data;
        if (!opening->console)
            return opening;
    }
    return NULL;
}

/* ---- consoles ----------------------------------------------------------------------------- */

static void write_free(Write *write)
{
    tbx_source_clear(&write->withdrawal);
    g_bytes_unref(write->bytes);
    g_object_unref(write->task);
    g_free(write);
}

static void console_read_now(Console *self)
{
    if (!self->read_task || (g_queue_is_empty(&self->input) && !self->is_ended))
        return;

    g_autoptr(GTask) task = g_steal_pointer(&self->read_task);
    tbx_source_clear(&self->read_withdrawal);
    g_autoptr(GBytes) bytes = g_queue_pop_head(&self->input);
    if (!bytes && self->error) {
        g_task_return_error(task, g_error_copy(self->error));
        return;
    }
    if (!bytes)
        bytes = g_bytes_new_static("", 0);
    if (g_bytes_get_size(bytes) > self->read_maximum) {
        gsize rest = g_bytes_get_size(bytes) - self->read_maximum;
        g_queue_push_head(&self->input, g_bytes_new_from_bytes(bytes, self->read_maximum, rest));
        GBytes *first = g_bytes_new_from_bytes(bytes, 0, self->read_maximum);
        g_bytes_unref(bytes);
        bytes = first;
    }
    if (self->channel && g_bytes_get_size(bytes) > 0)
        tbx_stream_channel_consumed(self->channel, g_bytes_get_size(bytes));
    g_task_return_pointer(task, g_steal_pointer(&bytes), (GDestroyNotify)g_bytes_unref);
}

/* Completes what the guest's side has taken. */
static void console_complete_writes(Console *self)
{
    G_GNUC_UNUSED g_autoptr(TbxConsoleStream) keep = tbx_console_stream_ref(&self->base);
    Write *write;

    while (self->channel && (write = g_queue_peek_head(&self->untaken)) &&
           write->end <= self->written - tbx_stream_channel_get_untaken(self->channel)) {
        g_queue_pop_head(&self->untaken);
        g_task_return_boolean(write->task, TRUE);
        write_free(write);
    }
}

static void console_fail_writes(Console *self)
{
    G_GNUC_UNUSED g_autoptr(TbxConsoleStream) keep = tbx_console_stream_ref(&self->base);
    Write *write;

    while ((write = g_queue_pop_head(&self->untaken)) ||
           (write = g_queue_pop_head(&self->output))) {
        g_task_return_error(write->task, self->error ? g_error_copy(self->error) : stopped_error());
        write_free(write);
    }
}

/* Sends what there is room for. */
static void console_write_now(Console *self)
{
    Write *write;

    while ((write = g_queue_peek_head(&self->output))) {
        gsize size;
        const guint8 *data = g_bytes_get_data(write->bytes, &size);
        gsize room = tbx_stream_channel_get_room(self->channel);
        gsize portion = MIN(room, size - write->sent);
        if (portion == 0)
            return;
        tbx_stream_channel_send(self->channel, TBX_STREAM_BYTES, data + write->sent, portion);
        write->sent += portion;
        self->written += portion;
        if (write->sent == size) {
            write->end = self->written;
            g_queue_push_tail(&self->untaken, g_queue_pop_head(&self->output));
        }
    }
}

/* The channel is gone or about to go. @error: (transfer full) (nullable) */
static void console_end(Console *self, GError *error)
{
    G_GNUC_UNUSED g_autoptr(TbxConsoleStream) keep = tbx_console_stream_ref(&self->base);

    self->channel = NULL;
    self->owner->consoles = g_list_remove(self->owner->consoles, self);
    if (self->opening) {
        opening_fail(self->opening,
                     error ? error
                           : tbx_error_new("vm-not-running", NULL, "the console has no output"));
        return;
    }
    if (!self->is_ended) {
        self->is_ended = TRUE;
        self->error = error ? g_steal_pointer(&error) : NULL;
    }
    g_clear_error(&error);
    /* The reader closes the console when it learns, so the writers are told before. */
    console_fail_writes(self);
    console_read_now(self);
}

static void on_console_ready(TbxStreamChannel *channel, gpointer user_data)
{
    Console *self = user_data;

    if (self->opening)
        opening_succeed(self->opening);
}

static void on_console_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                            gsize length, gpointer user_data)
{
    Console *self = user_data;

    if (type != TBX_STREAM_BYTES) {
        tbx_stream_channel_close(channel, "protocol-error", "a console carries bytes");
        console_end(
            self, tbx_error_new("protocol-error", NULL, "the daemon sent a document on a console"));
        return;
    }
    if (self->is_ended)
        return;
    g_queue_push_tail(&self->input, g_bytes_new(data, length));
    console_read_now(self);
}

static void on_console_writable(TbxStreamChannel *channel, gpointer user_data)
{
    console_write_now(user_data);
}

static void on_console_taken(TbxStreamChannel *channel, gpointer user_data)
{
    console_complete_writes(user_data);
}

static void on_console_skipped(TbxStreamChannel *channel, guint64 bytes, gpointer user_data)
{
    Console *self = user_data;

    self->base.skipped += bytes;
}

static void on_console_eof(TbxStreamChannel *channel, gpointer user_data)
{
    Console *self = user_data;

    self->is_ended = TRUE;
    console_read_now(self);
}

static void on_console_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                              gpointer user_data)
{
    console_end(user_data, error_of_close(code, detail));
}

static const TbxStreamChannelHandlers console_handlers = {
    .ready = on_console_ready,
    .data = on_console_data,
    .writable = on_console_writable,
    .taken = on_console_taken,
    .skipped = on_console_skipped,
    .eof = on_console_eof,
    .closed = on_console_closed,
};

static gboolean on_read_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    Console *self = user_data;
    g_autoptr(GTask) task = g_steal_pointer(&self->read_task);

    tbx_source_clear(&self->read_withdrawal);
    g_task_return_error(task, withdrawn_error());
    return G_SOURCE_REMOVE;
}

static void console_read(TbxConsoleStream *base, gsize maximum, GTask *task)
{
    Console *self = (Console *)base;

    if (self->read_task || maximum == 0) {
        g_task_return_error(task, tbx_error_new("internal", NULL, "One read at a time"));
        g_object_unref(task);
        return;
    }
    self->read_task = task;
    self->read_maximum = maximum;
    self->read_withdrawal = watch_withdrawal(task, on_read_withdrawn, self);
    console_read_now(self);
}

static int is_other_task(gconstpointer write, gconstpointer task)
{
    return ((const Write *)write)->task != task;
}

static gboolean on_write_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    GTask *task = user_data;
    Console *self = g_task_get_task_data(task);
    GQueue *queues[] = {&self->output, &self->untaken};

    for (gsize i = 0; i < G_N_ELEMENTS(queues); i++) {
        GList *node = g_queue_find_custom(queues[i], task, is_other_task);
        if (node) {
            Write *write = node->data;
            g_queue_delete_link(queues[i], node);
            g_task_return_error(task, withdrawn_error());
            write_free(write);
            break;
        }
    }
    return G_SOURCE_REMOVE;
}

static void console_write(TbxConsoleStream *base, GBytes *bytes, GTask *task)
{
    Console *self = (Console *)base;

    if (!self->channel) {
        g_task_return_error(task, self->error ? g_error_copy(self->error) : stopped_error());
        g_object_unref(task);
        return;
    }
    if (g_bytes_get_size(bytes) == 0) {
        g_task_return_boolean(task, TRUE);
        g_object_unref(task);
        return;
    }
    Write *write = g_new0(Write, 1);
    write->task = task;
    write->bytes = g_bytes_ref(bytes);
    g_task_set_task_data(task, self, NULL);
    write->withdrawal = watch_withdrawal(task, on_write_withdrawn, task);
    g_queue_push_tail(&self->output, write);
    console_write_now(self);
}

static void console_close(TbxConsoleStream *base)
{
    Console *self = (Console *)base;

    if (self->channel)
        tbx_stream_channel_close(self->channel, NULL, NULL);
    g_queue_clear_full(&self->input, (GDestroyNotify)g_bytes_unref);
    g_clear_error(&self->error);
    self->is_ended = TRUE;
    self->error = tbx_error_new("closed", NULL, "the console was closed");
    console_end(self, NULL);
}

static void console_free(TbxConsoleStream *base)
{
    Console *self = (Console *)base;

    g_queue_clear_full(&self->input, (GDestroyNotify)g_bytes_unref);
    g_clear_error(&self->error);
    g_free(self->vm);
    if (g_ref_count_dec(&self->owner->references))
        g_free(self->owner);
    g_free(self);
}

static const TbxConsoleStreamOps console_ops = {
    .read = console_read,
    .write = console_write,
    .close = console_close,
    .free = console_free,
};

/* ---- events ------------------------------------------------------------------------------- */

/* @error: (transfer full) */
static void events_end(TbxRemoteStream *self, GError *error)
{
    g_autoptr(GError) owned = error;
    Opening *opening = find_events_opening(self);

    self->events_channel = NULL;
    if (opening)
        opening_fail(opening, g_steal_pointer(&owned));
    else
        tbx_event_sink_lost(self->events, owned);
}

static void on_events_ready(TbxStreamChannel *channel, gpointer user_data)
{
    TbxRemoteStream *self = user_data;
    Opening *opening = find_events_opening(self);

    tbx_event_sink_set_position(self->events, tbx_stream_channel_get_position(channel));
    if (opening)
        opening_succeed(opening);
}

static void on_events_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                           gsize length, gpointer user_data)
{
    TbxRemoteStream *self = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = NULL;
    g_autoptr(TbxEventRecord) event = NULL;

    if (type == TBX_STREAM_DOCUMENT)
        object = tbx_json_guard_parse_object((const char *)data, length, &error);
    if (object)
        event = tbx_event_record_from_json(object, &error);
    if (!event) {
        tbx_stream_channel_close(channel, "protocol-error", error ? error->message : NULL);
        events_end(self,
                   tbx_error_new("protocol-error", NULL, "an event of the daemon is not valid: %s",
                                 error ? error->message : "it is no document"));
        return;
    }
    tbx_stream_channel_consumed(channel, length);
    tbx_event_sink_forward(self->events, event);
}

static void on_events_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                             gpointer user_data)
{
    GError *error = error_of_close(code, detail);

    if (!error)
        error = tbx_error_new("daemon-unreachable", NULL, "the daemon ended the events");
    events_end(user_data, error);
}

static const TbxStreamChannelHandlers events_handlers = {
    .ready = on_events_ready,
    .data = on_events_data,
    .closed = on_events_closed,
};

/* ---- the socket --------------------------------------------------------------------------- */

static void subscribe(TbxRemoteStream *self, Opening *opening)
{
    Console *console = opening->console;

    opening->is_asked = TRUE;
    if (!console) {
        g_autoptr(JsonObject) options = json_object_new();
        if (opening->since)
            json_object_set_string_member(options, "since", opening->since);
        self->events_channel = tbx_stream_subscribe(
            self->stream, "events", NULL, opening->since ? options : NULL, &events_handlers, self);
    } else {
        g_autoptr(JsonObject) options = json_object_new();
        json_object_set_boolean_member(options, "replay",
                                       !(console->flags & TENBOX_CONSOLE_FLAGS_NO_REPLAY));
        /* An older daemon knows no other option: only what is wanted is asked for. */
        if (console->flags & TENBOX_CONSOLE_FLAGS_READ_ONLY)
            json_object_set_boolean_member(options, "read_only", TRUE);
        if (console->flags & TENBOX_CONSOLE_FLAGS_WRITER)
            json_object_set_boolean_member(options, "writer", TRUE);
        if (console->flags & TENBOX_CONSOLE_FLAGS_FORCE)
            json_object_set_boolean_member(options, "force", TRUE);
        console->channel = tbx_stream_subscribe(self->stream, "console", console->vm, options,
                                                &console_handlers, console);
        if (console->channel)
            self->consoles = g_list_prepend(self->consoles, console);
    }
    if (console ? !console->channel : !self->events_channel)
        opening_fail(opening, tbx_error_new("unsupported", NULL,
                                            "this connection already has %d consoles open, no more "
                                            "are possible; close one first",
                                            TBX_STREAM_CHANNELS_MAX));
}

/* The oldest opening that waits for a socket. */
static Opening *find_waiting(TbxRemoteStream *self)
{
    for (GList *node = g_list_last(self->openings); node; node = node->prev) {
        Opening *opening = node->data;
        if (!opening->is_asked)
            return opening;
    }
    return NULL;
}

static void connect_socket(TbxRemoteStream *self, GMainContext *context);

/* Sees that the openings that wait for a socket get one. One that is ending is of no use to them:
 * on_stream_closed() comes back here. */
static void serve_waiting(TbxRemoteStream *self)
{
    Opening *opening;

    while ((opening = find_waiting(self))) {
        if (!self->stream && !self->connecting)
            connect_socket(self, g_task_get_context(opening->task));
        if (!self->stream || !tbx_stream_is_open(self->stream))
            return;
        subscribe(self, opening);
    }
}

/* Ends every opening; @error is copied. */
static void fail_openings(TbxRemoteStream *self, const GError *error)
{
    while (self->openings)
        opening_fail(self->openings->data, g_error_copy(error));
}

static void on_stream_closed(TbxStream *stream, const GError *error, gpointer user_data)
{
    TbxRemoteStream *self = user_data;

    /* The channels were told before. */
    g_clear_pointer(&self->stream, tbx_stream_destroy);
    serve_waiting(self);
}

static const TbxStreamHandlers stream_handlers = {.closed = on_stream_closed};

static void stream_unref(TbxRemoteStream *self)
{
    if (g_ref_count_dec(&self->references))
        g_free(self);
}

static void connect_end(TbxRemoteStream *self)
{
    tbx_source_clear(&self->connect_timer);
    g_clear_object(&self->connecting);
}

/* @error: (transfer full) */
static void connect_fail(TbxRemoteStream *self, GError *error)
{
    g_autoptr(GError) own = NULL;

    if (self->connect_timed_out) {
        own = tbx_error_new("timed-out", NULL, "the daemon did not answer within %d seconds",
                            TBX_HTTP_CONNECT_SECONDS);
        g_error_free(error);
    } else {
        own = tbx_http_client_explain(self->http, error);
    }
    fail_openings(self, own);
    connect_end(self);
}

static void on_upgraded(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbxRemoteStream *self = user_data;
    GIOStream *connection = G_IO_STREAM(source);
    GError *error = NULL;

    if (tbx_web_socket_connect_finish(connection, result, &error) && !self->is_destroyed) {
        self->stream = tbx_stream_new(connection, TBX_WEB_SOCKET_CLIENT, &stream_handlers, self);
        if (!self->stream)
            error = tbx_error_new("internal", NULL, "there is no memory for a WebSocket");
    }
    if (self->is_destroyed) {
        g_clear_error(&error);
    } else if (error) {
        connect_fail(self, error);
    } else {
        connect_end(self);
        serve_waiting(self);
    }
    stream_unref(self);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbxRemoteStream *self = user_data;
    GError *error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_finish(G_SOCKET_CLIENT(source), result, &error);

    if (self->is_destroyed) {
        g_clear_error(&error);
        stream_unref(self);
    } else if (!connection) {
        connect_fail(self, error);
        stream_unref(self);
    } else {
        tbx_web_socket_connect_async(G_IO_STREAM(connection), "localhost", "/v1/ws", NULL,
                                     self->connecting, on_upgraded, self);
    }
}

static gboolean on_connect_time_over(gpointer user_data)
{
    TbxRemoteStream *self = user_data;

    self->connect_timed_out = TRUE;
    g_cancellable_cancel(self->connecting);
    return G_SOURCE_REMOVE;
}

static void connect_socket(TbxRemoteStream *self, GMainContext *context)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();

    g_socket_client_set_enable_proxy(client, FALSE);
    self->connecting = g_cancellable_new();
    self->connect_timed_out = FALSE;
    self->connect_timer = g_timeout_source_new_seconds(TBX_HTTP_CONNECT_SECONDS);
    g_source_set_callback(self->connect_timer, on_connect_time_over, self, NULL);
    g_source_attach(self->connect_timer, context);
    g_ref_count_inc(&self->references);
    g_socket_client_connect_async(client, tbx_http_client_get_address(self->http), self->connecting,
                                  on_connected, self);
}

/* ---- from the driver ---------------------------------------------------------------------- */

TbxRemoteStream *tbx_remote_stream_new(TbxHttpClient *http, TbxEventSink *events)
{
    TbxRemoteStream *self = g_new0(TbxRemoteStream, 1);

    g_ref_count_init(&self->references);
    self->http = tbx_http_client_ref(http);
    self->events = tbx_event_sink_ref(events);
    return self;
}

void tbx_remote_stream_destroy(TbxRemoteStream *self)
{
    if (!self)
        return;
    g_autoptr(GError) error = closed_error();

    self->is_destroyed = TRUE;
    if (self->connecting)
        g_cancellable_cancel(self->connecting);
    connect_end(self);
    self->events_channel = NULL;
    for (GList *node = self->consoles; node; node = node->next)
        ((Console *)node->data)->channel = NULL;
    g_clear_pointer(&self->stream, tbx_stream_destroy);
    while (self->consoles)
        console_end(self->consoles->data, g_error_copy(error));
    fail_openings(self, error);
    g_clear_pointer(&self->http, tbx_http_client_unref);
    g_clear_pointer(&self->events, tbx_event_sink_unref);
    stream_unref(self);
}

/* @console: (transfer full) (nullable); @since: (nullable), of the events */
static void open_channel(TbxRemoteStream *self, Console *console, const char *since, GTask *task)
{
    Opening *opening = g_new0(Opening, 1);

    opening->owner = self;
    opening->task = task;
    opening->console = console;
    opening->since = g_strdup(since);
    if (console)
        console->opening = opening;
    opening->withdrawal = watch_withdrawal(task, on_opening_withdrawn, opening);
    opening->limit = g_timeout_source_new_seconds(TBX_HTTP_ANSWER_SECONDS);
    g_source_set_callback(opening->limit, on_opening_limit, opening, NULL);
    g_source_attach(opening->limit, g_task_get_context(task));
    self->openings = g_list_prepend(self->openings, opening);

    serve_waiting(self);
}

void tbx_remote_stream_watch(TbxRemoteStream *self, const char *since, GTask *task)
{
    if (self->events_channel || find_events_opening(self)) {
        g_task_return_error(
            task, tbx_error_new("wrong-state", NULL, "the events are being watched already"));
        g_object_unref(task);
        return;
    }
    open_channel(self, NULL, since, task);
}

void tbx_remote_stream_open_console(TbxRemoteStream *self, const char *vm, TenboxConsoleFlags flags,
                                    GTask *task)
{
    Console *console = g_new0(Console, 1);

    tbx_console_stream_init(&console->base, &console_ops);
    g_ref_count_inc(&self->references);
    console->owner = self;
    console->vm = g_strdup(vm);
    console->flags = flags;
    console->base.is_read_only = (flags & TENBOX_CONSOLE_FLAGS_READ_ONLY) != 0;
    g_queue_init(&console->input);
    g_queue_init(&console->output);
    open_channel(self, console, NULL, task);
}
