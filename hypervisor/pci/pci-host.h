/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI host bridge: bus 0, reached through ECAM on both architectures and through configuration
 * mechanism 1 (ports 0xcf8 to 0xcff) on x86 as well.
 *
 * So far function 00:00.0, the bridge itself, is the only one. Devices will take a slot each; a
 * slot's function answers configuration accesses through const ops. BARs will live in a table
 * sorted by address that the host bridge replaces atomically whenever the guest moves one; the bus
 * only knows the windows, which are therefore registered here from the first day and read as all
 * ones.
 *
 * ECAM covers one bus (1 MiB): a guest then scans 32 slots and no more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hv_bus;
struct hv_memory_layout;
struct hv_pci_host;

#define HV_PCI_BUS_COUNT   1u
#define HV_PCI_SLOT_COUNT  32u
#define HV_PCI_CONFIG_SIZE 4096u /* of one function, by ECAM; mechanism 1 sees the first 256 */
#define HV_PCI_ECAM_SIZE   (HV_PCI_BUS_COUNT << 20)

/* Mechanism 1: where the address is written; the data follow at 0xcfc. */
#define HV_PCI_CONFIG_ADDRESS_PORT 0xcf8u

/* A function's configuration space. On a vCPU thread, under the host bridge's lock. */
struct hv_pci_function_ops {
    uint32_t (*config_read)(void *opaque, uint32_t offset, unsigned int size);
    void (*config_write)(void *opaque, uint32_t offset, unsigned int size, uint32_t value);
};

int hv_pci_host_create(struct hv_pci_host **ret_host);
/* Accepts NULL. */
void hv_pci_host_destroy(struct hv_pci_host *host);
void hv_pci_host_reset(struct hv_pci_host *host);

/* ECAM and both windows of @layout, on the memory bus; count "pci-config" and "pci-window". */
int hv_pci_host_attach(struct hv_pci_host *host, struct hv_bus *mmio,
                       const struct hv_memory_layout *layout);
/* Mechanism 1, on the port bus. */
int hv_pci_host_attach_ports(struct hv_pci_host *host, struct hv_bus *pio);
