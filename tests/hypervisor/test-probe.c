/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe against a scripted KVM, and against the host's own.
 *
 * The linker sends every ioctl() through __wrap_ioctl() (-Wl,--wrap=ioctl). There a small fake stands
 * in for /dev/kvm: it hands out memfds as VM and vCPU and answers KVM_RUN from a script, so each
 * failure that the probe must name happens here on any machine. With the fake off the calls reach
 * the kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "hypervisor/probe/probe-layout.h"
#include "hypervisor/probe/probe.h"
#include "tests/hypervisor/tap.h"

/* What the fake does at one KVM_RUN. */
enum run_kind {
    RUN_REPORT,      /* the payload's report of @value */
    RUN_SHUTDOWN,    /* a triple fault */
    RUN_BAD_EXIT,    /* the report, but not quite: each architecture has its own idea */
    RUN_ERROR,       /* KVM_RUN fails with the errno @value */
    RUN_HANG,        /* the guest never leaves by itself */
    RUN_INTERRUPTED, /* a signal that is not the watchdog's, again and again */
};

struct run_script {
    enum run_kind kind;
    uint32_t value;
};

struct fake {
    bool on;
    const struct run_script *script; /* the last entry repeats */
    size_t length;
    size_t position;
    int vcpu_fd;
    struct kvm_run *run;
    unsigned long fail_request; /* this request fails with fail_error */
    int fail_error;
    int fail_countdown; /* the call with this number (from 0) fails with EIO; -1: none */
    int version;
    unsigned int missing; /* this capability; UINT_MAX: none */
    unsigned long failed_request;
    int calls;
};

#define FAKE_RUN_SIZE 12288

static struct fake fake;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int fake_fail(int error)
{
    errno = error;
    return -1;
}

static void fake_report(uint32_t value, bool broken)
{
#if defined(__x86_64__)
    fake.run->exit_reason = KVM_EXIT_IO;
    fake.run->io.direction = KVM_EXIT_IO_OUT;
    fake.run->io.port = HV_PROBE_PORT;
    fake.run->io.size = 4;
    fake.run->io.count = 1;
    fake.run->io.data_offset = broken ? FAKE_RUN_SIZE - 2 : 4096;
    memcpy((uint8_t *)fake.run + 4096, &value, sizeof(value));
#else
    fake.run->exit_reason = KVM_EXIT_MMIO;
    fake.run->mmio.is_write = 1;
    fake.run->mmio.phys_addr = HV_PROBE_ADDRESS;
    fake.run->mmio.len = broken ? 8 : 4;
    memcpy(fake.run->mmio.data, &value, sizeof(value));
#endif
}

static int fake_run(void)
{
    const struct run_script *entry = &fake.script[fake.position];

    if (fake.position + 1 < fake.length)
        fake.position++;
    if (__atomic_load_n(&fake.run->immediate_exit, __ATOMIC_RELAXED))
        return fake_fail(EINTR);
    switch (entry->kind) {
    case RUN_REPORT: fake_report(entry->value, false); return 0;
    case RUN_BAD_EXIT: fake_report(entry->value, true); return 0;
    case RUN_SHUTDOWN: fake.run->exit_reason = KVM_EXIT_SHUTDOWN; return 0;
    case RUN_ERROR: return fake_fail((int)entry->value);
    case RUN_HANG: return pause();
    case RUN_INTERRUPTED: usleep(1000); return fake_fail(EINTR);
    }
    return fake_fail(EINVAL);
}

