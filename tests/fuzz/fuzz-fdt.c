/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device tree builder with any numbers and any command line: it refuses, or makes a tree that
 * libfdt finds sound and that names the memory it was given, within the bytes it was given.
 *
 * The input is struct input, then the command line.
 */
#include <libfdt.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "hypervisor/arch/aarch64/tables.h"
#include "hypervisor/base/hv-base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    uint8_t gic;
    uint8_t vcpu_count;
    uint16_t capacity; /* 0: the usual one */
    uint32_t padding;
    uint64_t mpidr;
    struct hv_fdt_range memory, initrd, pci_config, pci_window32, pci_window64;
    uint64_t kaslr_seed;
};

static void check_tree(const void *tree, size_t size, const struct hv_fdt_config *config)
{
    const fdt64_t *range;
    int node = -1, length;

    if (fdt_check_full(tree, size) != 0) {
        abort();
    }
    node = fdt_node_offset_by_prop_value(tree, node, "device_type", "memory", sizeof("memory"));
    range = node < 0 ? NULL : fdt_getprop(tree, node, "reg", &length);
    if (!range || length != 16 || fdt64_ld(range) != config->memory.address ||
        fdt64_ld(range + 1) != config->memory.size) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input;
    HV_AUTO_FREE char *line = NULL;
    HV_AUTO_FREE uint8_t *tree = NULL;
    uint64_t mpidrs[256];
    size_t capacity, tree_size = 0;

    if (size < sizeof(input)) {
        return 0;
    }
    memcpy(&input, data, sizeof(input));
    line = calloc(1, size - sizeof(input) + 1);
    capacity = input.capacity ? input.capacity : HV_FDT_CAPACITY;
    tree = malloc(capacity);
    if (!line || !tree) {
        abort();
    }
    memcpy(line, data + sizeof(input), size - sizeof(input));
    for (size_t i = 0; i < HV_ARRAY_SIZE(mpidrs); i++) {
        mpidrs[i] = input.mpidr + i;
    }
    {
        struct hv_fdt_config config = {
            .gic = input.gic % 5, /* the two, none, and two that do not exist */
            .vcpu_count = input.vcpu_count,
            .mpidrs = mpidrs,
            .memory = input.memory,
            .initrd = input.initrd,
            .pci_config = input.pci_config,
            .pci_window32 = input.pci_window32,
            .pci_window64 = input.pci_window64,
            .command_line = line,
            .kaslr_seed = input.kaslr_seed,
        };

        if (hv_fdt_build(&config, tree, capacity, &tree_size) == 0) {
            if (tree_size > capacity) {
                abort();
            }
            check_tree(tree, tree_size, &config);
        }
    }
    return 0;
}
