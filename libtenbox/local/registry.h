/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store: one data folder, locked, with a folder for each VM.
 *
 * A VM appears and disappears by one rename: it is made under the name .new-<id> and renamed when it is
 * complete and durable, and renamed to .old-<id> before anything of it is removed. What a crash leaves
 * under these names is removed when the folder is opened next.
 *
 * The registry also keeps names unique: a name is taken before the folder is made.
 *
 * Opening and loading block briefly (a daemon does them before it serves anybody); creating, changing
 * files and removing run in a thread.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/definition.h"
#include "libtenbox/local/lock.h"
#include "libtenbox/local/place.h"

G_BEGIN_DECLS

typedef struct _TbxRegistry TbxRegistry;

/**
 * tbx_registry_open:
 * @folder: absolute path; made when missing
 * @served_at: (nullable): how the owner can be reached, for the next one's error message
 *
 * Opens and locks the data folder. "data-folder-locked" says who has it.
 */
TbxRegistry *tbx_registry_open(const char *folder, const char *served_at, GError **error);
TbxRegistry *tbx_registry_ref(TbxRegistry *self);
/* Accepts NULL. */
void tbx_registry_unref(TbxRegistry *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxRegistry, tbx_registry_unref)

/* Leaves the folder to others, as soon as no thread works in it any more. Idempotent. */
void tbx_registry_unlock(TbxRegistry *self);

/* (transfer none) (nullable): for others who write in the folder. */
TbxLock *tbx_registry_get_lock(TbxRegistry *self);

const char *tbx_registry_get_folder(TbxRegistry *self);
/* The open data folder; borrowed. */
int tbx_registry_get_folder_fd(TbxRegistry *self);

/* (transfer full): the ids there are, sorted. Removes what crashes left. */
GPtrArray *tbx_registry_list_ids(TbxRegistry *self, GError **error);

/* A descriptor that the caller owns; -1 with @error set. What a crashed change of files left in it is
 * removed. */
int tbx_registry_open_vm_folder(TbxRegistry *self, const char *id, GError **error);

/* (transfer full): where that folder is. */
TbxPlace *tbx_registry_get_vm_place(TbxRegistry *self, const char *id);

/* Reads vm.json of an open VM folder. */
TbxVmDefinition *tbx_registry_load(int vm_folder_fd, const char *id, GError **error);

/* "vm-exists", field name. */
gboolean tbx_registry_take_name(TbxRegistry *self, const char *name, const char *id,
                                GError **error);
void tbx_registry_release_name(TbxRegistry *self, const char *name);
/* (transfer none) (nullable): the id that has @name. */
const char *tbx_registry_find_name(TbxRegistry *self, const char *name);

/**
 * tbx_registry_create_async:
 * @id: of the new VM
 * @definition: (transfer full): what vm.json shall say
 * @kernel_path: absolute path of the user's file
 * @initrd_path: (nullable): the same
 *
 * Copies the files and makes the folder, all or nothing. "file-unreadable" with field kernel or initrd.
 * Cancelled, it says so only when there is nothing; it may also be too late, and then it succeeds.
 */
void tbx_registry_create_async(TbxRegistry *self, const char *id, TbxVmDefinition *definition,
                               const char *kernel_path, const char *initrd_path,
                               GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data);
gboolean tbx_registry_create_finish(GAsyncResult *result, GError **error);

/**
 * tbx_registry_replace_files_async:
 * @vm_folder_fd: the open folder; duplicated
 * @kernel_path: (nullable): absolute path of a new kernel
 * @initrd_path: (nullable): absolute path of a new initrd
 *
 * A failure while copying changes nothing. "file-unreadable" with the field. When the call is cancelled
 * too late, it succeeds.
 */
void tbx_registry_replace_files_async(TbxRegistry *self, int vm_folder_fd, const char *kernel_path,
                                      const char *initrd_path, GCancellable *cancellable,
                                      GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_registry_replace_files_finish(GAsyncResult *result, GError **error);

/* Removes the copy of the initrd from an open VM folder whose vm.json does not name it any more. */
void tbx_registry_remove_initrd_async(TbxRegistry *self, int vm_folder_fd,
                                      GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_registry_remove_initrd_finish(GAsyncResult *result, GError **error);

/* ---- the trash; see trash.h ---------------------------------------------------------------- */

/* (transfer full): ids of the VMs in it, sorted. Removes what crashes left. */
GPtrArray *tbx_registry_list_deleted(TbxRegistry *self, GError **error);

/* Reads the VM @id of the trash: *@ret_definition (transfer full) stays NULL, with @error set, when its
 * vm.json cannot be used. Returns (transfer full) (nullable): its trash.json, of *@ret_length bytes. */
char *tbx_registry_load_deleted(TbxRegistry *self, const char *id, TbxVmDefinition **ret_definition,
                                gsize *ret_length, GError **error);

/**
 * tbx_registry_trash_async:
 * @note: what its trash.json shall say
 *
 * Moves a VM's folder into the trash. A disk that is too full for the note is no reason to fail.
 */
void tbx_registry_trash_async(TbxRegistry *self, const char *id, GBytes *note,
                              GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_registry_trash_finish(GAsyncResult *result, GError **error);

/* Moves it back; first its vm.json is replaced by @vm_json, if that is given. */
void tbx_registry_undelete_async(TbxRegistry *self, const char *id, GBytes *vm_json,
                                 GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_registry_undelete_finish(GAsyncResult *result, GError **error);

/* Replaces the trash.json of a VM in the trash. */
void tbx_registry_save_note_async(TbxRegistry *self, const char *id, GBytes *note,
                                  GAsyncReadyCallback callback, gpointer user_data);
gboolean tbx_registry_save_note_finish(GAsyncResult *result, GError **error);

/* As tbx_registry_delete_async(), for a VM in the trash. */
void tbx_registry_purge_async(TbxRegistry *self, const char *id, GAsyncReadyCallback callback,
                              gpointer user_data);
gboolean tbx_registry_purge_finish(GAsyncResult *result, GError **error);

/* Removes a VM's folder. When it fails the VM is still there; what cannot be removed after the rename is
 * left for the next opening. */
void tbx_registry_delete_async(TbxRegistry *self, const char *id, GAsyncReadyCallback callback,
                               gpointer user_data);
gboolean tbx_registry_delete_finish(GAsyncResult *result, GError **error);

/* MiB that are free where the data folder lies; -1 when the kernel does not say. */
gint64 tbx_registry_get_free_mb(TbxRegistry *self);

/* Tries to write: "no-space", "forbidden"… */
gboolean tbx_registry_check_writable(TbxRegistry *self, GError **error);

G_END_DECLS
