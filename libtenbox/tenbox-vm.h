/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A live handle on one virtual machine.
 *
 * What the handle shows is the newest document of the VM that has arrived: by an event, when the
 * connection watches, else by the last call that fetched one. A handle never guesses: a call that
 * starts the VM does not make it "running", the document that says so does. Functions that wait for
 * an action (tenbox_vm_start_async() and the like) fetch a fresh document before they complete.
 *
 * Actions run in the driver, one at a time per VM. Cancelling the #GCancellable of a waiting
 * function withdraws the action itself, not only the waiting; the call ends with
 * %G_IO_ERROR_CANCELLED after the driver was told. An action too far to be withdrawn runs to its
 * end.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_VM (tenbox_vm_get_type())

/**
 * TENBOX_VM_STOP_TIMEOUT_DEFAULT:
 *
 * Leaves the time a guest gets for shutting down to the VM: its `stop_timeout` (default 30 seconds).
 *
 * Since: 0.1
 */
#define TENBOX_VM_STOP_TIMEOUT_DEFAULT (-1)

/**
 * TenboxVm:
 *
 * A live handle on one virtual machine. Its properties are read-only; `notify` is emitted for each
 * that differs in a new document, then `changed`.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxVm, tenbox_vm, TENBOX, VM, GObject)

/**
 * TenboxVm:id: (getter get_id)
 *
 * Its UUID; constant.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:name: (getter get_name)
 *
 * Its name, unique on the host.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:state: (getter get_state)
 *
 * What it is doing.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:memory-mb: (getter get_memory_mb)
 *
 * MiB of guest memory.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:cpu-count: (getter get_cpu_count)
 *
 * Number of virtual CPUs.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:cmdline: (getter get_cmdline)
 *
 * Kernel command line, "" for the default.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:description: (getter get_description)
 *
 * Free text, "" when there is none.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:pid: (getter get_pid)
 *
 * Process id of its runtime on the daemon's host, 0 when none runs.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:created-at: (getter get_created_at)
 *
 * When it was made, in microseconds since 1970-01-01 UTC.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:started-at: (getter get_started_at)
 *
 * When the present run began, in microseconds since 1970-01-01 UTC, 0 when it does not run.
 *
 * Since: 0.1
 */

/**
 * TenboxVm:deleted: (getter is_deleted)
 *
 * Whether it is known to be gone.
 *
 * Since: 0.1
 */

/**
 * TenboxVm::changed:
 * @self: a VM
 *
 * A new document was taken over, whatever differs, or the VM is gone.
 *
 * Since: 0.1
 */

