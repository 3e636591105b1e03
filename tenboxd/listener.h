/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's Unix socket as a file: made with mode 0600 from its birth, never on top of a living
 * daemon, and removed at the end only if it is still ours.
 *
 * Two daemons that start at the same time are told apart by a lock on `<socket>.lock`, held as long
 * as the listener lives. With the lock in hand, a socket file that refuses connections is one that
 * a dead daemon left behind.
 */
#pragma once

#include <gio/gio.h>

#include "tenboxd/settings.h"

G_BEGIN_DECLS

typedef struct _TbdListener TbdListener;

/**
 * tbd_listener_new:
 * @path: absolute path of the socket; its folder is made (0700) when it is missing
 * @group: whose members may use it, too: then its mode is 0660; TBD_NO_GROUP for nobody
 * @error: TENBOX_ERROR_IN_USE when a daemon lives there, TENBOX_ERROR_INVALID_ARGUMENT for a path
 *   that cannot be a socket, TENBOX_ERROR_PERMISSION
 *
 * The path may be longer than a socket address can hold.
 *
 * Returns: (transfer full): a listener whose socket is bound but does not listen yet
 */
TbdListener *tbd_listener_new(const char *path, gid_t group, GError **error);

/**
 * tbd_listener_new_inherited:
 * @fd: a socket that a service manager has bound, and listens on; taken over, also on failure
 * @error: TENBOX_ERROR_INVALID_ARGUMENT when it is no Unix stream socket, or does not listen
 *
 * The file, its mode and its life are the service manager's: nothing is locked or removed here.
 */
TbdListener *tbd_listener_new_inherited(int fd, GError **error);

/* Lets clients in. */
gboolean tbd_listener_listen(TbdListener *self, int backlog, GError **error);

/* (transfer none): not blocking; valid until the listener goes. */
GSocket *tbd_listener_get_socket(TbdListener *self);
const char *tbd_listener_get_path(TbdListener *self);

/* The group whose members may use the socket, TBD_NO_GROUP for none. Of one that was inherited it is
 * what the file's mode says. */
gid_t tbd_listener_get_group(TbdListener *self);

/* Stops listening and removes the file unless it is another's. Accepts NULL. */
void tbd_listener_destroy(TbdListener *self);

G_END_DECLS
