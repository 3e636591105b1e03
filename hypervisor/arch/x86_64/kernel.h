/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a kernel file wants: a Linux bzImage (x86 boot protocol, 64-bit entry) or an ELF with a PVH
 * entry. Parsing and placement are pure: they read the file through a source and return numbers;
 * boot.c copies and starts. Every field of a header is foreign and checked here, against the file
 * and against the memory of the guest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_reason;

struct hv_x86_kernel_source {
    uint64_t size;
    /* Exactly @length bytes at @offset, or a negative errno. Only asked within @size. */
    int (*read)(void *opaque, uint64_t offset, void *buffer, size_t length);
    void *opaque;
};

enum hv_x86_kernel_kind {
    HV_X86_KERNEL_BZIMAGE,
    HV_X86_KERNEL_PVH,
};

#define HV_X86_KERNEL_MAX_SEGMENTS 16u
/* The setup header lies at 0x1f1 of the file and of struct boot_params; it may grow to 0x290. */
#define HV_X86_SETUP_HEADER_OFFSET 0x1f1u
#define HV_X86_SETUP_HEADER_MAX    (0x290u - HV_X86_SETUP_HEADER_OFFSET)

struct hv_x86_kernel_segment {
    uint64_t file_offset;
    uint64_t file_size;
    uint64_t address; /* PVH: fixed; bzImage: set by hv_x86_kernel_place() */
    uint64_t memory_size;
};

struct hv_x86_kernel {
    enum hv_x86_kernel_kind kind;
    unsigned int segment_count; /* bzImage: 1 */
    struct hv_x86_kernel_segment segments[HV_X86_KERNEL_MAX_SEGMENTS];
    uint64_t entry;            /* bzImage: set by hv_x86_kernel_place() */
    uint64_t end;              /* first address above everything; set by hv_x86_kernel_place() */
    uint32_t max_command_line; /* without the NUL */
    uint64_t max_initrd_end;   /* first address that an initrd may not reach */

    /* bzImage alone. */
    uint64_t preferred_address;
    uint64_t alignment;
    bool is_relocatable;
    uint8_t setup_header[HV_X86_SETUP_HEADER_MAX];
    size_t setup_header_length;
};

/* -EINVAL, or what the source's read() returned, with a reason for "kernel"; or -ENOMEM. */
int hv_x86_kernel_parse(const struct hv_x86_kernel_source *source, struct hv_x86_kernel *ret_kernel,
                        struct hv_reason *ret_reason);

/*
 * Decides where the kernel goes: a bzImage to its preferred address (rounded up to its alignment when
 * it is relocatable), which is where it unpacks itself wherever it is loaded; an ELF file to where its
 * segments say. -EINVAL with field "memory_mb" when that is not below @low_ram_end, with field
 * "kernel" when no machine has RAM there; *@kernel is unchanged then.
 */
int hv_x86_kernel_place(struct hv_x86_kernel *kernel, uint64_t low_ram_end,
                        struct hv_reason *ret_reason);

/* The highest page-aligned place above the kernel. -EINVAL with a reason for "initrd". */
int hv_x86_initrd_place(const struct hv_x86_kernel *kernel, uint64_t low_ram_end, uint64_t size,
                        uint64_t *ret_address, struct hv_reason *ret_reason);
