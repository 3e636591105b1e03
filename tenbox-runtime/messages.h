/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Datagrams of the control protocol, received and checked, before anything acts on them. Apart from the
 * two socket functions everything here is pure, so that the fuzzer reaches what a hostile controller
 * reaches.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tenbox-runtime/control-protocol.h"

/* A request of a controller whose type, length and serial number have been checked. */
struct rt_request {
    uint16_t type;
    uint32_t serial;
    uint32_t version_min; /* RT_HELLO only */
    uint32_t version_max;
    const uint8_t *data; /* RT_CONSOLE_INPUT only: into the datagram */
    size_t data_length;
};

/*
 * Checks one datagram of a connected controller. 0; -EBADMSG: malformed, the connection should go;
 * -EPROTO: well-formed but unknown, *ret_request has type and serial for the reply (a newer
 * controller's optional request).
 */
int rt_request_parse(const void *datagram, size_t length, struct rt_request *ret_request);

/* The version to speak with a peer of this range, or 0 for none. */
uint32_t rt_version_choose(uint32_t version_min, uint32_t version_max);

/*
 * Receives one datagram with at most @descriptor_capacity descriptors, all close-on-exec. Descriptors
 * beyond that, or of a cut datagram, are closed.
 *
 * Returns its length, 0 at the end of the connection, -EAGAIN, -EBADMSG (larger than @capacity, or too
 * many descriptors) or another negative errno. @ret_descriptor_count is set in every case.
 */
int rt_socket_receive(int fd, void *buffer, size_t capacity, int *descriptors,
                      size_t descriptor_capacity, size_t *ret_descriptor_count);

/* Sends one datagram with one descriptor (-1: none), never blocking and never raising SIGPIPE. */
int rt_socket_send(int fd, const void *datagram, size_t length, int descriptor);

/* The start of each message that the runtime sends. */
static inline struct rt_header rt_header(uint16_t type, size_t length, uint32_t serial)
{
    return (struct rt_header){.type = type, .length = (uint32_t)length, .serial = serial};
}
