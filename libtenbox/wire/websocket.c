/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop around libwslay.
 *
 * Receiving: bytes go from the stream into a small buffer of ours and from there to wslay in
 * portions that shrink to a few bytes between data frames, so that the check "how many control
 * frames wait" happens every few frames and not once per kilobyte of pings. wslay checks the
 * framing (masks, lengths, reserved bits, UTF-8, close codes); messages are put together here,
 * because wslay keeps each fragment in an allocation of its own.
 *
 * Sending: messages wait here, and wslay gets them one at a time. What waits inside wslay are
 * therefore at most one message and the control frames, which it sends first.
 *
 * Sources are made for one dispatch each: a buffered stream's source is only right for what the
 * buffer held when it was made. Each dispatch ends in rearm(), the one place that decides what to
 * wait for.
 */
#include "libtenbox/wire/websocket.h"

#include <string.h>

#include <wslay/wslay.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"

#define INPUT_SIZE         (16 * 1024)
#define CONTROL_PORTION    64 /* bytes given to wslay at a time outside data frames */
#define SEND_TURN_MAX      (256 * 1024)
#define CLOSE_SECONDS      5
#define MISSED_PINGS_MAX   2
#define HANDSHAKE_SIZE_MAX (8 * 1024)
#define PROBLEM_SIZE_MAX   (8 * 1024)
#define CLOSE_REASON_MAX   120
#define WEB_SOCKET_GUID    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* One message that waits to be sent. */
typedef struct {
    GBytes *bytes;
    gboolean is_text;
} Message;

struct _TbxWebSocket {
    GIOStream *stream;
    GPollableInputStream *input;
    GPollableOutputStream *output;
    GMainContext *context;
    const TbxWebSocketHandlers *handlers;
    gpointer user_data;
    TbxWebSocketRole role;
    wslay_event_context_ptr wslay;

    guint in_use;          /* depth of our own functions on the stack: no free meanwhile */
    gboolean is_destroyed; /* freed when in_use falls to 0 */
    gboolean is_finished;  /* `closed` was called */

    GSource *input_source;
    GSource *output_source;
    GSource *ping_source;
    GSource *close_source;

    guint8 input_buffer[INPUT_SIZE];
    gsize input_start, input_end;
    gsize turn_left;          /* bytes this turn may still handle */
    gboolean input_ended;     /* the peer closed its half */
    GError *input_error;      /* reading failed */
    guint8 frame_opcode;      /* of the frame that is being received */
    guint64 frame_left;       /* payload bytes of it, when it is a data frame */
    gboolean message_is_text; /* of the message that is being put together */
    GByteArray *message;
    gboolean too_big; /* the peer's message was */

    GQueue queue; /* of Message */
    gsize queue_size;
    guint queue_text_count;
    gboolean room_wanted; /* get_room() gave less than half of a queue */
    gsize send_left;      /* bytes this turn may still send */
    GError *output_error;

    gboolean is_closing; /* the owner asked for it, or the queue overflowed */
    gboolean close_queued;
    TbxWebSocketStatus close_status;
    char *close_reason;
    GError *close_error; /* what `closed` will report */

    guint ping_interval; /* milliseconds */
    guint missed_pings;
    gboolean received_since_ping;
};

static void rearm(TbxWebSocket *socket);
static void finish_closed(TbxWebSocket *socket);
static void check_closed(TbxWebSocket *socket);

static void message_free(Message *message)
{
    g_bytes_unref(message->bytes);
    g_free(message);
}

static void drop_stream(TbxWebSocket *socket)
{
    tbx_source_clear(&socket->input_source);
    tbx_source_clear(&socket->output_source);
    tbx_source_clear(&socket->ping_source);
    tbx_source_clear(&socket->close_source);
    if (socket->stream != NULL) {
        g_io_stream_close(socket->stream, NULL, NULL);
        g_clear_object(&socket->stream);
    }
}

static void hold(TbxWebSocket *socket)
{
    socket->in_use++;
}

