# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the command line stand on: a user's world in a folder, a terminal, the loop that prints TAP.

Nothing here waits for a clock: a command returns when it is done, a terminal is read until it shows what is
awaited. HANG_LIMIT only ends a test that would hang.
"""
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time

HANG_LIMIT = 60
ESCAPE = b"\x1d"


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(actual, expected, what):
    check(actual == expected, f"{what}: {actual!r}, should be {expected!r}")


def contains(text, part, what="output"):
    check(part in text, f"{what} lacks {part!r}: {text!r}")


class Host:
    """A user's world in a temporary folder: home, sockets, files to boot, perhaps a daemon."""

    def __init__(self, tenbox, tenboxd, runtime):
        self.tenbox, self.tenboxd, self.runtime = tenbox, tenboxd, runtime
        self.folder = tempfile.mkdtemp(prefix="tenbox-cli-")
        self.daemon = None
        for name in ("home", "runtime", "data", "config", "state", "files"):
            os.mkdir(self.path(name), 0o700)
        with open(self.path("files/kernel"), "wb") as stream:
            stream.write(b"kernel" * 1000)
        with open(self.path("files/initrd"), "wb") as stream:
            stream.write(b"initrd" * 1000)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.path("home"),
            "XDG_RUNTIME_DIR": self.path("runtime"),
            "XDG_DATA_HOME": self.path("data"),
            "XDG_CONFIG_HOME": self.path("config"),
            "XDG_STATE_HOME": self.path("state"),
            "LC_ALL": "C.UTF-8",
            "TENBOX_DAEMON": tenboxd,
            "TENBOX_RUNTIME": runtime,
            "TENBOX_NO_AUTOSTART": "1",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def path(self, name):
        return os.path.join(self.folder, name)

    def start_daemon(self):
        ready_read, ready_write = os.pipe()
        with open(self.path("tenboxd.log"), "ab") as log:
            self.daemon = subprocess.Popen([self.tenboxd, "--ready-fd", str(ready_write)], pass_fds=[ready_write],
                                           env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(ready_write)
        with os.fdopen(ready_read, "rb") as stream:
            equal(stream.readline(), b"ready\n", "the daemon says")

    def run(self, *arguments, status=0, text=None, folder=None, **extra):
        """Runs tenbox; returns (standard output, standard error)."""
        environment = dict(self.environment, **extra)
        done = subprocess.run([self.tenbox, *arguments], env=environment, cwd=folder or self.path("files"),
                              input=text, stdin=subprocess.DEVNULL if text is None else None,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=HANG_LIMIT)
        output, errors = done.stdout.decode(), done.stderr.decode()
        check(status is None or done.returncode == status,
              f"tenbox {' '.join(arguments)}: status {done.returncode}, should be {status}\n{output}{errors}")
        said = [line for line in errors.splitlines() if line.startswith("tenbox: ")]
        check(len(said) == len(set(said)), f"tenbox {' '.join(arguments)} says a thing twice:\n{errors}")
        return output, errors

    def json(self, *arguments, **extra):
        return json.loads(self.run(*arguments, **extra)[0])

    def create(self, name, *arguments):
        output, _ = self.run("vm", "create", "--name", name, "--kernel", "kernel", "--memory", "64", *arguments)
        return output.strip()

    def state(self, name):
        return self.json("vm", "inspect", name)["state"]

    def processes(self):
        """Processes that belong to this folder: those with its path in their environment or command line."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/environ", "rb") as stream:
                    environ = stream.read()
                if f"XDG_DATA_HOME={self.path('data')}\0".encode() in environ:
                    found[int(entry)] = os.path.basename(os.readlink(f"/proc/{entry}/exe"))
        return found

    def daemon_pids(self):
        return [pid for pid, name in self.processes().items() if name.startswith("tenboxd")]

    def close(self):
        pids = []
        with contextlib.suppress(Exception):
            vms = self.json("vm", "ls", "-o", "json")
            pids = [vm["pid"] for vm in vms if vm["pid"]]
        for pid in self.daemon_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                end_of(pid)
        if self.daemon:
            self.daemon.wait(HANG_LIMIT)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def end_of(pid):
    """Waits for the end of a process that is not a child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        check(select.select([descriptor], [], [], HANG_LIMIT)[0], f"process {pid} does not end")
    finally:
        os.close(descriptor)


class Terminal:
    """tenbox on a terminal of its own. Standard error goes to the terminal too, unless it is wanted apart."""

    def __init__(self, host, *arguments, errors=False, columns=None, **extra):
        self.master, self.slave = pty.openpty()
        if columns:
            termios.tcsetwinsize(self.slave, (24, columns))
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""

        def take_terminal():
            os.setsid()
            os.close(os.open(os.ttyname(self.slave), os.O_RDWR))  # a session leader's first terminal

        self.process = subprocess.Popen([host.tenbox, *arguments], stdin=self.slave, stdout=self.slave,
                                        stderr=subprocess.PIPE if errors else self.slave, cwd=host.path("files"),
                                        env=dict(host.environment, **extra), preexec_fn=take_terminal)

    def expect(self, part):
        """Reads what the terminal shows until @part comes; what stands before it is forgotten."""
        end = time.monotonic() + HANG_LIMIT
        while part not in self.shown:
            check(time.monotonic() < end, f"{part!r} does not come, but {self.shown!r}")
            if select.select([self.master], [], [], 1)[0]:
                self.shown += os.read(self.master, 65536)
            elif self.process.poll() is not None:
                raise Failure(f"{part!r} does not come before the end; shown: {self.shown!r}")
        at = self.shown.index(part) + len(part)
        before, self.shown = self.shown[:at], self.shown[at:]
        return before

    def type(self, data):
        os.write(self.master, data)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def wait(self):
        """The status of the program; its output is read meanwhile, so that it can end."""
        end = time.monotonic() + HANG_LIMIT
        while self.process.poll() is None:
            check(time.monotonic() < end, f"tenbox does not end; shown: {self.shown!r}")
            if select.select([self.master], [], [], 0.05)[0]:
                self.shown += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536)
        return self.process.returncode

    def check_restored(self):
        equal(termios.tcgetattr(self.slave), self.before, "the terminal after the end")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        os.close(self.master)
        os.close(self.slave)


