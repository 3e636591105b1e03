/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. The actions on a VM, one at a time: what each does in each state, and the events that tell of it.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/unit/local/harness.h"

/* ---- the plain life of a VM --------------------------------------------------------------- */

static void test_life(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *events = NULL;
    g_autofree char *folder = NULL;
    g_autoptr(TbxVmRecord) running = NULL;
    g_autoptr(TbxVmRecord) stopped = NULL;
    gint64 pid;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    running = get_vm(&harness, id);
    g_assert_cmpint(running->state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(running->pid, >, 1);
    g_assert_true(is_alive(running->pid));
    g_assert_cmpint(running->started_at, >, 0);
    g_assert_cmpint(running->last_boot_time, >, 0);
    g_assert_null(running->operation);
    pid = running->pid;

    run_ok(&harness, id, STOP, FALSE);
    stopped = get_vm(&harness, "one");
    g_assert_cmpint(stopped->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_cmpint(stopped->pid, ==, 0);
    g_assert_cmpint(stopped->started_at, ==, 0);
    g_assert_cmpint(stopped->last_boot_time, ==, running->last_boot_time);
    g_assert_cmpstr(stopped->last_exit->reason, ==, "guest-power-off");
    g_assert_null(stopped->last_exit->signal);
    g_assert_null(stopped->last_error);
    g_assert_cmpint(stopped->generation, >, running->generation);
    g_assert_false(is_alive(pid));

    run_ok(&harness, "one", DELETE, FALSE);
    folder = list_vms_folder(&harness);
    g_assert_cmpstr(folder, ==, "");
    events = describe_events(&harness);
    g_assert_cmpstr(events, ==,
                    "vm.created start:running starting running start:done "
                    "stop:running stopping stopped stop:done "
                    "delete:running vm.trashed vm.deleted delete:done");
    harness_fini(&harness);
}

/* Each event carries the newest document, numbers grow by one, generations grow. */
static void test_journal(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    gint64 generation = 0;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    run_ok(&harness, "one", PAUSE, FALSE);
    run_ok(&harness, "one", RESUME, FALSE);
    run_ok(&harness, "one", STOP, TRUE);
    g_assert_cmpuint(harness.events->len, >, 10);
    for (guint i = 0; i < harness.events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness.events, i);

        g_assert_cmpint(event->sequence, ==, i + 1);
        g_assert_cmpstr(event->vm_id, ==, id);
        if (event->vm != NULL && !g_str_equal(event->type, TBX_EVENT_VM_CREATED)) {
            g_assert_cmpint(event->vm->generation, >, generation);
            generation = event->vm->generation;
        }
    }
    harness_fini(&harness);
}

static void test_folder(void)
{
    static const char *const private_files[] = {
        "vm.json", "kernel", "initrd", "run/state.json", "logs/runtime.log", "run/control.sock"};
    static const char *const private_folders[] = {"", "run", "logs"};
    Harness harness;
    g_autofree char *id = NULL;
    GStatBuf status;

    /* The most generous umask must not matter. */
    umask(0);
    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    for (gsize i = 0; i < G_N_ELEMENTS(private_files); i++) {
        g_autofree char *path = vm_path(&harness, id, private_files[i]);

        g_assert_cmpint(g_lstat(path, &status), ==, 0);
        if ((status.st_mode & 0777) != 0600)
            g_error("%s has mode %o", private_files[i], status.st_mode & 07777);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(private_folders); i++) {
        g_autofree char *path = vm_path(&harness, id, private_folders[i]);

        g_assert_cmpint(g_lstat(path, &status), ==, 0);
        g_assert_cmpint(status.st_mode & 0777, ==, 0700);
    }
    umask(022);
    harness_fini(&harness);
}

/* ---- verbs and states --------------------------------------------------------------------- */

/* Brings a VM into @state. */
static void make_state(Harness *harness, TenboxVmState state)
{
    g_autofree char *id = create_vm(harness, "subject", "ignore-button");

    switch (state) {
    case TENBOX_VM_STATE_STOPPED: break;
    case TENBOX_VM_STATE_RUNNING: run_ok(harness, id, START, FALSE); break;
    case TENBOX_VM_STATE_PAUSED:
        run_ok(harness, id, START, FALSE);
        run_ok(harness, id, PAUSE, FALSE);
        break;
    case TENBOX_VM_STATE_CRASHED: {
        g_autoptr(TbxVmRecord) record = NULL;

        run_ok(harness, id, START, FALSE);
        record = get_vm(harness, id);
        g_assert_cmpint(kill((pid_t)record->pid, SIGSEGV), ==, 0);
        wait_state(harness, id, TENBOX_VM_STATE_CRASHED);
        break;
    }
    default: g_assert_not_reached();
    }
    g_assert_cmpint(get_state(harness, id), ==, state);
}

/* Every verb in every state that lasts: the answer, and the state afterwards. */
static void test_verbs_by_state(void)
{
    static const struct {
        TenboxVmState from;
        TenboxVmAction action;
        gboolean force;
        const char *slug; /* NULL: done */
        TenboxVmState to;
    } cases[] = {
#define S TENBOX_VM_STATE_STOPPED
#define R TENBOX_VM_STATE_RUNNING
#define P TENBOX_VM_STATE_PAUSED
#define C TENBOX_VM_STATE_CRASHED
        {S, START, FALSE, NULL, R},
        {S, STOP, FALSE, NULL, S},
        {S, STOP, TRUE, NULL, S},
        {S, SHUTDOWN, FALSE, "vm-not-running", S},
        {S, REBOOT, FALSE, "vm-not-running", S},
        {S, RESET, FALSE, "vm-not-running", S},
        {S, PAUSE, FALSE, "vm-not-running", S},
        {S, RESUME, FALSE, "vm-not-running", S},

        {R, START, FALSE, "vm-not-stopped", R},
        {R, STOP, TRUE, NULL, S},
        {R, SHUTDOWN, FALSE, NULL, R},
        {R, RESET, FALSE, NULL, R},
        {R, PAUSE, FALSE, NULL, P},
        {R, RESUME, FALSE, NULL, R},
        {R, DELETE, FALSE, "vm-not-stopped", R},

        {P, START, FALSE, "vm-not-stopped", P},
        {P, STOP, TRUE, NULL, S},
        {P, SHUTDOWN, FALSE, "vm-paused", P},
        {P, REBOOT, FALSE, "vm-paused", P},
        {P, RESET, FALSE, NULL, P},
        {P, PAUSE, FALSE, NULL, P},
        {P, RESUME, FALSE, NULL, R},
        {P, DELETE, FALSE, "vm-not-stopped", P},

        {C, START, FALSE, NULL, R},
        {C, STOP, FALSE, NULL, C},
        {C, STOP, TRUE, NULL, C},
        {C, SHUTDOWN, FALSE, "vm-not-running", C},
        {C, REBOOT, FALSE, "vm-not-running", C},
        {C, RESET, FALSE, "vm-not-running", C},
        {C, PAUSE, FALSE, "vm-not-running", C},
        {C, RESUME, FALSE, "vm-not-running", C},
#undef S
#undef R
#undef P
#undef C
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TbxOperationRecord) begun = NULL;
        g_autoptr(GError) error = NULL;

        g_test_message("%s of a VM that is %s", tenbox_vm_action_to_string(cases[i].action),
                       tenbox_vm_state_to_string(cases[i].from));
        make_state(&harness, cases[i].from);
        begun = begin(&harness, "subject", cases[i].action, cases[i].force, -1, &error);
        if (cases[i].slug != NULL) {
            g_assert_null(begun);
            assert_error(&error, cases[i].slug, NULL);
        } else {
            g_autoptr(TbxOperationRecord) ended = NULL;

            g_assert_no_error(error);
            ended = wait_operation(&harness, begun->id);
            g_assert_no_error(ended->error);
            g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
        }
        g_assert_cmpint(get_state(&harness, "subject"), ==, cases[i].to);
        run_ok(&harness, "subject", DELETE, TRUE);
    }
    harness_fini(&harness);
}

