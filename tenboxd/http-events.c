/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GET /v1/events: the journal over plain HTTP, as JSON lines or as server-sent events.
 *
 * A reader has the number of its next entry and nothing else, see journal.h. When the journal does not keep
 * that entry any more, an entry "closed" with the code slow-consumer ends the answer, if the client still
 * comes to read it. A heartbeat follows what was replayed, so that the client knows where it stands and
 * that it is heard, and then comes whenever nothing else did for a while.
 */
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/http-limits.h"
#include "tenboxd/http-stream.h"

typedef struct {
    TbdDaemon *daemon;
    TbdHttpStream *stream; /* NULL before its beginning */
    char **types;          /* nullable: "vm.state", or "vm." for all that begin so */
    char *vm_id;           /* nullable */
    gboolean is_sse;
    gboolean follows;

    guint listener;
    GSource *timer;
    guint heartbeat;        /* seconds */
    TbxEventRecord *resync; /* nullable: what comes first */
    gint64 next;
    gint64 last; /* without follow: where it ends */
    gboolean wants_heartbeat;
    gint64 told_at; /* monotonic, of the last piece */
} Events;

static void events_free(Events *self)
{
    if (self->listener != 0) {
        tbd_daemon_remove_listener(self->daemon, self->listener);
    }
    tbx_source_clear(&self->timer);
    g_clear_pointer(&self->resync, tbx_event_record_unref);
    g_strfreev(self->types);
    g_free(self->vm_id);
    tbd_daemon_unref(self->daemon);
    g_free(self);
}

/* ---- one entry ------------------------------------------------------------------------------- */

static void add_text(Events *self, GString *out, const char *type, gint64 sequence,
                     const char *text, gsize length)
{
    TbxJournal *journal = tbd_daemon_get_journal(self->daemon);

    if (self->is_sse) {
        g_string_append_printf(out, "id: %s:%" G_GINT64_FORMAT "\nevent: %s\ndata: ",
                               tbx_journal_get_epoch(journal), sequence, type);
    }
    g_string_append_len(out, text, (gssize)length);
    g_string_append(out, self->is_sse ? "\n\n" : "\n");
}

static void add_record(Events *self, GString *out, TbxEventRecord *event)
{
    g_autoptr(JsonObject) object = tbx_event_record_to_json(event);
    gsize length;
    g_autofree char *text = tbx_json_print_object(object, &length);

    add_text(self, out, event->type, event->sequence, text, length);
}

/* The entry that ends the answer for a reason. (transfer full) */
static char *print_end(Events *self, const char *code, const char *detail)
{
    TbxJournal *journal = tbd_daemon_get_journal(self->daemon);
    g_autoptr(TbxEventRecord) event = tbx_journal_make_heartbeat(journal);
    g_autoptr(JsonObject) object = NULL;
    g_autoptr(GError) error = tbx_error_new(code, NULL, "%s", detail);
    g_autofree char *text = NULL;
    GString *out = g_string_new(NULL);
    gsize length;

    g_free(event->type);
    event->type = g_strdup("closed");
    event->sequence = self->next - 1;
    object = tbx_event_record_to_json(event);
    json_object_set_object_member(object, "data", tbx_error_to_problem(error, NULL));
    text = tbx_json_print_object(object, &length);
    add_text(self, out, event->type, event->sequence, text, length);
    return g_string_free(out, FALSE);
}

static gboolean is_wanted(Events *self, const TbxEventRecord *event)
{
    gboolean is_of_type = self->types == NULL;

    for (char **type = self->types; type != NULL && *type != NULL && !is_of_type; type++) {
        is_of_type = g_str_has_suffix(*type, ".") ? g_str_has_prefix(event->type, *type)
                                                  : strcmp(event->type, *type) == 0;
    }
    return is_of_type && (self->vm_id == NULL || g_strcmp0(event->vm_id, self->vm_id) == 0);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void end_slow(Events *self)
{
    g_autofree char *last =
        print_end(self, "slow-consumer",
                  "events were not read for so long that they are not kept any more; look at the "
                  "present state and ask again");

    tbd_ledger_get_counters(tbd_daemon_get_ledger(self->daemon))->overruns++;
    g_message("a client that does not read its events is cut (slow-consumer)");
    tbd_daemon_remove_listener(self->daemon, self->listener);
    self->listener = 0;
    tbd_http_stream_end(self->stream, last);
}

static void on_fill(TbdHttpStream *stream, GString *out, gpointer user_data)
{
    Events *self = user_data;
    TbxJournal *journal = tbd_daemon_get_journal(self->daemon);
    gint64 last = self->follows ? tbx_journal_get_sequence(journal) : self->last;

    if (self->next < tbx_journal_get_oldest(journal)) {
        end_slow(self);
        return;
    }
    if (self->resync != NULL) {
        add_record(self, out, self->resync);
        g_clear_pointer(&self->resync, tbx_event_record_unref);
    }
    while (self->next <= last && out->len < TBD_HTTP_STREAM_PIECE) {
        TbxEventRecord *event = tbx_journal_get(journal, self->next);
        gsize length;
        const char *text = tbx_journal_get_text(journal, self->next, &length);

        if (is_wanted(self, event)) {
            add_text(self, out, event->type, event->sequence, text, length);
        }
        self->next++;
    }
    if (self->next > last && !self->follows) {
        tbd_http_stream_end(stream, NULL);
    } else if (self->next > last && self->wants_heartbeat) {
        g_autoptr(TbxEventRecord) event = tbx_journal_make_heartbeat(journal);

        add_record(self, out, event);
        self->wants_heartbeat = FALSE;
    }
    if (out->len > 0) {
        self->told_at = g_get_monotonic_time();
    }
}

static void on_closed(TbdHttpStream *stream, gpointer user_data)
{
    events_free(user_data);
}

static void on_quitting(TbdHttpStream *stream, gpointer user_data)
{
    g_autofree char *last = print_end(user_data, "shutting-down", "the daemon is shutting down");

    tbd_http_stream_end(stream, last);
}

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    Events *self = user_data;

    /* Cut while it does not read: the reason is the next thing that it reads. */
    if (self->next < tbx_journal_get_oldest(tbd_daemon_get_journal(self->daemon))) {
        end_slow(self);
    } else {
        tbd_http_stream_wake(self->stream);
    }
}

