/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine on the host's own KVM, from hv_machine_create() to its end, with a guest of a few
 * instructions (test-machine-payload.S) wrapped as a PVH kernel: console both ways, power-off, reset
 * by guest and by host, triple fault, pause and resume, the power button through the I/O APIC,
 * ioeventfd, exit counts, destruction while the guest runs.
 *
 * Every step waits for an event of the machine. Without a KVM that runs the simplest payload, the
 * program says so and is skipped.
 */
#include "tests/hypervisor/tap.h"

#if !defined(__x86_64__)
int main(void)
{
    tap_skip_all("the payload is for x86_64; a machine on aarch64 is tried in the lab");
}
#else

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "hypervisor/kvm/ioeventfd.h"
#include "hypervisor/machine/machine-private.h"

#define HANG_LIMIT_MS  60000
#define NOTIFY_PORT    0x700
#define NOTIFY_ADDRESS UINT64_C(0xc0001000)
#define LOAD_ADDRESS   0x100000

extern const uint8_t machine_payload[], machine_payload_end[];
extern const uint8_t machine_payload_64[], machine_payload_64_end[];

struct fixture {
    struct hv_loop *loop;
    struct hv_machine *machine;
    struct hv_loop_task output_changed;
    int kvm_fd;
    int kernel_fd;
    int initrd_fd; /* -1: none */

    pthread_mutex_t lock;
    char output[256];     /* lock */
    size_t output_length; /* lock */

    unsigned int guest_resets, host_resets, pauses, invitations;
    unsigned int prepared; /* lock */
    int prepare_result;
    bool has_stopped;
    enum hv_machine_exit exit;
    uint64_t detail;
    unsigned int stop_after_resets; /* 0: never */
};

/* --- the kernel file --------------------------------------------------------------------------- */

/* The payload as an ELF with one segment and one note. */
static int make_kernel(void)
{
    const size_t code_size = (size_t)(machine_payload_end - machine_payload);
    const uint32_t note[] = {4, 4, 18, 0x006e6558 /* "Xen" */, LOAD_ADDRESS};
    struct {
        Elf64_Ehdr elf;
        Elf64_Phdr headers[2];
        uint32_t note[HV_ARRAY_SIZE(note)];
    } file = {
        .elf =
            {
                .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                .e_machine = EM_X86_64,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = 2,
            },
    };
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    file.headers[0] = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_offset = sizeof(file),
        .p_paddr = LOAD_ADDRESS,
        .p_filesz = code_size,
        .p_memsz = code_size,
    };
    file.headers[1] = (Elf64_Phdr){
        .p_type = PT_NOTE,
        .p_offset = offsetof(__typeof__(file), note),
        .p_filesz = sizeof(note),
        .p_align = 4,
    };
    memcpy(file.note, note, sizeof(note));
    if (fd < 0 || write(fd, &file, sizeof(file)) != sizeof(file) ||
        write(fd, machine_payload, code_size) != (ssize_t)code_size) {
        tap_bail("no kernel file");
    }
    return fd;
}

/* The 64-bit payload as the smallest bzImage: one setup sector, the entry at 0x200 of what follows. */
static int make_bzimage(void)
{
    const size_t code_size = (size_t)(machine_payload_64_end - machine_payload_64);
    uint8_t file[2 * 512 + 2 * 512] = {0};
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    file[0x1f1] = 1;
    hv_store_le32(file + 0x1f4, (sizeof(file) - 2 * 512) / 16);
    hv_store_le16(file + 0x1fe, 0xaa55);
    file[0x201] = 0x6a;
    memcpy(file + 0x202, "HdrS", 4);
    hv_store_le16(file + 0x206, 0x020f);
    file[0x211] = 1; /* loaded high */
    hv_store_le32(file + 0x22c, 0x7fffffff);
    hv_store_le32(file + 0x230, 0x200000);
    file[0x234] = 1; /* relocatable */
    hv_store_le16(file + 0x236, 1);
    hv_store_le32(file + 0x238, 255);
    hv_store_le64(file + 0x258, 0x400000);
    hv_store_le32(file + 0x260, 0x10000);
    memcpy(file + 2 * 512 + 0x200, machine_payload_64, code_size);
    if (code_size > 512 || fd < 0 || write(fd, file, sizeof(file)) != sizeof(file)) {
        tap_bail("no kernel file");
    }
    return fd;
}

