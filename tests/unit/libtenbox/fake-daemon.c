/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon for tests; see fake-daemon.h.
 */
#include "tests/unit/libtenbox/fake-daemon.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libtenbox/tenbox-error.h"

struct FakeDaemon {
    char *folder;
    char *socket_path;
    char *uri;
    SoupServer *server;
    GHashTable *routes; /* route → Route */
    GHashTable *counts; /* route → count */
    GString *log;
    char *body;
    GPtrArray *channels; /* of FakeChannel */
    GPtrArray *streams;  /* of TbxStream */
    char *refusal, *refusal_detail;
    char *position;    /* nullable */
    GPtrArray *paused; /* messages never answered */
};

typedef struct {
    FakeHandler handler;
    gpointer user_data;
    guint status;
    char *type;
    char *body;
} Route;

static void route_free(gpointer data)
{
    Route *route = data;

    g_free(route->type);
    g_free(route->body);
    g_free(route);
}

static void channel_free(gpointer data)
{
    FakeChannel *channel = data;

    g_free(channel->kind);
    g_free(channel->vm_id);
    g_free(channel->since);
    g_byte_array_unref(channel->received);
    g_free(channel);
}

/* ---- the stream --------------------------------------------------------------------------- */

static void on_channel_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                            gsize length, gpointer user_data)
{
    FakeChannel *fake = user_data;

    g_byte_array_append(fake->received, data, (guint)length);
    if (fake->consumes)
        tbx_stream_channel_consumed(channel, length);
}

static void on_channel_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                              gpointer user_data)
{
    ((FakeChannel *)user_data)->channel = NULL;
}

static const TbxStreamChannelHandlers channel_handlers = {
    .data = on_channel_data,
    .closed = on_channel_closed,
};

static void on_subscribe(TbxStream *stream, TbxStreamChannel *channel, const char *kind,
                         const char *vm_id, JsonObject *options, gpointer user_data)
{
    FakeDaemon *daemon = user_data;

    if (daemon->refusal) {
        tbx_stream_channel_close(channel, daemon->refusal, daemon->refusal_detail);
        return;
    }
    FakeChannel *fake = g_new0(FakeChannel, 1);
    fake->channel = channel;
    fake->kind = g_strdup(kind);
    fake->vm_id = g_strdup(vm_id);
    fake->replay = json_object_get_boolean_member_with_default(options, "replay", TRUE);
    fake->since = g_strdup(json_object_get_string_member_with_default(options, "since", NULL));
    fake->received = g_byte_array_new();
    fake->consumes = TRUE;
    g_ptr_array_add(daemon->channels, fake);
    tbx_stream_channel_accept_at(channel, daemon->position, &channel_handlers, fake);
}

static void on_stream_closed(TbxStream *stream, const GError *error, gpointer user_data)
{
    g_ptr_array_remove_fast(((FakeDaemon *)user_data)->streams, stream);
}

static const TbxStreamHandlers stream_handlers = {
    .subscribe = on_subscribe,
    .closed = on_stream_closed,
};

static void stream_free(gpointer stream)
{
    tbx_stream_destroy(stream);
}

static void upgrade(FakeDaemon *daemon, SoupServerMessage *message)
{
    const char *key = soup_message_headers_get_one(soup_server_message_get_request_headers(message),
                                                   "Sec-WebSocket-Key");
    g_autofree char *accept = tbx_web_socket_accept_key(key);
    g_autofree char *answer = g_strdup_printf("HTTP/1.1 101 Switching Protocols\r\n"
                                              "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                              "Sec-WebSocket-Accept: %s\r\n\r\n",
                                              accept);
    g_autoptr(GIOStream) stream = soup_server_message_steal_connection(message);

    g_assert_true(g_output_stream_write_all(g_io_stream_get_output_stream(stream), answer,
                                            strlen(answer), NULL, NULL, NULL));
    g_ptr_array_add(daemon->streams,
                    tbx_stream_new(stream, TBX_WEB_SOCKET_SERVER, &stream_handlers, daemon));
}

/* ---- HTTP --------------------------------------------------------------------------------- */

