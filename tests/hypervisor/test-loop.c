/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop where it is easy to get wrong: sources that vanish while a batch is served, tasks
 * posted by several threads at once, timers that were stopped too late, and quitting.
 *
 * Nothing here measures time, except that a timer may not fire early.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/loop.h"
#include "tests/hypervisor/tap.h"

#define HOUR_MS (UINT64_C(3600) * 1000)

static struct hv_loop *new_loop(void)
{
    struct hv_loop *loop;

    if (hv_loop_create(&loop) < 0) {
        tap_bail("no loop");
    }
    return loop;
}

/* An eventfd that is readable at once. */
static int new_event(void)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        tap_bail("no eventfd");
    }
    return fd;
}

static void count_call(void *opaque)
{
    unsigned int *calls = opaque;

    (*calls)++;
}

static void count_event(void *opaque, int fd, uint32_t events)
{
    count_call(opaque);
}

/* --- descriptors ------------------------------------------------------------------------------- */

static void test_source(void)
{
    struct hv_loop *loop = new_loop();
    struct hv_loop_source source = {0}, other = {0};
    unsigned int calls = 0;
    HV_AUTO_FD int fd = new_event();

    tap_is(hv_loop_modify_fd(&source, EPOLLIN), -ENOENT, "a source that was not added has no mask");
    tap_is(hv_loop_add_fd(loop, &source, -1, EPOLLIN, count_event, &calls), -EBADF,
           "a descriptor that is none is refused");
    tap_ok(source.loop == NULL, "… and the source is still not added");
    tap_is(hv_loop_add_fd(loop, &source, fd, EPOLLIN, count_event, &calls), 0, "added");
    tap_is(hv_loop_add_fd(loop, &other, fd, EPOLLIN, count_event, &calls), -EEXIST,
           "a descriptor is added once");
    tap_ok(other.loop == NULL, "… and the second source is not added");

    hv_loop_run_once(loop, 0);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 2, "level-triggered: unread data are reported again");
    tap_is(hv_loop_modify_fd(&source, 0), 0, "interest is taken away");
    hv_loop_run_once(loop, 0);
    tap_is(calls, 2, "… and nothing is reported");
    hv_loop_modify_fd(&source, EPOLLIN);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 3, "… until it is back");

    hv_loop_remove_fd(&source);
    hv_loop_remove_fd(&source);
    hv_loop_remove_fd(NULL);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 3, "a removed source is silent, removing it twice harmless");
    tap_is(hv_loop_modify_fd(&source, EPOLLIN), -ENOENT, "a removed source cannot be modified");
    tap_is(hv_loop_add_fd(loop, &other, fd, EPOLLIN, count_event, &calls), 0,
           "its descriptor can be added anew");
    hv_loop_run_once(loop, 0);
    tap_is(calls, 4, "… and is served");
    hv_loop_remove_fd(&other);
    hv_loop_destroy(loop);
    hv_loop_destroy(NULL);
}

struct suicide {
    struct hv_loop_source source;
    int fd;
    unsigned int *calls;
};

static void remove_and_free(void *opaque, int fd, uint32_t events)
{
    struct suicide *suicide = opaque;

    (*suicide->calls)++;
    hv_loop_remove_fd(&suicide->source);
    close(fd);
    free(suicide);
}

static void test_freed_in_callback(void)
{
    struct hv_loop *loop = new_loop();
    unsigned int calls = 0;

    for (unsigned int i = 0; i < 3; i++) {
        struct suicide *suicide = calloc(1, sizeof(*suicide));

        suicide->calls = &calls;
        suicide->fd = new_event();
        hv_loop_add_fd(loop, &suicide->source, suicide->fd, EPOLLIN, remove_and_free, suicide);
    }
    hv_loop_run_once(loop, 0);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 3, "sources that free themselves are called once each");
    hv_loop_destroy(loop);
}

/* Two ready sources; whichever is served first removes the other, and may add it again. */
struct pair {
    struct hv_loop *loop;
    struct hv_loop_source sources[2];
    int fds[2];
    unsigned int calls[2];
    bool is_added_again;
};

