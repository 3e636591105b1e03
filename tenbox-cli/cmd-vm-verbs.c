/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm start, stop, …: what is done to VMs, many at once.
 *
 * The verbs share one engine (run_verb): all VMs are looked up and acted upon at the same time, each is told
 * about as it ends, and the worst status is returned. With --all the VMs are those of the list for which the
 * verb means something, and --filter picks among them.
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
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

/* --- verbs on several VMs ------------------------------------------------------------------ */

typedef struct _VerbRun VerbRun;

typedef struct {
    TenboxVmAction action;
    const char *done; /* N_(): with %s for the name */
    void (*begin)(TenboxVm *vm, TenboxVmActionFlags flags, GCancellable *cancellable,
                  GAsyncReadyCallback callback, gpointer user_data); /* NULL: stop, see begin() */
    gboolean (*finish)(TenboxVm *vm, GAsyncResult *result, GError **error);
    guint states; /* bits of TenboxVmState in which --all means a VM */
} Verb;

#define IN(state) (1u << TENBOX_VM_STATE_##state)
#define ALIVE     (IN(STARTING) | IN(RUNNING) | IN(PAUSED) | IN(STOPPING))

/* One VM of a run. */
typedef struct {
    VerbRun *run;
    char *argument; /* how the user named it */
    TenboxVm *vm;
    char *operation; /* with --no-wait: the id of what was begun */
    GError *error;
} VerbItem;

struct _VerbRun {
    Cli *cli;
    const Verb *verb;
    TenboxVmActionFlags flags;
    int timeout;
    gboolean is_begun_only; /* --no-wait */
    VerbItem *items;
    guint item_count;
    guint pending;
    int status;
};

static const Verb verb_start = {TENBOX_VM_ACTION_START, N_("%s runs."), tenbox_vm_start_async,
                                tenbox_vm_start_finish, IN(STOPPED) | IN(CRASHED)};
static const Verb verb_stop = {TENBOX_VM_ACTION_STOP, N_("%s is stopped."), NULL,
                               tenbox_vm_stop_finish, ALIVE};
static const Verb verb_shutdown = {TENBOX_VM_ACTION_SHUTDOWN, N_("%s was asked to shut down."),
                                   tenbox_vm_shutdown_async, tenbox_vm_shutdown_finish,
                                   IN(RUNNING)};
static const Verb verb_reboot = {TENBOX_VM_ACTION_REBOOT, N_("%s was rebooted."),
                                 tenbox_vm_reboot_async, tenbox_vm_reboot_finish, IN(RUNNING)};
static const Verb verb_reset = {TENBOX_VM_ACTION_RESET, N_("%s was reset."), tenbox_vm_reset_async,
                                tenbox_vm_reset_finish, IN(RUNNING) | IN(PAUSED)};
static const Verb verb_pause = {TENBOX_VM_ACTION_PAUSE, N_("%s is paused."), tenbox_vm_pause_async,
                                tenbox_vm_pause_finish, IN(RUNNING)};
static const Verb verb_resume = {TENBOX_VM_ACTION_RESUME, N_("%s goes on."), tenbox_vm_resume_async,
                                 tenbox_vm_resume_finish, IN(PAUSED)};
static const Verb verb_delete = {TENBOX_VM_ACTION_DELETE, N_("%s is deleted."),
                                 tenbox_vm_delete_async, tenbox_vm_delete_finish, ~0u};

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
    if (item->operation) {
        cli_message(run->cli, _("%s: operation %s has begun."), item->argument, item->operation);
    } else if (!run->cli->is_quiet) {
        /* The format is one of the table above. */
        g_autofree char *name = cli_safe_text(tenbox_vm_get_name(item->vm));

        fprintf(stderr, _(run->verb->done), name);
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

static void on_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
    VerbItem *item = user_data;
    GError *error = NULL;
    g_autoptr(TenboxOperation) operation =
        tenbox_vm_begin_action_finish(TENBOX_VM(source), result, &error);

    if (operation)
        item->operation = g_strdup(tenbox_operation_get_id(operation));
    end_item(item, error);
}

