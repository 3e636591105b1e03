/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Datagrams of a controller, good and bad, and descriptors that come uninvited.
 */
#include "tenbox-runtime/messages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

static void test_requests(void)
{
    static const struct {
        const char *what;
        uint16_t type;
        uint32_t serial;
        size_t extra;
        int result;
    } rows[] = {
        {"start", RT_START, 1, 0, 0},
        {"pause", RT_PAUSE, 7, 0, 0},
        {"a request without a serial number", RT_PAUSE, 0, 0, -EBADMSG},
        {"a request with a tail", RT_RESET, 1, 4, -EBADMSG},
        {"a break", RT_CONSOLE_BREAK, 3, 0, 0},
        {"a break with a tail", RT_CONSOLE_BREAK, 3, 1, -EBADMSG},
        {"a break that wants no answer", RT_CONSOLE_BREAK, 0, 0, -EBADMSG},
        {"console input", RT_CONSOLE_INPUT, 0, 10, 0},
        {"the largest console input", RT_CONSOLE_INPUT, 0, RT_CONSOLE_INPUT_CREDIT, 0},
        {"console input beyond it", RT_CONSOLE_INPUT, 0, RT_CONSOLE_INPUT_CREDIT + 1, -EBADMSG},
        {"empty console input", RT_CONSOLE_INPUT, 0, 0, -EBADMSG},
        {"console input that wants an answer", RT_CONSOLE_INPUT, 3, 1, -EBADMSG},
        {"console seen", RT_CONSOLE_SEEN, 0, 0, 0},
        {"a request of the future", 999, 5, 12, -EPROTO},
        {"a message of the future that wants no answer", 999, 0, 12, -EBADMSG},
        {"a message of the other direction", RT_STATE, 1, 48, -EPROTO},
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        uint8_t datagram[RT_MESSAGE_MAX] = {0};
        size_t length = sizeof(struct rt_header) + rows[i].extra;
        struct rt_header header = rt_header(rows[i].type, length, rows[i].serial);
        struct rt_request request = {.type = 0xffff};
        int r;

        memcpy(datagram, &header, sizeof(header));
        r = rt_request_parse(datagram, length, &request);
        tap_ok(r == rows[i].result && (r == -EBADMSG ? request.type == 0xffff
                                                     : request.type == rows[i].type &&
                                                           request.serial == rows[i].serial),
               "%s: %d", rows[i].what, r);
    }
}

static void test_headers(void)
{
    struct rt_header header = rt_header(RT_START, sizeof(header), 1);
    struct rt_request request;

    tap_ok(rt_request_parse(&header, sizeof(header) - 1, &request) == -EBADMSG,
           "half a header is refused");
    tap_ok(rt_request_parse(&header, 0, &request) == -EBADMSG, "nothing is refused");
    header.length = 1000;
    tap_ok(rt_request_parse(&header, sizeof(header), &request) == -EBADMSG,
           "a length that is not the datagram's is refused");
    header = rt_header(RT_START, sizeof(header), 1);
    header.flags = 1;
    tap_ok(rt_request_parse(&header, sizeof(header), &request) == -EBADMSG,
           "unknown flags are refused");
}

static void test_versions(void)
{
    tap_ok(rt_version_choose(1, 1) == 1, "version 1 with version 1");
    tap_ok(rt_version_choose(1, 1000) == RT_PROTOCOL_VERSION, "a newer peer is met at our version");
    tap_ok(rt_version_choose(RT_PROTOCOL_VERSION + 1, 1000) == 0, "a peer beyond us is not met");
    tap_ok(rt_version_choose(0, 0) == 0 && rt_version_choose(5, 1) == 0, "nonsense is not met");
}

static size_t count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    if (folder == NULL)
        tap_bail("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void test_uninvited_descriptors(void)
{
    int pair[2];
    int received[1] = {-1};
    size_t received_count = 9;
    size_t before;
    uint8_t buffer[64];
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        tap_bail("socketpair");
    before = count_descriptors();

    if (rt_socket_send(pair[0], "x", 1, STDIN_FILENO) < 0)
        tap_bail("send");
    r = rt_socket_receive(pair[1], buffer, sizeof(buffer), NULL, 0, &received_count);
    tap_ok(r == -EBADMSG && received_count == 0 && count_descriptors() == before,
           "a descriptor that nobody wants is closed with its datagram");

    if (rt_socket_send(pair[0], "x", 1, STDIN_FILENO) < 0)
        tap_bail("send");
    r = rt_socket_receive(pair[1], buffer, sizeof(buffer), received, 1, &received_count);
    tap_ok(r == 1 && received_count == 1 && (fcntl(received[0], F_GETFD) & FD_CLOEXEC) != 0,
           "a wanted one arrives, close-on-exec");
    hv_close_fd(&received[0]);

    if (rt_socket_send(pair[0], buffer, sizeof(buffer), STDIN_FILENO) < 0)
        tap_bail("send");
    r = rt_socket_receive(pair[1], buffer, sizeof(buffer) - 1, received, 1, &received_count);
    tap_ok(r == -EBADMSG && received_count == 0 && count_descriptors() == before,
           "a datagram that is too large is refused whole, its descriptor closed");

    tap_ok(rt_socket_receive(pair[1], buffer, sizeof(buffer), NULL, 0, &received_count) == -EAGAIN,
           "an empty socket does not block");
    close(pair[0]);
    tap_ok(rt_socket_receive(pair[1], buffer, sizeof(buffer), NULL, 0, &received_count) == 0,
           "the end of the connection is seen");
    close(pair[1]);
}

int main(void)
{
    test_requests();
    test_headers();
    test_versions();
    test_uninvited_descriptors();
    return tap_done();
}