static int fake_ioctl(unsigned long request, void *argument)
{
    int fd;

    switch (request) {
    case KVM_GET_API_VERSION: return fake.version;
    case KVM_CHECK_EXTENSION: return (uintptr_t)argument != fake.missing;
    case KVM_CREATE_VM: return memfd_create("fake-vm", MFD_CLOEXEC);
    case KVM_GET_VCPU_MMAP_SIZE: return FAKE_RUN_SIZE;
    case KVM_CREATE_VCPU:
        fd = memfd_create("fake-vcpu", MFD_CLOEXEC);
        if (ftruncate(fd, FAKE_RUN_SIZE) < 0)
            abort();
        fake.run = mmap(NULL, FAKE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fake.run == MAP_FAILED)
            abort();
        return fd;
    case KVM_CREATE_DEVICE:
        ((struct kvm_create_device *)argument)->fd =
            (uint32_t)memfd_create("fake-gic", MFD_CLOEXEC);
        return 0;
    case KVM_RUN: return fake_run();
    default: return 0;
    }
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fake.fail_countdown == fake.calls++) {
        fake.failed_request = request;
        return fake_fail(EIO);
    }
    if (fake.fail_request == request)
        return fake_fail(fake.fail_error);
    return fake.on ? fake_ioctl(request, argument) : __real_ioctl(fd, request, argument);
}

/* Open descriptors, and lines of the memory map that are not the heap's or the stack's. */
static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (!folder)
        abort();
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static int count_mappings(const char *of)
{
    char line[PATH_MAX + 256];
    FILE *file = fopen("/proc/self/maps", "re");
    int count = 0;

    if (!file)
        abort();
    while (fgets(line, sizeof(line), file))
        count += strstr(line, of) != NULL;
    fclose(file);
    return count;
}

/* Long enough for what answers at once, short for what never does. */
#define FAKE_LIMIT_MS 2000u

static int run_fake(const struct run_script *script, size_t length, struct hv_reason *ret_reason)
{
    int result;

    fake.on = true;
    fake.script = script;
    fake.length = length;
    fake.position = 0;
    fake.calls = 0;
    result = hv_probe_run(-1, FAKE_LIMIT_MS, ret_reason);
    fake.on = false;
    if (fake.run)
        munmap(fake.run, FAKE_RUN_SIZE);
    fake.run = NULL;
    return result;
}

static const struct run_script good_script[] = {
    {RUN_REPORT, HV_PROBE_STEP_RESET},      {RUN_REPORT, HV_PROBE_STEP_MODE},
    {RUN_REPORT, HV_PROBE_STEP_VECTOR},     {RUN_REPORT, HV_PROBE_STEP_ATOMIC},
    {RUN_REPORT, HV_PROBE_STEP_PAGE_TABLE}, {RUN_REPORT, HV_PROBE_STEP_TIMER},
    {RUN_REPORT, HV_PROBE_STEP_DONE},
};

#define GOOD_LENGTH (sizeof(good_script) / sizeof(good_script[0]))

static void test_good(void)
{
    struct hv_reason reason = {"stale", "stale"};
    int result = run_fake(good_script, GOOD_LENGTH, &reason);

    tap_ok(result == 0, "all steps reported: 0 (%d)", result);
    tap_ok(!reason.field && !reason.text, "no reason is given then");
    tap_ok(run_fake(good_script, GOOD_LENGTH, NULL) == 0, "nobody has to want the reason");
}

/* Each step in turn is the one that fails; the words must be that step's. */
static void test_each_step(void)
{
    static const char *const words[GOOD_LENGTH] = {
#if defined(__x86_64__)
        "first instructions",
        "long mode",
        "SSE2",
        "lock cmpxchg16b",
        "page-table entry",
        "timer interrupt",
        "did not go on",
#else
        "first instructions",
        "MMU",
        "Advanced SIMD",
        "ldaxp and stlxp",
        "page-table entry",
        "timer interrupt",
        "did not go on",
#endif
    };
    static const struct {
        const char *name;
        struct run_script how;
    } failures[] = {
        {"triple fault", {RUN_SHUTDOWN, 0}},
        {"wrong result", {RUN_REPORT, HV_PROBE_REPORT_WRONG}},
        {"exception", {RUN_REPORT, HV_PROBE_REPORT_FAULT}},
        {"a malformed exit", {RUN_BAD_EXIT, HV_PROBE_STEP_DONE}},
        {"KVM_RUN fails", {RUN_ERROR, EFAULT}},
        {"a step of the past", {RUN_REPORT, HV_PROBE_STEP_NONE}},
    };

    for (size_t kind = 0; kind < sizeof(failures) / sizeof(failures[0]); kind++) {
        for (size_t step = 0; step < GOOD_LENGTH; step++) {
            struct run_script script[GOOD_LENGTH];
            struct hv_reason reason = {0};
            int result;

            memcpy(script, good_script, sizeof(script));
            script[step] = failures[kind].how;
            result = run_fake(script, step + 1, &reason);
            tap_ok(result == -ENODEV && reason.field && !strcmp(reason.field, "kvm") &&
                       reason.text && strstr(reason.text, words[step]),
                   "%s instead of step %zu: %d, %s", failures[kind].name, step + 1, result,
                   reason.text ? reason.text : "(none)");
        }
    }
}

