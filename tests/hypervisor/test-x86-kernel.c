/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel files made by hand: a good bzImage and a good PVH kernel, then each field of their headers
 * set to something impossible. What a refusal says matters as much as that there is one. The memory
 * map that the guest is told is checked here too.
 */
#include <elf.h>

#include "hypervisor/arch/x86_64/e820.h"
#include "hypervisor/arch/x86_64/kernel.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/reason.h"
#include "hypervisor/memory/guest-memory.h"
#include "tests/hypervisor/tap.h"

#define MIB HV_X86_MIB
#define GIB HV_X86_GIB

struct file {
    uint8_t bytes[16 * 1024];
    size_t size;
    int read_error;
};

static int read_file(void *opaque, uint64_t offset, void *buffer, size_t length)
{
    const struct file *file = opaque;

    if (!hv_range_fits(offset, length, file->size)) {
        tap_bail("the parser reads beyond the end of the file");
    }
    memcpy(buffer, file->bytes + offset, length);
    return file->read_error;
}

static int parse(struct file *file, struct hv_x86_kernel *kernel, struct hv_reason *reason)
{
    const struct hv_x86_kernel_source source = {file->size, read_file, file};

    *reason = (struct hv_reason){0};
    return hv_x86_kernel_parse(&source, kernel, reason);
}

/* A refusal that names the kernel and has @words in its text; the result is left alone. */
static void refused(struct file *file, const char *words, const char *what)
{
    struct hv_x86_kernel kernel = {.segment_count = 77};
    struct hv_reason reason;
    int error = parse(file, &kernel, &reason);

    tap_ok(error == -EINVAL && reason.field && strcmp(reason.field, "kernel") == 0 &&
               strstr(reason.text, words) && kernel.segment_count == 77,
           "%s: refused, \"%s\"", what, reason.text ? reason.text : "");
}

/* There is no place for it: a refusal that names @field and has @words in its text. */
static void not_placed(struct hv_x86_kernel *kernel, uint64_t ram, const char *field,
                       const char *words, const char *what)
{
    struct hv_reason reason = {0};
    uint64_t end = kernel->end;
    int error = hv_x86_kernel_place(kernel, ram, &reason);

    tap_ok(error == -EINVAL && reason.field && strcmp(reason.field, field) == 0 &&
               strstr(reason.text, words) && kernel->end == end,
           "%s: %s: \"%s\"", what, field, reason.text ? reason.text : "");
}

/* --- bzImage ----------------------------------------------------------------------------------- */

static void make_bzimage(struct file *file)
{
    uint8_t *header = file->bytes;

    memset(file, 0, sizeof(*file));
    header[0x1f1] = 3; /* setup sectors */
    hv_store_le32(header + 0x1f4, 4096 / 16);
    hv_store_le16(header + 0x1fe, 0xaa55);
    header[0x200] = 0xeb;
    header[0x201] = 0x6a; /* the header ends at 0x26c */
    memcpy(header + 0x202, "HdrS", 4);
    hv_store_le16(header + 0x206, 0x020f);
    header[0x211] = 1;
    hv_store_le32(header + 0x22c, 0x7fffffff);
    hv_store_le32(header + 0x230, 2 * MIB);
    header[0x234] = 1;
    hv_store_le16(header + 0x236, 0x3f);
    hv_store_le32(header + 0x238, 2047);
    hv_store_le64(header + 0x258, 16 * MIB);
    hv_store_le32(header + 0x260, 32 * MIB);
    file->size = 4 * 512 + 4096;
}

