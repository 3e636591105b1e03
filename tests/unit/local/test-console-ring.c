/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a console ring that somebody else writes, honestly or not.
 *
 * The linker puts the __wrap_ function below in front of the function of that name.
 * LINK: -Wl,--wrap=tbx_console_ring_read
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libtenbox/local/console.h"
#include "tests/unit/local/harness.h"

/* Whether a writer overtakes each read. */
static gboolean is_runaway;

gsize __real_tbx_console_ring_read(TbxConsoleRing *self, guint64 *position, void *buffer,
                                   gsize size, guint64 *ret_lost);
gsize __wrap_tbx_console_ring_read(TbxConsoleRing *self, guint64 *position, void *buffer,
                                   gsize size, guint64 *ret_lost);

gsize __wrap_tbx_console_ring_read(TbxConsoleRing *self, guint64 *position, void *buffer,
                                   gsize size, guint64 *ret_lost)
{
    if (!is_runaway)
        return __real_tbx_console_ring_read(self, position, buffer, size, ret_lost);
    *ret_lost = 1;
    return 0;
}

/* The writer's view of the same ring. */
static struct rt_console_ring *map_writer(TbxConsoleRing *ring)
{
    struct rt_console_ring *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                                          tbx_console_ring_get_fd(ring), 0);

    g_assert_true(shared != MAP_FAILED);
    return shared;
}

/* Byte number n of the stream is n modulo 251, which no power of two divides. */
static void write_bytes(struct rt_console_ring *shared, gsize count)
{
    guint64 position = shared->position;

    for (gsize i = 0; i < count; i++)
        shared->data[(position + i) % RT_CONSOLE_RING_SIZE] = (guint8)((position + i) % 251);
    __atomic_store_n(&shared->position, position + count, __ATOMIC_RELEASE);
}

/* Reads all there is from *position, checking each byte; returns how many were lost. */
static guint64 read_all(TbxConsoleRing *ring, guint64 *position, gsize piece, guint64 *ret_count)
{
    g_autofree guint8 *buffer = g_malloc(piece);
    guint64 all_lost = 0, lost;
    gsize length;

    *ret_count = 0;
    do {
        length = tbx_console_ring_read(ring, position, buffer, piece, &lost);
        all_lost += lost;
        *ret_count += length;
        for (gsize i = 0; i < length; i++)
            g_assert_cmpuint(buffer[i], ==, (*position - length + i) % 251);
    } while (length > 0);
    return all_lost;
}

static void test_read(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxConsoleRing) ring = tbx_console_ring_new(&error);
    struct rt_console_ring *shared;
    guint64 position = 0, count, total = 0;

    g_assert_no_error(error);
    shared = map_writer(ring);
    g_assert_cmpuint(read_all(ring, &position, 100, &count), ==, 0);
    g_assert_cmpuint(count, ==, 0);
    /* Several times around, in steps that are no divisor of anything. */
    while (total < 5 * RT_CONSOLE_RING_SIZE) {
        write_bytes(shared, 9973);
        total += 9973;
        g_assert_cmpuint(read_all(ring, &position, 4099, &count), ==, 0);
        g_assert_cmpuint(count, ==, 9973);
    }
    g_assert_cmpuint(position, ==, total);
    munmap(shared, sizeof(*shared));
}

static void test_loss(void)
{
    static const gsize steps[] = {TBX_CONSOLE_RING_KEPT, TBX_CONSOLE_RING_KEPT + 1,
                                  RT_CONSOLE_RING_SIZE, RT_CONSOLE_RING_SIZE + 12345,
                                  3 * RT_CONSOLE_RING_SIZE};
    g_autoptr(TbxConsoleRing) ring = tbx_console_ring_new(NULL);
    struct rt_console_ring *shared = map_writer(ring);
    guint64 position = 0, count;

    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        guint64 lost;

        write_bytes(shared, steps[i]);
        g_assert_cmpuint(tbx_console_ring_get_oldest(ring), ==,
                         shared->position - MIN(shared->position, TBX_CONSOLE_RING_KEPT));
        lost = read_all(ring, &position, 65536, &count);
        g_assert_cmpuint(lost, ==, steps[i] - MIN(steps[i], TBX_CONSOLE_RING_KEPT));
        g_assert_cmpuint(lost + count, ==, steps[i]);
        g_assert_cmpuint(position, ==, shared->position);
    }
    munmap(shared, sizeof(*shared));
}

