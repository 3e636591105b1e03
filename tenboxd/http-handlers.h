/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handlers of the route table: each owns the request it is given and answers it exactly once.
 */
#pragma once

#include "tenboxd/http-request.h"

G_BEGIN_DECLS

typedef void (*TbdHandler)(TbdRequest *request);

/* http-vms.c */
void tbd_vms_list(TbdRequest *request);
void tbd_vms_create(TbdRequest *request);
/* Answers 201 with the VM that was made. */
void tbd_vms_reply_created(TbdRequest *request, TbxVmRecord *record);
void tbd_vm_get(TbdRequest *request);
void tbd_vm_update(TbdRequest *request);
void tbd_vm_delete(TbdRequest *request);
void tbd_vm_undelete(TbdRequest *request);
void tbd_vm_act(TbdRequest *request); /* the route's data is the TenboxVmAction */
void tbd_vm_logs(TbdRequest *request);
void tbd_vm_statistics(TbdRequest *request);
void tbd_vm_send_key(TbdRequest *request);

/* http-events.c */
void tbd_events_get(TbdRequest *request);

/* http-operations.c */
void tbd_operations_list(TbdRequest *request);
void tbd_operation_get(TbdRequest *request);
void tbd_operation_cancel(TbdRequest *request);
/* Answers with what was begun: @operation, or its end when the query says how long to wait. */
void tbd_operation_reply(TbdRequest *request, TbxOperationRecord *operation);

/* http-system.c */
void tbd_system_get(TbdRequest *request);
void tbd_system_stop_vms(TbdRequest *request);
void tbd_system_doctor(TbdRequest *request);
void tbd_system_schema(TbdRequest *request);
void tbd_system_schema_json(TbdRequest *request);
/* A GAsyncReadyCallback of a request's task: answers with the JSON text that it brings. */
void tbd_on_json_text(GObject *source, GAsyncResult *result, gpointer user_data);

/* http-audit.c */
void tbd_audit_list(TbdRequest *request);

/* http-health.c */
void tbd_health_get(TbdRequest *request);
void tbd_ready_get(TbdRequest *request);
void tbd_metrics_get(TbdRequest *request);

/* ws.c */
void tbd_ws_open(TbdRequest *request);

G_END_DECLS
