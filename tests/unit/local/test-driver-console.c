/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local driver as a whole, over the fake runtime. Consoles, logs and statistics: readers, credit, rings that end.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "tests/unit/local/driver-seams.h"
#include "tests/unit/local/harness.h"

/* ---- consoles ----------------------------------------------------------------------------- */

static void test_two_readers(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) first = NULL;
    g_autoptr(TbxConsoleStream) second = NULL;
    g_autoptr(TbxConsoleStream) late = NULL;
    g_autofree char *a = NULL;
    g_autofree char *b = NULL;
    g_autofree char *c = NULL;
    g_autofree char *d = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    first = open_console(&harness, "one", TRUE);
    second = open_console(&harness, "one", TRUE);
    write_console(first, "abc");
    write_console(second, "def");
    a = read_until(first, "abcdef");
    b = read_until(second, "abcdef");
    g_assert_cmpstr(a, ==, "fake: hello\r\nabcdef");
    g_assert_cmpstr(b, ==, a);
    /* Without replay: only what comes. */
    late = open_console(&harness, "one", FALSE);
    write_console(late, "ghi");
    c = read_until(late, "ghi");
    g_assert_cmpstr(c, ==, "ghi");
    /* One that closes does not disturb the others. */
    tbx_console_stream_close(late);
    write_console(first, "jkl");
    d = read_until(second, "jkl");
    g_assert_cmpstr(d, ==, "ghijkl");
    harness_fini(&harness);
}

typedef struct {
    TbxConsoleStream *stream;
    GError *error;
    gboolean is_done;
} Opened;

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Opened *opened = user_data;

    opened->stream = g_task_propagate_pointer(G_TASK(result), &opened->error);
    opened->is_done = TRUE;
}

/* NULL with @error. */
static TbxConsoleStream *open_as(Harness *harness, TenboxConsoleFlags flags, const char *holder,
                                 GError **error)
{
    Opened opened = {0};

    tbx_driver_console_open(harness->driver, "one", flags, holder,
                            g_task_new(NULL, NULL, on_opened, &opened));
    while (!opened.is_done)
        g_main_context_iteration(NULL, TRUE);
    if (opened.error)
        g_propagate_error(error, opened.error);
    return opened.stream;
}

typedef struct {
    GError *error;
    gboolean is_done;
} Ended;

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Ended *ended = user_data;

    g_task_propagate_boolean(G_TASK(result), &ended->error);
    ended->is_done = TRUE;
}

static void on_read_over(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Ended *ended = user_data;
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(result), &ended->error);

    g_assert_null(bytes);
    ended->is_done = TRUE;
}

