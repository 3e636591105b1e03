/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox system …: the host, the daemon, and whether VMs can run here.
 */
#include <inttypes.h>
#include <stdio.h>

#include <glib/gi18n.h>

#include "tenbox-cli/cli.h"
#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"

/* Members of documents that came from a daemon, possibly a newer one: what is missing is NULL or 0. */
static JsonObject *get_object(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static const char *get_text(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

static gint64 get_number(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
}

static gboolean get_boolean(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_boolean(node);
}

static JsonNode *get_system(Cli *cli, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *text = NULL;

    tenbox_connection_get_system_async(cli->connection, cli->cancellable, cli_wait_ready, &result);
    text = tenbox_connection_get_system_finish(cli->connection, cli_wait(&result), error);
    return text ? cli_parse_object(text, error) : NULL;
}

static void add_line(CliTable *table, const char *name, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void add_line(CliTable *table, const char *name, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    cli_table_add(table, (const char *const[]){name, text, NULL});
}

static void print_pairs(const CliTable *table)
{
    g_autofree char *text = cli_table_to_text(table, FALSE, 0);

    fputs(text, stdout);
}

static const char *or_unknown(const char *text)
{
    return text ? text : _("unknown");
}

int cli_system_info(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"", "", NULL});
    g_autoptr(JsonNode) document = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *memory = NULL;
    JsonObject *system;
    JsonObject *host;
    JsonObject *kvm;
    JsonObject *count;

    if (!cli_connect(cli, TRUE, &error) || !(document = get_system(cli, &error)))
        return cli_fail(cli, NULL, error);
    if (!cli_prints_table(cli) || cli->is_quiet)
        return cli_print_document(cli, document, NULL, "version");
    system = json_node_get_object(document);
    host = get_object(system, "host");
    kvm = get_object(system, "kvm");
    count = get_object(system, "vm_count");
    memory = cli_format_memory(get_number(host, "memory_mb"));
    add_line(table, _("Host"), "%s", or_unknown(get_text(host, "name")));
    add_line(table, _("Architecture"), "%s", or_unknown(get_text(host, "architecture")));
    add_line(table, _("Kernel"), "%s", or_unknown(get_text(host, "kernel")));
    add_line(table, _("CPUs"), "%" PRId64, get_number(host, "cpu_count"));
    add_line(table, _("Memory"), "%s", memory);
    add_line(table, _("Page size"), _("%" PRId64 " bytes"), get_number(host, "page_size"));
    add_line(table, "KVM", "%s",
             get_text(kvm, "detail")         ? get_text(kvm, "detail")
             : get_boolean(kvm, "available") ? _("available")
                                             : _("not available"));
    add_line(table, _("Daemon"), _("%s, process %" PRId64 ", since %s"),
             or_unknown(get_text(system, "version")), get_number(system, "pid"),
             or_unknown(get_text(system, "started_at")));
    add_line(table, _("Address"), "%s", tenbox_connection_get_uri(cli->connection));
    add_line(table, _("Data folder"), "%s", or_unknown(get_text(system, "data_folder")));
    add_line(table, _("VMs"), _("%" PRId64 ", of which %" PRId64 " run"),
             get_number(count, "total"), get_number(count, "running"));
    print_pairs(table);
    return CLI_EXIT_DONE;
}

/* A daemon that does not answer is no failure here: the version of this program is known anyway. */
int cli_system_version(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"", "", NULL});
    g_autoptr(JsonNode) document = NULL;
    g_autoptr(GError) error = NULL;
    JsonObject *system = NULL;

    if (cli_connect(cli, FALSE, &error))
        document = get_system(cli, &error);
    if (g_cancellable_is_cancelled(cli->cancellable))
        return cli_fail(cli, NULL, error);
    if (document)
        system = json_node_get_object(document);

    if (!cli_prints_table(cli)) {
        g_autoptr(JsonNode) both = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();
        JsonObject *client = json_object_new();

        json_object_set_string_member(client, "version", tenbox_get_version());
        json_object_set_object_member(object, "client", client);
        if (system) {
            JsonObject *server = json_object_new();

            json_object_set_string_member(server, "version", get_text(system, "version"));
            json_object_set_string_member(server, "api_version", get_text(system, "api_version"));
            json_object_set_object_member(object, "server", server);
        } else {
            json_object_set_null_member(object, "server");
            json_object_set_member(object, "error", cli_error_to_json(cli, error));
        }
        json_node_take_object(both, object);
        return cli_print_document(cli, both, NULL, "client");
    }
    add_line(table, _("Client"), "%s", tenbox_get_version());
    if (system)
        add_line(table, _("Server"), "%s", or_unknown(get_text(system, "version")));
    print_pairs(table);
    if (!system)
        cli_message(cli, _("No daemon answers: %s"), error->message);
    return CLI_EXIT_DONE;
}

