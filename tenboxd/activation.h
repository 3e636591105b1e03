/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets that a service manager opened before it started the daemon, as sd_listen_fds(3) has them:
 * LISTEN_PID names the process they are for, LISTEN_FDS how many there are from descriptor 3 on,
 * LISTEN_FDNAMES what each is for. The order of sockets of several units is not defined, so the names
 * alone count.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The name that the socket of the local interface has (FileDescriptorName= of its unit). */
#define TBD_ACTIVATION_LOCAL "local"

/**
 * tbd_activation_take:
 * @ret_local_fd: the socket named "local" (or the only one, when none has a name), which the caller owns;
 *   -1 when there is none
 * @error: "field-invalid" with the variable as field: what it says cannot be true
 *
 * Once, before anything else opens descriptors. Closes sockets that this version has no use for, and takes
 * the variables out of the environment: they are not for what the daemon starts.
 */
gboolean tbd_activation_take(int *ret_local_fd, GError **error);

G_END_DECLS
