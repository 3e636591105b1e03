/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/trash.h"

#include <string.h>

#include "libtenbox/local/host.h"
#include "libtenbox/local/run-state.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"
#include "libtenbox/wire/wire-event.h"

#define SWEEP_SECONDS   3600u
#define DAY_SECONDS     G_GINT64_CONSTANT(86400)
/* What counts of the time between the runs of the host's kernel, all together. */
#define OFF_SECONDS_MAX DAY_SECONDS
#define SECONDS_MAX     G_GINT64_CONSTANT(253402300799)
/* Between two writes of a note that only says that time has passed. */
#define NOTE_SECONDS    (6 * 3600)

struct _TbxTrash {
    grefcount references;
    TbxRegistry *registry;     /* a reference */
    TbxOperations *operations; /* borrowed; not used once closed */
    gint64 days;
    const TbxTrashHandlers *handlers; /* NULL once closed */
    gpointer user_data;
    GMainContext *home;
    GHashTable *entries; /* id → Entry */
    GSource *timer;
};

/* What trash.json says; times in seconds. */
typedef struct {
    gint64 deleted_at; /* since 1970, as the clock was then */
    gint64 age;        /* in the trash, up to `seen` */
    gint64 off_age;    /* what of it the kernel did not run for */
    TbxHostClock seen;
} Note;

typedef struct {
    TbxVmRecord *record;         /* as it was deleted */
    TbxVmDefinition *definition; /* nullable: broken */
    Note note;
    gint64 noted_age; /* what is on the disk */
    gboolean is_busy; /* something is being done to its folder */
} Entry;

static void entry_free(gpointer data)
{
    Entry *entry = data;

    tbx_vm_record_unref(entry->record);
    tbx_vm_definition_free(entry->definition);
    g_free(entry);
}

/* ---- age ---------------------------------------------------------------------------------- */

static void note_init(Note *note)
{
    tbx_host_read_clock(&note->seen);
    note->deleted_at = note->seen.time;
    note->age = 0;
    note->off_age = 0;
}

/* Counts what has passed since the note was looked at last. */
static void note_age(Note *note)
{
    TbxHostClock now;
    gint64 passed;

    tbx_host_read_clock(&now);
    if (g_str_equal(now.boot_id, note->seen.boot_id) && now.uptime >= note->seen.uptime) {
        passed = now.uptime - note->seen.uptime;
    } else {
        passed = CLAMP(now.time - note->seen.time, 0, MAX(OFF_SECONDS_MAX - note->off_age, 0));
        note->off_age += passed;
    }
    note->age += passed;
    note->seen = now;
}

static GBytes *note_print(const Note *note)
{
    g_autoptr(JsonObject) object = json_object_new();
    gsize length;
    char *text;

    json_object_set_int_member(object, "schema_version", 1);
    json_object_set_int_member(object, "deleted_at", note->deleted_at);
    json_object_set_int_member(object, "age", note->age);
    json_object_set_int_member(object, "off_age", note->off_age);
    json_object_set_int_member(object, "seen_at", note->seen.time);
    json_object_set_int_member(object, "seen_uptime", note->seen.uptime);
    json_object_set_string_member(object, "seen_boot_id", note->seen.boot_id);
    text = tbx_json_print_object(object, &length);
    return g_bytes_new_take(text, length);
}

static gboolean get_seconds(JsonObject *object, const char *key, gint64 *ret_seconds)
{
    JsonNode *node = json_object_get_member(object, key);

    if (node == NULL || json_node_get_value_type(node) != G_TYPE_INT64 ||
        json_node_get_int(node) < 0 || json_node_get_int(node) > SECONDS_MAX)
        return FALSE;
    *ret_seconds = json_node_get_int(node);
    return TRUE;
}

/* FALSE when there is no note that can be understood: the time begins anew. */
static gboolean note_parse(const char *text, gsize length, Note *note)
{
    g_autoptr(JsonObject) object =
        text != NULL ? tbx_json_guard_parse_object(text, length, NULL) : NULL;
    JsonNode *boot_id = object != NULL ? json_object_get_member(object, "seen_boot_id") : NULL;

    if (boot_id == NULL || json_node_get_value_type(boot_id) != G_TYPE_STRING ||
        !get_seconds(object, "deleted_at", &note->deleted_at) ||
        !get_seconds(object, "age", &note->age) ||
        !get_seconds(object, "seen_at", &note->seen.time) ||
        !get_seconds(object, "seen_uptime", &note->seen.uptime))
        return FALSE;
    note->off_age = 0;
    if (json_object_has_member(object, "off_age") &&
        !get_seconds(object, "off_age", &note->off_age))
        return FALSE;
    g_strlcpy(note->seen.boot_id, json_node_get_string(boot_id), sizeof(note->seen.boot_id));
    return TRUE;
}

