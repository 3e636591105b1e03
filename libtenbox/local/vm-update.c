/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of what a VM is.
 *
 * Everything may change at any time. What a process is made of (kernel, initrd, command line, memory, CPUs)
 * is taken over by the next one; until then the document names it as pending. The new definition takes
 * effect when it is durable, not before; one change is on its way at a time. A change of files or of the
 * machine is an operation ("update"), so that no start reads half of it.
 */
#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-private.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"

/* What no process is made of. */
#define LIVE_FIELDS                                                                                \
    (TBX_VM_SPEC_NAME | TBX_VM_SPEC_DESCRIPTION | TBX_VM_SPEC_LABELS | TBX_VM_SPEC_NOTES |         \
     TBX_VM_SPEC_AUTOSTART | TBX_VM_SPEC_AUTOSTART_DELAY | TBX_VM_SPEC_START_ORDER |               \
     TBX_VM_SPEC_RESTART_POLICY | TBX_VM_SPEC_STOP_TIMEOUT)

typedef struct {
    TbxHeldVm *vm;
    TbxVmDefinition *definition;
    char *taken_name; /* nullable: given back when the change fails */
    gboolean is_operation;
    gboolean drops_initrd;
    GTask *task;
} Update;

static void update_free(Update *update)
{
    tbx_vm_definition_free(update->definition);
    g_free(update->taken_name);
    g_object_unref(update->task);
    tbx_local_vm_release(update->vm);
    g_free(update);
}

/* Completes the change; takes @error. */
static void finish(Update *update, GError *error)
{
    TbxLocalVm *vm = update->vm;
    TbxRegistry *registry = vm->context->registry;
    gboolean is_boot_owed = vm->definition->last_boot_time != update->definition->last_boot_time;

    vm->is_updating = FALSE;
    if (error != NULL) {
        if (update->taken_name != NULL)
            tbx_registry_release_name(registry, update->taken_name);
    } else {
        if (update->taken_name != NULL)
            tbx_registry_release_name(registry, vm->definition->name);
        update->definition->last_boot_time = vm->definition->last_boot_time;
        tbx_vm_definition_free(vm->definition);
        vm->definition = g_steal_pointer(&update->definition);
        tbx_life_on_definition(vm);
    }
    tbx_local_vm_note_definition(vm); /* a file may be new even if the rest failed */
    /* A boot that was noted meanwhile left the file to this change. */
    if (is_boot_owed && !vm->context->is_closed)
        tbx_local_vm_save_definition(vm);
    tbx_local_vm_publish(vm, TBX_EVENT_VM_CHANGED);
    if (update->is_operation && vm->verb.operation != NULL) {
        gboolean is_cancelled = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);

        if (is_cancelled) {
            g_clear_error(&error);
            error = tbx_error_new("operation-cancelled", NULL, "The change was cancelled");
        }
        tbx_verb_end(vm, error != NULL ? g_error_copy(error) : NULL);
    }
    if (error != NULL)
        g_task_return_error(update->task, error);
    else
        g_task_return_pointer(update->task, tbx_vm_record_ref(vm->record),
                              (GDestroyNotify)tbx_vm_record_unref);
    update_free(update);
}

static void on_initrd_removed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Update *update = user_data;
    g_autoptr(GError) error = NULL;

    /* The change has happened; a file that nobody names any more does no harm. */
    if (!tbx_registry_remove_initrd_finish(result, &error))
        g_warning("VM %s: %s", update->vm->id, error->message);
    finish(update, NULL);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Update *update = user_data;
    TBX_AUTO_FD folder_fd = -1;
    GError *error = NULL;

    if (!tbx_file_writer_write_finish(result, &error) || !update->drops_initrd ||
        update->vm->context->is_closed) {
        finish(update, error);
        return;
    }
    folder_fd = tbx_place_open(update->vm->folder, &error);
    if (folder_fd >= 0) {
        tbx_registry_remove_initrd_async(update->vm->context->registry, folder_fd,
                                         on_initrd_removed, update);
        return;
    }
    g_warning("VM %s: %s", update->vm->id, error->message);
    g_clear_error(&error);
    finish(update, NULL);
}

