/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error table, the extended GError, problem documents, and the words of the enumerations.
 */
#include <string.h>

#include "libtenbox/tenbox.h"
#include "libtenbox/wire/wire-error.h"

/* Each row of the table survives the way over HTTP and names a code of the enumeration. */
static void test_table(void)
{
    gsize count;
    const TbxErrorKind *kinds = tbx_error_kinds(&count);

    g_assert_cmpuint(count, >, 25);
    for (gsize i = 0; i < count; i++) {
        const TbxErrorKind *kind = &kinds[i];
        g_assert_true(tbx_error_kind_lookup(kind->slug) == kind); /* also: no slug twice */
        g_assert_cmpuint(kind->http_status, >=, 400);
        g_assert_cmpuint(kind->http_status, <=, 599);
        g_assert_cmpint(kind->exit_status, >=, 1);
        g_assert_cmpint(kind->exit_status, <=, 9);
        g_assert_cmpuint(kind->code, <=, TENBOX_ERROR_IN_USE);

        g_autoptr(GError) error = tbx_error_new(kind->slug, "memory_mb", "number %d", (int)i);
        tbx_error_with_hint(error, "try %s", "less");
        g_autoptr(JsonObject) problem = tbx_error_to_problem(error, "request-7");
        g_assert_cmpstr(json_object_get_string_member(problem, "request_id"), ==, "request-7");
        g_assert_cmpint(json_object_get_int_member(problem, "status"), ==, kind->http_status);
        g_assert_true(g_str_has_suffix(json_object_get_string_member(problem, "type"), kind->slug));
        g_autoptr(GError) back = tbx_error_from_problem(problem, kind->http_status);
        g_assert_error(back, TENBOX_ERROR, (int)kind->code);
        g_assert_cmpstr(back->message, ==, error->message);
        g_assert_cmpstr(tenbox_error_get_code(back), ==, kind->slug);
        g_assert_cmpstr(tenbox_error_get_field(back), ==, "memory_mb");
        g_assert_cmpstr(tenbox_error_get_hint(back), ==, "try less");
        g_assert_cmpint(tenbox_error_get_exit_status(back), ==, kind->exit_status);
    }
    /* Every code stands in the table: none is without a slug. */
    for (int code = TENBOX_ERROR_FAILED; code <= TENBOX_ERROR_IN_USE; code++) {
        g_autoptr(GError) error = g_error_new_literal(TENBOX_ERROR, code, "bare");
        g_assert_cmpint(tbx_error_kind_of(error)->code, ==, code);
        g_assert_nonnull(tenbox_error_get_code(error));
    }
}

static void test_copies(void)
{
    g_autoptr(GError) error = tbx_error_new("vm-exists", "name", "the name is taken");
    g_autoptr(GError) copy = g_error_copy(error);

    g_clear_error(&error);
    g_assert_cmpstr(tenbox_error_get_code(copy), ==, "vm-exists");
    g_assert_cmpstr(tenbox_error_get_field(copy), ==, "name");
    g_assert_null(tenbox_error_get_hint(copy));
    copy = tbx_error_wrap(g_steal_pointer(&copy), "internal", "creating %s", "foo");
    g_assert_cmpstr(tenbox_error_get_code(copy), ==, "vm-exists");
    g_assert_cmpstr(copy->message, ==, "creating foo: the name is taken");
}

static void test_foreign(void)
{
    g_autoptr(GError) io = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_NO_SPACE, "disk full");
    g_autoptr(GError) cancelled = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_CANCELLED, "stop");

    g_assert_cmpstr(tenbox_error_get_code(io), ==, "no-space");
    g_assert_null(tenbox_error_get_field(io));
    g_assert_cmpint(tenbox_error_get_exit_status(cancelled), ==, 9);
    g_assert_cmpint(tenbox_error_get_exit_status(NULL), ==, 0);

    io = tbx_error_wrap(g_steal_pointer(&io), NULL, NULL);
    g_assert_error(io, TENBOX_ERROR, TENBOX_ERROR_NO_SPACE);
    cancelled = tbx_error_wrap(g_steal_pointer(&cancelled), "internal", "x");
    g_assert_error(cancelled, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/* A daemon of the future, or something that is no daemon at all. */
static void test_unknown_problem(void)
{
    g_autoptr(JsonObject) problem = json_object_new();
    json_object_set_string_member(problem, "code", "disk-in-use");
    json_object_set_string_member(problem, "detail", "the disk is in use");
    json_object_set_int_member(problem, "field", 7);

    g_autoptr(GError) newer = tbx_error_from_problem(problem, 409);
    g_assert_error(newer, TENBOX_ERROR, TENBOX_ERROR_WRONG_STATE);
    g_assert_cmpstr(tenbox_error_get_code(newer), ==, "disk-in-use");
    g_assert_null(tenbox_error_get_field(newer));
    g_assert_cmpint(tenbox_error_get_exit_status(newer), ==, 4);

    g_autoptr(GError) bare = tbx_error_from_problem(NULL, 404);
    g_assert_error(bare, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(bare->message, "404"));
}

static void test_enums(void)
{
    for (int value = 1; value <= TENBOX_VM_STATE_CRASHED; value++)
        g_assert_cmpint(tenbox_vm_state_from_string(tenbox_vm_state_to_string(value)), ==, value);
    for (int value = 1; value <= TENBOX_VM_ACTION_DELETE; value++)
        g_assert_cmpint(tenbox_vm_action_from_string(tenbox_vm_action_to_string(value)), ==, value);
    for (int value = 1; value <= TENBOX_OPERATION_STATE_CANCELLED; value++)
        g_assert_cmpint(tenbox_operation_state_from_string(tenbox_operation_state_to_string(value)),
                        ==, value);

    g_assert_cmpint(tenbox_vm_state_from_string(NULL), ==, TENBOX_VM_STATE_UNKNOWN);
    g_assert_cmpint(tenbox_vm_state_from_string("unknown"), ==, TENBOX_VM_STATE_UNKNOWN);
    g_assert_cmpint(tenbox_vm_state_from_string("Running"), ==, TENBOX_VM_STATE_UNKNOWN);
    g_assert_cmpstr(tenbox_vm_state_to_string((TenboxVmState)99), ==, "unknown");
    g_assert_cmpstr(tenbox_vm_state_to_string((TenboxVmState)-1), ==, "unknown");
    g_assert_cmpstr(tenbox_vm_state_to_string(TENBOX_VM_STATE_RUNNING), ==, "running");
}

static void test_version(void)
{
    g_autofree char *header = g_strdup_printf("%d.%d.%d", TENBOX_MAJOR_VERSION,
                                              TENBOX_MINOR_VERSION, TENBOX_MICRO_VERSION);

    g_assert_cmpstr(tenbox_get_version(), ==, header);
    g_assert_true(TENBOX_CHECK_VERSION(0, 1, 0));
    g_assert_false(TENBOX_CHECK_VERSION(0, 2, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/table", test_table);
    g_test_add_func("/error/copies", test_copies);
    g_test_add_func("/error/foreign", test_foreign);
    g_test_add_func("/error/unknown-problem", test_unknown_problem);
    g_test_add_func("/enums/round-trip", test_enums);
    g_test_add_func("/version", test_version);
    return g_test_run();
}
