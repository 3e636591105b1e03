/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handle on a VM: the newest document, and the waiting functions over it.
 *
 * An action that is waited for runs through these steps (struct Action):
 *
 *   begin ──► wait for the operation's end ──► fetch the document ──► answer
 *     └────────────┴── caller withdrew ──► cancel the operation ──► answer
 *
 * Beginning is never aborted half-way, since then nobody could tell whether the driver took the
 * action on; a caller who withdraws meanwhile is answered once the operation was cancelled, but not
 * later than CANCEL_SECONDS after the withdrawal. If the driver answers even later, the operation
 * is cancelled then.
 */
#include "libtenbox/tenbox-internal.h"

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"

#define CANCEL_SECONDS 5

struct _TenboxVm {
    GObject parent_instance;
    TbxDriver *driver;
    TbxVmRecord *record;
    gboolean is_deleted;
    gboolean takes_any; /* the next document counts whatever its generation */
};

G_DEFINE_FINAL_TYPE(TenboxVm, tenbox_vm, G_TYPE_OBJECT)

enum {
    PROPERTY_ID = 1,
    PROPERTY_NAME,
    PROPERTY_STATE,
    PROPERTY_MEMORY_MB,
    PROPERTY_CPU_COUNT,
    PROPERTY_CMDLINE,
    PROPERTY_DESCRIPTION,
    PROPERTY_PID,
    PROPERTY_CREATED_AT,
    PROPERTY_STARTED_AT,
    PROPERTY_DELETED,
};

static void tenbox_vm_get_property(GObject *object, guint property_id, GValue *value,
                                   GParamSpec *spec)
{
    TenboxVm *self = TENBOX_VM(object);

    switch (property_id) {
    case PROPERTY_ID: g_value_set_string(value, self->record->id); break;
    case PROPERTY_NAME: g_value_set_string(value, self->record->name); break;
    case PROPERTY_STATE: g_value_set_enum(value, self->record->state); break;
    case PROPERTY_MEMORY_MB: g_value_set_int64(value, self->record->memory_mb); break;
    case PROPERTY_CPU_COUNT: g_value_set_int64(value, self->record->cpu_count); break;
    case PROPERTY_CMDLINE: g_value_set_string(value, self->record->cmdline); break;
    case PROPERTY_DESCRIPTION: g_value_set_string(value, self->record->description); break;
    case PROPERTY_PID: g_value_set_int64(value, self->record->pid); break;
    case PROPERTY_CREATED_AT: g_value_set_int64(value, self->record->created_at); break;
    case PROPERTY_STARTED_AT: g_value_set_int64(value, self->record->started_at); break;
    case PROPERTY_DELETED: g_value_set_boolean(value, self->is_deleted); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property_id, spec);
    }
}

static void tenbox_vm_finalize(GObject *object)
{
    TenboxVm *self = TENBOX_VM(object);

    tbx_vm_record_unref(self->record);
    tbx_driver_unref(self->driver);
    G_OBJECT_CLASS(tenbox_vm_parent_class)->finalize(object);
}

static void install_text(GObjectClass *class, guint property_id, const char *name)
{
    const GParamFlags flags =
        (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);

    g_object_class_install_property(class, property_id,
                                    g_param_spec_string(name, NULL, NULL, NULL, flags));
}

static void install_number(GObjectClass *class, guint property_id, const char *name)
{
    const GParamFlags flags =
        (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);

    g_object_class_install_property(
        class, property_id, g_param_spec_int64(name, NULL, NULL, G_MININT64, G_MAXINT64, 0, flags));
}

