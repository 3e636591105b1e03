/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ordered construction of a machine, its life, and the exits of its vCPUs. machine.h has the
 * contract, machine-private.h the picture of the states.
 *
 * Everything that changes the state runs on the main loop. What starts on a vCPU thread (the guest
 * switches itself off, KVM fails) becomes a request; serve() is the one place that looks at
 * requests and parked vCPUs and decides what comes next.
 */
#include "hypervisor/machine/machine-private.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/sysinfo.h>

#include "hypervisor/arch/initrd.h"
#include "hypervisor/base/file.h"

#define MIB (1024 * 1024)

_Static_assert(HV_ARCH_MIN_MEMORY == 16 * MIB, "as check_config() says");

static void serve(void *opaque);

/* --- requests --------------------------------------------------------------------------------- */

static void request(struct hv_machine *machine, const struct hv_machine_request *wanted)
{
    pthread_mutex_lock(&machine->request_lock);
    if (wanted->kind > machine->request.kind) {
        machine->request = *wanted;
        atomic_store_explicit(&machine->has_request, true, memory_order_release);
    }
    pthread_mutex_unlock(&machine->request_lock);
    hv_loop_post(machine->loop, &machine->wake);
}

void hv_machine_request_reset(struct hv_machine *machine, enum hv_reset_source source)
{
    request(machine, &(struct hv_machine_request){
                         .kind = HV_MACHINE_REQUEST_RESET,
                         .source = source,
                     });
}

void hv_machine_request_exit(struct hv_machine *machine, enum hv_machine_exit exit, uint64_t detail)
{
    request(machine, &(struct hv_machine_request){
                         .kind = HV_MACHINE_REQUEST_EXIT,
                         .exit = exit,
                         .detail = detail,
                     });
}

static struct hv_machine_request take_request(struct hv_machine *machine)
{
    struct hv_machine_request taken;

    pthread_mutex_lock(&machine->request_lock);
    taken = machine->request;
    machine->request = (struct hv_machine_request){.kind = HV_MACHINE_REQUEST_NONE};
    atomic_store_explicit(&machine->has_request, false, memory_order_release);
    pthread_mutex_unlock(&machine->request_lock);
    return taken;
}

static bool has_request(const struct hv_machine *machine)
{
    return atomic_load_explicit(&machine->has_request, memory_order_acquire);
}

/* --- exits of a vCPU, on its thread ----------------------------------------------------------- */

static uint64_t load_value(const uint8_t *from, unsigned int size)
{
    uint64_t value = 0;

    memcpy(&value, from, size);
    return le64toh(value);
}

static void store_value(uint8_t *to, unsigned int size, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, size);
}

/*
 * Does the port writes that KVM has kept back. The ring belongs to the whole VM; its end moves only
 * after a write was done, so a vCPU that finds it empty may rely on all of them. The entries are the
 * kernel's, but they are read once all the same.
 */
static void do_late_writes(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    const uint32_t capacity =
        (uint32_t)((hv_host_page_size() - sizeof(struct kvm_coalesced_mmio_ring)) /
                   sizeof(struct kvm_coalesced_mmio));
    struct kvm_coalesced_mmio_ring *ring;

    if (machine->kvm.write_ring_offset == 0) {
        return;
    }
    ring = (void *)((uint8_t *)vcpu->run + machine->kvm.write_ring_offset);
    if (__atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) ==
        __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
        return;
    }
    pthread_mutex_lock(&machine->late_write_lock);
    for (;;) {
        uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
        uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
        struct kvm_coalesced_mmio entry;

        if (first == last || first >= capacity || last >= capacity) {
            break;
        }
        entry = ring->coalesced_mmio[first];
        if (entry.pio && entry.len <= sizeof(entry.data)) {
            hv_bus_write_late(machine->pio, entry.phys_addr, entry.len,
                              load_value(entry.data, entry.len));
        }
        __atomic_store_n(&ring->first, (first + 1) % capacity, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&machine->late_write_lock);
}

static void handle_port_access(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    struct kvm_run *run = vcpu->run;
    unsigned int size = run->io.size;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    if (!machine->pio || size > sizeof(uint64_t) ||
        !hv_range_fits(run->io.data_offset, (uint64_t)size * run->io.count, vcpu->run_size)) {
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_UNKNOWN, KVM_EXIT_IO);
        return;
    }
    do_late_writes(vcpu);
    /* A string instruction: the same port, one element after the other. */
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            hv_bus_write(machine->pio, run->io.port, size, load_value(data, size));
        } else {
            store_value(data, size, hv_bus_read(machine->pio, run->io.port, size));
        }
    }
}