static void on_request(SoupServer *server, SoupServerMessage *message, const char *path,
                       GHashTable *query, gpointer user_data)
{
    FakeDaemon *daemon = user_data;
    const char *method = soup_server_message_get_method(message);
    GUri *uri = soup_server_message_get_uri(message);
    const char *raw_query = g_uri_get_query(uri);
    g_autofree char *route_name = g_strdup_printf("%s %s", method, g_uri_get_path(uri));
    Route *route = g_hash_table_lookup(daemon->routes, route_name);
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    guint count = GPOINTER_TO_UINT(g_hash_table_lookup(daemon->counts, route_name));

    g_hash_table_insert(daemon->counts, g_strdup(route_name), GUINT_TO_POINTER(count + 1));
    if (strcmp(g_uri_get_path(uri), "/v1/system") != 0)
        g_string_append_printf(daemon->log, "%s%s%s\n", route_name, raw_query ? "?" : "",
                               raw_query ? raw_query : "");
    if (body->length > 0) {
        g_autoptr(GBytes) bytes = soup_message_body_flatten(body);
        g_free(daemon->body);
        daemon->body = g_strndup(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    }

    if (strcmp(route_name, "GET /v1/ws") == 0 && !route)
        upgrade(daemon, message);
    else if (!route)
        soup_server_message_set_status(message, 404, NULL);
    else if (route->handler)
        route->handler(daemon, message, route->user_data);
    else if (route->status == 0)
        soup_server_message_pause(message);
    else {
        soup_server_message_set_status(message, route->status, NULL);
        soup_server_message_set_response(message, route->type, SOUP_MEMORY_COPY, route->body,
                                         strlen(route->body));
    }
}

FakeDaemon *fake_daemon_new(void)
{
    FakeDaemon *daemon = g_new0(FakeDaemon, 1);
    g_autoptr(GError) error = NULL;

    daemon->folder = g_dir_make_tmp("tenbox-test-XXXXXX", &error);
    g_assert_no_error(error);
    daemon->socket_path = g_build_filename(daemon->folder, "sock", NULL);
    daemon->uri = g_strconcat("unix://", daemon->socket_path, NULL);
    daemon->routes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, route_free);
    daemon->counts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    daemon->log = g_string_new(NULL);
    daemon->channels = g_ptr_array_new_with_free_func(channel_free);
    daemon->streams = g_ptr_array_new_with_free_func(stream_free);
    daemon->server = soup_server_new("raw-paths", TRUE, NULL);
    soup_server_add_handler(daemon->server, "/", on_request, daemon, NULL);

    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(daemon->socket_path);
    soup_server_listen(daemon->server, address, 0, &error);
    g_assert_no_error(error);
    fake_daemon_answer(daemon, "GET /v1/system", 200, NULL,
                       "{\"version\":\"0.1.0\",\"api_version\":\"v1\",\"extensions\":[]}");
    return daemon;
}

void fake_daemon_free(FakeDaemon *daemon)
{
    soup_server_disconnect(daemon->server);
    g_ptr_array_unref(daemon->streams);
    g_object_unref(daemon->server);
    g_ptr_array_unref(daemon->channels);
    g_hash_table_unref(daemon->routes);
    g_hash_table_unref(daemon->counts);
    g_string_free(daemon->log, TRUE);
    g_unlink(daemon->socket_path);
    g_assert_cmpint(g_rmdir(daemon->folder), ==, 0);
    g_free(daemon->folder);
    g_free(daemon->socket_path);
    g_free(daemon->uri);
    g_free(daemon->body);
    g_free(daemon->refusal);
    g_free(daemon->refusal_detail);
    g_free(daemon->position);
    g_free(daemon);
}

const char *fake_daemon_get_uri(FakeDaemon *daemon)
{
    return daemon->uri;
}

const char *fake_daemon_get_folder(FakeDaemon *daemon)
{
    return daemon->folder;
}

static Route *add_route(FakeDaemon *daemon, const char *name)
{
    Route *route = g_new0(Route, 1);

    g_hash_table_replace(daemon->routes, g_strdup(name), route);
    return route;
}

void fake_daemon_on(FakeDaemon *daemon, const char *name, FakeHandler handler, gpointer user_data)
{
    Route *route = add_route(daemon, name);

    route->handler = handler;
    route->user_data = user_data;
}

void fake_daemon_answer(FakeDaemon *daemon, const char *name, guint status, const char *type,
                        const char *body)
{
    Route *route = add_route(daemon, name);

    route->status = status;
    route->type = g_strdup(type ? type : "application/json");
    route->body = g_strdup(body);
}

