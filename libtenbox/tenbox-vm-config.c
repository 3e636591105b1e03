/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TenboxVmConfig wraps a TbxVmSpec that no longer changes; the builder owns one that does.
 */
#include "libtenbox/tenbox-internal.h"

#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-etag.h"

struct _TenboxVmConfig {
    GObject parent_instance;
    TbxVmSpec *spec; /* const */
};

G_DEFINE_FINAL_TYPE(TenboxVmConfig, tenbox_vm_config, G_TYPE_OBJECT)

struct _TenboxVmConfigBuilder {
    GObject parent_instance;
    TbxVmSpec *spec;
};

G_DEFINE_FINAL_TYPE(TenboxVmConfigBuilder, tenbox_vm_config_builder, G_TYPE_OBJECT)

/* ---- the value ---------------------------------------------------------------------------- */

static void tenbox_vm_config_finalize(GObject *object)
{
    TenboxVmConfig *self = TENBOX_VM_CONFIG(object);

    tbx_vm_spec_unref(self->spec);
    G_OBJECT_CLASS(tenbox_vm_config_parent_class)->finalize(object);
}

static void tenbox_vm_config_class_init(TenboxVmConfigClass *class)
{
    G_OBJECT_CLASS(class)->finalize = tenbox_vm_config_finalize;
}

static void tenbox_vm_config_init(TenboxVmConfig *self)
{
}

TenboxVmConfig *tbx_vm_config_new(TbxVmSpec *spec)
{
    TenboxVmConfig *self = g_object_new(TENBOX_TYPE_VM_CONFIG, NULL);

    self->spec = tbx_vm_spec_ref(spec);
    return self;
}

TbxVmSpec *tbx_vm_config_get_spec(TenboxVmConfig *self)
{
    return self->spec;
}

char *tenbox_vm_config_dup_json(TenboxVmConfig *self)
{
    g_return_val_if_fail(TENBOX_IS_VM_CONFIG(self), NULL);

    g_autoptr(JsonObject) object = tbx_vm_spec_to_json(self->spec);
    return tbx_json_print_object(object, NULL);
}

TenboxVmConfig *tenbox_vm_config_new_from_json(const char *json, GError **error)
{
    g_return_val_if_fail(json, NULL);

    g_autoptr(JsonObject) object = tbx_json_guard_parse_object(json, strlen(json), error);
    g_autoptr(TbxVmSpec) spec = object ? tbx_vm_spec_from_json(object, error) : NULL;
    return spec ? tbx_vm_config_new(spec) : NULL;
}

/* ---- the builder -------------------------------------------------------------------------- */

static void tenbox_vm_config_builder_finalize(GObject *object)
{
    TenboxVmConfigBuilder *self = TENBOX_VM_CONFIG_BUILDER(object);

    tbx_vm_spec_unref(self->spec);
    G_OBJECT_CLASS(tenbox_vm_config_builder_parent_class)->finalize(object);
}

static void tenbox_vm_config_builder_class_init(TenboxVmConfigBuilderClass *class)
{
    G_OBJECT_CLASS(class)->finalize = tenbox_vm_config_builder_finalize;
}

static void tenbox_vm_config_builder_init(TenboxVmConfigBuilder *self)
{
    self->spec = tbx_vm_spec_new();
}

TenboxVmConfigBuilder *tenbox_vm_config_builder_new(void)
{
    return g_object_new(TENBOX_TYPE_VM_CONFIG_BUILDER, NULL);
}

static void set(TenboxVmConfigBuilder *self, TbxVmSpecFields field)
{
    self->spec->present |= field;
    self->spec->reset &= ~(guint64)field;
}

static void set_text(TenboxVmConfigBuilder *self, TbxVmSpecFields field, char **member,
                     const char *text)
{
    g_free(*member);
    *member = g_strdup(text);
    set(self, field);
}

void tenbox_vm_config_builder_set_name(TenboxVmConfigBuilder *self, const char *name)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && name);

    set_text(self, TBX_VM_SPEC_NAME, &self->spec->name, name);
}

