/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream codec: a server and a client of ours over a socketpair, and a hand-driven WebSocket
 * against the server for what our client would never send.
 */
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>

#include "libtenbox/tenbox-error.h"
#include "libtenbox/wire/stream.h"

/* One end, with the channel of interest. */
typedef struct {
    TbxStream *stream;
    TbxStreamChannel *channel; /* NULL once closed */
    gboolean accept;           /* server: what to do with a subscription */
    gboolean consume;          /* credit everything at once */
    char *kind, *vm_id;
    gboolean replay;
    guint subscribe_count, ready_count, writable_count, taken_count, eof_count;
    guint64 skipped;
    GString *received;
    GArray *documents; /* nullable: of gsize, the length of each */
    gsize unconsumed;
    char *channel_code; /* why the channel was closed; "" for in order */
    gboolean is_closed;
    char *error_code; /* nullable */
    gboolean destroy_on_data;
} End;

static void on_channel_ready(TbxStreamChannel *channel, gpointer user_data)
{
    ((End *)user_data)->ready_count++;
}

static void on_channel_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                            gsize length, gpointer user_data)
{
    End *end = user_data;

    g_assert_true(type == TBX_STREAM_BYTES || type == TBX_STREAM_DOCUMENT);
    g_string_append_len(end->received, (const char *)data, (gssize)length);
    if (end->documents != NULL) {
        g_assert_true(type == TBX_STREAM_DOCUMENT);
        g_array_append_val(end->documents, length);
    }
    if (end->destroy_on_data) {
        tbx_stream_destroy(g_steal_pointer(&end->stream));
        return;
    }
    if (end->consume) {
        tbx_stream_channel_consumed(channel, length);
    } else {
        end->unconsumed += length;
    }
}

static void on_channel_writable(TbxStreamChannel *channel, gpointer user_data)
{
    ((End *)user_data)->writable_count++;
}

static void on_channel_taken(TbxStreamChannel *channel, gpointer user_data)
{
    ((End *)user_data)->taken_count++;
}

static void on_channel_skipped(TbxStreamChannel *channel, guint64 bytes, gpointer user_data)
{
    ((End *)user_data)->skipped += bytes;
}

static void on_channel_eof(TbxStreamChannel *channel, gpointer user_data)
{
    ((End *)user_data)->eof_count++;
}

static void on_channel_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                              gpointer user_data)
{
    End *end = user_data;

    g_assert_true(end->channel == channel);
    end->channel = NULL;
    end->channel_code = g_strdup(code != NULL ? code : "");
}

static const TbxStreamChannelHandlers channel_handlers = {
    .ready = on_channel_ready,
    .data = on_channel_data,
    .writable = on_channel_writable,
    .taken = on_channel_taken,
    .skipped = on_channel_skipped,
    .eof = on_channel_eof,
    .closed = on_channel_closed,
};

static void on_subscribe(TbxStream *stream, TbxStreamChannel *channel, const char *kind,
                         const char *vm_id, JsonObject *options, gpointer user_data)
{
    End *end = user_data;

    g_free(end->kind);
    g_free(end->vm_id);
    end->kind = g_strdup(kind);
    end->vm_id = g_strdup(vm_id);
    end->replay = json_object_get_boolean_member_with_default(options, "replay", FALSE);
    end->subscribe_count++;
    if (end->accept) {
        end->channel = channel;
        tbx_stream_channel_accept(channel, &channel_handlers, end);
    } else {
        tbx_stream_channel_close(channel, "unsupported", "no such channel");
    }
}

static void on_closed(TbxStream *stream, const GError *error, gpointer user_data)
{
    End *end = user_data;

    g_assert_false(end->is_closed);
    end->is_closed = TRUE;
    end->error_code = error != NULL ? g_strdup(tenbox_error_get_code(error)) : NULL;
}

static const TbxStreamHandlers handlers = {NULL, on_subscribe, on_closed};

