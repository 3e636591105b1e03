/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a person has decided once: settings and aliases, and where each comes from.
 *
 * The command line wins over the environment, that over the user's cli.json, that over the system's
 * (/etc/tenbox/cli.json), that over the default. The file is one JSON object; members that this release does
 * not know are kept when it is rewritten.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "tenbox-cli/command.h"

G_BEGIN_DECLS

typedef enum {
    CLI_ORIGIN_DEFAULT,
    CLI_ORIGIN_SYSTEM,
    CLI_ORIGIN_USER,
    CLI_ORIGIN_ENVIRONMENT,
    CLI_ORIGIN_OPTION,
} CliOrigin;

typedef enum {
    CLI_SETTING_TEXT,
    CLI_SETTING_CHOICE,
    CLI_SETTING_BOOLEAN, /* "true" or "false" */
    CLI_SETTING_NUMBER,  /* 0 to 86400 */
    CLI_SETTING_FORMAT,
    CLI_SETTING_ESCAPE, /* see escape.h */
} CliSettingKind;

typedef struct {
    const char *key; /* member of cli.json */
    CliSettingKind kind;
    const char *option;      /* NULL: none */
    const char *environment; /* NULL: none */
    const char *choices;     /* of CLI_SETTING_CHOICE */
    const char *fallback;    /* NULL: nothing */
    const char *summary;     /* N_() */
} CliSetting;

/* Environment variables that are no settings, for the manual. */
typedef struct {
    const char *name;
    const char *summary; /* N_() */
} CliVariable;

/* Both end with a row without name. */
extern const CliSetting cli_setting_table[];
extern const CliVariable cli_variables[];

typedef struct _CliSettings CliSettings;

/*
 * Reads both files. Errors (G_OPTION_ERROR) name the file that is no JSON object, or the member that is of
 * the wrong kind.
 */
CliSettings *cli_settings_load(GError **error);
void cli_settings_free(CliSettings *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliSettings, cli_settings_free)

/* $TENBOX_CONFIG_DIR, $XDG_CONFIG_HOME/tenbox, or ~/.config/tenbox; then cli.json. */
char *cli_settings_get_path(void);

const CliSetting *cli_setting_find(const char *key);
/* Whether @text may be the value of @setting; errors name it by @name. */
gboolean cli_setting_check(const CliSetting *setting, const char *name, const char *text,
                           GError **error);

/*
 * The value in force of the setting @key, borrowed; NULL for nothing. @line may be NULL. Errors
 * (G_OPTION_ERROR) say which variable holds what it cannot.
 */
gboolean cli_settings_get(CliSettings *self, const char *key, const CliCommandLine *line,
                          const char **ret_value, CliOrigin *ret_origin, GError **error);

/* The user's aliases and those of the system that he has not redefined: name → words. Borrowed. */
GHashTable *cli_settings_get_aliases(CliSettings *self);

/* Changes the user's file: the value of a setting, NULL to forget it. Durable when it returns TRUE. */
gboolean cli_settings_set(CliSettings *self, const CliSetting *setting, const char *text,
                          GError **error);
/* The same for an alias. */
gboolean cli_settings_set_alias(CliSettings *self, const char *name, const char *words,
                                GError **error);

/* "the command line", "the environment", …: for people and, untranslated, for scripts. */
const char *cli_origin_to_string(CliOrigin origin);

G_END_DECLS
