/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The audit log; see audit.h.
 */
#include "tenboxd/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-field.h"

#define FOLDER            "audit"
#define NAME              "audit.jsonl"
#define FILES_MAX         64 /* as many as audit_files may say */
#define LINE_MAX_BYTES    4096
#define BLOCK             (64 * 1024)
#define SYNC_MILLISECONDS 1000
#define COMPLAINT_SECONDS 60

struct _TbdAudit {
    const TbdSettings *settings;
    int folder_fd;
    int fd;
    goffset size; /* of the present file */
    GSource *sync_source;
    guint syncing; /* how many threads do */
    gboolean is_dirty;
    gboolean is_closed;
    grefcount references; /* the owner's, and those of a sync and a reading under way */
    gboolean is_reading;
    GQueue readings; /* of GTask: those that wait for their turn */
    guint64 lost;
    gint64 complained_at;
};

static void audit_unref(TbdAudit *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    if (self->fd >= 0) {
        close(self->fd);
    }
    if (self->folder_fd >= 0) {
        close(self->folder_fd);
    }
    g_free(self);
}

/* ---- the files -------------------------------------------------------------------------------- */

static void print_name(char name[32], guint number)
{
    if (number == 0) {
        g_strlcpy(name, NAME, 32);
    } else {
        g_snprintf(name, 32, NAME ".%u", number);
    }
}

/* What a crash left of the last line gets its end, so that the next line is one. */
static gboolean close_last_line(int fd, goffset *size)
{
    char last = '\n';

    if (*size > 0 && pread(fd, &last, 1, *size - 1) != 1) {
        return FALSE;
    }
    if (last != '\n') {
        if (write(fd, "\n", 1) != 1) {
            return FALSE;
        }
        *size += 1;
    }
    return TRUE;
}

static gboolean open_file(TbdAudit *self, GError **error)
{
    int fd = openat(self->folder_fd, NAME,
                    O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        tbx_error_set(error, "internal", NULL,
                      "the audit log " FOLDER "/" NAME " cannot be opened: %s",
                      fd < 0 ? g_strerror(errno) : "it is no file");
        if (fd >= 0) {
            close(fd);
        }
        return FALSE;
    }
    self->size = status.st_size;
    if (!close_last_line(fd, &self->size)) {
        tbx_error_set(error, "internal", NULL,
                      "the audit log " FOLDER "/" NAME " cannot be written: %s", g_strerror(errno));
        close(fd);
        return FALSE;
    }
    if (self->fd >= 0) {
        close(self->fd);
    }
    self->fd = fd;
    return TRUE;
}

/* ---- syncing ---------------------------------------------------------------------------------- */

static void sync_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    int *fds = data;

    fdatasync(fds[0]);
    fsync(fds[1]);
    g_task_return_boolean(task, TRUE);
}

static void free_fds(gpointer data)
{
    int *fds = data;

    close(fds[0]);
    close(fds[1]);
    g_free(fds);
}

static void sync_soon(TbdAudit *self);

static void on_synced(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdAudit *self = user_data;

    self->syncing--;
    if (self->is_dirty && !self->is_closed) {
        sync_soon(self);
    }
    audit_unref(self);
}

/* Of the present file, which need not be it when the thread comes to it. */
static void begin_sync(TbdAudit *self)
{
    int *fds = g_new(int, 2);
    g_autoptr(GTask) task = NULL;

    fds[0] = fcntl(self->fd, F_DUPFD_CLOEXEC, 0);
    fds[1] = fcntl(self->folder_fd, F_DUPFD_CLOEXEC, 0);
    self->is_dirty = FALSE;
    self->syncing++;
    g_ref_count_inc(&self->references);
    task = g_task_new(NULL, NULL, on_synced, self);
    g_task_set_task_data(task, fds, free_fds);
    g_task_run_in_thread(task, sync_in_thread);
}

static gboolean on_sync_time(gpointer user_data)
{
    TbdAudit *self = user_data;

    g_clear_pointer(&self->sync_source, g_source_unref);
    begin_sync(self);
    return G_SOURCE_REMOVE;
}

static void sync_soon(TbdAudit *self)
{
    self->is_dirty = TRUE;
    if (self->sync_source == NULL && self->syncing == 0) {
        self->sync_source = g_timeout_source_new(SYNC_MILLISECONDS);
        g_source_set_callback(self->sync_source, on_sync_time, self, NULL);
        g_source_attach(self->sync_source, g_main_context_get_thread_default());
    }
}

