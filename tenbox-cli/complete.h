/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may be typed next, for the completion of shells.
 *
 * The files under data/completions only pass the words on and show the answer. Names of VMs and operations come
 * from the daemon on its Unix socket if it answers within the budget; nothing is started, nothing is asked, and
 * no error is told: a shell that completes is no place for either.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The hidden first word. */
#define CLI_COMPLETE_WORD   "__complete"
/* In milliseconds, for everything. */
#define CLI_COMPLETE_BUDGET 300

/*
 * @words: those behind "tenbox", the last one being the one that is typed, perhaps "". Prints a line for each way
 * to go on: the word, a tab, what it is; the first line is ":files" when file names fit there. Returns 0.
 */
int cli_complete(char *const *words);

G_END_DECLS
