/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/resources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-field.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

void tbx_resources_fini(TbxResources *self)
{
    for (guint i = 0; i < self->count; i++)
        tbx_fd_close(&self->fds[i]);
    self->count = 0;
}

void tbx_resources_add(TbxResources *self, enum rt_descriptor_kind kind, int fd)
{
    g_assert(self->count < RT_DESCRIPTORS_MAX);
    self->fds[self->count] = fd;
    self->kinds[self->count] = (guint8)kind;
    self->count++;
}

/* Checks what @fd (taken) is; @name is for people. */
static int check_regular_file(int fd, int open_errno, const char *name, const char *field,
                              GError **error)
{
    TBX_AUTO_FD owned = fd;
    struct stat status;

    if (owned < 0) {
        tbx_error_set(error, "file-unreadable", field, "The %s %s cannot be opened: %s", field,
                      name, open_errno == ELOOP ? "it is a symbolic link" : g_strerror(open_errno));
        return -1;
    }
    if (fstat(owned, &status) < 0) {
        tbx_error_set(error, "file-unreadable", field, "The %s %s cannot be read: %s", field, name,
                      g_strerror(errno));
        return -1;
    }
    if (!S_ISREG(status.st_mode)) {
        tbx_error_set(error, "file-unreadable", field, "The %s %s is not a regular file but a %s",
                      field, name, S_ISDIR(status.st_mode) ? "folder" : "device, pipe or socket");
        return -1;
    }
    if (status.st_size == 0) {
        tbx_error_set(error, "file-unreadable", field, "The %s %s is empty", field, name);
        return -1;
    }
    return tbx_fd_take(&owned);
}

int tbx_resource_open_user_file(const char *path, const char *field, GError **error)
{
    int fd = open(path, OPEN_FLAGS);

    return check_regular_file(fd, fd < 0 ? errno : 0, path, field, error);
}

static int open_vm_file(int vm_folder_fd, const char *name, const char *field, GError **error)
{
    int fd = openat(vm_folder_fd, name, OPEN_FLAGS | O_NOFOLLOW);

    return check_regular_file(fd, fd < 0 ? errno : 0, name, field, error);
}

gboolean tbx_resources_open_guest(TbxResources *self, int vm_folder_fd,
                                  const TbxVmDefinition *definition, GError **error)
{
    int fd = open_vm_file(vm_folder_fd, definition->kernel, "kernel", error);

    if (fd < 0)
        return FALSE;
    tbx_resources_add(self, RT_DESCRIPTOR_KERNEL, fd);
    if (definition->initrd != NULL) {
        fd = open_vm_file(vm_folder_fd, definition->initrd, "initrd", error);
        if (fd < 0)
            return FALSE;
        tbx_resources_add(self, RT_DESCRIPTOR_INITRD, fd);
    }
    fd = tbx_host_open_kvm(error);
    if (fd < 0)
        return FALSE;
    tbx_resources_add(self, RT_DESCRIPTOR_KVM, fd);
    return TRUE;
}

int tbx_resource_open_log(int vm_folder_fd, gsize maximum, GError **error)
{
    const int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    TBX_AUTO_FD logs_fd = tbx_folder_open_at(vm_folder_fd, TBX_PATH_LOGS, error);
    TBX_AUTO_FD fd = -1;
    g_autofree char *time = tbx_time_format(g_get_real_time());
    struct stat status;

    if (logs_fd < 0)
        return -1;
    if (fstatat(logs_fd, TBX_PATH_RUNTIME_LOG, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        (guint64)status.st_size > maximum &&
        renameat(logs_fd, TBX_PATH_RUNTIME_LOG, logs_fd, TBX_PATH_RUNTIME_LOG ".1") < 0) {
        tbx_errno_set(error, errno, NULL, "The runtime's log could not be put aside");
        return -1;
    }
    fd = openat(logs_fd, TBX_PATH_RUNTIME_LOG, flags, 0600);
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        dprintf(fd, "=== boot %s ===\n", time) < 0) {
        tbx_errno_set(error, fd >= 0 && errno == 0 ? EINVAL : errno, NULL,
                      "The runtime's log could not be opened");
        return -1;
    }
    return tbx_fd_take(&fd);
}
