/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/vm-process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtenbox/local/control.h"
#include "libtenbox/local/files.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

/* Attempts to reach a runtime whose connection ended, each later than the last. */
#define RECONNECT_ATTEMPTS 5
#define RECONNECT_FIRST_MS 20u

struct _TbxVmProcess {
    grefcount references; /* one for the owner, one for each handler that runs */
    GMainContext *home;
    const TbxVmProcessHandlers *handlers; /* NULL once freed by the owner */
    gpointer user_data;

    TbxProcessIdentity identity;
    int pidfd;
    int run_fd;
    GSource *exit_watch;

    TbxControl *control; /* NULL while there is no connection */
    gboolean is_launch;  /* the connection is the one of the launch */
    gboolean is_greeted; /* RT_HELLO has come on this connection */
    gboolean is_known;   /* and a state after it: connected() was called */
    GSource *timer;      /* waits for the greeting, or for the next attempt */
    guint attempt;

    guint32 serial;
    GQueue requests;  /* of Request without an answer, oldest first */
    GSource *failing; /* fails requests without connection */

    TbxConsoleRing *ring;
    enum rt_state_value state;
    gboolean was_refused;
    gboolean is_abandoned;
    TbxVmExit *reported; /* what RT_STATE_STOPPED said */
    gboolean reported_clean;
};

typedef struct {
    enum rt_message_type type;
    guint32 serial;
    gboolean was_sent;  /* over the present connection, or the last one */
    TbxReplied replied; /* or: */
    TbxAnswered answered;
    guint token;
    gpointer user_data;
} Request;

static void process_unref(TbxVmProcess *self)
{
    if (!g_ref_count_dec(&self->references))
        return;
    tbx_console_ring_unref(self->ring);
    tbx_vm_exit_free(self->reported);
    g_main_context_unref(self->home);
    g_free(self);
}

static TbxVmProcess *process_new(const TbxVmProcessHandlers *handlers, gpointer user_data)
{
    TbxVmProcess *self = g_new0(TbxVmProcess, 1);

    g_ref_count_init(&self->references);
    self->home = g_main_context_ref_thread_default();
    self->handlers = handlers;
    self->user_data = user_data;
    self->pidfd = -1;
    self->run_fd = -1;
    return self;
}

/* ---- requests ----------------------------------------------------------------------------- */

static void answer(TbxVmProcess *self, Request *request, int code,
                   const struct rt_statistics *statistics)
{
    if (request->answered != NULL)
        request->answered(statistics, request->user_data);
    else if (request->replied != NULL && self->handlers != NULL)
        request->replied(code, request->token, self->user_data);
}

/* Takes all requests that wait; those that are waiting to be sent stay when @only_sent. */
static GQueue take_requests(TbxVmProcess *self, gboolean only_sent)
{
    GQueue taken = G_QUEUE_INIT;
    GQueue kept = G_QUEUE_INIT;
    Request *request;

    while ((request = g_queue_pop_head(&self->requests)) != NULL)
        g_queue_push_tail(only_sent && !request->was_sent ? &kept : &taken, request);
    self->requests = kept;
    return taken;
}

/* Fails @requests, which are in no queue of the process any more: callbacks may do anything. */
static void fail_requests(TbxVmProcess *self, GQueue requests)
{
    Request *request;

    while ((request = g_queue_pop_head(&requests)) != NULL) {
        answer(self, request, -ECONNRESET, NULL);
        g_free(request);
    }
}

void tbx_vm_process_free(TbxVmProcess *self)
{
    if (self == NULL)
        return;
    self->handlers = NULL;
    tbx_source_clear(&self->exit_watch);
    tbx_source_clear(&self->timer);
    tbx_source_clear(&self->failing);
    g_clear_pointer(&self->control, tbx_control_free);
    tbx_fd_close(&self->pidfd);
    tbx_fd_close(&self->run_fd);
    fail_requests(self, take_requests(self, FALSE));
    process_unref(self);
}

static gboolean on_failing(gpointer user_data)
{
    TbxVmProcess *self = user_data;

    tbx_source_clear(&self->failing);
    g_ref_count_inc(&self->references);
    fail_requests(self, take_requests(self, FALSE));
    process_unref(self);
    return G_SOURCE_REMOVE;
}

