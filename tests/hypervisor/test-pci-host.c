/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host bridge through ECAM and through ports 0xcf8 to 0xcff; BARs in its windows, that move. */
#include <pthread.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/bus.h"
#include "hypervisor/machine/machine.h"
#include "hypervisor/memory/guest-memory.h"
#include "hypervisor/pci/pci-host.h"
#include "tests/hypervisor/tap.h"

#define ECAM     UINT64_C(0xf0000000)
#define WINDOW32 UINT64_C(0xc0000000)
#define WINDOW64 UINT64_C(0x100000000)
#define ID       0x00081b36

struct fixture {
    struct hv_bus *mmio, *pio;
    struct hv_pci_host *host;
};

static void set_up(struct fixture *fixture)
{
    const struct hv_memory_layout layout = {
        .pci_config_address = ECAM,
        .pci_config_size = HV_PCI_ECAM_SIZE,
        .pci_window32_address = WINDOW32,
        .pci_window32_size = 0x1000000,
        .pci_window64_address = WINDOW64,
        .pci_window64_size = 0x40000000,
    };

    if (hv_bus_create(UINT64_MAX, "none", &fixture->mmio) < 0 ||
        hv_bus_create(0xffff, "none", &fixture->pio) < 0 ||
        hv_pci_host_create(&fixture->host) < 0 ||
        hv_pci_host_attach(fixture->host, fixture->mmio, &layout) < 0 ||
        hv_pci_host_attach_ports(fixture->host, fixture->pio) < 0) {
        tap_bail("no host bridge");
    }
    hv_bus_freeze(fixture->mmio);
    hv_bus_freeze(fixture->pio);
}

static void tear_down(struct fixture *fixture)
{
    hv_pci_host_destroy(fixture->host);
    hv_bus_destroy(fixture->mmio);
    hv_bus_destroy(fixture->pio);
}

static void test_ecam(void)
{
    struct fixture fixture;
    unsigned int present = 0;

    set_up(&fixture);
    tap_is(hv_bus_read(fixture.mmio, ECAM, 4), ID, "the bridge is 00:00.0");
    tap_is(hv_bus_read(fixture.mmio, ECAM + 2, 2), ID >> 16, "half a register");
    tap_is(hv_bus_read(fixture.mmio, ECAM + 0xb, 1), 0x06, "its class is that of a bridge");
    tap_is(hv_bus_read(fixture.mmio, ECAM + 0xe, 1), 0, "and it has one function");
    hv_bus_write(fixture.mmio, ECAM, 4, 0);
    tap_is(hv_bus_read(fixture.mmio, ECAM, 4), ID, "identification cannot be written");
    for (uint64_t function = 1; function < 256; function++) {
        present += hv_bus_read(fixture.mmio, ECAM + (function << 12), 4) != 0xffffffff;
    }
    tap_is(present, 0, "nothing else is on the bus");
    tap_is((uint64_t)hv_bus_read(fixture.mmio, ECAM, 8), UINT64_MAX,
           "an access of eight bytes reads as ones");
    tap_is(hv_bus_read(fixture.mmio, ECAM + 2, 4), 0xffffffff, "one across a dword too");
    tap_is(hv_bus_read(fixture.mmio, ECAM + HV_PCI_ECAM_SIZE - 4, 4), 0xffffffff,
           "the last register of the last function");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x1000, 4), 0xffffffff,
           "windows without a BAR read as ones");
    hv_bus_write(fixture.mmio, WINDOW64, 8, 1);
    tear_down(&fixture);
}

static void test_ports(void)
{
    struct fixture fixture;

    set_up(&fixture);
    tap_is(hv_bus_read(fixture.pio, 0xcfc, 4), 0xffffffff, "no data without an address");
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x80000000);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80000000, "the address reads back");
    tap_is(hv_bus_read(fixture.pio, 0xcfc, 4), ID, "and leads to the bridge");
    tap_is(hv_bus_read(fixture.pio, 0xcfe, 2), ID >> 16, "by halves too");
    tap_is(hv_bus_read(fixture.pio, 0xcfe, 4), 0xffffffff, "but not beyond the port");
    hv_bus_write(fixture.pio, 0xcfb, 1, 0x01);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80000000, "a byte does not touch the address");
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x8000080b);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80000808, "the address is one of a dword");
    tap_is(hv_bus_read(fixture.pio, 0xcfc, 4), 0xffffffff, "an empty slot reads as ones");
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x80010000);
    tap_is(hv_bus_read(fixture.pio, 0xcfc, 4), 0xffffffff, "so does another bus");
    hv_bus_write(fixture.pio, 0xcfc, 4, 0);
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x00000000);
    tap_is(hv_bus_read(fixture.pio, 0xcfc, 4), 0xffffffff, "and a disabled address");
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x80000000);
    hv_pci_host_reset(fixture.host);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0, "a reset clears the address");
    tear_down(&fixture);
    hv_pci_host_destroy(NULL);
}

