/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a client may ask for: the rules of names and ranges, strict decoding, the builder; and which URI
 * leads to which driver.
 */
#include <stdio.h>
#include <string.h>

#include "libtenbox/driver/driver.h"
#include "libtenbox/tenbox.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

static void assert_refused(GError **error, const char *slug, const char *field)
{
    g_assert_error(*error, TENBOX_ERROR, TENBOX_ERROR_INVALID_ARGUMENT);
    g_assert_cmpstr(tenbox_error_get_code(*error), ==, slug);
    g_assert_cmpstr(tenbox_error_get_field(*error), ==, field);
    if (field)
        g_assert_nonnull(strstr((*error)->message, field));
    g_clear_error(error);
}

static void test_names(void)
{
    static const char *const good[] = {"a", "Z9", "web-server-1", "a--b", "A23456789-b"};
    static const char *const bad[] = {"",    "1", "12345",     "-a",  "a-",      "a b",
                                      "a_b", "ä", "a\xc3\xa9", "a/b", "a:start", "a.b"};
    g_autoptr(GError) error = NULL;
    char longest[65];

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(tbx_vm_name_check(good[i], NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(tbx_vm_name_check(bad[i], &error));
        assert_refused(&error, "name-invalid", "name");
    }
    memset(longest, 'a', 64);
    longest[64] = '\0';
    g_assert_false(tbx_vm_name_check(longest, NULL));
    longest[63] = '\0';
    g_assert_true(tbx_vm_name_check(longest, NULL));
}

static const struct {
    const char *json;
    const char *slug;
    const char *field;
} refusals[] = {
    {"{\"nam\":\"a\"}", "field-unknown", "nam"},
    {"{\"name\":1}", "field-invalid", "name"},
    {"{\"name\":null}", "field-invalid", "name"},
    {"{\"name\":\"1\"}", "name-invalid", "name"},
    {"{\"kernel\":\"boot/vmlinuz\"}", "field-invalid", "kernel"},
    {"{\"kernel\":\"\"}", "field-invalid", "kernel"},
    {"{\"kernel\":null}", "field-invalid", "kernel"},
    {"{\"initrd\":[]}", "field-invalid", "initrd"},
    {"{\"memory_mb\":\"4096\"}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":4096.0}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":4e3}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":true}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":0}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":15}", "field-invalid", "memory_mb"},
    {"{\"memory_mb\":9223372036854775807}", "field-invalid", "memory_mb"},
    {"{\"cpu_count\":0}", "field-invalid", "cpu_count"},
    {"{\"cpu_count\":65}", "field-invalid", "cpu_count"},
    {"{\"cpu_count\":-1}", "field-invalid", "cpu_count"},
    {"{\"cmdline\":\"a\\nb\"}", "field-invalid", "cmdline"},
    {"{\"cmdline\":\"\\u00e4\"}", "field-invalid", "cmdline"},
    {"{\"description\":\"\\u0007\"}", "field-invalid", "description"},
    {"{\"description\":{}}", "field-invalid", "description"},
    {"{\"notes\":\"\\u0001\"}", "field-invalid", "notes"},
    {"{\"labels\":[]}", "field-invalid", "labels"},
    {"{\"labels\":{\"a\":1}}", "field-invalid", "labels.a"},
    {"{\"labels\":{\"\":\"\"}}", "field-invalid", "labels."},
    {"{\"labels\":{\"A\":\"\"}}", "field-invalid", "labels.A"},
    {"{\"labels\":{\"-a\":\"\"}}", "field-invalid", "labels.-a"},
    {"{\"labels\":{\"a b\":null}}", "field-invalid", "labels.a b"},
    {"{\"labels\":{\"a\":\"x\\ny\"}}", "field-invalid", "labels.a"},
    {"{\"autostart\":1}", "field-invalid", "autostart"},
    {"{\"autostart_delay\":-1}", "field-invalid", "autostart_delay"},
    {"{\"autostart_delay\":3601}", "field-invalid", "autostart_delay"},
    {"{\"start_order\":1001}", "field-invalid", "start_order"},
    {"{\"restart_policy\":\"often\"}", "field-invalid", "restart_policy"},
    {"{\"restart_policy\":\"unknown\"}", "field-invalid", "restart_policy"},
    {"{\"stop_timeout\":0}", "field-invalid", "stop_timeout"},
    {"{\"stop_timeout\":3601}", "field-invalid", "stop_timeout"},
    {"{\"pending\":[]}", "field-unknown", "pending"},
    {"{\"broken\":null}", "field-unknown", "broken"},
};

