/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest writes that end in an eventfd; see ioeventfd.h. */
#include "hypervisor/kvm/ioeventfd.h"

#include <sys/eventfd.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/kvm/kvm.h"

int hv_ioeventfd_init(struct hv_ioeventfd *notify)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        return -errno;
    }
    *notify = (struct hv_ioeventfd){.event_fd = fd};
    return 0;
}

void hv_ioeventfd_fini(struct hv_ioeventfd *notify)
{
    if (notify) {
        hv_close_fd(&notify->event_fd);
    }
}

static int assign(const struct hv_ioeventfd *notify, const struct hv_kvm *kvm, uint32_t flags)
{
    struct kvm_ioeventfd request = {
        .datamatch = notify->data,
        .addr = notify->address,
        .len = notify->length,
        .fd = notify->event_fd,
        .flags = flags | (notify->is_pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (notify->has_data ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
    };

    return hv_kvm_vm_ioctl(kvm, KVM_IOEVENTFD, &request);
}

int hv_ioeventfd_attach(struct hv_ioeventfd *notify, const struct hv_kvm *kvm, bool is_pio,
                        uint64_t address, uint32_t length, const uint64_t *data)
{
    struct hv_ioeventfd attached = {
        .event_fd = notify->event_fd,
        .is_attached = true,
        .is_pio = is_pio,
        .has_data = data != NULL,
        .length = length,
        .address = address,
        .data = data ? *data : 0,
    };
    int error;

    if (notify->is_attached) {
        return -EBUSY;
    }
    hv_ioeventfd_take(notify);
    error = assign(&attached, kvm, 0);
    if (error < 0) {
        return error;
    }
    *notify = attached;
    return 0;
}

int hv_ioeventfd_detach(struct hv_ioeventfd *notify, const struct hv_kvm *kvm)
{
    int error;

    if (!notify->is_attached) {
        return -ENOENT;
    }
    error = assign(notify, kvm, KVM_IOEVENTFD_FLAG_DEASSIGN);
    if (error < 0) {
        return error;
    }
    notify->is_attached = false;
    return 0;
}

void hv_ioeventfd_forget(struct hv_ioeventfd *notify)
{
    notify->is_attached = false;
}

uint64_t hv_ioeventfd_take(const struct hv_ioeventfd *notify)
{
    uint64_t count;

    return read(notify->event_fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}
