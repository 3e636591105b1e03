/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of documents; see listing.h.
 */
#include "tenbox-cli/listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/format.h"
#include "tenbox-cli/output.h"

struct _CliListing {
    Cli *cli;
    CliFormat format;
    gboolean goes_on;
    gboolean has_headers;
    const char *name_member;
    GPtrArray *columns; /* of const CliColumn */
    CliTable *table;    /* of tables that do not go on, also those of templates */
    guint count;
};

/* --- columns ------------------------------------------------------------------------------- */

static const CliColumn *find_column(const CliColumn *columns, const char *name)
{
    for (const CliColumn *column = columns; column->name; column++) {
        if (g_str_equal(column->name, name))
            return column;
    }
    return NULL;
}

static char *list_columns(const CliColumn *columns)
{
    GString *text = g_string_new(NULL);

    for (const CliColumn *column = columns; column->name; column++)
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", column->name);
    return g_string_free(text, FALSE);
}

/* Those of --columns, else those that the format shows. */
static GPtrArray *choose_columns(Cli *cli, CliFormat format, const CliColumn *columns,
                                 GError **error)
{
    g_autoptr(GPtrArray) chosen = g_ptr_array_new();
    const char *wanted = cli_command_line_get_text(cli->line, "columns");
    g_auto(GStrv) names = NULL;

    if (!wanted) {
        for (const CliColumn *column = columns; column->name; column++) {
            if (!column->is_wide || format != CLI_FORMAT_TABLE)
                g_ptr_array_add(chosen, (gpointer)column);
        }
        return g_steal_pointer(&chosen);
    }
    names = g_strsplit(wanted, ",", -1);
    for (char **name = names; *name; name++) {
        const CliColumn *column = find_column(columns, g_strstrip(*name));

        if (!column) {
            g_autofree char *all = list_columns(columns);

            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("--columns: there is no column “%s”; there are: %s"), *name, all);
            return NULL;
        }
        g_ptr_array_add(chosen, (gpointer)column);
    }
    if (chosen->len == 0) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            _("--columns names no column"));
        return NULL;
    }
    return g_steal_pointer(&chosen);
}

static char *show_column(const CliColumn *column, JsonNode *document)
{
    JsonNode *value = cli_document_find(document, column->member, NULL);

    if (value && JSON_NODE_HOLDS_NULL(value))
        value = NULL;
    return column->show ? column->show(value, json_node_get_object(document))
                        : cli_value_to_text(value);
}

/* --- the list ------------------------------------------------------------------------------ */

static void make_table(CliListing *self)
{
    g_autoptr(GPtrArray) titles = g_ptr_array_new();

    for (guint i = 0; i < self->columns->len; i++) {
        const CliColumn *column = g_ptr_array_index(self->columns, i);

        g_ptr_array_add(titles, (gpointer)_(column->title));
    }
    g_ptr_array_add(titles, NULL);
    self->table = cli_table_new((const char *const *)titles->pdata);
    for (guint i = 0; i < self->columns->len; i++) {
        const CliColumn *column = g_ptr_array_index(self->columns, i);

        if (column->is_state && self->cli->uses_color)
            cli_table_color_column(self->table, i);
    }
}

static void print_csv_headers(CliListing *self)
{
    g_autoptr(GString) line = g_string_new(NULL);

    for (guint i = 0; i < self->columns->len; i++) {
        const CliColumn *column = g_ptr_array_index(self->columns, i);

        if (i)
            g_string_append_c(line, ',');
        cli_csv_append(line, column->member);
    }
    printf("%s\r\n", line->str);
}

static void print_live_row(CliListing *self, JsonNode *document)
{
    g_autoptr(GString) line = g_string_new(NULL);

    for (guint i = 0; i < self->columns->len; i++) {
        const CliColumn *column = g_ptr_array_index(self->columns, i);
        g_autofree char *text =
            document ? show_column(column, document) : g_strdup(_(column->title));
        g_autofree char *safe = cli_safe_text(*text ? text : "-");

        g_string_append(line, safe);
        if (i + 1 == self->columns->len)
            break;
        for (guint width = cli_display_width(safe); width < column->width; width++)
            g_string_append_c(line, ' ');
        g_string_append(line, "  ");
    }
    printf("%s\n", line->str);
}

CliListing *cli_listing_new(Cli *cli, const CliColumn *columns, const char *name_member,
                            gboolean goes_on, GError **error)
{
    g_autoptr(CliListing) self = g_new0(CliListing, 1);

    self->cli = cli;
    self->format = cli->format;
    if (cli->is_quiet && (self->format == CLI_FORMAT_TABLE || self->format == CLI_FORMAT_WIDE))
        self->format = CLI_FORMAT_NAME;
    self->goes_on = goes_on;
    self->has_headers = !cli_command_line_has(cli->line, "no-headers");
    self->name_member = name_member;
    self->columns = choose_columns(cli, self->format, columns, error);
    if (!self->columns)
        return NULL;
    switch (self->format) {
    case CLI_FORMAT_TABLE:
    case CLI_FORMAT_WIDE:
        if (!goes_on)
            make_table(self);
        else if (self->has_headers)
            print_live_row(self, NULL);
        break;
    case CLI_FORMAT_CSV:
        if (self->has_headers)
            print_csv_headers(self);
        break;
    case CLI_FORMAT_TEMPLATE:
        if (cli_template_is_table(cli->template)) {
            g_autofree char *headers = cli_template_expand_headers(cli->template);
            g_auto(GStrv) titles = g_strsplit(headers, "\t", -1);

            if (!goes_on)
                self->table = cli_table_new((const char *const *)titles);
            else if (self->has_headers)
                printf("%s\n", headers);
        }
        break;
    default: break;
    }
    return g_steal_pointer(&self);
}

