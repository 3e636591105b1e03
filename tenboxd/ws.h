/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/ws: the upgrade of a connection to a stream, and what stands behind each channel of it.
 *
 * A channel's file owns what it opens for the channel and lets go of it in `closed`; the stream
 * calls that for every channel when the socket ends.
 */
#pragma once

#include "libtenbox/wire/stream.h"
#include "tenboxd/daemon.h"
#include "tenboxd/ledger.h"

G_BEGIN_DECLS

/* All streams of a daemon (TbdSessions). */

TbdSessions *tbd_sessions_new(TbdDaemon *daemon);
/* Ends all streams in order; they go by themselves. */
void tbd_sessions_close(TbdSessions *self);
guint tbd_sessions_get_count(TbdSessions *self);
/* Channels of all of them. */
guint tbd_sessions_get_channel_count(TbdSessions *self);
/* Drops those that are left. Accepts NULL. */
void tbd_sessions_destroy(TbdSessions *self);

/* The channels: each takes the subscription, and accepts or closes it, now or later. */
/* @actor: who is at the other end. */
void tbd_ws_console_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                         JsonObject *options, const TbdActor *actor);
void tbd_ws_events_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                        JsonObject *options, const TbdActor *actor);
void tbd_ws_state_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                       JsonObject *options, const TbdActor *actor);

/* Closes @channel with what @error says. */
void tbd_ws_channel_fail(TbxStreamChannel *channel, const GError *error);

/* Whether all members of @options are in @known, which has | between them (nullable: none may be
 * there), and booleans; else closes @channel. */
gboolean tbd_ws_check_options(TbxStreamChannel *channel, JsonObject *options, const char *known);

G_END_DECLS
