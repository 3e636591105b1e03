/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. What it does by itself: restarts, starts with the
 * host, the stop of all. The clock is the test's: nothing here waits for time.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "libtenbox/local/policy.h"
#include "tests/unit/local/driver-seams.h"
#include "tests/unit/local/harness.h"

#define NO         TENBOX_RESTART_POLICY_NO
#define ON_FAILURE TENBOX_RESTART_POLICY_ON_FAILURE
#define ALWAYS     TENBOX_RESTART_POLICY_ALWAYS

static void init(Harness *harness)
{
    script_clock(TRUE);
    harness_init(harness);
}

static void fini(Harness *harness)
{
    /* So that a fake runtime that has to be killed is. */
    script_clock(FALSE);
    harness_fini(harness);
}

/* A VM with a policy, or (NO) one of a start order that is started with its host after @delay, unless that
 * is negative. */
static void make_vm(Harness *harness, const char *name, const char *cmdline,
                    TenboxRestartPolicy policy, gint64 order, gint64 delay)
{
    g_autoptr(TbxVmSpec) spec = spec_new(harness, name, cmdline);
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(GError) error = NULL;

    spec->restart_policy = (int)policy;
    spec->start_order = order;
    spec->autostart = delay >= 0;
    spec->autostart_delay = MAX(delay, 0);
    spec->present |= TBX_VM_SPEC_RESTART_POLICY | TBX_VM_SPEC_START_ORDER | TBX_VM_SPEC_AUTOSTART |
                     TBX_VM_SPEC_AUTOSTART_DELAY;
    record = try_create(harness, spec, &error);
    g_assert_no_error(error);
}

static void make_restarting(Harness *harness, const char *name, const char *cmdline,
                            TenboxRestartPolicy policy)
{
    make_vm(harness, name, cmdline, policy, TBX_START_ORDER_DEFAULT, -1);
}

typedef struct {
    Harness *harness;
    const char *name;
    gint64 value;
} Subject;

static gboolean is_restart_due(gpointer user_data)
{
    const Subject *subject = user_data;
    g_autoptr(TbxVmRecord) record = get_vm(subject->harness, subject->name);

    return record->restart != NULL;
}

static void wait_due(Harness *harness, const char *name, const char *reason, gint64 delay)
{
    Subject subject = {harness, name, 0};
    g_autoptr(TbxVmRecord) record = NULL;

    wait_until("a restart that is due", is_restart_due, &subject);
    record = get_vm(harness, name);
    g_assert_cmpstr(record->restart->reason, ==, reason);
    g_assert_cmpint(record->restart->delay, ==, delay);
    g_assert_cmpint(record->restart->at, >, record->created_at);
    g_assert_true(is_timer_due_in((guint)delay * 1000));
}

static gboolean has_count(gpointer user_data)
{
    const Subject *subject = user_data;
    g_autoptr(TbxVmRecord) record = get_vm(subject->harness, subject->name);

    return record->restart_count == subject->value;
}

static void wait_count(Harness *harness, const char *name, gint64 count)
{
    Subject subject = {harness, name, count};

    wait_until("the number of restarts", has_count, &subject);
}

static void assert_not_due(Harness *harness, const char *name)
{
    g_autoptr(TbxVmRecord) record = get_vm(harness, name);

    g_assert_null(record->restart);
    g_assert_cmpint(record->restart_count, ==, 0);
}

static void tell_guest(Harness *harness, const char *name, const char *line)
{
    g_autoptr(TbxConsoleStream) console = open_console(harness, name, FALSE);

    write_console(console, line);
}

/* How many events of a type there were; of the VM @name unless that is NULL. */
static guint count_events(const Harness *harness, const char *type, const char *name)
{
    guint count = 0;

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (g_str_equal(event->type, type) &&
            (name == NULL || (event->vm != NULL && g_str_equal(event->vm->name, name))))
            count++;
    }
    return count;
}

/* ---- restarts ----------------------------------------------------------------------------- */

static void test_on_failure(void)
{
    static const gint64 delays[] = {1, 2, 4, 8};
    Harness harness;

    init(&harness);
    make_restarting(&harness, "one", NULL, ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(delays); i++) {
        tell_guest(&harness, "one", "@signal 9\n");
        wait_due(&harness, "one", "killed", delays[i]);
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_CRASHED);
        g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_RESTART, "one"), ==, i + 1);
        /* Not a millisecond too early. */
        advance_clock((guint)delays[i] * 1000 - 1);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_CRASHED);
        advance_clock(1);
        wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);
        wait_count(&harness, "one", i + 1);
    }
    /* A stable run ends the row. */
    g_assert_true(is_timer_due_in(TBX_RESTART_STABLE_SECONDS * 1000));
    advance_clock(TBX_RESTART_STABLE_SECONDS * 1000);
    wait_count(&harness, "one", 0);
    tell_guest(&harness, "one", "@triple-fault\n");
    wait_due(&harness, "one", "triple-fault", 1);
    fini(&harness);
}

