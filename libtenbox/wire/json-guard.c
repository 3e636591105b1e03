/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON guard: one pass over the text with an explicit stack of at most 64 levels.
 *
 * Each level remembers whether it is an object, how many members it has and where its keys begin in
 * one common array. A key is kept unescaped as an offset into one common buffer, and compared with
 * its siblings when the object ends, by sorting them: no hash table, so no text can be made up
 * whose keys collide.
 */
#include "libtenbox/wire/json-guard.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libtenbox/tenbox-error.h"
#include "libtenbox/wire/wire-error.h"

/* What may come next. */
typedef enum {
    EXPECT_VALUE,        /* at the top, after a comma in an array, after a colon */
    EXPECT_VALUE_OR_END, /* after [ */
    EXPECT_KEY_OR_END,   /* after { */
    EXPECT_KEY,          /* after a comma in an object */
    EXPECT_COMMA_OR_END, /* after a value inside something */
    EXPECT_NOTHING,      /* after the root */
} Expectation;

typedef struct {
    gboolean is_object;
    guint member_count;
    guint first_key; /* in Reader.keys */
} Level;

typedef struct {
    guint offset; /* in Reader.key_text */
    guint length;
} Key;

typedef struct {
    const char *text;
    const char *next;
    const char *end;
    const char *problem; /* static; NULL while all is well */
    char *duplicate;     /* the key that came twice */
    guint value_count;
    guint values_max;
    guint depth;
    Level levels[TBX_JSON_DEPTH_MAX];
    GArray *keys;         /* of Key */
    GByteArray *key_text; /* unescaped */
} Reader;

static gboolean fail(Reader *reader, const char *problem)
{
    if (reader->problem == NULL) {
        reader->problem = problem;
    }
    return FALSE;
}

static int peek(const Reader *reader)
{
    return reader->next < reader->end ? (guchar)*reader->next : -1;
}

static void skip_space(Reader *reader)
{
    while (reader->next < reader->end && (*reader->next == ' ' || *reader->next == '\t' ||
                                          *reader->next == '\n' || *reader->next == '\r')) {
        reader->next++;
    }
}

static void keep(GByteArray *ret_text, const char *bytes, gsize length)
{
    if (ret_text != NULL) {
        g_byte_array_append(ret_text, (const guint8 *)bytes, length);
    }
}

/* Four hexadecimal digits. */
static gboolean read_code_unit(Reader *reader, gunichar *ret_unit)
{
    gunichar unit = 0;

    if (reader->end - reader->next < 4) {
        return fail(reader, "an escape is cut off");
    }
    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(*reader->next);

        if (digit < 0) {
            return fail(reader, "\\u needs four hexadecimal digits");
        }
        unit = unit << 4 | (gunichar)digit;
        reader->next++;
    }
    *ret_unit = unit;
    return TRUE;
}

/* Behind a backslash and a u. */
static gboolean read_unicode_escape(Reader *reader, GByteArray *ret_text)
{
    gunichar high, low;
    char utf8[6];

    if (!read_code_unit(reader, &high)) {
        return FALSE;
    }
    if (high == 0) {
        return fail(reader, "a string must not hold \\u0000");
    }
    if (high >= 0xdc00 && high <= 0xdfff) {
        return fail(reader, "a string holds half a surrogate pair");
    }
    if (high >= 0xd800 && high <= 0xdbff) {
        if (reader->end - reader->next < 2 || reader->next[0] != '\\' || reader->next[1] != 'u') {
            return fail(reader, "a string holds half a surrogate pair");
        }
        reader->next += 2;
        if (!read_code_unit(reader, &low)) {
            return FALSE;
        }
        if (low < 0xdc00 || low > 0xdfff) {
            return fail(reader, "a string holds half a surrogate pair");
        }
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    keep(ret_text, utf8, (gsize)g_unichar_to_utf8(high, utf8));
    return TRUE;
}

static gboolean read_escape(Reader *reader, GByteArray *ret_text)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int letter = peek(reader);

    if (letter < 0) {
        return fail(reader, "a string does not end");
    }
    reader->next++;
    if (letter == 'u') {
        return read_unicode_escape(reader, ret_text);
    }
    found = letter == '\0' ? NULL : strchr(letters, letter);
    if (found == NULL) {
        return fail(reader, "an unknown escape in a string");
    }
    keep(ret_text, &meanings[found - letters], 1);
    return TRUE;
}

