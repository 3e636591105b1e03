/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counters and entries; see ledger.h.
 */
#include "tenboxd/ledger.h"

#include <string.h>

#include "libtenbox/wire/source.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-field.h"

#define SUBJECT_MAX 128

struct _TbdLedger {
    TbdAudit *audit; /* nullable */
    TbdCounters counters;
    guint64 *refused;        /* by row of the table of errors */
    GHashTable *quotas;      /* uid → Quota, of the present stretch of time */
    GSource *stretch_source; /* nullable: while there are any; its end */
};

/* What a user provoked that changed nothing. */
typedef struct {
    guint logged;
    guint64 unlogged;
    TbdActor actor; /* the last that got no entry */
} Quota;

TbdLedger *tbd_ledger_new(void)
{
    TbdLedger *self = g_new0(TbdLedger, 1);
    gsize count;

    tbx_error_kinds(&count);
    self->refused = g_new0(guint64, count);
    self->quotas = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return self;
}

void tbd_ledger_free(TbdLedger *self)
{
    if (self == NULL) {
        return;
    }
    tbd_ledger_close(self);
    g_hash_table_unref(self->quotas);
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

/* ---- what is cheap to provoke ----------------------------------------------------------------- */

/* For each user the number of what got no entry of its own; a new stretch of time may begin. */
static void end_stretch(TbdLedger *self)
{
    GHashTableIter iter;
    gpointer value;

    tbx_source_clear(&self->stretch_source);
    g_hash_table_iter_init(&iter, self->quotas);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Quota *quota = value;
        g_autofree char *subject =
            g_strdup_printf("%" G_GUINT64_FORMAT " without entries", quota->unlogged);
        const TbdEntry entry = {.actor = &quota->actor, .verb = "REFUSALS", .subject = subject};

        if (quota->unlogged > 0) {
            append(self, &entry, "refused");
        }
    }
    g_hash_table_remove_all(self->quotas);
}

static gboolean on_stretch_over(gpointer user_data)
{
    end_stretch(user_data);
    return G_SOURCE_REMOVE;
}

/* An entry if its user has not had too many. */
static void append_within_quota(TbdLedger *self, const TbdEntry *entry, const char *result)
{
    uid_t uid = entry->actor != NULL ? entry->actor->uid : (uid_t)-1;
    Quota *quota = g_hash_table_lookup(self->quotas, GUINT_TO_POINTER(uid));

    if (quota == NULL) {
        quota = g_new0(Quota, 1);
        g_hash_table_insert(self->quotas, GUINT_TO_POINTER(uid), quota);
    }
    if (self->stretch_source == NULL) {
        self->stretch_source = g_timeout_source_new_seconds(TBD_REFUSALS_SECONDS);
        g_source_set_callback(self->stretch_source, on_stretch_over, self, NULL);
        g_source_attach(self->stretch_source, g_main_context_get_thread_default());
    }
    if (quota->logged < TBD_REFUSALS_LOGGED) {
        quota->logged++;
        append(self, entry, result);
        return;
    }
    quota->unlogged++;
    if (entry->actor != NULL) {
        quota->actor = *entry->actor;
    }
}

void tbd_ledger_close(TbdLedger *self)
{
    end_stretch(self);
    tbd_audit_close(g_steal_pointer(&self->audit));
}

/* ---- what happens ----------------------------------------------------------------------------- */

void tbd_ledger_add_answer(TbdLedger *self, const TbdEntry *entry, gboolean is_change)
{
    self->counters.answers[MIN(entry->status / 100, 5)]++;
    g_debug("request %s: %s %s: %u %s", entry->request_id, entry->verb,
            entry->subject != NULL ? entry->subject : "", entry->status,
            entry->code != NULL ? entry->code : "");
    if (is_change && entry->status >= 400 && entry->status < 500) {
        append_within_quota(self, entry, result_of(entry));
    } else if (is_change) {
        append(self, entry, result_of(entry));
    }
}

void tbd_ledger_add_subscription(TbdLedger *self, const TbdEntry *entry)
{
    append_within_quota(self, entry, result_of(entry));
}

void tbd_ledger_add_refusal(TbdLedger *self, const TbdEntry *entry)
{
    const TbxErrorKind *kind = tbx_error_kind_lookup(entry->code);
    gsize count;
    const TbxErrorKind *kinds = tbx_error_kinds(&count);

    self->counters.answers[MIN(entry->status / 100, 5)]++;
    if (kind != NULL) {
        self->refused[kind - kinds]++;
    }
    append_within_quota(self, entry, "refused");
}
