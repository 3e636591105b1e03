/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver: VMs of a data folder, run in processes of this host.
 *
 * Here the operations of driver.h meet the files beside this one: the registry knows what is on disk, a
 * TbxLocalVm what one VM does, TbxOperations what is under way. Opening locks the folder, loads all VMs
 * and takes over the processes that an earlier driver left running; it is done when each has answered or
 * had its time. Closing leaves them running.
 */
#include <string.h>
#include <unistd.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/local/autostart.h"
#include "libtenbox/local/doctor.h"
#include "libtenbox/local/host.h"
#include "libtenbox/local/log-follow.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/stop-vms.h"
#include "libtenbox/local/vm.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

typedef struct {
    TbxDriver base;
    TbxLocalContext context;
    char *data_folder; /* nullable: the user's */
    char *served_at;   /* nullable */
    gint64 trash_days;
    GHashTable *vms; /* id → TbxLocalVm */
    GTask *opening;  /* until all VMs have settled */
    guint unsettled;
    GCancellable *closing; /* for what runs on its own until the driver is closed */
    GQueue followers;      /* of logs */
    gboolean is_watched;
    TbxAutostart *autostart;
    TbxStopVms *stop_vms;
    GSource *waking; /* until VMs are taken care of */
    gint64 opened_at;
} LocalDriver;

static LocalDriver *local_of(TbxDriver *driver)
{
    return (LocalDriver *)driver;
}

/* ---- events ------------------------------------------------------------------------------- */

static void emit_vm(const char *type, TbxVmRecord *vm, TbxDriver *driver)
{
    if (local_of(driver)->is_watched)
        tbx_event_sink_emit(driver->events, type, vm, NULL);
}

static void on_operation_changed(TbxOperationRecord *record, gpointer user_data)
{
    LocalDriver *self = user_data;
    g_autoptr(TbxDriver) held = NULL;
    gboolean is_running = record->state == TENBOX_OPERATION_STATE_RUNNING;
    TbxLocalVm *vm;

    if (self->context.is_closed)
        return;
    /* Whoever hears of it may drop the driver, or delete the VM. */
    held = tbx_driver_ref(&self->base);
    if (self->is_watched)
        tbx_event_sink_emit(self->base.events, TBX_EVENT_OPERATION_CHANGED, NULL, record);
    vm = record->vm_id != NULL ? g_hash_table_lookup(self->vms, record->vm_id) : NULL;
    if (vm != NULL)
        tbx_local_vm_publish(vm, TBX_EVENT_VM_CHANGED);
    if (is_running || self->context.is_closed)
        return;
    tbx_autostart_operation_ended(self->autostart, record->id);
    tbx_stop_vms_operation_ended(self->stop_vms);
}

static void on_vm_touched(TbxLocalVm *vm, TbxDriver *driver)
{
    tbx_autostart_forget(local_of(driver)->autostart, tbx_local_vm_get_id(vm));
}

