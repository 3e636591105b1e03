/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See alias.h. */
#include "tenbox-cli/alias.h"

#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/command.h"

/* Whether the option @word, which stands before any command, has its value in the next word. */
static gboolean has_separate_value(const char *word)
{
    const CliOption *option = NULL;

    if (g_str_has_prefix(word, "--")) {
        if (strchr(word, '='))
            return FALSE;
        option = cli_command_find_option(NULL, word + 2, strlen(word + 2), 0);
        return option && option->kind != CLI_OPTION_FLAG;
    }
    for (const char *letter = word + 1; *letter; letter++) {
        option = cli_command_find_option(NULL, NULL, 0, *letter);
        if (option && option->kind != CLI_OPTION_FLAG)
            return letter[1] == '\0';
    }
    return FALSE;
}

/* Where the first word that is no option stands; the length of @argv when there is none. */
static guint find_first_word(char *const *argv)
{
    guint at = 1;

    if (!argv[0])
        return 0;
    while (argv[at] && argv[at][0] == '-' && argv[at][1]) {
        if (g_str_equal(argv[at], "--"))
            return at + 1;
        if (has_separate_value(argv[at]) && argv[at + 1])
            at++;
        at++;
    }
    return at;
}

static gboolean is_taken(const char *name)
{
    return g_str_equal(name, "help") || cli_is_group(name) || cli_command_find(NULL, name);
}

char **cli_alias_expand(char *const *argv, GHashTable *aliases, GError **error)
{
    const guint at = find_first_word(argv);
    const char *name = at < g_strv_length((char **)argv) ? argv[at] : NULL;
    const char *words = name && !is_taken(name) ? g_hash_table_lookup(aliases, name) : NULL;
    g_autoptr(GStrvBuilder) builder = NULL;
    g_auto(GStrv) split = NULL;
    g_autoptr(GError) problem = NULL;

    if (!words)
        return g_strdupv((char **)argv);
    if (!g_shell_parse_argv(words, NULL, &split, &problem)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, _("the alias “%s”: %s"), name,
                    problem->message);
        return NULL;
    }
    builder = g_strv_builder_new();
    for (guint i = 0; i < at; i++)
        g_strv_builder_add(builder, argv[i]);
    g_strv_builder_addv(builder, (const char **)split);
    g_strv_builder_addv(builder, (const char **)argv + at + 1);
    return g_strv_builder_end(builder);
}

gboolean cli_alias_check(const char *name, const char *words, GError **error)
{
    g_auto(GStrv) split = NULL;
    g_autoptr(GError) problem = NULL;

    if (!g_ascii_isalpha(*name) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
            strlen(name) ||
        strlen(name) > 63) {
        g_set_error(
            error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
            _("“%s” cannot be an alias: a letter, then letters, digits, - and _, at most 63"),
            name);
        return FALSE;
    }
    if (is_taken(name)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("“%s” cannot be an alias: tenbox has a command of that name"), name);
        return FALSE;
    }
    if (!g_shell_parse_argv(words, NULL, &split, &problem)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s", problem->message);
        return FALSE;
    }
    if (!is_taken(split[0])) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("“%s” is no command of tenbox that an alias could stand for"), split[0]);
        return FALSE;
    }
    return TRUE;
}
