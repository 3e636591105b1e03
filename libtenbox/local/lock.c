/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define LOCK_TEXT_MAX 4096

struct _TbxLock {
    gatomicrefcount references;
    int fd; /* const */
};

/* Says who holds the lock, as far as the file tells. */
static void set_locked_error(int folder_fd, const char *folder, GError **error)
{
    g_autofree char *text = tbx_file_read_at(folder_fd, TBX_PATH_LOCK, LOCK_TEXT_MAX, NULL, NULL);
    g_autofree char *owner = g_utf8_make_valid(text != NULL ? text : "", -1);
    GError *locked;

    g_strdelimit(g_strstrip(owner), "\n", ' ');
    locked = tbx_error_new("data-folder-locked", "data_folder",
                           "The data folder %s is in use by another process: %s", folder,
                           *owner != '\0' ? owner : "it has not said which");
    g_propagate_error(
        error, tbx_error_with_hint(locked, "Talk to that process, or name another data folder"));
}

static gboolean write_owner(TbxLock *self, const char *folder, const char *served_at,
                            GError **error)
{
    g_autofree char *text =
        served_at != NULL ? g_strdup_printf("pid %d\nserved at %s\n", (int)getpid(), served_at)
                          : g_strdup_printf("pid %d\n", (int)getpid());

    if (ftruncate(self->fd, 0) == 0 &&
        pwrite(self->fd, text, strlen(text), 0) == (ssize_t)strlen(text))
        return TRUE;
    tbx_errno_set(error, errno, "data_folder", "The lock of %s could not be written", folder);
    return FALSE;
}

TbxLock *tbx_lock_take(int folder_fd, const char *folder, const char *served_at, GError **error)
{
    g_autoptr(TbxLock) self = g_new0(TbxLock, 1);

    g_atomic_ref_count_init(&self->references);
    self->fd = openat(folder_fd, TBX_PATH_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (self->fd < 0) {
        tbx_errno_set(error, errno, "data_folder", "The lock of %s could not be opened", folder);
        return NULL;
    }
    if (flock(self->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            set_locked_error(folder_fd, folder, error);
        else
            tbx_errno_set(error, errno, "data_folder", "%s could not be locked", folder);
        return NULL;
    }
    if (!write_owner(self, folder, served_at, error))
        return NULL;
    return g_steal_pointer(&self);
}

TbxLock *tbx_lock_ref(TbxLock *self)
{
    if (self != NULL)
        g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbx_lock_unref(TbxLock *self)
{
    if (self == NULL || !g_atomic_ref_count_dec(&self->references))
        return;
    tbx_fd_close(&self->fd);
    g_free(self);
}
