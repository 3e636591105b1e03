/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PL061's registers (ARM DDI 0190, "PrimeCell General Purpose Input/Output (PL061)") and its
 * interrupt.
 *
 * The data register fills the first 1 KiB: bits 9:2 of the address select the pins that an access
 * means. All state is under one lock; interrupt edges are raised after it.
 */
#include "hypervisor/devices/pl061.h"

#include <pthread.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"

enum {
    REGISTER_DATA_END = 0x400,
    REGISTER_DIR = 0x400,
    REGISTER_IS = 0x404,
    REGISTER_IBE = 0x408,
    REGISTER_IEV = 0x40c,
    REGISTER_IE = 0x410,
    REGISTER_RIS = 0x414,
    REGISTER_MIS = 0x418,
    REGISTER_IC = 0x41c,
    REGISTER_AFSEL = 0x420,
    REGISTER_ID = 0xfe0, /* eight registers of one byte each */
};

struct hv_pl061 {
    struct hv_pl061_config config; /* const */

    pthread_mutex_t lock;  /* a leaf lock; all below is under it, a bit for each pin */
    uint8_t inputs;        /* what we drive */
    uint8_t outputs;       /* what the guest drives, where direction says so */
    uint8_t direction;     /* 1: output */
    uint8_t is_level;      /* 1: the level interrupts, not an edge */
    uint8_t is_both_edges; /* 1: both edges do */
    uint8_t is_rising;     /* 1: rising edge or high level */
    uint8_t enabled;
    uint8_t alternate;   /* a register that keeps its value; there is no other function */
    uint8_t edges;       /* edges that wait to be acknowledged */
    uint8_t last_status; /* masked, after the last change */
    bool is_edge_due;
};

static uint8_t pins(const struct hv_pl061 *gpio)
{
    return (uint8_t)((gpio->inputs & ~gpio->direction) | (gpio->outputs & gpio->direction));
}

static uint8_t raw_status(const struct hv_pl061 *gpio)
{
    uint8_t levels = (uint8_t) ~(pins(gpio) ^ gpio->is_rising) & gpio->is_level;

    return (uint8_t)(levels | (gpio->edges & ~gpio->is_level));
}

/* To be called after every change; @is_acknowledge: the guest expects to be told what is left. */
static void update_line(struct hv_pl061 *gpio, bool is_acknowledge)
{
    uint8_t status = raw_status(gpio) & gpio->enabled;

    if (status & ~gpio->last_status || (is_acknowledge && status)) {
        gpio->is_edge_due = true;
    }
    gpio->last_status = status;
}

static void unlock_and_signal(struct hv_pl061 *gpio)
{
    bool must_raise = gpio->is_edge_due;

    gpio->is_edge_due = false;
    pthread_mutex_unlock(&gpio->lock);
    if (must_raise) {
        gpio->config.raise_interrupt(gpio->config.interrupt_opaque);
    }
}

/* Notes the edges between @before, the pins as they were, and now. */
static void note_edges(struct hv_pl061 *gpio, uint8_t before)
{
    uint8_t after = pins(gpio);
    uint8_t changed = before ^ after;

    gpio->edges |= changed & (gpio->is_both_edges | (uint8_t) ~(after ^ gpio->is_rising));
    update_line(gpio, false);
}

static uint8_t read_pins(struct hv_pl061 *gpio, uint8_t mask)
{
    uint8_t value = pins(gpio);

    /* Seen: what was held is let go. */
    gpio->inputs &= (uint8_t)~mask;
    note_edges(gpio, value);
    return value & mask;
}

static void write_pins(struct hv_pl061 *gpio, uint8_t mask, uint8_t value)
{
    uint8_t before = pins(gpio);

    gpio->outputs = (uint8_t)((gpio->outputs & ~mask) | (value & mask));
    note_edges(gpio, before);
}

