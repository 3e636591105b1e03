/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public classes over the remote driver, against a daemon in this process: handles and documents,
 * actions and their withdrawal, events, consoles, time limits, answers that no daemon should give.
 */
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/tenbox.h"
#include "tests/unit/libtenbox/fake-daemon.h"

typedef struct {
    FakeDaemon *daemon;
    TenboxConnection *connection;
    GString *signals; /* what the connection signalled: "added foo\n" */
} Fixture;

static TenboxConnection *open_uri(const char *uri, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_open_async(uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, await_done, &await);
    return tenbox_connection_open_finish(await_result(&await), error);
}

static void on_added(TenboxConnection *connection, TenboxVm *vm, gpointer signals)
{
    g_string_append_printf(signals, "added %s\n", tenbox_vm_get_name(vm));
}

static void on_changed(TenboxConnection *connection, TenboxVm *vm, gpointer signals)
{
    g_string_append_printf(signals, "changed %s %s\n", tenbox_vm_get_name(vm),
                           tenbox_vm_state_to_string(tenbox_vm_get_state(vm)));
}

static void on_removed(TenboxConnection *connection, TenboxVm *vm, gpointer signals)
{
    g_assert_true(tenbox_vm_is_deleted(vm));
    g_string_append_printf(signals, "removed %s\n", tenbox_vm_get_name(vm));
}

static void on_event(TenboxConnection *connection, TenboxEvent *event, gpointer signals)
{
    g_string_append_printf(signals, "event %s %" G_GUINT64_FORMAT "\n",
                           tenbox_event_get_event_type(event), tenbox_event_get_sequence(event));
}

static void on_closed(TenboxConnection *connection, GError *error, gpointer signals)
{
    g_string_append_printf(signals, "closed %s\n", error ? tenbox_error_get_code(error) : "-");
}

static void on_resync(TenboxConnection *connection, gpointer signals)
{
    g_string_append(signals, "resync\n");
}

static void on_watch_state(TenboxConnection *connection, GParamSpec *spec, gpointer signals)
{
    TenboxWatchState state;

    g_object_get(connection, "watch-state", &state, NULL);
    g_assert_cmpint(state, ==, tenbox_connection_get_watch_state(connection));
    g_assert_cmpint(state == TENBOX_WATCH_STATE_ON, ==, tenbox_connection_is_watching(connection));
    g_string_append_printf(signals, "watch %s\n", tenbox_watch_state_to_string(state));
}

static void set_up(Fixture *fixture, gconstpointer data)
{
    TenboxConnectionFlags flags = (TenboxConnectionFlags)GPOINTER_TO_UINT(data);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    fixture->daemon = fake_daemon_new();
    tenbox_connection_open_async(fake_daemon_get_uri(fixture->daemon), flags, NULL, await_done,
                                 &await);
    fixture->connection = tenbox_connection_open_finish(await_result(&await), &error);
    g_assert_no_error(error);
    fixture->signals = g_string_new(NULL);
    g_signal_connect(fixture->connection, "resync", G_CALLBACK(on_resync), fixture->signals);
    if (flags != TENBOX_CONNECTION_FLAGS_NONE)
        g_signal_connect(fixture->connection, "notify::watch-state", G_CALLBACK(on_watch_state),
                         fixture->signals);
    g_signal_connect(fixture->connection, "vm-added", G_CALLBACK(on_added), fixture->signals);
    g_signal_connect(fixture->connection, "vm-changed", G_CALLBACK(on_changed), fixture->signals);
    g_signal_connect(fixture->connection, "vm-removed", G_CALLBACK(on_removed), fixture->signals);
    g_signal_connect(fixture->connection, "event", G_CALLBACK(on_event), fixture->signals);
    g_signal_connect(fixture->connection, "closed", G_CALLBACK(on_closed), fixture->signals);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    g_assert_finalize_object(fixture->connection);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    fake_daemon_free(fixture->daemon);
    g_string_free(fixture->signals, TRUE);
}

static void assert_signals(Fixture *fixture, const char *expected)
{
    g_assert_cmpstr(fixture->signals->str, ==, expected);
    g_string_truncate(fixture->signals, 0);
}

static void assert_log(Fixture *fixture, const char *expected)
{
    g_autofree char *log = fake_daemon_take_log(fixture->daemon);

    g_assert_cmpstr(log, ==, expected);
}

/* Answers GET /v1/vms/NAME and /v1/vms/ID. */
static void answer_vm(Fixture *fixture, const char *id, const char *name, const char *state,
                      int generation)
{
    g_autofree char *json = fake_vm(id, name, state, generation);
    g_autofree char *by_id = g_strconcat("GET /v1/vms/", id, NULL);
    g_autofree char *by_name = g_strconcat("GET /v1/vms/", name, NULL);

    fake_daemon_answer(fixture->daemon, by_id, 200, NULL, json);
    fake_daemon_answer(fixture->daemon, by_name, 200, NULL, json);
}

static TenboxVm *get_vm_full(Fixture *fixture, const char *name, TenboxVmLookupFlags flags,
                             GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_get_vm_async(fixture->connection, name, flags, NULL, await_done, &await);
    return tenbox_connection_get_vm_finish(fixture->connection, await_result(&await), error);
}

static TenboxVm *get_vm(Fixture *fixture, const char *name)
{
    g_autoptr(GError) error = NULL;
    TenboxVm *vm = get_vm_full(fixture, name, TENBOX_VM_LOOKUP_FLAGS_NONE, &error);

    g_assert_no_error(error);
    return vm;
}

/* The VM "foo", stopped; the log is empty afterwards. */
static TenboxVm *get_foo(Fixture *fixture)
{
    answer_vm(fixture, FAKE_ID_1, "foo", "stopped", 1);
    TenboxVm *vm = get_vm(fixture, "foo");
    g_free(fake_daemon_take_log(fixture->daemon));
    g_string_truncate(fixture->signals, 0);
    return vm;
}

/* ---- opening ------------------------------------------------------------------------------ */

static void test_no_daemon(void)
{
    g_autofree char *folder = g_dir_make_tmp("tenbox-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "sock", NULL);
    g_autofree char *uri = g_strconcat("unix://", path, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_null(open_uri(uri, &error));
    g_assert_cmpint(tenbox_error_get_exit_status(error), ==, 7);
    g_assert_nonnull(strstr(error->message, path));
    assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable");

    /* A socket that a dead daemon left behind. */
    g_autoptr(GSocket) left = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, 0, NULL);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_assert_true(g_socket_bind(left, address, FALSE, NULL));
    g_socket_close(left, NULL);
    g_assert_null(open_uri(uri, &error));
    assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable");
    g_unlink(path);
    g_rmdir(folder);
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer answer)
{
    GOutputStream *output = g_io_stream_get_output_stream(G_IO_STREAM(connection));

    g_output_stream_write_all(output, answer, strlen(answer), NULL, NULL, NULL);
    if (*(const char *)answer)
        g_socket_shutdown(g_socket_connection_get_socket(connection), FALSE, TRUE, NULL);
    /* Without an answer: says nothing and stays. */
    g_object_set_data_full(G_OBJECT(service), "kept", g_object_ref(connection), g_object_unref);
    return TRUE;
}

/* Opens a connection to something that answers @answer to everything. */
static GError *open_to(const char *answer)
{
    g_autofree char *folder = g_dir_make_tmp("tenbox-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "sock", NULL);
    g_autofree char *uri = g_strconcat("unix://", path, NULL);
    g_autoptr(GSocketService) service = g_socket_service_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    GError *error = NULL;

    g_assert_true(g_socket_listener_add_address(G_SOCKET_LISTENER(service), address,
                                                G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                NULL, NULL, NULL));
    g_signal_connect(service, "incoming", G_CALLBACK(on_incoming), (gpointer)answer);
    g_assert_null(open_uri(uri, &error));
    g_socket_service_stop(service);
    g_socket_listener_close(G_SOCKET_LISTENER(service));
    g_unlink(path);
    g_rmdir(folder);
    return error;
}

/* Nobody is asked at the beginning; who is missing is missed by the first call. */
static void test_no_probe(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxConnection) connection = tenbox_connection_open_sync(
        "unix:///nonexistent/tenbox.sock", TENBOX_CONNECTION_FLAGS_NO_PROBE, NULL, &error);
    g_autoptr(GPtrArray) vms = NULL;

    g_assert_no_error(error);
    g_assert_nonnull(connection);
    vms = tenbox_connection_list_vms_sync(connection, NULL, &error);
    g_assert_null(vms);
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE);
}

