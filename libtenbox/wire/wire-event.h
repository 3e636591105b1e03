/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An entry of the journal: {"sequence","epoch","time","type","vm_id","data"}.
 *
 * `data` is the whole document the entry is about: the VM's for "vm.created", "vm.changed",
 * "vm.state", "vm.rebooted", "host.rebooted" and (its last) "vm.deleted", the operation's for "operation.changed"; any other
 * "vm.…" may bring the VM's. A follower never has to ask back.
 */
#pragma once

#include "libtenbox/wire/wire-field.h"
#include "libtenbox/wire/wire-operation.h"
#include "libtenbox/wire/wire-vm.h"

G_BEGIN_DECLS

#define TBX_EVENT_VM_CREATED        "vm.created"
#define TBX_EVENT_VM_CHANGED        "vm.changed" /* anything but the state differs */
#define TBX_EVENT_VM_STATE          "vm.state"   /* the state differs, perhaps more */
#define TBX_EVENT_VM_DELETED        "vm.deleted"
#define TBX_EVENT_VM_REBOOTED       "vm.rebooted"   /* the guest rebooted by itself or by request */
#define TBX_EVENT_VM_RESTART        "vm.restart"    /* it ended, and is started again later */
#define TBX_EVENT_VM_AUTOSTART      "vm.autostart"  /* it is being started since its host was */
#define TBX_EVENT_HOST_REBOOTED     "host.rebooted" /* the host was restarted while the VM ran */
/* A VM in the trash, which has deleted_at, is no VM of the list: "vm.deleted" follows on the first. */
#define TBX_EVENT_VM_TRASHED        "vm.trashed"
#define TBX_EVENT_VM_UNDELETED      "vm.undeleted"      /* it is in the list again */
#define TBX_EVENT_VM_PURGED         "vm.purged"         /* its files are gone */
#define TBX_EVENT_OPERATION_CHANGED "operation.changed" /* begun, got further, or ended */
/* Not entries of the journal, but put among them for one follower; see driver/journal.h. Their sequence
 * is that of the last entry. */
#define TBX_EVENT_RESYNC            "resync"    /* entries were missed: look at everything anew */
#define TBX_EVENT_HEARTBEAT         "heartbeat" /* nothing happened */

/* Counted, immutable once shared. */
typedef struct _TbxEventRecord TbxEventRecord;
struct _TbxEventRecord {
    gint64 sequence;
    char *epoch;
    gint64 time;
    char *type;
    char *vm_id; /* nullable */
    /* At most one of these; none for an event of a newer daemon. */
    TbxVmRecord *vm;
    TbxOperationRecord *operation;

    /*< private >*/
    JsonObject *foreign; /* nullable: the document as it came */
};

TbxEventRecord *tbx_event_record_new(void);
TbxEventRecord *tbx_event_record_ref(TbxEventRecord *self);
void tbx_event_record_unref(TbxEventRecord *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxEventRecord, tbx_event_record_unref)

/* Tolerant; "protocol-error". */
TbxEventRecord *tbx_event_record_from_json(JsonObject *object, GError **error);
JsonObject *tbx_event_record_to_json(TbxEventRecord *self);

G_END_DECLS
