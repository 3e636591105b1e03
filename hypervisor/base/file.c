/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole reads by offset; see file.h. */
#include "hypervisor/base/file.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

int hv_file_size(int fd, uint64_t *ret_size)
{
    struct stat status;

    /* Not fstat() of the C library, which may be newfstatat: a confined process has no call with a path. */
    if (syscall(SYS_fstat, fd, &status) < 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode) || status.st_size < 0) {
        return -EINVAL;
    }
    *ret_size = (uint64_t)status.st_size;
    return 0;
}

int hv_file_read(int fd, uint64_t offset, void *buffer, size_t length)
{
    uint8_t *to = buffer;

    if (!hv_range_fits(offset, length, INT64_MAX)) {
        return -ENODATA;
    }
    while (length > 0) {
        ssize_t count = pread(fd, to, length, (off_t)offset);

        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count == 0) {
            return -ENODATA;
        }
        to += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return 0;
}