static void tenbox_vm_class_init(TenboxVmClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    const GParamFlags flags =
        (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);

    object_class->get_property = tenbox_vm_get_property;
    object_class->finalize = tenbox_vm_finalize;
    install_text(object_class, PROPERTY_ID, "id");
    install_text(object_class, PROPERTY_NAME, "name");
    g_object_class_install_property(object_class, PROPERTY_STATE,
                                    g_param_spec_enum("state", NULL, NULL, TENBOX_TYPE_VM_STATE,
                                                      TENBOX_VM_STATE_UNKNOWN, flags));
    install_number(object_class, PROPERTY_MEMORY_MB, "memory-mb");
    install_number(object_class, PROPERTY_CPU_COUNT, "cpu-count");
    install_text(object_class, PROPERTY_CMDLINE, "cmdline");
    install_text(object_class, PROPERTY_DESCRIPTION, "description");
    install_number(object_class, PROPERTY_PID, "pid");
    install_number(object_class, PROPERTY_CREATED_AT, "created-at");
    install_number(object_class, PROPERTY_STARTED_AT, "started-at");
    g_object_class_install_property(object_class, PROPERTY_DELETED,
                                    g_param_spec_boolean("deleted", NULL, NULL, FALSE, flags));
    g_signal_new("changed", TENBOX_TYPE_VM, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
}

static void tenbox_vm_init(TenboxVm *self)
{
}

TenboxVm *tbx_vm_new(TbxDriver *driver, TbxVmRecord *record)
{
    TenboxVm *self = g_object_new(TENBOX_TYPE_VM, NULL);

    self->driver = tbx_driver_ref(driver);
    self->record = tbx_vm_record_ref(record);
    return self;
}

static void notify_if(TenboxVm *self, gboolean differs, const char *property)
{
    if (differs)
        g_object_notify(G_OBJECT(self), property);
}

static void notify_differences(TenboxVm *self, const TbxVmRecord *before)
{
    const TbxVmRecord *now = self->record;

    g_object_freeze_notify(G_OBJECT(self));
    notify_if(self, g_strcmp0(before->name, now->name) != 0, "name");
    notify_if(self, before->state != now->state, "state");
    notify_if(self, before->memory_mb != now->memory_mb, "memory-mb");
    notify_if(self, before->cpu_count != now->cpu_count, "cpu-count");
    notify_if(self, g_strcmp0(before->cmdline, now->cmdline) != 0, "cmdline");
    notify_if(self, g_strcmp0(before->description, now->description) != 0, "description");
    notify_if(self, before->pid != now->pid, "pid");
    notify_if(self, before->created_at != now->created_at, "created-at");
    notify_if(self, before->started_at != now->started_at, "started-at");
    g_object_thaw_notify(G_OBJECT(self));
}

void tbx_vm_set_record(TenboxVm *self, TbxVmRecord *record)
{
    if (self->is_deleted)
        return;
    if (self->driver->is_watching && !self->takes_any &&
        record->generation < self->record->generation)
        return;
    self->takes_any = FALSE;

    G_GNUC_UNUSED g_autoptr(TenboxVm) keep = g_object_ref(self);
    g_autoptr(TbxVmRecord) previous = self->record;
    self->record = tbx_vm_record_ref(record);
    if (tbx_vm_record_equal(previous, record))
        return;
    notify_differences(self, previous);
    g_signal_emit_by_name(self, "changed");
}

void tbx_vm_take_any(TenboxVm *self)
{
    self->takes_any = TRUE;
}

void tbx_vm_set_deleted(TenboxVm *self)
{
    if (self->is_deleted)
        return;
    self->is_deleted = TRUE;
    g_object_notify(G_OBJECT(self), "deleted");
    g_signal_emit_by_name(self, "changed");
}

/* ---- what it shows ------------------------------------------------------------------------ */

#define DEFINE_GETTER(Type, name, failure)                                                         \
    Type tenbox_vm_get_##name(TenboxVm *self)                                                      \
    {                                                                                              \
        g_return_val_if_fail(TENBOX_IS_VM(self), failure);                                         \
        return (Type)self->record->name;                                                           \
    }

DEFINE_GETTER(const char *, id, NULL)
DEFINE_GETTER(const char *, name, NULL)
DEFINE_GETTER(TenboxVmState, state, TENBOX_VM_STATE_UNKNOWN)
DEFINE_GETTER(gint64, memory_mb, 0)
DEFINE_GETTER(gint64, cpu_count, 0)
DEFINE_GETTER(const char *, cmdline, NULL)
DEFINE_GETTER(const char *, description, NULL)
DEFINE_GETTER(const char *, etag, NULL)
DEFINE_GETTER(const char *, notes, NULL)
DEFINE_GETTER(gboolean, autostart, FALSE)
DEFINE_GETTER(gint64, autostart_delay, 0)
DEFINE_GETTER(gint64, start_order, 0)
DEFINE_GETTER(TenboxRestartPolicy, restart_policy, TENBOX_RESTART_POLICY_UNKNOWN)
DEFINE_GETTER(gint64, restart_count, 0)
DEFINE_GETTER(gint64, stop_timeout, 0)
DEFINE_GETTER(gint64, pid, 0)
DEFINE_GETTER(gint64, created_at, 0)
DEFINE_GETTER(gint64, started_at, 0)
DEFINE_GETTER(gint64, deleted_at, 0)
DEFINE_GETTER(gint64, purge_at, 0)

const char *tenbox_vm_get_label(TenboxVm *self, const char *key)
{
    g_return_val_if_fail(TENBOX_IS_VM(self) && key, NULL);

    return self->record->labels ? g_hash_table_lookup(self->record->labels, key) : NULL;
}

GHashTable *tenbox_vm_dup_labels(TenboxVm *self)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    return self->record->labels ? tbx_map_copy(self->record->labels) : tbx_map_new();
}

