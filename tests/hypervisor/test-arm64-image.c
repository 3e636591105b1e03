/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernels for aarch64: what is loaded where from an Image, gzip or EFI zboot file, and what is said
 * of files that are none. The kernels are made here; each carries a PE section table, as those of
 * distributions do.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/arch/aarch64/arm64-image.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"
#include "hypervisor/memory/guest-memory.h"
#include "tests/hypervisor/gzip.h"
#include "tests/hypervisor/tap.h"

#define RAM       UINT64_C(0x40000000)
#define MIB       (UINT64_C(1) << 20)
#define RAM_SIZE  (64 * MIB)
#define FILE_SIZE 300000u
#define SIZE      (1 * MIB) /* with .bss */

static struct hv_memory *memory;

static void make_memory(void)
{
    const struct hv_memory_layout layout = {
        .regions = {{.address = RAM, .size = RAM_SIZE}},
        .region_count = 1,
    };

    if (hv_memory_create(&layout, &memory) < 0) {
        tap_bail("no guest memory");
    }
}

/* A kernel of FILE_SIZE bytes, filled with a pattern. */
static void make_image(uint8_t image[FILE_SIZE], uint64_t text_offset, uint64_t flags)
{
    const uint32_t pe = 64;
    uint8_t *section;

    for (uint32_t i = 0; i < FILE_SIZE; i++) {
        image[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    memset(image, 0, 512);
    memcpy(image, "MZ", 2);
    hv_store_le64(image + 8, text_offset);
    hv_store_le64(image + 16, SIZE);
    hv_store_le64(image + 24, flags);
    hv_store_le32(image + 56, 0x644d5241);
    hv_store_le32(image + 60, pe);
    memcpy(image + pe, "PE\0\0", 4);
    hv_store_le16(image + pe + 6, 1);   /* sections */
    hv_store_le16(image + pe + 20, 16); /* optional header */
    section = image + pe + 24 + 16;
    hv_store_le32(section + 16, FILE_SIZE - 4096);
    hv_store_le32(section + 20, 4096);
}

static int make_file(const void *data, size_t length)
{
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, length) != (ssize_t)length) {
        tap_bail("no memfd");
    }
    return fd;
}

static size_t make_zboot(const uint8_t *payload, size_t length, const char *method, uint8_t *output)
{
    const uint32_t offset = 512;

    memset(output, 0, offset);
    memcpy(output, "MZ\0\0zimg", 8);
    hv_store_le32(output + 8, offset);
    hv_store_le32(output + 12, (uint32_t)length);
    strcpy((char *)output + 24, method);
    memcpy(output + offset, payload, length);
    return offset + length;
}

static void is_loaded(const void *data, size_t length, const uint8_t *image, uint64_t address,
                      const char *what)
{
    HV_AUTO_FD int fd = make_file(data, length);
    struct hv_arm64_kernel kernel = {0};
    struct hv_reason reason = {0};

    hv_memory_discard_all(memory);
    tap_is(hv_arm64_kernel_load(memory, fd, &kernel, &reason), 0, "%s: loaded", what);
    if (reason.text) {
        printf("# %s: %s\n", reason.field, reason.text);
    }
    tap_is(kernel.address, address, "%s: address", what);
    tap_is(kernel.size, SIZE, "%s: size", what);
    tap_ok(!memcmp(hv_memory_map(memory, address, FILE_SIZE), image, FILE_SIZE), "%s: content",
           what);
}

static void is_refused(const void *data, size_t length, const char *field, const char *word,
                       const char *what)
{
    HV_AUTO_FD int fd = make_file(data, length);
    struct hv_arm64_kernel kernel = {.address = 42};
    struct hv_reason reason = {0};

    hv_memory_discard_all(memory);
    tap_is(hv_arm64_kernel_load(memory, fd, &kernel, &reason), -EINVAL, "%s: refused", what);
    tap_ok(reason.field && !strcmp(reason.field, field) && reason.text && strstr(reason.text, word),
           "%s: %s, with \"%s\"", what, field, word);
    if (reason.text) {
        printf("# %s: %s\n", reason.field, reason.text);
    }
    tap_is(kernel.address, 42, "%s: the result is untouched", what);
}

