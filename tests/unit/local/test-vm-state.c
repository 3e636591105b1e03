/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state table, row by row: what is written here was written from the words of the design, not from
 * the table of vm-state.c, and every pair of state and event or action is asked.
 */
#include "libtenbox/local/vm-state.h"
#include "tests/unit/local/harness.h"

#define STATES 6

static const TenboxVmState states[STATES] = {
    TENBOX_VM_STATE_STOPPED, TENBOX_VM_STATE_STARTING, TENBOX_VM_STATE_RUNNING,
    TENBOX_VM_STATE_PAUSED,  TENBOX_VM_STATE_STOPPING, TENBOX_VM_STATE_CRASHED,
};

/* Columns: stopped starting running paused stopping crashed; "-": not allowed. */
static const struct {
    TbxVmEvent event;
    const char *to[STATES];
} expected_events[] = {
    {TBX_VM_EVENT_START, {"starting", "-", "-", "-", "-", "starting"}},
    {TBX_VM_EVENT_REFUSED, {"-", "stopped", "-", "-", "-", "-"}},
    {TBX_VM_EVENT_ADOPTED, {"running", "-", "-", "-", "-", "-"}},
    {TBX_VM_EVENT_RUNNING, {"-", "running", "-", "running", "-", "-"}},
    {TBX_VM_EVENT_PAUSED, {"-", "-", "paused", "-", "-", "-"}},
    {TBX_VM_EVENT_STOP, {"-", "stopping", "stopping", "stopping", "-", "-"}},
    {TBX_VM_EVENT_WITHDRAWN, {"-", "-", "-", "-", "running", "-"}},
    {TBX_VM_EVENT_ENDED, {"-", "stopped", "stopped", "stopped", "stopped", "-"}},
    {TBX_VM_EVENT_CRASHED, {"-", "crashed", "crashed", "crashed", "crashed", "-"}},
};

/* "go", "done", or the slug of the refusal. */
static const struct {
    TenboxVmAction action;
    gboolean force;
    const char *verdict[STATES];
} expected_actions[] = {
#define DOWN "vm-not-running"
#define UP   "vm-not-stopped"
    {TENBOX_VM_ACTION_START, FALSE, {"go", UP, UP, UP, UP, "go"}},
    {TENBOX_VM_ACTION_STOP, FALSE, {"done", "go", "go", "go", "go", "done"}},
    {TENBOX_VM_ACTION_STOP, TRUE, {"done", "go", "go", "go", "go", "done"}},
    {TENBOX_VM_ACTION_SHUTDOWN, FALSE, {DOWN, DOWN, "go", "vm-paused", DOWN, DOWN}},
    {TENBOX_VM_ACTION_REBOOT, FALSE, {DOWN, DOWN, "go", "vm-paused", DOWN, DOWN}},
    {TENBOX_VM_ACTION_RESET, FALSE, {DOWN, "go", "go", "go", "go", DOWN}},
    {TENBOX_VM_ACTION_PAUSE, FALSE, {DOWN, DOWN, "go", "done", DOWN, DOWN}},
    {TENBOX_VM_ACTION_RESUME, FALSE, {DOWN, DOWN, "done", "go", DOWN, DOWN}},
    {TENBOX_VM_ACTION_DELETE, FALSE, {"go", UP, UP, UP, UP, "go"}},
    {TENBOX_VM_ACTION_DELETE, TRUE, {"go", "go", "go", "go", "go", "go"}},
};

typedef struct {
    guint count;
    TenboxVmState from;
    TenboxVmState to;
} Changes;

static void on_changed(gpointer owner, TenboxVmState from, TenboxVmState to)
{
    Changes *changes = owner;

    changes->count++;
    changes->from = from;
    changes->to = to;
}

