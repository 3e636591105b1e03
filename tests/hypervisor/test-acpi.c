/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables, followed from the RSDP as a guest follows them; and, where Debian's acpica-tools
 * are installed, taken apart and compiled again by iasl, which knows the language better than we do.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hypervisor/arch/x86_64/acpi.h"
#include "hypervisor/arch/x86_64/aml.h"
#include "hypervisor/arch/x86_64/platform.h"
#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

static struct hv_acpi_config config_for(unsigned int vcpu_count)
{
    return (struct hv_acpi_config){
        .address = HV_X86_ACPI_ADDRESS,
        .vcpu_count = vcpu_count,
        .pci_config_address = HV_X86_PCI_CONFIG_ADDRESS,
        .pci_config_size = 0x100000,
        .pci_window32_address = HV_X86_PCI_WINDOW32_ADDRESS,
        .pci_window32_size = HV_X86_PCI_WINDOW32_SIZE,
        .pci_window64_address = 5 * HV_X86_GIB,
        .pci_window64_size = 64 * HV_X86_GIB,
    };
}

static bool sums_to_zero(const uint8_t *data, size_t length)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + data[i]);
    }
    return sum == 0;
}

/* The table at a guest-physical address, whole and with a right checksum; NULL otherwise. */
static const uint8_t *table_at(const struct hv_acpi_tables *tables, uint64_t address,
                               const char *signature, size_t *ret_length)
{
    uint64_t offset = address - HV_X86_ACPI_ADDRESS;
    size_t length;

    if (!hv_range_fits(offset, 36, tables->length)) {
        return NULL;
    }
    length = hv_load_le32(tables->data + offset + 4);
    if (length < 36 || !hv_range_fits(offset, length, tables->length) ||
        memcmp(tables->data + offset, signature, 4) != 0 ||
        !sums_to_zero(tables->data + offset, length)) {
        return NULL;
    }
    *ret_length = length;
    return tables->data + offset;
}

static const uint8_t *find_table(const struct hv_acpi_tables *tables, const char *signature,
                                 size_t *ret_length)
{
    size_t xsdt_length = 0;
    const uint8_t *xsdt = table_at(tables, hv_load_le64(tables->data + 24), "XSDT", &xsdt_length);

    for (size_t i = 36; xsdt && i + 8 <= xsdt_length; i += 8) {
        const uint8_t *table = table_at(tables, hv_load_le64(xsdt + i), signature, ret_length);

        if (table) {
            return table;
        }
    }
    return NULL;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i]) {
            return false;
        }
    }
    return true;
}

static bool contains(const uint8_t *data, size_t length, const char *text)
{
    return memmem(data, length, text, strlen(text)) != NULL;
}

static void test_root(const struct hv_acpi_tables *tables)
{
    tap_ok(tables->length <= HV_X86_ACPI_SIZE, "all tables fit into the BIOS area");
    tap_ok(memcmp(tables->data, "RSD PTR ", 8) == 0 && tables->data[15] == 2,
           "the RSDP comes first");
    tap_ok(sums_to_zero(tables->data, 20) && sums_to_zero(tables->data, 36), "with both checksums");
    tap_ok(hv_load_le32(tables->data + 16) == 0, "and without an RSDT");
}