/* Begins a new file; the others move on by one, and those beyond the limit go. */
static void rotate(TbdAudit *self)
{
    guint count = (guint)self->settings->audit_files;
    g_autoptr(GError) error = NULL;
    char name[32], next[32];

    for (guint number = count - 1; number < FILES_MAX; number++) {
        print_name(name, number);
        unlinkat(self->folder_fd, name, 0);
    }
    for (guint number = count - 1; number > 0; number--) {
        print_name(name, number - 1);
        print_name(next, number);
        renameat(self->folder_fd, name, self->folder_fd, next);
    }
    if (self->is_dirty) {
        begin_sync(self);
    }
    if (!open_file(self, &error)) {
        g_warning("%s", error->message);
    }
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void lose(TbdAudit *self, const char *why)
{
    gint64 now = g_get_monotonic_time();

    self->lost++;
    if (self->complained_at == 0 ||
        now - self->complained_at > COMPLAINT_SECONDS * G_USEC_PER_SEC) {
        self->complained_at = now;
        g_warning("the audit log cannot be written, %" G_GUINT64_FORMAT " lines were lost: %s",
                  self->lost, why);
    }
}

void tbd_audit_append(TbdAudit *self, JsonObject *entry)
{
    gsize length;
    g_autofree char *text = tbx_json_print_object(entry, &length);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    gssize written;

    length++;
    if (length > LINE_MAX_BYTES) {
        lose(self, "an entry is too long");
        return;
    }
    if (self->size > 0 && self->size + (goffset)length >
                              self->settings->audit_max_bytes / self->settings->audit_files) {
        rotate(self);
    }
    written = write(self->fd, line, length);
    if (written == (gssize)length) {
        self->size += written;
        sync_soon(self);
        return;
    }
    lose(self, written < 0 ? g_strerror(errno) : "the disk is full");
    /* Half a line would spoil the next one. */
    if (written > 0 && ftruncate(self->fd, self->size) != 0) {
        self->size += written;
        close_last_line(self->fd, &self->size);
    }
}

guint64 tbd_audit_get_lost_count(TbdAudit *self)
{
    return self->lost;
}

TbdAudit *tbd_audit_open(const char *data_folder, const TbdSettings *settings, GError **error)
{
    TbdAudit *self = g_new0(TbdAudit, 1);
    int folder = open(data_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

    g_ref_count_init(&self->references);
    self->settings = settings;
    self->fd = self->folder_fd = -1;
    if (folder >= 0 && (mkdirat(folder, FOLDER, 0700) == 0 || errno == EEXIST)) {
        self->folder_fd = openat(folder, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (self->folder_fd < 0) {
        tbx_error_set(error, "internal", NULL, "the folder %s/" FOLDER " cannot be used: %s",
                      data_folder, g_strerror(errno));
    }
    if (folder >= 0) {
        close(folder);
    }
    if (self->folder_fd < 0 || !open_file(self, error)) {
        audit_unref(self);
        return NULL;
    }
    return self;
}

void tbd_audit_close(TbdAudit *self)
{
    GTask *task;

    if (self == NULL) {
        return;
    }
    self->is_closed = TRUE;
    while ((task = g_queue_pop_head(&self->readings)) != NULL) {
        g_task_return_error(task,
                            tbx_error_new("shutting-down", NULL, "the daemon is shutting down"));
        g_object_unref(task);
    }
    tbx_source_clear(&self->sync_source);
    if (self->is_dirty) {
        fdatasync(self->fd);
    }
    audit_unref(self);
}

/* ---- reading ---------------------------------------------------------------------------------- */

typedef struct {
    int fds[FILES_MAX]; /* the newest first */
    guint count;
    guint limit;
    gint64 since;
    gboolean is_over; /* an entry was older */
} Reading;

static void reading_free(gpointer data)
{
    Reading *reading = data;

    for (guint i = 0; i < reading->count; i++) {
        close(reading->fds[i]);
    }
    g_free(reading);
}

static void take_line(Reading *reading, const char *line, gsize length, GPtrArray *entries)
{
    g_autoptr(JsonObject) entry = tbx_json_guard_parse_object(line, length, NULL);
    JsonNode *node = entry != NULL ? json_object_get_member(entry, "time") : NULL;
    gint64 time;

    if (node != NULL && json_node_get_value_type(node) == G_TYPE_STRING &&
        tbx_time_parse(json_node_get_string(node), &time)) {
        if (time >= reading->since) {
            g_ptr_array_add(entries, g_steal_pointer(&entry));
        } else {
            reading->is_over = TRUE;
        }
    }
}

static gboolean has_enough(const Reading *reading, const GPtrArray *entries,
                           GCancellable *cancellable)
{
    return reading->is_over || entries->len >= reading->limit ||
           g_cancellable_is_cancelled(cancellable);
}

/* The lines of one file, the last first. */
static gboolean read_file(Reading *reading, int fd, GPtrArray *entries, GCancellable *cancellable)
{
    g_autoptr(GByteArray) text =
        g_byte_array_new(); /* from the beginning of a block to a line end */
    struct stat status;
    goffset offset;

    if (fstat(fd, &status) != 0) {
        return TRUE;
    }
    offset = status.st_size;
    while (offset > 0 && !has_enough(reading, entries, cancellable)) {
        gsize size = (gsize)MIN(offset, BLOCK);
        g_autofree guint8 *block = g_malloc(size);
        guint end;

        if (pread(fd, block, size, offset - (goffset)size) != (gssize)size) {
            return FALSE;
        }
        offset -= (goffset)size;
        g_byte_array_prepend(text, block, (guint)size);
        /* Each line end but that at the end has a whole line behind it. */
        end = text->len;
        for (guint i = end; i > 0 && !reading->is_over && entries->len < reading->limit; i--) {
            if (text->data[i - 1] == '\n') {
                if (g_cancellable_is_cancelled(cancellable)) {
                    return FALSE;
                }
                if (end > i) {
                    take_line(reading, (const char *)text->data + i, end - i, entries);
                }
                end = i - 1;
            }
        }
        if (offset == 0 && end > 0 && !has_enough(reading, entries, cancellable)) {
            take_line(reading, (const char *)text->data, end, entries);
        }
        g_byte_array_set_size(text, end > BLOCK ? 0 : end);
    }
    return TRUE;
}

static void read_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Reading *reading = data;
    g_autoptr(GPtrArray) newest_first =
        g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    g_autoptr(GPtrArray) entries = NULL;

    for (guint i = 0; i < reading->count && !has_enough(reading, newest_first, cancellable); i++) {
        if (!read_file(reading, reading->fds[i], newest_first, cancellable)) {
            break;
        }
    }
    if (g_task_return_error_if_cancelled(task)) {
        return;
    }
    entries = g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    for (guint i = newest_first->len; i > 0; i--) {
        g_ptr_array_add(entries, json_object_ref(newest_first->pdata[i - 1]));
    }
    g_task_return_pointer(task, g_steal_pointer(&entries), (GDestroyNotify)g_ptr_array_unref);
}

/* One at a time: whoever asks often takes no more than one of the threads that others need. */
static void read_next(TbdAudit *self);

typedef struct {
    TbdAudit *audit;
    GTask *task; /* of the caller; has the Reading */
} Turn;

static void on_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Turn *turn = user_data;
    GError *error = NULL;
    GPtrArray *entries = g_task_propagate_pointer(G_TASK(result), &error);

    if (entries != NULL) {
        g_task_return_pointer(turn->task, entries, (GDestroyNotify)g_ptr_array_unref);
    } else {
        g_task_return_error(turn->task, error);
    }
    g_object_unref(turn->task);
    turn->audit->is_reading = FALSE;
    read_next(turn->audit);
    audit_unref(turn->audit);
    g_free(turn);
}

static void open_files(TbdAudit *self, Reading *reading)
{
    for (guint number = 0; number < FILES_MAX; number++) {
        char name[32];
        int fd;

        print_name(name, number);
        fd = openat(self->folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0) {
            reading->fds[reading->count++] = fd;
        }
    }
}

static void read_next(TbdAudit *self)
{
    GTask *task = self->is_reading ? NULL : g_queue_pop_head(&self->readings);
    g_autoptr(GTask) work = NULL;
    Turn *turn;

    if (task == NULL) {
        return;
    }
    self->is_reading = TRUE;
    g_ref_count_inc(&self->references);
    turn = g_new0(Turn, 1);
    turn->audit = self;
    turn->task = task;
    open_files(self, g_task_get_task_data(task));
    work = g_task_new(NULL, g_task_get_cancellable(task), on_read, turn);
    g_task_set_task_data(work, g_task_get_task_data(task), NULL);
    g_task_run_in_thread(work, read_in_thread);
}

void tbd_audit_read(TbdAudit *self, guint limit, gint64 since, GTask *task)
{
    Reading *reading = g_new0(Reading, 1);

    reading->limit = limit;
    reading->since = since;
    g_task_set_task_data(task, reading, reading_free);
    g_queue_push_tail(&self->readings, task);
    read_next(self);
}
