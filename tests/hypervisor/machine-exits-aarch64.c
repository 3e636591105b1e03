/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest can bring about on aarch64 alone: accesses that the processor does not describe; and
 * the counter that stands still over a pause.
 */
#include <sys/mman.h>

#include "hypervisor/arch/aarch64/memory-map.h"
#include "tests/hypervisor/machine-exits.h"

#define IMAGE_SIZE 65536u

/* Enough for the log's limit to bite. */
#define MANY 200u

/* --- the KVM ----------------------------------------------------------------------------------- */

static struct {
    uint64_t counter;          /* the guest's, which goes on as the test says */
    unsigned int counter_sets; /* of vCPU 0 */
    bool has_no_counter;
    bool has_fixed_counter; /* it cannot be set */
    bool has_gic[2];        /* version 2, version 3 */
    uint32_t made_gic;      /* the type of the last one */
    bool reports_accesses;  /* KVM_CAP_ARM_NISV_TO_USER is on */
    unsigned int aborts;    /* injected into vCPU 0, and nothing beside them */
    int abort_error;        /* what KVM_SET_VCPU_EVENTS says instead; 0: nothing */
} arm;

/* A plain Image for pages of 4 KiB, without a PE header. */
int arch_make_kernel(void)
{
    uint8_t image[4096] = {0};
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    hv_store_le64(image + 16, IMAGE_SIZE);
    hv_store_le64(image + 24, 1 << 1);
    memcpy(image + 56, "ARM\x64", 4);
    if (fd < 0 || write(fd, image, sizeof(image)) != sizeof(image)) {
        tap_bail("no kernel file");
    }
    return fd;
}

void arch_reset_kvm(void)
{
    arm = (__typeof__(arm)){.counter = 1000, .has_gic = {true, true}};
}

int arch_check_extension(unsigned int capability)
{
    return capability == KVM_CAP_ARM_VM_IPA_SIZE ? (int)HV_ARM_IPA_BITS_MAX : 1;
}

static int create_gic(struct kvm_create_device *request)
{
    if (!arm.has_gic[request->type == KVM_DEV_TYPE_ARM_VGIC_V3]) {
        return fail(ENODEV);
    }
    if (request->flags & KVM_CREATE_DEVICE_TEST) {
        return 0;
    }
    arm.made_gic = request->type;
    request->fd = (uint32_t)memfd_create("fake-gic", MFD_CLOEXEC);
    return 0;
}

static int get_register(int fd, const struct kvm_one_reg *request)
{
    uint64_t value = 0; /* of ID_AA64MMFR0_EL1: pages of 4 and 64 KiB */

    if (request->id == KVM_REG_ARM_TIMER_CNT) {
        if (arm.has_no_counter) {
            return fail(ENOENT);
        }
        value = arm.counter;
    } else if (request->id == ARM64_SYS_REG(3, 0, 0, 0, 5)) {
        value = vcpu_index(fd); /* MPIDR_EL1 */
    }
    memcpy((void *)(uintptr_t)request->addr, &value, sizeof(value));
    return 0;
}

static int set_register(int fd, const struct kvm_one_reg *request)
{
    if (request->id == KVM_REG_ARM_TIMER_CNT) {
        if (arm.has_fixed_counter) {
            return fail(EPERM);
        }
        memcpy(&arm.counter, (const void *)(uintptr_t)request->addr, sizeof(arm.counter));
        arm.counter_sets += vcpu_index(fd) == 0;
    }
    return 0;
}

static int set_events(int fd, const struct kvm_vcpu_events *events)
{
    const struct kvm_vcpu_events an_abort = {.exception.ext_dabt_pending = 1};

    if (arm.abort_error) {
        return fail(arm.abort_error);
    }
    if (vcpu_index(fd) == 0 && memcmp(events, &an_abort, sizeof(an_abort)) == 0) {
        arm.aborts++;
    }
    return 0;
}

int arch_ioctl(int fd, unsigned long request, void *pointer)
{
    switch (request) {
    case KVM_CREATE_DEVICE: return create_gic(pointer);
    case KVM_GET_ONE_REG: return get_register(fd, pointer);
    case KVM_SET_ONE_REG: return set_register(fd, pointer);
    case KVM_SET_VCPU_EVENTS: return set_events(fd, pointer);
    case KVM_ENABLE_CAP:
        arm.reports_accesses |= ((struct kvm_enable_cap *)pointer)->cap == KVM_CAP_ARM_NISV_TO_USER;
        return 0;
    default: return 0;
    }
}

/* --- accesses that cannot be decoded ----------------------------------------------------------- */