/* At the opening quote. @ret_text (nullable) gets the meaning. The whole text is valid UTF-8. */
static gboolean read_string(Reader *reader, GByteArray *ret_text)
{
    reader->next++;
    for (;;) {
        const char *start = reader->next;

        while (reader->next < reader->end && *reader->next != '"' && *reader->next != '\\' &&
               (guchar)*reader->next >= 0x20) {
            reader->next++;
        }
        keep(ret_text, start, (gsize)(reader->next - start));
        switch (peek(reader)) {
        case '"': reader->next++; return TRUE;
        case '\\':
            reader->next++;
            if (!read_escape(reader, ret_text)) {
                return FALSE;
            }
            break;
        case -1: return fail(reader, "a string does not end");
        default: return fail(reader, "a control character in a string must be escaped");
        }
    }
}

static gboolean read_digits(Reader *reader)
{
    const char *start = reader->next;

    while (reader->next < reader->end && g_ascii_isdigit(*reader->next)) {
        reader->next++;
    }
    return reader->next > start || fail(reader, "a number lacks a digit");
}

/* Whether the digits at @text are at most 2^63 - 1, or 2^63 behind a minus. */
static gboolean integer_fits(const char *text, gsize length)
{
    gboolean negative = *text == '-';
    guint64 limit = (guint64)G_MAXINT64 + (negative ? 1 : 0);
    guint64 value = 0;

    for (gsize i = negative ? 1 : 0; i < length; i++) {
        guint64 digit = (guint64)(text[i] - '0');

        if (value > (limit - digit) / 10) {
            return FALSE;
        }
        value = value * 10 + digit;
    }
    return TRUE;
}

static gboolean read_number(Reader *reader)
{
    const char *start = reader->next;
    gboolean is_integer = TRUE;

    if (peek(reader) == '-') {
        reader->next++;
    }
    if (peek(reader) == '0') {
        reader->next++;
        if (g_ascii_isdigit(peek(reader))) {
            return fail(reader, "a number must not begin with 0");
        }
    } else if (!read_digits(reader)) {
        return FALSE;
    }
    if (peek(reader) == '.') {
        is_integer = FALSE;
        reader->next++;
        if (!read_digits(reader)) {
            return FALSE;
        }
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        is_integer = FALSE;
        reader->next++;
        if (peek(reader) == '+' || peek(reader) == '-') {
            reader->next++;
        }
        if (!read_digits(reader)) {
            return FALSE;
        }
    }
    if (is_integer) {
        return integer_fits(start, (gsize)(reader->next - start)) ||
               fail(reader, "an integer does not fit 64 bits");
    }
    /* The text is not NUL-terminated, and strtod reads on: give it a copy. */
    if (reader->next - start > 1024) {
        return fail(reader, "a number has too many digits");
    }
    g_autofree char *copy = g_strndup(start, (gsize)(reader->next - start));

    return isfinite(g_ascii_strtod(copy, NULL)) || fail(reader, "a number is too large");
}

static gboolean read_word(Reader *reader, const char *word)
{
    gsize length = strlen(word);

    if ((gsize)(reader->end - reader->next) < length || memcmp(reader->next, word, length) != 0) {
        return fail(reader, "neither a value nor its end");
    }
    reader->next += length;
    return TRUE;
}

