/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HTTP to a daemon over its Unix socket, by libsoup's session; see http-client.h.
 *
 * libsoup knows no time-out that fits (its own one counts idle sockets), so each request has a
 * GCancellable of its own on which the caller's cancellable, a timer and the closing of the client
 * act; `reason` says afterwards which of them it was. The body is read by us, in pieces and up to a
 * limit.
 *
 * Requests that change something get a fresh connection: on a kept one that the daemon has just
 * closed nobody could tell whether the request arrived, and it could not be sent again.
 */
#include "libtenbox/remote/http-client.h"

#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <libsoup/soup.h>
#include <string.h>
#include <unistd.h>

#include "libtenbox/tenbox-version.h"
#include "libtenbox/wire/socket-address.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"

#define PIECE_SIZE      (16 * 1024)
#define CONNECTIONS_MAX 256
#define SOCKET_PATH_MAX 107

struct _TbxHttpClient {
    grefcount references;
    char *socket_path;
    GSocketAddress *address;
    int folder; /* -1, or the socket's folder when the path is too long for an address */
    SoupSession *session;
    GList *requests; /* of Request */
    GList *bodies;   /* of TbxHttpBody */
    gboolean is_closed;
};

typedef enum {
    REASON_NONE,
    REASON_NOT_SENT,
    REASON_NOT_ANSWERED,
    REASON_CLOSED,
} Reason;

typedef struct {
    TbxHttpClient *client;
    GTask *task;
    SoupMessage *message;
    GCancellable *cancellable;
    gulong withdrawal; /* handler on the caller's cancellable */
    GSource *timer;
    guint answer_seconds;
    Reason reason;
    GInputStream *input;
    GByteArray *body;
    gboolean is_open;  /* the task wants the body as it comes */
    gboolean is_sent;  /* all of it, at least once */
    GBytes *sent_body; /* nullable */
    guint retries;     /* how often it may be sent again */
    guint retry_ms;    /* how long before the next time */
} Request;

struct _TbxHttpBody {
    TbxHttpClient *client; /* NULL once freed by its owner */
    char *socket_path;
    GInputStream *input;
    GCancellable *cancellable; /* of the read below */
    gboolean is_reading;
    GTask *task; /* nullable: who waits for it */
    gsize maximum;
    GSource *withdrawal;
    GBytes *unread; /* nullable: came after the reader had withdrawn, or is more than he wanted */
};

void tbx_http_answer_free(TbxHttpAnswer *self)
{
    if (!self)
        return;
    g_free(self->content_type);
    g_free(self->body);
    g_free(self);
}

/* ---- the client --------------------------------------------------------------------------- */

/* The kernel takes at most 107 bytes of path; a longer one is reached through its folder's
 * descriptor. */
static GSocketAddress *address_of(const char *path, int *ret_folder, GError **error)
{
    *ret_folder = -1;
    if (strlen(path) <= SOCKET_PATH_MAX)
        return g_unix_socket_address_new(path);
#ifdef __linux__
    g_autofree char *folder_path = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    int folder = open(folder_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        struct sockaddr_un address;
        if (tbx_socket_address_fill(&address, folder, name)) {
            *ret_folder = folder;
            return g_unix_socket_address_new(address.sun_path);
        }
        close(folder);
    } else {
        int code = errno;
        tbx_error_set(error, "daemon-unreachable", NULL, "no daemon answers at %s: %s", path,
                      g_strerror(code));
        return NULL;
    }
#endif
    tbx_error_set(error, "field-invalid", "uri", "the path of the socket is too long: %s", path);
    return NULL;
}

TbxHttpClient *tbx_http_client_new(const char *socket_path, GError **error)
{
    int folder = -1;
    g_autoptr(GSocketAddress) address = address_of(socket_path, &folder, error);
    if (!address)
        return NULL;

    TbxHttpClient *self = g_new0(TbxHttpClient, 1);
    g_ref_count_init(&self->references);
    self->socket_path = g_strdup(socket_path);
    self->address = g_steal_pointer(&address);
    self->folder = folder;
    self->session = soup_session_new_with_options(
        "remote-connectable", self->address, "max-conns", CONNECTIONS_MAX, "max-conns-per-host",
        CONNECTIONS_MAX, "proxy-resolver", NULL, "user-agent", "tenbox/" TBX_VERSION, "timeout", 0,
        "idle-timeout", 30, NULL);
    soup_session_remove_feature_by_type(self->session, SOUP_TYPE_CONTENT_DECODER);
    return self;
}