/* A pair of registers to address @number, say. */
static void fill_undecoded(struct kvm_run *run, const struct step *step)
{
    run->exit_reason = KVM_EXIT_ARM_NISV;
    run->arm_nisv.esr_iss = 0;
    run->arm_nisv.fault_ipa = step->number;
}

static void note_aborts(const struct kvm_run *run, const struct step *step)
{
    bring(arm.aborts);
}

static void test_undecoded_accesses(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_undecoded, .number = 0xffff00000000, .check = note_aborts},
        {.fill = fill_undecoded, .number = HV_ARM_UART_ADDRESS, .check = note_aborts},
        POWER_OFF,
    };

    brought_count = 0;
    PLAY(steps);
    tap_ok(arm.reports_accesses, "KVM is asked to report accesses that it cannot decode");
    tap_ok(brought_count == 2 && brought[0] == 1 && brought[1] == 2,
           "the guest has its abort before it goes on");
    tap_ok(fixture->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF && fixture->output_length == 0,
           "… and does go on; no device has seen anything");
    tap_ok(fixture->log_lines == 2 && strstr(fixture->log, "vCPU 0") &&
               strstr(fixture->log, "0x9000000 "),
           "the log says who and where: %s", fixture->log);
    tap_is(count_of(fixture, "other"), 3, "each is counted");
    destroy(fixture);
}

static void test_many_undecoded_accesses(struct fixture *fixture)
{
    static struct step steps[MANY + 1];

    for (unsigned int i = 0; i < MANY; i++) {
        steps[i] = (struct step){.fill = fill_undecoded, .number = i};
    }
    steps[MANY] = (struct step)POWER_OFF;
    PLAY(steps);
    tap_is(arm.aborts, MANY, "each of %u is answered", MANY);
    /* A slow machine may begin a second interval. */
    tap_ok(fixture->log_lines >= HV_LOG_BURST && fixture->log_lines <= 3 * (HV_LOG_BURST + 1),
           "a guest cannot fill the log (%u lines)", fixture->log_lines);
    destroy(fixture);
}

static void test_refused_abort(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_undecoded, .number = HV_ARM_UART_ADDRESS},
        POWER_OFF,
    };

    reset_kvm();
    arm.abort_error = EINVAL;
    play_on(fixture, steps, HV_ARRAY_SIZE(steps));
    tap_ok(fixture->exit == HV_MACHINE_EXIT_HOST_ERROR && fixture->detail == EINVAL &&
               fixture->stops == 1,
           "a KVM that takes no abort: %s, detail %llu", hv_machine_exit_name(fixture->exit),
           (unsigned long long)fixture->detail);
    destroy(fixture);
}

static void test_old_kernels(struct fixture *fixture)
{
    static const unsigned int capabilities[] = {KVM_CAP_ARM_NISV_TO_USER,
                                                KVM_CAP_ARM_INJECT_EXT_DABT};

    for (size_t i = 0; i < HV_ARRAY_SIZE(capabilities); i++) {
        struct hv_reason reason;

        reset_kvm();
        kvm.missing = capabilities[i];
        tap_ok(create(fixture, 1, &reason) == 0 && !arm.reports_accesses,
               "a KVM without one of the two capabilities is asked for nothing");
        destroy(fixture);
    }
}

/* --- the counter over a pause ------------------------------------------------------------------ */

/* Up to a machine that is paused at 1000, while the counter of KVM has gone on to 5000. */
static void pause_machine(struct fixture *fixture)
{
    struct hv_reason reason;

    if (create(fixture, 2, &reason) < 0) {
        tap_bail(reason.text ? reason.text : "no machine");
    }
    hv_machine_start(fixture->machine);
    if (hv_machine_pause(fixture->machine) < 0) {
        tap_bail("no pause");
    }
    hv_loop_run(fixture->loop);
    if (fixture->pauses != 1 || fixture->stops) {
        tap_bail("not paused");
    }
    arm.counter = 5000;
}

/* From there to a guest that switches itself off. */
static void resume_machine(struct fixture *fixture)
{
    static const struct step off[] = {POWER_OFF};

    kvm.steps = off;
    kvm.step_count = HV_ARRAY_SIZE(off);
    if (hv_machine_resume(fixture->machine) < 0) {
        tap_bail("no resumption");
    }
    hv_loop_run(fixture->loop);
}

static bool has_powered_off(const struct fixture *fixture)
{
    return fixture->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF && fixture->stops == 1;
}

