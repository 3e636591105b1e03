/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `tenbox doctor`: tries whether this host can run VMs, and names the fix of each fault.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/registry.h"

G_BEGIN_DECLS

/**
 * tbx_doctor_run_async:
 * @registry: the open data folder
 * @cancellable: (nullable): of the caller
 * @closing: cancelled when the driver is closed
 *
 * Runs all checks: the data folder in a thread, the machine by a runtime in probe mode, which is given
 * the KVM device and nothing else. A fault is a row of the answer, not an error of the call.
 * G_IO_ERROR_CANCELLED (domain G_IO_ERROR) or "closed", soon: a probe under way is killed.
 */
void tbx_doctor_run_async(TbxRegistry *registry, GCancellable *cancellable, GCancellable *closing,
                          GAsyncReadyCallback callback, gpointer user_data);

/* (transfer full) (nullable): JSON text (schema Doctor). */
char *tbx_doctor_run_finish(GAsyncResult *result, GError **error);

G_END_DECLS