void tenbox_vm_config_builder_set_kernel(TenboxVmConfigBuilder *self, const char *path)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && path);

    set_text(self, TBX_VM_SPEC_KERNEL, &self->spec->kernel, path);
}

void tenbox_vm_config_builder_set_initrd(TenboxVmConfigBuilder *self, const char *path)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    set_text(self, TBX_VM_SPEC_INITRD, &self->spec->initrd, path);
    if (!path)
        self->spec->reset |= TBX_VM_SPEC_INITRD;
}

void tenbox_vm_config_builder_set_memory_mb(TenboxVmConfigBuilder *self, gint64 memory_mb)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->memory_mb = memory_mb;
    set(self, TBX_VM_SPEC_MEMORY_MB);
}

void tenbox_vm_config_builder_set_cpu_count(TenboxVmConfigBuilder *self, gint64 cpu_count)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->cpu_count = cpu_count;
    set(self, TBX_VM_SPEC_CPU_COUNT);
}

void tenbox_vm_config_builder_set_cmdline(TenboxVmConfigBuilder *self, const char *cmdline)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && cmdline);

    set_text(self, TBX_VM_SPEC_CMDLINE, &self->spec->cmdline, cmdline);
}

void tenbox_vm_config_builder_set_description(TenboxVmConfigBuilder *self, const char *description)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && description);

    set_text(self, TBX_VM_SPEC_DESCRIPTION, &self->spec->description, description);
}

void tenbox_vm_config_builder_set_notes(TenboxVmConfigBuilder *self, const char *notes)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && notes);

    set_text(self, TBX_VM_SPEC_NOTES, &self->spec->notes, notes);
}

void tenbox_vm_config_builder_set_label(TenboxVmConfigBuilder *self, const char *key,
                                        const char *value)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && key);

    if (!self->spec->labels)
        self->spec->labels = tbx_map_new();
    g_hash_table_replace(self->spec->labels, g_strdup(key), g_strdup(value));
    set(self, TBX_VM_SPEC_LABELS);
}

void tenbox_vm_config_builder_set_autostart(TenboxVmConfigBuilder *self, gboolean autostart)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->autostart = autostart;
    set(self, TBX_VM_SPEC_AUTOSTART);
}

void tenbox_vm_config_builder_set_autostart_delay(TenboxVmConfigBuilder *self, gint64 seconds)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->autostart_delay = seconds;
    set(self, TBX_VM_SPEC_AUTOSTART_DELAY);
}

void tenbox_vm_config_builder_set_start_order(TenboxVmConfigBuilder *self, gint64 start_order)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->start_order = start_order;
    set(self, TBX_VM_SPEC_START_ORDER);
}

void tenbox_vm_config_builder_set_restart_policy(TenboxVmConfigBuilder *self,
                                                 TenboxRestartPolicy policy)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->restart_policy = (int)policy;
    set(self, TBX_VM_SPEC_RESTART_POLICY);
}

void tenbox_vm_config_builder_set_stop_timeout(TenboxVmConfigBuilder *self, gint64 seconds)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->stop_timeout = seconds;
    set(self, TBX_VM_SPEC_STOP_TIMEOUT);
}

gboolean tenbox_vm_config_builder_reset(TenboxVmConfigBuilder *self, const char *field,
                                        GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self) && field, FALSE);

    return tbx_vm_spec_reset(self->spec, field, error);
}

void tenbox_vm_config_builder_set_if_match(TenboxVmConfigBuilder *self, const char *etag)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    g_free(self->spec->if_match);
    self->spec->if_match = etag ? tbx_etag_quote(etag) : NULL;
}

TenboxVmConfig *tenbox_vm_config_builder_build(TenboxVmConfigBuilder *self, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self), NULL);

    if (!tbx_vm_spec_validate(self->spec, error))
        return NULL;
    if (self->spec->if_match && !tbx_etag_list_check(self->spec->if_match, "If-Match", error))
        return NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_copy(self->spec);
    return tbx_vm_config_new(spec);
}