static void test_fadt(const struct hv_acpi_tables *tables)
{
    size_t length = 0, dsdt_length = 0;
    const uint8_t *fadt = find_table(tables, "FACP", &length);
    const uint8_t *dsdt;
    uint32_t flags;

    if (!tap_ok(fadt && length == 276, "a FADT of revision 6")) {
        return;
    }
    flags = hv_load_le32(fadt + 112);
    tap_ok(flags & 1u << 20, "it says hardware-reduced");
    tap_ok(flags & 1u << 10, "and has a reset register");
    tap_ok(flags & 1u << 4, "the power button is a device");
    tap_is(flags & ~(1u << 20 | 1u << 10 | 1u << 4), 1u << 0 | 1u << 5 | 1u << 6,
           "WBINVD, no sleep button, no clock, and nothing else");
    tap_ok(is_zero(fadt + 44, 109 - 44) && is_zero(fadt + 148, 244 - 148),
           "no fixed hardware anywhere");
    tap_ok(fadt[8] == 6 && fadt[131] == 4, "ACPI 6.4");
    tap_is(hv_load_le16(fadt + 109), 1u << 2 | 1u << 5, "no VGA, no CMOS clock, no 8042");
    tap_ok(fadt[116] == 1 && hv_load_le64(fadt + 120) == HV_X86_RESET_PORT &&
               fadt[128] == HV_X86_RESET_VALUE,
           "where and how to reset");
    tap_ok(fadt[244] == 1 && hv_load_le64(fadt + 248) == HV_X86_SLEEP_CONTROL_PORT,
           "where to sleep");
    tap_ok(fadt[256] == 1 && hv_load_le64(fadt + 260) == HV_X86_SLEEP_STATUS_PORT,
           "where to look for a wake-up");
    tap_is(hv_load_le32(fadt + 76), 0, "no PM timer");
    tap_is(hv_load_le32(fadt + 40), hv_load_le64(fadt + 140), "both pointers to the DSDT agree");
    dsdt = table_at(tables, hv_load_le64(fadt + 140), "DSDT", &dsdt_length);
    if (!tap_ok(dsdt != NULL, "and lead to one")) {
        return;
    }
    tap_ok(contains(dsdt, dsdt_length, "_PRT") && contains(dsdt, dsdt_length, "_OSC") &&
               contains(dsdt, dsdt_length, "PCI0"),
           "it has a PCI host bridge");
    tap_ok(contains(dsdt, dsdt_length, "ACPI0013") && contains(dsdt, dsdt_length, "_EVT") &&
               contains(dsdt, dsdt_length, "PWRB"),
           "a power button behind a generic event device");
    tap_ok(contains(dsdt, dsdt_length, "COM1"), "a serial port");
    tap_ok(memmem(dsdt, dsdt_length, "_S5_\x12\x08\x04\x0a\x05\x0a\x05\x00\x00", 13) != NULL,
           "and an S5 of four elements");
}

static void test_madt(const struct hv_acpi_tables *tables, unsigned int vcpu_count)
{
    size_t length = 0, offset;
    const uint8_t *madt = find_table(tables, "APIC", &length);
    unsigned int processors = 0, io_apics = 0;
    bool are_ids_right = true;

    if (!tap_ok(madt != NULL, "%u vCPUs: a MADT", vcpu_count)) {
        return;
    }
    tap_is(hv_load_le32(madt + 36), HV_X86_LOCAL_APIC_ADDRESS, "%u vCPUs: local APICs", vcpu_count);
    tap_is(hv_load_le32(madt + 40), 0, "%u vCPUs: no 8259", vcpu_count);
    for (offset = 44; offset + 2 <= length && madt[offset + 1] >= 2; offset += madt[offset + 1]) {
        if (madt[offset] == 0) {
            are_ids_right &= madt[offset + 2] == processors && madt[offset + 3] == processors &&
                             hv_load_le32(madt + offset + 4) == 1;
            processors++;
        } else if (madt[offset] == 1) {
            io_apics += hv_load_le32(madt + offset + 4) == HV_X86_IO_APIC_ADDRESS;
        }
    }
    tap_is(offset, length, "%u vCPUs: the entries fill the table", vcpu_count);
    tap_is(processors, vcpu_count, "%u vCPUs: as many processors", vcpu_count);
    tap_ok(are_ids_right, "%u vCPUs: UIDs and APIC ids count up, all enabled", vcpu_count);
    tap_is(io_apics, 1, "%u vCPUs: one I/O APIC", vcpu_count);
}

static void test_mcfg(const struct hv_acpi_tables *tables)
{
    size_t length = 0;
    const uint8_t *mcfg = find_table(tables, "MCFG", &length);

    tap_ok(mcfg && length == 60 && hv_load_le64(mcfg + 44) == HV_X86_PCI_CONFIG_ADDRESS &&
               mcfg[54] == 0 && mcfg[55] == 0,
           "MCFG: one bus");
}

