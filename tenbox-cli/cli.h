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
#include "tenbox-cli/format.h"
#include "tenbox-cli/settings.h"
#include "tenbox-cli/template.h"

G_BEGIN_DECLS

/* Statuses that are decided here; those of errors come from tenbox_error_get_exit_status(). */
enum {
    CLI_EXIT_DONE = 0,
    CLI_EXIT_FAILED = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_NOT_FOUND = 3,
    CLI_EXIT_CONFLICT = 4,
    CLI_EXIT_TIMED_OUT = 6,
    CLI_EXIT_CANCELLED = 9,
};

/* Errors that only the command line has. */
#define CLI_ERROR (cli_error_quark())
typedef enum {
    CLI_ERROR_AMBIGUOUS, /* several things fit a name; status 4 */
} CliError;
GQuark cli_error_quark(void);

typedef enum {
    CLI_PROGRESS_NONE,
    CLI_PROGRESS_PLAIN, /* a line now and then */
    CLI_PROGRESS_LINE,  /* one line that is redrawn */
    CLI_PROGRESS_JSON,  /* a JSON object a line */
} CliProgressKind;

struct _Cli {
    const CliCommandLine *line;
    GCancellable *cancellable;
    TenboxConnection *connection; /* after cli_connect() */
    CliSettings *settings;
    CliFormat format;
    CliTemplate *template; /* of CLI_FORMAT_TEMPLATE */
    gboolean is_quiet;
    gboolean says_yes;
    gboolean no_input; /* nobody is to be asked */
    gboolean uses_color;
    guint terminal_width; /* columns of standard output, 0 when it is no terminal */
    CliProgressKind progress;
    gint64 timeout; /* seconds, 0: any number */
    gboolean is_timed_out;
    guint timeout_source;
    guint interrupt_source;
    guint terminate_source;
};

/* Takes over @settings. FALSE: a setting cannot be used; cli_fini() then still is to be called. */
gboolean cli_init(Cli *cli, const CliCommandLine *line, CliSettings *settings, GError **error);
void cli_fini(Cli *cli);

/* Whether data is printed as a document (JSON, JSON lines, YAML), and so errors are too. */
gboolean cli_prints_documents(const Cli *cli);
/* Whether it is a table, plain or wide. */
gboolean cli_prints_table(const Cli *cli);

/*
 * Opens the connection that --host, $TENBOX_HOST or the user's socket name. Where no daemon answers on
 * the user's own socket, and @may_start, one is started.
 */
gboolean cli_connect(Cli *cli, gboolean may_start, GError **error);
/* The same with @flags of the connection. */
gboolean cli_connect_with(Cli *cli, gboolean may_start, TenboxConnectionFlags flags,
                          GError **error);

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

/* 2 for errors of the command line, 6 when --timeout is over, else tenbox_error_get_exit_status(). */
int cli_exit_status(const Cli *cli, const GError *error);

/* {code, field, detail, hint, exit_status} */
JsonNode *cli_error_to_json(const Cli *cli, const GError *error);

/*
 * Asks @question on the terminal; anything but yes is no. Where nobody can be asked, because --no-input is given
 * or standard input or error is no terminal, that is an error (G_OPTION_ERROR) which names @way_out. --yes
 * answers without asking.
 */
gboolean cli_confirm(Cli *cli, const char *question, const char *way_out, gboolean *ret_is_yes,
                     GError **error);

G_END_DECLS
