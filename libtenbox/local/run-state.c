/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/run-state.h"

#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libtenbox/local/policy.h"
#include "libtenbox/local/host.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"

/* Far beyond what anybody will count. */
#define RESTART_COUNT_MAX 1000000000
#define TIME_MAX          (G_GINT64_CONSTANT(253402300799) * G_USEC_PER_SEC)
/* Fields of /proc/PID/stat behind the name, counted from the state: proc(5) numbers minus three. */
#define STAT_USER_TIME    11
#define STAT_SYSTEM_TIME  12
#define STAT_START_TIME   19
#define STAT_FIELDS       22

TbxRunState *tbx_run_state_new(void)
{
    return g_new0(TbxRunState, 1);
}

void tbx_run_state_free(TbxRunState *self)
{
    if (self == NULL)
        return;
    tbx_run_config_free(self->config);
    tbx_vm_exit_free(self->last_exit);
    tbx_vm_problem_free(self->last_error);
    tbx_vm_restart_free(self->restart);
    g_free(self);
}

TbxVmExit *tbx_vm_exit_copy(const TbxVmExit *self)
{
    TbxVmExit *copy;

    if (self == NULL)
        return NULL;
    copy = g_memdup2(self, sizeof(*self));
    copy->reason = g_strdup(self->reason);
    copy->detail = g_strdup(self->detail);
    copy->signal = g_strdup(self->signal);
    return copy;
}

void tbx_vm_exit_free(TbxVmExit *self)
{
    if (self == NULL)
        return;
    g_free(self->reason);
    g_free(self->detail);
    g_free(self->signal);
    g_free(self);
}

TbxVmProblem *tbx_vm_problem_copy(const TbxVmProblem *self)
{
    TbxVmProblem *copy;

    if (self == NULL)
        return NULL;
    copy = g_new0(TbxVmProblem, 1);
    copy->code = g_strdup(self->code);
    copy->field = g_strdup(self->field);
    copy->detail = g_strdup(self->detail);
    return copy;
}

void tbx_vm_problem_free(TbxVmProblem *self)
{
    if (self == NULL)
        return;
    g_free(self->code);
    g_free(self->field);
    g_free(self->detail);
    g_free(self);
}

TbxVmProblem *tbx_vm_problem_new(const GError *error)
{
    TbxVmProblem *problem = g_new0(TbxVmProblem, 1);

    problem->code = g_strdup(tbx_error_kind_of(error)->slug);
    problem->field = g_strdup(tenbox_error_get_field(error));
    problem->detail = g_strdup(error->message);
    return problem;
}

TbxVmRestart *tbx_vm_restart_copy(const TbxVmRestart *self)
{
    TbxVmRestart *copy;

    if (self == NULL)
        return NULL;
    copy = g_memdup2(self, sizeof(*self));
    copy->reason = g_strdup(self->reason);
    return copy;
}

void tbx_vm_restart_free(TbxVmRestart *self)
{
    if (self == NULL)
        return;
    g_free(self->reason);
    g_free(self);
}

/* ---- the file ----------------------------------------------------------------------------- */

static const char *get_string(JsonObject *object, const char *key)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, key) : NULL;

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) &&
                   json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

static gint64 get_integer(JsonObject *object, const char *key)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, key) : NULL;

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) &&
                   json_node_get_value_type(node) == G_TYPE_INT64
               ? json_node_get_int(node)
               : 0;
}

/* Microseconds since 1970, 0 for what is no time before the year 10000. */
static gint64 get_time(JsonObject *object, const char *key)
{
    gint64 time = get_integer(object, key);

    return time > 0 && time <= TIME_MAX ? time : 0;
}

static JsonObject *get_object(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);

    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static TbxVmExit *parse_exit(JsonObject *object)
{
    g_autoptr(TbxVmExit) exit = NULL;

    if (get_string(object, "reason") == NULL)
        return NULL;
    exit = g_new0(TbxVmExit, 1);
    exit->reason = g_strdup(get_string(object, "reason"));
    exit->detail = g_strdup(get_string(object, "detail"));
    exit->signal = g_strdup(get_string(object, "signal"));
    exit->exit_code = get_integer(object, "exit_code");
    exit->time = get_time(object, "time");
    return g_steal_pointer(&exit);
}