static int compare_keys(gconstpointer first, gconstpointer second, gpointer text)
{
    const Key *a = first, *b = second;
    int order = memcmp((const guint8 *)text + a->offset, (const guint8 *)text + b->offset,
                       MIN(a->length, b->length));

    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static gboolean enter(Reader *reader, gboolean is_object)
{
    if (reader->depth == TBX_JSON_DEPTH_MAX) {
        return fail(reader, "nested too deep");
    }
    reader->levels[reader->depth++] =
        (Level){.is_object = is_object, .first_key = reader->keys->len};
    reader->next++;
    return TRUE;
}

static gboolean leave(Reader *reader)
{
    Level *level = &reader->levels[--reader->depth];
    guint count = reader->keys->len - level->first_key;

    reader->next++;
    if (count == 0) {
        return TRUE;
    }

    Key *keys = &g_array_index(reader->keys, Key, level->first_key);
    guint text_start = keys[0].offset;

    g_qsort_with_data(keys, (gint)count, sizeof(Key), compare_keys, reader->key_text->data);
    for (guint i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i], reader->key_text->data) == 0) {
            reader->duplicate =
                g_strndup((const char *)reader->key_text->data + keys[i].offset, keys[i].length);
            return fail(reader, "a key comes twice");
        }
    }
    g_array_set_size(reader->keys, level->first_key);
    g_byte_array_set_size(reader->key_text, text_start);
    return TRUE;
}

static gboolean read_key(Reader *reader)
{
    Level *level = &reader->levels[reader->depth - 1];
    Key key = {.offset = reader->key_text->len};

    if (level->member_count++ == TBX_JSON_MEMBERS_MAX) {
        return fail(reader, "an object has too many members");
    }
    if (!read_string(reader, reader->key_text)) {
        return FALSE;
    }
    key.length = reader->key_text->len - key.offset;
    g_array_append_val(reader->keys, key);
    skip_space(reader);
    if (peek(reader) != ':') {
        return fail(reader, "a colon is missing behind a key");
    }
    reader->next++;
    return TRUE;
}

/* Reads a scalar, or enters an array or object; @ret_next is what may follow. */
static gboolean read_value(Reader *reader, Expectation *ret_next)
{
    int first = peek(reader);

    if (reader->value_count++ == reader->values_max) {
        return fail(reader, "too many values");
    }
    *ret_next = reader->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA_OR_END;
    switch (first) {
    case '{': *ret_next = EXPECT_KEY_OR_END; return enter(reader, TRUE);
    case '[': *ret_next = EXPECT_VALUE_OR_END; return enter(reader, FALSE);
    case '"': return read_string(reader, NULL);
    case 't': return read_word(reader, "true");
    case 'f': return read_word(reader, "false");
    case 'n': return read_word(reader, "null");
    case -1: return fail(reader, reader->next == reader->text ? "empty" : "cut off");
    default: break;
    }
    if (first == '-' || g_ascii_isdigit(first)) {
        return read_number(reader);
    }
    return fail(reader, "neither a value nor its end");
}

/* One step behind a value inside something: a comma, or the end of it. */
static gboolean read_comma_or_end(Reader *reader, Expectation *ret_next)
{
    gboolean is_object = reader->levels[reader->depth - 1].is_object;

    if (peek(reader) == ',') {
        reader->next++;
        *ret_next = is_object ? EXPECT_KEY : EXPECT_VALUE;
        return TRUE;
    }
    if (peek(reader) == (is_object ? '}' : ']')) {
        if (!leave(reader)) {
            return FALSE;
        }
        *ret_next = reader->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA_OR_END;
        return TRUE;
    }
    return fail(reader, reader->next == reader->end ? "cut off" : "a comma or an end is missing");
}

