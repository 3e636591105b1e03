/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/definition.h"

#include <string.h>

#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/run-state.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* Quiet, because each byte on a serial port is two exits of the guest: the whole log of a stock kernel
 * takes longer than its boot. dmesg has all of it. */
#if defined(__aarch64__)
#define DEFAULT_CMDLINE "console=ttyAMA0 quiet"
#else
#define DEFAULT_CMDLINE "console=ttyS0 quiet"
#endif

/* What vm.json may lack and which take_members() then sets itself. */
#define TEXT_FIELDS                                                                                \
    (TBX_VM_SPEC_INITRD | TBX_VM_SPEC_CMDLINE | TBX_VM_SPEC_DESCRIPTION | TBX_VM_SPEC_NOTES)

/* Seconds since 1970 that a JSON time may have: up to the year 9999. */
/* What the original may have written as a name. */
#define NAME_MAX_READ 4096
#define TIME_MAX      G_GINT64_CONSTANT(253402300799)

static gint64 now_seconds(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static gint64 default_memory_mb(void)
{
    gint64 host = tbx_host_get_memory_mb();

    /* A machine that has not that much gets half of what it has. */
    return host >= TBX_MEMORY_MB_DEFAULT ? TBX_MEMORY_MB_DEFAULT
                                         : MAX(host / 2, TBX_VM_MEMORY_MB_MIN);
}

static gint64 default_cpu_count(void)
{
    return MIN(TBX_CPU_COUNT_DEFAULT, (gint64)g_get_num_processors());
}

static void replace_string(char **target, const char *value)
{
    g_free(*target);
    *target = g_strdup(value);
}

/* What a VM has whose user says nothing; kernel and name have no default. */
static void set_defaults(TbxVmDefinition *self, guint64 fields)
{
    if (fields & TBX_VM_SPEC_INITRD)
        replace_string(&self->initrd, NULL);
    if (fields & TBX_VM_SPEC_MEMORY_MB)
        self->memory_mb = default_memory_mb();
    if (fields & TBX_VM_SPEC_CPU_COUNT)
        self->cpu_count = default_cpu_count();
    if (fields & TBX_VM_SPEC_CMDLINE)
        replace_string(&self->cmdline, "");
    if (fields & TBX_VM_SPEC_DESCRIPTION)
        replace_string(&self->description, "");
    if (fields & TBX_VM_SPEC_NOTES)
        replace_string(&self->notes, "");
    if (fields & TBX_VM_SPEC_AUTOSTART)
        self->autostart = FALSE;
    if (fields & TBX_VM_SPEC_AUTOSTART_DELAY)
        self->autostart_delay = 0;
    if (fields & TBX_VM_SPEC_START_ORDER)
        self->start_order = TBX_START_ORDER_DEFAULT;
    if (fields & TBX_VM_SPEC_RESTART_POLICY)
        self->restart_policy = TENBOX_RESTART_POLICY_NO;
    if (fields & TBX_VM_SPEC_STOP_TIMEOUT)
        self->stop_timeout = TBX_STOP_TIMEOUT_DEFAULT;
}

static gboolean apply_spec(TbxVmDefinition *self, const TbxVmSpec *spec, GError **error)
{
    guint64 given = spec->present & ~spec->reset;
    GHashTable *labels = tbx_vm_labels_merge(self->labels, spec, error);

    if (labels == NULL)
        return FALSE;
    g_clear_pointer(&self->labels, g_hash_table_unref);
    self->labels = labels;
    set_defaults(self, spec->reset);
    if (given & TBX_VM_SPEC_NAME)
        replace_string(&self->name, spec->name);
    if (given & TBX_VM_SPEC_KERNEL)
        replace_string(&self->kernel, TBX_PATH_KERNEL);
    if (given & TBX_VM_SPEC_INITRD)
        replace_string(&self->initrd, spec->initrd != NULL ? TBX_PATH_INITRD : NULL);
    if (given & TBX_VM_SPEC_MEMORY_MB)
        self->memory_mb = spec->memory_mb;
    if (given & TBX_VM_SPEC_CPU_COUNT)
        self->cpu_count = spec->cpu_count;
    if (given & TBX_VM_SPEC_CMDLINE)
        replace_string(&self->cmdline, spec->cmdline != NULL ? spec->cmdline : "");
    if (given & TBX_VM_SPEC_DESCRIPTION)
        replace_string(&self->description, spec->description != NULL ? spec->description : "");
    if (given & TBX_VM_SPEC_NOTES)
        replace_string(&self->notes, spec->notes != NULL ? spec->notes : "");
    if (given & TBX_VM_SPEC_AUTOSTART)
        self->autostart = spec->autostart;
    if (given & TBX_VM_SPEC_AUTOSTART_DELAY)
        self->autostart_delay = spec->autostart_delay;
    if (given & TBX_VM_SPEC_START_ORDER)
        self->start_order = spec->start_order;
    if (given & TBX_VM_SPEC_RESTART_POLICY)
        self->restart_policy = (TenboxRestartPolicy)spec->restart_policy;
    if (given & TBX_VM_SPEC_STOP_TIMEOUT)
        self->stop_timeout = spec->stop_timeout;
    return TRUE;
}

TbxVmDefinition *tbx_vm_definition_new(const TbxVmSpec *spec)
{
    TbxVmDefinition *self = g_new0(TbxVmDefinition, 1);
    gboolean is_applied;

    set_defaults(self, G_MAXUINT64);
    self->creation_time = now_seconds();
    is_applied = apply_spec(self, spec, NULL);
    g_assert(is_applied); /* alone, the labels have been checked */
    return self;
}

TbxVmDefinition *tbx_vm_definition_copy(const TbxVmDefinition *self)
{
    TbxVmDefinition *copy = g_memdup2(self, sizeof(*self));

    copy->name = g_strdup(self->name);
    copy->derived_name = g_strdup(self->derived_name);
    copy->cmdline = g_strdup(self->cmdline);
    copy->kernel = g_strdup(self->kernel);
    copy->initrd = g_strdup(self->initrd);
    copy->description = g_strdup(self->description);
    copy->labels = g_hash_table_ref(self->labels); /* never changed, only replaced */
    copy->notes = g_strdup(self->notes);
    if (copy->document != NULL)
        json_object_ref(copy->document);
    return copy;
}

TbxVmDefinition *tbx_vm_definition_updated(const TbxVmDefinition *self, const TbxVmSpec *spec,
                                           GError **error)
{
    g_autoptr(TbxVmDefinition) copy = tbx_vm_definition_copy(self);

    copy->revision++;
    return apply_spec(copy, spec, error) ? g_steal_pointer(&copy) : NULL;
}

void tbx_vm_definition_free(TbxVmDefinition *self)
{
    if (self == NULL)
        return;
    g_free(self->name);
    g_free(self->derived_name);
    g_free(self->cmdline);
    g_free(self->kernel);
    g_free(self->initrd);
    g_free(self->description);
    g_clear_pointer(&self->labels, g_hash_table_unref);
    g_free(self->notes);
    g_clear_pointer(&self->document, json_object_unref);
    g_free(self);
}

static gboolean refuse(GError **error, const char *key, const char *what)
{
    tbx_error_set(error, "field-invalid", key, "vm.json: %s %s", key, what);
    return FALSE;
}

/* *@ret_text is (transfer full) and stays NULL for an absent or null key. */
static gboolean take_string(JsonObject *document, const char *key, gsize maximum,
                            gboolean with_lines, char **ret_text, GError **error)
{
    JsonNode *node = json_object_get_member(document, key);
    const char *text;

    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return refuse(error, key, "is not a string");
    text = json_node_get_string(node);
    if (strlen(text) > maximum)
        return refuse(error, key, "is too long");
    for (const char *c = text; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c) && !(with_lines && (*c == '\n' || *c == '\t')))
            return refuse(error, key, "has control characters in it");
    }
    *ret_text = g_strdup(text);
    return TRUE;
}