static JsonObject *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonObject *object = tbx_json_guard_parse_object(text, strlen(text), &error);

    g_assert_no_error(error);
    return object;
}

static void test_refusals(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autoptr(JsonObject) object = parse(refusals[i].json);
        g_autoptr(GError) error = NULL;
        g_test_message("%s", refusals[i].json);
        g_assert_null(tbx_vm_spec_from_json(object, &error));
        assert_refused(&error, refusals[i].slug, refusals[i].field);
    }

    g_autofree char *cmdline = g_strnfill(2048, 'a');
    g_autofree char *json = g_strdup_printf("{\"cmdline\":\"%s\"}", cmdline);
    g_autoptr(JsonObject) object = parse(json);
    g_autoptr(GError) error = NULL;
    g_assert_null(tbx_vm_spec_from_json(object, &error));
    assert_refused(&error, "field-invalid", "cmdline");
}

/* Unset, set and null are three things, and stay so on the way through JSON. */
static void test_presence(void)
{
    const char *json = "{\"name\":\"a\",\"initrd\":null,\"memory_mb\":16,\"cpu_count\":null}";
    g_autoptr(JsonObject) object = parse(json);
    g_autoptr(GError) error = NULL;
    g_autoptr(TbxVmSpec) spec = tbx_vm_spec_from_json(object, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(spec->present, ==,
                     TBX_VM_SPEC_NAME | TBX_VM_SPEC_INITRD | TBX_VM_SPEC_MEMORY_MB |
                         TBX_VM_SPEC_CPU_COUNT);
    g_assert_cmpuint(spec->reset, ==, TBX_VM_SPEC_INITRD | TBX_VM_SPEC_CPU_COUNT);
    g_autoptr(TbxVmSpec) copy = tbx_vm_spec_copy(spec);
    g_autoptr(JsonObject) again = tbx_vm_spec_to_json(copy);
    g_assert_cmpuint(json_object_get_size(again), ==, 4);
    g_assert_true(json_object_get_null_member(again, "initrd"));
    g_assert_true(json_object_get_null_member(again, "cpu_count"));
    g_assert_cmpint(json_object_get_int_member(again, "memory_mb"), ==, 16);

    g_assert_false(tbx_vm_spec_validate_create(spec, &error));
    assert_refused(&error, "field-invalid", "kernel");
}

static void test_builder(void)
{
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;

    tenbox_vm_config_builder_set_name(builder, "foo");
    tenbox_vm_config_builder_set_kernel(builder, "/boot/vmlinuz");
    tenbox_vm_config_builder_set_initrd(builder, NULL);
    tenbox_vm_config_builder_set_memory_mb(builder, 4096);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    g_autofree char *json = tenbox_vm_config_dup_json(config);
    g_assert_cmpstr(json, ==,
                    "{\"name\":\"foo\",\"kernel\":\"/boot/vmlinuz\",\"memory_mb\":4096,"
                    "\"initrd\":null}");

    /* The value does not change with the builder. */
    tenbox_vm_config_builder_set_memory_mb(builder, 0);
    g_autofree char *same = tenbox_vm_config_dup_json(config);
    g_assert_cmpstr(same, ==, json);
    g_assert_null(tenbox_vm_config_builder_build(builder, &error));
    assert_refused(&error, "field-invalid", "memory_mb");

    tenbox_vm_config_builder_set_memory_mb(builder, 64);
    tenbox_vm_config_builder_set_initrd(builder, "initrd.img");
    g_assert_null(tenbox_vm_config_builder_build(builder, &error));
    assert_refused(&error, "field-invalid", "initrd");
}

/* Everything the builder can set arrives in JSON, and comes back from it. */
static void test_builder_json(void)
{
    const char *expected =
        "{\"labels\":{\"env\":\"test\",\"old\":null},\"notes\":\"\",\"autostart\":false,"
        "\"autostart_delay\":0,\"start_order\":0,\"restart_policy\":\"on-failure\","
        "\"stop_timeout\":5}";
    g_autoptr(TenboxVmConfigBuilder) builder = tenbox_vm_config_builder_new();
    g_autoptr(GError) error = NULL;

    tenbox_vm_config_builder_set_label(builder, "env", "test");
    tenbox_vm_config_builder_set_label(builder, "old", NULL);
    tenbox_vm_config_builder_set_notes(builder, "");
    tenbox_vm_config_builder_set_autostart(builder, FALSE);
    tenbox_vm_config_builder_set_autostart_delay(builder, 0);
    tenbox_vm_config_builder_set_start_order(builder, 0);
    tenbox_vm_config_builder_set_restart_policy(builder, TENBOX_RESTART_POLICY_ON_FAILURE);
    tenbox_vm_config_builder_set_stop_timeout(builder, 5);
    g_autoptr(TenboxVmConfig) config = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    g_autofree char *json = tenbox_vm_config_dup_json(config);
    g_assert_cmpstr(json, ==, expected);

    /* The value does not change with the builder's labels either. */
    tenbox_vm_config_builder_set_label(builder, "env", "other");
    g_autofree char *same = tenbox_vm_config_dup_json(config);
    g_assert_cmpstr(same, ==, expected);

    g_autoptr(TenboxVmConfig) read = tenbox_vm_config_new_from_json(expected, &error);
    g_assert_no_error(error);
    g_autofree char *again = tenbox_vm_config_dup_json(read);
    g_assert_cmpstr(again, ==, expected);
    g_assert_null(tenbox_vm_config_new_from_json("{\"labels\":7}", &error));
    assert_refused(&error, "field-invalid", "labels");
    g_assert_null(tenbox_vm_config_new_from_json("{", &error));
    g_assert_cmpstr(tenbox_error_get_code(error), ==, "json-invalid");
    g_clear_error(&error);

    /* Back to the default, and set again: the last word counts. */
    g_assert_true(tenbox_vm_config_builder_reset(builder, "labels", &error));
    g_assert_true(tenbox_vm_config_builder_reset(builder, "stop_timeout", &error));
    tenbox_vm_config_builder_set_stop_timeout(builder, 7);
    g_assert_false(tenbox_vm_config_builder_reset(builder, "kernel", &error));
    assert_refused(&error, "field-invalid", "kernel");
    g_assert_false(tenbox_vm_config_builder_reset(builder, "state", &error));
    assert_refused(&error, "field-unknown", "state");
    g_autoptr(TenboxVmConfig) reset = tenbox_vm_config_builder_build(builder, &error);
    g_assert_no_error(error);
    g_autofree char *reset_json = tenbox_vm_config_dup_json(reset);
    g_assert_nonnull(strstr(reset_json, "\"labels\":null"));
    g_assert_nonnull(strstr(reset_json, "\"stop_timeout\":7"));
}

static void test_action_options(void)
{
    g_autoptr(JsonObject) stop = parse("{\"force\":true,\"timeout\":5}");
    g_autoptr(JsonObject) late = parse("{\"timeout\":3601}");
    g_autoptr(JsonObject) empty = parse("{}");
    g_autoptr(GError) error = NULL;
    TbxActionOptions options;

    g_assert_true(tbx_action_options_from_json(TENBOX_VM_ACTION_STOP, stop, &options, &error));
    g_assert_true(options.force);
    g_assert_cmpint(options.timeout, ==, 5);
    g_assert_false(tbx_action_options_from_json(TENBOX_VM_ACTION_START, stop, &options, &error));
    assert_refused(&error, "field-unknown", "force");
    g_assert_false(tbx_action_options_from_json(TENBOX_VM_ACTION_STOP, late, &options, &error));
    assert_refused(&error, "field-invalid", "timeout");
    g_assert_true(tbx_action_options_from_json(TENBOX_VM_ACTION_START, empty, &options, &error));
    g_assert_true(tbx_action_options_from_json(TENBOX_VM_ACTION_STOP, NULL, &options, &error));
    g_assert_false(options.force);
    g_assert_cmpint(options.timeout, ==, -1);

    options.force = TRUE;
    g_assert_true(tbx_action_options_validate(TENBOX_VM_ACTION_DELETE, &options, &error));
    g_assert_false(tbx_action_options_validate(TENBOX_VM_ACTION_RESET, &options, &error));
    assert_refused(&error, "field-invalid", "force");
    options.timeout = 1;
    g_assert_true(tbx_action_options_validate(TENBOX_VM_ACTION_STOP, &options, &error));
    g_assert_false(tbx_action_options_validate(TENBOX_VM_ACTION_DELETE, &options, &error));
    assert_refused(&error, "field-invalid", "timeout");
    g_assert_false(tbx_action_options_validate((TenboxVmAction)42, &options, &error));
    assert_refused(&error, "field-invalid", "action");
}

static void test_ids(void)
{
    g_autofree char *id = g_uuid_string_random();

    g_assert_true(tbx_vm_id_is_valid(id));
    g_assert_false(tbx_vm_id_is_valid("AAAAAAAA-1111-4111-8111-111111111111"));
    g_assert_false(tbx_vm_id_is_valid("aaaaaaaa-1111-4111-8111-11111111111"));
    g_assert_false(tbx_vm_id_is_valid("aaaaaaaa01111-4111-8111-111111111111"));
    g_assert_false(tbx_vm_id_is_valid(""));
}

static const struct {
    const char *uri;
    const char *slug; /* NULL: a driver is made */
} uris[] = {
    {"unix:///run/tenbox.sock", NULL},
    {"unix:///run/a%20b/tenbox.sock", NULL},
    {"UNIX:///run/tenbox.sock", NULL},
    {"https://host:8443", "unsupported"},
    {"test:///nowhere", "field-invalid"},
    {"test:///default?speed=9", "field-invalid"},
    {"test:///default?fault=start:no-such-code", "field-invalid"},
    {"test:///default?fault=fly:internal", "field-invalid"},
    {"test:///default?hang=fly", "field-invalid"},
    {"test:///default?boot-ms=-1", "field-invalid"},
    {"http://host", "field-invalid"},
    {"/run/tenbox.sock", "field-invalid"},
    {"", "field-invalid"},
    {"unix://run/tenbox.sock", "field-invalid"},
    {"unix:run/tenbox.sock", "field-invalid"},
    {"unix:///", "field-invalid"},
    {"unix:///run/x?timeout=3", "field-invalid"},
    {"unix:///run/x#y", "field-invalid"},
    {"unix://user@/run/x", "field-invalid"},
    {"local:///folder?served-by=me", "field-invalid"},
};

static void test_uris(void)
{
    g_autoptr(TbxEventSink) sink = tbx_event_sink_new(NULL, NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TbxDriver) driver = tbx_driver_new(uris[i].uri, sink, &error);
        g_test_message("%s", uris[i].uri);
        if (uris[i].slug) {
            g_assert_null(driver);
            g_assert_cmpstr(tenbox_error_get_code(error), ==, uris[i].slug);
            g_assert_cmpstr(tenbox_error_get_field(error), ==, "uri");
        } else {
            g_assert_no_error(error);
            g_assert_cmpstr(driver->ops->name, ==, "remote");
            g_assert_cmpstr(driver->uri, ==, uris[i].uri);
        }
    }
}

