/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of arch/x86_64/ share; nobody else includes it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hypervisor/arch/x86_64/cpuid.h"
#include "hypervisor/kvm/irq.h"

struct hv_kvm;
struct hv_machine;
struct hv_pci_host;
struct hv_reason;
struct hv_serial_16550;
struct hv_vcpu;

struct hv_arch {
    struct hv_machine *machine;      /* const */
    struct hv_pci_host *pci;         /* const */
    struct hv_serial_16550 *serial;  /* const */
    struct hv_irq_line serial_irq;   /* const */
    struct hv_irq_line power_button; /* const */
};

/* vcpu-state.c */

/* KVM_GET_SUPPORTED_CPUID as a plain table. */
int hv_x86_supported_cpuid(const struct hv_kvm *kvm, struct hv_cpuid *ret_cpuid);
/* 64-bit mode at @entry, low 4 GiB mapped to themselves, boot_params in %rsi. */
int hv_x86_enter_linux(struct hv_machine *machine, struct hv_vcpu *vcpu, uint64_t entry);
/* 32-bit protected mode without paging at @entry, hvm_start_info in %ebx. */
int hv_x86_enter_pvh(struct hv_machine *machine, struct hv_vcpu *vcpu, uint64_t entry);

/* tables.c */

/* Builds the ACPI tables and writes them; *ret_rsdp is the address for the boot loader's fields. */
int hv_x86_write_tables(struct hv_machine *machine, uint64_t *ret_rsdp);