static GIOStream *connection_new(int fd)
{
    g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, NULL);

    g_assert_nonnull(socket);
    return G_IO_STREAM(g_socket_connection_factory_create_connection(socket));
}

static void end_open(End *end, int fd, TbxWebSocketRole role)
{
    g_autoptr(GIOStream) connection = connection_new(fd);

    *end = (End){.received = g_string_new(NULL), .accept = TRUE, .consume = TRUE};
    end->stream = tbx_stream_new(connection, role, &handlers, end);
}

static void end_fini(End *end)
{
    tbx_stream_destroy(end->stream);
    g_string_free(end->received, TRUE);
    g_free(end->kind);
    g_free(end->vm_id);
    g_free(end->channel_code);
    g_free(end->error_code);
}

static void pair_open(End *server, End *client)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    end_open(server, fds[0], TBX_WEB_SOCKET_SERVER);
    end_open(client, fds[1], TBX_WEB_SOCKET_CLIENT);
}

static void iterate(void)
{
    g_main_context_iteration(NULL, TRUE);
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static void subscribe(End *server, End *client)
{
    g_autoptr(JsonObject) options = json_object_new();

    json_object_set_boolean_member(options, "replay", TRUE);
    client->channel =
        tbx_stream_subscribe(client->stream, "console", "foo", options, &channel_handlers, client);
    while (client->ready_count == 0) {
        iterate();
    }
    g_assert_cmpstr(server->kind, ==, "console");
    g_assert_cmpstr(server->vm_id, ==, "foo");
    g_assert_true(server->replay);
}

/* Sends as much of @text as there is room for; returns how much that was. */
static gsize send_some(End *end, const char *text, gsize length)
{
    gsize sent = 0, room;

    while (sent < length && (room = tbx_stream_channel_get_room(end->channel)) > 0) {
        gsize piece = MIN(room, length - sent);

        tbx_stream_channel_send(end->channel, TBX_STREAM_BYTES, text + sent, piece);
        sent += piece;
    }
    return sent;
}

static void test_both_ways(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    send_some(&client, "hello", 5);
    send_some(&server, "world", 5);
    tbx_stream_channel_send_skipped(server.channel, 77);
    tbx_stream_channel_send_eof(server.channel);
    while (server.received->len < 5 || client.eof_count == 0) {
        iterate();
    }
    g_assert_cmpstr(server.received->str, ==, "hello");
    g_assert_cmpstr(client.received->str, ==, "world");
    g_assert_cmpuint(client.skipped, ==, 77);
    g_assert_cmpuint(tbx_stream_channel_get_room(server.channel), ==, 0);

    tbx_stream_channel_close(client.channel, NULL, NULL);
    while (server.channel_code == NULL) {
        iterate();
    }
    g_assert_cmpstr(server.channel_code, ==, "");
    while (tbx_stream_get_channel_count(client.stream) > 0) {
        iterate();
    }
    g_assert_cmpuint(tbx_stream_get_channel_count(server.stream), ==, 0);
    end_fini(&server);
    end_fini(&client);
}

static void test_refused(void)
{
    End server, client;

    pair_open(&server, &client);
    server.accept = FALSE;
    client.channel =
        tbx_stream_subscribe(client.stream, "x", NULL, NULL, &channel_handlers, &client);
    while (client.channel_code == NULL) {
        iterate();
    }
    g_assert_cmpstr(client.channel_code, ==, "unsupported");
    g_assert_null(server.vm_id);
    while (tbx_stream_get_channel_count(server.stream) > 0) {
        iterate();
    }
    end_fini(&server);
    end_fini(&client);
}

/* A reader that keeps what it got stops the sender at the window, and no earlier. */
static void test_credit(void)
{
    End server, client;
    const gsize total = 3 * TBX_STREAM_WINDOW;
    g_autofree char *text = g_strnfill(total, 'x');
    gsize sent = 0;

    pair_open(&server, &client);
    subscribe(&server, &client);
    client.consume = FALSE;
    while (client.received->len < TBX_STREAM_WINDOW) {
        sent += send_some(&server, text + sent, total - sent);
        iterate();
    }
    settle();
    sent += send_some(&server, text + sent, total - sent);
    g_assert_cmpuint(sent, ==, TBX_STREAM_WINDOW);
    server.writable_count = 0;

    /* A few bytes among many are not worth a frame; a quarter of the window is. */
    tbx_stream_channel_consumed(client.channel, 100);
    settle();
    g_assert_cmpuint(server.writable_count, ==, 0);
    tbx_stream_channel_consumed(client.channel, TBX_STREAM_WINDOW - 100);
    client.consume = TRUE;
    while (server.writable_count == 0) {
        iterate();
    }
    while (client.received->len < total) {
        sent += send_some(&server, text + sent, total - sent);
        iterate();
    }
    end_fini(&server);
    end_fini(&client);
}

/* A sender learns that the last of what it sent was taken, and not before. */
static void test_taken(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    server.consume = FALSE;
    send_some(&client, "hello", 5);
    while (server.received->len < 5) {
        iterate();
    }
    settle();
    g_assert_cmpuint(tbx_stream_channel_get_untaken(client.channel), ==, 5);
    tbx_stream_channel_consumed(server.channel, 2);
    settle();
    g_assert_cmpuint(client.taken_count, ==, 0);
    tbx_stream_channel_consumed(server.channel, 3);
    while (client.taken_count == 0) {
        iterate();
    }
    g_assert_cmpuint(tbx_stream_channel_get_untaken(client.channel), ==, 0);
    end_fini(&server);
    end_fini(&client);
}

/* Documents of any size come whole, one by one, and their credit comes back. */
static void test_documents(void)
{
    static const gsize sizes[] = {
        1, TBX_STREAM_PAYLOAD_MAX, TBX_STREAM_PAYLOAD_MAX + 1, TBX_STREAM_WINDOW,
        7, 3 * TBX_STREAM_WINDOW,  TBX_STREAM_DOCUMENT_MAX,    2,
    };
    g_autoptr(GArray) documents = g_array_new(FALSE, FALSE, sizeof(gsize));
    g_autoptr(GString) expected = g_string_new(NULL);
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    client.documents = documents;
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = g_strnfill(sizes[i], (char)('a' + i));
        gsize sent = 0;

        g_string_append(expected, text);
        while ((sent = tbx_stream_channel_send_document(server.channel, text, sizes[i], sent)) <
               sizes[i]) {
            iterate();
        }
    }
    while (client.received->len < expected->len) {
        iterate();
    }
    g_assert_cmpuint(documents->len, ==, G_N_ELEMENTS(sizes));
    for (guint i = 0; i < documents->len; i++) {
        g_assert_cmpuint(g_array_index(documents, gsize, i), ==, sizes[i]);
    }
    g_assert_true(g_string_equal(client.received, expected));
    /* All credit is back: nothing of what was assembled was counted twice or forgotten. */
    while (tbx_stream_channel_get_untaken(server.channel) > 0) {
        iterate();
    }
    end_fini(&server);
    end_fini(&client);
}

