/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of the probe that both architectures share: a VM with one memory slot, a vCPU, a bounded
 * run loop, and the watchdog.
 *
 * The watchdog is a POSIX timer whose signal goes to the thread that sits in KVM_RUN. The signal
 * alone would be lost if it came between the loop's look at the clock and KVM_RUN, so its handler
 * also sets immediate_exit in the kvm_run page, which it finds in the signal's value: no static data
 * is involved.
 */
#include "hypervisor/probe/probe.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "hypervisor/arch/arch.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/probe/probe-arch.h"
#include "hypervisor/probe/probe-layout.h"

/* glibc 2.36 gives the field of struct sigevent no public name. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct probe_watchdog {
    timer_t timer;
    struct sigaction old_action;
    sigset_t old_mask;
    int64_t deadline; /* CLOCK_MONOTONIC, ns */
};

static int64_t probe_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Runs in the interrupted thread. A store is all it does. */
static void probe_watchdog_signal(int number, siginfo_t *information, void *context)
{
    struct kvm_run *run = information->si_code == SI_TIMER ? information->si_value.sival_ptr : NULL;

    if (run) {
        __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
    }
}

/* Sets the end to @limit_ms from now. */
static int probe_watchdog_arm(struct probe_watchdog *watchdog, uint32_t limit_ms)
{
    int64_t deadline = probe_now() + limit_ms * 1000000ll;
    struct itimerspec when = {0};

    watchdog->deadline = deadline;
    when.it_value.tv_sec = deadline / 1000000000ll;
    when.it_value.tv_nsec = deadline % 1000000000ll;
    return timer_settime(watchdog->timer, TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

/* The timer goes first: after timer_delete() no signal of it is left to come. */
static void probe_watchdog_stop(struct probe_watchdog *watchdog)
{
    timer_delete(watchdog->timer);
    pthread_sigmask(SIG_SETMASK, &watchdog->old_mask, NULL);
    sigaction(HV_PROBE_SIGNAL, &watchdog->old_action, NULL);
}

/* Leaves nothing changed when it fails. */
static int probe_watchdog_start(struct probe_watchdog *watchdog, struct kvm_run *run,
                                uint32_t limit_ms)
{
    struct sigaction action = {.sa_sigaction = probe_watchdog_signal, .sa_flags = SA_SIGINFO};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = HV_PROBE_SIGNAL};
    sigset_t unblocked;
    int result;

    event.sigev_value.sival_ptr = run;
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &watchdog->timer) < 0) {
        return -errno;
    }
    sigemptyset(&action.sa_mask);
    sigaction(HV_PROBE_SIGNAL, &action, &watchdog->old_action);
    sigemptyset(&unblocked);
    sigaddset(&unblocked, HV_PROBE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &unblocked, &watchdog->old_mask);

    result = probe_watchdog_arm(watchdog, limit_ms);
    if (result < 0) {
        probe_watchdog_stop(watchdog);
    }
    return result;
}

/* What a machine asks of KVM first, a VM with one memory slot, and the interrupt controller. */
static int probe_build_vm(struct hv_probe *probe, int kvm_fd)
{
    struct kvm_userspace_memory_region region = {
        .slot = 0,
        .guest_phys_addr = HV_PROBE_MEMORY_BASE,
        .memory_size = HV_PROBE_MEMORY_SIZE,
    };
    struct hv_reason reason = {0};
    void *mapping;
    int result = hv_kvm_init(&probe->kvm, kvm_fd, &reason);

    if (result < 0) {
        probe->failure = reason.text;
        return result;
    }
    probe->failure = "KVM cannot create a virtual machine; check that virtualization is switched "
                     "on in the firmware and that no other hypervisor holds it";
    result = hv_kvm_open_vm(&probe->kvm, hv_arch_vm_type(&probe->kvm));
    if (result < 0) {
        return result;
    }

    probe->failure = "no memory for the probe's virtual machine";
    mapping = mmap(NULL, HV_PROBE_MEMORY_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return -errno;
    }
    probe->memory = mapping;

    probe->failure = "KVM refuses 64 KiB of guest memory";
    region.userspace_addr = (uintptr_t)probe->memory;
    result = hv_kvm_vm_ioctl(&probe->kvm, KVM_SET_USER_MEMORY_REGION, &region);
    if (result < 0) {
        return result;
    }
    return hv_probe_arch_init_vm(probe);
}

