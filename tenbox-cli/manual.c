/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox-manual: manual pages and docs/cli.md, made from the command table when TenBox is built; not installed.
 *
 *     tenbox-manual man FOLDER    writes tenbox.1 and a tenbox-GROUP.1 for each group
 *     tenbox-manual markdown      prints docs/cli.md
 *
 * Both say the same: what a command is, stands in the table only. Here stand the parts that belong to no command.
 */
#include <stdio.h>
#include <string.h>

#include <gio/gio.h>

#include "tenbox-cli/command.h"
#include "tenbox-cli/help.h"
#include "tenbox-cli/settings.h"

/* --- what belongs to no command ------------------------------------------------------------ */

static const char intro[] = "tenbox makes, starts and controls virtual machines on this host, "
                            "through its daemon, tenboxd(8). The daemon "
                            "is started when the first command needs it. Data goes to standard "
                            "output, everything else to standard error.";

static const struct {
    const char *status;
    const char *meaning;
} statuses[] = {
    {"0", "Done."},
    {"1", "It failed, and no other number fits."},
    {"2", "The command line was wrong, or an answer was needed and nobody could be asked."},
    {"3", "There is no VM, operation or other thing of that name."},
    {"4", "The state does not allow it, the name is taken, something was changed meanwhile, or a "
          "name fits several "
          "things."},
    {"5", "Not allowed."},
    {"6", "The time was over."},
    {"7", "The daemon cannot be reached."},
    {"9", "Withdrawn, by Ctrl-C or by somebody else."},
};

static const struct {
    const char *format;
    const char *meaning;
} formats[] = {
    {"table",
     "Columns for people. On a terminal it is cut to its width unless --no-trunc is given."},
    {"wide", "The same with more columns."},
    {"json", "One valid document: an array for a list, an object for one thing, an object with "
             "“error” when it "
             "failed."},
    {"jsonl", "One JSON document a line."},
    {"yaml", "The same as json, as YAML."},
    {"csv", "RFC 4180, with the names of the fields as header and their values as they are, for "
            "instance bytes "
            "instead of “4 GiB”."},
    {"name", "Only names, one a line; --quiet does that too."},
    {"template=TEXT",
     "TEXT for each document, with {{.name}} or {{.last_exit.signal}} for the value of a field, "
     "{{json .labels}} for its JSON and {{join .pending \", \"}} for the elements of a list; \\t "
     "and "
     "\\n are a tab and a newline. Behind “table ” the tabs make columns. A field that is not "
     "there is "
     "an error which names those that are."},
};

static const struct {
    const char *path;
    const char *meaning;
} paths[] = {
    {"$XDG_CONFIG_HOME/tenbox/cli.json",
     "The user's settings and aliases; “tenbox config” and “tenbox alias” write it."},
    {"/etc/tenbox/cli.json", "Those for all users."},
    {"$XDG_RUNTIME_DIR/tenbox.sock", "The socket of the user's daemon."},
    {"/run/tenbox/tenbox.sock", "The socket of the system's daemon."},
};

static const char names_text[] = "A VM is named by its name, its id, or the first characters of "
                                 "its id (three or more). Commands that take several "
                                 "VMs work on all of them at the same time, tell about each, and "
                                 "end with the greatest status. Those that take "
                                 "--all mean every VM for which they make sense; --filter picks "
                                 "among them: state=running, name=web* (with * "
                                 "and ?), label=KEY or label=KEY=VALUE, id=BEGINNING, or any other "
                                 "field and its value. Conditions on one name are "
                                 "alternatives, others must all hold.";

static const char questions_text[] =
    "What destroys something asks first. --yes answers; where nobody can be asked, because "
    "standard input is no "
    "terminal or --no-input is given, the command ends with status 2.";

static const char order_text[] =
    "An option of the command line wins over the environment, that over the user's cli.json, that "
    "over the system's, "
    "that over the default. “tenbox config show --origin” shows what decided.";

/* --- roff ---------------------------------------------------------------------------------- */

static void append_roff(GString *page, const char *text)
{
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const gunichar character = g_utf8_get_char(at);

        if ((character == '.' || character == '\'') && (at == text || at[-1] == '\n'))
            g_string_append(page, "\\&");
        if (character == '\\')
            g_string_append(page, "\\e");
        else if (character == '-')
            g_string_append(page, "\\-");
        else if (character == 0x201c)
            g_string_append(page, "\\(lq");
        else if (character == 0x201d)
            g_string_append(page, "\\(rq");
        else if (character == 0x2026)
            g_string_append(page, "...");
        else if (character == '~')
            g_string_append(page, "\\(ti");
        else if (character == '^')
            g_string_append(page, "\\(ha");
        else if (character < 0x80)
            g_string_append_c(page, (char)character);
        else
            g_string_append_printf(page, "\\[u%04X]", character);
    }
}

