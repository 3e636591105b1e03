/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parser and the help that are derived from the command table.
 *
 * Options may stand anywhere after the command, global ones also before it; "--" ends them. Long
 * options are written out ("--memory 512" or "--memory=512"), letters may be joined ("-qy").
 */
#include "tenbox-cli/command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/output.h"

typedef struct {
    char *text;
    gint64 number;
} CliOptionValue;

static void option_value_free(gpointer data)
{
    CliOptionValue *value = data;

    g_free(value->text);
    g_free(value);
}

void cli_command_line_free(CliCommandLine *line)
{
    if (!line)
        return;
    g_clear_pointer(&line->arguments, g_ptr_array_unref);
    g_clear_pointer(&line->values, g_hash_table_unref);
    g_free(line);
}

/* --- what was perhaps meant ---------------------------------------------------------------- */

/* Edits (insert, delete, replace, swap neighbours) that make @a into @b; both are short. */
static guint edit_distance(const char *a, const char *b)
{
    const gsize a_length = strlen(a);
    const gsize b_length = strlen(b);
    const gsize width = b_length + 1;
    g_autofree guint *cells = g_new0(guint, (a_length + 1) * width);

    for (gsize i = 0; i <= a_length; i++) {
        for (gsize j = 0; j <= b_length; j++) {
            guint best;

            if (i == 0 || j == 0) {
                cells[i * width + j] = (guint)(i + j);
                continue;
            }
            best = cells[(i - 1) * width + j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, cells[(i - 1) * width + j] + 1);
            best = MIN(best, cells[i * width + j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, cells[(i - 2) * width + j - 2] + 1);
            cells[i * width + j] = best;
        }
    }
    return cells[a_length * width + b_length];
}

/* The nearest word so far; nothing is near when most of the word would have to change. */
typedef struct {
    const char *word;
    guint distance;
    char *best;
} Nearest;

static void nearest_offer(Nearest *nearest, const char *candidate, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void nearest_offer(Nearest *nearest, const char *candidate, const char *format, ...)
{
    const gsize length = strlen(nearest->word);
    const guint limit = length <= 2 ? 1 : length <= 5 ? 2 : 3;
    va_list arguments;
    guint distance;

    if (length > 64)
        return;
    distance = edit_distance(nearest->word, candidate);
    if (distance > limit || distance >= MIN(length, strlen(candidate)) + (distance == 0) ||
        (nearest->best && distance >= nearest->distance))
        return;
    nearest->distance = distance;
    g_free(nearest->best);
    va_start(arguments, format);
    nearest->best = g_strdup_vprintf(format, arguments);
    va_end(arguments);
}

static void set_unknown(GError **error, const char *what, Nearest *nearest)
{
    if (nearest->best)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                    _("%s; did you mean “%s”?"), what, nearest->best);
    else
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION, what);
    g_clear_pointer(&nearest->best, g_free);
}

static void set_unknown_word(GError **error, const char *group, const char *word)
{
    g_autofree char *what = NULL;
    Nearest nearest = {.word = word};

    if (group) {
        what = g_strdup_printf(_("“%s” has no command “%s”"), group, word);
        for (const CliCommand *command = cli_commands; command->name; command++) {
            if (g_str_equal(command->group, group))
                nearest_offer(&nearest, command->name, "tenbox %s %s", group, command->name);
        }
    } else {
        what = g_strdup_printf(_("there is no command “%s”"), word);
        nearest_offer(&nearest, "help", "tenbox help");
        for (const CliGroup *row = cli_groups; row->name; row++)
            nearest_offer(&nearest, row->name, "tenbox %s", row->name);
        for (const CliCommand *command = cli_commands; command->name; command++) {
            if (command->shortcut)
                nearest_offer(&nearest, command->shortcut, "tenbox %s", command->shortcut);
            else
                nearest_offer(&nearest, command->name, "tenbox %s %s", command->group,
                              command->name);
        }
    }
    set_unknown(error, what, &nearest);
}

/* --- looking things up --------------------------------------------------------------------- */

