/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/console-ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct _TbxConsoleRing {
    gatomicrefcount references;
    int fd;                               /* const */
    const struct rt_console_ring *shared; /* const; the content belongs to the runtime */
};

/* Maps @fd (taken) for reading. */
static TbxConsoleRing *map_ring(int fd, GError **error)
{
    TBX_AUTO_FD owned = fd;
    void *shared = mmap(NULL, sizeof(struct rt_console_ring), PROT_READ, MAP_SHARED, owned, 0);
    TbxConsoleRing *self;

    if (shared == MAP_FAILED) {
        tbx_errno_set(error, errno, NULL, "The console ring could not be mapped");
        return NULL;
    }
    self = g_new0(TbxConsoleRing, 1);
    g_atomic_ref_count_init(&self->references);
    self->fd = tbx_fd_take(&owned);
    self->shared = shared;
    return self;
}

TbxConsoleRing *tbx_console_ring_new(GError **error)
{
    TBX_AUTO_FD fd = memfd_create("tenbox-console", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, sizeof(struct rt_console_ring)) < 0 ||
        fcntl(fd, F_ADD_SEALS, RING_SEALS) < 0) {
        tbx_errno_set(error, errno, NULL, "The console ring could not be made");
        return NULL;
    }
    return map_ring(tbx_fd_take(&fd), error);
}

TbxConsoleRing *tbx_console_ring_new_from_fd(int fd, GError **error)
{
    TBX_AUTO_FD owned = fd;
    struct stat status;
    int seals = owned >= 0 ? fcntl(owned, F_GET_SEALS) : -1;

    if (seals < 0 || (seals & RING_SEALS) != RING_SEALS || fstat(owned, &status) < 0 ||
        status.st_size != (off_t)sizeof(struct rt_console_ring)) {
        tbx_error_set(error, "protocol-error", NULL,
                      "The runtime handed over something that is no console ring");
        return NULL;
    }
    return map_ring(tbx_fd_take(&owned), error);
}

TbxConsoleRing *tbx_console_ring_ref(TbxConsoleRing *self)
{
    g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbx_console_ring_unref(TbxConsoleRing *self)
{
    if (self == NULL || !g_atomic_ref_count_dec(&self->references))
        return;
    munmap((void *)(guintptr)self->shared, sizeof(*self->shared));
    tbx_fd_close(&self->fd);
    g_free(self);
}

int tbx_console_ring_get_fd(TbxConsoleRing *self)
{
    return self->fd;
}

guint64 tbx_console_ring_get_position(TbxConsoleRing *self)
{
    return __atomic_load_n(&self->shared->position, __ATOMIC_ACQUIRE);
}

static guint64 oldest_of(guint64 position)
{
    return position > TBX_CONSOLE_RING_KEPT ? position - TBX_CONSOLE_RING_KEPT : 0;
}

guint64 tbx_console_ring_get_oldest(TbxConsoleRing *self)
{
    return oldest_of(tbx_console_ring_get_position(self));
}

gsize tbx_console_ring_read(TbxConsoleRing *self, guint64 *position, void *buffer, gsize size,
                            guint64 *ret_lost)
{
    guint64 head = tbx_console_ring_get_position(self);
    guint64 start = MAX(*position, oldest_of(head));
    gsize length, offset, first;
    guint64 oldest;

    *ret_lost = 0;
    if (*position >= head) {
        *position = head;
        return 0;
    }
    length = MIN(size, head - start);
    offset = start % RT_CONSOLE_RING_SIZE;
    first = MIN(length, RT_CONSOLE_RING_SIZE - offset);
    memcpy(buffer, self->shared->data + offset, first);
    memcpy((guint8 *)buffer + first, self->shared->data, length - first);

    /* What the writer may have overtaken meanwhile is not what was meant. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    oldest = oldest_of(tbx_console_ring_get_position(self));
    if (oldest > start) {
        gsize gone = MIN(length, oldest - start);

        length -= gone;
        memmove(buffer, (guint8 *)buffer + gone, length);
        start += gone;
    }
    *ret_lost = start - *position;
    *position = start + length;
    return length;
}
