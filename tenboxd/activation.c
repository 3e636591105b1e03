/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inherited sockets; see activation.h.
 */
#include "tenboxd/activation.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "libtenbox/wire/wire-error.h"

#define FIRST_FD    3
/* Far above what our units have; a larger number is a mistake. */
#define SOCKETS_MAX 16
#define PROCESS_MAX G_MAXINT32

static gboolean read_number(const char *name, guint64 maximum, guint64 *ret_number, GError **error)
{
    const char *text = g_getenv(name);

    if (text != NULL && g_ascii_string_to_unsigned(text, 10, 0, maximum, ret_number, NULL)) {
        return TRUE;
    }
    tbx_error_set(error, "field-invalid", name,
                  "%s is \"%s\", not a number up to %" G_GUINT64_FORMAT, name,
                  text != NULL ? text : "", maximum);
    return FALSE;
}

/* Makes the descriptor ours, and no child's. */
static gboolean claim(int fd, GError **error)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags >= 0 && fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0) {
        return TRUE;
    }
    tbx_error_set(error, "field-invalid", "LISTEN_FDS",
                  "LISTEN_FDS promises descriptor %d, which is not open", fd);
    return FALSE;
}

static gboolean take_sockets(guint count, const char *const *names, int *ret_local_fd,
                             GError **error)
{
    for (guint i = 0; i < count; i++) {
        if (!claim(FIRST_FD + (int)i, error)) {
            return FALSE;
        }
    }
    for (guint i = 0; i < count; i++) {
        const char *name = names != NULL ? names[i] : count == 1 ? TBD_ACTIVATION_LOCAL : "";
        int fd = FIRST_FD + (int)i;

        if (g_str_equal(name, TBD_ACTIVATION_LOCAL) && *ret_local_fd < 0) {
            *ret_local_fd = fd;
        } else {
            g_warning("the service manager passes a socket named \"%s\", which has no use here",
                      name);
            close(fd);
        }
    }
    return TRUE;
}

static gboolean take(int *ret_local_fd, GError **error)
{
    const char *names_text = g_getenv("LISTEN_FDNAMES");
    g_auto(GStrv) names = names_text != NULL ? g_strsplit(names_text, ":", SOCKETS_MAX + 1) : NULL;
    guint64 process, count;

    if (g_getenv("LISTEN_PID") == NULL) {
        return TRUE;
    }
    if (!read_number("LISTEN_PID", PROCESS_MAX, &process, error)) {
        return FALSE;
    }
    if (process != (guint64)getpid()) {
        return TRUE; /* for whoever started us */
    }
    if (!read_number("LISTEN_FDS", SOCKETS_MAX, &count, error)) {
        return FALSE;
    }
    if (names != NULL && g_strv_length(names) != count) {
        tbx_error_set(error, "field-invalid", "LISTEN_FDNAMES",
                      "LISTEN_FDNAMES has %u names for %u sockets", g_strv_length(names),
                      (guint)count);
        return FALSE;
    }
    return take_sockets((guint)count, (const char *const *)names, ret_local_fd, error);
}

gboolean tbd_activation_take(int *ret_local_fd, GError **error)
{
    gboolean is_taken;

    *ret_local_fd = -1;
    is_taken = take(ret_local_fd, error);
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    g_unsetenv("LISTEN_FDNAMES");
    return is_taken;
}
