/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Builds the device tree with libfdt's sequential writer.
 *
 * The writer's functions each return an error; struct tree keeps the first one and makes the rest
 * no-ops, so that the tree below reads like a tree. libfdt checks every write against the buffer.
 *
 * Interrupt flags follow what the devices do: everything that comes through an irqfd is an edge.
 * The architecture's own interrupts (timers, maintenance) are level, as KVM drives them.
 */
#include "hypervisor/arch/aarch64/tables.h"

#include <libfdt.h>
#include <limits.h>
#include <stdio.h>

#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/base/hv-base.h"

/* Nodes that others point at. */
enum {
    PHANDLE_GIC = 1,
    PHANDLE_CLOCK = 2,
    PHANDLE_GPIO = 3,
};

/* Linux input event code of a power button. */
#define KEY_CODE_POWER 116u

/* Of the interrupt bindings. */
#define IRQ_TYPE_SPI    0u
#define IRQ_TYPE_PPI    1u
#define IRQ_EDGE_RISING 1u
#define IRQ_LEVEL_HIGH  4u

/* Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0. */
#define MPIDR_AFFINITY UINT64_C(0xff00ffffff)

#define PCI_BUS_CONFIG_SIZE (UINT64_C(1) << 20)
#define PCI_SPACE_MEMORY32  0x02000000u
/* 64-bit, prefetchable: the only kind of space where Linux places 64-bit BARs above 4 GiB. */
#define PCI_SPACE_MEMORY64  0x43000000u

#define MAX_CELLS 24u

struct tree {
    void *fdt;
    int error; /* the first one, of libfdt */
};

static void check(struct tree *tree, int error)
{
    if (!tree->error) {
        tree->error = error;
    }
}

static void begin(struct tree *tree, const char *name)
{
    if (!tree->error) {
        check(tree, fdt_begin_node(tree->fdt, name));
    }
}

/* A node whose unit address is that of its registers. */
static void begin_at(struct tree *tree, const char *name, uint64_t address)
{
    char full[48];

    snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)address);
    begin(tree, full);
}

static void end(struct tree *tree)
{
    if (!tree->error) {
        check(tree, fdt_end_node(tree->fdt));
    }
}

static void bytes(struct tree *tree, const char *name, const void *value, size_t length)
{
    if (!tree->error) {
        check(tree, length > INT_MAX ? -FDT_ERR_NOSPACE
                                     : fdt_property(tree->fdt, name, value, (int)length));
    }
}

static void flag(struct tree *tree, const char *name)
{
    bytes(tree, name, NULL, 0);
}

static void string(struct tree *tree, const char *name, const char *value)
{
    bytes(tree, name, value, strlen(value) + 1);
}

static void cells(struct tree *tree, const char *name, const uint32_t *values, unsigned int count)
{
    uint32_t big[MAX_CELLS];

    if (count > MAX_CELLS) {
        check(tree, -FDT_ERR_INTERNAL);
        return;
    }
    for (unsigned int i = 0; i < count; i++) {
        big[i] = cpu_to_fdt32(values[i]);
    }
    bytes(tree, name, big, count * sizeof(big[0]));
}

