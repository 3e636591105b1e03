/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to say when the memory of a guest is too small for its kernel: how much would do. */
#pragma once

#include <stdint.h>

struct hv_reason;

/*
 * Sets *@reason (may be NULL): field "memory_mb", and a text that advises a size of at least @needed
 * bytes. Returns -EINVAL.
 */
int hv_refuse_memory(struct hv_reason *reason, uint64_t needed);
