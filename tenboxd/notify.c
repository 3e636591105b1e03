/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readiness messages; see notify.h. Nobody listening is no error.
 */
#include "tenboxd/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void tbd_notify_ready_fd(int fd)
{
    static const char message[] = "ready\n";

    if (write(fd, message, sizeof(message) - 1) < 0) {
        g_warning("cannot tell descriptor %d that the daemon is ready", fd);
    }
    close(fd);
}

void tbd_notify_manager(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    gsize length;
    int fd;

    if (path == NULL || (*path != '/' && *path != '@') ||
        strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    length = strlen(path);
    memcpy(address.sun_path, path, length);
    if (*path == '@') {
        address.sun_path[0] = '\0'; /* the abstract name space */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
        g_warning("the service manager cannot be told %s", state);
    }
    close(fd);
}
