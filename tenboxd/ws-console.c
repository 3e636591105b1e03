/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channel "console": one reader and writer of a VM's serial console.
 *
 * Output is pulled: the driver is asked for bytes only while the client has granted credit and the
 * socket has room, one read at a time. A client that does not read therefore costs one read of at
 * most one frame here; what it misses stays in the VM's ring, and what falls out of the ring is
 * told as "skipped".
 *
 * Input is credited back to the client when the guest's side took it. One write is under way, and what
 * comes meanwhile is joined behind it: a client that sends its window byte by byte costs the window,
 * not an allocation a byte. When the VM ends, writing is over but reading is not: what was not taken is
 * dropped without credit, and the channel closes when the output is at its end.
 */
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/ws.h"

/* The most that one write hands over, so that credit flows while the guest reads. */
#define WRITE_MAX (16 * 1024)

/* Counted: by the channel and by each task under way. */
typedef struct {
    grefcount references;
    TbdDaemon *daemon;
    TbdActor actor;
    char *vm;
    gboolean is_read_only;
    TbxStreamChannel *channel; /* NULL once closed */
    TbxConsoleStream *console; /* NULL until opened */
    GCancellable *cancellable;
    gboolean is_reading;
    GBytes *pending; /* read, but the room had gone meanwhile */
    guint64 skipped; /* what the client was told */

    GByteArray *input;   /* not yet handed over; bounded by the client's credit */
    gsize writing;       /* bytes of the write under way, 0 for none */
    gboolean input_over; /* the VM has ended */
} Console;

static void pump(Console *self);

static Console *console_ref(Console *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

static void console_unref(Console *self)
{
    if (!g_ref_count_dec(&self->references)) {
        return;
    }
    tbx_console_stream_unref(self->console);
    g_clear_pointer(&self->pending, g_bytes_unref);
    g_byte_array_unref(self->input);
    g_object_unref(self->cancellable);
    tbd_daemon_unref(self->daemon);
    g_free(self->vm);
    g_free(self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Console, console_unref)

/* The channel is over: nothing goes to it any more. */
static void detach(Console *self)
{
    self->channel = NULL;
    g_cancellable_cancel(self->cancellable);
    if (self->console != NULL) {
        tbx_console_stream_close(self->console);
    }
    console_unref(self);
}

/* Ends the channel from here; @error NULL: in order. */
static void finish(Console *self, const GError *error)
{
    TbxStreamChannel *channel = g_steal_pointer(&self->channel);

    if (channel == NULL) {
        return;
    }
    if (error != NULL) {
        tbd_ws_channel_fail(channel, error);
    } else {
        tbx_stream_channel_close(channel, NULL, NULL);
    }
    detach(self);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void on_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Console) self = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_task_propagate_pointer(G_TASK(result), &error);

    self->is_reading = FALSE;
    if (self->channel == NULL) {
        return;
    }
    if (bytes == NULL) {
        finish(self, error);
    } else if (g_bytes_get_size(bytes) == 0) {
        finish(self, NULL);
    } else {
        self->pending = g_steal_pointer(&bytes);
        pump(self);
    }
}

static void send_pending(Console *self)
{
    gsize length;
    const void *data = g_bytes_get_data(self->pending, &length);

    if (tbx_stream_channel_get_room(self->channel) < length) {
        return; /* on_writable() comes back here */
    }
    tbx_stream_channel_send_skipped(self->channel, self->console->skipped - self->skipped);
    self->skipped = self->console->skipped;
    tbx_stream_channel_send(self->channel, TBX_STREAM_BYTES, data, length);
    g_clear_pointer(&self->pending, g_bytes_unref);
}

static void pump(Console *self)
{
    gsize room;

    if (self->pending != NULL) {
        send_pending(self);
    }
    if (self->is_reading || self->pending != NULL) {
        return;
    }
    room = tbx_stream_channel_get_room(self->channel);
    if (room > 0) {
        self->is_reading = TRUE;
        tbx_console_stream_read(self->console, room,
                                g_task_new(NULL, self->cancellable, on_read, console_ref(self)));
    }
}

static void on_writable(TbxStreamChannel *channel, gpointer user_data)
{
    pump(user_data);
}

/* ---- input ----------------------------------------------------------------------------------- */

static void write_input(Console *self);

static void on_written(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Console) self = user_data;
    g_autoptr(GError) error = NULL;
    gboolean written = g_task_propagate_boolean(G_TASK(result), &error);
    gsize length = self->writing;

    self->writing = 0;
    if (self->channel == NULL) {
        return;
    }
    if (written) {
        tbx_stream_channel_consumed(self->channel, length);
        write_input(self);
    } else if (g_error_matches(error, TENBOX_ERROR, TENBOX_ERROR_CLOSED)) {
        self->input_over = TRUE;
        g_byte_array_set_size(self->input, 0);
    } else {
        finish(self, error);
    }
}

