/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver that talks to a daemon: each operation is one route of data/openapi/tenbox-v1.yaml.
 *
 * A call is a target, perhaps a body, and a function that turns the answer into the result;
 * everything else is the HTTP client's. Documents come from a daemon that may be newer, so they are
 * read tolerantly; what cannot be read at all is a "protocol-error".
 */
#include <stdarg.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/remote/http-client.h"
#include "libtenbox/remote/remote-stream.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* Copying a kernel and an initial RAM disk onto a slow disk. */
#define CREATE_SECONDS 600
/* The doctor boots a probe, on a slow machine several. */
#define DOCTOR_SECONDS 180

typedef struct {
    TbxDriver base;
    TbxHttpClient *http;
    TbxRemoteStream *stream;
} RemoteDriver;

/* ---- one call ----------------------------------------------------------------------------- */

/* Answers @task from @answer. */
typedef void (*AnswerFunc)(const TbxHttpAnswer *answer, GTask *task);

typedef struct {
    GTask *task;
    AnswerFunc function;
} Call;

static void on_answer(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Call *call = user_data;
    GError *error = NULL;
    g_autoptr(TbxHttpAnswer) answer = g_task_propagate_pointer(G_TASK(result), &error);

    if (answer)
        call->function(answer, call->task);
    else
        g_task_return_error(call->task, error);
    g_object_unref(call->task);
    g_free(call);
}

static void call_route(TbxDriver *base, const TbxHttpRequest *request, AnswerFunc function,
                       GTask *task)
{
    RemoteDriver *self = (RemoteDriver *)base;
    Call *call = g_new0(Call, 1);

    call->task = task;
    call->function = function;
    GTask *inner = g_task_new(NULL, g_task_get_cancellable(task), on_answer, call);
    g_task_set_check_cancellable(inner, FALSE);
    tbx_http_client_send(self->http, request, inner);
}

static void call_get(TbxDriver *base, const char *target, guint seconds, AnswerFunc function,
                     GTask *task)
{
    TbxHttpRequest request = {.method = "GET", .target = target, .answer_seconds = seconds};

    call_route(base, &request, function, task);
}

/* "/v1/vms/NAME" and what follows. */
static char *vm_target(const char *vm, const char *format, ...) G_GNUC_PRINTF(2, 3);

static char *vm_target(const char *vm, const char *format, ...)
{
    g_autofree char *escaped = g_uri_escape_string(vm, NULL, FALSE);
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *rest = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return g_strconcat("/v1/vms/", escaped, rest, NULL);
}

/* ---- answers ------------------------------------------------------------------------------ */

static void answer_vm(const TbxHttpAnswer *answer, GTask *task)
{
    GError *error = NULL;
    g_autoptr(JsonObject) object = tbx_http_answer_parse(answer, &error);
    TbxVmRecord *record = object ? tbx_vm_record_from_json(object, &error) : NULL;

    if (record)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_vm_record_unref);
    else
        g_task_return_error(task, error);
}

static void answer_operation(const TbxHttpAnswer *answer, GTask *task)
{
    GError *error = NULL;
    g_autoptr(JsonObject) object = tbx_http_answer_parse(answer, &error);
    TbxOperationRecord *record = object ? tbx_operation_record_from_json(object, &error) : NULL;

    if (record)
        g_task_return_pointer(task, record, (GDestroyNotify)tbx_operation_record_unref);
    else
        g_task_return_error(task, error);
}

static void answer_json_text(const TbxHttpAnswer *answer, GTask *task)
{
    GError *error = NULL;
    g_autoptr(JsonObject) object = tbx_http_answer_parse(answer, &error);

    if (object)
        g_task_return_pointer(task, g_strndup(answer->body, answer->length), g_free);
    else
        g_task_return_error(task, error);
}

static void answer_plain_text(const TbxHttpAnswer *answer, GTask *task)
{
    if (g_strcmp0(answer->content_type, "text/plain") == 0)
        g_task_return_pointer(task, g_utf8_make_valid(answer->body, (gssize)answer->length),
                              g_free);
    else
        g_task_return_error(task,
                            tbx_error_new("protocol-error", NULL,
                                          "the daemon's log is no text but of the type %s",
                                          answer->content_type ? answer->content_type : "unknown"));
}