static uint8_t image[FILE_SIZE];
static uint8_t packed[2 * FILE_SIZE];
static uint8_t file[2 * FILE_SIZE];

static void test_plain(void)
{
    make_image(image, 0, 2);
    is_loaded(image, FILE_SIZE, image, RAM, "Image");
    make_image(image, 0x80000, 8);
    is_loaded(image, FILE_SIZE, image, RAM + 0x80000, "Image with a text offset");

    memcpy(file, image, FILE_SIZE);
    memset(file + FILE_SIZE, 0xee, 2000);
    is_loaded(file, FILE_SIZE + 2000, image, RAM + 0x80000, "Image with a signature behind it");
}

static void test_page_sizes(void)
{
    static const uint32_t sizes[] = {0, 4096, 16384, 65536};

    for (uint64_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
        HV_AUTO_FD int fd = -1;
        struct hv_arm64_kernel kernel = {0};

        make_image(image, 0, i << 1);
        fd = make_file(image, FILE_SIZE);
        hv_arm64_kernel_load(memory, fd, &kernel, NULL);
        tap_is(kernel.page_size, sizes[i], "page size %u", sizes[i]);
    }
}

static void test_gzip(void)
{
    size_t length;

    make_image(image, 0, 2);
    length = compress_gzip(image, FILE_SIZE, packed, sizeof(packed));
    is_loaded(packed, length, image, RAM, "gzip");

    memcpy(file, packed, length);
    memset(file + length, 0, 512);
    is_loaded(file, length + 512, image, RAM, "gzip with padding behind it");

    is_refused(packed, length / 2, "kernel", "truncated", "half a gzip file");
    is_refused(packed, length - 1, "kernel", "truncated", "gzip without its last byte");
    memcpy(file, packed, length);
    file[length - 6] ^= 1; /* of the checksum */
    is_refused(file, length, "kernel", "damaged", "gzip with a wrong checksum");
    memcpy(file, packed, length);
    file[10] = 0xff; /* the first block's type: a reserved one */
    is_refused(file, length, "kernel", "damaged", "gzip with garbage inside");
    length = compress_gzip("not a kernel at all", 19, packed, sizeof(packed));
    memset(packed + length, 0, 64);
    is_refused(packed, length + 64, "kernel", "holds no arm64 kernel", "gzip of a line");
    memset(file, 'x', 5000);
    length = compress_gzip(file, 5000, packed, sizeof(packed));
    memset(packed + length, 0, 64);
    is_refused(packed, length + 64, "kernel", "not an arm64 kernel", "gzip of something else");
}

/* The stream goes on for 32 MiB behind what the header admits to. */
static void test_bomb(void)
{
    const size_t bomb_size = 32 * MIB;
    HV_AUTO_FREE uint8_t *bomb = calloc(1, bomb_size);
    size_t length;

    if (!bomb) {
        tap_bail("no memory");
    }
    make_image(image, 0, 2);
    memcpy(bomb, image, FILE_SIZE);
    length = compress_gzip(bomb, bomb_size, packed, sizeof(packed));
    is_refused(packed, length, "kernel", "more than its header says", "a decompression bomb");
    tap_is(*(uint8_t *)hv_memory_map(memory, RAM + SIZE, 1), 0,
           "nothing was written behind the kernel");
}