static void on_vm_removed(TbxLocalVm *vm, TbxDriver *driver)
{
    LocalDriver *self = local_of(driver);
    TbxVmRecord *record = tbx_local_vm_get_record(vm);
    const char *id = tbx_local_vm_get_id(vm);

    if (g_strcmp0(tbx_registry_find_name(self->context.registry, record->name), id) == 0)
        tbx_registry_release_name(self->context.registry, record->name);
    if (!self->context.is_closed)
        emit_vm(TBX_EVENT_VM_DELETED, record, driver);
    tbx_log_follow_end_all(&self->followers, id);
    g_hash_table_remove(self->vms, id);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void finish_opening(LocalDriver *self)
{
    g_autoptr(GTask) task = g_steal_pointer(&self->opening);

    if (task != NULL)
        g_task_return_boolean(task, TRUE);
}

static void on_vm_settled(TbxLocalVm *vm, TbxDriver *driver)
{
    LocalDriver *self = local_of(driver);

    if (--self->unsettled == 0)
        finish_opening(self);
}

/* What the loading of a VM may take, adoption of its process included. With less, a VM would seem broken
 * that is not, or dead though its process lives. */
#define LOAD_DESCRIPTORS 16

/* A folder that is named like a VM becomes one, whatever is in it. */
static void load_vm(LocalDriver *self, const char *id)
{
    g_autoptr(TbxVmDefinition) definition = NULL;
    GError *broken = NULL;
    TBX_AUTO_FD folder_fd = tbx_registry_open_vm_folder(self->context.registry, id, &broken);
    TbxLocalVm *vm;

    if (folder_fd >= 0)
        definition = tbx_registry_load(folder_fd, id, &broken);
    if (definition != NULL &&
        !tbx_registry_take_name(self->context.registry, definition->name, id, &broken))
        g_clear_pointer(&definition, tbx_vm_definition_free);
    vm = tbx_local_vm_new(&self->context, id, folder_fd >= 0, g_steal_pointer(&definition), broken);
    g_hash_table_insert(self->vms, g_strdup(id), vm);
    if (tbx_local_vm_load_state(vm))
        self->unsettled++;
}

static void on_trash_event(const char *type, TbxVmRecord *vm, gpointer user_data)
{
    LocalDriver *self = user_data;

    if (!self->context.is_closed)
        emit_vm(type, vm, &self->base);
}

static TbxVmRecord *on_restored(TbxVmRecord *vm, gpointer user_data)
{
    LocalDriver *self = user_data;
    TbxLocalVm *restored;

    load_vm(self, vm->id);
    restored = g_hash_table_lookup(self->vms, vm->id);
    tbx_local_vm_set_generation(restored, vm->generation);
    emit_vm(TBX_EVENT_VM_UNDELETED, tbx_local_vm_get_record(restored), &self->base);
    return tbx_local_vm_get_record(restored);
}

static const TbxTrashHandlers trash_handlers = {
    .emit = on_trash_event,
    .restored = on_restored,
};

static void local_open(TbxDriver *driver, GTask *task)
{
    LocalDriver *self = local_of(driver);
    g_autofree char *user_folder = tbx_paths_default_data_folder();
    g_autoptr(GPtrArray) ids = NULL;
    GError *error = NULL;

    self->context.registry = tbx_registry_open(
        self->data_folder != NULL ? self->data_folder : user_folder, self->served_at, &error);
    if (self->context.registry != NULL)
        ids = tbx_registry_list_ids(self->context.registry, &error);
    if (ids != NULL) {
        self->context.trash = tbx_trash_new(self->context.registry, self->context.operations,
                                            self->trash_days, &trash_handlers, self);
    }
    if (ids == NULL || !tbx_trash_load(self->context.trash, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    /* Without it there is no history, and that is all. */
    if (!tbx_operations_remember(self->context.operations,
                                 tbx_registry_get_folder(self->context.registry), &error)) {
        g_warning("operations are not remembered: %s", error->message);
        g_clear_error(&error);
    }
    self->opened_at = g_get_real_time();
    self->opening = task;
    for (guint i = 0; i < ids->len; i++) {
        if (!tbx_descriptors_check(LOAD_DESCRIPTORS, &error)) {
            g_prefix_error(&error, "VM %s cannot be opened: ", (char *)g_ptr_array_index(ids, i));
            self->opening = NULL;
            g_task_return_error(task, error);
            g_object_unref(task);
            return;
        }
        load_vm(self, g_ptr_array_index(ids, i));
    }
    if (self->unsettled == 0)
        finish_opening(self);
}

static void local_close(TbxDriver *driver)
{
    LocalDriver *self = local_of(driver);
    g_autoptr(GTask) opening = g_steal_pointer(&self->opening);
    GHashTableIter iter;
    gpointer vm;

    self->context.is_closed = TRUE;
    g_cancellable_cancel(self->closing);
    tbx_operations_close(self->context.operations);
    tbx_source_clear(&self->waking);
    tbx_autostart_close(self->autostart);
    tbx_stop_vms_close(self->stop_vms);
    tbx_log_follow_end_all(&self->followers, NULL);
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        tbx_local_vm_close(vm);
    tbx_trash_close(self->context.trash);
    if (self->context.registry != NULL)
        tbx_registry_unlock(self->context.registry);
    if (opening != NULL)
        g_task_return_error(opening, tbx_error_new("closed", NULL, "The driver was closed"));
}

static void local_free(TbxDriver *driver)
{
    LocalDriver *self = local_of(driver);

    tbx_autostart_free(self->autostart);
    tbx_stop_vms_free(self->stop_vms);
    g_hash_table_unref(self->vms);
    tbx_trash_unref(self->context.trash);
    tbx_operations_free(self->context.operations);
    tbx_registry_unref(self->context.registry);
    g_object_unref(self->closing);
    g_free(self->data_folder);
    g_free(self->served_at);
    g_free(self);
}

/* ---- VMs ---------------------------------------------------------------------------------- */

/* By id or exact name. (transfer none) (nullable), then @task is completed and dropped. */
static TbxLocalVm *find_vm(LocalDriver *self, const char *name, GTask *task)
{
    const char *id = tbx_registry_find_name(self->context.registry, name);
    TbxLocalVm *vm = g_hash_table_lookup(self->vms, id != NULL ? id : name);
    GHashTableIter iter;
    gpointer each;

    if (vm != NULL)
        return vm;
    /* Broken VMs have a name that is not in the registry. */
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &each)) {
        if (g_str_equal(tbx_local_vm_get_record(each)->name, name))
            return each;
    }
    g_task_return_error(task, tbx_error_new("vm-not-found", NULL, "There is no VM %s", name));
    g_object_unref(task);
    return NULL;
}

/* The same, asking only. */
static gboolean has_vm(LocalDriver *self, const char *name)
{
    return tbx_registry_find_name(self->context.registry, name) != NULL ||
           g_hash_table_contains(self->vms, name);
}

static void return_record(GTask *task, TbxVmRecord *record)
{
    g_task_return_pointer(task, tbx_vm_record_ref(record), (GDestroyNotify)tbx_vm_record_unref);
    g_object_unref(task);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    const TbxVmRecord *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static void local_vm_list(TbxDriver *driver, GTask *task)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_vm_record_unref);
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, local_of(driver)->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        g_ptr_array_add(list, tbx_vm_record_ref(tbx_local_vm_get_record(vm)));
    g_ptr_array_sort(list, compare_names);
    g_task_return_pointer(task, list, (GDestroyNotify)g_ptr_array_unref);
    g_object_unref(task);
}

