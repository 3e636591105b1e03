/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define COPY_CHUNK       (4u << 20)   /* what the kernel copies at a time */
#define COPY_BUFFER      (128u << 10) /* small, since it stays with the thread's malloc arena */
#define REMOVE_DEPTH_MAX 32

static const char *slug_of_errno(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT: return "no-space";
    case EACCES:
    case EPERM:
    case EROFS: return "forbidden";
    default: return "internal";
    }
}

void tbx_errno_set(GError **error, int error_number, const char *field, const char *format, ...)
{
    g_autofree char *what = NULL;
    struct rlimit limit;
    va_list arguments;
    GError *failure;

    va_start(arguments, format);
    what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (error_number == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        g_autoptr(GError) full =
            tbx_error_new("internal", field,
                          "%s: this process has as many files open as it may, %" G_GUINT64_FORMAT,
                          what, (guint64)limit.rlim_cur);

        g_propagate_error(error, tbx_error_with_hint(g_steal_pointer(&full),
                                                     "Raise its limit of open files (LimitNOFILE= "
                                                     "of its service, or ulimit -n)"));
        return;
    }
    failure =
        tbx_error_new(slug_of_errno(error_number), field, "%s: %s", what, g_strerror(error_number));
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        failure =
            tbx_error_with_hint(failure, "Free space where the data folder lies, then try again");
        break;
    case EROFS:
        failure = tbx_error_with_hint(
            failure,
            "Make the file system of the data folder writable again, see dmesg for why it is not");
        break;
    default: break;
    }
    g_propagate_error(error, failure);
}

static gboolean write_all(int fd, const void *data, gsize length)
{
    const guint8 *bytes = data;

    while (length > 0) {
        ssize_t written = write(fd, bytes, MIN(length, COPY_CHUNK));

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return FALSE;
        bytes += written;
        length -= (gsize)written;
    }
    return TRUE;
}

gboolean tbx_folder_sync(int folder_fd, GError **error)
{
    if (fsync(folder_fd) == 0)
        return TRUE;
    tbx_errno_set(error, errno, NULL, "A folder could not be written to disk");
    return FALSE;
}

/* The temporary file, written and durable, or nothing. */
static gboolean write_temporary(int folder_fd, const char *name, const void *data, gsize length,
                                mode_t mode, GError **error)
{
    TBX_AUTO_FD fd =
        openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

    if (fd < 0) {
        tbx_errno_set(error, errno, NULL, "%s could not be made", name);
        return FALSE;
    }
    /* The umask may have taken bits away. */
    if (fchmod(fd, mode) < 0 || !write_all(fd, data, length) || fsync(fd) < 0) {
        tbx_errno_set(error, errno, NULL, "%s could not be written", name);
        (void)unlinkat(folder_fd, name, 0);
        return FALSE;
    }
    return TRUE;
}

gboolean tbx_file_replace_at(int folder_fd, const char *name, const void *data, gsize length,
                             mode_t mode, GError **error)
{
    g_autofree char *temporary = g_strdup_printf(".%s.tmp", name);

    /* What a crash left. */
    if (unlinkat(folder_fd, temporary, 0) < 0 && errno != ENOENT) {
        tbx_errno_set(error, errno, NULL, "%s could not be removed", temporary);
        return FALSE;
    }
    if (!write_temporary(folder_fd, temporary, data, length, mode, error))
        return FALSE;
    if (renameat(folder_fd, temporary, folder_fd, name) < 0) {
        tbx_errno_set(error, errno, NULL, "%s could not be replaced", name);
        (void)unlinkat(folder_fd, temporary, 0);
        return FALSE;
    }
    return tbx_folder_sync(folder_fd, error);
}

