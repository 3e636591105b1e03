/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection: a driver, the table of handles, and the way events take into them.
 *
 * There is one handle per VM. Documents reach it from answers and from events (tbx_vm_set_record()
 * decides which is newer); its "changed" is what the signals of the connection are made from, so
 * that these tell the same whatever way the news came.
 *
 * An answer that lists all VMs also removes handles of VMs that are gone. It may have been written
 * before events that arrived earlier: VMs that appeared since the question was asked (`serial`) are
 * kept, and VMs whose deletion was told are not brought back (`gone`).
 *
 * A watch is the driver's, and a list that is asked for once it runs: events that arrive in between and
 * the list meet in the handles. The same happens when a watch is made anew after the daemon went away,
 * and a list alone when an entry "resync" says that events were missed.
 */
#include "libtenbox/tenbox-internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"

/* How many ids of deleted VMs are remembered; they matter only while an answer is on its way. */
#define GONE_MAX               4096
#define PREFIX_MIN             3
/* Between two attempts to find the daemon again: twice the last one, within these. */
#define RETRY_MILLISECONDS_MIN 100
#define RETRY_MILLISECONDS_MAX 5000

struct _TenboxConnection {
    GObject parent_instance;
    TbxDriver *driver;
    TbxEventSink *events;
    GHashTable *vms;  /* id → Entry */
    GHashTable *gone; /* ids of deleted VMs → the serial at which that was told */
    guint64 serial;   /* of the last handle made, or deletion told */
    gboolean is_lost; /* the events ended since a watch was asked for */
    TenboxConnectionFlags flags;
    TenboxWatchState watch_state;
    guint listings;           /* lists under way that bring the handles up to date */
    gboolean missed;          /* "resync" came, and no such list since */
    GSource *retry;           /* nullable: the next attempt */
    guint retry_time;         /* milliseconds before it */
    GCancellable *rewatching; /* nullable: an attempt is under way */
};

G_DEFINE_FINAL_TYPE(TenboxConnection, tenbox_connection, G_TYPE_OBJECT)

typedef struct {
    TenboxVm *vm;
    guint64 serial;
    gulong handler;
} Entry;

static void entry_free(gpointer data)
{
    Entry *entry = data;

    g_signal_handler_disconnect(entry->vm, entry->handler);
    g_object_unref(entry->vm);
    g_free(entry);
}

/* ---- handles ------------------------------------------------------------------------------ */

static void note_gone(TenboxConnection *self, const char *id)
{
    if (g_hash_table_size(self->gone) >= GONE_MAX)
        g_hash_table_remove_all(self->gone);
    self->serial++;
    g_hash_table_replace(self->gone, g_strdup(id), g_memdup2(&self->serial, sizeof self->serial));
}

/* An answer that was asked for when the serial was @asked_at brings @id: if its deletion was told before
 * that, the VM has been had back. */
static void forget_gone(TenboxConnection *self, const char *id, guint64 asked_at)
{
    const guint64 *told_at = g_hash_table_lookup(self->gone, id);

    /* While there is a watch, an event says so. */
    if (!self->driver->is_watching && told_at && *told_at <= asked_at)
        g_hash_table_remove(self->gone, id);
}

static void on_vm_changed(TenboxVm *vm, TenboxConnection *self)
{
    G_GNUC_UNUSED g_autoptr(TenboxVm) keep = g_object_ref(vm);

    if (!tenbox_vm_is_deleted(vm)) {
        g_signal_emit_by_name(self, "vm-changed", vm);
        return;
    }
    const char *id = tenbox_vm_get_id(vm);
    note_gone(self, id);
    if (g_hash_table_remove(self->vms, id))
        g_signal_emit_by_name(self, "vm-removed", vm);
}

/* (transfer none) (nullable): the handle for @record, made if need be; NULL when the VM is gone. */
static TenboxVm *take_document(TenboxConnection *self, TbxVmRecord *record)
{
    Entry *entry = g_hash_table_lookup(self->vms, record->id);

    if (entry) {
        TenboxVm *vm = entry->vm;
        tbx_vm_set_record(vm, record);
        return vm;
    }
    if (g_hash_table_contains(self->gone, record->id))
        return NULL;
    entry = g_new0(Entry, 1);
    entry->vm = tbx_vm_new(self->driver, record);
    entry->serial = ++self->serial;
    entry->handler = g_signal_connect(entry->vm, "changed", G_CALLBACK(on_vm_changed), self);
    g_hash_table_insert(self->vms, g_strdup(record->id), entry);

    TenboxVm *vm = entry->vm;
    G_GNUC_UNUSED g_autoptr(TenboxVm) keep = g_object_ref(vm);
    g_signal_emit_by_name(self, "vm-added", vm);
    return g_hash_table_contains(self->vms, record->id) ? vm : NULL;
}