/* A row of failures has a last one, and the VM says so. */
static void test_bound(void)
{
    Harness harness;
    g_autoptr(TbxVmRecord) record = NULL;

    init(&harness);
    make_restarting(&harness, "one", "start-triple-fault", ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    for (guint i = 0; i < TBX_RESTARTS_MAX; i++) {
        wait_due(&harness, "one", "triple-fault", tbx_policy_restart_delay(i));
        advance_clock(tbx_policy_restart_delay(i) * 1000);
        wait_count(&harness, "one", i + 1);
    }
    wait_state(&harness, "one", TENBOX_VM_STATE_CRASHED);
    while (record == NULL || record->last_error == NULL) {
        g_main_context_iteration(NULL, TRUE);
        g_clear_pointer(&record, tbx_vm_record_unref);
        record = get_vm(&harness, "one");
    }
    g_assert_null(record->restart);
    g_assert_cmpstr(record->last_error->code, ==, "vm-crashed");
    g_assert_nonnull(strstr(record->last_error->detail, "10 times"));
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_RESTART, "one"), ==, TBX_RESTARTS_MAX);
    fini(&harness);
}

static void test_policies(void)
{
    Harness harness;

    init(&harness);
    make_restarting(&harness, "no", NULL, NO);
    make_restarting(&harness, "failure", NULL, ON_FAILURE);
    make_restarting(&harness, "always", NULL, ALWAYS);
    run_ok(&harness, "no", START, FALSE);
    run_ok(&harness, "failure", START, FALSE);
    run_ok(&harness, "always", START, FALSE);
    tell_guest(&harness, "no", "@signal 9\n");
    wait_state(&harness, "no", TENBOX_VM_STATE_CRASHED);
    /* A guest that switches itself off has not failed. */
    tell_guest(&harness, "failure", "@poweroff\n");
    wait_state(&harness, "failure", TENBOX_VM_STATE_STOPPED);
    tell_guest(&harness, "always", "@poweroff\n");
    wait_due(&harness, "always", "guest-power-off", 1);
    g_assert_cmpint(get_state(&harness, "always"), ==, TENBOX_VM_STATE_STOPPED);
    assert_not_due(&harness, "no");
    assert_not_due(&harness, "failure");
    advance_clock(1000);
    wait_state(&harness, "always", TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(get_state(&harness, "no"), ==, TENBOX_VM_STATE_CRASHED);
    fini(&harness);
}

/* Whoever asked for the end does not get the VM back, whatever he asked with. */
static void test_asked(void)
{
    Harness harness;

    init(&harness);
    make_restarting(&harness, "one", NULL, ALWAYS);
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", STOP, FALSE);
    assert_not_due(&harness, "one");
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", STOP, TRUE);
    assert_not_due(&harness, "one");
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", SHUTDOWN, FALSE);
    wait_state(&harness, "one", TENBOX_VM_STATE_STOPPED);
    assert_not_due(&harness, "one");
    /* A reboot is a start of its own. */
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", REBOOT, FALSE);
    assert_not_due(&harness, "one");
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_RESTART, NULL), ==, 0);
    fini(&harness);
}

/* The failure of a start is told to the user who asked for it, and to nobody else. */
static void test_start_by_user(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) operation = NULL;

    init(&harness);
    make_restarting(&harness, "one", "launch-exit=3", ALWAYS);
    operation = run(&harness, "one", START, FALSE, -1);
    g_assert_cmpint(operation->state, ==, TENBOX_OPERATION_STATE_FAILED);
    assert_not_due(&harness, "one");
    fini(&harness);
}

/* While a restart is due, users may do what they like with the VM; then it is not due any more. */
static void test_users_verbs(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = NULL;
    g_autoptr(TbxVmRecord) updated = NULL;
    g_autoptr(GError) error = NULL;

    init(&harness);
    make_restarting(&harness, "one", NULL, ALWAYS);
    run_ok(&harness, "one", START, FALSE);

    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    run_ok(&harness, "one", STOP, FALSE);
    assert_not_due(&harness, "one");
    g_assert_false(is_timer_due_in(1000));

    run_ok(&harness, "one", START, FALSE);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    run_ok(&harness, "one", START, FALSE);
    assert_not_due(&harness, "one");
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_RUNNING);

    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    spec = tbx_vm_spec_new();
    spec->restart_policy = (int)NO;
    spec->present = TBX_VM_SPEC_RESTART_POLICY;
    updated = try_update(&harness, "one", spec, &error);
    g_assert_no_error(error);
    assert_not_due(&harness, "one");

    run_ok(&harness, "one", DELETE, FALSE);
    make_restarting(&harness, "two", "start-triple-fault", ALWAYS);
    run_ok(&harness, "two", START, FALSE);
    wait_due(&harness, "two", "triple-fault", 1);
    run_ok(&harness, "two", DELETE, FALSE);
    advance_clock(1000);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    fini(&harness);
}

