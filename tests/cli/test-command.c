/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command table and what is derived from it: parsing, help, "did you mean"; the escape sequence of
 * the console; tables and foreign text.
 */
#include <string.h>

#include <glib.h>

#include "tenbox-cli/command.h"
#include "tenbox-cli/alias.h"
#include "tenbox-cli/escape.h"
#include "tenbox-cli/format.h"
#include "tenbox-cli/help.h"
#include "tenbox-cli/output.h"
#include "tenbox-cli/template.h"

/* Parses a line of words separated by single spaces. */
static CliCommandLine *parse(const char *words, const CliCommand **ret_command, GError **error)
{
    g_auto(GStrv) argv = g_strsplit(words, " ", -1);
    CliCommandLine *line =
        cli_command_line_parse((int)g_strv_length(argv), argv, ret_command, error);

    /* The group is borrowed from argv, which goes. */
    if (line && line->group)
        line->group = g_intern_string(line->group);
    return line;
}

static CliCommandLine *parse_good(const char *words)
{
    g_autoptr(GError) error = NULL;
    CliCommandLine *line = parse(words, NULL, &error);

    g_assert_no_error(error);
    g_assert_nonnull(line);
    return line;
}

static void assert_bad(const char *words, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CliCommandLine) line = parse(words, NULL, &error);

    g_assert_null(line);
    g_assert_nonnull(error);
    g_assert_cmpuint(error->domain, ==, G_OPTION_ERROR);
    if (!strstr(error->message, part))
        g_error("“%s” gives “%s”, which does not say “%s”", words, error->message, part);
}

static void check_option(const CliCommand *command, const CliOption *option, GHashTable *letters)
{
    g_assert_nonnull(option->summary);
    g_assert_cmpint(option->kind == CLI_OPTION_FLAG, ==, option->argument == NULL);
    g_assert_cmpint(option->kind == CLI_OPTION_CHOICE, ==, option->choices != NULL);
    if (option->letter)
        g_assert_true(g_hash_table_add(letters, GINT_TO_POINTER((int)option->letter)));
    for (const CliOption *other = cli_global_options; other->name; other++) {
        /* The guest's time to shut down is no time of the command; it names a field, so it is told apart. */
        if (g_str_equal(other->name, option->name))
            g_assert_cmpstr(option->field, ==, "timeout");
        if (option->letter)
            g_assert_cmpint(other->letter, !=, option->letter);
    }
}

static void test_table(void)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) shortcuts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (const CliCommand *command = cli_commands; command->name; command++) {
        g_autoptr(GHashTable) letters = g_hash_table_new(NULL, NULL);
        g_auto(GStrv) words = g_strsplit(command->shortcut ? command->shortcut : "", "|", -1);
        gboolean has_group = !command->group;

        g_assert_true(g_hash_table_add(names, cli_command_words(command)));
        if (!command->group)
            g_assert_true(g_hash_table_add(shortcuts, g_strdup(command->name)));
        for (char **word = words; *word; word++)
            g_assert_true(g_hash_table_add(shortcuts, g_strdup(*word)));
        for (const CliGroup *group = cli_groups; group->name; group++) {
            has_group |= g_strcmp0(group->name, command->group) == 0;
            /* A first word is a group or a shortcut, never both. */
            g_assert_false(g_hash_table_contains(shortcuts, group->name));
        }
        g_assert_true(has_group);
        g_assert_nonnull(command->run);
        g_assert_nonnull(command->arguments);
        g_assert_cmpuint(command->minimum_arguments, <=, command->maximum_arguments);
        g_assert_cmpint(*command->arguments != '\0', ==, command->maximum_arguments > 0);
        g_assert_true(command->summary && *command->summary);
        g_assert_false(g_str_has_suffix(command->summary, "."));
        g_assert_nonnull(command->examples[0]);
        for (const CliOption *option = command->options; option && option->name; option++)
            check_option(command, option, letters);
    }
    g_assert_false(g_hash_table_contains(shortcuts, "help"));
    g_assert_cmpuint(g_hash_table_size(names), >=, 38);
}

