/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console ring of one run of a VM, seen by its readers.
 *
 * A memfd of fixed size, made and sealed here, written by the runtime. Nothing in it is trusted: the
 * position is an index to be reduced, the data are bytes. The writer may overtake a reader at any time;
 * a read copies first and then looks which part of the copy can still be what it was.
 *
 * Counted atomically: the console log reads it from a thread.
 */
#pragma once

#include <gio/gio.h>

#include "tenbox-runtime/control-protocol.h"

G_BEGIN_DECLS

/* How far behind the writer a reader is believed. The writer fills data before it moves the position, so
 * the oldest bytes may be in the making: they are given up. */
#define TBX_CONSOLE_RING_KEPT (RT_CONSOLE_RING_SIZE - 8192u)

typedef struct _TbxConsoleRing TbxConsoleRing;

/* Makes a new one. */
TbxConsoleRing *tbx_console_ring_new(GError **error);

/* Maps one that a runtime handed over (takes @fd): "protocol-error" unless it has the size and the seals
 * of a ring, without which reading it could kill this process. */
TbxConsoleRing *tbx_console_ring_new_from_fd(int fd, GError **error);

TbxConsoleRing *tbx_console_ring_ref(TbxConsoleRing *self);
/* Accepts NULL. */
void tbx_console_ring_unref(TbxConsoleRing *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxConsoleRing, tbx_console_ring_unref)

/* Borrowed. */
int tbx_console_ring_get_fd(TbxConsoleRing *self);

/* Bytes ever written. */
guint64 tbx_console_ring_get_position(TbxConsoleRing *self);

/* The position of the oldest byte that can be read. */
guint64 tbx_console_ring_get_oldest(TbxConsoleRing *self);

/**
 * tbx_console_ring_read:
 * @position: (inout): where to read; moved behind what was read and what was lost
 * @buffer: gets at most @size bytes
 * @ret_lost: how many bytes in front of these are gone
 *
 * A position ahead of the writer (a hostile one went back) is moved to the writer's.
 *
 * Returns: how many bytes were copied; 0 when there are none
 */
gsize tbx_console_ring_read(TbxConsoleRing *self, guint64 *position, void *buffer, gsize size,
                            guint64 *ret_lost);

G_END_DECLS