static void handle_memory_access(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    struct kvm_run *run = vcpu->run;
    unsigned int size = run->mmio.len;

    if (size > sizeof(run->mmio.data)) {
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_UNKNOWN, KVM_EXIT_MMIO);
    } else if (run->mmio.is_write) {
        hv_bus_write(machine->mmio, run->mmio.phys_addr, size, load_value(run->mmio.data, size));
    } else {
        store_value(run->mmio.data, size, hv_bus_read(machine->mmio, run->mmio.phys_addr, size));
    }
}

static void handle_system_event(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    const struct kvm_run *run = vcpu->run;

    switch (run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_GUEST_POWER_OFF, 0);
        break;
    case KVM_SYSTEM_EVENT_RESET: hv_machine_request_reset(machine, HV_RESET_BY_GUEST); break;
    case KVM_SYSTEM_EVENT_CRASH:
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_GUEST_CRASH, 0);
        break;
    default:
        hv_log(&machine->log, LOG_ERR, "vCPU %u: system event %u is not known", vcpu->index,
               run->system_event.type);
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_UNKNOWN, KVM_EXIT_SYSTEM_EVENT);
        break;
    }
}

static void handle_internal_error(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    const struct kvm_run *run = vcpu->run;
    char words[HV_LOG_LINE_MAX] = "";
    size_t length = 0;

    for (uint32_t i = 0; i < run->internal.ndata && i < HV_ARRAY_SIZE(run->internal.data); i++) {
        int added = snprintf(words + length, sizeof(words) - length, " %" PRIx64,
                             (uint64_t)run->internal.data[i]);

        if (added < 0 || (size_t)added >= sizeof(words) - length) {
            break;
        }
        length += (size_t)added;
    }
    hv_log(&machine->log, LOG_ERR, "vCPU %u: KVM internal error %u, data:%s", vcpu->index,
           run->internal.suberror, words);
    hv_machine_request_exit(machine, HV_MACHINE_EXIT_INTERNAL_ERROR, run->internal.suberror);
}

static void handle_other_exit(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);
    const struct kvm_run *run = vcpu->run;
    int result;

    hv_bus_counter_add(&machine->other_exits);
    switch (run->exit_reason) {
    case KVM_EXIT_INTR: break;
    case KVM_EXIT_SHUTDOWN:
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_TRIPLE_FAULT, vcpu->index);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        hv_machine_request_exit(machine, HV_MACHINE_EXIT_ENTRY_FAILED,
                                run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR: handle_internal_error(vcpu); break;
    case KVM_EXIT_SYSTEM_EVENT: handle_system_event(vcpu); break;
    default:
        result = hv_arch_handle_exit(vcpu);
        if (result < 0) {
            hv_machine_request_exit(machine, HV_MACHINE_EXIT_HOST_ERROR, (uint64_t)-result);
        } else if (result == 0) {
            hv_machine_request_exit(machine, HV_MACHINE_EXIT_UNKNOWN, run->exit_reason);
        }
        break;
    }
}

static enum hv_vcpu_verdict vcpu_exited(struct hv_vcpu *vcpu)
{
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_IO: handle_port_access(vcpu); break;
    case KVM_EXIT_MMIO: handle_memory_access(vcpu); break;
    default: handle_other_exit(vcpu); break;
    }
    /* Whoever asked for the end of the world must not run on into the next instruction. */
    return has_request(hv_vcpu_machine(vcpu)) ? HV_VCPU_PARK : HV_VCPU_CONTINUE;
}

static void vcpu_failed(struct hv_vcpu *vcpu, int error)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);

    hv_log(&machine->log, LOG_ERR, "vCPU %u cannot run: errno %d", vcpu->index, -error);
    hv_machine_request_exit(machine, HV_MACHINE_EXIT_HOST_ERROR, (uint64_t)-error);
}

static void vcpu_parked(struct hv_vcpu *vcpu)
{
    struct hv_machine *machine = hv_vcpu_machine(vcpu);

    hv_loop_post(machine->loop, &machine->wake);
}

