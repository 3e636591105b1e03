/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Boots a kernel with the library alone: no daemon, no sandbox, no runtime. For people who debug the
 * hypervisor, and for tests that need a real guest.
 *
 *   boot-machine [options] KERNEL [INITRD]
 *     --cmdline TEXT     command line of the kernel (default: console=ttyS0 quiet)
 *     --memory MIB       (default: 256)
 *     --cpus N           (default: 1)
 *     --do ACTION@TEXT   once the guest has printed TEXT: power-button, reset, pause (for a second),
 *                        power-off, input=BYTES (\n is understood); repeatable, in order
 *     --resets N         guest resets to allow before one ends the program (default: 0)
 *     --counts           print what the exits went to, at the end and at each reset
 *
 * The guest's console goes to standard output, standard input to the guest. Exit status: 0 when the
 * machine ended by itself (power-off, or a reset beyond --resets), 1 for a bad ending, 2 for usage,
 * 3 when the machine could not be made.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/loop.h"
#include "hypervisor/machine/machine.h"

#define MAX_ACTIONS 16
#define TEXT_WINDOW 4096

struct action {
    const char *verb;
    const char *text;
};

struct session {
    struct hv_loop *loop;
    struct hv_machine *machine;
    struct hv_loop_timer resume_timer;
    struct hv_loop_source standard_input;
    struct hv_loop_task look;
    struct timespec start;
    unsigned int resets_left;
    bool wants_counts;
    int status;

    const struct action *actions; /* those that are left */
    unsigned int action_count;
    pthread_mutex_t lock;
    size_t text_length;     /* lock */
    char text[TEXT_WINDOW]; /* lock: what the guest printed since the last action */
};

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void print_counts(struct session *session)
{
    struct hv_exit_count rows[64];
    size_t count = hv_machine_exit_counts(session->machine, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count && i < HV_ARRAY_SIZE(rows); i++) {
        if (rows[i].count) {
            fprintf(stderr, "exits %-20s %" PRIu64 "\n", rows[i].name, rows[i].count);
        }
    }
}

/* --- actions ----------------------------------------------------------------------------------- */

static void type_input(struct session *session, const char *text)
{
    for (; *text; text++) {
        uint8_t byte = (uint8_t)*text;

        if (text[0] == '\\' && text[1] == 'n') {
            byte = '\n';
            text++;
        }
        if (hv_machine_console_input(session->machine, &byte, 1) != 1) {
            fprintf(stderr, "boot-machine: the guest does not take input\n");
        }
    }
}

static void perform(struct session *session, const struct action *action)
{
    int error = 0;

    fprintf(stderr, "boot-machine: %.2f s: %s\n", seconds_since(&session->start), action->verb);
    if (strcmp(action->verb, "power-button") == 0) {
        error = hv_machine_press_power_button(session->machine);
    } else if (strcmp(action->verb, "reset") == 0) {
        error = hv_machine_reset(session->machine);
    } else if (strcmp(action->verb, "pause") == 0) {
        error = hv_machine_pause(session->machine);
    } else if (strcmp(action->verb, "power-off") == 0) {
        hv_machine_power_off(session->machine);
    } else {
        type_input(session, action->verb + strlen("input="));
    }
    if (error < 0) {
        fprintf(stderr, "boot-machine: %s: %s\n", action->verb, strerror(-error));
    }
}

static void look_for_text(void *opaque)
{
    struct session *session = opaque;
    bool is_found;

    if (!session->action_count) {
        return;
    }
    pthread_mutex_lock(&session->lock);
    is_found = memmem(session->text, session->text_length, session->actions->text,
                      strlen(session->actions->text)) != NULL;
    if (is_found) {
        session->text_length = 0;
    }
    pthread_mutex_unlock(&session->lock);
    if (is_found) {
        const struct action *action = session->actions++;

        session->action_count--;
        perform(session, action);
    }
}

/* --- callbacks of the machine ------------------------------------------------------------------ */

static void console_output(void *opaque, const uint8_t *data, size_t length)
{
    struct session *session = opaque;

    /* Standard output may block: fine for a debugging tool, never for the runtime. */
    fwrite(data, 1, length, stdout);
    if (memchr(data, '\n', length)) {
        fflush(stdout);
    }
    pthread_mutex_lock(&session->lock);
    for (size_t i = 0; i < length; i++) {
        if (session->text_length == sizeof(session->text)) {
            memmove(session->text, session->text + TEXT_WINDOW / 2, TEXT_WINDOW / 2);
            session->text_length = TEXT_WINDOW / 2;
        }
        session->text[session->text_length++] = (char)data[i];
    }
    pthread_mutex_unlock(&session->lock);
    hv_loop_post(session->loop, &session->look);
}

static void console_input_ready(void *opaque)
{
    struct session *session = opaque;

    hv_loop_modify_fd(&session->standard_input, EPOLLIN);
}

static void paused(void *opaque)
{
    struct session *session = opaque;

    fprintf(stderr, "boot-machine: %.2f s: paused\n", seconds_since(&session->start));
    hv_loop_timer_start(&session->resume_timer, 1000);
}

static void resume(void *opaque)
{
    struct session *session = opaque;

    fprintf(stderr, "boot-machine: resume: %s\n", strerror(-hv_machine_resume(session->machine)));
}

static void reset_done(void *opaque, enum hv_reset_source source)
{
    struct session *session = opaque;

    fprintf(stderr, "boot-machine: %.2f s: reset by the %s\n", seconds_since(&session->start),
            source == HV_RESET_BY_GUEST ? "guest" : "host");
    if (session->wants_counts) {
        print_counts(session);
    }
    if (source == HV_RESET_BY_GUEST && session->resets_left-- == 0) {
        session->resets_left = 0;
        hv_machine_power_off(session->machine);
    }
}

