/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The launch message, checked. This is the first thing that foreign bytes reach in a new runtime, so it
 * is kept apart from sockets and machines: rt_spec_parse() is a pure function of a datagram, and the
 * fuzzer calls it as it is. rt_spec_check_descriptors() then looks at what the descriptors really are.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tenbox-runtime/control-protocol.h"

/* The smallest machine that is not refused out of hand; no kernel of today starts in less. */
#define RT_MEMORY_MIN (16ull << 20)
/* 64 TiB: above any host, and far from overflow in any sum of sizes. */
#define RT_MEMORY_MAX (1ull << 46)

/* Why a launch is refused; @field as in struct rt_refused. Both strings are static. */
struct rt_fault {
    int code; /* negative errno */
    const char *field;
    const char *text;
};

/* A checked launch. Descriptors are -1 where absent; the spec owns them: rt_spec_fini() closes what is
 * left. */
struct rt_spec {
    uint32_t version; /* the highest that both ends speak */
    uint32_t mode;    /* enum rt_launch_mode */
    uint32_t vcpu_count;
    uint64_t memory_size;
    int kvm_fd;
    int kernel_fd;
    int initrd_fd;
    int console_ring_fd;
    int control_fd;
    int log_fd;
    char vm_id[sizeof(((struct rt_launch *)0)->vm_id)];
    char command_line[RT_COMMAND_LINE_MAX + 1];
};

/*
 * Parses @datagram, which came with @descriptor_count descriptors. On success the descriptors belong to
 * @ret_spec and @descriptors is overwritten with -1; on failure nothing has moved and @ret_fault says
 * why. Opens, closes and reads nothing.
 *
 * Returns 0 or a negative errno (the same as ret_fault->code).
 */
int rt_spec_parse(const void *datagram, size_t length, int *descriptors, size_t descriptor_count,
                  struct rt_spec *ret_spec, struct rt_fault *ret_fault);

/* Checks that each descriptor is of the type that its kind promises. Reads no content. */
int rt_spec_check_descriptors(const struct rt_spec *spec, struct rt_fault *ret_fault);

/* Closes all descriptors. Accepts a zeroed struct only after rt_spec_init(). */
void rt_spec_init(struct rt_spec *spec);
void rt_spec_fini(struct rt_spec *spec);
