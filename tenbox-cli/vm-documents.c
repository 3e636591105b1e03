/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See vm-documents.h. */
#include "tenbox-cli/vm-documents.h"

#include <string.h>

#include <glib/gi18n.h>

#include "tenbox-cli/output.h"

/* A VM whose vm.json cannot be read is called so: "stopped" alone would send nobody to look at it. */
static char *show_state(JsonNode *value, JsonObject *document)
{
    JsonNode *broken = json_object_get_member(document, "broken");

    return broken && !JSON_NODE_HOLDS_NULL(broken) ? g_strdup("broken") : cli_value_to_text(value);
}

const CliColumn cli_vm_columns[] = {
    {"name", N_("NAME"), "name"},
    {"state", N_("STATE"), "state", show_state, .is_state = TRUE},
    {"cpus", N_("CPUS"), "cpu_count"},
    {"memory", N_("MEMORY"), "memory_mb", cli_show_memory_mb},
    {"uptime", N_("UPTIME"), "started_at", cli_show_since},
    {"id", N_("ID"), "id", cli_show_short_id},
    {"autostart", N_("AUTOSTART"), "autostart", cli_show_yes, .is_wide = TRUE},
    {"restart", N_("RESTART"), "restart_policy", .is_wide = TRUE},
    {"labels", N_("LABELS"), "labels", cli_show_labels, .is_wide = TRUE},
    {"pending", N_("PENDING"), "pending", cli_show_words, .is_wide = TRUE},
    {"created", N_("CREATED"), "created_at", cli_show_time, .is_wide = TRUE},
    {"pid", N_("PID"), "pid", .is_wide = TRUE},
    {"description", N_("DESCRIPTION"), "description", .is_wide = TRUE},
    {0},
};

const CliColumn cli_deleted_vm_columns[] = {
    {"name", N_("NAME"), "name"},
    {"deleted", N_("DELETED"), "deleted_at", cli_show_time},
    {"purge", N_("GONE AFTER"), "purge_at", cli_show_time},
    {"memory", N_("MEMORY"), "memory_mb", cli_show_memory_mb},
    {"id", N_("ID"), "id"},
    {"labels", N_("LABELS"), "labels", cli_show_labels, .is_wide = TRUE},
    {"description", N_("DESCRIPTION"), "description", .is_wide = TRUE},
    {0},
};

JsonNode *cli_vm_to_document(TenboxVm *vm, GError **error)
{
    g_autofree char *text = tenbox_vm_dup_json(vm);

    return cli_parse_object(text, error);
}

GPtrArray *cli_list_vms(Cli *cli, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_list_vms_async(cli->connection, cli->cancellable, cli_wait_ready, &result);
    return tenbox_connection_list_vms_finish(cli->connection, cli_wait(&result), error);
}

GPtrArray *cli_list_deleted_vms(Cli *cli, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    tenbox_connection_list_deleted_vms_async(cli->connection, cli->cancellable, cli_wait_ready,
                                             &result);
    return tenbox_connection_list_deleted_vms_finish(cli->connection, cli_wait(&result), error);
}

/* As of tenbox_connection_get_vm_async(). */
#define PREFIX_MIN 3

TenboxVm *cli_find_deleted_vm(Cli *cli, const char *name, GError **error)
{
    g_autoptr(GPtrArray) vms = cli_list_deleted_vms(cli, error);
    g_autoptr(GString) matches = g_string_new(NULL);
    TenboxVm *found = NULL;
    guint count = 0;

    /* Several may have had one name; an id is of one. */
    for (guint round = 0; vms && round < 2 && count == 0; round++) {
        for (guint i = 0; i < vms->len; i++) {
            TenboxVm *vm = g_ptr_array_index(vms, i);

            if (round == 0
                    ? !g_str_equal(tenbox_vm_get_name(vm), name)
                    : strlen(name) < PREFIX_MIN || !g_str_has_prefix(tenbox_vm_get_id(vm), name))
                continue;
            g_string_append_printf(matches, "%s%s (%s)", count ? ", " : "", tenbox_vm_get_id(vm),
                                   tenbox_vm_get_name(vm));
            found = vm;
            count++;
        }
    }
    if (count == 1)
        return g_object_ref(found);
    if (count)
        g_set_error(error, CLI_ERROR, CLI_ERROR_AMBIGUOUS,
                    _("“%s” fits several VMs in the trash: %s"), name, matches->str);
    else if (vms)
        g_set_error(
            error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND,
            _("there is no VM “%s” in the trash; “tenbox vm ls --deleted” shows what there is"),
            name);
    return NULL;
}

