/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console of one VM: many streams over one ring and one line of input.
 *
 * Output. Each stream has its own position in the ring and reads when its owner asks: a slow one holds up
 * nobody and learns what it lost. When a VM is rebooted by stopping and starting its process, streams
 * stay open: they finish the old ring and go on with the new one.
 *
 * Input. The runtime grants credit (RT_CONSOLE_CREDIT). Streams with something to say take turns of at
 * most TBX_CONSOLE_SHARE bytes, so a paste in one does not lock the keyboard of another; a write
 * completes when its last byte has been handed over.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/local/console-ring.h"

G_BEGIN_DECLS

#define TBX_CONSOLE_SHARE 256u

typedef struct _TbxConsole TbxLocalConsole;

/* @send: hands at most RT_CONSOLE_INPUT_CREDIT bytes to the runtime. Home: the caller's thread-default
 * context. */
TbxLocalConsole *tbx_local_console_new(void (*send)(const guint8 *data, gsize length,
                                                    gpointer user_data),
                                       gpointer user_data);
/* Ends all streams with "closed" and forgets @send; the memory goes with the last stream. Accepts NULL. */
void tbx_local_console_close(TbxLocalConsole *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxLocalConsole, tbx_local_console_close)

/* A process has begun with @ring; or, the same ring, its connection was made anew. Input credit is what a
 * controller starts with. */
void tbx_local_console_attach(TbxLocalConsole *self, TbxConsoleRing *ring);

/* The runtime cannot be reached for now: input waits for tbx_local_console_attach(). */
void tbx_local_console_disconnect(TbxLocalConsole *self);

/* The process is gone: streams end in order once they have read the rest; writes fail. @stays_open: they
 * wait for the next ring instead. */
void tbx_local_console_detach(TbxLocalConsole *self, gboolean stays_open);

/* There is something new in the ring. */
void tbx_local_console_notify(TbxLocalConsole *self);

/* The guest took @bytes of input. */
void tbx_local_console_grant(TbxLocalConsole *self, guint32 bytes);

/* (transfer full): a new stream, from the oldest byte on unless @flags say otherwise; @holder as of
 * tbx_console_claim_open(). "vm-not-running" without a ring, "console-busy". */
TbxConsoleStream *tbx_local_console_open_stream(TbxLocalConsole *self, TenboxConsoleFlags flags,
                                                const char *holder, GError **error);

G_END_DECLS