static void test_bzimage(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;

    make_bzimage(&file);
    tap_is(parse(&file, &kernel, &reason), 0, "a bzImage");
    tap_ok(kernel.kind == HV_X86_KERNEL_BZIMAGE && kernel.segment_count == 1 &&
               kernel.segments[0].file_offset == 2048 && kernel.segments[0].file_size == 4096 &&
               kernel.segments[0].memory_size == 32 * MIB && kernel.max_command_line == 2047 &&
               kernel.max_initrd_end == 0x80000000 && kernel.setup_header_length == 0x26c - 0x1f1,
           "says what it wants");
    tap_is(hv_x86_kernel_place(&kernel, 256 * MIB, &reason), 0, "and gets it");
    tap_ok(kernel.segments[0].address == 16 * MIB && kernel.entry == 16 * MIB + 0x200 &&
               kernel.end == 48 * MIB,
           "at its preferred address");
    for (int movable = 1; movable >= 0; movable--) {
        kernel.is_relocatable = movable;
        /* Loaded lower, even a relocatable one would unpack itself there, beyond the end of RAM. */
        not_placed(&kernel, 48 * MIB - 1, "memory_mb", "64 MiB",
                   movable ? "a byte too little" : "the same for a fixed one");
        tap_ok(hv_x86_kernel_place(&kernel, 48 * MIB, &reason) == 0 && kernel.end == 48 * MIB &&
                   kernel.segments[0].address == 16 * MIB,
               "to the last byte");
    }
    file.bytes[0x1f1] = 0;
    file.size = 5 * 512 + 4096;
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.segments[0].file_offset == 5 * 512,
           "no setup sectors stands for four");
    file.size += 100;
    tap_is(parse(&file, &kernel, &reason), 0, "what follows the kernel (a signature) is ignored");
    file.read_error = -EIO;
    tap_ok(parse(&file, &kernel, &reason) == -EIO && reason.field &&
               strcmp(reason.field, "kernel") == 0 && strstr(reason.text, "read"),
           "an error of the file is handed on, with a word about it");
}

/* Each prefix of a good file is refused, in the kernel's name; none leads beyond its end. */
static void test_prefixes(void (*make)(struct file *file), const char *what)
{
    struct file file;
    size_t whole, wrong = 0;

    make(&file);
    whole = file.size;
    for (size_t size = 0; size < whole; size++) {
        struct hv_x86_kernel kernel;
        struct hv_reason reason;

        file.size = size;
        wrong += parse(&file, &kernel, &reason) != -EINVAL || !reason.text ||
                 strcmp(reason.field, "kernel") != 0;
    }
    tap_is(wrong, 0, "%s cut off at each of %zu bytes is refused", what, whole);
}

/* Each field that the loader reads, with values beyond what it can mean: refused or harmless. */
static void test_header_fields(void)
{
    static const struct {
        unsigned int offset, size;
        const char *name;
    } fields[] = {
        {0x1f1, 1, "setup_sects"},      {0x1f4, 4, "syssize"},
        {0x1fe, 2, "boot_flag"},        {0x201, 1, "jump"},
        {0x202, 4, "header"},           {0x206, 2, "version"},
        {0x211, 1, "loadflags"},        {0x22c, 4, "initrd_addr_max"},
        {0x230, 4, "kernel_alignment"}, {0x234, 1, "relocatable_kernel"},
        {0x236, 2, "xloadflags"},       {0x238, 4, "cmdline_size"},
        {0x258, 8, "pref_address"},     {0x260, 4, "init_size"},
    };
    static const uint64_t values[] = {
        0,          1,          2,          0x7f,        0x80,      0xff,
        0x1000,     0x7fff,     0x8000,     0xffff,      0x100000,  0x7fffffff,
        0x80000000, 0xfffff000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX - 0xfff,
        UINT64_MAX,
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(fields); i++) {
        unsigned int accepted = 0, wrong = 0;

        for (size_t k = 0; k < HV_ARRAY_SIZE(values); k++) {
            struct file file;
            struct hv_x86_kernel kernel;
            struct hv_reason reason;
            uint64_t value = htole64(values[k]);
            int error;

            make_bzimage(&file);
            memcpy(file.bytes + fields[i].offset, &value, fields[i].size);
            error = parse(&file, &kernel, &reason);
            if (error == 0) {
                error = hv_x86_kernel_place(&kernel, 256 * MIB, &reason);
            }
            if (error < 0) {
                wrong += error != -EINVAL || !reason.field || !reason.text;
                continue;
            }
            accepted++;
            wrong += !hv_range_fits(kernel.segments[0].file_offset, kernel.segments[0].file_size,
                                    file.size) ||
                     kernel.segments[0].file_size > kernel.segments[0].memory_size ||
                     kernel.segments[0].address < MIB ||
                     !hv_range_fits(kernel.segments[0].address, kernel.segments[0].memory_size,
                                    256 * MIB) ||
                     kernel.entry < kernel.segments[0].address ||
                     kernel.entry - kernel.segments[0].address >= kernel.segments[0].file_size ||
                     kernel.setup_header_length > HV_X86_SETUP_HEADER_MAX;
        }
        tap_is(wrong, 0, "%s: %u of %zu values are accepted, and lie in file and memory",
               fields[i].name, accepted, HV_ARRAY_SIZE(values));
    }
}

