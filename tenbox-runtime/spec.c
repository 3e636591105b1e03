/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/machine.h"
#include "tenbox-runtime/messages.h"

static int refuse(struct rt_fault *ret_fault, int code, const char *field, const char *text)
{
    *ret_fault = (struct rt_fault){.code = code, .field = field, .text = text};
    return code;
}

void rt_spec_init(struct rt_spec *spec)
{
    *spec = (struct rt_spec){
        .kvm_fd = -1,
        .kernel_fd = -1,
        .initrd_fd = -1,
        .console_ring_fd = -1,
        .control_fd = -1,
        .log_fd = -1,
    };
}

void rt_spec_fini(struct rt_spec *spec)
{
    int *const descriptors[] = {&spec->kvm_fd,          &spec->kernel_fd,  &spec->initrd_fd,
                                &spec->console_ring_fd, &spec->control_fd, &spec->log_fd};

    for (size_t i = 0; i < HV_ARRAY_SIZE(descriptors); i++)
        hv_close_fd(descriptors[i]);
}

/* Where a descriptor of @kind belongs; NULL for a kind that this version does not know. */
static int *descriptor_slot(struct rt_spec *spec, uint8_t kind)
{
    switch (kind) {
    case RT_DESCRIPTOR_KVM: return &spec->kvm_fd;
    case RT_DESCRIPTOR_KERNEL: return &spec->kernel_fd;
    case RT_DESCRIPTOR_INITRD: return &spec->initrd_fd;
    case RT_DESCRIPTOR_CONSOLE_RING: return &spec->console_ring_fd;
    case RT_DESCRIPTOR_CONTROL: return &spec->control_fd;
    case RT_DESCRIPTOR_LOG: return &spec->log_fd;
    default: return NULL;
    }
}

/* A command line is text: what a terminal would show as text, and tabs. Bytes from 0x80 on pass, since
 * the kernel takes them too. */
static bool is_command_line(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return false;
    }
    return true;
}

static bool is_vm_id(const char *id, size_t size)
{
    size_t length = strnlen(id, size);

    if (length == 0 || length == size)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = id[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-'))
            return false;
    }
    return true;
}

static int parse_machine(const struct rt_launch *launch, struct rt_spec *spec,
                         struct rt_fault *ret_fault)
{
    if (launch->vcpu_count < 1 || launch->vcpu_count > HV_MACHINE_MAX_VCPUS)
        return refuse(ret_fault, -EINVAL, "cpu_count", "must be from 1 to 64");
    if (launch->memory_size < RT_MEMORY_MIN)
        return refuse(ret_fault, -EINVAL, "memory_mb", "must be at least 16");
    if (launch->memory_size > RT_MEMORY_MAX || launch->memory_size % (1u << 20) != 0)
        return refuse(ret_fault, -EINVAL, "memory_mb", "is out of range");
    if (spec->kvm_fd < 0)
        return refuse(ret_fault, -EBADF, "launch", "has no KVM descriptor");
    if (spec->kernel_fd < 0)
        return refuse(ret_fault, -EBADF, "launch", "has no kernel descriptor");
    if (spec->console_ring_fd < 0)
        return refuse(ret_fault, -EBADF, "launch", "has no console ring");
    if (spec->control_fd < 0)
        return refuse(ret_fault, -EBADF, "launch", "has no control socket");

    spec->vcpu_count = launch->vcpu_count;
    spec->memory_size = launch->memory_size;
    return 0;
}

static int parse_probe(const struct rt_launch *launch, const struct rt_spec *spec,
                       struct rt_fault *ret_fault)
{
    if (launch->descriptor_count != 1 || spec->kvm_fd < 0)
        return refuse(ret_fault, -EINVAL, "launch", "of a probe takes the KVM descriptor alone");
    if (launch->vcpu_count != 0 || launch->memory_size != 0 || launch->command_line_length != 0)
        return refuse(ret_fault, -EINVAL, "launch", "of a probe describes no machine");
    return 0;
}

int rt_spec_parse(const void *datagram, size_t length, int *descriptors, size_t descriptor_count,
                  struct rt_spec *ret_spec, struct rt_fault *ret_fault)
{
    struct rt_launch launch;
    struct rt_spec spec;
    const char *command_line = (const char *)datagram + sizeof(launch);
    int r;

