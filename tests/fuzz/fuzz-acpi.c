/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The input of the ACPI builder: a struct hv_acpi_config from the bytes. What it accepts becomes
 * tables whose lengths and checksums hold; what it refuses becomes nothing.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "hypervisor/arch/x86_64/acpi.h"
#include "hypervisor/base/hv-base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_table(const struct hv_acpi_tables *tables, uint64_t offset)
{
    uint8_t sum = 0;
    uint32_t length;

    require(hv_range_fits(offset, 36, tables->length));
    length = hv_load_le32(tables->data + offset + 4);
    require(length >= 36 && hv_range_fits(offset, length, tables->length));
    for (uint32_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + tables->data[offset + i]);
    }
    require(sum == 0);
}

/* One entry a vCPU and one I/O APIC, to the last byte. */
static void check_madt(const uint8_t *madt, unsigned int vcpu_count)
{
    const uint32_t length = hv_load_le32(madt + 4);
    unsigned int processors = 0, others = 0;
    uint32_t offset = 44;

    while (offset < length) {
        require(offset + 2 <= length && madt[offset + 1] >= 2);
        processors += madt[offset] == 0;
        others += madt[offset] != 0;
        offset += madt[offset + 1];
    }
    require(offset == length && processors == vcpu_count && others == 1);
}

static void check_tables(const struct hv_acpi_tables *tables, uint64_t address,
                         unsigned int vcpu_count)
{
    unsigned int found = 0;
    uint64_t xsdt;

    require(tables->length >= 36);
    xsdt = hv_load_le64(tables->data + 24) - address;
    check_table(tables, xsdt);
    for (uint32_t i = 36; i < hv_load_le32(tables->data + xsdt + 4); i += 8) {
        uint64_t offset = hv_load_le64(tables->data + xsdt + i) - address;
        const uint8_t *table = tables->data + offset;

        check_table(tables, offset);
        if (memcmp(table, "FACP", 4) == 0) {
            check_table(tables, hv_load_le64(table + 140) - address);
            require(hv_load_le64(table + 140) == hv_load_le32(table + 40));
            found++;
        } else if (memcmp(table, "APIC", 4) == 0) {
            check_madt(table, vcpu_count);
            found++;
        }
    }
    require(found == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t words[8] = {0};
    struct hv_acpi_tables tables = {0};
    struct hv_acpi_config config;

    memcpy(words, data, hv_min_u64(size, sizeof(words)));
    config = (struct hv_acpi_config){
        .vcpu_count = (unsigned int)words[0],
        .address = words[1],
        .pci_config_address = words[2],
        .pci_config_size = words[3],
        .pci_window32_address = words[4],
        .pci_window32_size = words[5],
        .pci_window64_address = words[6],
        .pci_window64_size = words[7],
    };
    if (hv_acpi_build(&config, &tables) == 0) {
        check_tables(&tables, config.address, config.vcpu_count);
    } else {
        require(!tables.data);
    }
    hv_acpi_tables_fini(&tables);
    return 0;
}