static const CliOption *find_option_in(const CliOption *options, const char *name, gsize length)
{
    for (const CliOption *option = options; option && option->name; option++) {
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

static const CliOption *find_option(const CliCommand *command, const char *name, gsize length)
{
    const CliOption *option = find_option_in(command ? command->options : NULL, name, length);

    return option ? option : find_option_in(cli_global_options, name, length);
}

static const CliOption *find_letter_in(const CliOption *options, char letter)
{
    for (const CliOption *option = options; option && option->name; option++) {
        if (option->letter == letter)
            return option;
    }
    return NULL;
}

static const CliOption *find_letter(const CliCommand *command, char letter)
{
    const CliOption *option = find_letter_in(command ? command->options : NULL, letter);

    return option ? option : find_letter_in(cli_global_options, letter);
}

static gboolean is_group(const char *word)
{
    for (const CliGroup *group = cli_groups; group->name; group++) {
        if (g_str_equal(group->name, word))
            return TRUE;
    }
    return FALSE;
}

static const CliCommand *find_command(const char *group, const char *word)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (group ? g_str_equal(command->group, group) && g_str_equal(command->name, word)
                  : g_strcmp0(command->shortcut, word) == 0)
            return command;
    }
    return NULL;
}

const CliOption *cli_command_find_field(const CliCommand *command, const char *field)
{
    for (const CliOption *option = command ? command->options : NULL; option && option->name;
         option++) {
        if (field && g_strcmp0(option->field, field) == 0)
            return option;
    }
    return NULL;
}

/* --- values -------------------------------------------------------------------------------- */

gboolean cli_parse_memory(const char *text, gint64 *ret_mib, GError **error)
{
    static const struct {
        const char *suffix;
        gint64 mib;
    } units[] = {
        {"", 1},      {"m", 1},      {"mi", 1},          {"mib", 1},          {"g", 1024},
        {"gi", 1024}, {"gib", 1024}, {"t", 1024 * 1024}, {"ti", 1024 * 1024}, {"tib", 1024 * 1024},
    };
    const gsize digits = strspn(text, "0123456789");
    g_autofree char *number_text = g_strndup(text, digits);
    const char *suffix = text + digits;
    gint64 number;

    if (digits == 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("“%s” is no amount of memory; write MiB as a number, or a number with a unit "
                      "such as 4GiB"),
                    text);
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        if (g_ascii_strcasecmp(suffix, units[i].suffix) != 0)
            continue;
        if (digits > 18 || !g_ascii_string_to_signed(number_text, 10, 0, G_MAXINT64 / units[i].mib,
                                                     &number, NULL)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is more memory than any computer has"), text);
            return FALSE;
        }
        *ret_mib = number * units[i].mib;
        return TRUE;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("“%s”: memory has no unit “%s”; there are M or MiB (which may be left out), G or "
                  "GiB, T or TiB, after a whole number"),
                text, suffix);
    return FALSE;
}

static gboolean is_choice(const CliOption *option, const char *text)
{
    g_auto(GStrv) words = g_strsplit(option->choices, "|", -1);

    return g_strv_contains((const char *const *)words, text);
}

/* Stores the value of @option; @text is NULL for flags. A later one replaces an earlier one. */
static gboolean take_value(CliCommandLine *line, const CliOption *option, const char *text,
                           GError **error)
{
    g_autoptr(GError) problem = NULL;
    CliOptionValue *value = g_new0(CliOptionValue, 1);

    switch (option->kind) {
    case CLI_OPTION_FLAG:
    case CLI_OPTION_TEXT: value->text = g_strdup(text); break;
    case CLI_OPTION_PATH:
        if (*text)
            value->text = g_canonicalize_filename(text, NULL);
        else
            g_set_error_literal(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                _("the file name is empty"));
        break;
    case CLI_OPTION_MEMORY: cli_parse_memory(text, &value->number, &problem); break;
    case CLI_OPTION_NUMBER:
        if (!g_ascii_string_to_signed(text, 10, option->minimum, option->maximum, &value->number,
                                      NULL))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is no whole number from %" PRId64 " to %" PRId64), text,
                        option->minimum, option->maximum);
        break;
    case CLI_OPTION_CHOICE:
        value->text = g_strdup(text);
        if (!is_choice(option, text))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is not one of: %s"), text, option->choices);
        break;
    }
    if (problem) {
        option_value_free(value);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--%s: %s", option->name,
                    problem->message);
        return FALSE;
    }
    g_hash_table_replace(line->values, (gpointer)option, value);
    return TRUE;
}

