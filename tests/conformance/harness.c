/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/conformance/harness.h"

#include <fcntl.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static gboolean driver_is(const char *name)
{
    return g_strcmp0(g_getenv("TENBOX_TEST_DRIVER"), name) == 0;
}

gboolean is_remote(void)
{
    return driver_is("remote") || driver_is("remote-test");
}

gboolean is_played(void)
{
    return driver_is("test") || driver_is("remote-test");
}

gboolean is_scripted(void)
{
    return !driver_is("uri");
}

const char *hello(void)
{
    if (is_played())
        return "test: hello\r\n";
    return is_scripted() ? "fake: hello\r\n" : "TENBOX-HELLO";
}

/* ---- waiting ------------------------------------------------------------------------------ */

static gboolean on_hang(gpointer user_data)
{
    g_error("waited for a minute, or ten in the lab, in vain");
    return G_SOURCE_REMOVE;
}

void wait_until(gboolean (*condition)(gpointer user_data), gpointer user_data)
{
    guint limit = g_timeout_add_seconds(is_scripted() ? 60 : 600, on_hang, NULL);

    while (!condition(user_data))
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(limit);
}

void await_done(GObject *source, GAsyncResult *result, gpointer await)
{
    Await *self = await;

    g_assert_cmpuint(++self->count, ==, 1);
    self->result = g_object_ref(result);
}

gboolean has_result(gpointer await)
{
    return ((Await *)await)->result != NULL;
}

GAsyncResult *await_result(Await *await)
{
    wait_until(has_result, await);
    return await->result;
}

void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

void await_clear(Await *await)
{
    g_clear_object(&await->result);
}

void assert_error(GError **error, int code, const char *slug, const char *field)
{
    g_assert_error(*error, TENBOX_ERROR, code);
    g_assert_cmpstr(tenbox_error_get_code(*error), ==, slug);
    g_assert_cmpstr(tenbox_error_get_field(*error), ==, field);
    g_clear_error(error);
}

/* ---- the fixture -------------------------------------------------------------------------- */

static void on_added(TenboxConnection *connection, TenboxVm *vm, gpointer signals)
{
    g_string_append_printf(signals, "+%s ", tenbox_vm_get_name(vm));
}

static void on_removed(TenboxConnection *connection, TenboxVm *vm, gpointer signals)
{
    g_string_append_printf(signals, "-%s ", tenbox_vm_get_name(vm));
}

static void on_closed(TenboxConnection *connection, GError *error, gpointer signals)
{
    g_string_append_printf(signals, "closed:%s ", error ? tenbox_error_get_code(error) : "-");
}

TenboxConnection *open_connection(const char *uri, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_open_async(uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, await_done, &await);
    return tenbox_connection_open_finish(await_result(&await), error);
}

/* test:///empty and what TENBOX_TEST_QUERY and @query ask of it. */
static char *make_played_uri(const char *query)
{
    const char *given = g_getenv("TENBOX_TEST_QUERY");
    const char *both[3] = {NULL};
    guint count = 0;

    if (given && given[0])
        both[count++] = given;
    if (query)
        both[count++] = query;
    g_autofree char *joined = g_strjoinv("&", (char **)both);
    return g_strconcat("test:///empty", count > 0 ? "?" : "", joined, NULL);
}

static void start_daemon_on(Fixture *fixture, const char *played_uri);

void start_daemon(Fixture *fixture)
{
    g_autofree char *played_uri = make_played_uri(NULL);

    start_daemon_on(fixture, played_uri);
}