/* What @size bytes at @offset of a function read as, by way of its dwords; all ones if it has none. */
static uint64_t expected_at(const uint8_t *space, unsigned int offset, unsigned int size)
{
    uint64_t ones = ((uint64_t)1 << size * 8) - 1;
    uint64_t value = 0;

    if (!space || offset % 4 + size > 4) {
        return ones;
    }
    for (unsigned int i = 0; i < size; i++) {
        value |= (uint64_t)space[offset + i] << i * 8;
    }
    return value;
}

static void select_port(struct fixture *fixture, unsigned int function, unsigned int offset)
{
    hv_bus_write(fixture->pio, 0xcf8, 4, 0x80000000 | function << 8 | (offset & 0xfc));
}

/*
 * Every byte, word and dword, aligned or not, of every function's first 256 bytes: both ways in say
 * the same, which is what the dwords of the bridge say, and ones elsewhere.
 */
static void test_agreement(void)
{
    static const unsigned int sizes[] = {1, 2, 4};
    struct fixture fixture;
    uint8_t space[256];
    unsigned int ecam_wrong = 0, port_wrong = 0, compared = 0;

    set_up(&fixture);
    for (unsigned int offset = 0; offset < sizeof(space); offset += 4) {
        hv_store_le32(space + offset, (uint32_t)hv_bus_read(fixture.mmio, ECAM + offset, 4));
    }
    /* Bus 0 and the first of bus 1, which ECAM does not reach. */
    for (unsigned int function = 0; function < 264; function++) {
        const uint8_t *there = function == 0 ? space : NULL;

        for (unsigned int offset = 0; offset < sizeof(space); offset++) {
            for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
                uint64_t expected = expected_at(there, offset, sizes[i]);
                uint64_t address = ECAM + ((uint64_t)function << 12) + offset;

                ecam_wrong += hv_bus_read(fixture.mmio, address, sizes[i]) != expected;
                select_port(&fixture, function, offset);
                port_wrong += hv_bus_read(fixture.pio, 0xcfc + offset % 4, sizes[i]) != expected;
                compared++;
            }
        }
    }
    tap_is(ecam_wrong, 0, "%u reads through ECAM", compared);
    tap_is(port_wrong, 0, "and as many through the ports say the same");
    tap_ok(hv_load_le16(space + 0x0a) == 0x0600 && space[0x3d] == 0 && space[0x34] == 0,
           "a host bridge without interrupt pin and without capabilities");
    for (unsigned int offset = 0x10; offset < 0x28; offset += 4) {
        hv_bus_write(fixture.mmio, ECAM + offset, 4, 0xffffffff);
        port_wrong += hv_bus_read(fixture.mmio, ECAM + offset, 4) != 0;
    }
    tap_is(port_wrong, 0, "and without BARs: sizing them finds nothing");
    tap_is(hv_bus_read(fixture.mmio, ECAM + 0x100, 4), 0, "extended capabilities: none");
    tear_down(&fixture);
}

/* As Linux decides whether mechanism 1 is there. */
static void test_probe_of_mechanism_1(void)
{
    struct fixture fixture;
    uint64_t saved;

    set_up(&fixture);
    hv_bus_write(fixture.pio, 0xcfb, 1, 0x01);
    saved = hv_bus_read(fixture.pio, 0xcf8, 4);
    hv_bus_write(fixture.pio, 0xcf8, 4, 0x80000000);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80000000, "a driver finds mechanism 1");
    hv_bus_write(fixture.pio, 0xcf8, 4, saved);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), saved, "and leaves it as it was");

    hv_bus_write(fixture.pio, 0xcf8, 4, 0xffffffff);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80fffffc, "reserved bits stay zero");
    hv_bus_write(fixture.pio, 0xcf8, 2, 0x1234);
    hv_bus_write(fixture.pio, 0xcfa, 2, 0x1234);
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 4), 0x80fffffc, "words do not reach the address");
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 1), 0xff, "nor is it read by bytes");
    tap_is(hv_bus_read(fixture.pio, 0xcf8, 2), 0xffff, "or words");
    tap_is((uint64_t)hv_bus_read(fixture.pio, 0xcf8, 8), UINT64_MAX, "eight bytes are nobody's");
    tear_down(&fixture);
}

