/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One suite for every driver: what the public API promises must hold whether the VMs are run by this
 * process (local), or by a daemon on a socket (remote). Nothing but public functions is called.
 *
 * TENBOX_TEST_DRIVER says which; the runtime is tests/fakes/fake-runtime.c, which plays a guest that is
 * told by its command line and its console what to do. The remote run is the real tenboxd in a process of
 * its own, so no stand-in can drift.
 */
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "libtenbox/tenbox.h"

typedef struct {
    char *folder; /* scratch */
    char *data_folder;
    char *kernel; /* a file that passes for one */
    char *uri;
    GSubprocess *daemon; /* NULL for the local driver */
    TenboxConnection *connection;
    GString *signals;
} Fixture;

static gboolean is_remote(void)
{
    return g_strcmp0(g_getenv("TENBOX_TEST_DRIVER"), "remote") == 0;
}

/* ---- waiting ------------------------------------------------------------------------------ */

static gboolean on_hang(gpointer user_data)
{
    g_error("waited for 60 seconds in vain");
    return G_SOURCE_REMOVE;
}

static void wait_until(gboolean (*condition)(gpointer user_data), gpointer user_data)
{
    guint limit = g_timeout_add_seconds(60, on_hang, NULL);

    while (!condition(user_data))
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(limit);
}

typedef struct {
    GAsyncResult *result;
} Await;

static void await_done(GObject *source, GAsyncResult *result, gpointer await)
{
    ((Await *)await)->result = g_object_ref(result);
}

static gboolean has_result(gpointer await)
{
    return ((Await *)await)->result != NULL;
}

static GAsyncResult *await_result(Await *await)
{
    wait_until(has_result, await);
    return await->result;
}

static void await_clear(Await *await)
{
    g_clear_object(&await->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Await, await_clear)

static void assert_error(GError **error, int code, const char *slug, const char *field)
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

static TenboxConnection *open_connection(const char *uri, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_open_async(uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, await_done, &await);
    return tenbox_connection_open_finish(await_result(&await), error);
}

static void start_daemon(Fixture *fixture)
{
    g_autofree char *socket = g_build_filename(fixture->folder, "sock", NULL);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    g_autoptr(GError) error = NULL;
    int ends[2];
    char word[6];
    gsize count = 0;

    g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
    g_subprocess_launcher_take_fd(launcher, ends[1], 3);
    fixture->daemon =
        g_subprocess_launcher_spawn(launcher, &error, TENBOXD, "--socket", socket, "--data-folder",
                                    fixture->data_folder, "--ready-fd", "3", NULL);
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

static void watch(Fixture *fixture)
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

static void connect_fixture(Fixture *fixture)
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

static void set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fixture->folder = g_dir_make_tmp("tenbox-test-XXXXXX", &error);
    g_assert_no_error(error);
    fixture->data_folder = g_build_filename(fixture->folder, "data", NULL);
    fixture->kernel = g_build_filename(fixture->folder, "vmlinuz", NULL);
    g_assert_true(g_file_set_contents(fixture->kernel, "not quite a kernel", -1, &error));
    fixture->uri = g_strconcat("local://", fixture->data_folder, NULL);
    fixture->signals = g_string_new(NULL);
    if (is_remote())
        start_daemon(fixture);
    connect_fixture(fixture);
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

static GPtrArray *list_vms(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    tenbox_connection_list_vms_async(fixture->connection, NULL, await_done, &await);
    GPtrArray *vms =
        tenbox_connection_list_vms_finish(fixture->connection, await_result(&await), &error);
    g_assert_no_error(error);
    return vms;
}

static gboolean delete_vm(TenboxVm *vm, TenboxVmActionFlags flags, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_delete_async(vm, flags, NULL, await_done, &await);
    return tenbox_vm_delete_finish(vm, await_result(&await), error);
}

static guint count_files(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    guint count = 0;

    while (folder && g_dir_read_name(folder))
        count++;
    return count;
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) vms = list_vms(fixture);
    g_autofree char *vms_folder = g_build_filename(fixture->data_folder, "vms", NULL);

    for (guint i = 0; i < vms->len; i++) {
        g_assert_true(delete_vm(g_ptr_array_index(vms, i), TENBOX_VM_ACTION_FLAGS_FORCE, &error));
        g_assert_no_error(error);
    }
    g_assert_cmpuint(count_files(vms_folder), ==, 0);
    tenbox_connection_close(fixture->connection);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_finalize_object(fixture->connection);
    if (fixture->daemon) {
        g_subprocess_send_signal(fixture->daemon, SIGTERM);
        g_assert_true(g_subprocess_wait_check(fixture->daemon, NULL, &error));
        g_assert_no_error(error);
        g_object_unref(fixture->daemon);
    }
    remove_tree(fixture->folder);
    g_free(fixture->folder);
    g_free(fixture->data_folder);
    g_free(fixture->kernel);
    g_free(fixture->uri);
    g_string_free(fixture->signals, TRUE);
}

/* ---- short forms -------------------------------------------------------------------------- */

static TenboxVm *create_full(Fixture *fixture, const char *name, const char *kernel,
                             const char *cmdline, gint64 memory_mb, GError **error)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_auto(Await) await = {0};

    tenbox_vm_config_builder_set_name(builder, name);
    tenbox_vm_config_builder_set_kernel(builder, kernel);
    tenbox_vm_config_builder_set_memory_mb(builder, memory_mb);
    tenbox_vm_config_builder_set_cpu_count(builder, 1);
    if (cmdline)
        tenbox_vm_config_builder_set_cmdline(builder, cmdline);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, error);
    if (!config)
        return NULL;
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &await);
    return tenbox_connection_create_vm_finish(fixture->connection, await_result(&await), error);
}

