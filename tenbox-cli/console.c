/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console: bytes from the guest to standard output, from standard input to the guest.
 *
 * Theory of operation. Standard input is read whenever it has something, even while the guest takes
 * nothing: otherwise nobody could leave the console of a guest that hangs. What the guest has not
 * taken waits in a bounded buffer; when that is full, a pipe is not read further, and keys of a
 * terminal are dropped except those that leave. Output goes the other way by the same rule: what
 * standard output does not take waits, and beyond a bound the library is told to hold back.
 *
 * The terminal is raw meanwhile. Signals that end the program must not leave it so, and some of them
 * (SIGQUIT, SIGABRT, faults) cannot come through the main loop; hence one file-scope record of the
 * terminal that a signal handler can restore from. tcsetattr() and raise() are async-signal-safe.
 */
#include "tenbox-cli/console.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <glib-unix.h>
#include <glib/gi18n.h>

#include "tenbox-cli/escape.h"
#include "tenbox-cli/output.h"

#define READ_SIZE         4096
#define WRITE_SIZE        4096 /* what a pipe that is writable takes without blocking */
#define INPUT_BUFFER_MAX  65536
#define OUTPUT_BUFFER_MAX 262144

typedef struct {
    Cli *cli;
    TenboxConsole *console;
    CliEscape escape;
    gboolean stdin_is_terminal;

    GByteArray *input;   /* not yet given to the guest */
    gboolean is_writing; /* a write to the guest is under way */
    gboolean input_ended;
    guint input_source;

    GByteArray *output; /* not yet written to standard output */
    GByteArray *early;  /* what comes while the log is read; NULL otherwise */
    gboolean is_read_only;
    guint output_source;
    gboolean is_held_back;

    gboolean is_over;   /* one of the three below, or an error, or an interruption */
    gboolean is_left;   /* by the key sequence */
    gboolean is_closed; /* by the other end */
    gboolean is_unread; /* whoever read standard output has gone */
    GError *error;
} Console;

/* --- the terminal -------------------------------------------------------------------------- */

static struct {
    volatile sig_atomic_t is_raw;
    struct termios cooked;
    struct termios raw;
} terminal;

static const int fatal_signals[] = {SIGHUP,  SIGINT, SIGTERM, SIGQUIT, SIGABRT,
                                    SIGSEGV, SIGBUS, SIGFPE,  SIGILL};

static void restore_terminal(void)
{
    if (!terminal.is_raw)
        return;
    terminal.is_raw = 0;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal.cooked);
}

/* The signal ends the program as it would have, after the terminal is itself again. */
static void on_fatal_signal(int number)
{
    restore_terminal();
    signal(number, SIG_DFL);
    raise(number);
}

/* kill -TSTP: the shell gets its terminal back; raw again when the program goes on. */
static void on_stop_signal(int number)
{
    const int saved_errno = errno;
    const gboolean was_raw = terminal.is_raw;

    restore_terminal();
    raise(SIGSTOP);
    if (was_raw && tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.raw) == 0)
        terminal.is_raw = 1;
    errno = saved_errno;
}

static gboolean make_terminal_raw(void)
{
    struct sigaction action = {.sa_handler = on_fatal_signal};

    if (tcgetattr(STDIN_FILENO, &terminal.cooked) < 0)
        return FALSE;
    terminal.raw = terminal.cooked;
    cfmakeraw(&terminal.raw);
    terminal.raw.c_cc[VMIN] = 1;
    terminal.raw.c_cc[VTIME] = 0;

    sigemptyset(&action.sa_mask);
    for (gsize i = 0; i < G_N_ELEMENTS(fatal_signals); i++)
        sigaction(fatal_signals[i], &action, NULL);
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGTSTP, &action, NULL);

    terminal.is_raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.raw) < 0) {
        terminal.is_raw = 0;
        return FALSE;
    }
    return TRUE;
}

/* --- guest to standard output -------------------------------------------------------------- */

static void finish(Console *self)
{
    self->is_over = TRUE;
    g_main_context_wakeup(NULL);
}

