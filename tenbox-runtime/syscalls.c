/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

/* A system call that is allowed whatever its arguments are. */
struct plain_rule {
    int number;
};

/* clang-format off */

/*
 * The main loop: control socket, console, timers, and the whole rebuild of the machine when the guest
 * reboots (KVM VM and vCPUs, memory slots, kernel and initrd read again from their descriptors). It
 * opens nothing: no open, no socket, no connect, no clone, no exec.
 */
static const struct plain_rule main_rules[] = {
    /* the loop */
#ifdef __NR_epoll_wait
    {__NR_epoll_wait},
#endif
    {__NR_epoll_pwait}, {__NR_epoll_ctl}, {__NR_timerfd_settime}, {__NR_read}, {__NR_write},
    /* the control socket */
    {__NR_accept4}, {__NR_getsockopt}, {__NR_recvmsg}, {__NR_sendmsg}, {__NR_close},
    {__NR_geteuid}, {__NR_getpid},
    /* reading the kernel and initrd again, and giving guest memory back */
    {__NR_pread64}, {__NR_fallocate}, {__NR_fstat}, /* never newfstatat: that takes paths */
    /* threads, locks, kicks; tgkill: see below */
    {__NR_futex}, {__NR_gettid}, {__NR_rt_sigprocmask}, {__NR_rt_sigreturn},
    {__NR_sched_yield}, {__NR_restart_syscall},
    /* memory of malloc() and of the shared pages of new vCPUs; mmap and mprotect: see below */
    {__NR_brk}, {__NR_munmap}, {__NR_madvise}, {__NR_getrandom},
    /* where the clock is not in the vDSO */
    {__NR_clock_gettime},
    {__NR_exit_group}, {__NR_exit},
};

/*
 * A vCPU thread: into the guest and back, a wake-up for the main loop, a lock.
 */
static const struct plain_rule vcpu_rules[] = {
    {__NR_write}, /* eventfds: interrupts and the main loop; the log */
    {__NR_futex}, {__NR_rt_sigreturn}, {__NR_rt_sigprocmask}, {__NR_gettid},
    {__NR_getpid}, {__NR_restart_syscall}, {__NR_sched_yield}, {__NR_clock_gettime},
    {__NR_madvise}, /* a thread that ends gives its stack back */
    {__NR_exit},
};

/* The probe builds a VM, runs one payload under a timer and ends (hypervisor/probe/probe.h). */
static const struct plain_rule probe_rules[] = {
    {__NR_timer_create}, {__NR_timer_settime}, {__NR_timer_delete}, {__NR_rt_sigaction},
    {__NR_rt_sigprocmask}, {__NR_rt_sigreturn}, {__NR_gettid}, {__NR_getpid},
    {__NR_clock_gettime}, {__NR_brk}, {__NR_munmap}, {__NR_madvise}, {__NR_futex},
    {__NR_restart_syscall}, {__NR_write}, {__NR_sendmsg}, {__NR_close}, {__NR_exit_group},
};

/* What may be asked of a KVM descriptor; requests carry the size of their argument, so that the same
 * name is another number on another architecture. */
static const uint32_t main_ioctls[] = {
    KVM_CREATE_VM, KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE, KVM_CREATE_VCPU,
    KVM_SET_USER_MEMORY_REGION, KVM_REGISTER_COALESCED_MMIO, KVM_IRQFD, KVM_IOEVENTFD, KVM_ENABLE_CAP,
#if defined(__x86_64__)
    KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP, KVM_SET_GSI_ROUTING,
    KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_SET_MSRS, KVM_SET_REGS, KVM_GET_SREGS,
    KVM_SET_SREGS, KVM_KVMCLOCK_CTRL,
#elif defined(__aarch64__)
    KVM_CREATE_DEVICE, KVM_SET_DEVICE_ATTR, KVM_ARM_PREFERRED_TARGET, KVM_ARM_VCPU_INIT,
    KVM_GET_ONE_REG, KVM_SET_ONE_REG,
#endif
};

static const uint32_t probe_ioctls[] = {
    KVM_GET_API_VERSION, KVM_CHECK_EXTENSION, KVM_CREATE_VM, KVM_GET_VCPU_MMAP_SIZE,
    KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_RUN,
#if defined(__x86_64__)
    KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP, KVM_GET_SUPPORTED_CPUID,
    KVM_SET_CPUID2, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS,
#elif defined(__aarch64__)
    KVM_CREATE_DEVICE, KVM_SET_DEVICE_ATTR, KVM_ARM_PREFERRED_TARGET, KVM_ARM_VCPU_INIT,
    KVM_SET_ONE_REG,
#endif
};

