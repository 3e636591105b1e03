/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads arm64 kernels: a plain Image, a gzip file of one, or an EFI zboot file that holds such a
 * gzip file.
 *
 * Theory of operation. A plain Image states in its first 64 bytes where in RAM it wants to lie and
 * how much room it needs (image_size, which covers .bss); the rest is read straight to its place. A
 * gzip file is a stream: its first 64 bytes are unpacked to the stack, checked as a header, and the
 * rest is unpacked straight to guest memory, never further than image_size. What follows that in
 * the stream is thrown away, but only TRAILER_MAX bytes of it, as distributions append signatures;
 * a longer stream is not the kernel that its header describes, or a decompression bomb, and is
 * refused.
 *
 * Image has no checksum and no file length. Kernels with an EFI stub, which is all that
 * distributions ship, carry a PE section table beside it; that tells whether the file was cut off.
 *
 * Messages begin with a verb: they follow "kernel: ".
 */
#include "hypervisor/arch/aarch64/arm64-image.h"

#include "hypervisor/arch/memory-need.h"
#include "hypervisor/base/file.h"
#include "hypervisor/base/gunzip.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"
#include "hypervisor/memory/guest-memory.h"

#define HEADER_SIZE        64u
/* "ARM\x64" at offset 56. */
#define IMAGE_MAGIC        0x644d5241u
#define IMAGE_MAGIC_OFFSET 56u

#define IMAGE_FLAG_BIG_ENDIAN  UINT64_C(1)
#define IMAGE_FLAGS_PAGE_SHIFT 1
#define IMAGE_FLAGS_PAGE_MASK  UINT64_C(3)

#define TEXT_OFFSET_ALIGNMENT (UINT64_C(2) << 20)

/* What may follow image_size bytes: a signature and padding, not another gigabyte. */
#define TRAILER_MAX (UINT64_C(1) << 20)

/* Of the file, so that a mistaken disk image is refused before it is read. */
#define FILE_SIZE_MAX (UINT64_C(2) << 30)

#define PE_OFFSET_FIELD       0x3cu
#define PE_HEADER_SIZE        24u
#define PE_SECTION_SIZE       40u
#define PE_SECTION_RAW_SIZE   16u
#define PE_SECTION_RAW_OFFSET 20u
#define PE_MAX_SECTIONS       96u

#define ZBOOT_PAYLOAD_OFFSET 8u
#define ZBOOT_PAYLOAD_SIZE   12u
#define ZBOOT_METHOD         24u
#define ZBOOT_METHOD_SIZE    32u

#define FDT_ROOM                (UINT64_C(2) << 20)
#define INITRD_WINDOW           (UINT64_C(32) << 30)
#define INITRD_WINDOW_ALIGNMENT (UINT64_C(1) << 30)

static int refuse(struct hv_reason *reason, const char *text)
{
    return hv_reason_set(reason, -EINVAL, "kernel", text);
}

static int read_failed(struct hv_reason *reason, int error)
{
    if (error == -ENODATA) {
        return refuse(reason, "is truncated: the file ended while it was read");
    }
    return hv_reason_set(reason, error, "kernel", "could not be read");
}

/* Refuses a memory that lacks room for a kernel that lies so far into RAM, and for its device tree. */
static int refuse_memory(struct hv_reason *reason, uint64_t offset, uint64_t size)
{
    uint64_t end, needed;

    if (!hv_add_u64(offset, size, &end) || !hv_align_up(end, FDT_ROOM, &end) ||
        !hv_add_u64(end, FDT_ROOM, &needed)) {
        needed = UINT64_MAX;
    }
    return hv_refuse_memory(reason, needed);
}

/* The checked content of an Image header. */
static int parse_header(const struct hv_memory *memory, const uint8_t header[HEADER_SIZE],
                        struct hv_arm64_kernel *ret_kernel, struct hv_reason *reason)
{
    const struct hv_memory_region *ram = &hv_memory_layout(memory)->regions[0];
    uint64_t text_offset = hv_load_le64(header + 8);
    uint64_t image_size = hv_load_le64(header + 16);
    uint64_t flags = hv_load_le64(header + 24);
    static const uint16_t page_kib[] = {0, 4, 16, 64};

