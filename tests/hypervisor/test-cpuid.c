/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CPUID tells the guest, from tables that look like an AMD and an Intel host's. */
#include "hypervisor/arch/x86_64/cpuid.h"
#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

static void add(struct hv_cpuid *cpuid, uint32_t leaf, int subleaf, uint32_t eax, uint32_t ebx,
                uint32_t ecx, uint32_t edx)
{
    cpuid->entries[cpuid->count++] = (struct hv_cpuid_entry){
        .leaf = leaf,
        .subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
        .has_subleaf = subleaf >= 0,
        .eax = eax,
        .ebx = ebx,
        .ecx = ecx,
        .edx = edx,
    };
}

/* Every feature bit is set, so that what must be hidden shows. */
static void fill(struct hv_cpuid *cpuid, bool is_amd)
{
    const char *vendor = is_amd ? "AuthenticAMD" : "GenuineIntel";
    const uint32_t all = UINT32_MAX;

    cpuid->count = 0;
    add(cpuid, 0x0, -1, is_amd ? 0x7 : 0x1f, hv_load_le32(vendor), hv_load_le32(vendor + 8),
        hv_load_le32(vendor + 4));
    add(cpuid, 0x1, -1, 0x800f12, all, all, all);
    add(cpuid, 0x7, 0, 1, all, all, all);
    add(cpuid, 0x7, 1, all, 0, 0, 0);
    add(cpuid, 0xa, -1, 0x07300404, 0, 0, 0x603);
    add(cpuid, 0x40000000, -1, 0, 0x4b4d564b, 0x564b4d56, 0x4d);
    add(cpuid, 0x40000001, -1, 0x10, 0, 0, 0);
    add(cpuid, 0x80000001, -1, 0x800f12, 0, all, all);
    add(cpuid, 0x80000008, -1, 0x3028, 0, is_amd ? 0x7007 : 0, 0);
    if (is_amd) {
        add(cpuid, 0x8000000a, -1, 1, 8, 0, 1);
        for (int i = 0; i < 5; i++) {
            static const uint32_t levels[] = {1, 1, 2, 3};

            add(cpuid, 0x8000001d, i, i < 4 ? 0xfc000001 | 5 << 14 | levels[i] << 5 : 0, 0, 0, 0);
        }
        add(cpuid, 0x8000001e, -1, 0x55, 0x0103, 0x0301, 0);
        add(cpuid, 0x80000022, -1, 1, 6, 0, 0);
        add(cpuid, 0x80000026, 0, 1, 2, 3, 4);
    } else {
        for (int i = 0; i < 5; i++) {
            static const uint32_t levels[] = {1, 1, 2, 3};

            add(cpuid, 0x4, i, i < 4 ? 0xfc000001 | 5 << 14 | levels[i] << 5 : 0, 0, 0, 0);
        }
        add(cpuid, 0xb, 0, 1, 2, 0x100, 9);
        add(cpuid, 0xb, 1, 5, 24, 0x201, 9);
        add(cpuid, 0x12, 0, 1, 0, 0, 0);
        add(cpuid, 0x1f, 0, 1, 2, 0x100, 9);
        add(cpuid, 0x23, 0, 1, 2, 0, 0);
    }
}

static uint32_t field(uint32_t word, unsigned int high, unsigned int low)
{
    return word >> low & (uint32_t)((UINT64_C(1) << (high - low + 1)) - 1);
}