/* An archive of nothing, filled up to 512 bytes as cpio does. */
static int make_initrd(void)
{
    static const char trailer[] = "070701000000000000000000000000000000000000000100000000"
                                  "00000000000000000000000000000000000000000000000b00000000"
                                  "TRAILER!!!";
    char file[512] = {0};
    int fd = memfd_create("initrd", MFD_CLOEXEC);

    memcpy(file, trailer, sizeof(trailer));
    if (fd < 0 || write(fd, file, sizeof(file)) != sizeof(file)) {
        tap_bail("no initrd file");
    }
    return fd;
}

/* --- the owner of the machine ------------------------------------------------------------------ */

static void console_output(void *opaque, const uint8_t *data, size_t length)
{
    struct fixture *fixture = opaque;

    pthread_mutex_lock(&fixture->lock);
    for (size_t i = 0; i < length && fixture->output_length < sizeof(fixture->output) - 1; i++) {
        fixture->output[fixture->output_length++] = (char)data[i];
    }
    pthread_mutex_unlock(&fixture->lock);
    hv_loop_post(fixture->loop, &fixture->output_changed);
}

static void console_input_ready(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->invitations++;
}

static void paused(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->pauses++;
}

static void reset_done(void *opaque, enum hv_reset_source source)
{
    struct fixture *fixture = opaque;

    if (source == HV_RESET_BY_GUEST) {
        fixture->guest_resets++;
    } else {
        fixture->host_resets++;
    }
    if (fixture->stop_after_resets && fixture->guest_resets >= fixture->stop_after_resets) {
        hv_machine_power_off(fixture->machine);
    }
}

static void stopped(void *opaque, enum hv_machine_exit exit, uint64_t detail)
{
    struct fixture *fixture = opaque;

    if (fixture->has_stopped) {
        tap_bail("a machine stopped twice");
    }
    fixture->has_stopped = true;
    fixture->exit = exit;
    fixture->detail = detail;
}

static void log_line(void *opaque, int priority, const char *line)
{
    /* One call: other threads log too. */
    printf("# log <%d> %s\n", priority, line);
}

static const struct hv_machine_ops machine_ops = {
    .console_output = console_output,
    .console_input_ready = console_input_ready,
    .paused = paused,
    .reset_done = reset_done,
    .stopped = stopped,
    .log = log_line,
};

static int prepare(void *opaque)
{
    struct fixture *fixture = opaque;

    pthread_mutex_lock(&fixture->lock);
    fixture->prepared++;
    pthread_mutex_unlock(&fixture->lock);
    return fixture->prepare_result;
}

static void nothing(void *opaque)
{
}

static int create(struct fixture *fixture, const char *command, unsigned int vcpu_count,
                  struct hv_reason *reason)
{
    const struct hv_machine_config config = {
        .kvm_fd = fixture->kvm_fd,
        .kernel_fd = fixture->kernel_fd,
        .initrd_fd = fixture->initrd_fd,
        .command_line = command,
        .memory_size = UINT64_C(16) << 20,
        .vcpu_count = vcpu_count,
    };
    int error;

    fixture->output_length = 0;
    memset(fixture->output, 0, sizeof(fixture->output));
    fixture->guest_resets = fixture->host_resets = 0;
    fixture->pauses = fixture->invitations = fixture->prepared = 0;
    fixture->stop_after_resets = 0;
    fixture->prepare_result = 0;
    fixture->has_stopped = false;
    fixture->exit = HV_MACHINE_EXIT_NONE;
    fixture->detail = 0;
    error =
        hv_machine_create(fixture->loop, &config, &machine_ops, fixture, &fixture->machine, reason);
    if (error == 0) {
        tap_is(hv_machine_prepare_vcpus(fixture->machine, prepare, fixture), 0,
               "the vCPU threads are prepared");
        tap_is(fixture->prepared, vcpu_count, "each of them once");
    }
    return error;
}

static void start(struct fixture *fixture, const char *command, unsigned int vcpu_count)
{
    struct hv_reason reason;

    if (create(fixture, command, vcpu_count, &reason) < 0 ||
        hv_machine_start(fixture->machine) < 0) {
        tap_bail(reason.text ? reason.text : "no machine");
    }
}

static void destroy(struct fixture *fixture)
{
    hv_machine_destroy(fixture->machine);
    fixture->machine = NULL;
}

/* --- waiting ----------------------------------------------------------------------------------- */

