/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime: what a user of it sees, and what is left on the
 * host afterwards.
 *
 * The linker puts the __wrap_ functions below in front of the functions of that name.
 * LINK: -Wl,--wrap=tbx_socket_connect_at,--wrap=tbx_host_check_kvm_version,--wrap=g_timeout_source_new
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <gmodule.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/definition.h"
#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/wire/json-guard.h"
#include "tests/unit/local/harness.h"

#define START    TENBOX_VM_ACTION_START
#define STOP     TENBOX_VM_ACTION_STOP
#define SHUTDOWN TENBOX_VM_ACTION_SHUTDOWN
#define REBOOT   TENBOX_VM_ACTION_REBOOT
#define RESET    TENBOX_VM_ACTION_RESET
#define PAUSE    TENBOX_VM_ACTION_PAUSE
#define RESUME   TENBOX_VM_ACTION_RESUME
#define DELETE   TENBOX_VM_ACTION_DELETE

/* ---- in front of the driver --------------------------------------------------------------- */

/* Called once while a connection is being made anew: the old one is known to be lost, and the greeting of
 * the runtime has not been looked at. */
static GSourceFunc on_reconnecting;
static gpointer on_reconnecting_data;
/* Whether anything passes for KVM. */
static gboolean is_kvm_believed;
/* The driver's timers run a hundred times as fast: they are there for what never happens. */
static gboolean is_clock_fast;

int __real_tbx_socket_connect_at(int folder_fd, const char *name, GError **error);
gboolean __real_tbx_host_check_kvm_version(int fd, GError **error);
GSource *__real_g_timeout_source_new(guint interval);
int __wrap_tbx_socket_connect_at(int folder_fd, const char *name, GError **error);
gboolean __wrap_tbx_host_check_kvm_version(int fd, GError **error);
/* Visible, since the linker looks at what GLib itself calls, too. */
G_MODULE_EXPORT GSource *__wrap_g_timeout_source_new(guint interval);

int __wrap_tbx_socket_connect_at(int folder_fd, const char *name, GError **error)
{
    if (on_reconnecting != NULL)
        g_idle_add_full(G_PRIORITY_HIGH, on_reconnecting, on_reconnecting_data, NULL);
    on_reconnecting = NULL;
    return __real_tbx_socket_connect_at(folder_fd, name, error);
}

gboolean __wrap_tbx_host_check_kvm_version(int fd, GError **error)
{
    return is_kvm_believed || __real_tbx_host_check_kvm_version(fd, error);
}

GSource *__wrap_g_timeout_source_new(guint interval)
{
    return __real_g_timeout_source_new(is_clock_fast ? interval / 100 : interval);
}

/* A file or folder of a VM. */
static char *vm_path(const Harness *harness, const char *id, const char *name)
{
    return g_build_filename(harness->folder, "vms", id, name, NULL);
}

/* The entries of vms/, sorted and joined by spaces. */
static char *list_vms_folder(const Harness *harness)
{
    g_autofree char *path = g_build_filename(harness->folder, "vms", NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(folder)) != NULL)
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, (GCompareFunc)g_strcmp0);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

static gboolean is_alive(gint64 pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d", (int)pid);

    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

/* The types of the events of one VM so far, states and operation states spelled out. */
static char *describe_events(const Harness *harness)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (g_str_equal(event->type, TBX_EVENT_VM_CHANGED))
            continue;
        if (text->len > 0)
            g_string_append_c(text, ' ');
        if (event->operation != NULL)
            g_string_append_printf(
                text, "%s:%s", event->operation->kind,
                tenbox_operation_state_to_string((TenboxOperationState)event->operation->state));
        else if (g_str_equal(event->type, TBX_EVENT_VM_STATE))
            g_string_append(text, tenbox_vm_state_to_string((TenboxVmState)event->vm->state));
        else
            g_string_append(text, event->type);
    }
    return g_string_free(text, FALSE);
}

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
                    "delete:running vm.deleted delete:done");
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

static gboolean has_rebooted(gpointer user_data)
{
    const Harness *harness = user_data;

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (g_str_equal(event->type, TBX_EVENT_VM_REBOOTED))
            return TRUE;
    }
    return FALSE;
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

static void assert_cancelled(Harness *harness, const char *id)
{
    g_autoptr(TbxOperationRecord) record = wait_operation(harness, id);

    g_assert_cmpint(record->state, ==, TENBOX_OPERATION_STATE_CANCELLED);
    g_assert_cmpstr(tenbox_error_get_code(record->error), ==, "operation-cancelled");
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

/* ---- starts that fail --------------------------------------------------------------------- */

static void test_start_failures(void)
{
    static const struct {
        const char *cmdline;
        const char *slug;
        const char *field;
        const char *message; /* a part of it */
        TenboxVmState to;
    } cases[] = {
        {"refuse=kernel,22,is_no_kernel", "kernel-invalid", "kernel", "is no kernel",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=initrd,22,is_cut_short", "initrd-invalid", "initrd", "is cut short",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=memory_mb,12,cannot_be_had", "insufficient-memory", "memory_mb", "cannot be had",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=memory_mb,22,is_odd", "field-invalid", "memory_mb", "is odd",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=cpu_count,22,is_more_than_8", "field-invalid", "cpu_count", "is more than 8",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=cmdline,7,is_too_long", "field-invalid", "cmdline", "is too long",
         TENBOX_VM_STATE_STOPPED},
        {"refuse=kvm,19,no_vGIC", "kvm-unavailable", "kvm", "no vGIC", TENBOX_VM_STATE_STOPPED},
        {"refuse=launch,22,is_odd", "runtime-failed", "launch", "is odd", TENBOX_VM_STATE_STOPPED},
        {"launch-signal=11", "runtime-failed", NULL, "SIGSEGV", TENBOX_VM_STATE_CRASHED},
        {"launch-exit=3", "runtime-failed", NULL, "status 3", TENBOX_VM_STATE_CRASHED},
        {"launch-garbage", "protocol-error", NULL, "malformed", TENBOX_VM_STATE_STOPPED},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *id = create_vm(&harness, "one", cases[i].cmdline);
        g_autoptr(TbxOperationRecord) ended = NULL;
        g_autoptr(TbxVmRecord) record = NULL;

        g_test_message("%s", cases[i].cmdline);
        ended = run(&harness, "one", START, FALSE, -1);
        g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_FAILED);
        g_assert_nonnull(strstr(ended->error->message, cases[i].message));
        assert_error(&ended->error, cases[i].slug, cases[i].field);
        record = get_vm(&harness, "one");
        g_assert_cmpint(record->state, ==, cases[i].to);
        g_assert_cmpint(record->pid, ==, 0);
        g_assert_cmpstr(record->last_error->code, ==, cases[i].slug);
        g_assert_cmpstr(record->last_error->field, ==, cases[i].field);
        g_assert_cmpuint(count_children(), ==, 0);
        run_ok(&harness, "one", DELETE, FALSE);
    }
    harness_fini(&harness);
}

