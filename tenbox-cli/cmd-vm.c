/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm …
 *
 * The verbs that take several VMs share one engine (run_verb): all VMs are looked up and acted upon at
 * the same time, each is told about as it ends, and the worst status is returned.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glib/gi18n.h>

#include "tenbox-cli/cli.h"
#include "tenbox-cli/commands.h"
#include "tenbox-cli/console.h"
#include "tenbox-cli/output.h"

/* --- verbs on several VMs ------------------------------------------------------------------ */

typedef struct _VerbRun VerbRun;

typedef struct {
    TenboxVmAction action;
    const char *done; /* N_(): with %s for the name */
    void (*begin)(TenboxVm *vm, TenboxVmActionFlags flags, GCancellable *cancellable,
                  GAsyncReadyCallback callback, gpointer user_data); /* NULL: stop, see begin() */
    gboolean (*finish)(TenboxVm *vm, GAsyncResult *result, GError **error);
} Verb;

/* One VM of a run. */
typedef struct {
    VerbRun *run;
    const char *argument; /* how the user named it */
    TenboxVm *vm;
    GError *error;
} VerbItem;

struct _VerbRun {
    Cli *cli;
    const Verb *verb;
    TenboxVmActionFlags flags;
    int timeout;
    VerbItem *items;
    guint item_count;
    guint pending;
    int status;
};

static const Verb verb_start = {TENBOX_VM_ACTION_START, N_("%s runs."), tenbox_vm_start_async,
                                tenbox_vm_start_finish};
static const Verb verb_stop = {TENBOX_VM_ACTION_STOP, N_("%s is stopped."), NULL,
                               tenbox_vm_stop_finish};
static const Verb verb_shutdown = {TENBOX_VM_ACTION_SHUTDOWN, N_("%s was asked to shut down."),
                                   tenbox_vm_shutdown_async, tenbox_vm_shutdown_finish};
static const Verb verb_reboot = {TENBOX_VM_ACTION_REBOOT, N_("%s was rebooted."),
                                 tenbox_vm_reboot_async, tenbox_vm_reboot_finish};
static const Verb verb_reset = {TENBOX_VM_ACTION_RESET, N_("%s was reset."), tenbox_vm_reset_async,
                                tenbox_vm_reset_finish};
static const Verb verb_pause = {TENBOX_VM_ACTION_PAUSE, N_("%s is paused."), tenbox_vm_pause_async,
                                tenbox_vm_pause_finish};
static const Verb verb_resume = {TENBOX_VM_ACTION_RESUME, N_("%s goes on."), tenbox_vm_resume_async,
                                 tenbox_vm_resume_finish};
static const Verb verb_delete = {TENBOX_VM_ACTION_DELETE, N_("%s is deleted."),
                                 tenbox_vm_delete_async, tenbox_vm_delete_finish};

/* Takes @error; NULL for success. */
static void end_item(VerbItem *item, GError *error)
{
    VerbRun *run = item->run;

    run->pending--;
    item->error = error;
    if (error) {
        const int status = cli_report(run->cli, item->argument, error);

        run->status = MAX(run->status, status);
        return;
    }
    if (!run->cli->is_quiet) {
        /* The format is one of the table above. */
        fprintf(stderr, _(run->verb->done), tenbox_vm_get_name(item->vm));
        fputc('\n', stderr);
    }
}

static void on_verb_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    VerbItem *item = user_data;
    GError *error = NULL;

    item->run->verb->finish(TENBOX_VM(source), result, &error);
    end_item(item, error);
}

static void on_verb_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
    VerbItem *item = user_data;
    VerbRun *run = item->run;
    GError *error = NULL;

    item->vm = tenbox_connection_get_vm_finish(TENBOX_CONNECTION(source), result, &error);
    if (!item->vm)
        end_item(item, error);
    else if (run->verb->begin)
        run->verb->begin(item->vm, run->flags, run->cli->cancellable, on_verb_done, item);
    else
        tenbox_vm_stop_async(item->vm, run->flags, run->timeout, run->cli->cancellable,
                             on_verb_done, item);
}