GBytes *tbx_trash_new_note(void)
{
    Note note;

    note_init(&note);
    return note_print(&note);
}

/* ---- documents ---------------------------------------------------------------------------- */

/* (transfer full) */
static TbxVmRecord *describe(TbxTrash *self, Entry *entry)
{
    TbxVmRecord *record = tbx_vm_record_copy(entry->record);

    note_age(&entry->note);
    record->deleted_at = entry->note.deleted_at * G_USEC_PER_SEC;
    record->purge_at =
        (entry->note.seen.time + MAX(self->days * DAY_SECONDS - entry->note.age, 0)) *
        G_USEC_PER_SEC;
    return record;
}

static void emit(TbxTrash *self, const char *type, Entry *entry)
{
    g_autoptr(TbxVmRecord) record = describe(self, entry);

    if (self->handlers != NULL)
        self->handlers->emit(type, record, self->user_data);
}

static gint compare_deletions(gconstpointer a, gconstpointer b)
{
    const TbxVmRecord *left = *(TbxVmRecord *const *)a, *right = *(TbxVmRecord *const *)b;

    if (left->deleted_at != right->deleted_at)
        return left->deleted_at > right->deleted_at ? -1 : 1;
    return strcmp(left->id, right->id);
}

GPtrArray *tbx_trash_list(TbxTrash *self)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_vm_record_unref);
    GHashTableIter iter;
    gpointer entry;

    g_hash_table_iter_init(&iter, self->entries);
    while (g_hash_table_iter_next(&iter, NULL, &entry))
        g_ptr_array_add(list, describe(self, entry));
    g_ptr_array_sort(list, compare_deletions);
    return list;
}

/* (transfer none) (nullable): the entry of @vm, with *@ret_count that fit. */
static Entry *find(TbxTrash *self, const char *vm, guint *ret_count)
{
    Entry *found = g_hash_table_lookup(self->entries, vm);
    GHashTableIter iter;
    gpointer entry;

    *ret_count = found != NULL ? 1 : 0;
    if (found != NULL)
        return found;
    g_hash_table_iter_init(&iter, self->entries);
    while (g_hash_table_iter_next(&iter, NULL, &entry)) {
        if (!g_str_equal(((Entry *)entry)->record->name, vm))
            continue;
        found = entry;
        ++*ret_count;
    }
    return found;
}

gboolean tbx_trash_has(TbxTrash *self, const char *vm)
{
    guint count;

    return find(self, vm, &count) != NULL;
}

/* One that can be worked with. */
static Entry *take(TbxTrash *self, const char *vm, GError **error)
{
    guint count;
    Entry *entry = find(self, vm, &count);

    if (count == 0) {
        tbx_error_set(error, "vm-not-found", NULL, "There is no VM %s in the trash", vm);
        return NULL;
    }
    if (count > 1) {
        tbx_error_set(error, "name-ambiguous", NULL,
                      "%u VMs in the trash had the name %s: name one by its id", count, vm);
        return NULL;
    }
    if (entry->is_busy) {
        tbx_error_set(error, "vm-busy", NULL,
                      "%s is busy: its folder in the trash is being written", vm);
        return NULL;
    }
    return entry;
}

/* ---- what leaves ----------------------------------------------------------------------------- */

typedef struct {
    TbxTrash *trash; /* a reference */
    char *id;
    char *taken_name;        /* nullable: undeleting */
    TbxOperation *operation; /* nullable: purging */
    GTask *task;             /* nullable: undeleting */
    gint64 age;
} Step;

static Step *step_new(TbxTrash *trash, Entry *entry)
{
    Step *step = g_new0(Step, 1);

    g_ref_count_inc(&trash->references);
    step->trash = trash;
    step->id = g_strdup(entry->record->id);
    entry->is_busy = TRUE;
    return step;
}

static void step_free(Step *step)
{
    tbx_trash_unref(step->trash);
    g_clear_object(&step->task);
    g_free(step->taken_name);
    g_free(step->id);
    g_free(step);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Step, step_free)

static void on_purged(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Step) step = user_data;
    TbxTrash *self = step->trash;
    Entry *entry = g_hash_table_lookup(self->entries, step->id);
    g_autofree char *id = NULL;
    GError *error = NULL;

    entry->is_busy = FALSE;
    if (tbx_registry_purge_finish(result, &error)) {
        /* Who hears of it may ask for it again: it is not here any more. */
        (void)g_hash_table_steal_extended(self->entries, step->id, (gpointer *)&id, NULL);
        emit(self, TBX_EVENT_VM_PURGED, entry);
        entry_free(entry);
    } else if (step->operation == NULL) {
        g_warning("trash/%s: %s", step->id, error->message);
    }
    if (step->operation != NULL && self->handlers != NULL)
        tbx_operation_end(step->operation, g_steal_pointer(&error));
    g_clear_error(&error);
}