static void refresh_after_resync(TenboxConnection *self);

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    g_autoptr(TenboxConnection) self = g_object_ref(user_data);

    if (event->vm && strcmp(event->type, TBX_EVENT_VM_DELETED) == 0) {
        Entry *entry = g_hash_table_lookup(self->vms, event->vm->id);
        if (entry) {
            g_autoptr(TenboxVm) vm = g_object_ref(entry->vm);
            tbx_vm_set_record(vm, event->vm);
            tbx_vm_set_deleted(vm);
        } else {
            note_gone(self, event->vm->id);
        }
    } else if (event->vm && event->vm->deleted_at == 0) { /* what is in the trash has no handle */
        if (strcmp(event->type, TBX_EVENT_VM_UNDELETED) == 0)
            g_hash_table_remove(self->gone, event->vm->id);
        take_document(self, event->vm);
    }

    gboolean is_resync = strcmp(event->type, TBX_EVENT_RESYNC) == 0;
    if (is_resync)
        self->missed = TRUE;
    g_autoptr(TenboxEvent) public_event = tbx_event_new(event);
    g_signal_emit_by_name(self, "event", public_event);
    if (is_resync && self->driver->is_watching && self->listings == 0)
        refresh_after_resync(self);
}

static void set_watch_state(TenboxConnection *self, TenboxWatchState state)
{
    TenboxWatchState before = self->watch_state;

    if (before == state)
        return;
    self->watch_state = state;
    g_object_notify(G_OBJECT(self), "watch-state");
    if (before == TENBOX_WATCH_STATE_ON || state == TENBOX_WATCH_STATE_ON)
        g_object_notify(G_OBJECT(self), "watching");
}

/* No attempt is waited for any more, nor is one to come. */
static void forget_attempts(TenboxConnection *self)
{
    g_autoptr(GCancellable) rewatching = g_steal_pointer(&self->rewatching);

    tbx_source_clear(&self->retry);
    if (rewatching)
        g_cancellable_cancel(rewatching);
}

/* The watch is over, if there was one. @error: (nullable) */
static void end_watch(TenboxConnection *self, const GError *error)
{
    forget_attempts(self);
    if (self->watch_state == TENBOX_WATCH_STATE_OFF)
        return;
    set_watch_state(self, TENBOX_WATCH_STATE_OFF);
    g_signal_emit_by_name(self, "closed", error);
}

static void try_again(TenboxConnection *self, const GError *error);

static void on_events_lost(const GError *error, gpointer user_data)
{
    g_autoptr(TenboxConnection) self = g_object_ref(user_data);

    self->is_lost = TRUE;
    if (!self->driver->is_watching)
        return;
    self->driver->is_watching = FALSE;
    try_again(self, error);
}

static const TbxEventSinkHandlers sink_handlers = {on_event, on_events_lost};

TbxDriver *tbx_connection_get_driver(TenboxConnection *self)
{
    return self->driver;
}

GPtrArray *tbx_connection_list_handles(TenboxConnection *self)
{
    GPtrArray *vms = g_ptr_array_new_with_free_func(g_object_unref);
    GHashTableIter iter;
    gpointer entry;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &entry))
        g_ptr_array_add(vms, g_object_ref(((Entry *)entry)->vm));
    return vms;
}

/* ---- the object --------------------------------------------------------------------------- */

enum {
    PROPERTY_URI = 1,
    PROPERTY_WATCHING,
    PROPERTY_WATCH_STATE,
};

static void tenbox_connection_get_property(GObject *object, guint property_id, GValue *value,
                                           GParamSpec *spec)
{
    TenboxConnection *self = TENBOX_CONNECTION(object);

    switch (property_id) {
    case PROPERTY_URI: g_value_set_string(value, tenbox_connection_get_uri(self)); break;
    case PROPERTY_WATCHING: g_value_set_boolean(value, tenbox_connection_is_watching(self)); break;
    case PROPERTY_WATCH_STATE: g_value_set_enum(value, (int)self->watch_state); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property_id, spec);
    }
}