/* [{name, id, state, error}], in the order of the command line. */
static void print_results(const VerbRun *run)
{
    g_autoptr(JsonNode) document = json_node_new(JSON_NODE_ARRAY);
    JsonArray *results = json_array_new();

    for (guint i = 0; i < run->item_count; i++) {
        const VerbItem *item = &run->items[i];
        const gboolean is_there = item->vm && !tenbox_vm_is_deleted(item->vm) &&
                                  !(run->verb == &verb_delete && !item->error);
        JsonObject *result = json_object_new();

        json_object_set_string_member(result, "name",
                                      item->vm ? tenbox_vm_get_name(item->vm) : item->argument);
        json_object_set_string_member(result, "id", item->vm ? tenbox_vm_get_id(item->vm) : NULL);
        json_object_set_string_member(
            result, "state",
            is_there ? tenbox_vm_state_to_string(tenbox_vm_get_state(item->vm)) : NULL);
        if (item->error)
            json_object_set_member(result, "error", cli_error_to_json(item->error));
        else
            json_object_set_null_member(result, "error");
        json_array_add_object_element(results, result);
    }
    json_node_take_array(document, results);
    cli_print_json(document);
}

/*
 * Does @verb to all VMs of the command line. *ret_vm, if wanted, is the first of them when the verb
 * succeeded; the caller's to unref.
 */
static int run_verb(Cli *cli, const CliCommandLine *line, const Verb *verb,
                    TenboxVmActionFlags flags, int timeout, TenboxVm **ret_vm)
{
    VerbRun run = {.cli = cli, .verb = verb, .flags = flags, .timeout = timeout};
    g_autoptr(GError) error = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    run.item_count = line->arguments->len;
    run.items = g_new0(VerbItem, run.item_count);
    run.pending = run.item_count;
    for (guint i = 0; i < run.item_count; i++) {
        run.items[i].run = &run;
        run.items[i].argument = g_ptr_array_index(line->arguments, i);
        tenbox_connection_get_vm_async(cli->connection, run.items[i].argument,
                                       TENBOX_VM_LOOKUP_FLAGS_NONE, cli->cancellable, on_verb_found,
                                       &run.items[i]);
    }
    while (run.pending)
        g_main_context_iteration(NULL, TRUE);
    if (cli->is_json)
        print_results(&run);
    if (ret_vm && run.status == CLI_EXIT_DONE)
        *ret_vm = g_object_ref(run.items[0].vm);
    for (guint i = 0; i < run.item_count; i++) {
        g_clear_object(&run.items[i].vm);
        g_clear_error(&run.items[i].error);
    }
    g_free(run.items);
    return run.status;
}

static int run_plain_verb(Cli *cli, const CliCommandLine *line, const Verb *verb)
{
    return run_verb(cli, line, verb, TENBOX_VM_ACTION_FLAGS_NONE, TENBOX_VM_STOP_TIMEOUT_DEFAULT,
                    NULL);
}

int cli_vm_start(Cli *cli, const CliCommandLine *line)
{
    const gboolean wants_console = cli_command_line_has(line, "console");
    g_autoptr(TenboxVm) vm = NULL;
    int status;

    if (wants_console && line->arguments->len > 1) {
        g_autoptr(GError) error =
            g_error_new_literal(G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                _("--console shows one VM; start the others without it"));

        return cli_fail(cli, NULL, error);
    }
    status = run_verb(cli, line, &verb_start, TENBOX_VM_ACTION_FLAGS_NONE,
                      TENBOX_VM_STOP_TIMEOUT_DEFAULT, &vm);
    return vm && wants_console ? cli_console_run(cli, vm) : status;
}

