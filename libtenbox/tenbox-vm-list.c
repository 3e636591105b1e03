/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list model over the handles of a connection: rows sorted by the name that each had when it was put in its
 * place, so that a VM whose name has changed is still found where it stands.
 */
#include "libtenbox/tenbox-vm-list.h"

#include <string.h>

#include "libtenbox/tenbox-internal.h"

typedef struct {
    TenboxVm *vm;
    char *name; /* by which it is sorted */
} Row;

struct _TenboxVmList {
    GObject parent_instance;
    TenboxConnection *connection;
    GPtrArray *rows; /* of Row, by name */
};

static void tenbox_vm_list_model_init(GListModelInterface *interface);

G_DEFINE_FINAL_TYPE_WITH_CODE(TenboxVmList, tenbox_vm_list, G_TYPE_OBJECT,
                              G_IMPLEMENT_INTERFACE(G_TYPE_LIST_MODEL, tenbox_vm_list_model_init))

static void row_free(gpointer data)
{
    Row *row = data;

    g_object_unref(row->vm);
    g_free(row->name);
    g_free(row);
}

static GType get_item_type(GListModel *model)
{
    return TENBOX_TYPE_VM;
}

static guint get_n_items(GListModel *model)
{
    return TENBOX_VM_LIST(model)->rows->len;
}

static gpointer get_item(GListModel *model, guint position)
{
    TenboxVmList *self = TENBOX_VM_LIST(model);

    if (position >= self->rows->len)
        return NULL;
    return g_object_ref(((Row *)g_ptr_array_index(self->rows, position))->vm);
}

static void tenbox_vm_list_model_init(GListModelInterface *interface)
{
    interface->get_item_type = get_item_type;
    interface->get_n_items = get_n_items;
    interface->get_item = get_item;
}

/* Where a row of @name stands, or would. */
static guint find_place(TenboxVmList *self, const char *name)
{
    guint low = 0, high = self->rows->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        const Row *row = g_ptr_array_index(self->rows, middle);

        if (strcmp(row->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* FALSE when @vm is in no row. */
static gboolean find_row(TenboxVmList *self, TenboxVm *vm, guint *ret_position)
{
    for (guint i = 0; i < self->rows->len; i++) {
        if (((Row *)g_ptr_array_index(self->rows, i))->vm == vm) {
            *ret_position = i;
            return TRUE;
        }
    }
    return FALSE;
}

static void insert(TenboxVmList *self, TenboxVm *vm)
{
    Row *row = g_new0(Row, 1);
    guint position;

    row->vm = g_object_ref(vm);
    row->name = g_strdup(tenbox_vm_get_name(vm));
    position = find_place(self, row->name);
    g_ptr_array_insert(self->rows, (gint)position, row);
    g_list_model_items_changed(G_LIST_MODEL(self), position, 0, 1);
}

static void on_vm_added(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    TenboxVmList *self = user_data;
    guint position;

    if (!find_row(self, vm, &position))
        insert(self, vm);
}

static void on_vm_removed(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    TenboxVmList *self = user_data;
    guint position;

    if (!find_row(self, vm, &position))
        return;
    g_ptr_array_remove_index(self->rows, position);
    g_list_model_items_changed(G_LIST_MODEL(self), position, 1, 0);
}

static void on_vm_changed(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    TenboxVmList *self = user_data;
    g_autoptr(TenboxVmList) keep = g_object_ref(self);
    guint position;

    /* Whoever follows a row follows its VM's properties; here only places matter. */
    if (!find_row(self, vm, &position) ||
        g_str_equal(((Row *)g_ptr_array_index(self->rows, position))->name, tenbox_vm_get_name(vm)))
        return;
    g_ptr_array_remove_index(self->rows, position);
    g_list_model_items_changed(G_LIST_MODEL(self), position, 1, 0);
    if (!tenbox_vm_is_deleted(vm) && !find_row(self, vm, &position))
        insert(keep, vm);
}

static void tenbox_vm_list_dispose(GObject *object)
{
    TenboxVmList *self = TENBOX_VM_LIST(object);

    if (self->connection)
        g_signal_handlers_disconnect_by_data(self->connection, self);
    g_clear_object(&self->connection);
    G_OBJECT_CLASS(tenbox_vm_list_parent_class)->dispose(object);
}

static void tenbox_vm_list_finalize(GObject *object)
{
    g_ptr_array_unref(TENBOX_VM_LIST(object)->rows);
    G_OBJECT_CLASS(tenbox_vm_list_parent_class)->finalize(object);
}

static void tenbox_vm_list_class_init(TenboxVmListClass *class)
{
    G_OBJECT_CLASS(class)->dispose = tenbox_vm_list_dispose;
    G_OBJECT_CLASS(class)->finalize = tenbox_vm_list_finalize;
}

static void tenbox_vm_list_init(TenboxVmList *self)
{
    self->rows = g_ptr_array_new_with_free_func(row_free);
}

TenboxVmList *tenbox_vm_list_new(TenboxConnection *connection)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(connection), NULL);

    TenboxVmList *self = g_object_new(TENBOX_TYPE_VM_LIST, NULL);
    g_autoptr(GPtrArray) known = tbx_connection_list_handles(connection);

    self->connection = g_object_ref(connection);
    for (guint i = 0; i < known->len; i++)
        insert(self, g_ptr_array_index(known, i));
    g_signal_connect(connection, "vm-added", G_CALLBACK(on_vm_added), self);
    g_signal_connect(connection, "vm-changed", G_CALLBACK(on_vm_changed), self);
    g_signal_connect(connection, "vm-removed", G_CALLBACK(on_vm_removed), self);
    return self;
}