static void begin(VerbItem *item)
{
    VerbRun *run = item->run;

    if (run->is_begun_only)
        tenbox_vm_begin_action_async(item->vm, run->verb->action, run->flags, run->timeout,
                                     run->cli->cancellable, on_begun, item);
    else if (run->verb->begin)
        run->verb->begin(item->vm, run->flags, run->cli->cancellable, on_verb_done, item);
    else
        tenbox_vm_stop_async(item->vm, run->flags, run->timeout, run->cli->cancellable,
                             on_verb_done, item);
}

static void on_verb_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
    VerbItem *item = user_data;
    GError *error = NULL;

    item->vm = tenbox_connection_get_vm_finish(TENBOX_CONNECTION(source), result, &error);
    /* What is to go for good may be in the trash already. */
    if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND) &&
        (item->run->flags & TENBOX_VM_ACTION_FLAGS_PURGE)) {
        g_clear_error(&error);
        item->vm = cli_find_deleted_vm(item->run->cli, item->argument, &error);
    }
    if (item->vm)
        begin(item);
    else
        end_item(item, error);
}

/* {name, id, state, error}, in the order of the command line. */
static JsonNode *make_result(const VerbRun *run, const VerbItem *item)
{
    const gboolean is_there = item->vm && !tenbox_vm_is_deleted(item->vm) &&
                              !(run->verb == &verb_delete && !item->error && !run->is_begun_only);
    JsonNode *document = json_node_new(JSON_NODE_OBJECT);
    JsonObject *result = json_object_new();

    json_object_set_string_member(result, "name",
                                  item->vm ? tenbox_vm_get_name(item->vm) : item->argument);
    json_object_set_string_member(result, "id", item->vm ? tenbox_vm_get_id(item->vm) : NULL);
    json_object_set_string_member(
        result, "state",
        is_there ? tenbox_vm_state_to_string(tenbox_vm_get_state(item->vm)) : NULL);
    if (run->is_begun_only)
        json_object_set_string_member(result, "operation", item->operation);
    if (item->error)
        json_object_set_member(result, "error", cli_error_to_json(run->cli, item->error));
    else
        json_object_set_null_member(result, "error");
    json_node_take_object(document, result);
    return document;
}

static const CliColumn result_columns[] = {
    {"name", N_("NAME"), "name"},
    {"id", N_("ID"), "id"},
    {"state", N_("STATE"), "state", .is_state = TRUE},
    {"error", N_("ERROR"), "error"},
    {0},
};

/* A table would repeat what was told on standard error as each VM ended. */
static void print_results(VerbRun *run)
{
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_prints_table(run->cli))
        return;
    listing = cli_listing_new(run->cli, result_columns, "name", FALSE, &error);
    for (guint i = 0; listing && !error && i < run->item_count; i++)
        cli_listing_add(listing, make_result(run, &run->items[i]), &error);
    if (listing)
        cli_listing_end(listing);
    if (error) {
        const int status = cli_report(run->cli, NULL, error);

        run->status = MAX(run->status, status);
    }
}

/* Takes @argument and @vm. */
static void add_item(VerbRun *run, char *argument, TenboxVm *vm)
{
    VerbItem *item = &run->items[run->item_count++];

    item->run = run;
    item->argument = argument;
    item->vm = vm;
}

/* One whose definition cannot be read takes no verb but its deletion. */
static gboolean is_broken(JsonNode *document)
{
    JsonNode *broken = cli_document_find(document, "broken", NULL);

    return broken && !JSON_NODE_HOLDS_NULL(broken);
}

/* The VMs that --all and --filter mean. */
static gboolean add_all(VerbRun *run, const CliCommandLine *line, GError **error)
{
    g_autoptr(CliFilter) filter = cli_filter_new(cli_command_line_get_list(line, "filter"), error);
    g_autoptr(GPtrArray) vms = filter ? cli_list_vms(run->cli, error) : NULL;

    if (!vms)
        return FALSE;
    run->items = g_new0(VerbItem, vms->len + 1);
    for (guint i = 0; i < vms->len; i++) {
        TenboxVm *vm = g_ptr_array_index(vms, i);
        g_autoptr(JsonNode) document = cli_vm_to_document(vm, error);
        gboolean matches;

        if (!document || !cli_filter_matches(filter, document, &matches, error))
            return FALSE;
        if (matches && run->verb->states & 1u << tenbox_vm_get_state(vm) &&
            (run->verb == &verb_delete || !is_broken(document)))
            add_item(run, g_strdup(tenbox_vm_get_name(vm)), g_object_ref(vm));
    }
    return TRUE;
}

