/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* zlib's inflate(), fed from a file by offset; see gunzip.h. */
#include "hypervisor/base/gunzip.h"

#include <zlib.h>

#include "hypervisor/base/file.h"

#define INPUT_SIZE 65536u

/* zlib counts in unsigned int. */
#define OUTPUT_MAX (UINT64_C(1) << 30)

struct hv_gunzip {
    z_stream stream;
    bool has_ended;
    int fd;             /* borrowed */
    uint64_t offset;    /* of the next byte to read */
    uint64_t remaining; /* bytes that may be read from there */
    uint8_t input[INPUT_SIZE];
};

int hv_gunzip_open(int fd, uint64_t offset, uint64_t length, struct hv_gunzip **ret_gunzip)
{
    struct hv_gunzip *gunzip = calloc(1, sizeof(*gunzip));

    if (!gunzip) {
        return -ENOMEM;
    }
    gunzip->fd = fd;
    gunzip->offset = offset;
    gunzip->remaining = length;
    /* 16: a gzip header and checksum, nothing else. */
    if (inflateInit2(&gunzip->stream, 16 + MAX_WBITS) != Z_OK) {
        free(gunzip);
        return -ENOMEM;
    }
    *ret_gunzip = gunzip;
    return 0;
}

void hv_gunzip_close(struct hv_gunzip *gunzip)
{
    if (gunzip) {
        inflateEnd(&gunzip->stream);
        free(gunzip);
    }
}

/* Gives zlib the next piece of the file when it has used up the last one. */
static int refill(struct hv_gunzip *gunzip)
{
    size_t length = (size_t)hv_min_u64(gunzip->remaining, sizeof(gunzip->input));
    int error;

    if (gunzip->stream.avail_in || !length) {
        return 0;
    }
    error = hv_file_read(gunzip->fd, gunzip->offset, gunzip->input, length);
    if (error < 0) {
        return error;
    }
    gunzip->offset += length;
    gunzip->remaining -= length;
    gunzip->stream.next_in = gunzip->input;
    gunzip->stream.avail_in = (unsigned int)length;
    return 0;
}

int hv_gunzip_read(struct hv_gunzip *gunzip, void *buffer, uint64_t length, uint64_t *ret_length)
{
    z_stream *stream = &gunzip->stream;
    uint64_t done = 0;

    while (done < length && !gunzip->has_ended) {
        unsigned int room = (unsigned int)hv_min_u64(length - done, OUTPUT_MAX);
        int result = refill(gunzip);

        if (result < 0) {
            return result;
        }
        stream->next_out = (uint8_t *)buffer + done;
        stream->avail_out = room;
        result = inflate(stream, Z_NO_FLUSH);
        done += room - stream->avail_out;
        switch (result) {
        case Z_OK: break;
        case Z_BUF_ERROR: /* no progress without more input: it may have had some in its pocket */
            if (!gunzip->remaining) {
                return -ENODATA;
            }
            break;
        case Z_STREAM_END: gunzip->has_ended = true; break;
        case Z_MEM_ERROR: return -ENOMEM;
        default: return -EBADMSG;
        }
    }
    *ret_length = done;
    return 0;
}

uint64_t hv_gunzip_offset(const struct hv_gunzip *gunzip)
{
    return gunzip->offset - gunzip->stream.avail_in;
}
