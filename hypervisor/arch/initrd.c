/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An initramfs is a row of segments with zero bytes between them, each a cpio archive ("newc") or a
 * compressed one (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
 *
 * The check follows each segment to its end by the format's own lengths, which notices a file that
 * was cut off: plain archives entry by entry, zstd (RFC 8878) and lz4 (the legacy frame, which is
 * what Linux takes) block by block, at the cost of one small read for each. gzip has no lengths, so
 * it is unpacked to nowhere. Formats that need more than that are believed from their first bytes
 * on. The check has a budget: beyond it a file is believed, too, since an initrd of that size
 * should not cost a start its time.
 */
#include "hypervisor/arch/initrd.h"

#include "hypervisor/base/file.h"
#include "hypervisor/base/gunzip.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"

#define CPIO_HEADER_SIZE 110u
#define CPIO_FILE_SIZE   54u /* offsets of hexadecimal fields of eight digits */
#define CPIO_NAME_SIZE   94u
#define CPIO_NAME_MAX    4096u
#define CPIO_ALIGNMENT   4u
#define CPIO_TRAILER     "TRAILER!!!"

#define LZ4_MAGIC 0x184c2102u

#define ZSTD_SINGLE_SEGMENT 0x20
#define ZSTD_HAS_CHECKSUM   0x04
#define ZSTD_CHECKSUM_SIZE  4u
#define ZSTD_BLOCK_HEADER   3u
#define ZSTD_BLOCK_REPEATED 1u
#define ZSTD_BLOCK_RESERVED 3u

#define MAGIC_SIZE  6u
#define BUFFER_SIZE 65536u

/* Small reads (entries, blocks, pieces of padding) and bytes of gzip before belief sets in. */
#define STEP_BUDGET   100000u
#define UNPACK_BUDGET (UINT64_C(256) << 20)

static const char truncated[] = "is truncated: its last archive has no end";
static const char damaged[] = "is damaged: its archive makes no sense";

struct walk {
    int fd;
    uint64_t size;
    uint64_t offset; /* of the segment, then behind it */
    unsigned int steps;
    uint64_t unpacked;
    bool is_believed; /* the rest is not looked at */
    struct hv_reason *reason;
};

static int refuse(const struct walk *walk, const char *text)
{
    return hv_reason_set(walk->reason, -EINVAL, "initrd", text);
}

static int believe(struct walk *walk)
{
    walk->is_believed = true;
    return 0;
}

/* Reads what lies at walk->offset + @skip, all of it. */
static int peek(struct walk *walk, uint64_t skip, void *buffer, size_t length)
{
    uint64_t offset;
    int error;

    if (!hv_add_u64(walk->offset, skip, &offset) || !hv_range_fits(offset, length, walk->size)) {
        return refuse(walk, truncated);
    }
    if (++walk->steps > STEP_BUDGET) {
        walk->is_believed = true;
    }
    error = hv_file_read(walk->fd, offset, buffer, length);
    if (error < 0) {
        return hv_reason_set(walk->reason, error, "initrd", "could not be read");
    }
    return 0;
}

/* Moves on by @length bytes, which must be there. */
static int advance(struct walk *walk, uint64_t length)
{
    if (!hv_range_fits(walk->offset, length, walk->size)) {
        return refuse(walk, truncated);
    }
    walk->offset += length;
    return 0;
}

/* --- plain archives --------------------------------------------------------------------------- */

static bool is_cpio(const uint8_t *bytes)
{
    return !memcmp(bytes, "070701", 6) || !memcmp(bytes, "070702", 6);
}

/* Eight hexadecimal digits. */
static bool parse_hexadecimal(const uint8_t *digits, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (int i = 0; i < 8; i++) {
        uint8_t digit = digits[i];

        if (digit >= '0' && digit <= '9') {
            digit -= '0';
        } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
            digit = (uint8_t)((digit | 0x20) - 'a' + 10);
        } else {
            return false;
        }
        value = value << 4 | digit;
    }
    *ret_value = value;
    return true;
}

