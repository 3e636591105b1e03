/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. What a user writes: VMs created, refused, withdrawn and changed, and what is on the disk afterwards.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libtenbox/local/definition.h"
#include "libtenbox/local/host.h"
#include "libtenbox/wire/json-guard.h"
#include "tests/unit/local/harness.h"

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

/* A change as a client would send it. */
static TbxVmSpec *spec_parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = tbx_json_guard_parse_object(text, strlen(text), &error);
    TbxVmSpec *spec;

    g_assert_no_error(error);
    spec = tbx_vm_spec_from_json(object, &error);
    g_assert_no_error(error);
    return spec;
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
    run_ok(&harness, "uno", START, FALSE);
    {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

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

/* Labels, notes and what the daemon does by itself: set, changed, set back, and found by the next driver.
 * All of it may change while the VM runs. */
static void test_members(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(GError) error = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    {
        g_autoptr(TbxVmRecord) record = get_vm(&harness, "one");

        g_assert_cmpuint(g_hash_table_size(record->labels), ==, 0);
        g_assert_cmpstr(record->notes, ==, "");
        g_assert_false(record->autostart);
        g_assert_cmpint(record->start_order, ==, 100);
        g_assert_cmpint(record->restart_policy, ==, TENBOX_RESTART_POLICY_NO);
        g_assert_cmpint(record->stop_timeout, ==, 30);
        g_assert_null(record->broken);
    }
    run_ok(&harness, "one", START, FALSE);
    for (int i = 0; i < 3; i++) {
        static const char *const patches[] = {
            "{\"labels\":{\"a\":\"1\",\"b\":\"2\"},\"notes\":\"x\\ny\",\"autostart\":true,"
            "\"autostart_delay\":9,\"start_order\":7,\"restart_policy\":\"always\","
            "\"stop_timeout\":77}",
            "{\"labels\":{\"a\":null,\"c\":\"3\"},\"autostart\":null,\"stop_timeout\":null}",
            "{\"labels\":null,\"notes\":null,\"start_order\":null,\"restart_policy\":null}",
        };
        g_autoptr(TbxVmSpec) spec = spec_parse(patches[i]);
        g_autoptr(TbxVmRecord) record = try_update(&harness, "one", spec, &error);
        GHashTable *labels;

        g_assert_no_error(error);
        if (i == 1) {
            g_clear_pointer(&record, tbx_vm_record_unref);
            harness_close(&harness);
            harness_open(&harness);
            record = get_vm(&harness, "one");
        }
        labels = record->labels;
        g_assert_cmpuint(g_hash_table_size(labels), ==, i == 2 ? 0 : 2);
        if (i < 2)
            g_assert_cmpstr(g_hash_table_lookup(labels, "b"), ==, "2");
        g_assert_cmpstr(g_hash_table_lookup(labels, i == 0 ? "a" : "c"), ==,
                        i == 0   ? "1"
                        : i == 1 ? "3"
                                 : NULL);
        g_assert_cmpstr(record->notes, ==, i == 2 ? "" : "x\ny");
        g_assert_true(record->autostart == (i == 0));
        g_assert_cmpint(record->autostart_delay, ==, 9);
        g_assert_cmpint(record->start_order, ==, i == 2 ? 100 : 7);
        g_assert_cmpint(record->restart_policy, ==,
                        i == 2 ? TENBOX_RESTART_POLICY_NO : TENBOX_RESTART_POLICY_ALWAYS);
        g_assert_cmpint(record->stop_timeout, ==, i == 0 ? 77 : 30);
    }
    /* Too many together, though each change by itself is fine. */
    for (int i = 0; i < 2; i++) {
        g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
        g_autoptr(TbxVmRecord) record = NULL;

        spec->present = TBX_VM_SPEC_LABELS;
        spec->labels = tbx_map_new();
        for (int j = 0; j < 40; j++)
            g_hash_table_insert(spec->labels, g_strdup_printf("k%d-%d", i, j), g_strdup(""));
        record = try_update(&harness, "one", spec, &error);
        if (i == 0)
            g_assert_no_error(error);
        else
            assert_error(&error, "field-invalid", "labels");
    }
    path = vm_path(&harness, id, "vm.json");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_nonnull(strstr(content, "\"schema_version\":1"));
    run_ok(&harness, "one", STOP, TRUE);
    harness_fini(&harness);
}

static char *get_pending(Harness *harness, const char *name)
{
    g_autoptr(TbxVmRecord) record = get_vm(harness, name);

    return record->pending != NULL ? g_strjoinv(" ", record->pending) : g_strdup("");
}

static void assert_pending(Harness *harness, const char *expected)
{
    g_autofree char *pending = get_pending(harness, "one");

    g_assert_cmpstr(pending, ==, expected);
}

static void update_ok(Harness *harness, const char *name, const char *patch)
{
    g_autoptr(TbxVmSpec) spec = spec_parse(patch);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmRecord) record = try_update(harness, name, spec, &error);

    g_assert_no_error(error);
}

