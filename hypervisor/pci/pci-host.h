/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI host bridge: bus 0, reached through ECAM on both architectures and through configuration
 * mechanism 1 (ports 0xcf8 to 0xcff) on x86 as well.
 *
 * So far function 00:00.0, the bridge itself, is the only one. Devices will take a slot each; a
 * slot's function answers configuration accesses through const ops. The bus, which is frozen, only
 * knows the windows; where in them the BARs are is the guest's choice, so the host bridge finds them
 * in a table sorted by address that it replaces atomically, while vCPUs look up in it without a lock.
 *
 * ECAM covers one bus (1 MiB): a guest then scans 32 slots and no more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_bus;
struct hv_bus_ops;
struct hv_memory_layout;
struct hv_pci_host;

#define HV_PCI_BUS_COUNT   1u
#define HV_PCI_SLOT_COUNT  32u
#define HV_PCI_CONFIG_SIZE 4096u /* of one function, by ECAM; mechanism 1 sees the first 256 */
#define HV_PCI_MAX_BARS    (HV_PCI_SLOT_COUNT * 6u)
#define HV_PCI_ECAM_SIZE   (HV_PCI_BUS_COUNT << 20)

/* Mechanism 1: where the address is written; the data follow at 0xcfc. */
#define HV_PCI_CONFIG_ADDRESS_PORT 0xcf8u

/*
 * A function's configuration space. On a vCPU thread, under the host bridge's lock, from where
 * config_write() may call hv_pci_host_set_bars().
 */
struct hv_pci_function_ops {
    uint32_t (*config_read)(void *opaque, uint32_t offset, unsigned int size);
    void (*config_write)(void *opaque, uint32_t offset, unsigned int size, uint32_t value);
};

/* Where memory accesses reach a function: what the guest has written to a base address register. */
struct hv_pci_bar {
    uint64_t address; /* guest-physical, a multiple of the size */
    uint64_t size;    /* a power of two */
    const struct hv_bus_ops
        *ops;     /* static; called as a bus calls them, offsets count from @address */
    void *opaque; /* lives until the machine has stopped */
};

/* A bridge alone on its bus. -ENOMEM. */
int hv_pci_host_create(struct hv_pci_host **ret_host);
/* Accepts NULL. vCPUs are gone by then. */
void hv_pci_host_destroy(struct hv_pci_host *host);
/* Back to power-on state, without BARs; vCPUs are parked. */
void hv_pci_host_reset(struct hv_pci_host *host);

/*
 * From now on accesses to the windows reach these BARs, in any order and copied, and no others. What
 * no BAR holds wholly reads as all ones, and writes to it are dropped. An access that began before
 * may still be in the ops of a BAR that is gone.
 *
 * One call at a time: on a vCPU thread from config_write(), which the host bridge's lock covers, or
 * anywhere while no vCPU runs. Allocates nothing and takes no lock; may wait (sched_yield) for
 * look-ups of other vCPUs, which are short, but never for ops.
 *
 * The table stays as it was when something is wrong, which a guest can bring about at will: -EINVAL:
 * a size that is no power of two, an address that is no multiple of it, or not wholly inside a window;
 * -EEXIST: two overlap; -ENOSPC: more than HV_PCI_MAX_BARS.
 */
int hv_pci_host_set_bars(struct hv_pci_host *host, const struct hv_pci_bar *bars, size_t count);

/*
 * ECAM and both windows of @layout, on the memory bus; count "pci-config" and "pci-window" (BAR or
 * not). Once, before the first hv_pci_host_set_bars(). Errors as hv_bus_add().
 */
int hv_pci_host_attach(struct hv_pci_host *host, struct hv_bus *mmio,
                       const struct hv_memory_layout *layout);
/* Mechanism 1, on the port bus. */
int hv_pci_host_attach_ports(struct hv_pci_host *host, struct hv_bus *pio);
