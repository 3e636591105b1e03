/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's random numbers, for the seeds that a guest cannot do without. */
#pragma once

#include <stddef.h>

/*
 * Fills @buffer with random bytes of the host's kernel, all of it. Blocks only on a host that has
 * just started and has gathered none yet. Negative errno: @buffer holds nothing to rely on.
 */
int hv_random_fill(void *buffer, size_t length);
