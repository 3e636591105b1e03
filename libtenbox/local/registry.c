/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/lock.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/resources.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* A new kernel or initrd in the making. */
#define KERNEL_TEMPORARY ".kernel.tmp"
#define INITRD_TEMPORARY ".initrd.tmp"
#define NOTE_SIZE_MAX    4096

struct _TbxRegistry {
    gatomicrefcount references; /* atomic */
    char *folder;               /* const */
    int folder_fd;              /* const */
    int vms_fd;                 /* const; @vms has it */
    TbxPlace *vms;              /* const */
    TbxLock *lock;              /* home; NULL after tbx_registry_unlock() */
    GHashTable *names;          /* home; name → id */
};

void tbx_registry_unlock(TbxRegistry *self)
{
    g_clear_pointer(&self->lock, tbx_lock_unref);
}

TbxLock *tbx_registry_get_lock(TbxRegistry *self)
{
    return self->lock;
}

TbxRegistry *tbx_registry_ref(TbxRegistry *self)
{
    g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbx_registry_unref(TbxRegistry *self)
{
    if (self == NULL || !g_atomic_ref_count_dec(&self->references))
        return;
    tbx_registry_unlock(self);
    tbx_place_unref(self->vms);
    tbx_fd_close(&self->folder_fd);
    g_hash_table_unref(self->names);
    g_free(self->folder);
    g_free(self);
}

TbxRegistry *tbx_registry_open(const char *folder, const char *served_at, GError **error)
{
    g_autoptr(TbxRegistry) self = g_new0(TbxRegistry, 1);

    g_atomic_ref_count_init(&self->references);
    self->folder = g_strdup(folder);
    self->folder_fd = -1;
    self->vms_fd = -1;
    self->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    self->folder_fd = tbx_paths_open_data_folder(folder, error);
    if (self->folder_fd < 0)
        return NULL;
    self->lock = tbx_lock_take(self->folder_fd, folder, served_at, error);
    /* Durable whoever made it: the one who did may have crashed before it was. */
    if (self->lock == NULL || !tbx_folder_make_at(self->folder_fd, TBX_PATH_VMS, 0700, error) ||
        !tbx_folder_sync(self->folder_fd, error))
        return NULL;
    self->vms_fd = tbx_folder_open_at(self->folder_fd, TBX_PATH_VMS, error);
    if (self->vms_fd < 0)
        return NULL;
    self->vms = tbx_place_new(self->vms_fd);
    return g_steal_pointer(&self);
}

const char *tbx_registry_get_folder(TbxRegistry *self)
{
    return self->folder;
}

int tbx_registry_get_folder_fd(TbxRegistry *self)
{
    return self->folder_fd;
}

static int compare_ids(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Removes what is called @name in the folder @folder_fd (@where) if it is one that a crash left. */
static void remove_leftover(TbxRegistry *self, int folder_fd, const char *where, const char *name)
{
    g_autoptr(GError) error = NULL;

    if (!g_str_has_prefix(name, TBX_PATH_NEW_PREFIX) &&
        !g_str_has_prefix(name, TBX_PATH_OLD_PREFIX))
        return;
    if (!tbx_folder_remove_at(folder_fd, name, &error))
        g_warning("%s/%s/%s: %s", self->folder, where, name, error->message);
}

/* The ids of the VMs in the folder @folder_fd, which is called @where. */
static GPtrArray *list_folder(TbxRegistry *self, int folder_fd, const char *where, GError **error)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) others = g_ptr_array_new_with_free_func(g_free);
    int duplicate = fcntl(folder_fd, F_DUPFD_CLOEXEC, 3);
    DIR *folder = duplicate >= 0 ? fdopendir(duplicate) : NULL;
    const struct dirent *entry;

    if (folder == NULL) {
        tbx_errno_set(error, errno, NULL, "The folder %s/%s could not be read", self->folder,
                      where);
        tbx_fd_close(&duplicate);
        return NULL;
    }
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL)
        g_ptr_array_add(tbx_vm_id_is_valid(entry->d_name) ? ids : others, g_strdup(entry->d_name));
    closedir(folder);
    for (guint i = 0; i < others->len; i++)
        remove_leftover(self, folder_fd, where, g_ptr_array_index(others, i));
    g_ptr_array_sort(ids, compare_ids);
    return g_steal_pointer(&ids);
}

