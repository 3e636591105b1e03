/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox api, audit, system metrics: what the daemon says over HTTP, as it is or as a list.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

/* More than the daemon takes as a body. */
#define BODY_MAX (2 * 1024 * 1024)

/* @ret_type (nullable): the type of the answer, NULL when it has none. */
static char *call(Cli *cli, const char *method, const char *path, const char *body, char **ret_type,
                  GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_call_async(cli->connection, method, path, body, cli->cancellable,
                                 cli_wait_ready, &result);
    return tenbox_connection_call_finish_with_type(cli->connection, cli_wait(&result), ret_type,
                                                   error);
}

/* --- api ----------------------------------------------------------------------------------- */

/* Standard input to its end. */
static char *read_input(GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    CliBlocking blocking;
    char buffer[4096];
    size_t length;

    cli_begin_blocking(&blocking);
    while (text->len <= BODY_MAX && (length = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
        g_string_append_len(text, buffer, (gssize)length);
    cli_end_blocking(&blocking);
    if (text->len > BODY_MAX || ferror(stdin)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("standard input cannot be read, or has more than %d bytes"), BODY_MAX);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* --data: the text, - for standard input, @FILE for a file. *ret_body stays NULL when there is none. */
static gboolean read_body(const CliCommandLine *line, char **ret_body, GError **error)
{
    const char *data = cli_command_line_get_text(line, "data");

    if (!data)
        return TRUE;
    if (g_str_equal(data, "-"))
        *ret_body = read_input(error);
    else if (*data == '@')
        return g_file_get_contents(data + 1, ret_body, NULL, error);
    else
        *ret_body = g_strdup(data);
    return *ret_body != NULL;
}

int cli_api(Cli *cli, const CliCommandLine *line)
{
    const char *method = g_ptr_array_index(line->arguments, 0);
    const char *path = g_ptr_array_index(line->arguments, 1);
    g_autofree char *body = NULL;
    g_autofree char *answer = NULL;
    g_autofree char *type = NULL;
    g_autoptr(JsonNode) document = NULL;
    g_autoptr(GError) error = NULL;

    if (read_body(line, &body, &error) && cli_connect(cli, TRUE, &error))
        answer = call(cli, method, path, body, &type, &error);
    if (!answer)
        return cli_fail(cli, NULL, error);
    if (!*answer)
        return CLI_EXIT_DONE;
    /* A log is the guest's, whatever it looks like. */
    if (g_strcmp0(type, "application/json") == 0)
        document = cli_parse_json(answer, NULL);
    if (!document || !JSON_NODE_HOLDS_OBJECT(document)) {
        cli_print_text(answer); /* metrics, logs, the schema */
        return CLI_EXIT_DONE;
    }
    return cli_print_document(cli, document, NULL, "id");
}

/* --- audit --------------------------------------------------------------------------------- */

static const CliColumn audit_columns[] = {
    {"time", N_("TIME"), "time", cli_show_time},
    {"user", N_("USER"), "actor.uid"},
    {"process", N_("PROCESS"), "actor.pid"},
    {"verb", N_("VERB"), "verb"},
    {"subject", N_("SUBJECT"), "subject"},
    {"result", N_("RESULT"), "result", .is_state = TRUE},
    {"code", N_("CODE"), "code"},
    {"status", N_("STATUS"), "status", .is_wide = TRUE},
    {"request", N_("REQUEST"), "request_id", .is_wide = TRUE},
    {0},
};

static gboolean is_failure(JsonNode *document)
{
    g_autofree char *result = cli_value_to_text(cli_document_find(document, "result", NULL));

    return !g_str_equal(result, "done");
}

/* --actor: a name or a number. *ret_uid is -1 without that option. */
static gboolean find_actor(const CliCommandLine *line, gint64 *ret_uid, GError **error)
{
    const char *text = cli_command_line_get_text(line, "actor");
    const struct passwd *user = text ? getpwnam(text) : NULL;
    guint64 number;

    *ret_uid = user ? (gint64)user->pw_uid : -1;
    if (!text || user)
        return TRUE;
    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &number, NULL)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("--actor: there is no user “%s”"), text);
        return FALSE;
    }
    *ret_uid = (gint64)number;
    return TRUE;
}

static gboolean is_of(JsonNode *document, gint64 uid)
{
    g_autofree char *actor = cli_value_to_text(cli_document_find(document, "actor.uid", NULL));
    g_autofree char *wanted = g_strdup_printf("%" G_GINT64_FORMAT, uid);

    return uid < 0 || g_str_equal(actor, wanted);
}

static int print_entries(Cli *cli, const CliCommandLine *line, gint64 uid, JsonArray *entries)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CliFilter) filter = cli_filter_new(cli_command_line_get_list(line, "filter"), &error);
    g_autoptr(CliListing) listing =
        filter ? cli_listing_new(cli, audit_columns, "request_id", FALSE, &error) : NULL;

    for (guint i = 0; listing && !error && i < json_array_get_length(entries); i++) {
        JsonNode *entry = json_array_get_element(entries, i);
        gboolean matches;

        if (!JSON_NODE_HOLDS_OBJECT(entry) ||
            (cli_command_line_has(line, "failed") && !is_failure(entry)) || !is_of(entry, uid))
            continue;
        if (cli_filter_matches(filter, entry, &matches, &error) && matches)
            cli_listing_add(listing, json_node_copy(entry), &error);
    }
    if (error)
        return cli_fail(cli, NULL, error);
    cli_listing_end(listing);
    return CLI_EXIT_DONE;
}

int cli_audit(Cli *cli, const CliCommandLine *line)
{
    const char *since = cli_command_line_get_text(line, "since");
    g_autofree char *escaped = since ? g_uri_escape_string(since, NULL, FALSE) : NULL;
    g_autofree char *path = g_strdup_printf("/v1/audit?limit=%d%s%s",
                                            (int)cli_command_line_get_number(line, "lines", 100),
                                            escaped ? "&since=" : "", escaped ? escaped : "");
    g_autofree char *answer = NULL;
    g_autoptr(JsonNode) document = NULL;
    g_autoptr(GError) error = NULL;
    JsonNode *items;
    gint64 uid;

    if (find_actor(line, &uid, &error) && cli_connect(cli, TRUE, &error))
        answer = call(cli, "GET", path, NULL, NULL, &error);
    if (answer)
        document = cli_parse_object(answer, &error);
    if (!document)
        return cli_fail(cli, NULL, error);
    items = json_object_get_member(json_node_get_object(document), "items");
    if (!items || !JSON_NODE_HOLDS_ARRAY(items)) {
        g_set_error_literal(&error, TENBOX_ERROR, TENBOX_ERROR_PROTOCOL,
                            _("the daemon's answer has no items"));
        return cli_fail(cli, NULL, error);
    }
    return print_entries(cli, line, uid, json_node_get_array(items));
}

/* --- metrics ------------------------------------------------------------------------------- */

int cli_system_metrics(Cli *cli, const CliCommandLine *line)
{
    g_autofree char *answer = NULL;
    g_autoptr(GError) error = NULL;

    if (cli_connect(cli, TRUE, &error))
        answer = call(cli, "GET", "/v1/metrics", NULL, NULL, &error);
    if (!answer)
        return cli_fail(cli, NULL, error);
    cli_print_text(answer);
    return CLI_EXIT_DONE;
}
