/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Accepting, counting, timing and ending connections, and reading heads; see http-front.h.
 *
 * Until its head is complete a connection is the front's alone: a source on the socket owns the peer.
 * Then libsoup's connection does, by way of the address object.
 */
#include "tenboxd/http-front.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-gate.h"
#include "tenboxd/http-problem.h"

#define PEER_KEY "tbd-peer"

struct _TbdFront {
    GSocket *socket;
    SoupServer *server;
    const TbdSettings *settings;
    TbdLedger *ledger;
    gid_t group; /* whose members may come in, TBD_NO_GROUP for none */
    GSource *accept_source;
    GSource *pause_source;
    GSource *reap_source; /* while there is anything to time */
    GQueue peers;         /* of TbdPeer, not referenced: each takes itself out */
    GQueue refused;       /* of Refused, oldest first */
    GSocketAddress *remote_address;
};

struct _TbdPeer {
    gatomicrefcount references;
    TbdFront *front; /* NULL once the front is gone */
    GList link;      /* in front->peers */
    GSocket *socket;
    TbdActor actor;
    TbdPeerState state;
    gboolean is_stream;
    GSource *reading;     /* until the head is there: owns a reference */
    GByteArray *received; /* nullable: what came so far */
    TbdHead head;
    guint64 body; /* bytes of its body that count, see TBD_BODIES_SIZE_MAX */
    gint64 since; /* monotonic time of the last change of state */
};

/* A connection that was turned away. It is not closed at once: the client may be about to write its
 * request, and if that fails many do not look for an answer any more. */
typedef struct {
    GSocket *socket;
    gint64 since;
} Refused;

/* ---- one connection -------------------------------------------------------------------------- */