GPtrArray *tbx_registry_list_ids(TbxRegistry *self, GError **error)
{
    return list_folder(self, self->vms_fd, TBX_PATH_VMS, error);
}

/* What a crash in the middle of a write left in a VM's folder. */
static void remove_temporaries(int vm_folder_fd)
{
    static const char *const names[] = {KERNEL_TEMPORARY, INITRD_TEMPORARY,
                                        "." TBX_PATH_VM_JSON ".tmp", "." TBX_PATH_TRASH_JSON ".tmp",
                                        TBX_PATH_RUN "/." TBX_PATH_STATE_JSON ".tmp"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        (void)unlinkat(vm_folder_fd, names[i], 0);
}

int tbx_registry_open_vm_folder(TbxRegistry *self, const char *id, GError **error)
{
    TBX_AUTO_FD fd = tbx_folder_open_at(self->vms_fd, id, error);

    /* A folder brought from elsewhere may lack these. */
    if (fd < 0 || !tbx_folder_make_at(fd, TBX_PATH_RUN, 0700, error) ||
        !tbx_folder_make_at(fd, TBX_PATH_LOGS, 0700, error))
        return -1;
    remove_temporaries(fd);
    /* Of a deletion that was not carried out, or of one that was undone. */
    (void)unlinkat(fd, TBX_PATH_TRASH_JSON, 0);
    return tbx_fd_take(&fd);
}

TbxPlace *tbx_registry_get_vm_place(TbxRegistry *self, const char *id)
{
    return tbx_place_new_in(self->vms, id);
}

TbxVmDefinition *tbx_registry_load(int vm_folder_fd, const char *id, GError **error)
{
    g_autoptr(GError) failure = NULL;
    gsize length;
    g_autofree char *text =
        tbx_file_read_at(vm_folder_fd, TBX_PATH_VM_JSON, TBX_JSON_SIZE_MAX, &length, &failure);

    if (text == NULL) {
        tbx_error_set(error, "internal", TBX_PATH_VM_JSON, "vm.json: %s", failure->message);
        return NULL;
    }
    return tbx_vm_definition_parse(text, length, id, error);
}

gboolean tbx_registry_take_name(TbxRegistry *self, const char *name, const char *id, GError **error)
{
    const char *owner = g_hash_table_lookup(self->names, name);

    if (owner != NULL && !g_str_equal(owner, id)) {
        tbx_error_set(error, "vm-exists", "name", "There is a VM of the name %s already (%s)", name,
                      owner);
        return FALSE;
    }
    g_hash_table_replace(self->names, g_strdup(name), g_strdup(id));
    return TRUE;
}

void tbx_registry_release_name(TbxRegistry *self, const char *name)
{
    g_hash_table_remove(self->names, name);
}

const char *tbx_registry_find_name(TbxRegistry *self, const char *name)
{
    return g_hash_table_lookup(self->names, name);
}

/* ---- work in threads ---------------------------------------------------------------------- */

typedef struct {
    TbxRegistry *registry;
    TbxLock *lock; /* until the thread has finished */
    char *id;
    TbxVmDefinition *definition;
    char *kernel_path;
    char *initrd_path;
    int vm_folder_fd;
    GBytes *content; /* nullable: of a file */
} Job;

static void job_free(Job *job)
{
    tbx_lock_unref(job->lock);
    tbx_registry_unref(job->registry);
    g_free(job->id);
    tbx_vm_definition_free(job->definition);
    g_free(job->kernel_path);
    g_free(job->initrd_path);
    tbx_fd_close(&job->vm_folder_fd);
    g_clear_pointer(&job->content, g_bytes_unref);
    g_free(job);
}

static Job *job_new(TbxRegistry *registry, const char *id, TbxVmDefinition *definition,
                    const char *kernel_path, const char *initrd_path)
{
    Job *job = g_new0(Job, 1);

    job->registry = tbx_registry_ref(registry);
    job->lock = registry->lock != NULL ? tbx_lock_ref(registry->lock) : NULL;
    job->id = g_strdup(id);
    job->definition = definition;
    job->kernel_path = g_strdup(kernel_path);
    job->initrd_path = g_strdup(initrd_path);
    job->vm_folder_fd = -1;
    return job;
}

static void run_job(Job *job, GTaskThreadFunc function, GCancellable *cancellable,
                    GAsyncReadyCallback callback, gpointer user_data)
{
    g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);

    /* What the thread returns is what is on disk: a cancellation that comes later changes neither. */
    g_task_set_check_cancellable(task, FALSE);
    g_task_set_task_data(task, job, (GDestroyNotify)job_free);
    /* Without the lock the folder may be another's. */
    if (job->lock == NULL)
        g_task_return_error(task, tbx_error_new("closed", NULL, "The driver was closed"));
    else
        g_task_run_in_thread(task, function);
}

