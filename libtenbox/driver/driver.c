/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Base of drivers, sinks and console streams, and the choice of a driver by URI; see driver.h.
 *
 * The dispatch functions are the one place that knows what to answer for a connection that is
 * closed or an operation that a driver lacks, so that no driver and no entry has to.
 */
#include "libtenbox/driver/driver.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"

/* ---- events ------------------------------------------------------------------------------- */

struct _TbxEventSink {
    grefcount references;
    const TbxEventSinkHandlers *handlers; /* NULL once disconnected */
    gpointer user_data;
    TbxJournal *journal; /* NULL until somebody wants it */
    char *position;      /* nullable */
    GArray *observers;   /* nullable: of Observer */
};

typedef struct {
    void (*function)(TbxEventRecord *event, gpointer user_data);
    gpointer user_data;
} Observer;

TbxEventSink *tbx_event_sink_new(const TbxEventSinkHandlers *handlers, gpointer user_data)
{
    TbxEventSink *self = g_new0(TbxEventSink, 1);

    g_ref_count_init(&self->references);
    self->handlers = handlers;
    self->user_data = user_data;
    return self;
}

TbxEventSink *tbx_event_sink_ref(TbxEventSink *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_event_sink_unref(TbxEventSink *self)
{
    if (self && g_ref_count_dec(&self->references)) {
        tbx_journal_free(self->journal);
        g_clear_pointer(&self->observers, g_array_unref);
        g_free(self->position);
        g_free(self);
    }
}

void tbx_event_sink_disconnect(TbxEventSink *self)
{
    self->handlers = NULL;
}

TbxJournal *tbx_event_sink_get_journal(TbxEventSink *self)
{
    if (!self->journal)
        self->journal = tbx_journal_new();
    return self->journal;
}

void tbx_event_sink_emit(TbxEventSink *self, const char *type, TbxVmRecord *vm,
                         TbxOperationRecord *operation)
{
    g_return_if_fail(!vm || !operation);

    g_autoptr(TbxEventRecord) event = tbx_event_record_new();
    event->time = g_get_real_time();
    event->type = g_strdup(type);
    if (vm || operation)
        event->vm_id = g_strdup(vm ? vm->id : operation->vm_id);
    event->vm = vm ? tbx_vm_record_ref(vm) : NULL;
    event->operation = operation ? tbx_operation_record_ref(operation) : NULL;
    tbx_journal_append(tbx_event_sink_get_journal(self), event);
    tbx_event_sink_forward(self, event);
}

gboolean tbx_event_sink_replay(TbxEventSink *self, const char *since, GError **error)
{
    G_GNUC_UNUSED g_autoptr(TbxEventSink) keep = tbx_event_sink_ref(self);
    TbxJournal *journal = tbx_event_sink_get_journal(self);
    g_autoptr(TbxEventRecord) resync = NULL;
    g_autofree char *position = NULL;
    gint64 next, last = tbx_journal_get_sequence(journal);

    if (!tbx_journal_find(journal, since, &next, &resync, error))
        return FALSE;
    position = g_strdup_printf("%s:%" G_GINT64_FORMAT, tbx_journal_get_epoch(journal), next - 1);
    tbx_event_sink_set_position(self, position);
    if (resync)
        tbx_event_sink_forward(self, resync);
    /* Whoever hears of one may cause more; those are delivered as they come. */
    for (; next <= last; next++) {
        TbxEventRecord *entry = tbx_journal_get(journal, next);
        g_autoptr(TbxEventRecord) event = entry ? tbx_event_record_ref(entry) : NULL;

        if (event)
            tbx_event_sink_forward(self, event);
    }
    return TRUE;
}

void tbx_event_sink_set_position(TbxEventSink *self, const char *position)
{
    if (position == self->position)
        return;
    g_free(self->position);
    self->position = g_strdup(position);
}

char *tbx_event_sink_dup_position(TbxEventSink *self)
{
    return g_strdup(self->position);
}

static gboolean is_observing(TbxEventSink *self, gpointer user_data)
{
    for (guint i = 0; i < self->observers->len; i++) {
        if (g_array_index(self->observers, Observer, i).user_data == user_data)
            return TRUE;
    }
    return FALSE;
}

void tbx_event_sink_add_observer(TbxEventSink *self,
                                 void (*function)(TbxEventRecord *event, gpointer user_data),
                                 gpointer user_data)
{
    Observer observer = {function, user_data};

    if (!self->observers)
        self->observers = g_array_new(FALSE, FALSE, sizeof(Observer));
    g_array_append_val(self->observers, observer);
}

void tbx_event_sink_remove_observer(TbxEventSink *self, gpointer user_data)
{
    for (guint i = 0; self->observers && i < self->observers->len; i++) {
        if (g_array_index(self->observers, Observer, i).user_data == user_data) {
            g_array_remove_index_fast(self->observers, i);
            return;
        }
    }
}

void tbx_event_sink_forward(TbxEventSink *self, TbxEventRecord *event)
{
    G_GNUC_UNUSED g_autoptr(TbxEventSink) keep = tbx_event_sink_ref(self);
    g_autofree char *position =
        g_strdup_printf("%s:%" G_GINT64_FORMAT, event->epoch, event->sequence);

    tbx_event_sink_set_position(self, position);
    /* Who hears of it may let go of others, and then the array is another. */
    g_autoptr(GArray) observers = self->observers ? g_array_copy(self->observers) : NULL;
    for (guint i = 0; observers && i < observers->len; i++) {
        Observer *observer = &g_array_index(observers, Observer, i);
        if (is_observing(self, observer->user_data))
            observer->function(event, observer->user_data);
    }
    if (self->handlers)
        self->handlers->event(event, self->user_data);
}

void tbx_event_sink_lost(TbxEventSink *self, const GError *error)
{
    G_GNUC_UNUSED g_autoptr(TbxEventSink) keep = tbx_event_sink_ref(self);

    if (self->handlers)
        self->handlers->lost(error, self->user_data);
}

/* ---- consoles ----------------------------------------------------------------------------- */

void tbx_console_stream_init(TbxConsoleStream *self, const TbxConsoleStreamOps *ops)
{
    self->ops = ops;
    g_ref_count_init(&self->references);
    self->is_closed = FALSE;
    self->skipped = 0;
    self->claim = NULL;
    self->is_read_only = FALSE;
}

/* ---- who writes ------------------------------------------------------------------------------ */

static void claim_drop(TbxConsoleClaim *claim)
{
    claim->writer = NULL;
    g_clear_pointer(&claim->holder, g_free);
}

static GError *taken_error(const TbxConsoleClaim *claim)
{
    return tbx_error_new("console-busy", NULL, "%s writes to this console",
                         claim->holder ? claim->holder : "another client");
}

gboolean tbx_console_claim_open(TbxConsoleClaim *claim, TbxConsoleStream *stream,
                                TenboxConsoleFlags flags, const char *holder, GError **error)
{
    const gboolean is_forced = (flags & TENBOX_CONSOLE_FLAGS_FORCE) != 0;
    g_autoptr(TbxConsoleStream) former = NULL;

    stream->is_read_only = (flags & TENBOX_CONSOLE_FLAGS_READ_ONLY) != 0;
    stream->claim = claim;
    if (!(flags & (TENBOX_CONSOLE_FLAGS_WRITER | TENBOX_CONSOLE_FLAGS_FORCE)))
        return TRUE;
    if (stream->is_read_only) {
        tbx_error_set(error, "field-invalid", "read_only",
                      "who only watches a console cannot be its writer");
        return FALSE;
    }
    if (claim->writer && !is_forced) {
        g_propagate_error(error, taken_error(claim));
        return FALSE;
    }
    if (claim->writer)
        former = tbx_console_stream_ref(claim->writer);
    claim_drop(claim);
    claim->writer = stream;
    claim->holder = g_strdup(holder);
    if (former) {
        g_autoptr(GError) taken =
            tbx_error_new("console-busy", NULL, "%s has taken the console over",
                          holder ? holder : "another client");

        former->claim = NULL;
        former->ops->fail(former, taken);
    }
    return TRUE;
}

void tbx_console_claim_clear(TbxConsoleClaim *claim)
{
    claim_drop(claim);
}

static gboolean stream_may_write(TbxConsoleStream *self, GTask *task)
{
    GError *error = NULL;

    if (self->is_read_only)
        error = tbx_error_new("forbidden", NULL, "this console was opened to watch only");
    else if (self->claim && self->claim->writer && self->claim->writer != self)
        error = taken_error(self->claim);
    if (!error)
        return TRUE;
    g_task_return_error(task, error);
    g_object_unref(task);
    return FALSE;
}

TbxConsoleStream *tbx_console_stream_ref(TbxConsoleStream *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_console_stream_unref(TbxConsoleStream *self)
{
    if (!self || !g_ref_count_dec(&self->references))
        return;
    /* close() may make tasks complete that hold a reference: keep one until it returns. */
    g_ref_count_init(&self->references);
    tbx_console_stream_close(self);
    if (g_ref_count_dec(&self->references))
        self->ops->free(self);
}

/* Completes @task and drops it when the stream has been closed. */
static gboolean stream_is_open(TbxConsoleStream *self, GTask *task)
{
    if (!self->is_closed)
        return TRUE;
    g_task_return_error(task, tbx_error_new("closed", NULL, "the console is closed"));
    g_object_unref(task);
    return FALSE;
}

void tbx_console_stream_read(TbxConsoleStream *self, gsize maximum, GTask *task)
{
    if (stream_is_open(self, task))
        self->ops->read(self, maximum, task);
}

void tbx_console_stream_write(TbxConsoleStream *self, GBytes *bytes, GTask *task)
{
    if (stream_is_open(self, task) && stream_may_write(self, task))
        self->ops->write(self, bytes, task);
}

void tbx_console_stream_close(TbxConsoleStream *self)
{
    if (self->is_closed)
        return;
    self->is_closed = TRUE;
    if (self->claim && self->claim->writer == self)
        claim_drop(self->claim);
    self->claim = NULL;
    self->ops->close(self);
}

/* ---- the driver --------------------------------------------------------------------------- */

void tbx_driver_init(TbxDriver *self, const TbxDriverOps *ops, const char *uri,
                     TbxEventSink *events)
{
    self->ops = ops;
    g_ref_count_init(&self->references);
    self->uri = g_strdup(uri);
    self->events = tbx_event_sink_ref(events);
    self->home = g_main_context_ref_thread_default();
    self->is_open = FALSE;
    self->is_closed = FALSE;
    self->is_trusting = FALSE;
    self->is_watching = FALSE;
    self->is_private = FALSE;
}

TbxDriver *tbx_driver_ref(TbxDriver *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_driver_unref(TbxDriver *self)
{
    if (!self || !g_ref_count_dec(&self->references))
        return;
    g_ref_count_init(&self->references);
    tbx_driver_close(self);
    if (!g_ref_count_dec(&self->references))
        return;

    char *uri = self->uri;
    TbxEventSink *events = self->events;
    GMainContext *home = self->home;
    self->ops->free(self);
    g_free(uri);
    tbx_event_sink_unref(events);
    g_main_context_unref(home);
}

void tbx_driver_close(TbxDriver *self)
{
    if (self->is_closed)
        return;
    self->is_closed = TRUE;
    self->ops->close(self);
}

/* Completes @task and drops it, unless the driver can be called. */
static gboolean driver_is_ready(TbxDriver *self, gboolean has_operation, GTask *task)
{
    if (self->is_closed || !self->is_open)
        g_task_return_error(
            task, tbx_error_new("closed", NULL, "the connection to %s is closed", self->uri));
    else if (!has_operation)
        g_task_return_error(task, tbx_error_new("unsupported", NULL, "the %s driver cannot do this",
                                                self->ops->name));
    else
        return TRUE;
    g_object_unref(task);
    return FALSE;
}

void tbx_driver_open(TbxDriver *self, GTask *task)
{
    self->is_open = TRUE;
    if (driver_is_ready(self, TRUE, task))
        self->ops->open(self, task);
}

#define READY(operation) driver_is_ready(self, self->ops->operation != NULL, task)

void tbx_driver_system_get(TbxDriver *self, GTask *task)
{
    if (READY(system_get))
        self->ops->system_get(self, task);
}

void tbx_driver_doctor(TbxDriver *self, GTask *task)
{
    if (READY(doctor))
        self->ops->doctor(self, task);
}

void tbx_driver_system_stop_vms(TbxDriver *self, const TbxActionOptions *options, GTask *task)
{
    if (READY(system_stop_vms))
        self->ops->system_stop_vms(self, options, task);
}

void tbx_driver_vm_list(TbxDriver *self, GTask *task)
{
    if (READY(vm_list))
        self->ops->vm_list(self, task);
}

void tbx_driver_vm_get(TbxDriver *self, const char *vm, GTask *task)
{
    if (READY(vm_get))
        self->ops->vm_get(self, vm, task);
}

void tbx_driver_vm_create(TbxDriver *self, TbxVmSpec *spec, GTask *task)
{
    if (READY(vm_create))
        self->ops->vm_create(self, spec, task);
}

void tbx_driver_vm_update(TbxDriver *self, const char *vm, TbxVmSpec *spec, GTask *task)
{
    if (READY(vm_update))
        self->ops->vm_update(self, vm, spec, task);
}

void tbx_driver_vm_begin(TbxDriver *self, const char *vm, TenboxVmAction action,
                         const TbxActionOptions *options, GTask *task)
{
    if (READY(vm_begin))
        self->ops->vm_begin(self, vm, action, options, task);
}

void tbx_driver_vm_list_deleted(TbxDriver *self, GTask *task)
{
    if (READY(vm_list_deleted))
        self->ops->vm_list_deleted(self, task);
}

void tbx_driver_vm_undelete(TbxDriver *self, const char *vm, const char *name, GTask *task)
{
    if (READY(vm_undelete))
        self->ops->vm_undelete(self, vm, name, task);
}

void tbx_driver_operation_list(TbxDriver *self, GTask *task)
{
    if (READY(operation_list))
        self->ops->operation_list(self, task);
}

void tbx_driver_operation_get(TbxDriver *self, const char *id, guint wait_seconds, GTask *task)
{
    if (READY(operation_get))
        self->ops->operation_get(self, id, wait_seconds, task);
}

void tbx_driver_operation_cancel(TbxDriver *self, const char *id, GTask *task)
{
    if (READY(operation_cancel))
        self->ops->operation_cancel(self, id, task);
}

void tbx_driver_vm_log(TbxDriver *self, const char *vm, const char *source, guint line_count,
                       GTask *task)
{
    if (READY(vm_log))
        self->ops->vm_log(self, vm, source, line_count, task);
}

void tbx_driver_vm_log_follow(TbxDriver *self, const char *vm, const char *source, gint line_count,
                              GTask *task)
{
    if (READY(vm_log_follow))
        self->ops->vm_log_follow(self, vm, source, line_count, task);
}

void tbx_driver_vm_statistics(TbxDriver *self, const char *vm, GTask *task)
{
    if (READY(vm_statistics))
        self->ops->vm_statistics(self, vm, task);
}

void tbx_driver_vm_send_key(TbxDriver *self, const char *vm, const char *key, GTask *task)
{
    if (READY(vm_send_key))
        self->ops->vm_send_key(self, vm, key, task);
}

void tbx_driver_console_open(TbxDriver *self, const char *vm, TenboxConsoleFlags flags,
                             const char *holder, GTask *task)
{
    if (READY(console_open))
        self->ops->console_open(self, vm, flags, holder, task);
}

void tbx_driver_call(TbxDriver *self, const char *method, const char *target, JsonObject *body,
                     GTask *task)
{
    if (READY(call))
        self->ops->call(self, method, target, body, task);
}

void tbx_call_answer_free(gpointer answer)
{
    TbxCallAnswer *self = answer;

    g_free(self->text);
    g_free(self->content_type);
    g_free(self);
}

void tbx_driver_watch(TbxDriver *self, const char *since, GTask *task)
{
    if (READY(watch))
        self->ops->watch(self, since, task);
}

/* ---- which driver ------------------------------------------------------------------------- */

static TbxDriver *refuse_uri(const char *uri, GError **error, const char *why)
{
    tbx_error_set(error, "field-invalid", "uri", "\"%s\" is no address: %s", uri, why);
    return NULL;
}

static TbxDriver *new_local(GUri *parsed, const char *uri, TbxEventSink *events, GError **error)
{
    const char *folder = g_uri_get_path(parsed);
    const char *query = g_uri_get_query(parsed);
    g_autofree char *served_at = NULL;
    gint64 trash_days = 7;

    if (query) {
        g_autoptr(GHashTable) parameters =
            g_uri_parse_params(query, -1, "&", G_URI_PARAMS_NONE, NULL);
        const char *address = parameters ? g_hash_table_lookup(parameters, "served-at") : NULL;
        const char *days = parameters ? g_hash_table_lookup(parameters, "trash-days") : NULL;
        if (!parameters || g_hash_table_size(parameters) != (guint)(!!address + !!days))
            return refuse_uri(uri, error, "local:// knows the parameters served-at and trash-days");
        if (days && !g_ascii_string_to_signed(days, 10, 0, 3650, &trash_days, NULL))
            return refuse_uri(uri, error, "trash-days is a number from 0 to 3650");
        served_at = g_strdup(address);
    }
    if (g_strcmp0(folder, "/") == 0)
        folder = NULL;
#ifdef TBX_HAVE_LOCAL_DRIVER
    return tbx_local_driver_new(uri, folder, served_at, trash_days, events, error);
#else
    tbx_error_set(error, "unsupported", "uri",
                  "this build of libtenbox cannot run VMs itself (local://); talk to a daemon");
    return NULL;
#endif
}

TbxDriver *tbx_driver_new(const char *uri, TbxEventSink *events, GError **error)
{
    const GUriFlags flags = (GUriFlags)(G_URI_FLAGS_PARSE_RELAXED | G_URI_FLAGS_SCHEME_NORMALIZE |
                                        G_URI_FLAGS_ENCODED_QUERY);
    g_autoptr(GUri) parsed = g_uri_parse(uri, flags, NULL);
    if (!parsed)
        return refuse_uri(uri, error, "it has the form unix:///path/of/socket or local:///folder");

    const char *scheme = g_uri_get_scheme(parsed);
    const char *host = g_uri_get_host(parsed);
    const char *path = g_uri_get_path(parsed);
    if (strcmp(scheme, "https") == 0) {
        tbx_error_set(error, "unsupported", "uri", "%s:// is not supported by this release",
                      scheme);
        return NULL;
    }
    if (strcmp(scheme, "unix") != 0 && strcmp(scheme, "local") != 0 && strcmp(scheme, "test") != 0)
        return refuse_uri(uri, error, "only unix://, local:// and test:// are known");
    if ((host && host[0]) || g_uri_get_user(parsed) || g_uri_get_port(parsed) != -1)
        return refuse_uri(uri, error, "a path follows the two slashes, as in unix:///run/x.sock");
    if (g_uri_get_fragment(parsed))
        return refuse_uri(uri, error, "it has a fragment (#)");
    if (!path || path[0] != '/')
        return refuse_uri(uri, error, "the path must be absolute");

    if (strcmp(scheme, "test") == 0)
        return tbx_test_driver_new(uri, path, g_uri_get_query(parsed), events, error);
    if (strcmp(scheme, "local") == 0)
        return new_local(parsed, uri, events, error);
    if (g_uri_get_query(parsed))
        return refuse_uri(uri, error, "unix:// takes no parameters");
    if (strcmp(path, "/") == 0)
        return refuse_uri(uri, error, "the path of the socket is missing");
    return tbx_remote_driver_new(uri, path, events, error);
}
