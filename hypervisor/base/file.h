/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading from descriptors that someone else opened: whole reads or an error, by offset, so that
 * the file position is never used.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The size of a regular file. -EINVAL for anything else (a pipe, a folder, a device). */
int hv_file_size(int fd, uint64_t *ret_size);

/* Reads exactly @length bytes at @offset. -ENODATA when the file ends first. */
int hv_file_read(int fd, uint64_t offset, void *buffer, size_t length);
