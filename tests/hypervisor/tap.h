/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TAP output for tests below GLib: what g_test is above it. One test program is one thread that calls
 * tap_ok() for each fact and ends with `return tap_done();`, which prints the plan and gives the exit
 * status. A failure does not stop the program; what cannot go on calls tap_bail().
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weak: all files of a program count together. */
__attribute__((weak)) unsigned int tap_count_;
__attribute__((weak)) unsigned int tap_failed_;

/* Reports one fact. @format says what should be true. Returns @condition. */
__attribute__((format(printf, 4, 5))) static inline bool
tap_ok_at(const char *file, int line, bool condition, const char *format, ...)
{
    va_list arguments;

    tap_count_++;
    printf("%sok %u - ", condition ? "" : "not ", tap_count_);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    if (!condition) {
        tap_failed_++;
        printf("# at %s:%d\n", file, line);
    }
    fflush(stdout);
    return condition;
}
#define tap_ok(condition, ...) tap_ok_at(__FILE__, __LINE__, (condition), __VA_ARGS__)

/* Two integers are the same; prints both when not. */
#define tap_is(actual, expected, ...)                                                              \
    ({                                                                                             \
        long long tap_actual_ = (long long)(actual);                                               \
        long long tap_expected_ = (long long)(expected);                                           \
        bool tap_same_ = tap_ok(tap_actual_ == tap_expected_, __VA_ARGS__);                        \
        if (!tap_same_)                                                                            \
            printf("# is %lld (%#llx), should be %lld (%#llx)\n", tap_actual_,                     \
                   (unsigned long long)tap_actual_, tap_expected_,                                 \
                   (unsigned long long)tap_expected_);                                             \
        tap_same_;                                                                                 \
    })

/* One fact that cannot be looked at here, and why. */
__attribute__((format(printf, 1, 2))) static inline void tap_skip(const char *reason, ...)
{
    va_list arguments;

    printf("ok %u # SKIP ", ++tap_count_);
    va_start(arguments, reason);
    vprintf(reason, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* The whole program makes no sense here: prints the reason and ends successfully. */
static inline _Noreturn void tap_skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    exit(0);
}

/* The test itself broke. */
static inline _Noreturn void tap_bail(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(99);
}

static inline int tap_done(void)
{
    printf("1..%u\n", tap_count_);
    return tap_failed_ == 0 ? 0 : 1;
}
