/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public face of an event record.
 */
#include "libtenbox/tenbox-internal.h"

#include "libtenbox/wire/json-guard.h"

struct _TenboxEvent {
    GObject parent_instance;
    TbxEventRecord *record; /* const */
};

G_DEFINE_FINAL_TYPE(TenboxEvent, tenbox_event, G_TYPE_OBJECT)

static void tenbox_event_finalize(GObject *object)
{
    TenboxEvent *self = TENBOX_EVENT(object);

    tbx_event_record_unref(self->record);
    G_OBJECT_CLASS(tenbox_event_parent_class)->finalize(object);
}

static void tenbox_event_class_init(TenboxEventClass *class)
{
    G_OBJECT_CLASS(class)->finalize = tenbox_event_finalize;
}

static void tenbox_event_init(TenboxEvent *self)
{
}

TenboxEvent *tbx_event_new(TbxEventRecord *record)
{
    TenboxEvent *self = g_object_new(TENBOX_TYPE_EVENT, NULL);

    self->record = tbx_event_record_ref(record);
    return self;
}

const char *tenbox_event_get_event_type(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), NULL);

    return self->record->type;
}

const char *tenbox_event_get_vm_id(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), NULL);

    return self->record->vm_id;
}

guint64 tenbox_event_get_sequence(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), 0);

    return (guint64)self->record->sequence;
}

const char *tenbox_event_get_epoch(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), NULL);

    return self->record->epoch;
}

gint64 tenbox_event_get_time(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), 0);

    return self->record->time;
}

char *tenbox_event_dup_json(TenboxEvent *self)
{
    g_return_val_if_fail(TENBOX_IS_EVENT(self), NULL);

    g_autoptr(JsonObject) object = tbx_event_record_to_json(self->record);
    return tbx_json_print_object(object, NULL);
}