static void test_delete_by_state(void)
{
    static const TenboxVmState states[] = {TENBOX_VM_STATE_STOPPED, TENBOX_VM_STATE_RUNNING,
                                           TENBOX_VM_STATE_PAUSED, TENBOX_VM_STATE_CRASHED};
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autofree char *left = NULL;

        make_state(&harness, states[i]);
        run_ok(&harness, "subject", DELETE, TRUE);
        left = list_vms_folder(&harness);
        g_assert_cmpstr(left, ==, "");
    }
    harness_fini(&harness);
}

static void test_shutdown_request(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) asked = NULL;
    g_autoptr(TbxVmRecord) gone = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "deaf", "ignore-button");
    run_ok(&harness, "deaf", START, FALSE);
    run_ok(&harness, "deaf", SHUTDOWN, FALSE);
    asked = get_vm(&harness, "deaf");
    g_assert_cmpint(asked->state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(asked->shutdown_requested_at, >, 0);

    g_clear_pointer(&id, g_free);
    id = create_vm(&harness, "polite", NULL);
    run_ok(&harness, "polite", START, FALSE);
    run_ok(&harness, "polite", SHUTDOWN, FALSE);
    wait_state(&harness, "polite", TENBOX_VM_STATE_STOPPED);
    gone = get_vm(&harness, "polite");
    g_assert_cmpint(gone->shutdown_requested_at, ==, 0);
    g_assert_cmpstr(gone->last_exit->reason, ==, "guest-power-off");
    harness_fini(&harness);
}

