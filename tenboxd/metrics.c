/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Figures as OpenMetrics text; see metrics.h.
 */
#include "tenboxd/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libtenbox/tenbox.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "tenboxd/ws.h"

#define CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

struct _TbdMetrics {
    TbdDaemon *daemon;
    GBytes *text;   /* nullable */
    gint64 made_at; /* monotonic */
    GQueue waiting; /* of TbdRequest */
    gboolean is_asking;
    gint64 started_at; /* seconds since 1970 */
};

/* One round of questions. */
typedef struct {
    TbdDaemon *daemon; /* a reference; it outlives `metrics` */
    guint pending;
    GPtrArray *vms;        /* nullable: of TbxVmRecord */
    GPtrArray *operations; /* nullable: of TbxOperationRecord */
    GHashTable *figures;   /* id → JsonObject (Statistics) */
} Round;

/* One question of it. */
typedef struct {
    Round *round;
    char *vm_id;
} Question;

/* ---- writing ---------------------------------------------------------------------------------- */

static void family(GString *out, const char *name, const char *type, const char *help)
{
    g_string_append_printf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void single(GString *out, const char *name, const char *type, const char *help,
                   guint64 value)
{
    family(out, name, type, help);
    g_string_append_printf(out, "%s%s %" G_GUINT64_FORMAT "\n", name,
                           strcmp(type, "counter") == 0 ? "_total" : "", value);
}

static void seconds(GString *out, gint64 nanoseconds)
{
    g_string_append_printf(out, "%" G_GINT64_FORMAT ".%09" G_GINT64_FORMAT,
                           nanoseconds / 1000000000, nanoseconds % 1000000000);
}

/* The labels of a VM, with room for more. Neither an id nor a name has anything to escape. */
static void vm_sample(GString *out, const char *name, const TbxVmRecord *vm)
{
    g_string_append_printf(out, "%s{vm=\"%s\",name=\"%s\"", name, vm->id, vm->name);
}

static gboolean get_figure(Round *round, const TbxVmRecord *vm, const char *member,
                           gint64 *ret_value)
{
    JsonObject *figures = g_hash_table_lookup(round->figures, vm->id);
    JsonNode *node = figures != NULL ? json_object_get_member(figures, member) : NULL;

    if (node == NULL || json_node_get_value_type(node) != G_TYPE_INT64) {
        return FALSE;
    }
    *ret_value = json_node_get_int(node);
    return TRUE;
}

static void print_states(GString *out, Round *round)
{
    family(out, "tenbox_vm_state", "gauge", "1 with the state that the VM is in");
    for (guint i = 0; i < round->vms->len; i++) {
        const TbxVmRecord *vm = round->vms->pdata[i];

        vm_sample(out, "tenbox_vm_state", vm);
        g_string_append_printf(out, ",state=\"%s\"} 1\n",
                               tenbox_vm_state_to_string((TenboxVmState)vm->state));
    }
    family(out, "tenbox_vm_restarts", "gauge",
           "Restarts in a row that the daemon made by the VM's restart policy");
    for (guint i = 0; i < round->vms->len; i++) {
        const TbxVmRecord *vm = round->vms->pdata[i];

        vm_sample(out, "tenbox_vm_restarts", vm);
        g_string_append_printf(out, "} %" G_GINT64_FORMAT "\n", vm->restart_count);
    }
}

static void print_figures(GString *out, Round *round)
{
    static const struct {
        const char *name, *suffix, *type, *member, *help;
        gboolean is_time; /* nanoseconds, shown in seconds */
    } rows[] = {
        {"tenbox_vm_memory_bytes", "", "gauge", "memory_bytes", "Memory of the guest", FALSE},
        {"tenbox_vm_resident_bytes", "", "gauge", "resident_bytes",
         "Resident memory of the VM's process", FALSE},
        {"tenbox_vm_vcpus", "", "gauge", "vcpu_count", "CPUs of the guest", FALSE},
        {"tenbox_vm_uptime_seconds", "", "gauge", "uptime_ns", "Since the guest began", TRUE},
        {"tenbox_vm_cpu_seconds", "_total", "counter", "cpu_time_ns",
         "CPU time of the VM's process", TRUE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *sample = g_strconcat(rows[i].name, rows[i].suffix, NULL);

        family(out, rows[i].name, rows[i].type, rows[i].help);
        for (guint j = 0; j < round->vms->len; j++) {
            const TbxVmRecord *vm = round->vms->pdata[j];
            gint64 value;

            if (!get_figure(round, vm, rows[i].member, &value)) {
                continue;
            }
            vm_sample(out, sample, vm);
            g_string_append(out, "} ");
            if (rows[i].is_time) {
                seconds(out, value);
            } else {
                g_string_append_printf(out, "%" G_GINT64_FORMAT, value);
            }
            g_string_append_c(out, '\n');
        }
    }
}

static void print_operations(GString *out, Round *round)
{
    guint counts[8] = {0};

    for (guint i = 0; i < round->operations->len; i++) {
        const TbxOperationRecord *operation = round->operations->pdata[i];

        counts[MIN((guint)operation->state, G_N_ELEMENTS(counts) - 1)]++;
    }
    family(out, "tenboxd_operations", "gauge", "Operations that run or ended lately");
    for (guint state = 1; state < G_N_ELEMENTS(counts); state++) {
        const char *word = tenbox_operation_state_to_string((TenboxOperationState)state);

        if (tenbox_operation_state_from_string(word) == (TenboxOperationState)state) {
            g_string_append_printf(out, "tenboxd_operations{state=\"%s\"} %u\n", word,
                                   counts[state]);
        }
    }
}

static void print_requests(GString *out, TbdDaemon *daemon)
{
    TbdLedger *ledger = tbd_daemon_get_ledger(daemon);
    const TbdCounters *counters = tbd_ledger_get_counters(ledger);
    TbdAudit *audit = tbd_ledger_get_audit(ledger);
    gsize count;
    const TbxErrorKind *kinds = tbx_error_kinds(&count);

    family(out, "tenboxd_answers", "counter", "Answers by the first digit of their status");
    for (guint digit = 1; digit < G_N_ELEMENTS(counters->answers); digit++) {
        g_string_append_printf(out,
                               "tenboxd_answers_total{status=\"%uxx\"} %" G_GUINT64_FORMAT "\n",
                               digit, counters->answers[digit]);
    }
    family(out, "tenboxd_refused", "counter",
           "Requests and connections that were refused before anybody looked at what they want");
    for (gsize i = 0; i < count; i++) {
        if (tbd_ledger_get_refused(ledger, i) > 0) {
            g_string_append_printf(out,
                                   "tenboxd_refused_total{code=\"%s\"} %" G_GUINT64_FORMAT "\n",
                                   kinds[i].slug, tbd_ledger_get_refused(ledger, i));
        }
    }
    single(out, "tenboxd_connections_accepted", "counter", "Connections that were taken in",
           counters->connections);
    single(out, "tenboxd_connections", "gauge", "Connections that are open",
           tbd_daemon_get_peer_count(daemon));
    single(out, "tenboxd_streams_opened", "counter", "WebSockets that were opened",
           counters->streams);
    single(out, "tenboxd_streams", "gauge", "WebSockets that are open",
           tbd_sessions_get_count(tbd_daemon_get_sessions(daemon)));
    single(out, "tenboxd_channels", "gauge", "Channels of them that are open",
           tbd_sessions_get_channel_count(tbd_daemon_get_sessions(daemon)));
    single(out, "tenboxd_overruns", "counter",
           "Followers of events that were cut because they did not read", counters->overruns);
    single(out, "tenboxd_audit_lost", "counter", "Entries of the audit log that were lost",
           audit != NULL ? tbd_audit_get_lost_count(audit) : 0);
}

static void print_process(GString *out, const TbdMetrics *self)
{
    g_autofree char *text = NULL;
    struct rusage usage;
    unsigned long size, resident;

    family(out, "tenboxd", "info", "The daemon's version");
    g_string_append_printf(out, "tenboxd_info{version=\"%s\"} 1\n", tenbox_get_version());
    single(out, "tenboxd_start_time_seconds", "gauge", "When it was started, since 1970",
           (guint64)self->started_at);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        gint64 microseconds = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * G_USEC_PER_SEC +
                              usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;

        family(out, "tenboxd_cpu_seconds", "counter", "CPU time of the daemon");
        g_string_append(out, "tenboxd_cpu_seconds_total ");
        seconds(out, microseconds * 1000);
        g_string_append_c(out, '\n');
    }
    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL) &&
        sscanf(text, "%lu %lu", &size, &resident) == 2) {
        single(out, "tenboxd_resident_bytes", "gauge", "Resident memory of the daemon",
               (guint64)resident * (guint64)sysconf(_SC_PAGESIZE));
    }
}

