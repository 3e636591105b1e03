/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trash: VMs that were deleted and can be had back for some days.
 *
 * A deleted VM's folder is renamed from vms/<id> to trash/<id>, with a note in it (trash.json) of when that
 * was; undoing it is the same rename backwards, so that a crash leaves the VM in one of the two places and
 * whole. Its name is free from then on. What is older than the time limit is removed for good, by a sweep
 * when the driver is opened and each hour after that.
 *
 * A clock may jump: by years on a machine whose battery is empty. What counts for the limit is therefore not
 * the date but the time that has passed since: by the clock of the kernel's run as long as that goes on, and
 * at most a day in all for the time between its runs, however many there are and whatever the dates say. A VM may
 * so be kept longer than the limit, never less (but for that day).
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/operations.h"
#include "libtenbox/local/registry.h"
#include "libtenbox/wire/wire-vm.h"

G_BEGIN_DECLS

#define TBX_TRASH_DAYS_DEFAULT 7
#define TBX_TRASH_DAYS_MAX     3650

typedef struct _TbxTrash TbxTrash;

typedef struct {
    /* An event about a VM of the trash. */
    void (*emit)(const char *type, TbxVmRecord *vm, gpointer user_data);
    /* A VM has left the trash for its old place; its folder waits to be loaded. @vm: what it was shown as.
     * (transfer none): its document. */
    TbxVmRecord *(*restored)(TbxVmRecord *vm, gpointer user_data);
} TbxTrashHandlers;

/* @days: the time limit; 0: deleting is for good. Home: the thread-default context. */
TbxTrash *tbx_trash_new(TbxRegistry *registry, TbxOperations *operations, gint64 days,
                        const TbxTrashHandlers *handlers, gpointer user_data);
/* Nothing is called any more; what is under way on the disk comes to its end. Accepts NULL. */
void tbx_trash_close(TbxTrash *self);
void tbx_trash_unref(TbxTrash *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxTrash, tbx_trash_unref)

/* Whether deleted VMs are kept. */
gboolean tbx_trash_is_on(const TbxTrash *self);

/* Reads what is there, and begins to sweep. */
gboolean tbx_trash_load(TbxTrash *self, GError **error);

/* What trash.json of a VM that is deleted now has to say. */
GBytes *tbx_trash_new_note(void);
/* The folder of the VM, whose last document was @vm, has been moved into the trash. */
void tbx_trash_add(TbxTrash *self, TbxVmRecord *vm);

/* (transfer full): documents with deleted_at and purge_at, the latest deletion first. */
GPtrArray *tbx_trash_list(TbxTrash *self);

/* Whether @vm names one: by its id, or by its name if no other in the trash has that. */
gboolean tbx_trash_has(TbxTrash *self, const char *vm);

/**
 * tbx_trash_undelete:
 * @vm: an id, or a name that one VM of the trash has
 * @name: (nullable): the name it shall have, if not its old one
 * @task: (transfer full): completes with the VM's document: "vm-not-found", "vm-exists" with the field name,
 *   "name-ambiguous", "vm-busy"
 */
void tbx_trash_undelete(TbxTrash *self, const char *vm, const char *name, GTask *task);

/* Removes @vm for good, if it is as @options ask for. (transfer full) (nullable): the operation's document. */
TbxOperationRecord *tbx_trash_purge(TbxTrash *self, const char *vm, const TbxActionOptions *options,
                                    GError **error);

G_END_DECLS
