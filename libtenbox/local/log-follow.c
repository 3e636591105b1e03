/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/log-follow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "libtenbox/local/console-log.h"
#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define READ_MAX        (16 * 1024)
#define FIRST_MAX       (1u << 20)
/* Where inotify is used up by others. */
#define POLL_MS         500
/* Changes of file in one job: more cannot come in so short a time. */
#define CHANGES_MAX     3
#define UTF8_LENGTH_MAX 4

typedef struct {
    TbxConsoleStream base;
    grefcount jobs; /* home: keeps the struct while a thread works on it */
    GMainContext *home;
    GQueue *followers; /* nullable */
    GList link;
    char *vm_id;
    int logs_fd;                /* const */
    const TbxLogSource *source; /* const */
    gint line_count;            /* const */

    int notify_fd; /* -1: the timer stands in */
    GSource *notify;
    gboolean has_news;
    gboolean is_gone;
    gboolean is_working; /* a thread has what stands below */
    GTask *read_task;    /* nullable */
    gsize read_maximum;  /* of read_task */
    GSource *withdrawal;
    GBytes *unread; /* nullable: of a read that was withdrawn */

    int fd; /* -1: not open */
    guint64 offset;
    gboolean is_placed;
} LogFollow;

static LogFollow *follow_of(TbxConsoleStream *stream)
{
    return (LogFollow *)stream;
}

static void follow_unref(LogFollow *self)
{
    if (!g_ref_count_dec(&self->jobs))
        return;
    tbx_fd_close(&self->fd);
    tbx_fd_close(&self->logs_fd);
    tbx_fd_close(&self->notify_fd);
    g_clear_pointer(&self->unread, g_bytes_unref);
    g_main_context_unref(self->home);
    g_free(self->vm_id);
    g_free(self);
}

/* ---- in the thread ------------------------------------------------------------------------ */

/* Finds the beginning in a file of @size bytes. */
static guint64 place(LogFollow *self, guint64 size)
{
    gsize length = (gsize)MIN(size, FIRST_MAX);
    guint64 from = size - length;
    g_autofree char *text = NULL;
    ssize_t n;

    if (self->line_count == 0)
        return size;
    if (self->line_count < 0)
        return from;
    text = g_malloc(length + 1);
    n = pread(self->fd, text, length, (off_t)from);
    return n <= 0 ? size : from + tbx_log_find_last_lines(text, (gsize)n, (guint)self->line_count);
}

