/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. There is no list of steps: whenever an operation has ended, and when the time is
 * over, step() looks at what runs. The VMs of the highest order among them are asked to stop, unless their
 * stop is under way or something else is, whose end is waited for; when none is left the next order's turn
 * comes, and when nothing runs any more the operation ends. So a VM that is started meanwhile is stopped
 * too, and one that ends by itself is not waited for.
 */
#include "libtenbox/local/stop-vms.h"

#include "libtenbox/local/policy.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

/* Stops of one VM that may fail before it is left alone, and how long to wait for the next. */
#define ATTEMPTS_MAX     3
#define ATTEMPT_DELAY_MS 100u

struct _TbxStopVms {
    TbxLocalContext *context;
    GHashTable *vms;
    TbxOperation *operation; /* NULL: nothing is to be done */
    GSource *deadline;       /* NULL once the time is over */
    gint64 ends_at;          /* monotonic */
    GSource *stepping;       /* step() is due */
    GHashTable *attempts;    /* id → number of stops that were begun */
    GHashTable *stops;       /* id → id of the stop under way that was begun here */
};

TbxStopVms *tbx_stop_vms_new(TbxLocalContext *context, GHashTable *vms)
{
    TbxStopVms *self = g_new0(TbxStopVms, 1);

    self->context = context;
    self->vms = vms;
    self->attempts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->stops = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return self;
}

static void clear(TbxStopVms *self)
{
    tbx_source_clear(&self->deadline);
    tbx_source_clear(&self->stepping);
    g_hash_table_remove_all(self->attempts);
    g_hash_table_remove_all(self->stops);
    self->operation = NULL;
}

void tbx_stop_vms_close(TbxStopVms *self)
{
    clear(self);
}

void tbx_stop_vms_free(TbxStopVms *self)
{
    if (self == NULL)
        return;
    clear(self);
    g_hash_table_unref(self->attempts);
    g_hash_table_unref(self->stops);
    g_free(self);
}

static void end(TbxStopVms *self, GError *error)
{
    TbxOperation *operation = self->operation;

    clear(self);
    tbx_operation_end(operation, error);
}

static guint count_attempts(TbxStopVms *self, const char *id)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(self->attempts, id));
}

/* (transfer full): the ids of the VMs of the highest order that run and are not given up; @ret_lost: the
 * names of those that are. */
static GPtrArray *find_turn(TbxStopVms *self, GString *lost)
{
    GPtrArray *turn = g_ptr_array_new_with_free_func(g_free);
    gint64 order = -1;
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm)) {
        TbxVmRecord *record = tbx_local_vm_get_record(vm);

        if (!tbx_local_vm_has_process(vm))
            continue;
        if (count_attempts(self, record->id) > ATTEMPTS_MAX &&
            g_hash_table_lookup(self->stops, record->id) == NULL) {
            g_string_append_printf(lost, "%s%s", lost->len > 0 ? ", " : "", record->name);
            continue;
        }
        /* When there is no time left, nobody waits for anybody. */
        if (self->deadline != NULL && record->start_order < order)
            continue;
        if (self->deadline != NULL && record->start_order > order)
            g_ptr_array_set_size(turn, 0);
        order = record->start_order;
        g_ptr_array_add(turn, g_strdup(record->id));
    }
    return turn;
}

static void step_after(TbxStopVms *self, guint milliseconds);

/* Begins the stop of a VM, unless something has to end first. */
static void stop(TbxStopVms *self, const char *id)
{
    TbxLocalVm *found = g_hash_table_lookup(self->vms, id);
    g_autoptr(TbxLocalVm) vm = found != NULL ? tbx_local_vm_ref(found) : NULL;
    TbxOperation *current = tbx_operations_get_current(self->context->operations, id);
    gint64 rest = self->deadline != NULL
                      ? (self->ends_at - g_get_monotonic_time()) / G_TIME_SPAN_MILLISECOND
                      : 0;
    TbxActionOptions options = TBX_ACTION_OPTIONS_DEFAULT;
    g_autoptr(TbxOperationRecord) record = NULL;
    g_autoptr(GError) error = NULL;

    if (vm == NULL || !tbx_local_vm_has_process(vm) || (current != NULL && self->deadline != NULL))
        return;
    /* A change of it gives way to nothing, so it is taken back. Its end is the next step. */
    if (current != NULL && g_str_equal(tbx_operation_get_kind(current), "update")) {
        g_autofree char *update_id = g_strdup(tbx_operation_get_id(current));
        g_autoptr(TbxOperationRecord) update =
            tbx_operations_cancel(self->context->operations, update_id, NULL);

        return;
    }
    options.force = self->deadline == NULL;
    if (!options.force)
        options.timeout =
            tbx_policy_stop_timeout(tbx_local_vm_get_record(vm)->stop_timeout, MAX(rest, 1));
    g_hash_table_insert(self->attempts, g_strdup(id),
                        GUINT_TO_POINTER(count_attempts(self, id) + 1));
    record = tbx_local_vm_begin(vm, TENBOX_VM_ACTION_STOP, &options, &error);
    if (self->operation == NULL) /* who heard of it has ended all this */
        return;
    if (record == NULL) {
        g_warning("VM %s cannot be stopped: %s", tbx_local_vm_get_record(vm)->name, error->message);
        step_after(self, ATTEMPT_DELAY_MS);
    } else if (record->state == TENBOX_OPERATION_STATE_RUNNING) {
        g_hash_table_insert(self->stops, g_strdup(id), g_strdup(record->id));
    }
}