char **tenbox_vm_dup_pending(TenboxVm *self)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    return self->record->pending ? g_strdupv(self->record->pending) : g_new0(char *, 1);
}

GError *tenbox_vm_dup_broken(TenboxVm *self)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    const TbxVmProblem *broken = self->record->broken;
    if (!broken)
        return NULL;
    /* The code may be one that only a newer daemon knows. */
    g_autoptr(JsonObject) problem = json_object_new();
    json_object_set_string_member(problem, "code", broken->code);
    json_object_set_string_member(problem, "detail", broken->detail);
    if (broken->field)
        json_object_set_string_member(problem, "field", broken->field);
    return tbx_error_from_problem(problem, 409);
}

gboolean tenbox_vm_is_deleted(TenboxVm *self)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), TRUE);

    return self->is_deleted;
}

char *tenbox_vm_dup_json(TenboxVm *self)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    g_autoptr(JsonObject) object = tbx_vm_record_to_json(self->record);
    return tbx_json_print_object(object, NULL);
}

/* ---- plain calls -------------------------------------------------------------------------- */

/* Like tbx_task_new(), for calls about a VM that must exist. */
static GTask *vm_task_new(TenboxVm *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                          gpointer user_data, gpointer tag)
{
    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data, tag);

    if (!task || !self->is_deleted)
        return g_steal_pointer(&task);
    g_task_return_error(task, tbx_error_new("vm-not-found", NULL, "the VM %s has been deleted",
                                            self->record->name));
    return NULL;
}

/* A call that says the VM is gone tells the handle, too. */
static void note_error(TenboxVm *self, const GError *error)
{
    if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND) &&
        g_strcmp0(tenbox_error_get_code(error), "vm-not-found") == 0)
        tbx_vm_set_deleted(self);
}

static void on_document(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record) {
        tbx_vm_set_record(TENBOX_VM(source), record);
        g_task_return_boolean(task, TRUE);
    } else {
        note_error(TENBOX_VM(source), error);
        g_task_return_error(task, error);
    }
}

static void on_text(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text) {
        g_task_return_pointer(task, text, g_free);
    } else {
        note_error(TENBOX_VM(source), error);
        g_task_return_error(task, error);
    }
}

static gboolean finish_boolean(TenboxVm *self, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}