static TenboxVm *create(Fixture *fixture, const char *name, const char *cmdline)
{
    g_autoptr(GError) error = NULL;
    TenboxVm *vm = create_full(fixture, name, fixture->kernel, cmdline, 64, &error);

    g_assert_no_error(error);
    return vm;
}

typedef void (*Verb)(TenboxVm *self, TenboxVmActionFlags flags, GCancellable *cancellable,
                     GAsyncReadyCallback callback, gpointer user_data);
typedef gboolean (*VerbFinish)(TenboxVm *self, GAsyncResult *result, GError **error);

static gboolean act(TenboxVm *vm, Verb verb, VerbFinish finish, GError **error)
{
    g_auto(Await) await = {0};

    verb(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &await);
    return finish(vm, await_result(&await), error);
}

#define ACT(vm, verb, error) act(vm, tenbox_vm_##verb##_async, tenbox_vm_##verb##_finish, error)

static void assert_act(gboolean is_done, GError *error)
{
    g_assert_no_error(error);
    g_assert_true(is_done);
}

static gboolean stop_vm(TenboxVm *vm, TenboxVmActionFlags flags, int seconds, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_vm_stop_async(vm, flags, seconds, NULL, await_done, &await);
    return tenbox_vm_stop_finish(vm, await_result(&await), error);
}

static void assert_state(TenboxVm *vm, const char *word)
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

static void wait_state(TenboxVm *vm, TenboxVmState state)
{
    StateWait wait = {vm, state};

    wait_until(has_state, &wait);
}

static gboolean document_has(TenboxVm *vm, const char *text)
{
    g_autofree char *json = tenbox_vm_dup_json(vm);

    return strstr(json, text) != NULL;
}

/* A console and what it has shown. */
typedef struct {
    TenboxConsole *console;
    GString *text;
    gboolean is_closed;
    char *error;
    const char *wanted;
    gsize wanted_length;
} Screen;

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

static gboolean screen_open(Screen *screen, TenboxVm *vm, TenboxConsoleFlags flags, GError **error)
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

