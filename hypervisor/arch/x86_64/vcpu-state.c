/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state in which vCPUs begin: CPUID, then the model-specific registers that depend on it, then,
 * for the first vCPU, the mode that the kernel's entry point wants. The others wait for INIT and
 * SIPI, which KVM's local APIC handles.
 */
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/arch/x86_64/x86.h"
#include "hypervisor/machine/machine-private.h"

#define CR0_PROTECTED         (1u << 0)
#define CR0_EXTENSION_TYPE    (1u << 4)
#define CR0_PAGING            (1u << 31)
#define CR4_PAE               (1u << 5)
#define EFER_LONG_MODE_ENABLE (1u << 8)
#define EFER_LONG_MODE_ACTIVE (1u << 10)
#define RFLAGS_ALWAYS_ONE     0x2u

#define PAGE_PRESENT       0x1u
#define PAGE_WRITABLE      0x2u
#define PAGE_LARGE         0x80u
#define PAGE_TABLE_SIZE    4096u
#define PAGE_TABLE_ENTRIES 512u
#define LARGE_PAGE_SIZE    (2 * HV_X86_MIB)
#define MAPPED_DIRECTORIES 4u /* of 1 GiB */

#define MSR_IA32_TSC            0x10u
#define MSR_IA32_MISC_ENABLE    0x1a0u
#define MSR_MTRR_DEFAULT_TYPE   0x2ffu
#define MISC_ENABLE_FAST_STRING (1u << 0)
#define MTRR_ENABLE             (1u << 11)
#define MTRR_WRITE_BACK         6u

/* Linux's boot protocol fixes these two. */
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TASK 0x20u

int hv_x86_supported_cpuid(const struct hv_kvm *kvm, struct hv_cpuid *ret_cpuid)
{
    HV_AUTO_FREE struct kvm_cpuid2 *list =
        calloc(1, sizeof(*list) + HV_CPUID_MAX_ENTRIES * sizeof(list->entries[0]));
    int error;

    if (!list) {
        return -ENOMEM;
    }
    list->nent = HV_CPUID_MAX_ENTRIES;
    error = hv_ioctl_pointer(kvm->fd, KVM_GET_SUPPORTED_CPUID, list);
    if (error < 0) {
        return error;
    }
    ret_cpuid->count = (unsigned int)hv_min_u64(list->nent, HV_CPUID_MAX_ENTRIES);
    for (unsigned int i = 0; i < ret_cpuid->count; i++) {
        const struct kvm_cpuid_entry2 *entry = &list->entries[i];

        ret_cpuid->entries[i] = (struct hv_cpuid_entry){
            .leaf = entry->function,
            .subleaf = entry->index,
            .has_subleaf = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = entry->eax,
            .ebx = entry->ebx,
            .ecx = entry->ecx,
            .edx = entry->edx,
        };
    }
    return 0;
}

static int set_cpuid(const struct hv_machine *machine, const struct hv_vcpu *vcpu)
{
    const struct hv_cpuid_topology topology = {
        .vcpu_count = machine->vcpu_count,
        .apic_id = vcpu->index,
        .has_tsc_deadline = hv_kvm_check(&machine->kvm, KVM_CAP_TSC_DEADLINE_TIMER),
    };
    HV_AUTO_FREE struct kvm_cpuid2 *list =
        calloc(1, sizeof(*list) + HV_CPUID_MAX_ENTRIES * sizeof(list->entries[0]));
    HV_AUTO_FREE struct hv_cpuid *cpuid = malloc(sizeof(*cpuid));
    int error;

    if (!list || !cpuid) {
        return -ENOMEM;
    }
    error = hv_x86_supported_cpuid(&machine->kvm, cpuid);
    if (error == 0) {
        error = hv_cpuid_normalise(cpuid, &topology);
    }
    if (error < 0) {
        return error;
    }
    list->nent = cpuid->count;
    for (unsigned int i = 0; i < cpuid->count; i++) {
        const struct hv_cpuid_entry *entry = &cpuid->entries[i];

        list->entries[i] = (struct kvm_cpuid_entry2){
            .function = entry->leaf,
            .index = entry->subleaf,
            .flags = entry->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = entry->eax,
            .ebx = entry->ebx,
            .ecx = entry->ecx,
            .edx = entry->edx,
        };
    }
    return hv_vcpu_ioctl(vcpu, KVM_SET_CPUID2, list);
}

