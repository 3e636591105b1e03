/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands behind a connection: a table of operations that a driver fills, the sink its events
 * go to, and the stream of a console.
 *
 * Theory of operation. A public entry checks its arguments, makes the GTask and calls the
 * tbx_driver_* function of the same name, which hands the task to the driver's operation or
 * completes it with "unsupported" (or "closed"). The driver owns the task it is given (transfer
 * full) and must complete it exactly once, later or at once; it looks at g_task_get_cancellable()
 * itself. Results are those noted at each operation, given by g_task_return_pointer() with the free
 * function noted there.
 *
 * A driver works in the main context that was thread-default when it was made, its home: operations
 * are called there, tasks complete there, events are pushed there. It never runs a nested main loop
 * and never blocks; threads it uses come back home before they touch a driver, sink or stream.
 *
 * Order. The event that shows an effect is pushed before the task that caused it completes. In one
 * driver, documents of one VM have growing generations.
 *
 * Drivers never call public entries, nor each other.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/driver/journal.h"
#include "libtenbox/tenbox-enums.h"
#include "libtenbox/wire/wire-event.h"
#include "libtenbox/wire/wire-operation.h"
#include "libtenbox/wire/wire-vm.h"

G_BEGIN_DECLS

typedef struct _TbxDriver TbxDriver;
typedef struct _TbxEventSink TbxEventSink;
typedef struct _TbxConsoleStream TbxConsoleStream;

/* ---- events ------------------------------------------------------------------------------- */

/* What a sink calls, in the driver's home context. Both may close and drop anything. */
typedef struct {
    void (*event)(TbxEventRecord *event, gpointer user_data);
    /* No more events: @error says what broke the watch. Not called for tbx_driver_close(). */
    void (*lost)(const GError *error, gpointer user_data);
} TbxEventSinkHandlers;

/* A counted object between driver and connection, so that either may go first. It has the journal, for a
 * driver that is the source of its events, and knows the position of what was delivered last. */
TbxEventSink *tbx_event_sink_new(const TbxEventSinkHandlers *handlers, gpointer user_data);
TbxEventSink *tbx_event_sink_ref(TbxEventSink *self);
void tbx_event_sink_unref(TbxEventSink *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxEventSink, tbx_event_sink_unref)

/* The listener is going away: nothing is called any more. */
void tbx_event_sink_disconnect(TbxEventSink *self);

/**
 * tbx_event_sink_emit:
 * @self: a sink
 * @type: TBX_EVENT_…
 * @vm: (nullable): the VM's new document (its last, for TBX_EVENT_VM_DELETED)
 * @operation: (nullable): the operation's new document
 *
 * For a driver that is the source of its events: stamps time, epoch (one per sink) and the next
 * sequence number, enters it into the journal and delivers at once. At most one of @vm and @operation is
 * given; neither for what concerns the host.
 */
void tbx_event_sink_emit(TbxEventSink *self, const char *type, TbxVmRecord *vm,
                         TbxOperationRecord *operation);

/* (transfer none): what was emitted lately, for a driver that is the source of its events. */
TbxJournal *tbx_event_sink_get_journal(TbxEventSink *self);

/**
 * tbx_event_sink_replay:
 * @since: (nullable): a position in the journal
 *
 * The `watch` of a driver that is the source of its events: delivers what has happened since then, or
 * "resync" when that is not known. "field-invalid".
 */
gboolean tbx_event_sink_replay(TbxEventSink *self, const char *since, GError **error);

/* For a driver that passes on events stamped elsewhere. */
void tbx_event_sink_forward(TbxEventSink *self, TbxEventRecord *event);
/* For the same driver: where the journal stood when the watch began, "EPOCH:SEQUENCE"; nullable. */
void tbx_event_sink_set_position(TbxEventSink *self, const char *position);
/* (transfer full) (nullable): the position of what was delivered last, or of the beginning of the
 * watch. */
char *tbx_event_sink_dup_position(TbxEventSink *self);

/* Somebody else who wants to see each event, before the handlers do, until it is removed. Observers
 * may add and remove any. */
void tbx_event_sink_add_observer(TbxEventSink *self,
                                 void (*function)(TbxEventRecord *event, gpointer user_data),
                                 gpointer user_data);
void tbx_event_sink_remove_observer(TbxEventSink *self, gpointer user_data);

/* The source of events is gone; see TbxEventSinkHandlers.lost. */
void tbx_event_sink_lost(TbxEventSink *self, const GError *error);

/* ---- consoles ----------------------------------------------------------------------------- */

