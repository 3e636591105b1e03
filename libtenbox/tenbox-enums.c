/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words of the enumerations, once: a GEnumValue table per enumeration is the GType's data and
 * the word list both ways. The word is the value_nick. Values are dense and begin with UNKNOWN = 0.
 */
#include "libtenbox/tenbox-enums.h"

static const GEnumValue vm_states[] = {
    {TENBOX_VM_STATE_UNKNOWN, "TENBOX_VM_STATE_UNKNOWN", "unknown"},
    {TENBOX_VM_STATE_STOPPED, "TENBOX_VM_STATE_STOPPED", "stopped"},
    {TENBOX_VM_STATE_STARTING, "TENBOX_VM_STATE_STARTING", "starting"},
    {TENBOX_VM_STATE_RUNNING, "TENBOX_VM_STATE_RUNNING", "running"},
    {TENBOX_VM_STATE_PAUSED, "TENBOX_VM_STATE_PAUSED", "paused"},
    {TENBOX_VM_STATE_STOPPING, "TENBOX_VM_STATE_STOPPING", "stopping"},
    {TENBOX_VM_STATE_CRASHED, "TENBOX_VM_STATE_CRASHED", "crashed"},
    {0, NULL, NULL},
};

static const GEnumValue vm_actions[] = {
    {TENBOX_VM_ACTION_UNKNOWN, "TENBOX_VM_ACTION_UNKNOWN", "unknown"},
    {TENBOX_VM_ACTION_START, "TENBOX_VM_ACTION_START", "start"},
    {TENBOX_VM_ACTION_STOP, "TENBOX_VM_ACTION_STOP", "stop"},
    {TENBOX_VM_ACTION_SHUTDOWN, "TENBOX_VM_ACTION_SHUTDOWN", "shutdown"},
    {TENBOX_VM_ACTION_REBOOT, "TENBOX_VM_ACTION_REBOOT", "reboot"},
    {TENBOX_VM_ACTION_RESET, "TENBOX_VM_ACTION_RESET", "reset"},
    {TENBOX_VM_ACTION_PAUSE, "TENBOX_VM_ACTION_PAUSE", "pause"},
    {TENBOX_VM_ACTION_RESUME, "TENBOX_VM_ACTION_RESUME", "resume"},
    {TENBOX_VM_ACTION_DELETE, "TENBOX_VM_ACTION_DELETE", "delete"},
    {0, NULL, NULL},
};

static const GEnumValue operation_states[] = {
    {TENBOX_OPERATION_STATE_UNKNOWN, "TENBOX_OPERATION_STATE_UNKNOWN", "unknown"},
    {TENBOX_OPERATION_STATE_RUNNING, "TENBOX_OPERATION_STATE_RUNNING", "running"},
    {TENBOX_OPERATION_STATE_DONE, "TENBOX_OPERATION_STATE_DONE", "done"},
    {TENBOX_OPERATION_STATE_FAILED, "TENBOX_OPERATION_STATE_FAILED", "failed"},
    {TENBOX_OPERATION_STATE_CANCELLED, "TENBOX_OPERATION_STATE_CANCELLED", "cancelled"},
    {TENBOX_OPERATION_STATE_INTERRUPTED, "TENBOX_OPERATION_STATE_INTERRUPTED", "interrupted"},
    {0, NULL, NULL},
};

static const GEnumValue watch_states[] = {
    {TENBOX_WATCH_STATE_UNKNOWN, "TENBOX_WATCH_STATE_UNKNOWN", "unknown"},
    {TENBOX_WATCH_STATE_OFF, "TENBOX_WATCH_STATE_OFF", "off"},
    {TENBOX_WATCH_STATE_ON, "TENBOX_WATCH_STATE_ON", "on"},
    {TENBOX_WATCH_STATE_RECONNECTING, "TENBOX_WATCH_STATE_RECONNECTING", "reconnecting"},
    {0, NULL, NULL},
};

static const GEnumValue restart_policies[] = {
    {TENBOX_RESTART_POLICY_UNKNOWN, "TENBOX_RESTART_POLICY_UNKNOWN", "unknown"},
    {TENBOX_RESTART_POLICY_NO, "TENBOX_RESTART_POLICY_NO", "no"},
    {TENBOX_RESTART_POLICY_ON_FAILURE, "TENBOX_RESTART_POLICY_ON_FAILURE", "on-failure"},
    {TENBOX_RESTART_POLICY_ALWAYS, "TENBOX_RESTART_POLICY_ALWAYS", "always"},
    {0, NULL, NULL},
};

/* @count includes the end mark. */
static const char *enum_to_string(const GEnumValue *values, gsize count, int value)
{
    return value >= 0 && (gsize)value < count - 1 ? values[value].value_nick : values[0].value_nick;
}

static int enum_from_string(const GEnumValue *values, gsize count, const char *text)
{
    for (gsize i = 1; i < count - 1; i++) {
        if (g_strcmp0(values[i].value_nick, text) == 0)
            return values[i].value;
    }
    return 0;
}

/* One enumeration: its type, the word of a value, the value of a word. */
#define DEFINE_ENUM(Type, prefix, table)                                                           \
    G_STATIC_ASSERT(sizeof(Type) == sizeof(int));                                                  \
    GType prefix##_get_type(void)                                                                  \
    {                                                                                              \
        static gsize type;                                                                         \
        if (g_once_init_enter(&type))                                                              \
            g_once_init_leave(&type, g_enum_register_static(#Type, table));                        \
        return type;                                                                               \
    }                                                                                              \
    const char *prefix##_to_string(Type value)                                                     \
    {                                                                                              \
        return enum_to_string(table, G_N_ELEMENTS(table), (int)value);                             \
    }                                                                                              \
    Type prefix##_from_string(const char *text)                                                    \
    {                                                                                              \
        return (Type)enum_from_string(table, G_N_ELEMENTS(table), text);                           \
    }

DEFINE_ENUM(TenboxVmState, tenbox_vm_state, vm_states)
DEFINE_ENUM(TenboxVmAction, tenbox_vm_action, vm_actions)
DEFINE_ENUM(TenboxOperationState, tenbox_operation_state, operation_states)
DEFINE_ENUM(TenboxRestartPolicy, tenbox_restart_policy, restart_policies)
DEFINE_ENUM(TenboxWatchState, tenbox_watch_state, watch_states)
