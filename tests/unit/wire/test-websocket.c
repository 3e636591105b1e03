/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The WebSocket: two ends of ours talking, and hand-made frames against the server end.
 *
 * A raw test writes bytes into one end of a socketpair and looks at what the server says and does. No
 * test waits for a clock except for the ping, whose interval it sets itself.
 */
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtenbox/tenbox-error.h"
#include "libtenbox/wire/websocket.h"

/* What one end saw. */
typedef struct {
    TbxWebSocket *socket;
    GString *text;    /* all text messages, each followed by a bar */
    GByteArray *data; /* all binary messages */
    guint message_count;
    guint drained_count;
    gboolean is_closed;
    TbxWebSocketStatus status;
    char *error_code; /* nullable */
    gboolean destroy_in_handler;
} End;

static void on_text(TbxWebSocket *socket, const char *text, gsize length, gpointer user_data)
{
    End *end = user_data;

    g_assert_cmpuint(strlen(text), ==, length);
    g_string_append_len(end->text, text, (gssize)length);
    g_string_append_c(end->text, '|');
    end->message_count++;
    if (end->destroy_in_handler) {
        tbx_web_socket_destroy(g_steal_pointer(&end->socket));
    }
}

static void on_binary(TbxWebSocket *socket, const guint8 *data, gsize length, gpointer user_data)
{
    End *end = user_data;

    g_byte_array_append(end->data, data, (guint)length);
    end->message_count++;
}

static void on_drained(TbxWebSocket *socket, gpointer user_data)
{
    ((End *)user_data)->drained_count++;
}

static void on_closed(TbxWebSocket *socket, TbxWebSocketStatus status, const GError *error,
                      gpointer user_data)
{
    End *end = user_data;

    g_assert_false(end->is_closed);
    end->is_closed = TRUE;
    end->status = status;
    end->error_code = error != NULL ? g_strdup(tenbox_error_get_code(error)) : NULL;
}

static const TbxWebSocketHandlers handlers = {on_text, on_binary, on_drained, on_closed};

static void end_open(End *end, int fd, TbxWebSocketRole role)
{
    g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, NULL);
    g_autoptr(GSocketConnection) connection = NULL;

    g_assert_nonnull(socket);
    connection = g_socket_connection_factory_create_connection(socket);
    *end = (End){.text = g_string_new(NULL), .data = g_byte_array_new()};
    end->socket = tbx_web_socket_new(G_IO_STREAM(connection), role, &handlers, end);
}

static void end_fini(End *end)
{
    tbx_web_socket_destroy(end->socket);
    g_string_free(end->text, TRUE);
    g_byte_array_unref(end->data);
    g_free(end->error_code);
}

static void pair_open(End *server, End *client)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    end_open(server, fds[0], TBX_WEB_SOCKET_SERVER);
    end_open(client, fds[1], TBX_WEB_SOCKET_CLIENT);
}

/* The server end and a bare descriptor. */
static int raw_open(End *server)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    end_open(server, fds[0], TBX_WEB_SOCKET_SERVER);
    return fds[1];
}

static void iterate(void)
{
    g_main_context_iteration(NULL, TRUE);
}

/* Until nothing is ready: what was sent has been handled as far as it can be. */
static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static void test_echo(void)
{
    End server, client;
    g_autofree char *long_text = g_strnfill(TBX_WEB_SOCKET_MESSAGE_MAX, 'x');
    g_autoptr(GBytes) bytes = g_bytes_new("\0\1\2", 3);

    pair_open(&server, &client);
    tbx_web_socket_send_text(client.socket, "hé", -1);
    tbx_web_socket_send_text(client.socket, "", -1);
    tbx_web_socket_send_binary(client.socket, bytes);
    tbx_web_socket_send_text(server.socket, long_text, -1);
    while (server.message_count < 3 || client.message_count < 1) {
        iterate();
    }
    g_assert_cmpstr(server.text->str, ==, "hé||");
    g_assert_cmpmem(server.data->data, server.data->len, "\0\1\2", 3);
    g_assert_cmpuint(client.text->len, ==, TBX_WEB_SOCKET_MESSAGE_MAX + 1);

    tbx_web_socket_close(client.socket, TBX_WEB_SOCKET_NORMAL, "done");
    while (!server.is_closed || !client.is_closed) {
        iterate();
    }
    g_assert_cmpint(server.status, ==, TBX_WEB_SOCKET_NORMAL);
    g_assert_null(server.error_code);
    g_assert_null(client.error_code);
    end_fini(&server);
    end_fini(&client);
}