static uint8_t read_id(uint64_t offset)
{
    /* Part 0x061, designer ARM, revision 0; PrimeCell. */
    static const uint8_t id[8] = {0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    return id[(offset - REGISTER_ID) / 4];
}

static uint8_t read_register(struct hv_pl061 *gpio, uint64_t offset)
{
    if (offset < REGISTER_DATA_END) {
        return read_pins(gpio, (uint8_t)(offset >> 2));
    }
    switch (offset) {
    case REGISTER_DIR: return gpio->direction;
    case REGISTER_IS: return gpio->is_level;
    case REGISTER_IBE: return gpio->is_both_edges;
    case REGISTER_IEV: return gpio->is_rising;
    case REGISTER_IE: return gpio->enabled;
    case REGISTER_RIS: return raw_status(gpio);
    case REGISTER_MIS: return raw_status(gpio) & gpio->enabled;
    case REGISTER_AFSEL: return gpio->alternate;
    default: return offset >= REGISTER_ID ? read_id(offset) : 0;
    }
}

static void write_direction(struct hv_pl061 *gpio, uint8_t value)
{
    uint8_t before = pins(gpio);

    gpio->direction = value;
    note_edges(gpio, before);
}

static void write_register(struct hv_pl061 *gpio, uint64_t offset, uint8_t value)
{
    if (offset < REGISTER_DATA_END) {
        write_pins(gpio, (uint8_t)(offset >> 2), value);
        return;
    }
    switch (offset) {
    case REGISTER_DIR: write_direction(gpio, value); return;
    case REGISTER_IS: gpio->is_level = value; break;
    case REGISTER_IBE: gpio->is_both_edges = value; break;
    case REGISTER_IEV: gpio->is_rising = value; break;
    case REGISTER_IE: gpio->enabled = value; break;
    case REGISTER_IC:
        gpio->edges &= (uint8_t)~value;
        update_line(gpio, true);
        return;
    case REGISTER_AFSEL: gpio->alternate = value; break;
    default: break; /* read-only, or nothing */
    }
    update_line(gpio, false);
}

/* Registers are four bytes apart; an access between them reads zero and does nothing. */
static uint64_t bus_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct hv_pl061 *gpio = opaque;
    uint8_t value;

    if (!hv_is_aligned(offset, 4)) {
        return 0;
    }
    pthread_mutex_lock(&gpio->lock);
    value = read_register(gpio, offset);
    unlock_and_signal(gpio);
    return value;
}

static void bus_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_pl061 *gpio = opaque;

    if (!hv_is_aligned(offset, 4)) {
        return;
    }
    pthread_mutex_lock(&gpio->lock);
    write_register(gpio, offset, (uint8_t)value);
    unlock_and_signal(gpio);
}

static const struct hv_bus_ops bus_ops = {
    .read = bus_read,
    .write = bus_write,
};

int hv_pl061_create(const struct hv_pl061_config *config, struct hv_pl061 **ret_gpio)
{
    struct hv_pl061 *gpio = calloc(1, sizeof(*gpio));

    if (!gpio) {
        return -ENOMEM;
    }
    gpio->config = *config;
    pthread_mutex_init(&gpio->lock, NULL);
    *ret_gpio = gpio;
    return 0;
}

void hv_pl061_destroy(struct hv_pl061 *gpio)
{
    if (!gpio) {
        return;
    }
    pthread_mutex_destroy(&gpio->lock);
    free(gpio);
}

int hv_pl061_attach(struct hv_pl061 *gpio, struct hv_bus *bus, uint64_t address)
{
    return hv_bus_add(bus, address, HV_PL061_SIZE, "gpio", 0, &bus_ops, gpio);
}

void hv_pl061_reset(struct hv_pl061 *gpio)
{
    pthread_mutex_lock(&gpio->lock);
    gpio->inputs = 0;
    gpio->outputs = 0;
    gpio->direction = 0;
    gpio->is_level = 0;
    gpio->is_both_edges = 0;
    gpio->is_rising = 0;
    gpio->enabled = 0;
    gpio->alternate = 0;
    gpio->edges = 0;
    gpio->last_status = 0;
    gpio->is_edge_due = false;
    pthread_mutex_unlock(&gpio->lock);
}

void hv_pl061_press(struct hv_pl061 *gpio, unsigned int pin)
{
    uint8_t before;

    pthread_mutex_lock(&gpio->lock);
    before = pins(gpio);
    gpio->inputs |= (uint8_t)(1u << pin);
    note_edges(gpio, before);
    unlock_and_signal(gpio);
}
