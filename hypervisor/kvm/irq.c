/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Edge lines by irqfd; see irq.h. */
#include "hypervisor/kvm/irq.h"

#include <sys/eventfd.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/kvm/kvm.h"

int hv_irq_line_init(struct hv_irq_line *line, uint32_t gsi)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        return -errno;
    }
    *line = (struct hv_irq_line){.event_fd = fd, .gsi = gsi};
    return 0;
}

void hv_irq_line_fini(struct hv_irq_line *line)
{
    if (line) {
        hv_close_fd(&line->event_fd);
    }
}

int hv_irq_line_attach(struct hv_irq_line *line, const struct hv_kvm *kvm)
{
    struct kvm_irqfd request = {.fd = (uint32_t)line->event_fd, .gsi = line->gsi};
    uint64_t stale;

    /* What was raised while no VM listened would be injected at once. */
    if (read(line->event_fd, &stale, sizeof(stale)) < 0 && errno != EAGAIN) {
        return -errno;
    }
    return hv_kvm_vm_ioctl(kvm, KVM_IRQFD, &request);
}

void hv_irq_line_raise(const struct hv_irq_line *line)
{
    uint64_t one = 1;
    ssize_t written;

    do {
        written = write(line->event_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
}
