/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/vm-state.h"

#include "libtenbox/wire/wire-error.h"

#define STATE_COUNT  (TENBOX_VM_STATE_CRASHED + 1)
#define ACTION_COUNT (TENBOX_VM_ACTION_DELETE + 1)

static const struct {
    TenboxVmState from;
    TbxVmEvent event;
    TenboxVmState to;
} transitions[] = {
    {TENBOX_VM_STATE_STOPPED, TBX_VM_EVENT_START, TENBOX_VM_STATE_STARTING},
    {TENBOX_VM_STATE_STOPPED, TBX_VM_EVENT_ADOPTED, TENBOX_VM_STATE_RUNNING},

    {TENBOX_VM_STATE_CRASHED, TBX_VM_EVENT_START, TENBOX_VM_STATE_STARTING},

    {TENBOX_VM_STATE_STARTING, TBX_VM_EVENT_REFUSED, TENBOX_VM_STATE_STOPPED},
    {TENBOX_VM_STATE_STARTING, TBX_VM_EVENT_RUNNING, TENBOX_VM_STATE_RUNNING},
    {TENBOX_VM_STATE_STARTING, TBX_VM_EVENT_STOP, TENBOX_VM_STATE_STOPPING},
    {TENBOX_VM_STATE_STARTING, TBX_VM_EVENT_ENDED, TENBOX_VM_STATE_STOPPED},
    {TENBOX_VM_STATE_STARTING, TBX_VM_EVENT_CRASHED, TENBOX_VM_STATE_CRASHED},

    {TENBOX_VM_STATE_RUNNING, TBX_VM_EVENT_PAUSED, TENBOX_VM_STATE_PAUSED},
    {TENBOX_VM_STATE_RUNNING, TBX_VM_EVENT_STOP, TENBOX_VM_STATE_STOPPING},
    {TENBOX_VM_STATE_RUNNING, TBX_VM_EVENT_ENDED, TENBOX_VM_STATE_STOPPED},
    {TENBOX_VM_STATE_RUNNING, TBX_VM_EVENT_CRASHED, TENBOX_VM_STATE_CRASHED},

    {TENBOX_VM_STATE_PAUSED, TBX_VM_EVENT_RUNNING, TENBOX_VM_STATE_RUNNING},
    {TENBOX_VM_STATE_PAUSED, TBX_VM_EVENT_STOP, TENBOX_VM_STATE_STOPPING},
    {TENBOX_VM_STATE_PAUSED, TBX_VM_EVENT_ENDED, TENBOX_VM_STATE_STOPPED},
    {TENBOX_VM_STATE_PAUSED, TBX_VM_EVENT_CRASHED, TENBOX_VM_STATE_CRASHED},

    {TENBOX_VM_STATE_STOPPING, TBX_VM_EVENT_WITHDRAWN, TENBOX_VM_STATE_RUNNING},
    {TENBOX_VM_STATE_STOPPING, TBX_VM_EVENT_ENDED, TENBOX_VM_STATE_STOPPED},
    {TENBOX_VM_STATE_STOPPING, TBX_VM_EVENT_CRASHED, TENBOX_VM_STATE_CRASHED},
};

static const struct {
    gboolean has_process;
    gboolean is_transient;
} attributes[STATE_COUNT] = {
    [TENBOX_VM_STATE_UNKNOWN] = {FALSE, FALSE}, [TENBOX_VM_STATE_STOPPED] = {FALSE, FALSE},
    [TENBOX_VM_STATE_STARTING] = {TRUE, TRUE},  [TENBOX_VM_STATE_RUNNING] = {TRUE, FALSE},
    [TENBOX_VM_STATE_PAUSED] = {TRUE, FALSE},   [TENBOX_VM_STATE_STOPPING] = {TRUE, TRUE},
    [TENBOX_VM_STATE_CRASHED] = {FALSE, FALSE},
};

/* What an action finds: go, nothing left to do, or the slug of a refusal. */
#define GO   ""
#define DONE "done"
#define DOWN "vm-not-running"
#define UP   "vm-not-stopped"
#define HELD "vm-paused"

