/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is decided about a request when its head is in and before its body is read.
 *
 * libsoup accepts what it should not (several Hosts, Content-Length next to Transfer-Encoding,
 * bodies without end) and sends an early answer only when the whole body was read. So one early
 * handler judges each head, and a refusal takes the connection away from libsoup, writes the answer
 * and closes.
 */
#pragma once

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Installs the early handler; it is the only one @server may have. */
void tbd_filter_install(SoupServer *server);

G_END_DECLS
