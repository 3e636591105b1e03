/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm ls, inspect, exists, stats: looking at VMs without touching them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

/* --- ls ------------------------------------------------------------------------------------ */

/* A listing of the VMs that @filter means. */
static CliListing *make_listing(Cli *cli, GPtrArray *vms, const CliFilter *filter, GError **error)
{
    const CliColumn *columns =
        cli_command_line_has(cli->line, "deleted") ? cli_deleted_vm_columns : cli_vm_columns;
    g_autoptr(CliListing) listing = cli_listing_new(cli, columns, "name", FALSE, error);

    for (guint i = 0; listing && i < vms->len; i++) {
        g_autoptr(JsonNode) document = cli_vm_to_document(g_ptr_array_index(vms, i), error);
        gboolean matches;

        if (!document || !cli_filter_matches(filter, document, &matches, error))
            return NULL;
        if (matches && !cli_listing_add(listing, g_steal_pointer(&document), error))
            return NULL;
    }
    return g_steal_pointer(&listing);
}

/* Set by whatever happens to a VM. */
static void on_changed(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    gboolean *has_changed = user_data;

    *has_changed = TRUE;
}

typedef struct {
    gboolean is_over;
    GError *error;
} Watch;

static void on_closed(TenboxConnection *connection, GError *error, gpointer user_data)
{
    Watch *watch = user_data;

    watch->is_over = TRUE;
    if (error)
        watch->error = g_error_copy(error);
}

/* How often the uptime is brought up to date while nothing happens. */
#define REDRAW_SECONDS 5

static gboolean on_tick(gpointer user_data)
{
    gboolean *has_changed = user_data;

    *has_changed = TRUE;
    return G_SOURCE_CONTINUE;
}

/* Prints the table anew with every change until it is interrupted. */
static int watch_list(Cli *cli, const CliFilter *filter)
{
    const gboolean is_terminal = cli->terminal_width > 0;
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;
    gboolean has_changed = TRUE;
    Watch watch = {0};
    guint tick;
    int status = CLI_EXIT_DONE;

    g_signal_connect(cli->connection, "vm-added", G_CALLBACK(on_changed), &has_changed);
    g_signal_connect(cli->connection, "vm-changed", G_CALLBACK(on_changed), &has_changed);
    g_signal_connect(cli->connection, "vm-removed", G_CALLBACK(on_changed), &has_changed);
    g_signal_connect(cli->connection, "closed", G_CALLBACK(on_closed), &watch);
    tenbox_connection_watch_async(cli->connection, cli->cancellable, cli_wait_ready, &result);
    if (!tenbox_connection_watch_finish(cli->connection, cli_wait(&result), &error))
        return cli_fail(cli, NULL, error);
    tick = is_terminal ? g_timeout_add_seconds(REDRAW_SECONDS, on_tick, &has_changed) : 0;
    while (!watch.is_over && !g_cancellable_is_cancelled(cli->cancellable)) {
        if (has_changed) {
            g_autoptr(GPtrArray) vms = cli_list_vms(cli, &error);
            g_autoptr(CliListing) listing = vms ? make_listing(cli, vms, filter, &error) : NULL;

            if (!listing)
                break;
            has_changed = FALSE;
            if (is_terminal)
                fputs("\033[H\033[J", stdout);
            cli_listing_end(listing);
            if (!is_terminal)
                fputc('\n', stdout);
            fflush(stdout);
        }
        g_main_context_iteration(NULL, TRUE);
    }
    g_clear_handle_id(&tick, g_source_remove);
    g_signal_handlers_disconnect_by_data(cli->connection, &has_changed);
    g_signal_handlers_disconnect_by_data(cli->connection, &watch);
    /* Ctrl-C is how one leaves. */
    if (g_cancellable_is_cancelled(cli->cancellable))
        status = cli->is_timed_out ? CLI_EXIT_TIMED_OUT : CLI_EXIT_DONE;
    else if (error || watch.error)
        status = cli_report(cli, NULL, error ? error : watch.error);
    g_clear_error(&watch.error);
    return status;
}

/*
 * The list is the first question: whether anybody answers shows there, and one request does. Nobody there is what
 * cli_connect() knows what to do about.
 */
