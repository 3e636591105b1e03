/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PL011 as a driver sees it: identification, output, the receive queue, and above all the
 * interrupt, which is an edge where the real one is a level, so that none may be lost.
 */
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/loop.h"
#include "hypervisor/devices/pl011.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/machine/machine.h"
#include "tests/hypervisor/tap.h"

#define BASE UINT64_C(0x9000000)

#define DR   0x00
#define RSR  0x04
#define FR   0x18
#define LCRH 0x2c
#define IFLS 0x34
#define IMSC 0x38
#define RIS  0x3c
#define MIS  0x40
#define ICR  0x44

#define RX 0x10
#define TX 0x20
#define RT 0x40
#define BE 0x200

struct fixture {
    struct hv_loop *loop;
    struct hv_bus *bus;
    struct hv_pl011 *uart;
    char output[64];
    size_t output_length;
    unsigned int edges;
    unsigned int invitations;
};

static void note_output(void *opaque, const uint8_t *data, size_t length)
{
    struct fixture *fixture = opaque;

    for (size_t i = 0; i < length && fixture->output_length < sizeof(fixture->output) - 1; i++) {
        fixture->output[fixture->output_length++] = (char)data[i];
    }
}

static void note_invitation(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->invitations++;
}

static void note_edge(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->edges++;
}

static void set_up(struct fixture *fixture)
{
    struct hv_pl011_config config = {
        .sink = {.output = note_output, .input_ready = note_invitation, .opaque = fixture},
        .raise_interrupt = note_edge,
        .interrupt_opaque = fixture,
    };

    *fixture = (struct fixture){0};
    if (hv_loop_create(&fixture->loop) < 0 ||
        hv_bus_create(UINT64_MAX, "none", &fixture->bus) < 0) {
        tap_bail("no loop or bus");
    }
    config.loop = fixture->loop;
    if (hv_pl011_create(&config, &fixture->uart) < 0 ||
        hv_pl011_attach(fixture->uart, fixture->bus, BASE) < 0) {
        tap_bail("no UART");
    }
    hv_bus_freeze(fixture->bus);
}

static void tear_down(struct fixture *fixture)
{
    hv_pl011_destroy(fixture->uart);
    hv_bus_destroy(fixture->bus);
    hv_loop_destroy(fixture->loop);
}

static uint32_t get(struct fixture *fixture, uint64_t offset)
{
    return (uint32_t)hv_bus_read(fixture->bus, BASE + offset, 4);
}

static void set(struct fixture *fixture, uint64_t offset, uint32_t value)
{
    hv_bus_write(fixture->bus, BASE + offset, 4, value);
}

static size_t give(struct fixture *fixture, const char *text)
{
    return hv_pl011_input(fixture->uart, (const uint8_t *)text, strlen(text));
}

static unsigned int take_edges(struct fixture *fixture)
{
    unsigned int edges = fixture->edges;

    fixture->edges = 0;
    return edges;
}

static uint64_t count_of(const struct fixture *fixture, const char *name)
{
    struct hv_exit_count rows[8];
    size_t count = hv_bus_exit_counts(fixture->bus, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count && i < HV_ARRAY_SIZE(rows); i++) {
        if (!strcmp(rows[i].name, name)) {
            return rows[i].count;
        }
    }
    return UINT64_MAX;
}

static void test_identification(void)
{
    static const uint8_t id[] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    struct fixture fixture;

    set_up(&fixture);
    for (unsigned int i = 0; i < sizeof(id); i++) {
        tap_is(get(&fixture, 0xfe0 + 4 * i), id[i], "identification byte %u", i);
    }
    tear_down(&fixture);
}

