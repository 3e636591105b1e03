/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables of the x86_64 machine: hardware-reduced, so no PM timer, no SCI, no legacy
 * devices; the power button is a generic event device with an interrupt of its own, power-off and
 * reset are three ports.
 *
 * A pure function of its input: no KVM, no guest memory.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hv_acpi_config {
    uint64_t address; /* guest-physical address of the first byte, 16-aligned */
    unsigned int vcpu_count;
    uint64_t pci_config_address; /* ECAM, below 4 GiB */
    uint64_t pci_config_size;    /* 1 MiB per bus */
    uint64_t pci_window32_address, pci_window32_size;
    uint64_t pci_window64_address, pci_window64_size; /* size 0: none */
};

/* The RSDP comes first, at config->address; the other tables follow. */
struct hv_acpi_tables {
    uint8_t *data; /* owned */
    size_t length;
};

/* -EINVAL: a window does not fit its kind or there are no vCPUs or too many. -ENOMEM. */
int hv_acpi_build(const struct hv_acpi_config *config, struct hv_acpi_tables *ret_tables);
/* Accepts zeroed memory. */
void hv_acpi_tables_fini(struct hv_acpi_tables *tables);