static void test_back_pressure(void)
{
    End server;
    int peer = raw_open(&server);
    g_autoptr(GBytes) block =
        g_bytes_new_take(g_malloc0(TBX_WEB_SOCKET_MESSAGE_MAX), TBX_WEB_SOCKET_MESSAGE_MAX);
    guint8 sink[65536];

    while (tbx_web_socket_get_room(server.socket) >= TBX_WEB_SOCKET_MESSAGE_MAX) {
        tbx_web_socket_send_binary(server.socket, block);
        settle();
    }
    g_assert_cmpuint(server.drained_count, ==, 0);
    while (server.drained_count == 0) {
        g_assert_cmpint(read(peer, sink, sizeof(sink)), >, 0);
        settle();
    }
    g_assert_cmpuint(tbx_web_socket_get_room(server.socket), >=, TBX_WEB_SOCKET_ROOM_MAX * 3 / 4);
    g_assert_false(server.is_closed);
    end_fini(&server);
    close(peer);
}

static void test_overflow(void)
{
    End server;
    int peer = raw_open(&server);
    g_autoptr(GBytes) block =
        g_bytes_new_take(g_malloc0(TBX_WEB_SOCKET_MESSAGE_MAX), TBX_WEB_SOCKET_MESSAGE_MAX);

    /* The kernel takes some, we keep at most TBX_WEB_SOCKET_QUEUE_MAX, then it is over. */
    for (guint i = 0; i < 64; i++) {
        tbx_web_socket_send_binary(server.socket, block);
        settle();
    }
    g_assert_cmpuint(tbx_web_socket_get_room(server.socket), ==, 0);
    close(peer);
    while (!server.is_closed) {
        iterate();
    }
    g_assert_cmpint(server.status, ==, TBX_WEB_SOCKET_POLICY);
    g_assert_cmpstr(server.error_code, ==, "timed-out");
    end_fini(&server);
}

static void raw_send(int peer, const void *bytes, gsize length)
{
    g_assert_cmpint(send(peer, bytes, length, MSG_NOSIGNAL), ==, (gssize)length);
}

/* Reads until the server's close frame and returns its status; pongs and the like are passed over. */
static guint raw_read_close(int peer)
{
    guint8 header[4], payload[256];

    for (;;) {
        settle();
        g_assert_cmpint(recv(peer, header, 2, MSG_WAITALL), ==, 2);
        g_assert_cmpuint(header[1], <, 126);
        g_assert_cmpint(recv(peer, payload, header[1], MSG_WAITALL), ==, header[1]);
        if (header[0] == 0x88) {
            if (header[1] == 0) {
                return TBX_WEB_SOCKET_NO_STATUS;
            }
            return (guint)payload[0] << 8 | payload[1];
        }
    }
}

/* Frames with a zero mask, so that the payload is readable here. */
#define MASK "\0\0\0\0"

static const struct {
    const char *name;
    const char *bytes;
    gsize length;
    guint status;
} violations[] = {
#define ROW(name, bytes, status)                                                                   \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1, status                                                     \
    }
    ROW("not masked", "\x81\x01x", 1002),
    ROW("reserved bit", "\xc1\x80" MASK, 1002),
    ROW("unknown opcode", "\x83\x80" MASK, 1002),
    ROW("unknown control opcode", "\x8b\x80" MASK, 1002),
    ROW("fragmented ping", "\x09\x80" MASK, 1005),
    ROW("long ping", "\x89\xfe\x00\x7e" MASK, 1005),
    ROW("continuation of nothing", "\x80\x80" MASK, 1002),
    ROW("text inside a message", "\x01\x81" MASK "a\x81\x81" MASK "b", 1002),
    ROW("length not minimal", "\x82\xfe\x00\x01" MASK, 1005),
    ROW("length of 2^63", "\x82\xff\x80\0\0\0\0\0\0\0" MASK, 1005),
    ROW("text not UTF-8", "\x81\x82" MASK "\xc3\x28", 1007),
    ROW("text cut inside a character", "\x81\x81" MASK "\xc3", 1007),
    ROW("close with a forbidden status", "\x88\x82" MASK "\x03\xed", 1002),
    ROW("message of 64 KiB and one", "\x82\xff\0\0\0\0\0\x01\0\x01" MASK "x", 1009),
    ROW("message of 2^62", "\x82\xff\x40\0\0\0\0\0\0\0" MASK "x", 1009),
