/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console ring and the input queue: nothing is lost that fits, what does not fit is bounded, and an
 * announcement is never missed, whoever comes first.
 */
#include "tenbox-runtime/console.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

static struct rt_console new_console(void)
{
    HV_AUTO_FD int fd = memfd_create("ring", MFD_CLOEXEC);
    struct rt_console console;

    if (fd < 0 || ftruncate(fd, sizeof(struct rt_console_ring)) < 0 ||
        rt_console_init(&console, fd) < 0)
        tap_bail("console");
    return console;
}

static bool is_woken(const struct rt_console *console)
{
    struct pollfd wake = {.fd = console->wake_fd, .events = POLLIN};

    return poll(&wake, 1, 0) == 1;
}

static void write_text(struct rt_console *console, const char *text)
{
    rt_console_write(console, (const uint8_t *)text, strlen(text));
}

static void test_announcements(void)
{
    HV_CLEANUP(rt_console_fini) struct rt_console console = new_console();
    uint64_t position = 0;

    tap_ok(!is_woken(&console), "a fresh console is silent");
    write_text(&console, "abc");
    tap_ok(is_woken(&console), "the first output wakes the main loop");
    tap_ok(rt_console_take_announcement(&console, &position) && position == 3,
           "and is announced with its position");
    tap_ok(memcmp(console.ring->data, "abc", 3) == 0 && console.ring->position == 3,
           "the bytes are in the ring");
    write_text(&console, "def");
    tap_ok(!is_woken(&console), "until the controller has read, nobody is woken again");
    rt_console_seen(&console);
    tap_ok(is_woken(&console) && rt_console_take_announcement(&console, &position) && position == 6,
           "what came meanwhile is announced then");
    rt_console_seen(&console);
    tap_ok(!rt_console_take_announcement(&console, &position), "nothing new, nothing said");
    write_text(&console, "g");
    tap_ok(is_woken(&console) && rt_console_take_announcement(&console, &position) && position == 7,
           "and the next output wakes again");
}

static void test_wrap(void)
{
    HV_CLEANUP(rt_console_fini) struct rt_console console = new_console();
    uint8_t piece[1000];
    uint64_t written = 0;
    bool is_right = true;

    while (written < 3 * RT_CONSOLE_RING_SIZE) {
        for (size_t i = 0; i < sizeof(piece); i++)
            piece[i] = (uint8_t)((written + i) * 7);
        rt_console_write(&console, piece, sizeof(piece));
        written += sizeof(piece);
    }
    for (uint64_t n = written - RT_CONSOLE_RING_SIZE; n < written; n++)
        is_right = is_right && console.ring->data[n % RT_CONSOLE_RING_SIZE] == (uint8_t)(n * 7);
    tap_ok(is_right && console.ring->position == written,
           "after three turns the ring holds the last 256 KiB");
}

static void test_input(void)
{
    HV_CLEANUP(rt_console_fini) struct rt_console console = new_console();
    uint8_t bytes[RT_CONSOLE_INPUT_CREDIT];
    const uint8_t *data;

    memset(bytes, 'x', sizeof(bytes));
    tap_ok(rt_console_queue_input(&console, bytes, sizeof(bytes)) == 0,
           "a full credit of input is taken");
    tap_ok(rt_console_queue_input(&console, bytes, 1) == -ENOBUFS, "one byte more is not");
    tap_ok(rt_console_peek_input(&console, &data) == sizeof(bytes), "all of it can be peeked at");
    rt_console_consume_input(&console, 100);
    tap_ok(rt_console_take_credit(&console) == 0, "a little credit of a long paste waits");
    tap_ok(rt_console_queue_input(&console, bytes, 1) == -ENOBUFS,
           "and may not be used before it was given");
    rt_console_consume_input(&console, 2000);
    tap_ok(rt_console_take_credit(&console) == 2100, "a good piece is given back");
    tap_ok(rt_console_queue_input(&console, bytes, 2100) == 0, "and can be used");
    tap_ok(rt_console_peek_input(&console, &data) == sizeof(bytes) - 2100,
           "the queue wraps around its end");
    rt_console_reset_input(&console);
    tap_ok(rt_console_peek_input(&console, &data) == 0 &&
               rt_console_queue_input(&console, bytes, sizeof(bytes)) == 0,
           "a new controller starts with full credit");
}

#define THREAD_BYTES 2000000u

static void *print_much(void *opaque)
{
    for (uint32_t i = 0; i < THREAD_BYTES; i++)
        rt_console_write(opaque, (const uint8_t *)"a", 1);
    return NULL;
}

/* A reader that always says "seen" must learn of the last byte by events alone. */
static void test_race(void)
{
    HV_CLEANUP(rt_console_fini) struct rt_console console = new_console();
    uint64_t position = 0;
    pthread_t thread;

    if (pthread_create(&thread, NULL, print_much, &console) != 0)
        tap_bail("thread");
    while (position < THREAD_BYTES) {
        struct pollfd wake = {.fd = console.wake_fd, .events = POLLIN};

        if (poll(&wake, 1, 60000) != 1)
            break;
        if (rt_console_take_announcement(&console, &position))
            rt_console_seen(&console);
    }
    pthread_join(thread, NULL);
    tap_ok(position == THREAD_BYTES, "no announcement is lost between two threads (%llu of %u)",
           (unsigned long long)position, THREAD_BYTES);
}

int main(void)
{
    test_announcements();
    test_wrap();
    test_input();
    test_race();
    return tap_done();
}
