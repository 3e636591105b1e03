/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine on a KVM that this test plays: what no guest can be made to do at will happens here on any
 * host. KVM's internal errors, refused entries, exits nobody knows, an exit page with nonsense in it,
 * writes that were kept back, and an errno from each ioctl() in turn, at creation and at a reset.
 *
 * The linker sends every ioctl() through __wrap_ioctl() (-Wl,--wrap=ioctl). VMs and vCPUs are memfds;
 * KVM_RUN of vCPU 0 plays a list of steps, one a call, then waits for a kick as an idle guest does.
 * What is not the same on every architecture is in machine-exits-*.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/hypervisor/machine-exits.h"

#define MIB (UINT64_C(1) << 20)

/* --- the KVM ----------------------------------------------------------------------------------- */

struct fake_kvm kvm;

int __wrap_ioctl(int fd, unsigned long request, ...);

static void forget_vcpus(void)
{
    for (unsigned int i = 0; i < kvm.vcpu_count; i++) {
        munmap(kvm.vcpus[i].run, RUN_SIZE);
    }
    kvm.vcpu_count = 0;
}

void reset_kvm(void)
{
    forget_vcpus();
    kvm.steps = NULL;
    kvm.step_count = kvm.position = 0;
    kvm.pending = NULL;
    kvm.version = KVM_API_VERSION;
    kvm.mmap_size = RUN_SIZE;
    kvm.max_vcpus = HV_MACHINE_MAX_VCPUS;
    kvm.missing = UINT32_MAX;
    kvm.countdown = -1;
    kvm.error = EIO;
    kvm.calls = 0;
    arch_reset_kvm();
}

int fail(int error)
{
    errno = error;
    return -1;
}

static int check_extension(unsigned int capability)
{
    if (capability == kvm.missing) {
        return 0;
    }
    switch (capability) {
    case KVM_CAP_COALESCED_MMIO: return RING_PAGE;
    case KVM_CAP_MAX_VCPUS: return kvm.max_vcpus;
    case KVM_CAP_NR_VCPUS: return 0;
    default: return arch_check_extension(capability);
    }
}

static int create_vcpu(unsigned long id)
{
    struct vcpu *vcpu = &kvm.vcpus[id];

    if (id != kvm.vcpu_count) {
        tap_bail("vCPUs are not created in order");
    }
    vcpu->fd = memfd_create("fake-vcpu", MFD_CLOEXEC);
    if (vcpu->fd < 0) {
        return -1; /* KVM lacks a descriptor, too, then */
    }
    if (ftruncate(vcpu->fd, RUN_SIZE) < 0) {
        tap_bail("no memory");
    }
    vcpu->run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        tap_bail("no memory");
    }
    kvm.vcpu_count++;
    return vcpu->fd;
}

unsigned int vcpu_index(int fd)
{
    unsigned int index = 0;

    while (index < kvm.vcpu_count && kvm.vcpus[index].fd != fd) {
        index++;
    }
    if (index == kvm.vcpu_count) {
        tap_bail("a request of a vCPU on something else");
    }
    return index;
}

/* As a guest that halts: until immediate_exit is set, which a signal comes with. */
static int idle(struct kvm_run *run)
{
    sigset_t kick, previous;

    sigemptyset(&kick);
    sigaddset(&kick, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &kick, &previous);
    while (!__atomic_load_n(&run->immediate_exit, __ATOMIC_ACQUIRE)) {
        sigsuspend(&previous);
    }
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    return fail(EINTR);
}

