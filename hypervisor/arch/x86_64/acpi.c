/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RSDP, DSDT, FADT, MADT, MCFG and XSDT, in this order, one after the other. Layouts from ACPI 6.4,
 * chapter 5; MCFG from the PCI Firmware Specification 3.0, section 4.1.2.
 *
 * The tables are appended to one growing buffer, so nothing depends on a number of vCPUs that
 * someone once thought would be enough.
 */
#include "hypervisor/arch/x86_64/acpi.h"

#include "hypervisor/arch/x86_64/aml.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"

#define OEM_ID       "TENBOX"
#define OEM_TABLE_ID "TENBOXVM"
#define CREATOR_ID   "TNBX"

#define HEADER_SIZE     36
#define RSDP_SIZE       36
#define RSDP_V1_SIZE    20
#define TABLE_ALIGNMENT 16
#define PCI_BUS_SIZE    0x100000u
#define MAX_APIC_ID     254

#define FADT_SIZE                   276
#define FADT_WBINVD                 (1u << 0)
#define FADT_POWER_BUTTON_IS_DEVICE (1u << 4)
#define FADT_NO_SLEEP_BUTTON        (1u << 5)
#define FADT_NO_FIXED_RTC           (1u << 6)
#define FADT_RESET_REGISTER         (1u << 10)
#define FADT_HARDWARE_REDUCED       (1u << 20)
#define BOOT_ARCH_NO_VGA            (1u << 2)
#define BOOT_ARCH_NO_CMOS_RTC       (1u << 5)

#define MADT_LOCAL_APIC         0
#define MADT_IO_APIC            1
#define MADT_LOCAL_APIC_ENABLED 1

#define ADDRESS_SPACE_PORT 1
#define ACCESS_SIZE_BYTE   1

static uint8_t checksum(const uint8_t *data, size_t length)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + data[i]);
    }
    return (uint8_t)-sum;
}

/* The common header, with length and checksum still to come. Returns the table's offset. */
static size_t begin_table(struct hv_aml *out, const char *signature, uint8_t revision)
{
    size_t padding = -out->length & (TABLE_ALIGNMENT - 1);
    size_t offset;

    hv_aml_zeroes(out, padding);
    offset = out->length;
    hv_aml_bytes(out, signature, 4);
    hv_aml_u32(out, 0); /* length */
    hv_aml_u8(out, revision);
    hv_aml_u8(out, 0); /* checksum */
    hv_aml_bytes(out, OEM_ID, 6);
    hv_aml_bytes(out, OEM_TABLE_ID, 8);
    hv_aml_u32(out, 1); /* OEM revision */
    hv_aml_bytes(out, CREATOR_ID, 4);
    hv_aml_u32(out, 1); /* creator revision */
    return offset;
}

static void end_table(struct hv_aml *out, size_t offset)
{
    uint8_t *table;
    size_t length;

    if (out->is_broken) {
        return;
    }
    table = out->data + offset;
    length = out->length - offset;
    hv_store_le32(table + 4, (uint32_t)length);
    table[9] = checksum(table, length);
}

/* --- DSDT -------------------------------------------------------------------------------------- */

static void write_pci_routing(struct hv_aml *out)
{
    const unsigned int slot_count = 32;
    size_t routes, route;

    /* INTA of each slot, for a device that does without message interrupts. */
    hv_aml_name(out, "_PRT");
    routes = hv_aml_open_package(out, (uint8_t)slot_count);
    for (unsigned int slot = 0; slot < slot_count; slot++) {
        route = hv_aml_open_package(out, 4);
        hv_aml_integer(out, (uint64_t)slot << 16 | 0xffff);
        hv_aml_integer(out, 0);
        hv_aml_integer(out, 0);
        hv_aml_integer(out, HV_X86_PCI_FIRST_GSI + slot % HV_X86_PCI_GSI_COUNT);
        hv_aml_close(out, route);
    }
    hv_aml_close(out, routes);
}

static void write_pci(struct hv_aml *out, const struct hv_acpi_config *config)
{
    size_t device = hv_aml_open_device(out, "PCI0");
    size_t resources, method;

    hv_aml_name(out, "_HID");
    hv_aml_eisa_id(out, "PNP0A08");
    hv_aml_name(out, "_CID");
    hv_aml_eisa_id(out, "PNP0A03");
    hv_aml_name_integer(out, "_UID", 0);
    hv_aml_name_integer(out, "_SEG", 0);
    hv_aml_name_integer(out, "_BBN", 0);
    hv_aml_name_integer(out, "_CCA", 1);
    resources = hv_aml_open_resources(out, "_CRS");
    hv_aml_resource_bus_window(out, 0, (uint16_t)(config->pci_config_size / PCI_BUS_SIZE - 1));
    hv_aml_resource_io(out, 0xcf8, 8);
    hv_aml_resource_memory_window32(out, (uint32_t)config->pci_window32_address,
                                    (uint32_t)config->pci_window32_size);
    if (config->pci_window64_size) {
        hv_aml_resource_memory_window64(out, config->pci_window64_address,
                                        config->pci_window64_size);
    }
    hv_aml_close_resources(out, resources);
    write_pci_routing(out);
    /* The operating system gets every feature it asks for: there is no firmware to keep any. */
    method = hv_aml_open_method(out, "_OSC", 4, false);
    hv_aml_return_argument(out, 3);
    hv_aml_close(out, method);
    hv_aml_close(out, device);
}

