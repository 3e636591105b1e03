/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Headers of x86 kernels. Field offsets: Linux, Documentation/arch/x86/boot.rst and
 * Documentation/arch/x86/zero-page.rst; the PVH entry: Xen, docs/misc/pvh.pandoc; ELF: gABI.
 */
#include "hypervisor/arch/x86_64/kernel.h"

#include <elf.h>

#include "hypervisor/arch/memory-need.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"

/* Offsets into a bzImage. */
#define SETUP_SECTOR_COUNT  0x1f1
#define SYSTEM_SIZE         0x1f4
#define BOOT_FLAG           0x1fe
#define HEADER_JUMP_LENGTH  0x201
#define HEADER_MAGIC        0x202
#define HEADER_VERSION      0x206
#define LOAD_FLAGS          0x211
#define INITRD_ADDRESS_MAX  0x22c
#define KERNEL_ALIGNMENT    0x230
#define RELOCATABLE_KERNEL  0x234
#define EXTENDED_LOAD_FLAGS 0x236
#define COMMAND_LINE_SIZE   0x238
#define PREFERRED_ADDRESS   0x258
#define INIT_SIZE           0x260
#define HEADER_READ_SIZE    0x290

#define BOOT_FLAG_VALUE       0xaa55
#define LOADED_HIGH           0x01
#define EXTENDED_KERNEL_64    0x0001
#define VERSION_2_12          0x020c
#define SECTOR_SIZE           512
#define DEFAULT_SETUP_SECTORS 4
#define PARAGRAPH_SIZE        16
#define ENTRY_64_OFFSET       0x200
#define COMMAND_LINE_LIMIT    2047

#define XEN_NOTE_NAME         "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18
#define MAX_PROGRAM_HEADERS   64
#define MAX_NOTES_SIZE        (64 * 1024)
#define PAGE_SIZE_4K          4096

static int reject(struct hv_reason *reason, const char *text)
{
    return hv_reason_set(reason, -EINVAL, "kernel", text);
}

/* Exactly @length bytes, or a reason. */
static int read_source(const struct hv_x86_kernel_source *source, uint64_t offset, void *buffer,
                       size_t length, struct hv_reason *ret_reason)
{
    int error = source->read(source->opaque, offset, buffer, length);

    return error < 0 ? hv_reason_set(ret_reason, error, "kernel", "could not be read") : 0;
}

/* --- bzImage ----------------------------------------------------------------------------------- */

static int parse_bzimage(const struct hv_x86_kernel_source *source, const uint8_t *header,
                         struct hv_x86_kernel *kernel, struct hv_reason *ret_reason)
{
    uint64_t setup_sectors =
        header[SETUP_SECTOR_COUNT] ? header[SETUP_SECTOR_COUNT] : DEFAULT_SETUP_SECTORS;
    uint64_t setup_size = (setup_sectors + 1) * SECTOR_SIZE;
    uint64_t system_size = (uint64_t)hv_load_le32(header + SYSTEM_SIZE) * PARAGRAPH_SIZE;
    uint64_t header_end = HEADER_MAGIC + (uint64_t)header[HEADER_JUMP_LENGTH];
    uint64_t alignment = hv_load_le32(header + KERNEL_ALIGNMENT);
    uint64_t init_size = hv_load_le32(header + INIT_SIZE);

