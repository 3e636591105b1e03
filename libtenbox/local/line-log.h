/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has to be remembered across a restart but is too much for a file that is written anew each time:
 * JSON objects, one a line, appended as they come.
 *
 * A line is in the kernel's hands when append() returns, so a process that is killed loses none; a host that
 * loses its power may lose the last ones. A line that a crash cut off is passed over. When the file is full
 * it takes the place of the one before it (NAME.1) and a new one is begun, so all of it is bounded: twice
 * the size of one file. What must not go with the older of the two is written again by its owner.
 *
 * Blocks only as long as it takes to hand some bytes to the kernel, and to read both files at the opening.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _TbxLineLog TbxLineLog;

typedef struct {
    /* A line that was kept, oldest first; called from inside tbx_line_log_open(). */
    void (*load)(JsonObject *line, gpointer user_data);
    /* Nullable: a new file was begun; append again what must be in it. */
    void (*carry)(TbxLineLog *log, gpointer user_data);
} TbxLineLogHandlers;

/**
 * tbx_line_log_open:
 * @folder: absolute path of a folder that is the caller's alone
 * @name: file name in it
 * @size_max: of one file, in bytes
 * @handlers: const table
 *
 * Returns: (transfer full) (nullable): the log; "forbidden", "no-space", "internal"
 */
TbxLineLog *tbx_line_log_open(const char *folder, const char *name, gsize size_max,
                              const TbxLineLogHandlers *handlers, gpointer user_data,
                              GError **error);
/* Accepts NULL. */
void tbx_line_log_free(TbxLineLog *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxLineLog, tbx_line_log_free)

/* A failure is logged once, until an append succeeds again: what could not be kept is still true now. */
void tbx_line_log_append(TbxLineLog *self, JsonObject *line);

G_END_DECLS
