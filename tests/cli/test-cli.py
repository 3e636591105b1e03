#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real command line against the real daemon, with a runtime that plays the guest: life of VMs and consoles.

    test-cli.py TENBOX TENBOXD FAKE_RUNTIME [WORD…]

WORDs pick test functions by part of their name. Prints TAP.
"""
import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys

from harness import ESCAPE, HANG_LIMIT, check, connect, contains, equal, main, terminal

# --- without a daemon -----------------------------------------------------------------------------------


def test_no_daemon(host):
    output, errors = host.run("system", "version")
    contains(output, "Client")
    check("Server" not in output, "a server is shown though none runs")
    contains(errors, "No daemon answers", "standard error")
    both = host.json("system", "version", "-o", "json")
    equal(both["server"], None, "server")
    check(both["client"]["version"], "the client has a version")
    equal(both["error"]["code"], "daemon-unreachable", "code")

    output, errors = host.run("vm", "ls", status=7)
    equal(output, "", "standard output")
    contains(errors, "tenbox: ", "standard error")
    failed = host.json("vm", "ls", "-o", "json", status=7)
    equal(failed["error"]["exit_status"], 7, "exit_status")
    equal(failed["error"]["code"], "daemon-unreachable", "code")

    host.run("vm", "ls", "-H", "unix:///nonexistent/socket", status=7)
    host.run("vm", "ls", status=7, TENBOX_HOST="unix:///nonexistent/socket", TENBOX_NO_AUTOSTART="0")
    output, _ = host.run("system", "doctor", status=7)
    contains(output, "FAILED")
    contains(output, "daemon")
    equal(host.daemon_pids(), [], "daemons")


def test_usage(host):
    for arguments, part in (
            ((), "missing"), (("vm",), "missing"), (("vm", "strat", "x"), "tenbox vm start"),
            (("doctr",), "tenbox doctor"), (("vm", "create", "--nmae", "x"), "--name"),
            (("vm", "create", "--name", "x"), "--kernel"), (("vm", "create", "--kernel", "kernel"), "--name"),
            (("vm", "create", "a", "--name", "b", "--kernel", "kernel"), "two names"),
            (("vm", "create", "a", "--kernel", "kernel", "--memory", "4GB"), "4GB"),
            (("vm", "start"), "VM"), (("vm", "rm", "x"), "--yes"), (("vm", "ls", "-o", "xml"), "table|wide|json"),
            (("vm", "start", "--console", "a", "b"), "--console")):
        output, errors = host.run(*arguments, status=2)
        equal(output, "", f"standard output of {arguments}")
        contains(errors, part, f"standard error of {arguments}")
    for arguments in (("help",), ("--help",), ("vm", "--help"), ("help", "vm", "start"), ("vm", "start", "-h")):
        output, errors = host.run(*arguments)
        contains(output, "Usage: tenbox")
        equal(errors, "", "standard error")
    contains(host.run("--version")[0], "tenbox ")


def test_full_output(host):
    """Data that could not be written is a failure."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([host.tenbox, "help"], env=host.environment, stdout=full, stderr=subprocess.PIPE,
                              timeout=HANG_LIMIT, check=False)
    equal(done.returncode, 1, "status")
    contains(done.stderr.decode(), "standard output", "standard error")


