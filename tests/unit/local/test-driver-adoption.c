/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. One driver after another on the same folder: adoption, locks, closing, and VMs that are broken.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/definition.h"
#include "libtenbox/wire/json-guard.h"
#include "tests/unit/local/harness.h"

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
        g_assert_cmpint(record->state, ==,
                        i == 0 ? TENBOX_VM_STATE_CRASHED : TENBOX_VM_STATE_STOPPED);
        g_assert_cmpint(record->pid, ==, 0);
        g_assert_cmpstr(record->last_exit->reason, ==, i == 0 ? "exited" : "host-rebooted");
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
    wait_no_children();
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
    wait_no_children();
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
        {"{}", "field-invalid", "kernel"},
        {"{\"name\":\"x\"}", "field-invalid", "kernel"},
        {"{\"name\":7,\"kernel\":\"kernel\"}", "field-invalid", "name"},
        {"{\"name\":\"a\\u0007\",\"kernel\":\"kernel\"}", "field-invalid", "name"},
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
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"schema_version\":2}", "unsupported",
         "schema_version"},
        {"{\"schema_version\":9223372036854775807,\"name\":[]}", "unsupported", "schema_version"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"schema_version\":0}", "field-invalid",
         "schema_version"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"schema_version\":\"1\"}", "field-invalid",
         "schema_version"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"labels\":[]}", "field-invalid", "labels"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"labels\":{\"a\":1}}", "field-invalid", "labels"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"labels\":{\"A\":\"\"}}", "field-invalid",
         "labels.A"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"autostart\":1}", "field-invalid", "autostart"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"restart_policy\":\"often\"}", "field-invalid",
         "restart_policy"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"stop_timeout\":0}", "field-invalid",
         "stop_timeout"},
        {"{\"name\":\"x\",\"kernel\":\"kernel\",\"start_order\":1001}", "field-invalid",
         "start_order"},
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
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *after = NULL;

        g_test_message("%s", cases[i].text);
        harness_close(&harness);
        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, cases[i].text, -1, NULL));
        harness_open(&harness);
        record = get_vm(&harness, broken);
        g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
        g_assert_nonnull(record->broken);
        g_assert_cmpstr(record->broken->code, ==, cases[i].slug);
        g_assert_cmpstr(record->broken->field, ==, cases[i].field);
        g_assert_null(begin(&harness, broken, START, FALSE, -1, &error));
        assert_error(&error, "vm-broken", cases[i].field);
        g_assert_null(try_update(&harness, broken, spec, &error));
        assert_error(&error, "vm-broken", cases[i].field);
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

/* ---- many VMs, some of them broken -------------------------------------------------------- */

#define VM_COUNT     200
#define BROKEN_EVERY 10

/* Breaks the VM whose folder is @folder in the way number @kind; returns whether this process can notice. */
static gboolean break_vm(const char *folder, guint kind)
{
    g_autofree char *path = g_build_filename(folder, "vm.json", NULL);
    g_autofree char *aside = g_build_filename(folder, "aside", NULL);
    g_autofree char *content = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(path, &content, &length, NULL));
    switch (kind) {
    case 0: /* truncated */
        g_assert_true(g_file_set_contents(path, content, (gssize)length / 2, NULL));
        break;
    case 1: /* no JSON */
        g_assert_true(g_file_set_contents(path,
                                          "\x7f"
                                          "ELF\0\0",
                                          6, NULL));
        break;
    case 2: /* a wrong type */
        g_assert_true(g_file_set_contents(path, "{\"name\":{},\"kernel\":\"kernel\"}", -1, NULL));
        break;
    case 3: /* unreadable */ g_assert_cmpint(g_chmod(path, 0), ==, 0); return geteuid() != 0;
    case 4: /* a folder */
        g_assert_cmpint(g_unlink(path), ==, 0);
        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        break;
    case 5: /* a pipe that nobody writes to */
        g_assert_cmpint(g_unlink(path), ==, 0);
        g_assert_cmpint(mkfifo(path, 0600), ==, 0);
        break;
    case 6: /* a symbolic link, to what would be fine */
        g_assert_cmpint(g_rename(path, aside), ==, 0);
        g_assert_cmpint(symlink("aside", path), ==, 0);
        break;
    case 7: { /* too large */
        g_autofree char *spaces = g_strnfill(TBX_JSON_SIZE_MAX, ' ');
        g_autofree char *large = g_strconcat(content, spaces, NULL);
        g_assert_true(g_file_set_contents(path, large, -1, NULL));
        break;
    }
    case 8: /* of a newer TenBox */
        g_assert_true(g_file_set_contents(
            path, "{\"schema_version\":2,\"name\":\"new\",\"kernel\":\"kernel\"}", -1, NULL));
        break;
    case 9: /* gone */ g_assert_cmpint(g_unlink(path), ==, 0); break;
    default: g_assert_not_reached();
    }
    return TRUE;
}