/* What the driver itself finds before it makes a process. */
static void test_start_resources(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *kernel = NULL;
    g_autofree char *initrd = NULL;
    guint descriptors;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    kernel = vm_path(&harness, id, "kernel");
    initrd = vm_path(&harness, id, "initrd");
    descriptors = count_descriptors();

#define ASSERT_START_FAILS(slug, field)                                                            \
    do {                                                                                           \
        g_autoptr(TbxOperationRecord) ended = run(&harness, "one", START, FALSE, -1);              \
                                                                                                   \
        g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_FAILED);                          \
        assert_error(&ended->error, slug, field);                                                  \
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);                  \
        wait_descriptors(descriptors);                                                             \
    } while (0)

    g_assert_cmpint(g_unlink(initrd), ==, 0);
    ASSERT_START_FAILS("file-unreadable", "initrd");
    g_assert_cmpint(symlink("/etc/hostname", initrd), ==, 0);
    ASSERT_START_FAILS("file-unreadable", "initrd");
    g_assert_cmpint(g_unlink(initrd), ==, 0);
    g_assert_cmpint(mkfifo(initrd, 0600), ==, 0);
    ASSERT_START_FAILS("file-unreadable", "initrd");
    g_assert_cmpint(g_unlink(initrd), ==, 0);
    g_assert_true(g_file_set_contents(initrd, "x", 1, NULL));
    g_assert_cmpint(truncate(kernel, 0), ==, 0);
    ASSERT_START_FAILS("file-unreadable", "kernel");
    g_assert_true(g_file_set_contents(kernel, "x", 1, NULL));
    g_setenv("TENBOX_KVM_DEVICE", "/nonexistent/kvm", TRUE);
    ASSERT_START_FAILS("kvm-unavailable", "kvm");
    g_setenv("TENBOX_KVM_DEVICE", harness.kernel, TRUE);
    ASSERT_START_FAILS("kvm-unavailable", "kvm");
    g_setenv("TENBOX_KVM_DEVICE", "/dev/null", TRUE);
    g_setenv("TENBOX_RUNTIME", "/nonexistent/tenbox-runtime", TRUE);
    ASSERT_START_FAILS("runtime-failed", "TENBOX_RUNTIME");
    g_setenv("TENBOX_RUNTIME", "relative/path", TRUE);
    ASSERT_START_FAILS("runtime-failed", "TENBOX_RUNTIME");
    /* It is executable as far as its mode goes, and cannot be executed. */
    g_assert_true(g_file_set_contents(harness.kernel, "#!/nonexistent\n", -1, NULL));
    g_assert_cmpint(g_chmod(harness.kernel, 0755), ==, 0);
    g_setenv("TENBOX_RUNTIME", harness.kernel, TRUE);
    ASSERT_START_FAILS("runtime-failed", NULL);
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
#undef ASSERT_START_FAILS
    run_ok(&harness, "one", START, FALSE);
    harness_fini(&harness);
}

/* ---- ends of the process ------------------------------------------------------------------ */

static void test_crashes(void)
{
    static const struct {
        const char *input;
        const char *reason;
        const char *signal;
        gint64 exit_code;
        TenboxVmState to;
    } cases[] = {
        {"@signal 9\n", "killed", "SIGKILL", 0, TENBOX_VM_STATE_CRASHED},
        {"@signal 11\n", "killed", "SIGSEGV", 0, TENBOX_VM_STATE_CRASHED},
        {"@signal 31\n", "killed", "SIGSYS", 0, TENBOX_VM_STATE_CRASHED},
        {"@exit 7\n", "exited", NULL, 7, TENBOX_VM_STATE_CRASHED},
        {"@exit 0\n", "exited", NULL, 0, TENBOX_VM_STATE_CRASHED},
        {"@triple-fault\n", "triple-fault", NULL, 0, TENBOX_VM_STATE_CRASHED},
        {"@poweroff\n", "guest-power-off", NULL, 0, TENBOX_VM_STATE_STOPPED},
    };
    Harness harness;

    harness_init(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *id = create_vm(&harness, "one", NULL);
        g_autofree char *rest = NULL;
        g_autoptr(TbxConsoleStream) console = NULL;
        g_autoptr(TbxVmRecord) record = NULL;

        run_ok(&harness, "one", START, FALSE);
        console = open_console(&harness, "one", TRUE);
        write_console(console, cases[i].input);
        /* Consoles end with the VM. */
        rest = read_until(console, NULL);
        wait_state(&harness, "one", cases[i].to);
        record = get_vm(&harness, "one");
        g_assert_cmpstr(record->last_exit->reason, ==, cases[i].reason);
        g_assert_cmpstr(record->last_exit->signal, ==, cases[i].signal);
        g_assert_cmpint(record->last_exit->exit_code, ==, cases[i].exit_code);
        g_assert_cmpint(record->last_exit->time, >, 0);
        g_assert_cmpint(record->pid, ==, 0);
        run_ok(&harness, "one", DELETE, FALSE);
    }
    harness_fini(&harness);
}

static void test_killed_from_outside(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) running = NULL;
    g_autoptr(TbxVmRecord) crashed = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    running = get_vm(&harness, "one");
    g_assert_cmpint(kill((pid_t)running->pid, SIGKILL), ==, 0);
    wait_state(&harness, "one", TENBOX_VM_STATE_CRASHED);
    crashed = get_vm(&harness, "one");
    g_assert_cmpstr(crashed->last_exit->reason, ==, "killed");
    g_assert_cmpstr(crashed->last_exit->signal, ==, "SIGKILL");
    run_ok(&harness, "one", START, FALSE);
    harness_fini(&harness);
}

/* An operation whose VM dies ends with it, and says what happened. */
static void test_crash_under_operation(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) pause = NULL;
    g_autoptr(TbxOperationRecord) ended = NULL;
    g_autoptr(TbxVmRecord) record = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "ignore-pause");
    run_ok(&harness, "one", START, FALSE);
    record = get_vm(&harness, "one");
    pause = begin(&harness, "one", PAUSE, FALSE, -1, NULL);
    g_assert_cmpint(kill((pid_t)record->pid, SIGABRT), ==, 0);
    ended = wait_operation(&harness, pause->id);
    g_assert_nonnull(strstr(ended->error->message, "SIGABRT"));
    assert_error(&ended->error, "vm-crashed", NULL);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_CRASHED);
    harness_fini(&harness);
}

/* A malformed datagram costs the connection, which is made anew; the VM goes on. */
static void test_connection_lost(void)
{
    static const char *const inputs[] = {"@garbage\n", "@close\n"};
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) before = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autofree char *hello = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    before = get_vm(&harness, "one");
    console = open_console(&harness, "one", TRUE);
    hello = read_until(console, "fake: hello\r\n");
    for (gsize i = 0; i < G_N_ELEMENTS(inputs); i++) {
        g_autofree char *echo = NULL;
        g_autoptr(TbxVmRecord) after = NULL;

        write_console(console, inputs[i]);
        /* Typed after the loss: it arrives over the new connection or not at all, never half. */
        do {
            g_autoptr(GError) error = NULL;
            g_autoptr(TbxOperationRecord) paused = run(&harness, "one", PAUSE, FALSE, -1);

            if (paused->state == TENBOX_OPERATION_STATE_DONE)
                break;
            g_assert_cmpstr(tenbox_error_get_code(paused->error), ==, "runtime-failed");
        } while (TRUE);
        run_ok(&harness, "one", RESUME, FALSE);
        write_console(console, "again\n");
        echo = read_until(console, "again\n");
        g_assert_cmpstr(echo, ==, "again\n");
        after = get_vm(&harness, "one");
        g_assert_cmpint(after->pid, ==, before->pid);
    }
    harness_fini(&harness);
}

/* What is typed and asked while the connection is made anew. */
typedef struct {
    Harness *harness;
    TbxConsoleStream *console;
    GTask *write;
    GTask *pause;
} Reconnection;

static gboolean use_lost_connection(gpointer user_data)
{
    Reconnection *reconnection = user_data;
    const TbxActionOptions options = {.timeout = -1};
    g_autoptr(GBytes) bytes = g_bytes_new("typed\n", 6);

    reconnection->write = new_task(NULL);
    tbx_console_stream_write(reconnection->console, bytes, reconnection->write);
    reconnection->pause = new_task(NULL);
    tbx_driver_vm_begin(reconnection->harness->driver, "one", PAUSE, &options, reconnection->pause);
    return G_SOURCE_REMOVE;
}

static gboolean has_reconnected(gpointer user_data)
{
    return ((const Reconnection *)user_data)->pause != NULL;
}

static void test_use_while_reconnecting(void)
{
    Harness harness;
    Reconnection reconnection = {.harness = &harness};
    g_autofree char *id = NULL;
    g_autofree char *echo = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxOperationRecord) begun = NULL;
    g_autoptr(TbxOperationRecord) paused = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    reconnection.console = console;
    on_reconnecting = use_lost_connection;
    on_reconnecting_data = &reconnection;
    write_console(console, "@close\n");
    wait_until("the reconnection", has_reconnected, &reconnection);
    /* It has not been handed over yet, and says so. */
    g_assert_null(g_object_get_data(G_OBJECT(reconnection.write), "done"));
    begun = finish_pointer(reconnection.pause, NULL);
    paused = wait_operation(&harness, begun->id);
    g_assert_no_error(paused->error);
    g_assert_true(finish_boolean(reconnection.write, NULL));
    echo = read_until(console, "typed\n");
    g_assert_cmpstr(echo, ==, "typed\n");
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_PAUSED);
    harness_fini(&harness);
}

/* ---- consoles ----------------------------------------------------------------------------- */

