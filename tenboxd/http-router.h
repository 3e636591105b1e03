/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a request line to its handler, by one table.
 *
 * Paths are split while they are still percent-encoded, and each segment is decoded once, so that
 * an encoded slash never becomes a separator. Segments that are empty, "." or "..", not UTF-8, or
 * hold a NUL are refused. A last segment may carry a verb behind a colon, as in /v1/vms/foo:start.
 */
#pragma once

#include <libsoup/soup.h>

#include "tenboxd/daemon.h"

G_BEGIN_DECLS

/* Installs the handler of all paths. */
void tbd_router_install(SoupServer *server, TbdDaemon *daemon);

G_END_DECLS
