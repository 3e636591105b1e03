/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lab-link: runs a command inside the lab host as if it ran here.
 *
 * Theory of operation. The lab host (an emulated machine, see README.md) has no network. Its one
 * line to the outside is a virtio-serial port, a byte stream. This program is both ends of it:
 *
 *   lab-link host   starts the emulator, asks the other end to run a command, carries standard
 *                   input, output and error, window size and exit status, and Unix sockets that
 *                   programs here connect to and that are answered in there;
 *   lab-link guest  runs in the lab host, as process 1 after the root is in place.
 *
 * The stream carries frames: a header of eight bytes (type, channel, length), then the payload.
 * Channel 0 is control; 1, 2 and 3 are the command's standard descriptors; from 16 on, one channel
 * per forwarded connection. Each direction of a channel has credit: at most WINDOW bytes are under
 * way, and the receiver gives credit back when it has written them out, so that a reader who stops
 * (a pager, a slow client) holds up its own channel and nobody else's.
 *
 * Both ends are one poll() loop without threads. The two ends come from one build: a frame that
 * makes no sense is a bug, and ends the program with a message.
 *
 * The emulator dies with this program, however this program ends, and this program ends with the
 * one that started it (PR_SET_PDEATHSIG).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PORT_NAME "tenbox.lab.0"
#define LINK_FD   3 /* where the emulator finds its end of the line */

enum {
    WINDOW = 64 * 1024,
    MAX_PAYLOAD = 16 * 1024,
    MAX_RUN = 256 * 1024, /* a RUN frame: arguments and environment */
    MAX_CHANNELS = 96,
    MAX_LISTENERS = 8,
    FIRST_FORWARD = 16,
    BOOT_LIMIT_SECONDS = 240,
    EXIT_TIMED_OUT = 124,
    EXIT_NO_HOST = 125,
};

enum frame_type {
    FRAME_HELLO = 1, /* guest: ready for a RUN */
    FRAME_RUN,       /* host: u32 flags, u16 rows, u16 columns, directory, then NUL-ended strings */
    FRAME_OPEN,      /* host: connect this channel to the Unix socket named by the payload */
    FRAME_DATA,
    FRAME_CREDIT, /* u32: so many bytes more may be sent */
    FRAME_END,    /* no more data in this direction */
    FRAME_GONE,   /* the receiving side has closed: data in this direction is thrown away */
    FRAME_SIZE,   /* host: u16 rows, u16 columns */
    FRAME_EXIT,   /* guest: u32 exit status of the command */
};

#define RUN_TERMINAL 1u

struct frame {
    uint8_t type;
    uint8_t reserved;
    uint16_t channel;
    uint32_t length;
};

struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

struct channel {
    bool used;
    uint16_t id;
    int in;  /* read here, sent to the other end; -1: none, or ended */
    int out; /* written with what the other end sends; -1: none, or closed */
    uint32_t credit;
    bool peer_ended; /* close out once its buffer is empty */
    bool sent_end;
    struct buffer pending; /* towards out; at most WINDOW bytes */
};

struct listener {
    int fd;
    const char *target; /* path in the lab host */
};

struct link {
    int fd;
    struct buffer incoming, outgoing;
    struct channel channels[MAX_CHANNELS];
    struct listener listeners[MAX_LISTENERS];
    size_t listener_count;
    uint16_t next_forward;
};

static void fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

