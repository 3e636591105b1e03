/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one table of errors: slug ↔ TenboxError ↔ HTTP status ↔ exit status.
 *
 * Everything that reports an error of the domain TENBOX_ERROR names a slug of this table; code,
 * HTTP status, problem title and exit status follow from it and are written nowhere else.
 *
 *     tbx_error_set(error, "field-invalid", "memory_mb", "memory_mb is %d, the least is 16",
 *     value);
 *
 * A slug that the table does not know is a bug of ours when made here (a warning, and "internal" is
 * used) and ordinary when it comes from a newer daemon (it is kept, the HTTP status gives the
 * code).
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/tenbox-error.h"

G_BEGIN_DECLS

typedef struct {
    const char *slug;
    TenboxError code;
    guint http_status;
    int exit_status;
    const char *title; /* one short English sentence, the same for every occurrence */
} TbxErrorKind;

/* The row of @slug, NULL when there is none. */
const TbxErrorKind *tbx_error_kind_lookup(const char *slug);

/* All rows, for tests and documentation. */
const TbxErrorKind *tbx_error_kinds(gsize *ret_count);

/**
 * tbx_error_kind_of:
 * @error: an error of any domain
 *
 * Errors of other domains are classed: G_IO_ERROR_CANCELLED as "operation-cancelled", TIMED_OUT as
 * "timed-out", NO_SPACE as "no-space", PERMISSION_DENIED as "forbidden", the rest as "internal".
 * A slug that is not in the table gets the row of its TenboxError that comes first.
 *
 * Returns: a row, never NULL
 */
const TbxErrorKind *tbx_error_kind_of(const GError *error);

/**
 * tbx_error_new:
 * @slug: a slug of the table
 * @field: (nullable): the JSON member, option or file concerned
 * @format: the message: a sentence for people without full stop
 *
 * Returns: (transfer full): an error of the domain TENBOX_ERROR
 */
GError *tbx_error_new(const char *slug, const char *field, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* The same into a GError location, which may be NULL. */
void tbx_error_set(GError **error, const char *slug, const char *field, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* The slug an error of the domain TENBOX_ERROR was made with; NULL when it was made without one. */
const char *tbx_error_get_slug(const GError *error);

/* Replaces slug, field and hint of @error (of the domain TENBOX_ERROR), each nullable. */
void tbx_error_set_details(GError *error, const char *slug, const char *field, const char *hint);

/* Gives @error (of the domain TENBOX_ERROR) its hint; returns @error. */
GError *tbx_error_with_hint(GError *error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/**
 * tbx_error_wrap:
 * @error: (transfer full): any error
 * @slug: (nullable): the slug it shall have; NULL leaves the choice to tbx_error_kind_of()
 * @format: (nullable): what was being done, put in front of the message with ": "
 *
 * Turns an error of another domain into one of TENBOX_ERROR. One that already is keeps slug, field
 * and hint; only the message grows. G_IO_ERROR_CANCELLED is returned as it is: the caller withdrew.
 *
 * Returns: (transfer full): the error
 */
GError *tbx_error_wrap(GError *error, const char *slug, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/**
 * tbx_error_to_problem:
 * @error: an error of any domain
 * @request_id: (nullable): as in the answer's X-Request-Id
 *
 * The problem document (RFC 9457) of @error: type, title, status, detail, code, field, hint,
 * request_id. Errors that are not of TENBOX_ERROR show their message like others.
 *
 * Returns: (transfer full): a JSON object
 */
JsonObject *tbx_error_to_problem(const GError *error, const char *request_id);

/**
 * tbx_error_from_problem:
 * @problem: (nullable): a problem document; tolerant: what is missing or of the wrong type is
 *   ignored
 * @http_status: status of the answer, 0 when it came inside another document (an operation's error)
 *
 * Returns: (transfer full): an error of the domain TENBOX_ERROR
 */
GError *tbx_error_from_problem(JsonObject *problem, guint http_status);

G_END_DECLS
