/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AML encoding by ACPI 6.4: chapter 20 (terms) and section 6.4 (resource descriptors). See aml.h.
 */
#include "hypervisor/arch/x86_64/aml.h"

#include "hypervisor/base/hv-base.h"

enum {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE_PREFIX = 0x0a,
    AML_WORD_PREFIX = 0x0b,
    AML_DWORD_PREFIX = 0x0c,
    AML_STRING_PREFIX = 0x0d,
    AML_QWORD_PREFIX = 0x0e,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_METHOD = 0x14,
    AML_DUAL_NAME_PREFIX = 0x2e,
    AML_MULTI_NAME_PREFIX = 0x2f,
    AML_EXTENDED_PREFIX = 0x5b,
    AML_EXTENDED_DEVICE = 0x82,
    AML_ROOT = 0x5c,
    AML_ARGUMENT_0 = 0x68,
    AML_NOTIFY = 0x86,
    AML_RETURN = 0xa4,
};

#define NAME_LENGTH          4
#define PACKAGE_LENGTH_MAX   0x0fffffffu
/* WordPrefix and two bytes, the size of a resource buffer, filled in when it is closed. */
#define RESOURCE_SIZE_LENGTH 3

void hv_aml_fini(struct hv_aml *aml)
{
    free(aml->data);
    *aml = (struct hv_aml){0};
}

/* Room for @length more bytes at the end, or NULL. */
static uint8_t *extend(struct hv_aml *aml, size_t length)
{
    size_t capacity = aml->capacity ? aml->capacity : 1024;
    uint8_t *data;

    if (aml->is_broken) {
        return NULL;
    }
    if (length > PACKAGE_LENGTH_MAX - aml->length) {
        aml->is_broken = true;
        return NULL;
    }
    while (capacity < aml->length + length) {
        capacity *= 2;
    }
    if (capacity != aml->capacity) {
        data = realloc(aml->data, capacity);
        if (!data) {
            aml->is_broken = true;
            return NULL;
        }
        aml->data = data;
        aml->capacity = capacity;
    }
    data = aml->data + aml->length;
    aml->length += length;
    return data;
}

void hv_aml_bytes(struct hv_aml *aml, const void *bytes, size_t length)
{
    uint8_t *to = extend(aml, length);

    if (to && length) {
        memcpy(to, bytes, length);
    }
}

void hv_aml_zeroes(struct hv_aml *aml, size_t length)
{
    uint8_t *to = extend(aml, length);

    if (to && length) {
        memset(to, 0, length);
    }
}

void hv_aml_u8(struct hv_aml *aml, uint8_t value)
{
    hv_aml_bytes(aml, &value, sizeof(value));
}

void hv_aml_u16(struct hv_aml *aml, uint16_t value)
{
    value = htole16(value);
    hv_aml_bytes(aml, &value, sizeof(value));
}

void hv_aml_u32(struct hv_aml *aml, uint32_t value)
{
    value = htole32(value);
    hv_aml_bytes(aml, &value, sizeof(value));
}

void hv_aml_u64(struct hv_aml *aml, uint64_t value)
{
    value = htole64(value);
    hv_aml_bytes(aml, &value, sizeof(value));
}