static void test_no_tenbox(void)
{
    GError *error = open_to("SSH-2.0-OpenSSH_9.2\r\n");
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    error = open_to("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi");
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    error = open_to("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    error = open_to("HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n"
                    "Content-Length: 0\r\n\r\n");
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    error = open_to("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    "Content-Length: 20\r\n\r\n{\"api_version\":\"v9\"}");
    g_assert_nonnull(strstr(error->message, "v9"));
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");
}

/* Takes the ten seconds of the limit. */
static void test_silent(void)
{
    GError *error = open_to("");

    g_assert_cmpint(tenbox_error_get_exit_status(error), ==, 6);
    assert_error(&error, TENBOX_ERROR_TIMED_OUT, "timed-out");
}

static void test_withdraw_open(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Await) await = {0};
    g_autoptr(GError) error = NULL;

    fake_daemon_hang(fixture->daemon, "GET /v1/system");
    tenbox_connection_open_async(fake_daemon_get_uri(fixture->daemon), TENBOX_CONNECTION_FLAGS_NONE,
                                 cancellable, await_done, &await);
    g_cancellable_cancel(cancellable);
    g_assert_null(tenbox_connection_open_finish(await_result(&await), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/* A socket path beyond what an address holds. */
static void test_long_path(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *long_name = g_strnfill(120, 'x');
    g_autofree char *link =
        g_build_filename(fake_daemon_get_folder(fixture->daemon), long_name, NULL);
    g_autofree char *uri = g_strconcat("unix://", link, "/sock", NULL);

    g_assert_cmpint(symlink(fake_daemon_get_folder(fixture->daemon), link), ==, 0);
    g_autoptr(TenboxConnection) connection = open_uri(uri, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_connection_get_uri(connection), ==, uri);
    g_unlink(link);
}

/* ---- finding and making VMs ---------------------------------------------------------------- */

static GPtrArray *list_vms(Fixture *fixture, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_list_vms_async(fixture->connection, NULL, await_done, &await);
    return tenbox_connection_list_vms_finish(fixture->connection, await_result(&await), error);
}

static void answer_list(Fixture *fixture, const char *first, const char *second)
{
    g_autofree char *json =
        g_strdup_printf("{\"items\":[%s%s%s]}", first, second ? "," : "", second ? second : "");

    fake_daemon_answer(fixture->daemon, "GET /v1/vms", 200, NULL, json);
}

static void test_list(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "running", 3);
    g_autofree char *bar = fake_vm(FAKE_ID_2, "bar", "stopped", 1);
    g_autoptr(GError) error = NULL;

    answer_list(fixture, foo, bar);
    g_autoptr(GPtrArray) vms = list_vms(fixture, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms->len, ==, 2);
    TenboxVm *first = g_ptr_array_index(vms, 0);
    TenboxVm *second = g_ptr_array_index(vms, 1);
    g_assert_cmpstr(tenbox_vm_get_name(first), ==, "bar");
    g_assert_cmpstr(tenbox_vm_get_id(second), ==, FAKE_ID_1);
    g_assert_cmpint(tenbox_vm_get_state(second), ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(tenbox_vm_get_memory_mb(second), ==, 512);
    g_assert_cmpint(tenbox_vm_get_cpu_count(second), ==, 2);
    g_assert_cmpint(tenbox_vm_get_created_at(second), ==, G_GINT64_CONSTANT(1769860800000000));
    g_autofree char *json = tenbox_vm_dup_json(second);
    g_assert_cmpstr(json, ==, foo);
    assert_signals(fixture, "added foo\nadded bar\n");

    /* The same handle the next time; one that is gone says so. */
    answer_list(fixture, foo, NULL);
    g_autoptr(GPtrArray) again = list_vms(fixture, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(again->len, ==, 1);
    g_assert_true(g_ptr_array_index(again, 0) == second);
    g_assert_true(tenbox_vm_is_deleted(first));
    assert_signals(fixture, "removed bar\n");
}

/* A daemon says no more than it has to, but a list of many VMs is long all the same. */
static void test_long_list(Fixture *fixture, gconstpointer data)
{
    const guint count = 300;
    g_autofree char *description = g_strnfill(4096, 'd');
    g_autoptr(GString) items = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < count; i++) {
        g_autofree char *id = g_strdup_printf("aaaaaaaa-1111-4111-8111-%012u", i);
        g_autofree char *name = g_strdup_printf("vm-%u", i);
        g_autofree char *vm = fake_vm(id, name, "stopped", 1);
        g_auto(GStrv) parts = g_strsplit(vm, "\"description\":\"", 2);

        g_string_append_printf(items, "%s%s\"description\":\"%s%s", i > 0 ? "," : "", parts[0],
                               description, parts[1]);
    }
    g_assert_cmpuint(items->len, >, 1024 * 1024);
    answer_list(fixture, items->str, NULL);
    g_autoptr(GPtrArray) vms = list_vms(fixture, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms->len, ==, count);
}

/* What a list in pages does not name may have been renamed from one page into another: it is asked for. */
static void test_pages(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "running", 3);
    g_autofree char *bar = fake_vm(FAKE_ID_2, "bar", "stopped", 1);
    g_autoptr(GString) items = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    answer_list(fixture, foo, bar);
    g_autoptr(GPtrArray) vms = list_vms(fixture, &error);
    g_assert_no_error(error);
    TenboxVm *gone = g_ptr_array_index(vms, 0);
    TenboxVm *renamed = g_ptr_array_index(vms, 1);
    for (guint i = 0; i < 500; i++) {
        g_autofree char *id = g_strdup_printf("aaaaaaaa-1111-4111-8111-%012u", i);
        g_autofree char *name = g_strdup_printf("vm-%u", i);
        g_autofree char *vm = fake_vm(id, name, "stopped", 1);

        g_string_append_printf(items, "%s%s", i > 0 ? "," : "", vm);
    }
    answer_list(fixture, items->str, NULL);
    answer_vm(fixture, FAKE_ID_1, "a-foo", "running", 4);
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/" FAKE_ID_2, 404, "application/problem+json",
                       "{\"code\":\"vm-not-found\",\"detail\":\"no such VM\"}");
    g_autoptr(GPtrArray) again = list_vms(fixture, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(again->len, ==, 501);
    g_assert_true(g_ptr_array_index(again, 0) == renamed);
    g_assert_cmpstr(tenbox_vm_get_name(renamed), ==, "a-foo");
    g_assert_false(tenbox_vm_is_deleted(renamed));
    g_assert_true(tenbox_vm_is_deleted(gone));
}

static void test_lookup(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "running", 3);
    g_autofree char *bar = fake_vm(FAKE_ID_2, "bar", "stopped", 1);
    const char *not_found = "{\"code\":\"vm-not-found\",\"detail\":\"no such VM\"}";
    static const char *const prefixes[] = {"aaaa", "aaaaa", "aaaabb", "aab", "0123"};
    g_autoptr(GError) error = NULL;

    answer_list(fixture, foo, bar);
    answer_vm(fixture, FAKE_ID_1, "foo", "running", 3);
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        g_autofree char *route = g_strconcat("GET /v1/vms/", prefixes[i], NULL);
        fake_daemon_answer(fixture->daemon, route, 404, "application/problem+json", not_found);
    }

    g_autoptr(TenboxVm) by_name = get_vm(fixture, "foo");
    g_autoptr(TenboxVm) by_id = get_vm(fixture, FAKE_ID_1);
    g_autoptr(TenboxVm) by_prefix = get_vm(fixture, "aaaaa");
    g_assert_true(by_name == by_id && by_name == by_prefix);
    g_autoptr(TenboxVm) other = get_vm(fixture, "aaaabb");
    g_assert_cmpstr(tenbox_vm_get_name(other), ==, "bar");
    g_free(fake_daemon_take_log(fixture->daemon));

    g_assert_null(get_vm_full(fixture, "aaaa", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    g_assert_nonnull(strstr(error->message, FAKE_ID_1));
    g_assert_nonnull(strstr(error->message, FAKE_ID_2));
    g_assert_cmpint(tenbox_error_get_exit_status(error), ==, 4);
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "name-ambiguous");
    g_assert_null(get_vm_full(fixture, "0123", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    assert_log(
        fixture,
        "GET /v1/vms/aaaa\nGET /v1/vms?limit=500\nGET /v1/vms/0123\nGET /v1/vms?limit=500\n");

    /* No list for what cannot be a prefix or must not be one; no request for what can be no name. */
    g_assert_null(get_vm_full(fixture, "aaaaa", TENBOX_VM_LOOKUP_FLAGS_EXACT, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    assert_log(fixture, "GET /v1/vms/aaaaa\n");
    g_assert_null(get_vm_full(fixture, "", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    g_autofree char *too_long = g_strnfill(64, 'a');
    g_assert_null(get_vm_full(fixture, too_long, TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    assert_log(fixture, "");

    /* A name stays inside its path segment. */
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/..%2Fx%3Fy%23z%3Astart", 404,
                       "application/problem+json", not_found);
    g_assert_null(get_vm_full(fixture, "../x?y#z:start", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    assert_log(fixture, "GET /v1/vms/..%2Fx%3Fy%23z%3Astart\n");
}

static TenboxVmConfig *new_config(void)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;

    tenbox_vm_config_builder_set_name(builder, "foo");
    tenbox_vm_config_builder_set_kernel(builder, "/boot/vmlinuz");
    TenboxVmConfig *config = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    return config;
}

static TenboxVm *create_vm(Fixture *fixture, TenboxVmConfig *config, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &await);
    return tenbox_connection_create_vm_finish(fixture->connection, await_result(&await), error);
}

typedef struct {
    guint breaks; /* how many connections break first */
    GPtrArray *keys;
    GString *bodies;
} Breaking;

/* The request arrives, the connection breaks, some times; then it is answered. */
static void on_create_breaking(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data)
{
    Breaking *breaking = user_data;
    const char *key = soup_message_headers_get_one(soup_server_message_get_request_headers(message),
                                                   "Idempotency-Key");

    g_assert_nonnull(key);
    g_ptr_array_add(breaking->keys, g_strdup(key));
    g_string_append_printf(breaking->bodies, "%s\n", fake_daemon_get_body(daemon));
    if (breaking->keys->len <= breaking->breaks) {
        g_autoptr(GIOStream) stream = soup_server_message_steal_connection(message);
        g_io_stream_close(stream, NULL, NULL);
        return;
    }
    g_autofree char *vm = fake_vm(FAKE_ID_1, "foo", "stopped", 1);
    soup_server_message_set_status(message, 201, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, vm, strlen(vm));
}

/* A creation whose connection breaks is sent again with the same key; nothing else is. */
static void test_create_again(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) bodies = g_string_new(NULL);
    Breaking breaking = {3, keys, bodies};
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0}, second = {0}, hopeless = {0}, withdrawn = {0};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();

    tenbox_vm_config_builder_set_name(builder, "foo");
    tenbox_vm_config_builder_set_kernel(builder, "/kernel");
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    fake_daemon_on(fixture->daemon, "POST /v1/vms", on_create_breaking, &breaking);
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &await);
    g_autoptr(TenboxVm) vm =
        tenbox_connection_create_vm_finish(fixture->connection, await_result(&await), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "foo");
    g_assert_cmpuint(keys->len, ==, 4);
    for (guint i = 1; i < keys->len; i++)
        g_assert_cmpstr(keys->pdata[i], ==, keys->pdata[0]);
    g_auto(GStrv) lines = g_strsplit(bodies->str, "\n", -1);
    g_assert_cmpstr(lines[3], ==, lines[0]);
    g_assert_cmpstr(lines[0], !=, "");

    /* Another creation has another key. */
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &second);
    g_autoptr(TenboxVm) same =
        tenbox_connection_create_vm_finish(fixture->connection, await_result(&second), &error);
    g_assert_true(same == vm);
    g_assert_cmpstr(keys->pdata[4], !=, keys->pdata[0]);

    /* It comes to an end, and at once when the caller withdraws. */
    breaking.breaks = G_MAXUINT;
    g_ptr_array_set_size(keys, 0);
    tenbox_connection_create_vm_async(fixture->connection, config, cancellable, await_done,
                                      &withdrawn);
    while (keys->len < 2)
        g_main_context_iteration(NULL, TRUE);
    g_cancellable_cancel(cancellable);
    g_assert_null(
        tenbox_connection_create_vm_finish(fixture->connection, await_result(&withdrawn), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_cmpuint(keys->len, ==, 2);
    g_ptr_array_set_size(keys, 0);
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &hopeless);
    g_assert_null(
        tenbox_connection_create_vm_finish(fixture->connection, await_result(&hopeless), &error));
    assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable");
    g_assert_cmpuint(keys->len, ==, 7);
}

static void test_create(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "stopped", 1);
    g_autoptr(TenboxVmConfig) config = new_config();
    g_autoptr(GError) error = NULL;

    fake_daemon_answer(
        fixture->daemon, "POST /v1/vms", 409, "application/problem+json",
        "{\"type\":\"urn:tenbox:error:vm-exists\",\"title\":\"taken\",\"status\":409,"
        "\"detail\":\"the name foo is taken\",\"code\":\"vm-exists\","
        "\"field\":\"name\",\"hint\":\"choose another\"}");
    g_assert_null(create_vm(fixture, config, &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "name");
    g_assert_cmpstr(tenbox_error_get_hint(error), ==, "choose another");
    g_assert_cmpstr(error->message, ==, "the name foo is taken");
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists");

    fake_daemon_answer(fixture->daemon, "POST /v1/vms", 201, NULL, foo);
    g_autoptr(TenboxVm) vm = create_vm(fixture, config, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "foo");
    g_assert_cmpstr(fake_daemon_get_body(fixture->daemon), ==,
                    "{\"name\":\"foo\",\"kernel\":\"/boot/vmlinuz\"}");
    assert_signals(fixture, "added foo\n");

    /* What is missing is said without asking. */
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    tenbox_vm_config_builder_set_name(builder, "foo");
    g_autoptr(TenboxVmConfig) incomplete = tenbox_vm_config_builder_build(builder, NULL);
    g_free(fake_daemon_take_log(fixture->daemon));
    g_assert_null(create_vm(fixture, incomplete, &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "kernel");
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid");
    assert_log(fixture, "");
}

static void test_update(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autofree char *renamed = fake_vm(FAKE_ID_1, "bar", "stopped", 2);
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_vm_config_builder_set_name(builder, "bar");
    tenbox_vm_config_builder_set_initrd(builder, NULL);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, NULL);
    fake_daemon_answer(fixture->daemon, "PATCH /v1/vms/" FAKE_ID_1, 200, NULL, renamed);
    tenbox_vm_update_async(vm, config, NULL, await_done, &await);
    g_assert_true(tenbox_vm_update_finish(vm, await_result(&await), &error));
    g_assert_no_error(error);
    g_assert_cmpstr(fake_daemon_get_body(fixture->daemon), ==,
                    "{\"name\":\"bar\",\"initrd\":null}");
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "bar");
    assert_signals(fixture, "changed bar stopped\n");
}

static void test_texts(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GError) error = NULL;
    g_auto(Await) log = {0}, statistics = {0}, system = {0}, wrong = {0};

    fake_daemon_answer(fixture->daemon, "GET /v1/vms/" FAKE_ID_1 "/logs", 200,
                       "text/plain; charset=utf-8", "hello\xff\n");
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/" FAKE_ID_1 "/statistics", 200, NULL,
                       "{\"uptime_ns\":1}");
    tenbox_vm_read_log_async(vm, "console", 5, NULL, await_done, &log);
    g_autofree char *text = tenbox_vm_read_log_finish(vm, await_result(&log), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, "hello\xef\xbf\xbd\n");
    tenbox_vm_get_statistics_async(vm, NULL, await_done, &statistics);
    g_autofree char *figures =
        tenbox_vm_get_statistics_finish(vm, await_result(&statistics), &error);
    g_assert_cmpstr(figures, ==, "{\"uptime_ns\":1}");
    tenbox_connection_get_system_async(fixture->connection, NULL, await_done, &system);
    g_autofree char *info =
        tenbox_connection_get_system_finish(fixture->connection, await_result(&system), &error);
    g_assert_nonnull(strstr(info, "api_version"));
    tenbox_vm_read_log_async(vm, "kernel", 5, NULL, await_done, &wrong);
    g_assert_null(tenbox_vm_read_log_finish(vm, await_result(&wrong), &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "source");
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid");
    assert_log(fixture, "GET /v1/vms/" FAKE_ID_1 "/logs?source=console&lines=5\n"
                        "GET /v1/vms/" FAKE_ID_1 "/statistics\n");
}

/* ---- actions ------------------------------------------------------------------------------ */

/* Answers with the next of the documents; the last one stays. */
typedef struct {
    const char *const *states;
    Fixture *fixture;
} Script;

static void on_operation_get(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data)
{
    Script *script = user_data;
    g_autofree char *json = fake_operation(FAKE_OP_ID, "start", *script->states, NULL);

    if (strcmp(*script->states, "done") == 0)
        answer_vm(script->fixture, FAKE_ID_1, "foo", "running", 3);
    if (script->states[1])
        script->states++;
    soup_server_message_set_status(message, 200, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, json,
                                     strlen(json));
}

static void answer_begin(Fixture *fixture, const char *route, const char *kind)
{
    g_autofree char *json = fake_operation(FAKE_OP_ID, kind, "running", NULL);

    fake_daemon_answer(fixture->daemon, route, 202, NULL, json);
}

static void test_start(Fixture *fixture, gconstpointer data)
{
    static const char *const states[] = {"running", "done", NULL};
    Script script = {states, fixture};
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    answer_begin(fixture, "POST /v1/vms/" FAKE_ID_1 ":start", "start");
    fake_daemon_on(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID, on_operation_get, &script);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &await);
    g_assert_true(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_no_error(error);
    g_assert_cmpint(tenbox_vm_get_state(vm), ==, TENBOX_VM_STATE_RUNNING);
    assert_log(fixture, "POST /v1/vms/" FAKE_ID_1 ":start\n"
                        "GET /v1/operations/" FAKE_OP_ID "?wait=60\n"
                        "GET /v1/operations/" FAKE_OP_ID "?wait=60\n"
                        "GET /v1/vms/" FAKE_ID_1 "\n");
    assert_signals(fixture, "changed foo running\n");
}

static void test_start_fails(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autofree char *failed = fake_operation(FAKE_OP_ID, "start", "failed",
                                             "{\"code\":\"kernel-invalid\",\"status\":422,"
                                             "\"detail\":\"no kernel\",\"field\":\"kernel\"}");
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0}, busy = {0};

    /* An operation that has ended at once needs no waiting. */
    fake_daemon_answer(fixture->daemon, "POST /v1/vms/" FAKE_ID_1 ":start", 202, NULL, failed);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &await);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "kernel");
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "kernel-invalid");
    assert_log(fixture, "POST /v1/vms/" FAKE_ID_1 ":start\nGET /v1/vms/" FAKE_ID_1 "\n");

    fake_daemon_answer(fixture->daemon, "POST /v1/vms/" FAKE_ID_1 ":start", 409,
                       "application/problem+json", "{\"code\":\"vm-busy\",\"detail\":\"busy\"}");
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &busy);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&busy), &error));
    g_assert_cmpint(tenbox_error_get_exit_status(error), ==, 4);
    assert_error(&error, TENBOX_ERROR_BUSY, "vm-busy");
}

