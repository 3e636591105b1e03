/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox events: what happens, as it happens.
 *
 * The journal has a position, EPOCH:SEQUENCE. A connection that breaks is made anew and goes on behind the last
 * event that was shown; where the daemon does not know any more what came in between, an entry of the type
 * “resync” says so.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

static char *show_vm(JsonNode *value, JsonObject *document)
{
    JsonNode *id = json_object_get_member(document, "vm_id");

    return value ? cli_value_to_text(value) : cli_show_short_id(id, document);
}

/* What there is to say about it in a few words. */
static char *show_detail(JsonNode *value, JsonObject *document)
{
    static const char *const members[] = {"kind", "state"};
    GString *text = g_string_new(NULL);
    JsonObject *data = value && JSON_NODE_HOLDS_OBJECT(value) ? json_node_get_object(value) : NULL;

    for (gsize i = 0; data && i < G_N_ELEMENTS(members); i++) {
        JsonNode *member = json_object_get_member(data, members[i]);
        g_autofree char *shown = cli_value_to_text(member);

        if (*shown)
            g_string_append_printf(text, "%s%s", text->len ? " " : "", shown);
    }
    return g_string_free(text, FALSE);
}

static char *show_position(JsonNode *value, JsonObject *document)
{
    g_autofree char *epoch = cli_value_to_text(json_object_get_member(document, "epoch"));
    g_autofree char *sequence = cli_value_to_text(value);

    return *epoch ? g_strdup_printf("%s:%s", epoch, sequence) : g_strdup("");
}

static const CliColumn event_columns[] = {
    {"time", N_("TIME"), "time", cli_show_time, .width = 19},
    {"type", N_("TYPE"), "type", .width = 17},
    {"vm", N_("VM"), "vm_name", show_vm, .width = 12},
    {"detail", N_("DETAIL"), "data", show_detail, .width = 16},
    {"position", N_("POSITION"), "sequence", show_position, .is_wide = TRUE, .width = 40},
    {0},
};

typedef struct {
    Cli *cli;
    CliListing *listing;
    CliFilter *filter;
    GHashTable *names; /* id of a VM → its name, as far as it was told */
    gboolean is_over;
    GError *error;
} Events;

static void finish(Events *self, GError *error)
{
    if (error && !self->error)
        self->error = error;
    else
        g_clear_error(&error);
    self->is_over = TRUE;
    g_main_context_wakeup(NULL);
}

/* Takes @document. */
static void show(Events *self, JsonNode *document)
{
    g_autoptr(JsonNode) owned = document;
    GError *error = NULL;
    gboolean matches = FALSE;

    if (self->is_over)
        return;
    if (!cli_filter_matches(self->filter, document, &matches, &error) ||
        (matches && !cli_listing_add(self->listing, g_steal_pointer(&owned), &error)) ||
        ferror(stdout))
        finish(self, error);
}

/* The name in an event about a VM; what the VM was called last in one about something else. */
static const char *find_name(Events *self, JsonObject *event)
{
    JsonNode *node = json_object_get_member(event, "data");
    JsonObject *data = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    const char *id = json_object_get_string_member_with_default(event, "vm_id", NULL);
    const char *name = data ? json_object_get_string_member_with_default(data, "name", NULL) : NULL;

    if (id && name)
        g_hash_table_replace(self->names, g_strdup(id), g_strdup(name));
    return name ? name : id ? g_hash_table_lookup(self->names, id) : NULL;
}

static void on_vm(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    Events *self = user_data;

    g_hash_table_replace(self->names, g_strdup(tenbox_vm_get_id(vm)),
                         g_strdup(tenbox_vm_get_name(vm)));
}

static void on_event(TenboxConnection *connection, TenboxEvent *event, gpointer user_data)
{
    Events *self = user_data;
    g_autofree char *text = tenbox_event_dup_json(event);
    GError *error = NULL;
    JsonNode *document = cli_parse_object(text, &error);

    if (!document) {
        finish(self, error);
        return;
    }
    json_object_set_string_member(json_node_get_object(document), "vm_name",
                                  find_name(self, json_node_get_object(document)));
    show(self, document);
}