static void test_stop_times_out(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) ended = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "deaf", "ignore-button");
    run_ok(&harness, "deaf", START, FALSE);
    ended = run(&harness, "deaf", STOP, FALSE, 1);
    g_assert_no_error(ended->error);
    record = get_vm(&harness, "deaf");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_cmpstr(record->last_exit->reason, ==, "host-power-off");
    harness_fini(&harness);
}

static void test_stop_of_paused(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "sleeper", NULL);
    run_ok(&harness, "sleeper", START, FALSE);
    run_ok(&harness, "sleeper", PAUSE, FALSE);
    run_ok(&harness, "sleeper", STOP, FALSE);
    record = get_vm(&harness, "sleeper");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
    /* It was woken and asked, not switched off. */
    g_assert_cmpstr(record->last_exit->reason, ==, "guest-power-off");
    harness_fini(&harness);
}

/* A runtime that does not even switch the machine off is killed, and the VM is stopped, not crashed. */
static void test_stop_escalates(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "wedged", "ignore-off ignore-button");
    run_ok(&harness, "wedged", START, FALSE);
    run_ok(&harness, "wedged", STOP, TRUE);
    record = get_vm(&harness, "wedged");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_cmpstr(record->last_exit->reason, ==, "killed");
    g_assert_cmpstr(record->last_exit->signal, ==, "SIGKILL");
    harness_fini(&harness);
}

static void test_reboot(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *events = NULL;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(TbxVmRecord) first = NULL;
    g_autoptr(TbxVmRecord) second = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    before = read_until(console, "fake: hello\r\n");
    first = get_vm(&harness, "one");
    g_ptr_array_set_size(harness.events, 0);
    run_ok(&harness, "one", REBOOT, FALSE);
    second = get_vm(&harness, "one");
    g_assert_cmpint(second->state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(second->pid, !=, first->pid);
    g_assert_cmpint(second->shutdown_requested_at, ==, 0);
    events = describe_events(&harness);
    g_assert_cmpstr(events, ==, "reboot:running stopped starting running vm.rebooted reboot:done");
    /* Who was looking goes on looking. */
    after = read_until(console, "fake: hello\r\n");
    g_assert_cmpstr(after, ==, "fake: hello\r\n");
    harness_fini(&harness);
}

/* The guest's own reboot: same process, same state, an event. */
static void test_guest_reboots(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) first = NULL;
    g_autoptr(TbxVmRecord) second = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    first = get_vm(&harness, "one");
    console = open_console(&harness, "one", TRUE);
    write_console(console, "@reboot\n");
    wait_until("vm.rebooted", has_rebooted, &harness);
    second = get_vm(&harness, "one");
    g_assert_cmpint(second->pid, ==, first->pid);
    g_assert_cmpint(second->state, ==, TENBOX_VM_STATE_RUNNING);
    harness_fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/life", test_life);
    g_test_add_func("/local/journal", test_journal);
    g_test_add_func("/local/folder", test_folder);
    g_test_add_func("/local/verbs-by-state", test_verbs_by_state);
    g_test_add_func("/local/delete-by-state", test_delete_by_state);
    g_test_add_func("/local/shutdown-request", test_shutdown_request);
    g_test_add_func("/local/stop/times-out", test_stop_times_out);
    g_test_add_func("/local/stop/paused", test_stop_of_paused);
    g_test_add_func("/local/stop/escalates", test_stop_escalates);
    g_test_add_func("/local/reboot", test_reboot);
    g_test_add_func("/local/guest-reboots", test_guest_reboots);
    return g_test_run();
}
