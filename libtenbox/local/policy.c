/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/policy.h"

#include <string.h>

TbxRestartVerdict tbx_policy_judge_end(TenboxRestartPolicy policy, gboolean is_failure, guint count)
{
    switch (policy) {
    case TENBOX_RESTART_POLICY_ALWAYS: return TBX_RESTART_WAIT;
    case TENBOX_RESTART_POLICY_ON_FAILURE:
        if (!is_failure)
            return TBX_RESTART_NEVER;
        return count < TBX_RESTARTS_MAX ? TBX_RESTART_WAIT : TBX_RESTART_GIVEN_UP;
    default: return TBX_RESTART_NEVER;
    }
}

guint tbx_policy_restart_delay(guint count)
{
    /* 2⁶ is beyond the longest already. */
    return MIN(1u << MIN(count, 6u), TBX_RESTART_DELAY_MAX);
}

guint tbx_policy_restart_rest(gint64 at, guint delay, gint64 now)
{
    gint64 rest = at > now ? (at - now) / 1000 : 0;

    return (guint)MIN(rest, (gint64)delay * 1000);
}

int tbx_policy_compare_start(gint64 order_a, const char *name_a, gint64 order_b, const char *name_b)
{
    if (order_a != order_b)
        return order_a < order_b ? -1 : 1;
    return strcmp(name_a, name_b);
}

gint64 tbx_policy_stop_timeout(gint64 own, gint64 rest)
{
    return rest <= 0 ? 0 : MIN(own, (rest + 999) / 1000);
}