static void test_command_line_and_initrd(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;
    uint64_t address = 0;

    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x238, 255);
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.max_command_line == 255,
           "the kernel's own limit of the command line");
    hv_store_le32(file.bytes + 0x22c, 0xffffffff);
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.max_initrd_end == 4 * GIB,
           "an initrd anywhere below 4 GiB");
    hv_store_le32(file.bytes + 0x22c, 0);
    tap_ok(parse(&file, &kernel, &reason) == 0 &&
               hv_x86_kernel_place(&kernel, 256 * MIB, &reason) == 0 &&
               hv_x86_initrd_place(&kernel, 256 * MIB, 4096, &address, &reason) == -EINVAL,
           "an initrd nowhere");
    hv_store_le32(file.bytes + 0x22c, 64 * MIB - 1);
    tap_ok(parse(&file, &kernel, &reason) == 0 &&
               hv_x86_kernel_place(&kernel, 256 * MIB, &reason) == 0 &&
               hv_x86_initrd_place(&kernel, 256 * MIB, 4096, &address, &reason) == 0 &&
               address == 64 * MIB - 4096,
           "initrd_addr_max is the last byte that may be used");
}

static void test_bad_bzimage(void)
{
    struct file file;

    make_bzimage(&file);
    file.size = 0;
    refused(&file, "is empty", "an empty file");
    make_bzimage(&file);
    file.size = 0x1f0;
    refused(&file, "neither", "a stub of a file");
    make_bzimage(&file);
    file.size = 0x280;
    refused(&file, "truncated", "a header without a kernel");
    make_bzimage(&file);
    file.size--;
    refused(&file, "truncated", "a kernel one byte short");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x1f4, UINT32_MAX);
    refused(&file, "truncated", "a kernel of 64 GiB");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x1f4, 0);
    refused(&file, "syssize", "a kernel of no size");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x1f4, 0x200 / 16);
    refused(&file, "syssize", "a kernel that ends before its entry");
    make_bzimage(&file);
    hv_store_le16(file.bytes + 0x206, 0x020b);
    refused(&file, "2.12", "an old boot protocol");
    make_bzimage(&file);
    hv_store_le16(file.bytes + 0x236, 0x3e);
    refused(&file, "64-bit", "a kernel without a 64-bit entry");
    make_bzimage(&file);
    file.bytes[0x211] = 0;
    refused(&file, "1 MiB", "a zImage");
    make_bzimage(&file);
    file.bytes[0x201] = 0x10;
    refused(&file, "length", "a short header");
    make_bzimage(&file);
    file.bytes[0x201] = 0xff;
    refused(&file, "length", "a long header");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x230, 0);
    refused(&file, "kernel_alignment", "no alignment");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x230, 3 * MIB);
    refused(&file, "kernel_alignment", "an alignment of 3 MiB");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x260, 4095);
    refused(&file, "init_size", "less memory than the file has bytes");
    memset(&file, 0x5a, sizeof(file));
    file.size = 4096;
    file.read_error = 0;
    refused(&file, "neither", "garbage");
}

