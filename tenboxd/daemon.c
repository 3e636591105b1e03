/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's birth and death, and its events; see daemon.h.
 */
#include "tenboxd/daemon.h"

#include <libsoup/soup.h>
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-filter.h"
#include "tenboxd/http-front.h"
#include "tenboxd/http-router.h"
#include "tenboxd/idempotency.h"
#include "tenboxd/listener.h"
#include "tenboxd/metrics.h"
#include "tenboxd/notify.h"
#include "tenboxd/ws.h"

/* How long requests and streams get to end when the daemon was told to. */
#define QUIT_MILLISECONDS      3000
#define QUIT_TICK_MILLISECONDS 20

/* A daemon that is ending holds the data folder up to QUIT_MILLISECONDS longer than the socket. */
#define LOCKED_MILLISECONDS      (QUIT_MILLISECONDS + 2000)
#define LOCKED_TICK_MILLISECONDS 100

typedef struct {
    guint number; /* 0: removed while events are being delivered */
    TbdEventFunction function;
    gpointer user_data;
} Listener;

struct _TbdDaemon {
    grefcount references;
    TbdSettings *settings;
    char *connect; /* nullable */
    int ready_fd;  /* -1 for none */
    TbdDaemonEnded ended;
    gpointer user_data;

    TbxEventSink *events;
    TbxDriver *driver;
    TbdListener *listener;
    SoupServer *server;
    TbdFront *front;
    TbdSessions *sessions;
    TbdIdempotency *idempotency;
    TbdLedger *ledger;
    GBytes *shared;      /* nullable: see tbd_daemon_share_bytes() */
    TbdMetrics *metrics; /* NULL once destroyed */

    GArray *listeners; /* of Listener */
    guint last_number;
    guint delivering; /* depth */

    guint starting; /* tasks under way */
    guint retry_source;
    gint64 locked_deadline; /* 0: the data folder was not found locked yet */
    GCancellable *quitting;
    guint quit_source;
    gint64 quit_deadline;
    GError *error; /* why it ends, NULL when asked to */
};

TbxDriver *tbd_daemon_get_driver(TbdDaemon *self)
{
    return self->driver;
}

TbdSessions *tbd_daemon_get_sessions(TbdDaemon *self)
{
    return self->sessions;
}

TbdLedger *tbd_daemon_get_ledger(TbdDaemon *self)
{
    return self->ledger;
}

TbdMetrics *tbd_daemon_get_metrics(TbdDaemon *self)
{
    return self->metrics;
}

GBytes *tbd_daemon_share_bytes(TbdDaemon *self, GBytes *bytes)
{
    if (self->shared != NULL && g_bytes_equal(self->shared, bytes)) {
        g_bytes_unref(bytes);
        return g_bytes_ref(self->shared);
    }
    g_clear_pointer(&self->shared, g_bytes_unref);
    self->shared = g_bytes_ref(bytes);
    return bytes;
}

guint tbd_daemon_get_peer_count(TbdDaemon *self)
{
    return self->front != NULL ? tbd_front_get_peer_count(self->front) : 0;
}

const TbdSettings *tbd_daemon_get_settings(TbdDaemon *self)
{
    return self->settings;
}

TbdIdempotency *tbd_daemon_get_idempotency(TbdDaemon *self)
{
    return self->idempotency;
}

TbxJournal *tbd_daemon_get_journal(TbdDaemon *self)
{
    return tbx_event_sink_get_journal(self->events);
}

gboolean tbd_daemon_is_quitting(TbdDaemon *self)
{
    return g_cancellable_is_cancelled(self->quitting);
}

GCancellable *tbd_daemon_get_quitting(TbdDaemon *self)
{
    return self->quitting;
}

/* ---- events ---------------------------------------------------------------------------------- */

guint tbd_daemon_add_listener(TbdDaemon *self, TbdEventFunction function, gpointer user_data)
{
    Listener listener = {.function = function, .user_data = user_data};

    do {
        listener.number = ++self->last_number;
    } while (listener.number == 0);
    g_array_append_val(self->listeners, listener);
    return listener.number;
}

