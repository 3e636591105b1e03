/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts the VMs that are to be started with their host: once for each boot of it, one after the other in
 * their order, each after its delay.
 *
 * boot.json in the data folder says which boot that was last done for, and which VMs still wait: a daemon
 * that dies half-way is followed by one that goes on, and one that is merely restarted starts nothing that
 * a user has stopped. What fails is told by the VM and keeps no other waiting.
 */
#pragma once

#include "libtenbox/local/vm.h"

G_BEGIN_DECLS

typedef struct _TbxAutostart TbxAutostart;

/* @vms: id → TbxLocalVm, of the driver; borrowed, as @context. */
TbxAutostart *tbx_autostart_new(TbxLocalContext *context, GHashTable *vms);
/* The driver is closing: nothing is started any more; what waits stays on record. */
void tbx_autostart_close(TbxAutostart *self);
/* Not from within anything that it calls. Accepts NULL. */
void tbx_autostart_free(TbxAutostart *self);

/* Once: finds out what is to be done, and begins with it. */
void tbx_autostart_begin(TbxAutostart *self);

/* A user has begun something with the VM: what becomes of it is his. */
void tbx_autostart_forget(TbxAutostart *self, const char *vm_id);
/* Nothing more is started in this boot. */
void tbx_autostart_cancel(TbxAutostart *self);
/* An operation has ended. */
void tbx_autostart_operation_ended(TbxAutostart *self, const char *operation_id);

G_END_DECLS