static gboolean take_integer(JsonObject *document, const char *key, gint64 minimum, gint64 maximum,
                             gint64 *value, GError **error)
{
    JsonNode *node = json_object_get_member(document, key);

    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
        return refuse(error, key, "is not an integer");
    if (json_node_get_int(node) < minimum || json_node_get_int(node) > maximum)
        return refuse(error, key, "is out of range");
    *value = json_node_get_int(node);
    return TRUE;
}

static gboolean take_boolean(JsonObject *document, const char *key, gboolean *value, GError **error)
{
    JsonNode *node = json_object_get_member(document, key);

    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return refuse(error, key, "is neither true nor false");
    *value = json_node_get_boolean(node);
    return TRUE;
}

static gboolean take_policy(TbxVmDefinition *self, JsonObject *document, GError **error)
{
    g_autofree char *word = NULL;

    if (!take_string(document, "restart_policy", 64, FALSE, &word, error))
        return FALSE;
    if (word == NULL)
        return TRUE;
    self->restart_policy = tenbox_restart_policy_from_string(word);
    if (self->restart_policy == TENBOX_RESTART_POLICY_UNKNOWN)
        return refuse(error, "restart_policy", "is none of no, on-failure and always");
    return TRUE;
}

static gboolean take_labels(TbxVmDefinition *self, JsonObject *document, GError **error)
{
    JsonNode *node = json_object_get_member(document, "labels");
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    self->labels = tbx_map_new();
    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "labels", "is not an object");
    json_object_iter_init(&iter, json_node_get_object(node));
    while (json_object_iter_next(&iter, &key, &value)) {
        if (!JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != G_TYPE_STRING)
            return refuse(error, "labels", "has a value that is not a string");
        g_hash_table_insert(self->labels, g_strdup(key), json_node_dup_string(value));
    }
    return tbx_vm_labels_check(self->labels, error);
}

