/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory at its edges: every (address, length) that just fits or just does not, sums that
 * wrap, layouts that must be refused, the memfd behind it all.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/memory/guest-memory.h"
#include "tests/hypervisor/tap.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* --- layouts ----------------------------------------------------------------------------------- */

static int try_layout(const struct hv_memory_region *regions, unsigned int count)
{
    struct hv_memory_layout layout = {.region_count = count};
    struct hv_memory *const untouched = (struct hv_memory *)&layout;
    struct hv_memory *memory = untouched;
    int error;

    for (unsigned int i = 0; i < count && i < HV_MEMORY_MAX_REGIONS; i++) {
        layout.regions[i] = regions[i];
    }
    error = hv_memory_create(&layout, &memory);
    if (error == 0) {
        hv_memory_destroy(memory);
    } else if (memory != untouched) {
        tap_ok(false, "a failure leaves the result alone");
    }
    return error;
}

static void test_layouts(void)
{
    const uint64_t page = hv_host_page_size();
    const uint64_t last_page = -page;
    const struct {
        const char *what;
        int expected;
        unsigned int count;
        struct hv_memory_region regions[HV_MEMORY_MAX_REGIONS];
    } cases[] = {
        {"no region", -EINVAL, 0, {{0}}},
        {"more regions than there may be", -EINVAL, HV_MEMORY_MAX_REGIONS + 1, {{0}}},
        {"an empty region", -EINVAL, 1, {{.address = 0, .size = 0}}},
        {"an empty region behind another", -EINVAL, 2, {{.size = page}, {.address = page}}},
        {"one page", 0, 1, {{.address = 0, .size = page}}},
        {"one page, not at zero", 0, 1, {{.address = 7 * page, .size = page}}},
        {"the last page but one", 0, 1, {{.address = last_page - page, .size = page}}},
        {"the very last page, whose end wraps", -EINVAL, 1, {{.address = last_page, .size = page}}},
        {"a region that wraps", -EINVAL, 1, {{.address = last_page, .size = 2 * page}}},
        {"an address within a page", -EINVAL, 1, {{.address = 1, .size = page}}},
        {"an address within a page of 4 KiB", -EINVAL, 1, {{.address = page / 2, .size = page}}},
        {"a size within a page", -EINVAL, 1, {{.address = 0, .size = page + 1}}},
        {"half a page", -EINVAL, 1, {{.address = 0, .size = page / 2}}},
        {"two with a hole", 0, 2, {{.size = page}, {.address = 3 * page, .size = page}}},
        {"two in a row", 0, 2, {{.size = page}, {.address = page, .size = page}}},
        {"the second first", -EINVAL, 2, {{.address = 2 * page, .size = page}, {.size = page}}},
        {"the same twice", -EINVAL, 2, {{.size = page}, {.size = page}}},
        {"an overlap of a page",
         -EINVAL,
         2,
         {{.size = 2 * page}, {.address = page, .size = 2 * page}}},
        {"one within another", -EINVAL, 2, {{.size = 4 * page}, {.address = page, .size = page}}},
        {"two that are more than a file can hold",
         -EINVAL,
         2,
         {{.size = UINT64_C(1) << 62}, {.address = UINT64_C(1) << 62, .size = UINT64_C(1) << 62}}},
        {"more than a file can hold", -EINVAL, 1, {{.size = UINT64_C(1) << 63}}},
        {"as many regions as there may be",
         0,
         4,
         {{.size = page},
          {.address = 2 * page, .size = page},
          {.address = 4 * page, .size = 3 * page},
          {.address = 64 * GIB, .size = page}}},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(cases); i++) {
        tap_is(try_layout(cases[i].regions, cases[i].count), cases[i].expected, "layout: %s",
               cases[i].what);
    }
}

/* --- ranges ------------------------------------------------------------------------------------ */

/* Low RAM, a hole, two regions that touch each other, and one that ends just below 2^64. */
static struct hv_memory *new_memory(void)
{
    const uint64_t page = hv_host_page_size();
    const struct hv_memory_layout layout = {
        .region_count = 4,
        .regions = {{.address = 0, .size = 4 * page},
                    {.address = 4 * GIB, .size = 2 * page},
                    {.address = 4 * GIB + 2 * page, .size = page},
                    {.address = -2 * page, .size = page}},
    };
    struct hv_memory *memory;

    if (hv_memory_create(&layout, &memory) < 0) {
        tap_bail("no guest memory");
    }
    return memory;
}