static void check_common(struct hv_cpuid *cpuid, const struct hv_cpuid_topology *topology,
                         const char *who)
{
    const struct hv_cpuid_entry *features = hv_cpuid_find(cpuid, 0x1, 0);
    const struct hv_cpuid_entry *extended = hv_cpuid_find(cpuid, 0x7, 0);
    const struct hv_cpuid_entry *amd = hv_cpuid_find(cpuid, 0x80000001, 0);
    const struct hv_cpuid_entry *thread = hv_cpuid_find(cpuid, 0xb, 0);
    const struct hv_cpuid_entry *core = hv_cpuid_find(cpuid, 0xb, 1);
    const struct hv_cpuid_entry *end = hv_cpuid_find(cpuid, 0xb, 2);
    const struct hv_cpuid_entry *kvm = hv_cpuid_find(cpuid, 0x40000001, 0);
    unsigned int bits = 0;

    while ((1u << bits) < topology->vcpu_count) {
        bits++;
    }
    tap_is(field(features->ebx, 31, 24), topology->apic_id, "%s: APIC id in leaf 1", who);
    tap_ok(field(features->ebx, 23, 16) >= topology->vcpu_count, "%s: room for all APIC ids", who);
    tap_is(field(features->ebx, 15, 8), 8, "%s: cache lines of 64 bytes", who);
    tap_ok(features->ecx & 1u << 31, "%s: a hypervisor", who);
    tap_is(!!(features->ecx & 1u << 24), topology->has_tsc_deadline, "%s: TSC deadline", who);
    tap_ok(features->ecx & 1u << 21, "%s: x2APIC stays", who);
    tap_is(features->ecx & (1u << 3 | 1u << 5 | 1u << 6 | 1u << 15), 0,
           "%s: no MONITOR, VMX, SMX, counter capabilities", who);
    tap_is(!!(features->edx & 1u << 28), topology->vcpu_count > 1, "%s: HTT", who);
    tap_ok(!(features->ecx & (1u << 2 | 1u << 4)) && !(features->edx & 1u << 21),
           "%s: no debug store, which counters would write to", who);
    tap_is(hv_cpuid_find(cpuid, 0x7, 1)->eax, ~(1u << 8), "%s: no leaf 0x23 is announced", who);
    tap_ok(!(extended->ecx & 1u << 5) && !(extended->ebx & 1u << 2), "%s: no WAITPKG, SGX", who);
    tap_is(amd->ecx & (1u << 2 | 1u << 23 | 1u << 24 | 1u << 27 | 1u << 28), 0,
           "%s: no SVM, no performance counters", who);
    tap_ok(!hv_cpuid_find(cpuid, 0xa, 0) && !hv_cpuid_find(cpuid, 0x80000022, 0) &&
               !hv_cpuid_find(cpuid, 0x23, 0) && !hv_cpuid_find(cpuid, 0x12, 0) &&
               !hv_cpuid_find(cpuid, 0x8000000a, 0),
           "%s: their leaves are gone", who);
    tap_ok(hv_cpuid_find(cpuid, 0, 0)->eax >= 0xb, "%s: leaf 0xb is within the limit", who);
    tap_ok(thread && thread->eax == 0 && thread->ebx == 1 && thread->ecx == 0x100 &&
               thread->edx == topology->apic_id,
           "%s: leaf 0xb, threads", who);
    tap_ok(core && core->eax == bits && core->ebx == topology->vcpu_count && core->ecx == 0x201 &&
               core->edx == topology->apic_id,
           "%s: leaf 0xb, cores", who);
    tap_ok(end && end->ebx == 0 && end->ecx == 2 && end->edx == topology->apic_id,
           "%s: leaf 0xb ends", who);
    tap_is(kvm->eax & (1u << 0 | 1u << 3 | 1u << 24), 1u << 0 | 1u << 3 | 1u << 24,
           "%s: KVM's clock, stable", who);
    tap_ok(kvm->eax & 0x10, "%s: KVM's other features stay", who);
    tap_is(hv_cpuid_find(cpuid, 0x40000000, 0)->eax, 0x40000001, "%s: KVM's last leaf", who);
}

static void check_caches(struct hv_cpuid *cpuid, uint32_t leaf, unsigned int rounded,
                         const char *who)
{
    tap_is(field(hv_cpuid_find(cpuid, leaf, 0)->eax, 25, 14), 0, "%s: a first-level cache is own",
           who);
    tap_is(field(hv_cpuid_find(cpuid, leaf, 2)->eax, 25, 14), 0, "%s: the second level too", who);
    tap_is(field(hv_cpuid_find(cpuid, leaf, 3)->eax, 25, 14), rounded - 1,
           "%s: the third is shared", who);
    tap_is(hv_cpuid_find(cpuid, leaf, 4)->eax, 0, "%s: the end of the list stays", who);
}