static void test_two_readers(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) first = NULL;
    g_autoptr(TbxConsoleStream) second = NULL;
    g_autoptr(TbxConsoleStream) late = NULL;
    g_autofree char *a = NULL;
    g_autofree char *b = NULL;
    g_autofree char *c = NULL;
    g_autofree char *d = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    first = open_console(&harness, "one", TRUE);
    second = open_console(&harness, "one", TRUE);
    write_console(first, "abc");
    write_console(second, "def");
    a = read_until(first, "abcdef");
    b = read_until(second, "abcdef");
    g_assert_cmpstr(a, ==, "fake: hello\r\nabcdef");
    g_assert_cmpstr(b, ==, a);
    /* Without replay: only what comes. */
    late = open_console(&harness, "one", FALSE);
    write_console(late, "ghi");
    c = read_until(late, "ghi");
    g_assert_cmpstr(c, ==, "ghi");
    /* One that closes does not disturb the others. */
    tbx_console_stream_close(late);
    write_console(first, "jkl");
    d = read_until(second, "jkl");
    g_assert_cmpstr(d, ==, "ghijkl");
    harness_fini(&harness);
}

/* A reader that sleeps while a megabyte goes by loses the oldest bytes and knows how many. */
static void test_slow_reader(void)
{
    const guint burst = 1000000;
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *all = NULL;
    g_autoptr(TbxConsoleStream) slow = NULL;
    g_autoptr(TbxConsoleStream) quick = NULL;
    g_autofree char *hello = NULL;
    g_autofree char *tail = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    slow = open_console(&harness, "one", TRUE);
    quick = open_console(&harness, "one", TRUE);
    hello = read_until(slow, "fake: hello\r\n");
    write_console(quick, "@burst 1000000\n");
    write_console(quick, "ZZZ");
    tail = read_until(quick, "ZZZ");
    all = read_until(slow, "ZZZ");
    g_assert_cmpuint(slow->skipped, >, 0);
    g_assert_cmpuint(slow->skipped + strlen(all), ==, burst + 3);
    /* What is left is the end of it, each byte where it belongs. */
    for (gsize i = 0; i + 3 < strlen(all); i++)
        g_assert_cmpint(all[i], ==, (char)('a' + (slow->skipped + i) % 26));
    harness_fini(&harness);
}

/* Input beyond the credit waits, and others are not locked out by it. */
static void test_input_credit(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *paste = g_strnfill(100000, 'x');
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxConsoleStream) other = NULL;
    g_autoptr(GBytes) bytes = g_bytes_new(paste, 100000);
    g_autofree char *echo = NULL;
    GTask *task;
    guint count = 0;
    gsize at;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    other = open_console(&harness, "one", FALSE);
    task = new_task(NULL);
    tbx_console_stream_write(console, bytes, task);
    write_console(other, "KEY");
    /* The key did not wait for the paste. */
    g_assert_null(g_object_get_data(G_OBJECT(task), "done"));
    g_assert_true(finish_boolean(task, NULL));
    write_console(console, "!");
    echo = read_until(console, "!");
    for (at = 0; echo[at] != '\0'; at++)
        count += echo[at] == 'x';
    g_assert_cmpuint(count, ==, 100000);
    g_assert_nonnull(strstr(echo, "KEY"));
    g_assert_cmpuint((gsize)(strstr(echo, "KEY") - echo), <, 8192);
    harness_fini(&harness);
}

/* A guest that never reads: the write waits, and ends when the VM does. */
static void test_input_without_credit(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *paste = g_strnfill(10000, 'x');
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GBytes) bytes = g_bytes_new(paste, 10000);
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "one", "no-credit");
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    task = new_task(NULL);
    tbx_console_stream_write(console, bytes, task);
    run_ok(&harness, "one", STOP, TRUE);
    g_assert_false(finish_boolean(task, &error));
    assert_error(&error, "closed", NULL);
    harness_fini(&harness);
}

static void test_console_edges(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *hello = NULL;
    g_autofree char *echo = NULL;
    GTask *task, *second;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    task = new_task(NULL);
    tbx_driver_console_open(harness.driver, "one", TRUE, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "vm-not-running", NULL);

    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    hello = read_until(console, "fake: hello\r\n");
    /* A cancelled read loses nothing. */
    task = new_task(cancellable);
    tbx_console_stream_read(console, 100, task);
    g_cancellable_cancel(cancellable);
    g_assert_null(finish_pointer(task, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);
    write_console(console, "abc");
    echo = read_until(console, "abc");
    g_assert_cmpstr(echo, ==, "abc");
    /* A read under way when the stream is closed; it was the one. */
    task = new_task(NULL);
    tbx_console_stream_read(console, 100, task);
    second = new_task(NULL);
    tbx_console_stream_read(console, 100, second);
    g_assert_null(finish_pointer(second, &error));
    assert_error(&error, "internal", NULL);
    write_console(console, "");
    tbx_console_stream_close(console);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "closed", NULL);
    harness_fini(&harness);
}

typedef struct {
    Harness *harness;
    const char *name;
    TbxConsoleStream *console;
} ConsoleWait;

static gboolean has_console(gpointer user_data)
{
    ConsoleWait *wait = user_data;
    GTask *task = new_task(NULL);

    tbx_driver_console_open(wait->harness->driver, wait->name, TRUE, task);
    wait->console = finish_pointer(task, NULL);
    return wait->console != NULL;
}

/* The console of a VM that is being started. */
static TbxConsoleStream *wait_console(Harness *harness, const char *name)
{
    ConsoleWait wait = {harness, name, NULL};

    wait_until("a console", has_console, &wait);
    return wait.console;
}

static char *read_log(Harness *harness, const char *name, const char *source, guint lines)
{
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    char *text;

    tbx_driver_vm_log(harness->driver, name, source, lines, task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    return text;
}

static void test_logs(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *none = NULL;
    g_autofree char *console_log = NULL;
    g_autofree char *after_stop = NULL;
    g_autofree char *one_line = NULL;
    g_autofree char *runtime_log = NULL;
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;
    GStatBuf status;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    none = read_log(&harness, "one", "console", 0);
    g_assert_cmpstr(none, ==, "");
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    write_console(console, "two\r\nthree\r\n");
    text = read_until(console, "three\r\n");
    console_log = read_log(&harness, "one", "console", 0);
    g_assert_cmpstr(console_log, ==, "fake: hello\r\ntwo\r\nthree\r\n");
    one_line = read_log(&harness, "one", "console", 1);
    g_assert_cmpstr(one_line, ==, "three\r\n");
    write_console(console, "@poweroff\n");
    wait_state(&harness, "one", TENBOX_VM_STATE_STOPPED);
    after_stop = read_log(&harness, "one", "console", 2);
    g_assert_cmpstr(after_stop, ==, "two\r\nthree\r\n");
    runtime_log = read_log(&harness, "one", "runtime", 0);
    g_assert_nonnull(strstr(runtime_log, "=== boot "));
    g_assert_nonnull(strstr(runtime_log, "fake-runtime: launched\n"));

    /* It keeps the end, and no more than a megabyte. */
    run_ok(&harness, "one", START, FALSE);
    g_clear_pointer(&console, tbx_console_stream_unref);
    console = open_console(&harness, "one", FALSE);
    for (guint i = 0; i < 12; i++) {
        g_autofree char *log = NULL;

        write_console(console, "@burst 200000\n");
        write_console(console, "END\n");
        g_free(read_until(console, "END\n"));
        log = read_log(&harness, "one", "console", 0);
        g_assert_true(g_str_has_suffix(log, "END\n"));
    }
    path = vm_path(&harness, id, "logs/console.log");
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_size, <=, 1 << 20);
    g_assert_cmpint(status.st_size, >=, 1 << 19);

    task = new_task(NULL);
    tbx_driver_vm_log(harness.driver, "one", "kernel", 0, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "field-invalid", "source");
    harness_fini(&harness);
}

/* A guest that never falls silent. */
static void test_log_of_chatty(void)
{
    Harness harness;

    harness_init(&harness);
    g_free(create_vm(&harness, "one", "chatty"));
    run_ok(&harness, "one", START, FALSE);
    for (guint i = 0; i < 20; i++) {
        g_autofree char *log = read_log(&harness, "one", "console", 0);

        g_assert_cmpuint(strlen(log), >, 0);
    }
    harness_fini(&harness);
}

