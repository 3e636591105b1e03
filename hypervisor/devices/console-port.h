/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's end of a serial port, the same for every UART model: where guest bytes go, and the
 * bounded queue in which host bytes wait until the guest reads them.
 *
 * A UART embeds one. All functions except init and fini are called with the UART's own lock held,
 * so the port needs none. Output is handed on at once and never stored. Input beyond the queue is
 * refused, and once the guest has emptied half the queue an invitation is due: the UART takes it
 * under its lock, and sends it after it has let go of the lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/loop.h"

#define HV_CONSOLE_INPUT_SIZE 1024u

struct hv_console_sink {
    /* On a vCPU thread under the UART's lock: copy and return. */
    void (*output)(void *opaque, const uint8_t *data, size_t length);
    /* On the main loop, without a lock. */
    void (*input_ready)(void *opaque);
    void *opaque;
};

struct hv_console_port {
    struct hv_loop *loop;                 /* const */
    struct hv_console_sink sink;          /* const */
    struct hv_loop_task ready;            /* input_ready() is due */
    bool is_input_refused;                /* lock (the UART's) */
    bool is_invitation_due;               /* lock */
    size_t input_start;                   /* lock */
    size_t input_length;                  /* lock */
    bool has_break;                       /* lock: one of the bytes that wait stands for a break */
    size_t break_distance;                /* lock: how many bytes stand before it */
    uint8_t input[HV_CONSOLE_INPUT_SIZE]; /* lock */
};

void hv_console_port_init(struct hv_console_port *port, struct hv_loop *loop,
                          const struct hv_console_sink *sink);
/* Main loop; no lock. Accepts zeroed memory. */
void hv_console_port_fini(struct hv_console_port *port);
/* Drops the input that waits; for a reset. */
void hv_console_port_reset(struct hv_console_port *port);

void hv_console_port_output(struct hv_console_port *port, const uint8_t *data, size_t length);
/* How many bytes were taken, 0 to @length. */
size_t hv_console_port_push(struct hv_console_port *port, const uint8_t *data, size_t length);
/*
 * A break of the line: the guest finds a byte of zeros behind what waits, and its UART says what that is. One at a
 * time: -EBUSY while the guest has not read the last one, or the queue is full.
 */
int hv_console_port_push_break(struct hv_console_port *port);
/* Whether the byte that the next pop gives is the break. */
bool hv_console_port_is_at_break(const struct hv_console_port *port);
/* False when nothing waits. */
bool hv_console_port_pop(struct hv_console_port *port, uint8_t *ret_byte);
/* Whether hv_console_port_invite() must be called once the lock is free; asked once. */
bool hv_console_port_take_invitation(struct hv_console_port *port);
/* Any thread, no lock held: input_ready() follows on the main loop. */
void hv_console_port_invite(struct hv_console_port *port);

static inline size_t hv_console_port_waiting(const struct hv_console_port *port)
{
    return port->input_length;
}
