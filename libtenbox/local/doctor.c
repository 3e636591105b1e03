/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checks, in the order in which one fault explains the next:
 *
 *   kvm-device   /dev/kvm exists and this user may open it
 *   kvm-version  it speaks the API that everything here is written for
 *   kvm-machine  a runtime enters a guest with it (RT_MODE_PROBE): the only check that does not believe
 *                what the host says about itself
 *   runtime      the program that runs VMs is there
 *   data-folder  it can be written to, durably
 *   data-space   there is room for a VM
 *   memory       there is memory for one
 *   session      the user's VMs outlive a log-out
 *
 * A check that rests on a failed one is skipped and says so.
 */
#include "libtenbox/local/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/resources.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-process.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

#define SPACE_WARNING_MB  1024
#define MEMORY_WARNING_MB 512
/* The probe has a limit of its own, 20 s (HV_PROBE_LIMIT_MS); this one is for a probe that hangs. */
#define PROBE_TIMEOUT_MS  60000u

typedef struct {
    GTask *task;
    GMainContext *home;
    TbxRegistry *registry; /* a reference */
    JsonArray *checks;
    GSource *cancelled; /* nullable */
    GSource *closed;
    GError *end; /* why there will be no answer, while a thread is to be waited for */
    gboolean is_in_thread;
    gboolean has_failed;
    TbxVmProcess *probe;
    GSource *timer;
    gboolean has_timed_out;
    GError *refusal;
    gboolean has_passed;
} Doctor;

static void doctor_free(Doctor *self)
{
    tbx_source_clear(&self->timer);
    tbx_source_clear(&self->cancelled);
    tbx_source_clear(&self->closed);
    g_clear_error(&self->end);
    tbx_vm_process_free(self->probe);
    g_clear_pointer(&self->checks, json_array_unref);
    g_clear_error(&self->refusal);
    tbx_registry_unref(self->registry);
    g_main_context_unref(self->home);
    g_free(self);
}

static void add_row(Doctor *self, const char *name, const char *status, const char *detail,
                    const char *fix)
{
    JsonObject *row = json_object_new();

    json_object_set_string_member(row, "name", name);
    json_object_set_string_member(row, "status", status);
    json_object_set_string_member(row, "detail", detail);
    if (fix != NULL)
        json_object_set_string_member(row, "fix", fix);
    else
        json_object_set_null_member(row, "fix");
    json_array_add_object_element(self->checks, row);
    if (g_str_equal(status, "failed"))
        self->has_failed = TRUE;
}

/* The row of a check that failed with @error; @fix where the error brings none. */
static void add_failure(Doctor *self, const char *name, const GError *error, const char *fix)
{
    const char *hint = tenbox_error_get_hint(error);

    add_row(self, name, "failed", error->message, hint != NULL ? hint : fix);
}

/* ---- host --------------------------------------------------------------------------------- */

/* The open device, or -1 after the failure was noted. */
static int check_kvm(Doctor *self)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *detail = g_strdup_printf("%s can be opened", tbx_host_get_kvm_device());
    TBX_AUTO_FD fd = tbx_host_open_kvm(&error);

    if (fd < 0) {
        add_failure(self, "kvm-device", error, NULL);
        add_row(self, "kvm-version", "skipped", "There is no KVM device to ask", NULL);
        return -1;
    }
    add_row(self, "kvm-device", "ok", detail, NULL);
    if (!tbx_host_check_kvm_version(fd, &error)) {
        add_failure(self, "kvm-version", error,
                    "Use a kernel whose KVM is not replaced by another");
        return -1;
    }
    add_row(self, "kvm-version", "ok", "KVM API version 12", NULL);
    return tbx_fd_take(&fd);
}

