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
        .takes_over = cli_command_line_has(line, "force"),
        .has_log_lines = cli_command_line_has(line, "log"),
        .log_lines = (guint)cli_command_line_get_number(line, "log", 0),
    };
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (options.is_read_only && options.takes_over) {
        g_set_error_literal(&error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--read-only watches, --force takes over: one of them"));
        return cli_fail(cli, NULL, error);
    }
    if (cli_connect(cli, TRUE, &error))
        vm = cli_find_vm(cli, name, &error);
    return vm ? cli_console_run(cli, vm, &options)
              : cli_fail(cli, cli->connection ? name : NULL, error);
}

/* --- keys ---------------------------------------------------------------------------------- */

int cli_vm_send_key(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    vm = cli_find_vm(cli, name, &error);
    for (guint i = 1; vm && !error && i < line->arguments->len; i++) {
        g_autoptr(GAsyncResult) result = NULL;

        tenbox_vm_send_key_async(vm, g_ptr_array_index(line->arguments, i), cli->cancellable,
                                 cli_wait_ready, &result);
        tenbox_vm_send_key_finish(vm, cli_wait(&result), &error);
    }
    return error ? cli_fail(cli, name, error) : CLI_EXIT_DONE;
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

/* A log that is followed. */
typedef struct {
    Cli *cli;
    TenboxVm *vm;
    const char *source;
    CliListing *listing; /* of documents; NULL: text */
    gboolean has_times;
    GString *rest;  /* the end of what came: an unfinished line, or sequence for the terminal */
    gsize searched; /* so much of that line is known to have no newline */
    gboolean is_over;
    GError *error;
} Follow;

static const CliColumn line_columns[] = {
    {"time", N_("TIME"), "time", cli_show_time, .width = 19},
    {"line", N_("LINE"), "line"},
    {0},
};

/* One line, when it came, in the form that was asked for. */
static void show_line(Follow *self, const char *text)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    JsonNode *document;
    JsonObject *object;
    g_autofree char *time = NULL;

    if (!self->listing) {
        time = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
        printf("%s  ", time);
        cli_print_line(text);
        return;
    }
    time = g_date_time_format_iso8601(now);
    document = json_node_new(JSON_NODE_OBJECT);
    object = json_object_new();
    json_object_set_string_member(object, "vm_id", tenbox_vm_get_id(self->vm));
    json_object_set_string_member(object, "source", self->source);
    json_object_set_string_member(object, "time", time);
    json_object_set_string_member(object, "line", text);
    json_node_take_object(document, object);
    if (!cli_listing_add(self->listing, document, &self->error))
        self->is_over = TRUE;
}

/* Lines that are longer are shown in pieces: a guest that never ends one does not fill the memory. */
#define LINE_SIZE_MAX 65536

/* @is_end: what is left is a line too. */
static void show_lines(Follow *self, gboolean is_end)
{
    const GString *rest = self->rest;
    gsize begin = 0;

    while (!self->is_over) {
        const char *line = rest->str + begin;
        const gsize length = MIN(rest->len - begin, LINE_SIZE_MAX);
        const char *newline =
            memchr(line + self->searched, '\n', length - MIN(length, self->searched));
        g_autofree char *text = NULL;
        gsize size = newline ? (gsize)(newline - line) : length;

        if (!newline && size == LINE_SIZE_MAX) {
            size -= cli_measure_unfinished(line, size);
        } else if (!newline && (!is_end || !size)) {
            self->searched = size;
            break;
        }
        text = g_utf8_make_valid(line, (gssize)size);
        show_line(self, g_strchomp(text));
        begin += size + (newline ? 1 : 0);
        self->searched = 0;
    }
    g_string_erase(self->rest, 0, (gssize)begin);
}

static void on_log_output(TenboxConsole *log, GBytes *bytes, gpointer user_data)
{
    Follow *self = user_data;
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);

    g_string_append_len(self->rest, data, (gssize)length);
    if (self->listing || self->has_times) {
        show_lines(self, FALSE);
    } else {
        const gsize whole =
            self->rest->len - cli_measure_unfinished(self->rest->str, self->rest->len);
        g_autofree char *text = g_strndup(self->rest->str, whole);

        cli_print_text(text);
        g_string_erase(self->rest, 0, (gssize)whole);
    }
    if (fflush(stdout) != 0)
        self->is_over = TRUE;
}

static void on_log_closed(TenboxConsole *log, GError *error, gpointer user_data)
{
    Follow *self = user_data;

    if (error && !self->error)
        self->error = g_error_copy(error);
    self->is_over = TRUE;
}

static int follow_log(Cli *cli, const CliCommandLine *line, TenboxVm *vm, const char *source)
{
    Follow self = {.cli = cli,
                   .vm = vm,
                   .source = source,
                   .has_times = cli_command_line_has(line, "timestamps")};
    g_autoptr(TenboxConsole) log = NULL;
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;
    int status = CLI_EXIT_DONE;

    tenbox_vm_follow_log_async(vm, source, (int)cli_command_line_get_number(line, "lines", -1),
                               cli->cancellable, cli_wait_ready, &result);
    log = tenbox_vm_follow_log_finish(vm, cli_wait(&result), &error);
    if (log && !cli_prints_table(cli))
        listing = cli_listing_new(cli, line_columns, "line", TRUE, &error);
    if (error)
        return cli_fail(cli, tenbox_vm_get_name(vm), error);
    self.listing = listing;
    self.rest = g_string_new(NULL);
    g_signal_connect(log, "output", G_CALLBACK(on_log_output), &self);
    g_signal_connect(log, "closed", G_CALLBACK(on_log_closed), &self);
    while (!self.is_over && !g_cancellable_is_cancelled(cli->cancellable))
        g_main_context_iteration(NULL, TRUE);
    g_signal_handlers_disconnect_by_data(log, &self);
    tenbox_console_close(log);
    if (listing || self.has_times)
        show_lines(&self, TRUE);
    else
        cli_print_text(self.rest->str);
    if (listing)
        cli_listing_end(listing);
    /* Ctrl-C is how one leaves. */
    if (self.error)
        status = cli_report(cli, tenbox_vm_get_name(vm), self.error);
    else if (cli->is_timed_out)
        status = CLI_EXIT_TIMED_OUT;
    g_clear_error(&self.error);
    g_string_free(self.rest, TRUE);
    return status;
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
    if (cli_command_line_has(line, "timestamps") && !cli_command_line_has(line, "follow")) {
        g_set_error_literal(&error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--timestamps tells when lines come, so it needs --follow"));
        return cli_fail(cli, NULL, error);
    }
    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    vm = cli_find_vm(cli, name, &error);
    if (!vm)
        return cli_fail(cli, name, error);
    if (cli_command_line_has(line, "follow"))
        return follow_log(cli, line, vm, source);
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
