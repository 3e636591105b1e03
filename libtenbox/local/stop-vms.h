/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stops all VMs, as before the host goes down: those of one start_order at once, the highest order first.
 *
 * Each guest is asked, and has its own stop_timeout; when the time for all is over, what still runs is
 * switched off. It is an operation ("stop-vms") of no VM; the stops of the VMs are operations of their
 * own. Who asks again while it runs gets the same operation, with his own haste.
 */
#pragma once

#include "libtenbox/local/vm.h"

G_BEGIN_DECLS

#define TBX_OPERATION_STOP_VMS "stop-vms"

typedef struct _TbxStopVms TbxStopVms;

/* @vms: id → TbxLocalVm, of the driver; borrowed, as @context. */
TbxStopVms *tbx_stop_vms_new(TbxLocalContext *context, GHashTable *vms);
/* The driver is closing: nothing is done any more. */
void tbx_stop_vms_close(TbxStopVms *self);
/* Not from within anything that it calls. Accepts NULL. */
void tbx_stop_vms_free(TbxStopVms *self);

/**
 * tbx_stop_vms_begin:
 * @options: timeout: seconds for all together, -1: TBX_STOP_VMS_TIMEOUT_DEFAULT; force: 0 seconds
 *
 * Returns: (transfer full) (nullable): the operation's document
 */
TbxOperationRecord *tbx_stop_vms_begin(TbxStopVms *self, const TbxActionOptions *options,
                                       GError **error);

/* An operation on a VM has ended. */
void tbx_stop_vms_operation_ended(TbxStopVms *self);

G_END_DECLS
