/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. How a process begins and ends: starts that fail, crashes, connections that are lost.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/local/driver-seams.h"
#include "tests/unit/local/harness.h"

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
    console = open_console(&harness, "one", TRUE);
    /* It may come after the news that the guest runs. */
    g_free(read_until(console, "fake: hello\r\n"));
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/start/failures", test_start_failures);
    g_test_add_func("/local/start/resources", test_start_resources);
    g_test_add_func("/local/crashes", test_crashes);
    g_test_add_func("/local/killed-from-outside", test_killed_from_outside);
    g_test_add_func("/local/crash-under-operation", test_crash_under_operation);
    g_test_add_func("/local/connection-lost", test_connection_lost);
    g_test_add_func("/local/use-while-reconnecting", test_use_while_reconnecting);
    return g_test_run();
}