static gboolean is_shutdown_requested(gpointer user_data)
{
    const Subject *subject = user_data;
    g_autoptr(TbxVmRecord) record = get_vm(subject->harness, subject->name);

    return record->shutdown_requested_at != 0;
}

/* A request that was taken back, or ignored, asks for nothing any more: the policy holds again. */
static void test_asked_in_vain(void)
{
    Harness harness;
    Subject subject = {&harness, "one", 0};
    g_autoptr(TbxOperationRecord) stopping = NULL;
    g_autoptr(TbxOperationRecord) cancelled = NULL;
    g_autoptr(TbxOperationRecord) rebooting = NULL;
    g_autoptr(TbxOperationRecord) rebooted = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;

    init(&harness);
    make_restarting(&harness, "one", "ignore-button", ALWAYS);
    run_ok(&harness, "one", START, FALSE);
    stopping = begin(&harness, "one", STOP, FALSE, 3600, &error);
    g_assert_no_error(error);
    wait_until("a request", is_shutdown_requested, &subject);
    task = new_task(NULL);
    tbx_driver_operation_cancel(harness.driver, stopping->id, task);
    cancelled = finish_pointer(task, NULL);
    assert_cancelled(&harness, stopping->id);
    record = get_vm(&harness, "one");
    g_assert_cmpint(record->shutdown_requested_at, ==, 0);
    tell_guest(&harness, "one", "@poweroff\n");
    wait_due(&harness, "one", "guest-power-off", 1);
    advance_clock(1000);
    wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);

    run_ok(&harness, "one", SHUTDOWN, FALSE);
    wait_until("a request", is_shutdown_requested, &subject);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    run_ok(&harness, "one", START, FALSE);

    rebooting = begin(&harness, "one", REBOOT, FALSE, -1, &error);
    g_assert_no_error(error);
    wait_until("a request", is_shutdown_requested, &subject);
    advance_clock(120 * 1000);
    rebooted = wait_operation(&harness, rebooting->id);
    g_assert_cmpstr(tenbox_error_get_code(rebooted->error), ==, "timed-out");
    tell_guest(&harness, "one", "@poweroff\n");
    wait_due(&harness, "one", "guest-power-off", 1);
    fini(&harness);
}

/* Somebody changes the VM while it ends, and while its restart is due: the restart waits. */
static void test_while_updating(void)
{
    Harness harness;
    ThreadHold hold;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(TbxVmRecord) updated = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);

    init(&harness);
    make_restarting(&harness, "one", NULL, ALWAYS);
    run_ok(&harness, "one", START, FALSE);
    hold_threads(&hold);
    spec->cpu_count = 2;
    spec->present = TBX_VM_SPEC_CPU_COUNT;
    tbx_driver_vm_update(harness.driver, "one", spec, task);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    advance_clock(1000);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    release_threads(&hold);
    updated = finish_pointer(task, &error);
    g_assert_no_error(error);
    advance_clock(1000);
    wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);
    wait_count(&harness, "one", 1);
    fini(&harness);
}

/* A start that the daemon makes fails: it is one more failure of the row. */
static void test_failing_restart(void)
{
    Harness harness;
    g_autofree char *kernel = NULL;
    g_autofree char *hidden = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    init(&harness);
    make_restarting(&harness, "one", NULL, ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    record = get_vm(&harness, "one");
    kernel = vm_path(&harness, record->id, record->kernel);
    hidden = g_strconcat(kernel, ".hidden", NULL);
    g_assert_cmpint(g_rename(kernel, hidden), ==, 0);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    advance_clock(1000);
    wait_count(&harness, "one", 1);
    wait_due(&harness, "one", "file-unreadable", 2);
    g_assert_cmpint(g_rename(hidden, kernel), ==, 0);
    advance_clock(2000);
    wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);
    wait_count(&harness, "one", 2);
    fini(&harness);
}

/* What is due, and the row, outlive the driver. */
static void test_next_driver(void)
{
    Harness harness;
    g_autoptr(TbxVmRecord) before = NULL;
    g_autoptr(TbxVmRecord) after = NULL;

    init(&harness);
    make_restarting(&harness, "one", NULL, ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    before = get_vm(&harness, "one");
    harness_close(&harness);
    g_assert_false(is_timer_due_in(1000));

    harness_open(&harness);
    after = get_vm(&harness, "one");
    g_assert_cmpint(after->restart->at, ==, before->restart->at);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    /* However much of the second is over. */
    while (get_state(&harness, "one") == TENBOX_VM_STATE_STOPPED) {
        advance_clock(1000);
        g_main_context_iteration(NULL, FALSE);
    }
    wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);
    wait_count(&harness, "one", 1);

    /* It ends while nobody looks. */
    g_clear_pointer(&after, tbx_vm_record_unref);
    after = get_vm(&harness, "one");
    harness_close(&harness);
    g_assert_cmpint(kill((pid_t)after->pid, SIGKILL), ==, 0);
    harness_open(&harness);
    wait_due(&harness, "one", "killed", 2);
    fini(&harness);
}

