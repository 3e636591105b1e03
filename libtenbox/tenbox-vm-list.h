/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMs of a connection as a list model, for lists of a user interface.
 */
#pragma once

#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_VM_LIST (tenbox_vm_list_get_type())

/**
 * TenboxVmList:
 *
 * A #GListModel of #TenboxVm, sorted by name: every VM that its connection has a handle for, which
 * are all VMs of the host once tenbox_connection_watch_async() has completed.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxVmList, tenbox_vm_list, TENBOX, VM_LIST, GObject)

/**
 * tenbox_vm_list_new:
 * @connection: a connection; kept as long as the list
 *
 * Makes a list of what @connection knows; from now on it follows `vm-added`, `vm-changed` (a VM that
 * is renamed moves) and `vm-removed`.
 *
 * Returns: (transfer full): a list
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmList *tenbox_vm_list_new(TenboxConnection *connection);

G_END_DECLS