/* Where boot.rst says that the kernel will run: max(load address, pref_address), aligned. */
static void test_preferred_address(void)
{
    static const struct {
        uint64_t preferred, address; /* 0: refused */
    } movable[] =
        {
            {0, 2 * MIB},
            {0x1000, 2 * MIB},
            {2 * MIB, 2 * MIB},
            {16 * MIB + 1, 18 * MIB},
            {18 * MIB - 1, 18 * MIB},
            {224 * MIB, 224 * MIB},
            {224 * MIB + 1, 0},
            {3 * GIB - 32 * MIB, 0},
            {3 * GIB, 0},
            {UINT64_MAX - 32 * MIB, 0},
            {UINT64_MAX, 0},
        },
      fixed[] = {
          {0, 0},
          {MIB - 1, 0},
          {MIB, MIB},
          {16 * MIB + 1, 16 * MIB + 1},
          {224 * MIB + 1, 0},
          {UINT64_MAX, 0},
      };
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;

    for (size_t i = 0; i < HV_ARRAY_SIZE(movable) + HV_ARRAY_SIZE(fixed); i++) {
        bool is_movable = i < HV_ARRAY_SIZE(movable);
        uint64_t preferred =
            is_movable ? movable[i].preferred : fixed[i - HV_ARRAY_SIZE(movable)].preferred;
        uint64_t address =
            is_movable ? movable[i].address : fixed[i - HV_ARRAY_SIZE(movable)].address;
        bool is_right;

        make_bzimage(&file);
        file.bytes[0x234] = is_movable;
        hv_store_le64(file.bytes + 0x258, preferred);
        if (parse(&file, &kernel, &reason) < 0) {
            tap_bail("the kernel is not one");
        }
        if (hv_x86_kernel_place(&kernel, 256 * MIB, &reason) == 0) {
            is_right = kernel.segments[0].address == address && kernel.end == address + 32 * MIB &&
                       kernel.entry == address + 0x200;
        } else {
            /* More memory is no advice for what no memory helps. */
            is_right = address == 0 &&
                       strcmp(reason.field, preferred >= MIB && preferred <= 3 * GIB - 32 * MIB
                                                ? "memory_mb"
                                                : "kernel") == 0;
        }
        tap_ok(is_right, "a %s kernel that prefers %#llx", is_movable ? "movable" : "fixed",
               (unsigned long long)preferred);
    }
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x230, 1u << 31);
    tap_is(parse(&file, &kernel, &reason), 0, "an alignment of 2 GiB");
    not_placed(&kernel, 256 * MIB, "memory_mb", "4 GiB", "takes much memory");
    make_bzimage(&file);
    hv_store_le32(file.bytes + 0x260, 0xffffffff);
    tap_is(parse(&file, &kernel, &reason), 0, "an init_size of 4 GiB");
    not_placed(&kernel, 3 * GIB, "kernel", "impossible", "no memory is enough");
}

/* The initrd lies above all that the kernel will use while it unpacks itself, or nowhere. */
static void test_initrd_beside_bzimage(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;
    uint64_t address;
    unsigned int wrong = 0;

    make_bzimage(&file);
    if (parse(&file, &kernel, &reason) < 0) {
        tap_bail("the kernel is not one");
    }
    for (uint64_t ram = 16 * MIB; ram <= 64 * MIB; ram += MIB) {
        if (hv_x86_kernel_place(&kernel, ram, &reason) < 0) {
            wrong += ram >= 48 * MIB;
        } else if (hv_x86_initrd_place(&kernel, ram, 3 * MIB, &address, &reason) < 0) {
            wrong += ram < 48 * MIB || ram >= 51 * MIB || strcmp(reason.field, "initrd") != 0;
        } else {
            wrong += ram < 51 * MIB || address < 48 * MIB || address + 3 * MIB > ram;
        }
    }
    tap_is(wrong, 0, "an initrd of 3 MiB in each memory from 16 to 64 MiB");
}

