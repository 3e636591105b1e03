/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all conformance cases share: a connection to whatever TENBOX_TEST_DRIVER names, and short forms of
 * the public calls. Nothing but public functions is called, so a case cannot know what it runs on unless it
 * asks.
 *
 *   local         this process runs the VMs, with tests/fakes/fake-runtime.c as their runtime
 *   remote        the same through the real tenboxd, in a process of its own
 *   test          test:///empty, in memory
 *   remote-test   tenboxd --connect test:///empty: its router, and no runtime
 *   uri           an address that TENBOX_TEST_URI gives, with a real kernel (TENBOX_TEST_KERNEL), initial
 *                 RAM disk (TENBOX_TEST_INITRD) and command line (TENBOX_TEST_CMDLINE): the lab
 *
 * TENBOX_TEST_QUERY is added to the test:// URI.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/tenbox.h"

typedef struct {
    char *folder; /* scratch */
    char *data_folder;
    char *kernel; /* a file that passes for one, or is one */
    char *uri;
    GSubprocess *daemon; /* NULL when there is none of ours */
    TenboxConnection *connection;
    GString *signals; /* "+NAME ", "-NAME ", "closed:CODE " */
} Fixture;

/* Whether a daemon stands between. */
gboolean is_remote(void);
/* Whether guests are played by test://, so that no file is read and no process made. */
gboolean is_played(void);
/* Whether guests follow the words and '@' lines of fake-runtime.c and test-vm.h. */
gboolean is_scripted(void);
/* What every guest has printed when it is up, with what follows it on the line. */
const char *hello(void);

/* ---- waiting ------------------------------------------------------------------------------ */

/* Iterates the default main context until @condition holds; a test that hangs for 60 s fails. */
void wait_until(gboolean (*condition)(gpointer user_data), gpointer user_data);

/* The end of one call. A second callback is a failure. */
typedef struct {
    GAsyncResult *result;
    guint count;
} Await;

void await_done(GObject *source, GAsyncResult *result, gpointer await);
gboolean has_result(gpointer await);
GAsyncResult *await_result(Await *await);
void await_clear(Await *await);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Await, await_clear)

/* Handles all events that are due now. */
void settle(void);

/* Checks and clears @error. */
void assert_error(GError **error, int code, const char *slug, const char *field);

/* ---- the fixture -------------------------------------------------------------------------- */

void set_up(Fixture *fixture, gconstpointer data);
/* Deletes all VMs and shows that nothing is left of them. */
void tear_down(Fixture *fixture, gconstpointer data);

TenboxConnection *open_connection(const char *uri, GError **error);
void start_daemon(Fixture *fixture);
void watch(Fixture *fixture);
/* Opens fixture->connection and begins a watch. */
void connect_fixture(Fixture *fixture);
/* In place of fixture->connection, one on test:///empty?QUERY, through a daemon if the run has one. */
void reconnect_with_query(Fixture *fixture, const char *query);

/* ---- short forms -------------------------------------------------------------------------- */

GPtrArray *list_vms(Fixture *fixture);
GPtrArray *list_deleted(Fixture *fixture);
TenboxVm *find(Fixture *fixture, const char *name, GError **error);
TenboxVm *create_full(Fixture *fixture, const char *name, const char *kernel, const char *cmdline,
                      gint64 memory_mb, GError **error);
TenboxVm *create(Fixture *fixture, const char *name, const char *cmdline);
TenboxVmConfig *make_config(Fixture *fixture, const char *name, const char *kernel,
                            const char *cmdline, gint64 memory_mb, GError **error);
gboolean delete_vm(TenboxVm *vm, TenboxVmActionFlags flags, GError **error);
gboolean stop_vm(TenboxVm *vm, TenboxVmActionFlags flags, int seconds, GError **error);

typedef void (*Verb)(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                     GAsyncReadyCallback callback, gpointer user_data);
typedef gboolean (*VerbFinish)(TenboxVm *self, GAsyncResult *result, GError **error);
gboolean act(TenboxVm *vm, Verb verb, VerbFinish finish, GError **error);
#define ACT(vm, verb, error) act(vm, tenbox_vm_##verb##_async, tenbox_vm_##verb##_finish, error)
/* A macro, so that @error is looked at after the call that sets it. */
#define assert_act(call, error)                                                                    \
    G_STMT_START                                                                                   \
    {                                                                                              \
        const gboolean is_done_ = (call);                                                          \
                                                                                                   \
        g_assert_no_error(error);                                                                  \
        g_assert_true(is_done_);                                                                   \
    }                                                                                              \
    G_STMT_END

void assert_state(TenboxVm *vm, const char *word);
void wait_state(TenboxVm *vm, TenboxVmState state);
gboolean document_has(TenboxVm *vm, const char *text);
guint count_files(const char *path);

/* A console and what it has shown. */
typedef struct {
    TenboxConsole *console;
    GString *text;
    gboolean is_closed;
    char *error;
    const char *wanted;
    gsize wanted_length;
} Screen;

gboolean screen_open(Screen *screen, TenboxVm *vm, TenboxConsoleFlags flags, GError **error);
void screen_clear(Screen *screen);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Screen, screen_clear)
/* What it waits for is there: wanted, or else as many bytes as wanted_length, lost ones included. */
gboolean screen_shows(gpointer user_data);
gboolean screen_is_closed(gpointer user_data);
void wait_text(Screen *screen, const char *text);
/* Running is not yet speaking: waits until the guest's greeting is over. */
void wait_hello(TenboxVm *vm);
gboolean type_bytes(Screen *screen, const void *data, gsize length, GError **error);
void type_line(Screen *screen, const char *line);

/* ---- the cases ---------------------------------------------------------------------------- */

void add_case(const char *path, void (*function)(Fixture *fixture, gconstpointer data));
void add_life_cases(void);
void add_console_cases(void);
void add_cancellation_cases(void);
void add_order_cases(void);
void add_fault_cases(void);
void add_stream_cases(void);
