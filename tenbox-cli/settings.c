/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings, their files and their order; see settings.h.
 */
#include "tenbox-cli/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>

#include "tenbox-cli/escape.h"
#include "tenbox-cli/format.h"
#include "tenbox-cli/output.h"

#define SYSTEM_PATH "/etc/tenbox/cli.json"
#define NUMBER_MAX  86400

const CliSetting cli_setting_table[] = {
    {"output", CLI_SETTING_FORMAT, "output", "TENBOX_FORMAT", NULL, "table",
     N_("how data is printed")},
    {"color", CLI_SETTING_CHOICE, "color", NULL, "auto|always|never", "auto",
     N_("colours in tables; auto: on a terminal")},
    {"progress", CLI_SETTING_CHOICE, "progress", "TENBOX_PROGRESS", "auto|plain|json|none", "auto",
     N_("how progress is told")},
    {"no_input", CLI_SETTING_BOOLEAN, "no-input", "TENBOX_NO_INPUT", NULL, "false",
     N_("never ask anything")},
    {"debug", CLI_SETTING_BOOLEAN, "debug", "TENBOX_DEBUG", NULL, "false",
     N_("tell about every request to the daemon")},
    {"timeout", CLI_SETTING_NUMBER, "timeout", NULL, NULL, "0",
     N_("seconds that a command may take; 0: any number")},
    {"host", CLI_SETTING_TEXT, "host", "TENBOX_HOST", NULL, NULL,
     N_("the daemon to use, as a URI")},
    {"escape_key", CLI_SETTING_ESCAPE, "escape-key", NULL, NULL, "ctrl-]",
     N_("the key that leaves a console")},
    {0},
};

const CliVariable cli_variables[] = {
    {"TENBOX_CONFIG_DIR", N_("the folder of cli.json; $XDG_CONFIG_HOME/tenbox when it is not set")},
    {"TENBOX_NO_AUTOSTART", N_("1: never start a daemon")},
    {"TENBOX_DAEMON", N_("the tenboxd to start")},
    {"NO_COLOR", N_("not empty: no colours, unless --color says otherwise")},
    {"TERM", N_("dumb: no colours and no redrawn lines")},
    {"VISUAL", N_("the editor of “vm edit”")},
    {"EDITOR", N_("the same, where VISUAL is not set")},
    {0},
};

struct _CliSettings {
    JsonNode *user;   /* an object */
    JsonNode *system; /* an object */
    GHashTable *aliases;
};

void cli_settings_free(CliSettings *self)
{
    if (!self)
        return;
    g_clear_pointer(&self->user, json_node_unref);
    g_clear_pointer(&self->system, json_node_unref);
    g_clear_pointer(&self->aliases, g_hash_table_unref);
    g_free(self);
}

const char *cli_origin_to_string(CliOrigin origin)
{
    switch (origin) {
    case CLI_ORIGIN_OPTION: return "option";
    case CLI_ORIGIN_ENVIRONMENT: return "environment";
    case CLI_ORIGIN_USER: return "user";
    case CLI_ORIGIN_SYSTEM: return "system";
    case CLI_ORIGIN_DEFAULT: break;
    }
    return "default";
}

const CliSetting *cli_setting_find(const char *key)
{
    for (const CliSetting *setting = cli_setting_table; setting->key; setting++) {
        if (g_str_equal(setting->key, key))
            return setting;
    }
    return NULL;
}

/* --- values -------------------------------------------------------------------------------- */

static gboolean parse_boolean(const char *text, gboolean *ret_value)
{
    static const char *const yes[] = {"true", "1", "yes", "on", NULL};
    static const char *const no[] = {"false", "0", "no", "off", "", NULL};
    g_autofree char *lower = g_ascii_strdown(text, -1);

    *ret_value = g_strv_contains(yes, lower);
    return *ret_value || g_strv_contains(no, lower);
}

