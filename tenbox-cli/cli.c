/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection, interruption and the telling of errors; see cli.h.
 */
#include "tenbox-cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <glib-unix.h>
#include <glib/gi18n.h>

#include "tenbox-cli/daemon-start.h"
#include "tenbox-cli/output.h"

G_DEFINE_QUARK(cli - error - quark, cli_error)

static gboolean on_signal(gpointer user_data)
{
    Cli *cli = user_data;

    if (!g_cancellable_is_cancelled(cli->cancellable)) {
        g_cancellable_cancel(cli->cancellable);
        return G_SOURCE_CONTINUE;
    }
    /* Asked twice: do not wait for the daemon any more. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    raise(SIGINT);
    return G_SOURCE_CONTINUE;
}

static gboolean on_timeout(gpointer user_data)
{
    Cli *cli = user_data;

    cli->timeout_source = 0;
    cli->is_timed_out = TRUE;
    g_cancellable_cancel(cli->cancellable);
    return G_SOURCE_REMOVE;
}

static const char *get_field(const GLogField *fields, gsize field_count, const char *key)
{
    for (gsize i = 0; i < field_count; i++) {
        if (g_str_equal(fields[i].key, key) && fields[i].length == -1)
            return fields[i].value;
    }
    return NULL;
}

/* Requests and answers, as our library tells of them; what other libraries have to say is left out. */
static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize field_count,
                                  gpointer user_data)
{
    const char *domain = get_field(fields, field_count, "GLIB_DOMAIN");
    const char *message = get_field(fields, field_count, "MESSAGE");

    if (!(level & G_LOG_LEVEL_DEBUG))
        return g_log_writer_default(level, fields, field_count, user_data);
    if (domain && g_str_has_prefix(domain, "tenbox") && message) {
        g_autofree char *safe = cli_safe_text(message);

        fprintf(stderr, "debug: %s\n", safe);
    }
    return G_LOG_WRITER_HANDLED;
}

