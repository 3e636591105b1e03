/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The small devices of aarch64 machines: the PL061 with the power button, as gpio-keys of Linux
 * uses it, and the PL031 clock.
 */
#include "hypervisor/base/hv-base.h"
#include "hypervisor/devices/pl031.h"
#include "hypervisor/devices/pl061.h"
#include "hypervisor/machine/bus.h"
#include "tests/hypervisor/tap.h"

#define GPIO UINT64_C(0x9020000)
#define RTC  UINT64_C(0x9010000)

#define DIR 0x400
#define IS  0x404
#define IBE 0x408
#define IEV 0x40c
#define IE  0x410
#define RIS 0x414
#define MIS 0x418
#define IC  0x41c

#define PIN  3u
#define BIT  (1u << PIN)
#define DATA (BIT << 2) /* the data register, this pin alone */

struct fixture {
    struct hv_bus *bus;
    struct hv_pl061 *gpio;
    struct hv_pl031 *clock;
    unsigned int edges;
};

static void note_edge(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->edges++;
}

static uint64_t fixed_time(void *opaque)
{
    return UINT64_C(0x123456789);
}

static void set_up(struct fixture *fixture)
{
    const struct hv_pl061_config config = {
        .raise_interrupt = note_edge,
        .interrupt_opaque = fixture,
    };

    *fixture = (struct fixture){0};
    if (hv_bus_create(UINT64_MAX, "none", &fixture->bus) < 0 ||
        hv_pl061_create(&config, &fixture->gpio) < 0 ||
        hv_pl061_attach(fixture->gpio, fixture->bus, GPIO) < 0 ||
        hv_pl031_create(fixed_time, NULL, &fixture->clock) < 0 ||
        hv_pl031_attach(fixture->clock, fixture->bus, RTC) < 0) {
        tap_bail("no devices");
    }
    hv_bus_freeze(fixture->bus);
}

static void tear_down(struct fixture *fixture)
{
    hv_pl061_destroy(fixture->gpio);
    hv_pl031_destroy(fixture->clock);
    hv_bus_destroy(fixture->bus);
}

static uint32_t get(struct fixture *fixture, uint64_t offset)
{
    return (uint32_t)hv_bus_read(fixture->bus, GPIO + offset, 1);
}

static void set(struct fixture *fixture, uint64_t offset, uint32_t value)
{
    hv_bus_write(fixture->bus, GPIO + offset, 1, value);
}

static unsigned int take_edges(struct fixture *fixture)
{
    unsigned int edges = fixture->edges;

    fixture->edges = 0;
    return edges;
}

/* As Linux asks for both edges of a pin. */
static void listen(struct fixture *fixture)
{
    set(fixture, IS, 0);
    set(fixture, IBE, BIT);
    set(fixture, IC, BIT);
    set(fixture, IE, BIT);
}

static void test_button(void)
{
    struct fixture fixture;

    set_up(&fixture);
    listen(&fixture);
    tap_is(take_edges(&fixture), 0, "nothing happens by itself");

    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 1, "a press interrupts");
    tap_is(get(&fixture, MIS), BIT, "on its pin");
    set(&fixture, IC, BIT);
    tap_is(get(&fixture, MIS), 0, "acknowledged");
    tap_is(take_edges(&fixture), 0, "and quiet");
    tap_is(get(&fixture, 0x04 << 2), 0, "reading another pin");
    tap_is(get(&fixture, RIS), 0, "releases nothing");
    tap_is(get(&fixture, DATA), BIT, "after the debounce time the button is still down");
    tap_is(take_edges(&fixture), 1, "that look releases it, which is an edge too");
    tap_is(get(&fixture, MIS), BIT, "on its pin");
    set(&fixture, IC, BIT);
    tap_is(get(&fixture, DATA), 0, "up");
    tap_is(take_edges(&fixture), 0, "and quiet");

    hv_pl061_press(fixture.gpio, PIN);
    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 1, "two presses before a look are one");
    tear_down(&fixture);
}

static void test_early_press(void)
{
    struct fixture fixture;

    set_up(&fixture);
    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 0, "nobody listens yet");
    listen(&fixture);
    tap_is(get(&fixture, DATA), BIT, "a driver that comes later sees the press");
    tap_is(take_edges(&fixture), 1, "and then the release");
    tear_down(&fixture);
}