/* There are few: actions come one at a time, and who asks for figures bounds how often. */
static GList *find_request(TbxVmProcess *self, guint32 serial)
{
    for (GList *link = self->requests.head; link != NULL; link = link->next) {
        if (((Request *)link->data)->serial == serial)
            return link;
    }
    return NULL;
}

static void send_request(TbxVmProcess *self, Request *request)
{
    const struct rt_header header = {
        .type = (guint16)request->type,
        .length = sizeof(header),
        .serial = request->serial,
    };

    request->was_sent = TRUE;
    tbx_control_send(self->control, &header, sizeof(header));
}

/* Returns the serial. */
static guint32 add_request(TbxVmProcess *self, const Request *model)
{
    Request *request = g_memdup2(model, sizeof(*model));

    do
        self->serial++;
    while (self->serial == 0 || find_request(self, self->serial) != NULL);
    request->serial = self->serial;
    g_queue_push_tail(&self->requests, request);
    if (tbx_vm_process_is_connected(self))
        send_request(self, request);
    else if (self->timer == NULL && self->failing == NULL) /* nobody tries to reach it */
        self->failing = tbx_source_timer(self->home, 0, on_failing, self);
    return self->serial;
}

void tbx_vm_process_request(TbxVmProcess *self, enum rt_message_type type, TbxReplied replied,
                            guint token)
{
    add_request(self, &(Request){.type = type, .replied = replied, .token = token});
}

guint32 tbx_vm_process_get_statistics(TbxVmProcess *self, TbxAnswered answered, gpointer user_data)
{
    return add_request(
        self, &(Request){.type = RT_GET_STATISTICS, .answered = answered, .user_data = user_data});
}

void tbx_vm_process_forget(TbxVmProcess *self, guint32 serial)
{
    GList *link = find_request(self, serial);

    g_assert(link != NULL);
    g_free(link->data);
    g_queue_delete_link(&self->requests, link);
}

/* Takes the request that a message answers out of the queue; NULL: there is none. */
static Request *take_request(TbxVmProcess *self, guint32 serial, gboolean wants_statistics)
{
    GList *link = find_request(self, serial);
    Request *request = link != NULL ? link->data : NULL;

    if (request == NULL || (request->answered != NULL) != wants_statistics)
        return NULL;
    g_queue_delete_link(&self->requests, link);
    return request;
}

void tbx_vm_process_send_input(TbxVmProcess *self, const guint8 *data, gsize length)
{
    guint8 datagram[sizeof(struct rt_header) + RT_CONSOLE_INPUT_CREDIT];
    struct rt_header header = {.type = RT_CONSOLE_INPUT};

    if (self->control == NULL || !self->is_known || length > RT_CONSOLE_INPUT_CREDIT)
        return;
    header.length = (guint32)(sizeof(header) + length);
    memcpy(datagram, &header, sizeof(header));
    memcpy(datagram + sizeof(header), data, length);
    tbx_control_send(self->control, datagram, sizeof(header) + length);
}

void tbx_vm_process_console_seen(TbxVmProcess *self)
{
    const struct rt_header header = {.type = RT_CONSOLE_SEEN, .length = sizeof(header)};

    if (self->control != NULL)
        tbx_control_send(self->control, &header, sizeof(header));
}

void tbx_vm_process_kill(TbxVmProcess *self)
{
    if (self->pidfd >= 0)
        (void)pidfd_send_signal(self->pidfd, SIGKILL, NULL, 0);
}

/* ---- what the runtime says ---------------------------------------------------------------- */

/* The slug for what a runtime refused. */
static const char *slug_of_refusal(const char *field, int code)
{
    if (g_str_equal(field, "kernel"))
        return "kernel-invalid";
    if (g_str_equal(field, "initrd"))
        return "initrd-invalid";
    if (g_str_equal(field, "kvm"))
        return "kvm-unavailable";
    if (g_str_equal(field, "memory_mb") && (code == -ENOMEM || code == -ENOSPC))
        return "insufficient-memory";
    if (g_str_equal(field, "memory_mb") || g_str_equal(field, "cpu_count") ||
        g_str_equal(field, "cmdline"))
        return "field-invalid";
    return "runtime-failed";
}