static const CliOptionValue *get_value(const CliCommandLine *line, const char *name)
{
    const CliOption *option = find_option(line->command, name, strlen(name));

    g_return_val_if_fail(option, NULL);
    return g_hash_table_lookup(line->values, option);
}

gboolean cli_command_line_has(const CliCommandLine *line, const char *name)
{
    return get_value(line, name) != NULL;
}

const char *cli_command_line_get_text(const CliCommandLine *line, const char *name)
{
    const CliOptionValue *value = get_value(line, name);

    return value ? value->text : NULL;
}

gint64 cli_command_line_get_number(const CliCommandLine *line, const char *name, gint64 fallback)
{
    const CliOptionValue *value = get_value(line, name);

    return value ? value->number : fallback;
}

/* --- parsing ------------------------------------------------------------------------------- */

typedef struct {
    int argc;
    char *const *argv;
    int position; /* of the next word */
    CliCommandLine *line;
} Parser;

static gboolean missing_value(const CliOption *option, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, _("--%s needs a value: %s"),
                option->name, _(option->argument));
    return FALSE;
}

static gboolean parse_long(Parser *parser, const char *word, GError **error)
{
    const char *name = word + 2;
    const gsize length = strcspn(name, "=");
    const char *text = name[length] ? name + length + 1 : NULL;
    const CliCommand *command = parser->line->command;
    const CliOption *option = find_option(command, name, length);

    if (!option) {
        g_autofree char *shown = g_strndup(word, length + 2);
        g_autofree char *bare = g_strndup(name, length);
        g_autofree char *what =
            command ? g_strdup_printf(_("“tenbox %s %s” has no option %s"), command->group,
                                      command->name, shown)
                    : g_strdup_printf(_("there is no option %s before a command"), shown);
        Nearest nearest = {.word = bare};

        for (const CliOption *row = command ? command->options : NULL; row && row->name; row++)
            nearest_offer(&nearest, row->name, "--%s", row->name);
        for (const CliOption *row = cli_global_options; row->name; row++)
            nearest_offer(&nearest, row->name, "--%s", row->name);
        set_unknown(error, what, &nearest);
        return FALSE;
    }
    if (option->kind == CLI_OPTION_FLAG) {
        if (text) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, _("--%s takes no value"),
                        option->name);
            return FALSE;
        }
    } else if (!text) {
        if (parser->position >= parser->argc)
            return missing_value(option, error);
        text = parser->argv[parser->position++];
    }
    return take_value(parser->line, option, text, error);
}

static gboolean parse_letters(Parser *parser, const char *word, GError **error)
{
    for (const char *letter = word + 1; *letter; letter++) {
        const CliOption *option = find_letter(parser->line->command, *letter);
        const char *text;

        if (!option) {
            g_autofree char *shown =
                g_utf8_validate(letter, -1, NULL) ? g_utf8_substring(letter, 0, 1) : g_strdup("?");

            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                        _("there is no option -%s here"), shown);
            return FALSE;
        }
        if (option->kind == CLI_OPTION_FLAG) {
            if (!take_value(parser->line, option, NULL, error))
                return FALSE;
            continue;
        }
        text = letter[1] ? letter + 1 : NULL;
        if (!text) {
            if (parser->position >= parser->argc)
                return missing_value(option, error);
            text = parser->argv[parser->position++];
        }
        return take_value(parser->line, option, text, error);
    }
    return TRUE;
}

/* A word that is no option: group, command, or argument. */
static gboolean parse_word(Parser *parser, const char *word, GError **error)
{
    CliCommandLine *line = parser->line;

    if (line->command) {
        g_ptr_array_add(line->arguments, g_strdup(word));
        return TRUE;
    }
    if (!line->group && !line->wants_help && g_str_equal(word, "help")) {
        line->wants_help = TRUE;
        return TRUE;
    }
    if (!line->group && is_group(word)) {
        line->group = word;
        return TRUE;
    }
    line->command = find_command(line->group, word);
    if (!line->command) {
        set_unknown_word(error, line->group, word);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_arguments(const CliCommandLine *line, GError **error)
{
    const CliCommand *command = line->command;
    const guint count = line->arguments->len;

    if (count < command->minimum_arguments) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, _("“tenbox %s %s” needs: %s"),
                    command->group, command->name, _(command->arguments));
        return FALSE;
    }
    if (count > command->maximum_arguments) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("“%s” is one argument too many for “tenbox %s %s”"),
                    (const char *)g_ptr_array_index(line->arguments, command->maximum_arguments),
                    command->group, command->name);
        return FALSE;
    }
    return TRUE;
}

