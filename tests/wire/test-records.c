/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documents as they are on the wire, byte by byte: what we write must not change by accident, and
 * what we wrote once must be read for ever.
 *
 * Each document is made from a record in C and compared with its file in golden/; then the file is read
 * and must give the same record, and that the same bytes again. TENBOX_TEST_REGENERATE=1 writes the files
 * instead; look at the difference before you commit it.
 */
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/stream.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-event.h"
#include "libtenbox/wire/wire-operation.h"
#include "libtenbox/wire/wire-vm.h"

#define NOON G_GINT64_CONSTANT(1769860800123000) /* 2026-01-31T12:00:00.123Z */

static char *golden_path(const char *name)
{
    return g_build_filename(TEST_GOLDEN_FOLDER, name, NULL);
}

/* @object: (transfer full) */
static void check_golden(const char *name, JsonObject *object)
{
    g_autoptr(JsonObject) owned = object;
    g_autofree char *path = golden_path(name);
    g_autofree char *compact = tbx_json_print_object(object, NULL);
    g_autofree char *text = g_strconcat(compact, "\n", NULL);
    g_autoptr(GError) error = NULL;

    if (g_strcmp0(g_getenv("TENBOX_TEST_REGENERATE"), "1") == 0) {
        g_assert_true(g_file_set_contents(path, text, -1, &error));
        return;
    }
    g_autofree char *golden = NULL;
    g_assert_true(g_file_get_contents(path, &golden, NULL, &error));
    g_assert_cmpstr(text, ==, golden);
}

static JsonObject *read_golden(const char *name)
{
    g_autofree char *path = golden_path(name);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(path, &text, &length, &error));
    JsonObject *object = tbx_json_guard_parse_object(text, length, &error);
    g_assert_no_error(error);
    return object;
}

static TbxVmRecord *new_stopped(void)
{
    TbxVmRecord *vm = tbx_vm_record_new();

    vm->id = g_strdup("11111111-2222-4333-8444-555555555555");
    vm->name = g_strdup("web-1");
    vm->state = TENBOX_VM_STATE_STOPPED;
    vm->memory_mb = 4096;
    vm->cpu_count = 4;
    vm->cmdline = g_strdup("");
    vm->kernel = g_strdup("kernel");
    vm->description = g_strdup("");
    vm->notes = g_strdup("");
    vm->start_order = 100;
    vm->restart_policy = TENBOX_RESTART_POLICY_NO;
    vm->stop_timeout = 30;
    vm->created_at = NOON;
    vm->generation = 1;
    return vm;
}

static TbxVmRecord *new_full(void)
{
    TbxVmRecord *vm = new_stopped();

    vm->state = TENBOX_VM_STATE_STOPPING;
    g_free(vm->cmdline);
    vm->cmdline = g_strdup("console=ttyS0 quiet \"a b\"");
    vm->initrd = g_strdup("initrd");
    g_free(vm->description);
    vm->description = g_strdup("for caf\xc3\xa9\n\ttests");
    vm->labels = tbx_map_new();
    g_hash_table_insert(vm->labels, g_strdup("team/web"), g_strdup("caf\xc3\xa9"));
    g_hash_table_insert(vm->labels, g_strdup("env"), g_strdup(""));
    g_free(vm->notes);
    vm->notes = g_strdup("first\nsecond");
    vm->autostart = TRUE;
    vm->autostart_delay = 5;
    vm->start_order = 0;
    vm->restart_policy = TENBOX_RESTART_POLICY_ON_FAILURE;
    vm->stop_timeout = 90;
    vm->pending = g_strsplit("memory_mb,kernel", ",", 0);
    vm->broken = g_new0(TbxVmProblem, 1);
    vm->broken->code = g_strdup("json-invalid");
    vm->broken->detail = g_strdup("vm.json: it ends too early");
    vm->last_boot_time = NOON + 1000000;
    vm->started_at = NOON + 2000000;
    vm->shutdown_requested_at = NOON + 3000000;
    vm->pid = 4711;
    vm->generation = G_GINT64_CONSTANT(9007199254740993);
    vm->etag = g_strdup("0f1e2d3c");
    vm->operation = g_new0(TbxVmOperation, 1);
    vm->operation->id = g_strdup("99999999-2222-4333-8444-555555555555");
    vm->operation->kind = g_strdup("stop");
    vm->last_exit = g_new0(TbxVmExit, 1);
    vm->last_exit->reason = g_strdup("killed");
    vm->last_exit->detail = g_strdup("ended by a signal");
    vm->last_exit->signal = g_strdup("SIGKILL");
    vm->last_exit->exit_code = -1;
    vm->last_exit->time = NOON;
    vm->last_error = g_new0(TbxVmProblem, 1);
    vm->last_error->code = g_strdup("kernel-invalid");
    vm->last_error->field = g_strdup("kernel");
    vm->last_error->detail = g_strdup("it is empty");
    return vm;
}

