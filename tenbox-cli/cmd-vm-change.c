/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox vm create, set, unset, rename, edit, autostart: what a VM is made of.
 */
#include <stdio.h>
#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"
#include "tenbox-cli/listing.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/vm-documents.h"

/* --- create -------------------------------------------------------------------------------- */

static TenboxVmConfig *build_config(const CliCommandLine *line, const char *name, GError **error)
{
    const char *const *labels = cli_command_line_get_list(line, "label");
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
    if (cli_command_line_has(line, "autostart"))
        tenbox_vm_config_builder_set_autostart(builder, TRUE);
    if (cli_command_line_has(line, "restart"))
        tenbox_vm_config_builder_set_restart_policy(
            builder, tenbox_restart_policy_from_string(cli_command_line_get_text(line, "restart")));
    for (; labels && *labels; labels++) {
        const char *equals = strchr(*labels, '=');
        g_autofree char *key =
            equals ? g_strndup(*labels, (gsize)(equals - *labels)) : g_strdup(*labels);

        tenbox_vm_config_builder_set_label(builder, key, equals ? equals + 1 : "");
    }
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
            cli_message(cli, _("%s runs."), name);
        else
            status = cli_report(cli, name, error);
    } else {
        cli_message(cli, _("%s is created; “tenbox vm start %s” boots it."), name, name);
    }
    /* The VM exists whether or not it could be started. */
    if (cli_prints_table(cli)) {
        printf("%s\n", tenbox_vm_get_id(vm));
    } else {
        g_autoptr(GError) problem = NULL;
        g_autoptr(JsonNode) document = cli_vm_to_document(vm, &problem);

        if (!document)
            return cli_fail(cli, name, problem);
        cli_print_document(cli, document, NULL, "name");
    }
    return status;
}

/* --- fields -------------------------------------------------------------------------------- */

typedef enum {
    FIELD_TEXT,
    FIELD_PATH,
    FIELD_NUMBER,
    FIELD_MEMORY,
    FIELD_BOOLEAN,
    FIELD_LABELS, /* an object; single ones are labels.KEY */
} FieldKind;

/* What a person may change; ranges and words are the daemon's to know. */
static const struct {
    const char *name;
    const char *short_name; /* NULL: none */
    FieldKind kind;
} fields[] = {
    {"name", NULL, FIELD_TEXT},
    {"memory_mb", "memory", FIELD_MEMORY},
    {"cpu_count", "cpus", FIELD_NUMBER},
    {"cmdline", NULL, FIELD_TEXT},
    {"kernel", NULL, FIELD_PATH},
    {"initrd", NULL, FIELD_PATH},
    {"description", NULL, FIELD_TEXT},
    {"notes", NULL, FIELD_TEXT},
    {"labels", NULL, FIELD_LABELS},
    {"autostart", NULL, FIELD_BOOLEAN},
    {"autostart_delay", NULL, FIELD_NUMBER},
    {"start_order", NULL, FIELD_NUMBER},
    {"restart_policy", "restart", FIELD_TEXT},
    {"stop_timeout", NULL, FIELD_NUMBER},
};

#define LABEL_PREFIX  "label."
#define LABELS_PREFIX "labels."

/* The key of "label.KEY" or "labels.KEY"; NULL when @name is neither. */
static const char *get_label_key(const char *name)
{
    if (g_str_has_prefix(name, LABEL_PREFIX))
        return name + strlen(LABEL_PREFIX);
    return g_str_has_prefix(name, LABELS_PREFIX) ? name + strlen(LABELS_PREFIX) : NULL;
}

static int find_field(const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (g_str_equal(fields[i].name, name) || g_strcmp0(fields[i].short_name, name) == 0)
            return (int)i;
        g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                               fields[i].short_name ? fields[i].short_name : fields[i].name);
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("“%s” cannot be changed; there are: %s, and label.KEY"), name, names->str);
    return -1;
}

