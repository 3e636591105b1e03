/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading, writing, copying, comparing and freeing of records by their tables; see wire-field.h.
 *
 * One switch per job over the types; everything that is particular to a record is in its
 * table.
 */
#include "libtenbox/wire/wire-field.h"

#include <stdlib.h>
#include <string.h>

#include "libtenbox/wire/wire-error.h"

static gpointer member_at(gpointer record, const TbxField *field)
{
    return (char *)record + field->offset;
}

static gconstpointer const_member_at(gconstpointer record, const TbxField *field)
{
    return (const char *)record + field->offset;
}

/* ---- time --------------------------------------------------------------------------------- */

char *tbx_time_format(gint64 time)
{
    g_autoptr(GDateTime) date = g_date_time_new_from_unix_utc(time / G_USEC_PER_SEC);
    if (!date)
        return g_strdup("1970-01-01T00:00:00.000Z");
    g_autofree char *seconds = g_date_time_format(date, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf("%s.%03dZ", seconds, (int)(time % G_USEC_PER_SEC / 1000));
}

gboolean tbx_time_parse(const char *text, gint64 *ret_time)
{
    /* GLib takes all of ISO 8601; RFC 3339 is the part of it that has a full date, a full time and
     * an offset. Without a time zone given as an argument, GLib refuses a text without offset. */
    if (strlen(text) < strlen("2026-01-31T12:00:00Z") || text[4] != '-' || text[7] != '-' ||
        text[10] != 'T' || text[13] != ':' || text[16] != ':')
        return FALSE;

    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(text, NULL);
    if (!date)
        return FALSE;
    *ret_time = g_date_time_to_unix(date) * G_USEC_PER_SEC + g_date_time_get_microsecond(date);
    return TRUE;
}

/* ---- maps --------------------------------------------------------------------------------- */

GHashTable *tbx_map_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

GHashTable *tbx_map_copy(GHashTable *map)
{
    GHashTable *copy;
    GHashTableIter iter;
    gpointer key, value;

    if (!map)
        return NULL;
    copy = tbx_map_new();
    g_hash_table_iter_init(&iter, map);
    while (g_hash_table_iter_next(&iter, &key, &value))
        g_hash_table_insert(copy, g_strdup(key), g_strdup(value));
    return copy;
}

static int compare_keys(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **tbx_map_list_keys(GHashTable *map)
{
    guint count = 0;
    const char **keys;

    if (!map)
        return g_new0(const char *, 1);
    keys = (const char **)g_hash_table_get_keys_as_array(map, &count);
    qsort(keys, count, sizeof(*keys), compare_keys);
    return keys;
}

static gboolean maps_equal(GHashTable *a, GHashTable *b)
{
    GHashTableIter iter;
    gpointer key, value, other;

    if ((a ? g_hash_table_size(a) : 0) != (b ? g_hash_table_size(b) : 0))
        return FALSE;
    if (!a || !b)
        return TRUE;
    g_hash_table_iter_init(&iter, a);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (!g_hash_table_lookup_extended(b, key, NULL, &other) || g_strcmp0(value, other) != 0)
            return FALSE;
    }
    return TRUE;
}

static gboolean string_lists_equal(char *const *a, char *const *b)
{
    static const char *const none[] = {NULL};

    return g_strv_equal(a ? (const char *const *)a : none, b ? (const char *const *)b : none);
}

/* ---- reading ------------------------------------------------------------------------------ */

typedef struct {
    const TbxRecordType *type;
    TbxDecodeMode mode;
    const char *prefix; /* "last_exit." inside that member, else "" */
} DecodeContext;

static gboolean refuse(const DecodeContext *context, const char *slug, const char *name,
                       GError **error, const char *format, ...) G_GNUC_PRINTF(5, 6);

static gboolean refuse(const DecodeContext *context, const char *slug, const char *name,
                       GError **error, const char *format, ...)
{
    g_autofree char *field = g_strconcat(context->prefix, name, NULL);
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (context->mode == TBX_DECODE_STRICT)
        tbx_error_set(error, slug, field, "%s %s", field, message);
    else
        tbx_error_set(error, "protocol-error", field, "the %s received is not valid: %s %s",
                      context->type->name, field, message);
    return FALSE;
}

static const char *node_kind(JsonNode *node)
{
    switch (json_node_get_node_type(node)) {
    case JSON_NODE_OBJECT: return "an object";
    case JSON_NODE_ARRAY: return "an array";
    case JSON_NODE_NULL: return "null";
    case JSON_NODE_VALUE: break;
    }
    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING: return "a string";
    case G_TYPE_INT64: return "an integer";
    case G_TYPE_BOOLEAN: return "a boolean";
    default: return "a number with a fraction or exponent";
    }
}

