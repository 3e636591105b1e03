/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/system, the doctor, and the schema of all this.
 */
#include <gio/gio.h>

#include "libtenbox/wire/wire-error.h"
#include "tenboxd/http-handlers.h"
#include "tenboxd/tenboxd-resources.h"

void tbd_on_json_text(GObject *source, GAsyncResult *result, gpointer user_data)
{
    TbdRequest *request = user_data;
    GError *error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    if (text == NULL) {
        tbd_request_fail(request, error);
        return;
    }
    tbd_request_reply_text(request, 200, "application/json", text);
}

void tbd_system_get(TbdRequest *request)
{
    tbx_driver_system_get(tbd_request_get_driver(request),
                          tbd_request_task(request, tbd_on_json_text));
}

void tbd_system_doctor(TbdRequest *request)
{
    tbx_driver_doctor(tbd_request_get_driver(request), tbd_request_task(request, tbd_on_json_text));
}

void tbd_system_schema(TbdRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes =
        g_resource_lookup_data(tenboxd_get_resource(), "/org/tenbox/daemon/tenbox-v1.yaml",
                               G_RESOURCE_LOOKUP_FLAGS_NONE, &error);

    if (bytes == NULL) {
        tbd_request_fail(request, g_steal_pointer(&error));
        return;
    }
    tbd_request_reply_bytes(request, 200, "application/yaml", bytes);
}
