/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log that is followed: what it has, and then what comes, until the VM is gone or the reader goes.
 *
 * A follower keeps a place in the file and no bytes, so one that does not read costs nothing. The file is
 * read in a thread, when there is a read to be answered and inotify says that something happened. When the
 * log is cut or put aside, the old file is read to its end and then the new one from where the old one
 * ended. A follower so slow that the log is cut a second time meanwhile misses what was cut.
 */
#pragma once

#include "libtenbox/driver/driver.h"

G_BEGIN_DECLS

typedef struct {
    const char *name; /* static: file name in the folder */
    gsize
        kept_size; /* how much of its end a file keeps when it is cut; 0: a new one begins empty */
} TbxLogSource;

/**
 * tbx_log_follow_new:
 * @home: main context
 * @followers: (nullable): a list that the follower is in until it is closed
 * @vm_id: for tbx_log_follow_end_all()
 * @logs_fd: (transfer full): the open folder
 * @source: static
 * @line_count: how many of the last lines come first; -1: all that is kept, at most 1 MiB
 *
 * Returns: (transfer full) (nullable): a stream of valid UTF-8, to which nothing can be written
 */
TbxConsoleStream *tbx_log_follow_new(GMainContext *home, GQueue *followers, const char *vm_id,
                                     int logs_fd, const TbxLogSource *source, gint line_count,
                                     GError **error);

/* The VM is gone: its followers have come to the end. @vm_id NULL: the driver closes, they are closed. */
void tbx_log_follow_end_all(GQueue *followers, const char *vm_id);

G_END_DECLS