void cli_listing_free(CliListing *self)
{
    if (!self)
        return;
    g_clear_pointer(&self->columns, g_ptr_array_unref);
    g_clear_pointer(&self->table, cli_table_free);
    g_free(self);
}

static void add_row(CliListing *self, JsonNode *document)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);

    if (!self->table) {
        print_live_row(self, document);
        return;
    }
    for (guint i = 0; i < self->columns->len; i++) {
        char *text = show_column(g_ptr_array_index(self->columns, i), document);

        if (!*text)
            g_clear_pointer(&text, g_free);
        g_ptr_array_add(texts, text);
    }
    cli_table_add(self->table, (const char *const *)texts->pdata);
}

static gboolean add_template(CliListing *self, JsonNode *document, GError **error)
{
    g_autofree char *text = cli_template_expand(self->cli->template, document, error);

    if (!text)
        return FALSE;
    if (self->table) {
        g_auto(GStrv) texts = g_strsplit(text, "\t", -1);

        cli_table_add_row(self->table, (const char *const *)texts);
    } else {
        cli_print_line(text);
    }
    return TRUE;
}

static void add_csv(CliListing *self, JsonNode *document)
{
    g_autoptr(GString) line = g_string_new(NULL);

    for (guint i = 0; i < self->columns->len; i++) {
        const CliColumn *column = g_ptr_array_index(self->columns, i);
        g_autofree char *text =
            cli_value_to_text(cli_document_find(document, column->member, NULL));

        if (i)
            g_string_append_c(line, ',');
        cli_csv_append(line, text);
    }
    cli_print_text(line->str);
    fputs("\r\n", stdout);
}

static void add_json(CliListing *self, JsonNode *document)
{
    g_autofree char *text = cli_json_to_text(document, !self->goes_on);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *indented = g_strjoinv("\n  ", lines);

    printf("%s  %s", self->count ? ",\n" : "[\n", indented);
}

gboolean cli_listing_add(CliListing *self, JsonNode *document, GError **error)
{
    g_autoptr(JsonNode) owned = document;
    gboolean is_added = TRUE;

    switch (self->format) {
    case CLI_FORMAT_TABLE:
    case CLI_FORMAT_WIDE: add_row(self, document); break;
    case CLI_FORMAT_JSON: add_json(self, document); break;
    case CLI_FORMAT_JSONL: {
        g_autofree char *text = cli_json_to_text(document, FALSE);

        printf("%s\n", text);
        break;
    }
    case CLI_FORMAT_YAML: {
        g_autoptr(JsonNode) list = json_node_new(JSON_NODE_ARRAY);
        JsonArray *array = json_array_new();
        g_autofree char *text = NULL;

        json_array_add_element(array, json_node_copy(document));
        json_node_take_array(list, array);
        text = cli_yaml_to_text(list);
        fputs(text, stdout);
        break;
    }
    case CLI_FORMAT_CSV: add_csv(self, document); break;
    case CLI_FORMAT_NAME: {
        g_autofree char *text =
            cli_value_to_text(cli_document_find(document, self->name_member, NULL));

        cli_print_line(text);
        break;
    }
    case CLI_FORMAT_TEMPLATE: is_added = add_template(self, document, error); break;
    }
    if (is_added)
        self->count++;
    if (self->goes_on)
        fflush(stdout);
    return is_added;
}

char *cli_listing_to_text(CliListing *self)
{
    return self->table ? cli_table_to_text(self->table, self->has_headers,
                                           cli_command_line_has(self->cli->line, "no-trunc")
                                               ? 0
                                               : self->cli->terminal_width)
                       : NULL;
}

void cli_listing_end(CliListing *self)
{
    g_autofree char *text = cli_listing_to_text(self);

    if (text)
        fputs(text, stdout);
    if (self->format == CLI_FORMAT_JSON)
        fputs(self->count ? "\n]\n" : "[]\n", stdout);
    else if (self->format == CLI_FORMAT_YAML && self->count == 0)
        fputs("[]\n", stdout);
}

/* --- one document -------------------------------------------------------------------------- */

static void print_lines(JsonNode *document, const CliColumn *columns, Cli *cli)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"", "", NULL});
    g_autofree char *text = NULL;

    for (const CliColumn *column = columns; column->name; column++) {
        g_autofree char *shown = NULL;

        if (column->is_wide && cli->format == CLI_FORMAT_TABLE)
            continue;
        shown = show_column(column, document);
        cli_table_add(table, (const char *const[]){_(column->title), *shown ? shown : NULL, NULL});
    }
    text = cli_table_to_text(table, FALSE, 0);
    fputs(text, stdout);
}

