/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection: where VMs are found, made and watched.
 *
 * The URI alone picks how:
 *
 *   NULL                  $TENBOX_HOST if it is set, else the socket of the user's daemon (see
 *                         tenbox_connection_get_default_uri()), else /run/tenbox/tenbox.sock
 *   unix:///path          a daemon's socket
 *   local:///folder       no daemon: this process runs the VMs kept in that data folder itself;
 *                         local:/// alone is the user's data folder. One process at a time.
 *   test:///default       VMs in memory: nothing is run, no file is touched. For tests and examples;
 *                         test:///empty begins with none. Parameters set times and faults, see
 *                         docs/testing.md. Each connection has VMs of its own.
 *   https://…             refused with %TENBOX_ERROR_UNSUPPORTED by this release
 *
 * Nothing is probed beyond that and nothing is started.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_CONNECTION (tenbox_connection_get_type())

/**
 * TenboxConnection:
 *
 * Where VMs are found, made and watched. Signals are emitted in the connection's main context.
 *
 * The set of handles follows the host's VMs; there is one handle per VM and connection. Without a
 * watch (tenbox_connection_watch_async()) `vm-added`, `vm-changed` and `vm-removed` tell only what
 * calls happened to learn.
 *
 * On a connection opened with %TENBOX_CONNECTION_FLAGS_RECONNECT a daemon that goes away does not end
 * the watch: `watch-state` is "reconnecting" until one answers again (asked for after 0.1 s, then
 * ever more rarely, at least every 5 s), then "on". Events that the daemon still knows are signalled
 * as if nothing had been; `resync` is emitted when some are not known any more, which is always so
 * after a restart. Calls that are made in between fail with %TENBOX_ERROR_UNREACHABLE, and `closed`
 * is emitted only when trying is of no use.
 *
 * Dropping the last reference closes the connection without a signal. VMs, operations and consoles
 * stay valid, their functions then fail with %TENBOX_ERROR_CLOSED.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxConnection, tenbox_connection, TENBOX, CONNECTION, GObject)

/**
 * TenboxConnection:uri: (getter get_uri)
 *
 * The URI in use; constant.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection:watching: (getter is_watching)
 *
 * Whether the watch is on.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection:watch-state: (getter get_watch_state)
 *
 * What has become of the watch.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::resync:
 * @self: a connection
 *
 * Events were missed: the daemon was restarted, or too much happened while nobody read them. All handles
 * have just been brought up to date; whatever else was made from events has to be made anew.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::vm-added:
 * @self: a connection
 * @vm: its handle
 *
 * A VM has got its handle.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::vm-changed:
 * @self: a connection
 * @vm: its handle
 *
 * A VM has a new document, whatever differs.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::vm-removed:
 * @self: a connection
 * @vm: its handle
 *
 * A VM is known to be gone.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::event:
 * @self: a connection
 * @event: an entry of the journal
 *
 * Something happened; emitted after the handles have followed it, while the watch is on.
 *
 * Since: 0.1
 */

/**
 * TenboxConnection::closed:
 * @self: a connection
 * @error: (nullable): why; %NULL when tenbox_connection_close() was called
 *
 * The watch is over. Handles keep what they last knew. After an error
 * tenbox_connection_watch_async() may be called again.
 *
 * Since: 0.1
 */