    if (hv_load_le16(header + HEADER_VERSION) < VERSION_2_12 ||
        !(hv_load_le16(header + EXTENDED_LOAD_FLAGS) & EXTENDED_KERNEL_64)) {
        return reject(ret_reason, "is a bzImage without a 64-bit entry point; TenBox boots 64-bit "
                                  "kernels with boot protocol 2.12 or later");
    }
    if (!(header[LOAD_FLAGS] & LOADED_HIGH)) {
        return reject(ret_reason, "is a bzImage that must be loaded below 1 MiB");
    }
    if (header_end < INIT_SIZE + sizeof(uint32_t) || header_end > HEADER_READ_SIZE) {
        return reject(ret_reason, "has a setup header of impossible length");
    }
    if (!hv_range_fits(setup_size, system_size, source->size)) {
        return reject(ret_reason, "is truncated: the file is smaller than its header says");
    }
    if (system_size <= ENTRY_64_OFFSET) {
        return reject(ret_reason, "has a header with an impossible syssize: it ends before its "
                                  "64-bit entry point");
    }
    if (!hv_is_power_of_two(alignment) || alignment < PAGE_SIZE_4K) {
        return reject(ret_reason, "has a header with an impossible kernel_alignment");
    }
    if (init_size < system_size) {
        return reject(ret_reason, "has a header with an impossible init_size");
    }
    kernel->kind = HV_X86_KERNEL_BZIMAGE;
    kernel->segment_count = 1;
    kernel->segments[0] = (struct hv_x86_kernel_segment){
        .file_offset = setup_size,
        .file_size = system_size,
        .memory_size = init_size,
    };
    kernel->preferred_address = hv_load_le64(header + PREFERRED_ADDRESS);
    kernel->alignment = alignment;
    kernel->is_relocatable = header[RELOCATABLE_KERNEL] != 0;
    kernel->max_command_line = hv_load_le32(header + COMMAND_LINE_SIZE);
    kernel->max_initrd_end = (uint64_t)hv_load_le32(header + INITRD_ADDRESS_MAX) + 1;
    kernel->setup_header_length = header_end - HV_X86_SETUP_HEADER_OFFSET;
    memcpy(kernel->setup_header, header + HV_X86_SETUP_HEADER_OFFSET, kernel->setup_header_length);
    return 0;
}

/* --- ELF with a PVH note ----------------------------------------------------------------------- */

static int add_segment(const struct hv_x86_kernel_source *source, const Elf64_Phdr *header,
                       struct hv_x86_kernel *kernel, struct hv_reason *ret_reason)
{
    uint64_t end;

    if (header->p_memsz == 0 && header->p_filesz == 0) {
        return 0;
    }
    if (header->p_filesz > header->p_memsz) {
        return reject(ret_reason, "has a segment that is larger in the file than in memory");
    }
    if (!hv_range_fits(header->p_offset, header->p_filesz, source->size)) {
        return reject(ret_reason, "is truncated: a segment reaches beyond the end of the file");
    }
    if (!hv_add_u64(header->p_paddr, header->p_memsz, &end)) {
        return reject(ret_reason, "has a segment at an impossible address");
    }
    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        if (hv_ranges_overlap(header->p_paddr, header->p_memsz, kernel->segments[i].address,
                              kernel->segments[i].memory_size)) {
            return reject(ret_reason, "has segments that overlap in memory");
        }
    }
    if (kernel->segment_count == HV_X86_KERNEL_MAX_SEGMENTS) {
        return reject(ret_reason, "has more than 16 segments to load");
    }
    kernel->segments[kernel->segment_count++] = (struct hv_x86_kernel_segment){
        .file_offset = header->p_offset,
        .file_size = header->p_filesz,
        .address = header->p_paddr,
        .memory_size = header->p_memsz,
    };
    return 0;
}

/* Looks for the entry in one block of notes; leaves *ret_entry alone when it is not there. */
static void scan_notes(const uint8_t *notes, size_t size, uint64_t alignment, uint64_t *ret_entry)
{
    size_t offset = 0;

    while (hv_range_fits(offset, sizeof(Elf64_Nhdr), size)) {
        uint32_t name_size = hv_load_le32(notes + offset);
        uint32_t value_size = hv_load_le32(notes + offset + 4);
        uint32_t type = hv_load_le32(notes + offset + 8);
        uint64_t name = offset + sizeof(Elf64_Nhdr);
        /* 32-bit sizes in 64 bits: neither sum can wrap. */
        uint64_t value = (name + name_size + alignment - 1) & ~(alignment - 1);

        if (!hv_range_fits(name, name_size, size) || !hv_range_fits(value, value_size, size)) {
            return;
        }
        if (type == XEN_NOTE_PHYS32_ENTRY && name_size == sizeof(XEN_NOTE_NAME) &&
            memcmp(notes + name, XEN_NOTE_NAME, sizeof(XEN_NOTE_NAME)) == 0) {
            if (value_size == sizeof(uint32_t)) {
                *ret_entry = hv_load_le32(notes + value);
            } else if (value_size == sizeof(uint64_t)) {
                *ret_entry = hv_load_le64(notes + value);
            }
            return;
        }
        offset = (value + value_size + alignment - 1) & ~(alignment - 1);
    }
}

