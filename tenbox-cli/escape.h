/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The key sequence that leaves a console: Ctrl-] and then a full stop.
 *
 * Every byte is looked at, wherever reads happen to cut the input. Ctrl-] twice sends one; Ctrl-]
 * followed by anything else sends both, so nothing is out of a guest's reach.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define CLI_ESCAPE_KEY 0x1d

typedef struct {
    gboolean is_pending; /* Ctrl-] was the last byte */
} CliEscape;

/*
 * Appends to @output what the guest shall get of @input. Returns TRUE when the sequence came: the rest
 * of @input is dropped then.
 */
gboolean cli_escape_scan(CliEscape *escape, const guint8 *input, gsize length, GByteArray *output);

/* The input has ended: a Ctrl-] that waited for its second byte is meant for the guest. */
void cli_escape_flush(CliEscape *escape, GByteArray *output);

G_END_DECLS
