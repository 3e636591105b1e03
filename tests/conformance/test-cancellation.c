/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every asynchronous call of the public interface, withdrawn: before it begins, in the turn in which it
 * begins, while the driver has it, and by closing the connection. Its callback comes once, with
 * G_IO_ERROR_CANCELLED (or "closed"), and nothing is left of what was asked for.
 *
 * A call that is missing in the table below fails /cancellation/table: add a row.
 */
#include <string.h>

#include "tests/conformance/harness.h"

typedef struct {
    TenboxVm *vm; /* runs, unless the call wants a stopped one */
    TenboxOperation *operation;
    Screen screen;
} Subject;

typedef struct {
    const char *symbol;
    const char *hang; /* the word that test:// has for it */
    gboolean is_about_stopped;
    gboolean is_about_paused;
    void (*begin)(Fixture *fixture, Subject *subject, GCancellable *cancellable, Await *await);
    gboolean (*finish)(Fixture *fixture, Subject *subject, GAsyncResult *result, GError **error);
} Call;

#define BEGIN(name)                                                                                \
    static void begin_##name(Fixture *fixture, Subject *subject, GCancellable *cancellable,        \
                             Await *await)
#define FINISH(name)                                                                               \
    static gboolean finish_##name(Fixture *fixture, Subject *subject, GAsyncResult *result,        \
                                  GError **error)

/* A result that nobody expects is dropped. */
static gboolean drop_object(gpointer object)
{
    if (object)
        g_object_unref(object);
    return object != NULL;
}

static gboolean drop_array(GPtrArray *array)
{
    if (array)
        g_ptr_array_unref(array);
    return array != NULL;
}

static gboolean drop_text(char *text)
{
    g_free(text);
    return text != NULL;
}

BEGIN(open)
{
    tenbox_connection_open_async(fixture->uri, TENBOX_CONNECTION_FLAGS_NONE, cancellable,
                                 await_done, await);
}
FINISH(open)
{
    return drop_object(tenbox_connection_open_finish(result, error));
}

BEGIN(watch)
{
    tenbox_connection_watch_async(fixture->connection, cancellable, await_done, await);
}
FINISH(watch)
{
    return tenbox_connection_watch_finish(fixture->connection, result, error);
}

BEGIN(watch_since)
{
    tenbox_connection_watch_since_async(fixture->connection, NULL, cancellable, await_done, await);
}

BEGIN(list_vms)
{
    tenbox_connection_list_vms_async(fixture->connection, cancellable, await_done, await);
}
FINISH(list_vms)
{
    return drop_array(tenbox_connection_list_vms_finish(fixture->connection, result, error));
}

BEGIN(list_deleted_vms)
{
    tenbox_connection_list_deleted_vms_async(fixture->connection, cancellable, await_done, await);
}
FINISH(list_deleted_vms)
{
    return drop_array(
        tenbox_connection_list_deleted_vms_finish(fixture->connection, result, error));
}

BEGIN(undelete_vm)
{
    tenbox_connection_undelete_vm_async(fixture->connection, "nobody", NULL, cancellable,
                                        await_done, await);
}
FINISH(undelete_vm)
{
    return drop_object(tenbox_connection_undelete_vm_finish(fixture->connection, result, error));
}

BEGIN(get_vm)
{
    tenbox_connection_get_vm_async(fixture->connection, "subject", TENBOX_VM_LOOKUP_FLAGS_EXACT,
                                   cancellable, await_done, await);
}
FINISH(get_vm)
{
    return drop_object(tenbox_connection_get_vm_finish(fixture->connection, result, error));
}

BEGIN(create_vm)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxVmConfig) config =
        make_config(fixture, "never", fixture->kernel, NULL, is_scripted() ? 64 : 256, &error);

    g_assert_no_error(error);
    tenbox_connection_create_vm_async(fixture->connection, config, cancellable, await_done, await);
}
FINISH(create_vm)
{
    return drop_object(tenbox_connection_create_vm_finish(fixture->connection, result, error));
}

BEGIN(get_system)
{
    tenbox_connection_get_system_async(fixture->connection, cancellable, await_done, await);
}
FINISH(get_system)
{
    return drop_text(tenbox_connection_get_system_finish(fixture->connection, result, error));
}

BEGIN(run_doctor)
{
    tenbox_connection_run_doctor_async(fixture->connection, cancellable, await_done, await);
}
FINISH(run_doctor)
{
    return drop_text(tenbox_connection_run_doctor_finish(fixture->connection, result, error));
}

