#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A data folder on a disk that is full to the last byte, or that can only be read: clear errors, no loss.

The data folder is a small tmpfs in a mount namespace of this test's own, for which it has to be root; else it
is skipped, saying why.

    test-host.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import errno
import json
import os
import subprocess
import sys

from harness import Daemon, Schema, Tap, WebSocket, equal

TENBOXD, FAKE_RUNTIME = sys.argv[1], sys.argv[2]
TAP, SCHEMA = Tap(), Schema()
INSIDE = "inside"
DISK_BYTES = 4 << 20
KERNEL = b"not really a kernel" * 1000


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, stdin=subprocess.DEVNULL)


def enter_namespace():
    """Runs this program again where it may mount; returns only if it cannot, with the reason."""
    # Not in a user namespace: there the kernel refuses to make a tmpfs writable again.
    command = ["unshare", "--mount"]
    probe = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True,
                           text=True, check=False)
    if probe.returncode == 0:
        os.execvp("unshare", [*command, sys.executable, *sys.argv[:4], INSIDE])
    return f"{' '.join(command)}: {' '.join(probe.stderr.split())}"


class Disk:
    """A daemon whose data folder is a disk of its own."""

    def __init__(self):
        self.daemon = Daemon(TENBOXD, FAKE_RUNTIME)
        self.data = os.path.join(self.daemon.folder, "data")
        self.filler = os.path.join(self.data, "filler")
        self.kernel = os.path.join(self.daemon.folder, "kernel")
        with open(self.kernel, "wb") as file:
            file.write(KERNEL)
        os.mkdir(self.data, 0o700)

    def __enter__(self):
        mount("-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", self.data)
        self.daemon.start()
        return self

    def __exit__(self, *arguments):
        self.daemon.owns_folder = False
        try:
            try:
                self.remount("rw")
                self.free()
                if arguments[0] is None:
                    for vm in self.ask("GET", "/v1/vms").json()["items"]:
                        self.ask("DELETE", f"/v1/vms/{vm['id']}?force=true&purge=true&wait=60")
            finally:
                self.daemon.__exit__(*arguments)
        finally:
            subprocess.run(["umount", "--lazy", self.data], check=True)
            subprocess.run(["rm", "-rf", self.daemon.folder], check=True)

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                while True:
                    try:
                        file.write(b"x" * size)
                    except OSError as error:
                        equal(error.errno, errno.ENOSPC)
                        break
        equal(os.statvfs(self.data).f_bavail, 0, "free blocks")

    def free(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def remount(self, mode):
        mount("-o", f"remount,{mode}", self.data)

    def body(self, name, **members):
        return {"name": name, "kernel": self.kernel, "memory_mb": 64, "cpu_count": 1, **members}

    def ask(self, method, target, body=None, status=200, **options):
        answer = self.daemon.request(method, target, body, **options)
        equal(answer.status, status, f"{method} {target}: {answer}; log: {self.daemon.read_log()[-1500:]}")
        return answer

    def refused(self, method, target, code, body=None, **options):
        """Asks for what cannot be done now: a whole problem that says what failed and why."""
        status = {"no-space": 507, "forbidden": 403}[code]
        answer = self.daemon.request(method, target, body, **options)
        problem = answer.json()
        if "wait=" in target:
            equal((answer.status, problem["state"]), (200, "failed"), answer)
            problem = problem["error"]
        else:
            equal(answer.status, status, f"{method} {target}: {answer}")
        equal(problem["status"], status)
        SCHEMA.validate(problem, "Problem")
        equal(problem["code"], code, problem)
        why = {"no-space": "No space left on device", "forbidden": "Read-only file system"}[code]
        assert why in problem["detail"] and len(problem["detail"]) > len(why) + 10, problem
        assert problem.get("hint"), f"no way out: {problem}"
        return problem

    def restart(self, kill=False):
        if kill:
            self.daemon.process.kill()
            self.daemon.process.wait()
        else:
            equal(self.daemon.stop(), 0, self.daemon.read_log()[-1500:])
        self.daemon.start()

    def stored(self):
        """What VMs are made of, byte by byte: {path: content}."""
        found = {}
        for parent in ("vms", "trash"):
            for folder, _, names in os.walk(os.path.join(self.data, parent)):
                for name in names:
                    path = os.path.join(folder, name)
                    if name in ("vm.json", "kernel", "initrd"):
                        with open(path, "rb") as file:
                            found[os.path.relpath(path, self.data)] = file.read()
        return found

    def strays(self):
        """Files and folders that a change that failed would leave."""
        return [os.path.join(folder, name) for folder, folders, names in os.walk(self.data)
                for name in folders + names
                if name.startswith((".new-", ".old-", ".tmp", ".tbx")) or name.endswith((".tmp", "~"))]

    def names(self, query=""):
        return sorted(vm["name"] for vm in self.ask("GET", "/v1/vms" + query).json()["items"])


def changes(disk, code):
    """Each change of what is stored is refused."""
    disk.refused("POST", "/v1/vms", code, disk.body("new"))
    disk.refused("POST", "/v1/vms", code, disk.body("key"), headers=["Idempotency-Key: full-1"])
    for patch in ({"description": "x" * 4000}, {"labels": {"a": "b"}}, {"notes": "n" * 16000},
                  {"memory_mb": 65}, {"name": "renamed"}, {"kernel": disk.kernel}):
        disk.refused("PATCH", "/v1/vms/a", code, patch)


@TAP.test
def full():
    """a full disk: what needs space says no-space, what does not is done, nothing stored is lost"""
    with Disk() as disk:
        for name in ("a", "runs", "trashed"):
            disk.ask("POST", "/v1/vms", disk.body(name, description=f"of {name}"), status=201)
        disk.ask("POST", "/v1/vms/runs:start?wait=60")
        trashed = disk.ask("GET", "/v1/vms/trashed").json()["id"]
        disk.ask("DELETE", "/v1/vms/trashed?wait=60")
        before, pid = disk.stored(), disk.ask("GET", "/v1/vms/runs").json()["pid"]
        equal(len(before), 6, sorted(before))
        disk.fill()
        changes(disk, "no-space")
        equal((disk.stored(), disk.strays()), (before, []), "after the changes")
        equal(disk.names(), ["a", "runs"])
        disk.ask("GET", "/healthz", status=204)

        # The guest goes on, though its console is no longer written down.
        client = WebSocket(disk.daemon, SCHEMA)
        client.subscribe(1, "console", vm=disk.ask("GET", "/v1/vms/runs").json()["id"])
        equal(client.read_message()["type"], "ready")
        client.payload(1, b"@burst 200000\n")
        client.payload(1, b"still-here\n")
        text = b""
        while b"still-here" not in text:
            message = client.read_message()
            if isinstance(message, tuple):
                text += message[2]
                client.control({"type": "credit", "id": 1, "bytes": message.size})
        client.close()

        for kill in (False, True):
            disk.restart(kill)
            equal((disk.names(), disk.names("?deleted=true")), (["a", "runs"], ["trashed"]), "restarted")
            equal((disk.stored(), disk.strays()), (before, []), "after a restart")
            vm = disk.ask("GET", "/v1/vms/runs").json()
            equal((vm["state"], vm["pid"]), ("running", pid), "adopted")
            disk.ask("GET", "/v1/audit")
            disk.ask("GET", "/v1/operations")

        # Space is what a stop and a purge give back, so they must not need it.
        disk.ask("POST", "/v1/vms/runs:stop?wait=60", {"force": True})
        equal(disk.ask("GET", "/v1/vms/runs").json()["state"], "stopped")
        disk.ask("DELETE", "/v1/vms/runs?purge=true&wait=60")
        disk.fill()

        disk.free()
        disk.restart()
        for path, content in disk.stored().items():
            equal(content, before[path], path)
        disk.ask("POST", f"/v1/vms/{trashed}:undelete")
        disk.ask("POST", "/v1/vms", disk.body("key"), status=201, headers=["Idempotency-Key: full-2"])
        disk.ask("PATCH", "/v1/vms/a", {"notes": "n" * 16000})
        disk.ask("POST", "/v1/vms/a:start?wait=60")
        equal(disk.names(), ["a", "key", "trashed"])


@TAP.test
def verbs():
    """start, trash and undelete on a full disk: done or no-space, and whole either way"""
    with Disk() as disk:
        for name in ("a", "b"):
            disk.ask("POST", "/v1/vms", disk.body(name), status=201)
        before = {path.rpartition("/")[2]: text for path, text in disk.stored().items() if "kernel" in path}
        ids = {vm["name"]: vm["id"] for vm in disk.ask("GET", "/v1/vms").json()["items"]}
        for method, target in (("POST", "/v1/vms/a:start?wait=60"), ("DELETE", "/v1/vms/b?wait=60"),
                               ("POST", f"/v1/vms/{ids['b']}:undelete"), ("POST", "/v1/vms/a:stop?wait=60")):
            disk.fill()  # what the one before gave back
            answer = disk.daemon.request(method, target, {"force": True} if "stop" in target else None)
            result = answer.json()
            problem = result if answer.status >= 400 else result.get("error")
            if problem is not None:
                equal(problem["code"], "no-space", f"{method} {target}")
            print(f"# {method} {target.split('?')[0].replace(ids['b'], 'b')}: {problem or 'done'}")
            equal(disk.strays(), [])
            equal(sorted(disk.names() + disk.names("?deleted=true")), ["a", "b"], target)
            equal({text for path, text in disk.stored().items() if "kernel" in path}, set(before.values()))
        disk.free()
        disk.restart()
        equal(sorted(disk.names() + disk.names("?deleted=true")), ["a", "b"])
        equal(disk.strays(), [])


@TAP.test
def read_only():
    """a folder that becomes read-only: changes are forbidden, reading goes on; afterwards all is there"""
    with Disk() as disk:
        for name in ("a", "trashed"):
            disk.ask("POST", "/v1/vms", disk.body(name), status=201)
        disk.ask("DELETE", "/v1/vms/trashed?wait=60")
        before = disk.stored()
        equal(disk.daemon.stop(), 0)
        # What is open for writing keeps a mount from becoming read-only: the logs get mounts of their own.
        logs = [path for path in (os.path.join(disk.data, name) for name in (
            "audit", "idempotency.jsonl", "operations.jsonl", "lock")) if os.path.exists(path)]
        for path in logs:
            mount("--bind", path, path)
        disk.daemon.start()
        mount("-o", "remount,bind,ro", disk.data)
        try:
            changes(disk, "forbidden")
            disk.refused("DELETE", "/v1/vms/a?wait=60", "forbidden")
            disk.refused("POST", "/v1/vms/a:start?wait=60", "forbidden")
            disk.refused("POST", f"/v1/vms/{disk.ask('GET', '/v1/vms?deleted=true').json()['items'][0]['id']}:undelete",
                         "forbidden")
            equal((disk.names(), disk.names("?deleted=true")), (["a"], ["trashed"]))
            equal((disk.stored(), disk.strays()), (before, []))
            vm = disk.ask("GET", "/v1/vms/a").json()
            equal((vm["state"], vm["broken"]), ("stopped", None))
            checks = disk.ask("GET", "/v1/system/doctor").json()["checks"]
            equal([(check["name"], check["status"]) for check in checks if "Read-only" in json.dumps(check)],
                  [("data-folder", "failed")], checks)
            equal(disk.daemon.stop(), 0)
        finally:
            mount("-o", "remount,bind,rw", disk.data)
            for path in logs:
                subprocess.run(["umount", "--lazy", path], check=True)
        disk.daemon.start()
        equal((disk.names(), disk.stored(), disk.strays()), (["a"], before, []))
        disk.ask("PATCH", "/v1/vms/a", {"notes": "n"})
        disk.ask("POST", "/v1/vms/a:start?wait=60")


@TAP.test
def begun_read_only():
    """a daemon on a folder that can only be read does not start, and says why and the way out"""
    with Disk() as disk:
        disk.ask("POST", "/v1/vms", disk.body("a"), status=201)
        before = disk.stored()
        equal(disk.daemon.stop(), 0)
        disk.remount("ro")
        run = subprocess.run(disk.daemon.command(), env=disk.daemon.environment(), capture_output=True,
                             text=True, check=False, stdin=subprocess.DEVNULL)
        assert run.returncode not in (0, -6, -11), run
        for text in (disk.data, "Read-only file system", "writable again"):
            assert text in run.stderr, run
        disk.remount("rw")
        disk.daemon.start()
        equal((disk.names(), disk.stored(), disk.strays()), (["a"], before, []))


if __name__ == "__main__":
    if sys.argv[4:] != [INSIDE]:
        print(f"1..0 # SKIP no mount namespace: {enter_namespace()}")
        sys.exit(0)
    sys.exit(TAP.main())