static int run_vcpu(int fd)
{
    unsigned int index = vcpu_index(fd);
    struct kvm_run *run = kvm.vcpus[index].run;
    const struct step *step;

    if (index == 0) {
        pthread_sigmask(SIG_SETMASK, NULL, &kvm.blocked);
    }
    if (index == 0 && kvm.pending) {
        step = kvm.pending;
        kvm.pending = NULL;
        step->check(run, step);
    }
    if (__atomic_load_n(&run->immediate_exit, __ATOMIC_ACQUIRE)) {
        return fail(EINTR);
    }
    if (index != 0 || kvm.position == kvm.step_count) {
        return idle(run);
    }
    step = &kvm.steps[kvm.position++];
    if (!step->fill) {
        return fail(step->error);
    }
    step->fill(run, step);
    kvm.pending = step->check ? step : NULL;
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *pointer;

    va_start(arguments, request);
    pointer = va_arg(arguments, void *);
    va_end(arguments);
    if (request != KVM_RUN && kvm.countdown == kvm.calls++) {
        kvm.failed_request = request;
        return fail(kvm.error);
    }
    switch (request) {
    case KVM_GET_API_VERSION: return kvm.version;
    case KVM_CHECK_EXTENSION: return check_extension((unsigned int)(uintptr_t)pointer);
    case KVM_GET_VCPU_MMAP_SIZE: return kvm.mmap_size;
    case KVM_CREATE_VM: forget_vcpus(); return memfd_create("fake-vm", MFD_CLOEXEC);
    case KVM_CREATE_VCPU: return create_vcpu((unsigned long)(uintptr_t)pointer);
    case KVM_RUN: return run_vcpu(fd);
    default: return arch_ioctl(fd, request, pointer);
    }
}

/* --- the owner --------------------------------------------------------------------------------- */

/* Called by the vCPU, looked at when the machine has stopped. */
static void console_output(void *opaque, const uint8_t *data, size_t length)
{
    struct fixture *fixture = opaque;

    for (size_t i = 0; i < length && fixture->output_length < sizeof(fixture->output) - 1; i++) {
        fixture->output[fixture->output_length++] = (char)data[i];
    }
}

static void log_line(void *opaque, int priority, const char *line)
{
    struct fixture *fixture = opaque;

    snprintf(fixture->log, sizeof(fixture->log), "%s", line);
    fixture->log_lines++;
}

static void input_ready(void *opaque)
{
}

static void paused(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->pauses++;
    hv_loop_quit(fixture->loop);
}

static void reset_done(void *opaque, enum hv_reset_source source)
{
    struct fixture *fixture = opaque;

    fixture->guest_resets += source == HV_RESET_BY_GUEST;
    fixture->host_resets += source == HV_RESET_BY_HOST;
}

static void stopped(void *opaque, enum hv_machine_exit exit, uint64_t detail)
{
    struct fixture *fixture = opaque;

    fixture->stops++;
    fixture->exit = exit;
    fixture->detail = detail;
    hv_loop_quit(fixture->loop);
}

static const struct hv_machine_ops machine_ops = {
    .console_output = console_output,
    .console_input_ready = input_ready,
    .paused = paused,
    .reset_done = reset_done,
    .stopped = stopped,
    .log = log_line,
};

int create(struct fixture *fixture, unsigned int vcpu_count, struct hv_reason *ret_reason)
{
    const struct hv_machine_config config = {
        .kvm_fd = fixture->kernel_fd, /* any descriptor: the test is KVM */
        .kernel_fd = fixture->kernel_fd,
        .initrd_fd = fixture->initrd_fd,
        .command_line = "",
        .memory_size = fixture->memory_size,
        .vcpu_count = vcpu_count,
    };

    memset(fixture->output, 0, sizeof(fixture->output));
    memset(fixture->log, 0, sizeof(fixture->log));
    fixture->output_length = 0;
    fixture->log_lines = 0;
    fixture->guest_resets = fixture->host_resets = fixture->pauses = fixture->stops = 0;
    fixture->exit = HV_MACHINE_EXIT_NONE;
    fixture->detail = 0;
    return hv_machine_create(fixture->loop, &config, &machine_ops, fixture, &fixture->machine,
                             ret_reason);
}

void destroy(struct fixture *fixture)
{
    hv_machine_destroy(fixture->machine);
    fixture->machine = NULL;
}

void play_on(struct fixture *fixture, const struct step *steps, size_t count)
{
    struct hv_reason reason;

    kvm.steps = steps;
    kvm.step_count = count;
    if (create(fixture, 1, &reason) < 0) {
        tap_bail(reason.text ? reason.text : "no machine");
    }
    hv_machine_start(fixture->machine);
    hv_loop_run(fixture->loop);
}

void play(struct fixture *fixture, const struct step *steps, size_t count)
{
    reset_kvm();
    play_on(fixture, steps, count);
}