static void test_sizes(void)
{
    static const unsigned int counts[] = {1, 2, 24, 64, 255};

    for (size_t i = 0; i < HV_ARRAY_SIZE(counts); i++) {
        struct hv_acpi_config config = config_for(counts[i]);
        struct hv_acpi_tables tables = {0};

        if (!tap_is(hv_acpi_build(&config, &tables), 0, "%u vCPUs: tables", counts[i])) {
            continue;
        }
        test_madt(&tables, counts[i]);
        hv_acpi_tables_fini(&tables);
    }
}

static void test_refusals(void)
{
    struct hv_acpi_tables tables = {0};
    struct hv_acpi_config config;

    config = config_for(0);
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "no vCPUs");
    config = config_for(256);
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "more vCPUs than APIC ids");
    config = config_for(1);
    config.address += 8;
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "an RSDP where nobody looks");
    config = config_for(1);
    config.pci_config_size = 0x180000;
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "half a bus");
    config = config_for(1);
    config.pci_config_address = HV_X86_PCI_HOLE_END;
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "ECAM above 4 GiB");
    config = config_for(1);
    config.pci_window32_size = HV_X86_PCI_HOLE_END;
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "a 32-bit window above 4 GiB");
    config = config_for(1);
    config.pci_window64_address = UINT64_MAX;
    tap_is(hv_acpi_build(&config, &tables), -EINVAL, "a 64-bit window that wraps");
    tap_ok(!tables.data, "a refusal leaves the result alone");
    hv_acpi_tables_fini(&tables);
}

/* The PkgLength of bodies on both sides of each change of its size. */
static void test_package_length(void)
{
    static const struct {
        size_t body;
        size_t size;
    } cases[] = {{1, 1},    {62, 1},     {63, 2},      {4093, 2},
                 {4094, 3}, {100000, 3}, {1048572, 3}, {1048573, 4}};

    for (size_t i = 0; i < HV_ARRAY_SIZE(cases); i++) {
        struct hv_aml aml = {0};
        size_t mark = hv_aml_open_package(&aml, 0), value, bytes;

        hv_aml_zeroes(&aml, cases[i].body - 1);
        hv_aml_close(&aml, mark);
        bytes = aml.data[1] >> 6;
        value = aml.data[1] & (bytes ? 0x0f : 0x3f);
        for (size_t k = 0; k < bytes; k++) {
            value |= (size_t)aml.data[2 + k] << (4 + 8 * k);
        }
        tap_ok(!aml.is_broken && bytes + 1 == cases[i].size &&
                   value == cases[i].body + cases[i].size && aml.length == 1 + value,
               "a body of %zu bytes", cases[i].body);
        hv_aml_fini(&aml);
    }
}

/* --- AML ---------------------------------------------------------------------------------------- */

/*
 * A reader of the terms that our DSDT uses, written from the specification and not from the writer:
 * it prints each object as a line of text, in full paths, and stops at the first byte it does not
 * understand or that does not fit into the term around it.
 */
struct reader {
    const uint8_t *data;
    size_t offset;
    FILE *text;
    bool is_broken;
};

#define MAX_PATH 64

static void give_up(struct reader *reader, const char *why)
{
    if (!reader->is_broken) {
        fprintf(reader->text, "offset %#zx: %s\n", reader->offset, why);
    }
    reader->is_broken = true;
}

/* The next @length bytes of a term that ends at @end; NULL when it ends before. */
static const uint8_t *take(struct reader *reader, size_t end, size_t length)
{
    const uint8_t *bytes = reader->data + reader->offset;

    if (reader->is_broken || !hv_range_fits(reader->offset, length, end)) {
        give_up(reader, "the term ends early");
        return NULL;
    }
    reader->offset += length;
    return bytes;
}

static uint8_t take_byte(struct reader *reader, size_t end)
{
    const uint8_t *byte = take(reader, end, 1);

    return byte ? *byte : 0xff;
}