static int set_model_specific_registers(const struct hv_vcpu *vcpu)
{
    static const struct {
        uint32_t index;
        uint64_t value;
    } registers[] = {
        {MSR_IA32_TSC, 0},
        {MSR_IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING},
        /* Without it, Linux takes memory types to be unusable. */
        {MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLE | MTRR_WRITE_BACK},
    };
    HV_AUTO_FREE struct kvm_msrs *list =
        calloc(1, sizeof(*list) + HV_ARRAY_SIZE(registers) * sizeof(list->entries[0]));
    int result;

    if (!list) {
        return -ENOMEM;
    }
    list->nmsrs = HV_ARRAY_SIZE(registers);
    for (size_t i = 0; i < HV_ARRAY_SIZE(registers); i++) {
        list->entries[i].index = registers[i].index;
        list->entries[i].data = registers[i].value;
    }
    result = hv_vcpu_ioctl(vcpu, KVM_SET_MSRS, list);
    if (result < 0) {
        return result;
    }
    return result == (int)HV_ARRAY_SIZE(registers) ? 0 : -EIO;
}

int hv_arch_init_vcpu(struct hv_machine *machine, struct hv_vcpu *vcpu)
{
    int error = set_cpuid(machine, vcpu);

    return error < 0 ? error : set_model_specific_registers(vcpu);
}

/* Flat segments; @is_64bit is about code alone. */
static struct kvm_segment code_segment(bool is_64bit)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = SELECTOR_CODE,
        .type = 0xb, /* execute, read, accessed */
        .present = 1,
        .s = 1,
        .g = 1,
        .db = !is_64bit,
        .l = is_64bit,
    };
}

static struct kvm_segment data_segment(void)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = SELECTOR_DATA,
        .type = 0x3, /* read, write, accessed */
        .present = 1,
        .s = 1,
        .g = 1,
        .db = 1,
    };
}

static struct kvm_segment task_segment(void)
{
    return (struct kvm_segment){
        .limit = 0x67,
        .selector = SELECTOR_TASK,
        .type = 0xb, /* busy */
        .present = 1,
    };
}

/* A segment register as the descriptor that a reload of its selector must find. */
static uint64_t descriptor(const struct kvm_segment *segment)
{
    uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;

    return (limit & 0xffff) | (segment->base & 0xffffff) << 16 | (uint64_t)segment->type << 40 |
           (uint64_t)segment->s << 44 | (uint64_t)segment->dpl << 45 |
           (uint64_t)segment->present << 47 | (limit >> 16 & 0xf) << 48 |
           (uint64_t)segment->l << 53 | (uint64_t)segment->db << 54 | (uint64_t)segment->g << 55 |
           (segment->base >> 24 & 0xff) << 56;
}

static int set_segments(struct hv_machine *machine, struct kvm_sregs *state, bool is_64bit)
{
    uint8_t table[SELECTOR_TASK + 16] = {0};

    state->cs = code_segment(is_64bit);
    state->ds = state->es = state->fs = state->gs = state->ss = data_segment();
    state->tr = task_segment();
    hv_store_le64(table + SELECTOR_CODE, descriptor(&state->cs));
    hv_store_le64(table + SELECTOR_DATA, descriptor(&state->ds));
    hv_store_le64(table + SELECTOR_TASK, descriptor(&state->tr));
    state->gdt = (struct kvm_dtable){.base = HV_X86_GDT_ADDRESS, .limit = sizeof(table) - 1};
    state->idt = (struct kvm_dtable){0};
    return hv_memory_write(machine->memory, HV_X86_GDT_ADDRESS, table, sizeof(table));
}

