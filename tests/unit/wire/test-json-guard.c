/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the JSON guard lets through and what it names, and that json-glib then reads what was meant.
 */
#include <glib.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#include "libtenbox/tenbox-error.h"
#include "libtenbox/wire/json-guard.h"

/* Accepted texts and how tbx_json_print() writes them. */
static const struct {
    const char *text;
    const char *printed;
} accepted[] = {
    {"{}", "{}"},
    {"[]", "[]"},
    {" \t\r\n[ ] \n", "[]"},
    {"null", "null"},
    {"true", "true"},
    {"\"a\"", "\"a\""},
    {"0", "0"},
    {"-0", "0"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"0.1", "0.1"},
    {"1e3", "1000.0"},
    {"-1.5E-2", "-0.015"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"{\"a\":1,\"A\":2,\"\":3}", "{\"a\":1,\"A\":2,\"\":3}"},
    {"{\"a\":{\"a\":{\"a\":[]}}}", "{\"a\":{\"a\":{\"a\":[]}}}"},
    {"[{\"a\":1},{\"a\":2}]", "[{\"a\":1},{\"a\":2}]"},
    {"[1,[2,[3]],4]", "[1,[2,[3]],4]"},
    {"\"\\u00e9\\ud83d\\ude00\\u001f\\/\\b\"", "\"é😀\\u001f/\\u0008\""},
    {"\"é😀\"", "\"é😀\""},
    {"\"\\\"\\\\\\n\\r\\t\"", "\"\\\"\\\\\\n\\r\\t\""},
};

static void test_accepted(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(accepted); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node =
            tbx_json_guard_parse(accepted[i].text, strlen(accepted[i].text), &error);

        g_assert_no_error(error);
        g_assert_nonnull(node);

        g_autofree char *printed = tbx_json_print(node, NULL);
        g_assert_cmpstr(printed, ==, accepted[i].printed);

        /* What we write, we accept. */
        g_assert_true(tbx_json_guard_check(printed, strlen(printed), NULL));
    }
}

/* Refused texts and a piece of the message. Each is something that json-glib 1.6 takes, or dies of. */
static const struct {
    const char *text;
    const char *message;
} refused[] = {
    {"", "empty"},
    {" ", "cut off"},
    {"{", "cut off"},
    {"[1", "cut off"},
    {"[1,", "cut off"},
    {"{\"a\"", "colon"},
    {"{\"a\":", "cut off"},
    {"[1,]", "neither a value"},
    {"[,1]", "neither a value"},
    {"{,}", "key must be a string"},
    {"{\"a\":1,}", "key must be a string"},
    {"{a:1}", "key must be a string"},
    {"{'a':1}", "key must be a string"},
    {"{\"a\" 1}", "colon"},
    {"[1 2]", "comma"},
    {"[1}", "comma or an end"},
    {"{\"a\":1]", "comma or an end"},
    {"{} {}", "something follows"},
    {"1 x", "something follows"},
    {"nul", "neither a value"},
    {"True", "neither a value"},
    {"NaN", "neither a value"},
    {"Infinity", "neither a value"},
    {"-Infinity", "lacks a digit"},
    {"+1", "neither a value"},
    {"-", "lacks a digit"},
    {"1.", "lacks a digit"},
    {".5", "neither a value"},
    {"1e", "lacks a digit"},
    {"1e+", "lacks a digit"},
    {"010", "begin with 0"},
    {"-01", "begin with 0"},
    {"0x10", "something follows"},
    {"9223372036854775808", "64 bits"},
    {"-9223372036854775809", "64 bits"},
    {"18446744073709551615", "64 bits"},
    {"99999999999999999999999999999999999999", "64 bits"},
    {"1e400", "too large"},
    {"-1e400", "too large"},
    {"\"a\\u0000b\"", "u0000"},
    {"\"\\ud800\"", "surrogate"},
    {"\"\\ud800x\"", "surrogate"},
    {"\"\\ud800\\u0041\"", "surrogate"},
    {"\"\\ude00\"", "surrogate"},
    {"\"\\u12g4\"", "hexadecimal"},
    {"\"\\u12", "cut off"},
    {"\"\\x41\"", "unknown escape"},
    {"\"\\", "does not end"},
    {"\"abc", "does not end"},
    {"\"a\nb\"", "control character"},
    {"\"\xff\"", "UTF-8"},
    {"\"\xc0\x80\"", "UTF-8"},
    {"\"\xed\xa0\x80\"", "UTF-8"},
    {"\xef\xbb\xbf{}", "neither a value"},
    {"/* no */{}", "neither a value"},
    {"{} // no", "something follows"},
    {"var a = {}", "neither a value"},
    {"{\"a\":1,\"a\":2}", "\"a\" comes twice"},
    {"{\"a\":1,\"b\":2,\"\\u0061\":2}", "\"a\" comes twice"},
    {"[{\"x\":{\"k\":1,\"k\":1}}]", "\"k\" comes twice"},
};

