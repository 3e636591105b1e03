/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: what happened lately, numbered, so that a follower who was away can go on where it was.
 *
 * A journal is one run of a driver: it has an epoch (a UUID made at its birth), and numbers its entries
 * from 1 without a gap. "EPOCH:SEQUENCE" is a position: all entries up to that one have been seen. The
 * newest entries are kept, TBX_JOURNAL_ENTRIES_MAX of them and at most TBX_JOURNAL_BYTES_MAX bytes of
 * JSON text, whichever is less; the newest one is kept in any case.
 *
 * Followers keep a number, not a queue: the journal is the one buffer for all of them, and who falls
 * behind its oldest entry has lost the thread. So a follower that does not read costs nothing.
 *
 * Main context of the driver only.
 */
#pragma once

#include "libtenbox/wire/wire-event.h"

G_BEGIN_DECLS

#define TBX_JOURNAL_ENTRIES_MAX 4096
#define TBX_JOURNAL_BYTES_MAX   (4 * 1024 * 1024)

typedef struct _TbxJournal TbxJournal;

TbxJournal *tbx_journal_new(void);
/* Accepts NULL. */
void tbx_journal_free(TbxJournal *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxJournal, tbx_journal_free)

const char *tbx_journal_get_epoch(TbxJournal *self);
/* Number of the newest entry; 0 before the first. */
gint64 tbx_journal_get_sequence(TbxJournal *self);
/* Number of the oldest entry kept; get_sequence() + 1 when none is. */
gint64 tbx_journal_get_oldest(TbxJournal *self);
/* Bytes of text kept. */
gsize tbx_journal_get_size(TbxJournal *self);
/* (transfer full): the present position. */
char *tbx_journal_dup_position(TbxJournal *self);

/* Stamps epoch and sequence on @event, which nobody else knows yet, and keeps a reference. */
void tbx_journal_append(TbxJournal *self, TbxEventRecord *event);

/* (transfer none) (nullable): entry number @sequence while it is kept. */
TbxEventRecord *tbx_journal_get(TbxJournal *self, gint64 sequence);
/* (transfer none) (nullable): the same as JSON text, made once for all who want it. */
const char *tbx_journal_get_text(TbxJournal *self, gint64 sequence, gsize *ret_length);

/**
 * tbx_journal_find:
 * @since: (nullable): a position; NULL for the present one
 * @ret_next: (out): the first entry that the follower is to get
 * @ret_resync: (out) (transfer full) (nullable): what it has to be told before
 * @error: return location
 *
 * Where somebody goes on who has seen all up to @since. When that is not possible - another epoch, or
 * entries that are not kept any more - it goes on at the present position, and an entry of the type
 * "resync" says so: its sequence is that position, so that the next entry's is again one more.
 *
 * Returns: FALSE with "field-invalid" (field "since") when @since is no position
 */
gboolean tbx_journal_find(TbxJournal *self, const char *since, gint64 *ret_next,
                          TbxEventRecord **ret_resync, GError **error);

/* (transfer full): an entry that tells where the journal stands and nothing else ("heartbeat"). It is not
 * kept and does not count. */
TbxEventRecord *tbx_journal_make_heartbeat(TbxJournal *self);

/* Takes "EPOCH:SEQUENCE" apart; FALSE with "field-invalid" (field "since"). */
gboolean tbx_journal_parse_position(const char *position, char **ret_epoch, gint64 *ret_sequence,
                                    GError **error);

G_END_DECLS