static void test_zboot(void)
{
    static const char *const methods[] = {"zstd22", "xzkern", "lzma", "lzo", "lz4", "brotli"};
    static const char *const words[] = {"zstd", "xz", "lzma", "lzo", "lz4", "unknown"};
    size_t packed_length, length;

    make_image(image, 0, 2);
    packed_length = compress_gzip(image, FILE_SIZE, packed, sizeof(packed));
    length = make_zboot(packed, packed_length, "gzip", file);
    is_loaded(file, length, image, RAM, "EFI zboot");
    is_refused(file, length - 100, "kernel", "outside the file", "half an EFI zboot file");

    hv_store_le32(file + 12, (uint32_t)packed_length - 100);
    is_refused(file, length, "kernel", "truncated", "EFI zboot with a short payload");
    hv_store_le32(file + 8, UINT32_MAX);
    hv_store_le32(file + 12, UINT32_MAX);
    is_refused(file, length, "kernel", "outside the file", "EFI zboot with a wrapping payload");
    for (size_t i = 0; i < HV_ARRAY_SIZE(methods); i++) {
        length = make_zboot(packed, packed_length, methods[i], file);
        is_refused(file, length, "kernel", words[i], methods[i]);
    }
    length = make_zboot(packed, packed_length, "", file);
    memset(file + 24, 'x', 40); /* no NUL where the method should end */
    is_refused(file, length, "kernel", "unknown", "EFI zboot with an endless method");
}

static void test_headers(void)
{
    make_image(image, 0, 1);
    is_refused(image, FILE_SIZE, "kernel", "big-endian", "big-endian kernel");
    make_image(image, 0, 0);
    hv_store_le64(image + 16, 0);
    is_refused(image, FILE_SIZE, "kernel", "older than Linux 3.17", "kernel without image_size");
    make_image(image, 2 * MIB, 0);
    is_refused(image, FILE_SIZE, "kernel", "damaged", "text offset of 2 MiB");
    make_image(image, UINT64_MAX, 0);
    is_refused(image, FILE_SIZE, "kernel", "damaged", "text offset that wraps");
    make_image(image, 0, 0);
    hv_store_le64(image + 16, UINT64_MAX);
    is_refused(image, FILE_SIZE, "memory_mb", "too small", "image_size of 16 EiB");
    hv_store_le64(image + 16, RAM_SIZE + 1);
    is_refused(image, FILE_SIZE, "memory_mb", "128 MiB", "image_size of RAM and a byte");
    hv_store_le64(image + 16, 63);
    is_refused(image, FILE_SIZE, "kernel", "damaged", "image_size of less than a header");
}

static void test_truncated(void)
{
    make_image(image, 0, 0);
    is_refused(image, 0, "kernel", "empty", "empty file");
    is_refused(image, 63, "kernel", "truncated", "63 bytes");
    is_refused(image, 64, "kernel", "truncated", "a header alone");
    is_refused(image, 100, "kernel", "truncated", "half a section table");
    is_refused(image, FILE_SIZE / 2, "kernel", "truncated", "half a kernel");
    is_refused(image, FILE_SIZE - 1, "kernel", "truncated", "a kernel without its last byte");

    hv_store_le32(image + 60, UINT32_MAX);
    is_refused(image, FILE_SIZE, "kernel", "truncated", "a PE header at the end of the world");
    make_image(image, 0, 0);
    hv_store_le16(image + 64 + 6, UINT16_MAX);
    is_refused(image, FILE_SIZE, "kernel", "truncated", "65535 sections");
    make_image(image, 0, 0);
    hv_store_le32(image + 64 + 40 + 20, UINT32_MAX);
    is_refused(image, FILE_SIZE, "kernel", "truncated", "a section that wraps");
}

static void test_garbage(void)
{
    memset(file, 0, sizeof(file));
    is_refused(file, FILE_SIZE, "kernel", "not an arm64 kernel", "zeroes");
    memcpy(file, "\177ELF\2\1\1", 7);
    is_refused(file, FILE_SIZE, "kernel", "not an arm64 kernel", "an ELF file");
    memset(file, 0, sizeof(file));
    memcpy(file + 0x202, "HdrS", 4);
    is_refused(file, FILE_SIZE, "kernel", "x86", "a bzImage");
    make_image(image, 0, 0);
    memcpy(file, image, FILE_SIZE);
    hv_store_le64(file + 16, 4096);
    hv_store_le32(file + 60, 0);
    tap_ok(FILE_SIZE < MIB, "what follows is below the limit for trailers");
    is_loaded(image, FILE_SIZE, image, RAM, "the kernel after all of these");
}

