/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The strict reader of heads; see http-head.h.
 */
#include "tenboxd/http-head.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-limits.h"

#define METHOD_SIZE_MAX 32
#define NAME_SIZE_MAX   256

/* Marks of browsers and proxies; a name that ends in a hyphen stands for all that begin so. */
static const char *const foreign_marks[] = {
    "Origin",
    "Referer",
    "Cookie",
    "Forwarded",
    "Via",
    "CDN-Loop",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded",
    "X-Forwarded-",
    "X-Real-IP",
    "X-Original-",
    "X-Rewrite-URL",
    "X-Envoy-",
    "CF-",
    "Proxy-",
    "Tailscale-",
    "Sec-Fetch-",
    "Sec-CH-",
    "Sec-Purpose",
    "Access-Control-",
    "Upgrade-Insecure-Requests",
    "Service-Worker",
    "Service-Worker-",
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

void tbd_head_clear(TbdHead *self)
{
    g_free(self->method);
    g_free(self->path);
    g_free(self->query);
    g_free(self->request_id);
    *self = (TbdHead){0};
}

static gboolean refuse(GError **error, const char *field, const char *why)
{
    tbx_error_set(error, "request-invalid", field, "%s", why);
    return FALSE;
}

gsize tbd_head_find_end(const char *data, gsize length, GError **error)
{
    for (gsize i = 0; i < length; i++) {
        guchar byte = (guchar)data[i];

        if (i >= TBD_HEAD_SIZE_MAX) {
            tbx_error_set(error, "request-invalid", NULL, "the head has more than %d bytes",
                          TBD_HEAD_SIZE_MAX);
            return 0;
        }
        if ((byte < 0x20 && byte != '\t' && byte != '\r' && byte != '\n') || byte == 0x7f ||
            (byte == '\n' && (i == 0 || data[i - 1] != '\r')) ||
            (byte != '\n' && i > 0 && data[i - 1] == '\r')) {
            refuse(error, NULL, "that is not the head of an HTTP request");
            return 0;
        }
        if (byte == '\n' && i >= 3 && data[i - 2] == '\n') {
            return i + 1;
        }
    }
    return 0;
}

/* ---- the first line --------------------------------------------------------------------------- */

static gboolean is_token_byte(char byte)
{
    return g_ascii_isalnum(byte) || (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static gboolean is_token(const char *text)
{
    const char *byte = text;

    while (is_token_byte(*byte)) {
        byte++;
    }
    return byte > text && *byte == '\0';
}

static gboolean has_dot_segment(const char *path)
{
    while (*path == '/') {
        gsize length = strcspn(++path, "/");

        if ((length == 1 || length == 2) && strspn(path, ".") >= length) {
            return TRUE;
        }
        path += length;
    }
    return FALSE;
}

static gboolean check_target(const char *target, GError **error)
{
    if (strlen(target) > TBD_TARGET_SIZE_MAX) {
        tbx_error_set(error, "request-invalid", NULL, "the request target has more than %d bytes",
                      TBD_TARGET_SIZE_MAX);
        return FALSE;
    }
    for (const char *byte = target; *byte != '\0'; byte++) {
        if (*byte <= ' ' || *byte > '~' || *byte == '#') {
            return refuse(error, NULL, "malformed request target");
        }
        if (*byte == '%' && !(g_ascii_isxdigit(byte[1]) && g_ascii_isxdigit(byte[2]))) {
            return refuse(error, NULL,
                          "each percent sign in the request target needs two hexadecimal digits");
        }
    }
    return TRUE;
}

static gboolean parse_target(TbdHead *head, const char *target, GError **error)
{
    const char *query = strchr(target, '?');

    if (!check_target(target, error)) {
        return FALSE;
    }
    if (*target != '/' && !(strcmp(target, "*") == 0 && strcmp(head->method, "OPTIONS") == 0)) {
        return refuse(error, NULL, "a request target begins with a slash: this is no proxy");
    }
    head->path = query != NULL ? g_strndup(target, (gsize)(query - target)) : g_strdup(target);
    head->query = query != NULL ? g_strdup(query + 1) : NULL;
    if (has_dot_segment(head->path)) {
        tbx_error_set(error, "not-found", NULL, "there is no %s here", head->path);
        return FALSE;
    }
    return TRUE;
}

static gboolean parse_first_line(TbdHead *head, const char *line, gboolean *ret_is_old,
                                 GError **error)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 4);

    if (g_strv_length(words) != 3 || !is_token(words[0]) ||
        (strcmp(words[2], "HTTP/1.1") != 0 && strcmp(words[2], "HTTP/1.0") != 0)) {
        return refuse(error, NULL, "that is not the head of an HTTP/1.1 request");
    }
    if (strlen(words[0]) > METHOD_SIZE_MAX) {
        return refuse(error, NULL, "there is no method with so long a name");
    }
    head->method = g_strdup(words[0]);
    *ret_is_old = strcmp(words[2], "HTTP/1.0") == 0;
    if (strcmp(head->method, "TRACE") == 0 || strcmp(head->method, "CONNECT") == 0) {
        tbx_error_set(error, "method-not-allowed", NULL, "%s is not served here", head->method);
        return FALSE;
    }
    return parse_target(head, words[1], error);
}

/* ---- fields ----------------------------------------------------------------------------------- */

/* Of each field that is looked at: how often it comes, and its last value. */
typedef struct {
    guint count;
    char *value;
} Field;

enum {
    FIELD_HOST,
    FIELD_LENGTH,
    FIELD_TRANSFER,
    FIELD_CONTENT,
    FIELD_EXPECT,
    FIELD_UPGRADE,
    FIELD_ID,
    FIELDS
};

static const char *const field_names[FIELDS] = {
    "Host",   "Content-Length", "Transfer-Encoding", "Content-Encoding",
    "Expect", "Upgrade",        "X-Request-Id",
};

typedef struct {
    Field fields[FIELDS];
    char *foreign; /* nullable: the first mark */
} Fields;

static void fields_clear(Fields *self)
{
    for (guint i = 0; i < FIELDS; i++) {
        g_free(self->fields[i].value);
    }
    g_free(self->foreign);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fields, fields_clear)

static gboolean parse_field(Fields *self, const char *line, GError **error)
{
    const char *colon = strchr(line, ':');
    g_autofree char *name = colon != NULL ? g_strndup(line, (gsize)(colon - line)) : NULL;

    if (name == NULL || !is_token(name) || strlen(name) > NAME_SIZE_MAX) {
        return refuse(error, NULL, "malformed field in the head of the request");
    }
    for (guint i = 0; i < FIELDS; i++) {
        if (g_ascii_strcasecmp(name, field_names[i]) == 0) {
            self->fields[i].count++;
            g_free(self->fields[i].value);
            self->fields[i].value = g_strstrip(g_strdup(colon + 1));
        }
    }
    if (self->foreign == NULL && is_foreign_mark(name)) {
        self->foreign = g_steal_pointer(&name);
    }
    return TRUE;
}

/* NAME[:PORT] for a name without a dot, or a loopback address. What else a Host may be, a browser
 * was led to send: a name of somebody else's domain that points at this machine. */
static gboolean check_host(const Field *host, GError **error)
{
    const char *value = host->value, *port;
    gsize length;
    guint64 number;

    if (host->count != 1) {
        return refuse(error, "Host", "exactly one Host is needed");
    }
    length = *value == '[' ? strcspn(value, "]") + 1 : strcspn(value, ":");
    length = MIN(length, strlen(value));
    port = value + length;
    for (gsize i = 0; i < length; i++) {
        if (!g_ascii_isalnum(value[i]) &&
            strchr(*value == '[' ? "[:]." : "._-", value[i]) == NULL) {
            return refuse(error, "Host", "malformed Host");
        }
    }
    if (length == 0 || (*value == '[' && value[length - 1] != ']') ||
        (*port != '\0' && (*port != ':' || !g_ascii_string_to_unsigned(port + 1, 10, 0, G_MAXUINT16,
                                                                       &number, NULL)))) {
        return refuse(error, "Host", "malformed Host");
    }
    if ((memchr(value, '.', length) != NULL || *value == '[') &&
        !(length == strlen("127.0.0.1") && memcmp(value, "127.0.0.1", length) == 0) &&
        !(length == strlen("[::1]") && memcmp(value, "[::1]", length) == 0)) {
        tbx_error_set(error, "host-not-allowed", "Host",
                      "the Unix socket is localhost, not %.*s: the Host of a request to it has no "
                      "dot",
                      (int)MIN(length, 255), value);
        return FALSE;
    }
    return TRUE;
}

/* How the body is framed; what two readers could see differently is refused. */
static gboolean check_framing(TbdHead *head, const Fields *fields, gboolean is_old, GError **error)
{
    const Field *length = &fields->fields[FIELD_LENGTH];
    const Field *transfer = &fields->fields[FIELD_TRANSFER];

    if (length->count + transfer->count > 1) {
        return refuse(error, length->count > 0 ? "Content-Length" : "Transfer-Encoding",
                      "one Content-Length or one Transfer-Encoding may be given, not more");
    }
    if (transfer->count == 1 && (is_old || g_ascii_strcasecmp(transfer->value, "chunked") != 0)) {
        return refuse(error, "Transfer-Encoding",
                      "the only Transfer-Encoding served here is chunked, in HTTP/1.1");
    }
    if (fields->fields[FIELD_CONTENT].count > 0) {
        return refuse(error, "Content-Encoding", "bodies are taken as they are, without encoding");
    }
    if (fields->fields[FIELD_EXPECT].count > 0 &&
        (fields->fields[FIELD_EXPECT].count > 1 ||
         g_ascii_strcasecmp(fields->fields[FIELD_EXPECT].value, "100-continue") != 0)) {
        return refuse(error, "Expect", "the only thing to expect is 100-continue");
    }
    head->is_chunked = transfer->count == 1;
    if (length->count == 1 &&
        (strspn(length->value, "0123456789") != strlen(length->value) ||
         !g_ascii_string_to_unsigned(length->value, 10, 0, G_MAXINT64, &head->length, NULL))) {
        return refuse(error, "Content-Length", "Content-Length is no number");
    }
    if (head->length > TBD_BODY_SIZE_MAX) {
        tbx_error_set(error, "body-too-large", NULL, "the body has more than %d bytes",
                      TBD_BODY_SIZE_MAX);
        return FALSE;
    }
    return TRUE;
}

static void take_request_id(TbdHead *head, const Field *id)
{
    static const char harmless[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

    if (id->count == 1 && *id->value != '\0' && strlen(id->value) <= TBD_REQUEST_ID_MAX &&
        strspn(id->value, harmless) == strlen(id->value)) {
        head->request_id = g_strdup(id->value);
    }
}

gboolean tbd_head_parse(const char *data, gsize length, TbdHead *ret_head, GError **error)
{
    g_autofree char *text = g_strndup(data, length);
    g_auto(GStrv) lines = g_strsplit(text, "\r\n", -1);
    g_auto(Fields) fields = {0};
    gboolean is_old = FALSE;

    *ret_head = (TbdHead){0};
    if (!parse_first_line(ret_head, lines[0], &is_old, error)) {
        return FALSE;
    }
    /* The last two are the empty line and what is behind it: nothing. */
    for (guint i = 1; *lines[i] != '\0'; i++) {
        if (i > TBD_HEAD_FIELDS_MAX) {
            tbx_error_set(error, "request-invalid", NULL, "the head has more than %d fields",
                          TBD_HEAD_FIELDS_MAX);
            return FALSE;
        }
        if (!parse_field(&fields, lines[i], error)) {
            return FALSE;
        }
    }
    take_request_id(ret_head, &fields.fields[FIELD_ID]);
    if (fields.foreign != NULL) {
        tbx_error_set(error, "forbidden", fields.foreign,
                      "a request with %s came through a browser or a proxy, and the Unix socket "
                      "serves neither",
                      fields.foreign);
        return FALSE;
    }
    if (!check_host(&fields.fields[FIELD_HOST], error) ||
        !check_framing(ret_head, &fields, is_old, error)) {
        return FALSE;
    }
    ret_head->wants_upgrade = fields.fields[FIELD_UPGRADE].count > 0 &&
                              strcmp(ret_head->method, "GET") == 0 && !ret_head->is_chunked &&
                              ret_head->length == 0;
    return TRUE;
}