static void check_vm(const char *name, TbxVmRecord *vm)
{
    g_autoptr(GError) error = NULL;

    check_golden(name, tbx_vm_record_to_json(vm));
    g_autoptr(JsonObject) object = read_golden(name);
    g_autoptr(TbxVmRecord) read = tbx_vm_record_from_json(object, &error);
    g_assert_no_error(error);
    g_assert_true(tbx_vm_record_equal(vm, read));
    g_assert_cmpint(vm->generation, ==, read->generation);
    /* The copy has nothing but the members: the table says all of them. */
    g_autoptr(TbxVmRecord) copy = tbx_vm_record_copy(read);
    check_golden(name, tbx_vm_record_to_json(copy));
}

static void test_vm(void)
{
    g_autoptr(TbxVmRecord) stopped = new_stopped();
    g_autoptr(TbxVmRecord) full = new_full();
    g_autoptr(TbxVmRecord) exited = new_stopped();

    check_vm("vm-stopped.json", stopped);
    check_vm("vm-full.json", full);
    exited->last_exit = g_new0(TbxVmExit, 1);
    exited->last_exit->reason = g_strdup("exited");
    exited->last_exit->exit_code = 0;
    exited->last_exit->time = NOON;
    check_vm("vm-exited.json", exited);
    g_assert_false(tbx_vm_record_equal(stopped, full));
    g_assert_false(tbx_vm_record_equal(stopped, exited));
}

/* Each member counts when two documents are compared, generation apart. */
static void test_vm_equal(void)
{
    g_autoptr(TbxVmRecord) vm = new_full();

#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        g_autoptr(TbxVmRecord) other = tbx_vm_record_copy(vm);                                     \
        g_assert_true(tbx_vm_record_equal(vm, other));                                             \
        change;                                                                                    \
        g_assert_false(tbx_vm_record_equal(vm, other));                                            \
    } while (0)

    DIFFERS(other->name[0] = 'x');
    DIFFERS(other->state = TENBOX_VM_STATE_RUNNING);
    DIFFERS(other->pid++);
    DIFFERS(other->shutdown_requested_at = 0);
    DIFFERS(g_clear_pointer(&other->initrd, g_free));
    DIFFERS(other->operation->kind[0] = 'x');
    DIFFERS(g_hash_table_remove(other->labels, "env"));
    DIFFERS(g_hash_table_replace(other->labels, g_strdup("env"), g_strdup("x")));
    DIFFERS(g_clear_pointer(&other->labels, g_hash_table_unref));
    DIFFERS(other->notes[0] = 'x');
    DIFFERS(other->autostart = FALSE);
    DIFFERS(other->restart_policy = TENBOX_RESTART_POLICY_ALWAYS);
    DIFFERS(other->pending[1][0] = 'x');
    DIFFERS(g_clear_pointer(&other->pending, g_strfreev));
    DIFFERS(g_clear_pointer(&other->broken->code, g_free));
    DIFFERS(other->last_exit->exit_code = 0);
    DIFFERS(other->last_error->field[0] = 'x');
    g_autoptr(TbxVmRecord) later = tbx_vm_record_copy(vm);
    later->generation++;
    g_assert_true(tbx_vm_record_equal(vm, later));
}

