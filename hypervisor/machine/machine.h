/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The face of libhypervisor.a: one virtual machine, from descriptors to a running guest.
 *
 * Theory of operation. A machine is created from a config that holds numbers and descriptors, never
 * a path. Creation does everything that can fail because of the user's input (reads and checks the
 * kernel, sizes memory, asks KVM for the interrupt controller), so that hv_machine_start() only
 * lets the vCPU threads go. The caller owns the main loop; every callback of struct hv_machine_ops
 * runs on it, with one exception that says so.
 *
 * A vCPU thread runs KVM_RUN and device registers and nothing else. When a guest asks for power-off
 * or reset, or KVM reports a fault, the vCPU that saw it posts a request to the main loop; the loop
 * stops all vCPUs (request and kick, never a blocking wait) and acts when the last one has parked.
 * A reset, whoever asked for it, throws the KVM VM away and builds a new one from the same
 * descriptors with the same vCPU threads: a second boot takes the very path of the first, there is
 * no register clean-up to forget.
 *
 * Threads: all functions are called on the thread of the main loop unless they say otherwise.
 * Errors: 0 or a negative errno. Where a machine cannot be made, struct hv_reason names the field
 * that is to blame, the user's or the host's, and says what is wrong.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hypervisor/base/reason.h"

struct hv_loop;
struct hv_machine;

/*
 * The largest number of vCPUs of any machine; hv_machine_create() refuses more than the interrupt
 * controller can carry.
 */
#define HV_MACHINE_MAX_VCPUS 64u

/*
 * What Linux takes on either architecture (COMMAND_LINE_SIZE without the NUL), at most: a kernel may
 * say less. Longer lines are refused, never cut.
 */
#define HV_MACHINE_MAX_COMMAND_LINE 2047u

/*
 * What ended a machine. Strings: hv_machine_exit_name(). Append only: the numbers travel in the
 * control protocol.
 */
enum hv_machine_exit {
    HV_MACHINE_EXIT_NONE = 0,
    HV_MACHINE_EXIT_GUEST_POWER_OFF =
        1, /* the guest switched itself off (ACPI S5, PSCI SYSTEM_OFF) */
    HV_MACHINE_EXIT_HOST_POWER_OFF = 2, /* hv_machine_power_off() */
    HV_MACHINE_EXIT_TRIPLE_FAULT =
        3, /* x86: a fault while delivering a double fault (KVM_EXIT_SHUTDOWN); detail has the
              index of the vCPU */
    HV_MACHINE_EXIT_INTERNAL_ERROR =
        4, /* KVM_EXIT_INTERNAL_ERROR: KVM could not carry on; detail has the suberror */
    HV_MACHINE_EXIT_ENTRY_FAILED =
        5, /* KVM_EXIT_FAIL_ENTRY: the processor refused the guest state; detail has its reason */
    HV_MACHINE_EXIT_UNKNOWN =
        6, /* an exit that this program does not know; detail has its number */
    HV_MACHINE_EXIT_GUEST_CRASH = 7, /* KVM_SYSTEM_EVENT_CRASH */
    HV_MACHINE_EXIT_HOST_ERROR =
        8, /* KVM_RUN or the rebuild of a reset failed; detail has the errno */
};

/* Who asked for a reset. */
enum hv_reset_source {
    HV_RESET_BY_GUEST = 0,
    HV_RESET_BY_HOST = 1,
};

/*
 * How a machine is built. Descriptors stay the caller's, and must stay open until
 * hv_machine_destroy(): a reset reads kernel and initrd again, and ends the machine when the size of
 * the initrd has changed. They are read with pread() only, so their file offset does not matter.
 */
struct hv_machine_config {
    int kvm_fd;               /* /dev/kvm, opened read-write */
    int kernel_fd;            /* bzImage or PVH ELF (x86_64); Image, gzip or EFI zboot (aarch64) */
    int initrd_fd;            /* -1: none */
    const char *command_line; /* NUL-terminated; "" is allowed; copied */
    uint64_t memory_size;     /* bytes; a multiple of 1 MiB, at least 16 of them */
    uint32_t vcpu_count;      /* 1 to HV_MACHINE_MAX_VCPUS */
};

/*
 * What the machine tells its owner. All mandatory unless marked; all on the main loop unless
 * marked.
 */
