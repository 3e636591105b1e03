/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every command of tenbox, its options, its words and its examples, once.
 */
#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"

/* For the VM's own values the daemon knows the range; these bounds only keep a number a number. */
#define ANY_NUMBER .minimum = 0, .maximum = G_MAXINT32

static const CliOption ls_options[] = {
    {"no-headers", 0, CLI_OPTION_FLAG, .summary = N_("leave out the line of column names")},
    {0},
};

static const CliOption create_options[] = {
    {"name", 0, CLI_OPTION_TEXT, "name", N_("NAME"),
     N_("name: a letter, then letters, digits and hyphens")},
    {"kernel", 0, CLI_OPTION_PATH, "kernel", N_("PATH"), N_("kernel to boot; copied into the VM")},
    {"initrd", 0, CLI_OPTION_PATH, "initrd", N_("PATH"),
     N_("initial RAM disk; copied into the VM")},
    {"memory", 0, CLI_OPTION_MEMORY, "memory_mb", N_("SIZE"),
     N_("memory in MiB, or with a unit as in 4GiB (default 4096)")},
    {"cpus", 0, CLI_OPTION_NUMBER, "cpu_count", N_("NUMBER"),
     N_("virtual CPUs (default 4, or as many as the host has)"), ANY_NUMBER},
    {"cmdline", 0, CLI_OPTION_TEXT, "cmdline", N_("TEXT"),
     N_("kernel command line (default: the serial console, quiet)")},
    {"description", 0, CLI_OPTION_TEXT, "description", N_("TEXT"), N_("a note about the VM")},
    {"start", 0, CLI_OPTION_FLAG, .summary = N_("start it as well")},
    {0},
};

static const CliOption start_options[] = {
    {"console", 0, CLI_OPTION_FLAG, .summary = N_("show its console then (one VM only)")},
    {0},
};

static const CliOption stop_options[] = {
    {"force", 'f', CLI_OPTION_FLAG, .summary = N_("power off now, without asking the guest")},
    {"timeout", 't', CLI_OPTION_NUMBER, "timeout", N_("SECONDS"),
     N_("how long the guest may take to shut down (default 30)"), .minimum = 0, .maximum = 3600},
    {0},
};

static const CliOption stop_vms_options[] = {
    {"force", 'f', CLI_OPTION_FLAG, .summary = N_("power off now, without asking the guests")},
    {"timeout", 't', CLI_OPTION_NUMBER, "timeout", N_("SECONDS"),
     N_("how long all guests together may take to shut down (default: as the daemon is "
        "configured)"),
     .minimum = 0, .maximum = 3600},
    {0},
};

static const CliOption rm_options[] = {
    {"force", 'f', CLI_OPTION_FLAG, .summary = N_("do not ask, and stop a VM that runs")},
    {0},
};

static const CliOption logs_options[] = {
    {"lines", 'n', CLI_OPTION_NUMBER, "lines", N_("NUMBER"),
     N_("only that many lines from the end"), .minimum = 1, .maximum = 100000},
    {"source", 0, CLI_OPTION_CHOICE, "source", N_("SOURCE"),
     N_("what the guest's console showed (default), or what the VM's process logged"),
     .choices = "console|runtime"},
    {0},
};

const CliOption cli_global_options[] = {
    {"host", 'H', CLI_OPTION_TEXT, NULL, N_("URI"),
     N_("the daemon to use: unix:///path; local:///folder works without one")},
    {"output", 'o', CLI_OPTION_CHOICE, NULL, N_("FORMAT"), N_("how to print data (default table)"),
     .choices = "table|json"},
    {"quiet", 'q', CLI_OPTION_FLAG, .summary = N_("names only in lists, no messages of success")},
    {"yes", 'y', CLI_OPTION_FLAG, .summary = N_("answer questions with yes")},
    {"help", 'h', CLI_OPTION_FLAG, .summary = N_("show help")},
    {"version", 0, CLI_OPTION_FLAG, .summary = N_("show the version of this program")},
    {0},
};

const CliGroup cli_groups[] = {
    {"vm", N_("virtual machines")},
    {"system", N_("this host and its daemon")},
    {0},
};