static void write_platform_devices(struct hv_aml *out, const struct hv_acpi_config *config)
{
    size_t device, resources, method;

    /* What belongs to the board: keeps the operating system from giving it to a PCI device. */
    device = hv_aml_open_device(out, "BRD0");
    hv_aml_name(out, "_HID");
    hv_aml_eisa_id(out, "PNP0C02");
    hv_aml_name_integer(out, "_UID", 0);
    resources = hv_aml_open_resources(out, "_CRS");
    hv_aml_resource_memory32(out, (uint32_t)config->pci_config_address,
                             (uint32_t)config->pci_config_size);
    hv_aml_resource_io(out, HV_X86_SLEEP_CONTROL_PORT, HV_X86_POWER_PORTS_SIZE);
    hv_aml_close_resources(out, resources);
    hv_aml_close(out, device);

    device = hv_aml_open_device(out, "COM1");
    hv_aml_name(out, "_HID");
    hv_aml_eisa_id(out, "PNP0501");
    hv_aml_name_integer(out, "_UID", 1);
    hv_aml_name_integer(out, "_STA", 0xf);
    resources = hv_aml_open_resources(out, "_CRS");
    hv_aml_resource_io(out, HV_X86_SERIAL_PORT, 8);
    hv_aml_resource_edge_interrupt(out, HV_X86_SERIAL_GSI);
    hv_aml_close_resources(out, resources);
    hv_aml_close(out, device);

    device = hv_aml_open_device(out, "PWRB");
    hv_aml_name(out, "_HID");
    hv_aml_eisa_id(out, "PNP0C0C");
    hv_aml_name_integer(out, "_UID", 0);
    hv_aml_close(out, device);

    device = hv_aml_open_device(out, "GED0");
    hv_aml_name(out, "_HID");
    hv_aml_string(out, "ACPI0013");
    hv_aml_name_integer(out, "_UID", 0);
    resources = hv_aml_open_resources(out, "_CRS");
    hv_aml_resource_edge_interrupt(out, HV_X86_POWER_BUTTON_GSI);
    hv_aml_close_resources(out, resources);
    /* One interrupt, one event: nothing to tell apart, no register to read. */
    method = hv_aml_open_method(out, "_EVT", 1, true);
    hv_aml_notify(out, "\\_SB_.PWRB", 0x80);
    hv_aml_close(out, method);
    hv_aml_close(out, device);
}

static size_t write_dsdt(struct hv_aml *out, const struct hv_acpi_config *config)
{
    size_t table = begin_table(out, "DSDT", 2);
    size_t scope = hv_aml_open_scope(out, "\\_SB_");
    size_t package;

    write_pci(out, config);
    write_platform_devices(out, config);
    hv_aml_close(out, scope);
    /* All four elements: not every system takes a shorter package. */
    hv_aml_name(out, "_S5_");
    package = hv_aml_open_package(out, 4);
    hv_aml_integer(out, HV_X86_SLEEP_TYPE_OFF);
    hv_aml_integer(out, HV_X86_SLEEP_TYPE_OFF);
    hv_aml_integer(out, 0);
    hv_aml_integer(out, 0);
    hv_aml_close(out, package);
    end_table(out, table);
    return table;
}

/* --- the other tables -------------------------------------------------------------------------- */

static void write_port_register(struct hv_aml *out, uint16_t port)
{
    hv_aml_u8(out, ADDRESS_SPACE_PORT);
    hv_aml_u8(out, 8); /* bits */
    hv_aml_u8(out, 0); /* offset */
    hv_aml_u8(out, ACCESS_SIZE_BYTE);
    hv_aml_u64(out, port);
}

static size_t write_fadt(struct hv_aml *out, uint64_t dsdt_address)
{
    size_t table = begin_table(out, "FACP", 6);

    hv_aml_u32(out, 0);                          /* FIRMWARE_CTRL */
    hv_aml_u32(out, (uint32_t)dsdt_address);     /* DSDT */
    hv_aml_zeroes(out, 109 - (HEADER_SIZE + 8)); /* fixed hardware: none */
    hv_aml_u16(out, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC);
    hv_aml_u8(out, 0);
    hv_aml_u32(out, FADT_WBINVD | FADT_POWER_BUTTON_IS_DEVICE | FADT_NO_SLEEP_BUTTON |
                        FADT_NO_FIXED_RTC | FADT_RESET_REGISTER | FADT_HARDWARE_REDUCED);
    write_port_register(out, HV_X86_RESET_PORT);
    hv_aml_u8(out, HV_X86_RESET_VALUE);
    hv_aml_u16(out, 0);            /* ARM_BOOT_ARCH */
    hv_aml_u8(out, 4);             /* minor version: 6.4 */
    hv_aml_u64(out, 0);            /* X_FIRMWARE_CTRL */
    hv_aml_u64(out, dsdt_address); /* X_DSDT */
    hv_aml_zeroes(out, 244 - 148); /* extended fixed hardware: none */
    write_port_register(out, HV_X86_SLEEP_CONTROL_PORT);
    write_port_register(out, HV_X86_SLEEP_STATUS_PORT);
    hv_aml_bytes(out, "TenBox\0", 8); /* hypervisor vendor identity */
    end_table(out, table);
    return table;
}