static void test_channel_limit(void)
{
    End server, client;

    pair_open(&server, &client);
    for (guint i = 0; i < TBX_STREAM_CHANNELS_MAX; i++) {
        g_assert_nonnull(tbx_stream_subscribe(client.stream, "console", "foo", NULL,
                                              &channel_handlers, &client));
    }
    g_assert_null(
        tbx_stream_subscribe(client.stream, "console", "foo", NULL, &channel_handlers, &client));
    while (client.ready_count < TBX_STREAM_CHANNELS_MAX) {
        iterate();
    }
    end_fini(&server);
    end_fini(&client);
}

static void test_close(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    tbx_stream_close(server.stream, "shutting-down", "bye");
    while (!server.is_closed || !client.is_closed) {
        iterate();
    }
    g_assert_cmpstr(client.channel_code, ==, "shutting-down");
    g_assert_cmpstr(server.channel_code, ==, "shutting-down");
    g_assert_false(tbx_stream_is_open(client.stream));
    g_assert_null(client.error_code);
    g_assert_null(server.error_code);
    end_fini(&server);
    end_fini(&client);
}

static void test_peer_dies(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    tbx_stream_destroy(g_steal_pointer(&server.stream));
    while (!client.is_closed) {
        iterate();
    }
    g_assert_cmpstr(client.channel_code, ==, "daemon-unreachable");
    g_assert_cmpstr(client.error_code, ==, "daemon-unreachable");
    end_fini(&server);
    end_fini(&client);
}

