/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/vm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/machine.h"
#include "tenbox-runtime/console.h"
#include "tenbox-runtime/control.h"
#include "tenbox-runtime/messages.h"

struct rt_vm {
    struct hv_loop *loop; /* const */
    struct rt_log *log;   /* const */
    struct rt_spec spec;  /* const; owns kernel, initrd, KVM and ring descriptors */
    struct rt_console console;
    struct hv_loop_source console_source;
    struct rt_control control;
    struct hv_machine *machine;

    enum rt_state_value state;
    enum hv_machine_exit exit;
    uint64_t exit_detail;
    uint32_t reset_count;
    uint64_t start_time_ns; /* CLOCK_BOOTTIME of RT_START; 0 before */
    bool is_greeted;        /* the present controller has been sent RT_HELLO */
};

static uint64_t now_ns(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- what the controller is told --- */

static void send_state(struct rt_vm *vm)
{
    struct rt_state state = {
        .header = rt_header(RT_STATE, sizeof(state), 0),
        .state = vm->state,
    };

    if (!vm->is_greeted)
        return;
    if (vm->state == RT_STATE_STOPPED) {
        state.exit_reason = vm->exit;
        state.exit_detail = vm->exit_detail;
        strncpy(state.exit_name, hv_machine_exit_name(vm->exit), sizeof(state.exit_name) - 1);
    }
    rt_control_send(&vm->control, &state, sizeof(state), -1);
}

static void set_state(struct rt_vm *vm, enum rt_state_value state)
{
    if (vm->state == state)
        return;
    vm->state = state;
    send_state(vm);
}

static void send_statistics(struct rt_vm *vm, uint32_t serial)
{
    struct hv_exit_count counts[RT_STATISTICS_ROWS_MAX] = {0};
    struct rt_statistics statistics = {
        .uptime_ns = vm->start_time_ns != 0 ? now_ns() - vm->start_time_ns : 0,
        .memory_bytes = vm->spec.memory_size,
        .vcpu_count = vm->spec.vcpu_count,
    };
    size_t count = hv_machine_exit_counts(vm->machine, counts, RT_STATISTICS_ROWS_MAX);
    size_t length;

    count = hv_min_u64(count, RT_STATISTICS_ROWS_MAX);
    _Static_assert(sizeof(counts[0].name) == sizeof(statistics.rows[0].name), "same names");
    for (size_t i = 0; i < count; i++) {
        memcpy(statistics.rows[i].name, counts[i].name, sizeof(counts[i].name));
        statistics.rows[i].count = counts[i].count;
    }
    length = offsetof(struct rt_statistics, rows) + count * sizeof(statistics.rows[0]);
    statistics.row_count = (uint32_t)count;
    statistics.header = rt_header(RT_STATISTICS, length, serial);
    if (vm->is_greeted)
        rt_control_send(&vm->control, &statistics, length, -1);
}

static void announce_console_output(struct rt_vm *vm)
{
    struct rt_console_output output = {
        .header = rt_header(RT_CONSOLE_OUTPUT, sizeof(output), 0),
    };

    if (rt_console_take_announcement(&vm->console, &output.position) && vm->is_greeted)
        rt_control_send(&vm->control, &output, sizeof(output), -1);
}

static void on_console_wake(void *opaque, int fd, uint32_t events)
{
    announce_console_output(opaque);
}

/* Moves queued input to the serial port as far as it goes, and gives the credit back. */
static void feed_console(struct rt_vm *vm)
{
    struct rt_console_credit credit = {
        .header = rt_header(RT_CONSOLE_CREDIT, sizeof(credit), 0),
    };
    const uint8_t *data;
    size_t length;

    while ((length = rt_console_peek_input(&vm->console, &data)) > 0) {
        size_t taken = hv_machine_console_input(vm->machine, data, length);

        if (taken == 0)
            break;
        rt_console_consume_input(&vm->console, taken);
    }
    credit.bytes = rt_console_take_credit(&vm->console);
    if (credit.bytes > 0 && vm->is_greeted)
        rt_control_send(&vm->control, &credit, sizeof(credit), -1);
}

/* --- what the machine tells --- */

static void on_console_output(void *opaque, const uint8_t *data, size_t length)
{
    struct rt_vm *vm = opaque;

    rt_console_write(&vm->console, data, length);
}

static void on_console_input_ready(void *opaque)
{
    feed_console(opaque);
}

static void on_paused(void *opaque)
{
    set_state(opaque, RT_STATE_PAUSED);
}

static void on_reset_done(void *opaque, enum hv_reset_source source)
{
    struct rt_vm *vm = opaque;
    struct rt_reset_done done = {
        .header = rt_header(RT_RESET_DONE, sizeof(done), 0),
        .source = source,
        .reset_count = ++vm->reset_count,
    };

    rt_log_printf(vm->log, LOG_INFO, "machine reset by the %s",
                  source == HV_RESET_BY_GUEST ? "guest" : "host");
    if (vm->is_greeted)
        rt_control_send(&vm->control, &done, sizeof(done), -1);
}

static void on_stopped(void *opaque, enum hv_machine_exit exit, uint64_t detail)
{
    struct rt_vm *vm = opaque;

    rt_log_printf(vm->log, LOG_INFO, "machine stopped: %s, detail %llu", hv_machine_exit_name(exit),
                  (unsigned long long)detail);
    announce_console_output(vm);
    vm->exit = exit;
    vm->exit_detail = detail;
    send_statistics(vm, 0);
    set_state(vm, RT_STATE_STOPPED);
    hv_loop_quit(vm->loop);
}

static void on_machine_log(void *opaque, int priority, const char *line)
{
    struct rt_vm *vm = opaque;

    rt_log_line(vm->log, priority, line);
}

static const struct hv_machine_ops machine_ops = {
    .console_output = on_console_output,
    .console_input_ready = on_console_input_ready,
    .paused = on_paused,
    .reset_done = on_reset_done,
    .stopped = on_stopped,
    .log = on_machine_log,
};

/* --- what the controller asks --- */

static void greet(struct rt_vm *vm, const struct rt_request *request)
{
    uint32_t version = rt_version_choose(request->version_min, request->version_max);
    struct rt_hello hello = {
        .header = rt_header(RT_HELLO, sizeof(hello), request->serial),
        .version_min = version,
        .version_max = version,
        .pid = (uint32_t)getpid(),
    };

    if (version == 0) {
        struct rt_refused refused = {
            .header = rt_header(RT_REFUSED, sizeof(refused), request->serial),
            .code = -EPROTONOSUPPORT,
            .field = "version",
            .text = "of the control protocol is not spoken by this tenbox-runtime",
        };

        rt_control_send(&vm->control, &refused, sizeof(refused), -1);
        rt_control_disconnect(&vm->control);
        return;
    }
    vm->is_greeted = true;
    rt_control_send(&vm->control, &hello, sizeof(hello), vm->spec.console_ring_fd);
    send_state(vm);
    rt_console_seen(&vm->console);
}

static int start_machine(struct rt_vm *vm)
{
    int r;

    if (vm->state != RT_STATE_CREATED)
        return -EALREADY;
    vm->start_time_ns = now_ns();
    r = hv_machine_start(vm->machine);
    if (r == 0)
        set_state(vm, RT_STATE_RUNNING);
    return r;
}

static int pause_machine(struct rt_vm *vm)
{
    int r = vm->state == RT_STATE_CREATED ? -EBUSY : hv_machine_pause(vm->machine);

    if (r == 0)
        set_state(vm, RT_STATE_PAUSING);
    return r;
}

static int resume_machine(struct rt_vm *vm)
{
    int r = vm->state == RT_STATE_CREATED ? -EBUSY : hv_machine_resume(vm->machine);

    if (r == 0)
        set_state(vm, RT_STATE_RUNNING);
    return r;
}

/* The effects of these may be reported from within the call, so the reply to a request may follow the
 * state that it caused. */
static int serve(struct rt_vm *vm, uint16_t type)
{
    switch (type) {
    case RT_START: return start_machine(vm);
    case RT_PAUSE: return pause_machine(vm);
    case RT_RESUME: return resume_machine(vm);
    case RT_POWER_BUTTON:
        return vm->state == RT_STATE_CREATED ? -EBUSY : hv_machine_press_power_button(vm->machine);
    case RT_RESET: return vm->state == RT_STATE_CREATED ? -EBUSY : hv_machine_reset(vm->machine);
    case RT_CONSOLE_BREAK:
        return vm->state == RT_STATE_CREATED ? -EBUSY : hv_machine_console_break(vm->machine);
    case RT_POWER_OFF: hv_machine_power_off(vm->machine); return 0;
    default: return -EPROTO;
    }
}

static void on_request(void *opaque, const struct rt_request *request, int error)
{
    struct rt_vm *vm = opaque;
    int r;

    if (!vm->is_greeted && request->type != RT_HELLO) {
        rt_log_line(vm->log, LOG_WARNING, "control: a request came before the greeting");
        rt_control_disconnect(&vm->control);
        return;
    }
    if (error < 0) {
        rt_control_reply(&vm->control, request->serial, error);
        return;
    }
    switch (request->type) {
    case RT_HELLO: greet(vm, request); return;
    case RT_CONSOLE_SEEN: rt_console_seen(&vm->console); return;
    case RT_GET_STATISTICS: send_statistics(vm, request->serial); return;
    case RT_CONSOLE_INPUT:
        r = rt_console_queue_input(&vm->console, request->data, request->data_length);
        if (r < 0) {
            rt_log_line(vm->log, LOG_WARNING, "control: console input beyond its credit");
            rt_control_disconnect(&vm->control);
            return;
        }
        feed_console(vm);
        return;
    default: rt_control_reply(&vm->control, request->serial, serve(vm, request->type)); return;
    }
}

static void on_connected(void *opaque)
{
    struct rt_vm *vm = opaque;

    rt_log_line(vm->log, LOG_INFO, "control: a new controller has connected");
    vm->is_greeted = false;
    rt_console_reset_input(&vm->console);
}

/* Who launched a machine and is gone before it let the guest run has told nobody of it: no daemon will
 * ever look for this process. */
static void on_disconnected(void *opaque)
{
    struct rt_vm *vm = opaque;

    if (vm->state != RT_STATE_CREATED)
        return;
    rt_log_line(vm->log, LOG_WARNING, "the controller is gone before the start: switched off");
    hv_machine_power_off(vm->machine);
}

static void on_control_log(void *opaque, int priority, const char *line)
{
    struct rt_vm *vm = opaque;

    rt_log_line(vm->log, priority, line);
}

static const struct rt_control_ops control_ops = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .request = on_request,
    .log = on_control_log,
};