static void handle_refusal(TbxVmProcess *self, const struct rt_refused *refused)
{
    g_autoptr(GError) error =
        tbx_error_new(slug_of_refusal(refused->field, refused->code), refused->field, "%s: %s",
                      refused->field, refused->text);

    self->was_refused = TRUE;
    self->handlers->refused(error, self->user_data);
}

/* The connection can be used from now on. */
static void begin_requests(TbxVmProcess *self)
{
    /* Answers to what was asked on the old connection will not come. They fail last: what the runtime is
     * in by now may be what was asked for. */
    GQueue stale = take_requests(self, TRUE);

    for (GList *link = self->requests.head; link != NULL; link = link->next)
        send_request(self, link->data);
    self->handlers->connected(self->state, self->user_data);
    fail_requests(self, stale);
}

static void handle_state(TbxVmProcess *self, const struct rt_state *state)
{
    gboolean is_first = !self->is_known;

    if (!self->is_greeted)
        return;
    self->state = (enum rt_state_value)state->state;
    if (state->state == RT_STATE_STOPPED && self->reported == NULL && state->exit_name[0] != '\0') {
        self->reported = g_new0(TbxVmExit, 1);
        self->reported->reason = g_strdup(state->exit_name);
        if (state->exit_detail != 0)
            self->reported->detail =
                g_strdup_printf("detail %" G_GUINT64_FORMAT, (guint64)state->exit_detail);
        self->reported_clean = g_str_equal(state->exit_name, "guest-power-off") ||
                               g_str_equal(state->exit_name, "host-power-off");
    }
    self->is_known = TRUE;
    if (!is_first) {
        self->handlers->state(self->state, self->user_data);
        return;
    }
    tbx_source_clear(&self->timer);
    self->attempt = 0;
    begin_requests(self);
}

static void lose_connection(TbxVmProcess *self, const GError *error);

static void handle_hello(TbxVmProcess *self, const struct rt_hello *hello, int *descriptor)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxConsoleRing) ring = NULL;

    if (hello->version_min != hello->version_max || hello->version_min < RT_PROTOCOL_VERSION_MIN ||
        hello->version_min > RT_PROTOCOL_VERSION || (gint64)hello->pid != self->identity.pid)
        tbx_error_set(&error, "protocol-error", NULL, "The runtime greeted as somebody else");
    else if (!self->is_launch)
        ring = tbx_console_ring_new_from_fd(tbx_fd_take(descriptor), &error);
    if (error != NULL) {
        lose_connection(self, error);
        return;
    }
    /* A reconnected runtime hands over the ring that is mapped already: keep that, streams know it. */
    if (self->ring == NULL)
        self->ring = g_steal_pointer(&ring);
    self->is_greeted = TRUE;
}

static void on_message(const TbxControlMessage *message, int *descriptor, gpointer user_data)
{
    TbxVmProcess *self = user_data;
    g_autofree Request *request = NULL;

    g_ref_count_inc(&self->references);
    switch (message->header.type) {
    case RT_HELLO: handle_hello(self, &message->hello, descriptor); break;
    case RT_REFUSED: handle_refusal(self, &message->refused); break;
    case RT_STATE: handle_state(self, &message->state); break;
    case RT_REPLY:
        request = take_request(self, message->header.serial, FALSE);
        if (request != NULL)
            answer(self, request, message->reply.code, NULL);
        break;
    case RT_STATISTICS:
        request = take_request(self, message->header.serial, TRUE);
        if (request != NULL)
            answer(self, request, 0, &message->statistics);
        break;
    case RT_RESET_DONE:
        if (self->is_known)
            self->handlers->reset_done(message->reset_done.source != 0, self->user_data);
        break;
    case RT_CONSOLE_OUTPUT:
        if (self->is_known)
            self->handlers->console_output(self->user_data);
        break;
    case RT_CONSOLE_CREDIT:
        if (self->is_known)
            self->handlers->console_credit(message->credit.bytes, self->user_data);
        break;
    default: break;
    }
    process_unref(self);
}

static void on_closed(const GError *error, gpointer user_data)
{
    lose_connection(user_data, error);
}

static const TbxControlHandlers control_handlers = {
    .message = on_message,
    .closed = on_closed,
};

