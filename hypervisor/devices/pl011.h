/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ARM's PL011 UART (PrimeCell, revision r1p5: FIFOs of 32 bytes), the serial console of aarch64
 * machines.
 *
 * Transmission is instantaneous, so the transmit FIFO is always empty. Receive data waits in the
 * console port's queue, of which the guest's FIFO is the front. No modem lines, no DMA, no loopback.
 *
 * The interrupt is an edge, not the level of a real PL011, because an edge needs no system call of
 * the guest to take it back. It is raised when the masked interrupt status becomes non-zero, and
 * again for every later event while it stays so: a driver that stops short of clearing the status
 * loses nothing.
 */
#pragma once

#include <stdint.h>

#include "hypervisor/devices/console-port.h"

struct hv_bus;
struct hv_pl011;

#define HV_PL011_SIZE 0x1000u

struct hv_pl011_config {
    struct hv_loop *loop;
    struct hv_console_sink sink;
    /* Raises the port's interrupt, an edge; any thread, no lock held. */
    void (*raise_interrupt)(void *opaque);
    void *interrupt_opaque;
};

/* A device in power-on state, on no bus. -ENOMEM. */
int hv_pl011_create(const struct hv_pl011_config *config, struct hv_pl011 **ret_uart);
/* Accepts NULL. */
void hv_pl011_destroy(struct hv_pl011 *uart);

/* Registers HV_PL011_SIZE bytes at @address; counts "serial" and "serial-data". */
int hv_pl011_attach(struct hv_pl011 *uart, struct hv_bus *bus, uint64_t address);
/* Back to power-on state; vCPUs are parked. */
void hv_pl011_reset(struct hv_pl011 *uart);
/* Main loop. How many bytes were taken. */
size_t hv_pl011_input(struct hv_pl011 *uart, const uint8_t *data, size_t length);
/* Main loop. A break of the line behind the input that waits: DR's break bit goes with its byte. -EBUSY, see
 * hv_console_port_push_break(). */
int hv_pl011_break(struct hv_pl011 *uart);
