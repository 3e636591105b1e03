/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One tenbox-runtime: born or adopted here, spoken with, waited for.
 *
 * Theory of operation. Launching spawns the program with an empty environment, one end of a socket pair
 * as descriptor 3 and nothing else, sends the launch message with its descriptors, and waits for the
 * runtime's greeting. Adopting opens the process by pid, makes sure it is the one that was meant, and
 * connects to its control socket. From there both are the same: a pidfd tells of the end (no SIGCHLD
 * handler, no race with a pid that is used again), the control connection of everything else.
 *
 * When the process ends, what it had still to say is read first; then exited() is called, once, with what
 * is known: the reason that the runtime reported, or the signal or status of the process. The status of
 * a process that is no child of this one cannot be had.
 *
 * When the connection ends before the process does, it is made anew a few times. Requests that come
 * meanwhile wait and are sent over the new one, in their order; those that were sent over the old one fail
 * with -ECONNRESET once the state of the runtime is known, unless the process ends first: the owner learns
 * of the cause before it learns of the effect. A process that cannot be reached can still be killed and
 * waited for.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/console-ring.h"
#include "libtenbox/local/resources.h"
#include "libtenbox/local/run-state.h"
#include "libtenbox/wire/wire-vm.h"
#include "tenbox-runtime/control-protocol.h"

G_BEGIN_DECLS

/* How long a runtime may take to answer its launch, or a controller's greeting. */
#define TBX_LAUNCH_TIMEOUT_MS 120000u
#define TBX_ADOPT_TIMEOUT_MS  10000u

typedef struct _TbxVmProcess TbxVmProcess;

/* All at home. Any of them may free the process. */
typedef struct {
    /* The greeting and the first state have come: a machine exists. After a launch and after each new
     * connection; @state is what the runtime is in. */
    void (*connected)(enum rt_state_value state, gpointer user_data);
    /* The launch was refused, for a reason that the user can be told; exited() follows. */
    void (*refused)(const GError *error, gpointer user_data);
    void (*state)(enum rt_state_value state, gpointer user_data);
    void (*reset_done)(gboolean by_host, gpointer user_data);
    void (*console_output)(gpointer user_data);
    void (*console_credit)(guint32 bytes, gpointer user_data);
    /* The connection ended and is to be made anew: connected() or unreachable() follows, or exited().
     * What is sent until then without being a request is lost. */
    void (*disconnected)(gpointer user_data);
    /* The connection is gone for good; the process may go on. */
    void (*unreachable)(const GError *error, gpointer user_data);
    /* The last call. @is_clean: guest or host switched the machine off. */
    void (*exited)(const TbxVmExit *exit, gboolean is_clean, gpointer user_data);
} TbxVmProcessHandlers;

typedef struct {
    const char *program; /* absolute path */
    const char *vm_id;   /* UUID */
    int run_fd;          /* where control.sock is, or will be */
    int log_fd;          /* for the runtime's standard error; borrowed */
    enum rt_launch_mode mode;
    gint64 memory_mb;
    gint64 cpu_count;
    const char *command_line;
    TbxResources *resources; /* all descriptors but ring and control socket, which are added */
} TbxLaunch;

/**
 * tbx_vm_process_launch:
 * @launch: what to run; borrowed for the call, its resources are used up
 *
 * On failure there is no process and nothing is called.
 */
TbxVmProcess *tbx_vm_process_launch(const TbxLaunch *launch, const TbxVmProcessHandlers *handlers,
                                    gpointer user_data, GError **error);

/**
 * tbx_vm_process_adopt:
 * @identity: a process of an earlier controller
 * @run_fd: where its control.sock is; duplicated
 *
 * NULL when it does not live any more. connected(), unreachable() or exited() follows.
 */
TbxVmProcess *tbx_vm_process_adopt(const TbxProcessIdentity *identity, int run_fd,
                                   const TbxVmProcessHandlers *handlers, gpointer user_data);

/* Lets go of the process, which lives on. Accepts NULL. */
void tbx_vm_process_free(TbxVmProcess *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmProcess, tbx_vm_process_free)

/* SIGKILL without a word: nothing is called any more, and it is freed when it has ended. */
void tbx_vm_process_abandon(TbxVmProcess *self);

const TbxProcessIdentity *tbx_vm_process_get_identity(TbxVmProcess *self);
/* (transfer none) (nullable): the ring; after connected(). */
TbxConsoleRing *tbx_vm_process_get_ring(TbxVmProcess *self);
gboolean tbx_vm_process_is_connected(TbxVmProcess *self);
/* The state that the runtime reported last; 0 before. */
enum rt_state_value tbx_vm_process_get_state(TbxVmProcess *self);

/* @code: 0 or a negative errno, -ECONNRESET when there was no connection; @user_data is that of the
 * handlers. Never called from within the request, nor after tbx_vm_process_free(). */
typedef void (*TbxReplied)(int code, guint token, gpointer user_data);

/* Sends a request without content; @replied is nullable. */
void tbx_vm_process_request(TbxVmProcess *self, enum rt_message_type type, TbxReplied replied,
                            guint token);

/* @statistics is NULL when there is no answer. Called exactly once, at the latest from within
 * tbx_vm_process_free(), unless the question was forgotten. */
typedef void (*TbxAnswered)(const struct rt_statistics *statistics, gpointer user_data);

/* Returns what tbx_vm_process_forget() needs. */
guint32 tbx_vm_process_get_statistics(TbxVmProcess *self, TbxAnswered answered, gpointer user_data);

/* Nobody waits for the answer to the question @serial any more; it has not come yet. */
void tbx_vm_process_forget(TbxVmProcess *self, guint32 serial);

void tbx_vm_process_send_input(TbxVmProcess *self, const guint8 *data, gsize length);
/* RT_CONSOLE_SEEN: what was announced is about to be read. */
void tbx_vm_process_console_seen(TbxVmProcess *self);

/* SIGKILL. exited() follows. */
void tbx_vm_process_kill(TbxVmProcess *self);

/* "SIGKILL" for 9; "signal 99" for what has no name; (transfer full). */
char *tbx_signal_get_name(int number);

G_END_DECLS
