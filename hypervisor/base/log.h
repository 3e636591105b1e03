/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines on their way to the owner of the machine. The hypervisor has no stream of its own: it
 * formats a line into a buffer on the stack and hands it to a sink. Whatever a guest can provoke
 * goes through a limit (a token bucket kept by the device that logs), so that a guest cannot fill
 * a disk.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, … */

#include "hypervisor/base/hv-base.h"

/* Longer lines are cut and end in "…". */
#define HV_LOG_LINE_MAX 256u

struct hv_log {
    void (*sink)(void *opaque, int priority, const char *line); /* any thread; NULL: discard */
    void *opaque;
};

/*
 * At most HV_LOG_BURST lines at once and HV_LOG_BURST per HV_LOG_INTERVAL_SECONDS after that; the
 * first line that gets through again tells how many were held back. Zeroed memory is a full bucket.
 * Any thread may use one; a race costs at most a line.
 */
struct hv_log_limit {
    atomic_uint_fast64_t window; /* atomic: monotonic second in which the present burst began */
    atomic_uint used;            /* atomic: lines of this window */
    atomic_uint suppressed;      /* atomic */
};
#define HV_LOG_BURST            10u
#define HV_LOG_INTERVAL_SECONDS 60u

/* Any thread. No allocation. */
void hv_log(const struct hv_log *log, int priority, const char *format, ...) HV_PRINTF(3, 4);
/* For everything that a guest can provoke. */
void hv_log_limited(const struct hv_log *log, struct hv_log_limit *limit, int priority,
                    const char *format, ...) HV_PRINTF(4, 5);
