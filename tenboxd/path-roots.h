/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host paths that come from a member of the socket's group.
 *
 * The daemon may read more than the member may, and what it copies into a VM the member can read
 * there. So such a path must lie beneath one of the folders of `path_roots`, by what the kernel says
 * while it is opened, not by its spelling: no symbolic link and no ".." leads out. The owner's paths
 * are not looked at.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * tbd_path_roots_open:
 * @roots: absolute paths of folders
 * @path: absolute path of a file
 * @field: (nullable): for the error
 * @error: "forbidden", "file-unreadable"
 *
 * Returns: a descriptor, owned by the caller, opened for reading; -1 on failure
 */
int tbd_path_roots_open(char *const *roots, const char *path, const char *field, GError **error);

G_END_DECLS