static int read_notes(const struct hv_x86_kernel_source *source, const Elf64_Phdr *header,
                      uint64_t *ret_entry, struct hv_reason *ret_reason)
{
    HV_AUTO_FREE uint8_t *notes = NULL;
    int error;

    if (header->p_filesz > MAX_NOTES_SIZE ||
        !hv_range_fits(header->p_offset, header->p_filesz, source->size)) {
        return reject(ret_reason, "is truncated: its notes reach beyond the end of the file");
    }
    if (header->p_filesz == 0) {
        return 0;
    }
    notes = malloc(header->p_filesz);
    if (!notes) {
        return -ENOMEM;
    }
    error = read_source(source, header->p_offset, notes, header->p_filesz, ret_reason);
    if (error < 0) {
        return error;
    }
    scan_notes(notes, header->p_filesz, header->p_align == 8 ? 8 : 4, ret_entry);
    return 0;
}

static bool is_in_segment(const struct hv_x86_kernel *kernel, uint64_t address)
{
    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        const struct hv_x86_kernel_segment *segment = &kernel->segments[i];

        if (address >= segment->address && address - segment->address < segment->memory_size) {
            return true;
        }
    }
    return false;
}

static int parse_elf(const struct hv_x86_kernel_source *source, const uint8_t *head,
                     struct hv_x86_kernel *kernel, struct hv_reason *ret_reason)
{
    const uint64_t no_entry = UINT64_MAX;
    Elf64_Ehdr elf;
    int error;

    memcpy(&elf, head, sizeof(elf));
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB ||
        le16toh(elf.e_machine) != EM_X86_64) {
        return reject(ret_reason, "is an ELF file, but not for x86_64");
    }
    elf.e_phnum = le16toh(elf.e_phnum);
    elf.e_phoff = le64toh(elf.e_phoff);
    if (le16toh(elf.e_phentsize) != sizeof(Elf64_Phdr) || elf.e_phnum == 0 ||
        elf.e_phnum > MAX_PROGRAM_HEADERS ||
        !hv_range_fits(elf.e_phoff, elf.e_phnum * sizeof(Elf64_Phdr), source->size)) {
        return reject(ret_reason, "is an ELF file with impossible program headers");
    }
    kernel->kind = HV_X86_KERNEL_PVH;
    kernel->entry = no_entry;
    for (unsigned int i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr header;

        error = read_source(source, elf.e_phoff + i * sizeof(header), &header, sizeof(header),
                            ret_reason);
        if (error < 0) {
            return error;
        }
        header.p_type = le32toh(header.p_type);
        header.p_offset = le64toh(header.p_offset);
        header.p_paddr = le64toh(header.p_paddr);
        header.p_filesz = le64toh(header.p_filesz);
        header.p_memsz = le64toh(header.p_memsz);
        header.p_align = le64toh(header.p_align);
        error = 0;
        if (header.p_type == PT_LOAD) {
            error = add_segment(source, &header, kernel, ret_reason);
        } else if (header.p_type == PT_NOTE && kernel->entry == no_entry) {
            error = read_notes(source, &header, &kernel->entry, ret_reason);
        }
        if (error < 0) {
            return error;
        }
    }
    if (kernel->entry == no_entry) {
        return reject(ret_reason, "is an ELF file without a PVH entry (CONFIG_PVH)");
    }
    if (kernel->entry > UINT32_MAX || !is_in_segment(kernel, kernel->entry)) {
        return reject(ret_reason, "has a PVH entry outside of its segments");
    }
    kernel->max_command_line = COMMAND_LINE_LIMIT;
    kernel->max_initrd_end = HV_X86_PCI_HOLE_END;
    return 0;
}

int hv_x86_kernel_parse(const struct hv_x86_kernel_source *source, struct hv_x86_kernel *ret_kernel,
                        struct hv_reason *ret_reason)
{
    struct hv_x86_kernel kernel = {0};
    uint8_t head[HEADER_READ_SIZE] = {0};
    int error;

