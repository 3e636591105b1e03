/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/autostart.h"

#include <string.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/policy.h"
#include "libtenbox/local/run-state.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

#define FILE_NAME "boot.json"
/* An id takes 40 bytes: room for as many VMs as anybody has; within the limits for answers. */
#define FILE_MAX  (4u << 20)

struct _TbxAutostart {
    TbxLocalContext *context;
    GHashTable *vms;
    TbxFileWriter *writer; /* NULL before the beginning */
    char *boot_id;
    GPtrArray *waiting; /* of ids, in their order */
    GSource *timer;     /* the delay of the first of them */
    char *operation_id; /* nullable: the start under way */
    char *current; /* nullable: of the VM that is being started; it waits until that has ended */
    gboolean is_writing; /* the plan, before the first start */
    grefcount references;
};

static void autostart_unref(TbxAutostart *self)
{
    if (!g_ref_count_dec(&self->references))
        return;
    g_ptr_array_unref(self->waiting);
    g_free(self->boot_id);
    g_free(self->operation_id);
    g_free(self->current);
    g_free(self);
}

TbxAutostart *tbx_autostart_new(TbxLocalContext *context, GHashTable *vms)
{
    TbxAutostart *self = g_new0(TbxAutostart, 1);

    g_ref_count_init(&self->references);
    self->context = context;
    self->vms = vms;
    self->waiting = g_ptr_array_new_with_free_func(g_free);
    return self;
}

void tbx_autostart_close(TbxAutostart *self)
{
    tbx_source_clear(&self->timer);
    if (self->writer != NULL)
        tbx_file_writer_close(self->writer);
    g_clear_pointer(&self->writer, tbx_file_writer_unref);
}

void tbx_autostart_free(TbxAutostart *self)
{
    if (self == NULL)
        return;
    tbx_autostart_close(self);
    self->vms = NULL;
    autostart_unref(self);
}

/* ---- the file ----------------------------------------------------------------------------- */

static GBytes *print_plan(TbxAutostart *self)
{
    g_autoptr(JsonObject) document = json_object_new();
    JsonArray *waiting = json_array_new();
    gsize length;
    char *text;

    for (guint i = 0; i < self->waiting->len; i++)
        json_array_add_string_element(waiting, g_ptr_array_index(self->waiting, i));
    json_object_set_string_member(document, "boot_id", self->boot_id);
    json_object_set_array_member(document, "waiting", waiting);
    text = tbx_json_print_object(document, &length);
    return g_bytes_new_take(text, length);
}

static void on_saved(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GError) error = NULL;

    /* At worst VMs are started again that a user stopped after their host had started. */
    if (!tbx_file_writer_write_finish(result, &error))
        g_warning("%s: %s", FILE_NAME, error->message);
}

static void save(TbxAutostart *self)
{
    g_autoptr(GBytes) content = NULL;

    if (self->writer == NULL)
        return;
    content = print_plan(self);
    tbx_file_writer_write_async(self->writer, content, on_saved, NULL);
}

/* The VMs that still wait when the file is of this boot; NULL: it is of another one. */
static GPtrArray *read_plan(TbxAutostart *self, int folder_fd)
{
    gsize length = 0;
    g_autofree char *text = tbx_file_read_at(folder_fd, FILE_NAME, FILE_MAX, &length, NULL);
    g_autoptr(JsonObject) document =
        text != NULL ? tbx_json_guard_parse_answer(text, length, NULL) : NULL;
    g_autoptr(GPtrArray) waiting = NULL;
    JsonNode *boot_id, *list;
    JsonArray *array;

    if (document == NULL)
        return NULL;
    boot_id = json_object_get_member(document, "boot_id");
    if (boot_id == NULL || !JSON_NODE_HOLDS_VALUE(boot_id) ||
        g_strcmp0(json_node_get_string(boot_id), self->boot_id) != 0)
        return NULL;
    waiting = g_ptr_array_new_with_free_func(g_free);
    list = json_object_get_member(document, "waiting");
    array = list != NULL && JSON_NODE_HOLDS_ARRAY(list) ? json_node_get_array(list) : NULL;
    for (guint i = 0; array != NULL && i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);

        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_string(node) != NULL)
            g_ptr_array_add(waiting, json_node_dup_string(node));
    }
    return g_steal_pointer(&waiting);
}

/* ---- the sequence ------------------------------------------------------------------------- */

/* Whether it still is there, stopped, and to be started with its host. */
static gboolean can_start(TbxLocalVm *vm)
{
    return vm != NULL && tbx_local_vm_get_record(vm)->autostart && !tbx_local_vm_has_process(vm);
}

static TbxVmRecord *record_of(TbxAutostart *self, const char *id)
{
    TbxLocalVm *vm = g_hash_table_lookup(self->vms, id);

    return vm != NULL ? tbx_local_vm_get_record(vm) : NULL;
}

static int compare_waiting(gconstpointer a, gconstpointer b, gpointer user_data)
{
    const TbxVmRecord *left = record_of(user_data, *(const char *const *)a);
    const TbxVmRecord *right = record_of(user_data, *(const char *const *)b);

    return tbx_policy_compare_start(left->start_order, left->name, right->start_order, right->name);
}