#undef ROW
};

static void test_violations(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(violations); i++) {
        End server;
        int peer = raw_open(&server);
        guint status;

        g_test_message("%s", violations[i].name);
        raw_send(peer, violations[i].bytes, violations[i].length);
        status = raw_read_close(peer);
        while (!server.is_closed) {
            iterate();
        }
        if (status != violations[i].status) {
            g_error("%s: closed with %u", violations[i].name, status);
        }
        g_assert_cmpint(server.status, ==,
                        status == TBX_WEB_SOCKET_NO_STATUS ? TBX_WEB_SOCKET_PROTOCOL_ERROR
                                                           : status);
        g_assert_cmpstr(server.error_code, ==, "protocol-error");
        g_assert_cmpuint(server.message_count, ==, 0);
        end_fini(&server);
        close(peer);
    }
}

static void test_fragments(void)
{
    End server;
    int peer = raw_open(&server);

    raw_send(peer,
             "\x01\x81" MASK "a\x89\x80" MASK "\x00\x80" MASK "\x00\x81" MASK "b\x80\x81" MASK "c",
             6 + 1 + 6 + 6 + 6 + 1 + 6 + 1);
    while (server.message_count == 0) {
        iterate();
    }
    g_assert_cmpstr(server.text->str, ==, "abc|");
    end_fini(&server);
    close(peer);
}

/* Fragments that never end: 64 KiB in pieces of one byte, then one more. */
static void test_endless_fragments(void)
{
    End server;
    int peer = raw_open(&server);
    g_autoptr(GByteArray) burst = g_byte_array_new();

    for (guint i = 0; i < 256; i++) {
        g_byte_array_append(burst, (const guint8 *)"\x00\x81" MASK "x", 7);
    }
    raw_send(peer, "\x02\x81" MASK "x", 7);
    for (guint i = 0; i < 255; i++) {
        raw_send(peer, burst->data, burst->len);
        settle();
    }
    g_assert_false(server.is_closed);
    raw_send(peer, burst->data, burst->len);
    g_assert_cmpuint(raw_read_close(peer), ==, TBX_WEB_SOCKET_TOO_BIG);
    end_fini(&server);
    close(peer);
}

/* A peer that sends pings and reads nothing: the server stops receiving, so the sender gets stuck in the
 * kernel's buffers instead of filling ours. When it reads, it gets every pong. */
static void test_ping_flood(void)
{
    enum { COUNT = 200000 };
    static const guint8 ping[] = {0x89, 0x84, 0, 0, 0, 0, 'p', 'i', 'n', 'g'};
    End server;
    int peer = raw_open(&server);
    guint64 sent = 0, received = 0;
    gboolean stuck = FALSE;
    guint8 pong[6 * 1024];

    while (received < (guint64)COUNT * 6) {
        gssize count = -1;

        if (sent < (guint64)COUNT * sizeof(ping)) {
            guint8 burst[sizeof(ping) * 64];
            gsize offset = sent % sizeof(ping);
            gsize length = MIN(sizeof(burst) - offset, (guint64)COUNT * sizeof(ping) - sent);

            for (gsize i = 0; i < sizeof(burst); i++) {
                burst[i] = ping[i % sizeof(ping)];
            }
            count = send(peer, burst + offset, length, MSG_DONTWAIT | MSG_NOSIGNAL);
            sent += count > 0 ? (guint64)count : 0;
        }
        settle();
        if (count < 0) {
            stuck = stuck || received == 0;
            count = recv(peer, pong, sizeof(pong), MSG_DONTWAIT);
            g_assert_cmpint(count, >, 0);
            received += (guint64)count;
        }
    }
    g_assert_true(stuck);
    g_assert_cmpuint(received, ==, (guint64)COUNT * 6);
    end_fini(&server);
    close(peer);
}

