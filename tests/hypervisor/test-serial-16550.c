/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The 16550A as its data sheet has it and as drivers use it: registers, the order of interrupt
 * causes, edges that must come and edges that must not, bounded input, and the probe by which an
 * 8250 driver tells this model from its many relatives.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/loop.h"
#include "hypervisor/devices/serial-16550.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/machine/machine.h"
#include "tests/hypervisor/tap.h"

#define BASE UINT64_C(0x3f8)

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, EFR = 2, LCR = 3, MCR = 4 };
enum { LSR = 5, MSR = 6, SCR = 7 };

#define RDI  0x01 /* IER */
#define THRI 0x02
#define RLSI 0x04
#define MSI  0x08

#define NO_INTERRUPT 0x01 /* IIR */
#define IS_THRI      0x02
#define IS_RDI       0x04
#define IS_RLSI      0x06
#define FIFOS        0xc0

#define ENABLE_FIFO    0x01 /* FCR */
#define CLEAR_RECEIVER 0x02
#define CLEAR_SENDER   0x04
#define FIFO_64        0x20

#define BREAK 0x40 /* LCR */
#define DLAB  0x80

#define DTR  0x01 /* MCR */
#define RTS  0x02
#define OUT1 0x04
#define OUT2 0x08
#define LOOP 0x10

#define DATA_READY 0x01 /* LSR */
#define BROKEN     0x10
#define IDLE       0x60

struct fixture {
    struct hv_loop *loop;
    struct hv_bus *bus;
    struct hv_serial_16550 *serial;
    char output[64];
    size_t output_length;
    atomic_uint edges;
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

    atomic_fetch_add(&fixture->edges, 1);
}

static void set_up_shifted(struct fixture *fixture, unsigned int register_shift)
{
    struct hv_serial_16550_config config = {
        .sink = {.output = note_output, .input_ready = note_invitation, .opaque = fixture},
        .raise_interrupt = note_edge,
        .interrupt_opaque = fixture,
        .register_shift = register_shift,
    };

    *fixture = (struct fixture){0};
    if (hv_loop_create(&fixture->loop) < 0 ||
        hv_bus_create(UINT16_MAX, "unassigned", &fixture->bus) < 0) {
        tap_bail("no loop or bus");
    }
    config.loop = fixture->loop;
    if (hv_serial_16550_create(&config, &fixture->serial) < 0 ||
        hv_serial_16550_attach(fixture->serial, fixture->bus, BASE) < 0) {
        tap_bail("no UART");
    }
    hv_bus_freeze(fixture->bus);
}

static void set_up(struct fixture *fixture)
{
    set_up_shifted(fixture, 0);
}

static void tear_down(struct fixture *fixture)
{
    hv_serial_16550_destroy(fixture->serial);
    hv_bus_destroy(fixture->bus);
    hv_loop_destroy(fixture->loop);
}

static unsigned int get(struct fixture *fixture, unsigned int index)
{
    return (unsigned int)hv_bus_read(fixture->bus, BASE + index, 1);
}

static void set(struct fixture *fixture, unsigned int index, uint8_t value)
{
    hv_bus_write(fixture->bus, BASE + index, 1, value);
}

static size_t give(struct fixture *fixture, const char *text)
{
    return hv_serial_16550_input(fixture->serial, (const uint8_t *)text, strlen(text));
}

static unsigned int take_edges(struct fixture *fixture)
{
    return atomic_exchange(&fixture->edges, 0);
}

static unsigned int take_invitations(struct fixture *fixture)
{
    unsigned int invitations;

    hv_loop_run_once(fixture->loop, 0);
    invitations = fixture->invitations;
    fixture->invitations = 0;
    return invitations;
}

static bool has_written(struct fixture *fixture, const char *expected)
{
    bool is_same = strcmp(fixture->output, expected) == 0;

    memset(fixture->output, 0, sizeof(fixture->output));
    fixture->output_length = 0;
    return is_same;
}

