/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Templates for output: the part of Go's text/template that people use with docker.
 *
 *   {{.name}} {{.last_exit.signal}}   a field, text without quotes
 *   {{json .}} {{json .labels}}       as JSON on one line
 *   {{join .pending ", "}}            the elements of an array, or the k=v of an object
 *   \t \n \\                          a tab, a newline, a backslash
 *   table …                           in front: columns by the tabs, with headers
 *
 * A field that the document does not have is an error that names those it has.
 */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _CliTemplate CliTemplate;

/* Errors of the domain G_OPTION_ERROR. */
CliTemplate *cli_template_new(const char *text, GError **error);
void cli_template_free(CliTemplate *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliTemplate, cli_template_free)

/* Whether it began with "table ". */
gboolean cli_template_is_table(const CliTemplate *self);

/* What the template makes of @document, without a newline at the end. */
char *cli_template_expand(const CliTemplate *self, JsonNode *document, GError **error);
/* The names of the fields where their values would be, in capitals. */
char *cli_template_expand_headers(const CliTemplate *self);

G_END_DECLS
