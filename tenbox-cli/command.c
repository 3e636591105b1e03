/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parser that is derived from the command table.
 *
 * Options may stand anywhere after the command, global ones also before it; "--" ends them. Long
 * options are written out ("--memory 512" or "--memory=512"), letters may be joined ("-qy").
 */
#include "tenbox-cli/command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/format.h"

typedef struct {
    char *text;
    gint64 number;
    GPtrArray *list; /* of char *, ends with NULL; only of CLI_OPTION_LIST */
} CliOptionValue;

static void option_value_free(gpointer data)
{
    CliOptionValue *value = data;

    g_clear_pointer(&value->list, g_ptr_array_unref);
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
            if (g_strcmp0(command->group, group) == 0)
                nearest_offer(&nearest, command->name, "tenbox %s %s", group, command->name);
        }
    } else {
        what = g_strdup_printf(_("there is no command “%s”"), word);
        nearest_offer(&nearest, "help", "tenbox help");
        for (const CliGroup *row = cli_groups; row->name; row++)
            nearest_offer(&nearest, row->name, "tenbox %s", row->name);
        for (const CliCommand *command = cli_commands; command->name; command++) {
            g_autofree char *words = cli_command_words(command);
            g_auto(GStrv) shortcuts =
                g_strsplit(command->shortcut ? command->shortcut : "", "|", -1);

            for (char **shortcut = shortcuts; *shortcut; shortcut++)
                nearest_offer(&nearest, *shortcut, "tenbox %s", *shortcut);
            if (!*shortcuts)
                nearest_offer(&nearest, command->name, "tenbox %s", words);
        }
    }
    set_unknown(error, what, &nearest);
}

/* --- looking things up --------------------------------------------------------------------- */

char *cli_command_words(const CliCommand *command)
{
    return command->group ? g_strconcat(command->group, " ", command->name, NULL)
                          : g_strdup(command->name);
}

gboolean cli_is_choice(const char *choices, const char *text)
{
    g_auto(GStrv) words = g_strsplit(choices, "|", -1);

    return g_strv_contains((const char *const *)words, text);
}

static gboolean is_name(const char *candidate, const char *name, gsize length)
{
    return candidate && strlen(candidate) == length && strncmp(candidate, name, length) == 0;
}

static const CliOption *find_option_in(const CliOption *options, const char *name, gsize length,
                                       char letter)
{
    for (const CliOption *option = options; option && option->name; option++) {
        if (name ? is_name(option->name, name, length) || is_name(option->other_name, name, length)
                 : option->letter == letter)
            return option;
    }
    return NULL;
}

const CliOption *cli_command_find_option(const CliCommand *command, const char *name, gsize length,
                                         char letter)
{
    const CliOption *option =
        find_option_in(command ? command->options : NULL, name, length, letter);

    return option ? option : find_option_in(cli_global_options, name, length, letter);
}

gboolean cli_is_group(const char *word)
{
    for (const CliGroup *group = cli_groups; group->name; group++) {
        if (g_str_equal(group->name, word))
            return TRUE;
    }
    return FALSE;
}

const CliCommand *cli_command_find(const char *group, const char *word)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_strcmp0(command->group, group) == 0 && g_str_equal(command->name, word))
            return command;
        if (!group && command->shortcut && cli_is_choice(command->shortcut, word))
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

/* Another value of an option that may have several. */
static void add_to_list(CliCommandLine *line, const CliOption *option, const char *text)
{
    CliOptionValue *value = g_hash_table_lookup(line->values, option);

    if (!value) {
        value = g_new0(CliOptionValue, 1);
        value->list = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(value->list, NULL);
        g_hash_table_insert(line->values, (gpointer)option, value);
    }
    g_ptr_array_insert(value->list, (int)value->list->len - 1, g_strdup(text));
}

/* Stores the value of @option; @text is NULL for flags. A later one replaces an earlier one. */
static gboolean take_value(CliCommandLine *line, const CliOption *option, const char *text,
                           GError **error)
{
    g_autoptr(GError) problem = NULL;
    CliOptionValue *value;

    if (option->kind == CLI_OPTION_LIST) {
        add_to_list(line, option, text);
        return TRUE;
    }
    value = g_new0(CliOptionValue, 1);

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
        value->text = g_strdup(text);
        if (!g_ascii_string_to_signed(text, 10, option->minimum, option->maximum, &value->number,
                                      NULL))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is no whole number from %" PRId64 " to %" PRId64), text,
                        option->minimum, option->maximum);
        break;
    case CLI_OPTION_CHOICE:
        value->text = g_strdup(text);
        if (!cli_is_choice(option->choices, text))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is not one of: %s"), text, option->choices);
        break;
    case CLI_OPTION_FORMAT:
        value->text = g_strdup(text);
        cli_format_check(text, &problem);
        break;
    case CLI_OPTION_LIST: break; /* above */
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
    const CliOption *option = cli_command_find_option(line->command, name, strlen(name), 0);

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

const char *const *cli_command_line_get_list(const CliCommandLine *line, const char *name)
{
    const CliOptionValue *value = get_value(line, name);

    return value ? (const char *const *)value->list->pdata : NULL;
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
    const CliOption *option = cli_command_find_option(command, name, length, 0);

    if (!option) {
        g_autofree char *shown = g_strndup(word, length + 2);
        g_autofree char *bare = g_strndup(name, length);
        g_autofree char *words = command ? cli_command_words(command) : NULL;
        g_autofree char *what =
            command ? g_strdup_printf(_("“tenbox %s” has no option %s"), words, shown)
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
        const CliOption *option = cli_command_find_option(parser->line->command, NULL, 0, *letter);
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
    if (!line->group && cli_is_group(word)) {
        line->group = word;
        return TRUE;
    }
    line->command = cli_command_find(line->group, word);
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
    g_autofree char *words = cli_command_words(command);

    if (count < command->minimum_arguments) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, _("“tenbox %s” needs: %s"), words,
                    _(command->arguments));
        return FALSE;
    }
    if (count > command->maximum_arguments) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("“%s” is one argument too many for “tenbox %s”"),
                    (const char *)g_ptr_array_index(line->arguments, command->maximum_arguments),
                    words);
        return FALSE;
    }
    if (count && command->choices &&
        !cli_is_choice(command->choices, g_ptr_array_index(line->arguments, 0))) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("“tenbox %s”: “%s” is not one of: %s"), words,
                    (const char *)g_ptr_array_index(line->arguments, 0), command->choices);
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