/* Opens the file when there is one; FALSE when there is nothing to be read. */
static gboolean open_file(LogFollow *self)
{
    struct stat status;

    if (self->fd < 0)
        self->fd = openat(self->logs_fd, self->source->name,
                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (self->fd < 0 || fstat(self->fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        /* What comes later is new, all of it. */
        self->is_placed = TRUE;
        return FALSE;
    }
    if (!self->is_placed)
        self->offset = place(self, (guint64)status.st_size);
    self->is_placed = TRUE;
    if ((guint64)status.st_size < self->offset)
        self->offset = 0; /* emptied in place */
    return TRUE;
}

/* Bytes of @data without a character at its end that is not complete yet. */
static gsize complete_length(const guint8 *data, gsize length)
{
    for (gsize back = 1; back < UTF8_LENGTH_MAX && back <= length; back++) {
        guint8 byte = data[length - back];

        if ((byte & 0xc0) == 0x80)
            continue;
        if ((byte >= 0xf0 && back < 4) || (byte >= 0xe0 && back < 3) || (byte >= 0xc0 && back < 2))
            return length - back;
        break;
    }
    return length;
}

/* Leaves a file that was read up to @end and is not the log any more; FALSE when it still is. TRUE without
 * leaving it when it has grown since: what came last before the log was cut is in it. */
static gboolean leave_file(LogFollow *self, guint64 end)
{
    struct stat own, current;

    if (fstat(self->fd, &own) < 0 ||
        fstatat(self->logs_fd, self->source->name, &current, AT_SYMLINK_NOFOLLOW) < 0 ||
        (own.st_ino == current.st_ino && own.st_dev == current.st_dev))
        return FALSE;
    /* Nobody writes to it any more, so that its size is what it stays. */
    if (fstat(self->fd, &own) < 0 || (guint64)own.st_size > end)
        return TRUE;
    tbx_fd_close(&self->fd);
    self->offset = (guint64)own.st_size > self->source->kept_size ? self->source->kept_size : 0;
    return TRUE;
}

static GBytes *read_some(LogFollow *self)
{
    g_autofree guint8 *data = g_malloc(READ_MAX);

    for (guint changes = 0; changes <= CHANGES_MAX && open_file(self); changes++) {
        ssize_t n = pread(self->fd, data, READ_MAX, (off_t)self->offset);
        gsize length = n > 0 ? complete_length(data, (gsize)n) : 0;

        if (length == 0 && leave_file(self, self->offset + (guint64)MAX(n, 0)))
            continue;
        if (length == 0)
            break;
        self->offset += length;
        char *text = g_utf8_make_valid((const char *)data, (gssize)length);
        return g_bytes_new_take(text, strlen(text));
    }
    return g_bytes_new_static("", 0);
}

static void read_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable)
{
    LogFollow *self = task_data;

    g_task_return_pointer(task, read_some(self), (GDestroyNotify)g_bytes_unref);
}

/* ---- at home ------------------------------------------------------------------------------ */

static void begin_work(LogFollow *self);

/* Answers the read, if there is one, from what is there; begins to look for more when nothing is. */
static void serve(LogFollow *self)
{
    g_autoptr(GTask) task = NULL;
    g_autoptr(GBytes) bytes = NULL;

    if (self->read_task == NULL || self->is_working)
        return;
    if (self->unread == NULL && self->has_news) {
        begin_work(self);
        return;
    }
    if (self->unread == NULL && !self->is_gone)
        return;
    task = g_steal_pointer(&self->read_task);
    tbx_source_clear(&self->withdrawal);
    bytes = self->unread != NULL ? g_steal_pointer(&self->unread) : g_bytes_new_static("", 0);
    if (g_bytes_get_size(bytes) > self->read_maximum) {
        gsize rest = g_bytes_get_size(bytes) - self->read_maximum;
        GBytes *first = g_bytes_new_from_bytes(bytes, 0, self->read_maximum);

        self->unread = g_bytes_new_from_bytes(bytes, self->read_maximum, rest);
        g_bytes_unref(bytes);
        bytes = first;
    }
    g_task_return_pointer(task, g_steal_pointer(&bytes), (GDestroyNotify)g_bytes_unref);
}

static void on_worked(GObject *source, GAsyncResult *result, gpointer user_data)
{
    LogFollow *self = user_data;
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(result), NULL);

    self->is_working = FALSE;
    if (bytes != NULL && g_bytes_get_size(bytes) > 0) {
        self->unread = g_steal_pointer(&bytes);
        self->has_news = TRUE; /* there may be more */
    }
    if (!self->base.is_closed)
        serve(self);
    follow_unref(self);
}

static void begin_work(LogFollow *self)
{
    GTask *task = g_task_new(NULL, NULL, on_worked, self);

    g_ref_count_inc(&self->jobs);
    self->is_working = TRUE;
    self->has_news = FALSE;
    g_task_set_task_data(task, self, NULL);
    g_task_run_in_thread(task, read_thread);
    g_object_unref(task);
}

static gboolean on_notify(int fd, GIOCondition condition, gpointer user_data)
{
    LogFollow *self = user_data;
    char events[4096];

    while (read(fd, events, sizeof(events)) > 0) {
    }
    self->has_news = TRUE;
    serve(self);
    return G_SOURCE_CONTINUE;
}

static gboolean on_poll(gpointer user_data)
{
    LogFollow *self = user_data;

    self->has_news = TRUE;
    serve(self);
    return G_SOURCE_CONTINUE;
}

