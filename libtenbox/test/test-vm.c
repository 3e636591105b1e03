/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/test/test-vm.h"

#include <string.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-state.h"
#include "libtenbox/test/test-console.h"
#include "libtenbox/wire/json-guard.h"
#include "libtenbox/wire/wire-error.h"
#include "libtenbox/wire/wire-etag.h"

#define MEMORY_MB_DEFAULT 4096
#define CPU_COUNT_DEFAULT 4
/* What a machine is made of: a change waits for the next one. */
#define MACHINE_FIELDS                                                                             \
    (TBX_VM_SPEC_KERNEL | TBX_VM_SPEC_INITRD | TBX_VM_SPEC_MEMORY_MB | TBX_VM_SPEC_CPU_COUNT |     \
     TBX_VM_SPEC_CMDLINE)
#define NO_CREDIT_BYTES  4096
#define BURST_MAX        (64u * 1024u * 1024u)
#define REBOOT_TIMEOUT_S 120u
#define LINE_MAX_LENGTH  255u

/* What is being done; each but NONE has a timer, or waits for the guest. */
typedef enum {
    STEP_NONE,
    STEP_LAUNCHING,
    STEP_ABORTING, /* a start that was cancelled */
    STEP_ASKING,   /* the power button was pressed */
    STEP_POWERING_OFF,
    STEP_SETTLING, /* the effect of reset, pause, resume is about to show */
    STEP_REMOVING,
} Step;

struct _TbxTestVm {
    grefcount references;
    TbxTestContext *context;
    TbxVmRecord *draft;  /* what the next document is made from; never shared */
    TbxVmRecord *record; /* the newest document */
    TbxVmStateCell state;
    TbxTestConsole *console; /* of the present run, nullable */
    TbxTestConsole *log;     /* what guests have printed, over all runs */
    TbxTestConsole *runtime_log;
    GString *line; /* the '@' line that is being typed */
    gboolean is_in_line;
    gboolean is_at_line_start;
    gint64 ran_since;                        /* monotonic */
    TbxVmRecord *run;                        /* what the machine that runs was made of; nullable */
    gboolean has_new_kernel, has_new_initrd; /* since then */
    GSource *guest;                          /* the guest follows the power button */

    /* The action under way. The token changes with each, so that a step that told others something can
     * see whether it still is its own. */
    TbxOperation *operation;
    TenboxVmAction action;
    guint token;
    gint64 timeout;
    gboolean purge;
    Step step;
    GSource *timer;
    gboolean is_launched; /* the reboot has switched the machine off */
};

/* A callback may drop the VM and the driver: both stay until the scope ends, the VM the shorter. */
#define HOLD(vm, user_data)                                                                        \
    G_GNUC_UNUSED g_autoptr(TbxDriver) driver_of_##vm =                                            \
        tbx_driver_ref(((TbxTestVm *)(user_data))->context->driver);                               \
    g_autoptr(TbxTestVm) vm = tbx_test_vm_ref(user_data)

/* ---- documents ---------------------------------------------------------------------------- */

static char **list_pending(TbxTestVm *self)
{
    const TbxVmRecord *run = self->run, *draft = self->draft;
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    g_auto(GStrv) list = NULL;

    if (run == NULL)
        return NULL;
    if (run->memory_mb != draft->memory_mb)
        g_strv_builder_add(names, "memory_mb");
    if (run->cpu_count != draft->cpu_count)
        g_strv_builder_add(names, "cpu_count");
    if (strcmp(run->cmdline, draft->cmdline) != 0)
        g_strv_builder_add(names, "cmdline");
    if (self->has_new_kernel)
        g_strv_builder_add(names, "kernel");
    if (self->has_new_initrd)
        g_strv_builder_add(names, "initrd");
    list = g_strv_builder_end(names);
    return list[0] != NULL ? g_steal_pointer(&list) : NULL;
}

void tbx_test_vm_publish(TbxTestVm *self, const char *type)
{
    TbxOperation *operation =
        tbx_operations_get_current(self->context->operations, self->draft->id);
    g_autoptr(TbxVmRecord) record = tbx_vm_record_copy(self->draft);

    record->state = (int)self->state.value;
    record->pending = list_pending(self);
    if (operation != NULL) {
        record->operation = g_new0(TbxVmOperation, 1);
        record->operation->id = g_strdup(tbx_operation_get_id(operation));
        record->operation->kind = g_strdup(tbx_operation_get_kind(operation));
    }
    if (self->record != NULL && tbx_vm_record_equal(self->record, record))
        return;
    record->generation = self->record != NULL ? self->record->generation + 1 : 1;
    g_clear_pointer(&self->record, tbx_vm_record_unref);
    self->record = tbx_vm_record_ref(record);
    if (!self->context->is_closed)
        self->context->emit(type, record, self->context->driver);
}