static void test_spec(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_INITRD |
                    TBX_VM_SPEC_MEMORY_MB | TBX_VM_SPEC_CPU_COUNT | TBX_VM_SPEC_CMDLINE |
                    TBX_VM_SPEC_DESCRIPTION | TBX_VM_SPEC_LABELS | TBX_VM_SPEC_NOTES |
                    TBX_VM_SPEC_AUTOSTART | TBX_VM_SPEC_AUTOSTART_DELAY | TBX_VM_SPEC_START_ORDER |
                    TBX_VM_SPEC_RESTART_POLICY | TBX_VM_SPEC_STOP_TIMEOUT;
    spec->name = g_strdup("web-1");
    spec->kernel = g_strdup("/boot/vmlinuz");
    spec->initrd = g_strdup("/boot/initrd");
    spec->memory_mb = 512;
    spec->cpu_count = 2;
    spec->cmdline = g_strdup("quiet");
    spec->description = g_strdup("d");
    spec->labels = tbx_map_new();
    g_hash_table_insert(spec->labels, g_strdup("env"), g_strdup("test"));
    spec->notes = g_strdup("n");
    spec->autostart = TRUE;
    spec->autostart_delay = 1;
    spec->start_order = 2;
    spec->restart_policy = TENBOX_RESTART_POLICY_ALWAYS;
    spec->stop_timeout = 3;
    check_golden("create-full.json", tbx_vm_spec_to_json(spec));
    g_autoptr(JsonObject) object = read_golden("create-full.json");
    g_autoptr(TbxVmSpec) read = tbx_vm_spec_from_json(object, &error);
    g_assert_no_error(error);
    check_golden("create-full.json", tbx_vm_spec_to_json(read));

    g_autoptr(TbxVmSpec) patch = tbx_vm_spec_new();
    patch->present = TBX_VM_SPEC_INITRD | TBX_VM_SPEC_MEMORY_MB | TBX_VM_SPEC_CMDLINE;
    patch->reset = TBX_VM_SPEC_INITRD | TBX_VM_SPEC_MEMORY_MB;
    patch->cmdline = g_strdup("");
    /* What is set to nothing is no null. */
    patch->present |= TBX_VM_SPEC_LABELS | TBX_VM_SPEC_AUTOSTART | TBX_VM_SPEC_AUTOSTART_DELAY |
                      TBX_VM_SPEC_START_ORDER;
    patch->labels = tbx_map_new();
    g_hash_table_insert(patch->labels, g_strdup("env"), NULL);
    g_hash_table_insert(patch->labels, g_strdup("a"), g_strdup(""));
    check_golden("update.json", tbx_vm_spec_to_json(patch));
    g_autoptr(JsonObject) patch_object = read_golden("update.json");
    g_autoptr(TbxVmSpec) patch_read = tbx_vm_spec_from_json(patch_object, &error);
    g_assert_no_error(error);
    check_golden("update.json", tbx_vm_spec_to_json(patch_read));
    g_assert_cmpuint(patch_read->present, ==, patch->present);
    g_assert_cmpuint(patch_read->reset, ==, patch->reset);
}

static char *fill(gsize length, char byte)
{
    return g_strnfill(length, byte);
}

/* The largest document that the rules of the members allow still fits into one frame, as an event. */
static void test_largest(void)
{
    g_autoptr(TbxVmRecord) vm = new_full();
    g_autoptr(TbxEventRecord) event = tbx_event_record_new();
    g_autofree char *name = fill(TBX_VM_NAME_MAX, 'n');
    gsize left = TBX_VM_LABELS_SIZE_MAX, length;

    g_hash_table_remove_all(vm->labels);
    for (int i = 0; i < TBX_VM_LABELS_MAX; i++) {
        char *key = g_strdup_printf("%02d", i);
        gsize size =
            MIN((gsize)TBX_VM_LABEL_VALUE_MAX, left - strlen(key) * (gsize)(TBX_VM_LABELS_MAX - i));
        g_hash_table_insert(vm->labels, key, fill(size, '"'));
        left -= size + strlen(key);
    }
    g_assert_true(tbx_vm_labels_check(vm->labels, NULL));
    g_hash_table_replace(vm->labels, g_strdup("00"), fill(left + TBX_VM_LABEL_VALUE_MAX + 1, '"'));
    g_assert_false(tbx_vm_labels_check(vm->labels, NULL));
    g_hash_table_replace(vm->labels, g_strdup("00"), fill(TBX_VM_LABEL_VALUE_MAX, '"'));
#define LARGEST(member, size) (g_free(vm->member), vm->member = fill(size, '\\'))
    g_free(vm->name);
    vm->name = g_steal_pointer(&name);
    LARGEST(cmdline, TBX_VM_CMDLINE_MAX);
    LARGEST(description, TBX_VM_DESCRIPTION_MAX);
    LARGEST(notes, TBX_VM_NOTES_MAX);
    LARGEST(last_error->detail, 512);
    LARGEST(last_exit->detail, 512);
#undef LARGEST
    event->type = g_strdup(TBX_EVENT_VM_CHANGED);
    event->epoch = g_uuid_string_random();
    event->sequence = G_MAXINT64;
    event->time = NOON;
    event->vm_id = g_strdup(vm->id);
    event->vm = tbx_vm_record_ref(vm);
    g_autoptr(JsonObject) object = tbx_event_record_to_json(event);
    g_autofree char *text = tbx_json_print_object(object, &length);
    g_assert_cmpuint(length, <=, TBX_STREAM_PAYLOAD_MAX);
}

static TbxOperationRecord *new_operation(gboolean failed)
{
    TbxOperationRecord *operation = tbx_operation_record_new();

    operation->id = g_strdup("99999999-2222-4333-8444-555555555555");
    operation->kind = g_strdup("start");
    operation->vm_id = g_strdup("11111111-2222-4333-8444-555555555555");
    operation->state = TENBOX_OPERATION_STATE_RUNNING;
    operation->created_at = NOON;
    if (failed) {
        operation->state = TENBOX_OPERATION_STATE_FAILED;
        operation->ended_at = NOON + 5000;
        operation->error = tbx_error_with_hint(
            tbx_error_new("insufficient-memory", "memory_mb", "the host has %d MiB free", 100),
            "stop another VM");
    }
    return operation;
}

