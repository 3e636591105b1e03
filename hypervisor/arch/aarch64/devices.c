/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The platform devices of an aarch64 machine: made once, attached to each new VM by irqchip.c. */
#include "hypervisor/arch/aarch64/aarch64-private.h"
#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/devices/pl011.h"
#include "hypervisor/devices/pl031.h"
#include "hypervisor/devices/pl061.h"
#include "hypervisor/machine/machine-private.h"
#include "hypervisor/pci/pci-host.h"

_Static_assert(HV_ARM_GPIO_PIN_POWER < HV_PL061_PIN_COUNT, "the power button's pin");

static void raise_line(void *opaque)
{
    hv_irq_line_raise(opaque);
}

static int create_uart(struct hv_machine *machine, struct hv_arch *arch)
{
    const struct hv_pl011_config config = {
        .loop = machine->loop,
        .sink = machine->console,
        .raise_interrupt = raise_line,
        .interrupt_opaque = &arch->uart_line,
    };
    int error = hv_irq_line_init(&arch->uart_line, HV_ARM_SPI_UART);

    if (error < 0) {
        return error;
    }
    error = hv_pl011_create(&config, &arch->uart);
    if (error < 0) {
        return error;
    }
    return hv_pl011_attach(arch->uart, machine->mmio, HV_ARM_UART_ADDRESS);
}

static int create_clock(struct hv_machine *machine, struct hv_arch *arch)
{
    int error = hv_pl031_create(NULL, NULL, &arch->rtc);

    if (error < 0) {
        return error;
    }
    return hv_pl031_attach(arch->rtc, machine->mmio, HV_ARM_RTC_ADDRESS);
}

static int create_gpio(struct hv_machine *machine, struct hv_arch *arch)
{
    const struct hv_pl061_config config = {
        .raise_interrupt = raise_line,
        .interrupt_opaque = &arch->gpio_line,
    };
    int error = hv_irq_line_init(&arch->gpio_line, HV_ARM_SPI_GPIO);

    if (error < 0) {
        return error;
    }
    error = hv_pl061_create(&config, &arch->gpio);
    if (error < 0) {
        return error;
    }
    return hv_pl061_attach(arch->gpio, machine->mmio, HV_ARM_GPIO_ADDRESS);
}

static int create_pci_host(struct hv_machine *machine, struct hv_arch *arch)
{
    int error = hv_pci_host_create(&arch->pci);

    if (error < 0) {
        return error;
    }
    return hv_pci_host_attach(arch->pci, machine->mmio, hv_memory_layout(machine->memory));
}

bool hv_arch_has_ports(void)
{
    return false;
}

int hv_arch_create_devices(struct hv_machine *machine, struct hv_arch **ret_arch,
                           struct hv_reason *ret_reason)
{
    static int (*const steps[])(struct hv_machine *, struct hv_arch *) = {
        create_uart,
        create_clock,
        create_gpio,
        create_pci_host,
    };
    struct hv_arch *arch = calloc(1, sizeof(*arch));

    if (!arch) {
        return -ENOMEM;
    }
    arch->uart_line.event_fd = -1;
    arch->gpio_line.event_fd = -1;
    for (size_t i = 0; i < HV_ARRAY_SIZE(steps); i++) {
        int error = steps[i](machine, arch);

        if (error < 0) {
            hv_arch_destroy_devices(arch);
            return hv_reason_set(ret_reason, error, "kvm", "a platform device could not be made");
        }
    }
    *ret_arch = arch;
    return 0;
}

void hv_arch_destroy_devices(struct hv_arch *arch)
{
    if (!arch) {
        return;
    }
    hv_pl011_destroy(arch->uart);
    hv_pl031_destroy(arch->rtc);
    hv_pl061_destroy(arch->gpio);
    hv_pci_host_destroy(arch->pci);
    hv_irq_line_fini(&arch->uart_line);
    hv_irq_line_fini(&arch->gpio_line);
    free(arch);
}

void hv_arch_reset_devices(struct hv_arch *arch)
{
    hv_pl011_reset(arch->uart);
    hv_pl061_reset(arch->gpio);
    hv_pci_host_reset(arch->pci);
    arch->is_counter_held = false;
}

int hv_arch_press_power_button(struct hv_arch *arch)
{
    hv_pl061_press(arch->gpio, HV_ARM_GPIO_PIN_POWER);
    return 0;
}

size_t hv_arch_console_input(struct hv_arch *arch, const uint8_t *data, size_t length)
{
    return hv_pl011_input(arch->uart, data, length);
}

int hv_arch_console_break(struct hv_arch *arch)
{
    return hv_pl011_break(arch->uart);
}
