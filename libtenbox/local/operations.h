/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations: what takes time, one per VM at once, with a history.
 *
 * An operation is begun for a VM, and ended once by whoever works on it. While it runs, a second one for
 * the same VM is refused with "vm-busy", unless it pre-empts: then the worker of the first is told to let
 * go, the first ends as cancelled, and the second begins. Ended operations are remembered for an hour,
 * the newest 500 of them, and across a restart: one that ran when its process ended is then "interrupted".
 *
 * Documents (TbxOperationRecord) are immutable; each change makes a new one and is announced.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/wire/wire-operation.h"

G_BEGIN_DECLS

#define TBX_OPERATIONS_FILE      "operations.jsonl"
#define TBX_OPERATIONS_KEPT      500
#define TBX_OPERATIONS_KEPT_USEC (G_GINT64_CONSTANT(3600) * G_USEC_PER_SEC)

typedef struct _TbxOperations TbxOperations;
typedef struct _TbxOperation TbxOperation;

/* How an operation is taken from its worker. */
typedef struct {
    /* A newcomer of @kind wants the VM. TRUE: the worker has let go of it, never touches @operation
     * again, and the registry ends it as cancelled. FALSE: it is too far, the newcomer is refused. */
    gboolean (*pre_empt)(TbxOperation *operation, const char *kind, gpointer user_data);
    /* Somebody asks for the end of it. The worker ends it soon: at once or later, as cancelled or,
     * being too far, as done. */
    void (*cancel)(TbxOperation *operation, gpointer user_data);
} TbxOperationHandlers;

/* @changed is called for each new document, @now gives microseconds of a clock that only grows (NULL:
 * the system's monotonic clock). Home: the caller's thread-default context. */
TbxOperations *tbx_operations_new(void (*changed)(TbxOperationRecord *record, gpointer user_data),
                                  gpointer user_data, gint64 (*now)(void));

/**
 * tbx_operations_remember:
 * @folder: absolute path of the data folder
 *
 * Loads what an earlier process left in TBX_OPERATIONS_FILE, and keeps it up to date from now on. To be
 * called before anything is begun; without it nothing outlives the process. The folder must be locked as
 * long as operations begin or end.
 */
gboolean tbx_operations_remember(TbxOperations *self, const char *folder, GError **error);

/* Those who wait learn "closed"; workers are not told. Accepts NULL. */
void tbx_operations_free(TbxOperations *self);
/* The first half of it: ends all waiting; what comes later is refused with "closed". */
void tbx_operations_close(TbxOperations *self);

/**
 * tbx_operations_begin:
 * @vm_id: (nullable): the VM; NULL for the host as a whole
 * @vm_name: its name, for messages
 * @kind: the word of the action
 * @pre_empt: whether a running operation has to give way
 * @handlers: static; may be NULL when the operation ends before control returns to the main loop
 *
 * Nobody hears of it before tbx_operation_announce(). What is told of one that gives way may make another
 * begin, which is not made to give way in turn.
 *
 * Returns: (transfer none) (nullable): the operation, valid until tbx_operation_end(); "vm-busy"
 */
TbxOperation *tbx_operations_begin(TbxOperations *self, const char *vm_id, const char *vm_name,
                                   const char *kind, gboolean pre_empt,
                                   const TbxOperationHandlers *handlers, gpointer user_data,
                                   GError **error);

/* The same with an id given by the caller (nullable: none is), which nobody has yet. */
TbxOperation *tbx_operations_begin_as(TbxOperations *self, const char *id, const char *vm_id,
                                      const char *vm_name, const char *kind, gboolean pre_empt,
                                      const TbxOperationHandlers *handlers, gpointer user_data,
                                      GError **error);

/**
 * tbx_operation_set_progress:
 * @stage: a word for what is being done now
 * @done_bytes: how much of something has been copied; -1: nothing is
 * @total_bytes: of how much
 *
 * Announced from the main loop, not from inside the call, and not more often than ten times a second: of
 * several changes in between the last one counts, and one that is over by then is not announced.
 */
void tbx_operation_set_progress(TbxOperation *operation, const char *stage, gint64 done_bytes,
                                gint64 total_bytes);

/* Announces the beginning; once, when the worker is ready for everything that its handlers are for: who
 * hears of it may cancel or pre-empt the operation at once, and then it has ended afterwards. */
void tbx_operation_announce(TbxOperation *operation);

/**
 * tbx_operation_end:
 * @error: (transfer full) (nullable): %NULL: done; "operation-cancelled": cancelled; else failed
 *
 * Announces the end, then completes those who wait.
 */
void tbx_operation_end(TbxOperation *operation, GError *error);

const char *tbx_operation_get_id(const TbxOperation *operation);
const char *tbx_operation_get_kind(const TbxOperation *operation);
/* (transfer none): the newest document. */
TbxOperationRecord *tbx_operation_get_document(const TbxOperation *operation);

/* (transfer none) (nullable): what runs on a VM, or (NULL) on the host as a whole. */
TbxOperation *tbx_operations_get_current(TbxOperations *self, const char *vm_id);

/* (transfer full) (nullable): the newest document of @id, "operation-not-found". */
TbxOperationRecord *tbx_operations_get(TbxOperations *self, const char *id, GError **error);

/* (transfer full): all documents, oldest first. */
GPtrArray *tbx_operations_list(TbxOperations *self);

/* Completes @task (transfer full) with the document of @id when it has ended or after @seconds. */
void tbx_operations_wait(TbxOperations *self, const char *id, guint seconds, GTask *task);

/* Asks for the end of @id; (transfer full): its document afterwards. "operation-not-found". */
TbxOperationRecord *tbx_operations_cancel(TbxOperations *self, const char *id, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxOperations, tbx_operations_free)

G_END_DECLS
