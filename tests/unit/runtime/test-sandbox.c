/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first three stages by which a runtime gives up rights, each in a child of its own that was given
 * what it should shed. (The fourth is test-syscalls.c; the whole, on a running VM, tests/lab/runtime.py.)
 */
#include "tenbox-runtime/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hypervisor/tap.h"

#define KEPT_FD 7

extern char **environ;

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Each returns the number of the first thing that is not as it should be, or 0. */

static int inherit(void)
{
    char folder[16];
    sigset_t blocked;

    if (rt_sandbox_inherit(KEPT_FD) != 0)
        return 1;
    if (!is_open(KEPT_FD) || !is_open(0) || !is_open(1) || !is_open(2))
        return 2;
    for (int fd = 3; fd < 256; fd++) {
        if (fd != KEPT_FD && is_open(fd))
            return 3;
    }
    if (environ != NULL && *environ != NULL)
        return 4;
    if (getsid(0) != getpid())
        return 5;
    if (umask(0) != 0077)
        return 6;
    if (getcwd(folder, sizeof(folder)) == NULL || strcmp(folder, "/") != 0)
        return 7;
    if (sigprocmask(SIG_SETMASK, NULL, &blocked) != 0 || sigismember(&blocked, SIGTERM))
        return 8;
    return 0;
}

static int isolate(void)
{
    if (prctl(PR_GET_DUMPABLE) != 1 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
        return 1; /* nothing to give up: the test would show nothing */
    if (rt_sandbox_isolate() != 0)
        return 2;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 3;
    if (prctl(PR_GET_DUMPABLE) != 0)
        return 4;
    return 0;
}

static int limit(void)
{
    struct rlimit core, descriptors;

    if (rt_sandbox_limit() != 0)
        return 1;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 2;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0 || descriptors.rlim_max > 512)
        return 3;
    return 0;
}

static int in_child(int (*stage)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child < 0)
        tap_bail("fork");
    if (child == 0) {
        sigset_t term;

        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        _exit(stage());
    }
    if (waitpid(child, &status, 0) != child)
        tap_bail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    /* What a careless parent might pass on. */
    if (setenv("SECRET", "canary", 1) != 0 || dup2(STDERR_FILENO, KEPT_FD) != KEPT_FD ||
        dup2(STDERR_FILENO, 5) != 5 || dup2(STDERR_FILENO, 200) != 200)
        tap_bail("set-up");
    tap_is(in_child(inherit), 0,
           "inherit: descriptors, environment, session, mask, folder are shed");
    tap_is(in_child(isolate), 0, "isolate: no new privileges, not dumpable");
    tap_is(in_child(limit), 0, "limit: no core file, few descriptors");
    return tap_done();
}
