/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channel table and the credit accounts over one WebSocket.
 *
 * A channel lives from subscribe until both ends have said close. Between our close and the peer's
 * it stays in the table without an owner, so that its id is not reused while payload for it may
 * still be on its way; such payload is dropped.
 *
 * Both ends run the same code. The few differences - who subscribes, who says ready - are decided
 * by the role where a frame is read; see the table of control frames at the end.
 */
#include "libtenbox/wire/stream.h"

#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* While some of what came is still kept, credit is given back in pieces of this size. */
#define CREDIT_STEP (TBX_STREAM_WINDOW / 4)
#define CREDIT_MAX  G_MAXUINT32
#define NONCE_MAX   64

typedef enum {
    CHANNEL_ASKED,  /* subscribe was sent or received, ready not yet */
    CHANNEL_OPEN,   /* payload may flow */
    CHANNEL_CLOSED, /* we said close; waiting for the peer's */
} ChannelState;

struct _TbxStreamChannel {
    TbxStream *stream;
    guint16 id;
    ChannelState state;
    const TbxStreamChannelHandlers *handlers; /* NULL without an owner */
    gpointer user_data;

    guint64 send_credit;
    guint64 send_untaken; /* sent, and not yet given back by the peer as credit */
    guint32 send_sequence;
    gboolean eof_sent;
    gboolean room_wanted;

    gsize receive_window;   /* what the peer may send while we keep all of it */
    gsize receive_credit;   /* what the peer may still send */
    gsize receive_consumed; /* what the owner is done with and the peer was not yet told */
    guint32 receive_sequence;
    gboolean eof_received;
    GByteArray *partial; /* nullable: the document that goes on in the next frame */
    gsize forgiven; /* of what the owner will say to be done with, given back as credit already */
    char *position; /* nullable: what ready said */
};

struct _TbxStream {
    TbxWebSocket *socket;
    TbxWebSocketRole role;
    const TbxStreamHandlers *handlers;
    gpointer user_data;
    GPtrArray *channels; /* of TbxStreamChannel, owned */
    guint16 last_id;     /* client: the id given last */
    guint next_turn;     /* where the next round of `writable` begins */
    GSource *init_source;
    gboolean init_received;
    gboolean is_closing;
    char *close_code; /* nullable: what channels are told when the socket has closed */
    char *close_detail;

    guint in_use; /* depth of our handlers on the stack: no free meanwhile */
    gboolean is_destroyed;
};

/* ---- life ----------------------------------------------------------------------------------- */

static void stream_hold(TbxStream *stream)
{
    stream->in_use++;
}

static void stream_release(TbxStream *stream)
{
    if (--stream->in_use > 0 || !stream->is_destroyed) {
        return;
    }
    g_ptr_array_unref(stream->channels);
    g_free(stream->close_code);
    g_free(stream->close_detail);
    g_free(stream);
}

static void drop_init_timer(TbxStream *stream)
{
    if (stream->init_source != NULL) {
        g_source_destroy(stream->init_source);
        g_clear_pointer(&stream->init_source, g_source_unref);
    }
}

static void channel_free(gpointer data)
{
    TbxStreamChannel *channel = data;

    g_clear_pointer(&channel->partial, g_byte_array_unref);
    g_free(channel->position);
    g_free(channel);
}

static TbxStreamChannel *channel_find(TbxStream *stream, guint id)
{
    for (guint i = 0; i < stream->channels->len; i++) {
        TbxStreamChannel *channel = stream->channels->pdata[i];

        if (channel->id == id) {
            return channel;
        }
    }
    return NULL;
}

static TbxStreamChannel *channel_add(TbxStream *stream, guint16 id)
{
    TbxStreamChannel *channel = g_new0(TbxStreamChannel, 1);

    channel->stream = stream;
    channel->id = id;
    g_ptr_array_add(stream->channels, channel);
    return channel;
}

static gboolean channel_has_owner(TbxStreamChannel *channel)
{
    return channel->handlers != NULL && !channel->stream->is_destroyed;
}

