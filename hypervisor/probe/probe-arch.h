/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the probe asks of an architecture. probe-x86_64.c and probe-aarch64.c define these same
 * functions; the build compiles one of the two.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/kvm/kvm.h"

/* A probe under way. Descriptors are -1 and mappings NULL while they do not exist. */
struct hv_probe {
    struct hv_kvm kvm;
    int vcpu_fd;
    int irqchip_fd;       /* aarch64: the GIC; x86 needs none */
    uint32_t gic_version; /* aarch64: 2 or 3 */
    uint8_t *memory;      /* HV_PROBE_MEMORY_SIZE bytes, guest address HV_PROBE_MEMORY_BASE */
    struct kvm_run *run;  /* kvm.vcpu_mmap_size bytes */
    const char *failure;  /* what to say if the call under way fails; static */
};

/* The code between these two is copied to HV_PROBE_CODE. */
extern const uint8_t hv_probe_payload[];
extern const uint8_t hv_probe_payload_end[];

/*
 * Called in this order: VM made; vCPU made; memory filled with the payload. Each sets probe->failure
 * before a call that may fail, and returns 0 or a negative errno.
 */
int hv_probe_arch_init_vm(struct hv_probe *probe);
int hv_probe_arch_init_vcpu(struct hv_probe *probe);
void hv_probe_arch_fill_memory(struct hv_probe *probe);

/* Whether the exit in probe->run is a report of the payload, and if so which. */
bool hv_probe_arch_decode_report(const struct hv_probe *probe, uint32_t *ret_report);

/* The verdict when the payload ended after @last_step, one of HV_PROBE_STEP_*. Static. */
const char *hv_probe_arch_failure(uint32_t last_step);