static void on_state_changed(gpointer owner, TenboxVmState from, TenboxVmState to)
{
    TbxTestVm *self = owner;

    g_autofree char *line = g_strdup_printf("test: %s -> %s\n", tenbox_vm_state_to_string(from),
                                            tenbox_vm_state_to_string(to));

    tbx_test_console_print(self->runtime_log, line, strlen(line));
    tbx_test_vm_publish(self, TBX_EVENT_VM_STATE);
}

static void set_last_error(TbxTestVm *self, const GError *error)
{
    TbxVmProblem **problem = &self->draft->last_error;

    if (*problem != NULL) {
        g_free((*problem)->code);
        g_free((*problem)->field);
        g_free((*problem)->detail);
        g_clear_pointer(problem, g_free);
    }
    if (error == NULL)
        return;
    *problem = g_new0(TbxVmProblem, 1);
    (*problem)->code = g_strdup(tbx_error_kind_of(error)->slug);
    (*problem)->field = g_strdup(tenbox_error_get_field(error));
    (*problem)->detail = g_strdup(error->message);
}

static void set_last_exit(TbxTestVm *self, const char *reason, const char *detail)
{
    TbxVmExit **last_exit = &self->draft->last_exit;

    if (*last_exit == NULL)
        *last_exit = g_new0(TbxVmExit, 1);
    g_free((*last_exit)->reason);
    g_free((*last_exit)->detail);
    (*last_exit)->reason = g_strdup(reason);
    (*last_exit)->detail = g_strdup(detail);
    (*last_exit)->exit_code = 0;
    (*last_exit)->time = g_get_real_time();
}

static void replace_text(char **text, const char *value)
{
    g_free(*text);
    *text = g_strdup(value);
}

/* What a VM has whose user says nothing; kernel and name have no default. */
static void set_defaults(TbxVmRecord *draft, guint64 fields)
{
    if (fields & TBX_VM_SPEC_INITRD)
        replace_text(&draft->initrd, NULL);
    if (fields & TBX_VM_SPEC_MEMORY_MB)
        draft->memory_mb = MEMORY_MB_DEFAULT;
    if (fields & TBX_VM_SPEC_CPU_COUNT)
        draft->cpu_count = CPU_COUNT_DEFAULT;
    if (fields & TBX_VM_SPEC_CMDLINE)
        replace_text(&draft->cmdline, "");
    if (fields & TBX_VM_SPEC_DESCRIPTION)
        replace_text(&draft->description, "");
    if (fields & TBX_VM_SPEC_NOTES)
        replace_text(&draft->notes, "");
    if (fields & TBX_VM_SPEC_AUTOSTART)
        draft->autostart = FALSE;
    if (fields & TBX_VM_SPEC_AUTOSTART_DELAY)
        draft->autostart_delay = 0;
    if (fields & TBX_VM_SPEC_START_ORDER)
        draft->start_order = TBX_START_ORDER_DEFAULT;
    if (fields & TBX_VM_SPEC_RESTART_POLICY)
        draft->restart_policy = TENBOX_RESTART_POLICY_NO;
    if (fields & TBX_VM_SPEC_STOP_TIMEOUT)
        draft->stop_timeout = TBX_STOP_TIMEOUT_DEFAULT;
}