/**
 * tenbox_connection_get_default_uri:
 *
 * Where %NULL leads: $TENBOX_HOST, else unix:// and the first of $XDG_RUNTIME_DIR/tenbox.sock,
 * /run/user/$UID/tenbox.sock (that folder ours and private), for root /run/tenbox/tenbox.sock,
 * $XDG_DATA_HOME/tenbox/run/tenbox.sock whose folder is the right one for this user. When no socket
 * is there but /run/tenbox/tenbox.sock exists, the system's daemon is meant.
 *
 * Returns: (transfer full): a URI
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_get_default_uri(void);

/**
 * tenbox_connection_get_user_socket:
 *
 * The socket on which this user's own daemon listens, whether or not it runs: what tenboxd without
 * `--socket` makes. $TENBOX_HOST does not matter here.
 *
 * Returns: (transfer full) (type filename): an absolute path
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_get_user_socket(void);

/**
 * tenbox_connection_open_async:
 * @uri: (nullable): see above
 * @flags: how the connection behaves
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Opens a connection and makes sure that something answers that speaks this protocol, within 10
 * seconds.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE (no daemon), %TENBOX_ERROR_TIMED_OUT, %TENBOX_ERROR_PERMISSION,
 * %TENBOX_ERROR_PROTOCOL (no TenBox daemon), %TENBOX_ERROR_INVALID_ARGUMENT (no URI),
 * %TENBOX_ERROR_UNSUPPORTED, %TENBOX_ERROR_IN_USE (local: another process has the data folder).
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_open_async(const char *uri, TenboxConnectionFlags flags,
                                  GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data);

/**
 * tenbox_connection_open_finish:
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the connection
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxConnection *tenbox_connection_open_finish(GAsyncResult *result, GError **error);

/**
 * tenbox_connection_open_sync:
 * @uri: (nullable): see above
 * @flags: how the connection behaves
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_open_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the connection
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxConnection *tenbox_connection_open_sync(const char *uri, TenboxConnectionFlags flags,
                                              GCancellable *cancellable, GError **error);

/**
 * tenbox_connection_close:
 * @self: a connection
 *
 * Closes the connection: calls under way end with %TENBOX_ERROR_CLOSED, `closed` is emitted if a
 * watch was on. VMs go on. Closing twice is allowed.
 *
 * The data folder of a local connection is free for the next one when the last write into it has
 * ended, which may be a moment later.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_close(TenboxConnection *self);

/**
 * tenbox_connection_get_uri:
 * @self: a connection
 *
 * Returns: (transfer none): the URI in use, never %NULL; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_connection_get_uri(TenboxConnection *self);

/**
 * tenbox_connection_watch_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Begins to follow the host: completes when every VM has its handle (`vm-added` was emitted for
 * each new one) and from then on everything that happens is signalled. Calling it again while the
 * watch is on completes at once.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE, %TENBOX_ERROR_TIMED_OUT, %TENBOX_ERROR_PROTOCOL.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_watch_async(TenboxConnection *self, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_watch_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: whether the watch is on
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_connection_watch_finish(TenboxConnection *self, GAsyncResult *result,
                                        GError **error);

/**
 * tenbox_connection_watch_since_async:
 * @self: a connection
 * @since: (nullable): a position of tenbox_connection_dup_event_position(), of this or an earlier
 *   connection; %NULL is the present one
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Like tenbox_connection_watch_async(), and in addition signals first what has happened since @since, each
 * event once and none left out. When that is not known (any more) `resync` is emitted instead.
 *
 * Errors: those of tenbox_connection_watch_async(); %TENBOX_ERROR_INVALID_ARGUMENT when @since is no
 * position; %TENBOX_ERROR_WRONG_STATE when there is a watch already.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_watch_since_async(TenboxConnection *self, const char *since,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data);

/**
 * tenbox_connection_watch_since_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: whether the watch is on
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_connection_watch_since_finish(TenboxConnection *self, GAsyncResult *result,
                                              GError **error);

/**
 * tenbox_connection_dup_event_position:
 * @self: a connection
 *
 * Where in the journal of events the watch is: within a handler of `event` that of this event. Whoever
 * keeps it can go on from there later with tenbox_connection_watch_since_async().
 *
 * Returns: (transfer full) (nullable): a position, %NULL when there was no watch yet
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_dup_event_position(TenboxConnection *self);

/**
 * tenbox_connection_get_watch_state:
 * @self: a connection
 *
 * Returns: what the property `watch-state` says
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxWatchState tenbox_connection_get_watch_state(TenboxConnection *self);

/**
 * tenbox_connection_is_watching:
 * @self: a connection
 *
 * Returns: whether the watch is on
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_connection_is_watching(TenboxConnection *self);

/**
 * tenbox_connection_list_vms_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Fetches all VMs, sorted by name.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE, %TENBOX_ERROR_PROTOCOL.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_list_vms_async(TenboxConnection *self, GCancellable *cancellable,
                                      GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_list_vms_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer container) (element-type TenboxVm) (nullable): handles; free with
 *   g_ptr_array_unref()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GPtrArray *tenbox_connection_list_vms_finish(TenboxConnection *self, GAsyncResult *result,
                                             GError **error);

/**
 * tenbox_connection_list_vms_sync:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_list_vms_async() for programs without a main loop.
 *
 * Returns: (transfer container) (element-type TenboxVm) (nullable): handles; free with
 *   g_ptr_array_unref()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GPtrArray *tenbox_connection_list_vms_sync(TenboxConnection *self, GCancellable *cancellable,
                                           GError **error);

/**
 * tenbox_connection_list_deleted_vms_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Fetches the VMs in the trash, the latest deletion first. The handles are of their own: they tell what the
 * VM was and when it will be gone, tenbox_vm_is_deleted() holds, and the one action that they take is
 * tenbox_vm_delete_async() with %TENBOX_VM_ACTION_FLAGS_PURGE.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE, %TENBOX_ERROR_PROTOCOL, %TENBOX_ERROR_UNSUPPORTED.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_list_deleted_vms_async(TenboxConnection *self, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_list_deleted_vms_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer container) (element-type TenboxVm) (nullable): handles; free with
 *   g_ptr_array_unref()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GPtrArray *tenbox_connection_list_deleted_vms_finish(TenboxConnection *self, GAsyncResult *result,
                                                     GError **error);

/**
 * tenbox_connection_list_deleted_vms_sync:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_list_deleted_vms_async() for programs without a main loop.
 *
 * Returns: (transfer container) (element-type TenboxVm) (nullable): handles; free with
 *   g_ptr_array_unref()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GPtrArray *tenbox_connection_list_deleted_vms_sync(TenboxConnection *self,
                                                   GCancellable *cancellable, GError **error);

/**
 * tenbox_connection_undelete_vm_async:
 * @self: a connection
 * @vm: id of a VM in the trash, or its name if no other there has it
 * @name: (nullable): a new name, %NULL for its old one
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Takes a VM out of the trash. It is stopped.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND, %TENBOX_ERROR_EXISTS when another VM has the name by now,
 * %TENBOX_ERROR_INVALID_ARGUMENT.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_undelete_vm_async(TenboxConnection *self, const char *vm, const char *name,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data);

/**
 * tenbox_connection_undelete_vm_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the handle of the VM
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_undelete_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                               GError **error);

/**
 * tenbox_connection_undelete_vm_sync:
 * @self: a connection
 * @vm: id of a VM in the trash, or its name if no other there has it
 * @name: (nullable): a new name, %NULL for its old one
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_undelete_vm_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the handle of the VM
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_undelete_vm_sync(TenboxConnection *self, const char *vm,
                                             const char *name, GCancellable *cancellable,
                                             GError **error);

/**
 * tenbox_connection_get_vm_async:
 * @self: a connection
 * @name: a name, an id, or (see @flags) the beginning of an id
 * @flags: flags
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Finds a VM. An exact name wins over an id, that over the beginning of one.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND; %TENBOX_ERROR_INVALID_ARGUMENT when several ids begin so,
 * listing them.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_get_vm_async(TenboxConnection *self, const char *name,
                                    TenboxVmLookupFlags flags, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_get_vm_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_get_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error);

/**
 * tenbox_connection_get_vm_sync:
 * @self: a connection
 * @name: a name, an id, or (see @flags) the beginning of an id
 * @flags: flags
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_get_vm_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_get_vm_sync(TenboxConnection *self, const char *name,
                                        TenboxVmLookupFlags flags, GCancellable *cancellable,
                                        GError **error);

/**
 * tenbox_connection_create_vm_async:
 * @self: a connection
 * @config: what to make; name and kernel must be set
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Makes a VM, stopped. Kernel and initial RAM disk are copied; when it fails or is withdrawn nothing
 * is left behind. Who withdraws after the VM was made gets it as if he had not.
 *
 * Errors: %TENBOX_ERROR_EXISTS, %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_NO_SPACE,
 * %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_create_vm_async(TenboxConnection *self, TenboxVmConfig *config,
                                       GCancellable *cancellable, GAsyncReadyCallback callback,
                                       gpointer user_data);

/**
 * tenbox_connection_create_vm_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): its handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_create_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                             GError **error);

/**
 * tenbox_connection_create_vm_sync:
 * @self: a connection
 * @config: what to make; name and kernel must be set
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_create_vm_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): its handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVm *tenbox_connection_create_vm_sync(TenboxConnection *self, TenboxVmConfig *config,
                                           GCancellable *cancellable, GError **error);

/**
 * tenbox_connection_get_system_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Asks for the host, the versions and the figures of the daemon.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_get_system_async(TenboxConnection *self, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_get_system_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): JSON text (schema System)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_get_system_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error);

/**
 * tenbox_connection_get_system_sync:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_get_system_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): JSON text (schema System)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_get_system_sync(TenboxConnection *self, GCancellable *cancellable,
                                        GError **error);

/**
 * tenbox_connection_run_doctor_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Tries whether this host can run VMs, and how well; may take seconds.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_run_doctor_async(TenboxConnection *self, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_run_doctor_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): JSON text (schema Doctor)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_run_doctor_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error);

/**
 * tenbox_connection_run_doctor_sync:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_run_doctor_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): JSON text (schema Doctor)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_run_doctor_sync(TenboxConnection *self, GCancellable *cancellable,
                                        GError **error);

/**
 * tenbox_connection_begin_stop_vms_async:
 * @self: a connection
 * @flags: %TENBOX_VM_ACTION_FLAGS_FORCE: powers everything off at once
 * @timeout_seconds: what all guests together get to shut down, 0 to 3600, or
 *   %TENBOX_VM_STOP_TIMEOUT_DEFAULT: as the daemon is configured
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Begins to stop all VMs, as before the host goes down: those with the highest start order first, those of
 * one order at once. Completes as soon as that is under way; the operation tells of its end.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT, %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_begin_stop_vms_async(TenboxConnection *self, TenboxVmActionFlags flags,
                                            int timeout_seconds, GCancellable *cancellable,
                                            GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_begin_stop_vms_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the operation
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_connection_begin_stop_vms_finish(TenboxConnection *self,
                                                         GAsyncResult *result, GError **error);

/**
 * tenbox_connection_begin_stop_vms_sync:
 * @self: a connection
 * @flags: as tenbox_connection_begin_stop_vms_async()
 * @timeout_seconds: as tenbox_connection_begin_stop_vms_async()
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_begin_stop_vms_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): the operation
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_connection_begin_stop_vms_sync(TenboxConnection *self,
                                                       TenboxVmActionFlags flags,
                                                       int timeout_seconds,
                                                       GCancellable *cancellable, GError **error);

/**
 * tenbox_connection_call_async:
 * @self: a connection to a daemon
 * @method: an HTTP method, in capitals
 * @path: a path and perhaps a query, percent-encoded, such as "/v1/vms?deleted=true"
 * @body: (nullable): an object, as JSON text
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Makes a request of the daemon's HTTP interface as it is: for what this library has no function for.
 *
 * Errors: what the daemon's problem document says; %TENBOX_ERROR_INVALID_ARGUMENT when @method, @path or
 * @body is none; %TENBOX_ERROR_UNSUPPORTED where no daemon is behind the connection.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_call_async(TenboxConnection *self, const char *method, const char *path,
                                  const char *body, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_call_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): the body of the answer, "" when it has none
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_call_finish(TenboxConnection *self, GAsyncResult *result, GError **error);

/**
 * tenbox_connection_call_finish_with_type:
 * @self: a connection
 * @result: the result
 * @content_type: (out) (optional) (nullable): the type of the answer, such as "application/json" or
 *   "text/plain", without parameters; %NULL when it has none
 * @error: return location
 *
 * Ends tenbox_connection_call_async() for those to whom it matters what the text is: a log may look like a
 * document of the daemon.
 *
 * Returns: (transfer full) (nullable): the body of the answer, "" when it has none
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_connection_call_finish_with_type(TenboxConnection *self, GAsyncResult *result,
                                              char **content_type, GError **error);

/**
 * tenbox_connection_list_operations_async:
 * @self: a connection
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Fetches the operations that run or ended lately, oldest first.
 *
 * Errors: %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_list_operations_async(TenboxConnection *self, GCancellable *cancellable,
                                             GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_connection_list_operations_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer container) (element-type TenboxOperation) (nullable): free with
 *   g_ptr_array_unref()
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GPtrArray *tenbox_connection_list_operations_finish(TenboxConnection *self, GAsyncResult *result,
                                                    GError **error);

/**
 * tenbox_connection_get_operation_async:
 * @self: a connection
 * @id: id of an operation
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when it is over
 * @user_data: for @callback
 *
 * Finds an operation, also one begun by somebody else.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND, %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_connection_get_operation_async(TenboxConnection *self, const char *id,
                                           GCancellable *cancellable, GAsyncReadyCallback callback,
                                           gpointer user_data);

/**
 * tenbox_connection_get_operation_finish:
 * @self: a connection
 * @result: the result
 * @error: return location
 *
 * Returns: (transfer full) (nullable): its handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_connection_get_operation_finish(TenboxConnection *self,
                                                        GAsyncResult *result, GError **error);

/**
 * tenbox_connection_get_operation_sync:
 * @self: a connection
 * @id: id of an operation
 * @cancellable: (nullable): withdraws the request
 * @error: return location
 *
 * The twin of tenbox_connection_get_operation_async() for programs without a main loop.
 *
 * Returns: (transfer full) (nullable): its handle
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperation *tenbox_connection_get_operation_sync(TenboxConnection *self, const char *id,
                                                      GCancellable *cancellable, GError **error);

G_END_DECLS