struct hv_machine_ops {
    /*
     * Bytes that the guest wrote to its serial console, in order, @length >= 1. Runs on a VCPU
     * THREAD under the lock of the serial port: copy the bytes to memory and return; no system call
     * that can block.
     */
    void (*console_output)(void *opaque, const uint8_t *data, size_t length);
    /* After hv_machine_console_input() took less than it was given: there is room again. */
    void (*console_input_ready)(void *opaque);
    /* All vCPUs have parked after hv_machine_pause(). */
    void (*paused)(void *opaque);
    /* The machine was rebuilt and runs again (or is paused, if it was when the host reset it). */
    void (*reset_done)(void *opaque, enum hv_reset_source source);
    /*
     * The machine has stopped for good: no vCPU runs any more. @detail: see enum hv_machine_exit.
     * Called once.
     */
    void (*stopped)(void *opaque, enum hv_machine_exit exit, uint64_t detail);
    /*
     * A line for the log, without newline. Guest-triggered lines are rate-limited before they get
     * here. Any thread.
     */
    void (*log)(void *opaque, int priority /* syslog.h LOG_* */, const char *line);
};

/*
 * Builds a machine; vCPU threads exist but wait. On failure *ret_machine is untouched, and
 * *ret_reason (may be NULL) says why, whatever it was; it is zeroed on success.
 *
 * -EINVAL   a field of @config is out of range, or kernel or initrd are not what they must be
 * -ENOMEM   the host cannot provide the memory of the guest, or has none left: field "memory_mb"
 * -ENODEV   KVM lacks something that the machine needs (no in-kernel interrupt controller, old API)
 * other     errno of the KVM ioctl that failed
 */
int hv_machine_create(struct hv_loop *loop, const struct hv_machine_config *config,
                      const struct hv_machine_ops *ops, void *opaque,
                      struct hv_machine **ret_machine, struct hv_reason *ret_reason);

/*
 * Stops and joins the vCPU threads (kicks them; does not wait for the guest) and frees everything.
 * Accepts NULL. Must not be called from within a callback.
 */
void hv_machine_destroy(struct hv_machine *machine);

/*
 * Runs @prepare on each vCPU thread, one after the other, and waits for it: for a thread to lower its
 * rights before the guest runs (seccomp). At the first negative result the rest is left out, and that
 * result returned. Before hv_machine_start(); -EALREADY after it.
 */
int hv_machine_prepare_vcpus(struct hv_machine *machine, int (*prepare)(void *opaque),
                             void *opaque);

/* Lets the vCPU threads go. -EALREADY: not the first time. */
int hv_machine_start(struct hv_machine *machine);

/*
 * Asks all vCPUs to park; ops->paused follows. -EALREADY: paused or pausing; -EBUSY: not started,
 * resetting, stopping or stopped.
 */
int hv_machine_pause(struct hv_machine *machine);
/*
 * -EALREADY: running; -EBUSY: not started, resetting, stopping or stopped, or the pause has not
 * completed.
 */
int hv_machine_resume(struct hv_machine *machine);
/* Pulls the reset line; ops->reset_done follows. -EBUSY: not started, resetting, stopping, stopped. */
int hv_machine_reset(struct hv_machine *machine);
/*
 * Presses the power button: an event to the guest (ACPI GED, gpio-keys), which may ignore it.
 * -EBUSY: not running.
 */
int hv_machine_press_power_button(struct hv_machine *machine);
/*
 * Switches the machine off; ops->stopped follows with HV_MACHINE_EXIT_HOST_POWER_OFF. Always
 * succeeds; idempotent.
 */
void hv_machine_power_off(struct hv_machine *machine);

/*
 * Gives bytes to the guest's serial port. Returns how many were taken (0 to @length): the queue is
 * bounded.
 */
size_t hv_machine_console_input(struct hv_machine *machine, const uint8_t *data, size_t length);

/*
 * A break of the guest's serial line, behind the input that waits; what Linux takes for the SysRq key. -EBUSY
 * while the guest has not read the last one.
 */
int hv_machine_console_break(struct hv_machine *machine);

/*
 * Exits to user space since the machine was created, resets included, by the device they went to.
 * Counters only grow; they are read while vCPUs run.
 */
struct hv_exit_count {
    /* NUL-terminated: "serial", "serial-data", "pci-config", "unassigned-pio", … */
    char name[24];
    uint64_t count;
};
/* Fills at most @capacity rows and returns the number there are (which may be larger). */
size_t hv_machine_exit_counts(const struct hv_machine *machine, struct hv_exit_count *rows,
                              size_t capacity);

/* "guest-power-off", "triple-fault", …; "invalid" for a number that is not in the enum. Static. */
const char *hv_machine_exit_name(enum hv_machine_exit exit);
