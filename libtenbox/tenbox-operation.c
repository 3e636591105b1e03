/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handle on an operation, and the waiting for its end: GETs held by the driver, one after the
 * other.
 */
#include "libtenbox/tenbox-internal.h"

#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* Between two questions to a driver that does not hold them. */
#define POLL_MILLISECONDS 250

struct _TenboxOperation {
    GObject parent_instance;
    TbxDriver *driver;
    TbxOperationRecord *record;
};

G_DEFINE_FINAL_TYPE(TenboxOperation, tenbox_operation, G_TYPE_OBJECT)

enum {
    PROPERTY_ID = 1,
    PROPERTY_KIND,
    PROPERTY_VM_ID,
    PROPERTY_STATE,
    PROPERTY_STAGE,
    PROPERTY_PERCENT,
};

static void tenbox_operation_get_property(GObject *object, guint property_id, GValue *value,
                                          GParamSpec *spec)
{
    TenboxOperation *self = TENBOX_OPERATION(object);

    switch (property_id) {
    case PROPERTY_ID: g_value_set_string(value, self->record->id); break;
    case PROPERTY_KIND: g_value_set_string(value, self->record->kind); break;
    case PROPERTY_VM_ID: g_value_set_string(value, self->record->vm_id); break;
    case PROPERTY_STATE: g_value_set_enum(value, self->record->state); break;
    case PROPERTY_STAGE: g_value_set_string(value, tenbox_operation_get_stage(self)); break;
    case PROPERTY_PERCENT: g_value_set_int(value, tenbox_operation_get_percent(self)); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property_id, spec);
    }
}

static void tenbox_operation_finalize(GObject *object)
{
    TenboxOperation *self = TENBOX_OPERATION(object);

    tbx_event_sink_remove_observer(self->driver->events, self);
    tbx_operation_record_unref(self->record);
    tbx_driver_unref(self->driver);
    G_OBJECT_CLASS(tenbox_operation_parent_class)->finalize(object);
}

static void tenbox_operation_class_init(TenboxOperationClass *class)
{
    static const char *const texts[] = {
        [PROPERTY_ID] = "id", [PROPERTY_KIND] = "kind", [PROPERTY_VM_ID] = "vm-id"};
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    const GParamFlags flags =
        (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);

    object_class->get_property = tenbox_operation_get_property;
    object_class->finalize = tenbox_operation_finalize;
    for (guint id = PROPERTY_ID; id <= PROPERTY_VM_ID; id++)
        g_object_class_install_property(object_class, id,
                                        g_param_spec_string(texts[id], NULL, NULL, NULL, flags));
    g_object_class_install_property(object_class, PROPERTY_STATE,
                                    g_param_spec_enum("state", NULL, NULL,
                                                      TENBOX_TYPE_OPERATION_STATE,
                                                      TENBOX_OPERATION_STATE_UNKNOWN, flags));
    g_object_class_install_property(object_class, PROPERTY_STAGE,
                                    g_param_spec_string("stage", NULL, NULL, NULL, flags));
    g_object_class_install_property(object_class, PROPERTY_PERCENT,
                                    g_param_spec_int("percent", NULL, NULL, -1, 100, -1, flags));
}

static void tenbox_operation_init(TenboxOperation *self)
{
}

/* @record: (transfer full). What ended does not change any more, and is not overtaken. */
static void take_record(TenboxOperation *self, TbxOperationRecord *record)
{
    g_autoptr(TbxOperationRecord) before = self->record;

    if (before->ended_at != 0 && record->ended_at == 0) {
        tbx_operation_record_unref(record);
        g_steal_pointer(&before);
        return;
    }
    const TbxOperationProgress *was = before->progress, *now = record->progress;
    self->record = record;
    if (before->state != record->state)
        g_object_notify(G_OBJECT(self), "state");
    if (g_strcmp0(was ? was->stage : NULL, now ? now->stage : NULL) != 0)
        g_object_notify(G_OBJECT(self), "stage");
    if ((was ? was->percent : -1) != (now ? now->percent : -1))
        g_object_notify(G_OBJECT(self), "percent");
}