int cli_vm_stop(Cli *cli, const CliCommandLine *line)
{
    const gboolean is_forced = cli_command_line_has(line, "force");
    const gint64 timeout =
        cli_command_line_get_number(line, "timeout", TENBOX_VM_STOP_TIMEOUT_DEFAULT);

    return run_verb(cli, line, &verb_stop,
                    is_forced ? TENBOX_VM_ACTION_FLAGS_FORCE : TENBOX_VM_ACTION_FLAGS_NONE,
                    (int)timeout, NULL);
}

int cli_vm_shutdown(Cli *cli, const CliCommandLine *line)
{
    return run_plain_verb(cli, line, &verb_shutdown);
}

int cli_vm_reboot(Cli *cli, const CliCommandLine *line)
{
    return run_plain_verb(cli, line, &verb_reboot);
}

int cli_vm_reset(Cli *cli, const CliCommandLine *line)
{
    return run_plain_verb(cli, line, &verb_reset);
}

int cli_vm_pause(Cli *cli, const CliCommandLine *line)
{
    return run_plain_verb(cli, line, &verb_pause);
}

int cli_vm_resume(Cli *cli, const CliCommandLine *line)
{
    return run_plain_verb(cli, line, &verb_resume);
}

/* --- rm ------------------------------------------------------------------------------------ */

/* Reads an answer from the terminal; anything that does not begin with y (or the translated yes) is no. */
static gboolean ask(const char *question)
{
    CliBlocking blocking;
    char *answer = NULL;
    size_t size = 0;
    ssize_t length;
    gboolean is_yes = FALSE;

    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    cli_begin_blocking(&blocking);
    length = getline(&answer, &size, stdin);
    cli_end_blocking(&blocking);
    if (length > 0)
        is_yes = g_ascii_tolower(*answer) == 'y' || g_str_has_prefix(answer, _("yes"));
    else
        fputc('\n', stderr);
    free(answer);
    return is_yes;
}

int cli_vm_rm(Cli *cli, const CliCommandLine *line)
{
    const gboolean is_forced = cli_command_line_has(line, "force");
    g_autoptr(GError) error = NULL;

    if (!is_forced && !cli->says_yes) {
        g_autofree char *names = NULL;
        g_autofree char *safe_names = NULL;
        g_autofree char *question = NULL;

        g_ptr_array_add(line->arguments, NULL);
        names = g_strjoinv(", ", (char **)line->arguments->pdata);
        g_ptr_array_set_size(line->arguments, (int)line->arguments->len - 1);
        safe_names = cli_safe_text(names);
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
            error = g_error_new(G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                                _("nobody can be asked whether to delete %s: add --yes, or --force "
                                  "to stop what runs as well"),
                                safe_names);
            return cli_fail(cli, NULL, error);
        }
        question =
            g_strdup_printf(ngettext("Delete the VM %s and its files?",
                                     "Delete the VMs %s and their files?", line->arguments->len),
                            safe_names);
        if (!ask(question)) {
            cli_message(cli, "%s", _("Nothing was deleted."));
            return CLI_EXIT_CANCELLED;
        }
    }
    return run_verb(cli, line, &verb_delete,
                    is_forced ? TENBOX_VM_ACTION_FLAGS_FORCE : TENBOX_VM_ACTION_FLAGS_NONE,
                    TENBOX_VM_STOP_TIMEOUT_DEFAULT, NULL);
}

/* --- ls ------------------------------------------------------------------------------------ */

static JsonNode *parse_vm(TenboxVm *vm, GError **error)
{
    g_autofree char *text = tenbox_vm_dup_json(vm);

    return cli_parse_json(text, error);
}

