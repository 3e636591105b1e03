/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that matter, under faults: each system call of a write fails in turn, or the process ends in
 * front of it, and what is found afterwards is whole.
 *
 * The linker puts the __wrap_ functions below in place of the C library's.
 * LINK: -Wl,--wrap=write,--wrap=fsync,--wrap=renameat,--wrap=mkdirat,--wrap=copy_file_range
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/registry.h"
#include "tests/unit/local/harness.h"

/* ---- faults ------------------------------------------------------------------------------- */

/* The call that fails (1 = the next), 0 = none; how many were made; what happens. */
static gint fault_at;
static gint call_count;
static gboolean fault_is_crash;
static char call_names[4096];
static gboolean has_no_copy_file_range;

ssize_t __real_write(int fd, const void *data, size_t length);
int __real_fsync(int fd);
int __real_renameat(int old_fd, const char *old_name, int new_fd, const char *new_name);
int __real_mkdirat(int fd, const char *name, mode_t mode);
ssize_t __real_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length,
                               unsigned int flags);
ssize_t __wrap_write(int fd, const void *data, size_t length);
int __wrap_fsync(int fd);
int __wrap_renameat(int old_fd, const char *old_name, int new_fd, const char *new_name);
int __wrap_mkdirat(int fd, const char *name, mode_t mode);
ssize_t __wrap_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length,
                               unsigned int flags);

static gboolean is_regular(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* Notes a call; TRUE: it fails. */
static gboolean is_fault(const char *name)
{
    if (strlen(call_names) + strlen(name) + 2 < sizeof(call_names)) {
        strcat(call_names, name);
        strcat(call_names, " ");
    }
    if (++call_count != fault_at)
        return FALSE;
    if (fault_is_crash)
        _exit(42);
    errno = ENOSPC;
    return TRUE;
}

ssize_t __wrap_write(int fd, const void *data, size_t length)
{
    /* Pipes and eventfds are none of our business. */
    if (!is_regular(fd))
        return __real_write(fd, data, length);
    if (is_fault("write"))
        return -1;
    return __real_write(fd, data, length);
}

int __wrap_fsync(int fd)
{
    return is_fault(is_regular(fd) ? "fsync" : "fsync-folder") ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int old_fd, const char *old_name, int new_fd, const char *new_name)
{
    return is_fault("rename") ? -1 : __real_renameat(old_fd, old_name, new_fd, new_name);
}

int __wrap_mkdirat(int fd, const char *name, mode_t mode)
{
    return is_fault("mkdir") ? -1 : __real_mkdirat(fd, name, mode);
}

ssize_t __wrap_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length,
                               unsigned int flags)
{
    if (has_no_copy_file_range) {
        errno = EXDEV;
        return -1;
    }
    if (is_fault("copy"))
        return -1;
    return __real_copy_file_range(in, in_offset, out, out_offset, length, flags);
}

static void set_fault(gint at)
{
    fault_at = at;
    call_count = 0;
    call_names[0] = '\0';
}

/* ---- folders ------------------------------------------------------------------------------ */

typedef struct {
    char *path;
    int fd;
} Folder;

static void folder_init(Folder *folder)
{
    folder->path = test_make_folder();
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void folder_fini(Folder *folder)
{
    close(folder->fd);
    test_remove_folder(folder->path);
    g_free(folder->path);
}

static char *list_folder(const char *path)
{
    g_autoptr(GDir) entries = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(entries)) != NULL)
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, (GCompareFunc)g_strcmp0);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

static char *read_file(const Folder *folder, const char *name)
{
    g_autoptr(GError) error = NULL;
    char *text = tbx_file_read_at(folder->fd, name, 1 << 20, NULL, &error);

    g_assert_no_error(error);
    return text;
}

static gboolean replace(const Folder *folder, const char *text, GError **error)
{
    return tbx_file_replace_at(folder->fd, "file", text, strlen(text), 0600, error);
}

/* ---- replacing ---------------------------------------------------------------------------- */

