/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See escape.h. */
#include "tenbox-cli/escape.h"

#include <glib/gi18n.h>

gboolean cli_escape_parse(const char *text, guint8 *ret_key, GError **error)
{
    const char *key = text;

    if (g_ascii_strcasecmp(text, "none") == 0) {
        *ret_key = CLI_ESCAPE_NONE;
        return TRUE;
    }
    if (g_ascii_strncasecmp(text, "ctrl-", 5) == 0)
        key = text + 5;
    else if (text[0] == '^' && text[1])
        key = text + 1;
    else if (text[0] && !text[1] && g_ascii_isprint(*text) && *text != '.') {
        *ret_key = (guint8)*text;
        return TRUE;
    }
    /* Ctrl with @ is a zero, with [ Escape; the rest of the row up to _ are keys of their own. */
    if (key != text && key[0] && !key[1] && g_ascii_toupper(*key) > '@' &&
        g_ascii_toupper(*key) <= '_') {
        *ret_key = (guint8)(g_ascii_toupper(*key) & 0x1f);
        return TRUE;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("“%s” is no escape key; write one like ctrl-], ctrl-a, ~ or none"), text);
    return FALSE;
}

char *cli_escape_to_text(guint8 key)
{
    if (key < 0x20)
        return g_strdup_printf("Ctrl-%c", g_ascii_tolower((char)(key | 0x40)));
    return g_strdup_printf("%c", (char)key);
}

gboolean cli_escape_scan(CliEscape *escape, const guint8 *input, gsize length, GByteArray *output)
{
    if (escape->key == CLI_ESCAPE_NONE) {
        g_byte_array_append(output, input, (guint)length);
        return FALSE;
    }
    for (gsize i = 0; i < length; i++) {
        if (!escape->is_pending && input[i] == escape->key) {
            escape->is_pending = TRUE;
            continue;
        }
        if (escape->is_pending) {
            escape->is_pending = FALSE;
            if (input[i] == '.')
                return TRUE;
            if (input[i] != escape->key)
                g_byte_array_append(output, &escape->key, 1);
        }
        g_byte_array_append(output, &input[i], 1);
    }
    return FALSE;
}

void cli_escape_flush(CliEscape *escape, GByteArray *output)
{
    if (escape->is_pending)
        g_byte_array_append(output, &escape->key, 1);
    escape->is_pending = FALSE;
}