TbxHttpClient *tbx_http_client_ref(TbxHttpClient *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_http_client_unref(TbxHttpClient *self)
{
    if (!self || !g_ref_count_dec(&self->references))
        return;
    g_object_unref(self->session);
    g_object_unref(self->address);
    g_free(self->socket_path);
    if (self->folder >= 0)
        close(self->folder);
    g_free(self);
}

static void stop(Request *request, Reason reason)
{
    if (request->reason == REASON_NONE)
        request->reason = reason;
    g_cancellable_cancel(request->cancellable);
}

void tbx_http_client_close(TbxHttpClient *self)
{
    self->is_closed = TRUE;
    for (GList *node = self->requests; node; node = node->next)
        stop(node->data, REASON_CLOSED);
    for (GList *node = self->bodies; node; node = node->next)
        g_cancellable_cancel(((TbxHttpBody *)node->data)->cancellable);
}

GSocketConnectable *tbx_http_client_get_address(TbxHttpClient *self)
{
    return G_SOCKET_CONNECTABLE(self->address);
}

GError *tbx_http_client_explain(TbxHttpClient *self, GError *error)
{
    GError *own;

    if (error->domain == TENBOX_ERROR || g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return error;
    if (error->domain == SOUP_SESSION_ERROR) {
        own = tbx_error_new("protocol-error", NULL, "what answers at %s is no TenBox daemon: %s",
                            self->socket_path, error->message);
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED)) {
        own = tbx_error_new("forbidden", NULL, "you are not allowed to connect to %s",
                            self->socket_path);
    } else {
        gboolean is_missing = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
        gboolean is_silent = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
        own = tbx_error_new("daemon-unreachable", NULL, "no daemon answers at %s: %s",
                            self->socket_path,
                            is_missing  ? "there is no such socket"
                            : is_silent ? "nothing listens there any more"
                                        : error->message);
    }
    g_error_free(error);
    return own;
}

/* ---- one request -------------------------------------------------------------------------- */

static void request_free(Request *request)
{
    TbxHttpClient *client = request->client;

    client->requests = g_list_remove(client->requests, request);
    if (request->withdrawal)
        g_cancellable_disconnect(g_task_get_cancellable(request->task), request->withdrawal);
    tbx_source_clear(&request->timer);
    g_signal_handlers_disconnect_by_data(request->message, request);
    g_clear_object(&request->input);
    g_clear_pointer(&request->body, g_byte_array_unref);
    g_clear_pointer(&request->sent_body, g_bytes_unref);
    g_object_unref(request->message);
    g_object_unref(request->cancellable);
    g_object_unref(request->task);
    g_free(request);
    tbx_http_client_unref(client);
}

static void send_again(Request *request);

static gboolean on_retry(gpointer user_data)
{
    send_again(user_data);
    return G_SOURCE_REMOVE;
}

/* Whether the connection broke under a request that may have arrived, and that may be sent again; then it
 * will be. */
static gboolean may_retry(Request *request, const GError *error)
{
    if (request->reason != REASON_NONE || !request->is_sent || request->retries == 0 ||
        error->domain == TENBOX_ERROR || g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED) ||
        g_cancellable_is_cancelled(request->cancellable))
        return FALSE;
    request->retries--;
    tbx_source_clear(&request->timer);
    request->timer = g_timeout_source_new(request->retry_ms);
    request->retry_ms *= 2;
    /* Who withdraws meanwhile, or closes, is answered by the next attempt, which is then at once. */
    g_autoptr(GSource) stopped = g_cancellable_source_new(request->cancellable);
    g_source_set_dummy_callback(stopped);
    g_source_add_child_source(request->timer, stopped);
    g_source_set_callback(request->timer, on_retry, request, NULL);
    g_source_attach(request->timer, g_task_get_context(request->task));
    return TRUE;
}

/* @error (transfer full) is what libsoup says; what we did ourselves says more. */
static void fail(Request *request, GError *error)
{
    if (may_retry(request, error)) {
        g_error_free(error);
        return;
    }
    const char *path = request->client->socket_path;
    GError *own = NULL;

    switch (request->reason) {
    case REASON_NONE:
        own = tbx_http_client_explain(request->client, g_steal_pointer(&error));
        break;
    case REASON_NOT_SENT:
        own = tbx_error_new("timed-out", NULL, "the daemon at %s took no request within %d seconds",
                            path, TBX_HTTP_CONNECT_SECONDS);
        break;
    case REASON_NOT_ANSWERED:
        own = tbx_error_new("timed-out", NULL, "the daemon at %s did not answer within %u seconds",
                            path, request->answer_seconds);
        break;
    case REASON_CLOSED:
        own = tbx_error_new("closed", NULL, "the connection to %s was closed", path);
        break;
    }
    g_clear_error(&error);
    g_task_return_error(request->task, own);
    request_free(request);
}

