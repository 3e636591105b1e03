/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands between the socket and libsoup: accepting, counting, timing and ending connections,
 * and reading the head of each request.
 *
 * SoupServer's own listeners stop for good when accept() fails once, have a backlog of 10, no limit
 * on connections and no timeouts. So the front accepts by itself, checks who is there, and reads the
 * head (http-head.h). One that is not plain is answered and the connection closed. Otherwise libsoup
 * gets a stream with that head and its body and nothing else (http-gate.h), and with it a record of
 * the connection (a TbdPeer, which rides on the local address that libsoup hands back with each
 * message). A reaper ends what is silent, trickles or idles; it knows from the filter and the
 * requests where each connection stands.
 *
 * A connection serves one request, and each answer says "Connection: close": what a client sends
 * behind its request is never parsed, and where a connection stands has only one direction. On a
 * Unix socket a fresh one costs next to nothing.
 */
#pragma once

#include <gio/gio.h>
#include <glib-unix.h>
#include <libsoup/soup.h>

#include "tenboxd/http-head.h"
#include "tenboxd/http-limits.h"
#include "tenboxd/ledger.h"
#include "tenboxd/listener.h"
#include "tenboxd/settings.h"

G_BEGIN_DECLS

typedef struct _TbdFront TbdFront;
typedef struct _TbdPeer TbdPeer;

/* Where a connection stands; each has its time limit. */
typedef enum {
    TBD_PEER_HEAD,    /* head_timeout */
    TBD_PEER_BODY,    /* body_timeout */
    TBD_PEER_WORKING, /* none: we are the ones to act */
    TBD_PEER_ANSWER,  /* answer_timeout */
} TbdPeerState;

/**
 * tbd_front_new:
 * @listener: (transfer none): must outlive the front
 * @server: the server that gets the connections
 * @settings: (transfer none): limits; may change meanwhile, must outlive the front
 * @ledger: (transfer none): hears of connections and refusals; must outlive the front
 * @error: return location
 *
 * Starts accepting.
 *
 * Returns: (transfer full): free with tbd_front_destroy()
 */
TbdFront *tbd_front_new(TbdListener *listener, SoupServer *server, const TbdSettings *settings,
                        TbdLedger *ledger, GError **error);

/* Stops accepting; connections live on. */
void tbd_front_stop(TbdFront *self);

/* How many connections there are, stolen ones included. */
guint tbd_front_get_peer_count(TbdFront *self);

/* How many of them have asked for something. */
guint tbd_front_get_busy_count(TbdFront *self);

/* Ends all connections. Accepts NULL. */
void tbd_front_destroy(TbdFront *self);

/* (transfer none): the record of the connection behind @message; NULL once the front is gone. */
TbdPeer *tbd_peer_of(SoupServerMessage *message);

TbdPeer *tbd_peer_ref(TbdPeer *self);
void tbd_peer_unref(TbdPeer *self);
void tbd_peer_set_state(TbdPeer *self, TbdPeerState state);
/* (transfer none): who is at the other end. */
const TbdActor *tbd_peer_get_actor(TbdPeer *self);
/* Whether that is the daemon's own user, or root: others are members of the socket's group. */
gboolean tbd_peer_is_owner(TbdPeer *self);
/* Tells the ledger that the request was refused by @error with the id @request_id. */
void tbd_peer_note_refusal(TbdPeer *self, const GError *error, const char *request_id);
/* So many bytes of the body have come, or will: FALSE, with "too-many-connections", when that is more than
 * there is room for. */
gboolean tbd_peer_take_body(TbdPeer *self, guint64 size, GError **error);
/* The body is parsed. */
void tbd_peer_release_body(TbdPeer *self);
/* (transfer none): of the request. */
const TbdHead *tbd_peer_get_head(TbdPeer *self);

/* The connection is to become a stream: FALSE, with "too-many-streams", when its user has enough. It
 * counts until it is closed. */
gboolean tbd_peer_take_stream(TbdPeer *self, GError **error);

/**
 * tbd_peer_watch_leaving:
 * @left: called once, when the client has closed both halves of the connection. A client that only
 *   says that it sends no more still waits for its answer.
 * @user_data: for @left
 *
 * For the time in which libsoup neither reads nor writes and so would notice nothing.
 *
 * Returns: (transfer full): end with tbx_source_clear(), before the connection is closed from here
 */
GSource *tbd_peer_watch_leaving(TbdPeer *self, GUnixFDSourceFunc left, gpointer user_data);

G_END_DECLS
