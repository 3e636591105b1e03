/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a test:/// URI asks for: which VMs there are, how long things take, and what goes wrong.
 *
 *   test:///default            four VMs: alpha runs, beta is stopped, gamma is paused, delta has crashed
 *   test:///empty              none
 *
 * Parameters of the query, each as NAME=VALUE, joined by '&':
 *
 *   vms=N             N more, stopped: vm-00001, vm-00002 ... (to 100,000)
 *   boot-ms=N         from the beginning of a start to a guest that runs (0)
 *   stop-ms=N         from the press of a power button to a guest that is down (0)
 *   latency-ms=N      every call is answered so much later (0)
 *   hang=OP[,OP...]   these calls are not answered until they are cancelled or the connection is closed
 *   fault=OP:CODE[:FIELD[:COUNT]]
 *                     OP fails with the error CODE (see docs/errors.md), about FIELD if one is given,
 *                     the first COUNT times (always, if none is given); may be repeated
 *
 * OP is a call: open, system-get, system-stop-vms, doctor, vm-list, vm-get, vm-create, vm-update, operation-list,
 * operation-get, operation-cancel, vm-log, vm-log-follow, vm-statistics, console-open, console-read, console-write, watch;
 * an action that is refused: vm-start, vm-stop, vm-shutdown, vm-reboot, vm-reset, vm-pause, vm-resume,
 * vm-delete; or an action that is taken on and then fails: start, stop, shutdown, reboot, reset, pause,
 * resume, delete. `all` stands for every one of them but open.
 *
 * A single VM is told by words of its kernel command line: fault=..., as above but without COUNT, and what
 * test-vm.h lists.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct _TbxTestScript TbxTestScript;
struct _TbxTestScript {
    grefcount references;
    gboolean has_vms; /* default, not empty */
    guint vm_count;
    guint boot_ms;
    guint stop_ms;
    guint latency_ms;
    GPtrArray *faults;
    char **hangs; /* nullable */
};

/* @path: "/default", "/empty" or "/", which is default; @query: still encoded, nullable. "field-invalid",
 * field "uri", saying what is wrong. */
TbxTestScript *tbx_test_script_new(const char *path, const char *query, GError **error);
TbxTestScript *tbx_test_script_ref(TbxTestScript *self);
void tbx_test_script_unref(TbxTestScript *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxTestScript, tbx_test_script_unref)

/* (transfer full) (nullable): the error with which @operation has to fail now. @cmdline (nullable): of the
 * VM that it is about. */
GError *tbx_test_script_take_fault(TbxTestScript *self, const char *operation, const char *cmdline);

/* Whether @operation is not to be answered. */
gboolean tbx_test_script_hangs(TbxTestScript *self, const char *operation);

/* "field-invalid", field cmdline: it has a fault=... that cannot be understood. */
gboolean tbx_test_script_check_cmdline(const char *cmdline, GError **error);

/* Whether @word is one of the words of @cmdline (nullable). */
gboolean tbx_test_cmdline_has(const char *cmdline, const char *word);

G_END_DECLS