/* Whether this version may read the file, and write it again. */
static gboolean check_schema_version(JsonObject *document, GError **error)
{
    gint64 version = TBX_VM_SCHEMA_VERSION;

    if (!take_integer(document, "schema_version", 1, G_MAXINT64, &version, error))
        return FALSE;
    if (version <= TBX_VM_SCHEMA_VERSION)
        return TRUE;
    tbx_error_set(error, "unsupported", "schema_version",
                  "vm.json: made by a newer TenBox (schema_version %" G_GINT64_FORMAT
                  ", this one knows %d)",
                  version, TBX_VM_SCHEMA_VERSION);
    return FALSE;
}

/* A name that leads out of the VM's folder would let vm.json read any file of the host into a guest. */
static gboolean check_file_name(const char *name, const char *key, GError **error)
{
    if (*name == '\0' || *name == '.' || strchr(name, '/') != NULL || strlen(name) > 255)
        return refuse(error, key, "is not the name of a file in the VM's folder");
    return TRUE;
}

/* The original lets a VM have any name, or none. */
static gboolean take_name(TbxVmDefinition *self, JsonObject *document, const char *id,
                          GError **error)
{
    g_autofree char *name = NULL;

    if (!take_string(document, "name", NAME_MAX_READ, TRUE, &name, error))
        return FALSE;
    if (id != NULL && (name == NULL || !tbx_vm_name_check(name, NULL))) {
        self->derived_name = g_strdup_printf("vm-%.8s", id);
        self->name = g_strdup(self->derived_name);
        return TRUE;
    }
    if (name == NULL)
        return refuse(error, "name", "is missing");
    if (!tbx_vm_name_check(name, error))
        return FALSE;
    self->name = g_steal_pointer(&name);
    return TRUE;
}

