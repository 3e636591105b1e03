/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions behind the command table; each returns the exit status. */
#pragma once

#include "tenbox-cli/command.h"

int cli_vm_ls(Cli *cli, const CliCommandLine *line);
int cli_vm_create(Cli *cli, const CliCommandLine *line);
int cli_vm_start(Cli *cli, const CliCommandLine *line);
int cli_vm_stop(Cli *cli, const CliCommandLine *line);
int cli_vm_shutdown(Cli *cli, const CliCommandLine *line);
int cli_vm_reboot(Cli *cli, const CliCommandLine *line);
int cli_vm_reset(Cli *cli, const CliCommandLine *line);
int cli_vm_pause(Cli *cli, const CliCommandLine *line);
int cli_vm_resume(Cli *cli, const CliCommandLine *line);
int cli_vm_rm(Cli *cli, const CliCommandLine *line);
int cli_vm_inspect(Cli *cli, const CliCommandLine *line);
int cli_vm_console(Cli *cli, const CliCommandLine *line);
int cli_vm_logs(Cli *cli, const CliCommandLine *line);

int cli_system_info(Cli *cli, const CliCommandLine *line);
int cli_system_version(Cli *cli, const CliCommandLine *line);
int cli_system_stop_vms(Cli *cli, const CliCommandLine *line);
int cli_system_doctor(Cli *cli, const CliCommandLine *line);