/* The text of run/state.json or boot.json with another boot id in the place of this one. */
static void pretend_other_boot(const char *path)
{
    g_autofree char *boot_id = NULL;
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    g_autofree char *changed = NULL;

    g_assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    parts = g_strsplit(text, g_strchomp(boot_id), -1);
    g_assert_cmpuint(g_strv_length(parts), >, 1);
    changed = g_strjoinv("another-boot", parts);
    g_assert_true(g_file_set_contents(path, changed, -1, NULL));
}

/* A restart that was due is not made up for after the host was restarted: autostart is for that. */
static void test_due_over_reboot(void)
{
    Harness harness;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autofree char *path = NULL;

    init(&harness);
    make_restarting(&harness, "one", NULL, ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    record = get_vm(&harness, "one");
    path = vm_path(&harness, record->id, "run/state.json");
    harness_close(&harness);
    pretend_other_boot(path);
    harness_open(&harness);
    assert_not_due(&harness, "one");
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    fini(&harness);
}

/* ---- starts with the host ----------------------------------------------------------------- */

static char *boot_path(const Harness *harness)
{
    return g_build_filename(harness->folder, "boot.json", NULL);
}

static gboolean is_boot_noted(gpointer user_data)
{
    const Harness *harness = user_data;
    g_autofree char *path = boot_path(harness);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* Closes the driver, and opens one after the host was restarted, as far as the folder can tell. */
static void reboot_host(Harness *harness)
{
    g_autofree char *path = boot_path(harness);

    wait_until("boot.json", is_boot_noted, harness);
    harness_close(harness);
    pretend_other_boot(path);
    harness_open(harness);
}

static gboolean have_all_started(gpointer user_data)
{
    const Subject *subject = user_data;

    return count_events(subject->harness, TBX_EVENT_VM_AUTOSTART, NULL) == subject->value;
}

static void wait_autostarts(Harness *harness, guint count)
{
    Subject subject = {harness, NULL, count};

    wait_until("starts with the host", have_all_started, &subject);
}

/* The names of the VMs of all events of a type, or (NULL) that came to run. */
static char *name_events(const Harness *harness, const char *type)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (type != NULL ? g_str_equal(event->type, type)
                         : g_str_equal(event->type, TBX_EVENT_VM_STATE) &&
                               event->vm->state == TENBOX_VM_STATE_RUNNING)
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", event->vm->name);
    }
    return g_string_free(text, FALSE);
}

static void test_autostart(void)
{
    Harness harness;
    g_autofree char *begun = NULL;
    g_autofree char *running = NULL;
    g_autofree char *events = NULL;
    g_autofree char *again = NULL;

    init(&harness);
    make_vm(&harness, "d", NULL, NO, 100, 0);
    make_vm(&harness, "b", NULL, NO, 100, 0);
    make_vm(&harness, "c", NULL, NO, 5, 0);
    make_vm(&harness, "a", "refuse=memory_mb,12,no_memory", NO, 100, 0);
    make_vm(&harness, "not", NULL, NO, 0, -1);
    reboot_host(&harness);
    wait_autostarts(&harness, 4);
    wait_state(&harness, "d", TENBOX_VM_STATE_RUNNING);
    begun = name_events(&harness, TBX_EVENT_VM_AUTOSTART);
    g_assert_cmpstr(begun, ==, "c a b d");
    running = name_events(&harness, NULL);
    g_assert_cmpstr(running, ==, "c b d");
    /* One after the other: the next begins when the last one runs or has failed. */
    events = describe_events(&harness);
    g_assert_cmpstr(events, ==,
                    "vm.autostart start:running starting running start:done "
                    "vm.autostart start:running starting stopped start:failed "
                    "vm.autostart start:running starting running start:done "
                    "vm.autostart start:running starting running start:done");
    g_assert_cmpint(get_state(&harness, "not"), ==, TENBOX_VM_STATE_STOPPED);

    /* The next daemon of this boot starts nothing that a user has stopped. */
    run_ok(&harness, "b", STOP, FALSE);
    harness_close(&harness);
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "c"), ==, TENBOX_VM_STATE_RUNNING);
    run_ok(&harness, "c", STOP, FALSE);
    again = name_events(&harness, TBX_EVENT_VM_AUTOSTART);
    g_assert_cmpstr(again, ==, "");
    g_assert_cmpint(get_state(&harness, "b"), ==, TENBOX_VM_STATE_STOPPED);
    fini(&harness);
}