/* The end of a thread's work: the lock goes before the result is seen. Takes @error. */
static void return_result(GTask *task, Job *job, GError *error)
{
    g_clear_pointer(&job->lock, tbx_lock_unref);
    if (error != NULL)
        g_task_return_error(task, error);
    else
        g_task_return_boolean(task, TRUE);
}

/* Copies the user's file @path to @name; NULL copies nothing. */
static gboolean copy_file(const char *path, int folder_fd, const char *name, const char *field,
                          GCancellable *cancellable, GError **error)
{
    TBX_AUTO_FD source_fd = -1;

    if (path == NULL)
        return TRUE;
    source_fd = tbx_resource_open_user_file(path, field, error);
    return source_fd >= 0 &&
           tbx_file_copy_at(source_fd, folder_fd, name, 0600, field, cancellable, error);
}

static gboolean fill_folder(Job *job, int folder_fd, GCancellable *cancellable, GError **error)
{
    g_autoptr(GBytes) content = tbx_vm_definition_print(job->definition);
    gsize length;
    const void *data = g_bytes_get_data(content, &length);

    return tbx_folder_make_at(folder_fd, TBX_PATH_RUN, 0700, error) &&
           tbx_folder_make_at(folder_fd, TBX_PATH_LOGS, 0700, error) &&
           copy_file(job->kernel_path, folder_fd, TBX_PATH_KERNEL, "kernel", cancellable, error) &&
           copy_file(job->initrd_path, folder_fd, TBX_PATH_INITRD, "initrd", cancellable, error) &&
           tbx_file_replace_at(folder_fd, TBX_PATH_VM_JSON, data, length, 0600, error);
}

static gboolean create_folder(Job *job, const char *temporary, GCancellable *cancellable,
                              GError **error)
{
    int vms_fd = job->registry->vms_fd;
    TBX_AUTO_FD folder_fd = -1;

    if (mkdirat(vms_fd, temporary, 0700) < 0) {
        tbx_errno_set(error, errno, NULL, "The folder of the VM could not be made");
        return FALSE;
    }
    folder_fd = tbx_folder_open_at(vms_fd, temporary, error);
    if (folder_fd < 0 || !fill_folder(job, folder_fd, cancellable, error))
        return FALSE;
    if (g_cancellable_set_error_if_cancelled(cancellable, error))
        return FALSE;
    if (renameat(vms_fd, temporary, vms_fd, job->id) < 0) {
        tbx_errno_set(error, errno, NULL, "The folder of the VM could not be renamed");
        return FALSE;
    }
    return tbx_folder_sync(vms_fd, error);
}

static void create_thread(GTask *task, gpointer source, gpointer task_data,
                          GCancellable *cancellable)
{
    Job *job = task_data;
    g_autofree char *temporary = g_strconcat(TBX_PATH_NEW_PREFIX, job->id, NULL);
    GError *error = NULL;

    if (!create_folder(job, temporary, cancellable, &error)) {
        /* Whichever name it has by now: a VM that was reported as failed must not turn up later. */
        (void)tbx_folder_remove_at(job->registry->vms_fd, temporary, NULL);
        (void)tbx_folder_remove_at(job->registry->vms_fd, job->id, NULL);
    }
    return_result(task, job, error);
}