/*
 * What hv_memory_map() should say, by looking at each byte's neighbours with 128-bit arithmetic, which
 * cannot wrap.
 */
static bool is_inside(const struct hv_memory *memory, uint64_t address, uint64_t length)
{
    const struct hv_memory_layout *layout = hv_memory_layout(memory);
    unsigned __int128 end = (unsigned __int128)address + length;

    for (unsigned int i = 0; i < layout->region_count; i++) {
        const struct hv_memory_region *region = &layout->regions[i];

        if (length > 0 && address >= region->address &&
            end <= (unsigned __int128)region->address + region->size) {
            return true;
        }
    }
    return false;
}

/* Every pair out of the interesting addresses and lengths, against the slow truth. */
static void test_ranges(void)
{
    struct hv_memory *memory = new_memory();
    const struct hv_memory_layout *layout = hv_memory_layout(memory);
    const uint64_t page = hv_host_page_size();
    const uint64_t more_lengths[] = {0,          1,           2,        7,
                                     8,          GIB,         4 * GIB,  INT64_MAX,
                                     UINT64_MAX, -page,       1 - page, UINT64_MAX - 1,
                                     2 * page,   3 * page,    4 * page, UINT64_C(1) << 63,
                                     page + 1,   3 * page + 1};
    uint64_t addresses[128], lengths[256];
    size_t address_count = 0, length_count = 0, wrong = 0, inside = 0;

    for (unsigned int i = 0; i < layout->region_count; i++) {
        const uint64_t edges[] = {layout->regions[i].address,
                                  layout->regions[i].address + layout->regions[i].size};

        for (size_t edge = 0; edge < HV_ARRAY_SIZE(edges); edge++) {
            for (int64_t offset = -9; offset <= 9; offset++) {
                if (offset < -2 && offset > -8) {
                    continue;
                }
                if (offset > 2 && offset < 8) {
                    continue;
                }
                addresses[address_count++] = edges[edge] + (uint64_t)offset;
            }
        }
    }
    addresses[address_count++] = UINT64_MAX;
    addresses[address_count++] = INT64_MAX;
    for (size_t i = 0; i < HV_ARRAY_SIZE(more_lengths); i++) {
        lengths[length_count++] = more_lengths[i];
    }
    for (size_t i = 0; i < address_count; i++) {
        /* Up to each end, one short of it, one beyond it; a lot of these wrap. */
        lengths[length_count++] = layout->regions[0].size - addresses[i];
        lengths[length_count++] = layout->regions[1].size - (addresses[i] & (page - 1));
    }
    for (size_t i = 0; i < address_count; i++) {
        for (size_t j = 0; j < length_count; j++) {
            bool expected = is_inside(memory, addresses[i], lengths[j]);
            const uint8_t *host = hv_memory_map(memory, addresses[i], lengths[j]);

            inside += expected;
            if ((host != NULL) != expected) {
                printf("# %#llx, %#llx\n", (unsigned long long)addresses[i],
                       (unsigned long long)lengths[j]);
                wrong++;
            }
        }
    }
    tap_is(wrong, 0, "%zu ranges are inside a region or not, as they should",
           address_count * length_count);
    tap_ok(inside > 100, "… %zu of them are", inside);
    hv_memory_destroy(memory);
}

static void test_where(void)
{
    struct hv_memory *memory = new_memory();
    const struct hv_memory_layout *layout = hv_memory_layout(memory);
    const uint64_t page = hv_host_page_size();
    bool is_right = true;
    uint64_t offset = 0;

    for (unsigned int i = 0; i < layout->region_count; i++) {
        const struct hv_memory_region *region = &layout->regions[i];
        uint8_t *first = hv_memory_map(memory, region->address, 1);
        uint8_t *last = hv_memory_map(memory, region->address + region->size - 1, 1);

        is_right = is_right && first == region->host && last == first + (region->size - 1) &&
                   region->offset == offset && ((uintptr_t)first & (page - 1)) == 0;
        offset += region->size;
    }
    tap_ok(is_right, "each region is mapped whole, page-aligned, at its offset of the file");
    tap_is(hv_memory_size(memory), 8 * page, "the size is that of all regions");
    hv_memory_destroy(memory);
    hv_memory_destroy(NULL);
}

/* --- access ------------------------------------------------------------------------------------ */