static void sweep_listeners(TbdDaemon *self)
{
    for (guint i = self->listeners->len; i > 0 && self->delivering == 0; i--) {
        if (g_array_index(self->listeners, Listener, i - 1).number == 0) {
            g_array_remove_index(self->listeners, i - 1);
        }
    }
}

void tbd_daemon_remove_listener(TbdDaemon *self, guint number)
{
    for (guint i = 0; i < self->listeners->len && number != 0; i++) {
        Listener *listener = &g_array_index(self->listeners, Listener, i);

        if (listener->number == number) {
            listener->number = 0;
        }
    }
    sweep_listeners(self);
}

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    TbdDaemon *self = user_data;
    guint count = self->listeners->len;

    self->delivering++;
    for (guint i = 0; i < count; i++) {
        Listener listener = g_array_index(self->listeners, Listener, i);

        if (listener.number != 0) {
            listener.function(event, listener.user_data);
        }
    }
    self->delivering--;
    sweep_listeners(self);
}

/* ---- knobs ----------------------------------------------------------------------------------- */

void tbd_daemon_reload(TbdDaemon *self)
{
    g_autoptr(GError) error = NULL;

    if (!tbd_settings_reload(self->settings, &error)) {
        g_warning("the configuration stays as it was: %s", error->message);
    }
}

/* ---- death ----------------------------------------------------------------------------------- */

static gboolean on_quit_time(gpointer user_data)
{
    TbdDaemon *self = user_data;
    gboolean is_busy =
        self->starting > 0 || (self->front != NULL && (tbd_front_get_busy_count(self->front) > 0 ||
                                                       tbd_sessions_get_count(self->sessions) > 0));

    if (is_busy && g_get_monotonic_time() < self->quit_deadline) {
        return G_SOURCE_CONTINUE;
    }
    self->quit_source = 0;
    self->ended(self->error, self->user_data);
    return G_SOURCE_REMOVE;
}

void tbd_daemon_quit(TbdDaemon *self)
{
    if (tbd_daemon_is_quitting(self)) {
        return;
    }
    g_cancellable_cancel(self->quitting);
    g_clear_handle_id(&self->retry_source, g_source_remove);
    tbd_notify_manager("STOPPING=1");
    if (self->front != NULL) {
        tbd_front_stop(self->front);
        tbd_sessions_close(self->sessions);
    }
    /* The next daemon may come as soon as nobody can reach this one any more; it waits for the data
     * folder, see on_opened(). */
    g_clear_pointer(&self->listener, tbd_listener_destroy);
    self->quit_deadline = g_get_monotonic_time() + QUIT_MILLISECONDS * G_TIME_SPAN_MILLISECOND;
    self->quit_source = g_timeout_add(QUIT_TICK_MILLISECONDS, on_quit_time, self);
}

/* Takes @error. */
static void fail(TbdDaemon *self, GError *error)
{
    if (self->error == NULL && !tbd_daemon_is_quitting(self)) {
        self->error = error;
    } else {
        g_error_free(error);
    }
    tbd_daemon_quit(self);
}

static void on_lost(const GError *error, gpointer user_data)
{
    fail(user_data, g_error_copy(error));
}

/* ---- birth ----------------------------------------------------------------------------------- */

static void open_front(TbdDaemon *self)
{
    GError *error = NULL;

    /* Own router, own decoding: see http-router.h. */
    self->server = g_object_new(SOUP_TYPE_SERVER, "raw-paths", TRUE, NULL);
    tbd_filter_install(self->server);
    tbd_router_install(self->server, self);
    self->front = tbd_front_new(self->listener, self->server, self->settings, self->ledger, &error);
    if (self->front == NULL) {
        fail(self, error);
        return;
    }
    g_message("listening on %s", self->settings->socket);
    if (self->ready_fd >= 0) {
        tbd_notify_ready_fd(self->ready_fd);
        self->ready_fd = -1;
    }
    tbd_notify_manager("READY=1");
}