static void screen_clear(Screen *screen)
{
    if (screen->console)
        g_signal_handlers_disconnect_by_data(screen->console, screen);
    g_clear_object(&screen->console);
    if (screen->text)
        g_string_free(screen->text, TRUE);
    g_free(screen->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Screen, screen_clear)

static gboolean screen_shows(gpointer user_data)
{
    Screen *screen = user_data;

    return screen->wanted ? strstr(screen->text->str, screen->wanted) != NULL
                          : screen->text->len + tenbox_console_get_skipped(screen->console) >=
                                screen->wanted_length;
}

static void wait_text(Screen *screen, const char *text)
{
    screen->wanted = text;
    wait_until(screen_shows, screen);
}

static gboolean screen_is_closed(gpointer user_data)
{
    return ((Screen *)user_data)->is_closed;
}

/* Running is not yet speaking: waits until the guest's greeting is over. */
static void wait_hello(TenboxVm *vm)
{
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};

    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
    wait_text(&screen, "fake: hello\r\n");
}

static gboolean type_bytes(Screen *screen, const void *data, gsize length, GError **error)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, length);
    g_auto(Await) await = {0};

    tenbox_console_write_async(screen->console, bytes, NULL, await_done, &await);
    return tenbox_console_write_finish(screen->console, await_result(&await), error);
}

