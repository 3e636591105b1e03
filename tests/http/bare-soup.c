/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A SoupServer as it comes, on a Unix socket, for a look at what it does with the requests that the
 * daemon's front refuses: one handler for a path, one for everything, an answer of 1,000 bytes.
 *
 *     bare-soup SOCKET
 *
 * Prints "ready" and serves until its standard input ends.
 */
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <libsoup/soup.h>
#include <stdio.h>
#include <string.h>

static void on_request(SoupServer *server, SoupServerMessage *message, const char *path,
                       GHashTable *query, gpointer user_data)
{
    g_autofree char *body = g_strnfill(1000, 'x');

    soup_server_message_set_status(message, SOUP_STATUS_OK, NULL);
    soup_message_headers_replace(soup_server_message_get_response_headers(message), "X-Handler",
                                 user_data);
    soup_server_message_set_response(message, "text/plain", SOUP_MEMORY_COPY, body, strlen(body));
}

static gboolean on_input(int fd, GIOCondition condition, gpointer user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(SoupServer) server = g_object_new(SOUP_TYPE_SERVER, NULL);
    g_autoptr(GSocketAddress) address = NULL;
    g_autoptr(GError) error = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: bare-soup SOCKET\n");
        return 2;
    }
    address = g_unix_socket_address_new(argv[1]);
    soup_server_add_handler(server, "/", on_request, (gpointer) "all", NULL);
    soup_server_add_handler(server, "/v1", on_request, (gpointer) "v1", NULL);
    if (!soup_server_listen(server, address, 0, &error)) {
        fprintf(stderr, "bare-soup: %s\n", error->message);
        return 1;
    }
    printf("ready %u.%u.%u\n", soup_get_major_version(), soup_get_minor_version(),
           soup_get_micro_version());
    fflush(stdout);
    g_unix_fd_add(0, G_IO_IN | G_IO_HUP, on_input, loop);
    g_main_loop_run(loop);
    return 0;
}