static uint64_t count_of(const struct hv_bus *bus, const char *name)
{
    struct hv_exit_count rows[8];
    size_t count = hv_bus_exit_counts(bus, rows, HV_ARRAY_SIZE(rows));

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].count;
        }
    }
    return UINT64_MAX;
}

/* --- registers --------------------------------------------------------------------------------- */

static void is_at_power_on(struct fixture *fixture, const char *when)
{
    tap_is(get(fixture, IER), 0, "IER %s", when);
    tap_is(get(fixture, IIR), NO_INTERRUPT, "IIR %s: no interrupt, no FIFOs", when);
    tap_is(get(fixture, LCR), 0, "LCR %s", when);
    tap_is(get(fixture, MCR), 0, "MCR %s", when);
    tap_is(get(fixture, LSR), IDLE, "LSR %s: nothing to read, all sent", when);
    tap_is(get(fixture, MSR), 0xb0, "MSR %s: CTS, DSR, DCD, nothing has changed", when);
    tap_is(get(fixture, SCR), 0, "SCR %s", when);
    tap_is(get(fixture, RBR), 0, "RBR %s", when);
    set(fixture, LCR, DLAB);
    tap_ok(get(fixture, DLL) == 12 && get(fixture, DLM) == 0, "the divisor %s: 9600 baud", when);
    set(fixture, LCR, 0);
}

static void test_registers(void)
{
    struct fixture fixture;

    set_up(&fixture);
    is_at_power_on(&fixture, "at power-on");

    set(&fixture, SCR, 0xa5);
    tap_is(get(&fixture, SCR), 0xa5, "SCR keeps what it is given");
    set(&fixture, MCR, 0xff);
    tap_is(get(&fixture, MCR), 0x1f, "MCR has five bits");
    set(&fixture, MCR, 0);
    set(&fixture, IER, 0xff);
    tap_is(get(&fixture, IER), 0x0f, "IER has four");
    set(&fixture, IER, 0);
    get(&fixture, IIR);
    take_edges(&fixture);
    set(&fixture, LSR, 0xff);
    set(&fixture, MSR, 0x00);
    tap_ok(get(&fixture, LSR) == IDLE && get(&fixture, MSR) == 0xb0, "LSR and MSR are read-only");

    set(&fixture, LCR, DLAB | 0x03);
    set(&fixture, DLL, 0x34);
    set(&fixture, DLM, 0x12);
    tap_ok(get(&fixture, DLL) == 0x34 && get(&fixture, DLM) == 0x12, "the divisor, with DLAB");
    tap_is(take_edges(&fixture), 0, "… raises no interrupt");
    tap_ok(has_written(&fixture, ""), "… and is not sent");
    set(&fixture, LCR, 0x03);
    tap_ok(get(&fixture, IER) == 0, "… and is not IER");
    set(&fixture, IER, RDI);
    set(&fixture, LCR, DLAB);
    tap_ok(get(&fixture, DLL) == 0x34 && get(&fixture, DLM) == 0x12,
           "IER, without DLAB, leaves it alone");
    set(&fixture, LCR, 0);
    tap_is(get(&fixture, IER), RDI, "… and is kept");

    hv_bus_write(fixture.bus, BASE + SCR, 2, 0x4433);
    tap_is(get(&fixture, SCR), 0xa5, "two bytes at the last register are nobody's");
    hv_bus_write(fixture.bus, BASE + LCR, 4, 0x0f1b1c1d);
    tap_ok(get(&fixture, LCR) == 0x1d && get(&fixture, MCR) == 0,
           "a wider write reaches the first register alone");
    set(&fixture, SCR, 0x77);
    tap_is(hv_bus_read(fixture.bus, BASE + LCR, 4), 0x1d, "a wider read, too");
    tap_is(hv_bus_read(fixture.bus, BASE + 8, 1), 0xff, "behind the last register is nothing");
    tear_down(&fixture);
}