static gboolean on_read_withdrawn(GCancellable *cancellable, gpointer user_data)
{
    LogFollow *self = user_data;
    g_autoptr(GTask) task = g_steal_pointer(&self->read_task);

    tbx_source_clear(&self->withdrawal);
    g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_CANCELLED, "the request was withdrawn");
    return G_SOURCE_REMOVE;
}

static void follow_read(TbxConsoleStream *stream, gsize maximum, GTask *task)
{
    LogFollow *self = follow_of(stream);
    GCancellable *cancellable = g_task_get_cancellable(task);

    if (self->read_task != NULL || maximum == 0) {
        g_task_return_error(task, tbx_error_new("internal", NULL, "One read at a time"));
        g_object_unref(task);
        return;
    }
    self->read_task = task;
    if (cancellable != NULL) {
        self->withdrawal = g_cancellable_source_new(cancellable);
        g_source_set_callback(self->withdrawal, G_SOURCE_FUNC(on_read_withdrawn), self, NULL);
        g_source_attach(self->withdrawal, self->home);
    }
    self->read_maximum = maximum;
    serve(self);
}

static void follow_write(TbxConsoleStream *stream, GBytes *bytes, GTask *task)
{
    g_task_return_error(task, tbx_error_new("unsupported", NULL, "nobody can write into a log"));
    g_object_unref(task);
}

static void follow_close(TbxConsoleStream *stream)
{
    LogFollow *self = follow_of(stream);
    g_autoptr(GTask) task = g_steal_pointer(&self->read_task);

    tbx_source_clear(&self->notify);
    tbx_source_clear(&self->withdrawal);
    if (self->followers != NULL)
        g_queue_unlink(self->followers, &self->link);
    self->followers = NULL;
    if (task != NULL)
        g_task_return_error(task, tbx_error_new("closed", NULL, "the log was closed"));
}

static void follow_free(TbxConsoleStream *stream)
{
    follow_unref(follow_of(stream));
}

static const TbxConsoleStreamOps follow_ops = {
    .read = follow_read,
    .write = follow_write,
    .close = follow_close,
    .free = follow_free,
};

TbxConsoleStream *tbx_log_follow_new(GMainContext *home, GQueue *followers, const char *vm_id,
                                     int logs_fd, const TbxLogSource *source, gint line_count,
                                     GError **error)
{
    LogFollow *self = g_new0(LogFollow, 1);
    char path[64];

    tbx_console_stream_init(&self->base, &follow_ops);
    g_ref_count_init(&self->jobs);
    self->home = g_main_context_ref(home);
    self->vm_id = g_strdup(vm_id);
    self->logs_fd = logs_fd;
    self->source = source;
    self->line_count = line_count;
    self->fd = -1;
    self->has_news = TRUE;
    self->link.data = self;
    self->followers = followers;
    if (followers != NULL)
        g_queue_push_tail_link(followers, &self->link);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", logs_fd);
    self->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (self->notify_fd >= 0 &&
        inotify_add_watch(self->notify_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        tbx_fd_close(&self->notify_fd);
    if (self->notify_fd >= 0)
        self->notify = tbx_source_watch_fd(home, self->notify_fd, G_IO_IN, on_notify, self);
    else
        self->notify = tbx_source_timer(home, POLL_MS, on_poll, self);
    return &self->base;
}

void tbx_log_follow_end_all(GQueue *followers, const char *vm_id)
{
    for (GList *link = followers->head; link != NULL;) {
        LogFollow *self = link->data;
        g_autoptr(TbxConsoleStream) held = tbx_console_stream_ref(&self->base);

        if (vm_id == NULL) {
            tbx_console_stream_close(held);
            link = followers->head;
        } else if (strcmp(self->vm_id, vm_id) == 0 && !self->is_gone) {
            self->is_gone = TRUE;
            serve(self);
            /* The reader may have closed it, and others. */
            link = followers->head;
        } else {
            link = link->next;
        }
    }
}