    if (hv_load_le32(header + IMAGE_MAGIC_OFFSET) != IMAGE_MAGIC) {
        return refuse(reason, "is not an arm64 kernel (Image, gzip or EFI zboot)");
    }
    if (flags & IMAGE_FLAG_BIG_ENDIAN) {
        return refuse(reason, "is a big-endian kernel, which this machine does not run");
    }
    if (!image_size) {
        return refuse(reason,
                      "is an arm64 kernel older than Linux 3.17, which does not state its size");
    }
    if (image_size < HEADER_SIZE || text_offset >= TEXT_OFFSET_ALIGNMENT) {
        return refuse(reason, "has a damaged header: impossible size or text offset");
    }
    if (!hv_range_fits(text_offset, image_size, ram->size)) {
        return refuse_memory(reason, text_offset, image_size);
    }
    *ret_kernel = (struct hv_arm64_kernel){
        .address = ram->address + text_offset,
        .size = image_size,
        .page_size =
            UINT64_C(1024) * page_kib[(flags >> IMAGE_FLAGS_PAGE_SHIFT) & IMAGE_FLAGS_PAGE_MASK],
    };
    return 0;
}

/*
 * Whether the sections of the PE header inside the first @length bytes of a kernel all lie within
 * them. True as well when it has none. @image has @length bytes; no vCPU runs, so that it holds
 * still.
 */
static bool is_complete(const uint8_t *image, uint64_t length)
{
    uint64_t pe, table;
    uint32_t count;

    if (image[0] != 'M' || image[1] != 'Z') {
        return true;
    }
    pe = hv_load_le32(image + PE_OFFSET_FIELD);
    if (!pe) {
        return true;
    }
    if (!hv_range_fits(pe, PE_HEADER_SIZE, length) || memcmp(image + pe, "PE\0\0", 4) != 0) {
        return false;
    }
    count = hv_load_le16(image + pe + 6);
    table = pe + PE_HEADER_SIZE + hv_load_le16(image + pe + 20);
    if (count > PE_MAX_SECTIONS ||
        !hv_range_fits(table, (uint64_t)count * PE_SECTION_SIZE, length)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *section = image + table + (uint64_t)i * PE_SECTION_SIZE;

        if (!hv_range_fits(hv_load_le32(section + PE_SECTION_RAW_OFFSET),
                           hv_load_le32(section + PE_SECTION_RAW_SIZE), length)) {
            return false;
        }
    }
    return true;
}

static int check_complete(const struct hv_memory *memory, const struct hv_arm64_kernel *kernel,
                          uint64_t loaded, struct hv_reason *reason)
{
    const uint8_t *image = hv_memory_map(memory, kernel->address, loaded);

    if (!image || loaded < HEADER_SIZE || !is_complete(image, loaded)) {
        return refuse(reason, "is truncated or damaged: parts that its header names are missing");
    }
    return 0;
}

static int load_plain(const struct hv_memory *memory, int fd, uint64_t file_size,
                      const uint8_t header[HEADER_SIZE], struct hv_arm64_kernel *ret_kernel,
                      struct hv_reason *reason)
{
    struct hv_arm64_kernel kernel;
    uint64_t length;
    int r;

    r = parse_header(memory, header, &kernel, reason);
    if (r < 0) {
        return r;
    }
    if (file_size > kernel.size && file_size - kernel.size > TRAILER_MAX) {
        return refuse(reason, "is longer than its header says: not an arm64 kernel, or damaged");
    }
    length = hv_min_u64(file_size, kernel.size);
    r = hv_memory_load_file(memory, kernel.address, fd, 0, length);
    if (r < 0) {
        return read_failed(reason, r);
    }
    r = check_complete(memory, &kernel, length, reason);
    if (r < 0) {
        return r;
    }
    *ret_kernel = kernel;
    return 0;
}

static int unpack(struct hv_gunzip *gunzip, void *buffer, uint64_t length, uint64_t *ret_length,
                  struct hv_reason *reason)
{
    int r = hv_gunzip_read(gunzip, buffer, length, ret_length);