static void test_stop_and_delete(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autofree char *stopped = fake_operation(FAKE_OP_ID, "stop", "done", NULL);
    g_autofree char *deleted = fake_operation(FAKE_OP_ID, "delete", "done", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) stop = {0}, forced = {0}, wrong = {0}, delete = {0}, after = {0};
    g_auto(Await) unchanged = {0}, purge = {0};

    fake_daemon_answer(fixture->daemon, "POST /v1/vms/" FAKE_ID_1 ":stop", 202, NULL, stopped);
    tenbox_vm_stop_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, 7, NULL, await_done, &stop);
    g_assert_true(tenbox_vm_stop_finish(vm, await_result(&stop), &error));
    g_assert_cmpstr(fake_daemon_get_body(fixture->daemon), ==, "{\"force\":false,\"timeout\":7}");
    tenbox_vm_stop_async(vm, TENBOX_VM_ACTION_FLAGS_FORCE, TENBOX_VM_STOP_TIMEOUT_DEFAULT, NULL,
                         await_done, &forced);
    g_assert_true(tenbox_vm_stop_finish(vm, await_result(&forced), &error));
    g_assert_cmpstr(fake_daemon_get_body(fixture->daemon), ==, "{\"force\":true}");

    tenbox_vm_reset_async(vm, TENBOX_VM_ACTION_FLAGS_FORCE, NULL, await_done, &wrong);
    g_assert_false(tenbox_vm_reset_finish(vm, await_result(&wrong), &error));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid");

    g_free(fake_daemon_take_log(fixture->daemon));
    /* A daemon that tells no entity tag cannot be held to one. */
    tenbox_vm_delete_async(vm, TENBOX_VM_ACTION_FLAGS_IF_UNCHANGED, NULL, await_done, &unchanged);
    g_assert_false(tenbox_vm_delete_finish(vm, await_result(&unchanged), &error));
    g_assert_cmpstr(tenbox_error_get_code(error), ==, "precondition-failed");
    g_clear_error(&error);

    fake_daemon_answer(fixture->daemon, "DELETE /v1/vms/" FAKE_ID_1, 202, NULL, deleted);
    tenbox_vm_delete_async(vm, TENBOX_VM_ACTION_FLAGS_FORCE, NULL, await_done, &delete);
    g_assert_true(tenbox_vm_delete_finish(vm, await_result(&delete), &error));
    g_assert_true(tenbox_vm_is_deleted(vm));
    assert_signals(fixture, "removed foo\n");
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &after);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&after), &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found");
    assert_log(fixture, "DELETE /v1/vms/" FAKE_ID_1 "?force=true\n");
    /* What is in the trash can still be purged, whichever way. */
    tenbox_vm_begin_action_async(vm, TENBOX_VM_ACTION_DELETE, TENBOX_VM_ACTION_FLAGS_PURGE, -1,
                                 NULL, await_done, &purge);
    g_autoptr(TenboxOperation) purged =
        tenbox_vm_begin_action_finish(vm, await_result(&purge), &error);
    g_assert_no_error(error);
    g_assert_nonnull(purged);
    assert_log(fixture, "DELETE /v1/vms/" FAKE_ID_1 "?force=false&purge=true\n");
}

static gboolean is_waiting(gpointer daemon)
{
    return fake_daemon_count(daemon, "GET /v1/operations/" FAKE_OP_ID) > 0;
}

static gboolean is_beginning(gpointer daemon)
{
    return fake_daemon_count(daemon, "POST /v1/vms/" FAKE_ID_1 ":start") > 0;
}

static gboolean is_cancelled(gpointer daemon)
{
    return fake_daemon_count(daemon, "DELETE /v1/operations/" FAKE_OP_ID) > 0;
}

/* Withdrawing while the operation runs cancels it, and the answer comes after the daemon was told. */
static void test_withdraw_wait(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *cancelled = fake_operation(FAKE_OP_ID, "start", "running", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    answer_begin(fixture, "POST /v1/vms/" FAKE_ID_1 ":start", "start");
    fake_daemon_hang(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID);
    fake_daemon_answer(fixture->daemon, "DELETE /v1/operations/" FAKE_OP_ID, 200, NULL, cancelled);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable, await_done, &await);
    wait_until(is_waiting, fixture->daemon);
    g_cancellable_cancel(cancellable);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_true(is_cancelled(fixture->daemon));
}

static void answer_later(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data)
{
    soup_server_message_pause(message);
    *(SoupServerMessage **)user_data = g_object_ref(message);
}