/* Where the term that begins here ends. */
static size_t take_package_length(struct reader *reader, size_t end)
{
    size_t start = reader->offset;
    uint8_t lead = take_byte(reader, end);
    size_t length = lead >> 6 ? lead & 0x0f : lead & 0x3f;

    for (unsigned int i = 0; i < lead >> 6; i++) {
        length |= (size_t)take_byte(reader, end) << (4 + 8 * i);
    }
    if (reader->is_broken || !hv_range_fits(start, length, end) ||
        length < reader->offset - start) {
        give_up(reader, "a length beyond the term around it");
        return end;
    }
    return start + length;
}

/* A NameString, made absolute by @scope. */
static void take_path(struct reader *reader, size_t end, const char *scope, char path[MAX_PATH])
{
    size_t length = strlen(scope), count = 1;
    uint8_t lead = take_byte(reader, end);

    memcpy(path, scope, length + 1);
    if (lead == '\\') {
        length = 0;
        path[length++] = '\\';
        lead = take_byte(reader, end);
    }
    if (lead == 0x2e) {
        count = 2;
    } else if (lead == 0x2f) {
        count = take_byte(reader, end);
    } else if (lead == 0) {
        count = 0;
    } else {
        reader->offset--;
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *name = take(reader, end, 4);

        if (!name || length + 6 > MAX_PATH) {
            give_up(reader, "a path that is too long");
            return;
        }
        for (unsigned int k = 0; k < 4; k++) {
            if (!((name[k] >= 'A' && name[k] <= 'Z') || name[k] == '_' ||
                  (k > 0 && name[k] >= '0' && name[k] <= '9'))) {
                give_up(reader, "a name with an impossible character");
            }
        }
        if (length > 1) {
            path[length++] = '.';
        }
        memcpy(path + length, name, 4);
        length += 4;
    }
    path[length] = '\0';
}

static uint64_t take_integer(struct reader *reader, size_t end)
{
    uint8_t lead = take_byte(reader, end);
    size_t size = lead == 0x0a ? 1 : lead == 0x0b ? 2 : lead == 0x0c ? 4 : lead == 0x0e ? 8 : 0;
    uint64_t value = 0;

    if (lead <= 1) {
        return lead;
    }
    if (size == 0) {
        give_up(reader, "not an integer");
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)take_byte(reader, end) << 8 * i;
    }
    return value;
}

static void print_window(struct reader *reader, const uint8_t *body, size_t length, size_t size)
{
    uint64_t fields[5] = {0};

    if (length != 3 + 5 * size) {
        give_up(reader, "a window of a strange length");
        return;
    }
    for (size_t i = 0; i < 5; i++) {
        memcpy(&fields[i], body + 3 + i * size, size);
    }
    fprintf(reader->text, " window(type %u, flags %#x %#x, %#llx to %#llx, %#llx)", body[0],
            body[1], body[2], (unsigned long long)le64toh(fields[1]),
            (unsigned long long)le64toh(fields[2]), (unsigned long long)le64toh(fields[4]));
    if (fields[0] || fields[3] || fields[2] - fields[1] + 1 != fields[4]) {
        give_up(reader, "a window that does not add up");
    }
}

/* Resource descriptors (ACPI 6.4, section 6.4) up to and including the end tag. */
static void print_resources(struct reader *reader, size_t end)
{
    for (;;) {
        uint8_t tag = take_byte(reader, end);
        size_t length = tag & 7;
        const uint8_t *body;

        if (tag & 0x80) {
            length = take_byte(reader, end);
            length |= (size_t)take_byte(reader, end) << 8;
        }
        body = take(reader, end, length);
        if (!body) {
            return;
        }
        if (tag == 0x79) {
            if (reader->offset != end) {
                give_up(reader, "an end tag before the end");
            }
            return;
        } else if (tag == 0x47 && body[0] == 1 &&
                   hv_load_le16(body + 1) == hv_load_le16(body + 3)) {
            fprintf(reader->text, " io(%#x, %u)", hv_load_le16(body + 1), body[6]);
        } else if (tag == 0x86 && length == 9) {
            fprintf(reader->text, " memory(%#x, %#x)", hv_load_le32(body + 1),
                    hv_load_le32(body + 5));
        } else if (tag == 0x89 && length == 6) {
            fprintf(reader->text, " interrupt(flags %#x, %u of them: %u)", body[0], body[1],
                    hv_load_le32(body + 2));
        } else if (tag == 0x88) {
            print_window(reader, body, length, 2);
        } else if (tag == 0x87) {
            print_window(reader, body, length, 4);
        } else if (tag == 0x8a) {
            print_window(reader, body, length, 8);
        } else {
            give_up(reader, "a resource that is not expected");
            return;
        }
    }
}

