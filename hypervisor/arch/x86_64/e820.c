/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See e820.h. */
#include "hypervisor/arch/x86_64/e820.h"

#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/memory/guest-memory.h"

static unsigned int add(struct hv_e820_entry *entries, unsigned int count, uint64_t start,
                        uint64_t end, uint32_t type)
{
    if (end > start) {
        entries[count++] = (struct hv_e820_entry){start, end - start, type};
    }
    return count;
}

unsigned int hv_e820_build(const struct hv_memory_layout *layout,
                           struct hv_e820_entry entries[HV_E820_MAX_ENTRIES])
{
    unsigned int count = 0, i = 0;

    _Static_assert(2 + HV_MEMORY_MAX_REGIONS + 1 <= HV_E820_MAX_ENTRIES, "room for all entries");
    count = add(entries, count, 0, HV_X86_LOW_RAM_END, HV_E820_RAM);
    /* RAM in truth: it holds the ACPI tables. */
    count = add(entries, count, HV_X86_LOW_RAM_END, HV_X86_HIGH_RAM_START, HV_E820_RESERVED);
    for (; i < layout->region_count && layout->regions[i].address < HV_X86_PCI_HOLE_END; i++) {
        const struct hv_memory_region *region = &layout->regions[i];

        count = add(entries, count, hv_max_u64(region->address, HV_X86_HIGH_RAM_START),
                    region->address + region->size, HV_E820_RAM);
    }
    /* Linux trusts ECAM only where the memory map reserves it. */
    count = add(entries, count, layout->pci_config_address,
                layout->pci_config_address + layout->pci_config_size, HV_E820_RESERVED);
    for (; i < layout->region_count; i++) {
        const struct hv_memory_region *region = &layout->regions[i];

        count = add(entries, count, region->address, region->address + region->size, HV_E820_RAM);
    }
    return count;
}
