/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver behind test:/// : the whole interface in memory, for tests, examples and documentation. Nothing
 * is run and no file is touched; what the URI asks for is in test-script.h, what a VM does in test-vm.h.
 *
 * Theory of operation. Every operation of the table makes a Call, which remembers the arguments. A call is
 * done in a later turn of the main loop, as it would be by a host, after the latency that the URI asks for, or
 * never (hang). Until then the caller's cancellable and the end of the driver answer it. A fault of the URI or of the VM is its
 * answer in place of what it would do.
 *
 * Each connection has VMs of its own; who wants to share them has a daemon serve the URI:
 * tenboxd --connect test:///default.
 */
#include <string.h>
#include <unistd.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/test/test-vm.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"

/* Beyond what Linux gives, so that nobody who believes the number meets a process. */
#define PID_BASE   (4 * 1024 * 1024)
#define CREATED_AT (G_GINT64_CONSTANT(1767225600) * G_USEC_PER_SEC) /* 2026-01-01T00:00:00Z */

#ifdef __aarch64__
#define ARCHITECTURE "aarch64"
#else
#define ARCHITECTURE "x86_64"
#endif

/* How long deleted VMs would be kept. */
#define TRASH_USEC (7 * 24 * 3600 * G_GINT64_CONSTANT(1000000))

typedef struct {
    TbxDriver base;
    TbxTestContext context;
    GHashTable *vms;        /* id → TbxTestVm */
    GHashTable *deleted;    /* the trash: id → TbxTestVm */
    GHashTable *names;      /* name → id, both of the VM's record or its own copy */
    GQueue calls;           /* of Call, those that wait */
    TbxOperation *stopping; /* nullable: the stop of all VMs */
    TbxActionOptions stop_options;
    GHashTable *stop_tried; /* ids of VMs that it has asked */
    gboolean is_stopping_more;
    gboolean is_watched;
    gint64 opened_at;
} TestDriver;

typedef struct _Call Call;
struct _Call {
    TestDriver *driver; /* a reference */
    GTask *task;
    const char *operation;   /* a word of the script; static */
    void (*run)(Call *call); /* completes the task */
    char *name;              /* nullable: of a VM or operation, or a position */
    TbxVmSpec *spec;         /* nullable */
    TenboxVmAction action;
    TbxActionOptions options;
    char *if_match; /* nullable: what options borrow */
    char *source;
    guint number;
    TenboxConsoleFlags flags;
    GSource *timer;     /* nullable */
    GSource *cancelled; /* nullable */
};

static TestDriver *test_of(TbxDriver *driver)
{
    return (TestDriver *)driver;
}

/* ---- calls -------------------------------------------------------------------------------- */

static void call_free(Call *call)
{
    tbx_source_clear(&call->timer);
    tbx_source_clear(&call->cancelled);
    g_free(call->name);
    g_free(call->source);
    g_free(call->if_match);
    tbx_vm_spec_unref(call->spec);
    g_object_unref(call->task);
    tbx_driver_unref(&call->driver->base);
    g_free(call);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, call_free)

/* (transfer full) */
static Call *call_new(TbxDriver *driver, GTask *task, const char *operation,
                      void (*run)(Call *call))
{
    Call *call = g_new0(Call, 1);

    call->driver = test_of(tbx_driver_ref(driver));
    call->task = task;
    call->operation = operation;
    call->run = run;
    return call;
}

/* By id or exact name; (transfer none) (nullable). */
static TbxTestVm *find_vm(TestDriver *self, const char *name)
{
    const char *id = g_hash_table_lookup(self->names, name);

    return g_hash_table_lookup(self->vms, id != NULL ? id : name);
}

static void call_run(Call *call)
{
    TbxTestVm *vm = call->name != NULL ? find_vm(call->driver, call->name) : NULL;
    GError *fault = tbx_test_script_take_fault(call->driver->context.script, call->operation,
                                               vm != NULL ? tbx_test_vm_get_cmdline(vm) : NULL);

    if (fault != NULL)
        g_task_return_error(call->task, fault);
    else if (!g_task_return_error_if_cancelled(call->task))
        call->run(call);
}

static gboolean on_call_time(gpointer user_data)
{
    g_autoptr(Call) call = user_data;

    g_queue_remove(&call->driver->calls, call);
    call_run(call);
    return G_SOURCE_REMOVE;
}

