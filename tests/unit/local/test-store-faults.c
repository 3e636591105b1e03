/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever the store saves, and whichever system call of it is the last one or fails: what is found
 * afterwards is what was before or what shall be, whole, and nothing is left behind.
 *
 * Each save runs in a process of its own, which is killed in front of (or behind) its first system call, its
 * second, and so on until it gets through; then the same with errors in place of the kill.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/registry.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/trash.h"
#include "tests/unit/local/harness.h"

#define ID        "aaaaaaaa-0000-4000-8000-000000000000"
#define CALLS_MAX 400

/* ---- the seam ----------------------------------------------------------------------------- */

typedef enum {
    FAULT_KILL_BEFORE,
    FAULT_KILL_BEHIND,
    FAULT_NO_SPACE,
    FAULT_IO,
    FAULT_READ_ONLY,
    FAULT_COUNT,
} Fault;

static gint armed_at;   /* number of the call that goes wrong; 0: none */
static gint call_count; /* since then */
static Fault fault;

/* Whether the call that is being made is the one; does not return from a kill in front of it. */
static gboolean is_hit(void)
{
    if (g_atomic_int_get(&armed_at) == 0 ||
        g_atomic_int_add(&call_count, 1) + 1 != g_atomic_int_get(&armed_at))
        return FALSE;
    if (fault == FAULT_KILL_BEFORE)
        _exit(99);
    return TRUE;
}

static int fail(void)
{
    errno = fault == FAULT_NO_SPACE ? ENOSPC : fault == FAULT_IO ? EIO : EROFS;
    return -1;
}

/* One system call of the result @Type, with a fault around it. */
#define WRAP(Type, name, parameters, arguments)                                                    \
    Type __real_##name parameters;                                                                 \
    Type __wrap_##name parameters;                                                                 \
    Type __wrap_##name parameters                                                                  \
    {                                                                                              \
        gboolean hit = is_hit();                                                                   \
        Type result;                                                                               \
                                                                                                   \
        if (hit && fault != FAULT_KILL_BEHIND)                                                     \
            return fail();                                                                         \
        result = __real_##name arguments;                                                          \
        if (hit)                                                                                   \
            _exit(99);                                                                             \
        return result;                                                                             \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(int, renameat, (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to))
WRAP(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags))
WRAP(int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode))
WRAP(ssize_t, copy_file_range,
     (int from_fd, off64_t *from, int to_fd, off64_t *to, size_t size, unsigned int flags),
     (from_fd, from, to_fd, to, size, flags))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))

/* A process that is killed loses nothing that it has written: what it would take to make this last over a
 * loss of power would only make the test slow. */
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    gboolean hit = is_hit();

    if (hit && fault == FAULT_KILL_BEHIND)
        _exit(99);
    return hit ? fail() : 0;
}

#define WRAP_OPEN(name)                                                                            \
    int __real_##name(int fd, const char *path, int flags, ...);                                   \
    int __wrap_##name(int fd, const char *path, int flags, ...);                                   \
    int __wrap_##name(int fd, const char *path, int flags, ...)                                    \
    {                                                                                              \
        gboolean hit = is_hit();                                                                   \
        mode_t mode = 0;                                                                           \
        int result;                                                                                \
                                                                                                   \
        if (flags & O_CREAT) {                                                                     \
            va_list arguments;                                                                     \
            va_start(arguments, flags);                                                            \
            mode = va_arg(arguments, mode_t);                                                      \
            va_end(arguments);                                                                     \
        }                                                                                          \
        if (hit && fault != FAULT_KILL_BEHIND)                                                     \
            return fail();                                                                         \
        result = __real_##name(fd, path, flags, mode);                                             \
        if (hit)                                                                                   \
            _exit(99);                                                                             \
        return result;                                                                             \
    }

WRAP_OPEN(openat)
WRAP_OPEN(openat64)

/* ---- the saves ---------------------------------------------------------------------------- */

typedef struct {
    char *root;
    char *folder;
    char *kernel;
    char *new_kernel;
} Place;

typedef struct {
    GError *error;
    gboolean is_done;
    gboolean (*finish)(GAsyncResult *result, GError **error);
} Wait;

static void on_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Wait *wait = user_data;

    (void)wait->finish(result, &wait->error);
    wait->is_done = TRUE;
}

static gboolean wait_done(Wait *wait)
{
    while (!wait->is_done)
        g_main_context_iteration(NULL, TRUE);
    if (wait->error == NULL)
        return TRUE;
    if (!g_str_equal(tenbox_error_get_code(wait->error), fault == FAULT_NO_SPACE    ? "no-space"
                                                         : fault == FAULT_READ_ONLY ? "forbidden"
                                                                                    : "internal"))
        _exit(97); /* it is told as what it is not */
    return FALSE;
}

static TbxVmDefinition *new_definition(const char *name, gint64 memory_mb)
{
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_MEMORY_MB;
    spec->name = g_strdup(name);
    spec->kernel = g_strdup("/kernel");
    spec->memory_mb = memory_mb;
    return tbx_vm_definition_new(spec);
}