/* The peer, or the end of the socket, closed it: the last call to its owner. */
static void channel_tell_closed(TbxStreamChannel *channel, const char *code, const char *detail)
{
    const TbxStreamChannelHandlers *handlers = channel->handlers;

    if (channel_has_owner(channel) && handlers->closed != NULL) {
        channel->handlers = NULL;
        handlers->closed(channel, code, detail, channel->user_data);
    }
    channel->handlers = NULL;
    channel->state = CHANNEL_CLOSED;
}

/* ---- control frames out --------------------------------------------------------------------- */

static JsonObject *control_new(const char *type)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "type", type);
    return object;
}

/* Takes @object. */
static void control_send(TbxStream *stream, JsonObject *object)
{
    gsize length;
    g_autofree char *text = tbx_json_print_object(object, &length);

    json_object_unref(object);
    if (stream->socket != NULL) {
        tbx_web_socket_send_text(stream->socket, text, (gssize)length);
    }
}

static void channel_control_send(TbxStreamChannel *channel, const char *type, const char *member,
                                 gint64 value)
{
    JsonObject *object = control_new(type);

    json_object_set_int_member(object, "id", channel->id);
    if (member != NULL) {
        json_object_set_int_member(object, member, value);
    }
    control_send(channel->stream, object);
}

static void close_send(TbxStream *stream, guint id, const char *code, const char *detail)
{
    JsonObject *object = control_new("close");

    json_object_set_int_member(object, "id", id);
    if (code != NULL) {
        json_object_set_string_member(object, "code", code);
    }
    if (detail != NULL) {
        json_object_set_string_member(object, "detail", detail);
    }
    control_send(stream, object);
}

static void init_send(TbxStream *stream)
{
    JsonObject *object = control_new("init");

    json_object_set_int_member(object, "version", TBX_STREAM_VERSION);
    json_object_set_array_member(object, "extensions", json_array_new());
    json_object_set_int_member(object, "max_frame", TBX_WEB_SOCKET_MESSAGE_MAX);
    json_object_set_int_member(object, "window", TBX_STREAM_WINDOW);
    control_send(stream, object);
}

static void keep_close_reason(TbxStream *stream, const char *code, const char *detail)
{
    g_free(stream->close_code);
    g_free(stream->close_detail);
    stream->close_code = g_strdup(code);
    stream->close_detail = g_strdup(detail);
}

/* Our verdict on the peer: the stream is over. */
static void stream_refuse(TbxStream *stream, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void stream_refuse(TbxStream *stream, const char *format, ...)
{
    JsonObject *object;
    va_list arguments;
    g_autofree char *detail = NULL;

    if (stream->is_closing || stream->is_destroyed) {
        return;
    }
    va_start(arguments, format);
    detail = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    object = control_new("error");
    json_object_set_string_member(object, "code", "protocol-error");
    json_object_set_string_member(object, "detail", detail);
    control_send(stream, object);
    stream->is_closing = TRUE;
    keep_close_reason(stream, "protocol-error", detail);
    tbx_web_socket_close(stream->socket, TBX_WEB_SOCKET_POLICY, detail);
}

/* ---- control frames in ---------------------------------------------------------------------- */

/* Members: FALSE when absent or of another type or range. */
static gboolean get_integer(JsonObject *object, const char *name, gint64 minimum, gint64 maximum,
                            gint64 *ret_value)
{
    JsonNode *node = json_object_get_member(object, name);

    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) < minimum ||
        json_node_get_int(node) > maximum) {
        return FALSE;
    }
    *ret_value = json_node_get_int(node);
    return TRUE;
}

/* NULL also when absent; @ret_valid says whether it is absent or a string. */
static const char *get_text(JsonObject *object, const char *name, gboolean *ret_valid)
{
    JsonNode *node = json_object_get_member(object, name);

    *ret_valid = node == NULL ||
                 (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING);
    return node != NULL && *ret_valid ? json_node_get_string(node) : NULL;
}

static void on_init(TbxStream *stream, JsonObject *object)
{
    gint64 version;

    if (stream->init_received) {
        stream_refuse(stream, "init came twice");
        return;
    }
    if (!get_integer(object, "version", 1, G_MAXINT64, &version)) {
        stream_refuse(stream, "init without a version");
        return;
    }
    if (version != TBX_STREAM_VERSION) {
        stream_refuse(stream, "version %" G_GINT64_FORMAT " of the stream is not known here",
                      version);
        return;
    }
    stream->init_received = TRUE;
    drop_init_timer(stream);
    if (stream->handlers->opened != NULL) {
        stream->handlers->opened(stream, stream->user_data);
    }
}