static void check_memory(Doctor *self)
{
    gint64 available = tbx_host_get_available_memory_mb();
    g_autofree char *detail =
        g_strdup_printf("%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " MiB are available", available,
                        tbx_host_get_memory_mb());

    if (available < MEMORY_WARNING_MB)
        add_row(self, "memory", "warning", detail, "Stop other programs, or add swap");
    else
        add_row(self, "memory", "ok", detail, NULL);
}

/* Without lingering, systemd ends what a user runs when the user's last session does. */
static void check_session(Doctor *self)
{
    const char *runtime_folder = g_getenv("XDG_RUNTIME_DIR");
    g_autofree char *linger = g_build_filename("/var/lib/systemd/linger", g_get_user_name(), NULL);
    g_autofree char *fix =
        g_strdup_printf("Run: sudo loginctl enable-linger %s", g_get_user_name());
    struct stat status;

    if (geteuid() == 0) {
        add_row(self, "session", "ok", "The daemon runs as root and does not depend on a session",
                NULL);
    } else if (g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR) &&
               !g_file_test(linger, G_FILE_TEST_EXISTS)) {
        add_row(self, "session", "warning",
                "Lingering is off: VMs may end when you log out of the last session", fix);
    } else if (runtime_folder == NULL || stat(runtime_folder, &status) < 0 ||
               status.st_uid != geteuid() || (status.st_mode & 0077) != 0) {
        add_row(
            self, "session", "warning",
            "XDG_RUNTIME_DIR is not set to a private folder: the socket lies in the data folder",
            "Log in through a session of its own rather than su or sudo");
    } else {
        add_row(self, "session", "ok", "VMs do not end with the session", NULL);
    }
}

/* ---- data folder, in a thread ------------------------------------------------------------- */

typedef struct {
    TbxRegistry *registry; /* a reference */
    TbxLock *lock;         /* until the thread has finished */
    gint64 free_mb;
} FolderCheck;

static void folder_check_free(FolderCheck *check)
{
    tbx_lock_unref(check->lock);
    tbx_registry_unref(check->registry);
    g_free(check);
}

static void folder_thread(GTask *task, gpointer source, gpointer task_data,
                          GCancellable *cancellable)
{
    FolderCheck *check = task_data;
    GError *error = NULL;

    check->free_mb = tbx_registry_get_free_mb(check->registry);
    (void)tbx_registry_check_writable(check->registry, &error);
    g_clear_pointer(&check->lock, tbx_lock_unref);
    if (error != NULL)
        g_task_return_error(task, error);
    else
        g_task_return_boolean(task, TRUE);
}

/* Completes without an answer; takes @error. The doctor is gone afterwards. */
static void give_up(Doctor *self, GError *error)
{
    GTask *task = self->task;

    tbx_source_clear(&self->cancelled);
    tbx_source_clear(&self->closed);
    g_task_return_error(task, error);
    g_object_unref(task);
}

static void finish(Doctor *self)
{
    g_autoptr(JsonObject) document = json_object_new();
    GTask *task = self->task;

    check_memory(self);
    check_session(self);
    json_object_set_boolean_member(document, "healthy", !self->has_failed);
    json_object_set_array_member(document, "checks", g_steal_pointer(&self->checks));
    tbx_source_clear(&self->cancelled);
    tbx_source_clear(&self->closed);
    g_task_return_pointer(task, tbx_json_print_object(document, NULL), g_free);
    g_object_unref(task);
}

static void on_folder_checked(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Doctor *self = user_data;
    const FolderCheck *check = g_task_get_task_data(G_TASK(result));
    const char *folder = tbx_registry_get_folder(self->registry);
    g_autofree char *detail = NULL;
    g_autofree char *space = g_strdup_printf("%" G_GINT64_FORMAT " MiB are free", check->free_mb);
    g_autoptr(GError) error = NULL;

    self->is_in_thread = FALSE;
    if (self->end != NULL) {
        give_up(self, g_steal_pointer(&self->end));
        return;
    }
    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        detail = g_strdup_printf("%s can be written to", folder);
        add_row(self, "data-folder", "ok", detail, NULL);
    } else {
        detail = g_strdup_printf("Make %s writable, or name another data folder", folder);
        add_failure(self, "data-folder", error, detail);
    }
    if (check->free_mb < 0)
        add_row(self, "data-space", "skipped", "The file system does not say how much is free",
                NULL);
    else if (check->free_mb < SPACE_WARNING_MB)
        add_row(self, "data-space", "warning", space, "Delete files on that file system");
    else
        add_row(self, "data-space", "ok", space, NULL);
    finish(self);
}

