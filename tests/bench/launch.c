/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs one tenbox-runtime without a daemon, so that a benchmark measures the runtime alone.
 *
 *   launch RUNTIME KERNEL INITRD MEMORY-MIB VCPUS COMMAND-LINE [UNTIL]
 *
 * The guest's console goes to standard output. When the machine has stopped, its exits to user space
 * and the reason go to standard error, as "exits NAME COUNT" and "stopped REASON"; the exit status is
 * 0 when the guest switched itself off. With UNTIL, the exits are asked for as soon as that text has
 * appeared on the console, followed by "until reached"; the machine is switched off when standard
 * input ends.
 *
 * It is a controller as tenbox-runtime/control-protocol.h describes one, reduced to the least.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tenbox-runtime/control-protocol.h"

struct launch {
    int socket;
    const struct rt_console_ring *ring;
    uint64_t shown; /* of the ring's bytes */
    uint32_t serial;
    const char *until; /* NULL: nothing is waited for, or it has come */
    size_t matched;
};

static void die(const char *what)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        die(path);
    return fd;
}

static void request(struct launch *launch, enum rt_message_type type, bool serial)
{
    struct rt_header header = {
        .type = (uint16_t)type,
        .length = sizeof(header),
        .serial = serial ? ++launch->serial : 0,
    };

    if (send(launch->socket, &header, sizeof(header), MSG_NOSIGNAL) < 0 && errno != EPIPE)
        die("send");
}

