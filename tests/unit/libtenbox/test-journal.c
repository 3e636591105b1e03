/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: numbering, both of its bounds, finding a position; and the sink that replays from it.
 */
#include <string.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

static TbxVmRecord *new_vm(gsize description_size)
{
    TbxVmRecord *vm = tbx_vm_record_new();

    vm->id = g_strdup("aaaaaaaa-1111-4111-8111-111111111111");
    vm->name = g_strdup("a");
    vm->state = TENBOX_VM_STATE_STOPPED;
    vm->cmdline = g_strdup("");
    vm->kernel = g_strdup("kernel");
    vm->description = g_strnfill(description_size, 'x');
    return vm;
}

static void append(TbxJournal *journal, gsize description_size)
{
    g_autoptr(TbxEventRecord) event = tbx_event_record_new();

    event->time = g_get_real_time();
    event->type = g_strdup(TBX_EVENT_VM_CHANGED);
    event->vm = new_vm(description_size);
    event->vm_id = g_strdup(event->vm->id);
    tbx_journal_append(journal, event);
}

static void test_numbers(void)
{
    g_autoptr(TbxJournal) journal = tbx_journal_new();
    g_autoptr(TbxJournal) other = tbx_journal_new();
    g_autoptr(GError) error = NULL;
    gsize length;

    g_assert_cmpstr(tbx_journal_get_epoch(journal), !=, tbx_journal_get_epoch(other));
    g_assert_cmpint(tbx_journal_get_sequence(journal), ==, 0);
    g_assert_cmpint(tbx_journal_get_oldest(journal), ==, 1);
    g_assert_null(tbx_journal_get(journal, 0));
    g_assert_null(tbx_journal_get(journal, 1));
    for (gint64 i = 1; i <= TBX_JOURNAL_ENTRIES_MAX + 10; i++) {
        append(journal, 1);
        g_assert_cmpint(tbx_journal_get_sequence(journal), ==, i);
        g_assert_cmpint(tbx_journal_get(journal, i)->sequence, ==, i);
        g_assert_cmpstr(tbx_journal_get(journal, i)->epoch, ==, tbx_journal_get_epoch(journal));
    }
    g_assert_cmpint(tbx_journal_get_oldest(journal), ==, 11);
    g_assert_null(tbx_journal_get(journal, 10));
    g_assert_nonnull(tbx_journal_get(journal, 11));
    g_assert_null(tbx_journal_get(journal, TBX_JOURNAL_ENTRIES_MAX + 11));

    /* The text is the entry. */
    const char *text = tbx_journal_get_text(journal, 4000, &length);
    g_assert_cmpuint(strlen(text), ==, length);
    g_autoptr(JsonObject) object = tbx_json_guard_parse_object(text, length, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_object_get_int_member(object, "sequence"), ==, 4000);
    g_assert_null(tbx_journal_get_text(journal, 10, &length));
}

static void test_bytes(void)
{
    g_autoptr(TbxJournal) journal = tbx_journal_new();

    for (int i = 0; i < 300; i++) {
        append(journal, 60000);
        g_assert_cmpuint(tbx_journal_get_size(journal), <=, TBX_JOURNAL_BYTES_MAX);
    }
    gint64 kept = tbx_journal_get_sequence(journal) - tbx_journal_get_oldest(journal) + 1;
    g_assert_cmpint(kept, <=, TBX_JOURNAL_BYTES_MAX / 60000);
    g_assert_cmpint(kept, >=, TBX_JOURNAL_BYTES_MAX / 61000);

    /* The newest is kept whatever its size, and nothing else beside it. */
    append(journal, TBX_JOURNAL_BYTES_MAX + 1);
    g_assert_cmpint(tbx_journal_get_oldest(journal), ==, 301);
    append(journal, 1);
    g_assert_cmpint(tbx_journal_get_oldest(journal), ==, 302);
    g_assert_cmpuint(tbx_journal_get_size(journal), <, 1000);
}

