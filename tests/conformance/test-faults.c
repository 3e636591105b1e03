/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors on their way: whatever code a driver fails with, at whatever call, is what the caller gets, with its
 * field, in process and through a daemon. test:// fails as it is told.
 */
#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tests/conformance/harness.h"

static gboolean skips(void)
{
    if (!is_played())
        g_test_skip("needs a driver that can be told to fail");
    return !is_played();
}

/* Calls of each kind: one that reads, one that makes, one that acts, one that changes, one that asks for text. */
static gboolean fail_get(Fixture *fixture, TenboxVm *vm, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_refresh_async(vm, NULL, await_done, &await);
    return tenbox_vm_refresh_finish(vm, await_result(&await), error);
}

static gboolean fail_create(Fixture *fixture, TenboxVm *vm, GError **error)
{
    g_autoptr(TenboxVm) made = create_full(fixture, "made", fixture->kernel, NULL, 64, error);

    return made != NULL;
}

static gboolean fail_refused_start(Fixture *fixture, TenboxVm *vm, GError **error)
{
    return ACT(vm, start, error);
}

static gboolean fail_log(Fixture *fixture, TenboxVm *vm, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_read_log_async(vm, "console", 0, NULL, await_done, &await);
    g_autofree char *text = tenbox_vm_read_log_finish(vm, await_result(&await), error);
    return text != NULL;
}

static gboolean fail_operations(Fixture *fixture, TenboxVm *vm, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_list_operations_async(fixture->connection, NULL, await_done, &await);
    g_autoptr(GPtrArray) list =
        tenbox_connection_list_operations_finish(fixture->connection, await_result(&await), error);
    return list != NULL;
}

static const struct {
    const char *word;
    gboolean (*call)(Fixture *fixture, TenboxVm *vm, GError **error);
} calls[] = {
    {"vm-get", fail_get},          {"vm-create", fail_create}, {"vm-start", fail_refused_start},
    {"start", fail_refused_start}, {"vm-log", fail_log},       {"operation-list", fail_operations},
};

/* All codes; the one last after which a handle believes that its VM is gone. */
static GPtrArray *list_codes(void)
{
    GPtrArray *codes = g_ptr_array_new();
    gsize count;
    const TbxErrorKind *kinds = tbx_error_kinds(&count);

    for (gsize i = 0; i < count; i++) {
        /* libsoup asks once more by itself when it reads 421, which uses up the next fault. */
        if (!g_str_equal(kinds[i].slug, "vm-not-found") && kinds[i].http_status != 421)
            g_ptr_array_add(codes, (gpointer)&kinds[i]);
    }
    g_ptr_array_add(codes, (gpointer)tbx_error_kind_lookup("vm-not-found"));
    return codes;
}

/* Every code of the table, at each of the calls. */
static void test_every_code(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) codes = list_codes();

    if (skips())
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_autoptr(GString) query = g_string_new(NULL);
        g_autoptr(GError) error = NULL;

        /* Each once, in this order. */
        for (guint each = 0; each < codes->len; each++) {
            const TbxErrorKind *kind = g_ptr_array_index(codes, each);

            g_string_append_printf(query, "%sfault=%s:%s:memory_mb:1", each > 0 ? "&" : "",
                                   calls[i].word, kind->slug);
        }
        reconnect_with_query(fixture, query->str);
        g_autoptr(TenboxVm) vm =
            g_str_equal(calls[i].word, "vm-create") ? NULL : create(fixture, "subject", NULL);
        for (guint each = 0; each < codes->len; each++) {
            const TbxErrorKind *kind = g_ptr_array_index(codes, each);

            g_test_message("%s: %s", calls[i].word, kind->slug);
            g_assert_false(calls[i].call(fixture, vm, &error));
            assert_error(&error, (int)kind->code, kind->slug, "memory_mb");
        }
    }
    reconnect_with_query(fixture, NULL);
}

/* A fault of one VM concerns that one; used up, it is over. */
static void test_one_vm(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    if (skips())
        return;
    reconnect_with_query(fixture, "fault=start:kvm-unavailable:kvm:1");
    g_autoptr(TenboxVm) good = create(fixture, "good", NULL);
    g_autoptr(TenboxVm) bad = create(fixture, "bad", "fault=pause:runtime-failed");

    g_assert_false(ACT(good, start, &error));
    assert_error(&error, TENBOX_ERROR_NO_KVM, "kvm-unavailable", "kvm");
    assert_state(good, "stopped");
    g_assert_true(document_has(good, "\"code\":\"kvm-unavailable\""));
    assert_act(ACT(good, start, &error), error);
    g_assert_false(document_has(good, "kvm-unavailable"));
    assert_act(ACT(bad, start, &error), error);
    assert_act(ACT(good, pause, &error), error);
    g_assert_false(ACT(bad, pause, &error));
    assert_error(&error, TENBOX_ERROR_FAILED, "runtime-failed", NULL);
    assert_state(bad, "running");
    g_assert_null(create_full(fixture, "worse", fixture->kernel, "fault=nonsense", 64, &error));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid", "cmdline");
    g_assert_null(create_full(fixture, "worse", fixture->kernel, "fault=start:runtime-failed::1",
                              64, &error));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "field-invalid", "cmdline");
    reconnect_with_query(fixture, NULL);
}

/* Time passes where the URI says so, and not before: a start is seen under way. */
static void test_boot_time(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) start = {0};

    if (skips())
        return;
    reconnect_with_query(fixture, "boot-ms=600000");
    watch(fixture);
    g_autoptr(TenboxVm) vm = create(fixture, "slow", NULL);
    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &start);
    wait_state(vm, TENBOX_VM_STATE_STARTING);
    g_assert_true(document_has(vm, "\"kind\":\"start\""));
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&start), &error));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled", NULL);
    reconnect_with_query(fixture, NULL);
}

static void test_given_vms(Fixture *fixture, gconstpointer data)
{
    static const char *const given[][2] = {
        {"alpha", "running"}, {"beta", "stopped"}, {"delta", "crashed"}, {"gamma", "paused"}};
    g_autoptr(GError) error = NULL;

    if (skips() || is_remote())
        return;
    g_autoptr(TenboxConnection) connection = open_connection("test:///default?vms=3", &error);
    g_assert_no_error(error);
    g_auto(Await) await = {0};
    tenbox_connection_list_vms_async(connection, NULL, await_done, &await);
    g_autoptr(GPtrArray) vms =
        tenbox_connection_list_vms_finish(connection, await_result(&await), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms->len, ==, 7);
    for (guint i = 0; i < G_N_ELEMENTS(given); i++) {
        g_assert_cmpstr(tenbox_vm_get_name(g_ptr_array_index(vms, i)), ==, given[i][0]);
        assert_state(g_ptr_array_index(vms, i), given[i][1]);
    }
    g_assert_cmpstr(tenbox_vm_get_name(g_ptr_array_index(vms, 6)), ==, "vm-00003");
}

void add_fault_cases(void)
{
    add_case("/fault/every-code", test_every_code);
    add_case("/fault/one-vm", test_one_vm);
    add_case("/fault/boot-time", test_boot_time);
    add_case("/fault/given-vms", test_given_vms);
}