/* A runtime that does not answer: the question ends by itself, by its caller, or is refused. */
static void test_statistics_without_answer(void)
{
    Harness harness;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    GTask *tasks[100];
    guint refused = 0, cancelled = 0;

    harness_init(&harness);
    g_free(create_vm(&harness, "one", "ignore-statistics"));
    run_ok(&harness, "one", START, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
        tasks[i] = new_task(cancellable);
        tbx_driver_vm_statistics(harness.driver, "one", tasks[i]);
    }
    g_cancellable_cancel(cancellable);
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(finish_pointer(tasks[i], &error));
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
            cancelled++;
        else if (g_str_equal(tenbox_error_get_code(error), "vm-busy"))
            refused++;
    }
    g_assert_cmpuint(cancelled + refused, ==, G_N_ELEMENTS(tasks));
    g_assert_cmpuint(cancelled, >, 1);
    g_assert_cmpuint(cancelled, <, 50);
    {
        g_autoptr(GError) error = NULL;
        GTask *task = new_task(NULL);

        is_clock_fast = TRUE;
        tbx_driver_vm_statistics(harness.driver, "one", task);
        is_clock_fast = FALSE;
        g_assert_null(finish_pointer(task, &error));
        assert_error(&error, "timed-out", NULL);
    }
    run_ok(&harness, "one", STOP, FALSE);
    harness_fini(&harness);
}

static void test_statistics(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *text = NULL;
    g_autoptr(JsonObject) document = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    task = new_task(NULL);
    tbx_driver_vm_statistics(harness.driver, "one", task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "vm-not-running", NULL);

    run_ok(&harness, "one", START, FALSE);
    task = new_task(NULL);
    tbx_driver_vm_statistics(harness.driver, "one", task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    document = tbx_json_guard_parse_object(text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(document, "vm_id"), ==, id);
    g_assert_cmpint(json_object_get_int_member(document, "memory_bytes"), ==, 16 << 20);
    g_assert_cmpint(json_object_get_int_member(document, "vcpu_count"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(document, "resident_bytes"), >, 0);
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(document, "exits"), "serial"), ==,
        42);
    harness_fini(&harness);
}

/* ---- creating and changing ---------------------------------------------------------------- */

static void test_create_refused(void)
{
    Harness harness;
    g_autofree char *root = NULL;
    g_autofree char *empty = NULL;
    g_autofree char *pipe = NULL;
    g_autofree char *id = NULL;
    g_autofree char *left = NULL;
    guint descriptors;

    harness_init(&harness);
    root = g_path_get_dirname(harness.kernel);
    empty = g_build_filename(root, "empty", NULL);
    pipe = g_build_filename(root, "pipe", NULL);
    g_assert_true(g_file_set_contents(empty, "", 0, NULL));
    g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    id = create_vm(&harness, "taken", NULL);
    descriptors = count_descriptors();

#define ASSERT_REFUSED(change, slug, field)                                                        \
    do {                                                                                           \
        g_autoptr(TbxVmSpec) spec = spec_new(&harness, "other", NULL);                             \
        g_autoptr(GError) error = NULL;                                                            \
                                                                                                   \
        change;                                                                                    \
        g_assert_null(try_create(&harness, spec, &error));                                         \
        assert_error(&error, slug, field);                                                         \
        left = (g_free(left), list_vms_folder(&harness));                                          \
        g_assert_cmpstr(left, ==, id);                                                             \
        wait_descriptors(descriptors);                                                             \
    } while (0)
#define SET(member, value) (g_free(spec->member), spec->member = g_strdup(value))

    ASSERT_REFUSED(SET(name, "taken"), "vm-exists", "name");
    ASSERT_REFUSED(SET(kernel, "/nonexistent"), "file-unreadable", "kernel");
    ASSERT_REFUSED(SET(kernel, empty), "file-unreadable", "kernel");
    ASSERT_REFUSED(SET(kernel, root), "file-unreadable", "kernel");
    ASSERT_REFUSED(SET(kernel, "/dev/zero"), "file-unreadable", "kernel");
    ASSERT_REFUSED(SET(kernel, pipe), "file-unreadable", "kernel");
    ASSERT_REFUSED(SET(initrd, "/nonexistent"), "file-unreadable", "initrd");
    ASSERT_REFUSED(SET(initrd, empty), "file-unreadable", "initrd");
    ASSERT_REFUSED(SET(initrd, pipe), "file-unreadable", "initrd");
    ASSERT_REFUSED(spec->memory_mb = tbx_host_get_memory_mb() + 1, "insufficient-memory",
                   "memory_mb");
#undef SET
#undef ASSERT_REFUSED
    /* The name is free again. */
    g_free(create_vm(&harness, "other", NULL));
    harness_fini(&harness);
}

static void test_create_defaults(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(TbxVmRecord) record = NULL;
    g_autofree char *kernel = NULL;
    g_autofree char *content = NULL;

    harness_init(&harness);
    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL;
    spec->name = g_strdup("plain");
    spec->kernel = g_strdup(harness.kernel);
    record = try_create(&harness, spec, NULL);
    g_assert_nonnull(record);
    g_assert_true(tbx_vm_id_is_valid(record->id));
    g_assert_cmpint(record->memory_mb, <=, 4096);
    g_assert_cmpint(record->memory_mb, <=, tbx_host_get_memory_mb());
    g_assert_cmpint(record->cpu_count, ==, MIN(4, g_get_num_processors()));
    g_assert_cmpstr(record->cmdline, ==, "");
    g_assert_null(record->initrd);
    g_assert_cmpstr(record->kernel, ==, "kernel");
    g_assert_cmpint(record->created_at, >, 0);
    g_assert_cmpint(record->last_boot_time, ==, 0);
    g_assert_cmpint(record->generation, ==, 1);
    /* A copy: the user's file may go. */
    kernel = vm_path(&harness, record->id, "kernel");
    g_assert_true(g_file_get_contents(kernel, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "a kernel");
    harness_fini(&harness);
}

/* Two creations of one name at the same time: one wins. */
static void test_create_race(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) first = NULL;
    g_autoptr(TbxVmSpec) second = NULL;
    g_autoptr(TbxVmRecord) winner = NULL;
    g_autoptr(GError) error = NULL;
    GTask *tasks[2];

    harness_init(&harness);
    first = spec_new(&harness, "same", NULL);
    second = spec_new(&harness, "same", NULL);
    tasks[0] = new_task(NULL);
    tasks[1] = new_task(NULL);
    tbx_driver_vm_create(harness.driver, first, tasks[0]);
    tbx_driver_vm_create(harness.driver, second, tasks[1]);
    winner = finish_pointer(tasks[0], NULL);
    g_assert_nonnull(winner);
    g_assert_null(finish_pointer(tasks[1], &error));
    assert_error(&error, "vm-exists", "name");
    harness_fini(&harness);
}

static void test_create_cancelled(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *left = NULL;
    GTask *task;

    harness_init(&harness);
    spec = spec_new(&harness, "never", NULL);
    task = new_task(cancellable);
    g_cancellable_cancel(cancellable);
    tbx_driver_vm_create(harness.driver, spec, task);
    g_assert_null(finish_pointer(task, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, "");
    g_free(create_vm(&harness, "never", NULL));
    harness_fini(&harness);
}

/* Begins a creation and waits for the folder of the VM, whose completion is still to be told. Returns its
 * path. No main context turns meanwhile, so the folder is polled. */
static char *create_behind(Harness *harness, TbxVmSpec *spec, GTask *task)
{
    g_autofree char *name = NULL;

    tbx_driver_vm_create(harness->driver, spec, task);
    do {
        g_thread_yield();
        name = (g_free(name), list_vms_folder(harness));
    } while (!tbx_vm_id_is_valid(name));
    return vm_path(harness, name, NULL);
}

/* Withdrawn when the files are there, but before the driver has looked at them. */
static void test_create_withdrawn_late(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *left = NULL;
    GTask *task;

    harness_init(&harness);
    spec = spec_new(&harness, "never", NULL);
    task = new_task(cancellable);
    folder = create_behind(&harness, spec, task);
    g_cancellable_cancel(cancellable);
    g_assert_null(finish_pointer(task, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, "");
    g_free(create_vm(&harness, "never", NULL));
    harness_fini(&harness);
}

/* A VM whose folder cannot be opened was not created, and is not there after a restart. */
static void test_create_undone(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *aside = NULL;
    g_autofree char *left = NULL;
    GTask *task;

    harness_init(&harness);
    spec = spec_new(&harness, "undone", NULL);
    task = new_task(NULL);
    folder = create_behind(&harness, spec, task);
    aside = g_build_filename(harness.folder, "aside", NULL);
    g_assert_cmpint(g_rename(folder, aside), ==, 0);
    g_assert_true(g_file_set_contents(folder, "no folder", -1, NULL));
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "internal", NULL);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, "");
    g_free(create_vm(&harness, "undone", NULL));
    harness_fini(&harness);
}