static const struct hv_vcpu_ops vcpu_ops = {
    .exited = vcpu_exited,
    .failed = vcpu_failed,
    .parked = vcpu_parked,
};

/* --- building ---------------------------------------------------------------------------------- */

/* From no VM to one that is ready to run. Leaves the pieces for tear_down() on failure. */
static int build(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    int error = hv_kvm_open_vm(&machine->kvm, hv_arch_vm_type(&machine->kvm));

    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused to create a virtual machine");
    }
    error = hv_arch_init_vm(machine, ret_reason);
    if (error < 0) {
        return error;
    }
    error = hv_kvm_map_memory(&machine->kvm, machine->memory);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "KVM refused the memory of the guest");
    }
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        error = hv_vcpu_open(machine->vcpus[i], &machine->kvm, i);
        if (error < 0) {
            return hv_reason_set(ret_reason, error, "kvm", "KVM refused to create a vCPU");
        }
    }
    error = hv_arch_init_irqchip(machine, ret_reason);
    if (error < 0) {
        return error;
    }
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        error = hv_arch_init_vcpu(machine, machine->vcpus[i]);
        if (error < 0) {
            return hv_reason_set(ret_reason, error, "kvm", "KVM refused the set-up of a vCPU");
        }
    }
    return hv_arch_load(machine, ret_reason);
}

static void tear_down(struct hv_machine *machine)
{
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i]) {
            hv_vcpu_close(machine->vcpus[i]);
        }
    }
    hv_kvm_close_vm(&machine->kvm);
}

/*
 * The initrd was looked at from end to end when the machine was created. Doing so again would keep
 * the main loop busy for each reset; a file that has another size is another file.
 */
static int check_initrd_again(const struct hv_machine *machine, struct hv_reason *ret_reason)
{
    uint64_t size;
    int error;

    if (machine->initrd_fd < 0) {
        return 0;
    }
    error = hv_file_size(machine->initrd_fd, &size);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "initrd", "is not a regular file");
    }
    if (size != machine->initrd_size) {
        return hv_reason_set(ret_reason, -EINVAL, "initrd",
                             "has changed its size while the machine ran: start it again");
    }
    return 0;
}

/* A lack of memory is the same everywhere: who runs into it leaves the words to this. */
static int explain(int error, struct hv_reason *reason)
{
    if (error == -ENOMEM && (!reason->field || strcmp(reason->field, "memory_mb") != 0)) {
        hv_reason_set(reason, error, "memory_mb", "the host has no memory left");
    }
    return error;
}

static int rebuild(struct hv_machine *machine)
{
    struct hv_reason reason = {0};
    int error;

    tear_down(machine);
    error = hv_memory_discard_all(machine->memory);
    if (error < 0) {
        hv_reason_set(&reason, error, "memory_mb", "the host does not take the memory back");
    } else {
        error = check_initrd_again(machine, &reason);
    }
    if (error == 0) {
        hv_arch_reset_devices(machine->arch);
        error = build(machine, &reason);
    }
    if (error < 0) {
        explain(error, &reason);
        hv_log(&machine->log, LOG_ERR, "the machine cannot be reset: %s: %s (errno %d)",
               reason.field, reason.text, -error);
    }
    return error;
}

/* --- the life of a machine, on the main loop --------------------------------------------------- */

static void park_all(struct hv_machine *machine)
{
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        hv_vcpu_request_park(machine->vcpus[i]);
    }
    /* In case all of them had parked before. */
    hv_loop_post(machine->loop, &machine->wake);
}

static void resume_all(struct hv_machine *machine)
{
    machine->state = HV_MACHINE_RUNNING;
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        hv_vcpu_resume(machine->vcpus[i]);
    }
}

static bool are_all_parked(struct hv_machine *machine)
{
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        if (!hv_vcpu_is_parked(machine->vcpus[i])) {
            return false;
        }
    }
    return true;
}

static void finish_pause(struct hv_machine *machine)
{
    machine->state = HV_MACHINE_PAUSED;
    hv_arch_paused(machine);
    machine->is_pause_owed = false;
    machine->ops->paused(machine->opaque);
}

static void finish_exit(struct hv_machine *machine, enum hv_machine_exit exit, uint64_t detail)
{
    machine->state = HV_MACHINE_STOPPED;
    machine->ops->stopped(machine->opaque, exit, detail);
}

