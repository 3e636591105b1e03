/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaf by leaf; numbers of leaves and bits from the Intel SDM, volume 2A (CPUID), the AMD APM,
 * volume 3, appendix E, and Linux, Documentation/virt/kvm/x86/cpuid.rst. See cpuid.h.
 */
#include "hypervisor/arch/x86_64/cpuid.h"

#include "hypervisor/base/hv-base.h"

#define LEAF_VENDOR                 0x0u
#define LEAF_FEATURES               0x1u
#define LEAF_INTEL_CACHES           0x4u
#define LEAF_EXTENDED_FEATURES      0x7u
#define LEAF_PERFORMANCE_COUNTERS   0xau
#define LEAF_TOPOLOGY               0xbu
#define LEAF_SGX                    0x12u
#define LEAF_TOPOLOGY_V2            0x1fu
#define LEAF_ARCHITECTURAL_COUNTERS 0x23u
#define LEAF_KVM                    0x40000000u
#define LEAF_KVM_FEATURES           0x40000001u
#define LEAF_AMD_FEATURES           0x80000001u
#define LEAF_ADDRESS_SIZES          0x80000008u
#define LEAF_SVM                    0x8000000au
#define LEAF_AMD_CACHES             0x8000001du
#define LEAF_AMD_TOPOLOGY           0x8000001eu
#define LEAF_AMD_COUNTERS           0x80000022u
#define LEAF_AMD_TOPOLOGY_V2        0x80000026u

#define FEATURES_ECX_DEBUG_STORE_64       (1u << 2)
#define FEATURES_ECX_MONITOR              (1u << 3)
#define FEATURES_ECX_DEBUG_STORE_LEVEL    (1u << 4)
#define FEATURES_ECX_VMX                  (1u << 5)
#define FEATURES_ECX_SMX                  (1u << 6)
#define FEATURES_ECX_COUNTER_CAPABILITIES (1u << 15)
#define FEATURES_ECX_TSC_DEADLINE         (1u << 24)
#define FEATURES_ECX_HYPERVISOR           (1u << 31)
#define FEATURES_EDX_DEBUG_STORE          (1u << 21)
#define FEATURES_EDX_HTT                  (1u << 28)
#define FEATURES_CACHE_LINE_QUADWORDS     8u /* CLFLUSH flushes 64 bytes */

#define EXTENDED_EBX_SGX        (1u << 2)
#define EXTENDED_ECX_WAITPKG    (1u << 5)
#define EXTENDED_ECX_SGX_LAUNCH (1u << 30)
/* Of subleaf 1. */
#define EXTENDED_1_EAX_COUNTERS (1u << 8)

#define AMD_ECX_LEGACY_CORES         (1u << 1)
#define AMD_ECX_SVM                  (1u << 2)
#define AMD_ECX_COUNTERS_CORE        (1u << 23)
#define AMD_ECX_COUNTERS_NORTHBRIDGE (1u << 24)
#define AMD_ECX_COUNTERS_TSC         (1u << 27)
#define AMD_ECX_COUNTERS_CACHE       (1u << 28)

#define KVM_EAX_CLOCKSOURCE        (1u << 0)
#define KVM_EAX_CLOCKSOURCE_2      (1u << 3)
#define KVM_EAX_CLOCKSOURCE_STABLE (1u << 24)

#define TOPOLOGY_LEVEL_THREAD 1u
#define TOPOLOGY_LEVEL_CORE   2u

#define DEFAULT_PHYSICAL_BITS 36

static uint32_t set_bits(uint32_t value, uint32_t mask, bool is_set)
{
    return is_set ? value | mask : value & ~mask;
}

/* @value in bits @high to @low of @word. */
static uint32_t set_field(uint32_t word, unsigned int high, unsigned int low, uint32_t value)
{
    uint32_t mask = (uint32_t)(((uint64_t)1 << (high - low + 1)) - 1);

    return (word & ~(mask << low)) | (value & mask) << low;
}

/* The number of bits that tell @count things apart. */
static unsigned int bits_for(unsigned int count)
{
    unsigned int bits = 0;

    while ((1u << bits) < count) {
        bits++;
    }
    return bits;
}

struct hv_cpuid_entry *hv_cpuid_find(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned int i = 0; i < cpuid->count; i++) {
        struct hv_cpuid_entry *entry = &cpuid->entries[i];

        if (entry->leaf == leaf && (!entry->has_subleaf || entry->subleaf == subleaf)) {
            return entry;
        }
    }
    return NULL;
}

static void remove_leaf(struct hv_cpuid *cpuid, uint32_t leaf)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < cpuid->count; i++) {
        if (cpuid->entries[i].leaf != leaf) {
            cpuid->entries[kept++] = cpuid->entries[i];
        }
    }
    cpuid->count = kept;
}