static const char *const verdicts[ACTION_COUNT][STATE_COUNT] = {
    /*                            unknown stopped starting running paused stopping crashed */
    [TENBOX_VM_ACTION_UNKNOWN] = {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
    [TENBOX_VM_ACTION_START] = {NULL, GO, UP, UP, UP, UP, GO},
    [TENBOX_VM_ACTION_STOP] = {NULL, DONE, GO, GO, GO, GO, DONE},
    [TENBOX_VM_ACTION_SHUTDOWN] = {NULL, DOWN, DOWN, GO, HELD, DOWN, DOWN},
    [TENBOX_VM_ACTION_REBOOT] = {NULL, DOWN, DOWN, GO, HELD, DOWN, DOWN},
    [TENBOX_VM_ACTION_RESET] = {NULL, DOWN, GO, GO, GO, GO, DOWN},
    [TENBOX_VM_ACTION_PAUSE] = {NULL, DOWN, DOWN, GO, DONE, DOWN, DOWN},
    [TENBOX_VM_ACTION_RESUME] = {NULL, DOWN, DOWN, DONE, GO, DOWN, DOWN},
    [TENBOX_VM_ACTION_DELETE] = {NULL, GO, UP, UP, UP, UP, GO}, /* by force: GO in all */
};

void tbx_vm_state_init(TbxVmStateCell *self,
                       void (*changed)(gpointer owner, TenboxVmState from, TenboxVmState to),
                       gpointer owner)
{
    *self = (TbxVmStateCell){
        .value = TENBOX_VM_STATE_STOPPED,
        .changed = changed,
        .owner = owner,
    };
}

static gboolean find_transition(TenboxVmState from, TbxVmEvent event, TenboxVmState *ret_to)
{
    for (gsize i = 0; i < G_N_ELEMENTS(transitions); i++) {
        if (transitions[i].from == from && transitions[i].event == event) {
            *ret_to = transitions[i].to;
            return TRUE;
        }
    }
    return FALSE;
}

gboolean tbx_vm_state_allows(const TbxVmStateCell *self, TbxVmEvent event)
{
    TenboxVmState ignored;

    return find_transition(self->value, event, &ignored);
}

gboolean tbx_vm_state_apply(TbxVmStateCell *self, TbxVmEvent event, GError **error)
{
    TenboxVmState from = self->value;
    TenboxVmState to;

    if (!find_transition(from, event, &to)) {
        tbx_error_set(error, tbx_vm_state_has_process(from) ? UP : DOWN, NULL,
                      "The VM is %s, which does not allow it", tenbox_vm_state_to_string(from));
        return FALSE;
    }
    self->value = to;
    self->changed(self->owner, from, to);
    return TRUE;
}

gboolean tbx_vm_state_has_process(TenboxVmState state)
{
    return attributes[state].has_process;
}

gboolean tbx_vm_state_is_transient(TenboxVmState state)
{
    return attributes[state].is_transient;
}

TbxVerdict tbx_vm_state_judge(TenboxVmState state, TenboxVmAction action, gboolean force,
                              GError **error)
{
    const char *verdict =
        action < ACTION_COUNT && state < STATE_COUNT ? verdicts[action][state] : NULL;

    if (verdict == NULL) {
        tbx_error_set(error, "unsupported", NULL, "This driver does not know that action");
        return TBX_VERDICT_REFUSED;
    }
    if (action == TENBOX_VM_ACTION_DELETE && force)
        return TBX_VERDICT_GO;
    if (g_str_equal(verdict, GO))
        return TBX_VERDICT_GO;
    if (g_str_equal(verdict, DONE))
        return TBX_VERDICT_DONE;
    tbx_error_set(error, verdict, NULL, "The VM is %s: %s is not possible now",
                  tenbox_vm_state_to_string(state), tenbox_vm_action_to_string(action));
    return TBX_VERDICT_REFUSED;
}
