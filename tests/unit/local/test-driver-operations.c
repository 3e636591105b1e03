/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. Actions that meet: busy VMs, pre-emption, cancelling, and callbacks that call the driver from within.
 */
#include <signal.h>
#include <string.h>

#include "tests/unit/local/driver-seams.h"
#include "tests/unit/local/harness.h"

/* ---- busy, pre-emption, cancelling -------------------------------------------------------- */

static void test_busy(void)
{
    static const struct {
        TenboxVmAction action;
        gboolean force;
    } refused[] = {{START, FALSE}, {STOP, FALSE},   {SHUTDOWN, FALSE}, {REBOOT, FALSE},
                   {PAUSE, FALSE}, {RESUME, FALSE}, {DELETE, FALSE}};
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) stop = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "deaf", "ignore-button");
    run_ok(&harness, "deaf", START, FALSE);
    stop = begin(&harness, "deaf", STOP, FALSE, 3600, NULL);
    g_assert_cmpint(get_state(&harness, "deaf"), ==, TENBOX_VM_STATE_STOPPING);
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(begin(&harness, "deaf", refused[i].action, refused[i].force, -1, &error));
        g_assert_nonnull(strstr(error->message, stop->id));
        g_assert_nonnull(strstr(error->message, "stop"));
        assert_error(&error, "vm-busy", NULL);
    }
    harness_fini(&harness);
}

static void test_forced_stop_pre_empts(void)
{
    /* What runs, on which runtime. */
    static const struct {
        const char *cmdline;
        gboolean is_started;
        TenboxVmAction action;
    } cases[] = {
        {"launch-hang", FALSE, START}, {"start-hang", FALSE, START},
        {"ignore-button", TRUE, STOP}, {"ignore-button", TRUE, REBOOT},
        {"ignore-pause", TRUE, PAUSE},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *id = create_vm(&harness, "one", cases[i].cmdline);
        g_autoptr(TbxOperationRecord) first = NULL;
        g_autoptr(GError) error = NULL;

        g_test_message("%s with %s", tenbox_vm_action_to_string(cases[i].action), cases[i].cmdline);
        if (cases[i].is_started)
            run_ok(&harness, "one", START, FALSE);
        first = begin(&harness, "one", cases[i].action, FALSE, 3600, &error);
        g_assert_no_error(error);
        g_assert_cmpint(first->state, ==, TENBOX_OPERATION_STATE_RUNNING);
        run_ok(&harness, "one", STOP, TRUE);
        assert_cancelled(&harness, first->id);
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
        run_ok(&harness, "one", DELETE, FALSE);
    }
    harness_fini(&harness);
}

static void test_reset_pre_empts(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) stop = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "deaf", "ignore-button");
    run_ok(&harness, "deaf", START, FALSE);
    stop = begin(&harness, "deaf", STOP, FALSE, 3600, NULL);
    run_ok(&harness, "deaf", RESET, FALSE);
    assert_cancelled(&harness, stop->id);
    g_assert_cmpint(get_state(&harness, "deaf"), ==, TENBOX_VM_STATE_RUNNING);
    harness_fini(&harness);
}

/* A reset takes a start over: the guest begins and is reset. */
static void test_reset_pre_empts_start(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) start = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    start = begin(&harness, "one", START, FALSE, -1, NULL);
    run_ok(&harness, "one", RESET, FALSE);
    assert_cancelled(&harness, start->id);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_RUNNING);
    g_assert_true(has_rebooted(&harness));
    harness_fini(&harness);
}

static void test_forced_delete_pre_empts(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *left = NULL;
    g_autoptr(TbxOperationRecord) start = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "launch-hang");
    start = begin(&harness, "one", START, FALSE, -1, NULL);
    run_ok(&harness, "one", DELETE, TRUE);
    assert_cancelled(&harness, start->id);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, "");
    harness_fini(&harness);
}

static void cancel(Harness *harness, const char *id)
{
    g_autoptr(TbxOperationRecord) record = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);

    tbx_driver_operation_cancel(harness->driver, id, task);
    record = finish_pointer(task, &error);
    g_assert_no_error(error);
}