    switch (r) {
    case 0:
    case -ENOMEM: return r;
    case -ENODATA: return refuse(reason, "is truncated: its gzip data have no end");
    case -EBADMSG: return refuse(reason, "is damaged: its gzip data make no sense");
    default: return read_failed(reason, r);
    }
}

/* Reads to the end of the stream, which must not be far. */
static int unpack_trailer(struct hv_gunzip *gunzip, struct hv_reason *reason)
{
    uint8_t discarded[4096];
    uint64_t total = 0, length;

    do {
        int r = unpack(gunzip, discarded, sizeof(discarded), &length, reason);

        if (r < 0) {
            return r;
        }
        total += length;
        if (total > TRAILER_MAX) {
            return refuse(reason, "unpacks to more than its header says: not an arm64 kernel, or "
                                  "made to fill the memory");
        }
    } while (length == sizeof(discarded));
    return 0;
}

static int load_gzip(const struct hv_memory *memory, int fd, uint64_t offset, uint64_t length,
                     struct hv_arm64_kernel *ret_kernel, struct hv_reason *reason)
{
    HV_AUTO_GUNZIP struct hv_gunzip *gunzip = NULL;
    struct hv_arm64_kernel kernel;
    uint8_t header[HEADER_SIZE];
    uint64_t unpacked;
    uint8_t *image;
    int r;

    r = hv_gunzip_open(fd, offset, length, &gunzip);
    if (r < 0) {
        return r;
    }
    r = unpack(gunzip, header, sizeof(header), &unpacked, reason);
    if (r < 0) {
        return r;
    }
    if (unpacked < sizeof(header)) {
        return refuse(reason, "is a gzip file that holds no arm64 kernel");
    }
    r = parse_header(memory, header, &kernel, reason);
    if (r < 0) {
        return r;
    }
    image = hv_memory_map(memory, kernel.address, kernel.size);
    if (!image) {
        return hv_reason_set(reason, -EINVAL, "memory_mb", "is too small for this kernel");
    }
    memcpy(image, header, sizeof(header));
    r = unpack(gunzip, image + sizeof(header), kernel.size - sizeof(header), &unpacked, reason);
    if (r < 0) {
        return r;
    }
    r = unpack_trailer(gunzip, reason);
    if (r < 0) {
        return r;
    }
    r = check_complete(memory, &kernel, sizeof(header) + unpacked, reason);
    if (r < 0) {
        return r;
    }
    *ret_kernel = kernel;
    return 0;
}

/* @method: from the header, NUL-terminated. */
static int refuse_method(struct hv_reason *reason, const char *method)
{
    static const struct {
        const char *prefix;
        const char *text;
    } methods[] = {
        {"zstd", "is an EFI zboot kernel compressed with zstd: unpack it, or build it with "
                 "CONFIG_KERNEL_GZIP"},
        {"xz", "is an EFI zboot kernel compressed with xz: unpack it, or build it with "
               "CONFIG_KERNEL_GZIP"},
        {"lzma", "is an EFI zboot kernel compressed with lzma: unpack it, or build it with "
                 "CONFIG_KERNEL_GZIP"},
        {"lzo", "is an EFI zboot kernel compressed with lzo: unpack it, or build it with "
                "CONFIG_KERNEL_GZIP"},
        {"lz4", "is an EFI zboot kernel compressed with lz4: unpack it, or build it with "
                "CONFIG_KERNEL_GZIP"},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(methods); i++) {
        if (!strncmp(method, methods[i].prefix, strlen(methods[i].prefix))) {
            return refuse(reason, methods[i].text);
        }
    }
    return refuse(reason, "is an EFI zboot kernel with an unknown compression: unpack it, or build "
                          "it with CONFIG_KERNEL_GZIP");
}

static int load_zboot(const struct hv_memory *memory, int fd, uint64_t file_size,
                      const uint8_t header[HEADER_SIZE], struct hv_arm64_kernel *ret_kernel,
                      struct hv_reason *reason)
{
    uint32_t offset = hv_load_le32(header + ZBOOT_PAYLOAD_OFFSET);
    uint32_t length = hv_load_le32(header + ZBOOT_PAYLOAD_SIZE);
    char method[ZBOOT_METHOD_SIZE + 1] = "";