/* A daemon that outlived a test that failed would keep the runner's pipe open: it would wait for ever. */
static void die_with_test(gpointer user_data)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void start_daemon_on(Fixture *fixture, const char *played_uri)
{
    g_autofree char *socket = g_build_filename(fixture->folder, "sock", NULL);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    g_autoptr(GError) error = NULL;
    int ends[2];
    char word[6];
    gsize count = 0;

    g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
    g_subprocess_launcher_take_fd(launcher, ends[1], 3);
    g_subprocess_launcher_set_child_setup(launcher, die_with_test, NULL, NULL);
    if (is_played())
        fixture->daemon =
            g_subprocess_launcher_spawn(launcher, &error, TENBOXD, "--socket", socket, "--connect",
                                        played_uri, "--ready-fd", "3", NULL);
    else
        fixture->daemon = g_subprocess_launcher_spawn(launcher, &error, TENBOXD, "--socket", socket,
                                                      "--data-folder", fixture->data_folder,
                                                      "--ready-fd", "3", NULL);
    g_assert_no_error(error);
    g_clear_object(&launcher); /* our copy of the writing end */
    while (count < sizeof word) {
        gssize got = read(ends[0], word + count, sizeof word - count);
        g_assert_cmpint(got, >, 0);
        count += (gsize)got;
    }
    g_assert_cmpmem(word, sizeof word, "ready\n", 6);
    close(ends[0]);
    g_free(fixture->uri);
    fixture->uri = g_strconcat("unix://", socket, NULL);
}

void watch(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_connection_watch_async(fixture->connection, NULL, await_done, &await);
    g_assert_true(
        tenbox_connection_watch_finish(fixture->connection, await_result(&await), &error));
    g_assert_no_error(error);
}

/* A data folder that was just closed is free when the last write into it has ended. */
static gboolean is_open(gpointer user_data)
{
    Fixture *fixture = user_data;
    g_autoptr(GError) error = NULL;

    fixture->connection = open_connection(fixture->uri, &error);
    if (!g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_IN_USE))
        g_assert_no_error(error);
    return fixture->connection != NULL;
}

static gboolean look_again(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

void connect_fixture(Fixture *fixture)
{
    /* The folder's lock is given back by a thread, which tells no main context about it: the condition
     * is polled, for an iteration would wait for an event that need not come. */
    guint poll = g_timeout_add(20, look_again, NULL);

    wait_until(is_open, fixture);
    g_source_remove(poll);
    g_signal_connect(fixture->connection, "vm-added", G_CALLBACK(on_added), fixture->signals);
    g_signal_connect(fixture->connection, "vm-removed", G_CALLBACK(on_removed), fixture->signals);
    g_signal_connect(fixture->connection, "closed", G_CALLBACK(on_closed), fixture->signals);
    watch(fixture);
}

void set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fixture->folder = g_dir_make_tmp("tenbox-test-XXXXXX", &error);
    g_assert_no_error(error);
    fixture->data_folder = g_build_filename(fixture->folder, "data", NULL);
    if (is_scripted()) {
        fixture->kernel = g_build_filename(fixture->folder, "vmlinuz", NULL);
        g_assert_true(g_file_set_contents(fixture->kernel, "not quite a kernel", -1, &error));
    } else {
        fixture->kernel = g_strdup(g_getenv("TENBOX_TEST_KERNEL"));
    }
    fixture->signals = g_string_new(NULL);
    if (driver_is("uri"))
        fixture->uri = g_strdup(g_getenv("TENBOX_TEST_URI"));
    else if (is_played())
        fixture->uri = make_played_uri(NULL);
    else
        fixture->uri = g_strconcat("local://", fixture->data_folder, NULL);
    if (is_remote())
        start_daemon(fixture);
    connect_fixture(fixture);
}

static void end_connection(Fixture *fixture)
{
    tenbox_connection_close(fixture->connection);
    settle();
    g_assert_finalize_object(fixture->connection);
    fixture->connection = NULL;
}

static void end_daemon(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    if (!fixture->daemon)
        return;
    g_subprocess_send_signal(fixture->daemon, SIGTERM);
    g_assert_true(g_subprocess_wait_check(fixture->daemon, NULL, &error));
    g_assert_no_error(error);
    g_clear_object(&fixture->daemon);
}

void reconnect_with_query(Fixture *fixture, const char *query)
{
    g_autofree char *uri = make_played_uri(query);
    g_autoptr(GError) error = NULL;

    end_connection(fixture);
    end_daemon(fixture);
    if (is_remote()) {
        start_daemon_on(fixture, uri);
    } else {
        g_free(fixture->uri);
        fixture->uri = g_steal_pointer(&uri);
    }
    fixture->connection = open_connection(fixture->uri, &error);
    g_assert_no_error(error);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    while (folder && (name = g_dir_read_name(folder))) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        if (g_file_test(child, G_FILE_TEST_IS_DIR) && !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
            remove_tree(child);
        else
            g_unlink(child);
    }
    g_rmdir(path);
}