static void test_cancel(void)
{
    static const struct {
        const char *cmdline;
        gboolean is_started;
        TenboxVmAction action;
        TenboxVmState to;
    } cases[] = {
        {"launch-hang", FALSE, START, TENBOX_VM_STATE_STOPPED},
        {"start-hang", FALSE, START, TENBOX_VM_STATE_STOPPED},
        {"ignore-button", TRUE, STOP, TENBOX_VM_STATE_RUNNING},
        {"ignore-button", TRUE, REBOOT, TENBOX_VM_STATE_RUNNING},
        {"ignore-pause", TRUE, PAUSE, TENBOX_VM_STATE_RUNNING},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *id = create_vm(&harness, "one", cases[i].cmdline);
        g_autoptr(TbxOperationRecord) begun = NULL;
        g_autoptr(TbxVmRecord) record = NULL;

        g_test_message("%s with %s", tenbox_vm_action_to_string(cases[i].action), cases[i].cmdline);
        if (cases[i].is_started)
            run_ok(&harness, "one", START, FALSE);
        begun = begin(&harness, "one", cases[i].action, FALSE, 3600, NULL);
        cancel(&harness, begun->id);
        assert_cancelled(&harness, begun->id);
        record = get_vm(&harness, "one");
        g_assert_cmpint(record->state, ==, cases[i].to);
        g_assert_null(record->operation);
        /* Once more changes nothing. */
        cancel(&harness, begun->id);
        run_ok(&harness, "one", DELETE, TRUE);
    }
    harness_fini(&harness);
}

static void test_unknown_operation(void)
{
    Harness harness;
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    task = new_task(NULL);
    tbx_driver_operation_get(harness.driver, "no-such", 0, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "operation-not-found", NULL);
    task = new_task(NULL);
    tbx_driver_operation_cancel(harness.driver, "no-such", task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "operation-not-found", NULL);
    harness_fini(&harness);
}

/* A reset that the runtime lays to the guest, as it does when both ask at once, is the one that was asked
 * for; so is one whose report was lost with the connection. */
static void test_reset_reports(void)
{
    static const char *const cmdlines[] = {"guest-reset", "reset-close"};
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cmdlines); i++) {
        g_free(create_vm(&harness, "one", cmdlines[i]));
        run_ok(&harness, "one", START, FALSE);
        run_ok(&harness, "one", RESET, FALSE);
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_RUNNING);
        run_ok(&harness, "one", DELETE, TRUE);
    }
    harness_fini(&harness);
}

/* A runtime that accepts and then does nothing keeps nobody waiting forever. */
static void test_effects_time_out(void)
{
    static const struct {
        const char *cmdline;
        gboolean is_paused;
        TenboxVmAction action;
    } cases[] = {
        {"ignore-reset", FALSE, RESET},
        {"ignore-pause", FALSE, PAUSE},
        {"ignore-resume", TRUE, RESUME},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TbxOperationRecord) ended = NULL;

        g_free(create_vm(&harness, "one", cases[i].cmdline));
        run_ok(&harness, "one", START, FALSE);
        if (cases[i].is_paused)
            run_ok(&harness, "one", PAUSE, FALSE);
        is_clock_fast = TRUE;
        ended = run(&harness, "one", cases[i].action, FALSE, -1);
        is_clock_fast = FALSE;
        g_assert_nonnull(strstr(tenbox_error_get_hint(ended->error), "by force"));
        assert_error(&ended->error, "timed-out", NULL);
        run_ok(&harness, "one", STOP, TRUE);
        run_ok(&harness, "one", DELETE, FALSE);
    }
    harness_fini(&harness);
}

/* A pause is withdrawn, the runtime goes on with it, and it is asked for again. */
static void test_pause_again(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxOperationRecord) first = NULL;
    g_autoptr(TbxOperationRecord) second = NULL;
    g_autoptr(TbxOperationRecord) ended = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "ignore-pause");
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    first = begin(&harness, "one", PAUSE, FALSE, -1, NULL);
    cancel(&harness, first->id);
    second = begin(&harness, "one", PAUSE, FALSE, -1, NULL);
    write_console(console, "@park\n");
    ended = wait_operation(&harness, second->id);
    g_assert_no_error(ended->error);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_PAUSED);
    harness_fini(&harness);
}