/* VMs come before their log: without one the daemon works all the same. */
static void open_audit(TbdDaemon *self, const char *data_folder)
{
    g_autoptr(GError) error = NULL;
    TbdAudit *audit = NULL;

    /* VMs that are played have no folder. */
    if (!g_path_is_absolute(data_folder)) {
        return;
    }
    audit = tbd_audit_open(data_folder, self->settings, &error);
    if (audit == NULL) {
        g_warning("there is no audit log: %s", error->message);
    }
    tbd_ledger_set_audit(self->ledger, audit);
}

/* Without the file keys are good until this daemon ends. */
static void open_idempotency(TbdDaemon *self, const char *data_folder)
{
    g_autoptr(GError) error = NULL;

    if (g_path_is_absolute(data_folder) &&
        !tbd_idempotency_open(self->idempotency, data_folder, &error)) {
        g_warning("idempotency keys are not remembered: %s", error->message);
    }
}

static void on_system(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdDaemon *self = user_data;
    GError *error = NULL;
    g_autofree char *text = g_task_propagate_pointer(G_TASK(result), &error);
    g_autoptr(JsonObject) system =
        text != NULL ? tbx_json_guard_parse_answer(text, strlen(text), &error) : NULL;

    self->starting--;
    if (system == NULL) {
        fail(self, error);
    } else if (!tbd_daemon_is_quitting(self)) {
        open_audit(self, json_object_get_string_member(system, "data_folder"));
        open_idempotency(self, json_object_get_string_member(system, "data_folder"));
        open_front(self);
    }
}

static void on_watching(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdDaemon *self = user_data;
    GError *error = NULL;

    self->starting--;
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        fail(self, error);
    } else if (!tbd_daemon_is_quitting(self)) {
        self->starting++;
        tbx_driver_system_get(self->driver, g_task_new(NULL, NULL, on_system, self));
    }
}

static gboolean open_driver(TbdDaemon *self, GError **error);

static gboolean on_retry_time(gpointer user_data)
{
    TbdDaemon *self = user_data;
    GError *error = NULL;

    self->retry_source = 0;
    if (!open_driver(self, &error)) {
        fail(self, error);
    }
    return G_SOURCE_REMOVE;
}

/* Whether somebody holds the data folder who may be about to let go: a daemon that is ending has
 * given up the socket, which we hold, but not the folder. */
static gboolean should_retry(TbdDaemon *self, const GError *error)
{
    if (tbd_daemon_is_quitting(self) ||
        strcmp(tenbox_error_get_code(error), "data-folder-locked") != 0) {
        return FALSE;
    }
    if (self->locked_deadline == 0) {
        g_message("waiting for the data folder: %s", error->message);
        self->locked_deadline =
            g_get_monotonic_time() + LOCKED_MILLISECONDS * G_TIME_SPAN_MILLISECOND;
    }
    return g_get_monotonic_time() < self->locked_deadline;
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdDaemon *self = user_data;
    GError *error = NULL;

    self->starting--;
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        if (!should_retry(self, error)) {
            fail(self, error);
            return;
        }
        g_error_free(error);
        self->retry_source = g_timeout_add(LOCKED_TICK_MILLISECONDS, on_retry_time, self);
        return;
    }
    if (tbd_daemon_is_quitting(self)) {
        return;
    }
    self->starting++;
    tbx_driver_watch(self->driver, NULL, g_task_new(NULL, NULL, on_watching, self));
}

/* local:///folder?served-at=unix:///socket, so that who finds the folder locked learns where. */
static char *driver_uri(TbdDaemon *self)
{
    if (self->connect != NULL) {
        return g_strdup(self->connect);
    }
    g_autofree char *folder =
        g_uri_escape_string(self->settings->data_folder != NULL ? self->settings->data_folder : "/",
                            G_URI_RESERVED_CHARS_ALLOWED_IN_PATH, FALSE);
    g_autofree char *address = g_strconcat("unix://", self->settings->socket, NULL);
    g_autofree char *served_at = g_uri_escape_string(address, "/:", FALSE);

    return g_strdup_printf("local://%s?served-at=%s&trash-days=%" G_GINT64_FORMAT, folder,
                           served_at, self->settings->trash_days);
}