static gboolean on_call_cancelled(GCancellable *cancellable, gpointer user_data)
{
    g_autoptr(Call) call = user_data;

    g_queue_remove(&call->driver->calls, call);
    g_task_return_error_if_cancelled(call->task);
    return G_SOURCE_REMOVE;
}

/* Takes @call. */
static void call_begin(Call *call)
{
    TestDriver *self = call->driver;
    TbxTestScript *script = self->context.script;
    GCancellable *cancellable = g_task_get_cancellable(call->task);
    gboolean hangs = tbx_test_script_hangs(script, call->operation);

    g_queue_push_tail(&self->calls, call);
    if (!hangs)
        call->timer = tbx_source_timer(self->base.home, script->latency_ms, on_call_time, call);
    if (cancellable != NULL) {
        call->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(call->cancelled, G_SOURCE_FUNC(on_call_cancelled), call, NULL);
        g_source_attach(call->cancelled, self->base.home);
    }
}

/* The VM that @call is about; NULL when there is none and the call was answered. */
static TbxTestVm *call_find_vm(Call *call)
{
    TbxTestVm *vm = find_vm(call->driver, call->name);

    if (vm == NULL)
        g_task_return_error(call->task,
                            tbx_error_new("vm-not-found", NULL, "There is no VM %s", call->name));
    return vm;
}

static void return_record(Call *call, TbxVmRecord *record)
{
    g_task_return_pointer(call->task, tbx_vm_record_ref(record),
                          (GDestroyNotify)tbx_vm_record_unref);
}

static void return_operation(Call *call, TbxOperationRecord *record, GError *error)
{
    if (record != NULL)
        g_task_return_pointer(call->task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(call->task, error);
}

static void return_text(Call *call, char *text, GError *error)
{
    if (text != NULL)
        g_task_return_pointer(call->task, text, g_free);
    else
        g_task_return_error(call->task, error);
}

/* ---- events ------------------------------------------------------------------------------- */

static void emit_vm(const char *type, TbxVmRecord *vm, TbxDriver *driver)
{
    if (test_of(driver)->is_watched)
        tbx_event_sink_emit(driver->events, type, vm, NULL);
}

static void stop_more(TestDriver *self);

static void on_operation_changed(TbxOperationRecord *record, gpointer user_data)
{
    TestDriver *self = user_data;
    TbxTestVm *vm = record->vm_id != NULL ? g_hash_table_lookup(self->vms, record->vm_id) : NULL;

    if (self->context.is_closed)
        return;
    if (self->is_watched)
        tbx_event_sink_emit(self->base.events, TBX_EVENT_OPERATION_CHANGED, NULL, record);
    if (vm != NULL && !self->context.is_closed)
        tbx_test_vm_publish(vm, TBX_EVENT_VM_CHANGED);
    if (record->vm_id != NULL && record->ended_at != 0)
        stop_more(self);
}

/* (transfer full): the document of a VM in the trash, where time stands still. */
static TbxVmRecord *describe_deleted(TbxTestVm *vm)
{
    TbxVmRecord *record = tbx_vm_record_copy(tbx_test_vm_get_record(vm));

    tbx_vm_record_clear_operation(record);
    record->state = TENBOX_VM_STATE_STOPPED;
    record->deleted_at = g_get_real_time();
    record->purge_at = record->deleted_at + TRASH_USEC;
    return record;
}

static void on_vm_removed(TbxTestVm *vm, TbxDriver *driver)
{
    TestDriver *self = test_of(driver);
    TbxVmRecord *record = tbx_test_vm_get_record(vm);

    g_hash_table_remove(self->names, record->name);
    if (!tbx_test_vm_is_purged(vm)) {
        g_autoptr(TbxVmRecord) deleted = NULL;

        g_hash_table_insert(self->deleted, g_strdup(record->id), tbx_test_vm_ref(vm));
        deleted = describe_deleted(vm);
        if (!self->context.is_closed)
            emit_vm(TBX_EVENT_VM_TRASHED, deleted, driver);
    }
    if (!self->context.is_closed)
        emit_vm(TBX_EVENT_VM_DELETED, record, driver);
    g_hash_table_remove(self->vms, tbx_test_vm_get_id(vm));
}

/* ---- opening and closing ------------------------------------------------------------------ */

static TbxTestVm *add_vm(TestDriver *self, const char *id, const TbxVmSpec *spec, gint64 created_at)
{
    TbxTestVm *vm = tbx_test_vm_new(&self->context, id, spec, created_at);

    g_hash_table_insert(self->vms, g_strdup(id), vm);
    g_hash_table_insert(self->names, g_strdup(spec->name), g_strdup(id));
    return vm;
}

/* A VM that is there from the beginning, the same in each run. */
static void add_given(TestDriver *self, guint number, const char *name, gint64 memory_mb,
                      const char *description, TenboxVmState state)
{
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();
    /* Spread, so that the beginning of an id tells VMs apart. */
    g_autofree char *id = g_strdup_printf("%08x-7e57-4000-8000-000000000000", number * 0x9e3779b1u);
    TbxTestVm *vm;

    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_MEMORY_MB |
                    TBX_VM_SPEC_CPU_COUNT | TBX_VM_SPEC_DESCRIPTION;
    spec->name = g_strdup(name);
    spec->kernel = g_strdup("/boot/vmlinuz");
    spec->memory_mb = memory_mb;
    spec->cpu_count = 2;
    spec->description = g_strdup(description);
    vm = add_vm(self, id, spec, CREATED_AT);
    if (state != TENBOX_VM_STATE_STOPPED)
        tbx_test_vm_set_up(vm, state);
}

static void run_open(Call *call)
{
    TestDriver *self = call->driver;
    TbxTestScript *script = self->context.script;

    self->opened_at = g_get_real_time();
    if (script->has_vms) {
        add_given(self, 1, "alpha", 2048, "runs", TENBOX_VM_STATE_RUNNING);
        add_given(self, 2, "beta", 1024, "is stopped", TENBOX_VM_STATE_STOPPED);
        add_given(self, 3, "gamma", 1024, "is paused", TENBOX_VM_STATE_PAUSED);
        add_given(self, 4, "delta", 512, "has crashed", TENBOX_VM_STATE_CRASHED);
    }
    for (guint i = 1; i <= script->vm_count; i++) {
        g_autofree char *name = g_strdup_printf("vm-%05u", i);

        add_given(self, 1000000 + i, name, 256, "", TENBOX_VM_STATE_STOPPED);
    }
    g_task_return_boolean(call->task, TRUE);
}

static void test_open(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "open", run_open));
}

