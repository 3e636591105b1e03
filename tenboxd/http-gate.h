/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream that libsoup reads a request from: a head that was found good, then exactly the body
 * that it announces.
 *
 * A body in chunks has to be plain, too: sizes of one to eight hexadecimal digits, no extensions, no
 * trailers. The first byte that does not fit ends the stream with an error, upon which libsoup drops
 * the request unseen. What a client sends behind the body never comes through; behind the head of a
 * request that asks for an upgrade everything does.
 *
 * What is written goes to the connection as it is.
 */
#pragma once

#include <gio/gio.h>

#include "tenboxd/http-head.h"

G_BEGIN_DECLS

/* Called when the body is not framed as it should be, at most once, while the gate is read. */
typedef void (*TbdGateBroken)(gpointer user_data);

/**
 * tbd_gate_new:
 * @connection: (transfer none): the connection; closed with the gate
 * @received: (transfer full): what was read from it: the head, and maybe more
 * @head_size: length of the head in @received
 * @head: what it says
 * @broken: (nullable): hears of a body that is not framed as it should be
 * @user_data: for @broken
 * @destroy: (nullable): frees @user_data when the gate goes
 *
 * Returns: (transfer full): a stream, pollable in both directions
 */
GIOStream *tbd_gate_new(GIOStream *connection, GByteArray *received, gsize head_size,
                        const TbdHead *head, TbdGateBroken broken, gpointer user_data,
                        GDestroyNotify destroy);

G_END_DECLS
