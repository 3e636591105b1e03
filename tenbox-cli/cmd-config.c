/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox config, alias, completion: what a person has decided once.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/alias.h"
#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"

/* --- config -------------------------------------------------------------------------------- */

static const CliColumn plain_columns[] = {
    {"key", N_("KEY"), "key"},
    {"value", N_("VALUE"), "value"},
    {"origin", N_("ORIGIN"), "origin", .is_wide = TRUE},
    {"default", N_("DEFAULT"), "default", .is_wide = TRUE},
    {"environment", N_("ENVIRONMENT"), "environment", .is_wide = TRUE},
    {0},
};

static const CliColumn origin_columns[] = {
    {"key", N_("KEY"), "key"},
    {"value", N_("VALUE"), "value"},
    {"origin", N_("ORIGIN"), "origin"},
    {"default", N_("DEFAULT"), "default", .is_wide = TRUE},
    {"environment", N_("ENVIRONMENT"), "environment", .is_wide = TRUE},
    {0},
};

/* {key, value, origin, default, environment} */
static JsonNode *make_setting(Cli *cli, const CliSetting *setting, GError **error)
{
    JsonNode *document;
    JsonObject *object;
    const char *value;
    CliOrigin origin;

    if (!cli_settings_get(cli->settings, setting->key, cli->line, &value, &origin, error))
        return NULL;
    document = json_node_new(JSON_NODE_OBJECT);
    object = json_object_new();
    json_object_set_string_member(object, "key", setting->key);
    json_object_set_string_member(object, "value", value);
    json_object_set_string_member(object, "origin", cli_origin_to_string(origin));
    json_object_set_string_member(object, "default", setting->fallback);
    json_object_set_string_member(object, "environment", setting->environment);
    json_node_take_object(document, object);
    return document;
}

int cli_config_show(Cli *cli, const CliCommandLine *line)
{
    const CliColumn *columns =
        cli_command_line_has(line, "origin") ? origin_columns : plain_columns;
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) error = NULL;

    listing = cli_listing_new(cli, columns, "key", FALSE, &error);
    for (const CliSetting *setting = cli_setting_table; listing && !error && setting->key;
         setting++) {
        JsonNode *document = make_setting(cli, setting, &error);

        if (document)
            cli_listing_add(listing, document, &error);
    }
    if (error)
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return CLI_EXIT_DONE;
}

/* The setting of that name, or an error that names all. */
static const CliSetting *find_setting(const char *key, GError **error)
{
    const CliSetting *setting = cli_setting_find(key);
    g_autoptr(GString) keys = NULL;

    if (setting)
        return setting;
    keys = g_string_new(NULL);
    for (setting = cli_setting_table; setting->key; setting++)
        g_string_append_printf(keys, "%s%s", keys->len ? ", " : "", setting->key);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("there is no setting “%s”; there are: %s"), key, keys->str);
    return NULL;
}

int cli_config_get(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) document = NULL;
    const CliSetting *setting = find_setting(g_ptr_array_index(line->arguments, 0), &error);

    if (setting)
        document = make_setting(cli, setting, &error);
    if (!document)
        return cli_fail(cli, NULL, error);
    if (cli_prints_table(cli) && !cli_command_line_has(line, "columns")) {
        const char *value = json_object_get_string_member_with_default(
            json_node_get_object(document), "value", NULL);

        if (value)
            cli_print_line(value);
        return CLI_EXIT_DONE;
    }
    return cli_print_document(cli, document, origin_columns, "value");
}

/* KEY=VALUE each; all are looked at before the first one is stored. */
int cli_config_set(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GError) error = NULL;

    for (guint round = 0; round < 2; round++) {
        for (guint i = 0; i < line->arguments->len; i++) {
            const char *argument = g_ptr_array_index(line->arguments, i);
            const char *equals = strchr(argument, '=');
            g_autofree char *key = NULL;
            const CliSetting *setting;

            if (!equals) {
                g_set_error(&error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            _("“%s” is not of the form KEY=VALUE"), argument);
                return cli_fail(cli, NULL, error);
            }
            key = g_strndup(argument, (gsize)(equals - argument));
            setting = find_setting(key, &error);
            if (!setting || !cli_setting_check(setting, key, equals + 1, &error) ||
                (round && !cli_settings_set(cli->settings, setting, equals + 1, &error)))
                return cli_fail(cli, NULL, error);
        }
    }
    return CLI_EXIT_DONE;
}