static bool has_printed(struct fixture *fixture, const char *text)
{
    bool is_there;

    pthread_mutex_lock(&fixture->lock);
    is_there = strcmp(fixture->output, text) == 0;
    pthread_mutex_unlock(&fixture->lock);
    return is_there;
}

/* Serves the loop until @condition, which only its callbacks change. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        while (!(condition)) {                                                                     \
            struct timespec before_, after_;                                                       \
            clock_gettime(CLOCK_MONOTONIC, &before_);                                              \
            hv_loop_run_once(fixture->loop, HANG_LIMIT_MS);                                        \
            clock_gettime(CLOCK_MONOTONIC, &after_);                                               \
            if (after_.tv_sec - before_.tv_sec >= HANG_LIMIT_MS / 1000) {                          \
                tap_bail("nothing happened for a minute, waiting for " #condition);                \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static uint64_t count_of(const struct fixture *fixture, const char *name)
{
    struct hv_exit_count rows[64];
    size_t count = hv_machine_exit_counts(fixture->machine, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].count;
        }
    }
    return 0;
}

/* --- tests ------------------------------------------------------------------------------------- */

static void test_power_off(struct fixture *fixture)
{
    start(fixture, "o", 1);
    tap_is(hv_machine_start(fixture->machine), -EALREADY, "a machine starts once");
    tap_is(hv_machine_prepare_vcpus(fixture->machine, prepare, fixture), -EALREADY,
           "and is prepared before that");
    WAIT_FOR(fixture->has_stopped);
    tap_is(fixture->exit, HV_MACHINE_EXIT_GUEST_POWER_OFF, "the guest switches itself off");
    tap_ok(has_printed(fixture, "off"), "after it said so, and not an instruction later: \"%s\"",
           fixture->output);
    tap_is(count_of(fixture, "serial-data"), 3, "three exits for three bytes");
    tap_is(count_of(fixture, "power"), 1, "one for the sleep register");
    tap_is(count_of(fixture, "unassigned-pio") + count_of(fixture, "unassigned-mmio"), 0,
           "none that went nowhere");
    tap_is(fixture->prepared, 1, "the vCPU was prepared once");
    tap_is(hv_machine_pause(fixture->machine), -EBUSY, "a stopped machine cannot be paused");
    tap_is(hv_machine_resume(fixture->machine), -EBUSY, "nor resumed");
    tap_is(hv_machine_reset(fixture->machine), -EBUSY, "nor reset");
    tap_is(hv_machine_press_power_button(fixture->machine), -EBUSY, "nor has it a button");
    destroy(fixture);
}

static void test_guest_reset(struct fixture *fixture)
{
    start(fixture, "r", 2);
    fixture->stop_after_resets = 10;
    WAIT_FOR(fixture->has_stopped);
    tap_is(fixture->exit, HV_MACHINE_EXIT_HOST_POWER_OFF, "ten resets, then the host's power-off");
    tap_is(fixture->guest_resets, 10, "each is reported");
    tap_ok(strncmp(fixture->output, "0000000000", 10) == 0 && !strchr(fixture->output, '1') &&
               !strchr(fixture->output, 'X'),
           "RAM is new each time: \"%s\"", fixture->output);
    tap_is(fixture->prepared, 2, "each of two vCPU threads was prepared once");
    destroy(fixture);
}

static void test_triple_fault(struct fixture *fixture)
{
    start(fixture, "t", 1);
    WAIT_FOR(fixture->has_stopped);
    if (fixture->exit == HV_MACHINE_EXIT_INTERNAL_ERROR) {
        tap_skip("this KVM calls a triple fault an internal error");
    } else {
        tap_is(fixture->exit, HV_MACHINE_EXIT_TRIPLE_FAULT, "a triple fault is no reboot");
    }
    tap_ok(strcmp(hv_machine_exit_name(fixture->exit), "invalid") != 0, "it has a name: %s",
           hv_machine_exit_name(fixture->exit));
    destroy(fixture);
}

