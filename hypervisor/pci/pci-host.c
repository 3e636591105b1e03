/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration accesses to bus 0, the bridge's own function, and the way from a window to a BAR.
 *
 * The BARs lie in one of two tables; an atomic pointer says in which. A look-up counts itself in the
 * table that it is about to read and checks that this is still the present one; a writer fills the
 * other table once nobody is counted there, then moves the pointer. Neither allocates: a vCPU thread
 * may not, and it is the writer whenever a guest moves a BAR.
 *
 * References: PCI Local Bus Specification 3.0, section 3.2.2.3.2 (mechanism 1); PCI Express Base
 * Specification 3.0, section 7.2.2 (ECAM).
 */
#include "hypervisor/pci/pci-host.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/memory/guest-memory.h"

#define CONFIG_ADDRESS_PORT   HV_PCI_CONFIG_ADDRESS_PORT
#define CONFIG_PORTS_SIZE     8
#define CONFIG_ADDRESS_ENABLE (1u << 31)
#define CONFIG_ADDRESS_MASK   0x80fffffcu

/* "PCIe host bridge without further functions" of the vendor id that Linux knows as virtual. */
#define BRIDGE_VENDOR_ID 0x1b36
#define BRIDGE_DEVICE_ID 0x0008
#define BRIDGE_CLASS     0x060000u /* bridge, host, revision in the low byte below */

struct slot {
    const struct hv_pci_function_ops *ops; /* NULL: empty */
    void *opaque;
};

struct bar_table {
    atomic_uint readers;                     /* atomic: look-ups under way */
    unsigned int count;                      /* const while it is the present table */
    struct hv_pci_bar bars[HV_PCI_MAX_BARS]; /* the same; in ascending order */
};

struct window {
    struct hv_pci_host *host;
    uint64_t address, size;
};

struct hv_pci_host {
    pthread_mutex_t lock;                 /* a leaf lock */
    uint32_t config_address;              /* lock: what was written to 0xcf8 */
    struct slot slots[HV_PCI_SLOT_COUNT]; /* const once the machine runs */
    struct window windows[2];             /* const once the machine runs; size 0: none */
    struct bar_table tables[2];
    _Atomic(struct bar_table *) present; /* atomic: one of the tables */
};

/* The bridge: identification and nothing else; every other byte is a read-only zero. */
static uint32_t bridge_dword(uint32_t offset)
{
    switch (offset) {
    case 0x00: return BRIDGE_DEVICE_ID << 16 | BRIDGE_VENDOR_ID;
    case 0x08: return BRIDGE_CLASS << 8;
    default: return 0;
    }
}

static uint32_t bridge_read(void *opaque, uint32_t offset, unsigned int size)
{
    return bridge_dword(offset & ~3u) >> (offset % 4 * 8);
}

static void bridge_write(void *opaque, uint32_t offset, unsigned int size, uint32_t value)
{
}

static const struct hv_pci_function_ops bridge_ops = {
    .config_read = bridge_read,
    .config_write = bridge_write,
};

/*
 * @address: bus, device, function and register as ECAM encodes them. Accesses that cross a dword or
 * are wider read as all ones: no processor makes them on purpose.
 */
static const struct slot *find_slot(const struct hv_pci_host *host, uint64_t address,
                                    unsigned int size)
{
    unsigned int bus = (unsigned int)(address >> 20);
    unsigned int device = address >> 15 & 0x1f;
    unsigned int function = address >> 12 & 0x7;

    if (bus != 0 || function != 0 || size > 4 || address % 4 + size > 4 ||
        !host->slots[device].ops) {
        return NULL;
    }
    return &host->slots[device];
}

static uint64_t config_read(struct hv_pci_host *host, uint64_t address, unsigned int size)
{
    const struct slot *slot = find_slot(host, address, size);
    uint64_t value = UINT64_MAX;

    if (slot) {
        pthread_mutex_lock(&host->lock);
        value = slot->ops->config_read(slot->opaque, address % HV_PCI_CONFIG_SIZE, size);
        pthread_mutex_unlock(&host->lock);
    }
    return value;
}