/* What a watch brings. */
static void on_event(TbxEventRecord *event, gpointer user_data)
{
    TenboxOperation *self = user_data;

    if (event->operation && strcmp(event->operation->id, self->record->id) == 0) {
        G_GNUC_UNUSED g_autoptr(TenboxOperation) keep = g_object_ref(self);
        take_record(self, tbx_operation_record_ref(event->operation));
    }
}

TenboxOperation *tbx_operation_new(TbxDriver *driver, TbxOperationRecord *record)
{
    TenboxOperation *self = g_object_new(TENBOX_TYPE_OPERATION, NULL);

    self->driver = tbx_driver_ref(driver);
    self->record = tbx_operation_record_ref(record);
    tbx_event_sink_add_observer(driver->events, on_event, self);
    return self;
}

const char *tenbox_operation_get_id(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    return self->record->id;
}

const char *tenbox_operation_get_kind(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    return self->record->kind;
}

const char *tenbox_operation_get_vm_id(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    return self->record->vm_id;
}

TenboxOperationState tenbox_operation_get_state(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), TENBOX_OPERATION_STATE_UNKNOWN);

    return (TenboxOperationState)self->record->state;
}

const GError *tenbox_operation_get_error(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    return self->record->error;
}

const char *tenbox_operation_get_stage(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    return self->record->progress ? self->record->progress->stage : NULL;
}

int tenbox_operation_get_percent(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), -1);

    return self->record->progress ? (int)CLAMP(self->record->progress->percent, -1, 100) : -1;
}

gint64 tenbox_operation_get_done_bytes(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), -1);

    return self->record->progress ? self->record->progress->done_bytes : -1;
}

gint64 tenbox_operation_get_total_bytes(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), -1);

    return self->record->progress ? self->record->progress->total_bytes : -1;
}

gint64 tenbox_operation_get_created_at(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), 0);

    return self->record->created_at;
}

gint64 tenbox_operation_get_begun_at(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), 0);

    return self->record->begun_at;
}

gint64 tenbox_operation_get_ended_at(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), 0);

    return self->record->ended_at;
}

char *tenbox_operation_dup_json(TenboxOperation *self)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), NULL);

    g_autoptr(JsonObject) object = tbx_operation_record_to_json(self->record);
    return tbx_json_print_object(object, NULL);
}

/* ---- waiting ------------------------------------------------------------------------------ */

typedef struct {
    gint64 deadline; /* monotonic, G_MAXINT64 = none */
    gint64 asked_at;
    guint asked_seconds;
} Wait;

static void ask(GTask *task);

/* TRUE when the state is an end; @task is then answered. */
static gboolean answer_ended(GTask *task, const TbxOperationRecord *record)
{
    GError *error;

    switch (record->state) {
    case TENBOX_OPERATION_STATE_DONE: g_task_return_boolean(task, TRUE); return TRUE;
    case TENBOX_OPERATION_STATE_FAILED:
        error = record->error ? g_error_copy(record->error)
                              : tbx_error_new("internal", NULL, "the operation failed");
        break;
    case TENBOX_OPERATION_STATE_CANCELLED:
        error = record->error ? g_error_copy(record->error)
                              : tbx_error_new("operation-cancelled", NULL,
                                              "the operation was withdrawn by another request");
        break;
    case TENBOX_OPERATION_STATE_INTERRUPTED:
        error = record->error ? g_error_copy(record->error)
                              : tbx_error_new("operation-interrupted", NULL,
                                              "the daemon ended while the operation ran");
        break;
    default:
        /* A state of a newer daemon counts as ended when the document says when it ended. */
        if (record->ended_at == 0)
            return FALSE;
        error = tbx_error_new("protocol-error", "state",
                              "the operation ended in a way this version does not know");
        break;
    }
    g_task_return_error(task, error);
    return TRUE;
}

