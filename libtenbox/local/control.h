/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection of the control protocol (tenbox-runtime/control-protocol.h), seen from the controller.
 *
 * Theory of operation. A runtime is not trusted: it ran guest code, or what a guest made of it. Each
 * datagram is checked whole by tbx_control_parse(), a pure function, before anything looks at it; a
 * malformed one ends the connection, never the daemon. At most TBX_CONTROL_TURN datagrams are taken per
 * turn of the main loop, so that a runtime that floods costs its share and no more. Sending never
 * blocks: what the socket does not take waits in a bounded queue, and a runtime that does not read loses
 * its connection.
 */
#pragma once

#include <gio/gio.h>

#include "tenbox-runtime/control-protocol.h"

G_BEGIN_DECLS

#define TBX_CONTROL_TURN      32
#define TBX_CONTROL_QUEUE_MAX 256

/* A checked datagram of a runtime. Which member is valid follows from the type. */
typedef struct {
    union {
        struct rt_header header;
        struct rt_hello hello;
        struct rt_refused refused;
        struct rt_reply reply;
        struct rt_state state;
        struct rt_console_output output;
        struct rt_console_credit credit;
        struct rt_reset_done reset_done;
        struct rt_statistics statistics;
    };
} TbxControlMessage;

/**
 * tbx_control_parse:
 * @datagram: any bytes
 * @length: how many
 * @ret_message: untouched on failure
 *
 * Checks length against type, numbers against their ranges, text for its NUL and for characters that do
 * not belong in a message. "protocol-error" says what is wrong.
 */
gboolean tbx_control_parse(const void *datagram, gsize length, TbxControlMessage *ret_message,
                           GError **error);

typedef struct _TbxControl TbxControl;

/* Called in the home context. */
typedef struct {
    /* @descriptor: came with it, -1 for none; it is closed after the call unless *@descriptor was set
     * to -1. */
    void (*message)(const TbxControlMessage *message, int *descriptor, gpointer user_data);
    /* The connection is over; @error is NULL when the other end closed it. Called once, last; the
     * control may be freed in it. */
    void (*closed)(const GError *error, gpointer user_data);
} TbxControlHandlers;

/* Takes @fd, a connected SOCK_SEQPACKET socket. Home: the caller's thread-default context. */
TbxControl *tbx_control_new(int fd, const TbxControlHandlers *handlers, gpointer user_data);
/* Closes. May be called from its handlers. Accepts NULL. */
void tbx_control_free(TbxControl *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxControl, tbx_control_free)

/* Sends a datagram. Failures end the connection, which closed() tells later; never from within. */
void tbx_control_send(TbxControl *self, const void *datagram, gsize length);

/* Receives what is there already, without the limit of a turn (but with another one): for the moment
 * after the process has ended, when nothing can be added. */
void tbx_control_drain(TbxControl *self);

/* The launch: one datagram with descriptors, on a socket that is still empty. */
gboolean tbx_control_send_launch(int fd, const void *datagram, gsize length, const int *descriptors,
                                 guint descriptor_count, GError **error);

G_END_DECLS