static void tenbox_connection_dispose(GObject *object)
{
    TenboxConnection *self = TENBOX_CONNECTION(object);

    if (self->events)
        tbx_event_sink_disconnect(self->events);
    forget_attempts(self);
    if (self->driver) {
        self->driver->is_watching = FALSE;
        tbx_driver_close(self->driver);
    }
    g_hash_table_remove_all(self->vms);
    G_OBJECT_CLASS(tenbox_connection_parent_class)->dispose(object);
}

static void tenbox_connection_finalize(GObject *object)
{
    TenboxConnection *self = TENBOX_CONNECTION(object);

    tbx_driver_unref(self->driver);
    tbx_event_sink_unref(self->events);
    g_hash_table_unref(self->vms);
    g_hash_table_unref(self->gone);
    G_OBJECT_CLASS(tenbox_connection_parent_class)->finalize(object);
}

static void tenbox_connection_class_init(TenboxConnectionClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    const GType type = TENBOX_TYPE_CONNECTION;
    const GParamFlags flags =
        (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);

    object_class->get_property = tenbox_connection_get_property;
    object_class->dispose = tenbox_connection_dispose;
    object_class->finalize = tenbox_connection_finalize;
    g_object_class_install_property(object_class, PROPERTY_URI,
                                    g_param_spec_string("uri", NULL, NULL, NULL, flags));
    g_object_class_install_property(object_class, PROPERTY_WATCHING,
                                    g_param_spec_boolean("watching", NULL, NULL, FALSE, flags));
    g_object_class_install_property(object_class, PROPERTY_WATCH_STATE,
                                    g_param_spec_enum("watch-state", NULL, NULL,
                                                      TENBOX_TYPE_WATCH_STATE,
                                                      TENBOX_WATCH_STATE_OFF, flags));
    g_signal_new("resync", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
    g_signal_new("vm-added", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                 TENBOX_TYPE_VM);
    g_signal_new("vm-changed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                 TENBOX_TYPE_VM);
    g_signal_new("vm-removed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                 TENBOX_TYPE_VM);
    g_signal_new("event", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                 TENBOX_TYPE_EVENT);
    g_signal_new("closed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                 G_TYPE_ERROR);
}

static void tenbox_connection_init(TenboxConnection *self)
{
    self->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    self->gone = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    self->events = tbx_event_sink_new(&sink_handlers, self);
    self->watch_state = TENBOX_WATCH_STATE_OFF;
}

/* ---- where the daemon is ------------------------------------------------------------------ */

static gboolean is_own_private_folder(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == getuid() &&
           (status.st_mode & 0077) == 0;
}

char *tenbox_connection_get_user_socket(void)
{
    const char *runtime_folder = g_getenv("XDG_RUNTIME_DIR");

    if (runtime_folder && g_path_is_absolute(runtime_folder))
        return g_build_filename(runtime_folder, "tenbox.sock", NULL);
    if (getuid() == 0)
        return g_strdup("/run/tenbox/tenbox.sock");

    g_autofree char *folder = g_strdup_printf("/run/user/%u", (guint)getuid());
    if (is_own_private_folder(folder))
        return g_build_filename(folder, "tenbox.sock", NULL);
    return g_build_filename(g_get_user_data_dir(), "tenbox", "run", "tenbox.sock", NULL);
}

static char *socket_uri(const char *path)
{
    g_autofree char *escaped = g_uri_escape_string(path, "/", FALSE);

    return g_strconcat("unix://", escaped, NULL);
}

char *tenbox_connection_get_default_uri(void)
{
    const char *host = g_getenv("TENBOX_HOST");
    if (host && host[0])
        return g_strdup(host);

    const char *system_socket = "/run/tenbox/tenbox.sock";
    g_autofree char *user_socket = tenbox_connection_get_user_socket();
    gboolean has_system_only = !g_file_test(user_socket, G_FILE_TEST_EXISTS) &&
                               g_file_test(system_socket, G_FILE_TEST_EXISTS);
    return socket_uri(has_system_only ? system_socket : user_socket);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = g_task_get_task_data(task);
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error))
        g_task_return_pointer(task, g_object_ref(self), g_object_unref);
    else
        g_task_return_error(task, error);
    /* Outside of the task's end, which may be much later. */
    g_task_set_task_data(task, NULL, NULL);
}

void tenbox_connection_open_async(const char *uri, TenboxConnectionFlags flags,
                                  GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data)
{
    g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);
    g_autoptr(TenboxConnection) self = g_object_new(TENBOX_TYPE_CONNECTION, NULL);
    g_autofree char *used_uri = uri ? g_strdup(uri) : tenbox_connection_get_default_uri();
    GError *error = NULL;

    g_task_set_source_tag(task, tenbox_connection_open_async);
    if (flags & ~(guint)(TENBOX_CONNECTION_FLAGS_RECONNECT | TENBOX_CONNECTION_FLAGS_NO_PROBE)) {
        g_task_return_error(task, tbx_error_new("unsupported", "flags", "there are no such flags"));
        return;
    }
    self->flags = flags;
    self->driver = tbx_driver_new(used_uri, self->events, &error);
    if (!self->driver) {
        g_task_return_error(task, error);
        return;
    }
    TbxDriver *driver = self->driver;
    driver->is_trusting = (flags & TENBOX_CONNECTION_FLAGS_NO_PROBE) != 0;
    g_task_set_task_data(task, g_steal_pointer(&self), g_object_unref);
    tbx_driver_open(driver, tbx_task_inner(task, on_opened));
}

TenboxConnection *tenbox_connection_open_finish(GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, NULL), NULL);

    return g_task_propagate_pointer(G_TASK(result), error);
}

