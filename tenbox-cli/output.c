/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables, JSON and foreign text; see output.h.
 */
#include "tenbox-cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glib/gi18n.h>

#include "libtenbox/tenbox.h"

/* As libtenbox takes answers. */
#define JSON_SIZE_MAX  (16 * 1024 * 1024)
#define JSON_DEPTH_MAX 64

guint cli_display_width(const char *text)
{
    guint width = 0;

    if (!g_utf8_validate(text, -1, NULL))
        return (guint)strlen(text);
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if (!g_unichar_iszerowidth(character))
            width += g_unichar_iswide(character) ? 2 : 1;
    }
    return width;
}

struct _CliTable {
    guint column_count;
    GPtrArray *rows;   /* of GStrv; the first holds the headers */
    gboolean *colored; /* by column */
};

CliTable *cli_table_new(const char *const *headers)
{
    CliTable *table = g_new0(CliTable, 1);

    table->column_count = g_strv_length((char **)headers);
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    table->colored = g_new0(gboolean, table->column_count);
    g_ptr_array_add(table->rows, g_strdupv((char **)headers));
    return table;
}

void cli_table_free(CliTable *table)
{
    if (!table)
        return;
    g_ptr_array_unref(table->rows);
    g_free(table->colored);
    g_free(table);
}

void cli_table_add(CliTable *table, const char *const *texts)
{
    char **row = g_new0(char *, table->column_count + 1);

    for (guint i = 0; i < table->column_count; i++)
        row[i] = cli_safe_text(texts[i] ? texts[i] : "-");
    g_ptr_array_add(table->rows, row);
}

void cli_table_add_row(CliTable *table, const char *const *texts)
{
    char **row = g_new0(char *, table->column_count + 1);

    for (guint i = 0; i < table->column_count; i++) {
        row[i] = cli_safe_text(*texts ? *texts : "");
        texts += *texts != NULL;
    }
    g_ptr_array_add(table->rows, row);
}

void cli_table_color_column(CliTable *table, guint column)
{
    table->colored[column] = TRUE;
}

/* The least that a column is cut to. */
#define CELL_MIN 8

/* Takes columns of the terminal from the widest cells; FALSE: the line does not fit even so. */
static gboolean shrink(guint *widths, guint count, guint limit)
{
    for (;;) {
        guint total = 2 * (count - 1);
        guint widest = 0;

        for (guint i = 0; i < count; i++) {
            total += widths[i];
            widest = widths[i] > widths[widest] ? i : widest;
        }
        if (total <= limit)
            return TRUE;
        if (widths[widest] <= CELL_MIN)
            return FALSE;
        widths[widest]--;
    }
}

/* Makes lines of at most @limit out of @widths. Returns how many of the first cells have room. */
static guint fit(guint *widths, guint count, guint limit)
{
    g_autofree guint *natural = g_memdup2(widths, count * sizeof(*widths));

    for (; count > 1; count--) {
        if (shrink(widths, count, limit))
            return count;
        memcpy(widths, natural, count * sizeof(*widths));
    }
    if (count)
        widths[0] = MIN(widths[0], limit);
    return count;
}

/* @text in at most @width columns. */
static char *cut(const char *text, guint width)
{
    GString *shown = g_string_new(NULL);
    guint used = 0;

    if (cli_display_width(text) <= width) {
        g_string_append(shown, text);
        return g_string_free(shown, FALSE);
    }
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);
        const guint columns = g_unichar_iszerowidth(character) ? 0
                              : g_unichar_iswide(character)    ? 2
                                                               : 1;

        if (used + columns + 1 > width)
            break;
        used += columns;
        g_string_append_unichar(shown, character);
    }
    g_string_append(shown, "…");
    return g_string_free(shown, FALSE);
}

