/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of VMs: created, found, changed, run, ended, and what is refused. */
#include <signal.h>
#include <string.h>

#include "tests/conformance/harness.h"

static void test_life(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) log = {0}, statistics = {0};
    g_auto(Screen) screen = {0};

    g_assert_cmpstr(fixture->signals->str, ==, "+foo ");
    assert_state(vm, "stopped");
    g_assert_cmpint(tenbox_vm_get_memory_mb(vm), ==, is_scripted() ? 64 : 256);
    g_assert_true(document_has(vm, "\"kernel\":\"kernel\""));
    g_assert_true(document_has(vm, "\"last_boot_time\":null"));

    assert_act(ACT(vm, start, &error), error);
    assert_state(vm, "running");
    g_assert_cmpint(tenbox_vm_get_pid(vm), >, 0);
    g_assert_cmpint(tenbox_vm_get_started_at(vm), >, 0);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, hello());
    type_line(&screen, "echo me\n");
    wait_text(&screen, "echo me");

    assert_act(ACT(vm, pause, &error), error);
    assert_state(vm, "paused");
    g_assert_false(ACT(vm, shutdown, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-paused", NULL);
    assert_act(ACT(vm, resume, &error), error);
    assert_state(vm, "running");
    g_string_truncate(screen.text, 0);
    assert_act(ACT(vm, reset, &error), error);
    assert_state(vm, "running");
    if (!is_scripted()) /* a guest that boots does not hear the power button */
        wait_text(&screen, hello());

    tenbox_vm_get_statistics_async(vm, NULL, await_done, &statistics);
    g_autofree char *figures =
        tenbox_vm_get_statistics_finish(vm, await_result(&statistics), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(figures, is_scripted() ? "\"serial\":42" : "\"uptime_ns\":"));

    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, is_scripted() ? 30 : 300, &error));
    assert_state(vm, "stopped");
    g_assert_true(document_has(vm, "\"reason\":\"guest-power-off\""));
    g_assert_cmpint(tenbox_vm_get_pid(vm), ==, 0);
    wait_until(screen_is_closed, &screen);
    g_assert_null(screen.error);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 30, &error));

    tenbox_vm_read_log_async(vm, "console", 0, NULL, await_done, &log);
    g_autofree char *text = tenbox_vm_read_log_finish(vm, await_result(&log), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(text, hello()));

    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    g_assert_true(tenbox_vm_is_deleted(vm));
    g_assert_cmpstr(fixture->signals->str, ==, "+foo -foo ");
    g_assert_false(ACT(vm, start, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
}

static void test_refusals(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};
    g_autofree char *missing = g_build_filename(fixture->folder, "missing", NULL);

    g_assert_null(create_full(fixture, "foo", fixture->kernel, NULL, 64, &error));
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists", "name");
    if (!is_played()) {
        g_assert_null(create_full(fixture, "bar", missing, NULL, 64, &error));
        g_assert_nonnull(strstr(error->message, missing));
        assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "file-unreadable", "kernel");
        g_assert_null(create_full(fixture, "bar", fixture->folder, NULL, 64, &error));
        assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "file-unreadable", "kernel");
    }
    g_assert_null(create_full(fixture, "bar", fixture->kernel, NULL, 16 * 1024 * 1024, &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "memory_mb");
    g_clear_error(&error);
    g_autoptr(GPtrArray) vms = list_vms(fixture);
    g_assert_cmpuint(vms->len, ==, 1);

    g_assert_false(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-running", NULL);
    g_assert_false(ACT(vm, pause, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-running", NULL);
    assert_act(ACT(vm, start, &error), error);
    g_assert_false(ACT(vm, start, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-stopped", NULL);
    g_assert_false(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-stopped", NULL);
    assert_state(vm, "running");
}

static void test_refused_launch(Fixture *fixture, gconstpointer data)
{
    const char *word = is_played()     ? "fault=start:kernel-invalid:kernel"
                       : is_scripted() ? "refuse=kernel,22,it_is_no_kernel"
                                       : NULL;
    const char *kernel = is_scripted() ? fixture->kernel : g_getenv("TENBOX_TEST_INITRD");
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxVm) vm = create_full(fixture, "foo", kernel, word, 256, &error);

    g_assert_no_error(error);
    g_assert_false(ACT(vm, start, &error));
    if (is_scripted() && !is_played())
        g_assert_nonnull(strstr(error->message, "it is no kernel"));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "kernel-invalid", "kernel");
    assert_state(vm, "stopped");
    g_assert_true(document_has(vm, "\"code\":\"kernel-invalid\""));
}

static void test_lookup(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *prefix = g_strndup(tenbox_vm_get_id(vm), 6);
    g_autoptr(TenboxVm) by_name = find(fixture, "foo", &error);
    g_autoptr(TenboxVm) by_id = find(fixture, tenbox_vm_get_id(vm), &error);
    g_autoptr(TenboxVm) by_prefix = find(fixture, prefix, &error);

    g_assert_no_error(error);
    g_assert_true(by_name == vm && by_id == vm && by_prefix == vm);
    g_assert_null(find(fixture, "FOO", &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
    g_assert_null(find(fixture, "../foo", &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
}

static void test_update(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "quiet");
    g_autoptr(TenboxVm) other = create(fixture, "other", NULL);
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(TenboxVmConfigBuilder) taken = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;
    g_auto(Await) renamed = {0}, refused = {0}, running = {0};

    tenbox_vm_config_builder_set_name(builder, "bar");
    tenbox_vm_config_builder_set_memory_mb(builder, 288);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    tenbox_vm_update_async(vm, config, NULL, await_done, &renamed);
    g_assert_true(tenbox_vm_update_finish(vm, await_result(&renamed), &error));
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "bar");
    g_assert_cmpint(tenbox_vm_get_memory_mb(vm), ==, 288);
    g_assert_cmpstr(tenbox_vm_get_cmdline(vm), ==, "quiet");

    tenbox_vm_config_builder_set_name(taken, "other");
    g_autoptr(TenboxVmConfig) conflict = tenbox_vm_config_builder_build(taken, &error);
    tenbox_vm_update_async(vm, conflict, NULL, await_done, &refused);
    g_assert_false(tenbox_vm_update_finish(vm, await_result(&refused), &error));
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists", "name");

    assert_act(ACT(vm, start, &error), error);
    /* What the process was made of waits for the next one; nothing else does. */
    g_autoptr(TenboxVmConfig) change =
        tenbox_vm_config_new_from_json("{\"memory_mb\":320,\"labels\":{\"a\":\"b\"}}", &error);
    g_assert_no_error(error);
    tenbox_vm_update_async(vm, change, NULL, await_done, &running);
    g_assert_true(tenbox_vm_update_finish(vm, await_result(&running), &error));
    g_assert_no_error(error);
    g_assert_cmpint(tenbox_vm_get_memory_mb(vm), ==, 320);
    g_assert_cmpstr(tenbox_vm_get_label(vm, "a"), ==, "b");
    g_auto(GStrv) pending = tenbox_vm_dup_pending(vm);
    g_assert_cmpuint(g_strv_length(pending), ==, 1);
    g_assert_cmpstr(pending[0], ==, "memory_mb");
}

/* Into the trash and back, under a new name; and for good. */
static void test_trash(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(TenboxVm) other = NULL;
    g_autoptr(TenboxVm) back = NULL;
    g_autoptr(GPtrArray) deleted = NULL;
    g_autoptr(GPtrArray) left = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(Await) taken = {0}, undelete = {0}, purge = {0};
    TenboxVm *handle;

    assert_act(ACT(vm, delete, &error), error);
    g_assert_true(tenbox_vm_is_deleted(vm));
    deleted = list_deleted(fixture);
    g_assert_cmpuint(deleted->len, ==, 1);
    handle = deleted->pdata[0];
    g_assert_cmpstr(tenbox_vm_get_id(handle), ==, tenbox_vm_get_id(vm));
    g_assert_true(tenbox_vm_is_deleted(handle));
    g_assert_cmpint(tenbox_vm_get_deleted_at(handle), >, 0);
    g_assert_cmpint(tenbox_vm_get_purge_at(handle), >, tenbox_vm_get_deleted_at(handle));
    other = create(fixture, "foo", NULL);
    tenbox_connection_undelete_vm_async(fixture->connection, tenbox_vm_get_id(vm), NULL, NULL,
                                        await_done, &taken);
    g_assert_null(
        tenbox_connection_undelete_vm_finish(fixture->connection, await_result(&taken), &error));
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists", "name");
    tenbox_connection_undelete_vm_async(fixture->connection, "foo", "bar", NULL, await_done,
                                        &undelete);
    back =
        tenbox_connection_undelete_vm_finish(fixture->connection, await_result(&undelete), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_name(back), ==, "bar");
    g_assert_cmpstr(tenbox_vm_get_id(back), ==, tenbox_vm_get_id(vm));
    g_assert_false(tenbox_vm_is_deleted(back));
    g_assert_cmpint(tenbox_vm_get_deleted_at(back), ==, 0);
    left = list_vms(fixture);
    g_assert_cmpuint(left->len, ==, 2);
    assert_act(ACT(back, start, &error), error);
    g_assert_true(stop_vm(back, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    assert_act(ACT(back, delete, &error), error);
    /* A handle on what is in the trash takes one action. */
    tenbox_vm_delete_async(back, TENBOX_VM_ACTION_FLAGS_PURGE, NULL, await_done, &purge);
    g_assert_true(tenbox_vm_delete_finish(back, await_result(&purge), &error));
    g_assert_no_error(error);
    g_clear_pointer(&deleted, g_ptr_array_unref);
    deleted = list_deleted(fixture);
    g_assert_cmpuint(deleted->len, ==, 0);
}

/* One operation at a time; force pre-empts; withdrawing withdraws the operation. */
static void test_operations(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("the guest starts when it likes");
        return;
    }

    g_autoptr(TenboxVm) vm = create(fixture, "foo", "start-hang");
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Await) start = {0}, again = {0}, begin = {0}, wait = {0}, list = {0}, get = {0},
                  cancel = {0}, end = {0};

    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &start);
    wait_state(vm, TENBOX_VM_STATE_STARTING);
    g_assert_false(ACT(vm, start, &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "start"));
    g_clear_error(&error);
    g_assert_true(document_has(vm, "\"kind\":\"start\""));
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&start), &error));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled", NULL);
    assert_state(vm, "stopped");

    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable, await_done, &again);
    wait_state(vm, TENBOX_VM_STATE_STARTING);
    g_cancellable_cancel(cancellable);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&again), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);
    wait_state(vm, TENBOX_VM_STATE_STOPPED);

    tenbox_vm_begin_action_async(vm, TENBOX_VM_ACTION_START, TENBOX_VM_ACTION_FLAGS_NONE,
                                 TENBOX_VM_STOP_TIMEOUT_DEFAULT, NULL, await_done, &begin);
    g_autoptr(TenboxOperation) operation =
        tenbox_vm_begin_action_finish(vm, await_result(&begin), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_operation_get_vm_id(operation), ==, tenbox_vm_get_id(vm));
    tenbox_operation_wait_async(operation, 1, NULL, await_done, &wait);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&wait), &error));
    assert_error(&error, TENBOX_ERROR_TIMED_OUT, "timed-out", NULL);

    tenbox_connection_list_operations_async(fixture->connection, NULL, await_done, &list);
    g_autoptr(GPtrArray) operations =
        tenbox_connection_list_operations_finish(fixture->connection, await_result(&list), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(operations->len, >=, 4);
    tenbox_connection_get_operation_async(fixture->connection, tenbox_operation_get_id(operation),
                                          NULL, await_done, &get);
    g_autoptr(TenboxOperation) same =
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&get), &error);
    g_assert_no_error(error);
    g_assert_cmpint(tenbox_operation_get_state(same), ==, TENBOX_OPERATION_STATE_RUNNING);
    tenbox_operation_cancel_async(same, NULL, await_done, &cancel);
    g_assert_true(tenbox_operation_cancel_finish(same, await_result(&cancel), &error));
    g_assert_no_error(error);
    tenbox_operation_wait_async(operation, -1, NULL, await_done, &end);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&end), &error));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled", NULL);
    wait_state(vm, TENBOX_VM_STATE_STOPPED);
}