/* Makes @draft say what @spec sets; what it resets gets its default. */
static gboolean apply_spec(TbxVmRecord *draft, const TbxVmSpec *spec, GError **error)
{
    guint64 set = spec->present & ~spec->reset;
    GHashTable *labels = tbx_vm_labels_merge(draft->labels, spec, error);

    if (labels == NULL)
        return FALSE;
    g_clear_pointer(&draft->labels, g_hash_table_unref);
    draft->labels = labels;
    set_defaults(draft, spec->reset);
    if (set & TBX_VM_SPEC_NAME)
        replace_text(&draft->name, spec->name);
    if (set & TBX_VM_SPEC_KERNEL)
        replace_text(&draft->kernel, "kernel");
    if (set & TBX_VM_SPEC_INITRD)
        replace_text(&draft->initrd, spec->initrd != NULL ? "initrd" : NULL);
    if (set & TBX_VM_SPEC_MEMORY_MB)
        draft->memory_mb = spec->memory_mb;
    if (set & TBX_VM_SPEC_CPU_COUNT)
        draft->cpu_count = spec->cpu_count;
    if (set & TBX_VM_SPEC_CMDLINE)
        replace_text(&draft->cmdline, spec->cmdline != NULL ? spec->cmdline : "");
    if (set & TBX_VM_SPEC_DESCRIPTION)
        replace_text(&draft->description, spec->description != NULL ? spec->description : "");
    if (set & TBX_VM_SPEC_NOTES)
        replace_text(&draft->notes, spec->notes != NULL ? spec->notes : "");
    if (set & TBX_VM_SPEC_AUTOSTART)
        draft->autostart = spec->autostart;
    if (set & TBX_VM_SPEC_AUTOSTART_DELAY)
        draft->autostart_delay = spec->autostart_delay;
    if (set & TBX_VM_SPEC_START_ORDER)
        draft->start_order = spec->start_order;
    if (set & TBX_VM_SPEC_RESTART_POLICY)
        draft->restart_policy = spec->restart_policy;
    if (set & TBX_VM_SPEC_STOP_TIMEOUT)
        draft->stop_timeout = spec->stop_timeout;
    return TRUE;
}

gboolean tbx_test_vm_check_spec(const TbxVmSpec *spec, GError **error)
{
    guint64 set = spec->present & ~spec->reset;

    if ((set & TBX_VM_SPEC_MEMORY_MB) && spec->memory_mb > TBX_TEST_HOST_MEMORY_MB) {
        tbx_error_set(error, "insufficient-memory", "memory_mb",
                      "memory_mb: the host of test:// has %d MiB", TBX_TEST_HOST_MEMORY_MB);
        return FALSE;
    }
    return !(set & TBX_VM_SPEC_CMDLINE) || spec->cmdline == NULL ||
           tbx_test_script_check_cmdline(spec->cmdline, error);
}

/* ---- the object --------------------------------------------------------------------------- */

TbxTestVm *tbx_test_vm_new(TbxTestContext *context, const char *id, const TbxVmSpec *spec,
                           gint64 created_at)
{
    TbxTestVm *self = g_new0(TbxTestVm, 1);

    g_ref_count_init(&self->references);
    self->context = context;
    self->log = tbx_test_console_new(context->script, NULL, NULL, 0);
    self->runtime_log = tbx_test_console_new(context->script, NULL, NULL, 0);
    self->line = g_string_new(NULL);
    self->draft = tbx_vm_record_new();
    self->draft->id = g_strdup(id);
    self->draft->created_at = created_at;
    set_defaults(self->draft, G_MAXUINT64);
    apply_spec(self->draft, spec, NULL);
    self->draft->etag = g_uuid_string_random();
    tbx_vm_state_init(&self->state, on_state_changed, self);
    self->record = tbx_vm_record_copy(self->draft);
    self->record->state = TENBOX_VM_STATE_STOPPED;
    self->record->generation = 1;
    return self;
}