/* The order is what makes it durable. */
static void test_replace_order(void)
{
    Folder folder;
    g_autofree char *text = NULL;

    folder_init(&folder);
    set_fault(0);
    g_assert_true(replace(&folder, "content", NULL));
    g_assert_cmpstr(call_names, ==, "write fsync rename fsync-folder ");
    text = read_file(&folder, "file");
    g_assert_cmpstr(text, ==, "content");
    folder_fini(&folder);
}

static void test_replace_faults(void)
{
    Folder folder;
    gboolean has_succeeded = FALSE;

    folder_init(&folder);
    for (gint at = 1; !has_succeeded; at++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        g_autofree char *names = NULL;

        set_fault(0);
        g_assert_true(replace(&folder, "old", NULL));
        set_fault(at);
        has_succeeded = replace(&folder, "new", &error);
        set_fault(0);
        text = read_file(&folder, "file");
        names = list_folder(folder.path);
        g_assert_cmpstr(names, ==, "file");
        if (has_succeeded) {
            g_assert_cmpint(at, ==, 5);
            g_assert_cmpstr(text, ==, "new");
        } else {
            /* Only when the folder could not be synced the new file is in place already. */
            g_assert_cmpstr(text, ==, at == 4 ? "new" : "old");
            assert_error(&error, "no-space", NULL);
        }
    }
    folder_fini(&folder);
}

static void test_replace_crashes(void)
{
    Folder folder;
    int status = 0;

    folder_init(&folder);
    for (gint at = 1; at < 10 && status != -1; at++) {
        g_autofree char *text = NULL;
        g_autofree char *again = NULL;
        g_autofree char *names = NULL;
        pid_t child;

        set_fault(0);
        g_assert_true(replace(&folder, "old", NULL));
        child = fork();
        if (child == 0) {
            fault_is_crash = TRUE;
            set_fault(at);
            (void)replace(&folder, "new", NULL);
            _exit(0);
        }
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        text = read_file(&folder, "file");
        if (WEXITSTATUS(status) == 42) {
            g_assert_true(g_str_equal(text, "old") || g_str_equal(text, "new"));
        } else {
            g_assert_cmpstr(text, ==, "new");
            status = -1;
        }
        /* What was left does not stand in the way of the next write. */
        g_assert_true(replace(&folder, "next", NULL));
        again = read_file(&folder, "file");
        g_assert_cmpstr(again, ==, "next");
        names = list_folder(folder.path);
        g_assert_cmpstr(names, ==, "file");
    }
    g_assert_cmpint(status, ==, -1);
    folder_fini(&folder);
}

/* A link of that name is replaced, not followed. */
static void test_replace_link(void)
{
    Folder folder;
    g_autofree char *target = NULL;
    g_autofree char *link = NULL;
    g_autofree char *text = NULL;

    folder_init(&folder);
    target = g_build_filename(folder.path, "target", NULL);
    link = g_build_filename(folder.path, ".file.tmp", NULL);
    g_assert_true(g_file_set_contents(target, "untouched", -1, NULL));
    g_assert_cmpint(symlink(target, link), ==, 0);
    g_assert_true(replace(&folder, "content", NULL));
    text = read_file(&folder, "target");
    g_assert_cmpstr(text, ==, "untouched");
    folder_fini(&folder);
}