/* --- life --- */

static int fail(struct rt_fault *ret_fault, int code, const char *field, const char *text)
{
    *ret_fault = (struct rt_fault){.code = code, .field = field, .text = text};
    return code;
}

static int build_machine(struct rt_vm *vm, struct rt_fault *ret_fault)
{
    const struct hv_machine_config config = {
        .kvm_fd = vm->spec.kvm_fd,
        .kernel_fd = vm->spec.kernel_fd,
        .initrd_fd = vm->spec.initrd_fd,
        .command_line = vm->spec.command_line,
        .memory_size = vm->spec.memory_size,
        .vcpu_count = vm->spec.vcpu_count,
    };
    struct hv_reason reason = {0};
    int r;

    r = hv_machine_create(vm->loop, &config, &machine_ops, vm, &vm->machine, &reason);
    return r < 0 ? fail(ret_fault, r, reason.field, reason.text) : 0;
}

int rt_vm_create(struct hv_loop *loop, struct rt_log *log, struct rt_spec *spec, int *launch_fd,
                 struct rt_vm **ret_vm, struct rt_fault *ret_fault)
{
    struct rt_vm *vm = calloc(1, sizeof(*vm));
    int r;

    if (vm == NULL)
        return fail(ret_fault, -ENOMEM, "launch", "ran out of memory");
    vm->loop = loop;
    vm->log = log;
    vm->state = RT_STATE_CREATED;
    rt_spec_init(&vm->spec);