static void test_close(TbxDriver *driver)
{
    TestDriver *self = test_of(driver);
    GQueue calls = self->calls;
    GHashTableIter iter;
    gpointer vm;
    Call *call;

    g_queue_init(&self->calls);
    self->context.is_closed = TRUE;
    while ((call = g_queue_pop_head(&calls)) != NULL) {
        g_task_return_error(call->task, tbx_error_new("closed", NULL, "The driver was closed"));
        call_free(call);
    }
    tbx_operations_close(self->context.operations);
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        tbx_test_vm_close(vm);
}

static void test_free(TbxDriver *driver)
{
    TestDriver *self = test_of(driver);

    g_hash_table_unref(self->vms);
    g_hash_table_unref(self->names);
    g_hash_table_unref(self->deleted);
    g_hash_table_unref(self->stop_tried);
    tbx_operations_free(self->context.operations);
    tbx_test_script_unref(self->context.script);
    g_free(self);
}

/* ---- VMs ---------------------------------------------------------------------------------- */

static int compare_names(gconstpointer a, gconstpointer b)
{
    const TbxVmRecord *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static void run_vm_list(Call *call)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_vm_record_unref);
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, call->driver->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        g_ptr_array_add(list, tbx_vm_record_ref(tbx_test_vm_get_record(vm)));
    g_ptr_array_sort(list, compare_names);
    g_task_return_pointer(call->task, list, (GDestroyNotify)g_ptr_array_unref);
}

static void test_vm_list(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "vm-list", run_vm_list));
}

static void run_vm_list_deleted(Call *call)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_vm_record_unref);
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, call->driver->deleted);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        g_ptr_array_add(list, describe_deleted(vm));
    g_ptr_array_sort(list, compare_names);
    g_task_return_pointer(call->task, list, (GDestroyNotify)g_ptr_array_unref);
}

static void test_vm_list_deleted(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "vm-list-deleted", run_vm_list_deleted));
}

static void run_vm_get(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);

    if (vm != NULL)
        return_record(call, tbx_test_vm_get_record(vm));
}

static void test_vm_get(TbxDriver *driver, const char *name, GTask *task)
{
    Call *call = call_new(driver, task, "vm-get", run_vm_get);

    call->name = g_strdup(name);
    call_begin(call);
}

