/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86_64 machine in numbers: where everything is in memory, in port space and on the I/O APIC.
 * No header of KVM's or Linux's, so that tests and fuzzers of any host can use it.
 *
 *   0x00000000  RAM; boot structures below 640 KiB, ACPI tables at 0xe0000,
 *               the reset vector at 0xffff0
 *   0xc0000000  end of low RAM (3 GiB); 32-bit PCI window
 *   0xf0000000  PCI configuration space (ECAM), one bus
 *   0xfec00000  I/O APIC, local APICs at 0xfee00000, KVM's own pages at 0xfeffc000
 *   4 GiB       the rest of RAM, then the 64-bit PCI window from the next GiB on
 */
#pragma once

#include <stdint.h>

#define HV_X86_KIB UINT64_C(1024)
#define HV_X86_MIB (HV_X86_KIB * 1024)
#define HV_X86_GIB (HV_X86_MIB * 1024)

/* RAM that only the boot structures use until the kernel takes over. */
#define HV_X86_GDT_ADDRESS          0x5000u
#define HV_X86_PVH_ADDRESS          0x6000u /* hvm_start_info, module list, memory map: one page */
#define HV_X86_BOOT_PARAMS_ADDRESS  0x7000u
#define HV_X86_SETUP_DATA_ADDRESS   0x8000u
#define HV_X86_PAGE_TABLES_ADDRESS  0x9000u /* PML4, PDPT, four page directories */
#define HV_X86_COMMAND_LINE_ADDRESS 0x20000u
#define HV_X86_LOW_RAM_END          0x9fc00u

/* The BIOS area: reserved for the guest's allocator, and where a guest looks for an RSDP. */
#define HV_X86_ACPI_ADDRESS         0xe0000u
#define HV_X86_ACPI_SIZE            0x1f000u
#define HV_X86_RESET_VECTOR_ADDRESS 0xffff0u /* 16 bytes of code: what a PC's BIOS has there */
#define HV_X86_HIGH_RAM_START       0x100000u

#define HV_X86_PCI_HOLE_START        (3 * HV_X86_GIB)
#define HV_X86_PCI_HOLE_END          (4 * HV_X86_GIB)
#define HV_X86_PCI_WINDOW32_ADDRESS  HV_X86_PCI_HOLE_START
#define HV_X86_PCI_WINDOW32_SIZE     (768 * HV_X86_MIB)
#define HV_X86_PCI_CONFIG_ADDRESS    UINT64_C(0xf0000000)
#define HV_X86_PCI_WINDOW64_MAX_SIZE (256 * HV_X86_GIB)
#define HV_X86_IO_APIC_ADDRESS       0xfec00000u
#define HV_X86_LOCAL_APIC_ADDRESS    0xfee00000u
#define HV_X86_IDENTITY_MAP_ADDRESS  0xfeffc000u /* one page for KVM on old Intel processors */
#define HV_X86_TSS_ADDRESS           0xfeffd000u /* three pages, the same */

/* Physical addresses that AMD processors keep for HyperTransport. */
#define HV_X86_HYPERTRANSPORT_START UINT64_C(0xfd00000000)
#define HV_X86_HYPERTRANSPORT_END   UINT64_C(0x10000000000)

/* Ports. */
#define HV_X86_SERIAL_PORT        0x3f8u
#define HV_X86_KEYBOARD_PORT      0x64u
#define HV_X86_SLEEP_CONTROL_PORT 0x600u
#define HV_X86_SLEEP_STATUS_PORT  0x601u
#define HV_X86_RESET_PORT         0x602u
#define HV_X86_POWER_PORTS_SIZE   3u
#define HV_X86_RESET_VALUE        0x01u
#define HV_X86_SLEEP_TYPE_OFF     5u

/* Pins of the I/O APIC, which are the GSIs too. */
#define HV_X86_IO_APIC_PIN_COUNT 24u
#define HV_X86_SERIAL_GSI        4u
#define HV_X86_POWER_BUTTON_GSI  5u
#define HV_X86_PCI_FIRST_GSI     16u
#define HV_X86_PCI_GSI_COUNT     8u
