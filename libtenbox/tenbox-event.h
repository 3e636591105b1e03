/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One entry of the event journal: an immutable value that signals of TenboxConnection hand over.
 */
#pragma once

#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_EVENT (tenbox_event_get_type())

/**
 * TenboxEvent:
 *
 * Something that happened to a VM or an operation. May be kept and shared between threads.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxEvent, tenbox_event, TENBOX, EVENT, GObject)

/**
 * tenbox_event_get_event_type:
 * @self: an event
 *
 * What happened: "vm.created", "vm.changed", "vm.state", "vm.deleted", "vm.rebooted",
 * "operation.changed"; the list grows, ignore what you do not know.
 *
 * Returns: (transfer none): owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_event_get_event_type(TenboxEvent *self);

/**
 * tenbox_event_get_vm_id:
 * @self: an event
 *
 * Returns: (transfer none) (nullable): id of the VM it is about; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_event_get_vm_id(TenboxEvent *self);

/**
 * tenbox_event_get_sequence:
 * @self: an event
 *
 * Returns: its number; grows by one with each event of an epoch
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
guint64 tenbox_event_get_sequence(TenboxEvent *self);

/**
 * tenbox_event_get_epoch:
 * @self: an event
 *
 * Returns: (transfer none): names the run of the daemon that counted; numbers of different epochs
 *   cannot be compared; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_event_get_epoch(TenboxEvent *self);

/**
 * tenbox_event_get_time:
 * @self: an event
 *
 * Returns: when it happened, in microseconds since 1970-01-01 UTC by the clock of the daemon's host
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_event_get_time(TenboxEvent *self);

/**
 * tenbox_event_dup_json:
 * @self: an event
 *
 * Returns: (transfer full): the event as JSON text (schema Event)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_event_dup_json(TenboxEvent *self);

G_END_DECLS