TenboxConnection *tenbox_connection_open_sync(const char *uri, TenboxConnectionFlags flags,
                                              GCancellable *cancellable, GError **error)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    g_auto(TbxSyncCall) call = {0};

    tbx_sync_begin_in(&call, context);
    tenbox_connection_open_async(uri, flags, cancellable, tbx_sync_done, &call);
    TenboxConnection *self = tenbox_connection_open_finish(tbx_sync_wait(&call), error);
    if (self)
        self->driver->is_private = TRUE;
    return self;
}

void tenbox_connection_close(TenboxConnection *self)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    G_GNUC_UNUSED g_autoptr(TenboxConnection) keep = g_object_ref(self);
    self->driver->is_watching = FALSE;
    tbx_driver_close(self->driver);
    end_watch(self, NULL);
}

const char *tenbox_connection_get_uri(TenboxConnection *self)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    return self->driver->uri;
}

gboolean tenbox_connection_is_watching(TenboxConnection *self)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), FALSE);

    return self->watch_state == TENBOX_WATCH_STATE_ON;
}

/* ---- lists -------------------------------------------------------------------------------- */

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(tenbox_vm_get_name(*(TenboxVm *const *)a),
                  tenbox_vm_get_name(*(TenboxVm *const *)b));
}

/* A list that is being taken. */
typedef struct {
    TenboxConnection *connection; /* a reference */
    GPtrArray *vms;
    GPtrArray *vanished; /* handles that were not in it */
    GTask *task;
    /* Goes on with @vms and @task; takes both. */
    void (*done)(TenboxConnection *connection, GPtrArray *vms, GTask *task);
} List;

/* Takes @list. */
static void finish_list(List *list)
{
    g_autoptr(TenboxConnection) self = list->connection;

    g_ptr_array_sort(list->vms, compare_names);
    list->done(self, list->vms, list->task);
    g_ptr_array_unref(list->vanished);
    g_free(list);
}

static void confirm_next(List *list);

static void on_confirmed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    List *list = user_data;
    GPtrArray *vanished = list->vanished;
    g_autoptr(TenboxVm) vm = g_ptr_array_steal_index(vanished, vanished->len - 1);
    g_autoptr(GError) error = NULL;
    TbxVmRecord *record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record) {
        TenboxVm *known = take_document(list->connection, record);
        if (known)
            g_ptr_array_add(list->vms, g_object_ref(known));
        tbx_vm_record_unref(record);
    } else if (g_strcmp0(tenbox_error_get_code(error), "vm-not-found") == 0) {
        tbx_vm_set_deleted(vm);
    } else {
        /* Nobody knows: they stay until somebody does. */
        g_ptr_array_set_size(vanished, 0);
    }
    confirm_next(list);
}

/* Takes @list. */
static void confirm_next(List *list)
{
    TenboxConnection *self = list->connection;
    GPtrArray *vanished = list->vanished;
    GTask *inner;

    if (vanished->len == 0) {
        finish_list(list);
        return;
    }
    inner = g_task_new(self, g_task_get_cancellable(list->task), on_confirmed, list);
    g_task_set_check_cancellable(inner, FALSE);
    tbx_driver_vm_get(self->driver,
                      tenbox_vm_get_id(g_ptr_array_index(vanished, vanished->len - 1)), inner);
}

/* Makes the table agree with a list that was asked for when the serial was @asked_at, then calls @done; takes
 * @task. A long list may have come in pages, between which a VM can be renamed from a later one into an
 * earlier one: whether such a VM is gone is asked for. */
