/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts the user's daemon, so that the first command of all works. */
#pragma once

#include "tenbox-cli/cli.h"

G_BEGIN_DECLS

/*
 * Starts tenboxd in a session of its own and returns when it listens on the user's socket. Programs
 * that try this at the same moment take turns, and the later ones find it running.
 *
 * Errors: TENBOX_ERROR_UNREACHABLE with the end of the daemon's log when it does not come up.
 */
gboolean cli_daemon_start(Cli *cli, GError **error);

G_END_DECLS
