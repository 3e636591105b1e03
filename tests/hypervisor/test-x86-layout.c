/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where RAM and the PCI windows lie for any size of memory and any processor. KVM is asked for one
 * thing only, the address bits in its CPUID list; the linker turns that ioctl() over to this file
 * (-Wl,--wrap=ioctl).
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>

#include "hypervisor/arch/arch.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "hypervisor/kvm/kvm.h"
#include "hypervisor/memory/guest-memory.h"
#include "tests/hypervisor/tap.h"

#define MIB HV_X86_MIB
#define GIB HV_X86_GIB
#define TIB (1024 * HV_X86_GIB)

static uint32_t address_sizes; /* eax of leaf 0x80000008 */
static int list_error;

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct kvm_cpuid2 *list;
    va_list arguments;

    va_start(arguments, request);
    list = va_arg(arguments, void *);
    va_end(arguments);
    if (request != KVM_GET_SUPPORTED_CPUID) {
        tap_bail("an ioctl that this test does not know");
    }
    if (list_error) {
        errno = list_error;
        return -1;
    }
    list->nent = 1;
    list->entries[0] = (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = address_sizes};
    return 0;
}

static int lay_out(uint32_t bits, uint64_t memory_size, struct hv_memory_layout *ret_layout,
                   struct hv_reason *ret_reason)
{
    const struct hv_kvm kvm = {.fd = -1, .vm_fd = -1};

    address_sizes = bits;
    *ret_reason = (struct hv_reason){0};
    return hv_arch_memory_layout(&kvm, memory_size, ret_layout, ret_reason);
}

/* --- what must hold for each ------------------------------------------------------------------- */

struct range {
    uint64_t address, size;
    const char *name;
};

/* NULL, or what is wrong. */
static const char *fault_of(const struct hv_memory_layout *layout, uint64_t memory_size,
                            uint32_t bits)
{
    struct range ranges[8] = {
        {layout->pci_config_address, layout->pci_config_size, "ECAM"},
        {layout->pci_window32_address, layout->pci_window32_size, "32-bit window"},
        {layout->pci_window64_address, layout->pci_window64_size, "64-bit window"},
        {HV_X86_IO_APIC_ADDRESS, 4096, "I/O APIC"},
        {HV_X86_IDENTITY_MAP_ADDRESS, 4 * 4096, "KVM's pages"},
        {HV_X86_LOCAL_APIC_ADDRESS, MIB, "local APICs and messages"},
    };
    const uint64_t limit = UINT64_C(1) << bits;
    unsigned int count = 6;
    uint64_t ram = 0;

    for (unsigned int i = 0; i < layout->region_count; i++) {
        ranges[count++] =
            (struct range){layout->regions[i].address, layout->regions[i].size, "RAM"};
        ram += layout->regions[i].size;
    }
    if (ram != memory_size) {
        return "RAM is not what was asked for";
    }
    if (layout->regions[0].address != 0 || layout->region_count > 2 ||
        (layout->region_count == 2 && layout->regions[0].size != 3 * GIB)) {
        return "low RAM";
    }
    for (unsigned int i = 0; i < count; i++) {
        if (ranges[i].size && !hv_range_fits(ranges[i].address, ranges[i].size, limit)) {
            return ranges[i].name;
        }
        for (unsigned int k = 0; k < i; k++) {
            if (hv_ranges_overlap(ranges[i].address, ranges[i].size, ranges[k].address,
                                  ranges[k].size)) {
                return ranges[i].name;
            }
        }
    }
    if (layout->pci_window64_size && (!hv_is_aligned(layout->pci_window64_address, GIB) ||
                                      layout->pci_window64_address < 4 * GIB)) {
        return "64-bit window is crooked";
    }
    if (hv_ranges_overlap(layout->pci_window64_address, layout->pci_window64_size,
                          HV_X86_HYPERTRANSPORT_START,
                          HV_X86_HYPERTRANSPORT_END - HV_X86_HYPERTRANSPORT_START)) {
        return "64-bit window in AMD's reserved addresses";
    }
    return NULL;
}

