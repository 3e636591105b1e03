/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One request, from libsoup's message to what handlers see, and back; see http-request.h.
 *
 * While a handler works the message is paused, so libsoup neither reads nor writes; the answer
 * unpauses it. A client that leaves meanwhile is noticed by a watch on the socket, and the tasks of
 * its request are cancelled.
 */
#include "tenboxd/http-request.h"

#include <string.h>
#include <unistd.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"
#include "tenboxd/http-problem.h"
#include "tenboxd/idempotency.h"

typedef struct {
    int fd;
    char *path; /* what the client calls it */
} HeldFile;

struct _TbdRequest {
    grefcount references;
    TbdDaemon *daemon;
    SoupServerMessage *message;
    char *parameters[TBD_PARAMETERS_MAX];
    TbdQuery query;
    JsonObject *body;
    int data;
    TbdActor actor;
    gboolean is_owner;
    GArray *fds;               /* nullable: of HeldFile, until the request is over */
    const char *route;         /* nullable: none was found */
    char *code;                /* nullable: of what went wrong */
    const char *result;        /* nullable, static: what the audit log says instead */
    char *operation;           /* nullable: the id of what was begun */
    char *operation_code;      /* nullable: why that failed */
    gpointer state;            /* the handler's */
    TbdKey *key;               /* nullable: its idempotency key, until it is answered */
    GCancellable *cancellable; /* of all tasks of the request */
    GSource *leaving;          /* while tasks are under way: the client goes */
    GSource *quitting;         /* nullable: the daemon goes, while the request only waits */
    gboolean is_answered;
    gboolean is_over; /* libsoup is done with the message */
    gulong finished_handler;
};

/* The client's X-Request-Id if it is harmless, else one of ours. */
static char *request_id_of(SoupServerMessage *message)
{
    TbdPeer *peer = tbd_peer_of(message);
    const char *given = peer != NULL ? tbd_peer_get_head(peer)->request_id : NULL;

    return given != NULL ? g_strdup(given) : tbd_request_id_new();
}

/* From here on nothing cancels the request's tasks. */
static void stop_watching(TbdRequest *self)
{
    tbx_source_clear(&self->leaving);
    tbx_source_clear(&self->quitting);
}

static void on_finished(SoupServerMessage *message, gpointer user_data)
{
    TbdRequest *self = user_data;

    self->is_over = TRUE;
    stop_watching(self);
}

TbdRequest *tbd_request_new(TbdDaemon *daemon, SoupServerMessage *message)
{
    TbdRequest *self = g_new0(TbdRequest, 1);
    SoupMessageHeaders *headers = soup_server_message_get_response_headers(message);
    g_autofree char *id = request_id_of(message);

    self->query.labels = g_ptr_array_new_with_free_func(g_free);
    g_ref_count_init(&self->references);
    self->daemon = tbd_daemon_ref(daemon);
    self->message = g_object_ref(message);
    self->cancellable = g_cancellable_new();
    self->query.source = "console";
    if (tbd_peer_of(message) != NULL) {
        self->actor = *tbd_peer_get_actor(tbd_peer_of(message));
        self->is_owner = tbd_peer_is_owner(tbd_peer_of(message));
    }
    soup_message_headers_replace(headers, "X-Request-Id", id);
    soup_message_headers_replace(headers, "Connection", "close"); /* see http-front.h */
    soup_message_headers_replace(headers, "Cache-Control", "no-store");
    soup_message_headers_replace(headers, "X-Content-Type-Options", "nosniff");
    self->finished_handler = g_signal_connect(message, "finished", G_CALLBACK(on_finished), self);
    soup_server_message_pause(message);
    return self;
}