static gboolean check_name(TestDriver *self, const char *name, const char *id, GError **error)
{
    const char *owner = g_hash_table_lookup(self->names, name);

    if (owner == NULL || g_strcmp0(owner, id) == 0)
        return TRUE;
    tbx_error_set(error, "vm-exists", "name", "There is a VM %s already", name);
    return FALSE;
}

/* (transfer none) (nullable): one in the trash, by id or name. */
static TbxTestVm *find_deleted(TestDriver *self, const char *name)
{
    TbxTestVm *found = g_hash_table_lookup(self->deleted, name);
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, self->deleted);
    while (found == NULL && g_hash_table_iter_next(&iter, NULL, &vm)) {
        if (g_str_equal(tbx_test_vm_get_record(vm)->name, name))
            found = vm;
    }
    return found;
}

static void run_vm_undelete(Call *call)
{
    TestDriver *self = call->driver;
    TbxTestVm *found = find_deleted(self, call->name);
    g_autoptr(TbxTestVm) vm = NULL;
    const char *id, *name;
    GError *error = NULL;

    if (found == NULL)
        error = tbx_error_new("vm-not-found", NULL, "There is no VM %s in the trash", call->name);
    else
        vm = tbx_test_vm_ref(found);
    name = found == NULL          ? NULL
           : call->source != NULL ? call->source
                                  : tbx_test_vm_get_record(vm)->name;
    if (found == NULL || !check_name(self, name, NULL, &error)) {
        g_task_return_error(call->task, error);
        return;
    }
    id = tbx_test_vm_get_id(vm);
    g_task_set_check_cancellable(call->task, FALSE);
    g_hash_table_insert(self->names, g_strdup(name), g_strdup(id));
    g_hash_table_insert(self->vms, g_strdup(id), tbx_test_vm_ref(vm));
    g_hash_table_remove(self->deleted, id);
    tbx_test_vm_restore(vm, call->source);
    return_record(call, tbx_test_vm_get_record(vm));
}

static void test_vm_undelete(TbxDriver *driver, const char *vm, const char *name, GTask *task)
{
    Call *call = call_new(driver, task, "vm-undelete", run_vm_undelete);

    call->name = g_strdup(vm);
    call->source = g_strdup(name);
    call_begin(call);
}

/* (transfer full) (nullable): the operation that removes @vm from the trash. */
static TbxOperationRecord *purge_deleted(TestDriver *self, TbxTestVm *vm, GError **error)
{
    g_autoptr(TbxVmRecord) record = describe_deleted(vm);
    TbxOperation *operation = tbx_operations_begin(
        self->context.operations, record->id, record->name, "delete", FALSE, NULL, NULL, error);
    g_autofree char *id = NULL;

    if (operation == NULL)
        return NULL;
    id = g_strdup(tbx_operation_get_id(operation));
    g_hash_table_remove(self->deleted, record->id);
    tbx_operation_announce(operation);
    emit_vm(TBX_EVENT_VM_PURGED, record, &self->base);
    tbx_operation_end(operation, NULL);
    return tbx_operations_get(self->context.operations, id, error);
}

static void run_vm_create(Call *call)
{
    TestDriver *self = call->driver;
    const char *given = call->spec->id;
    g_autofree char *id = given != NULL ? g_strdup(given) : g_uuid_string_random();
    g_autoptr(TbxTestVm) vm = NULL;
    GError *error = NULL;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC * G_USEC_PER_SEC;

    if (!tbx_test_vm_check_spec(call->spec, &error) ||
        !check_name(self, call->spec->name, NULL, &error)) {
        g_task_return_error(call->task, error);
        return;
    }
    vm = tbx_test_vm_ref(add_vm(self, id, call->spec, now));
    /* From here on it is too late to withdraw. */
    g_task_set_check_cancellable(call->task, FALSE);
    emit_vm(TBX_EVENT_VM_CREATED, tbx_test_vm_get_record(vm), &self->base);
    return_record(call, tbx_test_vm_get_record(vm));
}

static void test_vm_create(TbxDriver *driver, TbxVmSpec *spec, GTask *task)
{
    Call *call = call_new(driver, task, "vm-create", run_vm_create);

    call->spec = tbx_vm_spec_ref(spec);
    call_begin(call);
}

