/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/vm.h"

#include <string.h>

#include "libtenbox/local/host.h"
#include "libtenbox/local/paths.h"
#include "libtenbox/local/sources.h"
#include "libtenbox/local/vm-private.h"
#include "libtenbox/wire/wire-error.h"

#define RUNTIME_LOG_MAX (1u << 20)
#define STATE_JSON_MAX  65536u

/* ---- documents and events ----------------------------------------------------------------- */

/* The document without generation. */
static TbxVmRecord *make_record(TbxLocalVm *self)
{
    TbxVmRecord *record = tbx_vm_record_new();
    TbxOperation *operation = tbx_operations_get_current(self->context->operations, self->id);

    tbx_vm_definition_describe(self->definition, self->id, self->broken, record);
    record->state = (int)self->state.value;
    record->last_error = tbx_vm_problem_copy(self->last_error);
    if (self->process != NULL)
        record->pending = tbx_run_config_compare(self->run_config, self->next_config);
    record->started_at = self->started_at;
    record->shutdown_requested_at = self->shutdown_requested_at;
    record->pid = self->process != NULL ? tbx_vm_process_get_identity(self->process)->pid : 0;
    record->last_exit = tbx_vm_exit_copy(self->last_exit);
    record->restart_count = self->life.count;
    record->restart = tbx_vm_restart_copy(self->life.due);
    if (operation != NULL) {
        record->operation = g_new0(TbxVmOperation, 1);
        record->operation->id = g_strdup(tbx_operation_get_id(operation));
        record->operation->kind = g_strdup(tbx_operation_get_kind(operation));
    }
    return record;
}

static void emit(TbxLocalVm *self, const char *type)
{
    if (!self->context->is_closed)
        self->context->emit(type, self->record, self->context->driver);
}

void tbx_local_vm_publish(TbxLocalVm *self, const char *type)
{
    g_autoptr(TbxVmRecord) record = make_record(self);

    if (self->record != NULL && tbx_vm_record_equal(self->record, record))
        return;
    record->generation = self->record != NULL ? self->record->generation + 1 : 1;
    g_clear_pointer(&self->record, tbx_vm_record_unref);
    self->record = g_steal_pointer(&record);
    emit(self, type);
}

static void on_state_changed(gpointer owner, TenboxVmState from, TenboxVmState to)
{
    tbx_local_vm_publish(owner, TBX_EVENT_VM_STATE);
}

void tbx_local_vm_apply(TbxLocalVm *self, TbxVmEvent event)
{
    g_autoptr(GError) error = NULL;

    if (!tbx_vm_state_apply(&self->state, event, &error))
        g_critical("VM %s: event %d in state %s", self->id, (int)event,
                   tenbox_vm_state_to_string(self->state.value));
}

void tbx_local_vm_set_last_error(TbxLocalVm *self, const GError *error)
{
    tbx_vm_problem_free(self->last_error);
    self->last_error = error != NULL ? tbx_vm_problem_new(error) : NULL;
}

gboolean tbx_local_vm_check_usable(TbxLocalVm *self, GError **error)
{
    if (self->definition != NULL)
        return TRUE;
    tbx_error_set(error, "vm-broken", tenbox_error_get_field(self->broken), "%s cannot be used: %s",
                  self->record->name, self->broken->message);
    if (error != NULL)
        *error = tbx_error_with_hint(*error, "Mend its vm.json and restart the daemon, or delete "
                                             "the VM");
    return FALSE;
}

/* ---- files -------------------------------------------------------------------------------- */

static void on_saved(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autofree char *what = user_data;
    g_autoptr(GError) error = NULL;

    if (!tbx_file_writer_write_finish(result, &error))
        g_warning("%s: %s", what, error->message);
}

void tbx_local_vm_save_state(TbxLocalVm *self, GAsyncReadyCallback callback, gpointer user_data)
{
    TbxRunState state = {
        .started_at = self->started_at != 0 ? self->started_at : self->launched_at,
        .shutdown_requested_at = self->shutdown_requested_at,
        .last_boot_time = self->launched_at,
        .config = self->run_config,
        .last_exit = self->last_exit,
        .last_error = self->last_error,
        .restart_count = self->life.count,
        .restart = self->life.due,
    };
    g_autoptr(GBytes) content = NULL;

    if (state.last_boot_time == 0 && self->definition != NULL)
        state.last_boot_time = self->definition->last_boot_time * G_USEC_PER_SEC;
    if (self->process != NULL)
        state.process = *tbx_vm_process_get_identity(self->process);
    content = tbx_run_state_print(&state);
    if (callback == NULL) {
        callback = on_saved;
        user_data = g_strdup_printf("VM %s: state.json", self->id);
    }
    tbx_file_writer_write_async(self->state_writer, content, callback, user_data);
}

