/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory layout, and everything that is in memory when the first vCPU runs its first instruction:
 * kernel, initrd, command line, ACPI tables, and what the entry point is told about them (struct
 * boot_params for a bzImage, struct hvm_start_info for PVH).
 */
#include "hypervisor/arch/x86_64/e820.h"
#include "hypervisor/arch/x86_64/kernel.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/arch/x86_64/x86.h"
#include "hypervisor/base/file.h"
#include "hypervisor/base/random.h"
#include "hypervisor/machine/machine-private.h"
#include "hypervisor/pci/pci-host.h"

/* Offsets into struct boot_params. */
#define PARAMS_SIZE           4096
#define PARAMS_ACPI_RSDP      0x070
#define PARAMS_E820_COUNT     0x1e8
#define PARAMS_VIDEO_MODE     0x1fa
#define PARAMS_LOADER_TYPE    0x210
#define PARAMS_CODE32_START   0x214
#define PARAMS_INITRD_ADDRESS 0x218
#define PARAMS_INITRD_SIZE    0x21c
#define PARAMS_COMMAND_LINE   0x228
#define PARAMS_SETUP_DATA     0x250
#define PARAMS_E820_TABLE     0x2d0
#define E820_ENTRY_SIZE       20

#define LOADER_UNDEFINED       0xff
#define VIDEO_MODE_NORMAL      0xffff
#define SETUP_DATA_HEADER_SIZE 16
#define SETUP_RNG_SEED         9
#define SEED_SIZE              32

/* Offsets into struct hvm_start_info, version 1, and what follows it on the same page. */
#define PVH_MAGIC                 0x336ec578
#define PVH_MODULES_OFFSET        64
#define PVH_MEMORY_MAP_OFFSET     128
#define PVH_MEMORY_MAP_ENTRY_SIZE 24

/* What the loaders agree on. */
struct boot_plan {
    struct hv_x86_kernel kernel;
    uint64_t low_ram_end;
    uint64_t initrd_address;
    uint64_t initrd_size; /* 0: none */
    uint64_t rsdp;
    struct hv_e820_entry memory_map[HV_E820_MAX_ENTRIES];
    unsigned int memory_map_length;
};

/* --- layout ------------------------------------------------------------------------------------ */

/* From the first GiB above RAM to the end of what the processor can address. */
static void set_window64(struct hv_memory_layout *layout, uint64_t ram_end, uint64_t address_limit)
{
    uint64_t start = hv_max_u64(ram_end, HV_X86_PCI_HOLE_END);
    uint64_t end = address_limit;

    if (start < HV_X86_HYPERTRANSPORT_START) {
        end = hv_min_u64(end, HV_X86_HYPERTRANSPORT_START);
    } else if (start < HV_X86_HYPERTRANSPORT_END) {
        start = HV_X86_HYPERTRANSPORT_END;
    }
    /* Neither can wrap: addresses have at most 52 bits. */
    start = hv_align_down(start + HV_X86_GIB - 1, HV_X86_GIB);
    if (start < end) {
        layout->pci_window64_address = start;
        layout->pci_window64_size = hv_min_u64(end - start, HV_X86_PCI_WINDOW64_MAX_SIZE);
    }
}

int hv_arch_memory_layout(const struct hv_kvm *kvm, uint64_t memory_size,
                          struct hv_memory_layout *ret_layout, struct hv_reason *ret_reason)
{
    HV_AUTO_FREE struct hv_cpuid *cpuid = malloc(sizeof(*cpuid));
    struct hv_memory_layout layout = {
        .region_count = 1,
        .pci_config_address = HV_X86_PCI_CONFIG_ADDRESS,
        .pci_config_size = HV_PCI_ECAM_SIZE,
        .pci_window32_address = HV_X86_PCI_WINDOW32_ADDRESS,
        .pci_window32_size = HV_X86_PCI_WINDOW32_SIZE,
    };
    uint64_t high_size, address_limit;
    int error;

    if (!cpuid) {
        return -ENOMEM;
    }
    error = hv_x86_supported_cpuid(kvm, cpuid);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kvm", "this KVM cannot list CPUID");
    }
    address_limit = (uint64_t)1 << hv_cpuid_physical_bits(cpuid);
    layout.regions[0].size = hv_min_u64(memory_size, HV_X86_PCI_HOLE_START);
    high_size = memory_size - layout.regions[0].size;
    if (high_size) {
        if (high_size > address_limit - hv_min_u64(address_limit, HV_X86_PCI_HOLE_END)) {
            return hv_reason_set(ret_reason, -EINVAL, "memory_mb",
                                 "is more than this processor can address");
        }
        layout.regions[layout.region_count++] = (struct hv_memory_region){
            .address = HV_X86_PCI_HOLE_END,
            .size = high_size,
        };
    }
    set_window64(&layout, HV_X86_PCI_HOLE_END + high_size, address_limit);
    *ret_layout = layout;
    return 0;
}