static GError *error_of_answer(Request *request, const TbxHttpAnswer *answer)
{
    const char *path = request->client->socket_path;

    if (g_strcmp0(answer->content_type, "application/problem+json") == 0) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) problem = tbx_http_answer_parse(answer, &error);
        return problem ? tbx_error_from_problem(problem, answer->status) : g_steal_pointer(&error);
    }
    return tbx_error_new("protocol-error", NULL,
                         "what answers at %s is no TenBox daemon: status %u, content type %s", path,
                         answer->status, answer->content_type ? answer->content_type : "unknown");
}

/* For whoever debugs a program: what the daemon's log calls this request. */
static const char *request_id_of(SoupMessage *message)
{
    const char *id =
        soup_message_headers_get_one(soup_message_get_response_headers(message), "X-Request-Id");

    return id ? id : "unnamed";
}

static void answer(Request *request)
{
    g_autoptr(TbxHttpAnswer) answer = g_new0(TbxHttpAnswer, 1);
    const char *type = soup_message_headers_get_content_type(
        soup_message_get_response_headers(request->message), NULL);

    answer->status = soup_message_get_status(request->message);
    g_debug("%s %s: status %u, request %s", soup_message_get_method(request->message),
            g_uri_get_path(soup_message_get_uri(request->message)), answer->status,
            request_id_of(request->message));
    answer->content_type = type ? g_ascii_strdown(type, -1) : NULL;
    answer->length = request->body->len;
    g_byte_array_append(request->body, (const guint8 *)"", 1);
    answer->body = (char *)g_byte_array_free(g_steal_pointer(&request->body), FALSE);

    if (SOUP_STATUS_IS_SUCCESSFUL(answer->status))
        g_task_return_pointer(request->task, g_steal_pointer(&answer),
                              (GDestroyNotify)tbx_http_answer_free);
    else
        g_task_return_error(request->task, error_of_answer(request, answer));
    request_free(request);
}

static void on_piece(GObject *source, GAsyncResult *result, gpointer user_data);

static void read_piece(Request *request)
{
    g_input_stream_read_bytes_async(request->input, PIECE_SIZE, G_PRIORITY_DEFAULT,
                                    request->cancellable, on_piece, request);
}

static void on_piece(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Request *request = user_data;
    GError *error = NULL;
    g_autoptr(GBytes) piece = g_input_stream_read_bytes_finish(request->input, result, &error);

    if (!piece) {
        fail(request, error);
        return;
    }
    gsize size = g_bytes_get_size(piece);
    if (size == 0) {
        answer(request);
        return;
    }
    if (size > TBX_HTTP_BODY_MAX - request->body->len) {
        g_cancellable_cancel(request->cancellable);
        fail(request, tbx_error_new("protocol-error", NULL,
                                    "the answer of the daemon at %s is larger than %d bytes",
                                    request->client->socket_path, TBX_HTTP_BODY_MAX));
        return;
    }
    g_byte_array_append(request->body, g_bytes_get_data(piece, NULL), (guint)size);
    read_piece(request);
}

static void hand_body_over(Request *request)
{
    TbxHttpBody *body = g_new0(TbxHttpBody, 1);

    body->client = tbx_http_client_ref(request->client);
    body->client->bodies = g_list_prepend(body->client->bodies, body);
    body->socket_path = g_strdup(request->client->socket_path);
    body->input = g_steal_pointer(&request->input);
    body->cancellable = g_cancellable_new();
    g_task_return_pointer(request->task, body, (GDestroyNotify)tbx_http_body_free);
    request_free(request);
}

static void on_answered(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Request *request = user_data;
    GError *error = NULL;

    request->input = soup_session_send_finish(SOUP_SESSION(source), result, &error);
    if (request->input && request->is_open &&
        SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(request->message)))
        hand_body_over(request);
    else if (request->input)
        read_piece(request);
    else
        fail(request, error);
}

static gboolean on_time_over(gpointer user_data)
{
    Request *request = user_data;
    gboolean is_sent = request->is_sent;

    g_clear_pointer(&request->timer, g_source_unref);
    stop(request, is_sent ? REASON_NOT_ANSWERED : REASON_NOT_SENT);
    return G_SOURCE_REMOVE;
}