static int make_ring(struct launch *launch)
{
    int fd = memfd_create("console", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *ring;

    if (fd < 0 || ftruncate(fd, sizeof(struct rt_console_ring)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        die("console ring");
    ring = mmap(NULL, sizeof(struct rt_console_ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED)
        die("console ring");
    launch->ring = ring;
    return fd;
}

static void send_launch(struct launch *launch, char **argv)
{
    static const uint8_t kinds[] = {RT_DESCRIPTOR_KVM, RT_DESCRIPTOR_KERNEL, RT_DESCRIPTOR_INITRD,
                                    RT_DESCRIPTOR_CONSOLE_RING, RT_DESCRIPTOR_CONTROL};
    int descriptors[sizeof(kinds)];
    union {
        char bytes[CMSG_SPACE(sizeof(descriptors))];
        struct cmsghdr aligned;
    } control = {0};
    size_t length = strlen(argv[6]);
    struct rt_launch message = {
        .header = {.type = RT_LAUNCH, .length = (uint32_t)(sizeof(message) + length)},
        .magic = RT_LAUNCH_MAGIC,
        .version_min = RT_PROTOCOL_VERSION_MIN,
        .version_max = RT_PROTOCOL_VERSION,
        .vcpu_count = (uint32_t)strtoul(argv[5], NULL, 10),
        .memory_size = strtoull(argv[4], NULL, 10) << 20,
        .descriptor_count = sizeof(kinds),
        .command_line_length = (uint32_t)length,
        .vm_id = "00000000-0000-4000-8000-000000000000",
        .mode = RT_MODE_MACHINE,
    };
    struct iovec parts[] = {{&message, sizeof(message)}, {argv[6], length}};
    struct msghdr envelope = {
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&envelope);

    memcpy(message.descriptor_kinds, kinds, sizeof(kinds));
    descriptors[0] = open_file("/dev/kvm", O_RDWR);
    descriptors[1] = open_file(argv[2], O_RDONLY);
    descriptors[2] = open_file(argv[3], O_RDONLY);
    descriptors[3] = make_ring(launch);
    descriptors[4] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptors[4] < 0 || listen(descriptors[4], 1) < 0) {
        /* It needs an address to listen; an abstract one is picked by the kernel. */
        sa_family_t family = AF_UNIX;

        if (bind(descriptors[4], (struct sockaddr *)&family, sizeof(family)) < 0 ||
            listen(descriptors[4], 1) < 0)
            die("control socket");
    }
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(descriptors));
    memcpy(CMSG_DATA(rights), descriptors, sizeof(descriptors));
    if (sendmsg(launch->socket, &envelope, MSG_NOSIGNAL) < 0)
        die("launch message");
    for (size_t i = 0; i < sizeof(kinds); i++)
        close(descriptors[i]);
}

/* Shows what is new in the ring, and notices @until. */
static void show_console(struct launch *launch)
{
    uint64_t position = __atomic_load_n(&launch->ring->position, __ATOMIC_ACQUIRE);

    if (position - launch->shown > RT_CONSOLE_RING_SIZE)
        launch->shown = position - RT_CONSOLE_RING_SIZE;
    for (; launch->shown != position; launch->shown++) {
        char byte = (char)launch->ring->data[launch->shown % RT_CONSOLE_RING_SIZE];

        putchar(byte);
        if (launch->until == NULL)
            continue;
        launch->matched =
            byte == launch->until[launch->matched] ? launch->matched + 1 : byte == launch->until[0];
        if (launch->until[launch->matched] == '\0') {
            launch->until = NULL;
            request(launch, RT_GET_STATISTICS, true);
        }
    }
    fflush(stdout);
}

static void show_statistics(const struct rt_statistics *statistics)
{
    for (uint32_t i = 0; i < statistics->row_count && i < RT_STATISTICS_ROWS_MAX; i++)
        fprintf(stderr, "exits %.24s %llu\n", statistics->rows[i].name,
                (unsigned long long)statistics->rows[i].count);
}

/* Returns the exit status once the machine has stopped, -1 before. */
static int receive(struct launch *launch, bool waits)
{
    union {
        uint8_t bytes[RT_MESSAGE_MAX];
        struct rt_header header;
        struct rt_refused refused;
        struct rt_state state;
        struct rt_statistics statistics;
    } message;
    ssize_t length = recv(launch->socket, &message, sizeof(message), 0);

    if (length < (ssize_t)sizeof(message.header)) {
        fputs("launch: the runtime has gone without a word\n", stderr);
        return 2;
    }
    switch (message.header.type) {
    case RT_REFUSED:
        fprintf(stderr, "refused %.28s: %.512s\n", message.refused.field, message.refused.text);
        return 1;
    case RT_STATE:
        if (message.state.state == RT_STATE_CREATED)
            request(launch, RT_START, true);
        if (message.state.state == RT_STATE_STOPPED) {
            show_console(launch);
            fprintf(stderr, "stopped %.32s\n", message.state.exit_name);
            return strcmp(message.state.exit_name, "guest-power-off") == 0 ||
                           (waits && strcmp(message.state.exit_name, "host-power-off") == 0)
                       ? 0
                       : 1;
        }
        break;
    case RT_CONSOLE_OUTPUT:
        show_console(launch);
        request(launch, RT_CONSOLE_SEEN, false);
        break;
    case RT_STATISTICS:
        show_statistics(&message.statistics);
        if (waits)
            fputs("until reached\n", stderr);
        break;
    default: break;
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct launch launch = {0};
    bool waits = argc == 8, input_open = waits;
    int ends[2], status = -1;
    pid_t pid;

    if (argc != 7 && argc != 8) {
        fputs("usage: launch RUNTIME KERNEL INITRD MEMORY-MIB VCPUS COMMAND-LINE [UNTIL]\n",
              stderr);
        return 2;
    }
    launch.until = waits ? argv[7] : NULL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        char *arguments[] = {argv[1], NULL}, *environment[] = {NULL};

        if (ends[1] == RT_LAUNCH_DESCRIPTOR)
            fcntl(ends[1], F_SETFD, 0);
        else
            dup2(ends[1], RT_LAUNCH_DESCRIPTOR);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execve(argv[1], arguments, environment);
        die(argv[1]);
    }
    close(ends[1]);
    launch.socket = ends[0];
    send_launch(&launch, argv);
    while (status < 0) {
        struct pollfd polls[] = {
            {.fd = launch.socket, .events = POLLIN},
            {.fd = input_open ? STDIN_FILENO : -1, .events = POLLIN},
        };
        char scratch[64];

        if (poll(polls, 2, -1) < 0)
            die("poll");
        if (polls[1].revents != 0 && read(STDIN_FILENO, scratch, sizeof(scratch)) <= 0) {
            input_open = false;
            request(&launch, RT_POWER_OFF, true);
        }
        if (polls[0].revents != 0)
            status = receive(&launch, waits);
    }
    waitpid(pid, NULL, 0);
    return status;
}
