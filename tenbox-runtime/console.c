/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/console.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

int rt_console_init(struct rt_console *console, int ring_fd)
{
    struct rt_console_ring *ring;
    int wake_fd;

    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return -errno;
    ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    if (ring == MAP_FAILED) {
        int r = -errno;

        close(wake_fd);
        return r;
    }
    *console = (struct rt_console){
        .ring = ring,
        .wake_fd = wake_fd,
    };
    return 0;
}

void rt_console_fini(struct rt_console *console)
{
    if (console->ring == NULL)
        return;
    munmap(console->ring, sizeof(*console->ring));
    close(console->wake_fd);
    console->ring = NULL;
}

void rt_console_write(struct rt_console *console, const uint8_t *data, size_t length)
{
    /* The position is kept privately: what lies in shared memory is for the reader only. */
    while (length > 0) {
        size_t offset = console->position % RT_CONSOLE_RING_SIZE;
        size_t piece = hv_min_u64(length, RT_CONSOLE_RING_SIZE - offset);

        memcpy(console->ring->data + offset, data, piece);
        console->position += piece;
        data += piece;
        length -= piece;
    }
    __atomic_store_n(&console->ring->position, console->position, __ATOMIC_SEQ_CST);

    if (!atomic_exchange(&console->is_announced, true)) {
        const uint64_t one = 1;

        (void)!write(console->wake_fd, &one, sizeof(one));
    }
}

bool rt_console_take_announcement(struct rt_console *console, uint64_t *ret_position)
{
    uint64_t position;
    uint64_t count;

    (void)!read(console->wake_fd, &count, sizeof(count));
    position = __atomic_load_n(&console->ring->position, __ATOMIC_SEQ_CST);
    if (position == console->announced_position) {
        /* Nothing new: let the next write wake us, and look again for one that came just before. */
        atomic_store(&console->is_announced, false);
        position = __atomic_load_n(&console->ring->position, __ATOMIC_SEQ_CST);
        if (position == console->announced_position)
            return false;
        atomic_store(&console->is_announced, true);
    }
    console->announced_position = position;
    *ret_position = position;
    return true;
}

void rt_console_seen(struct rt_console *console)
{
    const uint64_t one = 1;

    /* The handler of wake_fd decides whether there is more to say. */
    atomic_store(&console->is_announced, true);
    (void)!write(console->wake_fd, &one, sizeof(one));
}

int rt_console_queue_input(struct rt_console *console, const uint8_t *data, size_t length)
{
    if (length > sizeof(console->input) - console->input_length - console->credit_owed)
        return -ENOBUFS;
    for (size_t i = 0; i < length; i++) {
        size_t offset = (console->input_start + console->input_length) % sizeof(console->input);

        console->input[offset] = data[i];
        console->input_length++;
    }
    return 0;
}

size_t rt_console_peek_input(const struct rt_console *console, const uint8_t **ret_data)
{
    *ret_data = console->input + console->input_start;
    return hv_min_u64(console->input_length, sizeof(console->input) - console->input_start);
}

void rt_console_consume_input(struct rt_console *console, size_t length)
{
    length = hv_min_u64(length, console->input_length);
    console->input_start = (console->input_start + length) % sizeof(console->input);
    console->input_length -= length;
    console->credit_owed += length;
}

uint32_t rt_console_take_credit(struct rt_console *console)
{
    size_t credit = console->credit_owed;

    /* A paste gets its credit in few large pieces, a single key at once. */
    if (credit == 0 || (console->input_length > 0 && credit < sizeof(console->input) / 4))
        return 0;
    console->credit_owed = 0;
    return (uint32_t)credit;
}

void rt_console_reset_input(struct rt_console *console)
{
    console->input_start = 0;
    console->input_length = 0;
    console->credit_owed = 0;
}