void tbx_registry_create_async(TbxRegistry *self, const char *id, TbxVmDefinition *definition,
                               const char *kernel_path, const char *initrd_path,
                               GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data)
{
    Job *job = job_new(self, id, definition, kernel_path, initrd_path);

    run_job(job, create_thread, cancellable, callback, user_data);
}

gboolean tbx_registry_create_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

/* Copies first what may fail, then renames. A crash between two renames leaves a new kernel with the old
 * initrd; each file is whole, and the VM is stopped. */
static gboolean replace_files(Job *job, GCancellable *cancellable, GError **error)
{
    int fd = job->vm_folder_fd;

    if (!copy_file(job->kernel_path, fd, KERNEL_TEMPORARY, "kernel", cancellable, error) ||
        !copy_file(job->initrd_path, fd, INITRD_TEMPORARY, "initrd", cancellable, error))
        return FALSE;
    if ((job->kernel_path != NULL && renameat(fd, KERNEL_TEMPORARY, fd, TBX_PATH_KERNEL) < 0) ||
        (job->initrd_path != NULL && renameat(fd, INITRD_TEMPORARY, fd, TBX_PATH_INITRD) < 0)) {
        tbx_errno_set(error, errno, NULL, "A file of the VM could not be replaced");
        return FALSE;
    }
    return tbx_folder_sync(fd, error);
}

static void replace_thread(GTask *task, gpointer source, gpointer task_data,
                           GCancellable *cancellable)
{
    Job *job = task_data;
    GError *error = NULL;

    if (!replace_files(job, cancellable, &error))
        remove_temporaries(job->vm_folder_fd);
    return_result(task, job, error);
}

void tbx_registry_replace_files_async(TbxRegistry *self, int vm_folder_fd, const char *kernel_path,
                                      const char *initrd_path, GCancellable *cancellable,
                                      GAsyncReadyCallback callback, gpointer user_data)
{
    Job *job = job_new(self, NULL, NULL, kernel_path, initrd_path);

    job->vm_folder_fd = fcntl(vm_folder_fd, F_DUPFD_CLOEXEC, 3);
    run_job(job, replace_thread, cancellable, callback, user_data);
}

gboolean tbx_registry_replace_files_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

static void remove_initrd_thread(GTask *task, gpointer source, gpointer task_data,
                                 GCancellable *cancellable)
{
    Job *job = task_data;
    GError *error = NULL;

    if (unlinkat(job->vm_folder_fd, TBX_PATH_INITRD, 0) < 0 && errno != ENOENT)
        tbx_errno_set(&error, errno, NULL, "The old initrd could not be removed");
    return_result(task, job, error);
}

void tbx_registry_remove_initrd_async(TbxRegistry *self, int vm_folder_fd,
                                      GAsyncReadyCallback callback, gpointer user_data)
{
    Job *job = job_new(self, NULL, NULL, NULL, NULL);

    job->vm_folder_fd = fcntl(vm_folder_fd, F_DUPFD_CLOEXEC, 3);
    run_job(job, remove_initrd_thread, NULL, callback, user_data);
}

gboolean tbx_registry_remove_initrd_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

/* Takes the VM's folder out of @parent_fd, which is called @where, then removes it. */
static gboolean remove_vm_folder(Job *job, int parent_fd, const char *where, GError **error)
{
    g_autofree char *old = g_strconcat(TBX_PATH_OLD_PREFIX, job->id, NULL);
    g_autoptr(GError) leftover = NULL;

    /* What an earlier attempt left would be in the way. */
    if (!tbx_folder_remove_at(parent_fd, old, error))
        return FALSE;
    if (renameat(parent_fd, job->id, parent_fd, old) < 0) {
        tbx_errno_set(error, errno, NULL, "The folder of the VM could not be renamed");
        return FALSE;
    }
    (void)tbx_folder_sync(parent_fd, NULL);
    if (!tbx_folder_remove_at(parent_fd, old, &leftover))
        g_warning("%s/%s/%s: %s", job->registry->folder, where, old, leftover->message);
    return TRUE;
}

