/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The launch message: what is accepted, and that each single fault is refused under its own name with
 * no descriptor moved.
 */
#include "tenbox-runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

#define DESCRIPTOR_COUNT 5

struct sample {
    union {
        struct rt_launch launch;
        uint8_t bytes[RT_MESSAGE_MAX + 64];
    };
    size_t length;
    int descriptors[RT_DESCRIPTORS_MAX];
    size_t descriptor_count;
};

/* A good launch; descriptor numbers are made up, since parsing must not touch them. */
static struct sample good_sample(void)
{
    static const uint8_t kinds[DESCRIPTOR_COUNT] = {
        RT_DESCRIPTOR_KVM,          RT_DESCRIPTOR_KERNEL,  RT_DESCRIPTOR_INITRD,
        RT_DESCRIPTOR_CONSOLE_RING, RT_DESCRIPTOR_CONTROL,
    };
    static const char command_line[] = "console=ttyS0 quiet";
    struct sample sample = {0};

    sample.launch = (struct rt_launch){
        .magic = RT_LAUNCH_MAGIC,
        .version_min = RT_PROTOCOL_VERSION_MIN,
        .version_max = RT_PROTOCOL_VERSION,
        .vcpu_count = 2,
        .memory_size = 512ull << 20,
        .descriptor_count = DESCRIPTOR_COUNT,
        .command_line_length = sizeof(command_line) - 1,
        .vm_id = "0e0f7a1c-3d55-4a7e-9a52-6f2d0c0d9a11",
    };
    memcpy(sample.launch.descriptor_kinds, kinds, sizeof(kinds));
    memcpy(sample.bytes + sizeof(sample.launch), command_line, sizeof(command_line) - 1);
    sample.length = sizeof(sample.launch) + sizeof(command_line) - 1;
    sample.launch.header.type = RT_LAUNCH;
    sample.launch.header.length = (uint32_t)sample.length;
    sample.descriptor_count = DESCRIPTOR_COUNT;
    for (int i = 0; i < DESCRIPTOR_COUNT; i++)
        sample.descriptors[i] = 1000 + i;
    return sample;
}

static int parse(struct sample *sample, struct rt_spec *ret_spec, struct rt_fault *ret_fault)
{
    *ret_fault = (struct rt_fault){0};
    return rt_spec_parse(sample->bytes, sample->length, sample->descriptors,
                         sample->descriptor_count, ret_spec, ret_fault);
}

/* Expects a refusal that names @field, and nothing moved. */
static void expect_refusal(const char *what, struct sample *sample, int code, const char *field)
{
    struct sample before = *sample;
    struct rt_spec spec = {.version = 77};
    struct rt_fault fault;
    int r = parse(sample, &spec, &fault);

    tap_ok(r == code && fault.code == code && fault.field != NULL &&
               strcmp(fault.field, field) == 0 && fault.text != NULL && spec.version == 77 &&
               memcmp(&before, sample, sizeof(before)) == 0,
           "%s is refused: %s: %s (%d)", what, fault.field ? fault.field : "?",
           fault.text ? fault.text : "?", r);
}

static void test_good(void)
{
    struct sample sample = good_sample();
    struct rt_fault fault;
    struct rt_spec spec;
    bool all_taken = true;

    tap_ok(parse(&sample, &spec, &fault) == 0, "a good launch is accepted");
    tap_ok(spec.kvm_fd == 1000 && spec.kernel_fd == 1001 && spec.initrd_fd == 1002 &&
               spec.console_ring_fd == 1003 && spec.control_fd == 1004 && spec.log_fd == -1,
           "each descriptor is where its kind says");
    tap_ok(strcmp(spec.command_line, "console=ttyS0 quiet") == 0 && spec.vcpu_count == 2 &&
               spec.memory_size == 512ull << 20 && spec.mode == RT_MODE_MACHINE,
           "numbers and command line arrive");
    for (int i = 0; i < DESCRIPTOR_COUNT; i++)
        all_taken = all_taken && sample.descriptors[i] == -1;
    tap_ok(all_taken, "the descriptors have moved");

    sample = good_sample();
    sample.launch.version_max = RT_PROTOCOL_VERSION + 5;
    tap_ok(parse(&sample, &spec, &fault) == 0 && spec.version == RT_PROTOCOL_VERSION,
           "a newer controller is met at our version");
}

static void test_numbers(void)
{
    static const struct {
        const char *what;
        uint32_t vcpu_count;
        uint64_t memory_size;
        const char *field;
    } rows[] = {
        {"no vCPU", 0, 64ull << 20, "cpu_count"},
        {"65 vCPUs", 65, 64ull << 20, "cpu_count"},
        {"no memory", 1, 0, "memory_mb"},
        {"15 MiB", 1, 15ull << 20, "memory_mb"},
        {"half a MiB too much", 1, (64ull << 20) + (1u << 19), "memory_mb"},
        {"all memory there is", 1, UINT64_MAX, "memory_mb"},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct sample sample = good_sample();

        sample.launch.vcpu_count = rows[i].vcpu_count;
        sample.launch.memory_size = rows[i].memory_size;
        expect_refusal(rows[i].what, &sample, -EINVAL, rows[i].field);
    }
}

