/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86_64 half of the probe: PIC, IOAPIC and local APIC in the kernel, all CPUID leaves that KVM
 * offers, and a vCPU that starts at the payload in the state a reset leaves, real mode. The page
 * tables are written here; the switch to long mode is the payload's work, so that it is the guest
 * which loads EFER, CR3 and CR0.
 */
#include "hypervisor/base/hv-base.h"
#include "hypervisor/probe/probe-arch.h"
#include "hypervisor/probe/probe-layout.h"

/* Where KVM may put the task state segment that Intel processors need for real mode. */
#define PROBE_TSS_ADDRESS 0xfffbd000ul

/* More than the kernel's own limit, so that KVM_GET_SUPPORTED_CPUID never says E2BIG. */
#define PROBE_CPUID_CAPACITY 512u

#define PTE_PRESENT       (1ull << 0)
#define PTE_WRITE         (1ull << 1)
#define PTE_CACHE_DISABLE (1ull << 4)
#define PTE_LARGE         (1ull << 7)

#define PROBE_APIC_ADDRESS 0xfee00000ull

int hv_probe_arch_init_vm(struct hv_probe *probe)
{
    int result;

    probe->failure = "KVM refuses the address of the task state segment";
    result = hv_kvm_vm_ioctl_value(&probe->kvm, KVM_SET_TSS_ADDR, PROBE_TSS_ADDRESS);
    if (result < 0) {
        return result;
    }
    probe->failure = "KVM has no interrupt controller of its own (KVM_CREATE_IRQCHIP failed)";
    return hv_kvm_vm_ioctl_value(&probe->kvm, KVM_CREATE_IRQCHIP, 0);
}

/* Without the processor's own leaves KVM refuses EFER.LME and CR4.PAE. */
static int probe_set_cpuid(struct hv_probe *probe)
{
    HV_AUTO_FREE struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + PROBE_CPUID_CAPACITY * sizeof(cpuid->entries[0]));
    int result;

    if (!cpuid) {
        return -ENOMEM;
    }
    cpuid->nent = PROBE_CPUID_CAPACITY;
    result = hv_ioctl_pointer(probe->kvm.fd, KVM_GET_SUPPORTED_CPUID, cpuid);
    if (result < 0) {
        return result;
    }
    return hv_ioctl_pointer(probe->vcpu_fd, KVM_SET_CPUID2, cpuid);
}

int hv_probe_arch_init_vcpu(struct hv_probe *probe)
{
    struct kvm_regs regs = {.rip = HV_PROBE_CODE, .rflags = 2 /* the bit that is always 1 */};
    struct kvm_sregs sregs;
    int result;

    probe->failure = "KVM does not take the CPUID leaves that it offers";
    result = probe_set_cpuid(probe);
    if (result < 0) {
        return result;
    }

    probe->failure = "KVM does not take the registers of a processor after reset";
    result = hv_ioctl_pointer(probe->vcpu_fd, KVM_GET_SREGS, &sregs);
    if (result < 0) {
        return result;
    }
    /* After reset code runs at the top of 4 GiB; ours is in the first 64 KiB. */
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    result = hv_ioctl_pointer(probe->vcpu_fd, KVM_SET_SREGS, &sregs);
    if (result < 0) {
        return result;
    }
    return hv_ioctl_pointer(probe->vcpu_fd, KVM_SET_REGS, &regs);
}

/* Entry @index of the page table at guest address @table. */
static void probe_set_entry(struct hv_probe *probe, uint64_t table, unsigned int index,
                            uint64_t entry)
{
    memcpy(probe->memory + table + index * sizeof(entry), &entry, sizeof(entry));
}

/* The first 64 KiB one to one in 4 KiB pages, except the window; and the page of the local APIC. */
void hv_probe_arch_fill_memory(struct hv_probe *probe)
{
    const uint64_t table = PTE_PRESENT | PTE_WRITE;
    const uint64_t apic_page = PROBE_APIC_ADDRESS & ~0x1fffffull;
    const uint32_t first = HV_PROBE_MARK_FIRST;
    const uint32_t second = HV_PROBE_MARK_SECOND;

    probe_set_entry(probe, HV_PROBE_PML4, 0, HV_PROBE_PDPT | table);
    probe_set_entry(probe, HV_PROBE_PDPT, 0, HV_PROBE_PD_LOW | table);
    probe_set_entry(probe, HV_PROBE_PDPT, PROBE_APIC_ADDRESS >> 30, HV_PROBE_PD_HIGH | table);
    probe_set_entry(probe, HV_PROBE_PD_LOW, 0, HV_PROBE_PT | table);
    probe_set_entry(probe, HV_PROBE_PD_HIGH, (PROBE_APIC_ADDRESS >> 21) & 511,
                    apic_page | table | PTE_LARGE | PTE_CACHE_DISABLE);
    for (unsigned int page = 0; page < HV_PROBE_MEMORY_SIZE >> 12; page++) {
        probe_set_entry(probe, HV_PROBE_PT, page, ((uint64_t)page << 12) | table);
    }
    probe_set_entry(probe, HV_PROBE_PT, HV_PROBE_WINDOW >> 12, HV_PROBE_FRAME_FIRST | table);

    memcpy(probe->memory + HV_PROBE_FRAME_FIRST, &first, sizeof(first));
    memcpy(probe->memory + HV_PROBE_FRAME_SECOND, &second, sizeof(second));
}

bool hv_probe_arch_decode_report(const struct hv_probe *probe, uint32_t *ret_report)
{
    const struct kvm_run *run = probe->run;

    if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
        run->io.port != HV_PROBE_PORT || run->io.size != sizeof(*ret_report) ||
        run->io.count != 1 ||
        run->io.data_offset > probe->kvm.vcpu_mmap_size - sizeof(*ret_report)) {
        return false;
    }
    memcpy(ret_report, (const uint8_t *)run + run->io.data_offset, sizeof(*ret_report));
    return true;
}

const char *hv_probe_arch_failure(uint32_t last_step)
{
    switch (last_step) {
    case HV_PROBE_STEP_NONE:
        return "KVM in software: stock kernels do not boot (the first instructions after reset "
               "failed)";
    case HV_PROBE_STEP_RESET:
        return "KVM in software: stock kernels do not boot (entering long mode failed)";
    case HV_PROBE_STEP_MODE: return "KVM in software: stock kernels do not boot (SSE2 failed)";
    case HV_PROBE_STEP_VECTOR:
        return "KVM in software: stock kernels do not boot (lock cmpxchg16b failed)";
    case HV_PROBE_STEP_ATOMIC:
        return "KVM in software: stock kernels do not boot (changing a page-table entry failed)";
    case HV_PROBE_STEP_PAGE_TABLE:
        return "KVM gave the guest no timer interrupt: stock kernels do not boot";
    default:
        return "KVM in software: stock kernels do not boot (the guest did not go on after a timer "
               "interrupt)";
    }
}