static void release(TbxWebSocket *socket)
{
    if (--socket->in_use > 0 || !socket->is_destroyed) {
        return;
    }
    drop_stream(socket);
    wslay_event_context_free(socket->wslay);
    g_queue_clear_full(&socket->queue, (GDestroyNotify)message_free);
    g_byte_array_unref(socket->message);
    g_clear_error(&socket->input_error);
    g_clear_error(&socket->output_error);
    g_clear_error(&socket->close_error);
    g_free(socket->close_reason);
    g_main_context_unref(socket->context);
    g_free(socket);
}

/* The end: the stream goes, `closed` is called. @error is taken. */
static void finish(TbxWebSocket *socket, TbxWebSocketStatus status, GError *error)
{
    g_autoptr(GError) reported = error;

    if (socket->is_finished || socket->is_destroyed) {
        return;
    }
    socket->is_finished = TRUE;
    drop_stream(socket);
    socket->handlers->closed(socket, status, reported, socket->user_data);
}

static GSource *attach(TbxWebSocket *socket, GSource *source, GSourceFunc function)
{
    g_source_set_callback(source, function, socket, NULL);
    g_source_attach(source, socket->context);
    return source;
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* Text messages count, because they carry our control frames. */
static gboolean may_receive(TbxWebSocket *socket)
{
    if (!wslay_event_get_read_enabled(socket->wslay) || socket->is_destroyed) {
        return FALSE;
    }
    return socket->role == TBX_WEB_SOCKET_CLIENT ||
           socket->queue_text_count + wslay_event_get_queued_msg_count(socket->wslay) <
               TBX_WEB_SOCKET_CONTROL_MAX;
}

/* Refills the empty input buffer; FALSE when nothing came. */
static gboolean fill_input(TbxWebSocket *socket)
{
    gssize count;
    GError *error = NULL;

    if (socket->input_ended || socket->input_error != NULL || socket->turn_left == 0) {
        return FALSE;
    }
    count = g_pollable_input_stream_read_nonblocking(
        socket->input, socket->input_buffer, MIN(INPUT_SIZE, socket->turn_left), NULL, &error);
    if (count > 0) {
        socket->input_start = 0;
        socket->input_end = (gsize)count;
        socket->received_since_ping = TRUE;
        return TRUE;
    }
    if (count == 0) {
        socket->input_ended = TRUE;
    } else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        socket->input_error = g_steal_pointer(&error);
    }
    g_clear_error(&error);
    return FALSE;
}

static ssize_t on_wslay_recv(wslay_event_context_ptr wslay, uint8_t *buffer, size_t length,
                             int flags, void *user_data)
{
    TbxWebSocket *socket = user_data;
    gsize portion = MAX(CONTROL_PORTION, socket->frame_left);

    if (!may_receive(socket) || socket->turn_left == 0 ||
        (socket->input_start == socket->input_end && !fill_input(socket))) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    portion = MIN(portion, length);
    portion = MIN(portion, socket->turn_left);
    portion = MIN(portion, socket->input_end - socket->input_start);
    memcpy(buffer, socket->input_buffer + socket->input_start, portion);
    socket->input_start += portion;
    socket->turn_left -= portion;
    return (ssize_t)portion;
}

/* Ends the receiving: what the peer sends from here on is not looked at. */
static void refuse(TbxWebSocket *socket, TbxWebSocketStatus status, const char *reason)
{
    wslay_event_queue_close(socket->wslay, (uint16_t)status, (const uint8_t *)reason,
                            strlen(reason));
    wslay_event_shutdown_read(socket->wslay);
}

static void on_wslay_frame_start(wslay_event_context_ptr wslay,
                                 const struct wslay_event_on_frame_recv_start_arg *frame,
                                 void *user_data)
{
    TbxWebSocket *socket = user_data;

    socket->frame_opcode = frame->opcode;
    socket->frame_left = 0;
    if (wslay_is_ctrl_frame(frame->opcode)) {
        return;
    }
    if (frame->opcode != WSLAY_CONTINUATION_FRAME) {
        socket->message_is_text = frame->opcode == WSLAY_TEXT_FRAME;
        g_byte_array_set_size(socket->message, 0);
    }
    if (frame->payload_length > TBX_WEB_SOCKET_MESSAGE_MAX - socket->message->len) {
        socket->too_big = TRUE;
        refuse(socket, TBX_WEB_SOCKET_TOO_BIG, "message of more than 64 KiB");
        return;
    }
    socket->frame_left = frame->payload_length;
}