static void test_register_shift(void)
{
    struct fixture fixture;

    set_up_shifted(&fixture, 2);
    hv_bus_write(fixture.bus, BASE + 4 * SCR, 4, 0x5a);
    tap_is(hv_bus_read(fixture.bus, BASE + 4 * SCR, 4), 0x5a, "registers four bytes apart");
    tap_is(hv_bus_read(fixture.bus, BASE + 4 * LSR, 1), IDLE, "… each in its place");
    tap_is(hv_bus_read(fixture.bus, BASE + 4 * 8, 1), 0xff, "… and none behind them");
    tear_down(&fixture);
}

static void test_reset(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, LCR, DLAB | BREAK | 0x1f);
    set(&fixture, DLL, 1);
    set(&fixture, DLM, 1);
    set(&fixture, LCR, 0);
    set(&fixture, FCR, ENABLE_FIFO);
    set(&fixture, IER, 0x0f);
    set(&fixture, MCR, LOOP | OUT2);
    set(&fixture, SCR, 1);
    give(&fixture, "xyz");
    take_edges(&fixture);
    hv_serial_16550_reset(fixture.serial);
    tap_is(take_edges(&fixture), 0, "a reset raises no interrupt");
    is_at_power_on(&fixture, "after a reset");
    set(&fixture, IER, RDI);
    give(&fixture, "a");
    tap_is(take_edges(&fixture), 1, "after a reset interrupts come as before");
    tear_down(&fixture);
    hv_serial_16550_destroy(NULL);
}

/* --- output ------------------------------------------------------------------------------------ */

static void test_output(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, THR, 'h');
    set(&fixture, THR, 'i');
    tap_ok(has_written(&fixture, "hi"), "bytes are sent in order");
    tap_is(get(&fixture, LSR), IDLE, "… and at once");
    tap_is(take_edges(&fixture), 0, "… without an interrupt that nobody enabled");
    set(&fixture, LCR, BREAK | 0x03);
    set(&fixture, THR, '!');
    tap_ok(has_written(&fixture, "!"), "a break is not modelled: bytes pass");
    tap_is(get(&fixture, LSR), IDLE, "… and no break comes back");
    set(&fixture, LCR, DLAB | 0x03);
    set(&fixture, THR, '?');
    tap_ok(has_written(&fixture, ""), "with DLAB nothing is sent");
    tear_down(&fixture);
}

/* --- interrupts -------------------------------------------------------------------------------- */

static void test_transmitter_interrupt(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IER, THRI);
    tap_is(take_edges(&fixture), 1, "enabling THRI while all is sent: an edge");
    set(&fixture, IER, THRI);
    tap_is(take_edges(&fixture), 0, "… enabled it is already: none");
    tap_is(get(&fixture, IIR), IS_THRI, "IIR says why");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "… once: reading acknowledges");
    tap_is(take_edges(&fixture), 0, "… without an edge");
    set(&fixture, THR, 'a');
    tap_is(take_edges(&fixture), 1, "a byte is sent: an edge");
    set(&fixture, THR, 'b');
    tap_is(take_edges(&fixture), 0, "another, before the first was acknowledged: none");
    tap_is(get(&fixture, IIR), IS_THRI, "one cause for both");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "… acknowledged once");

    set(&fixture, IER, 0);
    set(&fixture, IER, THRI);
    tap_is(take_edges(&fixture), 1, "disabled and enabled: an edge, as drivers expect");
    set(&fixture, IER, 0);
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "disabled it is not shown");
    set(&fixture, IER, RDI);
    tap_is(take_edges(&fixture), 0, "… nor is it a cause for others");
    tear_down(&fixture);
}

