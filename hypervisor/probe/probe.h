/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds out whether the host's KVM can run a stock kernel, by trying.
 *
 * It exists because neither CPU flags nor KVM's capabilities tell: there are KVMs that emulate every
 * guest instruction in software and stop at the first one they do not know, kernels whose device
 * tree keeps the interrupt controller from KVM, and hypervisors that offer half of nesting. Each of
 * them accepts KVM_CREATE_VM, and the user would see a guest that stays silent.
 *
 * Theory of operation. First come the questions that a machine asks (hv_kvm_init()), so that the
 * probe never approves of a KVM on which a start is refused. A throw-away VM with one vCPU, 64 KiB of
 * memory and the interrupt controller a machine would get runs a payload (payload-*.S) that does what a kernel does first: leave the
 * reset state (x86: real mode to long mode; aarch64: the MMU and caches at EL1), use the vector
 * unit, change 16 bytes atomically, change a page-table entry and see the effect, and take one timer
 * interrupt. After each step it writes the step's number to a port (x86) or an address without
 * memory (aarch64), so that the last number seen tells what failed.
 */
#pragma once

#include <signal.h>
#include <stdint.h>

#include "hypervisor/base/reason.h"

/*
 * Runs the probe on @kvm_fd (/dev/kvm, opened read-write; stays the caller's). Blocks the calling
 * thread for some milliseconds, at worst for about @limit_ms: a watchdog interrupts a guest that does
 * not come to an end. HV_PROBE_LIMIT_MS is the limit for a user's question: it is far above what a
 * host in software emulation needs that other work holds up for seconds, because a refusal is taken
 * for a fact about the hardware.
 *
 * 0          a stock kernel can be expected to boot; *ret_reason is zeroed
 * -ENODEV    @kvm_fd is no KVM, or KVM lacks something or did something wrong: the verdict is in
 *            *ret_reason
 * -ETIME     the guest did not finish in time; *ret_reason says in which step
 * other      errno of the system call that failed (-EMFILE, -ENOMEM …); *ret_reason says
 *            what it was for
 *
 * ret_reason->field is "kvm" whenever the result is not 0. @ret_reason may be NULL.
 *
 * Any thread, but one probe at a time in a process: for as long as it runs, the disposition of the
 * signal HV_PROBE_SIGNAL is the probe's, and it is unblocked in the calling thread. Both are put
 * back. Besides memory and descriptors the probe uses ioctl, timer_create, timer_settime,
 * timer_delete, rt_sigaction, rt_sigprocmask, gettid and clock_gettime.
 */
#define HV_PROBE_SIGNAL   SIGALRM
#define HV_PROBE_LIMIT_MS 20000u
int hv_probe_run(int kvm_fd, uint32_t limit_ms, struct hv_reason *ret_reason);