/* --- what both entry points need --------------------------------------------------------------- */

static int read_kernel(void *opaque, uint64_t offset, void *buffer, size_t length)
{
    const int *fd = opaque;

    return hv_file_read(*fd, offset, buffer, length);
}

static int find_kernel(struct hv_machine *machine, struct boot_plan *plan,
                       struct hv_reason *ret_reason)
{
    struct hv_x86_kernel_source source = {.read = read_kernel, .opaque = &machine->kernel_fd};
    int error = hv_file_size(machine->kernel_fd, &source.size);

    if (error < 0) {
        return hv_reason_set(ret_reason, error, "kernel", "is not a regular file");
    }
    error = hv_x86_kernel_parse(&source, &plan->kernel, ret_reason);
    if (error == 0) {
        error = hv_x86_kernel_place(&plan->kernel, plan->low_ram_end, ret_reason);
    }
    if (error == 0 && strlen(machine->command_line) > plan->kernel.max_command_line) {
        error = hv_reason_set(ret_reason, -EINVAL, "cmdline", "is longer than this kernel takes");
    }
    return error;
}

static int load_segments(struct hv_machine *machine, const struct hv_x86_kernel *kernel,
                         struct hv_reason *ret_reason)
{
    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        const struct hv_x86_kernel_segment *segment = &kernel->segments[i];
        int error = 0;

        /* The rest of a segment is zero already: RAM is new. */
        if (segment->file_size) {
            error = hv_memory_load_file(machine->memory, segment->address, machine->kernel_fd,
                                        segment->file_offset, segment->file_size);
        }
        if (error < 0) {
            return hv_reason_set(ret_reason, error, "kernel", "could not be read");
        }
    }
    return 0;
}

static int load_initrd(struct hv_machine *machine, struct boot_plan *plan,
                       struct hv_reason *ret_reason)
{
    int error;

    if (machine->initrd_fd < 0) {
        return 0;
    }
    plan->initrd_size = machine->initrd_size;
    error = hv_x86_initrd_place(&plan->kernel, plan->low_ram_end, plan->initrd_size,
                                &plan->initrd_address, ret_reason);
    if (error < 0) {
        return error;
    }
    error = hv_memory_load_file(machine->memory, plan->initrd_address, machine->initrd_fd, 0,
                                plan->initrd_size);
    if (error < 0) {
        return hv_reason_set(ret_reason, error, "initrd", "could not be read");
    }
    return 0;
}

/* --- bzImage ----------------------------------------------------------------------------------- */

/* A seed for the guest's random numbers, from the host's: the first boot has no other source. */
static int write_setup_data(struct hv_machine *machine)
{
    uint8_t data[SETUP_DATA_HEADER_SIZE + SEED_SIZE] = {0};
    int error = hv_random_fill(data + SETUP_DATA_HEADER_SIZE, SEED_SIZE);

    if (error < 0) {
        return error;
    }
    hv_store_le32(data + 8, SETUP_RNG_SEED);
    hv_store_le32(data + 12, SEED_SIZE);
    return hv_memory_write(machine->memory, HV_X86_SETUP_DATA_ADDRESS, data, sizeof(data));
}

static int write_boot_params(struct hv_machine *machine, const struct boot_plan *plan)
{
    const struct hv_x86_kernel *kernel = &plan->kernel;
    uint8_t params[PARAMS_SIZE] = {0};
    uint8_t *entry = params + PARAMS_E820_TABLE;

    memcpy(params + HV_X86_SETUP_HEADER_OFFSET, kernel->setup_header, kernel->setup_header_length);
    hv_store_le64(params + PARAMS_ACPI_RSDP, plan->rsdp);
    hv_store_le16(params + PARAMS_VIDEO_MODE, VIDEO_MODE_NORMAL);
    params[PARAMS_LOADER_TYPE] = LOADER_UNDEFINED;
    /* Everything below is under 4 GiB. */
    hv_store_le32(params + PARAMS_CODE32_START, (uint32_t)kernel->segments[0].address);
    hv_store_le32(params + PARAMS_INITRD_ADDRESS, (uint32_t)plan->initrd_address);
    hv_store_le32(params + PARAMS_INITRD_SIZE, (uint32_t)plan->initrd_size);
    hv_store_le32(params + PARAMS_COMMAND_LINE, HV_X86_COMMAND_LINE_ADDRESS);
    hv_store_le64(params + PARAMS_SETUP_DATA, HV_X86_SETUP_DATA_ADDRESS);
    params[PARAMS_E820_COUNT] = (uint8_t)plan->memory_map_length;
    for (unsigned int i = 0; i < plan->memory_map_length; i++, entry += E820_ENTRY_SIZE) {
        hv_store_le64(entry, plan->memory_map[i].address);
        hv_store_le64(entry + 8, plan->memory_map[i].size);
        hv_store_le32(entry + 16, plan->memory_map[i].type);
    }
    return hv_memory_write(machine->memory, HV_X86_BOOT_PARAMS_ADDRESS, params, sizeof(params));
}

