/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The in-kernel interrupt controller: GICv3 where KVM can make one, else GICv2.
 *
 * KVM offers what the host's own controller can virtualize: GICv3 on most servers, GICv2 on boards
 * with a GIC-400 such as the Raspberry Pi 5. No capability tells which; trying does. Some kernels
 * have /dev/kvm and neither, because the device tree names no maintenance interrupt for the GIC.
 *
 * The descriptor of the controller is closed once it is set up: it belongs to the VM and lives as
 * long, while an open descriptor would keep the VM alive over a reset.
 */
#include <linux/kvm.h>

#include "hypervisor/arch/aarch64/aarch64-private.h"
#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/machine/machine-private.h"

static bool can_create(const struct hv_kvm *kvm, uint32_t type)
{
    struct kvm_create_device request = {.type = type, .flags = KVM_CREATE_DEVICE_TEST};

    return hv_kvm_vm_ioctl(kvm, KVM_CREATE_DEVICE, &request) >= 0;
}

static enum hv_gic_version find_gic(const struct hv_kvm *kvm)
{
    if (can_create(kvm, KVM_DEV_TYPE_ARM_VGIC_V3)) {
        return HV_GIC_V3;
    }
    return can_create(kvm, KVM_DEV_TYPE_ARM_VGIC_V2) ? HV_GIC_V2 : HV_GIC_NONE;
}

unsigned int hv_arch_max_vcpus(const struct hv_kvm *kvm)
{
    /* KVM's own limit is 8 where GICv2 is all it has. */
    return (unsigned int)hv_min_u64(kvm->max_vcpus, HV_MACHINE_MAX_VCPUS);
}

int hv_arch_init_vm(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    static const uint64_t no_arguments[4];
    struct hv_arch *arch = machine->arch;

    arch->gic = find_gic(&machine->kvm);
    if (arch->gic == HV_GIC_NONE) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm",
                             "this kernel's device tree gives KVM no interrupt controller; update "
                             "the kernel or its device tree");
    }
    if (arch->gic == HV_GIC_V2 && machine->vcpu_count > HV_ARM_GICV2_MAX_VCPUS) {
        return hv_reason_set(ret_reason, -EINVAL, "cpu_count",
                             "is more than the 8 that KVM's interrupt controller on this host "
                             "(GICv2) can serve");
    }
    /*
     * A load or store that the processor does not describe (a pair, say) ends in an exit instead of
     * a failure of KVM_RUN; see hv_arch_handle_exit(). Kernels before 5.5 know neither.
     */
    if (hv_kvm_check(&machine->kvm, KVM_CAP_ARM_NISV_TO_USER) &&
        hv_kvm_check(&machine->kvm, KVM_CAP_ARM_INJECT_EXT_DABT)) {
        int error = hv_kvm_enable(&machine->kvm, KVM_CAP_ARM_NISV_TO_USER, no_arguments);

        if (error < 0) {
            return hv_reason_set(ret_reason, error, "kvm",
                                 "KVM refused to report accesses that cannot be decoded");
        }
    }
    return 0;
}

static int set_attribute(int fd, uint32_t group, uint64_t attribute, const void *value)
{
    struct kvm_device_attr request = {
        .group = group,
        .attr = attribute,
        .addr = (uint64_t)(uintptr_t)value,
    };

    return hv_ioctl_pointer(fd, KVM_SET_DEVICE_ATTR, &request);
}

static int set_up_gic(int fd, enum hv_gic_version version)
{
    const bool is_v2 = version == HV_GIC_V2;
    const uint64_t distributor = HV_ARM_GIC_DISTRIBUTOR_ADDRESS;
    const uint64_t per_cpu = is_v2 ? HV_ARM_GICV2_CPU_ADDRESS : HV_ARM_GICV3_REDISTRIBUTOR_ADDRESS;
    const uint32_t count = HV_ARM_PRIVATE_IRQ_COUNT + HV_ARM_SPI_COUNT;
    int error;

    error = set_attribute(fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &count);
    if (error < 0) {
        return error;
    }
    error = set_attribute(fd, KVM_DEV_ARM_VGIC_GRP_ADDR,
                          is_v2 ? KVM_VGIC_V2_ADDR_TYPE_DIST : KVM_VGIC_V3_ADDR_TYPE_DIST,
                          &distributor);
    if (error < 0) {
        return error;
    }
    /* Of GICv3: one redistributor for each vCPU, in a row from there. */
    error =
        set_attribute(fd, KVM_DEV_ARM_VGIC_GRP_ADDR,
                      is_v2 ? KVM_VGIC_V2_ADDR_TYPE_CPU : KVM_VGIC_V3_ADDR_TYPE_REDIST, &per_cpu);
    if (error < 0) {
        return error;
    }
    return set_attribute(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
}

/* The vCPUs exist by now: their number is part of the controller. */
int hv_arch_init_irqchip(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    struct hv_arch *arch = machine->arch;
    struct kvm_create_device request = {
        .type = arch->gic == HV_GIC_V2 ? KVM_DEV_TYPE_ARM_VGIC_V2 : KVM_DEV_TYPE_ARM_VGIC_V3,
    };
    HV_AUTO_FD int fd = -1;
    int error;

    error = hv_kvm_vm_ioctl(&machine->kvm, KVM_CREATE_DEVICE, &request);
    if (error >= 0) {
        fd = (int)request.fd;
        error = set_up_gic(fd, arch->gic);
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm",
                             "KVM refused the set-up of its interrupt controller");
    }
    error = hv_irq_line_attach(&arch->uart_line, &machine->kvm);
    if (error >= 0) {
        error = hv_irq_line_attach(&arch->gpio_line, &machine->kvm);
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused an interrupt line");
    }
    return 0;
}