static void fail(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("lab: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

/* Buffers */

static size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* Makes room for @length more bytes and returns where they go. */
static uint8_t *buffer_reserve(struct buffer *buffer, size_t length)
{
    if (buffer->start > 0 && buffer->capacity - buffer->end < length) {
        memmove(buffer->data, buffer->data + buffer->start, buffer_length(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->capacity - buffer->end < length) {
        buffer->capacity = (buffer->end + length) * 2;
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (buffer->data == NULL)
            fail(EXIT_NO_HOST, "out of memory");
    }
    return buffer->data + buffer->end;
}

static void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    uint8_t *room = buffer_reserve(buffer, length);

    if (length > 0)
        memcpy(room, data, length);
    buffer->end += length;
}

static void buffer_consume(struct buffer *buffer, size_t length)
{
    buffer->start += length;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

/* Frames and channels */

static void send_frame(struct link *link, enum frame_type type, uint16_t channel, const void *data,
                       size_t length)
{
    struct frame frame = {.type = type, .channel = channel, .length = (uint32_t)length};

    buffer_append(&link->outgoing, &frame, sizeof(frame));
    buffer_append(&link->outgoing, data, length);
}

static void send_number(struct link *link, enum frame_type type, uint16_t channel, uint32_t number)
{
    send_frame(link, type, channel, &number, sizeof(number));
}

static struct channel *channel_find(struct link *link, uint16_t id)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        if (link->channels[i].used && link->channels[i].id == id)
            return &link->channels[i];
    }
    return NULL;
}

static struct channel *channel_add(struct link *link, uint16_t id, int in, int out)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        struct channel *channel = &link->channels[i];

        if (channel->used)
            continue;
        *channel = (struct channel){.used = true, .id = id, .in = in, .out = out, .credit = WINDOW};
        return channel;
    }
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd > STDERR_FILENO)
        close(*fd);
    *fd = -1;
}

/* Nothing more is read here: tells the other end, once. */
static void channel_end_input(struct link *link, struct channel *channel)
{
    if (channel->in >= 0 && channel->in == channel->out)
        channel->in = -1; /* a socket: the other direction goes on */
    else
        close_fd(&channel->in);
    if (!channel->sent_end)
        send_frame(link, FRAME_END, channel->id, NULL, 0);
    channel->sent_end = true;
}

/* Nothing more can be written here. */
static void channel_close_output(struct channel *channel)
{
    channel->pending.start = channel->pending.end = 0;
    if (channel->out < 0)
        return;
    if (channel->id >= FIRST_FORWARD) {
        shutdown(channel->out, SHUT_WR);
        if (channel->in < 0)
            close_fd(&channel->out);
        channel->out = -1;
    } else {
        close_fd(&channel->out);
    }
}

static void channel_release_if_done(struct channel *channel)
{
    if (channel->in >= 0 || channel->out >= 0 || !channel->peer_ended || !channel->sent_end)
        return;
    free(channel->pending.data);
    *channel = (struct channel){.in = -1, .out = -1};
}

/* Reads what the descriptor has, as far as credit goes. */
static void channel_read(struct link *link, struct channel *channel)
{
    uint8_t data[MAX_PAYLOAD];
    size_t room = channel->credit < sizeof(data) ? channel->credit : sizeof(data);
    ssize_t length = read(channel->in, data, room);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        /* EIO is how a terminal says that its last user has gone. */
        channel_end_input(link, channel);
        return;
    }
    send_frame(link, FRAME_DATA, channel->id, data, (size_t)length);
    channel->credit -= (uint32_t)length;
}