uint64_t count_of(const struct fixture *fixture, const char *name)
{
    struct hv_exit_count rows[64];
    size_t count = hv_machine_exit_counts(fixture->machine, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].count;
        }
    }
    return UINT64_MAX;
}

/* --- steps ------------------------------------------------------------------------------------- */

void fill_exit(struct kvm_run *run, const struct step *step)
{
    run->exit_reason = (uint32_t)step->number;
}

static void fill_entry_failure(struct kvm_run *run, const struct step *step)
{
    run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    run->fail_entry.hardware_entry_failure_reason = step->value;
}

static void fill_internal_error(struct kvm_run *run, const struct step *step)
{
    run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run->internal.suberror = (uint32_t)step->value;
    run->internal.ndata = step->count;
    for (size_t i = 0; i < HV_ARRAY_SIZE(run->internal.data); i++) {
        run->internal.data[i] = UINT64_C(0xabcdef0123456700) + i;
    }
}

void fill_system_event(struct kvm_run *run, const struct step *step)
{
    run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run->system_event.type = (uint32_t)step->value;
}

static void fill_memory(struct kvm_run *run, const struct step *step, bool is_write)
{
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = step->number;
    run->mmio.len = step->size;
    run->mmio.is_write = is_write;
    memcpy(run->mmio.data, &step->value, sizeof(run->mmio.data));
}

void fill_load(struct kvm_run *run, const struct step *step)
{
    fill_memory(run, step, false);
}

void fill_store(struct kvm_run *run, const struct step *step)
{
    fill_memory(run, step, true);
}

uint64_t brought[8];
size_t brought_count;

void bring(uint64_t value)
{
    if (brought_count == HV_ARRAY_SIZE(brought)) {
        tap_bail("too much is noted");
    }
    brought[brought_count++] = value;
}

void note_memory(const struct kvm_run *run, const struct step *step)
{
    uint64_t value = 0;

    memcpy(&value, run->mmio.data, sizeof(value));
    bring(value);
}

/* --- how a machine ends ------------------------------------------------------------------------ */

void check_endings(struct fixture *fixture, const struct ending *endings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        play(fixture, &endings[i].step, 1);
        tap_ok(fixture->exit == endings[i].exit && fixture->detail == endings[i].detail &&
                   fixture->stops == 1,
               "%s: %s, detail %#llx", endings[i].what, hv_machine_exit_name(fixture->exit),
               (unsigned long long)fixture->detail);
        if (endings[i].log) {
            tap_ok(strstr(fixture->log, endings[i].log) != NULL, "… logged: %s", fixture->log);
        }
        destroy(fixture);
    }
}

static void test_endings(struct fixture *fixture)
{
    static const struct ending cases[] = {
        {"a triple fault",
         {.fill = fill_exit, .number = KVM_EXIT_SHUTDOWN},
         HV_MACHINE_EXIT_TRIPLE_FAULT,
         0,
         NULL},
        {"a refused entry",
         {.fill = fill_entry_failure, .value = 0x80000021},
         HV_MACHINE_EXIT_ENTRY_FAILED,
         0x80000021,
         NULL},
        {"an internal error",
         {.fill = fill_internal_error, .value = KVM_INTERNAL_ERROR_EMULATION, .count = 2},
         HV_MACHINE_EXIT_INTERNAL_ERROR,
         KVM_INTERNAL_ERROR_EMULATION,
         "internal error 1, data: abcdef0123456700 abcdef0123456701"},
        {"an internal error without data",
         {.fill = fill_internal_error, .value = KVM_INTERNAL_ERROR_DELIVERY_EV},
         HV_MACHINE_EXIT_INTERNAL_ERROR,
         KVM_INTERNAL_ERROR_DELIVERY_EV,
         "internal error 3, data:"},
        {"an internal error with more data than the page holds",
         {.fill = fill_internal_error, .value = 4, .count = UINT32_MAX},
         HV_MACHINE_EXIT_INTERNAL_ERROR,
         4,
         "abcdef0123456700"},
        {"an exit that nobody knows",
         {.fill = fill_exit, .number = 4711},
         HV_MACHINE_EXIT_UNKNOWN,
         4711,
         NULL},
        {"a halt, which KVM's own interrupt controller keeps",
         {.fill = fill_exit, .number = KVM_EXIT_HLT},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_HLT,
         NULL},
        {"a guest that powers off by a system event",
         {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_SHUTDOWN},
         HV_MACHINE_EXIT_GUEST_POWER_OFF,
         0,
         NULL},
        {"a guest that crashed",
         {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_CRASH},
         HV_MACHINE_EXIT_GUEST_CRASH,
         0,
         NULL},
        {"a system event that nobody knows",
         {.fill = fill_system_event, .value = 99},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_SYSTEM_EVENT,
         "system event 99"},
        {"KVM_RUN fails",
         {.error = EFAULT},
         HV_MACHINE_EXIT_HOST_ERROR,
         EFAULT,
         "vCPU 0 cannot run"},
        {"KVM_RUN fails as a broken KVM does",
         {.error = EIO},
         HV_MACHINE_EXIT_HOST_ERROR,
         EIO,
         "vCPU 0 cannot run"},
        {"a memory access of nine bytes",
         {.fill = fill_store, .number = 0xc0000000, .size = 9},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_MMIO,
         NULL},
    };

    check_endings(fixture, cases, HV_ARRAY_SIZE(cases));
}

