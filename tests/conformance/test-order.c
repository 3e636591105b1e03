/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is told when: events and answers, two connections, objects after their VM or connection has gone. */
#include <string.h>

#include "tests/conformance/harness.h"

/* What a watched connection says about VMs, as words. */
typedef struct {
    GString *words;
    guint64 last_sequence;
} Story;

static void on_event(TenboxConnection *connection, TenboxEvent *event, gpointer user_data)
{
    Story *story = user_data;
    g_autofree char *json = tenbox_event_dup_json(event);

    if (story->last_sequence > 0)
        g_assert_cmpuint(tenbox_event_get_sequence(event), ==, story->last_sequence + 1);
    story->last_sequence = tenbox_event_get_sequence(event);
    g_assert_nonnull(strstr(json, tenbox_event_get_event_type(event)));
    if (g_str_equal(tenbox_event_get_event_type(event), "vm.state")) {
        const char *state = strstr(json, "\"state\":\"");
        const char *end = state ? strchr(state + 9, '"') : NULL;

        g_assert_nonnull(end);
        g_string_append_len(story->words, state + 9, end - state - 9);
        g_string_append_c(story->words, ' ');
    } else if (!g_str_has_prefix(tenbox_event_get_event_type(event), "operation.") &&
               !g_str_equal(tenbox_event_get_event_type(event), "vm.changed")) {
        g_string_append_printf(story->words, "%s ", tenbox_event_get_event_type(event));
    }
}

static void story_clear(Story *story)
{
    if (story->words)
        g_string_free(story->words, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Story, story_clear)

/* Each step is told before the call that made it completes, none twice, and numbers have no gap. */
static void test_story(Fixture *fixture, gconstpointer data)
{
    g_auto(Story) story = {.words = g_string_new(NULL)};
    g_autoptr(GError) error = NULL;
    gulong handler = g_signal_connect(fixture->connection, "event", G_CALLBACK(on_event), &story);
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);

    g_assert_cmpstr(story.words->str, ==, "vm.created ");
    g_string_truncate(story.words, 0);
    assert_act(ACT(vm, start, &error), error);
    g_assert_cmpstr(story.words->str, ==, "starting running ");
    g_string_truncate(story.words, 0);
    assert_act(ACT(vm, pause, &error), error);
    assert_act(ACT(vm, resume, &error), error);
    g_assert_cmpstr(story.words->str, ==, "paused running ");
    g_string_truncate(story.words, 0);
    g_assert_true(stop_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, -1, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(story.words->str, ==, "stopping stopped ");
    g_string_truncate(story.words, 0);
    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    g_assert_nonnull(strstr(story.words->str, "vm.deleted "));
    g_signal_handler_disconnect(fixture->connection, handler);
}

/* The handle's properties tell, too, each once per change. */
static void on_notify(GObject *object, GParamSpec *spec, gpointer words)
{
    g_string_append_printf(words, "%s ", spec->name);
}

static void test_properties(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GString) words = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) update = {0};
    g_autofree char *uri = NULL, *name = NULL;
    gboolean is_watching, is_deleted;
    TenboxVmState state;
    gint64 pid;

    g_object_get(fixture->connection, "uri", &uri, "watching", &is_watching, NULL);
    g_assert_cmpstr(uri, ==, fixture->uri);
    g_assert_true(is_watching);
    g_signal_connect(vm, "notify", G_CALLBACK(on_notify), words);
    tenbox_vm_config_builder_set_description(builder, "words");
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    tenbox_vm_update_async(vm, config, NULL, await_done, &update);
    g_assert_true(tenbox_vm_update_finish(vm, await_result(&update), &error));
    g_assert_no_error(error);
    g_assert_cmpstr(words->str, ==, "description ");
    assert_act(ACT(vm, start, &error), error);
    g_object_get(vm, "name", &name, "state", &state, "pid", &pid, "deleted", &is_deleted, NULL);
    g_assert_cmpstr(name, ==, "foo");
    g_assert_cmpint(state, ==, TENBOX_VM_STATE_RUNNING);
    g_assert_cmpint(pid, >, 0);
    g_assert_false(is_deleted);
    g_assert_nonnull(strstr(words->str, "state "));
    g_string_truncate(words, 0);
    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_FORCE, &error));
    g_assert_true(g_str_has_suffix(words->str, "deleted "));
    g_signal_handlers_disconnect_by_data(vm, words);
}

