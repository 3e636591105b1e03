/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An event loop on epoll: descriptors, timers (one timerfd each) and tasks posted from any thread
 * through one eventfd.
 *
 * Sources, timers and tasks are embedded in what they serve; the loop allocates nothing after its
 * creation and never owns a descriptor that was added to it. All functions are for the loop's own
 * thread, except hv_loop_post(), hv_loop_quit() and hv_loop_is_current(), which any thread may call.
 * The loop's thread is the one that created it until another one calls hv_loop_run().
 *
 * Within a callback everything may be added, changed, removed or freed, the source that is being
 * served included: a removed source is never called again, not even for an event that the kernel
 * had already reported.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hv_loop;

/* @events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP as the kernel reported them. */
typedef void (*hv_loop_fd_callback)(void *opaque, int fd, uint32_t events);
typedef void (*hv_loop_callback)(void *opaque);

/* Zeroed = not added. */
struct hv_loop_source {
    struct hv_loop *loop; /* main: NULL when not added */
    int fd;
    hv_loop_fd_callback callback;
    void *opaque;
};

/*
 * Work for the loop's thread. Posting a task that is waiting already is a no-op, so a task says
 * "look again", and carries no data. The memory must live until the task has run or was cancelled.
 */
struct hv_loop_task {
    hv_loop_callback callback; /* const after hv_loop_task_init() */
    void *opaque;              /* const */
    struct hv_loop_task *next; /* lock (the loop's) */
    bool is_pending;           /* lock */
};

struct hv_loop_timer {
    struct hv_loop_source source;
    int fd;
    hv_loop_callback callback;
    void *opaque;
};

int hv_loop_create(struct hv_loop **ret_loop);
/* Accepts NULL. Sources that are still added are forgotten, not closed. */
void hv_loop_destroy(struct hv_loop *loop);

/* Serves events until hv_loop_quit(). 0, or the errno of epoll_wait(). */
int hv_loop_run(struct hv_loop *loop);
/* Serves what is ready or becomes ready within @timeout_ms (-1: for ever) once; for tests. */
int hv_loop_run_once(struct hv_loop *loop, int timeout_ms);
/* Any thread. hv_loop_run() returns after the callback in progress. */
void hv_loop_quit(struct hv_loop *loop);
/* Any thread. Whether the caller is the loop's thread. */
bool hv_loop_is_current(const struct hv_loop *loop);

/*
 * Watches @fd, level-triggered, for @events (EPOLLIN, EPOLLOUT or both; 0: only errors). The
 * descriptor stays the caller's, who removes the source before closing it.
 */
int hv_loop_add_fd(struct hv_loop *loop, struct hv_loop_source *source, int fd, uint32_t events,
                   hv_loop_fd_callback callback, void *opaque);
int hv_loop_modify_fd(struct hv_loop_source *source, uint32_t events);
/* Accepts NULL and a source that is not added. */
void hv_loop_remove_fd(struct hv_loop_source *source);

void hv_loop_task_init(struct hv_loop_task *task, hv_loop_callback callback, void *opaque);
/* Any thread. Wakes the loop; issues at most one write() and takes one leaf lock. */
void hv_loop_post(struct hv_loop *loop, struct hv_loop_task *task);
/* The task will not run any more unless posted anew. */
void hv_loop_cancel(struct hv_loop *loop, struct hv_loop_task *task);

/* Creates the timerfd; the timer is not armed. */
int hv_loop_timer_init(struct hv_loop *loop, struct hv_loop_timer *timer, hv_loop_callback callback,
                       void *opaque);
/* Accepts NULL and zeroed memory. */
void hv_loop_timer_fini(struct hv_loop_timer *timer);
/* Fires once, @delay_ms from now (0: in the next turn); replaces an earlier start. */
int hv_loop_timer_start(struct hv_loop_timer *timer, uint64_t delay_ms);
void hv_loop_timer_stop(struct hv_loop_timer *timer);
