/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of arch/aarch64/ share: the platform of one machine, and registers of a vCPU. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hypervisor/arch/aarch64/tables.h"
#include "hypervisor/kvm/irq.h"

struct hv_kvm;
struct hv_pci_host;
struct hv_pl011;
struct hv_pl031;
struct hv_pl061;
struct hv_vcpu;

struct hv_arch {
    struct hv_pl011 *uart;        /* const */
    struct hv_pl031 *rtc;         /* const */
    struct hv_pl061 *gpio;        /* const */
    struct hv_pci_host *pci;      /* const */
    struct hv_irq_line uart_line; /* const */
    struct hv_irq_line gpio_line; /* const */

    enum hv_gic_version gic; /* main: of the present VM */

    bool is_counter_held;  /* main: the machine is paused, and ... */
    uint64_t held_counter; /* main: ... this is where its virtual counter stood */
};

/* How many bits the guest-physical addresses of a VM on this host have. */
unsigned int hv_arm64_ipa_bits(const struct hv_kvm *kvm);

/* KVM_GET_ONE_REG and KVM_SET_ONE_REG of registers of 64 bits. The vCPU is parked. */
int hv_arm64_get_register(const struct hv_vcpu *vcpu, uint64_t id, uint64_t *ret_value);
int hv_arm64_set_register(const struct hv_vcpu *vcpu, uint64_t id, uint64_t value);

/* MPIDR_EL1, which KVM derives from the vCPU's number. */
int hv_arm64_get_affinity(const struct hv_vcpu *vcpu, uint64_t *ret_mpidr);
/* Whether the vCPU's MMU knows pages of @page_size (4, 16 or 64 KiB). */
int hv_arm64_has_page_size(const struct hv_vcpu *vcpu, uint64_t page_size, bool *ret_has);
/* PC and X0 to X3 as the boot protocol of Linux wants them. */
int hv_arm64_set_entry(const struct hv_vcpu *vcpu, uint64_t entry, uint64_t fdt_address);
