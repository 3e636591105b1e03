/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host bridge through ECAM and through ports 0xcf8 to 0xcff. */
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

int main(void)
{
    test_ecam();
    test_ports();
    test_agreement();
    test_probe_of_mechanism_1();
    test_windows();
    return tap_done();
}