static TbxVmProblem *parse_problem(JsonObject *object)
{
    TbxVmProblem *problem;

    if (get_string(object, "code") == NULL || get_string(object, "detail") == NULL)
        return NULL;
    problem = g_new0(TbxVmProblem, 1);
    problem->code = g_strdup(get_string(object, "code"));
    problem->field = g_strdup(get_string(object, "field"));
    problem->detail = g_strdup(get_string(object, "detail"));
    return problem;
}

/* Restarts are of the boot that they happened in: after another, autostart decides. */
static void parse_restarts(TbxRunState *self, JsonObject *object)
{
    g_autofree char *boot_id = tbx_boot_id_read();
    gint64 count = get_integer(object, "count");
    gint64 delay = get_integer(object, "delay");

    if (*boot_id == '\0' || g_strcmp0(get_string(object, "boot_id"), boot_id) != 0)
        return;
    self->restart_count = CLAMP(count, 0, RESTART_COUNT_MAX);
    if (get_string(object, "reason") == NULL || get_time(object, "at") == 0 || delay < 0 ||
        delay > TBX_RESTART_DELAY_MAX)
        return;
    self->restart = g_new0(TbxVmRestart, 1);
    self->restart->reason = g_strdup(get_string(object, "reason"));
    self->restart->delay = delay;
    self->restart->at = get_time(object, "at");
}

TbxRunState *tbx_run_state_parse(const char *text, gsize length)
{
    TbxRunState *self = tbx_run_state_new();
    g_autoptr(JsonObject) document = tbx_json_guard_parse_object(text, length, NULL);
    const char *boot_id;

    if (document == NULL)
        return self;
    self->process.pid = get_integer(document, "pid");
    self->process.start_time = get_integer(document, "start_time");
    boot_id = get_string(document, "boot_id");
    g_strlcpy(self->process.boot_id, boot_id != NULL ? boot_id : "", sizeof(self->process.boot_id));
    /* pid 1 and below are never a VM; a wrong one must not be signalled. */
    if (self->process.pid <= 1 || self->process.pid > G_MAXINT32)
        self->process.pid = 0;
    self->started_at = get_time(document, "started_at");
    self->shutdown_requested_at = get_time(document, "shutdown_requested_at");
    self->last_boot_time = get_time(document, "last_boot_time");
    self->config = tbx_run_config_from_json(get_object(document, "config"));
    self->last_exit = parse_exit(get_object(document, "last_exit"));
    self->last_error = parse_problem(get_object(document, "last_error"));
    parse_restarts(self, get_object(document, "restarts"));
    return self;
}

static void set_string(JsonObject *object, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_string_member(object, key, value);
}

static JsonObject *print_restarts(const TbxRunState *self)
{
    JsonObject *object = json_object_new();
    g_autofree char *boot_id = tbx_boot_id_read();

    json_object_set_string_member(object, "boot_id", boot_id);
    json_object_set_int_member(object, "count", self->restart_count);
    if (self->restart != NULL) {
        json_object_set_string_member(object, "reason", self->restart->reason);
        json_object_set_int_member(object, "delay", self->restart->delay);
        json_object_set_int_member(object, "at", self->restart->at);
    }
    return object;
}

