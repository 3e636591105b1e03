/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The key sequence that leaves a console: the escape key, Ctrl-] unless another one is chosen, and then a
 * full stop.
 *
 * Every byte is looked at, wherever reads happen to cut the input. The escape key twice sends one; followed
 * by anything else it sends both, so nothing is out of a guest's reach.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define CLI_ESCAPE_NONE 0 /* no key leaves */

typedef struct {
    guint8 key;          /* CLI_ESCAPE_NONE: nothing is looked for */
    gboolean is_pending; /* the key was the last byte */
} CliEscape;

/* "ctrl-]", "^]", "ctrl-a", one character, or "none". Errors of the domain G_OPTION_ERROR. */
gboolean cli_escape_parse(const char *text, guint8 *ret_key, GError **error);
/* How a person types it: "Ctrl-]". */
char *cli_escape_to_text(guint8 key);

/*
 * Appends to @output what the guest shall get of @input. Returns TRUE when the sequence came: the rest
 * of @input is dropped then.
 */
gboolean cli_escape_scan(CliEscape *escape, const guint8 *input, gsize length, GByteArray *output);

/* The input has ended: an escape key that waited for its second byte is meant for the guest. */
void cli_escape_flush(CliEscape *escape, GByteArray *output);

G_END_DECLS