static int print_list_json(Cli *cli, GPtrArray *vms)
{
    g_autoptr(JsonNode) document = json_node_new(JSON_NODE_ARRAY);
    JsonArray *list = json_array_new();

    json_node_take_array(document, list);
    for (guint i = 0; i < vms->len; i++) {
        g_autoptr(GError) error = NULL;
        JsonNode *vm = parse_vm(g_ptr_array_index(vms, i), &error);

        if (!vm)
            return cli_fail(cli, tenbox_vm_get_name(g_ptr_array_index(vms, i)), error);
        json_array_add_element(list, vm);
    }
    cli_print_json(document);
    return CLI_EXIT_DONE;
}

static void add_vm(CliTable *table, TenboxVm *vm)
{
    const gint64 started = tenbox_vm_get_started_at(vm);
    g_autofree char *cpus = g_strdup_printf("%" PRId64, tenbox_vm_get_cpu_count(vm));
    g_autofree char *memory = cli_format_memory(tenbox_vm_get_memory_mb(vm));
    g_autofree char *uptime =
        started ? cli_format_duration((g_get_real_time() - started) / G_USEC_PER_SEC) : NULL;
    g_autofree char *id = g_strndup(tenbox_vm_get_id(vm), 8);

    cli_table_add(table, (const char *const[]){tenbox_vm_get_name(vm),
                                               tenbox_vm_state_to_string(tenbox_vm_get_state(vm)),
                                               cpus, memory, uptime, id, NULL});
}

int cli_vm_ls(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliTable) table = NULL;
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    tenbox_connection_list_vms_async(cli->connection, cli->cancellable, cli_wait_ready, &result);
    vms = tenbox_connection_list_vms_finish(cli->connection, cli_wait(&result), &error);
    if (!vms)
        return cli_fail(cli, NULL, error);
    if (cli->is_json)
        return print_list_json(cli, vms);
    if (cli->is_quiet) {
        for (guint i = 0; i < vms->len; i++)
            printf("%s\n", tenbox_vm_get_name(g_ptr_array_index(vms, i)));
        return CLI_EXIT_DONE;
    }
    table = cli_table_new((const char *const[]){_("NAME"), _("STATE"), _("CPUS"), _("MEMORY"),
                                                _("UPTIME"), _("ID"), NULL});
    for (guint i = 0; i < vms->len; i++)
        add_vm(table, g_ptr_array_index(vms, i));
    text = cli_table_to_text(table, !cli_command_line_has(line, "no-headers"));
    fputs(text, stdout);
    if (vms->len == 0 && isatty(STDERR_FILENO))
        cli_message(cli, "%s",
                    _("There are no VMs yet; “tenbox help vm create” shows how to make one."));
    return CLI_EXIT_DONE;
}

/* --- create -------------------------------------------------------------------------------- */

static TenboxVmConfig *build_config(const CliCommandLine *line, const char *name, GError **error)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();

    tenbox_vm_config_builder_set_name(builder, name);
    tenbox_vm_config_builder_set_kernel(builder, cli_command_line_get_text(line, "kernel"));
    if (cli_command_line_has(line, "initrd"))
        tenbox_vm_config_builder_set_initrd(builder, cli_command_line_get_text(line, "initrd"));
    if (cli_command_line_has(line, "memory"))
        tenbox_vm_config_builder_set_memory_mb(builder,
                                               cli_command_line_get_number(line, "memory", 0));
    if (cli_command_line_has(line, "cpus"))
        tenbox_vm_config_builder_set_cpu_count(builder,
                                               cli_command_line_get_number(line, "cpus", 0));
    if (cli_command_line_has(line, "cmdline"))
        tenbox_vm_config_builder_set_cmdline(builder, cli_command_line_get_text(line, "cmdline"));
    if (cli_command_line_has(line, "description"))
        tenbox_vm_config_builder_set_description(builder,
                                                 cli_command_line_get_text(line, "description"));
    return tenbox_vm_config_builder_build(builder, error);
}