static gboolean on_pause_over(gpointer user_data)
{
    ask(user_data);
    return G_SOURCE_REMOVE;
}

/* The driver answered earlier than asked: do not ask again at once. */
static void ask_later(GTask *task)
{
    g_autoptr(GSource) pause = g_timeout_source_new(POLL_MILLISECONDS);

    if (g_task_get_cancellable(task)) {
        g_autoptr(GSource) cancelled = g_cancellable_source_new(g_task_get_cancellable(task));
        g_source_set_dummy_callback(cancelled);
        g_source_add_child_source(pause, cancelled);
    }
    g_source_set_callback(pause, on_pause_over, g_object_ref(task), g_object_unref);
    g_source_attach(pause, g_task_get_context(task));
}

static void on_asked(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxOperation *self = TENBOX_OPERATION(source);
    Wait *wait = g_task_get_task_data(task);
    GError *error = NULL;
    TbxOperationRecord *record = g_task_propagate_pointer(G_TASK(result), &error);

    if (!record) {
        g_task_return_error(task, error);
        return;
    }
    take_record(self, record);
    if (answer_ended(task, self->record))
        return;

    gint64 now = g_get_monotonic_time();
    if (now >= wait->deadline)
        g_task_return_error(task,
                            tbx_error_new("timed-out", NULL, "%s still runs", self->record->kind));
    else if (now - wait->asked_at < (gint64)wait->asked_seconds * G_USEC_PER_SEC)
        ask_later(task);
    else
        ask(task);
}

static void ask(GTask *task)
{
    TenboxOperation *self = g_task_get_source_object(task);
    Wait *wait = g_task_get_task_data(task);

    if (g_task_return_error_if_cancelled(task))
        return;
    wait->asked_at = g_get_monotonic_time();
    wait->asked_seconds = TBX_OPERATION_WAIT_MAX;
    if (wait->deadline != G_MAXINT64) {
        gint64 left = MAX(wait->deadline - wait->asked_at, 0);
        gint64 seconds = (left + G_USEC_PER_SEC - 1) / G_USEC_PER_SEC;
        wait->asked_seconds = (guint)MIN(seconds, TBX_OPERATION_WAIT_MAX);
    }
    tbx_driver_operation_get(self->driver, self->record->id, wait->asked_seconds,
                             tbx_task_inner(task, on_asked));
}

void tenbox_operation_wait_async(TenboxOperation *self, int timeout_seconds,
                                 GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_OPERATION(self));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_operation_wait_async);
    if (!task || answer_ended(task, self->record))
        return;

    Wait *wait = g_new0(Wait, 1);
    wait->deadline = timeout_seconds < 0
                         ? G_MAXINT64
                         : g_get_monotonic_time() + (gint64)timeout_seconds * G_USEC_PER_SEC;
    g_task_set_task_data(task, wait, g_free);
    ask(task);
}

gboolean tenbox_operation_wait_finish(TenboxOperation *self, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}

gboolean tenbox_operation_wait_sync(TenboxOperation *self, int timeout_seconds,
                                    GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_OPERATION(self), FALSE);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return FALSE;
    tenbox_operation_wait_async(self, timeout_seconds, cancellable, tbx_sync_done, &call);
    return tenbox_operation_wait_finish(self, tbx_sync_wait(&call), error);
}

/* ---- withdrawing -------------------------------------------------------------------------- */

static void on_cancelled(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    TbxOperationRecord *record = g_task_propagate_pointer(G_TASK(result), &error);

    if (!record) {
        g_task_return_error(task, error);
        return;
    }
    take_record(TENBOX_OPERATION(source), record);
    g_task_return_boolean(task, TRUE);
}

void tenbox_operation_cancel_async(TenboxOperation *self, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_OPERATION(self));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_operation_cancel_async);
    if (task)
        tbx_driver_operation_cancel(self->driver, self->record->id,
                                    tbx_task_inner(task, on_cancelled));
}

gboolean tenbox_operation_cancel_finish(TenboxOperation *self, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}