static void test_peer_vanishes(void)
{
    End server;
    int peer = raw_open(&server);

    raw_send(peer, "\x81", 1);
    close(peer);
    while (!server.is_closed) {
        iterate();
    }
    g_assert_cmpint(server.status, ==, TBX_WEB_SOCKET_ABNORMAL);
    g_assert_cmpstr(server.error_code, ==, "daemon-unreachable");
    end_fini(&server);
}

static void test_silent_peer(void)
{
    End server;
    int peer = raw_open(&server);
    guint8 pings[6];

    raw_send(peer, "\x81\x81" MASK "a", 7);
    while (server.message_count == 0) {
        iterate();
    }
    tbx_web_socket_set_ping_interval(server.socket, 10);
    while (!server.is_closed) {
        iterate();
    }
    g_assert_cmpstr(server.error_code, ==, "timed-out");
    /* Two pings were not answered, and no third was sent. */
    g_assert_cmpint(recv(peer, pings, sizeof(pings), MSG_WAITALL), ==, 4);
    g_assert_cmpmem(pings, 4, "\x89\0\x89\0", 4);
    end_fini(&server);
    close(peer);
}

static void test_destroy_in_handler(void)
{
    End server;
    int peer = raw_open(&server);

    server.destroy_in_handler = TRUE;
    raw_send(peer, "\x81\x81" MASK "a\x81\x81" MASK "b", 14);
    while (server.message_count == 0) {
        iterate();
    }
    settle();
    g_assert_cmpstr(server.text->str, ==, "a|");
    g_assert_false(server.is_closed);
    end_fini(&server);
    close(peer);
}

static void test_accept_key(void)
{
    g_autofree char *accept = tbx_web_socket_accept_key("dGhlIHNhbXBsZSBub25jZQ==");

    g_assert_cmpstr(accept, ==, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    g_assert_null(tbx_web_socket_accept_key(""));
    g_assert_null(tbx_web_socket_accept_key("dGhlIHNhbXBsZSBub25jZQ"));
    g_assert_null(tbx_web_socket_accept_key("dGhlIHNhbXBsZSBub25jZSE="));
    g_assert_null(tbx_web_socket_accept_key("dGhlIHNhbXBsZSBub25 ZQ=="));
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer user_data)
{
    GError **error = user_data;

    if (tbx_web_socket_connect_finish(G_IO_STREAM(source), result, error)) {
        *error = NULL;
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PENDING, "connected");
    }
}

/* Runs the client's handshake against @answer, in which %s is the right Sec-WebSocket-Accept. */
static GError *handshake(const char *answer, gboolean cut)
{
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GSocketConnection) connection = NULL;
    GError *error = NULL;
    char request[4096] = "";
    g_autofree char *key = NULL;
    g_autofree char *accept = NULL;
    g_autofree char *text = NULL;
    g_auto(GStrv) pieces = NULL;
    char *start;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    socket = g_socket_new_from_fd(fds[0], NULL);
    connection = g_socket_connection_factory_create_connection(socket);
    tbx_web_socket_connect_async(G_IO_STREAM(connection), "localhost", "/v1/ws", "X-Test: 1\r\n",
                                 NULL, on_connected, &error);
    while (strstr(request, "\r\n\r\n") == NULL) {
        gssize count = recv(fds[1], request + strlen(request),
                            sizeof(request) - strlen(request) - 1, MSG_DONTWAIT);

        g_assert_cmpint(count, !=, 0);
        if (count < 0) {
            iterate();
        }
    }
    g_assert_true(g_str_has_prefix(request, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n"));
    g_assert_nonnull(strstr(request, "X-Test: 1\r\n"));
    start = strstr(request, "Sec-WebSocket-Key: ");
    g_assert_nonnull(start);
    key = g_strndup(start + strlen("Sec-WebSocket-Key: "), 24);
    accept = tbx_web_socket_accept_key(key);
    g_assert_nonnull(accept);
    pieces = g_strsplit(answer, "%s", 2);
    text = g_strjoinv(accept, pieces);
    raw_send(fds[1], text, strlen(text));
    if (cut) {
        shutdown(fds[1], SHUT_WR);
    }
    while (error == NULL) {
        iterate();
    }
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PENDING)) {
        char rest[8] = "";

        /* What follows the answer is still there. */
        g_assert_cmpint(recv(fds[0], rest, sizeof(rest), MSG_DONTWAIT), ==, 4);
        g_assert_cmpstr(rest, ==, "rest");
    }
    close(fds[1]);
    return error;
}

