/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

/* KVM, memory, files, sockets, an eventfd a device and two descriptors a vCPU stay far below. */
#define MAX_DESCRIPTORS 512

static int close_range_of(unsigned int first, unsigned int last)
{
    if (first > last)
        return 0;
    return syscall(SYS_close_range, first, last, 0) < 0 ? -errno : 0;
}

int rt_sandbox_inherit(int kept_fd)
{
    sigset_t none;
    int r;

    r = close_range_of(3, (unsigned int)kept_fd - 1);
    if (r == 0)
        r = close_range_of((unsigned int)kept_fd + 1, ~0u);
    if (r < 0)
        return r;
    if (clearenv() != 0)
        return -ENOMEM;
    umask(0077);
    if (chdir("/") < 0)
        return -errno;
    /* EPERM: the parent made us leader of a group already; a session is all that matters. */
    if (setsid() < 0 && errno != EPERM)
        return -errno;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -errno;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR)
        return -errno;
    return 0;
}

int rt_sandbox_isolate(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

static int set_limit(int resource, rlim_t value)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return -errno;
    limit.rlim_cur = limit.rlim_max = (rlim_t)hv_min_u64(value, limit.rlim_max);
    return setrlimit((__rlimit_resource_t)resource, &limit) < 0 ? -errno : 0;
}

int rt_sandbox_limit(void)
{
    int r = set_limit(RLIMIT_CORE, 0);

    if (r == 0)
        r = set_limit(RLIMIT_NOFILE, MAX_DESCRIPTORS);
    return r;
}