static GBytes *print_all(const TbdMetrics *self, Round *round)
{
    GString *out = g_string_new(NULL);

    print_process(out, self);
    print_requests(out, round->daemon);
    if (round->operations != NULL) {
        print_operations(out, round);
    }
    if (round->vms != NULL) {
        print_states(out, round);
        print_figures(out, round);
    }
    g_string_append(out, "# EOF\n");
    return g_string_free_to_bytes(out);
}

/* ---- asking ----------------------------------------------------------------------------------- */

/* One question fewer; with the last one everybody gets the answer. */
static void finish(Round *round)
{
    TbdMetrics *self = tbd_daemon_get_metrics(round->daemon);

    if (--round->pending > 0) {
        return;
    }
    if (self != NULL) {
        g_clear_pointer(&self->text, g_bytes_unref);
        self->text = print_all(self, round);
        self->made_at = g_get_monotonic_time();
        self->is_asking = FALSE;
        while (self->waiting.head != NULL) {
            tbd_request_reply_bytes(g_queue_pop_head(&self->waiting), 200, CONTENT_TYPE,
                                    self->text);
        }
    }
    g_clear_pointer(&round->vms, g_ptr_array_unref);
    g_clear_pointer(&round->operations, g_ptr_array_unref);
    g_hash_table_unref(round->figures);
    tbd_daemon_unref(round->daemon);
    g_free(round);
}