static gboolean on_answer_time(gpointer user_data)
{
    SoupServerMessage *message = user_data;
    g_autofree char *done = fake_operation(FAKE_OP_ID, "start", "done", NULL);

    soup_server_message_set_status(message, 200, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, done,
                                     strlen(done));
    soup_server_message_unpause(message);
    return G_SOURCE_REMOVE;
}

/* A question may be held for longer than the ten seconds that sending it may take. */
static void answer_held(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data)
{
    soup_server_message_pause(message);
    g_timeout_add_full(G_PRIORITY_DEFAULT, 11000, on_answer_time, g_object_ref(message),
                       g_object_unref);
}

static void test_held(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    answer_begin(fixture, "POST /v1/vms/" FAKE_ID_1 ":start", "start");
    fake_daemon_on(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID, answer_held, NULL);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &await);
    g_assert_true(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_no_error(error);
    g_assert_cmpuint(fake_daemon_count(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID), ==, 1);
}

/* Withdrawing before the daemon has said that it began: the operation is not lost. */
static void test_withdraw_begin(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *begun = fake_operation(FAKE_OP_ID, "start", "running", NULL);
    g_autoptr(SoupServerMessage) message = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    fake_daemon_on(fixture->daemon, "POST /v1/vms/" FAKE_ID_1 ":start", answer_later, &message);
    fake_daemon_answer(fixture->daemon, "DELETE /v1/operations/" FAKE_OP_ID, 200, NULL, begun);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable, await_done, &await);
    wait_until(is_beginning, fixture->daemon);
    g_cancellable_cancel(cancellable);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_null(await.result);
    soup_server_message_set_status(message, 202, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, begun,
                                     strlen(begun));
    soup_server_message_unpause(message);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_true(is_cancelled(fixture->daemon));
}

/* A daemon that hangs does not hold up a caller who withdraws; takes the five seconds of the limit. */
static void test_withdraw_hang(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *begun = fake_operation(FAKE_OP_ID, "start", "running", NULL);
    g_autoptr(SoupServerMessage) message = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    fake_daemon_on(fixture->daemon, "POST /v1/vms/" FAKE_ID_1 ":start", answer_later, &message);
    fake_daemon_answer(fixture->daemon, "DELETE /v1/operations/" FAKE_OP_ID, 200, NULL, begun);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable, await_done, &await);
    wait_until(is_beginning, fixture->daemon);
    g_cancellable_cancel(cancellable);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&await), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_false(is_cancelled(fixture->daemon));

    /* The late answer still leads to the operation being cancelled. */
    soup_server_message_set_status(message, 202, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, begun,
                                     strlen(begun));
    soup_server_message_unpause(message);
    wait_until(is_cancelled, fixture->daemon);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static void test_operation(Fixture *fixture, gconstpointer data)
{
    g_autofree char *running = fake_operation(FAKE_OP_ID, "stop", "running", NULL);
    g_autofree char *withdrawn = fake_operation(
        FAKE_OP_ID, "stop", "cancelled",
        "{\"code\":\"operation-cancelled\",\"status\":409,\"detail\":\"pre-empted\"}");
    g_autofree char *list = g_strdup_printf("{\"items\":[%s]}", running);
    g_autoptr(GError) error = NULL;
    g_auto(Await) get = {0}, wait = {0}, cancel = {0}, end = {0}, all = {0}, bad = {0};

    fake_daemon_answer(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID, 200, NULL, running);
    fake_daemon_answer(fixture->daemon, "GET /v1/operations", 200, NULL, list);
    tenbox_connection_get_operation_async(fixture->connection, FAKE_OP_ID, NULL, await_done, &get);
    g_autoptr(TenboxOperation) operation =
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&get), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_operation_get_kind(operation), ==, "stop");
    g_assert_cmpstr(tenbox_operation_get_vm_id(operation), ==, FAKE_ID_1);
    g_autofree char *json = tenbox_operation_dup_json(operation);
    g_assert_cmpstr(json, ==, running);

    /* A daemon that does not hold the question is asked again, gently, until the time is over. */
    tenbox_operation_wait_async(operation, 1, NULL, await_done, &wait);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&wait), &error));
    assert_error(&error, TENBOX_ERROR_TIMED_OUT, "timed-out");
    g_assert_cmpuint(fake_daemon_count(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID), <, 10);

    fake_daemon_answer(fixture->daemon, "DELETE /v1/operations/" FAKE_OP_ID, 200, NULL, running);
    tenbox_operation_cancel_async(operation, NULL, await_done, &cancel);
    g_assert_true(tenbox_operation_cancel_finish(operation, await_result(&cancel), &error));
    g_assert_cmpint(tenbox_operation_get_state(operation), ==, TENBOX_OPERATION_STATE_RUNNING);
    fake_daemon_answer(fixture->daemon, "GET /v1/operations/" FAKE_OP_ID, 200, NULL, withdrawn);
    tenbox_operation_wait_async(operation, -1, NULL, await_done, &end);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&end), &error));
    g_assert_cmpint(tenbox_operation_get_state(operation), ==, TENBOX_OPERATION_STATE_CANCELLED);
    g_assert_nonnull(tenbox_operation_get_error(operation));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled");

    tenbox_connection_list_operations_async(fixture->connection, NULL, await_done, &all);
    g_autoptr(GPtrArray) operations =
        tenbox_connection_list_operations_finish(fixture->connection, await_result(&all), &error);
    g_assert_cmpuint(operations->len, ==, 1);

    tenbox_connection_get_operation_async(fixture->connection, "../vms", NULL, await_done, &bad);
    g_assert_null(
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&bad), &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "operation-not-found");
}

/* ---- events ------------------------------------------------------------------------------- */

static FakeChannel *last_channel(Fixture *fixture)
{
    GPtrArray *channels = fake_daemon_get_channels(fixture->daemon);

    g_assert_cmpuint(channels->len, >, 0);
    return g_ptr_array_index(channels, channels->len - 1);
}

static void send_event(Fixture *fixture, int sequence, const char *type, const char *vm_id,
                       const char *data)
{
    g_autofree char *event = fake_event(sequence, type, vm_id, data);

    tbx_stream_channel_send(last_channel(fixture)->channel, TBX_STREAM_DOCUMENT, event,
                            strlen(event));
}

static gboolean has_signals(gpointer user_data)
{
    GString *signals = user_data;

    return signals->len > 0;
}

static void watch(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_connection_watch_async(fixture->connection, NULL, await_done, &await);
    g_assert_true(
        tenbox_connection_watch_finish(fixture->connection, await_result(&await), &error));
    g_assert_no_error(error);
    g_assert_true(tenbox_connection_is_watching(fixture->connection));
}

static void test_watch(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "stopped", 5);
    g_autofree char *running = fake_vm(FAKE_ID_1, "foo", "running", 7);
    g_autofree char *starting = fake_vm(FAKE_ID_1, "foo", "starting", 6);
    g_autofree char *bar = fake_vm(FAKE_ID_2, "bar", "stopped", 1);
    g_autofree char *operation = fake_operation(FAKE_OP_ID, "start", "done", NULL);

    answer_list(fixture, foo, NULL);
    watch(fixture);
    assert_signals(fixture, "added foo\n");
    g_assert_cmpstr(last_channel(fixture)->kind, ==, "events");
    g_assert_null(last_channel(fixture)->vm_id);
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GPtrArray) vms = list_vms(fixture, NULL);
    vm = g_object_ref(g_ptr_array_index(vms, 0));

    /* The handle follows, documents that were overtaken are ignored. */
    send_event(fixture, 1, "vm.state", FAKE_ID_1, running);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "changed foo running\nevent vm.state 1\n");
    g_assert_cmpint(tenbox_vm_get_state(vm), ==, TENBOX_VM_STATE_RUNNING);
    send_event(fixture, 2, "vm.state", FAKE_ID_1, starting);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event vm.state 2\n");
    g_assert_cmpint(tenbox_vm_get_state(vm), ==, TENBOX_VM_STATE_RUNNING);

    send_event(fixture, 3, "vm.created", FAKE_ID_2, bar);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "added bar\nevent vm.created 3\n");
    send_event(fixture, 4, "operation.changed", FAKE_ID_1, operation);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event operation.changed 4\n");
    send_event(fixture, 5, "vm.teleported", FAKE_ID_1, "{\"to\":\"moon\"}");
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event vm.teleported 5\n");
    send_event(fixture, 6, "vm.deleted", FAKE_ID_1, running);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "removed foo\nevent vm.deleted 6\n");
    g_assert_true(tenbox_vm_is_deleted(vm));

    /* An answer that was written before the deletion does not bring the VM back. */
    answer_list(fixture, foo, bar);
    g_autoptr(GPtrArray) old = list_vms(fixture, NULL);
    g_assert_cmpuint(old->len, ==, 1);
    assert_signals(fixture, "");

    tenbox_connection_close(fixture->connection);
    assert_signals(fixture, "closed -\n");
}

static void test_watch_lost(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "running", 50);
    g_autofree char *restarted = fake_vm(FAKE_ID_1, "foo", "stopped", 1);

    answer_list(fixture, foo, NULL);
    watch(fixture);
    assert_signals(fixture, "added foo\n");
    fake_daemon_drop_streams(fixture->daemon);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "closed daemon-unreachable\n");
    g_assert_false(tenbox_connection_is_watching(fixture->connection));

    /* The next daemon counts from 1 again. */
    answer_list(fixture, restarted, NULL);
    watch(fixture);
    assert_signals(fixture, "changed foo stopped\n");
}

static gboolean watch_since(Fixture *fixture, const char *since, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_watch_since_async(fixture->connection, since, NULL, await_done, &await);
    return tenbox_connection_watch_since_finish(fixture->connection, await_result(&await), error);
}

static void assert_position(Fixture *fixture, const char *expected)
{
    g_autofree char *position = tenbox_connection_dup_event_position(fixture->connection);

    g_assert_cmpstr(position, ==, expected);
}