static void test_odd_descriptors(void)
{
    struct hv_arm64_kernel kernel;
    struct hv_reason reason = {0};
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        tap_bail("no pipe");
    }
    tap_ok(hv_arm64_kernel_load(memory, ends[0], &kernel, &reason) < 0, "a pipe is refused");
    tap_ok(reason.field && !strcmp(reason.field, "kernel"), "as a kernel");
    close(ends[0]);
    close(ends[1]);
}

/* The file is long, its header says 4 KiB. */
static void test_too_long(void)
{
    const size_t length = 2 * MIB;
    HV_AUTO_FREE uint8_t *data = calloc(1, length);

    if (!data) {
        tap_bail("no memory");
    }
    make_image(image, 0, 0);
    memcpy(data, image, 512);
    hv_store_le64(data + 16, 4096);
    hv_store_le32(data + 60, 0);
    is_refused(data, length, "kernel", "longer than its header says", "2 MiB for 4 KiB");
}

static void test_placement(void)
{
    struct hv_arm64_kernel kernel = {.address = RAM, .size = 30 * MIB + 5};
    struct hv_arm64_placement placement = {0};
    struct hv_reason reason = {0};

    tap_is(hv_arm64_place(RAM, 512 * MIB, &kernel, 10 * MIB, &placement, NULL), 0, "512 MiB");
    tap_is(placement.fdt_address, RAM + 32 * MIB, "the device tree has 2 MiB of its own");
    tap_is(placement.initrd_address, RAM + 34 * MIB, "the initrd follows");

    tap_is(hv_arm64_place(RAM, 512 * MIB, &kernel, 0, &placement, NULL), 0, "without an initrd");
    tap_is(placement.initrd_address, 0, "there is none");

    tap_is(hv_arm64_place(RAM, 34 * MIB, &kernel, 0, &placement, NULL), 0, "to the last byte");
    tap_is(hv_arm64_place(RAM, 34 * MIB - 1, &kernel, 0, &placement, &reason), -EINVAL,
           "one byte less");
    tap_ok(!strcmp(reason.field, "memory_mb") && strstr(reason.text, "64 MiB"),
           "blames the memory, and says what would do: \"%s\"", reason.text);
    tap_is(hv_arm64_place(RAM, 35 * MIB, &kernel, 1 * MIB, &placement, NULL), 0,
           "an initrd to the last byte");
    tap_is(hv_arm64_place(RAM, 35 * MIB, &kernel, 1 * MIB + 1, &placement, &reason), -EINVAL,
           "an initrd of one byte more");
    tap_is(hv_arm64_place(RAM, 35 * MIB, &kernel, UINT64_MAX, &placement, &reason), -EINVAL,
           "an initrd that wraps");
    tap_is(
        hv_arm64_place(RAM, UINT64_C(64) << 30, &kernel, UINT64_C(32) << 30, &placement, &reason),
        -EINVAL, "an initrd beyond the window of 32 GiB");
    tap_ok(!strcmp(reason.field, "initrd"), "blames the initrd");
    kernel.size = UINT64_MAX;
    tap_is(hv_arm64_place(RAM, 512 * MIB, &kernel, 0, &placement, &reason), -EINVAL,
           "a kernel that wraps");
    kernel = (struct hv_arm64_kernel){.address = 0, .size = 1};
    tap_is(hv_arm64_place(RAM, 512 * MIB, &kernel, 0, &placement, &reason), -EINVAL,
           "a kernel below RAM");
}

int main(void)
{
    make_memory();
    test_plain();
    test_page_sizes();
    test_gzip();
    test_bomb();
    test_zboot();
    test_headers();
    test_truncated();
    test_garbage();
    test_odd_descriptors();
    test_too_long();
    test_placement();
    hv_memory_destroy(memory);
    return tap_done();
}