static void test_windows(void)
{
    const struct hv_memory_layout layout = {
        .pci_config_address = ECAM,
        .pci_config_size = HV_PCI_ECAM_SIZE,
        .pci_window32_address = WINDOW32,
        .pci_window32_size = ECAM - WINDOW32,
    };
    struct hv_pci_host *host;
    struct hv_exit_count rows[8];
    struct hv_bus *mmio;
    size_t count;

    if (hv_bus_create(UINT64_MAX, "none", &mmio) < 0 || hv_pci_host_create(&host) < 0) {
        tap_bail("no host bridge");
    }
    tap_is(hv_pci_host_attach(host, mmio, &layout), 0, "a layout without a 64-bit window");
    tap_is(hv_pci_host_attach(host, mmio, &layout), -EEXIST, "one bridge a bus");
    hv_bus_freeze(mmio);
    hv_bus_read(mmio, WINDOW32, 1);
    hv_bus_write(mmio, ECAM - 8, 8, 1);
    hv_bus_read(mmio, ECAM - 4, 8);
    hv_bus_read(mmio, ECAM + HV_PCI_ECAM_SIZE - 1, 1);
    hv_bus_read(mmio, ECAM + HV_PCI_ECAM_SIZE, 1);
    hv_bus_read(mmio, WINDOW64, 4);
    count = hv_bus_exit_counts(mmio, rows, HV_ARRAY_SIZE(rows));
    for (size_t i = 0; i < count && i < HV_ARRAY_SIZE(rows); i++) {
        uint64_t expected = strcmp(rows[i].name, "pci-window") == 0   ? 2
                            : strcmp(rows[i].name, "pci-config") == 0 ? 1
                                                                      : 3;

        tap_is(rows[i].count, expected, "accesses of \"%s\" at the windows' ends", rows[i].name);
    }
    hv_pci_host_destroy(host);
    hv_bus_destroy(mmio);
}

/* --- BARs -------------------------------------------------------------------------------------- */

/* What is behind a BAR: says who it is and what was asked of it. */
struct target {
    uint32_t number;
    uint64_t offset, value;
    unsigned int size, writes;
};

/* The number above, the offset below. */
static uint64_t target_read(void *opaque, uint64_t offset, unsigned int size)
{
    const struct target *target = opaque;

    return (uint64_t)target->number << 16 | offset;
}

static void target_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct target *target = opaque;

    target->offset = offset;
    target->size = size;
    target->value = value;
    target->writes++;
}

static const struct hv_bus_ops target_ops = {
    .read = target_read,
    .write = target_write,
};

static void test_bars(void)
{
    struct target targets[] = {{.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    const struct hv_pci_bar bars[] = {
        {WINDOW64 + 0x3fff0000, 0x10000, &target_ops, &targets[3]}, /* to its last byte */
        {WINDOW32 + 0x2000, 0x1000, &target_ops, &targets[1]},
        {WINDOW32, 0x100, &target_ops, &targets[0]}, /* from its first */
        {WINDOW32 + 0x3000, 0x10, &target_ops, &targets[2]},
    };
    struct fixture fixture;
    struct hv_exit_count rows[8];
    size_t count;

    set_up(&fixture);
    tap_is(hv_pci_host_set_bars(fixture.host, bars, HV_ARRAY_SIZE(bars)), 0, "four BARs, unsorted");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32, 4), 0x10000, "the first byte of a window");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0xff, 1), 0xff, "the last of a BAR");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x2ffc, 4), 0x20ffc, "offsets count from the BAR");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x3008, 8), 0x30008, "eight bytes");
    tap_is(hv_bus_read(fixture.mmio, WINDOW64 + 0x3ffffffc, 4), 0x4fffc, "the last of a window");
    hv_bus_write(fixture.mmio, WINDOW32 + 0x2010, 2, 0xabcd1234);
    tap_ok(targets[1].writes == 1 && targets[1].offset == 0x10 && targets[1].size == 2 &&
               targets[1].value == 0x1234,
           "a write arrives, and as wide as it was made");

    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x100, 1), 0xff, "behind a BAR are ones");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x1fff, 1), 0xff, "before one too");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0xfe, 4), 0xffffffff, "and across its end");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x1ffe, 4), 0xffffffff, "and its beginning");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32 + 0x2ffe, 4), 0xffffffff,
           "from one BAR into the next");
    hv_bus_write(fixture.mmio, WINDOW32 + 0xfe, 4, 1);
    hv_bus_write(fixture.mmio, WINDOW32 + 0x2ffe, 4, 1);
    hv_bus_write(fixture.mmio, WINDOW32 + 0x3010, 4, 1);
    tap_ok(targets[0].writes == 0 && targets[1].writes == 1 && targets[2].writes == 0,
           "such writes reach nobody");
    count = hv_bus_exit_counts(fixture.mmio, rows, HV_ARRAY_SIZE(rows));
    for (size_t i = 0; i < count && i < HV_ARRAY_SIZE(rows); i++) {
        tap_is(rows[i].count, strcmp(rows[i].name, "pci-window") == 0 ? 14 : 0, "counted as \"%s\"",
               rows[i].name);
    }

    tap_is(hv_pci_host_set_bars(fixture.host, bars, 1), 0, "three of them go");
    tap_ok(hv_bus_read(fixture.mmio, WINDOW32, 4) == 0xffffffff &&
               hv_bus_read(fixture.mmio, WINDOW64 + 0x3fff0000, 4) == 0x40000,
           "and one stays");
    hv_pci_host_reset(fixture.host);
    tap_is(hv_bus_read(fixture.mmio, WINDOW64 + 0x3fff0000, 4), 0xffffffff, "a reset takes all");
    tear_down(&fixture);
}