static void on_wslay_frame_chunk(wslay_event_context_ptr wslay,
                                 const struct wslay_event_on_frame_recv_chunk_arg *chunk,
                                 void *user_data)
{
    TbxWebSocket *socket = user_data;

    if (wslay_is_ctrl_frame(socket->frame_opcode) || socket->too_big) {
        return;
    }
    socket->frame_left -= MIN(socket->frame_left, chunk->data_length);
    g_byte_array_append(socket->message, chunk->data, chunk->data_length);
}

static void on_wslay_message(wslay_event_context_ptr wslay,
                             const struct wslay_event_on_msg_recv_arg *arg, void *user_data)
{
    TbxWebSocket *socket = user_data;
    gsize length = socket->message->len;

    if (wslay_is_ctrl_frame(arg->opcode) || socket->too_big || socket->is_destroyed ||
        socket->is_closing) {
        return;
    }
    g_byte_array_append(socket->message, (const guint8 *)"", 1);
    if (socket->message_is_text) {
        socket->handlers->text(socket, (const char *)socket->message->data, length,
                               socket->user_data);
    } else {
        socket->handlers->binary(socket, socket->message->data, length, socket->user_data);
    }
    g_byte_array_set_size(socket->message, 0);
}

static void receive(TbxWebSocket *socket)
{
    socket->turn_left = TBX_WEB_SOCKET_TURN_MAX;
    /* A frame that breaks the framing itself ends in an error here, with a close frame without status
     * already queued; other violations in a close frame that says why. */
    switch (wslay_event_recv(socket->wslay)) {
    case 0: break;
    case WSLAY_ERR_NOMEM:
        finish(socket, TBX_WEB_SOCKET_INTERNAL, tbx_error_new("internal", NULL, "out of memory"));
        return;
    default: return;
    }
    if (socket->is_closing && (socket->input_error != NULL || socket->input_ended)) {
        finish_closed(socket); /* the peer left instead of answering our close */
    } else if (socket->input_error != NULL) {
        finish(socket, TBX_WEB_SOCKET_ABNORMAL,
               tbx_error_new("daemon-unreachable", NULL, "the WebSocket broke: %s",
                             socket->input_error->message));
    } else if (socket->input_ended && socket->input_start == socket->input_end) {
        finish(
            socket, TBX_WEB_SOCKET_ABNORMAL,
            tbx_error_new("daemon-unreachable", NULL, "the WebSocket ended without being closed"));
    }
}

static gboolean on_input(GObject *stream, gpointer user_data)
{
    TbxWebSocket *socket = user_data;

    hold(socket);
    tbx_source_clear(&socket->input_source);
    receive(socket);
    if (!socket->is_finished) {
        check_closed(socket);
    }
    rearm(socket);
    release(socket);
    return G_SOURCE_REMOVE;
}

static gboolean on_input_left(gpointer user_data)
{
    return on_input(NULL, user_data);
}

/* ---- sending -------------------------------------------------------------------------------- */

static ssize_t on_wslay_send(wslay_event_context_ptr wslay, const uint8_t *data, size_t length,
                             int flags, void *user_data)
{
    TbxWebSocket *socket = user_data;
    g_autoptr(GError) error = NULL;
    gssize count = -1;

    if (socket->send_left > 0) {
        count = g_pollable_output_stream_write_nonblocking(
            socket->output, data, MIN(length, socket->send_left), NULL, &error);
        if (count > 0) {
            socket->send_left -= (gsize)count;
            return count;
        }
        if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            socket->output_error = g_steal_pointer(&error);
            wslay_event_set_error(wslay, WSLAY_ERR_CALLBACK_FAILURE);
            return -1;
        }
    }
    wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static int on_wslay_mask(wslay_event_context_ptr wslay, uint8_t *buffer, size_t length,
                         void *user_data)
{
    for (size_t i = 0; i < length; i++) {
        buffer[i] = (uint8_t)g_random_int();
    }
    return 0;
}

