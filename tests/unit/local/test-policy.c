/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules by which a daemon starts and stops VMs by itself, value by value.
 */
#include "libtenbox/local/policy.h"

#define NO         TENBOX_RESTART_POLICY_NO
#define ON_FAILURE TENBOX_RESTART_POLICY_ON_FAILURE
#define ALWAYS     TENBOX_RESTART_POLICY_ALWAYS

static void test_judge(void)
{
    static const struct {
        TenboxRestartPolicy policy;
        gboolean is_failure;
        guint count;
        TbxRestartVerdict verdict;
    } rows[] = {
        {NO, TRUE, 0, TBX_RESTART_NEVER},
        {NO, FALSE, 0, TBX_RESTART_NEVER},
        {TENBOX_RESTART_POLICY_UNKNOWN, TRUE, 0, TBX_RESTART_NEVER},
        {ON_FAILURE, FALSE, 0, TBX_RESTART_NEVER},
        {ON_FAILURE, FALSE, 100, TBX_RESTART_NEVER},
        {ON_FAILURE, TRUE, 0, TBX_RESTART_WAIT},
        {ON_FAILURE, TRUE, TBX_RESTARTS_MAX - 1, TBX_RESTART_WAIT},
        {ON_FAILURE, TRUE, TBX_RESTARTS_MAX, TBX_RESTART_GIVEN_UP},
        {ON_FAILURE, TRUE, G_MAXUINT, TBX_RESTART_GIVEN_UP},
        {ALWAYS, FALSE, 0, TBX_RESTART_WAIT},
        {ALWAYS, TRUE, 0, TBX_RESTART_WAIT},
        {ALWAYS, TRUE, G_MAXUINT, TBX_RESTART_WAIT},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_cmpint(tbx_policy_judge_end(rows[i].policy, rows[i].is_failure, rows[i].count), ==,
                        rows[i].verdict);
}

static void test_delay(void)
{
    static const guint delays[] = {1, 2, 4, 8, 16, 32, 60, 60};

    for (guint i = 0; i < G_N_ELEMENTS(delays); i++)
        g_assert_cmpuint(tbx_policy_restart_delay(i), ==, delays[i]);
    g_assert_cmpuint(tbx_policy_restart_delay(31), ==, 60);
    g_assert_cmpuint(tbx_policy_restart_delay(32), ==, 60);
    g_assert_cmpuint(tbx_policy_restart_delay(G_MAXUINT), ==, 60);
}

/* A clock that was set while no daemon ran. */
static void test_rest(void)
{
    const gint64 at = G_GINT64_CONSTANT(1800000000) * G_USEC_PER_SEC;
    const gint64 year = G_GINT64_CONSTANT(31536000) * G_USEC_PER_SEC;

    g_assert_cmpuint(tbx_policy_restart_rest(at, 8, at - 8 * G_USEC_PER_SEC), ==, 8000);
    g_assert_cmpuint(tbx_policy_restart_rest(at, 8, at - 3 * G_USEC_PER_SEC), ==, 3000);
    g_assert_cmpuint(tbx_policy_restart_rest(at, 8, at), ==, 0);
    g_assert_cmpuint(tbx_policy_restart_rest(at, 8, at + year), ==, 0);
    g_assert_cmpuint(tbx_policy_restart_rest(at, 8, at - year), ==, 8000);
}

static void test_order(void)
{
    g_assert_cmpint(tbx_policy_compare_start(1, "b", 2, "a"), <, 0);
    g_assert_cmpint(tbx_policy_compare_start(2, "a", 1, "b"), >, 0);
    g_assert_cmpint(tbx_policy_compare_start(1, "a", 1, "b"), <, 0);
    g_assert_cmpint(tbx_policy_compare_start(1, "a", 1, "a"), ==, 0);
    g_assert_cmpint(tbx_policy_compare_start(G_MININT64, "a", G_MAXINT64, "a"), <, 0);
}

static void test_stop_timeout(void)
{
    g_assert_cmpint(tbx_policy_stop_timeout(30, 90000), ==, 30);
    g_assert_cmpint(tbx_policy_stop_timeout(30, 12001), ==, 13);
    g_assert_cmpint(tbx_policy_stop_timeout(30, 1), ==, 1);
    g_assert_cmpint(tbx_policy_stop_timeout(30, 0), ==, 0);
    g_assert_cmpint(tbx_policy_stop_timeout(30, -5), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/local/policy/judge", test_judge);
    g_test_add_func("/local/policy/delay", test_delay);
    g_test_add_func("/local/policy/rest", test_rest);
    g_test_add_func("/local/policy/order", test_order);
    g_test_add_func("/local/policy/stop-timeout", test_stop_timeout);
    return g_test_run();
}
