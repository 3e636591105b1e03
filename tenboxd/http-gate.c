/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream between connection and libsoup; see http-gate.h.
 *
 * Two small classes: the input does the work, the gate ties it to the connection's output and end.
 */
#include "tenboxd/http-gate.h"

#include <string.h>

#define CHUNK_DIGITS_MAX 8

typedef enum {
    AT_HEAD,     /* `left` bytes of it */
    AT_BODY,     /* `left` bytes of it */
    AT_SIZE,     /* of a chunk; `digits` so far */
    AT_SIZE_END, /* the LF behind the size */
    AT_CHUNK,    /* `left` bytes of it */
    AT_CHUNK_CR, /* behind a chunk */
    AT_CHUNK_LF, /* the same */
    AT_LAST_CR,  /* where trailers would be */
    AT_LAST_LF,  /* the same */
    AT_OPEN,     /* everything goes through */
    AT_END,      /* nothing does */
} Place;

/* ---- the input -------------------------------------------------------------------------------- */

#define TBD_TYPE_GATE_INPUT (tbd_gate_input_get_type())
G_DECLARE_FINAL_TYPE(TbdGateInput, tbd_gate_input, TBD, GATE_INPUT, GInputStream)

struct _TbdGateInput {
    GInputStream parent_instance;
    GPollableInputStream *base;
    GByteArray *received; /* nullable: what was read before the gate was made */
    gsize given;          /* how much of it has gone through */
    Place place;
    guint64 left;
    guint digits;
    Place behind_head;
    guint64 body_left;
    TbdGateBroken broken; /* nullable */
    gpointer user_data;
    GDestroyNotify destroy; /* nullable */
};

static void gate_input_pollable_init(GPollableInputStreamInterface *iface);

G_DEFINE_FINAL_TYPE_WITH_CODE(TbdGateInput, tbd_gate_input, G_TYPE_INPUT_STREAM,
                              G_IMPLEMENT_INTERFACE(G_TYPE_POLLABLE_INPUT_STREAM,
                                                    gate_input_pollable_init))

static void enter_body(TbdGateInput *self)
{
    self->place = self->behind_head;
    self->left = self->body_left;
    self->digits = 0;
}

/* One byte that is no payload: FALSE when it does not fit. */
static gboolean pass_mark(TbdGateInput *self, char byte)
{
    switch (self->place) {
    case AT_SIZE:
        if (g_ascii_isxdigit(byte) && self->digits < CHUNK_DIGITS_MAX) {
            self->left = self->left * 16 + (guint)g_ascii_xdigit_value(byte);
            self->digits++;
            return TRUE;
        }
        self->place = AT_SIZE_END;
        return byte == '\r' && self->digits > 0;
    case AT_SIZE_END: self->place = self->left > 0 ? AT_CHUNK : AT_LAST_CR; return byte == '\n';
    case AT_CHUNK_CR: self->place = AT_CHUNK_LF; return byte == '\r';
    case AT_CHUNK_LF:
        self->place = AT_SIZE;
        self->left = self->digits = 0;
        return byte == '\n';
    case AT_LAST_CR: self->place = AT_LAST_LF; return byte == '\r';
    case AT_LAST_LF: self->place = AT_END; return byte == '\n';
    default: return FALSE;
    }
}

/* How many of @data may go through, -1 when one does not fit. */
static gssize pass(TbdGateInput *self, const char *data, gsize length)
{
    gsize passed = 0;

    while (passed < length && self->place != AT_END) {
        gsize step;

        switch (self->place) {
        case AT_OPEN: return (gssize)length;
        case AT_HEAD:
        case AT_BODY:
        case AT_CHUNK:
            step = (gsize)MIN(self->left, length - passed);
            self->left -= step;
            passed += step;
            if (self->left == 0 && self->place == AT_HEAD) {
                enter_body(self);
            } else if (self->left == 0) {
                self->place = self->place == AT_BODY ? AT_END : AT_CHUNK_CR;
            }
            break;
        default:
            if (!pass_mark(self, data[passed])) {
                return -1;
            }
            passed++;
        }
    }
    return (gssize)passed;
}

static gsize take_received(TbdGateInput *self, char *buffer, gsize count)
{
    gsize length = MIN(count, self->received->len - self->given);

    memcpy(buffer, self->received->data + self->given, length);
    self->given += length;
    if (self->given == self->received->len) {
        g_clear_pointer(&self->received, g_byte_array_unref);
    }
    return length;
}

static gssize gate_input_read_some(TbdGateInput *self, char *buffer, gsize count,
                                   gboolean may_block, GCancellable *cancellable, GError **error)
{
    gssize length, passed;

    if (self->place == AT_END || count == 0) {
        return 0;
    }
    if (self->received != NULL) {
        length = (gssize)take_received(self, buffer, count);
    } else {
        length = may_block ? g_input_stream_read(G_INPUT_STREAM(self->base), buffer, count,
                                                 cancellable, error)
                           : g_pollable_input_stream_read_nonblocking(self->base, buffer, count,
                                                                      cancellable, error);
    }
    if (length <= 0) {
        return length;
    }
    passed = pass(self, buffer, (gsize)length);
    if (passed < 0) {
        self->place = AT_END;
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "the body is not framed as it should be");
        if (self->broken != NULL) {
            self->broken(self->user_data);
        }
    }
    return passed;
}

