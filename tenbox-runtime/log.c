/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

/* With its time, priority and newline; longer lines are cut. */
#define LINE_MAX_BYTES 400

void rt_log_init(struct rt_log *log, int fd)
{
    log->fd = fd;
    atomic_init(&log->written, 0);
}

static const char *priority_name(int priority)
{
    if (priority <= LOG_ERR)
        return "error";
    if (priority == LOG_WARNING)
        return "warning";
    return priority <= LOG_INFO ? "info" : "debug";
}

/* gmtime_r() may look for a time zone file, which the sandbox forbids; this is its arithmetic. */
static size_t print_time(char *buffer, size_t size)
{
    struct timespec now = {0};
    int64_t days;
    int64_t era;
    unsigned int day_of_era, year_of_era, day_of_year, month_index, day, month;
    unsigned int second_of_day;
    int64_t year;
    int length;

    clock_gettime(CLOCK_REALTIME, &now);
    /* Civil date from days since 1970-01-01, in the calendar that starts its years in March. */
    days = now.tv_sec / 86400 + 719468;
    second_of_day = (unsigned int)(now.tv_sec % 86400);
    era = days / 146097;
    day_of_era = (unsigned int)(days % 146097);
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    month_index = (5 * day_of_year + 2) / 153;
    day = day_of_year - (153 * month_index + 2) / 5 + 1;
    month = month_index < 10 ? month_index + 3 : month_index - 9;
    year = (int64_t)year_of_era + era * 400 + (month <= 2);
    length = snprintf(buffer, size, "%04lld-%02u-%02uT%02u:%02u:%02u.%03ldZ ", (long long)year,
                      month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60,
                      now.tv_nsec / 1000000);
    return length < 0 ? 0 : hv_min_u64((size_t)length, size - 1);
}

void rt_log_line(struct rt_log *log, int priority, const char *line)
{
    char buffer[LINE_MAX_BYTES];
    uint64_t before;
    size_t length;
    int printed;

    if (log->fd < 0)
        return;
    length = print_time(buffer, sizeof(buffer));
    printed = snprintf(buffer + length, sizeof(buffer) - length - 1, "%s: %s",
                       priority_name(priority), line);
    if (printed < 0)
        return;
    length += hv_min_u64((size_t)printed, sizeof(buffer) - length - 2);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)buffer[i];

        if (byte < 0x20 || byte == 0x7f)
            buffer[i] = '?';
    }
    buffer[length++] = '\n';

    before = atomic_fetch_add_explicit(&log->written, length, memory_order_relaxed);
    if (before >= RT_LOG_LIMIT)
        return;
    if (before + length >= RT_LOG_LIMIT) {
        static const char last_line[] = "(the log has reached its limit; the rest is dropped)\n";

        (void)!write(log->fd, last_line, sizeof(last_line) - 1);
        return;
    }
    (void)!write(log->fd, buffer, length);
}

void rt_log_printf(struct rt_log *log, int priority, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    rt_log_line(log, priority, line);
}
