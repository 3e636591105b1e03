/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/vms: decode, call the driver, encode.
 */
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"
#include "libtenbox/wire/wire-vm.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/path-roots.h"
#include "tenboxd/http-limits.h"
#include "tenboxd/http-stream.h"

static void reply_vm(TbdRequest *request, TbxVmRecord *record, gboolean is_new)
{
    g_autoptr(JsonObject) object = NULL;
    g_autofree char *location = NULL;

    if (record->etag != NULL) {
        g_autofree char *etag = tbx_etag_quote(record->etag);

        tbd_request_set_answer_header(request, "ETag", etag);
    }
    if (tbd_request_knows(request, record->etag)) {
        tbd_request_reply_empty(request, 304);
        return;
    }
    object = tbx_vm_record_to_json(record);
    location = is_new ? g_strconcat("/v1/vms/", record->id, NULL) : NULL;
    tbd_request_reply_json(request, is_new ? 201 : 200, location, object);
}

void tbd_vms_reply_created(TbdRequest *request, TbxVmRecord *record)
{
    reply_vm(request, record, TRUE);
}

static void reply_record(TbdRequest *request, GAsyncResult *result, gboolean is_new)
{
    GError *error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record != NULL) {
        reply_vm(request, record, is_new);
    } else {
        tbd_request_fail(request, error);
    }
}

static void on_created(GObject *source, GAsyncResult *result, gpointer user_data)
{
    reply_record(user_data, result, TRUE);
}

static void on_record(GObject *source, GAsyncResult *result, gpointer user_data)
{
    reply_record(user_data, result, FALSE);
}

/* What @path, a member's, names is opened here, where the kernel sees to it that it lies beneath the
 * folders for it; the driver gets a path that is that open file, whatever @path leads to by then. */
static gboolean confine_path(TbdRequest *request, char **path, const char *field, GError **error)
{
    const TbdSettings *settings = tbd_daemon_get_settings(tbd_request_get_daemon(request));
    int fd;

    if (*path == NULL) {
        return TRUE;
    }
    fd = tbd_path_roots_open(settings->path_roots, *path, field, error);
    if (fd < 0) {
        return FALSE;
    }
    tbd_request_hold_fd(request, fd, *path);
    g_free(*path);
    *path = g_strdup_printf(TBD_FD_PATH, fd);
    return TRUE;
}

static gboolean confine(TbdRequest *request, TbxVmSpec *spec, GError **error)
{
    return tbd_request_is_owner(request) ||
           (confine_path(request, &spec->kernel, "kernel", error) &&
            confine_path(request, &spec->initrd, "initrd", error));
}

