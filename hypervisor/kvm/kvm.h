/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One KVM virtual machine, from a borrowed /dev/kvm descriptor: capabilities, the VM descriptor,
 * memory slots.
 *
 * A machine outlives its VM: a reset closes the VM and creates another one with the same
 * struct hv_kvm, hence open_vm() and close_vm() beside init(). All fields belong to the main loop;
 * vCPU threads may read them while they run, because nothing changes then.
 */
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/reason.h"

struct hv_memory;

struct hv_kvm {
    int fd;                   /* /dev/kvm, borrowed */
    int vm_fd;                /* -1: no VM */
    size_t vcpu_mmap_size;    /* of struct kvm_run and what follows */
    unsigned int max_vcpus;   /* KVM_CAP_MAX_VCPUS */
    size_t write_ring_offset; /* in the mapping of each vCPU: coalesced writes; 0: KVM has none */
};

/* ioctl(), again on EINTR; the result or a negative errno. Never use it for KVM_RUN. */
int hv_ioctl(int fd, unsigned long request, unsigned long argument);
static inline int hv_ioctl_pointer(int fd, unsigned long request, const void *argument)
{
    return hv_ioctl(fd, request, (unsigned long)(uintptr_t)argument);
}

/*
 * Checks API version and the capabilities that every machine needs. -ENODEV with a reason of field
 * "kvm".
 */
int hv_kvm_init(struct hv_kvm *kvm, int kvm_fd, struct hv_reason *ret_reason);
/* Closes the VM if there is one. Accepts NULL and zeroed-by-init memory. */
void hv_kvm_fini(struct hv_kvm *kvm);

/* KVM_CREATE_VM; @type as hv_arch_vm_type() says. -EBUSY when there is one. */
int hv_kvm_open_vm(struct hv_kvm *kvm, unsigned long type);
/* vCPUs and devices are closed by then. */
void hv_kvm_close_vm(struct hv_kvm *kvm);

/* KVM_CHECK_EXTENSION, of the VM if there is one, else of the system. 0: absent. */
int hv_kvm_check(const struct hv_kvm *kvm, unsigned int capability);
/* KVM_ENABLE_CAP of the VM. */
int hv_kvm_enable(const struct hv_kvm *kvm, uint32_t capability, const uint64_t arguments[4]);

/* ioctl on the VM descriptor: the result or a negative errno. */
int hv_kvm_vm_ioctl(const struct hv_kvm *kvm, unsigned long request, const void *argument);
/* The same for requests whose argument is a number, not a pointer. */
int hv_kvm_vm_ioctl_value(const struct hv_kvm *kvm, unsigned long request, unsigned long value);

/*
 * Writes to these x86 ports wait in KVM's ring instead of each being an exit
 * (Documentation/virt/kvm/api.rst, KVM_REGISTER_COALESCED_MMIO). The machine does them when any vCPU
 * next exits for a port, and at no other exit: only for registers whose write has no effect before
 * another port is accessed. -EOPNOTSUPP: this KVM cannot; every write
 * is an exit then, and nothing else changes.
 */
int hv_kvm_coalesce_ports(const struct hv_kvm *kvm, uint16_t port, uint32_t size);

/* One slot per region, slot number = index of the region. */
int hv_kvm_map_memory(const struct hv_kvm *kvm, const struct hv_memory *memory);