static gboolean node_is(JsonNode *node, GType type)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

static gboolean decode_record(const DecodeContext *context, JsonObject *object, gpointer record,
                              guint64 *ret_present, GError **error);

static gboolean decode_object(const DecodeContext *context, const TbxField *field, JsonNode *node,
                              gpointer member, GError **error)
{
    g_autofree char *prefix = g_strconcat(context->prefix, field->name, ".", NULL);
    DecodeContext inner = {field->record, context->mode, prefix};

    *(gpointer *)member = g_malloc0(field->record->size);
    return decode_record(&inner, json_node_get_object(node), *(gpointer *)member, NULL, error);
}

/* FALSE: an element is no string. */
static gboolean decode_strings(JsonArray *array, char ***ret_strings)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        if (!node_is(element, G_TYPE_STRING))
            return FALSE;
        g_strv_builder_add(builder, json_node_get_string(element));
    }
    *ret_strings = g_strv_builder_end(builder);
    return TRUE;
}

static gboolean decode_map(const DecodeContext *context, const TbxField *field, JsonObject *object,
                           gpointer member, GError **error)
{
    g_autofree char *prefix = g_strconcat(context->prefix, field->name, ".", NULL);
    DecodeContext inner = {context->type, context->mode, prefix};
    GHashTable *map = tbx_map_new();
    JsonObjectIter iter;
    const char *key;
    JsonNode *node;

    *(GHashTable **)member = map;
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &key, &node)) {
        if (JSON_NODE_HOLDS_NULL(node) && field->flags & TBX_FIELD_CHANGES)
            g_hash_table_insert(map, g_strdup(key), NULL);
        else if (node_is(node, G_TYPE_STRING))
            g_hash_table_insert(map, g_strdup(key), json_node_dup_string(node));
        else
            return refuse(&inner, "field-invalid", key, error, "must be a string, not %s",
                          node_kind(node));
    }
    return TRUE;
}

static gboolean decode_member(const DecodeContext *context, const TbxField *field, JsonNode *node,
                              gpointer member, GError **error)
{
    const char *expected = NULL;

    switch (field->type) {
    case TBX_FIELD_STRING:
        expected = "a string";
        if (node_is(node, G_TYPE_STRING)) {
            *(char **)member = json_node_dup_string(node);
            return TRUE;
        }
        break;
    case TBX_FIELD_INTEGER:
        expected = "an integer";
        if (node_is(node, G_TYPE_INT64)) {
            *(gint64 *)member = json_node_get_int(node);
            return TRUE;
        }
        break;
    case TBX_FIELD_BOOLEAN:
        expected = "true or false";
        if (node_is(node, G_TYPE_BOOLEAN)) {
            *(gboolean *)member = json_node_get_boolean(node);
            return TRUE;
        }
        break;
    case TBX_FIELD_TIME:
        expected = "a time in the form of RFC 3339";
        if (node_is(node, G_TYPE_STRING) && tbx_time_parse(json_node_get_string(node), member))
            return TRUE;
        break;
    case TBX_FIELD_ENUM:
        expected = "one of its words";
        if (node_is(node, G_TYPE_STRING)) {
            int value = field->words->from_string(json_node_get_string(node));
            if (value == 0 && context->mode == TBX_DECODE_STRICT)
                break;
            *(int *)member = value;
            return TRUE;
        }
        break;
    case TBX_FIELD_OBJECT:
        expected = "an object";
        if (JSON_NODE_HOLDS_OBJECT(node))
            return decode_object(context, field, node, member, error);
        break;
    case TBX_FIELD_PROBLEM:
        expected = "an object";
        if (JSON_NODE_HOLDS_OBJECT(node)) {
            *(GError **)member = tbx_error_from_problem(json_node_get_object(node), 0);
            return TRUE;
        }
        break;
    case TBX_FIELD_STRINGS:
        expected = "an array of strings";
        if (JSON_NODE_HOLDS_ARRAY(node) && decode_strings(json_node_get_array(node), member))
            return TRUE;
        break;
    case TBX_FIELD_MAP:
        expected = "an object of strings";
        if (JSON_NODE_HOLDS_OBJECT(node))
            return decode_map(context, field, json_node_get_object(node), member, error);
        break;
    }
    return refuse(context, "field-invalid", field->name, error, "must be %s, not %s", expected,
                  node_kind(node));
}