static void run_vm_update(Call *call)
{
    TestDriver *self = call->driver;
    g_autoptr(TbxTestVm) vm = NULL;
    const char *id;
    gboolean is_renamed = (call->spec->present & TBX_VM_SPEC_NAME) != 0;
    g_autofree char *before = NULL;
    GError *error = NULL;

    if (call_find_vm(call) == NULL)
        return;
    vm = tbx_test_vm_ref(find_vm(self, call->name));
    id = tbx_test_vm_get_id(vm);
    before = g_strdup(tbx_test_vm_get_record(vm)->name);
    if (is_renamed && !check_name(self, call->spec->name, id, &error)) {
        g_task_return_error(call->task, error);
        return;
    }
    g_task_set_check_cancellable(call->task, FALSE);
    if (is_renamed) {
        g_hash_table_remove(self->names, before);
        g_hash_table_insert(self->names, g_strdup(call->spec->name), g_strdup(id));
    }
    if (!tbx_test_vm_update(vm, call->spec, &error)) {
        if (is_renamed) {
            g_hash_table_remove(self->names, call->spec->name);
            g_hash_table_insert(self->names, g_strdup(before), g_strdup(id));
        }
        g_task_return_error(call->task, error);
        return;
    }
    return_record(call, tbx_test_vm_get_record(vm));
}

static void test_vm_update(TbxDriver *driver, const char *name, TbxVmSpec *spec, GTask *task)
{
    Call *call = call_new(driver, task, "vm-update", run_vm_update);

    call->name = g_strdup(name);
    call->spec = tbx_vm_spec_ref(spec);
    call_begin(call);
}

static void run_vm_begin(Call *call)
{
    g_autoptr(TbxTestVm) vm = NULL;
    TbxOperationRecord *record;
    GError *error = NULL;

    if (call->action == TENBOX_VM_ACTION_DELETE && call->options.purge &&
        find_vm(call->driver, call->name) == NULL &&
        find_deleted(call->driver, call->name) != NULL) {
        const TbxVmRecord *deleted;

        vm = tbx_test_vm_ref(find_deleted(call->driver, call->name));
        deleted = tbx_test_vm_get_record(vm);
        record = tbx_etag_require(call->options.if_match, deleted->etag, deleted->name, &error)
                     ? purge_deleted(call->driver, vm, &error)
                     : NULL;
        return_operation(call, record, error);
        return;
    }
    if (call_find_vm(call) == NULL)
        return;
    /* Who hears of the action may remove the VM. */
    vm = tbx_test_vm_ref(find_vm(call->driver, call->name));
    record = tbx_test_vm_begin(vm, call->action, &call->options, &error);
    return_operation(call, record, error);
}

static const char *action_operation(TenboxVmAction action)
{
    switch (action) {
    case TENBOX_VM_ACTION_START: return "vm-start";
    case TENBOX_VM_ACTION_STOP: return "vm-stop";
    case TENBOX_VM_ACTION_SHUTDOWN: return "vm-shutdown";
    case TENBOX_VM_ACTION_REBOOT: return "vm-reboot";
    case TENBOX_VM_ACTION_RESET: return "vm-reset";
    case TENBOX_VM_ACTION_PAUSE: return "vm-pause";
    case TENBOX_VM_ACTION_RESUME: return "vm-resume";
    default: return "vm-delete";
    }
}

static void test_vm_begin(TbxDriver *driver, const char *name, TenboxVmAction action,
                          const TbxActionOptions *options, GTask *task)
{
    Call *call = call_new(driver, task, action_operation(action), run_vm_begin);

    call->name = g_strdup(name);
    call->action = action;
    call->options = *options;
    call->if_match = g_strdup(options->if_match);
    call->options.if_match = call->if_match;
    call->options.operation_id = NULL; /* nobody repeats a request that was lost with the VMs */
    call_begin(call);
}

static void run_vm_log(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);

    if (vm != NULL)
        return_text(call, tbx_test_vm_read_log(vm, call->source, call->number), NULL);
}

static void test_vm_log(TbxDriver *driver, const char *name, const char *source, guint line_count,
                        GTask *task)
{
    Call *call = call_new(driver, task, "vm-log", run_vm_log);

    call->name = g_strdup(name);
    call->source = g_strdup(source);
    call->number = line_count;
    call_begin(call);
}

static void run_vm_log_follow(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);

    if (vm != NULL)
        g_task_return_pointer(call->task,
                              tbx_test_vm_follow_log(vm, call->source, (gint)call->number),
                              (GDestroyNotify)tbx_console_stream_unref);
}

