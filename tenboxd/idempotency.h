/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Idempotency keys: a client that does not know whether its POST arrived sends it again with the same
 * key, and it is done once.
 *
 * What a request makes - a VM, an operation - gets its id before it is made, and key and id are written
 * down before the request is worked on. So a daemon that comes after one which was killed in the middle
 * looks whether there is such a VM or operation, and knows what became of the request. The answer to one
 * that succeeded is kept with the key. What was refused has changed nothing: its key is forgotten.
 *
 * Keys belong to the user who sent them. TBD_KEYS_MAX of them are kept, for TBD_KEYS_SECONDS, with at most
 * TBD_KEYS_BYTES_MAX bytes of answers; the oldest go first. They are in idempotency.jsonl, see
 * libtenbox/local/line-log.h.
 */
#pragma once

#include "tenboxd/http-handlers.h"

G_BEGIN_DECLS

#define TBD_KEYS_FILE "idempotency.jsonl"

TbdIdempotency *tbd_idempotency_new(void);
/* Accepts NULL. */
void tbd_idempotency_free(TbdIdempotency *self);

/* Loads what an earlier daemon left in @data_folder and writes there from now on. */
gboolean tbd_idempotency_open(TbdIdempotency *self, const char *data_folder, GError **error);
/* The folder may be another daemon's from here on. */
void tbd_idempotency_close(TbdIdempotency *self);

/**
 * tbd_idempotency_dispatch:
 * @request: (transfer full): a POST whose body has been read
 * @handler: what works on it
 * @makes_vm: it makes a VM; otherwise an operation
 *
 * Calls @handler, unless the request has a key that says otherwise.
 */
void tbd_idempotency_dispatch(TbdIdempotency *self, TbdRequest *request, TbdHandler handler,
                              gboolean makes_vm);

/* The id for what the request of @key makes. */
const char *tbd_key_get_target(const TbdKey *key);

/* The request of @key is being answered: the key has done its work. */
void tbd_key_answered(TbdKey *key, guint status, const char *code, const char *location,
                      const char *etag, GBytes *body);

G_END_DECLS