BEGIN(begin_stop_vms)
{
    tenbox_connection_begin_stop_vms_async(fixture->connection, TENBOX_VM_ACTION_FLAGS_NONE, -1,
                                           cancellable, await_done, await);
}
FINISH(begin_stop_vms)
{
    return drop_object(tenbox_connection_begin_stop_vms_finish(fixture->connection, result, error));
}

BEGIN(list_operations)
{
    tenbox_connection_list_operations_async(fixture->connection, cancellable, await_done, await);
}
FINISH(list_operations)
{
    return drop_array(tenbox_connection_list_operations_finish(fixture->connection, result, error));
}

BEGIN(get_operation)
{
    tenbox_connection_get_operation_async(fixture->connection,
                                          tenbox_operation_get_id(subject->operation), cancellable,
                                          await_done, await);
}
FINISH(get_operation)
{
    return drop_object(tenbox_connection_get_operation_finish(fixture->connection, result, error));
}

BEGIN(operation_wait)
{
    tenbox_operation_wait_async(subject->operation, -1, cancellable, await_done, await);
}
FINISH(operation_wait)
{
    return tenbox_operation_wait_finish(subject->operation, result, error);
}

BEGIN(operation_cancel)
{
    tenbox_operation_cancel_async(subject->operation, cancellable, await_done, await);
}
FINISH(operation_cancel)
{
    return tenbox_operation_cancel_finish(subject->operation, result, error);
}

BEGIN(refresh)
{
    tenbox_vm_refresh_async(subject->vm, cancellable, await_done, await);
}
FINISH(refresh)
{
    return tenbox_vm_refresh_finish(subject->vm, result, error);
}

BEGIN(begin_action)
{
    tenbox_vm_begin_action_async(subject->vm, TENBOX_VM_ACTION_PAUSE, TENBOX_VM_ACTION_FLAGS_NONE,
                                 TENBOX_VM_STOP_TIMEOUT_DEFAULT, cancellable, await_done, await);
}
FINISH(begin_action)
{
    return drop_object(tenbox_vm_begin_action_finish(subject->vm, result, error));
}

#define VERB(verb)                                                                                 \
    BEGIN(verb)                                                                                    \
    {                                                                                              \
        tenbox_vm_##verb##_async(subject->vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable,            \
                                 await_done, await);                                               \
    }                                                                                              \
    FINISH(verb)                                                                                   \
    {                                                                                              \
        return tenbox_vm_##verb##_finish(subject->vm, result, error);                              \
    }
VERB(start)
VERB(shutdown)
VERB(reboot)
VERB(reset)
VERB(pause)
VERB(resume)
VERB(delete)

BEGIN(stop)
{
    tenbox_vm_stop_async(subject->vm, TENBOX_VM_ACTION_FLAGS_NONE, -1, cancellable, await_done,
                         await);
}
FINISH(stop)
{
    return tenbox_vm_stop_finish(subject->vm, result, error);
}

BEGIN(update)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;

    tenbox_vm_config_builder_set_description(builder, "never");
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    tenbox_vm_update_async(subject->vm, config, cancellable, await_done, await);
}
FINISH(update)
{
    return tenbox_vm_update_finish(subject->vm, result, error);
}

BEGIN(open_console)
{
    tenbox_vm_open_console_async(subject->vm, TENBOX_CONSOLE_FLAGS_NONE, cancellable, await_done,
                                 await);
}
FINISH(open_console)
{
    return drop_object(tenbox_vm_open_console_finish(subject->vm, result, error));
}

BEGIN(read_log)
{
    tenbox_vm_read_log_async(subject->vm, "console", 0, cancellable, await_done, await);
}
FINISH(read_log)
{
    return drop_text(tenbox_vm_read_log_finish(subject->vm, result, error));
}

BEGIN(follow_log)
{
    tenbox_vm_follow_log_async(subject->vm, "console", -1, cancellable, await_done, await);
}
FINISH(follow_log)
{
    return drop_object(tenbox_vm_follow_log_finish(subject->vm, result, error));
}

BEGIN(send_key)
{
    tenbox_vm_send_key_async(subject->vm, "break", cancellable, await_done, await);
}
FINISH(send_key)
{
    return tenbox_vm_send_key_finish(subject->vm, result, error);
}

BEGIN(get_statistics)
{
    tenbox_vm_get_statistics_async(subject->vm, cancellable, await_done, await);
}
FINISH(get_statistics)
{
    return drop_text(tenbox_vm_get_statistics_finish(subject->vm, result, error));
}

