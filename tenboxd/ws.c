/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The upgrade, by the rules of RFC 6455 section 4.2, and the dispatch of subscriptions; see ws.h.
 *
 * No extension is negotiated and no subprotocol: libsoup's own WebSocket inflates what a client
 * sends without bound and queues what it does not read.
 */
#include "tenboxd/ws.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-handlers.h"

struct _TbdSessions {
    TbdDaemon *daemon;
    GQueue queue; /* of Session */
};

/* One stream and the connection it counts for. */
typedef struct {
    TbdSessions *sessions;
    GList link;
    TbdPeer *peer;
    TbxStream *stream;
} Session;

/* Channels that are left learn of it: their consoles and listeners must not outlive them. */
static void session_free(Session *session)
{
    g_queue_unlink(&session->sessions->queue, &session->link);
    tbx_stream_abort(session->stream, "shutting-down", "the daemon is shutting down");
    tbd_peer_unref(session->peer);
    g_free(session);
}

/* ---- channels -------------------------------------------------------------------------------- */

void tbd_ws_channel_fail(TbxStreamChannel *channel, const GError *error)
{
    tbx_stream_channel_close(channel, tenbox_error_get_code(error), error->message);
}

gboolean tbd_ws_check_options(TbxStreamChannel *channel, JsonObject *options, const char *known)
{
    g_auto(GStrv) words = g_strsplit(known != NULL ? known : "", "|", -1);
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    json_object_iter_init(&iter, options);
    while (json_object_iter_next(&iter, &name, &node)) {
        g_autoptr(GError) error = NULL;

        if (!g_strv_contains((const char *const *)words, name)) {
            error = tbx_error_new("field-unknown", name, "there is no option \"%s\" here", name);
        } else if (!JSON_NODE_HOLDS_VALUE(node) ||
                   json_node_get_value_type(node) != G_TYPE_BOOLEAN) {
            error = tbx_error_new("field-invalid", name, "%s must be true or false", name);
        }
        if (error != NULL) {
            tbd_ws_channel_fail(channel, error);
            return FALSE;
        }
    }
    return TRUE;
}

static const struct {
    const char *kind;
    gboolean needs_vm;
    void (*open)(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm, JsonObject *options,
                 const TbdActor *actor);
} channels[] = {
    {"console", TRUE, tbd_ws_console_open},
    {"events", FALSE, tbd_ws_events_open},
    {"state", TRUE, tbd_ws_state_open},
};

static void on_subscribe(TbxStream *stream, TbxStreamChannel *channel, const char *kind,
                         const char *vm, JsonObject *options, gpointer user_data)
{
    Session *session = user_data;
    g_autoptr(GError) error = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(channels); i++) {
        if (strcmp(kind, channels[i].kind) != 0) {
            continue;
        }
        if (channels[i].needs_vm == (vm != NULL)) {
            channels[i].open(session->sessions->daemon, channel, vm, options,
                             tbd_peer_get_actor(session->peer));
            return;
        }
        error = tbx_error_new("field-invalid", "vm_id", "the channel %s %s a vm_id", kind,
                              channels[i].needs_vm ? "needs" : "takes no");
        tbd_ws_channel_fail(channel, error);
        return;
    }
    tbx_stream_channel_close(channel, "unsupported", "there is no such channel");
}

static void on_closed(TbxStream *stream, const GError *error, gpointer user_data)
{
    if (g_strcmp0(error != NULL ? tenbox_error_get_code(error) : NULL, "timed-out") == 0) {
        g_message("a client that does not read lost its stream (slow-consumer): %s",
                  error->message);
    } else if (error != NULL) {
        g_debug("stream ended: %s", error->message);
    }
    session_free(user_data);
}

/* ---- the upgrade ----------------------------------------------------------------------------- */