static void assert_no_writing(TbxConsoleStream *stream, const char *code, const char *part)
{
    g_autoptr(GBytes) bytes = g_bytes_new("x", 1);
    Ended ended = {0};

    tbx_console_stream_write(stream, bytes, g_task_new(NULL, NULL, on_written, &ended));
    while (!ended.is_done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_nonnull(ended.error);
    g_assert_cmpstr(tenbox_error_get_code(ended.error), ==, code);
    g_assert_nonnull(strstr(ended.error->message, part));
    g_clear_error(&ended.error);
}

/* One may be the only one who writes; others watch, are told who it is, and may take over by force. */
static void test_writer(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *seen = NULL;
    g_autofree char *later = NULL;
    g_autoptr(TbxConsoleStream) open = NULL;
    g_autoptr(TbxConsoleStream) watcher = NULL;
    g_autoptr(TbxConsoleStream) writer = NULL;
    g_autoptr(TbxConsoleStream) taker = NULL;
    g_autoptr(TbxConsoleStream) last = NULL;
    g_autoptr(TbxConsoleStream) next_run = NULL;
    g_autoptr(GError) error = NULL;
    Ended reading = {0};

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    open = open_as(&harness, TENBOX_CONSOLE_FLAGS_NONE, "nobody", NULL);
    watcher = open_as(&harness, TENBOX_CONSOLE_FLAGS_READ_ONLY, "watcher", NULL);
    write_console(open, "abc");
    assert_no_writing(watcher, "forbidden", "watch");
    writer = open_as(&harness, TENBOX_CONSOLE_FLAGS_WRITER | TENBOX_CONSOLE_FLAGS_NO_REPLAY,
                     "first", NULL);
    assert_no_writing(open, "console-busy", "first");
    write_console(writer, "def");
    seen = read_until(watcher, "abcdef");
    g_assert_null(open_as(&harness, TENBOX_CONSOLE_FLAGS_WRITER, "second", &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "first"));
    g_clear_error(&error);
    g_assert_null(open_as(&harness, TENBOX_CONSOLE_FLAGS_FORCE | TENBOX_CONSOLE_FLAGS_READ_ONLY,
                          "second", &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_INVALID_ARGUMENT);
    g_clear_error(&error);
    /* The one it is taken from ends, with the name of who took it; all others go on. */
    later = read_until(writer, "def");
    tbx_console_stream_read(writer, 100, g_task_new(NULL, NULL, on_read_over, &reading));
    taker = open_as(&harness, TENBOX_CONSOLE_FLAGS_FORCE, "second", NULL);
    while (!reading.is_done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(tenbox_error_get_code(reading.error), ==, "console-busy");
    g_assert_nonnull(strstr(reading.error->message, "second"));
    g_clear_error(&reading.error);
    assert_no_writing(writer, "console-busy", "second");
    write_console(taker, "ghi");
    g_free(g_steal_pointer(&seen));
    seen = read_until(watcher, "ghi");
    /* That the one who lost it closes changes nothing; that the one who has it does, frees it. */
    tbx_console_stream_close(writer);
    assert_no_writing(open, "console-busy", "second");
    tbx_console_stream_close(taker);
    write_console(open, "jkl");
    last = open_as(&harness, TENBOX_CONSOLE_FLAGS_WRITER, "third", NULL);
    g_assert_nonnull(last);
    /* Who had it keeps nobody from the next run, even if it has not closed. */
    run_ok(&harness, "one", STOP, TRUE);
    run_ok(&harness, "one", START, FALSE);
    next_run = open_as(&harness, TENBOX_CONSOLE_FLAGS_NONE, "fourth", NULL);
    write_console(next_run, "mno");
    harness_fini(&harness);
}

/* A reader that sleeps while a megabyte goes by loses the oldest bytes and knows how many. */
static void test_slow_reader(void)
{
    const guint burst = 1000000;
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *all = NULL;
    g_autoptr(TbxConsoleStream) slow = NULL;
    g_autoptr(TbxConsoleStream) quick = NULL;
    g_autofree char *hello = NULL;
    g_autofree char *tail = NULL;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    slow = open_console(&harness, "one", TRUE);
    quick = open_console(&harness, "one", TRUE);
    hello = read_until(slow, "fake: hello\r\n");
    write_console(quick, "@burst 1000000\n");
    write_console(quick, "ZZZ");
    tail = read_until(quick, "ZZZ");
    all = read_until(slow, "ZZZ");
    g_assert_cmpuint(slow->skipped, >, 0);
    g_assert_cmpuint(slow->skipped + strlen(all), ==, burst + 3);
    /* What is left is the end of it, each byte where it belongs. */
    for (gsize i = 0; i + 3 < strlen(all); i++)
        g_assert_cmpint(all[i], ==, (char)('a' + (slow->skipped + i) % 26));
    harness_fini(&harness);
}

/* Input beyond the credit waits, and others are not locked out by it. */
static void test_input_credit(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *paste = g_strnfill(100000, 'x');
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(TbxConsoleStream) other = NULL;
    g_autoptr(GBytes) bytes = g_bytes_new(paste, 100000);
    g_autofree char *echo = NULL;
    GTask *task;
    guint count = 0;
    gsize at;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    other = open_console(&harness, "one", FALSE);
    task = new_task(NULL);
    tbx_console_stream_write(console, bytes, task);
    write_console(other, "KEY");
    /* The key did not wait for the paste. */
    g_assert_null(g_object_get_data(G_OBJECT(task), "done"));
    g_assert_true(finish_boolean(task, NULL));
    write_console(console, "!");
    echo = read_until(console, "!");
    for (at = 0; echo[at] != '\0'; at++)
        count += echo[at] == 'x';
    g_assert_cmpuint(count, ==, 100000);
    g_assert_nonnull(strstr(echo, "KEY"));
    g_assert_cmpuint((gsize)(strstr(echo, "KEY") - echo), <, 8192);
    harness_fini(&harness);
}

/* A guest that never reads: the write waits, and ends when the VM does. */
static void test_input_without_credit(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *paste = g_strnfill(10000, 'x');
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GBytes) bytes = g_bytes_new(paste, 10000);
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "one", "no-credit");
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", FALSE);
    task = new_task(NULL);
    tbx_console_stream_write(console, bytes, task);
    run_ok(&harness, "one", STOP, TRUE);
    g_assert_false(finish_boolean(task, &error));
    assert_error(&error, "closed", NULL);
    harness_fini(&harness);
}

static void test_console_edges(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *hello = NULL;
    g_autofree char *echo = NULL;
    GTask *task, *second;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    task = new_task(NULL);
    tbx_driver_console_open(harness.driver, "one", TENBOX_CONSOLE_FLAGS_NONE, NULL, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "vm-not-running", NULL);

    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    hello = read_until(console, "fake: hello\r\n");
    /* A cancelled read loses nothing. */
    task = new_task(cancellable);
    tbx_console_stream_read(console, 100, task);
    g_cancellable_cancel(cancellable);
    g_assert_null(finish_pointer(task, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);
    write_console(console, "abc");
    echo = read_until(console, "abc");
    g_assert_cmpstr(echo, ==, "abc");
    /* A read under way when the stream is closed; it was the one. */
    task = new_task(NULL);
    tbx_console_stream_read(console, 100, task);
    second = new_task(NULL);
    tbx_console_stream_read(console, 100, second);
    g_assert_null(finish_pointer(second, &error));
    assert_error(&error, "internal", NULL);
    write_console(console, "");
    tbx_console_stream_close(console);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "closed", NULL);
    harness_fini(&harness);
}

static void test_logs(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *none = NULL;
    g_autofree char *console_log = NULL;
    g_autofree char *after_stop = NULL;
    g_autofree char *one_line = NULL;
    g_autofree char *runtime_log = NULL;
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    g_autoptr(TbxConsoleStream) console = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;
    GStatBuf status;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    none = read_log(&harness, "one", "console", 0);
    g_assert_cmpstr(none, ==, "");
    run_ok(&harness, "one", START, FALSE);
    console = open_console(&harness, "one", TRUE);
    write_console(console, "two\r\nthree\r\n");
    text = read_until(console, "three\r\n");
    console_log = read_log(&harness, "one", "console", 0);
    g_assert_cmpstr(console_log, ==, "fake: hello\r\ntwo\r\nthree\r\n");
    one_line = read_log(&harness, "one", "console", 1);
    g_assert_cmpstr(one_line, ==, "three\r\n");
    write_console(console, "@poweroff\n");
    wait_state(&harness, "one", TENBOX_VM_STATE_STOPPED);
    after_stop = read_log(&harness, "one", "console", 2);
    g_assert_cmpstr(after_stop, ==, "two\r\nthree\r\n");
    runtime_log = read_log(&harness, "one", "runtime", 0);
    g_assert_nonnull(strstr(runtime_log, "=== boot "));
    g_assert_nonnull(strstr(runtime_log, "fake-runtime: launched\n"));

    /* It keeps the end, and no more than a megabyte. */
    run_ok(&harness, "one", START, FALSE);
    g_clear_pointer(&console, tbx_console_stream_unref);
    console = open_console(&harness, "one", FALSE);
    for (guint i = 0; i < 12; i++) {
        g_autofree char *log = NULL;

        write_console(console, "@burst 200000\n");
        write_console(console, "END\n");
        g_free(read_until(console, "END\n"));
        log = read_log(&harness, "one", "console", 0);
        g_assert_true(g_str_has_suffix(log, "END\n"));
    }
    path = vm_path(&harness, id, "logs/console.log");
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_size, <=, 1 << 20);
    g_assert_cmpint(status.st_size, >=, 1 << 19);

    task = new_task(NULL);
    tbx_driver_vm_log(harness.driver, "one", "kernel", 0, task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "field-invalid", "source");
    harness_fini(&harness);
}

