/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a client rests on that was away, or is not alone: positions, entity tags, logs, another daemon. */
#include <string.h>

#include "tests/conformance/harness.h"

static gboolean update(TenboxVm *vm, const char *description, const char *etag, GError **error)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_auto(Await) await = {0};

    tenbox_vm_config_builder_set_description(builder, description);
    tenbox_vm_config_builder_set_if_match(builder, etag);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, error);
    g_assert_nonnull(config);
    tenbox_vm_update_async(vm, config, NULL, await_done, &await);
    return tenbox_vm_update_finish(vm, await_result(&await), error);
}

/* A change, a start and a deletion hold for the version that they were decided on. */
static void test_etag(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autofree char *first = g_strdup(tenbox_vm_get_etag(vm));
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(first);
    assert_act(ACT(vm, start, &error), error);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, 0, &error));
    g_assert_cmpstr(tenbox_vm_get_etag(vm), ==, first);
    g_assert_true(update(vm, "one", first, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_etag(vm), !=, first);
    g_assert_false(update(vm, "two", first, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "precondition-failed", "If-Match");
    g_assert_cmpstr(tenbox_vm_get_description(vm), ==, "one");
    g_assert_true(update(vm, "three", NULL, &error));
    g_assert_true(update(vm, "four", tenbox_vm_get_etag(vm), &error));
    g_assert_no_error(error);

    g_auto(Await) begun = {0};
    tenbox_vm_begin_action_async(vm, TENBOX_VM_ACTION_START, TENBOX_VM_ACTION_FLAGS_IF_UNCHANGED,
                                 -1, NULL, await_done, &begun);
    g_autoptr(TenboxOperation) operation =
        tenbox_vm_begin_action_finish(vm, await_result(&begun), &error);
    g_assert_no_error(error);
    g_auto(Await) ended = {0};
    tenbox_operation_wait_async(operation, 60, NULL, await_done, &ended);
    g_assert_true(tenbox_operation_wait_finish(operation, await_result(&ended), &error));
    g_assert_cmpint(tenbox_operation_get_begun_at(operation), >=,
                    tenbox_operation_get_created_at(operation));
    g_assert_cmpint(tenbox_operation_get_ended_at(operation), >=,
                    tenbox_operation_get_begun_at(operation));
}

static void on_log_output(TenboxConsole *log, GBytes *bytes, gpointer text)
{
    g_string_append_len(text, g_bytes_get_data(bytes, NULL), (gssize)g_bytes_get_size(bytes));
}

static void on_log_closed(TenboxConsole *log, GError *error, gpointer closed)
{
    *(int *)closed = error ? -1 : 1;
}

static gboolean has_hello(gpointer text)
{
    return strstr(((GString *)text)->str, hello()) != NULL;
}

static gboolean is_set(gpointer number)
{
    return *(int *)number != 0;
}

/* A log is followed over a run that begins later, to the end of the VM. */
static void test_log(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};
    int closed = 0;

    tenbox_vm_follow_log_async(vm, "console", 0, NULL, await_done, &await);
    g_autoptr(TenboxConsole) log = tenbox_vm_follow_log_finish(vm, await_result(&await), &error);
    g_assert_no_error(error);
    g_signal_connect(log, "output", G_CALLBACK(on_log_output), text);
    g_signal_connect(log, "closed", G_CALLBACK(on_log_closed), &closed);
    assert_act(ACT(vm, start, &error), error);
    wait_until(has_hello, text);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, 0, &error));
    g_assert_cmpint(closed, ==, 0);
    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    wait_until(is_set, &closed);
    g_assert_cmpint(closed, ==, 1);
}

static void on_sequence(TenboxConnection *connection, TenboxEvent *event, gpointer sequences)
{
    guint64 sequence = tenbox_event_get_sequence(event);

    g_array_append_val(sequences, sequence);
}

