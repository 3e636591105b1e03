/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm console, logs: what guests and their processes wrote.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/console.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"

/* --- console ------------------------------------------------------------------------------- */

int cli_vm_console(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    const CliConsoleOptions options = {
        .is_read_only = cli_command_line_has(line, "read-only"),
        .has_log_lines = cli_command_line_has(line, "log"),
        .log_lines = (guint)cli_command_line_get_number(line, "log", 0),
    };
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_connect(cli, TRUE, &error))
        vm = cli_find_vm(cli, name, &error);
    return vm ? cli_console_run(cli, vm, &options)
              : cli_fail(cli, cli->connection ? name : NULL, error);
}

/* --- logs ---------------------------------------------------------------------------------- */

static int print_log_document(Cli *cli, TenboxVm *vm, const char *source, const char *text)
{
    g_autoptr(JsonNode) document = json_node_new(JSON_NODE_OBJECT);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const guint count = g_strv_length(lines);
    JsonObject *object = json_object_new();
    JsonArray *array = json_array_new();

    for (guint i = 0; i < count; i++) {
        /* The text ends with a newline, which begins no line. */
        if (i + 1 < count || *lines[i])
            json_array_add_string_element(array, lines[i]);
    }
    json_object_set_string_member(object, "vm_id", tenbox_vm_get_id(vm));
    json_object_set_string_member(object, "source", source);
    json_object_set_array_member(object, "lines", array);
    json_node_take_object(document, object);
    return cli_print_document(cli, document, NULL, "vm_id");
}

int cli_vm_logs(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    const char *source = cli_command_line_get_text(line, "source");
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (!source)
        source = "console";
    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    vm = cli_find_vm(cli, name, &error);
    if (!vm)
        return cli_fail(cli, name, error);
    tenbox_vm_read_log_async(vm, source, (guint)cli_command_line_get_number(line, "lines", 0),
                             cli->cancellable, cli_wait_ready, &result);
    text = tenbox_vm_read_log_finish(vm, cli_wait(&result), &error);
    if (!text)
        return cli_fail(cli, name, error);
    if (!cli_prints_table(cli))
        return print_log_document(cli, vm, source, text);
    cli_print_text(text);
    return CLI_EXIT_DONE;
}
