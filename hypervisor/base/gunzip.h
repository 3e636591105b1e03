/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads a gzip stream (RFC 1952) that lies somewhere in a file which someone else opened: a kernel,
 * or an archive of an initrd. The file is foreign: no more of it is read than the part that open()
 * was given, and no more is unpacked than read() was asked for, so that the caller decides how much
 * a decompression bomb may cost.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/hv-base.h"

struct hv_gunzip;

/*
 * Begins with the stream at @offset of @fd, which ends within @length bytes; what lies behind it
 * does not matter. @fd stays the caller's and must outlive the stream; its position is not used.
 * -ENOMEM.
 */
int hv_gunzip_open(int fd, uint64_t offset, uint64_t length, struct hv_gunzip **ret_gunzip);
/* Accepts NULL. */
void hv_gunzip_close(struct hv_gunzip *gunzip);

static inline void hv_gunzip_close_pointer(struct hv_gunzip **gunzip)
{
    hv_gunzip_close(*gunzip);
    *gunzip = NULL;
}
#define HV_AUTO_GUNZIP HV_CLEANUP(hv_gunzip_close_pointer)

/*
 * Unpacks at most @length bytes to @buffer. *ret_length < @length, and from then on 0, means that
 * the stream has ended and that its checksum is right.
 *
 * -ENODATA   the part of the file ended before the stream did
 * -EBADMSG   this is no gzip stream, or a damaged one
 * -ENOMEM
 * other      errno of reading
 *
 * After an error @buffer may be partly written, and the stream can only be closed.
 */
int hv_gunzip_read(struct hv_gunzip *gunzip, void *buffer, uint64_t length, uint64_t *ret_length);

/* Where in the file the bytes begin that are not used yet; at the end: what follows the stream. */
uint64_t hv_gunzip_offset(const struct hv_gunzip *gunzip);