/* Begins to open a driver, in place of one that could not be. */
static gboolean open_driver(TbdDaemon *self, GError **error)
{
    g_autofree char *uri = driver_uri(self);

    g_clear_pointer(&self->driver, tbx_driver_unref);
    self->driver = tbx_driver_new(uri, self->events, error);
    if (self->driver == NULL) {
        return FALSE;
    }
    self->starting++;
    tbx_driver_open(self->driver, g_task_new(NULL, NULL, on_opened, self));
    return TRUE;
}

static gboolean start(TbdDaemon *self, int socket_fd, GError **error)
{
    static const TbxEventSinkHandlers handlers = {on_event, on_lost};

    /* The socket first: it is the quickest way to find out that a daemon lives. Nobody can connect
     * before it listens; who connects to one that a service manager listens on waits until then. */
    self->listener = socket_fd >= 0
                         ? tbd_listener_new_inherited(socket_fd, error)
                         : tbd_listener_new(self->settings->socket, self->settings->group, error);
    if (self->listener == NULL) {
        return FALSE;
    }
    g_free(self->settings->socket);
    self->settings->socket = g_strdup(tbd_listener_get_path(self->listener));
    self->events = tbx_event_sink_new(&handlers, self);
    return open_driver(self, error);
}

TbdDaemon *tbd_daemon_new(const TbdDaemonOptions *options, TbdDaemonEnded ended, gpointer user_data)
{
    TbdDaemon *self = g_new0(TbdDaemon, 1);
    GError *error = NULL;

    g_ref_count_init(&self->references);
    self->settings = options->settings;
    self->connect = g_strdup(options->connect);
    self->ready_fd = options->ready_fd;
    self->ended = ended;
    self->user_data = user_data;
    self->quitting = g_cancellable_new();
    self->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
    self->sessions = tbd_sessions_new(self);
    self->idempotency = tbd_idempotency_new();
    self->ledger = tbd_ledger_new();
    self->metrics = tbd_metrics_new(self);
    if (!start(self, options->socket_fd, &error)) {
        fail(self, error);
    }
    return self;
}

TbdDaemon *tbd_daemon_ref(TbdDaemon *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbd_daemon_unref(TbdDaemon *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    if (self->driver != NULL) {
        tbx_driver_unref(self->driver);
    }
    g_clear_pointer(&self->events, tbx_event_sink_unref);
    g_array_unref(self->listeners);
    g_object_unref(self->quitting);
    g_clear_error(&self->error);
    tbd_ledger_free(self->ledger);
    g_clear_pointer(&self->shared, g_bytes_unref);
    tbd_settings_free(self->settings);
    g_free(self->connect);
    tbd_idempotency_free(self->idempotency);
    g_free(self);
}

void tbd_daemon_destroy(TbdDaemon *self)
{
    if (self == NULL) {
        return;
    }
    g_cancellable_cancel(self->quitting);
    g_clear_handle_id(&self->retry_source, g_source_remove);
    g_clear_handle_id(&self->quit_source, g_source_remove);
    if (self->events != NULL) {
        tbx_event_sink_disconnect(self->events);
    }
    g_clear_pointer(&self->metrics, tbd_metrics_free);
    g_clear_pointer(&self->sessions, tbd_sessions_destroy);
    if (self->front != NULL) {
        tbd_front_stop(self->front);
    }
    if (self->server != NULL) {
        soup_server_disconnect(self->server);
    }
    g_clear_pointer(&self->front, tbd_front_destroy);
    g_clear_object(&self->server);
    g_clear_pointer(&self->listener, tbd_listener_destroy);
    /* Before the data folder is given up: the next daemon has the log then. */
    tbd_ledger_close(self->ledger);
    tbd_idempotency_close(self->idempotency);
    if (self->driver != NULL) {
        tbx_driver_close(self->driver);
    }
    tbd_daemon_unref(self);
}