/* --- ELF with a PVH note ----------------------------------------------------------------------- */

#define NOTE_OFFSET 0x200
#define DATA_OFFSET 0x1000

static Elf64_Ehdr *elf_header(struct file *file)
{
    return (void *)file->bytes;
}

static Elf64_Phdr *program_header(struct file *file, unsigned int index)
{
    return (void *)(file->bytes + sizeof(Elf64_Ehdr) + index * sizeof(Elf64_Phdr));
}

static void make_elf(struct file *file)
{
    Elf64_Ehdr *elf = elf_header(file);
    uint8_t *note = file->bytes + NOTE_OFFSET;

    memset(file, 0, sizeof(*file));
    memcpy(elf->e_ident, ELFMAG, SELFMAG);
    elf->e_ident[EI_CLASS] = ELFCLASS64;
    elf->e_ident[EI_DATA] = ELFDATA2LSB;
    elf->e_machine = EM_X86_64;
    elf->e_phoff = sizeof(*elf);
    elf->e_phentsize = sizeof(Elf64_Phdr);
    elf->e_phnum = 3;
    *program_header(file, 0) = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_offset = DATA_OFFSET,
        .p_paddr = 16 * MIB,
        .p_filesz = 0x800,
        .p_memsz = 1 * MIB,
    };
    *program_header(file, 1) = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_offset = DATA_OFFSET + 0x800,
        .p_paddr = 18 * MIB,
        .p_filesz = 0x800,
        .p_memsz = 0x800,
    };
    *program_header(file, 2) = (Elf64_Phdr){
        .p_type = PT_NOTE,
        .p_offset = NOTE_OFFSET,
        .p_filesz = 44,
        .p_align = 4,
    };
    /* A note of somebody else's first. */
    hv_store_le32(note, 4);
    hv_store_le32(note + 4, 5);
    hv_store_le32(note + 8, 18);
    memcpy(note + 12, "GNU", 4);
    note += 24;
    hv_store_le32(note, 4);
    hv_store_le32(note + 4, 4);
    hv_store_le32(note + 8, 18);
    memcpy(note + 12, "Xen", 4);
    hv_store_le32(note + 16, 16 * MIB + 0x100);
    file->size = DATA_OFFSET + 0x1000;
}

static void test_elf(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;

    make_elf(&file);
    tap_is(parse(&file, &kernel, &reason), 0, "a PVH kernel (%s)", reason.text ? reason.text : "");
    tap_ok(kernel.kind == HV_X86_KERNEL_PVH && kernel.segment_count == 2 &&
               kernel.entry == 16 * MIB + 0x100 && kernel.segments[1].address == 18 * MIB,
           "says where it goes");
    tap_ok(hv_x86_kernel_place(&kernel, 64 * MIB, &reason) == 0 && kernel.end == 18 * MIB + 0x800,
           "and goes there");
    not_placed(&kernel, 18 * MIB, "memory_mb", "32 MiB", "if there is memory");
    program_header(&file, 1)->p_paddr = 3 * GIB;
    tap_is(parse(&file, &kernel, &reason), 0, "a segment at 3 GiB");
    not_placed(&kernel, 3 * GIB, "kernel", "impossible", "is where there never is memory");
    make_elf(&file);
    program_header(&file, 2)->p_filesz = 48;
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 4, 8);
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.entry == 16 * MIB + 0x100,
           "an entry of eight bytes");
    hv_store_le64(file.bytes + NOTE_OFFSET + 24 + 16, 4 * GIB + 16 * MIB);
    refused(&file, "outside", "an entry above 4 GiB");

    make_elf(&file);
    program_header(&file, 1)->p_paddr = 17 * MIB;
    tap_is(parse(&file, &kernel, &reason), 0, "segments may touch");
    program_header(&file, 1)->p_filesz = program_header(&file, 1)->p_memsz = 0;
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.segment_count == 1,
           "an empty segment is none");
    program_header(&file, 1)->p_paddr = 18 * MIB;
    program_header(&file, 1)->p_memsz = 4096;
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.segment_count == 2 &&
               kernel.segments[1].file_size == 0,
           "one of zeroes is one");

    /* Notes with 8-byte alignment: the value of the first one moves. */
    make_elf(&file);
    program_header(&file, 2)->p_align = 8;
    memset(file.bytes + NOTE_OFFSET, 0, 64);
    hv_store_le32(file.bytes + NOTE_OFFSET, 4);
    hv_store_le32(file.bytes + NOTE_OFFSET + 4, 1);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24, 4);
    hv_store_le32(file.bytes + NOTE_OFFSET + 28, 4);
    hv_store_le32(file.bytes + NOTE_OFFSET + 32, 18);
    memcpy(file.bytes + NOTE_OFFSET + 36, "Xen", 4);
    hv_store_le32(file.bytes + NOTE_OFFSET + 40, 16 * MIB);
    tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.entry == 16 * MIB,
           "notes that are aligned to eight bytes");
}