/* Moves the next message, or the close frame behind the last, into wslay. */
static gboolean queue_next(TbxWebSocket *socket)
{
    Message *message = g_queue_pop_head(&socket->queue);

    if (message != NULL) {
        struct wslay_event_msg next = {.opcode = message->is_text ? WSLAY_TEXT_FRAME
                                                                  : WSLAY_BINARY_FRAME};
        gsize length;

        next.msg = g_bytes_get_data(message->bytes, &length);
        next.msg_length = length;
        socket->queue_size -= length;
        socket->queue_text_count -= message->is_text;
        /* Refused only when a close frame is on its way: then the message has nowhere to go. */
        wslay_event_queue_msg(socket->wslay, &next);
        message_free(message);
        return TRUE;
    }
    if (socket->is_closing && !socket->close_queued) {
        socket->close_queued = TRUE;
        wslay_event_queue_close(socket->wslay, (uint16_t)socket->close_status,
                                (const uint8_t *)socket->close_reason,
                                strlen(socket->close_reason));
        return TRUE;
    }
    return FALSE;
}

static void send_queue(TbxWebSocket *socket)
{
    socket->send_left = SEND_TURN_MAX;
    do {
        if (wslay_event_send(socket->wslay) != 0) {
            if (socket->is_closing) {
                finish_closed(socket);
                return;
            }
            finish(socket, TBX_WEB_SOCKET_ABNORMAL,
                   tbx_error_new("daemon-unreachable", NULL, "the WebSocket broke: %s",
                                 socket->output_error != NULL ? socket->output_error->message
                                                              : "out of memory"));
            return;
        }
    } while (!wslay_event_want_write(socket->wslay) && queue_next(socket));
}

/* Both close frames were exchanged, or ours answers a violation: what `closed` will say. */
static void finish_closed(TbxWebSocket *socket)
{
    guint16 received = wslay_event_get_status_code_received(socket->wslay);
    guint16 sent = wslay_event_get_status_code_sent(socket->wslay);

    if (socket->is_closing || socket->close_error != NULL) {
        finish(socket, socket->close_status, g_steal_pointer(&socket->close_error));
    } else if (wslay_event_get_close_received(socket->wslay)) {
        gboolean in_order = received == TBX_WEB_SOCKET_NORMAL ||
                            received == TBX_WEB_SOCKET_GOING_AWAY ||
                            received == TBX_WEB_SOCKET_NO_STATUS;

        finish(socket, (TbxWebSocketStatus)received,
               in_order
                   ? NULL
                   : tbx_error_new("protocol-error", NULL,
                                   "the other end closed the WebSocket with status %u", received));
    } else {
        sent = sent == TBX_WEB_SOCKET_NO_STATUS ? TBX_WEB_SOCKET_PROTOCOL_ERROR : sent;
        finish(socket, (TbxWebSocketStatus)sent,
               tbx_error_new("protocol-error", NULL,
                             "the other end broke the WebSocket protocol (status %u)", sent));
    }
}

static void check_closed(TbxWebSocket *socket)
{
    gboolean sent = wslay_event_get_close_sent(socket->wslay);

    /* Without a close frame from a peer that may still send one, wait for it: on_close_timeout().
     * */
    if (sent && (wslay_event_get_close_received(socket->wslay) ||
                 !wslay_event_get_read_enabled(socket->wslay))) {
        finish_closed(socket);
    }
}

static void check_room(TbxWebSocket *socket)
{
    if (socket->room_wanted && !socket->is_closing && !socket->is_destroyed &&
        !socket->is_finished && socket->queue_size <= TBX_WEB_SOCKET_ROOM_MAX / 4) {
        socket->room_wanted = FALSE;
        socket->handlers->drained(socket, socket->user_data);
    }
}

static gboolean on_output(GObject *stream, gpointer user_data)
{
    TbxWebSocket *socket = user_data;

    hold(socket);
    tbx_source_clear(&socket->output_source);
    send_queue(socket);
    if (!socket->is_finished) {
        check_closed(socket);
    }
    check_room(socket);
    rearm(socket);
    release(socket);
    return G_SOURCE_REMOVE;
}

static gboolean wants_output(TbxWebSocket *socket)
{
    return wslay_event_want_write(socket->wslay) || !g_queue_is_empty(&socket->queue) ||
           (socket->is_closing && !socket->close_queued);
}

