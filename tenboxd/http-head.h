/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The head of a request, read by the grammar of RFC 9112 and nothing more generous, before libsoup
 * sees a byte of it.
 *
 * Parsers that forgive differ in what they forgive, and between two of them requests are smuggled:
 * libsoup 3.2 takes several Hosts, makes the target from a Host with a path in it, ends lines at LF,
 * folds fields, serves absolute targets, drops fragments and resolves dot segments, and newer ones
 * do some of that otherwise. So what is not plain is refused here, the same with every libsoup:
 *
 *     METHOD SP target SP HTTP/1.x CRLF  *( name ":" value CRLF )  CRLF
 *
 * with a target that begins with a slash and has no dot segment, exactly one Host that names this
 * machine, at most one Content-Length or Transfer-Encoding (chunked, in HTTP/1.1), no
 * Content-Encoding, and no mark of a browser or a proxy: whoever may open the Unix socket is its
 * owner, so a program that carries other people's requests to it would make everybody the owner.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct {
    char *method;     /* NULL when not even that could be read */
    char *path;       /* as it was sent: still encoded */
    char *query;      /* nullable: the same */
    char *request_id; /* nullable: the client's, when it is harmless */
    gboolean is_chunked;
    gboolean wants_upgrade; /* a GET without a body that asks for a WebSocket */
    guint64 length;         /* of the body, unless it is chunked */
} TbdHead;

void tbd_head_clear(TbdHead *self);

/**
 * tbd_head_find_end:
 * @data: what has arrived
 * @length: its length
 * @error: "request-invalid" when it cannot become a head any more
 *
 * Looks for the empty line, and as early as possible for what no head has: a byte that is neither
 * text nor the end of a line, or more bytes than a head may have.
 *
 * Returns: the length of the head with its empty line; 0 when that has not come yet, or @error is set
 */
gsize tbd_head_find_end(const char *data, gsize length, GError **error);

/**
 * tbd_head_parse:
 * @data: a head with its empty line
 * @length: its length
 * @ret_head: what it says, as far as it was read, on failure too; end with tbd_head_clear()
 * @error: "request-invalid" with the field as field, "forbidden" for marks, "host-not-allowed",
 *   "method-not-allowed", "not-found", "body-too-large"
 */
gboolean tbd_head_parse(const char *data, gsize length, TbdHead *ret_head, GError **error);

G_END_DECLS
