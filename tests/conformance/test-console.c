/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Serial consoles: several readers, slow ones, long input, and how they end. */
#include <string.h>

#include "tests/conformance/harness.h"

static void test_two_consoles(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("needs a guest that does as it is told");
        return;
    }

    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) first = {0}, second = {0}, late = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&first, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_true(screen_open(&second, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    type_line(&first, "one ");
    wait_text(&second, "one ");
    type_line(&second, "two ");
    wait_text(&first, "one two ");
    wait_text(&second, "one two ");
    tenbox_console_close(first.console);
    type_line(&second, "three");
    wait_text(&second, "three");
    g_assert_true(screen_open(&late, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    type_line(&late, "four");
    wait_text(&late, "four");
    g_assert_null(strstr(late.text->str, "one"));
    g_assert_null(strstr(first.text->str, "three"));
}

/* More than the ring holds, to a reader that sleeps: what is missing is counted, what comes is right. */
static void test_skipped(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("needs a guest that does as it is told");
        return;
    }

    const gsize size = 3 * 1024 * 1024;
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "quiet");
    g_autoptr(GError) error = NULL;
    g_auto(Screen) sleeper = {0}, reader = {0};
    g_autofree char *order = g_strdup_printf("@burst %" G_GSIZE_FORMAT "\n", size);

    assert_act(ACT(vm, start, &error), error);
    wait_hello(vm);
    g_assert_true(screen_open(&sleeper, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    g_assert_true(screen_open(&reader, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    tenbox_console_set_paused(sleeper.console, TRUE);
    type_line(&reader, order);
    reader.wanted_length = size;
    wait_until(screen_shows, &reader);
    tenbox_console_set_paused(sleeper.console, FALSE);
    sleeper.wanted_length = size;
    wait_until(screen_shows, &sleeper);

    guint64 skipped = tenbox_console_get_skipped(sleeper.console);
    g_assert_cmpuint(skipped, >, 0);
    g_assert_cmpuint(sleeper.text->len + skipped, ==, size);
    /* The last byte is the last of the burst. */
    g_assert_cmpint(sleeper.text->str[sleeper.text->len - 1], ==, 'a' + (int)((size - 1) % 26));
}

/* Input is taken whole, in order, at the guest's pace. */
static void test_long_input(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("needs a guest that does as it is told");
        return;
    }

    const gsize size = 100 * 1000;
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};
    g_autofree char *input = g_malloc(size + 1);

    for (gsize i = 0; i < size; i++)
        input[i] = (char)('A' + i % 53 % 26);
    input[size] = '\0';
    assert_act(ACT(vm, start, &error), error);
    wait_hello(vm);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    g_assert_true(type_bytes(&screen, input, size, &error));
    g_assert_no_error(error);
    screen.wanted_length = size;
    wait_until(screen_shows, &screen);
    g_assert_cmpuint(tenbox_console_get_skipped(screen.console), ==, 0);
    g_assert_true(strcmp(screen.text->str, input) == 0);
}

/* A write that has completed has arrived: closing the console behind it cuts off nothing. */
static void test_write_then_close(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("needs a guest that does as it is told");
        return;
    }

    const gsize size = 20 * 1024;
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) writer = {0}, reader = {0};
    g_autofree char *input = g_strnfill(size, 'x');

    assert_act(ACT(vm, start, &error), error);
    wait_hello(vm);
    g_assert_true(screen_open(&writer, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    g_assert_true(screen_open(&reader, vm, TENBOX_CONSOLE_FLAGS_NO_REPLAY, &error));
    g_assert_true(type_bytes(&writer, input, size, &error));
    g_assert_no_error(error);
    tenbox_console_close(writer.console);
    reader.wanted_length = size;
    wait_until(screen_shows, &reader);
    g_assert_cmpstr(reader.text->str, ==, input);
}

/* The VM ends while its guest takes no input: writes fail, but what the guest said is shown to its end,
 * and the console ends in order, also when the VM runs again before anybody looked. */
static void test_end_while_input_waits(Fixture *fixture, gconstpointer data)
{
    if (!is_scripted()) {
        g_test_skip("needs a guest that does as it is told");
        return;
    }

    g_autoptr(TenboxVm) vm = create(fixture, "foo", "no-credit");
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, sleeper = {0}, again = {0};
    g_auto(Await) write = {0};
    g_autofree char *echo = g_strnfill(4096, 'x');
    g_autofree char *shown = g_strconcat(hello(), echo, NULL);
    g_autoptr(GBytes) input = g_bytes_new_take(g_strnfill(20 * 1024, 'x'), 20 * 1024);

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_true(screen_open(&sleeper, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    tenbox_console_set_paused(sleeper.console, TRUE);
    tenbox_console_write_async(screen.console, input, NULL, await_done, &write);
    wait_text(&screen, shown);
    g_assert_null(write.result);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    g_assert_false(tenbox_console_write_finish(screen.console, await_result(&write), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed", NULL);
    wait_until(screen_is_closed, &screen);
    g_assert_cmpstr(screen.error, ==, NULL);
    g_assert_cmpstr(screen.text->str, ==, shown);

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&again, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&again, hello());
    tenbox_console_set_paused(sleeper.console, FALSE);
    wait_until(screen_is_closed, &sleeper);
    g_assert_cmpstr(sleeper.error, ==, NULL);
    g_assert_cmpstr(sleeper.text->str, ==, shown);
}

/* Whichever console learns first that it is over uses and closes the other. */
static void on_closed_close_other(TenboxConsole *console, GError *error, gpointer other)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static("x", 1);

    tenbox_console_write_async(other, bytes, NULL, NULL, NULL);
    tenbox_console_close(other);
}

static gboolean on_close_connection(gpointer connection)
{
    tenbox_connection_close(connection);
    return G_SOURCE_REMOVE;
}

static void test_close_in_handler(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) first = {0}, second = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&first, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_true(screen_open(&second, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&first, hello());
    wait_text(&second, hello());
    g_signal_connect(first.console, "closed", G_CALLBACK(on_closed_close_other), second.console);
    g_signal_connect(second.console, "closed", G_CALLBACK(on_closed_close_other), first.console);
    /* From inside the main loop, so that what ends there tells its callers at once. */
    g_idle_add(on_close_connection, fixture->connection);
    wait_until(screen_is_closed, &first);
    wait_until(screen_is_closed, &second);

    g_clear_object(&vm);
    g_clear_object(&fixture->connection);
    connect_fixture(fixture);
}

void add_console_cases(void)
{
    add_case("/console/two", test_two_consoles);
    add_case("/console/skipped", test_skipped);
    add_case("/console/long-input", test_long_input);
    add_case("/console/write-then-close", test_write_then_close);
    add_case("/console/end-while-input-waits", test_end_while_input_waits);
    add_case("/console/close-in-handler", test_close_in_handler);
}
