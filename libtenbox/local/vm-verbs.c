/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The actions on a VM, as steps that events drive on.
 *
 *   start     LAUNCHING (a timer) … the guest runs
 *   stop      [WAKING] ASKING (the button; a timer) → POWERING_OFF (a timer) → KILLING … the end
 *             by force: POWERING_OFF at once
 *   shutdown  ASKING … the button was pressed
 *   reboot    ASKING … the end → LAUNCHING … the guest runs; or ASKING … the guest rebooted by itself
 *   reset     RESETTING … the machine was rebuilt; of a VM that starts: LAUNCHING first
 *   pause     PAUSING … the vCPUs have parked
 *   resume    RESUMING … they run
 *   delete    [POWERING_OFF → KILLING …] REMOVING … the folder is in the trash, or gone
 *
 * A forced stop, a reset and a forced delete take the VM over from whatever is under way: the steps of
 * the old action are forgotten (its token changes, so late replies find nobody), the process stays.
 */
#include <errno.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-private.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"

/* How long a runtime may take to switch a machine off before it is killed. */
#define POWER_OFF_TIMEOUT_MS 5000u
/* How long a guest may take to shut down for a reboot. */
#define REBOOT_TIMEOUT_S     120u
/* How long a process may take from its beginning until its guest runs: far beyond what a large initrd on a
 * slow disk needs. */
#define LAUNCH_TIMEOUT_S     180u
/* How long a runtime may take to reset, pause or resume a machine: far beyond what any needs. */
#define EFFECT_TIMEOUT_S     60u

/* ---- the frame ---------------------------------------------------------------------------- */

void tbx_verb_drop(TbxLocalVm *vm)
{
    TbxVerb *verb = &vm->verb;

    tbx_source_clear(&verb->timer);
    g_clear_object(&verb->cancellable);
    *verb = (TbxVerb){.token = verb->token + 1};
}

void tbx_verb_end(TbxLocalVm *vm, GError *error)
{
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(vm);
    TbxOperation *operation = vm->verb.operation;
    gboolean is_cancelled = g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_CANCELLED);
    g_autoptr(GError) failure =
        error != NULL && vm->life.is_automatic && !is_cancelled ? g_error_copy(error) : NULL;

    vm->life.is_automatic = FALSE;
    tbx_verb_drop(vm);
    tbx_operation_end(operation, error);
    if (failure != NULL)
        tbx_life_on_start_failed(vm, failure);
}

static GError *cancelled_error(TbxLocalVm *vm)
{
    return tbx_error_new("operation-cancelled", NULL, "The %s was cancelled",
                         tbx_operation_get_kind(vm->verb.operation));
}

static void set_timer(TbxLocalVm *vm, guint milliseconds, GSourceFunc function)
{
    GMainContext *home = vm->context->driver->home;

    tbx_source_clear(&vm->verb.timer);
    vm->verb.timer = tbx_source_timer(home, milliseconds, function, vm);
}

/* Whether what was begun under @token, a request or a step that told others something, is of the action
 * that is still under way. */
static gboolean is_mine(TbxLocalVm *vm, guint token)
{
    return vm->verb.operation != NULL && vm->verb.token == token;
}

/* Applies @event as a step of the action under way. FALSE: who heard of it has ended the action. */
static gboolean apply_step(TbxLocalVm *vm, TbxVmEvent event)
{
    guint token = vm->verb.token;

    tbx_local_vm_apply(vm, event);
    return is_mine(vm, token);
}

/* What a runtime answered with @code to the request of the action under way. */
static GError *reply_error(TbxLocalVm *vm, int code)
{
    const char *kind = tbx_operation_get_kind(vm->verb.operation);

    if (code == -EBUSY)
        return tbx_error_new("wrong-state", NULL,
                             "The machine is changing its state, so %s has to wait", kind);
    if (code == -ECONNRESET)
        return tbx_error_new("runtime-failed", NULL, "The VM's process did not answer to %s", kind);
    return tbx_error_new("runtime-failed", NULL, "The VM's process refused to %s: %s", kind,
                         g_strerror(-code));
}

static void press_button(TbxLocalVm *vm);
static void power_off(TbxLocalVm *vm);
static void remove_vm(TbxLocalVm *vm);

