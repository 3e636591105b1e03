/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handful of helpers that every file of the hypervisor may rely on: the way from an embedded
 * member back to its owner, scope-bound clean-up, moving a descriptor, arithmetic that notices an
 * overflow, and unaligned little-endian access for formats that come from a guest or a file.
 *
 * Nothing here allocates, logs or touches global state.
 */
#pragma once

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The structure of @type whose @member @pointer points at; @pointer's type is checked. */
#define hv_container_of(pointer, type, member)                                                     \
    ({                                                                                             \
        __typeof__(((type *)0)->member) *hv_member_ = (pointer);                                   \
        (type *)((char *)hv_member_ - offsetof(type, member));                                     \
    })

#define HV_ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define HV_PRINTF(format_index, first_argument)                                                    \
    __attribute__((format(printf, format_index, first_argument)))

#define HV_WARN_UNUSED __attribute__((warn_unused_result))

/* Runs @function(&variable) when the variable leaves its scope. */
#define HV_CLEANUP(function) __attribute__((cleanup(function)))

static inline void hv_close_fd(int *fd)
{
    if (*fd >= 0) {
        int saved_errno = errno;

        close(*fd);
        errno = saved_errno;
    }
    *fd = -1;
}

static inline void hv_free_pointer(void *pointer)
{
    void **address = pointer;

    free(*address);
    *address = NULL;
}

/* int variables that hold a descriptor or -1; pointers that came from malloc(). */
#define HV_AUTO_FD   HV_CLEANUP(hv_close_fd)
#define HV_AUTO_FREE HV_CLEANUP(hv_free_pointer)

/* Moves a descriptor out of a variable that would close it. */
static inline int hv_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Moves a pointer out of a variable that would free it; keeps the type. */
#define hv_take_pointer(pointer)                                                                   \
    ({                                                                                             \
        __typeof__(pointer) *hv_address_ = &(pointer);                                             \
        __typeof__(pointer) hv_taken_ = *hv_address_;                                              \
        *hv_address_ = NULL;                                                                       \
        hv_taken_;                                                                                 \
    })

/* True, with *ret_sum set, when a + b does not overflow. */
static inline HV_WARN_UNUSED bool hv_add_u64(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret_sum = sum;
    return true;
}

/* Whether [offset, offset + length) lies in [0, size); right for every value, length 0 included. */
static inline bool hv_range_fits(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

/* Whether [a, a + a_size) and [b, b + b_size) share a byte. Neither range may wrap. */
static inline bool hv_ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size && b_size && a <= b + (b_size - 1) && b <= a + (a_size - 1);
}

static inline bool hv_is_power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

static inline bool hv_is_aligned(uint64_t value, uint64_t alignment)
{
    return !(value & (alignment - 1));
}

/* @alignment is a power of two. */
static inline uint64_t hv_align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

/* True, with *ret_value set, when @value rounded up to @alignment (a power of two) fits. */
static inline HV_WARN_UNUSED bool hv_align_up(uint64_t value, uint64_t alignment,
                                              uint64_t *ret_value)
{
    uint64_t sum;

    if (!hv_add_u64(value, alignment - 1, &sum)) {
        return false;
    }
    *ret_value = hv_align_down(sum, alignment);
    return true;
}

static inline uint64_t hv_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t hv_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Little-endian loads and stores at any alignment. */
static inline uint16_t hv_load_le16(const void *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return le16toh(value);
}

static inline uint32_t hv_load_le32(const void *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static inline uint64_t hv_load_le64(const void *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

static inline void hv_store_le16(void *to, uint16_t value)
{
    value = htole16(value);
    memcpy(to, &value, sizeof(value));
}

static inline void hv_store_le32(void *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
}

static inline void hv_store_le64(void *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
}