static void check_folder(Doctor *self)
{
    FolderCheck *check = g_new0(FolderCheck, 1);
    g_autoptr(GTask) task = g_task_new(NULL, NULL, on_folder_checked, self);

    check->registry = tbx_registry_ref(self->registry);
    check->lock = tbx_lock_ref(tbx_registry_get_lock(self->registry));
    self->is_in_thread = TRUE;
    g_task_set_task_data(task, check, (GDestroyNotify)folder_check_free);
    g_task_run_in_thread(task, folder_thread);
}

/* ---- the probe ---------------------------------------------------------------------------- */

static void on_probe_connected(enum rt_state_value state, gpointer user_data)
{
    Doctor *self = user_data;

    self->has_passed = state == RT_STATE_STOPPED;
}

static void on_probe_refused(const GError *error, gpointer user_data)
{
    Doctor *self = user_data;

    if (self->refusal == NULL)
        self->refusal = g_error_copy(error);
}

/* The program may be old, KVM may not be usable: the text of the probe says which. */
static const char *fix_of_probe(const GError *refusal)
{
    return g_strcmp0(tenbox_error_get_field(refusal), "kvm") == 0
               ? "Run TenBox on a host whose processor does the virtualization (no emulated or "
                 "nested "
                 "host without VT-x, AMD-V or EL2)"
               : "Install tenboxd and tenbox-runtime of the same version";
}

static void on_probe_exited(const TbxVmExit *exit, gboolean is_clean, gpointer user_data)
{
    Doctor *self = user_data;

    tbx_source_clear(&self->timer);
    if (self->refusal != NULL)
        add_failure(self, "kvm-machine", self->refusal, fix_of_probe(self->refusal));
    else if (self->has_timed_out)
        add_row(self, "kvm-machine", "failed", "The probe did not end within a minute",
                "This KVM hangs; try another kernel, and report it with `uname -a`");
    else if (self->has_passed)
        add_row(self, "kvm-machine", "ok",
                "A guest was entered; arithmetic, page table, timer and interrupt worked", NULL);
    else
        add_row(self, "kvm-machine", "failed", exit->detail != NULL ? exit->detail : exit->reason,
                "Install tenboxd and tenbox-runtime of the same version");
    g_clear_pointer(&self->probe, tbx_vm_process_free);
    check_folder(self);
}

static void on_probe_state(enum rt_state_value state, gpointer user_data)
{
}

static void on_probe_unexpected_reset(gboolean by_host, gpointer user_data)
{
}

static void on_probe_output(gpointer user_data)
{
}

static void on_probe_credit(guint32 bytes, gpointer user_data)
{
}

static void on_probe_disconnected(gpointer user_data)
{
}

static void on_probe_unreachable(const GError *error, gpointer user_data)
{
    /* It has no socket to be reached at; the end of the process follows. */
}

static const TbxVmProcessHandlers probe_handlers = {
    .connected = on_probe_connected,
    .refused = on_probe_refused,
    .state = on_probe_state,
    .reset_done = on_probe_unexpected_reset,
    .console_output = on_probe_output,
    .console_credit = on_probe_credit,
    .disconnected = on_probe_disconnected,
    .unreachable = on_probe_unreachable,
    .exited = on_probe_exited,
};

static gboolean on_probe_timeout(gpointer user_data)
{
    Doctor *self = user_data;

    tbx_source_clear(&self->timer);
    self->has_timed_out = TRUE;
    tbx_vm_process_kill(self->probe);
    return G_SOURCE_REMOVE;
}

