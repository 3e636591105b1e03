/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data on standard output: tables, JSON, and text that a guest or another host has written.
 *
 * A terminal obeys what is printed on it, so nothing foreign reaches one as it came: control characters
 * are shown instead of sent. Pipes and files get the bytes.
 */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* Columns that @text takes on a terminal. Text that is no UTF-8 counts a column a byte. */
guint cli_display_width(const char *text);

typedef struct _CliTable CliTable;

/* @headers ends with NULL; translated already. */
CliTable *cli_table_new(const char *const *headers);
void cli_table_free(CliTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliTable, cli_table_free)
/* One text for each column; a NULL shows as "-". Copied. */
void cli_table_add(CliTable *table, const char *const *texts);
/* The same from a list that ends with NULL: cells that are missing are empty, those too many go. */
void cli_table_add_row(CliTable *table, const char *const *texts);
/* The words of that column, which are states, are shown in colours. */
void cli_table_color_column(CliTable *table, guint column);
/*
 * Columns two spaces apart, no spaces at the end of lines. Where that takes more than @width columns of the
 * terminal, the widest cells are cut and end with "…"; where even that is too much, the last ones are left
 * out. No line is wider than @width. 0: nothing is cut.
 */
char *cli_table_to_text(const CliTable *table, gboolean has_headers, guint width);

/*
 * Parses @text, whoever wrote it. NULL with @error set for what is no JSON in the strict sense, nests deeper
 * than 64 or has more than 16 MiB.
 */
JsonNode *cli_parse_json(const char *text, GError **error);
/* The same, and it must be an object. */
JsonNode *cli_parse_object(const char *text, GError **error);

/* One line of text without control characters and what reorders text: they become U+FFFD, newlines spaces. */
char *cli_safe_text(const char *text);

/*
 * Text of a log. On a terminal colours stay (and are reset at the end), carriage returns before
 * newlines go, other control characters become visible as ^X; elsewhere it is printed as it is.
 */
void cli_print_text(const char *text);
/*
 * How many bytes at the end of @text may be the beginning of something that is shown as one: a character, a
 * colour, a line's end. Whoever prints text in pieces keeps them for the next one.
 */
gsize cli_measure_unfinished(const char *text, gsize length);
/* The same with a newline behind. */
void cli_print_line(const char *text);
/* What a terminal would be sent by the above. */
char *cli_guest_text_for_terminal(const char *text);

/* "4 GiB", "512 MiB" */
char *cli_format_memory(gint64 mib);
/* "3 d 4 h", "5 min 10 s", … : the two largest units */
char *cli_format_duration(gint64 seconds);

G_END_DECLS