static void test_amd(unsigned int vcpu_count, uint32_t apic_id)
{
    const struct hv_cpuid_topology topology = {vcpu_count, apic_id, true};
    struct hv_cpuid cpuid;
    const struct hv_cpuid_entry *entry;
    unsigned int rounded = 1;
    char who[32];

    while (rounded < vcpu_count) {
        rounded *= 2;
    }
    snprintf(who, sizeof(who), "AMD, %u of %u", apic_id, vcpu_count);
    fill(&cpuid, true);
    tap_is(hv_cpuid_normalise(&cpuid, &topology), 0, "%s", who);
    check_common(&cpuid, &topology, who);
    check_caches(&cpuid, 0x8000001d, rounded, who);
    entry = hv_cpuid_find(&cpuid, 0x80000008, 0);
    tap_ok(field(entry->ecx, 7, 0) == vcpu_count - 1 && 1u << field(entry->ecx, 15, 12) == rounded,
           "%s: cores of the package", who);
    entry = hv_cpuid_find(&cpuid, 0x8000001e, 0);
    tap_ok(entry->eax == apic_id && entry->ebx == apic_id && entry->ecx == 0, "%s: leaf 0x8000001e",
           who);
    entry = hv_cpuid_find(&cpuid, 0x80000001, 0);
    tap_is(!!(entry->ecx & 2), vcpu_count > 1, "%s: CmpLegacy", who);
    tap_ok(!hv_cpuid_find(&cpuid, 0x80000026, 0), "%s: no other topology", who);
    tap_ok(!hv_cpuid_find(&cpuid, 0x1f, 0), "%s: no leaf that the host has not", who);
}

static void test_intel(unsigned int vcpu_count, uint32_t apic_id)
{
    const struct hv_cpuid_topology topology = {vcpu_count, apic_id, false};
    struct hv_cpuid cpuid;
    const struct hv_cpuid_entry *entry;
    unsigned int rounded = 1;
    char who[32];

    while (rounded < vcpu_count) {
        rounded *= 2;
    }
    snprintf(who, sizeof(who), "Intel, %u of %u", apic_id, vcpu_count);
    fill(&cpuid, false);
    tap_is(hv_cpuid_normalise(&cpuid, &topology), 0, "%s", who);
    check_common(&cpuid, &topology, who);
    check_caches(&cpuid, 0x4, rounded, who);
    tap_is(field(hv_cpuid_find(&cpuid, 0x4, 0)->eax, 31, 26), rounded - 1,
           "%s: cores of the package", who);
    entry = hv_cpuid_find(&cpuid, 0x1f, 1);
    tap_ok(entry && entry->ebx == vcpu_count && entry->edx == apic_id, "%s: leaf 0x1f as 0xb", who);
    tap_is(hv_cpuid_find(&cpuid, 0x80000008, 0)->ecx, 0, "%s: AMD's fields stay reserved", who);
}

/* All ids of all sizes, in every place where an id stands. */
static void test_every_id(bool is_amd)
{
    unsigned int wrong = 0;

    for (unsigned int count = 1; count <= 64; count++) {
        for (uint32_t id = 0; id < count; id++) {
            const struct hv_cpuid_topology topology = {count, id, true};
            struct hv_cpuid cpuid;

            fill(&cpuid, is_amd);
            if (hv_cpuid_normalise(&cpuid, &topology) < 0) {
                wrong++;
                continue;
            }
            wrong += hv_cpuid_find(&cpuid, 1, 0)->ebx >> 24 != id;
            for (uint32_t level = 0; level < 3; level++) {
                wrong += hv_cpuid_find(&cpuid, 0xb, level)->edx != id;
                wrong += !is_amd && hv_cpuid_find(&cpuid, 0x1f, level)->edx != id;
            }
            wrong += is_amd && hv_cpuid_find(&cpuid, 0x8000001e, 0)->eax != id;
            /* The id shifted by the width of the core level is the package: one for all. */
            wrong += id >> hv_cpuid_find(&cpuid, 0xb, 1)->eax != 0;
            wrong += is_amd && id >> field(hv_cpuid_find(&cpuid, 0x80000008, 0)->ecx, 15, 12) != 0;
        }
    }
    tap_is(wrong, 0, "%s: each id of 1 to 64 vCPUs, in each leaf", is_amd ? "AMD" : "Intel");
}