static gboolean on_stdout_writable(int fd, GIOCondition condition, gpointer user_data)
{
    Console *self = user_data;
    gssize written = write(fd, self->output->data, MIN(self->output->len, WRITE_SIZE));

    if (written < 0) {
        if (errno == EINTR || errno == EAGAIN)
            return G_SOURCE_CONTINUE;
        /* The reader has gone, as "head" does: that is a way to leave. Anything else is an error. */
        if (errno == EPIPE)
            self->is_unread = TRUE;
        else if (!self->error)
            g_set_error(&self->error, G_IO_ERROR, g_io_error_from_errno(errno),
                        _("cannot write to standard output: %s"), g_strerror(errno));
        self->output_source = 0;
        g_byte_array_set_size(self->output, 0);
        finish(self);
        return G_SOURCE_REMOVE;
    }
    g_byte_array_remove_range(self->output, 0, (guint)written);
    if (self->is_held_back && self->output->len < OUTPUT_BUFFER_MAX / 2) {
        self->is_held_back = FALSE;
        tenbox_console_set_paused(self->console, FALSE);
    }
    if (self->output->len)
        return G_SOURCE_CONTINUE;
    self->output_source = 0;
    return G_SOURCE_REMOVE;
}

/* How much of the end of @data the last @count lines are; a last line without a newline counts. */
static gsize measure_lines(const guint8 *data, gsize length, guint count)
{
    gsize at = length;

    if (count == 0)
        return 0;
    if (at && data[at - 1] == '\n')
        at--;
    while (at && (data[at - 1] != '\n' || --count))
        at--;
    return length - at;
}

static void show_output(Console *self, const guint8 *data, gsize length)
{
    g_byte_array_append(self->output, data, (guint)length);
    if (!self->output_source && self->output->len)
        self->output_source =
            g_unix_fd_add(STDOUT_FILENO, G_IO_OUT | G_IO_ERR | G_IO_HUP, on_stdout_writable, self);
    if (!self->is_held_back && self->output->len > OUTPUT_BUFFER_MAX) {
        self->is_held_back = TRUE;
        tenbox_console_set_paused(self->console, TRUE);
    }
}

static void on_output(TenboxConsole *console, GBytes *bytes, gpointer user_data)
{
    Console *self = user_data;
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);

    if (self->early)
        g_byte_array_append(self->early, data, (guint)length);
    else if (!self->is_unread)
        show_output(self, data, length);
}

/* How many bytes at the end of @log are those that @output begins with. */
static gsize measure_overlap(const char *log, gsize length, const GByteArray *output)
{
    gsize overlap = MIN(length, output->len);

    while (overlap && memcmp(log + length - overlap, output->data, overlap) != 0)
        overlap--;
    return overlap;
}

/*
 * The last @lines of what was written before. The console is open already, so nothing falls between; what
 * came meanwhile is at the end of the log as well, and is shown once.
 */
static void show_log(Console *self, TenboxVm *vm, guint lines)
{
    g_autoptr(GByteArray) early = g_byte_array_new();
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *text = NULL;
    gsize length;

    self->early = early;
    tenbox_vm_read_log_async(vm, "console", MAX(lines, 1), self->cli->cancellable, cli_wait_ready,
                             &result);
    text = tenbox_vm_read_log_finish(vm, cli_wait(&result), NULL);
    self->early = NULL;
    length = text ? strlen(text) : 0;
    if (length) {
        const gsize overlap = measure_overlap(text, length, early);
        const gsize shown = measure_lines((const guint8 *)text, length, lines);

        if (overlap)
            g_byte_array_remove_range(early, 0, (guint)overlap);
        if (shown)
            show_output(self, (const guint8 *)text + length - shown, shown);
    }
    if (early->len)
        show_output(self, early->data, early->len);
}

static void on_closed(TenboxConsole *console, GError *error, gpointer user_data)
{
    Console *self = user_data;

    if (error && !self->error)
        self->error = g_error_copy(error);
    self->is_closed = TRUE;
    finish(self);
}

/* --- standard input to guest --------------------------------------------------------------- */

static void watch_input(Console *self);

/* cli_console_run() waits for it, so the record outlives the call. */
static void on_written(GObject *source, GAsyncResult *result, gpointer user_data);

static void write_input(Console *self)
{
    g_autoptr(GBytes) bytes = NULL;

    if (self->is_read_only)
        g_byte_array_set_size(self->input, 0);
    if (self->is_writing || self->is_closed || self->input->len == 0)
        return;
    bytes = g_bytes_new(self->input->data, self->input->len);
    g_byte_array_set_size(self->input, 0);
    self->is_writing = TRUE;
    tenbox_console_write_async(self->console, bytes, NULL, on_written, self);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Console *self = user_data;
    g_autoptr(GError) error = NULL;

    self->is_writing = FALSE;
    if (!tenbox_console_write_finish(TENBOX_CONSOLE(source), result, &error)) {
        /* A VM that has stopped closes the console, and that signal tells why; so do we at the end. */
        if (!self->is_over && !g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_CLOSED)) {
            self->error = g_steal_pointer(&error);
            finish(self);
        }
        return;
    }
    write_input(self);
    watch_input(self);
}