/* The name, which may be an option or an argument. */
static const char *get_new_name(const CliCommandLine *line, GError **error)
{
    const char *option = cli_command_line_get_text(line, "name");
    const char *argument = line->arguments->len ? g_ptr_array_index(line->arguments, 0) : NULL;

    if (option && argument && !g_str_equal(option, argument))
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("two names are given, %s and --name %s"), argument, option);
    else if (!option && !argument)
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--name is missing: the VM needs a name"));
    else if (!cli_command_line_has(line, "kernel"))
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--kernel is missing: the VM needs a kernel to boot, such as "
                              "/boot/vmlinuz-…"));
    else
        return option ? option : argument;
    return NULL;
}

int cli_vm_create(Cli *cli, const CliCommandLine *line)
{
    const gboolean wants_start = cli_command_line_has(line, "start");
    g_autoptr(TenboxVmConfig) config = NULL;
    g_autoptr(GAsyncResult) create_result = NULL;
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;
    const char *name = get_new_name(line, &error);
    int status = CLI_EXIT_DONE;

    if (!name || !(config = build_config(line, name, &error)) || !cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    tenbox_connection_create_vm_async(cli->connection, config, cli->cancellable, cli_wait_ready,
                                      &create_result);
    vm = tenbox_connection_create_vm_finish(cli->connection, cli_wait(&create_result), &error);
    if (!vm)
        return cli_fail(cli, NULL, error);
    if (wants_start) {
        g_autoptr(GAsyncResult) start_result = NULL;

        cli_message(cli, _("%s is created."), name);
        tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cli->cancellable, cli_wait_ready,
                              &start_result);
        if (tenbox_vm_start_finish(vm, cli_wait(&start_result), &error))
            cli_message(cli, _(verb_start.done), name);
        else
            status = cli_report(cli, name, error);
    } else {
        cli_message(cli, _("%s is created; “tenbox vm start %s” boots it."), name, name);
    }
    /* The VM exists whether or not it could be started. */
    if (cli->is_json) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(JsonNode) document = parse_vm(vm, &problem);

        if (!document)
            return cli_fail(cli, name, problem);
        cli_print_json(document);
    } else {
        printf("%s\n", tenbox_vm_get_id(vm));
    }
    return status;
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
    JsonNode *document = vm ? parse_vm(vm, error) : NULL;

    if (document && JSON_NODE_HOLDS_OBJECT(document))
        json_object_set_member(json_node_get_object(document), "statistics",
                               get_statistics(cli, vm));
    return document;
}

int cli_vm_inspect(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(JsonNode) document = json_node_new(JSON_NODE_ARRAY);
    g_autoptr(GError) connect_error = NULL;
    JsonArray *list = json_array_new();
    int status = CLI_EXIT_DONE;

    json_node_take_array(document, list);
    if (!cli_connect(cli, TRUE, &connect_error))
        return cli_fail(cli, NULL, connect_error);
    for (guint i = 0; i < line->arguments->len; i++) {
        const char *name = g_ptr_array_index(line->arguments, i);
        g_autoptr(GError) error = NULL;
        JsonNode *vm = inspect(cli, name, &error);

        if (vm) {
            json_array_add_element(list, vm);
        } else if (line->arguments->len == 1) {
            return cli_fail(cli, name, error);
        } else {
            const int failure = cli_report(cli, name, error);

            status = MAX(status, failure);
        }
    }
    if (line->arguments->len == 1)
        cli_print_json(json_array_get_element(list, 0));
    else
        cli_print_json(document);
    return status;
}

/* --- console and logs ---------------------------------------------------------------------- */

int cli_vm_console(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_connect(cli, TRUE, &error))
        vm = cli_find_vm(cli, name, &error);
    return vm ? cli_console_run(cli, vm) : cli_fail(cli, cli->connection ? name : NULL, error);
}

static void print_log_json(TenboxVm *vm, const char *source, const char *text)
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
    cli_print_json(document);
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
    if (cli->is_json)
        print_log_json(vm, source, text);
    else
        cli_print_guest_text(text);
    return CLI_EXIT_DONE;
}