/* The objects of {"items": […]} through @decode. */
static GPtrArray *decode_items(JsonObject *object,
                               gpointer (*decode)(JsonObject *object, GError **error),
                               GDestroyNotify destroy, GError **error)
{
    JsonNode *node = json_object_get_member(object, "items");
    if (!node || !JSON_NODE_HOLDS_ARRAY(node)) {
        tbx_error_set(error, "protocol-error", "items", "the daemon's list has no items");
        return NULL;
    }
    JsonArray *array = json_node_get_array(node);
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(destroy);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        if (!JSON_NODE_HOLDS_OBJECT(element)) {
            tbx_error_set(error, "protocol-error", "items",
                          "item %u of the daemon's list is no object", i);
            return NULL;
        }
        gpointer item = decode(json_node_get_object(element), error);
        if (!item)
            return NULL;
        g_ptr_array_add(items, item);
    }
    return g_steal_pointer(&items);
}

/* The same of an answer. */
static GPtrArray *parse_items(const TbxHttpAnswer *answer,
                              gpointer (*decode)(JsonObject *object, GError **error),
                              GDestroyNotify destroy, GError **error)
{
    g_autoptr(JsonObject) object = tbx_http_answer_parse(answer, error);

    return object ? decode_items(object, decode, destroy, error) : NULL;
}

static gpointer decode_vm(JsonObject *object, GError **error)
{
    return tbx_vm_record_from_json(object, error);
}

static gpointer decode_operation(JsonObject *object, GError **error)
{
    return tbx_operation_record_from_json(object, error);
}

static void free_vm(gpointer record)
{
    tbx_vm_record_unref(record);
}

static void free_operation(gpointer record)
{
    tbx_operation_record_unref(record);
}

static void free_array(gpointer array)
{
    g_ptr_array_unref(array);
}

static void answer_list(GPtrArray *items, GError *error, GTask *task)
{
    if (items)
        g_task_return_pointer(task, items, free_array);
    else
        g_task_return_error(task, error);
}

/* A list that comes in pages, so that no answer is larger than what a client takes. */
typedef struct {
    RemoteDriver *driver; /* a reference */
    const char *target;   /* static, with a query */
    GPtrArray *items;     /* so far */
    GTask *task;
} Pages;

static void pages_free(Pages *pages)
{
    g_ptr_array_unref(pages->items);
    g_object_unref(pages->task);
    tbx_driver_unref(&pages->driver->base);
    g_free(pages);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pages, pages_free)

static void ask_page(Pages *pages, const char *token);

/* The token of the next page; NULL when there is none. */
static char *get_next(JsonObject *object)
{
    JsonNode *token = json_object_get_member(object, "next_page_token");

    return token && json_node_get_value_type(token) == G_TYPE_STRING ? json_node_dup_string(token)
                                                                     : NULL;
}

static void on_page(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Pages) pages = user_data;
    GError *error = NULL;
    g_autoptr(TbxHttpAnswer) answer = g_task_propagate_pointer(G_TASK(result), &error);
    g_autoptr(JsonObject) object = answer ? tbx_http_answer_parse(answer, &error) : NULL;
    GPtrArray *items = object ? decode_items(object, decode_vm, free_vm, &error) : NULL;
    g_autofree char *next = items ? get_next(object) : NULL;

    if (!items) {
        g_task_return_error(pages->task, error);
        return;
    }
    gboolean is_empty = items->len == 0;
    g_ptr_array_extend_and_steal(pages->items, items);
    if (next && !is_empty)
        ask_page(g_steal_pointer(&pages), next);
    else
        g_task_return_pointer(pages->task, g_ptr_array_ref(pages->items), free_array);
}

/* Takes @pages. */
static void ask_page(Pages *pages, const char *token)
{
    g_autofree char *escaped = token ? g_uri_escape_string(token, NULL, FALSE) : NULL;
    g_autofree char *target =
        g_strconcat(pages->target, escaped ? "&page_token=" : "", escaped, NULL);
    TbxHttpRequest request = {
        .method = "GET", .target = target, .answer_seconds = TBX_HTTP_ANSWER_SECONDS};
    GTask *inner = g_task_new(NULL, g_task_get_cancellable(pages->task), on_page, pages);

    g_task_set_check_cancellable(inner, FALSE);
    tbx_http_client_send(pages->driver->http, &request, inner);
}

/* @target: static, with a query */
static void call_pages(TbxDriver *base, const char *target, GTask *task)
{
    Pages *pages = g_new0(Pages, 1);

    pages->driver = (RemoteDriver *)tbx_driver_ref(base);
    pages->target = target;
    pages->items = g_ptr_array_new_with_free_func(free_vm);
    pages->task = task;
    ask_page(pages, NULL);
}

