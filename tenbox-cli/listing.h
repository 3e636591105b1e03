/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of documents on standard output, in the format that was asked for.
 *
 * A command describes its columns once; table, wide, CSV and --columns follow from that, JSON, JSON lines,
 * YAML and templates from the documents themselves. A list that goes on (events) is printed piece by piece
 * and still is one valid document in -o json once it has ended.
 */
#pragma once

#include "tenbox-cli/cli.h"

G_BEGIN_DECLS

typedef struct {
    const char *name;   /* what --columns calls it */
    const char *title;  /* N_(): the header of tables */
    const char *member; /* path in the document; CSV shows its value under this name */
    /* The text in tables, the caller's; @value is NULL where there is none. NULL: the value as text. */
    char *(*show)(JsonNode *value, JsonObject *document);
    gboolean is_wide;  /* only shown by -o wide and --columns */
    gboolean is_state; /* coloured by its word */
    guint width;       /* in lists that go on: the least columns on the terminal */
} CliColumn;

typedef struct _CliListing CliListing;

/*
 * @columns ends with a row without name; @name_member is what -q and -o name print. @goes_on: each document is
 * printed when it is added. Errors: --columns names a column that is not there.
 */
CliListing *cli_listing_new(Cli *cli, const CliColumn *columns, const char *name_member,
                            gboolean goes_on, GError **error);
void cli_listing_free(CliListing *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliListing, cli_listing_free)

/* Takes @document, an object. Errors: the template asks for a field that it does not have. */
gboolean cli_listing_add(CliListing *self, JsonNode *document, GError **error);
/* Prints what is left. Once, also after an error of the above. */
void cli_listing_end(CliListing *self);
/* What a table of all that was added looks like; NULL in other formats. For lists that are redrawn. */
char *cli_listing_to_text(CliListing *self);

/*
 * One document, an object, by the same columns: a table has a line for each. @columns NULL: all members; a table
 * is not made of them then, JSON is shown. Returns the exit status.
 */
int cli_print_document(Cli *cli, JsonNode *document, const CliColumn *columns,
                       const char *name_member);

/* Columns' show functions. */
char *cli_show_memory_mb(JsonNode *value, JsonObject *document);
char *cli_show_bytes(JsonNode *value, JsonObject *document);
char *cli_show_since(JsonNode *value, JsonObject *document); /* a time: how long ago */
char *cli_show_time(JsonNode *value, JsonObject *document);  /* a time, in the local zone */
char *cli_show_short_id(JsonNode *value, JsonObject *document);
char *cli_show_yes(JsonNode *value, JsonObject *document);    /* a boolean */
char *cli_show_labels(JsonNode *value, JsonObject *document); /* k=v,… */
char *cli_show_words(JsonNode *value, JsonObject *document);  /* an array of texts */

G_END_DECLS
