/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel files for aarch64: plain, gzip and EFI zboot. Whatever is accepted lies in guest memory
 * with the device tree and an initrd placed behind it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/arch/aarch64/arm64-image.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"
#include "hypervisor/memory/guest-memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_ADDRESS (UINT64_C(1) << 30)
#define RAM_SIZE    (UINT64_C(16) << 20)
#define INITRD_SIZE UINT64_C(12345)

static void check_placement(const struct hv_arm64_kernel *kernel)
{
    struct hv_arm64_placement placement;
    uint64_t kernel_end = kernel->address + kernel->size;

    if (hv_arm64_place(RAM_ADDRESS, RAM_SIZE, kernel, INITRD_SIZE, &placement, NULL) < 0) {
        return; /* the kernel fills RAM */
    }
    if (placement.fdt_address < kernel_end || placement.fdt_address % 8 ||
        placement.initrd_address < placement.fdt_address + (2 << 20) ||
        placement.initrd_address + INITRD_SIZE > RAM_ADDRESS + RAM_SIZE) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct hv_memory_layout layout = {
        .regions = {{.address = RAM_ADDRESS, .size = RAM_SIZE}},
        .region_count = 1,
    };
    HV_AUTO_FD int fd = memfd_create("kernel", MFD_CLOEXEC);
    struct hv_arm64_kernel kernel = {0};
    struct hv_reason reason = {0};
    struct hv_memory *memory;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
        hv_memory_create(&layout, &memory) < 0) {
        abort();
    }
    if (hv_arm64_kernel_load(memory, fd, &kernel, &reason) == 0) {
        if (!hv_memory_map(memory, kernel.address, kernel.size)) {
            abort();
        }
        check_placement(&kernel);
    } else if (!reason.field || !reason.text) {
        abort();
    }
    hv_memory_destroy(memory);
    return 0;
}