/* A guest that never falls silent. */
static void test_log_of_chatty(void)
{
    Harness harness;
    g_autofree char *log = NULL;

    harness_init(&harness);
    g_free(create_vm(&harness, "one", "chatty"));
    run_ok(&harness, "one", START, FALSE);
    /* It runs, and says its first word when it comes to that. */
    do {
        g_free(log);
        log = read_log(&harness, "one", "console", 0);
    } while (*log == '\0');
    for (guint i = 0; i < 20; i++) {
        g_autofree char *again = read_log(&harness, "one", "console", 0);

        g_assert_cmpuint(strlen(again), >, 0);
    }
    harness_fini(&harness);
}

/* A runtime that does not answer: the question ends by itself, by its caller, or is refused. */
static void test_statistics_without_answer(void)
{
    Harness harness;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    GTask *tasks[100];
    guint refused = 0, cancelled = 0;

    harness_init(&harness);
    g_free(create_vm(&harness, "one", "ignore-statistics"));
    run_ok(&harness, "one", START, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
        tasks[i] = new_task(cancellable);
        tbx_driver_vm_statistics(harness.driver, "one", tasks[i]);
    }
    g_cancellable_cancel(cancellable);
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(finish_pointer(tasks[i], &error));
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
            cancelled++;
        else if (g_str_equal(tenbox_error_get_code(error), "vm-busy"))
            refused++;
    }
    g_assert_cmpuint(cancelled + refused, ==, G_N_ELEMENTS(tasks));
    g_assert_cmpuint(cancelled, >, 1);
    g_assert_cmpuint(cancelled, <, 50);
    {
        g_autoptr(GError) error = NULL;
        GTask *task = new_task(NULL);

        is_clock_fast = TRUE;
        tbx_driver_vm_statistics(harness.driver, "one", task);
        is_clock_fast = FALSE;
        g_assert_null(finish_pointer(task, &error));
        assert_error(&error, "timed-out", NULL);
    }
    run_ok(&harness, "one", STOP, FALSE);
    harness_fini(&harness);
}