static void test_events(void)
{
    g_assert_cmpuint(G_N_ELEMENTS(expected_events), ==, TBX_VM_EVENT_COUNT);
    for (gsize row = 0; row < G_N_ELEMENTS(expected_events); row++) {
        for (gsize i = 0; i < STATES; i++) {
            const char *to = expected_events[row].to[i];
            gboolean is_allowed = !g_str_equal(to, "-");
            Changes changes = {0};
            TbxVmStateCell cell;
            g_autoptr(GError) error = NULL;

            tbx_vm_state_init(&cell, on_changed, &changes);
            cell.value = states[i];
            g_assert_cmpint(tbx_vm_state_allows(&cell, expected_events[row].event), ==, is_allowed);
            g_assert_cmpint(tbx_vm_state_apply(&cell, expected_events[row].event, &error), ==,
                            is_allowed);
            if (is_allowed) {
                g_assert_no_error(error);
                g_assert_cmpstr(tenbox_vm_state_to_string(cell.value), ==, to);
                g_assert_cmpuint(changes.count, ==, 1);
                g_assert_cmpint(changes.from, ==, states[i]);
                g_assert_cmpint(changes.to, ==, cell.value);
            } else {
                g_assert_cmpint(error->code, ==, TENBOX_ERROR_WRONG_STATE);
                g_assert_cmpint(cell.value, ==, states[i]);
                g_assert_cmpuint(changes.count, ==, 0);
            }
        }
    }
}

static void test_actions(void)
{
    for (gsize row = 0; row < G_N_ELEMENTS(expected_actions); row++) {
        for (gsize i = 0; i < STATES; i++) {
            const char *wanted = expected_actions[row].verdict[i];
            g_autoptr(GError) error = NULL;
            TbxVerdict verdict = tbx_vm_state_judge(states[i], expected_actions[row].action,
                                                    expected_actions[row].force, &error);

            if (g_str_equal(wanted, "go")) {
                g_assert_cmpint(verdict, ==, TBX_VERDICT_GO);
                g_assert_no_error(error);
            } else if (g_str_equal(wanted, "done")) {
                g_assert_cmpint(verdict, ==, TBX_VERDICT_DONE);
                g_assert_no_error(error);
            } else {
                g_assert_cmpint(verdict, ==, TBX_VERDICT_REFUSED);
                assert_error(&error, wanted, NULL);
            }
        }
    }
}

static void test_nonsense(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(
        tbx_vm_state_judge(TENBOX_VM_STATE_UNKNOWN, TENBOX_VM_ACTION_START, FALSE, &error), ==,
        TBX_VERDICT_REFUSED);
    assert_error(&error, "unsupported", NULL);
    g_assert_cmpint(tbx_vm_state_judge(TENBOX_VM_STATE_RUNNING, (TenboxVmAction)99, TRUE, &error),
                    ==, TBX_VERDICT_REFUSED);
    assert_error(&error, "unsupported", NULL);
}

static void test_attributes(void)
{
    static const struct {
        TenboxVmState state;
        gboolean has_process, is_transient;
    } expected[] = {
        {TENBOX_VM_STATE_STOPPED, FALSE, FALSE}, {TENBOX_VM_STATE_STARTING, TRUE, TRUE},
        {TENBOX_VM_STATE_RUNNING, TRUE, FALSE},  {TENBOX_VM_STATE_PAUSED, TRUE, FALSE},
        {TENBOX_VM_STATE_STOPPING, TRUE, TRUE},  {TENBOX_VM_STATE_CRASHED, FALSE, FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_assert_cmpint(tbx_vm_state_has_process(expected[i].state), ==, expected[i].has_process);
        g_assert_cmpint(tbx_vm_state_is_transient(expected[i].state), ==, expected[i].is_transient);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vm-state/events", test_events);
    g_test_add_func("/vm-state/actions", test_actions);
    g_test_add_func("/vm-state/nonsense", test_nonsense);
    g_test_add_func("/vm-state/attributes", test_attributes);
    return g_test_run();
}
