/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One VM of the local driver: its definition on disk, its state, its process, its console, and what is
 * being done to it.
 *
 * vm.c holds the VM together: documents, events, what the process reports. vm-verbs.c knows the actions:
 * each is a short sequence of steps, begun by tbx_local_vm_begin() and driven on by what the process
 * reports; nothing waits.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/local/console.h"
#include "libtenbox/local/operations.h"
#include "libtenbox/local/registry.h"
#include "libtenbox/local/trash.h"

G_BEGIN_DECLS

typedef struct _TbxLocalVm TbxLocalVm;

/* What VMs get from the driver; outlives them. */
typedef struct {
    TbxDriver *driver; /* for references that keep it while a callback runs */
    TbxRegistry *registry;
    TbxOperations *operations;
    TbxTrash *trash;    /* from the opening on */
    gboolean is_closed; /* no events any more */
    gboolean is_alive;  /* VMs are restarted by themselves; see tbx_local_vm_begin_life() */
    void (*emit)(const char *type, TbxVmRecord *vm, TbxDriver *driver);
    /* The VM and its folder are gone; the driver forgets it. */
    void (*removed)(TbxLocalVm *vm, TbxDriver *driver);
    /* Somebody has begun an action on it. */
    void (*touched)(TbxLocalVm *vm, TbxDriver *driver);
    /* It is known whether the VM's process lives. */
    void (*settled)(TbxLocalVm *vm, TbxDriver *driver);
} TbxLocalContext;

/**
 * tbx_local_vm_new:
 * @is_usable: whether the VM's folder could be opened
 * @definition: (transfer full) (nullable): %NULL when vm.json cannot be used, then @broken says why
 * @broken: (transfer full) (nullable): see above
 *
 * A stopped VM; emits nothing.
 */
TbxLocalVm *tbx_local_vm_new(TbxLocalContext *context, const char *id, gboolean is_usable,
                             TbxVmDefinition *definition, GError *broken);
TbxLocalVm *tbx_local_vm_ref(TbxLocalVm *self);
void tbx_local_vm_unref(TbxLocalVm *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxLocalVm, tbx_local_vm_unref)

/* Reads run/state.json and adopts the process that it names. TRUE: context->settled() follows; FALSE:
 * there is nothing to wait for. */
gboolean tbx_local_vm_load_state(TbxLocalVm *self);

/* The driver is closing: lets go of the process, ends streams. A process whose guest has not begun is
 * ended with it. */
void tbx_local_vm_close(TbxLocalVm *self);

/* Its next document is newer than one of @generation; for one whose document nobody has seen. */
void tbx_local_vm_set_generation(TbxLocalVm *self, gint64 generation);

const char *tbx_local_vm_get_id(TbxLocalVm *self);
/* (transfer none): the newest document. */
TbxVmRecord *tbx_local_vm_get_record(TbxLocalVm *self);
gboolean tbx_local_vm_has_process(TbxLocalVm *self);

/* Makes a new document and emits it, unless nothing differs. */
void tbx_local_vm_publish(TbxLocalVm *self, const char *type);

/* Takes an action on. (transfer full) (nullable): the operation's document. */
TbxOperationRecord *tbx_local_vm_begin(TbxLocalVm *self, TenboxVmAction action,
                                       const TbxActionOptions *options, GError **error);

/* From now on the VM is restarted by itself, as its policy says; context->is_alive is set. What came before
 * is told and made up for. */
void tbx_local_vm_begin_life(TbxLocalVm *self);
/* A start that nobody asked for: when it fails, the restart policy decides what follows. */
TbxOperationRecord *tbx_local_vm_begin_automatic(TbxLocalVm *self, GError **error);
/* Forgets restarts in a row, and one that is due. */
void tbx_local_vm_drop_restart(TbxLocalVm *self);

/* The operations of the driver of the same names; each completes and drops @task. */
void tbx_local_vm_update(TbxLocalVm *self, TbxVmSpec *spec, GTask *task);
void tbx_local_vm_read_log(TbxLocalVm *self, const char *source, guint line_count, GTask *task);
/* @followers: the list that the stream is in until it is closed. */
void tbx_local_vm_follow_log(TbxLocalVm *self, GQueue *followers, const char *source,
                             gint line_count, GTask *task);
void tbx_local_vm_get_statistics(TbxLocalVm *self, GTask *task);
void tbx_local_vm_send_key(TbxLocalVm *self, const char *key, GTask *task);
void tbx_local_vm_open_console(TbxLocalVm *self, TenboxConsoleFlags flags, const char *holder,
                               GTask *task);

G_END_DECLS