static void local_vm_get(TbxDriver *driver, const char *name, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        return_record(task, tbx_local_vm_get_record(vm));
}

typedef struct {
    LocalDriver *driver; /* a reference */
    char *id;
    TbxVmDefinition *definition;
    GError *failure; /* nullable: of what came after the folder was made */
    GTask *task;
} Creation;

static void creation_free(Creation *creation)
{
    g_free(creation->id);
    tbx_vm_definition_free(creation->definition);
    g_clear_error(&creation->failure);
    g_object_unref(creation->task);
    tbx_driver_unref(&creation->driver->base);
    g_free(creation);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Creation, creation_free)

/* Gives the name back and tells the caller; takes @error. */
static void fail_creation(Creation *creation, GError *error)
{
    tbx_registry_release_name(creation->driver->context.registry, creation->definition->name);
    g_task_return_error(creation->task, error);
}

static void on_creation_undone(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Creation) creation = user_data;
    g_autoptr(GError) error = NULL;

    if (!tbx_registry_delete_finish(result, &error))
        g_warning("VM %s: %s", creation->id, error->message);
    fail_creation(creation, g_steal_pointer(&creation->failure));
}

static void on_created(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Creation) creation = user_data;
    LocalDriver *self = creation->driver;
    TbxRegistry *registry = self->context.registry;
    GError *error = NULL;
    TBX_AUTO_FD folder_fd = -1;
    TbxLocalVm *vm;

    if (!tbx_registry_create_finish(result, &error)) {
        fail_creation(creation, error);
        return;
    }
    folder_fd = tbx_registry_open_vm_folder(registry, creation->id, &creation->failure);
    /* The files may have been there before the caller withdrew, but nobody has seen the VM yet. */
    if (folder_fd >= 0 && !self->context.is_closed)
        (void)g_cancellable_set_error_if_cancelled(g_task_get_cancellable(creation->task),
                                                   &creation->failure);
    if (creation->failure != NULL) {
        /* A VM that was reported as failed must not turn up later. */
        tbx_registry_delete_async(registry, creation->id, on_creation_undone, creation);
        g_steal_pointer(&creation);
        return;
    }
    /* From here on it is too late to withdraw. */
    g_task_set_check_cancellable(creation->task, FALSE);
    vm = tbx_local_vm_new(&self->context, creation->id, TRUE,
                          g_steal_pointer(&creation->definition), NULL);
    g_hash_table_insert(self->vms, g_strdup(creation->id), vm);
    if (self->context.is_closed) {
        /* It exists, and the next one to open the folder will find it. */
        tbx_local_vm_close(vm);
        g_task_return_error(creation->task, tbx_error_new("closed", NULL, "The driver was closed"));
        return;
    }
    emit_vm(TBX_EVENT_VM_CREATED, tbx_local_vm_get_record(vm), &self->base);
    g_task_return_pointer(creation->task, tbx_vm_record_ref(tbx_local_vm_get_record(vm)),
                          (GDestroyNotify)tbx_vm_record_unref);
}