static void test_access(void)
{
    struct hv_memory *memory = new_memory();
    const uint64_t page = hv_host_page_size();
    const uint64_t edge = 4 * GIB + 2 * page; /* where two regions meet */
    const uint8_t text[8] = "01234567";
    uint8_t buffer[8];

    tap_is(hv_memory_write(memory, 4 * page - 8, text, 8), 0, "the last 8 bytes are written");
    memset(buffer, 0, sizeof(buffer));
    tap_ok(hv_memory_read(memory, 4 * page - 8, buffer, 8) == 0 && memcmp(buffer, text, 8) == 0,
           "… and read back");
    memset(buffer, 'x', sizeof(buffer));
    tap_ok(hv_memory_read(memory, 4 * page - 7, buffer, 8) == -EFAULT && buffer[0] == 'x' &&
               buffer[7] == 'x',
           "a read that ends one byte too far copies nothing");
    tap_is(hv_memory_write(memory, 4 * page - 7, "abcdefgh", 8), -EFAULT, "nor does a write");
    tap_ok(hv_memory_read(memory, 4 * page - 8, buffer, 8) == 0 && memcmp(buffer, text, 8) == 0,
           "… not even the part that fits");
    tap_is(hv_memory_write(memory, edge - 4, text, 8), -EFAULT,
           "a range over two regions is refused");
    tap_is(hv_memory_read(memory, edge - 4, buffer, 4), 0, "… its first half is not");
    tap_ok(memcmp(buffer, "\0\0\0\0", 4) == 0, "… and has not been written");
    tap_is(hv_memory_write(memory, UINT64_MAX - 3, text, 8), -EFAULT, "a range that wraps");
    tap_is(hv_memory_read(memory, 0, buffer, SIZE_MAX), -EFAULT, "a length that is everything");
    tap_is(hv_memory_read(memory, 0, buffer, 0), -EFAULT, "a length of 0");
    tap_is(hv_memory_write(memory, 5 * page, text, 1), -EFAULT, "an address in a hole");

    tap_is(hv_memory_fill(memory, page, 0xa5, page), 0, "a page is filled");
    hv_memory_read(memory, page - 4, buffer, 8);
    tap_ok(memcmp(buffer, "\0\0\0\0\xa5\xa5\xa5\xa5", 8) == 0, "… from its first byte on");
    hv_memory_read(memory, 2 * page - 4, buffer, 8);
    tap_ok(memcmp(buffer, "\xa5\xa5\xa5\xa5\0\0\0\0", 8) == 0, "… to its last");
    tap_is(hv_memory_fill(memory, 3 * page, 1, page + 1), -EFAULT, "a page and a byte is too much");
    tap_is(hv_memory_fill(memory, 0, 1, UINT64_MAX), -EFAULT, "… and so is everything");
    hv_memory_destroy(memory);
}

static void test_load_file(void)
{
    struct hv_memory *memory = new_memory();
    const uint64_t page = hv_host_page_size();
    HV_AUTO_FD int fd = memfd_create("file", MFD_CLOEXEC);
    uint8_t buffer[4] = "";
    int pipe_fds[2];

    if (fd < 0 || write(fd, "abcdefgh", 8) != 8 || pipe(pipe_fds) < 0) {
        tap_bail("no file");
    }
    tap_is(hv_memory_load_file(memory, page, fd, 2, 4), 0, "four bytes of a file");
    tap_ok(hv_memory_read(memory, page, buffer, 4) == 0 && memcmp(buffer, "cdef", 4) == 0,
           "… are in memory");
    tap_is(lseek(fd, 0, SEEK_CUR), 8, "… and the file's position has not moved");
    tap_is(hv_memory_load_file(memory, page, fd, 0, 8), 0, "all of it");
    tap_is(hv_memory_load_file(memory, page, fd, 1, 8), -ENODATA, "one byte more than there is");
    tap_is(hv_memory_load_file(memory, page, fd, 9, 1), -ENODATA, "an offset behind the end");
    tap_is(hv_memory_load_file(memory, page, fd, UINT64_MAX, 1), -ENODATA, "an impossible offset");
    tap_is(hv_memory_load_file(memory, page, fd, UINT64_MAX, 8), -ENODATA, "… whose sum wraps");
    tap_is(hv_memory_load_file(memory, 4 * page - 7, fd, 0, 8), -EFAULT, "memory ends first");
    tap_is(hv_memory_load_file(memory, 0, fd, 0, 0), -EFAULT, "nothing at all");
    tap_is(hv_memory_load_file(memory, 0, -1, 0, 1), -EBADF, "no file");
    tap_is(hv_memory_load_file(memory, 0, pipe_fds[0], 0, 1), -ESPIPE, "a pipe");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    hv_memory_destroy(memory);
}