static void rearm(TbxWebSocket *socket)
{
    if (socket->is_finished || socket->is_destroyed) {
        return;
    }
    if (socket->input_source == NULL && may_receive(socket)) {
        if (socket->input_start < socket->input_end) {
            socket->input_source = attach(socket, g_idle_source_new(), on_input_left);
            g_source_set_priority(socket->input_source, G_PRIORITY_DEFAULT);
        } else {
            socket->input_source =
                attach(socket, g_pollable_input_stream_create_source(socket->input, NULL),
                       (GSourceFunc)(void (*)(void))on_input);
        }
    } else if (socket->input_source != NULL && !may_receive(socket)) {
        tbx_source_clear(&socket->input_source);
    }
    if (socket->output_source == NULL && wants_output(socket)) {
        socket->output_source =
            attach(socket, g_pollable_output_stream_create_source(socket->output, NULL),
                   (GSourceFunc)(void (*)(void))on_output);
    }
}

static void enqueue(TbxWebSocket *socket, GBytes *bytes, gboolean is_text)
{
    Message *message;

    g_return_if_fail(g_bytes_get_size(bytes) <= TBX_WEB_SOCKET_MESSAGE_MAX);
    if (socket->is_closing || socket->is_finished || socket->is_destroyed ||
        wslay_event_get_close_received(socket->wslay)) {
        return;
    }
    if (socket->queue_size + g_bytes_get_size(bytes) > TBX_WEB_SOCKET_QUEUE_MAX) {
        /* The peer does not read, and something here did not ask for room. */
        g_queue_clear_full(&socket->queue, (GDestroyNotify)message_free);
        socket->queue_size = 0;
        socket->queue_text_count = 0;
        socket->close_error = tbx_error_new("timed-out", NULL, "the other end does not read");
        tbx_web_socket_close(socket, TBX_WEB_SOCKET_POLICY, "too much is waiting to be read");
        return;
    }
    message = g_new0(Message, 1);
    message->bytes = g_bytes_ref(bytes);
    message->is_text = is_text;
    g_queue_push_tail(&socket->queue, message);
    socket->queue_size += g_bytes_get_size(bytes);
    socket->queue_text_count += is_text;
    rearm(socket);
}

/* ---- time ----------------------------------------------------------------------------------- */

static gboolean on_ping_time(gpointer user_data)
{
    TbxWebSocket *socket = user_data;
    struct wslay_event_msg ping = {.opcode = WSLAY_PING};

    hold(socket);
    if (socket->received_since_ping) {
        socket->received_since_ping = FALSE;
        socket->missed_pings = 0;
    } else if (++socket->missed_pings == MISSED_PINGS_MAX) {
        finish(socket, TBX_WEB_SOCKET_ABNORMAL,
               tbx_error_new("timed-out", NULL, "the other end of the WebSocket does not answer"));
        release(socket);
        return G_SOURCE_REMOVE;
    }
    if (wslay_event_get_write_enabled(socket->wslay) &&
        wslay_event_get_queued_msg_count(socket->wslay) < TBX_WEB_SOCKET_CONTROL_MAX) {
        wslay_event_queue_msg(socket->wslay, &ping);
        rearm(socket);
    }
    release(socket);
    return G_SOURCE_CONTINUE;
}

static gboolean on_close_timeout(gpointer user_data)
{
    TbxWebSocket *socket = user_data;

    hold(socket);
    finish(socket, socket->close_status, g_steal_pointer(&socket->close_error));
    release(socket);
    return G_SOURCE_REMOVE;
}

static void start_pings(TbxWebSocket *socket)
{
    tbx_source_clear(&socket->ping_source);
    socket->ping_source = attach(socket, g_timeout_source_new(socket->ping_interval), on_ping_time);
}

/* ---- the object ----------------------------------------------------------------------------- */

