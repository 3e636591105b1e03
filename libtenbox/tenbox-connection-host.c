/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is asked over a connection and is about no VM's handle: the host, its operations, and anything that
 * has no call of its own. Nothing here knows of watches, nor keeps anything between two calls.
 */
#include "libtenbox/tenbox-internal.h"

#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* ---- the host ----------------------------------------------------------------------------- */

static void on_text(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text)
        g_task_return_pointer(task, text, g_free);
    else
        g_task_return_error(task, error);
}

static void on_stop_begun(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = g_task_get_source_object(task);
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record)
        g_task_return_pointer(task, tbx_operation_new(tbx_connection_get_driver(self), record),
                              g_object_unref);
    else
        g_task_return_error(task, error);
}

void tenbox_connection_begin_stop_vms_async(TenboxConnection *self, TenboxVmActionFlags flags,
                                            int timeout_seconds, GCancellable *cancellable,
                                            GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task =
        tbx_task_new(self, tbx_connection_get_driver(self), cancellable, callback, user_data,
                     tenbox_connection_begin_stop_vms_async);
    TbxActionOptions options = {
        .force = (flags & TENBOX_VM_ACTION_FLAGS_FORCE) != 0,
        .timeout = timeout_seconds,
    };
    GError *error = NULL;

    if (!task)
        return;
    if (tbx_action_options_validate(TENBOX_VM_ACTION_STOP, &options, &error))
        tbx_driver_system_stop_vms(tbx_connection_get_driver(self), &options,
                                   tbx_task_inner(task, on_stop_begun));
    else
        g_task_return_error(task, error);
}

TenboxOperation *tenbox_connection_begin_stop_vms_finish(TenboxConnection *self,
                                                         GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

void tenbox_connection_get_system_async(TenboxConnection *self, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task = tbx_task_new(self, tbx_connection_get_driver(self), cancellable,
                                         callback, user_data, tenbox_connection_get_system_async);
    if (task)
        tbx_driver_system_get(tbx_connection_get_driver(self), tbx_task_inner(task, on_text));
}

char *tenbox_connection_get_system_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

void tenbox_connection_run_doctor_async(TenboxConnection *self, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task = tbx_task_new(self, tbx_connection_get_driver(self), cancellable,
                                         callback, user_data, tenbox_connection_run_doctor_async);
    if (task)
        tbx_driver_doctor(tbx_connection_get_driver(self), tbx_task_inner(task, on_text));
}

char *tenbox_connection_run_doctor_finish(TenboxConnection *self, GAsyncResult *result,
                                          GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- anything ----------------------------------------------------------------------------- */

/* NULL when all is well. */
static GError *check_call(const char *method, const char *path)
{
    static const char visible[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._~:/?@!$&'()*+,;=%[]";

    if (!*method || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(method))
        return tbx_error_new("field-invalid", "method", "\"%s\" is no HTTP method", method);
    if (*path != '/' || path[1] == '/' || strspn(path, visible) != strlen(path))
        return tbx_error_new("field-invalid", "path",
                             "\"%s\" is no path; it begins with / and everything special in it is "
                             "percent-encoded",
                             path);
    return NULL;
}

static void on_called(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    GError *error = NULL;
    TbxCallAnswer *answer = g_task_propagate_pointer(G_TASK(result), &error);

    if (answer)
        g_task_return_pointer(task, answer, tbx_call_answer_free);
    else
        g_task_return_error(task, error);
}

void tenbox_connection_call_async(TenboxConnection *self, const char *method, const char *path,
                                  const char *body, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self) && method && path);

    g_autoptr(GTask) task = tbx_task_new(self, tbx_connection_get_driver(self), cancellable,
                                         callback, user_data, tenbox_connection_call_async);
    g_autoptr(JsonObject) object = NULL;
    GError *error = NULL;

    if (!task)
        return;
    error = check_call(method, path);
    if (!error && body)
        object = tbx_json_guard_parse_object(body, strlen(body), &error);
    if (error)
        g_task_return_error(task, error);
    else
        tbx_driver_call(tbx_connection_get_driver(self), method, path, object,
                        tbx_task_inner(task, on_called));
}

char *tenbox_connection_call_finish(TenboxConnection *self, GAsyncResult *result, GError **error)
{
    return tenbox_connection_call_finish_with_type(self, result, NULL, error);
}

char *tenbox_connection_call_finish_with_type(TenboxConnection *self, GAsyncResult *result,
                                              char **content_type, GError **error)
{
    TbxCallAnswer *answer = tbx_task_finish_pointer(self, result, error);
    char *text = answer ? g_steal_pointer(&answer->text) : NULL;

    if (content_type)
        *content_type = answer ? g_steal_pointer(&answer->content_type) : NULL;
    g_clear_pointer(&answer, tbx_call_answer_free);
    return text;
}

/* ---- operations --------------------------------------------------------------------------- */

static void on_operations(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    GError *error = NULL;
    g_autoptr(GPtrArray) records = g_task_propagate_pointer(G_TASK(result), &error);

    if (!records) {
        g_task_return_error(task, error);
        return;
    }
    GPtrArray *operations = g_ptr_array_new_with_free_func(g_object_unref);
    for (guint i = 0; i < records->len; i++)
        g_ptr_array_add(operations, tbx_operation_new(tbx_connection_get_driver(self),
                                                      g_ptr_array_index(records, i)));
    g_task_return_pointer(task, operations, tbx_ptr_array_free);
}

void tenbox_connection_list_operations_async(TenboxConnection *self, GCancellable *cancellable,
                                             GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self));

    g_autoptr(GTask) task =
        tbx_task_new(self, tbx_connection_get_driver(self), cancellable, callback, user_data,
                     tenbox_connection_list_operations_async);
    if (task)
        tbx_driver_operation_list(tbx_connection_get_driver(self),
                                  tbx_task_inner(task, on_operations));
}

