/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PL011's registers (ARM DDI 0183, "PrimeCell UART (PL011) Technical Reference Manual") and its
 * interrupt.
 *
 * All state is under one lock, because any vCPU may touch a register while the main loop brings
 * input. What an access causes outside (an interrupt edge, an invitation for more input) is noted
 * under the lock and done after it.
 *
 * UARTEN, TXE and RXE are stored and not enforced: early consoles write without setting them, since
 * firmware is expected to have done so.
 */
#include "hypervisor/devices/pl011.h"

#include <pthread.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"

enum {
    REGISTER_DR = 0x000,
    REGISTER_RSR = 0x004,
    REGISTER_FR = 0x018,
    REGISTER_ILPR = 0x020,
    REGISTER_IBRD = 0x024,
    REGISTER_FBRD = 0x028,
    REGISTER_LCR_H = 0x02c,
    REGISTER_CR = 0x030,
    REGISTER_IFLS = 0x034,
    REGISTER_IMSC = 0x038,
    REGISTER_RIS = 0x03c,
    REGISTER_MIS = 0x040,
    REGISTER_ICR = 0x044,
    REGISTER_ID = 0xfe0, /* eight registers of one byte each */
};

#define DR_BREAK  0x400
#define RSR_BREAK 0x4

#define FR_CTS            0x001
#define FR_DSR            0x002
#define FR_DCD            0x004
#define FR_RECEIVE_EMPTY  0x010
#define FR_RECEIVE_FULL   0x040
#define FR_TRANSMIT_EMPTY 0x080

#define LCR_H_FIFOS_ENABLED 0x10
#define LCR_H_MASK          0xff

/* All defined bits but loopback (7) and infrared (1, 2). */
#define CR_MASK     0xff01
#define CR_POWER_ON 0x0300

#define IFLS_MASK          0x3f
#define IFLS_POWER_ON      0x12
#define IFLS_RECEIVE_SHIFT 3

#define INTERRUPT_RECEIVE         0x010
#define INTERRUPT_TRANSMIT        0x020
#define INTERRUPT_RECEIVE_TIMEOUT 0x040
#define INTERRUPT_BREAK           0x200
#define INTERRUPT_MASK            0x7ff

#define FIFO_DEPTH 32u

struct hv_pl011 {
    struct hv_pl011_config config;      /* const */
    struct hv_bus_counter *setup_count; /* const after attach */
    struct hv_bus_counter *data_count;  /* const after attach */

    pthread_mutex_t lock; /* a leaf lock; all below is under it */
    struct hv_console_port port;
    uint32_t ilpr, ibrd, fbrd, lcr_h, cr, ifls, imsc, rsr;
    bool is_break_pending;    /* a break came and nobody cleared the interrupt */
    bool is_transmit_pending; /* the FIFO has run empty and nobody cleared the interrupt */
    uint32_t last_status;     /* masked, after the last change */
    bool is_edge_due;
    bool is_in_transfer; /* the last access moved data, or polled FR on its behalf */
};

static unsigned int fifo_depth(const struct hv_pl011 *uart)
{
    return uart->lcr_h & LCR_H_FIFOS_ENABLED ? FIFO_DEPTH : 1;
}

/* How many bytes must wait for the receive interrupt. */
static unsigned int receive_threshold(const struct hv_pl011 *uart)
{
    /* One, two, four, six and seven eighths; the rest is reserved. */
    static const uint8_t eighths[8] = {1, 2, 4, 6, 7, 7, 7, 7};

    if (!(uart->lcr_h & LCR_H_FIFOS_ENABLED)) {
        return 1;
    }
    return FIFO_DEPTH / 8 * eighths[uart->ifls >> IFLS_RECEIVE_SHIFT & 7];
}

/*
 * The receive interrupts follow the queue: whatever waits is late at once, so the time-out is
 * pending as long as there is a byte, and clearing it has no effect.
 */
static uint32_t raw_status(const struct hv_pl011 *uart)
{
    size_t waiting = hv_console_port_waiting(&uart->port);
    uint32_t status = 0;

    if (waiting) {
        status |= INTERRUPT_RECEIVE_TIMEOUT;
    }
    if (waiting >= receive_threshold(uart)) {
        status |= INTERRUPT_RECEIVE;
    }
    if (uart->is_transmit_pending) {
        status |= INTERRUPT_TRANSMIT;
    }
    if (uart->is_break_pending) {
        status |= INTERRUPT_BREAK;
    }
    return status;
}