void tbd_request_unref(TbdRequest *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    g_warn_if_fail(self->is_answered);
    for (guint i = 0; i < TBD_PARAMETERS_MAX; i++) {
        g_free(self->parameters[i]);
    }
    g_free(self->query.since);
    g_free(self->query.type);
    g_free(self->query.vm);
    g_free(self->query.state);
    g_free(self->query.name);
    g_free(self->query.page_token);
    g_ptr_array_unref(self->query.labels);
    g_clear_pointer(&self->body, json_object_unref);
    g_free(self->code);
    g_free(self->operation);
    g_free(self->operation_code);
    for (guint i = 0; self->fds != NULL && i < self->fds->len; i++) {
        close(g_array_index(self->fds, HeldFile, i).fd);
        g_free(g_array_index(self->fds, HeldFile, i).path);
    }
    g_clear_pointer(&self->fds, g_array_unref);
    stop_watching(self);
    g_object_unref(self->cancellable);
    g_signal_handler_disconnect(self->message, self->finished_handler);
    g_object_unref(self->message);
    tbd_daemon_unref(self->daemon);
    g_free(self);
}

TbdDaemon *tbd_request_get_daemon(TbdRequest *self)
{
    return self->daemon;
}

TbxDriver *tbd_request_get_driver(TbdRequest *self)
{
    return tbd_daemon_get_driver(self->daemon);
}

const char *tbd_request_get_parameter(TbdRequest *self, guint index)
{
    return self->parameters[index];
}

void tbd_request_set_parameter(TbdRequest *self, guint index, char *value)
{
    g_free(self->parameters[index]);
    self->parameters[index] = value;
}

TbdPeer *tbd_request_get_peer(TbdRequest *self)
{
    return self->is_over ? NULL : tbd_peer_of(self->message);
}

const char *tbd_request_get_method(TbdRequest *self)
{
    return soup_server_message_get_method(self->message);
}

const TbdQuery *tbd_request_get_query(TbdRequest *self)
{
    return &self->query;
}

JsonObject *tbd_request_get_body(TbdRequest *self)
{
    return self->body;
}

gboolean tbd_request_is_owner(TbdRequest *self)
{
    return self->is_owner;
}

void tbd_request_hold_fd(TbdRequest *self, int fd, const char *path)
{
    HeldFile file = {fd, g_strdup(path)};

    if (self->fds == NULL) {
        self->fds = g_array_new(FALSE, FALSE, sizeof(HeldFile));
    }
    g_array_append_val(self->fds, file);
}

/* Calls held files what the client calls them. */
static void name_files(TbdRequest *self, GError *error)
{
    for (guint i = 0; self->fds != NULL && i < self->fds->len; i++) {
        const HeldFile *file = &g_array_index(self->fds, HeldFile, i);
        g_autofree char *name = g_strdup_printf(TBD_FD_PATH, file->fd);
        const char *found = strstr(error->message, name);
        const char *rest = found != NULL ? found + strlen(name) : NULL;

        if (found != NULL && !g_ascii_isdigit(*rest)) {
            char *message = g_strdup_printf("%.*s%s%s", (int)(found - error->message),
                                            error->message, file->path, rest);

            g_free(error->message);
            error->message = message;
        }
    }
}

int tbd_request_get_data(TbdRequest *self)
{
    return self->data;
}

gboolean tbd_request_has_header(TbdRequest *self, const char *name)
{
    return soup_message_headers_get_list(soup_server_message_get_request_headers(self->message),
                                         name) != NULL;
}

uid_t tbd_request_get_uid(TbdRequest *self)
{
    return self->actor.uid;
}

const char *tbd_request_get_route(TbdRequest *self)
{
    return self->route;
}

void tbd_request_set_key(TbdRequest *self, TbdKey *key)
{
    self->key = key;
}

const char *tbd_request_get_target(TbdRequest *self)
{
    return self->key != NULL ? tbd_key_get_target(self->key) : NULL;
}

void tbd_request_note_operation(TbdRequest *self, const TbxOperationRecord *operation)
{
    g_free(self->operation);
    self->operation = g_strdup(operation->id);
    g_clear_pointer(&self->operation_code, g_free);
    if (operation->state == TENBOX_OPERATION_STATE_RUNNING) {
        self->result = "begun";
    } else if (operation->state == TENBOX_OPERATION_STATE_DONE) {
        self->result = "done";
    } else {
        self->result = "failed";
        self->operation_code =
            operation->error != NULL ? g_strdup(tenbox_error_get_code(operation->error)) : NULL;
    }
}

