/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's console between the serial port and the controller.
 *
 * Output: vCPU threads copy bytes into the ring that the controller has mapped and, if the main loop
 * does not know yet, wake it. The main loop announces the position; while an announcement is unread
 * (no RT_CONSOLE_SEEN), nobody is woken at all, so a guest that prints in a loop costs one copy a byte.
 *
 * Input: a queue as large as the credit that the controller starts with. What the serial port takes is
 * given back as credit.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tenbox-runtime/control-protocol.h"

struct rt_console {
    struct rt_console_ring *ring; /* const after init; a mapping */
    int wake_fd;       /* const after init; eventfd, readable when output is to be announced */
    uint64_t position; /* lock of the serial port (callers of rt_console_write) */
    atomic_bool is_announced; /* atomic; the main loop knows, or the controller has not read */

    /* main loop only */
    uint64_t announced_position;
    uint8_t input[RT_CONSOLE_INPUT_CREDIT]; /* a ring */
    size_t input_start;
    size_t input_length;
    size_t credit_owed; /* taken by the serial port and not yet given back */
};

/* Maps the ring (borrowed, already checked for size and seals). */
int rt_console_init(struct rt_console *console, int ring_fd);
/* Accepts a zeroed console. */
void rt_console_fini(struct rt_console *console);

/* Appends guest output. Any thread, callers serialised by the serial port's lock; never blocks. */
void rt_console_write(struct rt_console *console, const uint8_t *data, size_t length);

/*
 * The position to announce, if there is one that has not been; marks it announced. Called when wake_fd
 * is readable (drains it) and when the controller has read.
 */
bool rt_console_take_announcement(struct rt_console *console, uint64_t *ret_position);

/* The controller has read the last announcement, or there is a new controller. */
void rt_console_seen(struct rt_console *console);

/* Queues input from the controller. -ENOBUFS when it exceeds the credit; nothing is taken then. */
int rt_console_queue_input(struct rt_console *console, const uint8_t *data, size_t length);
/* The next bytes for the serial port, in one piece; length 0: none. */
size_t rt_console_peek_input(const struct rt_console *console, const uint8_t **ret_data);
/* The serial port took @length of them. */
void rt_console_consume_input(struct rt_console *console, size_t length);
/* Credit to give back now, 0 if it is not worth a message yet. */
uint32_t rt_console_take_credit(struct rt_console *console);
/* A new controller starts with full credit: what the old one typed and the guest never read is gone, as
 * on a serial line that was hung up. */
void rt_console_reset_input(struct rt_console *console);
