/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where RAM lies, and the road to the first instruction: kernel, initrd and device tree into RAM,
 * registers of vCPU 0 (Documentation/arch/arm64/booting.rst of Linux).
 */
#include "hypervisor/arch/aarch64/aarch64-private.h"
#include "hypervisor/arch/aarch64/arm64-image.h"
#include "hypervisor/arch/aarch64/memory-map.h"
#include "hypervisor/base/random.h"
#include "hypervisor/machine/machine-private.h"
#include "hypervisor/pci/pci-host.h"

_Static_assert(HV_ARM_PCI_CONFIG_ADDRESS + HV_PCI_ECAM_SIZE <= HV_ARM_RAM_ADDRESS,
               "the configuration space ends before RAM begins");

int hv_arch_memory_layout(const struct hv_kvm *kvm, uint64_t memory_size,
                          struct hv_memory_layout *ret_layout, struct hv_reason *ret_reason)
{
    uint64_t space = UINT64_C(1) << hv_arm64_ipa_bits(kvm);
    uint64_t window64_size = hv_min_u64(space / 4, HV_ARM_PCI_WINDOW64_MAX);
    uint64_t window64_address = space - window64_size;

    if (memory_size > window64_address - HV_ARM_RAM_ADDRESS) {
        return hv_reason_set(ret_reason, -EINVAL, "memory_mb",
                             "is more than fits into the address space that KVM gives guests on "
                             "this host");
    }
    *ret_layout = (struct hv_memory_layout){
        .regions = {{.address = HV_ARM_RAM_ADDRESS, .size = memory_size}},
        .region_count = 1,
        .pci_config_address = HV_ARM_PCI_CONFIG_ADDRESS,
        .pci_config_size = HV_PCI_ECAM_SIZE,
        .pci_window32_address = HV_ARM_PCI_WINDOW32_ADDRESS,
        .pci_window32_size = HV_ARM_PCI_WINDOW32_SIZE,
        .pci_window64_address = window64_address,
        .pci_window64_size = window64_size,
    };
    return 0;
}

/* A kernel for larger pages than the processor has would die without a word. */
static int check_page_size(const struct hv_machine *machine, const struct hv_arm64_kernel *kernel,
                           struct hv_reason *ret_reason)
{
    bool has = true;
    int error = 0;

    if (kernel->page_size) {
        error = hv_arm64_has_page_size(machine->vcpus[0], kernel->page_size, &has);
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm",
                             "KVM does not tell which page sizes the processor has");
    }
    if (has) {
        return 0;
    }
    switch (kernel->page_size) {
    case 16384:
        return hv_reason_set(ret_reason, -EINVAL, "kernel",
                             "is built for pages of 16 KiB, which this processor does not have");
    case 65536:
        return hv_reason_set(ret_reason, -EINVAL, "kernel",
                             "is built for pages of 64 KiB, which this processor does not have");
    default:
        return hv_reason_set(ret_reason, -EINVAL, "kernel",
                             "is built for pages of 4 KiB, which this processor does not have");
    }
}

static int load_initrd(const struct hv_machine *machine, uint64_t address, uint64_t size,
                       struct hv_reason *ret_reason)
{
    int error = hv_memory_load_file(machine->memory, address, machine->initrd_fd, 0, size);

    if (error == -ENODATA) {
        return hv_reason_set(ret_reason, -EINVAL, "initrd",
                             "is truncated: the file ended while it was read");
    }
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "initrd", "could not be read");
    }
    return 0;
}

static int write_device_tree(const struct hv_machine *machine,
                             const struct hv_arm64_placement *placement, uint64_t initrd_size)
{
    const struct hv_memory_layout *layout = hv_memory_layout(machine->memory);
    uint64_t mpidrs[HV_MACHINE_MAX_VCPUS];
    struct hv_fdt_config config = {
        .gic = machine->arch->gic,
        .vcpu_count = machine->vcpu_count,
        .mpidrs = mpidrs,
        .memory = {layout->regions[0].address, layout->regions[0].size},
        .initrd = {placement->initrd_address, initrd_size},
        .pci_config = {layout->pci_config_address, layout->pci_config_size},
        .pci_window32 = {layout->pci_window32_address, layout->pci_window32_size},
        .pci_window64 = {layout->pci_window64_address, layout->pci_window64_size},
        .command_line = machine->command_line,
    };
    HV_AUTO_FREE void *tree = NULL;
    size_t size;
    int error;

    for (unsigned int i = 0; i < machine->vcpu_count; i++) {
        error = hv_arm64_get_affinity(machine->vcpus[i], &mpidrs[i]);
        if (error < 0) {
            return error;
        }
    }
    error = hv_random_fill(config.rng_seed, sizeof(config.rng_seed));
    if (error < 0) {
        return error;
    }
    error = hv_random_fill(&config.kaslr_seed, sizeof(config.kaslr_seed));
    if (error < 0) {
        return error;
    }
    tree = malloc(HV_FDT_CAPACITY);
    if (!tree) {
        return -ENOMEM;
    }
    error = hv_fdt_build(&config, tree, HV_FDT_CAPACITY, &size);
    if (error < 0) {
        return error;
    }
    return hv_memory_write(machine->memory, placement->fdt_address, tree, size);
}

int hv_arch_load(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    const struct hv_memory_region *ram = &hv_memory_layout(machine->memory)->regions[0];
    struct hv_arm64_placement placement;
    struct hv_arm64_kernel kernel;
    uint64_t initrd_size = machine->initrd_size;
    int error;

    error = hv_arm64_kernel_load(machine->memory, machine->kernel_fd, &kernel, ret_reason);
    if (error < 0) {
        return error;
    }
    error = check_page_size(machine, &kernel, ret_reason);
    if (error < 0) {
        return error;
    }
    error = hv_arm64_place(ram->address, ram->size, &kernel, initrd_size, &placement, ret_reason);
    if (error < 0) {
        return error;
    }
    if (initrd_size) {
        error = load_initrd(machine, placement.initrd_address, initrd_size, ret_reason);
        if (error < 0) {
            return error;
        }
    }
    error = write_device_tree(machine, &placement, initrd_size);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "the device tree could not be made");
    }
    error = hv_arm64_set_entry(machine->vcpus[0], kernel.address, placement.fdt_address);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm",
                             "KVM refused the state in which a kernel begins");
    }
    return 0;
}