static gboolean take_members(TbxVmDefinition *self, JsonObject *document, const char *id,
                             GError **error)
{
    if (!check_schema_version(document, error) || !take_name(self, document, id, error) ||
        !take_string(document, "kernel", 255, FALSE, &self->kernel, error) ||
        !take_string(document, "initrd", 255, FALSE, &self->initrd, error) ||
        !take_string(document, "cmdline", TBX_VM_CMDLINE_MAX, FALSE, &self->cmdline, error) ||
        !take_string(document, "description", TBX_VM_DESCRIPTION_MAX, TRUE, &self->description,
                     error) ||
        !take_integer(document, "memory_mb", TBX_VM_MEMORY_MB_MIN, TBX_VM_MEMORY_MB_MAX,
                      &self->memory_mb, error) ||
        !take_integer(document, "cpu_count", 1, TBX_VM_CPU_COUNT_MAX, &self->cpu_count, error) ||
        !take_integer(document, "creation_time", 0, TIME_MAX, &self->creation_time, error) ||
        !take_integer(document, "last_boot_time", 0, TIME_MAX, &self->last_boot_time, error) ||
        !take_integer(document, "revision", 0, TIME_MAX, &self->revision, error) ||
        !take_string(document, "notes", TBX_VM_NOTES_MAX, TRUE, &self->notes, error) ||
        !take_boolean(document, "autostart", &self->autostart, error) ||
        !take_integer(document, "autostart_delay", 0, TBX_AUTOSTART_DELAY_MAX,
                      &self->autostart_delay, error) ||
        !take_integer(document, "start_order", 0, TBX_START_ORDER_MAX, &self->start_order, error) ||
        !take_integer(document, "stop_timeout", 1, TBX_STOP_TIMEOUT_MAX, &self->stop_timeout,
                      error) ||
        !take_policy(self, document, error) || !take_labels(self, document, error))
        return FALSE;
    if (self->kernel == NULL || *self->kernel == '\0')
        return refuse(error, "kernel", "is missing");
    /* The original writes an empty string for "none". */
    if (self->initrd != NULL && *self->initrd == '\0')
        g_clear_pointer(&self->initrd, g_free);
    if (self->cmdline == NULL)
        self->cmdline = g_strdup("");
    if (self->description == NULL)
        self->description = g_strdup("");
    if (self->notes == NULL)
        self->notes = g_strdup("");
    return check_file_name(self->kernel, "kernel", error) &&
           (self->initrd == NULL || check_file_name(self->initrd, "initrd", error));
}

TbxVmDefinition *tbx_vm_definition_parse(const char *text, gsize length, const char *id,
                                         GError **error)
{
    g_autoptr(JsonObject) document = tbx_json_guard_parse_object(text, length, error);
    g_autoptr(TbxVmDefinition) self = NULL;

    if (document == NULL) {
        if (error != NULL)
            *error = tbx_error_wrap(*error, NULL, "vm.json");
        return NULL;
    }
    self = g_new0(TbxVmDefinition, 1);
    set_defaults(self, ~(guint64)TEXT_FIELDS);
    if (!take_members(self, document, id, error))
        return NULL;
    self->document = g_steal_pointer(&document);
    return g_steal_pointer(&self);
}

