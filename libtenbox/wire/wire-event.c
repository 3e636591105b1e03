/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An entry of the journal; see wire-event.h. `data` is not in the table, since its shape hangs on
 * `type`.
 */
#include "libtenbox/wire/wire-event.h"

#include "libtenbox/wire/wire-error.h"

#define FIELD(member, type, flags)                                                                 \
    {                                                                                              \
#member, type, flags, G_STRUCT_OFFSET(TbxEventRecord, member)                              \
    }

static const TbxField fields[] = {
    FIELD(sequence, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(epoch, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(time, TBX_FIELD_TIME, TBX_FIELD_REQUIRED),
    FIELD(type, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(vm_id, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
};

static const TbxRecordType event_type = {
    "event",
    sizeof(TbxEventRecord),
    fields,
    G_N_ELEMENTS(fields),
};

TbxEventRecord *tbx_event_record_new(void)
{
    return g_atomic_rc_box_new0(TbxEventRecord);
}

TbxEventRecord *tbx_event_record_ref(TbxEventRecord *self)
{
    return g_atomic_rc_box_acquire(self);
}

static void record_clear(gpointer data)
{
    TbxEventRecord *self = data;

    tbx_record_clear(&event_type, self);
    tbx_vm_record_unref(self->vm);
    tbx_operation_record_unref(self->operation);
    g_clear_pointer(&self->foreign, json_object_unref);
}

void tbx_event_record_unref(TbxEventRecord *self)
{
    if (self)
        g_atomic_rc_box_release_full(self, record_clear);
}

/* Events about VMs that we know must bring the VM; what a newer daemon adds may bring anything. */
static gboolean decode_data(TbxEventRecord *self, JsonObject *object, GError **error)
{
    JsonNode *data = json_object_get_member(object, "data");
    gboolean is_vm = g_strcmp0(self->type, TBX_EVENT_VM_CREATED) == 0 ||
                     g_strcmp0(self->type, TBX_EVENT_VM_CHANGED) == 0 ||
                     g_strcmp0(self->type, TBX_EVENT_VM_STATE) == 0 ||
                     g_strcmp0(self->type, TBX_EVENT_VM_DELETED) == 0 ||
                     g_strcmp0(self->type, TBX_EVENT_VM_REBOOTED) == 0 ||
                     g_strcmp0(self->type, TBX_EVENT_HOST_REBOOTED) == 0;
    gboolean is_operation = g_strcmp0(self->type, TBX_EVENT_OPERATION_CHANGED) == 0;

    if (!is_vm && !is_operation) {
        /* Of a newer daemon, perhaps; what is no VM is nothing to us. */
        if (self->type && g_str_has_prefix(self->type, "vm.") && data &&
            JSON_NODE_HOLDS_OBJECT(data))
            self->vm = tbx_vm_record_from_json(json_node_get_object(data), NULL);
        return TRUE;
    }
    if (!data || !JSON_NODE_HOLDS_OBJECT(data)) {
        tbx_error_set(error, "protocol-error", "data",
                      "the event received is not valid: %s without its document", self->type);
        return FALSE;
    }
    if (is_vm)
        self->vm = tbx_vm_record_from_json(json_node_get_object(data), error);
    else
        self->operation = tbx_operation_record_from_json(json_node_get_object(data), error);
    return self->vm || self->operation;
}

TbxEventRecord *tbx_event_record_from_json(JsonObject *object, GError **error)
{
    g_autoptr(TbxEventRecord) self = tbx_event_record_new();

    if (!tbx_record_decode(&event_type, object, TBX_DECODE_TOLERANT, self, NULL, error) ||
        !decode_data(self, object, error))
        return NULL;
    self->foreign = json_object_ref(object);
    return g_steal_pointer(&self);
}

JsonObject *tbx_event_record_to_json(TbxEventRecord *self)
{
    if (self->foreign)
        return json_object_ref(self->foreign);

    JsonObject *object = tbx_record_encode(&event_type, self, G_MAXUINT64);
    if (self->vm)
        json_object_set_object_member(object, "data", tbx_vm_record_to_json(self->vm));
    else if (self->operation)
        json_object_set_object_member(object, "data",
                                      tbx_operation_record_to_json(self->operation));
    else
        json_object_set_null_member(object, "data");
    return object;
}