/* When the folder cannot be opened just now, nothing is known to be pending. */
static void describe_files(TbxLocalVm *self)
{
    TBX_AUTO_FD folder_fd = tbx_place_open(self->folder, NULL);

    if (folder_fd >= 0)
        self->next_config = tbx_run_config_new(self->definition, folder_fd);
}

void tbx_local_vm_note_definition(TbxLocalVm *self)
{
    g_clear_pointer(&self->next_config, tbx_run_config_free);
    if (self->definition != NULL)
        describe_files(self);
}

void tbx_local_vm_save_definition(TbxLocalVm *self)
{
    g_autoptr(GBytes) content = tbx_vm_definition_print(self->definition);

    tbx_file_writer_write_async(self->definition_writer, content, on_saved,
                                g_strdup_printf("VM %s: vm.json", self->id));
}

/* last_boot_time alone changes here; what a user changes is written by vm-update.c. */
static void note_boot(TbxLocalVm *self)
{
    self->definition->last_boot_time = self->started_at / G_USEC_PER_SEC;
    /* The old definition must not come behind the new one that is on its way to the disk: vm-update.c
     * writes the boot after it, and until then it is in state.json. */
    if (!self->is_updating)
        tbx_local_vm_save_definition(self);
}

/* ---- what the process reports ------------------------------------------------------------- */

static void settle(TbxLocalVm *self)
{
    if (!self->is_adopting)
        return;
    self->is_adopting = FALSE;
    self->context->settled(self, self->context->driver);
}

static void on_start_replied(int code, guint token, gpointer user_data)
{
    TbxLocalVm *self = user_data;

    if (code == 0 || self->process == NULL || self->launch != TBX_LAUNCH_BOOTING)
        return;
    if (self->refusal == NULL)
        self->refusal = tbx_error_new("runtime-failed", NULL, "The guest could not be started: %s",
                                      g_strerror(-code));
    tbx_vm_process_kill(self->process);
}

/* The process is on record: a daemon that dies now will be followed by one that finds it. */
static void on_recorded(GObject *source, GAsyncResult *result, gpointer user_data)
{
    g_autoptr(TbxHeldVm) self = user_data;
    g_autoptr(GError) error = NULL;
    gboolean is_recorded = tbx_file_writer_write_finish(result, &error);

    if (self->process == NULL || self->launch != TBX_LAUNCH_RECORDING)
        return;
    if (!is_recorded) {
        self->refusal = g_steal_pointer(&error);
        tbx_vm_process_kill(self->process);
        return;
    }
    self->launch = TBX_LAUNCH_BOOTING;
    tbx_vm_process_request(self->process, RT_START, on_start_replied, 0);
}

/* Makes the VM's state what the runtime says it is, then lets the action under way see it. */
static void sync_state(TbxLocalVm *self, enum rt_state_value state)
{
    if (state == RT_STATE_RUNNING && self->state.value == TENBOX_VM_STATE_STARTING) {
        self->launch = TBX_LAUNCH_NONE;
        self->started_at = self->launched_at;
        note_boot(self);
        tbx_life_on_running(self);
        tbx_local_vm_apply(self, TBX_VM_EVENT_RUNNING);
    } else if (state == RT_STATE_RUNNING && self->state.value == TENBOX_VM_STATE_PAUSED) {
        tbx_local_vm_apply(self, TBX_VM_EVENT_RUNNING);
    } else if (state == RT_STATE_PAUSED && self->state.value == TENBOX_VM_STATE_RUNNING) {
        tbx_local_vm_apply(self, TBX_VM_EVENT_PAUSED);
    }
    tbx_verb_on_state(self, state);
}