/* --- the stop of all VMs ------------------------------------------------------------------- */

/* The user has interrupted the waiting: guests that have not followed run on. */
static void withdraw(TenboxOperation *operation)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;

    tenbox_operation_cancel_async(operation, NULL, cli_wait_ready, &result);
    tenbox_operation_cancel_finish(operation, cli_wait(&result), &error);
}

int cli_system_stop_vms(Cli *cli, const CliCommandLine *line)
{
    const TenboxVmActionFlags flags = cli_command_line_has(line, "force")
                                          ? TENBOX_VM_ACTION_FLAGS_FORCE
                                          : TENBOX_VM_ACTION_FLAGS_NONE;
    const gint64 timeout =
        cli_command_line_get_number(line, "timeout", TENBOX_VM_STOP_TIMEOUT_DEFAULT);
    g_autoptr(TenboxOperation) operation = NULL;
    g_autoptr(GAsyncResult) begun = NULL;
    g_autoptr(GAsyncResult) ended = NULL;
    g_autoptr(GError) error = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    tenbox_connection_begin_stop_vms_async(cli->connection, flags, (int)timeout, cli->cancellable,
                                           cli_wait_ready, &begun);
    operation = tenbox_connection_begin_stop_vms_finish(cli->connection, cli_wait(&begun), &error);
    if (!operation)
        return cli_fail(cli, NULL, error);
    tenbox_operation_wait_async(operation, -1, cli->cancellable, cli_wait_ready, &ended);
    if (!tenbox_operation_wait_finish(operation, cli_wait(&ended), &error)) {
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
            withdraw(operation);
        return cli_fail(cli, NULL, error);
    }
    cli_message(cli, "%s", _("All VMs are stopped."));
    return CLI_EXIT_DONE;
}

/* --- the doctor ---------------------------------------------------------------------------- */

/* A new string: the status may be a word that is not known here. */
static char *status_word(const char *status)
{
    if (g_strcmp0(status, "ok") == 0)
        return g_strdup(_("ok"));
    if (g_strcmp0(status, "warning") == 0)
        return g_strdup(_("warning"));
    if (g_strcmp0(status, "failed") == 0)
        return g_strdup(_("FAILED"));
    if (g_strcmp0(status, "skipped") == 0)
        return g_strdup(_("skipped"));
    return status ? cli_safe_text(status) : g_strdup(_("unknown"));
}

static void print_checks(JsonArray *checks)
{
    static const char *const statuses[] = {"ok", "warning", "failed", "skipped"};
    guint status_width = 0;
    guint name_width = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(statuses); i++) {
        g_autofree char *word = status_word(statuses[i]);

        status_width = MAX(status_width, cli_display_width(word));
    }
    for (guint i = 0; i < json_array_get_length(checks); i++) {
        JsonNode *node = json_array_get_element(checks, i);
        const char *name =
            JSON_NODE_HOLDS_OBJECT(node) ? get_text(json_node_get_object(node), "name") : NULL;

        name_width = MAX(name_width, cli_display_width(name ? name : ""));
    }
    for (guint i = 0; i < json_array_get_length(checks); i++) {
        JsonNode *node = json_array_get_element(checks, i);
        JsonObject *check = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        g_autofree char *status = status_word(check ? get_text(check, "status") : NULL);
        g_autofree char *name =
            cli_safe_text(get_text(check, "name") ? get_text(check, "name") : "");
        g_autofree char *detail =
            cli_safe_text(get_text(check, "detail") ? get_text(check, "detail") : "");
        const char *fix = get_text(check, "fix");

        printf("%s%*s  %s%*s  %s\n", status,
               (int)(status_width - MIN(status_width, cli_display_width(status))), "", name,
               (int)(name_width - MIN(name_width, cli_display_width(name))), "", detail);
        if (fix) {
            g_autofree char *safe_fix = cli_safe_text(fix);

            printf("%*s%s %s\n", (int)(status_width + 2), "", _("→"), safe_fix);
        }
    }
}

