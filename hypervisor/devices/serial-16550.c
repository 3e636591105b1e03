/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The 16550A's registers (National Semiconductor PC16550D data sheet) and its interrupt.
 *
 * All state is under one lock, because any vCPU may touch a register while the main loop brings
 * input. What an access causes outside (an interrupt edge, an invitation for more input) is noted
 * under the lock and done after it.
 */
#include "hypervisor/devices/serial-16550.h"

#include <pthread.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"

enum {
    REGISTER_DATA = 0, /* RBR, THR; DLL with DLAB */
    REGISTER_IER = 1,  /* DLM with DLAB */
    REGISTER_IIR = 2,  /* FCR when written */
    REGISTER_LCR = 3,
    REGISTER_MCR = 4,
    REGISTER_LSR = 5,
    REGISTER_MSR = 6,
    REGISTER_SCR = 7,
};

#define IER_RECEIVED_DATA     0x01
#define IER_TRANSMITTER_EMPTY 0x02
#define IER_LINE_STATUS       0x04
#define IER_MASK              0x0f

#define IIR_NONE              0x01
#define IIR_TRANSMITTER_EMPTY 0x02
#define IIR_RECEIVED_DATA     0x04
#define IIR_LINE_STATUS       0x06
#define IIR_FIFOS_ENABLED     0xc0

#define FCR_ENABLE         0x01
#define FCR_CLEAR_RECEIVER 0x02

#define LCR_DIVISOR_LATCH 0x80

#define MCR_DTR      0x01
#define MCR_RTS      0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08
#define MCR_LOOPBACK 0x10
#define MCR_MASK     0x1f

#define LSR_DATA_READY       0x01
#define LSR_BREAK            0x10
#define LSR_TRANSMITTER_IDLE 0x60 /* holding and shift register are empty */

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI  0x40
#define MSR_DCD 0x80

/* The divisor of 9600 baud at 1.8432 MHz. */
#define POWER_ON_DIVISOR 12

struct hv_serial_16550 {
    struct hv_serial_16550_config config; /* const */
    struct hv_bus_counter *setup_count;   /* const after attach */
    struct hv_bus_counter *data_count;    /* const after attach */

    pthread_mutex_t lock; /* a leaf lock; all below is under it */
    struct hv_console_port port;
    uint8_t ier, lcr, mcr, scr;
    uint16_t divisor;
    bool has_fifos;
    bool is_transmitter_pending; /* "transmitter empty" has not been seen in IIR yet */
    bool is_break_seen;          /* LSR has told of the break that is at the front */
    bool is_line_active;         /* IIR showed a cause after the last change */
    bool is_edge_due;
    bool is_in_transfer; /* the last access moved data, or polled LSR on its behalf */
};

/* The break bit goes with its byte, and reading LSR clears it. */
static bool is_break_shown(const struct hv_serial_16550 *serial)
{
    return hv_console_port_is_at_break(&serial->port) && !serial->is_break_seen;
}

static uint8_t interrupt_cause(const struct hv_serial_16550 *serial)
{
    if ((serial->ier & IER_LINE_STATUS) && is_break_shown(serial)) {
        return IIR_LINE_STATUS;
    }
    if ((serial->ier & IER_RECEIVED_DATA) && hv_console_port_waiting(&serial->port) > 0) {
        return IIR_RECEIVED_DATA;
    }
    if ((serial->ier & IER_TRANSMITTER_EMPTY) && serial->is_transmitter_pending) {
        return IIR_TRANSMITTER_EMPTY;
    }
    return IIR_NONE;
}

/* To be called after every change that may bring or take a cause. */
static void update_line(struct hv_serial_16550 *serial)
{
    bool is_active = interrupt_cause(serial) != IIR_NONE;

    if (is_active && !serial->is_line_active) {
        serial->is_edge_due = true;
    }
    serial->is_line_active = is_active;
}

/* Lets go of the lock, then does what became due under it. */
static void unlock_and_signal(struct hv_serial_16550 *serial)
{
    bool must_raise = serial->is_edge_due;
    bool must_invite = hv_console_port_take_invitation(&serial->port);

    serial->is_edge_due = false;
    pthread_mutex_unlock(&serial->lock);
    if (must_raise) {
        serial->config.raise_interrupt(serial->config.interrupt_opaque);
    }
    if (must_invite) {
        hv_console_port_invite(&serial->port);
    }
}