static void on_subscribe(TbxStream *stream, JsonObject *object)
{
    g_autoptr(JsonObject) options = NULL;
    JsonNode *options_node = json_object_get_member(object, "options");
    gboolean kind_valid, vm_valid;
    const char *kind = get_text(object, "channel", &kind_valid);
    const char *vm_id = get_text(object, "vm_id", &vm_valid);
    TbxStreamChannel *channel;
    gint64 id;

    if (stream->role == TBX_WEB_SOCKET_CLIENT) {
        stream_refuse(stream, "a server must not subscribe");
        return;
    }
    if (!get_integer(object, "id", 1, G_MAXUINT16, &id) || kind == NULL || !vm_valid ||
        (options_node != NULL && !JSON_NODE_HOLDS_OBJECT(options_node))) {
        stream_refuse(stream,
                      "subscribe needs an id (1 to 65535), a channel, and vm_id and options "
                      "of the right types");
        return;
    }
    if (channel_find(stream, (guint)id) != NULL) {
        stream_refuse(stream, "id %" G_GINT64_FORMAT " is in use", id);
        return;
    }
    if (stream->channels->len >= TBX_STREAM_CHANNELS_MAX) {
        close_send(stream, (guint)id, "unsupported", "too many channels on one connection");
        return;
    }
    options = options_node != NULL ? json_node_dup_object(options_node) : json_object_new();
    channel = channel_add(stream, (guint16)id);
    stream->handlers->subscribe(stream, channel, kind, vm_id, options, stream->user_data);
}

static void channel_open(TbxStreamChannel *channel, gsize credit)
{
    channel->state = CHANNEL_OPEN;
    channel->send_credit = credit;
    channel->receive_window = credit;
    channel->receive_credit = credit;
}

static void channel_tell_writable(TbxStreamChannel *channel)
{
    if (channel->room_wanted && channel->state == CHANNEL_OPEN && channel_has_owner(channel) &&
        tbx_stream_channel_get_room(channel) > 0) {
        channel->room_wanted = FALSE;
        if (channel->handlers->writable != NULL) {
            channel->handlers->writable(channel, channel->user_data);
        }
    }
}

static void on_ready(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object)
{
    gboolean valid;
    gint64 credit;

    if (stream->role == TBX_WEB_SOCKET_SERVER) {
        stream_refuse(stream, "a client must not say ready");
        return;
    }
    if (!get_integer(object, "credit", 1, CREDIT_MAX, &credit)) {
        stream_refuse(stream, "ready without credit");
        return;
    }
    if (channel->state == CHANNEL_OPEN) {
        stream_refuse(stream, "ready came twice");
        return;
    }
    if (channel->state != CHANNEL_ASKED) {
        return;
    }
    g_free(channel->position);
    channel->position = g_strdup(get_text(object, "position", &valid));
    channel_open(channel, (gsize)credit);
    if (channel_has_owner(channel) && channel->handlers->ready != NULL) {
        channel->handlers->ready(channel, channel->user_data);
    }
    channel_tell_writable(channel);
}

static void on_credit(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object)
{
    gint64 bytes;

    if (!get_integer(object, "bytes", 1, CREDIT_MAX, &bytes) ||
        channel->send_credit + (guint64)bytes > CREDIT_MAX) {
        stream_refuse(stream, "credit for channel %u is out of range", channel->id);
        return;
    }
    if (channel->state == CHANNEL_ASKED) {
        stream_refuse(stream, "credit for channel %u before ready", channel->id);
        return;
    }
    channel->send_credit += (guint64)bytes;
    channel->send_untaken -= MIN(channel->send_untaken, (guint64)bytes);
    if (channel->state == CHANNEL_OPEN && channel_has_owner(channel) &&
        channel->handlers->taken != NULL) {
        channel->handlers->taken(channel, channel->user_data);
    }
    channel_tell_writable(channel);
}

