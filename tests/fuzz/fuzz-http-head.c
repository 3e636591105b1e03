/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's reader of heads, and the gate behind it: a head that is let through says one thing only
 * (one Host, one framing, a path without dots), and what comes through the gate is a head of that length,
 * the body that it announces, and no byte more, however it arrives.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tenboxd/http-gate.h"
#include "tenboxd/http-limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(gboolean is_so)
{
    if (!is_so) {
        abort();
    }
}

/* What comes of @data when the first @split bytes were read before there was a gate. */
static GByteArray *read_all(const char *data, gsize size, gsize split, gsize head_size,
                            const TbdHead *head, gboolean *ret_is_broken)
{
    g_autoptr(GInputStream) input =
        g_memory_input_stream_new_from_data(data + split, (gssize)(size - split), NULL);
    g_autoptr(GOutputStream) output = g_memory_output_stream_new_resizable();
    g_autoptr(GIOStream) connection = g_simple_io_stream_new(input, output);
    GByteArray *received = g_byte_array_new(), *all = g_byte_array_new();
    g_autoptr(GIOStream) gate = NULL;
    gssize length;
    char buffer[7];

    g_byte_array_append(received, (const guint8 *)data, (guint)split);
    gate = tbd_gate_new(connection, received, head_size, head, NULL, NULL, NULL);
    while ((length = g_pollable_input_stream_read_nonblocking(
                G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(gate)), buffer, sizeof(buffer),
                NULL, NULL)) > 0) {
        g_byte_array_append(all, (const guint8 *)buffer, (guint)length);
    }
    *ret_is_broken = length < 0;
    return all;
}

static void check_gate(const char *data, gsize size, gsize head_size, const TbdHead *head)
{
    gboolean is_broken, is_broken_too;
    g_autoptr(GByteArray) all = read_all(data, size, head_size, head_size, head, &is_broken);
    g_autoptr(GByteArray) again = read_all(data, size, size, head_size, head, &is_broken_too);
    gsize body = size - head_size;

    require(is_broken == is_broken_too);
    require(all->len <= size && memcmp(all->data, data, all->len) == 0);
    if (head->wants_upgrade) {
        require(all->len == size);
    } else if (!head->is_chunked) {
        require(!is_broken && all->len == head_size + MIN(body, head->length));
    } else if (!is_broken && all->len < size) {
        /* The end of the last chunk. */
        require(all->len >= head_size + 5 && memcmp(all->data + all->len - 4, "\r\n\r\n", 4) == 0);
    }
    require(is_broken || (all->len == again->len && memcmp(all->data, again->data, all->len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes;
    g_autoptr(GError) error = NULL;
    gsize head_size = tbd_head_find_end(data, size, &error);
    TbdHead head;

    require(head_size == 0 || error == NULL);
    require(head_size <= size && head_size <= TBD_HEAD_SIZE_MAX);
    if (head_size == 0) {
        return 0;
    }
    for (gsize length = head_size - 1; length > 0 && head_size <= 1024; length--) {
        require(tbd_head_find_end(data, length, NULL) == 0);
    }
    if (tbd_head_parse(data, head_size, &head, &error)) {
        require(head.method != NULL && head.path != NULL &&
                strlen(head.path) <= TBD_TARGET_SIZE_MAX);
        require(*head.path == '/' || strcmp(head.path, "*") == 0);
        require(strstr(head.path, "/../") == NULL && strpbrk(head.path, "?# ") == NULL);
        require(head.length <= TBD_BODY_SIZE_MAX && !(head.is_chunked && head.length > 0));
        require(head.request_id == NULL || strlen(head.request_id) <= TBD_REQUEST_ID_MAX);
        check_gate(data, size, head_size, &head);
    } else {
        require(error != NULL && g_utf8_validate(error->message, -1, NULL));
    }
    tbd_head_clear(&head);
    return 0;
}
