/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TenboxVmConfig wraps a TbxVmSpec that no longer changes; the builder owns one that does.
 */
#include "libtenbox/tenbox-internal.h"

#include "libtenbox/wire/json-guard.h"

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

static void set_text(TenboxVmConfigBuilder *self, TbxVmSpecFields field, char **member,
                     const char *text)
{
    g_free(*member);
    *member = g_strdup(text);
    self->spec->present |= field;
    self->spec->reset &= ~(guint64)field;
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
    self->spec->present |= TBX_VM_SPEC_MEMORY_MB;
}

void tenbox_vm_config_builder_set_cpu_count(TenboxVmConfigBuilder *self, gint64 cpu_count)
{
    g_return_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self));

    self->spec->cpu_count = cpu_count;
    self->spec->present |= TBX_VM_SPEC_CPU_COUNT;
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

TenboxVmConfig *tenbox_vm_config_builder_build(TenboxVmConfigBuilder *self, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_VM_CONFIG_BUILDER(self), NULL);

    if (!tbx_vm_spec_validate(self->spec, error))
        return NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_copy(self->spec);
    return tbx_vm_config_new(spec);
}
