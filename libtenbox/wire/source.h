/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a GSource that a struct keeps: GLib's own two calls leave the pointer behind.
 */
#pragma once

#include <glib.h>

/* Destroys, drops and forgets *@source, which may be NULL. */
static inline void tbx_source_clear(GSource **source)
{
    if (*source == NULL)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}