/* A position that jumps anywhere moves no reader outside the ring and makes none wait forever. */
static void test_hostile_position(void)
{
    static const guint64 positions[] = {G_MAXUINT64,
                                        G_MAXUINT64 / 2,
                                        0,
                                        1,
                                        RT_CONSOLE_RING_SIZE,
                                        G_MAXUINT64 - RT_CONSOLE_RING_SIZE,
                                        5};
    g_autoptr(TbxConsoleRing) ring = tbx_console_ring_new(NULL);
    struct rt_console_ring *shared = map_writer(ring);
    g_autofree guint8 *buffer = g_malloc(2 * RT_CONSOLE_RING_SIZE);
    guint64 position = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(positions); i++) {
        guint64 lost;
        guint turns = 0;

        __atomic_store_n(&shared->position, positions[i], __ATOMIC_RELEASE);
        while (tbx_console_ring_read(ring, &position, buffer, 2 * RT_CONSOLE_RING_SIZE, &lost) > 0)
            g_assert_cmpuint(++turns, <=, 2);
        g_assert_cmpuint(position, ==, positions[i]);
    }
    munmap(shared, sizeof(*shared));
}

typedef struct {
    struct rt_console_ring *shared;
    gint is_done; /* atomic */
} Writer;

static gpointer write_thread(gpointer data)
{
    Writer *writer = data;

    for (guint i = 0; i < 4000; i++)
        write_bytes(writer->shared, 997 + i % 7);
    g_atomic_int_set(&writer->is_done, 1);
    return NULL;
}

/* A writer in full flight: what is read is always what was written there, and nothing is uncounted. */
static void test_race(void)
{
    g_autoptr(TbxConsoleRing) ring = tbx_console_ring_new(NULL);
    Writer writer = {.shared = map_writer(ring)};
    GThread *thread = g_thread_new("writer", write_thread, &writer);
    guint64 position = 0, lost = 0, count = 0;
    gboolean is_done;

    do {
        guint64 part;

        is_done = g_atomic_int_get(&writer.is_done);
        lost += read_all(ring, &position, 50000, &part);
        count += part;
    } while (!is_done);
    g_thread_join(thread);
    g_assert_cmpuint(lost + count, ==, writer.shared->position);
    munmap(writer.shared, sizeof(*writer.shared));
}

static void ignore_input(const guint8 *data, gsize length, gpointer user_data)
{
}

/* A writer whose position runs away takes every byte back while it is read: that costs its reader the
 * answer, and others nothing. */
static void test_runaway(void)
{
    g_autoptr(TbxConsoleRing) ring = tbx_console_ring_new(NULL);
    g_autoptr(TbxLocalConsole) console = tbx_local_console_new(ignore_input, NULL);
    g_autoptr(TbxConsoleStream) stream = NULL;
    g_autoptr(GBytes) bytes = NULL;
    struct rt_console_ring *shared = map_writer(ring);
    GTask *task = new_task(NULL);

    tbx_local_console_attach(console, ring);
    stream = tbx_local_console_open_stream(console, TENBOX_CONSOLE_FLAGS_NONE, NULL, NULL);
    write_bytes(shared, 100);
    /* No main loop can tell of one that does not turn. */
    alarm(60);
    is_runaway = TRUE;
    tbx_console_stream_read(stream, 65536, task);
    for (guint i = 0; i < 10; i++)
        g_main_context_iteration(NULL, TRUE);
    is_runaway = FALSE;
    g_assert_null(g_object_get_data(G_OBJECT(task), "done"));
    /* It is looked at again without another word of the writer. */
    bytes = finish_pointer(task, NULL);
    alarm(0);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, 100);
    g_assert_cmpuint(stream->skipped, >=, 10);
    munmap(shared, sizeof(*shared));
}

static int make_memfd(gsize size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

/* Mapping what can shrink would let a runtime kill its daemon by SIGBUS. */
static void test_foreign_rings(void)
{
    const gsize size = sizeof(struct rt_console_ring);
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    const int refused[] = {
        -1,
        make_memfd(size, 0),
        make_memfd(size, F_SEAL_SHRINK),
        make_memfd(size, F_SEAL_GROW | F_SEAL_SEAL),
        make_memfd(size - 4096, seals),
        make_memfd(size + 4096, seals),
        make_memfd(0, seals),
        open("/dev/zero", O_RDONLY | O_CLOEXEC),
        open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
    };
    g_autoptr(TbxConsoleRing) good = NULL;
    g_autoptr(GError) error = NULL;
    guint descriptors = count_descriptors();

    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_assert_null(tbx_console_ring_new_from_fd(refused[i], &error));
        assert_error(&error, "protocol-error", NULL);
    }
    g_assert_cmpuint(count_descriptors(), ==, descriptors + 1 - G_N_ELEMENTS(refused));
    good = tbx_console_ring_new_from_fd(make_memfd(size, seals), &error);
    g_assert_no_error(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/console-ring/read", test_read);
    g_test_add_func("/console-ring/loss", test_loss);
    g_test_add_func("/console-ring/hostile-position", test_hostile_position);
    g_test_add_func("/console-ring/race", test_race);
    g_test_add_func("/console-ring/runaway", test_runaway);
    g_test_add_func("/console-ring/foreign", test_foreign_rings);
    return g_test_run();
}
