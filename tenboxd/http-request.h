/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One request as handlers see it: decoded path parameters, checked query, guarded JSON body, and
 * one answer to give. No libsoup type is in sight, so that what is behind the front can be
 * replaced.
 *
 * A handler gets the request by transfer (it owns a reference), and must answer exactly once, now
 * or later, by one of the tbd_request_reply_* functions, tbd_request_fail() or
 * tbd_request_upgrade(), each of which takes over that reference.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>

#include "libtenbox/driver/driver.h"
#include "tenboxd/daemon.h"
#include "tenboxd/http-front.h"

G_BEGIN_DECLS

#define TBD_PARAMETERS_MAX   2
#define TBD_FD_PATH          "/proc/self/fd/%d"
#define TBD_QUERY_LABELS_MAX 16

typedef struct _TbdRequest TbdRequest;
typedef struct _TbdKey TbdKey; /* idempotency.h */

/* A query parameter that a route knows. */
typedef enum {
    TBD_QUERY_WAIT = 1 << 0,    /* wait: 0 to TBX_OPERATION_WAIT_MAX */
    TBD_QUERY_FORCE = 1 << 1,   /* force: true, false */
    TBD_QUERY_SOURCE = 1 << 2,  /* source: console, runtime */
    TBD_QUERY_LINES = 1 << 3,   /* lines: 1 to 100000, and 0 where a log can be followed */
    TBD_QUERY_STATE = 1 << 4,   /* state: of VMs, several with commas */
    TBD_QUERY_LABEL = 1 << 5,   /* label: KEY or KEY=VALUE; may come TBD_QUERY_LABELS_MAX times */
    TBD_QUERY_NAME = 1 << 6,    /* name: a pattern with * and ? */
    TBD_QUERY_DELETED = 1 << 7, /* deleted: true, false */
    TBD_QUERY_PAGE_TOKEN = 1 << 8, /* page_token: from the page before */
    TBD_QUERY_PURGE = 1 << 9,      /* purge: true, false */
    TBD_QUERY_FOLLOW = 1 << 16,    /* follow: true, false */
    TBD_QUERY_SINCE = 1 << 17,     /* since: a position in the journal */
    TBD_QUERY_TYPE = 1 << 18,      /* type: of events, several with commas */
    TBD_QUERY_VM = 1 << 19,        /* vm: id or name */
    TBD_QUERY_HEARTBEAT = 1 << 20, /* heartbeat: 1 to 3600 */
    TBD_QUERY_LIMIT = 1 << 21,     /* limit: 1 to TBD_AUDIT_ENTRIES_MAX */
} TbdQueryFields;

typedef struct {
    guint wait;
    gboolean force;
    const char *source; /* static */
    guint lines;        /* 0: all */
    gboolean has_lines;
    gboolean follow;
    char *since;       /* nullable */
    char *type;        /* nullable */
    char *vm;          /* nullable */
    guint heartbeat;   /* seconds; 0: not said */
    guint limit;       /* 0: not said */
    char *state;       /* nullable */
    char *name;        /* nullable */
    char *page_token;  /* nullable */
    GPtrArray *labels; /* of strings */
    gboolean deleted;
    gboolean purge;
} TbdQuery;

/* (transfer none) */
TbdDaemon *tbd_request_get_daemon(TbdRequest *self);
TbxDriver *tbd_request_get_driver(TbdRequest *self);
/* As it was sent: HEAD for a GET without its body. */
const char *tbd_request_get_method(TbdRequest *self);
/* The decoded value of the path's parameter number @index. */
const char *tbd_request_get_parameter(TbdRequest *self, guint index);
const TbdQuery *tbd_request_get_query(TbdRequest *self);
/* (nullable): NULL when the request has no body. */
JsonObject *tbd_request_get_body(TbdRequest *self);
/* The value of the one header @name; NULL when it is absent or there are several. */
const char *tbd_request_get_header(TbdRequest *self, const char *name);
/* The checked value of @name, If-Match or If-None-Match; NULL when it is absent. "header-invalid". */
gboolean tbd_request_get_tags(TbdRequest *self, const char *name, const char **ret_tags,
                              GError **error);
/* Whether it is a GET or HEAD whose checked If-None-Match names @etag (nullable). */
gboolean tbd_request_knows(TbdRequest *self, const char *etag);
/* Whether the client is the daemon's own user, or root. */
gboolean tbd_request_is_owner(TbdRequest *self);
/* Takes @fd, which is what @path names, to be closed when the request is over. What the client is told speaks
 * of @path where an error has TBD_FD_PATH of @fd. */