/* One sentence a line, as roff wants it, so that it knows where sentences end. */
static void append_sentences(GString *page, const char *text)
{
    g_auto(GStrv) sentences = g_strsplit(text, ". ", -1);

    for (char **sentence = sentences; *sentence; sentence++) {
        append_roff(page, *sentence);
        g_string_append(page, sentence[1] ? ".\n" : "\n");
    }
}

static void append_paragraph(GString *page, const char *text)
{
    g_string_append(page, ".PP\n");
    append_sentences(page, text);
}

/* A term in bold and what it means. */
static void append_item(GString *page, const char *term, const char *meaning)
{
    g_string_append(page, ".TP\n.B ");
    append_roff(page, term);
    g_string_append_c(page, '\n');
    append_sentences(page, meaning);
}

/* A page of its own, which another one is pointed to. */
static void append_reference(GString *page, const char *name, int section, gboolean is_last)
{
    g_string_append(page, ".BR ");
    append_roff(page, name);
    g_string_append_printf(page, " (%d)%s\n", section, is_last ? "" : ",");
}

static GString *begin_page(const char *name, const char *summary)
{
    GString *page = g_string_new(".\\\" SPDX-License-Identifier: LGPL-2.1-or-later\n"
                                 ".\\\" Made from the command table by tenbox-manual.\n");
    g_autofree char *title = g_ascii_strup(name, -1);

    g_string_append(page, ".TH ");
    append_roff(page, title);
    g_string_append_printf(page, " 1 \"\" \"TenBox %s\" \"TenBox\"\n.SH NAME\n", TENBOX_VERSION);
    append_roff(page, name);
    g_string_append(page, " \\- ");
    append_roff(page, summary);
    g_string_append_c(page, '\n');
    return page;
}

/* @term without the four columns that help leaves for the letter. */
static char *describe_option(const CliOption *option)
{
    g_autofree char *text = cli_help_describe_option(option);

    return g_strdup(g_strchug(text));
}

/* @text as a sentence; the table has it without a capital and a full stop, as lists of options do. */
static char *make_sentence(const char *text)
{
    char *sentence = g_strconcat(text, ".", NULL);

    *sentence = g_ascii_toupper(*sentence);
    return sentence;
}

static void append_options(GString *page, const CliOption *options)
{
    for (const CliOption *option = options; option && option->name; option++) {
        g_autofree char *term = describe_option(option);
        g_autofree char *meaning = make_sentence(option->summary);

        append_item(page, term, meaning);
    }
}

static void append_command(GString *page, const CliCommand *command)
{
    g_autofree char *words = cli_command_words(command);
    g_autofree char *summary = g_strconcat(command->summary, ".", NULL);

    g_string_append(page, ".SS tenbox ");
    append_roff(page, words);
    g_string_append(page, "\n.B tenbox ");
    append_roff(page, words);
    if (command->options)
        g_string_append(page, "\n.RI [ OPTION ...]");
    g_string_append_c(page, '\n');
    if (*command->arguments) {
        g_string_append(page, ".I ");
        append_roff(page, command->arguments);
        g_string_append_c(page, '\n');
    }
    append_paragraph(page, summary);
    if (command->description)
        append_sentences(page, command->description);
    if (command->shortcut) {
        g_auto(GStrv) shortcuts = g_strsplit(command->shortcut, "|", -1);
        g_autofree char *joined = g_strjoinv("”, “tenbox ", shortcuts);
        g_autofree char *text = g_strdup_printf("Short: “tenbox %s”.", joined);

        append_sentences(page, text);
    }
    append_options(page, command->options);
    g_string_append(page, ".PP\nExamples:\n.PP\n.nf\n.RS 4\n");
    for (guint i = 0; command->examples[i]; i++) {
        append_roff(page, command->examples[i]);
        g_string_append_c(page, '\n');
    }
    g_string_append(page, ".RE\n.fi\n");
    if (command->see_also) {
        g_autofree char *text = g_strdup_printf("See also: %s.", command->see_also);

        append_paragraph(page, text);
    }
}

static void append_commands(GString *page, const char *group)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_strcmp0(command->group, group) == 0)
            append_command(page, command);
    }
}