TbdPeer *tbd_peer_ref(TbdPeer *self)
{
    g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbd_peer_unref(TbdPeer *self)
{
    if (!g_atomic_ref_count_dec(&self->references)) {
        return;
    }
    if (self->front != NULL) {
        g_queue_unlink(&self->front->peers, &self->link);
    }
    g_clear_pointer(&self->received, g_byte_array_unref);
    tbd_head_clear(&self->head);
    g_object_unref(self->socket);
    g_free(self);
}

const TbdActor *tbd_peer_get_actor(TbdPeer *self)
{
    return &self->actor;
}

/* @verb: nullable: what could be read of the request. */
static void note_refusal(TbdFront *self, const TbdActor *actor, const char *verb,
                         const GError *error, const char *request_id)
{
    const TbdEntry entry = {
        .actor = actor,
        .verb = verb != NULL ? verb : "CONNECTION",
        .status = tbx_error_kind_of(error)->http_status,
        .code = tenbox_error_get_code(error),
        .request_id = request_id,
    };

    tbd_ledger_add_refusal(self->ledger, &entry);
}

void tbd_peer_note_refusal(TbdPeer *self, const GError *error, const char *request_id)
{
    if (self->front == NULL) {
        return;
    }
    note_refusal(self->front, &self->actor, self->head.method, error, request_id);
}

const TbdHead *tbd_peer_get_head(TbdPeer *self)
{
    return &self->head;
}

void tbd_peer_set_state(TbdPeer *self, TbdPeerState state)
{
    self->state = state;
    self->since = g_get_monotonic_time();
}

gboolean tbd_peer_take_stream(TbdPeer *self, GError **error)
{
    guint count = 0;

    for (GList *link = self->front->peers.head; link != NULL; link = link->next) {
        TbdPeer *peer = link->data;

        count += peer->is_stream && peer->actor.uid == self->actor.uid;
    }
    if (count >= tbd_settings_get_streams_per_user(self->front->settings)) {
        tbx_error_set(error, "too-many-streams", NULL,
                      "user %u has %u streams open already; one stream has room for %d channels",
                      (guint)self->actor.uid, count, TBX_STREAM_CHANNELS_MAX);
        return FALSE;
    }
    self->is_stream = TRUE;
    return TRUE;
}

TbdPeer *tbd_peer_of(SoupServerMessage *message)
{
    GSocketAddress *address = soup_server_message_get_local_address(message);
    TbdPeer *peer = address != NULL ? g_object_get_data(G_OBJECT(address), PEER_KEY) : NULL;

    return peer != NULL && peer->front != NULL ? peer : NULL;
}

GSource *tbd_peer_watch_leaving(TbdPeer *self, GUnixFDSourceFunc left, gpointer user_data)
{
    GSource *source = g_unix_fd_source_new(g_socket_get_fd(self->socket), G_IO_HUP);

    g_source_set_callback(source, G_SOURCE_FUNC(left), user_data, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

/* In seconds; 0 for none. */
static gint64 peer_limit(const TbdPeer *peer)
{
    switch (peer->state) {
    case TBD_PEER_HEAD: return peer->front->settings->head_timeout;
    case TBD_PEER_BODY: return peer->front->settings->body_timeout;
    case TBD_PEER_WORKING: return 0;
    case TBD_PEER_ANSWER: return peer->front->settings->answer_timeout;
    }
    return 0;
}

/* Whoever reads or writes the stream sees its end, and drops it. */
static void peer_shut(TbdPeer *peer)
{
    g_socket_shutdown(peer->socket, TRUE, TRUE, NULL);
}

static void drop_oldest_refused(TbdFront *self)
{
    Refused *refused = g_queue_pop_head(&self->refused);

    g_object_unref(refused->socket);
    g_free(refused);
}

static gboolean on_reap_time(gpointer user_data)
{
    TbdFront *self = user_data;
    gint64 now = g_get_monotonic_time();

    while (self->refused.head != NULL && now - ((Refused *)self->refused.head->data)->since >
                                             TBD_REFUSED_SECONDS * G_USEC_PER_SEC) {
        drop_oldest_refused(self);
    }
    if (self->peers.head == NULL && self->refused.head == NULL) {
        g_clear_pointer(&self->reap_source, g_source_unref);
        return G_SOURCE_REMOVE;
    }
    for (GList *link = self->peers.head; link != NULL; link = link->next) {
        TbdPeer *peer = link->data;
        gint64 limit = peer_limit(peer) * G_USEC_PER_SEC;

        if (limit > 0 && now - peer->since > limit) {
            g_debug("connection ended: nothing came for too long");
            peer_shut(peer);
            peer->state = TBD_PEER_WORKING; /* libsoup drops it now */
        }
    }
    return G_SOURCE_CONTINUE;
}

static GSource *attach_seconds(guint seconds, GSourceFunc function, gpointer user_data)
{
    GSource *source = g_timeout_source_new_seconds(seconds);

    g_source_set_callback(source, function, user_data, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void start_reaping(TbdFront *self)
{
    if (self->reap_source == NULL) {
        self->reap_source = attach_seconds(1, on_reap_time, self);
    }
}

/* Says why, once; what does not fit into the fresh socket's buffer is of no interest. */
static void turn_away(TbdFront *self, GSocket *socket, const TbdActor *actor, const GError *error)
{
    g_autofree char *id = tbd_request_id_new();
    g_autofree char *answer = tbd_problem_print_answer(error, id, FALSE);
    Refused *refused;

    g_message("connection refused: %s", error->message);
    note_refusal(self, actor, NULL, error, id);
    g_socket_set_blocking(socket, FALSE);
    g_socket_send(socket, answer, strlen(answer), NULL, NULL);
    g_socket_shutdown(socket, FALSE, TRUE, NULL);
    if (self->refused.length == TBD_REFUSED_MAX) {
        drop_oldest_refused(self);
    }
    refused = g_new0(Refused, 1);
    refused->socket = g_object_ref(socket);
    refused->since = g_get_monotonic_time();
    g_queue_push_tail(&self->refused, refused);
    start_reaping(self);
}

static gboolean is_owner(uid_t uid)
{
    return uid == geteuid() || uid == 0;
}

gboolean tbd_peer_is_owner(TbdPeer *self)
{
    return is_owner(self->actor.uid);
}

/* Whether the process at the other end had @group among its groups when it connected. */
static gboolean is_member(int fd, const struct ucred *credentials, gid_t group)
{
    g_autofree gid_t *groups = NULL;
    socklen_t length = 0;

    if (credentials->gid == group) {
        return TRUE;
    }
    /* First how many there are, which is no success unless there are none. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0 || errno != ERANGE) {
        return FALSE;
    }
    groups = g_malloc(length);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0) {
        return FALSE;
    }
    for (gsize i = 0; i < length / sizeof(groups[0]); i++) {
        if (groups[i] == group) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Who is there, and whether they may come in. */
static gboolean check_peer(TbdFront *self, GSocket *socket, TbdActor *ret_actor, GError **error)
{
    struct ucred credentials;
    socklen_t length = sizeof(credentials);
    guint total = self->peers.length, same_user = 0, limit = (guint)self->settings->connections;

    if (getsockopt(g_socket_get_fd(socket), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
        tbx_error_set(error, "forbidden", NULL, "the kernel does not say whose connection it is");
        return FALSE;
    }
    *ret_actor = (TbdActor){credentials.uid, credentials.gid, credentials.pid};
    if (!is_owner(credentials.uid) &&
        (self->group == TBD_NO_GROUP ||
         !is_member(g_socket_get_fd(socket), &credentials, self->group))) {
        tbx_error_set(error, "forbidden", NULL, "this daemon serves user %u%s, not user %u",
                      (guint)geteuid(),
                      self->group != TBD_NO_GROUP ? " and the members of the socket's group" : "",
                      (guint)credentials.uid);
        return FALSE;
    }
    for (GList *link = self->peers.head; link != NULL; link = link->next) {
        same_user += ((TbdPeer *)link->data)->actor.uid == credentials.uid;
    }
    if (!is_owner(credentials.uid)) {
        limit -= MIN(TBD_CONNECTIONS_FOR_OWNER, limit / 4);
    }
    if (total >= limit || same_user >= self->settings->connections_per_user) {
        tbx_error_set(
            error, "too-many-connections", NULL,
            "%u connections are open already, %u of user %u; close some, or try again later", total,
            same_user, (guint)credentials.uid);
        return FALSE;
    }
    return TRUE;
}

static GSocketAddress *nowhere(void)
{
    g_autoptr(GInetAddress) loopback = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);

    return g_inet_socket_address_new(loopback, 0);
}

/* ---- the head --------------------------------------------------------------------------------- */

/* The end of a connection that never got to libsoup. */
static void drop_peer(TbdPeer *peer)
{
    tbx_source_clear(&peer->reading);
    tbd_peer_unref(peer);
}

/* Nothing more is taken from the client; it can still read why. */
static void refuse_head(TbdPeer *peer, const GError *error)
{
    g_autofree char *id =
        peer->head.request_id != NULL ? g_strdup(peer->head.request_id) : tbd_request_id_new();
    g_autofree char *answer =
        tbd_problem_print_answer(error, id, g_strcmp0(peer->head.method, "HEAD") == 0);

    g_debug("request %s refused: %s", id, error->message);
    tbd_peer_note_refusal(peer, error, id);
    g_socket_send(peer->socket, answer, strlen(answer), NULL, NULL);
    peer_shut(peer);
    drop_peer(peer);
}

gboolean tbd_peer_take_body(TbdPeer *self, guint64 size, GError **error)
{
    guint64 all = size, of_members = size, of_user = size;

    if (size <= TBD_BODY_SMALL_MAX) {
        return TRUE;
    }
    for (GList *link = self->front->peers.head; link != NULL; link = link->next) {
        TbdPeer *peer = link->data;

        if (peer != self) {
            all += peer->body;
            of_members += is_owner(peer->actor.uid) ? 0 : peer->body;
            of_user += peer->actor.uid == self->actor.uid ? peer->body : 0;
        }
    }
    if (all > TBD_BODIES_SIZE_MAX ||
        (!is_owner(self->actor.uid) &&
         (of_members > TBD_BODIES_SIZE_MAX / 2 || of_user > TBD_BODIES_SIZE_MAX / 4))) {
        tbx_error_set(error, "too-many-connections", NULL,
                      "bodies of %" G_GUINT64_FORMAT
                      " bytes are on their way already, %" G_GUINT64_FORMAT
                      " of user %u; try again later",
                      all - size, of_user - size, (guint)self->actor.uid);
        return FALSE;
    }
    self->body = size;
    return TRUE;
}

void tbd_peer_release_body(TbdPeer *self)
{
    self->body = 0;
}

/* libsoup drops the request; there is nobody to give an answer to. */
static void on_broken_body(gpointer user_data)
{
    TbdPeer *peer = user_data;
    g_autoptr(GError) error =
        tbx_error_new("request-invalid", NULL, "the body is not framed as it should be");

    tbd_peer_note_refusal(peer, error, peer->head.request_id);
}

/* Gives the connection to libsoup. */
static void pass_on(TbdPeer *peer, gsize head_size)
{
    g_autoptr(GSocketConnection) connection =
        g_socket_connection_factory_create_connection(peer->socket);
    g_autoptr(GIOStream) gate = tbd_gate_new(
        G_IO_STREAM(connection), g_steal_pointer(&peer->received), head_size, &peer->head,
        on_broken_body, tbd_peer_ref(peer), (GDestroyNotify)tbd_peer_unref);
    g_autoptr(GSocketAddress) address = nowhere();
    g_autoptr(GError) error = NULL;

    tbx_source_clear(&peer->reading);
    /* One address object per connection: libsoup keeps it as long as the connection, and so it keeps
     * the record. What it says is of no use to anybody, but it must be an Internet address: libsoup
     * makes the URI of a request without a Host from it. */
    g_object_set_data_full(G_OBJECT(address), PEER_KEY, peer, (GDestroyNotify)tbd_peer_unref);
    if (!soup_server_accept_iostream(peer->front->server, gate, address,
                                     peer->front->remote_address, &error)) {
        g_warning("connection dropped: %s", error->message);
    }
}

static gboolean on_head_bytes(GSocket *socket, GIOCondition condition, gpointer user_data)
{
    TbdPeer *peer = user_data;
    g_autoptr(GError) error = NULL;
    char buffer[4096];
    gsize size;
    gssize length = g_socket_receive(socket, buffer, sizeof(buffer), NULL, &error);

    if (length < 0 && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        return G_SOURCE_CONTINUE;
    }
    if (length <= 0) {
        drop_peer(peer);
        return G_SOURCE_REMOVE;
    }
    g_byte_array_append(peer->received, (const guint8 *)buffer, (guint)length);
    size = tbd_head_find_end((const char *)peer->received->data, peer->received->len, &error);
    if (size == 0 && error == NULL) {
        return G_SOURCE_CONTINUE;
    }
    if (error != NULL ||
        !tbd_head_parse((const char *)peer->received->data, size, &peer->head, &error) ||
        !tbd_peer_take_body(peer, peer->head.length, &error)) {
        refuse_head(peer, error);
    } else {
        pass_on(peer, size);
    }
    return G_SOURCE_REMOVE;
}

static void take_in(TbdFront *self, GSocket *socket)
{
    g_autoptr(GError) error = NULL;
    TbdActor actor = {(uid_t)-1, (gid_t)-1, -1};
    TbdPeer *peer;

    if (!check_peer(self, socket, &actor, &error)) {
        turn_away(self, socket, &actor, error);
        return;
    }
    tbd_ledger_get_counters(self->ledger)->connections++;
    g_socket_set_blocking(socket, FALSE);
    peer = g_new0(TbdPeer, 1);
    g_atomic_ref_count_init(&peer->references);
    peer->front = self;
    peer->link.data = peer;
    peer->socket = g_object_ref(socket);
    peer->actor = actor;
    peer->received = g_byte_array_new();
    tbd_peer_set_state(peer, TBD_PEER_HEAD);
    g_queue_push_tail_link(&self->peers, &peer->link);
    peer->reading = g_socket_create_source(socket, G_IO_IN, NULL);
    g_source_set_callback(peer->reading, G_SOURCE_FUNC(on_head_bytes), peer, NULL);
    g_source_attach(peer->reading, g_main_context_get_thread_default());
    start_reaping(self);
}

/* ---- more of them ----------------------------------------------------------------------------- */

static void start_accepting(TbdFront *self);

static gboolean on_pause_over(gpointer user_data)
{
    TbdFront *self = user_data;

    g_clear_pointer(&self->pause_source, g_source_unref);
    start_accepting(self);
    return G_SOURCE_REMOVE;
}

static gboolean on_incoming(GSocket *socket, GIOCondition condition, gpointer user_data)
{
    TbdFront *self = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocket) accepted = g_socket_accept(socket, NULL, &error);

    if (accepted != NULL) {
        take_in(self, accepted);
        return G_SOURCE_CONTINUE;
    }
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        return G_SOURCE_CONTINUE;
    }
    /* Most likely no descriptors are left: the connection waits in the backlog until some are. */
    g_warning("no connection can be accepted for now: %s", error->message);
    g_clear_pointer(&self->accept_source, g_source_unref);
    self->pause_source = attach_seconds(TBD_ACCEPT_PAUSE_SECONDS, on_pause_over, self);
    return G_SOURCE_REMOVE;
}

static void start_accepting(TbdFront *self)
{
    self->accept_source = g_socket_create_source(self->socket, G_IO_IN, NULL);
    g_source_set_callback(self->accept_source, G_SOURCE_FUNC(on_incoming), self, NULL);
    g_source_attach(self->accept_source, g_main_context_get_thread_default());
}

TbdFront *tbd_front_new(TbdListener *listener, SoupServer *server, const TbdSettings *settings,
                        TbdLedger *ledger, GError **error)
{
    TbdFront *self = g_new0(TbdFront, 1);

    self->socket = g_object_ref(tbd_listener_get_socket(listener));
    self->server = g_object_ref(server);
    self->settings = settings;
    self->ledger = ledger;
    self->group = tbd_listener_get_group(listener);
    self->remote_address = nowhere();
    g_queue_init(&self->peers);
    g_queue_init(&self->refused);
    if (!tbd_listener_listen(listener, TBD_BACKLOG, error)) {
        tbd_front_destroy(self);
        return NULL;
    }
    start_accepting(self);
    return self;
}

void tbd_front_stop(TbdFront *self)
{
    tbx_source_clear(&self->accept_source);
    tbx_source_clear(&self->pause_source);
}

guint tbd_front_get_peer_count(TbdFront *self)
{
    return self->peers.length;
}

guint tbd_front_get_busy_count(TbdFront *self)
{
    guint count = 0;

    for (GList *link = self->peers.head; link != NULL; link = link->next) {
        TbdPeer *peer = link->data;

        count += peer->state != TBD_PEER_HEAD;
    }
    return count;
}

void tbd_front_destroy(TbdFront *self)
{
    GList *link;

    if (self == NULL) {
        return;
    }
    tbd_front_stop(self);
    tbx_source_clear(&self->reap_source);
    while ((link = g_queue_pop_head_link(&self->peers)) != NULL) {
        TbdPeer *peer = link->data;

        peer->front = NULL;
        peer_shut(peer);
        if (peer->reading != NULL) {
            drop_peer(peer);
        }
    }
    while (self->refused.head != NULL) {
        drop_oldest_refused(self);
    }
    g_object_unref(self->remote_address);
    g_object_unref(self->server);
    g_object_unref(self->socket);
    g_free(self);
}