static void answer_operation_list(const TbxHttpAnswer *answer, GTask *task)
{
    GError *error = NULL;
    GPtrArray *items = parse_items(answer, decode_operation, free_operation, &error);

    answer_list(items, error, task);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void answer_open(const TbxHttpAnswer *answer, GTask *task)
{
    GError *error = NULL;
    g_autoptr(JsonObject) object = tbx_http_answer_parse(answer, &error);

    if (!object) {
        g_task_return_error(task, error);
        return;
    }
    JsonNode *version = json_object_get_member(object, "api_version");
    const char *word = version && json_node_get_value_type(version) == G_TYPE_STRING
                           ? json_node_get_string(version)
                           : NULL;
    if (g_strcmp0(word, "v1") == 0)
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, tbx_error_new("protocol-error", "api_version",
                                                "the daemon speaks %s, this client v1",
                                                word ? word : "no known version"));
}

static void remote_open(TbxDriver *base, GTask *task)
{
    if (base->is_trusting) {
        g_task_return_boolean(task, TRUE);
        g_object_unref(task);
        return;
    }
    call_get(base, "/v1/system", TBX_HTTP_CONNECT_SECONDS, answer_open, task);
}

static void remote_close(TbxDriver *base)
{
    RemoteDriver *self = (RemoteDriver *)base;

    tbx_http_client_close(self->http);
    g_clear_pointer(&self->stream, tbx_remote_stream_destroy);
}

static void remote_free(TbxDriver *base)
{
    RemoteDriver *self = (RemoteDriver *)base;

    tbx_remote_stream_destroy(self->stream);
    tbx_http_client_unref(self->http);
    g_free(self);
}

/* Whatever it is: the caller knows. */
static void answer_anything(const TbxHttpAnswer *answer, GTask *task)
{
    TbxCallAnswer *result = g_new0(TbxCallAnswer, 1);

    result->text = g_strndup(answer->body, answer->length);
    result->content_type = g_strdup(answer->content_type);
    g_task_return_pointer(task, result, tbx_call_answer_free);
}

/* As long as a request may hold the daemon (?wait=), and what any other gets. */
#define CALL_SECONDS (TBX_OPERATION_WAIT_MAX + TBX_HTTP_ANSWER_SECONDS)

static void remote_call(TbxDriver *base, const char *method, const char *target, JsonObject *body,
                        GTask *task)
{
    TbxHttpRequest request = {
        .method = method, .target = target, .body = body, .answer_seconds = CALL_SECONDS};

    call_route(base, &request, answer_anything, task);
}

/* ---- operations of the driver -------------------------------------------------------------- */

static void remote_system_get(TbxDriver *base, GTask *task)
{
    call_get(base, "/v1/system", TBX_HTTP_ANSWER_SECONDS, answer_json_text, task);
}

static void remote_doctor(TbxDriver *base, GTask *task)
{
    call_get(base, "/v1/system/doctor", DOCTOR_SECONDS, answer_json_text, task);
}

static void remote_system_stop_vms(TbxDriver *base, const TbxActionOptions *options, GTask *task)
{
    g_autoptr(JsonObject) body = tbx_action_options_to_json(TENBOX_VM_ACTION_STOP, options);
    TbxHttpRequest request = {"POST", "/v1/system:stop-vms", body, TBX_HTTP_ANSWER_SECONDS};

    call_route(base, &request, answer_operation, task);
}

static void remote_vm_list(TbxDriver *base, GTask *task)
{
    call_pages(base, "/v1/vms?limit=" G_STRINGIFY(TBX_VM_LIST_PAGE), task);
}

static void remote_vm_list_deleted(TbxDriver *base, GTask *task)
{
    call_pages(base, "/v1/vms?deleted=true&limit=" G_STRINGIFY(TBX_VM_LIST_PAGE), task);
}

static void remote_vm_undelete(TbxDriver *base, const char *vm, const char *name, GTask *task)
{
    g_autofree char *target = vm_target(vm, ":undelete");
    g_autoptr(JsonObject) body = json_object_new();
    TbxHttpRequest request = {.method = "POST",
                              .target = target,
                              .body = body,
                              .answer_seconds = TBX_HTTP_ANSWER_SECONDS};

    if (name)
        json_object_set_string_member(body, "name", name);
    call_route(base, &request, answer_vm, task);
}