static void test_segment_count(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;

    for (unsigned int count = HV_X86_KERNEL_MAX_SEGMENTS; count < 18; count++) {
        make_elf(&file);
        /* The notes stay the last of the headers, which reach up to them. */
        program_header(&file, 0)->p_memsz = 4096;
        elf_header(&file)->e_phoff = 0x2000;
        elf_header(&file)->e_phnum = (uint16_t)(count + 1);
        file.size = 0x2000 + (count + 1) * sizeof(Elf64_Phdr);
        for (unsigned int i = 0; i <= count; i++) {
            Elf64_Phdr header = *program_header(&file, i == count ? 2 : 0);

            header.p_paddr += i == count ? 0 : i * 2 * MIB;
            memcpy(file.bytes + 0x2000 + i * sizeof(header), &header, sizeof(header));
        }
        if (count == HV_X86_KERNEL_MAX_SEGMENTS) {
            tap_ok(parse(&file, &kernel, &reason) == 0 && kernel.segment_count == count,
                   "as many segments as there may be");
        } else {
            refused(&file, "more than 16", "one more");
        }
    }
}

static void test_bad_elf(void)
{
    struct file file;
    struct hv_x86_kernel kernel;
    struct hv_reason reason;

    make_elf(&file);
    elf_header(&file)->e_machine = EM_AARCH64;
    refused(&file, "x86_64", "a kernel for another processor");
    make_elf(&file);
    elf_header(&file)->e_ident[EI_CLASS] = ELFCLASS32;
    refused(&file, "x86_64", "a 32-bit kernel");
    make_elf(&file);
    elf_header(&file)->e_phoff = UINT64_MAX;
    refused(&file, "program headers", "program headers beyond everything");
    make_elf(&file);
    elf_header(&file)->e_phnum = 0xffff;
    refused(&file, "program headers", "65535 program headers");
    make_elf(&file);
    elf_header(&file)->e_phentsize = 8;
    refused(&file, "program headers", "program headers of eight bytes");
    make_elf(&file);
    program_header(&file, 0)->p_filesz = 0x10000;
    refused(&file, "truncated", "a segment beyond the file");
    make_elf(&file);
    program_header(&file, 0)->p_offset = UINT64_MAX - 1;
    refused(&file, "truncated", "an offset that wraps");
    make_elf(&file);
    program_header(&file, 0)->p_memsz = 1;
    refused(&file, "larger in the file", "less memory than file");
    make_elf(&file);
    program_header(&file, 0)->p_memsz = 0;
    refused(&file, "larger in the file", "no memory for what is in the file");
    make_elf(&file);
    program_header(&file, 1)->p_paddr = 17 * MIB - 1;
    refused(&file, "overlap", "segments that share a byte");
    make_elf(&file);
    program_header(&file, 1)->p_paddr = 16 * MIB;
    refused(&file, "overlap", "one segment upon another");
    make_elf(&file);
    elf_header(&file)->e_phnum = 0;
    refused(&file, "program headers", "no program headers");
    make_elf(&file);
    elf_header(&file)->e_phoff = file.size - 3 * sizeof(Elf64_Phdr) + 1;
    refused(&file, "program headers", "program headers one byte too far");
    make_elf(&file);
    elf_header(&file)->e_ident[EI_DATA] = ELFDATA2MSB;
    refused(&file, "x86_64", "a big-endian kernel");
    make_elf(&file);
    program_header(&file, 0)->p_paddr = UINT64_MAX;
    refused(&file, "impossible address", "an address that wraps");
    make_elf(&file);
    program_header(&file, 2)->p_type = PT_NULL;
    refused(&file, "PVH entry", "a kernel without notes");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 8, 6);
    refused(&file, "PVH entry", "a kernel without the note");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET, UINT32_MAX);
    refused(&file, "PVH entry", "a note with a name of 4 GiB");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 4, UINT32_MAX);
    refused(&file, "PVH entry", "a note with a value of 4 GiB");
    make_elf(&file);
    program_header(&file, 2)->p_filesz = 0;
    refused(&file, "PVH entry", "notes of no size");
    make_elf(&file);
    program_header(&file, 2)->p_filesz = 24 + 11;
    refused(&file, "PVH entry", "notes that end within the head of one");
    make_elf(&file);
    program_header(&file, 2)->p_filesz = 43;
    refused(&file, "PVH entry", "notes that end within its value");
    make_elf(&file);
    program_header(&file, 2)->p_filesz = UINT64_MAX;
    refused(&file, "notes", "endless notes");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 4, 2);
    refused(&file, "PVH entry", "an entry of two bytes");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 4, 0);
    refused(&file, "PVH entry", "an entry of no bytes");
    make_elf(&file);
    memcpy(file.bytes + NOTE_OFFSET + 24 + 12, "Xem", 4);
    refused(&file, "PVH entry", "somebody else's note");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET, 0);
    hv_store_le32(file.bytes + NOTE_OFFSET + 4, 0);
    refused(&file, "PVH entry", "empty notes to the end");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 16, 17 * MIB);
    refused(&file, "outside", "an entry one byte behind a segment");
    make_elf(&file);
    program_header(&file, 2)->p_offset = file.size - 10;
    refused(&file, "notes", "notes beyond the file");
    make_elf(&file);
    hv_store_le32(file.bytes + NOTE_OFFSET + 24 + 16, 64 * MIB);
    refused(&file, "outside", "an entry outside of the kernel");
    make_elf(&file);
    program_header(&file, 1)->p_paddr = 0x8000;
    tap_ok(parse(&file, &kernel, &reason) == 0 &&
               hv_x86_kernel_place(&kernel, 64 * MIB, &reason) == -EINVAL,
           "a segment upon the boot structures: \"%s\"", reason.text);
    make_elf(&file);
    file.size = sizeof(Elf64_Ehdr) - 1;
    refused(&file, "neither", "a stub of an ELF file");
}