static gboolean on_stdin_readable(int fd, GIOCondition condition, gpointer user_data)
{
    Console *self = user_data;
    guint8 buffer[READ_SIZE];
    gssize length;

    if (self->input->len >= INPUT_BUFFER_MAX && !self->stdin_is_terminal) {
        self->input_source = 0; /* on_written() watches again */
        return G_SOURCE_REMOVE;
    }
    length = read(fd, buffer, sizeof(buffer));
    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    if (length <= 0) {
        self->input_ended = TRUE;
        self->input_source = 0;
        cli_escape_flush(&self->escape, self->input);
        write_input(self);
        if (self->stdin_is_terminal) {
            self->is_left = TRUE; /* it was hung up */
            finish(self);
        }
        return G_SOURCE_REMOVE;
    }
    if (cli_escape_scan(&self->escape, buffer, (gsize)length, self->input)) {
        self->input_source = 0;
        self->is_left = TRUE;
        write_input(self);
        finish(self);
        return G_SOURCE_REMOVE;
    }
    if (self->stdin_is_terminal && self->input->len > INPUT_BUFFER_MAX)
        g_byte_array_set_size(self->input, INPUT_BUFFER_MAX);
    write_input(self);
    return G_SOURCE_CONTINUE;
}

static void watch_input(Console *self)
{
    if (!self->input_source && !self->input_ended && !self->is_over)
        self->input_source =
            g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, on_stdin_readable, self);
}

/* --- from beginning to end ----------------------------------------------------------------- */

static void on_cancelled(GCancellable *cancellable, gpointer user_data)
{
    finish(user_data);
}

/* What became of the VM whose console closed by itself. */
static int tell_end(Cli *cli, TenboxVm *vm)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *name = cli_safe_text(tenbox_vm_get_name(vm));

    tenbox_vm_refresh_async(vm, cli->cancellable, cli_wait_ready, &result);
    if (!tenbox_vm_refresh_finish(vm, cli_wait(&result), NULL)) {
        cli_message(cli, _("The console of %s is closed."), name);
        return CLI_EXIT_DONE;
    }
    if (tenbox_vm_get_state(vm) == TENBOX_VM_STATE_CRASHED) {
        g_autofree char *text = tenbox_vm_dup_json(vm);
        g_autoptr(JsonNode) document = cli_parse_json(text, NULL);
        JsonObject *object =
            document && JSON_NODE_HOLDS_OBJECT(document) ? json_node_get_object(document) : NULL;
        JsonNode *node = object ? json_object_get_member(object, "last_exit") : NULL;
        JsonObject *last_exit =
            node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        const char *reason =
            last_exit ? json_object_get_string_member_with_default(last_exit, "reason", NULL)
                      : NULL;
        const char *signal_name =
            last_exit ? json_object_get_string_member_with_default(last_exit, "signal", NULL)
                      : NULL;

        g_autofree char *safe_reason = cli_safe_text(reason ? reason : _("no reason"));
        g_autofree char *safe_signal = cli_safe_text(signal_name ? signal_name : "");

        fprintf(stderr, _("tenbox: %s crashed (%s%s%s)\n"), name, safe_reason,
                *safe_signal ? ", " : "", safe_signal);
        return CLI_EXIT_FAILED;
    }
    cli_message(cli, _("%s has stopped."), name);
    return CLI_EXIT_DONE;
}

/*
 * The end of the conversation does not cut off what was said: the guest's last words are shown, and
 * what a pipe brought before it asked to leave reaches the guest. A person at a terminal who leaves
 * leaves at once.
 */
static void run_until_over(Console *self)
{
    while (!self->is_over)
        g_main_context_iteration(NULL, TRUE);
    if (self->is_left && self->stdin_is_terminal)
        return;
    while (!self->error && !g_cancellable_is_cancelled(self->cli->cancellable) &&
           ((self->output_source && !self->is_unread) ||
            (self->is_left && self->is_writing && !self->is_closed)))
        g_main_context_iteration(NULL, TRUE);
}