/* Maps the low 4 GiB to themselves: PML4, PDPT, then one directory of large pages per GiB. */
static int write_page_tables(struct hv_machine *machine)
{
    const uint64_t flags = PAGE_PRESENT | PAGE_WRITABLE;
    uint64_t pointers = HV_X86_PAGE_TABLES_ADDRESS + PAGE_TABLE_SIZE;
    uint64_t directories = pointers + PAGE_TABLE_SIZE;
    uint8_t *tables = hv_memory_map(machine->memory, HV_X86_PAGE_TABLES_ADDRESS,
                                    (2 + MAPPED_DIRECTORIES) * PAGE_TABLE_SIZE);
    uint8_t *entry;

    if (!tables) {
        return -EFAULT;
    }
    memset(tables, 0, 2 * PAGE_TABLE_SIZE);
    hv_store_le64(tables, pointers | flags);
    for (unsigned int i = 0; i < MAPPED_DIRECTORIES; i++) {
        hv_store_le64(tables + PAGE_TABLE_SIZE + i * sizeof(uint64_t),
                      (directories + i * PAGE_TABLE_SIZE) | flags);
    }
    entry = tables + 2 * PAGE_TABLE_SIZE;
    for (unsigned int i = 0; i < MAPPED_DIRECTORIES * PAGE_TABLE_ENTRIES; i++) {
        hv_store_le64(entry, i * LARGE_PAGE_SIZE | flags | PAGE_LARGE);
        entry += sizeof(uint64_t);
    }
    return 0;
}

int hv_x86_enter_linux(struct hv_machine *machine, struct hv_vcpu *vcpu, uint64_t entry)
{
    const struct kvm_regs registers = {
        .rip = entry,
        .rsi = HV_X86_BOOT_PARAMS_ADDRESS,
        .rflags = RFLAGS_ALWAYS_ONE,
    };
    struct kvm_sregs state = {0};
    int error = hv_vcpu_ioctl(vcpu, KVM_GET_SREGS, &state);

    if (error == 0) {
        error = set_segments(machine, &state, true);
    }
    if (error == 0) {
        error = write_page_tables(machine);
    }
    if (error < 0) {
        return error;
    }
    state.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_PAGING;
    state.cr3 = HV_X86_PAGE_TABLES_ADDRESS;
    state.cr4 = CR4_PAE;
    state.efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
    error = hv_vcpu_ioctl(vcpu, KVM_SET_SREGS, &state);
    return error < 0 ? error : hv_vcpu_ioctl(vcpu, KVM_SET_REGS, &registers);
}

int hv_x86_enter_pvh(struct hv_machine *machine, struct hv_vcpu *vcpu, uint64_t entry)
{
    const struct kvm_regs registers = {
        .rip = entry,
        .rbx = HV_X86_PVH_ADDRESS,
        .rflags = RFLAGS_ALWAYS_ONE,
    };
    struct kvm_sregs state = {0};
    int error = hv_vcpu_ioctl(vcpu, KVM_GET_SREGS, &state);

    if (error == 0) {
        error = set_segments(machine, &state, false);
    }
    if (error < 0) {
        return error;
    }
    state.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    state.cr4 = 0;
    state.efer = 0;
    error = hv_vcpu_ioctl(vcpu, KVM_SET_SREGS, &state);
    return error < 0 ? error : hv_vcpu_ioctl(vcpu, KVM_SET_REGS, &registers);
}

void hv_arch_paused(struct hv_machine *machine)
{
    /*
     * The guest's clocks go on while it is paused, so that it has the right time afterwards; this
     * tells its watchdogs that the time it did not run is nobody's fault.
     */
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        hv_vcpu_ioctl(machine->vcpus[i], KVM_KVMCLOCK_CTRL, NULL);
    }
}

void hv_arch_resuming(struct hv_machine *machine)
{
}

int hv_arch_handle_exit(struct hv_vcpu *vcpu)
{
    return 0;
}
