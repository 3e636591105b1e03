/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tenbox-runtime without a machine: it speaks the control protocol and plays a guest, so that the local
 * driver can be tested on hosts without KVM, including everything a real guest does once in a year.
 *
 * Theory of operation. TENBOX_RUNTIME names this program, the driver spawns it like the real one. Two
 * things tell it how to behave, neither of them a clock:
 *
 * Words of the kernel command line, for what happens before the guest "runs" and for its habits:
 *   refuse=FIELD,ERRNO,TEXT   answer the launch with RT_REFUSED (underscores of TEXT become spaces)
 *   launch-signal=N           end by signal N instead of answering the launch
 *   launch-exit=N             exit with status N instead of answering the launch
 *   launch-hang               never answer the launch
 *   launch-garbage            answer the launch with a malformed datagram
 *   start-hang                accept RT_START, say so on the console, run after @run
 *   start-signal=N            run, then end by signal N
 *   start-triple-fault        run, then stop with the exit reason "triple-fault"
 *   burst=N                   print N bytes when the guest begins to run
 *   ignore-button             the guest sleeps through the power button
 *   ignore-off                ignores RT_POWER_OFF (a wedged runtime: only SIGKILL helps)
 *   ignore-pause              accepts RT_PAUSE, pauses after @park
 *   ignore-resume             accepts RT_RESUME, never resumes
 *   ignore-reset              accepts RT_RESET, never resets
 *   ignore-statistics         does not answer RT_GET_STATISTICS
 *   guest-reset               a reset of the host is laid to the guest, as when both ask at once
 *   reset-close               accepts RT_RESET, then loses the connection and with it the report
 *   chatty                    prints whenever the controller has seen what was printed before
 *   no-credit                 takes console input and never grants credit for more
 *   hello-garbage             answers a later controller's RT_HELLO with a ring that is not sealed
 *   no-echo                   no echo
 *
 * Lines of console input that begin with '@', for what a running guest does:
 *   @burst N  @reboot  @poweroff  @triple-fault  @signal N  @exit N  @garbage  @close  @run  @park
 * All other input is echoed.
 *
 * It also checks what the driver owes a real runtime: an empty environment, descriptor 3, no descriptor
 * inherited by accident, sealed ring. A violation is refused with field "launch", which fails the test.
 * As a probe (RT_MODE_PROBE) it passes, unless the program was started under a name that contains
 * "probe-refused", "probe-crashed" or "probe-hangs".
 *
 * Being a test program it ends itself where it pleases; and so that a test that failed or was killed leaves
 * nothing behind: while it hangs at its launch, with whoever launched it, and later when no controller has
 * come for ORPHAN_SECONDS, which no test that goes well lets pass.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tenbox-runtime/control-protocol.h"

#define ORPHAN_SECONDS 300

struct fake {
    int control;  /* the connection of the controller, -1 for none */
    int listener; /* for later controllers */
    int ring_fd;
    struct rt_console_ring *ring;
    bool is_announced; /* an RT_CONSOLE_OUTPUT is unread */
    uint64_t announced_position;
    uint64_t seen_count;
    uint64_t pauses;
    uint32_t state; /* enum rt_state_value */
    uint32_t reset_count;
    uint32_t vcpu_count;
    uint64_t memory_size;
    char line[256]; /* the '@' line that is being typed */
    size_t line_length;
    bool in_line;
    bool at_line_start;
    char command_line[RT_COMMAND_LINE_MAX + 1];
};

extern char **environ;

static struct rt_header header(uint16_t type, size_t length, uint32_t serial)
{
    return (struct rt_header){.type = type, .length = (uint32_t)length, .serial = serial};
}

static void send_message(struct fake *fake, const void *message, size_t length)
{
    if (fake->control < 0)
        return;
    if (send(fake->control, message, length, MSG_NOSIGNAL) < 0) {
        close(fake->control);
        fake->control = -1;
    }
}