static void remove_other(struct pair *pair, unsigned int self)
{
    unsigned int other = 1 - self;

    pair->calls[self]++;
    hv_loop_remove_fd(&pair->sources[other]);
}

static void first_of_pair(void *opaque, int fd, uint32_t events);
static void second_of_pair(void *opaque, int fd, uint32_t events);

static void add_to_pair(struct pair *pair, unsigned int index)
{
    if (hv_loop_add_fd(pair->loop, &pair->sources[index], pair->fds[index], EPOLLIN,
                       index ? second_of_pair : first_of_pair, pair) < 0) {
        tap_bail("cannot add a source");
    }
}

static void first_of_pair(void *opaque, int fd, uint32_t events)
{
    struct pair *pair = opaque;

    remove_other(pair, 0);
    if (pair->is_added_again) {
        add_to_pair(pair, 1);
    }
}

static void second_of_pair(void *opaque, int fd, uint32_t events)
{
    struct pair *pair = opaque;

    remove_other(pair, 1);
    if (pair->is_added_again) {
        add_to_pair(pair, 0);
    }
}

static void test_removed_in_batch(bool is_added_again)
{
    struct pair pair = {.loop = new_loop(), .is_added_again = is_added_again};

    for (unsigned int i = 0; i < 2; i++) {
        pair.fds[i] = new_event();
        add_to_pair(&pair, i);
    }
    hv_loop_run_once(pair.loop, 0);
    tap_is(pair.calls[0] + pair.calls[1], 1, "a source removed%s by another is not called%s",
           is_added_again ? " and added again" : "",
           is_added_again ? " for the old event" : " any more");
    hv_loop_run_once(pair.loop, 0);
    tap_is(pair.calls[0] + pair.calls[1], 2, "… and in the next turn one is");
    for (unsigned int i = 0; i < 2; i++) {
        hv_loop_remove_fd(&pair.sources[i]);
        close(pair.fds[i]);
    }
    hv_loop_destroy(pair.loop);
}

static void drain_event(void *opaque, int fd, uint32_t events)
{
    uint64_t count;

    count_call(opaque);
    if (read(fd, &count, sizeof(count)) < 0) {
        tap_bail("an event was reported that is not there");
    }
}

static void test_many_sources(void)
{
    struct hv_loop *loop = new_loop();
    struct hv_loop_source sources[100] = {0};
    unsigned int calls[100] = {0};
    bool is_once_each = true;

    for (size_t i = 0; i < HV_ARRAY_SIZE(sources); i++) {
        hv_loop_add_fd(loop, &sources[i], new_event(), EPOLLIN, drain_event, &calls[i]);
    }
    for (unsigned int turn = 0; turn < 8; turn++) {
        hv_loop_run_once(loop, 0);
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(sources); i++) {
        int fd = sources[i].fd;

        is_once_each = is_once_each && calls[i] == 1;
        hv_loop_remove_fd(&sources[i]);
        close(fd);
    }
    tap_ok(is_once_each, "a hundred ready sources, more than a batch, are called once each");
    hv_loop_destroy(loop);
}

/* --- tasks ------------------------------------------------------------------------------------- */

struct journal {
    char letters[64];
    size_t length;
};

struct letter {
    struct hv_loop *loop;
    struct hv_loop_task task;
    struct journal *journal;
    char letter;
    struct hv_loop_task *cancels; /* NULL: nothing */
    struct hv_loop_task *posts;   /* NULL: nothing */
};

static void write_letter(void *opaque)
{
    struct letter *letter = opaque;

    if (letter->journal->length < sizeof(letter->journal->letters) - 1) {
        letter->journal->letters[letter->journal->length++] = letter->letter;
    }
    if (letter->cancels) {
        hv_loop_cancel(letter->loop, letter->cancels);
    }
    if (letter->posts) {
        hv_loop_post(letter->loop, letter->posts);
    }
}

static void is_written(struct journal *journal, const char *expected, const char *what)
{
    if (!tap_ok(strcmp(journal->letters, expected) == 0, "%s", what)) {
        printf("# is \"%s\", should be \"%s\"\n", journal->letters, expected);
    }
    *journal = (struct journal){0};
}