static void on_figures(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Question *question = user_data;
    g_autofree char *text = g_task_propagate_pointer(G_TASK(result), NULL);
    JsonObject *figures =
        text != NULL ? tbx_json_guard_parse_answer(text, strlen(text), NULL) : NULL;

    if (figures != NULL) {
        g_hash_table_insert(question->round->figures, g_strdup(question->vm_id), figures);
    }
    finish(question->round);
    g_free(question->vm_id);
    g_free(question);
}

static void on_vms(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Round *round = user_data;
    TbxDriver *driver = tbd_daemon_get_driver(round->daemon);

    round->vms = g_task_propagate_pointer(G_TASK(result), NULL);
    for (guint i = 0; round->vms != NULL && i < round->vms->len; i++) {
        const TbxVmRecord *vm = round->vms->pdata[i];
        Question *question;

        if (vm->pid == 0) {
            continue;
        }
        question = g_new0(Question, 1);
        question->round = round;
        question->vm_id = g_strdup(vm->id);
        round->pending++;
        tbx_driver_vm_statistics(driver, vm->id, g_task_new(NULL, NULL, on_figures, question));
    }
    finish(round);
}

static void on_operations(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Round *round = user_data;

    round->operations = g_task_propagate_pointer(G_TASK(result), NULL);
    finish(round);
}

void tbd_metrics_answer(TbdMetrics *self, TbdRequest *request)
{
    TbxDriver *driver = tbd_daemon_get_driver(self->daemon);
    Round *round;

    if (self->text != NULL &&
        g_get_monotonic_time() - self->made_at < TBD_METRICS_SECONDS * G_USEC_PER_SEC) {
        tbd_request_reply_bytes(request, 200, CONTENT_TYPE, self->text);
        return;
    }
    g_queue_push_tail(&self->waiting, request);
    if (self->is_asking) {
        return;
    }
    self->is_asking = TRUE;
    round = g_new0(Round, 1);
    round->daemon = tbd_daemon_ref(self->daemon);
    round->figures =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)json_object_unref);
    round->pending = 2;
    tbx_driver_operation_list(driver, g_task_new(NULL, NULL, on_operations, round));
    tbx_driver_vm_list(driver, g_task_new(NULL, NULL, on_vms, round));
}

TbdMetrics *tbd_metrics_new(TbdDaemon *daemon)
{
    TbdMetrics *self = g_new0(TbdMetrics, 1);

    self->daemon = daemon;
    self->started_at = g_get_real_time() / G_USEC_PER_SEC;
    g_queue_init(&self->waiting);
    return self;
}

void tbd_metrics_free(TbdMetrics *self)
{
    if (self == NULL) {
        return;
    }
    while (self->waiting.head != NULL) {
        tbd_request_fail(g_queue_pop_head(&self->waiting),
                         tbx_error_new("shutting-down", NULL, "the daemon is shutting down"));
    }
    g_clear_pointer(&self->text, g_bytes_unref);
    g_free(self);
}