static guint measure_terminal(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

static gboolean is_dumb_terminal(void)
{
    return g_strcmp0(g_getenv("TERM"), "dumb") == 0;
}

/* --color > NO_COLOR > cli.json > whether a terminal would show them. */
static gboolean choose_color(const char *color, CliOrigin origin)
{
    const char *no_color = g_getenv("NO_COLOR");

    if (origin != CLI_ORIGIN_OPTION && no_color && *no_color)
        return FALSE;
    if (!g_str_equal(color, "auto"))
        return g_str_equal(color, "always");
    return isatty(STDOUT_FILENO) && !is_dumb_terminal();
}

static CliProgressKind choose_progress(const char *progress, gboolean is_quiet)
{
    if (g_str_equal(progress, "none") || is_quiet)
        return CLI_PROGRESS_NONE;
    if (g_str_equal(progress, "json"))
        return CLI_PROGRESS_JSON;
    if (g_str_equal(progress, "plain"))
        return CLI_PROGRESS_PLAIN;
    return isatty(STDERR_FILENO) && !is_dumb_terminal() ? CLI_PROGRESS_LINE : CLI_PROGRESS_PLAIN;
}

static gboolean read_settings(Cli *cli, const CliCommandLine *line, GError **error)
{
    const char *output;
    const char *color;
    const char *progress;
    const char *no_input;
    const char *debug;
    const char *timeout;
    const char *template_text;
    CliOrigin color_origin;

    if (!cli_settings_get(cli->settings, "output", line, &output, NULL, error) ||
        !cli_settings_get(cli->settings, "color", line, &color, &color_origin, error) ||
        !cli_settings_get(cli->settings, "progress", line, &progress, NULL, error) ||
        !cli_settings_get(cli->settings, "no_input", line, &no_input, NULL, error) ||
        !cli_settings_get(cli->settings, "debug", line, &debug, NULL, error) ||
        !cli_settings_get(cli->settings, "timeout", line, &timeout, NULL, error) ||
        !cli_format_parse(output, &cli->format, &template_text, error))
        return FALSE;
    if (template_text)
        cli->template = cli_template_new(template_text, error);
    if (template_text && !cli->template)
        return FALSE;
    cli->uses_color = choose_color(color, color_origin);
    cli->progress = choose_progress(progress, cli->is_quiet);
    cli->no_input = g_str_equal(no_input, "true");
    cli->timeout = g_ascii_strtoll(timeout, NULL, 10);
    if (g_str_equal(debug, "true"))
        g_log_set_writer_func(write_log, NULL, NULL);
    return TRUE;
}

gboolean cli_init(Cli *cli, const CliCommandLine *line, CliSettings *settings, GError **error)
{
    *cli = (Cli){.line = line, .settings = settings, .cancellable = g_cancellable_new()};
    cli->is_quiet = cli_command_line_has(line, "quiet");
    cli->says_yes = cli_command_line_has(line, "yes");
    cli->terminal_width = measure_terminal();
    if (!read_settings(cli, line, error))
        return FALSE;
    cli->interrupt_source = g_unix_signal_add(SIGINT, on_signal, cli);
    cli->terminate_source = g_unix_signal_add(SIGTERM, on_signal, cli);
    if (cli->timeout)
        cli->timeout_source = g_timeout_add_seconds((guint)cli->timeout, on_timeout, cli);
    return TRUE;
}

void cli_fini(Cli *cli)
{
    g_clear_handle_id(&cli->interrupt_source, g_source_remove);
    g_clear_handle_id(&cli->terminate_source, g_source_remove);
    g_clear_handle_id(&cli->timeout_source, g_source_remove);
    if (cli->connection)
        tenbox_connection_close(cli->connection);
    g_clear_object(&cli->connection);
    g_clear_object(&cli->cancellable);
    g_clear_pointer(&cli->template, cli_template_free);
    g_clear_pointer(&cli->settings, cli_settings_free);
}

gboolean cli_prints_documents(const Cli *cli)
{
    return cli->format == CLI_FORMAT_JSON || cli->format == CLI_FORMAT_JSONL ||
           cli->format == CLI_FORMAT_YAML;
}

gboolean cli_prints_table(const Cli *cli)
{
    return cli->format == CLI_FORMAT_TABLE || cli->format == CLI_FORMAT_WIDE;
}

void cli_wait_ready(GObject *source, GAsyncResult *result, gpointer user_data)
{
    GAsyncResult **address = user_data;

    *address = g_object_ref(result);
}

GAsyncResult *cli_wait(GAsyncResult **result)
{
    while (!*result)
        g_main_context_iteration(NULL, TRUE);
    return *result;
}

void cli_begin_blocking(CliBlocking *blocking)
{
    const struct sigaction action = {.sa_handler = SIG_DFL};

    sigaction(SIGINT, &action, &blocking->interrupt);
    sigaction(SIGTERM, &action, &blocking->terminate);
}

void cli_end_blocking(const CliBlocking *blocking)
{
    sigaction(SIGINT, &blocking->interrupt, NULL);
    sigaction(SIGTERM, &blocking->terminate, NULL);
}

static TenboxConnection *open_connection(Cli *cli, const char *uri, TenboxConnectionFlags flags,
                                         GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_open_async(uri, flags, cli->cancellable, cli_wait_ready, &result);
    return tenbox_connection_open_finish(cli_wait(&result), error);
}

/* Whether it is this user's own daemon that does not answer, and starting one is allowed. */
static gboolean should_start_daemon(const char *uri, const GError *error)
{
    g_autofree char *default_uri = NULL;
    g_autofree char *user_socket = NULL;
    g_autofree char *user_uri = NULL;

    if (uri || g_strcmp0(g_getenv("TENBOX_NO_AUTOSTART"), "1") == 0 ||
        !g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE))
        return FALSE;
    default_uri = tenbox_connection_get_default_uri();
    user_socket = tenbox_connection_get_user_socket();
    user_uri = g_strconcat("unix://", user_socket, NULL);
    return g_strcmp0(default_uri, user_uri) == 0;
}

