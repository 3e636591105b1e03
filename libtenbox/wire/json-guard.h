/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The door every foreign JSON text goes through, and the only way JSON numbers leave.
 *
 * json-glib is a fine tree and a lenient reader: it recurses as deep as the text is nested, turns
 * 2^63 into -2^63, cuts strings at an escaped NUL, reads 010 as 8, lets the last of two equal keys
 * win, and accepts comments and single quotes. So no byte that somebody else wrote reaches it
 * before this guard has read the whole text by the grammar of RFC 8259 and found in addition that
 *
 *   - it is at most TBX_JSON_SIZE_MAX bytes of valid UTF-8 without a byte order mark,
 *   - it nests at most TBX_JSON_DEPTH_MAX deep and holds at most TBX_JSON_VALUES_MAX values, which
 *     bounds the tree that is built from it; lists of everything come as answers of a daemon, which
 *     may have TBX_JSON_ANSWER_SIZE_MAX and TBX_JSON_ANSWER_VALUES_MAX instead,
 *   - no object has two equal keys, nor more than TBX_JSON_MEMBERS_MAX members,
 *   - no string holds U+0000 or half a surrogate pair, escaped or not,
 *   - each number without fraction and exponent fits a signed 64-bit integer, and each other number
 *     is finite as a double.
 *
 * The guard itself does not recurse and allocates nothing but the list of keys.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

#define TBX_JSON_SIZE_MAX          (1024 * 1024)
#define TBX_JSON_ANSWER_SIZE_MAX   (16 * 1024 * 1024)
#define TBX_JSON_DEPTH_MAX         64
#define TBX_JSON_VALUES_MAX        65536
#define TBX_JSON_ANSWER_VALUES_MAX (16 * TBX_JSON_VALUES_MAX)
#define TBX_JSON_MEMBERS_MAX       1024

/**
 * tbx_json_guard_check:
 * @text: the JSON text; need not be NUL-terminated
 * @length: its length in bytes
 * @error: return location
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT with the code "body-too-large" or "json-invalid"; the
 * message says what is wrong and at which line and column.
 *
 * Returns: whether @text may be given to json-glib
 */
gboolean tbx_json_guard_check(const char *text, gsize length, GError **error);

/**
 * tbx_json_guard_parse:
 * @text: the JSON text; need not be NUL-terminated
 * @length: its length in bytes
 * @error: return location
 *
 * Checks @text as tbx_json_guard_check() does, then parses it.
 *
 * Returns: (transfer full): the root, or %NULL with @error set; free with json_node_unref()
 */
JsonNode *tbx_json_guard_parse(const char *text, gsize length, GError **error);

/**
 * tbx_json_guard_parse_object:
 *
 * tbx_json_guard_parse() for a text that must be an object; anything else is "json-invalid".
 *
 * Returns: (transfer full): the object, or %NULL with @error set; free with json_object_unref()
 */
JsonObject *tbx_json_guard_parse_object(const char *text, gsize length, GError **error);

/* The same for what a daemon answered, within the limits for answers. */
JsonObject *tbx_json_guard_parse_answer(const char *text, gsize length, GError **error);

/**
 * tbx_json_print:
 * @node: (transfer none): any node
 * @ret_length: (out) (optional): the length in bytes
 *
 * Writes @node as compact JSON. Integers keep all 64 bits; doubles get the fewest digits that read
 * back as the same double; what JSON cannot say (infinity, not a number) becomes null.
 *
 * Returns: (transfer full): NUL-terminated UTF-8; free with g_free()
 */
char *tbx_json_print(JsonNode *node, gsize *ret_length);

/* The same for an object. */
char *tbx_json_print_object(JsonObject *object, gsize *ret_length);

G_END_DECLS
