/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the public classes make each other and see the records inside; for files of this folder only.
 */
#pragma once

#include "libtenbox/driver/driver.h"
#include "libtenbox/tenbox-task.h"
#include "libtenbox/tenbox.h"

G_BEGIN_DECLS

/* @spec must have passed tbx_vm_spec_validate() and not change any more; a reference is taken. */
TenboxVmConfig *tbx_vm_config_new(TbxVmSpec *spec);
/* (transfer none) */
TbxVmSpec *tbx_vm_config_get_spec(TenboxVmConfig *self);

TenboxEvent *tbx_event_new(TbxEventRecord *record);

TenboxOperation *tbx_operation_new(TbxDriver *driver, TbxOperationRecord *record);

/* @stream: (transfer full). Reading begins in the next iteration of the main loop. */
TenboxConsole *tbx_console_new(TbxConsoleStream *stream);

/* (transfer none) */
TbxDriver *tbx_connection_get_driver(TenboxConnection *self);

/* (transfer full): the handles that there are, in no order. */
GPtrArray *tbx_connection_list_handles(TenboxConnection *self);

TenboxVm *tbx_vm_new(TbxDriver *driver, TbxVmRecord *record);

/**
 * tbx_vm_set_record:
 *
 * Takes a document over unless it was overtaken, and signals. Documents can be overtaken only while
 * there is a watch: then they come on two ways, by events and by answers.
 */
void tbx_vm_set_record(TenboxVm *self, TbxVmRecord *record);

/* A watch begins, perhaps on another run of the daemon: its generations have nothing to do with those
 * known, so the next document is taken over in any case. */
void tbx_vm_take_any(TenboxVm *self);

/* The VM is gone; emits "changed" once. */
void tbx_vm_set_deleted(TenboxVm *self);

G_END_DECLS
