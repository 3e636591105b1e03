/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tenbox-runtime: one virtual machine, one process. It is started by libtenbox's local driver with an
 * empty environment and one socket (see control-protocol.h), and can do nothing that is not on that
 * socket: it opens no path, takes no options and reads no configuration.
 *
 * main() is the birth order, from top to bottom: shed what was inherited, receive and check the launch,
 * build the machine, shed rights, greet, run, end.
 *
 * Exit status: 0 the guest or the controller ended the machine; 1 the launch was refused; 2 the machine
 * broke; 3 this process could not do its own work.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/loop.h"
#include "hypervisor/probe/probe.h"
#include "tenbox-runtime/control-protocol.h"
#include "tenbox-runtime/log.h"
#include "tenbox-runtime/messages.h"
#include "tenbox-runtime/sandbox.h"
#include "tenbox-runtime/spec.h"
#include "tenbox-runtime/syscalls.h"
#include "tenbox-runtime/vm.h"

enum {
    EXIT_ENDED_WELL = 0,
    EXIT_REFUSED = 1,
    EXIT_MACHINE_BROKE = 2,
    EXIT_NO_SERVICE = 3,
};

/* A parent that forks and sends nothing is broken; nobody should be left behind by it. */
#define LAUNCH_TIMEOUT_MS 60000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#else
#define HAS_SANITIZER 0
#endif

static void send_refusal(int launch_fd, const struct rt_fault *fault)
{
    struct rt_refused refused = {
        .header = rt_header(RT_REFUSED, sizeof(refused), 0),
        .code = fault->code,
    };

    strncpy(refused.field, fault->field, sizeof(refused.field) - 1);
    strncpy(refused.text, fault->text, sizeof(refused.text) - 1);
    (void)rt_socket_send(launch_fd, &refused, sizeof(refused), -1);
}

/* Waits for the launch message and checks it. On failure *ret_fault says why. */
static int receive_launch(int launch_fd, struct rt_spec *ret_spec, struct rt_fault *ret_fault)
{
    struct pollfd poll_launch = {.fd = launch_fd, .events = POLLIN};
    uint8_t datagram[RT_MESSAGE_MAX];
    int descriptors[RT_DESCRIPTORS_MAX];
    size_t descriptor_count;
    int length;
    int r;

    *ret_fault = (struct rt_fault){-EBADMSG, "launch", "did not arrive"};
    do {
        r = poll(&poll_launch, 1, LAUNCH_TIMEOUT_MS);
    } while (r < 0 && errno == EINTR);
    if (r <= 0)
        return -ETIMEDOUT;
    length = rt_socket_receive(launch_fd, datagram, sizeof(datagram), descriptors,
                               RT_DESCRIPTORS_MAX, &descriptor_count);
    if (length <= 0)
        return -EBADMSG;
    r = rt_spec_parse(datagram, (size_t)length, descriptors, descriptor_count, ret_spec, ret_fault);
    if (r < 0) {
        while (descriptor_count > 0)
            hv_close_fd(&descriptors[--descriptor_count]);
        return r;
    }
    r = rt_spec_check_descriptors(ret_spec, ret_fault);
    if (r < 0)
        rt_spec_fini(ret_spec);
    return r;
}

/* tenbox system doctor: can this KVM run a stock kernel at all? */
static int run_probe(int launch_fd, const struct rt_spec *spec)
{
    HV_CLEANUP(rt_syscalls_fini) struct rt_syscall_filter filter = {0};
    struct hv_reason reason = {0};
    int r = 0;

    if (!HAS_SANITIZER)
        r = rt_syscalls_compile(RT_THREAD_PROBE, &filter);
    if (r == 0 && filter.program.len > 0)
        r = rt_syscalls_load(&filter);
    if (r == 0)
        r = hv_probe_run(spec->kvm_fd, HV_PROBE_LIMIT_MS, &reason);
    if (r < 0) {
        struct rt_fault fault = {
            .code = r,
            .field = reason.field != NULL ? reason.field : "kvm",
            .text = reason.text != NULL ? reason.text : "the probe could not be run",
        };

        send_refusal(launch_fd, &fault);
    } else {
        struct rt_hello hello = {
            .header = rt_header(RT_HELLO, sizeof(hello), 0),
            .version_min = spec->version,
            .version_max = spec->version,
            .pid = (uint32_t)getpid(),
        };
        struct rt_state state = {
            .header = rt_header(RT_STATE, sizeof(state), 0),
            .state = RT_STATE_STOPPED,
        };

        (void)rt_socket_send(launch_fd, &hello, sizeof(hello), -1);
        (void)rt_socket_send(launch_fd, &state, sizeof(state), -1);
    }
    return r < 0 ? EXIT_REFUSED : EXIT_ENDED_WELL;
}

static int confine_vcpu(void *opaque)
{
    return rt_syscalls_load(opaque);
}

/* Compiles both filters before any thread is under one. Sanitizers need calls of their own, so a build
 * with one says that it goes unconfined rather than dying of it. */