static void test_abort(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    tbx_stream_abort(g_steal_pointer(&server.stream), "shutting-down", NULL);
    g_assert_cmpstr(server.channel_code, ==, "shutting-down");
    g_assert_false(server.is_closed);
    while (!client.is_closed) {
        iterate();
    }
    end_fini(&server);
    end_fini(&client);
}

static void test_destroy_in_handler(void)
{
    End server, client;

    pair_open(&server, &client);
    subscribe(&server, &client);
    server.destroy_on_data = TRUE;
    send_some(&client, "x", 1);
    send_some(&client, "y", 1);
    while (!client.is_closed) {
        iterate();
    }
    g_assert_cmpstr(server.received->str, ==, "x");
    g_assert_false(server.is_closed);
    end_fini(&server);
    end_fini(&client);
}

/* ---- a client by hand ----------------------------------------------------------------------- */

typedef struct {
    TbxWebSocket *socket;
    GString *text;
    guint data_count;
    gboolean is_closed;
} Raw;

static void on_raw_text(TbxWebSocket *socket, const char *text, gsize length, gpointer user_data)
{
    g_string_append_printf(((Raw *)user_data)->text, "%s\n", text);
}

static void on_raw_binary(TbxWebSocket *socket, const guint8 *data, gsize length,
                          gpointer user_data)
{
    ((Raw *)user_data)->data_count++;
}

static void on_raw_drained(TbxWebSocket *socket, gpointer user_data)
{
}

static void on_raw_closed(TbxWebSocket *socket, TbxWebSocketStatus status, const GError *error,
                          gpointer user_data)
{
    ((Raw *)user_data)->is_closed = TRUE;
}

static void raw_open(Raw *raw, End *server)
{
    static const TbxWebSocketHandlers raw_handlers = {on_raw_text, on_raw_binary, on_raw_drained,
                                                      on_raw_closed};
    g_autoptr(GIOStream) connection = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    end_open(server, fds[0], TBX_WEB_SOCKET_SERVER);
    connection = connection_new(fds[1]);
    *raw = (Raw){.text = g_string_new(NULL)};
    raw->socket = tbx_web_socket_new(connection, TBX_WEB_SOCKET_CLIENT, &raw_handlers, raw);
}

static void raw_fini(Raw *raw)
{
    tbx_web_socket_destroy(raw->socket);
    g_string_free(raw->text, TRUE);
}

/* Sends @script: lines of control JSON, or "=" and hexadecimal digits for a binary message. */
static void raw_play(Raw *raw, const char *script)
{
    g_auto(GStrv) lines = g_strsplit(script, "\n", -1);

    for (char **line = lines; *line != NULL; line++) {
        if (**line == '=') {
            g_autoptr(GByteArray) bytes = g_byte_array_new();
            g_autoptr(GBytes) message = NULL;

            for (const char *digit = *line + 1; digit[0] != '\0'; digit += 2) {
                guint8 byte =
                    (guint8)(g_ascii_xdigit_value(digit[0]) << 4 | g_ascii_xdigit_value(digit[1]));

                g_byte_array_append(bytes, &byte, 1);
            }
            message = g_bytes_new(bytes->data, bytes->len);
            tbx_web_socket_send_binary(raw->socket, message);
        } else {
            tbx_web_socket_send_text(raw->socket, *line, -1);
        }
    }
}