static GPtrArray *list_at_once(Cli *cli, gboolean are_deleted, GError **error)
{
    GPtrArray *(*list)(Cli * cli, GError * *error) =
        are_deleted ? cli_list_deleted_vms : cli_list_vms;
    g_autoptr(GError) problem = NULL;
    g_autoptr(GPtrArray) vms = NULL;

    if (cli_connect_with(cli, FALSE, TENBOX_CONNECTION_FLAGS_NO_PROBE, &problem))
        vms = list(cli, &problem);
    if (vms)
        return g_steal_pointer(&vms);
    if (!g_error_matches(problem, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    g_clear_object(&cli->connection);
    return cli_connect(cli, TRUE, error) ? list(cli, error) : NULL;
}

int cli_vm_ls(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliFilter) filter = NULL;
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(GError) error = NULL;

    filter = cli_filter_new(cli_command_line_get_list(line, "filter"), &error);
    if (filter && cli_command_line_has(line, "watch") && !cli_prints_table(cli))
        g_set_error_literal(
            &error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
            _("--watch redraws a table; for programs there is “tenbox events -o jsonl”"));
    else if (filter && cli_command_line_has(line, "watch") && cli_command_line_has(line, "deleted"))
        g_set_error_literal(&error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--watch shows the VMs there are, not the trash"));
    if (error)
        return cli_fail(cli, NULL, error);
    if (cli_command_line_has(line, "watch"))
        return cli_connect(cli, TRUE, &error) ? watch_list(cli, filter)
                                              : cli_fail(cli, NULL, error);
    vms = list_at_once(cli, cli_command_line_has(line, "deleted"), &error);
    if (vms)
        listing = make_listing(cli, vms, filter, &error);
    if (!listing)
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    if (vms->len == 0 && cli_prints_table(cli) && isatty(STDERR_FILENO) &&
        !cli_command_line_has(line, "deleted"))
        cli_message(cli, "%s",
                    _("There are no VMs yet; “tenbox help vm create” shows how to make one."));
    return CLI_EXIT_DONE;
}

/* --- exists -------------------------------------------------------------------------------- */

/* As podman has it: 0 there is, 1 there is not, anything else is an error of its own. */
#define EXISTS_NOT   1
#define EXISTS_ERROR 125

int cli_vm_exists(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_connect(cli, TRUE, &error))
        vm = cli_find_vm(cli, name, &error);
    if (vm)
        return CLI_EXIT_DONE;
    if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND))
        return EXISTS_NOT;
    cli_fail(cli, name, error);
    return EXISTS_ERROR;
}

/* --- inspect ------------------------------------------------------------------------------- */

/* Live figures, or a null: they are there while the VM has a process. */
static JsonNode *get_statistics(Cli *cli, TenboxVm *vm)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *text = NULL;
    JsonNode *statistics = NULL;

    if (tenbox_vm_get_state(vm) == TENBOX_VM_STATE_STOPPED ||
        tenbox_vm_get_state(vm) == TENBOX_VM_STATE_CRASHED)
        return json_node_new(JSON_NODE_NULL);
    tenbox_vm_get_statistics_async(vm, cli->cancellable, cli_wait_ready, &result);
    /* It may have stopped since; there is nothing to tell then. */
    text = tenbox_vm_get_statistics_finish(vm, cli_wait(&result), NULL);
    if (text)
        statistics = cli_parse_json(text, NULL);
    return statistics ? statistics : json_node_new(JSON_NODE_NULL);
}

static JsonNode *inspect(Cli *cli, const char *name, GError **error)
{
    g_autoptr(TenboxVm) vm = cli_find_vm(cli, name, error);
    JsonNode *document = vm ? cli_vm_to_document(vm, error) : NULL;

    if (document)
        json_object_set_member(json_node_get_object(document), "statistics",
                               get_statistics(cli, vm));
    return document;
}

/* One VM gives an object. */
static int inspect_one(Cli *cli, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) document = inspect(cli, name, &error);

    if (!document)
        return cli_fail(cli, name, error);
    return cli_print_document(cli, document, NULL, "name");
}