/* --- initrd ------------------------------------------------------------------------------------ */

static void test_initrd(void)
{
    struct hv_x86_kernel kernel = {.end = 48 * MIB, .max_initrd_end = 2 * GIB};
    struct hv_reason reason;
    uint64_t address = 42;

    tap_ok(hv_x86_initrd_place(&kernel, 256 * MIB, 5000, &address, &reason) == 0 &&
               address == 256 * MIB - 8192,
           "an initrd lies at the end of memory");
    tap_ok(hv_x86_initrd_place(&kernel, 3 * GIB, 4096, &address, &reason) == 0 &&
               address == 2 * GIB - 4096,
           "but not beyond what the kernel can reach");
    tap_is(hv_x86_initrd_place(&kernel, 256 * MIB, 208 * MIB, &address, &reason), 0,
           "it may touch the kernel");
    address = 42;
    tap_ok(hv_x86_initrd_place(&kernel, 256 * MIB, 208 * MIB + 1, &address, &reason) == -EINVAL &&
               strcmp(reason.field, "initrd") == 0 && address == 42,
           "but not lie upon it: \"%s\"", reason.text);
    tap_is(hv_x86_initrd_place(&kernel, 256 * MIB, UINT64_MAX, &address, &reason), -EINVAL,
           "an endless initrd");
    tap_ok(hv_x86_initrd_place(&kernel, 256 * MIB, 0, &address, &reason) == -EINVAL &&
               strstr(reason.text, "empty"),
           "an empty initrd");
}