#define INIT      "{\"type\":\"init\",\"version\":1}"
#define SUBSCRIBE "{\"type\":\"subscribe\",\"id\":7,\"channel\":\"console\",\"vm_id\":\"foo\"}"

static const struct {
    const char *script;
    const char *detail; /* a piece of the error frame */
} violations[] = {
    {"{}", "without a type"},
    {"[]", "not an object"},
    {"{\"type\":1}", "without a type"},
    {"x", "invalid JSON"},
    {"{\"type\":\"init\",\"type\":\"init\"}", "comes twice"},
    {SUBSCRIBE, "first frame must be init"},
    {"=0100010000000000", "first frame must be init"},
    {"{\"type\":\"init\"}", "without a version"},
    {"{\"type\":\"init\",\"version\":2}", "version 2"},
    {INIT "\n" INIT, "init came twice"},
    {INIT "\n{\"type\":\"subscribe\"}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":0,\"channel\":\"console\"}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":65536,\"channel\":\"console\"}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":1.5,\"channel\":\"console\"}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":1,\"channel\":7}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":1,\"channel\":\"a\",\"vm_id\":[]}", "subscribe needs"},
    {INIT "\n{\"type\":\"subscribe\",\"id\":1,\"channel\":\"a\",\"options\":1}", "subscribe needs"},
    {INIT "\n" SUBSCRIBE "\n" SUBSCRIBE, "in use"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"ready\",\"id\":7,\"credit\":1}", "must not say ready"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"skipped\",\"id\":7,\"bytes\":1}", "out of place"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"credit\",\"id\":7}", "out of range"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"credit\",\"id\":7,\"bytes\":0}", "out of range"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"credit\",\"id\":7,\"bytes\":4294967295}", "out of range"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"credit\",\"bytes\":1}", "without an id"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"eof\",\"id\":7}\n{\"type\":\"eof\",\"id\":7}",
     "out of place"},
    {INIT "\n" SUBSCRIBE "\n{\"type\":\"eof\",\"id\":7}\n=010007000000000041", "behind eof"},
    {INIT "\n=01", "shorter than its header"},
    {INIT "\n" SUBSCRIBE "\n=0100070000000000", "without payload"},
    {INIT "\n" SUBSCRIBE "\n=000007000000000041", "unknown type"},
    {INIT "\n" SUBSCRIBE "\n=030007000000000041", "unknown type"},
    {INIT "\n" SUBSCRIBE "\n=010107000000000041", "unknown flags"},
    {INIT "\n" SUBSCRIBE "\n=020207000000000041", "unknown flags"},
    {INIT "\n" SUBSCRIBE "\n=020007000000000041", "document from a client"},
    {INIT "\n" SUBSCRIBE "\n=020107000000000041", "document from a client"},
    {INIT "\n" SUBSCRIBE "\n=010008000000000041", "not open"},
    {INIT "\n" SUBSCRIBE "\n=010007000100000041", "gap"},
    {INIT "\n" SUBSCRIBE "\n=010007000000000041\n=010007000000000041", "gap"},
    {INIT "\n{\"type\":\"ping\",\"nonce\":7}", "nonce"},
};

static void test_violations(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(violations); i++) {
        End server;
        Raw raw;

        raw_open(&raw, &server);
        g_test_message("%s", violations[i].detail);
        raw_play(&raw, violations[i].script);
        while (!server.is_closed || !raw.is_closed) {
            iterate();
        }
        g_assert_cmpstr(server.error_code, ==, "protocol-error");
        if (strstr(raw.text->str, "\"type\":\"error\",\"code\":\"protocol-error\"") == NULL ||
            strstr(raw.text->str, violations[i].detail) == NULL) {
            g_error("%s: got %s", violations[i].script, raw.text->str);
        }
        raw_fini(&raw);
        end_fini(&server);
    }
}