static void send_with_descriptor(int socket_fd, const void *message, size_t length, int descriptor)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)message, .iov_len = length};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &descriptor, sizeof(int));
    (void)sendmsg(socket_fd, &msg, MSG_NOSIGNAL);
}

/* The value of WORD=value in the command line, or "" for a bare WORD, or NULL. Static per fake. */
static const char *option(const struct fake *fake, const char *word, char *buffer, size_t size)
{
    const char *at = fake->command_line;
    size_t length = strlen(word);

    while (*at != '\0') {
        size_t token = strcspn(at, " ");

        if (strncmp(at, word, length) == 0 && (at[length] == '=' || token == length)) {
            const char *value = at[length] == '=' ? at + length + 1 : at + length;

            snprintf(buffer, size, "%.*s", (int)(at + token - value), value);
            return buffer;
        }
        at += token;
        at += strspn(at, " ");
    }
    return NULL;
}

static bool has_option(const struct fake *fake, const char *word)
{
    char ignored[RT_COMMAND_LINE_MAX + 1];

    return option(fake, word, ignored, sizeof(ignored)) != NULL;
}

static int option_number(const struct fake *fake, const char *word)
{
    char value[RT_COMMAND_LINE_MAX + 1];

    return option(fake, word, value, sizeof(value)) != NULL ? atoi(value) : -1;
}