/* The colour is never the only sign: the word is there too. */
static const char *color_of(const char *word)
{
    static const struct {
        const char *word;
        const char *sequence;
    } colors[] = {
        {"running", "\033[32m"},     {"done", "\033[32m"},     {"ok", "\033[32m"},
        {"crashed", "\033[31m"},     {"failed", "\033[31m"},   {"paused", "\033[33m"},
        {"starting", "\033[36m"},    {"stopping", "\033[36m"}, {"cancelled", "\033[33m"},
        {"interrupted", "\033[33m"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(colors); i++) {
        if (g_str_equal(word, colors[i].word))
            return colors[i].sequence;
    }
    return NULL;
}

char *cli_table_to_text(const CliTable *table, gboolean has_headers, guint width)
{
    g_autofree guint *widths = g_new0(guint, table->column_count);
    const guint first = has_headers ? 0 : 1;
    guint shown_count = table->column_count;
    GString *text = g_string_new(NULL);

    for (guint r = first; r < table->rows->len; r++) {
        char **row = g_ptr_array_index(table->rows, r);

        for (guint c = 0; c < table->column_count; c++)
            widths[c] = MAX(widths[c], cli_display_width(row[c]));
    }
    if (width)
        shown_count = fit(widths, table->column_count, width);
    for (guint r = first; r < table->rows->len; r++) {
        char **row = g_ptr_array_index(table->rows, r);

        for (guint c = 0; c < shown_count; c++) {
            g_autofree char *cell = width ? cut(row[c], widths[c]) : g_strdup(row[c]);
            const char *color = r && table->colored[c] ? color_of(cell) : NULL;

            if (color)
                g_string_append_printf(text, "%s%s\033[0m", color, cell);
            else
                g_string_append(text, cell);
            if (c + 1 == shown_count)
                break;
            for (guint i = cli_display_width(cell); i < widths[c] + 2; i++)
                g_string_append_c(text, ' ');
        }
        while (text->len && text->str[text->len - 1] == ' ')
            g_string_truncate(text, text->len - 1);
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

/*
 * json-glib recurses as deep as a text is nested, and reads more than JSON: comments and other quotes, in which
 * brackets could hide. Whatever has none of that and is small and flat may be given to it.
 */
static gboolean may_be_parsed(const char *text)
{
    static const char outside[] = " \t\r\n[]{},:+-.0123456789eEtrufalsn";
    guint depth = 0;
    const char *at = text;

    if (strlen(text) > JSON_SIZE_MAX)
        return FALSE;
    for (; *at; at++) {
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++)
                at += at[0] == '\\' && at[1];
            if (!*at)
                return FALSE;
        } else if (!strchr(outside, *at)) {
            return FALSE;
        } else if (*at == '[' || *at == '{') {
            if (++depth > JSON_DEPTH_MAX)
                return FALSE;
        } else if ((*at == ']' || *at == '}') && depth-- == 0) {
            return FALSE;
        }
    }
    return depth == 0;
}

JsonNode *cli_parse_json(const char *text, GError **error)
{
    /* json-glib takes an empty text for no document, which is no error to it. */
    if (!text[strspn(text, " \t\r\n")] || !may_be_parsed(text)) {
        g_set_error_literal(error, TENBOX_ERROR, TENBOX_ERROR_PROTOCOL,
                            _("it is no JSON text, or too large or too deep a one"));
        return NULL;
    }
    return json_from_string(text, error);
}

/* Line separators and directional overrides, by which a name could look like another one. */
static gboolean is_reordering(gunichar character)
{
    return (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

JsonNode *cli_parse_object(const char *text, GError **error)
{
    JsonNode *node = cli_parse_json(text, error);

    if (node && !JSON_NODE_HOLDS_OBJECT(node)) {
        g_clear_pointer(&node, json_node_unref);
        g_set_error_literal(error, TENBOX_ERROR, TENBOX_ERROR_PROTOCOL,
                            _("the daemon's answer is no object"));
    }
    return node;
}

char *cli_safe_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *safe = g_string_new(NULL);

    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if (character == '\n' || character == '\t')
            g_string_append_c(safe, ' ');
        else if (g_unichar_iscntrl(character) || is_reordering(character))
            g_string_append_unichar(safe, 0xfffd);
        else
            g_string_append_unichar(safe, character);
    }
    return g_string_free(safe, FALSE);
}

/* The length of an SGR sequence (colours and the like) at @at, 0 when there is none. */
static gsize colour_sequence_length(const char *at)
{
    gsize parameters;

    if (at[0] != '\033' || at[1] != '[')
        return 0;
    parameters = strspn(at + 2, "0123456789;:");
    return parameters <= 32 && at[2 + parameters] == 'm' ? 2 + parameters + 1 : 0;
}

char *cli_guest_text_for_terminal(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *safe = g_string_new(NULL);
    gboolean is_coloured = FALSE;

    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);
        const gsize colour_length = colour_sequence_length(at);

        if (colour_length) {
            g_string_append_len(safe, at, (gssize)colour_length);
            is_coloured = TRUE;
            at += colour_length - 1;
        } else if (character == '\n' || character == '\t') {
            g_string_append_c(safe, (char)character);
        } else if (character == '\r') {
            /* Consoles end lines with one; alone it would overwrite what is shown. */
            if (at[1] != '\n' && at[1] != '\r')
                g_string_append_c(safe, '\n');
        } else if (character < 0x20 || character == 0x7f) {
            g_string_append_printf(safe, "^%c", (char)(character ^ 0x40));
        } else if (g_unichar_iscntrl(character)) {
            g_string_append_unichar(safe, 0xfffd);
        } else {
            g_string_append_unichar(safe, character);
        }
    }
    if (is_coloured)
        g_string_append(safe, "\033[0m");
    return g_string_free(safe, FALSE);
}