static void print_value(struct reader *reader, size_t end)
{
    uint8_t lead = hv_range_fits(reader->offset, 1, end) ? reader->data[reader->offset] : 0xff;
    size_t inner;

    if (lead == 0x0d) {
        take_byte(reader, end);
        fputs(" \"", reader->text);
        while ((lead = take_byte(reader, end)) != 0 && !reader->is_broken) {
            fputc(lead, reader->text);
        }
        fputc('"', reader->text);
    } else if (lead == 0x11) {
        take_byte(reader, end);
        inner = take_package_length(reader, end);
        if (take_integer(reader, inner) != inner - reader->offset) {
            give_up(reader, "a buffer whose size is not its length");
            return;
        }
        print_resources(reader, inner);
    } else if (lead == 0x12) {
        unsigned int count;

        take_byte(reader, end);
        inner = take_package_length(reader, end);
        count = take_byte(reader, inner);
        fputs(" {", reader->text);
        for (unsigned int i = 0; i < count && !reader->is_broken; i++) {
            print_value(reader, inner);
        }
        fputs(" }", reader->text);
        if (reader->offset != inner) {
            give_up(reader, "a package with more than its elements");
        }
    } else {
        fprintf(reader->text, " %#llx", (unsigned long long)take_integer(reader, end));
    }
}

static void print_terms(struct reader *reader, size_t end, const char *scope)
{
    char path[MAX_PATH];

    while (reader->offset < end && !reader->is_broken) {
        uint8_t code = take_byte(reader, end);
        size_t inner;

        if (code == 0x5b && take_byte(reader, end) == 0x82) {
            inner = take_package_length(reader, end);
            take_path(reader, inner, scope, path);
            fprintf(reader->text, "device %s\n", path);
            print_terms(reader, inner, path);
        } else if (code == 0x10) {
            inner = take_package_length(reader, end);
            take_path(reader, inner, scope, path);
            print_terms(reader, inner, path);
        } else if (code == 0x14) {
            inner = take_package_length(reader, end);
            take_path(reader, inner, scope, path);
            fprintf(reader->text, "method %s, flags %#x\n", path, take_byte(reader, inner));
            print_terms(reader, inner, path);
        } else if (code == 0x08) {
            take_path(reader, end, scope, path);
            fprintf(reader->text, "%s =", path);
            print_value(reader, end);
            fputc('\n', reader->text);
        } else if (code == 0x86) {
            take_path(reader, end, scope, path);
            fprintf(reader->text, "notify %s", path);
            print_value(reader, end);
            fputc('\n', reader->text);
        } else if (code == 0xa4) {
            uint8_t argument = take_byte(reader, end);

            if (argument < 0x68 || argument > 0x6e) {
                give_up(reader, "a return of something else");
            }
            fprintf(reader->text, "return argument %u\n", argument - 0x68);
        } else {
            give_up(reader, "a term that is not expected");
        }
    }
}

/* The DSDT as text; free() it. */
static char *describe(const uint8_t *dsdt, size_t length)
{
    char *text = NULL;
    size_t size;
    struct reader reader = {.data = dsdt, .offset = 36, .text = open_memstream(&text, &size)};

    if (!reader.text) {
        tap_bail("no memory");
    }
    print_terms(&reader, length, "\\");
    fclose(reader.text);
    return text;
}

