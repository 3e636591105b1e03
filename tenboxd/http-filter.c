/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checks of a request's head; see http-filter.h.
 *
 * Whoever may open the Unix socket is its owner, so a program that carries other people's requests
 * to it - a reverse proxy, `tailscale serve`, a browser by way of one - would make everybody the
 * owner. Such programs leave marks in the head; a request with one is refused.
 */
#include "tenboxd/http-filter.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-front.h"
#include "tenboxd/http-request.h"

#define RECEIVED_KEY "tbd-received"

/* Marks of browsers and proxies; a name that ends in a hyphen stands for all that begin so. */
static const char *const foreign_marks[] = {
    "Origin",         "Referer",        "Forwarded",   "Via",
    "X-Forwarded-",   "X-Real-IP",      "Sec-Fetch-",  "Tailscale-",
    "CF-Connecting-", "True-Client-IP", "X-Client-IP", "X-Original-",
    "Proxy-",         "Cookie",
};

static gboolean is_foreign_mark(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(foreign_marks); i++) {
        gsize length = strlen(foreign_marks[i]);
        gboolean is_prefix = foreign_marks[i][length - 1] == '-';

        if (is_prefix ? g_ascii_strncasecmp(name, foreign_marks[i], length) == 0
                      : g_ascii_strcasecmp(name, foreign_marks[i]) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What a walk over the fields finds out. */
typedef struct {
    guint field_count;
    gsize size;
    guint host_count;
    guint length_count;
    guint encoding_count;
    const char *length;
    const char *encoding;
    const char *foreign; /* the first mark */
} Head;

static void read_head(SoupMessageHeaders *headers, Head *ret_head)
{
    SoupMessageHeadersIter iter;
    const char *name, *value;

    *ret_head = (Head){0};
    soup_message_headers_iter_init(&iter, headers);
    while (soup_message_headers_iter_next(&iter, &name, &value)) {
        ret_head->field_count++;
        ret_head->size += strlen(name) + strlen(value) + 4;
        ret_head->host_count += g_ascii_strcasecmp(name, "Host") == 0;
        if (g_ascii_strcasecmp(name, "Content-Length") == 0) {
            ret_head->length_count++;
            ret_head->length = value;
        } else if (g_ascii_strcasecmp(name, "Transfer-Encoding") == 0) {
            ret_head->encoding_count++;
            ret_head->encoding = value;
        } else if (ret_head->foreign == NULL && is_foreign_mark(name)) {
            ret_head->foreign = name;
        }
    }
}

static gboolean check_target(SoupServerMessage *message, GError **error)
{
    const char *method = soup_server_message_get_method(message);
    GUri *uri = soup_server_message_get_uri(message);
    const char *path = uri != NULL ? g_uri_get_path(uri) : NULL;
    const char *query = uri != NULL ? g_uri_get_query(uri) : NULL;

    if (strcmp(method, "TRACE") == 0 || strcmp(method, "CONNECT") == 0) {
        tbx_error_set(error, "method-not-allowed", NULL, "%s is not served here", method);
        return FALSE;
    }
    if (path == NULL || g_uri_get_userinfo(uri) != NULL) {
        tbx_error_set(error, "request-invalid", NULL, "malformed request target");
        return FALSE;
    }
    if (strlen(path) + (query != NULL ? strlen(query) : 0) > TBD_TARGET_SIZE_MAX) {
        tbx_error_set(error, "request-invalid", NULL, "the request target has more than %d bytes",
                      TBD_TARGET_SIZE_MAX);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_fields(const Head *head, GError **error)
{
    if (head->field_count > TBD_HEAD_FIELDS_MAX || head->size > TBD_HEAD_SIZE_MAX) {
        tbx_error_set(error, "request-invalid", NULL,
                      "the head has more than %d fields or %d bytes", TBD_HEAD_FIELDS_MAX,
                      TBD_HEAD_SIZE_MAX);
        return FALSE;
    }
    if (head->host_count != 1) {
        tbx_error_set(error, "request-invalid", "Host", "exactly one Host is needed");
        return FALSE;
    }
    if (head->foreign != NULL) {
        tbx_error_set(error, "forbidden", head->foreign,
                      "a request with %s came through a browser or a proxy, and the Unix socket "
                      "serves neither",
                      head->foreign);
        return FALSE;
    }
    return TRUE;
}

/* How long the body is going to be, if it says so; framing that two readers could see differently
 * is refused. */
static gboolean check_framing(const Head *head, GError **error)
{
    guint64 length = 0;

    if (head->length_count + head->encoding_count > 1) {
        tbx_error_set(error, "request-invalid", "Content-Length",
                      "one Content-Length or one Transfer-Encoding may be given, not more");
        return FALSE;
    }
    if (head->encoding_count == 1 && g_ascii_strcasecmp(head->encoding, "chunked") != 0) {
        tbx_error_set(error, "request-invalid", "Transfer-Encoding",
                      "the only Transfer-Encoding served here is chunked");
        return FALSE;
    }
    if (head->length_count == 1 &&
        (strspn(head->length, "0123456789") != strlen(head->length) ||
         !g_ascii_string_to_unsigned(head->length, 10, 0, G_MAXINT64, &length, NULL))) {
        tbx_error_set(error, "request-invalid", "Content-Length", "Content-Length is no number");
        return FALSE;
    }
    if (length > TBD_BODY_SIZE_MAX) {
        tbx_error_set(error, "body-too-large", NULL, "the body has more than %d bytes",
                      TBD_BODY_SIZE_MAX);
        return FALSE;
    }
    return TRUE;
}

/* ---- a chunked body that grows too large ----------------------------------------------------- */

static gboolean on_body_too_large(gpointer user_data)
{
    SoupServerMessage *message = user_data;

    if (tbd_peer_of(message) != NULL) {
        tbd_message_refuse(message,
                           tbx_error_new("body-too-large", NULL, "the body has more than %d bytes",
                                         TBD_BODY_SIZE_MAX));
    }
    return G_SOURCE_REMOVE;
}

static void on_got_chunk(SoupServerMessage *message, GBytes *chunk, gpointer user_data)
{
    guint received = GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(message), RECEIVED_KEY));

    if (received > TBD_BODY_SIZE_MAX) {
        return;
    }
    received += (guint)MIN(g_bytes_get_size(chunk), G_MAXINT / 2);
    g_object_set_data(G_OBJECT(message), RECEIVED_KEY, GUINT_TO_POINTER(received));
    if (received > TBD_BODY_SIZE_MAX) {
        /* Not from inside libsoup's read loop. */
        soup_server_message_pause(message);
        g_idle_add_full(G_PRIORITY_DEFAULT, on_body_too_large, g_object_ref(message),
                        g_object_unref);
    }
}

/* ---- where the connection stands ------------------------------------------------------------- */

static void on_got_body(SoupServerMessage *message, gpointer user_data)
{
    TbdPeer *peer = tbd_peer_of(message);

    if (peer != NULL) {
        tbd_peer_set_state(peer, TBD_PEER_WORKING);
    }
}

static void on_head(SoupServer *server, SoupServerMessage *message, const char *path,
                    GHashTable *query, gpointer user_data)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    TbdPeer *peer = tbd_peer_of(message);
    GError *error = NULL;
    Head head;

    if (peer == NULL) {
        soup_server_message_set_status(message, SOUP_STATUS_SERVICE_UNAVAILABLE, NULL);
        return;
    }
    read_head(headers, &head);
    if (!check_fields(&head, &error) || !check_target(message, &error) ||
        !check_framing(&head, &error)) {
        tbd_message_refuse(message, error);
        return;
    }
    /* libsoup would cut answers into ranges by itself, wrongly. */
    soup_message_headers_remove(headers, "Range");
    tbd_peer_set_state(peer, TBD_PEER_BODY);
    g_signal_connect(message, "got-chunk", G_CALLBACK(on_got_chunk), NULL);
    g_signal_connect(message, "got-body", G_CALLBACK(on_got_body), NULL);
}

void tbd_filter_install(SoupServer *server)
{
    soup_server_add_early_handler(server, "/", on_head, NULL, NULL);
    soup_server_add_early_handler(server, "*", on_head, NULL, NULL);
}