static void test_receiver_interrupt(void)
{
    struct fixture fixture;

    set_up(&fixture);
    tap_is(give(&fixture, "ab"), 2, "two bytes come in");
    tap_is(take_edges(&fixture), 0, "… nobody wants to know");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY, "… but LSR tells");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "… and IIR does not");
    set(&fixture, IER, RDI);
    tap_is(take_edges(&fixture), 1, "enabling RDI while data wait: an edge");
    tap_is(get(&fixture, IIR), IS_RDI, "IIR says why");
    tap_is(get(&fixture, IIR), IS_RDI, "… and again: reading IIR takes no data");
    tap_is(give(&fixture, "c"), 1, "another byte");
    tap_is(take_edges(&fixture), 0, "… no edge: the cause never went away");
    tap_is(get(&fixture, RBR), 'a', "first in");
    tap_is(get(&fixture, IIR), IS_RDI, "more is waiting");
    tap_ok(get(&fixture, RBR) == 'b' && get(&fixture, RBR) == 'c', "… in order");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "all read");
    tap_is(get(&fixture, LSR), IDLE, "… says LSR, too");
    tap_is(get(&fixture, RBR), 0, "an empty receiver reads zero");
    tap_is(take_edges(&fixture), 0, "… and none of this was an edge");
    give(&fixture, "d");
    tap_is(take_edges(&fixture), 1, "the next byte is");
    set(&fixture, IER, 0);
    set(&fixture, IER, RDI);
    tap_is(take_edges(&fixture), 1, "masked and unmasked: an edge for what still waits");
    set(&fixture, LCR, DLAB);
    tap_is(get(&fixture, DLL), 12, "with DLAB the divisor is read");
    set(&fixture, LCR, 0);
    tap_is(get(&fixture, RBR), 'd', "… and no byte is lost by it");
    tear_down(&fixture);
}

static void test_priorities(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IER, THRI | RDI);
    take_edges(&fixture);
    give(&fixture, "x");
    tap_is(take_edges(&fixture), 0, "a second cause while one is shown: no edge");
    tap_is(get(&fixture, IIR), IS_RDI, "received data come first");
    tap_is(get(&fixture, IIR), IS_RDI, "… and reading that does not acknowledge the other");
    get(&fixture, RBR);
    tap_is(get(&fixture, IIR), IS_THRI, "the transmitter's turn");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "none left");

    /* The order in which a driver that serves one cause a time goes wrong, if the line does. */
    give(&fixture, "y");
    tap_is(take_edges(&fixture), 1, "a byte");
    set(&fixture, THR, 'z');
    get(&fixture, RBR);
    tap_is(take_edges(&fixture), 0, "causes overlap: the line never fell");
    tap_is(get(&fixture, IIR), IS_THRI, "… so the driver reads on and finds the other");
    tap_is(get(&fixture, IIR), NO_INTERRUPT, "… until there is none");
    set(&fixture, IER, RLSI | MSI);
    set(&fixture, MCR, DTR | RTS | OUT2);
    tap_ok(take_edges(&fixture) == 0 && get(&fixture, IIR) == NO_INTERRUPT,
           "line and modem status never interrupt: they do not change");
    tear_down(&fixture);
}

/* --- FIFOs ------------------------------------------------------------------------------------- */

static void test_fifos(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, FCR, ENABLE_FIFO | CLEAR_RECEIVER | CLEAR_SENDER | 0xc0);
    tap_is(get(&fixture, IIR), FIFOS | NO_INTERRUPT, "IIR shows the FIFOs of a 16550A");
    set(&fixture, IER, RDI);
    give(&fixture, "abc");
    tap_is(get(&fixture, IIR), FIFOS | IS_RDI, "… beside a cause, whatever the trigger level");
    take_edges(&fixture);
    set(&fixture, FCR, ENABLE_FIFO);
    tap_is(get(&fixture, RBR), 'a', "writing FCR anew keeps the data");
    set(&fixture, FCR, ENABLE_FIFO | CLEAR_SENDER);
    tap_is(get(&fixture, RBR), 'b', "clearing the sender, too");
    set(&fixture, FCR, ENABLE_FIFO | CLEAR_RECEIVER);
    tap_ok(get(&fixture, LSR) == IDLE && get(&fixture, IIR) == (FIFOS | NO_INTERRUPT),
           "clearing the receiver drops them, and the cause");
    give(&fixture, "d");
    tap_is(take_edges(&fixture), 1, "… so the next byte is an edge");
    set(&fixture, FCR, 0);
    tap_ok(get(&fixture, LSR) == IDLE && get(&fixture, IIR) == NO_INTERRUPT,
           "switching the FIFOs off clears them");
    give(&fixture, "e");
    set(&fixture, FCR, CLEAR_RECEIVER | CLEAR_SENDER);
    tap_is(get(&fixture, RBR), 'e', "without ENABLE the other bits are not programmed");
    give(&fixture, "f");
    set(&fixture, FCR, ENABLE_FIFO);
    tap_is(get(&fixture, LSR), IDLE, "switching them on clears them, too");
    tear_down(&fixture);
}