static void on_skipped(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object)
{
    gint64 bytes;

    if (stream->role == TBX_WEB_SOCKET_SERVER ||
        !get_integer(object, "bytes", 1, G_MAXINT64, &bytes)) {
        stream_refuse(stream, "skipped is out of place");
        return;
    }
    if (channel->state == CHANNEL_OPEN && channel_has_owner(channel) &&
        channel->handlers->skipped != NULL) {
        channel->handlers->skipped(channel, (guint64)bytes, channel->user_data);
    }
}

static void on_eof(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object)
{
    if (channel->state == CHANNEL_ASKED || channel->eof_received) {
        stream_refuse(stream, "eof for channel %u is out of place", channel->id);
        return;
    }
    channel->eof_received = TRUE;
    if (channel->state == CHANNEL_OPEN && channel_has_owner(channel) &&
        channel->handlers->eof != NULL) {
        channel->handlers->eof(channel, channel->user_data);
    }
}

static void on_close(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object)
{
    gboolean valid;
    const char *code = get_text(object, "code", &valid);
    const char *detail = get_text(object, "detail", &valid);

    if (channel->state != CHANNEL_CLOSED) {
        close_send(stream, channel->id, NULL, NULL);
        channel_tell_closed(channel, code, detail);
    }
    g_ptr_array_remove(stream->channels, channel);
}

static void on_ping(TbxStream *stream, JsonObject *object)
{
    JsonObject *pong;
    gboolean valid;
    const char *nonce = get_text(object, "nonce", &valid);

    if (!valid || (nonce != NULL && strlen(nonce) > NONCE_MAX)) {
        stream_refuse(stream, "the nonce of a ping is no text of at most %d bytes", NONCE_MAX);
        return;
    }
    pong = control_new("pong");
    if (nonce != NULL) {
        json_object_set_string_member(pong, "nonce", nonce);
    }
    control_send(stream, pong);
}

static void on_error(TbxStream *stream, JsonObject *object)
{
    gboolean valid;
    const char *code = get_text(object, "code", &valid);
    const char *detail = get_text(object, "detail", &valid);

    stream->is_closing = TRUE;
    keep_close_reason(stream, code != NULL ? code : "protocol-error", detail);
    tbx_web_socket_close(stream->socket, TBX_WEB_SOCKET_NORMAL, NULL);
}

/* The control frames: those about the stream, those about one channel. */
static const struct {
    const char *type;
    void (*on_stream)(TbxStream *stream, JsonObject *object);
    void (*on_channel)(TbxStream *stream, TbxStreamChannel *channel, JsonObject *object);
} controls[] = {
    {"init", on_init, NULL},       {"subscribe", on_subscribe, NULL},
    {"ping", on_ping, NULL},       {"error", on_error, NULL},
    {"ready", NULL, on_ready},     {"credit", NULL, on_credit},
    {"skipped", NULL, on_skipped}, {"eof", NULL, on_eof},
    {"close", NULL, on_close},
};

static void dispatch_control(TbxStream *stream, const char *type, JsonObject *object)
{
    TbxStreamChannel *channel;
    gint64 id;

    for (gsize i = 0; i < G_N_ELEMENTS(controls); i++) {
        if (strcmp(type, controls[i].type) != 0) {
            continue;
        }
        if (controls[i].on_stream != NULL) {
            controls[i].on_stream(stream, object);
            return;
        }
        if (!get_integer(object, "id", 1, G_MAXUINT16, &id)) {
            stream_refuse(stream, "%s without an id", type);
            return;
        }
        channel = channel_find(stream, (guint)id);
        if (channel != NULL) {
            controls[i].on_channel(stream, channel, object);
        }
        /* Otherwise about a channel that was refused or is gone: nothing to do. */
        return;
    }
}

static void on_text(TbxWebSocket *socket, const char *text, gsize length, gpointer user_data)
{
    TbxStream *stream = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = NULL;
    const char *type;
    gboolean valid;

    if (stream->is_closing) {
        return;
    }
    stream_hold(stream);
    object = tbx_json_guard_parse_object(text, length, &error);
    type = object != NULL ? get_text(object, "type", &valid) : NULL;
    if (object == NULL) {
        stream_refuse(stream, "control frame: %s", error->message);
    } else if (type == NULL) {
        stream_refuse(stream, "control frame without a type");
    } else if (!stream->init_received && strcmp(type, "init") != 0 && strcmp(type, "error") != 0) {
        stream_refuse(stream, "the first frame must be init");
    } else {
        dispatch_control(stream, type, object);
    }
    stream_release(stream);
}

