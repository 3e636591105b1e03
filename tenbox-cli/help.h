/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What “tenbox help” shows. */
#pragma once

#include "tenbox-cli/command.h"

G_BEGIN_DECLS

/* Help as text: about @command, else about @group, else about everything. */
char *cli_help(const CliCommand *command, const char *group);

/* "-o, --output FORMAT": how @option is written, for help and the manual. */
char *cli_help_describe_option(const CliOption *option);

/* Whether @option of cli_global_options means the same behind @command: it may have its own of that name. */
gboolean cli_help_is_global(const CliCommand *command, const CliOption *option);

G_END_DECLS
