/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection, interruption and the telling of errors; see cli.h.
 */
#include "tenbox-cli/cli.h"

#include <stdarg.h>
#include <stdio.h>

#include <glib-unix.h>
#include <glib/gi18n.h>

#include "tenbox-cli/daemon-start.h"
#include "tenbox-cli/output.h"

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

void cli_init(Cli *cli, const CliCommandLine *line)
{
    *cli = (Cli){.line = line, .cancellable = g_cancellable_new()};
    cli->is_json = g_strcmp0(cli_command_line_get_text(line, "output"), "json") == 0;
    cli->is_quiet = cli_command_line_has(line, "quiet");
    cli->says_yes = cli_command_line_has(line, "yes");
    cli->interrupt_source = g_unix_signal_add(SIGINT, on_signal, cli);
    cli->terminate_source = g_unix_signal_add(SIGTERM, on_signal, cli);
}

void cli_fini(Cli *cli)
{
    g_clear_handle_id(&cli->interrupt_source, g_source_remove);
    g_clear_handle_id(&cli->terminate_source, g_source_remove);
    if (cli->connection)
        tenbox_connection_close(cli->connection);
    g_clear_object(&cli->connection);
    g_clear_object(&cli->cancellable);
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

static TenboxConnection *open_connection(Cli *cli, const char *uri, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_open_async(uri, TENBOX_CONNECTION_FLAGS_NONE, cli->cancellable,
                                 cli_wait_ready, &result);
    return tenbox_connection_open_finish(cli_wait(&result), error);
}

/* Whether it is this user's own daemon that does not answer, and starting one is allowed. */
static gboolean should_start_daemon(const char *uri, const GError *error)
{
    g_autofree char *default_uri = NULL;
    g_autofree char *user_socket = NULL;
    g_autofree char *user_uri = NULL;

    if (uri || g_getenv("TENBOX_HOST") || g_strcmp0(g_getenv("TENBOX_NO_AUTOSTART"), "1") == 0 ||
        !g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE))
        return FALSE;
    default_uri = tenbox_connection_get_default_uri();
    user_socket = tenbox_connection_get_user_socket();
    user_uri = g_strconcat("unix://", user_socket, NULL);
    return g_strcmp0(default_uri, user_uri) == 0;
}

gboolean cli_connect(Cli *cli, gboolean may_start, GError **error)
{
    const char *uri = cli_command_line_get_text(cli->line, "host");
    g_autoptr(GError) problem = NULL;

    cli->connection = open_connection(cli, uri, &problem);
    if (cli->connection)
        return TRUE;
    if (!may_start || !should_start_daemon(uri, problem)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (!cli_daemon_start(cli, error))
        return FALSE;
    cli->connection = open_connection(cli, NULL, error);
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

int cli_exit_status(const GError *error)
{
    if (error && error->domain == G_OPTION_ERROR)
        return CLI_EXIT_USAGE;
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
        {"vm-busy",
         N_("“tenbox vm inspect” shows what runs on it; “tenbox vm stop --force” ends that "
            "and the VM.")},
        {"console-busy", N_("Wait until the guest reads its console, or send less at a time.")},
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
        fprintf(stderr, "%s\n", _("interrupted"));
        return cli_exit_status(error);
    }
    if (option)
        fprintf(stderr, "--%s: ", option->name);
    fprintf(stderr, "%s\n", message);
    if (hint) {
        g_autofree char *safe_hint = cli_safe_text(hint);

        fprintf(stderr, "  %s\n", safe_hint);
    } else if (error->domain == G_OPTION_ERROR) {
        fprintf(stderr, _("  “tenbox help %s %s” shows how it is used.\n"),
                cli->line->command->group, cli->line->command->name);
    }
    return cli_exit_status(error);
}

JsonNode *cli_error_to_json(const GError *error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    const char *hint = error->domain == TENBOX_ERROR ? tenbox_error_get_hint(error) : NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "code");
    json_builder_add_string_value(builder, tenbox_error_get_code(error));
    json_builder_set_member_name(builder, "field");
    json_builder_add_string_value(builder, tenbox_error_get_field(error));
    json_builder_set_member_name(builder, "detail");
    json_builder_add_string_value(builder, error->message);
    json_builder_set_member_name(builder, "hint");
    json_builder_add_string_value(builder, hint);
    json_builder_set_member_name(builder, "exit_status");
    json_builder_add_int_value(builder, cli_exit_status(error));
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

int cli_fail(Cli *cli, const char *subject, const GError *error)
{
    if (cli->is_json) {
        g_autoptr(JsonNode) document = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_object_set_member(object, "error", cli_error_to_json(error));
        json_node_take_object(document, object);
        cli_print_json(document);
    }
    return cli_report(cli, subject, error);
}