int cli_vm_inspect(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) connect_error = NULL;
    int status = CLI_EXIT_DONE;

    if (!cli_connect(cli, TRUE, &connect_error))
        return cli_fail(cli, NULL, connect_error);
    if (line->arguments->len == 1)
        return inspect_one(cli, g_ptr_array_index(line->arguments, 0));
    /* There is no table of everything: JSON it is, unless another format was asked for. */
    if (cli_prints_table(cli) && !cli_command_line_has(line, "columns"))
        cli->format = CLI_FORMAT_JSON;
    listing = cli_listing_new(cli, cli_vm_columns, "name", FALSE, &connect_error);
    if (!listing)
        return cli_fail(cli, NULL, connect_error);
    for (guint i = 0; i < line->arguments->len; i++) {
        const char *name = g_ptr_array_index(line->arguments, i);
        g_autoptr(GError) error = NULL;
        JsonNode *vm = inspect(cli, name, &error);

        if (!vm || !cli_listing_add(listing, vm, &error)) {
            const int failure = cli_report(cli, name, error);

            status = MAX(status, failure);
        }
    }
    cli_listing_end(listing);
    return status;
}

/* --- stats --------------------------------------------------------------------------------- */

/* What was seen of a VM last, for figures that are differences. */
typedef struct {
    gint64 cpu_time;
    gint64 time; /* microseconds, monotonic */
} Sample;

static gint64 get_number(JsonObject *object, const char *name)
{
    JsonNode *member = json_object_get_member(object, name);

    return member && JSON_NODE_HOLDS_VALUE(member) ? json_node_get_int(member) : 0;
}

static char *show_percent(JsonNode *value, JsonObject *document)
{
    return value ? g_strdup_printf("%.1f %%", json_node_get_double(value)) : g_strdup("");
}

static char *show_nanoseconds(JsonNode *value, JsonObject *document)
{
    return value ? cli_format_duration(json_node_get_int(value) / 1000000000) : g_strdup("");
}

static const CliColumn statistics_columns[] = {
    {"name", N_("NAME"), "name"},
    {"cpu", N_("CPU"), "cpu_percent", show_percent},
    {"cpu-time", N_("CPU TIME"), "cpu_time_ns", show_nanoseconds},
    {"memory", N_("MEMORY"), "resident_bytes", cli_show_bytes},
    {"limit", N_("OF"), "memory_bytes", cli_show_bytes},
    {"exits", N_("EXITS"), "exit_count"},
    {"uptime", N_("UPTIME"), "uptime_ns", show_nanoseconds},
    {"cpus", N_("CPUS"), "vcpu_count", .is_wide = TRUE},
    {"id", N_("ID"), "vm_id", .is_wide = TRUE},
    {0},
};

/* What the daemon says, with the name, the sum of the exits, and the CPU's share since the last time: of one CPU,
 * so it may be more than 100. NULL when the VM does not run any more. */
static JsonNode *take_sample(Cli *cli, TenboxVm *vm, GHashTable *samples, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *text = NULL;
    JsonNode *document;
    JsonObject *object;
    Sample *sample = g_hash_table_lookup(samples, tenbox_vm_get_id(vm));
    const gint64 now = g_get_monotonic_time();
    gint64 cpu_time;
    gint64 exit_count = 0;

    tenbox_vm_get_statistics_async(vm, cli->cancellable, cli_wait_ready, &result);
    text = tenbox_vm_get_statistics_finish(vm, cli_wait(&result), error);
    document = text ? cli_parse_json(text, error) : NULL;
    if (!document || !JSON_NODE_HOLDS_OBJECT(document)) {
        g_clear_pointer(&document, json_node_unref);
        return NULL;
    }
    object = json_node_get_object(document);
    cpu_time = get_number(object, "cpu_time_ns");
    json_object_set_string_member(object, "name", tenbox_vm_get_name(vm));
    if (sample && now > sample->time)
        json_object_set_double_member(object, "cpu_percent",
                                      (double)(cpu_time - sample->cpu_time) /
                                          ((double)(now - sample->time) * 1000.0) * 100.0);
    else
        json_object_set_null_member(object, "cpu_percent");
    if (json_object_has_member(object, "exits")) {
        JsonObject *exits = json_object_get_object_member(object, "exits");
        g_autoptr(GList) names = exits ? json_object_get_members(exits) : NULL;

        for (GList *name = names; name; name = name->next)
            exit_count += get_number(exits, name->data);
    }
    json_object_set_int_member(object, "exit_count", exit_count);
    if (!sample) {
        sample = g_new0(Sample, 1);
        g_hash_table_insert(samples, g_strdup(tenbox_vm_get_id(vm)), sample);
    }
    *sample = (Sample){cpu_time, now};
    return document;
}