/* What a running VM was made of waits for its next process: not for a reset, and over daemons. */
static void test_pending(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *patch = NULL;
    g_autofree char *same = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(TbxOperationRecord) reset = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "quiet");
    patch =
        g_strdup_printf("{\"memory_mb\":32,\"cpu_count\":3,\"cmdline\":\"loud\",\"kernel\":\"%s\","
                        "\"initrd\":\"%s\"}",
                        harness.initrd, harness.kernel);
    same = g_strdup_printf("{\"kernel\":\"%s\"}", harness.kernel);
    assert_pending(&harness, "");
    update_ok(&harness, "one", "{\"memory_mb\":64,\"cpu_count\":1}");
    assert_pending(&harness, "");
    run_ok(&harness, "one", START, FALSE);
    assert_pending(&harness, "");
    update_ok(&harness, "one", "{\"memory_mb\":32}");
    assert_pending(&harness, "memory_mb");
    update_ok(&harness, "one", "{\"name\":\"two\",\"notes\":\"x\"}");
    update_ok(&harness, "two", "{\"name\":\"one\"}");
    assert_pending(&harness, "memory_mb");
    /* Taken back, it waits no more. */
    update_ok(&harness, "one", "{\"memory_mb\":64}");
    assert_pending(&harness, "");
    update_ok(&harness, "one", patch);
    assert_pending(&harness, "memory_mb cpu_count cmdline kernel initrd");
    /* The next daemon knows it, too. */
    harness_close(&harness);
    harness_open(&harness);
    g_assert_cmpint(get_state(&harness, "one"), ==, TENBOX_VM_STATE_RUNNING);
    assert_pending(&harness, "memory_mb cpu_count cmdline kernel initrd");
    /* The same process with the same machine. */
    run_ok(&harness, "one", RESET, FALSE);
    assert_pending(&harness, "memory_mb cpu_count cmdline kernel initrd");
    update_ok(&harness, "one", "{\"initrd\":null,\"cmdline\":\"quiet\"}");
    assert_pending(&harness, "memory_mb cpu_count kernel initrd");
    run_ok(&harness, "one", STOP, TRUE);
    assert_pending(&harness, "");
    path = vm_path(&harness, id, "kernel");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "an initrd");
    run_ok(&harness, "one", START, FALSE);
    assert_pending(&harness, "");
    update_ok(&harness, "one", same);
    assert_pending(&harness, "kernel");
    run_ok(&harness, "one", STOP, TRUE);
    harness_fini(&harness);
}

/* A guest that ends while its VM is being changed: the change goes on. */
static void test_exit_while_updating(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmSpec) spec = spec_parse("{\"memory_mb\":32}");
    g_autoptr(TbxVmRecord) changed = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GError) error = NULL;
    ThreadHold hold;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    g_free(read_until(console, "fake: hello\r\n"));
    hold_threads(&hold);
    task = new_task(NULL);
    tbx_driver_vm_update(harness.driver, "one", spec, task);
    write_console(console, "@poweroff\n");
    wait_state(&harness, "one", TENBOX_VM_STATE_STOPPED);
    release_threads(&hold);
    changed = finish_pointer(task, &error);
    g_assert_no_error(error);
    g_assert_cmpint(changed->memory_mb, ==, 32);
    g_assert_null(changed->pending);
    g_assert_null(changed->operation);
    g_clear_pointer(&console, tbx_console_stream_unref);
    harness_fini(&harness);
}

