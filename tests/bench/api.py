#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon beside libvirtd, on this machine: no VM runs, so no KVM is needed.

Both get the same 100 stopped VMs and a client in the same language. Rounds alternate, so that what
else the machine does falls on both. A table goes to standard error, one line of JSON to standard
output. What is compared:

  list      all 100 VMs over a connection that stays open. libvirt is asked as `virsh list --all` asks
            it, once for the domains and once for the state of each; "names" is its first call alone.
  cli       exec to exit of `tenbox vm ls` and `virsh list --all`
  events    from a change until the last of 50 followers, each with its own connection, has heard of it
  memory    of the idle daemon (PSS)
"""
import argparse
import http.client
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

VM_COUNT = 100
FOLLOWER_COUNT = 50
ROUNDS = 5
HANG_SECONDS = 120


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def proportional_memory_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class TenBox:
    """A daemon of ours on a folder of its own."""
    name = "tenbox"

    def __init__(self, folder, build):
        self.folder = os.path.join(folder, "tenbox")
        os.mkdir(self.folder, 0o700)
        self.socket = os.path.join(self.folder, "tenbox.sock")
        self.cli = [os.path.join(build, "tenbox-cli/tenbox"), "--host", f"unix://{self.socket}",
                    "vm", "ls"]
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.daemon = subprocess.Popen(
                [os.path.join(build, "tenboxd/tenboxd"), "--socket", self.socket, "--data-folder",
                 os.path.join(self.folder, "data")], stdout=log, stderr=log)
        await_socket(self.socket, self.daemon)
        self.connection = UnixConnection(self.socket)
        kernel = os.path.join(self.folder, "kernel")
        with open(kernel, "wb") as file:
            file.write(b"never booted")
        for number in range(VM_COUNT):
            self.request("POST", "/v1/vms", {"name": f"vm-{number}", "kernel": kernel,
                                             "memory_mb": 512, "cpu_count": 1})

    def request(self, method, path, document=None):
        self.connection.request(method, path, document and json.dumps(document),
                                {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {body[:300]!r}")
        return body

    def list(self):
        if len(json.loads(self.request("GET", "/v1/vms"))["items"]) != VM_COUNT:
            raise RuntimeError("not all VMs are listed")

    def follow(self):
        self.followers = selectors.DefaultSelector()
        for _ in range(FOLLOWER_COUNT):
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.socket)
            client.sendall(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while b"\r\n\r\n" not in client.recv(65536):
                pass
            self.followers.register(client, selectors.EVENT_READ)

    def change_heard_by_all(self, round_number):
        mark = f"change {round_number}".encode()
        waiting = {key.fd: b"" for key in self.followers.get_map().values()}
        self.request("PATCH", "/v1/vms/vm-0", {"description": mark.decode()})
        while waiting:
            for key, _ in self.followers.select(HANG_SECONDS):
                data = key.fileobj.recv(65536)
                if not data:
                    raise RuntimeError("a follower was cut off")
                if key.fd in waiting:
                    waiting[key.fd] += data
                    if mark in waiting[key.fd]:
                        del waiting[key.fd]

    def close(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(HANG_SECONDS)


class Libvirt:
    """A libvirtd of an ordinary user: as root it would touch the whole machine."""
    name = "libvirt"
    uri = "qemu:///session"

    def __init__(self, folder):
        self.folder = os.path.join(folder, "libvirt")
        for part in ("", "run", "config/libvirt", "cache", "data"):
            os.makedirs(os.path.join(self.folder, part), 0o700, exist_ok=True)
        environment = {"HOME": self.folder, "XDG_RUNTIME_DIR": f"{self.folder}/run",
                       "XDG_CONFIG_HOME": f"{self.folder}/config",
                       "XDG_CACHE_HOME": f"{self.folder}/cache",
                       "XDG_DATA_HOME": f"{self.folder}/data"}
        os.environ.update(environment)
        user = []
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody:", self.folder], check=True)
            user = ["setpriv", "--reuid", "nobody", "--clear-groups"]
        self.socket = os.path.join(self.folder, "run/libvirt/libvirt-sock")
        with open(os.path.join(folder, "libvirt.log"), "wb") as log:
            self.daemon = subprocess.Popen([*user, "/usr/sbin/libvirtd"], stdout=log, stderr=log,
                                           env={**os.environ, **environment})
        await_socket(self.socket, self.daemon)
        self.uri = f"qemu+unix:///session?socket={self.socket}"
        self.cli = ["virsh", "-c", self.uri, "list", "--all"]
        import libvirt  # pylint: disable=import-outside-toplevel
        self.libvirt = libvirt
        libvirt.virEventRegisterDefaultImpl()
        self.connection = libvirt.open(self.uri)
        for number in range(VM_COUNT):
            self.connection.defineXML(self.domain(f"vm-{number}"))

    @staticmethod
    def domain(name, title=""):
        return (f"<domain type='qemu'><name>{name}</name><title>{title or 'none'}</title>"
                "<memory unit='MiB'>512</memory><vcpu>1</vcpu>"
                "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>")

    def list(self):
        domains = self.connection.listAllDomains()
        if len([(domain.name(), domain.state()) for domain in domains]) != VM_COUNT:
            raise RuntimeError("not all domains are listed")

    def list_names(self):
        for domain in self.connection.listAllDomains():
            domain.name()

    def follow(self):
        self.heard = threading.Semaphore(0)
        threading.Thread(target=self._run_loop, daemon=True).start()
        self.followers = []
        for _ in range(FOLLOWER_COUNT):
            connection = self.libvirt.open(self.uri)
            connection.domainEventRegisterAny(None, self.libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                              lambda *_: self.heard.release(), None)
            self.followers.append(connection)

    def _run_loop(self):
        while True:
            self.libvirt.virEventRunDefaultImpl()

    def change_heard_by_all(self, round_number):
        uuid = self.connection.lookupByName("vm-0").UUIDString()
        xml = self.domain("vm-0", f"change {round_number}")
        self.connection.defineXML(xml.replace("<title>", f"<uuid>{uuid}</uuid><title>"))
        for _ in range(FOLLOWER_COUNT):
            if not self.heard.acquire(timeout=HANG_SECONDS):
                raise RuntimeError("a follower heard nothing")

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(HANG_SECONDS)


def await_socket(path, daemon):
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                return
            except OSError:
                if daemon.poll() is not None:
                    sys.exit(f"{daemon.args[0]} ended with {daemon.returncode}")
        time.sleep(0.05)
    sys.exit(f"{daemon.args[0]} does not listen at {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="the build folder")
    build = os.path.abspath(parser.parse_args().build)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        contenders = [TenBox(folder, build), Libvirt(folder)]
        try:
            results = measure(*contenders)
        finally:
            for contender in contenders:
                contender.close()
    show(results)
    print(json.dumps({"benchmark": "api", "vms": VM_COUNT, "followers": FOLLOWER_COUNT,
                      "rounds": ROUNDS, "contenders": results}))


def measure(tenbox, peer):
    contenders = (tenbox, peer)
    lists = {contender.name: [] for contender in contenders}
    runs = {contender.name: [] for contender in contenders}
    events = {contender.name: [] for contender in contenders}
    names = []
    memory = {c.name: proportional_memory_kib(c.daemon.pid) for c in contenders}
    for contender in contenders:  # the first of each is not measured
        contender.list()
        subprocess.run(contender.cli, check=True, stdout=subprocess.DEVNULL)
    for _ in range(ROUNDS):
        for contender in contenders:
            lists[contender.name] += [timed(contender.list) for _ in range(100)]
        names += [timed(peer.list_names) for _ in range(100)]
        for _ in range(6):
            for contender in contenders:
                runs[contender.name].append(timed(lambda c=contender: subprocess.run(
                    c.cli, check=True, stdout=subprocess.DEVNULL)))
    for contender in contenders:
        contender.follow()
    for number in range(10 * ROUNDS):
        for contender in contenders:
            events[contender.name].append(
                timed(lambda c=contender, n=number: c.change_heard_by_all(n)))
    result = {}
    for contender in contenders:
        times = lists[contender.name]
        result[contender.name] = {
            "list_per_second": round(len(times) / sum(times), 1),
            "list_p50_ms": round(statistics.median(times) * 1000, 3),
            "list_p99_ms": round(percentile(times, 0.99) * 1000, 3),
            "cli_ms": round(statistics.median(runs[contender.name]) * 1000, 2),
            "events_p50_ms": round(statistics.median(events[contender.name]) * 1000, 3),
            "events_p99_ms": round(percentile(events[contender.name], 0.99) * 1000, 3),
            "idle_memory_kib": memory[contender.name],
        }
    result[peer.name]["list_names_p50_ms"] = round(statistics.median(names) * 1000, 3)
    return result


def show(results):
    ours, peer = results["tenbox"], results["libvirt"]
    print(f"\n{'api':<18} {'tenbox':>10} {'libvirt':>10} {'ratio':>8}", file=sys.stderr)
    for key, value in ours.items():
        print(f"{key:<18} {value:>10} {peer[key]:>10} {value / peer[key]:>8.2f}", file=sys.stderr)
    print(f"{'(names only)':<18} {'':>10} {peer['list_names_p50_ms']:>10} "
          f"{ours['list_p50_ms'] / peer['list_names_p50_ms']:>8.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
