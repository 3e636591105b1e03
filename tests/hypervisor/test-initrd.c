/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may be an initrd: every format that Linux takes, whole, in a row, and cut off at each byte.
 * zstd and lz4 are written by hand from their formats, with blocks that hold their data as they are.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "hypervisor/arch/initrd.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"
#include "tests/hypervisor/gzip.h"
#include "tests/hypervisor/tap.h"

struct bytes {
    uint8_t data[8192];
    size_t length;
};

static void append(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > sizeof(bytes->data)) {
        tap_bail("a test file is too long");
    }
    if (length) {
        memcpy(bytes->data + bytes->length, data, length);
    }
    bytes->length += length;
}

static void append_zeros(struct bytes *bytes, size_t count)
{
    static const uint8_t zeros[1024];

    append(bytes, zeros, count);
}

static void append_entry(struct bytes *bytes, const char *name, const char *content)
{
    char header[128];

    snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
             1, 0100644, 0, 0, 1, 0, strlen(content), 0, 0, 0, 0, strlen(name) + 1, 0);
    append(bytes, header, 110);
    append(bytes, name, strlen(name) + 1);
    append_zeros(bytes, -bytes->length & 3);
    append(bytes, content, strlen(content));
    append_zeros(bytes, -bytes->length & 3);
}

static void append_cpio(struct bytes *bytes)
{
    append_entry(bytes, "init", "#!/bin/sh\n");
    append_entry(bytes, "etc/a-file-with-a-longer-name", "some content");
    append_entry(bytes, "TRAILER!!!", "");
}

static void append_gzip(struct bytes *bytes)
{
    struct bytes plain = {.length = 0};

    append_cpio(&plain);
    bytes->length += compress_gzip(plain.data, plain.length, bytes->data + bytes->length,
                                   sizeof(bytes->data) - bytes->length);
}

/* Window descriptor, a checksum; a raw block, a repeated one, the last one empty. */
static void append_zstd(struct bytes *bytes)
{
    static const uint8_t header[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58};
    static const uint8_t raw[] = {(100 << 3) & 0xff, 100 >> 5, 0};
    static const uint8_t repeated[] = {(200 << 3 | 1 << 1) & 0xff, 200 >> 5, 0, 'x'};
    static const uint8_t last[] = {1, 0, 0};
    static const uint8_t checksum[] = {1, 2, 3, 4};

    append(bytes, header, sizeof(header));
    append(bytes, raw, sizeof(raw));
    append_zeros(bytes, 100);
    append(bytes, repeated, sizeof(repeated));
    append(bytes, last, sizeof(last));
    append(bytes, checksum, sizeof(checksum));
}

static void append_lz4(struct bytes *bytes)
{
    static const uint8_t magic[] = {0x02, 0x21, 0x4c, 0x18};
    static const uint8_t length[] = {100, 0, 0, 0};

    append(bytes, magic, sizeof(magic));
    append(bytes, length, sizeof(length));
    append_zeros(bytes, 100);
}

static int check(const struct bytes *bytes, size_t length, uint64_t *ret_size,
                 struct hv_reason *ret_reason)
{
    HV_AUTO_FD int fd = memfd_create("initrd", MFD_CLOEXEC);

    if (fd < 0 || write(fd, bytes->data, length) != (ssize_t)length) {
        tap_bail("no memfd");
    }
    return hv_initrd_check(fd, ret_size, ret_reason);
}

static void is_accepted(const struct bytes *bytes, const char *what)
{
    struct hv_reason reason = {0};
    uint64_t size = 0;

    tap_is(check(bytes, bytes->length, &size, &reason), 0, "accepted: %s", what);
    if (reason.text) {
        printf("# %s\n", reason.text);
    }
    tap_is(size, bytes->length, "and its size is known");
}

static void is_refused(const struct bytes *bytes, const char *word, const char *what)
{
    struct hv_reason reason = {0};
    uint64_t size = 42;

    tap_is(check(bytes, bytes->length, &size, &reason), -EINVAL, "refused: %s", what);
    tap_ok(reason.field && !strcmp(reason.field, "initrd") && strstr(reason.text, word),
           "with \"%s\"", word);
    tap_is(size, 42, "and the size is untouched");
}

/* Every beginning of @bytes that is shorter than it is refused. */
static void no_part_is_accepted(const struct bytes *bytes, const char *what)
{
    size_t accepted = 0;

    for (size_t length = 0; length < bytes->length; length++) {
        uint64_t size;

        if (check(bytes, length, &size, NULL) != -EINVAL) {
            printf("# %zu of %zu bytes are accepted\n", length, bytes->length);
            accepted++;
        }
    }
    tap_is(accepted, 0, "no part of it is accepted: %s", what);
}

static void test_formats(void)
{
    static const struct {
        void (*append)(struct bytes *bytes);
        const char *name;
    } formats[] = {
        {append_cpio, "cpio"},
        {append_gzip, "gzip"},
        {append_zstd, "zstd"},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(formats); i++) {
        struct bytes bytes = {.length = 0};

        formats[i].append(&bytes);
        is_accepted(&bytes, formats[i].name);
        no_part_is_accepted(&bytes, formats[i].name);
        append_zeros(&bytes, 517);
        is_accepted(&bytes, "the same with padding");
    }
}

