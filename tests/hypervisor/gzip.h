/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes the gzip files that tests of kernels, initrds and their reader unpack. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "tests/hypervisor/tap.h"

/* Packs @data into @output, which must have room. Returns the length of the gzip file. */
static inline size_t compress_gzip(const void *data, size_t length, uint8_t *output,
                                   size_t capacity)
{
    z_stream stream = {
        .next_in = (uint8_t *)(uintptr_t)data,
        .avail_in = (unsigned int)length,
        .next_out = output,
        .avail_out = (unsigned int)capacity,
    };

    if (deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        tap_bail("zlib");
    }
    deflateEnd(&stream);
    return stream.total_out;
}