/* A start that never comes to an end does not keep those behind it from starting with their host. */
static void test_autostart_hangs(void)
{
    Harness harness;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;

    init(&harness);
    make_vm(&harness, "hangs", "start-hang", NO, 1, 0);
    make_vm(&harness, "next", NULL, NO, 2, 0);
    reboot_host(&harness);
    console = wait_console(&harness, "hangs");
    g_free(read_until(console, "fake: hanging\r\n"));
    g_assert_cmpint(get_state(&harness, "next"), ==, TENBOX_VM_STATE_STOPPED);
    advance_clock(180 * 1000);
    wait_state(&harness, "next", TENBOX_VM_STATE_RUNNING);
    record = get_vm(&harness, "hangs");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_cmpstr(record->last_error->code, ==, "timed-out");
    fini(&harness);
}

/* As many VMs as anybody has: what was planned for this boot is found again. */
static void test_autostart_many(void)
{
    Harness harness;
    g_autofree char *path = NULL;
    g_autofree char *boot_id = NULL;
    g_autoptr(GString) plan = g_string_new(NULL);
    g_autofree char *after = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    init(&harness);
    make_vm(&harness, "one", NULL, NO, 1, 0);
    path = boot_path(&harness);
    harness_close(&harness);
    g_assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL));
    g_string_printf(plan, "{\"boot_id\":\"%s\",\"waiting\":[", g_strchomp(boot_id));
    for (guint i = 0; i < 30000; i++)
        g_string_append_printf(plan, "%s\"%08x-0000-4000-8000-000000000000\"", i > 0 ? "," : "", i);
    g_string_append(plan, "]}");
    g_assert_cmpuint(plan->len, >, 1024 * 1024);
    g_assert_true(g_file_set_contents(path, plan->str, -1, NULL));
    harness_open(&harness);
    record = get_vm(&harness, "one");
    harness_close(&harness);
    g_assert_true(g_file_get_contents(path, &after, NULL, NULL));
    g_assert_null(strstr(after, record->id));
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    fini(&harness);
}

static gboolean is_delay_running(gpointer user_data)
{
    return is_timer_due_in(GPOINTER_TO_UINT(user_data));
}

static void wait_timer(guint milliseconds)
{
    wait_until("a delay", is_delay_running, GUINT_TO_POINTER(milliseconds));
}

/* Delays are kept, a daemon that dies half-way is followed by one that goes on, and what a user has begun
 * himself is his. */
static void test_autostart_delays(void)
{
    Harness harness;
    g_autofree char *begun = NULL;

    init(&harness);
    make_vm(&harness, "a", NULL, NO, 1, 7);
    make_vm(&harness, "b", NULL, NO, 2, 11);
    make_vm(&harness, "c", NULL, NO, 3, 13);
    make_vm(&harness, "d", NULL, NO, 4, 17);
    reboot_host(&harness);
    wait_timer(7000);
    g_assert_false(is_timer_due_in(11000));
    advance_clock(6999);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_AUTOSTART, NULL), ==, 0);
    advance_clock(1);
    wait_state(&harness, "a", TENBOX_VM_STATE_RUNNING);
    wait_timer(11000);

    harness_close(&harness);
    harness_open(&harness);
    wait_timer(11000);
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_AUTOSTART, NULL), ==, 0);
    /* The next in the row, by a user: the one after it gets its turn. */
    run_ok(&harness, "b", START, FALSE);
    wait_timer(13000);
    g_assert_false(is_timer_due_in(11000));
    run_ok(&harness, "b", STOP, FALSE);
    /* And one that is further behind. */
    run_ok(&harness, "d", STOP, FALSE);
    advance_clock(13000);
    wait_state(&harness, "c", TENBOX_VM_STATE_RUNNING);
    begun = name_events(&harness, TBX_EVENT_VM_AUTOSTART);
    g_assert_cmpstr(begun, ==, "c");
    g_assert_false(is_timer_due_in(17000));
    g_assert_cmpint(get_state(&harness, "b"), ==, TENBOX_VM_STATE_STOPPED);
    fini(&harness);
}

/* The daemon ends while it starts something by itself: the next one does it. */
static void test_closed_while_starting(void)
{
    Harness harness;

    init(&harness);
    make_vm(&harness, "slow", "launch-hang", NO, 1, 0);
    make_restarting(&harness, "one", NULL, ON_FAILURE);
    run_ok(&harness, "one", START, FALSE);
    reboot_host(&harness);
    wait_state(&harness, "slow", TENBOX_VM_STATE_STARTING);
    tell_guest(&harness, "one", "@signal 9\n");
    wait_due(&harness, "one", "killed", 1);
    advance_clock(1000);
    wait_count(&harness, "one", 1);
    harness_close(&harness);

    harness_open(&harness);
    wait_state(&harness, "slow", TENBOX_VM_STATE_STARTING);
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_AUTOSTART, "slow"), ==, 1);
    wait_state(&harness, "one", TENBOX_VM_STATE_RUNNING);
    wait_count(&harness, "one", 1);
    /* A start that is withdrawn has had its turn. */
    run_ok(&harness, "slow", STOP, TRUE);
    harness_close(&harness);
    harness_open(&harness);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(count_events(&harness, TBX_EVENT_VM_AUTOSTART, NULL), ==, 0);
    fini(&harness);
}