/* What it must say for config_for(). */
static char *expected_description(bool has_window64)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream) {
        tap_bail("no memory");
    }
    fputs("device \\_SB_.PCI0\n"
          "\\_SB_.PCI0._HID = 0x80ad041\n" /* PNP0A08 */
          "\\_SB_.PCI0._CID = 0x30ad041\n" /* PNP0A03 */
          "\\_SB_.PCI0._UID = 0\n"
          "\\_SB_.PCI0._SEG = 0\n"
          "\\_SB_.PCI0._BBN = 0\n"
          "\\_SB_.PCI0._CCA = 0x1\n"
          "\\_SB_.PCI0._CRS = window(type 2, flags 0xc 0, 0 to 0, 0x1) io(0xcf8, 8)"
          " window(type 0, flags 0xc 0x1, 0xc0000000 to 0xefffffff, 0x30000000)",
          stream);
    fputs(has_window64
              ? " window(type 0, flags 0xc 0x1, 0x140000000 to 0x113fffffff, 0x1000000000)\n"
              : "\n",
          stream);
    fputs("\\_SB_.PCI0._PRT = {", stream);
    for (unsigned int slot = 0; slot < 32; slot++) {
        fprintf(stream, " { %#x 0 0 %#x }", slot << 16 | 0xffff, 16 + slot % 8);
    }
    fputs(" }\n"
          "method \\_SB_.PCI0._OSC, flags 0x4\n"
          "return argument 3\n"
          "device \\_SB_.BRD0\n"
          "\\_SB_.BRD0._HID = 0x20cd041\n" /* PNP0C02 */
          "\\_SB_.BRD0._UID = 0\n"
          "\\_SB_.BRD0._CRS = memory(0xf0000000, 0x100000) io(0x600, 3)\n"
          "device \\_SB_.COM1\n"
          "\\_SB_.COM1._HID = 0x105d041\n" /* PNP0501 */
          "\\_SB_.COM1._UID = 0x1\n"
          "\\_SB_.COM1._STA = 0xf\n"
          "\\_SB_.COM1._CRS = io(0x3f8, 8) interrupt(flags 0x3, 1 of them: 4)\n"
          "device \\_SB_.PWRB\n"
          "\\_SB_.PWRB._HID = 0xc0cd041\n" /* PNP0C0C */
          "\\_SB_.PWRB._UID = 0\n"
          "device \\_SB_.GED0\n"
          "\\_SB_.GED0._HID = \"ACPI0013\"\n"
          "\\_SB_.GED0._UID = 0\n"
          "\\_SB_.GED0._CRS = interrupt(flags 0x3, 1 of them: 5)\n"
          "method \\_SB_.GED0._EVT, flags 0x9\n"
          "notify \\_SB_.PWRB 0x80\n"
          "\\_S5_ = { 0x5 0x5 0 0 }\n",
          stream);
    fclose(stream);
    return text;
}

static bool is_same_text(const char *text, const char *expected, const char *what)
{
    size_t same = 0;
    bool is_same = strcmp(text, expected) == 0;

    if (!tap_ok(is_same, "%s", what)) {
        while (text[same] == expected[same]) {
            same++;
        }
        printf("# from there on: \"%.60s\", should be \"%.60s\"\n", text + same, expected + same);
    }
    return is_same;
}

static const uint8_t *find_dsdt(const struct hv_acpi_tables *tables, size_t *ret_length)
{
    size_t length = 0;
    const uint8_t *fadt = find_table(tables, "FACP", &length);

    return fadt ? table_at(tables, hv_load_le64(fadt + 140), "DSDT", ret_length) : NULL;
}

static void test_description(bool has_window64)
{
    struct hv_acpi_config config = config_for(1);
    struct hv_acpi_tables tables = {0};
    HV_AUTO_FREE char *text = NULL;
    HV_AUTO_FREE char *expected = expected_description(has_window64);
    size_t length = 0;
    const uint8_t *dsdt;

    if (!has_window64) {
        config.pci_window64_address = config.pci_window64_size = 0;
    }
    if (hv_acpi_build(&config, &tables) < 0 || !(dsdt = find_dsdt(&tables, &length))) {
        tap_bail("no DSDT");
    }
    text = describe(dsdt, length);
    is_same_text(text, expected,
                 has_window64 ? "the DSDT, object by object"
                              : "the DSDT of a machine without a 64-bit window");
    hv_acpi_tables_fini(&tables);
}

