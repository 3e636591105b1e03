/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file of lines: what comes back of it, and what one failure costs. */
#include <glib/gstdio.h>
#include <sys/resource.h>

#include "libtenbox/local/line-log.h"

#define FILE_SIZE_MAX 100

typedef struct {
    char *folder;
    GString *numbers; /* of the lines that were loaded */
    guint carried;
    TbxLineLog *log;
} Fixture;

static void on_load(JsonObject *line, gpointer user_data)
{
    Fixture *fixture = user_data;

    g_string_append_printf(fixture->numbers, "%d ",
                           (int)json_object_get_int_member(line, "number"));
}

static void append(TbxLineLog *log, int number)
{
    g_autoptr(JsonObject) line = json_object_new();

    json_object_set_int_member(line, "number", number);
    tbx_line_log_append(log, line);
}

static void on_carry(TbxLineLog *log, gpointer user_data)
{
    ((Fixture *)user_data)->carried++;
    append(log, 0);
}

static void open_log(Fixture *fixture)
{
    static const TbxLineLogHandlers handlers = {on_load, on_carry};
    g_autoptr(GError) error = NULL;

    g_string_truncate(fixture->numbers, 0);
    fixture->log =
        tbx_line_log_open(fixture->folder, "lines", FILE_SIZE_MAX, &handlers, fixture, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->folder = g_dir_make_tmp("tenbox-lines-XXXXXX", NULL);
    fixture->numbers = g_string_new(NULL);
    open_log(fixture);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    static const char *const names[] = {"lines", "lines.1"};

    tbx_line_log_free(fixture->log);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(fixture->folder, names[i], NULL);

        (void)g_remove(path);
    }
    g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
    g_free(fixture->folder);
    g_string_free(fixture->numbers, TRUE);
}

static void reopen(Fixture *fixture)
{
    tbx_line_log_free(fixture->log);
    open_log(fixture);
}

static void test_kept(Fixture *fixture, gconstpointer data)
{
    for (int i = 1; i <= 3; i++)
        append(fixture->log, i);
    reopen(fixture);
    g_assert_cmpstr(fixture->numbers->str, ==, "1 2 3 ");
}

/* Of {"number":N} and its newline 7 fit into a file. */
static void test_bounded(Fixture *fixture, gconstpointer data)
{
    for (int i = 1; i <= 9; i++)
        append(fixture->log, i);
    g_assert_cmpuint(fixture->carried, ==, 1);
    reopen(fixture);
    g_assert_cmpstr(fixture->numbers->str, ==, "1 2 3 4 5 6 7 0 8 9 ");
}

static void test_no_descriptors(Fixture *fixture, gconstpointer data)
{
    struct rlimit limit, none;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    for (int i = 1; i <= 7; i++)
        append(fixture->log, i);

    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    g_test_expect_message("tenbox", G_LOG_LEVEL_WARNING, "*cannot be written*");
    g_test_expect_message("tenbox", G_LOG_LEVEL_WARNING, "*forgotten at the next restart*");
    append(fixture->log, 8);
    append(fixture->log, 9);
    g_test_assert_expected_messages();
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);

    append(fixture->log, 10);
    g_assert_cmpuint(fixture->carried, ==, 1);
    reopen(fixture);
    g_assert_cmpstr(fixture->numbers->str, ==, "1 2 3 4 5 6 7 0 10 ");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/line-log/kept", Fixture, NULL, set_up, test_kept, tear_down);
    g_test_add("/line-log/bounded", Fixture, NULL, set_up, test_bounded, tear_down);
    g_test_add("/line-log/no-descriptors", Fixture, NULL, set_up, test_no_descriptors, tear_down);
    return g_test_run();
}