static void write_definition(Update *update)
{
    g_autoptr(GBytes) content = tbx_vm_definition_print(update->definition);

    tbx_file_writer_write_async(update->vm->definition_writer, content, on_written, update);
}

static void on_files_replaced(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Update *update = user_data;
    GError *error = NULL;

    /* The folder may be another driver's by now. */
    if (tbx_registry_replace_files_finish(result, &error) && update->vm->context->is_closed)
        tbx_error_set(&error, "closed", NULL, "The driver was closed");
    if (error == NULL)
        write_definition(update);
    else
        finish(update, error);
}

static gboolean check_update(TbxLocalVm *vm, const TbxVmSpec *spec, GError **error)
{
    if (!tbx_local_vm_check_usable(vm, error) ||
        !tbx_etag_require(spec->if_match, vm->record->etag, vm->record->name, error))
        return FALSE;
    /* Writes that are on their way go before the folder does; a new one would find none. */
    if (vm->verb.phase == TBX_PHASE_REMOVING) {
        tbx_error_set(error, "vm-busy", NULL, "%s is busy: it is being deleted", vm->record->name);
        return FALSE;
    }
    if (vm->is_updating) {
        tbx_error_set(error, "vm-busy", NULL, "%s is busy: another change is being written",
                      vm->record->name);
        return FALSE;
    }
    return (spec->present & ~spec->reset & TBX_VM_SPEC_MEMORY_MB) == 0 ||
           tbx_host_check_memory_size(spec->memory_mb, error);
}

/* Takes @name (nullable) and, if need be, the VM; neither when one of them cannot be had. */
static gboolean reserve(TbxLocalVm *vm, const char *name, gboolean is_operation, GError **error)
{
    TbxRegistry *registry = vm->context->registry;

    if (name != NULL && !tbx_registry_take_name(registry, name, vm->id, error))
        return FALSE;
    if (!is_operation || tbx_verb_begin_update(vm, error))
        return TRUE;
    if (name != NULL)
        tbx_registry_release_name(registry, name);
    return FALSE;
}

/* Whether the change leaves nobody who names the copy of the initrd. A file that somebody put into the
 * folder under another name is his. */
static gboolean drops_initrd(const TbxVmDefinition *before, const TbxVmDefinition *after)
{
    return g_strcmp0(before->initrd, TBX_PATH_INITRD) == 0 && after->initrd == NULL &&
           !g_str_equal(after->kernel, TBX_PATH_INITRD);
}

void tbx_local_vm_update(TbxLocalVm *self, TbxVmSpec *spec, GTask *task)
{
    gboolean is_operation = (spec->present & ~(guint64)LIVE_FIELDS) != 0;
    g_autoptr(TbxVmDefinition) definition = NULL;
    gboolean has_files = (spec->present & (TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_INITRD)) != 0;
    TBX_AUTO_FD folder_fd = -1;
    gboolean is_renamed;
    GError *error = NULL;
    Update *update;

    if (check_update(self, spec, &error))
        definition = tbx_vm_definition_updated(self->definition, spec, &error);
    if (definition != NULL && has_files)
        folder_fd = tbx_place_open(self->folder, &error);
    if (error != NULL) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    is_renamed =
        (spec->present & TBX_VM_SPEC_NAME) != 0 && !g_str_equal(spec->name, self->definition->name);
    if (!reserve(self, is_renamed ? spec->name : NULL, is_operation, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    update = g_new0(Update, 1);
    update->vm = tbx_local_vm_hold(self);
    update->definition = g_steal_pointer(&definition);
    update->taken_name = is_renamed ? g_strdup(spec->name) : NULL;
    update->is_operation = is_operation;
    update->drops_initrd = drops_initrd(self->definition, update->definition);
    update->task = task;
    self->is_updating = TRUE;
    if (has_files)
        tbx_registry_replace_files_async(
            self->context->registry, folder_fd,
            (spec->present & TBX_VM_SPEC_KERNEL) != 0 ? spec->kernel : NULL,
            (spec->present & TBX_VM_SPEC_INITRD) != 0 ? spec->initrd : NULL, self->verb.cancellable,
            on_files_replaced, update);
    else
        write_definition(update);
}