/* Every event has its number, and the position is that of the last one. */
static void test_positions(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GArray) sequences = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_autofree char *before = tenbox_connection_dup_event_position(fixture->connection);
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(before);
    g_signal_connect(fixture->connection, "event", G_CALLBACK(on_sequence), sequences);
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    for (int i = 0; i < 5; i++) {
        g_autofree char *text = g_strdup_printf("%d", i);
        g_assert_true(update(vm, text, NULL, &error));
    }
    g_autofree char *after = tenbox_connection_dup_event_position(fixture->connection);
    guint64 first = g_ascii_strtoull(strrchr(before, ':') + 1, NULL, 10);
    g_assert_cmpuint(sequences->len, >=, 6);
    for (guint i = 0; i < sequences->len; i++)
        g_assert_cmpuint(g_array_index(sequences, guint64, i), ==, first + 1 + i);
    g_assert_cmpuint(g_ascii_strtoull(strrchr(after, ':') + 1, NULL, 10), ==,
                     first + sequences->len);

    /* Another connection to the same daemon goes on where this one began. */
    if (is_remote()) {
        g_autoptr(GArray) replayed = g_array_new(FALSE, FALSE, sizeof(guint64));
        g_autoptr(TenboxConnection) other = open_connection(fixture->uri, &error);
        g_auto(Await) await = {0};

        g_assert_no_error(error);
        g_signal_connect(other, "event", G_CALLBACK(on_sequence), replayed);
        tenbox_connection_watch_since_async(other, before, NULL, await_done, &await);
        g_assert_true(tenbox_connection_watch_since_finish(other, await_result(&await), &error));
        while (replayed->len < sequences->len)
            g_main_context_iteration(NULL, TRUE);
        settle();
        g_assert_cmpmem(replayed->data, replayed->len * sizeof(guint64), sequences->data,
                        sequences->len * sizeof(guint64));
        tenbox_connection_close(other);
    }
    g_signal_handlers_disconnect_by_data(fixture->connection, sequences);
}

static void count_resync(TenboxConnection *connection, gpointer number)
{
    ++*(int *)number;
}

static gboolean is_on(gpointer connection)
{
    return tenbox_connection_get_watch_state(connection) == TENBOX_WATCH_STATE_ON;
}

static gboolean is_reconnecting(gpointer connection)
{
    return tenbox_connection_get_watch_state(connection) == TENBOX_WATCH_STATE_RECONNECTING;
}

/* The daemon is killed and started again: who asked for it goes on, and is told that events were missed. */
static void test_reconnect(Fixture *fixture, gconstpointer data)
{
    if (!is_remote() || is_played()) {
        g_test_skip("there is no daemon that may die, or no folder that outlives it");
        return;
    }

    g_autoptr(GArray) sequences = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) opened = {0}, watched = {0}, found = {0};
    int missed = 0;

    tenbox_connection_open_async(fixture->uri, TENBOX_CONNECTION_FLAGS_RECONNECT, NULL, await_done,
                                 &opened);
    g_autoptr(TenboxConnection) connection =
        tenbox_connection_open_finish(await_result(&opened), &error);
    g_assert_no_error(error);
    g_signal_connect(connection, "resync", G_CALLBACK(count_resync), &missed);
    g_signal_connect(connection, "event", G_CALLBACK(on_sequence), sequences);
    tenbox_connection_watch_async(connection, NULL, await_done, &watched);
    g_assert_true(tenbox_connection_watch_finish(connection, await_result(&watched), &error));
    tenbox_connection_get_vm_async(connection, "foo", TENBOX_VM_LOOKUP_FLAGS_NONE, NULL, await_done,
                                   &found);
    g_autoptr(TenboxVm) handle =
        tenbox_connection_get_vm_finish(connection, await_result(&found), &error);
    g_assert_no_error(error);

    for (int turn = 1; turn <= 2; turn++) {
        g_autofree char *text = g_strdup_printf("turn %d", turn);
        g_subprocess_force_exit(fixture->daemon);
        g_subprocess_wait(fixture->daemon, NULL, NULL);
        g_clear_object(&fixture->daemon);
        wait_until(is_reconnecting, connection);
        start_daemon(fixture);
        wait_until(is_on, connection);
        while (missed < turn)
            g_main_context_iteration(NULL, TRUE);
        /* The old handle follows the new daemon. */
        watch(fixture);
        g_array_set_size(sequences, 0);
        g_assert_true(update(vm, text, NULL, &error));
        g_assert_no_error(error);
        while (strcmp(tenbox_vm_get_description(handle), text) != 0)
            g_main_context_iteration(NULL, TRUE);
        g_assert_cmpuint(g_array_index(sequences, guint64, 0), ==, 1);
    }
    g_assert_cmpint(missed, ==, 2);
    tenbox_connection_close(connection);
}

void add_stream_cases(void)
{
    add_case("/events/reconnect", test_reconnect);
    add_case("/vm/etag", test_etag);
    add_case("/vm/follow-log", test_log);
    add_case("/events/positions", test_positions);
}