static void delete_thread(GTask *task, gpointer source, gpointer task_data,
                          GCancellable *cancellable)
{
    GError *error = NULL;

    (void)remove_vm_folder(task_data, ((Job *)task_data)->registry->vms_fd, TBX_PATH_VMS, &error);
    return_result(task, task_data, error);
}

void tbx_registry_delete_async(TbxRegistry *self, const char *id, GAsyncReadyCallback callback,
                               gpointer user_data)
{
    run_job(job_new(self, id, NULL, NULL, NULL), delete_thread, NULL, callback, user_data);
}

gboolean tbx_registry_delete_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

/* ---- the trash ------------------------------------------------------------------------------- */

/* Made when it is needed first: a full disk must not keep a daemon from starting. */
static int open_trash(TbxRegistry *self, GError **error)
{
    if (faccessat(self->folder_fd, TBX_PATH_TRASH, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
        (!tbx_folder_make_at(self->folder_fd, TBX_PATH_TRASH, 0700, error) ||
         !tbx_folder_sync(self->folder_fd, error)))
        return -1;
    return tbx_folder_open_at(self->folder_fd, TBX_PATH_TRASH, error);
}

GPtrArray *tbx_registry_list_deleted(TbxRegistry *self, GError **error)
{
    TBX_AUTO_FD trash_fd = -1;

    if (faccessat(self->folder_fd, TBX_PATH_TRASH, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return g_ptr_array_new_with_free_func(g_free);
    trash_fd = tbx_folder_open_at(self->folder_fd, TBX_PATH_TRASH, error);
    return trash_fd >= 0 ? list_folder(self, trash_fd, TBX_PATH_TRASH, error) : NULL;
}

char *tbx_registry_load_deleted(TbxRegistry *self, const char *id, TbxVmDefinition **ret_definition,
                                gsize *ret_length, GError **error)
{
    TBX_AUTO_FD trash_fd = tbx_folder_open_at(self->folder_fd, TBX_PATH_TRASH, error);
    TBX_AUTO_FD fd = trash_fd >= 0 ? tbx_folder_open_at(trash_fd, id, error) : -1;

    if (fd < 0)
        return NULL;
    remove_temporaries(fd);
    *ret_definition = tbx_registry_load(fd, id, error);
    return tbx_file_read_at(fd, TBX_PATH_TRASH_JSON, NOTE_SIZE_MAX, ret_length, NULL);
}

/* The VM's folder from one parent to the other, durably: first where it comes to. Where it stays if that fails. */
static gboolean move_folder(const char *id, int from_fd, int to_fd, GError **error)
{
    if (faccessat(to_fd, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        tbx_error_set(error, "vm-exists", NULL, "There is another VM of the id %s there", id);
        return FALSE;
    }
    if (renameat(from_fd, id, to_fd, id) < 0) {
        tbx_errno_set(error, errno, NULL, "The folder of the VM could not be moved");
        return FALSE;
    }
    if (tbx_folder_sync(to_fd, error) && tbx_folder_sync(from_fd, error))
        return TRUE;
    /* What is reported as failed has not happened. */
    (void)renameat(to_fd, id, from_fd, id);
    return FALSE;
}

static gboolean replace_file(int parent_fd, const char *id, const char *name, GBytes *content,
                             GError **error)
{
    TBX_AUTO_FD fd = tbx_folder_open_at(parent_fd, id, error);
    gsize length;
    const void *data = g_bytes_get_data(content, &length);

    return fd >= 0 && tbx_file_replace_at(fd, name, data, length, 0600, error);
}

static void trash_thread(GTask *task, gpointer source, gpointer task_data,
                         GCancellable *cancellable)
{
    Job *job = task_data;
    TbxRegistry *registry = job->registry;
    GError *error = NULL;
    TBX_AUTO_FD trash_fd = open_trash(registry, &error);

    if (trash_fd >= 0) {
        g_autoptr(GError) unnoted = NULL;

        /* Without a note its time begins when the trash is read next. */
        if (!replace_file(registry->vms_fd, job->id, TBX_PATH_TRASH_JSON, job->content, &unnoted))
            g_info("%s/vms/%s: %s", registry->folder, job->id, unnoted->message);
        (void)move_folder(job->id, registry->vms_fd, trash_fd, &error);
    }
    return_result(task, job, error);
}

void tbx_registry_trash_async(TbxRegistry *self, const char *id, GBytes *note,
                              GAsyncReadyCallback callback, gpointer user_data)
{
    Job *job = job_new(self, id, NULL, NULL, NULL);

    job->content = g_bytes_ref(note);
    run_job(job, trash_thread, NULL, callback, user_data);
}

gboolean tbx_registry_trash_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

static void undelete_thread(GTask *task, gpointer source, gpointer task_data,
                            GCancellable *cancellable)
{
    Job *job = task_data;
    TbxRegistry *registry = job->registry;
    GError *error = NULL;
    TBX_AUTO_FD trash_fd = open_trash(registry, &error);

    if (trash_fd >= 0 &&
        (job->content == NULL ||
         replace_file(trash_fd, job->id, TBX_PATH_VM_JSON, job->content, &error)) &&
        move_folder(job->id, trash_fd, registry->vms_fd, &error)) {
        TBX_AUTO_FD fd = tbx_folder_open_at(registry->vms_fd, job->id, NULL);

        if (fd >= 0)
            (void)unlinkat(fd, TBX_PATH_TRASH_JSON, 0);
    }
    return_result(task, job, error);
}

void tbx_registry_undelete_async(TbxRegistry *self, const char *id, GBytes *vm_json,
                                 GAsyncReadyCallback callback, gpointer user_data)
{
    Job *job = job_new(self, id, NULL, NULL, NULL);

    job->content = vm_json != NULL ? g_bytes_ref(vm_json) : NULL;
    run_job(job, undelete_thread, NULL, callback, user_data);
}

gboolean tbx_registry_undelete_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

static void save_note_thread(GTask *task, gpointer source, gpointer task_data,
                             GCancellable *cancellable)
{
    Job *job = task_data;
    GError *error = NULL;
    TBX_AUTO_FD trash_fd = open_trash(job->registry, &error);

    if (trash_fd >= 0)
        (void)replace_file(trash_fd, job->id, TBX_PATH_TRASH_JSON, job->content, &error);
    return_result(task, job, error);
}

void tbx_registry_save_note_async(TbxRegistry *self, const char *id, GBytes *note,
                                  GAsyncReadyCallback callback, gpointer user_data)
{
    Job *job = job_new(self, id, NULL, NULL, NULL);

    job->content = g_bytes_ref(note);
    run_job(job, save_note_thread, NULL, callback, user_data);
}

gboolean tbx_registry_save_note_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

static void purge_thread(GTask *task, gpointer source, gpointer task_data,
                         GCancellable *cancellable)
{
    Job *job = task_data;
    GError *error = NULL;
    TBX_AUTO_FD trash_fd = open_trash(job->registry, &error);

    if (trash_fd >= 0)
        (void)remove_vm_folder(job, trash_fd, TBX_PATH_TRASH, &error);
    return_result(task, job, error);
}

void tbx_registry_purge_async(TbxRegistry *self, const char *id, GAsyncReadyCallback callback,
                              gpointer user_data)
{
    run_job(job_new(self, id, NULL, NULL, NULL), purge_thread, NULL, callback, user_data);
}

gboolean tbx_registry_purge_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

/* ---- the disk -------------------------------------------------------------------------------- */

gint64 tbx_registry_get_free_mb(TbxRegistry *self)
{
    struct statvfs status;

    if (fstatvfs(self->folder_fd, &status) < 0)
        return -1;
    return (gint64)((guint64)status.f_bavail / 1024 * status.f_frsize / 1024);
}

gboolean tbx_registry_check_writable(TbxRegistry *self, GError **error)
{
    const char *const name = "doctor";

    if (!tbx_file_replace_at(self->folder_fd, name, "ok\n", 3, 0600, error))
        return FALSE;
    (void)unlinkat(self->folder_fd, name, 0);
    return TRUE;
}
