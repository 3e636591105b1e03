/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documents about a VM: tables, counted records, and the rules for what a client may ask for.
 */
#include "libtenbox/wire/wire-vm.h"

#include <string.h>

#include "libtenbox/wire/wire-error.h"

/* ---- tables ------------------------------------------------------------------------------- */

static const char *state_to_string(int value)
{
    return tenbox_vm_state_to_string((TenboxVmState)value);
}

static int state_from_string(const char *text)
{
    return (int)tenbox_vm_state_from_string(text);
}

static const TbxFieldWords state_words = {state_to_string, state_from_string};

static const char *policy_to_string(int value)
{
    return tenbox_restart_policy_to_string((TenboxRestartPolicy)value);
}

static int policy_from_string(const char *text)
{
    return (int)tenbox_restart_policy_from_string(text);
}

static const TbxFieldWords policy_words = {policy_to_string, policy_from_string};

#define FIELD(Struct, member, type, flags)                                                         \
    {                                                                                              \
#member, type, flags, G_STRUCT_OFFSET(Struct, member)                                      \
    }

static const TbxField operation_fields[] = {
    FIELD(TbxVmOperation, id, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmOperation, kind, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
};

static const TbxRecordType operation_type = {
    "VM",
    sizeof(TbxVmOperation),
    operation_fields,
    G_N_ELEMENTS(operation_fields),
};

static const TbxField exit_fields[] = {
    FIELD(TbxVmExit, reason, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmExit, detail, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmExit, signal, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmExit, exit_code, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE | TBX_FIELD_MINUS_ONE),
    FIELD(TbxVmExit, time, TBX_FIELD_TIME, TBX_FIELD_REQUIRED),
};

static const TbxRecordType exit_type = {
    "VM",
    sizeof(TbxVmExit),
    exit_fields,
    G_N_ELEMENTS(exit_fields),
};

static const TbxField problem_fields[] = {
    FIELD(TbxVmProblem, code, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmProblem, field, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmProblem, detail, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
};

static const TbxRecordType problem_type = {
    "VM",
    sizeof(TbxVmProblem),
    problem_fields,
    G_N_ELEMENTS(problem_fields),
};

static const TbxField restart_fields[] = {
    FIELD(TbxVmRestart, reason, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRestart, delay, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRestart, at, TBX_FIELD_TIME, TBX_FIELD_REQUIRED),
};

static const TbxRecordType restart_type = {
    "VM",
    sizeof(TbxVmRestart),
    restart_fields,
    G_N_ELEMENTS(restart_fields),
};

static const TbxField vm_fields[] = {
    FIELD(TbxVmRecord, id, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, name, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    {"state", TBX_FIELD_ENUM, TBX_FIELD_REQUIRED, G_STRUCT_OFFSET(TbxVmRecord, state),
     &state_words},
    FIELD(TbxVmRecord, memory_mb, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, cpu_count, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, cmdline, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, kernel, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, initrd, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmRecord, description, TBX_FIELD_STRING, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, labels, TBX_FIELD_MAP, 0),
    FIELD(TbxVmRecord, notes, TBX_FIELD_STRING, 0),
    FIELD(TbxVmRecord, autostart, TBX_FIELD_BOOLEAN, 0),
    FIELD(TbxVmRecord, autostart_delay, TBX_FIELD_INTEGER, 0),
    FIELD(TbxVmRecord, start_order, TBX_FIELD_INTEGER, 0),
    {"restart_policy", TBX_FIELD_ENUM, 0, G_STRUCT_OFFSET(TbxVmRecord, restart_policy),
     &policy_words},
    FIELD(TbxVmRecord, stop_timeout, TBX_FIELD_INTEGER, 0),
    FIELD(TbxVmRecord, pending, TBX_FIELD_STRINGS, 0),
    {"broken", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE, G_STRUCT_OFFSET(TbxVmRecord, broken), NULL,
     &problem_type},
    FIELD(TbxVmRecord, deleted_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE | TBX_FIELD_OPTIONAL),
    FIELD(TbxVmRecord, purge_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE | TBX_FIELD_OPTIONAL),
    FIELD(TbxVmRecord, created_at, TBX_FIELD_TIME, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, last_boot_time, TBX_FIELD_TIME, TBX_FIELD_NULLABLE),
    FIELD(TbxVmRecord, started_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE),
    FIELD(TbxVmRecord, shutdown_requested_at, TBX_FIELD_TIME, TBX_FIELD_NULLABLE),
    FIELD(TbxVmRecord, pid, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
    FIELD(TbxVmRecord, generation, TBX_FIELD_INTEGER, TBX_FIELD_REQUIRED),
    FIELD(TbxVmRecord, etag, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    {"operation", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE, G_STRUCT_OFFSET(TbxVmRecord, operation),
     NULL, &operation_type},
    {"last_exit", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE, G_STRUCT_OFFSET(TbxVmRecord, last_exit),
     NULL, &exit_type},
    {"last_error", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE, G_STRUCT_OFFSET(TbxVmRecord, last_error),
     NULL, &problem_type},
    FIELD(TbxVmRecord, restart_count, TBX_FIELD_INTEGER, 0),
    {"restart", TBX_FIELD_OBJECT, TBX_FIELD_NULLABLE, G_STRUCT_OFFSET(TbxVmRecord, restart), NULL,
     &restart_type},
};

static const TbxRecordType vm_type = {
    "VM",
    sizeof(TbxVmRecord),
    vm_fields,
    G_N_ELEMENTS(vm_fields),
};

/* The order is that of the bits of TbxVmSpecFields. */
static const TbxField spec_fields[] = {
    FIELD(TbxVmSpec, name, TBX_FIELD_STRING, 0),
    FIELD(TbxVmSpec, kernel, TBX_FIELD_STRING, 0),
    FIELD(TbxVmSpec, initrd, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, memory_mb, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, cpu_count, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, cmdline, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, description, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, labels, TBX_FIELD_MAP, TBX_FIELD_NULLABLE | TBX_FIELD_CHANGES),
    FIELD(TbxVmSpec, notes, TBX_FIELD_STRING, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, autostart, TBX_FIELD_BOOLEAN, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, autostart_delay, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
    FIELD(TbxVmSpec, start_order, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
    {"restart_policy", TBX_FIELD_ENUM, TBX_FIELD_NULLABLE,
     G_STRUCT_OFFSET(TbxVmSpec, restart_policy), &policy_words},
    FIELD(TbxVmSpec, stop_timeout, TBX_FIELD_INTEGER, TBX_FIELD_NULLABLE),
};

static const TbxRecordType spec_type = {
    "VM",
    sizeof(TbxVmSpec),
    spec_fields,
    G_N_ELEMENTS(spec_fields),
};

static const TbxField stop_fields[] = {
    FIELD(TbxActionOptions, force, TBX_FIELD_BOOLEAN, 0),
    FIELD(TbxActionOptions, timeout, TBX_FIELD_INTEGER, 0),
};

static const TbxRecordType stop_type = {
    "stop request",
    sizeof(TbxActionOptions),
    stop_fields,
    G_N_ELEMENTS(stop_fields),
};

static const TbxRecordType empty_type = {"request", sizeof(TbxActionOptions), stop_fields, 0};

/* ---- the VM ------------------------------------------------------------------------------- */

TbxVmRecord *tbx_vm_record_new(void)
{
    return g_atomic_rc_box_new0(TbxVmRecord);
}

TbxVmRecord *tbx_vm_record_ref(TbxVmRecord *self)
{
    return g_atomic_rc_box_acquire(self);
}

static void vm_record_clear(gpointer data)
{
    TbxVmRecord *self = data;

    tbx_record_clear(&vm_type, self);
    g_clear_pointer(&self->foreign, json_object_unref);
}

void tbx_vm_record_unref(TbxVmRecord *self)
{
    if (self)
        g_atomic_rc_box_release_full(self, vm_record_clear);
}

TbxVmRecord *tbx_vm_record_copy(const TbxVmRecord *self)
{
    TbxVmRecord *copy = tbx_vm_record_new();

    tbx_record_copy(&vm_type, self, copy);
    return copy;
}

void tbx_vm_record_clear_operation(TbxVmRecord *self)
{
    if (self->operation)
        tbx_record_clear(&operation_type, self->operation);
    g_clear_pointer(&self->operation, g_free);
}

gboolean tbx_vm_record_equal(const TbxVmRecord *a, const TbxVmRecord *b)
{
    guint64 generation = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(vm_fields); i++) {
        if (vm_fields[i].offset == G_STRUCT_OFFSET(TbxVmRecord, generation))
            generation = G_GUINT64_CONSTANT(1) << i;
    }
    return tbx_record_equal(&vm_type, a, b, generation);
}

TbxVmRecord *tbx_vm_record_from_json(JsonObject *object, GError **error)
{
    g_autoptr(TbxVmRecord) self = tbx_vm_record_new();

    if (!tbx_record_decode(&vm_type, object, TBX_DECODE_TOLERANT, self, NULL, error))
        return NULL;
    self->foreign = json_object_ref(object);
    return g_steal_pointer(&self);
}

JsonObject *tbx_vm_record_to_json(TbxVmRecord *self)
{
    if (self->foreign)
        return json_object_ref(self->foreign);
    return tbx_record_encode(&vm_type, self, G_MAXUINT64);
}

/* ---- what a VM shall be ------------------------------------------------------------------- */

TbxVmSpec *tbx_vm_spec_new(void)
{
    return g_atomic_rc_box_new0(TbxVmSpec);
}

TbxVmSpec *tbx_vm_spec_ref(TbxVmSpec *self)
{
    return g_atomic_rc_box_acquire(self);
}

static void vm_spec_clear(gpointer data)
{
    TbxVmSpec *self = data;

    tbx_record_clear(&spec_type, self);
    g_free(self->if_match);
    g_free(self->id);
}

void tbx_vm_spec_unref(TbxVmSpec *self)
{
    if (self)
        g_atomic_rc_box_release_full(self, vm_spec_clear);
}

TbxVmSpec *tbx_vm_spec_copy(const TbxVmSpec *self)
{
    TbxVmSpec *copy = tbx_vm_spec_new();

    tbx_record_copy(&spec_type, self, copy);
    copy->present = self->present;
    copy->reset = self->reset;
    copy->if_match = g_strdup(self->if_match);
    copy->id = g_strdup(self->id);
    return copy;
}

TbxVmSpec *tbx_vm_spec_from_json(JsonObject *object, GError **error)
{
    g_autoptr(TbxVmSpec) self = tbx_vm_spec_new();

    if (!tbx_record_decode(&spec_type, object, TBX_DECODE_STRICT, self, &self->present, error))
        return NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(spec_fields); i++) {
        if (self->present >> i & 1 && json_object_get_null_member(object, spec_fields[i].name))
            self->reset |= G_GUINT64_CONSTANT(1) << i;
    }
    if (!tbx_vm_spec_validate(self, error))
        return NULL;
    return g_steal_pointer(&self);
}

/* A member that is set is written whatever its value: no = false here, not "none". */
JsonObject *tbx_vm_spec_to_json(const TbxVmSpec *self)
{
    JsonObject *object = tbx_record_encode(&spec_type, self, self->present & ~self->reset);

    if (self->present & ~self->reset & TBX_VM_SPEC_AUTOSTART)
        json_object_set_boolean_member(object, "autostart", self->autostart);
    if (self->present & ~self->reset & TBX_VM_SPEC_AUTOSTART_DELAY)
        json_object_set_int_member(object, "autostart_delay", self->autostart_delay);
    if (self->present & ~self->reset & TBX_VM_SPEC_START_ORDER)
        json_object_set_int_member(object, "start_order", self->start_order);
    for (gsize i = 0; i < G_N_ELEMENTS(spec_fields); i++) {
        if (self->reset >> i & 1)
            json_object_set_null_member(object, spec_fields[i].name);
    }
    return object;
}

gboolean tbx_vm_spec_reset(TbxVmSpec *self, const char *field, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(spec_fields); i++) {
        guint64 bit = G_GUINT64_CONSTANT(1) << i;
        if (!(spec_fields[i].flags & TBX_FIELD_NULLABLE)) {
            if (strcmp(spec_fields[i].name, field) != 0)
                continue;
            tbx_error_set(error, "field-invalid", field, "%s has no default to go back to", field);
            return FALSE;
        }
        if (strcmp(spec_fields[i].name, field) == 0) {
            self->present |= bit;
            self->reset |= bit;
            return TRUE;
        }
        g_string_append_printf(known, "%s%s", known->len ? ", " : "", spec_fields[i].name);
    }
    tbx_error_set(error, "field-unknown", field, "%s is unknown; there are %s", field, known->str);
    return FALSE;
}

gboolean tbx_vm_name_check(const char *name, GError **error)
{
    gsize length = strlen(name);
    const char *rule = NULL;

    if (length == 0)
        rule = "it is empty";
    else if (length > TBX_VM_NAME_MAX)
        rule = "it is longer than 63 characters";
    else if (!g_ascii_isalpha(name[0]))
        rule = "it must begin with a letter";
    else if (!g_ascii_isalnum(name[length - 1]))
        rule = "it must end with a letter or digit";
    for (gsize i = 0; !rule && i < length; i++) {
        if (!g_ascii_isalnum(name[i]) && name[i] != '-')
            rule = "only letters a to z, digits and hyphens are allowed";
    }
    if (!rule)
        return TRUE;

    g_autofree char *shown = g_utf8_make_valid(name, (gssize)MIN(length, 80));
    tbx_error_set(error, "name-invalid", "name", "the name \"%s\" cannot be used: %s", shown, rule);
    return FALSE;
}

gboolean tbx_vm_id_is_valid(const char *text)
{
    if (strlen(text) != 36)
        return FALSE;
    for (int i = 0; i < 36; i++) {
        gboolean is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_hyphen ? text[i] != '-' : !g_ascii_isxdigit(text[i]) || g_ascii_isupper(text[i]))
            return FALSE;
    }
    return TRUE;
}

static gboolean check_path(const char *field, const char *path, GError **error)
{
    const char *rule = NULL;

    if (path[0] == '\0')
        rule = "the path is empty";
    else if (path[0] != '/')
        rule = "the path must be absolute";
    else if (strlen(path) > TBX_VM_PATH_MAX)
        rule = "the path is longer than 4095 bytes";
    if (!rule)
        return TRUE;
    tbx_error_set(error, "field-invalid", field, "%s: %s", field, rule);
    return FALSE;
}

static gboolean check_range(const char *field, gint64 value, gint64 least, gint64 most,
                            GError **error)
{
    if (value >= least && value <= most)
        return TRUE;
    tbx_error_set(error, "field-invalid", field,
                  "%s is %" G_GINT64_FORMAT ", it must be from %" G_GINT64_FORMAT
                  " to %" G_GINT64_FORMAT,
                  field, value, least, most);
    return FALSE;
}

static gboolean check_cmdline(const char *cmdline, GError **error)
{
    gsize length = strlen(cmdline);

    if (length > TBX_VM_CMDLINE_MAX) {
        tbx_error_set(error, "field-invalid", "cmdline",
                      "cmdline has %" G_GSIZE_FORMAT " bytes, the most is %d", length,
                      TBX_VM_CMDLINE_MAX);
        return FALSE;
    }
    for (gsize i = 0; i < length; i++) {
        if (!g_ascii_isprint(cmdline[i])) {
            tbx_error_set(error, "field-invalid", "cmdline",
                          "cmdline may hold printable ASCII only, byte %" G_GSIZE_FORMAT
                          " is 0x%02x",
                          i + 1, (guint)(guchar)cmdline[i]);
            return FALSE;
        }
    }
    return TRUE;
}

/* Free text; lines and tabs in it only if @has_lines. */
static gboolean check_text(const char *field, const char *text, gsize maximum, gboolean has_lines,
                           GError **error)
{
    const char *rule = NULL;
    gsize length = strlen(text);

    if (length > maximum) {
        tbx_error_set(error, "field-invalid", field,
                      "%s has %" G_GSIZE_FORMAT " bytes, the most is %" G_GSIZE_FORMAT, field,
                      length, maximum);
        return FALSE;
    }
    if (!g_utf8_validate(text, -1, NULL))
        rule = "is not UTF-8";
    for (const char *p = text; !rule && *p; p = g_utf8_next_char(p)) {
        gunichar character = g_utf8_get_char(p);
        if (g_unichar_iscntrl(character) &&
            !(has_lines && (character == '\n' || character == '\t')))
            rule = "holds a control character";
    }
    if (!rule)
        return TRUE;
    tbx_error_set(error, "field-invalid", field, "%s %s", field, rule);
    return FALSE;
}

/* ---- labels -------------------------------------------------------------------------------- */

static gboolean check_label_key(const char *key, GError **error)
{
    gsize length = strlen(key);
    const char *rule = NULL;

    if (length == 0 || length > TBX_VM_LABEL_KEY_MAX)
        rule = "it must have 1 to 63 characters";
    else if (!g_ascii_islower(key[0]) && !g_ascii_isdigit(key[0]))
        rule = "it must begin with a small letter or a digit";
    for (gsize i = 0; !rule && i < length; i++) {
        if (!g_ascii_islower(key[i]) && !g_ascii_isdigit(key[i]) && !strchr("._/-", key[i]))
            rule = "only small letters a to z, digits and . _ / - are allowed";
    }
    if (!rule)
        return TRUE;

    g_autofree char *shown = g_utf8_make_valid(key, (gssize)MIN(length, 80));
    g_autofree char *field = g_strconcat("labels.", shown, NULL);
    tbx_error_set(error, "field-invalid", field, "%s cannot be used as a label: %s", field, rule);
    return FALSE;
}

gboolean tbx_vm_labels_check(GHashTable *labels, GError **error)
{
    g_autofree const char **keys = tbx_map_list_keys(labels);
    gsize count = 0, size = 0;

    for (gsize i = 0; keys[i]; i++) {
        const char *value = g_hash_table_lookup(labels, keys[i]);
        g_autofree char *field = NULL;

        if (!check_label_key(keys[i], error))
            return FALSE;
        field = g_strconcat("labels.", keys[i], NULL);
        if (value && !check_text(field, value, TBX_VM_LABEL_VALUE_MAX, FALSE, error))
            return FALSE;
        if (value) {
            count++;
            size += strlen(keys[i]) + strlen(value);
        }
    }
    if (count <= TBX_VM_LABELS_MAX && size <= TBX_VM_LABELS_SIZE_MAX)
        return TRUE;
    tbx_error_set(error, "field-invalid", "labels",
                  "labels: %" G_GSIZE_FORMAT " with %" G_GSIZE_FORMAT
                  " bytes; at most %d with %d bytes can be kept",
                  count, size, TBX_VM_LABELS_MAX, TBX_VM_LABELS_SIZE_MAX);
    return FALSE;
}

GHashTable *tbx_vm_labels_merge(GHashTable *labels, const TbxVmSpec *spec, GError **error)
{
    gboolean is_reset = (spec->reset & TBX_VM_SPEC_LABELS) != 0;
    g_autoptr(GHashTable) merged = is_reset || !labels ? tbx_map_new() : tbx_map_copy(labels);
    GHashTableIter iter;
    gpointer key, value;

    if (spec->present & ~spec->reset & TBX_VM_SPEC_LABELS && spec->labels) {
        g_hash_table_iter_init(&iter, spec->labels);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
            if (value)
                g_hash_table_replace(merged, g_strdup(key), g_strdup(value));
            else
                g_hash_table_remove(merged, key);
        }
    }
    return tbx_vm_labels_check(merged, error) ? g_steal_pointer(&merged) : NULL;
}

/* ---- checking ------------------------------------------------------------------------------ */

gboolean tbx_vm_spec_validate(const TbxVmSpec *self, GError **error)
{
    guint64 given = self->present & ~self->reset;

    if (given & TBX_VM_SPEC_NAME && !tbx_vm_name_check(self->name, error))
        return FALSE;
    if (given & TBX_VM_SPEC_KERNEL && !check_path("kernel", self->kernel, error))
        return FALSE;
    if (given & TBX_VM_SPEC_INITRD && !check_path("initrd", self->initrd, error))
        return FALSE;
    if (given & TBX_VM_SPEC_MEMORY_MB &&
        !check_range("memory_mb", self->memory_mb, TBX_VM_MEMORY_MB_MIN, TBX_VM_MEMORY_MB_MAX,
                     error))
        return FALSE;
    if (given & TBX_VM_SPEC_CPU_COUNT &&
        !check_range("cpu_count", self->cpu_count, 1, TBX_VM_CPU_COUNT_MAX, error))
        return FALSE;
    if (given & TBX_VM_SPEC_CMDLINE && !check_cmdline(self->cmdline, error))
        return FALSE;
    if (given & TBX_VM_SPEC_DESCRIPTION &&
        !check_text("description", self->description, TBX_VM_DESCRIPTION_MAX, TRUE, error))
        return FALSE;
    if (given & TBX_VM_SPEC_NOTES &&
        !check_text("notes", self->notes, TBX_VM_NOTES_MAX, TRUE, error))
        return FALSE;
    if (given & TBX_VM_SPEC_AUTOSTART_DELAY &&
        !check_range("autostart_delay", self->autostart_delay, 0, TBX_AUTOSTART_DELAY_MAX, error))
        return FALSE;
    if (given & TBX_VM_SPEC_START_ORDER &&
        !check_range("start_order", self->start_order, 0, TBX_START_ORDER_MAX, error))
        return FALSE;
    if (given & TBX_VM_SPEC_RESTART_POLICY &&
        (self->restart_policy <= TENBOX_RESTART_POLICY_UNKNOWN ||
         self->restart_policy > TENBOX_RESTART_POLICY_ALWAYS)) {
        tbx_error_set(error, "field-invalid", "restart_policy",
                      "restart_policy must be no, on-failure or always");
        return FALSE;
    }
    if (given & TBX_VM_SPEC_STOP_TIMEOUT &&
        !check_range("stop_timeout", self->stop_timeout, 1, TBX_STOP_TIMEOUT_MAX, error))
        return FALSE;
    return !(given & TBX_VM_SPEC_LABELS) || tbx_vm_labels_check(self->labels, error);
}

gboolean tbx_vm_spec_validate_create(const TbxVmSpec *self, GError **error)
{
    guint64 given = self->present & ~self->reset;
    const char *missing = !(given & TBX_VM_SPEC_NAME)     ? "name"
                          : !(given & TBX_VM_SPEC_KERNEL) ? "kernel"
                                                          : NULL;

    if (missing) {
        tbx_error_set(error, "field-invalid", missing, "%s is missing", missing);
        return FALSE;
    }
    return tbx_vm_spec_validate(self, error);
}

/* ---- options of an action ----------------------------------------------------------------- */

gboolean tbx_action_options_from_json(TenboxVmAction action, JsonObject *object,
                                      TbxActionOptions *ret_options, GError **error)
{
    TbxActionOptions options = TBX_ACTION_OPTIONS_DEFAULT;
    guint64 present = 0;

    if (object) {
        const TbxRecordType *type = action == TENBOX_VM_ACTION_STOP ? &stop_type : &empty_type;
        TbxActionOptions given = {0};
        if (!tbx_record_decode(type, object, TBX_DECODE_STRICT, &given, &present, error))
            return FALSE;
        options.force = given.force;
        if (present >> 1 & 1) {
            if (!check_range("timeout", given.timeout, 0, TBX_STOP_TIMEOUT_MAX, error))
                return FALSE;
            options.timeout = given.timeout;
        }
    }
    *ret_options = options;
    return TRUE;
}

JsonObject *tbx_action_options_to_json(TenboxVmAction action, const TbxActionOptions *options)
{
    if (action != TENBOX_VM_ACTION_STOP)
        return NULL;

    JsonObject *object = json_object_new();
    json_object_set_boolean_member(object, "force", options->force);
    if (options->timeout >= 0)
        json_object_set_int_member(object, "timeout", options->timeout);
    return object;
}

gboolean tbx_action_options_validate(TenboxVmAction action, const TbxActionOptions *options,
                                     GError **error)
{
    const char *word = tenbox_vm_action_to_string(action);

    if (action <= TENBOX_VM_ACTION_UNKNOWN || action > TENBOX_VM_ACTION_DELETE) {
        tbx_error_set(error, "field-invalid", "action", "there is no action number %d",
                      (int)action);
        return FALSE;
    }
    if (options->force && action != TENBOX_VM_ACTION_STOP && action != TENBOX_VM_ACTION_DELETE) {
        tbx_error_set(error, "field-invalid", "force", "%s cannot be forced", word);
        return FALSE;
    }
    if (options->purge && action != TENBOX_VM_ACTION_DELETE) {
        tbx_error_set(error, "field-invalid", "purge", "%s has nothing to do with the trash", word);
        return FALSE;
    }
    if (options->timeout == -1)
        return TRUE;
    if (action != TENBOX_VM_ACTION_STOP) {
        tbx_error_set(error, "field-invalid", "timeout", "%s takes no timeout", word);
        return FALSE;
    }
    return check_range("timeout", options->timeout, 0, TBX_STOP_TIMEOUT_MAX, error);
}
