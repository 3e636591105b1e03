/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bounded input queue and the sink of a serial port; see console-port.h. */
#include "hypervisor/devices/console-port.h"

#include "hypervisor/base/hv-base.h"

static void report_ready(void *opaque)
{
    struct hv_console_port *port = opaque;

    port->sink.input_ready(port->sink.opaque);
}

void hv_console_port_init(struct hv_console_port *port, struct hv_loop *loop,
                          const struct hv_console_sink *sink)
{
    *port = (struct hv_console_port){.loop = loop, .sink = *sink};
    hv_loop_task_init(&port->ready, report_ready, port);
}

void hv_console_port_fini(struct hv_console_port *port)
{
    if (port->loop) {
        hv_loop_cancel(port->loop, &port->ready);
    }
}

/* There is room again: whoever was refused may come back. */
static void note_room(struct hv_console_port *port)
{
    if (port->is_input_refused && port->input_length <= HV_CONSOLE_INPUT_SIZE / 2) {
        port->is_input_refused = false;
        port->is_invitation_due = true;
    }
}

void hv_console_port_reset(struct hv_console_port *port)
{
    port->input_start = 0;
    port->input_length = 0;
    port->has_break = false;
    note_room(port);
}

void hv_console_port_output(struct hv_console_port *port, const uint8_t *data, size_t length)
{
    port->sink.output(port->sink.opaque, data, length);
}

size_t hv_console_port_push(struct hv_console_port *port, const uint8_t *data, size_t length)
{
    size_t taken = 0;

    while (taken < length && port->input_length < HV_CONSOLE_INPUT_SIZE) {
        port->input[(port->input_start + port->input_length) % HV_CONSOLE_INPUT_SIZE] =
            data[taken++];
        port->input_length++;
    }
    if (taken < length) {
        port->is_input_refused = true;
    }
    return taken;
}

int hv_console_port_push_break(struct hv_console_port *port)
{
    static const uint8_t zeros = 0;

    if (port->has_break || port->input_length == HV_CONSOLE_INPUT_SIZE) {
        return -EBUSY;
    }
    port->has_break = true;
    port->break_distance = port->input_length;
    hv_console_port_push(port, &zeros, 1);
    return 0;
}

bool hv_console_port_is_at_break(const struct hv_console_port *port)
{
    return port->has_break && port->break_distance == 0;
}

bool hv_console_port_pop(struct hv_console_port *port, uint8_t *ret_byte)
{
    if (port->input_length == 0) {
        return false;
    }
    *ret_byte = port->input[port->input_start];
    port->input_start = (port->input_start + 1) % HV_CONSOLE_INPUT_SIZE;
    port->input_length--;
    if (port->has_break && port->break_distance-- == 0) {
        port->has_break = false;
    }
    note_room(port);
    return true;
}

bool hv_console_port_take_invitation(struct hv_console_port *port)
{
    bool is_due = port->is_invitation_due;

    port->is_invitation_due = false;
    return is_due;
}

void hv_console_port_invite(struct hv_console_port *port)
{
    hv_loop_post(port->loop, &port->ready);
}
