/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The multiplexed stream behind `/v1/ws`: one codec, one channel table and one credit account for
 * both ends of it. The daemon uses the server role, the remote driver the client role; what they
 * share cannot drift apart.
 *
 * Wire format. Text messages are JSON control frames (schema: data/openapi/tenbox-v1.yaml,
 * components Ws*). Binary messages carry payload behind eight little-endian bytes: u8 type, u8
 * flags, u16 channel id, u32 sequence, counting the frames of that channel and direction from
 * 0. A message is at most 64 KiB, header included. Flag 1 says that the document goes on in the
 * channel's next frame; there are no other flags.
 *
 *   both    init {version, extensions, max_frame, window}   first, before anything else
 *   client  subscribe {id, channel, vm_id?, options?}       picks a free id, 1 to 65535
 *   server  ready {id, credit, position?}                   both ends may now send `credit` bytes
 *                                                           of payload; events: what is sent comes
 *                                                           after this position of the journal
 *   both    credit {id, bytes}                              the other may send that much more
 *   server  skipped {id, bytes}                             that many bytes are missing here
 *   both    eof {id}                                        no more payload in this direction
 *   server  exit {id, code | signal}                        reserved for exec
 *   both    close {id, code?, detail?}                      the channel is over; without a code in
 *                                                           order. Answered by a close; the id is
 *                                                           free when both were sent
 *   both    ping {nonce?}, pong {nonce?}
 *   both    error {code, detail}                            the socket closes behind it
 *
 * Unknown control types are ignored, unknown members too, so that the protocol can grow. A peer
 * that breaks the rules above - no init, a bad header, a gap in the sequence, payload beyond its
 * credit or for an id that is not open, an id taken twice - gets `error` with the code
 * "protocol-error" and loses the socket. A channel that the server does not know is closed with
 * "unsupported".
 *
 * Back-pressure. Payload may be sent only while tbx_stream_channel_get_room() says so; it is the
 * smaller of the peer's credit and the room in the socket's queue. Received payload is charged
 * until the owner calls tbx_stream_channel_consumed(): an owner who keeps bytes delays that call,
 * and the peer comes to a halt instead of us growing a queue.
 *
 * Handlers run in the main context in which the stream was made, and never from inside a call of
 * the owner. They may call any function here on any channel, tbx_stream_destroy() included.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/wire/websocket.h"

G_BEGIN_DECLS

#define TBX_STREAM_VERSION      1
#define TBX_STREAM_WINDOW       (256 * 1024)
#define TBX_STREAM_HEADER_SIZE  8
#define TBX_STREAM_PAYLOAD_MAX  (TBX_WEB_SOCKET_MESSAGE_MAX - TBX_STREAM_HEADER_SIZE)
#define TBX_STREAM_CHANNELS_MAX 64
#define TBX_STREAM_INIT_SECONDS 10
#define TBX_STREAM_DOCUMENT_MAX (1024 * 1024) /* in however many frames */

/* The first byte of a binary frame. What a type means does not depend on the channel. */
typedef enum {
    TBX_STREAM_BYTES = 1, /* a piece of a byte stream; frame borders mean nothing (console) */
    TBX_STREAM_DOCUMENT =
        2, /* one whole JSON document (events, state), or a piece of a large one */
} TbxStreamFrame;

/* The second byte: a bit set. */
#define TBX_STREAM_FLAG_MORE 1

typedef struct _TbxStream TbxStream;
typedef struct _TbxStreamChannel TbxStreamChannel;

/* What a channel tells its owner. Any may be NULL: payload without a `data` handler is a protocol
 * error of the peer, the others are then not interesting. */
typedef struct {
    /* Client: the server accepted the subscription. */
    void (*ready)(TbxStreamChannel *channel, gpointer user_data);
    /* @length bytes, borrowed until return: 1 to TBX_STREAM_PAYLOAD_MAX of a byte stream, or a whole
     * document (1 to TBX_STREAM_DOCUMENT_MAX), which is UTF-8 but has not been parsed: give it to
     * tbx_json_guard_parse(). Answer with tbx_stream_channel_consumed() now or later. */
    void (*data)(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data, gsize length,
                 gpointer user_data);
    /* There is more room, after get_room() had said less than TBX_STREAM_PAYLOAD_MAX. */
    void (*writable)(TbxStreamChannel *channel, gpointer user_data);
    /* The peer is done with more of what was sent: tbx_stream_channel_get_untaken() says less. Comes
     * before `writable`. */
    void (*taken)(TbxStreamChannel *channel, gpointer user_data);
    /* Client: the reader fell behind and lost @bytes at this point of the stream. */
    void (*skipped)(TbxStreamChannel *channel, guint64 bytes, gpointer user_data);
    /* The peer sends no more payload. */
    void (*eof)(TbxStreamChannel *channel, gpointer user_data);
    /* The channel is over: the peer closed it (@code NULL: in order; else why), or the socket ended
     * (@code never NULL: "daemon-unreachable" even when it ended in order). The channel is freed on
     * return. Not called after tbx_stream_channel_close() or tbx_stream_destroy() by the owner. */
    void (*closed)(TbxStreamChannel *channel, const char *code, const char *detail,
                   gpointer user_data);
} TbxStreamChannelHandlers;