static TbxVmRecord *try_update(Harness *harness, const char *name, TbxVmSpec *spec, GError **error)
{
    GTask *task = new_task(NULL);

    tbx_driver_vm_update(harness->driver, name, spec, task);
    return finish_pointer(task, error);
}

static void test_update(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *other = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(GError) error = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    other = create_vm(&harness, "two", NULL);
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
        g_autoptr(TbxVmRecord) record = NULL;

        spec->present = TBX_VM_SPEC_MEMORY_MB | TBX_VM_SPEC_CPU_COUNT | TBX_VM_SPEC_CMDLINE |
                        TBX_VM_SPEC_NAME | TBX_VM_SPEC_INITRD | TBX_VM_SPEC_DESCRIPTION;
        spec->memory_mb = 32;
        spec->cpu_count = 2;
        spec->cmdline = g_strdup("quiet");
        spec->name = g_strdup("uno");
        spec->description = g_strdup("the first");
        record = try_update(&harness, "one", spec, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(record->name, ==, "uno");
        g_assert_cmpint(record->memory_mb, ==, 32);
        g_assert_cmpint(record->cpu_count, ==, 2);
        g_assert_cmpstr(record->cmdline, ==, "quiet");
        g_assert_cmpstr(record->description, ==, "the first");
        g_assert_null(record->initrd);
        g_assert_cmpstr(record->id, ==, id);
    }
    path = vm_path(&harness, id, "initrd");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_clear_pointer(&path, g_free);
    /* The old name is free, the new one is taken. */
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

        spec->present = TBX_VM_SPEC_NAME;
        spec->name = g_strdup("uno");
        g_assert_null(try_update(&harness, "two", spec, &error));
        assert_error(&error, "vm-exists", "name");
        g_free(spec->name);
        spec->name = g_strdup("one");
        tbx_vm_record_unref(try_update(&harness, "two", spec, &error));
        g_assert_no_error(error);
    }
    /* A kernel that cannot be read changes nothing. */
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

        spec->present = TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_NAME | TBX_VM_SPEC_MEMORY_MB;
        spec->kernel = g_strdup("/nonexistent");
        spec->name = g_strdup("changed");
        spec->memory_mb = 64;
        g_assert_null(try_update(&harness, "uno", spec, &error));
        assert_error(&error, "file-unreadable", "kernel");
    }
    path = vm_path(&harness, id, "vm.json");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_nonnull(strstr(content, "\"memory_mb\":32"));
    g_assert_nonnull(strstr(content, "\"uno\""));
    g_clear_pointer(&content, g_free);
    g_clear_pointer(&path, g_free);
    /* A new kernel. */
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

        spec->present = TBX_VM_SPEC_KERNEL;
        spec->kernel = g_strdup(harness.initrd);
        tbx_vm_record_unref(try_update(&harness, "uno", spec, &error));
        g_assert_no_error(error);
    }
    path = vm_path(&harness, id, "kernel");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "an initrd");
    /* While it runs: names yes, memory no. */
    run_ok(&harness, "uno", START, FALSE);
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

        spec->present = TBX_VM_SPEC_MEMORY_MB;
        spec->memory_mb = 64;
        g_assert_null(try_update(&harness, "uno", spec, &error));
        assert_error(&error, "vm-not-stopped", NULL);
        spec->present = TBX_VM_SPEC_NAME;
        spec->name = g_strdup("alive");
        tbx_vm_record_unref(try_update(&harness, "uno", spec, &error));
        g_assert_no_error(error);
        spec->present = TBX_VM_SPEC_MEMORY_MB;
        spec->memory_mb = tbx_host_get_memory_mb() + 1;
        run_ok(&harness, "alive", STOP, TRUE);
        g_assert_null(try_update(&harness, "alive", spec, &error));
        assert_error(&error, "insufficient-memory", "memory_mb");
    }
    /* What was changed is what the next driver finds. */
    harness_close(&harness);
    harness_open(&harness);
    {
        g_autoptr(TbxVmRecord) record = get_vm(&harness, "alive");

        g_assert_cmpstr(record->id, ==, id);
        g_assert_cmpint(record->memory_mb, ==, 32);
    }
    harness_fini(&harness);
}

/* A VM gets its new name while it boots: what was reported as durable is what the next driver finds. */
static void test_rename_while_booting(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(TbxOperationRecord) start = NULL;
    g_autoptr(TbxOperationRecord) started = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxVmRecord) renamed = NULL;
    g_autoptr(TbxVmRecord) found = NULL;
    g_autoptr(GError) error = NULL;
    ThreadHold hold;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "old", "start-hang");
    start = begin(&harness, "old", START, FALSE, -1, NULL);
    console = wait_console(&harness, "old");
    g_free(read_until(console, "fake: hanging\r\n"));
    hold_threads(&hold);
    spec->present = TBX_VM_SPEC_NAME;
    spec->name = g_strdup("new");
    task = new_task(NULL);
    tbx_driver_vm_update(harness.driver, "old", spec, task);
    write_console(console, "@run\n");
    started = wait_operation(&harness, start->id);
    g_assert_no_error(started->error);
    release_threads(&hold);
    renamed = finish_pointer(task, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(renamed->name, ==, "new");
    g_clear_pointer(&console, tbx_console_stream_unref);
    harness_close(&harness);
    path = vm_path(&harness, id, "vm.json");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_nonnull(strstr(content, "\"new\""));
    g_assert_null(strstr(content, "\"last_boot_time\":0"));
    harness_open(&harness);
    found = get_vm(&harness, "new");
    g_assert_cmpstr(found->id, ==, id);
    harness_fini(&harness);
}

static void test_not_found(void)
{
    Harness harness;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    g_assert_null(begin(&harness, "nobody", START, FALSE, -1, &error));
    assert_error(&error, "vm-not-found", NULL);
    g_assert_null(try_update(&harness, "nobody", spec, &error));
    assert_error(&error, "vm-not-found", NULL);
    task = new_task(NULL);
    tbx_driver_vm_get(harness.driver, "nobody", task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "vm-not-found", NULL);
    harness_fini(&harness);
}

/* ---- one driver after another ------------------------------------------------------------- */

static void test_adoption(void)
{
    Harness harness;
    g_autofree char *running = NULL;
    g_autofree char *paused = NULL;
    g_autofree char *stopped = NULL;
    g_autofree char *text = NULL;
    g_autofree char *log = NULL;
    g_autoptr(TbxVmRecord) before = NULL;
    g_autoptr(TbxVmRecord) after = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;

    harness_init(&harness);
    running = create_vm(&harness, "running", NULL);
    paused = create_vm(&harness, "paused", NULL);
    stopped = create_vm(&harness, "stopped", NULL);
    run_ok(&harness, "running", START, FALSE);
    run_ok(&harness, "paused", START, FALSE);
    run_ok(&harness, "paused", PAUSE, FALSE);
    console = open_console(&harness, "running", TRUE);
    write_console(console, "typed before\n");
    g_free(read_until(console, "typed before\n"));
    g_clear_pointer(&console, tbx_console_stream_unref);
    g_free(read_log(&harness, "running", "console", 0));
    before = get_vm(&harness, "running");
    harness_close(&harness);
    g_assert_true(is_alive(before->pid));

    harness_open(&harness);
    after = get_vm(&harness, "running");
    g_assert_cmpint(after->state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(after->pid, ==, before->pid);
    g_assert_cmpint(after->started_at, ==, before->started_at);
    g_assert_cmpint(get_state(&harness, "paused"), ==, TENBOX_VM_STATE_PAUSED);
    g_assert_cmpint(get_state(&harness, "stopped"), ==, TENBOX_VM_STATE_STOPPED);

    /* The ring came along, and the log goes on where it stopped. */
    console = open_console(&harness, "running", TRUE);
    write_console(console, "typed after\n");
    text = read_until(console, "typed after\n");
    g_assert_cmpstr(text, ==, "fake: hello\r\ntyped before\ntyped after\n");
    log = read_log(&harness, "running", "console", 0);
    g_assert_cmpstr(log, ==, text);

    run_ok(&harness, "paused", RESUME, FALSE);
    run_ok(&harness, "paused", STOP, FALSE);
    run_ok(&harness, "running", REBOOT, FALSE);
    run_ok(&harness, "running", STOP, FALSE);
    harness_fini(&harness);
}

/* An adopted VM crashes: the cause that can be known is told. */
static void test_adopted_crash(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    harness_close(&harness);
    harness_open(&harness);
    console = open_console(&harness, "one", FALSE);
    write_console(console, "@triple-fault\n");
    wait_state(&harness, "one", TENBOX_VM_STATE_CRASHED);
    record = get_vm(&harness, "one");
    g_assert_cmpstr(record->last_exit->reason, ==, "triple-fault");
    harness_fini(&harness);
}

/* It died while nobody looked. The process was our child, so even its signal can be had. */
static void test_death_between_drivers(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) before = NULL;
    g_autoptr(TbxVmRecord) after = NULL;
    g_autoptr(TbxVmRecord) still = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    before = get_vm(&harness, "one");
    harness_close(&harness);
    g_assert_cmpint(kill((pid_t)before->pid, SIGKILL), ==, 0);
    harness_open(&harness);
    wait_state(&harness, "one", TENBOX_VM_STATE_CRASHED);
    after = get_vm(&harness, "one");
    g_assert_cmpint(after->pid, ==, 0);
    g_assert_cmpstr(after->last_exit->reason, ==, "killed");
    g_assert_cmpstr(after->last_exit->signal, ==, "SIGKILL");
    /* And it is remembered. */
    harness_close(&harness);
    harness_open(&harness);
    still = get_vm(&harness, "one");
    g_assert_cmpstr(still->last_exit->signal, ==, "SIGKILL");
    harness_fini(&harness);
}

