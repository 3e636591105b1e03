/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus: which region answers, which access belongs to nobody, what is counted. A region of the
 * test notes the access that reached it.
 */
#include <pthread.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/machine/machine.h"
#include "tests/hypervisor/tap.h"

struct recorder {
    unsigned int reads, writes;
    uint64_t offset;
    unsigned int size;
    uint64_t value;
};

static uint64_t record_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct recorder *recorder = opaque;

    recorder->reads++;
    recorder->offset = offset;
    recorder->size = size;
    /* More than was asked for: the bus cuts it. */
    return UINT64_C(0x8877665544332211);
}

static void record_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct recorder *recorder = opaque;

    recorder->writes++;
    recorder->offset = offset;
    recorder->size = size;
    recorder->value = value;
}

static const struct hv_bus_ops recorder_ops = {
    .read = record_read,
    .write = record_write,
};

static struct hv_bus *new_bus(uint64_t limit)
{
    struct hv_bus *bus;

    if (hv_bus_create(limit, "unassigned", &bus) < 0) {
        tap_bail("no bus");
    }
    return bus;
}

static int add(struct hv_bus *bus, uint64_t address, uint64_t size, const char *name, void *opaque)
{
    return hv_bus_add(bus, address, size, name, 0, &recorder_ops, opaque);
}

static uint64_t count_of(const struct hv_bus *bus, const char *name)
{
    struct hv_exit_count rows[HV_BUS_MAX_COUNTERS];
    size_t count = hv_bus_exit_counts(bus, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].count;
        }
    }
    return UINT64_MAX;
}

/* --- what may be added ------------------------------------------------------------------------- */

static void test_add(void)
{
    struct hv_bus *bus = new_bus(UINT16_MAX);
    struct recorder recorder = {0};
    struct hv_bus_counter *counter = NULL, *same = NULL;

    tap_is(add(bus, 0x100, 0, "empty", &recorder), -EINVAL, "an empty region");
    tap_is(add(bus, 0x10000, 1, "beyond", &recorder), -EINVAL, "behind the limit");
    tap_is(add(bus, 0xffff, 2, "across", &recorder), -EINVAL, "across the limit");
    tap_is(add(bus, 1, UINT64_MAX, "wraps", &recorder), -EINVAL, "a sum that wraps");
    tap_is(add(bus, UINT64_MAX, UINT64_MAX, "wraps", &recorder), -EINVAL, "… twice");
    tap_is(add(bus, 0xffff, 1, "last", &recorder), 0, "the last address");
    tap_is(add(bus, 0x100, 0x10, "middle", &recorder), 0, "a region");
    tap_is(add(bus, 0x100, 0x10, "same", &recorder), -EEXIST, "the same place");
    tap_is(add(bus, 0x10f, 1, "inside", &recorder), -EEXIST, "its last byte");
    tap_is(add(bus, 0xff, 2, "left", &recorder), -EEXIST, "one byte over its left end");
    tap_is(add(bus, 0x10f, 2, "right", &recorder), -EEXIST, "one byte over its right end");
    tap_is(add(bus, 0, 0x10000, "around", &recorder), -EEXIST, "all around it");
    tap_is(add(bus, 0xff, 1, "before", &recorder), 0, "right before it");
    tap_is(add(bus, 0x110, 1, "behind", &recorder), 0, "right behind it");
    tap_is(add(bus, 0x200, 1, "a-name-of-23-characters", &recorder), 0, "the longest name");
    tap_is(add(bus, 0x201, 1, "a-name-of-24-characters!", &recorder), -EINVAL, "a longer one");
    tap_is(count_of(bus, "inside"), UINT64_MAX, "a refused region leaves no counter");

    tap_is(hv_bus_add_counter(bus, "own", &counter), 0, "a counter of a device");
    tap_ok(hv_bus_add_counter(bus, "own", &same) == 0 && same == counter, "… asked for again");
    hv_bus_freeze(bus);
    tap_is(add(bus, 0x300, 1, "late", &recorder), -EBUSY, "nothing is added to a frozen bus");
    tap_is(hv_bus_add_counter(bus, "late", &counter), -EBUSY, "… no counter either");
    tap_ok(hv_bus_add_counter(bus, "own", &same) == 0 && same == counter,
           "… but what is there is found");
    hv_bus_destroy(bus);
    hv_bus_destroy(NULL);
}