static void start_timer(Request *request, guint seconds)
{
    tbx_source_clear(&request->timer);
    request->timer = g_timeout_source_new_seconds(seconds);
    g_source_set_callback(request->timer, on_time_over, request, NULL);
    g_source_attach(request->timer, g_task_get_context(request->task));
}

static void on_sent(SoupMessage *message, gpointer user_data)
{
    Request *request = user_data;

    request->is_sent = TRUE;
    start_timer(request, request->answer_seconds);
}

/* In whatever thread the caller cancels in. */
static void on_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    g_cancellable_cancel(user_data);
}

/* Sends request->message. */
static void begin(Request *request)
{
    g_signal_connect(request->message, "wrote-body", G_CALLBACK(on_sent), request);
    start_timer(request, TBX_HTTP_CONNECT_SECONDS);
    soup_session_send_async(request->client->session, request->message, G_PRIORITY_DEFAULT,
                            request->cancellable, on_answered, request);
}

/* The same once more, by a message of its own: libsoup has done with the other. */
static void send_again(Request *request)
{
    static const char *const names[] = {"If-Match", "Idempotency-Key"};
    g_autoptr(SoupMessage) before = request->message;

    request->message =
        soup_message_new_from_uri(soup_message_get_method(before), soup_message_get_uri(before));
    soup_message_set_flags(request->message, soup_message_get_flags(before));
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value =
            soup_message_headers_get_one(soup_message_get_request_headers(before), names[i]);
        if (value)
            soup_message_headers_replace(soup_message_get_request_headers(request->message),
                                         names[i], value);
    }
    if (request->sent_body)
        soup_message_set_request_body_from_bytes(request->message, "application/json",
                                                 request->sent_body);
    g_signal_handlers_disconnect_by_data(before, request);
    g_clear_object(&request->input);
    g_byte_array_set_size(request->body, 0);
    begin(request);
}

static void send_request(TbxHttpClient *self, const TbxHttpRequest *description, gboolean is_open,
                         GTask *task)
{
    g_autoptr(GTask) owned_task = task;

    if (self->is_closed) {
        g_task_return_error(task, tbx_error_new("closed", NULL, "the connection to %s was closed",
                                                self->socket_path));
        return;
    }
    if (g_task_return_error_if_cancelled(task))
        return;

    g_autofree char *uri = g_strconcat("http://localhost", description->target, NULL);
    SoupMessage *message = soup_message_new(description->method, uri);
    if (!message) {
        g_task_return_error(
            task, tbx_error_new("internal", NULL, "%s is no request target", description->target));
        return;
    }
    soup_message_add_flags(message, SOUP_MESSAGE_NO_REDIRECT);
    if (is_open || strcmp(description->method, "GET") != 0)
        soup_message_add_flags(message, SOUP_MESSAGE_NEW_CONNECTION);
    SoupMessageHeaders *headers = soup_message_get_request_headers(message);
    if (description->if_match)
        soup_message_headers_replace(headers, "If-Match", description->if_match);
    if (description->idempotency_key)
        soup_message_headers_replace(headers, "Idempotency-Key", description->idempotency_key);
    g_autoptr(GBytes) bytes = NULL;
    if (description->body) {
        gsize length;
        char *text = tbx_json_print_object(description->body, &length);
        bytes = g_bytes_new_take(text, length);
        soup_message_set_request_body_from_bytes(message, "application/json", bytes);
    }

    Request *request = g_new0(Request, 1);
    request->client = tbx_http_client_ref(self);
    request->task = g_steal_pointer(&owned_task);
    request->message = message;
    request->cancellable = g_cancellable_new();
    request->answer_seconds = description->answer_seconds;
    request->body = g_byte_array_new();
    request->is_open = is_open;
    request->sent_body = g_steal_pointer(&bytes);
    self->requests = g_list_prepend(self->requests, request);
    if (g_task_get_cancellable(task))
        request->withdrawal =
            g_cancellable_connect(g_task_get_cancellable(task), G_CALLBACK(on_withdrawn),
                                  g_object_ref(request->cancellable), g_object_unref);
    if (description->idempotency_key) {
        request->retries = TBX_HTTP_RETRIES;
        request->retry_ms = TBX_HTTP_RETRY_MS;
    }
    begin(request);
}

void tbx_http_client_send(TbxHttpClient *self, const TbxHttpRequest *description, GTask *task)
{
    send_request(self, description, FALSE, task);
}

void tbx_http_client_open(TbxHttpClient *self, const TbxHttpRequest *description, GTask *task)
{
    send_request(self, description, TRUE, task);
}

