/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of entries, each with its text; see journal.h. Entry number N is in slot N modulo the ring's
 * size, so looking one up is no search.
 */
#include "libtenbox/driver/journal.h"

#include <string.h>

#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* What a position may be at most: far beyond what is made here, small enough to be copied. */
#define EPOCH_SIZE_MAX 64

typedef struct {
    TbxEventRecord *event;
    char *text;
    gsize length;
} Entry;

struct _TbxJournal {
    char *epoch;
    gint64 sequence; /* of the newest */
    gint64 oldest;   /* number of the oldest that is kept */
    gsize size;      /* of all texts */
    Entry *entries;  /* TBX_JOURNAL_ENTRIES_MAX of them; NULL before the first */
};

static Entry *slot(TbxJournal *self, gint64 sequence)
{
    return &self->entries[sequence % TBX_JOURNAL_ENTRIES_MAX];
}

static void drop_oldest(TbxJournal *self)
{
    Entry *entry = slot(self, self->oldest++);

    self->size -= entry->length;
    g_clear_pointer(&entry->text, g_free);
    g_clear_pointer(&entry->event, tbx_event_record_unref);
    entry->length = 0;
}

TbxJournal *tbx_journal_new(void)
{
    TbxJournal *self = g_new0(TbxJournal, 1);

    self->epoch = g_uuid_string_random();
    self->oldest = 1;
    return self;
}

void tbx_journal_free(TbxJournal *self)
{
    if (!self)
        return;
    while (self->oldest <= self->sequence)
        drop_oldest(self);
    g_free(self->entries);
    g_free(self->epoch);
    g_free(self);
}

const char *tbx_journal_get_epoch(TbxJournal *self)
{
    return self->epoch;
}

gint64 tbx_journal_get_sequence(TbxJournal *self)
{
    return self->sequence;
}

gint64 tbx_journal_get_oldest(TbxJournal *self)
{
    return self->oldest;
}

gsize tbx_journal_get_size(TbxJournal *self)
{
    return self->size;
}

char *tbx_journal_dup_position(TbxJournal *self)
{
    return g_strdup_printf("%s:%" G_GINT64_FORMAT, self->epoch, self->sequence);
}

static gboolean is_kept(TbxJournal *self, gint64 sequence)
{
    return sequence >= self->oldest && sequence <= self->sequence;
}

void tbx_journal_append(TbxJournal *self, TbxEventRecord *event)
{
    if (!self->entries)
        self->entries = g_new0(Entry, TBX_JOURNAL_ENTRIES_MAX);
    if (self->sequence - self->oldest + 1 == TBX_JOURNAL_ENTRIES_MAX)
        drop_oldest(self);

    event->sequence = ++self->sequence;
    g_free(event->epoch);
    event->epoch = g_strdup(self->epoch);

    g_autoptr(JsonObject) object = tbx_event_record_to_json(event);
    Entry *entry = slot(self, self->sequence);
    entry->event = tbx_event_record_ref(event);
    entry->text = tbx_json_print_object(object, &entry->length);
    self->size += entry->length;
    while (self->size > TBX_JOURNAL_BYTES_MAX && self->oldest < self->sequence)
        drop_oldest(self);
}

TbxEventRecord *tbx_journal_get(TbxJournal *self, gint64 sequence)
{
    return is_kept(self, sequence) ? slot(self, sequence)->event : NULL;
}

const char *tbx_journal_get_text(TbxJournal *self, gint64 sequence, gsize *ret_length)
{
    if (!is_kept(self, sequence))
        return NULL;
    *ret_length = slot(self, sequence)->length;
    return slot(self, sequence)->text;
}

/* An entry that stands beside the journal: at its present position, about nothing. */
static TbxEventRecord *make_aside(TbxJournal *self, const char *type)
{
    TbxEventRecord *event = tbx_event_record_new();

    event->sequence = self->sequence;
    event->epoch = g_strdup(self->epoch);
    event->time = g_get_real_time();
    event->type = g_strdup(type);
    return event;
}

TbxEventRecord *tbx_journal_make_heartbeat(TbxJournal *self)
{
    return make_aside(self, TBX_EVENT_HEARTBEAT);
}

gboolean tbx_journal_parse_position(const char *position, char **ret_epoch, gint64 *ret_sequence,
                                    GError **error)
{
    const char *colon = strrchr(position, ':');
    guint64 sequence;

    if (!colon || colon == position || colon - position > EPOCH_SIZE_MAX ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 0, G_MAXINT64, &sequence, NULL)) {
        tbx_error_set(error, "field-invalid", "since",
                      "since is a position in the journal, EPOCH:SEQUENCE, as events tell both");
        return FALSE;
    }
    *ret_epoch = g_strndup(position, (gsize)(colon - position));
    *ret_sequence = (gint64)sequence;
    return TRUE;
}

gboolean tbx_journal_find(TbxJournal *self, const char *since, gint64 *ret_next,
                          TbxEventRecord **ret_resync, GError **error)
{
    g_autofree char *epoch = NULL;
    gint64 sequence;

    *ret_next = self->sequence + 1;
    *ret_resync = NULL;
    if (!since)
        return TRUE;
    if (!tbx_journal_parse_position(since, &epoch, &sequence, error))
        return FALSE;
    if (strcmp(epoch, self->epoch) == 0 && sequence <= self->sequence &&
        sequence + 1 >= self->oldest)
        *ret_next = sequence + 1;
    else
        *ret_resync = make_aside(self, TBX_EVENT_RESYNC);
    return TRUE;
}