/* ---- payload in ----------------------------------------------------------------------------- */

/* What is wrong with a payload frame, NULL when nothing is. */
static const char *check_payload(const TbxStreamChannel *channel, guint8 type, guint8 flags,
                                 guint32 sequence, gsize length)
{
    if (type != TBX_STREAM_BYTES && type != TBX_STREAM_DOCUMENT) {
        return "a payload frame of unknown type";
    }
    if (flags != 0 && (flags != TBX_STREAM_FLAG_MORE || type != TBX_STREAM_DOCUMENT)) {
        return "a payload frame with unknown flags";
    }
    if (length == 0) {
        return "a payload frame without payload";
    }
    if (channel == NULL || channel->state == CHANNEL_ASKED) {
        return "payload for a channel that is not open";
    }
    /* None of a client's channels takes documents; pieces of one would be kept until it is whole. */
    if (type == TBX_STREAM_DOCUMENT && channel->stream->role == TBX_WEB_SOCKET_SERVER) {
        return "a document from a client";
    }
    if (channel->eof_received) {
        return "payload behind eof";
    }
    if (sequence != channel->receive_sequence) {
        return "a gap in the sequence of payload frames";
    }
    if (length > channel->receive_credit && channel->state == CHANNEL_OPEN) {
        return "payload beyond its credit";
    }
    if (channel->partial != NULL && type != TBX_STREAM_DOCUMENT) {
        return "something else in the middle of a document";
    }
    if (channel->partial != NULL && length > TBX_STREAM_DOCUMENT_MAX - channel->partial->len) {
        return "a document that is too large";
    }
    return NULL;
}

/* The peer may send @bytes more, and is told so when it is worth a frame. */
static void give_back(TbxStreamChannel *channel, gsize bytes)
{
    gboolean is_all;

    channel->receive_consumed += bytes;
    /* The last of what came is worth a frame of its own: the peer may wait for it to be taken. */
    is_all = channel->receive_credit + channel->receive_consumed == channel->receive_window;
    if (channel->state == CHANNEL_OPEN && channel->receive_consumed > 0 &&
        (is_all || channel->receive_consumed >= CREDIT_STEP)) {
        channel_control_send(channel, "credit", "bytes", (gint64)channel->receive_consumed);
        channel->receive_credit += channel->receive_consumed;
        channel->receive_consumed = 0;
    }
}

/* Keeps a piece of a document. Its credit is given back at once, or a large document would use it up. */
static void keep_piece(TbxStreamChannel *channel, const guint8 *data, gsize length)
{
    if (channel->partial == NULL) {
        channel->partial = g_byte_array_new();
    }
    g_byte_array_append(channel->partial, data, (guint)length);
    give_back(channel, length);
    channel->forgiven += length;
}

static void deliver(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                    gsize length)
{
    g_autoptr(GByteArray) whole = g_steal_pointer(&channel->partial);

    if (whole != NULL) {
        g_byte_array_append(whole, data, (guint)length);
        data = whole->data;
        length = whole->len;
    }
    channel->handlers->data(channel, type, data, length, channel->user_data);
}

static void receive_payload(TbxStream *stream, const guint8 *data, gsize size)
{
    TbxStreamChannel *channel;
    const char *problem;
    guint16 id;
    guint32 sequence;
    gsize length = size - TBX_STREAM_HEADER_SIZE;

    memcpy(&id, data + 2, sizeof(id));
    memcpy(&sequence, data + 4, sizeof(sequence));
    channel = channel_find(stream, GUINT16_FROM_LE(id));
    problem = check_payload(channel, data[0], data[1], GUINT32_FROM_LE(sequence), length);
    if (problem != NULL) {
        stream_refuse(stream, "%s", problem);
        return;
    }
    channel->receive_sequence++;
    if (channel->state == CHANNEL_CLOSED) {
        return;
    }
    channel->receive_credit -= length;
    if (!channel_has_owner(channel) || channel->handlers->data == NULL) {
        stream_refuse(stream, "payload for a channel that takes none");
    } else if (data[1] & TBX_STREAM_FLAG_MORE) {
        keep_piece(channel, data + TBX_STREAM_HEADER_SIZE, length);
    } else {
        deliver(channel, data[0], data + TBX_STREAM_HEADER_SIZE, length);
    }
}

