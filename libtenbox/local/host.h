/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this host has, and whether it is enough.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* What time it is, in a form that shows whether the clock was set. In seconds. */
typedef struct {
    gint64 time;      /* since 1970, as the clock says; it may be set, forwards and back */
    gint64 uptime;    /* of this run of the kernel, sleep included; it is never set */
    char boot_id[40]; /* of that run */
} TbxHostClock;

void tbx_host_read_clock(TbxHostClock *ret_clock);

/* The name of this run of the kernel. */
gboolean tbx_host_read_boot_id(char *ret_id, gsize size);

/* Memory of the host in MiB; at least 1. */
gint64 tbx_host_get_memory_mb(void);

/* Memory in MiB that programs could still get: what is free, what the kernel would give up, and swap. */
gint64 tbx_host_get_available_memory_mb(void);

/* "insufficient-memory", field memory_mb: a VM of @memory_mb may never fit this host. */
gboolean tbx_host_check_memory_size(gint64 memory_mb, GError **error);

/* The same: it does not fit now. */
gboolean tbx_host_check_memory_available(gint64 memory_mb, GError **error);

/* "/dev/kvm", or $TENBOX_KVM_DEVICE for hosts that have it elsewhere and for tests that have none. */
const char *tbx_host_get_kvm_device(void);

/**
 * tbx_host_open_kvm:
 *
 * Opens the KVM device; what it can do is the business of the runtime and of the doctor.
 *
 * Returns: a descriptor that the caller owns; -1 and "kvm-unavailable" with field "kvm" and the fix as
 *   hint
 */
int tbx_host_open_kvm(GError **error);

/* "kvm-unavailable" when the device does not speak the API that has not changed since 2007. */
gboolean tbx_host_check_kvm_version(int kvm_fd, GError **error);

/* The members `host` and `kvm` of the document System; (transfer full). */
JsonObject *tbx_host_describe(void);
JsonObject *tbx_host_describe_kvm(void);

G_END_DECLS