/* --- the memfd --------------------------------------------------------------------------------- */

static uint64_t blocks_of(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0) {
        tap_bail("fstat");
    }
    return (uint64_t)status.st_blocks;
}

static void test_file(void)
{
    struct hv_memory *memory = new_memory();
    const uint64_t page = hv_host_page_size();
    int fd = hv_memory_fd(memory);
    uint8_t byte = 1;
    struct stat status;

    tap_ok(fstat(fd, &status) == 0 && (uint64_t)status.st_size == 8 * page,
           "the memfd is as large as memory");
    tap_ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "… closed on exec");
    tap_is(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, "… and sealed");
    tap_ok(ftruncate(fd, 0) < 0 && errno == EPERM, "it cannot be cut under a running guest");
    tap_ok(ftruncate(fd, (off_t)(9 * page)) < 0 && errno == EPERM, "… nor grow");
    tap_ok(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM, "… nor be sealed further");

    tap_is(blocks_of(fd), 0, "memory that nobody touched costs nothing");
    hv_memory_fill(memory, 0, 0xff, 4 * page);
    hv_memory_fill(memory, 4 * GIB + 2 * page, 0xff, page);
    tap_ok(pread(fd, &byte, 1, (off_t)(6 * page)) == 1 && byte == 0xff,
           "the third region is the seventh page of the file");
    tap_ok(blocks_of(fd) >= 5 * page / 512, "touched memory costs its pages");
    tap_is(hv_memory_discard_all(memory), 0, "all of it is given back");
    tap_is(blocks_of(fd), 0, "… and costs nothing again");
    hv_memory_read(memory, 4 * page - 1, &byte, 1);
    tap_is(byte, 0, "… and reads as zero");
    hv_memory_read(memory, 4 * GIB + 2 * page, &byte, 1);
    tap_is(byte, 0, "… in every region");
    hv_memory_destroy(memory);
}

/* Large enough for the kernel's large pages; what is not touched costs nothing. */
static void test_large(void)
{
    const struct hv_memory_layout layout = {
        .region_count = 2,
        .regions = {{.address = 0, .size = 3 * GIB},
                    {.address = 4 * GIB, .size = 2 * GIB + 64 * 1024}},
    };
    const uint64_t large_page = hv_host_page_size() * (hv_host_page_size() / 8);
    struct hv_memory *memory;
    uint8_t byte = 0;

    if (hv_memory_create(&layout, &memory) < 0) {
        tap_bail("no 5 GiB of address space");
    }
    for (unsigned int i = 0; i < layout.region_count; i++) {
        const struct hv_memory_region *region = &hv_memory_layout(memory)->regions[i];

        tap_is((uintptr_t)region->host & (large_page - 1), region->address & (large_page - 1),
               "region %u lies so that large pages are possible", i);
        tap_is(hv_memory_fill(memory, region->address + region->size - 1, 1, 1), 0,
               "… and its last byte is there");
    }
    tap_is(hv_memory_read(memory, 6 * GIB + 64 * 1024, &byte, 1), -EFAULT, "… and nothing behind");
    hv_memory_destroy(memory);
}

/* --- leaks ------------------------------------------------------------------------------------- */

static unsigned int count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned int count = 0;
    char line[512];

    if (!maps) {
        tap_bail("no /proc");
    }
    while (fgets(line, sizeof(line), maps)) {
        count += strstr(line, "tenbox-guest-memory") != NULL;
    }
    fclose(maps);
    return count;
}

static void test_leaks(void)
{
    HV_AUTO_FD int before = dup(STDOUT_FILENO);
    HV_AUTO_FD int after = -1;

    for (unsigned int i = 0; i < 50; i++) {
        struct hv_memory *memory = new_memory();

        hv_memory_destroy(memory);
    }
    after = dup(STDOUT_FILENO);
    tap_is(after, before + 1, "fifty memories later no descriptor is left");
    tap_is(count_mappings(), 0, "… and no mapping");
}

int main(void)
{
    test_layouts();
    test_ranges();
    test_where();
    test_access();
    test_load_file();
    test_file();
    test_large();
    test_leaks();
    return tap_done();
}