TbxWebSocket *tbx_web_socket_new(GIOStream *stream, TbxWebSocketRole role,
                                 const TbxWebSocketHandlers *handlers, gpointer user_data)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_wslay_recv,
        .send_callback = on_wslay_send,
        .genmask_callback = on_wslay_mask,
        .on_frame_recv_start_callback = on_wslay_frame_start,
        .on_frame_recv_chunk_callback = on_wslay_frame_chunk,
        .on_msg_recv_callback = on_wslay_message,
    };
    TbxWebSocket *socket = g_new0(TbxWebSocket, 1);

    if ((role == TBX_WEB_SOCKET_SERVER
             ? wslay_event_context_server_init(&socket->wslay, &callbacks, socket)
             : wslay_event_context_client_init(&socket->wslay, &callbacks, socket)) != 0) {
        g_free(socket);
        return NULL;
    }
    socket->stream = g_object_ref(stream);
    socket->input = G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(stream));
    socket->output = G_POLLABLE_OUTPUT_STREAM(g_io_stream_get_output_stream(stream));
    socket->context = g_main_context_ref_thread_default();
    socket->handlers = handlers;
    socket->user_data = user_data;
    socket->role = role;
    socket->message = g_byte_array_new();
    socket->ping_interval = TBX_WEB_SOCKET_PING_SECONDS * 1000;
    socket->close_status = TBX_WEB_SOCKET_NORMAL;
    socket->received_since_ping = TRUE; /* the handshake */
    g_queue_init(&socket->queue);
    wslay_event_config_set_no_buffering(socket->wslay, 1);
    wslay_event_config_set_max_recv_msg_length(socket->wslay, TBX_WEB_SOCKET_MESSAGE_MAX);
    start_pings(socket);
    rearm(socket);
    return socket;
}

void tbx_web_socket_destroy(TbxWebSocket *socket)
{
    if (socket == NULL) {
        return;
    }
    g_return_if_fail(!socket->is_destroyed);
    hold(socket);
    socket->is_destroyed = TRUE;
    wslay_event_shutdown_read(socket->wslay);
    drop_stream(socket);
    release(socket);
}

gsize tbx_web_socket_get_room(TbxWebSocket *socket)
{
    gsize room = TBX_WEB_SOCKET_ROOM_MAX - MIN(TBX_WEB_SOCKET_ROOM_MAX, socket->queue_size);

    if (socket->is_closing || socket->is_finished || socket->is_destroyed) {
        return 0;
    }
    if (room < TBX_WEB_SOCKET_ROOM_MAX / 2) {
        socket->room_wanted = TRUE;
    }
    return room;
}

void tbx_web_socket_send_text(TbxWebSocket *socket, const char *text, gssize length)
{
    gsize size = length < 0 ? strlen(text) : (gsize)length;
    g_autoptr(GBytes) bytes = g_bytes_new(text, size);

    enqueue(socket, bytes, TRUE);
}

void tbx_web_socket_send_binary(TbxWebSocket *socket, GBytes *message)
{
    enqueue(socket, message, FALSE);
}

void tbx_web_socket_close(TbxWebSocket *socket, TbxWebSocketStatus status, const char *reason)
{
    if (socket->is_closing || socket->is_finished || socket->is_destroyed) {
        return;
    }
    socket->is_closing = TRUE;
    socket->close_status = status;
    socket->close_reason = g_utf8_make_valid(reason != NULL ? reason : "", -1);
    if (strlen(socket->close_reason) > CLOSE_REASON_MAX) {
        *g_utf8_find_prev_char(socket->close_reason, socket->close_reason + CLOSE_REASON_MAX + 1) =
            '\0';
    }
    socket->close_source =
        attach(socket, g_timeout_source_new_seconds(CLOSE_SECONDS), on_close_timeout);
    rearm(socket);
}

void tbx_web_socket_set_ping_interval(TbxWebSocket *socket, guint milliseconds)
{
    socket->ping_interval = milliseconds;
    if (!socket->is_finished && !socket->is_destroyed) {
        start_pings(socket);
    }
}

/* ---- the handshake -------------------------------------------------------------------------- */