/* --- loopback ---------------------------------------------------------------------------------- */

static void test_loopback(void)
{
    struct fixture fixture;
    bool is_right = true;

    set_up(&fixture);
    for (unsigned int outputs = 0; outputs < 16; outputs++) {
        unsigned int expected = (outputs & RTS ? 0x10 : 0) | (outputs & DTR ? 0x20 : 0) |
                                (outputs & OUT1 ? 0x40 : 0) | (outputs & OUT2 ? 0x80 : 0);

        set(&fixture, MCR, (uint8_t)(LOOP | outputs));
        is_right = is_right && (get(&fixture, MSR) & 0xf0) == expected;
        set(&fixture, MCR, (uint8_t)outputs);
        is_right = is_right && get(&fixture, MSR) == 0xb0;
    }
    tap_ok(is_right, "in loopback the four outputs are the four inputs, and only then");

    set(&fixture, MCR, LOOP);
    set(&fixture, IER, RDI);
    take_edges(&fixture);
    set(&fixture, THR, 'q');
    tap_ok(has_written(&fixture, ""), "in loopback nothing leaves");
    tap_is(take_edges(&fixture), 1, "… it comes back");
    tap_is(get(&fixture, RBR), 'q', "… as it was");
    for (unsigned int i = 0; i < 2 * HV_CONSOLE_INPUT_SIZE; i++) {
        set(&fixture, THR, (uint8_t)i);
    }
    tap_is(get(&fixture, RBR), 0, "too much of it: the oldest byte is there");
    set(&fixture, MCR, 0);
    set(&fixture, THR, 'r');
    tap_ok(has_written(&fixture, "r"), "without loopback bytes leave again");
    tear_down(&fixture);
}

/* --- bounded input ----------------------------------------------------------------------------- */

static void test_back_pressure(void)
{
    static const char page[2 * HV_CONSOLE_INPUT_SIZE] = {[0 ... sizeof(page) - 1] = 'p'};
    struct fixture fixture;
    size_t taken;
    unsigned int read = 0;

    set_up(&fixture);
    tap_is(hv_serial_16550_input(fixture.serial, NULL, 0), 0, "nothing is given, nothing taken");
    taken = hv_serial_16550_input(fixture.serial, (const uint8_t *)page, sizeof(page));
    tap_is(taken, HV_CONSOLE_INPUT_SIZE, "input is taken up to the bound");
    tap_is(give(&fixture, "more"), 0, "… and not beyond");
    tap_is(take_invitations(&fixture), 0, "no invitation while there is no room");
    while (read < HV_CONSOLE_INPUT_SIZE / 2 - 1) {
        get(&fixture, RBR);
        read++;
    }
    tap_is(take_invitations(&fixture), 0, "… nor before half of it is read");
    get(&fixture, RBR);
    read++;
    tap_is(take_invitations(&fixture), 1, "then one");
    get(&fixture, RBR);
    read++;
    tap_is(take_invitations(&fixture), 0, "… and no second");
    tap_is(give(&fixture, "end"), 3, "there is room again");
    while (read < HV_CONSOLE_INPUT_SIZE) {
        read += get(&fixture, RBR) == 'p';
    }
    tap_ok(get(&fixture, RBR) == 'e' && get(&fixture, RBR) == 'n' && get(&fixture, RBR) == 'd',
           "what was taken arrives, in order and once");
    tap_is(take_invitations(&fixture), 0, "nobody was refused, nobody is invited");

    hv_serial_16550_input(fixture.serial, (const uint8_t *)page, sizeof(page));
    set(&fixture, FCR, ENABLE_FIFO);
    tap_is(take_invitations(&fixture), 1, "clearing the FIFO makes room, too");
    hv_serial_16550_input(fixture.serial, (const uint8_t *)page, sizeof(page));
    hv_serial_16550_reset(fixture.serial);
    tap_is(take_invitations(&fixture), 1, "… as does a reset");

    hv_serial_16550_input(fixture.serial, (const uint8_t *)page, sizeof(page));
    set(&fixture, FCR, ENABLE_FIFO);
    tear_down(&fixture);
    tap_ok(true, "a port with an invitation under way can go");
}