    if (source->size == 0) {
        return reject(ret_reason, "is empty");
    }
    error = read_source(source, 0, head, hv_min_u64(source->size, sizeof(head)), ret_reason);
    if (error < 0) {
        return error;
    }
    if (memcmp(head, ELFMAG, SELFMAG) == 0 && source->size >= sizeof(Elf64_Ehdr)) {
        error = parse_elf(source, head, &kernel, ret_reason);
    } else if (hv_load_le16(head + BOOT_FLAG) == BOOT_FLAG_VALUE &&
               memcmp(head + HEADER_MAGIC, "HdrS", 4) == 0) {
        error = source->size < sizeof(head)
                    ? reject(ret_reason, "is truncated: the file is smaller than its header")
                    : parse_bzimage(source, head, &kernel, ret_reason);
    } else {
        error = reject(ret_reason, "is neither a bzImage nor an ELF kernel with a PVH entry");
    }
    if (error < 0) {
        return error;
    }
    *ret_kernel = kernel;
    return 0;
}

/* --- placement --------------------------------------------------------------------------------- */

/* @end: the first address above the kernel. */
static int check_end(uint64_t end, uint64_t low_ram_end, struct hv_reason *ret_reason)
{
    if (end > HV_X86_PCI_HOLE_START) {
        return reject(ret_reason,
                      "has an impossible address: it would reach beyond 3 GiB, where this "
                      "machine has no memory for a kernel");
    }
    return end > low_ram_end ? hv_refuse_memory(ret_reason, end) : 0;
}

/*
 * There is one place. A relocatable kernel that is loaded below its preferred address still unpacks
 * itself there (boot.rst, init_size), over whatever a loader has put in its way.
 */
static int place_bzimage(struct hv_x86_kernel *kernel, uint64_t low_ram_end,
                         struct hv_reason *ret_reason)
{
    struct hv_x86_kernel_segment *segment = &kernel->segments[0];
    uint64_t address = kernel->preferred_address;
    uint64_t end;
    int error;

    if ((kernel->is_relocatable &&
         !hv_align_up(hv_max_u64(address, HV_X86_HIGH_RAM_START), kernel->alignment, &address)) ||
        !hv_add_u64(address, segment->memory_size, &end)) {
        return reject(ret_reason, "has a header with an impossible pref_address");
    }
    if (address < HV_X86_HIGH_RAM_START) {
        return reject(ret_reason, "is a bzImage that must be loaded below 1 MiB");
    }
    error = check_end(end, low_ram_end, ret_reason);
    if (error < 0) {
        return error;
    }
    segment->address = address;
    kernel->entry = address + ENTRY_64_OFFSET;
    kernel->end = end;
    return 0;
}

static int place_pvh(struct hv_x86_kernel *kernel, uint64_t low_ram_end,
                     struct hv_reason *ret_reason)
{
    uint64_t end = 0;
    int error;

    for (unsigned int i = 0; i < kernel->segment_count; i++) {
        const struct hv_x86_kernel_segment *segment = &kernel->segments[i];

        if (segment->address < HV_X86_HIGH_RAM_START) {
            return reject(ret_reason, "has a segment below 1 MiB");
        }
        /* The parser has seen to it that this does not wrap. */
        end = hv_max_u64(end, segment->address + segment->memory_size);
    }
    error = check_end(end, low_ram_end, ret_reason);
    if (error < 0) {
        return error;
    }
    kernel->end = end;
    return 0;
}

int hv_x86_kernel_place(struct hv_x86_kernel *kernel, uint64_t low_ram_end,
                        struct hv_reason *ret_reason)
{
    return kernel->kind == HV_X86_KERNEL_PVH ? place_pvh(kernel, low_ram_end, ret_reason)
                                             : place_bzimage(kernel, low_ram_end, ret_reason);
}

int hv_x86_initrd_place(const struct hv_x86_kernel *kernel, uint64_t low_ram_end, uint64_t size,
                        uint64_t *ret_address, struct hv_reason *ret_reason)
{
    uint64_t limit = hv_min_u64(low_ram_end, kernel->max_initrd_end);
    uint64_t address;

    if (size == 0) {
        return hv_reason_set(ret_reason, -EINVAL, "initrd", "is empty");
    }
    if (size > limit || (address = hv_align_down(limit - size, PAGE_SIZE_4K)) < kernel->end) {
        return hv_reason_set(ret_reason, -EINVAL, "initrd",
                             "does not fit into the memory of the guest");
    }
    *ret_address = address;
    return 0;
}