static void finish_reset(struct hv_machine *machine, enum hv_reset_source source)
{
    int error = rebuild(machine);

    if (error < 0) {
        finish_exit(machine, HV_MACHINE_EXIT_HOST_ERROR, (uint64_t)-error);
        return;
    }
    if (machine->is_pausing_after_reset) {
        machine->state = HV_MACHINE_PAUSED;
    } else {
        resume_all(machine);
    }
    machine->ops->reset_done(machine->opaque, source);
    if (machine->is_pause_owed) {
        machine->is_pause_owed = false;
        machine->ops->paused(machine->opaque);
    }
}

/* Woken by a request or a vCPU that parked: takes the next step that has become possible. */
static void serve(void *opaque)
{
    struct hv_machine *machine = opaque;
    struct hv_machine_request taken;

    if (machine->state == HV_MACHINE_STOPPED) {
        return;
    }
    if (has_request(machine) && machine->state != HV_MACHINE_STOPPING) {
        machine->is_pausing_after_reset =
            machine->state == HV_MACHINE_PAUSED || machine->state == HV_MACHINE_PAUSING;
        machine->state = HV_MACHINE_STOPPING;
        park_all(machine);
    }
    if (!are_all_parked(machine)) {
        return;
    }
    if (machine->state == HV_MACHINE_PAUSING) {
        finish_pause(machine);
    } else if (machine->state == HV_MACHINE_STOPPING) {
        taken = take_request(machine);
        if (taken.kind == HV_MACHINE_REQUEST_RESET) {
            finish_reset(machine, taken.source);
        } else {
            finish_exit(machine, taken.exit, taken.detail);
        }
    }
}

int hv_machine_start(struct hv_machine *machine)
{
    if (machine->state != HV_MACHINE_CREATED) {
        return -EALREADY;
    }
    resume_all(machine);
    return 0;
}

int hv_machine_pause(struct hv_machine *machine)
{
    switch (machine->state) {
    case HV_MACHINE_RUNNING:
        machine->state = HV_MACHINE_PAUSING;
        machine->is_pause_owed = true;
        park_all(machine);
        return 0;
    case HV_MACHINE_PAUSING:
    case HV_MACHINE_PAUSED: return -EALREADY;
    default: return -EBUSY;
    }
}

int hv_machine_resume(struct hv_machine *machine)
{
    switch (machine->state) {
    case HV_MACHINE_PAUSED:
        if (has_request(machine)) {
            return -EBUSY;
        }
        hv_arch_resuming(machine);
        resume_all(machine);
        return 0;
    case HV_MACHINE_RUNNING: return -EALREADY;
    default: return -EBUSY;
    }
}

int hv_machine_reset(struct hv_machine *machine)
{
    if (machine->state == HV_MACHINE_CREATED || machine->state == HV_MACHINE_STOPPED ||
        machine->state == HV_MACHINE_STOPPING) {
        return -EBUSY;
    }
    hv_machine_request_reset(machine, HV_RESET_BY_HOST);
    return 0;
}

int hv_machine_press_power_button(struct hv_machine *machine)
{
    if (machine->state != HV_MACHINE_RUNNING) {
        return -EBUSY;
    }
    return hv_arch_press_power_button(machine->arch);
}

void hv_machine_power_off(struct hv_machine *machine)
{
    hv_machine_request_exit(machine, HV_MACHINE_EXIT_HOST_POWER_OFF, 0);
}

size_t hv_machine_console_input(struct hv_machine *machine, const uint8_t *data, size_t length)
{
    return hv_arch_console_input(machine->arch, data, length);
}

int hv_machine_console_break(struct hv_machine *machine)
{
    return hv_arch_console_break(machine->arch);
}

/* --- birth and death --------------------------------------------------------------------------- */

static void sink_output(void *opaque, const uint8_t *data, size_t length)
{
    struct hv_machine *machine = opaque;

    machine->ops->console_output(machine->opaque, data, length);
}

static void sink_input_ready(void *opaque)
{
    struct hv_machine *machine = opaque;

    machine->ops->console_input_ready(machine->opaque);
}

static void sink_log(void *opaque, int priority, const char *line)
{
    struct hv_machine *machine = opaque;

    machine->ops->log(machine->opaque, priority, line);
}