char *tbx_file_read_at(int folder_fd, const char *name, gsize maximum, gsize *ret_length,
                       GError **error)
{
    /* O_NONBLOCK: opening a pipe must not wait for its other end. */
    TBX_AUTO_FD fd =
        openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    g_autofree char *content = NULL;
    struct stat status;
    gsize length = 0;

    if (fd < 0 && errno == ENOENT) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "there is no file %s", name);
        return NULL;
    }
    if (fd < 0 || fstat(fd, &status) < 0) {
        tbx_errno_set(error, errno, name, "%s could not be opened", name);
        return NULL;
    }
    if (!S_ISREG(status.st_mode)) {
        tbx_error_set(error, "internal", name, "%s is not a regular file", name);
        return NULL;
    }
    if (status.st_size < 0 || (guint64)status.st_size > maximum) {
        tbx_error_set(error, "internal", name, "%s is larger than %" G_GSIZE_FORMAT " bytes", name,
                      maximum);
        return NULL;
    }
    content = g_malloc((gsize)status.st_size + 1);
    while (length < (gsize)status.st_size) {
        ssize_t n = read(fd, content + length, (gsize)status.st_size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            tbx_errno_set(error, errno, name, "%s could not be read", name);
            return NULL;
        }
        if (n == 0)
            break;
        length += (gsize)n;
    }
    content[length] = '\0';
    if (ret_length != NULL)
        *ret_length = length;
    return g_steal_pointer(&content);
}

/* Copies up to COPY_CHUNK bytes; 0 at the end, -1 with errno. *@use_range is cleared when the two file
 * systems do not know copy_file_range(). */
static ssize_t copy_chunk(int source_fd, int target_fd, guint8 *buffer, gboolean *use_range)
{
    ssize_t n;

    if (*use_range) {
        n = copy_file_range(source_fd, NULL, target_fd, NULL, COPY_CHUNK, 0);
        if (n > 0)
            return n;
        /* Some file systems answer 0 for what read() does deliver: let read() find the end. */
        if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
            errno != EPERM)
            return -1;
        *use_range = FALSE;
    }
    n = read(source_fd, buffer, COPY_BUFFER);
    if (n > 0 && !write_all(target_fd, buffer, (gsize)n))
        return -1;
    return n;
}

static gboolean copy_content(int source_fd, int target_fd, off_t size, const char *field,
                             GCancellable *cancellable, GError **error)
{
    g_autofree guint8 *buffer = g_malloc(COPY_BUFFER);
    gboolean use_range = TRUE;
    guint64 copied = 0;

    for (;;) {
        ssize_t n;

        if (g_cancellable_set_error_if_cancelled(cancellable, error))
            return FALSE;
        n = copy_chunk(source_fd, target_fd, buffer, &use_range);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            tbx_errno_set(error, errno, field, "The %s could not be copied",
                          field != NULL ? field : "file");
            return FALSE;
        }
        if (n == 0)
            break;
        copied += (guint64)n;
    }
    if (copied != (guint64)size) {
        tbx_error_set(error, "file-unreadable", field, "The %s changed while it was copied",
                      field != NULL ? field : "file");
        return FALSE;
    }
    return TRUE;
}

gboolean tbx_file_copy_at(int source_fd, int folder_fd, const char *name, mode_t mode,
                          const char *field, GCancellable *cancellable, GError **error)
{
    TBX_AUTO_FD fd =
        openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    struct stat status;

    if (fd < 0 || fstat(source_fd, &status) < 0) {
        tbx_errno_set(error, errno, field, "%s could not be made", name);
        return FALSE;
    }
    if (!copy_content(source_fd, fd, status.st_size, field, cancellable, error)) {
        (void)unlinkat(folder_fd, name, 0);
        return FALSE;
    }
    if (fsync(fd) < 0) {
        tbx_errno_set(error, errno, field, "%s could not be written to disk", name);
        (void)unlinkat(folder_fd, name, 0);
        return FALSE;
    }
    return TRUE;
}

int tbx_folder_open_at(int parent_fd, const char *name, GError **error)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        tbx_errno_set(error, errno, NULL, "The folder %s could not be opened", name);
    return fd;
}

gboolean tbx_folder_make_at(int parent_fd, const char *name, mode_t mode, GError **error)
{
    if (mkdirat(parent_fd, name, mode) == 0 || errno == EEXIST)
        return TRUE;
    tbx_errno_set(error, errno, NULL, "The folder %s could not be made", name);
    return FALSE;
}

static gboolean remove_entries(int folder_fd, dev_t device, guint depth);

/* 0 or -1 with errno. */
static int remove_entry(int parent_fd, const char *name, dev_t device, guint depth)
{
    TBX_AUTO_FD fd = -1;
    struct stat status;

    if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return -1;
    if (status.st_dev != device || depth >= REMOVE_DEPTH_MAX) {
        errno = EXDEV;
        return -1;
    }
    if (!remove_entries(fd, device, depth + 1))
        return -1;
    return unlinkat(parent_fd, name, AT_REMOVEDIR);
}

