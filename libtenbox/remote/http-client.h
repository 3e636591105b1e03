/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HTTP to a daemon: one request, one bounded answer, one error in words.
 *
 * Every request ends: it has CONNECT seconds to be written and its own limit for the answer, the
 * caller may withdraw it, and closing the client ends all. Whichever comes first closes the
 * connection that carries the request.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/wire/json-guard.h"

G_BEGIN_DECLS

#define TBX_HTTP_CONNECT_SECONDS 10
/* For answers that need no waiting. */
#define TBX_HTTP_ANSWER_SECONDS  60
/* How often, and after how long for the first time; each time twice as long. All in all about 6 s, in which a
 * daemon that was killed has been started again. */
#define TBX_HTTP_RETRIES         6
#define TBX_HTTP_RETRY_MS        100
/* The most an answer may have: what the JSON guard takes. */
#define TBX_HTTP_BODY_MAX        TBX_JSON_ANSWER_SIZE_MAX

typedef struct _TbxHttpClient TbxHttpClient;

typedef struct {
    const char *method;
    const char *target;   /* path and query, percent-encoded */
    JsonObject *body;     /* nullable, borrowed */
    guint answer_seconds; /* limit on the answer, body included */
    const char *if_match; /* nullable: header If-Match */
    /* nullable: header Idempotency-Key. The daemon does a request with one once, however often it comes,
     * so it is sent again when the connection breaks under it, up to TBX_HTTP_RETRIES times. */
    const char *idempotency_key;
} TbxHttpRequest;

/* An answer with a status of 2xx; others have become errors. */
typedef struct {
    guint status;
    char *content_type; /* nullable, without parameters, lower case */
    char *body;         /* NUL-terminated behind its length */
    gsize length;
} TbxHttpAnswer;

void tbx_http_answer_free(TbxHttpAnswer *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxHttpAnswer, tbx_http_answer_free)

/**
 * tbx_http_client_new:
 * @socket_path: absolute path of a Unix socket
 *
 * Nothing is opened before the first request. Returns NULL with "field-invalid" when the path is
 * too long to be connected to.
 */
TbxHttpClient *tbx_http_client_new(const char *socket_path, GError **error);

/* Ends all requests with "closed"; none is accepted afterwards. */
void tbx_http_client_close(TbxHttpClient *self);
TbxHttpClient *tbx_http_client_ref(TbxHttpClient *self);
/* Accepts NULL. Requests under way hold a reference. */
void tbx_http_client_unref(TbxHttpClient *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxHttpClient, tbx_http_client_unref)

/* The address behind the socket path, for connections that become WebSockets. */
GSocketConnectable *tbx_http_client_get_address(TbxHttpClient *self);

/* An error of connecting or talking (transfer full) in words that name the socket. */
GError *tbx_http_client_explain(TbxHttpClient *self, GError *error);

/**
 * tbx_http_client_send:
 * @request: borrowed for the call
 * @task: (transfer full): completes with a TbxHttpAnswer *
 *
 * Errors: those that the daemon's problem document names; "daemon-unreachable", "forbidden",
 * "timed-out", "protocol-error", "closed"; G_IO_ERROR_CANCELLED.
 */
void tbx_http_client_send(TbxHttpClient *self, const TbxHttpRequest *request, GTask *task);

/**
 * tbx_http_client_open:
 * @request: borrowed for the call; answer_seconds is the limit on the head of the answer
 * @task: (transfer full): completes with a TbxHttpBody * when the head of a good answer has come
 *
 * For an answer that is read as it comes and may never end. Errors as tbx_http_client_send().
 */
void tbx_http_client_open(TbxHttpClient *self, const TbxHttpRequest *request, GTask *task);

/* The body of an answer; a connection that is its alone, closed with it. */
typedef struct _TbxHttpBody TbxHttpBody;

/* GBytes, 1 to @maximum bytes; empty at the end. One read at a time; a withdrawn one loses no bytes.
 * "daemon-unreachable" when the connection breaks, "closed". */
void tbx_http_body_read(TbxHttpBody *self, gsize maximum, GTask *task);
/* Ends a read under way with "closed". Accepts NULL. */
void tbx_http_body_free(TbxHttpBody *self);

/* The answer as a JSON object, through the guard; "protocol-error". */
JsonObject *tbx_http_answer_parse(const TbxHttpAnswer *self, GError **error);

G_END_DECLS
