/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/line-log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/json-guard.h"

struct _TbxLineLog {
    int folder_fd;
    int fd;
    char *name;
    char *older; /* NAME.1 */
    gsize size;
    gsize size_max;
    const TbxLineLogHandlers *handlers;
    gpointer user_data;
    gboolean is_carrying;
    gboolean is_failing;
};

void tbx_line_log_free(TbxLineLog *self)
{
    if (self == NULL)
        return;
    tbx_fd_close(&self->fd);
    tbx_fd_close(&self->folder_fd);
    g_free(self->name);
    g_free(self->older);
    g_free(self);
}

/* Hands all whole lines of a file over. A file that is not there has none. */
static gboolean load_file(TbxLineLog *self, const char *name, GError **error)
{
    g_autoptr(GError) failure = NULL;
    gsize length;
    /* One line may go beyond the limit. */
    g_autofree char *text = tbx_file_read_at(
        self->folder_fd, name, self->size_max + TBX_JSON_SIZE_MAX + 1, &length, &failure);
    char *line = text, *end;

    if (text == NULL && g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        return TRUE;
    if (text == NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    while ((end = memchr(line, '\n', length - (gsize)(line - text))) != NULL) {
        g_autoptr(JsonObject) object = tbx_json_guard_parse_object(line, (gsize)(end - line), NULL);

        if (object != NULL)
            self->handlers->load(object, self->user_data);
        line = end + 1;
    }
    return TRUE;
}

static gboolean write_all(int fd, const char *text, gsize length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FALSE;
        text += n;
        length -= (gsize)n;
    }
    return TRUE;
}

static gboolean open_file(TbxLineLog *self, GError **error)
{
    struct stat status;
    char last = '\n';

    self->fd = openat(self->folder_fd, self->name,
                      O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (self->fd < 0 || fstat(self->fd, &status) < 0) {
        tbx_errno_set(error, errno, NULL, "%s cannot be written", self->name);
        return FALSE;
    }
    self->size = (gsize)status.st_size;
    /* What a crash cut off must not become one with the next line. */
    if (status.st_size > 0 && pread(self->fd, &last, 1, status.st_size - 1) == 1 && last != '\n' &&
        write_all(self->fd, "\n", 1))
        self->size++;
    return TRUE;
}

TbxLineLog *tbx_line_log_open(const char *folder, const char *name, gsize size_max,
                              const TbxLineLogHandlers *handlers, gpointer user_data,
                              GError **error)
{
    g_autoptr(TbxLineLog) self = g_new0(TbxLineLog, 1);

    self->fd = -1;
    self->name = g_strdup(name);
    self->older = g_strconcat(name, ".1", NULL);
    self->size_max = size_max;
    self->handlers = handlers;
    self->user_data = user_data;
    self->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->folder_fd < 0) {
        tbx_errno_set(error, errno, NULL, "%s cannot be opened", folder);
        return NULL;
    }
    if (!load_file(self, self->older, error) || !load_file(self, self->name, error) ||
        !open_file(self, error))
        return NULL;
    return g_steal_pointer(&self);
}

/* Begins a new file; the full one takes the place of the older. What fails is tried again with the next
 * line. */
static void rotate(TbxLineLog *self)
{
    g_autoptr(GError) error = NULL;

    if (self->fd >= 0 && renameat(self->folder_fd, self->name, self->folder_fd, self->older) < 0)
        return; /* it goes on growing until it can be renamed */
    tbx_fd_close(&self->fd);
    if (!open_file(self, &error)) {
        if (!self->is_failing)
            g_warning("%s", error->message);
        return;
    }
    self->is_carrying = TRUE;
    if (self->handlers->carry != NULL)
        self->handlers->carry(self, self->user_data);
    self->is_carrying = FALSE;
}

void tbx_line_log_append(TbxLineLog *self, JsonObject *line)
{
    gsize length;
    g_autofree char *text = tbx_json_print_object(line, &length);
    g_autofree char *whole = g_strconcat(text, "\n", NULL);

    if (!self->is_carrying &&
        (self->fd < 0 || (self->size + length + 1 > self->size_max && self->size > 0)))
        rotate(self);
    if (self->fd >= 0 && write_all(self->fd, whole, length + 1)) {
        self->size += length + 1;
        self->is_failing = FALSE;
        return;
    }
    if (!self->is_failing)
        g_warning("%s cannot be written, what happens now is forgotten at the next restart: %s",
                  self->name, g_strerror(errno));
    self->is_failing = TRUE;
    /* Half a line may be there. */
    if (self->fd >= 0 && ftruncate(self->fd, (off_t)self->size) < 0)
        (void)write_all(self->fd, "\n", 1);
}