void tenbox_vm_refresh_async(TenboxVm *self, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self));

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_refresh_async);
    if (task)
        tbx_driver_vm_get(self->driver, self->record->id, tbx_task_inner(task, on_document));
}

gboolean tenbox_vm_refresh_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return finish_boolean(self, result, error);
}

void tenbox_vm_update_async(TenboxVm *self, TenboxVmConfig *config, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self) && TENBOX_IS_VM_CONFIG(config));

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_update_async);
    if (task)
        tbx_driver_vm_update(self->driver, self->record->id, tbx_vm_config_get_spec(config),
                             tbx_task_inner(task, on_document));
}

gboolean tenbox_vm_update_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return finish_boolean(self, result, error);
}

/* FALSE, and @task is answered, when there is no such log. */
static gboolean check_log_source(const char *source, GTask *task)
{
    if (strcmp(source, "console") == 0 || strcmp(source, "runtime") == 0)
        return TRUE;
    g_task_return_error(task,
                        tbx_error_new("field-invalid", "source",
                                      "there is no log \"%s\", only console and runtime", source));
    return FALSE;
}

void tenbox_vm_read_log_async(TenboxVm *self, const char *source, guint line_count,
                              GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self) && source);

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_read_log_async);
    if (task && check_log_source(source, task))
        tbx_driver_vm_log(self->driver, self->record->id, source, line_count,
                          tbx_task_inner(task, on_text));
}

char *tenbox_vm_read_log_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

void tenbox_vm_get_statistics_async(TenboxVm *self, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self));

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_get_statistics_async);
    if (task)
        tbx_driver_vm_statistics(self->driver, self->record->id, tbx_task_inner(task, on_text));
}

char *tenbox_vm_get_statistics_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

static void on_console(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    TbxConsoleStream *stream = g_task_propagate_pointer(G_TASK(result), &error);

    if (stream) {
        g_task_return_pointer(task, tbx_console_new(stream), g_object_unref);
    } else {
        note_error(TENBOX_VM(source), error);
        g_task_return_error(task, error);
    }
}

void tenbox_vm_open_console_async(TenboxVm *self, TenboxConsoleFlags flags,
                                  GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self));

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_open_console_async);
    if (task)
        tbx_driver_console_open(self->driver, self->record->id, flags, NULL,
                                tbx_task_inner(task, on_console));
}

TenboxConsole *tenbox_vm_open_console_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

static void on_key_sent(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        g_task_return_boolean(task, TRUE);
    } else {
        note_error(TENBOX_VM(source), error);
        g_task_return_error(task, error);
    }
}

void tenbox_vm_send_key_async(TenboxVm *self, const char *key, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self) && key);

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_send_key_async);
    if (task)
        tbx_driver_vm_send_key(self->driver, self->record->id, key,
                               tbx_task_inner(task, on_key_sent));
}

gboolean tenbox_vm_send_key_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return finish_boolean(self, result, error);
}

void tenbox_vm_follow_log_async(TenboxVm *self, const char *source, int line_count,
                                GCancellable *cancellable, GAsyncReadyCallback callback,
                                gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self) && source);

    g_autoptr(GTask) task =
        vm_task_new(self, cancellable, callback, user_data, tenbox_vm_follow_log_async);
    if (task && check_log_source(source, task))
        tbx_driver_vm_log_follow(self->driver, self->record->id, source, MAX(line_count, -1),
                                 tbx_task_inner(task, on_console));
}

TenboxConsole *tenbox_vm_follow_log_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- beginning an action ------------------------------------------------------------------ */

static void on_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxVm *self = TENBOX_VM(source);
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record) {
        g_task_return_pointer(task, tbx_operation_new(self->driver, record), g_object_unref);
    } else {
        note_error(self, error);
        g_task_return_error(task, error);
    }
}