/* Writes at most PIPE_BUF bytes, which do not block after POLLOUT: the descriptor may be shared. */
static void channel_write(struct link *link, struct channel *channel)
{
    size_t length = buffer_length(&channel->pending);
    ssize_t written;

    if (length > PIPE_BUF)
        length = PIPE_BUF;
    written = write(channel->out, channel->pending.data + channel->pending.start, length);
    if (written < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (written < 0) {
        channel_close_output(channel);
        send_frame(link, FRAME_GONE, channel->id, NULL, 0);
        return;
    }
    buffer_consume(&channel->pending, (size_t)written);
    send_number(link, FRAME_CREDIT, channel->id, (uint32_t)written);
    if (channel->peer_ended && buffer_length(&channel->pending) == 0)
        channel_close_output(channel);
}

/* A frame that belongs to a channel and means the same at both ends. */
static void channel_frame(struct link *link, const struct frame *frame, const uint8_t *payload)
{
    struct channel *channel = channel_find(link, frame->channel);
    uint32_t credit;

    if (channel == NULL)
        return; /* both sides closed at once: what was under way arrives late */
    switch (frame->type) {
    case FRAME_DATA:
        if (channel->out < 0) {
            send_number(link, FRAME_CREDIT, frame->channel, frame->length);
            break;
        }
        if (buffer_length(&channel->pending) + frame->length > WINDOW)
            fail(EXIT_NO_HOST, "the other end sent more than its credit");
        buffer_append(&channel->pending, payload, frame->length);
        break;
    case FRAME_CREDIT:
        if (frame->length != sizeof(credit))
            fail(EXIT_NO_HOST, "a credit of %u bytes", frame->length);
        memcpy(&credit, payload, sizeof(credit));
        channel->credit += credit;
        break;
    case FRAME_END:
        channel->peer_ended = true;
        if (buffer_length(&channel->pending) == 0)
            channel_close_output(channel);
        break;
    case FRAME_GONE: channel_end_input(link, channel); break;
    default: fail(EXIT_NO_HOST, "a frame of type %u", frame->type);
    }
    channel_release_if_done(channel);
}

/* Takes the next whole frame off the line. The payload stays valid until the next call. */
static bool next_frame(struct link *link, struct frame *frame, const uint8_t **payload)
{
    const uint8_t *start = link->incoming.data + link->incoming.start;

    if (buffer_length(&link->incoming) < sizeof(*frame))
        return false;
    memcpy(frame, start, sizeof(*frame));
    if (frame->length > MAX_RUN)
        fail(EXIT_NO_HOST, "a frame of %u bytes", frame->length);
    if (buffer_length(&link->incoming) < sizeof(*frame) + frame->length)
        return false;
    *payload = start + sizeof(*frame);
    /* Not buffer_consume(): that may say "empty" and let the bytes be overwritten; this does not. */
    link->incoming.start += sizeof(*frame) + frame->length;
    return true;
}

/* False when the other end is gone. */
static bool line_read(struct link *link)
{
    uint8_t *room = buffer_reserve(&link->incoming, MAX_PAYLOAD);
    ssize_t length = read(link->fd, room, MAX_PAYLOAD);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (length <= 0)
        return false;
    link->incoming.end += (size_t)length;
    return true;
}

static bool line_write(struct link *link)
{
    struct buffer *buffer = &link->outgoing;
    ssize_t length = write(link->fd, buffer->data + buffer->start, buffer_length(buffer));

    if (length < 0)
        return errno == EAGAIN || errno == EINTR;
    buffer_consume(buffer, (size_t)length);
    return true;
}

/*
 * One turn of the loop: waits for @limit_ms at most (-1: no limit), moves bytes between descriptors
 * and line. Frames that arrived are left for next_frame(). @signal_fd is set ready by a signal.
 * False when the line is closed.
 */
static bool link_turn(struct link *link, int signal_fd, int limit_ms, bool *ret_signal)
{
    struct pollfd polls[2 + 2 * MAX_CHANNELS + MAX_LISTENERS];
    size_t count = 2, listener_base;
    bool backed_up = buffer_length(&link->outgoing) > 4 * WINDOW;
    bool open = true;

    polls[0] = (struct pollfd){
        .fd = link->fd,
        .events = (short)(POLLIN | (buffer_length(&link->outgoing) > 0 ? POLLOUT : 0)),
    };
    polls[1] = (struct pollfd){.fd = signal_fd, .events = POLLIN};
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        struct channel *channel = &link->channels[i];
        bool may_read = channel->used && channel->in >= 0 && channel->credit > 0 && !backed_up;
        bool may_write = channel->used && channel->out >= 0 && buffer_length(&channel->pending) > 0;

        polls[count++] = (struct pollfd){.fd = may_read ? channel->in : -1, .events = POLLIN};
        polls[count++] = (struct pollfd){.fd = may_write ? channel->out : -1, .events = POLLOUT};
    }
    listener_base = count;
    for (size_t i = 0; i < link->listener_count; i++)
        polls[count++] = (struct pollfd){.fd = link->listeners[i].fd, .events = POLLIN};

    *ret_signal = false;
    if (poll(polls, count, limit_ms) < 0) {
        if (errno == EINTR)
            return true;
        fail(EXIT_NO_HOST, "poll: %s", strerror(errno));
    }
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        struct channel *channel = &link->channels[i];

        if (channel->used && polls[2 + 2 * i].revents != 0 && channel->in >= 0)
            channel_read(link, channel);
        if (channel->used && polls[3 + 2 * i].revents != 0 && channel->out >= 0)
            channel_write(link, channel);
        if (channel->used)
            channel_release_if_done(channel);
    }
    for (size_t i = 0; i < link->listener_count; i++) {
        int fd;
        struct channel *channel;

        if (polls[listener_base + i].revents == 0)
            continue;
        fd = accept4(link->listeners[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            continue;
        while (link->next_forward < FIRST_FORWARD || channel_find(link, link->next_forward))
            link->next_forward++;
        channel = channel_add(link, link->next_forward, fd, fd);
        if (channel == NULL) {
            close(fd); /* as many connections as there may be: this one is refused */
            continue;
        }
        send_frame(link, FRAME_OPEN, link->next_forward++, link->listeners[i].target,
                   strlen(link->listeners[i].target));
    }
    if (polls[0].revents & (POLLIN | POLLHUP | POLLERR))
        open = line_read(link);
    if (open && buffer_length(&link->outgoing) > 0)
        open = line_write(link);
    *ret_signal = polls[1].revents != 0;
    return open;
}

static int signals_to_descriptor(const int *signals, size_t count)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        fail(EXIT_NO_HOST, "signalfd: %s", strerror(errno));
    return fd;
}

