/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/definition.h"

#include <string.h>

#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* Quiet, because each byte on a serial port is two exits of the guest: the whole log of a stock kernel
 * takes longer than its boot. dmesg has all of it. */
#if defined(__aarch64__)
#define DEFAULT_CMDLINE "console=ttyAMA0 quiet"
#else
#define DEFAULT_CMDLINE "console=ttyS0 quiet"
#endif

/* Seconds since 1970 that a JSON time may have: up to the year 9999. */
#define TIME_MAX G_GINT64_CONSTANT(253402300799)

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

static void apply_spec(TbxVmDefinition *self, const TbxVmSpec *spec)
{
    if (spec->present & TBX_VM_SPEC_NAME)
        replace_string(&self->name, spec->name);
    if (spec->present & TBX_VM_SPEC_KERNEL)
        replace_string(&self->kernel, TBX_PATH_KERNEL);
    if (spec->present & TBX_VM_SPEC_INITRD)
        replace_string(&self->initrd, spec->initrd != NULL ? TBX_PATH_INITRD : NULL);
    if (spec->present & TBX_VM_SPEC_MEMORY_MB)
        self->memory_mb = spec->memory_mb;
    if (spec->present & TBX_VM_SPEC_CPU_COUNT)
        self->cpu_count = spec->cpu_count;
    if (spec->present & TBX_VM_SPEC_CMDLINE)
        replace_string(&self->cmdline, spec->cmdline != NULL ? spec->cmdline : "");
    if (spec->present & TBX_VM_SPEC_DESCRIPTION)
        replace_string(&self->description, spec->description != NULL ? spec->description : "");
}

TbxVmDefinition *tbx_vm_definition_new(const TbxVmSpec *spec)
{
    TbxVmDefinition *self = g_new0(TbxVmDefinition, 1);

    self->memory_mb = default_memory_mb();
    self->cpu_count = default_cpu_count();
    self->cmdline = g_strdup("");
    self->description = g_strdup("");
    self->creation_time = now_seconds();
    apply_spec(self, spec);
    return self;
}

TbxVmDefinition *tbx_vm_definition_copy(const TbxVmDefinition *self)
{
    TbxVmDefinition *copy = g_memdup2(self, sizeof(*self));

    copy->name = g_strdup(self->name);
    copy->cmdline = g_strdup(self->cmdline);
    copy->kernel = g_strdup(self->kernel);
    copy->initrd = g_strdup(self->initrd);
    copy->description = g_strdup(self->description);
    if (copy->document != NULL)
        json_object_ref(copy->document);
    return copy;
}

TbxVmDefinition *tbx_vm_definition_updated(const TbxVmDefinition *self, const TbxVmSpec *spec)
{
    TbxVmDefinition *copy = tbx_vm_definition_copy(self);

    apply_spec(copy, spec);
    return copy;
}

void tbx_vm_definition_free(TbxVmDefinition *self)
{
    if (self == NULL)
        return;
    g_free(self->name);
    g_free(self->cmdline);
    g_free(self->kernel);
    g_free(self->initrd);
    g_free(self->description);
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

/* A name that leads out of the VM's folder would let vm.json read any file of the host into a guest. */
static gboolean check_file_name(const char *name, const char *key, GError **error)
{
    if (*name == '\0' || *name == '.' || strchr(name, '/') != NULL || strlen(name) > 255)
        return refuse(error, key, "is not the name of a file in the VM's folder");
    return TRUE;
}

static gboolean take_members(TbxVmDefinition *self, JsonObject *document, GError **error)
{
    if (!take_string(document, "name", TBX_VM_NAME_MAX, FALSE, &self->name, error) ||
        !take_string(document, "kernel", 255, FALSE, &self->kernel, error) ||
        !take_string(document, "initrd", 255, FALSE, &self->initrd, error) ||
        !take_string(document, "cmdline", TBX_VM_CMDLINE_MAX, FALSE, &self->cmdline, error) ||
        !take_string(document, "description", TBX_VM_DESCRIPTION_MAX, TRUE, &self->description,
                     error) ||
        !take_integer(document, "memory_mb", TBX_VM_MEMORY_MB_MIN, TBX_VM_MEMORY_MB_MAX,
                      &self->memory_mb, error) ||
        !take_integer(document, "cpu_count", 1, TBX_VM_CPU_COUNT_MAX, &self->cpu_count, error) ||
        !take_integer(document, "creation_time", 0, TIME_MAX, &self->creation_time, error) ||
        !take_integer(document, "last_boot_time", 0, TIME_MAX, &self->last_boot_time, error))
        return FALSE;
    if (self->name == NULL)
        return refuse(error, "name", "is missing");
    if (self->kernel == NULL || *self->kernel == '\0')
        return refuse(error, "kernel", "is missing");
    /* The original writes an empty string for "none". */
    if (self->initrd != NULL && *self->initrd == '\0')
        g_clear_pointer(&self->initrd, g_free);
    if (self->cmdline == NULL)
        self->cmdline = g_strdup("");
    if (self->description == NULL)
        self->description = g_strdup("");
    return tbx_vm_name_check(self->name, error) && check_file_name(self->kernel, "kernel", error) &&
           (self->initrd == NULL || check_file_name(self->initrd, "initrd", error));
}

TbxVmDefinition *tbx_vm_definition_parse(const char *text, gsize length, GError **error)
{
    g_autoptr(JsonObject) document = tbx_json_guard_parse_object(text, length, error);
    g_autoptr(TbxVmDefinition) self = NULL;

    if (document == NULL) {
        if (error != NULL)
            *error = tbx_error_wrap(*error, NULL, "vm.json");
        return NULL;
    }
    self = g_new0(TbxVmDefinition, 1);
    self->memory_mb = default_memory_mb();
    self->cpu_count = default_cpu_count();
    if (!take_members(self, document, error))
        return NULL;
    self->document = g_steal_pointer(&document);
    return g_steal_pointer(&self);
}

GBytes *tbx_vm_definition_print(const TbxVmDefinition *self)
{
    g_autoptr(JsonObject) document = json_object_new();
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
    json_object_set_int_member(document, "creation_time", self->creation_time);
    json_object_set_int_member(document, "last_boot_time", self->last_boot_time);
    text = tbx_json_print_object(document, &length);
    return g_bytes_new_take(text, length);
}

const char *tbx_vm_definition_get_effective_cmdline(const TbxVmDefinition *self)
{
    return *self->cmdline != '\0' ? self->cmdline : DEFAULT_CMDLINE;
}