/* Whatever a guest programs: refused, and the BARs are where they were. */
static void test_wrong_bars(void)
{
    static const struct {
        uint64_t address, size;
        int error;
        const char *what;
    } wrong[] = {
        {WINDOW32 + 0x1000, 0, -EINVAL, "no size"},
        {WINDOW32 + 0x1000, 0x30, -EINVAL, "a size that is no power of two"},
        {WINDOW32 + 0x10, 0x20, -EINVAL, "a crooked address"},
        {0, 0x1000, -EINVAL, "an address that was never set"},
        {WINDOW32 - 0x1000, 0x1000, -EINVAL, "one below its window"},
        {WINDOW32 + 0x1000000, 0x1000, -EINVAL, "one behind it"},
        {WINDOW32, 0x2000000, -EINVAL, "one larger than it"},
        {ECAM, 0x1000, -EINVAL, "one upon the configuration space"},
        {WINDOW64 + 0x40000000, 0x1000, -EINVAL, "one behind the other window"},
        {UINT64_MAX - 0xfff, 0x1000, -EINVAL, "one at the end of the world, as when it is sized"},
        {0x8000000000000000, 0x8000000000000000, -EINVAL, "one half of the world"},
        {WINDOW32 + 0x4000, 0x1000, -EEXIST, "one upon another"},
        {WINDOW32 + 0x4000, 0x10, -EEXIST, "one in another"},
        {WINDOW32, 0x8000, -EEXIST, "one around another"},
    };
    struct target target = {.number = 7};
    struct hv_pci_bar bars[HV_PCI_MAX_BARS + 1] = {
        {WINDOW32 + 0x4000, 0x1000, &target_ops, &target},
    };
    struct fixture fixture;
    unsigned int missed = 0;

    set_up(&fixture);
    hv_pci_host_set_bars(fixture.host, bars, 1);
    for (size_t i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        bars[1] = (struct hv_pci_bar){wrong[i].address, wrong[i].size, &target_ops, &target};
        tap_is(hv_pci_host_set_bars(fixture.host, bars, 2), wrong[i].error, "%s", wrong[i].what);
        missed += hv_bus_read(fixture.mmio, WINDOW32 + 0x4004, 4) != 0x70004;
    }
    tap_is(missed, 0, "what was there still answers");
    for (size_t i = 0; i < HV_ARRAY_SIZE(bars); i++) {
        bars[i] =
            (struct hv_pci_bar){WINDOW32 + (HV_PCI_MAX_BARS - i) * 16, 16, &target_ops, &target};
    }
    tap_is(hv_pci_host_set_bars(fixture.host, bars, HV_PCI_MAX_BARS + 1), -ENOSPC, "one too many");
    tap_is(hv_pci_host_set_bars(fixture.host, bars, HV_PCI_MAX_BARS), 0, "as many as there may be");
    for (size_t i = 0; i < HV_PCI_MAX_BARS; i++) {
        missed += hv_bus_read(fixture.mmio, bars[i].address + 4, 4) != 0x70004;
    }
    tap_is(missed, 0, "each of them answers");
    tear_down(&fixture);
}

/* A BAR that is taken away while it is being read; a replacement that waited for ops would hang. */
struct vanishing {
    struct hv_pci_host *host;
    unsigned int errors;
};

static uint64_t vanish(void *opaque, uint64_t offset, unsigned int size)
{
    struct vanishing *vanishing = opaque;

    for (int i = 0; i < 4; i++) {
        vanishing->errors += hv_pci_host_set_bars(vanishing->host, NULL, 0) != 0;
    }
    return 42;
}

