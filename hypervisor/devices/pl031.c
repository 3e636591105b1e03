/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The PL031's registers (ARM DDI 0224, "PrimeCell Real Time Clock (PL031)"), those that read. */
#include "hypervisor/devices/pl031.h"

#include <time.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"

enum {
    REGISTER_DR = 0x00,
    REGISTER_LR = 0x08,
    REGISTER_CR = 0x0c,
    REGISTER_ID = 0xfe0, /* eight registers of one byte each */
};

#define CR_STARTED 1u

struct hv_pl031 {
    uint64_t (*now)(void *opaque); /* const */
    void *opaque;                  /* const */
};

static uint64_t host_time(void *opaque)
{
    struct timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec;
}

static uint32_t read_id(uint64_t offset)
{
    /* Part 0x031, designer ARM, revision 0; PrimeCell. */
    static const uint8_t id[8] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    return id[(offset - REGISTER_ID) / 4];
}

static uint64_t bus_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct hv_pl031 *clock = opaque;

    if (!hv_is_aligned(offset, 4)) {
        return 0;
    }
    switch (offset) {
    case REGISTER_DR:
    case REGISTER_LR: return (uint32_t)clock->now(clock->opaque); /* 32 bits: until 2106 */
    case REGISTER_CR: return CR_STARTED;
    default: return offset >= REGISTER_ID ? read_id(offset) : 0;
    }
}

static void bus_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
}

static const struct hv_bus_ops bus_ops = {
    .read = bus_read,
    .write = bus_write,
};

int hv_pl031_create(uint64_t (*now)(void *opaque), void *opaque, struct hv_pl031 **ret_clock)
{
    struct hv_pl031 *clock = calloc(1, sizeof(*clock));

    if (!clock) {
        return -ENOMEM;
    }
    clock->now = now ? now : host_time;
    clock->opaque = opaque;
    *ret_clock = clock;
    return 0;
}

void hv_pl031_destroy(struct hv_pl031 *clock)
{
    free(clock);
}

int hv_pl031_attach(struct hv_pl031 *clock, struct hv_bus *bus, uint64_t address)
{
    return hv_bus_add(bus, address, HV_PL031_SIZE, "rtc", 0, &bus_ops, clock);
}