/* The first word of a process that an earlier driver started. */
static void adopt(TbxLocalVm *self, enum rt_state_value state)
{
    if (state == RT_STATE_CREATED) {
        /* Its guest has not begun, and whoever wanted it to is gone. */
        self->launch = TBX_LAUNCH_BOOTING;
        self->refusal = tbx_error_new("runtime-failed", NULL,
                                      "The daemon ended while the VM was being started");
        tbx_vm_process_kill(self->process);
        return;
    }
    tbx_local_vm_apply(self, TBX_VM_EVENT_ADOPTED);
    sync_state(self, state);
    settle(self);
}

static void on_connected(enum rt_state_value state, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(self);
    TbxConsoleRing *ring = tbx_vm_process_get_ring(self->process);
    gboolean is_reconnect = !self->is_adopting && self->launch != TBX_LAUNCH_WAITING;

    tbx_local_console_attach(self->console, ring);
    if (self->process == NULL) /* who learned of the end of a write has closed the driver */
        return;
    if (is_reconnect)
        tbx_console_log_notify(self->log);
    else
        tbx_console_log_attach(self->log, ring, self->is_adopting);

    if (self->is_adopting) {
        adopt(self, state);
    } else if (is_reconnect) {
        sync_state(self, state);
        tbx_verb_on_reconnect(self);
    } else {
        self->launch = TBX_LAUNCH_RECORDING;
        self->launched_at = g_get_real_time();
        tbx_local_vm_save_state(self, on_recorded, tbx_local_vm_hold(self));
    }
}

static void on_refused(const GError *error, gpointer user_data)
{
    TbxLocalVm *self = user_data;

    if (self->refusal == NULL)
        self->refusal = g_error_copy(error);
}

static void on_state(enum rt_state_value state, gpointer user_data)
{
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(user_data);

    sync_state(held, state);
}

static void on_reset_done(gboolean by_host, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(self);

    /* Whatever the guest was asked, it has begun anew. */
    if (self->shutdown_requested_at != 0) {
        self->shutdown_requested_at = 0;
        tbx_local_vm_save_state(self, NULL, NULL);
        tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
    }
    emit(self, TBX_EVENT_VM_REBOOTED);
    tbx_verb_on_reset(self, by_host);
}

static void on_console_output(gpointer user_data)
{
    TbxLocalVm *self = user_data;

    /* In this order: what comes after the acknowledgement is announced again. */
    tbx_vm_process_console_seen(self->process);
    tbx_local_console_notify(self->console);
    tbx_console_log_notify(self->log);
}

static void on_console_credit(guint32 bytes, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(self);

    tbx_local_console_grant(self->console, bytes);
}

static void on_disconnected(gpointer user_data)
{
    TbxLocalVm *self = user_data;

    tbx_local_console_disconnect(self->console);
}

static void on_unreachable(const GError *error, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(self);

    tbx_local_console_disconnect(self->console);
    tbx_local_vm_set_last_error(self, error);
    if (self->is_adopting)
        tbx_local_vm_apply(self, TBX_VM_EVENT_ADOPTED);
    else
        tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
    tbx_verb_on_unreachable(self, error);
    settle(self);
}

/* What a start failed of, when its process ended. */
static GError *describe_failure(TbxLocalVm *self, TbxLaunchStep launch, const TbxVmExit *exit)
{
    if (self->refusal != NULL)
        return g_error_copy(self->refusal);
    if (launch == TBX_LAUNCH_WAITING)
        return tbx_error_new("runtime-failed", NULL,
                             "The VM's process ended before there was a machine: %s",
                             exit->detail != NULL ? exit->detail : exit->reason);
    return tbx_error_new("vm-crashed", NULL, "The VM ended while it started: %s",
                         exit->detail != NULL ? exit->detail : exit->reason);
}

/* Makes the VM's state that of a VM whose process has ended. */
static void leave_process(TbxLocalVm *self, TbxLaunchStep launch, gboolean is_refused,
                          gboolean is_wanted)
{
    /* It was one of a VM that ran: even if it ended before it could say so. */
    if (self->is_adopting && launch == TBX_LAUNCH_NONE)
        tbx_local_vm_apply(self, TBX_VM_EVENT_ADOPTED);
    if (is_refused && tbx_vm_state_allows(&self->state, TBX_VM_EVENT_REFUSED))
        tbx_local_vm_apply(self, TBX_VM_EVENT_REFUSED);
    else if (tbx_vm_state_has_process(self->state.value))
        tbx_local_vm_apply(self,
                           is_wanted || is_refused ? TBX_VM_EVENT_ENDED : TBX_VM_EVENT_CRASHED);
    else
        tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
}