static void write_input(Console *self)
{
    g_autoptr(GBytes) bytes = NULL;

    if (self->writing > 0 || self->input->len == 0) {
        return;
    }
    self->writing = MIN(self->input->len, WRITE_MAX);
    bytes = g_bytes_new(self->input->data, self->writing);
    g_byte_array_remove_range(self->input, 0, (guint)self->writing);
    tbx_console_stream_write(self->console, bytes,
                             g_task_new(NULL, self->cancellable, on_written, console_ref(self)));
}

static void on_data(TbxStreamChannel *channel, TbxStreamFrame type, const guint8 *data,
                    gsize length, gpointer user_data)
{
    Console *self = user_data;

    if (type != TBX_STREAM_BYTES) {
        g_autoptr(GError) error =
            tbx_error_new("protocol-error", NULL, "a console takes bytes, not documents");

        finish(self, error);
        return;
    }
    if (!self->input_over) {
        g_byte_array_append(self->input, data, (guint)length);
        write_input(self);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_closed(TbxStreamChannel *channel, const char *code, const char *detail,
                      gpointer user_data)
{
    detach(user_data);
}

static const TbxStreamChannelHandlers handlers = {
    .data = on_data,
    .writable = on_writable,
    .closed = on_closed,
};

/* Until the console is open, only the client's leaving is of interest. */
static const TbxStreamChannelHandlers opening_handlers = {.closed = on_closed};

/* Who has a console may type into the VM: that is for the audit log, also where it does not come to that.
 * @error: (nullable) */
static void note_opened(Console *self, const GError *error)
{
    const TbdEntry entry = {
        .actor = &self->actor,
        .verb = "SUBSCRIBE console",
        .subject = self->vm,
        .code = error != NULL ? tenbox_error_get_code(error) : NULL,
    };

    if (!self->is_read_only) {
        tbd_ledger_add_subscription(tbd_daemon_get_ledger(self->daemon), &entry);
    }
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(Console) self = user_data;
    g_autoptr(GError) error = NULL;

    self->console = g_task_propagate_pointer(G_TASK(result), &error);
    note_opened(self, error);
    if (self->channel == NULL) {
        return;
    }
    if (self->console == NULL) {
        finish(self, error);
        return;
    }
    tbx_stream_channel_accept(self->channel, &handlers, self);
    pump(self);
}

static TenboxConsoleFlags read_flags(JsonObject *options)
{
    TenboxConsoleFlags flags = TENBOX_CONSOLE_FLAGS_NONE;

    if (!json_object_get_boolean_member_with_default(options, "replay", TRUE)) {
        flags |= TENBOX_CONSOLE_FLAGS_NO_REPLAY;
    }
    if (json_object_get_boolean_member_with_default(options, "read_only", FALSE)) {
        flags |= TENBOX_CONSOLE_FLAGS_READ_ONLY;
    }
    if (json_object_get_boolean_member_with_default(options, "writer", FALSE)) {
        flags |= TENBOX_CONSOLE_FLAGS_WRITER;
    }
    if (json_object_get_boolean_member_with_default(options, "force", FALSE)) {
        flags |= TENBOX_CONSOLE_FLAGS_FORCE;
    }
    return flags;
}

void tbd_ws_console_open(TbdDaemon *daemon, TbxStreamChannel *channel, const char *vm,
                         JsonObject *options, const TbdActor *actor)
{
    Console *self;
    g_autofree char *holder = NULL;
    TenboxConsoleFlags flags;

    if (!tbd_ws_check_options(channel, options, "replay|read_only|writer|force")) {
        return;
    }
    holder = g_strdup_printf("process %d of user %u", (int)actor->pid, (guint)actor->uid);
    self = g_new0(Console, 1);
    g_ref_count_init(&self->references);
    self->daemon = tbd_daemon_ref(daemon);
    self->actor = *actor;
    self->vm = g_strdup(vm);
    self->channel = channel;
    flags = read_flags(options);
    self->is_read_only = (flags & TENBOX_CONSOLE_FLAGS_READ_ONLY) != 0;
    self->cancellable = g_cancellable_new();
    self->input = g_byte_array_new();
    tbx_stream_channel_set_handlers(channel, &opening_handlers, self);
    tbx_driver_console_open(tbd_daemon_get_driver(daemon), vm, flags, holder,
                            g_task_new(NULL, self->cancellable, on_opened, console_ref(self)));
}