static void local_vm_create(TbxDriver *driver, TbxVmSpec *spec, GTask *task)
{
    LocalDriver *self = local_of(driver);
    TbxRegistry *registry = self->context.registry;
    g_autoptr(TbxVmDefinition) definition = tbx_vm_definition_new(spec);
    gboolean is_given = spec->id != NULL && !g_hash_table_contains(self->vms, spec->id);
    g_autofree char *id = is_given ? g_strdup(spec->id) : g_uuid_string_random();
    GError *error = NULL;
    Creation *creation;

    if (!tbx_host_check_memory_size(definition->memory_mb, &error) ||
        !tbx_registry_take_name(registry, definition->name, id, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    creation = g_new0(Creation, 1);
    creation->driver = self;
    tbx_driver_ref(driver);
    creation->task = task;
    creation->definition = tbx_vm_definition_copy(definition);
    tbx_registry_create_async(registry, id, g_steal_pointer(&definition), spec->kernel,
                              (spec->present & TBX_VM_SPEC_INITRD) != 0 ? spec->initrd : NULL,
                              g_task_get_cancellable(task), on_created, creation);
    creation->id = g_steal_pointer(&id);
}

static void local_vm_update(TbxDriver *driver, const char *name, TbxVmSpec *spec, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_update(vm, spec, task);
}

/* What is in the trash can only be removed from it. TRUE: @task has been answered. */
static gboolean purge_from_trash(LocalDriver *self, const char *name, TenboxVmAction action,
                                 const TbxActionOptions *options, GTask *task)
{
    TbxOperationRecord *record;
    GError *error = NULL;

    if (action != TENBOX_VM_ACTION_DELETE || !options->purge || has_vm(self, name) ||
        !tbx_trash_has(self->context.trash, name))
        return FALSE;
    record = tbx_trash_purge(self->context.trash, name, options, &error);
    if (record != NULL)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
    return TRUE;
}

static void local_vm_list_deleted(TbxDriver *driver, GTask *task)
{
    g_task_return_pointer(task, tbx_trash_list(local_of(driver)->context.trash),
                          (GDestroyNotify)g_ptr_array_unref);
    g_object_unref(task);
}

static void local_vm_undelete(TbxDriver *driver, const char *vm, const char *name, GTask *task)
{
    GError *error = NULL;

    if (tbx_descriptors_check(LOAD_DESCRIPTORS, &error)) {
        tbx_trash_undelete(local_of(driver)->context.trash, vm, name, task);
        return;
    }
    g_task_return_error(task, error);
    g_object_unref(task);
}

static void local_vm_begin(TbxDriver *driver, const char *name, TenboxVmAction action,
                           const TbxActionOptions *options, GTask *task)
{
    G_GNUC_UNUSED g_autoptr(TbxDriver) held = tbx_driver_ref(driver);
    g_autoptr(TbxLocalVm) vm = NULL;
    TbxLocalVm *found;
    TbxOperationRecord *record;
    GError *error = NULL;

    if (purge_from_trash(local_of(driver), name, action, options, task))
        return;
    found = find_vm(local_of(driver), name, task);
    if (found == NULL)
        return;
    /* Who hears of the action may drop the driver, and events of it may remove the VM. */
    vm = tbx_local_vm_ref(found);
    record = tbx_local_vm_begin(vm, action, options, &error);
    if (record != NULL)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
}

static void local_vm_log(TbxDriver *driver, const char *name, const char *source, guint line_count,
                         GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_read_log(vm, source, line_count, task);
}

static void local_vm_log_follow(TbxDriver *driver, const char *name, const char *source,
                                gint line_count, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_follow_log(vm, &local_of(driver)->followers, source, line_count, task);
}

static void local_vm_statistics(TbxDriver *driver, const char *name, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_get_statistics(vm, task);
}

static void local_vm_send_key(TbxDriver *driver, const char *name, const char *key, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_send_key(vm, key, task);
}

static void local_console_open(TbxDriver *driver, const char *name, TenboxConsoleFlags flags,
                               const char *holder, GTask *task)
{
    TbxLocalVm *vm = find_vm(local_of(driver), name, task);

    if (vm != NULL)
        tbx_local_vm_open_console(vm, flags, holder, task);
}

/* ---- operations --------------------------------------------------------------------------- */

static void local_operation_list(TbxDriver *driver, GTask *task)
{
    g_task_return_pointer(task, tbx_operations_list(local_of(driver)->context.operations),
                          (GDestroyNotify)g_ptr_array_unref);
    g_object_unref(task);
}

static void local_operation_get(TbxDriver *driver, const char *id, guint wait_seconds, GTask *task)
{
    tbx_operations_wait(local_of(driver)->context.operations, id, wait_seconds, task);
}

static void local_operation_cancel(TbxDriver *driver, const char *id, GTask *task)
{
    G_GNUC_UNUSED g_autoptr(TbxDriver) held = tbx_driver_ref(driver);
    GError *error = NULL;
    TbxOperationRecord *record =
        tbx_operations_cancel(local_of(driver)->context.operations, id, &error);

    if (record != NULL)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
}

/* ---- system ------------------------------------------------------------------------------- */

static JsonObject *count_vms(LocalDriver *self)
{
    JsonObject *count = json_object_new();
    GHashTableIter iter;
    gpointer vm;
    gint64 running = 0;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        running += tbx_local_vm_has_process(vm) ? 1 : 0;
    json_object_set_int_member(count, "total", g_hash_table_size(self->vms));
    json_object_set_int_member(count, "running", running);
    return count;
}

static void local_system_get(TbxDriver *driver, GTask *task)
{
    LocalDriver *self = local_of(driver);
    g_autoptr(JsonObject) system = json_object_new();
    g_autofree char *started_at = tbx_time_format(self->opened_at);

    json_object_set_string_member(system, "version", TBX_VERSION);
    json_object_set_string_member(system, "api_version", "v1");
    json_object_set_array_member(system, "extensions", json_array_new());
    json_object_set_int_member(system, "pid", getpid());
    json_object_set_string_member(system, "started_at", started_at);
    json_object_set_string_member(system, "data_folder",
                                  tbx_registry_get_folder(self->context.registry));
    json_object_set_object_member(system, "host", tbx_host_describe());
    json_object_set_object_member(system, "kvm", tbx_host_describe_kvm());
    json_object_set_object_member(system, "vm_count", count_vms(self));
    g_task_return_pointer(task, tbx_json_print_object(system, NULL), g_free);
    g_object_unref(task);
}

static void on_doctor_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    char *text = tbx_doctor_run_finish(result, &error);

    if (text != NULL)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(task, error);
}

static void local_doctor(TbxDriver *driver, GTask *task)
{
    LocalDriver *self = local_of(driver);

    tbx_doctor_run_async(self->context.registry, g_task_get_cancellable(task), self->closing,
                         on_doctor_done, task);
}

/* Everybody who wants to know is there: from here on VMs are restarted and started by themselves. */
static gboolean wake(gpointer user_data)
{
    LocalDriver *self = user_data;
    g_autoptr(TbxDriver) held = tbx_driver_ref(&self->base);
    g_autoptr(GPtrArray) vms = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_local_vm_unref);
    GHashTableIter iter;
    gpointer vm;

    tbx_source_clear(&self->waking);
    self->context.is_alive = TRUE;
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        g_ptr_array_add(vms, tbx_local_vm_ref(vm));
    for (guint i = 0; i < vms->len && !self->context.is_closed; i++)
        tbx_local_vm_begin_life(g_ptr_array_index(vms, i));
    if (!self->context.is_closed)
        tbx_autostart_begin(self->autostart);
    return G_SOURCE_REMOVE;
}