static int append(struct hv_cpuid *cpuid, const struct hv_cpuid_entry *entry)
{
    if (cpuid->count == HV_CPUID_MAX_ENTRIES) {
        return -ENOSPC;
    }
    cpuid->entries[cpuid->count++] = *entry;
    return 0;
}

static bool is_amd(struct hv_cpuid *cpuid)
{
    const struct hv_cpuid_entry *vendor = hv_cpuid_find(cpuid, LEAF_VENDOR, 0);
    char name[12];

    if (!vendor) {
        return false;
    }
    hv_store_le32(name, vendor->ebx);
    hv_store_le32(name + 4, vendor->edx);
    hv_store_le32(name + 8, vendor->ecx);
    return memcmp(name, "AuthenticAMD", sizeof(name)) == 0 ||
           memcmp(name, "HygonGenuine", sizeof(name)) == 0;
}

static void set_features(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology)
{
    struct hv_cpuid_entry *features = hv_cpuid_find(cpuid, LEAF_FEATURES, 0);
    struct hv_cpuid_entry *extended = hv_cpuid_find(cpuid, LEAF_EXTENDED_FEATURES, 0);
    struct hv_cpuid_entry *extended_1 = hv_cpuid_find(cpuid, LEAF_EXTENDED_FEATURES, 1);

    if (features) {
        features->ebx = set_field(features->ebx, 15, 8, FEATURES_CACHE_LINE_QUADWORDS);
        features->ebx = set_field(features->ebx, 23, 16, 1u << bits_for(topology->vcpu_count));
        features->ebx = set_field(features->ebx, 31, 24, topology->apic_id);
        /* The debug store is where performance counters write: gone with them. */
        features->ecx &=
            ~(FEATURES_ECX_DEBUG_STORE_64 | FEATURES_ECX_DEBUG_STORE_LEVEL | FEATURES_ECX_MONITOR |
              FEATURES_ECX_VMX | FEATURES_ECX_SMX | FEATURES_ECX_COUNTER_CAPABILITIES);
        features->ecx |= FEATURES_ECX_HYPERVISOR;
        features->ecx =
            set_bits(features->ecx, FEATURES_ECX_TSC_DEADLINE, topology->has_tsc_deadline);
        features->edx &= ~FEATURES_EDX_DEBUG_STORE;
        features->edx = set_bits(features->edx, FEATURES_EDX_HTT, topology->vcpu_count > 1);
    }
    if (extended) {
        /* SGX needs an enclave page cache that the machine does not have. */
        extended->ebx &= ~EXTENDED_EBX_SGX;
        extended->ecx &= ~(EXTENDED_ECX_WAITPKG | EXTENDED_ECX_SGX_LAUNCH);
    }
    if (extended_1) {
        extended_1->eax &= ~EXTENDED_1_EAX_COUNTERS;
    }
}

/*
 * Which threads share a cache: bits 25 to 14 of eax in Intel's leaf 4 and in AMD's 0x8000001d alike.
 * The last level is shared by the package, the others belong to a core.
 */
static void set_caches(struct hv_cpuid *cpuid, uint32_t leaf, unsigned int vcpu_count)
{
    for (unsigned int i = 0; i < cpuid->count; i++) {
        struct hv_cpuid_entry *entry = &cpuid->entries[i];
        uint32_t level = entry->eax >> 5 & 7;
        bool is_cache = entry->eax & 0x1f;

        if (entry->leaf != leaf || !is_cache) {
            continue;
        }
        entry->eax =
            set_field(entry->eax, 25, 14, level >= 3 ? (1u << bits_for(vcpu_count)) - 1 : 0);
        if (leaf == LEAF_INTEL_CACHES) {
            entry->eax = set_field(entry->eax, 31, 26, (1u << bits_for(vcpu_count)) - 1);
        }
    }
}

static int set_topology(struct hv_cpuid *cpuid, uint32_t leaf,
                        const struct hv_cpuid_topology *topology)
{
    const struct hv_cpuid_entry levels[] = {
        {
            .leaf = leaf,
            .subleaf = 0,
            .has_subleaf = true,
            .eax = 0,
            .ebx = 1,
            .ecx = 0 | TOPOLOGY_LEVEL_THREAD << 8,
            .edx = topology->apic_id,
        },
        {
            .leaf = leaf,
            .subleaf = 1,
            .has_subleaf = true,
            .eax = bits_for(topology->vcpu_count),
            .ebx = topology->vcpu_count,
            .ecx = 1 | TOPOLOGY_LEVEL_CORE << 8,
            .edx = topology->apic_id,
        },
        {
            .leaf = leaf,
            .subleaf = 2,
            .has_subleaf = true,
            .ecx = 2,
            .edx = topology->apic_id,
        },
    };
    int error = 0;

    remove_leaf(cpuid, leaf);
    for (size_t i = 0; i < HV_ARRAY_SIZE(levels) && error == 0; i++) {
        error = append(cpuid, &levels[i]);
    }
    return error;
}