static void test_watch_since(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "stopped", 5);
    g_autofree char *running = fake_vm(FAKE_ID_1, "foo", "running", 7);
    g_autoptr(GError) error = NULL;

    assert_position(fixture, NULL);
    g_assert_false(watch_since(fixture, "yesterday", &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "since");
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid");

    answer_list(fixture, foo, NULL);
    fake_daemon_set_position(fixture->daemon, "run:41");
    g_assert_true(watch_since(fixture, "run:41", &error));
    g_assert_no_error(error);
    g_assert_cmpstr(last_channel(fixture)->since, ==, "run:41");
    assert_signals(fixture, "added foo\n");
    assert_position(fixture, "run:41");
    g_assert_cmpint(tenbox_connection_get_watch_state(fixture->connection), ==,
                    TENBOX_WATCH_STATE_ON);
    send_event(fixture, 42, "vm.state", FAKE_ID_1, running);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "changed foo running\nevent vm.state 42\n");
    assert_position(fixture, "run:42");

    /* One watch at a time; asking for what there is succeeds. */
    watch(fixture);
    g_assert_false(watch_since(fixture, "run:42", &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "wrong-state");

    /* Events were missed in the middle of it: the handles are brought up to date before it is told. */
    g_autofree char *paused = fake_vm(FAKE_ID_1, "foo", "paused", 90);
    answer_list(fixture, paused, NULL);
    send_event(fixture, 80, "resync", FAKE_ID_1, "null");
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event resync 80\n");
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "changed foo paused\nresync\n");
    assert_position(fixture, "run:80");

    /* The list cannot be had at first. The watch goes on, and the list is asked for until it comes. */
    guint asked = fake_daemon_count(fixture->daemon, "GET /v1/vms");
    g_autofree char *stopped = fake_vm(FAKE_ID_1, "foo", "stopped", 91);
    fake_daemon_answer(fixture->daemon, "GET /v1/vms", 503, "application/problem+json",
                       "{\"code\":\"too-many-connections\",\"detail\":\"because\"}");
    send_event(fixture, 81, "resync", FAKE_ID_1, "null");
    while (fake_daemon_count(fixture->daemon, "GET /v1/vms") < asked + 2)
        g_main_context_iteration(NULL, TRUE);
    g_assert_true(tenbox_connection_is_watching(fixture->connection));
    answer_list(fixture, stopped, NULL);
    while (!strstr(fixture->signals->str, "\nresync\n"))
        g_main_context_iteration(NULL, TRUE);
    assert_signals(fixture, "event resync 81\nchanged foo stopped\nresync\n");
}

/* Waits until all signals so far end with @text. */
typedef struct {
    GString *signals;
    const char *text;
} Ending;

static gboolean ends_with(gpointer user_data)
{
    Ending *ending = user_data;

    return g_str_has_suffix(ending->signals->str, ending->text);
}

static void wait_signals(Fixture *fixture, const char *ending, const char *expected)
{
    Ending wanted = {fixture->signals, ending};

    wait_until(ends_with, &wanted);
    assert_signals(fixture, expected);
}

static void on_progress(TenboxOperation *operation, GParamSpec *spec, gpointer signals)
{
    g_string_append_printf(signals, "%s\n", spec->name);
}

/* A handle on an operation follows the events of a watch. */
static void test_operation_events(Fixture *fixture, gconstpointer data)
{
    static const char *const id_route = "GET /v1/operations/" FAKE_OP_ID;
    g_autofree char *begun = fake_operation(FAKE_OP_ID, "start", "running", NULL);
    g_autofree char *done = fake_operation(FAKE_OP_ID, "start", "done", NULL);
    g_autofree char *interrupted = fake_operation(FAKE_OP_ID, "start", "interrupted", NULL);
    g_autofree char *other = fake_operation(FAKE_ID_2, "start", "done", NULL);
    g_autoptr(GString) changes = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0}, again = {0}, waited = {0};

    answer_list(fixture, "", NULL);
    watch(fixture);
    fake_daemon_answer(fixture->daemon, id_route, 200, NULL, begun);
    tenbox_connection_get_operation_async(fixture->connection, FAKE_OP_ID, NULL, await_done,
                                          &await);
    g_autoptr(TenboxOperation) operation =
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&await), &error);
    g_assert_no_error(error);
    g_assert_null(tenbox_operation_get_stage(operation));
    g_assert_cmpint(tenbox_operation_get_percent(operation), ==, -1);
    g_assert_cmpint(tenbox_operation_get_begun_at(operation), ==, 0);
    g_signal_connect(operation, "notify", G_CALLBACK(on_progress), changes);

    g_auto(GStrv) parts = g_strsplit(begun, "\"progress\":null,\"error\":null,", 2);
    g_autofree char *copying =
        g_strconcat(parts[0],
                    "\"progress\":{\"stage\":\"copying\",\"percent\":50,\"done_bytes\":1,"
                    "\"total_bytes\":2},\"error\":null,",
                    parts[1], NULL);
    g_auto(GStrv) times = g_strsplit(copying, "\"begun_at\":null", 2);
    g_free(copying);
    copying = g_strjoinv("\"begun_at\":\"2026-01-31T12:00:00.500Z\"", times);
    send_event(fixture, 1, "operation.changed", FAKE_ID_1, copying);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event operation.changed 1\n");
    g_assert_cmpstr(changes->str, ==, "stage\npercent\n");
    g_assert_cmpstr(tenbox_operation_get_stage(operation), ==, "copying");
    g_assert_cmpint(tenbox_operation_get_percent(operation), ==, 50);
    g_assert_cmpint(tenbox_operation_get_done_bytes(operation), ==, 1);
    g_assert_cmpint(tenbox_operation_get_total_bytes(operation), ==, 2);
    g_assert_cmpint(tenbox_operation_get_begun_at(operation), >,
                    tenbox_operation_get_created_at(operation));
    g_assert_cmpint(tenbox_operation_get_ended_at(operation), ==, 0);

    /* Another one's, its own end, and one that was overtaken. */
    g_string_truncate(changes, 0);
    send_event(fixture, 2, "operation.changed", FAKE_ID_1, other);
    send_event(fixture, 3, "operation.changed", FAKE_ID_1, interrupted);
    send_event(fixture, 4, "operation.changed", FAKE_ID_1, copying);
    wait_signals(fixture, "operation.changed 4\n",
                 "event operation.changed 2\nevent operation.changed 3\n"
                 "event operation.changed 4\n");
    g_assert_cmpstr(changes->str, ==, "state\nstage\npercent\n");
    g_assert_cmpint(tenbox_operation_get_state(operation), ==, TENBOX_OPERATION_STATE_INTERRUPTED);
    tenbox_operation_wait_async(operation, 10, NULL, await_done, &waited);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&waited), &error));
    assert_error(&error, TENBOX_ERROR_FAILED, "operation-interrupted");

    /* One that nobody holds any more is no concern of the events. */
    fake_daemon_answer(fixture->daemon, id_route, 200, NULL, begun);
    tenbox_connection_get_operation_async(fixture->connection, FAKE_OP_ID, NULL, await_done,
                                          &again);
    TenboxOperation *dropped =
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&again), &error);
    await_clear(&again);
    g_assert_finalize_object(dropped);
    send_event(fixture, 5, "operation.changed", FAKE_ID_1, done);
    wait_signals(fixture, "operation.changed 5\n", "event operation.changed 5\n");
}

static void test_reconnect(Fixture *fixture, gconstpointer data)
{
    g_autofree char *foo = fake_vm(FAKE_ID_1, "foo", "running", 50);
    g_autofree char *stopped = fake_vm(FAKE_ID_1, "foo", "stopped", 51);
    g_autofree char *restarted = fake_vm(FAKE_ID_1, "foo", "paused", 1);
    g_autoptr(GError) error = NULL;

    answer_list(fixture, foo, NULL);
    fake_daemon_set_position(fixture->daemon, "run:7");
    watch(fixture);
    assert_signals(fixture, "added foo\nwatch on\n");
    send_event(fixture, 8, "vm.state", FAKE_ID_1, foo);
    wait_until(has_signals, fixture->signals);
    assert_signals(fixture, "event vm.state 8\n");

    /* The socket breaks, the daemon is the same: it goes on behind the last event that was seen. */
    fake_daemon_drop_streams(fixture->daemon);
    wait_signals(fixture, "watch on\n", "watch reconnecting\nwatch on\n");
    g_assert_cmpstr(last_channel(fixture)->since, ==, "run:8");
    send_event(fixture, 9, "vm.state", FAKE_ID_1, stopped);
    wait_signals(fixture, "vm.state 9\n", "changed foo stopped\nevent vm.state 9\n");

    /* Another daemon, which is not there at first. */
    fake_daemon_answer(fixture->daemon, "GET /v1/ws", 503, "application/problem+json",
                       "{\"code\":\"shutting-down\",\"detail\":\"because\"}");
    guint asked = fake_daemon_count(fixture->daemon, "GET /v1/ws");
    fake_daemon_drop_streams(fixture->daemon);
    wait_signals(fixture, "watch reconnecting\n", "watch reconnecting\n");
    g_assert_false(watch_since(fixture, NULL, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "wrong-state");
    while (fake_daemon_count(fixture->daemon, "GET /v1/ws") < asked + 2)
        g_main_context_iteration(NULL, TRUE);
    fake_daemon_forget(fixture->daemon, "GET /v1/ws");
    answer_list(fixture, restarted, NULL);
    fake_daemon_set_position(fixture->daemon, "next:0");
    wait_signals(fixture, "watch on\n", "changed foo paused\nwatch on\n");
    g_assert_cmpstr(last_channel(fixture)->since, ==, "run:9");
    send_event(fixture, 0, "resync", FAKE_ID_1, "null");
    wait_signals(fixture, "resync\n", "event resync 0\nresync\n");

    /* What will not pass is an end, and after it a new watch may begin. */
    fake_daemon_answer(fixture->daemon, "GET /v1/ws", 403, "application/problem+json",
                       "{\"code\":\"forbidden\",\"detail\":\"because\"}");
    fake_daemon_drop_streams(fixture->daemon);
    wait_signals(fixture, "closed forbidden\n",
                 "watch reconnecting\nwatch off\nclosed forbidden\n");
    fake_daemon_forget(fixture->daemon, "GET /v1/ws");
    watch(fixture);
    assert_signals(fixture, "watch on\n");

    /* Closing while there is no daemon ends the attempts. */
    fake_daemon_drop_streams(fixture->daemon);
    wait_signals(fixture, "watch reconnecting\n", "watch reconnecting\n");
    tenbox_connection_close(fixture->connection);
    assert_signals(fixture, "watch off\nclosed -\n");
}

static void test_watch_garbage(Fixture *fixture, gconstpointer data)
{
    static const char *const garbage[] = {
        "{",
        "[]",
        "{\"sequence\":1}",
        "{\"sequence\":\"1\",\"epoch\":\"e\",\"time\":\"2026-01-31T12:00:00Z\",\"type\":\"x\"}",
        "{\"sequence\":1,\"epoch\":\"e\",\"time\":\"now\",\"type\":\"x\",\"vm_id\":null}",
        ("{\"sequence\":1,\"epoch\":\"e\",\"time\":\"2026-01-31T12:00:00Z\","
         "\"type\":\"vm.state\",\"vm_id\":null,\"data\":null}"),
    };

    answer_list(fixture, "", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(garbage); i++) {
        watch(fixture);
        assert_signals(fixture, "");
        tbx_stream_channel_send(last_channel(fixture)->channel, TBX_STREAM_DOCUMENT, garbage[i],
                                strlen(garbage[i]));
        wait_until(has_signals, fixture->signals);
        assert_signals(fixture, "closed protocol-error\n");
    }
}

static void test_watch_refused(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) refused = {0}, no_socket = {0};

    fake_daemon_refuse_channels(fixture->daemon, "unsupported", "no events here");
    tenbox_connection_watch_async(fixture->connection, NULL, await_done, &refused);
    g_assert_false(
        tenbox_connection_watch_finish(fixture->connection, await_result(&refused), &error));
    g_assert_cmpstr(error->message, ==, "no events here");
    assert_error(&error, TENBOX_ERROR_UNSUPPORTED, "unsupported");
    assert_signals(fixture, "");
    fake_daemon_drop_streams(fixture->daemon);
    while (g_main_context_iteration(NULL, FALSE)) {
    }

    fake_daemon_answer(fixture->daemon, "GET /v1/ws", 403, "text/plain", "no");
    tenbox_connection_watch_async(fixture->connection, NULL, await_done, &no_socket);
    g_assert_false(
        tenbox_connection_watch_finish(fixture->connection, await_result(&no_socket), &error));
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    /* A daemon says why. */
    static const struct {
        guint status;
        const char *slug;
        int code, exit_status;
    } reasons[] = {
        {503, "shutting-down", TENBOX_ERROR_UNREACHABLE, 7},
        {403, "forbidden", TENBOX_ERROR_PERMISSION, 5},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(reasons); i++) {
        g_auto(Await) await = {0};
        g_autofree char *body =
            g_strdup_printf("{\"code\":\"%s\",\"detail\":\"because\"}", reasons[i].slug);
        fake_daemon_answer(fixture->daemon, "GET /v1/ws", reasons[i].status,
                           "application/problem+json", body);
        tenbox_connection_watch_async(fixture->connection, NULL, await_done, &await);
        g_assert_false(
            tenbox_connection_watch_finish(fixture->connection, await_result(&await), &error));
        g_assert_cmpint(tenbox_error_get_exit_status(error), ==, reasons[i].exit_status);
        g_assert_cmpstr(error->message, ==, "because");
        assert_error(&error, reasons[i].code, reasons[i].slug);
    }
}

