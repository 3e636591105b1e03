/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is decided about a request between its head and its body.
 *
 * The head is plain, the front has seen to that (http-head.h). Left to do is what libsoup would do
 * wrongly by itself: cut answers into ranges, take a body in chunks without end, and send an early
 * answer only when the whole body was read; a refusal here takes the connection away from libsoup,
 * writes the answer and closes.
 */
#pragma once

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Installs the early handler; it is the only one @server may have. */
void tbd_filter_install(SoupServer *server);

G_END_DECLS