void tbd_request_set_state(TbdRequest *self, gpointer state)
{
    self->state = state;
}

gpointer tbd_request_steal_state(TbdRequest *self)
{
    return g_steal_pointer(&self->state);
}

void tbd_request_set_route(TbdRequest *self, const char *path)
{
    self->route = path;
}

void tbd_request_set_data(TbdRequest *self, int data)
{
    self->data = data;
}

const char *tbd_request_get_header(TbdRequest *self, const char *name)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(self->message);
    const char *found = NULL, *header, *value;
    SoupMessageHeadersIter iter;
    guint count = 0;

    soup_message_headers_iter_init(&iter, headers);
    while (soup_message_headers_iter_next(&iter, &header, &value)) {
        if (g_ascii_strcasecmp(header, name) == 0) {
            found = value;
            count++;
        }
    }
    return count == 1 ? found : NULL;
}

gboolean tbd_request_get_tags(TbdRequest *self, const char *name, const char **ret_tags,
                              GError **error)
{
    *ret_tags = tbd_request_get_header(self, name);
    if (*ret_tags == NULL && tbd_request_has_header(self, name)) {
        tbx_error_set(error, "header-invalid", name, "%s comes twice", name);
        return FALSE;
    }
    return *ret_tags == NULL || tbx_etag_list_check(*ret_tags, name, error);
}

gboolean tbd_request_knows(TbdRequest *self, const char *etag)
{
    const char *method = tbd_request_get_method(self);
    const char *tags = tbd_request_get_header(self, "If-None-Match");

    return (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) && tags != NULL &&
           etag != NULL && tbx_etag_list_has(tags, etag, FALSE);
}

/* What is cancelled may answer, and so free the request, at once. */
static void withdraw(TbdRequest *self)
{
    g_autoptr(GCancellable) cancellable = g_object_ref(self->cancellable);

    stop_watching(self);
    g_cancellable_cancel(cancellable);
}

static gboolean on_left(int fd, GIOCondition condition, gpointer user_data)
{
    withdraw(user_data);
    return G_SOURCE_REMOVE;
}

static gboolean on_quitting(GCancellable *cancellable, gpointer user_data)
{
    withdraw(user_data);
    return G_SOURCE_REMOVE;
}

GTask *tbd_request_task(TbdRequest *self, GAsyncReadyCallback callback)
{
    TbdPeer *peer = tbd_peer_of(self->message);
    GTask *task;

    if (self->leaving == NULL && !self->is_over && peer != NULL) {
        self->leaving = tbd_peer_watch_leaving(peer, on_left, self);
    }
    task = g_task_new(NULL, self->cancellable, callback, self);
    g_task_set_check_cancellable(task, FALSE);
    return task;
}

GTask *tbd_request_wait_task(TbdRequest *self, GAsyncReadyCallback callback)
{
    self->quitting = g_cancellable_source_new(tbd_daemon_get_quitting(self->daemon));
    g_source_set_callback(self->quitting, G_SOURCE_FUNC(on_quitting), self, NULL);
    g_source_attach(self->quitting, g_main_context_get_thread_default());
    return tbd_request_task(self, callback);
}

/* ---- query ----------------------------------------------------------------------------------- */

static gboolean read_number(const char *name, const char *value, guint minimum, guint maximum,
                            guint *ret_number, GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, 10, minimum, maximum, &number, NULL)) {
        tbx_error_set(error, "field-invalid", name, "%s must be a number from %u to %u", name,
                      minimum, maximum);
        return FALSE;
    }
    *ret_number = (guint)number;
    return TRUE;
}

static gboolean read_boolean(const char *name, const char *value, gboolean *ret_value,
                             GError **error)
{
    *ret_value = strcmp(value, "true") == 0;
    if (!*ret_value && strcmp(value, "false") != 0) {
        tbx_error_set(error, "field-invalid", name, "%s must be true or false", name);
        return FALSE;
    }
    return TRUE;
}