static void local_watch(TbxDriver *driver, const char *since, GTask *task)
{
    GError *error = NULL;

    if (tbx_event_sink_replay(driver->events, since, &error)) {
        local_of(driver)->is_watched = TRUE;
        if (local_of(driver)->served_at != NULL && !local_of(driver)->context.is_alive &&
            local_of(driver)->waking == NULL)
            local_of(driver)->waking = tbx_source_timer(driver->home, 0, wake, local_of(driver));
        g_task_return_boolean(task, TRUE);
    } else {
        g_task_return_error(task, error);
    }
    g_object_unref(task);
}

static void local_system_stop_vms(TbxDriver *driver, const TbxActionOptions *options, GTask *task)
{
    LocalDriver *self = local_of(driver);
    G_GNUC_UNUSED g_autoptr(TbxDriver) held = tbx_driver_ref(driver);
    TbxOperationRecord *record;
    GError *error = NULL;
    GHashTableIter iter;
    gpointer vm;

    tbx_autostart_cancel(self->autostart);
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        tbx_local_vm_drop_restart(vm);
    record = tbx_stop_vms_begin(self->stop_vms, options, &error);
    if (record != NULL)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
}

static const TbxDriverOps local_ops = {
    .name = "local",
    .open = local_open,
    .close = local_close,
    .free = local_free,
    .system_get = local_system_get,
    .doctor = local_doctor,
    .system_stop_vms = local_system_stop_vms,
    .vm_list = local_vm_list,
    .vm_get = local_vm_get,
    .vm_create = local_vm_create,
    .vm_update = local_vm_update,
    .vm_begin = local_vm_begin,
    .vm_list_deleted = local_vm_list_deleted,
    .vm_undelete = local_vm_undelete,
    .operation_list = local_operation_list,
    .operation_get = local_operation_get,
    .operation_cancel = local_operation_cancel,
    .vm_log = local_vm_log,
    .vm_log_follow = local_vm_log_follow,
    .vm_statistics = local_vm_statistics,
    .vm_send_key = local_vm_send_key,
    .console_open = local_console_open,
    .watch = local_watch,
};

static void drop_vm(gpointer vm)
{
    tbx_local_vm_unref(vm);
}

TbxDriver *tbx_local_driver_new(const char *uri, const char *data_folder, const char *served_at,
                                gint64 trash_days, TbxEventSink *events, GError **error)
{
    LocalDriver *self = g_new0(LocalDriver, 1);

    tbx_driver_init(&self->base, &local_ops, uri, events);
    self->data_folder = g_strdup(data_folder);
    self->served_at = g_strdup(served_at);
    self->trash_days = trash_days;
    self->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, drop_vm);
    self->closing = g_cancellable_new();
    self->context = (TbxLocalContext){
        .driver = &self->base,
        .operations = tbx_operations_new(on_operation_changed, self, NULL),
        .emit = emit_vm,
        .removed = on_vm_removed,
        .touched = on_vm_touched,
        .settled = on_vm_settled,
    };
    self->autostart = tbx_autostart_new(&self->context, self->vms);
    self->stop_vms = tbx_stop_vms_new(&self->context, self->vms);
    return &self->base;
}