/* The same members as an event has, so that templates and columns fit. */
static void on_resync(TenboxConnection *connection, gpointer user_data)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format_iso8601(now);
    g_autofree char *position = tenbox_connection_dup_event_position(connection);
    const char *colon = position ? strrchr(position, ':') : NULL;
    g_autofree char *epoch = colon ? g_strndup(position, (gsize)(colon - position)) : NULL;
    JsonNode *document = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "type", "resync");
    json_object_set_string_member(object, "time", time);
    json_object_set_string_member(object, "epoch", epoch);
    json_object_set_int_member(object, "sequence",
                               colon ? g_ascii_strtoll(colon + 1, NULL, 10) : 0);
    json_object_set_null_member(object, "vm_id");
    json_object_set_null_member(object, "vm_name");
    json_object_set_object_member(object, "data", json_object_new());
    json_node_take_object(document, object);
    show(user_data, document);
}

static void on_closed(TenboxConnection *connection, GError *error, gpointer user_data)
{
    finish(user_data, error ? g_error_copy(error) : NULL);
}

static void on_cancelled(GCancellable *cancellable, gpointer user_data)
{
    finish(user_data, NULL);
}

static int follow(Events *self, const char *since, gboolean goes_on)
{
    Cli *cli = self->cli;
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;
    gulong handler;

    g_signal_connect(cli->connection, "event", G_CALLBACK(on_event), self);
    g_signal_connect(cli->connection, "vm-added", G_CALLBACK(on_vm), self);
    g_signal_connect(cli->connection, "resync", G_CALLBACK(on_resync), self);
    g_signal_connect(cli->connection, "closed", G_CALLBACK(on_closed), self);
    tenbox_connection_watch_since_async(cli->connection, since, cli->cancellable, cli_wait_ready,
                                        &result);
    if (!tenbox_connection_watch_since_finish(cli->connection, cli_wait(&result), &error)) {
        g_signal_handlers_disconnect_by_data(cli->connection, self);
        cli_listing_end(self->listing);
        return cli_report(cli, NULL, error);
    }
    if (goes_on) {
        handler = g_cancellable_connect(cli->cancellable, G_CALLBACK(on_cancelled), self, NULL);
        while (!self->is_over)
            g_main_context_iteration(NULL, TRUE);
        g_cancellable_disconnect(cli->cancellable, handler);
    }
    g_signal_handlers_disconnect_by_data(cli->connection, self);
    cli_listing_end(self->listing);
    if (self->error)
        return cli_report(cli, NULL, self->error);
    /* Ctrl-C is how one leaves; the time being over is what --timeout is for. */
    return cli->is_timed_out ? CLI_EXIT_TIMED_OUT : CLI_EXIT_DONE;
}

int cli_events(Cli *cli, const CliCommandLine *line)
{
    const gboolean goes_on = !cli_command_line_has(line, "no-follow");
    const char *since = cli_command_line_get_text(line, "since");
    Events self = {.cli = cli};
    g_autoptr(CliFilter) filter = NULL;
    g_autoptr(CliListing) listing = NULL;
    g_autoptr(GError) error = NULL;
    int status;

    if (!goes_on && !since)
        g_set_error_literal(
            &error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
            _("--no-follow shows what happened --since a position, which is missing"));
    else
        filter = cli_filter_new(cli_command_line_get_list(line, "filter"), &error);
    if (!filter || !cli_connect_with(cli, TRUE, TENBOX_CONNECTION_FLAGS_RECONNECT, &error))
        return cli_fail(cli, NULL, error);
    listing = cli_listing_new(cli, event_columns, "type", TRUE, &error);
    if (!listing)
        return cli_fail(cli, NULL, error);
    fflush(stdout);
    self.listing = listing;
    self.filter = filter;
    self.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    status = follow(&self, since, goes_on);
    g_hash_table_unref(self.names);
    g_clear_error(&self.error);
    return status;
}