/* ---- calls from within -------------------------------------------------------------------- */

/* What is called when an event comes, once. */
typedef struct {
    Harness *harness;
    const char *event; /* "KIND:running" for an operation, else the state */
    enum { CALL_BEGIN, CALL_CANCEL, CALL_CLOSE } call;
    TenboxVmAction action;
    gboolean force;
    GTask *task; /* of the call, for CALL_BEGIN; NULL before */
    gboolean was_called;
} Caller;

static gboolean was_called(gpointer user_data)
{
    return ((const Caller *)user_data)->was_called;
}

static void call(Caller *caller, const char *operation_id)
{
    const TbxActionOptions options = {.force = caller->force, .timeout = -1};

    caller->was_called = TRUE;
    if (caller->call == CALL_CLOSE) {
        tbx_driver_close(caller->harness->driver);
    } else if (caller->call == CALL_CANCEL) {
        GTask *task = new_task(NULL);

        tbx_driver_operation_cancel(caller->harness->driver, operation_id, task);
        tbx_operation_record_unref(g_task_propagate_pointer(task, NULL));
        g_object_unref(task);
    } else {
        caller->task = new_task(NULL);
        tbx_driver_vm_begin(caller->harness->driver, "one", caller->action, &options, caller->task);
    }
}

static void on_caller_event(TbxEventRecord *event, gpointer user_data)
{
    Caller *caller = user_data;
    const char *operation_id = NULL;
    g_autofree char *name = NULL;

    if (event->operation != NULL) {
        operation_id = event->operation->id;
        name = g_strdup_printf(
            "%s:%s", event->operation->kind,
            tenbox_operation_state_to_string((TenboxOperationState)event->operation->state));
    } else {
        operation_id = event->vm->operation != NULL ? event->vm->operation->id : NULL;
        if (g_str_equal(event->type, TBX_EVENT_VM_STATE))
            name = g_strdup(tenbox_vm_state_to_string((TenboxVmState)event->vm->state));
    }
    if (!caller->was_called && g_strcmp0(name, caller->event) == 0)
        call(caller, operation_id);
}

/* The end of what the caller began. NULL with @error: it was refused. */
static TbxOperationRecord *wait_caller(Caller *caller, GError **error)
{
    g_autoptr(TbxOperationRecord) begun = finish_pointer(g_steal_pointer(&caller->task), error);

    return begun != NULL ? wait_operation(caller->harness, begun->id) : NULL;
}

