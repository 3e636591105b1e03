/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a file can be an initial RAM disk for Linux, so that a mistake is named before a guest
 * panics over it. Without KVM and guest memory: a check of a descriptor alone.
 */
#pragma once

#include <stdint.h>

struct hv_reason;

/*
 * *ret_size: the size of the file. -EINVAL, with field "initrd" and a text, when it is empty, not a
 * regular file, begins with neither a cpio archive nor a compression that Linux unpacks, or is cut
 * off or damaged as far as that can be told (plain, gzip, zstd and lz4; not xz, bzip2, lzma and
 * lzop). Other errno: reading failed, field "initrd" too.
 */
int hv_initrd_check(int fd, uint64_t *ret_size, struct hv_reason *ret_reason);