/* --- what a driver does ------------------------------------------------------------------------ */

/*
 * The questions that Linux's 8250 driver asks until it knows the model. Every wrong answer would
 * make it another one, with registers that are not here.
 */
static void test_autoconfiguration(void)
{
    struct fixture fixture;
    unsigned int first, second;

    set_up(&fixture);
    set(&fixture, IER, 0);
    first = get(&fixture, IER) & 0x0f;
    set(&fixture, IER, 0x0f);
    second = get(&fixture, IER) & 0x0f;
    set(&fixture, IER, 0);
    tap_ok(first == 0 && second == 0x0f, "there is a UART: IER keeps four bits");

    set(&fixture, MCR, LOOP | OUT2 | RTS);
    tap_is(get(&fixture, MSR) & 0xf0, 0x90, "… and loopback works");
    set(&fixture, MCR, 0);

    set(&fixture, LCR, 0xbf);
    set(&fixture, EFR, 0);
    set(&fixture, LCR, 0);
    set(&fixture, FCR, ENABLE_FIFO);
    tap_is(get(&fixture, IIR) >> 6, 3, "it has FIFOs that work: a 16550A or better");

    set(&fixture, LCR, DLAB);
    tap_ok(get(&fixture, EFR) != 0, "no EFR with DLAB: not a 16C650");
    set(&fixture, LCR, 0xbf);
    tap_ok(get(&fixture, EFR) != 0, "no EFR with 0xbf: not a 16C650V2 or a 16C950");

    set(&fixture, LCR, 0);
    first = get(&fixture, MCR);
    set(&fixture, LCR, 0xe0);
    second = get(&fixture, 2);
    tap_ok(!((first ^ second) & LOOP), "no bank switch at first sight");
    set(&fixture, LCR, 0);
    set(&fixture, MCR, (uint8_t)(first ^ LOOP));
    set(&fixture, LCR, 0xe0);
    second = get(&fixture, 2);
    set(&fixture, LCR, 0);
    set(&fixture, MCR, (uint8_t)first);
    tap_ok(!((first ^ second) & LOOP), "… and none at second: not a National super I/O");

    set(&fixture, FCR, ENABLE_FIFO | FIFO_64);
    first = get(&fixture, IIR) >> 5;
    set(&fixture, FCR, ENABLE_FIFO);
    set(&fixture, LCR, DLAB);
    set(&fixture, FCR, ENABLE_FIFO | FIFO_64);
    second = get(&fixture, IIR) >> 5;
    set(&fixture, FCR, ENABLE_FIFO);
    set(&fixture, LCR, 0);
    tap_ok(!(first == 6 && second == 7) && first == second, "no FIFO of 64 bytes: not a 16750");

    set(&fixture, IER, 0x40);
    tap_is(get(&fixture, IER) & 0x40, 0, "no bit to switch the unit on: not an XScale");
    set(&fixture, IER, 0);
    tap_ok(has_written(&fixture, ""), "all of this sends nothing");
    tear_down(&fixture);
}

