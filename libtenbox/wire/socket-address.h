/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unix sockets in folders whose path is longer than an address holds (108 bytes, less than a home
 * directory may have): they are bound and connected to through a descriptor of the folder.
 */
#pragma once

#include <glib.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The address of the socket @name in the folder behind @folder_fd, good as long as that is open;
 * O_PATH is enough. FALSE when even so the name is too long. */
static inline gboolean tbx_socket_address_fill(struct sockaddr_un *ret_address, int folder_fd,
                                               const char *name)
{
    int length;

    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    length = g_snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%s",
                        folder_fd, name);
    return length > 0 && (gsize)length < sizeof(ret_address->sun_path);
}