@contextlib.contextmanager
def terminal(host, *arguments, **options):
    opened = Terminal(host, *arguments, **options)
    try:
        yield opened
    finally:
        opened.close()


def connect(host):
    """A connection to the daemon, for bytes that tenbox would not send."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(host.path("runtime")) for name in names]
    [path] = [path for path in paths if stat.S_ISSOCK(os.stat(path).st_mode)]
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(HANG_LIMIT)
    connection.connect(path)
    return connection


def main(without_daemon, with_daemon):
    """Runs the tests in the words of the command line, TENBOX TENBOXD FAKE_RUNTIME [WORD…]; returns the status."""
    programs, words = [os.path.abspath(path) for path in sys.argv[1:4]], sys.argv[4:]
    tests = [test for test in without_daemon + with_daemon
             if not words or any(word in test.__name__ for word in words)]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        host = Host(*programs)
        name = test.__name__[len("test_"):].replace("_", " ")
        try:
            if test in with_daemon:
                host.start_daemon()
            test(host)
            print(f"ok {number} - {name}", flush=True)
        except (Failure, subprocess.TimeoutExpired, OSError, ValueError, LookupError, TypeError) as problem:
            failed += 1
            line = problem.__traceback__
            while line.tb_next:
                line = line.tb_next
            print(f"not ok {number} - {name}")
            told = f"{type(problem).__name__}: {problem}"
            if len(told) > 2000:
                told = f"{told[:1000]} … {told[-1000:]}"
            for text in told.splitlines():
                print(f"# {text}")
            with contextlib.suppress(OSError), open(host.path("tenboxd.log"), encoding="utf-8") as log:
                for text in log.read().splitlines()[-20:]:
                    print(f"# tenboxd: {text}")
            sys.stdout.flush()
        finally:
            host.close()
    return 1 if failed else 0
