/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/local/harness.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtenbox/local/files.h"

/* A hang, not a slow machine. */
#define WATCHDOG_SECONDS 120

static gboolean on_hang(gpointer what)
{
    g_error("%s: nothing happens any more: waiting for %s", g_test_get_path(), (const char *)what);
    return G_SOURCE_REMOVE;
}

void wait_until(const char *what, Condition condition, gpointer user_data)
{
    guint watchdog = g_timeout_add_seconds(WATCHDOG_SECONDS, on_hang, (gpointer)what);

    while (!condition(user_data))
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(watchdog);
}

/* ---- threads ------------------------------------------------------------------------------ */

/* As many as GLib has for tasks. */
#define TASK_THREADS 10

static void hold_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable)
{
    ThreadHold *hold = task_data;

    g_mutex_lock(&hold->lock);
    hold->held++;
    g_cond_broadcast(&hold->changed);
    while (!hold->is_released)
        g_cond_wait(&hold->changed, &hold->lock);
    hold->held--;
    g_cond_broadcast(&hold->changed);
    g_mutex_unlock(&hold->lock);
    g_task_return_boolean(task, TRUE);
}

void hold_threads(ThreadHold *hold)
{
    *hold = (ThreadHold){0};
    g_mutex_init(&hold->lock);
    g_cond_init(&hold->changed);
    for (guint i = 0; i < TASK_THREADS; i++) {
        g_autoptr(GTask) task = g_task_new(NULL, NULL, NULL, NULL);

        g_task_set_task_data(task, hold, NULL);
        g_task_run_in_thread(task, hold_thread);
    }
    g_mutex_lock(&hold->lock);
    while (hold->held < TASK_THREADS)
        g_cond_wait(&hold->changed, &hold->lock);
    g_mutex_unlock(&hold->lock);
}

void release_threads(ThreadHold *hold)
{
    g_mutex_lock(&hold->lock);
    hold->is_released = TRUE;
    g_cond_broadcast(&hold->changed);
    while (hold->held > 0)
        g_cond_wait(&hold->changed, &hold->lock);
    g_mutex_unlock(&hold->lock);
    g_cond_clear(&hold->changed);
    g_mutex_clear(&hold->lock);
}

/* ---- tasks -------------------------------------------------------------------------------- */

static void on_task_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_object_set_data(G_OBJECT(result), "done", GUINT_TO_POINTER(1));
}

GTask *new_task(GCancellable *cancellable)
{
    GTask *task = g_task_new(NULL, cancellable, on_task_done, NULL);

    g_task_set_check_cancellable(task, FALSE);
    /* One for the driver, one for finish_…(). */
    return g_object_ref(task);
}

static gboolean is_done(gpointer task)
{
    return g_object_get_data(G_OBJECT(task), "done") != NULL;
}

gpointer finish_pointer(GTask *task, GError **error)
{
    g_autoptr(GTask) owned = task;

    wait_until("a task", is_done, task);
    return g_task_propagate_pointer(task, error);
}

gboolean finish_boolean(GTask *task, GError **error)
{
    g_autoptr(GTask) owned = task;

    wait_until("a task", is_done, task);
    return g_task_propagate_boolean(task, error);
}

/* ---- the driver --------------------------------------------------------------------------- */

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    Harness *harness = user_data;

    g_ptr_array_add(harness->events, tbx_event_record_ref(event));
    if (harness->on_event != NULL)
        harness->on_event(event, harness->on_event_data);
}

static void on_lost(const GError *error, gpointer user_data)
{
    g_error("a local driver loses no events: %s", error->message);
}

static const TbxEventSinkHandlers sink_handlers = {.event = on_event, .lost = on_lost};

TbxDriver *harness_try_open(Harness *harness, GError **error)
{
    g_autofree char *uri = g_strdup_printf("local://%s", harness->folder);
    TbxEventSink *sink = tbx_event_sink_new(&sink_handlers, harness);
    TbxDriver *driver = tbx_local_driver_new(uri, harness->folder, "unix:///test.sock",
                                             harness->trash_days, sink, error);
    GTask *task = new_task(NULL);

    g_assert_nonnull(driver);
    tbx_driver_open(driver, task);
    if (!finish_boolean(task, error)) {
        tbx_driver_unref(driver);
        tbx_event_sink_disconnect(sink);
        tbx_event_sink_unref(sink);
        return NULL;
    }
    task = new_task(NULL);
    tbx_driver_watch(driver, NULL, task);
    g_assert_true(finish_boolean(task, NULL));
    harness->sink = sink;
    return driver;
}

