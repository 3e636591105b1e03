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

/* ---- a chunked body that grows too large ----------------------------------------------------- */

static gboolean on_body_too_large(gpointer user_data)
{
    SoupServerMessage *message = user_data;

    if (tbd_peer_of(message) != NULL) {
        tbd_message_refuse(message,
                           tbx_error_new("body-too-large", NULL, "the body has more than %d bytes",
                                         TBD_BODY_SIZE_MAX));
    }
    return G_SOURCE_REMOVE;
}

static void on_got_chunk(SoupServerMessage *message, GBytes *chunk, gpointer user_data)
{
    guint received = GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(message), RECEIVED_KEY));

    if (received > TBD_BODY_SIZE_MAX) {
        return;
    }
    received += (guint)MIN(g_bytes_get_size(chunk), G_MAXINT / 2);
    g_object_set_data(G_OBJECT(message), RECEIVED_KEY, GUINT_TO_POINTER(received));
    if (received > TBD_BODY_SIZE_MAX) {
        /* Not from inside libsoup's read loop. */
        soup_server_message_pause(message);
        g_idle_add_full(G_PRIORITY_DEFAULT, on_body_too_large, g_object_ref(message),
                        g_object_unref);
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