static void test_output(void)
{
    struct fixture fixture;

    set_up(&fixture);
    for (const char *c = "hello"; *c; c++) {
        tap_ok(!(get(&fixture, FR) & 0x20), "the transmit FIFO has room");
        hv_bus_write(fixture.bus, BASE + DR, 2, (uint8_t)*c); /* Linux writes half words */
    }
    tap_ok(!strcmp(fixture.output, "hello"), "the bytes come out");
    tap_is(get(&fixture, FR) & 0x88, 0x80, "the FIFO is empty, the line idle");
    tap_is(take_edges(&fixture), 0, "no interrupt that nobody asked for");
    tap_is(count_of(&fixture, "serial-data"), 5 + 5 + 0, "data and polls are counted as data");
    tap_is(count_of(&fixture, "serial"), 1, "but not the poll before the first byte");
    tear_down(&fixture);
}

static void test_transmit_interrupt(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IMSC, TX);
    tap_is(take_edges(&fixture), 0, "the FIFO has not run empty yet");
    set(&fixture, DR, 'a');
    tap_is(take_edges(&fixture), 1, "now it has");
    tap_is(get(&fixture, MIS), TX, "and says so");
    set(&fixture, DR, 'b');
    tap_is(take_edges(&fixture), 1, "again, though nobody has cleared it");
    set(&fixture, ICR, TX);
    tap_is(get(&fixture, RIS), 0, "cleared");
    set(&fixture, IMSC, 0);
    set(&fixture, DR, 'c');
    tap_is(take_edges(&fixture), 0, "masked");
    tap_is(get(&fixture, RIS), TX, "but pending");
    set(&fixture, IMSC, TX);
    tap_is(take_edges(&fixture), 1, "unmasking what is pending interrupts");
    tear_down(&fixture);
}

static void test_receive(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, LCRH, 0x70);
    set(&fixture, IMSC, RX | RT);
    tap_is(get(&fixture, FR) & 0x10, 0x10, "nothing to receive");
    tap_is(get(&fixture, DR), 0, "reading nothing is zero");
    tap_is(give(&fixture, "ab"), 2, "two bytes");
    tap_is(take_edges(&fixture), 1, "one interrupt");
    tap_is(get(&fixture, MIS), RT, "below the threshold only the time-out is pending");
    set(&fixture, ICR, RT | RX);
    tap_is(get(&fixture, MIS), RT, "clearing does not make bytes go away");
    tap_is(give(&fixture, "c"), 1, "another while the interrupt is pending");
    tap_is(take_edges(&fixture), 1, "interrupts again");
    tap_is(get(&fixture, DR), 'a', "a");
    tap_is(get(&fixture, DR), 'b', "b");
    tap_is(get(&fixture, DR), 'c', "c");
    tap_is(get(&fixture, MIS), 0, "nothing is pending any more");
    tap_is(get(&fixture, FR) & 0x10, 0x10, "empty");
    tap_is(take_edges(&fixture), 0, "reading raises nothing");
    tear_down(&fixture);
}

static void test_threshold(void)
{
    static const unsigned int thresholds[] = {4, 8, 16, 24, 28};
    struct fixture fixture;

    for (unsigned int i = 0; i < HV_ARRAY_SIZE(thresholds); i++) {
        set_up(&fixture);
        set(&fixture, LCRH, 0x10);
        set(&fixture, IFLS, i << 3);
        for (unsigned int k = 1; k < thresholds[i]; k++) {
            give(&fixture, "x");
        }
        tap_is(get(&fixture, RIS) & RX, 0, "not at %u bytes", thresholds[i] - 1);
        give(&fixture, "x");
        tap_is(get(&fixture, RIS) & RX, RX, "at %u bytes", thresholds[i]);
        tear_down(&fixture);
    }
    set_up(&fixture);
    give(&fixture, "x");
    tap_is(get(&fixture, RIS) & RX, RX, "without FIFOs one byte is enough");
    tap_is(get(&fixture, FR) & 0x40, 0x40, "and fills the receiver");
    tear_down(&fixture);
}

