/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* gzip streams inside files: in pieces of any size, cut off at each byte, damaged, with a neighbour. */
#include <sys/mman.h>

#include "hypervisor/base/gunzip.h"
#include "tests/hypervisor/gzip.h"
#include "tests/hypervisor/tap.h"

/* More than one piece of input for the reader, and hardly compressible. */
#define PLAIN_SIZE 200000u
#define BEFORE     1000u /* bytes in front of the stream */
#define BEHIND     500u

static uint8_t plain[PLAIN_SIZE];
static uint8_t file[BEFORE + PLAIN_SIZE + 2048 + BEHIND];
static uint8_t output[PLAIN_SIZE + 16];

static int make_file(const void *data, size_t length)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    if (fd < 0 || pwrite(fd, data, length, 0) != (ssize_t)length) {
        tap_bail("no file");
    }
    return fd;
}

/* Unpacks all of a stream by reads of @piece bytes; the last error or 0. */
static int unpack(int fd, uint64_t offset, uint64_t length, uint64_t piece, uint64_t *ret_total,
                  uint64_t *ret_end)
{
    HV_AUTO_GUNZIP struct hv_gunzip *gunzip = NULL;
    uint64_t total = 0, count = 0;

    if (hv_gunzip_open(fd, offset, length, &gunzip) < 0) {
        tap_bail("no memory");
    }
    do {
        uint64_t room = hv_min_u64(piece, sizeof(output) - total);
        int error = hv_gunzip_read(gunzip, output + total, room, &count);

        if (error < 0) {
            return error;
        }
        total += count;
        if (count < room) {
            break;
        }
    } while (total < sizeof(output));
    *ret_total = total;
    *ret_end = hv_gunzip_offset(gunzip);
    return 0;
}

static void test_whole(size_t packed_length)
{
    static const uint64_t pieces[] = {1, 64, 65536, PLAIN_SIZE, PLAIN_SIZE + 1, UINT64_MAX};
    HV_AUTO_FD int fd = make_file(file, BEFORE + packed_length + BEHIND);

    for (size_t i = 0; i < HV_ARRAY_SIZE(pieces); i++) {
        uint64_t total = 0, end = 0;
        int error = unpack(fd, BEFORE, packed_length + BEHIND, pieces[i], &total, &end);

        tap_ok(error == 0 && total == PLAIN_SIZE && !memcmp(output, plain, PLAIN_SIZE),
               "by %llu bytes", (unsigned long long)pieces[i]);
        tap_is(end, BEFORE + packed_length, "… what follows the stream is found");
    }
    tap_is(lseek(fd, 0, SEEK_CUR), 0, "the position of the file is not used");
}

/* A caller that has enough is not given more, nor is the end known to it. */
static void test_part(size_t packed_length)
{
    HV_AUTO_FD int fd = make_file(file, BEFORE + packed_length + BEHIND);
    HV_AUTO_GUNZIP struct hv_gunzip *gunzip = NULL;
    uint64_t count = 0;

    if (hv_gunzip_open(fd, BEFORE, packed_length, &gunzip) < 0) {
        tap_bail("no memory");
    }
    memset(output, 0xee, sizeof(output));
    tap_ok(hv_gunzip_read(gunzip, output, 100, &count) == 0 && count == 100 &&
               !memcmp(output, plain, 100) && output[100] == 0xee,
           "no byte more than was asked for");
    tap_ok(hv_gunzip_read(gunzip, output, 0, &count) == 0 && count == 0, "nothing is there always");
    tap_ok(hv_gunzip_read(gunzip, output, sizeof(output), &count) == 0 && count == PLAIN_SIZE - 100,
           "the rest");
    tap_ok(hv_gunzip_read(gunzip, output, 100, &count) == 0 && count == 0, "after the end nothing");
}

static void test_cut(void)
{
    uint8_t packed[256];
    size_t length = compress_gzip("what it says, what it says", 26, packed, sizeof(packed));
    HV_AUTO_FD int fd = make_file(packed, length);
    uint64_t total, end;
    unsigned int wrong = 0;

    for (size_t cut = 0; cut < length; cut++) {
        wrong += unpack(fd, 0, cut, 1000, &total, &end) != -ENODATA;
    }
    tap_is(wrong, 0, "a stream cut off at each of its bytes has no end");
    tap_ok(unpack(fd, 0, length, 1000, &total, &end) == 0 && total == 26, "the whole one has");
    tap_is(unpack(fd, 0, length + 1, 1000, &total, &end), -ENODATA,
           "a file that is shorter than it was when it was looked at");
}

static void test_damaged(void)
{
    uint8_t packed[256];
    size_t length = compress_gzip("what it says, what it says", 26, packed, sizeof(packed));
    static const struct {
        const char *what;
        int from_end; /* the byte that is changed, or ... */
        unsigned int from_start;
    } cases[] = {
        {"the first byte", 0, 0},   {"the second byte", 0, 1}, {"the compression method", 0, 2},
        {"the first block", 0, 10}, {"the checksum", 8, 0},    {"the length", 4, 0},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(cases); i++) {
        size_t at = cases[i].from_end ? length - (size_t)cases[i].from_end : cases[i].from_start;
        uint64_t total, end;
        HV_AUTO_FD int fd = -1;

        packed[at] ^= 0xff;
        fd = make_file(packed, length);
        packed[at] ^= 0xff;
        tap_is(unpack(fd, 0, length, 1000, &total, &end), -EBADMSG, "%s is another one",
               cases[i].what);
    }
}

int main(void)
{
    uint32_t seed = 1;
    size_t packed_length;

    for (size_t i = 0; i < PLAIN_SIZE; i++) {
        seed = seed * 1664525 + 1013904223;
        plain[i] = (uint8_t)(seed >> 24);
    }
    memset(file, 0x1f, sizeof(file));
    packed_length =
        compress_gzip(plain, sizeof(plain), file + BEFORE, sizeof(file) - BEFORE - BEHIND);
    test_whole(packed_length);
    test_part(packed_length);
    test_cut();
    test_damaged();
    hv_gunzip_close(NULL);
    tap_ok(true, "closing nothing");
    return tap_done();
}
