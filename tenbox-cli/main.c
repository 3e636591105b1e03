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

#include "tenbox-cli/cli.h"

static int tell_usage(const CliCommand *command, const GError *error)
{
    fprintf(stderr, "tenbox: %s\n", error->message);
    if (command)
        fprintf(stderr, _("  “tenbox help %s %s” shows how it is used.\n"), command->group,
                command->name);
    else
        fprintf(stderr, "%s\n", _("  “tenbox help” shows what there is."));
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

static int run(int argc, char **argv)
{
    const CliCommand *command = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(CliCommandLine) line = cli_command_line_parse(argc, argv, &command, &error);
    Cli cli;
    int status;

    if (!line)
        return tell_usage(command, error);
    if (line->wants_help) {
        g_autofree char *help = cli_help(line->command, line->group);

        fputs(help, stdout);
        return CLI_EXIT_DONE;
    }
    if (line->wants_version) {
        printf("tenbox %s\n", tenbox_get_version());
        return CLI_EXIT_DONE;
    }
    cli_init(&cli, line);
    status = line->command->run(&cli, line);
    cli_fini(&cli);
    return status;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    bindtextdomain(GETTEXT_PACKAGE, TENBOX_LOCALE_DIR);
    bind_textdomain_codeset(GETTEXT_PACKAGE, "UTF-8");
    textdomain(GETTEXT_PACKAGE);
    signal(SIGPIPE, SIG_IGN);
    return close_output(run(argc, argv));
}