GPtrArray *tenbox_connection_list_operations_finish(TenboxConnection *self, GAsyncResult *result,
                                                    GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

static void on_operation(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(GTask) task = user_data;
    TenboxConnection *self = TENBOX_CONNECTION(source);
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) record = g_task_propagate_pointer(G_TASK(result), &error);

    if (record)
        g_task_return_pointer(task, tbx_operation_new(tbx_connection_get_driver(self), record),
                              g_object_unref);
    else
        g_task_return_error(task, error);
}

void tenbox_connection_get_operation_async(TenboxConnection *self, const char *id,
                                           GCancellable *cancellable, GAsyncReadyCallback callback,
                                           gpointer user_data)
{
    g_return_if_fail(TENBOX_IS_CONNECTION(self) && id);

    g_autoptr(GTask) task =
        tbx_task_new(self, tbx_connection_get_driver(self), cancellable, callback, user_data,
                     tenbox_connection_get_operation_async);
    if (!task)
        return;
    if (tbx_vm_id_is_valid(id))
        tbx_driver_operation_get(tbx_connection_get_driver(self), id, 0,
                                 tbx_task_inner(task, on_operation));
    else
        g_task_return_error(
            task, tbx_error_new("operation-not-found", NULL, "there is no operation of that id"));
}

TenboxOperation *tenbox_connection_get_operation_finish(TenboxConnection *self,
                                                        GAsyncResult *result, GError **error)
{
    return tbx_task_finish_pointer(self, result, error);
}

/* ---- twins for programs without a main loop ------------------------------------------------ */

char *tenbox_connection_get_system_sync(TenboxConnection *self, GCancellable *cancellable,
                                        GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, tbx_connection_get_driver(self), error))
        return NULL;
    tenbox_connection_get_system_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_connection_get_system_finish(self, tbx_sync_wait(&call), error);
}

TenboxOperation *tenbox_connection_begin_stop_vms_sync(TenboxConnection *self,
                                                       TenboxVmActionFlags flags,
                                                       int timeout_seconds,
                                                       GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, tbx_connection_get_driver(self), error))
        return NULL;
    tenbox_connection_begin_stop_vms_async(self, flags, timeout_seconds, cancellable, tbx_sync_done,
                                           &call);
    return tenbox_connection_begin_stop_vms_finish(self, tbx_sync_wait(&call), error);
}

char *tenbox_connection_run_doctor_sync(TenboxConnection *self, GCancellable *cancellable,
                                        GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self), NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, tbx_connection_get_driver(self), error))
        return NULL;
    tenbox_connection_run_doctor_async(self, cancellable, tbx_sync_done, &call);
    return tenbox_connection_run_doctor_finish(self, tbx_sync_wait(&call), error);
}

TenboxOperation *tenbox_connection_get_operation_sync(TenboxConnection *self, const char *id,
                                                      GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(TENBOX_IS_CONNECTION(self) && id, NULL);

    g_auto(TbxSyncCall) call = {0};
    if (!tbx_sync_begin(&call, tbx_connection_get_driver(self), error))
        return NULL;
    tenbox_connection_get_operation_async(self, id, cancellable, tbx_sync_done, &call);
    return tenbox_connection_get_operation_finish(self, tbx_sync_wait(&call), error);
}