gboolean cli_setting_check(const CliSetting *setting, const char *name, const char *text,
                           GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean is_true;
    guint8 key;

    switch (setting->kind) {
    case CLI_SETTING_TEXT:
        if (!*text)
            g_set_error_literal(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                _("it is empty"));
        break;
    case CLI_SETTING_CHOICE:
        if (!cli_is_choice(setting->choices, text))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is not one of: %s"), text, setting->choices);
        break;
    case CLI_SETTING_BOOLEAN:
        if (!parse_boolean(text, &is_true))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is not one of: %s"), text, "true|false");
        break;
    case CLI_SETTING_NUMBER:
        if (!g_ascii_string_to_signed(text, 10, 0, NUMBER_MAX, NULL, NULL))
            g_set_error(&problem, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is no whole number from 0 to %d"), text, NUMBER_MAX);
        break;
    case CLI_SETTING_FORMAT: cli_format_check(text, &problem); break;
    case CLI_SETTING_ESCAPE: cli_escape_parse(text, &key, &problem); break;
    }
    if (!problem)
        return TRUE;
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s", name, problem->message);
    return FALSE;
}

/* What a file says about @setting: a text, NULL for nothing. */
static const char *get_member(JsonNode *file, const CliSetting *setting)
{
    JsonObject *object = json_node_get_object(file);

    return json_object_get_string_member_with_default(object, setting->key, NULL);
}

gboolean cli_settings_get(CliSettings *self, const char *key, const CliCommandLine *line,
                          const char **ret_value, CliOrigin *ret_origin, GError **error)
{
    const CliSetting *setting = cli_setting_find(key);
    const char *value = NULL;
    CliOrigin origin = CLI_ORIGIN_DEFAULT;

    g_return_val_if_fail(setting, FALSE);
    if (line && line->command && setting->option) {
        const CliOption *option =
            cli_command_find_option(line->command, setting->option, strlen(setting->option), 0);

        /* A command may have an option of that name which means something of its own. */
        if (option && !option->field && cli_command_line_has(line, setting->option)) {
            value = option->kind == CLI_OPTION_FLAG
                        ? "true"
                        : cli_command_line_get_text(line, setting->option);
            origin = CLI_ORIGIN_OPTION;
        }
    }
    if (!value && setting->environment && g_getenv(setting->environment) &&
        *g_getenv(setting->environment)) {
        value = g_getenv(setting->environment);
        origin = CLI_ORIGIN_ENVIRONMENT;
        if (!cli_setting_check(setting, setting->environment, value, error))
            return FALSE;
    }
    if (!value && (value = get_member(self->user, setting)))
        origin = CLI_ORIGIN_USER;
    if (!value && (value = get_member(self->system, setting)))
        origin = CLI_ORIGIN_SYSTEM;
    if (!value)
        value = setting->fallback;
    if (setting->kind == CLI_SETTING_BOOLEAN) {
        gboolean is_true = FALSE;

        parse_boolean(value, &is_true);
        value = is_true ? "true" : "false";
    }
    *ret_value = value;
    if (ret_origin)
        *ret_origin = origin;
    return TRUE;
}

/* --- files --------------------------------------------------------------------------------- */

char *cli_settings_get_path(void)
{
    const char *folder = g_getenv("TENBOX_CONFIG_DIR");

    return folder && *folder
               ? g_build_filename(folder, "cli.json", NULL)
               : g_build_filename(g_get_user_config_dir(), "tenbox", "cli.json", NULL);
}

/* Numbers and booleans may be written as such; inside they are texts. */
static gboolean check_members(JsonObject *object, const char *path, GError **error)
{
    JsonNode *aliases = json_object_get_member(object, "aliases");

    for (const CliSetting *setting = cli_setting_table; setting->key; setting++) {
        JsonNode *member = json_object_get_member(object, setting->key);
        g_autofree char *name = NULL;
        g_autofree char *text = NULL;

        if (!member || JSON_NODE_HOLDS_NULL(member)) {
            json_object_remove_member(object, setting->key);
            continue;
        }
        name = g_strdup_printf("%s: %s", path, setting->key);
        text = cli_value_to_text(member);
        if (!cli_setting_check(setting, name, text, error))
            return FALSE;
        json_object_set_string_member(object, setting->key, text);
    }
    if (aliases && !JSON_NODE_HOLDS_OBJECT(aliases)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("%s: aliases: it is no object"), path);
        return FALSE;
    }
    return TRUE;
}