static gboolean read_step(Reader *reader, Expectation *expect)
{
    switch (*expect) {
    case EXPECT_VALUE_OR_END:
        if (peek(reader) == ']') {
            return read_comma_or_end(reader, expect);
        }
        return read_value(reader, expect);
    case EXPECT_VALUE: return read_value(reader, expect);
    case EXPECT_KEY_OR_END:
        if (peek(reader) == '}') {
            return read_comma_or_end(reader, expect);
        }
        G_GNUC_FALLTHROUGH;
    case EXPECT_KEY:
        if (peek(reader) != '"') {
            return fail(reader, reader->next == reader->end ? "cut off" : "a key must be a string");
        }
        *expect = EXPECT_VALUE;
        return read_key(reader);
    case EXPECT_COMMA_OR_END: return read_comma_or_end(reader, expect);
    case EXPECT_NOTHING: break;
    }
    return fail(reader, "something follows the value");
}

static gboolean read_text(Reader *reader)
{
    Expectation expect = EXPECT_VALUE;

    for (;;) {
        skip_space(reader);
        if (expect == EXPECT_NOTHING && reader->next == reader->end) {
            return TRUE;
        }
        if (!read_step(reader, &expect)) {
            return FALSE;
        }
    }
}

static void set_json_error(const char *text, const char *position, const char *problem,
                           const char *duplicate, GError **error)
{
    guint line = 1, column = 1;

    for (const char *c = text; c < position; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    if (duplicate != NULL) {
        g_autofree char *shown =
            g_utf8_substring(duplicate, 0, MIN(g_utf8_strlen(duplicate, -1), 64));

        tbx_error_set(error, "json-invalid", NULL,
                      "invalid JSON at line %u, column %u: the key \"%s\" comes twice", line,
                      column, shown);
        return;
    }
    tbx_error_set(error, "json-invalid", NULL, "invalid JSON at line %u, column %u: %s", line,
                  column, problem);
}

/* What a text may have at most; the rest of the limits is the same for all. */
typedef struct {
    gsize size;
    guint values;
} Limits;

static const Limits general_limits = {TBX_JSON_SIZE_MAX, TBX_JSON_VALUES_MAX};
static const Limits answer_limits = {TBX_JSON_ANSWER_SIZE_MAX, TBX_JSON_ANSWER_VALUES_MAX};

static gboolean check(const char *text, gsize length, const Limits *limits, GError **error)
{
    Reader reader = {
        .text = text, .next = text, .end = text + length, .values_max = limits->values};
    const char *invalid = NULL;
    gboolean valid;

    if (length > limits->size) {
        tbx_error_set(error, "body-too-large", NULL,
                      "JSON text of more than %" G_GSIZE_FORMAT " bytes", limits->size);
        return FALSE;
    }
    if (!g_utf8_validate_len(text, length, &invalid)) {
        set_json_error(text, invalid, "not UTF-8, or a NUL", NULL, error);
        return FALSE;
    }

    reader.keys = g_array_new(FALSE, FALSE, sizeof(Key));
    reader.key_text = g_byte_array_new();
    valid = read_text(&reader);
    if (!valid) {
        set_json_error(text, reader.next, reader.problem, reader.duplicate, error);
    }
    g_array_unref(reader.keys);
    g_byte_array_unref(reader.key_text);
    g_free(reader.duplicate);
    return valid;
}

gboolean tbx_json_guard_check(const char *text, gsize length, GError **error)
{
    return check(text, length, &general_limits, error);
}

static JsonNode *parse(const char *text, gsize length, const Limits *limits, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) failure = NULL;

    if (!check(text, length, limits, error)) {
        return NULL;
    }
    parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, text, (gssize)length, &failure)) {
        tbx_error_set(error, "json-invalid", NULL, "invalid JSON: %s", failure->message);
        return NULL;
    }
    return json_parser_steal_root(parser);
}

JsonNode *tbx_json_guard_parse(const char *text, gsize length, GError **error)
{
    return parse(text, length, &general_limits, error);
}

static JsonObject *parse_object(const char *text, gsize length, const Limits *limits,
                                GError **error)
{
    g_autoptr(JsonNode) root = parse(text, length, limits, error);

    if (root == NULL) {
        return NULL;
    }
    if (!JSON_NODE_HOLDS_OBJECT(root)) {
        tbx_error_set(error, "json-invalid", NULL, "invalid JSON: not an object");
        return NULL;
    }
    return json_node_dup_object(root);
}