static void on_binary(TbxWebSocket *socket, const guint8 *data, gsize length, gpointer user_data)
{
    TbxStream *stream = user_data;

    if (stream->is_closing) {
        return;
    }
    stream_hold(stream);
    if (!stream->init_received) {
        stream_refuse(stream, "the first frame must be init");
    } else if (length < TBX_STREAM_HEADER_SIZE) {
        stream_refuse(stream, "a payload frame shorter than its header");
    } else {
        receive_payload(stream, data, length);
    }
    stream_release(stream);
}

/* ---- the socket ----------------------------------------------------------------------------- */

static void on_drained(TbxWebSocket *socket, gpointer user_data)
{
    TbxStream *stream = user_data;
    guint count = stream->channels->len;

    /* The next round begins one further, so that no channel is always last. Handlers may add
     * channels but none disappears here: that takes a frame from the peer. */
    stream_hold(stream);
    for (guint i = 0; i < count && !stream->is_destroyed && !stream->is_closing; i++) {
        channel_tell_writable(stream->channels->pdata[(stream->next_turn + i) % count]);
    }
    stream->next_turn = count > 0 ? (stream->next_turn + 1) % count : 0;
    stream_release(stream);
}

static void on_socket_closed(TbxWebSocket *socket, TbxWebSocketStatus status, const GError *error,
                             gpointer user_data)
{
    TbxStream *stream = user_data;
    g_autoptr(GError) reported = NULL;
    const char *code, *detail;

    stream_hold(stream);
    drop_init_timer(stream);
    if (stream->close_code != NULL && strcmp(stream->close_code, "protocol-error") == 0) {
        reported = tbx_error_new("protocol-error", NULL, "%s",
                                 stream->close_detail != NULL ? stream->close_detail
                                                              : "the stream was refused");
    } else if (error != NULL) {
        reported = g_error_copy(error);
    }
    code = stream->close_code;
    detail = stream->close_detail;
    if (code == NULL) {
        code = reported != NULL ? tenbox_error_get_code(reported) : "daemon-unreachable";
        detail = reported != NULL ? reported->message : "the other end closed the connection";
    }
    stream->is_closing = TRUE;
    for (guint i = 0; i < stream->channels->len && !stream->is_destroyed; i++) {
        channel_tell_closed(stream->channels->pdata[i], code, detail);
    }
    if (!stream->is_destroyed) {
        g_clear_pointer(&stream->socket, tbx_web_socket_destroy);
        stream->handlers->closed(stream, reported, stream->user_data);
    }
    stream_release(stream);
}

static gboolean on_init_timeout(gpointer user_data)
{
    TbxStream *stream = user_data;

    stream_hold(stream);
    drop_init_timer(stream);
    stream_refuse(stream, "no init within %d seconds", TBX_STREAM_INIT_SECONDS);
    stream_release(stream);
    return G_SOURCE_REMOVE;
}

TbxStream *tbx_stream_new(GIOStream *connection, TbxWebSocketRole role,
                          const TbxStreamHandlers *handlers, gpointer user_data)
{
    static const TbxWebSocketHandlers socket_handlers = {
        .text = on_text,
        .binary = on_binary,
        .drained = on_drained,
        .closed = on_socket_closed,
    };
    TbxStream *stream = g_new0(TbxStream, 1);

    stream->socket = tbx_web_socket_new(connection, role, &socket_handlers, stream);
    if (stream->socket == NULL) {
        g_free(stream);
        return NULL;
    }
    stream->role = role;
    stream->handlers = handlers;
    stream->user_data = user_data;
    stream->channels = g_ptr_array_new_with_free_func(channel_free);
    stream->init_source = g_timeout_source_new_seconds(TBX_STREAM_INIT_SECONDS);
    g_source_set_callback(stream->init_source, on_init_timeout, stream, NULL);
    g_source_attach(stream->init_source, g_main_context_get_thread_default());
    init_send(stream);
    return stream;
}

