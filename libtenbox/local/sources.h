/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors and timers on a given main context. GLib's short forms (g_unix_fd_add, g_timeout_add)
 * always take the default context, where a library has no business unless it was made there.
 */
#pragma once

#include <gio/gio.h>
#include <glib-unix.h>
#include <unistd.h>

#include "libtenbox/wire/source.h"

/* A source that calls @function while @condition holds for @fd; destroy it with tbx_source_clear(). */
static inline GSource *tbx_source_watch_fd(GMainContext *context, int fd, GIOCondition condition,
                                           GUnixFDSourceFunc function, gpointer user_data)
{
    GSource *source = g_unix_fd_source_new(fd, condition);

    g_source_set_callback(source, G_SOURCE_FUNC(function), user_data, NULL);
    g_source_attach(source, context);
    return source;
}

/* A source that calls @function after @milliseconds, again and again while it returns TRUE. */
static inline GSource *tbx_source_timer(GMainContext *context, guint milliseconds,
                                        GSourceFunc function, gpointer user_data)
{
    GSource *source = g_timeout_source_new(milliseconds);

    g_source_set_callback(source, function, user_data, NULL);
    g_source_attach(source, context);
    return source;
}

static inline void tbx_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A descriptor that is closed at the end of its scope. */
#define TBX_AUTO_FD __attribute__((cleanup(tbx_fd_close))) int

/* Moves a descriptor out of a variable. */
static inline int tbx_fd_take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