static void remote_vm_get(TbxDriver *base, const char *vm, GTask *task)
{
    g_autofree char *target = vm_target(vm, "%s", "");

    call_get(base, target, TBX_HTTP_ANSWER_SECONDS, answer_vm, task);
}

static void remote_vm_create(TbxDriver *base, TbxVmSpec *spec, GTask *task)
{
    g_autoptr(JsonObject) body = tbx_vm_spec_to_json(spec);
    g_autofree char *key = g_uuid_string_random();
    /* With a key, so that a connection that breaks does not leave the caller not knowing. */
    TbxHttpRequest request = {.method = "POST",
                              .target = "/v1/vms",
                              .body = body,
                              .answer_seconds = CREATE_SECONDS,
                              .idempotency_key = key};

    call_route(base, &request, answer_vm, task);
}

static void remote_vm_update(TbxDriver *base, const char *vm, TbxVmSpec *spec, GTask *task)
{
    g_autofree char *target = vm_target(vm, "%s", "");
    g_autoptr(JsonObject) body = tbx_vm_spec_to_json(spec);
    TbxHttpRequest request = {.method = "PATCH",
                              .target = target,
                              .body = body,
                              .answer_seconds = CREATE_SECONDS,
                              .if_match = spec->if_match};

    call_route(base, &request, answer_vm, task);
}

static void remote_vm_begin(TbxDriver *base, const char *vm, TenboxVmAction action,
                            const TbxActionOptions *options, GTask *task)
{
    const gboolean is_delete = action == TENBOX_VM_ACTION_DELETE;
    g_autofree char *target = is_delete
                                  ? vm_target(vm, "?force=%s%s", options->force ? "true" : "false",
                                              options->purge ? "&purge=true" : "")
                                  : vm_target(vm, ":%s", tenbox_vm_action_to_string(action));
    g_autoptr(JsonObject) body = tbx_action_options_to_json(action, options);
    TbxHttpRequest request = {.method = is_delete ? "DELETE" : "POST",
                              .target = target,
                              .body = body,
                              .answer_seconds = TBX_HTTP_ANSWER_SECONDS,
                              .if_match = options->if_match};

    call_route(base, &request, answer_operation, task);
}

static void remote_operation_list(TbxDriver *base, GTask *task)
{
    call_get(base, "/v1/operations", TBX_HTTP_ANSWER_SECONDS, answer_operation_list, task);
}

static void remote_operation_get(TbxDriver *base, const char *id, guint wait_seconds, GTask *task)
{
    g_autofree char *escaped = g_uri_escape_string(id, NULL, FALSE);
    g_autofree char *target =
        wait_seconds > 0 ? g_strdup_printf("/v1/operations/%s?wait=%u", escaped, wait_seconds)
                         : g_strdup_printf("/v1/operations/%s", escaped);

    call_get(base, target, wait_seconds + TBX_HTTP_ANSWER_SECONDS, answer_operation, task);
}

static void remote_operation_cancel(TbxDriver *base, const char *id, GTask *task)
{
    g_autofree char *escaped = g_uri_escape_string(id, NULL, FALSE);
    g_autofree char *target = g_strconcat("/v1/operations/", escaped, NULL);
    TbxHttpRequest request = {
        .method = "DELETE", .target = target, .answer_seconds = TBX_HTTP_ANSWER_SECONDS};

    call_route(base, &request, answer_operation, task);
}

static void remote_vm_log(TbxDriver *base, const char *vm, const char *source, guint line_count,
                          GTask *task)
{
    g_autofree char *target = line_count > 0
                                  ? vm_target(vm, "/logs?source=%s&lines=%u", source, line_count)
                                  : vm_target(vm, "/logs?source=%s", source);

    call_get(base, target, TBX_HTTP_ANSWER_SECONDS, answer_plain_text, task);
}

/* ---- a log that is followed ---------------------------------------------------------------- */

typedef struct {
    TbxConsoleStream base;
    TbxHttpBody *body; /* NULL once closed */
} LogStream;

static void log_stream_read(TbxConsoleStream *base, gsize maximum, GTask *task)
{
    tbx_http_body_read(((LogStream *)base)->body, maximum, task);
}

static void log_stream_write(TbxConsoleStream *base, GBytes *bytes, GTask *task)
{
    g_task_return_error(task, tbx_error_new("unsupported", NULL, "nobody can write into a log"));
    g_object_unref(task);
}

