/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vCPU threads; the protocol of running, kicking and parking is in vcpu.h. */
#include "hypervisor/kvm/vcpu.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/kvm/kvm.h"

/*
 * Enough for the deepest device register, a log line and a signal frame with the largest vector
 * state of today's processors; a sanitizer's frames need more.
 */
#if defined(__SANITIZE_ADDRESS__)
#define STACK_SIZE (512 * 1024)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_SIZE (512 * 1024)
#endif
#endif
#ifndef STACK_SIZE
#define STACK_SIZE (128 * 1024)
#endif

static int kick_signal(void)
{
    return SIGRTMIN;
}

static void ignore_kick(int number)
{
}

int hv_vcpu_init_signal(void)
{
    struct sigaction action = {.sa_handler = ignore_kick};

    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: the point is to interrupt KVM_RUN. */
    return sigaction(kick_signal(), &action, NULL) < 0 ? -errno : 0;
}

static enum hv_vcpu_order present_order(struct hv_vcpu *vcpu)
{
    return (enum hv_vcpu_order)atomic_load_explicit(&vcpu->order, memory_order_acquire);
}

/*
 * Sleeps while the vCPU is parked and there is no other order. An order to park that came before
 * the thread had even woken to run is returned too: whoever gave it waits for parked().
 */
static enum hv_vcpu_order wait_for_order(struct hv_vcpu *vcpu)
{
    enum hv_vcpu_order order;

    pthread_mutex_lock(&vcpu->lock);
    while ((order = present_order(vcpu)) == HV_VCPU_ORDER_PARK && vcpu->is_parked) {
        pthread_cond_wait(&vcpu->changed, &vcpu->lock);
    }
    pthread_mutex_unlock(&vcpu->lock);
    return order;
}

static void announce_parked(struct hv_vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->lock);
    vcpu->is_parked = true;
    pthread_mutex_unlock(&vcpu->lock);
    vcpu->ops->parked(vcpu);
}

/* The vCPU's own wish to park; an order to quit stands above it. */
static void park_oneself(struct hv_vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->lock);
    if (present_order(vcpu) == HV_VCPU_ORDER_RUN) {
        atomic_store_explicit(&vcpu->order, HV_VCPU_ORDER_PARK, memory_order_release);
    }
    vcpu->run->immediate_exit = 1;
    pthread_mutex_unlock(&vcpu->lock);
}

/* Runs the guest until there is an order to stop. */
static void run_guest(struct hv_vcpu *vcpu)
{
    for (;;) {
        if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
            if (vcpu->ops->exited(vcpu) == HV_VCPU_PARK) {
                park_oneself(vcpu);
            }
            continue;
        }
        if (errno == EINTR || errno == EAGAIN) {
            /*
             * EINTR: a kick, or a signal that was not for us. The only place where an order is
             * obeyed: by now KVM has completed the access of the last exit.
             */
            if (present_order(vcpu) != HV_VCPU_ORDER_RUN) {
                return;
            }
            continue;
        }
        vcpu->ops->failed(vcpu, -errno);
        park_oneself(vcpu);
        return;
    }
}

/* Makes the call that was ordered. */
static void answer_call(struct hv_vcpu *vcpu)
{
    int (*function)(void *opaque);
    void *opaque;
    int result;

    pthread_mutex_lock(&vcpu->lock);
    function = vcpu->call;
    opaque = vcpu->call_opaque;
    pthread_mutex_unlock(&vcpu->lock);
    result = function(opaque);
    pthread_mutex_lock(&vcpu->lock);
    vcpu->call_result = result;
    atomic_store_explicit(&vcpu->order, HV_VCPU_ORDER_PARK, memory_order_release);
    pthread_cond_signal(&vcpu->changed);
    pthread_mutex_unlock(&vcpu->lock);
}

static void *vcpu_main(void *opaque)
{
    struct hv_vcpu *vcpu = opaque;
    enum hv_vcpu_order order;

    while ((order = wait_for_order(vcpu)) != HV_VCPU_ORDER_QUIT) {
        if (order == HV_VCPU_ORDER_CALL) {
            answer_call(vcpu);
            continue;
        }
        if (order == HV_VCPU_ORDER_RUN) {
            run_guest(vcpu);
        }
        announce_parked(vcpu);
    }
    return NULL;
}

/*
 * Every signal but the kick is the main thread's business. Those that an instruction of the thread
 * itself brings about stay open, too: the kernel kills a process that blocks one of them on the
 * spot, past the handler that would report it (a sanitizer's, say).
 */
static void fill_mask(sigset_t *ret_blocked)
{
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP};

    sigfillset(ret_blocked);
    sigdelset(ret_blocked, kick_signal());
    for (size_t i = 0; i < HV_ARRAY_SIZE(synchronous); i++) {
        sigdelset(ret_blocked, synchronous[i]);
    }
}

static int start_thread(struct hv_vcpu *vcpu)
{
    pthread_attr_t attributes;
    sigset_t blocked, previous;
    int error = pthread_attr_init(&attributes);

    if (error) {
        return -error;
    }
    error = pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (!error) {
        /* The child inherits the mask. */
        fill_mask(&blocked);
        pthread_sigmask(SIG_SETMASK, &blocked, &previous);
        error = pthread_create(&vcpu->thread, &attributes, vcpu_main, vcpu);
        pthread_sigmask(SIG_SETMASK, &previous, NULL);
    }
    pthread_attr_destroy(&attributes);
    return -error;
}