static void test_whole_space(void)
{
    struct hv_bus *bus = new_bus(UINT64_MAX);
    struct recorder low = {0}, high = {0};

    tap_is(add(bus, 0, UINT64_MAX, "low", &low), 0, "all of the space but its last byte");
    tap_is(add(bus, UINT64_MAX, 1, "high", &high), 0, "… and that");
    tap_is(add(bus, UINT64_MAX, 1, "again", &high), -EEXIST, "… once");
    hv_bus_freeze(bus);
    hv_bus_write(bus, UINT64_MAX, 1, 0x1ff);
    tap_ok(high.writes == 1 && high.offset == 0 && high.value == 0xff, "the last byte is written");
    hv_bus_write(bus, UINT64_MAX - 4, 4, 1);
    tap_ok(low.writes == 1 && low.offset == UINT64_MAX - 4, "the four before it");
    hv_bus_write(bus, UINT64_MAX - 3, 4, 1);
    hv_bus_write(bus, UINT64_MAX, 8, 1);
    tap_ok(low.writes == 1 && high.writes == 1, "an access over the end reaches nobody");
    hv_bus_destroy(bus);
}

static void test_limits(void)
{
    struct hv_bus *bus = new_bus(UINT64_MAX);
    struct recorder recorder = {0};
    struct hv_bus_counter *counter;
    unsigned int count = 0;
    int error = 0;
    char name[24];

    while (error == 0 && count <= HV_BUS_MAX_REGIONS) {
        /* Downwards, so that freezing has something to sort. */
        error = add(bus, (HV_BUS_MAX_REGIONS + 1 - count) * 16, 16, "many", &recorder);
        count += error == 0;
    }
    tap_is(error, -ENOSPC, "the number of regions is limited");
    tap_is(count, HV_BUS_MAX_REGIONS, "… to what the header says");
    hv_bus_freeze(bus);
    for (unsigned int i = 0; i < HV_BUS_MAX_REGIONS; i++) {
        hv_bus_write(bus, (i + 2) * 16 + 3, 1, 0);
    }
    tap_is(recorder.writes, HV_BUS_MAX_REGIONS, "each of them is found");
    tap_is(count_of(bus, "many"), HV_BUS_MAX_REGIONS, "regions of one name share a counter");
    hv_bus_destroy(bus);

    bus = new_bus(UINT64_MAX);
    error = 0;
    for (count = 1; error == 0 && count <= HV_BUS_MAX_COUNTERS; count++) {
        snprintf(name, sizeof(name), "counter-%u", count);
        error = hv_bus_add_counter(bus, name, &counter);
    }
    tap_is(error, -ENOSPC, "the number of counters is limited");
    tap_is(count - 1, HV_BUS_MAX_COUNTERS, "… the one for holes included");
    tap_is(add(bus, 0, 1, "one-more", &recorder), -ENOSPC, "a region that needs one more");
    tap_is(add(bus, 0, 1, "counter-1", &recorder), 0, "… and one that shares one");
    hv_bus_destroy(bus);
}

/* --- who answers ------------------------------------------------------------------------------- */

/*
 * Three regions, with a hole of four bytes, then without one: every access of every size at every
 * address around them, against a plain search.
 */
static void test_every_access(void)
{
    static const struct {
        uint64_t address, size;
    } places[] = {{0x40, 8}, {0x4c, 4}, {0x50, 3}};
    static const unsigned int sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 255};
    struct recorder recorders[HV_ARRAY_SIZE(places)] = {0};
    struct hv_bus *bus = new_bus(UINT16_MAX);
    unsigned int wrong = 0, unassigned = 0, total = 0;

    for (size_t i = HV_ARRAY_SIZE(places); i-- > 0;) {
        add(bus, places[i].address, places[i].size, i ? "other" : "first", &recorders[i]);
    }
    hv_bus_freeze(bus);
    for (uint64_t address = 0x38; address < 0x60; address++) {
        for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
            unsigned int size = sizes[i];
            bool is_valid = size == 1 || size == 2 || size == 4 || size == 8;
            struct recorder *expected = NULL;
            uint64_t offset = 0, ones, value;

            memset(recorders, 0, sizeof(recorders));
            for (size_t at = 0; is_valid && at < HV_ARRAY_SIZE(places); at++) {
                if (address >= places[at].address &&
                    address + size <= places[at].address + places[at].size) {
                    expected = &recorders[at];
                    offset = address - places[at].address;
                }
            }
            ones = size >= 8 ? UINT64_MAX : ((uint64_t)1 << size * 8) - 1;
            value = hv_bus_read(bus, address, size);
            hv_bus_write(bus, address, size, UINT64_C(0xa1a2a3a4a5a6a7a8));
            total += 2;
            unassigned += expected ? 0 : 2;
            for (size_t at = 0; at < HV_ARRAY_SIZE(places); at++) {
                const struct recorder *each = &recorders[at];

                if (each->reads != (each == expected) || each->writes != (each == expected) ||
                    (each == expected && (each->offset != offset || each->size != size ||
                                          each->value != (UINT64_C(0xa1a2a3a4a5a6a7a8) & ones)))) {
                    wrong++;
                }
            }
            wrong += value != (expected ? UINT64_C(0x8877665544332211) & ones : ones);
        }
    }
    tap_is(wrong, 0, "%u accesses reach the region that holds them, or nobody", total);
    tap_is(count_of(bus, "unassigned"), unassigned, "… those of nobody are counted so");
    tap_is(count_of(bus, "first") + count_of(bus, "other"), total - unassigned,
           "… the others under the name of their region");
    hv_bus_destroy(bus);
}