BEGIN(console_write)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static("x", 1);

    tenbox_console_write_async(subject->screen.console, bytes, cancellable, await_done, await);
}
FINISH(console_write)
{
    return tenbox_console_write_finish(subject->screen.console, result, error);
}

BEGIN(call)
{
    tenbox_connection_call_async(fixture->connection, "GET", "/v1/vms", NULL, cancellable,
                                 await_done, await);
}
FINISH(call)
{
    return drop_text(tenbox_connection_call_finish(fixture->connection, result, error));
}

#define ROW(symbol, name, hang)                                                                    \
    {                                                                                              \
        symbol, hang, FALSE, FALSE, begin_##name, finish_##name                                    \
    }
static const Call calls[] = {
    ROW("tenbox_connection_open", open, "open"),
    ROW("tenbox_connection_watch", watch, "watch"),
    {"tenbox_connection_watch_since", "watch", FALSE, FALSE, begin_watch_since, finish_watch},
    ROW("tenbox_connection_list_vms", list_vms, "vm-list"),
    ROW("tenbox_connection_list_deleted_vms", list_deleted_vms, "vm-list-deleted"),
    ROW("tenbox_connection_undelete_vm", undelete_vm, "vm-undelete"),
    ROW("tenbox_connection_get_vm", get_vm, "vm-get"),
    ROW("tenbox_connection_create_vm", create_vm, "vm-create"),
    ROW("tenbox_connection_get_system", get_system, "system-get"),
    ROW("tenbox_connection_call", call, "vm-list"),
    ROW("tenbox_connection_run_doctor", run_doctor, "doctor"),
    ROW("tenbox_connection_begin_stop_vms", begin_stop_vms, "system-stop-vms"),
    ROW("tenbox_connection_list_operations", list_operations, "operation-list"),
    ROW("tenbox_connection_get_operation", get_operation, "operation-get"),
    ROW("tenbox_operation_wait", operation_wait, "operation-get"),
    ROW("tenbox_operation_cancel", operation_cancel, "operation-cancel"),
    ROW("tenbox_vm_refresh", refresh, "vm-get"),
    ROW("tenbox_vm_begin_action", begin_action, "vm-pause"),
    {"tenbox_vm_start", "vm-start", TRUE, FALSE, begin_start, finish_start},
    ROW("tenbox_vm_stop", stop, "vm-stop"),
    ROW("tenbox_vm_shutdown", shutdown, "vm-shutdown"),
    ROW("tenbox_vm_reboot", reboot, "vm-reboot"),
    ROW("tenbox_vm_reset", reset, "vm-reset"),
    ROW("tenbox_vm_pause", pause, "vm-pause"),
    {"tenbox_vm_resume", "vm-resume", FALSE, TRUE, begin_resume, finish_resume},
    {"tenbox_vm_delete", "vm-delete", TRUE, FALSE, begin_delete, finish_delete},
    ROW("tenbox_vm_update", update, "vm-update"),
    ROW("tenbox_vm_open_console", open_console, "console-open"),
    ROW("tenbox_vm_read_log", read_log, "vm-log"),
    ROW("tenbox_vm_follow_log", follow_log, "vm-log-follow"),
    ROW("tenbox_vm_send_key", send_key, "vm-send-key"),
    ROW("tenbox_vm_get_statistics", get_statistics, "vm-statistics"),
    ROW("tenbox_console_write", console_write, "console-write"),
};

/* Calls that act on the VM in a way that tells, once they were withdrawn, whether they have had an effect. */
static gboolean is_named(const Call *call, const char *symbol)
{
    return g_str_equal(call->symbol, symbol);
}

/* ---- the table ---------------------------------------------------------------------------- */

static void test_table(Fixture *fixture, gconstpointer data)
{
    g_autofree char *map = NULL;
    g_autoptr(GError) error = NULL;
    const char *place;

    g_assert_true(g_file_get_contents(SYMBOL_MAP, &map, NULL, &error));
    g_assert_no_error(error);
    for (place = map; (place = strstr(place, "_async;")); place++) {
        const char *begin = place;
        gboolean is_found = FALSE;

        while (begin > map && (g_ascii_isalnum(begin[-1]) || begin[-1] == '_'))
            begin--;
        g_autofree char *symbol = g_strndup(begin, (gsize)(place - begin));
        for (gsize i = 0; i < G_N_ELEMENTS(calls); i++)
            is_found |= is_named(&calls[i], symbol);
        if (!is_found)
            g_test_message("%s_async() has no row in the table of test-cancellation.c", symbol);
        g_assert_true(is_found);
    }
}