int hv_vcpu_create(unsigned int index, const struct hv_vcpu_ops *ops, void *opaque,
                   struct hv_vcpu **ret_vcpu)
{
    struct hv_vcpu *vcpu;
    int error = hv_vcpu_init_signal();

    if (error < 0) {
        return error;
    }
    vcpu = calloc(1, sizeof(*vcpu));
    if (!vcpu) {
        return -ENOMEM;
    }
    vcpu->index = index;
    vcpu->ops = ops;
    vcpu->opaque = opaque;
    vcpu->fd = -1;
    vcpu->is_parked = true;
    atomic_init(&vcpu->order, HV_VCPU_ORDER_PARK);
    pthread_mutex_init(&vcpu->lock, NULL);
    pthread_cond_init(&vcpu->changed, NULL);
    error = start_thread(vcpu);
    if (error < 0) {
        pthread_cond_destroy(&vcpu->changed);
        pthread_mutex_destroy(&vcpu->lock);
        free(vcpu);
        return error;
    }
    *ret_vcpu = vcpu;
    return 0;
}

/* Gives an order that ends a run. Returns without effect when the thread is to quit anyway. */
static void stop_running(struct hv_vcpu *vcpu, enum hv_vcpu_order order)
{
    pthread_mutex_lock(&vcpu->lock);
    if (present_order(vcpu) != HV_VCPU_ORDER_QUIT) {
        atomic_store_explicit(&vcpu->order, order, memory_order_release);
    }
    if (!vcpu->is_parked) {
        /* The thread is in its run loop, so the page is mapped until it parks. */
        vcpu->run->immediate_exit = 1;
        pthread_kill(vcpu->thread, kick_signal());
    }
    pthread_cond_signal(&vcpu->changed);
    pthread_mutex_unlock(&vcpu->lock);
}

void hv_vcpu_destroy(struct hv_vcpu *vcpu)
{
    if (!vcpu) {
        return;
    }
    stop_running(vcpu, HV_VCPU_ORDER_QUIT);
    pthread_join(vcpu->thread, NULL);
    hv_vcpu_close(vcpu);
    pthread_cond_destroy(&vcpu->changed);
    pthread_mutex_destroy(&vcpu->lock);
    free(vcpu);
}

int hv_vcpu_open(struct hv_vcpu *vcpu, const struct hv_kvm *kvm, unsigned long id)
{
    HV_AUTO_FD int fd = hv_kvm_vm_ioctl_value(kvm, KVM_CREATE_VCPU, id);
    void *run;

    if (fd < 0) {
        return fd;
    }
    run = mmap(NULL, kvm->vcpu_mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED) {
        return -errno;
    }
    vcpu->run = run;
    vcpu->run_size = kvm->vcpu_mmap_size;
    vcpu->fd = hv_take_fd(&fd);
    return 0;
}

void hv_vcpu_close(struct hv_vcpu *vcpu)
{
    if (vcpu->run) {
        munmap(vcpu->run, vcpu->run_size);
        vcpu->run = NULL;
    }
    hv_close_fd(&vcpu->fd);
}

int hv_vcpu_call(struct hv_vcpu *vcpu, int (*function)(void *opaque), void *opaque)
{
    int result;

    pthread_mutex_lock(&vcpu->lock);
    vcpu->call = function;
    vcpu->call_opaque = opaque;
    atomic_store_explicit(&vcpu->order, HV_VCPU_ORDER_CALL, memory_order_release);
    pthread_cond_signal(&vcpu->changed);
    while (present_order(vcpu) == HV_VCPU_ORDER_CALL) {
        pthread_cond_wait(&vcpu->changed, &vcpu->lock);
    }
    result = vcpu->call_result;
    pthread_mutex_unlock(&vcpu->lock);
    return result;
}

void hv_vcpu_resume(struct hv_vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->lock);
    if (vcpu->is_parked && present_order(vcpu) == HV_VCPU_ORDER_PARK) {
        vcpu->run->immediate_exit = 0;
        vcpu->is_parked = false;
        atomic_store_explicit(&vcpu->order, HV_VCPU_ORDER_RUN, memory_order_release);
        pthread_cond_signal(&vcpu->changed);
    }
    pthread_mutex_unlock(&vcpu->lock);
}

void hv_vcpu_request_park(struct hv_vcpu *vcpu)
{
    stop_running(vcpu, HV_VCPU_ORDER_PARK);
}

bool hv_vcpu_is_parked(struct hv_vcpu *vcpu)
{
    bool is_parked;

    pthread_mutex_lock(&vcpu->lock);
    is_parked = vcpu->is_parked;
    pthread_mutex_unlock(&vcpu->lock);
    return is_parked;
}

int hv_vcpu_ioctl(const struct hv_vcpu *vcpu, unsigned long request, const void *argument)
{
    return hv_ioctl_pointer(vcpu->fd, request, argument);
}
