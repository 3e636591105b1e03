/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The serial console of a VM on this terminal, or between two pipes. */
#pragma once

#include "tenbox-cli/cli.h"

G_BEGIN_DECLS

typedef struct {
    gboolean is_read_only;
    gboolean takes_over;    /* from whoever writes to it now */
    gboolean has_log_lines; /* show only @log_lines of what was written before */
    guint log_lines;
} CliConsoleOptions;

/*
 * Shows the console of @vm until the user leaves or the VM stops; returns the exit status: 1 when the
 * VM crashed, 7 when the connection to the daemon broke, else what the error says; errors have been
 * told. However it ends, also by a signal, the terminal is as it was.
 */
int cli_console_run(Cli *cli, TenboxVm *vm, const CliConsoleOptions *options);

G_END_DECLS
