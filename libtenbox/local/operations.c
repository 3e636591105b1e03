/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/operations.h"

#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

struct _TbxOperation {
    TbxOperations *operations; /* const */
    TbxOperationRecord *record;
    const TbxOperationHandlers *handlers;
    gpointer user_data;
    gint64 ended;   /* by operations->now(), 0 = running */
    GQueue waiters; /* of Waiter */
};

typedef struct {
    TbxOperation *operation;
    GTask *task;
    GSource *timer;
    GSource *cancelled; /* nullable */
} Waiter;

struct _TbxOperations {
    void (*changed)(TbxOperationRecord *record, gpointer user_data);
    gpointer user_data;
    gint64 (*now)(void);
    GMainContext *home;
    GHashTable *by_id; /* id → TbxOperation, owned */
    GHashTable *by_vm; /* vm id → TbxOperation that runs */
    GQueue history;    /* of TbxOperation, oldest first */
    gboolean is_closed;
};

/* An operation on the host as a whole takes the place of one more VM, which has no name. */
static const char *key_of(const char *vm_id)
{
    return vm_id != NULL ? vm_id : "";
}

static void waiter_free(Waiter *waiter)
{
    tbx_source_clear(&waiter->timer);
    tbx_source_clear(&waiter->cancelled);
    g_object_unref(waiter->task);
    g_free(waiter);
}

/* Completes @waiter, which is in no list any more, with @record or with its cancellation. Callbacks of
 * tasks may do anything, so nothing of the operation is touched here. */
static void waiter_complete(Waiter *waiter, TbxOperationRecord *record)
{
    if (!g_task_return_error_if_cancelled(waiter->task))
        g_task_return_pointer(waiter->task, tbx_operation_record_ref(record),
                              (GDestroyNotify)tbx_operation_record_unref);
    waiter_free(waiter);
}

/* The same for one that still waits. */
static void waiter_give_up(Waiter *waiter)
{
    g_autoptr(TbxOperationRecord) record = tbx_operation_record_ref(waiter->operation->record);

    g_queue_remove(&waiter->operation->waiters, waiter);
    waiter_complete(waiter, record);
}

static void operation_free(TbxOperation *operation)
{
    tbx_operation_record_unref(operation->record);
    g_free(operation);
}

TbxOperations *tbx_operations_new(void (*changed)(TbxOperationRecord *record, gpointer user_data),
                                  gpointer user_data, gint64 (*now)(void))
{
    TbxOperations *self = g_new0(TbxOperations, 1);

    self->changed = changed;
    self->user_data = user_data;
    self->now = now != NULL ? now : g_get_monotonic_time;
    self->home = g_main_context_ref_thread_default();
    self->by_id =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)operation_free);
    self->by_vm = g_hash_table_new(g_str_hash, g_str_equal);
    return self;
}

void tbx_operations_close(TbxOperations *self)
{
    self->is_closed = TRUE;
    for (GList *link = self->history.head; link != NULL; link = link->next) {
        TbxOperation *operation = link->data;
        Waiter *waiter;

        while ((waiter = g_queue_pop_head(&operation->waiters)) != NULL) {
            g_task_return_error(waiter->task,
                                tbx_error_new("closed", NULL, "The driver was closed"));
            waiter_free(waiter);
        }
    }
}

void tbx_operations_free(TbxOperations *self)
{
    if (self == NULL)
        return;
    tbx_operations_close(self);
    g_queue_clear(&self->history);
    g_hash_table_unref(self->by_vm);
    g_hash_table_unref(self->by_id);
    g_main_context_unref(self->home);
    g_free(self);
}