/* --- counting ---------------------------------------------------------------------------------- */

static void test_counters(void)
{
    struct hv_bus *bus = new_bus(UINT16_MAX);
    struct recorder recorder = {0};
    struct hv_exit_count rows[4];
    struct hv_bus_counter *counter;

    memset(rows, 'x', sizeof(rows));
    add(bus, 0, 4, "counted", &recorder);
    hv_bus_add_counter(bus, "by-hand", &counter);
    tap_is(hv_bus_add(bus, 8, 4, "not-used", HV_BUS_COUNTED_BY_DEVICE, &recorder_ops, &recorder), 0,
           "a region whose device counts");
    hv_bus_freeze(bus);
    tap_is(hv_bus_exit_counts(bus, NULL, 0), 3, "three counters: holes, one region, one by hand");
    tap_is(hv_bus_exit_counts(bus, rows, 1), 3, "… also when there is room for one");
    tap_ok(strcmp(rows[0].name, "unassigned") == 0 && rows[0].count == 0, "… which is the first");
    tap_is(rows[1].name[0], 'x', "… and nothing is written behind it");

    hv_bus_read(bus, 0, 4);
    hv_bus_write(bus, 0, 1, 0);
    hv_bus_write_late(bus, 0, 2, 0x12345);
    tap_is(recorder.writes, 2, "a late write reaches the region");
    tap_is(recorder.value, 0x2345, "… cut to its size");
    tap_is(count_of(bus, "counted"), 2, "… but was no exit of its own");
    hv_bus_write_late(bus, 4, 4, 0);
    hv_bus_write_late(bus, 0, 3, 0);
    tap_is(recorder.writes, 2, "a late write to nobody is dropped");
    tap_is(count_of(bus, "unassigned"), 0, "… and not counted either");
    hv_bus_write(bus, 8, 4, 0);
    tap_is(recorder.writes, 3, "the device that counts is reached");
    tap_is(count_of(bus, "by-hand"), 0, "… and the bus leaves counting to it");
    tap_is(count_of(bus, "not-used"), UINT64_MAX, "… the name of its region stands for nothing");
    hv_bus_counter_add(counter);
    tap_is(count_of(bus, "by-hand"), 1, "… which it does");
    hv_bus_destroy(bus);
}

#define ACCESSES_PER_THREAD 50000u

static uint64_t read_nothing(void *opaque, uint64_t offset, unsigned int size)
{
    return 0;
}

static void write_nothing(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
}

static const struct hv_bus_ops null_ops = {
    .read = read_nothing,
    .write = write_nothing,
};

static void *access_often(void *opaque)
{
    struct hv_bus *bus = opaque;

    for (unsigned int i = 0; i < ACCESSES_PER_THREAD; i++) {
        hv_bus_read(bus, 0x10, 4);
        hv_bus_write(bus, 0x20, 1, i);
    }
    return NULL;
}

static void test_threads(void)
{
    struct hv_bus *bus = new_bus(UINT16_MAX);
    pthread_t threads[4];

    hv_bus_add(bus, 0x10, 4, "null", 0, &null_ops, NULL);
    hv_bus_freeze(bus);
    for (size_t i = 0; i < HV_ARRAY_SIZE(threads); i++) {
        if (pthread_create(&threads[i], NULL, access_often, bus)) {
            tap_bail("no thread");
        }
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    tap_is(count_of(bus, "null"), HV_ARRAY_SIZE(threads) * ACCESSES_PER_THREAD,
           "no access of four threads is lost");
    tap_is(count_of(bus, "unassigned"), HV_ARRAY_SIZE(threads) * ACCESSES_PER_THREAD,
           "… nor one to nobody");
    hv_bus_destroy(bus);
}

int main(void)
{
    test_add();
    test_whole_space();
    test_limits();
    test_every_access();
    test_counters();
    test_threads();
    return tap_done();
}
