/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of errors and what is derived from it; see wire-error.h.
 */
#include "libtenbox/wire/wire-error.h"

#include <string.h>

/* The first row of each TenboxError stands for it where only the code is known. */
static const TbxErrorKind kinds[] = {
    {"internal", TENBOX_ERROR_FAILED, 500, 1, "Something went wrong inside TenBox"},
    {"runtime-failed", TENBOX_ERROR_FAILED, 500, 1, "The process of the VM could not do it"},
    {"operation-interrupted", TENBOX_ERROR_FAILED, 500, 1, "The daemon ended under the operation"},
    {"field-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 422, 2, "A value was refused"},
    {"field-unknown", TENBOX_ERROR_INVALID_ARGUMENT, 422, 2, "There is no such member"},
    {"name-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 422, 2, "That cannot be the name of a VM"},
    {"name-ambiguous", TENBOX_ERROR_INVALID_ARGUMENT, 409, 4, "Several VMs fit that name"},
    {"file-unreadable", TENBOX_ERROR_INVALID_ARGUMENT, 422, 1, "A file cannot be used"},
    {"kernel-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 422, 1, "The kernel cannot be booted"},
    {"initrd-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 422, 1,
     "The initial RAM disk cannot be used"},
    {"json-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 400, 1, "The body is not valid JSON"},
    {"request-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 400, 1, "The request is malformed"},
    {"header-invalid", TENBOX_ERROR_INVALID_ARGUMENT, 400, 1,
     "A header of the request is malformed"},
    {"body-too-large", TENBOX_ERROR_INVALID_ARGUMENT, 413, 1, "The body is too large"},
    {"not-found", TENBOX_ERROR_NOT_FOUND, 404, 3, "There is nothing of that name"},
    {"vm-not-found", TENBOX_ERROR_NOT_FOUND, 404, 3, "There is no such VM"},
    {"operation-not-found", TENBOX_ERROR_NOT_FOUND, 404, 3, "There is no such operation"},
    {"vm-exists", TENBOX_ERROR_EXISTS, 409, 4, "A VM of that name exists"},
    {"wrong-state", TENBOX_ERROR_WRONG_STATE, 409, 4, "The present state does not allow it"},
    {"vm-not-running", TENBOX_ERROR_WRONG_STATE, 409, 4, "The VM does not run"},
    {"vm-not-stopped", TENBOX_ERROR_WRONG_STATE, 409, 4, "The VM is not stopped"},
    {"vm-paused", TENBOX_ERROR_WRONG_STATE, 409, 4, "The VM is paused"},
    {"precondition-failed", TENBOX_ERROR_WRONG_STATE, 412, 4, "It is not as you know it"},
    {"idempotency-mismatch", TENBOX_ERROR_INVALID_ARGUMENT, 422, 4,
     "The idempotency key was used for another request"},
    {"vm-broken", TENBOX_ERROR_WRONG_STATE, 409, 4, "The VM's description cannot be used"},
    {"vm-busy", TENBOX_ERROR_BUSY, 409, 4, "Another operation runs on the VM"},
    {"console-busy", TENBOX_ERROR_BUSY, 429, 4, "The console takes no input from here now"},
    {"too-many-connections", TENBOX_ERROR_BUSY, 503, 4, "Too many connections are open"},
    {"too-many-streams", TENBOX_ERROR_BUSY, 503, 4, "Too many streams are open"},
    {"kvm-unavailable", TENBOX_ERROR_NO_KVM, 503, 1, "This host cannot run VMs"},
    {"insufficient-memory", TENBOX_ERROR_NO_MEMORY, 507, 1, "The host has too little memory"},
    {"no-space", TENBOX_ERROR_NO_SPACE, 507, 1, "The disk is full"},
    {"forbidden", TENBOX_ERROR_PERMISSION, 403, 5, "Not allowed"},
    {"host-not-allowed", TENBOX_ERROR_PERMISSION, 421, 5, "That is not the name of this machine"},
    {"timed-out", TENBOX_ERROR_TIMED_OUT, 504, 6, "It took too long"},
    {"slow-consumer", TENBOX_ERROR_TIMED_OUT, 408, 6, "The reader was too slow"},
    {"operation-cancelled", TENBOX_ERROR_CANCELLED, 409, 9, "The operation was withdrawn"},
    {"daemon-unreachable", TENBOX_ERROR_UNREACHABLE, 502, 7, "The daemon does not answer"},
    {"shutting-down", TENBOX_ERROR_UNREACHABLE, 503, 7, "The daemon is shutting down"},
    {"protocol-error", TENBOX_ERROR_PROTOCOL, 502, 1, "The other end broke the protocol"},
    {"unsupported", TENBOX_ERROR_UNSUPPORTED, 501, 1, "This is not supported"},
    {"method-not-allowed", TENBOX_ERROR_UNSUPPORTED, 405, 1, "The method does not fit the path"},
    {"vm-crashed", TENBOX_ERROR_CRASHED, 500, 1, "The VM's process ended unasked"},
    {"closed", TENBOX_ERROR_CLOSED, 409, 1, "It is closed"},
    {"data-folder-locked", TENBOX_ERROR_IN_USE, 409, 4, "The data folder is in use"},
};

/* A row for "the caller withdrew": not an error of TENBOX_ERROR, so no row of the table. */
static const TbxErrorKind withdrawn = {"operation-cancelled", TENBOX_ERROR_CANCELLED, 409, 9,
                                       "The request was withdrawn"};

const TbxErrorKind *tbx_error_kinds(gsize *ret_count)
{
    *ret_count = G_N_ELEMENTS(kinds);
    return kinds;
}

const TbxErrorKind *tbx_error_kind_lookup(const char *slug)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_strcmp0(kinds[i].slug, slug) == 0)
            return &kinds[i];
    }
    return NULL;
}

static const TbxErrorKind *kind_of_code(int code)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if ((int)kinds[i].code == code)
            return &kinds[i];
    }
    return &kinds[0];
}

