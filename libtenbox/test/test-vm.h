/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One VM in memory: its documents, its state, and a guest that is played.
 *
 * States, verdicts and operations are those of the local driver (its tables are used); what a process would
 * report is told by timers instead. The guest prints "test: hello" when it begins to run and echoes what is
 * typed. Words of the kernel command line tell it otherwise:
 *
 *   start-hang       a start never comes to an end
 *   ignore-button    the guest sleeps through the power button
 *   no-credit        the guest takes 4096 bytes of input and no more
 *   no-echo          no echo
 *   fault=...        see test-script.h
 *
 * Lines that are typed and begin with '@' are not echoed but done:
 *
 *   @burst N         prints N bytes, a to z again and again
 *   @poweroff        the guest switches itself off
 *   @reboot          the guest reboots itself
 *   @triple-fault    the guest crashes
 */
#pragma once

#include "libtenbox/driver/driver.h"
#include "libtenbox/local/operations.h"
#include "libtenbox/test/test-script.h"

G_BEGIN_DECLS

/* What the host that is played has. */
#define TBX_TEST_HOST_MEMORY_MB 65536
#define TBX_TEST_HOST_CPU_COUNT 16

typedef struct _TbxTestVm TbxTestVm;

/* What VMs get from the driver; outlives them. */
typedef struct {
    TbxDriver *driver; /* for references that keep it while a callback runs */
    TbxTestScript *script;
    TbxOperations *operations;
    gboolean is_closed; /* no events any more */
    gint64 last_pid;
    void (*emit)(const char *type, TbxVmRecord *vm, TbxDriver *driver);
    /* The VM is gone; the driver forgets it. */
    void (*removed)(TbxTestVm *vm, TbxDriver *driver);
} TbxTestContext;

/* A stopped VM from a specification that has passed tbx_vm_spec_validate_create(); emits nothing. */
TbxTestVm *tbx_test_vm_new(TbxTestContext *context, const char *id, const TbxVmSpec *spec,
                           gint64 created_at);
TbxTestVm *tbx_test_vm_ref(TbxTestVm *self);
void tbx_test_vm_unref(TbxTestVm *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TbxTestVm, tbx_test_vm_unref)

/* Brings a VM that is not known to anybody yet into a state, without events. */
void tbx_test_vm_set_up(TbxTestVm *self, TenboxVmState state);

/* The driver is closing: ends streams and timers. */
void tbx_test_vm_close(TbxTestVm *self);

const char *tbx_test_vm_get_id(TbxTestVm *self);
const char *tbx_test_vm_get_cmdline(TbxTestVm *self);
/* (transfer none): the newest document. */
TbxVmRecord *tbx_test_vm_get_record(TbxTestVm *self);
gboolean tbx_test_vm_has_process(TbxTestVm *self);

/* Makes a new document and emits it, unless nothing differs. */
void tbx_test_vm_publish(TbxTestVm *self, const char *type);

/* Takes an action on. (transfer full) (nullable): the operation's document. */
TbxOperationRecord *tbx_test_vm_begin(TbxTestVm *self, TenboxVmAction action,
                                      const TbxActionOptions *options, GError **error);

/* Changes what @spec sets. "vm-not-stopped", "vm-busy", "insufficient-memory". */
gboolean tbx_test_vm_update(TbxTestVm *self, const TbxVmSpec *spec, GError **error);

/* Whether the VM that is being removed is removed for good. */
gboolean tbx_test_vm_is_purged(TbxTestVm *self);

/* It was in the trash and is back; @name: (nullable): its new name. */
void tbx_test_vm_restore(TbxTestVm *self, const char *name);

/* "insufficient-memory": the host that is played has less. "field-invalid": cmdline. */
gboolean tbx_test_vm_check_spec(const TbxVmSpec *spec, GError **error);

/* (transfer full): the last @line_count lines, 0: all. */
char *tbx_test_vm_read_log(TbxTestVm *self, const char *source, guint line_count);

/* (transfer full): the last @line_count lines (-1: all), then what comes until the VM is gone. */
TbxConsoleStream *tbx_test_vm_follow_log(TbxTestVm *self, const char *source, gint line_count);

/* (transfer full) (nullable): JSON text; "vm-not-running". */
char *tbx_test_vm_get_statistics(TbxTestVm *self, GError **error);

/* (transfer full) (nullable): "vm-not-running", "console-busy". */
TbxConsoleStream *tbx_test_vm_open_console(TbxTestVm *self, TenboxConsoleFlags flags,
                                           const char *holder, GError **error);

G_END_DECLS
