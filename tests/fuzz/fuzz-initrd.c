/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The check of an initrd: every refusal has words, every acceptance the file's size. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/arch/initrd.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    HV_AUTO_FD int fd = memfd_create("initrd", MFD_CLOEXEC);
    struct hv_reason reason = {0};
    uint64_t checked;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    if (hv_initrd_check(fd, &checked, &reason) == 0) {
        if (checked != size) {
            abort();
        }
    } else if (!reason.field || !reason.text) {
        abort();
    }
    return 0;
}