/* --- filters ------------------------------------------------------------------------------- */

typedef struct {
    char *name;
    GPtrArray *values; /* of char *, alternatives */
} Condition;

struct _CliFilter {
    GPtrArray *conditions; /* of Condition */
};

static void condition_free(gpointer data)
{
    Condition *condition = data;

    g_free(condition->name);
    g_ptr_array_unref(condition->values);
    g_free(condition);
}

void cli_filter_free(CliFilter *self)
{
    if (!self)
        return;
    g_ptr_array_unref(self->conditions);
    g_free(self);
}

/* The condition about @name; takes @name. */
static Condition *get_condition(CliFilter *self, char *name)
{
    Condition *condition;

    for (guint i = 0; i < self->conditions->len; i++) {
        condition = g_ptr_array_index(self->conditions, i);
        if (g_str_equal(condition->name, name)) {
            g_free(name);
            return condition;
        }
    }
    condition = g_new0(Condition, 1);
    condition->name = name;
    condition->values = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(self->conditions, condition);
    return condition;
}

CliFilter *cli_filter_new(const char *const *conditions, GError **error)
{
    g_autoptr(CliFilter) self = g_new0(CliFilter, 1);

    self->conditions = g_ptr_array_new_with_free_func(condition_free);
    for (; conditions && *conditions; conditions++) {
        const char *equals = strchr(*conditions, '=');
        Condition *condition;

        if (!equals || equals == *conditions) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        _("--filter: “%s” is not of the form NAME=VALUE, such as state=running or "
                          "label=env=test"),
                        *conditions);
            return NULL;
        }
        condition = get_condition(self, g_strndup(*conditions, (gsize)(equals - *conditions)));
        g_ptr_array_add(condition->values, g_strdup(equals + 1));
    }
    return g_steal_pointer(&self);
}

static gboolean has_label(JsonNode *document, const char *wanted)
{
    JsonNode *labels = cli_document_find(document, "labels", NULL);
    const char *equals = strchr(wanted, '=');
    g_autofree char *key = equals ? g_strndup(wanted, (gsize)(equals - wanted)) : g_strdup(wanted);
    JsonNode *value = labels && JSON_NODE_HOLDS_OBJECT(labels)
                          ? json_object_get_member(json_node_get_object(labels), key)
                          : NULL;
    g_autofree char *text = cli_value_to_text(value);

    return value && (!equals || g_str_equal(text, equals + 1));
}

/* Of events and operations: the VM's name, or the beginning of its id. */
static gboolean is_about_vm(JsonNode *document, const char *wanted)
{
    g_autofree char *name = cli_value_to_text(cli_document_find(document, "vm_name", NULL));
    g_autofree char *id = cli_value_to_text(cli_document_find(document, "vm_id", NULL));

    return *wanted && (g_str_equal(name, wanted) || g_str_has_prefix(id, wanted));
}

/* Whether one of the alternatives holds. */
static gboolean holds(const Condition *condition, JsonNode *document, gboolean *ret_holds,
                      GError **error)
{
    g_autofree char *problem = NULL;
    g_autofree char *text = NULL;

    *ret_holds = FALSE;
    if (!g_str_equal(condition->name, "label") && !g_str_equal(condition->name, "vm")) {
        text = cli_value_to_text(cli_document_find(document, condition->name, &problem));
        if (problem) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--filter: %s", problem);
            return FALSE;
        }
    }
    for (guint i = 0; i < condition->values->len && !*ret_holds; i++) {
        const char *value = g_ptr_array_index(condition->values, i);

        if (g_str_equal(condition->name, "label"))
            *ret_holds = has_label(document, value);
        else if (!text)
            *ret_holds = is_about_vm(document, value);
        else if (g_str_equal(condition->name, "name") || g_str_equal(condition->name, "type"))
            *ret_holds = g_pattern_match_simple(value, text);
        else if (g_str_equal(condition->name, "id"))
            *ret_holds = *value && g_str_has_prefix(text, value);
        else
            *ret_holds = g_str_equal(value, text);
    }
    return TRUE;
}