/* All members as columns, for documents that have none of their own. */
static CliColumn *make_columns(JsonNode *document)
{
    JsonObject *object = json_node_get_object(document);
    CliColumn *columns = g_new0(CliColumn, json_object_get_size(object) + 1);
    JsonObjectIter iterator;
    const char *name;
    guint count = 0;

    json_object_iter_init_ordered(&iterator, object);
    while (json_object_iter_next_ordered(&iterator, &name, NULL)) {
        columns[count].name = name;
        columns[count].title = name;
        columns[count++].member = name;
    }
    return columns;
}

int cli_print_document(Cli *cli, JsonNode *document, const CliColumn *columns,
                       const char *name_member)
{
    g_autofree CliColumn *made = columns ? NULL : make_columns(document);
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    switch (cli->format) {
    case CLI_FORMAT_JSONL: text = cli_json_to_text(document, FALSE); break;
    case CLI_FORMAT_JSON: text = cli_json_to_text(document, TRUE); break;
    case CLI_FORMAT_YAML:
        text = cli_yaml_to_text(document);
        fputs(text, stdout);
        return CLI_EXIT_DONE;
    case CLI_FORMAT_TABLE:
    case CLI_FORMAT_WIDE:
        if (cli_command_line_has(cli->line, "columns"))
            break;
        if (columns && !cli->is_quiet) {
            print_lines(document, columns, cli);
            return CLI_EXIT_DONE;
        }
        if (!columns)
            text = cli_json_to_text(document, TRUE);
        break;
    default: break;
    }
    if (text) {
        printf("%s\n", text);
        return CLI_EXIT_DONE;
    }
    listing = cli_listing_new(cli, columns ? columns : made, name_member, FALSE, &error);
    if (!listing || !cli_listing_add(listing, json_node_copy(document), &error))
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return CLI_EXIT_DONE;
}

/* --- what columns show --------------------------------------------------------------------- */

static gint64 get_number(JsonNode *value)
{
    return value && JSON_NODE_HOLDS_VALUE(value) ? json_node_get_int(value) : 0;
}

char *cli_show_memory_mb(JsonNode *value, JsonObject *document)
{
    return value ? cli_format_memory(get_number(value)) : g_strdup("");
}

char *cli_show_bytes(JsonNode *value, JsonObject *document)
{
    return value ? g_format_size_full((guint64)get_number(value), G_FORMAT_SIZE_IEC_UNITS)
                 : g_strdup("");
}

static GDateTime *get_time(JsonNode *value)
{
    const char *text = value && JSON_NODE_HOLDS_VALUE(value) ? json_node_get_string(value) : NULL;

    return text ? g_date_time_new_from_iso8601(text, NULL) : NULL;
}

char *cli_show_since(JsonNode *value, JsonObject *document)
{
    g_autoptr(GDateTime) time = get_time(value);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();

    return time ? cli_format_duration(g_date_time_difference(now, time) / G_USEC_PER_SEC)
                : g_strdup("");
}

char *cli_show_time(JsonNode *value, JsonObject *document)
{
    g_autoptr(GDateTime) time = get_time(value);
    g_autoptr(GDateTime) local = time ? g_date_time_to_local(time) : NULL;

    return local ? g_date_time_format(local, "%Y-%m-%d %H:%M:%S") : g_strdup("");
}

char *cli_show_short_id(JsonNode *value, JsonObject *document)
{
    const char *id = value && JSON_NODE_HOLDS_VALUE(value) ? json_node_get_string(value) : NULL;

    return g_strndup(id ? id : "", 8);
}

char *cli_show_yes(JsonNode *value, JsonObject *document)
{
    return g_strdup(!value ? "" : json_node_get_boolean(value) ? _("yes") : _("no"));
}

char *cli_show_labels(JsonNode *value, JsonObject *document)
{
    GString *text = g_string_new(NULL);
    JsonObjectIter iterator;
    const char *name;
    JsonNode *member;

    if (value && JSON_NODE_HOLDS_OBJECT(value)) {
        json_object_iter_init_ordered(&iterator, json_node_get_object(value));
        while (json_object_iter_next_ordered(&iterator, &name, &member)) {
            g_autofree char *shown = cli_value_to_text(member);

            g_string_append_printf(text, "%s%s%s%s", text->len ? "," : "", name, *shown ? "=" : "",
                                   shown);
        }
    }
    return g_string_free(text, FALSE);
}

char *cli_show_words(JsonNode *value, JsonObject *document)
{
    GString *text = g_string_new(NULL);

    if (value && JSON_NODE_HOLDS_ARRAY(value)) {
        JsonArray *array = json_node_get_array(value);

        for (guint i = 0; i < json_array_get_length(array); i++) {
            g_autofree char *word = cli_value_to_text(json_array_get_element(array, i));

            g_string_append_printf(text, "%s%s", i ? "," : "", word);
        }
    }
    return g_string_free(text, FALSE);
}
