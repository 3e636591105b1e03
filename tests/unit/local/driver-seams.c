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

/* ---- the scripted clock ------------------------------------------------------------------- */

typedef struct {
    GSource source;
    guint64 due;
    guint interval;
} ScriptedTimer;

static gboolean is_clock_scripted;
static guint64 scripted_now;
static GList *timers; /* of ScriptedTimer, which are alive */

static gboolean scripted_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    ScriptedTimer *timer = (ScriptedTimer *)source;

    g_source_set_ready_time(source, -1);
    if (!callback(user_data))
        return G_SOURCE_REMOVE;
    timer->due += MAX(timer->interval, 1);
    return G_SOURCE_CONTINUE;
}

static void scripted_finalize(GSource *source)
{
    timers = g_list_remove(timers, source);
}

static GSourceFuncs scripted_functions = {
    .dispatch = scripted_dispatch,
    .finalize = scripted_finalize,
};

void script_clock(gboolean is_scripted)
{
    is_clock_scripted = is_scripted;
}

void advance_clock(guint milliseconds)
{
    scripted_now += milliseconds;
    for (GList *link = timers; link != NULL; link = link->next) {
        ScriptedTimer *timer = link->data;

        if (timer->due <= scripted_now && !g_source_is_destroyed(&timer->source))
            g_source_set_ready_time(&timer->source, 0);
    }
}

gboolean is_timer_due_in(guint milliseconds)
{
    for (GList *link = timers; link != NULL; link = link->next) {
        const ScriptedTimer *timer = link->data;

        if (timer->due == scripted_now + milliseconds && !g_source_is_destroyed(link->data))
            return TRUE;
    }
    return FALSE;
}

static GSource *scripted_timer_new(guint interval)
{
    GSource *source = g_source_new(&scripted_functions, sizeof(ScriptedTimer));
    ScriptedTimer *timer = (ScriptedTimer *)source;

    timer->interval = interval;
    timer->due = scripted_now + interval;
    g_source_set_ready_time(source, interval == 0 ? 0 : -1);
    timers = g_list_prepend(timers, source);
    return source;
}

GSource *__wrap_g_timeout_source_new(guint interval)
{
    if (is_clock_scripted)
        return scripted_timer_new(interval);
    return __real_g_timeout_source_new(is_clock_fast ? interval / 100 : interval);
}
