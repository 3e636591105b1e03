/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The document of an operation; see wire-operation.h.
 */
#include "libtenbox/wire/wire-operation.h"

static const char *state_to_string(int value)
{
    return tenbox_operation_state_to_string((TenboxOperationState)value);
}

static int state_from_string(const char *text)
{
    return (int)tenbox_operation_state_from_string(text);
}

static const TbxFieldWords state_words = {state_to_string, state_from_string};

#define FIELD(member, type, flags)                                                                 \
    {                                                                                              \
#member, type, flags, G_STRUCT_OFFSET(TbxOperationRecord, member)                          \
    }

#define PROGRESS_FIELD(member, type, flags)                                                        \
    {                                                                                              \
#member, type, flags, G_STRUCT_OFFSET(TbxOperationProgress, member)                        \
    }

static const TbxField progress_fields[] = {
    PROGRESS_FIELD(stage, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    PROGRESS_FIELD(percent, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE | TBX_FIELD_MINUS_ONE),
    PROGRESS_FIELD(done_bytes, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE | TBX_FIELD_MINUS_ONE),
    PROGRESS_FIELD(total_bytes, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE | TBX_FIELD_MINUS_ONE),
};

static const TbxRecordType progress_type = {
    "operation",
    sizeof(TbxOperationProgress),
    progress_fields,
    G_N_ELEMENTS(progress_fields),
};

static const TbxField fields[] = {
    FIELD(id, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(kind, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(vm_id, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    {"state", TBX_FIELD_ENUM, TBX_FIELD_REQUIRED, G_STRUCT_OFFSET(TbxOperationRecord, state),
     &state_words},
    {"progress", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE,
     G_STRUCT_OFFSET(TbxOperationRecord, progress), NULL, &progress_type},
    FIELD(error, TBX_FIELD_PROBLEM, TBX_FIELD_NULLABLE),
    FIELD(created_at, TBX_FIELD_TIME, TBX_FIELD_REQUIRED),
    FIELD(begun_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE),
    FIELD(ended_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE),
};

static const TbxRecordType type = {
    "operation",
    sizeof(TbxOperationRecord),
    fields,
    G_N_ELEMENTS(fields),
};

TbxOperationRecord *tbx_operation_record_new(void)
{
    return g_atomic_rc_box_new0(TbxOperationRecord);
}

TbxOperationRecord *tbx_operation_record_ref(TbxOperationRecord *self)
{
    return g_atomic_rc_box_acquire(self);
}

static void record_clear(gpointer data)
{
    tbx_record_clear(&type, data);
}

void tbx_operation_record_unref(TbxOperationRecord *self)
{
    if (self)
        g_atomic_rc_box_release_full(self, record_clear);
}

TbxOperationRecord *tbx_operation_record_copy(const TbxOperationRecord *self)
{
    TbxOperationRecord *copy = tbx_operation_record_new();

    tbx_record_copy(&type, self, copy);
    return copy;
}

TbxOperationRecord *tbx_operation_record_from_json(JsonObject *object, GError **error)
{
    g_autoptr(TbxOperationRecord) self = tbx_operation_record_new();

    if (!tbx_record_decode(&type, object, TBX_DECODE_TOLERANT, self, NULL, error))
        return NULL;
    return g_steal_pointer(&self);
}

JsonObject *tbx_operation_record_to_json(const TbxOperationRecord *self)
{
    return tbx_record_encode(&type, self, G_MAXUINT64);
}
