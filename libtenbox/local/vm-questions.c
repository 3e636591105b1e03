/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be asked of a VM besides its document: logs, live figures, consoles. Nothing here changes it.
 */
#include <errno.h>
#include <string.h>

#include "libtenbox/local/log-follow.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-private.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

static void on_log_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    char *text = tbx_console_log_read_finish(result, &error);

    if (text != NULL)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(task, error);
}

typedef struct {
    int logs_fd;
    guint line_count;
} LogRequest;

static void log_request_free(LogRequest *request)
{
    tbx_fd_close(&request->logs_fd);
    g_free(request);
}

static void read_runtime_log(GTask *task, gpointer source, gpointer task_data,
                             GCancellable *cancellable)
{
    const LogRequest *request = task_data;
    GError *error = NULL;
    char *text =
        tbx_log_read_end(request->logs_fd, TBX_PATH_RUNTIME_LOG, request->line_count, &error);

    if (text != NULL)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(task, error);
}

void tbx_local_vm_read_log(TbxLocalVm *self, const char *source, guint line_count, GTask *task)
{
    g_autoptr(GTask) owned = task;
    LogRequest *request;
    GError *error = NULL;
    int logs_fd;

    /* Without a folder that can be used there is no log either. */
    if (self->log == NULL) {
        (void)tbx_local_vm_check_usable(self, &error);
        g_task_return_error(task, error);
        return;
    }
    if (g_str_equal(source, "console")) {
        tbx_console_log_read_async(self->log, line_count, on_log_read, g_steal_pointer(&owned));
        return;
    }
    if (!g_str_equal(source, "runtime")) {
        g_task_return_error(task, tbx_error_new("field-invalid", "source",
                                                "source is console or runtime, not %s", source));
        return;
    }
    logs_fd = tbx_place_open(self->logs, &error);
    if (logs_fd < 0) {
        g_task_return_error(task, error);
        return;
    }
    request = g_new0(LogRequest, 1);
    request->logs_fd = logs_fd;
    request->line_count = line_count;
    g_task_set_task_data(task, request, (GDestroyNotify)log_request_free);
    g_task_run_in_thread(task, read_runtime_log);
}

void tbx_local_vm_follow_log(TbxLocalVm *self, GQueue *followers, const char *source,
                             gint line_count, GTask *task)
{
    static const TbxLogSource sources[] = {
        {TBX_PATH_CONSOLE_LOG, TBX_CONSOLE_LOG_MAX / 2},
        {TBX_PATH_RUNTIME_LOG, 0},
    };
    gboolean is_console = g_str_equal(source, "console");
    g_autoptr(GTask) owned = task;
    TbxConsoleStream *stream;
    GError *error = NULL;
    int logs_fd;

    if (self->log == NULL) {
        g_task_return_error(task, g_error_copy(self->broken));
        return;
    }
    if (!is_console && !g_str_equal(source, "runtime")) {
        g_task_return_error(task, tbx_error_new("field-invalid", "source",
                                                "source is console or runtime, not %s", source));
        return;
    }
    logs_fd = tbx_place_open(self->logs, &error);
    if (logs_fd < 0) {
        g_task_return_error(task, error);
        return;
    }
    stream = tbx_log_follow_new(self->context->driver->home, followers, self->id, logs_fd,
                                &sources[is_console ? 0 : 1], line_count, &error);
    if (stream != NULL)
        g_task_return_pointer(task, stream, (GDestroyNotify)tbx_console_stream_unref);
    else
        g_task_return_error(task, error);
}

/* How long a runtime may take to count; its main loop never waits for anybody. */
#define STATISTICS_TIMEOUT_MS 5000u
/* How many may wait for one VM: who asks faster than it answers learns of it. */
#define QUESTIONS_MAX         16

/* A question about statistics until its answer. VM and process are borrowed: the process answers all
 * questions before it goes, and it goes before the VM. */
typedef struct {
    TbxLocalVm *vm;
    TbxVmProcess *process;
    guint32 serial;
    GTask *task;
    GSource *timer;
    GSource *cancelled; /* nullable */
} StatisticsRequest;

