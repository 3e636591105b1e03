/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The aarch64 half of the probe: a GICv3 or else a GICv2, by trying to make them, and a vCPU that
 * starts at the payload at EL1 with the MMU off. The translation tables are written here, before the
 * guest runs: with its MMU off it would write past the caches.
 *
 * Known failure: /dev/kvm is there, all capabilities look right, and neither GIC can be made. Then
 * the host's device tree names no maintenance interrupt (early Raspberry Pi 5 trees), and no
 * setting of ours helps.
 */
#include "hypervisor/base/hv-base.h"
#include "hypervisor/probe/probe-arch.h"
#include "hypervisor/probe/probe-layout.h"

/* 32 private interrupts and the smallest number of shared ones. */
#define PROBE_GIC_INTERRUPTS 64u

#define PTE_BLOCK         0x1ull
#define PTE_TABLE         0x3ull
#define PTE_PAGE          0x3ull
#define PTE_DEVICE        (0ull << 2) /* attribute 0 of MAIR_EL1, see the payload */
#define PTE_NORMAL        (1ull << 2) /* attribute 1 */
#define PTE_INNER_SHARED  (3ull << 8)
#define PTE_ACCESSED      (1ull << 10)
#define PTE_NEVER_EXECUTE (3ull << 53)

#define PROBE_CORE_REGISTER(member)                                                                \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |                                         \
     (offsetof(struct kvm_regs, member) / sizeof(uint32_t)))

static int probe_set_gic(struct hv_probe *probe, uint32_t group, uint64_t attribute, void *value)
{
    struct kvm_device_attr attr = {
        .group = group,
        .attr = attribute,
        .addr = (uintptr_t)value,
    };

    return hv_ioctl_pointer(probe->irqchip_fd, KVM_SET_DEVICE_ATTR, &attr);
}

int hv_probe_arch_init_vm(struct hv_probe *probe)
{
    static const struct {
        uint32_t version;
        uint32_t type;
        uint64_t distributor; /* names of the two regions in KVM_DEV_ARM_VGIC_GRP_ADDR */
        uint64_t processor;
        uint64_t processor_address;
    } gics[] = {
        {3, KVM_DEV_TYPE_ARM_VGIC_V3, KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST,
         HV_PROBE_GIC_REDISTRIBUTOR},
        {2, KVM_DEV_TYPE_ARM_VGIC_V2, KVM_VGIC_V2_ADDR_TYPE_DIST, KVM_VGIC_V2_ADDR_TYPE_CPU,
         HV_PROBE_GIC_CPU_INTERFACE},
    };
    uint64_t distributor = HV_PROBE_GIC_DISTRIBUTOR;
    uint32_t interrupts = PROBE_GIC_INTERRUPTS;
    int result = -ENODEV;

    probe->failure = "this kernel's device tree gives KVM no interrupt controller; update the "
                     "kernel or its device tree";
    for (size_t i = 0; i < HV_ARRAY_SIZE(gics); i++) {
        struct kvm_create_device device = {.type = gics[i].type};
        uint64_t processor = gics[i].processor_address;

        result = hv_kvm_vm_ioctl(&probe->kvm, KVM_CREATE_DEVICE, &device);
        if (result < 0) {
            continue;
        }
        probe->irqchip_fd = (int)device.fd;
        probe->gic_version = gics[i].version;
        probe->failure = "KVM's interrupt controller does not take its addresses";
        result = probe_set_gic(probe, KVM_DEV_ARM_VGIC_GRP_ADDR, gics[i].distributor, &distributor);
        if (result < 0) {
            return result;
        }
        result = probe_set_gic(probe, KVM_DEV_ARM_VGIC_GRP_ADDR, gics[i].processor, &processor);
        if (result < 0) {
            return result;
        }
        return probe_set_gic(probe, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &interrupts);
    }
    return result;
}

static int probe_set_register(struct hv_probe *probe, uint64_t id, uint64_t value)
{
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)&value};

    return hv_ioctl_pointer(probe->vcpu_fd, KVM_SET_ONE_REG, &reg);
}