void tbx_stream_destroy(TbxStream *stream)
{
    if (stream == NULL) {
        return;
    }
    g_return_if_fail(!stream->is_destroyed);
    stream_hold(stream);
    stream->is_destroyed = TRUE;
    drop_init_timer(stream);
    g_clear_pointer(&stream->socket, tbx_web_socket_destroy);
    stream_release(stream);
}

void tbx_stream_abort(TbxStream *stream, const char *code, const char *detail)
{
    stream_hold(stream);
    stream->is_closing = TRUE;
    for (guint i = 0; i < stream->channels->len && !stream->is_destroyed; i++) {
        channel_tell_closed(stream->channels->pdata[i], code, detail);
    }
    if (!stream->is_destroyed) {
        tbx_stream_destroy(stream);
    }
    stream_release(stream);
}

void tbx_stream_close(TbxStream *stream, const char *code, const char *detail)
{
    if (!tbx_stream_is_open(stream)) {
        return;
    }
    for (guint i = 0; i < stream->channels->len; i++) {
        TbxStreamChannel *channel = stream->channels->pdata[i];

        if (channel->state != CHANNEL_CLOSED) {
            close_send(stream, channel->id, code, detail);
        }
    }
    stream->is_closing = TRUE;
    keep_close_reason(stream, code, detail);
    tbx_web_socket_close(stream->socket, TBX_WEB_SOCKET_GOING_AWAY, detail);
}

gboolean tbx_stream_is_open(TbxStream *stream)
{
    return !stream->is_closing && stream->socket != NULL;
}

guint tbx_stream_get_channel_count(TbxStream *stream)
{
    return stream->channels->len;
}

/* ---- channels ------------------------------------------------------------------------------- */

TbxStreamChannel *tbx_stream_subscribe(TbxStream *stream, const char *kind, const char *vm_id,
                                       JsonObject *options,
                                       const TbxStreamChannelHandlers *handlers, gpointer user_data)
{
    TbxStreamChannel *channel;
    JsonObject *object;

    g_return_val_if_fail(stream->role == TBX_WEB_SOCKET_CLIENT, NULL);
    if (!tbx_stream_is_open(stream) || stream->channels->len >= TBX_STREAM_CHANNELS_MAX) {
        return NULL;
    }
    do {
        stream->last_id = stream->last_id == G_MAXUINT16 ? 1 : stream->last_id + 1;
    } while (channel_find(stream, stream->last_id) != NULL);
    channel = channel_add(stream, stream->last_id);
    channel->handlers = handlers;
    channel->user_data = user_data;

    object = control_new("subscribe");
    json_object_set_int_member(object, "id", channel->id);
    json_object_set_string_member(object, "channel", kind);
    if (vm_id != NULL) {
        json_object_set_string_member(object, "vm_id", vm_id);
    }
    if (options != NULL) {
        json_object_set_object_member(object, "options", json_object_ref(options));
    }
    control_send(stream, object);
    return channel;
}

void tbx_stream_channel_set_handlers(TbxStreamChannel *channel,
                                     const TbxStreamChannelHandlers *handlers, gpointer user_data)
{
    channel->handlers = handlers;
    channel->user_data = user_data;
}

void tbx_stream_channel_accept_at(TbxStreamChannel *channel, const char *position,
                                  const TbxStreamChannelHandlers *handlers, gpointer user_data)
{
    JsonObject *object;

    g_return_if_fail(channel->state == CHANNEL_ASKED);
    tbx_stream_channel_set_handlers(channel, handlers, user_data);
    channel_open(channel, TBX_STREAM_WINDOW);
    object = control_new("ready");
    json_object_set_int_member(object, "id", channel->id);
    json_object_set_int_member(object, "credit", TBX_STREAM_WINDOW);
    if (position != NULL) {
        json_object_set_string_member(object, "position", position);
    }
    control_send(channel->stream, object);
}

