/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The runtime's log: one file, given by the parent, that a hostile guest cannot fill. Lines have a UTC
 * time and end up in vms/<id>/logs/runtime.log. After RT_LOG_LIMIT bytes one last line says so and the
 * rest is dropped; the parent starts a new file with every start of the VM.
 *
 * Thread: any. One write() a line, no lock, no allocation.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define RT_LOG_LIMIT (1u << 20)

struct rt_log {
    int fd;                   /* const; borrowed; -1: nothing is written */
    _Atomic uint64_t written; /* atomic; bytes, cut lines included */
};

void rt_log_init(struct rt_log *log, int fd);

/* @priority as in syslog.h; control characters in the text become '?', since guests choose some. */
void rt_log_line(struct rt_log *log, int priority, const char *line);
__attribute__((format(printf, 3, 4))) void rt_log_printf(struct rt_log *log, int priority,
                                                         const char *format, ...);
