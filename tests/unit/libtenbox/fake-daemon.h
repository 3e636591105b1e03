/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon for tests of the client side, in the same process: HTTP on a Unix socket in a temporary
 * folder, answers prepared by the test, and the server's end of the stream in the test's hands.
 *
 * It knows nothing about VMs. What a real daemon answers is tested with the real one.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>

#include "libtenbox/wire/stream.h"

typedef struct FakeDaemon FakeDaemon;

/* Answers one request by soup_server_message_set_status() and so on. */
typedef void (*FakeHandler)(FakeDaemon *daemon, SoupServerMessage *message, gpointer user_data);

/* Listens in the thread-default main context. GET /v1/system is answered as a daemon does. */
FakeDaemon *fake_daemon_new(void);
/* Stops listening, drops connections, removes the folder. */
void fake_daemon_free(FakeDaemon *daemon);

const char *fake_daemon_get_uri(FakeDaemon *daemon);
const char *fake_daemon_get_folder(FakeDaemon *daemon);

/* @route: "GET /v1/vms", the query not included, as it was on the wire. The last one set counts. */
void fake_daemon_on(FakeDaemon *daemon, const char *route, FakeHandler handler, gpointer user_data);

/* The same with a fixed answer; @type NULL is application/json. */
void fake_daemon_answer(FakeDaemon *daemon, const char *route, guint status, const char *type,
                        const char *body);

/* As if nothing had ever been set for @route. */
void fake_daemon_forget(FakeDaemon *daemon, const char *route);

/* Never answered. */
void fake_daemon_hang(FakeDaemon *daemon, const char *route);

/* "METHOD target" of all requests so far but those of /v1/system, one a line; emptied by the call. */
char *fake_daemon_take_log(FakeDaemon *daemon);
/* Body of the last request that had one. */
const char *fake_daemon_get_body(FakeDaemon *daemon);
/* How many requests have arrived on @route. */
guint fake_daemon_count(FakeDaemon *daemon, const char *route);

/* A channel that a client opened, already accepted. */
typedef struct {
    TbxStreamChannel *channel; /* NULL once closed */
    char *kind;
    char *vm_id;
    gboolean replay;
    char *since; /* nullable */
    GByteArray *received;
    gboolean consumes; /* credit is given back at once */
} FakeChannel;

/* All channels that were ever opened, in order. */
GPtrArray *fake_daemon_get_channels(FakeDaemon *daemon);
/* With this slug in place, subscriptions are closed with it instead. NULL: accepted again. */
void fake_daemon_refuse_channels(FakeDaemon *daemon, const char *slug, const char *detail);
/* What `ready` says of the position of channels of events to come; NULL, the default: nothing. */
void fake_daemon_set_position(FakeDaemon *daemon, const char *position);
/* Ends the stream without a word, as a killed daemon does. */
void fake_daemon_drop_streams(FakeDaemon *daemon);

/* JSON of a VM and an operation; free with g_free(). */
char *fake_vm(const char *id, const char *name, const char *state, int generation);
char *fake_operation(const char *id, const char *kind, const char *state, const char *error);
char *fake_event(int sequence, const char *type, const char *vm_id, const char *data);

#define FAKE_ID_1  "aaaaaaaa-1111-4111-8111-111111111111"
#define FAKE_ID_2  "aaaabbbb-2222-4222-8222-222222222222"
#define FAKE_OP_ID "0f0f0f0f-3333-4333-8333-333333333333"

/* Turns the main loop until @condition(user_data) holds; a test that waits 60 s is ended. */
void wait_until(gboolean (*condition)(gpointer user_data), gpointer user_data);

/* An asynchronous result being waited for: pass await_done and it as callback. */
typedef struct {
    GAsyncResult *result;
} Await;
void await_done(GObject *source, GAsyncResult *result, gpointer await);
/* (transfer none): valid until the next await_result() of the same Await. */
GAsyncResult *await_result(Await *await);
void await_clear(Await *await);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Await, await_clear)

/* Checks and frees an error. */
void assert_error(GError **error, int code, const char *slug);