static const uint32_t vcpu_ioctls[] = {
    KVM_RUN,
#if defined(__aarch64__)
    KVM_SET_VCPU_EVENTS, /* the abort for an access that cannot be decoded */
#endif
};

/* clang-format on */

struct role_rules {
    const struct plain_rule *plain;
    size_t plain_count;
    const uint32_t *ioctls;
    size_t ioctl_count;
    bool may_map; /* mmap and mprotect, never executable */
};

static const struct role_rules roles[] = {
    [RT_THREAD_MAIN] = {main_rules, HV_ARRAY_SIZE(main_rules), main_ioctls,
                        HV_ARRAY_SIZE(main_ioctls), true},
    [RT_THREAD_VCPU] = {vcpu_rules, HV_ARRAY_SIZE(vcpu_rules), vcpu_ioctls,
                        HV_ARRAY_SIZE(vcpu_ioctls), false},
    [RT_THREAD_PROBE] = {probe_rules, HV_ARRAY_SIZE(probe_rules), probe_ioctls,
                         HV_ARRAY_SIZE(probe_ioctls), true},
};

static void release_context(scmp_filter_ctx *context)
{
    if (*context != NULL)
        seccomp_release(*context);
}

static int add_rules(scmp_filter_ctx context, const struct role_rules *rules)
{
    int r;

    for (size_t i = 0; i < rules->plain_count; i++) {
        r = seccomp_rule_add(context, SCMP_ACT_ALLOW, rules->plain[i].number, 0);
        if (r < 0)
            return r;
    }
    /* The kernel looks at the low 32 bits of a request, so the comparison does too. */
    for (size_t i = 0; i < rules->ioctl_count; i++) {
        r = seccomp_rule_add(context, SCMP_ACT_ALLOW, __NR_ioctl, 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, rules->ioctls[i]));
        if (r < 0)
            return r;
    }
    /* A signal to a thread of this process: a kick, or abort(). Nobody else of this user's. */
    r = seccomp_rule_add(context, SCMP_ACT_ALLOW, __NR_tgkill, 1,
                         SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    if (r < 0)
        return r;
    if (rules->may_map) {
        r = seccomp_rule_add(context, SCMP_ACT_ALLOW, __NR_mmap, 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (r < 0)
            return r;
        return seccomp_rule_add(context, SCMP_ACT_ALLOW, __NR_mprotect, 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
    return 0;
}

/* Turns libseccomp's context into the flat program that the kernel loads. */
static int export_program(scmp_filter_ctx context, struct sock_fprog *ret_program)
{
    HV_AUTO_FREE struct sock_filter *instructions = NULL;
    HV_AUTO_FD int fd = memfd_create("seccomp", MFD_CLOEXEC);
    struct stat status;
    int r;

    if (fd < 0)
        return -errno;
    r = seccomp_export_bpf(context, fd);
    if (r < 0)
        return r;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size <= 0 || status.st_size % (off_t)sizeof(*instructions) != 0 ||
        status.st_size / (off_t)sizeof(*instructions) > BPF_MAXINSNS)
        return -EINVAL;
    instructions = malloc((size_t)status.st_size);
    if (instructions == NULL)
        return -ENOMEM;
    if (pread(fd, instructions, (size_t)status.st_size, 0) != status.st_size)
        return -EIO;
    ret_program->len = (unsigned short)(status.st_size / (off_t)sizeof(*instructions));
    ret_program->filter = hv_take_pointer(instructions);
    return 0;
}

int rt_syscalls_compile(enum rt_thread_role role, struct rt_syscall_filter *ret_filter)
{
    HV_CLEANUP(release_context) scmp_filter_ctx context = NULL;
    int r;

    context = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (context == NULL)
        return -ENOMEM;
    /* Sorted as a binary tree: KVM_RUN is not to pay for the length of the list. */
    r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* Calls of another architecture (int 0x80) would end their thread only. */
    if (r == 0)
        r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = add_rules(context, &roles[role]);
    if (r == 0)
        r = export_program(context, &ret_filter->program);
    return r;
}

void rt_syscalls_fini(struct rt_syscall_filter *filter)
{
    hv_free_pointer(&filter->program.filter);
    filter->program.len = 0;
}

int rt_syscalls_load(const struct rt_syscall_filter *filter)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter->program) < 0)
        return -errno;
    return 0;
}
