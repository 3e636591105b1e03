/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/socket-address.h"
#include "libtenbox/wire/wire-error.h"

/* More connections than the daemon and one successor never wait. */
#define CONTROL_BACKLOG 4

char *tbx_paths_default_data_folder(void)
{
    return g_build_filename(g_get_user_data_dir(), "tenbox", NULL);
}

int tbx_paths_open_data_folder(const char *path, GError **error)
{
    TBX_AUTO_FD fd = -1;
    struct stat status;

    if (g_mkdir_with_parents(path, 0700) < 0) {
        tbx_errno_set(error, errno, "data_folder", "The data folder %s could not be made", path);
        return -1;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) {
        tbx_errno_set(error, errno, "data_folder", "The data folder %s could not be opened", path);
        return -1;
    }
    if (status.st_uid != geteuid()) {
        tbx_error_set(error, "forbidden", "data_folder",
                      "The data folder %s belongs to user %u, not to this one (%u)", path,
                      (unsigned)status.st_uid, (unsigned)geteuid());
        return -1;
    }
    if ((status.st_mode & 0022) != 0) {
        g_autoptr(GError) refused = tbx_error_new(
            "forbidden", "data_folder", "Other users may write to the data folder %s (mode %04o)",
            path, (unsigned)(status.st_mode & 07777));

        g_propagate_error(
            error, tbx_error_with_hint(g_steal_pointer(&refused), "Run: chmod 0700 '%s'", path));
        return -1;
    }
    return tbx_fd_take(&fd);
}

static gboolean is_executable_file(const char *path)
{
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) && access(path, X_OK) == 0;
}

char *tbx_paths_find_runtime(GError **error)
{
    const char *named = g_getenv("TENBOX_RUNTIME");
    g_autofree char *installed = g_build_filename(TENBOX_LIBEXECDIR, "tenbox-runtime", NULL);
    g_autofree char *absolute = NULL;
    g_autofree char *self = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *neighbour = NULL;

    if (named != NULL && *named != '\0') {
        absolute = g_canonicalize_filename(named, NULL);
        if (is_executable_file(absolute))
            return g_steal_pointer(&absolute);
        tbx_error_set(error, "runtime-failed", "TENBOX_RUNTIME",
                      "TENBOX_RUNTIME is \"%s\", which is not an executable file", named);
        return NULL;
    }
    if (is_executable_file(installed))
        return g_steal_pointer(&installed);
    self = g_file_read_link("/proc/self/exe", NULL);
    if (self != NULL) {
        folder = g_path_get_dirname(self);
        neighbour = g_build_filename(folder, "..", "tenbox-runtime", "tenbox-runtime", NULL);
        if (is_executable_file(neighbour))
            return g_steal_pointer(&neighbour);
    }
    tbx_error_set(error, "runtime-failed", NULL,
                  "The program tenbox-runtime was not found: neither %s nor %s is there", installed,
                  neighbour != NULL ? neighbour : "a build tree");
    return NULL;
}

static gboolean fill_address(struct sockaddr_un *address, int folder_fd, const char *name,
                             GError **error)
{
    if (tbx_socket_address_fill(address, folder_fd, name))
        return TRUE;
    tbx_error_set(error, "internal", NULL, "The socket name %s is too long", name);
    return FALSE;
}

int tbx_socket_listen_at(int folder_fd, const char *name, GError **error)
{
    TBX_AUTO_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (!fill_address(&address, folder_fd, name, error))
        return -1;
    if (unlinkat(folder_fd, name, 0) < 0 && errno != ENOENT) {
        tbx_errno_set(error, errno, NULL, "The old socket %s could not be removed", name);
        return -1;
    }
    /* The mode of the socket's inode is the mode of the name that bind() makes: 0600 from birth. */
    if (fd < 0 || fchmod(fd, 0600) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, CONTROL_BACKLOG) < 0) {
        tbx_errno_set(error, errno, NULL, "The socket %s could not be made", name);
        return -1;
    }
    return tbx_fd_take(&fd);
}

int tbx_socket_connect_at(int folder_fd, const char *name, GError **error)
{
    TBX_AUTO_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (!fill_address(&address, folder_fd, name, error))
        return -1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        tbx_errno_set(error, errno, NULL, "Nothing answers at the socket %s", name);
        return -1;
    }
    return tbx_fd_take(&fd);
}
