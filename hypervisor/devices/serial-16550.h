/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A 16550A UART: eight byte-wide registers, FIFOs of 16 bytes, one edge interrupt.
 *
 * Transmission is instantaneous, so the transmitter is always empty. Receive data waits in the
 * console port's queue, of which the guest's FIFO is the front.
 *
 * The interrupt: the cause with the highest priority is shown in IIR; an edge is raised whenever a
 * cause appears while none was shown. A cause that stays (data in the FIFO) raises no second edge:
 * drivers read IIR until it says "none".
 */
#pragma once

#include <stdint.h>

#include "hypervisor/devices/console-port.h"

struct hv_bus;
struct hv_serial_16550;

#define HV_SERIAL_16550_SIZE 8u

struct hv_serial_16550_config {
    struct hv_loop *loop;
    struct hv_console_sink sink;
    /* Raises the port's interrupt, an edge; any thread, without a lock. */
    void (*raise_interrupt)(void *opaque);
    void *interrupt_opaque;
    /* Registers are 1 << register_shift bytes apart (x86: 0). */
    unsigned int register_shift;
};

/* A device in power-on state, on no bus. -ENOMEM. */
int hv_serial_16550_create(const struct hv_serial_16550_config *config,
                           struct hv_serial_16550 **ret_serial);
/* Accepts NULL. */
void hv_serial_16550_destroy(struct hv_serial_16550 *serial);

/* Registers the eight registers at @address; counts "serial" and "serial-data". */
int hv_serial_16550_attach(struct hv_serial_16550 *serial, struct hv_bus *bus, uint64_t address);
/* Back to power-on state; vCPUs are parked. */
void hv_serial_16550_reset(struct hv_serial_16550 *serial);
/* Main loop. How many bytes were taken. */
size_t hv_serial_16550_input(struct hv_serial_16550 *serial, const uint8_t *data, size_t length);
/* Main loop. A break of the line behind the input that waits: LSR's break bit goes with its byte. -EBUSY, see
 * hv_console_port_push_break(). */
int hv_serial_16550_break(struct hv_serial_16550 *serial);