static bool is_divisor_selected(const struct hv_serial_16550 *serial)
{
    return serial->lcr & LCR_DIVISOR_LATCH;
}

/*
 * The guest's console bytes and the polls that go with them are counted apart from the driver's
 * set-up: the first depend on how much the guest says, the second on how it boots.
 */
static void count_access(struct hv_serial_16550 *serial, unsigned int index, bool is_write)
{
    if (index == REGISTER_DATA && !is_divisor_selected(serial)) {
        serial->is_in_transfer = true;
    } else if (index != REGISTER_LSR || is_write) {
        serial->is_in_transfer = false;
    }
    hv_bus_counter_add(serial->is_in_transfer ? serial->data_count : serial->setup_count);
}

static uint8_t read_data(struct hv_serial_16550 *serial)
{
    uint8_t byte = 0;

    if (hv_console_port_is_at_break(&serial->port)) {
        serial->is_break_seen = false; /* of the next one */
    }
    hv_console_port_pop(&serial->port, &byte);
    update_line(serial);
    return byte;
}

static uint8_t read_line_status(struct hv_serial_16550 *serial)
{
    uint8_t status = LSR_TRANSMITTER_IDLE;

    if (hv_console_port_waiting(&serial->port) > 0) {
        status |= LSR_DATA_READY;
    }
    if (is_break_shown(serial)) {
        status |= LSR_BREAK;
        serial->is_break_seen = true;
        update_line(serial);
    }
    return status;
}

static uint8_t read_cause(struct hv_serial_16550 *serial)
{
    uint8_t cause = interrupt_cause(serial);

    /* Reading IIR acknowledges "transmitter empty", if that is what it shows. */
    if (cause == IIR_TRANSMITTER_EMPTY) {
        serial->is_transmitter_pending = false;
        update_line(serial);
    }
    return cause | (serial->has_fifos ? IIR_FIFOS_ENABLED : 0);
}

