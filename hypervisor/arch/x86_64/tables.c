/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the machine to the input of the ACPI builder, and its output into guest memory. */
#include "hypervisor/arch/x86_64/acpi.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/arch/x86_64/x86.h"
#include "hypervisor/machine/machine-private.h"

/*
 * Linux on hardware-reduced ACPI assumes UEFI and restarts through it; without UEFI its next choice is
 * to go back to real mode and jump to the reset vector. So there is a BIOS of nine bytes, which pulls
 * the reset line.
 */
static int write_reset_vector(const struct hv_machine *machine)
{
    static const uint8_t code[] = {
        0xba,
        HV_X86_RESET_PORT & 0xff,
        HV_X86_RESET_PORT >> 8, /* mov dx, port */
        0xb0,
        HV_X86_RESET_VALUE, /* mov al, value */
        0xee,               /* out dx, al */
        0xf4,               /* hlt */
        0xeb,
        0xfd, /* jmp to the hlt */
    };

    return hv_memory_write(machine->memory, HV_X86_RESET_VECTOR_ADDRESS, code, sizeof(code));
}

int hv_x86_write_tables(struct hv_machine *machine, uint64_t *ret_rsdp)
{
    const struct hv_memory_layout *layout = hv_memory_layout(machine->memory);
    const struct hv_acpi_config config = {
        .address = HV_X86_ACPI_ADDRESS,
        .vcpu_count = machine->vcpu_count,
        .pci_config_address = layout->pci_config_address,
        .pci_config_size = layout->pci_config_size,
        .pci_window32_address = layout->pci_window32_address,
        .pci_window32_size = layout->pci_window32_size,
        .pci_window64_address = layout->pci_window64_address,
        .pci_window64_size = layout->pci_window64_size,
    };
    HV_CLEANUP(hv_acpi_tables_fini) struct hv_acpi_tables tables = {0};
    int error = hv_acpi_build(&config, &tables);

    if (error < 0) {
        return error;
    }
    if (tables.length > HV_X86_ACPI_SIZE) {
        return -ENOSPC;
    }
    error = hv_memory_write(machine->memory, config.address, tables.data, tables.length);
    if (error < 0) {
        return error;
    }
    error = write_reset_vector(machine);
    if (error < 0) {
        return error;
    }
    *ret_rsdp = config.address;
    return 0;
}