typedef struct {
    /* One read at a time. GBytes, 1 to @maximum bytes, as soon as there are any; an empty GBytes
     * when the console has ended in order (VM stopped). Free function g_bytes_unref(). A cancelled
     * read loses no bytes. Before it completes, self->skipped has grown by what was lost in front
     * of these bytes. */
    void (*read)(TbxConsoleStream *self, gsize maximum, GTask *task);
    /* TRUE when the guest's side accepted all of @bytes. Several may wait; they are served in
     * order. The caller bounds how many. */
    void (*write)(TbxConsoleStream *self, GBytes *bytes, GTask *task);
    /* Called once. Tasks under way are completed with "closed" before it returns. */
    void (*close)(TbxConsoleStream *self);
    /* Tasks under way and all later ones are completed with a copy of @error. NULL where the driver does not
     * use TbxConsoleClaim. */
    void (*fail)(TbxConsoleStream *self, const GError *error);
    /* Frees the driver's struct, of which TbxConsoleStream is the first member; closed before. */
    void (*free)(TbxConsoleStream *self);
} TbxConsoleStreamOps;

/*
 * Who writes to a console: one of its streams, or, while none has asked to be the only one, each. Embedded in what
 * a driver has for a console; streams point to it.
 */
typedef struct {
    TbxConsoleStream *writer; /* nullable: the only one; not referenced, its closing forgets it */
    char *holder;             /* who that is, in words; owned */
} TbxConsoleClaim;

struct _TbxConsoleStream {
    const TbxConsoleStreamOps *ops; /* const */
    grefcount references;           /* home */
    gboolean is_closed;             /* home; no operation but free is called any more */
    guint64 skipped;                /* home; bytes lost so far because the reader was slow */
    TbxConsoleClaim *claim;         /* home; nullable: somebody else decides who may write */
    gboolean is_read_only;          /* const */
};

/**
 * tbx_console_claim_open:
 * @claim: of the console
 * @stream: just made
 * @flags: as it is opened
 * @holder: (nullable): who opens it, in words, such as "process 12 of user 1000"
 * @error: "console-busy", which names who writes
 *
 * Makes @stream obey @claim, and take it if @flags say so; the one from whom it is taken is failed by
 * its operation `fail`. On FALSE the stream is to be dropped.
 */
gboolean tbx_console_claim_open(TbxConsoleClaim *claim, TbxConsoleStream *stream,
                                TenboxConsoleFlags flags, const char *holder, GError **error);
/* The console goes; no stream points to it any more. */
void tbx_console_claim_clear(TbxConsoleClaim *claim);

/* Sets up the embedded base with one reference. */
void tbx_console_stream_init(TbxConsoleStream *self, const TbxConsoleStreamOps *ops);
TbxConsoleStream *tbx_console_stream_ref(TbxConsoleStream *self);
/* Closes and frees with the last reference. Accepts NULL. */
void tbx_console_stream_unref(TbxConsoleStream *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxConsoleStream, tbx_console_stream_unref)

void tbx_console_stream_read(TbxConsoleStream *self, gsize maximum, GTask *task);
void tbx_console_stream_write(TbxConsoleStream *self, GBytes *bytes, GTask *task);
void tbx_console_stream_close(TbxConsoleStream *self);

/* ---- drivers ------------------------------------------------------------------------------ */

/* A list of so many VMs may be no snapshot; see vm_list(). */
#define TBX_VM_LIST_PAGE 500