/* ---- steps -------------------------------------------------------------------------------- */

/* What the action waits for now, and for whoever follows its operation in a word. */
static void enter_phase(TbxLocalVm *vm, TbxVerbPhase phase)
{
    static const char *const words[] = {
        [TBX_PHASE_LAUNCHING] = "launching",     [TBX_PHASE_WAKING] = "resuming",
        [TBX_PHASE_ASKING] = "asking-guest",     [TBX_PHASE_POWERING_OFF] = "powering-off",
        [TBX_PHASE_KILLING] = "ending-process",  [TBX_PHASE_RESETTING] = "resetting",
        [TBX_PHASE_PAUSING] = "pausing",         [TBX_PHASE_RESUMING] = "resuming",
        [TBX_PHASE_REMOVING] = "removing-files", [TBX_PHASE_UPDATING] = "writing-files",
    };

    vm->verb.phase = phase;
    if (vm->verb.operation != NULL)
        tbx_operation_set_progress(vm->verb.operation, words[phase], -1, -1);
}

static void kill_process(TbxLocalVm *vm)
{
    tbx_source_clear(&vm->verb.timer);
    enter_phase(vm, TBX_PHASE_KILLING);
    tbx_vm_process_kill(vm->process);
}

static gboolean on_power_off_timeout(gpointer user_data)
{
    kill_process(user_data);
    return G_SOURCE_REMOVE;
}

/* Ends the process: in order when a guest runs, at once otherwise. */
static void power_off(TbxLocalVm *vm)
{
    enter_phase(vm, TBX_PHASE_POWERING_OFF);
    if (tbx_vm_state_allows(&vm->state, TBX_VM_EVENT_STOP) && !apply_step(vm, TBX_VM_EVENT_STOP))
        return;
    if (vm->launch != TBX_LAUNCH_NONE || !tbx_vm_process_is_connected(vm->process)) {
        kill_process(vm);
        return;
    }
    set_timer(vm, POWER_OFF_TIMEOUT_MS, on_power_off_timeout);
    tbx_vm_process_request(vm->process, RT_POWER_OFF, NULL, 0);
}

static gboolean on_stop_timeout(gpointer user_data)
{
    power_off(user_data);
    return G_SOURCE_REMOVE;
}

static void note_request(TbxLocalVm *vm, gint64 time)
{
    if (vm->shutdown_requested_at == time)
        return;
    vm->shutdown_requested_at = time;
    tbx_local_vm_save_state(vm, NULL, NULL);
    tbx_local_vm_publish(vm, TBX_EVENT_VM_CHANGED);
}

static gboolean on_reboot_timeout(gpointer user_data)
{
    TbxLocalVm *vm = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(vm);
    guint token = vm->verb.token;
    GError *error = tbx_error_new(
        "timed-out", NULL, "The guest did not shut down within %u seconds of the power button",
        REBOOT_TIMEOUT_S);

    error = tbx_error_with_hint(error, "Reset the VM, or stop it by force");
    tbx_source_clear(&vm->verb.timer);
    note_request(vm, 0); /* nobody waits for it any more */
    if (is_mine(vm, token))
        tbx_verb_end(vm, error);
    else
        g_error_free(error);
    return G_SOURCE_REMOVE;
}

static void on_button_replied(int code, guint token, gpointer user_data)
{
    TbxLocalVm *vm = user_data;

    if (!is_mine(vm, token) || vm->verb.phase != TBX_PHASE_ASKING)
        return;
    if (code == 0)
        note_request(vm, g_get_real_time());
    if (!is_mine(vm, token))
        return;
    /* A guest that cannot be asked is switched off when its time is over. */
    if (vm->verb.action == TENBOX_VM_ACTION_STOP)
        return;
    if (code != 0)
        tbx_verb_end(vm, reply_error(vm, code));
    else if (vm->verb.action == TENBOX_VM_ACTION_SHUTDOWN)
        tbx_verb_end(vm, NULL);
}

static void press_button(TbxLocalVm *vm)
{
    enter_phase(vm, TBX_PHASE_ASKING);
    tbx_vm_process_request(vm->process, RT_POWER_BUTTON, on_button_replied, vm->verb.token);
}

