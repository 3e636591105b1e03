/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See template.h. */
#include "tenbox-cli/template.h"

#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/format.h"

#define TABLE_PREFIX "table "

typedef enum {
    PIECE_TEXT,
    PIECE_VALUE,
    PIECE_JSON,
    PIECE_JOIN,
} PieceKind;

typedef struct {
    PieceKind kind;
    char *text;      /* PIECE_TEXT: what is printed; else the path, "" for the whole document */
    char *separator; /* PIECE_JOIN */
} Piece;

struct _CliTemplate {
    GPtrArray *pieces; /* of Piece */
    gboolean is_table;
};

static void piece_free(gpointer data)
{
    Piece *piece = data;

    g_free(piece->text);
    g_free(piece->separator);
    g_free(piece);
}

void cli_template_free(CliTemplate *self)
{
    if (!self)
        return;
    g_ptr_array_unref(self->pieces);
    g_free(self);
}

gboolean cli_template_is_table(const CliTemplate *self)
{
    return self->is_table;
}

/* --- reading ------------------------------------------------------------------------------- */

/* Takes @text and @separator. */
static void add_piece(CliTemplate *self, PieceKind kind, char *text, char *separator)
{
    Piece *piece = g_new0(Piece, 1);

    piece->kind = kind;
    piece->text = text;
    piece->separator = separator;
    g_ptr_array_add(self->pieces, piece);
}

static char *unescape(const char *text, gsize length)
{
    GString *plain = g_string_new(NULL);

    for (gsize i = 0; i < length; i++) {
        if (text[i] != '\\' || i + 1 == length) {
            g_string_append_c(plain, text[i]);
            continue;
        }
        i++;
        if (text[i] == 't')
            g_string_append_c(plain, '\t');
        else if (text[i] == 'n')
            g_string_append_c(plain, '\n');
        else if (text[i] == '\\')
            g_string_append_c(plain, '\\');
        else
            g_string_append_printf(plain, "\\%c", text[i]);
    }
    return g_string_free(plain, FALSE);
}

static gboolean set_bad_action(GError **error, const char *action)
{
    g_set_error(
        error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        _("the template does not understand “{{%s}}”; there are {{.FIELD}}, {{.FIELD.FIELD}}, "
          "{{json .FIELD}} and {{join .FIELD \", \"}}"),
        action);
    return FALSE;
}

/* "." or ".a.b" at @text; NULL when it is neither. */
static char *take_path(const char *text, gsize length)
{
    static const char characters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/.";

    g_autofree char *path = g_strndup(text, length);

    if (*path != '.' || strspn(path, characters) < length || strstr(path, "..") ||
        (length > 1 && g_str_has_suffix(path, ".")))
        return NULL;
    return g_strdup(path + 1);
}

/* What stands between the braces. */
static gboolean add_action(CliTemplate *self, const char *whole, GError **error)
{
    g_autofree char *action = g_strstrip(g_strdup(whole));
    PieceKind kind = PIECE_VALUE;
    const char *at = action;
    g_autofree char *path = NULL;
    gsize length;

    if (g_str_has_prefix(at, "json ")) {
        kind = PIECE_JSON;
        at += strlen("json ");
    } else if (g_str_has_prefix(at, "join ")) {
        kind = PIECE_JOIN;
        at += strlen("join ");
    }
    at += strspn(at, " ");
    length = strcspn(at, " ");
    path = take_path(at, length);
    at += length;
    at += strspn(at, " ");
    if (!path)
        return set_bad_action(error, whole);
    if (kind == PIECE_JOIN) {
        const gsize quoted = strlen(at);

        if (quoted < 2 || at[0] != '"' || at[quoted - 1] != '"')
            return set_bad_action(error, whole);
        add_piece(self, kind, g_steal_pointer(&path), unescape(at + 1, quoted - 2));
        return TRUE;
    }
    if (*at)
        return set_bad_action(error, whole);
    add_piece(self, kind, g_steal_pointer(&path), NULL);
    return TRUE;
}