static void test_read(void)
{
    Folder folder;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;

    folder_init(&folder);
    g_assert_null(tbx_file_read_at(folder.fd, "none", 10, NULL, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_true(replace(&folder, "0123456789x", NULL));
    g_assert_null(tbx_file_read_at(folder.fd, "file", 10, NULL, &error));
    assert_error(&error, "internal", "file");
    path = g_build_filename(folder.path, "pipe", NULL);
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_assert_null(tbx_file_read_at(folder.fd, "pipe", 10, NULL, &error));
    assert_error(&error, "internal", "pipe");
    g_free(path);
    path = g_build_filename(folder.path, "link", NULL);
    g_assert_cmpint(symlink("file", path), ==, 0);
    g_assert_null(tbx_file_read_at(folder.fd, "link", 100, NULL, &error));
    assert_error(&error, "internal", "link");
    folder_fini(&folder);
}

/* ---- copying and removing ----------------------------------------------------------------- */

static void test_copy(gconstpointer without_range)
{
    const gsize size = (9u << 20) + 7;
    Folder folder;
    g_autofree char *content = g_malloc(size);
    g_autofree char *path = NULL;
    g_autofree char *copy_path = NULL;
    g_autofree char *copy = NULL;
    g_autoptr(GError) error = NULL;
    gsize length;
    int fd;

    folder_init(&folder);
    has_no_copy_file_range = without_range != NULL;
    for (gsize i = 0; i < size; i++)
        content[i] = (char)(i * 2654435761u >> 13);
    path = g_build_filename(folder.path, "source", NULL);
    copy_path = g_build_filename(folder.path, "copy", NULL);
    g_assert_true(g_file_set_contents(path, content, (gssize)size, NULL));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    g_assert_true(tbx_file_copy_at(fd, folder.fd, "copy", 0600, "kernel", NULL, &error));
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(copy_path, &copy, &length, NULL));
    g_assert_cmpmem(copy, length, content, size);
    /* Never over something. */
    g_assert_false(tbx_file_copy_at(fd, folder.fd, "copy", 0600, "kernel", NULL, &error));
    g_clear_error(&error);
    /* A source that shrank is an error, not a shorter kernel. */
    lseek(fd, 100, SEEK_SET);
    g_assert_false(tbx_file_copy_at(fd, folder.fd, "short", 0600, "kernel", NULL, &error));
    assert_error(&error, "file-unreadable", "kernel");
    g_assert_cmpint(faccessat(folder.fd, "short", F_OK, 0), !=, 0);
    close(fd);
    has_no_copy_file_range = FALSE;
    folder_fini(&folder);
}

static void test_remove(void)
{
    Folder folder;
    g_autoptr(GError) error = NULL;
    g_autofree char *deep = NULL;
    g_autofree char *outside = NULL;
    g_autofree char *link = NULL;
    g_autofree char *left = NULL;

    folder_init(&folder);
    deep = g_build_filename(folder.path, "old", "a", "b", NULL);
    outside = g_build_filename(folder.path, "outside", NULL);
    link = g_build_filename(deep, "link", NULL);
    g_assert_cmpint(g_mkdir_with_parents(deep, 0700), ==, 0);
    g_assert_cmpint(g_mkdir(outside, 0700), ==, 0);
    g_assert_cmpint(symlink(outside, link), ==, 0);
    g_assert_true(tbx_folder_remove_at(folder.fd, "old", &error));
    g_assert_no_error(error);
    g_assert_true(tbx_folder_remove_at(folder.fd, "old", &error));
    left = list_folder(folder.path);
    g_assert_cmpstr(left, ==, "outside");
    folder_fini(&folder);
}

/* ---- the writer --------------------------------------------------------------------------- */

static void count_result(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GError) error = NULL;

    if (tbx_file_writer_write_finish(result, &error))
        ++*(guint *)user_data;
    else
        *(guint *)user_data += 1000;
}

static gboolean has_hundred(gpointer user_data)
{
    return *(guint *)user_data % 1000 + *(guint *)user_data / 1000 == 100;
}

static void test_writer(void)
{
    Folder folder;
    TbxFileWriter *writer;
    g_autofree char *text = NULL;
    guint count = 0;

    folder_init(&folder);
    set_fault(0);
    writer = tbx_file_writer_new(folder.fd, "file", 0600, NULL);
    for (guint i = 0; i < 100; i++) {
        g_autofree char *content = g_strdup_printf("%u", i);
        g_autoptr(GBytes) bytes = g_bytes_new(content, strlen(content));

        tbx_file_writer_write_async(writer, bytes, count_result, &count);
    }
    wait_until("a hundred writes", has_hundred, &count);
    g_assert_cmpuint(count, ==, 100);
    /* The last wins, and most were never written at all. */
    text = read_file(&folder, "file");
    g_assert_cmpstr(text, ==, "99");
    g_assert_cmpint(call_count, <=, 8);
    tbx_file_writer_unref(writer);
    folder_fini(&folder);
}