/* The list with one failed check, when there is no daemon to ask. */
static JsonNode *make_unreachable(Cli *cli, const GError *error)
{
    JsonNode *document = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *checks = json_array_new();
    JsonObject *check = json_object_new();
    const char *hint = error->domain == TENBOX_ERROR ? tenbox_error_get_hint(error) : NULL;

    json_object_set_string_member(check, "name", "daemon");
    json_object_set_string_member(check, "status", "failed");
    json_object_set_string_member(check, "detail", error->message);
    json_object_set_string_member(
        check, "fix", hint ? hint : _("Start tenboxd, or name the right address by --host"));
    json_array_add_object_element(checks, check);
    json_object_set_boolean_member(object, "healthy", FALSE);
    json_object_set_array_member(object, "checks", checks);
    json_node_take_object(document, object);
    return document;
}

int cli_system_doctor(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(JsonNode) document = NULL;
    g_autoptr(GError) error = NULL;
    JsonObject *object;
    JsonNode *checks;
    gboolean is_healthy;
    int status = CLI_EXIT_FAILED;

    if (cli_connect(cli, TRUE, &error)) {
        g_autofree char *text = NULL;

        tenbox_connection_run_doctor_async(cli->connection, cli->cancellable, cli_wait_ready,
                                           &result);
        text = tenbox_connection_run_doctor_finish(cli->connection, cli_wait(&result), &error);
        if (text)
            document = cli_parse_object(text, &error);
        if (!document)
            return cli_fail(cli, NULL, error);
    } else if (g_cancellable_is_cancelled(cli->cancellable)) {
        return cli_fail(cli, NULL, error);
    } else {
        document = make_unreachable(cli, error);
        status = cli_exit_status(cli, error);
    }
    object = json_node_get_object(document);
    is_healthy = get_boolean(object, "healthy");
    checks = json_object_get_member(object, "checks");
    if (!cli_prints_table(cli))
        cli_print_document(cli, document, NULL, "healthy");
    else if (checks && JSON_NODE_HOLDS_ARRAY(checks))
        print_checks(json_node_get_array(checks));
    if (is_healthy)
        return CLI_EXIT_DONE;
    cli_message(cli, "%s", _("This host is not ready to run VMs."));
    return status;
}

/* --- readiness ----------------------------------------------------------------------------- */

/* How often a daemon that does not answer is asked again. Nothing tells when a socket begins to listen. */
#define RETRY_MILLISECONDS 200

static gboolean on_retry(gpointer user_data)
{
    gboolean *is_due = user_data;

    *is_due = TRUE;
    return G_SOURCE_REMOVE;
}

static void wait_before_retry(Cli *cli)
{
    gboolean is_due = FALSE;
    guint source = g_timeout_add(RETRY_MILLISECONDS, on_retry, &is_due);

    while (!is_due && !g_cancellable_is_cancelled(cli->cancellable))
        g_main_context_iteration(NULL, TRUE);
    if (!is_due)
        g_source_remove(source);
}

int cli_system_wait_ready(Cli *cli, const CliCommandLine *line)
{
    for (;;) {
        g_autoptr(GError) error = NULL;

        if (cli_connect(cli, FALSE, &error))
            return CLI_EXIT_DONE;
        if (!g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE) &&
            !g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_TIMED_OUT))
            return cli_fail(cli, NULL, error);
        wait_before_retry(cli);
    }
}
