/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run/state.json: what a successor of this daemon must know about a VM, and a user after a reboot of the
 * host: which process runs it, since when, and how the last one ended.
 *
 * A process is named by pid, start time and boot id: a pid alone may have been given to another.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/run-config.h"
#include "libtenbox/wire/wire-vm.h"

G_BEGIN_DECLS

typedef struct {
    gint64 pid;        /* 0 = none */
    gint64 start_time; /* in clock ticks since the boot, of /proc/PID/stat */
    char boot_id[40];  /* of /proc/sys/kernel/random/boot_id, NUL-terminated */
} TbxProcessIdentity;

typedef struct {
    TbxProcessIdentity process;
    gint64 started_at;            /* microseconds since 1970, 0 = none */
    gint64 shutdown_requested_at; /* the same */
    gint64 last_boot_time;        /* the same; vm.json learns of it later, perhaps never */
    TbxRunConfig *config;         /* nullable: what the process was made of */
    TbxVmExit *last_exit;         /* nullable */
    TbxVmProblem *last_error;     /* nullable */
    gint64 restart_count;         /* in a row, by themselves; of this boot */
    TbxVmRestart *restart;        /* nullable: the next one; of this boot */
} TbxRunState;

TbxRunState *tbx_run_state_new(void);
void tbx_run_state_free(TbxRunState *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxRunState, tbx_run_state_free)

/* What last_exit.reason is when the host went down with the VM. */
#define TBX_EXIT_HOST_REBOOTED "host-rebooted"

/* Tolerant: what cannot be understood counts as absent. An unreadable file is an empty state. */
TbxRunState *tbx_run_state_parse(const char *text, gsize length);
GBytes *tbx_run_state_print(const TbxRunState *self);

/* How a process ended, and the last refusal; deep copies, (nullable). */
TbxVmExit *tbx_vm_exit_copy(const TbxVmExit *self);
void tbx_vm_exit_free(TbxVmExit *self);
TbxVmProblem *tbx_vm_problem_copy(const TbxVmProblem *self);
void tbx_vm_problem_free(TbxVmProblem *self);
TbxVmRestart *tbx_vm_restart_copy(const TbxVmRestart *self);
void tbx_vm_restart_free(TbxVmRestart *self);
TbxVmProblem *tbx_vm_problem_new(const GError *error);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmExit, tbx_vm_exit_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmProblem, tbx_vm_problem_free)

/* What this run of the host's kernel is called; (transfer full): "" when the kernel does not say. */
char *tbx_boot_id_read(void);

/* What is known of a living process. FALSE when there is none of that pid. */
gboolean tbx_process_identity_read(gint64 pid, TbxProcessIdentity *ret_identity);

/* Whether the process of that pid still is the one that @identity names; it may have ended without
 * having been waited for. */
gboolean tbx_process_identity_is_present(const TbxProcessIdentity *identity);

/* Whether @identity belongs to this run of the host's kernel. */
gboolean tbx_process_identity_is_of_this_boot(const TbxProcessIdentity *identity);

/* Figures of /proc for a VM's process; FALSE when it is gone. */
gboolean tbx_process_get_usage(gint64 pid, gint64 *ret_resident_bytes, gint64 *ret_cpu_time_ns);

G_END_DECLS