/* Every example must be a command line of the command that shows it. */
static void test_examples(void)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        for (guint i = 0; command->examples[i]; i++) {
            g_auto(GStrv) redirected = g_strsplit(command->examples[i], " <", 2);
            g_auto(GStrv) argv = NULL;
            g_autoptr(GError) error = NULL;
            g_autoptr(CliCommandLine) line = NULL;

            g_assert_true(g_shell_parse_argv(redirected[0], NULL, &argv, &error));
            line = cli_command_line_parse((int)g_strv_length(argv), argv, NULL, &error);
            g_assert_no_error(error);

            g_assert_true(line->command == command);
        }
    }
}

static void test_see_also(void)
{
    for (const CliCommand *command = cli_commands; command->name; command++) {
        g_auto(GStrv) others = g_strsplit(command->see_also ? command->see_also : "", ", ", -1);

        for (char **other = others; *other; other++) {
            g_autofree char *words = g_strdup_printf("tenbox help %s", *other);
            g_autofree char *reference = g_strndup(words, strcspn(words, "-"));
            g_autoptr(CliCommandLine) line = parse_good(g_strchomp(reference));

            g_assert_nonnull(line->command);
        }
    }
}

static void test_create(void)
{
    g_autoptr(CliCommandLine) line = parse_good(
        "tenbox vm create --name foo --kernel K --initrd=sub/I --memory 4096 --cpus 2 --start");
    g_autofree char *kernel = g_canonicalize_filename("K", NULL);
    g_autofree char *initrd = g_canonicalize_filename("sub/I", NULL);

    g_assert_cmpstr(line->command->name, ==, "create");
    g_assert_cmpstr(cli_command_line_get_text(line, "name"), ==, "foo");
    g_assert_cmpstr(cli_command_line_get_text(line, "kernel"), ==, kernel);
    g_assert_cmpstr(cli_command_line_get_text(line, "initrd"), ==, initrd);
    g_assert_cmpint(cli_command_line_get_number(line, "memory", 1), ==, 4096);
    g_assert_cmpint(cli_command_line_get_number(line, "cpus", 1), ==, 2);
    g_assert_true(cli_command_line_has(line, "start"));
    g_assert_false(cli_command_line_has(line, "description"));
    g_assert_null(cli_command_line_get_text(line, "description"));
    g_assert_cmpuint(line->arguments->len, ==, 0);
}

static void test_placement(void)
{
    g_autoptr(CliCommandLine) line = parse_good("tenbox -qo json -Hunix:///s vm rm foo -f bar");
    g_autoptr(CliCommandLine) ended = parse_good("tenbox vm rm -- -f --yes");
    g_autoptr(CliCommandLine) shortcut = parse_good("tenbox start foo");
    g_autoptr(CliCommandLine) last = parse_good("tenbox vm stop foo -t 5 --timeout=7");

    g_assert_true(cli_command_line_has(line, "quiet"));
    g_assert_true(cli_command_line_has(line, "force"));
    g_assert_cmpstr(cli_command_line_get_text(line, "output"), ==, "json");
    g_assert_cmpstr(cli_command_line_get_text(line, "host"), ==, "unix:///s");
    g_assert_cmpuint(line->arguments->len, ==, 2);
    g_assert_cmpstr(g_ptr_array_index(line->arguments, 1), ==, "bar");

    g_assert_false(cli_command_line_has(ended, "force"));
    g_assert_cmpuint(ended->arguments->len, ==, 2);
    g_assert_cmpstr(g_ptr_array_index(ended->arguments, 0), ==, "-f");

    g_assert_cmpstr(shortcut->command->group, ==, "vm");
    g_assert_cmpstr(shortcut->command->name, ==, "start");

    g_assert_cmpint(cli_command_line_get_number(last, "timeout", 0), ==, 7);
}

