/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm wait: until VMs are what a script needs them to be.
 *
 * Nothing is asked again and again: the connection signals what happens, and a console that is open for reading
 * brings what a guest writes. Of several conditions one is enough, unless --all is given; each VM named must
 * satisfy them.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

#define CONDITIONS    "starting|running|paused|stopping|stopped|crashed|deleted"
#define LOG_PREFIX    "log:"
/* Of a line that does not end, what is looked at. */
#define LINE_SIZE_MAX 65536

typedef struct {
    const char *text;    /* as the person wrote it */
    TenboxVmState state; /* UNKNOWN: one of the two below */
    gboolean is_deletion;
    GRegex *expression;
} Condition;

typedef struct _Wait Wait;

/* One VM that is waited for. */
typedef struct {
    Wait *wait;
    TenboxVm *vm;
    gboolean *are_met; /* by condition; a state counts while it lasts, a line of the log for good */
    const char *met;   /* the condition that was enough */
    TenboxConsole *console;
    GCancellable *opening; /* of the console; NULL when nothing is under way */
    GString *line;         /* of the console, not ended yet */
} Subject;

struct _Wait {
    Cli *cli;
    GArray *conditions; /* of Condition */
    gboolean wants_all;
    gboolean wants_log;
    GPtrArray *subjects; /* of Subject */
    guint opening_count;
    GError *error;
};

static void condition_clear(gpointer data)
{
    Condition *condition = data;

    g_clear_pointer(&condition->expression, g_regex_unref);
}

/* --- conditions ---------------------------------------------------------------------------- */

static gboolean add_condition(Wait *self, const char *text, GError **error)
{
    Condition condition = {.text = text};

    if (g_str_has_prefix(text, LOG_PREFIX)) {
        g_autoptr(GError) problem = NULL;

        condition.expression =
            g_regex_new(text + strlen(LOG_PREFIX), G_REGEX_OPTIMIZE, 0, &problem);
        if (!condition.expression) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--for: %s",
                        problem->message);
            return FALSE;
        }
        self->wants_log = TRUE;
    } else if (!cli_is_choice(CONDITIONS, text)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("--for: “%s” is not one of: %s, log:EXPRESSION"), text, CONDITIONS);
        return FALSE;
    } else if (g_str_equal(text, "deleted")) {
        condition.is_deletion = TRUE;
    } else {
        condition.state = tenbox_vm_state_from_string(text);
    }
    g_array_append_val(self->conditions, condition);
    return TRUE;
}

/* Looks at the states anew, and decides. */
static void check(Subject *subject)
{
    Wait *self = subject->wait;
    const gboolean is_deleted = tenbox_vm_is_deleted(subject->vm);
    guint met_count = 0;

    if (subject->met)
        return;
    for (guint i = 0; i < self->conditions->len; i++) {
        const Condition *condition = &g_array_index(self->conditions, Condition, i);

        if (!condition->expression)
            subject->are_met[i] =
                condition->is_deletion
                    ? is_deleted
                    : !is_deleted && tenbox_vm_get_state(subject->vm) == condition->state;
        met_count += subject->are_met[i] ? 1 : 0;
        if (subject->are_met[i] && (!self->wants_all || met_count == self->conditions->len))
            subject->met = condition->text;
    }
    /* One that is gone will not be anything any more. */
    if (is_deleted && !subject->met && !self->error)
        g_set_error(&self->error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND,
                    _("%s was deleted before that happened"), tenbox_vm_get_name(subject->vm));
}

/* --- the guest's output -------------------------------------------------------------------- */

static void look_at_line(Subject *subject)
{
    Wait *self = subject->wait;
    g_autofree char *text = g_utf8_make_valid(subject->line->str, (gssize)subject->line->len);

    for (guint i = 0; i < self->conditions->len; i++) {
        const Condition *condition = &g_array_index(self->conditions, Condition, i);

        if (condition->expression && g_regex_match(condition->expression, text, 0, NULL))
            subject->are_met[i] = TRUE;
    }
}

static void on_output(TenboxConsole *console, GBytes *bytes, gpointer user_data)
{
    Subject *subject = user_data;
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);

    for (gsize at = 0; at < length;) {
        const char *end = memchr(data + at, '\n', length - at);
        const gsize piece = end ? (gsize)(end - data) - at : length - at;

        g_string_append_len(
            subject->line, data + at,
            (gssize)MIN(piece, LINE_SIZE_MAX - MIN(LINE_SIZE_MAX, subject->line->len)));
        /* A prompt ends without a newline, so a line is looked at as it grows. */
        if (subject->line->len && subject->line->str[subject->line->len - 1] == '\r')
            g_string_truncate(subject->line, subject->line->len - 1);
        look_at_line(subject);
        if (end)
            g_string_truncate(subject->line, 0);
        at += piece + (end ? 1 : 0);
    }
    check(subject);
}

