/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/operations, and the answer of every route that begins one: 202 with the running operation, or
 * 200 when it ended within the time that the client is willing to wait.
 */
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-operation.h"
#include "tenboxd/http-handlers.h"

static void reply_operation(TbdRequest *request, guint status, gboolean with_location,
                            TbxOperationRecord *operation)
{
    g_autoptr(JsonObject) object = tbx_operation_record_to_json(operation);
    g_autofree char *location = g_strconcat("/v1/operations/", operation->id, NULL);

    tbd_request_reply_json(request, status, with_location ? location : NULL, object);
}

/* ---- begun by a verb ------------------------------------------------------------------------- */

static void reply_begun(TbdRequest *request, TbxOperationRecord *operation)
{
    tbd_request_note_operation(request, operation);
    reply_operation(request, operation->state == TENBOX_OPERATION_STATE_RUNNING ? 202 : 200, TRUE,
                    operation);
}

static void on_waited(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) operation = g_task_propagate_pointer(G_TASK(result), &error);

    if (operation == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    reply_begun(request, operation);
}

void tbd_operation_reply(TbdRequest *request, TbxOperationRecord *operation)
{
    guint wait = tbd_request_get_query(request)->wait;

    if (wait == 0 || operation->state != TENBOX_OPERATION_STATE_RUNNING) {
        reply_begun(request, operation);
        return;
    }
    /* The client may leave while it waits: what it began goes on. */
    tbd_request_note_operation(request, operation);
    tbx_driver_operation_get(tbd_request_get_driver(request), operation->id, wait,
                             tbd_request_wait_task(request, on_waited));
}

/* ---- by themselves --------------------------------------------------------------------------- */

static JsonObject *operation_to_json(gpointer record)
{
    return tbx_operation_record_to_json(record);
}

static void on_list(GObject *source, GAsyncResult *result, gpointer user_data)
{
    tbd_request_reply_list(user_data, result, operation_to_json);
}

void tbd_operations_list(TbdRequest *request)
{
    tbx_driver_operation_list(tbd_request_get_driver(request), tbd_request_task(request, on_list));
}

static void on_operation(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    g_autoptr(TbxOperationRecord) operation = g_task_propagate_pointer(G_TASK(result), &error);

    if (operation == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    reply_operation(request, 200, FALSE, operation);
}

void tbd_operation_get(TbdRequest *request)
{
    tbx_driver_operation_get(tbd_request_get_driver(request), tbd_request_get_parameter(request, 0),
                             tbd_request_get_query(request)->wait,
                             tbd_request_wait_task(request, on_operation));
}

void tbd_operation_cancel(TbdRequest *request)
{
    tbx_driver_operation_cancel(tbd_request_get_driver(request),
                                tbd_request_get_parameter(request, 0),
                                tbd_request_task(request, on_operation));
}
