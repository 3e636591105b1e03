/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VM descriptor and what it offers; see kvm.h. */
#include "hypervisor/kvm/kvm.h"

#include <sys/ioctl.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/memory/guest-memory.h"

int hv_ioctl(int fd, unsigned long request, unsigned long argument)
{
    int result;

    do {
        result = ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

/* Where the ring of coalesced writes is in the mapping of a vCPU; 0 when there is none for ports. */
static size_t write_ring_offset(int kvm_fd, size_t mmap_size)
{
    size_t page_size = hv_host_page_size();
    int page = hv_ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

    if (page <= 0 || hv_ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0 ||
        !hv_range_fits((size_t)page * page_size, page_size, mmap_size)) {
        return 0;
    }
    return (size_t)page * page_size;
}

int hv_kvm_init(struct hv_kvm *kvm, int kvm_fd, struct hv_reason *ret_reason)
{
    static const struct {
        unsigned int capability;
        const char *text;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "this KVM has no user memory regions"},
        {KVM_CAP_IRQFD, "this KVM cannot raise interrupts by eventfd"},
        {KVM_CAP_IOEVENTFD, "this KVM cannot report guest writes by eventfd"},
        {KVM_CAP_IMMEDIATE_EXIT, "this KVM cannot be interrupted (no immediate_exit)"},
    };
    int version = hv_ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
    int mmap_size, max_vcpus;

    if (version < 0) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm", "the descriptor is not /dev/kvm");
    }
    if (version != KVM_API_VERSION) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm", "this KVM speaks another API version");
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(needed); i++) {
        if (hv_ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].capability) <= 0) {
            return hv_reason_set(ret_reason, -ENODEV, "kvm", needed[i].text);
        }
    }
    mmap_size = hv_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (mmap_size < (int)sizeof(struct kvm_run)) {
        return hv_reason_set(ret_reason, -ENODEV, "kvm", "this KVM's vCPU page is too small");
    }
    /* 4 is what the documentation says to assume when KVM does not tell. */
    max_vcpus = hv_ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (max_vcpus <= 0) {
        max_vcpus = hv_ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
    }
    *kvm = (struct hv_kvm){
        .fd = kvm_fd,
        .vm_fd = -1,
        .vcpu_mmap_size = (size_t)mmap_size,
        .max_vcpus = max_vcpus > 0 ? (unsigned int)max_vcpus : 4,
        .write_ring_offset = write_ring_offset(kvm_fd, (size_t)mmap_size),
    };
    return 0;
}

void hv_kvm_fini(struct hv_kvm *kvm)
{
    if (kvm) {
        hv_kvm_close_vm(kvm);
    }
}

int hv_kvm_open_vm(struct hv_kvm *kvm, unsigned long type)
{
    int fd;

    if (kvm->vm_fd >= 0) {
        return -EBUSY;
    }
    fd = hv_ioctl(kvm->fd, KVM_CREATE_VM, type);
    if (fd < 0) {
        return fd;
    }
    kvm->vm_fd = fd;
    return 0;
}

void hv_kvm_close_vm(struct hv_kvm *kvm)
{
    hv_close_fd(&kvm->vm_fd);
}

int hv_kvm_check(const struct hv_kvm *kvm, unsigned int capability)
{
    int value = hv_ioctl(kvm->vm_fd >= 0 ? kvm->vm_fd : kvm->fd, KVM_CHECK_EXTENSION, capability);

    return value > 0 ? value : 0;
}

int hv_kvm_enable(const struct hv_kvm *kvm, uint32_t capability, const uint64_t arguments[4])
{
    struct kvm_enable_cap enable = {.cap = capability};

    memcpy(enable.args, arguments, sizeof(enable.args));
    return hv_kvm_vm_ioctl(kvm, KVM_ENABLE_CAP, &enable);
}

int hv_kvm_vm_ioctl(const struct hv_kvm *kvm, unsigned long request, const void *argument)
{
    return hv_ioctl_pointer(kvm->vm_fd, request, argument);
}

int hv_kvm_vm_ioctl_value(const struct hv_kvm *kvm, unsigned long request, unsigned long value)
{
    return hv_ioctl(kvm->vm_fd, request, value);
}

int hv_kvm_coalesce_ports(const struct hv_kvm *kvm, uint16_t port, uint32_t size)
{
    const struct kvm_coalesced_mmio_zone zone = {.addr = port, .size = size, .pio = 1};

    if (kvm->write_ring_offset == 0) {
        return -EOPNOTSUPP;
    }
    return hv_kvm_vm_ioctl(kvm, KVM_REGISTER_COALESCED_MMIO, &zone);
}

int hv_kvm_map_memory(const struct hv_kvm *kvm, const struct hv_memory *memory)
{
    const struct hv_memory_layout *layout = hv_memory_layout(memory);

    for (unsigned int i = 0; i < layout->region_count; i++) {
        struct kvm_userspace_memory_region slot = {
            .slot = i,
            .guest_phys_addr = layout->regions[i].address,
            .memory_size = layout->regions[i].size,
            .userspace_addr = (uint64_t)(uintptr_t)layout->regions[i].host,
        };
        int error = hv_kvm_vm_ioctl(kvm, KVM_SET_USER_MEMORY_REGION, &slot);

        if (error < 0) {
            return error;
        }
    }
    return 0;
}