static void test_mistakes(void)
{
    const CliCommand *command = NULL;
    g_autoptr(GError) error = NULL;

    assert_bad("tenbox", "missing");
    assert_bad("tenbox vm", "missing");
    assert_bad("tenbox vm strat foo", "tenbox vm start");
    assert_bad("tenbox vm lst", "tenbox vm ls");
    assert_bad("tenbox vn ls", "tenbox vm");
    assert_bad("tenbox creat foo", "tenbox vm create");
    assert_bad("tenbox staart foo", "tenbox start");
    assert_bad("tenbox sytem info", "tenbox system");
    assert_bad("tenbox doctr", "tenbox doctor");
    assert_bad("tenbox vm create --kernal K foo", "--kernel");
    assert_bad("tenbox vm create --nmae foo", "--name");
    assert_bad("tenbox vm ls --jsno", "--jsno");
    assert_bad("tenbox vm ls extra", "extra");
    assert_bad("tenbox vm ls -z", "-z");
    assert_bad("tenbox vm console", "VM");
    assert_bad("tenbox vm console a b", "“b”");
    assert_bad("tenbox vm create --name", "needs a value");
    assert_bad("tenbox vm create --kernel=", "--kernel");
    assert_bad("tenbox vm ls -o", "needs a value");
    assert_bad("tenbox vm ls -o xml", "table|wide|json");
    assert_bad("tenbox vm stop foo --force=yes", "takes no value");
    assert_bad("tenbox vm stop foo --timeout soon", "--timeout");
    assert_bad("tenbox vm stop foo --timeout -1", "--timeout");
    assert_bad("tenbox vm stop foo --timeout 3601", "3600");
    assert_bad("tenbox vm logs foo -n -1", "--lines");
    assert_bad("tenbox vm logs foo --source disk", "console|runtime");
    assert_bad("tenbox vm create --cpus 1.5 foo", "--cpus");
    assert_bad("tenbox --cpus 2 vm create foo", "before a command");

    /* What was recognized before the mistake, for the line that points to its help. */
    g_assert_null(parse("tenbox vm stop foo --tmieout 3", &command, &error));
    g_assert_cmpstr(command->name, ==, "stop");
    g_assert_nonnull(strstr(error->message, "--timeout"));
}

/* Nothing is suggested where nothing is near. */
static void test_no_suggestion(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(parse("tenbox vm frobnicate", NULL, &error));
    g_assert_nonnull(error);
    g_assert_null(strstr(error->message, "did you mean"));
}

static void test_memory(void)
{
    static const struct {
        const char *text;
        gint64 mib;
    } good[] = {
        {"0", 0},        {"1", 1},        {"4096", 4096},    {"512M", 512},
        {"512MiB", 512}, {"512mib", 512}, {"4G", 4096},      {"4GiB", 4096},
        {"4gi", 4096},   {"2T", 2097152}, {"2TiB", 2097152}, {"0004", 4},
    };
    static const char *const bad[] = {
        "",
        "G",
        "-1",
        "4096KB",
        "4GB",
        "1.5G",
        "4 G",
        "0x10",
        "1e3",
        "4GiBs",
        "9999999999999999999",
        "999999999999999999T",
    };
    gint64 mib;

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_true(cli_parse_memory(good[i].text, &mib, &error));
        g_assert_no_error(error);
        g_assert_cmpint(mib, ==, good[i].mib);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        mib = -7;
        g_assert_false(cli_parse_memory(bad[i], &mib, &error));
        g_assert_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE);
        g_assert_cmpint(mib, ==, -7);
    }
}

static void test_help(void)
{
    g_autofree char *all = cli_help(NULL, NULL);
    g_autoptr(CliCommandLine) line = parse_good("tenbox vm start --help");
    g_autoptr(CliCommandLine) words = parse_good("tenbox help vm stop");
    g_autoptr(CliCommandLine) group = parse_good("tenbox help system");

    for (const CliCommand *command = cli_commands; command->name; command++) {
        g_autofree char *help = cli_help(command, NULL);

        g_autofree char *words_shown = cli_command_words(command);
        g_autofree char *usage = g_strdup_printf("Usage: tenbox %s", words_shown);

        g_assert_nonnull(strstr(all, command->summary));
        g_assert_true(g_str_has_prefix(help, usage));
        g_assert_nonnull(strstr(help, command->summary));
        for (guint i = 0; command->examples[i]; i++)
            g_assert_nonnull(strstr(help, command->examples[i]));
        for (const CliOption *option = command->options; option && option->name; option++) {
            g_autofree char *shown = g_strdup_printf("--%s", option->name);

            g_assert_nonnull(strstr(help, shown));
            g_assert_nonnull(strstr(help, option->summary));
        }
        g_assert_null(strstr(help, " \n"));
    }
    g_assert_true(line->wants_help);
    g_assert_cmpstr(line->command->name, ==, "start");
    g_assert_true(words->wants_help);
    g_assert_cmpstr(words->command->name, ==, "stop");
    g_assert_true(group->wants_help);
    g_assert_null(group->command);
    g_assert_cmpstr(group->group, ==, "system");
}