static void test_crash(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, second = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, hello());
    if (is_played()) {
        type_line(&screen, "@triple-fault\n");
        wait_state(vm, TENBOX_VM_STATE_CRASHED);
    } else {
        g_assert_cmpint(kill((pid_t)tenbox_vm_get_pid(vm), SIGKILL), ==, 0);
        wait_state(vm, TENBOX_VM_STATE_CRASHED);
        g_assert_true(document_has(vm, "\"signal\":\"SIGKILL\""));
    }
    wait_until(screen_is_closed, &screen);

    /* It may be started again, and says so itself when it ends. */
    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&second, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&second, hello());
    if (!is_scripted())
        return;
    type_line(&second, "@triple-fault\n");
    wait_state(vm, TENBOX_VM_STATE_CRASHED);
    g_assert_true(document_has(vm, "\"reason\":\"triple-fault\""));
}

static void test_shutdown(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("the guest hears the power button");
        return;
    }

    g_autoptr(TenboxVm) vm = create(fixture, "foo", "ignore-button");
    g_autoptr(GError) error = NULL;

    assert_act(ACT(vm, start, &error), error);
    assert_act(ACT(vm, shutdown, &error), error);
    assert_state(vm, "running");
    g_assert_false(document_has(vm, "\"shutdown_requested_at\":null"));
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 0, &error));
    g_assert_no_error(error);
    g_assert_true(document_has(vm, "\"reason\":\"host-power-off\""));
    g_assert_true(document_has(vm, "\"shutdown_requested_at\":null"));
}