static gboolean on_heartbeat_time(gpointer user_data)
{
    Events *self = user_data;

    if (g_get_monotonic_time() - self->told_at >= self->heartbeat * G_USEC_PER_SEC / 2) {
        self->wants_heartbeat = TRUE;
        tbd_http_stream_wake(self->stream);
    }
    return G_SOURCE_CONTINUE;
}

static void on_begun(TbdHttpStream *stream, gpointer user_data)
{
    Events *self = user_data;

    self->stream = stream;
    if (!self->follows) {
        return;
    }
    self->wants_heartbeat = TRUE;
    self->listener = tbd_daemon_add_listener(self->daemon, on_event, self);
    self->timer = g_timeout_source_new_seconds(self->heartbeat);
    g_source_set_callback(self->timer, on_heartbeat_time, self, NULL);
    g_source_attach(self->timer, g_main_context_get_thread_default());
}

/* ---- the request ----------------------------------------------------------------------------- */

/* "vm.state,vm.*": words with dots, a star at an end. */
static gboolean read_types(Events *self, const char *list, GError **error)
{
    if (list == NULL) {
        return TRUE;
    }
    self->types = g_strsplit(*list != '\0' ? list : ",", ",", -1);
    for (char **type = self->types; *type != NULL; type++) {
        gsize length = strlen(*type);

        if (length > 2 && strcmp(*type + length - 2, ".*") == 0) {
            (*type)[--length] = '\0';
        }
        if (length == 0 || length > 64 || strspn(*type, "abcdefghijklmnopqrstuvwxyz.-") != length) {
            tbx_error_set(error, "field-invalid", "type",
                          "type is one or more types of events with commas between them, such as "
                          "vm.state or vm.*");
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean wants_sse(TbdRequest *request)
{
    const char *accept = tbd_request_get_header(request, "Accept");

    return accept != NULL && strstr(accept, "text/event-stream") != NULL;
}

static void begin(TbdRequest *request, Events *self)
{
    static const TbdHttpStreamHandlers handlers = {on_fill, on_closed, on_quitting};

    tbd_http_stream_begin(request, self->is_sse ? "text/event-stream" : "application/jsonl",
                          &handlers, on_begun, self);
}

static void on_vm_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    Events *self = tbd_request_steal_state(request);
    GError *error = NULL;
    g_autoptr(TbxVmRecord) vm = g_task_propagate_pointer(G_TASK(result), &error);

    if (vm == NULL) {
        events_free(self);
        tbd_request_fail(request, error);
        return;
    }
    g_free(self->vm_id);
    self->vm_id = g_strdup(vm->id);
    begin(request, self);
}

void tbd_events_get(TbdRequest *request)
{
    const TbdQuery *query = tbd_request_get_query(request);
    TbdDaemon *daemon = tbd_request_get_daemon(request);
    TbxJournal *journal = tbd_daemon_get_journal(daemon);
    const char *since = query->since;
    Events *self = g_new0(Events, 1);
    GError *error = NULL;

    self->daemon = tbd_daemon_ref(daemon);
    self->is_sse = wants_sse(request);
    self->follows = query->follow;
    self->heartbeat = query->heartbeat > 0 ? query->heartbeat : TBD_HEARTBEAT_SECONDS;
    if (since == NULL) {
        since = tbd_request_get_header(request, "Last-Event-ID");
    }
    if (!read_types(self, query->type, &error) ||
        !tbx_journal_find(journal, since, &self->next, &self->resync, &error)) {
        events_free(self);
        tbd_request_fail(request, error);
        return;
    }
    self->last = tbx_journal_get_sequence(journal);
    if (since == NULL && !self->follows) {
        self->next = tbx_journal_get_oldest(journal);
    }
    self->vm_id = g_strdup(query->vm);
    if (query->vm == NULL || tbx_vm_id_is_valid(query->vm)) {
        begin(request, self);
        return;
    }
    tbd_request_set_state(request, self);
    tbx_driver_vm_get(tbd_request_get_driver(request), query->vm,
                      tbd_request_task(request, on_vm_found));
}
