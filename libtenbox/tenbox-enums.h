/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Enumerations and their words.
 *
 * One table per enumeration gives the GType, the word used in JSON, on the command line and in this
 * documentation, and the way back. Values are only ever added at the end; a word that this release
 * does not know becomes the UNKNOWN value, never an error, so that an older client can talk to a
 * newer daemon.
 */
#pragma once

#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

/**
 * TenboxVmState:
 * @TENBOX_VM_STATE_UNKNOWN: a state of a newer daemon
 * @TENBOX_VM_STATE_STOPPED: no process; may be changed, started, deleted
 * @TENBOX_VM_STATE_STARTING: the process is being set up
 * @TENBOX_VM_STATE_RUNNING: the guest executes
 * @TENBOX_VM_STATE_PAUSED: the guest's CPUs stand still, its memory is kept
 * @TENBOX_VM_STATE_STOPPING: being stopped
 * @TENBOX_VM_STATE_CRASHED: the process ended unasked; `last_exit` says how; may be started again
 *
 * What a VM is doing.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_VM_STATE_UNKNOWN,
    TENBOX_VM_STATE_STOPPED,
    TENBOX_VM_STATE_STARTING,
    TENBOX_VM_STATE_RUNNING,
    TENBOX_VM_STATE_PAUSED,
    TENBOX_VM_STATE_STOPPING,
    TENBOX_VM_STATE_CRASHED,
} TenboxVmState;

/**
 * TenboxVmAction:
 * @TENBOX_VM_ACTION_UNKNOWN: an action of a newer daemon
 * @TENBOX_VM_ACTION_START: boot
 * @TENBOX_VM_ACTION_STOP: ask the guest to shut down, power off when it has not after a time
 * @TENBOX_VM_ACTION_SHUTDOWN: ask the guest to shut down; done when asked
 * @TENBOX_VM_ACTION_REBOOT: ask the guest to reboot
 * @TENBOX_VM_ACTION_RESET: pull the reset line
 * @TENBOX_VM_ACTION_PAUSE: stop the guest's CPUs
 * @TENBOX_VM_ACTION_RESUME: let them go on
 * @TENBOX_VM_ACTION_DELETE: remove the VM and the files it owns
 *
 * What can be done with a VM.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_VM_ACTION_UNKNOWN,
    TENBOX_VM_ACTION_START,
    TENBOX_VM_ACTION_STOP,
    TENBOX_VM_ACTION_SHUTDOWN,
    TENBOX_VM_ACTION_REBOOT,
    TENBOX_VM_ACTION_RESET,
    TENBOX_VM_ACTION_PAUSE,
    TENBOX_VM_ACTION_RESUME,
    TENBOX_VM_ACTION_DELETE,
} TenboxVmAction;

/**
 * TenboxOperationState:
 * @TENBOX_OPERATION_STATE_UNKNOWN: a state of a newer daemon
 * @TENBOX_OPERATION_STATE_RUNNING: not ended yet
 * @TENBOX_OPERATION_STATE_DONE: ended as asked
 * @TENBOX_OPERATION_STATE_FAILED: ended with an error
 * @TENBOX_OPERATION_STATE_CANCELLED: withdrawn
 * @TENBOX_OPERATION_STATE_INTERRUPTED: the daemon ended while it ran; look at the VM to see how far it came
 *
 * How far an operation is.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_OPERATION_STATE_UNKNOWN,
    TENBOX_OPERATION_STATE_RUNNING,
    TENBOX_OPERATION_STATE_DONE,
    TENBOX_OPERATION_STATE_FAILED,
    TENBOX_OPERATION_STATE_CANCELLED,
    TENBOX_OPERATION_STATE_INTERRUPTED,
} TenboxOperationState;

/**
 * TenboxRestartPolicy:
 * @TENBOX_RESTART_POLICY_UNKNOWN: a policy of a newer daemon
 * @TENBOX_RESTART_POLICY_NO: a VM that ended stays as it is
 * @TENBOX_RESTART_POLICY_ON_FAILURE: a VM that crashed is started again
 * @TENBOX_RESTART_POLICY_ALWAYS: and so is one whose guest switched itself off; not one that was
 *   stopped through this API
 *
 * When a VM that ended is started again by itself.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_RESTART_POLICY_UNKNOWN,
    TENBOX_RESTART_POLICY_NO,
    TENBOX_RESTART_POLICY_ON_FAILURE,
    TENBOX_RESTART_POLICY_ALWAYS,
} TenboxRestartPolicy;

/**
 * TenboxVmActionFlags:
 * @TENBOX_VM_ACTION_FLAGS_NONE: nothing special
 * @TENBOX_VM_ACTION_FLAGS_FORCE: stop: power off now; delete: stop the VM first. Both pre-empt a
 *   running operation, which ends as cancelled. Refused with other actions.
 * @TENBOX_VM_ACTION_FLAGS_IF_UNCHANGED: only while what is stored of the VM is as the handle knows it;
 *   else it fails with the code "precondition-failed"
 * @TENBOX_VM_ACTION_FLAGS_PURGE: delete: for good, not into the trash. Refused with other actions.
 *
 * How an action is done.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
    TENBOX_VM_ACTION_FLAGS_NONE = 0,
    TENBOX_VM_ACTION_FLAGS_FORCE = 1 << 0,
    TENBOX_VM_ACTION_FLAGS_IF_UNCHANGED = 1 << 1,
    TENBOX_VM_ACTION_FLAGS_PURGE = 1 << 2,
} TenboxVmActionFlags;

/**
 * TenboxConnectionFlags:
 * @TENBOX_CONNECTION_FLAGS_NONE: nothing special
 * @TENBOX_CONNECTION_FLAGS_RECONNECT: a watch whose daemon goes away is not over: it is made anew as soon
 *   as a daemon answers there again, and goes on where it was; see #TenboxConnection
 * @TENBOX_CONNECTION_FLAGS_NO_PROBE: do not ask first whether a daemon answers; the first call finds out
 *
 * How a connection is opened.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
    TENBOX_CONNECTION_FLAGS_NONE = 0,
    TENBOX_CONNECTION_FLAGS_RECONNECT = 1 << 0,
    TENBOX_CONNECTION_FLAGS_NO_PROBE = 1 << 1,
} TenboxConnectionFlags;

/**
 * TenboxWatchState:
 * @TENBOX_WATCH_STATE_UNKNOWN: no state
 * @TENBOX_WATCH_STATE_OFF: there is no watch
 * @TENBOX_WATCH_STATE_ON: everything that happens is signalled
 * @TENBOX_WATCH_STATE_RECONNECTING: the daemon went away; handles keep what they last knew until it is
 *   back
 *
 * What has become of a watch.
 *
 * Since: 0.1
 */