static void take_list(TenboxConnection *self, GPtrArray *records, guint64 asked_at,
                      void (*done)(TenboxConnection *, GPtrArray *, GTask *), GTask *task)
{
    GPtrArray *vms = g_ptr_array_new_with_free_func(g_object_unref);
    g_autoptr(GHashTable) listed = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) vanished = g_ptr_array_new_with_free_func(g_object_unref);
    GHashTableIter iter;
    List *list;
    gpointer id, value;

    for (guint i = 0; i < records->len; i++) {
        TbxVmRecord *record = g_ptr_array_index(records, i);
        forget_gone(self, record->id, asked_at);
        TenboxVm *vm = take_document(self, record);
        g_hash_table_add(listed, record->id);
        if (vm)
            g_ptr_array_add(vms, g_object_ref(vm));
    }
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, &id, &value)) {
        Entry *entry = value;
        if (entry->serial <= asked_at && !g_hash_table_contains(listed, id))
            g_ptr_array_add(vanished, g_object_ref(entry->vm));
    }
    if (records->len < TBX_VM_LIST_PAGE) {
        for (guint i = 0; i < vanished->len; i++)
            tbx_vm_set_deleted(g_ptr_array_index(vanished, i));
        g_ptr_array_set_size(vanished, 0);
    }
    list = g_new0(List, 1);
    list->connection = g_object_ref(self);
    list->vms = vms;
    list->vanished = g_steal_pointer(&vanished);
    list->task = task;
    list->done = done;
    confirm_next(list);
}

static void return_list(TenboxConnection *self, GPtrArray *vms, GTask *task)
{
    g_task_return_pointer(task, vms, tbx_ptr_array_free);
    g_object_unref(task);
}

static void on_listed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    guint64 *asked_at = g_task_get_task_data(task);
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);

    if (records)
        take_list(TENBOX_CONNECTION(source), records, *asked_at, return_list,
                  g_steal_pointer(&task));
    else
        g_task_return_error(task, error);
}

static void remember_serial(TenboxConnection *self, GTask *task)
{
    g_task_set_task_data(task, g_memdup2(&self->serial, sizeof self->serial), g_free);
}

void tenbox_connection_list_vms_async(TenboxConnection *self, GCancellable *cancellable,
                                      GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_list_vms_async);
    if (!task)
        return;
    remember_serial(self, task);
    tbx_driver_vm_list(self->driver, tbx_task_inner(task, on_listed));
}

GPtrArray *tenbox_connection_list_vms_finish(TenboxConnection *self, GAsyncResult *result,
                                             GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- watching ----------------------------------------------------------------------------- */

static void answer_lost(GTask *task)
{
    g_task_return_error(task, tbx_error_new("daemon-unreachable", NULL,
                                            "the daemon went away while the watch began"));
}

/* The handles are up to date. */
static void tell_resync(TenboxConnection *self)
{
    if (!self->missed)
        return;
    self->missed = FALSE;
    g_signal_emit_by_name(self, "resync");
}

static void end_watch_list(TenboxConnection *self, GPtrArray *vms, GTask *task)
{
    g_autoptr(GTask) owned = task;

    self->listings--;
    g_ptr_array_unref(vms);
    if (!self->driver->is_watching) {
        answer_lost(task);
        return;
    }
    set_watch_state(self, TENBOX_WATCH_STATE_ON);
    tell_resync(self);
    g_task_return_boolean(task, TRUE);
}

static void on_watch_listed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    guint64 *asked_at = g_task_get_task_data(task);
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);

    if (records) {
        take_list(self, records, *asked_at, end_watch_list, g_steal_pointer(&task));
        return;
    }
    self->listings--;
    g_task_return_error(task, error);
}

/* Asks for all VMs; @task is answered when the handles agree with the list. */
static void list_for_watch(TenboxConnection *self, GTask *task)
{
    GHashTableIter iter;
    gpointer entry;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &entry))
        tbx_vm_take_any(((Entry *)entry)->vm);
    remember_serial(self, task);
    self->listings++;
    tbx_driver_vm_list(self->driver, tbx_task_inner(task, on_watch_listed));
}

static void on_watching(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    GError *error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        g_task_return_error(task, error);
        return;
    }
    if (self->is_lost) {
        answer_lost(task);
        return;
    }
    self->driver->is_watching = TRUE;
    list_for_watch(self, task);
}

/* Borrows @task. */
static void begin_watch(TenboxConnection *self, const char *since, GTask *task)
{
    self->is_lost = FALSE;
    tbx_driver_watch(self->driver, since, tbx_task_inner(task, on_watching));
}