/*
 * To be called after every change. @events: interrupts that have happened just now, even if their
 * bits were set before.
 */
static void update_line(struct hv_pl011 *uart, uint32_t events)
{
    uint32_t status = raw_status(uart) & uart->imsc;

    if (status && (!uart->last_status || (status & events))) {
        uart->is_edge_due = true;
    }
    uart->last_status = status;
}

/* Lets go of the lock, then does what became due under it. */
static void unlock_and_signal(struct hv_pl011 *uart)
{
    bool must_raise = uart->is_edge_due;
    bool must_invite = hv_console_port_take_invitation(&uart->port);

    uart->is_edge_due = false;
    pthread_mutex_unlock(&uart->lock);
    if (must_raise) {
        uart->config.raise_interrupt(uart->config.interrupt_opaque);
    }
    if (must_invite) {
        hv_console_port_invite(&uart->port);
    }
}

/*
 * The guest's console bytes and the polls that go with them are counted apart from the driver's
 * set-up: the first depend on how much the guest says, the second on how it boots.
 */
static void count_access(struct hv_pl011 *uart, uint64_t offset)
{
    if (offset == REGISTER_DR) {
        uart->is_in_transfer = true;
    } else if (offset != REGISTER_FR) {
        uart->is_in_transfer = false;
    }
    hv_bus_counter_add(uart->is_in_transfer ? uart->data_count : uart->setup_count);
}

static uint32_t read_data(struct hv_pl011 *uart)
{
    bool is_break = hv_console_port_is_at_break(&uart->port);
    uint8_t byte = 0;

    hv_console_port_pop(&uart->port, &byte);
    uart->rsr = is_break ? RSR_BREAK : 0;
    update_line(uart, 0);
    return byte | (is_break ? DR_BREAK : 0); /* the other errors of a line do not happen */
}

static uint32_t flags(const struct hv_pl011 *uart)
{
    size_t waiting = hv_console_port_waiting(&uart->port);
    uint32_t value = FR_CTS | FR_DSR | FR_DCD | FR_TRANSMIT_EMPTY;

    if (!waiting) {
        value |= FR_RECEIVE_EMPTY;
    }
    if (waiting >= fifo_depth(uart)) {
        value |= FR_RECEIVE_FULL;
    }
    return value;
}

static uint32_t read_id(uint64_t offset)
{
    /* Part 0x011, designer ARM, revision 3 (the one with FIFOs of 32 bytes); PrimeCell. */
    static const uint8_t id[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    return id[(offset - REGISTER_ID) / 4];
}

static uint32_t read_register(struct hv_pl011 *uart, uint64_t offset)
{
    switch (offset) {
    case REGISTER_DR: return read_data(uart);
    case REGISTER_RSR: return uart->rsr;
    case REGISTER_FR: return flags(uart);
    case REGISTER_ILPR: return uart->ilpr;
    case REGISTER_IBRD: return uart->ibrd;
    case REGISTER_FBRD: return uart->fbrd;
    case REGISTER_LCR_H: return uart->lcr_h;
    case REGISTER_CR: return uart->cr;
    case REGISTER_IFLS: return uart->ifls;
    case REGISTER_IMSC: return uart->imsc;
    case REGISTER_RIS: return raw_status(uart);
    case REGISTER_MIS: return raw_status(uart) & uart->imsc;
    default: return offset >= REGISTER_ID ? read_id(offset) : 0;
    }
}

static void write_data(struct hv_pl011 *uart, uint8_t byte)
{
    hv_console_port_output(&uart->port, &byte, 1);
    /* Sent already, so the FIFO has run empty anew. */
    uart->is_transmit_pending = true;
    update_line(uart, INTERRUPT_TRANSMIT);
}

static void write_register(struct hv_pl011 *uart, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REGISTER_DR: write_data(uart, (uint8_t)value); break;
    case REGISTER_RSR: uart->rsr = 0; break;
    case REGISTER_ILPR: uart->ilpr = value & 0xff; break;
    case REGISTER_IBRD: uart->ibrd = value & 0xffff; break;
    case REGISTER_FBRD: uart->fbrd = value & 0x3f; break;
    case REGISTER_LCR_H:
        uart->lcr_h = value & LCR_H_MASK;
        update_line(uart, 0);
        break;
    case REGISTER_CR: uart->cr = value & CR_MASK; break;
    case REGISTER_IFLS:
        uart->ifls = value & IFLS_MASK;
        update_line(uart, 0);
        break;
    case REGISTER_IMSC:
        uart->imsc = value & INTERRUPT_MASK;
        update_line(uart, INTERRUPT_MASK);
        break;
    case REGISTER_ICR:
        if (value & INTERRUPT_TRANSMIT) {
            uart->is_transmit_pending = false;
        }
        if (value & INTERRUPT_BREAK) {
            uart->is_break_pending = false;
        }
        update_line(uart, 0);
        break;
    default: break; /* DMACR is not there; the rest is read-only. */
    }
}

