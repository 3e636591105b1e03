/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's Unix socket as a file; see listener.h.
 *
 * Everything happens relative to a descriptor of the folder: its path may be longer than a socket
 * address, and it may be renamed meanwhile.
 */
#include "tenboxd/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/wire/socket-address.h"
#include "libtenbox/wire/wire-error.h"

struct _TbdListener {
    char *path;
    char *name;    /* its last part */
    int folder_fd; /* O_PATH */
    int lock_fd;
    GSocket *socket;
    dev_t device; /* of the file we made */
    ino_t inode;
    gid_t group;
};

static gboolean open_folder(TbdListener *self, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(self->path);

    if (g_mkdir_with_parents(folder, 0700) != 0) {
        tbx_error_set(error, "forbidden", "socket", "cannot make the folder %s: %s", folder,
                      g_strerror(errno));
        return FALSE;
    }
    self->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->folder_fd < 0) {
        tbx_error_set(error, "forbidden", "socket", "cannot open the folder %s: %s", folder,
                      g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean take_lock(TbdListener *self, GError **error)
{
    g_autofree char *name = g_strconcat(self->name, ".lock", NULL);

    self->lock_fd = openat(self->folder_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (self->lock_fd < 0) {
        tbx_error_set(error, "forbidden", "socket", "cannot open %s.lock: %s", self->path,
                      g_strerror(errno));
        return FALSE;
    }
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        tbx_error_set(error, "data-folder-locked", "socket",
                      "another tenboxd is using the socket %s", self->path);
        return FALSE;
    }
    return TRUE;
}

/* Whether somebody accepts connections at the address; names the process. */
static gboolean is_alive(TbdListener *self, const struct sockaddr_un *address, GError **error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    gboolean alive;

    if (fd < 0) {
        return FALSE;
    }
    alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN;
    if (alive && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid > 0) {
        tbx_error_set(error, "data-folder-locked", "socket",
                      "process %d already listens on the socket %s", (int)peer.pid, self->path);
    } else if (alive) {
        tbx_error_set(error, "data-folder-locked", "socket",
                      "another process already listens on the socket %s", self->path);
    }
    close(fd);
    return alive;
}

/* Makes room for our file, if what is there is a dead socket of ours. */
static gboolean remove_stale(TbdListener *self, const struct sockaddr_un *address, GError **error)
{
    struct stat status;

    if (fstatat(self->folder_fd, self->name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return TRUE;
    }
    if (!S_ISSOCK(status.st_mode)) {
        tbx_error_set(error, "field-invalid", "socket", "%s exists and is no socket", self->path);
        return FALSE;
    }
    if (is_alive(self, address, error)) {
        return FALSE;
    }
    if (status.st_uid != geteuid()) {
        tbx_error_set(error, "forbidden", "socket", "the socket %s belongs to user %u", self->path,
                      (guint)status.st_uid);
        return FALSE;
    }
    if (unlinkat(self->folder_fd, self->name, 0) != 0 && errno != ENOENT) {
        tbx_error_set(error, "forbidden", "socket", "cannot remove the stale socket %s: %s",
                      self->path, g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean bind_socket(TbdListener *self, const struct sockaddr_un *address, GError **error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_autoptr(GError) failure = NULL;
    struct stat status;
    mode_t mask;
    int bound;

    if (fd < 0) {
        tbx_error_set(error, "internal", NULL, "cannot make a socket: %s", g_strerror(errno));
        return FALSE;
    }
    /* The file gets its mode when bind() makes it: at no moment others may connect. */
    mask = umask(0177);
    bound = bind(fd, (const struct sockaddr *)address, sizeof(*address));
    umask(mask);
    if (bound != 0) {
        tbx_error_set(error, "forbidden", "socket", "cannot bind the socket %s: %s", self->path,
                      g_strerror(errno));
        close(fd);
        return FALSE;
    }
    self->socket = g_socket_new_from_fd(fd, &failure);
    if (self->socket == NULL ||
        fstatat(self->folder_fd, self->name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        tbx_error_set(error, "internal", "socket", "cannot use the socket %s: %s", self->path,
                      failure != NULL ? failure->message : g_strerror(errno));
        if (self->socket == NULL) {
            close(fd);
        }
        return FALSE;
    }
    self->device = status.st_dev;
    self->inode = status.st_ino;
    if (self->group != TBD_NO_GROUP &&
        (fchownat(self->folder_fd, self->name, (uid_t)-1, self->group, AT_SYMLINK_NOFOLLOW) != 0 ||
         fchmodat(self->folder_fd, self->name, 0660, 0) != 0)) {
        tbx_error_set(error, "forbidden", "socket_group",
                      "the socket %s cannot be given to group %u: %s", self->path,
                      (guint)self->group, g_strerror(errno));
        return FALSE;
    }
    g_socket_set_blocking(self->socket, FALSE);
    return TRUE;
}

TbdListener *tbd_listener_new(const char *path, gid_t group, GError **error)
{
    TbdListener *self = g_new0(TbdListener, 1);
    struct sockaddr_un address;

    self->group = group;
    self->path = g_strdup(path);
    self->name = g_path_get_basename(path);
    self->folder_fd = -1;
    self->lock_fd = -1;
    if (!g_path_is_absolute(path) || g_str_has_suffix(path, "/")) {
        tbx_error_set(error, "field-invalid", "socket", "the socket %s is no absolute path", path);
    } else if (open_folder(self, error)) {
        if (!tbx_socket_address_fill(&address, self->folder_fd, self->name)) {
            tbx_error_set(error, "field-invalid", "socket", "the name of the socket %s is too long",
                          path);
        } else if (take_lock(self, error) && remove_stale(self, &address, error) &&
                   bind_socket(self, &address, error)) {
            return self;
        }
    }
    tbd_listener_destroy(self);
    return NULL;
}

/* A value of the socket's, -1 when it has none. */
static int get_option(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

/* The file that @fd is bound to; NULL for one without a path. */
static char *get_bound_path(int fd)
{
    struct sockaddr_un address = {0};
    socklen_t length = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 ||
        length <= offsetof(struct sockaddr_un, sun_path) || address.sun_path[0] != '/') {
        return NULL;
    }
    return g_strndup(address.sun_path, length - offsetof(struct sockaddr_un, sun_path));
}

/* Who made the socket has said by its mode who may use it. */
static gid_t get_group(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && (status.st_mode & S_IWGRP) != 0
               ? status.st_gid
               : TBD_NO_GROUP;
}

TbdListener *tbd_listener_new_inherited(int fd, GError **error)
{
    TbdListener *self = g_new0(TbdListener, 1);
    g_autoptr(GError) failure = NULL;

    self->group = TBD_NO_GROUP;
    self->folder_fd = -1;
    self->lock_fd = -1;
    if (get_option(fd, SO_DOMAIN) == AF_UNIX && get_option(fd, SO_TYPE) == SOCK_STREAM &&
        get_option(fd, SO_ACCEPTCONN) == 1) {
        self->path = get_bound_path(fd);
    }
    if (self->path == NULL) {
        tbx_error_set(error, "field-invalid", "socket",
                      "descriptor %d, inherited, is no Unix stream socket that listens at a path",
                      fd);
        close(fd);
        tbd_listener_destroy(self);
        return NULL;
    }
    self->group = get_group(self->path);
    self->name = g_path_get_basename(self->path);
    self->socket = g_socket_new_from_fd(fd, &failure);
    if (self->socket == NULL) {
        tbx_error_set(error, "internal", "socket", "cannot use the socket %s: %s", self->path,
                      failure->message);
        close(fd);
        tbd_listener_destroy(self);
        return NULL;
    }
    g_socket_set_blocking(self->socket, FALSE);
    return self;
}

gboolean tbd_listener_listen(TbdListener *self, int backlog, GError **error)
{
    g_socket_set_listen_backlog(self->socket, backlog);
    return g_socket_listen(self->socket, error);
}

GSocket *tbd_listener_get_socket(TbdListener *self)
{
    return self->socket;
}

const char *tbd_listener_get_path(TbdListener *self)
{
    return self->path;
}

gid_t tbd_listener_get_group(TbdListener *self)
{
    return self->group;
}

void tbd_listener_destroy(TbdListener *self)
{
    struct stat status;

    if (self == NULL) {
        return;
    }
    if (self->socket != NULL) {
        g_socket_close(self->socket, NULL);
        g_object_unref(self->socket);
    }
    if (self->inode != 0 &&
        fstatat(self->folder_fd, self->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_dev == self->device && status.st_ino == self->inode) {
        unlinkat(self->folder_fd, self->name, 0);
    }
    if (self->folder_fd >= 0) {
        close(self->folder_fd);
    }
    if (self->lock_fd >= 0) {
        close(self->lock_fd); /* the file stays: who removes a lock file breaks the lock */
    }
    g_free(self->path);
    g_free(self->name);
    g_free(self);
}
