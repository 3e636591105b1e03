/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenboxd: options, signals, exit status. What the daemon does is in daemon.c.
 */
#include <gio/gio.h>
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "libtenbox/tenbox.h"
#include "tenboxd/daemon.h"

typedef struct {
    GMainLoop *loop;
    TbdDaemon *daemon;
    int exit_status;
} Program;

static void on_ended(const GError *error, gpointer user_data)
{
    Program *program = user_data;

    if (error != NULL) {
        const char *hint = tenbox_error_get_hint(error);

        g_printerr("tenboxd: %s\n", error->message);
        if (hint != NULL) {
            g_printerr("tenboxd: %s\n", hint);
        }
        program->exit_status = tenbox_error_get_exit_status(error);
    }
    g_main_loop_quit(program->loop);
}

static gboolean on_quit_signal(gpointer user_data)
{
    tbd_daemon_quit(((Program *)user_data)->daemon);
    return G_SOURCE_CONTINUE;
}

static gboolean on_hangup(gpointer user_data)
{
    return G_SOURCE_CONTINUE; /* nothing to read again yet; a closed terminal is no reason to end */
}

/* Connections and VMs take descriptors: as many as we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = MIN(limit.rlim_max, 65536);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* An absolute path for what the user wrote; NULL stays NULL. */
static char *absolute_path(const char *path)
{
    return path != NULL ? g_canonicalize_filename(path, NULL) : NULL;
}

static int run(const char *socket_path, const char *data_folder, int ready_fd)
{
    Program program = {.loop = g_main_loop_new(NULL, FALSE)};
    TbdDaemonOptions options = {
        .socket_path = socket_path, .data_folder = data_folder, .ready_fd = ready_fd};

    g_unix_signal_add(SIGTERM, on_quit_signal, &program);
    g_unix_signal_add(SIGINT, on_quit_signal, &program);
    g_unix_signal_add(SIGHUP, on_hangup, NULL);
    program.daemon = tbd_daemon_new(&options, on_ended, &program);
    g_main_loop_run(program.loop);
    tbd_daemon_destroy(program.daemon);
    /* What the closing left for the next turn. */
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_main_loop_unref(program.loop);
    return program.exit_status;
}

int main(int argc, char **argv)
{
    g_autofree char *socket_option = NULL;
    g_autofree char *folder_option = NULL;
    g_autofree char *socket_path = NULL;
    g_autofree char *data_folder = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- the TenBox daemon");
    g_autoptr(GError) error = NULL;
    gboolean show_version = FALSE;
    int ready_fd = -1;
    const GOptionEntry entries[] = {
        {"socket", 0, 0, G_OPTION_ARG_FILENAME, &socket_option, "Unix socket to listen on", "PATH"},
        {"data-folder", 0, 0, G_OPTION_ARG_FILENAME, &folder_option, "Where VMs are kept", "DIR"},
        {"ready-fd", 0, 0, G_OPTION_ARG_INT, &ready_fd,
         "Descriptor that gets \"ready\" and a newline once clients can connect", "N"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "Show the version and exit", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };

    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    /* Whatever is made is the owner's alone. */
    umask(0077);
    /* libsoup would speak HTTP/2 when this is set; what guards the front is not made for it. */
    g_unsetenv("SOUP_SERVER_HTTP2");

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("tenboxd: %s\n", error->message);
        return 2;
    }
    if (argc > 1) {
        g_printerr("tenboxd: unexpected argument \"%s\"\n", argv[1]);
        return 2;
    }
    if (show_version) {
        g_print("tenboxd %s\n", tenbox_get_version());
        return 0;
    }
    raise_descriptor_limit();
    socket_path =
        socket_option != NULL ? absolute_path(socket_option) : tenbox_connection_get_user_socket();
    data_folder = absolute_path(folder_option);
    return run(socket_path, data_folder, ready_fd);
}