static int compile_filters(struct rt_log *log, struct rt_syscall_filter *ret_main,
                           struct rt_syscall_filter *ret_vcpu)
{
    int r;

    if (HAS_SANITIZER) {
        rt_log_line(log, LOG_WARNING,
                    "built with a sanitizer: the system-call filters are OFF in this build");
        return 0;
    }
    r = rt_syscalls_compile(RT_THREAD_MAIN, ret_main);
    if (r == 0)
        r = rt_syscalls_compile(RT_THREAD_VCPU, ret_vcpu);
    return r;
}

/* Every vCPU thread first, this one last: from here on no thread of the process is unconfined. */
static int confine(struct rt_vm *vm, const struct rt_syscall_filter *main_filter,
                   struct rt_syscall_filter *vcpu_filter)
{
    int r = 0;

    if (vcpu_filter->program.len > 0)
        r = rt_vm_prepare_vcpus(vm, confine_vcpu, vcpu_filter);
    if (r == 0 && main_filter->program.len > 0)
        r = rt_syscalls_load(main_filter);
    return r;
}

static int run_machine(struct hv_loop *loop, struct rt_log *log, struct rt_spec *spec,
                       int *launch_fd)
{
    HV_CLEANUP(rt_syscalls_fini) struct rt_syscall_filter main_filter = {0};
    HV_CLEANUP(rt_syscalls_fini) struct rt_syscall_filter vcpu_filter = {0};
    struct rt_fault fault;
    struct rt_vm *vm;
    int status;
    int r;

    r = compile_filters(log, &main_filter, &vcpu_filter);
    if (r < 0) {
        fault = (struct rt_fault){r, "launch", "the system-call filters could not be compiled"};
        send_refusal(*launch_fd, &fault);
        return EXIT_NO_SERVICE;
    }
    r = rt_vm_create(loop, log, spec, launch_fd, &vm, &fault);
    if (r < 0) {
        rt_log_printf(log, LOG_ERR, "refused: %s: %s (errno %d)", fault.field, fault.text,
                      -fault.code);
        send_refusal(*launch_fd, &fault);
        return EXIT_REFUSED;
    }
    r = confine(vm, &main_filter, &vcpu_filter);
    if (r == 0) {
        rt_vm_announce(vm);
        r = hv_loop_run(loop);
    } else {
        rt_log_printf(log, LOG_ERR, "the system-call filters were refused: errno %d", -r);
    }
    status = r < 0 ? EXIT_NO_SERVICE : rt_vm_ended_well(vm) ? EXIT_ENDED_WELL : EXIT_MACHINE_BROKE;
    rt_vm_destroy(vm);
    return status;
}

int main(int argc, char **argv)
{
    HV_CLEANUP(rt_spec_fini) struct rt_spec spec;
    HV_AUTO_FD int launch_fd = RT_LAUNCH_DESCRIPTOR;
    struct hv_loop *loop = NULL;
    struct rt_fault fault;
    struct rt_log log;
    int status;
    int r;

    rt_spec_init(&spec);
    rt_log_init(&log, STDERR_FILENO);
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("tenbox-runtime %s (control protocol %u to %u)\n", TENBOX_VERSION,
               RT_PROTOCOL_VERSION_MIN, RT_PROTOCOL_VERSION);
        return EXIT_ENDED_WELL;
    }

    r = rt_sandbox_inherit(launch_fd);
    if (r == 0)
        r = rt_sandbox_isolate();
    if (r == 0)
        r = rt_sandbox_limit();
    if (r < 0) {
        rt_log_printf(&log, LOG_ERR, "could not give up inherited rights: errno %d", -r);
        fault = (struct rt_fault){r, "launch", "could not give up the rights it inherited"};
        send_refusal(launch_fd, &fault);
        return EXIT_NO_SERVICE;
    }
    r = receive_launch(launch_fd, &spec, &fault);
    if (r < 0) {
        rt_log_printf(&log, LOG_ERR, "refused: %s %s; this program is started by tenboxd",
                      fault.field, fault.text);
        send_refusal(launch_fd, &fault);
        return EXIT_REFUSED;
    }
    if (spec.log_fd >= 0)
        rt_log_init(&log, spec.log_fd);
    if (spec.mode == RT_MODE_PROBE)
        return run_probe(launch_fd, &spec);

    rt_log_printf(&log, LOG_INFO, "tenbox-runtime %s: VM %s, %llu MiB, %u vCPUs", TENBOX_VERSION,
                  spec.vm_id, (unsigned long long)(spec.memory_size >> 20), spec.vcpu_count);
    r = hv_loop_create(&loop);
    if (r < 0) {
        fault = (struct rt_fault){r, "launch", "could not make an event loop"};
        send_refusal(launch_fd, &fault);
        return EXIT_NO_SERVICE;
    }
    status = run_machine(loop, &log, &spec, &launch_fd);
    hv_loop_destroy(loop);
    return status;
}
