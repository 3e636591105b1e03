/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /v1/audit: the end of the audit log.
 */
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-field.h"
#include "tenboxd/http-handlers.h"

#define LIMIT_STANDARD 100

static JsonObject *entry_to_json(gpointer record)
{
    return json_object_ref(record);
}

static void on_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    tbd_request_reply_list(user_data, result, entry_to_json);
}

void tbd_audit_list(TbdRequest *request)
{
    const TbdQuery *query = tbd_request_get_query(request);
    TbdAudit *audit = tbd_ledger_get_audit(tbd_daemon_get_ledger(tbd_request_get_daemon(request)));
    gint64 since = G_MININT64;

    if (query->since != NULL && !tbx_time_parse(query->since, &since)) {
        tbd_request_fail(request, tbx_error_new("field-invalid", "since",
                                                "since must be a time such as "
                                                "2026-01-31T12:00:00Z"));
        return;
    }
    if (audit == NULL) {
        tbd_request_fail(request, tbx_error_new("unsupported", NULL,
                                                "there is no audit log; the daemon's "
                                                "log says why"));
        return;
    }
    tbd_audit_read(audit, query->limit != 0 ? query->limit : LIMIT_STANDARD, since,
                   tbd_request_task(request, on_read));
}