static void unblock_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/*
 * Fills in the address of a Unix socket. A path that does not fit sun_path is reached through a
 * descriptor of its folder, which stays open in *ret_folder (-1: not needed).
 */
static int socket_address(const char *path, struct sockaddr_un *address, int *ret_folder)
{
    const char *name = strrchr(path, '/');
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_folder = -1;
    if (strlen(path) < sizeof(address->sun_path)) {
        strcpy(address->sun_path, path);
        return 0;
    }
    if (name == NULL)
        return -ENAMETOOLONG;
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
    *ret_folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_folder < 0)
        return -errno;
    length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s",
                      *ret_folder, name + 1);
    return length < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* The guest end */

struct command {
    pid_t pid; /* 0: none was started */
    int terminal;
    bool finished;
};

static void set_size(int terminal, const uint8_t *rows_and_columns)
{
    uint16_t numbers[2];
    struct winsize size;

    memcpy(numbers, rows_and_columns, sizeof(numbers));
    size = (struct winsize){.ws_row = numbers[0], .ws_col = numbers[1]};
    ioctl(terminal, TIOCSWINSZ, &size);
}

/* A terminal for the command: *ret_inner is its end, the return value ours. */
static int make_terminal(int *ret_inner)
{
    int outer = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (outer < 0 || grantpt(outer) < 0 || unlockpt(outer) < 0)
        fail(EXIT_NO_HOST, "no terminal: %s", strerror(errno));
    *ret_inner = open(ptsname(outer), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*ret_inner < 0)
        fail(EXIT_NO_HOST, "no terminal: %s", strerror(errno));
    return outer;
}