static void on_request_replied(int code, guint token, gpointer user_data)
{
    TbxLocalVm *vm = user_data;

    if (!is_mine(vm, token))
        return;
    if (code != 0 && code != -EALREADY) {
        tbx_verb_end(vm, reply_error(vm, code));
        return;
    }
    vm->verb.is_accepted = TRUE;
    /* The effect is told by an event; -EALREADY: it is on its way, or has been told. */
    if (code == -EALREADY)
        tbx_verb_on_state(vm, tbx_vm_process_get_state(vm->process));
}

static gboolean on_effect_timeout(gpointer user_data)
{
    TbxLocalVm *vm = user_data;
    GError *error =
        tbx_error_new("timed-out", NULL, "The VM's process did not %s within %u seconds",
                      tbx_operation_get_kind(vm->verb.operation), EFFECT_TIMEOUT_S);

    tbx_verb_end(vm, tbx_error_with_hint(error, "Stop the VM by force"));
    return G_SOURCE_REMOVE;
}

static void request(TbxLocalVm *vm, enum rt_message_type type, TbxVerbPhase phase)
{
    enter_phase(vm, phase);
    vm->verb.is_accepted = FALSE;
    set_timer(vm, EFFECT_TIMEOUT_S * 1000, on_effect_timeout);
    tbx_vm_process_request(vm->process, type, on_request_replied, vm->verb.token);
}

/* Ends what has not begun to run; the action ends as cancelled when the process has. */
static void abort_launch(TbxLocalVm *vm)
{
    vm->verb.is_cancelled = TRUE;
    if (vm->process != NULL && apply_step(vm, TBX_VM_EVENT_STOP))
        kill_process(vm);
}

static gboolean on_launch_timeout(gpointer user_data)
{
    TbxLocalVm *vm = user_data;

    tbx_source_clear(&vm->verb.timer);
    if (vm->process == NULL)
        return G_SOURCE_REMOVE;
    if (vm->refusal == NULL)
        vm->refusal =
            tbx_error_new("timed-out", NULL, "The guest did not begin to run within %u seconds",
                          LAUNCH_TIMEOUT_S);
    /* The action ends when it has. */
    tbx_vm_process_kill(vm->process);
    return G_SOURCE_REMOVE;
}

static void wait_for_launch(TbxLocalVm *vm)
{
    enter_phase(vm, TBX_PHASE_LAUNCHING);
    set_timer(vm, LAUNCH_TIMEOUT_S * 1000, on_launch_timeout);
}

/* Begins a process for the action under way; a failure ends the action. */
static void launch(TbxLocalVm *vm)
{
    guint token = vm->verb.token;
    GError *error = NULL;

    tbx_local_vm_set_last_error(vm, NULL);
    wait_for_launch(vm);
    if (!apply_step(vm, TBX_VM_EVENT_START))
        return;
    if (tbx_local_vm_launch(vm, &error)) {
        /* Cancelled before there was a process to kill. */
        if (is_mine(vm, token) && vm->verb.is_cancelled && vm->verb.phase == TBX_PHASE_LAUNCHING)
            abort_launch(vm);
        return;
    }
    vm->verb.phase = TBX_PHASE_NONE;
    tbx_local_vm_set_last_error(vm, error);
    tbx_local_vm_save_state(vm, NULL, NULL);
    tbx_local_vm_apply(vm, TBX_VM_EVENT_REFUSED);
    if (vm->console != NULL) /* the driver may have been closed */
        tbx_local_console_detach(vm->console, FALSE);
    if (is_mine(vm, token))
        tbx_verb_end(vm, error);
    else
        g_error_free(error);
}

static void on_removed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(TbxHeldVm) vm = user_data;
    GError *error = NULL;

    if (!tbx_registry_delete_finish(result, &error)) {
        if (vm->verb.operation != NULL)
            tbx_verb_end(vm, tbx_error_wrap(error, NULL, "The VM could not be deleted"));
        else
            g_clear_error(&error);
        return;
    }
    vm->context->removed(vm, vm->context->driver);
    if (!vm->context->is_closed) {
        g_autoptr(TbxVmRecord) purged = tbx_vm_record_copy(vm->record);

        purged->deleted_at = g_get_real_time();
        tbx_vm_record_clear_operation(purged);
        vm->context->emit(TBX_EVENT_VM_PURGED, purged, vm->context->driver);
    }
    if (vm->verb.operation != NULL)
        tbx_verb_end(vm, NULL);
}