/* boot.json is garbage: VMs are started, once. */
static void test_bad_boot_file(void)
{
    static const char *const texts[] = {"", "{", "[]", "{\"boot_id\":5}", "{\"waiting\":[1,{}]}"};
    Harness harness;
    g_autofree char *path = NULL;

    init(&harness);
    make_vm(&harness, "a", NULL, NO, 1, 0);
    path = boot_path(&harness);
    wait_until("boot.json", is_boot_noted, &harness);
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        harness_close(&harness);
        g_assert_true(g_file_set_contents(path, texts[i], -1, NULL));
        harness_open(&harness);
        wait_state(&harness, "a", TENBOX_VM_STATE_RUNNING);
        run_ok(&harness, "a", STOP, FALSE);
    }
    fini(&harness);
}

static gboolean has_told_of_reboot(gpointer user_data)
{
    return count_events(user_data, TBX_EVENT_HOST_REBOOTED, "one") == 1;
}

/* What ran when the host went down is stopped, and an event tells why; autostart brings it back. */
static void test_host_reboot(void)
{
    Harness harness;
    g_autoptr(TbxVmRecord) running = NULL;
    g_autoptr(TbxVmRecord) stopped = NULL;
    g_autofree char *path = NULL;
    g_autofree char *events = NULL;

    init(&harness);
    make_restarting(&harness, "one", NULL, ALWAYS);
    make_vm(&harness, "two", NULL, NO, 1, 0);
    run_ok(&harness, "one", START, FALSE);
    running = get_vm(&harness, "one");
    path = vm_path(&harness, running->id, "run/state.json");
    wait_until("boot.json", is_boot_noted, &harness);
    harness_close(&harness);
    g_assert_cmpint(kill((pid_t)running->pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid((pid_t)running->pid, NULL, 0), ==, running->pid);
    pretend_other_boot(path);
    harness_open(&harness);
    wait_until("the news", has_told_of_reboot, &harness);
    stopped = get_vm(&harness, "one");
    g_assert_cmpint(stopped->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_cmpstr(stopped->last_exit->reason, ==, "host-rebooted");
    g_assert_cmpint(stopped->pid, ==, 0);
    assert_not_due(&harness, "one");
    events = describe_events(&harness);
    g_assert_cmpstr(events, ==, "host.rebooted stopped");
    fini(&harness);
}

/* A driver that serves nobody may end any moment: it starts nothing by itself. */
static void test_not_served(void)
{
    Harness harness;
    g_autofree char *uri = NULL;
    TbxDriver *driver;
    TbxEventSink *sink;
    GTask *task;

    init(&harness);
    make_vm(&harness, "a", NULL, NO, 1, 0);
    wait_until("boot.json", is_boot_noted, &harness);
    harness_close(&harness);
    {
        g_autofree char *path = boot_path(&harness);

        pretend_other_boot(path);
    }
    uri = g_strdup_printf("local://%s", harness.folder);
    sink = tbx_event_sink_new(&(TbxEventSinkHandlers){NULL, NULL}, NULL);
    tbx_event_sink_disconnect(sink);
    driver = tbx_local_driver_new(uri, harness.folder, NULL, 7, sink, NULL);
    task = new_task(NULL);
    tbx_driver_open(driver, task);
    g_assert_true(finish_boolean(task, NULL));
    task = new_task(NULL);
    tbx_driver_watch(driver, NULL, task);
    g_assert_true(finish_boolean(task, NULL));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(count_children(), ==, 0);
    tbx_driver_close(driver);
    tbx_driver_unref(driver);
    tbx_event_sink_unref(sink);
    /* The daemon that comes after it does. */
    harness_open(&harness);
    wait_state(&harness, "a", TENBOX_VM_STATE_RUNNING);
    fini(&harness);
}

/* ---- the stop of all ---------------------------------------------------------------------- */

static TbxOperationRecord *begin_stop_vms(Harness *harness, gboolean force, gint64 timeout)
{
    TbxActionOptions options = {.force = force, .timeout = timeout};
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    TbxOperationRecord *record;

    tbx_driver_system_stop_vms(harness->driver, &options, task);
    record = finish_pointer(task, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(record->kind, ==, "stop-vms");
    g_assert_null(record->vm_id);
    return record;
}

/* @stage: what was being done when it ended; NULL: there was nothing to do. */
static void wait_done(Harness *harness, const TbxOperationRecord *begun, const char *stage)
{
    g_autoptr(TbxOperationRecord) ended = wait_operation(harness, begun->id);

    g_assert_cmpstr(ended->progress != NULL ? ended->progress->stage : NULL, ==, stage);
    g_assert_no_error(ended->error);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
}

static void make_deaf(Harness *harness, const char *name, gint64 order, gint64 stop_timeout)
{
    g_autoptr(TbxVmSpec) spec = spec_new(harness, name, "ignore-button");
    g_autoptr(TbxVmRecord) record = NULL;

    spec->start_order = order;
    spec->stop_timeout = stop_timeout;
    spec->present |= TBX_VM_SPEC_START_ORDER | TBX_VM_SPEC_STOP_TIMEOUT;
    record = try_create(harness, spec, NULL);
    g_assert_nonnull(record);
    run_ok(harness, name, START, FALSE);
}

static void make_running(Harness *harness, const char *name, gint64 order)
{
    make_vm(harness, name, NULL, NO, order, -1);
    run_ok(harness, name, START, FALSE);
}

static void assert_state(Harness *harness, const char *name, TenboxVmState state)
{
    g_assert_cmpint(get_state(harness, name), ==, state);
}

/* The highest order first, those of one order at once, each guest with its own time. */
static void test_stop_order(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxVmRecord) deaf = NULL;

    init(&harness);
    make_running(&harness, "low", 1);
    make_running(&harness, "middle", 2);
    make_deaf(&harness, "deaf", 3, 5);
    make_running(&harness, "high", 3);
    begun = begin_stop_vms(&harness, FALSE, 90);
    wait_state(&harness, "high", TENBOX_VM_STATE_STOPPED);
    wait_state(&harness, "deaf", TENBOX_VM_STATE_STOPPING);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    assert_state(&harness, "middle", TENBOX_VM_STATE_RUNNING);
    assert_state(&harness, "low", TENBOX_VM_STATE_RUNNING);
    g_assert_true(is_timer_due_in(5000));
    advance_clock(5000);
    wait_done(&harness, begun, "asking-guests");
    assert_state(&harness, "low", TENBOX_VM_STATE_STOPPED);
    assert_state(&harness, "middle", TENBOX_VM_STATE_STOPPED);
    deaf = get_vm(&harness, "deaf");
    g_assert_cmpstr(deaf->last_exit->reason, ==, "host-power-off");
    for (guint i = 0, middle = 0, low = 0; i < harness.events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness.events, i);

        if (!g_str_equal(event->type, TBX_EVENT_VM_STATE) ||
            event->vm->state != TENBOX_VM_STATE_STOPPED)
            continue;
        middle += g_str_equal(event->vm->name, "middle") ? 1 : 0;
        low += g_str_equal(event->vm->name, "low") ? 1 : 0;
        g_assert_cmpuint(low, <=, middle);
    }
    fini(&harness);
}

/* When the time is over, everything that still runs is switched off: what is asked, what was not asked
 * yet, and what somebody else is busy with. */
static void test_stop_deadline(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) same = NULL;
    g_autoptr(TbxOperationRecord) starting = NULL;

    init(&harness);
    make_running(&harness, "low", 1);
    make_deaf(&harness, "deaf", 3, 3600);
    make_vm(&harness, "hangs", "launch-hang", NO, 3, -1);
    starting = begin(&harness, "hangs", START, FALSE, -1, NULL);
    begun = begin_stop_vms(&harness, FALSE, 90);
    wait_state(&harness, "deaf", TENBOX_VM_STATE_STOPPING);
    /* Nobody gets more time than was promised before. */
    same = begin_stop_vms(&harness, FALSE, 3600);
    g_assert_cmpstr(same->id, ==, begun->id);
    advance_clock(89999);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    assert_state(&harness, "low", TENBOX_VM_STATE_RUNNING);
    assert_state(&harness, "hangs", TENBOX_VM_STATE_STARTING);
    advance_clock(1);
    wait_done(&harness, begun, "powering-off");
    assert_state(&harness, "low", TENBOX_VM_STATE_STOPPED);
    assert_state(&harness, "deaf", TENBOX_VM_STATE_STOPPED);
    assert_state(&harness, "hangs", TENBOX_VM_STATE_STOPPED);
    assert_cancelled(&harness, starting->id);
    fini(&harness);
}