static void test_version(void)
{
    g_autoptr(CliCommandLine) line = parse_good("tenbox --version");

    g_assert_true(line->wants_version);
}

/* --- the key sequence ---------------------------------------------------------------------- */

/* Feeds @input in pieces of @piece bytes; returns what the guest gets, or NULL at the end wanted. */
static char *scan(const char *input, gsize piece, gboolean *ret_left)
{
    GByteArray *output = g_byte_array_new();
    const gsize length = strlen(input);
    CliEscape escape = {.key = 0x1d};
    gboolean is_left = FALSE;

    for (gsize at = 0; at < length && !is_left; at += piece)
        is_left =
            cli_escape_scan(&escape, (const guint8 *)input + at, MIN(piece, length - at), output);
    if (!is_left)
        cli_escape_flush(&escape, output);
    *ret_left = is_left;
    g_byte_array_append(output, (const guint8 *)"", 1);
    return (char *)g_byte_array_free(output, FALSE);
}

static void test_escape(void)
{
    static const struct {
        const char *input;
        const char *output;
        gboolean is_left;
    } cases[] = {
        {"plain .\r", "plain .\r", FALSE},
        {"\x1d.", "", TRUE},
        {"abc\x1d.def", "abc", TRUE},
        {"\x1d\x1d", "\x1d", FALSE},
        {"\x1d\x1d.", "\x1d.", FALSE},
        {"\x1d\x1d\x1d.", "\x1d", TRUE},
        {"\x1dx.", "\x1dx.", FALSE},
        {"a\x1d", "a\x1d", FALSE},
        {"\x1d\x1d\x1d\x1d", "\x1d\x1d", FALSE},
        {"", "", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (gsize piece = 1; piece <= 8; piece++) {
            gboolean is_left;
            g_autofree char *output = scan(cases[i].input, piece, &is_left);

            g_assert_cmpstr(output, ==, cases[i].output);
            g_assert_cmpint(is_left, ==, cases[i].is_left);
        }
    }
}

static void test_escape_key(void)
{
    static const struct {
        const char *text;
        int key; /* -1: refused */
        const char *shown;
    } cases[] = {
        {"ctrl-]", 0x1d, "Ctrl-]"},
        {"Ctrl-A", 0x01, "Ctrl-a"},
        {"^q", 0x11, "Ctrl-q"},
        {"~", '~', "~"},
        {"none", CLI_ESCAPE_NONE},
        {"", -1},
        {"ctrl-", -1},
        {"ctrl-ab", -1},
        {"ctrl-1", -1},
        {".", -1},
        {"ab", -1},
        {"ctrl-@", -1},
    };
    g_autoptr(GByteArray) output = g_byte_array_new();
    CliEscape none = {.key = CLI_ESCAPE_NONE};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        guint8 key = 77;
        const gboolean is_good = cli_escape_parse(cases[i].text, &key, &error);

        g_assert_cmpint(is_good, ==, cases[i].key >= 0);
        g_assert_cmpint(is_good, ==, error == NULL);
        if (is_good)
            g_assert_cmpint(key, ==, cases[i].key);
        if (cases[i].shown) {
            g_autofree char *shown = cli_escape_to_text(key);

            g_assert_cmpstr(shown, ==, cases[i].shown);
        }
    }
    /* Without a key nothing leaves, and every byte is the guest's. */
    g_assert_false(cli_escape_scan(&none, (const guint8 *)"\x1d.a\0b", 5, output));
    cli_escape_flush(&none, output);
    g_assert_cmpmem(output->data, output->len, "\x1d.a\0b", 5);
}