/* Events and the ends of writes and questions are told while this runs, and who hears of them may call
 * anything: the state comes first, so that nobody finds a VM that runs without a process. */
static void on_exited(const TbxVmExit *exit, gboolean is_clean, gpointer user_data)
{
    TbxLocalVm *self = user_data;
    G_GNUC_UNUSED g_autoptr(TbxHeldVm) held = tbx_local_vm_hold(self);
    g_autoptr(TbxVmProcess) process = g_steal_pointer(&self->process);
    const TbxVerb verb = self->verb;
    TbxLaunchStep launch = self->launch;
    gboolean is_refused = self->refusal != NULL && launch != TBX_LAUNCH_NONE;
    gboolean is_wanted = is_clean || tbx_verb_wants_end(self);
    /* A guest that was asked to shut down ends in order; one that crashes has not done what was asked. */
    gboolean is_asked = (is_clean && self->shutdown_requested_at != 0) ||
                        g_str_equal(exit->reason, "host-power-off") ||
                        tbx_verb_answers_for_end(self, is_clean);
    g_autoptr(GError) failure = NULL;

    if (launch != TBX_LAUNCH_NONE)
        failure = describe_failure(self, launch, exit);
    g_clear_error(&self->refusal);
    g_clear_pointer(&self->run_config, tbx_run_config_free);
    self->launch = TBX_LAUNCH_NONE;
    self->launched_at = 0;
    self->started_at = 0;
    self->shutdown_requested_at = 0;
    if (!is_refused) {
        tbx_vm_exit_free(self->last_exit);
        self->last_exit = tbx_vm_exit_copy(exit);
    }
    if (failure != NULL && !tbx_verb_wants_end(self))
        tbx_local_vm_set_last_error(self, failure);
    tbx_console_log_notify(self->log);
    tbx_local_vm_save_state(self, NULL, NULL);

    leave_process(self, launch, is_refused, is_wanted);
    if (self->console != NULL) /* the driver may have been closed */
        tbx_local_console_detach(self->console, tbx_verb_restarts(self, is_clean));
    tbx_local_vm_end_key(self);
    g_clear_pointer(&process, tbx_vm_process_free);
    /* An action that was begun meanwhile has seen the end already. */
    if (self->verb.operation == verb.operation && self->verb.token == verb.token)
        tbx_verb_on_exit(self, launch, is_clean, failure);
    if (!is_asked)
        tbx_life_on_exit(self, !is_clean, exit->reason);
    settle(self);
}

static const TbxVmProcessHandlers process_handlers = {
    .connected = on_connected,
    .refused = on_refused,
    .state = on_state,
    .reset_done = on_reset_done,
    .console_output = on_console_output,
    .console_credit = on_console_credit,
    .disconnected = on_disconnected,
    .unreachable = on_unreachable,
    .exited = on_exited,
};

gboolean tbx_local_vm_launch(TbxLocalVm *self, GError **error)
{
    g_autofree char *program = NULL;
    g_auto(TbxResources) resources = TBX_RESOURCES_INIT;
    TBX_AUTO_FD folder_fd = -1;
    TBX_AUTO_FD run_fd = -1;
    TBX_AUTO_FD log_fd = -1;
    TbxLaunch launch = {
        .vm_id = self->id,
        .mode = RT_MODE_MACHINE,
        .memory_mb = self->definition->memory_mb,
        .cpu_count = self->definition->cpu_count,
        .command_line = tbx_vm_definition_get_effective_cmdline(self->definition),
        .resources = &resources,
    };

    if (!tbx_host_check_memory_available(self->definition->memory_mb, error))
        return FALSE;
    program = tbx_paths_find_runtime(error);
    folder_fd = program != NULL ? tbx_place_open(self->folder, error) : -1;
    if (folder_fd < 0 || !tbx_resources_open_guest(&resources, folder_fd, self->definition, error))
        return FALSE;
    run_fd = tbx_folder_open_at(folder_fd, TBX_PATH_RUN, error);
    log_fd = run_fd >= 0 ? tbx_resource_open_log(folder_fd, RUNTIME_LOG_MAX, error) : -1;
    if (log_fd < 0)
        return FALSE;
    launch.run_fd = run_fd;
    launch.program = program;
    launch.log_fd = log_fd;
    g_clear_error(&self->refusal);
    self->process = tbx_vm_process_launch(&launch, &process_handlers, self, error);
    if (self->process == NULL)
        return FALSE;
    self->launch = TBX_LAUNCH_WAITING;
    if (self->next_config == NULL)
        self->next_config = tbx_run_config_new(self->definition, folder_fd);
    tbx_run_config_free(self->run_config);
    self->run_config = tbx_run_config_copy(self->next_config);
    tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
    return TRUE;
}

