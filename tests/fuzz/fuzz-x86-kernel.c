/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel files for x86_64: what is accepted fits into the file and into memory, and the parser
 * never asks for a byte beyond the end.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "hypervisor/arch/x86_64/kernel.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
    const uint8_t *data;
    size_t size;
};

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static int read_file(void *opaque, uint64_t offset, void *buffer, size_t length)
{
    const struct file *file = opaque;

    require(hv_range_fits(offset, length, file->size));
    memcpy(buffer, file->data + offset, length);
    return 0;
}

/* The first instruction lies in what the file fills, and no byte of memory is filled twice. */
static void check_entry(const struct hv_x86_kernel *kernel)
{
    bool is_inside = false;

    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        const struct hv_x86_kernel_segment *segment = &kernel->segments[i];
        bool is_bzimage = kernel->kind == HV_X86_KERNEL_BZIMAGE;

        is_inside |= kernel->entry >= segment->address &&
                     kernel->entry - segment->address <
                         (is_bzimage ? segment->file_size : segment->memory_size);
        for (unsigned int k = 0; k < i; k++) {
            require(!hv_ranges_overlap(segment->address, segment->memory_size,
                                       kernel->segments[k].address,
                                       kernel->segments[k].memory_size));
        }
    }
    require(is_inside);
}

static void check_placed(const struct hv_x86_kernel *kernel, uint64_t size, uint64_t low_ram_end)
{
    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        const struct hv_x86_kernel_segment *segment = &kernel->segments[i];

        require(hv_range_fits(segment->file_offset, segment->file_size, size));
        require(segment->file_size <= segment->memory_size);
        require(segment->address >= HV_X86_HIGH_RAM_START);
        require(hv_range_fits(segment->address, segment->memory_size, low_ram_end));
        require(kernel->end >= segment->address + segment->memory_size);
    }
    require(kernel->entry >= HV_X86_HIGH_RAM_START && kernel->entry < low_ram_end);
}

static void place(const struct hv_x86_kernel *parsed, uint64_t size, uint64_t low_ram_end)
{
    struct hv_x86_kernel kernel = *parsed;
    struct hv_reason reason = {0};
    uint64_t address;

    if (hv_x86_kernel_place(&kernel, low_ram_end, &reason) < 0) {
        require(reason.field && reason.text);
        return;
    }
    check_placed(&kernel, size, low_ram_end);
    check_entry(&kernel);
    if (hv_x86_initrd_place(&kernel, low_ram_end, 3 * HV_X86_MIB, &address, &reason) == 0) {
        require(address >= kernel.end && hv_range_fits(address, 3 * HV_X86_MIB, low_ram_end));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file file = {data, size};
    const struct hv_x86_kernel_source source = {size, read_file, &file};
    struct hv_x86_kernel kernel;
    struct hv_reason reason = {0};
    int error = hv_x86_kernel_parse(&source, &kernel, &reason);

    if (error < 0) {
        require(error == -ENOMEM || (reason.field && reason.text));
        return 0;
    }
    require(kernel.segment_count >= 1 && kernel.segment_count <= HV_X86_KERNEL_MAX_SEGMENTS);
    require(kernel.setup_header_length <= HV_X86_SETUP_HEADER_MAX);
    place(&kernel, size, 32 * HV_X86_MIB);
    place(&kernel, size, 512 * HV_X86_MIB);
    place(&kernel, size, HV_X86_PCI_HOLE_START);
    return 0;
}
