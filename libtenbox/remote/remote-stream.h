/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The WebSocket to a daemon, made when first needed and shared by the events and all consoles.
 *
 * When it breaks, everything on it ends with an error; the next one who needs it makes a new one.
 */
#pragma once

#include "libtenbox/driver/driver.h"
#include "libtenbox/remote/http-client.h"

G_BEGIN_DECLS

typedef struct _TbxRemoteStream TbxRemoteStream;

/* References @http and @events. */
TbxRemoteStream *tbx_remote_stream_new(TbxHttpClient *http, TbxEventSink *events);

/* Ends everything with "closed" and frees the stream. Accepts NULL. */
void tbx_remote_stream_destroy(TbxRemoteStream *self);

/* Ops `watch` and `console_open` of TbxDriverOps. */
void tbx_remote_stream_watch(TbxRemoteStream *self, const char *since, GTask *task);
void tbx_remote_stream_open_console(TbxRemoteStream *self, const char *vm, TenboxConsoleFlags flags,
                                    GTask *task);

G_END_DECLS