/* For a slug that only a newer daemon knows: what its status says about the reaction. */
static const TbxErrorKind *kind_of_status(guint http_status)
{
    switch (http_status) {
    case 400:
    case 413:
    case 422: return tbx_error_kind_lookup("field-invalid");
    case 401:
    case 403:
    case 421: return tbx_error_kind_lookup("forbidden");
    case 404:
    case 410: return tbx_error_kind_lookup("not-found");
    case 405:
    case 501: return tbx_error_kind_lookup("unsupported");
    case 408:
    case 504: return tbx_error_kind_lookup("timed-out");
    case 409:
    case 412: return tbx_error_kind_lookup("wrong-state");
    case 507: return tbx_error_kind_lookup("no-space");
    default: return tbx_error_kind_lookup("internal");
    }
}

const TbxErrorKind *tbx_error_kind_of(const GError *error)
{
    g_return_val_if_fail(error, &kinds[0]);

    if (error->domain == TENBOX_ERROR) {
        const char *slug = tbx_error_get_slug(error);
        const TbxErrorKind *kind = slug ? tbx_error_kind_lookup(slug) : NULL;
        return kind ? kind : kind_of_code(error->code);
    }
    if (error->domain == G_IO_ERROR) {
        switch (error->code) {
        case G_IO_ERROR_CANCELLED: return &withdrawn;
        case G_IO_ERROR_TIMED_OUT: return tbx_error_kind_lookup("timed-out");
        case G_IO_ERROR_NO_SPACE: return tbx_error_kind_lookup("no-space");
        case G_IO_ERROR_PERMISSION_DENIED: return tbx_error_kind_lookup("forbidden");
        default: break;
        }
    }
    return &kinds[0];
}

static GError *error_new_valist(const char *slug, const char *field, const char *format,
                                va_list arguments) G_GNUC_PRINTF(3, 0);

