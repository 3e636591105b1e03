/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One open serial console of a VM.
 *
 * Any number may be open on one VM; each reads at its own speed from the ring the VM's process
 * keeps and each may write, unless one has been opened as the only writer (see #TenboxConsoleFlags). A reader that falls behind by more than the ring (256 KiB) loses the
 * oldest bytes, is told how many, and goes on: it never holds up the guest.
 */
#pragma once

#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_CONSOLE (tenbox_console_get_type())

/**
 * TenboxConsole:
 *
 * One open serial console. Signals are emitted in the connection's main context. Dropping the last
 * reference closes the console without a signal.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxConsole, tenbox_console, TENBOX, CONSOLE, GObject)

/**
 * TenboxConsole::output:
 * @self: a console
 * @bytes: what the guest wrote, at most 64 KiB
 *
 * The guest wrote something. Emission begins in the first main loop iteration after the console was
 * opened, so a handler connected in the callback of tenbox_vm_open_console_async() misses nothing.
 * Nothing is emitted while output is paused.
 *
 * Since: 0.1
 */

/**
 * TenboxConsole::closed:
 * @self: a console
 * @error: (nullable): why; %NULL when the VM stopped or tenbox_console_close() was called
 *
 * Nothing more will come. Emitted exactly once.
 *
 * Since: 0.1
 */

/**
 * tenbox_console_write_async:
 * @self: a console
 * @bytes: what the guest shall receive; any length
 * @cancellable: (nullable): stops the writing; how much was sent is unknown then
 * @callback: (scope async): called when all of @bytes has been accepted
 * @user_data: for @callback
 *
 * Sends input to the guest. Writes queue up in the order of the calls and complete in that order;
 * the guest takes input as slowly as it likes, so a program should have one write under way and
 * prepare no more until it completes. At most 1 MiB may wait.
 *
 * Errors: %TENBOX_ERROR_CLOSED after tenbox_console_close() or when the VM has stopped;
 * %TENBOX_ERROR_BUSY when more than 1 MiB would wait; %TENBOX_ERROR_UNREACHABLE.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_console_write_async(TenboxConsole *self, GBytes *bytes, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data);

/**
 * tenbox_console_write_finish:
 * @self: a console
 * @result: the result
 * @error: return location
 *
 * Returns: whether all bytes were accepted
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_console_write_finish(TenboxConsole *self, GAsyncResult *result, GError **error);

/**
 * tenbox_console_set_paused:
 * @self: a console
 * @paused: whether to hold back output
 *
 * Pauses or resumes the emission of `output`: the way to pass back-pressure on. One emission may
 * still follow a pause. While paused the guest goes on and old output may be lost, see
 * tenbox_console_get_skipped().
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_console_set_paused(TenboxConsole *self, gboolean paused);

/**
 * tenbox_console_get_skipped:
 * @self: a console
 *
 * Returns: bytes of output that this reader has lost so far because it was too slow
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
guint64 tenbox_console_get_skipped(TenboxConsole *self);

/**
 * tenbox_console_is_closed:
 * @self: a console
 *
 * Returns: whether `closed` has been emitted
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_console_is_closed(TenboxConsole *self);

/**
 * tenbox_console_close:
 * @self: a console
 *
 * Closes this reader; the VM and other readers go on. Writes under way end with
 * %TENBOX_ERROR_CLOSED. Emits `closed` before it returns unless that has happened. Closing twice is
 * allowed.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_console_close(TenboxConsole *self);

G_END_DECLS