static void test_vm_log_follow(TbxDriver *driver, const char *name, const char *source,
                               gint line_count, GTask *task)
{
    Call *call = call_new(driver, task, "vm-log-follow", run_vm_log_follow);

    call->name = g_strdup(name);
    call->source = g_strdup(source);
    call->number = (guint)line_count;
    call_begin(call);
}

static void run_vm_statistics(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);
    GError *error = NULL;

    if (vm != NULL) {
        char *text = tbx_test_vm_get_statistics(vm, &error);
        return_text(call, text, error);
    }
}

static void test_vm_statistics(TbxDriver *driver, const char *name, GTask *task)
{
    Call *call = call_new(driver, task, "vm-statistics", run_vm_statistics);

    call->name = g_strdup(name);
    call_begin(call);
}

/* A guest in memory has no serial line that a break could be on: it takes it and does nothing. */
static void run_vm_send_key(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);
    GError *error = NULL;
    g_autofree char *running = NULL;

    if (vm == NULL)
        return;
    if (strcmp(call->source, "break") != 0)
        error = tbx_error_new("field-invalid", "key", "there is no key \"%s\"; there is: break",
                              call->source);
    else
        running = tbx_test_vm_get_statistics(vm, &error);
    if (running != NULL)
        g_task_return_boolean(call->task, TRUE);
    else
        g_task_return_error(call->task, error);
}

static void test_vm_send_key(TbxDriver *driver, const char *name, const char *key, GTask *task)
{
    Call *call = call_new(driver, task, "vm-send-key", run_vm_send_key);

    call->name = g_strdup(name);
    call->source = g_strdup(key);
    call_begin(call);
}

static void run_console_open(Call *call)
{
    TbxTestVm *vm = call_find_vm(call);
    GError *error = NULL;
    TbxConsoleStream *stream;

    if (vm == NULL)
        return;
    stream = tbx_test_vm_open_console(vm, call->flags, call->source, &error);
    if (stream != NULL)
        g_task_return_pointer(call->task, stream, (GDestroyNotify)tbx_console_stream_unref);
    else
        g_task_return_error(call->task, error);
}

static void test_console_open(TbxDriver *driver, const char *name, TenboxConsoleFlags flags,
                              const char *holder, GTask *task)
{
    Call *call = call_new(driver, task, "console-open", run_console_open);

    call->name = g_strdup(name);
    call->flags = flags;
    call->source = g_strdup(holder);
    call_begin(call);
}

/* ---- operations --------------------------------------------------------------------------- */

static void run_operation_list(Call *call)
{
    g_task_return_pointer(call->task, tbx_operations_list(call->driver->context.operations),
                          (GDestroyNotify)g_ptr_array_unref);
}

static void test_operation_list(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "operation-list", run_operation_list));
}

static void run_operation_get(Call *call)
{
    tbx_operations_wait(call->driver->context.operations, call->name, call->number,
                        g_object_ref(call->task));
}

static void test_operation_get(TbxDriver *driver, const char *id, guint wait_seconds, GTask *task)
{
    Call *call = call_new(driver, task, "operation-get", run_operation_get);

    call->name = g_strdup(id);
    call->number = wait_seconds;
    call_begin(call);
}

static void run_operation_cancel(Call *call)
{
    GError *error = NULL;
    TbxOperationRecord *record =
        tbx_operations_cancel(call->driver->context.operations, call->name, &error);

    return_operation(call, record, error);
}

static void test_operation_cancel(TbxDriver *driver, const char *id, GTask *task)
{
    Call *call = call_new(driver, task, "operation-cancel", run_operation_cancel);

    call->name = g_strdup(id);
    call_begin(call);
}

/* ---- the stop of all VMs ------------------------------------------------------------------ */

/* Whether the stop of all VMs still has to do with @vm: it runs, and has not been asked in vain. */
static gboolean is_to_stop(TestDriver *self, TbxTestVm *vm)
{
    const char *id = tbx_test_vm_get_id(vm);

    return tbx_test_vm_has_process(vm) &&
           (!g_hash_table_contains(self->stop_tried, id) ||
            tbx_operations_get_current(self->context.operations, id) != NULL);
}