static void test_statistics(void)
{
    Harness harness;
    g_autofree char *id = NULL;
    g_autofree char *text = NULL;
    g_autoptr(JsonObject) document = NULL;
    g_autoptr(GError) error = NULL;
    GTask *task;

    harness_init(&harness);
    id = create_vm(&harness, "one", NULL);
    task = new_task(NULL);
    tbx_driver_vm_statistics(harness.driver, "one", task);
    g_assert_null(finish_pointer(task, &error));
    assert_error(&error, "vm-not-running", NULL);

    run_ok(&harness, "one", START, FALSE);
    task = new_task(NULL);
    tbx_driver_vm_statistics(harness.driver, "one", task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    document = tbx_json_guard_parse_object(text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(document, "vm_id"), ==, id);
    g_assert_cmpint(json_object_get_int_member(document, "memory_bytes"), ==, 16 << 20);
    g_assert_cmpint(json_object_get_int_member(document, "vcpu_count"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(document, "resident_bytes"), >, 0);
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(document, "exits"), "serial"), ==,
        42);
    harness_fini(&harness);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/console/two-readers", test_two_readers);
    g_test_add_func("/local/console/writer", test_writer);
    g_test_add_func("/local/console/slow-reader", test_slow_reader);
    g_test_add_func("/local/console/credit", test_input_credit);
    g_test_add_func("/local/console/no-credit", test_input_without_credit);
    g_test_add_func("/local/console/edges", test_console_edges);
    g_test_add_func("/local/logs", test_logs);
    g_test_add_func("/local/logs-of-chatty", test_log_of_chatty);
    g_test_add_func("/local/statistics", test_statistics);
    g_test_add_func("/local/statistics-without-answer", test_statistics_without_answer);
    return g_test_run();
}
