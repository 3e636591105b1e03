/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all public entries share: making their GTask, chaining to a driver's, and the `_sync` twins.
 */
#pragma once

#include "libtenbox/driver/driver.h"

G_BEGIN_DECLS

/**
 * tbx_task_new:
 * @source: (nullable): the public object, kept until the task ends
 * @driver: the driver behind it
 * @tag: the `_async` function, for the `_finish` function's check
 *
 * Returns: (transfer full) (nullable): a task; %NULL when the call comes from a wrong main context or
 *   was withdrawn before it was made, and has then been answered with an error
 */
GTask *tbx_task_new(gpointer source, TbxDriver *driver, GCancellable *cancellable,
                    GAsyncReadyCallback callback, gpointer user_data, gpointer tag);

/* A task for a driver, under the cancellable of @outer. @callback gets a reference on @outer as its
 * user_data and must drop it. */
GTask *tbx_task_inner(GTask *outer, GAsyncReadyCallback callback);

/* The same with a cancellable of its own (nullable). */
GTask *tbx_task_inner_with(GTask *outer, GCancellable *cancellable, GAsyncReadyCallback callback);

/* The body of a `_finish` function that returns what its task has; @source is the object of the call. */
gpointer tbx_task_finish_pointer(gpointer source, GAsyncResult *result, GError **error);

/* For g_task_return_pointer(): frees what g_ptr_array_unref() frees. */
void tbx_ptr_array_free(gpointer array);

/* One `_sync` call under way:
 *
 *     g_auto(TbxSyncCall) call = {0};
 *     if (!tbx_sync_begin(&call, self->driver, error))
 *         return FALSE;
 *     tenbox_x_async(self, cancellable, tbx_sync_done, &call);
 *     return tenbox_x_finish(self, tbx_sync_wait(&call), error);
 */
typedef struct {
    GMainContext *context;
    GAsyncResult *result;
} TbxSyncCall;

/* Refuses a connection that was opened by an `_async` function. */
gboolean tbx_sync_begin(TbxSyncCall *call, TbxDriver *driver, GError **error);
/* For the opening itself: @context becomes thread-default. */
void tbx_sync_begin_in(TbxSyncCall *call, GMainContext *context);
void tbx_sync_done(GObject *source, GAsyncResult *result, gpointer call);
GAsyncResult *tbx_sync_wait(TbxSyncCall *call);
void tbx_sync_clear(TbxSyncCall *call);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TbxSyncCall, tbx_sync_clear)

G_END_DECLS