static void config_write(struct hv_pci_host *host, uint64_t address, unsigned int size,
                         uint64_t value)
{
    const struct slot *slot = find_slot(host, address, size);

    if (slot) {
        pthread_mutex_lock(&host->lock);
        slot->ops->config_write(slot->opaque, address % HV_PCI_CONFIG_SIZE, size, (uint32_t)value);
        pthread_mutex_unlock(&host->lock);
    }
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned int size)
{
    return config_read(opaque, offset, size);
}

static void ecam_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    config_write(opaque, offset, size, value);
}

static const struct hv_bus_ops ecam_ops = {
    .read = ecam_read,
    .write = ecam_write,
};

/* Where @offset (4 to 7: the data port) leads by the address register; false: nowhere. */
static bool port_target(struct hv_pci_host *host, uint64_t offset, uint64_t *ret_address)
{
    uint32_t config_address;

    pthread_mutex_lock(&host->lock);
    config_address = host->config_address;
    pthread_mutex_unlock(&host->lock);
    if (!(config_address & CONFIG_ADDRESS_ENABLE)) {
        return false;
    }
    /* Mechanism 1 has 8 bits of register, ECAM has 12. */
    *ret_address =
        (uint64_t)(config_address >> 8 & 0xffff) << 12 | ((config_address & 0xfc) + (offset & 3));
    return true;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct hv_pci_host *host = opaque;
    uint64_t address, value = UINT64_MAX;

    if (offset >= 4) {
        return port_target(host, offset, &address) ? config_read(host, address, size) : value;
    }
    /* Only a dword access reaches the address register; others are for chipset registers. */
    if (offset == 0 && size == 4) {
        pthread_mutex_lock(&host->lock);
        value = host->config_address;
        pthread_mutex_unlock(&host->lock);
    }
    return value;
}

static void port_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_pci_host *host = opaque;
    uint64_t address;

    if (offset >= 4) {
        if (port_target(host, offset, &address)) {
            config_write(host, address, size, value);
        }
    } else if (offset == 0 && size == 4) {
        pthread_mutex_lock(&host->lock);
        host->config_address = (uint32_t)value & CONFIG_ADDRESS_MASK;
        pthread_mutex_unlock(&host->lock);
    }
}

static const struct hv_bus_ops port_ops = {
    .read = port_read,
    .write = port_write,
};

/* --- windows ----------------------------------------------------------------------------------- */

/* Counts the caller among the readers of the present table. */
static struct bar_table *begin_reading(struct hv_pci_host *host)
{
    struct bar_table *table;

    for (;;) {
        table = atomic_load(&host->present);
        atomic_fetch_add(&table->readers, 1);
        if (table == atomic_load(&host->present)) {
            return table;
        }
        /* Replaced in between: the count may have come too late for its next writer. */
        atomic_fetch_sub(&table->readers, 1);
    }
}

/* The BAR that holds the whole access, copied; false: none. Its ops are called after reading. */
static bool find_bar(struct hv_pci_host *host, uint64_t address, unsigned int size,
                     struct hv_pci_bar *ret_bar)
{
    struct bar_table *table = begin_reading(host);
    unsigned int low = 0, high = table->count;
    bool is_found = false;

    while (low < high && !is_found) {
        unsigned int middle = low + (high - low) / 2;
        const struct hv_pci_bar *bar = &table->bars[middle];

        if (address < bar->address) {
            high = middle;
        } else if (address - bar->address >= bar->size) {
            low = middle + 1;
        } else if (hv_range_fits(address - bar->address, size, bar->size)) {
            *ret_bar = *bar;
            is_found = true;
        } else {
            break;
        }
    }
    atomic_fetch_sub(&table->readers, 1);
    return is_found;
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned int size)
{
    const struct window *window = opaque;
    uint64_t address = window->address + offset;
    struct hv_pci_bar bar;

    /* Without a BAR: what a bus with nobody home returns. */
    return find_bar(window->host, address, size, &bar)
               ? bar.ops->read(bar.opaque, address - bar.address, size)
               : UINT64_MAX;
}