static void on_trashed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(TbxHeldVm) vm = user_data;
    GError *error = NULL;

    if (!tbx_registry_trash_finish(result, &error)) {
        if (vm->verb.operation != NULL)
            tbx_verb_end(vm, tbx_error_wrap(error, NULL, "The VM could not be deleted"));
        else
            g_clear_error(&error);
        return;
    }
    if (!vm->context->is_closed) {
        tbx_trash_add(vm->context->trash, vm->record);
        /* Its last document here is no older than the one of the trash. */
        tbx_local_vm_set_generation(vm, vm->record->generation);
    }
    vm->context->removed(vm, vm->context->driver);
    if (vm->verb.operation != NULL)
        tbx_verb_end(vm, NULL);
}

/* The folder goes; takes the reference. A driver that was closed meanwhile has forgotten what was asked, and
 * the data folder may be another's: the VM stays. */
static void remove_folder(TbxHeldVm *vm)
{
    g_autoptr(TbxHeldVm) held = vm;
    g_autoptr(GBytes) note = NULL;

    if (vm->context->is_closed)
        return;
    if (vm->verb.purge || !tbx_trash_is_on(vm->context->trash)) {
        tbx_registry_delete_async(vm->context->registry, vm->id, on_removed,
                                  g_steal_pointer(&held));
        return;
    }
    note = tbx_trash_new_note();
    tbx_registry_trash_async(vm->context->registry, vm->id, note, on_trashed,
                             g_steal_pointer(&held));
}

static void on_definition_flushed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    remove_folder(user_data);
}

static void on_state_flushed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbxHeldVm *vm = user_data;

    if (vm->context->is_closed)
        remove_folder(vm);
    else
        tbx_file_writer_flush_async(vm->definition_writer, on_definition_flushed, vm);
}

/* Writes that are on their way would find no folder: they go first. */
static void remove_vm(TbxLocalVm *vm)
{
    enter_phase(vm, TBX_PHASE_REMOVING);
    tbx_local_vm_hold(vm);
    if (vm->state_writer != NULL)
        tbx_file_writer_flush_async(vm->state_writer, on_state_flushed, vm);
    else
        remove_folder(vm);
}

/* ---- beginnings --------------------------------------------------------------------------- */

static void begin_stop(TbxLocalVm *vm, gboolean force)
{
    if (force || vm->launch != TBX_LAUNCH_NONE || vm->verb.timeout == 0) {
        power_off(vm);
        return;
    }
    enter_phase(vm, TBX_PHASE_ASKING);
    if (tbx_vm_state_allows(&vm->state, TBX_VM_EVENT_STOP) && !apply_step(vm, TBX_VM_EVENT_STOP))
        return;
    set_timer(vm, (guint)vm->verb.timeout * 1000, on_stop_timeout);
    if (tbx_vm_process_get_state(vm->process) == RT_STATE_RUNNING) {
        press_button(vm);
        return;
    }
    enter_phase(vm, TBX_PHASE_WAKING);
    tbx_vm_process_request(vm->process, RT_RESUME, NULL, 0);
}

/* Takes a stop back that has not forced anything yet. FALSE: who heard of it has ended the action. */
static gboolean withdraw_stop(TbxLocalVm *vm)
{
    guint token = vm->verb.token;

    if (vm->state.value == TENBOX_VM_STATE_STOPPING)
        tbx_local_vm_apply(vm, TBX_VM_EVENT_WITHDRAWN);
    /* The machine may stand still, whatever has become of the action. */
    if (vm->process != NULL && vm->state.value == TENBOX_VM_STATE_RUNNING &&
        tbx_vm_process_get_state(vm->process) == RT_STATE_PAUSED)
        tbx_local_vm_apply(vm, TBX_VM_EVENT_PAUSED);
    /* An end that comes later is not what was asked for. */
    note_request(vm, 0);
    return is_mine(vm, token);
}

static void begin_reset(TbxLocalVm *vm)
{
    if (vm->launch != TBX_LAUNCH_NONE)
        wait_for_launch(vm);
    else if (withdraw_stop(vm))
        request(vm, RT_RESET, TBX_PHASE_RESETTING);
}