/* (transfer full): those of them that are next: of the highest start order. */
static GPtrArray *list_next_to_stop(TestDriver *self)
{
    GPtrArray *next = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_test_vm_unref);
    gint64 order = -1;
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm)) {
        gint64 its_order = tbx_test_vm_get_record(vm)->start_order;

        if (!is_to_stop(self, vm) || its_order < order)
            continue;
        if (its_order > order)
            g_ptr_array_set_size(next, 0);
        order = its_order;
        g_ptr_array_add(next, tbx_test_vm_ref(vm));
    }
    return next;
}

static void end_stopping(TestDriver *self)
{
    TbxOperation *operation = g_steal_pointer(&self->stopping);
    GError *error = NULL;
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, self->vms);
    while (error == NULL && g_hash_table_iter_next(&iter, NULL, &vm)) {
        if (tbx_test_vm_has_process(vm))
            error = tbx_error_new("runtime-failed", NULL, "%s could not be stopped",
                                  tbx_test_vm_get_record(vm)->name);
    }
    tbx_operation_end(operation, error);
}

/* Asks the next VMs; called again whenever an operation of a VM has ended. */
static void stop_more(TestDriver *self)
{
    TbxOperation *operation = self->stopping;

    if (self->is_stopping_more)
        return;
    self->is_stopping_more = TRUE;
    while (operation != NULL && self->stopping == operation && !self->context.is_closed) {
        g_autoptr(GPtrArray) next = list_next_to_stop(self);
        gboolean has_begun = FALSE;

        for (guint i = 0; i < next->len && self->stopping == operation; i++) {
            TbxTestVm *vm = g_ptr_array_index(next, i);
            const char *id = tbx_test_vm_get_id(vm);
            g_autoptr(TbxOperationRecord) begun = NULL;

            /* One that is busy is asked when that has ended. */
            if (!g_hash_table_contains(self->stop_tried, id))
                begun = tbx_test_vm_begin(vm, TENBOX_VM_ACTION_STOP, &self->stop_options, NULL);
            if (begun != NULL) {
                has_begun = TRUE;
                g_hash_table_add(self->stop_tried, g_strdup(id));
            }
        }
        if (next->len == 0 && self->stopping == operation)
            end_stopping(self);
        if (!has_begun)
            break;
    }
    self->is_stopping_more = FALSE;
}

static gboolean on_stop_pre_empted(TbxOperation *operation, const char *kind, gpointer user_data)
{
    return FALSE;
}

static void on_stop_cancelled(TbxOperation *operation, gpointer user_data)
{
    ((TestDriver *)user_data)->stopping = NULL;
    tbx_operation_end(
        operation, tbx_error_new("operation-cancelled", NULL, "The stop of all VMs was cancelled"));
}

static const TbxOperationHandlers stop_handlers = {on_stop_pre_empted, on_stop_cancelled};

static void run_system_stop_vms(Call *call)
{
    TestDriver *self = call->driver;
    GError *error = NULL;
    TbxOperationRecord *record = NULL;
    gboolean is_new = self->stopping == NULL;
    TbxOperation *operation = self->stopping;

    if (is_new)
        operation = tbx_operations_begin(self->context.operations, NULL, "the host", "stop-vms",
                                         FALSE, &stop_handlers, self, &error);
    if (operation != NULL) {
        g_autofree char *id = g_strdup(tbx_operation_get_id(operation));

        self->stopping = operation;
        self->stop_options = call->options;
        g_hash_table_remove_all(self->stop_tried);
        if (is_new)
            tbx_operation_announce(operation);
        stop_more(self);
        record = tbx_operations_get(self->context.operations, id, &error);
    }
    return_operation(call, record, error);
}

static void test_system_stop_vms(TbxDriver *driver, const TbxActionOptions *options, GTask *task)
{
    Call *call = call_new(driver, task, "system-stop-vms", run_system_stop_vms);

    call->options = *options;
    call->options.operation_id = NULL; /* as in test_vm_begin() */
    call_begin(call);
}

/* ---- system ------------------------------------------------------------------------------- */

static JsonObject *describe_host(void)
{
    JsonObject *host = json_object_new();

    json_object_set_string_member(host, "name", "test");
    json_object_set_string_member(host, "architecture", ARCHITECTURE);
    json_object_set_string_member(host, "kernel", "test");
    json_object_set_int_member(host, "cpu_count", TBX_TEST_HOST_CPU_COUNT);
    json_object_set_int_member(host, "memory_mb", TBX_TEST_HOST_MEMORY_MB);
    json_object_set_int_member(host, "page_size", 4096);
    return host;
}

