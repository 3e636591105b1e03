/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of a VM: one table of transitions, one of attributes, one of what each action finds, and
 * one setter.
 *
 *   stopped   no process. May be changed, started, deleted.
 *   starting  a process is being made; no guest runs yet. May be stopped by force.
 *   running   the guest executes. Everything but start, change and unforced delete.
 *   paused    the vCPUs stand still. As running, except shutdown and reboot, which ask a guest that
 *             cannot hear; stop resumes it first.
 *   stopping  a stop is under way; the process still exists. May be stopped by force.
 *   crashed   no process; the last one ended unasked. As stopped.
 *
 * Nobody assigns a state: events are applied, and one that the table does not have for the state is
 * "wrong state" and changes nothing.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"

G_BEGIN_DECLS

typedef enum {
    TBX_VM_EVENT_START,     /* a start was accepted */
    TBX_VM_EVENT_REFUSED,   /* the start failed before there was a guest */
    TBX_VM_EVENT_ADOPTED,   /* a process of an earlier driver was found alive */
    TBX_VM_EVENT_RUNNING,   /* the process says that the guest executes */
    TBX_VM_EVENT_PAUSED,    /* the process says that the vCPUs have parked */
    TBX_VM_EVENT_STOP,      /* a stop was accepted */
    TBX_VM_EVENT_WITHDRAWN, /* the stop was cancelled before anything was forced */
    TBX_VM_EVENT_ENDED,     /* the process ended as the guest or the user asked */
    TBX_VM_EVENT_CRASHED,   /* it ended in any other way */
} TbxVmEvent;

#define TBX_VM_EVENT_COUNT (TBX_VM_EVENT_CRASHED + 1)

/* Embedded in its owner. */
typedef struct {
    TenboxVmState value; /* read only for everybody else */
    void (*changed)(gpointer owner, TenboxVmState from, TenboxVmState to);
    gpointer owner;
} TbxVmStateCell;

/* Begins as stopped. @changed is called by each successful tbx_vm_state_apply(). */
void tbx_vm_state_init(TbxVmStateCell *self,
                       void (*changed)(gpointer owner, TenboxVmState from, TenboxVmState to),
                       gpointer owner);

/* The setter. "vm-not-running" or "vm-not-stopped" when the table has no row, whichever is true. */
gboolean tbx_vm_state_apply(TbxVmStateCell *self, TbxVmEvent event, GError **error);

/* Whether the table has a row. */
gboolean tbx_vm_state_allows(const TbxVmStateCell *self, TbxVmEvent event);

/* Attributes. */
gboolean tbx_vm_state_has_process(TenboxVmState state);  /* there is, or is being made, a process */
gboolean tbx_vm_state_is_transient(TenboxVmState state); /* somebody is working on it */

typedef enum {
    TBX_VERDICT_REFUSED, /* @error is set */
    TBX_VERDICT_DONE,    /* the VM is already what the action makes it */
    TBX_VERDICT_GO,
} TbxVerdict;

/**
 * tbx_vm_state_judge:
 * @state: a state
 * @action: an action
 * @force: its flag
 * @error: "vm-not-running", "vm-not-stopped", "vm-paused" or "unsupported"
 *
 * What @action finds in a VM of @state on which no operation runs (or one that is pre-empted).
 */
TbxVerdict tbx_vm_state_judge(TenboxVmState state, TenboxVmAction action, gboolean force,
                              GError **error);

G_END_DECLS