static int set_topologies(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology)
{
    bool has_second = hv_cpuid_find(cpuid, LEAF_TOPOLOGY_V2, 0) != NULL;
    struct hv_cpuid_entry *vendor;
    int error = set_topology(cpuid, LEAF_TOPOLOGY, topology);

    if (error < 0) {
        return error;
    }
    vendor = hv_cpuid_find(cpuid, LEAF_VENDOR, 0);
    if (vendor && vendor->eax < LEAF_TOPOLOGY) {
        vendor->eax = LEAF_TOPOLOGY;
    }
    return has_second ? set_topology(cpuid, LEAF_TOPOLOGY_V2, topology) : 0;
}

static void set_amd_topology(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology)
{
    struct hv_cpuid_entry *features = hv_cpuid_find(cpuid, LEAF_AMD_FEATURES, 0);
    struct hv_cpuid_entry *sizes = hv_cpuid_find(cpuid, LEAF_ADDRESS_SIZES, 0);
    struct hv_cpuid_entry *identity = hv_cpuid_find(cpuid, LEAF_AMD_TOPOLOGY, 0);

    if (features) {
        features->ecx = set_bits(features->ecx, AMD_ECX_LEGACY_CORES, topology->vcpu_count > 1);
    }
    if (sizes) {
        sizes->ecx = set_field(sizes->ecx, 7, 0, topology->vcpu_count - 1);
        sizes->ecx = set_field(sizes->ecx, 15, 12, bits_for(topology->vcpu_count));
    }
    if (identity) {
        identity->eax = topology->apic_id;
        identity->ebx = set_field(identity->ebx, 7, 0, topology->apic_id); /* core */
        identity->ebx = set_field(identity->ebx, 15, 8, 0);                /* one thread each */
        identity->ecx = 0;                                                 /* one node, number 0 */
    }
    set_caches(cpuid, LEAF_AMD_CACHES, topology->vcpu_count);
    remove_leaf(cpuid, LEAF_AMD_TOPOLOGY_V2);
}

/* Nested virtualization, enclaves and performance counters: the leaves and what announces them. */
static void hide_what_is_not_there(struct hv_cpuid *cpuid)
{
    struct hv_cpuid_entry *amd = hv_cpuid_find(cpuid, LEAF_AMD_FEATURES, 0);

    if (amd) {
        amd->ecx &= ~(AMD_ECX_SVM | AMD_ECX_COUNTERS_CORE | AMD_ECX_COUNTERS_NORTHBRIDGE |
                      AMD_ECX_COUNTERS_TSC | AMD_ECX_COUNTERS_CACHE);
    }
    /* A leaf that KVM is not told reads as zero. */
    remove_leaf(cpuid, LEAF_PERFORMANCE_COUNTERS);
    remove_leaf(cpuid, LEAF_ARCHITECTURAL_COUNTERS);
    remove_leaf(cpuid, LEAF_SGX);
    remove_leaf(cpuid, LEAF_SVM);
    remove_leaf(cpuid, LEAF_AMD_COUNTERS);
}

static void set_kvm_clock(struct hv_cpuid *cpuid)
{
    struct hv_cpuid_entry *kvm = hv_cpuid_find(cpuid, LEAF_KVM, 0);
    struct hv_cpuid_entry *features = hv_cpuid_find(cpuid, LEAF_KVM_FEATURES, 0);

    if (kvm && kvm->eax < LEAF_KVM_FEATURES) {
        kvm->eax = LEAF_KVM_FEATURES;
    }
    if (features) {
        features->eax |= KVM_EAX_CLOCKSOURCE | KVM_EAX_CLOCKSOURCE_2 | KVM_EAX_CLOCKSOURCE_STABLE;
    }
}

int hv_cpuid_normalise(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology)
{
    int error;

    set_features(cpuid, topology);
    error = set_topologies(cpuid, topology);
    if (error < 0) {
        return error;
    }
    if (is_amd(cpuid)) {
        set_amd_topology(cpuid, topology);
    } else {
        set_caches(cpuid, LEAF_INTEL_CACHES, topology->vcpu_count);
    }
    hide_what_is_not_there(cpuid);
    set_kvm_clock(cpuid);
    return 0;
}

unsigned int hv_cpuid_physical_bits(struct hv_cpuid *cpuid)
{
    const struct hv_cpuid_entry *sizes = hv_cpuid_find(cpuid, LEAF_ADDRESS_SIZES, 0);
    unsigned int bits = sizes ? sizes->eax & 0xff : 0;
    unsigned int guest_bits = sizes ? sizes->eax >> 16 & 0xff : 0;

    /* With nested paging the guest may reach less than the processor: then KVM says so. */
    if (guest_bits && guest_bits < bits) {
        bits = guest_bits;
    }
    return bits >= 32 && bits <= 52 ? bits : DEFAULT_PHYSICAL_BITS;
}