static gboolean remove_entries(int folder_fd, dev_t device, guint depth)
{
    int duplicate = fcntl(folder_fd, F_DUPFD_CLOEXEC, 3);
    DIR *folder = duplicate >= 0 ? fdopendir(duplicate) : NULL;
    const struct dirent *entry;
    int saved_errno = 0;

    if (folder == NULL) {
        saved_errno = errno;
        tbx_fd_close(&duplicate);
        errno = saved_errno;
        return FALSE;
    }
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (remove_entry(folder_fd, entry->d_name, device, depth) < 0)
            saved_errno = errno;
    }
    closedir(folder);
    errno = saved_errno;
    return saved_errno == 0;
}

gboolean tbx_folder_remove_at(int parent_fd, const char *name, GError **error)
{
    struct stat status;
    int r = 0;

    if (fstat(parent_fd, &status) < 0) {
        tbx_errno_set(error, errno, NULL, "%s could not be removed", name);
        return FALSE;
    }
    /* A write under way may add a file behind our back once or twice; it cannot do so forever. */
    for (int attempt = 0; attempt < 8; attempt++) {
        r = remove_entry(parent_fd, name, status.st_dev, 0);
        if (r == 0 || (errno != ENOTEMPTY && errno != EEXIST))
            break;
    }
    if (r < 0) {
        tbx_errno_set(error, errno, NULL, "%s could not be removed", name);
        return FALSE;
    }
    return TRUE;
}

/* ---- TbxFileWriter ------------------------------------------------------------------------ */

struct _TbxFileWriter {
    gatomicrefcount references; /* atomic: a worker may drop the last one */
    int source_fd;              /* const; the owner's, or -1 */
    TbxPlace *place;            /* const; else */
    GError *failure;            /* home; why @next cannot be written */
    int folder_fd;              /* home; our own while there is something to write, else -1 */
    char *name;                 /* const */
    mode_t mode;                /* const */
    GBytes *next;               /* home; waits for the write under way */
    GPtrArray *waiting;         /* home; GTasks of @next */
    GPtrArray *flushing;        /* home; GTasks that wait for idleness */
    gboolean is_writing;        /* home */
    TbxLock *lock;              /* home; NULL once closed */
    TbxLock *next_lock;         /* home; of @next */
};

typedef struct {
    TbxFileWriter *writer;
    GBytes *content;
    GPtrArray *tasks;
    GError *failure; /* nullable: there is no folder to write in */
    TbxLock *lock;   /* until the thread has finished */
} WriteJob;

static void write_job_free(WriteJob *job)
{
    tbx_lock_unref(job->lock);
    g_bytes_unref(job->content);
    g_ptr_array_unref(job->tasks);
    g_clear_error(&job->failure);
    tbx_file_writer_unref(job->writer);
    g_free(job);
}

TbxFileWriter *tbx_file_writer_new(int folder_fd, const char *name, mode_t mode, TbxLock *lock)
{
    TbxFileWriter *self = g_new0(TbxFileWriter, 1);

    g_atomic_ref_count_init(&self->references);
    self->source_fd = folder_fd;
    self->folder_fd = -1;
    self->name = g_strdup(name);
    self->mode = mode;
    self->lock = tbx_lock_ref(lock);
    self->waiting = g_ptr_array_new_with_free_func(g_object_unref);
    self->flushing = g_ptr_array_new_with_free_func(g_object_unref);
    return self;
}

TbxFileWriter *tbx_file_writer_new_in(TbxPlace *folder, const char *name, mode_t mode,
                                      TbxLock *lock)
{
    TbxFileWriter *self = tbx_file_writer_new(-1, name, mode, lock);

    self->place = tbx_place_ref(folder);
    return self;
}

TbxFileWriter *tbx_file_writer_ref(TbxFileWriter *self)
{
    g_atomic_ref_count_inc(&self->references);
    return self;
}

void tbx_file_writer_unref(TbxFileWriter *self)
{
    if (self == NULL || !g_atomic_ref_count_dec(&self->references))
        return;
    tbx_fd_close(&self->folder_fd);
    tbx_place_unref(self->place);
    g_clear_error(&self->failure);
    tbx_lock_unref(self->lock);
    tbx_lock_unref(self->next_lock);
    g_ptr_array_unref(self->waiting);
    g_ptr_array_unref(self->flushing);
    g_clear_pointer(&self->next, g_bytes_unref);
    g_free(self->name);
    g_free(self);
}