static char *print_statistics(const StatisticsRequest *request,
                              const struct rt_statistics *statistics)
{
    g_autoptr(JsonObject) document = json_object_new();
    JsonObject *exits = json_object_new();
    g_autofree char *time = tbx_time_format(g_get_real_time());
    gint64 pid = tbx_vm_process_get_identity(request->process)->pid;
    gint64 resident, cpu_time;

    json_object_set_string_member(document, "vm_id", request->vm->id);
    json_object_set_string_member(document, "time", time);
    json_object_set_int_member(document, "uptime_ns", (gint64)(statistics->uptime_ns & G_MAXINT64));
    json_object_set_int_member(document, "memory_bytes",
                               (gint64)(statistics->memory_bytes & G_MAXINT64));
    json_object_set_int_member(document, "vcpu_count", MAX(1, statistics->vcpu_count));
    if (tbx_process_get_usage(pid, &resident, &cpu_time)) {
        json_object_set_int_member(document, "resident_bytes", resident);
        json_object_set_int_member(document, "cpu_time_ns", cpu_time);
    } else {
        json_object_set_null_member(document, "resident_bytes");
        json_object_set_null_member(document, "cpu_time_ns");
    }
    for (guint i = 0; i < statistics->row_count; i++)
        json_object_set_int_member(exits, statistics->rows[i].name,
                                   (gint64)(statistics->rows[i].count & G_MAXINT64));
    json_object_set_object_member(document, "exits", exits);
    return tbx_json_print_object(document, NULL);
}

/* Takes the task out of @request, which is over; the caller completes and drops it. */
static GTask *end_question(StatisticsRequest *request)
{
    GTask *task = request->task;

    request->vm->question_count--;
    tbx_source_clear(&request->timer);
    tbx_source_clear(&request->cancelled);
    g_free(request);
    return task;
}

static void on_statistics(const struct rt_statistics *statistics, gpointer user_data)
{
    StatisticsRequest *request = user_data;
    char *text = statistics != NULL ? print_statistics(request, statistics) : NULL;
    g_autoptr(GTask) task = end_question(request);

    if (text != NULL)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(
            task, tbx_error_new("vm-not-running", NULL, "The VM's process does not answer"));
}

static gboolean on_statistics_timeout(gpointer user_data)
{
    StatisticsRequest *request = user_data;
    GError *error =
        tbx_error_new("timed-out", NULL, "The VM's process did not answer within %u seconds",
                      STATISTICS_TIMEOUT_MS / 1000);
    g_autoptr(GTask) task = NULL;

    tbx_vm_process_forget(request->process, request->serial);
    task = end_question(request);
    g_task_return_error(task, tbx_error_with_hint(error, "Ask again, or stop the VM by force"));
    return G_SOURCE_REMOVE;
}

static gboolean on_statistics_cancelled(GCancellable *cancellable, gpointer user_data)
{
    StatisticsRequest *request = user_data;
    g_autoptr(GTask) task = NULL;

    tbx_vm_process_forget(request->process, request->serial);
    task = end_question(request);
    g_task_return_error_if_cancelled(task);
    return G_SOURCE_REMOVE;
}

static gboolean check_question(TbxLocalVm *self, GError **error)
{
    if (self->process == NULL || self->launch != TBX_LAUNCH_NONE) {
        tbx_error_set(error, "vm-not-running", NULL, "The VM does not run");
        return FALSE;
    }
    if (self->question_count >= QUESTIONS_MAX) {
        tbx_error_set(error, "vm-busy", NULL,
                      "%s is busy: %d requests for statistics wait for its process already",
                      self->record->name, QUESTIONS_MAX);
        return FALSE;
    }
    return TRUE;
}