static void test_writer_fails(void)
{
    Folder folder;
    TbxFileWriter *writer;
    g_autoptr(GBytes) bytes = g_bytes_new("x", 1);
    guint count = 99;

    folder_init(&folder);
    writer = tbx_file_writer_new(folder.fd, "file", 0600, NULL);
    set_fault(2);
    tbx_file_writer_write_async(writer, bytes, count_result, &count);
    wait_until("the write", has_hundred, &count);
    g_assert_cmpuint(count, ==, 1099);
    set_fault(0);
    tbx_file_writer_unref(writer);
    folder_fini(&folder);
}

/* ---- the registry ------------------------------------------------------------------------- */

static void keep_result(GObject *source, GAsyncResult *result, gpointer user_data)
{
    *(GAsyncResult **)user_data = g_object_ref(result);
}

static gboolean has_result(gpointer user_data)
{
    return *(GAsyncResult **)user_data != NULL;
}

static TbxVmDefinition *definition_new(void)
{
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_new();

    spec->present = TBX_VM_SPEC_NAME | TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_INITRD;
    spec->name = g_strdup("one");
    spec->kernel = g_strdup("/x");
    spec->initrd = g_strdup("/x");
    return tbx_vm_definition_new(spec);
}

/* Each system call of a creation fails once: nothing is left, and the error says why. */
static void test_create_faults(void)
{
    const char *const id = "00000000-0000-4000-8000-000000000001";
    Folder folder;
    g_autofree char *data = NULL;
    g_autofree char *kernel = NULL;
    g_autofree char *vms = NULL;
    g_autoptr(TbxRegistry) registry = NULL;
    g_autoptr(GError) error = NULL;
    gboolean has_succeeded = FALSE;
    gint at;

    folder_init(&folder);
    data = g_build_filename(folder.path, "data", NULL);
    kernel = g_build_filename(folder.path, "vmlinuz", NULL);
    vms = g_build_filename(data, "vms", NULL);
    g_assert_true(g_file_set_contents(kernel, "a kernel", -1, NULL));
    set_fault(0);
    registry = tbx_registry_open(data, NULL, &error);
    g_assert_no_error(error);
    for (at = 1; !has_succeeded; at++) {
        g_autoptr(GAsyncResult) result = NULL;
        g_autofree char *left = NULL;

        set_fault(at);
        tbx_registry_create_async(registry, id, definition_new(), kernel, kernel, NULL, keep_result,
                                  &result);
        wait_until("a creation", has_result, &result);
        fault_at = 0;
        has_succeeded = tbx_registry_create_finish(result, &error);
        left = list_folder(vms);
        if (has_succeeded) {
            g_assert_cmpstr(left, ==, id);
        } else {
            g_assert_cmpstr(left, ==, "");
            g_assert_cmpstr(tenbox_error_get_code(error), ==, "no-space");
            g_clear_error(&error);
        }
    }
    g_test_message("%d calls: %s", at - 2, call_names);
    g_assert_cmpint(at, >, 10);
    folder_fini(&folder);
}

/* The folder of all VMs is as durable as what is in it. */
static void test_open_order(void)
{
    Folder folder;
    g_autofree char *data = NULL;
    g_autoptr(TbxRegistry) registry = NULL;
    g_autoptr(GError) error = NULL;

    folder_init(&folder);
    data = g_build_filename(folder.path, "data", NULL);
    set_fault(0);
    registry = tbx_registry_open(data, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_suffix(call_names, "mkdir fsync-folder "));
    folder_fini(&folder);
}

