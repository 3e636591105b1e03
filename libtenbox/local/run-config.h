/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What of a VM's definition a process is made of: it does not see a later change, so that a change waits
 * for the next one ("pending").
 *
 * A file is known by its inode, size and time of change: each copy of a kernel that the registry puts in
 * place is a new file.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/local/definition.h"

G_BEGIN_DECLS

/* Members are called as those of the VM's document. */
typedef struct {
    gint64 memory_mb;
    gint64 cpu_count;
    char *cmdline; /* the one that the guest gets */
    char *kernel;  /* nullable: there is no such file */
    char *initrd;  /* nullable: there is none */
} TbxRunConfig;

/* What a process would get that is started now. */
TbxRunConfig *tbx_run_config_new(const TbxVmDefinition *definition, int vm_folder_fd);
TbxRunConfig *tbx_run_config_copy(const TbxRunConfig *self); /* nullable */
void tbx_run_config_free(TbxRunConfig *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxRunConfig, tbx_run_config_free)

/* (nullable): NULL when @object is none. */
TbxRunConfig *tbx_run_config_from_json(JsonObject *object);
JsonObject *tbx_run_config_to_json(const TbxRunConfig *self);

/* (transfer full) (nullable): the names of the members that differ, in the order above; NULL when none
 * does, and when one of the two is not known (NULL). */
char **tbx_run_config_compare(const TbxRunConfig *a, const TbxRunConfig *b);

G_END_DECLS