/* ---- birth and death ---------------------------------------------------------------------- */

static void send_console_input(const guint8 *data, gsize length, gpointer user_data)
{
    TbxLocalVm *self = user_data;

    if (self->process != NULL)
        tbx_vm_process_send_input(self->process, data, length);
}

/* Whether there is a folder to work in. */
static gboolean find_places(TbxLocalVm *self, GError **error)
{
    g_autoptr(TbxPlace) folder = tbx_registry_get_vm_place(self->context->registry, self->id);
    g_autoptr(TbxPlace) run = tbx_place_new_in(folder, TBX_PATH_RUN);
    TBX_AUTO_FD run_fd = tbx_place_open(run, error);

    if (run_fd < 0)
        return FALSE;
    self->logs = tbx_place_new_in(folder, TBX_PATH_LOGS);
    self->folder = g_steal_pointer(&folder);
    self->run = g_steal_pointer(&run);
    return TRUE;
}

TbxLocalVm *tbx_local_vm_new(TbxLocalContext *context, const char *id, gboolean is_usable,
                             TbxVmDefinition *definition, GError *broken)
{
    TbxLocalVm *self = g_new0(TbxLocalVm, 1);
    g_autoptr(GError) failure = NULL;

    g_ref_count_init(&self->references);
    self->context = context;
    self->id = g_strdup(id);
    self->definition = definition;
    self->broken = broken;
    tbx_vm_state_init(&self->state, on_state_changed, self);
    self->console = tbx_local_console_new(send_console_input, self);
    if (is_usable && find_places(self, &failure)) {
        TbxLock *lock = tbx_registry_get_lock(context->registry);

        self->log = tbx_console_log_new(self->run, self->logs, lock);
        self->definition_writer =
            tbx_file_writer_new_in(self->folder, TBX_PATH_VM_JSON, 0600, lock);
        self->state_writer = tbx_file_writer_new_in(self->run, TBX_PATH_STATE_JSON, 0600, lock);
    } else if (self->broken == NULL) {
        g_clear_pointer(&self->definition, tbx_vm_definition_free);
        self->broken = tbx_error_new("internal", TBX_PATH_RUN, "The VM's folder cannot be used: %s",
                                     failure->message);
    }
    tbx_local_vm_note_definition(self);
    self->record = make_record(self);
    self->record->generation = 1;
    return self;
}

TbxLocalVm *tbx_local_vm_ref(TbxLocalVm *self)
{
    g_ref_count_inc(&self->references);
    return self;
}

void tbx_local_vm_close(TbxLocalVm *self)
{
    tbx_verb_drop(self);
    tbx_life_clear(self);
    tbx_local_vm_end_key(self);
    if (self->process != NULL && self->launch != TBX_LAUNCH_NONE &&
        self->launch != TBX_LAUNCH_BOOTING) {
        tbx_vm_process_abandon(g_steal_pointer(&self->process));
        /* A record of it may be on its way to the disk: the next driver must not take what never ran for
         * a VM that crashed. */
        self->launched_at = 0;
        tbx_life_owe_start(self);
        tbx_local_vm_save_state(self, NULL, NULL);
    }
    g_clear_pointer(&self->process, tbx_vm_process_free);
    g_clear_pointer(&self->console, tbx_local_console_close);
    if (self->log != NULL) {
        tbx_console_log_close(self->log);
        tbx_file_writer_close(self->definition_writer);
        tbx_file_writer_close(self->state_writer);
    }
}

