/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Formats of data; see format.h.
 */
#include "tenbox-cli/format.h"

#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/template.h"

static const char *const format_words[] = {
    [CLI_FORMAT_TABLE] = "table", [CLI_FORMAT_WIDE] = "wide", [CLI_FORMAT_JSON] = "json",
    [CLI_FORMAT_JSONL] = "jsonl", [CLI_FORMAT_YAML] = "yaml", [CLI_FORMAT_CSV] = "csv",
    [CLI_FORMAT_NAME] = "name",
};

gboolean cli_format_parse(const char *text, CliFormat *ret_format, const char **ret_template,
                          GError **error)
{
    static const char *const prefixes[] = {"template=", "go-template="};

    for (gsize i = 0; i < G_N_ELEMENTS(format_words); i++) {
        if (g_str_equal(text, format_words[i])) {
            *ret_format = (CliFormat)i;
            if (ret_template)
                *ret_template = NULL;
            return TRUE;
        }
    }
    *ret_format = CLI_FORMAT_TEMPLATE;
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (g_str_has_prefix(text, prefixes[i])) {
            if (ret_template)
                *ret_template = text + strlen(prefixes[i]);
            return TRUE;
        }
    }
    /* As docker takes it. */
    if (strstr(text, "{{")) {
        if (ret_template)
            *ret_template = text;
        return TRUE;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, _("“%s” is not one of: %s"), text,
                CLI_FORMATS);
    return FALSE;
}

gboolean cli_format_check(const char *text, GError **error)
{
    const char *template_text;
    CliFormat format;
    g_autoptr(CliTemplate) template = NULL;

    if (!cli_format_parse(text, &format, &template_text, error))
        return FALSE;
    if (format != CLI_FORMAT_TEMPLATE)
        return TRUE;
    template = cli_template_new(template_text, error);
    return template != NULL;
}

/* --- JSON ---------------------------------------------------------------------------------- */

/* Characters that terminals obey or that reorder what is shown: DEL, C1 controls, line separators,
 * directional overrides. Those below U+0020 are escaped by every JSON generator. */
static gboolean is_unsafe(gunichar character)
{
    return (character >= 0x7f && character <= 0x9f) ||
           (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069) || character == 0xfeff;
}

char *cli_json_to_text(JsonNode *document, gboolean is_pretty)
{
    g_autofree char *text = json_to_string(document, is_pretty);
    GString *safe = g_string_sized_new(strlen(text));

    /* Outside of strings JSON has none of these, so escaping them everywhere escapes them in strings. */
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if (is_unsafe(character))
            g_string_append_printf(safe, "\\u%04x", character);
        else
            g_string_append_len(safe, at, g_utf8_next_char(at) - at);
    }
    return g_string_free(safe, FALSE);
}

char *cli_value_to_text(JsonNode *value)
{
    if (!value || JSON_NODE_HOLDS_NULL(value))
        return g_strdup("");
    if (JSON_NODE_HOLDS_VALUE(value) && json_node_get_value_type(value) == G_TYPE_STRING)
        return json_node_dup_string(value);
    return cli_json_to_text(value, FALSE);
}

/* --- YAML ---------------------------------------------------------------------------------- */

/* Words that some YAML reads as something else than text. */
static gboolean is_yaml_word(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",  "on",
                                        "off",  "y",    "n",     "nan", "inf", "none"};

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_ascii_strcasecmp(text, words[i]) == 0)
            return TRUE;
    }
    return FALSE;
}

/* Plain style is kept for what can be nothing but text: a letter first, then harmless characters. */
static gboolean is_yaml_plain(const char *text)
{
    static const char harmless[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";

    return g_ascii_isalpha(*text) && strspn(text, harmless) == strlen(text) && !is_yaml_word(text);
}

static void append_yaml_string(GString *yaml, const char *text)
{
    if (is_yaml_plain(text)) {
        g_string_append(yaml, text);
        return;
    }
    g_string_append_c(yaml, '"');
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if (character == '"' || character == '\\')
            g_string_append_printf(yaml, "\\%c", (char)character);
        else if (character == '\n')
            g_string_append(yaml, "\\n");
        else if (character == '\t')
            g_string_append(yaml, "\\t");
        else if (character < 0x20)
            g_string_append_printf(yaml, "\\x%02x", character);
        else if (is_unsafe(character) || character == 0xfffe || character == 0xffff)
            g_string_append_printf(yaml, "\\u%04x", character);
        else
            g_string_append_unichar(yaml, character);
    }
    g_string_append_c(yaml, '"');
}

static void append_yaml(GString *yaml, JsonNode *node, guint depth, gboolean is_behind_dash);

static void append_indent(GString *yaml, guint depth)
{
    for (guint i = 0; i < depth; i++)
        g_string_append(yaml, "  ");
}

/* What follows "key:" or "-": on the same line, or an indented block. */
static void append_yaml_child(GString *yaml, JsonNode *node, guint depth, gboolean is_element)
{
    const gboolean is_block =
        (JSON_NODE_HOLDS_OBJECT(node) && json_object_get_size(json_node_get_object(node)) > 0) ||
        (JSON_NODE_HOLDS_ARRAY(node) && json_array_get_length(json_node_get_array(node)) > 0);

    g_string_append_c(yaml, is_block && !is_element ? '\n' : ' ');
    append_yaml(yaml, node, depth, is_element);
}