typedef struct {
    const char *name; /* "local", "remote", "test" */

    /* boolean. Mandatory, called once, first. */
    void (*open)(TbxDriver *self, GTask *task);
    /* Mandatory, called once. Tasks under way complete with "closed" soon; no event afterwards. VMs
     * go on. */
    void (*close)(TbxDriver *self);
    /* Mandatory. Frees the driver's struct, of which TbxDriver is the first member. */
    void (*free)(TbxDriver *self);

    /* All below: NULL = "unsupported". `vm` is an id or an exact name unless it is called vm_id. */

    void (*system_get)(TbxDriver *self, GTask *task); /* char *, JSON text (System); g_free() */
    void (*doctor)(TbxDriver *self, GTask *task);     /* char *, JSON text (Doctor); g_free() */

    /* TbxOperationRecord *, as vm_begin: all VMs are stopped, those of the highest start_order first.
     * The timeout of @options (borrowed) is for all together, -1: the driver's. Where all are being
     * stopped already it is that operation, whatever id the options say. */
    void (*system_stop_vms)(TbxDriver *self, const TbxActionOptions *options, GTask *task);

    /* GPtrArray of TbxVmRecord with its free function, sorted by name; g_ptr_array_unref(). With fewer than
     * TBX_VM_LIST_PAGE it is all VMs at one moment; a longer one may lack a VM that was renamed meanwhile. */
    void (*vm_list)(TbxDriver *self, GTask *task);
    /* TbxVmRecord *; tbx_vm_record_unref(). "vm-not-found". */
    void (*vm_get)(TbxDriver *self, const char *vm, GTask *task);
    /* TbxVmRecord *. @spec has passed tbx_vm_spec_validate_create(); keep a reference. Cancelling
     * the task withdraws the VM: when it completes as cancelled, nothing is left behind. */
    void (*vm_create)(TbxDriver *self, TbxVmSpec *spec, GTask *task);
    /* TbxVmRecord *. @spec has passed tbx_vm_spec_validate(). */
    void (*vm_update)(TbxDriver *self, const char *vm, TbxVmSpec *spec, GTask *task);
    /* TbxOperationRecord *, as soon as the action is taken on (state running, or already ended);
     * tbx_operation_record_unref(). All of TenboxVmAction, DELETE included. @options have passed
     * tbx_action_options_validate() and are borrowed for the call. Cancelling the task does not
     * cancel the operation. */
    void (*vm_begin)(TbxDriver *self, const char *vm, TenboxVmAction action,
                     const TbxActionOptions *options, GTask *task);

    /* GPtrArray of TbxVmRecord: the VMs in the trash, the latest deletion first. These go by vm_begin() with
     * DELETE and `purge` only. */
    void (*vm_list_deleted)(TbxDriver *self, GTask *task);
    /* TbxVmRecord *: out of the trash; @name (nullable): its new name, checked. "vm-not-found", "vm-exists"
     * (field name), "name-ambiguous". */
    void (*vm_undelete)(TbxDriver *self, const char *vm, const char *name, GTask *task);

    /* GPtrArray of TbxOperationRecord, oldest first: those that run or ended lately. */
    void (*operation_list)(TbxDriver *self, GTask *task);
    /* TbxOperationRecord *, as soon as it has ended or @wait_seconds (0 to TBX_OPERATION_WAIT_MAX)
     * are over, whichever is first. "operation-not-found". */
    void (*operation_get)(TbxDriver *self, const char *id, guint wait_seconds, GTask *task);
    /* TbxOperationRecord *, as soon as the cancelling is under way; ended ones are returned as they
     * are. */
    void (*operation_cancel)(TbxDriver *self, const char *id, GTask *task);

    /* char *, UTF-8 text; g_free(). @source "console" or "runtime"; the last @line_count lines, 0 =
     * all kept. */
    void (*vm_log)(TbxDriver *self, const char *vm, const char *source, guint line_count,
                   GTask *task);
    /* TbxConsoleStream * of UTF-8 text, to which nothing can be written; tbx_console_stream_unref(). The
     * last @line_count lines (-1: all kept), then what comes, over all runs, until the VM is gone: then
     * it ends in order. */
    void (*vm_log_follow)(TbxDriver *self, const char *vm, const char *source, gint line_count,
                          GTask *task);
    /* char *, JSON text (VmStatistics); g_free() */
    void (*vm_statistics)(TbxDriver *self, const char *vm, GTask *task);
    /* boolean: the guest's side took it. @key: "break". "vm-not-running", "console-busy" while the guest has
     * not read the last one. */
    void (*vm_send_key)(TbxDriver *self, const char *vm, const char *key, GTask *task);
    /* TbxConsoleStream *; tbx_console_stream_unref(). @holder, nullable, is who opens it, see
     * tbx_console_claim_open(). "vm-not-running", "console-busy". */
    void (*console_open)(TbxDriver *self, const char *vm, TenboxConsoleFlags flags,
                         const char *holder, GTask *task);
    /* boolean: from now on events are pushed. Called again only after the sink was told "lost". @since
     * (nullable): all up to this position of the journal has been seen; what came after it is pushed
     * first, or an entry of the type TBX_EVENT_RESYNC when that is not known (any more). */
    void (*watch)(TbxDriver *self, const char *since, GTask *task);
    /* TbxCallAnswer *, the answer as it came; tbx_call_answer_free(). Only where there is HTTP. @target is a path
     * with its query, percent-encoded; @body is nullable and borrowed. */
    void (*call)(TbxDriver *self, const char *method, const char *target, JsonObject *body,
                 GTask *task);
} TbxDriverOps;

/* What a call brought. */
typedef struct {
    char *text;
    char *content_type; /* nullable, without parameters, lower case */
} TbxCallAnswer;

void tbx_call_answer_free(gpointer answer);

struct _TbxDriver {
    const TbxDriverOps *ops; /* const */
    grefcount references;    /* home */
    char *uri;               /* const, never NULL; freed by the base */
    TbxEventSink *events;    /* const, a reference */
    GMainContext *home;      /* const, a reference */
    gboolean is_open;        /* home */
    gboolean is_closed;      /* home; no operation but free is called any more */
    gboolean is_trusting;    /* const after open; open need not ask whether anybody is there */
    /* For the entries: */
    gboolean is_watching; /* home; documents come by events, older ones are to be ignored */
    gboolean is_private;  /* const after open; `home` is iterated by the _sync functions only */
};

