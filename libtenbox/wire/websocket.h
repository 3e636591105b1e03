/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One end of a WebSocket (RFC 6455) over any pollable GIOStream, for the daemon and for its
 * clients.
 *
 * The framing is libwslay's; the loop around it is ours, because that is where a hostile peer is
 * bound:
 *
 *   - a message is at most TBX_WEB_SOCKET_MESSAGE_MAX bytes, however many fragments it comes in;
 *   - one turn of the main loop handles at most TBX_WEB_SOCKET_TURN_MAX received bytes, so that one
 *     busy peer leaves room for the others;
 *   - a server stops receiving while TBX_WEB_SOCKET_CONTROL_MAX or more control frames (pongs and
 *     text messages, which carry our control) wait to be sent: a peer that sends pings and never
 *     reads costs one screenful of memory. A client always receives, so two ends of ours cannot
 *     wait for each other;
 *   - data that waits to be sent is bounded by the sender, who asks tbx_web_socket_get_room() and
 *     waits for `drained`; a sender who does not, and a queue past TBX_WEB_SOCKET_QUEUE_MAX, close
 *     the socket;
 *   - no extension is ever negotiated, so there is nothing to decompress.
 *
 * Each end sends a ping every TBX_WEB_SOCKET_PING_SECONDS, and closes when two in a row stayed
 * unanswered: nothing at all arrived during the two intervals behind them.
 *
 * The object belongs to the thread-default main context in which it was made. It calls its handlers
 * only from there, never from inside a function the owner called; `closed` is the last call, and
 * comes exactly once unless the owner drops the socket first by tbx_web_socket_destroy().
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define TBX_WEB_SOCKET_MESSAGE_MAX  (64 * 1024)
#define TBX_WEB_SOCKET_TURN_MAX     (64 * 1024)
#define TBX_WEB_SOCKET_CONTROL_MAX  16
#define TBX_WEB_SOCKET_ROOM_MAX     (256 * 1024) /* get_room() of an empty queue */
#define TBX_WEB_SOCKET_QUEUE_MAX    (1024 * 1024)
#define TBX_WEB_SOCKET_PING_SECONDS 20

/* Status codes of RFC 6455 section 7.4.1 that we send or expect. */
typedef enum {
    TBX_WEB_SOCKET_NORMAL = 1000,
    TBX_WEB_SOCKET_GOING_AWAY = 1001,
    TBX_WEB_SOCKET_PROTOCOL_ERROR = 1002,
    TBX_WEB_SOCKET_NO_STATUS = 1005,
    TBX_WEB_SOCKET_ABNORMAL = 1006, /* never on the wire: the stream ended without a close frame */
    TBX_WEB_SOCKET_INVALID_DATA = 1007,
    TBX_WEB_SOCKET_POLICY = 1008,
    TBX_WEB_SOCKET_TOO_BIG = 1009,
    TBX_WEB_SOCKET_INTERNAL = 1011,
} TbxWebSocketStatus;

typedef enum {
    TBX_WEB_SOCKET_SERVER,
    TBX_WEB_SOCKET_CLIENT,
} TbxWebSocketRole;

typedef struct _TbxWebSocket TbxWebSocket;

/* All mandatory. @data is borrowed until the call returns; text is valid UTF-8, NUL-terminated. */
typedef struct {
    void (*text)(TbxWebSocket *socket, const char *text, gsize length, gpointer user_data);
    void (*binary)(TbxWebSocket *socket, const guint8 *data, gsize length, gpointer user_data);
    /* There is room for at least three quarters of a full queue again, after get_room() had found
     * less than half of one. */
    void (*drained)(TbxWebSocket *socket, gpointer user_data);
    /* @status is what the peer sent, or why we closed; @error is NULL for an orderly end by either
     * side, else TENBOX_ERROR_PROTOCOL, _TIMED_OUT or _UNREACHABLE. Nothing is called afterwards.
     * */
    void (*closed)(TbxWebSocket *socket, TbxWebSocketStatus status, const GError *error,
                   gpointer user_data);
} TbxWebSocketHandlers;

/**
 * tbx_web_socket_new:
 * @stream: (transfer none): an open stream behind the handshake, both halves pollable
 * @role: which end this is; a client masks, a server demands masks
 * @handlers: (transfer none): const table that outlives the socket
 * @user_data: for @handlers
 *
 * Returns: (transfer full) (nullable): a socket that starts receiving in the next turn of the main
 *   loop; free with tbx_web_socket_destroy(). %NULL when libwslay has no memory; @stream is as it was.
 */
TbxWebSocket *tbx_web_socket_new(GIOStream *stream, TbxWebSocketRole role,
                                 const TbxWebSocketHandlers *handlers, gpointer user_data);

/**
 * tbx_web_socket_destroy:
 * @socket: (nullable) (transfer full): a socket
 *
 * Closes the stream at once and frees the socket; no handler is called any more. May be called
 * inside a handler.
 */
void tbx_web_socket_destroy(TbxWebSocket *socket);

/* How many bytes of data the owner may queue now; 0 once closing. */
gsize tbx_web_socket_get_room(TbxWebSocket *socket);

/* Queues a text message: at most TBX_WEB_SOCKET_MESSAGE_MAX bytes of UTF-8. Ignored once closing. */
void tbx_web_socket_send_text(TbxWebSocket *socket, const char *text, gssize length);

/* Queues one binary message of at most TBX_WEB_SOCKET_MESSAGE_MAX bytes. Ignored once closing. */
void tbx_web_socket_send_binary(TbxWebSocket *socket, GBytes *message);

/**
 * tbx_web_socket_close:
 * @socket: a socket
 * @status: a status that may be sent (not 1005, 1006)
 * @reason: (nullable): a short text for people; cut at 120 bytes
 *
 * Sends what is queued, then a close frame, then waits for the peer's for at most five seconds.
 * Idempotent. `closed` follows.
 */
void tbx_web_socket_close(TbxWebSocket *socket, TbxWebSocketStatus status, const char *reason);

/* For tests: pings every @milliseconds instead of TBX_WEB_SOCKET_PING_SECONDS. */
void tbx_web_socket_set_ping_interval(TbxWebSocket *socket, guint milliseconds);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key, NULL when @key is not 16 bytes in base64. */
char *tbx_web_socket_accept_key(const char *key);

/**
 * tbx_web_socket_connect_async:
 * @stream: (transfer none): a fresh connection to the server, TLS done if there is any
 * @host: the Host header, such as "localhost"
 * @target: the request target, such as "/v1/ws"
 * @headers: (nullable): further header lines, each ending in CR LF, such as an Authorization
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): runs in the thread-default main context of the caller
 *
 * The client's handshake: writes the upgrade request, reads the answer. On success the same @stream
 * is ready for tbx_web_socket_new() as %TBX_WEB_SOCKET_CLIENT; not a byte behind the answer was
 * consumed.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE when the stream ends; what the problem document says with which
 * the server refuses, such as "forbidden" or "shutting-down"; %TENBOX_ERROR_PROTOCOL when the answer is
 * neither, and then the message holds its status line.
 */
void tbx_web_socket_connect_async(GIOStream *stream, const char *host, const char *target,
                                  const char *headers, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_web_socket_connect_finish(GIOStream *stream, GAsyncResult *result, GError **error);

G_END_DECLS