/* state.json names a process that is another one by now, or of another boot: it is left alone. */
static void test_foreign_process(void)
{
    static const char *const states[] = {
        /* this very process, under a start time that is not its own */
        "{\"pid\":%d,\"start_time\":1,\"boot_id\":\"%s\"}",
        /* another boot */
        "{\"pid\":%d,\"start_time\":1,\"boot_id\":\"not-%.20s\"}",
    };
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *boot_id = NULL;

    harness_init(&harness);
    g_assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL));
    g_strchomp(boot_id);
    id = create_vm(&harness, "one", NULL);
    path = vm_path(&harness, id, "run/state.json");
    for (gsize i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autoptr(TbxVmRecord) record = NULL;
        g_autofree char *text = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        text = g_strdup_printf(states[i], (int)getpid(), boot_id);
#pragma GCC diagnostic pop
        harness_close(&harness);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        harness_open(&harness);
        record = get_vm(&harness, "one");
        g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_CRASHED);
        g_assert_cmpint(record->pid, ==, 0);
        g_assert_cmpstr(record->last_exit->reason, ==, "exited");
        g_assert_nonnull(strstr(record->last_exit->detail, i == 0 ? "cause unknown" : "restarted"));
        run_ok(&harness, "one", START, FALSE);
        run_ok(&harness, "one", STOP, TRUE);
    }
    harness_fini(&harness);
}

/* state.json is garbage, or names what must never be signalled: the VM is just stopped. */
static void test_bad_state_file(void)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"pid\":\"x\"}",
        "{\"pid\":-1}",
        "{\"pid\":1,\"start_time\":0,\"boot_id\":\"\"}",
        "{\"pid\":99999999999}",
        "{\"last_exit\":{\"reason\":5}}",
        "{\"last_boot_time\":9223372036854775807,\"last_exit\":{\"reason\":\"x\",\"time\":-1}}"};
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    path = vm_path(&harness, id, "run/state.json");
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        harness_close(&harness);
        g_assert_true(g_file_set_contents(path, texts[i], -1, NULL));
        harness_open(&harness);
        g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    }
    harness_fini(&harness);
}

/* A runtime whose greeting cannot be believed is not adopted as if nothing were, nor forgotten: it can
 * still be stopped by force. */
static void test_adoption_refused(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxOperationRecord) paused = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "hello-garbage");
    run_ok(&harness, "one", START, FALSE);
    harness_close(&harness);
    harness_open(&harness);
    record = get_vm(&harness, "one");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpstr(record->last_error->code, ==, "protocol-error");
    paused = run(&harness, "one", PAUSE, FALSE, -1);
    assert_error(&paused->error, "runtime-failed", NULL);
    run_ok(&harness, "one", STOP, TRUE);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    harness_fini(&harness);
}

static gboolean has_no_children(gpointer unused)
{
    return count_children() == 0;
}

/* The driver goes while a start is half done: nothing is left that nobody knows of. */
static void test_close_while_starting(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) start = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "launch-hang");
    start = begin(&harness, "one", START, FALSE, -1, NULL);
    g_assert_cmpuint(count_children(), ==, 1);
    harness_close(&harness);
    wait_until("the runtime to end", has_no_children, NULL);
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_STOPPED);
    harness_fini(&harness);
}

/* The driver goes while the record of the process is on its way to the disk: the guest never ran, so it
 * has not crashed either. */
static void test_close_while_recording(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxOperationRecord) start = NULL;
    g_autoptr(TbxVmRecord) record = NULL;
    ThreadHold hold;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    hold_threads(&hold);
    start = begin(&harness, "one", START, FALSE, -1, NULL);
    console = wait_console(&harness, "one");
    tbx_driver_close(harness.driver);
    release_threads(&hold);
    g_clear_pointer(&console, tbx_console_stream_unref);
    harness_close(&harness);
    wait_until("the runtime to end", has_no_children, NULL);
    harness_open(&harness);
    record = get_vm(&harness, "one");
    g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
    g_assert_null(record->last_exit);
    g_assert_cmpint(record->started_at, ==, 0);
    harness_fini(&harness);
}

static void test_close_under_way(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxOperationRecord) stop = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GError) error = NULL;
    GTask *waiting, *reading, *statistics;

    harness_init(&harness);
    id = create_vm(&harness, "deaf", "ignore-button");
    run_ok(&harness, "deaf", START, FALSE);
    console = open_console(&harness, "deaf", FALSE);
    stop = begin(&harness, "deaf", STOP, FALSE, 3600, NULL);
    g_free(read_until(console, "fake: button ignored\r\n"));
    waiting = new_task(NULL);
    tbx_driver_operation_get(harness.driver, stop->id, 60, waiting);
    reading = new_task(NULL);
    tbx_console_stream_read(console, 100, reading);
    statistics = new_task(NULL);
    tbx_driver_vm_statistics(harness.driver, "deaf", statistics);
    harness_close(&harness);
    g_assert_null(finish_pointer(waiting, &error));
    assert_error(&error, "closed", NULL);
    g_assert_null(finish_pointer(reading, &error));
    assert_error(&error, "closed", NULL);
    g_assert_null(finish_pointer(statistics, &error));
    g_clear_error(&error);
    harness_fini(&harness);
}

static void test_locked(void)
{
    Harness harness;
    g_autoptr(GError) error = NULL;
    g_autofree char *pid = g_strdup_printf("pid %d", (int)getpid());
    Harness second;

    harness_init(&harness);
    second = harness;
    g_assert_null(harness_try_open(&second, &error));
    g_assert_nonnull(strstr(error->message, harness.folder));
    g_assert_nonnull(strstr(error->message, pid));
    g_assert_nonnull(strstr(error->message, "unix:///test.sock"));
    assert_error(&error, "data-folder-locked", "data_folder");
    /* The first is not disturbed, and closing it makes room. */
    g_free(create_vm(&harness, "one", NULL));
    harness_close(&harness);
    harness_open(&harness);
    harness_fini(&harness);
}