GPtrArray *list_vms(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_connection_list_vms_async(fixture->connection, NULL, await_done, &await);
    GPtrArray *vms =
        tenbox_connection_list_vms_finish(fixture->connection, await_result(&await), &error);
    g_assert_no_error(error);
    return vms;
}

GPtrArray *list_deleted(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_connection_list_deleted_vms_async(fixture->connection, NULL, await_done, &await);
    GPtrArray *vms = tenbox_connection_list_deleted_vms_finish(fixture->connection,
                                                               await_result(&await), &error);
    g_assert_no_error(error);
    return vms;
}

gboolean delete_vm(TenboxVm *vm, TenboxVmActionFlags flags, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_delete_async(vm, flags, NULL, await_done, &await);
    return tenbox_vm_delete_finish(vm, await_result(&await), error);
}

guint count_files(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    guint count = 0;

    while (folder && g_dir_read_name(folder))
        count++;
    return count;
}

void tear_down(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) vms = list_vms(fixture);
    g_autoptr(GPtrArray) deleted = NULL;
    g_autofree char *vms_folder = g_build_filename(fixture->data_folder, "vms", NULL);

    for (guint i = 0; i < vms->len; i++)
        assert_act(delete_vm(g_ptr_array_index(vms, i), TENBOX_VM_ACTION_FLAGS_FORCE, &error),
                   error);
    /* The folder may be the next test's, too. */
    deleted = list_deleted(fixture);
    for (guint i = 0; i < deleted->len; i++)
        assert_act(delete_vm(g_ptr_array_index(deleted, i), TENBOX_VM_ACTION_FLAGS_PURGE, &error),
                   error);
    g_clear_pointer(&vms, g_ptr_array_unref);
    vms = list_vms(fixture);
    g_assert_cmpuint(vms->len, ==, 0);
    g_assert_cmpuint(count_files(vms_folder), ==, 0);
    end_connection(fixture);
    end_daemon(fixture);
    remove_tree(fixture->folder);
    g_free(fixture->folder);
    g_free(fixture->data_folder);
    g_free(fixture->kernel);
    g_free(fixture->uri);
    g_string_free(fixture->signals, TRUE);
}

/* ---- short forms -------------------------------------------------------------------------- */

TenboxVmConfig *make_config(Fixture *fixture, const char *name, const char *kernel,
                            const char *cmdline, gint64 memory_mb, GError **error)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    const char *initrd = is_scripted() ? NULL : g_getenv("TENBOX_TEST_INITRD");

    tenbox_vm_config_builder_set_name(builder, name);
    tenbox_vm_config_builder_set_kernel(builder, kernel);
    tenbox_vm_config_builder_set_memory_mb(builder, memory_mb);
    tenbox_vm_config_builder_set_cpu_count(builder, 1);
    if (!cmdline && !is_scripted())
        cmdline = g_getenv("TENBOX_TEST_CMDLINE");
    if (cmdline)
        tenbox_vm_config_builder_set_cmdline(builder, cmdline);
    if (initrd)
        tenbox_vm_config_builder_set_initrd(builder, initrd);
    return tenbox_vm_config_builder_build(builder, error);
}

TenboxVm *create_full(Fixture *fixture, const char *name, const char *kernel, const char *cmdline,
                      gint64 memory_mb, GError **error)
{
    g_autoptr(TenboxVmConfig) config =
        make_config(fixture, name, kernel, cmdline, memory_mb, error);
    g_auto(Await) await = {0};

    if (!config)
        return NULL;
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &await);
    return tenbox_connection_create_vm_finish(fixture->connection, await_result(&await), error);
}

TenboxVm *create(Fixture *fixture, const char *name, const char *cmdline)
{
    g_autoptr(GError) error = NULL;
    TenboxVm *vm =
        create_full(fixture, name, fixture->kernel, cmdline, is_scripted() ? 64 : 256, &error);

    g_assert_no_error(error);
    return vm;
}