gboolean cli_connect(Cli *cli, gboolean may_start, GError **error)
{
    return cli_connect_with(cli, may_start, TENBOX_CONNECTION_FLAGS_NONE, error);
}

gboolean cli_connect_with(Cli *cli, gboolean may_start, TenboxConnectionFlags flags, GError **error)
{
    const char *uri;
    g_autoptr(GError) problem = NULL;

    if (!cli_settings_get(cli->settings, "host", cli->line, &uri, NULL, error))
        return FALSE;

    cli->connection = open_connection(cli, uri, flags, &problem);
    if (cli->connection)
        return TRUE;
    if (!may_start || !should_start_daemon(uri, problem)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (!cli_daemon_start(cli, error))
        return FALSE;
    cli->connection = open_connection(cli, NULL, flags, error);
    return cli->connection != NULL;
}

TenboxVm *cli_find_vm(Cli *cli, const char *name, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_get_vm_async(cli->connection, name, TENBOX_VM_LOOKUP_FLAGS_NONE,
                                   cli->cancellable, cli_wait_ready, &result);
    return tenbox_connection_get_vm_finish(cli->connection, cli_wait(&result), error);
}

void cli_message(Cli *cli, const char *format, ...)
{
    va_list arguments;

    if (cli->is_quiet)
        return;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int cli_exit_status(const Cli *cli, const GError *error)
{
    if (cli->is_timed_out && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return CLI_EXIT_TIMED_OUT;
    if (error && error->domain == G_OPTION_ERROR)
        return CLI_EXIT_USAGE;
    if (g_error_matches(error, CLI_ERROR, CLI_ERROR_AMBIGUOUS))
        return CLI_EXIT_CONFLICT;
    return tenbox_error_get_exit_status(error);
}

/* The way out, for errors that come without one. */
static const char *find_hint(Cli *cli, const GError *error)
{
    static const struct {
        const char *code;
        const char *hint;
    } hints[] = {
        {"vm-not-found", N_("“tenbox vm ls” shows the VMs there are.")},
        {"vm-exists", N_("Choose another name, or delete that VM by “tenbox vm rm”.")},
        {"vm-not-running", N_("“tenbox vm start” starts it.")},
        {"vm-paused", N_("“tenbox vm resume” lets it go on.")},
        {"precondition-failed",
         N_("Somebody else has changed it meanwhile: look at it again, then repeat this.")},
        {"vm-busy",
         N_("“tenbox vm inspect” shows what runs on it; “tenbox vm stop --force” ends that "
            "and the VM.")},
        {"console-busy", N_("“tenbox vm console --read-only” watches, --force takes over from who "
                            "types. Input that "
                            "the guest does not read has to wait.")},
        {"too-many-connections", N_("Close other clients of this daemon, or try again later.")},
        {"forbidden", N_("Run this as the user whose daemon it is, or give that user the right to "
                         "what is named.")},
        {"file-unreadable",
         N_("Name a regular file that is not empty and that the daemon's user may "
            "read; “ls -l” shows who may.")},
        {"kernel-invalid",
         N_("Create the VM with another --kernel: one for this kind of machine, such "
            "as /boot/vmlinuz-…")},
        {"insufficient-memory",
         N_("Stop other VMs by “tenbox vm stop”, or create this one with less "
            "--memory.")},
        {"kvm-unavailable", N_("“tenbox system doctor” says what is missing and how to mend it.")},
        {"daemon-unreachable", N_("Start tenboxd, or name the right address by --host.")},
    };
    const char *code = tenbox_error_get_code(error);

    if (error->domain == TENBOX_ERROR && tenbox_error_get_hint(error))
        return tenbox_error_get_hint(error);
    if (g_str_equal(code, "vm-not-stopped")) {
        const CliCommand *command = cli->line->command;

        return command && command->run && g_str_equal(command->name, "rm")
                   ? _("“tenbox vm stop” stops it; “tenbox vm rm --force” does both.")
                   : _("“tenbox vm stop” stops it.");
    }
    for (gsize i = 0; i < G_N_ELEMENTS(hints); i++) {
        if (g_str_equal(code, hints[i].code))
            return _(hints[i].hint);
    }
    return NULL;
}

int cli_report(Cli *cli, const char *subject, const GError *error)
{
    const char *field = tenbox_error_get_field(error);
    const CliOption *option = cli_command_find_field(cli->line->command, field);
    const char *hint = find_hint(cli, error);
    g_autofree char *message = cli_safe_text(error->message);

    fputs("tenbox: ", stderr);
    if (subject) {
        g_autofree char *safe_subject = cli_safe_text(subject);

        fprintf(stderr, "%s: ", safe_subject);
    }
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        if (cli->is_timed_out)
            fprintf(stderr, _("not done within %" PRId64 " s\n"), cli->timeout);
        else
            fprintf(stderr, "%s\n", _("interrupted"));
        return cli_exit_status(cli, error);
    }
    if (option)
        fprintf(stderr, "--%s: ", option->name);
    fprintf(stderr, "%s\n", message);
    if (hint) {
        g_autofree char *safe_hint = cli_safe_text(hint);

        fprintf(stderr, "  %s\n", safe_hint);
    } else if (error->domain == G_OPTION_ERROR) {
        g_autofree char *words = cli_command_words(cli->line->command);

        fprintf(stderr, _("  “tenbox help %s” shows how it is used.\n"), words);
    }
    return cli_exit_status(cli, error);
}

JsonNode *cli_error_to_json(const Cli *cli, const GError *error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    const char *hint = error->domain == TENBOX_ERROR ? tenbox_error_get_hint(error) : NULL;
    const int status = cli_exit_status(cli, error);
    const char *code = status == CLI_EXIT_TIMED_OUT                                  ? "timed-out"
                       : status == CLI_EXIT_USAGE && error->domain == G_OPTION_ERROR ? "usage"
                       : error->domain == CLI_ERROR ? "name-ambiguous"
                                                    : tenbox_error_get_code(error);

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "code");
    json_builder_add_string_value(builder, code);
    json_builder_set_member_name(builder, "field");
    json_builder_add_string_value(builder, tenbox_error_get_field(error));
    json_builder_set_member_name(builder, "detail");
    json_builder_add_string_value(builder, error->message);
    json_builder_set_member_name(builder, "hint");
    json_builder_add_string_value(builder, hint);
    json_builder_set_member_name(builder, "exit_status");
    json_builder_add_int_value(builder, status);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

int cli_fail(Cli *cli, const char *subject, const GError *error)
{
    if (cli_prints_documents(cli)) {
        g_autoptr(JsonNode) document = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();
        g_autofree char *text = NULL;

        json_object_set_member(object, "error", cli_error_to_json(cli, error));
        json_node_take_object(document, object);
        text = cli->format == CLI_FORMAT_YAML
                   ? cli_yaml_to_text(document)
                   : cli_json_to_text(document, cli->format == CLI_FORMAT_JSON);
        printf("%s%s", text, cli->format == CLI_FORMAT_YAML ? "" : "\n");
    }
    return cli_report(cli, subject, error);
}

/* Reads an answer from the terminal; anything that does not begin with y (or the translated yes) is no. */
static gboolean ask(const char *question)
{
    CliBlocking blocking;
    char *answer = NULL;
    size_t size = 0;
    ssize_t length;
    gboolean is_yes = FALSE;

    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    cli_begin_blocking(&blocking);
    length = getline(&answer, &size, stdin);
    cli_end_blocking(&blocking);
    if (length > 0)
        is_yes = g_ascii_tolower(*answer) == 'y' || g_str_has_prefix(answer, _("yes"));
    else
        fputc('\n', stderr);
    free(answer);
    return is_yes;
}

gboolean cli_confirm(Cli *cli, const char *question, const char *way_out, gboolean *ret_is_yes,
                     GError **error)
{
    *ret_is_yes = cli->says_yes;
    if (cli->says_yes)
        return TRUE;
    if (cli->no_input || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, _("nobody can be asked “%s”: %s"),
                    question, way_out);
        return FALSE;
    }
    *ret_is_yes = ask(question);
    return TRUE;
}
