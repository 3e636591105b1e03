/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A local driver on a data folder of its own, with the fake runtime behind it, for tests.
 *
 * Calls look synchronous: they iterate the main context until their task has completed. A test that
 * hangs is ended by a watchdog with the name of what it waited for; nothing else depends on a clock.
 */
#pragma once

#include "libtenbox/driver/driver.h"
#include "libtenbox/tenbox-error.h"

typedef struct {
    char *folder; /* the data folder */
    char *kernel; /* a file that passes for a kernel */
    char *initrd;
    gint64 trash_days; /* of the next driver; 7 at first */
    TbxDriver *driver; /* NULL while closed */
    TbxEventSink *sink;
    GPtrArray *events; /* of TbxEventRecord, all since the driver was opened */
    void (*on_event)(TbxEventRecord *event, gpointer user_data); /* nullable: hears of each */
    gpointer on_event_data;
} Harness;

/* Makes the files, and opens the driver. */
void harness_init(Harness *harness);
/* Closes, removes everything and checks that no process of the harness is left. */
void harness_fini(Harness *harness);

/* A folder for a test, and its removal with all that is in it. */
char *test_make_folder(void);
void test_remove_folder(const char *folder);

void harness_open(Harness *harness);
TbxDriver *harness_try_open(Harness *harness, GError **error);
/* Closes and drops the driver; VMs go on. */
void harness_close(Harness *harness);

/* Iterates until @condition is true. */
typedef gboolean (*Condition)(gpointer user_data);
void wait_until(const char *what, Condition condition, gpointer user_data);

/* Keeps the threads of GTask busy, so that what the driver does in them has to wait: writes and copies that
 * a test begins are still on their way until it releases. GLib makes another thread for a queue that does
 * not move within a tenth of a second, so a test may only be kinder for this than it wants to be. */
typedef struct {
    GMutex lock;
    GCond changed;
    guint held; /* threads */
    gboolean is_released;
} ThreadHold;

void hold_threads(ThreadHold *hold);
void release_threads(ThreadHold *hold);

/* Waits for a task made by new_task() and returns its result: what it did counts even if the caller
 * withdrew meanwhile, as for the public entries. */
GTask *new_task(GCancellable *cancellable);
gpointer finish_pointer(GTask *task, GError **error);
gboolean finish_boolean(GTask *task, GError **error);

/* A specification of name, kernel, initrd and command line, each nullable. */
TbxVmSpec *spec_new(const Harness *harness, const char *name, const char *cmdline);

TbxVmRecord *try_create(Harness *harness, TbxVmSpec *spec, GError **error);
/* A VM that exists; returns its id. The command line scripts its runtime. */
char *create_vm(Harness *harness, const char *name, const char *cmdline);
TbxVmRecord *get_vm(Harness *harness, const char *name);
TenboxVmState get_state(Harness *harness, const char *name);

/* Begins an action. */
TbxOperationRecord *begin(Harness *harness, const char *name, TenboxVmAction action, gboolean force,
                          gint64 timeout, GError **error);
/* Begins it and waits for its end. */
TbxOperationRecord *run(Harness *harness, const char *name, TenboxVmAction action, gboolean force,
                        gint64 timeout);
/* The same, asserting that it is done. */
void run_ok(Harness *harness, const char *name, TenboxVmAction action, gboolean force);
TbxOperationRecord *wait_operation(Harness *harness, const char *id);
void wait_state(Harness *harness, const char *name, TenboxVmState state);

/* Consoles. */
TbxConsoleStream *open_console(Harness *harness, const char *name, gboolean replay);
/* Reads until the text so far ends with @end (nullable: until the end of the stream). */
char *read_until(TbxConsoleStream *stream, const char *end);
void write_console(TbxConsoleStream *stream, const char *text);

/* Asserts an error of TENBOX_ERROR with that slug and field (NULL: none), then clears it. */
#define assert_error(error, slug, field) assert_error_at(G_STRLOC, (error), (slug), (field))
void assert_error_at(const char *where, GError **error, const char *slug, const char *field);

/* How many descriptors this process has open, and how many children. */
guint count_descriptors(void);
guint count_children(void);

/* Waits until no more than that many are open: a small file may still be on its way to the disk, in a thread,
 * and was perhaps when @most was counted. One that leaked never closes. */
void wait_descriptors(guint most);

/* ---- what most tests of the driver ask ---------------------------------------------------- */

#define START    TENBOX_VM_ACTION_START
#define STOP     TENBOX_VM_ACTION_STOP
#define SHUTDOWN TENBOX_VM_ACTION_SHUTDOWN
#define REBOOT   TENBOX_VM_ACTION_REBOOT
#define RESET    TENBOX_VM_ACTION_RESET
#define PAUSE    TENBOX_VM_ACTION_PAUSE
#define RESUME   TENBOX_VM_ACTION_RESUME
#define DELETE   TENBOX_VM_ACTION_DELETE

/* A file or folder of a VM (@name nullable: the folder itself). */
char *vm_path(const Harness *harness, const char *id, const char *name);
/* The entries of vms/, sorted and joined by spaces. */
char *list_vms_folder(const Harness *harness);
gboolean is_alive(gint64 pid);

/* The types of the events of one VM so far, states and operation states spelled out. */
char *describe_events(const Harness *harness);
/* A Condition: whether an event told of a reboot. @harness: a Harness. */
gboolean has_rebooted(gpointer harness);
/* Waits for the end of an operation and asserts that it was cancelled. */
void assert_cancelled(Harness *harness, const char *id);

TbxVmRecord *try_update(Harness *harness, const char *name, TbxVmSpec *spec, GError **error);
/* The last @lines (0: all) of a log, asserting that there is one. */
char *read_log(Harness *harness, const char *name, const char *source, guint lines);
/* The console of a VM that is being started, as soon as it has one. */
TbxConsoleStream *wait_console(Harness *harness, const char *name);
/* Waits until no child of this process is left. */
void wait_no_children(void);
