/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be asked of a VM besides its document: logs, live figures, consoles. Nothing here changes it.
 */
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

    if (self->log == NULL) {
        g_task_return_error(task, g_error_copy(self->broken));
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
    logs_fd = tbx_folder_open_at(self->folder_fd, TBX_PATH_LOGS, &error);
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

/* What a question about statistics keeps until its answer. */
typedef struct {
    GTask *task;
    char *vm_id;
    gint64 pid;
} StatisticsRequest;

static char *print_statistics(const StatisticsRequest *request,
                              const struct rt_statistics *statistics)
{
    g_autoptr(JsonObject) document = json_object_new();
    JsonObject *exits = json_object_new();
    g_autofree char *time = tbx_time_format(g_get_real_time());
    gint64 resident, cpu_time;

    json_object_set_string_member(document, "vm_id", request->vm_id);
    json_object_set_string_member(document, "time", time);
    json_object_set_int_member(document, "uptime_ns", (gint64)(statistics->uptime_ns & G_MAXINT64));
    json_object_set_int_member(document, "memory_bytes",
                               (gint64)(statistics->memory_bytes & G_MAXINT64));
    json_object_set_int_member(document, "vcpu_count", MAX(1, statistics->vcpu_count));
    if (tbx_process_get_usage(request->pid, &resident, &cpu_time)) {
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

static void on_statistics(const struct rt_statistics *statistics, gpointer user_data)
{
    StatisticsRequest *request = user_data;

    if (statistics != NULL)
        g_task_return_pointer(request->task, print_statistics(request, statistics), g_free);
    else
        g_task_return_error(request->task, tbx_error_new("vm-not-running", NULL,
                                                         "The VM's process does not answer"));
    g_object_unref(request->task);
    g_free(request->vm_id);
    g_free(request);
}

void tbx_local_vm_get_statistics(TbxLocalVm *self, GTask *task)
{
    StatisticsRequest *request;

    if (self->process == NULL || self->launch != TBX_LAUNCH_NONE) {
        g_task_return_error(task, tbx_error_new("vm-not-running", NULL, "The VM does not run"));
        g_object_unref(task);
        return;
    }
    request = g_new0(StatisticsRequest, 1);
    request->task = task;
    request->vm_id = g_strdup(self->id);
    request->pid = tbx_vm_process_get_identity(self->process)->pid;
    tbx_vm_process_get_statistics(self->process, on_statistics, request);
}

void tbx_local_vm_open_console(TbxLocalVm *self, gboolean replay, GTask *task)
{
    GError *error = NULL;
    TbxConsoleStream *stream = tbx_local_console_open_stream(self->console, replay, &error);

    if (stream != NULL)
        g_task_return_pointer(task, stream, (GDestroyNotify)tbx_console_stream_unref);
    else
        g_task_return_error(task, error);
    g_object_unref(task);
}