static void test_find(void)
{
    g_autoptr(TbxJournal) journal = tbx_journal_new();
    const char *epoch = tbx_journal_get_epoch(journal);
    const struct {
        gint64 since, next;
        gboolean is_resync;
    } rows[] = {
        /* 10 to 4105 are kept */
        {4105, 4106, FALSE}, {4104, 4105, FALSE}, {9, 10, FALSE},           {8, 4106, TRUE},
        {0, 4106, TRUE},     {4106, 4106, TRUE},  {G_MAXINT64, 4106, TRUE},
    };
    static const char *const wrong[] = {"", ":", ":1", "1", "e:", "e:-1", "e: 1", "e:1x", "e:0x1"};
    gint64 next;

    for (int i = 0; i < TBX_JOURNAL_ENTRIES_MAX + 9; i++)
        append(journal, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(TbxEventRecord) resync = NULL;
        g_autofree char *since = g_strdup_printf("%s:%" G_GINT64_FORMAT, epoch, rows[i].since);
        g_assert_true(tbx_journal_find(journal, since, &next, &resync, NULL));
        g_assert_cmpint(next, ==, rows[i].next);
        g_assert_cmpint(resync != NULL, ==, rows[i].is_resync);
        if (resync) {
            g_assert_cmpstr(resync->type, ==, "resync");
            g_assert_cmpint(resync->sequence, ==, next - 1);
            g_assert_cmpstr(resync->epoch, ==, epoch);
        }
    }
    g_autoptr(TbxEventRecord) other = NULL;
    g_assert_true(tbx_journal_find(journal, "another:4000", &next, &other, NULL));
    g_assert_nonnull(other);
    g_autoptr(TbxEventRecord) none = NULL;
    g_assert_true(tbx_journal_find(journal, NULL, &next, &none, NULL));
    g_assert_null(none);
    g_assert_cmpint(next, ==, 4106);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TbxEventRecord) nothing = NULL;
        g_assert_false(tbx_journal_find(journal, wrong[i], &next, &nothing, &error));
        g_assert_cmpstr(tenbox_error_get_code(error), ==, "field-invalid");
        g_assert_cmpstr(tenbox_error_get_field(error), ==, "since");
    }
}

/* ---- the sink ----------------------------------------------------------------------------- */

typedef struct {
    TbxEventSink *sink;
    GString *seen;
    gboolean answers; /* emits one more when it hears the first */
} Listener;

static void on_event(TbxEventRecord *event, gpointer user_data)
{
    Listener *listener = user_data;
    g_autofree char *position = tbx_event_sink_dup_position(listener->sink);

    g_string_append_printf(listener->seen, "%s %" G_GINT64_FORMAT "\n", event->type,
                           event->sequence);
    g_assert_true(g_str_has_prefix(position, event->epoch));
    g_assert_cmpint(g_ascii_strtoll(strrchr(position, ':') + 1, NULL, 10), ==, event->sequence);
    if (listener->answers) {
        listener->answers = FALSE;
        tbx_event_sink_emit(listener->sink, "host.rebooted", NULL, NULL);
    }
}

static void assert_seen(Listener *listener, const char *expected)
{
    g_assert_cmpstr(listener->seen->str, ==, expected);
    g_string_truncate(listener->seen, 0);
}

static void test_sink(void)
{
    static const TbxEventSinkHandlers handlers = {.event = on_event};
    g_autoptr(GString) seen = g_string_new(NULL);
    Listener listener = {.seen = seen};
    g_autoptr(TbxEventSink) sink = tbx_event_sink_new(&handlers, &listener);
    g_autoptr(TbxVmRecord) vm = new_vm(1);
    g_autoptr(GError) error = NULL;

    listener.sink = sink;
    g_assert_null(tbx_event_sink_dup_position(sink));
    g_assert_true(tbx_event_sink_replay(sink, NULL, NULL));
    g_autofree char *start = tbx_event_sink_dup_position(sink);
    g_assert_true(g_str_has_suffix(start, ":0"));
    for (int i = 0; i < 3; i++)
        tbx_event_sink_emit(sink, TBX_EVENT_VM_CHANGED, vm, NULL);
    assert_seen(&listener, "vm.changed 1\nvm.changed 2\nvm.changed 3\n");

    g_assert_true(tbx_event_sink_replay(sink, start, NULL));
    assert_seen(&listener, "vm.changed 1\nvm.changed 2\nvm.changed 3\n");
    /* What is caused by a replayed one is delivered once, too. */
    listener.answers = TRUE;
    g_assert_true(tbx_event_sink_replay(sink, start, NULL));
    assert_seen(&listener, "vm.changed 1\nhost.rebooted 4\nvm.changed 2\nvm.changed 3\n");
    g_assert_true(tbx_event_sink_replay(sink, "elsewhere:1", NULL));
    assert_seen(&listener, "resync 4\n");
    g_assert_false(tbx_event_sink_replay(sink, "nowhere", &error));
    g_assert_cmpstr(tenbox_error_get_code(error), ==, "field-invalid");
    assert_seen(&listener, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/journal/numbers", test_numbers);
    g_test_add_func("/journal/bytes", test_bytes);
    g_test_add_func("/journal/find", test_find);
    g_test_add_func("/journal/sink", test_sink);
    return g_test_run();
}