GBytes *tbx_vm_definition_print(const TbxVmDefinition *self)
{
    g_autoptr(JsonObject) document = json_object_new();
    JsonObject *labels = json_object_new();
    g_autofree const char **keys = tbx_map_list_keys(self->labels);
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;
    gsize length;
    char *text;

    if (self->document != NULL) {
        json_object_iter_init_ordered(&iter, self->document);
        while (json_object_iter_next_ordered(&iter, &key, &value))
            json_object_set_member(document, key, json_node_copy(value));
    }
    json_object_set_int_member(document, "schema_version", TBX_VM_SCHEMA_VERSION);
    /* One that was made up is nobody's until a user gives another. */
    if (g_strcmp0(self->name, self->derived_name) != 0)
        json_object_set_string_member(document, "name", self->name);
    json_object_set_string_member(document, "kernel", self->kernel);
    if (self->initrd != NULL)
        json_object_set_string_member(document, "initrd", self->initrd);
    else
        json_object_set_null_member(document, "initrd");
    json_object_set_int_member(document, "memory_mb", self->memory_mb);
    json_object_set_int_member(document, "cpu_count", self->cpu_count);
    json_object_set_string_member(document, "cmdline", self->cmdline);
    json_object_set_string_member(document, "description", self->description);
    for (gsize i = 0; keys[i] != NULL; i++)
        json_object_set_string_member(labels, keys[i], g_hash_table_lookup(self->labels, keys[i]));
    json_object_set_object_member(document, "labels", labels);
    json_object_set_string_member(document, "notes", self->notes);
    json_object_set_boolean_member(document, "autostart", self->autostart);
    json_object_set_int_member(document, "autostart_delay", self->autostart_delay);
    json_object_set_int_member(document, "start_order", self->start_order);
    json_object_set_string_member(document, "restart_policy",
                                  tenbox_restart_policy_to_string(self->restart_policy));
    json_object_set_int_member(document, "stop_timeout", self->stop_timeout);
    json_object_set_int_member(document, "creation_time", self->creation_time);
    json_object_set_int_member(document, "last_boot_time", self->last_boot_time);
    json_object_set_int_member(document, "revision", self->revision);
    text = tbx_json_print_object(document, &length);
    return g_bytes_new_take(text, length);
}

char *tbx_vm_definition_make_etag(const TbxVmDefinition *self)
{
    TbxVmDefinition lasting = *self;
    g_autoptr(GBytes) text = NULL;
    char *digest;

    lasting.last_boot_time = 0;
    text = tbx_vm_definition_print(&lasting);
    digest = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, text);
    digest[32] = '\0'; /* 128 bits */
    return digest;
}

const char *tbx_vm_definition_get_effective_cmdline(const TbxVmDefinition *self)
{
    return *self->cmdline != '\0' ? self->cmdline : DEFAULT_CMDLINE;
}

void tbx_vm_definition_describe(const TbxVmDefinition *self, const char *id, const GError *broken,
                                TbxVmRecord *record)
{
    record->id = g_strdup(id);
    if (self != NULL) {
        record->name = g_strdup(self->name);
        record->memory_mb = self->memory_mb;
        record->cpu_count = self->cpu_count;
        record->cmdline = g_strdup(self->cmdline);
        record->kernel = g_strdup(self->kernel);
        record->initrd = g_strdup(self->initrd);
        record->description = g_strdup(self->description);
        record->labels = g_hash_table_ref(self->labels);
        record->notes = g_strdup(self->notes);
        record->autostart = self->autostart;
        record->autostart_delay = self->autostart_delay;
        record->start_order = self->start_order;
        record->restart_policy = (int)self->restart_policy;
        record->stop_timeout = self->stop_timeout;
        record->created_at = self->creation_time * G_USEC_PER_SEC;
        record->last_boot_time = self->last_boot_time * G_USEC_PER_SEC;
        record->etag = tbx_vm_definition_make_etag(self);
    } else {
        /* A VM whose vm.json cannot be used still has an id, an error, and a way out: delete. */
        record->name = g_strdup_printf("broken-%.8s", id);
        record->memory_mb = TBX_VM_MEMORY_MB_MIN;
        record->cpu_count = 1;
        record->cmdline = g_strdup("");
        record->kernel = g_strdup("");
        record->description = g_strdup("");
        record->notes = g_strdup("");
        record->start_order = TBX_START_ORDER_DEFAULT;
        record->restart_policy = TENBOX_RESTART_POLICY_NO;
        record->stop_timeout = TBX_STOP_TIMEOUT_DEFAULT;
        record->broken = tbx_vm_problem_new(broken);
    }
}
