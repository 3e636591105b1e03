/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control protocol as a hostile controller speaks it: the input is a sequence of datagrams, each
 * behind a 16-bit length; each is parsed, and console input goes into a real input queue whose bounds
 * must hold whatever comes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hypervisor/base/hv-base.h"
#include "tenbox-runtime/console.h"
#include "tenbox-runtime/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void serve(struct rt_console *console, const uint8_t *datagram, size_t length)
{
    struct rt_request request;
    const uint8_t *input;
    size_t available;
    int r = rt_request_parse(datagram, length, &request);

    if (r == -EBADMSG)
        return;
    if (request.type == RT_HELLO &&
        rt_version_choose(request.version_min, request.version_max) > RT_PROTOCOL_VERSION)
        abort();
    if (request.type != RT_CONSOLE_INPUT || r < 0)
        return;
    if (request.data < datagram || request.data + request.data_length > datagram + length)
        abort();
    (void)rt_console_queue_input(console, request.data, request.data_length);
    available = rt_console_peek_input(console, &input);
    if (input + available > console->input + sizeof(console->input) ||
        console->input_length + console->credit_owed > sizeof(console->input))
        abort();
    rt_console_consume_input(console, request.serial % (available + 1));
    (void)rt_console_take_credit(console);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rt_console console = {.wake_fd = -1};

    while (size >= 2) {
        size_t length = hv_load_le16(data);

        data += 2;
        size -= 2;
        length = hv_min_u64(length, size);
        serve(&console, data, length);
        data += length;
        size -= length;
    }
    return 0;
}