JsonObject *tbx_json_guard_parse_object(const char *text, gsize length, GError **error)
{
    return parse_object(text, length, &general_limits, error);
}

JsonObject *tbx_json_guard_parse_answer(const char *text, gsize length, GError **error)
{
    return parse_object(text, length, &answer_limits, error);
}

static void print_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *c = text != NULL ? text : ""; *c != '\0'; c++) {
        switch (*c) {
        case '"': g_string_append(out, "\\\""); break;
        case '\\': g_string_append(out, "\\\\"); break;
        case '\n': g_string_append(out, "\\n"); break;
        case '\r': g_string_append(out, "\\r"); break;
        case '\t': g_string_append(out, "\\t"); break;
        default:
            if ((guchar)*c < 0x20 || *c == 0x7f) {
                g_string_append_printf(out, "\\u%04x", (guchar)*c);
            } else {
                g_string_append_c(out, *c);
            }
        }
    }
    g_string_append_c(out, '"');
}

static void print_double(GString *out, double value)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    if (!isfinite(value)) {
        g_string_append(out, "null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        char format[8];

        g_snprintf(format, sizeof(format), "%%.%dg", precision);
        g_ascii_formatd(digits, sizeof(digits), format, value);
        if (g_ascii_strtod(digits, NULL) == value) {
            break;
        }
    }
    g_string_append(out, digits);
    if (strpbrk(digits, ".e") == NULL) {
        g_string_append(out, ".0"); /* stays a double for who reads it */
    }
}

static void print_node(GString *out, JsonNode *node);

static void print_object(GString *out, JsonObject *object)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *member;
    const char *separator = "";

    g_string_append_c(out, '{');
    json_object_iter_init_ordered(&iter, object);
    while (json_object_iter_next_ordered(&iter, &key, &member)) {
        g_string_append(out, separator);
        print_string(out, key);
        g_string_append_c(out, ':');
        print_node(out, member);
        separator = ",";
    }
    g_string_append_c(out, '}');
}

static void print_array(GString *out, JsonArray *array)
{
    g_string_append_c(out, '[');
    for (guint i = 0; i < json_array_get_length(array); i++) {
        if (i > 0) {
            g_string_append_c(out, ',');
        }
        print_node(out, json_array_get_element(array, i));
    }
    g_string_append_c(out, ']');
}

static void print_value(GString *out, JsonNode *node)
{
    switch (json_node_get_value_type(node)) {
    case G_TYPE_BOOLEAN:
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
        break;
    case G_TYPE_INT64:
        g_string_append_printf(out, "%" G_GINT64_FORMAT, json_node_get_int(node));
        break;
    case G_TYPE_DOUBLE: print_double(out, json_node_get_double(node)); break;
    default: print_string(out, json_node_get_string(node)); break;
    }
}

static void print_node(GString *out, JsonNode *node)
{
    switch (json_node_get_node_type(node)) {
    case JSON_NODE_OBJECT: print_object(out, json_node_get_object(node)); break;
    case JSON_NODE_ARRAY: print_array(out, json_node_get_array(node)); break;
    case JSON_NODE_VALUE: print_value(out, node); break;
    case JSON_NODE_NULL: g_string_append(out, "null"); break;
    }
}

char *tbx_json_print(JsonNode *node, gsize *ret_length)
{
    GString *out = g_string_new(NULL);

    print_node(out, node);
    if (ret_length != NULL) {
        *ret_length = out->len;
    }
    return g_string_free(out, FALSE);
}

char *tbx_json_print_object(JsonObject *object, gsize *ret_length)
{
    GString *out = g_string_new(NULL);

    print_object(out, object);
    if (ret_length != NULL) {
        *ret_length = out->len;
    }
    return g_string_free(out, FALSE);
}
