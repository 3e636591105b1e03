/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who answers at which port and at which guest-physical address.
 *
 * One struct hv_bus holds one address space (memory-mapped, or x86 ports). Regions are added while
 * the machine is built; hv_bus_freeze() sorts them; after that nothing changes for the life of the
 * machine, so vCPU threads look up by binary search without a lock. What a guest may move (PCI
 * BARs) does not appear here: the bus holds the whole window, and the host bridge finds the BAR in
 * a table of its own that it replaces atomically.
 *
 * Accesses are 1, 2, 4 or 8 bytes as KVM delivers them. One that no region covers wholly reads as
 * all ones, its write is dropped, and it counts as "unassigned-…". A region sees only accesses that
 * fit into it; which of those make sense is for its ops to say.
 *
 * Every access is counted under the name of its region. Regions of the same name share a counter.
 * A device that wants a finer split takes counters of its own and is flagged so.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_bus;
struct hv_exit_count;

struct hv_bus_counter {
    char name[24];                 /* const */
    atomic_uint_fast64_t accesses; /* atomic */
};

static inline void hv_bus_counter_add(struct hv_bus_counter *counter)
{
    atomic_fetch_add_explicit(&counter->accesses, 1, memory_order_relaxed);
}

/* On a vCPU thread, several at once: the device locks. @offset + @size fits into the region. */
struct hv_bus_ops {
    /* The value, in the low @size bytes. */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned int size);
    void (*write)(void *opaque, uint64_t offset, unsigned int size, uint64_t value);
};

/* The device adds to counters of hv_bus_add_counter() itself. */
#define HV_BUS_COUNTED_BY_DEVICE (1u << 0)

#define HV_BUS_MAX_REGIONS  64u
#define HV_BUS_MAX_COUNTERS 64u

/* @limit: the last address of the space. @unassigned: the name of the counter for holes. */
int hv_bus_create(uint64_t limit, const char *unassigned, struct hv_bus **ret_bus);
/* Accepts NULL. */
void hv_bus_destroy(struct hv_bus *bus);

/*
 * -EINVAL: empty, or beyond the limit; -EEXIST: overlaps a region; -ENOSPC: too many; -EBUSY:
 * frozen. @ops must be static, @opaque must live until the machine has stopped. @name is copied
 * and at most 23 bytes long.
 */
int hv_bus_add(struct hv_bus *bus, uint64_t address, uint64_t size, const char *name,
               unsigned int flags, const struct hv_bus_ops *ops, void *opaque);
/* The counter called @name, made if need be. Valid as long as the bus. */
int hv_bus_add_counter(struct hv_bus *bus, const char *name, struct hv_bus_counter **ret_counter);
/* No more regions. Before the first hv_bus_read() or hv_bus_write(). */
void hv_bus_freeze(struct hv_bus *bus);

/* Any vCPU thread. @size 1, 2, 4 or 8; another size counts as unassigned. */
uint64_t hv_bus_read(struct hv_bus *bus, uint64_t address, unsigned int size);
void hv_bus_write(struct hv_bus *bus, uint64_t address, unsigned int size, uint64_t value);

/* As hv_bus_write(), of a write that was no exit of its own: not counted. */
void hv_bus_write_late(struct hv_bus *bus, uint64_t address, unsigned int size, uint64_t value);

/* As hv_machine_exit_counts(): fills at most @capacity rows, returns how many there are. */
size_t hv_bus_exit_counts(const struct hv_bus *bus, struct hv_exit_count *rows, size_t capacity);
