/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a daemon does with a VM by itself: it restarts one that ended unasked, as policy.h has it, and
 * tells of one that the host's own restart ended.
 *
 *   the end → [judged] → due (a timer; run/state.json; "vm.restart") → a start → runs … stable
 *                           ↑                                             │
 *                           └──────────────── failed ─────────────────────┘
 *
 * A user's verb ends a row of restarts, whatever becomes of the verb. What is due outlives the daemon, not
 * the host. What ended before anybody could hear of it waits for tbx_local_vm_begin_life().
 */
#include "libtenbox/local/policy.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-private.h"
#include "libtenbox/wire/wire-error.h"

/* How long a restart that is due waits for somebody who is changing the VM, before it looks again. */
#define BUSY_RETRY_MS 1000u

static void restart_clear(TbxVmLife *life)
{
    tbx_source_clear(&life->timer);
    g_clear_pointer(&life->due, tbx_vm_restart_free);
}

void tbx_life_clear(TbxLocalVm *vm)
{
    tbx_source_clear(&vm->life.timer);
    tbx_source_clear(&vm->life.stable);
}

void tbx_life_free(TbxLocalVm *vm)
{
    tbx_life_clear(vm);
    restart_clear(&vm->life);
    g_clear_pointer(&vm->life.owed, g_free);
}

/* ---- restarts ----------------------------------------------------------------------------- */

static void arm(TbxLocalVm *vm, guint milliseconds);

static gboolean on_due(gpointer user_data)
{
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) vm = tbx_local_vm_hold(user_data);
    g_autoptr(TbxOperationRecord) operation = NULL;
    g_autoptr(GError) error = NULL;

    /* Its definition is being changed: it waits for that. */
    if (vm->verb.operation != NULL) {
        arm(vm, BUSY_RETRY_MS);
        return G_SOURCE_REMOVE;
    }
    restart_clear(&vm->life);
    vm->life.count++;
    operation = tbx_local_vm_begin_automatic(vm, &error);
    if (operation == NULL)
        tbx_life_on_start_failed(vm, error);
    return G_SOURCE_REMOVE;
}

static void arm(TbxLocalVm *vm, guint milliseconds)
{
    tbx_source_clear(&vm->life.timer);
    vm->life.timer = tbx_source_timer(vm->context->driver->home, milliseconds, on_due, vm);
}

static void give_up(TbxLocalVm *vm)
{
    g_autoptr(GError) error = tbx_error_new("vm-crashed", NULL,
                                            "The VM was restarted %u times in a row and ended each "
                                            "time; it is not restarted again",
                                            vm->life.count);

    tbx_local_vm_set_last_error(vm, error);
    tbx_local_vm_save_state(vm, NULL, NULL);
    tbx_local_vm_publish(vm, TBX_EVENT_VM_CHANGED);
}

static void judge(TbxLocalVm *vm, gboolean is_failure, const char *reason)
{
    TbxVmLife *life = &vm->life;
    guint delay;

    if (vm->context->is_closed || vm->definition == NULL || life->due != NULL ||
        tbx_vm_state_has_process(vm->state.value))
        return;
    /* A change of the definition begins no process and ends none. */
    if (vm->verb.operation != NULL && vm->verb.phase != TBX_PHASE_UPDATING)
        return;
    /* While all are being stopped, none is started. */
    if (tbx_operations_get_current(vm->context->operations, NULL) != NULL)
        return;
    switch (tbx_policy_judge_end(vm->definition->restart_policy, is_failure, life->count)) {
    case TBX_RESTART_NEVER: return;
    case TBX_RESTART_GIVEN_UP: give_up(vm); return;
    case TBX_RESTART_WAIT: break;
    }
    delay = tbx_policy_restart_delay(life->count);
    life->due = g_new0(TbxVmRestart, 1);
    life->due->reason = g_strdup(reason);
    life->due->delay = delay;
    life->due->at = g_get_real_time() + (gint64)delay * G_USEC_PER_SEC;
    arm(vm, delay * 1000);
    tbx_local_vm_save_state(vm, NULL, NULL);
    tbx_local_vm_publish(vm, TBX_EVENT_VM_RESTART);
}