static gboolean read_parameter(TbdQuery *query, const char *name, const char *value,
                               TbdQueryFields known, TbdQueryFields *seen, GError **error)
{
    static const struct {
        const char *name;
        TbdQueryFields field;
    } rows[] = {
        {"wait", TBD_QUERY_WAIT},
        {"force", TBD_QUERY_FORCE},
        {"source", TBD_QUERY_SOURCE},
        {"lines", TBD_QUERY_LINES},
        {"follow", TBD_QUERY_FOLLOW},
        {"since", TBD_QUERY_SINCE},
        {"type", TBD_QUERY_TYPE},
        {"vm", TBD_QUERY_VM},
        {"heartbeat", TBD_QUERY_HEARTBEAT},
        {"limit", TBD_QUERY_LIMIT},
        {"state", TBD_QUERY_STATE},
        {"label", TBD_QUERY_LABEL},
        {"name", TBD_QUERY_NAME},
        {"deleted", TBD_QUERY_DELETED},
        {"page_token", TBD_QUERY_PAGE_TOKEN},
        {"purge", TBD_QUERY_PURGE},
    };
    TbdQueryFields field = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(name, rows[i].name) == 0) {
            field = rows[i].field & known;
        }
    }
    if (field == 0) {
        tbx_error_set(error, "field-unknown", name, "there is no query parameter \"%s\" here",
                      name);
        return FALSE;
    }
    if (*seen & field && field != TBD_QUERY_LABEL) {
        tbx_error_set(error, "field-invalid", name, "the query parameter %s comes twice", name);
        return FALSE;
    }
    *seen |= field;

    switch (field) {
    case TBD_QUERY_WAIT:
        return read_number(name, value, 0, TBX_OPERATION_WAIT_MAX, &query->wait, error);
    case TBD_QUERY_LINES:
        query->has_lines = TRUE;
        return read_number(name, value, known & TBD_QUERY_FOLLOW ? 0 : 1, TBD_LOG_LINES_MAX,
                           &query->lines, error);
    case TBD_QUERY_HEARTBEAT:
        return read_number(name, value, 1, TBD_HEARTBEAT_SECONDS_MAX, &query->heartbeat, error);
    case TBD_QUERY_LIMIT:
        return read_number(name, value, 1, TBD_AUDIT_ENTRIES_MAX, &query->limit, error);
    case TBD_QUERY_FORCE: return read_boolean(name, value, &query->force, error);
    case TBD_QUERY_PURGE: return read_boolean(name, value, &query->purge, error);
    case TBD_QUERY_DELETED: return read_boolean(name, value, &query->deleted, error);
    case TBD_QUERY_STATE: query->state = g_strdup(value); return TRUE;
    case TBD_QUERY_NAME: query->name = g_strdup(value); return TRUE;
    case TBD_QUERY_PAGE_TOKEN: query->page_token = g_strdup(value); return TRUE;
    case TBD_QUERY_LABEL:
        if (query->labels->len == TBD_QUERY_LABELS_MAX) {
            tbx_error_set(error, "field-invalid", name, "label comes more than %d times",
                          TBD_QUERY_LABELS_MAX);
            return FALSE;
        }
        g_ptr_array_add(query->labels, g_strdup(value));
        return TRUE;
    case TBD_QUERY_FOLLOW: return read_boolean(name, value, &query->follow, error);
    case TBD_QUERY_SINCE: query->since = g_strdup(value); return TRUE;
    case TBD_QUERY_TYPE: query->type = g_strdup(value); return TRUE;
    case TBD_QUERY_VM: query->vm = g_strdup(value); return TRUE;
    case TBD_QUERY_SOURCE:
        query->source = strcmp(value, "runtime") == 0 ? "runtime" : "console";
        if (strcmp(value, query->source) != 0) {
            tbx_error_set(error, "field-invalid", name, "source must be console or runtime");
            return FALSE;
        }
        return TRUE;
    }
    return FALSE;
}