static int find_field(const TbxRecordType *type, const char *name)
{
    for (gsize i = 0; i < type->field_count; i++) {
        if (strcmp(type->fields[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static char *list_fields(const TbxRecordType *type)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (gsize i = 0; i < type->field_count; i++)
        g_string_append_printf(names, "%s%s", i ? ", " : "", type->fields[i].name);
    return g_string_free(g_steal_pointer(&names), FALSE);
}

static gboolean decode_record(const DecodeContext *context, JsonObject *object, gpointer record,
                              guint64 *ret_present, GError **error)
{
    const TbxRecordType *type = context->type;
    guint64 present = 0;
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    g_assert(type->field_count <= 64);
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &name, &node)) {
        int index = find_field(type, name);
        if (index < 0) {
            if (context->mode == TBX_DECODE_TOLERANT)
                continue;
            if (type->field_count == 0)
                return refuse(context, "field-unknown", name, error,
                              "is unknown; this takes no members, send {} or no body");
            g_autofree char *known = list_fields(type);
            return refuse(context, "field-unknown", name, error, "is unknown; there are %s", known);
        }

        const TbxField *field = &type->fields[index];
        gpointer member = member_at(record, field);
        present |= G_GUINT64_CONSTANT(1) << index;
        if (JSON_NODE_HOLDS_NULL(node)) {
            if (!(field->flags & TBX_FIELD_NULLABLE))
                return refuse(context, "field-invalid", name, error, "must not be null");
            if (field->flags & TBX_FIELD_MINUS_ONE)
                *(gint64 *)member = -1;
            continue;
        }
        if (!decode_member(context, field, node, member, error))
            return FALSE;
    }

    for (gsize i = 0; i < type->field_count; i++) {
        gboolean is_there = present >> i & 1;
        if (!is_there && type->fields[i].flags & TBX_FIELD_REQUIRED)
            return refuse(context, "field-invalid", type->fields[i].name, error, "is missing");
        if (!is_there && type->fields[i].flags & TBX_FIELD_MINUS_ONE)
            *(gint64 *)member_at(record, &type->fields[i]) = -1;
    }
    if (ret_present)
        *ret_present = present;
    return TRUE;
}

gboolean tbx_record_decode(const TbxRecordType *type, JsonObject *object, TbxDecodeMode mode,
                           gpointer record, guint64 *ret_present, GError **error)
{
    DecodeContext context = {type, mode, ""};

    return decode_record(&context, object, record, ret_present, error);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void set_text(JsonObject *object, const char *name, const char *text)
{
    if (g_utf8_validate(text, -1, NULL)) {
        json_object_set_string_member(object, name, text);
        return;
    }
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    json_object_set_string_member(object, name, valid);
}

static gboolean is_none(const TbxField *field, gconstpointer member)
{
    switch (field->type) {
    case TBX_FIELD_STRING:
    case TBX_FIELD_OBJECT:
    case TBX_FIELD_STRINGS:
    case TBX_FIELD_MAP:
    case TBX_FIELD_PROBLEM: return *(gpointer const *)member == NULL;
    case TBX_FIELD_INTEGER:
        return *(const gint64 *)member == (field->flags & TBX_FIELD_MINUS_ONE ? -1 : 0);
    case TBX_FIELD_TIME: return *(const gint64 *)member == 0;
    case TBX_FIELD_BOOLEAN: return !*(const gboolean *)member;
    case TBX_FIELD_ENUM: return *(const int *)member == 0;
    }
    return FALSE;
}

static void encode_strings(JsonObject *object, const char *name, char *const *strings)
{
    JsonArray *array = json_array_new();

    for (; strings && *strings; strings++)
        json_array_add_string_element(array, *strings);
    json_object_set_array_member(object, name, array);
}

static void encode_map(JsonObject *object, const char *name, GHashTable *map)
{
    JsonObject *inner = json_object_new();
    g_autofree const char **keys = tbx_map_list_keys(map);

    for (gsize i = 0; keys[i]; i++) {
        const char *value = g_hash_table_lookup(map, keys[i]);
        if (value)
            set_text(inner, keys[i], value);
        else
            json_object_set_null_member(inner, keys[i]);
    }
    json_object_set_object_member(object, name, inner);
}

static void encode_member(JsonObject *object, const TbxField *field, gconstpointer member)
{
    switch (field->type) {
    case TBX_FIELD_STRING: {
        const char *text = *(char *const *)member;
        set_text(object, field->name, text ? text : "");
        break;
    }
    case TBX_FIELD_INTEGER:
        json_object_set_int_member(object, field->name, *(const gint64 *)member);
        break;
    case TBX_FIELD_BOOLEAN:
        json_object_set_boolean_member(object, field->name, *(const gboolean *)member);
        break;
    case TBX_FIELD_TIME: {
        g_autofree char *text = tbx_time_format(*(const gint64 *)member);
        json_object_set_string_member(object, field->name, text);
        break;
    }
    case TBX_FIELD_ENUM:
        json_object_set_string_member(object, field->name,
                                      field->words->to_string(*(const int *)member));
        break;
    case TBX_FIELD_OBJECT:
        json_object_set_object_member(
            object, field->name,
            tbx_record_encode(field->record, *(gconstpointer const *)member, G_MAXUINT64));
        break;
    case TBX_FIELD_PROBLEM:
        json_object_set_object_member(object, field->name,
                                      tbx_error_to_problem(*(GError *const *)member, NULL));
        break;
    case TBX_FIELD_STRINGS: encode_strings(object, field->name, *(char **const *)member); break;
    case TBX_FIELD_MAP: encode_map(object, field->name, *(GHashTable *const *)member); break;
    }
}

JsonObject *tbx_record_encode(const TbxRecordType *type, gconstpointer record, guint64 present)
{
    JsonObject *object = json_object_new();

    for (gsize i = 0; i < type->field_count; i++) {
        const TbxField *field = &type->fields[i];
        gconstpointer member = const_member_at(record, field);
        if (!(present >> i & 1))
            continue;
        if (is_none(field, member) && field->flags & TBX_FIELD_OPTIONAL)
            continue;
        if (is_none(field, member) && field->flags & TBX_FIELD_NULLABLE)
            json_object_set_null_member(object, field->name);
        else
            encode_member(object, field, member);
    }
    return object;
}

/* ---- memory ------------------------------------------------------------------------------- */

void tbx_record_clear(const TbxRecordType *type, gpointer record)
{
    for (gsize i = 0; i < type->field_count; i++) {
        const TbxField *field = &type->fields[i];
        gpointer member = member_at(record, field);
        switch (field->type) {
        case TBX_FIELD_STRING: g_clear_pointer((char **)member, g_free); break;
        case TBX_FIELD_OBJECT:
            if (*(gpointer *)member)
                tbx_record_clear(field->record, *(gpointer *)member);
            g_clear_pointer((gpointer *)member, g_free);
            break;
        case TBX_FIELD_PROBLEM: g_clear_error((GError **)member); break;
        case TBX_FIELD_STRINGS: g_clear_pointer((char ***)member, g_strfreev); break;
        case TBX_FIELD_MAP: g_clear_pointer((GHashTable **)member, g_hash_table_unref); break;
        case TBX_FIELD_INTEGER:
        case TBX_FIELD_TIME: *(gint64 *)member = 0; break;
        case TBX_FIELD_BOOLEAN: *(gboolean *)member = FALSE; break;
        case TBX_FIELD_ENUM: *(int *)member = 0; break;
        }
    }
}

void tbx_record_copy(const TbxRecordType *type, gconstpointer source, gpointer target)
{
    for (gsize i = 0; i < type->field_count; i++) {
        const TbxField *field = &type->fields[i];
        gconstpointer from = const_member_at(source, field);
        gpointer to = member_at(target, field);
        switch (field->type) {
        case TBX_FIELD_STRING: *(char **)to = g_strdup(*(char *const *)from); break;
        case TBX_FIELD_OBJECT:
            if (*(gconstpointer const *)from) {
                *(gpointer *)to = g_malloc0(field->record->size);
                tbx_record_copy(field->record, *(gconstpointer const *)from, *(gpointer *)to);
            }
            break;
        case TBX_FIELD_PROBLEM:
            if (*(GError *const *)from)
                *(GError **)to = g_error_copy(*(GError *const *)from);
            break;
        case TBX_FIELD_STRINGS: *(char ***)to = g_strdupv(*(char **const *)from); break;
        case TBX_FIELD_MAP: *(GHashTable **)to = tbx_map_copy(*(GHashTable *const *)from); break;
        case TBX_FIELD_INTEGER:
        case TBX_FIELD_TIME: *(gint64 *)to = *(const gint64 *)from; break;
        case TBX_FIELD_BOOLEAN: *(gboolean *)to = *(const gboolean *)from; break;
        case TBX_FIELD_ENUM: *(int *)to = *(const int *)from; break;
        }
    }
}

static gboolean errors_equal(const GError *a, const GError *b)
{
    return a->domain == b->domain && a->code == b->code && strcmp(a->message, b->message) == 0 &&
           g_strcmp0(tenbox_error_get_code(a), tenbox_error_get_code(b)) == 0 &&
           g_strcmp0(tenbox_error_get_field(a), tenbox_error_get_field(b)) == 0 &&
           g_strcmp0(tenbox_error_get_hint(a), tenbox_error_get_hint(b)) == 0;
}

static gboolean members_equal(const TbxField *field, gconstpointer a, gconstpointer b)
{
    switch (field->type) {
    case TBX_FIELD_STRING: return g_strcmp0(*(char *const *)a, *(char *const *)b) == 0;
    case TBX_FIELD_INTEGER:
    case TBX_FIELD_TIME: return *(const gint64 *)a == *(const gint64 *)b;
    case TBX_FIELD_BOOLEAN: return !*(const gboolean *)a == !*(const gboolean *)b;
    case TBX_FIELD_ENUM: return *(const int *)a == *(const int *)b;
    case TBX_FIELD_STRINGS: return string_lists_equal(*(char **const *)a, *(char **const *)b);
    case TBX_FIELD_MAP: return maps_equal(*(GHashTable *const *)a, *(GHashTable *const *)b);
    case TBX_FIELD_OBJECT:
    case TBX_FIELD_PROBLEM: break;
    }

    gconstpointer inner_a = *(gconstpointer const *)a;
    gconstpointer inner_b = *(gconstpointer const *)b;
    if (!inner_a || !inner_b)
        return inner_a == inner_b;
    return field->type == TBX_FIELD_PROBLEM ? errors_equal(inner_a, inner_b)
                                            : tbx_record_equal(field->record, inner_a, inner_b, 0);
}

gboolean tbx_record_equal(const TbxRecordType *type, gconstpointer a, gconstpointer b,
                          guint64 ignored)
{
    for (gsize i = 0; i < type->field_count; i++) {
        const TbxField *field = &type->fields[i];
        if (!(ignored >> i & 1) &&
            !members_equal(field, const_member_at(a, field), const_member_at(b, field)))
            return FALSE;
    }
    return TRUE;
}
