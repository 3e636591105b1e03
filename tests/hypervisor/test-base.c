/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic that notices overflow, clean-up, log lines and their limit, whole reads. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "hypervisor/base/file.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/log.h"
#include "tests/hypervisor/tap.h"

/* --- arithmetic -------------------------------------------------------------------------------- */

struct outer {
    int before;
    struct {
        int value;
    } inner;
};

static void test_helpers(void)
{
    struct outer outer;
    uint64_t result = 42;
    uint8_t bytes[9] = {0};

    tap_ok(hv_container_of(&outer.inner, __typeof__(outer), inner) == &outer,
           "a member leads back to its owner");
    tap_ok(hv_add_u64(UINT64_MAX - 1, 1, &result) && result == UINT64_MAX, "a sum that fits");
    tap_ok(!hv_add_u64(UINT64_MAX, 1, &result) && result == UINT64_MAX,
           "a sum that wraps is refused and leaves the result alone");
    tap_ok(hv_align_up(1, 4096, &result) && result == 4096, "rounding up");
    tap_ok(!hv_align_up(UINT64_MAX, 4096, &result), "rounding up past the end is refused");
    tap_ok(hv_range_fits(10, 0, 10) && hv_range_fits(0, 10, 10), "ranges that just fit");
    tap_ok(!hv_range_fits(11, 0, 10) && !hv_range_fits(1, 10, 10) &&
               !hv_range_fits(1, UINT64_MAX, 10),
           "ranges that do not");
    tap_ok(hv_ranges_overlap(0, 10, 9, 1) && !hv_ranges_overlap(0, 10, 10, 1) &&
               !hv_ranges_overlap(0, 0, 0, 10) &&
               hv_ranges_overlap(UINT64_MAX, 1, UINT64_MAX - 1, 2),
           "overlap, also at the end of the space");
    hv_store_le32(bytes + 1, 0x11223344);
    tap_ok(bytes[1] == 0x44 && bytes[4] == 0x11 && hv_load_le32(bytes + 1) == 0x11223344,
           "little-endian at an odd address");
}

static void test_ownership(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    int kept = -1;

    {
        HV_AUTO_FD int first = fd;

        kept = hv_take_fd(&first);
        tap_is(first, -1, "a taken descriptor leaves -1 behind");
    }
    tap_ok(fcntl(kept, F_GETFD) >= 0, "and stays open");
    {
        HV_AUTO_FD int second = kept;

        tap_ok(second >= 0, "a descriptor in a scope");
    }
    tap_ok(fcntl(kept, F_GETFD) < 0, "is closed at the end of the scope");
}

/* --- log --------------------------------------------------------------------------------------- */

struct lines {
    unsigned int count;
    char last[512];
};

static void note_line(void *opaque, int priority, const char *line)
{
    struct lines *lines = opaque;

    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", line);
}

static void test_log(void)
{
    struct lines lines = {0};
    const struct hv_log log = {.sink = note_line, .opaque = &lines};
    const struct hv_log nowhere = {0};
    struct hv_log_limit limit = {0};
    char longer[HV_LOG_LINE_MAX + 50];

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    hv_log(&log, LOG_ERR, "%s", longer);
    tap_ok(strlen(lines.last) == HV_LOG_LINE_MAX - 1 &&
               strcmp(lines.last + strlen(lines.last) - strlen("…"), "…") == 0,
           "a long line is cut and says so");
    hv_log(&nowhere, LOG_ERR, "a log without a sink takes lines");
    lines.count = 0;
    for (unsigned int i = 0; i < 1000; i++) {
        hv_log_limited(&log, &limit, LOG_WARNING, "line %u", i);
    }
    /* A slow machine may begin a second interval. */
    tap_ok(lines.count >= HV_LOG_BURST && lines.count <= 3 * (HV_LOG_BURST + 1),
           "of 1000 lines in a row a burst gets through (%u)", lines.count);
}

/* --- files ------------------------------------------------------------------------------------- */

static void test_file(void)
{
    HV_AUTO_FD int fd = memfd_create("test", MFD_CLOEXEC);
    HV_AUTO_FD int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char buffer[4] = "";
    uint64_t size = 0;

    if (fd < 0 || pwrite(fd, "abcdef", 6, 0) != 6) {
        tap_bail("no file");
    }
    tap_ok(hv_file_size(fd, &size) == 0 && size == 6, "the size of a file");
    tap_is(hv_file_size(folder, &size), -EINVAL, "a folder has none");
    tap_ok(hv_file_read(fd, 2, buffer, 4) == 0 && memcmp(buffer, "cdef", 4) == 0,
           "a read at an offset");
    tap_is(hv_file_read(fd, 3, buffer, 4), -ENODATA, "a read beyond the end");
    tap_is(hv_file_read(fd, UINT64_MAX, buffer, 4), -ENODATA, "a read beyond all files");
}

int main(void)
{
    test_helpers();
    test_ownership();
    test_log();
    test_file();
    return tap_done();
}
