/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far something has come, on standard error.
 *
 * On a terminal one line is redrawn, at most every 75 ms; elsewhere a line is written when the stage changes and
 * for every tenth of the way, so that a log does not fill up; --progress=json writes each step as an object.
 * Nothing of it is data.
 */
#pragma once

#include "tenbox-cli/cli.h"

G_BEGIN_DECLS

typedef struct _CliProgress CliProgress;

/* NULL when nothing is to be told; all functions accept that. */
CliProgress *cli_progress_new(Cli *cli);
/* Removes the line. */
void cli_progress_free(CliProgress *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliProgress, cli_progress_free)

/* @stage: a word of the daemon; @percent: -1 when it is not known. */
void cli_progress_show(CliProgress *self, const char *stage, int percent, gint64 done_bytes,
                       gint64 total_bytes);
/* The same from the document of an operation. */
void cli_progress_show_operation(CliProgress *self, JsonObject *operation);

/* Whether the plain form has a line for this step; for tests. */
gboolean cli_progress_is_step(int last_percent, int percent);

G_END_DECLS