static int check_config(const struct hv_machine_config *config, struct hv_reason *ret_reason)
{
    struct sysinfo host;

    if (config->vcpu_count < 1 || config->vcpu_count > HV_MACHINE_MAX_VCPUS) {
        return hv_reason_set(ret_reason, -EINVAL, "cpu_count", "must be from 1 to 64");
    }
    if (strlen(config->command_line) > HV_MACHINE_MAX_COMMAND_LINE) {
        return hv_reason_set(ret_reason, -EINVAL, "cmdline", "is longer than 2047 bytes");
    }
    if (config->memory_size % MIB) {
        return hv_reason_set(ret_reason, -EINVAL, "memory_mb", "must be a multiple of 1 MiB");
    }
    if (config->memory_size < HV_ARCH_MIN_MEMORY) {
        return hv_reason_set(ret_reason, -EINVAL, "memory_mb", "must be at least 16 MiB");
    }
    if (sysinfo(&host) < 0) {
        return hv_reason_set(ret_reason, -errno, "memory_mb",
                             "the host does not tell how much memory it has");
    }
    if (config->memory_size > (uint64_t)host.totalram * host.mem_unit) {
        return hv_reason_set(ret_reason, -ENOMEM, "memory_mb",
                             "is more than the memory of this host");
    }
    return 0;
}

static int create_buses(struct hv_machine *machine)
{
    int error = hv_bus_create(UINT64_MAX, "unassigned-mmio", &machine->mmio);

    if (error == 0 && hv_arch_has_ports()) {
        error = hv_bus_create(UINT16_MAX, "unassigned-pio", &machine->pio);
    }
    return error;
}

static int populate(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    struct hv_memory_layout layout = {0};
    int error = hv_arch_memory_layout(&machine->kvm, machine->memory_size, &layout, ret_reason);

    if (error < 0) {
        return error;
    }
    error = hv_memory_create(&layout, &machine->memory);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "memory_mb", "the host cannot provide the memory");
    }
    error = create_buses(machine);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "a bus could not be made");
    }
    error = hv_arch_create_devices(machine, &machine->arch, ret_reason);
    if (error < 0) {
        return error;
    }
    hv_bus_freeze(machine->mmio);
    if (machine->pio) {
        hv_bus_freeze(machine->pio);
    }
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        error = hv_vcpu_create(i, &vcpu_ops, machine, &machine->vcpus[i]);
        if (error < 0) {
            return hv_reason_set(ret_reason, error, "cpu_count",
                                 "is more than the host has threads left for");
        }
    }
    if (machine->initrd_fd >= 0) {
        error = hv_initrd_check(machine->initrd_fd, &machine->initrd_size, ret_reason);
        if (error < 0) {
            return error;
        }
    }
    return build(machine, ret_reason);
}

/* hv_machine_create(), but for the words about memory. */
static int create(struct hv_loop *loop, const struct hv_machine_config *config,
                  const struct hv_machine_ops *ops, void *opaque, struct hv_machine **ret_machine,
                  struct hv_reason *ret_reason)
{
    struct hv_machine *machine;
    struct hv_kvm kvm;
    int error;

    error = check_config(config, ret_reason);
    if (error < 0) {
        return error;
    }
    error = hv_kvm_init(&kvm, config->kvm_fd, ret_reason);
    if (error < 0) {
        return error;
    }
    if (config->vcpu_count > hv_arch_max_vcpus(&kvm)) {
        return hv_reason_set(ret_reason, -EINVAL, "cpu_count",
                             "is more than KVM's interrupt controller on this host can serve");
    }
    machine = calloc(1, sizeof(*machine));
    if (!machine) {
        return -ENOMEM;
    }
    machine->loop = loop;
    machine->ops = ops;
    machine->opaque = opaque;
    machine->log = (struct hv_log){.sink = sink_log, .opaque = machine};
    machine->console = (struct hv_console_sink){
        .output = sink_output,
        .input_ready = sink_input_ready,
        .opaque = machine,
    };
    machine->kernel_fd = config->kernel_fd;
    machine->initrd_fd = config->initrd_fd;
    machine->memory_size = config->memory_size;
    machine->vcpu_count = config->vcpu_count;
    machine->kvm = kvm;
    machine->state = HV_MACHINE_CREATED;
    memcpy(machine->other_exits.name, "other", sizeof("other"));
    pthread_mutex_init(&machine->request_lock, NULL);
    pthread_mutex_init(&machine->late_write_lock, NULL);
    hv_loop_task_init(&machine->wake, serve, machine);
    machine->command_line = strdup(config->command_line);
    error = machine->command_line ? populate(machine, ret_reason) : -ENOMEM;
    if (error < 0) {
        hv_machine_destroy(machine);
        return error;
    }
    *ret_machine = machine;
    return 0;
}

