/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The document of an operation: {"id","kind","vm_id","state","progress","error","created_at","begun_at",
 * "ended_at"}.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/wire/wire-field.h"

G_BEGIN_DECLS

/* The longest one GET of an operation may be held, in seconds. */
#define TBX_OPERATION_WAIT_MAX 60

/* How far it is. What is not known is -1. */
typedef struct {
    char *stage;       /* a word for what is being done: "launching", "asking-guest", … */
    gint64 percent;    /* 0 to 100 */
    gint64 done_bytes; /* of something that is copied */
    gint64 total_bytes;
} TbxOperationProgress;

/* Counted, immutable once shared. */
typedef struct _TbxOperationRecord TbxOperationRecord;
struct _TbxOperationRecord {
    char *id;                       /* UUID */
    char *kind;                     /* word of the TenboxVmAction */
    char *vm_id;                    /* nullable */
    int state;                      /* TenboxOperationState */
    TbxOperationProgress *progress; /* nullable; of one that has ended, how far it came */
    GError *error;                  /* nullable; set when failed, cancelled or interrupted */
    gint64 created_at;
    gint64 begun_at; /* when the work began; 0 = not yet, or not known */
    gint64 ended_at; /* 0 = running */
};

TbxOperationRecord *tbx_operation_record_new(void);
TbxOperationRecord *tbx_operation_record_ref(TbxOperationRecord *self);
void tbx_operation_record_unref(TbxOperationRecord *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxOperationRecord, tbx_operation_record_unref)
TbxOperationRecord *tbx_operation_record_copy(const TbxOperationRecord *self);

/* Tolerant; "protocol-error". */
TbxOperationRecord *tbx_operation_record_from_json(JsonObject *object, GError **error);
JsonObject *tbx_operation_record_to_json(const TbxOperationRecord *self);

G_END_DECLS
