/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer of ACPI Machine Language: just the terms that our tables use, appended to a buffer that
 * grows.
 *
 * Terms with a body (scope, device, method, package, buffer) are opened and closed; closing inserts
 * the PkgLength, whose own size depends on the length of the body (ACPI 6.4, section 20.2.4). An
 * allocation that fails makes the writer "broken": everything after is a no-op, and the user asks
 * once, at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_aml {
    uint8_t *data; /* owned */
    size_t length;
    size_t capacity;
    bool is_broken; /* out of memory, or a body beyond what PkgLength can say */
};

/* Frees the buffer. Accepts zeroed memory, which is an empty writer. */
void hv_aml_fini(struct hv_aml *aml);

/* Raw bytes, for what is not AML (table headers). */
void hv_aml_bytes(struct hv_aml *aml, const void *bytes, size_t length);
void hv_aml_zeroes(struct hv_aml *aml, size_t length);
void hv_aml_u8(struct hv_aml *aml, uint8_t value);
void hv_aml_u16(struct hv_aml *aml, uint16_t value);
void hv_aml_u32(struct hv_aml *aml, uint32_t value);
void hv_aml_u64(struct hv_aml *aml, uint64_t value);

/* The result of an opening call goes to hv_aml_close(), innermost first. */
size_t hv_aml_open_scope(struct hv_aml *aml, const char *path);
size_t hv_aml_open_device(struct hv_aml *aml, const char *name);
size_t hv_aml_open_method(struct hv_aml *aml, const char *name, unsigned int argument_count,
                          bool is_serialized);
size_t hv_aml_open_package(struct hv_aml *aml, uint8_t element_count);
void hv_aml_close(struct hv_aml *aml, size_t mark);

/* "\\", "\\_SB_" or names of four characters joined by dots, all in full. */
void hv_aml_path(struct hv_aml *aml, const char *path);
void hv_aml_integer(struct hv_aml *aml, uint64_t value);
void hv_aml_string(struct hv_aml *aml, const char *text);
/* "PNP0A08" as the compressed integer. */
void hv_aml_eisa_id(struct hv_aml *aml, const char *id);

void hv_aml_name(struct hv_aml *aml, const char *name); /* Name(): the value follows */
void hv_aml_name_integer(struct hv_aml *aml, const char *name, uint64_t value);
void hv_aml_notify(struct hv_aml *aml, const char *path, uint64_t value);
void hv_aml_return_argument(struct hv_aml *aml, unsigned int index);

/* Resource templates: Name(_CRS, ResourceTemplate() { … }). */
size_t hv_aml_open_resources(struct hv_aml *aml, const char *name);
void hv_aml_close_resources(struct hv_aml *aml, size_t mark);
void hv_aml_resource_io(struct hv_aml *aml, uint16_t port, uint8_t length);
void hv_aml_resource_memory32(struct hv_aml *aml, uint32_t address, uint32_t length);
void hv_aml_resource_edge_interrupt(struct hv_aml *aml, uint32_t gsi);
void hv_aml_resource_bus_window(struct hv_aml *aml, uint16_t first, uint16_t last);
void hv_aml_resource_memory_window32(struct hv_aml *aml, uint32_t address, uint32_t length);
void hv_aml_resource_memory_window64(struct hv_aml *aml, uint64_t address, uint64_t length);
