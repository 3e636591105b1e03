/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device tree of an aarch64 machine, read back with libfdt: what the boot protocol and the
 * bindings ask for, on both interrupt controllers, and every way to refuse.
 */
#include <libfdt.h>

#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/arch/aarch64/tables.h"
#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

#define GIB (UINT64_C(1) << 30)

static uint64_t affinities[64];
static uint8_t buffer[HV_FDT_CAPACITY];

static struct hv_fdt_config make_config(enum hv_gic_version gic, unsigned int vcpu_count)
{
    struct hv_fdt_config config = {
        .gic = gic,
        .vcpu_count = vcpu_count,
        .mpidrs = affinities,
        .memory = {HV_ARM_RAM_ADDRESS, 5 * GIB},
        .initrd = {0x48000000, 0x123456},
        .pci_config = {HV_ARM_PCI_CONFIG_ADDRESS, 1 << 20},
        .pci_window32 = {HV_ARM_PCI_WINDOW32_ADDRESS, HV_ARM_PCI_WINDOW32_SIZE},
        .pci_window64 = {768 * GIB, 256 * GIB},
        .command_line = "console=ttyAMA0 quiet",
        .kaslr_seed = 0x0123456789abcdef,
    };

    for (unsigned int i = 0; i < HV_ARRAY_SIZE(affinities); i++) {
        /* As KVM numbers them: 16 to a cluster. Bit 31 is set in every MPIDR_EL1. */
        affinities[i] = UINT64_C(1) << 31 | (i / 16) << 8 | i % 16;
    }
    memset(config.rng_seed, 0xa5, sizeof(config.rng_seed));
    return config;
}

static int find(const char *path)
{
    int node = fdt_path_offset(buffer, path);

    tap_ok(node >= 0, "%s exists", path);
    return node;
}

static uint32_t cell(int node, const char *name, unsigned int index)
{
    int length = 0;
    const fdt32_t *cells = fdt_getprop(buffer, node, name, &length);

    if (!cells || (unsigned int)length < (index + 1) * 4) {
        return 0xdeadbeef;
    }
    return fdt32_to_cpu(cells[index]);
}

static uint64_t cell64(int node, const char *name, unsigned int index)
{
    return (uint64_t)cell(node, name, index) << 32 | cell(node, name, index + 1);
}

static int cell_count(int node, const char *name)
{
    int length = 0;

    return fdt_getprop(buffer, node, name, &length) ? length / 4 : -1;
}

static void is_string(int node, const char *name, const char *expected)
{
    int length = 0;
    const char *value = fdt_getprop(buffer, node, name, &length);

    tap_ok(value && (size_t)length == strlen(expected) + 1 && !strcmp(value, expected),
           "%s is \"%s\"", name, expected);
}

static void build(const struct hv_fdt_config *config)
{
    size_t size = 0;

    tap_is(hv_fdt_build(config, buffer, sizeof(buffer), &size), 0, "the tree is built");
    tap_is(fdt_check_header(buffer), 0, "its header is sound");
    tap_is(fdt_check_full(buffer, size), 0, "all of it is sound");
    tap_is(size, fdt_totalsize(buffer), "its size is what the header says");
}

static void test_chosen(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V2, 1);
    int node, length;

    build(&config);
    node = find("/chosen");
    is_string(node, "bootargs", "console=ttyAMA0 quiet");
    is_string(node, "stdout-path", "/pl011@9000000");
    tap_is(cell64(node, "linux,initrd-start", 0), 0x48000000, "initrd begins");
    tap_is(cell64(node, "linux,initrd-end", 0), 0x48123456, "initrd ends behind its last byte");
    tap_is(cell64(node, "kaslr-seed", 0), 0x0123456789abcdef, "KASLR seed");
    tap_ok(fdt_getprop(buffer, node, "rng-seed", &length) && length == HV_FDT_RNG_SEED_SIZE,
           "random seed of 64 bytes");
    find("/pl011@9000000");

    config.initrd.size = 0;
    build(&config);
    node = find("/chosen");
    tap_is(cell_count(node, "linux,initrd-start"), -1, "no initrd, no property");
}