/* What both ways in have to say about KVM_SET_SREGS and its kin. */
static int reject_entry(struct hv_reason *reason, int error)
{
    return hv_reason_set(reason, error, "kvm", "KVM refused the state in which a kernel begins");
}

/* The same for what a kernel is told about its machine. */
static int reject_tables(struct hv_reason *reason, int error)
{
    return hv_reason_set(reason, error, "kvm", "the tables for the kernel could not be made");
}

static int enter_linux(struct hv_machine *machine, const struct boot_plan *plan,
                       struct hv_reason *ret_reason)
{
    int error = write_setup_data(machine);

    if (error == 0) {
        error = write_boot_params(machine, plan);
    }
    if (error < 0) {
        return reject_tables(ret_reason, error);
    }
    error = hv_x86_enter_linux(machine, machine->vcpus[0], plan->kernel.entry);
    return error < 0 ? reject_entry(ret_reason, error) : 0;
}

/* --- PVH --------------------------------------------------------------------------------------- */

static int write_start_info(struct hv_machine *machine, const struct boot_plan *plan)
{
    uint8_t page[PVH_MEMORY_MAP_OFFSET + HV_E820_MAX_ENTRIES * PVH_MEMORY_MAP_ENTRY_SIZE] = {0};
    uint8_t *module = page + PVH_MODULES_OFFSET;
    uint8_t *entry = page + PVH_MEMORY_MAP_OFFSET;

    hv_store_le32(page, PVH_MAGIC);
    hv_store_le32(page + 4, 1); /* version */
    if (plan->initrd_size) {
        hv_store_le32(page + 12, 1); /* modules */
        hv_store_le64(page + 16, HV_X86_PVH_ADDRESS + PVH_MODULES_OFFSET);
        hv_store_le64(module, plan->initrd_address);
        hv_store_le64(module + 8, plan->initrd_size);
    }
    hv_store_le64(page + 24, HV_X86_COMMAND_LINE_ADDRESS);
    hv_store_le64(page + 32, plan->rsdp);
    hv_store_le64(page + 40, HV_X86_PVH_ADDRESS + PVH_MEMORY_MAP_OFFSET);
    hv_store_le32(page + 48, plan->memory_map_length);
    for (unsigned int i = 0; i < plan->memory_map_length; i++) {
        hv_store_le64(entry, plan->memory_map[i].address);
        hv_store_le64(entry + 8, plan->memory_map[i].size);
        hv_store_le32(entry + 16, plan->memory_map[i].type);
        entry += PVH_MEMORY_MAP_ENTRY_SIZE;
    }
    return hv_memory_write(machine->memory, HV_X86_PVH_ADDRESS, page, sizeof(page));
}

static int enter_pvh(struct hv_machine *machine, const struct boot_plan *plan,
                     struct hv_reason *ret_reason)
{
    int error = write_start_info(machine, plan);

    if (error < 0) {
        return reject_tables(ret_reason, error);
    }
    error = hv_x86_enter_pvh(machine, machine->vcpus[0], plan->kernel.entry);
    return error < 0 ? reject_entry(ret_reason, error) : 0;
}

int hv_arch_load(struct hv_machine *machine, struct hv_reason *ret_reason)
{
    const struct hv_memory_layout *layout = hv_memory_layout(machine->memory);
    struct boot_plan plan = {.low_ram_end = layout->regions[0].size};
    int error = find_kernel(machine, &plan, ret_reason);

    if (error == 0) {
        error = load_segments(machine, &plan.kernel, ret_reason);
    }
    if (error == 0) {
        error = load_initrd(machine, &plan, ret_reason);
    }
    if (error < 0) {
        return error;
    }
    error = hv_memory_write(machine->memory, HV_X86_COMMAND_LINE_ADDRESS, machine->command_line,
                            strlen(machine->command_line) + 1);
    if (error == 0) {
        error = hv_x86_write_tables(machine, &plan.rsdp);
    }
    if (error < 0) {
        return reject_tables(ret_reason, error);
    }
    plan.memory_map_length = hv_e820_build(layout, plan.memory_map);
    return plan.kernel.kind == HV_X86_KERNEL_PVH ? enter_pvh(machine, &plan, ret_reason)
                                                 : enter_linux(machine, &plan, ret_reason);
}