#define GOOD_HEAD                                                                                  \
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nUPGRADE: WebSocket\r\n"

static void test_handshake(void)
{
    static const struct {
        const char *answer;
        gboolean cut;
        const char *message; /* NULL: accepted */
    } cases[] = {
        {GOOD_HEAD "Sec-WebSocket-Accept: %s\r\n\r\nrest", FALSE, NULL},
        {GOOD_HEAD "\r\n", FALSE, "broken"},
        {GOOD_HEAD "Sec-WebSocket-Accept: x%s\r\n\r\n", FALSE, "broken"},
        {GOOD_HEAD "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: x\r\n\r\n", FALSE,
         "broken"},
        {"HTTP/1.1 403 Forbidden\r\n\r\n", FALSE, "403 Forbidden"},
        {"SSH-2.0-x\r\n\r\n", FALSE, "SSH"},
        {"HTTP/1.1 101", TRUE, "ended"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = handshake(cases[i].answer, cases[i].cut);

        if (cases[i].message == NULL) {
            g_assert_error(error, G_IO_ERROR, G_IO_ERROR_PENDING);
        } else {
            g_assert_cmpint(error->domain, ==, TENBOX_ERROR);
            g_assert_nonnull(strstr(error->message, cases[i].message));
        }
    }
}

#define PROBLEM_HEAD "Content-Type: application/problem+json\r\n"
#define PROBLEM_BODY "{\"code\":\"shutting-down\",\"detail\":\"bye\",\"hint\":\"wait\"}"

/* A refusal says why in its problem document, and in its status line when that is no good. */
static void test_refusal(void)
{
    static const struct {
        const char *answer;
        const char *code, *message;
    } cases[] = {
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "Content-Length: 53\r\n\r\n" PROBLEM_BODY,
         "shutting-down", "bye"},
        {"HTTP/1.1 403 Forbidden\r\n" PROBLEM_HEAD
         "Content-Length: 27\r\n\r\n{\"code\":\"new\",\"detail\":\"x\"}",
         "new", "x"},
        /* Cut short, broken, too long, without a length, with another status or type. */
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "Content-Length: 54\r\n\r\n" PROBLEM_BODY,
         "shutting-down", "bye"},
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "Content-Length: 99\r\n\r\n{\"code\":",
         "protocol-error", "503 Busy"},
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "Content-Length: 4\r\n\r\n{{{{", "protocol-error",
         "503 Busy"},
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "Content-Length: 8193\r\n\r\n" PROBLEM_BODY,
         "protocol-error", "503 Busy"},
        {"HTTP/1.1 503 Busy\r\n" PROBLEM_HEAD "\r\n" PROBLEM_BODY, "protocol-error", "503 Busy"},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 53\r\n\r\n" PROBLEM_BODY, "protocol-error",
         "503 Busy"},
        {"HTTP/1.1 200 OK\r\n" PROBLEM_HEAD "Content-Length: 53\r\n\r\n" PROBLEM_BODY,
         "protocol-error", "200 OK"},
        {"503\r\n" PROBLEM_HEAD "Content-Length: 53\r\n\r\n" PROBLEM_BODY, "protocol-error", "503"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = handshake(cases[i].answer, TRUE);

        g_test_message("%s", cases[i].answer);
        g_assert_cmpint(error->domain, ==, TENBOX_ERROR);
        g_assert_cmpstr(tenbox_error_get_code(error), ==, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].message));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/websocket/echo", test_echo);
    g_test_add_func("/websocket/back-pressure", test_back_pressure);
    g_test_add_func("/websocket/overflow", test_overflow);
    g_test_add_func("/websocket/violations", test_violations);
    g_test_add_func("/websocket/fragments", test_fragments);
    g_test_add_func("/websocket/endless-fragments", test_endless_fragments);
    g_test_add_func("/websocket/ping-flood", test_ping_flood);
    g_test_add_func("/websocket/peer-vanishes", test_peer_vanishes);
    g_test_add_func("/websocket/silent-peer", test_silent_peer);
    g_test_add_func("/websocket/destroy-in-handler", test_destroy_in_handler);
    g_test_add_func("/websocket/accept-key", test_accept_key);
    g_test_add_func("/websocket/handshake", test_handshake);
    g_test_add_func("/websocket/refusal", test_refusal);
    return g_test_run();
}