GBytes *tbx_run_state_print(const TbxRunState *self)
{
    g_autoptr(JsonObject) document = json_object_new();
    gsize length;
    char *text;

    if (self->process.pid != 0) {
        json_object_set_int_member(document, "pid", self->process.pid);
        json_object_set_int_member(document, "start_time", self->process.start_time);
        json_object_set_string_member(document, "boot_id", self->process.boot_id);
        json_object_set_int_member(document, "started_at", self->started_at);
        json_object_set_int_member(document, "shutdown_requested_at", self->shutdown_requested_at);
        if (self->config != NULL)
            json_object_set_object_member(document, "config", tbx_run_config_to_json(self->config));
    }
    if (self->last_boot_time != 0)
        json_object_set_int_member(document, "last_boot_time", self->last_boot_time);
    if (self->last_exit != NULL) {
        JsonObject *exit = json_object_new();

        set_string(exit, "reason", self->last_exit->reason);
        set_string(exit, "detail", self->last_exit->detail);
        set_string(exit, "signal", self->last_exit->signal);
        json_object_set_int_member(exit, "exit_code", self->last_exit->exit_code);
        json_object_set_int_member(exit, "time", self->last_exit->time);
        json_object_set_object_member(document, "last_exit", exit);
    }
    if (self->last_error != NULL) {
        JsonObject *problem = json_object_new();

        set_string(problem, "code", self->last_error->code);
        set_string(problem, "field", self->last_error->field);
        set_string(problem, "detail", self->last_error->detail);
        json_object_set_object_member(document, "last_error", problem);
    }
    if (self->restart_count != 0 || self->restart != NULL)
        json_object_set_object_member(document, "restarts", print_restarts(self));
    text = tbx_json_print_object(document, &length);
    return g_bytes_new_take(text, length);
}

/* ---- processes ---------------------------------------------------------------------------- */

/* Numbers @fields[i] are the fields of /proc/PID/stat from the state on. The name before them may hold
 * anything, spaces and parentheses included: the last ')' ends it. */
static gboolean read_stat(gint64 pid, gint64 fields[STAT_FIELDS])
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/stat", pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) words = NULL;
    const char *end;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    end = strrchr(text, ')');
    if (end == NULL || end[1] != ' ')
        return FALSE;
    words = g_strsplit(end + 2, " ", -1);
    if (g_strv_length(words) < STAT_FIELDS)
        return FALSE;
    for (guint i = 0; i < STAT_FIELDS; i++)
        fields[i] = g_ascii_strtoll(words[i], NULL, 10);
    return TRUE;
}

char *tbx_boot_id_read(void)
{
    char boot_id[sizeof(((TbxProcessIdentity *)NULL)->boot_id)] = "";

    (void)tbx_host_read_boot_id(boot_id, sizeof(boot_id));
    return g_strdup(boot_id);
}

gboolean tbx_process_identity_read(gint64 pid, TbxProcessIdentity *ret_identity)
{
    TbxProcessIdentity identity = {.pid = pid};
    gint64 fields[STAT_FIELDS];

    if (!read_stat(pid, fields) ||
        !tbx_host_read_boot_id(identity.boot_id, sizeof(identity.boot_id)))
        return FALSE;
    identity.start_time = fields[STAT_START_TIME];
    *ret_identity = identity;
    return TRUE;
}

gboolean tbx_process_identity_is_of_this_boot(const TbxProcessIdentity *identity)
{
    char boot_id[sizeof(identity->boot_id)];

    return tbx_host_read_boot_id(boot_id, sizeof(boot_id)) &&
           g_str_equal(boot_id, identity->boot_id);
}

gboolean tbx_process_identity_is_present(const TbxProcessIdentity *identity)
{
    TbxProcessIdentity now;

    return identity->pid > 0 && tbx_process_identity_read(identity->pid, &now) &&
           now.start_time == identity->start_time && g_str_equal(now.boot_id, identity->boot_id);
}

gboolean tbx_process_get_usage(gint64 pid, gint64 *ret_resident_bytes, gint64 *ret_cpu_time_ns)
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/statm", pid);
    g_autofree char *text = NULL;
    gint64 fields[STAT_FIELDS];
    char *end;
    gint64 resident;

    if (!read_stat(pid, fields) || !g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    (void)g_ascii_strtoll(text, &end, 10);
    resident = g_ascii_strtoll(end, NULL, 10);
    *ret_resident_bytes = resident * sysconf(_SC_PAGESIZE);
    *ret_cpu_time_ns = (fields[STAT_USER_TIME] + fields[STAT_SYSTEM_TIME]) *
                       (G_GINT64_CONSTANT(1000000000) / sysconf(_SC_CLK_TCK));
    return TRUE;
}
