/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done with a message when libsoup has read its head; see http-filter.h.
 */
#include "tenboxd/http-filter.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-front.h"
#include "tenboxd/http-request.h"

#define RECEIVED_KEY "tbd-received"
#define REFUSAL_KEY  "tbd-refusal"

/* ---- a chunked body that grows too large ----------------------------------------------------- */

static gboolean on_body_refused(gpointer user_data)
{
    SoupServerMessage *message = user_data;
    GError *error = g_object_steal_data(G_OBJECT(message), REFUSAL_KEY);

    if (tbd_peer_of(message) != NULL) {
        tbd_message_refuse(message, error);
    } else {
        g_error_free(error);
    }
    return G_SOURCE_REMOVE;
}

/* One that is no more than its head said has been counted by then. */
static gboolean check_received(SoupServerMessage *message, guint received, GError **error)
{
    TbdPeer *peer = tbd_peer_of(message);

    if (received > TBD_BODY_SIZE_MAX) {
        tbx_error_set(error, "body-too-large", NULL, "the body has more than %d bytes",
                      TBD_BODY_SIZE_MAX);
        return FALSE;
    }
    return peer == NULL || !tbd_peer_get_head(peer)->is_chunked ||
           tbd_peer_take_body(peer, received, error);
}

static void on_got_chunk(SoupServerMessage *message, GBytes *chunk, gpointer user_data)
{
    guint received = GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(message), RECEIVED_KEY));
    GError *error = NULL;

    if (g_object_get_data(G_OBJECT(message), REFUSAL_KEY) != NULL) {
        return;
    }
    received += (guint)MIN(g_bytes_get_size(chunk), G_MAXINT / 2);
    g_object_set_data(G_OBJECT(message), RECEIVED_KEY, GUINT_TO_POINTER(received));
    if (!check_received(message, received, &error)) {
        g_object_set_data_full(G_OBJECT(message), REFUSAL_KEY, error, (GDestroyNotify)g_error_free);
        /* Not from inside libsoup's read loop. */
        soup_server_message_pause(message);
        g_idle_add_full(G_PRIORITY_DEFAULT, on_body_refused, g_object_ref(message), g_object_unref);
    }
}

/* ---- where the connection stands ------------------------------------------------------------- */

static void on_got_body(SoupServerMessage *message, gpointer user_data)
{
    TbdPeer *peer = tbd_peer_of(message);

    if (peer != NULL) {
        tbd_peer_set_state(peer, TBD_PEER_WORKING);
    }
}

static void on_head(SoupServer *server, SoupServerMessage *message, const char *path,
                    GHashTable *query, gpointer user_data)
{
    TbdPeer *peer = tbd_peer_of(message);

    if (peer == NULL) {
        soup_server_message_set_status(message, SOUP_STATUS_SERVICE_UNAVAILABLE, NULL);
        return;
    }
    /* libsoup would cut answers into ranges by itself, wrongly. */
    soup_message_headers_remove(soup_server_message_get_request_headers(message), "Range");
    tbd_peer_set_state(peer, TBD_PEER_BODY);
    g_signal_connect(message, "got-chunk", G_CALLBACK(on_got_chunk), NULL);
    g_signal_connect(message, "got-body", G_CALLBACK(on_got_body), NULL);
}

void tbd_filter_install(SoupServer *server)
{
    soup_server_add_early_handler(server, "/", on_head, NULL, NULL);
    soup_server_add_early_handler(server, "*", on_head, NULL, NULL);
}