static void test_all_sizes(void)
{
    static const uint64_t sizes[] = {
        16 * MIB,      17 * MIB,  512 * MIB,  3 * GIB - MIB,     3 * GIB,
        3 * GIB + MIB, 4 * GIB,   5 * GIB,    6 * GIB + 7 * MIB, 63 * GIB,
        64 * GIB,      256 * GIB, 1011 * GIB, TIB - 16 * GIB,    TIB - 13 * GIB,
        TIB - GIB,     TIB,       2 * TIB,    64 * TIB,
    };
    unsigned int accepted = 0, refused = 0, wrong = 0, windows = 0;

    for (uint32_t bits = 32; bits <= 52; bits++) {
        for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
            struct hv_memory_layout layout;
            struct hv_reason reason;
            int error = lay_out(bits, sizes[i], &layout, &reason);
            uint64_t high = sizes[i] - hv_min_u64(sizes[i], 3 * GIB);
            bool fits = high == 0 || 4 * GIB + high <= UINT64_C(1) << bits;
            const char *fault = NULL;

            if (error == 0) {
                accepted++;
                windows += layout.pci_window64_size > 0;
                fault = fits ? fault_of(&layout, sizes[i], bits) : "it does not fit";
            } else {
                refused++;
                if (error != -EINVAL || fits || strcmp(reason.field, "memory_mb") != 0) {
                    fault = "refused";
                }
            }
            if (fault) {
                printf("# %u bits, %llu MiB: %s\n", bits, (unsigned long long)(sizes[i] / MIB),
                       fault);
                wrong++;
            }
        }
    }
    tap_is(wrong, 0, "%u layouts without overlap or overrun, %u refused in words", accepted,
           refused);
    tap_ok(windows > accepted / 2, "most (%u) have a 64-bit window", windows);
}

/* --- some in numbers --------------------------------------------------------------------------- */

static void test_numbers(void)
{
    struct hv_memory_layout layout;
    struct hv_reason reason;

    tap_is(lay_out(40, 512 * MIB, &layout, &reason), 0, "512 MiB");
    tap_ok(layout.region_count == 1 && layout.regions[0].size == 512 * MIB, "… in one piece");
    tap_ok(layout.pci_config_address == 0xf0000000 && layout.pci_config_size == MIB,
           "… ECAM of one bus");
    tap_ok(layout.pci_window32_address == 3 * GIB && layout.pci_window32_size == 768 * MIB,
           "… the 32-bit window up to it");
    tap_is(layout.pci_window64_address, 4 * GIB, "… the 64-bit window above 4 GiB");
    tap_is(layout.pci_window64_size, 256 * GIB, "… of 256 GiB");

    tap_is(lay_out(40, 3 * GIB, &layout, &reason), 0, "3 GiB exactly");
    tap_ok(layout.region_count == 1 && layout.regions[0].size == 3 * GIB, "… in one piece");
    lay_out(40, 3 * GIB + MIB, &layout, &reason);
    tap_ok(layout.region_count == 2 && layout.regions[1].address == 4 * GIB &&
               layout.regions[1].size == MIB && layout.pci_window64_address == 5 * GIB,
           "a MiB more: above the hole, and the window a GiB higher");
    lay_out(40, 5 * GIB, &layout, &reason);
    tap_ok(layout.regions[1].address == 4 * GIB && layout.regions[1].size == 2 * GIB &&
               layout.pci_window64_address == 6 * GIB,
           "5 GiB: 3 below the hole, 2 above");

    lay_out(32, 512 * MIB, &layout, &reason);
    tap_is(layout.pci_window64_size, 0, "32 address bits: no room for a 64-bit window");
    tap_ok(lay_out(32, 3 * GIB + MIB, &layout, &reason) == -EINVAL && reason.text,
           "… nor for RAM above 4 GiB: %s: %s", reason.field, reason.text);
    lay_out(36, 5 * GIB, &layout, &reason);
    tap_is(layout.pci_window64_size, 58 * GIB, "36 bits: the window is what is left");
    lay_out(36 << 16 | 48, 5 * GIB, &layout, &reason);
    tap_is(layout.pci_window64_size, 58 * GIB, "48 bits of which a guest reaches 36: the same");
    lay_out(40, TIB - 13 * GIB, &layout, &reason);
    tap_is(layout.pci_window64_size, 0, "RAM up to AMD's reserved addresses: no window");
    lay_out(48, TIB, &layout, &reason);
    tap_is(layout.pci_window64_address, TIB + GIB, "RAM beyond them: the window behind it");

    list_error = EIO;
    tap_ok(lay_out(40, 512 * MIB, &layout, &reason) == -EIO && strcmp(reason.field, "kvm") == 0,
           "no CPUID: %s: %s", reason.field, reason.text);
    list_error = 0;
}

int main(void)
{
    test_all_sizes();
    test_numbers();
    return tap_done();
}