gboolean cli_filter_matches(const CliFilter *self, JsonNode *document, gboolean *ret_matches,
                            GError **error)
{
    *ret_matches = TRUE;
    for (guint i = 0; i < self->conditions->len && *ret_matches; i++) {
        if (!holds(g_ptr_array_index(self->conditions, i), document, ret_matches, error))
            return FALSE;
    }
    return TRUE;
}

/* --- changes ------------------------------------------------------------------------------- */

char *cli_vm_dup_etag(TenboxVm *vm)
{
    return g_strdup(tenbox_vm_get_etag(vm));
}

static void set_labels(TenboxVmConfigBuilder *builder, JsonObject *labels)
{
    JsonObjectIter iterator;
    const char *key;
    JsonNode *value;

    json_object_iter_init_ordered(&iterator, labels);
    while (json_object_iter_next_ordered(&iterator, &key, &value))
        tenbox_vm_config_builder_set_label(
            builder, key, JSON_NODE_HOLDS_NULL(value) ? NULL : json_node_get_string(value));
}

static void set_restart_policy(TenboxVmConfigBuilder *builder, const char *word)
{
    tenbox_vm_config_builder_set_restart_policy(builder, tenbox_restart_policy_from_string(word));
}

/* Members of a patch that has passed tenbox_vm_config_new_from_json(), by the setter of each. */
static gboolean set_member(TenboxVmConfigBuilder *builder, const char *name, JsonNode *value,
                           GError **error)
{
    static const struct {
        const char *name;
        void (*set_text)(TenboxVmConfigBuilder *builder, const char *text);
        void (*set_number)(TenboxVmConfigBuilder *builder, gint64 number);
    } members[] = {
        {"name", tenbox_vm_config_builder_set_name, NULL},
        {"cmdline", tenbox_vm_config_builder_set_cmdline, NULL},
        {"description", tenbox_vm_config_builder_set_description, NULL},
        {"notes", tenbox_vm_config_builder_set_notes, NULL},
        {"restart_policy", set_restart_policy, NULL},
        {"memory_mb", NULL, tenbox_vm_config_builder_set_memory_mb},
        {"cpu_count", NULL, tenbox_vm_config_builder_set_cpu_count},
        {"autostart_delay", NULL, tenbox_vm_config_builder_set_autostart_delay},
        {"start_order", NULL, tenbox_vm_config_builder_set_start_order},
        {"stop_timeout", NULL, tenbox_vm_config_builder_set_stop_timeout},
    };

    if (JSON_NODE_HOLDS_NULL(value))
        return tenbox_vm_config_builder_reset(builder, name, error);
    if (g_str_equal(name, "labels")) {
        set_labels(builder, json_node_get_object(value));
        return TRUE;
    }
    if (g_str_equal(name, "autostart")) {
        tenbox_vm_config_builder_set_autostart(builder, json_node_get_boolean(value));
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(members); i++) {
        if (!g_str_equal(members[i].name, name))
            continue;
        if (members[i].set_text)
            members[i].set_text(builder, json_node_get_string(value));
        else
            members[i].set_number(builder, json_node_get_int(value));
        return TRUE;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, _("%s cannot be changed here"),
                name);
    return FALSE;
}

TenboxVmConfig *cli_vm_config_new(const char *patch, const char *etag, GError **error)
{
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_new_from_json(patch, error);
    g_autoptr(TenboxVmConfigBuilder) builder = NULL;
    g_autoptr(JsonNode) document = NULL;
    JsonObjectIter iterator;
    const char *name;
    JsonNode *value;

    if (!config || !etag)
        return g_steal_pointer(&config);
    document = cli_parse_object(patch, error);
    if (!document)
        return NULL;
    builder = tenbox_vm_config_builder_new();
    tenbox_vm_config_builder_set_if_match(builder, etag);
    json_object_iter_init_ordered(&iterator, json_node_get_object(document));
    while (json_object_iter_next_ordered(&iterator, &name, &value)) {
        if (!set_member(builder, name, value, error))
            return NULL;
    }
    return tenbox_vm_config_builder_build(builder, error);
}