/* Each system call of a change of files fails once: nothing is left in the making. */
static void test_replace_files_faults(void)
{
    const char *const id = "00000000-0000-4000-8000-000000000001";
    Folder folder;
    g_autofree char *data = NULL;
    g_autofree char *kernel = NULL;
    g_autofree char *vm = NULL;
    g_autoptr(TbxRegistry) registry = NULL;
    gboolean has_succeeded = FALSE;
    int vm_fd;
    gint at;

    folder_init(&folder);
    data = g_build_filename(folder.path, "data", NULL);
    kernel = g_build_filename(folder.path, "vmlinuz", NULL);
    vm = g_build_filename(data, "vms", id, NULL);
    g_assert_true(g_file_set_contents(kernel, "a kernel", -1, NULL));
    set_fault(0);
    registry = tbx_registry_open(data, NULL, NULL);
    g_assert_cmpint(g_mkdir(vm, 0700), ==, 0);
    vm_fd = tbx_registry_open_vm_folder(registry, id, NULL);
    for (at = 1; !has_succeeded; at++) {
        g_autoptr(GAsyncResult) result = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *left = NULL;

        set_fault(at);
        tbx_registry_replace_files_async(registry, vm_fd, kernel, kernel, NULL, keep_result,
                                         &result);
        wait_until("a change of files", has_result, &result);
        fault_at = 0;
        has_succeeded = tbx_registry_replace_files_finish(result, &error);
        g_assert_true(has_succeeded || g_str_equal(tenbox_error_get_code(error), "no-space"));
        left = list_folder(vm);
        g_assert_null(strstr(left, ".tmp"));
    }
    g_test_message("%d calls: %s", at - 2, call_names);
    g_assert_cmpint(at, >, 6);
    close(vm_fd);
    folder_fini(&folder);
}

static void test_delete_fault(void)
{
    const char *const id = "00000000-0000-4000-8000-000000000001";
    Folder folder;
    g_autofree char *data = NULL;
    g_autofree char *vm = NULL;
    g_autofree char *left = NULL;
    g_autoptr(TbxRegistry) registry = NULL;
    g_autoptr(GAsyncResult) failed = NULL;
    g_autoptr(GAsyncResult) done = NULL;
    g_autoptr(GError) error = NULL;

    folder_init(&folder);
    set_fault(0);
    data = g_build_filename(folder.path, "data", NULL);
    registry = tbx_registry_open(data, NULL, NULL);
    vm = g_build_filename(data, "vms", id, "run", NULL);
    g_assert_cmpint(g_mkdir_with_parents(vm, 0700), ==, 0);
    set_fault(1);
    tbx_registry_delete_async(registry, id, keep_result, &failed);
    wait_until("a deletion", has_result, &failed);
    g_assert_false(tbx_registry_delete_finish(failed, &error));
    g_assert_true(g_file_test(vm, G_FILE_TEST_IS_DIR));
    set_fault(0);
    tbx_registry_delete_async(registry, id, keep_result, &done);
    wait_until("a deletion", has_result, &done);
    g_assert_true(tbx_registry_delete_finish(done, NULL));
    g_free(vm);
    vm = g_build_filename(data, "vms", NULL);
    left = list_folder(vm);
    g_assert_cmpstr(left, ==, "");
    folder_fini(&folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/files/replace/order", test_replace_order);
    g_test_add_func("/files/replace/faults", test_replace_faults);
    g_test_add_func("/files/replace/crashes", test_replace_crashes);
    g_test_add_func("/files/replace/link", test_replace_link);
    g_test_add_func("/files/read", test_read);
    g_test_add_data_func("/files/copy/in-kernel", NULL, test_copy);
    g_test_add_data_func("/files/copy/by-reading", GINT_TO_POINTER(1), test_copy);
    g_test_add_func("/files/remove", test_remove);
    g_test_add_func("/files/writer/coalesces", test_writer);
    g_test_add_func("/files/writer/fails", test_writer_fails);
    g_test_add_func("/registry/open-order", test_open_order);
    g_test_add_func("/registry/create-faults", test_create_faults);
    g_test_add_func("/registry/replace-files-faults", test_replace_files_faults);
    g_test_add_func("/registry/delete-fault", test_delete_fault);
    return g_test_run();
}