/* Who hears of an event may begin the next action from within, as a program that links the library does. */
static void test_begin_in_event(void)
{
    static const struct {
        const char *event;
        TenboxVmAction inner;
        gboolean force;
        const char *slug; /* of the inner action's refusal; NULL: done */
        TenboxOperationState outer;
        TenboxVmState to; /* UNKNOWN: deleted */
        TenboxVmAction action;
        gboolean is_started;
    } cases[] = {
#define DONE      TENBOX_OPERATION_STATE_DONE
#define CANCELLED TENBOX_OPERATION_STATE_CANCELLED
#define S         TENBOX_VM_STATE_STOPPED
#define R         TENBOX_VM_STATE_RUNNING
#define GONE      TENBOX_VM_STATE_UNKNOWN
        {"start:running", STOP, TRUE, NULL, CANCELLED, S, START, FALSE},
        {"start:running", STOP, FALSE, "vm-busy", DONE, R, START, FALSE},
        {"starting", STOP, TRUE, "vm-busy", DONE, R, START, FALSE},
        {"running", STOP, TRUE, NULL, CANCELLED, S, START, FALSE},
        {"running", RESET, FALSE, NULL, CANCELLED, R, START, FALSE},
        {"stop:running", RESET, FALSE, NULL, CANCELLED, R, STOP, TRUE},
        {"stop:running", STOP, TRUE, NULL, CANCELLED, S, STOP, TRUE},
        {"stopping", STOP, TRUE, NULL, CANCELLED, S, STOP, TRUE},
        {"stopping", RESET, FALSE, NULL, CANCELLED, R, STOP, TRUE},
        {"stopped", DELETE, TRUE, NULL, CANCELLED, GONE, STOP, TRUE},
        {"stopped", START, FALSE, "vm-busy", DONE, S, STOP, TRUE},
        {"stop:done", START, FALSE, NULL, DONE, R, STOP, TRUE},
#undef DONE
#undef CANCELLED
#undef S
#undef R
#undef GONE
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Caller caller = {
            .harness = &harness,
            .event = cases[i].event,
            .action = cases[i].inner,
            .force = cases[i].force,
        };
        g_autoptr(TbxOperationRecord) begun = NULL;
        g_autoptr(TbxOperationRecord) outer = NULL;
        g_autoptr(TbxOperationRecord) inner = NULL;
        g_autoptr(GError) error = NULL;

        g_test_message("%s when %s", tenbox_vm_action_to_string(cases[i].inner), cases[i].event);
        g_free(create_vm(&harness, "one", NULL));
        if (cases[i].is_started)
            run_ok(&harness, "one", START, FALSE);
        harness.on_event = on_caller_event;
        harness.on_event_data = &caller;
        begun = begin(&harness, "one", cases[i].action, FALSE, -1, &error);
        g_assert_no_error(error);
        outer = wait_operation(&harness, begun->id);
        g_assert_true(caller.was_called);
        inner = wait_caller(&caller, &error);
        harness.on_event = NULL;
        g_assert_cmpint(outer->state, ==, cases[i].outer);
        if (cases[i].slug != NULL) {
            assert_error(&error, cases[i].slug, NULL);
        } else {
            g_assert_no_error(error);
            g_assert_no_error(inner->error);
        }
        if (cases[i].to == TENBOX_VM_STATE_UNKNOWN)
            continue;
        g_assert_cmpint(get_state(&harness, "one"), ==, cases[i].to);
        run_ok(&harness, "one", DELETE, TRUE);
    }
    harness_fini(&harness);
}

/* A start from within the event of the crash is a start of its own, not one that crashed. */
static void test_start_in_crash(void)
{
    Harness harness;
    Caller caller = {.harness = &harness, .event = "crashed", .action = START};
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxOperationRecord) inner = NULL;
    g_autoptr(GError) error = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    record = get_vm(&harness, "one");
    harness.on_event = on_caller_event;
    harness.on_event_data = &caller;
    g_assert_cmpint(kill((pid_t)record->pid, SIGKILL), ==, 0);
    wait_until("the crash", was_called, &caller);
    inner = wait_caller(&caller, &error);
    g_assert_no_error(error);
    g_assert_no_error(inner->error);
    harness.on_event = NULL;
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_RUNNING);
    harness_fini(&harness);
}

/* Cancelled by who is just being told of it. */
static void test_cancel_in_event(void)
{
    static const struct {
        const char *event;
        TenboxVmAction action;
        TenboxVmState to;
    } cases[] = {
        {"start:running", START, TENBOX_VM_STATE_STOPPED},
        {"starting", START, TENBOX_VM_STATE_STOPPED},
        {"stop:running", STOP, TENBOX_VM_STATE_RUNNING},
        {"stopping", STOP, TENBOX_VM_STATE_RUNNING},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Caller caller = {.harness = &harness, .event = cases[i].event, .call = CALL_CANCEL};
        g_autoptr(TbxOperationRecord) begun = NULL;

        g_test_message("cancelled when %s", cases[i].event);
        g_free(create_vm(&harness, "one", "ignore-button"));
        if (cases[i].action != START)
            run_ok(&harness, "one", START, FALSE);
        harness.on_event = on_caller_event;
        harness.on_event_data = &caller;
        begun = begin(&harness, "one", cases[i].action, FALSE, -1, NULL);
        assert_cancelled(&harness, begun->id);
        harness.on_event = NULL;
        g_assert_true(caller.was_called);
        g_assert_cmpint(get_state(&harness, "one"), ==, cases[i].to);
        run_ok(&harness, "one", DELETE, TRUE);
    }
    harness_fini(&harness);
}

