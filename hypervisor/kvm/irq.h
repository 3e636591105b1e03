/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupt lines into the in-kernel interrupt controller.
 *
 * An edge line is an eventfd that KVM listens to (irqfd): any thread raises it with one write(),
 * without a lock and without knowing which VM is behind it. The eventfd lives as long as the
 * device; a reset attaches it to the new VM.
 *
 * @gsi is KVM's global number: x86: the I/O APIC pin; arm64: the SPI minus 32.
 *
 * A level line needs a resample descriptor beside it; no device of ours uses one yet.
 */
#pragma once

#include <stdint.h>

struct hv_kvm;

/* Zeroed memory is not a valid line: descriptor 0. Use hv_irq_line_init(). */
struct hv_irq_line {
    int event_fd; /* const */
    uint32_t gsi; /* const */
};

/* Creates the eventfd. The line is attached to nothing: raising it is remembered by no one. */
int hv_irq_line_init(struct hv_irq_line *line, uint32_t gsi);
/* Accepts NULL. */
void hv_irq_line_fini(struct hv_irq_line *line);
/*
 * Gives the line to the present VM, for each build of the machine; what was raised before is
 * forgotten. Closing the VM detaches it.
 */
int hv_irq_line_attach(struct hv_irq_line *line, const struct hv_kvm *kvm);
/* One edge. Any thread; never blocks. */
void hv_irq_line_raise(const struct hv_irq_line *line);