static void test_tasks(void)
{
    struct hv_loop *loop = new_loop();
    struct journal journal = {0};
    struct letter letters[4];

    for (size_t i = 0; i < HV_ARRAY_SIZE(letters); i++) {
        letters[i] = (struct letter){.loop = loop, .journal = &journal, .letter = (char)('a' + i)};
        hv_loop_task_init(&letters[i].task, write_letter, &letters[i]);
    }
#define POST(index)   hv_loop_post(loop, &letters[index].task)
#define CANCEL(index) hv_loop_cancel(loop, &letters[index].task)
    hv_loop_run_once(loop, 0);
    is_written(&journal, "", "nothing posted, nothing run");
    POST(2);
    POST(0);
    POST(2);
    POST(1);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "cab", "tasks run in the order of posting, each once");
    hv_loop_run_once(loop, 0);
    is_written(&journal, "", "… and not again");

    POST(0);
    POST(1);
    POST(2);
    CANCEL(1);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "ac", "the middle one cancelled");
    POST(0);
    POST(1);
    CANCEL(0);
    POST(2);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "bc", "the first one cancelled");
    POST(0);
    POST(1);
    CANCEL(1);
    POST(2);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "ac", "the last one cancelled, and one posted after it");
    POST(0);
    CANCEL(0);
    CANCEL(0);
    CANCEL(3);
    POST(0);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "a", "cancelled twice and posted anew");
    POST(3);
    CANCEL(3);
    hv_loop_run_once(loop, 0);
    POST(1);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "b", "a wake-up for nothing loses no later one");

    letters[0].cancels = &letters[1].task;
    POST(0);
    POST(1);
    POST(2);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "ac", "a task cancels the one behind it");
    letters[0].cancels = NULL;

    /* A task that is posted while tasks run waits for descriptors to have had their turn. */
    letters[0].posts = &letters[0].task;
    POST(0);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "a", "a task that posts itself runs once a turn");
    hv_loop_run_once(loop, 0);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "aa", "… and does run in the next");
    letters[0].posts = NULL;
    hv_loop_run_once(loop, 0);
    hv_loop_run_once(loop, 0);
    is_written(&journal, "a", "… until it stops to");
#undef POST
#undef CANCEL
    hv_loop_destroy(loop);
}

struct poster {
    struct hv_loop *loop;
    struct hv_loop_task task;
    pthread_t thread;
    atomic_uint posted; /* atomic: by the thread, before it posts */
    unsigned int seen;  /* by the task */
    struct hv_loop_task *finished;
    atomic_uint *running; /* atomic: threads at work */
};

#define POSTS_PER_THREAD 20000u

static void *post_often(void *opaque)
{
    struct poster *poster = opaque;

    for (unsigned int i = 1; i <= POSTS_PER_THREAD; i++) {
        atomic_store(&poster->posted, i);
        hv_loop_post(poster->loop, &poster->task);
    }
    if (atomic_fetch_sub(poster->running, 1) == 1) {
        hv_loop_post(poster->loop, poster->finished);
    }
    return NULL;
}

static void note_posts(void *opaque)
{
    struct poster *poster = opaque;

    poster->seen = atomic_load(&poster->posted);
}

static void quit_loop(void *opaque)
{
    hv_loop_quit(opaque);
}

static void test_posters(void)
{
    struct hv_loop *loop = new_loop();
    struct poster posters[4] = {0};
    struct hv_loop_task finished;
    atomic_uint running = HV_ARRAY_SIZE(posters);
    bool is_all_seen = true;

    hv_loop_task_init(&finished, quit_loop, loop);
    for (size_t i = 0; i < HV_ARRAY_SIZE(posters); i++) {
        posters[i].loop = loop;
        posters[i].finished = &finished;
        posters[i].running = &running;
        hv_loop_task_init(&posters[i].task, note_posts, &posters[i]);
        if (pthread_create(&posters[i].thread, NULL, post_often, &posters[i])) {
            tap_bail("no thread");
        }
    }
    /* Ends by the last thread's task: a wake-up that is lost shows as a hang. */
    tap_is(hv_loop_run(loop), 0, "the loop runs while four threads post");
    for (size_t i = 0; i < HV_ARRAY_SIZE(posters); i++) {
        pthread_join(posters[i].thread, NULL);
        is_all_seen = is_all_seen && posters[i].seen == POSTS_PER_THREAD;
    }
    tap_ok(is_all_seen, "every task ran after it had been posted for the last time");
    hv_loop_destroy(loop);
}

