/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMs as documents: what lists show of them, and which of them a filter means.
 */
#pragma once

#include "tenbox-cli/cli.h"
#include "tenbox-cli/listing.h"

G_BEGIN_DECLS

/* The columns of a VM; ends with a row without name. */
extern const CliColumn cli_vm_columns[];

/* The document of @vm, an object; the caller's. */
JsonNode *cli_vm_to_document(TenboxVm *vm, GError **error);

/* What stands for the state of the VM's definition, for changes that must not overwrite somebody else's. */
char *cli_vm_dup_etag(TenboxVm *vm);
/* The change that a merge patch means; @etag NULL: whatever the VM is by then. */
TenboxVmConfig *cli_vm_config_new(const char *patch, const char *etag, GError **error);
/* What became of a change of @vm: a line for people, the document for programs. Returns the exit status. */
int cli_vm_tell_change(Cli *cli, TenboxVm *vm);

/* All VMs, sorted by name. */
GPtrArray *cli_list_vms(Cli *cli, GError **error);
/* Those in the trash, the latest first. */
GPtrArray *cli_list_deleted_vms(Cli *cli, GError **error);
/* The VM in the trash that @name means: its name, id, or the first characters of its id. Ambiguous ones are an error
 * that lists them. */
TenboxVm *cli_find_deleted_vm(Cli *cli, const char *name, GError **error);

/* The columns of a VM in the trash. */
extern const CliColumn cli_deleted_vm_columns[];

/*
 * Conditions of --filter: NAME=VALUE, where NAME is a field of the document, “label” (VALUE is a key, or
 * KEY=VALUE), “name” or “type” (VALUE may have * and ?), “id” (VALUE is its beginning) or “vm” (the VM that an event
 * is about). Those with the same NAME are alternatives, others must all hold.
 */
typedef struct _CliFilter CliFilter;

/* @conditions ends with NULL; NULL: none, everything matches. Errors of the domain G_OPTION_ERROR. */
CliFilter *cli_filter_new(const char *const *conditions, GError **error);
void cli_filter_free(CliFilter *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliFilter, cli_filter_free)

/* Errors: a condition names a field that @document does not have. */
gboolean cli_filter_matches(const CliFilter *self, JsonNode *document, gboolean *ret_matches,
                            GError **error);

G_END_DECLS