static void end_by_signal(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t set;

    sigaction(number, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
    _exit(99);
}

static void refuse(int socket_fd, int code, const char *field, const char *text)
{
    struct rt_refused refused = {
        .header = header(RT_REFUSED, sizeof(refused), 0),
        .code = code,
    };

    snprintf(refused.field, sizeof(refused.field), "%s", field);
    snprintf(refused.text, sizeof(refused.text), "%s", text);
    (void)send(socket_fd, &refused, sizeof(refused), MSG_NOSIGNAL);
    _exit(1);
}

static void send_state(struct fake *fake, uint32_t exit_reason, const char *exit_name)
{
    struct rt_state state = {
        .header = header(RT_STATE, sizeof(state), 0),
        .state = fake->state,
        .exit_reason = exit_reason,
    };

    snprintf(state.exit_name, sizeof(state.exit_name), "%s", exit_name);
    send_message(fake, &state, sizeof(state));
}

static void send_statistics(struct fake *fake, uint32_t serial)
{
    struct rt_statistics statistics = {
        .uptime_ns = 1000000000ull,
        .memory_bytes = fake->memory_size,
        .vcpu_count = fake->vcpu_count,
        .row_count = 3,
    };
    size_t length = offsetof(struct rt_statistics, rows) + 3 * sizeof(struct rt_statistics_row);

    statistics.header = header(RT_STATISTICS, length, serial);
    snprintf(statistics.rows[0].name, sizeof(statistics.rows[0].name), "serial");
    statistics.rows[0].count = 42;
    snprintf(statistics.rows[1].name, sizeof(statistics.rows[1].name), "fake-seen");
    statistics.rows[1].count = fake->seen_count;
    snprintf(statistics.rows[2].name, sizeof(statistics.rows[2].name), "fake-pauses");
    statistics.rows[2].count = fake->pauses;
    send_message(fake, &statistics, length);
}

static void stop(struct fake *fake, uint32_t exit_reason, const char *exit_name)
{
    send_statistics(fake, 0);
    fake->state = RT_STATE_STOPPED;
    send_state(fake, exit_reason, exit_name);
    _exit(0);
}

static void announce(struct fake *fake)
{
    struct rt_console_output output = {
        .header = header(RT_CONSOLE_OUTPUT, sizeof(output), 0),
        .position = fake->ring->position,
    };

    if (fake->is_announced || fake->control < 0 || fake->announced_position == output.position)
        return;
    fake->is_announced = true;
    fake->announced_position = output.position;
    send_message(fake, &output, sizeof(output));
}

static void print(struct fake *fake, const void *data, size_t length)
{
    uint64_t position = fake->ring->position;

    for (size_t i = 0; i < length; i++)
        fake->ring->data[(position + i) % RT_CONSOLE_RING_SIZE] = ((const uint8_t *)data)[i];
    __atomic_store_n(&fake->ring->position, position + length, __ATOMIC_RELEASE);
    announce(fake);
}

/* @count bytes whose value tells where they belong: byte n of the burst is 'a' + n % 26. */
static void burst(struct fake *fake, int count)
{
    for (int i = 0; i < count; i++) {
        char byte = (char)('a' + i % 26);

        print(fake, &byte, 1);
    }
}

static void reset_done(struct fake *fake, uint32_t source)
{
    struct rt_reset_done done = {
        .header = header(RT_RESET_DONE, sizeof(done), 0),
        .source = source,
        .reset_count = ++fake->reset_count,
    };

    send_message(fake, &done, sizeof(done));
}

static void send_garbage(struct fake *fake)
{
    struct rt_state state = {
        .header = header(RT_STATE, 0xfffff, 0), /* a length that the datagram has not */
        .state = 77,
    };

    send_message(fake, &state, sizeof(state));
}

static void close_control(struct fake *fake)
{
    close(fake->control);
    fake->control = -1;
}

static void run(struct fake *fake)
{
    int number;

    fake->state = RT_STATE_RUNNING;
    send_state(fake, 0, "");
    print(fake, "fake: hello\r\n", 13);
    number = option_number(fake, "burst");
    if (number > 0)
        burst(fake, number);
    number = option_number(fake, "start-signal");
    if (number > 0)
        end_by_signal(number);
    if (has_option(fake, "start-triple-fault"))
        stop(fake, 3, "triple-fault");
}

static void run_line(struct fake *fake)
{
    const char *line = fake->line;
    const char *space = strchr(line, ' ');
    int number = space != NULL ? atoi(space + 1) : 0;

    if (strncmp(line, "@burst ", 7) == 0) {
        burst(fake, number);
    } else if (strcmp(line, "@reboot") == 0) {
        reset_done(fake, 0);
        print(fake, "fake: rebooted\r\n", 16);
    } else if (strcmp(line, "@poweroff") == 0) {
        stop(fake, 1, "guest-power-off");
    } else if (strcmp(line, "@triple-fault") == 0) {
        stop(fake, 3, "triple-fault");
    } else if (strncmp(line, "@signal ", 8) == 0) {
        end_by_signal(number);
    } else if (strncmp(line, "@exit ", 6) == 0) {
        _exit(number);
    } else if (strcmp(line, "@garbage") == 0) {
        send_garbage(fake);
    } else if (strcmp(line, "@close") == 0) {
        close_control(fake);
    } else if (strcmp(line, "@run") == 0) {
        run(fake);
    } else if (strcmp(line, "@park") == 0) {
        fake->state = RT_STATE_PAUSED;
        send_state(fake, 0, "");
    } else {
        print(fake, "fake: what?\r\n", 13);
    }
}

static void console_input(struct fake *fake, const uint8_t *data, size_t length)
{
    struct rt_console_credit credit = {
        .header = header(RT_CONSOLE_CREDIT, sizeof(credit), 0),
        .bytes = (uint32_t)length,
    };
    bool echo = !has_option(fake, "no-echo");

    for (size_t i = 0; i < length; i++) {
        if (fake->at_line_start && data[i] == '@')
            fake->in_line = true;
        fake->at_line_start = data[i] == '\n';
        if (!fake->in_line) {
            if (echo)
                print(fake, &data[i], 1);
            continue;
        }
        if (data[i] != '\n') {
            if (fake->line_length < sizeof(fake->line) - 1)
                fake->line[fake->line_length++] = (char)data[i];
            continue;
        }
        fake->line[fake->line_length] = '\0';
        fake->line_length = 0;
        fake->in_line = false;
        run_line(fake);
    }
    if (!has_option(fake, "no-credit"))
        send_message(fake, &credit, sizeof(credit));
}

static void reply(struct fake *fake, uint32_t serial, int code)
{
    struct rt_reply message = {
        .header = header(RT_REPLY, sizeof(message), serial),
        .code = code,
    };

    send_message(fake, &message, sizeof(message));
}

static void start(struct fake *fake, uint32_t serial)
{
    if (fake->state != RT_STATE_CREATED) {
        reply(fake, serial, -EALREADY);
        return;
    }
    reply(fake, serial, 0);
    if (has_option(fake, "start-hang"))
        print(fake, "fake: hanging\r\n", 15);
    else
        run(fake);
}

static void reset(struct fake *fake, uint32_t serial)
{
    reply(fake, serial, 0);
    if (has_option(fake, "reset-close"))
        close_control(fake);
    else if (!has_option(fake, "ignore-reset"))
        reset_done(fake, has_option(fake, "guest-reset") ? 0 : 1);
}

static void handle(struct fake *fake, const uint8_t *datagram, size_t length)
{
    struct rt_header head;
    bool paused = fake->state == RT_STATE_PAUSED;

    if (length < sizeof(head)) {
        close_control(fake);
        return;
    }
    memcpy(&head, datagram, sizeof(head));
    switch (head.type) {
    case RT_START: start(fake, head.serial); break;
    case RT_POWER_BUTTON:
        if (paused) {
            reply(fake, head.serial, -EBUSY);
            break;
        }
        reply(fake, head.serial, 0);
        if (has_option(fake, "ignore-button"))
            print(fake, "fake: button ignored\r\n", 22);
        else
            stop(fake, 1, "guest-power-off");
        break;
    case RT_POWER_OFF:
        reply(fake, head.serial, 0);
        if (!has_option(fake, "ignore-off"))
            stop(fake, 2, "host-power-off");
        break;
    case RT_RESET: reset(fake, head.serial); break;
    case RT_PAUSE:
        if (fake->state != RT_STATE_RUNNING) {
            reply(fake, head.serial, -EALREADY);
            break;
        }
        reply(fake, head.serial, 0);
        fake->pauses++;
        fake->state = RT_STATE_PAUSING;
        send_state(fake, 0, "");
        if (!has_option(fake, "ignore-pause")) {
            fake->state = RT_STATE_PAUSED;
            send_state(fake, 0, "");
        }
        break;
    case RT_RESUME:
        if (!paused) {
            reply(fake, head.serial, -EALREADY);
            break;
        }
        reply(fake, head.serial, 0);
        if (has_option(fake, "ignore-resume"))
            break;
        fake->state = RT_STATE_RUNNING;
        send_state(fake, 0, "");
        break;
    case RT_CONSOLE_BREAK:
        if (has_option(fake, "busy-break")) {
            reply(fake, head.serial, -EBUSY);
            break;
        }
        if (has_option(fake, "ignore-break"))
            break;
        reply(fake, head.serial, 0);
        print(fake, "fake: break\r\n", 13);
        break;
    case RT_CONSOLE_INPUT:
        console_input(fake, datagram + sizeof(head), length - sizeof(head));
        break;
    case RT_CONSOLE_SEEN:
        fake->seen_count++;
        fake->is_announced = false;
        if (has_option(fake, "chatty"))
            print(fake, "fake: chat\r\n", 12);
        announce(fake);
        break;
    case RT_GET_STATISTICS:
        if (!has_option(fake, "ignore-statistics"))
            send_statistics(fake, head.serial);
        break;
    default: reply(fake, head.serial, -EPROTO); break;
    }
}

static void accept_controller(struct fake *fake)
{
    struct rt_hello hello = {
        .header = header(RT_HELLO, sizeof(hello), 0),
        .version_min = RT_PROTOCOL_VERSION,
        .version_max = RT_PROTOCOL_VERSION,
        .pid = (uint32_t)getpid(),
    };
    struct rt_hello theirs;
    int connection = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    int ring = fake->ring_fd;

    if (connection < 0)
        return;
    if (recv(connection, &theirs, sizeof(theirs), 0) != (ssize_t)sizeof(theirs) ||
        theirs.header.type != RT_HELLO) {
        close(connection);
        return;
    }
    if (fake->control >= 0)
        close(fake->control);
    fake->control = connection;
    fake->is_announced = false;
    fake->announced_position = 0;
    if (has_option(fake, "hello-garbage")) {
        ring = memfd_create("unsealed", MFD_CLOEXEC);
        (void)!ftruncate(ring, 4096);
    }
    send_with_descriptor(connection, &hello, sizeof(hello), ring);
    send_state(fake, 0, "");
    announce(fake);
}

/* Hangs for as long as somebody could mind. */
static void hang(void)
{
    struct pollfd launcher = {.fd = RT_LAUNCH_DESCRIPTOR};

    while (poll(&launcher, 1, -1) < 0)
        continue;
    _exit(0);
}

/* What the driver owes every runtime. */
static void check_birth(void)
{
    char path[64], target[256];

    if (environ != NULL && environ[0] != NULL)
        refuse(RT_LAUNCH_DESCRIPTOR, -EINVAL, "launch", "the environment is not empty");
    for (int fd = RT_LAUNCH_DESCRIPTOR + 1; fd < 1024; fd++) {
        ssize_t length;

        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = readlink(path, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        fprintf(stderr, "fake-runtime: inherited descriptor %d: %s\n", fd, target);
        refuse(RT_LAUNCH_DESCRIPTOR, -EINVAL, "launch", "an inherited descriptor");
    }
}

static void receive_launch(struct fake *fake, const char *program)
{
    uint8_t datagram[RT_MESSAGE_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RT_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = datagram, .iov_len = sizeof(datagram)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct rt_launch launch;
    int descriptors[RT_DESCRIPTORS_MAX];
    size_t count = 0;
    ssize_t length = recvmsg(RT_LAUNCH_DESCRIPTOR, &msg, MSG_CMSG_CLOEXEC);
    int seals;

    if (length < (ssize_t)sizeof(launch))
        _exit(2);
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg != NULL; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(descriptors, CMSG_DATA(cmsg), count * sizeof(int));
    }
    memcpy(&launch, datagram, sizeof(launch));
    if (launch.header.type != RT_LAUNCH || launch.magic != RT_LAUNCH_MAGIC ||
        launch.header.length != (size_t)length || launch.descriptor_count != count ||
        sizeof(launch) + launch.command_line_length != (size_t)length)
        refuse(RT_LAUNCH_DESCRIPTOR, -EBADMSG, "launch", "malformed");

    if (launch.mode == RT_MODE_PROBE) {
        if (count != 1 || launch.descriptor_kinds[0] != RT_DESCRIPTOR_KVM)
            refuse(RT_LAUNCH_DESCRIPTOR, -EINVAL, "launch",
                   "a probe takes the KVM descriptor alone");
        if (strstr(program, "probe-refused") != NULL)
            refuse(RT_LAUNCH_DESCRIPTOR, -ENODEV, "kvm",
                   "KVM in software: stock kernels do not boot");
        if (strstr(program, "probe-crashed") != NULL)
            end_by_signal(SIGSYS);
        if (strstr(program, "probe-hangs") != NULL)
            hang();
        return;
    }

    for (size_t i = 0; i < count; i++) {
        if (launch.descriptor_kinds[i] == RT_DESCRIPTOR_CONSOLE_RING)
            fake->ring_fd = descriptors[i];
        else if (launch.descriptor_kinds[i] == RT_DESCRIPTOR_CONTROL)
            fake->listener = descriptors[i];
    }
    if (fake->ring_fd < 0 || fake->listener < 0)
        refuse(RT_LAUNCH_DESCRIPTOR, -EBADF, "launch", "ring or control socket missing");
    seals = fcntl(fake->ring_fd, F_GET_SEALS);
    if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) !=
        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        refuse(RT_LAUNCH_DESCRIPTOR, -EBADF, "launch", "the console ring is not sealed");
    fake->ring =
        mmap(NULL, sizeof(*fake->ring), PROT_READ | PROT_WRITE, MAP_SHARED, fake->ring_fd, 0);
    if (fake->ring == MAP_FAILED)
        refuse(RT_LAUNCH_DESCRIPTOR, -errno, "launch", "the console ring cannot be mapped");
    memcpy(fake->command_line, datagram + sizeof(launch), launch.command_line_length);
    fake->vcpu_count = launch.vcpu_count;
    fake->memory_size = launch.memory_size;
}

static void obey_launch_options(const struct fake *fake)
{
    char value[RT_COMMAND_LINE_MAX + 1];
    int number;

    if (option(fake, "refuse", value, sizeof(value)) != NULL) {
        char *code = strchr(value, ',');
        char *text = code != NULL ? strchr(code + 1, ',') : NULL;

        if (text == NULL)
            refuse(RT_LAUNCH_DESCRIPTOR, -EINVAL, "launch", "bad refuse= option of the test");
        *code++ = '\0';
        *text++ = '\0';
        for (char *c = text; *c != '\0'; c++)
            *c = *c == '_' ? ' ' : *c;
        refuse(RT_LAUNCH_DESCRIPTOR, -atoi(code), value, text);
    }
    number = option_number(fake, "launch-signal");
    if (number > 0)
        end_by_signal(number);
    number = option_number(fake, "launch-exit");
    if (number >= 0)
        _exit(number);
    if (has_option(fake, "launch-hang"))
        hang();
}

int main(int argc, char **argv)
{
    struct fake fake = {
        .control = RT_LAUNCH_DESCRIPTOR,
        .listener = -1,
        .ring_fd = -1,
        .state = RT_STATE_CREATED,
        .at_line_start = true,
    };
    struct rt_hello hello = {
        .header = header(RT_HELLO, sizeof(hello), 0),
        .version_min = RT_PROTOCOL_VERSION,
        .version_max = RT_PROTOCOL_VERSION,
        .pid = (uint32_t)getpid(),
    };

    setsid();
    check_birth();
    receive_launch(&fake, argc > 0 ? argv[0] : "");
    if (fake.ring == NULL) { /* a probe that passed */
        fake.state = RT_STATE_STOPPED;
        send_message(&fake, &hello, sizeof(hello));
        send_state(&fake, 0, "");
        return 0;
    }
    fprintf(stderr, "fake-runtime: launched\n");
    obey_launch_options(&fake);
    if (has_option(&fake, "launch-garbage"))
        send_garbage(&fake);
    send_message(&fake, &hello, sizeof(hello));
    send_state(&fake, 0, "");

    for (;;) {
        struct pollfd polls[2] = {
            {.fd = fake.control, .events = POLLIN},
            {.fd = fake.listener, .events = POLLIN},
        };
        uint8_t datagram[RT_MESSAGE_MAX];

        int count = poll(polls, 2, fake.control < 0 ? ORPHAN_SECONDS * 1000 : -1);

        if (count < 0 && errno != EINTR)
            return 3;
        if (count == 0) {
            fprintf(stderr, "fake-runtime: no controller for %d seconds\n", ORPHAN_SECONDS);
            return 4;
        }
        if (polls[0].revents != 0) {
            ssize_t length = recv(fake.control, datagram, sizeof(datagram), 0);

            if (length <= 0) {
                close_control(&fake);
            } else {
                handle(&fake, datagram, (size_t)length);
            }
        }
        if (polls[1].revents & POLLIN)
            accept_controller(&fake);
    }
}