typedef struct {
    /* Nullable: the peer's init arrived. A client may subscribe before. */
    void (*opened)(TbxStream *stream, gpointer user_data);
    /* Server, mandatory: a client asks for @kind ("console", "events", …). @vm_id is nullable,
     * @options never. Answer, at any time, with tbx_stream_channel_accept() or
     * tbx_stream_channel_close(). */
    void (*subscribe)(TbxStream *stream, TbxStreamChannel *channel, const char *kind,
                      const char *vm_id, JsonObject *options, gpointer user_data);
    /* Mandatory, last, exactly once unless the owner destroys the stream first: the socket ended;
     * @error is NULL when in order. All channels were told before. */
    void (*closed)(TbxStream *stream, const GError *error, gpointer user_data);
} TbxStreamHandlers;

/**
 * tbx_stream_new:
 * @connection: (transfer none): a stream behind the WebSocket handshake
 * @role: which end this is
 * @handlers: (transfer none): const table that outlives the stream
 * @user_data: for @handlers
 *
 * Returns: (transfer full) (nullable): free with tbx_stream_destroy(). init is sent at once; a peer
 *   whose init does not come within TBX_STREAM_INIT_SECONDS is closed. %NULL as tbx_web_socket_new().
 */
TbxStream *tbx_stream_new(GIOStream *connection, TbxWebSocketRole role,
                          const TbxStreamHandlers *handlers, gpointer user_data);

/* Drops the socket and all channels; no handler runs any more. Accepts NULL; may be called in
 * handlers. */
void tbx_stream_destroy(TbxStream *stream);

/* Like tbx_stream_destroy(), but each channel's `closed` runs first, from inside this call, with
 * @code and
 * @detail: for an owner whose channels belong to others. */
void tbx_stream_abort(TbxStream *stream, const char *code, const char *detail);

/* Ends the stream in order: all channels get a close with @code, the socket a close frame. `closed`
 * follows. */
void tbx_stream_close(TbxStream *stream, const char *code, const char *detail);

/* Whether channels can still be opened; once not, `closed` follows. */
gboolean tbx_stream_is_open(TbxStream *stream);

/* How many channels exist, those included whose close the peer has not answered. */
guint tbx_stream_get_channel_count(TbxStream *stream);

/**
 * tbx_stream_subscribe:
 * @stream: a stream in the client role
 * @kind: "console", "events", "state"
 * @vm_id: (nullable): the VM, for kinds that belong to one
 * @options: (nullable) (transfer none): members of "options"
 * @handlers: (transfer none): const table that outlives the channel
 * @user_data: for @handlers
 *
 * Returns: (transfer none): the channel, owned by @stream; %NULL when all TBX_STREAM_CHANNELS_MAX
 *   are in use or the stream is not open
 */
TbxStreamChannel *tbx_stream_subscribe(TbxStream *stream, const char *kind, const char *vm_id,
                                       JsonObject *options,
                                       const TbxStreamChannelHandlers *handlers,
                                       gpointer user_data);

/* Server: grants the subscription; from now on the handlers run and payload may be sent. */
void tbx_stream_channel_accept(TbxStreamChannel *channel, const TbxStreamChannelHandlers *handlers,
                               gpointer user_data);

/* The same for a channel of events: @position is what `ready` says, see tbx_stream_channel_get_position(). */
void tbx_stream_channel_accept_at(TbxStreamChannel *channel, const char *position,
                                  const TbxStreamChannelHandlers *handlers, gpointer user_data);

/* Client, from `ready` on (transfer none) (nullable): where in the journal the channel begins. */
const char *tbx_stream_channel_get_position(TbxStreamChannel *channel);

/* Server, before accept: @handlers->closed tells when the peer loses interest in the meantime.
 * accept replaces them. */
void tbx_stream_channel_set_handlers(TbxStreamChannel *channel,
                                     const TbxStreamChannelHandlers *handlers, gpointer user_data);

/* The most payload that one tbx_stream_channel_send() may carry now: 0 to TBX_STREAM_PAYLOAD_MAX. A
 * caller who wants more than it says is told by `writable` when to ask again. */
gsize tbx_stream_channel_get_room(TbxStreamChannel *channel);

/* Sends one frame of 1 to get_room() bytes. */
void tbx_stream_channel_send(TbxStreamChannel *channel, TbxStreamFrame type, const void *data,
                             gsize length);

/**
 * tbx_stream_channel_send_document:
 * @text: a document of @length bytes, at most TBX_STREAM_DOCUMENT_MAX
 * @from: how much of it was sent before
 *
 * Sends as much of a document as there is room for; @length bytes in all when it returns @length. What is
 * missing is sent by further calls, when `writable` says so, before anything else on this channel.
 *
 * Returns: how much of it has been sent now
 */
gsize tbx_stream_channel_send_document(TbxStreamChannel *channel, const char *text, gsize length,
                                       gsize from);

/* Payload bytes sent that the peer has not yet given back as credit. Its end of the code does so when
 * its owner called tbx_stream_channel_consumed(), so at 0 all that was sent has reached who it is for. */
guint64 tbx_stream_channel_get_untaken(TbxStreamChannel *channel);

/* Server: tells the client that @bytes were lost before what is sent next. */
void tbx_stream_channel_send_skipped(TbxStreamChannel *channel, guint64 bytes);

/* No more payload from here. */
void tbx_stream_channel_send_eof(TbxStreamChannel *channel);

/* The owner is done with @bytes received ones: the peer may send as much again. It is told when these
 * were the last, else by the quarter of the window. */
void tbx_stream_channel_consumed(TbxStreamChannel *channel, gsize bytes);

/* Ends the channel with @code (nullable: in order) and @detail (nullable). @channel must not be
 * used any more; its handlers run no more. */
void tbx_stream_channel_close(TbxStreamChannel *channel, const char *code, const char *detail);

G_END_DECLS