static void append_yaml_object(GString *yaml, JsonObject *object, guint depth,
                               gboolean is_behind_dash)
{
    JsonObjectIter iterator;
    const char *name;
    JsonNode *member;
    gboolean is_first = TRUE;

    if (json_object_get_size(object) == 0) {
        g_string_append(yaml, "{}\n");
        return;
    }
    json_object_iter_init_ordered(&iterator, object);
    while (json_object_iter_next_ordered(&iterator, &name, &member)) {
        if (!is_first || !is_behind_dash)
            append_indent(yaml, depth);
        is_first = FALSE;
        append_yaml_string(yaml, name);
        g_string_append_c(yaml, ':');
        append_yaml_child(yaml, member, depth + 1, FALSE);
    }
}

static void append_yaml_array(GString *yaml, JsonArray *array, guint depth, gboolean is_behind_dash)
{
    const guint length = json_array_get_length(array);

    if (length == 0)
        g_string_append(yaml, "[]\n");
    for (guint i = 0; i < length; i++) {
        if (i > 0 || !is_behind_dash)
            append_indent(yaml, depth);
        g_string_append_c(yaml, '-');
        append_yaml_child(yaml, json_array_get_element(array, i), depth + 1, TRUE);
    }
}

/* @is_behind_dash: the indentation of the first line is there already. */
static void append_yaml(GString *yaml, JsonNode *node, guint depth, gboolean is_behind_dash)
{
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        append_yaml_object(yaml, json_node_get_object(node), depth, is_behind_dash);
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        append_yaml_array(yaml, json_node_get_array(node), depth, is_behind_dash);
    } else if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING) {
        append_yaml_string(yaml, json_node_get_string(node));
        g_string_append_c(yaml, '\n');
    } else {
        g_autofree char *text = json_to_string(node, FALSE);

        g_string_append(yaml, text);
        g_string_append_c(yaml, '\n');
    }
}

char *cli_yaml_to_text(JsonNode *document)
{
    GString *yaml = g_string_new(NULL);

    append_yaml(yaml, document, 0, FALSE);
    return g_string_free(yaml, FALSE);
}

/* --- CSV ----------------------------------------------------------------------------------- */

void cli_csv_append(GString *line, const char *field)
{
    if (!field[strcspn(field, ",\"\r\n")] && *field != ' ' && !g_str_has_suffix(field, " ")) {
        g_string_append(line, field);
        return;
    }
    g_string_append_c(line, '"');
    for (const char *at = field; *at; at++) {
        if (*at == '"')
            g_string_append_c(line, '"');
        g_string_append_c(line, *at);
    }
    g_string_append_c(line, '"');
}

/* --- members ------------------------------------------------------------------------------- */

/* "MemoryMb" and "memory_mb" are the same to a person. */
static char *fold_name(const char *name)
{
    g_auto(GStrv) pieces = g_strsplit(name, "_", -1);
    g_autofree char *joined = g_strjoinv("", pieces);

    return g_ascii_strdown(joined, -1);
}

static JsonNode *find_member(JsonObject *object, const char *name)
{
    g_autofree char *folded = fold_name(name);
    JsonObjectIter iterator;
    const char *candidate;
    JsonNode *member;

    if (json_object_has_member(object, name))
        return json_object_get_member(object, name);
    json_object_iter_init_ordered(&iterator, object);
    while (json_object_iter_next_ordered(&iterator, &candidate, &member)) {
        g_autofree char *folded_candidate = fold_name(candidate);

        if (g_str_equal(folded, folded_candidate))
            return member;
    }
    return NULL;
}

static char *list_members(JsonObject *object)
{
    GString *text = g_string_new(NULL);
    JsonObjectIter iterator;
    const char *name;

    json_object_iter_init_ordered(&iterator, object);
    while (json_object_iter_next_ordered(&iterator, &name, NULL))
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", name);
    return g_string_free(text, FALSE);
}

JsonNode *cli_document_find(JsonNode *document, const char *path, char **ret_problem)
{
    g_auto(GStrv) names = NULL;
    JsonNode *node = document;

    /* The keys of labels are the user's and may have full stops. */
    if (g_str_has_prefix(path, "labels.")) {
        names = g_new0(char *, 3);
        names[0] = g_strdup("labels");
        names[1] = g_strdup(path + strlen("labels."));
    } else {
        names = g_strsplit(path, ".", -1);
    }
    for (char **name = names; *name; name++) {
        JsonNode *member;

        if (JSON_NODE_HOLDS_NULL(node))
            return NULL;
        member =
            JSON_NODE_HOLDS_OBJECT(node) ? find_member(json_node_get_object(node), *name) : NULL;
        if (!member) {
            if (ret_problem && JSON_NODE_HOLDS_OBJECT(node) &&
                !(name > names && g_str_equal(name[-1], "labels"))) {
                g_autofree char *members = list_members(json_node_get_object(node));

                *ret_problem =
                    g_strdup_printf(_("there is no field “%s”; there are: %s"), *name, members);
            } else if (ret_problem && !JSON_NODE_HOLDS_OBJECT(node)) {
                *ret_problem = g_strdup_printf(_("“%s” has no fields, so there is no “%s”"),
                                               name > names ? name[-1] : ".", *name);
            }
            return NULL;
        }
        node = member;
    }
    return node;
}
