/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channels "events" and "state": documents pushed by what happens.
 *
 * "events" is the journal: none may be left out. A channel keeps the number of the entry that is next and
 * no queue of its own, so a client that does not read costs nothing; when the journal does not keep that
 * entry any more the client has lost the thread, and the channel, and is told so. "state" is one VM: only
 * the newest document matters, so one slot is all it needs.
 */
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/ws.h"

/* ---- events ---------------------------------------------------------------------------------- */

typedef struct {
    TbdDaemon *daemon;
    TbxStreamChannel *channel;
    guint listener;
    char *first; /* nullable: what comes before the entries */
    gint64 next; /* number of the entry to be sent */
    char *text;  /* nullable: what was sent in part, ours because the journal may drop it */
    gsize length;
    gsize sent;
} Events;

static void events_free(Events *self)
{
    tbd_daemon_remove_listener(self->daemon, self->listener);
    g_free(self->first);
    g_free(self->text);
    g_free(self);
}

/* Sends the rest of what was begun; FALSE when there is no room for all of it. */
static gboolean events_flush(Events *self)
{
    if (self->text != NULL) {
        self->sent =
            tbx_stream_channel_send_document(self->channel, self->text, self->length, self->sent);
        if (self->sent < self->length) {
            return FALSE;
        }
        g_clear_pointer(&self->text, g_free);
    }
    return TRUE;
}

/* Sends what there is room for. The channel may be gone afterwards, and @self with it. */
static void events_pump(Events *self)
{
    TbxJournal *journal = tbd_daemon_get_journal(self->daemon);

    while (events_flush(self)) {
        const char *text;
        gsize length;

        self->sent = 0;
        if (self->first != NULL) {
            self->text = g_steal_pointer(&self->first);
            self->length = strlen(self->text);
            continue;
        }
        text = tbx_journal_get_text(journal, self->next, &length);
        if (text != NULL) {
            self->sent = tbx_stream_channel_send_document(self->channel, text, length, 0);
        }
        if (self->sent == 0) {
            break;
        }
        self->next++;
        if (self->sent < length) {
            self->text = g_strndup(text, length);
            self->length = length;
            break;
        }
    }
    if (self->next < tbx_journal_get_oldest(journal)) {
        tbd_ledger_get_counters(tbd_daemon_get_ledger(self->daemon))->overruns++;
        g_message("a client that does not read its events lost the channel (slow-consumer)");
        tbx_stream_channel_close(self->channel, "slow-consumer",
                                 "events were not read for so long that they are not kept any "
                                 "more; look at the present state and subscribe again");
        events_free(self);
    }
}

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    events_pump(user_data);
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

/* The option `since`, the only one; FALSE when the channel was closed for it. */
static gboolean read_since(TbxStreamChannel *channel, JsonObject *options, const char **ret_since)
{
    JsonNode *node = json_object_get_member(options, "since");
    g_autoptr(GError) error = NULL;

    *ret_since = NULL;
    if (json_object_get_size(options) > (node != NULL ? 1u : 0u)) {
        return tbd_ws_check_options(channel, options, NULL);
    }
    if (node == NULL) {
        return TRUE;
    }
    if (json_node_get_value_type(node) != G_TYPE_STRING) {
        error = tbx_error_new("field-invalid", "since", "since must be a string");
        tbd_ws_channel_fail(channel, error);
        return FALSE;
    }
    *ret_since = json_node_get_string(node);
    return TRUE;
}

void tbd_ws_events_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                        JsonObject *options, const TbdActor *actor)
{
    static const TbxStreamChannelHandlers handlers = {
        .writable = on_events_writable,
        .closed = on_events_closed,
    };
    TbxJournal *journal = tbd_daemon_get_journal(daemon);
    g_autoptr(TbxEventRecord) resync = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *position = NULL;
    const char *since;
    Events *self;
    gint64 next;

    if (!read_since(channel, options, &since)) {
        return;
    }
    if (!tbx_journal_find(journal, since, &next, &resync, &error)) {
        tbd_ws_channel_fail(channel, error);
        return;
    }
    self = g_new0(Events, 1);
    self->daemon = daemon;
    self->channel = channel;
    self->next = next;
    if (resync != NULL) {
        g_autoptr(JsonObject) object = tbx_event_record_to_json(resync);

        self->first = tbx_json_print_object(object, NULL);
    }
    position = g_strdup_printf("%s:%" G_GINT64_FORMAT, tbx_journal_get_epoch(journal), next - 1);
    tbx_stream_channel_accept_at(channel, position, &handlers, self);
    self->listener = tbd_daemon_add_listener(daemon, on_event, self);
    events_pump(self);
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
    char *text;                /* nullable: a document sent in part */
    gsize sent;                /* how much of it */
    guint listener;            /* 0 for none */
} State;

static void state_unref(State *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    g_clear_pointer(&self->unsent, tbx_vm_record_unref);
    g_free(self->text);
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
    while (self->vm_id != NULL && (self->text != NULL || self->unsent != NULL)) {
        gsize length;

        if (self->text == NULL) {
            g_autoptr(JsonObject) object = tbx_vm_record_to_json(self->unsent);

            if (tbx_stream_channel_get_room(self->channel) == 0) {
                return;
            }
            self->text = tbx_json_print_object(object, NULL);
            self->sent = 0;
            g_clear_pointer(&self->unsent, tbx_vm_record_unref);
        }
        length = strlen(self->text);
        self->sent =
            tbx_stream_channel_send_document(self->channel, self->text, length, self->sent);
        if (self->sent < length) {
            return;
        }
        g_clear_pointer(&self->text, g_free);
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
                       JsonObject *options, const TbdActor *actor)
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