void tbx_local_vm_get_statistics(TbxLocalVm *self, GTask *task)
{
    GMainContext *home = self->context->driver->home;
    GCancellable *cancellable = g_task_get_cancellable(task);
    StatisticsRequest *request;
    GError *error = NULL;

    if (!check_question(self, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    request = g_new0(StatisticsRequest, 1);
    request->vm = self;
    request->process = self->process;
    request->task = task;
    request->timer = tbx_source_timer(home, STATISTICS_TIMEOUT_MS, on_statistics_timeout, request);
    if (cancellable != NULL) {
        request->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(request->cancelled, G_SOURCE_FUNC(on_statistics_cancelled), request,
                              NULL);
        g_source_attach(request->cancelled, home);
    }
    self->question_count++;
    request->serial = tbx_vm_process_get_statistics(self->process, on_statistics, request);
}

/* ---- keys --------------------------------------------------------------------------------- */

/* Takes the task of the key that waits, NULL when there is none; the caller completes and drops it. */
static GTask *take_key(TbxLocalVm *self)
{
    tbx_source_clear(&self->break_timer);
    tbx_source_clear(&self->break_cancelled);
    self->break_token++;
    return g_steal_pointer(&self->break_task);
}

void tbx_local_vm_end_key(TbxLocalVm *self)
{
    g_autoptr(GTask) task = take_key(self);

    if (task != NULL)
        g_task_return_error(
            task, tbx_error_new("vm-not-running", NULL, "The VM's process does not answer"));
}

static void on_break_replied(int code, guint token, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    g_autoptr(GTask) task = NULL;

    if (token != self->break_token)
        return;
    task = take_key(self);
    if (task == NULL)
        return;
    if (code == 0)
        g_task_return_boolean(task, TRUE);
    else if (code == -EBUSY)
        g_task_return_error(task,
                            tbx_error_new("console-busy", NULL,
                                          "The guest has not read the last break of its console"));
    else if (code == -EPROTO)
        g_task_return_error(
            task, tbx_error_with_hint(tbx_error_new("unsupported", NULL,
                                                    "The VM's process is of an older TenBox and "
                                                    "knows no break"),
                                      "Stop the VM and start it again"));
    else
        g_task_return_error(task, tbx_error_new("runtime-failed", NULL,
                                                "The VM's process cannot send a break: %s",
                                                g_strerror(-code)));
}

static gboolean on_key_timeout(gpointer user_data)
{
    g_autoptr(GTask) task = take_key(user_data);

    g_task_return_error(task, tbx_error_new("timed-out", NULL,
                                            "The VM's process did not answer within %u seconds",
                                            STATISTICS_TIMEOUT_MS / 1000));
    return G_SOURCE_REMOVE;
}

static gboolean on_key_cancelled(GCancellable *cancellable, gpointer user_data)
{
    g_autoptr(GTask) task = take_key(user_data);

    g_task_return_error_if_cancelled(task);
    return G_SOURCE_REMOVE;
}

static GError *check_key(TbxLocalVm *self, const char *key)
{
    if (strcmp(key, "break") != 0)
        return tbx_error_new("field-invalid", "key", "there is no key \"%s\"; there is: break",
                             key);
    if (self->process == NULL || self->launch != TBX_LAUNCH_NONE)
        return tbx_error_new("vm-not-running", NULL, "The VM does not run");
    if (self->break_task != NULL)
        return tbx_error_new("console-busy", NULL, "A break is on its way already");
    return NULL;
}

void tbx_local_vm_send_key(TbxLocalVm *self, const char *key, GTask *task)
{
    GMainContext *home = self->context->driver->home;
    GCancellable *cancellable = g_task_get_cancellable(task);
    GError *error = check_key(self, key);

    if (error != NULL) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    self->break_task = task;
    self->break_timer = tbx_source_timer(home, STATISTICS_TIMEOUT_MS, on_key_timeout, self);
    if (cancellable != NULL) {
        self->break_cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(self->break_cancelled, G_SOURCE_FUNC(on_key_cancelled), self, NULL);
        g_source_attach(self->break_cancelled, home);
    }
    tbx_vm_process_request(self->process, RT_CONSOLE_BREAK, on_break_replied, self->break_token);
}

/* ---- consoles ------------------------------------------------------------------------------ */

void tbx_local_vm_open_console(TbxLocalVm *self, TenboxConsoleFlags flags, const char *holder,
                               GTask *task)
{
    GError *error = NULL;
    TbxConsoleStream *stream = tbx_local_console_open_stream(self->console, flags, holder, &error);

    if (stream != NULL)
        g_task_return_pointer(task, stream, (GDestroyNotify)tbx_console_stream_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
}
