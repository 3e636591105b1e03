/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/operations.h"

#include "libtenbox/local/line-log.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

struct _TbxOperation {
    TbxOperations *operations; /* const */
    TbxOperationRecord *record;
    const TbxOperationHandlers *handlers;
    gpointer user_data;
    gint64 ended;   /* by operations->now(), 0 = running */
    GQueue waiters; /* of Waiter */
    gboolean is_announced;
    GSource *telling; /* nullable: progress that was not announced yet */
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
    TbxLineLog *log;   /* nullable */
    gboolean is_closed;
};

/* One file has all that is kept, several times over. */
#define LOG_SIZE_MAX (1024 * 1024)
/* Between two announcements of how far it is: what takes no time is not worth one. */
#define PROGRESS_MS  100

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
    tbx_source_clear(&operation->telling);
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
    /* The folder may be another's soon. */
    g_clear_pointer(&self->log, tbx_line_log_free);
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
    return tbx_operations_begin_as(self, NULL, vm_id, vm_name, kind, pre_empt, handlers, user_data,
                                   error);
}

TbxOperation *tbx_operations_begin_as(TbxOperations *self, const char *id, const char *vm_id,
                                      const char *vm_name, const char *kind, gboolean pre_empt,
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
    operation->record->id = id != NULL && !g_hash_table_contains(self->by_id, id)
                                ? g_strdup(id)
                                : g_uuid_string_random();
    operation->record->kind = g_strdup(kind);
    operation->record->vm_id = g_strdup(vm_id);
    operation->record->state = TENBOX_OPERATION_STATE_RUNNING;
    operation->record->created_at = g_get_real_time();
    operation->record->begun_at = operation->record->created_at;
    g_hash_table_insert(self->by_id, operation->record->id, operation);
    g_hash_table_insert(self->by_vm, (gpointer)key_of(operation->record->vm_id), operation);
    g_queue_push_tail(&self->history, operation);
    prune(self);
    return operation;
}

/* ---- across restarts ---------------------------------------------------------------------- */

static void write_record(TbxOperations *self, TbxOperationRecord *record)
{
    g_autoptr(JsonObject) object = NULL;

    if (self->log == NULL)
        return;
    object = tbx_operation_record_to_json(record);
    tbx_line_log_append(self->log, object);
}

/* A new file: what runs must be in it, or nobody would hear that it was interrupted. */
static void carry_running(TbxLineLog *log, gpointer user_data)
{
    TbxOperations *self = user_data;

    for (GList *link = self->history.head; link != NULL; link = link->next) {
        TbxOperation *operation = link->data;

        /* Also while the file is being read: what has ended is no part of it then, either. */
        if (operation->record->state == TENBOX_OPERATION_STATE_RUNNING && operation->is_announced)
            write_record(self, operation->record);
    }
}

/* A later line about the same operation takes the place of the earlier. */
static void load_line(JsonObject *line, gpointer user_data)
{
    TbxOperations *self = user_data;
    TbxOperationRecord *record = tbx_operation_record_from_json(line, NULL);
    TbxOperation *operation = record != NULL ? g_hash_table_lookup(self->by_id, record->id) : NULL;

    if (record == NULL)
        return;
    if (operation != NULL) {
        g_hash_table_steal(self->by_id, operation->record->id);
        tbx_operation_record_unref(operation->record);
    } else {
        operation = g_new0(TbxOperation, 1);
        operation->operations = self;
        g_queue_push_tail(&self->history, operation);
    }
    operation->record = record;
    operation->is_announced = TRUE;
    g_hash_table_insert(self->by_id, record->id, operation);
}

/* What was loaded has ended, by itself or with the process; when is told by a clock that may have been
 * set since, so an age is at least none and at most what is kept. */
static void settle_loaded(TbxOperations *self, TbxOperation *operation)
{
    gint64 now = g_get_real_time();
    gboolean is_running = operation->record->state == TENBOX_OPERATION_STATE_RUNNING;
    gint64 age;

    if (is_running) {
        TbxOperationRecord *record = tbx_operation_record_copy(operation->record);

        record->state = TENBOX_OPERATION_STATE_INTERRUPTED;
        record->ended_at = MAX(now, record->created_at);
        record->error = tbx_error_new(
            "operation-interrupted", NULL,
            "The daemon ended while the %s ran; the VM shows how far it came", record->kind);
        g_hash_table_steal(self->by_id, operation->record->id);
        tbx_operation_record_unref(operation->record);
        operation->record = record;
        g_hash_table_insert(self->by_id, record->id, operation);
    }
    age = CLAMP(now - operation->record->ended_at, 0, TBX_OPERATIONS_KEPT_USEC + 1);
    operation->ended = self->now() - age;
    if (operation->ended == 0)
        operation->ended = -1;
    if (is_running)
        write_record(self, operation->record);
}

gboolean tbx_operations_remember(TbxOperations *self, const char *folder, GError **error)
{
    static const TbxLineLogHandlers handlers = {load_line, carry_running};
    GQueue interrupted = G_QUEUE_INIT;

    self->log =
        tbx_line_log_open(folder, TBX_OPERATIONS_FILE, LOG_SIZE_MAX, &handlers, self, error);
    /* What is interrupted ended last, and is the last to be forgotten. */
    for (guint count = self->history.length; count > 0; count--) {
        TbxOperation *operation = g_queue_pop_head(&self->history);
        gboolean is_interrupted = operation->record->state == TENBOX_OPERATION_STATE_RUNNING;

        settle_loaded(self, operation);
        g_queue_push_tail(is_interrupted ? &interrupted : &self->history, operation);
    }
    while (interrupted.head != NULL)
        g_queue_push_tail_link(&self->history, g_queue_pop_head_link(&interrupted));
    prune(self);
    return self->log != NULL;
}

/* ---- one operation ------------------------------------------------------------------------ */

void tbx_operation_announce(TbxOperation *operation)
{
    TbxOperations *self = operation->operations;
    g_autoptr(TbxOperationRecord) shown = tbx_operation_record_ref(operation->record);

    operation->is_announced = TRUE;
    write_record(self, shown);
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

static gboolean on_tell(gpointer user_data)
{
    TbxOperation *operation = user_data;
    TbxOperations *self = operation->operations;
    g_autoptr(TbxOperationRecord) shown = tbx_operation_record_ref(operation->record);

    tbx_source_clear(&operation->telling);
    if (!self->is_closed && operation->is_announced)
        self->changed(shown, self->user_data);
    return G_SOURCE_REMOVE;
}

void tbx_operation_set_progress(TbxOperation *operation, const char *stage, gint64 done_bytes,
                                gint64 total_bytes)
{
    TbxOperations *self = operation->operations;
    TbxOperationRecord *record = tbx_operation_record_copy(operation->record);

    if (record->progress == NULL)
        record->progress = g_new0(TbxOperationProgress, 1);
    g_free(record->progress->stage);
    record->progress->stage = g_strdup(stage);
    record->progress->done_bytes = done_bytes;
    record->progress->total_bytes = total_bytes;
    record->progress->percent =
        done_bytes >= 0 && total_bytes > 0 ? MIN(done_bytes, total_bytes) * 100 / total_bytes : -1;
    replace_record(operation, record);
    g_hash_table_insert(self->by_vm, (gpointer)key_of(record->vm_id), operation);

    if (operation->telling == NULL)
        operation->telling = tbx_source_timer(self->home, PROGRESS_MS, on_tell, operation);
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
    tbx_source_clear(&operation->telling);
    replace_record(operation, record);
    write_record(self, record);

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