static void type_line(Screen *screen, const char *line)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(type_bytes(screen, line, strlen(line), &error));
    g_assert_no_error(error);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void test_life(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) log = {0}, statistics = {0};
    g_auto(Screen) screen = {0};

    g_assert_cmpstr(fixture->signals->str, ==, "+foo ");
    assert_state(vm, "stopped");
    g_assert_cmpint(tenbox_vm_get_memory_mb(vm), ==, 64);
    g_assert_true(document_has(vm, "\"kernel\":\"kernel\""));
    g_assert_true(document_has(vm, "\"last_boot_time\":null"));

    assert_act(ACT(vm, start, &error), error);
    assert_state(vm, "running");
    g_assert_cmpint(tenbox_vm_get_pid(vm), >, 0);
    g_assert_cmpint(tenbox_vm_get_started_at(vm), >, 0);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, "fake: hello");
    type_line(&screen, "echo me\n");
    wait_text(&screen, "echo me");

    assert_act(ACT(vm, pause, &error), error);
    assert_state(vm, "paused");
    g_assert_false(ACT(vm, shutdown, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-paused", NULL);
    assert_act(ACT(vm, resume, &error), error);
    assert_state(vm, "running");
    assert_act(ACT(vm, reset, &error), error);
    assert_state(vm, "running");

    tenbox_vm_get_statistics_async(vm, NULL, await_done, &statistics);
    g_autofree char *figures =
        tenbox_vm_get_statistics_finish(vm, await_result(&statistics), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(figures, "\"serial\":42"));

    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 30, &error));
    assert_state(vm, "stopped");
    g_assert_true(document_has(vm, "\"reason\":\"guest-power-off\""));
    g_assert_cmpint(tenbox_vm_get_pid(vm), ==, 0);
    wait_until(screen_is_closed, &screen);
    g_assert_null(screen.error);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 30, &error));

    tenbox_vm_read_log_async(vm, "console", 0, NULL, await_done, &log);
    g_autofree char *text = tenbox_vm_read_log_finish(vm, await_result(&log), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(text, "fake: hello"));

    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    g_assert_true(tenbox_vm_is_deleted(vm));
    g_assert_cmpstr(fixture->signals->str, ==, "+foo -foo ");
    g_assert_false(ACT(vm, start, &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
}

static void test_refusals(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0};
    g_autofree char *missing = g_build_filename(fixture->folder, "missing", NULL);

    g_assert_null(create_full(fixture, "foo", fixture->kernel, NULL, 64, &error));
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists", "name");
    g_assert_null(create_full(fixture, "bar", missing, NULL, 64, &error));
    g_assert_nonnull(strstr(error->message, missing));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "file-unreadable", "kernel");
    g_assert_null(create_full(fixture, "bar", fixture->folder, NULL, 64, &error));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "file-unreadable", "kernel");
    g_assert_null(create_full(fixture, "bar", fixture->kernel, NULL, 16 * 1024 * 1024, &error));
    g_assert_cmpstr(tenbox_error_get_field(error), ==, "memory_mb");
    g_clear_error(&error);
    g_autoptr(GPtrArray) vms = list_vms(fixture);
    g_assert_cmpuint(vms->len, ==, 1);

    g_assert_false(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-running", NULL);
    g_assert_false(ACT(vm, pause, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-running", NULL);
    assert_act(ACT(vm, start, &error), error);
    g_assert_false(ACT(vm, start, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-stopped", NULL);
    g_assert_false(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    assert_error(&error, TENBOX_ERROR_WRONG_STATE, "vm-not-stopped", NULL);
    assert_state(vm, "running");
}

static void test_refused_launch(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "refuse=kernel,22,it_is_no_kernel");
    g_autoptr(GError) error = NULL;

    g_assert_false(ACT(vm, start, &error));
    g_assert_nonnull(strstr(error->message, "it is no kernel"));
    assert_error(&error, TENBOX_ERROR_INVALID_ARGUMENT, "kernel-invalid", "kernel");
    assert_state(vm, "stopped");
    g_assert_true(document_has(vm, "\"code\":\"kernel-invalid\""));
}

static TenboxVm *find(Fixture *fixture, const char *name, GError **error)
{
    g_auto(Await) await = {0};

    tenbox_connection_get_vm_async(fixture->connection, name, TENBOX_VM_LOOKUP_FLAGS_NONE, NULL,
                                   await_done, &await);
    return tenbox_connection_get_vm_finish(fixture->connection, await_result(&await), error);
}

static void test_lookup(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *prefix = g_strndup(tenbox_vm_get_id(vm), 6);
    g_autoptr(TenboxVm) by_name = find(fixture, "foo", &error);
    g_autoptr(TenboxVm) by_id = find(fixture, tenbox_vm_get_id(vm), &error);
    g_autoptr(TenboxVm) by_prefix = find(fixture, prefix, &error);

    g_assert_no_error(error);
    g_assert_true(by_name == vm && by_id == vm && by_prefix == vm);
    g_assert_null(find(fixture, "FOO", &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
    g_assert_null(find(fixture, "../foo", &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);
}

static void test_update(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "quiet");
    g_autoptr(TenboxVm) other = create(fixture, "other", NULL);
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(TenboxVmConfigBuilder) taken = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;
    g_auto(Await) renamed = {0}, refused = {0}, running = {0};

    tenbox_vm_config_builder_set_name(builder, "bar");
    tenbox_vm_config_builder_set_memory_mb(builder, 32);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    tenbox_vm_update_async(vm, config, NULL, await_done, &renamed);
    g_assert_true(tenbox_vm_update_finish(vm, await_result(&renamed), &error));
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_vm_get_name(vm), ==, "bar");
    g_assert_cmpint(tenbox_vm_get_memory_mb(vm), ==, 32);
    g_assert_cmpstr(tenbox_vm_get_cmdline(vm), ==, "quiet");

    tenbox_vm_config_builder_set_name(taken, "other");
    g_autoptr(TenboxVmConfig) conflict = tenbox_vm_config_builder_build(taken, &error);
    tenbox_vm_update_async(vm, conflict, NULL, await_done, &refused);
    g_assert_false(tenbox_vm_update_finish(vm, await_result(&refused), &error));
    assert_error(&error, TENBOX_ERROR_EXISTS, "vm-exists", "name");

    assert_act(ACT(vm, start, &error), error);
    tenbox_vm_update_async(vm, config, NULL, await_done, &running);
    g_assert_false(tenbox_vm_update_finish(vm, await_result(&running), &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_WRONG_STATE);
}

/* One operation at a time; force pre-empts; withdrawing withdraws the operation. */
static void test_operations(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "start-hang");
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Await) start = {0}, again = {0}, begin = {0}, wait = {0}, list = {0}, get = {0},
                  cancel = {0}, end = {0};

    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, NULL, await_done, &start);
    wait_state(vm, TENBOX_VM_STATE_STARTING);
    g_assert_false(ACT(vm, start, &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "start"));
    g_clear_error(&error);
    g_assert_true(document_has(vm, "\"kind\":\"start\""));
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&start), &error));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled", NULL);
    assert_state(vm, "stopped");

    tenbox_vm_start_async(vm, TENBOX_VM_ACTION_FLAGS_NONE, cancellable, await_done, &again);
    wait_state(vm, TENBOX_VM_STATE_STARTING);
    g_cancellable_cancel(cancellable);
    g_assert_false(tenbox_vm_start_finish(vm, await_result(&again), &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error(&error);
    wait_state(vm, TENBOX_VM_STATE_STOPPED);

    tenbox_vm_begin_action_async(vm, TENBOX_VM_ACTION_START, TENBOX_VM_ACTION_FLAGS_NONE,
                                 TENBOX_VM_STOP_TIMEOUT_DEFAULT, NULL, await_done, &begin);
    g_autoptr(TenboxOperation) operation =
        tenbox_vm_begin_action_finish(vm, await_result(&begin), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(tenbox_operation_get_vm_id(operation), ==, tenbox_vm_get_id(vm));
    tenbox_operation_wait_async(operation, 1, NULL, await_done, &wait);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&wait), &error));
    assert_error(&error, TENBOX_ERROR_TIMED_OUT, "timed-out", NULL);

    tenbox_connection_list_operations_async(fixture->connection, NULL, await_done, &list);
    g_autoptr(GPtrArray) operations =
        tenbox_connection_list_operations_finish(fixture->connection, await_result(&list), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(operations->len, >=, 4);
    tenbox_connection_get_operation_async(fixture->connection, tenbox_operation_get_id(operation),
                                          NULL, await_done, &get);
    g_autoptr(TenboxOperation) same =
        tenbox_connection_get_operation_finish(fixture->connection, await_result(&get), &error);
    g_assert_no_error(error);
    g_assert_cmpint(tenbox_operation_get_state(same), ==, TENBOX_OPERATION_STATE_RUNNING);
    tenbox_operation_cancel_async(same, NULL, await_done, &cancel);
    g_assert_true(tenbox_operation_cancel_finish(same, await_result(&cancel), &error));
    g_assert_no_error(error);
    tenbox_operation_wait_async(operation, -1, NULL, await_done, &end);
    g_assert_false(tenbox_operation_wait_finish(operation, await_result(&end), &error));
    assert_error(&error, TENBOX_ERROR_CANCELLED, "operation-cancelled", NULL);
    wait_state(vm, TENBOX_VM_STATE_STOPPED);
}

static void test_crash(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, second = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, "fake: hello");
    g_assert_cmpint(kill((pid_t)tenbox_vm_get_pid(vm), SIGKILL), ==, 0);
    wait_state(vm, TENBOX_VM_STATE_CRASHED);
    g_assert_true(document_has(vm, "\"signal\":\"SIGKILL\""));
    wait_until(screen_is_closed, &screen);

    /* It may be started again, and says so itself when it ends. */
    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&second, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&second, "fake: hello");
    type_line(&second, "@triple-fault\n");
    wait_state(vm, TENBOX_VM_STATE_CRASHED);
    g_assert_true(document_has(vm, "\"reason\":\"triple-fault\""));
}

