/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest write that ends in the kernel: KVM adds one to an eventfd instead of leaving to user
 * space. This is how queues of a device will be notified.
 *
 * The eventfd lives as long as its device; attach() is called for each build of the machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hv_kvm;

struct hv_ioeventfd {
    int event_fd;     /* non-blocking, owned */
    bool is_attached; /* main */
    bool is_pio;
    bool has_data;
    uint32_t length; /* 0 (any), 1, 2, 4 or 8 */
    uint64_t address;
    uint64_t data;
};

/* Creates the eventfd; the rest is given to attach(). */
int hv_ioeventfd_init(struct hv_ioeventfd *notify);
/* Accepts NULL; the VM is gone or the event was detached. */
void hv_ioeventfd_fini(struct hv_ioeventfd *notify);

/*
 * @length 0 matches a write of any size. @data: NULL matches any value. -EBUSY: attached already.
 */
int hv_ioeventfd_attach(struct hv_ioeventfd *notify, const struct hv_kvm *kvm, bool is_pio,
                        uint64_t address, uint32_t length, const uint64_t *data);
/* Before the guest may use the address for something else. */
int hv_ioeventfd_detach(struct hv_ioeventfd *notify, const struct hv_kvm *kvm);
/* The VM was closed: nothing is attached any more. */
void hv_ioeventfd_forget(struct hv_ioeventfd *notify);
/* The number of writes since the last call; 0 when there were none. */
uint64_t hv_ioeventfd_take(const struct hv_ioeventfd *notify);