    r = rt_console_init(&vm->console, spec->console_ring_fd);
    if (r < 0) {
        rt_vm_destroy(vm);
        return fail(ret_fault, r, "launch", "has a console ring that cannot be mapped");
    }
    r = hv_loop_add_fd(loop, &vm->console_source, vm->console.wake_fd, EPOLLIN, on_console_wake,
                       vm);
    if (r < 0) {
        rt_vm_destroy(vm);
        return fail(ret_fault, r, "launch", "has a console ring that cannot be watched");
    }
    vm->spec = *spec;
    rt_spec_init(spec);
    r = build_machine(vm, ret_fault);
    if (r == 0) {
        r = rt_control_init(&vm->control, loop, &vm->spec.control_fd, launch_fd, &control_ops, vm);
        if (r < 0)
            fail(ret_fault, r, "launch", "has a control socket that cannot be watched");
    }
    if (r < 0) {
        rt_vm_destroy(vm);
        return r;
    }
    *ret_vm = vm;
    return 0;
}

void rt_vm_destroy(struct rt_vm *vm)
{
    if (vm == NULL)
        return;
    rt_control_fini(&vm->control);
    hv_machine_destroy(vm->machine);
    hv_loop_remove_fd(&vm->console_source);
    rt_console_fini(&vm->console);
    rt_spec_fini(&vm->spec);
    free(vm);
}

int rt_vm_prepare_vcpus(struct rt_vm *vm, int (*prepare)(void *opaque), void *opaque)
{
    return hv_machine_prepare_vcpus(vm->machine, prepare, opaque);
}

void rt_vm_announce(struct rt_vm *vm)
{
    struct rt_hello hello = {
        .header = rt_header(RT_HELLO, sizeof(hello), 0),
        .version_min = vm->spec.version,
        .version_max = vm->spec.version,
        .pid = (uint32_t)getpid(),
    };

    vm->is_greeted = true;
    rt_control_send(&vm->control, &hello, sizeof(hello), -1);
    send_state(vm);
}

bool rt_vm_ended_well(const struct rt_vm *vm)
{
    return vm->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF ||
           vm->exit == HV_MACHINE_EXIT_HOST_POWER_OFF;
}