int cli_config_unset(Cli *cli, const CliCommandLine *line)
{
    for (guint i = 0; i < line->arguments->len; i++) {
        g_autoptr(GError) error = NULL;
        const CliSetting *setting = find_setting(g_ptr_array_index(line->arguments, i), &error);

        if (!setting || !cli_settings_set(cli->settings, setting, NULL, &error))
            return cli_fail(cli, NULL, error);
    }
    return CLI_EXIT_DONE;
}

/* --- alias --------------------------------------------------------------------------------- */

static const CliColumn alias_columns[] = {
    {"name", N_("NAME"), "name"},
    {"words", N_("STANDS FOR"), "words"},
    {0},
};

int cli_alias_ls(Cli *cli, const CliCommandLine *line)
{
    GHashTable *aliases = cli_settings_get_aliases(cli->settings);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(aliases), (GCompareFunc)strcmp);
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) error = NULL;

    listing = cli_listing_new(cli, alias_columns, "name", FALSE, &error);
    for (GList *name = names; listing && !error && name; name = name->next) {
        JsonNode *document = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "name", name->data);
        json_object_set_string_member(object, "words", g_hash_table_lookup(aliases, name->data));
        json_node_take_object(document, object);
        cli_listing_add(listing, document, &error);
    }
    if (error)
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return CLI_EXIT_DONE;
}

int cli_alias_add(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    g_autoptr(GString) words = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    /* One argument is written as a shell would read it; of several each is a word. */
    if (line->arguments->len == 2)
        g_string_append(words, g_ptr_array_index(line->arguments, 1));
    for (guint i = 1; i < line->arguments->len && line->arguments->len > 2; i++) {
        g_autofree char *quoted = g_shell_quote(g_ptr_array_index(line->arguments, i));

        g_string_append_printf(words, "%s%s", i > 1 ? " " : "", quoted);
    }
    if (!cli_alias_check(name, words->str, &error) ||
        !cli_settings_set_alias(cli->settings, name, words->str, &error))
        return cli_fail(cli, NULL, error);
    cli_message(cli, _("“tenbox %s” now means “tenbox %s”."), name, words->str);
    return CLI_EXIT_DONE;
}

int cli_alias_rm(Cli *cli, const CliCommandLine *line)
{
    GHashTable *aliases = cli_settings_get_aliases(cli->settings);
    int status = CLI_EXIT_DONE;

    for (guint i = 0; i < line->arguments->len; i++) {
        const char *name = g_ptr_array_index(line->arguments, i);
        g_autofree char *safe_name = cli_safe_text(name);
        g_autoptr(GError) error = NULL;

        if (!g_hash_table_contains(aliases, name)) {
            fprintf(stderr, _("tenbox: there is no alias “%s”\n"), safe_name);
            status = CLI_EXIT_NOT_FOUND;
        } else if (!cli_settings_set_alias(cli->settings, name, NULL, &error)) {
            return cli_fail(cli, NULL, error);
        }
    }
    return status;
}

/* --- completion ---------------------------------------------------------------------------- */

int cli_completion(Cli *cli, const CliCommandLine *line)
{
    static const struct {
        const char *shell;
        const char *file;
    } files[] = {
        {"bash", "tenbox.bash"},
        {"zsh", "_tenbox"},
        {"fish", "tenbox.fish"},
    };
    const char *shell = g_ptr_array_index(line->arguments, 0);
    g_autoptr(GBytes) script = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strconcat("/org/tenbox/cli/", files[i].file, NULL);

        if (g_str_equal(shell, files[i].shell))
            script = g_resources_lookup_data(path, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
    }
    g_return_val_if_fail(script, CLI_EXIT_FAILED);
    fwrite(g_bytes_get_data(script, NULL), 1, g_bytes_get_size(script), stdout);
    return CLI_EXIT_DONE;
}
