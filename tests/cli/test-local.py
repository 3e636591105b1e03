#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs without a daemon: local:///folder, each call of the command line a process of its own.

A VM outlives the program that started it, the next program has it again, and so has a daemon that comes later;
while one process has the folder, others are told which. Prints TAP.

    test-local.py TENBOX TENBOXD FAKE-RUNTIME
"""
import json
import os
import signal
import subprocess
import sys
import tempfile

HANG_SECONDS = 120
TENBOX, TENBOXD, RUNTIME = sys.argv[1:]


def fail(why):
    raise AssertionError(why)


def equal(expected, got, what):
    if expected != got:
        fail(f"{what}: {got!r} instead of {expected!r}")


class Place:
    """A scratch folder with everything that a program of TenBox looks for."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.folder = os.path.join(scratch, "folder")
        self.uri = f"local://{self.folder}"
        self.socket = os.path.join(scratch, "tenbox.sock")
        self.kernel = os.path.join(scratch, "kernel")
        with open(self.kernel, "w", encoding="ascii") as file:
            file.write("not quite a kernel")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("TENBOX", "XDG"))}
        self.environment.update({"TENBOX_RUNTIME": RUNTIME, "TENBOX_KVM_DEVICE": "/dev/null",
                                 "TENBOX_NO_AUTOSTART": "1", "XDG_RUNTIME_DIR": scratch, "NO_COLOR": "1",
                                 "XDG_DATA_HOME": scratch, "XDG_CONFIG_HOME": scratch})

    def tenbox(self, *words, uri=None):
        return subprocess.run([TENBOX, "-H", uri or self.uri, *words], env=self.environment, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=HANG_SECONDS, check=False)

    def done(self, *words, uri=None):
        result = self.tenbox(*words, uri=uri)
        equal(0, result.returncode, f"{' '.join(words)}: {result.stderr.strip()}: exit status")
        return result.stdout

    def inspect(self, name, uri=None):
        return json.loads(self.done("vm", "inspect", name, uri=uri))

    def daemon(self):
        reading, writing = os.pipe()
        process = subprocess.Popen([TENBOXD, "--socket", self.socket, "--data-folder", self.folder,
                                    "--ready-fd", str(writing)], env=self.environment, pass_fds=[writing])
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            equal(b"ready\n", pipe.readline(), "the daemon's word")
        return process


def is_alive(pid):
    """Whether the process runs; one that has ended may wait for its new parent to look."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def outlives_its_program(place):
    place.done("vm", "create", "--name", "foo", "--kernel", place.kernel, "--memory", "64", "--cpus", "1")
    place.done("vm", "start", "foo")
    first = place.inspect("foo")
    equal("running", first["state"], "the state that the next program sees")
    if not is_alive(first["pid"]):
        fail("the VM's process ended with the program that started it")
    again = place.inspect("foo")
    equal((first["pid"], first["started_at"]), (again["pid"], again["started_at"]), "who runs")


def next_daemon_adopts(place):
    before = place.inspect("foo")
    process = place.daemon()
    try:
        unix = f"unix://{place.socket}"
        after = place.inspect("foo", uri=unix)
        equal((before["pid"], before["started_at"], "running"), (after["pid"], after["started_at"], after["state"]),
              "who runs")
        if "fake: hello" not in place.done("vm", "logs", "foo", uri=unix):
            fail("what the guest said before is lost")

        # The folder has an owner now, who is named with the way to him.
        refused = place.tenbox("vm", "ls")
        equal(4, refused.returncode, "exit status on a folder in use")
        for word in (f"{process.pid}", f"unix://{place.socket}", place.folder):
            if word not in refused.stderr:
                fail(f"{word} is not in: {refused.stderr.strip()}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    equal(before["pid"], place.inspect("foo")["pid"], "who runs after the daemon was killed")


def goes_when_asked(place):
    pid = place.inspect("foo")["pid"]
    place.done("vm", "stop", "foo")
    equal("stopped", place.inspect("foo")["state"], "the state")
    if is_alive(pid):
        fail("the VM's process is still there")
    place.done("-y", "vm", "rm", "foo")
    equal([], os.listdir(os.path.join(place.folder, "vms")), "what is left")


CASES = [outlives_its_program, next_daemon_adopts, goes_when_asked]


def main():
    failed = False
    print(f"1..{len(CASES)}")
    with tempfile.TemporaryDirectory(prefix="tenbox-test-") as scratch:
        place = Place(scratch)
        for number, case in enumerate(CASES, 1):
            title = case.__name__.replace("_", " ")
            try:
                case(place)
                print(f"ok {number} {title}")
            except AssertionError as error:
                print(f"not ok {number} {title}\n# {error}")
                failed = True
        place.tenbox("-y", "vm", "rm", "--force", "foo")
    return 1 if failed else 0


sys.exit(main())
