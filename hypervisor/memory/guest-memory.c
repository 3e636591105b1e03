/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest RAM on a memfd; see guest-memory.h. */
#include "hypervisor/memory/guest-memory.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>

#include "hypervisor/base/file.h"

struct hv_memory {
    struct hv_memory_layout layout; /* with host addresses */
    uint64_t size;
    int fd;
};

uint64_t hv_host_page_size(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int check_layout(const struct hv_memory_layout *layout, uint64_t *ret_size)
{
    uint64_t page_size = hv_host_page_size();
    uint64_t next_free = 0, size = 0;

    if (layout->region_count == 0 || layout->region_count > HV_MEMORY_MAX_REGIONS) {
        return -EINVAL;
    }
    for (unsigned int i = 0; i < layout->region_count; i++) {
        const struct hv_memory_region *region = &layout->regions[i];

        if (region->size == 0 || !hv_is_aligned(region->address, page_size) ||
            !hv_is_aligned(region->size, page_size) || region->address < next_free ||
            !hv_add_u64(region->address, region->size, &next_free) ||
            !hv_add_u64(size, region->size, &size)) {
            return -EINVAL;
        }
    }
    if (size > INT64_MAX || size > SIZE_MAX) {
        return -EINVAL;
    }
    *ret_size = size;
    return 0;
}

/* What one entry of a page-table's second level covers: 2 MiB with pages of 4 KiB, 32 MiB with 16. */
static uint64_t huge_page_size(void)
{
    uint64_t page_size = hv_host_page_size();

    return page_size * (page_size / sizeof(uint64_t));
}

/*
 * Maps @size bytes of the memfd so that host address, file offset and guest address agree below the
 * size of a huge page: only then can the kernel, and KVM after it, use huge pages.
 */
static void *map_aligned(int fd, uint64_t offset, uint64_t size)
{
    const int protection = PROT_READ | PROT_WRITE;
    const int flags = MAP_SHARED | MAP_NORESERVE;
    uint64_t huge_size = huge_page_size();
    uint64_t reserved_size;
    uint8_t *reserved;
    uint64_t lead;
    void *host;

    if (size < huge_size || !hv_add_u64(size, huge_size, &reserved_size) ||
        reserved_size > SIZE_MAX) {
        return mmap(NULL, size, protection, flags, fd, (off_t)offset);
    }
    reserved =
        mmap(NULL, reserved_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
        return MAP_FAILED;
    }
    lead = (offset - (uintptr_t)reserved) & (huge_size - 1);
    host = mmap(reserved + lead, size, protection, flags | MAP_FIXED, fd, (off_t)offset);
    if (host == MAP_FAILED) {
        munmap(reserved, reserved_size);
        return MAP_FAILED;
    }
    if (lead > 0) {
        munmap(reserved, lead);
    }
    munmap(reserved + lead + size, reserved_size - lead - size);
    /*
     * A memfd gets huge pages only where shmem_enabled says "advise" (or more), which the package's
     * tmpfiles.d sets. Best effort: small pages are right too, and slower.
     */
    madvise(host, size, MADV_HUGEPAGE);
    return host;
}

static int map_regions(struct hv_memory *memory)
{
    uint64_t offset = 0;

    for (unsigned int i = 0; i < memory->layout.region_count; i++) {
        struct hv_memory_region *region = &memory->layout.regions[i];
        void *host = map_aligned(memory->fd, offset, region->size);

        if (host == MAP_FAILED) {
            return -errno;
        }
        region->host = host;
        region->offset = offset;
        offset += region->size;
        /* A core file of the runtime must not carry the guest along. Best effort. */
        madvise(host, region->size, MADV_DONTDUMP);
    }
    return 0;
}

int hv_memory_create(const struct hv_memory_layout *layout, struct hv_memory **ret_memory)
{
    struct hv_memory *memory;
    uint64_t size;
    int error = check_layout(layout, &size);

    if (error < 0) {
        return error;
    }
    memory = calloc(1, sizeof(*memory));
    if (!memory) {
        return -ENOMEM;
    }
    memory->layout = *layout;
    memory->size = size;
    for (unsigned int i = 0; i < layout->region_count; i++) {
        memory->layout.regions[i].host = NULL;
    }
    memory->fd = memfd_create("tenbox-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory->fd < 0 || ftruncate(memory->fd, (off_t)size) < 0 ||
        fcntl(memory->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        error = -errno;
    } else {
        error = map_regions(memory);
    }
    if (error < 0) {
        hv_memory_destroy(memory);
        return error;
    }
    *ret_memory = memory;
    return 0;
}

void hv_memory_destroy(struct hv_memory *memory)
{
    if (!memory) {
        return;
    }
    for (unsigned int i = 0; i < memory->layout.region_count; i++) {
        if (memory->layout.regions[i].host) {
            munmap(memory->layout.regions[i].host, memory->layout.regions[i].size);
        }
    }
    hv_close_fd(&memory->fd);
    free(memory);
}

const struct hv_memory_layout *hv_memory_layout(const struct hv_memory *memory)
{
    return &memory->layout;
}

uint64_t hv_memory_size(const struct hv_memory *memory)
{
    return memory->size;
}

int hv_memory_fd(const struct hv_memory *memory)
{
    return memory->fd;
}

void *hv_memory_map(const struct hv_memory *memory, uint64_t address, uint64_t length)
{
    if (length == 0) {
        return NULL;
    }
    for (unsigned int i = 0; i < memory->layout.region_count; i++) {
        const struct hv_memory_region *region = &memory->layout.regions[i];

        if (address >= region->address &&
            hv_range_fits(address - region->address, length, region->size)) {
            return (uint8_t *)region->host + (address - region->address);
        }
    }
    return NULL;
}

int hv_memory_read(const struct hv_memory *memory, uint64_t address, void *buffer, size_t length)
{
    const void *from = hv_memory_map(memory, address, length);

    if (!from) {
        return -EFAULT;
    }
    memcpy(buffer, from, length);
    return 0;
}

int hv_memory_write(const struct hv_memory *memory, uint64_t address, const void *buffer,
                    size_t length)
{
    void *to = hv_memory_map(memory, address, length);

    if (!to) {
        return -EFAULT;
    }
    memcpy(to, buffer, length);
    return 0;
}

int hv_memory_fill(const struct hv_memory *memory, uint64_t address, uint8_t value, uint64_t length)
{
    void *to = hv_memory_map(memory, address, length);

    if (!to) {
        return -EFAULT;
    }
    memset(to, value, length);
    return 0;
}

int hv_memory_load_file(const struct hv_memory *memory, uint64_t address, int fd, uint64_t offset,
                        uint64_t length)
{
    void *to = hv_memory_map(memory, address, length);

    return to ? hv_file_read(fd, offset, to, length) : -EFAULT;
}

int hv_memory_discard_all(struct hv_memory *memory)
{
    int result;

    do {
        result = fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                           (off_t)memory->size);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}
