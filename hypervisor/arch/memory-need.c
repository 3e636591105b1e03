/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts of a reason are static, hence a table: the advice is the next power of two, which leaves room
 * for an initrd and for the guest's own work, too.
 */
#include "hypervisor/arch/memory-need.h"

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"

#define ADVICE(mib, size)                                                                          \
    {                                                                                              \
        UINT64_C(mib) << 20, "is too small for this kernel: give it " size " or more"              \
    }

int hv_refuse_memory(struct hv_reason *reason, uint64_t needed)
{
    static const struct {
        uint64_t size;
        const char *text;
    } advice[] = {
        ADVICE(32, "32 MiB"),   ADVICE(64, "64 MiB"),   ADVICE(128, "128 MiB"),
        ADVICE(256, "256 MiB"), ADVICE(512, "512 MiB"), ADVICE(1024, "1 GiB"),
        ADVICE(2048, "2 GiB"),  ADVICE(4096, "4 GiB"),
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(advice); i++) {
        if (needed <= advice[i].size) {
            return hv_reason_set(reason, -EINVAL, "memory_mb", advice[i].text);
        }
    }
    return hv_reason_set(reason, -EINVAL, "memory_mb", "is too small for this kernel");
}