const CliCommand cli_commands[] = {
    {
        .group = "vm",
        .name = "ls",
        .shortcut = "ls",
        .arguments = "",
        .summary = N_("List the VMs"),
        .options = ls_options,
        .examples = {"tenbox vm ls", "tenbox vm ls -q", "tenbox vm ls -o json"},
        .see_also = "vm inspect",
        .run = cli_vm_ls,
    },
    {
        .group = "vm",
        .name = "create",
        .arguments = N_("[NAME]"),
        .maximum_arguments = 1,
        .summary = N_("Make a VM from a kernel and an initial RAM disk"),
        .description = N_("Both files are copied: they may change or go away afterwards. Prints "
                          "the id of the VM."),
        .options = create_options,
        .examples = {"tenbox vm create --name foo --kernel vmlinuz --initrd initrd.img "
                     "--memory 4096",
                     "tenbox vm create foo --kernel vmlinuz --memory 4GiB --cpus 2 --start"},
        .see_also = "vm start, vm rm",
        .run = cli_vm_create,
    },
    {
        .group = "vm",
        .name = "start",
        .shortcut = "start",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Boot VMs"),
        .description = N_("Done when the guest executes. A VM is named by its name, its id, or the "
                          "first characters of its id (three or more)."),
        .options = start_options,
        .examples = {"tenbox vm start foo", "tenbox vm start --console foo"},
        .see_also = "vm stop, vm console",
        .run = cli_vm_start,
    },
    {
        .group = "vm",
        .name = "stop",
        .shortcut = "stop",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Shut VMs down, and power off those that do not follow"),
        .options = stop_options,
        .examples = {"tenbox vm stop foo", "tenbox vm stop --timeout 120 foo bar",
                     "tenbox vm stop --force foo"},
        .see_also = "vm shutdown, vm start",
        .run = cli_vm_stop,
    },
    {
        .group = "vm",
        .name = "shutdown",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Ask guests to shut down, and do not wait for them"),
        .description = N_("Presses the power button. The VM goes on running until its guest "
                          "follows."),
        .examples = {"tenbox vm shutdown foo"},
        .see_also = "vm stop",
        .run = cli_vm_shutdown,
    },
    {
        .group = "vm",
        .name = "reboot",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Shut guests down in order and boot them again"),
        .description = N_("Presses the power button and starts the VM again when its guest has "
                          "shut down."),
        .examples = {"tenbox vm reboot foo"},
        .see_also = "vm reset",
        .run = cli_vm_reboot,
    },
    {
        .group = "vm",
        .name = "reset",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Restart guests at once, as the reset button does"),
        .description = N_("The guest is not asked: what it has not written to its disks is lost."),
        .examples = {"tenbox vm reset foo"},
        .see_also = "vm reboot",
        .run = cli_vm_reset,
    },
    {
        .group = "vm",
        .name = "pause",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Make VMs stand still, memory kept"),
        .examples = {"tenbox vm pause foo"},
        .see_also = "vm resume",
        .run = cli_vm_pause,
    },
    {
        .group = "vm",
        .name = "resume",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Let paused VMs go on"),
        .examples = {"tenbox vm resume foo"},
        .see_also = "vm pause",
        .run = cli_vm_resume,
    },
    {
        .group = "vm",
        .name = "rm",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Delete VMs and the files they own"),
        .description = N_("Asks first. Where nobody can be asked, because standard input is no "
                          "terminal, --force or --yes must be given."),
        .options = rm_options,
        .examples = {"tenbox vm rm foo", "tenbox vm rm --force foo bar"},
        .see_also = "vm stop",
        .run = cli_vm_rm,
    },
    {
        .group = "vm",
        .name = "inspect",
        .arguments = N_("VM…"),
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Show all about a VM, as JSON"),
        .description =
            N_("One VM gives an object, several give an array. Live figures of a VM that "
               "runs are in “statistics”."),
        .examples = {"tenbox vm inspect foo"},
        .see_also = "vm ls, vm logs",
        .run = cli_vm_inspect,
    },
    {
        .group = "vm",
        .name = "console",
        .shortcut = "console",
        .arguments = N_("VM"),
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show the serial console of a VM and type into it"),
        .description = N_("Begins with what was written last. Leave with Ctrl-] followed by a full "
                          "stop; Ctrl-] twice sends one. Standard input may be a pipe: at its end "
                          "the console goes on showing output until the VM stops."),
        .examples = {"tenbox vm console foo", "tenbox vm console foo </dev/null >boot.txt"},
        .see_also = "vm logs, vm start --console",
        .run = cli_vm_console,
    },
    {
        .group = "vm",
        .name = "logs",
        .shortcut = "logs",
        .arguments = N_("VM"),
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show what the console of a VM or its process wrote"),
        .options = logs_options,
        .examples = {"tenbox vm logs -n 20 foo", "tenbox vm logs --source runtime foo"},
        .see_also = "vm console",
        .run = cli_vm_logs,
    },
    {
        .group = "system",
        .name = "stop-vms",
        .arguments = "",
        .summary = N_("Stop all VMs, as before the host goes down"),
        .description =
            N_("VMs of one start order are stopped at once, those with the highest first. "
               "Each guest is asked; when the time is over, what still runs is powered "
               "off. This is what units and init scripts call when the host shuts down."),
        .options = stop_vms_options,
        .examples = {"tenbox system stop-vms", "tenbox system stop-vms --timeout 60",
                     "tenbox system stop-vms --force"},
        .see_also = "vm stop",
        .run = cli_system_stop_vms,
    },
    {
        .group = "system",
        .name = "info",
        .arguments = "",
        .summary = N_("Show the host and its daemon"),
        .examples = {"tenbox system info", "tenbox system info -o json"},
        .see_also = "system version, system doctor",
        .run = cli_system_info,
    },
    {
        .group = "system",
        .name = "version",
        .shortcut = "version",
        .arguments = "",
        .summary = N_("Show the versions of this program and of the daemon"),
        .description = N_("Starts no daemon; one that does not answer is left out."),
        .examples = {"tenbox system version"},
        .see_also = "system info",
        .run = cli_system_version,
    },
    {
        .group = "system",
        .name = "doctor",
        .shortcut = "doctor",
        .arguments = "",
        .summary = N_("Try whether this host can run VMs, and say what to do if not"),
        .description = N_("Tries things instead of reading flags: a small guest enters the mode "
                          "that kernels need, changes its page tables and takes an interrupt. Ends "
                          "with status 1 when a check failed."),
        .examples = {"tenbox system doctor", "tenbox system doctor -o json"},
        .see_also = "system info",
        .run = cli_system_doctor,
    },
    {0},
};