static void on_refreshed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TenboxConnection *self = TENBOX_CONNECTION(source);
    g_autoptr(GError) error = NULL;

    /* Otherwise the watch itself is about to end, and says why. */
    if (!g_task_propagate_boolean(G_TASK(result), &error) && self->driver->is_watching)
        try_again(self, error);
}

static void refresh_after_resync(TenboxConnection *self)
{
    g_autoptr(GTask) task = g_task_new(self, NULL, on_refreshed, NULL);

    list_for_watch(self, task);
}

void tenbox_connection_watch_since_async(TenboxConnection *self, const char *since,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_watch_since_async);
    g_autofree char *epoch = NULL;
    GError *error = NULL;
    gint64 sequence;

    if (!task)
        return;
    if (since && !tbx_journal_parse_position(since, &epoch, &sequence, &error))
        g_task_return_error(task, error);
    else if (self->watch_state == TENBOX_WATCH_STATE_ON && !since)
        g_task_return_boolean(task, TRUE);
    else if (self->driver->is_watching && !since)
        list_for_watch(self, task); /* the events came, the list did not */
    else if (self->driver->is_watching || self->watch_state != TENBOX_WATCH_STATE_OFF)
        g_task_return_error(
            task, tbx_error_new("wrong-state", NULL, "this connection has a watch already"));
    else
        begin_watch(self, since, task);
}

gboolean tenbox_connection_watch_since_finish(TenboxConnection *self, GAsyncResult *result,
                                              GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}

void tenbox_connection_watch_async(TenboxConnection *self, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data)
{
    tenbox_connection_watch_since_async(self, NULL, cancellable, callback, user_data);
}

gboolean tenbox_connection_watch_finish(TenboxConnection *self, GAsyncResult *result,
                                        GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}

char *tenbox_connection_dup_event_position(TenboxConnection *self)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    return tbx_event_sink_dup_position(self->events);
}

TenboxWatchState tenbox_connection_get_watch_state(TenboxConnection *self)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), TENBOX_WATCH_STATE_UNKNOWN);

    return self->watch_state;
}

/* ---- finding the daemon again ------------------------------------------------------------- */

static void on_rewatched(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TenboxConnection *self = TENBOX_CONNECTION(source);
    g_autoptr(GError) error = NULL;
    gboolean is_current = g_task_get_cancellable(G_TASK(result)) == self->rewatching;

    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        if (is_current)
            try_again(self, error);
        return;
    }
    if (is_current)
        g_clear_object(&self->rewatching);
    self->retry_time = 0;
}

static gboolean on_retry(gpointer user_data)
{
    g_autoptr(TenboxConnection) self = g_object_ref(user_data);
    g_autofree char *position = tenbox_connection_dup_event_position(self);

    tbx_source_clear(&self->retry);
    self->rewatching = g_cancellable_new();
    /* A daemon that tells no positions: nobody knows what was missed. */
    if (!position)
        self->missed = TRUE;
    g_autoptr(GTask) task = g_task_new(self, self->rewatching, on_rewatched, NULL);
    if (self->driver->is_watching)
        list_for_watch(self, task); /* the events came, the list did not */
    else
        begin_watch(self, position, task);
    return G_SOURCE_REMOVE;
}

/* Whether a later attempt may succeed. */
static gboolean may_pass(const GError *error)
{
    return g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_UNREACHABLE) ||
           g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_TIMED_OUT) ||
           g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_BUSY);
}

static void try_again(TenboxConnection *self, const GError *error)
{
    gboolean may_reconnect = (self->flags & TENBOX_CONNECTION_FLAGS_RECONNECT) != 0;

    /* Events that come need no permission to go on: only the list is asked for again. */
    if ((!may_reconnect && !self->driver->is_watching) || !may_pass(error) ||
        self->watch_state == TENBOX_WATCH_STATE_OFF) {
        end_watch(self, error);
        return;
    }
    forget_attempts(self);
    self->retry_time = CLAMP(self->retry_time * 2, RETRY_MILLISECONDS_MIN, RETRY_MILLISECONDS_MAX);
    self->retry = g_timeout_source_new(self->retry_time);
    g_source_set_callback(self->retry, on_retry, self, NULL);
    g_source_attach(self->retry, self->driver->home);
    if (may_reconnect)
        set_watch_state(self, TENBOX_WATCH_STATE_RECONNECTING);
}

/* ---- finding one -------------------------------------------------------------------------- */