gboolean tbd_request_read_query(TbdRequest *self, const char *query, TbdQueryFields known,
                                GError **error)
{
    GUriParamsIter iter;
    TbdQueryFields seen = 0;

    if (query == NULL || *query == '\0') {
        return TRUE;
    }
    g_uri_params_iter_init(&iter, query, -1, "&", G_URI_PARAMS_NONE);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        g_autofree char *name = NULL;
        g_autofree char *value = NULL;

        if (!g_uri_params_iter_next(&iter, &name, &value, &failure)) {
            if (failure != NULL) {
                tbx_error_set(error, "request-invalid", NULL, "malformed query");
            }
            return failure == NULL;
        }
        if (!read_parameter(&self->query, name, value, known, &seen, error)) {
            return FALSE;
        }
    }
}

/* ---- body ------------------------------------------------------------------------------------ */

/* Whether what is behind the type is nothing or a charset that is the only one there is. */
static gboolean check_parameters(const char *parameters)
{
    g_autofree char *text = g_strstrip(g_strdup(parameters));

    return *text == '\0' || g_ascii_strcasecmp(text, "charset=utf-8") == 0 ||
           g_ascii_strcasecmp(text, "charset=\"utf-8\"") == 0;
}

static gboolean check_content_type(TbdRequest *self, TbdBodyKind kind, GError **error)
{
    const char *header = tbd_request_get_header(self, "Content-Type");
    const char *end = header != NULL ? header + strcspn(header, ";") : NULL;
    g_autofree char *type = header != NULL ? g_strndup(header, (gsize)(end - header)) : NULL;

    if (type != NULL && check_parameters(*end == ';' ? end + 1 : end) &&
        (g_ascii_strcasecmp(g_strstrip(type), "application/json") == 0 ||
         (kind == TBD_BODY_PATCH &&
          g_ascii_strcasecmp(type, "application/merge-patch+json") == 0))) {
        return TRUE;
    }
    tbx_error_set(error, "request-invalid", "Content-Type",
                  "the body must be of the content type application/json%s, in UTF-8",
                  kind == TBD_BODY_PATCH ? " or application/merge-patch+json" : "");
    return FALSE;
}

gboolean tbd_request_read_body(TbdRequest *self, TbdBodyKind kind, GError **error)
{
    SoupMessageBody *body = soup_server_message_get_request_body(self->message);
    g_autoptr(GBytes) bytes = soup_message_body_flatten(body);
    gsize length;
    const char *text = g_bytes_get_data(bytes, &length);

    if (length == 0 && (kind == TBD_BODY_NONE || kind == TBD_BODY_OPTIONAL)) {
        return TRUE;
    }
    if (kind == TBD_BODY_NONE) {
        tbx_error_set(error, "request-invalid", NULL, "this takes no body");
        return FALSE;
    }
    if (length == 0) {
        tbx_error_set(error, "json-invalid", NULL, "a JSON object is missing in the body");
        return FALSE;
    }
    if (!check_content_type(self, kind, error)) {
        return FALSE;
    }
    self->body = tbx_json_guard_parse_object(text, length, error);
    soup_message_body_truncate(body);
    if (tbd_peer_of(self->message) != NULL) {
        tbd_peer_release_body(tbd_peer_of(self->message));
    }
    return self->body != NULL;
}

/* ---- answers --------------------------------------------------------------------------------- */

void tbd_request_set_answer_header(TbdRequest *self, const char *name, const char *value)
{
    soup_message_headers_replace(soup_server_message_get_response_headers(self->message), name,
                                 value);
}

/* A new thing has no name in the path; its place is in the answer. */
static const char *subject_of(TbdRequest *self)
{
    const char *location = soup_message_headers_get_one(
        soup_server_message_get_response_headers(self->message), "Location");

    if (self->parameters[0] != NULL) {
        return self->parameters[0];
    }
    return location != NULL ? strrchr(location, '/') + 1 : NULL;
}

static void note_answer(TbdRequest *self, guint status)
{
    const char *method = tbd_request_get_method(self);
    g_autofree char *verb =
        g_strconcat(method, self->route != NULL ? " " : NULL, self->route, NULL);
    const TbdEntry entry = {
        .actor = &self->actor,
        .verb = verb,
        .subject = subject_of(self),
        .status = status,
        .code = self->code != NULL ? self->code : self->operation_code,
        .result = self->result,
        .operation = self->operation,
        .request_id = soup_message_headers_get_one(
            soup_server_message_get_response_headers(self->message), "X-Request-Id"),
    };

    tbd_ledger_add_answer(tbd_daemon_get_ledger(self->daemon), &entry,
                          strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0);
}