static void test_pause(struct fixture *fixture)
{
    reset_kvm();
    pause_machine(fixture);
    tap_is(arm.counter_sets, 0, "a pause does not touch the counter");
    resume_machine(fixture);
    tap_ok(arm.counter == 1000 && arm.counter_sets == 1,
           "the counter goes on where it stood, set once for all vCPUs");
    tap_ok(has_powered_off(fixture) && fixture->log_lines == 0, "… and the guest, too");
    destroy(fixture);
}

/* The new guest of a reset begins with a counter of its own. */
static void test_reset_while_paused(struct fixture *fixture)
{
    reset_kvm();
    pause_machine(fixture);
    if (hv_machine_reset(fixture->machine) < 0) {
        tap_bail("no reset");
    }
    while (!fixture->host_resets) {
        hv_loop_run_once(fixture->loop, HANG_LIMIT_MS);
    }
    resume_machine(fixture);
    tap_ok(arm.counter == 5000 && arm.counter_sets == 0,
           "a reset while paused forgets where the counter stood");
    tap_ok(has_powered_off(fixture), "… and the new guest runs");
    destroy(fixture);
}

static void test_odd_counters(struct fixture *fixture)
{
    reset_kvm();
    arm.has_no_counter = true;
    pause_machine(fixture);
    resume_machine(fixture);
    tap_ok(arm.counter_sets == 0 && has_powered_off(fixture) && fixture->log_lines == 0,
           "a KVM that does not tell its counter: nothing is set, nothing said");
    destroy(fixture);

    reset_kvm();
    arm.has_fixed_counter = true;
    pause_machine(fixture);
    resume_machine(fixture);
    tap_ok(arm.counter == 5000 && has_powered_off(fixture) &&
               strstr(fixture->log, "cannot be set back"),
           "one that does not take it: the guest goes on, the log says so: %s", fixture->log);
    destroy(fixture);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static void test_endings(struct fixture *fixture)
{
    static const struct ending cases[] = {
        {"an access to a port, which this architecture does not have",
         {.fill = fill_exit, .number = KVM_EXIT_IO},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_IO,
         NULL},
    };

    check_endings(fixture, cases, HV_ARRAY_SIZE(cases));
}

static void test_accesses(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_store, .number = HV_ARM_UART_ADDRESS, .value = 'z', .size = 4},
        {.fill = fill_load, .number = HV_ARM_PCI_CONFIG_ADDRESS, .size = 4, .check = note_memory},
        {.fill = fill_load, .number = HV_ARM_PCI_WINDOW32_ADDRESS, .size = 8, .check = note_memory},
        {.fill = fill_load, .number = 0, .size = 2, .check = note_memory},
        {.fill = fill_store, .number = UINT64_MAX, .size = 8},
        POWER_OFF,
    };

    brought_count = 0;
    PLAY(steps);
    tap_ok(strcmp(fixture->output, "z") == 0, "a byte to the serial port");
    tap_is(brought_count, 3, "three reads");
    tap_is(brought[0], 0x00081b36, "the host bridge");
    tap_is(brought[1], -1, "eight bytes of an empty window");
    tap_is(brought[2], 0xffff, "two of nobody");
    tap_ok(count_of(fixture, "serial-data") == 1 && count_of(fixture, "pci-config") == 1 &&
               count_of(fixture, "pci-window") == 1 && count_of(fixture, "unassigned-mmio") == 2,
           "each where it belongs");
    destroy(fixture);
}

static void test_interrupt_controllers(struct fixture *fixture)
{
    static const uint32_t types[] = {KVM_DEV_TYPE_ARM_VGIC_V2, KVM_DEV_TYPE_ARM_VGIC_V3};
    struct hv_reason reason;

    for (size_t i = 0; i < HV_ARRAY_SIZE(types); i++) {
        reset_kvm();
        arm.has_gic[!i] = false;
        tap_ok(create(fixture, 8, &reason) == 0 && arm.made_gic == types[i],
               "a KVM that has GICv%zu alone", i + 2);
        destroy(fixture);
    }
    reset_kvm();
    arm.has_gic[1] = false;
    is_refused(fixture, 9, -EINVAL, "cpu_count", "9 vCPUs on a GICv2");
    reset_kvm();
    arm.has_gic[0] = arm.has_gic[1] = false;
    is_refused(fixture, 1, -ENODEV, "kvm", "no interrupt controller");
}

void arch_test(struct fixture *fixture)
{
    test_endings(fixture);
    test_accesses(fixture);
    test_undecoded_accesses(fixture);
    test_many_undecoded_accesses(fixture);
    test_refused_abort(fixture);
    test_old_kernels(fixture);
    test_pause(fixture);
    test_reset_while_paused(fixture);
    test_odd_counters(fixture);
    test_interrupt_controllers(fixture);
}