void tbx_life_on_exit(TbxLocalVm *vm, gboolean is_failure, const char *reason)
{
    tbx_source_clear(&vm->life.stable);
    if (vm->context->is_alive) {
        judge(vm, is_failure, reason);
    } else if (vm->life.owed == NULL) {
        vm->life.owed = g_strdup(reason);
        vm->life.is_failure_owed = is_failure;
    }
}

void tbx_life_on_start_failed(TbxLocalVm *vm, const GError *error)
{
    if (vm->context->is_alive)
        judge(vm, TRUE, tenbox_error_get_code(error));
}

void tbx_life_owe_start(TbxLocalVm *vm)
{
    TbxVmLife *life = &vm->life;

    /* The first start in a row is one with the host, which autostart keeps. */
    if (!life->is_automatic || life->count == 0 || life->due != NULL)
        return;
    life->count--;
    life->due = g_new0(TbxVmRestart, 1);
    life->due->reason = g_strdup(vm->last_exit != NULL ? vm->last_exit->reason : "exited");
    life->due->at = g_get_real_time();
}

static gboolean on_stable(gpointer user_data)
{
    TbxLocalVm *vm = user_data;

    tbx_source_clear(&vm->life.stable);
    vm->life.count = 0;
    tbx_local_vm_save_state(vm, NULL, NULL);
    tbx_local_vm_publish(vm, TBX_EVENT_VM_CHANGED);
    return G_SOURCE_REMOVE;
}

void tbx_life_on_running(TbxLocalVm *vm)
{
    if (vm->context->is_alive && vm->life.count > 0 && vm->life.stable == NULL)
        vm->life.stable = tbx_source_timer(vm->context->driver->home,
                                           TBX_RESTART_STABLE_SECONDS * 1000, on_stable, vm);
}

/* ---- users -------------------------------------------------------------------------------- */

static void forget(TbxLocalVm *vm)
{
    TbxVmLife *life = &vm->life;

    if (life->due == NULL && life->count == 0)
        return;
    restart_clear(life);
    tbx_source_clear(&life->stable);
    life->count = 0;
    tbx_local_vm_save_state(vm, NULL, NULL);
}

void tbx_life_on_verb(TbxLocalVm *vm, TenboxVmAction action, gboolean is_automatic)
{
    TbxVmLife *life = &vm->life;
    life->is_automatic = is_automatic;
    if (is_automatic)
        return;
    if (!vm->context->is_closed)
        vm->context->touched(vm, vm->context->driver);
    if (action == TENBOX_VM_ACTION_PAUSE || action == TENBOX_VM_ACTION_RESUME)
        return;
    forget(vm);
}

void tbx_life_on_definition(TbxLocalVm *vm)
{
    TbxVmLife *life = &vm->life;

    if (life->due == NULL || vm->definition->restart_policy != TENBOX_RESTART_POLICY_NO)
        return;
    restart_clear(life);
    tbx_local_vm_save_state(vm, NULL, NULL);
}

void tbx_local_vm_drop_restart(TbxLocalVm *self)
{
    forget(self);
    tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
}

TbxOperationRecord *tbx_local_vm_begin_automatic(TbxLocalVm *self, GError **error)
{
    const TbxActionOptions options = TBX_ACTION_OPTIONS_DEFAULT;
    TbxOperationRecord *record;

    self->life.begins_automatically = TRUE;
    record = tbx_local_vm_begin(self, TENBOX_VM_ACTION_START, &options, error);
    self->life.begins_automatically = FALSE;
    return record;
}

/* ---- the beginning ------------------------------------------------------------------------ */

void tbx_local_vm_begin_life(TbxLocalVm *self)
{
    TbxVmLife *life = &self->life;
    g_autofree char *owed = g_steal_pointer(&life->owed);

    if (life->is_host_rebooted && !self->context->is_closed) {
        life->is_host_rebooted = FALSE;
        self->context->emit(TBX_EVENT_HOST_REBOOTED, self->record, self->context->driver);
        if (!self->context->is_closed)
            self->context->emit(TBX_EVENT_VM_STATE, self->record, self->context->driver);
    }
    if (self->context->is_closed)
        return;
    if (owed != NULL)
        judge(self, life->is_failure_owed, owed);
    else if (life->due != NULL && life->timer == NULL)
        arm(self,
            tbx_policy_restart_rest(life->due->at, (guint)life->due->delay, g_get_real_time()));
    if (self->state.value == TENBOX_VM_STATE_RUNNING)
        tbx_life_on_running(self);
}