    if (length < sizeof(launch) || length > RT_MESSAGE_MAX)
        return refuse(ret_fault, -EBADMSG, "launch", "has the wrong length");
    memcpy(&launch, datagram, sizeof(launch));
    if (launch.header.type != RT_LAUNCH || launch.magic != RT_LAUNCH_MAGIC)
        return refuse(ret_fault, -EBADMSG, "launch", "is not a launch message");
    if (rt_version_choose(launch.version_min, launch.version_max) == 0)
        return refuse(ret_fault, -EPROTONOSUPPORT, "version",
                      "of the control protocol is not spoken by this tenbox-runtime");
    if (launch.header.length != length || launch.header.flags != 0 || launch.header.serial != 0 ||
        launch.header.reserved != 0 || launch.reserved != 0)
        return refuse(ret_fault, -EBADMSG, "launch", "has a malformed header");
    if (launch.command_line_length > RT_COMMAND_LINE_MAX)
        return refuse(ret_fault, -E2BIG, "cmdline", "is longer than 2047 bytes");
    if (launch.command_line_length != length - sizeof(launch))
        return refuse(ret_fault, -EBADMSG, "launch", "has the wrong length");
    if (!is_command_line(command_line, launch.command_line_length))
        return refuse(ret_fault, -EINVAL, "cmdline", "has control characters in it");
    if (!is_vm_id(launch.vm_id, sizeof(launch.vm_id)))
        return refuse(ret_fault, -EINVAL, "id", "is not a VM id");
    if (launch.descriptor_count != descriptor_count || descriptor_count > RT_DESCRIPTORS_MAX)
        return refuse(ret_fault, -EBADF, "launch", "names other descriptors than it carries");

    rt_spec_init(&spec);
    for (size_t i = 0; i < RT_DESCRIPTORS_MAX; i++) {
        int *slot;

        if (i >= descriptor_count) {
            if (launch.descriptor_kinds[i] != 0)
                return refuse(ret_fault, -EBADF, "launch",
                              "names other descriptors than it carries");
            continue;
        }
        slot = descriptor_slot(&spec, launch.descriptor_kinds[i]);
        if (slot == NULL)
            return refuse(ret_fault, -EBADF, "launch", "has a descriptor of an unknown kind");
        if (*slot >= 0)
            return refuse(ret_fault, -EBADF, "launch", "has two descriptors of one kind");
        if (descriptors[i] < 0)
            return refuse(ret_fault, -EBADF, "launch", "has a descriptor that is none");
        *slot = descriptors[i];
    }

    switch (launch.mode) {
    case RT_MODE_MACHINE: r = parse_machine(&launch, &spec, ret_fault); break;
    case RT_MODE_PROBE: r = parse_probe(&launch, &spec, ret_fault); break;
    default: r = refuse(ret_fault, -EINVAL, "launch", "has an unknown mode"); break;
    }
    if (r < 0)
        return r;

    spec.mode = launch.mode;
    spec.version = rt_version_choose(launch.version_min, launch.version_max);
    memcpy(spec.vm_id, launch.vm_id, sizeof(spec.vm_id));
    memcpy(spec.command_line, command_line, launch.command_line_length);
    spec.command_line[launch.command_line_length] = '\0';
    for (size_t i = 0; i < descriptor_count; i++)
        descriptors[i] = -1;
    *ret_spec = spec;
    return 0;
}

static bool is_regular_file(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static bool is_character_device(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode);
}

/* A ring that its maker could still shrink would be a way to end this process by SIGBUS. */
static bool is_console_ring(int fd)
{
    const int seals_needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & seals_needed) == seals_needed && (seals & F_SEAL_WRITE) == 0 &&
           fstat(fd, &status) == 0 && status.st_size == (off_t)sizeof(struct rt_console_ring);
}

static bool is_listening_socket(int fd)
{
    int type = 0;
    int accepts = 0;
    socklen_t type_size = sizeof(type);
    socklen_t accepts_size = sizeof(accepts);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &accepts_size) == 0 && accepts != 0;
}

int rt_spec_check_descriptors(const struct rt_spec *spec, struct rt_fault *ret_fault)
{
    if (!is_character_device(spec->kvm_fd))
        return refuse(ret_fault, -ENOTTY, "kvm", "is not a character device");
    if (spec->mode == RT_MODE_PROBE)
        return 0;
    if (!is_regular_file(spec->kernel_fd))
        return refuse(ret_fault, -EINVAL, "kernel", "is not a regular file");
    if (spec->initrd_fd >= 0 && !is_regular_file(spec->initrd_fd))
        return refuse(ret_fault, -EINVAL, "initrd", "is not a regular file");
    if (!is_console_ring(spec->console_ring_fd))
        return refuse(ret_fault, -EINVAL, "launch", "has a console ring without its size or seals");
    if (!is_listening_socket(spec->control_fd))
        return refuse(ret_fault, -EINVAL, "launch", "has a control socket that does not listen");
    return 0;
}
