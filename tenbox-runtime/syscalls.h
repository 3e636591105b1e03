/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each thread of a running VM may still ask of the kernel: one allow-list per role, next to each
 * other in syscalls.c, with arguments checked where an argument decides what a call can do (ioctl
 * requests, executable memory, whom a signal goes to). Whatever is not listed kills the whole process with SIGSYS.
 *
 * The filters are compiled in the main thread before any thread has one, since compiling needs memory
 * and a descriptor; a thread then loads the finished program with a single call. They are per thread
 * and not inherited by threads that exist already: each vCPU thread loads its own while it is still
 * parked, the main thread loads its own last, before it says that there is a machine.
 *
 * Compare seccomp(2) and libseccomp's seccomp_export_bpf(3).
 */
#pragma once

#include <linux/filter.h>

enum rt_thread_role {
    RT_THREAD_MAIN,
    RT_THREAD_VCPU,
    RT_THREAD_PROBE, /* the only thread of a process that runs the hypervisor probe */
};

/* A compiled filter. Zeroed = none. */
struct rt_syscall_filter {
    struct sock_fprog program;
};

/* Compiles the list of @role. 0 or a negative errno. */
int rt_syscalls_compile(enum rt_thread_role role, struct rt_syscall_filter *ret_filter);
/* Accepts a zeroed filter. */
void rt_syscalls_fini(struct rt_syscall_filter *filter);

/* Puts the calling thread under @filter, for good. Needs no_new_privs. One system call. */
int rt_syscalls_load(const struct rt_syscall_filter *filter);