int hv_machine_create(struct hv_loop *loop, const struct hv_machine_config *config,
                      const struct hv_machine_ops *ops, void *opaque,
                      struct hv_machine **ret_machine, struct hv_reason *ret_reason)
{
    struct hv_reason reason = {0};
    int error = explain(create(loop, config, ops, opaque, ret_machine, &reason), &reason);

    if (ret_reason) {
        *ret_reason = reason;
    }
    return error;
}

void hv_machine_destroy(struct hv_machine *machine)
{
    if (!machine) {
        return;
    }
    /* All at once first, so that the joins below do not wait for one kick after the other. */
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i]) {
            hv_vcpu_request_park(machine->vcpus[i]);
        }
    }
    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        hv_vcpu_destroy(machine->vcpus[i]);
    }
    hv_loop_cancel(machine->loop, &machine->wake);
    hv_kvm_fini(&machine->kvm);
    hv_arch_destroy_devices(machine->arch);
    hv_bus_destroy(machine->pio);
    hv_bus_destroy(machine->mmio);
    hv_memory_destroy(machine->memory);
    pthread_mutex_destroy(&machine->request_lock);
    pthread_mutex_destroy(&machine->late_write_lock);
    free(machine->command_line);
    free(machine);
}

int hv_machine_prepare_vcpus(struct hv_machine *machine, int (*prepare)(void *opaque), void *opaque)
{
    int error = machine->state == HV_MACHINE_CREATED ? 0 : -EALREADY;

    for (unsigned int i = 0; error == 0 && i < machine->vcpu_count; i++) {
        error = hv_vcpu_call(machine->vcpus[i], prepare, opaque);
    }
    return error;
}

/* Both buses may have a region of one name: one row for the two. Returns how many rows are left. */
static size_t merge_rows(struct hv_exit_count *rows, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        size_t same = 0;

        while (same < kept && strcmp(rows[same].name, rows[i].name) != 0) {
            same++;
        }
        if (same < kept) {
            rows[same].count += rows[i].count;
        } else {
            rows[kept++] = rows[i];
        }
    }
    return kept;
}

size_t hv_machine_exit_counts(const struct hv_machine *machine, struct hv_exit_count *rows,
                              size_t capacity)
{
    const struct hv_bus *const buses[] = {machine->pio, machine->mmio};
    size_t total = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(buses); i++) {
        if (buses[i]) {
            size_t free_rows = total < capacity ? capacity - total : 0;

            total += hv_bus_exit_counts(buses[i], free_rows ? rows + total : NULL, free_rows);
        }
    }
    if (total < capacity) {
        memcpy(rows[total].name, machine->other_exits.name, sizeof(rows[total].name));
        rows[total].count =
            atomic_load_explicit(&machine->other_exits.accesses, memory_order_relaxed);
        return merge_rows(rows, total + 1);
    }
    return total + 1;
}

const char *hv_machine_exit_name(enum hv_machine_exit exit)
{
    static const char *const names[] = {
        [HV_MACHINE_EXIT_NONE] = "none",
        [HV_MACHINE_EXIT_GUEST_POWER_OFF] = "guest-power-off",
        [HV_MACHINE_EXIT_HOST_POWER_OFF] = "host-power-off",
        [HV_MACHINE_EXIT_TRIPLE_FAULT] = "triple-fault",
        [HV_MACHINE_EXIT_INTERNAL_ERROR] = "kvm-internal-error",
        [HV_MACHINE_EXIT_ENTRY_FAILED] = "entry-failed",
        [HV_MACHINE_EXIT_UNKNOWN] = "unknown-exit",
        [HV_MACHINE_EXIT_GUEST_CRASH] = "guest-crash",
        [HV_MACHINE_EXIT_HOST_ERROR] = "host-error",
    };
    size_t index = (size_t)exit;

    return index < HV_ARRAY_SIZE(names) ? names[index] : "invalid";
}
