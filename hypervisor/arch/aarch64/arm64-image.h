/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel files for aarch64, and where they, the initrd and the device tree lie in RAM.
 *
 * Everything here works on descriptors and guest memory alone, without KVM, so that tests and
 * fuzzers of any machine compile it. The file is foreign: each of its numbers is checked before
 * use, and unpacking stops at what the kernel's own header admits to.
 *
 * The formats: Documentation/arch/arm64/booting.rst of Linux (Image), RFC 1952 (gzip),
 * drivers/firmware/efi/libstub/zboot-header.S of Linux (EFI zboot).
 */
#pragma once

#include <stdint.h>

struct hv_memory;
struct hv_reason;

/* What a kernel says about itself, and where it went. */
struct hv_arm64_kernel {
    uint64_t address;   /* of its first byte, which is its entry point too */
    uint64_t size;      /* of the memory that it occupies, unpacked and with its .bss */
    uint64_t page_size; /* 4096, 16384, 65536, or 0 when it does not say */
};

struct hv_arm64_placement {
    uint64_t fdt_address;    /* room for 2 MiB, which nothing else uses */
    uint64_t initrd_address; /* 0 when there is no initrd */
};

/*
 * Reads a kernel from @fd into the first region of @memory.
 *
 * -EINVAL   not a kernel that can be started here: *ret_reason has field "kernel"; or the memory is
 *           too small for it: field "memory_mb"
 * -ENOMEM   no memory to unpack with
 * other     errno of reading, field "kernel"
 */
int hv_arm64_kernel_load(const struct hv_memory *memory, int fd, struct hv_arm64_kernel *ret_kernel,
                         struct hv_reason *ret_reason);

/*
 * Places device tree and initrd (@initrd_size 0: none) behind the kernel in the RAM of
 * @ram_size bytes at @ram_address, which is a multiple of 1 GiB. The boot protocol wants the initrd
 * within 32 GiB of an aligned window that holds the kernel too, and the device tree in 2 MiB of its
 * own. -EINVAL with field "memory_mb" or "initrd" when they do not fit.
 */
int hv_arm64_place(uint64_t ram_address, uint64_t ram_size, const struct hv_arm64_kernel *kernel,
                   uint64_t initrd_size, struct hv_arm64_placement *ret_placement,
                   struct hv_reason *ret_reason);
