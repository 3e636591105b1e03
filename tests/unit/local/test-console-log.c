/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of a console when its guest prints faster than the log is written: nobody and nothing that waits
 * is forgotten.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libtenbox/local/console-log.h"
#include "libtenbox/local/files.h"
#include "tests/unit/local/harness.h"

/* What a runtime does. */
static void print(TbxConsoleRing *ring, const char *text)
{
    struct rt_console_ring *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                                          tbx_console_ring_get_fd(ring), 0);
    guint64 position;

    g_assert_true(shared != MAP_FAILED);
    position = shared->position;
    for (gsize i = 0; text[i] != '\0'; i++)
        shared->data[(position + i) % RT_CONSOLE_RING_SIZE] = (guint8)text[i];
    __atomic_store_n(&shared->position, position + strlen(text), __ATOMIC_RELEASE);
    munmap(shared, sizeof(*shared));
}

/* A ring in which a runtime has written @text. */
static TbxConsoleRing *ring_new(const char *text)
{
    TbxConsoleRing *ring = tbx_console_ring_new(NULL);

    print(ring, text);
    return ring;
}

static void keep_result(GObject *source, GAsyncResult *result, gpointer user_data)
{
    *(GAsyncResult **)user_data = g_object_ref(result);
}

static gboolean has_result(gpointer user_data)
{
    return *(GAsyncResult **)user_data != NULL;
}

typedef struct {
    char *path;
    TbxConsoleLog *log;
} Fixture;

static void fixture_init(Fixture *fixture)
{
    g_autoptr(TbxPlace) folder = NULL;
    g_autoptr(TbxPlace) run = NULL;
    g_autoptr(TbxPlace) logs = NULL;
    int folder_fd;

    fixture->path = test_make_folder();
    folder_fd = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_true(tbx_folder_make_at(folder_fd, "run", 0700, NULL));
    g_assert_true(tbx_folder_make_at(folder_fd, "logs", 0700, NULL));
    folder = tbx_place_new(folder_fd);
    run = tbx_place_new_in(folder, "run");
    logs = tbx_place_new_in(folder, "logs");
    fixture->log = tbx_console_log_new(run, logs, NULL);
}

static void fixture_fini(Fixture *fixture)
{
    g_autoptr(GAsyncResult) last = NULL;

    /* Nothing is written any more when the guest is silent and the log has been read. */
    tbx_console_log_read_async(fixture->log, 0, keep_result, &last);
    wait_until("the log", has_result, &last);
    g_free(tbx_console_log_read_finish(last, NULL));
    tbx_console_log_close(fixture->log);
    tbx_console_log_unref(fixture->log);
    test_remove_folder(fixture->path);
    g_free(fixture->path);
}

/* A guest that has printed something whenever one looks: who asked for the log gets it all the same. */
static void test_never_silent(void)
{
    g_autoptr(TbxConsoleRing) ring = ring_new("first\n");
    g_autoptr(GAsyncResult) result = NULL;
    g_autofree char *text = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    tbx_console_log_attach(fixture.log, ring, FALSE);
    tbx_console_log_read_async(fixture.log, 0, keep_result, &result);
    for (guint i = 0; i < 2000 && result == NULL; i++) {
        print(ring, "more\n");
        tbx_console_log_notify(fixture.log);
        g_main_context_iteration(NULL, TRUE);
    }
    g_assert_nonnull(result);
    text = tbx_console_log_read_finish(result, NULL);
    g_assert_true(g_str_has_prefix(text, "first\n"));
    fixture_fini(&fixture);
}

/* Boots that follow each other faster than the disk keeps up are all in the log, in their order. */
static void test_boots(void)
{
    static const char *const texts[] = {"first\n", "second\n", "third\n", "fourth\n"};
    Fixture fixture;
    g_autoptr(GAsyncResult) result = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    ThreadHold hold;

    fixture_init(&fixture);
    hold_threads(&hold);
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(TbxConsoleRing) ring = ring_new(texts[i]);

        tbx_console_log_attach(fixture.log, ring, FALSE);
    }
    tbx_console_log_read_async(fixture.log, 0, keep_result, &result);
    release_threads(&hold);
    wait_until("the log", has_result, &result);
    text = tbx_console_log_read_finish(result, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, "first\nsecond\nthird\nfourth\n");
    fixture_fini(&fixture);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/console-log/never-silent", test_never_silent);
    g_test_add_func("/console-log/boots", test_boots);
    return g_test_run();
}
