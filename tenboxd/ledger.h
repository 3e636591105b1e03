/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens at the socket, kept two ways: as counters, which the metrics show, and as entries of
 * the audit log, for what changes something or was refused.
 *
 * An entry names the client as the kernel does, the route and the VM or operation it was about, what
 * came of it and the request's id. Nothing of a body, a query or a header gets in, so there is no
 * secret to keep. Refusals, requests that came to nothing and consoles are cheap to provoke; of more than
 * TBD_REFUSALS_LOGGED of one user within TBD_REFUSALS_SECONDS only the number gets in, so that they cannot
 * push out what matters.
 */
#pragma once

#include <sys/types.h>

#include "tenboxd/audit.h"

G_BEGIN_DECLS

#define TBD_REFUSALS_LOGGED  100
#define TBD_REFUSALS_SECONDS 60

/* Who is at the other end of a connection, said by the kernel when it was made. */
typedef struct {
    uid_t uid;
    gid_t gid;
    pid_t pid;
} TbdActor;

typedef struct {
    const TbdActor *actor;  /* nullable: nobody knows */
    const char *verb;       /* "POST /v1/vms/{}:start" */
    const char *subject;    /* nullable: what the route's first parameter says */
    guint status;           /* of the answer; 0 for what is no request */
    const char *code;       /* nullable: of what went wrong */
    const char *result;     /* nullable: "failed" if there is a code, else "done" */
    const char *operation;  /* nullable: the id of what was begun */
    const char *request_id; /* nullable */
} TbdEntry;

typedef struct {
    guint64 connections; /* accepted */
    guint64 answers[6];  /* by the first digit of the status */
    guint64 streams;     /* WebSockets that were opened */
    guint64 overruns;    /* channels of events that were cut because nobody read */
} TbdCounters;

typedef struct _TbdLedger TbdLedger;

TbdLedger *tbd_ledger_new(void);
/* Says what is still to be said and closes the log; from here on entries are only counted. */
void tbd_ledger_close(TbdLedger *self);
/* The same. Accepts NULL. */
void tbd_ledger_free(TbdLedger *self);

/* From here on there is a log; without one, entries are only counted. */
void tbd_ledger_set_audit(TbdLedger *self, TbdAudit *audit);
/* (transfer none) (nullable) */
TbdAudit *tbd_ledger_get_audit(TbdLedger *self);

/* (transfer none): to be added to by whoever sees it happen. */
TbdCounters *tbd_ledger_get_counters(TbdLedger *self);

/* How often requests and connections were refused with the code of row @index of the table of
 * errors. */
guint64 tbd_ledger_get_refused(TbdLedger *self, gsize index);

/* A request was answered; @is_change: what it asks for changes something. */
void tbd_ledger_add_answer(TbdLedger *self, const TbdEntry *entry, gboolean is_change);

/* A channel that can change something was asked for; with the code of why there is none. */
void tbd_ledger_add_subscription(TbdLedger *self, const TbdEntry *entry);

/* A request or connection was refused before anybody looked at what it wants. */
void tbd_ledger_add_refusal(TbdLedger *self, const TbdEntry *entry);

G_END_DECLS