static void on_other_added(TenboxConnection *connection, TenboxVm *vm, gpointer words)
{
    g_string_append_printf(words, "+%s ", tenbox_vm_get_name(vm));
}

static void on_other_removed(TenboxConnection *connection, TenboxVm *vm, gpointer words)
{
    g_string_append_printf(words, "-%s ", tenbox_vm_get_name(vm));
}

static gboolean has_come_and_gone(gpointer words)
{
    return strcmp(((GString *)words)->str, "+foo -foo ") == 0;
}

/* What one client does another one sees. */
static void test_two_connections(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GString) words = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) await = {0};

    if (!is_remote()) {
        g_test_skip("one process, one connection");
        return;
    }
    g_autoptr(TenboxConnection) other = open_connection(fixture->uri, &error);
    g_assert_no_error(error);
    g_signal_connect(other, "vm-added", G_CALLBACK(on_other_added), words);
    g_signal_connect(other, "vm-removed", G_CALLBACK(on_other_removed), words);
    tenbox_connection_watch_async(other, NULL, await_done, &await);
    g_assert_true(tenbox_connection_watch_finish(other, await_result(&await), &error));
    g_assert_no_error(error);
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_assert_true(delete_vm(vm, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    wait_until(has_come_and_gone, words);
    g_signal_handlers_disconnect_by_data(other, words);
}

/* Handles outlive what they are handles of, and say so. */
static void test_afterwards(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) gone = create(fixture, "gone", NULL);
    g_autoptr(TenboxVm) kept = create(fixture, "kept", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) refresh = {0}, log = {0};

    g_assert_true(delete_vm(gone, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    g_assert_cmpstr(tenbox_vm_get_name(gone), ==, "gone");
    tenbox_vm_read_log_async(gone, "console", 0, NULL, await_done, &log);
    g_assert_null(tenbox_vm_read_log_finish(gone, await_result(&log), &error));
    assert_error(&error, TENBOX_ERROR_NOT_FOUND, "vm-not-found", NULL);

    tenbox_connection_close(fixture->connection);
    g_assert_cmpstr(tenbox_vm_get_name(kept), ==, "kept");
    tenbox_vm_refresh_async(kept, NULL, await_done, &refresh);
    g_assert_false(tenbox_vm_refresh_finish(kept, await_result(&refresh), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed", NULL);
    tenbox_connection_close(fixture->connection); /* again */
    g_clear_object(&kept);
    g_clear_object(&gone);
    g_clear_object(&fixture->connection);
    connect_fixture(fixture);
}

static void on_close(GObject *source, GAsyncResult *result, gpointer user_data)
{
    guint *left = user_data;
    g_autoptr(GError) error = NULL;

    g_assert_false(tenbox_vm_refresh_finish(TENBOX_VM(source), result, &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_CLOSED);
    (*left)--;
}

static gboolean is_zero(gpointer number)
{
    return *(guint *)number == 0;
}

/* Whatever was asked is answered when the connection is closed, also a hundred times. */
static void test_close_with_calls(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) vm = create(fixture, "foo", NULL);
    g_auto(Await) create_end = {0};
    g_autoptr(GError) error = NULL;
    guint left = 100;

    if (!is_remote() && !is_played()) {
        g_test_skip("this process answers at once");
        return;
    }
    g_autoptr(TenboxVmConfig) config =
        make_config(fixture, "late", fixture->kernel, NULL, 64, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < 100; i++)
        tenbox_vm_refresh_async(vm, NULL, on_close, &left);
    tenbox_connection_create_vm_async(fixture->connection, config, NULL, await_done, &create_end);
    tenbox_connection_close(fixture->connection);
    wait_until(is_zero, &left);
    g_assert_null(
        tenbox_connection_create_vm_finish(fixture->connection, await_result(&create_end), &error));
    assert_error(&error, TENBOX_ERROR_CLOSED, "closed", NULL);
    g_clear_object(&vm);
    g_clear_object(&fixture->connection);
    connect_fixture(fixture);
}

/* Async on a connection of its own context, sync on a private one: each refuses the other. */
static void test_kinds(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(tenbox_connection_list_vms_sync(fixture->connection, NULL, &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_WRONG_STATE);
    g_clear_error(&error);
    if (!is_remote() && !is_played())
        return; /* the data folder is taken */
    g_autoptr(TenboxConnection) other =
        tenbox_connection_open_sync(fixture->uri, TENBOX_CONNECTION_FLAGS_NONE, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) vms = tenbox_connection_list_vms_sync(other, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms->len, ==, 0);
    g_auto(Await) await = {0};
    tenbox_connection_list_vms_async(other, NULL, await_done, &await);
    g_assert_null(tenbox_connection_list_vms_finish(other, await_result(&await), &error));
    g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_WRONG_STATE);
}

static char *list_names(TenboxVmList *list)
{
    GString *names = g_string_new(NULL);

    for (guint i = 0; i < g_list_model_get_n_items(G_LIST_MODEL(list)); i++) {
        g_autoptr(TenboxVm) vm = g_list_model_get_item(G_LIST_MODEL(list), i);

        g_string_append_printf(names, "%s ", tenbox_vm_get_name(vm));
    }
    return g_string_free(names, FALSE);
}

static void on_items_changed(GListModel *model, guint position, guint removed, guint added,
                             gpointer words)
{
    g_string_append_printf(words, "%u-%u+%u ", position, removed, added);
}

/* A list model of the VMs: sorted, and each change told with its place. */
static void test_list_model(Fixture *fixture, gconstpointer data)
{
    g_autoptr(TenboxVm) first = create(fixture, "b", NULL);
    g_autoptr(TenboxVmList) list = tenbox_vm_list_new(fixture->connection);
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GString) words = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Await) rename = {0};

    g_assert_true(g_list_model_get_item_type(G_LIST_MODEL(list)) == TENBOX_TYPE_VM);
    g_signal_connect(list, "items-changed", G_CALLBACK(on_items_changed), words);
    g_autoptr(TenboxVm) second = create(fixture, "c", NULL);
    g_autoptr(TenboxVm) third = create(fixture, "a", NULL);
    g_autofree char *names = list_names(list);
    g_assert_cmpstr(names, ==, "a b c ");
    g_assert_cmpstr(words->str, ==, "1-0+1 0-0+1 ");
    g_string_truncate(words, 0);
    tenbox_vm_config_builder_set_name(builder, "z");
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    tenbox_vm_update_async(third, config, NULL, await_done, &rename);
    g_assert_true(tenbox_vm_update_finish(third, await_result(&rename), &error));
    g_assert_true(delete_vm(first, TENBOX_VM_ACTION_FLAGS_NONE, &error));
    g_autofree char *after = list_names(list);
    g_assert_cmpstr(after, ==, "c z ");
    g_assert_cmpstr(words->str, ==, "0-1+0 2-0+1 0-1+0 ");
    g_assert_null(g_list_model_get_item(G_LIST_MODEL(list), 2));
    g_signal_handlers_disconnect_by_data(list, words);
}

void add_order_cases(void)
{
    add_case("/order/list-model", test_list_model);
    add_case("/order/story", test_story);
    add_case("/order/properties", test_properties);
    add_case("/order/two-connections", test_two_connections);
    add_case("/order/afterwards", test_afterwards);
    add_case("/order/close-with-calls", test_close_with_calls);
    add_case("/order/kinds", test_kinds);
}
