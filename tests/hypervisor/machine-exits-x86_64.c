/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ports, their ring of writes that were kept back, and what an x86 KVM must offer. */
#include <elf.h>
#include <sys/mman.h>

#include "tests/hypervisor/machine-exits.h"

#define DATA_OFFSET RUN_PAGE_SIZE

/* --- the KVM ----------------------------------------------------------------------------------- */

/* An ELF that is a PVH kernel. */
int arch_make_kernel(void)
{
    static const uint32_t note[] = {4, 4, 18, 0x006e6558 /* "Xen" */, 0x100000};
    struct {
        Elf64_Ehdr elf;
        Elf64_Phdr headers[2];
        uint32_t note[HV_ARRAY_SIZE(note)];
    } file = {
        .elf =
            {
                .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                .e_machine = EM_X86_64,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = 2,
            },
        .headers = {{.p_type = PT_LOAD, .p_paddr = 0x100000, .p_filesz = 16, .p_memsz = 16},
                    {.p_type = PT_NOTE,
                     .p_offset = offsetof(__typeof__(file), note),
                     .p_filesz = sizeof(note),
                     .p_align = 4}},
    };
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    memcpy(file.note, note, sizeof(note));
    if (fd < 0 || write(fd, &file, sizeof(file)) != sizeof(file)) {
        tap_bail("no kernel file");
    }
    return fd;
}

void arch_reset_kvm(void)
{
}

int arch_check_extension(unsigned int capability)
{
    return capability == KVM_CAP_PMU_CAPABILITY ? KVM_PMU_CAP_DISABLE : 1;
}

int arch_ioctl(int fd, unsigned long request, void *pointer)
{
    switch (request) {
    case KVM_GET_SUPPORTED_CPUID: {
        struct kvm_cpuid2 *list = pointer;

        list->nent = 2;
        list->entries[0] = (struct kvm_cpuid_entry2){.function = 1};
        list->entries[1] = (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 40};
        return 0;
    }
    case KVM_GET_SREGS: memset(pointer, 0, sizeof(struct kvm_sregs)); return 0;
    case KVM_SET_MSRS: return (int)((struct kvm_msrs *)pointer)->nmsrs;
    default: return 0;
    }
}

/* --- steps ------------------------------------------------------------------------------------- */

static void fill_port(struct kvm_run *run, const struct step *step, unsigned int direction)
{
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = (uint8_t)direction;
    run->io.port = (uint16_t)step->number;
    run->io.size = (uint8_t)step->size;
    run->io.count = step->count;
    run->io.data_offset = DATA_OFFSET;
    memset((uint8_t *)run + DATA_OFFSET, 0xee, RUN_PAGE_SIZE);
    if (direction == KVM_EXIT_IO_OUT) {
        memcpy((uint8_t *)run + DATA_OFFSET, &step->value, sizeof(step->value));
    }
}

static void fill_out(struct kvm_run *run, const struct step *step)
{
    fill_port(run, step, KVM_EXIT_IO_OUT);
}

static void fill_in(struct kvm_run *run, const struct step *step)
{
    fill_port(run, step, KVM_EXIT_IO_IN);
}

/* The same with data where there are none: the offset is in @value. */
static void fill_out_at(struct kvm_run *run, const struct step *step)
{
    fill_port(run, step, KVM_EXIT_IO_OUT);
    run->io.data_offset = step->value;
}

static void note_port(const struct kvm_run *run, const struct step *step)
{
    uint64_t value = 0;

    memcpy(&value, (const uint8_t *)run + DATA_OFFSET, sizeof(value));
    bring(value);
}

/* Writes wait in the ring: @count of them, to port @number, the last of @value. */
static void fill_ring(struct kvm_run *run, const struct step *step)
{
    struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)run + RING_PAGE * RUN_PAGE_SIZE);
    const uint32_t capacity = (RUN_PAGE_SIZE - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]);

    for (unsigned int i = 0; i < step->count; i++) {
        uint64_t value = step->value - (step->count - 1 - i) * 4;

        ring->coalesced_mmio[ring->last] = (struct kvm_coalesced_mmio){
            .phys_addr = step->number,
            .len = step->size,
            .pio = 1,
        };
        memcpy(ring->coalesced_mmio[ring->last].data, &value, sizeof(value));
        ring->last = (ring->last + 1) % capacity;
    }
    run->exit_reason = KVM_EXIT_INTR;
}

#define PORT_POWER_OFF                                                                             \
    {                                                                                              \
        .fill = fill_out, .number = 0x600, .value = 0x34, .size = 1, .count = 1                    \
    }

/* --- cases ------------------------------------------------------------------------------------- */

static void test_endings(struct fixture *fixture)
{
    static const struct ending cases[] = {
        {"a guest that powers off by its register", PORT_POWER_OFF, HV_MACHINE_EXIT_GUEST_POWER_OFF,
         0, NULL},
        {"a port access of nine bytes",
         {.fill = fill_out, .number = 0x3f8, .size = 9, .count = 1},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_IO,
         NULL},
        {"port data behind the page",
         {.fill = fill_out_at, .number = 0x3f8, .size = 4, .count = 1, .value = RUN_SIZE - 3},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_IO,
         NULL},
        {"port data whose offset wraps",
         {.fill = fill_out_at, .number = 0x3f8, .size = 1, .count = 2, .value = UINT64_MAX},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_IO,
         NULL},
        {"a string of ports that is longer than the page",
         {.fill = fill_out, .number = 0x3f8, .size = 8, .count = UINT32_MAX},
         HV_MACHINE_EXIT_UNKNOWN,
         KVM_EXIT_IO,
         NULL},
    };

    check_endings(fixture, cases, HV_ARRAY_SIZE(cases));
}