/* --- aliases ------------------------------------------------------------------------------- */

static void test_alias(void)
{
    static const struct {
        const char *words;
        const char *expanded;
    } cases[] = {
        {"tenbox up foo", "tenbox start --console foo"},
        {"tenbox -o json up foo", "tenbox -o json start --console foo"},
        {"tenbox -qH unix:///up up", "tenbox -qH unix:///up start --console"},
        {"tenbox --host=up up", "tenbox --host=up start --console"},
        {"tenbox vm up", "tenbox vm up"},
        {"tenbox help up", "tenbox help up"},
        {"tenbox two", "tenbox vm set foo description=two words"},
        {"tenbox unknown up", "tenbox unknown up"},
        {"tenbox ls", "tenbox ls"},
        {"tenbox", "tenbox"},
        {"tenbox -q", "tenbox -q"},
    };
    g_autoptr(GHashTable) aliases = g_hash_table_new(g_str_hash, g_str_equal);
    const char *const broken[] = {"tenbox", "broken", NULL};
    g_autoptr(GError) error = NULL;

    g_hash_table_insert(aliases, (gpointer) "up", (gpointer) "start --console");
    g_hash_table_insert(aliases, (gpointer) "two", (gpointer) "vm set foo 'description=two words'");
    g_hash_table_insert(aliases, (gpointer) "ls", (gpointer) "never");
    g_hash_table_insert(aliases, (gpointer) "broken", (gpointer) "a 'b");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) argv = g_strsplit(cases[i].words, " ", -1);
        g_auto(GStrv) expanded = cli_alias_expand(argv, aliases, &error);
        g_autofree char *joined = NULL;

        g_assert_no_error(error);
        joined = g_strjoinv(" ", expanded);
        g_assert_cmpstr(joined, ==, cases[i].expanded);
    }
    g_assert_null(cli_alias_expand((char *const *)broken, aliases, &error));
    g_assert_nonnull(strstr(error->message, "broken"));
}

static void test_alias_check(void)
{
    static const struct {
        const char *name;
        const char *words;
        gboolean is_good;
    } cases[] = {
        {"up", "start", TRUE},      {"ll", "vm ls -o wide", TRUE},
        {"start", "vm ls", FALSE},  {"vm", "vm ls", FALSE},
        {"help", "vm ls", FALSE},   {"1up", "start", FALSE},
        {"u p", "start", FALSE},    {"up", "", FALSE},
        {"up", "nothing", FALSE},   {"up", "'start", FALSE},
        {"events", "vm ls", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(cli_alias_check(cases[i].name, cases[i].words, &error), ==,
                        cases[i].is_good);
        g_assert_cmpint(error == NULL, ==, cases[i].is_good);
    }
}

/* --- output -------------------------------------------------------------------------------- */

static void test_table_text(void)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"NAME", "STATE", NULL});
    g_autofree char *with = NULL;
    g_autofree char *without = NULL;

    cli_table_add(table, (const char *const[]){"日本", "running", NULL});
    cli_table_add(table, (const char *const[]){"abc\033[2J", NULL, NULL});
    with = cli_table_to_text(table, TRUE, 0);
    without = cli_table_to_text(table, FALSE, 0);
    /* Wide characters take two columns; control characters do not reach the terminal. */
    g_assert_cmpstr(with, ==, "NAME     STATE\n日本     running\nabc\xef\xbf\xbd[2J  -\n");
    g_assert_cmpstr(without, ==, "日本     running\nabc\xef\xbf\xbd[2J  -\n");
    g_assert_cmpuint(cli_display_width("日本"), ==, 4);
    g_assert_cmpuint(cli_display_width("e\xcc\x81"), ==, 1);
    g_assert_cmpuint(cli_display_width("\xff\xfe"), ==, 2);
}

