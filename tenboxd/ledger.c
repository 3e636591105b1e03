/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counters and entries; see ledger.h.
 */
#include "tenboxd/ledger.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-field.h"

#define SUBJECT_MAX 128

struct _TbdLedger {
    TbdAudit *audit; /* nullable */
    TbdCounters counters;
    guint64 *refused; /* by row of the table of errors */
    /* Refusals of the present stretch of time. */
    gint64 stretch_began;
    guint logged;
    guint64 unlogged;
};

TbdLedger *tbd_ledger_new(void)
{
    TbdLedger *self = g_new0(TbdLedger, 1);
    gsize count;

    tbx_error_kinds(&count);
    self->refused = g_new0(guint64, count);
    return self;
}

void tbd_ledger_free(TbdLedger *self)
{
    if (self == NULL) {
        return;
    }
    tbd_audit_close(self->audit);
    g_free(self->refused);
    g_free(self);
}

void tbd_ledger_set_audit(TbdLedger *self, TbdAudit *audit)
{
    self->audit = audit;
}

TbdAudit *tbd_ledger_get_audit(TbdLedger *self)
{
    return self->audit;
}

TbdCounters *tbd_ledger_get_counters(TbdLedger *self)
{
    return &self->counters;
}

guint64 tbd_ledger_get_refused(TbdLedger *self, gsize index)
{
    return self->refused[index];
}

/* ---- entries ---------------------------------------------------------------------------------- */

/* Whole characters of @text, as many as an entry has room for. */
static char *shorten(const char *text)
{
    const char *end = text + strnlen(text, SUBJECT_MAX);

    while (end > text && (*end & 0xc0) == 0x80) {
        end--;
    }
    return g_utf8_make_valid(text, end - text);
}

static JsonObject *describe_actor(const TbdActor *actor)
{
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "uid", actor->uid);
    json_object_set_int_member(object, "gid", actor->gid);
    json_object_set_int_member(object, "pid", actor->pid);
    return object;
}

static void append(TbdLedger *self, const TbdEntry *entry, const char *result)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *time = tbx_time_format(g_get_real_time());
    g_autofree char *subject = entry->subject != NULL ? shorten(entry->subject) : NULL;

    json_object_set_string_member(object, "time", time);
    json_object_set_string_member(object, "request_id", entry->request_id);
    if (entry->actor != NULL) {
        json_object_set_object_member(object, "actor", describe_actor(entry->actor));
    } else {
        json_object_set_null_member(object, "actor");
    }
    json_object_set_string_member(object, "verb", entry->verb);
    json_object_set_string_member(object, "subject", subject);
    json_object_set_string_member(object, "result", result);
    if (entry->status != 0) {
        json_object_set_int_member(object, "status", entry->status);
    } else {
        json_object_set_null_member(object, "status");
    }
    json_object_set_string_member(object, "code", entry->code);
    json_object_set_string_member(object, "operation", entry->operation);
    if (self->audit != NULL) {
        tbd_audit_append(self->audit, object);
    }
}

static const char *result_of(const TbdEntry *entry)
{
    return entry->result != NULL ? entry->result : entry->code != NULL ? "failed" : "done";
}

/* The number of refusals that got no entry of their own. */
static void append_unlogged(TbdLedger *self)
{
    g_autofree char *subject =
        g_strdup_printf("%" G_GUINT64_FORMAT " refusals without entries", self->unlogged);
    const TbdEntry entry = {.verb = "REFUSALS", .subject = subject};

    self->unlogged = 0;
    append(self, &entry, "refused");
}

void tbd_ledger_add_answer(TbdLedger *self, const TbdEntry *entry, gboolean is_change)
{
    self->counters.answers[MIN(entry->status / 100, 5)]++;
    g_debug("request %s: %s %s: %u %s", entry->request_id, entry->verb,
            entry->subject != NULL ? entry->subject : "", entry->status,
            entry->code != NULL ? entry->code : "");
    if (is_change) {
        append(self, entry, result_of(entry));
    }
}

void tbd_ledger_add_change(TbdLedger *self, const TbdEntry *entry)
{
    append(self, entry, "done");
}

void tbd_ledger_add_refusal(TbdLedger *self, const TbdEntry *entry)
{
    gint64 now = g_get_monotonic_time();
    const TbxErrorKind *kind = tbx_error_kind_lookup(entry->code);
    gsize count;
    const TbxErrorKind *kinds = tbx_error_kinds(&count);

    self->counters.answers[MIN(entry->status / 100, 5)]++;
    if (kind != NULL) {
        self->refused[kind - kinds]++;
    }
    if (self->stretch_began == 0 ||
        now - self->stretch_began > TBD_REFUSALS_SECONDS * G_USEC_PER_SEC) {
        self->stretch_began = now;
        self->logged = 0;
        if (self->unlogged > 0) {
            append_unlogged(self);
        }
    }
    if (self->logged >= TBD_REFUSALS_LOGGED) {
        self->unlogged++;
        return;
    }
    self->logged++;
    append(self, entry, "refused");
}