void hv_aml_close(struct hv_aml *aml, size_t mark)
{
    size_t body, total, size;
    uint8_t *at;

    if (aml->is_broken) {
        return;
    }
    body = aml->length - mark;
    /* The length counts its own bytes; one byte says up to 63, each further one adds 8 bits. */
    for (size = 1; size < 4; size++) {
        size_t limit = size == 1 ? 0x3f : ((size_t)1 << (4 + 8 * (size - 1))) - 1;

        if (body + size <= limit) {
            break;
        }
    }
    total = body + size;
    if (total > PACKAGE_LENGTH_MAX || !extend(aml, size)) {
        aml->is_broken = true;
        return;
    }
    at = aml->data + mark;
    memmove(at + size, at, body);
    if (size == 1) {
        at[0] = (uint8_t)total;
        return;
    }
    at[0] = (uint8_t)((size - 1) << 6 | (total & 0xf));
    for (size_t i = 1; i < size; i++) {
        at[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
    }
}

size_t hv_aml_open_scope(struct hv_aml *aml, const char *path)
{
    size_t mark;

    hv_aml_u8(aml, AML_SCOPE);
    mark = aml->length;
    hv_aml_path(aml, path);
    return mark;
}

size_t hv_aml_open_device(struct hv_aml *aml, const char *name)
{
    size_t mark;

    hv_aml_u8(aml, AML_EXTENDED_PREFIX);
    hv_aml_u8(aml, AML_EXTENDED_DEVICE);
    mark = aml->length;
    hv_aml_path(aml, name);
    return mark;
}

size_t hv_aml_open_method(struct hv_aml *aml, const char *name, unsigned int argument_count,
                          bool is_serialized)
{
    size_t mark;

    hv_aml_u8(aml, AML_METHOD);
    mark = aml->length;
    hv_aml_path(aml, name);
    hv_aml_u8(aml, (uint8_t)((argument_count & 7) | (is_serialized ? 8 : 0)));
    return mark;
}

size_t hv_aml_open_package(struct hv_aml *aml, uint8_t element_count)
{
    size_t mark;

    hv_aml_u8(aml, AML_PACKAGE);
    mark = aml->length;
    hv_aml_u8(aml, element_count);
    return mark;
}

void hv_aml_path(struct hv_aml *aml, const char *path)
{
    size_t length, count;

    if (*path == '\\') {
        hv_aml_u8(aml, AML_ROOT);
        path++;
    }
    length = strlen(path);
    count = (length + 1) / (NAME_LENGTH + 1);
    if (count == 0) {
        hv_aml_u8(aml, 0);
    } else if (count == 2) {
        hv_aml_u8(aml, AML_DUAL_NAME_PREFIX);
    } else if (count > 2) {
        hv_aml_u8(aml, AML_MULTI_NAME_PREFIX);
        hv_aml_u8(aml, (uint8_t)count);
    }
    for (size_t i = 0; i < count; i++) {
        hv_aml_bytes(aml, path + i * (NAME_LENGTH + 1), NAME_LENGTH);
    }
}

void hv_aml_integer(struct hv_aml *aml, uint64_t value)
{
    if (value <= 1) {
        hv_aml_u8(aml, value ? AML_ONE : AML_ZERO);
    } else if (value <= UINT8_MAX) {
        hv_aml_u8(aml, AML_BYTE_PREFIX);
        hv_aml_u8(aml, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        hv_aml_u8(aml, AML_WORD_PREFIX);
        hv_aml_u16(aml, (uint16_t)value);
    } else if (value <= UINT32_MAX) {
        hv_aml_u8(aml, AML_DWORD_PREFIX);
        hv_aml_u32(aml, (uint32_t)value);
    } else {
        hv_aml_u8(aml, AML_QWORD_PREFIX);
        hv_aml_u64(aml, value);
    }
}

void hv_aml_string(struct hv_aml *aml, const char *text)
{
    hv_aml_u8(aml, AML_STRING_PREFIX);
    hv_aml_bytes(aml, text, strlen(text) + 1);
}

static uint32_t hexadecimal_digit(char digit)
{
    return (uint32_t)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

void hv_aml_eisa_id(struct hv_aml *aml, const char *id)
{
    uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                     (uint32_t)(id[2] - '@') << 16 | hexadecimal_digit(id[3]) << 12 |
                     hexadecimal_digit(id[4]) << 8 | hexadecimal_digit(id[5]) << 4 |
                     hexadecimal_digit(id[6]);

    /* Stored with the most significant byte first, unlike everything else. */
    hv_aml_u8(aml, AML_DWORD_PREFIX);
    hv_aml_u32(aml, __builtin_bswap32(value));
}

void hv_aml_name(struct hv_aml *aml, const char *name)
{
    hv_aml_u8(aml, AML_NAME);
    hv_aml_path(aml, name);
}

void hv_aml_name_integer(struct hv_aml *aml, const char *name, uint64_t value)
{
    hv_aml_name(aml, name);
    hv_aml_integer(aml, value);
}

void hv_aml_notify(struct hv_aml *aml, const char *path, uint64_t value)
{
    hv_aml_u8(aml, AML_NOTIFY);
    hv_aml_path(aml, path);
    hv_aml_integer(aml, value);
}

void hv_aml_return_argument(struct hv_aml *aml, unsigned int index)
{
    hv_aml_u8(aml, AML_RETURN);
    hv_aml_u8(aml, (uint8_t)(AML_ARGUMENT_0 + index));
}

size_t hv_aml_open_resources(struct hv_aml *aml, const char *name)
{
    size_t mark;

    hv_aml_name(aml, name);
    hv_aml_u8(aml, AML_BUFFER);
    mark = aml->length;
    hv_aml_u8(aml, AML_WORD_PREFIX);
    hv_aml_u16(aml, 0);
    return mark;
}

void hv_aml_close_resources(struct hv_aml *aml, size_t mark)
{
    /* The end tag; checksum 0 means "do not check". */
    hv_aml_u8(aml, 0x79);
    hv_aml_u8(aml, 0);
    if (!aml->is_broken) {
        hv_store_le16(aml->data + mark + 1, (uint16_t)(aml->length - mark - RESOURCE_SIZE_LENGTH));
    }
    hv_aml_close(aml, mark);
}

void hv_aml_resource_io(struct hv_aml *aml, uint16_t port, uint8_t length)
{
    hv_aml_u8(aml, 0x47);
    hv_aml_u8(aml, 0x01); /* decodes 16 bits */
    hv_aml_u16(aml, port);
    hv_aml_u16(aml, port);
    hv_aml_u8(aml, 0x01); /* alignment */
    hv_aml_u8(aml, length);
}

void hv_aml_resource_memory32(struct hv_aml *aml, uint32_t address, uint32_t length)
{
    hv_aml_u8(aml, 0x86);
    hv_aml_u16(aml, 9);
    hv_aml_u8(aml, 0x01); /* writable */
    hv_aml_u32(aml, address);
    hv_aml_u32(aml, length);
}

void hv_aml_resource_edge_interrupt(struct hv_aml *aml, uint32_t gsi)
{
    hv_aml_u8(aml, 0x89);
    hv_aml_u16(aml, 6);
    hv_aml_u8(aml, 0x03); /* consumer, edge, active high, exclusive */
    hv_aml_u8(aml, 1);
    hv_aml_u32(aml, gsi);
}

/* Producer, positive decode, fixed at both ends. */
#define WINDOW_FLAGS           0x0c
#define WINDOW_MEMORY          0
#define WINDOW_BUS             2
#define WINDOW_MEMORY_WRITABLE 0x01

void hv_aml_resource_bus_window(struct hv_aml *aml, uint16_t first, uint16_t last)
{
    hv_aml_u8(aml, 0x88);
    hv_aml_u16(aml, 13);
    hv_aml_u8(aml, WINDOW_BUS);
    hv_aml_u8(aml, WINDOW_FLAGS);
    hv_aml_u8(aml, 0);
    hv_aml_u16(aml, 0); /* granularity */
    hv_aml_u16(aml, first);
    hv_aml_u16(aml, last);
    hv_aml_u16(aml, 0); /* translation */
    hv_aml_u16(aml, (uint16_t)(last - first + 1));
}

void hv_aml_resource_memory_window32(struct hv_aml *aml, uint32_t address, uint32_t length)
{
    hv_aml_u8(aml, 0x87);
    hv_aml_u16(aml, 23);
    hv_aml_u8(aml, WINDOW_MEMORY);
    hv_aml_u8(aml, WINDOW_FLAGS);
    hv_aml_u8(aml, WINDOW_MEMORY_WRITABLE);
    hv_aml_u32(aml, 0);
    hv_aml_u32(aml, address);
    hv_aml_u32(aml, address + (length - 1));
    hv_aml_u32(aml, 0);
    hv_aml_u32(aml, length);
}

void hv_aml_resource_memory_window64(struct hv_aml *aml, uint64_t address, uint64_t length)
{
    hv_aml_u8(aml, 0x8a);
    hv_aml_u16(aml, 43);
    hv_aml_u8(aml, WINDOW_MEMORY);
    hv_aml_u8(aml, WINDOW_FLAGS);
    hv_aml_u8(aml, WINDOW_MEMORY_WRITABLE);
    hv_aml_u64(aml, 0);
    hv_aml_u64(aml, address);
    hv_aml_u64(aml, address + (length - 1));
    hv_aml_u64(aml, 0);
    hv_aml_u64(aml, length);
}
