/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the daemon is: /healthz, whether it is there, and /readyz, whether it can do its work, for
 * service managers and scripts, so they say it by the status; /v1/metrics in figures.
 */
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/metrics.h"

void tbd_health_get(TbdRequest *request)
{
    tbd_request_reply_empty(request, 204);
}

static void on_system(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    g_autofree char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_request_reply_empty(request, 204);
}

void tbd_ready_get(TbdRequest *request)
{
    /* Whether the driver answers. That the daemon is ending, the router has said already. */
    tbx_driver_system_get(tbd_request_get_driver(request), tbd_request_task(request, on_system));
}

void tbd_metrics_get(TbdRequest *request)
{
    tbd_metrics_answer(tbd_daemon_get_metrics(tbd_request_get_daemon(request)), request);
}