static gboolean has_process(TenboxVm *vm)
{
    const TenboxVmState state = tenbox_vm_get_state(vm);

    return state == TENBOX_VM_STATE_RUNNING || state == TENBOX_VM_STATE_PAUSED ||
           state == TENBOX_VM_STATE_STOPPING;
}

/* The VMs of the command line, else all of them. */
static GPtrArray *choose_vms(Cli *cli, const CliCommandLine *line, int *status)
{
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(GError) error = NULL;

    if (line->arguments->len == 0) {
        vms = cli_list_vms(cli, &error);
        if (!vms)
            *status = cli_fail(cli, NULL, error);
        return g_steal_pointer(&vms);
    }
    vms = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint i = 0; i < line->arguments->len; i++) {
        g_autoptr(GError) problem = NULL;
        const char *name = g_ptr_array_index(line->arguments, i);
        TenboxVm *vm = cli_find_vm(cli, name, &problem);

        if (vm) {
            g_ptr_array_add(vms, vm);
        } else {
            const int failure = cli_report(cli, name, problem);

            *status = MAX(*status, failure);
        }
    }
    return g_steal_pointer(&vms);
}

/* One sample of each. FALSE when it cannot go on. */
static gboolean add_samples(Cli *cli, CliListing *listing, GPtrArray *vms, GHashTable *samples,
                            GError **error)
{
    for (guint i = 0; i < vms->len; i++) {
        g_autoptr(GError) problem = NULL;
        TenboxVm *vm = g_ptr_array_index(vms, i);
        JsonNode *document = has_process(vm) ? take_sample(cli, vm, samples, &problem) : NULL;

        if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_CANCELLED) ||
            g_error_matches(problem, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        /* One that has stopped meanwhile is left out. */
        if (document && !cli_listing_add(listing, document, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean on_second(gpointer user_data)
{
    gboolean *is_due = user_data;

    *is_due = TRUE;
    return G_SOURCE_REMOVE;
}

static void wait_a_second(Cli *cli)
{
    gboolean is_due = FALSE;
    guint source = g_timeout_add_seconds(1, on_second, &is_due);

    while (!is_due && !g_cancellable_is_cancelled(cli->cancellable))
        g_main_context_iteration(NULL, TRUE);
    if (!is_due)
        g_source_remove(source);
}

/* A table is redrawn each second; other formats go on with more of the same documents. */
static int stream_statistics(Cli *cli, const CliCommandLine *line, GHashTable *samples)
{
    g_autoptr(CliListing) stream = NULL;
    g_autoptr(GError) error = NULL;
    int status = CLI_EXIT_DONE;

    if (!cli_prints_table(cli))
        stream = cli_listing_new(cli, statistics_columns, "name", TRUE, &error);
    while (!error && !g_cancellable_is_cancelled(cli->cancellable)) {
        g_autoptr(GPtrArray) vms = choose_vms(cli, line, &status);
        g_autoptr(CliListing) table = NULL;

        if (!vms || status != CLI_EXIT_DONE)
            break;
        if (!stream)
            table = cli_listing_new(cli, statistics_columns, "name", FALSE, &error);
        if (error || !add_samples(cli, stream ? stream : table, vms, samples, &error))
            break;
        if (table) {
            fputs(cli->terminal_width ? "\033[H\033[J" : "", stdout);
            cli_listing_end(table);
            fflush(stdout);
        }
        wait_a_second(cli);
    }
    if (stream)
        cli_listing_end(stream);
    if (g_cancellable_is_cancelled(cli->cancellable))
        return cli->is_timed_out ? CLI_EXIT_TIMED_OUT : CLI_EXIT_DONE;
    return error ? cli_report(cli, NULL, error) : status;
}

int cli_vm_stats(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GHashTable) samples = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(GError) error = NULL;
    int status = CLI_EXIT_DONE;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    if (!cli_command_line_has(line, "no-stream"))
        return stream_statistics(cli, line, samples);
    vms = choose_vms(cli, line, &status);
    if (!vms)
        return status;
    listing = cli_listing_new(cli, statistics_columns, "name", FALSE, &error);
    if (!listing || !add_samples(cli, listing, vms, samples, &error))
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return status;
}