static gboolean has_signals(gpointer user_data)
{
    return ((GString *)user_data)->len > 0;
}

/* The process that runs the VMs goes away; the VMs stay, and the next one has them. */
static void test_adoption(Fixture *fixture, gconstpointer data)
{
    if (is_played() || !is_scripted()) {
        g_test_skip("no process outlives the connection");
        return;
    }

    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, later = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, hello());
    gint64 pid = tenbox_vm_get_pid(vm);
    g_string_truncate(fixture->signals, 0);
    if (is_remote()) {
        g_subprocess_force_exit(fixture->daemon);
        g_subprocess_wait(fixture->daemon, NULL, NULL);
        g_clear_object(&fixture->daemon);
        wait_until(has_signals, fixture->signals);
        g_assert_cmpstr(fixture->signals->str, ==, "closed:daemon-unreachable ");
        wait_until(screen_is_closed, &screen);
        g_assert_cmpstr(screen.error, ==, "daemon-unreachable");
        g_assert_false(ACT(vm, pause, &error));
        assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable", NULL);
        assert_state(vm, "running");
        start_daemon(fixture);
        watch(fixture); /* the same connection goes on */
    } else {
        g_assert_null(open_connection(fixture->uri, &error));
        assert_error(&error, TENBOX_ERROR_IN_USE, "data-folder-locked", "data_folder");
        tenbox_connection_close(fixture->connection);
        g_assert_cmpstr(fixture->signals->str, ==, "closed:- ");
        wait_until(screen_is_closed, &screen);
        g_clear_object(&vm);
        g_clear_object(&fixture->connection);
        connect_fixture(fixture);
        vm = find(fixture, "foo", &error);
        g_assert_no_error(error);
    }
    assert_state(vm, "running");
    g_assert_cmpint(tenbox_vm_get_pid(vm), ==, pid);
    g_assert_true(screen_open(&later, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
    wait_text(&later, hello());
    type_line(&later, "still there\n");
    wait_text(&later, "still there");
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 30, &error));
    g_assert_no_error(error);
    assert_state(vm, "stopped");
}

static void test_texts(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) system = {0}, doctor = {0};

    tenbox_connection_get_system_async(fixture->connection, NULL, await_done, &system);
    g_autofree char *info =
        tenbox_connection_get_system_finish(fixture->connection, await_result(&system), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(info, "\"api_version\":\"v1\""));
    tenbox_connection_run_doctor_async(fixture->connection, NULL, await_done, &doctor);
    g_autofree char *report =
        tenbox_connection_run_doctor_finish(fixture->connection, await_result(&doctor), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(report, "\"checks\":["));
}

void add_life_cases(void)
{
    add_case("/vm/life", test_life);
    add_case("/vm/refusals", test_refusals);
    add_case("/vm/refused-launch", test_refused_launch);
    add_case("/vm/lookup", test_lookup);
    add_case("/vm/update", test_update);
    add_case("/vm/trash", test_trash);
    add_case("/vm/operations", test_operations);
    add_case("/vm/crash", test_crash);
    add_case("/vm/shutdown", test_shutdown);
    add_case("/vm/adoption", test_adoption);
    add_case("/system/texts", test_texts);
}
