/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/system, the doctor, and the schema of all this.
 *
 * The driver says what the host and its VMs are; what the daemon adds is about itself: what v1 has
 * grown by, how much of everything a client may have, and the knobs in force.
 */
#include <gio/gio.h>
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/daemon.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/http-limits.h"
#include "tenboxd/tenboxd-resources.h"

void tbd_on_json_text(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_request_reply_text(request, 200, "application/json", text);
}

/* What was added to v1 since 1.0.0, for clients that want to know before they ask. Only grows. */
static const char *const extensions[] = {
    "health",       "limits",  "configuration",
    "openapi-json", "events", /* GET /v1/events; positions, since and resync on both doors */
    "log-follow",             /* follow=true on logs */
    "etag",                   /* ETag, If-Match, If-None-Match */
    "audit",        "metrics",
};

static JsonArray *list_extensions(void)
{
    JsonArray *array = json_array_new();

    for (gsize i = 0; i < G_N_ELEMENTS(extensions); i++) {
        json_array_add_string_element(array, extensions[i]);
    }
    return array;
}

static JsonObject *describe_limits(const TbdSettings *settings)
{
    const struct {
        const char *name;
        gint64 value;
    } limits[] = {
        {"connections", settings->connections},
        {"connections_per_user", settings->connections_per_user},
        {"requests_per_connection", TBD_REQUESTS_PER_CONNECTION},
        {"head_seconds", settings->head_timeout},
        {"body_seconds", settings->body_timeout},
        {"answer_seconds", settings->answer_timeout},
        {"wait_seconds", TBX_OPERATION_WAIT_MAX},
        {"head_bytes", TBD_HEAD_SIZE_MAX},
        {"head_fields", TBD_HEAD_FIELDS_MAX},
        {"target_bytes", TBD_TARGET_SIZE_MAX},
        {"body_bytes", TBD_BODY_SIZE_MAX},
        {"bodies_bytes", TBD_BODIES_SIZE_MAX},
        {"request_id_bytes", TBD_REQUEST_ID_MAX},
        {"json_depth", TBX_JSON_DEPTH_MAX},
        {"json_values", TBX_JSON_VALUES_MAX},
        {"json_members", TBX_JSON_MEMBERS_MAX},
        {"log_lines", TBD_LOG_LINES_MAX},
        {"audit_entries", TBD_AUDIT_ENTRIES_MAX},
        {"streams_per_user", tbd_settings_get_streams_per_user(settings)},
        {"channels_per_stream", TBX_STREAM_CHANNELS_MAX},
        {"message_bytes", TBX_WEB_SOCKET_MESSAGE_MAX},
        {"window_bytes", TBX_STREAM_WINDOW},
        {"events_queued", TBD_EVENTS_QUEUE_MAX},
        {"events_queued_bytes", TBD_EVENTS_SIZE_MAX},
    };
    JsonObject *object = json_object_new();

    for (gsize i = 0; i < G_N_ELEMENTS(limits); i++) {
        json_object_set_int_member(object, limits[i].name, limits[i].value);
    }
    return object;
}

static JsonObject *describe_configuration(const TbdSettings *settings)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "file", tbd_settings_get_file(settings));
    json_object_set_object_member(object, "values", tbd_settings_to_json(settings));
    return object;
}

static void on_system(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    const TbdSettings *settings = tbd_daemon_get_settings(tbd_request_get_daemon(request));
    GError *error = NULL;
    g_autofree char *text = g_task_propagate_pointer(G_TASK(result), &error);
    g_autoptr(JsonObject) system = NULL;

    if (text != NULL) {
        system = tbx_json_guard_parse_answer(text, strlen(text), &error);
    }
    if (system == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    json_object_set_array_member(system, "extensions", list_extensions());
    json_object_set_object_member(system, "limits", describe_limits(settings));
    json_object_set_object_member(system, "configuration", describe_configuration(settings));
    tbd_request_reply_json(request, 200, NULL, system);
}

void tbd_system_get(TbdRequest *request)
{
    tbx_driver_system_get(tbd_request_get_driver(request), tbd_request_task(request, on_system));
}

static void on_stop_begun(GObject *source, GAsyncResult *result, gpointer user_data)
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

void tbd_system_stop_vms(TbdRequest *request)
{
    TbxActionOptions options;
    GError *error = NULL;

    if (!tbx_action_options_from_json(TENBOX_VM_ACTION_STOP, tbd_request_get_body(request),
                                      &options, &error) ||
        !tbx_action_options_validate(TENBOX_VM_ACTION_STOP, &options, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    if (options.timeout < 0) {
        options.timeout =
            tbd_daemon_get_settings(tbd_request_get_daemon(request))->shutdown_timeout;
    }
    options.operation_id = tbd_request_get_target(request);
    tbx_driver_system_stop_vms(tbd_request_get_driver(request), &options,
                               tbd_request_task(request, on_stop_begun));
}

void tbd_system_doctor(TbdRequest *request)
{
    tbx_driver_doctor(tbd_request_get_driver(request), tbd_request_task(request, tbd_on_json_text));
}

static void reply_resource(TbdRequest *request, const char *name, const char *content_type)
{
    g_autofree char *path = g_strconcat("/org/tenbox/daemon/", name, NULL);
    GError *error = NULL;
    g_autoptr(GBytes) bytes =
        g_resource_lookup_data(tenboxd_get_resource(), path, G_RESOURCE_LOOKUP_FLAGS_NONE, &error);

    if (bytes == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_request_reply_bytes(request, 200, content_type, bytes);
}

void tbd_system_schema(TbdRequest *request)
{
    reply_resource(request, "tenbox-v1.yaml", "application/yaml");
}

void tbd_system_schema_json(TbdRequest *request)
{
    reply_resource(request, "tenbox-v1.json", "application/json");
}