/* The object in the file @path, an empty one when there is no file. */
static JsonNode *load(const char *path, GError **error)
{
    g_autoptr(JsonNode) node = NULL;
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, &problem)) {
        if (g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
            g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOTDIR))
            text = g_strdup("{}");
        else {
            g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, problem->message);
            return NULL;
        }
    }
    node = cli_parse_json(text, &problem);
    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("%s: %s; mend the file or move it away"), path,
                    problem ? problem->message : _("it holds no JSON object"));
        return NULL;
    }
    return check_members(json_node_get_object(node), path, error) ? g_steal_pointer(&node) : NULL;
}

static void add_aliases(GHashTable *aliases, JsonNode *file)
{
    JsonObject *object = json_node_get_object(file);
    JsonObjectIter iterator;
    const char *name;
    JsonNode *words;

    if (!json_object_has_member(object, "aliases"))
        return;
    json_object_iter_init_ordered(&iterator, json_object_get_object_member(object, "aliases"));
    while (json_object_iter_next_ordered(&iterator, &name, &words))
        g_hash_table_replace(aliases, g_strdup(name), cli_value_to_text(words));
}

CliSettings *cli_settings_load(GError **error)
{
    g_autoptr(CliSettings) self = g_new0(CliSettings, 1);
    g_autofree char *path = cli_settings_get_path();

    self->system = load(SYSTEM_PATH, error);
    if (!self->system)
        return NULL;
    self->user = load(path, error);
    if (!self->user)
        return NULL;
    self->aliases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    add_aliases(self->aliases, self->system);
    add_aliases(self->aliases, self->user);
    return g_steal_pointer(&self);
}

GHashTable *cli_settings_get_aliases(CliSettings *self)
{
    return self->aliases;
}

/* --- changes ------------------------------------------------------------------------------- */

static gboolean set_file_error(GError **error, const char *path)
{
    const int number = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s: %s", path,
                g_strerror(number));
    return FALSE;
}

static gboolean store(CliSettings *self, GError **error)
{
    g_autofree char *path = cli_settings_get_path();
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *json = cli_json_to_text(self->user, TRUE);
    g_autofree char *text = g_strconcat(json, "\n", NULL);
    int descriptor;
    gboolean is_stored;

    if (g_mkdir_with_parents(folder, 0700) < 0)
        return set_file_error(error, folder);
    if (!g_file_set_contents_full(path, text, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, error))
        return FALSE;
    descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return set_file_error(error, folder);
    is_stored = fsync(descriptor) == 0 || set_file_error(error, folder);
    close(descriptor);
    return is_stored;
}

gboolean cli_settings_set(CliSettings *self, const CliSetting *setting, const char *text,
                          GError **error)
{
    JsonObject *object = json_node_get_object(self->user);

    if (text)
        json_object_set_string_member(object, setting->key, text);
    else
        json_object_remove_member(object, setting->key);
    return store(self, error);
}

gboolean cli_settings_set_alias(CliSettings *self, const char *name, const char *words,
                                GError **error)
{
    JsonObject *object = json_node_get_object(self->user);
    JsonObject *aliases;

    if (!json_object_has_member(object, "aliases"))
        json_object_set_object_member(object, "aliases", json_object_new());
    aliases = json_object_get_object_member(object, "aliases");
    if (words)
        json_object_set_string_member(aliases, name, words);
    else
        json_object_remove_member(aliases, name);
    return store(self, error);
}