typedef struct {
    char *name;
    TenboxVmLookupFlags flags;
    guint64 asked_at;
} Lookup;

static void lookup_free(gpointer data)
{
    Lookup *lookup = data;

    g_free(lookup->name);
    g_free(lookup);
}

static void answer_not_found(GTask *task, const char *name)
{
    GError *error = tbx_error_new("vm-not-found", NULL, "there is no VM \"%s\"", name);

    g_task_return_error(task, tbx_error_with_hint(error, "\"tenbox vm ls\" lists the VMs"));
}

static gboolean may_be_prefix(const char *name)
{
    gsize length = strlen(name);

    return length >= PREFIX_MIN && length < 36 && strspn(name, "0123456789abcdef-") == length;
}

static void return_match(TenboxConnection *self, GPtrArray *list, GTask *taken)
{
    g_autoptr(GPtrArray) vms = list;
    g_autoptr(GTask) task = taken;
    Lookup *lookup = g_task_get_task_data(task);
    g_autoptr(GString) matches = g_string_new(NULL);
    TenboxVm *match = NULL;
    guint count = 0;

    for (guint i = 0; i < vms->len; i++) {
        TenboxVm *vm = g_ptr_array_index(vms, i);
        if (!g_str_has_prefix(tenbox_vm_get_id(vm), lookup->name))
            continue;
        match = vm;
        count++;
        g_string_append_printf(matches, "%s%s (%s)", count > 1 ? ", " : "", tenbox_vm_get_id(vm),
                               tenbox_vm_get_name(vm));
    }
    if (count == 1)
        g_task_return_pointer(task, g_object_ref(match), g_object_unref);
    else if (count == 0)
        answer_not_found(task, lookup->name);
    else
        g_task_return_error(task, tbx_error_new("name-ambiguous", NULL,
                                                "\"%s\" is the beginning of several ids: %s",
                                                lookup->name, matches->str));
}

static void on_prefix_list(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    Lookup *lookup = g_task_get_task_data(task);
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);

    if (records)
        take_list(TENBOX_CONNECTION(source), records, lookup->asked_at, return_match,
                  g_steal_pointer(&task));
    else
        g_task_return_error(task, error);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    Lookup *lookup = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record) {
        forget_gone(self, record->id, lookup->asked_at);
        TenboxVm *vm = take_document(self, record);
        if (vm)
            g_task_return_pointer(task, g_object_ref(vm), g_object_unref);
        else
            answer_not_found(task, lookup->name);
    } else if (!g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_NOT_FOUND)) {
        g_task_return_error(task, g_steal_pointer(&error));
    } else if (lookup->flags & TENBOX_VM_LOOKUP_FLAGS_EXACT || !may_be_prefix(lookup->name)) {
        answer_not_found(task, lookup->name);
    } else {
        lookup->asked_at = self->serial;
        tbx_driver_vm_list(self->driver, tbx_task_inner(task, on_prefix_list));
    }
}

void tenbox_connection_get_vm_async(TenboxConnection *self, const char *name,
                                    TenboxVmLookupFlags flags, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self) && name);

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_get_vm_async);
    if (!task)
        return;
    if (name[0] == '\0' || strlen(name) > TBX_VM_NAME_MAX || !g_utf8_validate(name, -1, NULL)) {
        g_autofree char *shown = g_utf8_make_valid(name, (gssize)MIN(strlen(name), 80));
        answer_not_found(task, shown);
        return;
    }

    Lookup *lookup = g_new0(Lookup, 1);
    lookup->name = g_strdup(name);
    lookup->flags = flags;
    lookup->asked_at = self->serial;
    g_task_set_task_data(task, lookup, lookup_free);
    tbx_driver_vm_get(self->driver, name, tbx_task_inner(task, on_found));
}

TenboxVm *tenbox_connection_get_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- the trash ---------------------------------------------------------------------------- */

static void on_deleted_listed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);

    if (!records) {
        g_task_return_error(task, error);
        return;
    }
    GPtrArray *vms = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint i = 0; i < records->len; i++) {
        TenboxVm *vm = tbx_vm_new(self->driver, g_ptr_array_index(records, i));
        tbx_vm_set_deleted(vm);
        g_ptr_array_add(vms, vm);
    }
    g_task_return_pointer(task, vms, tbx_ptr_array_free);
}

void tenbox_connection_list_deleted_vms_async(TenboxConnection *self, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_list_deleted_vms_async);
    if (task)
        tbx_driver_vm_list_deleted(self->driver, tbx_task_inner(task, on_deleted_listed));
}

