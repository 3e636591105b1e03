/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands between the local driver and three functions that it calls, so that a test can hold the
 * moment it wants to look at. Linked with
 * -Wl,--wrap=tbx_socket_connect_at,--wrap=tbx_host_check_kvm_version,--wrap=g_timeout_source_new.
 */
#pragma once

#include <glib.h>

/* Called once while a connection is being made anew: the old one is known to be lost, and the greeting of
 * the runtime has not been looked at. */
extern GSourceFunc on_reconnecting;
extern gpointer on_reconnecting_data;
/* Whether anything passes for KVM. */
extern gboolean is_kvm_believed;
/* The driver's timers run a hundred times as fast: they are there for what never happens. */
extern gboolean is_clock_fast;

/* From now on the timers of the driver, and all others that are made, wait for the test: the clock stands
 * still until advance_clock(). FALSE: timers run by themselves again; those that wait are lost. */
void script_clock(gboolean is_scripted);
/* Lets time pass: what is due is called by the main loop. */
void advance_clock(guint milliseconds);
/* Whether a timer waits that is due in so many milliseconds. */
gboolean is_timer_due_in(guint milliseconds);
