/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where everything lies in the guest-physical space of an aarch64 machine, and which interrupt is
 * whose: the one place that decides, read by the devices, the interrupt controller, the device
 * tree builder and the loader.
 *
 *   0x0000_0000  nothing: a null pointer of the guest's faults
 *   0x0800_0000  interrupt controller; the parts that a machine does not have stay empty
 *   0x0900_0000  platform devices, 64 KiB apart (a page of any size holds one device only)
 *   0x1000_0000  PCI memory window below 4 GiB
 *   0x3f00_0000  PCI configuration space (ECAM), one bus
 *   0x4000_0000  RAM, one piece
 *   the top quarter of the guest-physical space, 256 GiB at most: PCI memory window for 64-bit BARs
 *
 * The guest-physical space is 40 bits wide where the host can do that (every arm64 host of the last
 * ten years with few exceptions), else what the host can do: HV_ARM_IPA_BITS_MAX. More would cost
 * each guest a fourth level of stage 2 page tables. All pieces are multiples of 64 KiB, hence of any
 * host's page size.
 *
 * Interrupts: the machine has HV_ARM_SPI_COUNT shared peripheral interrupts (SPI n is interrupt
 * 32 + n of the architecture, n in the device tree, and n as KVM's global number).
 *
 *   SPI 0–15     platform devices
 *   SPI 16–31    unused
 *   SPI 32–223   messages of PCI functions on GICv2, which a GICv2m frame turns into SPIs. With a
 *                GICv3 the ITS delivers them as LPIs, and these stay unused.
 */
#pragma once

#include <stdint.h>

/* The interrupt controller. Sizes are those of KVM (vgic) and of the architecture. */
#define HV_ARM_GIC_DISTRIBUTOR_ADDRESS     UINT64_C(0x08000000)
#define HV_ARM_GIC_DISTRIBUTOR_SIZE        UINT64_C(0x00010000)
#define HV_ARM_GICV2_CPU_ADDRESS           UINT64_C(0x08010000)
#define HV_ARM_GICV2_CPU_SIZE              UINT64_C(0x00002000)
/* Reserved: the GICv2m frame (64 KiB) and the ITS (128 KiB), which come with PCI devices. */
#define HV_ARM_GICV2M_ADDRESS              UINT64_C(0x08020000)
#define HV_ARM_GICV2M_SIZE                 UINT64_C(0x00010000)
#define HV_ARM_GICV3_ITS_ADDRESS           UINT64_C(0x08080000)
#define HV_ARM_GICV3_ITS_SIZE              UINT64_C(0x00020000)
/* 128 KiB for each vCPU, HV_MACHINE_MAX_VCPUS of them: 8 MiB. */
#define HV_ARM_GICV3_REDISTRIBUTOR_ADDRESS UINT64_C(0x080a0000)
#define HV_ARM_GICV3_REDISTRIBUTOR_SIZE    UINT64_C(0x00020000)

/* Platform devices: one page of registers each. */
#define HV_ARM_UART_ADDRESS UINT64_C(0x09000000)
#define HV_ARM_RTC_ADDRESS  UINT64_C(0x09010000)
#define HV_ARM_GPIO_ADDRESS UINT64_C(0x09020000)

#define HV_ARM_PCI_WINDOW32_ADDRESS UINT64_C(0x10000000)
#define HV_ARM_PCI_WINDOW32_SIZE    UINT64_C(0x2f000000)
#define HV_ARM_PCI_CONFIG_ADDRESS   UINT64_C(0x3f000000)
#define HV_ARM_PCI_WINDOW64_MAX     (UINT64_C(256) << 30)

#define HV_ARM_RAM_ADDRESS UINT64_C(0x40000000)

#define HV_ARM_IPA_BITS_MIN 32u
#define HV_ARM_IPA_BITS_MAX 40u

/* Interrupts. */
#define HV_ARM_PRIVATE_IRQ_COUNT 32u /* SGIs and PPIs, which every GIC has */
#define HV_ARM_SPI_COUNT         224u
#define HV_ARM_SPI_UART          1u
#define HV_ARM_SPI_GPIO          2u
#define HV_ARM_SPI_MSI_BASE      32u
#define HV_ARM_SPI_MSI_COUNT     192u

/* PPIs, counted from interrupt 16 as the device tree does. KVM's own choice for the timers. */
#define HV_ARM_PPI_MAINTENANCE    9u
#define HV_ARM_PPI_TIMER_HYP      10u
#define HV_ARM_PPI_TIMER_VIRTUAL  11u
#define HV_ARM_PPI_TIMER_SECURE   13u
#define HV_ARM_PPI_TIMER_PHYSICAL 14u

/* The pin of the GPIO controller that the power button pulls. */
#define HV_ARM_GPIO_PIN_POWER 3u

/* GICv2 has a bit for each CPU interface in many registers, and eight bits for them. */
#define HV_ARM_GICV2_MAX_VCPUS 8u

_Static_assert(HV_ARM_SPI_MSI_BASE + HV_ARM_SPI_MSI_COUNT == HV_ARM_SPI_COUNT, "SPI ranges");
_Static_assert((HV_ARM_PRIVATE_IRQ_COUNT + HV_ARM_SPI_COUNT) % 32 == 0,
               "KVM takes a multiple of 32 interrupts");
_Static_assert(HV_ARM_PCI_WINDOW32_ADDRESS + HV_ARM_PCI_WINDOW32_SIZE == HV_ARM_PCI_CONFIG_ADDRESS,
               "the window ends where the configuration space begins");