/* Sets up the embedded base with one reference; @events is referenced, @uri copied. */
void tbx_driver_init(TbxDriver *self, const TbxDriverOps *ops, const char *uri,
                     TbxEventSink *events);

/**
 * tbx_driver_new:
 * @uri: an absolute URI, see tenbox-connection.h
 * @events: where events go
 * @error: "field-invalid" (field "uri"), "unsupported"
 *
 * Picks the driver by the URI alone; nothing is opened yet.
 *
 * Returns: (transfer full) (nullable): a driver
 */
TbxDriver *tbx_driver_new(const char *uri, TbxEventSink *events, GError **error);
TbxDriver *tbx_driver_ref(TbxDriver *self);
/* Closes and frees with the last reference. Accepts NULL. */
void tbx_driver_unref(TbxDriver *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxDriver, tbx_driver_unref)

/* Each takes over the reference on @task and sees that it completes. */
void tbx_driver_open(TbxDriver *self, GTask *task);
void tbx_driver_close(TbxDriver *self);
void tbx_driver_system_get(TbxDriver *self, GTask *task);
void tbx_driver_doctor(TbxDriver *self, GTask *task);
void tbx_driver_system_stop_vms(TbxDriver *self, const TbxActionOptions *options, GTask *task);
void tbx_driver_vm_list(TbxDriver *self, GTask *task);
void tbx_driver_vm_get(TbxDriver *self, const char *vm, GTask *task);
void tbx_driver_vm_create(TbxDriver *self, TbxVmSpec *spec, GTask *task);
void tbx_driver_vm_update(TbxDriver *self, const char *vm, TbxVmSpec *spec, GTask *task);
void tbx_driver_vm_begin(TbxDriver *self, const char *vm, TenboxVmAction action,
                         const TbxActionOptions *options, GTask *task);
void tbx_driver_vm_list_deleted(TbxDriver *self, GTask *task);
void tbx_driver_vm_undelete(TbxDriver *self, const char *vm, const char *name, GTask *task);
void tbx_driver_operation_list(TbxDriver *self, GTask *task);
void tbx_driver_operation_get(TbxDriver *self, const char *id, guint wait_seconds, GTask *task);
void tbx_driver_operation_cancel(TbxDriver *self, const char *id, GTask *task);
void tbx_driver_vm_log(TbxDriver *self, const char *vm, const char *source, guint line_count,
                       GTask *task);
void tbx_driver_vm_log_follow(TbxDriver *self, const char *vm, const char *source, gint line_count,
                              GTask *task);
void tbx_driver_vm_statistics(TbxDriver *self, const char *vm, GTask *task);
void tbx_driver_vm_send_key(TbxDriver *self, const char *vm, const char *key, GTask *task);
void tbx_driver_console_open(TbxDriver *self, const char *vm, TenboxConsoleFlags flags,
                             const char *holder, GTask *task);
void tbx_driver_call(TbxDriver *self, const char *method, const char *target, JsonObject *body,
                     GTask *task);
void tbx_driver_watch(TbxDriver *self, const char *since, GTask *task);

/* ---- the drivers there are ---------------------------------------------------------------- */

/**
 * tbx_local_driver_new: (in local/)
 * @uri: the whole URI, for tbx_driver_init()
 * @data_folder: (nullable): absolute path; NULL for the user's ($XDG_DATA_HOME/tenbox)
 * @served_at: (nullable): how others reach this process, written into the folder's lock so that the
 *   next one can name it; from the query of the URI: local:///folder?served-at=unix:///run/x.sock
 * @trash_days: how long deleted VMs are kept, 0: not at all; from the query, too: trash-days=7
 */
TbxDriver *tbx_local_driver_new(const char *uri, const char *data_folder, const char *served_at,
                                gint64 trash_days, TbxEventSink *events, GError **error);

/**
 * tbx_remote_driver_new: (in remote/)
 * @uri: the whole URI, for tbx_driver_init()
 * @socket_path: absolute path of the daemon's socket
 */
TbxDriver *tbx_remote_driver_new(const char *uri, const char *socket_path, TbxEventSink *events,
                                 GError **error);

/**
 * tbx_test_driver_new: (in test/)
 * @uri: the whole URI, for tbx_driver_init()
 * @path: which VMs there are: "/default" or "/empty"
 * @query: (nullable): what they do, still encoded; see test/test-script.h
 */
TbxDriver *tbx_test_driver_new(const char *uri, const char *path, const char *query,
                               TbxEventSink *events, GError **error);

G_END_DECLS
