/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

#define ACCEPT_RETRY_MS 1000

static void log_error(struct rt_control *control, const char *what, int error)
{
    char line[128];

    snprintf(line, sizeof(line), "control: %s: errno %d", what, -error);
    control->ops->log(control->opaque, LOG_WARNING, line);
}

/* The connection has come to its end by itself. */
static void lose_connection(struct rt_control *control)
{
    rt_control_disconnect(control);
    control->ops->disconnected(control->opaque);
}

/* The parent of this process and everything that may adopt it run as the same user. */
static bool is_same_user(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

static void on_connection_ready(void *opaque, int fd, uint32_t events)
{
    struct rt_control *control = opaque;
    uint8_t datagram[RT_MESSAGE_MAX];
    struct rt_request request;
    int unexpected_fd = -1;
    size_t descriptor_count;
    int length;
    int r;

    length =
        rt_socket_receive(fd, datagram, sizeof(datagram), &unexpected_fd, 1, &descriptor_count);
    /* No request carries a descriptor. */
    hv_close_fd(&unexpected_fd);
    if (length == -EAGAIN)
        return;
    if (length <= 0) {
        if (length < 0)
            log_error(control, "the controller's datagram could not be received", length);
        lose_connection(control);
        return;
    }
    r = rt_request_parse(datagram, (size_t)length, &request);
    if (r == -EBADMSG) {
        log_error(control, "the controller sent a malformed datagram", r);
        lose_connection(control);
        return;
    }
    control->ops->request(control->opaque, &request, r);
}

/* Makes @fd (taken) the connection. */
static int replace_connection(struct rt_control *control, int fd)
{
    int r;

    rt_control_disconnect(control);
    r = hv_loop_add_fd(control->loop, &control->connection_source, fd, EPOLLIN, on_connection_ready,
                       control);
    if (r < 0) {
        close(fd);
        return r;
    }
    control->connection_fd = fd;
    return 0;
}

static void on_listener_ready(void *opaque, int listen_fd, uint32_t events)
{
    struct rt_control *control = opaque;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        int error = -errno;

        if (error == -EAGAIN || error == -EINTR || error == -ECONNABORTED)
            return;
        /* Out of descriptors or memory: level-triggered readiness would spin. */
        log_error(control, "accept", error);
        hv_loop_remove_fd(&control->listen_source);
        hv_loop_timer_start(&control->accept_timer, ACCEPT_RETRY_MS);
        return;
    }
    if (!is_same_user(fd)) {
        control->ops->log(control->opaque, LOG_WARNING, "control: refused another user");
        close(fd);
        return;
    }
    if (replace_connection(control, fd) == 0)
        control->ops->connected(control->opaque);
}

static void on_accept_timer(void *opaque)
{
    struct rt_control *control = opaque;

    if (hv_loop_add_fd(control->loop, &control->listen_source, control->listen_fd, EPOLLIN,
                       on_listener_ready, control) < 0)
        hv_loop_timer_start(&control->accept_timer, ACCEPT_RETRY_MS);
}

int rt_control_init(struct rt_control *control, struct hv_loop *loop, int *listen_fd,
                    int *connection_fd, const struct rt_control_ops *ops, void *opaque)
{
    int r;

    *control = (struct rt_control){
        .loop = loop,
        .ops = ops,
        .opaque = opaque,
        .listen_fd = *listen_fd,
        .connection_fd = *connection_fd,
    };
    r = hv_loop_timer_init(loop, &control->accept_timer, on_accept_timer, control);
    if (r == 0)
        r = hv_loop_add_fd(loop, &control->listen_source, *listen_fd, EPOLLIN, on_listener_ready,
                           control);
    if (r == 0)
        r = hv_loop_add_fd(loop, &control->connection_source, *connection_fd, EPOLLIN,
                           on_connection_ready, control);
    if (r < 0) {
        control->listen_fd = -1;
        control->connection_fd = -1;
        rt_control_fini(control);
        return r;
    }
    *listen_fd = -1;
    *connection_fd = -1;
    return 0;
}

void rt_control_fini(struct rt_control *control)
{
    if (control->loop == NULL)
        return;
    rt_control_disconnect(control);
    hv_loop_remove_fd(&control->listen_source);
    hv_loop_timer_fini(&control->accept_timer);
    hv_close_fd(&control->listen_fd);
    control->loop = NULL;
}

bool rt_control_is_connected(const struct rt_control *control)
{
    return control->connection_fd >= 0;
}

void rt_control_disconnect(struct rt_control *control)
{
    if (control->connection_fd < 0)
        return;
    hv_loop_remove_fd(&control->connection_source);
    hv_close_fd(&control->connection_fd);
}

void rt_control_send(struct rt_control *control, const void *datagram, size_t length,
                     int descriptor)
{
    int r;

    if (control->connection_fd < 0)
        return;
    r = rt_socket_send(control->connection_fd, datagram, length, descriptor);
    if (r < 0) {
        if (r != -EPIPE && r != -ECONNRESET)
            log_error(control, "the controller does not read and is disconnected", r);
        lose_connection(control);
    }
}

void rt_control_reply(struct rt_control *control, uint32_t serial, int code)
{
    struct rt_reply reply = {
        .header = rt_header(RT_REPLY, sizeof(reply), serial),
        .code = code,
    };

    rt_control_send(control, &reply, sizeof(reply), -1);
}