/* RUN: flags, rows, columns, then directory, environment, "", arguments, all NUL-ended. */
static void guest_run(struct link *link, struct command *command, const uint8_t *payload,
                      size_t length)
{
    uint32_t flags;
    int inner[3], ours[3];
    char *strings[4096];
    size_t count = 0, environment_end = 0;
    char *text;
    const char *directory;

    if (length < 8 || payload[length - 1] != '\0' || command->pid != 0)
        fail(EXIT_NO_HOST, "a bad request to run");
    memcpy(&flags, payload, sizeof(flags));
    text = malloc(length - 8);
    memcpy(text, payload + 8, length - 8);
    directory = text;
    for (char *s = text + strlen(text) + 1; s < text + length - 8; s += strlen(s) + 1) {
        if (count == sizeof(strings) / sizeof(strings[0]) - 1)
            fail(EXIT_NO_HOST, "too many arguments");
        if (*s == '\0' && environment_end == 0) {
            environment_end = count;
            strings[count++] = NULL;
        } else {
            strings[count++] = s;
        }
    }
    strings[count] = NULL;

    command->terminal = -1;
    if (flags & RUN_TERMINAL) {
        command->terminal = make_terminal(&inner[0]);
        set_size(command->terminal, payload + 4);
        inner[1] = inner[2] = inner[0];
        ours[0] = command->terminal;
        ours[1] = fcntl(command->terminal, F_DUPFD_CLOEXEC, 3);
        ours[2] = -1;
    } else {
        for (int i = 0; i < 3; i++) {
            int ends[2];

            if (pipe2(ends, O_CLOEXEC) < 0)
                fail(EXIT_NO_HOST, "pipe: %s", strerror(errno));
            inner[i] = ends[i == 0 ? 0 : 1];
            ours[i] = ends[i == 0 ? 1 : 0];
        }
    }
    for (int i = 0; i < 3; i++) {
        if (ours[i] >= 0)
            fcntl(ours[i], F_SETFL, fcntl(ours[i], F_GETFL) | O_NONBLOCK);
    }

    command->pid = fork();
    if (command->pid < 0)
        fail(EXIT_NO_HOST, "fork: %s", strerror(errno));
    if (command->pid == 0) {
        unblock_signals();
        signal(SIGPIPE, SIG_DFL);
        setsid();
        if (command->terminal >= 0)
            ioctl(inner[0], TIOCSCTTY, 0);
        for (int i = 0; i < 3; i++)
            dup2(inner[i], i);
        if (chdir(directory) < 0) {
            fprintf(stderr, "lab: %s: %s\n", directory, strerror(errno));
            _exit(126);
        }
        environ = strings;
        execvp(strings[environment_end + 1], &strings[environment_end + 1]);
        fprintf(stderr, "lab: %s: %s\n", strings[environment_end + 1], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    for (int i = 0; i < 3; i++) {
        if (i == 0 || inner[i] != inner[0])
            close(inner[i]);
    }
    free(text);
    channel_add(link, 1, -1, ours[0])->sent_end = true;
    channel_add(link, 2, ours[1], -1)->peer_ended = true;
    if (ours[2] >= 0)
        channel_add(link, 3, ours[2], -1)->peer_ended = true;
}

static void guest_open(struct link *link, uint16_t id, const uint8_t *payload, size_t length)
{
    char path[PATH_MAX];
    struct sockaddr_un address;
    int folder, fd, result;
    struct channel *channel;

    snprintf(path, sizeof(path), "%.*s", (int)length, (const char *)payload);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    result = socket_address(path, &address, &folder);
    if (result == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        result = -errno;
    if (folder >= 0)
        close(folder);
    if (result == 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        channel = channel_add(link, id, fd, fd);
        if (channel != NULL)
            return;
    }
    close(fd);
    /* No channel here: the other end hears that both directions are over. */
    send_frame(link, FRAME_END, id, NULL, 0);
    send_frame(link, FRAME_GONE, id, NULL, 0);
}

/*
 * The command has ended, but what it started may still hold its output open: takes what has been
 * written so far and says good-bye.
 */
static void guest_finish(struct link *link, int status)
{
    bool moved = true;
    uint32_t code =
        WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 128u + (uint32_t)WTERMSIG(status);

    while (moved) {
        moved = false;
        for (uint16_t id = 2; id <= 3; id++) {
            struct channel *channel = channel_find(link, id);
            struct pollfd ready = {.fd = channel ? channel->in : -1, .events = POLLIN};

            if (ready.fd < 0 || poll(&ready, 1, 0) <= 0)
                continue;
            moved = true;
            channel->credit = MAX_PAYLOAD; /* the last bytes of a pipe: bounded by the pipe */
            channel_read(link, channel);
            channel_release_if_done(channel);
        }
    }
    send_number(link, FRAME_EXIT, 0, code);
}

static int guest_open_port(void)
{
    for (int device = 0; device < 16; device++) {
        for (int port = 0; port < 32; port++) {
            char path[64], name[64] = "";
            FILE *file;
            int fd;

            snprintf(path, sizeof(path), "/sys/class/virtio-ports/vport%dp%d/name", device, port);
            file = fopen(path, "re");
            if (file == NULL)
                continue;
            if (fgets(name, sizeof(name), file) == NULL)
                name[0] = '\0';
            fclose(file);
            name[strcspn(name, "\n")] = '\0';
            if (strcmp(name, PORT_NAME) != 0)
                continue;
            snprintf(path, sizeof(path), "/dev/vport%dp%d", device, port);
            fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
            if (fd < 0)
                fail(EXIT_NO_HOST, "%s: %s", path, strerror(errno));
            return fd;
        }
    }
    fail(EXIT_NO_HOST, "there is no virtio-serial port " PORT_NAME);
}

static int guest_main(void)
{
    static const int signals[] = {SIGCHLD, SIGTERM};
    struct link link = {.fd = -1};
    struct command command = {0};
    int signal_fd = signals_to_descriptor(signals, 2);

    signal(SIGPIPE, SIG_IGN);
    link.fd = guest_open_port();
    send_frame(&link, FRAME_HELLO, 0, NULL, 0);
    /* Process 1 waits for the emulator's end; a service ends once the good-bye is on its way. */
    while (getpid() == 1 || !command.finished || buffer_length(&link.outgoing) > 0) {
        bool signalled;
        struct frame frame;
        const uint8_t *payload;

        if (!link_turn(&link, signal_fd, -1, &signalled))
            break;
        while (next_frame(&link, &frame, &payload)) {
            if (frame.type == FRAME_RUN)
                guest_run(&link, &command, payload, frame.length);
            else if (frame.type == FRAME_OPEN)
                guest_open(&link, frame.channel, payload, frame.length);
            else if (frame.type == FRAME_SIZE && command.terminal >= 0 && frame.length == 4)
                set_size(command.terminal, payload);
            else
                channel_frame(&link, &frame, payload);
        }
        if (signalled) {
            struct signalfd_siginfo info;
            int status;
            pid_t pid;

            while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                if (info.ssi_signo == SIGTERM)
                    return 0;
            }
            /* As process 1 this is also where orphans end. */
            while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid == command.pid) {
                    guest_finish(&link, status);
                    command.finished = true;
                }
            }
        }
    }
    return 0;
}

