/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/place.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

struct _TbxPlace {
    gatomicrefcount references;
    TbxPlace *parent; /* const; NULL: the beginning */
    int fd;           /* const; of the beginning, else -1 */
    char *name;       /* const; in @parent */
};

static TbxPlace *place_new(TbxPlace *parent, int fd, const char *name)
{
    TbxPlace *self = g_new0(TbxPlace, 1);

    g_atomic_ref_count_init(&self->references);
    self->parent = parent;
    self->fd = fd;
    self->name = g_strdup(name);
    return self;
}

TbxPlace *tbx_place_new(int fd)
{
    return place_new(NULL, fd, NULL);
}

TbxPlace *tbx_place_new_in(TbxPlace *parent, const char *name)
{
    return place_new(tbx_place_ref(parent), -1, name);
}

TbxPlace *tbx_place_ref(TbxPlace *self)
{
    g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbx_place_unref(TbxPlace *self)
{
    while (self != NULL && g_atomic_ref_count_dec(&self->references)) {
        TbxPlace *parent = self->parent;

        tbx_fd_close(&self->fd);
        g_free(self->name);
        g_free(self);
        self = parent;
    }
}

int tbx_place_open(TbxPlace *self, GError **error)
{
    TBX_AUTO_FD parent_fd = -1;

    if (self->parent == NULL) {
        int fd = fcntl(self->fd, F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
            tbx_errno_set(error, errno, NULL, "The data folder could not be used");
        return fd;
    }
    if (self->parent->parent == NULL)
        return tbx_folder_open_at(self->parent->fd, self->name, error);
    parent_fd = tbx_place_open(self->parent, error);
    return parent_fd >= 0 ? tbx_folder_open_at(parent_fd, self->name, error) : -1;
}

gboolean tbx_descriptors_check(guint count, GError **error)
{
    g_autofree int *fds = g_new(int, count);
    guint taken = 0;
    int error_number = 0;

    for (; taken < count; taken++) {
        fds[taken] = open("/", O_PATH | O_CLOEXEC);
        if (fds[taken] < 0) {
            error_number = errno;
            break;
        }
    }
    while (taken > 0)
        close(fds[--taken]);
    if (error_number == 0)
        return TRUE;
    tbx_errno_set(error, error_number, NULL, "No files can be opened any more");
    return FALSE;
}