void tbx_local_vm_unref(TbxLocalVm *self)
{
    if (!g_ref_count_dec(&self->references))
        return;
    g_ref_count_init(&self->references);
    tbx_local_vm_close(self);
    tbx_life_free(self);
    tbx_console_log_unref(self->log);
    tbx_file_writer_unref(self->definition_writer);
    tbx_file_writer_unref(self->state_writer);
    tbx_vm_definition_free(self->definition);
    tbx_run_config_free(self->next_config);
    tbx_run_config_free(self->run_config);
    g_clear_error(&self->broken);
    g_clear_error(&self->refusal);
    tbx_vm_exit_free(self->last_exit);
    tbx_vm_problem_free(self->last_error);
    tbx_vm_record_unref(self->record);
    tbx_place_unref(self->folder);
    tbx_place_unref(self->run);
    tbx_place_unref(self->logs);
    g_free(self->id);
    g_free(self);
}

/* The process that state.json names is gone, and nobody saw how. */
static void note_lost_process(TbxLocalVm *self, const TbxProcessIdentity *identity)
{
    gboolean is_this_boot = tbx_process_identity_is_of_this_boot(identity);
    gboolean is_asked = self->shutdown_requested_at != 0;
    TbxVmExit *exit = g_new0(TbxVmExit, 1);

    exit->reason = g_strdup(is_this_boot ? "exited" : TBX_EXIT_HOST_REBOOTED);
    exit->detail = g_strdup(is_this_boot ? "cause unknown: the process ended while no daemon ran"
                                         : "the host was restarted while the VM ran");
    exit->exit_code = -1;
    exit->time = g_get_real_time();
    tbx_vm_exit_free(self->last_exit);
    self->last_exit = exit;
    self->launched_at = 0;
    self->started_at = 0;
    self->shutdown_requested_at = 0;
    tbx_local_vm_apply(self, TBX_VM_EVENT_ADOPTED);
    tbx_local_vm_apply(self, is_this_boot ? TBX_VM_EVENT_CRASHED : TBX_VM_EVENT_ENDED);
    if (!is_this_boot)
        self->life.is_host_rebooted = TRUE;
    else if (!is_asked)
        tbx_life_on_exit(self, TRUE, exit->reason);
    tbx_local_vm_save_state(self, NULL, NULL);
}

gboolean tbx_local_vm_load_state(TbxLocalVm *self)
{
    g_autofree char *text = NULL;
    g_autoptr(TbxRunState) state = NULL;
    TBX_AUTO_FD run_fd = -1;
    gsize length = 0;

    if (self->state_writer == NULL)
        return FALSE;
    run_fd = tbx_place_open(self->run, NULL);
    text = run_fd < 0
               ? NULL
               : tbx_file_read_at(run_fd, TBX_PATH_STATE_JSON, STATE_JSON_MAX, &length, NULL);
    if (text == NULL)
        return FALSE;
    state = tbx_run_state_parse(text, length);
    self->last_exit = g_steal_pointer(&state->last_exit);
    self->last_error = g_steal_pointer(&state->last_error);
    self->life.count = (guint)state->restart_count;
    self->life.due = g_steal_pointer(&state->restart);
    if (self->definition != NULL)
        self->definition->last_boot_time =
            MAX(self->definition->last_boot_time, state->last_boot_time / G_USEC_PER_SEC);
    tbx_local_vm_publish(self, TBX_EVENT_VM_CHANGED);
    if (state->process.pid == 0)
        return FALSE;

    self->launched_at = state->started_at;
    self->started_at = state->started_at;
    self->shutdown_requested_at = state->shutdown_requested_at;
    self->process = tbx_vm_process_adopt(&state->process, run_fd, &process_handlers, self);
    if (self->process == NULL) {
        note_lost_process(self, &state->process);
        return FALSE;
    }
    self->run_config = g_steal_pointer(&state->config);
    self->is_adopting = TRUE;
    return TRUE;
}

void tbx_local_vm_set_generation(TbxLocalVm *self, gint64 generation)
{
    TbxVmRecord *record = make_record(self);

    record->generation = generation + 1;
    tbx_vm_record_unref(self->record);
    self->record = record;
}

const char *tbx_local_vm_get_id(TbxLocalVm *self)
{
    return self->id;
}

TbxVmRecord *tbx_local_vm_get_record(TbxLocalVm *self)
{
    return self->record;
}

gboolean tbx_local_vm_has_process(TbxLocalVm *self)
{
    return self->process != NULL;
}
