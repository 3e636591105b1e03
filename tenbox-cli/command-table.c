/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every command of tenbox, its options, its words and its examples, once.
 */
#include <glib/gi18n.h>

#include "tenbox-cli/commands.h"

/* For the VM's own values the daemon knows the range; these bounds only keep a number a number. */
#define ANY_NUMBER .minimum = 0, .maximum = G_MAXINT32

#define FILTER_OPTION                                                                              \
    {                                                                                              \
        "filter", 0, CLI_OPTION_LIST, NULL, N_("NAME=VALUE"),                                      \
            N_("only those: state=running, name=web*, label=KEY[=VALUE], FIELD=VALUE")             \
    }
#define ALL_OPTION                                                                                 \
    {                                                                                              \
        "all", 'a', CLI_OPTION_FLAG, .summary = N_("every VM for which it means something")        \
    }
#define NO_WAIT_OPTION                                                                             \
    {                                                                                              \
        "no-wait", 0, CLI_OPTION_FLAG,                                                             \
            .summary = N_("return when it has begun; “operation wait” waits")                      \
    }
#define DRY_RUN_OPTION                                                                             \
    {                                                                                              \
        "dry-run", 0, CLI_OPTION_FLAG, .summary = N_("show the change and do not make it")         \
    }

static const CliOption ls_options[] = {
    FILTER_OPTION,
    {"all", 'a', CLI_OPTION_FLAG, .summary = N_("changes nothing: all VMs are shown anyway")},
    {"deleted", 0, CLI_OPTION_FLAG,
     .summary = N_("those in the trash, and when they will be gone")},
    {"watch", 'w', CLI_OPTION_FLAG,
     .summary = N_("show the table anew whenever something happens")},
    {0},
};

static const CliOption verb_options[] = {ALL_OPTION, FILTER_OPTION, NO_WAIT_OPTION, {0}};

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
    {"label", 0, CLI_OPTION_LIST, "labels", N_("KEY[=VALUE]"),
     N_("a label; may be given several times")},
    {"autostart", 0, CLI_OPTION_FLAG, "autostart", .summary = N_("start it with the daemon")},
    {"restart", 0, CLI_OPTION_CHOICE, "restart_policy", N_("WHEN"),
     N_("start it again when it ends by itself (default no)"), .choices = "no|on-failure|always"},
    {"start", 0, CLI_OPTION_FLAG, .summary = N_("start it as well")},
    {0},
};

static const CliOption start_options[] = {
    ALL_OPTION,
    FILTER_OPTION,
    NO_WAIT_OPTION,
    {"console", 0, CLI_OPTION_FLAG, .summary = N_("show its console then (one VM only)")},
    {0},
};

static const CliOption stop_options[] = {
    ALL_OPTION,
    FILTER_OPTION,
    NO_WAIT_OPTION,
    {"force", 'f', CLI_OPTION_FLAG, .summary = N_("power off now, without asking the guest")},
    {"timeout", 't', CLI_OPTION_NUMBER, "timeout", N_("SECONDS"),
     N_("how long the guest may take to shut down (default: its stop_timeout)"), .minimum = 0,
     .maximum = 3600},
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
    ALL_OPTION,
    FILTER_OPTION,
    NO_WAIT_OPTION,
    {"force", 'f', CLI_OPTION_FLAG, .summary = N_("do not ask, and stop a VM that runs")},
    {"purge", 0, CLI_OPTION_FLAG,
     .summary = N_("for good, not into the trash; also what is in it already")},
    {0},
};

static const CliOption undelete_options[] = {
    {"name", 0, CLI_OPTION_TEXT, "name", N_("NAME"), N_("a new name (one VM only)")},
    {0},
};

static const CliOption logs_options[] = {
    {"follow", 'f', CLI_OPTION_FLAG, .summary = N_("go on with what is added, until interrupted")},
    {"timestamps", 't', CLI_OPTION_FLAG, .summary = N_("with --follow: show when each line came")},
    {"lines", 'n', CLI_OPTION_NUMBER, "lines", N_("NUMBER"),
     N_("only that many lines from the end"), .minimum = 0, .maximum = 100000},
    {"source", 0, CLI_OPTION_CHOICE, "source", N_("SOURCE"),
     N_("what the guest's console showed (default), or what the VM's process logged"),
     .choices = "console|runtime"},
    {0},
};

static const CliOption set_options[] = {DRY_RUN_OPTION, {0}};