/* The key of --escape-key or of the settings. */
static gboolean choose_escape(Cli *cli, CliEscape *escape, GError **error)
{
    const char *text;

    return cli_settings_get(cli->settings, "escape_key", cli->line, &text, NULL, error) &&
           cli_escape_parse(text, &escape->key, error);
}

/* A person at a terminal is the only one who types; pipes take turns with whoever has not claimed that. */
static TenboxConsoleFlags choose_flags(const Console *self, const CliConsoleOptions *options)
{
    TenboxConsoleFlags flags = TENBOX_CONSOLE_FLAGS_NONE;

    if (options->has_log_lines)
        flags |= TENBOX_CONSOLE_FLAGS_NO_REPLAY;
    if (options->is_read_only)
        flags |= TENBOX_CONSOLE_FLAGS_READ_ONLY;
    else if (options->takes_over)
        flags |= TENBOX_CONSOLE_FLAGS_FORCE;
    else if (self->stdin_is_terminal)
        flags |= TENBOX_CONSOLE_FLAGS_WRITER;
    return flags;
}

static void tell_hint(const Console *self, TenboxVm *vm)
{
    g_autofree char *name = cli_safe_text(tenbox_vm_get_name(vm));
    g_autofree char *key = cli_escape_to_text(self->escape.key);

    if (self->escape.key == CLI_ESCAPE_NONE)
        cli_message(self->cli, _("Console of %s. No key leaves it."), name);
    else if (self->is_read_only)
        cli_message(self->cli, _("Console of %s, read only. Leave with %s and then a full stop."),
                    name, key);
    else
        cli_message(self->cli, _("Console of %s. Leave with %s and then a full stop."), name, key);
}

int cli_console_run(Cli *cli, TenboxVm *vm, const CliConsoleOptions *options)
{
    Console self = {.cli = cli,
                    .stdin_is_terminal = isatty(STDIN_FILENO),
                    .is_read_only = options->is_read_only};
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;
    guint64 skipped;
    gulong cancelled_handler;
    int status = CLI_EXIT_DONE;

    if (!choose_escape(cli, &self.escape, &error))
        return cli_fail(cli, NULL, error);
    tenbox_vm_open_console_async(vm, choose_flags(&self, options), cli->cancellable, cli_wait_ready,
                                 &result);
    self.console = tenbox_vm_open_console_finish(vm, cli_wait(&result), &error);
    if (!self.console)
        return cli_fail(cli, tenbox_vm_get_name(vm), error);

    self.input = g_byte_array_new();
    self.output = g_byte_array_new();
    tell_hint(&self, vm);
    g_signal_connect(self.console, "output", G_CALLBACK(on_output), &self);
    g_signal_connect(self.console, "closed", G_CALLBACK(on_closed), &self);
    if (options->has_log_lines)
        show_log(&self, vm, options->log_lines);
    if (self.stdin_is_terminal && !make_terminal_raw())
        cli_message(cli, _("The terminal cannot be made raw: %s"), g_strerror(errno));
    cancelled_handler =
        g_cancellable_connect(cli->cancellable, G_CALLBACK(on_cancelled), &self, NULL);
    watch_input(&self);

    run_until_over(&self);

    g_clear_handle_id(&self.input_source, g_source_remove);
    g_clear_handle_id(&self.output_source, g_source_remove);
    g_cancellable_disconnect(cli->cancellable, cancelled_handler);
    skipped = tenbox_console_get_skipped(self.console);
    g_signal_handlers_disconnect_by_data(self.console, &self);
    tenbox_console_close(self.console);
    while (self.is_writing) /* closing ends it */
        g_main_context_iteration(NULL, TRUE);
    g_clear_object(&self.console);
    if (terminal.is_raw) {
        /* The guest may have left colours on or the cursor off. */
        if (isatty(STDOUT_FILENO))
            fputs("\033[0m\033[?25h\r\n", stdout);
        fflush(stdout);
        restore_terminal();
    }

    if (skipped)
        cli_message(cli,
                    _("%" PRIu64 " bytes of output were lost: they came faster than "
                      "they could be shown."),
                    skipped);
    if (self.error)
        status = cli_report(cli, tenbox_vm_get_name(vm), self.error);
    else if (g_cancellable_is_cancelled(cli->cancellable))
        status = cli->is_timed_out ? CLI_EXIT_TIMED_OUT : CLI_EXIT_CANCELLED;
    else if (self.is_closed)
        status = tell_end(cli, vm);
    g_clear_error(&self.error);
    g_byte_array_unref(self.input);
    g_byte_array_unref(self.output);
    return status;
}