/* The host end */

struct options {
    const char *emulator; /* a shell script that starts it */
    const char *console;  /* where it logs the lab host's console */
    const char *directory;
    int time_out; /* seconds; 0: none */
    bool orderly; /* wait for the lab host to switch itself off */
    bool terminal;
    char **command;
};

static struct termios saved_terminal;
static bool terminal_is_raw;

static void restore_terminal(void)
{
    if (terminal_is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_terminal);
    terminal_is_raw = false;
}

static void make_terminal_raw(void)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &saved_terminal) < 0)
        return;
    raw = saved_terminal;
    cfmakeraw(&raw);
    atexit(restore_terminal);
    terminal_is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Shows the end of the lab host's console, which says why it died. */
static void show_console(const char *path)
{
    char data[3000];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t length;

    if (fd < 0)
        return;
    lseek(fd, size > (off_t)sizeof(data) ? size - (off_t)sizeof(data) : 0, SEEK_SET);
    length = read(fd, data, sizeof(data));
    close(fd);
    if (length > 0)
        fprintf(stderr, "lab: the end of %s:\n%.*s\n", path, (int)length, data);
}

static pid_t host_start_emulator(const struct options *options, int *ret_line)
{
    int ends[2];
    pid_t pid, parent = getpid();

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail(EXIT_NO_HOST, "socketpair: %s", strerror(errno));
    pid = fork();
    if (pid < 0)
        fail(EXIT_NO_HOST, "fork: %s", strerror(errno));
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_NO_HOST);
        unblock_signals();
        setpgid(0, 0); /* Ctrl-C is for the command, and for us */
        dup2(nothing, STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        if (ends[1] == LINK_FD)
            fcntl(LINK_FD, F_SETFD, 0);
        else
            dup2(ends[1], LINK_FD);
        execl("/bin/sh", "sh", options->emulator, (char *)NULL);
        _exit(EXIT_NO_HOST);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, fcntl(ends[0], F_GETFL) | O_NONBLOCK);
    *ret_line = ends[0];
    return pid;
}