int hv_probe_arch_init_vcpu(struct hv_probe *probe)
{
    struct kvm_vcpu_init init = {0};
    int result;

    probe->failure = "KVM cannot set up a virtual processor of this host's kind";
    result = hv_kvm_vm_ioctl(&probe->kvm, KVM_ARM_PREFERRED_TARGET, &init);
    if (result < 0) {
        return result;
    }
    result = hv_ioctl_pointer(probe->vcpu_fd, KVM_ARM_VCPU_INIT, &init);
    if (result < 0) {
        return result;
    }

    probe->failure = "KVM's interrupt controller does not start";
    result = probe_set_gic(probe, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
    if (result < 0) {
        return result;
    }

    probe->failure = "KVM does not take the registers of a processor after reset";
    result = probe_set_register(probe, PROBE_CORE_REGISTER(regs.pc), HV_PROBE_CODE);
    if (result < 0) {
        return result;
    }
    return probe_set_register(probe, PROBE_CORE_REGISTER(regs.regs[0]), probe->gic_version);
}

/* Entry @index of the table at guest address @table. */
static void probe_set_entry(struct hv_probe *probe, uint64_t table, unsigned int index,
                            uint64_t entry)
{
    memcpy(probe->memory + (table - HV_PROBE_MEMORY_BASE) + index * sizeof(entry), &entry,
           sizeof(entry));
}

/* The first GiB as device memory; 64 KiB of RAM one to one in 4 KiB pages, except the window. */
void hv_probe_arch_fill_memory(struct hv_probe *probe)
{
    const uint64_t page = PTE_PAGE | PTE_NORMAL | PTE_INNER_SHARED | PTE_ACCESSED;
    const uint32_t first = HV_PROBE_MARK_FIRST;
    const uint32_t second = HV_PROBE_MARK_SECOND;

    probe_set_entry(probe, HV_PROBE_L1, 0,
                    PTE_BLOCK | PTE_DEVICE | PTE_ACCESSED | PTE_NEVER_EXECUTE);
    probe_set_entry(probe, HV_PROBE_L1, HV_PROBE_MEMORY_BASE >> 30, HV_PROBE_L2 | PTE_TABLE);
    probe_set_entry(probe, HV_PROBE_L2, 0, HV_PROBE_L3 | PTE_TABLE);
    for (unsigned int i = 0; i < HV_PROBE_MEMORY_SIZE >> 12; i++) {
        probe_set_entry(probe, HV_PROBE_L3, i, (HV_PROBE_MEMORY_BASE + (i << 12)) | page);
    }
    probe_set_entry(probe, HV_PROBE_L3, (HV_PROBE_WINDOW >> 12) & 511, HV_PROBE_FRAME_FIRST | page);

    memcpy(probe->memory + (HV_PROBE_FRAME_FIRST - HV_PROBE_MEMORY_BASE), &first, sizeof(first));
    memcpy(probe->memory + (HV_PROBE_FRAME_SECOND - HV_PROBE_MEMORY_BASE), &second, sizeof(second));
}

bool hv_probe_arch_decode_report(const struct hv_probe *probe, uint32_t *ret_report)
{
    const struct kvm_run *run = probe->run;

    if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write ||
        run->mmio.phys_addr != HV_PROBE_ADDRESS || run->mmio.len != sizeof(*ret_report)) {
        return false;
    }
    memcpy(ret_report, run->mmio.data, sizeof(*ret_report));
    return true;
}

const char *hv_probe_arch_failure(uint32_t last_step)
{
    switch (last_step) {
    case HV_PROBE_STEP_NONE:
        return "stock kernels do not boot on this KVM (the first instructions after reset failed)";
    case HV_PROBE_STEP_RESET:
        return "stock kernels do not boot on this KVM (switching the MMU on at EL1 failed)";
    case HV_PROBE_STEP_MODE: return "stock kernels do not boot on this KVM (Advanced SIMD failed)";
    case HV_PROBE_STEP_VECTOR:
        return "stock kernels do not boot on this KVM (an exclusive pair, ldaxp and stlxp, failed)";
    case HV_PROBE_STEP_ATOMIC:
        return "stock kernels do not boot on this KVM (changing a page-table entry failed)";
    case HV_PROBE_STEP_PAGE_TABLE:
        return "KVM gave the guest no timer interrupt: stock kernels do not boot";
    default:
        return "stock kernels do not boot on this KVM (the guest did not go on after a timer "
               "interrupt)";
    }
}