static void stopped(void *opaque, enum hv_machine_exit exit, uint64_t detail)
{
    struct session *session = opaque;

    fflush(stdout);
    fprintf(stderr, "boot-machine: %.2f s: stopped: %s, detail %" PRIu64 "\n",
            seconds_since(&session->start), hv_machine_exit_name(exit), detail);
    session->status =
        exit == HV_MACHINE_EXIT_GUEST_POWER_OFF || exit == HV_MACHINE_EXIT_HOST_POWER_OFF ? 0 : 1;
    hv_loop_quit(session->loop);
}

static void log_line(void *opaque, int priority, const char *line)
{
    fprintf(stderr, "boot-machine: <%d> %s\n", priority, line);
}

static const struct hv_machine_ops machine_ops = {
    .console_output = console_output,
    .console_input_ready = console_input_ready,
    .paused = paused,
    .reset_done = reset_done,
    .stopped = stopped,
    .log = log_line,
};

static void read_standard_input(void *opaque, int fd, uint32_t events)
{
    struct session *session = opaque;
    uint8_t byte;

    /* One at a time: what the guest does not take must not be read. */
    if (read(fd, &byte, 1) != 1) {
        hv_loop_remove_fd(&session->standard_input);
    } else if (hv_machine_console_input(session->machine, &byte, 1) != 1) {
        hv_loop_modify_fd(&session->standard_input, 0);
    }
}

/* --- main -------------------------------------------------------------------------------------- */

static bool parse_action(char *text, struct action *action)
{
    static const char *const verbs[] = {"power-button", "reset", "pause", "power-off"};
    char *at = strchr(text, '@');

    if (!at) {
        return false;
    }
    *at = '\0';
    *action = (struct action){.verb = text, .text = at + 1};
    for (size_t i = 0; i < HV_ARRAY_SIZE(verbs); i++) {
        if (strcmp(text, verbs[i]) == 0) {
            return true;
        }
    }
    return strncmp(text, "input=", strlen("input=")) == 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: boot-machine [--cmdline TEXT] [--memory MIB] [--cpus N] "
                    "[--do ACTION@TEXT]... [--resets N] [--counts] KERNEL [INITRD]\n");
    return 2;
}

static int run(struct session *session, const struct hv_machine_config *config)
{
    struct hv_reason reason = {0};
    struct rusage use;
    int error = hv_loop_create(&session->loop);

    if (error == 0) {
        error = hv_loop_timer_init(session->loop, &session->resume_timer, resume, session);
    }
    if (error < 0) {
        fprintf(stderr, "boot-machine: %s\n", strerror(-error));
        return 3;
    }
    hv_loop_task_init(&session->look, look_for_text, session);
    error =
        hv_machine_create(session->loop, config, &machine_ops, session, &session->machine, &reason);
    if (error < 0) {
        fprintf(stderr, "boot-machine: %s: %s (%s)\n", reason.field ? reason.field : "machine",
                reason.text ? reason.text : "cannot be created", strerror(-error));
        session->status = 3;
    } else {
        /* A file or /dev/null cannot be watched; then there is no input. */
        hv_loop_add_fd(session->loop, &session->standard_input, STDIN_FILENO, EPOLLIN,
                       read_standard_input, session);
        hv_machine_start(session->machine);
        hv_loop_run(session->loop);
        if (session->wants_counts) {
            print_counts(session);
            getrusage(RUSAGE_SELF, &use);
            fprintf(stderr, "boot-machine: resident at most %ld KiB, guest included\n",
                    use.ru_maxrss);
        }
    }
    hv_loop_remove_fd(&session->standard_input);
    hv_machine_destroy(session->machine);
    hv_loop_timer_fini(&session->resume_timer);
    hv_loop_destroy(session->loop);
    return session->status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"cmdline", required_argument, NULL, 'a'},
        {"memory", required_argument, NULL, 'm'},
        {"cpus", required_argument, NULL, 'c'},
        {"do", required_argument, NULL, 'd'},
        {"resets", required_argument, NULL, 'r'},
        {"counts", no_argument, NULL, 'n'},
        {0},
    };
    struct action actions[MAX_ACTIONS];
    struct session session = {.actions = actions, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct hv_machine_config config = {
        .initrd_fd = -1,
        .command_line = "console=ttyS0 quiet",
        .memory_size = UINT64_C(256) << 20,
        .vcpu_count = 1,
    };
    int option;

    clock_gettime(CLOCK_MONOTONIC, &session.start);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'a': config.command_line = optarg; break;
        case 'm': config.memory_size = strtoull(optarg, NULL, 10) << 20; break;
        case 'c': config.vcpu_count = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': session.resets_left = (unsigned int)strtoul(optarg, NULL, 10); break;
        case 'n': session.wants_counts = true; break;
        case 'd':
            if (session.action_count == MAX_ACTIONS ||
                !parse_action(optarg, &actions[session.action_count++])) {
                return usage();
            }
            break;
        default: return usage();
        }
    }
    if (optind != argc - 1 && optind != argc - 2) {
        return usage();
    }
    config.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    config.kernel_fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
    if (optind + 1 < argc) {
        config.initrd_fd = open(argv[optind + 1], O_RDONLY | O_CLOEXEC);
    }
    if (config.kvm_fd < 0 || config.kernel_fd < 0 || (optind + 1 < argc && config.initrd_fd < 0)) {
        fprintf(stderr, "boot-machine: /dev/kvm, kernel or initrd: %s\n", strerror(errno));
        return 3;
    }
    return run(&session, &config);
}