gboolean act(TenboxVm *vm, Verb verb, VerbFinish finish, GError **error)
{
    g_auto(Await) await = {0};

    verb(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &await);
    return finish(vm, await_result(&await), error);
}

gboolean stop_vm(TenboxVm *vm, TenboxVmActionFlags flags, int seconds, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_stop_async(vm, flags, seconds, NULL, await_done, &await);
    return tenbox_vm_stop_finish(vm, await_result(&await), error);
}

void assert_state(TenboxVm *vm, const char *word)
{
    g_assert_cmpstr(tenbox_vm_state_to_string(tenbox_vm_get_state(vm)), ==, word);
}

typedef struct {
    TenboxVm *vm;
    TenboxVmState state;
} StateWait;

static gboolean has_state(gpointer user_data)
{
    StateWait *wait = user_data;

    return tenbox_vm_get_state(wait->vm) == wait->state;
}

void wait_state(TenboxVm *vm, TenboxVmState state)
{
    StateWait wait = {vm, state};

    wait_until(has_state, &wait);
}

gboolean document_has(TenboxVm *vm, const char *text)
{
    g_autofree char *json = tenbox_vm_dup_json(vm);

    return strstr(json, text) != NULL;
}

static void on_output(TenboxConsole *console, GBytes *bytes, gpointer user_data)
{
    Screen *screen = user_data;

    g_string_append_len(screen->text, g_bytes_get_data(bytes, NULL),
                        (gssize)g_bytes_get_size(bytes));
}

static void on_console_closed(TenboxConsole *console, GError *error, gpointer user_data)
{
    Screen *screen = user_data;

    g_assert_false(screen->is_closed);
    screen->is_closed = TRUE;
    screen->error = g_strdup(error ? tenbox_error_get_code(error) : NULL);
}

gboolean screen_open(Screen *screen, TenboxVm *vm, TenboxConsoleFlags flags, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_open_console_async(vm, flags, NULL, await_done, &await);
    screen->console = tenbox_vm_open_console_finish(vm, await_result(&await), error);
    if (!screen->console)
        return FALSE;
    screen->text = g_string_new(NULL);
    g_signal_connect(screen->console, "output", G_CALLBACK(on_output), screen);
    g_signal_connect(screen->console, "closed", G_CALLBACK(on_console_closed), screen);
    return TRUE;
}

void screen_clear(Screen *screen)
{
    if (screen->console)
        g_signal_handlers_disconnect_by_data(screen->console, screen);
    g_clear_object(&screen->console);
    if (screen->text)
        g_string_free(screen->text, TRUE);
    g_free(screen->error);
}

gboolean screen_shows(gpointer user_data)
{
    Screen *screen = user_data;

    return screen->wanted ? strstr(screen->text->str, screen->wanted) != NULL
                          : screen->text->len + tenbox_console_get_skipped(screen->console) >=
                                screen->wanted_length;
}

void wait_text(Screen *screen, const char *text)
{
    screen->wanted = text;
    wait_until(screen_shows, screen);
}

gboolean screen_is_closed(gpointer user_data)
{
    return ((Screen *)user_data)->is_closed;
}

/* Running is not yet speaking: waits until the guest's greeting is over. */
void wait_hello(TenboxVm *vm)
{
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};

    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
    wait_text(&screen, hello());
}

gboolean type_bytes(Screen *screen, const void *data, gsize length, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, length);
    g_auto(Await) await = {0};

    tenbox_console_write_async(screen->console, bytes, NULL, await_done, &await);
    return tenbox_console_write_finish(screen->console, await_result(&await), error);
}

void type_line(Screen *screen, const char *line)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(type_bytes(screen, line, strlen(line), &error));
    g_assert_no_error(error);
}

TenboxVm *find(Fixture *fixture, const char *name, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_get_vm_async(fixture->connection, name, TENBOX_VM_LOOKUP_FLAGS_NONE, NULL,
                                   await_done, &await);
    return tenbox_connection_get_vm_finish(fixture->connection, await_result(&await), error);
}