/* --- iasl -------------------------------------------------------------------------------------- */

/* Runs iasl in @folder; its words go to a file there. Returns the exit status, 127: not found. */
static int run_iasl(const char *folder, const char *const arguments[])
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        int output = -1;

        if (chdir(folder) == 0) {
            output = open("output", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        }
        if (output < 0) {
            _exit(126);
        }
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
        execvp("iasl", (char *const *)arguments);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *folder, const char *name, const void *data, size_t length)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, length) != (ssize_t)length) {
        tap_bail("no temporary file");
    }
    close(fd);
}

/* How many bytes there are, at most @capacity; 0 without the file. */
static size_t read_file(const char *folder, const char *name, uint8_t *buffer, size_t capacity)
{
    HV_AUTO_FD int fd = -1;
    char path[64];
    ssize_t length;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    length = fd < 0 ? 0 : read(fd, buffer, capacity);
    return length < 0 ? 0 : (size_t)length;
}

static void remove_files(const char *folder)
{
    static const char *const names[] = {"table.aml", "table.dsl", "again.aml", "output"};
    char path[64];

    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
}

/* Taken apart and put together again: the same table, but for who made it and the checksum. */
static void test_round_trip(const char *folder, const uint8_t *table, size_t length)
{
    const char *const apart[] = {"iasl", "-d", "table.aml", NULL};
    const char *const together[] = {"iasl", "-we", "-oa", "-p", "again", "table.dsl", NULL};
    uint8_t again[8192];
    size_t again_length;
    char name[5] = "";
    bool is_same;

    memcpy(name, table, 4);
    write_file(folder, "table.aml", table, length);
    tap_is(run_iasl(folder, apart), 0, "iasl takes the %s apart", name);
    tap_is(run_iasl(folder, together), 0, "… and compiles what it found, warnings and all");
    again_length = read_file(folder, "again.aml", again, sizeof(again));
    if (strcmp(name, "DSDT") == 0) {
        /* Encodings may differ: what they say may not. */
        HV_AUTO_FREE char *text = describe(table, length);
        HV_AUTO_FREE char *again_text = describe(again, again_length);

        is_same_text(again_text, text, "… to the same objects");
    } else {
        is_same = again_length == length;
        for (size_t i = 0; i < length && is_same; i++) {
            bool is_about_maker = i == 9 || (i >= 28 && i < 36);

            is_same = is_about_maker || again[i] == table[i];
        }
        tap_ok(is_same, "… to the same bytes");
    }
    remove_files(folder);
}

static void test_with_iasl(const struct hv_acpi_tables *tables)
{
    static const char *const signatures[] = {"FACP", "APIC", "MCFG"};
    const char *const version[] = {"iasl", "-v", NULL};
    char folder[] = "/tmp/test-acpi-XXXXXX";
    size_t length = 0;
    const uint8_t *table = table_at(tables, hv_load_le64(tables->data + 24), "XSDT", &length);

    if (!mkdtemp(folder)) {
        tap_bail("no temporary folder");
    }
    if (run_iasl(folder, version) == 127) {
        tap_skip("iasl (acpica-tools) is not installed");
    } else {
        test_round_trip(folder, table, length);
        for (size_t i = 0; i < HV_ARRAY_SIZE(signatures); i++) {
            table = find_table(tables, signatures[i], &length);
            test_round_trip(folder, table, length);
        }
        table = find_dsdt(tables, &length);
        test_round_trip(folder, table, length);
    }
    remove_files(folder);
    rmdir(folder);
}

int main(void)
{
    struct hv_acpi_config config = config_for(64);
    struct hv_acpi_tables tables = {0};

    if (hv_acpi_build(&config, &tables) < 0) {
        tap_bail("no tables");
    }
    test_root(&tables);
    test_fadt(&tables);
    test_mcfg(&tables);
    test_sizes();
    test_refusals();
    test_package_length();
    test_description(true);
    test_description(false);
    test_with_iasl(&tables);
    hv_acpi_tables_fini(&tables);
    return tap_done();
}