static void test_memory(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V2, 1);
    int node;

    build(&config);
    node = find("/memory@40000000");
    is_string(node, "device_type", "memory");
    tap_is(cell64(node, "reg", 0), HV_ARM_RAM_ADDRESS, "RAM's address");
    tap_is(cell64(node, "reg", 2), 5 * GIB, "RAM's size");
}

static void test_cpus(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V3, 64);
    int node, child, count = 0;

    build(&config);
    node = find("/cpus");
    fdt_for_each_subnode(child, buffer, node)
    {
        uint64_t expected = (uint64_t)(count / 16) << 8 | count % 16;
        const char *method = fdt_getprop(buffer, child, "enable-method", NULL);

        if (cell64(child, "reg", 0) != expected || !method || strcmp(method, "psci") != 0) {
            tap_ok(false, "CPU %d has its affinity and is started by PSCI", count);
        }
        count++;
    }
    tap_is(count, 64, "64 CPUs");
    is_string(find("/psci"), "method", "hvc");
    tap_is(fdt_node_check_compatible(buffer, find("/psci"), "arm,psci-0.2"), 0, "PSCI 0.2");

    affinities[1] = UINT64_C(0x1280000000) | 7;
    config.vcpu_count = 2;
    build(&config);
    child = find("/cpus/cpu@1200000007");
    tap_is(cell64(child, "reg", 0), 0x1200000007, "Aff3 is kept, the flags are not");
}

static void test_gicv2(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V2, 3);
    int node;

    build(&config);
    node = find("/interrupt-controller@8000000");
    is_string(node, "compatible", "arm,gic-400");
    tap_is(cell64(node, "reg", 0), HV_ARM_GIC_DISTRIBUTOR_ADDRESS, "distributor");
    tap_is(cell64(node, "reg", 4), HV_ARM_GICV2_CPU_ADDRESS, "CPU interface");
    tap_is(cell64(node, "reg", 6), HV_ARM_GICV2_CPU_SIZE, "its size");
    tap_is(cell(node, "interrupts", 0), 1, "the maintenance interrupt is a PPI");
    tap_is(cell(node, "interrupts", 1), 9, "PPI 9");
    tap_is(cell(node, "interrupts", 2), 0x704, "level, on the three CPUs");
    tap_is(cell(find("/"), "interrupt-parent", 0), fdt_get_phandle(buffer, node),
           "devices point at it");

    node = find("/timer");
    tap_is(cell_count(node, "interrupts"), 12, "four timers");
    tap_is(cell(node, "interrupts", 7), 11, "the third is the virtual one, PPI 11");
    tap_is(cell(node, "interrupts", 8), 0x704, "level, on the three CPUs");

    config.vcpu_count = 8;
    build(&config);
    tap_is(cell(find("/timer"), "interrupts", 2), 0xff04, "eight CPUs fill the mask");
}

static void test_gicv3(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V3, 5);
    int node;

    build(&config);
    node = find("/interrupt-controller@8000000");
    is_string(node, "compatible", "arm,gic-v3");
    tap_is(cell64(node, "reg", 4), HV_ARM_GICV3_REDISTRIBUTOR_ADDRESS, "redistributors");
    tap_is(cell64(node, "reg", 6), 5 * 0x20000, "one for each CPU");
    tap_is(cell(find("/timer"), "interrupts", 8), 4, "level, without a CPU mask");
}

static void test_devices(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V2, 1);
    int node, clock, gpio, key;

    build(&config);
    clock = find("/apb-pclk");
    node = find("/pl011@9000000");
    tap_is(cell(node, "interrupts", 0), 0, "the UART's interrupt is an SPI");
    tap_is(cell(node, "interrupts", 1), HV_ARM_SPI_UART, "its number");
    tap_is(cell(node, "interrupts", 2), 1, "an edge, as irqfd makes them");
    tap_is(cell(node, "clocks", 0), fdt_get_phandle(buffer, clock), "clocked");
    tap_is(cell_count(find("/pl031@9010000"), "interrupts"), -1, "the RTC has no alarm");

    gpio = find("/pl061@9020000");
    tap_is(cell(gpio, "interrupts", 1), HV_ARM_SPI_GPIO, "the GPIO controller's interrupt");
    key = find("/gpio-keys/power");
    tap_is(cell(key, "linux,code", 0), 116, "KEY_POWER");
    tap_is(cell(key, "gpios", 0), fdt_get_phandle(buffer, gpio), "on the GPIO controller");
    tap_is(cell(key, "gpios", 1), HV_ARM_GPIO_PIN_POWER, "on its pin");
}

