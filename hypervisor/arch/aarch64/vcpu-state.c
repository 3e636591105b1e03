/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a vCPU is and where it begins, and what happens to its clock while the machine is paused.
 *
 * vCPU 0 starts at the kernel's entry, the others switched off, until the guest calls PSCI CPU_ON,
 * which KVM serves. SYSTEM_OFF and SYSTEM_RESET of PSCI leave KVM_RUN as system events, which the
 * common run loop knows.
 */
#include <linux/kvm.h>
#include <stddef.h>

#include "hypervisor/arch/aarch64/aarch64-private.h"
#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/machine/machine-private.h"

/* A register of struct kvm_regs. */
#define CORE_REGISTER(member)                                                                      \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(member))

#define REGISTER_MPIDR_EL1        ARM64_SYS_REG(3, 0, 0, 0, 5)
#define REGISTER_ID_AA64MMFR0_EL1 ARM64_SYS_REG(3, 0, 0, 7, 0)

unsigned int hv_arm64_ipa_bits(const struct hv_kvm *kvm)
{
    int limit = hv_kvm_check(kvm, KVM_CAP_ARM_VM_IPA_SIZE);

    /* Before the capability existed (Linux 4.20), it was 40 bits or nothing. */
    return limit >= (int)HV_ARM_IPA_BITS_MIN && limit < (int)HV_ARM_IPA_BITS_MAX
               ? (unsigned int)limit
               : HV_ARM_IPA_BITS_MAX;
}

unsigned long hv_arch_vm_type(const struct hv_kvm *kvm)
{
    unsigned int bits = hv_arm64_ipa_bits(kvm);

    /* 40 bits are called 0, which the oldest kernels understand too. */
    return bits == HV_ARM_IPA_BITS_MAX ? 0 : KVM_VM_TYPE_ARM_IPA_SIZE(bits);
}

int hv_arm64_get_register(const struct hv_vcpu *vcpu, uint64_t id, uint64_t *ret_value)
{
    uint64_t value = 0;
    struct kvm_one_reg request = {.id = id, .addr = (uint64_t)(uintptr_t)&value};
    int error = hv_vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &request);

    if (error < 0) {
        return error;
    }
    *ret_value = value;
    return 0;
}

int hv_arm64_set_register(const struct hv_vcpu *vcpu, uint64_t id, uint64_t value)
{
    struct kvm_one_reg request = {.id = id, .addr = (uint64_t)(uintptr_t)&value};
    int error = hv_vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &request);

    return error < 0 ? error : 0;
}

int hv_arm64_get_affinity(const struct hv_vcpu *vcpu, uint64_t *ret_mpidr)
{
    return hv_arm64_get_register(vcpu, REGISTER_MPIDR_EL1, ret_mpidr);
}

int hv_arm64_has_page_size(const struct hv_vcpu *vcpu, uint64_t page_size, bool *ret_has)
{
    uint64_t features;
    int error = hv_arm64_get_register(vcpu, REGISTER_ID_AA64MMFR0_EL1, &features);

    if (error < 0) {
        return error;
    }
    /* TGran4 and TGran64: 0xf is "no"; TGran16: 0 is. */
    switch (page_size) {
    case 4096: *ret_has = (features >> 28 & 0xf) != 0xf; break;
    case 16384: *ret_has = (features >> 20 & 0xf) != 0; break;
    case 65536: *ret_has = (features >> 24 & 0xf) != 0xf; break;
    default: *ret_has = false; break;
    }
    return 0;
}

static void add_feature(struct kvm_vcpu_init *init, unsigned int feature)
{
    init->features[feature / 32] |= 1u << feature % 32;
}