static void run_system_get(Call *call)
{
    TestDriver *self = call->driver;
    g_autoptr(JsonObject) system = json_object_new();
    g_autofree char *started_at = tbx_time_format(self->opened_at);
    JsonObject *kvm = json_object_new();
    JsonObject *count = json_object_new();
    GHashTableIter iter;
    gpointer vm;
    gint64 running = 0;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        running += tbx_test_vm_has_process(vm) ? 1 : 0;
    json_object_set_int_member(count, "total", g_hash_table_size(self->vms));
    json_object_set_int_member(count, "running", running);
    json_object_set_boolean_member(kvm, "available", TRUE);
    json_object_set_string_member(kvm, "detail", "VMs are played: this is test://");
    json_object_set_string_member(system, "version", TBX_VERSION);
    json_object_set_string_member(system, "api_version", "v1");
    json_object_set_array_member(system, "extensions", json_array_new());
    json_object_set_int_member(system, "pid", getpid());
    json_object_set_string_member(system, "started_at", started_at);
    json_object_set_string_member(system, "data_folder", self->base.uri);
    json_object_set_object_member(system, "host", describe_host());
    json_object_set_object_member(system, "kvm", kvm);
    json_object_set_object_member(system, "vm_count", count);
    return_text(call, tbx_json_print_object(system, NULL), NULL);
}

static void test_system_get(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "system-get", run_system_get));
}

static void run_doctor(Call *call)
{
    g_autoptr(JsonObject) report = json_object_new();
    JsonObject *row = json_object_new();
    JsonArray *checks = json_array_new();

    json_object_set_string_member(row, "name", "kvm-device");
    json_object_set_string_member(row, "status", "skipped");
    json_object_set_string_member(row, "detail", "VMs are played: this is test://");
    json_object_set_null_member(row, "fix");
    json_array_add_object_element(checks, row);
    json_object_set_boolean_member(report, "healthy", TRUE);
    json_object_set_array_member(report, "checks", checks);
    return_text(call, tbx_json_print_object(report, NULL), NULL);
}

static void test_doctor(TbxDriver *driver, GTask *task)
{
    call_begin(call_new(driver, task, "doctor", run_doctor));
}

static void run_watch(Call *call)
{
    TestDriver *self = call->driver;
    GError *error = NULL;

    if (!tbx_event_sink_replay(self->base.events, call->name, &error)) {
        g_task_return_error(call->task, error);
        return;
    }
    self->is_watched = TRUE;
    g_task_return_boolean(call->task, TRUE);
}

static void test_watch(TbxDriver *driver, const char *since, GTask *task)
{
    Call *call = call_new(driver, task, "watch", run_watch);

    call->name = g_strdup(since);
    call_begin(call);
}

static const TbxDriverOps test_ops = {
    .name = "test",
    .open = test_open,
    .close = test_close,
    .free = test_free,
    .system_get = test_system_get,
    .doctor = test_doctor,
    .system_stop_vms = test_system_stop_vms,
    .vm_list = test_vm_list,
    .vm_get = test_vm_get,
    .vm_create = test_vm_create,
    .vm_list_deleted = test_vm_list_deleted,
    .vm_undelete = test_vm_undelete,
    .vm_update = test_vm_update,
    .vm_begin = test_vm_begin,
    .operation_list = test_operation_list,
    .operation_get = test_operation_get,
    .operation_cancel = test_operation_cancel,
    .vm_log = test_vm_log,
    .vm_log_follow = test_vm_log_follow,
    .vm_statistics = test_vm_statistics,
    .vm_send_key = test_vm_send_key,
    .console_open = test_console_open,
    .watch = test_watch,
};

static void drop_vm(gpointer vm)
{
    tbx_test_vm_unref(vm);
}

TbxDriver *tbx_test_driver_new(const char *uri, const char *path, const char *query,
                               TbxEventSink *events, GError **error)
{
    TbxTestScript *script = tbx_test_script_new(path, query, error);
    TestDriver *self;

    if (script == NULL)
        return NULL;
    self = g_new0(TestDriver, 1);
    tbx_driver_init(&self->base, &test_ops, uri, events);
    self->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, drop_vm);
    self->deleted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, drop_vm);
    self->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    self->stop_tried = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->context = (TbxTestContext){
        .driver = &self->base,
        .script = script,
        .operations = tbx_operations_new(on_operation_changed, self, NULL),
        .last_pid = PID_BASE,
        .emit = emit_vm,
        .removed = on_vm_removed,
    };
    return &self->base;
}
