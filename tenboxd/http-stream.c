/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One piece after the other; see http-stream.h. The time limit is the front's: while a piece is on its way
 * the connection stands at TBD_PEER_ANSWER.
 */
#include "tenboxd/http-stream.h"

#include <string.h>

#include "libtenbox/wire/source.h"

struct _TbdHttpStream {
    TbdDaemon *daemon;
    GIOStream *connection;
    TbdPeer *peer;
    const TbdHttpStreamHandlers *handlers;
    void (*begun)(TbdHttpStream *stream, gpointer user_data);
    gpointer user_data;
    gboolean is_chunked;

    GString *piece; /* what is on its way */
    char *last;     /* nullable: the end of the answer */
    GSource *leaving;
    GSource *quitting;
    gboolean is_writing;
    gboolean is_ending;  /* nothing more is asked for */
    gboolean is_ended;   /* the end is on its way */
    gboolean is_filling; /* `fill` is on the stack */
    gboolean is_woken;   /* while it was */
    gboolean has_left;
};

/* The last thing that happens to it; nothing is being written. */
static void stream_free(TbdHttpStream *self)
{
    tbx_source_clear(&self->leaving);
    tbx_source_clear(&self->quitting);
    self->handlers->closed(self, self->user_data);
    g_io_stream_close(self->connection, NULL, NULL);
    tbd_peer_unref(self->peer);
    g_object_unref(self->connection);
    g_string_free(self->piece, TRUE);
    g_free(self->last);
    tbd_daemon_unref(self->daemon);
    g_free(self);
}

static void pump(TbdHttpStream *self);

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdHttpStream *self = user_data;
    gboolean is_written =
        g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL);

    self->is_writing = FALSE;
    tbd_peer_set_state(self->peer, TBD_PEER_WORKING);
    if (!is_written && !self->has_left) {
        g_message("a client that does not read its answer lost the connection (slow-consumer)");
    }
    if (!is_written || self->has_left || self->is_ended) {
        stream_free(self);
        return;
    }
    pump(self);
}

/* Makes a chunk of the piece. */
static void frame_piece(TbdHttpStream *self)
{
    g_autofree char *head = NULL;

    if (self->is_chunked && self->piece->len > 0) {
        head = g_strdup_printf("%" G_GSIZE_MODIFIER "x\r\n", self->piece->len);
        g_string_prepend(self->piece, head);
        g_string_append(self->piece, "\r\n");
    }
    if (self->is_chunked && self->is_ended) {
        g_string_append(self->piece, "0\r\n\r\n");
    }
}

/* Asks for the next piece and sends it off. May free @self. */
static void pump(TbdHttpStream *self)
{
    if (self->is_writing || self->is_filling || self->is_ended) {
        return;
    }
    g_string_truncate(self->piece, 0);
    do {
        self->is_woken = FALSE;
        if (!self->is_ending) {
            self->is_filling = TRUE;
            self->handlers->fill(self, self->piece, self->user_data);
            self->is_filling = FALSE;
        }
    } while (self->is_woken && self->piece->len == 0 && !self->is_ending);
    if (self->is_ending) {
        g_string_append(self->piece, self->last != NULL ? self->last : "");
        self->is_ended = TRUE;
    }
    frame_piece(self);
    if (self->piece->len == 0) {
        if (self->is_ended) {
            stream_free(self);
        }
        return;
    }
    self->is_writing = TRUE;
    tbd_peer_set_state(self->peer, TBD_PEER_ANSWER);
    g_output_stream_write_all_async(g_io_stream_get_output_stream(self->connection),
                                    self->piece->str, self->piece->len, G_PRIORITY_DEFAULT, NULL,
                                    on_written, self);
}

void tbd_http_stream_wake(TbdHttpStream *self)
{
    self->is_woken = TRUE;
    pump(self);
}

void tbd_http_stream_end(TbdHttpStream *self, const char *last)
{
    if (self->is_ending) {
        return;
    }
    self->is_ending = TRUE;
    self->last = g_strdup(last);
    pump(self);
}

static gboolean on_left(int fd, GIOCondition condition, gpointer user_data)
{
    TbdHttpStream *self = user_data;

    tbx_source_clear(&self->leaving);
    self->has_left = TRUE;
    self->is_ending = TRUE;
    /* What is being written fails by itself. */
    if (!self->is_writing) {
        stream_free(self);
    }
    return G_SOURCE_REMOVE;
}

static gboolean on_quitting(GCancellable *cancellable, gpointer user_data)
{
    TbdHttpStream *self = user_data;

    tbx_source_clear(&self->quitting);
    if (self->handlers->quitting != NULL) {
        self->handlers->quitting(self, self->user_data);
    } else {
        tbd_http_stream_end(self, NULL);
    }
    return G_SOURCE_REMOVE;
}

/* The head has been written, or the client has gone. */
static void on_upgraded(TbdDaemon *daemon, GIOStream *connection, TbdPeer *peer, gpointer user_data)
{
    TbdHttpStream *self = user_data;

    if (connection == NULL) {
        self->handlers->closed(NULL, self->user_data);
        g_string_free(self->piece, TRUE);
        g_free(self);
        return;
    }
    self->daemon = tbd_daemon_ref(daemon);
    self->connection = g_object_ref(connection);
    self->peer = tbd_peer_ref(peer);
    self->leaving = tbd_peer_watch_leaving(peer, on_left, self);
    self->quitting = g_cancellable_source_new(tbd_daemon_get_quitting(daemon));
    g_source_set_callback(self->quitting, G_SOURCE_FUNC(on_quitting), self, NULL);
    g_source_attach(self->quitting, g_main_context_get_thread_default());
    if (self->begun != NULL) {
        self->begun(self, self->user_data);
    }
    pump(self);
}

void tbd_http_stream_begin(TbdRequest *request, const char *content_type,
                           const TbdHttpStreamHandlers *handlers,
                           void (*begun)(TbdHttpStream *stream, gpointer user_data),
                           gpointer user_data)
{
    TbdHttpStream *self;
    g_autofree char *head = NULL;
    GError *error = NULL;

    if (strcmp(tbd_request_get_method(request), "HEAD") == 0) {
        tbd_request_set_answer_header(request, "Content-Type", content_type);
        tbd_request_reply_empty(request, 200);
        handlers->closed(NULL, user_data);
        return;
    }
    if (tbd_request_get_peer(request) != NULL &&
        !tbd_peer_take_stream(tbd_request_get_peer(request), &error)) {
        tbd_request_fail(request, error);
        handlers->closed(NULL, user_data);
        return;
    }
    self = g_new0(TbdHttpStream, 1);
    self->handlers = handlers;
    self->begun = begun;
    self->user_data = user_data;
    self->piece = g_string_new(NULL);
    self->is_chunked = tbd_request_takes_chunks(request);
    head = tbd_request_print_head(request, content_type, self->is_chunked);
    tbd_request_upgrade(request, 200, head, on_upgraded, self);
}
