/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures of daemon and VMs as OpenMetrics 1.0 text, for Prometheus and its like.
 *
 * VMs are asked for theirs when somebody asks here, all at once, and at most every
 * TBD_METRICS_SECONDS: between that everybody gets the same text. A VM that does not answer lacks
 * the figures that only its process knows.
 */
#pragma once

#include <glib.h>

#include "tenboxd/http-request.h"

G_BEGIN_DECLS

#define TBD_METRICS_SECONDS 5

typedef struct _TbdMetrics TbdMetrics;

/* @daemon (borrowed) must outlive it. */
TbdMetrics *tbd_metrics_new(TbdDaemon *daemon);
/* Nobody waits any more. Accepts NULL. */
void tbd_metrics_free(TbdMetrics *self);

/* Answers @request (transfer full), now or when the figures are there. */
void tbd_metrics_answer(TbdMetrics *self, TbdRequest *request);

G_END_DECLS