/* A file of the original TenBox: what is not ours stays in it, word by word. */
static void test_foreign_members(void)
{
    static const char *const file =
        "{\"name\":\"old\",\"kernel\":\"kernel\",\"initrd\":\"\",\"disk\":\"disk.qcow2\","
        "\"cmdline\":\"\",\"memory_mb\":256,\"cpu_count\":1,\"nat_enabled\":true,"
        "\"port_forwards\":[{\"host_port\":8080,\"guest_port\":80}],\"debug_mode\":false,"
        "\"shared_folders\":[{\"tag\":\"t\",\"host_path\":\"/x\",\"readonly\":true}],"
        "\"creation_time\":1700000000,\"last_boot_time\":0,\"future\":{\"a\":[1,2.5,null]}}";
    static const char *const kept[] = {
        "\"disk\":\"disk.qcow2\"",
        "\"nat_enabled\":true",
        "\"port_forwards\":[{\"host_port\":8080,\"guest_port\":80}]",
        "\"debug_mode\":false",
        "\"shared_folders\":[{\"tag\":\"t\",\"host_path\":\"/x\",\"readonly\":true}]",
        "\"creation_time\":1700000000",
        "\"future\":{\"a\":[1,2.5,null]}",
        "\"schema_version\":1",
        "\"notes\":\"mine now\"",
    };
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *path = NULL;
    g_autofree char *content = NULL;
    g_autoptr(TbxVmSpec) spec = spec_parse("{\"notes\":\"mine now\"}");
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(TbxVmRecord) changed = NULL;
    g_autoptr(GError) error = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    harness_close(&harness);
    path = vm_path(&harness, id, "vm.json");
    g_assert_true(g_file_set_contents(path, file, -1, NULL));
    harness_open(&harness);
    record = get_vm(&harness, "old");
    g_assert_null(record->broken);
    g_assert_cmpint(record->memory_mb, ==, 256);
    g_assert_cmpint(record->created_at, ==, G_GINT64_CONSTANT(1700000000000000));
    g_assert_null(record->initrd);
    changed = try_update(&harness, "old", spec, &error);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(kept); i++) {
        g_test_message("%s", kept[i]);
        g_assert_nonnull(strstr(content, kept[i]));
    }
    harness_fini(&harness);
}

/* Names that only the original allows, and none at all: such a VM is used under a name of ours, and keeps its own in
 * the file until it gets another. */
static void test_foreign_names(void)
{
    static const char *const names[] = {"", "\"name\":\"3 little pigs. v2\",", "\"name\":\"\","};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        Harness harness;
        g_autofree char *id = NULL;
        g_autofree char *path = NULL;
        g_autofree char *name = NULL;
        g_autofree char *content = NULL;
        g_autofree char *renamed = NULL;
        g_autofree char *file = g_strdup_printf("{%s\"kernel\":\"kernel\"}", names[i]);
        g_autoptr(TbxVmRecord) record = NULL;

        harness_init(&harness);
        id = create_vm(&harness, "one", NULL);
        harness_close(&harness);
        path = vm_path(&harness, id, "vm.json");
        g_assert_true(g_file_set_contents(path, file, -1, NULL));
        harness_open(&harness);
        name = g_strdup_printf("vm-%.8s", id);
        record = get_vm(&harness, name);
        g_assert_null(record->broken);
        update_ok(&harness, name, "{\"notes\":\"mine now\"}");
        g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
        g_assert_nonnull(strstr(content, "mine now"));
        g_assert_null(strstr(content, name));
        g_assert_true(*names[i] == '\0' || strstr(content, names[i]) != NULL);
        update_ok(&harness, name, "{\"name\":\"two\"}");
        g_assert_true(g_file_get_contents(path, &renamed, NULL, NULL));
        g_assert_nonnull(strstr(renamed, "\"name\":\"two\""));
        harness_fini(&harness);
    }
}

/* null sets memory and CPUs back to what a new VM gets, not to nothing. */
static void test_update_reset(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxVmSpec) spec =
        spec_parse("{\"memory_mb\":null,\"cpu_count\":null,\"cmdline\":null,\"initrd\":null}");
    g_autoptr(TbxVmRecord) record = NULL;
    g_autoptr(GError) error = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", "quiet");
    record = try_update(&harness, "one", spec, &error);
    g_assert_no_error(error);
    g_assert_cmpint(record->memory_mb, >=, TBX_VM_MEMORY_MB_MIN);
    g_assert_cmpint(record->cpu_count, ==, MIN(4, g_get_num_processors()));
    g_assert_cmpstr(record->cmdline, ==, "");
    g_assert_null(record->initrd);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/create/refused", test_create_refused);
    g_test_add_func("/local/create/defaults", test_create_defaults);
    g_test_add_func("/local/create/race", test_create_race);
    g_test_add_func("/local/create/cancelled", test_create_cancelled);
    g_test_add_func("/local/create/withdrawn-late", test_create_withdrawn_late);
    g_test_add_func("/local/create/undone", test_create_undone);
    g_test_add_func("/local/update", test_update);
    g_test_add_func("/local/update-reset", test_update_reset);
    g_test_add_func("/local/members", test_members);
    g_test_add_func("/local/pending", test_pending);
    g_test_add_func("/local/exit-while-updating", test_exit_while_updating);
    g_test_add_func("/local/foreign-members", test_foreign_members);
    g_test_add_func("/local/foreign-names", test_foreign_names);
    g_test_add_func("/local/rename-while-booting", test_rename_while_booting);
    g_test_add_func("/local/not-found", test_not_found);
    return g_test_run();
}