static GPtrArray *make_plan(TbxAutostart *self)
{
    GPtrArray *waiting = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm)) {
        if (can_start(vm))
            g_ptr_array_add(waiting, g_strdup(tbx_local_vm_get_id(vm)));
    }
    g_ptr_array_sort_with_data(waiting, compare_waiting, self);
    return waiting;
}

static void go_on(TbxAutostart *self);

/* Tells of the start and begins it. FALSE: there is nothing to wait for. */
static gboolean start(TbxAutostart *self, TbxLocalVm *vm)
{
    g_autoptr(TbxLocalVm) held = tbx_local_vm_ref(vm);
    g_autoptr(TbxOperationRecord) operation = NULL;
    g_autoptr(GError) error = NULL;

    self->context->emit(TBX_EVENT_VM_AUTOSTART, tbx_local_vm_get_record(vm), self->context->driver);
    if (self->context->is_closed)
        return TRUE;
    operation = tbx_local_vm_begin_automatic(vm, &error);
    if (operation == NULL) {
        g_warning("VM %s cannot be started with its host: %s", tbx_local_vm_get_record(vm)->name,
                  error->message);
        return FALSE;
    }
    if (operation->state != TENBOX_OPERATION_STATE_RUNNING)
        return FALSE;
    self->operation_id = g_strdup(operation->id);
    return TRUE;
}

static gboolean on_delay_over(gpointer user_data)
{
    TbxAutostart *self = user_data;
    g_autoptr(TbxDriver) driver = tbx_driver_ref(self->context->driver);
    TbxLocalVm *vm = g_hash_table_lookup(self->vms, g_ptr_array_index(self->waiting, 0));
    gboolean is_begun = FALSE;

    tbx_source_clear(&self->timer);
    if (can_start(vm)) {
        self->current = g_strdup(tbx_local_vm_get_id(vm));
        is_begun = start(self, vm);
    }
    if (!is_begun && !self->context->is_closed)
        go_on(self);
    return G_SOURCE_REMOVE;
}

/* Takes a VM out of the list; FALSE: it is not in it. */
static gboolean drop(TbxAutostart *self, const char *id)
{
    for (guint i = 0; i < self->waiting->len; i++) {
        if (g_str_equal(g_ptr_array_index(self->waiting, i), id)) {
            g_ptr_array_remove_index(self->waiting, i);
            return TRUE;
        }
    }
    return FALSE;
}

/* Goes on with the first VM that can be started. */
static void go_on(TbxAutostart *self)
{
    gboolean is_changed = self->current != NULL && drop(self, self->current);
    guint passed = 0;

    g_clear_pointer(&self->current, g_free);
    g_clear_pointer(&self->operation_id, g_free);
    for (guint i = 0; i < self->waiting->len; i++) {
        TbxLocalVm *vm = g_hash_table_lookup(self->vms, g_ptr_array_index(self->waiting, i));

        if (can_start(vm)) {
            gint64 delay = tbx_local_vm_get_record(vm)->autostart_delay;

            self->timer = tbx_source_timer(self->context->driver->home, (guint)delay * 1000,
                                           on_delay_over, self);
            break;
        }
        passed++;
    }
    if (passed > 0) {
        g_ptr_array_remove_range(self->waiting, 0, passed);
        is_changed = TRUE;
    }
    if (is_changed)
        save(self);
}

static void on_planned(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbxAutostart *self = user_data;

    on_saved(source, result, NULL);
    self->is_writing = FALSE;
    if (self->vms != NULL && !self->context->is_closed)
        go_on(self);
    autostart_unref(self);
}

void tbx_autostart_begin(TbxAutostart *self)
{
    int folder_fd = tbx_registry_get_folder_fd(self->context->registry);
    g_autoptr(GPtrArray) waiting = NULL;
    g_autoptr(GBytes) content = NULL;

    self->boot_id = tbx_boot_id_read();
    self->writer = tbx_file_writer_new(folder_fd, FILE_NAME, 0600,
                                       tbx_registry_get_lock(self->context->registry));
    waiting = read_plan(self, folder_fd);
    if (waiting != NULL) {
        g_clear_pointer(&self->waiting, g_ptr_array_unref);
        self->waiting = g_steal_pointer(&waiting);
        go_on(self);
        return;
    }
    g_clear_pointer(&self->waiting, g_ptr_array_unref);
    self->waiting = make_plan(self);
    content = print_plan(self);
    self->is_writing = TRUE;
    g_ref_count_inc(&self->references);
    tbx_file_writer_write_async(self->writer, content, on_planned, self);
}

void tbx_autostart_forget(TbxAutostart *self, const char *vm_id)
{
    gboolean is_next =
        self->timer != NULL && g_str_equal(g_ptr_array_index(self->waiting, 0), vm_id);

    if (!drop(self, vm_id))
        return;
    save(self);
    if (is_next) {
        tbx_source_clear(&self->timer);
        go_on(self);
    }
}

void tbx_autostart_cancel(TbxAutostart *self)
{
    tbx_source_clear(&self->timer);
    if (self->waiting->len == 0)
        return;
    g_ptr_array_set_size(self->waiting, 0);
    save(self);
}

void tbx_autostart_operation_ended(TbxAutostart *self, const char *operation_id)
{
    if (g_strcmp0(self->operation_id, operation_id) == 0 && !self->context->is_closed)
        go_on(self);
}