/* The VMs of the command line, which names some or says --all. */
static gboolean add_items(VerbRun *run, const CliCommandLine *line, GError **error)
{
    if (cli_command_line_has(line, "all"))
        return add_all(run, line, error);
    run->items = g_new0(VerbItem, line->arguments->len);
    for (guint i = 0; i < line->arguments->len; i++)
        add_item(run, g_strdup(g_ptr_array_index(line->arguments, i)), NULL);
    return TRUE;
}

static gboolean check_selection(const CliCommandLine *line, GError **error)
{
    const gboolean wants_all = cli_command_line_has(line, "all");

    if (wants_all && line->arguments->len)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("--all means every VM; leave out “%s”, or --all"),
                    (const char *)g_ptr_array_index(line->arguments, 0));
    else if (!wants_all && cli_command_line_has(line, "filter"))
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--filter picks among --all, which is missing"));
    else if (!wants_all && line->arguments->len == 0)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, _("“tenbox vm %s” needs: %s"),
                    line->command->name, _(line->command->arguments));
    else
        return TRUE;
    return FALSE;
}

static void clear_items(VerbRun *run)
{
    for (guint i = 0; i < run->item_count; i++) {
        g_clear_object(&run->items[i].vm);
        g_clear_error(&run->items[i].error);
        g_free(run->items[i].argument);
        g_free(run->items[i].operation);
    }
    g_clear_pointer(&run->items, g_free);
}

/*
 * Does @verb to all VMs of the command line. *ret_vm, if wanted, is the first of them when the verb
 * succeeded; the caller's to unref.
 */
