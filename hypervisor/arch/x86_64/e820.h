/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory map that the guest is told, in the words of BIOS call 15h/e820. A pure function. */
#pragma once

#include <stdint.h>

struct hv_memory_layout;

enum {
    HV_E820_RAM = 1,
    HV_E820_RESERVED = 2,
};

struct hv_e820_entry {
    uint64_t address;
    uint64_t size;
    uint32_t type;
};

/* Low RAM and the BIOS area, one more per region of RAM, ECAM. */
#define HV_E820_MAX_ENTRIES 8u

/* Returns the number of entries, in ascending order and without overlap. */
unsigned int hv_e820_build(const struct hv_memory_layout *layout,
                           struct hv_e820_entry entries[HV_E820_MAX_ENTRIES]);