void tbd_vms_create(TbdRequest *request)
{
    GError *error = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_from_json(tbd_request_get_body(request), &error);

    if (spec == NULL || !tbx_vm_spec_validate_create(spec, &error) ||
        !confine(request, spec, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    spec->id = g_strdup(tbd_request_get_target(request));
    tbx_driver_vm_create(tbd_request_get_driver(request), spec,
                         tbd_request_task(request, on_created));
}

void tbd_vm_get(TbdRequest *request)
{
    GError *error = NULL;
    const char *known;

    if (!tbd_request_get_tags(request, "If-None-Match", &known, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    tbx_driver_vm_get(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                      tbd_request_task(request, on_record));
}

void tbd_vm_update(TbdRequest *request)
{
    GError *error = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_from_json(tbd_request_get_body(request), &error);
    const char *if_match;

    if (spec == NULL || !tbd_request_get_tags(request, "If-Match", &if_match, &error) ||
        !confine(request, spec, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    spec->if_match = g_strdup(if_match);
    tbx_driver_vm_update(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                         spec, tbd_request_task(request, on_record));
}

static void on_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) operation = g_task_propagate_pointer(G_TASK(result), &error);

    if (operation == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_operation_reply(request, operation);
}

static void begin(TbdRequest *request, TenboxVmAction action, TbxActionOptions *options)
{
    GError *error = NULL;

    if (!tbd_request_get_tags(request, "If-Match", &options->if_match, &error) ||
        !tbx_action_options_validate(action, options, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    options->operation_id = tbd_request_get_target(request);
    tbx_driver_vm_begin(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                        action, options, tbd_request_task(request, on_begun));
}

void tbd_vm_delete(TbdRequest *request)
{
    TbxActionOptions options = TBX_ACTION_OPTIONS_DEFAULT;

    options.force = tbd_request_get_query(request)->force;
    options.purge = tbd_request_get_query(request)->purge;
    begin(request, TENBOX_VM_ACTION_DELETE, &options);
}

/* The name of the body of :undelete; NULL when it has none. FALSE: it is refused. */
static gboolean read_name(JsonObject *body, char **ret_name, GError **error)
{
    g_autoptr(TbxVmSpec) spec = NULL;

    if (body == NULL) {
        return TRUE;
    }
    spec = tbx_vm_spec_from_json(body, error);
    if (spec == NULL) {
        return FALSE;
    }
    if ((spec->present & ~(guint64)TBX_VM_SPEC_NAME) != 0) {
        tbx_error_set(error, "field-unknown", NULL,
                      "a VM can get a new name when it is had back, "
                      "and nothing else");
        return FALSE;
    }
    *ret_name = g_strdup(spec->name);
    return TRUE;
}

void tbd_vm_undelete(TbdRequest *request)
{
    GError *error = NULL;
    g_autofree char *name = NULL;

    if (!read_name(tbd_request_get_body(request), &name, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    tbx_driver_vm_undelete(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                           name, tbd_request_task(request, on_record));
}

void tbd_vm_act(TbdRequest *request)
{
    TenboxVmAction action = (TenboxVmAction)tbd_request_get_data(request);
    GError *error = NULL;
    TbxActionOptions options;

    if (!tbx_action_options_from_json(action, tbd_request_get_body(request), &options, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    begin(request, action, &options);
}

static void on_log(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_request_reply_text(request, 200, "text/plain; charset=utf-8", text);
}

/* ---- a log that is followed ------------------------------------------------------------------ */

typedef struct {
    TbxConsoleStream *log;
    TbdHttpStream *stream; /* NULL before its beginning */
    GCancellable *closing; /* cancelled when the stream is gone */
    GBytes *bytes;         /* nullable: read, not sent */
    gboolean is_reading;
    gboolean is_ended;
} Follow;

static void follow_free(Follow *self)
{
    tbx_console_stream_unref(self->log);
    g_object_unref(self->closing);
    g_clear_pointer(&self->bytes, g_bytes_unref);
    g_free(self);
}

static void on_follow_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Follow *self = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(result), &error);

    self->is_reading = FALSE;
    if (self->stream == NULL) {
        follow_free(self);
        return;
    }
    self->is_ended = bytes == NULL || g_bytes_get_size(bytes) == 0;
    self->bytes = self->is_ended ? NULL : g_steal_pointer(&bytes);
    tbd_http_stream_wake(self->stream);
}

static void on_follow_fill(TbdHttpStream *stream, GString *out, gpointer user_data)
{
    Follow *self = user_data;

    if (self->bytes != NULL) {
        gsize length;
        const char *text = g_bytes_get_data(self->bytes, &length);

        g_string_append_len(out, text, (gssize)length);
        g_clear_pointer(&self->bytes, g_bytes_unref);
    } else if (self->is_ended) {
        tbd_http_stream_end(stream, NULL);
    } else if (!self->is_reading) {
        self->is_reading = TRUE;
        tbx_console_stream_read(self->log, TBD_HTTP_STREAM_PIECE,
                                g_task_new(NULL, self->closing, on_follow_read, self));
    }
}

static void on_follow_begun(TbdHttpStream *stream, gpointer user_data)
{
    ((Follow *)user_data)->stream = stream;
}

static void on_follow_closed(TbdHttpStream *stream, gpointer user_data)
{
    Follow *self = user_data;

    self->stream = NULL;
    if (self->is_reading) {
        g_cancellable_cancel(self->closing);
    } else {
        follow_free(self);
    }
}

static void on_log_followed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    static const TbdHttpStreamHandlers handlers = {on_follow_fill, on_follow_closed, NULL};
    TbdRequest *request = user_data;
    GError *error = NULL;
    TbxConsoleStream *log = g_task_propagate_pointer(G_TASK(result), &error);
    Follow *self;

    if (log == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    self = g_new0(Follow, 1);
    self->log = log;
    self->closing = g_cancellable_new();
    tbd_http_stream_begin(request, "text/plain; charset=utf-8", &handlers, on_follow_begun, self);
}

void tbd_vm_logs(TbdRequest *request)
{
    const TbdQuery *query = tbd_request_get_query(request);

    if (query->follow) {
        tbx_driver_vm_log_follow(
            tbd_request_get_driver(request), tbd_request_get_parameter(request, 0), query->source,
            query->has_lines ? (gint)query->lines : -1, tbd_request_task(request, on_log_followed));
        return;
    }
    if (query->has_lines && query->lines == 0) {
        tbd_request_fail(request, tbx_error_new("field-invalid", "lines",
                                                "lines must be a number from 1 to %u unless the "
                                                "log is followed",
                                                TBD_LOG_LINES_MAX));
        return;
    }
    tbx_driver_vm_log(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                      query->source, query->lines, tbd_request_task(request, on_log));
}

void tbd_vm_statistics(TbdRequest *request)
{
    tbx_driver_vm_statistics(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                             tbd_request_task(request, tbd_on_json_text));
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void on_key_sent(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        tbd_request_reply_empty(request, 204);
    } else {
        tbd_request_fail(request, error);
    }
}

/* NULL when the body is no {"key": TEXT}. */
static const char *read_key(JsonObject *body, GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node = json_object_get_member(body, "key");

    json_object_iter_init(&iter, body);
    while (json_object_iter_next(&iter, &name, NULL)) {
        if (strcmp(name, "key") != 0) {
            tbx_error_set(error, "field-unknown", name, "there is no member \"%s\" here", name);
            return NULL;
        }
    }
    if (node == NULL || json_node_get_value_type(node) != G_TYPE_STRING) {
        tbx_error_set(error, "field-invalid", "key", "key must be a text, such as \"break\"");
        return NULL;
    }
    return json_node_get_string(node);
}

void tbd_vm_send_key(TbdRequest *request)
{
    GError *error = NULL;
    const char *key = read_key(tbd_request_get_body(request), &error);

    if (key == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbx_driver_vm_send_key(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                           key, tbd_request_task(request, on_key_sent));
}
