/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The route table and its dispatch; see http-router.h. What stands here stands in
 * data/openapi/tenbox-v1.yaml, and a test holds the two together.
 */
#include "tenboxd/http-router.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-front.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/http-request.h"
#include "tenboxd/idempotency.h"

#define SEGMENTS_MAX 8

typedef struct {
    const char *method;
    const char *path; /* {} stands for a parameter */
    TbdHandler handler;
    TbdQueryFields query;
    TbdBodyKind body;
    int data;
} Route;

static const Route routes[] = {
    {"GET", "/v1/vms", tbd_vms_list,
     TBD_QUERY_STATE | TBD_QUERY_LABEL | TBD_QUERY_NAME | TBD_QUERY_DELETED | TBD_QUERY_LIMIT |
         TBD_QUERY_PAGE_TOKEN,
     TBD_BODY_NONE, 0},
    {"POST", "/v1/vms", tbd_vms_create, 0, TBD_BODY_REQUIRED, 0},
    {"GET", "/v1/vms/{}", tbd_vm_get, 0, TBD_BODY_NONE, 0},
    {"PATCH", "/v1/vms/{}", tbd_vm_update, 0, TBD_BODY_PATCH, 0},
    {"DELETE", "/v1/vms/{}", tbd_vm_delete, TBD_QUERY_FORCE | TBD_QUERY_PURGE | TBD_QUERY_WAIT,
     TBD_BODY_NONE, 0},
    {"POST", "/v1/vms/{}:undelete", tbd_vm_undelete, 0, TBD_BODY_OPTIONAL, 0},
    {"POST", "/v1/vms/{}:start", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_START},
    {"POST", "/v1/vms/{}:stop", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_STOP},
    {"POST", "/v1/vms/{}:shutdown", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_SHUTDOWN},
    {"POST", "/v1/vms/{}:reboot", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_REBOOT},
    {"POST", "/v1/vms/{}:reset", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_RESET},
    {"POST", "/v1/vms/{}:pause", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_PAUSE},
    {"POST", "/v1/vms/{}:resume", tbd_vm_act, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL,
     TENBOX_VM_ACTION_RESUME},
    {"POST", "/v1/vms/{}:send-key", tbd_vm_send_key, 0, TBD_BODY_REQUIRED, 0},
    {"GET", "/v1/vms/{}/logs", tbd_vm_logs, TBD_QUERY_SOURCE | TBD_QUERY_LINES | TBD_QUERY_FOLLOW,
     TBD_BODY_NONE, 0},
    {"GET", "/v1/vms/{}/statistics", tbd_vm_statistics, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/events", tbd_events_get,
     TBD_QUERY_SINCE | TBD_QUERY_TYPE | TBD_QUERY_VM | TBD_QUERY_FOLLOW | TBD_QUERY_HEARTBEAT,
     TBD_BODY_NONE, 0},
    {"GET", "/v1/operations", tbd_operations_list, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/operations/{}", tbd_operation_get, TBD_QUERY_WAIT, TBD_BODY_NONE, 0},
    {"DELETE", "/v1/operations/{}", tbd_operation_cancel, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/system", tbd_system_get, 0, TBD_BODY_NONE, 0},
    {"POST", "/v1/system:stop-vms", tbd_system_stop_vms, TBD_QUERY_WAIT, TBD_BODY_OPTIONAL, 0},
    {"GET", "/v1/system/doctor", tbd_system_doctor, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/openapi.yaml", tbd_system_schema, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/openapi.json", tbd_system_schema_json, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/audit", tbd_audit_list, TBD_QUERY_LIMIT | TBD_QUERY_SINCE, TBD_BODY_NONE, 0},
    {"GET", "/v1/metrics", tbd_metrics_get, 0, TBD_BODY_NONE, 0},
    {"GET", "/healthz", tbd_health_get, 0, TBD_BODY_NONE, 0},
    {"GET", "/readyz", tbd_ready_get, 0, TBD_BODY_NONE, 0},
    {"GET", "/v1/ws", tbd_ws_open, 0, TBD_BODY_NONE, 0},
};

/* A path taken apart. */
typedef struct {
    guint count;
    char *segments[SEGMENTS_MAX]; /* decoded; NULL behind the last */
    const char *verb;             /* nullable: behind the colon of the last segment */
    char *owned_verb;
} Path;

static void path_clear(Path *path)
{
    for (guint i = 0; i < path->count; i++) {
        g_free(path->segments[i]);
    }
    g_free(path->owned_verb);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Path, path_clear)

/* NULL when the segment is not one. */
static char *decode_segment(const char *segment, gsize length)
{
    g_autoptr(GBytes) bytes = g_uri_unescape_bytes(segment, (gssize)length, NULL, NULL);
    const char *text;
    gsize size;

    if (bytes == NULL) {
        return NULL;
    }
    text = g_bytes_get_data(bytes, &size);
    if (size == 0 || (size <= 2 && strspn(text, ".") >= size) ||
        !g_utf8_validate_len(text, (gssize)size, NULL)) {
        return NULL;
    }
    return g_strndup(text, size);
}

/* FALSE when @raw cannot be anything that is served here. */
static gboolean path_parse(const char *raw, Path *path)
{
    g_auto(GStrv) pieces = g_strsplit(raw, "/", SEGMENTS_MAX + 2);
    guint count = g_strv_length(pieces);

    /* The first piece is what stands before the leading slash: nothing. */
    if (count < 2 || *pieces[0] != '\0' || count > SEGMENTS_MAX + 1) {
        return FALSE;
    }
    for (guint i = 1; i < count; i++) {
        char *colon = i == count - 1 ? strrchr(pieces[i], ':') : NULL;
        gsize length = colon != NULL ? (gsize)(colon - pieces[i]) : strlen(pieces[i]);
        char *segment = decode_segment(pieces[i], length);

        if (segment == NULL) {
            return FALSE;
        }
        path->segments[path->count++] = segment;
        if (colon != NULL) {
            path->verb = path->owned_verb = g_strdup(colon + 1);
        }
    }
    return TRUE;
}

/* Whether @path fits @pattern; @ret_parameters gets pointers into @path. */
static gboolean path_matches(const Path *path, const char *pattern,
                             const char *ret_parameters[TBD_PARAMETERS_MAX])
{
    const char *colon = strchr(pattern, ':');
    guint parameter = 0, index = 0;

    if (g_strcmp0(path->verb, colon != NULL ? colon + 1 : NULL) != 0) {
        return FALSE;
    }
    while (*pattern == '/') {
        gsize length = strcspn(++pattern, "/:");

        if (index == path->count) {
            return FALSE;
        }
        if (length == 2 && memcmp(pattern, "{}", 2) == 0) {
            ret_parameters[parameter++] = path->segments[index];
        } else if (strlen(path->segments[index]) != length ||
                   memcmp(path->segments[index], pattern, length) != 0) {
            return FALSE;
        }
        pattern += length;
        index++;
    }
    return index == path->count;
}

static gboolean method_matches(const char *method, const Route *route)
{
    return strcmp(method, route->method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void dispatch(TbdRequest *request, const Route *route, const char *query,
                     const char *parameters[TBD_PARAMETERS_MAX])
{
    GError *error = NULL;

    for (guint i = 0; i < TBD_PARAMETERS_MAX; i++) {
        tbd_request_set_parameter(request, i, g_strdup(parameters[i]));
    }
    tbd_request_set_data(request, route->data);
    tbd_request_set_route(request, route->path);
    if (!tbd_request_read_query(request, query, route->query, &error) ||
        !tbd_request_read_body(request, route->body, &error)) {
        tbd_request_fail(request, error);
        return;
    }
    if (strcmp(route->method, "POST") == 0) {
        tbd_idempotency_dispatch(tbd_daemon_get_idempotency(tbd_request_get_daemon(request)),
                                 request, route->handler, route->handler == tbd_vms_create);
    } else {
        route->handler(request);
    }
}

static void refuse_method(TbdRequest *request, const char *method, const char *path,
                          const GString *allow)
{
    tbd_request_set_answer_header(request, "Allow", allow->str);
    tbd_request_fail(request,
                     tbx_error_new("method-not-allowed", NULL, "%s does not fit %s; %s does",
                                   method, path, allow->str));
}

/* Finds the route; @request is taken. */
static void route_request(TbdRequest *request, const char *method, const char *raw,
                          const char *query)
{
    g_autoptr(GString) allow = g_string_new(NULL);
    g_auto(Path) path = {0};
    gboolean is_path = path_parse(raw, &path);

    for (gsize i = 0; i < G_N_ELEMENTS(routes) && is_path; i++) {
        const char *parameters[TBD_PARAMETERS_MAX] = {NULL};

        if (!path_matches(&path, routes[i].path, parameters)) {
            continue;
        }
        if (method_matches(method, &routes[i])) {
            dispatch(request, &routes[i], query, parameters);
            return;
        }
        g_string_append_printf(allow, "%s%s%s", allow->len > 0 ? ", " : "", routes[i].method,
                               strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
    }
    if (allow->len > 0) {
        refuse_method(request, method, raw, allow);
    } else {
        tbd_request_fail(request, tbx_error_new("not-found", NULL, "there is no %s here", raw));
    }
}

static void on_request(SoupServer *server, SoupServerMessage *message, const char *decoded_path,
                       GHashTable *query, gpointer user_data)
{
    TbdDaemon *daemon = user_data;
    TbdRequest *request = tbd_request_new(daemon, message);
    TbdPeer *peer = tbd_request_get_peer(request);
    const TbdHead *head = peer != NULL ? tbd_peer_get_head(peer) : NULL;

    /* A daemon that is ending is still alive. */
    if (head == NULL || (tbd_daemon_is_quitting(daemon) && strcmp(head->path, "/healthz") != 0)) {
        tbd_request_fail(request,
                         tbx_error_new("shutting-down", NULL, "the daemon is shutting down"));
        return;
    }
    route_request(request, head->method, head->path, head->query);
}

void tbd_router_install(SoupServer *server, TbdDaemon *daemon)
{
    soup_server_add_handler(server, "/", on_request, daemon, NULL);
    soup_server_add_handler(server, "*", on_request, daemon, NULL);
}
