/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One address space: a sorted table and its counters; see bus.h. */
#include "hypervisor/machine/bus.h"

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/machine.h"

struct region {
    uint64_t address;
    uint64_t size;
    const struct hv_bus_ops *ops;
    void *opaque;
    struct hv_bus_counter *counter; /* NULL: the device counts */
};

struct hv_bus {
    uint64_t limit;                                      /* const */
    bool is_frozen;                                      /* main */
    unsigned int region_count;                           /* const once frozen */
    struct region regions[HV_BUS_MAX_REGIONS];           /* const once frozen */
    unsigned int counter_count;                          /* const once frozen */
    struct hv_bus_counter counters[HV_BUS_MAX_COUNTERS]; /* [0]: unassigned */
};

int hv_bus_create(uint64_t limit, const char *unassigned, struct hv_bus **ret_bus)
{
    struct hv_bus *bus = calloc(1, sizeof(*bus));
    struct hv_bus_counter *counter;
    int error;

    if (!bus) {
        return -ENOMEM;
    }
    bus->limit = limit;
    error = hv_bus_add_counter(bus, unassigned, &counter);
    if (error < 0) {
        hv_bus_destroy(bus);
        return error;
    }
    *ret_bus = bus;
    return 0;
}

void hv_bus_destroy(struct hv_bus *bus)
{
    free(bus);
}

int hv_bus_add_counter(struct hv_bus *bus, const char *name, struct hv_bus_counter **ret_counter)
{
    struct hv_bus_counter *counter;

    for (unsigned int i = 0; i < bus->counter_count; i++) {
        if (strcmp(bus->counters[i].name, name) == 0) {
            *ret_counter = &bus->counters[i];
            return 0;
        }
    }
    if (bus->is_frozen) {
        return -EBUSY;
    }
    if (bus->counter_count == HV_BUS_MAX_COUNTERS) {
        return -ENOSPC;
    }
    if (strlen(name) >= sizeof(counter->name)) {
        return -EINVAL;
    }
    counter = &bus->counters[bus->counter_count++];
    memcpy(counter->name, name, strlen(name) + 1);
    *ret_counter = counter;
    return 0;
}

int hv_bus_add(struct hv_bus *bus, uint64_t address, uint64_t size, const char *name,
               unsigned int flags, const struct hv_bus_ops *ops, void *opaque)
{
    struct hv_bus_counter *counter = NULL;
    int error;

    if (bus->is_frozen) {
        return -EBUSY;
    }
    if (size == 0 || address > bus->limit || size - 1 > bus->limit - address) {
        return -EINVAL;
    }
    for (unsigned int i = 0; i < bus->region_count; i++) {
        if (hv_ranges_overlap(address, size, bus->regions[i].address, bus->regions[i].size)) {
            return -EEXIST;
        }
    }
    if (bus->region_count == HV_BUS_MAX_REGIONS) {
        return -ENOSPC;
    }
    if (!(flags & HV_BUS_COUNTED_BY_DEVICE)) {
        error = hv_bus_add_counter(bus, name, &counter);
        if (error < 0) {
            return error;
        }
    }
    bus->regions[bus->region_count++] = (struct region){
        .address = address,
        .size = size,
        .ops = ops,
        .opaque = opaque,
        .counter = counter,
    };
    return 0;
}

static int compare_regions(const void *a, const void *b)
{
    const struct region *first = a, *second = b;

    return first->address < second->address ? -1 : first->address > second->address;
}

void hv_bus_freeze(struct hv_bus *bus)
{
    qsort(bus->regions, bus->region_count, sizeof(bus->regions[0]), compare_regions);
    bus->is_frozen = true;
}

/* The region that holds the whole access, or NULL. */
static const struct region *look_up(const struct hv_bus *bus, uint64_t address, unsigned int size)
{
    unsigned int low = 0, high = bus->region_count;

    if (size == 1 || size == 2 || size == 4 || size == 8) {
        while (low < high) {
            unsigned int middle = low + (high - low) / 2;
            const struct region *region = &bus->regions[middle];

            if (address < region->address) {
                high = middle;
            } else if (address - region->address >= region->size) {
                low = middle + 1;
            } else if (hv_range_fits(address - region->address, size, region->size)) {
                return region;
            } else {
                break;
            }
        }
    }
    return NULL;
}

/* The same, counted as an exit. */
static const struct region *find(struct hv_bus *bus, uint64_t address, unsigned int size)
{
    const struct region *region = look_up(bus, address, size);

    if (!region) {
        hv_bus_counter_add(&bus->counters[0]);
    } else if (region->counter) {
        hv_bus_counter_add(region->counter);
    }
    return region;
}

static uint64_t size_mask(unsigned int size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

uint64_t hv_bus_read(struct hv_bus *bus, uint64_t address, unsigned int size)
{
    const struct region *region = find(bus, address, size);
    uint64_t value = UINT64_MAX;

    if (region) {
        value = region->ops->read(region->opaque, address - region->address, size);
    }
    return value & size_mask(size);
}

static void write_to(const struct region *region, uint64_t address, unsigned int size,
                     uint64_t value)
{
    if (region) {
        region->ops->write(region->opaque, address - region->address, size,
                           value & size_mask(size));
    }
}

void hv_bus_write(struct hv_bus *bus, uint64_t address, unsigned int size, uint64_t value)
{
    write_to(find(bus, address, size), address, size, value);
}

void hv_bus_write_late(struct hv_bus *bus, uint64_t address, unsigned int size, uint64_t value)
{
    write_to(look_up(bus, address, size), address, size, value);
}

size_t hv_bus_exit_counts(const struct hv_bus *bus, struct hv_exit_count *rows, size_t capacity)
{
    for (unsigned int i = 0; i < bus->counter_count && i < capacity; i++) {
        memcpy(rows[i].name, bus->counters[i].name, sizeof(rows[i].name));
        rows[i].count = atomic_load_explicit(&bus->counters[i].accesses, memory_order_relaxed);
    }
    return bus->counter_count;
}
