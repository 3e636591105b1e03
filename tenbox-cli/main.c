/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox, the command line: understand the words, run the command, return its status.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/alias.h"
#include "tenbox-cli/cli.h"
#include "tenbox-cli/complete.h"
#include "tenbox-cli/help.h"
#include "tenbox-cli/output.h"

/* Whether the words ask for documents, though they could not be understood as a whole. */
static gboolean wants_json(char *const *argv)
{
    for (; *argv; argv++) {
        const char *value = NULL;

        if (g_str_equal(*argv, "-o") || g_str_equal(*argv, "--output") ||
            g_str_equal(*argv, "--format"))
            value = argv[1];
        else if (g_str_has_prefix(*argv, "-o"))
            value = *argv + 2;
        else if (g_str_has_prefix(*argv, "--output=") || g_str_has_prefix(*argv, "--format="))
            value = strchr(*argv, '=') + 1;
        if (value)
            return g_str_equal(value, "json") || g_str_equal(value, "jsonl");
    }
    return FALSE;
}

static int tell_usage(char *const *argv, const CliCommand *command, const GError *error)
{
    g_autofree char *message = cli_safe_text(error->message);

    if (wants_json(argv)) {
        const CliCommandLine line = {.command = command};
        const Cli cli = {.line = &line};
        g_autoptr(JsonNode) document = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();
        g_autofree char *text = NULL;

        json_object_set_member(object, "error", cli_error_to_json(&cli, error));
        json_node_take_object(document, object);
        text = cli_json_to_text(document, FALSE);
        printf("%s\n", text);
    }
    fprintf(stderr, "tenbox: %s\n", message);
    if (command) {
        g_autofree char *words = cli_command_words(command);

        fprintf(stderr, _("  “tenbox help %s” shows how it is used.\n"), words);
    } else {
        fprintf(stderr, "%s\n", _("  “tenbox help” shows what there is."));
    }
    return CLI_EXIT_USAGE;
}

/* Output that could not be written is a failure, whatever the command thought. */
static int close_output(int status)
{
    const gboolean had_failed = ferror(stdout);

    if (fclose(stdout) == 0 && !had_failed)
        return status;
    if (errno != EPIPE)
        fprintf(stderr, _("tenbox: standard output: %s\n"), g_strerror(errno));
    return status ? status : CLI_EXIT_FAILED;
}

static int run_line(char **argv, CliSettings *settings)
{
    const CliCommand *command = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(CliCommandLine) line =
        cli_command_line_parse((int)g_strv_length(argv), argv, &command, &error);
    Cli cli;
    int status;

    if (!line || line->wants_help || line->wants_version) {
        cli_settings_free(settings);
        if (!line)
            return tell_usage(argv, command, error);
        if (line->wants_help) {
            g_autofree char *help = cli_help(line->command, line->group);

            fputs(help, stdout);
        } else {
            printf("tenbox %s\n", tenbox_get_version());
        }
        return CLI_EXIT_DONE;
    }
    if (cli_init(&cli, line, settings, &error))
        status = line->command->run(&cli, line);
    else
        status = tell_usage(argv, NULL, error);
    cli_fini(&cli);
    return status;
}

static int run(char **argv)
{
    g_autoptr(GError) error = NULL;
    CliSettings *settings;
    g_auto(GStrv) expanded = NULL;

    if (argv[0] && argv[1] && g_str_equal(argv[1], CLI_COMPLETE_WORD))
        return cli_complete(argv + 2);
    settings = cli_settings_load(&error);
    if (!settings)
        return tell_usage(argv, NULL, error);
    expanded = cli_alias_expand(argv, cli_settings_get_aliases(settings), &error);
    if (!expanded) {
        cli_settings_free(settings);
        return tell_usage(argv, NULL, error);
    }
    return run_line(expanded, settings);
}

int main(int argc, char **argv)
{
    /* Catalogues of a build folder, for who has not installed it. */
    const char *catalogues = g_getenv("TENBOX_LOCALE_DIR");

    setlocale(LC_ALL, "");
    bindtextdomain(GETTEXT_PACKAGE, catalogues != NULL ? catalogues : TENBOX_LOCALE_DIR);
    bind_textdomain_codeset(GETTEXT_PACKAGE, "UTF-8");
    textdomain(GETTEXT_PACKAGE);
    signal(SIGPIPE, SIG_IGN);
    return close_output(run(argv));
}
