/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system-call filters, on real threads of real processes: what a role needs goes through, what it
 * must not have kills the process with SIGSYS. Each case runs in a child of its own.
 */
#include "tenbox-runtime/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

static int event_fd = -1;
static pid_t parent;

static void do_nothing(void)
{
}

static void do_write(void)
{
    const uint64_t one = 1;

    if (write(event_fd, &one, sizeof(one)) != sizeof(one))
        _exit(90);
}

static void do_kvm_run(void)
{
    /* Not a KVM descriptor: the filter lets the request through, the kernel says ENOTTY. */
    if (ioctl(event_fd, KVM_RUN, 0) != -1 || errno != ENOTTY)
        _exit(91);
}

/* The kernel takes the low half of a request only; a filter that compares 64 bits could be passed by
 * the high half, or refuse what the kernel would do. */
static void do_kvm_run_high_bits(void)
{
    if (syscall(SYS_ioctl, event_fd, 0xffffffff00000000ul | KVM_RUN, 0) != -1 || errno != ENOTTY)
        _exit(92);
}

static void do_map(void)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
        _exit(93);
}

static void do_map_executable(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_protect_executable(void)
{
    mprotect((void *)((uintptr_t)&event_fd & ~4095ul), 4096, PROT_READ | PROT_EXEC);
}

static void do_open(void)
{
    open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static void do_socket(void)
{
    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void do_fork(void)
{
    fork();
}

static void do_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

static void do_stat_path(void)
{
    struct stat status;

    stat("/etc/passwd", &status);
}

static void do_kick_own_thread(void)
{
    if (syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) != 0)
        _exit(94);
}

static void do_kick_parent(void)
{
    syscall(SYS_tgkill, parent, parent, 0);
}

#if defined(__x86_64__)
static void do_foreign_call(void)
{
    long result;

    /* getpid of i386 */
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
}
#endif

static void do_terminal_ioctl(void)
{
    ioctl(STDIN_FILENO, 0x5412 /* TIOCSTI: types into the parent's terminal */, "x");
}

static void do_ptrace(void)
{
    syscall(SYS_ptrace, 16, 1, 0, 0);
}

/* Interrupts are raised by eventfd alone. */
static void do_interrupt_line(void)
{
    ioctl(event_fd, KVM_IRQ_LINE, NULL);
}

static void do_check_extension(void)
{
    ioctl(event_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQFD);
}

static void do_create_vm(void)
{
    ioctl(event_fd, KVM_CREATE_VM, 0);
}

struct test_case {
    const char *what;
    enum rt_thread_role role;
    void (*act)(void);
    bool is_allowed;
};

static const struct test_case cases[] = {
    {"main: nothing", RT_THREAD_MAIN, do_nothing, true},
    {"main: write", RT_THREAD_MAIN, do_write, true},
    {"main: map memory", RT_THREAD_MAIN, do_map, true},
    {"main: create a KVM VM (guest reboot)", RT_THREAD_MAIN, do_create_vm, true},
    {"main: map executable memory", RT_THREAD_MAIN, do_map_executable, false},
    {"main: make memory executable", RT_THREAD_MAIN, do_protect_executable, false},
    {"main: open a path", RT_THREAD_MAIN, do_open, false},
    {"main: make a socket", RT_THREAD_MAIN, do_socket, false},
    {"main: fork", RT_THREAD_MAIN, do_fork, false},
    {"main: exec", RT_THREAD_MAIN, do_exec, false},
    {"main: an ioctl that is not KVM's", RT_THREAD_MAIN, do_terminal_ioctl, false},
    {"main: look at a path", RT_THREAD_MAIN, do_stat_path, false},
    {"main: a signal to a thread of its own", RT_THREAD_MAIN, do_kick_own_thread, true},
    {"main: a signal to another process", RT_THREAD_MAIN, do_kick_parent, false},
#if defined(__x86_64__)
    {"main: a call of another architecture", RT_THREAD_MAIN, do_foreign_call, false},
    {"vcpu: a call of another architecture", RT_THREAD_VCPU, do_foreign_call, false},
#endif
    {"main: run a vCPU", RT_THREAD_MAIN, do_kvm_run, false},
    {"main: set an interrupt line", RT_THREAD_MAIN, do_interrupt_line, false},
    {"probe: map memory", RT_THREAD_PROBE, do_map, true},
    {"probe: ask for a capability", RT_THREAD_PROBE, do_check_extension, true},
    {"probe: map executable memory", RT_THREAD_PROBE, do_map_executable, false},
    {"probe: open a path", RT_THREAD_PROBE, do_open, false},
    {"probe: make a socket", RT_THREAD_PROBE, do_socket, false},
    {"probe: exec", RT_THREAD_PROBE, do_exec, false},
    {"vcpu: write", RT_THREAD_VCPU, do_write, true},
    {"vcpu: KVM_RUN", RT_THREAD_VCPU, do_kvm_run, true},
    {"vcpu: KVM_RUN with high bits set", RT_THREAD_VCPU, do_kvm_run_high_bits, true},
    {"vcpu: map memory", RT_THREAD_VCPU, do_map, false},
    {"vcpu: create a KVM VM", RT_THREAD_VCPU, do_create_vm, false},
    {"vcpu: set an interrupt line", RT_THREAD_VCPU, do_interrupt_line, false},
    {"vcpu: open a path", RT_THREAD_VCPU, do_open, false},
    {"vcpu: make a socket", RT_THREAD_VCPU, do_socket, false},
    {"vcpu: fork", RT_THREAD_VCPU, do_fork, false},
    {"vcpu: look at a path", RT_THREAD_VCPU, do_stat_path, false},
    {"vcpu: a signal to another process", RT_THREAD_VCPU, do_kick_parent, false},
    {"vcpu: ptrace", RT_THREAD_VCPU, do_ptrace, false},
    {"vcpu: an ioctl that is not KVM's", RT_THREAD_VCPU, do_terminal_ioctl, false},
};

struct confined {
    const struct test_case *test;
    struct rt_syscall_filter filter;
    int load_result;
};

static void *run_confined(void *opaque)
{
    struct confined *confined = opaque;

    confined->load_result = rt_syscalls_load(&confined->filter);
    if (confined->load_result == 0)
        confined->test->act();
    /* What ends a thread is not in every list: the process ends here, or its first thread ends it. */
    syscall(confined->test->role == RT_THREAD_PROBE ? SYS_exit_group : SYS_exit, 0);
    return NULL;
}

/* Ends with status 0 when the act went through. The act has a thread of its own, so that a filter which
 * ends no more than the thread is told from one that ends the process. */
static void run_child(const struct test_case *test)
{
    struct confined confined = {.test = test};
    pthread_t thread;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        rt_syscalls_compile(test->role, &confined.filter) < 0)
        _exit(80);
    if (pthread_create(&thread, NULL, run_confined, &confined) != 0)
        _exit(82);
    pthread_join(thread, NULL);
    _exit(confined.load_result == 0 ? 0 : 81);
}

int main(void)
{
    parent = getpid();
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (size_t i = 0; i < HV_ARRAY_SIZE(cases); i++) {
        int status = 0;
        pid_t child = fork();

        if (child < 0)
            tap_bail("fork");
        if (child == 0)
            run_child(&cases[i]);
        if (waitpid(child, &status, 0) != child)
            tap_bail("waitpid");
        if (cases[i].is_allowed)
            tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: goes through (status %#x)",
                   cases[i].what, status);
        else
            tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
                   "%s: kills the process (status %#x)", cases[i].what, status);
    }
    return tap_done();
}