/* A frame of lz4 has no end of its own, so that only a block can be cut off. */
static void test_lz4(void)
{
    struct bytes bytes = {.length = 0};

    append_lz4(&bytes);
    is_accepted(&bytes, "lz4");
    bytes.length--;
    is_refused(&bytes, "truncated", "lz4 without its last byte");
    bytes.length = 50;
    is_refused(&bytes, "truncated", "half a block of lz4");
}

static void test_row(void)
{
    struct bytes bytes = {.length = 0};
    size_t plain;

    append_cpio(&bytes); /* as microcode comes */
    append_zeros(&bytes, -bytes.length & 511);
    plain = bytes.length;
    append_zstd(&bytes);
    append_zeros(&bytes, -bytes.length & 3);
    append_gzip(&bytes);
    is_accepted(&bytes, "three segments in a row");
    bytes.length -= 3;
    is_refused(&bytes, "truncated", "the last of them cut off");
    bytes.length = plain + 60;
    is_refused(&bytes, "truncated", "the second cut off");

    bytes.length = plain;
    append(&bytes, "key = value\n", 12);
    append_zeros(&bytes, 8);
    append(&bytes, "#BOOTCONFIG\n", 12);
    is_accepted(&bytes, "a boot configuration behind an archive");
}

static void test_believed(void)
{
    static const uint8_t magics[][6] = {
        {0xfd, '7', 'z', 'X', 'Z', 0},
        {'B', 'Z', 'h', '9', '1', 'A'},
        {0x5d, 0, 0, 0x80, 0, 0},
        {0x89, 'L', 'Z', 'O', 0, '\r'},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(magics); i++) {
        struct bytes bytes = {.length = 0};

        append(&bytes, magics[i], sizeof(magics[i]));
        is_accepted(&bytes, "a format that is known by its first bytes");
    }
}

/* Writes a gzip stream of @mebibytes of zeros without its last byte. */
static int make_cut_bomb(unsigned int mebibytes)
{
    static uint8_t zeros[1 << 20], packed[2 << 20];
    z_stream stream = {.next_out = packed, .avail_out = sizeof(packed)};
    int fd = memfd_create("initrd", MFD_CLOEXEC);

    if (deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        tap_bail("zlib");
    }
    for (unsigned int i = 1; i <= mebibytes; i++) {
        stream.next_in = zeros;
        stream.avail_in = sizeof(zeros);
        if (deflate(&stream, i < mebibytes ? Z_NO_FLUSH : Z_FINISH) < Z_OK || stream.avail_in) {
            tap_bail("zlib");
        }
    }
    deflateEnd(&stream);
    if (write(fd, packed, stream.total_out - 1) != (ssize_t)stream.total_out - 1) {
        tap_bail("no file");
    }
    return fd;
}

/* A check that costs more than it is worth ends; what the file holds behind that is believed. */
static void test_budget(void)
{
    HV_AUTO_FD int small = make_cut_bomb(4);
    HV_AUTO_FD int large = make_cut_bomb(257);
    struct hv_reason reason = {0};
    uint64_t size;

    tap_ok(hv_initrd_check(small, &size, &reason) == -EINVAL && strstr(reason.text, "truncated"),
           "gzip of 4 MiB without its last byte is refused");
    tap_is(hv_initrd_check(large, &size, &reason), 0, "gzip of 257 MiB is not unpacked to its end");
}

static void test_damage(void)
{
    struct bytes bytes = {.length = 0};

    is_refused(&bytes, "empty", "an empty file");
    append(&bytes, "hello, this is not an initrd", 28);
    is_refused(&bytes, "neither", "a text");
    bytes.length = 0;
    append_zeros(&bytes, 1024);
    is_refused(&bytes, "neither", "zeros");

    bytes.length = 0;
    append_cpio(&bytes);
    bytes.data[60] = 'g';
    is_refused(&bytes, "damaged", "cpio with a length that is no number");
    bytes.length = 0;
    append_cpio(&bytes);
    memcpy(bytes.data + 54, "ffffffff", 8);
    is_refused(&bytes, "truncated", "cpio with a file of 4 GiB");
    bytes.length = 0;
    append_cpio(&bytes);
    memcpy(bytes.data + 94, "00000000", 8);
    is_refused(&bytes, "damaged", "cpio with a nameless file");
    bytes.length = 0;
    append_gzip(&bytes);
    bytes.data[bytes.length - 6] ^= 1;
    is_refused(&bytes, "damaged", "gzip with a wrong checksum");
    bytes.length = 0;
    append_zstd(&bytes);
    bytes.data[6] |= 3 << 1;
    is_refused(&bytes, "damaged", "zstd with a reserved block type");
}

static void test_odd_descriptors(void)
{
    struct hv_reason reason = {0};
    uint64_t size;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        tap_bail("no pipe");
    }
    tap_is(hv_initrd_check(ends[0], &size, &reason), -EINVAL, "a pipe is refused");
    tap_ok(reason.field && !strcmp(reason.field, "initrd"), "as an initrd");
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    test_formats();
    test_lz4();
    test_row();
    test_believed();
    test_budget();
    test_damage();
    test_odd_descriptors();
    return tap_done();
}
