/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm edit: the definition of a VM in the person's own editor.
 *
 * The file holds the fields that may be changed, as JSON; lines that begin with # are not part of it. What was
 * changed goes to the daemon as a merge patch that holds only as long as nobody else has changed the VM: when
 * somebody has, the editor opens again with the change made on top of the other one, and the other one in comments.
 * A file that cannot be used opens again too, with the reason. Leaving a file unchanged gives up, but for the merged
 * one, which is sent then; an empty file always gives up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gi18n.h>
#include <glib/gstdio.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

static const char *const editable[] = {
    "name",   "memory_mb", "cpu_count",       "cmdline",     "description",    "notes",
    "labels", "autostart", "autostart_delay", "start_order", "restart_policy", "stop_timeout",
};

/* The fields of @document that may be edited. */
static JsonNode *pick_fields(JsonNode *document)
{
    JsonNode *picked = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    for (gsize i = 0; i < G_N_ELEMENTS(editable); i++) {
        JsonNode *member = json_object_get_member(json_node_get_object(document), editable[i]);

        if (member)
            json_object_set_member(object, editable[i], json_node_copy(member));
    }
    json_node_take_object(picked, object);
    return picked;
}

/* The merge patch (RFC 7396) that makes @after of @before; both are objects. */
static JsonNode *make_patch(JsonNode *before, JsonNode *after)
{
    JsonObject *old = json_node_get_object(before);
    JsonObject *new = json_node_get_object(after);
    JsonNode *patch = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonObjectIter iterator;
    const char *name;
    JsonNode *member;

    json_object_iter_init_ordered(&iterator, new);
    while (json_object_iter_next_ordered(&iterator, &name, &member)) {
        JsonNode *previous = json_object_get_member(old, name);

        if (previous && json_node_equal(previous, member))
            continue;
        if (previous && JSON_NODE_HOLDS_OBJECT(previous) && JSON_NODE_HOLDS_OBJECT(member))
            json_object_set_member(object, name, make_patch(previous, member));
        else
            json_object_set_member(object, name, json_node_copy(member));
    }
    json_object_iter_init_ordered(&iterator, old);
    while (json_object_iter_next_ordered(&iterator, &name, NULL)) {
        if (!json_object_has_member(new, name))
            json_object_set_null_member(object, name);
    }
    json_node_take_object(patch, object);
    return patch;
}

/* @patch on top of @document. */
static JsonNode *apply_patch(JsonNode *document, JsonNode *patch)
{
    JsonNode *merged = json_node_copy(document);
    JsonObject *object;
    JsonObjectIter iterator;
    const char *name;
    JsonNode *member;

    if (!JSON_NODE_HOLDS_OBJECT(merged)) {
        json_node_unref(merged);
        merged = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(merged, json_object_new());
    }
    /* A copy of a node shares its object. */
    object = json_object_new();
    json_object_iter_init_ordered(&iterator, json_node_get_object(merged));
    while (json_object_iter_next_ordered(&iterator, &name, &member))
        json_object_set_member(object, name, json_node_copy(member));
    json_object_iter_init_ordered(&iterator, json_node_get_object(patch));
    while (json_object_iter_next_ordered(&iterator, &name, &member)) {
        JsonNode *previous = json_object_get_member(object, name);

        if (JSON_NODE_HOLDS_NULL(member))
            json_object_remove_member(object, name);
        else if (JSON_NODE_HOLDS_OBJECT(member) && previous)
            json_object_set_member(object, name, apply_patch(previous, member));
        else
            json_object_set_member(object, name, json_node_copy(member));
    }
    json_node_take_object(merged, object);
    return merged;
}

/* --- the editor ---------------------------------------------------------------------------- */

/* Appends @text, each line behind "# ". */
static void append_comment(GString *file, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++)
        g_string_append_printf(file, "#%s%s\n", **line ? " " : "", *line);
}

static JsonNode *parse_file(const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GString) json = g_string_new(NULL);

    /* No string of JSON goes over the end of a line, so none can have a line that begins with #. */
    for (char **line = lines; *line; line++)
        g_string_append_printf(json, "%s\n", **line == '#' ? "" : *line);
    return cli_parse_object(json->str, error);
}

static const char *choose_editor(void)
{
    const char *visual = g_getenv("VISUAL");
    const char *editor = g_getenv("EDITOR");

    return visual && *visual ? visual : editor && *editor ? editor : "vi";
}

/* Runs the editor on @path and waits; the terminal's keys are its meanwhile. */
static gboolean run_editor(const char *path, GError **error)
{
    const char *editor = choose_editor();
    g_autofree char *script = g_strconcat("exec ", editor, " \"$1\"", NULL);
    const char *argv[] = {"sh", "-c", script, "sh", path, NULL};
    g_autoptr(GError) problem = NULL;
    CliBlocking blocking;
    gboolean is_run;
    int status;

    cli_begin_blocking(&blocking);
    is_run =
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN,
                     NULL, NULL, NULL, NULL, &status, &problem) &&
        g_spawn_check_wait_status(status, &problem);
    cli_end_blocking(&blocking);
    if (!is_run)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    _("the editor “%s”: %s; $VISUAL names another one"), editor, problem->message);
    return is_run;
}