static int run_verb(Cli *cli, const CliCommandLine *line, const Verb *verb,
                    TenboxVmActionFlags flags, int timeout, TenboxVm **ret_vm)
{
    VerbRun run = {.cli = cli,
                   .verb = verb,
                   .flags = flags,
                   .timeout = timeout,
                   .is_begun_only = cli_command_line_has(line, "no-wait")};
    g_autoptr(GError) error = NULL;

    if (!check_selection(line, &error) || !cli_connect(cli, TRUE, &error) ||
        !add_items(&run, line, &error)) {
        clear_items(&run);
        return cli_fail(cli, NULL, error);
    }
    if (run.item_count == 0)
        cli_message(cli, "%s", _("There is no such VM: nothing was done."));
    run.pending = run.item_count;
    for (guint i = 0; i < run.item_count; i++) {
        if (run.items[i].vm)
            begin(&run.items[i]);
        else
            tenbox_connection_get_vm_async(cli->connection, run.items[i].argument,
                                           TENBOX_VM_LOOKUP_FLAGS_NONE, cli->cancellable,
                                           on_verb_found, &run.items[i]);
    }
    while (run.pending)
        g_main_context_iteration(NULL, TRUE);
    print_results(&run);
    if (ret_vm && run.status == CLI_EXIT_DONE && run.item_count)
        *ret_vm = g_object_ref(run.items[0].vm);
    clear_items(&run);
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

    if (wants_console && (line->arguments->len != 1 || cli_command_line_has(line, "no-wait"))) {
        g_autoptr(GError) error = g_error_new_literal(
            G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
            _("--console shows one VM, which has to run: start others, or with --no-wait, "
              "without it"));

        return cli_fail(cli, NULL, error);
    }
    status = run_verb(cli, line, &verb_start, TENBOX_VM_ACTION_FLAGS_NONE,
                      TENBOX_VM_STOP_TIMEOUT_DEFAULT, &vm);
    return vm && wants_console ? cli_console_run(cli, vm, &(CliConsoleOptions){0}) : status;
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

/* What is asked before VMs go. */
static char *make_question(const CliCommandLine *line)
{
    const gboolean is_for_good = cli_command_line_has(line, "purge");
    g_autofree char *names = NULL;
    g_autofree char *safe_names = NULL;

    if (cli_command_line_has(line, "all") && cli_command_line_has(line, "filter"))
        return g_strdup(is_for_good
                            ? _("Delete every VM that the filter means, and its files, for good?")
                            : _("Delete every VM that the filter means?"));
    if (cli_command_line_has(line, "all"))
        return g_strdup(is_for_good ? _("Delete ALL VMs and their files for good?")
                                    : _("Delete ALL VMs?"));
    g_ptr_array_add(line->arguments, NULL);
    names = g_strjoinv(", ", (char **)line->arguments->pdata);
    g_ptr_array_set_size(line->arguments, (int)line->arguments->len - 1);
    safe_names = cli_safe_text(names);
    if (!is_for_good)
        return g_strdup_printf(
            ngettext("Delete the VM %s?", "Delete the VMs %s?", line->arguments->len), safe_names);
    return g_strdup_printf(ngettext("Delete the VM %s and its files for good?",
                                    "Delete the VMs %s and their files for good?",
                                    line->arguments->len),
                           safe_names);
}

int cli_vm_rm(Cli *cli, const CliCommandLine *line)
{
    const gboolean is_forced = cli_command_line_has(line, "force");
    TenboxVmActionFlags flags = TENBOX_VM_ACTION_FLAGS_NONE;
    g_autoptr(GError) error = NULL;

    if (!check_selection(line, &error))
        return cli_fail(cli, NULL, error);
    if (is_forced)
        flags |= TENBOX_VM_ACTION_FLAGS_FORCE;
    if (cli_command_line_has(line, "purge"))
        flags |= TENBOX_VM_ACTION_FLAGS_PURGE;
    if (!is_forced) {
        g_autofree char *question = make_question(line);
        gboolean is_yes;

        if (!cli_confirm(cli, question, _("add --yes, or --force to stop what runs as well"),
                         &is_yes, &error))
            return cli_fail(cli, NULL, error);
        if (!is_yes) {
            cli_message(cli, "%s", _("Nothing was deleted."));
            return CLI_EXIT_CANCELLED;
        }
    }
    return run_verb(cli, line, &verb_delete, flags, TENBOX_VM_STOP_TIMEOUT_DEFAULT, NULL);
}

/* --- undelete ------------------------------------------------------------------------------ */

static const CliColumn undeleted_columns[] = {
    {"name", N_("NAME"), "name"},
    {"id", N_("ID"), "id"},
    {"state", N_("STATE"), "state", .is_state = TRUE},
    {0},
};

/* The VM that comes out of the trash; NULL with @error. */
static TenboxVm *undelete(Cli *cli, const char *argument, const char *name, GError **error)
{
    g_autoptr(TenboxVm) deleted = cli_find_deleted_vm(cli, argument, error);
    g_autoptr(GAsyncResult) result = NULL;

    if (!deleted)
        return NULL;
    tenbox_connection_undelete_vm_async(cli->connection, tenbox_vm_get_id(deleted), name,
                                        cli->cancellable, cli_wait_ready, &result);
    return tenbox_connection_undelete_vm_finish(cli->connection, cli_wait(&result), error);
}

int cli_vm_undelete(Cli *cli, const CliCommandLine *line)
{
    const char *new_name = cli_command_line_get_text(line, "name");
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) problem = NULL;
    int status = CLI_EXIT_DONE;

    if (new_name && line->arguments->len > 1)
        g_set_error_literal(&problem, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                            _("--name names one VM"));
    if (problem || !cli_connect(cli, TRUE, &problem))
        return cli_fail(cli, NULL, problem);
    if (!cli_prints_table(cli))
        listing = cli_listing_new(cli, undeleted_columns, "name", FALSE, &problem);
    for (guint i = 0; i < line->arguments->len && !problem; i++) {
        const char *argument = g_ptr_array_index(line->arguments, i);
        g_autoptr(GError) error = NULL;
        g_autoptr(TenboxVm) vm = undelete(cli, argument, new_name, &error);

        if (vm) {
            g_autofree char *name = cli_safe_text(tenbox_vm_get_name(vm));
            JsonNode *document = listing ? cli_vm_to_document(vm, &problem) : NULL;

            cli_message(cli, _("%s is back."), name);
            if (document)
                cli_listing_add(listing, document, &problem);
        } else {
            const int failure = cli_report(cli, argument, error);

            status = MAX(status, failure);
        }
    }
    if (listing)
        cli_listing_end(listing);
    return problem ? cli_report(cli, NULL, problem) : status;
}
