/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenbox-runtime/messages.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"

uint32_t rt_version_choose(uint32_t version_min, uint32_t version_max)
{
    if (version_min > version_max || version_max < RT_PROTOCOL_VERSION_MIN ||
        version_min > RT_PROTOCOL_VERSION)
        return 0;
    return (uint32_t)hv_min_u64(version_max, RT_PROTOCOL_VERSION);
}

static int parse_hello(const void *datagram, size_t length, struct rt_request *request)
{
    struct rt_hello hello;

    if (length != sizeof(hello))
        return -EBADMSG;
    memcpy(&hello, datagram, sizeof(hello));
    request->version_min = hello.version_min;
    request->version_max = hello.version_max;
    return 0;
}

int rt_request_parse(const void *datagram, size_t length, struct rt_request *ret_request)
{
    struct rt_request request = {0};
    struct rt_header header;
    bool wants_serial = true;
    int r = 0;

    if (length < sizeof(header) || length > RT_MESSAGE_MAX)
        return -EBADMSG;
    memcpy(&header, datagram, sizeof(header));
    if (header.length != length || header.flags != 0 || header.reserved != 0)
        return -EBADMSG;
    request.type = header.type;
    request.serial = header.serial;

    switch (header.type) {
    case RT_HELLO: r = parse_hello(datagram, length, &request); break;
    case RT_START:
    case RT_POWER_BUTTON:
    case RT_POWER_OFF:
    case RT_RESET:
    case RT_PAUSE:
    case RT_RESUME:
    case RT_CONSOLE_BREAK:
    case RT_GET_STATISTICS: r = length == sizeof(header) ? 0 : -EBADMSG; break;
    case RT_CONSOLE_SEEN:
        wants_serial = false;
        r = length == sizeof(header) ? 0 : -EBADMSG;
        break;
    case RT_CONSOLE_INPUT:
        wants_serial = false;
        request.data = (const uint8_t *)datagram + sizeof(header);
        request.data_length = length - sizeof(header);
        r = request.data_length >= 1 && request.data_length <= RT_CONSOLE_INPUT_CREDIT ? 0
                                                                                       : -EBADMSG;
        break;
    default: r = -EPROTO; break;
    }
    /* A greeting is answered by a greeting, with or without a number. */
    if (r != -EBADMSG && header.type != RT_HELLO && wants_serial != (header.serial != 0))
        return -EBADMSG;
    if (r != -EBADMSG)
        *ret_request = request;
    return r;
}

int rt_socket_receive(int fd, void *buffer, size_t capacity, int *descriptors,
                      size_t descriptor_capacity, size_t *ret_descriptor_count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(RT_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = buffer, .iov_len = capacity};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    size_t count = 0;
    bool is_bad;
    ssize_t n;

    *ret_descriptor_count = 0;
    do {
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;

    is_bad = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
         header = CMSG_NXTHDR(&message, header)) {
        size_t received;

        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        received = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < received; i++) {
            int received_fd;

            memcpy(&received_fd, CMSG_DATA(header) + i * sizeof(int), sizeof(received_fd));
            if (is_bad || count == descriptor_capacity) {
                close(received_fd);
                is_bad = true;
            } else {
                descriptors[count++] = received_fd;
            }
        }
    }
    if (is_bad) {
        while (count > 0)
            hv_close_fd(&descriptors[--count]);
        return -EBADMSG;
    }
    *ret_descriptor_count = count;
    return (int)n;
}

int rt_socket_send(int fd, const void *datagram, size_t length, int descriptor)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec vector = {.iov_base = (void *)datagram, .iov_len = length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t n;

    if (descriptor >= 0) {
        struct cmsghdr *header;

        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    do {
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}