static void test_shutdown(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "ignore-button");
    g_autoptr(GError) error = NULL;

    assert_act(ACT(vm, start, &error), error);
    assert_act(ACT(vm, shutdown, &error), error);
    assert_state(vm, "running");
    g_assert_false(document_has(vm, "\"shutdown_requested_at\":null"));
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 0, &error));
    g_assert_no_error(error);
    g_assert_true(document_has(vm, "\"reason\":\"host-power-off\""));
    g_assert_true(document_has(vm, "\"shutdown_requested_at\":null"));
}

static void test_two_consoles(Fixture *fixture, gconstpointer data)
{
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
    g_autoptr(TenboxVm) vm = create(fixture, "foo", "no-credit");
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, sleeper = {0}, again = {0};
    g_auto(Await) write = {0};
    g_autofree char *echo = g_strnfill(4096, 'x');
    g_autofree char *shown = g_strconcat("fake: hello\r\n", echo, NULL);
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
    wait_text(&again, "fake: hello\r\n");
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
    wait_text(&first, "fake: hello");
    wait_text(&second, "fake: hello");
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

static gboolean has_signals(gpointer user_data)
{
    return ((GString *)user_data)->len > 0;
}

/* The process that runs the VMs goes away; the VMs stay, and the next one has them. */
static void test_adoption(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Screen) screen = {0}, later = {0};

    assert_act(ACT(vm, start, &error), error);
    g_assert_true(screen_open(&screen, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    wait_text(&screen, "fake: hello");
    gint64 pid = tenbox_vm_get_pid(vm);
    g_string_truncate(fixture->signals, 0);
    if (is_remote()) {
        g_subprocess_force_exit(fixture->daemon);
        g_subprocess_wait(fixture->daemon, NULL, NULL);
        g_clear_object(&fixture->daemon);
        wait_until(has_signals, fixture->signals);
        g_assert_cmpstr(fixture->signals->str, ==, "closed:daemon-unreachable ");
        wait_until(screen_is_closed, &screen);
        g_assert_cmpstr(screen.error, ==, "daemon-unreachable");
        g_assert_false(ACT(vm, pause, &error));
        assert_error(&error, TENBOX_ERROR_UNREACHABLE, "daemon-unreachable", NULL);
        assert_state(vm, "running");
        start_daemon(fixture);
        watch(fixture); /* the same connection goes on */
    } else {
        g_assert_null(open_connection(fixture->uri, &error));
        assert_error(&error, TENBOX_ERROR_IN_USE, "data-folder-locked", "data_folder");
        tenbox_connection_close(fixture->connection);
        g_assert_cmpstr(fixture->signals->str, ==, "closed:- ");
        wait_until(screen_is_closed, &screen);
        g_clear_object(&vm);
        g_clear_object(&fixture->connection);
        connect_fixture(fixture);
        vm = find(fixture, "foo", &error);
        g_assert_no_error(error);
    }
    assert_state(vm, "running");
    g_assert_cmpint(tenbox_vm_get_pid(vm), ==, pid);
    g_assert_true(screen_open(&later, vm, TENBOX_CONSOLE_FLAGS_NONE, &error));
    g_assert_no_error(error);
    wait_text(&later, "fake: hello");
    type_line(&later, "still there\n");
    wait_text(&later, "still there");
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, 30, &error));
    g_assert_no_error(error);
    assert_state(vm, "stopped");
}