static void open_console(Subject *subject);

static gboolean means_no_console(const GError *error)
{
    return g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED) ||
           (error->domain == TENBOX_ERROR &&
            (g_str_equal(tenbox_error_get_code(error), "vm-not-running") ||
             g_str_equal(tenbox_error_get_code(error), "vm-not-found")));
}

static void on_console_closed(TenboxConsole *console, GError *error, gpointer user_data)
{
    Subject *subject = user_data;
    Wait *self = subject->wait;

    g_signal_handlers_disconnect_by_data(console, subject);
    g_clear_object(&subject->console);
    g_string_truncate(subject->line, 0);
    if (error && !means_no_console(error)) {
        if (!self->error && !subject->met)
            self->error = g_error_copy(error);
        return;
    }
    open_console(subject); /* it may have been started again already */
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Subject *subject = user_data;
    Wait *self = subject->wait;
    g_autoptr(GError) error = NULL;
    g_autoptr(TenboxConsole) console =
        tenbox_vm_open_console_finish(TENBOX_VM(source), result, &error);

    self->opening_count--;
    g_clear_object(&subject->opening);
    if (!console) {
        /* A VM that stopped meanwhile has none; its next start brings us here again. */
        if (!self->error && !subject->met && !means_no_console(error))
            self->error = g_steal_pointer(&error);
        return;
    }
    subject->console = g_steal_pointer(&console);
    g_signal_connect(subject->console, "output", G_CALLBACK(on_output), subject);
    g_signal_connect(subject->console, "closed", G_CALLBACK(on_console_closed), subject);
}

static void open_console(Subject *subject)
{
    const TenboxVmState state = tenbox_vm_get_state(subject->vm);

    if (!subject->wait->wants_log || subject->console || subject->opening || subject->met ||
        (state != TENBOX_VM_STATE_RUNNING && state != TENBOX_VM_STATE_PAUSED &&
         state != TENBOX_VM_STATE_STOPPING))
        return;
    subject->opening = g_cancellable_new();
    subject->wait->opening_count++;
    tenbox_vm_open_console_async(subject->vm, TENBOX_CONSOLE_FLAGS_NONE, subject->opening,
                                 on_opened, subject);
}

/* --- waiting ------------------------------------------------------------------------------- */

static void on_changed(TenboxConnection *connection, TenboxVm *vm, gpointer user_data)
{
    Wait *self = user_data;

    for (guint i = 0; i < self->subjects->len; i++) {
        Subject *subject = g_ptr_array_index(self->subjects, i);

        if (subject->vm == vm) {
            check(subject);
            open_console(subject);
        }
    }
}

static void on_closed(TenboxConnection *connection, GError *error, gpointer user_data)
{
    Wait *self = user_data;

    if (error && !self->error)
        self->error = g_error_copy(error);
}

static gboolean is_over(const Wait *self)
{
    if (self->error || g_cancellable_is_cancelled(self->cli->cancellable))
        return TRUE;
    for (guint i = 0; i < self->subjects->len; i++) {
        const Subject *subject = g_ptr_array_index(self->subjects, i);

        if (!subject->met)
            return FALSE;
    }
    return TRUE;
}

static void subject_free(gpointer data)
{
    Subject *subject = data;

    if (subject->console) {
        g_signal_handlers_disconnect_by_data(subject->console, subject);
        tenbox_console_close(subject->console);
    }
    g_clear_object(&subject->console);
    g_clear_object(&subject->vm);
    g_string_free(subject->line, TRUE);
    g_free(subject->are_met);
    g_free(subject);
}

static gboolean add_subject(Wait *self, const char *name)
{
    g_autoptr(GError) error = NULL;
    TenboxVm *vm = cli_find_vm(self->cli, name, &error);
    Subject *subject;

    if (!vm) {
        cli_report(self->cli, name, error);
        self->error = self->error ? self->error : g_steal_pointer(&error);
        return FALSE;
    }
    subject = g_new0(Subject, 1);
    subject->wait = self;
    subject->vm = vm;
    subject->are_met = g_new0(gboolean, self->conditions->len);
    subject->line = g_string_new(NULL);
    g_ptr_array_add(self->subjects, subject);
    return TRUE;
}