char *tbx_web_socket_accept_key(const char *key)
{
    g_autoptr(GChecksum) checksum = NULL;
    g_autofree guchar *nonce = NULL;
    guint8 digest[20];
    gsize length = 0;

    /* 16 bytes are 24 characters, the last two of them padding. */
    if (strlen(key) != 24 || strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789+/") != 22) {
        return NULL;
    }
    nonce = g_base64_decode(key, &length);
    if (length != 16) {
        return NULL;
    }
    checksum = g_checksum_new(G_CHECKSUM_SHA1);
    g_checksum_update(checksum, (const guchar *)key, -1);
    g_checksum_update(checksum, (const guchar *)WEB_SOCKET_GUID, -1);
    length = sizeof(digest);
    g_checksum_get_digest(checksum, digest, &length);
    return g_base64_encode(digest, length);
}

/* The client's handshake in flight. The answer is read byte by byte: it is short, comes once per
 * connection, and what follows it belongs to the socket. */
typedef struct {
    char *expected;
    GString *answer;
    char *request;
    guint8 byte;

    /* When the server refuses: what its status line says, and the document that may say more. */
    GError *refusal;
    guint refusal_status;
    char *problem;
    gsize problem_length;
} Handshake;

static void handshake_free(Handshake *handshake)
{
    g_free(handshake->expected);
    g_free(handshake->request);
    g_string_free(handshake->answer, TRUE);
    g_clear_error(&handshake->refusal);
    g_free(handshake->problem);
    g_free(handshake);
}

/* The value of header @name in @lines, NULL when it is not there exactly once. */
static const char *find_header(char **lines, const char *name)
{
    const char *found = NULL;
    gsize length = strlen(name);

    for (char **line = lines; *line != NULL; line++) {
        if (g_ascii_strncasecmp(*line, name, length) == 0 && (*line)[length] == ':') {
            if (found != NULL) {
                return NULL;
            }
            found = g_strstrip(*line + length + 1);
        }
    }
    return found;
}

static gboolean check_answer(Handshake *handshake, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(handshake->answer->str, "\r\n", -1);
    const char *accept, *upgrade;

    if (!g_str_has_prefix(lines[0], "HTTP/1.1 101")) {
        g_autofree char *shown = g_utf8_make_valid(lines[0], -1);

        tbx_error_set(error, "protocol-error", NULL, "the server refused the WebSocket: %s", shown);
        return FALSE;
    }
    accept = find_header(lines + 1, "Sec-WebSocket-Accept");
    upgrade = find_header(lines + 1, "Upgrade");
    if (g_strcmp0(accept, handshake->expected) != 0 || upgrade == NULL ||
        g_ascii_strcasecmp(upgrade, "websocket") != 0 ||
        find_header(lines + 1, "Sec-WebSocket-Extensions") != NULL ||
        find_header(lines + 1, "Sec-WebSocket-Protocol") != NULL) {
        tbx_error_set(error, "protocol-error", NULL,
                      "the server answered with a broken WebSocket handshake");
        return FALSE;
    }
    return TRUE;
}

/* Whether a problem document follows the head of a refusal; then there is a buffer for it. */
static gboolean expect_problem(Handshake *handshake)
{
    g_auto(GStrv) lines = g_strsplit(handshake->answer->str, "\r\n", -1);
    const char *type = find_header(lines + 1, "Content-Type");
    const char *length = find_header(lines + 1, "Content-Length");
    g_auto(GStrv) words = g_strsplit(lines[0], " ", 3);
    guint64 status, size;

    if (g_strv_length(words) < 2 || strcmp(words[0], "HTTP/1.1") != 0 ||
        !g_ascii_string_to_unsigned(words[1], 10, 400, 599, &status, NULL) || type == NULL ||
        !g_str_has_prefix(type, "application/problem+json") || length == NULL ||
        !g_ascii_string_to_unsigned(length, 10, 1, PROBLEM_SIZE_MAX, &size, NULL)) {
        return FALSE;
    }
    handshake->refusal_status = (guint)status;
    handshake->problem_length = (gsize)size;
    handshake->problem = g_malloc(handshake->problem_length + 1);
    return TRUE;
}

/* A document that is cut short or broken leaves what the status line said. */
static void on_problem_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    Handshake *handshake = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = NULL;
    gsize count = 0;

    if (!g_input_stream_read_all_finish(G_INPUT_STREAM(source), result, &count, &error) &&
        g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        g_task_return_error(task, g_steal_pointer(&error));
        return;
    }
    handshake->problem[count] = '\0';
    object = tbx_json_guard_parse_object(handshake->problem, count, NULL);
    g_task_return_error(task, object != NULL
                                  ? tbx_error_from_problem(object, handshake->refusal_status)
                                  : g_steal_pointer(&handshake->refusal));
}

