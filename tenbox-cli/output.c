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
    GPtrArray *rows; /* of GStrv; the first holds the headers */
};

CliTable *cli_table_new(const char *const *headers)
{
    CliTable *table = g_new0(CliTable, 1);

    table->column_count = g_strv_length((char **)headers);
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    g_ptr_array_add(table->rows, g_strdupv((char **)headers));
    return table;
}

void cli_table_free(CliTable *table)
{
    if (!table)
        return;
    g_ptr_array_unref(table->rows);
    g_free(table);
}

void cli_table_add(CliTable *table, const char *const *texts)
{
    char **row = g_new0(char *, table->column_count + 1);

    for (guint i = 0; i < table->column_count; i++)
        row[i] = cli_safe_text(texts[i] ? texts[i] : "-");
    g_ptr_array_add(table->rows, row);
}

char *cli_table_to_text(const CliTable *table, gboolean has_headers)
{
    g_autofree guint *widths = g_new0(guint, table->column_count);
    const guint first = has_headers ? 0 : 1;
    GString *text = g_string_new(NULL);

    for (guint r = first; r < table->rows->len; r++) {
        char **row = g_ptr_array_index(table->rows, r);

        for (guint c = 0; c < table->column_count; c++)
            widths[c] = MAX(widths[c], cli_display_width(row[c]));
    }
    for (guint r = first; r < table->rows->len; r++) {
        char **row = g_ptr_array_index(table->rows, r);

        for (guint c = 0; c < table->column_count; c++) {
            g_string_append(text, row[c]);
            if (c + 1 == table->column_count)
                break;
            for (guint i = cli_display_width(row[c]); i < widths[c] + 2; i++)
                g_string_append_c(text, ' ');
        }
        while (text->len && text->str[text->len - 1] == ' ')
            g_string_truncate(text, text->len - 1);
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

void cli_print_json(JsonNode *document)
{
    g_autofree char *text = json_to_string(document, TRUE);

    fputs(text, stdout);
    fputc('\n', stdout);
}

JsonNode *cli_parse_json(const char *text, GError **error)
{
    return json_from_string(text, error);
}

char *cli_safe_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *safe = g_string_new(NULL);

    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if (character == '\n' || character == '\t')
            g_string_append_c(safe, ' ');
        else if (g_unichar_iscntrl(character))
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

void cli_print_guest_text(const char *text)
{
    if (isatty(STDOUT_FILENO)) {
        g_autofree char *safe = cli_guest_text_for_terminal(text);

        fputs(safe, stdout);
    } else {
        fputs(text, stdout);
    }
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
