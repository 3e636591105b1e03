/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/console-log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define PIECE         65536u
/* The runtime's log may be larger than the console's: it is put aside at a boot only. */
#define LOG_READ_MAX  (16u << 20)
#define LOG_SHOWN_MAX (1u << 20)
/* Pieces per job, so that a guest that prints forever cannot keep a thread forever. */
#define PIECES_MAX    64
/* Rings of boots that no job has come to yet. */
#define RINGS_MAX     8

struct _TbxConsoleLog {
    gatomicrefcount references; /* atomic: a worker may drop the last one */
    TbxPlace *run;              /* const */
    TbxPlace *logs;             /* const */
    int logs_fd;                /* home; from one job to the last of a row, else -1 */
    int run_fd;                 /* the same */
    TbxConsoleRing *ring;       /* home */
    guint64 position;           /* home between jobs, the job's while one runs */
    GQueue next_rings;          /* home; of NextRing, attached while a job ran, oldest first */
    GQueue readers;             /* home; of GTask: those who wait for a job that is to begin */
    gboolean is_working;        /* home */
    gboolean has_news;          /* home; since the job began */
    gboolean is_closed;         /* home */
    TbxLock *lock;              /* home; NULL once closed */
};

typedef struct {
    TbxConsoleRing *ring;
    guint64 position;
} NextRing;

typedef struct {
    TbxConsoleLog *log;
    TbxConsoleRing *ring;
    guint64 position;
    GQueue readers; /* home; those for whom the file is up to date when this has been done */
    TbxLock *lock;  /* until the thread has finished */
} CopyJob;

static void next_ring_free(gpointer data)
{
    NextRing *next = data;

    tbx_console_ring_unref(next->ring);
    g_free(next);
}

TbxConsoleLog *tbx_console_log_new(TbxPlace *run, TbxPlace *logs, TbxLock *lock)
{
    TbxConsoleLog *self = g_new0(TbxConsoleLog, 1);

    g_atomic_ref_count_init(&self->references);
    self->lock = tbx_lock_ref(lock);
    self->run = tbx_place_ref(run);
    self->logs = tbx_place_ref(logs);
    self->logs_fd = -1;
    self->run_fd = -1;
    return self;
}

static void close_folders(TbxConsoleLog *self)
{
    tbx_fd_close(&self->logs_fd);
    tbx_fd_close(&self->run_fd);
}

void tbx_console_log_unref(TbxConsoleLog *self)
{
    if (self == NULL || !g_atomic_ref_count_dec(&self->references))
        return;
    tbx_lock_unref(self->lock);
    close_folders(self);
    tbx_place_unref(self->run);
    tbx_place_unref(self->logs);
    tbx_console_ring_unref(self->ring);
    g_queue_clear_full(&self->next_rings, next_ring_free);
    g_queue_clear_full(&self->readers, g_object_unref);
    g_free(self);
}

/* ---- in the thread ------------------------------------------------------------------------ */

/* Puts the newer half of the full file in place of it. Not made durable: a log may lose its end with the
 * host's power. */