CliCommandLine *cli_command_line_parse(int argc, char *const *argv, const CliCommand **ret_command,
                                       GError **error)
{
    g_autoptr(CliCommandLine) line = g_new0(CliCommandLine, 1);
    Parser parser = {.argc = argc, .argv = argv, .position = 1, .line = line};
    gboolean options_ended = FALSE;

    if (ret_command)
        *ret_command = NULL;
    line->arguments = g_ptr_array_new_with_free_func(g_free);
    line->values = g_hash_table_new_full(NULL, NULL, NULL, option_value_free);

    while (parser.position < argc) {
        const char *word = argv[parser.position++];
        gboolean understood;

        if (!options_ended && g_str_equal(word, "--")) {
            options_ended = TRUE;
            continue;
        }
        if (!options_ended && g_str_has_prefix(word, "--"))
            understood = parse_long(&parser, word, error);
        else if (!options_ended && word[0] == '-' && word[1])
            understood = parse_letters(&parser, word, error);
        else
            understood = parse_word(&parser, word, error);
        if (ret_command)
            *ret_command = line->command;
        if (!understood)
            return NULL;
    }

    if (cli_command_line_has(line, "help"))
        line->wants_help = TRUE;
    if (line->wants_help)
        return g_steal_pointer(&line);
    if (!line->command && !line->group && cli_command_line_has(line, "version")) {
        line->wants_version = TRUE;
        return g_steal_pointer(&line);
    }
    if (!line->command) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("the command is missing"));
        if (line->group)
            g_prefix_error(error, "%s: ", line->group);
        return NULL;
    }
    if (!check_arguments(line, error))
        return NULL;
    return g_steal_pointer(&line);
}

/* --- help ---------------------------------------------------------------------------------- */

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

static char *describe_option(const CliOption *option)
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

static void append_options(GString *text, const char *title, const CliOption *options)
{
    g_autoptr(GPtrArray) left = g_ptr_array_new_with_free_func(g_free);
    guint column = 0;

    if (!options || !options->name)
        return;
    for (const CliOption *option = options; option->name; option++) {
        char *shown = describe_option(option);

        g_ptr_array_add(left, shown);
        column = MAX(column, cli_display_width(shown));
    }
    g_string_append_printf(text, "\n%s\n", title);
    for (guint i = 0; i < left->len; i++)
        append_row(text, g_ptr_array_index(left, i), _(options[i].summary), column);
}

static void append_commands(GString *text, const char *group)
{
    guint column = 0;

    for (const CliCommand *command = cli_commands; command->name; command++)
        column = MAX(column, cli_display_width(command->name));
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_str_equal(command->group, group))
            append_row(text, command->name, _(command->summary), column);
    }
}

static char *help_command(const CliCommand *command)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, _("Usage: tenbox %s %s [OPTION…] %s"), command->group,
                           command->name, *command->arguments ? _(command->arguments) : "");
    while (text->len && text->str[text->len - 1] == ' ')
        g_string_truncate(text, text->len - 1);
    g_string_append_printf(text, "\n\n%s.\n", _(command->summary));
    if (command->description) {
        g_string_append_c(text, '\n');
        append_wrapped(text, _(command->description));
    }
    if (command->shortcut)
        g_string_append_printf(text, _("\nShort form: tenbox %s\n"), command->shortcut);
    append_options(text, _("Options:"), command->options);
    append_options(text, _("Options of all commands:"), cli_global_options);
    if (command->examples[0])
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
    append_options(text, _("Options of all commands:"), cli_global_options);
    g_string_append_printf(text, "\n%s\n",
                           group ? _("“tenbox help GROUP COMMAND” tells more about a command.")
                                 : _("“tenbox help GROUP COMMAND” tells more about a command. "
                                     "A first look: tenbox system doctor"));
    return g_string_free(text, FALSE);
}
