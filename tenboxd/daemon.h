/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon: the local driver of libtenbox, the socket in front of it, and who hears of its
 * events.
 *
 * Birth: the socket, bound but deaf; the driver (it locks the data folder and adopts the VMs that
 * run; while a daemon that is ending still has the folder, it is tried again for some seconds); its
 * watch; the socket listens; "ready".
 *
 * Death: no new connections; streams and requests that only wait are told "shutting-down"; the
 * socket file goes, so that the next daemon may be born; requests that are being worked on get a
 * moment; the driver is closed, which gives the data folder to the next, and VMs go on.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/driver/driver.h"
#include "tenboxd/ledger.h"
#include "tenboxd/settings.h"

G_BEGIN_DECLS

typedef struct _TbdDaemon TbdDaemon;
typedef struct _TbdMetrics TbdMetrics;
typedef struct _TbdSessions TbdSessions;
typedef struct _TbdIdempotency TbdIdempotency;

typedef struct {
    TbdSettings *settings; /* (transfer full): its socket is set; of no account with @socket_fd */
    int socket_fd;         /* one that a service manager listens on, -1 for none; taken over */
    const char *connect;   /* nullable: a URI to serve in place of the data folder, see main.c */
    int ready_fd;          /* -1 for none */
} TbdDaemonOptions;

/* Told when the daemon has ended: @error is NULL when it was asked to. */
typedef void (*TbdDaemonEnded)(const GError *error, gpointer user_data);

/**
 * tbd_daemon_new:
 * @options: (transfer none): what it shall do
 * @ended: called once, from the main loop
 * @user_data: for @ended
 *
 * Begins to start; what fails is told by @ended.
 *
 * Returns: (transfer full): end with tbd_daemon_destroy() after @ended
 */
TbdDaemon *tbd_daemon_new(const TbdDaemonOptions *options, TbdDaemonEnded ended,
                          gpointer user_data);

/* Begins to end. Idempotent. */
void tbd_daemon_quit(TbdDaemon *self);

/* Reads tenboxd.conf again; what is wrong with it is logged and changes nothing. */
void tbd_daemon_reload(TbdDaemon *self);

/* Closes everything and drops the caller's reference; what requests still hold answers "closed". */
void tbd_daemon_destroy(TbdDaemon *self);

/* For what may outlast tbd_daemon_destroy() by a turn of the main loop. */
TbdDaemon *tbd_daemon_ref(TbdDaemon *self);
void tbd_daemon_unref(TbdDaemon *self);

TbxDriver *tbd_daemon_get_driver(TbdDaemon *self);
TbdSessions *tbd_daemon_get_sessions(TbdDaemon *self);
/* (transfer none): valid as long as the daemon. */
TbdLedger *tbd_daemon_get_ledger(TbdDaemon *self);
/* (transfer none) (nullable): NULL when the daemon has been destroyed. */
TbdMetrics *tbd_daemon_get_metrics(TbdDaemon *self);
/* (transfer full): @bytes (transfer full), or what was given last if it says the same: of a list that
 * many ask for and do not read there is one copy. */
GBytes *tbd_daemon_share_bytes(TbdDaemon *self, GBytes *bytes);
/* How many connections are open. */
guint tbd_daemon_get_peer_count(TbdDaemon *self);
/* (transfer none): valid as long as the daemon; knobs change by tbd_daemon_reload(). */
const TbdSettings *tbd_daemon_get_settings(TbdDaemon *self);
gboolean tbd_daemon_is_quitting(TbdDaemon *self);
/* (transfer none): cancelled when the daemon begins to end. */
GCancellable *tbd_daemon_get_quitting(TbdDaemon *self);

/* (transfer none): keys of requests that may be sent again. */
TbdIdempotency *tbd_daemon_get_idempotency(TbdDaemon *self);

/* (transfer none): the events so far; valid as long as the daemon is. */
TbxJournal *tbd_daemon_get_journal(TbdDaemon *self);

/* ---- events ---------------------------------------------------------------------------------- */

/* Called with each event, until tbd_daemon_remove_listener(). May add and remove listeners. */
typedef void (*TbdEventFunction)(TbxEventRecord *event, gpointer user_data);

/* Returns a number that is never 0. */
guint tbd_daemon_add_listener(TbdDaemon *self, TbdEventFunction function, gpointer user_data);
void tbd_daemon_remove_listener(TbdDaemon *self, guint number);

G_END_DECLS
