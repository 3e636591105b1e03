/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "libtenbox/local/files.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

/* What a runtime that has ended can have left in the socket: more than any buffer holds. */
#define DRAIN_MAX 4096

/* More than any message may carry, so that too many are seen as such. */
#define DESCRIPTORS_PER_MESSAGE 4

struct _TbxControl {
    grefcount references; /* one for the owner, one for each handler that runs */
    int fd;
    GMainContext *home;
    const TbxControlHandlers *handlers; /* NULL once freed by the owner */
    gpointer user_data;
    GSource *input;
    GSource *output; /* while @queue is not empty */
    GSource *ending; /* will call closed() */
    GQueue queue;    /* of GBytes */
    GError *failure; /* why @ending; nullable */
};

/* ---- checking ----------------------------------------------------------------------------- */

static gboolean refuse(GError **error, const char *what)
{
    tbx_error_set(error, "protocol-error", NULL, "The runtime sent a malformed message: %s", what);
    return FALSE;
}

/* Printable ASCII that ends within @size. */
static gboolean is_text(const char *text, gsize size)
{
    gsize length = strnlen(text, size);

    for (gsize i = 0; i < length; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e)
            return FALSE;
    }
    return length < size;
}

static gboolean check_statistics(const struct rt_statistics *statistics, gsize length,
                                 GError **error)
{
    gsize head = G_STRUCT_OFFSET(struct rt_statistics, rows);

    if (statistics->row_count > RT_STATISTICS_ROWS_MAX ||
        length != head + statistics->row_count * sizeof(statistics->rows[0]))
        return refuse(error, "statistics with the wrong number of rows");
    for (guint i = 0; i < statistics->row_count; i++) {
        if (!is_text(statistics->rows[i].name, sizeof(statistics->rows[i].name)))
            return refuse(error, "a statistics row without a name");
    }
    return TRUE;
}

static gboolean check_content(const TbxControlMessage *message, gsize length, GError **error)
{
    switch (message->header.type) {
    case RT_REFUSED:
        return (message->refused.code < 0 &&
                is_text(message->refused.field, sizeof(message->refused.field)) &&
                is_text(message->refused.text, sizeof(message->refused.text))) ||
               refuse(error, "a refusal without code or text");
    case RT_REPLY:
        return (message->reply.code <= 0 && message->header.serial != 0) ||
               refuse(error, "a reply without number");
    case RT_STATE:
        return (message->state.state >= RT_STATE_CREATED &&
                message->state.state <= RT_STATE_STOPPED &&
                is_text(message->state.exit_name, sizeof(message->state.exit_name))) ||
               refuse(error, "an unknown state");
    case RT_CONSOLE_CREDIT:
        return message->credit.bytes <= RT_CONSOLE_INPUT_CREDIT || refuse(error, "too much credit");
    case RT_STATISTICS: return check_statistics(&message->statistics, length, error);
    default: return TRUE;
    }
}

/* The size of a message of @type, its least size for those that vary, 0 for unknown ones. */
static gsize size_of_type(guint type)
{
    switch (type) {
    case RT_HELLO: return sizeof(struct rt_hello);
    case RT_REFUSED: return sizeof(struct rt_refused);
    case RT_REPLY: return sizeof(struct rt_reply);
    case RT_STATE: return sizeof(struct rt_state);
    case RT_CONSOLE_OUTPUT: return sizeof(struct rt_console_output);
    case RT_CONSOLE_CREDIT: return sizeof(struct rt_console_credit);
    case RT_RESET_DONE: return sizeof(struct rt_reset_done);
    case RT_STATISTICS: return G_STRUCT_OFFSET(struct rt_statistics, rows);
    default: return 0;
    }
}

gboolean tbx_control_parse(const void *datagram, gsize length, TbxControlMessage *ret_message,
                           GError **error)
{
    TbxControlMessage message = {0};
    gsize size;

    if (length < sizeof(message.header) || length > RT_MESSAGE_MAX)
        return refuse(error, "its length is impossible");
    memcpy(&message.header, datagram, sizeof(message.header));
    if (message.header.length != length || message.header.flags != 0 ||
        message.header.reserved != 0)
        return refuse(error, "its header contradicts it");
    size = size_of_type(message.header.type);
    if (size == 0)
        return refuse(error, "its type is unknown");
    if (length < size || (length != size && message.header.type != RT_STATISTICS) ||
        length > sizeof(message))
        return refuse(error, "its length does not fit its type");
    memcpy(&message, datagram, length);
    if (!check_content(&message, length, error))
        return FALSE;
    *ret_message = message;
    return TRUE;
}

/* ---- the connection ----------------------------------------------------------------------- */

static void control_unref(TbxControl *self)
{
    if (!g_ref_count_dec(&self->references))
        return;
    g_main_context_unref(self->home);
    g_clear_error(&self->failure);
    g_free(self);
}

static void stop_io(TbxControl *self)
{
    tbx_source_clear(&self->input);
    tbx_source_clear(&self->output);
    g_queue_clear_full(&self->queue, (GDestroyNotify)g_bytes_unref);
}

static gboolean on_ending(gpointer user_data)
{
    TbxControl *self = user_data;

    tbx_source_clear(&self->ending);
    g_ref_count_inc(&self->references);
    if (self->handlers != NULL)
        self->handlers->closed(self->failure, self->user_data);
    control_unref(self);
    return G_SOURCE_REMOVE;
}

/* The connection is over: closed() follows from the main loop. Takes @error. */
static void end_connection(TbxControl *self, GError *error)
{
    if (self->ending != NULL || self->fd < 0) {
        g_clear_error(&error);
        return;
    }
    stop_io(self);
    self->failure = error;
    self->ending = tbx_source_timer(self->home, 0, on_ending, self);
}

