/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completion, from the command table; see complete.h.
 */
#include "tenbox-cli/complete.h"

#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "libtenbox/tenbox.h"
#include "tenbox-cli/command.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/settings.h"

/* How far the words in front of the one that is typed have come. */
typedef struct {
    const CliCommand *command;
    const char *group;
    const char *host;        /* of --host */
    const CliOption *option; /* the word that is typed is its value */
    guint argument_count;
    gboolean is_help;
    gboolean options_ended;
    const char *typed;
} Position;

static void offer(const Position *position, const char *word, const char *summary)
{
    g_autofree char *safe = NULL;

    if (!g_str_has_prefix(word, position->typed))
        return;
    safe = cli_safe_text(summary);
    printf("%s\t%s\n", word, safe);
}

/* --- the words in front -------------------------------------------------------------------- */

static void take_option(Position *position, const char *word, char *const **words)
{
    const char *equals = strchr(word, '=');
    const CliOption *option = NULL;
    const char *value = NULL;

    if (g_str_has_prefix(word, "--")) {
        const gsize length = equals ? (gsize)(equals - word) - 2 : strlen(word) - 2;

        option = cli_command_find_option(position->command, word + 2, length, 0);
        value = equals ? equals + 1 : NULL;
    } else {
        const char *letter = word + 1;

        for (; *letter; letter++) {
            option = cli_command_find_option(position->command, NULL, 0, *letter);
            if (option && option->kind != CLI_OPTION_FLAG)
                break;
        }
        value = *letter && letter[1] ? letter + 1 : NULL;
    }
    if (!option || option->kind == CLI_OPTION_FLAG)
        return;
    if (!value) {
        if (!(*words)[2]) { /* the next word is the one that is typed */
            position->option = option;
            return;
        }
        value = *++*words;
    }
    if (g_str_equal(option->name, "host"))
        position->host = value;
}

static void take_word(Position *position, const char *word)
{
    if (position->command)
        position->argument_count++;
    else if (!position->group && !position->is_help && g_str_equal(word, "help"))
        position->is_help = TRUE;
    else if (!position->group && cli_is_group(word))
        position->group = word;
    else
        position->command = cli_command_find(position->group, word);
}

/* FALSE when a word in front is none that leads anywhere. */
static gboolean find_position(char *const *words, Position *position)
{
    position->typed = "";
    for (; *words; words++) {
        if (!words[1]) {
            position->typed = *words;
            return TRUE;
        }
        if (!position->options_ended && g_str_equal(*words, "--")) {
            position->options_ended = TRUE;
        } else if (!position->options_ended && **words == '-' && (*words)[1]) {
            take_option(position, *words, &words);
            if (position->option) {
                position->typed = words[1];
                return TRUE;
            }
        } else {
            const gboolean had_group = position->group != NULL;

            take_word(position, *words);
            if (!position->command && (had_group || (!position->group && !position->is_help)))
                return FALSE;
        }
    }
    return TRUE;
}

/* --- what the daemon knows ----------------------------------------------------------------- */

typedef struct {
    GAsyncResult *result; /* NULL until it comes */
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Answer *answer = user_data;

    answer->result = g_object_ref(result);
}

static gboolean on_budget(gpointer user_data)
{
    g_cancellable_cancel(user_data);
    return G_SOURCE_REMOVE;
}

static GAsyncResult *await(Answer *answer)
{
    while (!answer->result)
        g_main_context_iteration(NULL, TRUE);
    return answer->result;
}

/* Only a Unix socket answers fast enough and asks nobody anything. */
static TenboxConnection *connect_quickly(const Position *position, GCancellable *cancellable)
{
    g_autoptr(CliSettings) settings = cli_settings_load(NULL);
    g_autofree char *default_uri = tenbox_connection_get_default_uri();
    const char *uri = position->host;
    TenboxConnection *connection;
    Answer answer = {0};

    if (!uri && settings)
        cli_settings_get(settings, "host", NULL, &uri, NULL, NULL);
    if (!uri)
        uri = default_uri;
    if (!uri || !g_str_has_prefix(uri, "unix:"))
        return NULL;
    tenbox_connection_open_async(uri, TENBOX_CONNECTION_FLAGS_NO_PROBE, cancellable, on_answer,
                                 &answer);
    connection = tenbox_connection_open_finish(await(&answer), NULL);
    g_object_unref(answer.result);
    return connection;
}

static void offer_vms(const Position *position, TenboxConnection *connection, gboolean are_deleted,
                      GCancellable *cancellable)
{
    Answer answer = {0};
    g_autoptr(GPtrArray) vms = NULL;

    if (are_deleted) {
        tenbox_connection_list_deleted_vms_async(connection, cancellable, on_answer, &answer);
        vms = tenbox_connection_list_deleted_vms_finish(connection, await(&answer), NULL);
    } else {
        tenbox_connection_list_vms_async(connection, cancellable, on_answer, &answer);
        vms = tenbox_connection_list_vms_finish(connection, await(&answer), NULL);
    }
    g_object_unref(answer.result);
    for (guint i = 0; vms && i < vms->len; i++) {
        TenboxVm *vm = g_ptr_array_index(vms, i);

        offer(position, tenbox_vm_get_name(vm), tenbox_vm_state_to_string(tenbox_vm_get_state(vm)));
    }
}