void harness_open(Harness *harness)
{
    g_autoptr(GError) error = NULL;

    g_ptr_array_set_size(harness->events, 0);
    harness->driver = harness_try_open(harness, &error);
    g_assert_no_error(error);
}

typedef struct {
    GThread *thread;
    gint is_done; /* atomic */
    char *folder;
} Unlocking;

static gpointer unlocking_thread(gpointer data)
{
    Unlocking *unlocking = data;
    g_autofree char *path = g_build_filename(unlocking->folder, "lock", NULL);
    int fd = open(path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
    close(fd);
    g_atomic_int_set(&unlocking->is_done, 1);
    g_main_context_wakeup(NULL);
    return NULL;
}

static gboolean is_unlocked(gpointer data)
{
    return g_atomic_int_get(&((Unlocking *)data)->is_done);
}

/* Writes that were under way when a driver was closed end after it. */
static void wait_unlocked(Harness *harness)
{
    Unlocking unlocking = {.folder = harness->folder};

    unlocking.thread = g_thread_new("unlocking", unlocking_thread, &unlocking);
    wait_until("the lock of the data folder", is_unlocked, &unlocking);
    g_thread_join(unlocking.thread);
}

void harness_close(Harness *harness)
{
    tbx_driver_close(harness->driver);
    g_clear_pointer(&harness->driver, tbx_driver_unref);
    tbx_event_sink_disconnect(harness->sink);
    g_clear_pointer(&harness->sink, tbx_event_sink_unref);
    wait_unlocked(harness);
}

char *test_make_folder(void)
{
    g_autoptr(GError) error = NULL;
    char *folder = g_dir_make_tmp("tenbox-test-XXXXXX", &error);

    g_assert_no_error(error);
    return folder;
}

void test_remove_folder(const char *folder)
{
    g_autofree char *parent = g_path_get_dirname(folder);
    g_autofree char *name = g_path_get_basename(folder);
    g_autoptr(GError) error = NULL;
    int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    tbx_folder_remove_at(parent_fd, name, &error);
    g_assert_no_error(error);
    close(parent_fd);
}

void harness_init(Harness *harness)
{
    g_autofree char *root = test_make_folder();

    *harness = (Harness){.trash_days = 7};
    g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
    g_setenv("TENBOX_KVM_DEVICE", "/dev/null", TRUE);
    harness->folder = g_build_filename(root, "data", NULL);
    harness->kernel = g_build_filename(root, "vmlinuz", NULL);
    harness->initrd = g_build_filename(root, "initrd.img", NULL);
    harness->events = g_ptr_array_new_with_free_func((GDestroyNotify)tbx_event_record_unref);
    g_assert_true(g_file_set_contents(harness->kernel, "a kernel", -1, NULL));
    g_assert_true(g_file_set_contents(harness->initrd, "an initrd", -1, NULL));
    harness_open(harness);
}

void harness_fini(Harness *harness)
{
    g_autofree char *root = g_path_get_dirname(harness->folder);
    g_autoptr(GPtrArray) list = NULL;
    GTask *task;

    if (harness->driver == NULL)
        harness_open(harness);
    task = new_task(NULL);
    tbx_driver_vm_list(harness->driver, task);
    list = finish_pointer(task, NULL);
    for (guint i = 0; i < list->len; i++)
        run_ok(harness, ((TbxVmRecord *)g_ptr_array_index(list, i))->id, TENBOX_VM_ACTION_DELETE,
               TRUE);
    harness_close(harness);
    g_assert_cmpuint(count_children(), ==, 0);
    test_remove_folder(root);
    g_free(harness->folder);
    g_free(harness->kernel);
    g_free(harness->initrd);
    g_ptr_array_unref(harness->events);
}

/* ---- VMs ---------------------------------------------------------------------------------- */

TbxVmSpec *spec_new(const Harness *harness, const char *name, const char *cmdline)
{
    TbxVmSpec *spec = tbx_vm_spec_new();

    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_INITRD |
                    TBX_VM_SPEC_MEMORY_MB | TBX_VM_SPEC_CPU_COUNT;
    spec->name = g_strdup(name);
    spec->kernel = g_strdup(harness->kernel);
    spec->initrd = g_strdup(harness->initrd);
    spec->memory_mb = 16;
    spec->cpu_count = 1;
    if (cmdline != NULL) {
        spec->present |= TBX_VM_SPEC_CMDLINE;
        spec->cmdline = g_strdup(cmdline);
    }
    return spec;
}

TbxVmRecord *try_create(Harness *harness, TbxVmSpec *spec, GError **error)
{
    GTask *task = new_task(NULL);

    tbx_driver_vm_create(harness->driver, spec, task);
    return finish_pointer(task, error);
}

char *create_vm(Harness *harness, const char *name, const char *cmdline)
{
    g_autoptr(TbxVmSpec) spec = spec_new(harness, name, cmdline);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmRecord) record = try_create(harness, spec, &error);

    g_assert_no_error(error);
    return g_strdup(record->id);
}