void fake_daemon_forget(FakeDaemon *daemon, const char *name)
{
    g_hash_table_remove(daemon->routes, name);
}

void fake_daemon_hang(FakeDaemon *daemon, const char *name)
{
    add_route(daemon, name);
}

char *fake_daemon_take_log(FakeDaemon *daemon)
{
    char *log = g_strdup(daemon->log->str);

    g_string_truncate(daemon->log, 0);
    return log;
}

const char *fake_daemon_get_body(FakeDaemon *daemon)
{
    return daemon->body;
}

guint fake_daemon_count(FakeDaemon *daemon, const char *route)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(daemon->counts, route));
}

GPtrArray *fake_daemon_get_channels(FakeDaemon *daemon)
{
    return daemon->channels;
}

void fake_daemon_refuse_channels(FakeDaemon *daemon, const char *slug, const char *detail)
{
    g_free(daemon->refusal);
    g_free(daemon->refusal_detail);
    daemon->refusal = g_strdup(slug);
    daemon->refusal_detail = g_strdup(detail);
}

void fake_daemon_set_position(FakeDaemon *daemon, const char *position)
{
    g_free(daemon->position);
    daemon->position = g_strdup(position);
}

void fake_daemon_drop_streams(FakeDaemon *daemon)
{
    for (guint i = 0; i < daemon->channels->len; i++)
        ((FakeChannel *)g_ptr_array_index(daemon->channels, i))->channel = NULL;
    g_ptr_array_set_size(daemon->streams, 0);
}

/* ---- documents ---------------------------------------------------------------------------- */

char *fake_vm(const char *id, const char *name, const char *state, int generation)
{
    return g_strdup_printf("{\"id\":\"%s\",\"name\":\"%s\",\"state\":\"%s\",\"memory_mb\":512,"
                           "\"cpu_count\":2,\"cmdline\":\"\",\"kernel\":\"kernel\",\"initrd\":null,"
                           "\"description\":\"\",\"created_at\":\"2026-01-31T12:00:00.000Z\","
                           "\"last_boot_time\":null,\"started_at\":null,"
                           "\"shutdown_requested_at\":null,\"pid\":null,\"generation\":%d,"
                           "\"operation\":null,\"last_exit\":null,\"last_error\":null}",
                           id, name, state, generation);
}

char *fake_operation(const char *id, const char *kind, const char *state, const char *error)
{
    gboolean is_running = strcmp(state, "running") == 0;

    return g_strdup_printf("{\"id\":\"%s\",\"kind\":\"%s\",\"vm_id\":\"%s\",\"state\":\"%s\","
                           "\"progress\":null,\"error\":%s,"
                           "\"created_at\":\"2026-01-31T12:00:00.000Z\",\"begun_at\":null,"
                           "\"ended_at\":%s}",
                           id, kind, FAKE_ID_1, state, error ? error : "null",
                           is_running ? "null" : "\"2026-01-31T12:00:01.000Z\"");
}

char *fake_event(int sequence, const char *type, const char *vm_id, const char *data)
{
    return g_strdup_printf("{\"sequence\":%d,\"epoch\":\"run\",\"time\":\"2026-01-31T12:00:00.5Z\","
                           "\"type\":\"%s\",\"vm_id\":\"%s\",\"data\":%s}",
                           sequence, type, vm_id, data);
}

/* ---- waiting ------------------------------------------------------------------------------ */

static gboolean on_hang(gpointer user_data)
{
    g_error("waited for 60 seconds in vain");
    return G_SOURCE_REMOVE;
}

void wait_until(gboolean (*condition)(gpointer user_data), gpointer user_data)
{
    guint limit = g_timeout_add_seconds(60, on_hang, NULL);

    while (!condition(user_data))
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(limit);
}

void await_done(GObject *source, GAsyncResult *result, gpointer await)
{
    g_assert_null(((Await *)await)->result);
    ((Await *)await)->result = g_object_ref(result);
}

static gboolean has_result(gpointer await)
{
    return ((Await *)await)->result != NULL;
}

GAsyncResult *await_result(Await *await)
{
    wait_until(has_result, await);
    return await->result;
}

void await_clear(Await *await)
{
    g_clear_object(&await->result);
}

void assert_error(GError **error, int code, const char *slug)
{
    g_assert_error(*error, TENBOX_ERROR, code);
    g_assert_cmpstr(tenbox_error_get_code(*error), ==, slug);
    g_clear_error(error);
}