/* The value that @text means for a field; NULL with @error. */
static JsonNode *make_value(FieldKind kind, const char *name, const char *text, GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
    g_autofree char *path = NULL;
    gint64 number;

    switch (kind) {
    case FIELD_TEXT: json_node_set_string(node, text); break;
    case FIELD_PATH: json_node_set_string(node, path = g_canonicalize_filename(text, NULL)); break;
    case FIELD_NUMBER:
        if (!g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &number, NULL)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("%s: “%s” is no whole number"), name, text);
            return NULL;
        }
        json_node_set_int(node, number);
        break;
    case FIELD_MEMORY:
        if (!cli_parse_memory(text, &number, error))
            return NULL;
        json_node_set_int(node, number);
        break;
    case FIELD_BOOLEAN:
        if (!cli_is_choice("true|false|yes|no|on|off", text)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("%s: “%s” is not one of: %s"), name, text, "true|false");
            return NULL;
        }
        json_node_set_boolean(node, cli_is_choice("true|yes|on", text));
        break;
    case FIELD_LABELS:
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("labels are set one by one, as in label.env=test"));
        return NULL;
    }
    return g_steal_pointer(&node);
}

static JsonObject *get_labels(JsonObject *patch)
{
    JsonNode *labels = json_object_get_member(patch, "labels");

    if (!labels || !JSON_NODE_HOLDS_OBJECT(labels))
        json_object_set_object_member(patch, "labels", json_object_new());
    return json_object_get_object_member(patch, "labels");
}

/* Adds @name (and @text, NULL to remove it) to @patch. */
static gboolean add_change(JsonObject *patch, const char *name, const char *text, GError **error)
{
    const char *key = get_label_key(name);
    JsonNode *value;
    int field;

    if (key) {
        if (text)
            json_object_set_string_member(get_labels(patch), key, text);
        else
            json_object_set_null_member(get_labels(patch), key);
        return TRUE;
    }
    field = find_field(name, error);
    if (field < 0)
        return FALSE;
    if (!text) {
        json_object_set_null_member(patch, fields[field].name);
        return TRUE;
    }
    value = make_value(fields[field].kind, fields[field].name, text, error);
    if (!value)
        return FALSE;
    json_object_set_member(patch, fields[field].name, value);
    return TRUE;
}

/* --- sending a change ---------------------------------------------------------------------- */

static TenboxVmConfig *make_config(JsonNode *patch, GError **error)
{
    g_autofree char *text = json_to_string(patch, FALSE);

    return cli_vm_config_new(text, NULL, error);
}

static gboolean send_change(Cli *cli, TenboxVm *vm, JsonNode *patch, GError **error)
{
    g_autoptr(TenboxVmConfig) config = make_config(patch, error);
    g_autoptr(GAsyncResult) result = NULL;

    if (!config)
        return FALSE;
    tenbox_vm_update_async(vm, config, cli->cancellable, cli_wait_ready, &result);
    return tenbox_vm_update_finish(vm, cli_wait(&result), error);
}

/* What became of the VM, for programs. */
static int print_changed(Cli *cli, TenboxVm *vm)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) document = NULL;

    if (cli_prints_table(cli))
        return CLI_EXIT_DONE;
    document = cli_vm_to_document(vm, &error);
    return document ? cli_print_document(cli, document, NULL, "name") : cli_fail(cli, NULL, error);
}

int cli_vm_tell_change(Cli *cli, TenboxVm *vm)
{
    g_autofree char *name = cli_safe_text(tenbox_vm_get_name(vm));
    g_auto(GStrv) pending = tenbox_vm_dup_pending(vm);

    if (pending && *pending) {
        g_autofree char *joined = g_strjoinv(", ", pending);

        cli_message(cli, _("%s is changed; it has to be stopped and started for: %s."), name,
                    joined);
    } else {
        cli_message(cli, _("%s is changed."), name);
    }
    return print_changed(cli, vm);
}

/* Changes the VM @name by @patch, or with --dry-run shows the request that would do it. */
static int change(Cli *cli, const CliCommandLine *line, const char *name, JsonNode *patch)
{
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;

    if (!cli_connect(cli, TRUE, &error))
        return cli_fail(cli, NULL, error);
    vm = cli_find_vm(cli, name, &error);
    if (!vm)
        return cli_fail(cli, name, error);
    if (cli_command_line_has(line, "dry-run")) {
        g_autoptr(TenboxVmConfig) config = make_config(patch, &error);

        if (!config)
            return cli_fail(cli, name, error);
        cli_message(cli, "%s", _("Nothing is changed; this would be:"));
        return cli_print_document(cli, patch, NULL, "name");
    }
    return send_change(cli, vm, patch, &error) ? cli_vm_tell_change(cli, vm)
                                               : cli_fail(cli, name, error);
}