void tbd_request_hold_fd(TbdRequest *self, int fd, const char *path);
/* Whether there is a header @name, once or more often. */
gboolean tbd_request_has_header(TbdRequest *self, const char *name);
/* The user at the other end, as the kernel says. */
uid_t tbd_request_get_uid(TbdRequest *self);
/* (nullable): the pattern of its route. */
const char *tbd_request_get_route(TbdRequest *self);
/* @key is told of the answer; tbd_request_get_target() is its. */
void tbd_request_set_key(TbdRequest *self, TbdKey *key);
/* What the audit log says of the request: it began @operation, and what has become of it so far. */
void tbd_request_note_operation(TbdRequest *self, const TbxOperationRecord *operation);
/* (nullable): the id that what the request makes shall have. */
const char *tbd_request_get_target(TbdRequest *self);
/* What the route says in `data`. */
int tbd_request_get_data(TbdRequest *self);
/* A place for what a handler needs while its task is under way; it takes it back and frees it. */
void tbd_request_set_state(TbdRequest *self, gpointer state);
gpointer tbd_request_steal_state(TbdRequest *self);

/**
 * tbd_request_task:
 * @self: (transfer full): the request, which @callback gets back as its user data
 * @callback: called in the daemon's context; its source object is NULL
 *
 * The task is cancelled when the client leaves. A driver's operation that lasts goes on all the
 * same, that is its contract; waits end, and what was about to be made is not. What the driver did
 * all the same is a success, not cancelled: the audit log tells what happened.
 *
 * Returns: (transfer full): a task to give to a tbx_driver_* function
 */
GTask *tbd_request_task(TbdRequest *self, GAsyncReadyCallback callback);

/* The same for a task that does nothing but wait: it is cancelled, and the client answered with
 * "shutting-down", when the daemon was told to end, too. */
GTask *tbd_request_wait_task(TbdRequest *self, GAsyncReadyCallback callback);

/* All below take @self over. Adds a header to the answer first, if @location is given. */
void tbd_request_reply_json(TbdRequest *self, guint status, const char *location,
                            JsonObject *object);
/* {"items": […]}: @result is that of a task that brings a GPtrArray of records. */
void tbd_request_reply_list(TbdRequest *self, GAsyncResult *result,
                            JsonObject *(*to_json)(gpointer record));
/* @text is taken. */
void tbd_request_reply_text(TbdRequest *self, guint status, const char *content_type, char *text);
void tbd_request_reply_bytes(TbdRequest *self, guint status, const char *content_type,
                             GBytes *bytes);
/* Nothing but the head. */
void tbd_request_reply_empty(TbdRequest *self, guint status);
/* A problem document; @error is taken. */
void tbd_request_fail(TbdRequest *self, GError *error);

/* The connection itself: answers with @head, a whole HTTP head that says @status, and hands stream and record over to
 * @callback, with NULL for both when the client has gone meanwhile. */
typedef void (*TbdUpgradeCallback)(TbdDaemon *daemon, GIOStream *stream, TbdPeer *peer,
                                   gpointer user_data);
void tbd_request_upgrade(TbdRequest *self, guint status, const char *head,
                         TbdUpgradeCallback callback, gpointer user_data);
/* Whether the client's HTTP knows chunks. */
gboolean tbd_request_takes_chunks(TbdRequest *self);
/* (transfer full): a head for tbd_request_upgrade() that answers 200, with the headers set so far. */
char *tbd_request_print_head(TbdRequest *self, const char *content_type, gboolean is_chunked);
/* Nullable: the record of the client's connection; NULL once the client has gone. */
TbdPeer *tbd_request_get_peer(TbdRequest *self);

/* ---- for the router -------------------------------------------------------------------------- */

/* What a body must look like. */
typedef enum {
    TBD_BODY_NONE,     /* anything but emptiness is refused */
    TBD_BODY_OPTIONAL, /* a JSON object, or nothing */
    TBD_BODY_REQUIRED, /* a JSON object */
    TBD_BODY_PATCH,    /* the same; application/merge-patch+json is fine too */
} TbdBodyKind;

TbdRequest *tbd_request_new(TbdDaemon *daemon, SoupServerMessage *message);
void tbd_request_unref(TbdRequest *self);
/* Each FALSE with an error that tells the client. */
gboolean tbd_request_read_query(TbdRequest *self, const char *query, TbdQueryFields known,
                                GError **error);
gboolean tbd_request_read_body(TbdRequest *self, TbdBodyKind kind, GError **error);
/* Takes @value. */
void tbd_request_set_parameter(TbdRequest *self, guint index, char *value);
void tbd_request_set_data(TbdRequest *self, int data);
/* The route's path, with {} for parameters: for the ledger. @path is static. */
void tbd_request_set_route(TbdRequest *self, const char *path);
/* Adds a header to the answer. */
void tbd_request_set_answer_header(TbdRequest *self, const char *name, const char *value);

/* For the filter, which refuses before there is a request: takes the connection away from libsoup,
 * writes the problem document, closes. @error is taken. */
void tbd_message_refuse(SoupServerMessage *message, GError *error);

G_END_DECLS