static gssize gate_input_read(GInputStream *stream, void *buffer, gsize count,
                              GCancellable *cancellable, GError **error)
{
    return gate_input_read_some(TBD_GATE_INPUT(stream), buffer, count, TRUE, cancellable, error);
}

static gssize gate_input_read_nonblocking(GPollableInputStream *stream, void *buffer, gsize count,
                                          GError **error)
{
    return gate_input_read_some(TBD_GATE_INPUT(stream), buffer, count, FALSE, NULL, error);
}

static gboolean gate_input_is_readable(GPollableInputStream *stream)
{
    TbdGateInput *self = TBD_GATE_INPUT(stream);

    return self->place == AT_END || self->received != NULL ||
           g_pollable_input_stream_is_readable(self->base);
}

static GSource *gate_input_create_source(GPollableInputStream *stream, GCancellable *cancellable)
{
    TbdGateInput *self = TBD_GATE_INPUT(stream);
    g_autoptr(GSource) child = self->place == AT_END || self->received != NULL
                                   ? g_timeout_source_new(0)
                                   : g_pollable_input_stream_create_source(self->base, NULL);

    return g_pollable_source_new_full(stream, child, cancellable);
}

static void gate_input_pollable_init(GPollableInputStreamInterface *iface)
{
    iface->is_readable = gate_input_is_readable;
    iface->create_source = gate_input_create_source;
    iface->read_nonblocking = gate_input_read_nonblocking;
}

static void tbd_gate_input_finalize(GObject *object)
{
    TbdGateInput *self = TBD_GATE_INPUT(object);

    g_clear_pointer(&self->received, g_byte_array_unref);
    g_object_unref(self->base);
    if (self->destroy != NULL) {
        self->destroy(self->user_data);
    }
    G_OBJECT_CLASS(tbd_gate_input_parent_class)->finalize(object);
}

static void tbd_gate_input_class_init(TbdGateInputClass *class)
{
    G_OBJECT_CLASS(class)->finalize = tbd_gate_input_finalize;
    G_INPUT_STREAM_CLASS(class)->read_fn = gate_input_read;
}

static void tbd_gate_input_init(TbdGateInput *self)
{
}

/* ---- the gate --------------------------------------------------------------------------------- */

#define TBD_TYPE_GATE (tbd_gate_get_type())
G_DECLARE_FINAL_TYPE(TbdGate, tbd_gate, TBD, GATE, GIOStream)

struct _TbdGate {
    GIOStream parent_instance;
    GIOStream *connection;
    TbdGateInput *input;
};

G_DEFINE_FINAL_TYPE(TbdGate, tbd_gate, G_TYPE_IO_STREAM)

static GInputStream *gate_get_input_stream(GIOStream *stream)
{
    return G_INPUT_STREAM(TBD_GATE(stream)->input);
}

static GOutputStream *gate_get_output_stream(GIOStream *stream)
{
    return g_io_stream_get_output_stream(TBD_GATE(stream)->connection);
}

static gboolean gate_close(GIOStream *stream, GCancellable *cancellable, GError **error)
{
    return g_io_stream_close(TBD_GATE(stream)->connection, cancellable, error);
}

static void tbd_gate_finalize(GObject *object)
{
    TbdGate *self = TBD_GATE(object);

    g_object_unref(self->input);
    g_object_unref(self->connection);
    G_OBJECT_CLASS(tbd_gate_parent_class)->finalize(object);
}

static void tbd_gate_class_init(TbdGateClass *class)
{
    G_OBJECT_CLASS(class)->finalize = tbd_gate_finalize;
    G_IO_STREAM_CLASS(class)->get_input_stream = gate_get_input_stream;
    G_IO_STREAM_CLASS(class)->get_output_stream = gate_get_output_stream;
    G_IO_STREAM_CLASS(class)->close_fn = gate_close;
}

static void tbd_gate_init(TbdGate *self)
{
}

GIOStream *tbd_gate_new(GIOStream *connection, GByteArray *received, gsize head_size,
                        const TbdHead *head, TbdGateBroken broken, gpointer user_data,
                        GDestroyNotify destroy)
{
    TbdGate *self = g_object_new(TBD_TYPE_GATE, NULL);

    self->connection = g_object_ref(connection);
    self->input = g_object_new(TBD_TYPE_GATE_INPUT, NULL);
    self->input->base =
        g_object_ref(G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(connection)));
    self->input->received = received;
    self->input->place = AT_HEAD;
    self->input->left = head_size;
    self->input->body_left = head->length;
    self->input->broken = broken;
    self->input->user_data = user_data;
    self->input->destroy = destroy;
    self->input->behind_head = head->wants_upgrade ? AT_OPEN
                               : head->is_chunked  ? AT_SIZE
                               : head->length > 0  ? AT_BODY
                                                   : AT_END;
    return G_IO_STREAM(self);
}