static void test_edges(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IE, BIT);
    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 0, "falling edges only: a press is none");
    get(&fixture, DATA);
    tap_is(take_edges(&fixture), 1, "a release is one");
    set(&fixture, IC, BIT);
    set(&fixture, IEV, BIT);
    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 1, "rising edges only: a press is one");
    set(&fixture, IC, BIT);
    get(&fixture, DATA);
    tap_is(take_edges(&fixture), 0, "a release is none");
    tear_down(&fixture);
}

static void test_level(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, IS, BIT);
    set(&fixture, IEV, BIT);
    set(&fixture, IE, BIT);
    hv_pl061_press(fixture.gpio, PIN);
    tap_is(take_edges(&fixture), 1, "a high level interrupts");
    set(&fixture, IC, BIT);
    tap_is(get(&fixture, MIS), BIT, "an acknowledgement does not end it");
    tap_is(take_edges(&fixture), 1, "so it interrupts again");
    get(&fixture, DATA);
    tap_is(get(&fixture, MIS), 0, "the release does");
    tear_down(&fixture);
}

static void test_outputs(void)
{
    struct fixture fixture;

    set_up(&fixture);
    set(&fixture, DIR, 0xf0);
    set(&fixture, 0x3fc, 0xff);
    tap_is(get(&fixture, 0x3fc), 0xf0, "outputs read back, inputs do not take writes");
    set(&fixture, 0x10 << 2, 0x00);
    tap_is(get(&fixture, 0x3fc), 0xe0, "the address selects the pin");
    hv_pl061_reset(fixture.gpio);
    tap_is(get(&fixture, DIR), 0, "a reset makes inputs of all");
    tap_is(take_edges(&fixture), 0, "silently");
    tear_down(&fixture);
}

static void test_hostile(void)
{
    static const unsigned int sizes[] = {1, 2, 4, 8};
    struct fixture fixture;

    set_up(&fixture);
    for (unsigned int s = 0; s < HV_ARRAY_SIZE(sizes); s++) {
        for (uint64_t offset = 0; offset + sizes[s] <= HV_PL061_SIZE; offset++) {
            hv_bus_write(fixture.bus, GPIO + offset, sizes[s], UINT64_MAX);
            hv_bus_read(fixture.bus, GPIO + offset, sizes[s]);
            hv_bus_write(fixture.bus, RTC + offset, sizes[s], UINT64_MAX);
            hv_bus_read(fixture.bus, RTC + offset, sizes[s]);
        }
    }
    tap_is(get(&fixture, IE), 0xff, "registers are eight bits wide");
    tear_down(&fixture);
}

static void test_identification(void)
{
    static const uint8_t gpio[] = {0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    static const uint8_t rtc[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    struct fixture fixture;

    set_up(&fixture);
    for (unsigned int i = 0; i < sizeof(gpio); i++) {
        tap_is(get(&fixture, 0xfe0 + 4 * i), gpio[i], "PL061 identification byte %u", i);
        tap_is(hv_bus_read(fixture.bus, RTC + 0xfe0 + 4 * i, 4), rtc[i],
               "PL031 identification byte %u", i);
    }
    tear_down(&fixture);
}

static void test_clock(void)
{
    struct fixture fixture;

    set_up(&fixture);
    tap_is(hv_bus_read(fixture.bus, RTC, 4), 0x23456789, "the low 32 bits of the time");
    hv_bus_write(fixture.bus, RTC + 0x08, 4, 0);
    tap_is(hv_bus_read(fixture.bus, RTC, 4), 0x23456789, "a guest does not set it");
    tap_is(hv_bus_read(fixture.bus, RTC + 0x0c, 4), 1, "it runs");
    tap_is(hv_bus_read(fixture.bus, RTC + 0x14, 4), 0, "no alarm is pending");
    tear_down(&fixture);
}

int main(void)
{
    test_button();
    test_early_press();
    test_edges();
    test_level();
    test_outputs();
    test_hostile();
    test_identification();
    test_clock();
    return tap_done();
}