void tbx_stream_channel_accept(TbxStreamChannel *channel, const TbxStreamChannelHandlers *handlers,
                               gpointer user_data)
{
    tbx_stream_channel_accept_at(channel, NULL, handlers, user_data);
}

const char *tbx_stream_channel_get_position(TbxStreamChannel *channel)
{
    return channel->position;
}

gsize tbx_stream_channel_get_room(TbxStreamChannel *channel)
{
    TbxStream *stream = channel->stream;
    guint64 room = 0;

    if (channel->state == CHANNEL_OPEN && !stream->is_closing && stream->socket != NULL &&
        !channel->eof_sent &&
        tbx_web_socket_get_room(stream->socket) >= TBX_WEB_SOCKET_MESSAGE_MAX) {
        room = MIN(channel->send_credit, TBX_STREAM_PAYLOAD_MAX);
    }
    if (room < TBX_STREAM_PAYLOAD_MAX) {
        channel->room_wanted = TRUE;
    }
    return (gsize)room;
}

static void send_frame(TbxStreamChannel *channel, TbxStreamFrame type, guint8 flags,
                       const void *data, gsize length)
{
    guint8 *frame;
    guint16 id = GUINT16_TO_LE(channel->id);
    guint32 sequence = GUINT32_TO_LE(channel->send_sequence);
    g_autoptr(GBytes) bytes = NULL;

    g_return_if_fail(length > 0 && length <= TBX_STREAM_PAYLOAD_MAX);
    g_return_if_fail(channel->state == CHANNEL_OPEN && length <= channel->send_credit);
    if (channel->stream->socket == NULL) {
        return;
    }
    frame = g_malloc(TBX_STREAM_HEADER_SIZE + length);
    frame[0] = (guint8)type;
    frame[1] = flags;
    memcpy(frame + 2, &id, sizeof(id));
    memcpy(frame + 4, &sequence, sizeof(sequence));
    memcpy(frame + TBX_STREAM_HEADER_SIZE, data, length);
    bytes = g_bytes_new_take(frame, TBX_STREAM_HEADER_SIZE + length);
    channel->send_sequence++;
    channel->send_credit -= length;
    channel->send_untaken += length;
    tbx_web_socket_send_binary(channel->stream->socket, bytes);
}

void tbx_stream_channel_send(TbxStreamChannel *channel, TbxStreamFrame type, const void *data,
                             gsize length)
{
    send_frame(channel, type, 0, data, length);
}

gsize tbx_stream_channel_send_document(TbxStreamChannel *channel, const char *text, gsize length,
                                       gsize from)
{
    gsize room;

    while (from < length && (room = tbx_stream_channel_get_room(channel)) > 0) {
        gsize portion = MIN(room, length - from);

        send_frame(channel, TBX_STREAM_DOCUMENT, from + portion < length ? TBX_STREAM_FLAG_MORE : 0,
                   text + from, portion);
        from += portion;
    }
    return from;
}

guint64 tbx_stream_channel_get_untaken(TbxStreamChannel *channel)
{
    return channel->send_untaken;
}

void tbx_stream_channel_send_skipped(TbxStreamChannel *channel, guint64 bytes)
{
    if (channel->state == CHANNEL_OPEN && bytes > 0) {
        channel_control_send(channel, "skipped", "bytes", (gint64)MIN(bytes, G_MAXINT64));
    }
}

void tbx_stream_channel_send_eof(TbxStreamChannel *channel)
{
    if (channel->state == CHANNEL_OPEN && !channel->eof_sent) {
        channel->eof_sent = TRUE;
        channel_control_send(channel, "eof", NULL, 0);
    }
}

void tbx_stream_channel_consumed(TbxStreamChannel *channel, gsize bytes)
{
    gsize forgiven = MIN(bytes, channel->forgiven);

    channel->forgiven -= forgiven;
    give_back(channel, bytes - forgiven);
}

void tbx_stream_channel_close(TbxStreamChannel *channel, const char *code, const char *detail)
{
    channel->handlers = NULL;
    if (channel->state == CHANNEL_CLOSED) {
        return;
    }
    channel->state = CHANNEL_CLOSED;
    close_send(channel->stream, channel->id, code, detail);
}