static void test_refused(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        if (tbx_json_guard_check(refused[i].text, strlen(refused[i].text), &error)) {
            g_error("accepted: %s", refused[i].text);
        }
        g_assert_error(error, TENBOX_ERROR, TENBOX_ERROR_INVALID_ARGUMENT);
        g_assert_cmpstr(tenbox_error_get_code(error), ==, "json-invalid");
        if (strstr(error->message, refused[i].message) == NULL) {
            g_error("%s: \"%s\" lacks \"%s\"", refused[i].text, error->message, refused[i].message);
        }
    }
}

static void test_nul(void)
{
    g_assert_false(tbx_json_guard_check("[\0]", 3, NULL));
    g_assert_false(tbx_json_guard_check("[]\0", 3, NULL));
    g_assert_true(tbx_json_guard_check("[]x", 2, NULL));
}

static void test_position(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(tbx_json_guard_check("{\n  \"a\": 1,\n  \"b\": x\n}", 22, &error));
    g_assert_nonnull(strstr(error->message, "line 3, column 8"));
}

/* @count times @open, then @count times @close. */
static char *nested(const char *open, const char *close, guint count)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < count; i++) {
        g_string_append(text, open);
    }
    for (guint i = 0; i < count; i++) {
        g_string_append(text, close);
    }
    return g_string_free(text, FALSE);
}

static void test_depth(void)
{
    g_autofree char *deepest = nested("[", "]", TBX_JSON_DEPTH_MAX);
    g_autofree char *deeper = nested("[", "]", TBX_JSON_DEPTH_MAX + 1);
    g_autofree char *bomb = nested("[", "]", 300000);
    g_autofree char *objects = nested("{\"a\":[", "]}", 100000);
    g_autoptr(JsonNode) node = tbx_json_guard_parse(deepest, strlen(deepest), NULL);

    g_assert_nonnull(node);
    for (gsize i = 0; i < 3; i++) {
        const char *text = ((const char *[]){deeper, bomb, objects})[i];
        g_autoptr(GError) error = NULL;

        g_assert_false(tbx_json_guard_check(text, strlen(text), &error));
        g_assert_nonnull(strstr(error->message, "too deep"));
    }
}

static void test_size(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strnfill(TBX_JSON_SIZE_MAX + 1, ' ');

    text[0] = '0';
    g_assert_true(tbx_json_guard_check(text, TBX_JSON_SIZE_MAX, NULL));
    g_assert_false(tbx_json_guard_check(text, TBX_JSON_SIZE_MAX + 1, &error));
    g_assert_cmpstr(tenbox_error_get_code(error), ==, "body-too-large");
}

