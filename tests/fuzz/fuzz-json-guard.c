/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON guard: whatever it lets through, json-glib must read, our printer must write, and both must
 * come to the same tree again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libtenbox/wire/json-guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) first = tbx_json_guard_parse((const char *)data, size, &error);
    g_autoptr(JsonNode) second = NULL;
    g_autofree char *printed = NULL;
    g_autofree char *again = NULL;
    gsize length;

    if (first == NULL) {
        /* Refused: in words that can be shown. */
        if (error == NULL || !g_utf8_validate(error->message, -1, NULL)) {
            abort();
        }
        return 0;
    }
    printed = tbx_json_print(first, &length);
    second = tbx_json_guard_parse(printed, length, NULL);
    if (second == NULL) {
        /* Escapes may make the text longer than it came. */
        if (length <= TBX_JSON_SIZE_MAX) {
            abort();
        }
        return 0;
    }
    again = tbx_json_print(second, NULL);
    if (strcmp(printed, again) != 0) {
        abort();
    }
    return 0;
}
