/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vCPU: a thread for the life of the machine, and a KVM vCPU descriptor for the life of a VM.
 *
 * The thread is either parked (asleep on a condition variable) or in its run loop. Who wants it
 * out asks with hv_vcpu_request_park(): that stores the wish, sets immediate_exit in the shared
 * page and sends a signal whose handler does nothing. Either KVM_RUN is interrupted by the signal,
 * or it sees immediate_exit on its way in; there is no window between the two. KVM completes the
 * port or memory access of the previous exit before it looks at immediate_exit, so a parked vCPU
 * never has half an instruction pending. immediate_exit is cleared only by hv_vcpu_resume(), when
 * the thread is known to be parked.
 *
 * While a vCPU is parked, the main loop may use its descriptor, close it and open another one.
 *
 * System calls of the thread, once hv_vcpu_call() has confined it: ioctl(KVM_RUN), futex,
 * rt_sigreturn, whatever the ops do, and at its end those of a thread's exit (madvise, munmap is left
 * to the joiner, exit).
 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hv_kvm;
struct hv_vcpu;

enum hv_vcpu_verdict {
    HV_VCPU_CONTINUE, /* back into the guest */
    HV_VCPU_PARK,     /* sleep until hv_vcpu_resume() */
};

/* All run on the vCPU's thread, without a lock. */
struct hv_vcpu_ops {
    /* KVM_RUN returned 0: look at vcpu->run. */
    enum hv_vcpu_verdict (*exited)(struct hv_vcpu *vcpu);
    /* KVM_RUN failed with the negative @error; the vCPU parks. */
    void (*failed)(struct hv_vcpu *vcpu, int error);
    /* The vCPU counts as parked from now on; called once each time. */
    void (*parked)(struct hv_vcpu *vcpu);
};

enum hv_vcpu_order {
    HV_VCPU_ORDER_PARK,
    HV_VCPU_ORDER_CALL, /* of a parked vCPU, which stays parked */
    HV_VCPU_ORDER_RUN,
    HV_VCPU_ORDER_QUIT,
};

struct hv_vcpu {
    unsigned int index;            /* const */
    const struct hv_vcpu_ops *ops; /* const */
    void *opaque;                  /* const: the machine */
    pthread_t thread;              /* const */
    int fd;                        /* main while parked, vcpu (read) while running; -1: none */
    struct kvm_run *run;           /* the same */
    size_t run_size;               /* the same */
    atomic_int order;              /* atomic: enum hv_vcpu_order; written under lock */
    pthread_mutex_t lock;          /* a leaf lock */
    pthread_cond_t changed;        /* order has changed */
    bool is_parked;                /* lock */
    int (*call)(void *opaque);     /* lock: what HV_VCPU_ORDER_CALL is about */
    void *call_opaque;             /* lock */
    int call_result;               /* lock */
};

/*
 * Installs the empty handler of the kick signal for the whole process. Idempotent; hv_vcpu_create()
 * relies on it.
 */
int hv_vcpu_init_signal(void);

/* Starts the thread, parked, without a KVM vCPU. @ops and @opaque must outlive it. */
int hv_vcpu_create(unsigned int index, const struct hv_vcpu_ops *ops, void *opaque,
                   struct hv_vcpu **ret_vcpu);
/* Kicks and joins the thread, then closes. Accepts NULL. Never from the vCPU's thread. */
void hv_vcpu_destroy(struct hv_vcpu *vcpu);

/* KVM_CREATE_VCPU with @id and the shared page. The vCPU must be parked. */
int hv_vcpu_open(struct hv_vcpu *vcpu, const struct hv_kvm *kvm, unsigned long id);
/* The vCPU must be parked. */
void hv_vcpu_close(struct hv_vcpu *vcpu);

/*
 * Runs @function on the vCPU's thread and waits for its result. The vCPU must be parked, and nobody
 * else may give it orders meanwhile. This is the one place where the main loop waits for a vCPU: while
 * a machine is born.
 */
int hv_vcpu_call(struct hv_vcpu *vcpu, int (*function)(void *opaque), void *opaque);

/* Lets a parked vCPU run. */
void hv_vcpu_resume(struct hv_vcpu *vcpu);
/* Any thread, the vCPU's own included. Returns at once; ops->parked() follows unless parked. */
void hv_vcpu_request_park(struct hv_vcpu *vcpu);
bool hv_vcpu_is_parked(struct hv_vcpu *vcpu);

/* ioctl on the vCPU descriptor: the result or a negative errno. */
int hv_vcpu_ioctl(const struct hv_vcpu *vcpu, unsigned long request, const void *argument);
