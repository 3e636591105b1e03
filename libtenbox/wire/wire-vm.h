/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documents about a VM: what it is (TbxVmRecord) and what it shall be (TbxVmSpec).
 *
 * Both are counted and immutable once shared: whoever makes one fills its members, then hands it on
 * and never writes again. Member names are the JSON names.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/wire/wire-field.h"

G_BEGIN_DECLS

#define TBX_VM_NAME_MAX          63
#define TBX_VM_CMDLINE_MAX       2047
#define TBX_VM_DESCRIPTION_MAX   4096
#define TBX_VM_PATH_MAX          4095
#define TBX_VM_MEMORY_MB_MIN     16
#define TBX_VM_MEMORY_MB_MAX     (16 * 1024 * 1024) /* what the record can say; the host has less */
#define TBX_VM_CPU_COUNT_MAX     64
#define TBX_STOP_TIMEOUT_DEFAULT 30
#define TBX_STOP_TIMEOUT_MAX     3600
#define TBX_AUTOSTART_DELAY_MAX  3600
#define TBX_START_ORDER_DEFAULT  100
#define TBX_START_ORDER_MAX      1000

/* What is free text is bounded so that the largest document of a VM, with each character escaped, still
 * fits into one frame of the WebSocket (TBX_STREAM_PAYLOAD_MAX). */
#define TBX_VM_NOTES_MAX       16384
#define TBX_VM_LABELS_MAX      64
#define TBX_VM_LABELS_SIZE_MAX 4096 /* all keys and values */
#define TBX_VM_LABEL_KEY_MAX   63
#define TBX_VM_LABEL_VALUE_MAX 255

/* {"id","kind"} of the operation that runs on a VM. */
typedef struct {
    char *id;
    char *kind;
} TbxVmOperation;

/* How the last run ended. */
typedef struct {
    char *reason;     /* "guest-power-off", "triple-fault", "killed", "exited", … */
    char *detail;     /* nullable: a sentence */
    char *signal;     /* nullable: "SIGKILL" */
    gint64 exit_code; /* -1 when it did not exit by itself */
    gint64 time;
} TbxVmExit;

/* Why the last action on the VM failed. */
typedef struct {
    char *code;
    char *field; /* nullable */
    char *detail;
} TbxVmProblem;

/* The next start that the daemon makes by itself. */
typedef struct {
    char *reason; /* of the end before it: a word of last_exit, or the code of an error */
    gint64 delay; /* seconds between that end and this start */
    gint64 at;    /* when it is due */
} TbxVmRestart;

typedef struct _TbxVmRecord TbxVmRecord;
struct _TbxVmRecord {
    char *id;
    char *name;
    int state; /* TenboxVmState */
    gint64 memory_mb;
    gint64 cpu_count;
    char *cmdline;      /* never NULL once complete, "" = the default of the architecture */
    char *kernel;       /* file name in the VM's folder */
    char *initrd;       /* nullable */
    char *description;  /* "" when there is none */
    GHashTable *labels; /* nullable: none; strings by strings */
    char *notes;        /* "" when there are none */
    gboolean autostart;
    gint64 autostart_delay; /* seconds */
    gint64 start_order;
    int restart_policy;  /* TenboxRestartPolicy */
    gint64 stop_timeout; /* seconds that a stop without a time-out of its own gives the guest */
    /* Members whose value is another one than that of the process that runs; NULL: none. */
    char **pending;
    TbxVmProblem *broken; /* nullable: why vm.json cannot be used */
    gint64 deleted_at;    /* of a VM in the trash; else 0 */
    gint64 purge_at;      /* of a VM in the trash: when it is removed for good; else 0 */
    gint64 created_at;
    gint64 last_boot_time;        /* last start of a run, also after it ended; 0 = never */
    gint64 started_at;            /* 0 = does not run */
    gint64 shutdown_requested_at; /* 0 = not asked */
    gint64 pid;                   /* 0 = no process */
    /* Grows with every change of this document while the driver is open, so that a document that
     * was overtaken on its way can be told from a newer one. */
    gint64 generation;
    char *etag;                /* nullable: of what is stored, see wire-etag.h */
    TbxVmOperation *operation; /* nullable */
    TbxVmExit *last_exit;      /* nullable */
    TbxVmProblem *last_error;  /* nullable */
    gint64 restart_count;      /* in a row, by the daemon itself */
    TbxVmRestart *restart;     /* nullable: none is due */

    /*< private >*/
    JsonObject *foreign; /* nullable: the document as it came, with members we do not know */
};

/* A zeroed record with one reference, to be filled and freed by tbx_vm_record_unref(). The maker
 * allocates nested structs with g_new0() and strings with g_malloc(). */
TbxVmRecord *tbx_vm_record_new(void);
TbxVmRecord *tbx_vm_record_ref(TbxVmRecord *self);
void tbx_vm_record_unref(TbxVmRecord *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmRecord, tbx_vm_record_unref)

/* A deep copy, not shared: how the next document is made from the last. */
TbxVmRecord *tbx_vm_record_copy(const TbxVmRecord *self);

/* Nothing is being done to the VM any more; for one that is not shared yet. */
void tbx_vm_record_clear_operation(TbxVmRecord *self);

/* Whether two documents say the same, generation apart. */
gboolean tbx_vm_record_equal(const TbxVmRecord *a, const TbxVmRecord *b);

/* Tolerant. "protocol-error" naming the member when it is no VM document. */
TbxVmRecord *tbx_vm_record_from_json(JsonObject *object, GError **error);

