/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vm.json: what a VM is made of, as it lies on disk.
 *
 * Keys that this version does not know (of a newer one, or of the original TenBox) are kept and written
 * back. A file that cannot be understood is never written: the VM is shown with the error and can only
 * be deleted. That is also so for a file whose schema_version says that a newer TenBox wrote it.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/wire/wire-vm.h"

G_BEGIN_DECLS

#define TBX_MEMORY_MB_DEFAULT 4096
#define TBX_CPU_COUNT_DEFAULT 4

/* What this version writes as schema_version; a file without one is of version 1, too. */
#define TBX_VM_SCHEMA_VERSION 1

typedef struct {
    char *name;
    gint64 memory_mb;
    gint64 cpu_count;
    char *cmdline;      /* "" = the console of the architecture */
    char *kernel;       /* a file name in the VM's folder */
    char *initrd;       /* nullable */
    char *description;  /* never NULL */
    GHashTable *labels; /* never NULL; strings by strings */
    char *notes;        /* never NULL */
    gboolean autostart;
    gint64 autostart_delay; /* seconds */
    gint64 start_order;
    TenboxRestartPolicy restart_policy;
    gint64 stop_timeout;   /* seconds */
    gint64 creation_time;  /* seconds since 1970, as the original keeps them */
    gint64 last_boot_time; /* seconds since 1970, 0 = never */
    gint64 revision; /* grows with each change by a user; files may change without their names */
    JsonObject *document; /* nullable: the file as it was read */
    char *derived_name; /* nullable: the name that stands for one of the file that no VM may have */
} TbxVmDefinition;

/* From a specification that has passed tbx_vm_spec_validate_create(), with defaults for the rest;
 * kernel and initrd get the names of their copies. */
TbxVmDefinition *tbx_vm_definition_new(const TbxVmSpec *spec);

/* A copy with the changes of @spec; "field-invalid" for what only the result shows, too many labels. */
TbxVmDefinition *tbx_vm_definition_updated(const TbxVmDefinition *self, const TbxVmSpec *spec,
                                           GError **error);

TbxVmDefinition *tbx_vm_definition_copy(const TbxVmDefinition *self);
void tbx_vm_definition_free(TbxVmDefinition *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmDefinition, tbx_vm_definition_free)

/* @id: (nullable): gives a VM of the original, whose name no VM may have here or which has none, the name "vm-" and
 * the id's first eight characters; the file keeps its own until the VM is renamed.
 * "field-invalid", "name-invalid" or "json-invalid" with the key as field; "unsupported" with
 * schema_version for the file of a newer TenBox. */
TbxVmDefinition *tbx_vm_definition_parse(const char *text, gsize length, const char *id,
                                         GError **error);

/* (transfer full): an entity tag of all that a user can change; see wire-etag.h. */
char *tbx_vm_definition_make_etag(const TbxVmDefinition *self);

/* The file's new content. */
GBytes *tbx_vm_definition_print(const TbxVmDefinition *self);

/* Fills the members of @record, a new one, that say what the VM @id is. @self: (nullable): NULL for a VM
 * whose vm.json cannot be used, then @broken says why. */
void tbx_vm_definition_describe(const TbxVmDefinition *self, const char *id, const GError *broken,
                                TbxVmRecord *record);

/* The command line that the guest gets. */
const char *tbx_vm_definition_get_effective_cmdline(const TbxVmDefinition *self);

G_END_DECLS
