/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of the data folder: durable replacement, bounded reading, copying, removal.
 *
 * Everything works on names inside an open folder, never on long paths: what the folder is cannot change
 * between two steps, and no component of a path can be a symbolic link that somebody put there.
 *
 * The functions block and may run on any thread; TbxFileWriter brings the one that is needed all the
 * time, replacing a small file, off the main loop.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "libtenbox/local/lock.h"
#include "libtenbox/local/place.h"

G_BEGIN_DECLS

/**
 * tbx_errno_set:
 * @error: return location
 * @error_number: an errno
 * @field: (nullable): the field or file concerned
 * @format: what could not be done; ": " and the errno's text are appended
 *
 * Sets an error whose slug fits @error_number: "no-space", "forbidden" or "internal". When the process is out of
 * descriptors, it names the limit; for a full disk and one that can only be read it has a hint.
 */
void tbx_errno_set(GError **error, int error_number, const char *field, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/**
 * tbx_file_replace_at:
 * @folder_fd: the folder
 * @name: a file name in it
 * @data: the new content
 * @length: its length
 * @mode: permission bits of the new file, from its birth
 * @error: return location
 *
 * Writes a temporary file (".NAME.tmp"), fsyncs it, renames it to @name and fsyncs the folder: after a
 * crash at any point @name is the old file or the new one, whole. Only one writer per @name at a time. On
 * failure the temporary file is gone, and @name is the old file unless the very last step failed.
 *
 * Returns: whether the new content is durable
 */
gboolean tbx_file_replace_at(int folder_fd, const char *name, const void *data, gsize length,
                             mode_t mode, GError **error);

/**
 * tbx_file_read_at:
 * @maximum: largest size that is not refused
 * @ret_length: (out) (optional): its length
 *
 * Reads a regular file whole. Symbolic links, devices and pipes are refused without being opened for
 * good. "internal" with the reason; G_IO_ERROR_NOT_FOUND (domain G_IO_ERROR) when there is no such file.
 *
 * Returns: (transfer full) (nullable): the content with a NUL behind it
 */
char *tbx_file_read_at(int folder_fd, const char *name, gsize maximum, gsize *ret_length,
                       GError **error);

/**
 * tbx_file_copy_at:
 * @source_fd: a regular file opened for reading, at its beginning
 * @folder_fd: where to
 * @name: a name that must not exist
 * @field: (nullable): for error messages
 * @cancellable: (nullable): looked at every few MiB
 *
 * Copies and fsyncs (by reflink where the file system can). A source that changes its size meanwhile is
 * an error.
 */
gboolean tbx_file_copy_at(int source_fd, int folder_fd, const char *name, mode_t mode,
                          const char *field, GCancellable *cancellable, GError **error);

/* Opens a folder, not following a symbolic link. The caller owns the descriptor; -1 with @error set. */
int tbx_folder_open_at(int parent_fd, const char *name, GError **error);

/* Makes a folder unless it exists. */
gboolean tbx_folder_make_at(int parent_fd, const char *name, mode_t mode, GError **error);

gboolean tbx_folder_sync(int folder_fd, GError **error);

/* Removes a folder with all that is in it, never following a symbolic link nor crossing into another
 * file system. What does not exist is removed already. */
gboolean tbx_folder_remove_at(int parent_fd, const char *name, GError **error);

/*
 * Replaces one file again and again. Writes are taken in order and coalesced: while one is on its way to
 * the disk, only the newest of the others is kept, and all who waited for an older one learn the fate of
 * the newer. Home: the thread-default context at its birth.
 */
typedef struct _TbxFileWriter TbxFileWriter;

/* @folder_fd is the owner's, who has it open whenever he asks for a write; what is under way has a copy of
 * its own, so that a writer at rest costs no descriptor. @lock (nullable) is held by each write until it has come to its end. */
TbxFileWriter *tbx_file_writer_new(int folder_fd, const char *name, mode_t mode, TbxLock *lock);
/* The same for a folder that is opened when there is something to write. */
TbxFileWriter *tbx_file_writer_new_in(TbxPlace *folder, const char *name, mode_t mode,
                                      TbxLock *lock);
/* The driver is closing: writes that are accepted already still hold the lock, the writer does not. */
void tbx_file_writer_close(TbxFileWriter *self);
TbxFileWriter *tbx_file_writer_ref(TbxFileWriter *self);
/* A write that was accepted is finished all the same. Accepts NULL. */
void tbx_file_writer_unref(TbxFileWriter *self);

/**
 * tbx_file_writer_write_async:
 * @content: the whole file
 * @callback: (nullable): called at home when @content or something newer is durable, or could not be
 *   made so
 */
void tbx_file_writer_write_async(TbxFileWriter *self, GBytes *content, GAsyncReadyCallback callback,
                                 gpointer user_data);
gboolean tbx_file_writer_write_finish(GAsyncResult *result, GError **error);

/* Calls back, from the main loop, when nothing is on its way any more; how it went is not told. */
void tbx_file_writer_flush_async(TbxFileWriter *self, GAsyncReadyCallback callback,
                                 gpointer user_data);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxFileWriter, tbx_file_writer_unref)

G_END_DECLS