/* A vCPU that would run the payload. */
static int probe_build_vcpu(struct hv_probe *probe)
{
    void *mapping;
    int result;

    probe->failure = "KVM cannot create a virtual processor";
    result = hv_kvm_vm_ioctl_value(&probe->kvm, KVM_CREATE_VCPU, 0);
    if (result < 0) {
        return result;
    }
    probe->vcpu_fd = result;
    mapping = mmap(NULL, probe->kvm.vcpu_mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                   probe->vcpu_fd, 0);
    if (mapping == MAP_FAILED) {
        return -errno;
    }
    probe->run = mapping;
    return hv_probe_arch_init_vcpu(probe);
}

static int probe_load_payload(struct hv_probe *probe)
{
    size_t size = (size_t)(hv_probe_payload_end - hv_probe_payload);

    probe->failure = "the probe's payload does not fit";
    if (size > HV_PROBE_CODE_SIZE) {
        return -E2BIG;
    }
    memcpy(probe->memory + (HV_PROBE_CODE - HV_PROBE_MEMORY_BASE), hv_probe_payload, size);
    hv_probe_arch_fill_memory(probe);
    return 0;
}

/*
 * Runs the payload to its end. Any exit that is not the next report in order ends the run: a payload
 * that works makes none, so there is no loop that a guest could keep up, and the watchdog bounds the
 * time between two exits.
 */
static int probe_execute(struct hv_probe *probe, struct probe_watchdog *watchdog)
{
    uint32_t step = HV_PROBE_STEP_NONE;
    uint32_t report;

    while (step != HV_PROBE_STEP_DONE) {
        probe->failure = hv_probe_arch_failure(step);
        if (probe_now() >= watchdog->deadline) {
            return -ETIME;
        }
        if (ioctl(probe->vcpu_fd, KVM_RUN, 0) < 0) {
            /* Other signals of the process are nothing to us; the deadline is looked at above. */
            if (errno == EINTR) {
                continue;
            }
            return -ENODEV;
        }
        if (!hv_probe_arch_decode_report(probe, &report) || report <= step ||
            report > HV_PROBE_STEP_DONE) {
            return -ENODEV;
        }
        step = report;
    }
    return 0;
}

static int probe_try(struct hv_probe *probe, int kvm_fd, uint32_t limit_ms)
{
    struct probe_watchdog watchdog;
    int result = probe_build_vm(probe, kvm_fd);

    if (result == 0) {
        result = probe_build_vcpu(probe);
    }
    if (result == 0) {
        result = probe_load_payload(probe);
    }
    if (result < 0) {
        return result;
    }
    probe->failure = "the probe's watchdog could not be set";
    result = probe_watchdog_start(&watchdog, probe->run, limit_ms);
    if (result < 0) {
        return result;
    }
    result = probe_execute(probe, &watchdog);
    probe_watchdog_stop(&watchdog);
    return result;
}

static void probe_fini(struct hv_probe *probe)
{
    if (probe->run) {
        munmap(probe->run, probe->kvm.vcpu_mmap_size);
    }
    hv_close_fd(&probe->vcpu_fd);
    hv_close_fd(&probe->irqchip_fd);
    hv_kvm_fini(&probe->kvm);
    if (probe->memory) {
        munmap(probe->memory, HV_PROBE_MEMORY_SIZE);
    }
}

int hv_probe_run(int kvm_fd, uint32_t limit_ms, struct hv_reason *ret_reason)
{
    struct hv_probe probe = {.kvm = {.fd = -1, .vm_fd = -1}, .vcpu_fd = -1, .irqchip_fd = -1};
    struct hv_reason reason = {0};
    int result = probe_try(&probe, kvm_fd, limit_ms);

    probe_fini(&probe);
    if (result < 0) {
        hv_reason_set(&reason, result, "kvm", probe.failure);
    }
    if (ret_reason) {
        *ret_reason = reason;
    }
    return result;
}
