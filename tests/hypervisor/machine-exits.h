/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The KVM that test-machine-exits plays, and the line between what every architecture has and what
 * one alone has. test-machine-exits.c holds the KVM, the owner of the machine and the cases that are
 * the same everywhere; machine-exits-x86_64.c and machine-exits-aarch64.c each define the functions
 * that begin with arch_, and the build takes one of the two.
 */
#pragma once

#include <signal.h>

#include "hypervisor/machine/machine-private.h"
#include "tests/hypervisor/tap.h"

#define HANG_LIMIT_MS 60000

#define RUN_PAGE_SIZE 4096u
#define RUN_SIZE      (3 * RUN_PAGE_SIZE)
#define RING_PAGE     2 /* of the pages of a vCPU, where KVM keeps writes back */

/* --- the KVM ----------------------------------------------------------------------------------- */

/* One KVM_RUN of vCPU 0. */
struct step {
    /* Fills the page as KVM would before it returns from KVM_RUN; NULL: KVM_RUN fails. */
    void (*fill)(struct kvm_run *run, const struct step *step);
    int error;
    uint64_t number; /* for fill() */
    uint64_t value;  /* for fill() */
    unsigned int size, count;
    /* Looks at the page when the vCPU comes back, with what a read has brought. */
    void (*check)(const struct kvm_run *run, const struct step *step);
};

struct vcpu {
    int fd;
    struct kvm_run *run;
};

struct fake_kvm {
    const struct step *steps; /* then vCPU 0 waits for a kick as an idle guest does */
    size_t step_count;
    size_t position;
    const struct step *pending; /* its check is due */
    struct vcpu vcpus[HV_MACHINE_MAX_VCPUS];
    unsigned int vcpu_count;
    sigset_t blocked; /* by the thread of vCPU 0 */

    int version;
    int mmap_size;
    int max_vcpus;
    unsigned int missing; /* this capability; UINT32_MAX: none */
    int countdown;        /* the call with this number, from 0, fails; -1: none */
    int error;            /* with this */
    int calls;
    unsigned long failed_request;
};
extern struct fake_kvm kvm;

/* A KVM without a fault and without a VM. */
void reset_kvm(void);
/* Sets errno; -1. */
int fail(int error);
/* The number of a vCPU by its descriptor. */
unsigned int vcpu_index(int fd);

/* --- the owner --------------------------------------------------------------------------------- */

struct fixture {
    struct hv_loop *loop;
    struct hv_machine *machine;
    int kernel_fd;
    int initrd_fd; /* -1: none */
    uint64_t memory_size;
    char output[64];
    size_t output_length;
    char log[512]; /* the last line */
    unsigned int log_lines;
    unsigned int guest_resets, host_resets, pauses, stops;
    enum hv_machine_exit exit;
    uint64_t detail;
};

int create(struct fixture *fixture, unsigned int vcpu_count, struct hv_reason *ret_reason);
void destroy(struct fixture *fixture);
/*
 * Plays @steps to the end of a new machine; if they do not end it, the test hangs. play() begins
 * with reset_kvm(), play_on() takes the KVM as it is.
 */
void play(struct fixture *fixture, const struct step *steps, size_t count);
void play_on(struct fixture *fixture, const struct step *steps, size_t count);
#define PLAY(steps) play(fixture, steps, HV_ARRAY_SIZE(steps))
uint64_t count_of(const struct fixture *fixture, const char *name);

/* A machine of @vcpu_count is not to be had from the KVM as it is set. */
void is_refused(struct fixture *fixture, unsigned int vcpu_count, int error, const char *field,
                const char *what);

/* A step, and how it ends the machine. */
struct ending {
    const char *what;
    struct step step;
    enum hv_machine_exit exit;
    uint64_t detail;
    const char *log; /* a part of it; NULL: no matter */
};
void check_endings(struct fixture *fixture, const struct ending *endings, size_t count);

/* --- steps ------------------------------------------------------------------------------------- */

/* An exit without anything else: @number. */
void fill_exit(struct kvm_run *run, const struct step *step);
/* @value is the type. */
void fill_system_event(struct kvm_run *run, const struct step *step);
/* An access to address @number of @size bytes. */
void fill_load(struct kvm_run *run, const struct step *step);
void fill_store(struct kvm_run *run, const struct step *step);

#define POWER_OFF                                                                                  \
    {                                                                                              \
        .fill = fill_system_event, .value = KVM_SYSTEM_EVENT_SHUTDOWN                              \
    }

/* What reads brought, in the order of their steps. */
extern uint64_t brought[8];
extern size_t brought_count;

void bring(uint64_t value);
void note_memory(const struct kvm_run *run, const struct step *step);

/* --- what an architecture adds ----------------------------------------------------------------- */

/* The smallest file that is a kernel. Its code is never run. */
int arch_make_kernel(void);
/* Back to a KVM without a fault. */
void arch_reset_kvm(void);
/* KVM_CHECK_EXTENSION of what is not answered for all. */
int arch_check_extension(unsigned int capability);
/* A request that is not answered for all. */
int arch_ioctl(int fd, unsigned long request, void *pointer);
void arch_test(struct fixture *fixture);