static void test_pause(struct fixture *fixture)
{
    start(fixture, "s", 2);
    WAIT_FOR(has_printed(fixture, "s"));
    tap_is(hv_machine_pause(fixture->machine), 0, "a guest that never exits can be paused");
    tap_is(hv_machine_pause(fixture->machine), -EALREADY, "once");
    tap_is(hv_machine_resume(fixture->machine), -EBUSY, "and not resumed before it is");
    WAIT_FOR(fixture->pauses == 1);
    tap_is(hv_machine_press_power_button(fixture->machine), -EBUSY, "nobody sees its button");
    tap_is(hv_machine_resume(fixture->machine), 0, "it goes on");
    tap_is(hv_machine_resume(fixture->machine), -EALREADY, "once");
    tap_is(hv_machine_reset(fixture->machine), 0, "the host resets it");
    WAIT_FOR(fixture->host_resets == 1 && has_printed(fixture, "ss"));
    tap_ok(true, "it begins anew");
    hv_machine_pause(fixture->machine);
    hv_machine_reset(fixture->machine);
    WAIT_FOR(fixture->pauses == 2 && fixture->host_resets == 2);
    tap_ok(has_printed(fixture, "ss"), "a reset while pausing leaves it paused");
    hv_machine_reset(fixture->machine);
    WAIT_FOR(fixture->host_resets == 3);
    tap_ok(fixture->pauses == 2 && has_printed(fixture, "ss"), "so does one of a paused machine");
    hv_machine_resume(fixture->machine);
    WAIT_FOR(has_printed(fixture, "sss"));
    hv_machine_pause(fixture->machine);
    WAIT_FOR(fixture->pauses == 3);
    hv_machine_power_off(fixture->machine);
    hv_machine_power_off(fixture->machine);
    WAIT_FOR(fixture->has_stopped);
    tap_is(fixture->exit, HV_MACHINE_EXIT_HOST_POWER_OFF, "a paused machine can be switched off");
    destroy(fixture);
}

static void test_pause_often(struct fixture *fixture)
{
    unsigned int cycles = 200;

    start(fixture, "s", 2);
    for (unsigned int i = 0; i < cycles; i++) {
        hv_machine_pause(fixture->machine);
        WAIT_FOR(fixture->pauses == i + 1);
        hv_machine_resume(fixture->machine);
    }
    tap_is(fixture->pauses, cycles, "no kick is lost in %u rounds", cycles);
    destroy(fixture);
    tap_ok(!fixture->has_stopped, "destruction stops a running guest without a word");
}

static void test_input(struct fixture *fixture)
{
    start(fixture, "e", 1);
    WAIT_FOR(has_printed(fixture, ">"));
    hv_machine_console_input(fixture->machine, (const uint8_t *)"abc", 3);
    WAIT_FOR(has_printed(fixture, ">abc"));
    hv_machine_console_input(fixture->machine, (const uint8_t *)"dq", 2);
    WAIT_FOR(fixture->has_stopped);
    tap_ok(has_printed(fixture, ">abcd"), "the guest reads what the host types: \"%s\"",
           fixture->output);
    destroy(fixture);
}

static void test_string_output(struct fixture *fixture)
{
    start(fixture, "w", 1);
    WAIT_FOR(fixture->has_stopped);
    tap_ok(has_printed(fixture, "text"), "a string instruction sends each byte: \"%s\"",
           fixture->output);
    destroy(fixture);
}

static void test_button(struct fixture *fixture)
{
    start(fixture, "b", 1);
    WAIT_FOR(has_printed(fixture, "b"));
    tap_is(hv_machine_press_power_button(fixture->machine), 0, "the power button");
    WAIT_FOR(fixture->has_stopped);
    tap_ok(fixture->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF && has_printed(fixture, "bp"),
           "interrupts a halted guest: \"%s\", %s", fixture->output,
           hv_machine_exit_name(fixture->exit));
    destroy(fixture);
}

static void prints(struct fixture *fixture, const char *command, const char *expected,
                   const char *what)
{
    start(fixture, command, 1);
    WAIT_FOR(fixture->has_stopped);
    tap_ok(has_printed(fixture, expected), "%s: \"%s\", %s", what, fixture->output,
           hv_machine_exit_name(fixture->exit));
}

static void test_host_bridge(struct fixture *fixture)
{
    prints(fixture, "m", "m", "accesses to memory reach the host bridge");
    tap_is(count_of(fixture, "pci-config"), 3, "an exit each");
    tap_is(count_of(fixture, "pci-window"), 2, "those to an empty window too");
    destroy(fixture);

    prints(fixture, "c", "c", "a scan by ports finds it");
    if (fixture->machine->kvm.write_ring_offset == 0) {
        tap_skip("this KVM keeps no port writes back");
    } else {
        tap_is(count_of(fixture, "pci-config"), 5, "writes of the address are no exits");
    }
    destroy(fixture);
}