/* Start-up of the same driver: two bugs of other UARTs that it looks for. */
static void test_start_up(void)
{
    struct fixture fixture;
    unsigned int first, second, status;

    set_up(&fixture);
    set(&fixture, FCR, ENABLE_FIFO);
    set(&fixture, FCR, ENABLE_FIFO | CLEAR_RECEIVER | CLEAR_SENDER);
    set(&fixture, FCR, 0);
    get(&fixture, LSR);
    get(&fixture, RBR);
    get(&fixture, IIR);
    get(&fixture, MSR);
    tap_ok(get(&fixture, LSR) != 0xff, "LSR is not that of an empty slot");

    set(&fixture, IER, THRI);
    first = get(&fixture, IIR);
    set(&fixture, IER, 0);
    set(&fixture, IER, THRI);
    second = get(&fixture, IIR);
    set(&fixture, IER, 0);
    tap_ok(!(first & NO_INTERRUPT) && !(second & NO_INTERRUPT),
           "THRI comes back when it is enabled anew: no timer is needed");

    set(&fixture, IER, THRI);
    status = get(&fixture, LSR);
    first = get(&fixture, IIR);
    set(&fixture, IER, 0);
    tap_ok((status & 0x40) && !(first & NO_INTERRUPT), "… and on the first enabling: no BUG_TXEN");
    tear_down(&fixture);
}

/* --- counting, threads ------------------------------------------------------------------------- */

static void test_counters(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, LCR, DLAB);
    set(&fixture, DLL, 1);
    set(&fixture, LCR, 3);
    get(&fixture, LSR);
    tap_ok(count_of(fixture.bus, "serial") == 4 && count_of(fixture.bus, "serial-data") == 0,
           "set-up is counted as such, the divisor included");
    set(&fixture, THR, 'a');
    get(&fixture, LSR);
    get(&fixture, LSR);
    set(&fixture, THR, 'b');
    get(&fixture, RBR);
    tap_ok(count_of(fixture.bus, "serial") == 4 && count_of(fixture.bus, "serial-data") == 5,
           "data, and the polls that go with them, apart");
    get(&fixture, IIR);
    get(&fixture, LSR);
    tap_ok(count_of(fixture.bus, "serial") == 6 && count_of(fixture.bus, "serial-data") == 5,
           "anything else ends the transfer");
    tap_is(count_of(fixture.bus, "unassigned"), 0, "and nothing was nobody's");
    tear_down(&fixture);
}

#define BYTES_PER_THREAD 20000u

struct reader {
    struct fixture *fixture;
    unsigned int received;
    bool is_in_order;
};

/* A vCPU that polls, while the main loop pushes. */
static void *read_all(void *opaque)
{
    struct reader *reader = opaque;

    reader->is_in_order = true;
    while (reader->received < BYTES_PER_THREAD) {
        if (!(get(reader->fixture, LSR) & DATA_READY)) {
            continue;
        }
        if (get(reader->fixture, RBR) != (reader->received & 0xff)) {
            reader->is_in_order = false;
        }
        reader->received++;
    }
    return NULL;
}

static void test_threads(void)
{
    struct fixture fixture;
    struct reader reader = {.fixture = &fixture};
    unsigned int sent = 0, waits = 0;
    pthread_t thread;

    set_up(&fixture);
    set(&fixture, IER, RDI);
    if (pthread_create(&thread, NULL, read_all, &reader)) {
        tap_bail("no thread");
    }
    while (sent < BYTES_PER_THREAD) {
        uint8_t bytes[64];
        size_t wanted = hv_min_u64(sizeof(bytes), BYTES_PER_THREAD - sent), taken;

        for (size_t i = 0; i < wanted; i++) {
            bytes[i] = (uint8_t)(sent + i);
        }
        taken = hv_serial_16550_input(fixture.serial, bytes, wanted);
        sent += (unsigned int)taken;
        if (taken < wanted) {
            /* Refused: wait to be invited. If the invitation were lost, this would hang. */
            while (fixture.invitations == 0) {
                hv_loop_run_once(fixture.loop, -1);
            }
            fixture.invitations = 0;
            waits++;
        }
    }
    pthread_join(thread, NULL);
    printf("# refused and invited again %u times\n", waits);
    tap_ok(reader.is_in_order && reader.received == BYTES_PER_THREAD,
           "a pusher and a reader: every byte once, in order");
    tap_ok(take_edges(&fixture) > 0 && get(&fixture, IIR) == NO_INTERRUPT,
           "… and no cause is left");
    tear_down(&fixture);
}