/* Tables are cut to the terminal, by columns and not in the middle of a character. */
static void test_table_width(void)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"NAME", "TEXT", NULL});
    g_autofree char *narrow = NULL;
    g_autofree char *tiny = NULL;
    g_autofree char *one = NULL;

    cli_table_add(table, (const char *const[]){"short", "日本日本日本日本", NULL});
    narrow = cli_table_to_text(table, FALSE, 18);
    tiny = cli_table_to_text(table, FALSE, 1);
    g_assert_cmpstr(narrow, ==, "short  日本日本日…\n");
    /* No column becomes narrower than what still says something, and no line wider than the terminal. */
    g_assert_cmpstr(tiny, ==, "…\n");
    one = cli_table_to_text(table, FALSE, 14);
    g_assert_cmpstr(one, ==, "short\n");
}

/* What json-glib would recurse into, or read as something that the check does not see. */
static void test_parse(void)
{
    g_autofree char *deep = g_strnfill(120000, '[');
    g_autofree char *brackets = g_strdup_printf("{\"a\": \"\\\"%s\"}", deep);
    g_autofree char *quoted = g_strdup_printf("['\"', %s", deep);
    g_autofree char *commented = g_strdup_printf("/* \" */ %s", deep);
    g_autoptr(JsonNode) good = cli_parse_json(brackets, NULL);
    const char *const bad[] = {deep, quoted, commented, "", "[", "]", "{\"a", "[\"\\\"]", "[}x"};

    g_assert_nonnull(good);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(cli_parse_json(bad[i], &error));
        g_assert_nonnull(error);
    }
}

static void test_colors(void)
{
    g_autoptr(CliTable) table = cli_table_new((const char *const[]){"STATE", "NAME", NULL});
    g_autofree char *text = NULL;

    cli_table_color_column(table, 0);
    cli_table_add(table, (const char *const[]){"running", "running", NULL});
    cli_table_add(table, (const char *const[]){"stopped", "x", NULL});
    text = cli_table_to_text(table, TRUE, 0);
    g_assert_cmpstr(text, ==, "STATE    NAME\n\033[32mrunning\033[0m  running\nstopped  x\n");
}

/* --- formats ------------------------------------------------------------------------------- */

static JsonNode *parse_json(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonNode *node = json_from_string(text, &error);

    g_assert_no_error(error);
    return node;
}

static void test_format_words(void)
{
    static const struct {
        const char *text;
        gboolean is_good;
    } cases[] = {
        {"table", TRUE},
        {"wide", TRUE},
        {"json", TRUE},
        {"jsonl", TRUE},
        {"yaml", TRUE},
        {"csv", TRUE},
        {"name", TRUE},
        {"template={{.name}}", TRUE},
        {"{{.name}}", TRUE},
        {"table {{.name}}", TRUE},
        {"xml", FALSE},
        {"", FALSE},
        {"template=", FALSE},
        {"template={{.name", FALSE},
        {"template={{range .a}}", FALSE},
        {"template={{.a..b}}", FALSE},
        {"template={{join .a}}", FALSE},
        {"template={{join .a x}}", FALSE},
        {"template={{}}", FALSE},
        {"template={{name}}", FALSE},
        {"template={{.a | upper}}", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        if (cli_format_check(cases[i].text, &error) != cases[i].is_good)
            g_error("“%s” is taken wrongly", cases[i].text);
        g_assert_cmpint(error == NULL, ==, cases[i].is_good);
    }
}

static void test_templates(void)
{
    static const struct {
        const char *text;
        const char *shown; /* NULL: an error */
    } cases[] = {
        {"{{.name}}", "foo"},
        {"{{ .name }}={{.memory_mb}}", "foo=64"},
        {"{{.Name}} {{.MemoryMb}}", "foo 64"},
        {"a\\tb\\nc\\\\d{{.name}}", "a\tb\nc\\dfoo"},
        {"{{.last_exit.signal}}", "SIGKILL"},
        {"[{{.initrd}}]", "[]"},
        {"[{{.initrd.deeper}}]", "[]"},
        {"{{json .labels}}", "{\"env\":\"te st\",\"a.b\":\"\"}"},
        {"{{json .initrd}}", "null"},
        {"{{join .pending \", \"}}", "memory_mb, cpu_count"},
        {"{{join .labels \",\"}}", "env=te st,a.b="},
        {"{{.labels.env}}{{.labels.a.b}}{{.labels.missing}}", "te st"},
        {"{{.running}}", "true"},
        {"{{.nothing}}", NULL},
        {"{{.last_exit.nothing}}", NULL},
        {"{{.name.deeper}}", NULL},
    };
    g_autoptr(JsonNode) document = parse_json(
        "{\"name\":\"foo\",\"memory_mb\":64,\"initrd\":null,\"running\":true,"
        "\"last_exit\":{\"signal\":\"SIGKILL\"},\"pending\":[\"memory_mb\",\"cpu_count\"],"
        "\"labels\":{\"env\":\"te st\",\"a.b\":\"\"}}");

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(CliTemplate) template = cli_template_new(cases[i].text, &error);
        g_autofree char *shown = NULL;

        g_assert_no_error(error);
        shown = cli_template_expand(template, document, &error);
        g_assert_cmpstr(shown, ==, cases[i].shown);
        g_assert_cmpint(error == NULL, ==, shown != NULL);
        if (error && strstr(cases[i].text, "{{.nothing"))
            g_assert_nonnull(strstr(error->message, "name, memory_mb, initrd"));
    }
    {
        g_autoptr(CliTemplate) template =
            cli_template_new("table {{.name}}\\t{{.last_exit.signal}}", NULL);
        g_autofree char *headers = cli_template_expand_headers(template);

        g_assert_true(cli_template_is_table(template));
        g_assert_cmpstr(headers, ==, "NAME\tSIGNAL");
    }
}