def test_autostart(host):
    """The first command starts the user's daemon; commands at the same moment start one; failure is told."""
    failing = host.path("failing-daemon")
    with open(failing, "w", encoding="utf-8") as stream:
        stream.write("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    os.chmod(failing, 0o755)
    _, errors = host.run("vm", "ls", status=7, TENBOX_NO_AUTOSTART="", TENBOX_DAEMON=failing)
    contains(errors, "the disk is on fire", "standard error")
    _, errors = host.run("vm", "ls", status=7, TENBOX_NO_AUTOSTART="", TENBOX_DAEMON="/nonexistent")
    contains(errors, "/nonexistent", "standard error")
    # version tells about a daemon and starts none
    host.run("system", "version", TENBOX_NO_AUTOSTART="")
    equal(host.daemon_pids(), [], "daemons")

    environment = dict(host.environment, TENBOX_NO_AUTOSTART="")
    first = [subprocess.Popen([host.tenbox, "vm", "ls"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    told = 0
    for process in first:
        output, errors = process.communicate(timeout=HANG_LIMIT)
        equal(process.returncode, 0, f"status ({errors!r})")
        contains(output.decode(), "NAME")
        told += b"Started the daemon" in errors
    equal(told, 1, "commands that say they started it")
    daemons = host.daemon_pids()
    equal(len(daemons), 1, "daemons")
    equal(os.getsid(daemons[0]), daemons[0], "the daemon leads a session")
    equal(os.readlink(f"/proc/{daemons[0]}/cwd"), "/", "the daemon's folder")
    log = host.path("state/tenbox/tenboxd.log")
    equal(stat.S_IMODE(os.stat(log).st_mode), 0o600, "mode of the log")
    equal(host.json("system", "info", "-o", "json")["pid"], daemons[0], "pid of the daemon")
    contains(host.run("system", "version")[0], "Server")


# --- with a daemon --------------------------------------------------------------------------------------


def test_thread(host):
    """The four lines that must work as they are written, and what they show."""
    output, errors = host.run("vm", "create", "--name", "foo", "--kernel", "kernel", "--initrd", "initrd",
                              "--memory", "4096")
    vm_id = output.strip()
    equal(len(vm_id), 36, "length of the id")
    contains(errors, "foo is created", "standard error")
    host.run("vm", "start", "foo")
    vms = host.json("vm", "ls", "-o", "json")
    equal([(vm["name"], vm["id"], vm["state"], vm["memory_mb"]) for vm in vms], [("foo", vm_id, "running", 4096)],
          "list")
    table = host.run("vm", "ls")[0].splitlines()
    equal(table[0].split(), ["NAME", "STATE", "CPUS", "MEMORY", "UPTIME", "ID"], "headers")
    contains(table[1], "4 GiB")
    equal(host.run("vm", "ls", "-q")[0], "foo\n", "names")
    equal(len(host.run("vm", "ls", "--no-headers")[0].splitlines()), 1, "lines")
    with terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        console.type(b"hello\r")
        console.expect(b"hello")
        console.type(ESCAPE + b".")
        equal(console.wait(), 0, "status")
        console.check_restored()
    equal(host.state("foo"), "running", "state")
    host.run("vm", "rm", "--force", "foo")
    equal(host.json("vm", "ls", "-o", "json"), [], "list")


def test_create(host):
    vm_id = host.create("one", "--cpus", "2", "--cmdline", "quiet burst=3", "--description", "déjà vu")
    one = host.json("vm", "inspect", vm_id[:6])
    equal((one["name"], one["cpu_count"], one["cmdline"], one["description"]),
          ("one", 2, "quiet burst=3", "déjà vu"), "what was asked for")
    equal(one["statistics"], None, "statistics of a stopped VM")
    started = host.json("vm", "create", "two", "--kernel", "kernel", "--memory", "64MiB", "--start", "-o", "json")
    equal((started["name"], started["state"], started["memory_mb"]), ("two", "running", 64), "created and started")
    _, errors = host.run("vm", "create", "one", "--kernel", "kernel", status=4)
    contains(errors, "one", "standard error")
    for arguments, option in ((("--memory", "0"), "--memory"), (("--memory", "1000T"), "--memory"),
                              (("--cpus", "0"), "--cpus"), (("--cpus", "65"), "--cpus"),
                              (("--cmdline", "x" * 2048), "--cmdline")):
        _, errors = host.run("vm", "create", "bad", "--kernel", "kernel", *arguments, status=2)
        contains(errors, option, "standard error")
    _, errors = host.run("vm", "create", "bad-", "--kernel", "kernel", status=2)
    contains(errors, "--name", "standard error")
    for option in ("--kernel", "--initrd"):
        paths = {"--kernel": "kernel", "--initrd": "initrd", option: "missing"}
        _, errors = host.run("vm", "create", "bad", *sum(paths.items(), ()), status=1)
        contains(errors, option, "standard error")
        contains(errors, host.path("files/missing"), "standard error")
        contains(errors, "ls -l", "the way out")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    _, errors = host.run("vm", "create", "bad", "--kernel", "kernel", "--memory", str(total + 1), status=1)
    contains(errors, "less --memory", "the way out")
    equal(host.run("vm", "ls", "-q")[0], "one\ntwo\n", "names")


def test_start_refused(host):
    """A VM that could be made and not started stays, and says why."""
    output, errors = host.run("vm", "create", "bad", "--kernel", "kernel", "--memory", "64", "--start", "--cmdline",
                              "refuse=kernel,22,no_kernel_at_all", status=1)
    equal(len(output.strip()), 36, "length of the id")
    contains(errors, "--kernel: ", "standard error")
    contains(errors, "no kernel at all", "standard error")
    contains(errors, "another --kernel", "the way out")
    equal(host.state("bad"), "stopped", "state")
    result = host.json("vm", "start", "bad", "-o", "json", status=1)
    equal(result[0]["error"]["field"], "kernel", "field")


def test_several(host):
    for name in ("one", "two"):
        host.create(name)
    _, errors = host.run("vm", "start", "one", "nope", "two", status=3)
    for part in ("one runs", "two runs", "nope: "):
        contains(errors, part, "standard error")
    results = host.json("vm", "start", "one", "nope", "-o", "json", status=4)
    equal([(result["name"], result["state"], result["error"] and result["error"]["exit_status"]) for result in results],
          [("one", "running", 4), ("nope", None, 3)], "results")
    equal(host.run("vm", "pause", "-q", "one", "two"), ("", ""), "quiet output")
    equal(host.state("two"), "paused", "state")
    _, errors = host.run("vm", "shutdown", "one", status=4)
    contains(errors, "resume", "standard error")
    host.run("vm", "resume", "one", "two")
    host.run("vm", "stop", "one", "two")
    equal([vm["state"] for vm in host.json("vm", "ls", "-o", "json")], ["stopped", "stopped"], "states")
    host.run("vm", "stop", "one")
    host.run("vm", "pause", "one", status=4)
    inspected = host.json("vm", "inspect", "one", "two")
    equal([vm["name"] for vm in inspected], ["one", "two"], "inspected")
    output, _ = host.run("vm", "inspect", "one", "nope", status=3)
    equal([vm["name"] for vm in json.loads(output)], ["one"], "inspected")


def test_stop(host):
    host.create("deaf", "--cmdline", "ignore-button")
    host.run("vm", "start", "deaf")
    host.run("vm", "stop", "--timeout", "0", "deaf")
    host.run("vm", "start", "deaf")
    host.run("vm", "stop", "--force", "deaf")
    equal(host.state("deaf"), "stopped", "state")
    host.run("vm", "start", "deaf")
    host.run("vm", "shutdown", "deaf")
    inspected = host.json("vm", "inspect", "deaf")
    equal(inspected["state"], "running", "state")
    check(inspected["shutdown_requested_at"], "the guest was asked")
    check(inspected["statistics"]["exits"], "a running VM has statistics")
    host.run("vm", "reset", "deaf")
    host.run("vm", "stop", "-f", "deaf")


def test_stop_vms(host):
    host.run("system", "stop-vms")
    for name in ("one", "deaf"):
        host.create(name, *(("--cmdline", "ignore-button") if name == "deaf" else ()))
        host.run("vm", "start", name)
    # Ctrl-C takes it back: a guest that has not followed runs on.
    process = subprocess.Popen([host.tenbox, "system", "stop-vms", "--timeout", "3600"], env=host.environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while host.state("one") != "stopped" or host.state("deaf") != "stopping":
        check(process.poll() is None, "it waits for the guests")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=HANG_LIMIT)
    equal(process.returncode, 9, "status")
    while host.state("deaf") != "running":
        pass
    output, errors = host.run("system", "stop-vms", "--force")
    equal(output, "", "standard output")
    contains(errors, "All VMs are stopped.", "standard error")
    equal([vm["state"] for vm in host.json("vm", "ls", "-o", "json")], ["stopped", "stopped"], "states")


def test_interrupt(host):
    """Ctrl-C withdraws what is under way and says so by its status."""
    host.create("deaf", "--cmdline", "ignore-button")
    host.run("vm", "start", "deaf")
    process = subprocess.Popen([host.tenbox, "vm", "stop", "--timeout", "3600", "deaf"], env=host.environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while host.state("deaf") != "stopping" and not host.json("vm", "inspect", "deaf")["operation"]:
        pass
    _, errors = host.run("vm", "pause", "deaf", status=4)
    contains(errors, "tenbox vm stop --force", "the way out")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_LIMIT)
    equal(process.returncode, 9, "status")
    contains(errors.decode(), "interrupted", "standard error")
    host.run("vm", "stop", "--force", "deaf")


def test_interrupt_create(host):
    """A VM whose creation was interrupted does not turn up later."""
    vms = host.path("data/tenbox/vms")
    with open(host.path("files/large"), "wb") as stream:
        stream.truncate(1 << 30)
    process = subprocess.Popen([host.tenbox, "vm", "create", "late", "--kernel", host.path("files/large")],
                               env=host.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while not os.listdir(vms):
        check(process.poll() is None, "it is still being made")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=HANG_LIMIT)
    equal((process.returncode, output), (9, b""), f"status and output ({errors!r})")
    while os.listdir(vms):
        pass
    equal(host.run("vm", "ls", "-q")[0], "", "names")
    host.create("late")


def test_restart(host):
    """The next daemon starts while the last one is still ending, and takes over its VMs."""
    host.create("deaf", "--cmdline", "ignore-button")
    host.run("vm", "start", "deaf")
    stopping = subprocess.Popen([host.tenbox, "vm", "stop", "--timeout", "3600", "deaf"], env=host.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not host.json("vm", "inspect", "deaf")["operation"]:
        pass
    operation = host.json("vm", "inspect", "deaf")["operation"]["id"]
    held, slow = connect(host), connect(host)
    held.sendall(b"GET /v1/operations/%s?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n" % operation.encode())
    # Its body never comes: the daemon gives it all the time that it gives to anybody.
    slow.sendall(b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    host.state("deaf")
    host.daemon.send_signal(signal.SIGTERM)
    answer = b""
    while part := held.recv(65536):
        answer += part
    contains(answer, b" 503 ", "the answer to who waited")
    contains(answer, b"shutting-down", "the answer to who waited")
    _, errors = host.run("vm", "ls", TENBOX_NO_AUTOSTART="")
    contains(errors, "Started the daemon", "standard error")
    equal(host.daemon.wait(HANG_LIMIT), 0, "status of the first daemon")
    host.daemon = None
    stopping.communicate(timeout=HANG_LIMIT)
    equal(stopping.returncode, 7, "status of who waited")
    equal(host.run("vm", "ls", "-q")[0], "deaf\n", "names")
    host.run("vm", "rm", "--force", "deaf")
    held.close()
    slow.close()


def test_crowd(host):
    """Who is turned away is told why."""
    crowd = [connect(host) for _ in range(256)]
    _, errors = host.run("vm", "ls", status=4)
    contains(errors, "connections are open already", "standard error")
    contains(errors, "try again later", "the way out")
    for connection in crowd:
        connection.close()


def test_rm(host):
    for name in ("one", "two", "three"):
        host.create(name)
    _, errors = host.run("vm", "rm", "one", status=2)
    contains(errors, "--force", "standard error")
    host.run("vm", "rm", "one", text=b"y\n", status=2)
    for answer, status in ((b"n\r", 9), (b"\r", 9), (b"\x04", 9)):
        with terminal(host, "vm", "rm", "one") as asked:
            asked.expect(b"[y/N]")
            asked.type(answer)
            equal(asked.wait(), status, f"status after {answer!r}")
    equal(host.state("one"), "stopped", "state")
    with terminal(host, "vm", "rm", "one") as asked:
        asked.expect(b"one")
        asked.expect(b"[y/N]")
        asked.type(b"y\r")
        equal(asked.wait(), 0, "status")
    host.run("vm", "start", "two")
    _, errors = host.run("vm", "rm", "--yes", "two", status=4)
    contains(errors, "--force", "standard error")
    results = host.json("vm", "rm", "--force", "two", "three", "nope", "-o", "json", status=3)
    equal([(result["name"], result["state"]) for result in results],
          [("two", None), ("three", None), ("nope", None)], "results")
    equal(host.json("vm", "ls", "-o", "json"), [], "list")


def test_logs(host):
    host.create("foo", "--cmdline", "burst=20")
    host.run("vm", "start", "foo")
    host.run("vm", "console", "foo", text=b"first\nsecond\n@poweroff\n")
    contains(host.run("vm", "logs", "foo")[0], "first")
    equal(host.run("vm", "logs", "-n", "1", "foo")[0].strip(), "second", "the last line")
    log = host.json("vm", "logs", "foo", "-o", "json")
    equal((log["source"], log["lines"][-1]), ("console", "second"), "log")
    host.run("vm", "logs", "--source", "runtime", "foo")
    host.run("vm", "logs", "nope", status=3)
    host.run("vm", "logs", "-n", "100000", "foo")
    host.run("vm", "logs", "-n", "100001", "foo", status=2)


def test_system(host):
    info = host.json("system", "info", "-o", "json")
    equal(info["pid"], host.daemon.pid, "pid")
    contains(host.run("system", "info")[0], host.path("data"))
    doctor = subprocess.run([host.tenbox, "system", "doctor", "-o", "json"], env=host.environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            timeout=HANG_LIMIT, check=False)
    document = json.loads(doctor.stdout)
    check(document["checks"], "the doctor checks something")
    failed = [item for item in document["checks"] if item["status"] == "failed"]
    equal(document["healthy"], not failed, "healthy")
    equal(doctor.returncode, 1 if failed else 0, "status")
    for item in failed:
        check(item["fix"], f"{item['name']} comes without a way out")
    output, _ = host.run("doctor", status=doctor.returncode)
    for item in document["checks"]:
        contains(output, item["name"])


# --- the console ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(host, *arguments, name="foo"):
    host.create(name, *arguments)
    host.run("vm", "start", name)
    try:
        yield name
    finally:
        host.run("vm", "rm", "--force", name)


def test_console_keys(host):
    with running(host), terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        console.type(b"one\n")
        console.expect(b"one\n")
        check(console.is_raw(), "the terminal is raw")
        # Control characters are the guest's, and a doubled escape key sends one.
        console.type(b"\x03\x1a\x11\x13a" + ESCAPE + ESCAPE + b"b" + ESCAPE + b"c\n")
        console.expect(b"\x03\x1a\x11\x13a" + ESCAPE + b"b" + ESCAPE + b"c\n")
        # The sequence may come in pieces and in the middle of a read.
        console.type(b"mark" + ESCAPE)
        console.expect(b"mark")
        console.type(b".never")
        equal(console.wait(), 0, "status")
        console.check_restored()
        check(b"never" not in console.shown, "bytes behind the sequence reach nobody")


def test_console_signals(host):
    """Whatever ends it, the terminal is as it was."""
    with running(host):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV):
            with terminal(host, "vm", "console", "foo") as console:
                console.expect(b"Ctrl-]")
                console.type(b"ready\n")
                console.expect(b"ready\n")
                check(console.is_raw(), "the terminal is raw")
                console.process.send_signal(number)
                equal(console.wait(), -number, "status")
                console.check_restored()


def test_console_stop(host):
    """kill -TSTP gives the terminal back; -CONT takes it again."""
    with running(host), terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        console.type(b"ready\n")
        console.expect(b"ready\n")
        console.process.send_signal(signal.SIGTSTP)
        os.waitid(os.P_PID, console.process.pid, os.WSTOPPED)
        console.check_restored()
        console.process.send_signal(signal.SIGCONT)
        # The first key after that may be taken by the terminal while it is not raw yet.
        while not console.is_raw():
            check(console.process.poll() is None, "it goes on")
        console.type(b"again\n")
        console.expect(b"again\n")
        console.type(ESCAPE + b".")
        equal(console.wait(), 0, "status")
        console.check_restored()


def test_console_end(host):
    """The VM stops or crashes while its console is shown."""
    with running(host), terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        console.type(b"last words\n@poweroff\n")
        console.expect(b"last words")
        console.expect(b"foo has stopped")
        equal(console.wait(), 0, "status")
        console.check_restored()
    with running(host), terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        console.type(b"@signal 9\n")
        console.expect(b"crashed")
        console.expect(b"SIGKILL")
        equal(console.wait(), 1, "status")
        console.check_restored()
    host.create("off")
    _, errors = host.run("vm", "console", "off", status=4)
    contains(errors, "tenbox vm start", "standard error")
    host.run("vm", "console", "nope", status=3)
    for name, status, code in (("off", 4, "vm-not-running"), ("nope", 3, "vm-not-found")):
        equal(host.json("vm", "console", name, "-o", "json", status=status)["error"]["code"], code, "code")


def test_console_pipe(host):
    with running(host):
        output, errors = host.run("vm", "console", "foo", text=b"from a pipe\n" + ESCAPE + b".")
        contains(errors, "Ctrl-]", "standard error")
        check("Ctrl-]" not in output, "the hint is no data")
        # The guest got what came before the sequence: the next reader is shown it.
        # Also when it is more than the guest takes at a time.
        host.run("vm", "console", "foo", text=b"y" * 20480 + b"\n" + ESCAPE + b".")
        output, _ = host.run("vm", "console", "foo", text=b"@poweroff\n")
        contains(output, "from a pipe\n")
        equal(output.count("y"), 20480, "the long line, whole")
    with running(host):
        # An end of the input is not the end of the console.
        process = subprocess.Popen([host.tenbox, "vm", "console", "-q", "foo"], env=host.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        host.run("vm", "console", "foo", text=b"seen by both\n" + ESCAPE + b".")
        while b"seen by both\n" not in (shown := process.stdout.readline()):
            check(shown, "the other reader sees it too")
        host.run("vm", "stop", "--force", "foo")
        rest, errors = process.communicate(timeout=HANG_LIMIT)
        equal((process.returncode, rest, errors), (0, b"", b""), "the end")


def test_console_end_while_input_waits(host):
    """The VM stops while its guest takes no input: its last words are shown, and that is no error."""
    with running(host, "--cmdline", "no-credit"):
        process = subprocess.Popen([host.tenbox, "vm", "console", "foo"], env=host.environment,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"x" * 20480)
        process.stdin.flush()
        shown = b""
        while shown.count(b"x") < 4096:
            piece = os.read(process.stdout.fileno(), 65536)
            check(piece, "what the guest took comes back")
            shown += piece
        host.run("vm", "stop", "--force", "foo")
        equal(process.wait(HANG_LIMIT), 0, "status")
        contains(process.stderr.read().decode(), "foo has stopped", "standard error")
        equal(process.stdout.read(), b"", "what was shown behind that")
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def test_console_much(host):
    """More than the ring and all buffers: nothing is lost when somebody reads."""
    with running(host):
        size = 200000
        output, errors = host.run("vm", "console", "foo", text=b"@burst %d\n@poweroff\n" % size)
        expected = "".join(chr(ord("a") + n % 26) for n in range(size))
        check(expected in output, f"{size} bytes came as they were sent: {len(output)}, {errors!r}")
    with running(host):
        # A reader that goes away ends it, as it ends any filter.
        process = subprocess.Popen([host.tenbox, "vm", "console", "foo"], env=host.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        process.stdin.write(b"into the void\n")
        process.stdin.flush()
        equal(process.wait(HANG_LIMIT), 0, "status")
        process.stdin.close()
        process.stderr.close()


def test_console_stuck(host):
    """A guest that takes no input does not hold the user."""
    with running(host, "--cmdline", "no-credit"), terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-]")
        for _ in range(64):
            console.type(b"x" * 1023 + b"\n")
            while select.select([console.master], [], [], 0)[0]:
                os.read(console.master, 65536)
        console.type(ESCAPE + b".")
        equal(console.wait(), 0, "status")
        console.check_restored()


def test_start_console(host):
    host.create("foo")
    with terminal(host, "vm", "start", "--console", "foo") as console:
        console.expect(b"foo runs")
        console.expect(b"Ctrl-]")
        console.type(b"here\n")
        console.expect(b"here\n")
        console.type(ESCAPE + b".")
        equal(console.wait(), 0, "status")
        console.check_restored()


WITHOUT_DAEMON = [test_no_daemon, test_usage, test_full_output, test_autostart]
WITH_DAEMON = [test_thread, test_create, test_start_refused, test_several, test_stop, test_stop_vms, test_interrupt,
               test_interrupt_create, test_restart, test_crowd, test_rm,
               test_logs, test_system, test_console_keys, test_console_signals, test_console_stop, test_console_end,
               test_console_pipe, test_console_end_while_input_waits, test_console_much, test_console_stuck,
               test_start_console]

if __name__ == "__main__":
    sys.exit(main(WITHOUT_DAEMON, WITH_DAEMON))
