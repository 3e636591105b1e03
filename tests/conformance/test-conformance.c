/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One suite for every driver: what the public API promises must hold whether the VMs are run by this
 * process, by a daemon on a socket, or by nobody at all; see harness.h.
 */
#include <signal.h>

#include "tests/conformance/harness.h"

void add_case(const char *path, void (*function)(Fixture *fixture, gconstpointer data))
{
    g_test_add(path, Fixture, NULL, set_up, function, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (is_scripted()) {
        g_setenv("TENBOX_RUNTIME", FAKE_RUNTIME, TRUE);
        g_setenv("TENBOX_KVM_DEVICE", "/dev/null", TRUE);
    }
    add_life_cases();
    add_console_cases();
    add_order_cases();
    add_cancellation_cases();
    add_fault_cases();
    add_stream_cases();
    return g_test_run();
}