static void test_operation(void)
{
    for (int failed = 0; failed <= 1; failed++) {
        const char *name = failed ? "operation-failed.json" : "operation-running.json";
        g_autoptr(TbxOperationRecord) operation = new_operation(failed);
        g_autoptr(GError) error = NULL;

        check_golden(name, tbx_operation_record_to_json(operation));
        g_autoptr(JsonObject) object = read_golden(name);
        g_autoptr(TbxOperationRecord) read = tbx_operation_record_from_json(object, &error);
        g_assert_no_error(error);
        g_autoptr(TbxOperationRecord) copy = tbx_operation_record_copy(read);
        check_golden(name, tbx_operation_record_to_json(copy));
        if (failed) {
            g_assert_error(read->error, TENBOX_ERROR, TENBOX_ERROR_NO_MEMORY);
            g_assert_cmpstr(tenbox_error_get_field(read->error), ==, "memory_mb");
        }
    }
}

static void check_event(const char *name, const char *type, TbxVmRecord *vm,
                        TbxOperationRecord *operation)
{
    g_autoptr(TbxEventRecord) event = tbx_event_record_new();
    g_autoptr(GError) error = NULL;

    event->sequence = 42;
    event->epoch = g_strdup("77777777-2222-4333-8444-555555555555");
    event->time = NOON;
    event->type = g_strdup(type);
    event->vm_id = g_strdup("11111111-2222-4333-8444-555555555555");
    event->vm = vm ? tbx_vm_record_ref(vm) : NULL;
    event->operation = operation ? tbx_operation_record_ref(operation) : NULL;
    check_golden(name, tbx_event_record_to_json(event));
    g_autoptr(JsonObject) object = read_golden(name);
    g_autoptr(TbxEventRecord) read = tbx_event_record_from_json(object, &error);
    g_assert_no_error(error);
    g_assert_true((vm != NULL) == (read->vm != NULL));
    g_assert_true((operation != NULL) == (read->operation != NULL));
    check_golden(name, tbx_event_record_to_json(read));
}

static void test_event(void)
{
    g_autoptr(TbxVmRecord) vm = new_stopped();
    g_autoptr(TbxOperationRecord) operation = new_operation(FALSE);

    check_event("event-vm-state.json", TBX_EVENT_VM_STATE, vm, NULL);
    check_event("event-operation.json", TBX_EVENT_OPERATION_CHANGED, NULL, operation);
    check_event("event-newer.json", "image.pulled", NULL, NULL);
}

static void test_problem(void)
{
    g_autoptr(GError) full = tbx_error_with_hint(
        tbx_error_new("name-invalid", "name", "the name \"%s\" cannot be used", "1"),
        "begin with a letter");
    g_autoptr(GError) bare = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_NO_SPACE, "disk full");

    check_golden("problem-full.json", tbx_error_to_problem(full, "request-1"));
    check_golden("problem-bare.json", tbx_error_to_problem(bare, NULL));
}

static void test_action_options(void)
{
    TbxActionOptions options = {.force = TRUE, .timeout = 5};

    check_golden("stop.json", tbx_action_options_to_json(TENBOX_VM_ACTION_STOP, &options));
    g_assert_null(tbx_action_options_to_json(TENBOX_VM_ACTION_START, &options));
}

static void test_times(void)
{
    static const struct {
        const char *text;
        gint64 time; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-31T12:00:00.123Z", NOON},
        {"2026-01-31T13:00:00.123+01:00", NOON},
        {"2026-01-31T12:00:00.123456Z", NOON + 456},
        {"2026-01-31T12:00:00", -1},
        {"2026-01-31 12:00:00Z", -1},
        {"2026-01-31", -1},
        {"20260131T120000Z", -1},
        {"2026-W05-6T12:00:00Z", -1},
        {"2026-13-31T12:00:00Z", -1},
        {"2026-02-30T12:00:00Z", -1},
        {"now", -1},
        {"", -1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gint64 time = -1;
        g_test_message("%s", rows[i].text);
        g_assert_true(tbx_time_parse(rows[i].text, &time) == (rows[i].time >= 0));
        g_assert_cmpint(time, ==, rows[i].time);
    }
    g_autofree char *text = tbx_time_format(NOON + 999);
    g_assert_cmpstr(text, ==, "2026-01-31T12:00:00.123Z");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/records/vm", test_vm);
    g_test_add_func("/records/vm-equal", test_vm_equal);
    g_test_add_func("/records/spec", test_spec);
    g_test_add_func("/records/largest", test_largest);
    g_test_add_func("/records/operation", test_operation);
    g_test_add_func("/records/event", test_event);
    g_test_add_func("/records/problem", test_problem);
    g_test_add_func("/records/action-options", test_action_options);
    g_test_add_func("/records/times", test_times);
    return g_test_run();
}