static void test_texts(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_auto(Await) system = {0}, doctor = {0};

    tenbox_connection_get_system_async(fixture->connection, NULL, await_done, &system);
    g_autofree char *info =
        tenbox_connection_get_system_finish(fixture->connection, await_result(&system), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(info, "\"api_version\":\"v1\""));
    tenbox_connection_run_doctor_async(fixture->connection, NULL, await_done, &doctor);
    g_autofree char *report =
        tenbox_connection_run_doctor_finish(fixture->connection, await_result(&doctor), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(report, "\"checks\":["));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
    g_setenv("TENBOX_KVM_DEVICE", "/dev/null", TRUE);
#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)
    ADD("/vm/life", test_life);
    ADD("/vm/refusals", test_refusals);
    ADD("/vm/refused-launch", test_refused_launch);
    ADD("/vm/lookup", test_lookup);
    ADD("/vm/update", test_update);
    ADD("/vm/operations", test_operations);
    ADD("/vm/crash", test_crash);
    ADD("/vm/shutdown", test_shutdown);
    ADD("/vm/adoption", test_adoption);
    ADD("/console/two", test_two_consoles);
    ADD("/console/skipped", test_skipped);
    ADD("/console/long-input", test_long_input);
    ADD("/console/write-then-close", test_write_then_close);
    ADD("/console/end-while-input-waits", test_end_while_input_waits);
    ADD("/console/close-in-handler", test_close_in_handler);
    ADD("/system/texts", test_texts);
    return g_test_run();
}