static void test_bad_data_folders(void)
{
    Harness harness;
    Harness other;
    g_autoptr(GError) error = NULL;
    g_autofree char *root = NULL;
    g_autofree char *open_folder = NULL;

    harness_init(&harness);
    root = g_path_get_dirname(harness.folder);
    other = harness;
    other.folder = harness.kernel; /* a file */
    g_assert_null(harness_try_open(&other, &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "data_folder");
    g_clear_error(&error);
    open_folder = g_build_filename(root, "open", NULL);
    g_assert_cmpint(g_mkdir(open_folder, 0777), ==, 0);
    g_assert_cmpint(g_chmod(open_folder, 0777), ==, 0);
    other.folder = open_folder;
    g_assert_null(harness_try_open(&other, &error));
    g_assert_nonnull(strstr(tenbox_error_get_hint(error), "chmod"));
    assert_error(&error, "forbidden", "data_folder");
    harness_fini(&harness);
}

/* ---- broken VMs --------------------------------------------------------------------------- */

static void test_broken(void)
{
    static const struct {
        const char *text;
        const char *slug;
        const char *field;
    } cases[] = {
        {"", "json-invalid", NULL},
        {"{\"name\":\"x\"", "json-invalid", NULL},
        {"[]", "json-invalid", NULL},
        {"{}", "field-invalid", "name"},
        {"{\"name\":\"x\"}", "field-invalid", "kernel"},
        {"{\"name\":7,\"kernel\":\"kernel\"}", "field-invalid", "name"},
        {"{\"name\":\"a b\",\"kernel\":\"kernel\"}", "name-invalid", "name"},
        {"{\"name\":\"x\",\"kernel\":\"../../secret\"}", "field-invalid", "kernel"},
        {"{\"name\":\"x\",\"kernel\":\"/etc/shadow\"}", "field-invalid", "kernel"},
        {"{\"name\":\"x\",\"kernel\":\"..\"}", "field-invalid", "kernel"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"initrd\":\"a/b\"}", "field-invalid", "initrd"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"memory_mb\":0}", "field-invalid", "memory_mb"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"memory_mb\":\"1\"}", "field-invalid",
         "memory_mb"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"memory_mb\":16.5}", "field-invalid", "memory_mb"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"cpu_count\":65}", "field-invalid", "cpu_count"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"cmdline\":\"a\\u0007\"}", "field-invalid",
         "cmdline"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"creation_time\":-1}", "field-invalid",
         "creation_time"},
        /* a name that another VM has */
        {"{\"name\":\"sound\",\"kernel\":\"kernel\"}", "vm-exists", "name"},
    };
    Harness harness;
    g_autofree char *sound = NULL;
    const char *broken = "ffffffff-0000-4000-8000-000000000000";
    g_autofree char *folder = NULL;
    g_autofree char *path = NULL;

    harness_init(&harness);
    sound = create_vm(&harness, "sound", NULL);
    folder = vm_path(&harness, broken, NULL);
    path = vm_path(&harness, broken, "vm.json");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TbxVmRecord) record = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *after = NULL;

        g_test_message("%s", cases[i].text);
        harness_close(&harness);
        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, cases[i].text, -1, NULL));
        harness_open(&harness);
        record = get_vm(&harness, broken);
        g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
        g_assert_cmpstr(record->last_error->code, ==, cases[i].slug);
        g_assert_cmpstr(record->last_error->field, ==, cases[i].field);
        g_assert_null(begin(&harness, broken, START, FALSE, -1, &error));
        assert_error(&error, cases[i].slug, cases[i].field);
        /* The other VM is not concerned, and the file is as it was. */
        g_assert_cmpint(get_state(&harness, "sound"), ==, TENBOX_VM_STATE_STOPPED);
        g_assert_true(g_file_get_contents(path, &after, NULL, NULL));
        g_assert_cmpstr(after, ==, cases[i].text);
    }
    /* It can be deleted by the name it is shown under. */
    run_ok(&harness, "broken-ffffffff", DELETE, FALSE);
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    harness_fini(&harness);
}

/* What a crash left under the names of folders and files in the making. */
static void test_leftovers(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *left = NULL;
    static const char *const names[] = {".new-ffffffff-0000-4000-8000-000000000000",
                                        ".old-ffffffff-0000-4000-8000-000000000001"};
    static const char *const temporaries[] = {".kernel.tmp", ".initrd.tmp"};

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    harness_close(&harness);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *deep = g_build_filename(harness.folder, "vms", names[i], "run", NULL);
        g_autofree char *file = g_build_filename(deep, "state.json", NULL);
        g_autofree char *link = g_build_filename(deep, "link", NULL);

        g_assert_cmpint(g_mkdir_with_parents(deep, 0700), ==, 0);
        g_assert_true(g_file_set_contents(file, "x", 1, NULL));
        g_assert_cmpint(symlink(harness.kernel, link), ==, 0);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(temporaries); i++) {
        g_autofree char *path = vm_path(&harness, id, temporaries[i]);

        g_assert_true(g_file_set_contents(path, "half a", -1, NULL));
    }
    harness_open(&harness);
    left = list_vms_folder(&harness);
    g_assert_cmpstr(left, ==, id);
    for (gsize i = 0; i < G_N_ELEMENTS(temporaries); i++) {
        g_autofree char *path = vm_path(&harness, id, temporaries[i]);

        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    /* A link is removed, not what it leads to. */
    g_assert_true(g_file_test(harness.kernel, G_FILE_TEST_EXISTS));
    harness_fini(&harness);
}

static void test_unknown_keys(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autofree char *text = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    path = vm_path(&harness, id, "vm.json");
    harness_close(&harness);
    g_assert_true(g_file_get_contents(path, &before, NULL, NULL));
    text = g_strdup_printf("{\"net_enabled\":false,\"host_forwards\":[{\"host_port\":8080}],%s",
                           strchr(before, '{') + 1);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    harness_open(&harness);
    spec->present = TBX_VM_SPEC_DESCRIPTION;
    spec->description = g_strdup("changed");
    tbx_vm_record_unref(try_update(&harness, "one", spec, NULL));
    g_assert_true(g_file_get_contents(path, &after, NULL, NULL));
    g_assert_nonnull(strstr(after, "\"net_enabled\":false"));
    g_assert_nonnull(strstr(after, "\"host_port\":8080"));
    g_assert_nonnull(strstr(after, "\"changed\""));
    harness_fini(&harness);
}

/* ---- nothing leaks ------------------------------------------------------------------------ */

static void test_cycles(void)
{
    const guint cycles = g_test_slow() ? 50 : 10;
    Harness harness;
    guint descriptors = 0;
    g_autofree char *left = NULL;

    harness_init(&harness);
    for (guint i = 0; i < cycles; i++) {
        g_autofree char *id = create_vm(&harness, "one", NULL);
        g_autoptr(TbxConsoleStream) console = NULL;

        run_ok(&harness, "one", START, FALSE);
        console = open_console(&harness, "one", TRUE);
        g_free(read_until(console, "fake: hello\r\n"));
        g_clear_pointer(&console, tbx_console_stream_unref);
        run_ok(&harness, "one", STOP, i % 2 == 0);
        g_free(read_log(&harness, "one", "console", 0));
        run_ok(&harness, "one", DELETE, FALSE);
        g_assert_cmpuint(count_children(), ==, 0);
        left = (g_free(left), list_vms_folder(&harness));
        g_assert_cmpstr(left, ==, "");
        /* The first cycle may open what GLib keeps: thread wake-ups. */
        if (i == 0)
            descriptors = count_descriptors();
        else
            wait_descriptors(descriptors);
    }
    harness_fini(&harness);
}

static void test_three_at_once(void)
{
    Harness harness;
    static const char *const names[] = {"a", "b", "c"};
    TbxOperationRecord *starts[3];

    harness_init(&harness);
    for (guint i = 0; i < 3; i++) {
        g_free(create_vm(&harness, names[i], NULL));
        starts[i] = begin(&harness, names[i], START, FALSE, -1, NULL);
    }
    for (guint i = 0; i < 3; i++) {
        g_autoptr(TbxOperationRecord) ended = wait_operation(&harness, starts[i]->id);

        g_assert_no_error(ended->error);
        tbx_operation_record_unref(starts[i]);
    }
    g_assert_cmpuint(count_children(), ==, 3);
    /* One dies, the others live. */
    {
        g_autoptr(TbxVmRecord) record = get_vm(&harness, "b");

        kill((pid_t)record->pid, SIGKILL);
    }
    wait_state(&harness, "b", TENBOX_VM_STATE_CRASHED);
    g_assert_cmpint(get_state(&harness, "a"), ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(get_state(&harness, "c"), ==, TENBOX_VM_STATE_RUNNING);
    harness_fini(&harness);
}

/* ---- system and doctor -------------------------------------------------------------------- */

static void test_system(void)
{
    Harness harness;
    g_autofree char *text = NULL;
    g_autoptr(JsonObject) document = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    g_free(create_vm(&harness, "one", NULL));
    task = new_task(NULL);
    tbx_driver_system_get(harness.driver, task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    document = tbx_json_guard_parse_object(text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(document, "data_folder"), ==, harness.folder);
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(document, "vm_count"), "total"),
        ==, 1);
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(document, "host"), "memory_mb"), >,
        0);
    harness_fini(&harness);
}

