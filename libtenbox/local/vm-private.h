/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of a TbxLocalVm, for vm.c, vm-update.c and vm-verbs.c alone.
 */
#pragma once

#include "libtenbox/local/console-log.h"
#include "libtenbox/local/files.h"
#include "libtenbox/local/run-config.h"
#include "libtenbox/local/vm-process.h"
#include "libtenbox/local/vm-state.h"
#include "libtenbox/local/vm.h"

G_BEGIN_DECLS

/* How far the birth of the process has come; NONE once the guest runs, and when there is no process. */
typedef enum {
    TBX_LAUNCH_NONE,
    TBX_LAUNCH_WAITING,   /* for the greeting of the runtime */
    TBX_LAUNCH_RECORDING, /* run/state.json is on its way to the disk: no guest runs unrecorded */
    TBX_LAUNCH_BOOTING,   /* RT_START was sent */
} TbxLaunchStep;

/* What the action under way waits for. */
typedef enum {
    TBX_PHASE_NONE,
    TBX_PHASE_LAUNCHING,    /* the guest's beginning */
    TBX_PHASE_WAKING,       /* stop of a paused VM: the guest to run again */
    TBX_PHASE_ASKING,       /* the guest to switch itself off, or the reply to the button */
    TBX_PHASE_POWERING_OFF, /* the process to end after RT_POWER_OFF */
    TBX_PHASE_KILLING,      /* the process to end after SIGKILL */
    TBX_PHASE_RESETTING,
    TBX_PHASE_PAUSING,
    TBX_PHASE_RESUMING,
    TBX_PHASE_REMOVING, /* the folder */
    TBX_PHASE_UPDATING, /* files and vm.json */
} TbxVerbPhase;

typedef struct {
    TbxOperation *operation; /* NULL: nothing is being done */
    TenboxVmAction action;   /* UNKNOWN for an update */
    TbxVerbPhase phase;
    guint token;          /* of this action; replies to an earlier one are not for it */
    gint64 timeout;       /* seconds that a guest gets to switch itself off */
    gboolean purge;       /* delete: for good */
    gboolean is_accepted; /* the runtime's reply to the request has come */
    gboolean is_cancelled;
    GSource *timer;
    GCancellable *cancellable; /* of an update */
} TbxVerb;

/* What is done with the VM when nobody asks; see vm-life.c. */
typedef struct {
    guint count;                   /* restarts in a row that were made by themselves */
    TbxVmRestart *due;             /* nullable: the next one */
    GSource *timer;                /* until then */
    GSource *stable;               /* until the run ends the row */
    gboolean begins_automatically; /* the action that is about to begin is nobody's wish */
    gboolean is_automatic;         /* the same of the one under way */
    char *owed;                    /* nullable: why it ended before the driver was alive */
    gboolean is_failure_owed;
    gboolean is_host_rebooted; /* and nobody was told */
} TbxVmLife;

struct _TbxLocalVm {
    grefcount references;
    TbxLocalContext *context;
    char *id;
    TbxPlace *folder; /* NULL, as the two: it cannot be used */
    TbxPlace *run;
    TbxPlace *logs;

    TbxVmDefinition *definition; /* NULL: broken */
    GError *broken;
    TbxRunConfig *next_config; /* nullable: what a process would get that is started now */
    TbxRunConfig *run_config;  /* nullable: what the process has, if that is known */
    gboolean is_updating;      /* a new definition is on its way to the disk */

    TbxVmStateCell state;
    TbxVmProcess *process;
    TbxLaunchStep launch;
    gboolean is_adopting;
    GError *refusal; /* of the process that is ending */

    gint64 launched_at; /* of the process that is being born */
    gint64 started_at;
    gint64 shutdown_requested_at;
    TbxVmExit *last_exit;
    TbxVmProblem *last_error;

    guint question_count; /* of statistics that wait for their answer */

    GTask *break_task;        /* nullable: a break of the serial line that is not answered yet */
    guint break_token;        /* of that */
    GSource *break_timer;     /* nullable */
    GSource *break_cancelled; /* nullable */

    TbxLocalConsole *console;
    TbxConsoleLog *log;
    TbxFileWriter *definition_writer;
    TbxFileWriter *state_writer;

    TbxVerb verb;
    TbxVmLife life;
    TbxVmRecord *record;
};