static void begin_action(TbxLocalVm *vm, gboolean force)
{
    switch (vm->verb.action) {
    case TENBOX_VM_ACTION_START: launch(vm); break;
    case TENBOX_VM_ACTION_STOP: begin_stop(vm, force); break;
    case TENBOX_VM_ACTION_SHUTDOWN: press_button(vm); break;
    case TENBOX_VM_ACTION_REBOOT:
        set_timer(vm, REBOOT_TIMEOUT_S * 1000, on_reboot_timeout);
        press_button(vm);
        break;
    case TENBOX_VM_ACTION_RESET: begin_reset(vm); break;
    case TENBOX_VM_ACTION_PAUSE: request(vm, RT_PAUSE, TBX_PHASE_PAUSING); break;
    case TENBOX_VM_ACTION_RESUME: request(vm, RT_RESUME, TBX_PHASE_RESUMING); break;
    case TENBOX_VM_ACTION_DELETE:
        if (vm->process != NULL)
            power_off(vm);
        else
            remove_vm(vm);
        break;
    default: g_assert_not_reached();
    }
}

static gboolean on_pre_empt(TbxOperation *operation, const char *kind, gpointer user_data)
{
    TbxLocalVm *vm = user_data;
    TbxVerbPhase phase = vm->verb.phase;
    gboolean is_going = phase == TBX_PHASE_POWERING_OFF || phase == TBX_PHASE_KILLING;

    if (phase == TBX_PHASE_REMOVING || phase == TBX_PHASE_UPDATING)
        return FALSE;
    /* A machine without power has no reset line. */
    if (is_going && g_str_equal(kind, tenbox_vm_action_to_string(TENBOX_VM_ACTION_RESET)))
        return FALSE;
    tbx_verb_drop(vm);
    return TRUE;
}

static void on_cancel(TbxOperation *operation, gpointer user_data)
{
    TbxLocalVm *vm = user_data;

    switch (vm->verb.phase) {
    case TBX_PHASE_LAUNCHING: abort_launch(vm); break;
    case TBX_PHASE_WAKING:
    case TBX_PHASE_ASKING:
        if (withdraw_stop(vm))
            tbx_verb_end(vm, cancelled_error(vm));
        break;
    case TBX_PHASE_NONE: /* it is being announced */
    case TBX_PHASE_RESETTING:
    case TBX_PHASE_PAUSING:
    case TBX_PHASE_RESUMING: tbx_verb_end(vm, cancelled_error(vm)); break;
    case TBX_PHASE_UPDATING: g_cancellable_cancel(vm->verb.cancellable); break;
    default: break; /* too far: it ends as done */
    }
}

static const TbxOperationHandlers operation_handlers = {
    .pre_empt = on_pre_empt,
    .cancel = on_cancel,
};

/* Puts @operation under way and tells so. FALSE: who heard of it has ended it. */
static gboolean announce(TbxLocalVm *vm, TbxOperation *operation)
{
    guint token = vm->verb.token;

    vm->verb.operation = operation;
    tbx_operation_announce(operation);
    return is_mine(vm, token);
}

