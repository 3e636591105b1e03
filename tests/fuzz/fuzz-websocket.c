/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream and the WebSocket below it, both ends, against a peer that says anything.
 *
 * The first byte of the input picks what the rest means:
 *   0  raw bytes to the server's end
 *   1  raw bytes to the client's end, which has a channel open
 *   2  messages to the server's end, well framed and behind a good init: each is a type byte (0 binary,
 *      else text), a length byte and that many bytes
 *   3  the same to the client's end
 * The owner of the channels accepts everything, echoes payload as far as there is room, and now and then
 * closes what it has.
 */
#include <gio/gio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtenbox/wire/stream.h"

#define INPUT_MAX (32 * 1024)
#define INIT      "{\"type\":\"init\",\"version\":1}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    TbxStream *stream;
    gboolean is_closed;
    guint frame_count;
} Owner;

static void on_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                    gsize length, gpointer user_data)
{
    Owner *owner = user_data;

    if (length == 0 || length > TBX_STREAM_PAYLOAD_MAX) {
        abort();
    }
    if (tbx_stream_channel_get_room(channel) >= length) {
        tbx_stream_channel_send(channel, type, data, length);
    }
    tbx_stream_channel_consumed(channel, length);
    if (++owner->frame_count % 7 == 0) {
        tbx_stream_channel_close(channel, "closed", NULL);
    }
}

static void on_channel_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                              gpointer user_data)
{
    if ((code != NULL && !g_utf8_validate(code, -1, NULL)) ||
        (detail != NULL && !g_utf8_validate(detail, -1, NULL))) {
        abort();
    }
}

static const TbxStreamChannelHandlers channel_handlers = {.data = on_data,
                                                          .closed = on_channel_closed};

static void on_subscribe(TbxStream *stream, TbxStreamChannel *channel, const char *kind,
                         const char *vm_id, JsonObject *options, gpointer user_data)
{
    tbx_stream_channel_accept(channel, &channel_handlers, user_data);
    if (tbx_stream_get_channel_count(stream) > TBX_STREAM_CHANNELS_MAX) {
        abort();
    }
}

static void on_closed(TbxStream *stream, const GError *error, gpointer user_data)
{
    ((Owner *)user_data)->is_closed = TRUE;
}

/* One message as a frame with a mask of zeros, or without for a client's end. */
static void append_frame(GByteArray *bytes, gboolean masked, gboolean is_text, const void *data,
                         gsize length)
{
    guint8 head[8] = {is_text ? 0x81 : 0x82};
    gsize head_length = 2;

    if (length < 126) {
        head[1] = (guint8)length;
    } else {
        head[1] = 126;
        head[2] = (guint8)(length >> 8);
        head[3] = (guint8)length;
        head_length = 4;
    }
    if (masked) {
        head[1] |= 0x80;
        head_length += 4;
    }
    g_byte_array_append(bytes, head, (guint)head_length);
    g_byte_array_append(bytes, data, (guint)length);
}

static GByteArray *frame_messages(const uint8_t *data, size_t size, gboolean masked)
{
    GByteArray *bytes = g_byte_array_new();

    append_frame(bytes, masked, TRUE, INIT, strlen(INIT));
    while (size >= 2) {
        size_t length = MIN((size_t)data[1], size - 2);

        append_frame(bytes, masked, data[0] != 0, data + 2, length);
        data += 2 + length;
        size -= 2 + length;
    }
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const TbxStreamHandlers handlers = {NULL, on_subscribe, on_closed};
    g_autoptr(GMainContext) context = NULL;
    g_autoptr(GByteArray) bytes = NULL;
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GSocketConnection) connection = NULL;
    Owner owner = {0};
    gboolean is_client;
    int fds[2];

    if (size < 1 || size > INPUT_MAX || data[0] > 3 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return 0;
    }
    is_client = data[0] & 1;
    if (data[0] & 2) {
        bytes = frame_messages(data + 1, size - 1, !is_client);
    } else {
        bytes = g_byte_array_append(g_byte_array_new(), data + 1, (guint)(size - 1));
    }
    context = g_main_context_new();
    g_main_context_push_thread_default(context);
    socket = g_socket_new_from_fd(fds[0], NULL);
    connection = g_socket_connection_factory_create_connection(socket);
    owner.stream = tbx_stream_new(G_IO_STREAM(connection),
                                  is_client ? TBX_WEB_SOCKET_CLIENT : TBX_WEB_SOCKET_SERVER,
                                  &handlers, &owner);
    if (is_client) {
        tbx_stream_subscribe(owner.stream, "console", "a", NULL, &channel_handlers, &owner);
    }
    if (send(fds[1], bytes->data, bytes->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        abort();
    }
    shutdown(fds[1], SHUT_WR);
    while (g_main_context_iteration(context, FALSE)) {
    }
    tbx_stream_destroy(owner.stream);
    close(fds[1]);
    g_main_context_pop_thread_default(context);
    return 0;
}
