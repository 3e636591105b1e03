/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The audit log: who asked for what, and what came of it, as lines of JSON in audit/audit.jsonl of
 * the data folder.
 *
 * The folder is 0700 and the files 0600 from their birth. Lines are appended by one write() each, so
 * a line is there whole or, after a crash of the host, not at all; what a crash cut off is closed by
 * a line end when the log is opened again. A line is written before its answer is sent, and is on
 * the disk about a second later: the file is synced by a thread, once for all lines of that second,
 * and when the log is closed. An answer does not wait for that, because an audit log that makes
 * every request as slow as the disk is one that people turn off.
 *
 * The log has at most `audit_files` files - audit.jsonl, audit.jsonl.1 and so on, older ones with
 * greater numbers - of `audit_max_bytes` together; the oldest goes. A line that cannot be written is
 * counted and said once a minute: a full disk must not keep anybody from stopping a VM.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "tenboxd/settings.h"

G_BEGIN_DECLS

typedef struct _TbdAudit TbdAudit;

/**
 * tbd_audit_open:
 * @data_folder: absolute path; the folder exists
 * @settings: (transfer none): sizes; may change meanwhile, must outlive the log
 * @error: return location
 *
 * Returns: (transfer full): end with tbd_audit_close()
 */
TbdAudit *tbd_audit_open(const char *data_folder, const TbdSettings *settings, GError **error);

/* Syncs what is not yet. Accepts NULL. */
void tbd_audit_close(TbdAudit *self);

/* Appends one line. */
void tbd_audit_append(TbdAudit *self, JsonObject *entry);

/* How many lines could not be written. */
guint64 tbd_audit_get_lost_count(TbdAudit *self);

/**
 * tbd_audit_read:
 * @limit: how many entries at most
 * @since: microseconds since 1970: older ones are left out, and what is before them
 * @task: (transfer full): brings a GPtrArray of JsonObject, the newest @limit, oldest first;
 *   g_ptr_array_unref()
 *
 * Reads in a thread, from the end, in pieces, to the first entry that is older than @since: what it costs
 * depends on what it brings, not on the log. Lines that are no JSON object are passed over. One reading is
 * under way at a time.
 */
void tbd_audit_read(TbdAudit *self, guint limit, gint64 since, GTask *task);

G_END_DECLS