/* ---- subjects ----------------------------------------------------------------------------- */

static void prepare(Fixture *fixture, const Call *call, Subject *subject)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) begin = {0};

    if (!subject->vm)
        subject->vm = create(fixture, "subject", NULL);
    if (call->is_about_stopped && tenbox_vm_get_state(subject->vm) == TENBOX_VM_STATE_STOPPED)
        return;
    if (tenbox_vm_get_state(subject->vm) == TENBOX_VM_STATE_STOPPED)
        assert_act(ACT(subject->vm, start, &error), error);
    if (!subject->operation) {
        tenbox_vm_begin_action_async(subject->vm, TENBOX_VM_ACTION_PAUSE,
                                     TENBOX_VM_ACTION_FLAGS_NONE, TENBOX_VM_STOP_TIMEOUT_DEFAULT,
                                     NULL, await_done, &begin);
        subject->operation =
            tenbox_vm_begin_action_finish(subject->vm, await_result(&begin), &error);
        g_assert_no_error(error);
        wait_state(subject->vm, TENBOX_VM_STATE_PAUSED);
        assert_act(ACT(subject->vm, resume, &error), error);
    }
    if (call->is_about_paused)
        assert_act(ACT(subject->vm, pause, &error), error);
    else if (tenbox_vm_get_state(subject->vm) == TENBOX_VM_STATE_PAUSED)
        assert_act(ACT(subject->vm, resume, &error), error);
    if (call->is_about_stopped)
        g_assert_true(stop_vm(subject->vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    if (is_named(call, "tenbox_console_write") && !subject->screen.console)
        g_assert_true(
            screen_open(&subject->screen, subject->vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
}

static void subject_clear(Subject *subject)
{
    screen_clear(&subject->screen);
    g_clear_object(&subject->operation);
    g_clear_object(&subject->vm);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Subject, subject_clear)

static void assert_withdrawn(Fixture *fixture, const Call *call, Subject *subject, Await *await)
{
    g_autoptr(GError) error = NULL;

    g_test_message("%s", call->symbol);
    g_assert_false(call->finish(fixture, subject, await_result(await), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    settle();
    g_assert_cmpuint(await->count, ==, 1);
}

static void assert_no_trace(Fixture *fixture, const char *state)
{
    g_autoptr(GPtrArray) vms = list_vms(fixture);
    TenboxVm *vm;

    g_assert_cmpuint(vms->len, ==, 1);
    vm = g_ptr_array_index(vms, 0);
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "subject");
    g_assert_cmpstr(tenbox_vm_get_description(vm), ==, "");
    assert_state(vm, state);
}

/* ---- before, and in the same turn --------------------------------------------------------- */

/* Whoever comes with a cancellable that is cancelled gets nothing done. */
static void test_before(Fixture *fixture, gconstpointer data)
{
    g_auto(Subject) subject = {0};

    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_auto(Await) await = {0};

        prepare(fixture, &calls[i], &subject);
        g_cancellable_cancel(cancellable);
        calls[i].begin(fixture, &subject, cancellable, &await);
        g_assert_cmpuint(await.count, ==, 0); /* never from within the call */
        assert_withdrawn(fixture, &calls[i], &subject, &await);
        assert_no_trace(fixture, calls[i].is_about_stopped  ? "stopped"
                                 : calls[i].is_about_paused ? "paused"
                                                            : "running");
    }
}

static gboolean is_at_rest(gpointer user_data)
{
    TenboxVm *vm = user_data;

    return tenbox_vm_is_deleted(vm) || document_has(vm, "\"operation\":null");
}

/* The driver may have been told, or not: either way the call is over as cancelled, once, and what it began
 * ends. Only actions that were too far may have had their effect. */
static void test_at_once(Fixture *fixture, gconstpointer data)
{
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        const Call *call = &calls[i];
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_auto(Subject) subject = {0};
        g_auto(Await) await = {0};
        g_autoptr(GError) error = NULL;

        /* A start that would take for ever cannot be too far to be withdrawn. */
        if (is_named(call, "tenbox_vm_start") && is_scripted())
            subject.vm = create(fixture, "subject", "start-hang");
        prepare(fixture, call, &subject);
        call->begin(fixture, &subject, cancellable, &await);
        g_cancellable_cancel(cancellable);
        assert_withdrawn(fixture, call, &subject, &await);
        wait_until(is_at_rest, subject.vm);
        if (is_named(call, "tenbox_connection_create_vm")) {
            g_autoptr(TenboxVm) again = create(fixture, "never", NULL);

            g_assert_nonnull(again);
            g_assert_true(delete_vm(again, TENBOX_VM_ACTION_FLAGS_FORCE, &error));
        } else if (is_named(call, "tenbox_vm_start") && is_scripted()) {
            wait_state(subject.vm, TENBOX_VM_STATE_STOPPED);
        }
        if (!tenbox_vm_is_deleted(subject.vm)) {
            g_auto(Await) refresh = {0};

            tenbox_vm_refresh_async(subject.vm, NULL, await_done, &refresh);
            if (tenbox_vm_refresh_finish(subject.vm, await_result(&refresh), &error))
                g_assert_true(delete_vm(subject.vm, TENBOX_VM_ACTION_FLAGS_FORCE, &error));
        }
        if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND))
            g_clear_error(&error);
        g_assert_no_error(error);
    }
}