static void test_bounds(void)
{
    struct fixture fixture;
    char text[HV_CONSOLE_INPUT_SIZE + 100];
    unsigned int received = 0;

    set_up(&fixture);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    tap_is(give(&fixture, text), HV_CONSOLE_INPUT_SIZE, "the queue takes what it holds");
    tap_is(give(&fixture, "y"), 0, "and no more");
    while (!(get(&fixture, FR) & 0x10)) {
        received += get(&fixture, DR) == 'x';
    }
    tap_is(received, HV_CONSOLE_INPUT_SIZE, "all of it arrives");
    tap_is(hv_loop_run_once(fixture.loop, 0) < 0, 0, "the loop turns");
    tap_is(fixture.invitations, 1, "whoever was refused is invited, once");
    tear_down(&fixture);
}

static void test_reset(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IMSC, RX | TX | RT);
    give(&fixture, "abc");
    set(&fixture, DR, 'x');
    take_edges(&fixture);
    hv_pl011_reset(fixture.uart);
    tap_is(get(&fixture, RIS), 0, "nothing is pending");
    tap_is(get(&fixture, IMSC), 0, "nothing is enabled");
    tap_is(get(&fixture, 0x30), 0x300, "the control register has its first value");
    tap_is(get(&fixture, FR) & 0x10, 0x10, "the queue is empty");
    tap_is(take_edges(&fixture), 0, "a reset interrupts nobody");
    tear_down(&fixture);
}

/* Whatever a guest writes wherever, in whatever size: registers keep to their bits. */
static void test_hostile(void)
{
    static const unsigned int sizes[] = {1, 2, 4, 8};
    struct fixture fixture;

    set_up(&fixture);
    for (unsigned int s = 0; s < HV_ARRAY_SIZE(sizes); s++) {
        for (uint64_t offset = 0; offset + sizes[s] <= HV_PL011_SIZE; offset++) {
            hv_bus_write(fixture.bus, BASE + offset, sizes[s], UINT64_MAX);
            hv_bus_read(fixture.bus, BASE + offset, sizes[s]);
        }
    }
    tap_is(get(&fixture, IMSC), 0x7ff, "the mask has eleven bits");
    tap_is(get(&fixture, LCRH), 0xff, "line control eight");
    tap_is(get(&fixture, 0x30) & 0x80, 0, "loopback cannot be switched on");
    tap_is(get(&fixture, 0x48), 0, "there is no DMA");
    tap_is(get(&fixture, 0x0ff2), 0, "between registers there is nothing");
    tear_down(&fixture);
}

static void test_break(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, LCRH, 0x70);
    set(&fixture, IMSC, RX | RT | BE);
    tap_is(give(&fixture, "a"), 1, "a byte before the break");
    take_edges(&fixture);
    tap_is((uint64_t)hv_pl011_break(fixture.uart), 0, "a break");
    tap_ok(hv_pl011_break(fixture.uart) == -EBUSY, "one at a time");
    tap_is(take_edges(&fixture), 1, "it interrupts");
    tap_is(get(&fixture, MIS), RT | BE, "and says why");
    tap_is(give(&fixture, "h"), 1, "a byte behind it");
    tap_is(get(&fixture, DR), 'a', "the byte before it has no break");
    tap_is(get(&fixture, RSR), 0, "nor has its status");
    tap_is(get(&fixture, DR), 0x400, "a byte of zeros with the break bit");
    tap_is(get(&fixture, RSR), 0x4, "and the status");
    set(&fixture, RSR, 0);
    tap_is(get(&fixture, RSR), 0, "which a write clears");
    tap_is(get(&fixture, DR), 'h', "the byte behind it has none");
    tap_is(get(&fixture, MIS), BE, "the interrupt stays");
    set(&fixture, ICR, BE);
    tap_is(get(&fixture, RIS) & BE, 0, "until it is cleared");
    tap_is((uint64_t)hv_pl011_break(fixture.uart), 0, "another one");
    hv_pl011_reset(fixture.uart);
    tap_is(get(&fixture, RIS), 0, "a reset forgets it");
    tear_down(&fixture);
}

int main(void)
{
    test_identification();
    test_output();
    test_transmit_interrupt();
    test_receive();
    test_threshold();
    test_bounds();
    test_reset();
    test_hostile();
    test_break();
    return tap_done();
}
