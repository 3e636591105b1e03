/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/local/driver-seams.h"

#include <gmodule.h>

GSourceFunc on_reconnecting;
gpointer on_reconnecting_data;
gboolean is_kvm_believed;
gboolean is_clock_fast;

int __real_tbx_socket_connect_at(int folder_fd, const char *name, GError **error);
gboolean __real_tbx_host_check_kvm_version(int fd, GError **error);
GSource *__real_g_timeout_source_new(guint interval);
int __wrap_tbx_socket_connect_at(int folder_fd, const char *name, GError **error);
gboolean __wrap_tbx_host_check_kvm_version(int fd, GError **error);
/* Visible, since the linker looks at what GLib itself calls, too. */
G_MODULE_EXPORT GSource *__wrap_g_timeout_source_new(guint interval);

int __wrap_tbx_socket_connect_at(int folder_fd, const char *name, GError **error)
{
    if (on_reconnecting != NULL)
        g_idle_add_full(G_PRIORITY_HIGH, on_reconnecting, on_reconnecting_data, NULL);
    on_reconnecting = NULL;
    return __real_tbx_socket_connect_at(folder_fd, name, error);
}

gboolean __wrap_tbx_host_check_kvm_version(int fd, GError **error)
{
    return is_kvm_believed || __real_tbx_host_check_kvm_version(fd, error);
}

GSource *__wrap_g_timeout_source_new(guint interval)
{
    return __real_g_timeout_source_new(is_clock_fast ? interval / 100 : interval);
}