static void write_thread(GTask *task, gpointer source, gpointer task_data,
                         GCancellable *cancellable)
{
    WriteJob *job = task_data;
    GError *error = NULL;
    gsize length;
    const void *data = g_bytes_get_data(job->content, &length);

    if (job->failure != NULL)
        error = g_steal_pointer(&job->failure);
    else
        (void)tbx_file_replace_at(job->writer->folder_fd, job->writer->name, data, length,
                                  job->writer->mode, &error);
    g_clear_pointer(&job->lock, tbx_lock_unref);
    if (error != NULL)
        g_task_return_error(task, error);
    else
        g_task_return_boolean(task, TRUE);
}

static void begin_write(TbxFileWriter *self);

static void complete_flushes(TbxFileWriter *self)
{
    g_autoptr(GPtrArray) tasks = self->flushing;

    self->flushing = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint i = 0; i < tasks->len; i++)
        g_task_return_boolean(g_ptr_array_index(tasks, i), TRUE);
}

static void write_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(TbxFileWriter) self = user_data;
    WriteJob *job = g_task_get_task_data(G_TASK(result));
    g_autoptr(GPtrArray) tasks = g_steal_pointer(&job->tasks);
    g_autoptr(GError) error = NULL;

    job->tasks = g_ptr_array_new();
    g_task_propagate_boolean(G_TASK(result), &error);
    self->is_writing = FALSE;
    if (self->next != NULL)
        begin_write(self);
    else
        tbx_fd_close(&self->folder_fd);
    for (guint i = 0; i < tasks->len; i++) {
        GTask *task = g_ptr_array_index(tasks, i);

        if (error != NULL)
            g_task_return_error(task, g_error_copy(error));
        else
            g_task_return_boolean(task, TRUE);
    }
    if (!self->is_writing)
        complete_flushes(self);
}

static void begin_write(TbxFileWriter *self)
{
    WriteJob *job = g_new0(WriteJob, 1);
    g_autoptr(GTask) task = g_task_new(NULL, NULL, write_done, tbx_file_writer_ref(self));

    job->writer = tbx_file_writer_ref(self);
    job->content = g_steal_pointer(&self->next);
    job->tasks = g_steal_pointer(&self->waiting);
    job->failure = g_steal_pointer(&self->failure);
    job->lock = g_steal_pointer(&self->next_lock);
    self->waiting = g_ptr_array_new_with_free_func(g_object_unref);
    self->is_writing = TRUE;
    g_task_set_task_data(task, job, (GDestroyNotify)write_job_free);
    g_task_run_in_thread(task, write_thread);
}

static void open_folder(TbxFileWriter *self)
{
    if (self->place != NULL) {
        self->folder_fd = tbx_place_open(self->place, &self->failure);
        return;
    }
    self->folder_fd = fcntl(self->source_fd, F_DUPFD_CLOEXEC, 3);
    if (self->folder_fd < 0)
        tbx_errno_set(&self->failure, errno, NULL, "%s cannot be written", self->name);
}

void tbx_file_writer_write_async(TbxFileWriter *self, GBytes *content, GAsyncReadyCallback callback,
                                 gpointer user_data)
{
    g_clear_error(&self->failure);
    if (self->folder_fd < 0)
        open_folder(self);
    g_clear_pointer(&self->next, g_bytes_unref);
    self->next = g_bytes_ref(content);
    if (self->next_lock == NULL)
        self->next_lock = tbx_lock_ref(self->lock);
    if (callback != NULL)
        g_ptr_array_add(self->waiting, g_task_new(NULL, NULL, callback, user_data));
    if (!self->is_writing)
        begin_write(self);
}

void tbx_file_writer_close(TbxFileWriter *self)
{
    g_clear_pointer(&self->lock, tbx_lock_unref);
}

gboolean tbx_file_writer_write_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_boolean(G_TASK(result), error);
}

void tbx_file_writer_flush_async(TbxFileWriter *self, GAsyncReadyCallback callback,
                                 gpointer user_data)
{
    g_ptr_array_add(self->flushing, g_task_new(NULL, NULL, callback, user_data));
    if (!self->is_writing)
        complete_flushes(self);
}