/* The row @name of the doctor's answer, and whether the host is healthy. */
static JsonObject *run_doctor(Harness *harness, const char *name, gboolean *ret_healthy)
{
    g_autofree char *text = NULL;
    g_autoptr(JsonObject) document = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    JsonArray *checks;

    tbx_driver_doctor(harness->driver, task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    document = tbx_json_guard_parse_object(text, strlen(text), &error);
    g_assert_no_error(error);
    *ret_healthy = json_object_get_boolean_member(document, "healthy");
    checks = json_object_get_array_member(document, "checks");
    for (guint i = 0; i < json_array_get_length(checks); i++) {
        JsonObject *row = json_array_get_object_element(checks, i);

        if (g_str_equal(json_object_get_string_member(row, "name"), name))
            return json_object_ref(row);
    }
    g_error("the doctor has no row %s: %s", name, text);
}

static void assert_row(Harness *harness, const char *name, const char *status, const char *detail,
                       gboolean has_fix)
{
    gboolean is_healthy;
    g_autoptr(JsonObject) row = run_doctor(harness, name, &is_healthy);

    g_test_message("%s: %s", name, json_object_get_string_member(row, "detail"));
    g_assert_cmpstr(json_object_get_string_member(row, "status"), ==, status);
    g_assert_nonnull(strstr(json_object_get_string_member(row, "detail"), detail));
    g_assert_cmpint(!json_object_get_null_member(row, "fix"), ==, has_fix);
    if (g_str_equal(status, "failed"))
        g_assert_false(is_healthy);
}

static void test_doctor(void)
{
    Harness harness;
    g_autofree char *root = NULL;
    g_autofree char *refused = NULL;
    g_autofree char *crashed = NULL;

    harness_init(&harness);
    root = g_path_get_dirname(harness.folder);
    refused = g_build_filename(root, "probe-refused", NULL);
    crashed = g_build_filename(root, "probe-crashed", NULL);
    g_assert_cmpint(symlink(FAKE_RUNTIME, refused), ==, 0);
    g_assert_cmpint(symlink(FAKE_RUNTIME, crashed), ==, 0);

    assert_row(&harness, "kvm-device", "ok", "/dev/null", FALSE);
    /* /dev/null is no KVM, and the doctor is not fooled by its name. */
    assert_row(&harness, "kvm-version", "failed", "does not answer like KVM", TRUE);
    assert_row(&harness, "kvm-machine", "skipped", "no usable KVM", FALSE);
    assert_row(&harness, "runtime", "ok", "fake-runtime", FALSE);
    assert_row(&harness, "data-folder", "ok", harness.folder, FALSE);
    g_setenv("TENBOX_KVM_DEVICE", "/nonexistent/kvm", TRUE);
    assert_row(&harness, "kvm-device", "failed", "/nonexistent/kvm", TRUE);
    g_setenv("TENBOX_RUNTIME", "/nonexistent/tenbox-runtime", TRUE);
    assert_row(&harness, "runtime", "failed", "/nonexistent/tenbox-runtime", TRUE);

    g_unsetenv("TENBOX_KVM_DEVICE");
    if (g_access("/dev/kvm", R_OK | W_OK) == 0) {
        g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
        assert_row(&harness, "kvm-machine", "ok", "A guest was entered", FALSE);
        g_setenv("TENBOX_RUNTIME", refused, TRUE);
        assert_row(&harness, "kvm-machine", "failed", "KVM in software", TRUE);
        g_setenv("TENBOX_RUNTIME", crashed, TRUE);
        assert_row(&harness, "kvm-machine", "failed", "SIGSYS", TRUE);
    } else {
        g_test_message("no /dev/kvm here: the probe's answers are not tried");
    }
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
    g_setenv("TENBOX_KVM_DEVICE", "/dev/null", TRUE);
    g_assert_cmpuint(count_children(), ==, 0);
    harness_fini(&harness);
}

static gboolean has_child(gpointer unused)
{
    return count_children() == 1;
}

/* A probe that hangs, and a caller or a driver that does not want to wait for its time-out. */
static void test_doctor_given_up(void)
{
    Harness harness;
    g_autofree char *root = NULL;
    g_autofree char *hangs = NULL;

    harness_init(&harness);
    root = g_path_get_dirname(harness.folder);
    hangs = g_build_filename(root, "probe-hangs", NULL);
    g_assert_cmpint(symlink(FAKE_RUNTIME, hangs), ==, 0);
    g_setenv("TENBOX_RUNTIME", hangs, TRUE);
    is_kvm_believed = TRUE;
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_autoptr(GError) error = NULL;
        GTask *task = new_task(cancellable);

        tbx_driver_doctor(harness.driver, task);
        wait_until("the probe", has_child, NULL);
        if (i == 0)
            g_cancellable_cancel(cancellable);
        else
            tbx_driver_close(harness.driver);
        g_assert_null(finish_pointer(task, &error));
        if (i == 0)
            g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        else
            assert_error(&error, "closed", NULL);
        wait_until("the probe to end", has_no_children, NULL);
    }
    is_kvm_believed = FALSE;
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
    harness_close(&harness);
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
    g_test_add_func("/local/start/failures", test_start_failures);
    g_test_add_func("/local/start/resources", test_start_resources);
    g_test_add_func("/local/crashes", test_crashes);
    g_test_add_func("/local/killed-from-outside", test_killed_from_outside);
    g_test_add_func("/local/crash-under-operation", test_crash_under_operation);
    g_test_add_func("/local/connection-lost", test_connection_lost);
    g_test_add_func("/local/use-while-reconnecting", test_use_while_reconnecting);
    g_test_add_func("/local/console/two-readers", test_two_readers);
    g_test_add_func("/local/console/slow-reader", test_slow_reader);
    g_test_add_func("/local/console/credit", test_input_credit);
    g_test_add_func("/local/console/no-credit", test_input_without_credit);
    g_test_add_func("/local/console/edges", test_console_edges);
    g_test_add_func("/local/logs", test_logs);
    g_test_add_func("/local/logs-of-chatty", test_log_of_chatty);
    g_test_add_func("/local/statistics", test_statistics);
    g_test_add_func("/local/statistics-without-answer", test_statistics_without_answer);
    g_test_add_func("/local/create/refused", test_create_refused);
    g_test_add_func("/local/create/defaults", test_create_defaults);
    g_test_add_func("/local/create/race", test_create_race);
    g_test_add_func("/local/create/cancelled", test_create_cancelled);
    g_test_add_func("/local/create/withdrawn-late", test_create_withdrawn_late);
    g_test_add_func("/local/create/undone", test_create_undone);
    g_test_add_func("/local/update", test_update);
    g_test_add_func("/local/rename-while-booting", test_rename_while_booting);
    g_test_add_func("/local/not-found", test_not_found);
    g_test_add_func("/local/adoption/states", test_adoption);
    g_test_add_func("/local/adoption/crash", test_adopted_crash);
    g_test_add_func("/local/adoption/death-between", test_death_between_drivers);
    g_test_add_func("/local/adoption/foreign-process", test_foreign_process);
    g_test_add_func("/local/adoption/bad-state-file", test_bad_state_file);
    g_test_add_func("/local/adoption/refused", test_adoption_refused);
    g_test_add_func("/local/close/starting", test_close_while_starting);
    g_test_add_func("/local/close/recording", test_close_while_recording);
    g_test_add_func("/local/close/under-way", test_close_under_way);
    g_test_add_func("/local/locked", test_locked);
    g_test_add_func("/local/bad-data-folders", test_bad_data_folders);
    g_test_add_func("/local/broken", test_broken);
    g_test_add_func("/local/leftovers", test_leftovers);
    g_test_add_func("/local/unknown-keys", test_unknown_keys);
    g_test_add_func("/local/cycles", test_cycles);
    g_test_add_func("/local/three-at-once", test_three_at_once);
    g_test_add_func("/local/system", test_system);
    g_test_add_func("/local/doctor", test_doctor);
    g_test_add_func("/local/doctor-given-up", test_doctor_given_up);
    return g_test_run();
}