TbxVmRecord *get_vm(Harness *harness, const char *name)
{
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    TbxVmRecord *record;

    tbx_driver_vm_get(harness->driver, name, task);
    record = finish_pointer(task, &error);
    g_assert_no_error(error);
    return record;
}

TenboxVmState get_state(Harness *harness, const char *name)
{
    g_autoptr(TbxVmRecord) record = get_vm(harness, name);

    return (TenboxVmState)record->state;
}

TbxOperationRecord *begin(Harness *harness, const char *name, TenboxVmAction action, gboolean force,
                          gint64 timeout, GError **error)
{
    const TbxActionOptions options = {.force = force, .timeout = timeout};
    GTask *task = new_task(NULL);

    tbx_driver_vm_begin(harness->driver, name, action, &options, task);
    return finish_pointer(task, error);
}

TbxOperationRecord *wait_operation(Harness *harness, const char *id)
{
    for (;;) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TbxOperationRecord) record = NULL;
        GTask *task = new_task(NULL);

        tbx_driver_operation_get(harness->driver, id, TBX_OPERATION_WAIT_MAX, task);
        record = finish_pointer(task, &error);
        g_assert_no_error(error);
        if (record->state != TENBOX_OPERATION_STATE_RUNNING)
            return g_steal_pointer(&record);
    }
}

TbxOperationRecord *run(Harness *harness, const char *name, TenboxVmAction action, gboolean force,
                        gint64 timeout)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxOperationRecord) begun = begin(harness, name, action, force, timeout, &error);

    g_assert_no_error(error);
    return wait_operation(harness, begun->id);
}

void run_ok(Harness *harness, const char *name, TenboxVmAction action, gboolean force)
{
    g_autoptr(TbxOperationRecord) ended = run(harness, name, action, force, -1);

    if (ended->error != NULL)
        g_error("%s %s: %s", tenbox_vm_action_to_string(action), name, ended->error->message);
    g_assert_cmpint(ended->state, ==, TENBOX_OPERATION_STATE_DONE);
}

typedef struct {
    Harness *harness;
    const char *name;
    TenboxVmState state;
} StateWait;

static gboolean has_state(gpointer user_data)
{
    const StateWait *wait = user_data;

    return get_state(wait->harness, wait->name) == wait->state;
}

void wait_state(Harness *harness, const char *name, TenboxVmState state)
{
    StateWait wait = {harness, name, state};

    wait_until(tenbox_vm_state_to_string(state), has_state, &wait);
}

/* ---- consoles ----------------------------------------------------------------------------- */

TbxConsoleStream *open_console(Harness *harness, const char *name, gboolean replay)
{
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    TbxConsoleStream *stream;

    tbx_driver_console_open(harness->driver, name,
                            replay ? TENBOX_CONSOLE_FLAGS_NONE : TENBOX_CONSOLE_FLAGS_NO_REPLAY,
                            NULL, task);
    stream = finish_pointer(task, &error);
    g_assert_no_error(error);
    return stream;
}

char *read_until(TbxConsoleStream *stream, const char *end)
{
    GString *text = g_string_new(NULL);

    while (end == NULL || !g_str_has_suffix(text->str, end)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) bytes = NULL;
        GTask *task = new_task(NULL);
        gsize length;
        const char *data;

        tbx_console_stream_read(stream, 4096, task);
        bytes = finish_pointer(task, &error);
        g_assert_no_error(error);
        data = g_bytes_get_data(bytes, &length);
        if (length == 0)
            break;
        g_string_append_len(text, data, (gssize)length);
    }
    return g_string_free(text, FALSE);
}

void write_console(TbxConsoleStream *stream, const char *text)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);

    tbx_console_stream_write(stream, bytes, task);
    g_assert_true(finish_boolean(task, &error));
    g_assert_no_error(error);
}

/* ---- assertions --------------------------------------------------------------------------- */

void assert_error_at(const char *where, GError **error, const char *slug, const char *field)
{
    if (*error == NULL)
        g_error("%s: expected the error %s, got none", where, slug);
    if (!g_str_equal(tenbox_error_get_code(*error), slug) ||
        g_strcmp0(tenbox_error_get_field(*error), field) != 0)
        g_error("%s: expected the error %s (%s), got %s (%s): %s", where, slug, field,
                tenbox_error_get_code(*error), tenbox_error_get_field(*error), (*error)->message);
    g_clear_error(error);
}