/* A list of all VMs is larger than anything that is asked or kept. */
static void test_answer(void)
{
    g_autoptr(GString) values = g_string_new("{\"items\":[0");
    g_autofree char *space = g_strnfill(TBX_JSON_ANSWER_SIZE_MAX + 1, ' ');
    g_autoptr(GError) error = NULL;
    JsonObject *object;

    /* The object, the list and the first element are three. */
    for (guint i = 3; i < TBX_JSON_ANSWER_VALUES_MAX; i++) {
        g_string_append(values, ",0");
    }
    g_string_append(values, "]}");
    object = tbx_json_guard_parse_answer(values->str, values->len, NULL);
    g_assert_nonnull(object);
    json_object_unref(object);
    g_string_truncate(values, values->len - 2);
    g_string_append(values, ",0]}");
    g_assert_null(tbx_json_guard_parse_answer(values->str, values->len, &error));
    g_assert_nonnull(strstr(error->message, "too many values"));

    space[0] = '{';
    space[1] = '}';
    object = tbx_json_guard_parse_answer(space, TBX_JSON_ANSWER_SIZE_MAX, NULL);
    g_assert_nonnull(object);
    json_object_unref(object);
    g_assert_null(tbx_json_guard_parse_answer(space, TBX_JSON_ANSWER_SIZE_MAX + 1, NULL));
}

static void test_counts(void)
{
    g_autoptr(GString) values = g_string_new("[0");
    g_autoptr(GString) members = g_string_new("{\"k\":0");
    g_autoptr(GError) error = NULL;

    for (guint i = 2; i < TBX_JSON_VALUES_MAX; i++) {
        g_string_append(values, ",0");
    }
    g_string_append_c(values, ']');
    g_assert_true(tbx_json_guard_check(values->str, values->len, NULL));
    g_string_truncate(values, values->len - 1);
    g_string_append(values, ",0]");
    g_assert_false(tbx_json_guard_check(values->str, values->len, &error));
    g_assert_nonnull(strstr(error->message, "too many values"));
    g_clear_error(&error);

    for (guint i = 1; i < TBX_JSON_MEMBERS_MAX; i++) {
        g_string_append_printf(members, ",\"k%u\":0", i);
    }
    g_string_append_c(members, '}');
    g_assert_true(tbx_json_guard_check(members->str, members->len, NULL));
    g_string_truncate(members, members->len - 1);
    g_string_append(members, ",\"last\":0}");
    g_assert_false(tbx_json_guard_check(members->str, members->len, &error));
    g_assert_nonnull(strstr(error->message, "too many members"));
}

static void test_object(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object =
        tbx_json_guard_parse_object("{\"n\":9007199254740993}", 22, NULL);

    g_assert_nonnull(object);
    g_assert_cmpint(json_object_get_int_member(object, "n"), ==,
                    G_GINT64_CONSTANT(9007199254740993));
    g_assert_null(tbx_json_guard_parse_object("[]", 2, &error));
    g_assert_nonnull(strstr(error->message, "not an object"));
}

static void test_print_odd_doubles(void)
{
    g_autoptr(JsonNode) infinity = json_node_alloc();
    g_autoptr(JsonNode) third = json_node_alloc();

    json_node_init_double(infinity, (double)INFINITY);
    json_node_init_double(third, 1.0 / 3.0);

    g_autofree char *infinity_text = tbx_json_print(infinity, NULL);
    g_autofree char *third_text = tbx_json_print(third, NULL);

    g_assert_cmpstr(infinity_text, ==, "null");
    g_assert_cmpstr(third_text, ==, "0.3333333333333333");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json-guard/accepted", test_accepted);
    g_test_add_func("/json-guard/refused", test_refused);
    g_test_add_func("/json-guard/nul", test_nul);
    g_test_add_func("/json-guard/position", test_position);
    g_test_add_func("/json-guard/depth", test_depth);
    g_test_add_func("/json-guard/size", test_size);
    g_test_add_func("/json-guard/answer", test_answer);
    g_test_add_func("/json-guard/counts", test_counts);
    g_test_add_func("/json-guard/object", test_object);
    g_test_add_func("/json-guard/print-odd-doubles", test_print_odd_doubles);
    return g_test_run();
}