/* What a terminal would obey is escaped; what is parsed is the same. */
static void test_safe_json(void)
{
    static const char text[] = "[\"\\u009b6n\",\"a\\u202eb\",\"\\u007f\",\"\\u001b[2J\",\"é日\"]";
    g_autoptr(JsonNode) document = parse_json(text);
    g_autofree char *shown = cli_json_to_text(document, FALSE);
    g_autoptr(JsonNode) again = parse_json(shown);

    g_assert_true(json_node_equal(document, again));
    for (const char *at = shown; *at; at = g_utf8_next_char(at))
        g_assert_false(g_unichar_iscntrl(g_utf8_get_char(at)));
    g_assert_nonnull(strstr(shown, "\\u202e"));
    g_assert_nonnull(strstr(shown, "é日"));
}

static void test_yaml(void)
{
    static const struct {
        const char *json;
        const char *yaml;
    } cases[] = {
        {"{}", "{}\n"},
        {"[]", "[]\n"},
        {"\"plain\"", "plain\n"},
        {"[\"yes\",\"No\",\"null\",\"1\",\"1e3\",\"\",\" a\",\"a: b\",\"- "
         "x\",\"#\",\"a\\nb\",\"~\"]",
         "- \"yes\"\n- \"No\"\n- \"null\"\n- \"1\"\n- \"1e3\"\n- \"\"\n- \" a\"\n- \"a: b\"\n"
         "- \"- x\"\n- \"#\"\n- \"a\\nb\"\n- \"~\"\n"},
        {"{\"a\":{\"b\":[1,{\"c\":null,\"d\":[]}]},\"e\":true}",
         "a:\n  b:\n    - 1\n    - c: null\n      d: []\ne: true\n"},
        {"[[1,[2]],{\"a\":1}]", "- - 1\n  - - 2\n- a: 1\n"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(JsonNode) document = parse_json(cases[i].json);
        g_autofree char *yaml = cli_yaml_to_text(document);

        g_assert_cmpstr(yaml, ==, cases[i].yaml);
    }
}

static void test_csv(void)
{
    static const struct {
        const char *field;
        const char *csv;
    } cases[] = {
        {"plain", "plain"},         {"", ""},
        {"a,b", "\"a,b\""},         {"say \"a\"", "\"say \"\"a\"\"\""},
        {"a\nb", "\"a\nb\""},       {"a\rb", "\"a\rb\""},
        {" spaced", "\" spaced\""}, {"é日", "é日"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) line = g_string_new(NULL);

        cli_csv_append(line, cases[i].field);
        g_assert_cmpstr(line->str, ==, cases[i].csv);
    }
}

static void test_guest_text(void)
{
    static const struct {
        const char *text;
        const char *shown;
    } cases[] = {
        {"plain\n", "plain\n"},
        {"a\r\nb\r\r\nc\rd", "a\nb\nc\nd"},
        {"\033[1;32mok\033[0m\n", "\033[1;32mok\033[0m\n\033[0m"},
        {"\033[2J\033]0;title\007", "^[[2J^[]0;title^G"},
        {"\033[6n", "^[[6n"},
        {"\033[", "^[["},
        {"\xc2\x9b"
         "6n",
         "\xef\xbf\xbd"
         "6n"},
        {"\xff\x7f\t", "\xef\xbf\xbd^?\t"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *shown = cli_guest_text_for_terminal(cases[i].text);

        g_assert_cmpstr(shown, ==, cases[i].shown);
    }
}

/* What is printed in pieces is cut where nothing is torn. */
static void test_unfinished(void)
{
    static const struct {
        const char *text;
        gsize unfinished;
    } cases[] = {
        {"", 0},          {"plain", 0},        {"a\n", 0},      {"a\r", 1},      {"a\033", 1},
        {"a\033[", 2},    {"a\033[1;3", 5},    {"a\033[1m", 0}, {"a\033]0;", 0}, {"\xc3", 1},
        {"a\xe6\x97", 2}, {"\xe6\x97\xa5", 0}, {"\x80\x80", 0},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpuint(cli_measure_unfinished(cases[i].text, strlen(cases[i].text)), ==,
                         cases[i].unfinished);
}

static void test_formats(void)
{
    static const struct {
        gint64 seconds;
        const char *text;
    } durations[] = {
        {0, "0 s"},          {59, "59 s"},       {61, "1 min 1 s"},
        {3600, "1 h 0 min"}, {90061, "1 d 1 h"}, {-1, "-"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(durations); i++) {
        g_autofree char *text = cli_format_duration(durations[i].seconds);

        g_assert_cmpstr(text, ==, durations[i].text);
    }
    {
        g_autofree char *gib = cli_format_memory(4096);
        g_autofree char *mib = cli_format_memory(1536 + 1);

        g_assert_cmpstr(gib, ==, "4 GiB");
        g_assert_cmpstr(mib, ==, "1537 MiB");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/table", test_table);
    g_test_add_func("/cli/examples", test_examples);
    g_test_add_func("/cli/see-also", test_see_also);
    g_test_add_func("/cli/create", test_create);
    g_test_add_func("/cli/placement", test_placement);
    g_test_add_func("/cli/mistakes", test_mistakes);
    g_test_add_func("/cli/no-suggestion", test_no_suggestion);
    g_test_add_func("/cli/memory", test_memory);
    g_test_add_func("/cli/help", test_help);
    g_test_add_func("/cli/version", test_version);
    g_test_add_func("/cli/escape", test_escape);
    g_test_add_func("/cli/escape-key", test_escape_key);
    g_test_add_func("/cli/alias", test_alias);
    g_test_add_func("/cli/alias-check", test_alias_check);
    g_test_add_func("/cli/table-text", test_table_text);
    g_test_add_func("/cli/table-width", test_table_width);
    g_test_add_func("/cli/parse", test_parse);
    g_test_add_func("/cli/colors", test_colors);
    g_test_add_func("/cli/format-words", test_format_words);
    g_test_add_func("/cli/templates", test_templates);
    g_test_add_func("/cli/safe-json", test_safe_json);
    g_test_add_func("/cli/yaml", test_yaml);
    g_test_add_func("/cli/csv", test_csv);
    g_test_add_func("/cli/guest-text", test_guest_text);
    g_test_add_func("/cli/unfinished", test_unfinished);
    g_test_add_func("/cli/formats", test_formats);
    return g_test_run();
}