/* A VM in the trash can be purged, and nothing else. */
static GTask *action_task_new(TenboxVm *self, TenboxVmAction action, TenboxVmActionFlags flags,
                              GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data, gpointer tag)
{
    gboolean is_purge =
        action == TENBOX_VM_ACTION_DELETE && (flags & TENBOX_VM_ACTION_FLAGS_PURGE) != 0;

    return is_purge ? tbx_task_new(self, self->driver, cancellable, callback, user_data, tag)
                    : vm_task_new(self, cancellable, callback, user_data, tag);
}

/* What @flags ask for as the driver has it; @ret_if_match keeps what @options borrow. */
static gboolean take_flags(TenboxVm *self, TenboxVmAction action, TenboxVmActionFlags flags,
                           int timeout_seconds, TbxActionOptions *options, char **ret_if_match,
                           GError **error)
{
    if (flags & TENBOX_VM_ACTION_FLAGS_IF_UNCHANGED) {
        if (!self->record->etag) {
            tbx_error_set(error, "precondition-failed", NULL,
                          "nobody can tell whether %s is unchanged: it has no entity tag",
                          self->record->name);
            return FALSE;
        }
        *ret_if_match = tbx_etag_quote(self->record->etag);
    }
    *options = (TbxActionOptions){
        .if_match = *ret_if_match,
        .force = (flags & TENBOX_VM_ACTION_FLAGS_FORCE) != 0,
        .purge = (flags & TENBOX_VM_ACTION_FLAGS_PURGE) != 0,
        .timeout = timeout_seconds,
    };
    return tbx_action_options_validate(action, options, error);
}

void tenbox_vm_begin_action_async(TenboxVm *self, TenboxVmAction action, TenboxVmActionFlags flags,
                                  int timeout_seconds, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self));

    g_autoptr(GTask) task = action_task_new(self, action, flags, cancellable, callback, user_data,
                                            tenbox_vm_begin_action_async);
    g_autofree char *if_match = NULL;
    TbxActionOptions options;
    GError *error = NULL;

    if (!task)
        return;
    if (take_flags(self, action, flags, timeout_seconds, &options, &if_match, &error))
        tbx_driver_vm_begin(self->driver, self->record->id, action, &options,
                            tbx_task_inner(task, on_begun));
    else
        g_task_return_error(task, error);
}

TenboxOperation *tenbox_vm_begin_action_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- an action and its end ---------------------------------------------------------------- */

typedef struct {
    TenboxVmAction action;
    TenboxOperation *operation; /* NULL until begun */
    GError *failure;            /* how the operation ended, if badly */
    GSource *withdrawal;        /* fires when the caller withdraws; until begun */
    GSource *limit;             /* on how long a caller who withdrew is kept */
    gboolean is_answered;       /* a caller who withdrew was answered before the driver was */
} Action;

static void action_free(gpointer data)
{
    Action *action = data;

    tbx_source_clear(&action->withdrawal);
    tbx_source_clear(&action->limit);
    g_clear_error(&action->failure);
    g_clear_object(&action->operation);
    g_free(action);
}

static GSource *action_attach(GTask *task, GSource *source, GSourceFunc callback)
{
    /* No reference: the task's data destroys the source. */
    g_source_set_callback(source, callback, task, NULL);
    g_source_attach(source, g_task_get_context(task));
    return source;
}

static void answer_withdrawn(GTask *task)
{
    Action *action = g_task_get_task_data(task);

    tbx_source_clear(&action->withdrawal);
    tbx_source_clear(&action->limit);
    if (action->is_answered)
        return;
    action->is_answered = TRUE;
    g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_CANCELLED, "%s was withdrawn",
                            tenbox_vm_action_to_string(action->action));
}

static gboolean on_limit(gpointer user_data)
{
    answer_withdrawn(user_data);
    return G_SOURCE_REMOVE;
}