static void test_beyond_credit(void)
{
    End server;
    Raw raw;
    g_autofree guint8 *frame = g_malloc0(TBX_WEB_SOCKET_MESSAGE_MAX);

    raw_open(&raw, &server);
    server.consume = FALSE;
    raw_play(&raw, INIT "\n" SUBSCRIBE);
    frame[0] = TBX_STREAM_BYTES;
    frame[2] = 7;
    for (guint i = 0; i < 5; i++) {
        g_autoptr(GBytes) message = NULL;

        frame[4] = (guint8)i;
        message = g_bytes_new(frame, TBX_WEB_SOCKET_MESSAGE_MAX);
        tbx_web_socket_send_binary(raw.socket, message);
    }
    while (!server.is_closed || !raw.is_closed) {
        iterate();
    }
    g_assert_cmpuint(server.unconsumed, <=, TBX_STREAM_WINDOW);
    g_assert_nonnull(strstr(raw.text->str, "beyond its credit"));
    raw_fini(&raw);
    end_fini(&server);
}

/* The socket's own end, however orderly, is told apart from a channel's. */
static void test_socket_closes(void)
{
    End server;
    Raw raw;

    raw_open(&raw, &server);
    raw_play(&raw, INIT "\n" SUBSCRIBE);
    while (server.channel == NULL) {
        iterate();
    }
    tbx_web_socket_close(raw.socket, TBX_WEB_SOCKET_NORMAL, NULL);
    while (!server.is_closed) {
        iterate();
    }
    g_assert_cmpstr(server.channel_code, ==, "daemon-unreachable");
    g_assert_null(server.error_code);
    raw_fini(&raw);
    end_fini(&server);
}

/* What must be tolerated: unknown types and members, control for ids that are gone, payload that
 * crosses a close. */
static void test_tolerance(void)
{
    End server;
    Raw raw;

    raw_open(&raw, &server);
    raw_play(&raw, "{\"type\":\"init\",\"version\":1,\"extensions\":[\"x\"],\"new\":{}}\n"
                   "{\"type\":\"from-the-future\"}\n"
                   "{\"type\":\"credit\",\"id\":9,\"bytes\":1}\n"
                   "{\"type\":\"close\",\"id\":9}\n" SUBSCRIBE);
    while (server.channel == NULL) {
        iterate();
    }
    tbx_stream_channel_close(g_steal_pointer(&server.channel), NULL, NULL);
    raw_play(&raw, "=010007000000000041\n=010007000100000041\n"
                   "{\"type\":\"close\",\"id\":7}\n" SUBSCRIBE "\n"
                   "{\"type\":\"ping\",\"nonce\":\"n1\"}");
    while (strstr(raw.text->str, "n1") == NULL) {
        iterate();
    }
    g_assert_cmpuint(server.subscribe_count, ==, 2);
    g_assert_cmpuint(server.received->len, ==, 0);
    g_assert_nonnull(strstr(raw.text->str, "{\"type\":\"pong\",\"nonce\":\"n1\"}"));
    g_assert_false(server.is_closed);
    raw_fini(&raw);
    end_fini(&server);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stream/both-ways", test_both_ways);
    g_test_add_func("/stream/refused", test_refused);
    g_test_add_func("/stream/credit", test_credit);
    g_test_add_func("/stream/taken", test_taken);
    g_test_add_func("/stream/documents", test_documents);
    g_test_add_func("/stream/channel-limit", test_channel_limit);
    g_test_add_func("/stream/close", test_close);
    g_test_add_func("/stream/peer-dies", test_peer_dies);
    g_test_add_func("/stream/abort", test_abort);
    g_test_add_func("/stream/destroy-in-handler", test_destroy_in_handler);
    g_test_add_func("/stream/violations", test_violations);
    g_test_add_func("/stream/beyond-credit", test_beyond_credit);
    g_test_add_func("/stream/socket-closes", test_socket_closes);
    g_test_add_func("/stream/tolerance", test_tolerance);
    return g_test_run();
}