static void test_pci(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V2, 1);
    int node;

    build(&config);
    node = find("/pcie@3f000000");
    is_string(node, "compatible", "pci-host-ecam-generic");
    tap_is(cell64(node, "reg", 0), HV_ARM_PCI_CONFIG_ADDRESS, "ECAM");
    tap_is(cell(node, "bus-range", 1), 0, "one bus");
    tap_is(cell_count(node, "ranges"), 14, "two windows");
    tap_is(cell(node, "ranges", 0), 0x02000000, "32-bit memory");
    tap_is(cell64(node, "ranges", 3), HV_ARM_PCI_WINDOW32_ADDRESS, "at its address");
    tap_is(cell(node, "ranges", 7), 0x43000000, "64-bit prefetchable memory");
    tap_is(cell64(node, "ranges", 12), 256 * GIB, "of its size");
    tap_is(cell_count(node, "dma-coherent"), 0, "coherent");

    config.pci_window64.size = 0;
    build(&config);
    tap_is(cell_count(find("/pcie@3f000000"), "ranges"), 7, "one window");

    config.pci_config.size = 0;
    build(&config);
    tap_ok(fdt_path_offset(buffer, "/pcie@3f000000") < 0, "no host bridge, no node");
}

static void refuses(const struct hv_fdt_config *config, const char *what)
{
    size_t size = 42;

    tap_is(hv_fdt_build(config, buffer, sizeof(buffer), &size), -EINVAL, "refused: %s", what);
    tap_is(size, 42, "and the size is untouched");
}

static void test_refusals(void)
{
    const struct hv_fdt_config good = make_config(HV_GIC_V2, 8);
    struct hv_fdt_config config = good;

    config.gic = HV_GIC_NONE;
    refuses(&config, "no interrupt controller");
    config = good;
    config.vcpu_count = 0;
    refuses(&config, "no CPU");
    config.vcpu_count = 9;
    refuses(&config, "nine CPUs on GICv2");
    config = make_config(HV_GIC_V3, 64);
    config.vcpu_count = 65;
    refuses(&config, "65 CPUs");
    config = good;
    config.memory.size = 0;
    refuses(&config, "no memory");
    config = good;
    config.memory.size = UINT64_MAX;
    refuses(&config, "memory that wraps");
    config = good;
    config.initrd.address = UINT64_MAX - 1;
    refuses(&config, "an initrd that wraps");
    config = good;
    config.pci_config.size = 12345;
    refuses(&config, "a part of a bus");
    config = good;
    config.pci_config.size = UINT64_C(257) << 20;
    refuses(&config, "257 buses");
}

/* Every capacity that is too small is refused, without a byte written behind it. */
static void test_capacity(void)
{
    const struct hv_fdt_config config = make_config(HV_GIC_V3, 2);
    static uint8_t small[HV_FDT_CAPACITY];
    size_t needed = 0, size, wrong = 0, overrun = 0;

    tap_is(hv_fdt_build(&config, buffer, sizeof(buffer), &needed), 0, "the tree is built");
    for (size_t capacity = 0; capacity < needed; capacity++) {
        memset(small, 0x5a, sizeof(small));
        wrong += hv_fdt_build(&config, small, capacity, &size) != -ENOSPC;
        for (size_t i = capacity; i < capacity + 64; i++) {
            overrun += small[i] != 0x5a;
        }
    }
    tap_is(wrong, 0, "no capacity below %zu is enough", needed);
    tap_is(overrun, 0, "nothing is written behind the buffer");
}

static void test_largest(void)
{
    struct hv_fdt_config config = make_config(HV_GIC_V3, 64);
    char line[2048];
    size_t size;

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    config.command_line = line;
    tap_is(hv_fdt_build(&config, buffer, sizeof(buffer), &size), 0,
           "64 CPUs and the longest command line fit");
    tap_ok(size < 32768, "with room to spare (%zu bytes)", size);
}

int main(void)
{
    test_chosen();
    test_memory();
    test_cpus();
    test_gicv2();
    test_gicv3();
    test_devices();
    test_pci();
    test_refusals();
    test_capacity();
    test_largest();
    return tap_done();
}