/* The longest colour sequence that is let through, and a bit. */
#define UNFINISHED_MAX 40

gsize cli_measure_unfinished(const char *text, gsize length)
{
    const char *last = length ? g_utf8_find_prev_char(text, text + length) : NULL;

    if (length && text[length - 1] == '\r')
        return 1;
    for (gsize back = 1; back <= MIN(length, UNFINISHED_MAX); back++) {
        const char *at = text + length - back;

        if (*at == '\033')
            return back == 1 || (at[1] == '[' && strspn(at + 2, "0123456789;:") >= back - 2) ? back
                                                                                             : 0;
    }
    /* A character whose bytes have not all come. */
    if (last && (*last & 0x80) &&
        g_utf8_get_char_validated(last, text + length - last) == (gunichar)-2)
        return (gsize)(text + length - last);
    return 0;
}

void cli_print_text(const char *text)
{
    if (isatty(STDOUT_FILENO)) {
        g_autofree char *safe = cli_guest_text_for_terminal(text);

        fputs(safe, stdout);
    } else {
        fputs(text, stdout);
    }
}

void cli_print_line(const char *text)
{
    cli_print_text(text);
    fputc('\n', stdout);
}

char *cli_format_memory(gint64 mib)
{
    if (mib >= 1024 && mib % 1024 == 0)
        return g_strdup_printf("%" PRId64 " GiB", mib / 1024);
    return g_strdup_printf("%" PRId64 " MiB", mib);
}

char *cli_format_duration(gint64 seconds)
{
    const int minutes = (int)(seconds / 60 % 60);
    const int hours = (int)(seconds / 3600 % 24);
    const gint64 days = seconds / 86400;

    if (seconds < 0)
        return g_strdup("-");
    if (days)
        return g_strdup_printf(_("%" PRId64 " d %d h"), days, hours);
    if (hours)
        return g_strdup_printf(_("%d h %d min"), hours, minutes);
    if (minutes)
        return g_strdup_printf(_("%d min %d s"), minutes, (int)(seconds % 60));
    return g_strdup_printf(_("%d s"), (int)seconds);
}
