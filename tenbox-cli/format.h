/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The formats in which data is printed, and documents in each of them.
 *
 * “json” is always one valid document. Text of JSON and YAML is safe for terminals: what a terminal would
 * obey is written as an escape, which every parser turns back.
 */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

#define CLI_FORMATS "table|wide|json|jsonl|yaml|csv|name|template=TEMPLATE"

typedef enum {
    CLI_FORMAT_TABLE,
    CLI_FORMAT_WIDE,
    CLI_FORMAT_JSON,
    CLI_FORMAT_JSONL,
    CLI_FORMAT_YAML,
    CLI_FORMAT_CSV,
    CLI_FORMAT_NAME,
    CLI_FORMAT_TEMPLATE,
} CliFormat;

/* What the value of --output means. *ret_template, unless NULL, borrows the template from @text. Errors of
 * the domain G_OPTION_ERROR. */
gboolean cli_format_parse(const char *text, CliFormat *ret_format, const char **ret_template,
                          GError **error);
/* Whether @text is a format, template included. */
gboolean cli_format_check(const char *text, GError **error);

/* JSON without a newline at its end; @is_pretty: indented. */
char *cli_json_to_text(JsonNode *document, gboolean is_pretty);

/* YAML 1.1 and 1.2 that a YAML parser reads as the same document; ends with a newline. */
char *cli_yaml_to_text(JsonNode *document);

/* One field of CSV (RFC 4180), quoted where it must be. */
void cli_csv_append(GString *line, const char *field);

/* A value as one text without quotes: strings as they are, null and a missing value (NULL) as "", arrays
 * and objects as JSON. */
char *cli_value_to_text(JsonNode *value);

/* The member of @document that @path ("last_exit.signal") names; case and underscores do not matter where
 * nothing fits exactly. NULL when there is none: *ret_problem, unless NULL, then says so, naming the members
 * there are; it stays NULL for what is only absent this time: below null, and in “labels”. */
JsonNode *cli_document_find(JsonNode *document, const char *path, char **ret_problem);

G_END_DECLS