static void test_entries(struct fixture *fixture)
{
    int pvh = fixture->kernel_fd;

    prints(fixture, "i", "i", "a PVH kernel finds its start info");
    destroy(fixture);

    fixture->kernel_fd = make_bzimage();
    fixture->initrd_fd = make_initrd();
    prints(fixture, "k", "k", "a bzImage begins in 64-bit mode and finds what boot_params says");
    destroy(fixture);
    hv_close_fd(&fixture->initrd_fd);
    close(fixture->kernel_fd);
    fixture->kernel_fd = pvh;
}

static void test_notification(struct fixture *fixture)
{
    struct hv_ioeventfd port, memory;
    const uint64_t seven = 7;
    struct hv_reason reason;

    if (create(fixture, "n", 1, &reason) < 0 || hv_ioeventfd_init(&port) < 0 ||
        hv_ioeventfd_init(&memory) < 0) {
        tap_bail("no machine");
    }
    tap_is(hv_ioeventfd_attach(&port, &fixture->machine->kvm, true, NOTIFY_PORT, 4, &seven), 0,
           "a value written to a port");
    tap_is(hv_ioeventfd_attach(&memory, &fixture->machine->kvm, false, NOTIFY_ADDRESS, 4, NULL), 0,
           "and any write to an address become events");
    tap_is(hv_ioeventfd_attach(&memory, &fixture->machine->kvm, false, NOTIFY_ADDRESS, 4, NULL),
           -EBUSY, "once");
    hv_machine_start(fixture->machine);
    WAIT_FOR(fixture->has_stopped);
    tap_is(hv_ioeventfd_take(&port), 2, "two writes of the value");
    tap_is(count_of(fixture, "unassigned-pio"), 1, "the other one is an exit");
    tap_is(hv_ioeventfd_take(&memory), 1, "one write to memory");
    tap_is(count_of(fixture, "pci-window"), 0, "without an exit");
    tap_is(hv_ioeventfd_take(&memory), 0, "what was taken is gone");
    tap_is(hv_ioeventfd_detach(&port, &fixture->machine->kvm), 0, "an event is detached");
    tap_is(hv_ioeventfd_detach(&port, &fixture->machine->kvm), -ENOENT, "once");
    destroy(fixture);
    hv_ioeventfd_forget(&memory);
    hv_ioeventfd_fini(&port);
    hv_ioeventfd_fini(&memory);
}

static void test_preparation(struct fixture *fixture)
{
    struct hv_reason reason;

    if (create(fixture, "o", 2, &reason) < 0) {
        tap_bail("no machine");
    }
    fixture->prepare_result = -EPERM;
    fixture->prepared = 0;
    tap_is(hv_machine_prepare_vcpus(fixture->machine, prepare, fixture), -EPERM,
           "what a vCPU's thread refuses is told");
    tap_is(fixture->prepared, 1, "and the next one is not asked");
    hv_machine_power_off(fixture->machine);
    WAIT_FOR(fixture->has_stopped);
    tap_is(fixture->exit, HV_MACHINE_EXIT_HOST_POWER_OFF,
           "a machine that never started can be switched off");
    destroy(fixture);
}

/* --- refusals ---------------------------------------------------------------------------------- */

static void refused(struct fixture *fixture, const struct hv_machine_config *config, int error,
                    const char *field, const char *what)
{
    struct hv_machine *machine = NULL;
    struct hv_reason reason = {0};
    int result = hv_machine_create(fixture->loop, config, &machine_ops, fixture, &machine, &reason);

    tap_ok(result == error && reason.field && strcmp(reason.field, field) == 0 && reason.text &&
               !machine,
           "%s: refused (%d), %s: %s", what, result, reason.field ? reason.field : "?",
           reason.text ? reason.text : "?");
    hv_machine_destroy(machine);
}