/* Padding counts from the start of the file, not of the archive. */
static uint64_t pad_cpio(uint64_t offset)
{
    return hv_align_down(offset + CPIO_ALIGNMENT - 1, CPIO_ALIGNMENT);
}

static int follow_cpio(struct walk *walk)
{
    while (!walk->is_believed) {
        /* The trailer is the shortest entry that can be last, so this much is always there. */
        uint8_t header[CPIO_HEADER_SIZE + sizeof(CPIO_TRAILER)];
        uint32_t name_size, file_size;
        uint64_t next;
        int error = peek(walk, 0, header, sizeof(header));

        if (error < 0) {
            return error;
        }
        if (!is_cpio(header) || !parse_hexadecimal(header + CPIO_FILE_SIZE, &file_size) ||
            !parse_hexadecimal(header + CPIO_NAME_SIZE, &name_size) || !name_size ||
            name_size > CPIO_NAME_MAX) {
            return refuse(walk, damaged);
        }
        if (name_size == sizeof(CPIO_TRAILER) &&
            !memcmp(header + CPIO_HEADER_SIZE, CPIO_TRAILER, sizeof(CPIO_TRAILER))) {
            return advance(walk, pad_cpio(walk->offset + sizeof(header)) - walk->offset);
        }
        /* No overflow: 32-bit numbers on top of an offset within a file. */
        next = pad_cpio(walk->offset + CPIO_HEADER_SIZE + name_size);
        next = pad_cpio(next + file_size);
        error = advance(walk, next - walk->offset);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

/* --- compressed archives ---------------------------------------------------------------------- */

static int follow_lz4(struct walk *walk)
{
    int error = advance(walk, sizeof(uint32_t)); /* the magic number */

    /* Blocks until the end of the file, padding, or another frame. */
    while (error == 0 && !walk->is_believed && walk->size - walk->offset >= sizeof(uint32_t)) {
        uint8_t bytes[sizeof(uint32_t)];
        uint32_t length;

        error = peek(walk, 0, bytes, sizeof(bytes));
        if (error < 0) {
            return error;
        }
        length = hv_load_le32(bytes);
        if (!length || length == LZ4_MAGIC) {
            return 0;
        }
        error = advance(walk, sizeof(bytes) + (uint64_t)length);
    }
    return error;
}

static unsigned int zstd_header_size(uint8_t descriptor)
{
    static const uint8_t dictionary_sizes[] = {0, 1, 2, 4};
    static const uint8_t content_sizes[] = {0, 2, 4, 8};
    bool is_single = descriptor & ZSTD_SINGLE_SEGMENT;
    unsigned int content_size = content_sizes[descriptor >> 6];

    if (is_single && !content_size) {
        content_size = 1;
    }
    return 5 + !is_single + dictionary_sizes[descriptor & 3] + content_size;
}

static int follow_zstd(struct walk *walk)
{
    uint8_t header[5]; /* magic number, descriptor */
    bool is_last = false;
    int error = peek(walk, 0, header, sizeof(header));

    if (error == 0) {
        error = advance(walk, zstd_header_size(header[4]));
    }
    while (error == 0 && !is_last && !walk->is_believed) {
        uint8_t bytes[4] = {0};
        uint32_t block, type, length;

        error = peek(walk, 0, bytes, ZSTD_BLOCK_HEADER);
        if (error < 0) {
            return error;
        }
        block = hv_load_le32(bytes);
        is_last = block & 1;
        type = block >> 1 & 3;
        length = block >> 3;
        if (type == ZSTD_BLOCK_RESERVED) {
            return refuse(walk, damaged);
        }
        error = advance(walk, ZSTD_BLOCK_HEADER + (type == ZSTD_BLOCK_REPEATED ? 1 : length));
    }
    if (error == 0 && is_last && (header[4] & ZSTD_HAS_CHECKSUM)) {
        error = advance(walk, ZSTD_CHECKSUM_SIZE);
    }
    return error;
}

static int refuse_gzip(const struct walk *walk, int error)
{
    switch (error) {
    case -ENODATA: return refuse(walk, truncated);
    case -EBADMSG: return refuse(walk, damaged);
    case -ENOMEM: return error;
    default: return hv_reason_set(walk->reason, error, "initrd", "could not be read");
    }
}

/* An archive that does not come to its end within the budget, packed or unpacked, is believed. */
static int follow_gzip(struct walk *walk)
{
    const uint64_t size = walk->size - walk->offset;
    const uint64_t packed = hv_min_u64(size, UNPACK_BUDGET);
    HV_AUTO_FREE uint8_t *discarded = malloc(BUFFER_SIZE);
    HV_AUTO_GUNZIP struct hv_gunzip *gunzip = NULL;
    uint64_t length;
    int error = -ENOMEM;

    if (discarded) {
        error = hv_gunzip_open(walk->fd, walk->offset, packed, &gunzip);
    }
    if (error < 0) {
        return error;
    }
    do {
        error = hv_gunzip_read(gunzip, discarded, BUFFER_SIZE, &length);
        if (error == -ENODATA && packed < size) {
            return believe(walk);
        }
        if (error < 0) {
            return refuse_gzip(walk, error);
        }
        walk->unpacked += length;
        if (walk->unpacked > UNPACK_BUDGET) {
            return believe(walk);
        }
    } while (length == BUFFER_SIZE);
    walk->offset = hv_gunzip_offset(gunzip);
    return 0;
}

/* --- the row of segments ---------------------------------------------------------------------- */

static int follow_segment(struct walk *walk)
{
    static const struct {
        uint8_t length;
        uint8_t bytes[MAGIC_SIZE];
        int (*follow)(struct walk *walk);
    } formats[] = {
        {6, {'0', '7', '0', '7', '0', '1'}, follow_cpio},
        {6, {'0', '7', '0', '7', '0', '2'}, follow_cpio}, /* with checksums */
        {2, {0x1f, 0x8b}, follow_gzip},
        {4, {0x28, 0xb5, 0x2f, 0xfd}, follow_zstd},
        {4, {0x02, 0x21, 0x4c, 0x18}, follow_lz4},
        {6, {0xfd, '7', 'z', 'X', 'Z', 0x00}, believe},
        {3, {'B', 'Z', 'h'}, believe},
        {3, {0x5d, 0x00, 0x00}, believe}, /* lzma */
        {4, {0x89, 'L', 'Z', 'O'}, believe},
    };
    uint8_t magic[MAGIC_SIZE] = {0};
    int error = peek(walk, 0, magic, (size_t)hv_min_u64(sizeof(magic), walk->size - walk->offset));

    if (error < 0) {
        return error;
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(formats); i++) {
        if (!memcmp(magic, formats[i].bytes, formats[i].length)) {
            return formats[i].follow(walk);
        }
    }
    /* A boot configuration may follow (Documentation/admin-guide/bootconfig.rst of Linux). */
    return walk->offset ? believe(walk)
                        : refuse(walk, "is neither a cpio archive nor a compressed one");
}

static int skip_padding(struct walk *walk)
{
    while (walk->offset < walk->size && !walk->is_believed) {
        uint8_t bytes[512];
        size_t length = (size_t)hv_min_u64(sizeof(bytes), walk->size - walk->offset);
        size_t zeros = 0;
        int error = peek(walk, 0, bytes, length);

        if (error < 0) {
            return error;
        }
        while (zeros < length && !bytes[zeros]) {
            zeros++;
        }
        walk->offset += zeros;
        if (zeros < length) {
            break;
        }
    }
    return 0;
}

int hv_initrd_check(int fd, uint64_t *ret_size, struct hv_reason *ret_reason)
{
    struct walk walk = {.fd = fd, .reason = ret_reason};
    int error = hv_file_size(fd, &walk.size);

    if (error < 0) {
        return hv_reason_set(ret_reason, error, "initrd", "is not a regular file");
    }
    if (!walk.size) {
        return refuse(&walk, "is empty");
    }
    while (walk.offset < walk.size && !walk.is_believed) {
        error = follow_segment(&walk);
        if (error == 0) {
            error = skip_padding(&walk);
        }
        if (error < 0) {
            return error;
        }
    }
    *ret_size = walk.size;
    return 0;
}
