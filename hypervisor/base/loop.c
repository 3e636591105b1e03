/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop. epoll carries the address of each source; a batch of events is kept in the loop
 * while it is dispatched, so that removing a source can strike it from the rest of the batch.
 * Posted tasks form a list under a lock; the poster of the first one writes to the eventfd.
 */
#include "hypervisor/base/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "hypervisor/base/hv-base.h"

#define BATCH_SIZE 32

struct hv_loop {
    int epoll_fd;              /* const */
    int wake_fd;               /* const */
    atomic_bool has_quit;      /* atomic */
    _Atomic(pthread_t) thread; /* atomic: set by create and run */

    struct hv_loop_source wake_source;     /* main */
    struct epoll_event batch[BATCH_SIZE];  /* main */
    unsigned int batch_next, batch_length; /* main */

    pthread_mutex_t lock;              /* a leaf lock */
    struct hv_loop_task *first, *last; /* lock */
};

static void wake(struct hv_loop *loop)
{
    uint64_t one = 1;
    ssize_t written;

    do {
        written = write(loop->wake_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    /* EAGAIN: the counter is at its limit, hence the loop is awake already. */
}

static struct hv_loop_task *take_task(struct hv_loop *loop)
{
    struct hv_loop_task *task;

    pthread_mutex_lock(&loop->lock);
    task = loop->first;
    if (task) {
        loop->first = task->next;
        if (!loop->first) {
            loop->last = NULL;
        }
        task->next = NULL;
        task->is_pending = false;
    }
    pthread_mutex_unlock(&loop->lock);
    return task;
}

static unsigned int count_tasks(struct hv_loop *loop)
{
    unsigned int count = 0;

    pthread_mutex_lock(&loop->lock);
    for (const struct hv_loop_task *task = loop->first; task; task = task->next) {
        count++;
    }
    pthread_mutex_unlock(&loop->lock);
    return count;
}

/*
 * Runs as many tasks as waited at the beginning: one that is posted again and again, by itself or
 * by a vCPU, must not keep descriptors and timers from their turn.
 */
static void run_tasks(void *opaque, int fd, uint32_t events)
{
    struct hv_loop *loop = opaque;
    struct hv_loop_task *task;
    unsigned int left;
    uint64_t count;

    /* Cleared before the list is looked at: a task posted to an empty one wakes the loop again. */
    if (read(fd, &count, sizeof(count)) < 0) {
        return;
    }
    for (left = count_tasks(loop); left > 0 && !atomic_load(&loop->has_quit); left--) {
        task = take_task(loop);
        if (!task) {
            break;
        }
        task->callback(task->opaque);
    }
    /* Whoever posts to a list that is not empty relies on a wake-up that was consumed above. */
    if (count_tasks(loop) > 0) {
        wake(loop);
    }
}

int hv_loop_create(struct hv_loop **ret_loop)
{
    struct hv_loop *loop = calloc(1, sizeof(*loop));
    int error;

    if (!loop) {
        return -ENOMEM;
    }
    atomic_store(&loop->thread, pthread_self());
    pthread_mutex_init(&loop->lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = loop->epoll_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        error = -errno;
        hv_loop_destroy(loop);
        return error;
    }
    error = hv_loop_add_fd(loop, &loop->wake_source, loop->wake_fd, EPOLLIN, run_tasks, loop);
    if (error < 0) {
        hv_loop_destroy(loop);
        return error;
    }
    *ret_loop = loop;
    return 0;
}

void hv_loop_destroy(struct hv_loop *loop)
{
    if (!loop) {
        return;
    }
    hv_close_fd(&loop->wake_fd);
    hv_close_fd(&loop->epoll_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

int hv_loop_run_once(struct hv_loop *loop, int timeout_ms)
{
    int count = epoll_wait(loop->epoll_fd, loop->batch, BATCH_SIZE, timeout_ms);

    if (count < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    loop->batch_length = (unsigned int)count;
    for (loop->batch_next = 0; loop->batch_next < loop->batch_length;) {
        const struct epoll_event *event = &loop->batch[loop->batch_next++];
        struct hv_loop_source *source = event->data.ptr;

        if (source && !atomic_load(&loop->has_quit)) {
            source->callback(source->opaque, source->fd, event->events);
        }
    }
    loop->batch_length = 0;
    return 0;
}

int hv_loop_run(struct hv_loop *loop)
{
    int error = 0;

    atomic_store(&loop->thread, pthread_self());
    while (error == 0 && !atomic_load(&loop->has_quit)) {
        error = hv_loop_run_once(loop, -1);
    }
    atomic_store(&loop->has_quit, false);
    return error;
}

void hv_loop_quit(struct hv_loop *loop)
{
    atomic_store(&loop->has_quit, true);
    wake(loop);
}

bool hv_loop_is_current(const struct hv_loop *loop)
{
    return pthread_equal(atomic_load(&loop->thread), pthread_self());
}

int hv_loop_add_fd(struct hv_loop *loop, struct hv_loop_source *source, int fd, uint32_t events,
                   hv_loop_fd_callback callback, void *opaque)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        return -errno;
    }
    *source = (struct hv_loop_source){
        .loop = loop,
        .fd = fd,
        .callback = callback,
        .opaque = opaque,
    };
    return 0;
}

int hv_loop_modify_fd(struct hv_loop_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (!source->loop) {
        return -ENOENT;
    }
    return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void hv_loop_remove_fd(struct hv_loop_source *source)
{
    struct hv_loop *loop = source ? source->loop : NULL;

    if (!loop) {
        return;
    }
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    for (unsigned int i = loop->batch_next; i < loop->batch_length; i++) {
        if (loop->batch[i].data.ptr == source) {
            loop->batch[i].data.ptr = NULL;
        }
    }
    source->loop = NULL;
}

void hv_loop_task_init(struct hv_loop_task *task, hv_loop_callback callback, void *opaque)
{
    *task = (struct hv_loop_task){.callback = callback, .opaque = opaque};
}

void hv_loop_post(struct hv_loop *loop, struct hv_loop_task *task)
{
    bool must_wake = false;

    pthread_mutex_lock(&loop->lock);
    if (!task->is_pending) {
        task->is_pending = true;
        must_wake = !loop->first;
        if (loop->last) {
            loop->last->next = task;
        } else {
            loop->first = task;
        }
        loop->last = task;
    }
    pthread_mutex_unlock(&loop->lock);
    if (must_wake) {
        wake(loop);
    }
}

void hv_loop_cancel(struct hv_loop *loop, struct hv_loop_task *task)
{
    struct hv_loop_task *previous = NULL;

    pthread_mutex_lock(&loop->lock);
    for (struct hv_loop_task *each = loop->first; each; previous = each, each = each->next) {
        if (each != task) {
            continue;
        }
        if (previous) {
            previous->next = task->next;
        } else {
            loop->first = task->next;
        }
        if (loop->last == task) {
            loop->last = previous;
        }
        break;
    }
    task->next = NULL;
    task->is_pending = false;
    pthread_mutex_unlock(&loop->lock);
}

static void timer_fired(void *opaque, int fd, uint32_t events)
{
    struct hv_loop_timer *timer = opaque;
    uint64_t expirations;

    /* Nothing to read: the timer was stopped or started anew since the kernel reported it. */
    if (read(fd, &expirations, sizeof(expirations)) == sizeof(expirations)) {
        timer->callback(timer->opaque);
    }
}

int hv_loop_timer_init(struct hv_loop *loop, struct hv_loop_timer *timer, hv_loop_callback callback,
                       void *opaque)
{
    HV_AUTO_FD int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int error;

    if (fd < 0) {
        return -errno;
    }
    error = hv_loop_add_fd(loop, &timer->source, fd, EPOLLIN, timer_fired, timer);
    if (error < 0) {
        return error;
    }
    timer->callback = callback;
    timer->opaque = opaque;
    timer->fd = hv_take_fd(&fd);
    return 0;
}

void hv_loop_timer_fini(struct hv_loop_timer *timer)
{
    if (!timer || !timer->source.loop) {
        return;
    }
    hv_loop_remove_fd(&timer->source);
    hv_close_fd(&timer->fd);
}

int hv_loop_timer_start(struct hv_loop_timer *timer, uint64_t delay_ms)
{
    struct itimerspec when = {
        .it_value.tv_sec = (time_t)hv_min_u64(delay_ms / 1000, INT32_MAX),
        /* All zero would disarm. */
        .it_value.tv_nsec = delay_ms ? (long)(delay_ms % 1000) * 1000000 : 1,
    };

    return timerfd_settime(timer->fd, 0, &when, NULL) < 0 ? -errno : 0;
}

void hv_loop_timer_stop(struct hv_loop_timer *timer)
{
    struct itimerspec never = {0};

    timerfd_settime(timer->fd, 0, &never, NULL);
}