TbxOperationRecord *tbx_local_vm_begin(TbxLocalVm *self, TenboxVmAction action,
                                       const TbxActionOptions *options, GError **error)
{
    TbxOperations *operations = self->context->operations;
    const char *kind = tenbox_vm_action_to_string(action);
    gboolean pre_empts =
        action == TENBOX_VM_ACTION_RESET ||
        (options->force && (action == TENBOX_VM_ACTION_STOP || action == TENBOX_VM_ACTION_DELETE));
    gboolean is_automatic = self->life.begins_automatically;
    TbxVerdict verdict = TBX_VERDICT_GO;
    g_autofree char *id = NULL;
    TbxOperation *operation;

    self->life.begins_automatically = FALSE; /* who hears of it may begin something himself */

    if (action != TENBOX_VM_ACTION_DELETE && !tbx_local_vm_check_usable(self, error))
        return NULL;
    if (!tbx_etag_require(options->if_match, self->record->etag, self->record->name, error))
        return NULL;
    /* Between an event and the step that it tells of, when somebody calls from within the event. */
    if (self->process == NULL && tbx_vm_state_has_process(self->state.value)) {
        tbx_error_set(error, "vm-busy", NULL,
                      "%s is busy: its process is being made or has just ended",
                      self->record->name);
        return NULL;
    }
    /* Who would be refused for its state pre-empts nobody; who has to wait is told so first. */
    if (pre_empts || tbx_operations_get_current(operations, self->id) == NULL) {
        verdict = tbx_vm_state_judge(self->state.value, action, options->force, error);
        if (verdict == TBX_VERDICT_REFUSED)
            return NULL;
    }
    operation =
        tbx_operations_begin_as(operations, options->operation_id, self->id, self->record->name,
                                kind, pre_empts, &operation_handlers, self, error);
    if (operation == NULL)
        return NULL;
    id = g_strdup(tbx_operation_get_id(operation));
    tbx_life_on_verb(self, action, is_automatic);
    self->verb.action = action;
    self->verb.purge = options->purge;
    self->verb.timeout = options->timeout >= 0      ? options->timeout
                         : self->definition != NULL ? self->definition->stop_timeout
                                                    : TBX_STOP_TIMEOUT_DEFAULT;
    if (announce(self, operation)) {
        if (verdict == TBX_VERDICT_DONE)
            tbx_verb_end(self, NULL);
        else
            begin_action(self, options->force);
    }
    return tbx_operations_get(operations, id, error);
}

gboolean tbx_verb_begin_update(TbxLocalVm *vm, GError **error)
{
    TbxOperation *operation =
        tbx_operations_begin(vm->context->operations, vm->id, vm->record->name, "update", FALSE,
                             &operation_handlers, vm, error);
    guint token;

    if (operation == NULL)
        return FALSE;
    vm->verb.action = TENBOX_VM_ACTION_UNKNOWN;
    vm->verb.phase = TBX_PHASE_UPDATING; /* before anybody hears of it */
    vm->verb.cancellable = g_cancellable_new();
    token = vm->verb.token;
    if (announce(vm, operation)) {
        enter_phase(vm, TBX_PHASE_UPDATING);
        if (is_mine(vm, token))
            return TRUE;
    }
    tbx_error_set(error, "closed", NULL, "The driver was closed");
    return FALSE;
}

/* ---- what happens ------------------------------------------------------------------------- */

static void on_running(TbxLocalVm *vm)
{
    switch (vm->verb.phase) {
    case TBX_PHASE_LAUNCHING:
        if (vm->verb.action == TENBOX_VM_ACTION_RESET) {
            request(vm, RT_RESET, TBX_PHASE_RESETTING);
            break;
        }
        if (vm->verb.action == TENBOX_VM_ACTION_REBOOT && !vm->context->is_closed)
            vm->context->emit(TBX_EVENT_VM_REBOOTED, vm->record, vm->context->driver);
        tbx_verb_end(vm, NULL);
        break;
    case TBX_PHASE_WAKING: press_button(vm); break;
    case TBX_PHASE_RESUMING: tbx_verb_end(vm, NULL); break;
    default: break;
    }
}

void tbx_verb_on_state(TbxLocalVm *vm, enum rt_state_value state)
{
    if (vm->verb.operation == NULL)
        return;
    if (state == RT_STATE_RUNNING)
        on_running(vm);
    else if (state == RT_STATE_PAUSED && vm->verb.phase == TBX_PHASE_PAUSING)
        tbx_verb_end(vm, NULL);
}

void tbx_verb_on_reset(TbxLocalVm *vm, gboolean by_host)
{
    /* While a guest's own reset waits to be done, a runtime takes the host's for the same one: what comes
     * after it has accepted is what was asked for, whoever it is laid to. */
    gboolean is_reset = vm->verb.phase == TBX_PHASE_RESETTING && (by_host || vm->verb.is_accepted);
    gboolean is_reboot = vm->verb.action == TENBOX_VM_ACTION_REBOOT &&
                         vm->verb.phase == TBX_PHASE_ASKING && !by_host;

    if (vm->verb.operation != NULL && (is_reset || is_reboot))
        tbx_verb_end(vm, NULL);
}

void tbx_verb_on_reconnect(TbxLocalVm *vm)
{
    /* No state tells of a reset, and the runtime does not say again that it was done. */
    if (vm->verb.operation != NULL && vm->verb.phase == TBX_PHASE_RESETTING && vm->verb.is_accepted)
        tbx_verb_end(vm, NULL);
}