static GError *error_new_valist(const char *slug, const char *field, const char *format,
                                va_list arguments)
{
    const TbxErrorKind *kind = tbx_error_kind_lookup(slug);
    if (!kind) {
        g_warning("the error code \"%s\" is not in the table", slug);
        kind = &kinds[0];
    }
    GError *error = g_error_new_valist(TENBOX_ERROR, kind->code, format, arguments);
    tbx_error_set_details(error, kind->slug, field, NULL);
    return error;
}

GError *tbx_error_new(const char *slug, const char *field, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    GError *error = error_new_valist(slug, field, format, arguments);
    va_end(arguments);
    return error;
}

void tbx_error_set(GError **error, const char *slug, const char *field, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_propagate_error(error, error_new_valist(slug, field, format, arguments));
    va_end(arguments);
}

GError *tbx_error_with_hint(GError *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *hint = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *slug = g_strdup(tbx_error_get_slug(error));
    g_autofree char *field = g_strdup(tenbox_error_get_field(error));
    tbx_error_set_details(error, slug, field, hint);
    return error;
}

GError *tbx_error_wrap(GError *error, const char *slug, const char *format, ...)
{
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return error;

    if (error->domain != TENBOX_ERROR) {
        const TbxErrorKind *kind = slug ? tbx_error_kind_lookup(slug) : tbx_error_kind_of(error);
        GError *own = tbx_error_new(kind ? kind->slug : slug, NULL, "%s", error->message);
        g_error_free(error);
        error = own;
    }
    if (format) {
        va_list arguments;

        va_start(arguments, format);
        g_autofree char *context = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        g_prefix_error(&error, "%s: ", context);
    }
    return error;
}

JsonObject *tbx_error_to_problem(const GError *error, const char *request_id)
{
    const TbxErrorKind *kind = tbx_error_kind_of(error);
    const char *slug = tenbox_error_get_code(error);
    const char *field = tenbox_error_get_field(error);
    const char *hint = tenbox_error_get_hint(error);
    g_autofree char *type = g_strconcat("urn:tenbox:error:", slug, NULL);
    g_autofree char *detail = g_utf8_make_valid(error->message, -1);
    JsonObject *problem = json_object_new();

    json_object_set_string_member(problem, "type", type);
    json_object_set_string_member(problem, "title", kind->title);
    json_object_set_int_member(problem, "status", kind->http_status);
    json_object_set_string_member(problem, "detail", detail);
    json_object_set_string_member(problem, "code", slug);
    if (field)
        json_object_set_string_member(problem, "field", field);
    if (hint)
        json_object_set_string_member(problem, "hint", hint);
    if (request_id)
        json_object_set_string_member(problem, "request_id", request_id);
    return problem;
}

static const char *string_member(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    if (!node || json_node_get_value_type(node) != G_TYPE_STRING)
        return NULL;
    const char *text = json_node_get_string(node);
    return text[0] ? text : NULL;
}

GError *tbx_error_from_problem(JsonObject *problem, guint http_status)
{
    const char *slug = string_member(problem, "code");
    const char *message = string_member(problem, "detail");
    const TbxErrorKind *kind = slug ? tbx_error_kind_lookup(slug) : NULL;

    if (!message)
        message = string_member(problem, "title");
    if (http_status == 0 && problem && json_object_has_member(problem, "status")) {
        JsonNode *status = json_object_get_member(problem, "status");
        if (json_node_get_value_type(status) == G_TYPE_INT64)
            http_status = (guint)CLAMP(json_node_get_int(status), 0, 599);
    }
    if (!kind)
        kind = kind_of_status(http_status);
    GError *error = message ? g_error_new_literal(TENBOX_ERROR, kind->code, message)
                            : g_error_new(TENBOX_ERROR, kind->code, "%s (HTTP status %u)",
                                          kind->title, http_status);
    tbx_error_set_details(error, slug ? slug : kind->slug, string_member(problem, "field"),
                          string_member(problem, "hint"));
    return error;
}