TbxTestVm *tbx_test_vm_ref(TbxTestVm *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_test_vm_unref(TbxTestVm *self)
{
    if (self == NULL || !g_ref_count_dec(&self->references))
        return;
    tbx_source_clear(&self->timer);
    tbx_source_clear(&self->guest);
    if (self->console != NULL)
        tbx_test_console_close(self->console);
    tbx_test_console_unref(self->console);
    tbx_vm_record_unref(self->record);
    tbx_vm_record_unref(self->draft);
    tbx_vm_record_unref(self->run);
    tbx_test_console_unref(self->log);
    tbx_test_console_unref(self->runtime_log);
    g_string_free(self->line, TRUE);
    g_free(self);
}

const char *tbx_test_vm_get_id(TbxTestVm *self)
{
    return self->draft->id;
}

const char *tbx_test_vm_get_cmdline(TbxTestVm *self)
{
    return self->draft->cmdline;
}

TbxVmRecord *tbx_test_vm_get_record(TbxTestVm *self)
{
    return self->record;
}

gboolean tbx_test_vm_has_process(TbxTestVm *self)
{
    return tbx_vm_state_has_process(self->state.value);
}

/* ---- the frame of actions ----------------------------------------------------------------- */

static void drop_action(TbxTestVm *self)
{
    tbx_source_clear(&self->timer);
    self->operation = NULL;
    self->step = STEP_NONE;
    self->is_launched = FALSE;
    self->token++;
}

/* Takes @error. */
static void end_action(TbxTestVm *self, GError *error)
{
    TbxOperation *operation = self->operation;

    drop_action(self);
    tbx_operation_end(operation, error);
}

/* Applies @event. FALSE: who heard of it has ended the action that was under way, or closed the driver. */
static gboolean apply(TbxTestVm *self, TbxVmEvent event)
{
    guint token = self->token;

    if (tbx_vm_state_allows(&self->state, event))
        tbx_vm_state_apply(&self->state, event, NULL);
    return self->token == token && !self->context->is_closed;
}

static gboolean on_timer(gpointer user_data);
static void continue_launch(TbxTestVm *self);

static void set_step(TbxTestVm *self, Step step, guint milliseconds)
{
    self->step = step;
    tbx_source_clear(&self->timer);
    self->timer = tbx_source_timer(self->context->driver->home, milliseconds, on_timer, self);
}

static GError *take_fault(TbxTestVm *self, const char *operation)
{
    return tbx_test_script_take_fault(self->context->script, operation, self->draft->cmdline);
}

/* ---- the guest ---------------------------------------------------------------------------- */

static void end_run(TbxTestVm *self, TbxVmEvent event, const char *reason, const char *detail);
static void guest_reboots(TbxTestVm *self);

static void print(TbxTestVm *self, const char *text, gsize length)
{
    if (self->console == NULL)
        return;
    tbx_test_console_print(self->log, text, length);
    tbx_test_console_print(self->console, text, length);
}

static void print_burst(TbxTestVm *self, const char *number)
{
    guint64 length = MIN(g_ascii_strtoull(number, NULL, 10), BURST_MAX);
    char piece[26];

    for (guint64 done = 0; done < length; done += sizeof piece) {
        for (guint i = 0; i < sizeof piece; i++)
            piece[i] = (char)('a' + i);
        print(self, piece, (gsize)MIN(length - done, sizeof piece));
    }
}

static void run_line(TbxTestVm *self, const char *line)
{
    if (g_str_has_prefix(line, "@burst "))
        print_burst(self, line + strlen("@burst "));
    else if (g_str_equal(line, "@poweroff"))
        end_run(self, TBX_VM_EVENT_ENDED, "guest-power-off", NULL);
    else if (g_str_equal(line, "@reboot"))
        guest_reboots(self);
    else if (g_str_equal(line, "@triple-fault"))
        end_run(self, TBX_VM_EVENT_CRASHED, "triple-fault", "The guest's processor gave up");
}

static void on_input(const guint8 *data, gsize length, gpointer user_data)
{
    HOLD(self, user_data);
    TbxTestConsole *console = self->console;
    gboolean has_echo = !tbx_test_cmdline_has(self->draft->cmdline, "no-echo");

    for (gsize i = 0; i < length && self->console == console; i++) {
        char letter = (char)data[i];

        if (self->is_at_line_start && letter == '@')
            self->is_in_line = TRUE;
        self->is_at_line_start = letter == '\n';
        if (!self->is_in_line) {
            if (has_echo)
                print(self, &letter, 1);
        } else if (letter != '\n') {
            if (self->line->len < LINE_MAX_LENGTH)
                g_string_append_c(self->line, letter);
        } else {
            g_autofree char *line = g_strdup(self->line->str);

            g_string_truncate(self->line, 0);
            self->is_in_line = FALSE;
            run_line(self, line);
        }
    }
}

static void begin_run(TbxTestVm *self)
{
    static const char hello[] = "test: hello\r\n";
    gboolean has_credit = !tbx_test_cmdline_has(self->draft->cmdline, "no-credit");

    self->console = tbx_test_console_new(self->context->script, on_input, self,
                                         has_credit ? G_MAXUINT64 : NO_CREDIT_BYTES);
    self->is_at_line_start = TRUE;
    self->is_in_line = FALSE;
    g_string_truncate(self->line, 0);
    self->ran_since = g_get_monotonic_time();
    g_clear_pointer(&self->run, tbx_vm_record_unref);
    self->run = tbx_vm_record_copy(self->draft);
    self->has_new_kernel = FALSE;
    self->has_new_initrd = FALSE;
    self->draft->started_at = g_get_real_time();
    /* The second, as vm.json has it. */
    self->draft->last_boot_time = self->draft->started_at / G_USEC_PER_SEC * G_USEC_PER_SEC;
    print(self, hello, sizeof hello - 1);
}

static void end_console(TbxTestVm *self)
{
    TbxTestConsole *console = g_steal_pointer(&self->console);

    if (console == NULL)
        return;
    tbx_test_console_end(console);
    tbx_test_console_unref(console);
}

/* The action under way has lost its machine: @event and @reason say how. */
static void action_after_end(TbxTestVm *self, TbxVmEvent event, const char *reason)
{
    switch (self->action) {
    case TENBOX_VM_ACTION_STOP:
    case TENBOX_VM_ACTION_SHUTDOWN: end_action(self, NULL); break;
    case TENBOX_VM_ACTION_DELETE: set_step(self, STEP_REMOVING, 0); break;
    default:
        if (self->step == STEP_ABORTING)
            end_action(self, tbx_error_new("operation-cancelled", NULL, "The start was cancelled"));
        else if (event == TBX_VM_EVENT_CRASHED)
            end_action(self, tbx_error_new("vm-crashed", NULL, "The VM ended: %s", reason));
        else
            end_action(self,
                       tbx_error_new("vm-not-running", NULL, "The guest switched itself off"));
    }
}

static void launch(TbxTestVm *self);

/* The machine is off. */
static void end_run(TbxTestVm *self, TbxVmEvent event, const char *reason, const char *detail)
{
    gboolean restarts = self->operation != NULL && self->action == TENBOX_VM_ACTION_REBOOT &&
                        self->step == STEP_ASKING && event == TBX_VM_EVENT_ENDED;

    tbx_source_clear(&self->guest);
    set_last_exit(self, reason, detail);
    self->draft->pid = 0;
    self->draft->started_at = 0;
    self->draft->shutdown_requested_at = 0;
    g_clear_pointer(&self->run, tbx_vm_record_unref);
    end_console(self);
    if (!apply(self, event) || self->operation == NULL)
        return;
    if (restarts) {
        self->is_launched = TRUE;
        launch(self);
    } else {
        action_after_end(self, event, reason);
    }
}

static gboolean on_guest_followed(gpointer user_data)
{
    HOLD(self, user_data);

    tbx_source_clear(&self->guest);
    end_run(self, TBX_VM_EVENT_ENDED, "guest-power-off", NULL);
    return G_SOURCE_REMOVE;
}

/* Presses the power button. FALSE: see apply(). */
static gboolean press_button(TbxTestVm *self)
{
    guint token = self->token;

    self->draft->shutdown_requested_at = g_get_real_time();
    if (self->guest == NULL && !tbx_test_cmdline_has(self->draft->cmdline, "ignore-button"))
        self->guest = tbx_source_timer(self->context->driver->home, self->context->script->stop_ms,
                                       on_guest_followed, self);
    tbx_test_vm_publish(self, TBX_EVENT_VM_CHANGED);
    return self->token == token && !self->context->is_closed;
}

static void guest_reboots(TbxTestVm *self)
{
    static const char hello[] = "test: hello\r\n";

    print(self, hello, sizeof hello - 1);
    self->draft->shutdown_requested_at = 0;
    tbx_source_clear(&self->guest);
    tbx_test_vm_publish(self, TBX_EVENT_VM_CHANGED);
    if (!self->context->is_closed)
        self->context->emit(TBX_EVENT_VM_REBOOTED, self->record, self->context->driver);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void continue_launch(TbxTestVm *self)
{
    if (tbx_test_cmdline_has(self->draft->cmdline, "start-hang"))
        self->step = STEP_LAUNCHING;
    else
        set_step(self, STEP_LAUNCHING, self->context->script->boot_ms);
}

static void launch(TbxTestVm *self)
{
    set_last_error(self, NULL);
    self->draft->pid = ++self->context->last_pid;
    if (apply(self, TBX_VM_EVENT_START))
        continue_launch(self);
}

static void finish_launch(TbxTestVm *self)
{
    GError *fault = take_fault(self, tenbox_vm_action_to_string(self->action));

    if (fault != NULL) {
        set_last_error(self, fault);
        self->draft->pid = 0;
        if (apply(self, TBX_VM_EVENT_REFUSED) && self->operation != NULL)
            end_action(self, fault);
        else
            g_error_free(fault);
        return;
    }
    begin_run(self);
    if (!apply(self, TBX_VM_EVENT_RUNNING))
        return;
    if (self->is_launched && !self->context->is_closed)
        self->context->emit(TBX_EVENT_VM_REBOOTED, self->record, self->context->driver);
    if (self->operation != NULL)
        end_action(self, NULL);
}

static void power_off(TbxTestVm *self)
{
    if (apply(self, TBX_VM_EVENT_STOP))
        set_step(self, STEP_POWERING_OFF, 0);
}

static void remove_vm(TbxTestVm *self)
{
    GError *fault = take_fault(self, "delete");

    /* It is being removed until nobody can name it any more, so that nothing takes the VM over. */
    if (fault == NULL) {
        self->context->removed(self, self->context->driver);
        tbx_test_console_end(self->log);
        tbx_test_console_end(self->runtime_log);
    }
    end_action(self, fault);
}

/* Reset, pause or resume have had their effect. */
static void settle(TbxTestVm *self)
{
    GError *fault = take_fault(self, tenbox_vm_action_to_string(self->action));

    if (fault == NULL && self->action == TENBOX_VM_ACTION_PAUSE &&
        !apply(self, TBX_VM_EVENT_PAUSED))
        return;
    if (fault == NULL && self->action == TENBOX_VM_ACTION_RESUME &&
        !apply(self, TBX_VM_EVENT_RUNNING))
        return;
    if (fault == NULL && self->action == TENBOX_VM_ACTION_RESET) {
        guint token = self->token;

        guest_reboots(self);
        if (self->token != token || self->context->is_closed)
            return;
    }
    end_action(self, fault);
}

/* The guest had its time. */
static void give_up_guest(TbxTestVm *self)
{
    if (self->action == TENBOX_VM_ACTION_STOP)
        power_off(self);
    else
        end_action(self, tbx_error_new("timed-out", NULL,
                                       "The guest did not shut down within %u seconds of the power "
                                       "button",
                                       REBOOT_TIMEOUT_S));
}

static gboolean on_timer(gpointer user_data)
{
    HOLD(self, user_data);

    tbx_source_clear(&self->timer);
    switch (self->step) {
    case STEP_LAUNCHING: finish_launch(self); break;
    case STEP_ASKING: give_up_guest(self); break;
    case STEP_ABORTING:
    case STEP_POWERING_OFF: end_run(self, TBX_VM_EVENT_ENDED, "host-power-off", NULL); break;
    case STEP_SETTLING: settle(self); break;
    case STEP_REMOVING: remove_vm(self); break;
    default: break;
    }
    return G_SOURCE_REMOVE;
}

/* ---- actions ------------------------------------------------------------------------------ */

static void begin_stop(TbxTestVm *self, gboolean force)
{
    if (force || self->timeout == 0 || self->state.value == TENBOX_VM_STATE_STARTING) {
        power_off(self);
        return;
    }
    self->step = STEP_ASKING;
    if (apply(self, TBX_VM_EVENT_STOP) && press_button(self))
        set_step(self, STEP_ASKING, (guint)self->timeout * 1000);
}

static void begin_reset(TbxTestVm *self)
{
    if (self->state.value == TENBOX_VM_STATE_STARTING) {
        continue_launch(self);
        return;
    }
    /* It may have taken the VM from a stop that has not forced anything yet. */
    tbx_source_clear(&self->guest);
    if (self->state.value != TENBOX_VM_STATE_STOPPING || apply(self, TBX_VM_EVENT_WITHDRAWN))
        set_step(self, STEP_SETTLING, 0);
}

static void begin_action(TbxTestVm *self, gboolean force)
{
    GError *fault = NULL;

    switch (self->action) {
    case TENBOX_VM_ACTION_START: launch(self); break;
    case TENBOX_VM_ACTION_STOP:
        fault = take_fault(self, "stop");
        if (fault != NULL)
            end_action(self, fault);
        else
            begin_stop(self, force);
        break;
    case TENBOX_VM_ACTION_SHUTDOWN:
        fault = take_fault(self, "shutdown");
        if (fault != NULL || press_button(self))
            end_action(self, fault);
        break;
    case TENBOX_VM_ACTION_REBOOT:
        set_step(self, STEP_ASKING, REBOOT_TIMEOUT_S * 1000);
        press_button(self);
        break;
    case TENBOX_VM_ACTION_RESET: begin_reset(self); break;
    case TENBOX_VM_ACTION_PAUSE:
    case TENBOX_VM_ACTION_RESUME: set_step(self, STEP_SETTLING, 0); break;
    case TENBOX_VM_ACTION_DELETE:
        if (tbx_vm_state_has_process(self->state.value))
            power_off(self);
        else
            set_step(self, STEP_REMOVING, 0);
        break;
    default: g_assert_not_reached();
    }
}

static gboolean on_pre_empt(TbxOperation *operation, const char *kind, gpointer user_data)
{
    TbxTestVm *self = user_data;

    gboolean is_going = self->step == STEP_POWERING_OFF || self->step == STEP_ABORTING;

    if (self->step == STEP_REMOVING)
        return FALSE;
    /* A machine without power has no reset line. */
    if (is_going && g_str_equal(kind, tenbox_vm_action_to_string(TENBOX_VM_ACTION_RESET)))
        return FALSE;
    drop_action(self);
    return TRUE;
}

static void on_cancel(TbxOperation *operation, gpointer user_data)
{
    HOLD(self, user_data);
    const char *kind = tenbox_vm_action_to_string(self->action);

    switch (self->step) {
    case STEP_LAUNCHING:
        if (apply(self, TBX_VM_EVENT_STOP))
            set_step(self, STEP_ABORTING, 0);
        break;
    case STEP_ASKING:
        /* What the guest was told cannot be taken back; who waits for it no longer does. */
        tbx_source_clear(&self->guest);
        self->draft->shutdown_requested_at = 0;
        if (self->state.value != TENBOX_VM_STATE_STOPPING || apply(self, TBX_VM_EVENT_WITHDRAWN))
            end_action(self,
                       tbx_error_new("operation-cancelled", NULL, "The %s was cancelled", kind));
        break;
    case STEP_NONE: /* it is being announced */
    case STEP_SETTLING:
        end_action(self, tbx_error_new("operation-cancelled", NULL, "The %s was cancelled", kind));
        break;
    default: break; /* too far: it ends as done */
    }
}

static const TbxOperationHandlers operation_handlers = {
    .pre_empt = on_pre_empt,
    .cancel = on_cancel,
};

TbxOperationRecord *tbx_test_vm_begin(TbxTestVm *self, TenboxVmAction action,
                                      const TbxActionOptions *options, GError **error)
{
    TbxOperations *operations = self->context->operations;
    const char *kind = tenbox_vm_action_to_string(action);
    gboolean pre_empts =
        action == TENBOX_VM_ACTION_RESET ||
        (options->force && (action == TENBOX_VM_ACTION_STOP || action == TENBOX_VM_ACTION_DELETE));
    TbxVerdict verdict = TBX_VERDICT_GO;
    g_autofree char *id = NULL;
    TbxOperation *operation;
    guint token;

    if (!tbx_etag_require(options->if_match, self->draft->etag, self->draft->name, error))
        return NULL;
    if (pre_empts || tbx_operations_get_current(operations, self->draft->id) == NULL) {
        verdict = tbx_vm_state_judge(self->state.value, action, options->force, error);
        if (verdict == TBX_VERDICT_REFUSED)
            return NULL;
    }
    operation = tbx_operations_begin(operations, self->draft->id, self->draft->name, kind,
                                     pre_empts, &operation_handlers, self, error);
    if (operation == NULL)
        return NULL;
    id = g_strdup(tbx_operation_get_id(operation));
    token = ++self->token;
    self->operation = operation;
    self->action = action;
    self->purge = options->purge;
    self->timeout = options->timeout >= 0 ? options->timeout : self->draft->stop_timeout;
    tbx_operation_announce(operation);
    if (self->token == token && !self->context->is_closed) {
        if (verdict == TBX_VERDICT_DONE)
            end_action(self, NULL);
        else
            begin_action(self, options->force);
    }
    return tbx_operations_get(operations, id, error);
}

gboolean tbx_test_vm_is_purged(TbxTestVm *self)
{
    return self->purge;
}

void tbx_test_vm_restore(TbxTestVm *self, const char *name)
{
    if (name != NULL)
        replace_text(&self->draft->name, name);
    self->step = STEP_NONE;
    tbx_test_vm_publish(self, TBX_EVENT_VM_UNDELETED);
}

gboolean tbx_test_vm_update(TbxTestVm *self, const TbxVmSpec *spec, GError **error)
{
    TbxOperation *running;

    if (!tbx_etag_require(spec->if_match, self->draft->etag, self->draft->name, error))
        return FALSE;
    running = tbx_operations_get_current(self->context->operations, self->draft->id);
    if (running != NULL && ((spec->present & MACHINE_FIELDS) != 0 || self->step == STEP_REMOVING)) {
        tbx_error_set(error, "vm-busy", NULL, "%s is busy: the operation %s (%s) runs on it",
                      self->draft->name, tbx_operation_get_kind(running),
                      tbx_operation_get_id(running));
        return FALSE;
    }
    if (!tbx_test_vm_check_spec(spec, error) || !apply_spec(self->draft, spec, error))
        return FALSE;
    self->has_new_kernel |= (spec->present & TBX_VM_SPEC_KERNEL) != 0;
    self->has_new_initrd |= (spec->present & TBX_VM_SPEC_INITRD) != 0;
    g_free(self->draft->etag);
    self->draft->etag = g_uuid_string_random();
    tbx_test_vm_publish(self, TBX_EVENT_VM_CHANGED);
    return TRUE;
}

/* ---- the rest ----------------------------------------------------------------------------- */

void tbx_test_vm_set_up(TbxTestVm *self, TenboxVmState state)
{
    gboolean was_closed = self->context->is_closed;

    self->context->is_closed = TRUE; /* nobody is told */
    tbx_vm_state_apply(&self->state, TBX_VM_EVENT_START, NULL);
    self->draft->pid = ++self->context->last_pid;
    begin_run(self);
    tbx_vm_state_apply(&self->state, TBX_VM_EVENT_RUNNING, NULL);
    if (state == TENBOX_VM_STATE_PAUSED)
        tbx_vm_state_apply(&self->state, TBX_VM_EVENT_PAUSED, NULL);
    else if (state == TENBOX_VM_STATE_CRASHED)
        end_run(self, TBX_VM_EVENT_CRASHED, "triple-fault", "The guest's processor gave up");
    tbx_test_vm_publish(self, TBX_EVENT_VM_CHANGED);
    self->context->is_closed = was_closed;
}

void tbx_test_vm_close(TbxTestVm *self)
{
    tbx_source_clear(&self->timer);
    tbx_source_clear(&self->guest);
    if (self->console != NULL)
        tbx_test_console_close(self->console);
    tbx_test_console_close(self->log);
    tbx_test_console_close(self->runtime_log);
}

static TbxTestConsole *pick_log(TbxTestVm *self, const char *source)
{
    return g_str_equal(source, "console") ? self->log : self->runtime_log;
}

char *tbx_test_vm_read_log(TbxTestVm *self, const char *source, guint line_count)
{
    return tbx_test_console_dup_text(pick_log(self, source), line_count);
}

TbxConsoleStream *tbx_test_vm_follow_log(TbxTestVm *self, const char *source, gint line_count)
{
    return tbx_test_console_follow(pick_log(self, source), line_count);
}

char *tbx_test_vm_get_statistics(TbxTestVm *self, GError **error)
{
    g_autoptr(JsonObject) statistics = json_object_new();
    JsonObject *exits = json_object_new();
    gint64 uptime = (g_get_monotonic_time() - self->ran_since) * 1000;
    g_autofree char *now = tbx_time_format(g_get_real_time());

    json_object_set_object_member(statistics, "exits", exits);
    if (self->console == NULL) {
        tbx_error_set(error, "vm-not-running", NULL, "The VM does not run, so it has no figures");
        return NULL;
    }
    json_object_set_int_member(exits, "serial", 42);
    json_object_set_string_member(statistics, "vm_id", self->draft->id);
    json_object_set_string_member(statistics, "time", now);
    json_object_set_int_member(statistics, "uptime_ns", uptime);
    json_object_set_int_member(statistics, "memory_bytes", self->draft->memory_mb * 1024 * 1024);
    json_object_set_int_member(statistics, "vcpu_count", self->draft->cpu_count);
    json_object_set_int_member(statistics, "resident_bytes", 1024 * 1024);
    json_object_set_int_member(statistics, "cpu_time_ns", uptime / 10);
    return tbx_json_print_object(statistics, NULL);
}

TbxConsoleStream *tbx_test_vm_open_console(TbxTestVm *self, TenboxConsoleFlags flags,
                                           const char *holder, GError **error)
{
    if (self->console == NULL) {
        tbx_error_set(error, "vm-not-running", NULL, "The VM does not run, so it has no console");
        return NULL;
    }
    return tbx_test_console_open_stream(self->console, flags, holder, error);
}
