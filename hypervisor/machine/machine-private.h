/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of a machine, for machine/ and arch/ only.
 *
 * The life of a machine is a small table: what it is doing (state) and why it is being stopped
 * (request). vCPU threads never change it; they record the first request and park themselves. The
 * main loop, woken by a task, turns the request into an order to park all vCPUs, and acts when the
 * last one has.
 *
 *   CREATED ──start──▶ RUNNING ──pause──▶ PAUSING ──all parked──▶ PAUSED ──resume──▶ RUNNING
 *                         │                  │                       │
 *                         └──── request ─────┴───────────────────────┘
 *                                  ▼
 *                              STOPPING ──all parked──▶ rebuild: RUNNING or PAUSED; or STOPPED
 *
 * Rebuild (also the first build): close vCPUs and VM, discard RAM, reset devices, then in the order
 * of arch.h create and load everything anew.
 */
#pragma once

#include <stdatomic.h>

#include "hypervisor/arch/arch.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/log.h"
#include "hypervisor/base/loop.h"
#include "hypervisor/devices/console-port.h"
#include "hypervisor/kvm/kvm.h"
#include "hypervisor/kvm/vcpu.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/machine/machine.h"
#include "hypervisor/memory/guest-memory.h"

enum hv_machine_state {
    HV_MACHINE_CREATED,
    HV_MACHINE_RUNNING,
    HV_MACHINE_PAUSING,
    HV_MACHINE_PAUSED,
    HV_MACHINE_STOPPING, /* parking for a reset or for good */
    HV_MACHINE_STOPPED,
};

/* Why the vCPUs must stop. Later ones win over earlier ones of a lower number. */
enum hv_machine_request_kind {
    HV_MACHINE_REQUEST_NONE,
    HV_MACHINE_REQUEST_RESET,
    HV_MACHINE_REQUEST_EXIT,
};

struct hv_machine_request {
    enum hv_machine_request_kind kind;
    enum hv_reset_source source; /* RESET */
    enum hv_machine_exit exit;   /* EXIT */
    uint64_t detail;             /* EXIT */
};

struct hv_machine {
    struct hv_loop *loop;             /* const */
    const struct hv_machine_ops *ops; /* const */
    void *opaque;                     /* const */
    struct hv_log log;                /* const */
    struct hv_console_sink console;   /* const: leads to ops */

    int kernel_fd;           /* const, borrowed */
    int initrd_fd;           /* const, borrowed; -1: none */
    uint64_t initrd_size;    /* const: checked when the machine was created; 0: none */
    char *command_line;      /* const */
    uint64_t memory_size;    /* const */
    unsigned int vcpu_count; /* const */

    struct hv_kvm kvm;                           /* main; vcpu reads */
    struct hv_memory *memory;                    /* const */
    struct hv_bus *mmio;                         /* const once frozen */
    struct hv_bus *pio;                          /* const once frozen; x86 only, else NULL */
    struct hv_arch *arch;                        /* const */
    struct hv_vcpu *vcpus[HV_MACHINE_MAX_VCPUS]; /* const */

    enum hv_machine_state state;  /* main */
    bool is_pausing_after_reset;  /* main: it was paused, or about to be, when the reset came */
    bool is_pause_owed;           /* main: ops->paused() has not answered hv_machine_pause() yet */
    struct hv_loop_task wake;     /* requests and parked vCPUs */
    pthread_mutex_t request_lock; /* a leaf lock */
    pthread_mutex_t late_write_lock;   /* held while coalesced port writes are done; device locks
                                          are taken below it */
    struct hv_machine_request request; /* lock (request_lock) */
    atomic_bool has_request;           /* atomic: request.kind is not NONE */
    struct hv_bus_counter other_exits; /* exits that are neither port nor memory accesses */
    struct hv_log_limit guest_limit;
};

/*
 * The guest asks for power-off or reset, or something went wrong: records it and wakes the main
 * loop. Any thread. Called on a vCPU thread, that vCPU parks before it runs guest code again. The
 * first request of a kind wins.
 */
void hv_machine_request_reset(struct hv_machine *machine, enum hv_reset_source source);
void hv_machine_request_exit(struct hv_machine *machine, enum hv_machine_exit exit,
                             uint64_t detail);

static inline struct hv_machine *hv_vcpu_machine(const struct hv_vcpu *vcpu)
{
    return vcpu->opaque;
}