CliTemplate *cli_template_new(const char *text, GError **error)
{
    g_autoptr(CliTemplate) self = g_new0(CliTemplate, 1);

    self->pieces = g_ptr_array_new_with_free_func(piece_free);
    if (g_str_has_prefix(text, TABLE_PREFIX)) {
        self->is_table = TRUE;
        text += strlen(TABLE_PREFIX);
    }
    while (*text) {
        const char *open = strstr(text, "{{");
        const char *close = open ? strstr(open, "}}") : NULL;
        g_autofree char *action = NULL;

        if (!open) {
            add_piece(self, PIECE_TEXT, unescape(text, strlen(text)), NULL);
            break;
        }
        if (!close) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("the template opens “%s” and does not close it by “}}”"), open);
            return NULL;
        }
        if (open > text)
            add_piece(self, PIECE_TEXT, unescape(text, (gsize)(open - text)), NULL);
        action = g_strndup(open + 2, (gsize)(close - open - 2));
        if (!add_action(self, action, error))
            return NULL;
        text = close + 2;
    }
    if (self->pieces->len == 0) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            _("the template is empty; {{.name}} would show names"));
        return NULL;
    }
    return g_steal_pointer(&self);
}

/* --- writing ------------------------------------------------------------------------------- */

static void append_join(GString *text, const Piece *piece, JsonNode *value)
{
    gboolean is_first = TRUE;

    if (value && JSON_NODE_HOLDS_ARRAY(value)) {
        JsonArray *array = json_node_get_array(value);

        for (guint i = 0; i < json_array_get_length(array); i++) {
            g_autofree char *element = cli_value_to_text(json_array_get_element(array, i));

            g_string_append_printf(text, "%s%s", i ? piece->separator : "", element);
        }
    } else if (value && JSON_NODE_HOLDS_OBJECT(value)) {
        JsonObjectIter iterator;
        const char *name;
        JsonNode *member;

        json_object_iter_init_ordered(&iterator, json_node_get_object(value));
        while (json_object_iter_next_ordered(&iterator, &name, &member)) {
            g_autofree char *element = cli_value_to_text(member);

            g_string_append_printf(text, "%s%s=%s", is_first ? "" : piece->separator, name,
                                   element);
            is_first = FALSE;
        }
    } else {
        g_autofree char *element = cli_value_to_text(value);

        g_string_append(text, element);
    }
}

char *cli_template_expand(const CliTemplate *self, JsonNode *document, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < self->pieces->len; i++) {
        const Piece *piece = g_ptr_array_index(self->pieces, i);
        g_autofree char *problem = NULL;
        g_autofree char *shown = NULL;
        JsonNode *value;

        if (piece->kind == PIECE_TEXT) {
            g_string_append(text, piece->text);
            continue;
        }
        value = *piece->text ? cli_document_find(document, piece->text, &problem) : document;
        if (problem) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--output: %s", problem);
            return NULL;
        }
        if (piece->kind == PIECE_JOIN)
            append_join(text, piece, value);
        else if (piece->kind == PIECE_JSON)
            g_string_append(text,
                            shown = value ? cli_json_to_text(value, FALSE) : g_strdup("null"));
        else
            g_string_append(text, shown = cli_value_to_text(value));
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *cli_template_expand_headers(const CliTemplate *self)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < self->pieces->len; i++) {
        const Piece *piece = g_ptr_array_index(self->pieces, i);

        if (piece->kind == PIECE_TEXT) {
            g_string_append(text, piece->text);
        } else {
            const char *stop = strrchr(piece->text, '.');
            g_autofree char *header = g_ascii_strup(stop ? stop + 1 : piece->text, -1);

            g_string_append(text, header);
        }
    }
    return g_string_free(text, FALSE);
}