    memcpy(method, header + ZBOOT_METHOD, ZBOOT_METHOD_SIZE);
    if (strcmp(method, "gzip") != 0) {
        return refuse_method(reason, method);
    }
    if (offset < HEADER_SIZE || !hv_range_fits(offset, length, file_size)) {
        return refuse(reason, "is an EFI zboot kernel that is truncated or damaged: its payload "
                              "lies outside the file");
    }
    return load_gzip(memory, fd, offset, length, ret_kernel, reason);
}

static int refuse_unknown(int fd, struct hv_reason *reason)
{
    uint8_t setup[4];

    /* The likeliest mistake deserves its own words. */
    if (hv_file_read(fd, 0x202, setup, sizeof(setup)) == 0 && !memcmp(setup, "HdrS", 4)) {
        return refuse(reason, "is an x86 kernel (bzImage); this host needs one for arm64");
    }
    return refuse(reason, "is not an arm64 kernel (Image, gzip or EFI zboot)");
}

int hv_arm64_kernel_load(const struct hv_memory *memory, int fd, struct hv_arm64_kernel *ret_kernel,
                         struct hv_reason *reason)
{
    uint8_t header[HEADER_SIZE];
    uint64_t file_size;
    int r;

    r = hv_file_size(fd, &file_size);
    if (r < 0) {
        return hv_reason_set(reason, r, "kernel", "is not a regular file");
    }
    if (!file_size) {
        return refuse(reason, "is empty");
    }
    if (file_size < HEADER_SIZE) {
        return refuse(reason, "is truncated: the file is too short for a kernel");
    }
    if (file_size > FILE_SIZE_MAX) {
        return refuse(reason, "is too long for a kernel (2 GiB)");
    }
    r = hv_file_read(fd, 0, header, sizeof(header));
    if (r < 0) {
        return read_failed(reason, r);
    }
    if (header[0] == 0x1f && header[1] == 0x8b) {
        return load_gzip(memory, fd, 0, file_size, ret_kernel, reason);
    }
    if (!memcmp(header, "MZ", 2) && !memcmp(header + 4, "zimg", 4)) {
        return load_zboot(memory, fd, file_size, header, ret_kernel, reason);
    }
    if (hv_load_le32(header + IMAGE_MAGIC_OFFSET) == IMAGE_MAGIC) {
        return load_plain(memory, fd, file_size, header, ret_kernel, reason);
    }
    return refuse_unknown(fd, reason);
}

int hv_arm64_place(uint64_t ram_address, uint64_t ram_size, const struct hv_arm64_kernel *kernel,
                   uint64_t initrd_size, struct hv_arm64_placement *ret_placement,
                   struct hv_reason *reason)
{
    uint64_t window = hv_align_down(kernel->address, INITRD_WINDOW_ALIGNMENT);
    struct hv_arm64_placement placement = {0};
    uint64_t end;

    /* Offsets into RAM from here on: no sum below can wrap, or hv_align_up() says so. */
    if (kernel->address < ram_address ||
        !hv_range_fits(kernel->address - ram_address, kernel->size, ram_size) ||
        !hv_align_up(kernel->address - ram_address + kernel->size, FDT_ROOM, &end) ||
        !hv_range_fits(end, FDT_ROOM, ram_size)) {
        return refuse_memory(reason, kernel->address - ram_address, kernel->size);
    }
    placement.fdt_address = ram_address + end;
    end += FDT_ROOM;
    if (initrd_size) {
        uint64_t address = ram_address + end; /* a multiple of 2 MiB, hence of any page */

        if (!hv_range_fits(end, initrd_size, ram_size)) {
            return hv_reason_set(reason, -EINVAL, "memory_mb",
                                 "is too small for this kernel and initrd");
        }
        if (!hv_range_fits(address - window, initrd_size, INITRD_WINDOW)) {
            return hv_reason_set(
                reason, -EINVAL, "initrd",
                "is larger than the arm64 boot protocol allows (32 GiB with the kernel)");
        }
        placement.initrd_address = address;
    }
    *ret_placement = placement;
    return 0;
}