static void append_environment(GString *page)
{
    g_string_append(page, ".SH ENVIRONMENT\n");
    for (const CliSetting *setting = cli_setting_table; setting->key; setting++) {
        g_autofree char *meaning =
            setting->option ? g_strdup_printf("%s, as --%s.", setting->summary, setting->option)
                            : g_strconcat(setting->summary, ".", NULL);

        if (setting->environment)
            append_item(page, setting->environment, meaning);
    }
    for (const CliVariable *variable = cli_variables; variable->name; variable++) {
        g_autofree char *meaning = make_sentence(variable->summary);

        append_item(page, variable->name, meaning);
    }
}

static void append_settings(GString *page)
{
    g_string_append(page, ".SH SETTINGS\n");
    append_sentences(page, order_text);
    for (const CliSetting *setting = cli_setting_table; setting->key; setting++) {
        g_autofree char *meaning =
            g_strdup_printf("%s%s%s.", setting->summary, setting->fallback ? "; default " : "",
                            setting->fallback ? setting->fallback : "");

        append_item(page, setting->key, meaning);
    }
}

static char *make_main_page(void)
{
    GString *page = begin_page("tenbox", "run and control virtual machines");

    g_string_append(
        page, ".SH SYNOPSIS\n.B tenbox\n.I GROUP COMMAND\n.RI [ OPTION ...]\n.RI [ ARGUMENT ...]\n"
              ".br\n.B tenbox help\n.RI [ GROUP\n.RI [ COMMAND ]]\n.SH DESCRIPTION\n");
    append_sentences(page, intro);
    append_paragraph(page, "The groups of commands have pages of their own:");
    for (const CliGroup *group = cli_groups; group->name; group++) {
        g_autofree char *name = g_strconcat("tenbox-", group->name, "(1)", NULL);
        g_autofree char *meaning = g_strdup_printf("tenbox %s: %s.", group->name, group->summary);

        append_item(page, name, meaning);
    }
    g_string_append(page, ".SH OPTIONS\nThese may stand anywhere on the command line.\n");
    append_options(page, cli_global_options);
    g_string_append(page, ".SH NAMES AND FILTERS\n");
    append_sentences(page, names_text);
    append_paragraph(page, questions_text);
    g_string_append(page, ".SH FORMATS\n");
    append_sentences(
        page,
        "--output (or --format) chooses one; --columns and --no-headers concern tables and CSV.");
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++)
        append_item(page, formats[i].format, formats[i].meaning);
    g_string_append(page, ".SH COMMANDS WITHOUT A GROUP\n");
    append_commands(page, NULL);
    g_string_append(page, ".SH EXIT STATUS\n");
    append_sentences(
        page, "“vm exists” has statuses of its own. Of several failures the greatest counts.");
    for (gsize i = 0; i < G_N_ELEMENTS(statuses); i++)
        append_item(page, statuses[i].status, statuses[i].meaning);
    append_environment(page);
    append_settings(page);
    g_string_append(page, ".SH FILES\n");
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        append_item(page, paths[i].path, paths[i].meaning);
    g_string_append(page, ".SH SEE ALSO\n");
    for (const CliGroup *group = cli_groups; group->name; group++) {
        g_autofree char *name = g_strconcat("tenbox-", group->name, NULL);

        append_reference(page, name, 1, FALSE);
    }
    append_reference(page, "tenboxd.conf", 5, FALSE);
    append_reference(page, "tenboxd", 8, TRUE);
    return g_string_free(page, FALSE);
}

static char *make_group_page(const CliGroup *group)
{
    g_autofree char *name = g_strconcat("tenbox-", group->name, NULL);
    GString *page = begin_page(name, group->summary);

    g_string_append_printf(page,
                           ".SH SYNOPSIS\n.B tenbox %s\n.I COMMAND\n.RI [ OPTION ...]\n"
                           ".RI [ ARGUMENT ...]\n.SH DESCRIPTION\n",
                           group->name);
    for (const CliCommand *command = cli_commands; command->name; command++) {
        g_autofree char *summary = g_strconcat(command->summary, ".", NULL);

        if (g_strcmp0(command->group, group->name) == 0)
            append_item(page, command->name, summary);
    }
    g_string_append(
        page, ".PP\nOptions of all commands, formats, exit statuses and the environment are in\n");
    append_reference(page, "tenbox", 1, TRUE);
    g_string_truncate(page, page->len - 1);
    g_string_append(page, ".\n.SH COMMANDS\n");
    append_commands(page, group->name);
    g_string_append(page, ".SH SEE ALSO\n");
    append_reference(page, "tenbox", 1, TRUE);
    return g_string_free(page, FALSE);
}