static void read_problem(GTask *task)
{
    GIOStream *stream = g_task_get_source_object(task);
    Handshake *handshake = g_task_get_task_data(task);

    g_input_stream_read_all_async(g_io_stream_get_input_stream(stream), handshake->problem,
                                  handshake->problem_length, G_PRIORITY_DEFAULT,
                                  g_task_get_cancellable(task), on_problem_read, task);
}

static void read_answer(GTask *task);

static void on_answer_byte(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    Handshake *handshake = g_task_get_task_data(task);
    GError *error = NULL;
    gssize count = g_input_stream_read_finish(G_INPUT_STREAM(source), result, &error);

    if (count < 0) {
        g_task_return_error(task,
                            tbx_error_wrap(error, "daemon-unreachable", "WebSocket handshake"));
        return;
    }
    if (count == 0) {
        g_task_return_error(task, tbx_error_new("daemon-unreachable", NULL,
                                                "the server ended the WebSocket handshake"));
        return;
    }
    g_string_append_c(handshake->answer, (char)handshake->byte);
    if (g_str_has_suffix(handshake->answer->str, "\r\n\r\n")) {
        if (check_answer(handshake, &handshake->refusal)) {
            g_task_return_boolean(task, TRUE);
        } else if (expect_problem(handshake)) {
            read_problem(g_steal_pointer(&task));
        } else {
            g_task_return_error(task, g_steal_pointer(&handshake->refusal));
        }
        return;
    }
    if (handshake->byte == '\0' || handshake->answer->len == HANDSHAKE_SIZE_MAX) {
        g_task_return_error(task, tbx_error_new("protocol-error", NULL,
                                                "the server's answer is no WebSocket handshake"));
        return;
    }
    read_answer(g_steal_pointer(&task));
}

static void read_answer(GTask *task)
{
    GIOStream *stream = g_task_get_source_object(task);
    Handshake *handshake = g_task_get_task_data(task);

    g_input_stream_read_async(g_io_stream_get_input_stream(stream), &handshake->byte, 1,
                              G_PRIORITY_DEFAULT, g_task_get_cancellable(task), on_answer_byte,
                              task);
}

static void on_request_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;

    if (!g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, &error)) {
        g_task_return_error(task,
                            tbx_error_wrap(error, "daemon-unreachable", "WebSocket handshake"));
        return;
    }
    read_answer(g_steal_pointer(&task));
}

void tbx_web_socket_connect_async(GIOStream *stream, const char *host, const char *target,
                                  const char *headers, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data)
{
    GTask *task = g_task_new(stream, cancellable, callback, user_data);
    Handshake *handshake = g_new0(Handshake, 1);
    g_autofree char *key = NULL;
    guint8 nonce[16];

    for (gsize i = 0; i < sizeof(nonce); i++) {
        nonce[i] = (guint8)g_random_int();
    }
    key = g_base64_encode(nonce, sizeof(nonce));
    handshake->expected = tbx_web_socket_accept_key(key);
    handshake->answer = g_string_new(NULL);
    handshake->request = g_strdup_printf("GET %s HTTP/1.1\r\n"
                                         "Host: %s\r\n"
                                         "Upgrade: websocket\r\n"
                                         "Connection: Upgrade\r\n"
                                         "Sec-WebSocket-Key: %s\r\n"
                                         "Sec-WebSocket-Version: 13\r\n"
                                         "%s\r\n",
                                         target, host, key, headers != NULL ? headers : "");
    g_task_set_source_tag(task, tbx_web_socket_connect_async);
    g_task_set_task_data(task, handshake, (GDestroyNotify)handshake_free);
    g_output_stream_write_all_async(g_io_stream_get_output_stream(stream), handshake->request,
                                    strlen(handshake->request), G_PRIORITY_DEFAULT, cancellable,
                                    on_request_written, task);
}

gboolean tbx_web_socket_connect_finish(GIOStream *stream, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, stream), FALSE);
    return g_task_propagate_boolean(G_TASK(result), error);
}