static void on_upgraded(TbdDaemon *daemon, GIOStream *stream, TbdPeer *peer, gpointer user_data)
{
    static const TbxStreamHandlers handlers = {NULL, on_subscribe, on_closed};
    Session *session;

    if (stream == NULL) {
        return;
    }
    if (tbd_daemon_is_quitting(daemon)) {
        g_io_stream_close(stream, NULL, NULL);
        return;
    }
    session = g_new0(Session, 1);

    session->stream = tbx_stream_new(stream, TBX_WEB_SOCKET_SERVER, &handlers, session);
    if (session->stream == NULL) {
        g_free(session);
        return;
    }
    session->sessions = tbd_daemon_get_sessions(daemon);
    session->link.data = session;
    session->peer = tbd_peer_ref(peer);
    g_queue_push_tail_link(&session->sessions->queue, &session->link);
    tbd_ledger_get_counters(tbd_daemon_get_ledger(daemon))->streams++;
}

/* Whether the comma-separated list in header @name has @token. */
static gboolean header_has_token(TbdRequest *request, const char *name, const char *token)
{
    const char *value = tbd_request_get_header(request, name);
    g_auto(GStrv) items = value != NULL ? g_strsplit(value, ",", -1) : NULL;

    for (char **item = items; item != NULL && *item != NULL; item++) {
        if (g_ascii_strcasecmp(g_strstrip(*item), token) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

void tbd_ws_open(TbdRequest *request)
{
    const char *version = tbd_request_get_header(request, "Sec-WebSocket-Version");
    const char *key = tbd_request_get_header(request, "Sec-WebSocket-Key");
    g_autofree char *accept = key != NULL ? tbx_web_socket_accept_key(key) : NULL;
    g_autofree char *head = NULL;
    TbdPeer *peer = tbd_request_get_peer(request);
    const char *wrong = NULL;
    GError *error = NULL;

    if (strcmp(tbd_request_get_method(request), "GET") != 0) {
        tbd_request_fail(request, tbx_error_new("request-invalid", NULL,
                                                "a WebSocket is asked for by GET, not by %s",
                                                tbd_request_get_method(request)));
        return;
    }
    if (!header_has_token(request, "Upgrade", "websocket")) {
        wrong = "Upgrade";
    } else if (!header_has_token(request, "Connection", "upgrade")) {
        wrong = "Connection";
    } else if (g_strcmp0(version, "13") != 0) {
        wrong = "Sec-WebSocket-Version";
    } else if (accept == NULL) {
        wrong = "Sec-WebSocket-Key";
    }
    if (wrong != NULL) {
        tbd_request_set_answer_header(request, "Sec-WebSocket-Version", "13");
        tbd_request_fail(
            request, tbx_error_new("request-invalid", wrong,
                                   "this is for a WebSocket, and %s does not ask for one", wrong));
        return;
    }
    if (peer != NULL && !tbd_peer_take_stream(peer, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    head = g_strdup_printf("HTTP/1.1 101 Switching Protocols\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\n\r\n",
                           accept);
    tbd_request_upgrade(request, 101, head, on_upgraded, NULL);
}

/* ---- all of them ----------------------------------------------------------------------------- */

TbdSessions *tbd_sessions_new(TbdDaemon *daemon)
{
    TbdSessions *self = g_new0(TbdSessions, 1);

    self->daemon = daemon;
    g_queue_init(&self->queue);
    return self;
}

void tbd_sessions_close(TbdSessions *self)
{
    for (GList *link = self->queue.head; link != NULL; link = link->next) {
        tbx_stream_close(((Session *)link->data)->stream, "shutting-down",
                         "the daemon is shutting down");
    }
}

guint tbd_sessions_get_count(TbdSessions *self)
{
    return self->queue.length;
}

guint tbd_sessions_get_channel_count(TbdSessions *self)
{
    guint count = 0;

    for (GList *link = self->queue.head; link != NULL; link = link->next) {
        count += tbx_stream_get_channel_count(((Session *)link->data)->stream);
    }
    return count;
}

void tbd_sessions_destroy(TbdSessions *self)
{
    if (self == NULL) {
        return;
    }
    while (self->queue.head != NULL) {
        session_free(self->queue.head->data);
    }
    g_free(self);
}
