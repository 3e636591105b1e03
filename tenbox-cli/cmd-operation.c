/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox operation …: what takes time, seen and withdrawn.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/progress.h"

static const CliColumn operation_columns[] = {
    {"id", N_("ID"), "id"},
    {"kind", N_("KIND"), "kind"},
    {"state", N_("STATE"), "state", .is_state = TRUE},
    {"vm", N_("VM"), "vm_id", cli_show_short_id},
    {"progress", N_("PROGRESS"), "progress.percent", .is_wide = TRUE},
    {"created", N_("CREATED"), "created_at", cli_show_time},
    {"ended", N_("ENDED"), "ended_at", cli_show_time},
    {"error", N_("ERROR"), "error.detail"},
    {0},
};

static JsonNode *to_document(TenboxOperation *operation, GError **error)
{
    g_autofree char *text = tenbox_operation_dup_json(operation);

    return cli_parse_object(text, error);
}

static GPtrArray *list_operations(Cli *cli, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_list_operations_async(cli->connection, cli->cancellable, cli_wait_ready,
                                            &result);
    return tenbox_connection_list_operations_finish(cli->connection, cli_wait(&result), error);
}

int cli_operation_ls(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GPtrArray) operations = NULL;
    g_autoptr(GError) error = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    operations = list_operations(cli, &error);
    if (operations)
        listing = cli_listing_new(cli, operation_columns, "id", FALSE, &error);
    for (guint i = 0; listing && !error && i < operations->len; i++) {
        TenboxOperation *operation = g_ptr_array_index(operations, i);
        JsonNode *document;

        if (!cli_command_line_has(line, "all") &&
            tenbox_operation_get_state(operation) != TENBOX_OPERATION_STATE_RUNNING)
            continue;
        document = to_document(operation, &error);
        if (document)
            cli_listing_add(listing, document, &error);
    }
    if (error)
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return CLI_EXIT_DONE;
}

/* The operation of that id, or of the only one that begins so (three characters or more). */
static TenboxOperation *find_operation(Cli *cli, const char *id, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GPtrArray) operations = NULL;
    g_autoptr(GString) matches = g_string_new(NULL);
    TenboxOperation *found = NULL;
    guint count = 0;

    if (strlen(id) >= 36) {
        tenbox_connection_get_operation_async(cli->connection, id, cli->cancellable, cli_wait_ready,
                                              &result);
        return tenbox_connection_get_operation_finish(cli->connection, cli_wait(&result), error);
    }
    operations = list_operations(cli, error);
    if (!operations)
        return NULL;
    for (guint i = 0; i < operations->len && strlen(id) >= 3; i++) {
        TenboxOperation *operation = g_ptr_array_index(operations, i);

        if (!g_str_has_prefix(tenbox_operation_get_id(operation), id))
            continue;
        g_string_append_printf(matches, "%s%s", count ? ", " : "",
                               tenbox_operation_get_id(operation));
        found = operation;
        count++;
    }
    if (count == 1)
        return g_object_ref(found);
    if (count)
        g_set_error(error, CLI_ERROR, CLI_ERROR_AMBIGUOUS,
                    _("“%s” is the beginning of several ids: %s"), id, matches->str);
    else
        g_set_error(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND, _("there is no operation “%s”"),
                    id);
    return NULL;
}

static int print_operation(Cli *cli, TenboxOperation *operation)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) document = to_document(operation, &error);

    return document ? cli_print_document(cli, document, operation_columns, "id")
                    : cli_fail(cli, NULL, error);
}

int cli_operation_show(Cli *cli, const CliCommandLine *line)
{
    const char *id = g_ptr_array_index(line->arguments, 0);
    g_autoptr(TenboxOperation) operation = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_connect(cli, TRUE, &error))
        operation = find_operation(cli, id, &error);
    return operation ? print_operation(cli, operation)
                     : cli_fail(cli, cli->connection ? id : NULL, error);
}

/* How many seconds one look at an operation holds: its progress is told that often. */
#define LOOK_SECONDS 1

/* Waits for the end; TRUE when it is done. */
static gboolean wait_for(Cli *cli, TenboxOperation *operation, GError **error)
{
    g_autoptr(CliProgress) progress = cli_progress_new(cli);

    for (;;) {
        g_autoptr(GAsyncResult) result = NULL;
        g_autoptr(GError) problem = NULL;
        g_autoptr(JsonNode) document = NULL;

        tenbox_operation_wait_async(operation, progress ? LOOK_SECONDS : -1, cli->cancellable,
                                    cli_wait_ready, &result);
        if (tenbox_operation_wait_finish(operation, cli_wait(&result), &problem))
            return TRUE;
        if (!g_error_matches(problem, TENBOX_ERROR, TENBOX_ERROR_TIMED_OUT) ||
            tenbox_operation_get_state(operation) != TENBOX_OPERATION_STATE_RUNNING) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        document = to_document(operation, NULL);
        if (document)
            cli_progress_show_operation(progress, json_node_get_object(document));
    }
}

int cli_operation_wait(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GError) connect_error = NULL;
    int status = CLI_EXIT_DONE;

    if (!cli_connect(cli, TRUE, &connect_error))
        return cli_fail(cli, NULL, connect_error);
    for (guint i = 0; i < line->arguments->len; i++) {
        const char *id = g_ptr_array_index(line->arguments, i);
        g_autoptr(GError) error = NULL;
        g_autoptr(TenboxOperation) operation = find_operation(cli, id, &error);

        if (!operation || !wait_for(cli, operation, &error)) {
            const int failure = line->arguments->len == 1 && !operation
                                    ? cli_fail(cli, id, error)
                                    : cli_report(cli, id, error);

            status = MAX(status, failure);
        }
        if (operation && !cli_prints_table(cli) && line->arguments->len == 1)
            print_operation(cli, operation);
    }
    return status;
}

int cli_operation_cancel(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GError) connect_error = NULL;
    int status = CLI_EXIT_DONE;

    if (!cli_connect(cli, TRUE, &connect_error))
        return cli_fail(cli, NULL, connect_error);
    for (guint i = 0; i < line->arguments->len; i++) {
        const char *id = g_ptr_array_index(line->arguments, i);
        g_autoptr(GError) error = NULL;
        g_autoptr(GAsyncResult) result = NULL;
        g_autoptr(TenboxOperation) operation = find_operation(cli, id, &error);

        if (operation) {
            tenbox_operation_cancel_async(operation, cli->cancellable, cli_wait_ready, &result);
            tenbox_operation_cancel_finish(operation, cli_wait(&result), &error);
        }
        if (error) {
            const int failure = cli_report(cli, id, error);

            status = MAX(status, failure);
        } else {
            cli_message(cli, _("%s is withdrawn."), tenbox_operation_get_id(operation));
        }
    }
    return status;
}