static void test_default_uri(void)
{
    g_setenv("TENBOX_HOST", "unix:///somewhere", TRUE);
    g_autofree char *named = tenbox_connection_get_default_uri();
    g_assert_cmpstr(named, ==, "unix:///somewhere");

    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("tenbox #test XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *path = g_build_filename(folder, "tenbox.sock", NULL);
    g_unsetenv("TENBOX_HOST");
    g_setenv("XDG_RUNTIME_DIR", folder, TRUE);
    g_autofree char *socket = tenbox_connection_get_user_socket();
    g_assert_cmpstr(socket, ==, path);

    /* The URI leads back to the path, whatever characters are in it. */
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_autofree char *uri = tenbox_connection_get_default_uri();
    g_autoptr(GUri) parsed = g_uri_parse(uri, G_URI_FLAGS_NONE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(g_uri_get_scheme(parsed), ==, "unix");
    g_assert_cmpstr(g_uri_get_path(parsed), ==, path);
    g_assert_cmpint(remove(path), ==, 0);
    g_assert_cmpint(remove(folder), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/names", test_names);
    g_test_add_func("/config/refusals", test_refusals);
    g_test_add_func("/config/presence", test_presence);
    g_test_add_func("/config/builder", test_builder);
    g_test_add_func("/config/builder-json", test_builder_json);
    g_test_add_func("/config/action-options", test_action_options);
    g_test_add_func("/config/ids", test_ids);
    g_test_add_func("/uri/drivers", test_uris);
    g_test_add_func("/uri/default", test_default_uri);
    return g_test_run();
}