void tbx_verb_on_unreachable(TbxLocalVm *vm, const GError *error)
{
    if (vm->verb.operation == NULL)
        return;
    switch (vm->verb.phase) {
    case TBX_PHASE_RESETTING:
    case TBX_PHASE_PAUSING:
    case TBX_PHASE_RESUMING: tbx_verb_end(vm, g_error_copy(error)); break;
    case TBX_PHASE_LAUNCHING: tbx_vm_process_kill(vm->process); break;
    case TBX_PHASE_POWERING_OFF: kill_process(vm); break;
    default: break; /* a timer runs */
    }
}

gboolean tbx_verb_restarts(TbxLocalVm *vm, gboolean is_clean)
{
    return is_clean && vm->verb.operation != NULL && vm->verb.action == TENBOX_VM_ACTION_REBOOT &&
           vm->verb.phase == TBX_PHASE_ASKING;
}

gboolean tbx_verb_answers_for_end(TbxLocalVm *vm, gboolean is_clean)
{
    if (vm->verb.operation == NULL)
        return FALSE;
    switch (vm->verb.action) {
    case TENBOX_VM_ACTION_STOP:
    case TENBOX_VM_ACTION_SHUTDOWN:
    case TENBOX_VM_ACTION_DELETE: return TRUE;
    default:
        return vm->verb.is_cancelled || vm->verb.phase == TBX_PHASE_LAUNCHING ||
               tbx_verb_restarts(vm, is_clean);
    }
}

gboolean tbx_verb_wants_end(TbxLocalVm *vm)
{
    return vm->verb.operation != NULL && vm->verb.phase == TBX_PHASE_KILLING;
}

typedef struct {
    TbxHeldVm *vm;
    guint token;
} Recorded;

static void on_end_recorded(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autofree Recorded *recorded = user_data;
    g_autoptr(TbxHeldVm) vm = recorded->vm;

    if (is_mine(vm, recorded->token))
        tbx_verb_end(vm, NULL);
}

/* A stop is done when the end is on the disk: who has waited for it may go away at once, and the next driver has
 * to find a VM that was stopped, not one whose process has vanished. */
static void end_when_recorded(TbxLocalVm *vm)
{
    Recorded *recorded = g_new0(Recorded, 1);

    tbx_source_clear(&vm->verb.timer);
    vm->verb.phase = TBX_PHASE_KILLING; /* too far to be withdrawn */
    recorded->vm = tbx_local_vm_hold(vm);
    recorded->token = vm->verb.token;
    tbx_file_writer_flush_async(vm->state_writer, on_end_recorded, recorded);
}

void tbx_verb_on_exit(TbxLocalVm *vm, TbxLaunchStep launch_step, gboolean is_clean,
                      const GError *failure)
{
    if (vm->verb.operation == NULL || vm->verb.phase == TBX_PHASE_UPDATING)
        return;
    if (vm->verb.is_cancelled) {
        tbx_verb_end(vm, cancelled_error(vm));
        return;
    }
    if (vm->verb.action == TENBOX_VM_ACTION_DELETE) {
        remove_vm(vm);
        return;
    }
    if (vm->verb.action == TENBOX_VM_ACTION_STOP && vm->state_writer != NULL) {
        end_when_recorded(vm);
        return;
    }
    if (vm->verb.action == TENBOX_VM_ACTION_STOP || vm->verb.action == TENBOX_VM_ACTION_SHUTDOWN) {
        tbx_verb_end(vm, NULL);
        return;
    }
    if (tbx_verb_restarts(vm, is_clean)) {
        tbx_source_clear(&vm->verb.timer);
        launch(vm);
        return;
    }
    if (failure != NULL)
        tbx_verb_end(vm, g_error_copy(failure));
    else if (is_clean)
        tbx_verb_end(vm, tbx_error_new("vm-not-running", NULL, "The guest switched itself off"));
    else
        tbx_verb_end(vm, tbx_error_new("vm-crashed", NULL, "The VM ended: %s",
                                       vm->last_exit->detail != NULL ? vm->last_exit->detail
                                                                     : vm->last_exit->reason));
}