/* @content_type and @bytes are both NULL for an answer without a body. */
static void answer(TbdRequest *self, guint status, const char *content_type, GBytes *bytes)
{
    TbdPeer *peer = tbd_peer_of(self->message);

    g_return_if_fail(!self->is_answered);
    self->is_answered = TRUE;
    stop_watching(self);
    note_answer(self, status);
    if (self->key != NULL) {
        SoupMessageHeaders *headers = soup_server_message_get_response_headers(self->message);

        tbd_key_answered(g_steal_pointer(&self->key), status, self->code,
                         soup_message_headers_get_one(headers, "Location"),
                         soup_message_headers_get_one(headers, "ETag"), bytes);
    }
    if (self->is_over || peer == NULL) {
        tbd_request_unref(self);
        return;
    }
    if (bytes != NULL) {
        tbd_request_set_answer_header(self, "Content-Type", content_type);
        /* libsoup calls a log that is empty a mistake of ours. */
        if (g_bytes_get_size(bytes) > 0)
            soup_message_body_append_bytes(soup_server_message_get_response_body(self->message),
                                           bytes);
    }
    soup_server_message_set_status(self->message, status, NULL);
    tbd_peer_set_state(peer, TBD_PEER_ANSWER);
    soup_server_message_unpause(self->message);
    tbd_request_unref(self);
}

void tbd_request_reply_bytes(TbdRequest *self, guint status, const char *content_type,
                             GBytes *bytes)
{
    answer(self, status, content_type, bytes);
}

void tbd_request_reply_empty(TbdRequest *self, guint status)
{
    answer(self, status, NULL, NULL);
}

void tbd_request_reply_text(TbdRequest *self, guint status, const char *content_type, char *text)
{
    g_autoptr(GBytes) bytes = g_bytes_new_take(text, strlen(text));

    answer(self, status, content_type, bytes);
}

void tbd_request_reply_json(TbdRequest *self, guint status, const char *location,
                            JsonObject *object)
{
    if (location != NULL) {
        tbd_request_set_answer_header(self, "Location", location);
    }
    tbd_request_reply_text(self, status, "application/json", tbx_json_print_object(object, NULL));
}

void tbd_request_fail(TbdRequest *self, GError *error)
{
    SoupMessageHeaders *headers = soup_server_message_get_response_headers(self->message);
    guint status;
    const char *field;
    char *text;

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED) &&
        tbd_daemon_is_quitting(self->daemon)) {
        g_error_free(error);
        error = tbx_error_new("shutting-down", NULL, "the daemon is shutting down");
    }
    name_files(self, error);
    field = tenbox_error_get_field(error);
    /* Names of headers are capitalized, and the query is read before the body. */
    text =
        tbd_problem_print(error, soup_message_headers_get_one(headers, "X-Request-Id"),
                          self->body != NULL && field != NULL && g_ascii_islower(*field), &status);
    self->code = g_strdup(tenbox_error_get_code(error));
    if (status == 500) {
        g_warning("request %s failed: %s", soup_message_headers_get_one(headers, "X-Request-Id"),
                  error->message);
    }
    g_error_free(error);
    tbd_request_reply_text(self, status, "application/problem+json", text);
}

void tbd_request_reply_list(TbdRequest *self, GAsyncResult *result,
                            JsonObject *(*to_json)(gpointer record))
{
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);
    g_autoptr(JsonObject) object = NULL;
    g_autoptr(GBytes) bytes = NULL;
    JsonArray *items;
    gsize length;
    char *text;

    if (records == NULL) {
        tbd_request_fail(self, error);
        return;
    }
    items = json_array_sized_new(records->len);
    for (guint i = 0; i < records->len; i++) {
        json_array_add_object_element(items, to_json(records->pdata[i]));
    }
    object = json_object_new();
    json_object_set_array_member(object, "items", items);
    text = tbx_json_print_object(object, &length);
    bytes = tbd_daemon_share_bytes(self->daemon, g_bytes_new_take(text, length));
    answer(self, 200, "application/json", bytes);
}