/**
 * tenbox_vm_get_id:
 * @self: a VM
 *
 * Returns: (transfer none): its UUID; owned by @self and constant
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_id(TenboxVm *self);

/**
 * tenbox_vm_get_name:
 * @self: a VM
 *
 * Returns: (transfer none): its name; owned by @self, valid until it changes
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_name(TenboxVm *self);

/**
 * tenbox_vm_get_state:
 * @self: a VM
 *
 * Returns: the state
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmState tenbox_vm_get_state(TenboxVm *self);

/**
 * tenbox_vm_get_memory_mb:
 * @self: a VM
 *
 * Returns: MiB of guest memory
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_memory_mb(TenboxVm *self);

/**
 * tenbox_vm_get_cpu_count:
 * @self: a VM
 *
 * Returns: number of virtual CPUs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_cpu_count(TenboxVm *self);

/**
 * tenbox_vm_get_cmdline:
 * @self: a VM
 *
 * Returns: (transfer none): the kernel command line, "" for the default; owned by @self, valid
 *   until it changes
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_cmdline(TenboxVm *self);

/**
 * tenbox_vm_get_etag:
 * @self: a VM
 *
 * Names the version of what is stored of the VM: all that can be changed, and nothing of how it runs.
 * tenbox_vm_config_builder_set_if_match() makes a change that holds for this version only.
 *
 * Returns: (transfer none) (nullable): the tag, %NULL when its description cannot be used; owned by
 *   @self, valid until the next `changed`
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_etag(TenboxVm *self);

/**
 * tenbox_vm_get_description:
 * @self: a VM
 *
 * Returns: (transfer none): free text, "" when there is none; owned by @self, valid until it
 *   changes
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_description(TenboxVm *self);

/**
 * tenbox_vm_get_notes:
 * @self: a VM
 *
 * Returns: (transfer none): free text of several lines, "" when there is none; owned by @self, valid
 *   until it changes
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_notes(TenboxVm *self);

/**
 * tenbox_vm_get_label:
 * @self: a VM
 * @key: a key
 *
 * Returns: (transfer none) (nullable): the value of that label, %NULL when there is none; owned by
 *   @self, valid until it changes
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_get_label(TenboxVm *self, const char *key);

/**
 * tenbox_vm_dup_labels:
 * @self: a VM
 *
 * Returns: (transfer full) (element-type utf8 utf8): values by keys, possibly none
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GHashTable *tenbox_vm_dup_labels(TenboxVm *self);

/**
 * tenbox_vm_get_autostart:
 * @self: a VM
 *
 * Returns: whether it is started with its host
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_get_autostart(TenboxVm *self);

/**
 * tenbox_vm_get_autostart_delay:
 * @self: a VM
 *
 * Returns: seconds to wait before it is started automatically
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_autostart_delay(TenboxVm *self);

/**
 * tenbox_vm_get_start_order:
 * @self: a VM
 *
 * Returns: its place among the VMs that are started automatically, lower is earlier
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_start_order(TenboxVm *self);

/**
 * tenbox_vm_get_restart_policy:
 * @self: a VM
 *
 * Returns: when it is started again after it ended
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxRestartPolicy tenbox_vm_get_restart_policy(TenboxVm *self);

/**
 * tenbox_vm_get_restart_count:
 * @self: a VM
 *
 * Returns: how often in a row the daemon has started it again by itself, as its restart policy says
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_restart_count(TenboxVm *self);

/**
 * tenbox_vm_get_stop_timeout:
 * @self: a VM
 *
 * Returns: seconds that a stop lets the guest shut down when its caller does not say
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_stop_timeout(TenboxVm *self);

/**
 * tenbox_vm_dup_pending:
 * @self: a VM
 *
 * The JSON names of the fields that were changed while the VM runs and that it takes over at its next
 * start. The getters of these fields tell the new value.
 *
 * Returns: (transfer full) (array zero-terminated=1): the names, possibly none
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char **tenbox_vm_dup_pending(TenboxVm *self);

/**
 * tenbox_vm_dup_broken:
 * @self: a VM
 *
 * A VM whose description on disk cannot be used is listed, and can be looked at and deleted; every
 * other call on it fails with %TENBOX_ERROR_WRONG_STATE ("vm-broken").
 *
 * Returns: (transfer full) (nullable): what is wrong with it, %NULL when nothing is
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GError *tenbox_vm_dup_broken(TenboxVm *self);

/**
 * tenbox_vm_get_pid:
 * @self: a VM
 *
 * Returns: the process id of its runtime on the daemon's host, 0 when none runs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_pid(TenboxVm *self);

/**
 * tenbox_vm_get_created_at:
 * @self: a VM
 *
 * Returns: when it was made, in microseconds since 1970-01-01 UTC
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_created_at(TenboxVm *self);

/**
 * tenbox_vm_get_started_at:
 * @self: a VM
 *
 * Returns: when the present run began, in microseconds since 1970-01-01 UTC, 0 when it does not run
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_started_at(TenboxVm *self);

/**
 * tenbox_vm_get_deleted_at:
 * @self: a VM
 *
 * Returns: when it was deleted, in microseconds since 1970-01-01 UTC; 0 unless the handle comes from
 *   tenbox_connection_list_deleted_vms_async()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_deleted_at(TenboxVm *self);

/**
 * tenbox_vm_get_purge_at:
 * @self: a VM
 *
 * Returns: when it is removed for good, at the earliest, in microseconds since 1970-01-01 UTC; 0 for a VM
 *   that is not in the trash
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_vm_get_purge_at(TenboxVm *self);

/**
 * tenbox_vm_is_deleted:
 * @self: a VM
 *
 * Returns: whether the VM is known to be gone; every action on it then fails with
 *   %TENBOX_ERROR_NOT_FOUND
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_is_deleted(TenboxVm *self);

/**
 * tenbox_vm_dup_json:
 * @self: a VM
 *
 * The whole document of the VM (schema Vm), members that this release does not know included.
 *
 * Returns: (transfer full): JSON text
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_dup_json(TenboxVm *self);

/**
 * tenbox_vm_refresh_async:
 * @self: a VM
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Fetches a fresh document.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND, %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_refresh_async(TenboxVm *self, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_refresh_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether the handle is fresh
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_refresh_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_refresh_sync:
 * @self: a VM
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_vm_refresh_async() for programs without a main loop.
 *
 * Returns: whether the handle is fresh
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_refresh_sync(TenboxVm *self, GCancellable *cancellable, GError **error);

/**
 * tenbox_vm_begin_action_async:
 * @self: a VM
 * @action: what to do
 * @flags: flags of the action
 * @timeout_seconds: stop: how long the guest may take to shut down before it is powered off, 0 to
 *   3600, or %TENBOX_VM_STOP_TIMEOUT_DEFAULT; others: must be %TENBOX_VM_STOP_TIMEOUT_DEFAULT
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Begins an action and completes as soon as the driver has taken it on; what becomes of it is told
 * by the operation.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY, %TENBOX_ERROR_NOT_FOUND,
 * %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_begin_action_async(TenboxVm *self, TenboxVmAction action, TenboxVmActionFlags flags,
                                  int timeout_seconds, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_begin_action_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the operation
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_vm_begin_action_finish(TenboxVm *self, GAsyncResult *result,
                                               GError **error);

/**
 * tenbox_vm_begin_action_sync:
 * @self: a VM
 * @action: what to do
 * @flags: flags of the action
 * @timeout_seconds: stop: how long the guest may take to shut down before it is powered off, 0 to
 *   3600, or %TENBOX_VM_STOP_TIMEOUT_DEFAULT; others: must be %TENBOX_VM_STOP_TIMEOUT_DEFAULT
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_vm_begin_action_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the operation
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_vm_begin_action_sync(TenboxVm *self, TenboxVmAction action,
                                             TenboxVmActionFlags flags, int timeout_seconds,
                                             GCancellable *cancellable, GError **error);

/**
 * tenbox_vm_start_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Boots the VM (stopped or crashed) and completes once the guest executes.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY, %TENBOX_ERROR_NO_KVM,
 * %TENBOX_ERROR_NO_MEMORY, %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_CRASHED.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_start_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_start_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether the guest runs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_start_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_start_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_start_async() for programs without a main loop.
 *
 * Returns: whether the guest runs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_start_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                              GError **error);

/**
 * tenbox_vm_stop_async:
 * @self: a VM
 * @flags: %TENBOX_VM_ACTION_FLAGS_FORCE powers off now, without asking the guest
 * @timeout_seconds: how long the guest may take to shut down before it is powered off, 0 to 3600,
 *   or %TENBOX_VM_STOP_TIMEOUT_DEFAULT
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Asks the guest to shut down, powers it off when it has not after the time, and completes when it
 * is stopped. A paused VM is resumed first; stopping a stopped VM succeeds.
 *
 * Errors: %TENBOX_ERROR_BUSY, %TENBOX_ERROR_CANCELLED.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_stop_async(TenboxVm *self, TenboxVmActionFlags flags, int timeout_seconds,
                          GCancellable *cancellable, GAsyncReadyCallback callback,
                          gpointer user_data);

/**
 * tenbox_vm_stop_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether the VM is stopped
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_stop_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_stop_sync:
 * @self: a VM
 * @flags: %TENBOX_VM_ACTION_FLAGS_FORCE powers off now, without asking the guest
 * @timeout_seconds: how long the guest may take to shut down before it is powered off, 0 to 3600,
 *   or %TENBOX_VM_STOP_TIMEOUT_DEFAULT
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_stop_async() for programs without a main loop.
 *
 * Returns: whether the VM is stopped
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_stop_sync(TenboxVm *self, TenboxVmActionFlags flags, int timeout_seconds,
                             GCancellable *cancellable, GError **error);

/**
 * tenbox_vm_shutdown_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Asks the guest to shut down and completes when it was asked. The VM goes on running, its document
 * has `shutdown_requested_at`, until the guest follows.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_shutdown_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_shutdown_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether the guest was asked
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_shutdown_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_shutdown_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_shutdown_async() for programs without a main loop.
 *
 * Returns: whether the guest was asked
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_shutdown_sync(TenboxVm *self, TenboxVmActionFlags flags,
                                 GCancellable *cancellable, GError **error);

/**
 * tenbox_vm_reboot_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Asks the guest to reboot and completes when it runs again.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_reboot_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_reboot_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it rebooted
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_reboot_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_reboot_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_reboot_async() for programs without a main loop.
 *
 * Returns: whether it rebooted
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_reboot_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                               GError **error);

/**
 * tenbox_vm_reset_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Pulls the reset line: the guest starts over without being asked. Pre-empts what runs.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_reset_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_reset_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it was reset
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_reset_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_reset_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_reset_async() for programs without a main loop.
 *
 * Returns: whether it was reset
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_reset_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                              GError **error);

/**
 * tenbox_vm_pause_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Stops the guest's CPUs.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_pause_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                           GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_pause_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it is paused
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_pause_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_pause_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_pause_async() for programs without a main loop.
 *
 * Returns: whether it is paused
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_pause_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                              GError **error);

/**
 * tenbox_vm_resume_async:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Lets the CPUs of a paused VM go on.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_resume_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_resume_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it runs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_resume_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_resume_sync:
 * @self: a VM
 * @flags: must be %TENBOX_VM_ACTION_FLAGS_NONE for now
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_resume_async() for programs without a main loop.
 *
 * Returns: whether it runs
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_resume_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                               GError **error);

/**
 * tenbox_vm_delete_async:
 * @self: a VM
 * @flags: %TENBOX_VM_ACTION_FLAGS_FORCE stops a VM that runs
 * @cancellable: (nullable): withdraws the action, see above
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Removes the VM with the files it owns.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE, %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_delete_async(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_delete_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it is gone
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_delete_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_delete_sync:
 * @self: a VM
 * @flags: %TENBOX_VM_ACTION_FLAGS_FORCE stops a VM that runs
 * @cancellable: (nullable): withdraws the action, see above
 * @error: return location
 *
 * The twin of tenbox_vm_delete_async() for programs without a main loop.
 *
 * Returns: whether it is gone
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_delete_sync(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                               GError **error);

/**
 * tenbox_vm_update_async:
 * @self: a VM
 * @config: fields to change; the others stay
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Changes a VM. Name and description may change at any time, the rest while the VM is stopped or
 * crashed.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_EXISTS, %TENBOX_ERROR_WRONG_STATE,
 * %TENBOX_ERROR_BUSY.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_update_async(TenboxVm *self, TenboxVmConfig *config, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_update_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether it was changed
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_update_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_update_sync:
 * @self: a VM
 * @config: fields to change; the others stay
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_vm_update_async() for programs without a main loop.
 *
 * Returns: whether it was changed
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_update_sync(TenboxVm *self, TenboxVmConfig *config, GCancellable *cancellable,
                               GError **error);

/**
 * tenbox_vm_open_console_async:
 * @self: a VM
 * @flags: flags
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Opens the serial console.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE when the VM has no process, %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_open_console_async(TenboxVm *self, TenboxConsoleFlags flags,
                                  GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data);

/**
 * tenbox_vm_open_console_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the console
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxConsole *tenbox_vm_open_console_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_send_key_async:
 * @self: a VM
 * @key: "break": a break of the serial line, which a Linux guest takes for the SysRq key when its
 *   console is that line
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Presses a key that a console cannot send as a byte. It needs no console: who has one to himself is not asked, as
 * with the power button.
 *
 * Errors: %TENBOX_ERROR_WRONG_STATE when the VM has no process, %TENBOX_ERROR_BUSY while the guest has not
 * read the last one, %TENBOX_ERROR_INVALID_ARGUMENT for a key that there is not.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_send_key_async(TenboxVm *self, const char *key, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_send_key_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: whether the VM's side took it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_send_key_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_read_log_async:
 * @self: a VM
 * @source: "console" for what the guest wrote to its serial console, "runtime" for what the VM's
 *   process logged
 * @line_count: how many lines from the end, 0 for all that is kept
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Reads a log of the VM. Bytes that are no UTF-8 have become U+FFFD.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_NOT_FOUND.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_read_log_async(TenboxVm *self, const char *source, guint line_count,
                              GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data);

/**
 * tenbox_vm_read_log_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the text, "" when nothing was logged
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_read_log_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_read_log_sync:
 * @self: a VM
 * @source: "console" for what the guest wrote to its serial console, "runtime" for what the VM's
 *   process logged
 * @line_count: how many lines from the end, 0 for all that is kept
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_vm_read_log_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the text, "" when nothing was logged
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_read_log_sync(TenboxVm *self, const char *source, guint line_count,
                              GCancellable *cancellable, GError **error);

/**
 * tenbox_vm_follow_log_async:
 * @self: a VM
 * @source: "console" or "runtime", as of tenbox_vm_read_log_async()
 * @line_count: how many of the last lines come first, -1 for all that is kept
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Follows a log of the VM: its last lines, then what is added to it, over all runs of the VM.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_NOT_FOUND.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_follow_log_async(TenboxVm *self, const char *source, int line_count,
                                GCancellable *cancellable, GAsyncReadyCallback callback,
                                gpointer user_data);

/**
 * tenbox_vm_follow_log_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * The log is a #TenboxConsole that takes no input: `output` has pieces of UTF-8 text, which end anywhere,
 * tenbox_console_set_paused() holds it, and `closed` comes without an error when the VM was
 * deleted. Dropping the last reference ends it.
 *
 * Returns: (transfer full) (nullable): the log
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxConsole *tenbox_vm_follow_log_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_get_statistics_async:
 * @self: a VM
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Asks for live figures.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_get_statistics_async(TenboxVm *self, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_vm_get_statistics_finish:
 * @self: a VM
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): JSON text (schema VmStatistics)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_get_statistics_finish(TenboxVm *self, GAsyncResult *result, GError **error);

/**
 * tenbox_vm_get_statistics_sync:
 * @self: a VM
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_vm_get_statistics_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): JSON text (schema VmStatistics)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_get_statistics_sync(TenboxVm *self, GCancellable *cancellable, GError **error);

G_END_DECLS