static const CliOption stats_options[] = {
    {"no-stream", 0, CLI_OPTION_FLAG, .summary = N_("look once instead of every second")},
    {0},
};

static const CliOption console_options[] = {
    {"read-only", 'r', CLI_OPTION_FLAG, .summary = N_("only watch: nothing that is typed is sent")},
    {"force", 'f', CLI_OPTION_FLAG,
     .summary = N_("take over from the one who types into it now; his console ends")},
    {"log", 0, CLI_OPTION_NUMBER, NULL, N_("NUMBER"),
     N_("begin with that many lines of what was written before"), .minimum = 0, .maximum = 100000},
    {"escape-key", 0, CLI_OPTION_TEXT, NULL, N_("KEY"),
     N_("the key that leaves: ctrl-], ctrl-a, ~, … or none")},
    {0},
};

static const CliOption wait_options[] = {
    {"for", 0, CLI_OPTION_LIST, NULL, N_("CONDITION"),
     N_("a state, deleted, or log:EXPRESSION; may be given several times")},
    {"all", 'a', CLI_OPTION_FLAG, .summary = N_("all conditions at once, not one of them")},
    {0},
};

static const CliOption events_options[] = {
    {"since", 0, CLI_OPTION_TEXT, NULL, N_("EPOCH:SEQUENCE"),
     N_("begin behind that event, as far back as the daemon knows")},
    {"filter", 0, CLI_OPTION_LIST, NULL, N_("NAME=VALUE"),
     N_("only those: type=vm.*, vm=NAME, FIELD=VALUE")},
    {"no-follow", 0, CLI_OPTION_FLAG, .summary = N_("end where the present begins")},
    {0},
};

static const CliOption operation_ls_options[] = {
    {"all", 'a', CLI_OPTION_FLAG, .summary = N_("also those that have ended lately")},
    {0},
};

static const CliOption config_show_options[] = {
    {"origin", 0, CLI_OPTION_FLAG, .summary = N_("show what decided each value")},
    {0},
};

static const CliOption api_options[] = {
    {"data", 'd', CLI_OPTION_TEXT, NULL, N_("JSON"),
     N_("the body: an object; @FILE reads a file, - standard input")},
    {0},
};

static const CliOption audit_options[] = {
    {"lines", 'n', CLI_OPTION_NUMBER, "limit", N_("NUMBER"),
     N_("how many of the newest entries (default 100)"), .minimum = 1, .maximum = 1000},
    {"since", 0, CLI_OPTION_TEXT, "since", N_("TIME"),
     N_("leave out what is older, as 2026-01-31T12:00:00Z")},
    {"actor", 0, CLI_OPTION_TEXT, NULL, N_("USER"),
     N_("only what this user did: a name or number")},
    {"failed", 0, CLI_OPTION_FLAG, .summary = N_("only what failed or was refused")},
    {"filter", 0, CLI_OPTION_LIST, NULL, N_("NAME=VALUE"),
     N_("only those: actor.uid=1000, subject=NAME, FIELD=VALUE")},
    {0},
};

const CliOption cli_global_options[] = {
    {"host", 'H', CLI_OPTION_TEXT, NULL, N_("URI"),
     N_("the daemon to use: unix:///path; local:///folder works without one")},
    {"output", 'o', CLI_OPTION_FORMAT, NULL, N_("FORMAT"),
     N_("table, wide, json, jsonl, yaml, csv, name or template=TEXT"), .other_name = "format"},
    {"columns", 0, CLI_OPTION_TEXT, NULL, N_("NAME,…"), N_("the columns of tables and CSV")},
    {"no-headers", 0, CLI_OPTION_FLAG, .summary = N_("leave out the line of column names")},
    {"no-trunc", 0, CLI_OPTION_FLAG,
     .summary = N_("do not cut tables to the width of the terminal")},
    {"quiet", 'q', CLI_OPTION_FLAG, .summary = N_("names only in lists, no messages of success")},
    {"yes", 'y', CLI_OPTION_FLAG, .summary = N_("answer questions with yes")},
    {"no-input", 0, CLI_OPTION_FLAG, .summary = N_("ask nothing: what needs an answer fails")},
    {"timeout", 0, CLI_OPTION_NUMBER, NULL, N_("SECONDS"),
     N_("give up after that time, with status 6"), .minimum = 0, .maximum = 86400},
    {"color", 0, CLI_OPTION_CHOICE, NULL, N_("WHEN"), N_("colours in tables (default auto)"),
     .choices = "auto|always|never"},
    {"progress", 0, CLI_OPTION_CHOICE, NULL, N_("HOW"), N_("how progress is told (default auto)"),
     .choices = "auto|plain|json|none"},
    {"debug", 0, CLI_OPTION_FLAG, .summary = N_("tell about every request to the daemon")},
    {"help", 'h', CLI_OPTION_FLAG, .summary = N_("show how it is used")},
    {"version", 0, CLI_OPTION_FLAG, .summary = N_("show the version of this program")},
    {0},
};