/* ---- taking the connection away from libsoup ------------------------------------------------- */

/* A head, and what happens when it is written. */
typedef struct {
    TbdDaemon *daemon; /* nullable */
    GIOStream *stream;
    TbdPeer *peer;
    char *text;
    TbdUpgradeCallback upgraded; /* NULL: close */
    gpointer user_data;          /* for it */
} Farewell;

static void on_farewell_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Farewell *farewell = user_data;
    gboolean written =
        g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL);

    if (written && farewell->upgraded != NULL) {
        tbd_peer_set_state(farewell->peer, TBD_PEER_WORKING);
        farewell->upgraded(farewell->daemon, farewell->stream, farewell->peer, farewell->user_data);
    } else {
        if (farewell->upgraded != NULL) {
            farewell->upgraded(farewell->daemon, NULL, NULL, farewell->user_data);
        }
        g_io_stream_close(farewell->stream, NULL, NULL);
    }
    tbd_peer_unref(farewell->peer);
    g_object_unref(farewell->stream);
    g_clear_pointer(&farewell->daemon, tbd_daemon_unref);
    g_free(farewell->text);
    g_free(farewell);
}

/* Takes @text. */
static void say_farewell(TbdDaemon *daemon, SoupServerMessage *message, char *text,
                         TbdUpgradeCallback upgraded, gpointer user_data)
{
    Farewell *farewell = g_new0(Farewell, 1);

    farewell->daemon = daemon != NULL ? tbd_daemon_ref(daemon) : NULL;
    farewell->peer = tbd_peer_ref(tbd_peer_of(message));
    farewell->stream = soup_server_message_steal_connection(message);
    farewell->text = text;
    farewell->upgraded = upgraded;
    farewell->user_data = user_data;
    tbd_peer_set_state(farewell->peer, TBD_PEER_ANSWER);
    g_output_stream_write_all_async(g_io_stream_get_output_stream(farewell->stream), text,
                                    strlen(text), G_PRIORITY_DEFAULT, NULL, on_farewell_written,
                                    farewell);
}

void tbd_message_refuse(SoupServerMessage *message, GError *error)
{
    g_autofree char *id = request_id_of(message);
    gboolean is_head = strcmp(soup_server_message_get_method(message), "HEAD") == 0;

    g_debug("request %s refused: %s", id, error->message);
    tbd_peer_note_refusal(tbd_peer_of(message), error, id);
    say_farewell(NULL, message, tbd_problem_print_answer(error, id, is_head), NULL, NULL);
    g_error_free(error);
}

void tbd_request_upgrade(TbdRequest *self, guint status, const char *head,
                         TbdUpgradeCallback callback, gpointer user_data)
{
    self->is_answered = TRUE;
    stop_watching(self);
    note_answer(self, status);
    if (!self->is_over && tbd_peer_of(self->message) != NULL) {
        say_farewell(self->daemon, self->message, g_strdup(head), callback, user_data);
    } else {
        callback(self->daemon, NULL, NULL, user_data);
    }
    tbd_request_unref(self);
}

gboolean tbd_request_takes_chunks(TbdRequest *self)
{
    return soup_server_message_get_http_version(self->message) != SOUP_HTTP_1_0;
}

char *tbd_request_print_head(TbdRequest *self, const char *content_type, gboolean is_chunked)
{
    GString *head = g_string_new("HTTP/1.1 200 OK\r\n");
    SoupMessageHeadersIter iter;
    const char *name, *value;

    tbd_request_set_answer_header(self, "Content-Type", content_type);
    if (is_chunked) {
        tbd_request_set_answer_header(self, "Transfer-Encoding", "chunked");
    }
    soup_message_headers_iter_init(&iter, soup_server_message_get_response_headers(self->message));
    while (soup_message_headers_iter_next(&iter, &name, &value)) {
        g_string_append_printf(head, "%s: %s\r\n", name, value);
    }
    g_string_append(head, "\r\n");
    return g_string_free(head, FALSE);
}