static gboolean refuse_pre_empt(TbxOperation *operation, const char *kind, gpointer user_data)
{
    return FALSE;
}

/* Too far from the first moment on: it ends as done. */
static void ignore_cancel(TbxOperation *operation, gpointer user_data)
{
}

static const TbxOperationHandlers purge_handlers = {
    .pre_empt = refuse_pre_empt,
    .cancel = ignore_cancel,
};

TbxOperationRecord *tbx_trash_purge(TbxTrash *self, const char *vm, const TbxActionOptions *options,
                                    GError **error)
{
    Entry *entry = take(self, vm, error);
    g_autofree char *operation_id = NULL;
    TbxOperation *operation;
    Step *step;

    if (entry == NULL ||
        !tbx_etag_require(options->if_match, entry->record->etag, entry->record->name, error))
        return NULL;
    operation = tbx_operations_begin_as(
        self->operations, options->operation_id, entry->record->id, entry->record->name,
        tenbox_vm_action_to_string(TENBOX_VM_ACTION_DELETE), FALSE, &purge_handlers, self, error);
    if (operation == NULL)
        return NULL;
    operation_id = g_strdup(tbx_operation_get_id(operation));
    step = step_new(self, entry);
    step->operation = operation;
    tbx_registry_purge_async(self->registry, step->id, on_purged, step);
    tbx_operation_announce(operation);
    return tbx_operations_get(self->operations, operation_id, error);
}

static void on_undeleted(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Step) step = user_data;
    TbxTrash *self = step->trash;
    Entry *entry = g_hash_table_lookup(self->entries, step->id);
    g_autoptr(TbxVmRecord) before = NULL;
    TbxVmRecord *record;
    GError *error = NULL;

    entry->is_busy = FALSE;
    if (!tbx_registry_undelete_finish(result, &error)) {
        if (step->taken_name != NULL)
            tbx_registry_release_name(self->registry, step->taken_name);
        g_task_return_error(step->task, error);
        return;
    }
    if (self->handlers == NULL) {
        /* It is back, and the next one to open the folder will find it. */
        g_task_return_error(step->task, tbx_error_new("closed", NULL, "The driver was closed"));
        return;
    }
    before = tbx_vm_record_ref(entry->record);
    g_hash_table_remove(self->entries, step->id);
    record = self->handlers->restored(before, self->user_data);
    g_task_return_pointer(step->task, tbx_vm_record_ref(record),
                          (GDestroyNotify)tbx_vm_record_unref);
}

/* The new vm.json of @entry under the name @name; NULL when it keeps its own. */
static GBytes *rename_entry(Entry *entry, const char *name)
{
    g_autoptr(TbxVmDefinition) renamed = NULL;

    if (entry->definition == NULL || g_str_equal(entry->definition->name, name))
        return NULL;
    renamed = tbx_vm_definition_copy(entry->definition);
    g_free(renamed->name);
    renamed->name = g_strdup(name);
    return tbx_vm_definition_print(renamed);
}

void tbx_trash_undelete(TbxTrash *self, const char *vm, const char *name, GTask *task)
{
    g_autoptr(GTask) owned = task;
    GError *error = NULL;
    Entry *entry;
    g_autoptr(GBytes) vm_json = NULL;
    Step *step;

    if (g_task_return_error_if_cancelled(task))
        return;
    entry = take(self, vm, &error);
    if (entry != NULL && entry->definition == NULL && name != NULL)
        tbx_error_set(
            &error, "vm-broken", "name",
            "%s cannot be renamed: its vm.json cannot be used. It can be had back as it is", vm);
    if (entry != NULL && entry->definition != NULL && error == NULL) {
        name = name != NULL ? name : entry->definition->name;
        if (!tbx_registry_take_name(self->registry, name, entry->record->id, &error))
            error = tbx_error_with_hint(error, "Give it another name: {\"name\": \"…\"}");
    }
    if (error != NULL) {
        g_task_return_error(task, error);
        return;
    }
    /* From here on it is too late to withdraw. */
    g_task_set_check_cancellable(task, FALSE);
    step = step_new(self, entry);
    step->task = g_steal_pointer(&owned);
    if (entry->definition != NULL) {
        step->taken_name = g_strdup(name);
        vm_json = rename_entry(entry, name);
    }
    tbx_registry_undelete_async(self->registry, step->id, vm_json, on_undeleted, step);
}

/* ---- the sweep ------------------------------------------------------------------------------- */

