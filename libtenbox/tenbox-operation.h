/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handle on something that takes time: a start, a stop, a deletion…
 *
 * The driver runs it whether or not anybody holds this handle. The handle shows what was last
 * learned: at its making, when a wait ends, and by each event of a watch on its connection.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_OPERATION (tenbox_operation_get_type())

/**
 * TenboxOperation:
 *
 * A handle on something that takes time. It shows what the last call on it learned: no event changes
 * it.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxOperation, tenbox_operation, TENBOX, OPERATION, GObject)

/**
 * TenboxOperation:stage: (getter get_stage)
 *
 * What is being done now.
 *
 * Since: 0.1
 */

/**
 * TenboxOperation:percent: (getter get_percent)
 *
 * How far the stage is, -1 when that is not known.
 *
 * Since: 0.1
 */

/**
 * TenboxOperation:id: (getter get_id)
 *
 * Its UUID; constant.
 *
 * Since: 0.1
 */

/**
 * TenboxOperation:kind: (getter get_kind)
 *
 * The word of what it does, such as "start"; constant.
 *
 * Since: 0.1
 */

/**
 * TenboxOperation:vm-id: (getter get_vm_id)
 *
 * Id of the VM it is about, %NULL for none; constant.
 *
 * Since: 0.1
 */

/**
 * TenboxOperation:state: (getter get_state)
 *
 * How far it is.
 *
 * Since: 0.1
 */

/**
 * tenbox_operation_get_id:
 * @self: an operation
 *
 * Returns: (transfer none): its id; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_operation_get_id(TenboxOperation *self);

/**
 * tenbox_operation_get_kind:
 * @self: an operation
 *
 * Returns: (transfer none): the word of what it does, as of #TenboxVmAction; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_operation_get_kind(TenboxOperation *self);

/**
 * tenbox_operation_get_vm_id:
 * @self: an operation
 *
 * Returns: (transfer none) (nullable): id of the VM it works on; owned by @self
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_operation_get_vm_id(TenboxOperation *self);

/**
 * tenbox_operation_get_state:
 * @self: an operation
 *
 * Returns: the state last learned
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperationState tenbox_operation_get_state(TenboxOperation *self);

/**
 * tenbox_operation_get_error:
 * @self: an operation
 *
 * Returns: (transfer none) (nullable): why it failed or was cancelled; owned by @self, valid until
 *   the next wait ends
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const GError *tenbox_operation_get_error(TenboxOperation *self);

/**
 * tenbox_operation_get_stage:
 * @self: an operation
 *
 * What is being done now, as a word such as "launching", "asking-guest", "removing-files"; the list
 * grows. With a watch on the connection it follows by itself, and `notify::stage` tells.
 *
 * Returns: (transfer none) (nullable): the word; owned by @self, valid until the next notification
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_operation_get_stage(TenboxOperation *self);

/**
 * tenbox_operation_get_percent:
 * @self: an operation
 *
 * Returns: how far the stage is, 0 to 100; -1 when that is not known
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
int tenbox_operation_get_percent(TenboxOperation *self);

/**
 * tenbox_operation_get_done_bytes:
 * @self: an operation
 *
 * Returns: how many bytes have been copied, -1 when none are to be
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_operation_get_done_bytes(TenboxOperation *self);

/**
 * tenbox_operation_get_total_bytes:
 * @self: an operation
 *
 * Returns: how many there are to be copied, -1 when that is not known
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_operation_get_total_bytes(TenboxOperation *self);

/**
 * tenbox_operation_get_created_at:
 * @self: an operation
 *
 * Returns: when it was asked for, in microseconds since 1970-01-01 UTC
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_operation_get_created_at(TenboxOperation *self);

/**
 * tenbox_operation_get_begun_at:
 * @self: an operation
 *
 * Returns: when the work began, as above; 0 when it has not, or that is not known
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_operation_get_begun_at(TenboxOperation *self);

/**
 * tenbox_operation_get_ended_at:
 * @self: an operation
 *
 * Returns: when it ended, as above; 0 when it has not
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gint64 tenbox_operation_get_ended_at(TenboxOperation *self);

/**
 * tenbox_operation_dup_json:
 * @self: an operation
 *
 * Returns: (transfer full): what was last learned as JSON text (schema Operation)
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_operation_dup_json(TenboxOperation *self);

/**
 * tenbox_operation_wait_async:
 * @self: an operation
 * @timeout_seconds: how long to wait at most; -1 until it ends
 * @cancellable: (nullable): ends the waiting, not the operation
 * @callback: (scope async): called when it ended or the time is over
 * @user_data: for @callback
 *
 * Waits for the end of the operation. If the call is still under way the handle is updated before
 * @callback runs, also when the result is an error.
 *
 * Errors: the error of an operation that failed; %TENBOX_ERROR_CANCELLED when it was withdrawn;
 * %TENBOX_ERROR_TIMED_OUT when it still runs after @timeout_seconds; %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_operation_wait_async(TenboxOperation *self, int timeout_seconds,
                                 GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data);

/**
 * tenbox_operation_wait_finish:
 * @self: an operation
 * @result: the result
 * @error: return location
 *
 * Returns: %TRUE when the operation is done
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_operation_wait_finish(TenboxOperation *self, GAsyncResult *result, GError **error);

/**
 * tenbox_operation_wait_sync:
 * @self: an operation
 * @timeout_seconds: how long to wait at most; -1 until it ends
 * @cancellable: (nullable): ends the waiting, not the operation
 * @error: return location
 *
 * The twin of tenbox_operation_wait_async() for programs without a main loop.
 *
 * Returns: %TRUE when the operation is done
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_operation_wait_sync(TenboxOperation *self, int timeout_seconds,
                                    GCancellable *cancellable, GError **error);

/**
 * tenbox_operation_cancel_async:
 * @self: an operation
 * @cancellable: (nullable): withdraws the request
 * @callback: (scope async): called when the driver has accepted it
 * @user_data: for @callback
 *
 * Asks the driver to withdraw the operation. It ends soon after, as cancelled or - when it was too
 * far - as done; tenbox_operation_wait_async() tells. Cancelling one that has ended succeeds.
 *
 * Errors: %TENBOX_ERROR_NOT_FOUND when the driver has forgotten it; %TENBOX_ERROR_WRONG_STATE when
 * it cannot be withdrawn any more.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_operation_cancel_async(TenboxOperation *self, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_operation_cancel_finish:
 * @self: an operation
 * @result: the result
 * @error: return location
 *
 * Returns: whether the request was accepted
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_operation_cancel_finish(TenboxOperation *self, GAsyncResult *result,
                                        GError **error);

G_END_DECLS