static void window_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    const struct window *window = opaque;
    uint64_t address = window->address + offset;
    struct hv_pci_bar bar;

    if (find_bar(window->host, address, size, &bar)) {
        bar.ops->write(bar.opaque, address - bar.address, size, value);
    }
}

static const struct hv_bus_ops window_ops = {
    .read = window_read,
    .write = window_write,
};

static bool is_in_window(const struct hv_pci_host *host, const struct hv_pci_bar *bar)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(host->windows); i++) {
        const struct window *window = &host->windows[i];

        if (bar->address >= window->address &&
            hv_range_fits(bar->address - window->address, bar->size, window->size)) {
            return true;
        }
    }
    return false;
}

/* Keeps the order. There is room. */
static int insert_bar(const struct hv_pci_host *host, struct bar_table *table,
                      const struct hv_pci_bar *bar)
{
    unsigned int position = table->count;

    if (!hv_is_power_of_two(bar->size) || !hv_is_aligned(bar->address, bar->size) ||
        !is_in_window(host, bar)) {
        return -EINVAL;
    }
    for (unsigned int i = 0; i < table->count; i++) {
        if (hv_ranges_overlap(bar->address, bar->size, table->bars[i].address,
                              table->bars[i].size)) {
            return -EEXIST;
        }
    }
    for (; position > 0 && table->bars[position - 1].address > bar->address; position--) {
        table->bars[position] = table->bars[position - 1];
    }
    table->bars[position] = *bar;
    table->count++;
    return 0;
}

int hv_pci_host_set_bars(struct hv_pci_host *host, const struct hv_pci_bar *bars, size_t count)
{
    struct bar_table *present = atomic_load(&host->present);
    struct bar_table *next = &host->tables[present == &host->tables[0]];
    int error = 0;

    if (count > HV_PCI_MAX_BARS) {
        return -ENOSPC;
    }
    /* Look-ups that began before the last replacement. They are short and take no lock. */
    while (atomic_load(&next->readers) != 0) {
        sched_yield();
    }
    next->count = 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        error = insert_bar(host, next, &bars[i]);
    }
    if (error == 0) {
        atomic_store(&host->present, next);
    }
    return error;
}

/* --- birth and death --------------------------------------------------------------------------- */

int hv_pci_host_create(struct hv_pci_host **ret_host)
{
    struct hv_pci_host *host = calloc(1, sizeof(*host));

    if (!host) {
        return -ENOMEM;
    }
    pthread_mutex_init(&host->lock, NULL);
    host->slots[0] = (struct slot){.ops = &bridge_ops, .opaque = host};
    atomic_init(&host->present, &host->tables[0]);
    *ret_host = host;
    return 0;
}

void hv_pci_host_destroy(struct hv_pci_host *host)
{
    if (host) {
        pthread_mutex_destroy(&host->lock);
        free(host);
    }
}

void hv_pci_host_reset(struct hv_pci_host *host)
{
    pthread_mutex_lock(&host->lock);
    host->config_address = 0;
    pthread_mutex_unlock(&host->lock);
    hv_pci_host_set_bars(host, NULL, 0); /* none of them can be wrong */
}

int hv_pci_host_attach(struct hv_pci_host *host, struct hv_bus *mmio,
                       const struct hv_memory_layout *layout)
{
    const struct window windows[] = {
        {host, layout->pci_window32_address, layout->pci_window32_size},
        {host, layout->pci_window64_address, layout->pci_window64_size},
    };
    int error = hv_bus_add(mmio, layout->pci_config_address, layout->pci_config_size, "pci-config",
                           0, &ecam_ops, host);

    for (size_t i = 0; i < HV_ARRAY_SIZE(windows) && error == 0; i++) {
        host->windows[i] = windows[i];
        if (windows[i].size) {
            error = hv_bus_add(mmio, windows[i].address, windows[i].size, "pci-window", 0,
                               &window_ops, &host->windows[i]);
        }
    }
    return error;
}

int hv_pci_host_attach_ports(struct hv_pci_host *host, struct hv_bus *pio)
{
    return hv_bus_add(pio, CONFIG_ADDRESS_PORT, CONFIG_PORTS_SIZE, "pci-config", 0, &port_ops,
                      host);
}