static void test_continues(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_exit, .number = KVM_EXIT_INTR},
        {.error = EINTR},
        {.error = EAGAIN},
        POWER_OFF,
    };

    PLAY(steps);
    tap_is(fixture->exit, HV_MACHINE_EXIT_GUEST_POWER_OFF, "signals do not end a machine");
    tap_is(count_of(fixture, "other"), 2, "… but an exit is counted");
    destroy(fixture);
}

/* What the thread of a vCPU blocks: all but its kick and what its own instructions may bring about. */
static void test_signals(struct fixture *fixture)
{
    static const struct step steps[] = {POWER_OFF};
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP};
    unsigned int wrong = 0;

    PLAY(steps);
    destroy(fixture);
    for (int number = 1; number < SIGRTMIN; number++) {
        /* The C library keeps the first two for itself, and nobody can block two others. */
        bool is_open = number >= 32 || number == SIGKILL || number == SIGSTOP;

        for (size_t i = 0; i < HV_ARRAY_SIZE(open); i++) {
            is_open = is_open || number == open[i];
        }
        if (sigismember(&kvm.blocked, number) == is_open) {
            printf("# signal %d is wrong\n", number);
            wrong++;
        }
    }
    tap_is(wrong, 0,
           "a fault on the thread of a vCPU reaches its handler, another signal does not");
    tap_ok(sigismember(&kvm.blocked, SIGRTMIN) == 0 && sigismember(&kvm.blocked, SIGRTMIN + 1) == 1,
           "… nor any real-time signal but the kick");
}

static void test_guest_resets(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        POWER_OFF,
    };

    PLAY(steps);
    tap_ok(fixture->guest_resets == 2 && fixture->host_resets == 0, "system events reset");
    tap_is(count_of(fixture, "other"), 3, "exits are counted across resets");
    destroy(fixture);
}

/* --- KVMs that will not do --------------------------------------------------------------------- */

void is_refused(struct fixture *fixture, unsigned int vcpu_count, int error, const char *field,
                const char *what)
{
    struct hv_reason reason = {0};
    int result = create(fixture, vcpu_count, &reason);

    tap_ok(result == error && reason.field && strcmp(reason.field, field) == 0 && reason.text,
           "%s: refused (%d), %s: %s", what, result, reason.field ? reason.field : "?",
           reason.text ? reason.text : "?");
    if (result == 0) {
        destroy(fixture);
    }
}

