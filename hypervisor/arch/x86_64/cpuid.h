/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What CPUID says in the guest: KVM's list of what the host and KVM can do, made to describe the
 * machine that the guest sees. A pure function on a plain table, without a header of KVM's.
 *
 * The guest has one package with one thread per core and one core per vCPU, whose APIC id is its
 * index. It has KVM's clock, a TSC deadline timer, no performance counters and no nested
 * virtualization.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HV_CPUID_MAX_ENTRIES 256u

struct hv_cpuid_entry {
    uint32_t leaf;
    uint32_t subleaf;
    bool has_subleaf; /* @subleaf matters (KVM_CPUID_FLAG_SIGNIFCANT_INDEX) */
    uint32_t eax, ebx, ecx, edx;
};

struct hv_cpuid {
    unsigned int count;
    struct hv_cpuid_entry entries[HV_CPUID_MAX_ENTRIES];
};

struct hv_cpuid_topology {
    unsigned int vcpu_count; /* at least 1 */
    uint32_t apic_id;        /* of the vCPU that the table is for */
    bool has_tsc_deadline;   /* KVM_CAP_TSC_DEADLINE_TIMER */
};

/*
 * From KVM_GET_SUPPORTED_CPUID to what KVM_SET_CPUID2 gets for one vCPU. -ENOSPC when the table is
 * full; it is unusable then.
 */
int hv_cpuid_normalise(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology);

/* The entry, or NULL. @subleaf is ignored where the leaf has none. */
struct hv_cpuid_entry *hv_cpuid_find(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf);

/* Bits of a guest-physical address, from leaf 0x80000008; 36 when the leaf is missing. */
unsigned int hv_cpuid_physical_bits(struct hv_cpuid *cpuid);
