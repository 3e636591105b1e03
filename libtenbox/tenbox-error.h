/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of the library.
 *
 * A code of the enum stands for one reaction of the caller (ask again, choose another name, start
 * the daemon…); there are few of them. What exactly happened is told by the slug,
 * tenbox_error_get_code(): the same stable word that travels over HTTP as `code` of a problem
 * document. New slugs may come with any release; programs that do not know one fall back on the
 * enum.
 *
 * When the caller's own #GCancellable ends a call, the error is %G_IO_ERROR_CANCELLED as everywhere
 * in GIO. %TENBOX_ERROR_CANCELLED says that somebody else withdrew the operation.
 */
#pragma once

#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

/**
 * TENBOX_ERROR:
 *
 * The domain of #TenboxError.
 *
 * Since: 0.1
 */
#define TENBOX_ERROR (tenbox_error_quark())

/**
 * TenboxError:
 * @TENBOX_ERROR_FAILED: something went wrong that no other code describes; read the message
 * @TENBOX_ERROR_INVALID_ARGUMENT: a value was refused; tenbox_error_get_field() names it
 * @TENBOX_ERROR_NOT_FOUND: no VM, operation or route of that name
 * @TENBOX_ERROR_EXISTS: the name is taken
 * @TENBOX_ERROR_WRONG_STATE: the VM (or the connection) is in a state that does not allow it
 * @TENBOX_ERROR_BUSY: another operation runs on the VM; wait for it or pre-empt it with force
 * @TENBOX_ERROR_NO_KVM: this host cannot run the VM; `tenbox doctor` says why
 * @TENBOX_ERROR_NO_MEMORY: the host has too little memory for it
 * @TENBOX_ERROR_NO_SPACE: the disk of the data folder is full
 * @TENBOX_ERROR_PERMISSION: not allowed for this caller
 * @TENBOX_ERROR_TIMED_OUT: it took longer than allowed; the operation may go on
 * @TENBOX_ERROR_CANCELLED: the operation was withdrawn by another request
 * @TENBOX_ERROR_UNREACHABLE: nothing answers at the URI: start the daemon, check the address
 * @TENBOX_ERROR_PROTOCOL: the other end answered something that is no TenBox answer
 * @TENBOX_ERROR_UNSUPPORTED: this driver, daemon or build cannot do it
 * @TENBOX_ERROR_CRASHED: the VM's process ended unasked
 * @TENBOX_ERROR_CLOSED: the connection or console was closed on this side
 * @TENBOX_ERROR_IN_USE: the data folder is used by another process
 *
 * The list only grows; treat values that you do not know as %TENBOX_ERROR_FAILED.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_ERROR_FAILED,
    TENBOX_ERROR_INVALID_ARGUMENT,
    TENBOX_ERROR_NOT_FOUND,
    TENBOX_ERROR_EXISTS,
    TENBOX_ERROR_WRONG_STATE,
    TENBOX_ERROR_BUSY,
    TENBOX_ERROR_NO_KVM,
    TENBOX_ERROR_NO_MEMORY,
    TENBOX_ERROR_NO_SPACE,
    TENBOX_ERROR_PERMISSION,
    TENBOX_ERROR_TIMED_OUT,
    TENBOX_ERROR_CANCELLED,
    TENBOX_ERROR_UNREACHABLE,
    TENBOX_ERROR_PROTOCOL,
    TENBOX_ERROR_UNSUPPORTED,
    TENBOX_ERROR_CRASHED,
    TENBOX_ERROR_CLOSED,
    TENBOX_ERROR_IN_USE,
} TenboxError;

/**
 * tenbox_error_quark:
 *
 * The domain of #TenboxError, for g_error_matches() and bindings.
 *
 * Returns: the quark behind %TENBOX_ERROR
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GQuark tenbox_error_quark(void);

/**
 * tenbox_error_get_code:
 * @error: an error of any domain
 *
 * The stable slug of @error, such as "vm-not-found". Errors of other domains get the slug that fits
 * best, so the result is never %NULL: "operation-cancelled" for %G_IO_ERROR_CANCELLED, else
 * "internal". So do errors that a binding has made anew from domain, code and message, as PyGObject
 * does.
 *
 * Returns: (transfer none): static or owned by @error
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_error_get_code(const GError *error);

/**
 * tenbox_error_get_field:
 * @error: an error of any domain
 *
 * The name of the field, option or file that @error is about, as in the JSON of the VM
 * ("memory_mb").
 *
 * Returns: (transfer none) (nullable): owned by @error; %NULL when it is about none
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_error_get_field(const GError *error);

/**
 * tenbox_error_get_hint:
 * @error: an error of any domain
 *
 * One sentence with the way out, when there is one beyond the message.
 *
 * Returns: (transfer none) (nullable): owned by @error
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_error_get_hint(const GError *error);

/**
 * tenbox_error_get_exit_status:
 * @error: (nullable): an error of any domain
 *
 * The exit status with which command-line programs of TenBox end: 0 for %NULL, 1 failed, 2 usage,
 * 3 not found, 4 conflict or wrong state, 5 not allowed, 6 timed out, 7 daemon unreachable,
 * 9 cancelled. A refused value (%TENBOX_ERROR_INVALID_ARGUMENT) is 2: the command line was wrong.
 *
 * Returns: 0 to 9
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
int tenbox_error_get_exit_status(const GError *error);

G_END_DECLS
