/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. The host beside the VMs: nothing leaks, the system document, the doctor.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "libtenbox/wire/json-guard.h"
#include "tests/unit/local/driver-seams.h"
#include "tests/unit/local/harness.h"

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
        wait_no_children();
    }
    is_kvm_believed = FALSE;
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
    harness_close(&harness);
    harness_fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/cycles", test_cycles);
    g_test_add_func("/local/three-at-once", test_three_at_once);
    g_test_add_func("/local/system", test_system);
    g_test_add_func("/local/doctor", test_doctor);
    g_test_add_func("/local/doctor-given-up", test_doctor_given_up);
    return g_test_run();
}
