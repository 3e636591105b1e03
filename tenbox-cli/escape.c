/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See escape.h. */
#include "tenbox-cli/escape.h"

gboolean cli_escape_scan(CliEscape *escape, const guint8 *input, gsize length, GByteArray *output)
{
    static const guint8 key = CLI_ESCAPE_KEY;

    for (gsize i = 0; i < length; i++) {
        if (!escape->is_pending && input[i] == CLI_ESCAPE_KEY) {
            escape->is_pending = TRUE;
            continue;
        }
        if (escape->is_pending) {
            escape->is_pending = FALSE;
            if (input[i] == '.')
                return TRUE;
            if (input[i] != CLI_ESCAPE_KEY)
                g_byte_array_append(output, &key, 1);
        }
        g_byte_array_append(output, &input[i], 1);
    }
    return FALSE;
}

void cli_escape_flush(CliEscape *escape, GByteArray *output)
{
    static const guint8 key = CLI_ESCAPE_KEY;

    if (escape->is_pending)
        g_byte_array_append(output, &key, 1);
    escape->is_pending = FALSE;
}
