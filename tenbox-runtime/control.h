/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control connection: at most one controller at a time, the newest wins.
 *
 * Nothing is queued. A datagram that the socket does not take (its controller stopped reading long ago:
 * the socket holds more than a hundred messages) ends the connection; the controller may come back and
 * is then told the whole state. So a hung daemon costs a VM nothing and loses nothing.
 *
 * Main loop only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/loop.h"
#include "tenbox-runtime/messages.h"

struct rt_control_ops {
    /* A new controller: the greeting is the first request. The old connection is gone. */
    void (*connected)(void *opaque);
    /* The controller hung up, sent nonsense or does not read; nobody is connected now. Not called when
     * a newer one took its place, nor for rt_control_disconnect(). May be called from within a send. */
    void (*disconnected)(void *opaque);
    /* A checked request; @error is 0 or -EPROTO (unknown: to be answered so). */
    void (*request)(void *opaque, const struct rt_request *request, int error);
    /* A line for the log. */
    void (*log)(void *opaque, int priority, const char *line);
};

struct rt_control {
    struct hv_loop *loop;             /* const */
    const struct rt_control_ops *ops; /* const */
    void *opaque;                     /* const */
    int listen_fd;                    /* const; owned */
    int connection_fd;                /* owned; -1: nobody is connected */
    struct hv_loop_source listen_source;
    struct hv_loop_source connection_source;
    struct hv_loop_timer accept_timer; /* accept() failed for lack of descriptors: try again */
};

/* Takes *listen_fd and *connection_fd, which become -1; on failure they stay the caller's. */
int rt_control_init(struct rt_control *control, struct hv_loop *loop, int *listen_fd,
                    int *connection_fd, const struct rt_control_ops *ops, void *opaque);
/* Accepts a zeroed control. */
void rt_control_fini(struct rt_control *control);

bool rt_control_is_connected(const struct rt_control *control);

/* Sends one datagram, with a descriptor or -1, if anybody is connected. */
void rt_control_send(struct rt_control *control, const void *datagram, size_t length,
                     int descriptor);
void rt_control_reply(struct rt_control *control, uint32_t serial, int code);

/* Ends the connection; the next controller may come. */
void rt_control_disconnect(struct rt_control *control);