static gboolean is_over(gpointer id, gpointer operation_id, gpointer user_data)
{
    TbxStopVms *self = user_data;
    TbxOperation *current = tbx_operations_get_current(self->context->operations, id);

    return current == NULL || !g_str_equal(tbx_operation_get_id(current), operation_id);
}

static gboolean step(gpointer user_data)
{
    TbxStopVms *self = user_data;
    g_autoptr(TbxDriver) driver = tbx_driver_ref(self->context->driver);
    g_autoptr(GString) lost = g_string_new(NULL);
    g_autoptr(GPtrArray) turn = NULL;

    tbx_source_clear(&self->stepping);
    g_hash_table_foreach_remove(self->stops, is_over, self);
    turn = find_turn(self, lost);
    if (turn->len > 0)
        tbx_operation_set_progress(
            self->operation, self->deadline != NULL ? "asking-guests" : "powering-off", -1, -1);
    for (guint i = 0; i < turn->len && self->operation != NULL; i++) {
        const char *id = g_ptr_array_index(turn, i);

        if (g_hash_table_lookup(self->stops, id) == NULL)
            stop(self, id);
    }
    /* A stop whose VM has ended is over when that is on the disk; whoever hears of our end finds no VM busy. */
    if (self->operation == NULL || turn->len > 0 || g_hash_table_size(self->stops) > 0)
        return G_SOURCE_REMOVE;
    if (lost->len > 0)
        end(self,
            tbx_error_new("timed-out", NULL, "These VMs could not be stopped: %s", lost->str));
    else
        end(self, NULL);
    return G_SOURCE_REMOVE;
}

static void step_after(TbxStopVms *self, guint milliseconds)
{
    tbx_source_clear(&self->stepping);
    if (self->operation != NULL)
        self->stepping = tbx_source_timer(self->context->driver->home, milliseconds, step, self);
}

void tbx_stop_vms_operation_ended(TbxStopVms *self)
{
    step_after(self, 0);
}

static gboolean on_deadline(gpointer user_data)
{
    TbxStopVms *self = user_data;

    tbx_source_clear(&self->deadline);
    /* Those that are being asked are asked no longer. */
    g_hash_table_remove_all(self->stops);
    step_after(self, 0);
    return G_SOURCE_REMOVE;
}

static void set_deadline(TbxStopVms *self, gint64 seconds)
{
    gint64 ends_at = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    /* Nobody gets more time than was promised to another. */
    if (self->ends_at != 0 && ends_at >= self->ends_at)
        return;
    self->ends_at = ends_at;
    tbx_source_clear(&self->deadline);
    if (seconds > 0)
        self->deadline =
            tbx_source_timer(self->context->driver->home, (guint)seconds * 1000, on_deadline, self);
    else
        on_deadline(self);
}

/* ---- the operation ------------------------------------------------------------------------ */

static gboolean on_pre_empt(TbxOperation *operation, const char *kind, gpointer user_data)
{
    return FALSE;
}

static void on_cancel(TbxOperation *operation, gpointer user_data)
{
    TbxStopVms *self = user_data;
    g_autoptr(GPtrArray) stops = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(TbxDriver) driver = tbx_driver_ref(self->context->driver);
    GHashTableIter iter;
    gpointer id;

    g_hash_table_iter_init(&iter, self->stops);
    while (g_hash_table_iter_next(&iter, NULL, &id))
        g_ptr_array_add(stops, g_strdup(id));
    end(self, tbx_error_new("operation-cancelled", NULL, "The stop of all VMs was cancelled"));
    for (guint i = 0; i < stops->len && !self->context->is_closed; i++) {
        g_autoptr(TbxOperationRecord) record =
            tbx_operations_cancel(self->context->operations, g_ptr_array_index(stops, i), NULL);
    }
}

static const TbxOperationHandlers operation_handlers = {
    .pre_empt = on_pre_empt,
    .cancel = on_cancel,
};

TbxOperationRecord *tbx_stop_vms_begin(TbxStopVms *self, const TbxActionOptions *options,
                                       GError **error)
{
    gint64 seconds = options->force          ? 0
                     : options->timeout >= 0 ? options->timeout
                                             : TBX_STOP_VMS_TIMEOUT_DEFAULT;
    TbxOperation *operation = self->operation;
    g_autofree char *id = NULL;

    if (operation == NULL) {
        operation = tbx_operations_begin_as(self->context->operations, options->operation_id, NULL,
                                            "the host", TBX_OPERATION_STOP_VMS, FALSE,
                                            &operation_handlers, self, error);
        if (operation == NULL)
            return NULL;
        id = g_strdup(tbx_operation_get_id(operation));
        self->operation = operation;
        self->ends_at = 0;
        set_deadline(self, seconds);
        step_after(self, 0);
        tbx_operation_announce(operation);
    } else {
        id = g_strdup(tbx_operation_get_id(operation));
        set_deadline(self, seconds);
    }
    return tbx_operations_get(self->context->operations, id, error);
}