/* ---- consoles ----------------------------------------------------------------------------- */

typedef struct {
    TenboxConsole *console;
    GByteArray *output;
    char *closed; /* NULL: not yet; "-" in order; else the slug */
    guint closed_count;
    gsize wanted;
} Screen;

static void on_output(TenboxConsole *console, GBytes *bytes, gpointer user_data)
{
    Screen *screen = user_data;

    g_assert_cmpuint(g_bytes_get_size(bytes), >, 0);
    g_assert_cmpuint(g_bytes_get_size(bytes), <=, 64 * 1024);
    g_byte_array_append(screen->output, g_bytes_get_data(bytes, NULL),
                        (guint)g_bytes_get_size(bytes));
}

static void on_console_closed(TenboxConsole *console, GError *error, gpointer user_data)
{
    Screen *screen = user_data;

    screen->closed_count++;
    g_free(screen->closed);
    screen->closed = g_strdup(error ? tenbox_error_get_code(error) : "-");
}

static TenboxConsole *open_console(TenboxVm *vm, TenboxConsoleFlags flags, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_open_console_async(vm, flags, NULL, await_done, &await);
    return tenbox_vm_open_console_finish(vm, await_result(&await), error);
}

static void screen_open(Screen *screen, TenboxVm *vm)
{
    g_autoptr(GError) error = NULL;

    screen->console = open_console(vm, TENBOX_CONSOLE_FLAGS_NONE, &error);
    g_assert_no_error(error);
    screen->output = g_byte_array_new();
    g_signal_connect(screen->console, "output", G_CALLBACK(on_output), screen);
    g_signal_connect(screen->console, "closed", G_CALLBACK(on_console_closed), screen);
}

static void screen_clear(Screen *screen)
{
    if (screen->console)
        g_signal_handlers_disconnect_by_data(screen->console, screen);
    g_clear_object(&screen->console);
    g_clear_pointer(&screen->output, g_byte_array_unref);
    g_free(screen->closed);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Screen, screen_clear)

static gboolean screen_has(gpointer user_data)
{
    Screen *screen = user_data;

    return screen->output->len >= screen->wanted;
}

static gboolean screen_is_closed(gpointer user_data)
{
    return ((Screen *)user_data)->closed != NULL;
}

static gboolean channel_is_closed(gpointer user_data)
{
    return ((FakeChannel *)user_data)->channel == NULL;
}

static void send_text(Fixture *fixture, const char *text)
{
    tbx_stream_channel_send(last_channel(fixture)->channel, TBX_STREAM_BYTES, text, strlen(text));
}

