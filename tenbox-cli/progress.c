/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See progress.h. */
#include "tenbox-cli/progress.h"

#include <stdio.h>

#include <glib/gi18n.h>

#include "tenbox-cli/output.h"

#define REDRAW_MICROSECONDS (75 * 1000)

struct _CliProgress {
    Cli *cli;
    char *stage;
    int percent;
    gboolean is_begun;
    gboolean is_drawn; /* a line is on the terminal */
    gint64 drawn_at;
};

CliProgress *cli_progress_new(Cli *cli)
{
    CliProgress *self;

    if (cli->progress == CLI_PROGRESS_NONE)
        return NULL;
    self = g_new0(CliProgress, 1);
    self->cli = cli;
    return self;
}

void cli_progress_free(CliProgress *self)
{
    if (!self)
        return;
    if (self->is_drawn)
        fputs("\r\033[K", stderr);
    g_free(self->stage);
    g_free(self);
}

gboolean cli_progress_is_step(int last_percent, int percent)
{
    return percent >= 0 && (last_percent < 0 || percent / 10 != last_percent / 10);
}

static void show_json(const char *stage, int percent, gint64 done_bytes, gint64 total_bytes)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    g_autofree char *text = NULL;

    json_object_set_string_member(object, "stage", stage);
    if (percent >= 0)
        json_object_set_int_member(object, "percent", percent);
    else
        json_object_set_null_member(object, "percent");
    json_object_set_int_member(object, "done_bytes", done_bytes);
    json_object_set_int_member(object, "total_bytes", total_bytes);
    json_node_take_object(node, object);
    text = cli_json_to_text(node, FALSE);
    fprintf(stderr, "%s\n", text);
}

static char *describe(const char *stage, int percent, gint64 done_bytes, gint64 total_bytes)
{
    g_autofree char *safe = cli_safe_text(stage);
    g_autofree char *done = g_format_size_full((guint64)done_bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *total = g_format_size_full((guint64)total_bytes, G_FORMAT_SIZE_IEC_UNITS);

    if (percent < 0)
        return g_strdup_printf("%s …", safe);
    if (total_bytes > 0)
        return g_strdup_printf(_("%s %d %% (%s of %s)"), safe, percent, done, total);
    return g_strdup_printf("%s %d %%", safe, percent);
}

void cli_progress_show(CliProgress *self, const char *stage, int percent, gint64 done_bytes,
                       gint64 total_bytes)
{
    const gint64 now = g_get_monotonic_time();
    gboolean is_new;
    g_autofree char *text = NULL;

    if (!self)
        return;
    is_new = !self->is_begun || g_strcmp0(self->stage, stage) != 0;
    if (self->cli->progress == CLI_PROGRESS_JSON) {
        if (is_new || percent != self->percent)
            show_json(stage, percent, done_bytes, total_bytes);
    } else {
        text = describe(stage, percent, done_bytes, total_bytes);
        if (self->cli->progress == CLI_PROGRESS_PLAIN) {
            if (is_new || cli_progress_is_step(self->percent, percent))
                fprintf(stderr, "%s\n", text);
        } else if (is_new || now - self->drawn_at >= REDRAW_MICROSECONDS) {
            fprintf(stderr, "\r%s\033[K", text);
            self->is_drawn = TRUE;
            self->drawn_at = now;
        }
    }
    if (is_new) {
        g_free(self->stage);
        self->stage = g_strdup(stage);
    }
    self->percent = percent;
    self->is_begun = TRUE;
}

static gint64 get_number(JsonObject *object, const char *name, gint64 fallback)
{
    JsonNode *member = object ? json_object_get_member(object, name) : NULL;

    return member && JSON_NODE_HOLDS_VALUE(member) ? json_node_get_int(member) : fallback;
}

void cli_progress_show_operation(CliProgress *self, JsonObject *operation)
{
    JsonNode *node = json_object_get_member(operation, "progress");
    JsonObject *progress = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    const char *stage =
        progress ? json_object_get_string_member_with_default(progress, "stage", NULL) : NULL;

    if (!stage)
        stage = json_object_get_string_member_with_default(operation, "kind", "");
    cli_progress_show(self, stage, (int)CLAMP(get_number(progress, "percent", -1), -1, 100),
                      get_number(progress, "done_bytes", 0),
                      get_number(progress, "total_bytes", 0));
}