/* The caller withdrew: from now on it waits for the driver no longer than CANCEL_SECONDS. */
static gboolean on_withdrawal(GCancellable *cancellable, gpointer user_data)
{
    GTask *task = user_data;
    Action *action = g_task_get_task_data(task);

    tbx_source_clear(&action->withdrawal);
    if (!action->limit && !action->is_answered)
        action->limit = action_attach(task, g_timeout_source_new_seconds(CANCEL_SECONDS), on_limit);
    return G_SOURCE_REMOVE;
}

static void on_operation_cancelled(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;

    /* Ended or forgotten meanwhile: there is nothing left to withdraw. */
    tenbox_operation_cancel_finish(TENBOX_OPERATION(source), result, NULL);
    answer_withdrawn(task);
}

static void cancel_operation(GTask *task)
{
    Action *action = g_task_get_task_data(task);

    on_withdrawal(NULL, task);
    tenbox_operation_cancel_async(action->operation, NULL, on_operation_cancelled,
                                  g_object_ref(task));
}

static void answer_action(GTask *task)
{
    Action *action = g_task_get_task_data(task);

    if (action->failure)
        g_task_return_error(task, g_steal_pointer(&action->failure));
    else
        g_task_return_boolean(task, TRUE);
}

/* The action has its result; a document that could not be fetched does not change it. */
static void on_action_document(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record)
        tbx_vm_set_record(TENBOX_VM(source), record);
    else
        note_error(TENBOX_VM(source), error);
    answer_action(task);
}

static void on_action_ended(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxVm *self = g_task_get_source_object(task);
    Action *action = g_task_get_task_data(task);

    if (!tenbox_operation_wait_finish(TENBOX_OPERATION(source), result, &action->failure) &&
        g_error_matches(action->failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        cancel_operation(task);
        return;
    }
    if (!action->failure && action->action == TENBOX_VM_ACTION_DELETE) {
        tbx_vm_set_deleted(self);
        answer_action(task);
        return;
    }
    tbx_driver_vm_get(self->driver, self->record->id, tbx_task_inner(task, on_action_document));
}

static void on_action_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxVm *self = TENBOX_VM(source);
    Action *action = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxOperationRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    tbx_source_clear(&action->withdrawal);
    if (record)
        action->operation = tbx_operation_new(self->driver, record);
    if (action->is_answered) {
        if (record)
            cancel_operation(task);
        return;
    }
    if (!record) {
        tbx_source_clear(&action->limit);
        note_error(self, error);
        g_task_return_error(task, g_steal_pointer(&error));
    } else if (g_cancellable_is_cancelled(g_task_get_cancellable(task))) {
        cancel_operation(task);
    } else {
        tenbox_operation_wait_async(action->operation, -1, g_task_get_cancellable(task),
                                    on_action_ended, g_object_ref(task));
    }
}

static void act(TenboxVm *self, TenboxVmAction kind, TenboxVmActionFlags flags, int timeout_seconds,
                GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_VM(self));

    g_autoptr(GTask) task =
        action_task_new(self, kind, flags, cancellable, callback, user_data, act);
    g_autofree char *if_match = NULL;
    TbxActionOptions options;
    GError *error = NULL;

    if (!task || g_task_return_error_if_cancelled(task))
        return;
    if (!take_flags(self, kind, flags, timeout_seconds, &options, &if_match, &error)) {
        g_task_return_error(task, error);
        return;
    }

    Action *action = g_new0(Action, 1);
    action->action = kind;
    g_task_set_task_data(task, action, action_free);
    if (cancellable)
        action->withdrawal = action_attach(task, g_cancellable_source_new(cancellable),
                                           G_SOURCE_FUNC(on_withdrawal));
    tbx_driver_vm_begin(self->driver, self->record->id, kind, &options,
                        tbx_task_inner_with(task, NULL, on_action_begun));
}

