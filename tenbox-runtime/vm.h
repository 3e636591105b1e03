/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One VM in its process: the machine, its console and its controller, tied together. Requests of the
 * controller become calls of the machine; what the machine tells becomes messages.
 *
 * Main loop only, but for the console's output (see console.h).
 */
#pragma once

#include "hypervisor/base/loop.h"
#include "tenbox-runtime/log.h"
#include "tenbox-runtime/spec.h"

struct rt_vm;

/*
 * Builds the machine that @spec describes and takes its descriptors and *launch_fd, the first control
 * connection. On failure *ret_fault says why and *launch_fd is still the caller's. Nothing is sent
 * either way. @log and @loop must outlive the VM.
 */
int rt_vm_create(struct hv_loop *loop, struct rt_log *log, struct rt_spec *spec, int *launch_fd,
                 struct rt_vm **ret_vm, struct rt_fault *ret_fault);
/* Accepts NULL. */
void rt_vm_destroy(struct rt_vm *vm);

/* Runs @prepare on each vCPU thread and waits for it. 0 or the first negative errno. */
int rt_vm_prepare_vcpus(struct rt_vm *vm, int (*prepare)(void *opaque), void *opaque);

/* Tells the controller that the machine is built. After this the loop may run. */
void rt_vm_announce(struct rt_vm *vm);

/* Whether the machine ended the way somebody wanted it to; valid after the loop has quit. */
bool rt_vm_ended_well(const struct rt_vm *vm);
