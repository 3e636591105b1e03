/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenboxd/path-roots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libtenbox/wire/wire-error.h"

/* What @path is called from @root; NULL when it does not lie beneath it. */
static const char *beneath(const char *path, const char *root)
{
    gsize length = strlen(root);

    while (length > 0 && root[length - 1] == '/') {
        length--;
    }
    return strncmp(path, root, length) == 0 && path[length] == '/' && path[length + 1] != '\0'
               ? path + length + 1
               : NULL;
}

static int open_beneath(const char *root, const char *rest)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

    if (folder < 0) {
        return -1;
    }
    fd = (int)syscall(SYS_openat2, folder, rest, &how, sizeof(how));
    close(folder);
    return fd;
}

int tbd_path_roots_open(char *const *roots, const char *path, const char *field, GError **error)
{
    g_autofree char *plain = g_canonicalize_filename(path, "/");
    g_autofree char *list = g_strjoinv(", ", (char **)roots);
    gboolean is_beneath = FALSE;

    for (char *const *root = roots; *root != NULL; root++) {
        const char *rest = beneath(plain, *root);
        int fd;

        if (rest == NULL) {
            continue;
        }
        fd = open_beneath(*root, rest);
        if (fd >= 0) {
            return fd;
        }
        if (errno != EXDEV && errno != ELOOP) {
            tbx_error_set(error, "file-unreadable", field, "cannot open %s: %s", path,
                          g_strerror(errno));
            return -1;
        }
        is_beneath = TRUE;
    }
    if (is_beneath) {
        tbx_error_set(error, "forbidden", field, "%s leads out of the folders of path_roots (%s)",
                      path, list);
    } else {
        tbx_error_set(error, "forbidden", field,
                      "%s does not lie beneath one of the folders whose files members of the "
                      "socket's group may name: path_roots in tenboxd.conf is %s",
                      path, *list != '\0' ? list : "empty");
    }
    return -1;
}
