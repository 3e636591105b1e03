/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that a VM's process gets, opened before it exists: the process itself opens nothing.
 *
 * The result is a list of descriptors with the kind that the launch message gives each of them. An error
 * names the field of vm.json at fault.
 */
#pragma once

#include <gio/gio.h>

#include "libtenbox/local/definition.h"
#include "tenbox-runtime/control-protocol.h"

G_BEGIN_DECLS

typedef struct {
    int fds[RT_DESCRIPTORS_MAX];
    guint8 kinds[RT_DESCRIPTORS_MAX]; /* enum rt_descriptor_kind */
    guint count;
} TbxResources;

/* An empty list; needs no fini. */
#define TBX_RESOURCES_INIT ((TbxResources){.count = 0})

/* Closes all. */
void tbx_resources_fini(TbxResources *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TbxResources, tbx_resources_fini)

/* Takes @fd. */
void tbx_resources_add(TbxResources *self, enum rt_descriptor_kind kind, int fd);

/**
 * tbx_resources_open_guest:
 * @self: gets KVM, the kernel and, if there is one, the initrd
 * @vm_folder_fd: the VM's folder; the files are looked for in it alone
 *
 * "kvm-unavailable"; "file-unreadable" with field kernel or initrd.
 */
gboolean tbx_resources_open_guest(TbxResources *self, int vm_folder_fd,
                                  const TbxVmDefinition *definition, GError **error);

/**
 * tbx_resource_open_user_file:
 * @path: an absolute path of the user
 * @field: the field it came in
 *
 * Opens a file that the user named: symbolic links are followed (/vmlinuz is one), but what is opened
 * must be a regular file with something in it. Never waits on a pipe, never takes a terminal. May block
 * on a network file system.
 *
 * Returns: a descriptor that the caller owns; -1 and "file-unreadable" naming @field and the path
 */
int tbx_resource_open_user_file(const char *path, const char *field, GError **error);

/**
 * tbx_resource_open_log:
 * @vm_folder_fd: the VM's folder
 * @maximum: size above which the old file is put aside as runtime.log.1
 *
 * The runtime's log, opened for appending, with a line that a boot begins.
 *
 * Returns: a descriptor that the caller owns; -1 with @error set
 */
int tbx_resource_open_log(int vm_folder_fd, gsize maximum, GError **error);

G_END_DECLS