/* By force, in the middle of asking; nothing is started by itself meanwhile or afterwards. */
static void test_stop_force(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) forced = NULL;
    g_autoptr(TbxOperationRecord) empty = NULL;

    init(&harness);
    make_restarting(&harness, "crashed", NULL, ALWAYS);
    run_ok(&harness, "crashed", START, FALSE);
    tell_guest(&harness, "crashed", "@signal 9\n");
    wait_due(&harness, "crashed", "killed", 1);
    make_restarting(&harness, "always", NULL, ALWAYS);
    run_ok(&harness, "always", START, FALSE);
    make_deaf(&harness, "deaf", 100, 3600);
    begun = begin_stop_vms(&harness, FALSE, 3600);
    assert_not_due(&harness, "crashed");
    wait_state(&harness, "deaf", TENBOX_VM_STATE_STOPPING);
    forced = begin_stop_vms(&harness, TRUE, -1);
    g_assert_cmpstr(forced->id, ==, begun->id);
    wait_done(&harness, begun, "powering-off");
    assert_state(&harness, "deaf", TENBOX_VM_STATE_STOPPED);
    assert_not_due(&harness, "always");
    /* Nothing runs: it is done as soon as it is begun. */
    empty = begin_stop_vms(&harness, FALSE, 10);
    g_assert_cmpstr(empty->id, !=, begun->id);
    wait_done(&harness, empty, NULL);
    g_assert_cmpuint(count_children(), ==, 0);
    fini(&harness);
}

