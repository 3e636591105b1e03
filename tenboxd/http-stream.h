/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An answer that is written as it comes to be, and may never end: events, a log that is followed.
 *
 * The connection is taken away from libsoup. There is one piece on its way at a time, and the next one is
 * asked for when the client has taken it: whoever makes the answer keeps a place, not a queue. A client
 * that does not take a piece within the time for answers loses the connection.
 *
 * In HTTP/1.1 the answer is chunked, so that a client can tell its end from a broken connection.
 */
#pragma once

#include "tenboxd/http-request.h"

G_BEGIN_DECLS

/* About how much one piece should have. */
#define TBD_HTTP_STREAM_PIECE (64 * 1024)

typedef struct _TbdHttpStream TbdHttpStream;

typedef struct {
    /* The client can take more: append to @out, or call tbd_http_stream_end(), or do neither and call
     * tbd_http_stream_wake() when there is something. */
    void (*fill)(TbdHttpStream *stream, GString *out, gpointer user_data);
    /* Over: the end was written, the client has left or did not read, or it never came to a beginning
     * (then @stream is NULL). Called once, last; @stream is freed on return. */
    void (*closed)(TbdHttpStream *stream, gpointer user_data);
    /* Nullable: the daemon begins to end. Should call tbd_http_stream_end(), as is done without it. */
    void (*quitting)(TbdHttpStream *stream, gpointer user_data);
} TbdHttpStreamHandlers;

/**
 * tbd_http_stream_begin:
 * @request: (transfer full)
 * @content_type: of the answer
 * @handlers: const table
 * @begun: (nullable): called with the stream when the head has been written, before anything else
 * @user_data: for @handlers and @begun
 *
 * Answers 200, or that the user has too many streams. A HEAD request gets the head alone: then, as after
 * a refusal, only `closed` is called.
 */
void tbd_http_stream_begin(TbdRequest *request, const char *content_type,
                           const TbdHttpStreamHandlers *handlers,
                           void (*begun)(TbdHttpStream *stream, gpointer user_data),
                           gpointer user_data);

/* There is something to fill in. May be called at any time; `fill` is called from the main loop or from
 * inside this call. */
void tbd_http_stream_wake(TbdHttpStream *self);

/* Nothing more is asked for; @last (nullable) is the last of it. Idempotent: the first call counts. */
void tbd_http_stream_end(TbdHttpStream *self, const char *last);

G_END_DECLS