static void handle_nothing(int number)
{
}

/* Both ways of not coming to an end; and what the process had set for the signal is put back. */
static void test_watchdog(void)
{
    static const struct run_script hang[] = {{RUN_REPORT, HV_PROBE_STEP_RESET}, {RUN_HANG, 0}};
    static const struct run_script storm[] = {{RUN_INTERRUPTED, 0}};
    struct sigaction action = {.sa_handler = handle_nothing};
    struct sigaction after;
    struct hv_reason reason = {0};
    sigset_t mask;
    int result;

    sigaction(HV_PROBE_SIGNAL, &action, NULL);
    sigemptyset(&mask);
    sigaddset(&mask, HV_PROBE_SIGNAL);
    sigprocmask(SIG_BLOCK, &mask, NULL);

    alarm(0);
    result = run_fake(hang, 2, &reason);
    tap_ok(result == -ETIME && reason.text, "a guest that hangs: %d, %s", result,
           reason.text ? reason.text : "(none)");
    result = run_fake(storm, 1, &reason);
    tap_ok(result == -ETIME && reason.text, "signals without end: %d, %s", result,
           reason.text ? reason.text : "(none)");

    sigaction(HV_PROBE_SIGNAL, NULL, &after);
    tap_ok(after.sa_handler == handle_nothing, "the signal's handler is what it was");
    sigprocmask(SIG_BLOCK, NULL, &mask);
    tap_ok(sigismember(&mask, HV_PROBE_SIGNAL) == 1, "the signal is blocked as it was");
    sigpending(&mask);
    tap_ok(sigismember(&mask, HV_PROBE_SIGNAL) == 0, "no signal is left over");
    sigemptyset(&mask);
    sigaddset(&mask, HV_PROBE_SIGNAL);
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

/* Each ioctl in turn fails: an error, words, and nothing left open or mapped. */
static void test_each_ioctl(int kvm_fd, const char *name)
{
    int descriptors = count_descriptors();
    int mappings = count_mappings("kvm") + count_mappings("fake");
    int calls;
    int result;

    for (calls = 0; calls < 200; calls++) {
        struct hv_reason reason = {0};

        fake.fail_countdown = calls;
        if (kvm_fd < 0) {
            result = run_fake(good_script, GOOD_LENGTH, &reason);
        } else {
            fake.calls = 0;
            result = hv_probe_run(kvm_fd, HV_PROBE_LIMIT_MS, &reason);
        }
        if (fake.calls <= calls)
            break; /* there were fewer calls than that: none failed */
        /* Queries with a default; aarch64: the GIC that the host may lack. */
        if (result == 0 && (fake.failed_request == KVM_CHECK_EXTENSION ||
                            fake.failed_request == KVM_CREATE_DEVICE))
            continue;
        if (!(result < 0 && reason.field && reason.text && *reason.text))
            tap_ok(false, "%s: ioctl %d (%#lx) fails, and the probe says %d", name, calls,
                   fake.failed_request, result);
    }
    fake.fail_countdown = -1;
    tap_ok(calls > 5 && calls < 200, "%s: each of %d ioctls failed once", name, calls);
    tap_ok(count_descriptors() == descriptors, "%s: no descriptor is left", name);
    tap_ok(count_mappings("kvm") + count_mappings("fake") == mappings, "%s: no mapping is left",
           name);
}

static void test_no_interrupt_controller(void)
{
    struct hv_reason reason = {0};
    int result;

#if defined(__x86_64__)
    fake.fail_request = KVM_CREATE_IRQCHIP;
#else
    fake.fail_request = KVM_CREATE_DEVICE;
#endif
    fake.fail_error = ENODEV;
    result = run_fake(good_script, GOOD_LENGTH, &reason);
    fake.fail_request = 0;
    tap_ok(result == -ENODEV && strstr(reason.text, "interrupt controller"),
           "no interrupt controller: %d, %s", result, reason.text);
}

/* What a start refuses, the probe refuses, and in the same words: both ask hv_kvm_init(). */
static void test_capabilities(void)
{
    static const struct {
        unsigned int capability;
        const char *words;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "user memory"},
        {KVM_CAP_IRQFD, "interrupts by eventfd"},
        {KVM_CAP_IOEVENTFD, "guest writes by eventfd"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate_exit"},
    };
    struct hv_reason reason = {0};
    int result;

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        fake.missing = needed[i].capability;
        result = run_fake(good_script, GOOD_LENGTH, &reason);
        tap_ok(result == -ENODEV && strstr(reason.text, needed[i].words),
               "a capability that machines need is missing: %d, %s", result, reason.text);
    }
    fake.missing = UINT_MAX;
    fake.version = KVM_API_VERSION + 1;
    result = run_fake(good_script, GOOD_LENGTH, &reason);
    fake.version = KVM_API_VERSION;
    tap_ok(result == -ENODEV && strstr(reason.text, "version"), "another version: %d, %s", result,
           reason.text);
}