static void host_request(struct link *link, const struct options *options)
{
    struct buffer request = {0};
    uint32_t flags = options->terminal ? RUN_TERMINAL : 0;
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    uint16_t numbers[2];

    if (options->terminal)
        ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    numbers[0] = size.ws_row;
    numbers[1] = size.ws_col;
    buffer_append(&request, &flags, sizeof(flags));
    buffer_append(&request, numbers, sizeof(numbers));
    buffer_append(&request, options->directory, strlen(options->directory) + 1);
    for (char **variable = environ; *variable != NULL; variable++)
        buffer_append(&request, *variable, strlen(*variable) + 1);
    buffer_append(&request, "", 1);
    for (char **argument = options->command; *argument != NULL; argument++)
        buffer_append(&request, *argument, strlen(*argument) + 1);
    if (buffer_length(&request) > MAX_RUN)
        fail(EXIT_NO_HOST, "the command line is too long");
    send_frame(link, FRAME_RUN, 0, request.data, buffer_length(&request));
    free(request.data);
    channel_add(link, 1, STDIN_FILENO, -1)->peer_ended = true;
    channel_add(link, 2, -1, STDOUT_FILENO)->sent_end = true;
    channel_add(link, 3, -1, STDERR_FILENO)->sent_end = true;
    if (options->terminal)
        make_terminal_raw();
}

/* Everything that the command wrote goes out before we end, however slow the reader is. */
static void host_flush(struct link *link)
{
    for (uint16_t id = 2; id <= 3; id++) {
        struct channel *channel = channel_find(link, id);

        while (channel != NULL && channel->used && channel->out >= 0 &&
               buffer_length(&channel->pending) > 0) {
            struct pollfd ready = {.fd = channel->out, .events = POLLOUT};

            if (poll(&ready, 1, -1) > 0)
                channel_write(link, channel);
        }
    }
}

static void host_listen(struct link *link, char *argument)
{
    char *colon = strrchr(argument, ':');
    struct sockaddr_un address;
    int folder, fd, result;
    mode_t mask;

    if (colon == NULL || colon == argument || colon[1] != '/')
        fail(EXIT_NO_HOST, "--listen: \"%s\" is not PATH:/PATH", argument);
    if (link->listener_count == MAX_LISTENERS)
        fail(EXIT_NO_HOST, "--listen: %d at most", MAX_LISTENERS);
    *colon = '\0';
    result = socket_address(argument, &address, &folder);
    if (result < 0)
        fail(EXIT_NO_HOST, "%s: %s", argument, strerror(-result));
    unlink(argument);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mask = umask(0177);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 32) < 0)
        fail(EXIT_NO_HOST, "%s: %s", argument, strerror(errno));
    umask(mask);
    if (folder >= 0)
        close(folder);
    link->listeners[link->listener_count++] = (struct listener){.fd = fd, .target = colon + 1};
}

static void host_stop(pid_t emulator, bool orderly)
{
    int64_t limit = now_ms() + (orderly ? 120000 : 0);

    while (waitpid(emulator, NULL, WNOHANG) == 0) {
        if (now_ms() >= limit) {
            kill(emulator, SIGKILL);
            waitpid(emulator, NULL, 0);
            return;
        }
        poll(NULL, 0, 20);
    }
}