static JsonNode *new_patch(void)
{
    JsonNode *patch = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(patch, json_object_new());
    return patch;
}

int cli_vm_set(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(JsonNode) patch = new_patch();
    g_autoptr(GError) error = NULL;

    for (guint i = 1; i < line->arguments->len; i++) {
        const char *argument = g_ptr_array_index(line->arguments, i);
        /* A label's key has no "=", its value may. */
        const char *equals = strchr(argument, '=');
        g_autofree char *name = NULL;

        if (!equals) {
            g_set_error(&error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("“%s” is not of the form KEY=VALUE"), argument);
            return cli_fail(cli, NULL, error);
        }
        name = g_strndup(argument, (gsize)(equals - argument));
        if (!add_change(json_node_get_object(patch), name, equals + 1, &error))
            return cli_fail(cli, NULL, error);
    }
    return change(cli, line, g_ptr_array_index(line->arguments, 0), patch);
}

int cli_vm_unset(Cli *cli, const CliCommandLine *line)
{
    g_autoptr(JsonNode) patch = new_patch();
    g_autoptr(GError) error = NULL;

    for (guint i = 1; i < line->arguments->len; i++) {
        if (!add_change(json_node_get_object(patch), g_ptr_array_index(line->arguments, i), NULL,
                        &error))
            return cli_fail(cli, NULL, error);
    }
    return change(cli, line, g_ptr_array_index(line->arguments, 0), patch);
}

int cli_vm_rename(Cli *cli, const CliCommandLine *line)
{
    const char *name = g_ptr_array_index(line->arguments, 0);
    g_autoptr(JsonNode) patch = new_patch();
    g_autoptr(TenboxVm) vm = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *old_name = NULL;
    g_autofree char *new_name = NULL;

    json_object_set_string_member(json_node_get_object(patch), "name",
                                  g_ptr_array_index(line->arguments, 1));
    if (cli_command_line_has(line, "dry-run"))
        return change(cli, line, name, patch);
    if (cli_connect(cli, TRUE, &error))
        vm = cli_find_vm(cli, name, &error);
    if (!vm)
        return cli_fail(cli, name, error);
    old_name = cli_safe_text(tenbox_vm_get_name(vm));
    if (!send_change(cli, vm, patch, &error))
        return cli_fail(cli, name, error);
    new_name = cli_safe_text(tenbox_vm_get_name(vm));
    cli_message(cli, _("%s is called %s now."), old_name, new_name);
    return print_changed(cli, vm);
}

/* enable|disable VM… */
int cli_vm_autostart(Cli *cli, const CliCommandLine *line)
{
    const gboolean is_on = g_str_equal(g_ptr_array_index(line->arguments, 0), "enable");
    g_autoptr(JsonNode) patch = new_patch();
    g_autoptr(GError) connect_error = NULL;
    int status = CLI_EXIT_DONE;

    json_object_set_boolean_member(json_node_get_object(patch), "autostart", is_on);
    if (!cli_connect(cli, TRUE, &connect_error))
        return cli_fail(cli, NULL, connect_error);
    for (guint i = 1; i < line->arguments->len; i++) {
        const char *name = g_ptr_array_index(line->arguments, i);
        g_autofree char *safe_name = cli_safe_text(name);
        g_autoptr(GError) error = NULL;
        g_autoptr(TenboxVm) vm = cli_find_vm(cli, name, &error);

        if (!vm || !send_change(cli, vm, patch, &error)) {
            const int failure = cli_report(cli, name, error);

            status = MAX(status, failure);
        } else {
            cli_message(cli,
                        is_on ? _("%s will start with the daemon.")
                              : _("%s will not start by itself."),
                        safe_name);
        }
    }
    return status;
}