/* FALSE: the probe could not even be begun, and its rows are there. Takes @kvm_fd. */
static gboolean begin_probe(Doctor *self, int kvm_fd)
{
    g_autoptr(GError) error = NULL;
    g_auto(TbxResources) resources = TBX_RESOURCES_INIT;
    g_autofree char *program = tbx_paths_find_runtime(&error);
    TbxLaunch launch = {
        .program = program,
        .vm_id = "00000000-0000-0000-0000-000000000000",
        .run_fd = -1,
        .log_fd = -1,
        .mode = RT_MODE_PROBE,
        .command_line = "",
        .resources = &resources,
    };

    if (kvm_fd >= 0)
        tbx_resources_add(&resources, RT_DESCRIPTOR_KVM, kvm_fd);
    if (program == NULL) {
        add_failure(self, "runtime", error, "Install tenboxd and tenbox-runtime together");
        add_row(self, "kvm-machine", "skipped", "There is no tenbox-runtime to try it with", NULL);
        return FALSE;
    }
    add_row(self, "runtime", "ok", program, NULL);
    if (kvm_fd < 0) {
        add_row(self, "kvm-machine", "skipped", "There is no usable KVM device", NULL);
        return FALSE;
    }
    g_main_context_push_thread_default(self->home);
    self->probe = tbx_vm_process_launch(&launch, &probe_handlers, self, &error);
    g_main_context_pop_thread_default(self->home);
    if (self->probe == NULL) {
        add_failure(self, "kvm-machine", error, "Install tenboxd and tenbox-runtime together");
        return FALSE;
    }
    self->timer = tbx_source_timer(self->home, PROBE_TIMEOUT_MS, on_probe_timeout, self);
    return TRUE;
}

/* ---- the end of all ----------------------------------------------------------------------- */

/* Nobody wants the answer any more. Takes @error. */
static void stop(Doctor *self, GError *error)
{
    if (self->probe != NULL) {
        tbx_source_clear(&self->timer);
        tbx_vm_process_abandon(g_steal_pointer(&self->probe));
    }
    if (!self->is_in_thread) {
        give_up(self, error);
        return;
    }
    /* It is over in a moment. */
    g_clear_error(&self->end);
    self->end = error;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data)
{
    GError *error = NULL;

    g_cancellable_set_error_if_cancelled(cancellable, &error);
    stop(user_data, error);
    return G_SOURCE_REMOVE;
}

static gboolean on_closed(GCancellable *cancellable, gpointer user_data)
{
    stop(user_data, tbx_error_new("closed", NULL, "The driver was closed"));
    return G_SOURCE_REMOVE;
}

static GSource *watch_cancellable(Doctor *self, GCancellable *cancellable,
                                  GCancellableSourceFunc function)
{
    GSource *source;

    if (cancellable == NULL)
        return NULL;
    source = g_cancellable_source_new(cancellable);
    g_source_set_callback(source, G_SOURCE_FUNC(function), self, NULL);
    g_source_attach(source, self->home);
    return source;
}

void tbx_doctor_run_async(TbxRegistry *registry, GCancellable *cancellable, GCancellable *closing,
                          GAsyncReadyCallback callback, gpointer user_data)
{
    Doctor *self = g_new0(Doctor, 1);

    self->home = g_main_context_ref_thread_default();
    self->registry = tbx_registry_ref(registry);
    self->checks = json_array_new();
    self->task = g_task_new(NULL, cancellable, callback, user_data);
    g_task_set_task_data(self->task, self, (GDestroyNotify)doctor_free);
    self->cancelled = watch_cancellable(self, cancellable, on_cancelled);
    self->closed = watch_cancellable(self, closing, on_closed);
    if (!begin_probe(self, check_kvm(self)))
        check_folder(self);
}

char *tbx_doctor_run_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}
