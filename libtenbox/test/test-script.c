/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/test/test-script.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"

#define VM_COUNT_MAX     100000
#define MILLISECONDS_MAX 600000

static const char *const operations[] = {
    "all",
    "open",
    "system-get",
    "system-stop-vms",
    "doctor",
    "vm-list",
    "vm-get",
    "vm-create",
    "vm-update",
    "vm-list-deleted",
    "vm-undelete",
    "operation-list",
    "operation-get",
    "operation-cancel",
    "vm-log",
    "vm-log-follow",
    "vm-statistics",
    "vm-send-key",
    "console-open",
    "console-read",
    "console-write",
    "watch",
    "vm-start",
    "vm-stop",
    "vm-shutdown",
    "vm-reboot",
    "vm-reset",
    "vm-pause",
    "vm-resume",
    "vm-delete",
    "start",
    "stop",
    "shutdown",
    "reboot",
    "reset",
    "pause",
    "resume",
    "delete",
    NULL,
};

typedef struct {
    char *operation;
    char *slug;
    char *field; /* nullable */
    gint64 left; /* how often it still happens; -1: always */
} Fault;

static void fault_free(gpointer data)
{
    Fault *fault = data;

    g_free(fault->operation);
    g_free(fault->slug);
    g_free(fault->field);
    g_free(fault);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fault, fault_free)

static gboolean check_operation(const char *word, GError **error)
{
    g_autofree char *known = NULL;

    if (g_strv_contains(operations, word))
        return TRUE;
    known = g_strjoinv(", ", (char **)operations);
    tbx_error_set(error, "field-invalid", "uri", "there is no call \"%s\" to fail or hang: %s",
                  word, known);
    return FALSE;
}

/* OP:CODE[:FIELD[:COUNT]] */
static Fault *parse_fault(const char *text, GError **error)
{
    g_autoptr(Fault) fault = g_new0(Fault, 1);
    g_auto(GStrv) parts = g_strsplit(text, ":", 5);
    guint count = g_strv_length(parts);
    guint64 times;

    if (count < 2 || count > 4) {
        tbx_error_set(error, "field-invalid", "uri",
                      "\"%s\" is no fault: it has the form OP:CODE[:FIELD[:COUNT]]", text);
        return NULL;
    }
    if (!check_operation(parts[0], error))
        return NULL;
    if (tbx_error_kind_lookup(parts[1]) == NULL) {
        tbx_error_set(error, "field-invalid", "uri",
                      "there is no error code \"%s\"; docs/errors.md lists them", parts[1]);
        return NULL;
    }
    fault->left = -1;
    if (count == 4) {
        if (!g_ascii_string_to_unsigned(parts[3], 10, 1, G_MAXUINT32, &times, NULL)) {
            tbx_error_set(error, "field-invalid", "uri", "\"%s\" is no count of a fault", parts[3]);
            return NULL;
        }
        fault->left = (gint64)times;
    }
    fault->operation = g_strdup(parts[0]);
    fault->slug = g_strdup(parts[1]);
    fault->field = count > 2 && parts[2][0] != '\0' ? g_strdup(parts[2]) : NULL;
    return g_steal_pointer(&fault);
}

/* NULL when @fault is about something else, or used up. */
static GError *strike(Fault *fault, const char *operation)
{
    gboolean fits = g_str_equal(fault->operation, operation) ||
                    (g_str_equal(fault->operation, "all") && !g_str_equal(operation, "open"));

    if (!fits || fault->left == 0)
        return NULL;
    if (fault->left > 0)
        fault->left--;
    return tbx_error_new(fault->slug, fault->field, "%s fails, as this test:// URI or VM asks for",
                         operation);
}

GError *tbx_test_script_take_fault(TbxTestScript *self, const char *operation, const char *cmdline)
{
    g_auto(GStrv) words = g_strsplit(cmdline != NULL ? cmdline : "", " ", -1);
    GError *struck = NULL;

    for (guint i = 0; words[i] != NULL && struck == NULL; i++) {
        g_autoptr(Fault) fault = NULL;

        if (g_str_has_prefix(words[i], "fault="))
            fault = parse_fault(words[i] + strlen("fault="), NULL);
        if (fault != NULL)
            struck = strike(fault, operation);
    }
    for (guint i = 0; i < self->faults->len && struck == NULL; i++)
        struck = strike(g_ptr_array_index(self->faults, i), operation);
    return struck;
}

gboolean tbx_test_script_hangs(TbxTestScript *self, const char *operation)
{
    const char *const *hangs = (const char *const *)self->hangs;

    return hangs != NULL && (g_strv_contains(hangs, operation) ||
                             (g_strv_contains(hangs, "all") && !g_str_equal(operation, "open")));
}

