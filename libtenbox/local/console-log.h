/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * logs/console.log: the end of what a VM wrote to its console, over all its runs.
 *
 * A thread copies from the ring to the file whenever there is something new and none is at it already;
 * the main loop neither reads nor writes. The file is at most TBX_CONSOLE_LOG_MAX bytes: when it is full
 * its newer half is kept. How far the ring has been copied is kept in run/console.position, so that a
 * daemon that takes over a VM goes on where the last one stopped.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/console-ring.h"
#include "libtenbox/local/lock.h"
#include "libtenbox/local/place.h"

G_BEGIN_DECLS

#define TBX_CONSOLE_LOG_MAX (1u << 20)

typedef struct _TbxConsoleLog TbxConsoleLog;

/* The folders are open only while something is copied. @lock (nullable) is held by each piece of work until it has come to its end. Home: the caller's
 * thread-default context. */
TbxConsoleLog *tbx_console_log_new(TbxPlace *run, TbxPlace *logs, TbxLock *lock);
/* The driver is closing: nothing more is begun. */
void tbx_console_log_close(TbxConsoleLog *self);
/* Work under way is finished. Accepts NULL. */
void tbx_console_log_unref(TbxConsoleLog *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxConsoleLog, tbx_console_log_unref)

/* From now on @ring is copied: from its beginning, or from where the last daemon stopped. What is left
 * of the rings before is copied first; when so many wait for a slow disk that memory matters, the oldest
 * are given up. */
void tbx_console_log_attach(TbxConsoleLog *self, TbxConsoleRing *ring, gboolean is_adopted);

/* There is something new in the ring. Cheap. */
void tbx_console_log_notify(TbxConsoleLog *self);

/**
 * tbx_console_log_read_async:
 * @line_count: how many of the last lines; 0 = all
 *
 * Brings the file up to date as of now, then reads it: a guest that never falls silent holds nobody up.
 */
void tbx_console_log_read_async(TbxConsoleLog *self, guint line_count, GAsyncReadyCallback callback,
                                gpointer user_data);
/* (transfer full) (nullable): valid UTF-8; what was not is replaced. */
char *tbx_console_log_read_finish(GAsyncResult *result, GError **error);

/* Where the last @line_count lines of @text begin; 0 = all. */
gsize tbx_log_find_last_lines(const char *text, gsize length, guint line_count);

/* The last @line_count lines of a log in @logs_fd, as valid UTF-8; "" when there is no such file. */
char *tbx_log_read_end(int logs_fd, const char *name, guint line_count, GError **error);

G_END_DECLS