GPtrArray *tenbox_connection_list_deleted_vms_finish(TenboxConnection *self, GAsyncResult *result,
                                                     GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

GPtrArray *tenbox_connection_list_deleted_vms_sync(TenboxConnection *self,
                                                   GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_connection_list_deleted_vms_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_connection_list_deleted_vms_finish(self, tbx_sync_wait(&call), error);
}

static void on_undeleted(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    GError *error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (!record) {
        g_task_return_error(task, error);
        return;
    }
    /* While there is a watch its event has come first, and perhaps that of the next deletion. */
    if (!self->driver->is_watching)
        g_hash_table_remove(self->gone, record->id);
    TenboxVm *vm = take_document(self, record);
    if (vm)
        g_task_return_pointer(task, g_object_ref(vm), g_object_unref);
    else
        answer_not_found(task, record->name);
}

void tenbox_connection_undelete_vm_async(TenboxConnection *self, const char *vm, const char *name,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self) && vm);

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_undelete_vm_async);
    GError *error = NULL;

    if (!task)
        return;
    if (vm[0] == '\0' || strlen(vm) > TBX_VM_NAME_MAX || !g_utf8_validate(vm, -1, NULL)) {
        g_autofree char *shown = g_utf8_make_valid(vm, (gssize)MIN(strlen(vm), 80));
        answer_not_found(task, shown);
    } else if (name && !tbx_vm_name_check(name, &error)) {
        g_task_return_error(task, error);
    } else {
        tbx_driver_vm_undelete(self->driver, vm, name, tbx_task_inner(task, on_undeleted));
    }
}

TenboxVm *tenbox_connection_undelete_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                               GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

TenboxVm *tenbox_connection_undelete_vm_sync(TenboxConnection *self, const char *vm,
                                             const char *name, GCancellable *cancellable,
                                             GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self) && vm, NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_connection_undelete_vm_async(self, vm, name, cancellable, tbx_sync_done, &call);
    return tenbox_connection_undelete_vm_finish(self, tbx_sync_wait(&call), error);
}

/* ---- making one --------------------------------------------------------------------------- */

static void on_created(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    g_autoptr(TbxVmRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (!record) {
        g_task_return_error(task, error);
        return;
    }
    /* The VM is there: who withdrew too late has to learn of it. */
    g_task_set_check_cancellable(task, FALSE);
    TenboxVm *vm = take_document(TENBOX_CONNECTION(source), record);
    if (vm)
        g_task_return_pointer(task, g_object_ref(vm), g_object_unref);
    else
        answer_not_found(task, record->name);
}

void tenbox_connection_create_vm_async(TenboxConnection *self, TenboxVmConfig *config,
                                       GCancellable *cancellable, GAsyncReadyCallback callback,
                                       gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self) && TENBOX_IS_VM_CONFIG(config));

    g_autoptr(GTask) task = tbx_task_new(self, self->driver, cancellable, callback, user_data,
                                         tenbox_connection_create_vm_async);
    TbxVmSpec *spec = tbx_vm_config_get_spec(config);
    GError *error = NULL;

    if (!task)
        return;
    if (tbx_vm_spec_validate_create(spec, &error))
        tbx_driver_vm_create(self->driver, spec, tbx_task_inner(task, on_created));
    else
        g_task_return_error(task, error);
}

TenboxVm *tenbox_connection_create_vm_finish(TenboxConnection *self, GAsyncResult *result,
                                             GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- twins for programs without a main loop ------------------------------------------------ */

GPtrArray *tenbox_connection_list_vms_sync(TenboxConnection *self, GCancellable *cancellable,
                                           GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_connection_list_vms_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_connection_list_vms_finish(self, tbx_sync_wait(&call), error);
}

TenboxVm *tenbox_connection_get_vm_sync(TenboxConnection *self, const char *name,
                                        TenboxVmLookupFlags flags, GCancellable *cancellable,
                                        GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self) && name, NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_connection_get_vm_async(self, name, flags, cancellable, tbx_sync_done, &call);
    return tenbox_connection_get_vm_finish(self, tbx_sync_wait(&call), error);
}

TenboxVm *tenbox_connection_create_vm_sync(TenboxConnection *self, TenboxVmConfig *config,
                                           GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self) && TENBOX_IS_VM_CONFIG(config), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, self->driver, error))
        return NULL;
    tenbox_connection_create_vm_async(self, config, cancellable, tbx_sync_done, &call);
    return tenbox_connection_create_vm_finish(self, tbx_sync_wait(&call), error);
}