static void offer_operations(const Position *position, TenboxConnection *connection,
                             GCancellable *cancellable)
{
    Answer answer = {0};
    g_autoptr(GPtrArray) operations = NULL;

    tenbox_connection_list_operations_async(connection, cancellable, on_answer, &answer);
    operations = tenbox_connection_list_operations_finish(connection, await(&answer), NULL);
    g_object_unref(answer.result);
    for (guint i = 0; operations && i < operations->len; i++) {
        TenboxOperation *operation = g_ptr_array_index(operations, i);

        offer(position, tenbox_operation_get_id(operation), tenbox_operation_get_kind(operation));
    }
}

static void offer_from_daemon(const Position *position, CliWordKind kind)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const guint budget = g_timeout_add(CLI_COMPLETE_BUDGET, on_budget, cancellable);
    g_autoptr(TenboxConnection) connection = connect_quickly(position, cancellable);

    if (connection && kind == CLI_WORD_OPERATION)
        offer_operations(position, connection, cancellable);
    else if (connection)
        offer_vms(position, connection, kind == CLI_WORD_DELETED_VM, cancellable);
    if (connection)
        tenbox_connection_close(connection);
    if (!g_cancellable_is_cancelled(cancellable))
        g_source_remove(budget);
}

/* --- what the table knows ------------------------------------------------------------------ */

static void offer_choices(const Position *position, const char *choices)
{
    g_auto(GStrv) words = g_strsplit(choices, "|", -1);

    for (char **word = words; *word; word++)
        offer(position, *word, "");
}

static void offer_options(const Position *position)
{
    const CliOption *const tables[] = {position->command ? position->command->options : NULL,
                                       cli_global_options};

    for (gsize i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const CliOption *option = tables[i]; option && option->name; option++) {
            g_autofree char *word = g_strconcat("--", option->name, NULL);

            if (cli_command_find_option(position->command, option->name, strlen(option->name), 0) ==
                option)
                offer(position, word, _(option->summary));
        }
    }
}

static void offer_value(const Position *position, const CliOption *option)
{
    if (option->kind == CLI_OPTION_PATH)
        printf(":files\n");
    else if (option->kind == CLI_OPTION_FORMAT)
        offer_choices(position, "table|wide|json|jsonl|yaml|csv|name");
    else if (option->choices)
        offer_choices(position, option->choices);
}

static void offer_commands(const Position *position, const char *group)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        if (g_strcmp0(command->group, group) == 0)
            offer(position, command->name, _(command->summary));
        else if (!group && command->shortcut) {
            g_auto(GStrv) shortcuts = g_strsplit(command->shortcut, "|", -1);

            for (char **shortcut = shortcuts; *shortcut; shortcut++)
                offer(position, *shortcut, _(command->summary));
        }
    }
}

static void offer_aliases(const Position *position)
{
    g_autoptr(CliSettings) settings = cli_settings_load(NULL);
    GHashTableIter iterator;
    gpointer name;
    gpointer words;

    if (!settings)
        return;
    g_hash_table_iter_init(&iterator, cli_settings_get_aliases(settings));
    while (g_hash_table_iter_next(&iterator, &name, &words))
        offer(position, name, words);
}

static void offer_first_words(const Position *position)
{
    for (const CliGroup *group = cli_groups; group->name; group++)
        offer(position, group->name, _(group->summary));
    offer_commands(position, NULL);
    if (position->is_help)
        return;
    offer(position, "help", _("Show how something is used"));
    offer_aliases(position);
}

static void offer_argument(const Position *position)
{
    const CliCommand *command = position->command;

    if (position->argument_count >= command->maximum_arguments)
        return;
    if (command->choices && position->argument_count == 0) {
        offer_choices(position, command->choices);
        return;
    }
    switch (command->words) {
    case CLI_WORD_VM:
    case CLI_WORD_DELETED_VM:
    case CLI_WORD_OPERATION: offer_from_daemon(position, command->words); break;
    case CLI_WORD_SETTING:
        for (const CliSetting *setting = cli_setting_table; setting->key; setting++)
            offer(position, setting->key, _(setting->summary));
        break;
    case CLI_WORD_ALIAS: offer_aliases(position); break;
    case CLI_WORD_NONE: break;
    }
}

int cli_complete(char *const *words)
{
    Position position = {0};
    const char *equals;

    if (!find_position(words, &position))
        return 0;
    if (position.option) {
        offer_value(&position, position.option);
    } else if (!position.options_ended && g_str_has_prefix(position.typed, "--") &&
               (equals = strchr(position.typed, '='))) {
        /* Shells differ in what they take for a word; those that keep --name=VALUE together are served so. */
        const CliOption *option = cli_command_find_option(position.command, position.typed + 2,
                                                          (gsize)(equals - position.typed) - 2, 0);

        if (option && option->choices) {
            g_auto(GStrv) choices = g_strsplit(option->choices, "|", -1);

            for (char **choice = choices; *choice; choice++) {
                g_autofree char *word = g_strdup_printf(
                    "%.*s%s", (int)(equals + 1 - position.typed), position.typed, *choice);

                offer(&position, word, "");
            }
        }
    } else if (!position.options_ended && *position.typed == '-') {
        offer_options(&position);
    } else if (position.command) {
        if (!position.is_help)
            offer_argument(&position);
    } else if (position.group) {
        offer_commands(&position, position.group);
    } else {
        offer_first_words(&position);
    }
    return 0;
}