static void cut_file(TbxConsoleLog *self, off_t size)
{
    const char *const temporary = "." TBX_PATH_CONSOLE_LOG ".tmp";
    TBX_AUTO_FD old_fd =
        openat(self->logs_fd, TBX_PATH_CONSOLE_LOG, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    TBX_AUTO_FD new_fd = openat(self->logs_fd, temporary,
                                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    g_autofree guint8 *buffer = g_malloc(PIECE);
    off_t from = size - TBX_CONSOLE_LOG_MAX / 2;
    ssize_t n = 0;

    if (old_fd < 0 || new_fd < 0)
        return;
    while ((n = pread(old_fd, buffer, PIECE, from)) > 0) {
        if (write(new_fd, buffer, (size_t)n) != n)
            break;
        from += n;
    }
    if (n != 0 || renameat(self->logs_fd, temporary, self->logs_fd, TBX_PATH_CONSOLE_LOG) < 0)
        (void)unlinkat(self->logs_fd, temporary, 0);
}

static gboolean append(TbxConsoleLog *self, const guint8 *data, gsize length)
{
    TBX_AUTO_FD fd =
        openat(self->logs_fd, TBX_PATH_CONSOLE_LOG,
               O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return FALSE;
    if ((guint64)status.st_size + length > TBX_CONSOLE_LOG_MAX) {
        cut_file(self, status.st_size);
        tbx_fd_close(&fd);
        fd = openat(self->logs_fd, TBX_PATH_CONSOLE_LOG,
                    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    while (fd >= 0 && length > 0) {
        ssize_t n = write(fd, data, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FALSE;
        data += n;
        length -= (gsize)n;
    }
    return fd >= 0;
}

static void save_position(int run_fd, guint64 position)
{
    TBX_AUTO_FD fd = openat(run_fd, TBX_PATH_CONSOLE_POSITION,
                            O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    /* One write of fixed length: the old number or the new one, never a mixture. */
    if (fd >= 0)
        dprintf(fd, "%020" G_GUINT64_FORMAT "\n", position);
}

static guint64 load_position(int run_fd)
{
    g_autofree char *text = tbx_file_read_at(run_fd, TBX_PATH_CONSOLE_POSITION, 64, NULL, NULL);

    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static void copy_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable)
{
    CopyJob *job = task_data;
    g_autofree guint8 *buffer = g_malloc(PIECE);
    guint64 before = job->position;

    for (guint piece = 0; piece < PIECES_MAX; piece++) {
        guint64 lost;
        gsize length = tbx_console_ring_read(job->ring, &job->position, buffer, PIECE, &lost);

        if (lost > 0) {
            g_autofree char *note =
                g_strdup_printf("\n[%" G_GUINT64_FORMAT " bytes were lost here]\n", lost);

            append(job->log, (const guint8 *)note, strlen(note));
        }
        if (length == 0)
            break;
        /* A full disk loses console output rather than stopping the VM. */
        append(job->log, buffer, length);
    }
    if (job->position != before)
        save_position(job->log->run_fd, job->position);
    g_clear_pointer(&job->lock, tbx_lock_unref);
    g_task_return_boolean(task, TRUE);
}

static void copy_job_free(CopyJob *job)
{
    tbx_lock_unref(job->lock);
    tbx_console_ring_unref(job->ring);
    g_queue_clear_full(&job->readers, g_object_unref);
    tbx_console_log_unref(job->log);
    g_free(job);
}

/* ---- at home ------------------------------------------------------------------------------ */

static void begin_work(TbxConsoleLog *self);

static void read_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable)
{
    guint line_count = GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(task), "lines"));
    TbxConsoleLog *self = task_data;
    GError *error = NULL;
    TBX_AUTO_FD logs_fd = tbx_place_open(self->logs, &error);
    char *text =
        logs_fd >= 0 ? tbx_log_read_end(logs_fd, TBX_PATH_CONSOLE_LOG, line_count, &error) : NULL;

    if (text != NULL)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(task, error);
}

/* The file is up to date as of their question: those who wanted to read it may. */
static void serve_readers(GQueue *readers)
{
    GTask *task;

    while ((task = g_queue_pop_head(readers)) != NULL) {
        g_task_run_in_thread(task, read_thread);
        g_object_unref(task);
    }
}

/* Goes on with a ring attached meanwhile. */
static void take_next_ring(TbxConsoleLog *self)
{
    NextRing *next = g_queue_pop_head(&self->next_rings);

    if (next == NULL)
        return;
    tbx_console_ring_unref(self->ring);
    self->ring = g_steal_pointer(&next->ring);
    self->position = next->position;
    self->has_news = TRUE;
    next_ring_free(next);
}

static void copy_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(TbxConsoleLog) self = user_data;
    CopyJob *job = g_task_get_task_data(G_TASK(result));

    self->is_working = FALSE;
    self->position = job->position;
    serve_readers(&job->readers);
    if (self->is_closed) {
        close_folders(self);
        serve_readers(&self->readers);
        return;
    }
    if (self->position < tbx_console_ring_get_position(self->ring) && self->has_news) {
        begin_work(self);
        return;
    }
    take_next_ring(self);
    if (self->has_news) {
        begin_work(self);
        return;
    }
    close_folders(self);
    serve_readers(&self->readers);
}

static void begin_work(TbxConsoleLog *self)
{
    CopyJob *job = g_new0(CopyJob, 1);
    g_autoptr(GTask) task = NULL;

    g_atomic_ref_count_inc(&self->references);
    task = g_task_new(NULL, NULL, copy_done, self);
    g_atomic_ref_count_inc(&self->references);
    job->log = self;
    job->ring = tbx_console_ring_ref(self->ring);
    job->position = self->position;
    job->lock = tbx_lock_ref(self->lock);
    /* What they wanted to see may be in the last ring. */
    if (g_queue_is_empty(&self->next_rings)) {
        job->readers = self->readers;
        g_queue_init(&self->readers);
    }
    if (self->logs_fd < 0)
        self->logs_fd = tbx_place_open(self->logs, NULL);
    if (self->run_fd < 0)
        self->run_fd = tbx_place_open(self->run, NULL);
    self->is_working = TRUE;
    self->has_news = FALSE;
    g_task_set_task_data(task, job, (GDestroyNotify)copy_job_free);
    g_task_run_in_thread(task, copy_thread);
}

void tbx_console_log_attach(TbxConsoleLog *self, TbxConsoleRing *ring, gboolean is_adopted)
{
    NextRing *next = g_new0(NextRing, 1);
    TBX_AUTO_FD run_fd = tbx_place_open(self->run, NULL);

    next->ring = tbx_console_ring_ref(ring);
    next->position = is_adopted && run_fd >= 0 ? load_position(run_fd) : 0;
    if (!is_adopted && run_fd >= 0)
        save_position(run_fd, 0);
    g_queue_push_tail(&self->next_rings, next);
    if (self->next_rings.length > RINGS_MAX)
        next_ring_free(g_queue_pop_head(&self->next_rings));
    if (self->is_working || self->is_closed)
        return;
    if (self->ring != NULL && self->position < tbx_console_ring_get_position(self->ring)) {
        begin_work(self);
        return;
    }
    take_next_ring(self);
    begin_work(self);
}

void tbx_console_log_close(TbxConsoleLog *self)
{
    self->is_closed = TRUE;
    g_clear_pointer(&self->lock, tbx_lock_unref);
}

void tbx_console_log_notify(TbxConsoleLog *self)
{
    self->has_news = TRUE;
    if (!self->is_closed && !self->is_working && self->ring != NULL)
        begin_work(self);
}

void tbx_console_log_read_async(TbxConsoleLog *self, guint line_count, GAsyncReadyCallback callback,
                                gpointer user_data)
{
    GTask *task = g_task_new(NULL, NULL, callback, user_data);

    g_atomic_ref_count_inc(&self->references);
    g_task_set_task_data(task, self, (GDestroyNotify)tbx_console_log_unref);
    g_object_set_data(G_OBJECT(task), "lines", GUINT_TO_POINTER(line_count));
    g_queue_push_tail(&self->readers, task);
    if (self->is_working)
        self->has_news = TRUE;
    else if (self->ring != NULL && !self->is_closed)
        begin_work(self);
    else
        serve_readers(&self->readers);
}

char *tbx_console_log_read_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}

/* ---- reading a log ------------------------------------------------------------------------ */

gsize tbx_log_find_last_lines(const char *text, gsize length, guint line_count)
{
    gsize at = length;

    if (line_count == 0)
        return 0;
    /* The newline at the very end ends the last line, it does not begin another. */
    if (at > 0 && text[at - 1] == '\n')
        at--;
    while (at > 0) {
        if (text[at - 1] == '\n' && --line_count == 0)
            break;
        at--;
    }
    return at;
}

char *tbx_log_read_end(int logs_fd, const char *name, guint line_count, GError **error)
{
    g_autoptr(GError) failure = NULL;
    gsize length, start;
    g_autofree char *text = tbx_file_read_at(logs_fd, name, LOG_READ_MAX, &length, &failure);

    if (g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        return g_strdup("");
    if (text == NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    start = tbx_log_find_last_lines(text, length, line_count);
    if (length - start > LOG_SHOWN_MAX)
        start = length - LOG_SHOWN_MAX;
    return g_utf8_make_valid(text + start, (gssize)(length - start));
}
