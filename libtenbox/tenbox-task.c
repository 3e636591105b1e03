/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks of the public entries; see tenbox-task.h.
 *
 * A driver works in its home context only, so an entry called under another thread-default context
 * is refused here rather than left to hang: its callback could never run where the caller expects
 * it.
 */
#include "libtenbox/tenbox-task.h"

#include "libtenbox/wire/wire-error.h"

GTask *tbx_task_new(gpointer source, TbxDriver *driver, GCancellable *cancellable,
                    GAsyncReadyCallback callback, gpointer user_data, gpointer tag)
{
    g_autoptr(GMainContext) context = g_main_context_ref_thread_default();
    g_autoptr(GTask) task = g_task_new(source, cancellable, callback, user_data);

    g_task_set_source_tag(task, tag);
    /* Who has withdrawn already gets nothing begun, whatever the driver. */
    if (g_task_return_error_if_cancelled(task))
        return NULL;
    if (context == driver->home)
        return g_steal_pointer(&task);
    g_task_return_error(
        task, tbx_error_new("wrong-state", NULL,
                            driver->is_private
                                ? "this connection was opened by tenbox_connection_open_sync(): "
                                  "only _sync functions work on it"
                                : "this connection belongs to another main context"));
    return NULL;
}

GTask *tbx_task_inner_with(GTask *outer, GCancellable *cancellable, GAsyncReadyCallback callback)
{
    GTask *inner =
        g_task_new(g_task_get_source_object(outer), cancellable, callback, g_object_ref(outer));

    /* Results count even if the caller withdrew meanwhile: a handle must not leak. */
    g_task_set_check_cancellable(inner, FALSE);
    return inner;
}

GTask *tbx_task_inner(GTask *outer, GAsyncReadyCallback callback)
{
    return tbx_task_inner_with(outer, g_task_get_cancellable(outer), callback);
}

gpointer tbx_task_finish_pointer(gpointer source, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, source), NULL);

    return g_task_propagate_pointer(G_TASK(result), error);
}

void tbx_ptr_array_free(gpointer array)
{
    g_ptr_array_unref(array);
}

gboolean tbx_sync_begin(TbxSyncCall *call, TbxDriver *driver, GError **error)
{
    if (!driver->is_private) {
        tbx_error_set(error, "wrong-state", NULL,
                      "_sync functions need a connection opened by tenbox_connection_open_sync()");
        return FALSE;
    }
    tbx_sync_begin_in(call, driver->home);
    return TRUE;
}

void tbx_sync_begin_in(TbxSyncCall *call, GMainContext *context)
{
    call->context = g_main_context_ref(context);
    g_main_context_push_thread_default(context);
}

void tbx_sync_done(GObject *source, GAsyncResult *result, gpointer call)
{
    ((TbxSyncCall *)call)->result = g_object_ref(result);
}

GAsyncResult *tbx_sync_wait(TbxSyncCall *call)
{
    while (!call->result)
        g_main_context_iteration(call->context, TRUE);
    return call->result;
}

void tbx_sync_clear(TbxSyncCall *call)
{
    g_clear_object(&call->result);
    if (call->context)
        g_main_context_pop_thread_default(call->context);
    g_clear_pointer(&call->context, g_main_context_unref);
}