/* The driver is closed by who is just being told of something. */
static void test_close_in_event(void)
{
    static const struct {
        const char *event;
        TenboxVmAction action;
        gboolean is_started;
    } cases[] = {
        {"start:running", START, FALSE}, {"starting", START, FALSE},
        {"running", START, FALSE},       {"start:done", START, FALSE},
        {"stop:running", STOP, TRUE},    {"stopping", STOP, TRUE},
        {"stopped", STOP, TRUE},         {"reboot:running", REBOOT, TRUE},
        {"stopped", REBOOT, TRUE},       {"starting", REBOOT, TRUE},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Caller caller = {.harness = &harness, .event = cases[i].event, .call = CALL_CLOSE};
        const TbxActionOptions options = {.timeout = -1};
        GTask *task = new_task(NULL);

        g_test_message("closed when %s", cases[i].event);
        g_free(create_vm(&harness, "one", NULL));
        if (cases[i].is_started)
            run_ok(&harness, "one", START, FALSE);
        harness.on_event = on_caller_event;
        harness.on_event_data = &caller;
        tbx_driver_vm_begin(harness.driver, "one", cases[i].action, &options, task);
        wait_until("the close", was_called, &caller);
        tbx_operation_record_unref(finish_pointer(task, NULL));
        harness.on_event = NULL;
        harness_close(&harness);
        harness_open(&harness);
        run_ok(&harness, "one", DELETE, TRUE);
    }
    harness_fini(&harness);
}

/* A write and a question that end with the process: whoever learns of it stops the VM at once. */
static void on_call_ended(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Caller *caller = user_data;

    if (!caller->was_called)
        call(caller, NULL);
}

static void test_stop_in_callback(void)
{
    Harness harness;
    g_autofree char *paste = g_strnfill(10000, 'x');
    g_autoptr(GBytes) bytes = g_bytes_new(paste, 10000);

    harness_init(&harness);
    for (guint i = 0; i < 2; i++) {
        Caller caller = {.harness = &harness, .action = STOP, .force = i == 0};
        g_autofree char *id = create_vm(&harness, "one", "no-credit ignore-statistics");
        g_autoptr(TbxConsoleStream) console = NULL;
        g_autoptr(TbxVmRecord) record = NULL;
        g_autoptr(TbxOperationRecord) inner = NULL;
        g_autoptr(GError) error = NULL;
        GTask *task = g_task_new(NULL, NULL, on_call_ended, &caller);

        run_ok(&harness, "one", START, FALSE);
        record = get_vm(&harness, "one");
        console = open_console(&harness, "one", FALSE);
        if (i == 0)
            tbx_console_stream_write(console, bytes, task);
        else
            tbx_driver_vm_statistics(harness.driver, "one", task);
        g_assert_cmpint(kill((pid_t)record->pid, SIGKILL), ==, 0);
        wait_until("the callback", was_called, &caller);
        inner = wait_caller(&caller, &error);
        g_assert_no_error(error);
        g_assert_no_error(inner->error);
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_CRASHED);
        run_ok(&harness, "one", DELETE, FALSE);
    }
    harness_fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/busy", test_busy);
    g_test_add_func("/local/pre-empt/stop", test_forced_stop_pre_empts);
    g_test_add_func("/local/pre-empt/reset", test_reset_pre_empts);
    g_test_add_func("/local/pre-empt/reset-start", test_reset_pre_empts_start);
    g_test_add_func("/local/pre-empt/delete", test_forced_delete_pre_empts);
    g_test_add_func("/local/cancel", test_cancel);
    g_test_add_func("/local/reset-reports", test_reset_reports);
    g_test_add_func("/local/effects-time-out", test_effects_time_out);
    g_test_add_func("/local/pause-again", test_pause_again);
    g_test_add_func("/local/from-within/begin", test_begin_in_event);
    g_test_add_func("/local/from-within/start-in-crash", test_start_in_crash);
    g_test_add_func("/local/from-within/cancel", test_cancel_in_event);
    g_test_add_func("/local/from-within/close", test_close_in_event);
    g_test_add_func("/local/from-within/callback", test_stop_in_callback);
    g_test_add_func("/local/unknown-operation", test_unknown_operation);
    return g_test_run();
}