/* Nothing twice: KVM takes the first that fits, a guest must not depend on it. */
static void test_unique(bool is_amd)
{
    const struct hv_cpuid_topology topology = {8, 7, true};
    struct hv_cpuid cpuid;
    unsigned int twice = 0;

    fill(&cpuid, is_amd);
    hv_cpuid_normalise(&cpuid, &topology);
    /* What was normalised may be so again, for the next vCPU. */
    tap_is(hv_cpuid_normalise(&cpuid, &topology), 0, "normalised twice");
    for (unsigned int i = 0; i < cpuid.count; i++) {
        for (unsigned int k = 0; k < i; k++) {
            twice += cpuid.entries[i].leaf == cpuid.entries[k].leaf &&
                     cpuid.entries[i].subleaf == cpuid.entries[k].subleaf;
        }
    }
    tap_is(twice, 0, "%s: no leaf is there twice", is_amd ? "AMD" : "Intel");
}

static void set_vendor(struct hv_cpuid *cpuid, const char *vendor)
{
    struct hv_cpuid_entry *entry = hv_cpuid_find(cpuid, 0, 0);

    entry->ebx = hv_load_le32(vendor);
    entry->edx = hv_load_le32(vendor + 4);
    entry->ecx = hv_load_le32(vendor + 8);
}

static void test_vendors(void)
{
    const struct hv_cpuid_topology topology = {4, 2, true};
    struct hv_cpuid cpuid;

    fill(&cpuid, true);
    set_vendor(&cpuid, "HygonGenuine");
    hv_cpuid_normalise(&cpuid, &topology);
    tap_is(hv_cpuid_find(&cpuid, 0x8000001e, 0)->eax, 2, "Hygon's processors are AMD's");
    fill(&cpuid, true);
    set_vendor(&cpuid, "CentaurHauls");
    hv_cpuid_normalise(&cpuid, &topology);
    tap_is(hv_cpuid_find(&cpuid, 0x80000008, 0)->ecx, 0x7007, "another's are not");
}

/* A full list fits up to the last entry. */
static void test_room(bool has_second, unsigned int needed)
{
    const struct hv_cpuid_topology topology = {2, 1, true};
    struct hv_cpuid cpuid;

    for (unsigned int room = needed - 1; room <= needed; room++) {
        cpuid.count = 0;
        if (has_second) {
            /* Goes, and comes back as three. */
            add(&cpuid, 0x1f, 0, 0, 0, 0, 0);
        }
        while (cpuid.count < HV_CPUID_MAX_ENTRIES - room) {
            add(&cpuid, 0x50000000 + cpuid.count, -1, 0, 0, 0, 0);
        }
        tap_is(hv_cpuid_normalise(&cpuid, &topology), room < needed ? -ENOSPC : 0,
               "room for %u more entries%s", room, has_second ? ", with leaf 0x1f" : "");
    }
    tap_is(cpuid.count, HV_CPUID_MAX_ENTRIES, "… fills the list");
}

static void test_limits(void)
{
    const struct hv_cpuid_topology topology = {1, 0, true};
    struct hv_cpuid cpuid = {0};

    tap_is(hv_cpuid_physical_bits(&cpuid), 36, "address bits without the leaf");
    add(&cpuid, 0x80000008, -1, 0x3028, 0, 0, 0);
    tap_is(hv_cpuid_physical_bits(&cpuid), 40, "address bits");
    cpuid.entries[0].eax = 0x00273030;
    tap_is(hv_cpuid_physical_bits(&cpuid), 39, "address bits of a guest that reaches less");
    cpuid.entries[0].eax = 0xff;
    tap_is(hv_cpuid_physical_bits(&cpuid), 36, "an impossible number of address bits");
    cpuid.count = 0;
    tap_is(hv_cpuid_normalise(&cpuid, &topology), 0, "an empty list");
    while (cpuid.count < HV_CPUID_MAX_ENTRIES) {
        add(&cpuid, 0x50000000, -1, 0, 0, 0, 0);
    }
    cpuid.entries[0].leaf = 0x50000001;
    cpuid.entries[1].leaf = 0x50000001;
    cpuid.entries[2].leaf = 0x50000001;
    tap_is(hv_cpuid_normalise(&cpuid, &topology), -ENOSPC, "a full list");
}

int main(void)
{
    test_amd(1, 0);
    test_amd(4, 3);
    test_amd(8, 7);
    test_amd(64, 63);
    test_intel(1, 0);
    test_intel(6, 5);
    test_intel(8, 0);
    test_intel(64, 63);
    for (int is_amd = 0; is_amd < 2; is_amd++) {
        test_every_id(is_amd);
        test_unique(is_amd);
    }
    test_vendors();
    test_room(false, 3);
    test_room(true, 5);
    test_limits();
    return tap_done();
}
