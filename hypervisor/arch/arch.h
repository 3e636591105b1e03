/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the machine asks of an architecture. arch/x86_64/ and arch/aarch64/ define these same
 * functions in files of the same names (boot.c vcpu-state.c irqchip.c tables.c devices.c); the
 * build compiles one of the two. Pure builders and parsers (tables, kernel headers) depend on no
 * KVM header, so that tests and fuzzers of either machine can compile both.
 *
 * Order of calls for each build of a machine (first boot and every reset alike):
 *   hv_arch_vm_type → KVM_CREATE_VM → hv_arch_init_vm → memory slots → vCPUs created
 *   → hv_arch_init_irqchip (interrupt lines are attached here)
 *   → hv_arch_init_vcpu for each → hv_arch_load (kernel, initrd, tables; boot vCPU registers).
 * Once per machine, before the first build: hv_arch_memory_layout, hv_arch_create_devices (bus
 * regions), then the bus freezes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/machine/machine.h"

struct hv_kvm;
struct hv_machine;
struct hv_memory_layout;
struct hv_vcpu;

/*
 * The least memory of a machine, of either architecture: room for the boot structures, and what a
 * kernel of today needs to say why it cannot go on. Callers check it.
 */
#define HV_ARCH_MIN_MEMORY (UINT64_C(16) << 20)

/*
 * The platform devices and tables of one machine; defined by the architecture, owned by the
 * machine.
 */
struct hv_arch;

/*
 * The largest vCPU count of this host: 8 with GICv2, else HV_MACHINE_MAX_VCPUS capped by
 * KVM_CAP_MAX_VCPUS.
 */
unsigned int hv_arch_max_vcpus(const struct hv_kvm *kvm);

/*
 * Where RAM lies in guest-physical space. @memory_size is at least HV_ARCH_MIN_MEMORY and a multiple
 * of 1 MiB. -EINVAL with a reason when it does not fit; -ENOMEM; or the errno of KVM, with a reason.
 */
int hv_arch_memory_layout(const struct hv_kvm *kvm, uint64_t memory_size,
                          struct hv_memory_layout *ret_layout, struct hv_reason *ret_reason);

/* The argument of KVM_CREATE_VM (aarch64: the IPA size). */
unsigned long hv_arch_vm_type(const struct hv_kvm *kvm);

/* Whether there is an address space of ports (machine->pio) beside that of memory: x86 alone. */
bool hv_arch_has_ports(void);

/*
 * Makes the platform devices (serial port, power button and sleep registers, real-time clock, PCI
 * host) and registers their regions on the machine's buses. -ENOMEM, or another errno of the host
 * (descriptors) with a reason; nothing is left then.
 */
int hv_arch_create_devices(struct hv_machine *machine, struct hv_arch **ret_arch,
                           struct hv_reason *ret_reason);
/* Accepts NULL. vCPUs are gone by then. */
void hv_arch_destroy_devices(struct hv_arch *arch);
/* Back to power-on state before a rebuild. */
void hv_arch_reset_devices(struct hv_arch *arch);

/*
 * What the VM, which is new and empty, must be told before it has memory and vCPUs. -ENODEV: this KVM
 * cannot carry the machine (no interrupt controller); -EINVAL: nor so many vCPUs; or the errno of KVM.
 * Always with a reason.
 */
int hv_arch_init_vm(struct hv_machine *machine, struct hv_reason *ret_reason);
/*
 * The interrupt controller for the vCPUs that are there, and the lines of the platform devices into
 * it. The errno of KVM with a reason, or -ENOMEM.
 */
int hv_arch_init_irqchip(struct hv_machine *machine, struct hv_reason *ret_reason);
/*
 * Features and registers of a new vCPU, in the state of power-on: as @vcpu->index says, it begins or
 * waits to be started by the guest. -ENOMEM, or the errno of KVM; the caller gives the reason.
 */
int hv_arch_init_vcpu(struct hv_machine *machine, struct hv_vcpu *vcpu);

/*
 * Reads and checks the kernel, checks the command line against it, writes both, the initrd (checked
 * already: machine->initrd_size) and the tables into guest memory, and sets up vCPU 0. A negative
 * errno, with a reason.
 */
int hv_arch_load(struct hv_machine *machine, struct hv_reason *ret_reason);

/*
 * All vCPUs have parked for a pause: what the guest's clocks must be told. Main loop. Failures are
 * not worth a word: a guest without the clock in question has nothing to be told.
 */
void hv_arch_paused(struct hv_machine *machine);
/*
 * The vCPUs, still parked, are about to go on after that pause (or, if the machine was reset while
 * it was paused, to begin). Main loop.
 */
void hv_arch_resuming(struct hv_machine *machine);

/*
 * An exit that the common run loop does not know. Runs on the vCPU's thread. 1: handled, go on; 0:
 * not ours; negative: errno.
 */
int hv_arch_handle_exit(struct hv_vcpu *vcpu);

/* Main loop. */
int hv_arch_press_power_button(struct hv_arch *arch);
/* Main loop. How many bytes were taken. */
size_t hv_arch_console_input(struct hv_arch *arch, const uint8_t *data, size_t length);
/* Main loop. A break of the serial line; -EBUSY while the guest has not read the last one. */
int hv_arch_console_break(struct hv_arch *arch);
