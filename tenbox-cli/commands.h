/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions behind the command table; each returns the exit status. */
#pragma once

#include "tenbox-cli/command.h"

/* cmd-vm-list.c */
int cli_vm_ls(Cli *cli, const CliCommandLine *line);
int cli_vm_inspect(Cli *cli, const CliCommandLine *line);
int cli_vm_exists(Cli *cli, const CliCommandLine *line);
int cli_vm_stats(Cli *cli, const CliCommandLine *line);

/* cmd-vm-change.c, cmd-vm-edit.c */
int cli_vm_create(Cli *cli, const CliCommandLine *line);
int cli_vm_set(Cli *cli, const CliCommandLine *line);
int cli_vm_unset(Cli *cli, const CliCommandLine *line);
int cli_vm_rename(Cli *cli, const CliCommandLine *line);
int cli_vm_autostart(Cli *cli, const CliCommandLine *line);
int cli_vm_edit(Cli *cli, const CliCommandLine *line);

/* cmd-vm-verbs.c */
int cli_vm_start(Cli *cli, const CliCommandLine *line);
int cli_vm_stop(Cli *cli, const CliCommandLine *line);
int cli_vm_shutdown(Cli *cli, const CliCommandLine *line);
int cli_vm_reboot(Cli *cli, const CliCommandLine *line);
int cli_vm_reset(Cli *cli, const CliCommandLine *line);
int cli_vm_pause(Cli *cli, const CliCommandLine *line);
int cli_vm_resume(Cli *cli, const CliCommandLine *line);
int cli_vm_undelete(Cli *cli, const CliCommandLine *line);
int cli_vm_rm(Cli *cli, const CliCommandLine *line);

/* cmd-vm-console.c, cmd-vm-wait.c */
int cli_vm_console(Cli *cli, const CliCommandLine *line);
int cli_vm_send_key(Cli *cli, const CliCommandLine *line);
int cli_vm_logs(Cli *cli, const CliCommandLine *line);
int cli_vm_wait(Cli *cli, const CliCommandLine *line);

/* cmd-api.c */
int cli_api(Cli *cli, const CliCommandLine *line);
int cli_audit(Cli *cli, const CliCommandLine *line);
int cli_system_metrics(Cli *cli, const CliCommandLine *line);

/* cmd-events.c, cmd-operation.c */
int cli_events(Cli *cli, const CliCommandLine *line);
int cli_operation_ls(Cli *cli, const CliCommandLine *line);
int cli_operation_show(Cli *cli, const CliCommandLine *line);
int cli_operation_wait(Cli *cli, const CliCommandLine *line);
int cli_operation_cancel(Cli *cli, const CliCommandLine *line);

/* cmd-system.c */
int cli_system_info(Cli *cli, const CliCommandLine *line);
int cli_system_version(Cli *cli, const CliCommandLine *line);
int cli_system_stop_vms(Cli *cli, const CliCommandLine *line);
int cli_system_doctor(Cli *cli, const CliCommandLine *line);
int cli_system_wait_ready(Cli *cli, const CliCommandLine *line);

/* cmd-config.c */
int cli_config_show(Cli *cli, const CliCommandLine *line);
int cli_config_get(Cli *cli, const CliCommandLine *line);
int cli_config_set(Cli *cli, const CliCommandLine *line);
int cli_config_unset(Cli *cli, const CliCommandLine *line);
int cli_alias_ls(Cli *cli, const CliCommandLine *line);
int cli_alias_add(Cli *cli, const CliCommandLine *line);
int cli_alias_rm(Cli *cli, const CliCommandLine *line);
int cli_completion(Cli *cli, const CliCommandLine *line);
