/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a folder is, without having it open: a chain of names that begins at a folder that is.
 *
 * A store of ten thousand VMs must not take ten thousand descriptors. Whoever has something to do in a folder opens
 * it for that long; each name is resolved in the open folder before it, never through a symbolic link. Immutable:
 * any thread may open it and drop it.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct _TbxPlace TbxPlace;

/* @fd: taken; the beginning. */
TbxPlace *tbx_place_new(int fd);
/* The folder @name of @parent, which is kept. */
TbxPlace *tbx_place_new_in(TbxPlace *parent, const char *name);
TbxPlace *tbx_place_ref(TbxPlace *self);
/* Accepts NULL. */
void tbx_place_unref(TbxPlace *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxPlace, tbx_place_unref)

/* A descriptor that the caller owns; -1 with @error set. */
int tbx_place_open(TbxPlace *self, GError **error);

/* Whether @count more descriptors can be had just now. The error names the limit and the way out. */
gboolean tbx_descriptors_check(guint count, GError **error);

G_END_DECLS
