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
#include "tenboxd/activation.h"
#include "tenboxd/daemon.h"
#include "tenboxd/settings.h"

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

/* A closed terminal is no reason to end. */
static gboolean on_hangup(gpointer user_data)
{
    tbd_daemon_reload(((Program *)user_data)->daemon);
    return G_SOURCE_CONTINUE;
}

/* Connections and VMs that run take descriptors: as many as we may have. What a VM's process may have it limits
 * itself. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Takes @settings. */
static int run(TbdSettings *settings, const char *connect, int socket_fd, int ready_fd)
{
    Program program = {.loop = g_main_loop_new(NULL, FALSE)};
    TbdDaemonOptions options = {
        .settings = settings, .connect = connect, .socket_fd = socket_fd, .ready_fd = ready_fd};

    g_unix_signal_add(SIGTERM, on_quit_signal, &program);
    g_unix_signal_add(SIGINT, on_quit_signal, &program);
    g_unix_signal_add(SIGHUP, on_hangup, &program);
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
    g_autofree char *config_option = NULL;
    g_autofree char *config_path = NULL;
    g_autofree char *connect = NULL;
    g_autoptr(TbdSettings) settings = tbd_settings_new();
    g_autoptr(GOptionContext) context = g_option_context_new("- the TenBox daemon");
    g_autoptr(GError) error = NULL;
    gboolean show_version = FALSE;
    int socket_fd = -1;
    int ready_fd = -1;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &config_option,
         "The configuration, in place of $XDG_CONFIG_HOME/tenbox/tenboxd.conf", "FILE"},
        {"connect", 0, 0, G_OPTION_ARG_STRING, &connect,
         "Serve test:///default or another test:// URI in place of VMs", "URI"},
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

    tbd_settings_add_options(settings, context);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("tenboxd: %s\n", error->message);
        return 2;
    }
    if (argc > 1) {
        g_printerr("tenboxd: unexpected argument \"%s\"\n", argv[1]);
        return 2;
    }
    if (connect != NULL && !g_str_has_prefix(connect, "test://")) {
        g_printerr("tenboxd: --connect takes a test:// URI, such as test:///default\n");
        return 2;
    }
    if (show_version) {
        g_print("tenboxd %s\n", tenbox_get_version());
        return 0;
    }
    if (!tbd_activation_take(&socket_fd, &error)) {
        g_printerr("tenboxd: %s\n", error->message);
        return 2;
    }
    config_path = config_option != NULL ? g_canonicalize_filename(config_option, NULL)
                                        : tbd_settings_find_file();
    if (!tbd_settings_load(settings, config_path, config_option == NULL, &error)) {
        g_printerr("tenboxd: %s\n", error->message);
        return 2;
    }
    if (settings->socket == NULL) {
        settings->socket = tenbox_connection_get_user_socket();
    }
    raise_descriptor_limit();
    return run(g_steal_pointer(&settings), connect, socket_fd, ready_fd);
}