#define CELLS(tree, name, ...)                                                                     \
    cells(tree, name, (const uint32_t[]){__VA_ARGS__},                                             \
          sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static uint32_t high(uint64_t value)
{
    return (uint32_t)(value >> 32);
}

static uint32_t low(uint64_t value)
{
    return (uint32_t)value;
}

#define CELLS64(value) high(value), low(value)

static void number64(struct tree *tree, const char *name, uint64_t value)
{
    CELLS(tree, name, CELLS64(value));
}

static void add_cpus(struct tree *tree, const struct hv_fdt_config *config)
{
    begin(tree, "cpus");
    CELLS(tree, "#address-cells", 2);
    CELLS(tree, "#size-cells", 0);
    for (unsigned int i = 0; i < config->vcpu_count; i++) {
        uint64_t affinity = config->mpidrs[i] & MPIDR_AFFINITY;

        begin_at(tree, "cpu", affinity);
        string(tree, "device_type", "cpu");
        string(tree, "compatible", "arm,armv8");
        string(tree, "enable-method", "psci");
        CELLS(tree, "reg", CELLS64(affinity));
        end(tree);
    }
    end(tree);
}

static void add_memory(struct tree *tree, const struct hv_fdt_config *config)
{
    begin_at(tree, "memory", config->memory.address);
    string(tree, "device_type", "memory");
    CELLS(tree, "reg", CELLS64(config->memory.address), CELLS64(config->memory.size));
    end(tree);
}

static void add_chosen(struct tree *tree, const struct hv_fdt_config *config)
{
    char console[48];

    begin(tree, "chosen");
    string(tree, "bootargs", config->command_line);
    snprintf(console, sizeof(console), "/pl011@%llx", (unsigned long long)HV_ARM_UART_ADDRESS);
    string(tree, "stdout-path", console);
    if (config->initrd.size) {
        number64(tree, "linux,initrd-start", config->initrd.address);
        number64(tree, "linux,initrd-end", config->initrd.address + config->initrd.size);
    }
    bytes(tree, "rng-seed", config->rng_seed, sizeof(config->rng_seed));
    number64(tree, "kaslr-seed", config->kaslr_seed);
    end(tree);
}

static void add_psci(struct tree *tree)
{
    static const char compatible[] = "arm,psci-1.0\0arm,psci-0.2";

    begin(tree, "psci");
    bytes(tree, "compatible", compatible, sizeof(compatible));
    string(tree, "method", "hvc");
    end(tree);
}

/*
 * A PPI's third cell: with GICv2 bits 15:8 are the CPU interfaces it exists on; GICv3's binding has
 * no such field.
 */
static uint32_t private_irq_flags(const struct hv_fdt_config *config)
{
    uint32_t flags = IRQ_LEVEL_HIGH;

    if (config->gic == HV_GIC_V2) {
        flags |= ((1u << config->vcpu_count) - 1u) << 8;
    }
    return flags;
}

static void add_interrupt_controller(struct tree *tree, const struct hv_fdt_config *config)
{
    begin_at(tree, "interrupt-controller", HV_ARM_GIC_DISTRIBUTOR_ADDRESS);
    if (config->gic == HV_GIC_V2) {
        string(tree, "compatible", "arm,gic-400");
        CELLS(tree, "reg", CELLS64(HV_ARM_GIC_DISTRIBUTOR_ADDRESS),
              CELLS64(HV_ARM_GIC_DISTRIBUTOR_SIZE), CELLS64(HV_ARM_GICV2_CPU_ADDRESS),
              CELLS64(HV_ARM_GICV2_CPU_SIZE));
    } else {
        string(tree, "compatible", "arm,gic-v3");
        CELLS(tree, "#redistributor-regions", 1);
        CELLS(tree, "reg", CELLS64(HV_ARM_GIC_DISTRIBUTOR_ADDRESS),
              CELLS64(HV_ARM_GIC_DISTRIBUTOR_SIZE), CELLS64(HV_ARM_GICV3_REDISTRIBUTOR_ADDRESS),
              CELLS64(HV_ARM_GICV3_REDISTRIBUTOR_SIZE * config->vcpu_count));
    }
    flag(tree, "interrupt-controller");
    CELLS(tree, "#interrupt-cells", 3);
    CELLS(tree, "#address-cells", 2);
    CELLS(tree, "#size-cells", 2);
    flag(tree, "ranges");
    CELLS(tree, "interrupts", IRQ_TYPE_PPI, HV_ARM_PPI_MAINTENANCE, private_irq_flags(config));
    CELLS(tree, "phandle", PHANDLE_GIC);
    end(tree);
}

static void add_timer(struct tree *tree, const struct hv_fdt_config *config)
{
    uint32_t flags = private_irq_flags(config);

    begin(tree, "timer");
    string(tree, "compatible", "arm,armv8-timer");
    /* In the binding's order. A guest at EL1 uses the virtual one. */
    CELLS(tree, "interrupts", IRQ_TYPE_PPI, HV_ARM_PPI_TIMER_SECURE, flags, IRQ_TYPE_PPI,
          HV_ARM_PPI_TIMER_PHYSICAL, flags, IRQ_TYPE_PPI, HV_ARM_PPI_TIMER_VIRTUAL, flags,
          IRQ_TYPE_PPI, HV_ARM_PPI_TIMER_HYP, flags);
    flag(tree, "always-on");
    end(tree);
}

static void add_clock(struct tree *tree)
{
    begin(tree, "apb-pclk");
    string(tree, "compatible", "fixed-clock");
    CELLS(tree, "#clock-cells", 0);
    CELLS(tree, "clock-frequency", 24000000);
    string(tree, "clock-output-names", "clk24mhz");
    CELLS(tree, "phandle", PHANDLE_CLOCK);
    end(tree);
}

static void add_platform_devices(struct tree *tree)
{
    static const char uart_compatible[] = "arm,pl011\0arm,primecell";
    static const char uart_clocks[] = "uartclk\0apb_pclk";
    static const char rtc_compatible[] = "arm,pl031\0arm,primecell";
    static const char gpio_compatible[] = "arm,pl061\0arm,primecell";
    const uint64_t page = 0x1000;

    begin_at(tree, "pl011", HV_ARM_UART_ADDRESS);
    bytes(tree, "compatible", uart_compatible, sizeof(uart_compatible));
    CELLS(tree, "reg", CELLS64(HV_ARM_UART_ADDRESS), CELLS64(page));
    CELLS(tree, "interrupts", IRQ_TYPE_SPI, HV_ARM_SPI_UART, IRQ_EDGE_RISING);
    CELLS(tree, "clocks", PHANDLE_CLOCK, PHANDLE_CLOCK);
    bytes(tree, "clock-names", uart_clocks, sizeof(uart_clocks));
    end(tree);

    /* Without an interrupt: it has no alarm. */
    begin_at(tree, "pl031", HV_ARM_RTC_ADDRESS);
    bytes(tree, "compatible", rtc_compatible, sizeof(rtc_compatible));
    CELLS(tree, "reg", CELLS64(HV_ARM_RTC_ADDRESS), CELLS64(page));
    CELLS(tree, "clocks", PHANDLE_CLOCK);
    string(tree, "clock-names", "apb_pclk");
    end(tree);

    begin_at(tree, "pl061", HV_ARM_GPIO_ADDRESS);
    bytes(tree, "compatible", gpio_compatible, sizeof(gpio_compatible));
    CELLS(tree, "reg", CELLS64(HV_ARM_GPIO_ADDRESS), CELLS64(page));
    CELLS(tree, "interrupts", IRQ_TYPE_SPI, HV_ARM_SPI_GPIO, IRQ_EDGE_RISING);
    flag(tree, "gpio-controller");
    CELLS(tree, "#gpio-cells", 2);
    flag(tree, "interrupt-controller");
    CELLS(tree, "#interrupt-cells", 2);
    CELLS(tree, "clocks", PHANDLE_CLOCK);
    string(tree, "clock-names", "apb_pclk");
    CELLS(tree, "phandle", PHANDLE_GPIO);
    end(tree);

    begin(tree, "gpio-keys");
    string(tree, "compatible", "gpio-keys");
    begin(tree, "power");
    string(tree, "label", "Power Button");
    CELLS(tree, "linux,code", KEY_CODE_POWER);
    CELLS(tree, "gpios", PHANDLE_GPIO, HV_ARM_GPIO_PIN_POWER, 0); /* 0: pressed is high */
    end(tree);
    end(tree);
}

/*
 * No interrupt-map: functions signal by MSI-X only. dma-coherent, because device memory accesses
 * are the host's own cached ones: without it the guest would map rings uncached and both sides
 * would see different bytes.
 */
static void add_pci_host(struct tree *tree, const struct hv_fdt_config *config)
{
    uint32_t ranges[2 * 7];
    unsigned int count = 0;
    uint32_t last_bus = (uint32_t)(config->pci_config.size / PCI_BUS_CONFIG_SIZE) - 1;

    if (config->pci_window32.size) {
        const uint32_t row[] = {PCI_SPACE_MEMORY32, CELLS64(config->pci_window32.address),
                                CELLS64(config->pci_window32.address),
                                CELLS64(config->pci_window32.size)};

        memcpy(ranges + count, row, sizeof(row));
        count += HV_ARRAY_SIZE(row);
    }
    if (config->pci_window64.size) {
        const uint32_t row[] = {PCI_SPACE_MEMORY64, CELLS64(config->pci_window64.address),
                                CELLS64(config->pci_window64.address),
                                CELLS64(config->pci_window64.size)};

        memcpy(ranges + count, row, sizeof(row));
        count += HV_ARRAY_SIZE(row);
    }

    begin_at(tree, "pcie", config->pci_config.address);
    string(tree, "compatible", "pci-host-ecam-generic");
    string(tree, "device_type", "pci");
    CELLS(tree, "reg", CELLS64(config->pci_config.address), CELLS64(config->pci_config.size));
    CELLS(tree, "bus-range", 0, last_bus);
    CELLS(tree, "linux,pci-domain", 0);
    CELLS(tree, "#address-cells", 3);
    CELLS(tree, "#size-cells", 2);
    cells(tree, "ranges", ranges, count);
    flag(tree, "dma-coherent");
    end(tree);
}

static bool is_range_valid(const struct hv_fdt_range *range)
{
    return range->size <= UINT64_MAX - range->address;
}

static bool is_config_valid(const struct hv_fdt_config *config)
{
    unsigned int max_vcpus;

    switch (config->gic) {
    case HV_GIC_V2: max_vcpus = HV_ARM_GICV2_MAX_VCPUS; break;
    case HV_GIC_V3: max_vcpus = 64; break;
    default: return false;
    }
    if (!config->vcpu_count || config->vcpu_count > max_vcpus) {
        return false;
    }
    if (!is_range_valid(&config->memory) || !config->memory.size ||
        !is_range_valid(&config->initrd) || !is_range_valid(&config->pci_config) ||
        !is_range_valid(&config->pci_window32) || !is_range_valid(&config->pci_window64)) {
        return false;
    }
    return !config->pci_config.size || (config->pci_config.size % PCI_BUS_CONFIG_SIZE == 0 &&
                                        config->pci_config.size / PCI_BUS_CONFIG_SIZE <= 256);
}

int hv_fdt_build(const struct hv_fdt_config *config, void *buffer, size_t capacity,
                 size_t *ret_size)
{
    struct tree tree = {.fdt = buffer};

    if (!is_config_valid(config)) {
        return -EINVAL;
    }
    if (capacity > INT_MAX) {
        return -EINVAL;
    }
    check(&tree, fdt_create(buffer, (int)capacity));
    if (!tree.error) {
        check(&tree, fdt_finish_reservemap(buffer));
    }

    begin(&tree, "");
    string(&tree, "compatible", "linux,dummy-virt");
    string(&tree, "model", "TenBox");
    CELLS(&tree, "#address-cells", 2);
    CELLS(&tree, "#size-cells", 2);
    CELLS(&tree, "interrupt-parent", PHANDLE_GIC);
    add_chosen(&tree, config);
    add_memory(&tree, config);
    add_cpus(&tree, config);
    add_psci(&tree);
    add_interrupt_controller(&tree, config);
    add_timer(&tree, config);
    add_clock(&tree);
    add_platform_devices(&tree);
    if (config->pci_config.size) {
        add_pci_host(&tree, config);
    }
    end(&tree);

    if (!tree.error) {
        check(&tree, fdt_finish(buffer));
    }
    if (tree.error) {
        return tree.error == -FDT_ERR_NOSPACE ? -ENOSPC : -EINVAL;
    }
    *ret_size = fdt_totalsize(buffer);
    return 0;
}
