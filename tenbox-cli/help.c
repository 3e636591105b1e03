/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Help as text, derived from the command table; see help.h.
 */
#include "tenbox-cli/help.h"

#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/output.h"

/* "  left    right", the right part at one column for all rows of a section. */
static void append_row(GString *text, const char *left, const char *right, guint column)
{
    const guint width = cli_display_width(left);

    g_string_append_printf(text, "  %s", left);
    for (guint i = width; i < column; i++)
        g_string_append_c(text, ' ');
    g_string_append_printf(text, "  %s\n", right);
}

/* A paragraph in lines of at most WRAP_WIDTH columns, broken at spaces. */
#define WRAP_WIDTH 78

static void append_wrapped(GString *text, const char *paragraph)
{
    g_auto(GStrv) words = g_strsplit(paragraph, " ", -1);
    guint column = 0;

    for (char **word = words; *word; word++) {
        const guint width = cli_display_width(*word);

        if (column && column + 1 + width > WRAP_WIDTH) {
            g_string_append_c(text, '\n');
            column = 0;
        } else if (column) {
            g_string_append_c(text, ' ');
            column++;
        }
        g_string_append(text, *word);
        column += width;
    }
    g_string_append_c(text, '\n');
}

char *cli_help_describe_option(const CliOption *option)
{
    GString *text = g_string_new(NULL);

    if (option->letter)
        g_string_append_printf(text, "-%c, ", option->letter);
    else
        g_string_append(text, "    ");
    g_string_append_printf(text, "--%s", option->name);
    if (option->kind == CLI_OPTION_CHOICE)
        g_string_append_printf(text, " %s", option->choices);
    else if (option->argument)
        g_string_append_printf(text, " %s", _(option->argument));
    return g_string_free(text, FALSE);
}

gboolean cli_help_is_global(const CliCommand *command, const CliOption *option)
{
    return !command ||
           cli_command_find_option(command, option->name, strlen(option->name), 0) == option;
}

/* @command: leaves out global options that it has its own of; NULL: none. */
static void append_options(GString *text, const char *title, const CliOption *options,
                           const CliCommand *command)
{
    g_autoptr(GPtrArray) left = g_ptr_array_new_with_free_func(g_free);
    guint column = 0;
    guint row = 0;

    if (!options || !options->name)
        return;
    for (const CliOption *option = options; option->name; option++) {
        char *shown = cli_help_describe_option(option);

        g_ptr_array_add(left, shown);
        column = MAX(column, cli_display_width(shown));
    }
    g_string_append_printf(text, "\n%s\n", title);
    for (const CliOption *option = options; option->name; option++, row++) {
        if (cli_help_is_global(command, option))
            append_row(text, g_ptr_array_index(left, row), _(option->summary), column);
    }
}

static void append_commands(GString *text, const char *group)
{
    guint column = 0;

    for (const CliCommand *command = cli_commands; command->name; command++)
        column = MAX(column, cli_display_width(command->name));
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_strcmp0(command->group, group) == 0)
            append_row(text, command->name, _(command->summary), column);
    }
}

static char *help_command(const CliCommand *command)
{
    GString *text = g_string_new(NULL);
    g_autofree char *words = cli_command_words(command);

    g_string_append_printf(text, _("Usage: tenbox %s [OPTION…] %s"), words,
                           *command->arguments ? _(command->arguments) : "");
    while (text->len && text->str[text->len - 1] == ' ')
        g_string_truncate(text, text->len - 1);
    g_string_append_printf(text, "\n\n%s.\n", _(command->summary));
    if (command->description) {
        g_string_append_c(text, '\n');
        append_wrapped(text, _(command->description));
    }
    if (command->shortcut) {
        g_auto(GStrv) shortcuts = g_strsplit(command->shortcut, "|", -1);
        g_autofree char *joined = g_strjoinv(", tenbox ", shortcuts);

        g_string_append_printf(text, _("\nShort form: tenbox %s\n"), joined);
    }
    append_options(text, _("Options:"), command->options, NULL);
    append_options(text, _("Options of all commands:"), cli_global_options, command);
    g_string_append_printf(text, "\n%s\n", _("Examples:"));
    for (guint i = 0; command->examples[i]; i++)
        g_string_append_printf(text, "  %s\n", command->examples[i]);
    if (command->see_also)
        g_string_append_printf(text, _("\nSee also: %s\n"), command->see_also);
    return g_string_free(text, FALSE);
}

char *cli_help(const CliCommand *command, const char *group)
{
    GString *text;

    if (command)
        return help_command(command);
    text = g_string_new(NULL);
    if (group)
        g_string_append_printf(text, _("Usage: tenbox %s COMMAND [OPTION…] [ARGUMENT…]\n"), group);
    else
        g_string_append(text, _("Usage: tenbox GROUP COMMAND [OPTION…] [ARGUMENT…]\n\n"
                                "Runs and controls virtual machines.\n"));
    for (const CliGroup *row = cli_groups; row->name; row++) {
        if (group && !g_str_equal(group, row->name))
            continue;
        g_string_append_printf(text, "\ntenbox %s: %s\n", row->name, _(row->summary));
        append_commands(text, row->name);
    }
    if (!group) {
        g_string_append_printf(text, "\n%s\n", _("Without a group:"));
        append_commands(text, NULL);
    }
    append_options(text, _("Options of all commands:"), cli_global_options, NULL);
    g_string_append_printf(text, "\n%s\n",
                           group ? _("“tenbox help GROUP COMMAND” tells more about a command.")
                                 : _("“tenbox help GROUP COMMAND” tells more about a command. "
                                     "A first look: tenbox system doctor"));
    return g_string_free(text, FALSE);
}