const CliGroup cli_groups[] = {
    {"vm", N_("virtual machines")},
    {"operation", N_("what takes time")},
    {"system", N_("this host and its daemon")},
    {"config", N_("settings of this program")},
    {"alias", N_("words of your own")},
    {0},
};

#define NAMES_HELP                                                                                 \
    N_("A VM is named by its name, its id, or the first characters of its id (three or more).")

const CliCommand cli_commands[] = {
    {
        .group = "vm",
        .name = "ls",
        .shortcut = "ls|ps",
        .arguments = "",
        .summary = N_("List the VMs"),
        .options = ls_options,
        .examples = {"tenbox vm ls", "tenbox vm ls --filter state=running -o wide",
                     "tenbox vm ls -o template={{.name}}={{.state}}", "tenbox vm ls --watch"},
        .see_also = "vm inspect, vm stats, events",
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
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Boot VMs"),
        .description = N_("Done when the guest executes. A VM is named by its name, its id, or the "
                          "first characters of its id (three or more)."),
        .options = start_options,
        .examples = {"tenbox vm start foo", "tenbox vm start --console foo",
                     "tenbox vm start --all --filter label=env=test"},
        .see_also = "vm stop, vm console, vm wait",
        .run = cli_vm_start,
    },
    {
        .group = "vm",
        .name = "stop",
        .shortcut = "stop",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Shut VMs down, and power off those that do not follow"),
        .options = stop_options,
        .examples = {"tenbox vm stop foo", "tenbox vm stop --timeout 120 foo bar",
                     "tenbox vm stop --force foo", "tenbox vm stop --all"},
        .see_also = "vm shutdown, vm start",
        .run = cli_vm_stop,
    },
    {
        .group = "vm",
        .name = "shutdown",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Ask guests to shut down, and do not wait for them"),
        .description = N_("Presses the power button. The VM goes on running until its guest "
                          "follows."),
        .options = verb_options,
        .examples = {"tenbox vm shutdown foo"},
        .see_also = "vm stop",
        .run = cli_vm_shutdown,
    },
    {
        .group = "vm",
        .name = "reboot",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Shut guests down in order and boot them again"),
        .description = N_("Presses the power button and starts the VM again when its guest has "
                          "shut down."),
        .options = verb_options,
        .examples = {"tenbox vm reboot foo"},
        .see_also = "vm reset",
        .run = cli_vm_reboot,
    },
    {
        .group = "vm",
        .name = "reset",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Restart guests at once, as the reset button does"),
        .description = N_("The guest is not asked: what it has not written to its disks is lost."),
        .options = verb_options,
        .examples = {"tenbox vm reset foo"},
        .see_also = "vm reboot",
        .run = cli_vm_reset,
    },
    {
        .group = "vm",
        .name = "pause",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Make VMs stand still, memory kept"),
        .options = verb_options,
        .examples = {"tenbox vm pause foo"},
        .see_also = "vm resume",
        .run = cli_vm_pause,
    },
    {
        .group = "vm",
        .name = "resume",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Let paused VMs go on"),
        .options = verb_options,
        .examples = {"tenbox vm resume foo"},
        .see_also = "vm pause",
        .run = cli_vm_resume,
    },
    {
        .group = "vm",
        .name = "rm",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Delete VMs"),
        .description =
            N_("They go into the trash, with the files they own, for as many days as the daemon's "
               "trash_days says; “vm undelete” brings them back. Asks first. Where nobody can be "
               "asked, because standard input is no "
               "terminal or --no-input is given, --force or --yes must be given."),
        .options = rm_options,
        .examples = {"tenbox vm rm foo", "tenbox vm rm --force foo bar",
                     "tenbox vm rm --purge --yes foo"},
        .see_also = "vm undelete, vm stop",
        .run = cli_vm_rm,
    },
    {
        .group = "vm",
        .name = "undelete",
        .arguments = N_("VM…"),
        .words = CLI_WORD_DELETED_VM,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Take VMs back out of the trash"),
        .description = N_(
            "They are stopped. Where another VM has the name by now, --name gives a new one; where "
            "several in the trash had it, the id tells them apart."),
        .options = undelete_options,
        .examples = {"tenbox vm undelete foo", "tenbox vm undelete --name foo2 foo"},
        .see_also = "vm rm, vm ls",
        .run = cli_vm_undelete,
    },
    {
        .group = "vm",
        .name = "inspect",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
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
        .name = "exists",
        .arguments = N_("VM"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Tell by the exit status whether there is a VM"),
        .description =
            N_("0: there is; 1: there is not; 125: it could not be found out, and why is "
               "told. Prints nothing else."),
        .examples = {"tenbox vm exists foo"},
        .see_also = "vm inspect, vm wait",
        .run = cli_vm_exists,
    },
    {
        .group = "vm",
        .name = "stats",
        .shortcut = "stats|top",
        .arguments = N_("[VM…]"),
        .words = CLI_WORD_VM,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Show what running VMs use"),
        .description = N_(
            "Every second, until it is interrupted. The share of the CPU is of one CPU: a VM with "
            "four can use 400 %. It is known from the second look on."),
        .options = stats_options,
        .examples = {"tenbox vm stats", "tenbox vm stats --no-stream foo",
                     "tenbox vm stats -o jsonl foo"},
        .see_also = "vm ls, vm inspect",
        .run = cli_vm_stats,
    },
    {
        .group = "vm",
        .name = "set",
        .arguments = N_("VM KEY=VALUE…"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 2,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Change what a VM is made of"),
        .description =
            N_("Keys: name, memory, cpus, cmdline, kernel, initrd, description, notes, label.KEY, "
               "autostart, autostart_delay, start_order, restart, stop_timeout. What a running VM "
               "cannot change waits for its next start, and is told."),
        .options = set_options,
        .examples = {"tenbox vm set foo memory=8GiB cpus=4", "tenbox vm set foo label.env=test",
                     "tenbox vm set --dry-run foo restart=on-failure"},
        .see_also = "vm unset, vm edit, vm inspect",
        .run = cli_vm_set,
    },
    {
        .group = "vm",
        .name = "unset",
        .arguments = N_("VM KEY…"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 2,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Take values back to their defaults, and labels away"),
        .options = set_options,
        .examples = {"tenbox vm unset foo description label.env"},
        .see_also = "vm set",
        .run = cli_vm_unset,
    },
    {
        .group = "vm",
        .name = "rename",
        .arguments = N_("VM NAME"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 2,
        .maximum_arguments = 2,
        .summary = N_("Give a VM another name"),
        .description = N_("Its id stays. A VM that runs goes on."),
        .options = set_options,
        .examples = {"tenbox vm rename foo bar"},
        .see_also = "vm set",
        .run = cli_vm_rename,
    },
    {
        .group = "vm",
        .name = "edit",
        .arguments = N_("VM"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Change a VM in an editor"),
        .description = N_(
            "Opens what may be changed, as JSON, in $VISUAL, else $EDITOR, else vi. When somebody "
            "else has changed the VM meanwhile, the editor opens again with both versions."),
        .examples = {"tenbox vm edit foo"},
        .see_also = "vm set, vm inspect",
        .run = cli_vm_edit,
    },
    {
        .group = "vm",
        .name = "autostart",
        .arguments = N_("enable|disable VM…"),
        .words = CLI_WORD_VM,
        .choices = "enable|disable",
        .minimum_arguments = 2,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Say which VMs start with the daemon"),
        .description =
            N_("“vm set” sets what goes with it: autostart_delay, start_order, restart."),
        .examples = {"tenbox vm autostart enable foo", "tenbox vm autostart disable foo bar"},
        .see_also = "vm set",
        .run = cli_vm_autostart,
    },
    {
        .group = "vm",
        .name = "wait",
        .arguments = N_("VM…"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Wait until VMs are as a script needs them"),
        .description =
            N_("Conditions: starting, running, paused, stopping, stopped, crashed, deleted, or "
               "log:EXPRESSION, a regular expression that a line of the console has to match, also "
               "one "
               "of those it still shows. Each VM has to satisfy one of the conditions, with --all "
               "all of "
               "them. With --timeout the status is 6 when the time is over."),
        .options = wait_options,
        .examples = {"tenbox vm wait --for stopped foo",
                     "tenbox vm wait --for log:login: --for crashed --timeout 120 foo"},
        .see_also = "vm start, events",
        .run = cli_vm_wait,
    },
    {
        .group = "vm",
        .name = "console",
        .shortcut = "console",
        .arguments = N_("VM"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show the serial console of a VM and type into it"),
        .description =
            N_("Begins with what was written last. Leave with Ctrl-] followed by a full "
               "stop; Ctrl-] twice sends one. Standard input may be a pipe: at its end "
               "the console goes on showing output until the VM stops. Any number may watch; "
               "at a terminal one at a time types."),
        .options = console_options,
        .examples = {"tenbox vm console foo", "tenbox vm console --escape-key ctrl-a foo",
                     "tenbox vm console --read-only --log 20 foo",
                     "tenbox vm console foo </dev/null >boot.txt"},
        .see_also = "vm logs, vm start --console",
        .run = cli_vm_console,
    },
    {
        .group = "vm",
        .name = "send-key",
        .arguments = N_("VM KEY…"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 2,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Press keys that a console cannot send as bytes"),
        .description =
            N_("Keys: break, a break of the serial line. A Linux guest takes it for the SysRq key: "
               "the next "
               "character typed into its console, within five seconds, says what it shall do."),
        .examples = {"tenbox vm send-key foo break"},
        .see_also = "vm console",
        .run = cli_vm_send_key,
    },
    {
        .group = "vm",
        .name = "logs",
        .shortcut = "logs",
        .arguments = N_("VM"),
        .words = CLI_WORD_VM,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show what the console of a VM or its process wrote"),
        .options = logs_options,
        .examples = {"tenbox vm logs -n 20 foo", "tenbox vm logs -f --timestamps foo",
                     "tenbox vm logs --source runtime foo"},
        .see_also = "vm console, vm wait",
        .run = cli_vm_logs,
    },
    {
        .group = "operation",
        .name = "ls",
        .arguments = "",
        .summary = N_("List what is being done"),
        .options = operation_ls_options,
        .examples = {"tenbox operation ls", "tenbox operation ls --all -o json"},
        .see_also = "operation show, events",
        .run = cli_operation_ls,
    },
    {
        .group = "operation",
        .name = "show",
        .arguments = N_("OPERATION"),
        .words = CLI_WORD_OPERATION,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show one operation"),
        .description =
            N_("An operation is named by its id or the first characters of it (three or more)."),
        .examples = {"tenbox operation show 3f2a", "tenbox operation show 3f2a -o json"},
        .see_also = "operation ls, operation wait",
        .run = cli_operation_show,
    },
    {
        .group = "operation",
        .name = "wait",
        .arguments = N_("OPERATION…"),
        .words = CLI_WORD_OPERATION,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Wait for the end of operations"),
        .description = N_("The status is that of the operation: 0 when it is done, else what its "
                          "error says, 9 when "
                          "it was withdrawn. Interrupting this does not withdraw it."),
        .examples = {"tenbox operation wait 3f2a", "tenbox operation wait --timeout 60 3f2a"},
        .see_also = "operation cancel",
        .run = cli_operation_wait,
    },
    {
        .group = "operation",
        .name = "cancel",
        .arguments = N_("OPERATION…"),
        .words = CLI_WORD_OPERATION,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Withdraw operations"),
        .description = N_("They end soon after, as cancelled, or as done when they were too far."),
        .examples = {"tenbox operation cancel 3f2a"},
        .see_also = "operation ls",
        .run = cli_operation_cancel,
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
    {
        .group = "system",
        .name = "wait-ready",
        .arguments = "",
        .summary = N_("Wait until the daemon answers"),
        .description = N_("Starts none. With --timeout the status is 6 when the time is over."),
        .examples = {"tenbox system wait-ready --timeout 30"},
        .see_also = "system info",
        .run = cli_system_wait_ready,
    },
    {
        .group = "system",
        .name = "metrics",
        .arguments = "",
        .summary = N_("Print the figures of the daemon and all VMs"),
        .description = N_("OpenMetrics text, as Prometheus reads it; -o changes nothing."),
        .examples = {"tenbox system metrics"},
        .see_also = "vm stats, api",
        .run = cli_system_metrics,
    },
    {
        .group = "config",
        .name = "show",
        .arguments = "",
        .summary = N_("Show the settings of this program"),
        .description =
            N_("An option of the command line wins over the environment, that over cli.json in "
               "$XDG_CONFIG_HOME/tenbox, that over /etc/tenbox/cli.json, that over the default."),
        .options = config_show_options,
        .examples = {"tenbox config show", "tenbox config show --origin"},
        .see_also = "config set",
        .run = cli_config_show,
    },
    {
        .group = "config",
        .name = "get",
        .arguments = N_("KEY"),
        .words = CLI_WORD_SETTING,
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Show one setting"),
        .examples = {"tenbox config get output"},
        .see_also = "config show, config set",
        .run = cli_config_get,
    },
    {
        .group = "config",
        .name = "set",
        .arguments = N_("KEY=VALUE…"),
        .words = CLI_WORD_SETTING,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Set settings, in your own cli.json"),
        .examples = {"tenbox config set output=wide",
                     "tenbox config set escape_key=ctrl-a color=never"},
        .see_also = "config show, config unset",
        .run = cli_config_set,
    },
    {
        .group = "config",
        .name = "unset",
        .arguments = N_("KEY…"),
        .words = CLI_WORD_SETTING,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Forget settings of your own cli.json"),
        .examples = {"tenbox config unset output"},
        .see_also = "config set",
        .run = cli_config_unset,
    },
    {
        .group = "alias",
        .name = "ls",
        .arguments = "",
        .summary = N_("List your own words"),
        .examples = {"tenbox alias ls"},
        .see_also = "alias add",
        .run = cli_alias_ls,
    },
    {
        .group = "alias",
        .name = "add",
        .arguments = N_("NAME WORD…"),
        .minimum_arguments = 2,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Make up a first word that stands for others"),
        .description = N_("What follows the word on a command line is put behind. One argument is "
                          "split as a shell "
                          "does; options of the alias go behind “--” or into that one argument. "
                          "Commands of tenbox "
                          "cannot be redefined, and an alias does not name another one."),
        .examples = {"tenbox alias add up start",
                     "tenbox alias add running -- vm ls --filter state=running"},
        .see_also = "alias ls, alias rm",
        .run = cli_alias_add,
    },
    {
        .group = "alias",
        .name = "rm",
        .arguments = N_("NAME…"),
        .words = CLI_WORD_ALIAS,
        .minimum_arguments = 1,
        .maximum_arguments = G_MAXUINT,
        .summary = N_("Forget your own words"),
        .examples = {"tenbox alias rm running"},
        .see_also = "alias ls",
        .run = cli_alias_rm,
    },
    {
        .name = "events",
        .arguments = "",
        .summary = N_("Show what happens, as it happens"),
        .description = N_("Goes on over a restart of the daemon, behind the last event that was "
                          "shown; “resync” says "
                          "that some in between are not known any more. -o json gives one array, "
                          "complete when it "
                          "ends; for programs that read along there is jsonl."),
        .options = events_options,
        .examples = {"tenbox events", "tenbox events --filter type=vm.* --filter vm=foo",
                     "tenbox events -o jsonl"},
        .see_also = "vm wait, operation ls",
        .run = cli_events,
    },
    {
        .name = "audit",
        .arguments = "",
        .summary = N_("Show who asked the daemon for what, and what came of it"),
        .description =
            N_("Requests that would change something, and all that were refused; oldest first."),
        .options = audit_options,
        .examples = {"tenbox audit", "tenbox audit --failed -n 20",
                     "tenbox audit --filter actor.uid=1000 -o csv"},
        .see_also = "events, operation ls",
        .run = cli_audit,
    },
    {
        .name = "api",
        .arguments = N_("METHOD PATH"),
        .minimum_arguments = 2,
        .maximum_arguments = 2,
        .summary = N_("Make a request of the daemon's HTTP interface"),
        .description =
            N_("Prints the answer; a problem becomes an error and its status. The interface is "
               "described by “tenbox api GET /v1/openapi.json”."),
        .options = api_options,
        .examples = {"tenbox api GET /v1/vms", "tenbox api POST /v1/vms/foo:pause",
                     "tenbox api PATCH /v1/vms/foo --data '{\"description\": \"the first\"}'"},
        .see_also = "system info",
        .run = cli_api,
    },
    {
        .name = "completion",
        .arguments = N_("bash|zsh|fish"),
        .choices = "bash|zsh|fish",
        .minimum_arguments = 1,
        .maximum_arguments = 1,
        .summary = N_("Print the completion script of a shell"),
        .description =
            N_("Packages install these files; this is for other places: source what it prints."),
        .examples = {"tenbox completion bash", "tenbox completion zsh", "tenbox completion fish"},
        .see_also = "config show",
        .run = cli_completion,
    },
    {0},
};