static void wait_for_all(Wait *self)
{
    for (guint i = 0; i < self->subjects->len; i++) {
        check(g_ptr_array_index(self->subjects, i));
        open_console(g_ptr_array_index(self->subjects, i));
    }
    g_debug("waiting for %u VMs", self->subjects->len);
    while (!is_over(self))
        g_main_context_iteration(NULL, TRUE);
    /* Consoles that are being opened know their subject. */
    for (guint i = 0; i < self->subjects->len; i++) {
        Subject *subject = g_ptr_array_index(self->subjects, i);

        if (subject->opening)
            g_cancellable_cancel(subject->opening);
    }
    while (self->opening_count)
        g_main_context_iteration(NULL, TRUE);
}

static const CliColumn wait_columns[] = {
    {"name", N_("NAME"), "name"},
    {"id", N_("ID"), "id"},
    {"state", N_("STATE"), "state", .is_state = TRUE},
    {"met", N_("MET"), "met"},
    {0},
};

/* {name, id, state, met} for programs; for people it is enough that the waiting is over. */
static void print_met(Wait *self)
{
    g_autoptr(CliListing) listing = NULL;

    if (cli_prints_table(self->cli))
        return;
    listing = cli_listing_new(self->cli, wait_columns, "name", FALSE, &self->error);
    for (guint i = 0; listing && !self->error && i < self->subjects->len; i++) {
        const Subject *subject = g_ptr_array_index(self->subjects, i);
        JsonNode *document = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "name", tenbox_vm_get_name(subject->vm));
        json_object_set_string_member(object, "id", tenbox_vm_get_id(subject->vm));
        json_object_set_string_member(
            object, "state",
            tenbox_vm_is_deleted(subject->vm)
                ? NULL
                : tenbox_vm_state_to_string(tenbox_vm_get_state(subject->vm)));
        json_object_set_string_member(object, "met", subject->met);
        json_node_take_object(document, object);
        cli_listing_add(listing, document, &self->error);
    }
    if (listing)
        cli_listing_end(listing);
}

static int run(Wait *self, const CliCommandLine *line)
{
    Cli *cli = self->cli;
    g_autoptr(GAsyncResult) result = NULL;
    gboolean are_found = TRUE;

    tenbox_connection_watch_async(cli->connection, cli->cancellable, cli_wait_ready, &result);
    if (!tenbox_connection_watch_finish(cli->connection, cli_wait(&result), &self->error))
        return cli_fail(cli, NULL, self->error);
    for (guint i = 0; i < line->arguments->len; i++)
        are_found &= add_subject(self, g_ptr_array_index(line->arguments, i));
    if (!are_found)
        return cli_exit_status(cli, self->error);
    g_signal_connect(cli->connection, "vm-changed", G_CALLBACK(on_changed), self);
    g_signal_connect(cli->connection, "vm-removed", G_CALLBACK(on_changed), self);
    g_signal_connect(cli->connection, "closed", G_CALLBACK(on_closed), self);
    wait_for_all(self);
    g_signal_handlers_disconnect_by_data(cli->connection, self);
    if (!self->error)
        g_cancellable_set_error_if_cancelled(cli->cancellable, &self->error);
    if (!self->error)
        print_met(self);
    return self->error ? cli_fail(cli, NULL, self->error) : CLI_EXIT_DONE;
}

int cli_vm_wait(Cli *cli, const CliCommandLine *line)
{
    const char *const *conditions = cli_command_line_get_list(line, "for");
    Wait self = {.cli = cli, .wants_all = cli_command_line_has(line, "all")};
    int status;

    self.conditions = g_array_new(FALSE, FALSE, sizeof(Condition));
    g_array_set_clear_func(self.conditions, condition_clear);
    self.subjects = g_ptr_array_new_with_free_func(subject_free);
    if (!conditions)
        g_set_error(&self.error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    _("--for is missing: it says what is waited for: %s, log:EXPRESSION"),
                    CONDITIONS);
    for (; conditions && *conditions && !self.error; conditions++)
        add_condition(&self, *conditions, &self.error);
    if (!self.error)
        cli_connect(cli, TRUE, &self.error);
    status = self.error ? cli_fail(cli, NULL, self.error) : run(&self, line);
    g_ptr_array_unref(self.subjects);
    g_array_unref(self.conditions);
    g_clear_error(&self.error);
    return status;
}