static guint count_entries(const char *folder)
{
    g_autoptr(GDir) entries = g_dir_open(folder, 0, NULL);
    guint count = 0;

    while (g_dir_read_name(entries) != NULL)
        count++;
    return count;
}

guint count_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

static gboolean has_no_more_descriptors(gpointer most)
{
    return count_descriptors() <= GPOINTER_TO_UINT(most);
}

static gboolean look_again(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

void wait_descriptors(guint most)
{
    /* A thread that closes one tells no main context about it: the condition is polled. */
    guint poll = g_timeout_add(20, look_again, NULL);

    wait_until("descriptors to be closed", has_no_more_descriptors, GUINT_TO_POINTER(most));
    g_source_remove(poll);
}

guint count_children(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children", (int)getpid());
    g_autofree char *text = NULL;
    g_auto(GStrv) words = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        /* A kernel without that file: ask whether there is any child at all. */
        siginfo_t info;

        return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? 0 : 1;
    }
    words = g_strsplit(g_strstrip(text), " ", -1);
    return *text == '\0' ? 0 : g_strv_length(words);
}

/* ---- what most tests of the driver ask ---------------------------------------------------- */

char *vm_path(const Harness *harness, const char *id, const char *name)
{
    return g_build_filename(harness->folder, "vms", id, name, NULL);
}

char *list_vms_folder(const Harness *harness)
{
    g_autofree char *path = g_build_filename(harness->folder, "vms", NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(folder)) != NULL)
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, (GCompareFunc)g_strcmp0);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

gboolean is_alive(gint64 pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d", (int)pid);

    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

char *describe_events(const Harness *harness)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (g_str_equal(event->type, TBX_EVENT_VM_CHANGED))
            continue;
        /* How far it is: told only when that takes a while. */
        if (event->operation != NULL && event->operation->progress != NULL &&
            event->operation->state == TENBOX_OPERATION_STATE_RUNNING)
            continue;
        if (text->len > 0)
            g_string_append_c(text, ' ');
        if (event->operation != NULL)
            g_string_append_printf(
                text, "%s:%s", event->operation->kind,
                tenbox_operation_state_to_string((TenboxOperationState)event->operation->state));
        else if (g_str_equal(event->type, TBX_EVENT_VM_STATE))
            g_string_append(text, tenbox_vm_state_to_string((TenboxVmState)event->vm->state));
        else
            g_string_append(text, event->type);
    }
    return g_string_free(text, FALSE);
}

gboolean has_rebooted(gpointer user_data)
{
    const Harness *harness = user_data;

    for (guint i = 0; i < harness->events->len; i++) {
        const TbxEventRecord *event = g_ptr_array_index(harness->events, i);

        if (g_str_equal(event->type, TBX_EVENT_VM_REBOOTED))
            return TRUE;
    }
    return FALSE;
}

void assert_cancelled(Harness *harness, const char *id)
{
    g_autoptr(TbxOperationRecord) record = wait_operation(harness, id);

    g_assert_cmpint(record->state, ==, TENBOX_OPERATION_STATE_CANCELLED);
    g_assert_cmpstr(tenbox_error_get_code(record->error), ==, "operation-cancelled");
}

char *read_log(Harness *harness, const char *name, const char *source, guint lines)
{
    g_autoptr(GError) error = NULL;
    GTask *task = new_task(NULL);
    char *text;

    tbx_driver_vm_log(harness->driver, name, source, lines, task);
    text = finish_pointer(task, &error);
    g_assert_no_error(error);
    return text;
}

TbxVmRecord *try_update(Harness *harness, const char *name, TbxVmSpec *spec, GError **error)
{
    GTask *task = new_task(NULL);

    tbx_driver_vm_update(harness->driver, name, spec, task);
    return finish_pointer(task, error);
}

typedef struct {
    Harness *harness;
    const char *name;
    TbxConsoleStream *console;
} ConsoleWait;

static gboolean has_console(gpointer user_data)
{
    ConsoleWait *wait = user_data;
    GTask *task = new_task(NULL);

    tbx_driver_console_open(wait->harness->driver, wait->name, TENBOX_CONSOLE_FLAGS_NONE, NULL,
                            task);
    wait->console = finish_pointer(task, NULL);
    return wait->console != NULL;
}

TbxConsoleStream *wait_console(Harness *harness, const char *name)
{
    ConsoleWait wait = {harness, name, NULL};

    wait_until("a console", has_console, &wait);
    return wait.console;
}

static gboolean has_no_children(gpointer unused)
{
    return count_children() == 0;
}

void wait_no_children(void)
{
    wait_until("the runtimes to end", has_no_children, NULL);
}