/* What the person made of @text; NULL with @error. */
static char *edit_text(const char *text, GError **error)
{
    g_autofree char *path = NULL;
    g_autofree char *edited = NULL;
    gboolean is_read;
    int descriptor = g_file_open_tmp("tenbox-edit-XXXXXX.json", &path, error);

    if (descriptor < 0)
        return NULL;
    close(descriptor); /* it is 0600 from its birth */
    is_read = g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, error) &&
              run_editor(path, error) && g_file_get_contents(path, &edited, NULL, error);
    g_unlink(path);
    return is_read ? g_steal_pointer(&edited) : NULL;
}

/* --- the verb ------------------------------------------------------------------------------ */

typedef struct {
    Cli *cli;
    TenboxVm *vm;
    JsonNode *before; /* what the daemon has */
    char *etag;       /* of that */
} Edit;

/* Fetches the VM again. */
static gboolean fetch(Edit *self, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(JsonNode) document = NULL;

    tenbox_vm_refresh_async(self->vm, self->cli->cancellable, cli_wait_ready, &result);
    if (!tenbox_vm_refresh_finish(self->vm, cli_wait(&result), error))
        return FALSE;
    document = cli_vm_to_document(self->vm, error);
    if (!document)
        return FALSE;
    g_clear_pointer(&self->before, json_node_unref);
    self->before = pick_fields(document);
    g_free(self->etag);
    self->etag = cli_vm_dup_etag(self->vm);
    return TRUE;
}

static gboolean send(Edit *self, JsonNode *patch, GError **error)
{
    g_autofree char *text = json_to_string(patch, FALSE);
    g_autoptr(TenboxVmConfig) config = cli_vm_config_new(text, self->etag, error);
    g_autoptr(GAsyncResult) result = NULL;

    if (!config)
        return FALSE;
    tenbox_vm_update_async(self->vm, config, self->cli->cancellable, cli_wait_ready, &result);
    return tenbox_vm_update_finish(self->vm, cli_wait(&result), error);
}

/* What the editor shows: why it opens, then @json. */
static char *make_file(Edit *self, const char *reason, const char *json, const char *theirs)
{
    GString *file = g_string_new(NULL);
    g_autofree char *name = cli_safe_text(tenbox_vm_get_name(self->vm));
    g_autofree char *first = g_strdup_printf(_("The VM %s. Lines that begin with # do not count. "
                                               "Leave the rest as it is to change nothing."),
                                             name);

    append_comment(file, first);
    if (reason)
        append_comment(file, reason);
    if (theirs) {
        append_comment(file, _("This is what it is now:"));
        append_comment(file, theirs);
    }
    g_string_append(file, json);
    if (!g_str_has_suffix(json, "\n"))
        g_string_append_c(file, '\n');
    return g_string_free(file, FALSE);
}

/* @text without its comments. */
static char *strip_comments(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *rest = g_string_new(NULL);

    for (char **line = lines; *line; line++) {
        if (**line != '#')
            g_string_append_printf(rest, "%s%s", *line, line[1] ? "\n" : "");
    }
    return g_string_free(rest, FALSE);
}

/* Somebody else has changed the VM. */
static gboolean is_overtaken(const GError *error)
{
    return g_str_equal(tenbox_error_get_code(error), "precondition-failed");
}

/* Edits until the daemon has taken it, or the person has given up: FALSE without @error. */
static gboolean edit(Edit *self, GError **error)
{
    g_autofree char *json = cli_json_to_text(self->before, TRUE);
    g_autofree char *file = make_file(self, NULL, json, NULL);
    gboolean is_merged = FALSE;

    for (;;) {
        g_autofree char *edited = edit_text(file, error);
        g_autofree char *mine = edited ? strip_comments(edited) : NULL;
        g_autofree char *shown = strip_comments(file);
        g_autoptr(GError) problem = NULL;
        g_autoptr(JsonNode) after = NULL;
        g_autoptr(JsonNode) patch = NULL;
        g_autoptr(JsonNode) merged = NULL;
        g_autofree char *theirs = NULL;

        if (!edited || !*g_strstrip(mine) || (!is_merged && g_str_equal(mine, g_strstrip(shown))))
            return FALSE;
        after = parse_file(edited, &problem);
        if (after) {
            patch = make_patch(self->before, after);
            if (json_object_get_size(json_node_get_object(patch)) == 0)
                return FALSE;
            if (send(self, patch, &problem))
                return TRUE;
        }
        if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (self->cli->no_input || (!isatty(STDIN_FILENO) && !is_overtaken(problem))) {
            /* Nobody is there who could mend it. */
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (is_overtaken(problem)) {
            if (!fetch(self, error))
                return FALSE;
            merged = apply_patch(self->before, patch);
            theirs = cli_json_to_text(self->before, TRUE);
            g_free(mine);
            mine = cli_json_to_text(merged, TRUE);
        }
        is_merged = theirs != NULL;
        g_free(file);
        file = make_file(self, is_merged ? NULL : problem->message, mine, theirs);
    }
}

int cli_vm_edit(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    Edit self = {.cli = cli};
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;
    gboolean is_changed;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    vm = cli_find_vm(cli, name, &error);
    self.vm = vm;
    is_changed = vm && fetch(&self, &error) && edit(&self, &error);
    g_clear_pointer(&self.before, json_node_unref);
    g_free(self.etag);
    if (error)
        return cli_fail(cli, name, error);
    if (!is_changed) {
        cli_message(cli, "%s", _("Nothing was changed."));
        return CLI_EXIT_DONE;
    }
    return cli_vm_tell_change(cli, vm);
}