static void log_stream_close(TbxConsoleStream *base)
{
    g_clear_pointer(&((LogStream *)base)->body, tbx_http_body_free);
}

static void log_stream_free(TbxConsoleStream *base)
{
    g_free(base);
}

static const TbxConsoleStreamOps log_stream_ops = {
    .read = log_stream_read,
    .write = log_stream_write,
    .close = log_stream_close,
    .free = log_stream_free,
};

static void on_log_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    TbxHttpBody *body = g_task_propagate_pointer(G_TASK(result), &error);

    if (!body) {
        g_task_return_error(task, error);
        return;
    }
    LogStream *stream = g_new0(LogStream, 1);
    tbx_console_stream_init(&stream->base, &log_stream_ops);
    stream->body = body;
    g_task_return_pointer(task, &stream->base, (GDestroyNotify)tbx_console_stream_unref);
}

static void remote_vm_log_follow(TbxDriver *base, const char *vm, const char *source,
                                 gint line_count, GTask *task)
{
    g_autofree char *target =
        line_count >= 0 ? vm_target(vm, "/logs?source=%s&follow=true&lines=%d", source, line_count)
                        : vm_target(vm, "/logs?source=%s&follow=true", source);
    TbxHttpRequest request = {
        .method = "GET", .target = target, .answer_seconds = TBX_HTTP_ANSWER_SECONDS};
    GTask *inner = g_task_new(NULL, g_task_get_cancellable(task), on_log_opened, task);

    g_task_set_check_cancellable(inner, FALSE);
    tbx_http_client_open(((RemoteDriver *)base)->http, &request, inner);
}

static void remote_vm_statistics(TbxDriver *base, const char *vm, GTask *task)
{
    g_autofree char *target = vm_target(vm, "/statistics");

    call_get(base, target, TBX_HTTP_ANSWER_SECONDS, answer_json_text, task);
}

static void answer_nothing(const TbxHttpAnswer *answer, GTask *task)
{
    g_task_return_boolean(task, TRUE);
}

static void remote_vm_send_key(TbxDriver *base, const char *vm, const char *key, GTask *task)
{
    g_autofree char *target = vm_target(vm, ":send-key");
    g_autoptr(JsonObject) body = json_object_new();
    TbxHttpRequest request = {.method = "POST",
                              .target = target,
                              .body = body,
                              .answer_seconds = TBX_HTTP_ANSWER_SECONDS};

    json_object_set_string_member(body, "key", key);
    call_route(base, &request, answer_nothing, task);
}

/* Who opens it, the daemon sees for itself. */
static void remote_console_open(TbxDriver *base, const char *vm, TenboxConsoleFlags flags,
                                const char *holder, GTask *task)
{
    tbx_remote_stream_open_console(((RemoteDriver *)base)->stream, vm, flags, task);
}

static void remote_watch(TbxDriver *base, const char *since, GTask *task)
{
    tbx_remote_stream_watch(((RemoteDriver *)base)->stream, since, task);
}

static const TbxDriverOps remote_ops = {
    .name = "remote",
    .open = remote_open,
    .close = remote_close,
    .free = remote_free,
    .system_get = remote_system_get,
    .doctor = remote_doctor,
    .system_stop_vms = remote_system_stop_vms,
    .vm_list = remote_vm_list,
    .vm_get = remote_vm_get,
    .vm_create = remote_vm_create,
    .vm_update = remote_vm_update,
    .vm_begin = remote_vm_begin,
    .vm_list_deleted = remote_vm_list_deleted,
    .vm_undelete = remote_vm_undelete,
    .operation_list = remote_operation_list,
    .operation_get = remote_operation_get,
    .operation_cancel = remote_operation_cancel,
    .vm_log = remote_vm_log,
    .vm_log_follow = remote_vm_log_follow,
    .vm_statistics = remote_vm_statistics,
    .vm_send_key = remote_vm_send_key,
    .console_open = remote_console_open,
    .call = remote_call,
    .watch = remote_watch,
};

TbxDriver *tbx_remote_driver_new(const char *uri, const char *socket_path, TbxEventSink *events,
                                 GError **error)
{
    g_autoptr(TbxHttpClient) http = tbx_http_client_new(socket_path, error);
    if (!http)
        return NULL;

    RemoteDriver *self = g_new0(RemoteDriver, 1);
    tbx_driver_init(&self->base, &remote_ops, uri, events);
    self->stream = tbx_remote_stream_new(http, events);
    self->http = g_steal_pointer(&http);
    return &self->base;
}