/* --- quitting ---------------------------------------------------------------------------------- */

struct quitter {
    struct hv_loop *loop;
    struct hv_loop_task task;
    atomic_bool is_loop_current; /* atomic: what the thread was told */
};

static void *post_and_quit(void *opaque)
{
    struct quitter *quitter = opaque;

    atomic_store(&quitter->is_loop_current, hv_loop_is_current(quitter->loop));
    hv_loop_post(quitter->loop, &quitter->task);
    hv_loop_quit(quitter->loop);
    return NULL;
}

static void quit_on_event(void *opaque, int fd, uint32_t events)
{
    struct pair *pair = opaque;

    pair->calls[0]++;
    hv_loop_quit(pair->loop);
}

static void test_quit(void)
{
    struct pair pair = {.loop = new_loop()};
    struct hv_loop_task tasks[2];
    unsigned int calls = 0;

    hv_loop_quit(pair.loop);
    tap_is(hv_loop_run(pair.loop), 0, "a loop that was told to quit before does so at once");

    for (unsigned int i = 0; i < 2; i++) {
        pair.fds[i] = new_event();
        hv_loop_add_fd(pair.loop, &pair.sources[i], pair.fds[i], EPOLLIN, quit_on_event, &pair);
    }
    hv_loop_run(pair.loop);
    tap_is(pair.calls[0], 1, "quitting ends the batch after the callback in progress");
    hv_loop_run(pair.loop);
    tap_is(pair.calls[0], 2, "the loop can be run again");
    for (unsigned int i = 0; i < 2; i++) {
        hv_loop_remove_fd(&pair.sources[i]);
        close(pair.fds[i]);
    }

    hv_loop_task_init(&tasks[0], quit_loop, pair.loop);
    hv_loop_task_init(&tasks[1], count_call, &calls);
    hv_loop_post(pair.loop, &tasks[0]);
    hv_loop_post(pair.loop, &tasks[1]);
    hv_loop_run(pair.loop);
    tap_is(calls, 0, "a task behind one that quits does not run");
    hv_loop_post(pair.loop, &tasks[0]);
    hv_loop_run(pair.loop);
    tap_is(calls, 1, "… but in the next run");
    hv_loop_destroy(pair.loop);
}

static void test_quit_by_thread(void)
{
    struct quitter quitter = {.loop = new_loop()};
    unsigned int rounds = 2000;

    tap_ok(hv_loop_is_current(quitter.loop), "the loop belongs to the thread that made it");
    hv_loop_task_init(&quitter.task, quit_loop, quitter.loop);
    while (rounds > 0) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, post_and_quit, &quitter)) {
            tap_bail("no thread");
        }
        hv_loop_run(quitter.loop);
        pthread_join(thread, NULL);
        /* The task may have been left over. It quits too: if it were lost, this would hang. */
        hv_loop_post(quitter.loop, &quitter.task);
        hv_loop_run(quitter.loop);
        rounds--;
    }
    tap_is(rounds, 0, "quitting while a task is posted never loses the task");
    tap_ok(!quitter.is_loop_current, "another thread is not the loop's");
    hv_loop_destroy(quitter.loop);
}

static void handle_nothing(int number)
{
}

static void *interrupt(void *opaque)
{
    const pthread_t *target = opaque;

    for (unsigned int i = 0; i < 100; i++) {
        pthread_kill(*target, SIGUSR1);
    }
    return NULL;
}

static void test_signals(void)
{
    struct hv_loop *loop = new_loop();
    struct sigaction action = {.sa_handler = handle_nothing};
    pthread_t self = pthread_self(), thread;
    struct hv_loop_timer timer = {0};

    sigaction(SIGUSR1, &action, NULL);
    hv_loop_timer_init(loop, &timer, quit_loop, loop);
    hv_loop_timer_start(&timer, 50);
    if (pthread_create(&thread, NULL, interrupt, &self)) {
        tap_bail("no thread");
    }
    tap_is(hv_loop_run(loop), 0, "signals do not end the loop");
    pthread_join(thread, NULL);
    hv_loop_timer_fini(&timer);
    hv_loop_destroy(loop);
}

