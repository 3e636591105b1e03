/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random bytes, all or none; see random.h. */
#include "hypervisor/base/random.h"

#include <sys/random.h>

#include "hypervisor/base/hv-base.h"

int hv_random_fill(void *buffer, size_t length)
{
    uint8_t *to = buffer;

    /* A signal may cut a request short: beyond 256 bytes, or while the host gathers its first. */
    while (length > 0) {
        ssize_t count = getrandom(to, length, 0);

        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        to += count;
        length -= (size_t)count;
    }
    return 0;
}