/* Withdrawn: guests that have not followed run on. */
static void test_stop_cancelled(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) record = NULL;
    GTask *task;

    init(&harness);
    make_running(&harness, "low", 1);
    make_deaf(&harness, "deaf", 3, 3600);
    begun = begin_stop_vms(&harness, FALSE, 90);
    wait_state(&harness, "deaf", TENBOX_VM_STATE_STOPPING);
    task = new_task(NULL);
    tbx_driver_operation_cancel(harness.driver, begun->id, task);
    record = finish_pointer(task, NULL);
    assert_cancelled(&harness, begun->id);
    wait_state(&harness, "deaf", TENBOX_VM_STATE_RUNNING);
    advance_clock(90000);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    assert_state(&harness, "low", TENBOX_VM_STATE_RUNNING);
    assert_state(&harness, "deaf", TENBOX_VM_STATE_RUNNING);
    fini(&harness);
}

/* There is no time left, and somebody is changing the VM: it is stopped all the same, when that has ended. */
static void test_stop_while_updating(void)
{
    Harness harness;
    ThreadHold hold;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(TbxVmRecord) updated = NULL;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) ended = NULL;
    GTask *task = new_task(NULL);

    init(&harness);
    make_running(&harness, "one", 1);
    hold_threads(&hold);
    spec->cpu_count = 2;
    spec->present = TBX_VM_SPEC_CPU_COUNT;
    tbx_driver_vm_update(harness.driver, "one", spec, task);
    begun = begin_stop_vms(&harness, TRUE, -1);
    for (guint i = 0; i < 6; i++) {
        advance_clock(100);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
    release_threads(&hold);
    updated = finish_pointer(task, NULL);
    ended = wait_operation(&harness, begun->id);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    fini(&harness);
}

/* The driver is closed in the middle: nothing is left behind, guests that were asked go on being so. */
static void test_stop_closed(void)
{
    Harness harness;
    g_autoptr(TbxOperationRecord) begun = NULL;

    init(&harness);
    make_deaf(&harness, "deaf", 3, 3600);
    begun = begin_stop_vms(&harness, FALSE, 90);
    wait_state(&harness, "deaf", TENBOX_VM_STATE_STOPPING);
    harness_close(&harness);
    harness_open(&harness);
    assert_state(&harness, "deaf", TENBOX_VM_STATE_RUNNING);
    fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/life/on-failure", test_on_failure);
    g_test_add_func("/local/life/bound", test_bound);
    g_test_add_func("/local/life/policies", test_policies);
    g_test_add_func("/local/life/asked", test_asked);
    g_test_add_func("/local/life/start-by-user", test_start_by_user);
    g_test_add_func("/local/life/users-verbs", test_users_verbs);
    g_test_add_func("/local/life/failing-restart", test_failing_restart);
    g_test_add_func("/local/life/next-driver", test_next_driver);
    g_test_add_func("/local/life/due-over-reboot", test_due_over_reboot);
    g_test_add_func("/local/life/autostart", test_autostart);
    g_test_add_func("/local/life/asked-in-vain", test_asked_in_vain);
    g_test_add_func("/local/life/while-updating", test_while_updating);
    g_test_add_func("/local/life/autostart-hangs", test_autostart_hangs);
    g_test_add_func("/local/life/autostart-many", test_autostart_many);
    g_test_add_func("/local/life/autostart-delays", test_autostart_delays);
    g_test_add_func("/local/life/closed-while-starting", test_closed_while_starting);
    g_test_add_func("/local/life/bad-boot-file", test_bad_boot_file);
    g_test_add_func("/local/life/host-reboot", test_host_reboot);
    g_test_add_func("/local/life/not-served", test_not_served);
    g_test_add_func("/local/life/stop-order", test_stop_order);
    g_test_add_func("/local/life/stop-deadline", test_stop_deadline);
    g_test_add_func("/local/life/stop-force", test_stop_force);
    g_test_add_func("/local/life/stop-cancelled", test_stop_cancelled);
    g_test_add_func("/local/life/stop-while-updating", test_stop_while_updating);
    g_test_add_func("/local/life/stop-closed", test_stop_closed);
    return g_test_run();
}