/* --- a break ----------------------------------------------------------------------------------- */

static void test_break(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, FCR, ENABLE_FIFO);
    set(&fixture, IER, RDI | RLSI);
    tap_is(give(&fixture, "a"), 1, "a byte before the break");
    take_edges(&fixture);
    tap_is((uint64_t)hv_serial_16550_break(fixture.serial), 0, "a break");
    tap_ok(hv_serial_16550_break(fixture.serial) == -EBUSY, "one at a time");
    tap_is(give(&fixture, "h"), 1, "a byte behind it");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY, "the byte before it has no break");
    tap_is(get(&fixture, RBR), 'a', "that byte");
    tap_is(get(&fixture, IIR), IS_RLSI | FIFOS, "the line status comes first");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY | BROKEN, "the break is at the front");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY, "reading LSR clears it");
    tap_is(get(&fixture, IIR), IS_RDI | FIFOS, "its byte is still there");
    tap_is(get(&fixture, RBR), 0, "a byte of zeros");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY, "the byte behind it has no break");
    tap_is(get(&fixture, RBR), 'h', "that byte");
    tap_is(get(&fixture, IIR), NO_INTERRUPT | FIFOS, "no cause is left");
    /* A driver that does not ask for line status finds it with the data; a second break is a new one. */
    set(&fixture, IER, RDI);
    take_edges(&fixture);
    tap_is((uint64_t)hv_serial_16550_break(fixture.serial), 0, "another break");
    tap_is(take_edges(&fixture), 1, "data interrupts");
    tap_is(get(&fixture, LSR), IDLE | DATA_READY | BROKEN, "and LSR says what it is");
    tap_is((uint64_t)get(&fixture, RBR), 0, "its byte");
    /* Whoever clears the receiver clears the break. */
    tap_is((uint64_t)hv_serial_16550_break(fixture.serial), 0, "a third");
    set(&fixture, FCR, ENABLE_FIFO | CLEAR_RECEIVER);
    tap_is(get(&fixture, LSR), IDLE, "cleared with the FIFO");
    tap_is((uint64_t)hv_serial_16550_break(fixture.serial), 0, "a fourth");
    hv_serial_16550_reset(fixture.serial);
    tap_is(get(&fixture, LSR), IDLE, "a reset forgets it");
    tear_down(&fixture);
}

/* Where the queue is full there is no room for a break, and its place is kept while bytes are read. */
static void test_break_in_full_queue(void)
{
    struct fixture fixture;
    char text[HV_CONSOLE_INPUT_SIZE];
    unsigned int before = 0;

    set_up(&fixture);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    tap_is(give(&fixture, text), HV_CONSOLE_INPUT_SIZE - 1, "all but one");
    tap_is((uint64_t)hv_serial_16550_break(fixture.serial), 0, "a break takes the last place");
    tap_is(give(&fixture, "y"), 0, "and nothing else fits");
    while (!(get(&fixture, LSR) & BROKEN) && before <= HV_CONSOLE_INPUT_SIZE) {
        before += get(&fixture, RBR) == 'x';
    }
    tap_is(before, HV_CONSOLE_INPUT_SIZE - 1, "it comes behind them all");
    tap_is((uint64_t)get(&fixture, RBR), 0, "its byte");
    tap_is(get(&fixture, LSR), IDLE, "empty");
    tap_is(give(&fixture, text), HV_CONSOLE_INPUT_SIZE - 1, "full but for one");
    tap_is(give(&fixture, "y"), 1, "full");
    tap_ok(hv_serial_16550_break(fixture.serial) == -EBUSY, "no room for a break");
    tear_down(&fixture);
}

int main(void)
{
    test_registers();
    test_register_shift();
    test_reset();
    test_output();
    test_transmitter_interrupt();
    test_receiver_interrupt();
    test_priorities();
    test_fifos();
    test_loopback();
    test_back_pressure();
    test_autoconfiguration();
    test_start_up();
    test_counters();
    test_threads();
    test_break();
    test_break_in_full_queue();
    return tap_done();
}