/* ---- a body that is read as it comes ------------------------------------------------------- */

static void body_drop(TbxHttpBody *self)
{
    g_clear_pointer(&self->unread, g_bytes_unref);
    g_object_unref(self->input);
    g_object_unref(self->cancellable);
    g_free(self->socket_path);
    g_free(self);
}

static GTask *body_take_task(TbxHttpBody *self)
{
    tbx_source_clear(&self->withdrawal);
    return g_steal_pointer(&self->task);
}

/* Gives the waiting reader, if there is one, of what there is. */
static void body_serve(TbxHttpBody *self)
{
    if (!self->task || !self->unread)
        return;

    g_autoptr(GTask) task = body_take_task(self);
    g_autoptr(GBytes) bytes = g_steal_pointer(&self->unread);
    gsize size = g_bytes_get_size(bytes);
    if (size > self->maximum) {
        GBytes *first = g_bytes_new_from_bytes(bytes, 0, self->maximum);
        self->unread = g_bytes_new_from_bytes(bytes, self->maximum, size - self->maximum);
        g_bytes_unref(bytes);
        bytes = first;
    }
    g_task_return_pointer(task, g_steal_pointer(&bytes), (GDestroyNotify)g_bytes_unref);
}

static void on_body_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbxHttpBody *self = user_data;
    GError *error = NULL;
    GBytes *bytes = g_input_stream_read_bytes_finish(self->input, result, &error);

    self->is_reading = FALSE;
    if (!self->client) {
        g_clear_pointer(&bytes, g_bytes_unref);
        g_clear_error(&error);
        body_drop(self);
        return;
    }
    if (bytes) {
        self->unread = bytes;
        body_serve(self);
        return;
    }
    g_autoptr(GTask) task = body_take_task(self);
    GError *own =
        self->client->is_closed
            ? tbx_error_new("closed", NULL, "the connection to %s was closed", self->socket_path)
            : tbx_error_new("daemon-unreachable", NULL,
                            "the connection to the daemon at %s broke: %s", self->socket_path,
                            error->message);
    g_error_free(error);
    if (task)
        g_task_return_error(task, own);
    else
        g_error_free(own); /* the next read learns of it from the stream */
}

static gboolean on_body_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    g_autoptr(GTask) task = body_take_task(user_data);

    g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_CANCELLED, "the request was withdrawn");
    return G_SOURCE_REMOVE;
}

void tbx_http_body_read(TbxHttpBody *self, gsize maximum, GTask *task)
{
    if (self->task || maximum == 0) {
        g_task_return_error(task, tbx_error_new("internal", NULL, "One read at a time"));
        g_object_unref(task);
        return;
    }
    self->task = task;
    self->maximum = maximum;
    if (self->unread) {
        body_serve(self);
        return;
    }
    if (g_task_get_cancellable(task)) {
        self->withdrawal = g_cancellable_source_new(g_task_get_cancellable(task));
        g_source_set_callback(self->withdrawal, G_SOURCE_FUNC(on_body_withdrawn), self, NULL);
        g_source_attach(self->withdrawal, g_task_get_context(task));
    }
    if (self->is_reading)
        return;
    self->is_reading = TRUE;
    g_input_stream_read_bytes_async(self->input, PIECE_SIZE, G_PRIORITY_DEFAULT, self->cancellable,
                                    on_body_read, self);
}

void tbx_http_body_free(TbxHttpBody *self)
{
    if (!self)
        return;

    g_autoptr(TbxHttpClient) client = g_steal_pointer(&self->client);
    g_autoptr(GTask) task = body_take_task(self);
    client->bodies = g_list_remove(client->bodies, self);
    g_cancellable_cancel(self->cancellable);
    if (task)
        g_task_return_error(task, tbx_error_new("closed", NULL, "the log was closed"));
    if (!self->is_reading)
        body_drop(self);
}

JsonObject *tbx_http_answer_parse(const TbxHttpAnswer *self, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    const char *type = self->content_type ? self->content_type : "unknown";

    if (strcmp(type, "application/json") != 0 && strcmp(type, "application/problem+json") != 0) {
        tbx_error_set(error, "protocol-error", NULL,
                      "the daemon's answer is no JSON but of the content type %s", type);
        return NULL;
    }
    JsonObject *object = tbx_json_guard_parse_answer(self->body, self->length, &own_error);
    if (!object)
        tbx_error_set(error, "protocol-error", NULL, "the daemon's answer is not valid: %s",
                      own_error->message);
    return object;
}