/* Registers are four bytes apart; an access between them reads zero and does nothing. */
static uint64_t bus_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct hv_pl011 *uart = opaque;
    uint32_t value = 0;

    pthread_mutex_lock(&uart->lock);
    count_access(uart, offset);
    if (hv_is_aligned(offset, 4)) {
        value = read_register(uart, offset);
    }
    unlock_and_signal(uart);
    return value;
}

static void bus_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_pl011 *uart = opaque;

    pthread_mutex_lock(&uart->lock);
    count_access(uart, offset);
    if (hv_is_aligned(offset, 4)) {
        write_register(uart, offset, (uint32_t)value);
    }
    unlock_and_signal(uart);
}

static const struct hv_bus_ops bus_ops = {
    .read = bus_read,
    .write = bus_write,
};

static void power_on(struct hv_pl011 *uart)
{
    uart->ilpr = 0;
    uart->ibrd = 0;
    uart->fbrd = 0;
    uart->lcr_h = 0;
    uart->cr = CR_POWER_ON;
    uart->ifls = IFLS_POWER_ON;
    uart->imsc = 0;
    uart->rsr = 0;
    uart->is_break_pending = false;
    uart->is_transmit_pending = false;
    uart->last_status = 0;
    uart->is_edge_due = false;
    uart->is_in_transfer = false;
}

int hv_pl011_create(const struct hv_pl011_config *config, struct hv_pl011 **ret_uart)
{
    struct hv_pl011 *uart = calloc(1, sizeof(*uart));

    if (!uart) {
        return -ENOMEM;
    }
    uart->config = *config;
    pthread_mutex_init(&uart->lock, NULL);
    hv_console_port_init(&uart->port, config->loop, &config->sink);
    power_on(uart);
    *ret_uart = uart;
    return 0;
}

void hv_pl011_destroy(struct hv_pl011 *uart)
{
    if (!uart) {
        return;
    }
    hv_console_port_fini(&uart->port);
    pthread_mutex_destroy(&uart->lock);
    free(uart);
}

int hv_pl011_attach(struct hv_pl011 *uart, struct hv_bus *bus, uint64_t address)
{
    int error = hv_bus_add_counter(bus, "serial", &uart->setup_count);

    if (error < 0) {
        return error;
    }
    error = hv_bus_add_counter(bus, "serial-data", &uart->data_count);
    if (error < 0) {
        return error;
    }
    return hv_bus_add(bus, address, HV_PL011_SIZE, "serial", HV_BUS_COUNTED_BY_DEVICE, &bus_ops,
                      uart);
}

void hv_pl011_reset(struct hv_pl011 *uart)
{
    pthread_mutex_lock(&uart->lock);
    power_on(uart);
    hv_console_port_reset(&uart->port);
    unlock_and_signal(uart);
}

size_t hv_pl011_input(struct hv_pl011 *uart, const uint8_t *data, size_t length)
{
    size_t taken;

    pthread_mutex_lock(&uart->lock);
    taken = hv_console_port_push(&uart->port, data, length);
    update_line(uart, taken ? INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT : 0);
    unlock_and_signal(uart);
    return taken;
}

int hv_pl011_break(struct hv_pl011 *uart)
{
    int r;

    pthread_mutex_lock(&uart->lock);
    r = hv_console_port_push_break(&uart->port);
    if (r == 0) {
        uart->is_break_pending = true;
        update_line(uart, INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT | INTERRUPT_BREAK);
    }
    unlock_and_signal(uart);
    return r;
}