static void test_not_kvm(void)
{
    struct hv_reason reason = {0};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    int result;

    result = hv_probe_run(null_fd, HV_PROBE_LIMIT_MS, &reason);
    tap_ok(result == -ENODEV && !strcmp(reason.field, "kvm") && strstr(reason.text, "/dev/kvm"),
           "/dev/null is not KVM: %d", result);
    result = hv_probe_run(-1, HV_PROBE_LIMIT_MS, &reason);
    tap_ok(result == -ENODEV && !strcmp(reason.field, "kvm") && strstr(reason.text, "/dev/kvm"),
           "nor is -1: %d", result);
    close(null_fd);
}

/*
 * The kernel's own KVM. TENBOX_TEST_PROBE=pass, set where stock guests are known to boot, makes
 * anything else a failure; a host whose KVM is the software one must get that verdict.
 */
static void test_host(void)
{
    const char *expected = getenv("TENBOX_TEST_PROBE");
    int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct hv_reason reason = {"stale", "stale"};
    int result;

    if (kvm_fd < 0) {
        if (expected)
            tap_ok(false, "the host has /dev/kvm, as TENBOX_TEST_PROBE demands");
        else
            tap_skip("the host's KVM: /dev/kvm: %s", strerror(errno));
        return;
    }
    result = hv_probe_run(kvm_fd, HV_PROBE_LIMIT_MS, &reason);
    printf("# the host's KVM: %d, %s\n", result, reason.text ? reason.text : "passed");
    if (result == 0)
        tap_ok(!reason.field && !reason.text, "the host's KVM passes, without a reason");
    else
        tap_ok((result == -ENODEV || result == -ETIME) && !strcmp(reason.field, "kvm") &&
                   *reason.text,
               "the host's KVM gets a verdict in words: %d", result);
    if (expected && !strcmp(expected, "pass"))
        tap_ok(result == 0, "the host's KVM passes, as TENBOX_TEST_PROBE demands");
    if (access("/sys/module/kvm_pvm", F_OK) == 0)
        tap_ok(result == -ENODEV && strstr(reason.text, "KVM in software"),
               "a KVM in software is called that");
    test_each_ioctl(kvm_fd, "the host's KVM");
    close(kvm_fd);
}

int main(void)
{
    fake.fail_countdown = -1;
    fake.version = KVM_API_VERSION;
    fake.missing = UINT_MAX;
    test_good();
    test_each_step();
    test_no_interrupt_controller();
    test_capabilities();
    test_not_kvm();
    test_each_ioctl(-1, "the fake");
    test_watchdog();
    test_host();
    return tap_done();
}
