/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of everything a client may have: the one table. What is a knob of tenboxd.conf has its
 * default and its range here too; GET /v1/system shows the numbers in force as `limits`, and a test
 * goes to each of them and one further.
 */
#pragma once

#include "libtenbox/driver/journal.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/stream.h"
#include "libtenbox/wire/websocket.h"
#include "libtenbox/wire/wire-operation.h"

/* ---- connections: knobs, each with its default ------------------------------------------------ */

#define TBD_CONNECTIONS          512 /* open at the same time, by anybody */
#define TBD_CONNECTIONS_PER_USER 256 /* the same, of one user of the host */
#define TBD_HEAD_SECONDS         10  /* from accept() to the end of the head */
#define TBD_BODY_SECONDS         30  /* from the end of the head to the end of the body */
#define TBD_ANSWER_SECONDS       60  /* for the client to take the answer */

/* ---- connections: fixed ----------------------------------------------------------------------- */

#define TBD_BACKLOG                 256
/* Of `connections`, kept from the members of the socket's group, for root and the daemon's own user;
 * a quarter if that is less. */
#define TBD_CONNECTIONS_FOR_OWNER   16
#define TBD_REQUESTS_PER_CONNECTION 1
#define TBD_ACCEPT_PAUSE_SECONDS    1  /* after accept() found no descriptors */
#define TBD_REFUSED_MAX             16 /* turned away, kept until they have read why */
#define TBD_REFUSED_SECONDS         2  /* how long */

/* ---- one request ------------------------------------------------------------------------------ */

#define TBD_HEAD_SIZE_MAX     (16 * 1024)
#define TBD_HEAD_FIELDS_MAX   64
#define TBD_TARGET_SIZE_MAX   4096
#define TBD_BODY_SIZE_MAX     TBX_JSON_SIZE_MAX
/* Of all bodies that are on their way, until they are parsed. One of up to TBD_BODY_SMALL_MAX does not
 * count, so that nobody can keep others from what is usual; one in chunks counts as it comes. Members of
 * the socket's group have a half together, and one of them a quarter. */
#define TBD_BODIES_SIZE_MAX   (16 * 1024 * 1024)
#define TBD_BODY_SMALL_MAX    (64 * 1024)
#define TBD_REQUEST_ID_MAX    64
#define TBD_AUDIT_ENTRIES_MAX 1000
#define TBD_LOG_LINES_MAX     100000 /* what ?lines= may ask for; a log has at most 1 MiB of them */

#define TBD_HEARTBEAT_SECONDS     15   /* between two signs of life of a stream of events */
#define TBD_HEARTBEAT_SECONDS_MAX 3600 /* what ?heartbeat= may ask for */

/* ---- idempotency keys, see idempotency.h ----------------------------------------------------- */

#define TBD_KEYS_MAX       1000
#define TBD_KEYS_SECONDS   G_GINT64_CONSTANT(86400)
#define TBD_KEYS_BYTES_MAX (4 * 1024 * 1024)
#define TBD_KEYS_BODY_MAX  (256 * 1024) /* a longer answer is repeated without its body */
#define TBD_KEY_SIZE_MAX   255

/* ---- streams ---------------------------------------------------------------------------------- */

/* WebSockets, and answers that go on, of one user; half of the user's connections if that is less. */
#define TBD_STREAMS_PER_USER_MAX 128
/* What may wait for a client that reads events: what the journal keeps for all of them. */
#define TBD_EVENTS_QUEUE_MAX     TBX_JOURNAL_ENTRIES_MAX
#define TBD_EVENTS_SIZE_MAX      TBX_JOURNAL_BYTES_MAX
