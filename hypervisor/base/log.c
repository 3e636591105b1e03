/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formatting on the stack and the token bucket; see log.h. */
#include "hypervisor/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static void emit(const struct hv_log *log, int priority, const char *format, va_list arguments)
{
    static const char ellipsis[] = "…";
    char line[HV_LOG_LINE_MAX];
    int length = vsnprintf(line, sizeof(line), format, arguments);

    if (length < 0) {
        return;
    }
    if ((size_t)length >= sizeof(line)) {
        memcpy(line + sizeof(line) - sizeof(ellipsis), ellipsis, sizeof(ellipsis));
    }
    log->sink(log->opaque, priority, line);
}

void hv_log(const struct hv_log *log, int priority, const char *format, ...)
{
    va_list arguments;

    if (!log->sink) {
        return;
    }
    va_start(arguments, format);
    emit(log, priority, format, arguments);
    va_end(arguments);
}

/* Whether a line may pass; *ret_suppressed is how many were held back before it. */
static bool limit_admits(struct hv_log_limit *limit, unsigned int *ret_suppressed)
{
    struct timespec now;
    uint_fast64_t window, current;

    clock_gettime(CLOCK_MONOTONIC, &now);
    /* Never 0, which stands for "no window yet". */
    current = (uint_fast64_t)now.tv_sec + 1;
    window = atomic_load_explicit(&limit->window, memory_order_relaxed);
    if (!window || current - window >= HV_LOG_INTERVAL_SECONDS) {
        atomic_store_explicit(&limit->window, current, memory_order_relaxed);
        atomic_store_explicit(&limit->used, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&limit->used, 1, memory_order_relaxed) >= HV_LOG_BURST) {
        atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
        /* Keeps the count from wrapping back into the burst. */
        atomic_store_explicit(&limit->used, HV_LOG_BURST, memory_order_relaxed);
        return false;
    }
    *ret_suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    return true;
}

void hv_log_limited(const struct hv_log *log, struct hv_log_limit *limit, int priority,
                    const char *format, ...)
{
    unsigned int suppressed = 0;
    va_list arguments;

    if (!log->sink || !limit_admits(limit, &suppressed)) {
        return;
    }
    if (suppressed) {
        hv_log(log, priority, "%u similar lines were held back", suppressed);
    }
    va_start(arguments, format);
    emit(log, priority, format, arguments);
    va_end(arguments);
}