static void test_console(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_auto(Screen) screen = {0};
    g_autoptr(GError) error = NULL;
    g_auto(Await) write = {0}, late = {0};
    g_autoptr(GBytes) bytes = g_bytes_new_static("ls\r", 3);

    screen_open(&screen, vm);
    g_assert_cmpstr(last_channel(fixture)->kind, ==, "console");
    g_assert_cmpstr(last_channel(fixture)->vm_id, ==, FAKE_ID_1);
    g_assert_true(last_channel(fixture)->replay);
    send_text(fixture, "hello ");
    tbx_stream_channel_send_skipped(last_channel(fixture)->channel, 1000);
    send_text(fixture, "world");
    screen.wanted = 11;
    wait_until(screen_has, &screen);
    g_assert_cmpmem(screen.output->data, screen.output->len, "hello world", 11);
    g_assert_cmpuint(tenbox_console_get_skipped(screen.console), ==, 1000);

    tenbox_console_write_async(screen.console, bytes, NULL, await_done, &write);
    g_assert_true(tenbox_console_write_finish(screen.console, await_result(&write), &error));
    g_assert_no_error(error);

    /* The VM stops: what was sent before is still shown. */
    send_text(fixture, "!");
    tbx_stream_channel_send_eof(last_channel(fixture)->channel);
    wait_until(screen_is_closed, &screen);
    g_assert_cmpstr(screen.closed, ==, "-");
    g_assert_cmpuint(screen.output->len, ==, 12);
    g_assert_true(tenbox_console_is_closed(screen.console));
    wait_until(channel_is_closed, last_channel(fixture));
    g_assert_cmpmem(last_channel(fixture)->received->data, last_channel(fixture)->received->len,
                    "ls\r", 3);
    tenbox_console_write_async(screen.console, bytes, NULL, await_done, &late);
    g_assert_false(tenbox_console_write_finish(screen.console, await_result(&late), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed");
    tenbox_console_close(screen.console);
    g_assert_cmpuint(screen.closed_count, ==, 1);
}

static gboolean has_received(gpointer user_data)
{
    FakeChannel *channel = user_data;

    return channel->received->len >= TBX_STREAM_WINDOW;
}

/* More input than the guest takes waits, bounded, in order. */
/* ---- a log that is followed ---------------------------------------------------------------- */

/* Answers with a body that the test goes on with. */
static void on_follow(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data)
{
    SoupServerMessage **kept = user_data;

    g_set_object(kept, message);
    soup_server_message_set_status(message, 200, NULL);
    soup_message_headers_set_encoding(soup_server_message_get_response_headers(message),
                                      SOUP_ENCODING_CHUNKED);
    soup_message_headers_replace(soup_server_message_get_response_headers(message), "Content-Type",
                                 "text/plain; charset=utf-8");
    soup_message_body_append(soup_server_message_get_response_body(message), SOUP_MEMORY_STATIC,
                             "one\n", 4);
}

static TenboxConsole *follow_log(TenboxVm *vm, const char *source, int lines, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_follow_log_async(vm, source, lines, NULL, await_done, &await);
    return tenbox_vm_follow_log_finish(vm, await_result(&await), error);
}

static void screen_take(Screen *screen, TenboxConsole *console)
{
    g_assert_nonnull(console);
    screen->console = console;
    screen->output = g_byte_array_new();
    g_signal_connect(console, "output", G_CALLBACK(on_output), screen);
    g_signal_connect(console, "closed", G_CALLBACK(on_console_closed), screen);
}

static void test_follow_log(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(SoupServerMessage) message = NULL, second = NULL;
    g_auto(Screen) screen = {0}, other = {0};
    g_auto(Await) write = {0};
    g_autoptr(GBytes) bytes = g_bytes_new_static("x", 1);
    g_autoptr(GError) error = NULL;

    fake_daemon_on(fixture->daemon, "GET /v1/vms/" FAKE_ID_1 "/logs", on_follow, &message);
    TenboxConsole *log = follow_log(vm, "console", 3, &error);
    g_assert_no_error(error);
    screen_take(&screen, log);
    assert_log(fixture, "GET /v1/vms/" FAKE_ID_1 "/logs?source=console&follow=true&lines=3\n");
    screen.wanted = 4;
    wait_until(screen_has, &screen);

    /* While it is paused nothing comes, and nothing is lost. */
    tenbox_console_set_paused(screen.console, TRUE);
    soup_message_body_append(soup_server_message_get_response_body(message), SOUP_MEMORY_STATIC,
                             "two\n", 4);
    soup_server_message_unpause(message);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    tenbox_console_set_paused(screen.console, FALSE);
    screen.wanted = 8;
    wait_until(screen_has, &screen);
    g_assert_cmpmem(screen.output->data, screen.output->len, "one\ntwo\n", 8);
    tenbox_console_write_async(screen.console, bytes, NULL, await_done, &write);
    g_assert_false(tenbox_console_write_finish(screen.console, await_result(&write), &error));
    assert_error(&error, TENBOX_ERROR_UNSUPPORTED, "unsupported");

    /* The end in order. */
    soup_message_body_complete(soup_server_message_get_response_body(message));
    soup_server_message_unpause(message);
    wait_until(screen_is_closed, &screen);
    g_assert_cmpstr(screen.closed, ==, "-");

    /* Refusals. */
    g_assert_null(follow_log(vm, "diary", 0, &error));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid");
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/" FAKE_ID_1 "/logs", 403,
                       "application/problem+json",
                       "{\"code\":\"forbidden\",\"detail\":\"because\"}");
    g_assert_null(follow_log(vm, "runtime", -1, &error));
    assert_error(&error, TENBOX_ERROR_PERMISSION, "forbidden");

    /* Closing the connection ends one that is waited for. */
    fake_daemon_on(fixture->daemon, "GET /v1/vms/" FAKE_ID_1 "/logs", on_follow, &second);
    log = follow_log(vm, "console", -1, &error);
    g_assert_no_error(error);
    screen_take(&other, log);
    other.wanted = 4;
    wait_until(screen_has, &other);
    tenbox_connection_close(fixture->connection);
    wait_until(screen_is_closed, &other);
    g_assert_cmpstr(other.closed, ==, "closed");
}

static void test_console_input(Fixture *fixture, gconstpointer data)
{
    const gsize size = TBX_STREAM_WINDOW + 100000;
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_auto(Screen) screen = {0};
    g_autofree guint8 *pattern = g_malloc(size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Await) first = {0}, second = {0}, withdrawn = {0}, refused = {0};

    for (gsize i = 0; i < size; i++)
        pattern[i] = (guint8)(i * 7 + i / 256);
    g_autoptr(GBytes) bytes = g_bytes_new(pattern, size);
    g_autoptr(GBytes) tail = g_bytes_new_static("tail", 4);
    g_autoptr(GBytes) huge = g_bytes_new_take(g_malloc0(1024 * 1024), 1024 * 1024);

    screen_open(&screen, vm);
    FakeChannel *channel = last_channel(fixture);
    channel->consumes = FALSE;
    tenbox_console_write_async(screen.console, bytes, NULL, await_done, &first);
    tenbox_console_write_async(screen.console, tail, cancellable, await_done, &withdrawn);
    tenbox_console_write_async(screen.console, tail, NULL, await_done, &second);
    tenbox_console_write_async(screen.console, huge, NULL, await_done, &refused);
    g_assert_false(tenbox_console_write_finish(screen.console, await_result(&refused), &error));
    assert_error(&error, TENBOX_ERROR_BUSY, "console-busy");

    wait_until(has_received, channel);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(channel->received->len, ==, TBX_STREAM_WINDOW);
    g_assert_null(first.result);
    g_cancellable_cancel(cancellable);
    g_assert_false(tenbox_console_write_finish(screen.console, await_result(&withdrawn), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);

    channel->consumes = TRUE;
    tbx_stream_channel_consumed(channel->channel, TBX_STREAM_WINDOW);
    g_assert_true(tenbox_console_write_finish(screen.console, await_result(&first), &error));
    g_assert_true(tenbox_console_write_finish(screen.console, await_result(&second), &error));
    g_assert_no_error(error);
    tenbox_console_close(screen.console);
    wait_until(channel_is_closed, channel);
    g_assert_cmpuint(channel->received->len, ==, size + 4);
    g_assert_cmpmem(channel->received->data, size, pattern, size);
    g_assert_cmpmem(channel->received->data + size, 4, "tail", 4);
}

/* A paused console takes no more than the window from the daemon. */
static void test_console_pause(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_auto(Screen) screen = {0};
    g_autofree char *piece = g_strnfill(32 * 1024, 'x');
    gsize sent = 0;

    screen_open(&screen, vm);
    TbxStreamChannel *channel = last_channel(fixture)->channel;
    tenbox_console_set_paused(screen.console, TRUE);
    for (int idle = 0; idle < 200;) {
        gsize room = tbx_stream_channel_get_room(channel);
        if (room > 0) {
            tbx_stream_channel_send(channel, TBX_STREAM_BYTES, piece, MIN(room, 32 * 1024));
            sent += MIN(room, 32 * 1024);
            idle = 0;
        } else if (!g_main_context_iteration(NULL, FALSE)) {
            idle++;
        }
    }
    g_assert_cmpuint(sent, <=, TBX_STREAM_WINDOW + 64 * 1024);
    g_assert_cmpuint(screen.output->len, <=, 64 * 1024);
    tenbox_console_set_paused(screen.console, FALSE);
    screen.wanted = sent;
    wait_until(screen_has, &screen);
    g_assert_cmpuint(screen.output->len, ==, sent);
}

static void test_console_ends(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) big = g_bytes_new_take(g_malloc0(512 * 1024), 512 * 1024);

    /* Refused. */
    fake_daemon_refuse_channels(fixture->daemon, "vm-not-running", "foo does not run");
    g_assert_null(open_console(vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_cmpstr(error->message, ==, "foo does not run");
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-running");
    fake_daemon_refuse_channels(fixture->daemon, NULL, NULL);

    /* The daemon goes away: the reader and the writer are told. */
    {
        g_auto(Screen) screen = {0};
        g_auto(Await) write = {0};
        screen_open(&screen, vm);
        last_channel(fixture)->consumes = FALSE;
        tenbox_console_write_async(screen.console, big, NULL, await_done, &write);
        wait_until(has_received, last_channel(fixture));
        fake_daemon_drop_streams(fixture->daemon);
        wait_until(screen_is_closed, &screen);
        g_assert_cmpstr(screen.closed, ==, "daemon-unreachable");
        g_assert_false(tenbox_console_write_finish(screen.console, await_result(&write), &error));
        assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable");
    }

    /* Closed here, with a write under way; a new stream was made. */
    {
        g_auto(Screen) screen = {0};
        g_auto(Await) write = {0};
        screen_open(&screen, vm);
        last_channel(fixture)->consumes = FALSE;
        tenbox_console_write_async(screen.console, big, NULL, await_done, &write);
        tenbox_console_close(screen.console);
        g_assert_cmpstr(screen.closed, ==, "-");
        g_assert_false(tenbox_console_write_finish(screen.console, await_result(&write), &error));
        assert_error(&error, TENBOX_ERROR_CLOSED, "closed");
        wait_until(channel_is_closed, last_channel(fixture));
    }

    /* Dropping the last reference closes. */
    {
        TenboxConsole *console = open_console(vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error);
        g_assert_no_error(error);
        g_assert_false(last_channel(fixture)->replay);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
        g_assert_finalize_object(console);
        wait_until(channel_is_closed, last_channel(fixture));
    }
    g_assert_cmpuint(fake_daemon_count(fixture->daemon, "GET /v1/ws"), ==, 2);
}

/* The socket breaks, and whoever hears of it wants a new console at once: it gets one on a new socket. */
typedef struct {
    TenboxVm *vm;
    Await await;
} Reopening;

static void on_closed_reopen(TenboxConsole *console, GError *error, gpointer user_data)
{
    Reopening *reopening = user_data;

    tenbox_vm_open_console_async(reopening->vm, TENBOX_CONSOLE_FLAGS_NONE, NULL, await_done,
                                 &reopening->await);
}

static void test_console_reopen(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};
    Reopening reopening = {.vm = vm};

    screen_open(&screen, vm);
    g_signal_connect(screen.console, "closed", G_CALLBACK(on_closed_reopen), &reopening);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    fake_daemon_drop_streams(fixture->daemon);
    g_autoptr(TenboxConsole) again =
        tenbox_vm_open_console_finish(vm, await_result(&reopening.await), &error);
    g_assert_no_error(error);
    g_assert_false(tenbox_console_is_closed(again));
    g_assert_cmpuint(fake_daemon_count(fixture->daemon, "GET /v1/ws"), ==, 2);
    await_clear(&reopening.await);
}

/* The limit of one socket is told as what it is, and closing one makes room. */
static void test_console_limit(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_autoptr(GPtrArray) consoles = g_ptr_array_new_with_free_func(g_object_unref);
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < TBX_STREAM_CHANNELS_MAX; i++) {
        g_ptr_array_add(consoles, open_console(vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
        g_assert_no_error(error);
    }
    g_assert_null(open_console(vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_nonnull(strstr(error->message, "64 consoles"));
    assert_error(&error, TENBOX_ERROR_UNSUPPORTED, "unsupported");

    tenbox_console_close(consoles->pdata[0]);
    wait_until(channel_is_closed, fake_daemon_get_channels(fixture->daemon)->pdata[0]);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_ptr_array_add(consoles, open_console(vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
}

typedef struct {
    TenboxConnection *connection;
    guint ended;
} Closing;

static void on_opened_or_not(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Closing *closing = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxConsole) console =
        tenbox_vm_open_console_finish(TENBOX_VM(source), result, &error);

    g_assert_null(console);
    g_assert_nonnull(error);
    closing->ended++;
    tenbox_connection_close(closing->connection);
}

static gboolean have_all_ended(gpointer user_data)
{
    return ((Closing *)user_data)->ended == TBX_STREAM_CHANNELS_MAX + 2;
}

/* More consoles than there are channels wait for the socket; the first that is told so closes all. */
static void test_console_close_while_opening(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    Closing closing = {.connection = fixture->connection};

    for (guint i = 0; i < TBX_STREAM_CHANNELS_MAX + 2; i++)
        tenbox_vm_open_console_async(vm, TENBOX_CONSOLE_FLAGS_NONE, NULL, on_opened_or_not,
                                     &closing);
    wait_until(have_all_ended, &closing);
}

/* ---- the driver's console, where the public one is stricter --------------------------------- */

static GTask *new_task(Await *await)
{
    return g_task_new(NULL, NULL, await_done, await);
}

static gboolean finish_write(Await *await, GError **error)
{
    return g_task_propagate_boolean(G_TASK(await_result(await)), error);
}

static void test_driver_console(Fixture *fixture, gconstpointer data)
{
    static const TbxEventSinkHandlers handlers = {0};
    g_autoptr(TbxEventSink) sink = tbx_event_sink_new(&handlers, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxDriver) driver =
        tbx_driver_new(fake_daemon_get_uri(fixture->daemon), sink, &error);
    g_auto(Await) opened = {0}, console_opened = {0}, first = {0}, second = {0}, nothing = {0},
                  written = {0}, empty = {0}, next = {0};
    g_autoptr(GBytes) none = g_bytes_new_static("", 0);
    g_autoptr(GBytes) some = g_bytes_new_static("some", 4);

    g_assert_no_error(error);
    tbx_driver_open(driver, new_task(&opened));
    g_assert_true(finish_write(&opened, &error));
    tbx_driver_console_open(driver, "foo", TENBOX_CONSOLE_FLAGS_NONE, NULL,
                            new_task(&console_opened));
    g_autoptr(TbxConsoleStream) console =
        g_task_propagate_pointer(G_TASK(await_result(&console_opened)), &error);
    g_assert_no_error(error);

    /* One read at a time, of at least one byte; the one that waits is not disturbed. */
    tbx_console_stream_read(console, 100, new_task(&first));
    tbx_console_stream_read(console, 100, new_task(&second));
    g_assert_null(g_task_propagate_pointer(G_TASK(await_result(&second)), &error));
    assert_error(&error, TENBOX_ERROR_FAILED, "internal");
    tbx_stream_channel_send(last_channel(fixture)->channel, TBX_STREAM_BYTES, "hello", 5);
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(await_result(&first)), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, 5);
    tbx_console_stream_read(console, 0, new_task(&nothing));
    g_assert_null(g_task_propagate_pointer(G_TASK(await_result(&nothing)), &error));
    assert_error(&error, TENBOX_ERROR_FAILED, "internal");

    /* Nothing is written at once and holds up nothing; something is written when it was taken. */
    last_channel(fixture)->consumes = FALSE;
    tbx_console_stream_write(console, some, new_task(&written));
    tbx_console_stream_write(console, none, new_task(&empty));
    g_assert_true(finish_write(&empty, &error));
    tbx_console_stream_write(console, some, new_task(&next));
    while (last_channel(fixture)->received->len < 8 || g_main_context_pending(NULL))
        g_main_context_iteration(NULL, TRUE);
    g_assert_null(written.result);
    tbx_stream_channel_consumed(last_channel(fixture)->channel, 8);
    g_assert_true(finish_write(&written, &error));
    g_assert_true(finish_write(&next, &error));
    g_assert_no_error(error);
}

/* ---- bad answers -------------------------------------------------------------------------- */

static void test_bad_answers(Fixture *fixture, gconstpointer data)
{
    g_autofree char *deep = g_strnfill(100000, '[');
    g_autofree char *vm = fake_vm(FAKE_ID_1, "foo", "stopped", 1);
    g_autoptr(GString) wrong_type = g_string_new(vm);
    g_autoptr(GString) twice = g_string_new(vm);
    g_string_replace(wrong_type, "512", "\"512\"", 1);
    g_string_replace(twice, "{", "{\"id\":\"x\",", 1);
    const char *const bodies[] = {
        "", "[]", "{\"id\":1}", deep, wrong_type->str, twice->str, "{}", "{\"id\":\"\\u0000\"}",
    };
    g_autoptr(GError) error = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(bodies); i++) {
        fake_daemon_answer(fixture->daemon, "GET /v1/vms/foo", 200, NULL, bodies[i]);
        g_assert_null(get_vm_full(fixture, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
        assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");
    }
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/foo", 200, NULL, wrong_type->str);
    g_assert_null(get_vm_full(fixture, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    g_assert_nonnull(strstr(error->message, "memory_mb"));
    g_clear_error(&error);

    g_autofree char *large = g_strnfill(5 * 1024 * 1024, ' ');
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/foo", 200, NULL, large);
    g_assert_null(get_vm_full(fixture, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    fake_daemon_answer(fixture->daemon, "GET /v1/vms/foo", 500, "application/problem+json", "{{");
    g_assert_null(get_vm_full(fixture, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");

    static const char *const lists[] = {"{}", "{\"items\":{}}", "{\"items\":[1]}",
                                        "{\"items\":[{}]}"};
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++) {
        fake_daemon_answer(fixture->daemon, "GET /v1/vms", 200, NULL, lists[i]);
        g_assert_null(list_vms(fixture, &error));
        assert_error(&error, TENBOX_ERROR_PROTOCOL, "protocol-error");
    }
}

/* A newer daemon: members and words we do not know are let pass, and passed on. */
static void test_newer_daemon(Fixture *fixture, gconstpointer data)
{
    g_autofree char *plain = fake_vm(FAKE_ID_1, "foo", "hibernated", 1);
    g_autoptr(GString) json = g_string_new(plain);

    g_string_replace(json, "{\"id\"", "{\"gpu\":{\"kind\":\"x\",\"share\":0.5},\"id\"", 1);
    fake_daemon_answer(fixture->daemon, "GET /v1/vms/foo", 200, NULL, json->str);
    g_autoptr(TenboxVm) vm = get_vm(fixture, "foo");
    g_assert_cmpint(tenbox_vm_get_state(vm), ==, TENBOX_VM_STATE_UNKNOWN);
    g_autofree char *text = tenbox_vm_dup_json(vm);
    g_assert_cmpstr(text, ==, json->str);
}

/* ---- the end of a connection ---------------------------------------------------------------- */

static gboolean is_listing(gpointer daemon)
{
    return fake_daemon_count(daemon, "GET /v1/vms") > 0;
}

static void test_close(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = get_foo(fixture);
    g_auto(Screen) screen = {0};
    g_autoptr(GError) error = NULL;
    g_auto(Await) list = {0}, after = {0};

    screen_open(&screen, vm);
    fake_daemon_hang(fixture->daemon, "GET /v1/vms");
    tenbox_connection_list_vms_async(fixture->connection, NULL, await_done, &list);
    wait_until(is_listing, fixture->daemon);
    tenbox_connection_close(fixture->connection);
    tenbox_connection_close(fixture->connection);
    g_assert_null(
        tenbox_connection_list_vms_finish(fixture->connection, await_result(&list), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed");
    wait_until(screen_is_closed, &screen);
    g_assert_cmpstr(screen.closed, ==, "closed");
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &after);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&after), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed");
}

/* A handle outlives its connection. */
static void test_drop(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxConnection) connection = open_uri(fake_daemon_get_uri(fixture->daemon), &error);
    g_auto(Await) get = {0}, after = {0};

    answer_vm(fixture, FAKE_ID_1, "foo", "stopped", 1);
    tenbox_connection_get_vm_async(connection, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, NULL, await_done,
                                   &get);
    g_autoptr(TenboxVm) vm =
        tenbox_connection_get_vm_finish(connection, await_result(&get), &error);
    await_clear(&get);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_finalize_object(g_steal_pointer(&connection));
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "foo");
    tenbox_vm_refresh_async(vm, NULL, await_done, &after);
    g_assert_false(tenbox_vm_refresh_finish(vm, await_result(&after), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed");
}

/* ---- without a main loop ------------------------------------------------------------------- */

typedef struct {
    char *uri;
    GMutex mutex;
    GCond ready;
    gboolean is_over;
} Server;

static gboolean is_over(gpointer user_data)
{
    Server *server = user_data;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&server->mutex);

    return server->is_over;
}

static gpointer serve(gpointer user_data)
{
    Server *server = user_data;
    g_autoptr(GMainContext) context = g_main_context_new();

    g_main_context_push_thread_default(context);
    FakeDaemon *daemon = fake_daemon_new();
    g_autofree char *vm = fake_vm(FAKE_ID_1, "foo", "running", 1);
    g_autofree char *list = g_strdup_printf("{\"items\":[%s]}", vm);
    g_autofree char *operation = fake_operation(FAKE_OP_ID, "start", "done", NULL);
    fake_daemon_answer(daemon, "GET /v1/vms", 200, NULL, list);
    fake_daemon_answer(daemon, "GET /v1/vms/foo", 200, NULL, vm);
    fake_daemon_answer(daemon, "GET /v1/vms/" FAKE_ID_1, 200, NULL, vm);
    fake_daemon_answer(daemon, "POST /v1/vms/" FAKE_ID_1 ":start", 202, NULL, operation);

    g_mutex_lock(&server->mutex);
    server->uri = g_strdup(fake_daemon_get_uri(daemon));
    g_cond_signal(&server->ready);
    g_mutex_unlock(&server->mutex);
    while (!is_over(server))
        g_main_context_iteration(context, TRUE);
    fake_daemon_free(daemon);
    g_main_context_pop_thread_default(context);
    return NULL;
}

static void test_sync(void)
{
    Server server = {0};
    g_autoptr(GError) error = NULL;

    g_mutex_init(&server.mutex);
    g_cond_init(&server.ready);
    GThread *thread = g_thread_new("fake-daemon", serve, &server);
    g_mutex_lock(&server.mutex);
    while (!server.uri)
        g_cond_wait(&server.ready, &server.mutex);
    g_mutex_unlock(&server.mutex);

    {
        g_autoptr(TenboxConnection) connection =
            tenbox_connection_open_sync(server.uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, &error);
        g_assert_no_error(error);
        g_autoptr(GPtrArray) vms = tenbox_connection_list_vms_sync(connection, NULL, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(vms->len, ==, 1);
        g_autoptr(TenboxVm) vm = tenbox_connection_get_vm_sync(
            connection, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, NULL, &error);
        g_assert_no_error(error);
        g_assert_true(tenbox_vm_start_sync(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, &error));
        g_assert_no_error(error);
        g_autofree char *system = tenbox_connection_get_system_sync(connection, NULL, &error);
        g_assert_nonnull(system);

        /* The kinds do not mix, and say so. */
        g_auto(Await) wrong = {0};
        tenbox_vm_refresh_async(vm, NULL, await_done, &wrong);
        g_assert_false(tenbox_vm_refresh_finish(vm, await_result(&wrong), &error));
        assert_error(&error, TENBOX_ERROR_WRONG_STATE, "wrong-state");

        g_autoptr(GCancellable) cancelled = g_cancellable_new();
        g_cancellable_cancel(cancelled);
        g_assert_false(tenbox_vm_refresh_sync(vm, cancelled, &error));
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_clear_error(&error);
    }
    {
        g_autoptr(TenboxConnection) connection = open_uri(server.uri, &error);
        g_assert_no_error(error);
        g_assert_null(tenbox_connection_list_vms_sync(connection, NULL, &error));
        assert_error(&error, TENBOX_ERROR_WRONG_STATE, "wrong-state");
    }

    g_mutex_lock(&server.mutex);
    server.is_over = TRUE;
    g_mutex_unlock(&server.mutex);
    /* One more connection wakes its loop. */
    G_GNUC_UNUSED g_autoptr(TenboxConnection) last =
        tenbox_connection_open_sync(server.uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, NULL);
    g_thread_join(thread);
    g_free(server.uri);
    g_mutex_clear(&server.mutex);
    g_cond_clear(&server.ready);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/open/no-daemon", test_no_daemon);
    g_test_add_func("/open/no-probe", test_no_probe);
    g_test_add_func("/open/no-tenbox", test_no_tenbox);
    g_test_add_func("/open/silent", test_silent);
#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)
    ADD("/open/withdraw", test_withdraw_open);
    ADD("/open/long-path", test_long_path);
    ADD("/vms/list", test_list);
    ADD("/vms/long-list", test_long_list);
    ADD("/vms/pages", test_pages);
    ADD("/vms/lookup", test_lookup);
    ADD("/vms/create", test_create);
    ADD("/vms/create-again", test_create_again);
    ADD("/vms/update", test_update);
    ADD("/vms/texts", test_texts);
    ADD("/actions/start", test_start);
    ADD("/actions/start-fails", test_start_fails);
    ADD("/actions/stop-and-delete", test_stop_and_delete);
    ADD("/actions/withdraw-wait", test_withdraw_wait);
    ADD("/actions/withdraw-begin", test_withdraw_begin);
    ADD("/actions/withdraw-hang", test_withdraw_hang);
    ADD("/actions/held", test_held);
    ADD("/actions/operation", test_operation);
    ADD("/events/watch", test_watch);
    ADD("/events/lost", test_watch_lost);
    ADD("/events/since", test_watch_since);
    ADD("/events/operation", test_operation_events);
    g_test_add("/events/reconnect", Fixture, GUINT_TO_POINTER(TENBOX_CONNECTION_FLAGS_RECONNECT),
               set_up, test_reconnect, tear_down);
    ADD("/events/garbage", test_watch_garbage);
    ADD("/events/refused", test_watch_refused);
    ADD("/console/session", test_console);
    ADD("/console/follow-log", test_follow_log);
    ADD("/console/input", test_console_input);
    ADD("/console/pause", test_console_pause);
    ADD("/console/ends", test_console_ends);
    ADD("/console/reopen", test_console_reopen);
    ADD("/console/limit", test_console_limit);
    ADD("/console/close-while-opening", test_console_close_while_opening);
    ADD("/console/driver", test_driver_console);
    ADD("/answers/bad", test_bad_answers);
    ADD("/answers/newer", test_newer_daemon);
    ADD("/close/requests", test_close);
    ADD("/close/drop", test_drop);
    g_test_add_func("/sync/twins", test_sync);
    return g_test_run();
}