static void test_continues(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_out, .number = 0x600, .value = 0x14, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x600, .value = 0x20, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x600, .value = 0x3434, .size = 2, .count = 1},
        {.fill = fill_out, .number = 0x601, .value = 0x34, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x602, .value = 0x02, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x64, .value = 0xff, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x3f8, .value = 'z', .size = 1, .count = 1},
        PORT_POWER_OFF,
    };

    PLAY(steps);
    tap_ok(fixture->exit == HV_MACHINE_EXIT_GUEST_POWER_OFF && fixture->guest_resets == 0 &&
               strcmp(fixture->output, "z") == 0,
           "values that mean nothing do not end a machine");
    tap_ok(count_of(fixture, "power") == 6 && count_of(fixture, "keyboard") == 1,
           "… but are counted");
    destroy(fixture);
}

static void test_guest_resets(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_out, .number = 0x602, .value = 0x01, .size = 1, .count = 1},
        {.fill = fill_out, .number = 0x64, .value = 0xfe, .size = 1, .count = 1},
        {.fill = fill_system_event, .value = KVM_SYSTEM_EVENT_RESET},
        PORT_POWER_OFF,
    };

    PLAY(steps);
    tap_is(fixture->guest_resets, 3, "reset register, keyboard controller and system event reset");
    tap_is(count_of(fixture, "power"), 2, "exits are counted across resets");
    destroy(fixture);
}

static void test_accesses(struct fixture *fixture)
{
    static const struct step steps[] = {
        {.fill = fill_out, .number = 0x3f8, .value = 0x216968, .size = 1, .count = 3},
        {.fill = fill_in, .number = 0x3fd, .size = 1, .count = 2, .check = note_port},
        {.fill = fill_in, .number = 0x80, .size = 4, .count = 1, .check = note_port},
        {.fill = fill_in, .number = 0x80, .size = 3, .count = 1, .check = note_port},
        {.fill = fill_in, .number = 0x80, .size = 0, .count = 5, .check = note_port},
        {.fill = fill_load, .number = 0xf0000000, .size = 4, .check = note_memory},
        {.fill = fill_load, .number = 0xc0000000, .size = 8, .check = note_memory},
        {.fill = fill_load, .number = 0xfed00000, .size = 2, .check = note_memory},
        {.fill = fill_store, .number = UINT64_MAX, .size = 8},
        PORT_POWER_OFF,
    };

    brought_count = 0;
    PLAY(steps);
    tap_ok(strcmp(fixture->output, "hi!") == 0, "a string to a port, byte by byte");
    tap_is(brought_count, 7, "seven reads");
    tap_is(brought[0], (long long)UINT64_C(0xeeeeeeeeeeee6060), "a string from a port");
    tap_is(brought[1], (long long)UINT64_C(0xeeeeeeeeffffffff), "four bytes of nobody");
    tap_is(brought[2], (long long)UINT64_C(0xeeeeeeeeeeffffff), "three bytes, and no fourth");
    tap_is(brought[3], (long long)UINT64_C(0xeeeeeeeeeeeeeeee), "nothing, five times");
    tap_is(brought[4], 0x00081b36, "the host bridge by memory");
    tap_is(brought[5], -1, "eight bytes of an empty window");
    tap_is(brought[6], 0xffff, "two of nobody");
    tap_ok(count_of(fixture, "unassigned-pio") == 7 && count_of(fixture, "unassigned-mmio") == 2 &&
               count_of(fixture, "pci-window") == 1 && count_of(fixture, "pci-config") == 1,
           "each where it belongs");
    destroy(fixture);
}

static void test_late_writes(struct fixture *fixture)
{
    /* Twice 120, more than half a ring: the second time goes around its end. */
    static const struct step steps[] = {
        {.fill = fill_ring, .number = 0xcf8, .value = 0x80000000, .size = 4, .count = 1},
        {.fill = fill_in, .number = 0xcfc, .size = 4, .count = 1, .check = note_port},
        {.fill = fill_ring, .number = 0xcf8, .value = 0x80000008, .size = 4, .count = 120},
        {.fill = fill_in, .number = 0xcfc, .size = 4, .count = 1, .check = note_port},
        {.fill = fill_ring, .number = 0xcf8, .value = 0x80000000, .size = 4, .count = 120},
        {.fill = fill_ring, .number = 0xcf8, .value = 0, .size = 255, .count = 1},
        {.fill = fill_in, .number = 0xcf8, .size = 4, .count = 1, .check = note_port},
        PORT_POWER_OFF,
    };

    brought_count = 0;
    PLAY(steps);
    tap_is((uint32_t)brought[0], 0x00081b36, "a write that was kept back is done before a read");
    tap_is((uint32_t)brought[1], 0x06000000, "of 120 the last one counts");
    tap_is((uint32_t)brought[2], 0x80000000, "around the end of the ring; nonsense is passed over");
    tap_is(count_of(fixture, "pci-config"), 3, "the writes were no exits");
    destroy(fixture);
}

static void test_refusals(struct fixture *fixture)
{
    reset_kvm();
    kvm.missing = KVM_CAP_IRQCHIP;
    is_refused(fixture, 1, -ENODEV, "kvm", "no interrupt controller");
    reset_kvm();
    kvm.missing = KVM_CAP_EXT_CPUID;
    is_refused(fixture, 1, -ENODEV, "kvm", "no CPUID");
}

void arch_test(struct fixture *fixture)
{
    test_endings(fixture);
    test_continues(fixture);
    test_guest_resets(fixture);
    test_accesses(fixture);
    test_late_writes(fixture);
    test_refusals(fixture);
}