typedef enum {
    TENBOX_WATCH_STATE_UNKNOWN,
    TENBOX_WATCH_STATE_OFF,
    TENBOX_WATCH_STATE_ON,
    TENBOX_WATCH_STATE_RECONNECTING,
} TenboxWatchState;

/**
 * TenboxVmLookupFlags:
 * @TENBOX_VM_LOOKUP_FLAGS_NONE: exact name, then id, then a unique prefix (3 characters or more) of
 *   an id
 * @TENBOX_VM_LOOKUP_FLAGS_EXACT: only exact name or whole id
 *
 * How a VM is found by what somebody typed.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
    TENBOX_VM_LOOKUP_FLAGS_NONE = 0,
    TENBOX_VM_LOOKUP_FLAGS_EXACT = 1 << 0,
} TenboxVmLookupFlags;

/**
 * TenboxConsoleFlags:
 * @TENBOX_CONSOLE_FLAGS_NONE: begin with what the console ring still holds (up to 256 KiB)
 * @TENBOX_CONSOLE_FLAGS_NO_REPLAY: begin with what comes from now on
 * @TENBOX_CONSOLE_FLAGS_READ_ONLY: only watch; writing is refused
 * @TENBOX_CONSOLE_FLAGS_WRITER: be the only one who writes, as long as it is open: writes of others are refused
 *   with the code "console-busy", and so is opening it so while another one is
 * @TENBOX_CONSOLE_FLAGS_FORCE: with %TENBOX_CONSOLE_FLAGS_WRITER, which it implies: take over from the one who is; that
 *   console ends with "console-busy"
 *
 * How a console is opened.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
    TENBOX_CONSOLE_FLAGS_NONE = 0,
    TENBOX_CONSOLE_FLAGS_NO_REPLAY = 1 << 0,
    TENBOX_CONSOLE_FLAGS_READ_ONLY = 1 << 1,
    TENBOX_CONSOLE_FLAGS_WRITER = 1 << 2,
    TENBOX_CONSOLE_FLAGS_FORCE = 1 << 3,
} TenboxConsoleFlags;

#define TENBOX_TYPE_VM_STATE        (tenbox_vm_state_get_type())
#define TENBOX_TYPE_VM_ACTION       (tenbox_vm_action_get_type())
#define TENBOX_TYPE_OPERATION_STATE (tenbox_operation_state_get_type())
#define TENBOX_TYPE_RESTART_POLICY  (tenbox_restart_policy_get_type())
#define TENBOX_TYPE_WATCH_STATE     (tenbox_watch_state_get_type())

/**
 * tenbox_vm_state_get_type:
 *
 * Returns: the #GType of #TenboxVmState
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GType tenbox_vm_state_get_type(void);

/**
 * tenbox_vm_state_to_string:
 * @state: a state; values out of range count as unknown
 *
 * Returns: (transfer none): its word, such as "running"; static
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_state_to_string(TenboxVmState state);

/**
 * tenbox_vm_state_from_string:
 * @text: (nullable): a word
 *
 * Returns: the state, %TENBOX_VM_STATE_UNKNOWN when @text is no word of it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmState tenbox_vm_state_from_string(const char *text);

/**
 * tenbox_vm_action_get_type:
 *
 * Returns: the #GType of #TenboxVmAction
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GType tenbox_vm_action_get_type(void);

/**
 * tenbox_vm_action_to_string:
 * @action: an action; values out of range count as unknown
 *
 * Returns: (transfer none): its word, such as "start"; static
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_vm_action_to_string(TenboxVmAction action);

/**
 * tenbox_vm_action_from_string:
 * @text: (nullable): a word
 *
 * Returns: the action, %TENBOX_VM_ACTION_UNKNOWN when @text is no word of it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmAction tenbox_vm_action_from_string(const char *text);

/**
 * tenbox_operation_state_get_type:
 *
 * Returns: the #GType of #TenboxOperationState
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GType tenbox_operation_state_get_type(void);

/**
 * tenbox_operation_state_to_string:
 * @state: a state; values out of range count as unknown
 *
 * Returns: (transfer none): its word, such as "done"; static
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_operation_state_to_string(TenboxOperationState state);

/**
 * tenbox_operation_state_from_string:
 * @text: (nullable): a word
 *
 * Returns: the state, %TENBOX_OPERATION_STATE_UNKNOWN when @text is no word of it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxOperationState tenbox_operation_state_from_string(const char *text);

/**
 * tenbox_restart_policy_get_type:
 *
 * Returns: the #GType of #TenboxRestartPolicy
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GType tenbox_restart_policy_get_type(void);

/**
 * tenbox_restart_policy_to_string:
 * @policy: a policy; values out of range count as unknown
 *
 * Returns: (transfer none): its word, such as "on-failure"; static
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_restart_policy_to_string(TenboxRestartPolicy policy);

/**
 * tenbox_restart_policy_from_string:
 * @text: (nullable): a word
 *
 * Returns: the policy, %TENBOX_RESTART_POLICY_UNKNOWN when @text is no word of it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxRestartPolicy tenbox_restart_policy_from_string(const char *text);

/**
 * tenbox_watch_state_get_type:
 *
 * Returns: the #GType of #TenboxWatchState
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
GType tenbox_watch_state_get_type(void);

/**
 * tenbox_watch_state_to_string:
 * @state: a state; values out of range count as unknown
 *
 * Returns: (transfer none): its word, such as "reconnecting"; static
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
const char *tenbox_watch_state_to_string(TenboxWatchState state);

/**
 * tenbox_watch_state_from_string:
 * @text: (nullable): a word
 *
 * Returns: the state, %TENBOX_WATCH_STATE_UNKNOWN when @text is no word of it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxWatchState tenbox_watch_state_from_string(const char *text);

G_END_DECLS