/* ---- connections -------------------------------------------------------------------------- */

static void use_connection(TbxVmProcess *self, int fd, gboolean is_launch)
{
    self->is_launch = is_launch;
    self->is_greeted = FALSE;
    self->is_known = FALSE;
    g_main_context_push_thread_default(self->home);
    self->control = tbx_control_new(fd, &control_handlers, self);
    g_main_context_pop_thread_default(self->home);
}

static gboolean on_silence(gpointer user_data)
{
    TbxVmProcess *self = user_data;
    g_autoptr(GError) error =
        tbx_error_new("timed-out", NULL, "The runtime did not answer within its time");

    tbx_source_clear(&self->timer);
    lose_connection(self, error);
    return G_SOURCE_REMOVE;
}

static void connect_again(TbxVmProcess *self)
{
    const struct rt_hello hello = {
        .header = {.type = RT_HELLO, .length = sizeof(hello)},
        .version_min = RT_PROTOCOL_VERSION_MIN,
        .version_max = RT_PROTOCOL_VERSION,
        .pid = (guint32)getpid(),
    };
    g_autoptr(GError) error = NULL;
    int fd = tbx_socket_connect_at(self->run_fd, TBX_PATH_CONTROL_SOCKET, &error);

    if (fd < 0) {
        lose_connection(self, error);
        return;
    }
    use_connection(self, fd, FALSE);
    self->timer = tbx_source_timer(self->home, TBX_ADOPT_TIMEOUT_MS, on_silence, self);
    tbx_control_send(self->control, &hello, sizeof(hello));
}

static gboolean on_next_attempt(gpointer user_data)
{
    TbxVmProcess *self = user_data;

    tbx_source_clear(&self->timer);
    connect_again(self);
    return G_SOURCE_REMOVE;
}

/* The connection ended, or could not be made. The end of the process, which may be the reason, is told
 * by the pidfd. */
static void lose_connection(TbxVmProcess *self, const GError *error)
{
    gboolean was_launching = self->is_launch && !self->is_known;
    g_autoptr(GError) kept = NULL;

    g_clear_pointer(&self->control, tbx_control_free);
    tbx_source_clear(&self->timer);
    g_ref_count_inc(&self->references);
    kept = error != NULL ? g_error_copy(error)
                         : tbx_error_new("runtime-failed", NULL, "The runtime hung up");
    if (self->handlers != NULL && was_launching) {
        /* Not a machine yet, hence nothing to lose: end it. */
        if (!self->was_refused && error != NULL)
            self->handlers->refused(kept, self->user_data);
        if (self->handlers != NULL)
            tbx_vm_process_kill(self);
    } else if (self->handlers != NULL && self->attempt < RECONNECT_ATTEMPTS) {
        self->timer = tbx_source_timer(self->home, RECONNECT_FIRST_MS << (2 * self->attempt),
                                       on_next_attempt, self);
        self->attempt++;
        self->handlers->disconnected(self->user_data);
    } else if (self->handlers != NULL) {
        self->handlers->unreachable(kept, self->user_data);
        fail_requests(self, take_requests(self, FALSE));
    }
    process_unref(self);
}

/* ---- the end ------------------------------------------------------------------------------ */

char *tbx_signal_get_name(int number)
{
    const char *abbreviation = sigabbrev_np(number);

    return abbreviation != NULL ? g_strconcat("SIG", abbreviation, NULL)
                                : g_strdup_printf("signal %d", number);
}

void tbx_vm_process_abandon(TbxVmProcess *self)
{
    tbx_vm_process_kill(self);
    self->is_abandoned = TRUE;
    self->handlers = NULL;
    tbx_source_clear(&self->timer);
    tbx_source_clear(&self->failing);
    g_clear_pointer(&self->control, tbx_control_free);
    fail_requests(self, take_requests(self, FALSE));
}

