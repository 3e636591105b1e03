/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM before it has vCPUs: KVM's local APICs and I/O APIC, and two addresses that KVM wants to
 * know. KVM_CREATE_IRQCHIP brings the two 8259 as well and no 8254: a guest that finds
 * hardware-reduced ACPI, KVM's clock and a TSC deadline timer needs none.
 *
 * Nobody initialises the 8259s, yet KVM starts with all their inputs unmasked and the first vCPU
 * listening to them (LINT0). Interrupt lines therefore lead to the I/O APIC alone: left to KVM's
 * first routing, every interrupt below 16 would arrive a second time, as an exception vector.
 */
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/arch/x86_64/x86.h"
#include "hypervisor/machine/machine-private.h"
#include "hypervisor/pci/pci-host.h"

unsigned int hv_arch_max_vcpus(const struct hv_kvm *kvm)
{
    return (unsigned int)hv_min_u64(kvm->max_vcpus, HV_MACHINE_MAX_VCPUS);
}

unsigned long hv_arch_vm_type(const struct hv_kvm *kvm)
{
    return 0;
}

int hv_arch_init_vm(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    const uint64_t identity_map = HV_X86_IDENTITY_MAP_ADDRESS;
    const struct hv_kvm *kvm = &machine->kvm;
    int error;

    if (!hv_kvm_check(kvm, KVM_CAP_IRQCHIP)) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm",
                             "this KVM has no interrupt controller in the kernel");
    }
    if (!hv_kvm_check(kvm, KVM_CAP_EXT_CPUID)) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm", "this KVM cannot list CPUID");
    }
    error = hv_kvm_vm_ioctl(kvm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (error == 0) {
        error = hv_kvm_vm_ioctl_value(kvm, KVM_SET_TSS_ADDR, HV_X86_TSS_ADDRESS);
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused its place in memory");
    }
    error = hv_kvm_vm_ioctl_value(kvm, KVM_CREATE_IRQCHIP, 0);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm",
                             "KVM refused to create an interrupt controller");
    }
    /* Configuration mechanism 1 writes the address before each access to the data. */
    error = hv_kvm_coalesce_ports(kvm, HV_PCI_CONFIG_ADDRESS_PORT, sizeof(uint32_t));
    if (error < 0 && error != -EOPNOTSUPP) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused to coalesce port writes");
    }
    if (hv_kvm_check(kvm, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE) {
        const uint64_t arguments[4] = {KVM_PMU_CAP_DISABLE};

        error = hv_kvm_enable(kvm, KVM_CAP_PMU_CAPABILITY, arguments);
        if (error < 0) {
            return hv_reason_set(ret_reason, error, "kvm",
                                 "KVM refused to switch performance counters off");
        }
    }
    return 0;
}

/* Each GSI to the pin of the same number. Message-signalled interrupts will add their routes here. */
static int set_routes(const struct hv_kvm *kvm)
{
    HV_AUTO_FREE struct kvm_irq_routing *routes =
        calloc(1, sizeof(*routes) + HV_X86_IO_APIC_PIN_COUNT * sizeof(routes->entries[0]));

    if (!routes) {
        return -ENOMEM;
    }
    routes->nr = HV_X86_IO_APIC_PIN_COUNT;
    for (uint32_t pin = 0; pin < HV_X86_IO_APIC_PIN_COUNT; pin++) {
        routes->entries[pin] = (struct kvm_irq_routing_entry){
            .gsi = pin,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = pin},
        };
    }
    return hv_kvm_vm_ioctl(kvm, KVM_SET_GSI_ROUTING, routes);
}

int hv_arch_init_irqchip(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    struct hv_arch *arch = machine->arch;
    int error = set_routes(&machine->kvm);

    if (error == 0) {
        error = hv_irq_line_attach(&arch->serial_irq, &machine->kvm);
    }
    if (error == 0) {
        error = hv_irq_line_attach(&arch->power_button, &machine->kvm);
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused an interrupt line");
    }
    return 0;
}