/* What vm.json is, as far as it must not change: size, kind, time of change. */
static char *describe_file(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "vm.json", NULL);
    struct stat status;

    if (lstat(path, &status) < 0)
        return g_strdup("none");
    return g_strdup_printf("%lu %o %ld %ld.%09ld", (gulong)status.st_ino, (guint)status.st_mode,
                           (long)status.st_size, (long)status.st_mtim.tv_sec,
                           status.st_mtim.tv_nsec);
}

static void test_many_broken(void)
{
    Harness harness;
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) before = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) list = NULL;
    gboolean is_broken[VM_COUNT] = {FALSE};
    guint expected = 0, found = 0;
    GTask *task;

    harness_init(&harness);
    for (guint i = 0; i < VM_COUNT; i++) {
        g_autofree char *name = g_strdup_printf("vm-%03u", i);

        g_ptr_array_add(ids, create_vm(&harness, name, NULL));
    }
    harness_close(&harness);
    for (guint i = 0; i < VM_COUNT; i += BROKEN_EVERY) {
        g_autofree char *folder = vm_path(&harness, ids->pdata[i], NULL);

        is_broken[i] = break_vm(folder, i / BROKEN_EVERY % 10);
        expected += is_broken[i] ? 1 : 0;
        g_ptr_array_add(before, describe_file(folder));
    }
    harness_open(&harness);
    task = new_task(NULL);
    tbx_driver_vm_list(harness.driver, task);
    list = finish_pointer(task, NULL);
    g_assert_cmpuint(list->len, ==, VM_COUNT);
    for (guint i = 0; i < list->len; i++) {
        const TbxVmRecord *record = list->pdata[i];

        if (record->broken == NULL)
            continue;
        found++;
        g_assert_cmpint(record->state, ==, TENBOX_VM_STATE_STOPPED);
        g_assert_cmpstr(record->broken->detail, !=, "");
    }
    g_assert_cmpuint(found, ==, expected);
    for (guint i = 0; i < VM_COUNT; i++) {
        g_autoptr(TbxVmRecord) record = get_vm(&harness, ids->pdata[i]);
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
        g_autoptr(TbxVmRecord) changed = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_true((record->broken != NULL) == is_broken[i]);
        spec->present = TBX_VM_SPEC_NOTES;
        spec->notes = g_strdup("x");
        if (!is_broken[i]) {
            /* The sound ones are as useful as ever. */
            if (i % 37 == 1) {
                changed = try_update(&harness, ids->pdata[i], spec, &error);
                g_assert_no_error(error);
            }
            continue;
        }
        for (TenboxVmAction action = START; action < DELETE; action++) {
            g_assert_null(begin(&harness, ids->pdata[i], action, FALSE, -1, &error));
            g_assert_cmpstr(tenbox_error_get_code(error), ==, "vm-broken");
            g_clear_error(&error);
        }
        g_assert_null(try_update(&harness, ids->pdata[i], spec, &error));
        g_assert_cmpstr(tenbox_error_get_code(error), ==, "vm-broken");
    }
    harness_close(&harness);
    for (guint i = 0; i < VM_COUNT; i += BROKEN_EVERY) {
        g_autofree char *folder = vm_path(&harness, ids->pdata[i], NULL);
        g_autofree char *after = describe_file(folder);

        if (is_broken[i])
            g_assert_cmpstr(after, ==, before->pdata[i / BROKEN_EVERY]);
    }
    harness_open(&harness);
    for (guint i = 0; i < VM_COUNT; i += BROKEN_EVERY) {
        if (is_broken[i])
            run_ok(&harness, ids->pdata[i], DELETE, FALSE);
    }
    g_clear_pointer(&list, g_ptr_array_unref);
    task = new_task(NULL);
    tbx_driver_vm_list(harness.driver, task);
    list = finish_pointer(task, NULL);
    g_assert_cmpuint(list->len, ==, VM_COUNT - expected);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
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
    g_test_add_func("/local/many-broken", test_many_broken);
    g_test_add_func("/local/leftovers", test_leftovers);
    g_test_add_func("/local/unknown-keys", test_unknown_keys);
    return g_test_run();
}