/* Takes the descriptors out of @msg. The first goes to *ret_descriptor, the others are closed. Returns
 * how many there were. */
static guint take_descriptors(struct msghdr *msg, int *ret_descriptor)
{
    guint count = 0;

    *ret_descriptor = -1;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (gsize i = 0; i < (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, count++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
            if (count == 0)
                *ret_descriptor = fd;
            else
                close(fd);
        }
    }
    return count;
}

/* One datagram. FALSE: there is none, or the connection is over. */
static gboolean receive_one(TbxControl *self)
{
    guint8 datagram[RT_MESSAGE_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DESCRIPTORS_PER_MESSAGE * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = datagram, .iov_len = sizeof(datagram)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    TBX_AUTO_FD descriptor = -1;
    TbxControlMessage message;
    GError *error = NULL;
    ssize_t length = recvmsg(self->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    guint count;

    /* A runtime that ended without having read all resets the connection, and the kernel tells that
     * once, ahead of the messages it had sent before: its last words are still there. */
    if (length < 0 && errno == ECONNRESET)
        length = recvmsg(self->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return FALSE;
    if (length <= 0) {
        if (length < 0 && errno != ECONNRESET)
            tbx_errno_set(&error, errno, NULL, "The runtime's message could not be received");
        end_connection(self, error);
        return FALSE;
    }
    count = take_descriptors(&msg, &descriptor);
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || count > 1) {
        refuse(&error, "it is too large");
        end_connection(self, error);
        return FALSE;
    }
    if (!tbx_control_parse(datagram, (gsize)length, &message, &error)) {
        end_connection(self, error);
        return FALSE;
    }
    self->handlers->message(&message, &descriptor, self->user_data);
    return self->handlers != NULL && self->ending == NULL;
}

static gboolean on_input(int fd, GIOCondition condition, gpointer user_data)
{
    TbxControl *self = user_data;
    guint turn = 0;

    g_ref_count_inc(&self->references);
    while (turn++ < TBX_CONTROL_TURN && receive_one(self))
        continue;
    control_unref(self);
    return G_SOURCE_CONTINUE;
}

void tbx_control_drain(TbxControl *self)
{
    guint turn = 0;

    g_ref_count_inc(&self->references);
    while (self->ending == NULL && self->handlers != NULL && turn++ < DRAIN_MAX &&
           receive_one(self))
        continue;
    control_unref(self);
}

TbxControl *tbx_control_new(int fd, const TbxControlHandlers *handlers, gpointer user_data)
{
    TbxControl *self = g_new0(TbxControl, 1);

    g_ref_count_init(&self->references);
    self->fd = fd;
    self->home = g_main_context_ref_thread_default();
    self->handlers = handlers;
    self->user_data = user_data;
    self->input =
        tbx_source_watch_fd(self->home, fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, self);
    return self;
}

void tbx_control_free(TbxControl *self)
{
    if (self == NULL)
        return;
    self->handlers = NULL;
    stop_io(self);
    tbx_source_clear(&self->ending);
    tbx_fd_close(&self->fd);
    control_unref(self);
}

/* TRUE: sent, or the connection is over. FALSE: the socket is full. */
static gboolean try_send(TbxControl *self, const void *datagram, gsize length)
{
    ssize_t sent = send(self->fd, datagram, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    GError *error = NULL;

    if (sent >= 0)
        return TRUE;
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
        return FALSE;
    /* What the runtime said before it hung up is still to be read: reading finds the end. */
    if (errno == EPIPE || errno == ECONNRESET)
        return TRUE;
    tbx_errno_set(&error, errno, NULL, "A message to the runtime could not be sent");
    end_connection(self, error);
    return TRUE;
}

static gboolean on_output(int fd, GIOCondition condition, gpointer user_data)
{
    TbxControl *self = user_data;

    while (!g_queue_is_empty(&self->queue)) {
        GBytes *bytes = g_queue_peek_head(&self->queue);
        gsize length;
        const void *data = g_bytes_get_data(bytes, &length);

        if (!try_send(self, data, length))
            return G_SOURCE_CONTINUE;
        if (self->ending != NULL)
            return G_SOURCE_REMOVE;
        g_bytes_unref(g_queue_pop_head(&self->queue));
    }
    g_clear_pointer(&self->output, g_source_unref);
    return G_SOURCE_REMOVE;
}

void tbx_control_send(TbxControl *self, const void *datagram, gsize length)
{
    if (self->ending != NULL)
        return;
    if (g_queue_is_empty(&self->queue) && try_send(self, datagram, length))
        return;
    if (self->queue.length >= TBX_CONTROL_QUEUE_MAX) {
        end_connection(self, tbx_error_new("runtime-failed", NULL, "The runtime does not read"));
        return;
    }
    g_queue_push_tail(&self->queue, g_bytes_new(datagram, length));
    if (self->output == NULL)
        self->output = tbx_source_watch_fd(self->home, self->fd, G_IO_OUT | G_IO_HUP | G_IO_ERR,
                                           on_output, self);
}

gboolean tbx_control_send_launch(int fd, const void *datagram, gsize length, const int *descriptors,
                                 guint descriptor_count, GError **error)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RT_DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(guintptr)datagram, .iov_len = length};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int)),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), descriptors, descriptor_count * sizeof(int));
    if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length)
        return TRUE;
    tbx_errno_set(error, errno, NULL, "The launch message could not be sent");
    return FALSE;
}