/* Forgets what is too old or too much; never what runs. */
static void prune(TbxOperations *self)
{
    gint64 now = self->now();
    guint ended = self->history.length - g_hash_table_size(self->by_vm);

    for (GList *link = self->history.head; link != NULL;) {
        TbxOperation *operation = link->data;
        GList *next = link->next;

        if (operation->ended != 0 &&
            (ended > TBX_OPERATIONS_KEPT || now - operation->ended > TBX_OPERATIONS_KEPT_USEC)) {
            g_queue_delete_link(&self->history, link);
            g_hash_table_remove(self->by_id, operation->record->id);
            ended--;
        }
        link = next;
    }
}

static void set_busy(const TbxOperation *operation, const char *vm_name, GError **error)
{
    tbx_error_set(error, "vm-busy", NULL, "%s is busy: the operation %s (%s) runs on it", vm_name,
                  operation->record->kind, operation->record->id);
}

/* Gives way to @kind, or says why not. */
static gboolean make_way(TbxOperation *operation, const char *vm_name, const char *kind,
                         gboolean pre_empt, GError **error)
{
    if (pre_empt && operation->handlers != NULL &&
        operation->handlers->pre_empt(operation, kind, operation->user_data)) {
        tbx_operation_end(operation, tbx_error_new("operation-cancelled", NULL,
                                                   "The %s of %s gave way to a %s",
                                                   operation->record->kind, vm_name, kind));
        return TRUE;
    }
    set_busy(operation, vm_name, error);
    return FALSE;
}

TbxOperation *tbx_operations_begin(TbxOperations *self, const char *vm_id, const char *vm_name,
                                   const char *kind, gboolean pre_empt,
                                   const TbxOperationHandlers *handlers, gpointer user_data,
                                   GError **error)
{
    TbxOperation *operation = g_hash_table_lookup(self->by_vm, key_of(vm_id));

    if (operation != NULL && !self->is_closed &&
        !make_way(operation, vm_name, kind, pre_empt, error))
        return NULL;
    /* Who heard of the end may have begun another, or closed the driver. */
    operation = g_hash_table_lookup(self->by_vm, key_of(vm_id));
    if (self->is_closed) {
        tbx_error_set(error, "closed", NULL, "The driver was closed");
        return NULL;
    }
    if (operation != NULL) {
        set_busy(operation, vm_name, error);
        return NULL;
    }

    operation = g_new0(TbxOperation, 1);
    operation->operations = self;
    operation->handlers = handlers;
    operation->user_data = user_data;
    operation->record = tbx_operation_record_new();
    operation->record->id = g_uuid_string_random();
    operation->record->kind = g_strdup(kind);
    operation->record->vm_id = g_strdup(vm_id);
    operation->record->state = TENBOX_OPERATION_STATE_RUNNING;
    operation->record->created_at = g_get_real_time();
    g_hash_table_insert(self->by_id, operation->record->id, operation);
    g_hash_table_insert(self->by_vm, (gpointer)key_of(operation->record->vm_id), operation);
    g_queue_push_tail(&self->history, operation);
    prune(self);
    return operation;
}

void tbx_operation_announce(TbxOperation *operation)
{
    TbxOperations *self = operation->operations;
    g_autoptr(TbxOperationRecord) shown = tbx_operation_record_ref(operation->record);

    self->changed(shown, self->user_data);
}

/* Puts a new document in place; the tables' keys live in it. */
static void replace_record(TbxOperation *operation, TbxOperationRecord *record)
{
    TbxOperations *self = operation->operations;

    g_hash_table_steal(self->by_id, operation->record->id);
    g_hash_table_remove(self->by_vm, key_of(operation->record->vm_id));
    tbx_operation_record_unref(operation->record);
    operation->record = record;
    g_hash_table_insert(self->by_id, record->id, operation);
}

