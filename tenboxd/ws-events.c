/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channels "events" and "state": documents pushed by what happens.
 *
 * "events" is the journal: none may be left out, so they queue while the client does not read, up
 * to a bound; a client beyond it loses the channel, is told so, and has to look at the present
 * state anew. "state" is one VM: only the newest document matters, so one slot is all it needs.
 */
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-limits.h"
#include "tenboxd/ws.h"

/* Sends @text as one document if there is room; on_writable is called when there is later. */
static gboolean send_document(TbxStreamChannel *channel, const char *text)
{
    gsize length = strlen(text);

    if (tbx_stream_channel_get_room(channel) < length) {
        return FALSE;
    }
    tbx_stream_channel_send(channel, TBX_STREAM_DOCUMENT, text, length);
    return TRUE;
}

/* ---- events ---------------------------------------------------------------------------------- */

typedef struct {
    TbdDaemon *daemon;
    TbxStreamChannel *channel;
    guint listener;
    GQueue queue; /* of char *, JSON text */
    gsize size;
} Events;

static void events_free(Events *self)
{
    tbd_daemon_remove_listener(self->daemon, self->listener);
    g_queue_clear_full(&self->queue, g_free);
    g_free(self);
}

static void events_pump(Events *self)
{
    char *text;

    while ((text = g_queue_peek_head(&self->queue)) != NULL && send_document(self->channel, text)) {
        self->size -= strlen(text);
        g_free(g_queue_pop_head(&self->queue));
    }
}

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    Events *self = user_data;
    g_autoptr(JsonObject) object = tbx_event_record_to_json(event);
    gsize length;
    char *text = tbx_json_print_object(object, &length);

    g_queue_push_tail(&self->queue, text);
    self->size += length;
    if (self->queue.length == 1) {
        events_pump(self);
    }
    if (self->queue.length > TBD_EVENTS_QUEUE_MAX || self->size > TBD_EVENTS_SIZE_MAX) {
        tbx_stream_channel_close(
            self->channel, "timed-out",
            "too many events are waiting to be read; look at the present state "
            "and subscribe again");
        events_free(self);
    }
}

static void on_events_writable(TbxStreamChannel *channel, gpointer user_data)
{
    events_pump(user_data);
}

static void on_events_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                             gpointer user_data)
{
    events_free(user_data);
}

void tbd_ws_events_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                        JsonObject *options)
{
    static const TbxStreamChannelHandlers handlers = {
        .writable = on_events_writable,
        .closed = on_events_closed,
    };
    Events *self;

    if (!tbd_ws_check_options(channel, options, NULL)) {
        return;
    }
    self = g_new0(Events, 1);
    self->daemon = daemon;
    self->channel = channel;
    g_queue_init(&self->queue);
    tbx_stream_channel_accept(channel, &handlers, self);
    self->listener = tbd_daemon_add_listener(daemon, on_event, self);
}

/* ---- state ----------------------------------------------------------------------------------- */

/* Counted: by the channel and by the task that looks the VM up. */
typedef struct {
    grefcount references;
    TbdDaemon *daemon;
    TbxStreamChannel *channel; /* NULL once closed */
    char *asked;               /* the id or name of the subscription */
    char *vm_id;               /* NULL until it was looked up */
    TbxVmRecord *unsent;       /* nullable: the newest document, not sent yet */
    guint listener;            /* 0 for none */
} State;

static void state_unref(State *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    g_clear_pointer(&self->unsent, tbx_vm_record_unref);
    g_free(self->asked);
    g_free(self->vm_id);
    g_free(self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(State, state_unref)

static void state_detach(State *self)
{
    self->channel = NULL;
    if (self->listener != 0) {
        tbd_daemon_remove_listener(self->daemon, self->listener);
        self->listener = 0;
    }
    state_unref(self);
}

static void state_pump(State *self)
{
    g_autoptr(JsonObject) object = NULL;
    g_autofree char *text = NULL;

    if (self->unsent == NULL || self->vm_id == NULL) {
        return;
    }
    object = tbx_vm_record_to_json(self->unsent);
    text = tbx_json_print_object(object, NULL);
    if (send_document(self->channel, text)) {
        g_clear_pointer(&self->unsent, tbx_vm_record_unref);
    }
}

/* Until the lookup is over, events are matched by what was asked for: the document that it brings
 * may already be overtaken. */
static gboolean is_about(const State *self, const TbxVmRecord *vm)
{
    if (self->vm_id != NULL) {
        return strcmp(vm->id, self->vm_id) == 0;
    }
    return strcmp(vm->id, self->asked) == 0 || strcmp(vm->name, self->asked) == 0;
}

static void on_vm_event(TbxEventRecord *event, gpointer user_data)
{
    State *self = user_data;

    if (event->vm == NULL || !is_about(self, event->vm)) {
        return;
    }
    if (strcmp(event->type, TBX_EVENT_VM_DELETED) == 0) {
        tbx_stream_channel_close(self->channel, "vm-not-found", "the VM was deleted");
        state_detach(self);
        return;
    }
    g_clear_pointer(&self->unsent, tbx_vm_record_unref);
    self->unsent = tbx_vm_record_ref(event->vm);
    state_pump(self);
}

static void on_state_writable(TbxStreamChannel *channel, gpointer user_data)
{
    state_pump(user_data);
}

static void on_state_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                            gpointer user_data)
{
    state_detach(user_data);
}

static const TbxStreamChannelHandlers state_handlers = {
    .writable = on_state_writable,
    .closed = on_state_closed,
};

static void on_vm_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(State) self = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (self->channel == NULL) {
        return;
    }
    if (record == NULL) {
        tbd_ws_channel_fail(self->channel, error);
        state_detach(self);
        return;
    }
    self->vm_id = g_strdup(record->id);
    if (self->unsent == NULL || strcmp(self->unsent->id, record->id) != 0 ||
        self->unsent->generation < record->generation) {
        g_clear_pointer(&self->unsent, tbx_vm_record_unref);
        self->unsent = g_steal_pointer(&record);
    }
    tbx_stream_channel_accept(self->channel, &state_handlers, self);
    state_pump(self);
}

void tbd_ws_state_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                       JsonObject *options)
{
    State *self;

    if (!tbd_ws_check_options(channel, options, NULL)) {
        return;
    }
    self = g_new0(State, 1);
    g_ref_count_init(&self->references);
    self->daemon = daemon;
    self->channel = channel;
    self->asked = g_strdup(vm);
    self->listener = tbd_daemon_add_listener(daemon, on_vm_event, self);
    tbx_stream_channel_set_handlers(channel, &state_handlers, self);
    g_ref_count_inc(&self->references);
    tbx_driver_vm_get(tbd_daemon_get_driver(daemon), vm, g_task_new(NULL, NULL, on_vm_found, self));
}