static size_t write_madt(struct hv_aml *out, unsigned int vcpu_count)
{
    size_t table = begin_table(out, "APIC", 5);

    hv_aml_u32(out, HV_X86_LOCAL_APIC_ADDRESS);
    hv_aml_u32(out, 0); /* no 8259 */
    for (unsigned int i = 0; i < vcpu_count; i++) {
        hv_aml_u8(out, MADT_LOCAL_APIC);
        hv_aml_u8(out, 8);
        hv_aml_u8(out, (uint8_t)i); /* processor UID */
        hv_aml_u8(out, (uint8_t)i); /* APIC id */
        hv_aml_u32(out, MADT_LOCAL_APIC_ENABLED);
    }
    hv_aml_u8(out, MADT_IO_APIC);
    hv_aml_u8(out, 12);
    hv_aml_u8(out, 0); /* id */
    hv_aml_u8(out, 0);
    hv_aml_u32(out, HV_X86_IO_APIC_ADDRESS);
    hv_aml_u32(out, 0); /* first GSI */
    end_table(out, table);
    return table;
}

static size_t write_mcfg(struct hv_aml *out, const struct hv_acpi_config *config)
{
    size_t table = begin_table(out, "MCFG", 1);

    hv_aml_u64(out, 0);
    hv_aml_u64(out, config->pci_config_address);
    hv_aml_u16(out, 0); /* segment */
    hv_aml_u8(out, 0);  /* first bus */
    hv_aml_u8(out, (uint8_t)(config->pci_config_size / PCI_BUS_SIZE - 1));
    hv_aml_u32(out, 0);
    end_table(out, table);
    return table;
}

static size_t write_xsdt(struct hv_aml *out, uint64_t address, const size_t *tables, size_t count)
{
    size_t table = begin_table(out, "XSDT", 1);

    for (size_t i = 0; i < count; i++) {
        hv_aml_u64(out, address + tables[i]);
    }
    end_table(out, table);
    return table;
}

static void fill_rsdp(uint8_t *rsdp, uint64_t xsdt_address)
{
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, OEM_ID, 6);
    rsdp[15] = 2; /* revision */
    hv_store_le32(rsdp + 20, RSDP_SIZE);
    hv_store_le64(rsdp + 24, xsdt_address);
    rsdp[8] = checksum(rsdp, RSDP_V1_SIZE);
    rsdp[32] = checksum(rsdp, RSDP_SIZE);
}

static bool is_valid(const struct hv_acpi_config *config)
{
    uint64_t end;

    return config->vcpu_count >= 1 && config->vcpu_count <= MAX_APIC_ID + 1 &&
           hv_is_aligned(config->address, TABLE_ALIGNMENT) &&
           config->address <= HV_X86_PCI_HOLE_END - HV_X86_ACPI_SIZE &&
           config->pci_config_size >= PCI_BUS_SIZE &&
           config->pci_config_size <= 256 * (uint64_t)PCI_BUS_SIZE &&
           hv_is_aligned(config->pci_config_size, PCI_BUS_SIZE) &&
           hv_range_fits(config->pci_config_address, config->pci_config_size,
                         HV_X86_PCI_HOLE_END) &&
           config->pci_window32_size > 0 && config->pci_window32_size < HV_X86_PCI_HOLE_END &&
           hv_range_fits(config->pci_window32_address, config->pci_window32_size,
                         HV_X86_PCI_HOLE_END) &&
           hv_add_u64(config->pci_window64_address, config->pci_window64_size, &end);
}

int hv_acpi_build(const struct hv_acpi_config *config, struct hv_acpi_tables *ret_tables)
{
    struct hv_aml out = {0};
    size_t dsdt, xsdt, tables[3];

    if (!is_valid(config)) {
        return -EINVAL;
    }
    hv_aml_zeroes(&out, RSDP_SIZE);
    dsdt = write_dsdt(&out, config);
    tables[0] = write_fadt(&out, config->address + dsdt);
    tables[1] = write_madt(&out, config->vcpu_count);
    tables[2] = write_mcfg(&out, config);
    xsdt = write_xsdt(&out, config->address, tables, HV_ARRAY_SIZE(tables));
    if (out.is_broken) {
        hv_aml_fini(&out);
        return -ENOMEM;
    }
    fill_rsdp(out.data, config->address + xsdt);
    *ret_tables = (struct hv_acpi_tables){.data = out.data, .length = out.length};
    return 0;
}

void hv_acpi_tables_fini(struct hv_acpi_tables *tables)
{
    free(tables->data);
    *tables = (struct hv_acpi_tables){0};
}