/* One verb: its three functions over act(). */
#define DEFINE_VERB(verb, KIND)                                                                    \
    void tenbox_vm_##verb##_async(TenboxVm *self, TenboxVmActionFlags flags,                       \
                                  GCancellable *cancellable, GAsyncReadyCallback callback,         \
                                  gpointer user_data)                                              \
    {                                                                                              \
        act(self, TENBOX_VM_ACTION_##KIND, flags, -1, cancellable, callback, user_data);           \
    }                                                                                              \
    gboolean tenbox_vm_##verb##_finish(TenboxVm *self, GAsyncResult *result, GError **error)       \
    {                                                                                              \
        return finish_boolean(self, result, error);                                                \
    }                                                                                              \
    gboolean tenbox_vm_##verb##_sync(TenboxVm *self, TenboxVmActionFlags flags,                    \
                                     GCancellable *cancellable, GError **error)                    \
    {                                                                                              \
        g_return_val_if_fail(TENBOX_IS_VM(self), FALSE);                                           \
                                                                                                   \
        g_auto(TbxSyncCall) call = {0};                                                            \
        if (!tbx_sync_begin(&call, self->driver, error))                                           \
            return FALSE;                                                                          \
        tenbox_vm_##verb##_async(self, flags, cancellable, tbx_sync_done, &call);                  \
        return tenbox_vm_##verb##_finish(self, tbx_sync_wait(&call), error);                       \
    }

DEFINE_VERB(start, START)
DEFINE_VERB(shutdown, SHUTDOWN)
DEFINE_VERB(reboot, REBOOT)
DEFINE_VERB(reset, RESET)
DEFINE_VERB(pause, PAUSE)
DEFINE_VERB(resume, RESUME)
DEFINE_VERB(delete, DELETE)

void tenbox_vm_stop_async(TenboxVm *self, TenboxVmActionFlags flags, int timeout_seconds,
                          GCancellable *cancellable, GAsyncReadyCallback callback,
                          gpointer user_data)
{
    act(self, TENBOX_VM_ACTION_STOP, flags, timeout_seconds, cancellable, callback, user_data);
}

gboolean tenbox_vm_stop_finish(TenboxVm *self, GAsyncResult *result, GError **error)
{
    return finish_boolean(self, result, error);
}

/* ---- twins for programs without a main loop ------------------------------------------------ */

gboolean tenbox_vm_stop_sync(TenboxVm *self, TenboxVmActionFlags flags, int timeout_seconds,
                             GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), FALSE);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return FALSE;
    tenbox_vm_stop_async(self, flags, timeout_seconds, cancellable, tbx_sync_done, &call);
    return tenbox_vm_stop_finish(self, tbx_sync_wait(&call), error);
}

TenboxOperation *tenbox_vm_begin_action_sync(TenboxVm *self, TenboxVmAction action,
                                             TenboxVmActionFlags flags, int timeout_seconds,
                                             GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_vm_begin_action_async(self, action, flags, timeout_seconds, cancellable, tbx_sync_done,
                                 &call);
    return tenbox_vm_begin_action_finish(self, tbx_sync_wait(&call), error);
}

gboolean tenbox_vm_refresh_sync(TenboxVm *self, GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), FALSE);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return FALSE;
    tenbox_vm_refresh_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_vm_refresh_finish(self, tbx_sync_wait(&call), error);
}

gboolean tenbox_vm_update_sync(TenboxVm *self, TenboxVmConfig *config, GCancellable *cancellable,
                               GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self) && TENBOX_IS_VM_CONFIG(config), FALSE);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return FALSE;
    tenbox_vm_update_async(self, config, cancellable, tbx_sync_done, &call);
    return tenbox_vm_update_finish(self, tbx_sync_wait(&call), error);
}

char *tenbox_vm_read_log_sync(TenboxVm *self, const char *source, guint line_count,
                              GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self) && source, NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_vm_read_log_async(self, source, line_count, cancellable, tbx_sync_done, &call);
    return tenbox_vm_read_log_finish(self, tbx_sync_wait(&call), error);
}

char *tenbox_vm_get_statistics_sync(TenboxVm *self, GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_vm_get_statistics_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_vm_get_statistics_finish(self, tbx_sync_wait(&call), error);
}
