/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON objects ↔ C structs by tables.
 *
 * A record type is a plain struct and one `static const` table of TbxField rows; decoding,
 * encoding, freeing and the names in error messages all come from it, so none can be forgotten in
 * one of them.
 *
 * Decoding has two tempers. STRICT, for what a client asks of us: a member that the table does not
 * have is "field-unknown", a wrong type or a number that is no exact integer is "field-invalid",
 * each naming the member. TOLERANT, for documents of a daemon that may be newer: unknown members
 * and words are let pass, but a known member of the wrong type is still refused, since a program
 * that went on with half a document would lie.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef enum {
    TBX_FIELD_STRING,  /* char *; JSON string */
    TBX_FIELD_INTEGER, /* gint64; JSON integer */
    TBX_FIELD_BOOLEAN, /* gboolean */
    TBX_FIELD_TIME,    /* gint64 microseconds since 1970 UTC, 0 = none; JSON RFC 3339 or null */
    TBX_FIELD_ENUM,    /* int; JSON word, by TbxField.words */
    TBX_FIELD_OBJECT,  /* pointer to a struct of TbxField.record, allocated; JSON object or null */
    TBX_FIELD_PROBLEM, /* GError *; JSON problem document or null */
    TBX_FIELD_STRINGS, /* char **, NULL = none; JSON array of strings */
    TBX_FIELD_MAP,     /* GHashTable * of strings by strings, NULL = none; JSON object of strings */
} TbxFieldType;

typedef enum {
    TBX_FIELD_REQUIRED = 1 << 0,  /* decoding fails when it is missing */
    TBX_FIELD_NULLABLE = 1 << 1,  /* JSON null: NULL, or 0 for numbers, written as null for these */
    TBX_FIELD_OPTIONAL = 1 << 2,  /* not written when NULL or 0 */
    TBX_FIELD_MINUS_ONE = 1 << 3, /* with NULLABLE, for an integer: null is -1 instead of 0 */
    TBX_FIELD_CHANGES =
        1 << 4, /* for a map: a value may be null (NULL), which takes the key away */
} TbxFieldFlags;

typedef struct {
    const char *(*to_string)(int value);
    int (*from_string)(const char *text); /* 0 = no such word */
} TbxFieldWords;

typedef struct _TbxRecordType TbxRecordType;

typedef struct {
    const char *name; /* JSON member */
    TbxFieldType type;
    guint flags; /* TbxFieldFlags */
    gsize offset;
    const TbxFieldWords *words;  /* TBX_FIELD_ENUM */
    const TbxRecordType *record; /* TBX_FIELD_OBJECT */
} TbxField;

struct _TbxRecordType {
    const char *name; /* for messages: "VM", "operation" */
    gsize size;
    const TbxField *fields;
    gsize field_count; /* at most 64 */
};

typedef enum {
    TBX_DECODE_STRICT,
    TBX_DECODE_TOLERANT,
} TbxDecodeMode;

/**
 * tbx_record_decode:
 * @type: the table
 * @object: what to read
 * @mode: temper
 * @record: a zeroed struct of @type; partly filled on failure
 * @ret_present: (out) (optional): bit N is set when member N of the table was in @object, null
 *   included
 * @error: return location
 *
 * Returns: whether @record holds what @object says
 */
gboolean tbx_record_decode(const TbxRecordType *type, JsonObject *object, TbxDecodeMode mode,
                           gpointer record, guint64 *ret_present, GError **error);

/**
 * tbx_record_encode:
 * @type: the table
 * @record: what to write
 * @present: bit N set = write member N; G_MAXUINT64 for all
 *
 * Returns: (transfer full): members in the order of the table
 */
JsonObject *tbx_record_encode(const TbxRecordType *type, gconstpointer record, guint64 present);

/* Frees what the members of @record point to and zeroes it; not @record itself. */
void tbx_record_clear(const TbxRecordType *type, gpointer record);

/* Copies all members deeply into @target, a zeroed struct. */
void tbx_record_copy(const TbxRecordType *type, gconstpointer source, gpointer target);

/* Whether two records say the same; bit N of @ignored leaves member N out. */
gboolean tbx_record_equal(const TbxRecordType *type, gconstpointer a, gconstpointer b,
                          guint64 ignored);

/* An empty map for a TBX_FIELD_MAP, and a deep copy of one (nullable). */
GHashTable *tbx_map_new(void);
GHashTable *tbx_map_copy(GHashTable *map);

/* The keys of @map (nullable), sorted by their bytes; borrowed, free with g_free(). */
const char **tbx_map_list_keys(GHashTable *map);

/* "2026-01-31T12:00:00.123Z" for microseconds since 1970; free with g_free(). */
char *tbx_time_format(gint64 time);

/* FALSE when @text is no RFC 3339 time. */
gboolean tbx_time_parse(const char *text, gint64 *ret_time);

G_END_DECLS