static int host_main(struct link *link, const struct options *options)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGWINCH};
    int signal_fd = signals_to_descriptor(signals, 5);
    pid_t emulator = host_start_emulator(options, &link->fd);
    int64_t start = now_ms();
    int64_t limit = start + BOOT_LIMIT_SECONDS * 1000;
    bool greeted = false;
    uint32_t boots = 0;

    signal(SIGPIPE, SIG_IGN);
    if (options->time_out > 0 && options->time_out < BOOT_LIMIT_SECONDS)
        limit = start + (int64_t)options->time_out * 1000;
    for (;;) {
        bool signalled;
        struct frame frame;
        const uint8_t *payload;
        int64_t left = limit - now_ms();

        if (limit != INT64_MAX && left <= 0) {
            host_stop(emulator, false);
            restore_terminal();
            if (!greeted) {
                show_console(options->console);
                fail(EXIT_NO_HOST, "the lab host did not come up");
            }
            fail(EXIT_TIMED_OUT, "the command did not end within %d s", options->time_out);
        }
        if (!link_turn(link, signal_fd,
                       limit == INT64_MAX ? -1 : (int)(left > 60000 ? 60000 : left), &signalled)) {
            host_stop(emulator, false);
            restore_terminal();
            show_console(options->console);
            fail(EXIT_NO_HOST, greeted ? "the lab host died" : "the lab host did not come up");
        }
        while (next_frame(link, &frame, &payload)) {
            uint32_t status;

            if (frame.type == FRAME_HELLO) {
                char number[16];

                /* Again: the lab host rebooted. The command runs anew, and can tell. */
                for (size_t i = 0; i < MAX_CHANNELS; i++)
                    link->channels[i].used = false;
                snprintf(number, sizeof(number), "%u", ++boots);
                setenv("TENBOX_LAB_BOOT", number, 1);
                if (!greeted)
                    limit = options->time_out > 0 ? start + (int64_t)options->time_out * 1000
                                                  : INT64_MAX;
                greeted = true;
                host_request(link, options);
            } else if (frame.type == FRAME_EXIT && frame.length == sizeof(status)) {
                memcpy(&status, payload, sizeof(status));
                host_flush(link);
                host_stop(emulator, options->orderly);
                return (int)status;
            } else {
                channel_frame(link, &frame, payload);
            }
        }
        if (signalled) {
            struct signalfd_siginfo info;

            while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                struct winsize size;

                if (info.ssi_signo == SIGCHLD)
                    continue; /* the line closes too, after its last bytes */
                if (info.ssi_signo == SIGWINCH) {
                    if (greeted && options->terminal &&
                        ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
                        uint16_t numbers[2] = {size.ws_row, size.ws_col};

                        send_frame(link, FRAME_SIZE, 0, numbers, sizeof(numbers));
                    }
                    continue;
                }
                host_stop(emulator, false);
                restore_terminal();
                return 128 + (int)info.ssi_signo;
            }
        }
    }
}

static void usage(void)
{
    fputs("usage: lab-link guest\n"
          "       lab-link host --emulator SCRIPT --console LOG --directory DIR\n"
          "                     [--time-out SECONDS] [--orderly] [--listen PATH:/PATH]... -- "
          "COMMAND...\n",
          stderr);
    exit(EXIT_NO_HOST);
}

int main(int argc, char **argv)
{
    struct link link = {.fd = -1, .next_forward = FIRST_FORWARD};
    struct options options = {0};
    int i;

    if (argc == 2 && strcmp(argv[1], "guest") == 0) {
        int status = guest_main();

        if (getpid() == 1)
            reboot(RB_POWER_OFF);
        return status;
    }
    if (argc < 2 || strcmp(argv[1], "host") != 0)
        usage();
    for (i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--orderly") == 0)
            options.orderly = true;
        else if (i + 1 == argc)
            usage();
        else if (strcmp(argv[i], "--emulator") == 0)
            options.emulator = argv[++i];
        else if (strcmp(argv[i], "--console") == 0)
            options.console = argv[++i];
        else if (strcmp(argv[i], "--directory") == 0)
            options.directory = argv[++i];
        else if (strcmp(argv[i], "--time-out") == 0)
            options.time_out = atoi(argv[++i]);
        else if (strcmp(argv[i], "--listen") == 0)
            host_listen(&link, argv[++i]);
        else
            usage();
    }
    if (i + 1 >= argc || options.emulator == NULL || options.console == NULL ||
        options.directory == NULL)
        usage();
    options.command = argv + i + 1;
    /* Who started us waits for us: without them nobody does. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    options.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    return host_main(&link, &options);
}
