/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a VM shall be made of: an immutable value and the builder that makes it.
 *
 * A field that was not set is absent: at creation the driver gives its default, in an update the VM
 * keeps what it has. Nothing here touches a file; relative paths are refused, since the daemon that
 * reads them has another current folder.
 */
#pragma once

#include "libtenbox/tenbox-enums.h"
#include "libtenbox/tenbox-types.h"

G_BEGIN_DECLS

#define TENBOX_TYPE_VM_CONFIG         (tenbox_vm_config_get_type())
#define TENBOX_TYPE_VM_CONFIG_BUILDER (tenbox_vm_config_builder_get_type())

/**
 * TenboxVmConfig:
 *
 * An immutable set of fields for tenbox_connection_create_vm_async() and tenbox_vm_update_async().
 * May be shared between threads.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxVmConfig, tenbox_vm_config, TENBOX, VM_CONFIG, GObject)

/**
 * TenboxVmConfigBuilder:
 *
 * Collects fields; not shared between threads.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE(TenboxVmConfigBuilder, tenbox_vm_config_builder, TENBOX, VM_CONFIG_BUILDER,
                     GObject)

/**
 * tenbox_vm_config_builder_new:
 *
 * Returns: (transfer full): a builder with no field set
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmConfigBuilder *tenbox_vm_config_builder_new(void);

/**
 * tenbox_vm_config_builder_set_name:
 * @self: a builder
 * @name: begins with a letter, then letters, digits and hyphens, ends with a letter or digit;
 *   ASCII, at most 63 characters. Unique on a host, upper and lower case differ. Mandatory at
 *   creation.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_name(TenboxVmConfigBuilder *self, const char *name);

/**
 * tenbox_vm_config_builder_set_kernel:
 * @self: a builder
 * @path: (type filename): absolute path, on the daemon's host, of a kernel; it is copied into the
 *   VM's folder. Mandatory at creation.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_kernel(TenboxVmConfigBuilder *self, const char *path);

/**
 * tenbox_vm_config_builder_set_initrd:
 * @self: a builder
 * @path: (type filename) (nullable): absolute path of an initial RAM disk, copied like the kernel;
 *   %NULL sets the field to "none", which in an update removes it
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_initrd(TenboxVmConfigBuilder *self, const char *path);

/**
 * tenbox_vm_config_builder_set_memory_mb:
 * @self: a builder
 * @memory_mb: MiB of guest memory, from 16 to what the host has; default 4096
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_memory_mb(TenboxVmConfigBuilder *self, gint64 memory_mb);

/**
 * tenbox_vm_config_builder_set_cpu_count:
 * @self: a builder
 * @cpu_count: virtual CPUs, 1 to 64 (8 with a GICv2); default 4, or the number the host has if that
 *   is less
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_cpu_count(TenboxVmConfigBuilder *self, gint64 cpu_count);

/**
 * tenbox_vm_config_builder_set_cmdline:
 * @self: a builder
 * @cmdline: kernel command line, used as it is: at most 2047 bytes, printable ASCII. Empty (the
 *   default) stands for the serial console of the architecture and "quiet".
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_cmdline(TenboxVmConfigBuilder *self, const char *cmdline);

/**
 * tenbox_vm_config_builder_set_description:
 * @self: a builder
 * @description: free text, at most 4096 bytes, without control characters except newline and tab
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_description(TenboxVmConfigBuilder *self, const char *description);

/**
 * tenbox_vm_config_builder_set_notes:
 * @self: a builder
 * @notes: free text of several lines, at most 16384 bytes, without control characters except
 *   newline and tab
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_notes(TenboxVmConfigBuilder *self, const char *notes);

/**
 * tenbox_vm_config_builder_set_label:
 * @self: a builder
 * @key: 1 to 63 of the characters a to z, 0 to 9, '.', '_', '/' and '-', the first a letter or
 *   digit
 * @value: (nullable): at most 255 bytes without control characters; %NULL takes the label away
 *
 * Sets one label; labels that are not named stay in an update. A VM has at most 64 labels with 4096
 * bytes in all.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_label(TenboxVmConfigBuilder *self, const char *key,
                                        const char *value);

/**
 * tenbox_vm_config_builder_set_autostart:
 * @self: a builder
 * @autostart: whether the VM is started when its host, or the daemon for the first time since, does
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_autostart(TenboxVmConfigBuilder *self, gboolean autostart);

/**
 * tenbox_vm_config_builder_set_autostart_delay:
 * @self: a builder
 * @seconds: how long to wait before this VM is started automatically, 0 (the default) to 3600
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_autostart_delay(TenboxVmConfigBuilder *self, gint64 seconds);

/**
 * tenbox_vm_config_builder_set_start_order:
 * @self: a builder
 * @start_order: 0 to 1000, default 100; a lower one is started earlier and stopped later
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_start_order(TenboxVmConfigBuilder *self, gint64 start_order);

/**
 * tenbox_vm_config_builder_set_restart_policy:
 * @self: a builder
 * @policy: when a VM that ended is started again; default %TENBOX_RESTART_POLICY_NO
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_restart_policy(TenboxVmConfigBuilder *self,
                                                 TenboxRestartPolicy policy);

/**
 * tenbox_vm_config_builder_set_stop_timeout:
 * @self: a builder
 * @seconds: how long a stop lets the guest shut down when its caller does not say, 1 to 3600,
 *   default 30
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_stop_timeout(TenboxVmConfigBuilder *self, gint64 seconds);

/**
 * tenbox_vm_config_builder_reset:
 * @self: a builder
 * @field: the JSON name of a field, such as "memory_mb" or "labels"
 * @error: return location
 *
 * Sets a field back to its default, which for "labels" is none and for "initrd" no initial RAM disk.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT for a field that there is not ("field-unknown") and for
 * name and kernel, which have no default ("field-invalid").
 *
 * Returns: whether there is such a field
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
gboolean tenbox_vm_config_builder_reset(TenboxVmConfigBuilder *self, const char *field,
                                        GError **error);

/**
 * tenbox_vm_config_builder_set_if_match:
 * @self: a builder
 * @etag: (nullable): what tenbox_vm_get_etag() said, %NULL for any
 *
 * The change is made only while what is stored of the VM has this tag: of several who change one VM at
 * the same time none undoes unseen what another did. Otherwise the change fails with
 * %TENBOX_ERROR_WRONG_STATE and the code "precondition-failed". Means nothing for a new VM.
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
void tenbox_vm_config_builder_set_if_match(TenboxVmConfigBuilder *self, const char *etag);

/**
 * tenbox_vm_config_builder_build:
 * @self: a builder; stays usable
 * @error: return location
 *
 * Checks the fields that are set and makes the value. Which fields must be set is checked where the
 * value is used.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT with the field (codes "name-invalid", "field-invalid").
 *
 * Returns: (transfer full) (nullable): the value
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmConfig *tenbox_vm_config_builder_build(TenboxVmConfigBuilder *self, GError **error);

/**
 * tenbox_vm_config_new_from_json:
 * @json: an object with fields of a VM: what tenbox_vm_config_dup_json() gives, and the body of a
 *   PATCH (a merge patch of RFC 7396: null sets a field back to its default)
 * @error: return location
 *
 * The way for a program that shows or edits fields without knowing each of them. A field that this
 * release does not know is refused.
 *
 * Errors: %TENBOX_ERROR_INVALID_ARGUMENT (codes "json-invalid", "field-unknown", "field-invalid",
 * "name-invalid").
 *
 * Returns: (transfer full) (nullable): the value
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
TenboxVmConfig *tenbox_vm_config_new_from_json(const char *json, GError **error);

/**
 * tenbox_vm_config_dup_json:
 * @self: a value
 *
 * The body of POST /v1/vms or PATCH /v1/vms/{vm} that stands for @self: only the fields that are
 * set.
 *
 * Returns: (transfer full): JSON text
 *
 * Since: 0.1
 */
TENBOX_AVAILABLE_IN_0_1
char *tenbox_vm_config_dup_json(TenboxVmConfig *self);

G_END_DECLS