static void test_refusals(struct fixture *fixture)
{
    HV_AUTO_FD int empty = memfd_create("empty", MFD_CLOEXEC);
    HV_AUTO_FD int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct hv_machine_config good = {
        .kvm_fd = fixture->kvm_fd,
        .kernel_fd = fixture->kernel_fd,
        .initrd_fd = -1,
        .command_line = "o",
        .memory_size = UINT64_C(16) << 20,
        .vcpu_count = 1,
    };
    struct hv_machine_config config;
    char line[HV_MACHINE_MAX_COMMAND_LINE + 2];

    config = good;
    config.vcpu_count = 0;
    refused(fixture, &config, -EINVAL, "cpu_count", "no vCPUs");
    config.vcpu_count = HV_MACHINE_MAX_VCPUS + 1;
    refused(fixture, &config, -EINVAL, "cpu_count", "65 vCPUs");
    config = good;
    config.memory_size = 0;
    refused(fixture, &config, -EINVAL, "memory_mb", "no memory");
    config.memory_size = UINT64_C(1) << 20;
    refused(fixture, &config, -EINVAL, "memory_mb", "too little memory");
    config.memory_size = UINT64_C(1) << 50;
    refused(fixture, &config, -ENOMEM, "memory_mb", "more memory than there is");
    config = good;
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    config.command_line = line;
    refused(fixture, &config, -EINVAL, "cmdline", "a long command line");
    config = good;
    config.kernel_fd = empty;
    refused(fixture, &config, -EINVAL, "kernel", "an empty kernel");
    config.kernel_fd = folder;
    refused(fixture, &config, -EINVAL, "kernel", "a folder as kernel");
    config = good;
    config.initrd_fd = empty;
    refused(fixture, &config, -EINVAL, "initrd", "an empty initrd");
    config = good;
    config.kvm_fd = empty;
    refused(fixture, &config, -ENODEV, "kvm", "a file as KVM");
}

/* --- leaks ------------------------------------------------------------------------------------- */

static unsigned int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned int count = 0;

    if (!folder) {
        tap_bail("no /proc");
    }
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

/* Mappings of guest memory and of KVM's vCPUs. */
static unsigned int count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned int count = 0;
    char line[512];

    if (!maps) {
        tap_bail("no /proc");
    }
    while (fgets(line, sizeof(line), maps)) {
        count += strstr(line, "tenbox-guest-memory") || strstr(line, "kvm-vcpu");
    }
    fclose(maps);
    return count;
}

static void test_cycles(struct fixture *fixture)
{
    unsigned int before = count_descriptors(), mapped = 0;

    for (unsigned int i = 0; i < 50; i++) {
        /* To its end, destroyed in the middle of it, never started. */
        if (i % 3 == 0) {
            start(fixture, "o", 1 + i % 4);
            WAIT_FOR(fixture->has_stopped);
        } else if (i % 3 == 1) {
            start(fixture, "s", 1 + i % 4);
        } else {
            struct hv_reason reason;

            if (create(fixture, "s", 1, &reason) < 0) {
                tap_bail(reason.text ? reason.text : "no machine");
            }
        }
        mapped += count_mappings() > 0;
        destroy(fixture);
    }
    tap_is(mapped, 50, "fifty machines have had their memory");
    tap_is(count_descriptors(), before, "they leave no descriptor");
    tap_is(count_mappings(), 0, "and no mapping");
}

/* Whether this KVM gets through the simplest payload; bails out with the reason otherwise. */
static void require_kvm(struct fixture *fixture)
{
    struct hv_reason reason = {0};
    int error;

    fixture->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fixture->kvm_fd < 0) {
        tap_skip_all("/dev/kvm cannot be opened");
    }
    error = create(fixture, "o", 1, &reason);
    if (error == -ENODEV) {
        tap_skip_all(reason.text);
    }
    if (error < 0) {
        tap_bail(reason.text ? reason.text : "no machine");
    }
    hv_machine_start(fixture->machine);
    WAIT_FOR(fixture->has_stopped);
    if (fixture->exit != HV_MACHINE_EXIT_GUEST_POWER_OFF) {
        tap_skip_all("this KVM does not run a few instructions without paging");
    }
    destroy(fixture);
}

int main(void)
{
    struct fixture context = {.lock = PTHREAD_MUTEX_INITIALIZER, .initrd_fd = -1};
    struct fixture *fixture = &context;

    if (hv_loop_create(&fixture->loop) < 0) {
        tap_bail("no loop");
    }
    hv_loop_task_init(&fixture->output_changed, nothing, NULL);
    fixture->kernel_fd = make_kernel();
    require_kvm(fixture);
    test_power_off(fixture);
    test_guest_reset(fixture);
    test_triple_fault(fixture);
    test_pause(fixture);
    test_pause_often(fixture);
    test_input(fixture);
    test_string_output(fixture);
    test_button(fixture);
    test_host_bridge(fixture);
    test_entries(fixture);
    test_notification(fixture);
    test_preparation(fixture);
    test_refusals(fixture);
    test_cycles(fixture);
    hv_loop_destroy(fixture->loop);
    close(fixture->kernel_fd);
    close(fixture->kvm_fd);
    return tap_done();
}
#endif
