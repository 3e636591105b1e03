/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tells whoever started the daemon how far it is: "ready" on a descriptor of theirs (--ready-fd),
 * and the service manager's messages on $NOTIFY_SOCKET (Type=notify), which need no library.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Writes "ready\n" to @fd and closes it. */
void tbd_notify_ready_fd(int fd);

/* Sends @state ("READY=1", "STOPPING=1") to the service manager, if one asked for it. */
void tbd_notify_manager(const char *state);

G_END_DECLS