static void test_refusals(struct fixture *fixture)
{
    static const struct {
        unsigned int capability;
        const char *what;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "no memory slots"},
        {KVM_CAP_IRQFD, "no irqfd"},
        {KVM_CAP_IOEVENTFD, "no ioeventfd"},
        {KVM_CAP_IMMEDIATE_EXIT, "no immediate_exit"},
    };
    struct hv_reason reason;

    for (size_t i = 0; i < HV_ARRAY_SIZE(needed); i++) {
        reset_kvm();
        kvm.missing = needed[i].capability;
        is_refused(fixture, 1, -ENODEV, "kvm", needed[i].what);
    }
    reset_kvm();
    kvm.version = 11;
    is_refused(fixture, 1, -ENODEV, "kvm", "another version");
    reset_kvm();
    kvm.mmap_size = 100;
    is_refused(fixture, 1, -ENODEV, "kvm", "a page of 100 bytes");
    reset_kvm();
    kvm.max_vcpus = 3;
    is_refused(fixture, 4, -EINVAL, "cpu_count", "4 vCPUs where 3 are the most");
    tap_is(create(fixture, 3, &reason), 0, "3 are not refused");
    destroy(fixture);
    reset_kvm();
    kvm.max_vcpus = 0;
    is_refused(fixture, 5, -EINVAL, "cpu_count", "5 vCPUs where nothing is said");

    reset_kvm();
    kvm.missing = KVM_CAP_COALESCED_PIO;
    tap_is(create(fixture, 1, &reason), 0, "a KVM that keeps no port writes back will do");
    destroy(fixture);
    reset_kvm();
    kvm.mmap_size = 2 * RUN_PAGE_SIZE;
    tap_is(create(fixture, 1, &reason), 0, "one whose ring is not in the page, too");
    destroy(fixture);
}

static void test_memory_sizes(struct fixture *fixture)
{
    static const struct {
        uint64_t size;
        int error; /* of hv_machine_create() */
        const char *words;
        const char *what;
    } sizes[] = {
        {0, -EINVAL, "at least 16 MiB", "no memory"},
        {MIB, -EINVAL, "at least 16 MiB", "1 MiB"},
        {15 * MIB, -EINVAL, "at least 16 MiB", "15 MiB"},
        {16 * MIB - 1, -EINVAL, "multiple", "a byte less than 16 MiB"},
        {16 * MIB + 4096, -EINVAL, "multiple", "a page more"},
        {16 * MIB, 0, "", "16 MiB"},
        {17 * MIB, 0, "", "17 MiB"},
        {UINT64_C(1) << 50, -ENOMEM, "more than the memory of this host", "1 PiB"},
        {UINT64_MAX - MIB + 1, -ENOMEM, "more than the memory of this host", "all there can be"},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
        struct hv_reason reason = {"left", "alone"};
        int error;

        reset_kvm();
        fixture->memory_size = sizes[i].size;
        error = create(fixture, 1, &reason);
        if (sizes[i].error == 0) {
            tap_ok(error == 0 && !reason.field && !reason.text, "%s", sizes[i].what);
            destroy(fixture);
        } else {
            tap_ok(error == sizes[i].error && strcmp(reason.field, "memory_mb") == 0 &&
                       strstr(reason.text, sizes[i].words),
                   "%s: \"%s\"", sizes[i].what, reason.text);
        }
    }
    fixture->memory_size = 16 * MIB;
}

/* --- leaks ------------------------------------------------------------------------------------- */

static unsigned int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned int count = 0;

    if (!folder) {
        tap_bail("no /proc");
    }
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

/* Mappings of the machine's memory and of vCPUs, the test's own of the latter not counted. */
static unsigned int count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned int count = 0;
    char line[512];

    if (!maps) {
        tap_bail("no /proc");
    }
    while (fgets(line, sizeof(line), maps)) {
        count += strstr(line, "tenbox-guest-memory") || strstr(line, "fake-vcpu");
    }
    fclose(maps);
    return count;
}

/* Each call of the creation fails once. Nothing may be left, and someone must be blamed. */
static void test_failures_of_creation(struct fixture *fixture)
{
    unsigned int before = count_descriptors(), failures = 0, silent = 0, leaks = 0, mappings = 0;
    int calls;

    reset_kvm();
    if (create(fixture, 2, NULL) < 0) {
        tap_bail("no machine");
    }
    calls = kvm.calls;
    destroy(fixture);
    for (int i = 0; i < calls; i++) {
        struct hv_reason reason = {0};
        int error;

        reset_kvm();
        kvm.countdown = i;
        error = create(fixture, 2, &reason);
        if (error == 0) {
            destroy(fixture);
        } else {
            failures++;
            if (!reason.field || !reason.text) {
                printf("# request %#lx fails without a word\n", kvm.failed_request);
                silent++;
            }
        }
        leaks += count_descriptors() != before;
        forget_vcpus();
        mappings += count_mappings();
    }
    tap_ok(failures >= 20, "of %d calls %u are needed", calls, failures);
    tap_is(silent, 0, "… and each is explained when it fails");
    tap_is(leaks, 0, "… and leaves no descriptor");
    tap_is(mappings, 0, "… and no mapping");
}