/* --- memory map -------------------------------------------------------------------------------- */

/* Entry by entry: what the guest is told, and nothing else. */
static void check_map(const struct hv_memory_layout *layout, const struct hv_e820_entry *expected,
                      unsigned int expected_count, const char *what)
{
    struct hv_e820_entry entries[HV_E820_MAX_ENTRIES];
    unsigned int count = hv_e820_build(layout, entries);

    tap_is(count, expected_count, "%s: number of entries", what);
    for (unsigned int i = 0; i < count && i < expected_count; i++) {
        tap_ok(entries[i].address == expected[i].address && entries[i].size == expected[i].size &&
                   entries[i].type == expected[i].type,
               "%s: %#llx, %#llx bytes, type %u", what, (unsigned long long)entries[i].address,
               (unsigned long long)entries[i].size, entries[i].type);
    }
}

static void test_memory_map(void)
{
    const struct hv_e820_entry low = {0, 0x9fc00, HV_E820_RAM};
    const struct hv_e820_entry bios = {0x9fc00, 0x60400, HV_E820_RESERVED};
    const struct hv_e820_entry ecam = {0xf0000000, MIB, HV_E820_RESERVED};
    struct hv_memory_layout layout = {
        .region_count = 1,
        .regions = {{.size = 512 * MIB}},
        .pci_config_address = HV_X86_PCI_CONFIG_ADDRESS,
        .pci_config_size = MIB,
    };

    tap_ok(HV_X86_ACPI_ADDRESS >= bios.address &&
               HV_X86_ACPI_ADDRESS + HV_X86_ACPI_SIZE <= bios.address + bios.size,
           "the ACPI tables lie in what is reserved");
    check_map(&layout,
              (const struct hv_e820_entry[]){low, bios, {MIB, 511 * MIB, HV_E820_RAM}, ecam}, 4,
              "512 MiB");
    layout.regions[0].size = 3 * GIB;
    check_map(&layout,
              (const struct hv_e820_entry[]){low, bios, {MIB, 3 * GIB - MIB, HV_E820_RAM}, ecam}, 4,
              "3 GiB");
    layout.regions[1] = (struct hv_memory_region){.address = 4 * GIB, .size = 2 * GIB};
    layout.region_count = 2;
    check_map(
        &layout,
        (const struct hv_e820_entry[]){
            low, bios, {MIB, 3 * GIB - MIB, HV_E820_RAM}, ecam, {4 * GIB, 2 * GIB, HV_E820_RAM}},
        5, "5 GiB");
}

int main(void)
{
    test_bzimage();
    test_bad_bzimage();
    test_preferred_address();
    test_initrd_beside_bzimage();
    test_header_fields();
    test_command_line_and_initrd();
    test_elf();
    test_segment_count();
    test_bad_elf();
    test_prefixes(make_bzimage, "a bzImage");
    test_prefixes(make_elf, "an ELF kernel");
    test_initrd();
    test_memory_map();
    return tap_done();
}