/* The process is going: a key that waits for its answer gets none. */
void tbx_local_vm_end_key(TbxLocalVm *self);

/* A reference on the VM and on its driver, for what runs while an event may make the last owner go, and
 * for what comes back from a thread. */
typedef TbxLocalVm TbxHeldVm;

static inline TbxHeldVm *tbx_local_vm_hold(TbxLocalVm *self)
{
    tbx_driver_ref(self->context->driver);
    return tbx_local_vm_ref(self);
}

static inline void tbx_local_vm_release(TbxHeldVm *self)
{
    TbxDriver *driver = self->context->driver;

    tbx_local_vm_unref(self);
    tbx_driver_unref(driver);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxHeldVm, tbx_local_vm_release)

/* vm.c */

/* Begins a process; state must be STARTING. connected() of vm.c goes on. */
gboolean tbx_local_vm_launch(TbxLocalVm *self, GError **error);
/* "vm-broken" for a VM whose vm.json cannot be used. */
gboolean tbx_local_vm_check_usable(TbxLocalVm *self, GError **error);
/* Writes run/state.json. */
void tbx_local_vm_save_state(TbxLocalVm *self, GAsyncReadyCallback callback, gpointer user_data);
/* The definition or a file of it is another one now. */
void tbx_local_vm_note_definition(TbxLocalVm *self);
/* Writes vm.json; a failure is logged. */
void tbx_local_vm_save_definition(TbxLocalVm *self);
void tbx_local_vm_set_last_error(TbxLocalVm *self, const GError *error);
/* Applies an event whose legality the caller has made sure of. Who hears of it may do anything: begin or
 * cancel an action, close the driver. */
void tbx_local_vm_apply(TbxLocalVm *self, TbxVmEvent event);

/* vm-life.c: what happened, for whoever starts the VM by itself. */
/* It ended, and nobody had asked it to. */
void tbx_life_on_exit(TbxLocalVm *vm, gboolean is_failure, const char *reason);
/* A start that nobody had asked for has failed. */
void tbx_life_on_start_failed(TbxLocalVm *vm, const GError *error);
void tbx_life_on_running(TbxLocalVm *vm);
/* An action has been accepted. */
void tbx_life_on_verb(TbxLocalVm *vm, TenboxVmAction action, gboolean is_automatic);
void tbx_life_on_definition(TbxLocalVm *vm);
/* The driver closes while a start is under way that nobody asked for: it is due again. */
void tbx_life_owe_start(TbxLocalVm *vm);
/* No timer any more; what is due stays on record. */
void tbx_life_clear(TbxLocalVm *vm);
void tbx_life_free(TbxLocalVm *vm);

/* vm-verbs.c: what the action under way makes of what happened; each may end it. */
void tbx_verb_on_state(TbxLocalVm *vm, enum rt_state_value state);
void tbx_verb_on_reset(TbxLocalVm *vm, gboolean by_host);
/* The connection was made anew; what was told in between is lost. */
void tbx_verb_on_reconnect(TbxLocalVm *vm);
void tbx_verb_on_unreachable(TbxLocalVm *vm, const GError *error);
/* @failure: what a start that never came to a guest failed of. Called after the state has changed. */
void tbx_verb_on_exit(TbxLocalVm *vm, TbxLaunchStep launch, gboolean is_clean,
                      const GError *failure);
/* Whether the console stays open because the VM is to start again. */
gboolean tbx_verb_restarts(TbxLocalVm *vm, gboolean is_clean);
/* Whether the process was killed because the user wanted it gone. */
gboolean tbx_verb_wants_end(TbxLocalVm *vm);
/* Whether the end of the process, clean or not, is the action's business: what was to end it, or a start
 * whose failure it will tell. */
gboolean tbx_verb_answers_for_end(TbxLocalVm *vm, gboolean is_clean);
/* Forgets the action without ending its operation. */
void tbx_verb_drop(TbxLocalVm *vm);
/* Ends it; the VM may be gone afterwards unless the caller holds a reference. */
void tbx_verb_end(TbxLocalVm *vm, GError *error);
/* An operation around a change of vm.json; "vm-busy". */
gboolean tbx_verb_begin_update(TbxLocalVm *vm, GError **error);

G_END_DECLS
