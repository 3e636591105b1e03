/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Aliases: first words that a person has made up, each standing for other words of a command line.
 *
 * What tenbox itself understands as a first word is never an alias, and an alias is replaced once: it cannot
 * name another one, so nothing loops.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/*
 * @aliases: name → words as a shell splits them. Returns the command line with the first word replaced, or a
 * copy of @argv; g_strfreev(). Errors (G_OPTION_ERROR) name the alias that cannot be split.
 */
char **cli_alias_expand(char *const *argv, GHashTable *aliases, GError **error);

/* Whether @name and @words may become an alias. */
gboolean cli_alias_check(const char *name, const char *words, GError **error);

G_END_DECLS
