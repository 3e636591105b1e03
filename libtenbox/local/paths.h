/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where things are, and sockets whose path would be too long.
 *
 *     DATA/lock                     flock'ed by the one driver that works on DATA; says who that is
 *     DATA/vms/<uuid>/vm.json       what the VM is
 *     DATA/vms/<uuid>/{kernel,initrd}
 *     DATA/vms/<uuid>/run/          control.sock, state.json, console.position
 *     DATA/vms/<uuid>/logs/         console.log, runtime.log
 *     DATA/trash/<uuid>/            a VM that was deleted and can be had back; trash.json says when
 *     DATA/vms/.new-<uuid>          a VM that is being made
 *     DATA/vms/.old-<uuid>          a VM that is being removed
 *
 * All folders are 0700. Sockets are bound and connected through their folder's descriptor.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define TBX_PATH_LOCK             "lock"
#define TBX_PATH_VMS              "vms"
#define TBX_PATH_TRASH            "trash"
#define TBX_PATH_TRASH_JSON       "trash.json"
#define TBX_PATH_VM_JSON          "vm.json"
#define TBX_PATH_KERNEL           "kernel"
#define TBX_PATH_INITRD           "initrd"
#define TBX_PATH_RUN              "run"
#define TBX_PATH_CONTROL_SOCKET   "control.sock"
#define TBX_PATH_STATE_JSON       "state.json"
#define TBX_PATH_CONSOLE_POSITION "console.position"
#define TBX_PATH_LOGS             "logs"
#define TBX_PATH_CONSOLE_LOG      "console.log"
#define TBX_PATH_RUNTIME_LOG      "runtime.log"
#define TBX_PATH_NEW_PREFIX       ".new-"
#define TBX_PATH_OLD_PREFIX       ".old-"

/* $XDG_DATA_HOME/tenbox, (transfer full). */
char *tbx_paths_default_data_folder(void);

/**
 * tbx_paths_open_data_folder:
 * @path: absolute
 *
 * Makes the folder (0700) and its parents if needed and opens it. Refused: a folder of another user, and
 * one that others may write to, since they could put VMs of their own in it.
 *
 * Returns: a descriptor that the caller owns, -1 with @error set
 */
int tbx_paths_open_data_folder(const char *path, GError **error);

/**
 * tbx_paths_find_runtime:
 *
 * The program that runs a VM: $TENBOX_RUNTIME, else the installed one, else the neighbour of the
 * running program in a build tree.
 *
 * Returns: (transfer full) (nullable): absolute path of an executable file; "runtime-failed" says where
 *   it was looked for
 */
char *tbx_paths_find_runtime(GError **error);

/* A listening SOCK_SEQPACKET socket, 0600, close-on-exec, non-blocking, in place of whatever has that
 * name. The caller owns it; -1 with @error set. */
int tbx_socket_listen_at(int folder_fd, const char *name, GError **error);

/* A connected one; never blocks. -1 with @error set. */
int tbx_socket_connect_at(int folder_fd, const char *name, GError **error);

G_END_DECLS
