/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock of a data folder: a file that one driver has flock'ed, and that says who that is.
 *
 * Whatever writes in the folder holds a reference, also in a thread, so that a driver that closes leaves
 * the folder to the next one only when the last write has come to its end. Counted atomically.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct _TbxLock TbxLock;

/**
 * tbx_lock_take:
 * @folder_fd: the data folder
 * @folder: its path, for messages
 * @served_at: (nullable): how this process can be reached, for the next one's message
 *
 * Returns: (nullable): the lock; "data-folder-locked" says who has it
 */
TbxLock *tbx_lock_take(int folder_fd, const char *folder, const char *served_at, GError **error);

/* Both accept NULL. */
TbxLock *tbx_lock_ref(TbxLock *self);
void tbx_lock_unref(TbxLock *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxLock, tbx_lock_unref)

G_END_DECLS