static void test_vanishing_bar(void)
{
    static const struct hv_bus_ops ops = {.read = vanish, .write = target_write};
    struct vanishing vanishing = {0};
    const struct hv_pci_bar bar = {WINDOW32, 0x1000, &ops, &vanishing};
    struct fixture fixture;

    set_up(&fixture);
    vanishing.host = fixture.host;
    hv_pci_host_set_bars(fixture.host, &bar, 1);
    tap_is(hv_bus_read(fixture.mmio, WINDOW32, 4), 42, "an access under way is finished");
    tap_is(vanishing.errors, 0, "and nobody waits for it");
    tap_is(hv_bus_read(fixture.mmio, WINDOW32, 4), 0xffffffff, "the next finds nobody");
    tear_down(&fixture);
}

/* --- BARs that move while they are looked up --------------------------------------------------- */

#define PLACES       64u
#define PLACE_SIZE   0x1000u
#define READERS      3u
#define READS        300000u
#define REPLACEMENTS 20000u

/* Two ways to fill the same places: one by one, and by BARs of two places in another order. */
static struct target small[PLACES], large[PLACES / 2];

struct reader {
    struct hv_bus *mmio;
    unsigned int seed;
    unsigned int wrong, saw_small, saw_large;
};

/* Each read finds what one of the two tables has there, never nothing and never a mixture. */
static void *read_places(void *opaque)
{
    struct reader *reader = opaque;

    for (unsigned int i = 0; i < READS; i++) {
        unsigned int place = (i * 7 + reader->seed) % PLACES;
        uint64_t by_small = (1000 + place) << 16 | 8;
        uint64_t by_large = (2000 + place / 2) << 16 | (place % 2 * PLACE_SIZE + 8);
        uint64_t value = hv_bus_read(reader->mmio, WINDOW32 + place * PLACE_SIZE + 8, 4);

        if (value == by_small) {
            reader->saw_small++;
        } else if (value == by_large) {
            reader->saw_large++;
        } else {
            reader->wrong++;
        }
    }
    return NULL;
}

static void test_replacement_under_load(void)
{
    struct hv_pci_bar in_small[PLACES], in_large[PLACES / 2];
    struct reader readers[READERS];
    pthread_t threads[READERS];
    struct fixture fixture;
    unsigned int failed = 0, wrong = 0, saw_small = 0, saw_large = 0;

    set_up(&fixture);
    for (unsigned int i = 0; i < PLACES; i++) {
        small[i].number = 1000 + i;
        in_small[i] =
            (struct hv_pci_bar){WINDOW32 + i * PLACE_SIZE, PLACE_SIZE, &target_ops, &small[i]};
    }
    for (unsigned int i = 0; i < PLACES / 2; i++) {
        unsigned int place = PLACES / 2 - 1 - i;

        large[place].number = 2000 + place;
        in_large[i] = (struct hv_pci_bar){WINDOW32 + place * 2 * PLACE_SIZE, 2 * PLACE_SIZE,
                                          &target_ops, &large[place]};
    }
    hv_pci_host_set_bars(fixture.host, in_small, PLACES);
    for (unsigned int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.mmio = fixture.mmio, .seed = i};
        if (pthread_create(&threads[i], NULL, read_places, &readers[i]) != 0) {
            tap_bail("no thread");
        }
    }
    for (unsigned int i = 0; i < REPLACEMENTS; i++) {
        bool is_large = i % 2 == 0;
        uint64_t expected = is_large ? 2000u << 16 : 1000u << 16;

        failed += hv_pci_host_set_bars(fixture.host, is_large ? in_large : in_small,
                                       is_large ? PLACES / 2 : PLACES) != 0;
        /* Whoever replaces sees the new table at once. */
        failed += hv_bus_read(fixture.mmio, WINDOW32, 4) != expected;
    }
    for (unsigned int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        wrong += readers[i].wrong;
        saw_small += readers[i].saw_small;
        saw_large += readers[i].saw_large;
    }
    printf("# %u reads by one table, %u by the other\n", saw_small, saw_large);
    tap_is(failed, 0, "%u replacements", REPLACEMENTS);
    tap_is(wrong, 0, "while %u threads read: each time the one table or the other", READERS);
    tear_down(&fixture);
}

int main(void)
{
    test_ecam();
    test_ports();
    test_agreement();
    test_probe_of_mechanism_1();
    test_windows();
    test_bars();
    test_wrong_bars();
    test_vanishing_bar();
    test_replacement_under_load();
    return tap_done();
}