static gboolean save_create(const Place *place, TbxRegistry *registry)
{
    Wait wait = {.finish = tbx_registry_create_finish};

    tbx_registry_create_async(registry, ID, new_definition("one", 64), place->kernel, place->kernel,
                              NULL, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_file(TbxRegistry *registry, const char *folder, const char *name,
                          GBytes *content)
{
    TBX_AUTO_FD vm_fd = tbx_registry_open_vm_folder(registry, ID, NULL);
    TBX_AUTO_FD fd = vm_fd >= 0 && folder != NULL ? tbx_folder_open_at(vm_fd, folder, NULL) : -1;
    g_autoptr(TbxFileWriter) writer = NULL;
    Wait wait = {.finish = tbx_file_writer_write_finish};

    if (vm_fd < 0 || (folder != NULL && fd < 0))
        return FALSE;
    writer = tbx_file_writer_new(folder != NULL ? fd : vm_fd, name, 0600, NULL);
    tbx_file_writer_write_async(writer, content, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_definition(const Place *place, TbxRegistry *registry)
{
    g_autoptr(TbxVmDefinition) definition = new_definition("renamed", 128);
    g_autoptr(GBytes) content = tbx_vm_definition_print(definition);

    return save_file(registry, NULL, TBX_PATH_VM_JSON, content);
}

static gboolean save_state(const Place *place, TbxRegistry *registry)
{
    g_autoptr(GBytes) content = g_bytes_new_static("{\"pid\":2}", 9);

    return save_file(registry, TBX_PATH_RUN, TBX_PATH_STATE_JSON, content);
}

static gboolean save_kernel(const Place *place, TbxRegistry *registry)
{
    TBX_AUTO_FD fd = tbx_registry_open_vm_folder(registry, ID, NULL);
    Wait wait = {.finish = tbx_registry_replace_files_finish};

    if (fd < 0)
        return FALSE;
    tbx_registry_replace_files_async(registry, fd, place->new_kernel, NULL, NULL, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_trash(const Place *place, TbxRegistry *registry)
{
    g_autoptr(GBytes) note = tbx_trash_new_note();
    Wait wait = {.finish = tbx_registry_trash_finish};

    tbx_registry_trash_async(registry, ID, note, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_undelete(const Place *place, TbxRegistry *registry)
{
    Wait wait = {.finish = tbx_registry_undelete_finish};

    tbx_registry_undelete_async(registry, ID, NULL, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_note(const Place *place, TbxRegistry *registry)
{
    g_autoptr(GBytes) note = g_bytes_new_static("{\"age\":7}", 9);
    Wait wait = {.finish = tbx_registry_save_note_finish};

    tbx_registry_save_note_async(registry, ID, note, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_purge(const Place *place, TbxRegistry *registry)
{
    Wait wait = {.finish = tbx_registry_purge_finish};

    tbx_registry_purge_async(registry, ID, on_done, &wait);
    return wait_done(&wait);
}

static gboolean save_delete(const Place *place, TbxRegistry *registry)
{
    Wait wait = {.finish = tbx_registry_delete_finish};

    tbx_registry_delete_async(registry, ID, on_done, &wait);
    return wait_done(&wait);
}

typedef gboolean (*Save)(const Place *place, TbxRegistry *registry);

static const struct {
    const char *name;
    Save before[3]; /* what makes the place */
    Save save;
    gboolean is_strict; /* what was reported as failed has not happened */
} saves[] = {
    {"create", {NULL}, save_create, TRUE},
    {"vm.json", {save_create}, save_definition, FALSE},
    {"state.json", {save_create, save_state}, save_state, FALSE},
    {"kernel", {save_create}, save_kernel, FALSE},
    {"trash", {save_create}, save_trash, TRUE},
    {"trash-again", {save_create, save_trash, save_undelete}, save_trash, TRUE},
    {"undelete", {save_create, save_trash}, save_undelete, TRUE},
    {"note", {save_create, save_trash}, save_note, FALSE},
    {"purge", {save_create, save_trash}, save_purge, FALSE},
    {"delete", {save_create}, save_delete, FALSE},
};

/* ---- one run ------------------------------------------------------------------------------ */

typedef enum {
    RUN_DONE,    /* it said so, and met the fault */
    RUN_FAILED,  /* it said so */
    RUN_THROUGH, /* done without meeting the fault: there are fewer calls */
    RUN_KILLED = 99,
} RunResult;

/* In a process of its own, so that this one never has a thread. @at: 0 = without a fault. */
static RunResult run_save(const Place *place, Save save, Fault kind, gint at)
{
    pid_t pid = fork();
    int status;

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        g_autoptr(TbxRegistry) registry = tbx_registry_open(place->folder, NULL, NULL);
        gboolean is_done;

        if (registry == NULL)
            _exit(98);
        /* That something could not be removed is told, too. */
        g_log_set_always_fatal(G_LOG_FATAL_MASK);
        fault = kind;
        g_atomic_int_set(&armed_at, at);
        is_done = save(place, registry);
        if (!is_done)
            _exit(RUN_FAILED);
        _exit(g_atomic_int_get(&call_count) < at ? RUN_THROUGH : RUN_DONE);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), !=, 97);
    g_assert_cmpint(WEXITSTATUS(status), !=, 98);
    return (RunResult)WEXITSTATUS(status);
}

static void append_file(GString *text, int fd, const char *name)
{
    g_autofree char *content = tbx_file_read_at(fd, name, 1 << 20, NULL, NULL);

    g_string_append_printf(text, " %s=%s", name, content != NULL ? content : "-");
}

/* What must not be in a folder that nobody writes to. */
static void check_no_leftovers(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        if (*name == '.' || g_str_has_suffix(name, ".tmp"))
            g_error("left behind: %s", path);
        if (g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK))
            check_no_leftovers(path);
    }
}

/* Opens the folder as a daemon would, and tells what is in it. */
static char *describe(const Place *place)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxRegistry) registry = tbx_registry_open(place->folder, NULL, &error);
    g_autoptr(GPtrArray) ids = NULL;
    g_autoptr(GPtrArray) deleted = NULL;
    GString *text = g_string_new(NULL);

    g_assert_no_error(error);
    ids = tbx_registry_list_ids(registry, &error);
    g_assert_no_error(error);
    deleted = tbx_registry_list_deleted(registry, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < ids->len; i++) {
        TBX_AUTO_FD fd = tbx_registry_open_vm_folder(registry, ids->pdata[i], &error);
        g_autoptr(TbxVmDefinition) definition = NULL;

        g_assert_no_error(error);
        definition = tbx_registry_load(fd, NULL, &error);
        g_assert_no_error(error); /* never half */
        g_string_append_printf(text, "VM %s %d", definition->name, (int)definition->memory_mb);
        append_file(text, fd, TBX_PATH_KERNEL);
        append_file(text, fd, TBX_PATH_INITRD);
        append_file(text, fd, TBX_PATH_RUN "/" TBX_PATH_STATE_JSON);
        g_string_append_c(text, '\n');
    }
    for (guint i = 0; i < deleted->len; i++) {
        g_autoptr(TbxVmDefinition) definition = NULL;
        gsize length = 0;
        g_autofree char *note =
            tbx_registry_load_deleted(registry, deleted->pdata[i], &definition, &length, &error);

        g_assert_no_error(error);
        g_string_append_printf(text, "deleted %s%s\n", definition->name,
                               g_strcmp0(note, "{\"age\":7}") == 0 ? " noted" : "");
    }
    check_no_leftovers(place->folder);
    return g_string_free(text, FALSE);
}

static void place_make(Place *place, const Save before[3])
{
    place->root = test_make_folder();
    place->folder = g_build_filename(place->root, "data", NULL);
    place->kernel = g_build_filename(place->root, "vmlinuz", NULL);
    place->new_kernel = g_build_filename(place->root, "vmlinuz.new", NULL);
    g_assert_true(g_file_set_contents(place->kernel, "a kernel", -1, NULL));
    g_assert_true(g_file_set_contents(place->new_kernel, "a newer kernel", -1, NULL));
    for (int i = 0; i < 3 && before[i] != NULL; i++)
        g_assert_cmpint(run_save(place, before[i], FAULT_IO, 0), ==, RUN_DONE);
}

static void place_clear(Place *place)
{
    test_remove_folder(place->root);
    g_free(place->root);
    g_free(place->folder);
    g_free(place->kernel);
    g_free(place->new_kernel);
}

static void test_save(gconstpointer data)
{
    gsize number = GPOINTER_TO_SIZE(data);
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    Place place;

    place_make(&place, saves[number].before);
    before = describe(&place);
    g_assert_cmpint(run_save(&place, saves[number].save, FAULT_IO, 0), ==, RUN_DONE);
    after = describe(&place);
    place_clear(&place);
    for (Fault kind = 0; kind < FAULT_COUNT; kind++) {
        RunResult result = RUN_DONE;
        gint at;

        for (at = 1; result != RUN_THROUGH; at++) {
            g_autofree char *found = NULL;
            gboolean is_old, is_new;

            g_assert_cmpint(at, <, CALLS_MAX);
            place_make(&place, saves[number].before);
            result = run_save(&place, saves[number].save, kind, at);
            found = describe(&place);
            is_old = g_str_equal(found, before);
            is_new = g_str_equal(found, after);
            if (!is_old && !is_new)
                g_error("%s, fault %d at call %d: neither old nor new:\n%s", saves[number].name,
                        (int)kind, at, found);
            if ((result == RUN_DONE || result == RUN_THROUGH) && !is_new)
                g_error("%s, fault %d at call %d: told as done, but is not", saves[number].name,
                        (int)kind, at);
            if (result == RUN_FAILED && saves[number].is_strict && !is_old)
                g_error("%s, fault %d at call %d: told as failed, but happened", saves[number].name,
                        (int)kind, at);
            place_clear(&place);
        }
        g_test_message("%s, fault %d: %d calls", saves[number].name, (int)kind, at - 2);
        g_assert_cmpint(at, >, 2); /* there was something to go wrong */
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(saves); i++) {
        g_autofree char *path = g_strconcat("/store-faults/", saves[i].name, NULL);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_save);
    }
    return g_test_run();
}