static void test_lengths(void)
{
    struct sample sample = good_sample();

    sample.length = sizeof(struct rt_launch) - 1;
    expect_refusal("a short datagram", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.length = 0;
    expect_refusal("an empty datagram", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.header.length++;
    expect_refusal("a header that counts a byte more", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.command_line_length--;
    expect_refusal("a command line that counts a byte less", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.command_line_length = UINT32_MAX;
    expect_refusal("a command line of 4 GiB", &sample, -E2BIG, "cmdline");
    sample = good_sample();
    sample.launch.command_line_length = RT_COMMAND_LINE_MAX + 1;
    expect_refusal("a command line one byte too long", &sample, -E2BIG, "cmdline");
    sample = good_sample();
    sample.length = RT_MESSAGE_MAX + 1;
    expect_refusal("a datagram beyond the largest", &sample, -EBADMSG, "launch");
}

static void test_text(void)
{
    struct sample sample = good_sample();

    sample.bytes[sizeof(struct rt_launch) + 3] = '\0';
    expect_refusal("a NUL in the command line", &sample, -EINVAL, "cmdline");
    sample = good_sample();
    sample.bytes[sizeof(struct rt_launch) + 3] = '\n';
    expect_refusal("a newline in the command line", &sample, -EINVAL, "cmdline");
    sample = good_sample();
    memset(sample.launch.vm_id, 'a', sizeof(sample.launch.vm_id));
    expect_refusal("an id without its NUL", &sample, -EINVAL, "id");
    sample = good_sample();
    sample.launch.vm_id[2] = '/';
    expect_refusal("an id with a slash", &sample, -EINVAL, "id");
}

static void test_header(void)
{
    struct sample sample = good_sample();

    sample.launch.magic ^= 1;
    expect_refusal("a wrong magic number", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.header.type = RT_HELLO;
    expect_refusal("another type", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.reserved = 1;
    expect_refusal("a reserved field in use", &sample, -EBADMSG, "launch");
    sample = good_sample();
    sample.launch.version_min = sample.launch.version_max = RT_PROTOCOL_VERSION + 1;
    expect_refusal("a version of the future alone", &sample, -EPROTONOSUPPORT, "version");
    sample = good_sample();
    sample.launch.version_min = 2;
    sample.launch.version_max = 1;
    expect_refusal("a version range upside down", &sample, -EPROTONOSUPPORT, "version");
    sample = good_sample();
    sample.launch.mode = 9;
    expect_refusal("an unknown mode", &sample, -EINVAL, "launch");
}

static void test_descriptors(void)
{
    struct sample sample = good_sample();

    sample.descriptor_count--;
    expect_refusal("a missing descriptor", &sample, -EBADF, "launch");
    sample = good_sample();
    sample.launch.descriptor_kinds[1] = RT_DESCRIPTOR_KVM;
    expect_refusal("two descriptors of a kind", &sample, -EBADF, "launch");
    sample = good_sample();
    sample.launch.descriptor_kinds[1] = 200;
    expect_refusal("a descriptor of unknown kind", &sample, -EBADF, "launch");
    sample = good_sample();
    sample.launch.descriptor_kinds[DESCRIPTOR_COUNT] = RT_DESCRIPTOR_LOG;
    expect_refusal("a kind beyond the count", &sample, -EBADF, "launch");
    sample = good_sample();
    sample.launch.descriptor_kinds[1] = RT_DESCRIPTOR_LOG;
    expect_refusal("no kernel", &sample, -EBADF, "launch");
    sample = good_sample();
    sample.launch.mode = RT_MODE_PROBE;
    expect_refusal("a probe with a machine's descriptors", &sample, -EINVAL, "launch");
}

/* What the descriptors are is looked at, not believed. */
static void test_descriptor_types(void)
{
    HV_AUTO_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    HV_AUTO_FD int file_fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    HV_AUTO_FD int ring_fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    HV_AUTO_FD int socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct rt_fault fault = {0};
    struct rt_spec spec;

    rt_spec_init(&spec);
    spec.kvm_fd = null_fd;
    spec.kernel_fd = file_fd;
    spec.console_ring_fd = ring_fd;
    spec.control_fd = socket_fd;
    tap_ok(rt_spec_check_descriptors(&spec, &fault) == -EINVAL && strstr(fault.text, "ring"),
           "a console ring of the wrong size is refused");
    if (ftruncate(ring_fd, sizeof(struct rt_console_ring)) < 0)
        tap_bail("ftruncate");
    tap_ok(rt_spec_check_descriptors(&spec, &fault) == -EINVAL && strstr(fault.text, "ring"),
           "a console ring without seals is refused");
    if (fcntl(ring_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        tap_bail("F_ADD_SEALS");
    tap_ok(rt_spec_check_descriptors(&spec, &fault) == -EINVAL && strstr(fault.text, "listen"),
           "a control socket that does not listen is refused");
    if (listen(socket_fd, 1) < 0) {
        struct sockaddr address = {.sa_family = AF_UNIX};

        if (bind(socket_fd, &address, sizeof(sa_family_t)) < 0 || listen(socket_fd, 1) < 0)
            tap_bail("listen");
    }
    tap_ok(rt_spec_check_descriptors(&spec, &fault) == 0, "the right types pass");
    spec.kernel_fd = null_fd;
    tap_ok(rt_spec_check_descriptors(&spec, &fault) == -EINVAL &&
               strcmp(fault.field, "kernel") == 0,
           "a device as kernel is refused by name");
}

int main(void)
{
    test_good();
    test_numbers();
    test_lengths();
    test_text();
    test_header();
    test_descriptors();
    test_descriptor_types();
    return tap_done();
}
