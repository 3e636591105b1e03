/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a runtime gives up its rights, in four stages that main() calls by name, from the widest to the
 * narrowest. Each is done before a guest's first instruction, and none can be undone.
 *
 *   1 inherit   what came by accident from the parent goes: descriptors, environment, session, umask
 *   2 isolate   no way to gain rights (no_new_privs), nobody may look inside (not dumpable)
 *   3 limit     resource limits: no core files, few descriptors
 *   4 confine   system-call filters, one per thread (syscalls.h)
 *
 * The namespaces, the empty root and Landlock belong to stage 2, which is where they will stand.
 */
#pragma once

/* Stage 1. Closes every descriptor but 0 to 2 and @kept_fd, empties the environment, starts a session
 * of its own: a terminal's Ctrl-C or hang-up must not reach a VM. */
int rt_sandbox_inherit(int kept_fd);

/* Stage 2. */
int rt_sandbox_isolate(void);

/* Stage 3. */
int rt_sandbox_limit(void);

/* Stage 4 is rt_syscalls_load() on each thread. */
