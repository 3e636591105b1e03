/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The flattened device tree of an aarch64 machine: what the guest kernel knows about its hardware.
 *
 * A pure function from numbers to bytes, without KVM, guest memory or time, so that it is tested
 * and fuzzed on any machine. Fixed addresses and interrupts come from memory-map.h; what differs
 * from one machine to the next is in struct hv_fdt_config.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The boot protocol allows 2 MiB; 64 vCPUs and the longest command line need less than 16 KiB. */
#define HV_FDT_CAPACITY 65536u

#define HV_FDT_RNG_SEED_SIZE 64u

enum hv_gic_version {
    HV_GIC_NONE = 0,
    HV_GIC_V2 = 2,
    HV_GIC_V3 = 3,
};

struct hv_fdt_range {
    uint64_t address;
    uint64_t size; /* 0: there is none */
};

struct hv_fdt_config {
    enum hv_gic_version gic;

    /* 1 to 64, with GICv2 to 8. */
    unsigned int vcpu_count;
    /* The affinity of each vCPU: MPIDR_EL1 as KVM reports it; flag bits are masked here. */
    const uint64_t *mpidrs;

    struct hv_fdt_range memory;
    struct hv_fdt_range initrd;

    struct hv_fdt_range pci_config; /* ECAM: a multiple of 1 MiB, one bus each, at most 256 */
    struct hv_fdt_range pci_window32;
    struct hv_fdt_range pci_window64;

    const char *command_line;

    uint8_t rng_seed[HV_FDT_RNG_SEED_SIZE]; /* fresh for each boot */
    uint64_t kaslr_seed;                    /* fresh for each boot */
};

/*
 * Writes the tree to @buffer. *ret_size: its bytes. -EINVAL: a number of @config
 * is out of range or ranges wrap; -ENOSPC: more than @capacity bytes. The buffer's content is
 * undefined after a failure.
 */
int hv_fdt_build(const struct hv_fdt_config *config, void *buffer, size_t capacity,
                 size_t *ret_size);