/* What the kernel says about the process. */
static TbxVmExit *describe_status(TbxVmProcess *self)
{
    TbxVmExit *exit = g_new0(TbxVmExit, 1);
    siginfo_t info = {0};

    if (waitid(P_PIDFD, (id_t)self->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) {
        exit->reason = g_strdup("exited");
        exit->detail = g_strdup("cause unknown: the process was started by an earlier daemon");
    } else if (info.si_code == CLD_EXITED) {
        exit->reason = g_strdup("exited");
        exit->exit_code = info.si_status;
        exit->detail = g_strdup_printf("tenbox-runtime ended with status %d", info.si_status);
    } else {
        exit->reason = g_strdup("killed");
        exit->signal = tbx_signal_get_name(info.si_status);
        exit->detail = g_strdup_printf("tenbox-runtime was ended by %s", exit->signal);
    }
    return exit;
}

static gboolean on_process_end(int fd, GIOCondition condition, gpointer user_data)
{
    TbxVmProcess *self = user_data;
    g_autoptr(TbxVmExit) status = NULL;

    tbx_source_clear(&self->exit_watch);
    g_ref_count_inc(&self->references);
    if (self->handlers != NULL && self->control != NULL)
        tbx_control_drain(self->control);
    if (self->is_abandoned) {
        status = describe_status(self); /* waits for it */
        tbx_vm_process_free(self);
    }
    if (self->handlers != NULL) {
        TbxVmExit *exit;

        g_clear_pointer(&self->control, tbx_control_free);
        tbx_source_clear(&self->timer);
        status = describe_status(self);
        exit = self->reported != NULL ? self->reported : status;
        exit->time = g_get_real_time();
        self->handlers->exited(exit, self->reported_clean, self->user_data);
    }
    process_unref(self);
    return G_SOURCE_REMOVE;
}

static void watch_exit(TbxVmProcess *self)
{
    self->exit_watch = tbx_source_watch_fd(self->home, self->pidfd, G_IO_IN, on_process_end, self);
}

/* ---- birth -------------------------------------------------------------------------------- */

/* Spawns @program with @socket_fd as descriptor 3. */
static gboolean spawn(const char *program, int socket_fd, int log_fd, GPid *ret_pid, GError **error)
{
    const char *const argv[] = {program, NULL};
    const char *const envp[] = {NULL};
    const GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                              (log_fd < 0 ? G_SPAWN_STDERR_TO_DEV_NULL : G_SPAWN_DEFAULT);
    const int source_fds[] = {socket_fd};
    const int target_fds[] = {RT_LAUNCH_DESCRIPTOR};
    g_autoptr(GError) failure = NULL;

    if (g_spawn_async_with_pipes_and_fds("/", argv, envp, flags, NULL, NULL, -1, -1, log_fd,
                                         source_fds, target_fds, 1, ret_pid, NULL, NULL, NULL,
                                         &failure))
        return TRUE;
    tbx_error_set(error, "runtime-failed", NULL, "%s could not be run: %s", program,
                  failure->message);
    return FALSE;
}

static gboolean send_launch(const TbxLaunch *launch, int fd, GError **error)
{
    guint8 datagram[RT_MESSAGE_MAX];
    gsize line_length = strlen(launch->command_line);
    struct rt_launch message = {
        .magic = RT_LAUNCH_MAGIC,
        .version_min = RT_PROTOCOL_VERSION_MIN,
        .version_max = RT_PROTOCOL_VERSION,
        .vcpu_count = (guint32)launch->cpu_count,
        .memory_size = (guint64)launch->memory_mb << 20,
        .descriptor_count = launch->resources->count,
        .command_line_length = (guint32)line_length,
        .mode = launch->mode,
    };

    if (line_length > RT_COMMAND_LINE_MAX) {
        tbx_error_set(error, "field-invalid", "cmdline", "cmdline is longer than %u bytes",
                      RT_COMMAND_LINE_MAX);
        return FALSE;
    }
    message.header.type = RT_LAUNCH;
    message.header.length = (guint32)(sizeof(message) + line_length);
    memcpy(message.descriptor_kinds, launch->resources->kinds, launch->resources->count);
    g_strlcpy(message.vm_id, launch->vm_id, sizeof(message.vm_id));
    memcpy(datagram, &message, sizeof(message));
    memcpy(datagram + sizeof(message), launch->command_line, line_length);
    return tbx_control_send_launch(fd, datagram, sizeof(message) + line_length,
                                   launch->resources->fds, launch->resources->count, error);
}

/* Makes what the parent makes and the runtime gets: ring and control socket. */
static gboolean add_own_resources(TbxVmProcess *self, const TbxLaunch *launch, GError **error)
{
    int fd;

    if (launch->mode == RT_MODE_PROBE)
        return TRUE;
    self->run_fd = fcntl(launch->run_fd, F_DUPFD_CLOEXEC, 3);
    self->ring = tbx_console_ring_new(error);
    if (self->ring == NULL)
        return FALSE;
    tbx_resources_add(launch->resources, RT_DESCRIPTOR_CONSOLE_RING,
                      fcntl(tbx_console_ring_get_fd(self->ring), F_DUPFD_CLOEXEC, 3));
    fd = tbx_socket_listen_at(self->run_fd, TBX_PATH_CONTROL_SOCKET, error);
    if (fd < 0)
        return FALSE;
    tbx_resources_add(launch->resources, RT_DESCRIPTOR_CONTROL, fd);
    if (launch->log_fd >= 0)
        tbx_resources_add(launch->resources, RT_DESCRIPTOR_LOG,
                          fcntl(launch->log_fd, F_DUPFD_CLOEXEC, 3));
    return TRUE;
}

/* The child exists and nobody will wait for it: end it and take its status. */
static void reap(GPid pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

TbxVmProcess *tbx_vm_process_launch(const TbxLaunch *launch, const TbxVmProcessHandlers *handlers,
                                    gpointer user_data, GError **error)
{
    g_autoptr(TbxVmProcess) self = process_new(handlers, user_data);
    TBX_AUTO_FD own_fd = -1;
    TBX_AUTO_FD child_fd = -1;
    int pair[2];
    GPid pid;

    if (!add_own_resources(self, launch, error))
        return NULL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        tbx_errno_set(error, errno, NULL, "The control socket could not be made");
        return NULL;
    }
    own_fd = pair[0];
    child_fd = pair[1];
    /* The message goes first: the runtime finds it when it looks. */
    if (!send_launch(launch, own_fd, error) ||
        !spawn(launch->program, child_fd, launch->log_fd, &pid, error))
        return NULL;
    self->pidfd = pidfd_open(pid, 0); /* always close-on-exec */
    if (self->pidfd < 0 || !tbx_process_identity_read(pid, &self->identity)) {
        /* Either no pidfd (a kernel before 5.3), or it ended before it could be looked at. */
        if (self->pidfd < 0) {
            tbx_errno_set(error, errno, NULL, "The runtime's process could not be watched");
            reap(pid);
            return NULL;
        }
        self->identity = (TbxProcessIdentity){.pid = pid};
    }
    watch_exit(self);
    use_connection(self, tbx_fd_take(&own_fd), TRUE);
    self->timer = tbx_source_timer(self->home, TBX_LAUNCH_TIMEOUT_MS, on_silence, self);
    tbx_resources_fini(launch->resources);
    return g_steal_pointer(&self);
}

TbxVmProcess *tbx_vm_process_adopt(const TbxProcessIdentity *identity, int run_fd,
                                   const TbxVmProcessHandlers *handlers, gpointer user_data)
{
    g_autoptr(TbxVmProcess) self = process_new(handlers, user_data);

    if (identity->pid <= 0)
        return NULL;
    self->pidfd = pidfd_open((pid_t)identity->pid, 0);
    /* In this order: once the pidfd is open, the pid cannot become another process's. */
    if (self->pidfd < 0 || !tbx_process_identity_is_present(identity))
        return NULL;
    self->identity = *identity;
    self->run_fd = fcntl(run_fd, F_DUPFD_CLOEXEC, 3);
    watch_exit(self);
    self->timer = tbx_source_timer(self->home, 0, on_next_attempt, self);
    return g_steal_pointer(&self);
}

/* ---- what is known ------------------------------------------------------------------------ */

const TbxProcessIdentity *tbx_vm_process_get_identity(TbxVmProcess *self)
{
    return &self->identity;
}

TbxConsoleRing *tbx_vm_process_get_ring(TbxVmProcess *self)
{
    return self->ring;
}

gboolean tbx_vm_process_is_connected(TbxVmProcess *self)
{
    return self->control != NULL && self->is_known;
}

enum rt_state_value tbx_vm_process_get_state(TbxVmProcess *self)
{
    return self->state;
}