void tbx_operation_end(TbxOperation *operation, GError *error)
{
    TbxOperations *self = operation->operations;
    g_autoptr(TbxOperationRecord) shown = NULL;
    TbxOperationRecord *record = tbx_operation_record_copy(operation->record);
    GQueue waiters;
    Waiter *waiter;

    g_assert(operation->ended == 0);
    if (error == NULL)
        record->state = TENBOX_OPERATION_STATE_DONE;
    else if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_CANCELLED))
        record->state = TENBOX_OPERATION_STATE_CANCELLED;
    else
        record->state = TENBOX_OPERATION_STATE_FAILED;
    record->error = error;
    record->ended_at = MAX(g_get_real_time(), record->created_at);
    operation->ended = MAX(self->now(), 1);
    operation->handlers = NULL;
    replace_record(operation, record);

    shown = tbx_operation_record_ref(record);
    waiters = operation->waiters;
    g_queue_init(&operation->waiters);
    self->changed(shown, self->user_data);
    while ((waiter = g_queue_pop_head(&waiters)) != NULL)
        waiter_complete(waiter, shown);
}

const char *tbx_operation_get_id(const TbxOperation *operation)
{
    return operation->record->id;
}

const char *tbx_operation_get_kind(const TbxOperation *operation)
{
    return operation->record->kind;
}

TbxOperationRecord *tbx_operation_get_document(const TbxOperation *operation)
{
    return operation->record;
}

TbxOperation *tbx_operations_get_current(TbxOperations *self, const char *vm_id)
{
    return g_hash_table_lookup(self->by_vm, key_of(vm_id));
}

static TbxOperation *lookup(TbxOperations *self, const char *id, GError **error)
{
    TbxOperation *operation;

    prune(self);
    operation = g_hash_table_lookup(self->by_id, id);
    if (operation == NULL)
        tbx_error_set(error, "operation-not-found", NULL,
                      "There is no operation %s; ended ones are forgotten after an hour", id);
    return operation;
}

TbxOperationRecord *tbx_operations_get(TbxOperations *self, const char *id, GError **error)
{
    TbxOperation *operation = lookup(self, id, error);

    return operation != NULL ? tbx_operation_record_ref(operation->record) : NULL;
}

GPtrArray *tbx_operations_list(TbxOperations *self)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_operation_record_unref);

    prune(self);
    for (GList *link = self->history.head; link != NULL; link = link->next) {
        TbxOperation *operation = link->data;

        g_ptr_array_add(list, tbx_operation_record_ref(operation->record));
    }
    return list;
}

static gboolean on_wait_over(gpointer user_data)
{
    waiter_give_up(user_data);
    return G_SOURCE_REMOVE;
}

static gboolean on_wait_cancelled(GCancellable *cancellable, gpointer user_data)
{
    waiter_give_up(user_data);
    return G_SOURCE_REMOVE;
}

void tbx_operations_wait(TbxOperations *self, const char *id, guint seconds, GTask *task)
{
    GCancellable *cancellable = g_task_get_cancellable(task);
    GError *error = NULL;
    TbxOperation *operation = lookup(self, id, &error);
    Waiter *waiter;

    if (operation == NULL) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    waiter = g_new0(Waiter, 1);
    waiter->operation = operation;
    waiter->task = task;
    g_queue_push_tail(&operation->waiters, waiter);
    if (operation->ended != 0 || seconds == 0 || self->is_closed) {
        waiter_give_up(waiter);
        return;
    }
    waiter->timer = tbx_source_timer(self->home, seconds * 1000, on_wait_over, waiter);
    if (cancellable != NULL) {
        waiter->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(waiter->cancelled, G_SOURCE_FUNC(on_wait_cancelled), waiter, NULL);
        g_source_attach(waiter->cancelled, self->home);
    }
}

TbxOperationRecord *tbx_operations_cancel(TbxOperations *self, const char *id, GError **error)
{
    TbxOperation *operation = lookup(self, id, error);
    g_autofree char *kept_id = NULL;

    if (operation == NULL)
        return NULL;
    kept_id = g_strdup(id);
    if (operation->ended == 0 && operation->handlers != NULL)
        operation->handlers->cancel(operation, operation->user_data);
    return tbx_operations_get(self, kept_id, error);
}