/* The same with ENOMEM: that KVM was being asked at the time would only mislead. */
static void test_no_memory_left(struct fixture *fixture)
{
    unsigned int failures = 0, wrong = 0;
    int calls;

    reset_kvm();
    if (create(fixture, 2, NULL) < 0) {
        tap_bail("no machine");
    }
    calls = kvm.calls;
    destroy(fixture);
    for (int i = 0; i < calls; i++) {
        struct hv_reason reason = {0};
        int error;

        reset_kvm();
        kvm.countdown = i;
        kvm.error = ENOMEM;
        error = create(fixture, 2, &reason);
        if (error == 0) {
            destroy(fixture);
        } else if (error == -ENOMEM) {
            failures++;
            wrong += strcmp(reason.field, "memory_mb") != 0 ||
                     strcmp(reason.text, "the host has no memory left") != 0;
        }
    }
    tap_ok(failures >= 15, "%u calls may find no memory", failures);
    tap_is(wrong, 0, "… which is what the user is told");
}

/* The table of descriptors is full, one descriptor later each time. */
static void test_no_descriptors_left(struct fixture *fixture)
{
    unsigned int before = count_descriptors(), silent = 0, leaks = 0;
    struct rlimit limit, low;
    int error = -EMFILE;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        tap_bail("no limits");
    }
    low = limit;
    low.rlim_cur = 0;
    for (; error < 0 && low.rlim_cur < 64; low.rlim_cur++) {
        struct hv_reason reason = {0};

        reset_kvm();
        setrlimit(RLIMIT_NOFILE, &low);
        error = create(fixture, 2, &reason);
        setrlimit(RLIMIT_NOFILE, &limit);
        if (error == 0) {
            destroy(fixture);
        } else {
            silent += error != -EMFILE || !reason.field || !reason.text;
        }
        leaks += count_descriptors() != before;
        forget_vcpus();
    }
    tap_is(error, 0, "%u descriptors are enough", (unsigned int)low.rlim_cur - 1);
    tap_is(silent, 0, "… and fewer are explained");
    tap_is(leaks, 0, "… and leave none open");
}

static void test_failures_of_reset(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        POWER_OFF,
    };
    unsigned int before = count_descriptors(), failures = 0, wrong = 0, leaks = 0;
    int first, last;

    reset_kvm();
    if (create(fixture, 1, NULL) < 0) {
        tap_bail("no machine");
    }
    first = kvm.calls;
    destroy(fixture);
    PLAY(steps);
    last = kvm.calls;
    destroy(fixture);
    for (int i = first; i < last; i++) {
        reset_kvm();
        kvm.steps = steps;
        kvm.step_count = HV_ARRAY_SIZE(steps);
        if (create(fixture, 1, NULL) < 0) {
            tap_bail("no machine");
        }
        kvm.countdown = i;
        hv_machine_start(fixture->machine);
        hv_loop_run(fixture->loop);
        if (fixture->exit == HV_MACHINE_EXIT_HOST_ERROR) {
            failures++;
            wrong += fixture->guest_resets || fixture->detail == 0 || fixture->stops != 1 ||
                     !strstr(fixture->log, "cannot be reset");
        } else {
            wrong += fixture->exit != HV_MACHINE_EXIT_GUEST_POWER_OFF || fixture->guest_resets != 1;
        }
        destroy(fixture);
        leaks += count_descriptors() != before;
    }
    tap_ok(failures >= 10, "a reset fails by %u of its calls", failures);
    tap_is(wrong, 0, "… which ends the machine with a word, once");
    tap_is(leaks, 0, "… and leaves no descriptor");
}

/* A cpio archive of no files, and zero bytes behind it. */
static const char archive[512] = "07070100000000000000000000000000000000000000010000000000000000"
                                 "000000000000000000000000000000000000000b00000000TRAILER!!!";