/* (transfer full); members of a newer daemon included. */
JsonObject *tbx_vm_record_to_json(TbxVmRecord *self);

/* Which members of a TbxVmSpec are set. The bits are the rows of its table. */
typedef enum {
    TBX_VM_SPEC_NAME = 1 << 0,
    TBX_VM_SPEC_KERNEL = 1 << 1,
    TBX_VM_SPEC_INITRD = 1 << 2,
    TBX_VM_SPEC_MEMORY_MB = 1 << 3,
    TBX_VM_SPEC_CPU_COUNT = 1 << 4,
    TBX_VM_SPEC_CMDLINE = 1 << 5,
    TBX_VM_SPEC_DESCRIPTION = 1 << 6,
    TBX_VM_SPEC_LABELS = 1 << 7,
    TBX_VM_SPEC_NOTES = 1 << 8,
    TBX_VM_SPEC_AUTOSTART = 1 << 9,
    TBX_VM_SPEC_AUTOSTART_DELAY = 1 << 10,
    TBX_VM_SPEC_START_ORDER = 1 << 11,
    TBX_VM_SPEC_RESTART_POLICY = 1 << 12,
    TBX_VM_SPEC_STOP_TIMEOUT = 1 << 13,
} TbxVmSpecFields;

/* Body of POST /v1/vms and PATCH /v1/vms/{vm}. Members without their bit in `present` are unset. */
typedef struct _TbxVmSpec TbxVmSpec;
struct _TbxVmSpec {
    guint64 present; /* TbxVmSpecFields */
    guint64 reset; /* those of `present` that were null: back to the default, the member is unset */
    char *name;
    char *kernel; /* absolute path */
    char *initrd; /* absolute path; reset = none */
    gint64 memory_mb;
    gint64 cpu_count;
    char *cmdline;
    char *description;
    /* What shall change of the labels: a value of NULL takes the key away, keys that are not here stay.
     * Reset = no label at all. */
    GHashTable *labels;
    char *notes;
    gboolean autostart;
    gint64 autostart_delay;
    gint64 start_order;
    int restart_policy; /* TenboxRestartPolicy */
    gint64 stop_timeout;

    /* Beside the document: */
    char *if_match; /* nullable: header If-Match, checked */
    char *id;       /* nullable: what a new VM shall have as its id, a UUID of nobody else */
};

TbxVmSpec *tbx_vm_spec_new(void);
TbxVmSpec *tbx_vm_spec_ref(TbxVmSpec *self);
void tbx_vm_spec_unref(TbxVmSpec *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxVmSpec, tbx_vm_spec_unref)
TbxVmSpec *tbx_vm_spec_copy(const TbxVmSpec *self);

/* Strict; the result has passed tbx_vm_spec_validate(). "field-unknown", "field-invalid",
 * "name-invalid", each with the field. null is taken for every member but name and kernel; at
 * creation it means the same as leaving the member out. */
TbxVmSpec *tbx_vm_spec_from_json(JsonObject *object, GError **error);
JsonObject *tbx_vm_spec_to_json(const TbxVmSpec *self);

/* Checks what can be checked without a host: name, ranges, lengths, characters, absolute paths. */
gboolean tbx_vm_spec_validate(const TbxVmSpec *self, GError **error);

/* Checks in addition that what a creation needs is there: name and kernel. */
gboolean tbx_vm_spec_validate_create(const TbxVmSpec *self, GError **error);

/* Sets the member called @field back to its default, as null does in JSON. "field-unknown", and
 * "field-invalid" for name and kernel, which have none. */
gboolean tbx_vm_spec_reset(TbxVmSpec *self, const char *field, GError **error);

/* What @labels (nullable: none) become by the changes of @spec, which may hold none: (transfer full), a
 * map. "field-invalid" when there are too many then. */
GHashTable *tbx_vm_labels_merge(GHashTable *labels, const TbxVmSpec *spec, GError **error);

/* Rules of keys, values and their number; NULL values and a NULL map are fine. "field-invalid" with the
 * field labels.KEY or labels. */
gboolean tbx_vm_labels_check(GHashTable *labels, GError **error);

/* "name-invalid" saying which rule @name breaks. */
gboolean tbx_vm_name_check(const char *name, GError **error);

/* Whether @text has the form of a VM id: a UUID in lower-case hexadecimal with hyphens. */
gboolean tbx_vm_id_is_valid(const char *text);

/* Options of an action: {"force","timeout"}. */
typedef struct {
    gboolean force;
    gboolean purge; /* delete: for good, not into the trash; no member of a body */
    gint64 timeout; /* seconds; -1 = the VM's stop_timeout */

    /* Beside the document, borrowed: */
    const char *if_match;     /* nullable: header If-Match, checked */
    const char *operation_id; /* nullable: what the operation shall have as its id, a UUID */
} TbxActionOptions;

#define TBX_ACTION_OPTIONS_DEFAULT ((TbxActionOptions){.force = FALSE, .timeout = -1})

/* Strict; @object may be NULL (no body). Only the body of stop has members. */
gboolean tbx_action_options_from_json(TenboxVmAction action, JsonObject *object,
                                      TbxActionOptions *ret_options, GError **error);

/* (nullable): NULL when the action needs no body. */
JsonObject *tbx_action_options_to_json(TenboxVmAction action, const TbxActionOptions *options);

/* "field-invalid" for force where it means nothing and for a timeout out of range. */
gboolean tbx_action_options_validate(TenboxVmAction action, const TbxActionOptions *options,
                                     GError **error);

G_END_DECLS
