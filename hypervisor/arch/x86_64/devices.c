/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The platform devices: COM1, the PCI host bridge, three ports for power-off and reset, and port
 * 0x64, of which nothing is left but the pulse that resets a PC.
 */
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/arch/x86_64/x86.h"
#include "hypervisor/devices/serial-16550.h"
#include "hypervisor/machine/machine-private.h"
#include "hypervisor/pci/pci-host.h"

/* ACPI 6.4, section 4.8.3.7: sleep control register. */
#define SLEEP_ENABLE      (1u << 5)
#define SLEEP_TYPE(value) ((value) >> 2 & 7)

#define KEYBOARD_PULSE_RESET 0xfe
/*
 * "A byte waits, and there is room for a command": a driver that probes reads bytes that never end
 * and gives up at once, one that wants to reset sends its command at once.
 */
#define KEYBOARD_STATUS      0xfd

static uint64_t power_read(void *opaque, uint64_t offset, unsigned int size)
{
    /* Sleep status: the machine never wakes from a sleep. The other two are write-only. */
    return 0;
}

static void power_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_arch *arch = opaque;

    if (size != 1) {
        return;
    }
    switch (HV_X86_SLEEP_CONTROL_PORT + offset) {
    case HV_X86_SLEEP_CONTROL_PORT:
        if ((value & SLEEP_ENABLE) && SLEEP_TYPE(value) == HV_X86_SLEEP_TYPE_OFF) {
            hv_machine_request_exit(arch->machine, HV_MACHINE_EXIT_GUEST_POWER_OFF, 0);
        }
        break;
    case HV_X86_RESET_PORT:
        if (value == HV_X86_RESET_VALUE) {
            hv_machine_request_reset(arch->machine, HV_RESET_BY_GUEST);
        }
        break;
    default: break;
    }
}

static const struct hv_bus_ops power_ops = {
    .read = power_read,
    .write = power_write,
};

static uint64_t keyboard_read(void *opaque, uint64_t offset, unsigned int size)
{
    return KEYBOARD_STATUS;
}

static void keyboard_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
    struct hv_arch *arch = opaque;

    if (value == KEYBOARD_PULSE_RESET) {
        hv_machine_request_reset(arch->machine, HV_RESET_BY_GUEST);
    }
}

static const struct hv_bus_ops keyboard_ops = {
    .read = keyboard_read,
    .write = keyboard_write,
};

static void raise_serial(void *opaque)
{
    struct hv_arch *arch = opaque;

    hv_irq_line_raise(&arch->serial_irq);
}

static int attach_devices(struct hv_arch *arch)
{
    struct hv_machine *machine = arch->machine;
    int error = hv_pci_host_attach(arch->pci, machine->mmio, hv_memory_layout(machine->memory));

    if (error == 0) {
        error = hv_pci_host_attach_ports(arch->pci, machine->pio);
    }
    if (error == 0) {
        error = hv_serial_16550_attach(arch->serial, machine->pio, HV_X86_SERIAL_PORT);
    }
    if (error == 0) {
        error = hv_bus_add(machine->pio, HV_X86_SLEEP_CONTROL_PORT, HV_X86_POWER_PORTS_SIZE,
                           "power", 0, &power_ops, arch);
    }
    if (error == 0) {
        error =
            hv_bus_add(machine->pio, HV_X86_KEYBOARD_PORT, 1, "keyboard", 0, &keyboard_ops, arch);
    }
    return error;
}

bool hv_arch_has_ports(void)
{
    return true;
}

int hv_arch_create_devices(struct hv_machine *machine, struct hv_arch **ret_arch,
                           struct hv_reason *ret_reason)
{
    struct hv_arch *arch = calloc(1, sizeof(*arch));
    struct hv_serial_16550_config serial = {
        .loop = machine->loop,
        .sink = machine->console,
        .raise_interrupt = raise_serial,
        .interrupt_opaque = arch,
    };
    int error;

    if (!arch) {
        return -ENOMEM;
    }
    arch->machine = machine;
    arch->serial_irq.event_fd = -1;
    arch->power_button.event_fd = -1;
    error = hv_irq_line_init(&arch->serial_irq, HV_X86_SERIAL_GSI);
    if (error == 0) {
        error = hv_irq_line_init(&arch->power_button, HV_X86_POWER_BUTTON_GSI);
    }
    if (error == 0) {
        error = hv_pci_host_create(&arch->pci);
    }
    if (error == 0) {
        error = hv_serial_16550_create(&serial, &arch->serial);
    }
    if (error == 0) {
        error = attach_devices(arch);
    }
    if (error < 0) {
        hv_arch_destroy_devices(arch);
        return hv_reason_set(ret_reason, error, "kvm", "a platform device could not be made");
    }
    *ret_arch = arch;
    return 0;
}

void hv_arch_destroy_devices(struct hv_arch *arch)
{
    if (!arch) {
        return;
    }
    hv_serial_16550_destroy(arch->serial);
    hv_pci_host_destroy(arch->pci);
    hv_irq_line_fini(&arch->power_button);
    hv_irq_line_fini(&arch->serial_irq);
    free(arch);
}

void hv_arch_reset_devices(struct hv_arch *arch)
{
    hv_pci_host_reset(arch->pci);
    hv_serial_16550_reset(arch->serial);
}

int hv_arch_press_power_button(struct hv_arch *arch)
{
    hv_irq_line_raise(&arch->power_button);
    return 0;
}

size_t hv_arch_console_input(struct hv_arch *arch, const uint8_t *data, size_t length)
{
    return hv_serial_16550_input(arch->serial, data, length);
}

int hv_arch_console_break(struct hv_arch *arch)
{
    return hv_serial_16550_break(arch->serial);
}
