/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/run-config.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "libtenbox/wire/wire-field.h"

#define FIELD(member, type, flags)                                                                 \
    {                                                                                              \
#member, type, flags, G_STRUCT_OFFSET(TbxRunConfig, member)                                \
    }

static const TbxField fields[] = {
    FIELD(memory_mb, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(cpu_count, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(cmdline, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(kernel, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(initrd, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
};

static const TbxRecordType type = {
    "configuration",
    sizeof(TbxRunConfig),
    fields,
    G_N_ELEMENTS(fields),
};

/* Which file it is; NULL when there is none. */
static char *describe_file(int folder_fd, const char *name)
{
    struct stat status;

    if (name == NULL || fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return NULL;
    return g_strdup_printf("%" G_GUINT64_FORMAT "-%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT ".%09ld",
                           (guint64)status.st_ino, (gint64)status.st_size,
                           (gint64)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

TbxRunConfig *tbx_run_config_new(const TbxVmDefinition *definition, int vm_folder_fd)
{
    TbxRunConfig *self = g_new0(TbxRunConfig, 1);

    self->memory_mb = definition->memory_mb;
    self->cpu_count = definition->cpu_count;
    self->cmdline = g_strdup(tbx_vm_definition_get_effective_cmdline(definition));
    self->kernel = describe_file(vm_folder_fd, definition->kernel);
    self->initrd = describe_file(vm_folder_fd, definition->initrd);
    return self;
}

TbxRunConfig *tbx_run_config_copy(const TbxRunConfig *self)
{
    TbxRunConfig *copy;

    if (self == NULL)
        return NULL;
    copy = g_new0(TbxRunConfig, 1);
    tbx_record_copy(&type, self, copy);
    return copy;
}

void tbx_run_config_free(TbxRunConfig *self)
{
    if (self == NULL)
        return;
    tbx_record_clear(&type, self);
    g_free(self);
}

TbxRunConfig *tbx_run_config_from_json(JsonObject *object)
{
    g_autoptr(TbxRunConfig) self = NULL;

    if (object == NULL)
        return NULL;
    self = g_new0(TbxRunConfig, 1);
    return tbx_record_decode(&type, object, TBX_DECODE_TOLERANT, self, NULL, NULL)
               ? g_steal_pointer(&self)
               : NULL;
}

JsonObject *tbx_run_config_to_json(const TbxRunConfig *self)
{
    return tbx_record_encode(&type, self, G_MAXUINT64);
}

char **tbx_run_config_compare(const TbxRunConfig *a, const TbxRunConfig *b)
{
    g_autoptr(GPtrArray) names = NULL;

    if (a == NULL || b == NULL)
        return NULL;
    names = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (!tbx_record_equal(&type, a, b, ~(G_GUINT64_CONSTANT(1) << i)))
            g_ptr_array_add(names, g_strdup(fields[i].name));
    }
    if (names->len == 0)
        return NULL;
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}
