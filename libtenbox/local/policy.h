/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules by which a daemon starts and stops VMs by itself, as plain functions of plain values.
 *
 * A VM whose policy has it restarted waits 1, 2, 4, … seconds before each restart in a row, a minute at
 * most. A run of TBX_RESTART_STABLE_SECONDS ends the row. A row of "on-failure" has a last one: what has
 * crashed TBX_RESTARTS_MAX times will not be mended by once more, and somebody has to look.
 */
#pragma once

#include <glib.h>

#include "libtenbox/tenbox-enums.h"

G_BEGIN_DECLS

#define TBX_RESTARTS_MAX             10u
#define TBX_RESTART_DELAY_MAX        60u /* seconds */
#define TBX_RESTART_STABLE_SECONDS   60u
/* What all guests together get to shut down when nobody says. */
#define TBX_STOP_VMS_TIMEOUT_DEFAULT 90

typedef enum {
    TBX_RESTART_NEVER,    /* the policy has it stay as it is */
    TBX_RESTART_GIVEN_UP, /* it would be restarted, but has been too often */
    TBX_RESTART_WAIT,     /* after tbx_policy_restart_delay() */
} TbxRestartVerdict;

/**
 * tbx_policy_judge_end:
 * @policy: of the VM
 * @is_failure: whether the run ended in any way but by switching itself off
 * @count: restarts in a row so far
 *
 * What becomes of a VM that ended without having been asked to.
 */
TbxRestartVerdict tbx_policy_judge_end(TenboxRestartPolicy policy, gboolean is_failure,
                                       guint count);

/* Seconds to wait before the restart that follows @count others in a row. */
guint tbx_policy_restart_delay(guint count);

/* Milliseconds that are left of a wait of @delay seconds that ends at @at, when it is @now (microseconds
 * since 1970). A clock that was set meanwhile neither lengthens nor skips a wait by more than itself. */
guint tbx_policy_restart_rest(gint64 at, guint delay, gint64 now);

/* Who starts first: by order, then by name. */
int tbx_policy_compare_start(gint64 order_a, const char *name_a, gint64 order_b,
                             const char *name_b);

/**
 * tbx_policy_stop_timeout:
 * @own: the VM's stop_timeout in seconds
 * @rest: milliseconds that are left for all
 *
 * Seconds that a guest gets when all are stopped: its own time, but no more than there is. 0: at once.
 */
gint64 tbx_policy_stop_timeout(gint64 own, gint64 rest);

G_END_DECLS