static uint8_t modem_status(const struct hv_serial_16550 *serial)
{
    if (!(serial->mcr & MCR_LOOPBACK)) {
        return MSR_CTS | MSR_DSR | MSR_DCD;
    }
    return (serial->mcr & MCR_RTS ? MSR_CTS : 0) | (serial->mcr & MCR_DTR ? MSR_DSR : 0) |
           (serial->mcr & MCR_OUT1 ? MSR_RI : 0) | (serial->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t read_register(struct hv_serial_16550 *serial, unsigned int index)
{
    switch (index) {
    case REGISTER_DATA:
        return is_divisor_selected(serial) ? serial->divisor & 0xff : read_data(serial);
    case REGISTER_IER: return is_divisor_selected(serial) ? serial->divisor >> 8 : serial->ier;
    case REGISTER_IIR: return read_cause(serial);
    case REGISTER_LCR: return serial->lcr;
    case REGISTER_MCR: return serial->mcr;
    case REGISTER_LSR: return read_line_status(serial);
    case REGISTER_MSR: return modem_status(serial);
    default: return serial->scr;
    }
}

static void write_data(struct hv_serial_16550 *serial, uint8_t byte)
{
    if (serial->mcr & MCR_LOOPBACK) {
        hv_console_port_push(&serial->port, &byte, 1);
    } else {
        hv_console_port_output(&serial->port, &byte, 1);
    }
    /* Sent already, so the holding register is empty anew. */
    serial->is_transmitter_pending = true;
    update_line(serial);
}

static void write_ier(struct hv_serial_16550 *serial, uint8_t value)
{
    /* Enabling the interrupt while the transmitter is empty, as it always is, causes one. */
    if ((value & IER_TRANSMITTER_EMPTY) && !(serial->ier & IER_TRANSMITTER_EMPTY)) {
        serial->is_transmitter_pending = true;
    }
    serial->ier = value & IER_MASK;
    update_line(serial);
}

static void write_fcr(struct hv_serial_16550 *serial, uint8_t value)
{
    bool has_fifos = value & FCR_ENABLE;

    /* Switching the FIFOs on or off clears them; without "enable" the other bits mean nothing. */
    if (has_fifos != serial->has_fifos || (has_fifos && (value & FCR_CLEAR_RECEIVER))) {
        hv_console_port_reset(&serial->port);
        serial->is_break_seen = false;
    }
    serial->has_fifos = has_fifos;
    update_line(serial);
}

static void write_register(struct hv_serial_16550 *serial, unsigned int index, uint8_t value)
{
    switch (index) {
    case REGISTER_DATA:
        if (is_divisor_selected(serial)) {
            serial->divisor = (uint16_t)((serial->divisor & 0xff00) | value);
        } else {
            write_data(serial, value);
        }
        break;
    case REGISTER_IER:
        if (is_divisor_selected(serial)) {
            serial->divisor = (uint16_t)((serial->divisor & 0xff) | value << 8);
        } else {
            write_ier(serial, value);
        }
        break;
    case REGISTER_IIR: write_fcr(serial, value); break;
    case REGISTER_LCR: serial->lcr = value; break;
    case REGISTER_MCR: serial->mcr = value & MCR_MASK; break;
    case REGISTER_SCR: serial->scr = value; break;
    default: break; /* LSR and MSR are read-only. */
    }
}

/*
 * Registers are one byte wide. A wider access, which no driver makes, reaches the first register
 * and reads zero elsewhere.
 */
static uint64_t bus_read(void *opaque, uint64_t offset, unsigned int size)
{
    struct hv_serial_16550 *serial = opaque;
    unsigned int index = (unsigned int)(offset >> serial->config.register_shift);
    uint8_t value;

    pthread_mutex_lock(&serial->lock);
    count_access(serial, index, false);
    value = read_register(serial, index);
    unlock_and_signal(serial);
    return value;
}

static void bus_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_serial_16550 *serial = opaque;
    unsigned int index = (unsigned int)(offset >> serial->config.register_shift);

    pthread_mutex_lock(&serial->lock);
    count_access(serial, index, true);
    write_register(serial, index, (uint8_t)value);
    unlock_and_signal(serial);
}

static const struct hv_bus_ops bus_ops = {
    .read = bus_read,
    .write = bus_write,
};

static void power_on(struct hv_serial_16550 *serial)
{
    serial->ier = 0;
    serial->lcr = 0;
    serial->mcr = 0;
    serial->scr = 0;
    serial->divisor = POWER_ON_DIVISOR;
    serial->has_fifos = false;
    serial->is_transmitter_pending = false;
    serial->is_break_seen = false;
    serial->is_line_active = false;
    serial->is_edge_due = false;
    serial->is_in_transfer = false;
}

int hv_serial_16550_create(const struct hv_serial_16550_config *config,
                           struct hv_serial_16550 **ret_serial)
{
    struct hv_serial_16550 *serial = calloc(1, sizeof(*serial));

    if (!serial) {
        return -ENOMEM;
    }
    serial->config = *config;
    pthread_mutex_init(&serial->lock, NULL);
    hv_console_port_init(&serial->port, config->loop, &config->sink);
    power_on(serial);
    *ret_serial = serial;
    return 0;
}

void hv_serial_16550_destroy(struct hv_serial_16550 *serial)
{
    if (!serial) {
        return;
    }
    hv_console_port_fini(&serial->port);
    pthread_mutex_destroy(&serial->lock);
    free(serial);
}

int hv_serial_16550_attach(struct hv_serial_16550 *serial, struct hv_bus *bus, uint64_t address)
{
    int error = hv_bus_add_counter(bus, "serial", &serial->setup_count);

    if (error < 0) {
        return error;
    }
    error = hv_bus_add_counter(bus, "serial-data", &serial->data_count);
    if (error < 0) {
        return error;
    }
    return hv_bus_add(bus, address, HV_SERIAL_16550_SIZE << serial->config.register_shift, "serial",
                      HV_BUS_COUNTED_BY_DEVICE, &bus_ops, serial);
}

void hv_serial_16550_reset(struct hv_serial_16550 *serial)
{
    pthread_mutex_lock(&serial->lock);
    power_on(serial);
    hv_console_port_reset(&serial->port);
    unlock_and_signal(serial);
}

size_t hv_serial_16550_input(struct hv_serial_16550 *serial, const uint8_t *data, size_t length)
{
    size_t taken;

    pthread_mutex_lock(&serial->lock);
    taken = hv_console_port_push(&serial->port, data, length);
    update_line(serial);
    unlock_and_signal(serial);
    return taken;
}

int hv_serial_16550_break(struct hv_serial_16550 *serial)
{
    int r;

    pthread_mutex_lock(&serial->lock);
    r = hv_console_port_push_break(&serial->port);
    update_line(serial);
    unlock_and_signal(serial);
    return r;
}