gboolean tbx_test_script_check_cmdline(const char *cmdline, GError **error)
{
    g_auto(GStrv) words = g_strsplit(cmdline, " ", -1);

    for (guint i = 0; words[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(Fault) fault = NULL;

        if (!g_str_has_prefix(words[i], "fault="))
            continue;
        fault = parse_fault(words[i] + strlen("fault="), &problem);
        if (fault == NULL) {
            tbx_error_set(error, "field-invalid", "cmdline", "cmdline: %s", problem->message);
            return FALSE;
        }
        /* Nobody would count: the words are read anew each time. */
        if (fault->left >= 0) {
            tbx_error_set(error, "field-invalid", "cmdline",
                          "cmdline: \"%s\": a fault of a VM has no COUNT, it strikes each time",
                          words[i]);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean tbx_test_cmdline_has(const char *cmdline, const char *word)
{
    g_auto(GStrv) words = g_strsplit(cmdline != NULL ? cmdline : "", " ", -1);

    return g_strv_contains((const char *const *)words, word);
}

/* ---- the query ---------------------------------------------------------------------------- */

static gboolean take_number(const char *name, const char *value, guint maximum, guint *ret_number,
                            GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, 10, 0, maximum, &number, NULL)) {
        tbx_error_set(error, "field-invalid", "uri", "%s: \"%s\" is no number from 0 to %u", name,
                      value, maximum);
        return FALSE;
    }
    *ret_number = (guint)number;
    return TRUE;
}

static gboolean take_hangs(TbxTestScript *self, const char *value, GError **error)
{
    g_strfreev(self->hangs);
    self->hangs = g_strsplit(value, ",", -1);
    for (guint i = 0; self->hangs[i] != NULL; i++) {
        if (!check_operation(self->hangs[i], error))
            return FALSE;
    }
    return TRUE;
}

static gboolean take_parameter(TbxTestScript *self, const char *name, const char *value,
                               GError **error)
{
    Fault *fault;

    if (g_str_equal(name, "vms"))
        return take_number(name, value, VM_COUNT_MAX, &self->vm_count, error);
    if (g_str_equal(name, "boot-ms"))
        return take_number(name, value, MILLISECONDS_MAX, &self->boot_ms, error);
    if (g_str_equal(name, "stop-ms"))
        return take_number(name, value, MILLISECONDS_MAX, &self->stop_ms, error);
    if (g_str_equal(name, "latency-ms"))
        return take_number(name, value, MILLISECONDS_MAX, &self->latency_ms, error);
    if (g_str_equal(name, "hang"))
        return take_hangs(self, value, error);
    if (g_str_equal(name, "fault")) {
        fault = parse_fault(value, error);
        if (fault != NULL)
            g_ptr_array_add(self->faults, fault);
        return fault != NULL;
    }
    tbx_error_set(error, "field-invalid", "uri",
                  "test:// has no parameter \"%s\": vms, boot-ms, stop-ms, latency-ms, hang, fault",
                  name);
    return FALSE;
}

TbxTestScript *tbx_test_script_new(const char *path, const char *query, GError **error)
{
    g_autoptr(TbxTestScript) self = g_new0(TbxTestScript, 1);
    g_autoptr(GError) problem = NULL;
    GUriParamsIter iter;
    char *name, *value;

    g_ref_count_init(&self->references);
    self->faults = g_ptr_array_new_with_free_func(fault_free);
    self->has_vms = g_str_equal(path, "/default") || g_str_equal(path, "/");
    if (!self->has_vms && !g_str_equal(path, "/empty")) {
        tbx_error_set(error, "field-invalid", "uri",
                      "test://%s is not known, only test:///default and test:///empty", path);
        return NULL;
    }
    g_uri_params_iter_init(&iter, query != NULL ? query : "", -1, "&", G_URI_PARAMS_NONE);
    while (g_uri_params_iter_next(&iter, &name, &value, &problem)) {
        g_autofree char *taken_name = name;
        g_autofree char *taken_value = value;

        if (!take_parameter(self, taken_name, taken_value, error))
            return NULL;
    }
    if (problem != NULL) {
        tbx_error_set(error, "field-invalid", "uri", "the parameters of test:// are malformed: %s",
                      problem->message);
        return NULL;
    }
    return g_steal_pointer(&self);
}

TbxTestScript *tbx_test_script_ref(TbxTestScript *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_test_script_unref(TbxTestScript *self)
{
    if (self == NULL || !g_ref_count_dec(&self->references))
        return;
    g_ptr_array_unref(self->faults);
    g_strfreev(self->hangs);
    g_free(self);
}