/* ---- under way ---------------------------------------------------------------------------- */

/* The one thing that hangs is asked for on a connection of its own, behind which all else works. */
static void with_hang(Fixture *fixture, const Call *call, Subject *subject)
{
    g_autofree char *query = g_strconcat("hang=", call->hang, NULL);

    /* What is needed first is made on a driver that answers; then it would be gone. So the very calls that
     * prepare must not hang: those are skipped by the caller. */
    reconnect_with_query(fixture, query);
    if (!is_named(call, "tenbox_connection_watch") &&
        !is_named(call, "tenbox_connection_watch_since"))
        watch(fixture);
}

static gboolean hang_spoils_preparation(const Call *call)
{
    static const char *const words[] = {"open",     "vm-create",     "vm-start",
                                        "vm-pause", "operation-get", "vm-get",
                                        "vm-list",  "vm-resume",     NULL};

    /* A daemon watches its driver before it answers anybody, and is asked what it is by who connects. */
    return g_strv_contains(words, call->hang) ||
           (is_remote() &&
            (g_str_equal(call->hang, "watch") || g_str_equal(call->hang, "system-get")));
}

static void test_under_way(Fixture *fixture, gconstpointer data)
{
    if (!is_played()) {
        g_test_skip("needs a driver that can be told to hang");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        const Call *call = &calls[i];
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_auto(Subject) subject = {0};
        g_auto(Await) await = {0};

        if (hang_spoils_preparation(call))
            continue;
        with_hang(fixture, call, &subject);
        if (is_named(call, "tenbox_connection_watch") ||
            is_named(call, "tenbox_connection_watch_since"))
            subject.vm = create(fixture, "subject", NULL);
        else
            prepare(fixture, call, &subject);
        call->begin(fixture, &subject, cancellable, &await);
        /* A whole question and its answer later it hangs still. */
        g_autoptr(GPtrArray) vms = list_vms(fixture);
        g_assert_cmpuint(await.count, ==, 0);
        g_cancellable_cancel(cancellable);
        assert_withdrawn(fixture, call, &subject, &await);
    }
    reconnect_with_query(fixture, NULL);
}

static void test_closed_under_way(Fixture *fixture, gconstpointer data)
{
    if (!is_played()) {
        g_test_skip("needs a driver that can be told to hang");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        const Call *call = &calls[i];
        g_auto(Subject) subject = {0};
        g_auto(Await) await = {0};
        g_autoptr(GError) error = NULL;

        if (hang_spoils_preparation(call))
            continue;
        with_hang(fixture, call, &subject);
        if (is_named(call, "tenbox_connection_watch") ||
            is_named(call, "tenbox_connection_watch_since"))
            subject.vm = create(fixture, "subject", NULL);
        else
            prepare(fixture, call, &subject);
        call->begin(fixture, &subject, NULL, &await);
        settle();
        g_assert_cmpuint(await.count, ==, 0);
        tenbox_connection_close(fixture->connection);
        g_test_message("%s", call->symbol);
        g_assert_false(call->finish(fixture, &subject, await_result(&await), &error));
        assert_error(&error, TENBOX_ERROR_CLOSED, "closed", NULL);
        settle();
        g_assert_cmpuint(await.count, ==, 1);
    }
    reconnect_with_query(fixture, NULL);
}

void add_cancellation_cases(void)
{
    add_case("/cancellation/table", test_table);
    add_case("/cancellation/before", test_before);
    add_case("/cancellation/at-once", test_at_once);
    add_case("/cancellation/under-way", test_under_way);
    add_case("/cancellation/closed-under-way", test_closed_under_way);
}