static gboolean write_page(const char *folder, const char *name, const char *text, GError **error)
{
    g_autofree char *file = g_strconcat(name, ".1", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);

    return g_file_set_contents(path, text, -1, error);
}

static gboolean write_pages(const char *folder, GError **error)
{
    g_autofree char *main_page = make_main_page();

    if (!write_page(folder, "tenbox", main_page, error))
        return FALSE;
    for (const CliGroup *group = cli_groups; group->name; group++) {
        g_autofree char *name = g_strconcat("tenbox-", group->name, NULL);
        g_autofree char *page = make_group_page(group);

        if (!write_page(folder, name, page, error))
            return FALSE;
    }
    return TRUE;
}

/* --- Markdown ------------------------------------------------------------------------------ */

/* A cell of a table: its borders and line ends would be the table's. */
static char *make_cell(const char *text)
{
    g_auto(GStrv) pieces = g_strsplit(text, "|", -1);

    return g_strjoinv("\\|", pieces);
}

static void print_options(const CliOption *options)
{
    if (!options || !options->name)
        return;
    printf("\n| option | |\n|---|---|\n");
    for (const CliOption *option = options; option->name; option++) {
        g_autofree char *term = describe_option(option);
        g_autofree char *cell = make_cell(term);

        printf("| `%s` | %s |\n", cell, option->summary);
    }
}

static void print_command(const CliCommand *command)
{
    g_autofree char *words = cli_command_words(command);

    printf("\n### tenbox %s %s\n\n%s.", words, command->arguments, command->summary);
    if (command->description)
        printf(" %s", command->description);
    if (command->shortcut) {
        g_auto(GStrv) shortcuts = g_strsplit(command->shortcut, "|", -1);
        g_autofree char *joined = g_strjoinv("`, `tenbox ", shortcuts);

        printf(" Short: `tenbox %s`.", joined);
    }
    printf("\n");
    print_options(command->options);
    printf("\n```sh\n");
    for (guint i = 0; command->examples[i]; i++)
        printf("%s\n", command->examples[i]);
    printf("```\n");
}

static void print_commands(const char *group)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_strcmp0(command->group, group) == 0)
            print_command(command);
    }
}

static void print_markdown(void)
{
    printf("<!-- Made from the command table: tenbox-manual markdown >docs/cli.md -->\n# "
           "tenbox\n\n%s\n",
           intro);
    printf("\n%s\n\n%s\n\n## Options of all commands\n", names_text, questions_text);
    print_options(cli_global_options);
    printf("\n## Formats\n\n| format | |\n|---|---|\n");
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++)
        printf("| `%s` | %s |\n", formats[i].format, formats[i].meaning);
    printf("\n## Exit status\n\n| | |\n|---|---|\n");
    for (gsize i = 0; i < G_N_ELEMENTS(statuses); i++)
        printf("| %s | %s |\n", statuses[i].status, statuses[i].meaning);
    printf("\n## Settings and environment\n\n%s\n\n| setting | option | environment | default | |\n"
           "|---|---|---|---|---|\n",
           order_text);
    for (const CliSetting *setting = cli_setting_table; setting->key; setting++)
        printf("| `%s` | %s%s | %s | %s | %s |\n", setting->key, setting->option ? "--" : "",
               setting->option ? setting->option : "",
               setting->environment ? setting->environment : "",
               setting->fallback ? setting->fallback : "", setting->summary);
    printf("\n| variable | |\n|---|---|\n");
    for (const CliVariable *variable = cli_variables; variable->name; variable++)
        printf("| %s | %s |\n", variable->name, variable->summary);
    for (const CliGroup *group = cli_groups; group->name; group++) {
        printf("\n## tenbox %s: %s\n", group->name, group->summary);
        print_commands(group->name);
    }
    printf("\n## Without a group\n");
    print_commands(NULL);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    if (argc == 2 && g_str_equal(argv[1], "markdown")) {
        print_markdown();
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (argc == 3 && g_str_equal(argv[1], "man")) {
        if (write_pages(argv[2], &error))
            return 0;
        fprintf(stderr, "tenbox-manual: %s\n", error->message);
        return 1;
    }
    fprintf(stderr, "usage: tenbox-manual man FOLDER | markdown\n");
    return 2;
}
