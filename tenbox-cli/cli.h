/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every command runs with: the connection, the way to be interrupted, and how success and failure
 * are told.
 *
 * Commands are written top to bottom: they call the asynchronous functions of libtenbox with
 * cli_wait_ready() as callback and cli_wait() for the result. cli_wait() runs the main context, so
 * signals are served meanwhile: the first SIGINT or SIGTERM cancels what is under way (an operation is
 * withdrawn from the daemon), the second one ends the program.
 */
#pragma once

#include <signal.h>

#include <json-glib/json-glib.h>

#include "libtenbox/tenbox.h"
#include "tenbox-cli/command.h"

G_BEGIN_DECLS

/* Statuses that are decided here; those of errors come from tenbox_error_get_exit_status(). */
enum {
    CLI_EXIT_DONE = 0,
    CLI_EXIT_FAILED = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_CANCELLED = 9,
};

struct _Cli {
    const CliCommandLine *line;
    GCancellable *cancellable;
    TenboxConnection *connection; /* after cli_connect() */
    gboolean is_json;
    gboolean is_quiet;
    gboolean says_yes;
    guint interrupt_source;
    guint terminate_source;
};

void cli_init(Cli *cli, const CliCommandLine *line);
void cli_fini(Cli *cli);

/*
 * Opens the connection that --host, $TENBOX_HOST or the user's socket name. Where no daemon answers on
 * the user's own socket, and @may_start, one is started.
 */
gboolean cli_connect(Cli *cli, gboolean may_start, GError **error);

/* The callback of an asynchronous call; @user_data is the address of a GAsyncResult* that is NULL. */
void cli_wait_ready(GObject *source, GAsyncResult *result, gpointer user_data);
/* Runs the main context until the call has ended; returns *@result. */
GAsyncResult *cli_wait(GAsyncResult **result);

/*
 * Around a call that blocks outside of the main context: SIGINT and SIGTERM end the program meanwhile,
 * since nobody would look at the cancellable.
 */
typedef struct {
    struct sigaction interrupt;
    struct sigaction terminate;
} CliBlocking;
void cli_begin_blocking(CliBlocking *blocking);
void cli_end_blocking(const CliBlocking *blocking);

/* The VM that @name means, or an error about it. */
TenboxVm *cli_find_vm(Cli *cli, const char *name, GError **error);

/* Says something that is no data, on standard error, unless --quiet. */
void cli_message(Cli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Tells of @error on standard error, with the way out; returns the exit status. @subject may be NULL. */
int cli_report(Cli *cli, const char *subject, const GError *error);
/* The same at the end of a command that has printed no data: with -o json the error is the document. */
int cli_fail(Cli *cli, const char *subject, const GError *error);

/* 2 for errors of the command line, else tenbox_error_get_exit_status(). */
int cli_exit_status(const GError *error);

/* {code, field, detail, hint, exit_status} */
JsonNode *cli_error_to_json(const GError *error);

G_END_DECLS
