/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest RAM, and the only way to it.
 *
 * RAM is one memfd, mapped once per region of the layout, lowest address first. Whoever wants to
 * touch guest memory gives an address and a length together; a function either covers the whole
 * range or touches nothing. A range may not span two regions, even if they are adjacent in guest
 * space: none of our layouts has such regions.
 *
 * Guest memory changes under our hands. hv_memory_read() and hv_memory_write() copy once; who uses
 * hv_memory_map() must read each guest-controlled field once into a local.
 *
 * Regions begin and end on a multiple of the host's page size (4, 16 or 64 KiB): KVM refuses other
 * memory slots. Everything is const after hv_memory_create(), hence free for all threads.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/hv-base.h"

#define HV_MEMORY_MAX_REGIONS 4u

struct hv_memory_region {
    uint64_t address; /* guest-physical */
    uint64_t size;
    void *host;      /* NULL in a layout */
    uint64_t offset; /* in the memfd; set by hv_memory_create() */
};

/*
 * Filled by hv_arch_memory_layout(): regions in ascending order. The windows are guest-physical
 * space that no RAM may use; size 0: none.
 */
struct hv_memory_layout {
    struct hv_memory_region regions[HV_MEMORY_MAX_REGIONS];
    unsigned int region_count;
    uint64_t pci_config_address, pci_config_size; /* ECAM */
    uint64_t pci_window32_address, pci_window32_size;
    uint64_t pci_window64_address, pci_window64_size;
};

struct hv_memory;

/* The host's page size, sysconf(_SC_PAGESIZE). */
uint64_t hv_host_page_size(void);

/*
 * -EINVAL: a region is empty, not aligned to the host's page, wraps, overlaps another or is out of
 * order. -ENOMEM: no address space or memfd.
 */
int hv_memory_create(const struct hv_memory_layout *layout, struct hv_memory **ret_memory);
/* Accepts NULL. */
void hv_memory_destroy(struct hv_memory *memory);

const struct hv_memory_layout *hv_memory_layout(const struct hv_memory *memory);
uint64_t hv_memory_size(const struct hv_memory *memory);
/* The memfd, borrowed: sealed against growing and shrinking. */
int hv_memory_fd(const struct hv_memory *memory);

/*
 * The host address of [address, address + length), or NULL when the range is not wholly inside one
 * region. A length of 0 is NULL too.
 */
void *hv_memory_map(const struct hv_memory *memory, uint64_t address, uint64_t length);

/* 0, or -EFAULT when the range is not wholly inside one region (nothing was copied then). */
int hv_memory_read(const struct hv_memory *memory, uint64_t address, void *buffer, size_t length);
int hv_memory_write(const struct hv_memory *memory, uint64_t address, const void *buffer,
                    size_t length);
int hv_memory_fill(const struct hv_memory *memory, uint64_t address, uint8_t value,
                   uint64_t length);

/*
 * Reads @length bytes at @offset of @fd straight into guest memory. -EFAULT: range; -ENODATA: the
 * file ends first; or the errno of pread().
 */
int hv_memory_load_file(const struct hv_memory *memory, uint64_t address, int fd, uint64_t offset,
                        uint64_t length);

/*
 * Gives all pages back to the host: RAM reads as zero again. No vCPU may run. Returns the errno of
 * fallocate().
 */
int hv_memory_discard_all(struct hv_memory *memory);