/* What becomes of a reset when the initrd is no longer what it was. */
static void test_initrd_at_reset(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        POWER_OFF,
    };
    static const struct {
        const char *what;
        int size; /* after the start */
        bool is_damaged;
        bool is_refused;
    } cases[] = {
        {"the same initrd", sizeof(archive), false, false},
        {"one that is checked at creation and not again", sizeof(archive), true, false},
        {"one a byte shorter", sizeof(archive) - 1, false, true},
        {"one a byte longer", sizeof(archive) + 1, false, true},
        {"one that is empty now", 0, false, true},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(cases); i++) {
        HV_AUTO_FD int initrd = memfd_create("initrd", MFD_CLOEXEC);
        struct hv_reason reason;

        if (initrd < 0 || pwrite(initrd, archive, sizeof(archive), 0) != sizeof(archive)) {
            tap_bail("no initrd");
        }
        reset_kvm();
        kvm.steps = steps;
        kvm.step_count = HV_ARRAY_SIZE(steps);
        fixture->initrd_fd = initrd;
        if (create(fixture, 1, &reason) < 0) {
            tap_bail(reason.text);
        }
        if (ftruncate(initrd, cases[i].size) < 0 ||
            (cases[i].is_damaged && pwrite(initrd, "x", 1, 0) != 1)) {
            tap_bail("no other initrd");
        }
        hv_machine_start(fixture->machine);
        hv_loop_run(fixture->loop);
        if (cases[i].is_refused) {
            tap_ok(fixture->exit == HV_MACHINE_EXIT_HOST_ERROR && fixture->guest_resets == 0 &&
                       fixture->detail == EINVAL && strstr(fixture->log, "initrd: has changed"),
                   "%s: \"%s\"", cases[i].what, fixture->log);
        } else {
            tap_ok(fixture->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF && fixture->guest_resets == 1,
                   "%s", cases[i].what);
        }
        destroy(fixture);
        if (cases[i].is_damaged) {
            is_refused(fixture, 1, -EINVAL, "initrd", "a new machine with that");
        }
        fixture->initrd_fd = -1;
    }
}

static void test_cycles(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        POWER_OFF,
    };
    unsigned int before = count_descriptors();

    for (unsigned int i = 0; i < 50; i++) {
        struct hv_reason reason;

        reset_kvm();
        kvm.steps = steps;
        kvm.step_count = HV_ARRAY_SIZE(steps);
        if (create(fixture, 1 + i % 8, &reason) < 0) {
            tap_bail(reason.text ? reason.text : "no machine");
        }
        /* One in five runs to its end, one is destroyed while it runs, one before. */
        if (i % 5 != 2) {
            hv_machine_start(fixture->machine);
        }
        if (i % 5 == 0) {
            hv_loop_run(fixture->loop);
        }
        destroy(fixture);
        /* Nobody may be called for a machine that is gone. */
        fixture->stops = 0;
        hv_loop_run_once(fixture->loop, 0);
        if (fixture->stops) {
            tap_bail("a machine that is gone has stopped");
        }
    }
    forget_vcpus();
    tap_is(count_descriptors(), before, "fifty machines later no descriptor is left");
    tap_is(count_mappings(), 0, "… and no mapping");
}

int main(void)
{
    struct fixture context = {0}, *fixture = &context;

    if (hv_loop_create(&fixture->loop) < 0) {
        tap_bail("no loop");
    }
    fixture->kernel_fd = arch_make_kernel();
    fixture->initrd_fd = -1;
    fixture->memory_size = 16 * MIB;
    test_endings(fixture);
    test_continues(fixture);
    test_signals(fixture);
    test_guest_resets(fixture);
    test_refusals(fixture);
    test_memory_sizes(fixture);
    test_failures_of_creation(fixture);
    test_no_memory_left(fixture);
    test_no_descriptors_left(fixture);
    test_failures_of_reset(fixture);
    test_initrd_at_reset(fixture);
    test_cycles(fixture);
    arch_test(fixture);
    forget_vcpus();
    hv_loop_destroy(fixture->loop);
    close(fixture->kernel_fd);
    return tap_done();
}