int hv_arch_init_vcpu(struct hv_machine *machine, struct hv_vcpu *vcpu)
{
    const struct hv_kvm *kvm = &machine->kvm;
    struct kvm_vcpu_init init = {0};
    int error = hv_kvm_vm_ioctl(kvm, KVM_ARM_PREFERRED_TARGET, &init);

    if (error < 0) {
        return error;
    }
    add_feature(&init, KVM_ARM_VCPU_PSCI_0_2); /* or later: KVM's latest */
    if (vcpu->index) {
        add_feature(&init, KVM_ARM_VCPU_POWER_OFF);
    }
    /* Pointer authentication, which KVM gives whole or not at all. */
    if (hv_kvm_check(kvm, KVM_CAP_ARM_PTRAUTH_ADDRESS) &&
        hv_kvm_check(kvm, KVM_CAP_ARM_PTRAUTH_GENERIC)) {
        add_feature(&init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
        add_feature(&init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
    }
    error = hv_vcpu_ioctl(vcpu, KVM_ARM_VCPU_INIT, &init);
    return error < 0 ? error : 0;
}

int hv_arm64_set_entry(const struct hv_vcpu *vcpu, uint64_t entry, uint64_t fdt_address)
{
    const struct {
        uint64_t id;
        uint64_t value;
    } registers[] = {
        {CORE_REGISTER(regs.regs[0]), fdt_address},
        {CORE_REGISTER(regs.regs[1]), 0},
        {CORE_REGISTER(regs.regs[2]), 0},
        {CORE_REGISTER(regs.regs[3]), 0},
        {CORE_REGISTER(regs.pc), entry},
    };

    /* PSTATE after KVM_ARM_VCPU_INIT is what the protocol asks for: EL1h, all exceptions masked. */
    for (size_t i = 0; i < HV_ARRAY_SIZE(registers); i++) {
        int error = hv_arm64_set_register(vcpu, registers[i].id, registers[i].value);

        if (error < 0) {
            return error;
        }
    }
    return 0;
}

/*
 * A pause holds the guest's virtual counter: the guest does not notice that it was paused. The
 * alternative, letting it run on, would make every timer of the guest late at once and its
 * watchdogs report CPUs stuck for the length of the pause: arm64 has no way to tell a guest that it
 * was paused, as kvm-clock on x86 does. The price is a wall clock in the guest that is behind by
 * that length afterwards; it is for time synchronization or the guest agent to step it, and the
 * RTC tells the right time.
 *
 * KVM keeps one offset for all vCPUs of a VM, hence vCPU 0 stands for all. Timers of a vCPU that is
 * not in KVM_RUN do not fire; their deadlines are compared with the counter, so they move with it.
 * Only the virtual counter is held; guests without EL2 use no other.
 */
void hv_arch_paused(struct hv_machine *machine)
{
    struct hv_arch *arch = machine->arch;

    arch->is_counter_held =
        hv_arm64_get_register(machine->vcpus[0], KVM_REG_ARM_TIMER_CNT, &arch->held_counter) == 0;
}

void hv_arch_resuming(struct hv_machine *machine)
{
    struct hv_arch *arch = machine->arch;
    int error;

    if (!arch->is_counter_held) {
        return;
    }
    arch->is_counter_held = false;
    error = hv_arm64_set_register(machine->vcpus[0], KVM_REG_ARM_TIMER_CNT, arch->held_counter);
    if (error < 0) {
        hv_log(&machine->log, LOG_WARNING,
               "the guest's counter cannot be set back after the pause: errno %d", -error);
    }
}

int hv_arch_handle_exit(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    struct kvm_vcpu_events events = {.exception.ext_dabt_pending = 1};
    int error;

    if (vcpu->run->exit_reason != KVM_EXIT_ARM_NISV) {
        return 0;
    }
    /*
     * An access to device memory by an instruction that the processor does not decode for the
     * hypervisor. Real devices would answer some of them; drivers do not use them. The guest gets
     * the abort that hardware reports for an address where nothing answers.
     */
    hv_log_limited(&machine->log, &machine->guest_limit, LOG_WARNING,
                   "vCPU %u: an access to 0x%llx that cannot be decoded", vcpu->index,
                   (unsigned long long)vcpu->run->arm_nisv.fault_ipa);
    error = hv_vcpu_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events);
    return error < 0 ? error : 1;
}