static void on_noted(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Step) step = user_data;
    Entry *entry = g_hash_table_lookup(step->trash->entries, step->id);
    g_autoptr(GError) error = NULL;

    entry->is_busy = FALSE;
    if (tbx_registry_save_note_finish(result, &error))
        entry->noted_age = step->age;
    else
        g_warning("trash/%s: %s", step->id, error->message);
}

static void sweep(TbxTrash *self)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Entry *entry = value;
        g_autofree char *boot_id = g_strdup(entry->note.seen.boot_id);
        gboolean is_new_boot;

        if (entry->is_busy)
            continue;
        note_age(&entry->note);
        is_new_boot = !g_str_equal(boot_id, entry->note.seen.boot_id);
        if (entry->note.age >= self->days * DAY_SECONDS) {
            Step *step = step_new(self, entry);
            tbx_registry_purge_async(self->registry, step->id, on_purged, step);
        } else if (is_new_boot || entry->note.age - entry->noted_age >= NOTE_SECONDS) {
            g_autoptr(GBytes) note = note_print(&entry->note);
            Step *step = step_new(self, entry);

            step->age = entry->note.age;
            tbx_registry_save_note_async(self->registry, step->id, note, on_noted, step);
        }
    }
}

static gboolean on_sweep_time(gpointer user_data)
{
    sweep(user_data);
    return G_SOURCE_CONTINUE;
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void add(TbxTrash *self, Entry *entry)
{
    g_hash_table_replace(self->entries, g_strdup(entry->record->id), entry);
}

static void load_entry(TbxTrash *self, const char *id)
{
    Entry *entry = g_new0(Entry, 1);
    TbxVmRecord *record = tbx_vm_record_new();
    g_autoptr(GError) broken = NULL;
    g_autofree char *note = NULL;
    gsize length = 0;

    note = tbx_registry_load_deleted(self->registry, id, &entry->definition, &length, &broken);
    if (!note_parse(note, length, &entry->note)) {
        note_init(&entry->note);
        entry->noted_age = -NOTE_SECONDS; /* to be written with the next sweep */
    } else {
        entry->noted_age = entry->note.age;
    }
    tbx_vm_definition_describe(entry->definition, id, broken, record);
    record->state = TENBOX_VM_STATE_STOPPED;
    record->generation = 1;
    entry->record = record;
    add(self, entry);
}

gboolean tbx_trash_load(TbxTrash *self, GError **error)
{
    g_autoptr(GPtrArray) ids = tbx_registry_list_deleted(self->registry, error);

    if (ids == NULL)
        return FALSE;
    for (guint i = 0; i < ids->len; i++)
        load_entry(self, ids->pdata[i]);
    sweep(self);
    self->timer = tbx_source_timer(self->home, SWEEP_SECONDS * 1000, on_sweep_time, self);
    return TRUE;
}

void tbx_trash_add(TbxTrash *self, TbxVmRecord *vm)
{
    Entry *entry = g_new0(Entry, 1);
    TbxVmRecord *record = tbx_vm_record_copy(vm);
    g_autofree char *note = NULL;
    gsize length = 0;

    record->state = TENBOX_VM_STATE_STOPPED;
    record->generation = vm->generation + 1;
    tbx_vm_record_clear_operation(record);
    entry->record = record;
    note = tbx_registry_load_deleted(self->registry, vm->id, &entry->definition, &length, NULL);
    if (!note_parse(note, length, &entry->note)) {
        note_init(&entry->note);
        entry->noted_age = -NOTE_SECONDS;
    }
    add(self, entry);
    emit(self, TBX_EVENT_VM_TRASHED, entry);
}

/* ---- birth and death ------------------------------------------------------------------------- */

TbxTrash *tbx_trash_new(TbxRegistry *registry, TbxOperations *operations, gint64 days,
                        const TbxTrashHandlers *handlers, gpointer user_data)
{
    TbxTrash *self = g_new0(TbxTrash, 1);

    g_ref_count_init(&self->references);
    self->registry = tbx_registry_ref(registry);
    self->operations = operations;
    self->days = days;
    self->handlers = handlers;
    self->user_data = user_data;
    self->home = g_main_context_ref_thread_default();
    self->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    return self;
}

gboolean tbx_trash_is_on(const TbxTrash *self)
{
    return self->days > 0;
}

void tbx_trash_close(TbxTrash *self)
{
    if (self == NULL)
        return;
    self->handlers = NULL;
    tbx_source_clear(&self->timer);
}

void tbx_trash_unref(TbxTrash *self)
{
    if (self == NULL || !g_ref_count_dec(&self->references))
        return;
    tbx_trash_close(self);
    g_hash_table_unref(self->entries);
    tbx_registry_unref(self->registry);
    g_main_context_unref(self->home);
    g_free(self);
}