/* --- timers ------------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_timers(void)
{
    struct hv_loop *loop = new_loop();
    struct hv_loop_timer timer = {0}, late = {0};
    unsigned int calls = 0, late_calls = 0;
    uint64_t start;

    tap_is(hv_loop_timer_init(loop, &timer, count_call, &calls), 0, "a timer");
    hv_loop_timer_init(loop, &late, count_call, &late_calls);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 0, "a timer that was not started does not fire");
    hv_loop_timer_stop(&timer);

    hv_loop_timer_start(&late, HOUR_MS);
    tap_is(hv_loop_timer_start(&timer, 0), 0, "started for the next turn");
    hv_loop_run_once(loop, -1);
    hv_loop_run_once(loop, 0);
    tap_is(calls, 1, "… it fires once");

    start = now_ms();
    hv_loop_timer_start(&timer, 20);
    hv_loop_run_once(loop, -1);
    tap_ok(calls == 2 && now_ms() - start + 1 >= 20, "a timer does not fire early");

    hv_loop_timer_start(&timer, HOUR_MS);
    hv_loop_timer_start(&timer, 1);
    hv_loop_run_once(loop, -1);
    tap_is(calls, 3, "a second start replaces the first");
    hv_loop_timer_start(&timer, 1);
    hv_loop_timer_start(&timer, HOUR_MS);
    hv_loop_timer_start(&late, 2);
    hv_loop_run_once(loop, -1);
    tap_is(calls, 3, "… also by a later one");
    tap_is(late_calls, 1, "… while another timer goes its own way");

    tap_is(hv_loop_timer_start(&timer, UINT64_MAX), 0, "the longest delay is accepted");
    hv_loop_run_once(loop, 0);
    tap_is(calls, 3, "… and not taken for now");
    hv_loop_timer_stop(&timer);
    hv_loop_timer_fini(&timer);
    hv_loop_timer_fini(&timer);
    hv_loop_timer_fini(&late);
    hv_loop_timer_fini(NULL);
    hv_loop_destroy(loop);
}

struct racing_timers {
    struct hv_loop_timer timers[2];
    unsigned int calls;
    bool must_finish;
};

static void silence_both(void *opaque)
{
    struct racing_timers *race = opaque;

    race->calls++;
    for (unsigned int i = 0; i < 2; i++) {
        if (race->must_finish) {
            hv_loop_timer_fini(&race->timers[i]);
        } else {
            hv_loop_timer_stop(&race->timers[i]);
        }
    }
}

static void test_racing_timers(bool must_finish)
{
    struct hv_loop *loop = new_loop();
    struct racing_timers race = {.must_finish = must_finish};
    struct timespec both_are_due = {.tv_nsec = 2000000};

    for (unsigned int i = 0; i < 2; i++) {
        hv_loop_timer_init(loop, &race.timers[i], silence_both, &race);
        hv_loop_timer_start(&race.timers[i], 0);
    }
    /* Not a wait for an event: makes sure that both are in one batch, which is what can go wrong. */
    nanosleep(&both_are_due, NULL);
    hv_loop_run_once(loop, -1);
    hv_loop_run_once(loop, 0);
    tap_is(race.calls, 1, "of two timers that are due, the first %s both",
           must_finish ? "frees" : "stops");
    for (unsigned int i = 0; i < 2; i++) {
        hv_loop_timer_fini(&race.timers[i]);
    }
    hv_loop_destroy(loop);
}

int main(void)
{
    test_source();
    test_freed_in_callback();
    test_removed_in_batch(false);
    test_removed_in_batch(true);
    test_many_sources();
    test_tasks();
    test_posters();
    test_quit();
    test_quit_by_thread();
    test_signals();
    test_timers();
    test_racing_timers(false);
    test_racing_timers(true);
    return tap_done();
}
