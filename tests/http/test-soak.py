#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Twenty clients at once create, start, pause, stop and delete the same few VMs at random, and two
followers read the journal. What must hold: every answer is one that the state of some VM explains, the
journal has no gap and tells no step that a VM cannot make, what it tells is what the list says in the
end, and nothing is left: no process, no descriptor, no folder, no memory.

    test-soak.py TENBOXD FAKE_RUNTIME SANITIZED

Lasts for 30 seconds, with TENBOX_TEST_LONG=1 for 2 minutes. TENBOX_TEST_SEED repeats a run's choices.
"""
import collections
import json
import os
import random
import subprocess
import sys
import threading
import time

from harness import DOCUMENT, Daemon, Schema, Tap, WebSocket, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
LONG = bool(os.environ.get("TENBOX_TEST_LONG"))
SECONDS = 120 if LONG else 30
SEED = int(os.environ.get("TENBOX_TEST_SEED", random.randrange(1 << 32)))
CLIENTS = 20
VMS_MIN, VMS_MAX = 3, 10
TAP, SCHEMA = Tap(), Schema()

# What a follower may see of a VM from one event to the next. A document is told when it is complete:
# a step that takes no time is not told, so each row holds what can be reached by one more step, too.
STEPS = {
    "stopped": {"stopped", "starting", "running", "paused"},
    "starting": {"starting", "running", "paused", "stopping", "stopped", "crashed"},
    "running": {"running", "paused", "stopping", "stopped", "crashed"},
    "paused": {"paused", "running", "stopping", "stopped", "crashed"},
    "stopping": {"stopping", "running", "stopped", "crashed"},
    "crashed": {"crashed", "starting", "running", "stopped"},
}

# Refusals that other clients explain. Everything else fails the test.
EXPLAINED = {"vm-not-found", "vm-exists", "vm-busy", "vm-not-stopped", "vm-not-running", "vm-paused",
             "operation-cancelled",
             "name-ambiguous"}  # of several in the trash, by a name that no other VM has at the moment


class Follower(threading.Thread):
    """Reads the journal to the VM called `last`, whose deletion ends the test."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.client = WebSocket(daemon, SCHEMA)
        self.client.subscribe(1, "events")
        equal(self.client.read_control()["type"], "ready", "the journal")
        self.sequences, self.vms, self.mistakes = [], {}, []
        self.types = collections.Counter()

    def run(self):
        try:
            while self.step():
                pass
        except Exception as problem:  # pylint: disable=broad-except
            self.mistakes.append(f"the journal ended: {problem!r}")

    def step(self):
        message = self.client.read_message()
        if isinstance(message, dict):
            if message["type"] != "credit":
                self.mistakes.append(f"instead of an event: {message}")
                return False
            return True
        identifier, kind, data = message
        equal((identifier, kind), (1, DOCUMENT))
        self.client.control({"type": "credit", "id": 1, "bytes": len(data)}, check=False)
        event = json.loads(data)
        self.types[event["type"]] += 1
        self.sequences.append((event["epoch"], event["sequence"]))
        if event["type"].startswith("vm."):
            return self.tell(event)
        return True

    def tell(self, event):
        vm = event["data"]
        before = self.vms.get(vm["id"])
        if event["type"] == "vm.created":
            if before is not None:
                self.mistakes.append(f"created twice: {vm['id']}")
            self.vms[vm["id"]] = vm
            return True
        if before is None:
            if event["type"] not in ("vm.purged", "vm.trashed"):
                self.mistakes.append(f"{event['type']} of a VM that is not there: {vm['id']}")
            return True
        if vm["state"] not in STEPS[before["state"]]:
            self.mistakes.append(f"{vm['name']} went from {before['state']} to {vm['state']}")
        if event["type"] == "vm.state" and vm["state"] == before["state"]:
            self.mistakes.append(f"{vm['name']}: told twice that it is {vm['state']}")
        # A reboot and the end are told with the document as it is.
        if vm["generation"] < before["generation"] + (event["type"] not in ("vm.rebooted", "vm.deleted")):
            self.mistakes.append(f"{vm['name']}: generation {vm['generation']} told again")
        if event["type"] == "vm.deleted":
            del self.vms[vm["id"]]
            return vm["name"] != "last"
        self.vms[vm["id"]] = vm
        return True


class Client(threading.Thread):
    def __init__(self, daemon, kernel, number, deadline):
        super().__init__(daemon=True)
        self.random = random.Random(SEED + number)
        self.daemon_process, self.kernel, self.deadline = daemon, kernel, deadline
        self.mistakes, self.answers = [], collections.Counter()

    def run(self):
        try:
            while time.monotonic() < self.deadline:
                self.act()
        except Exception as problem:  # pylint: disable=broad-except
            self.mistakes.append(repr(problem))

    def call(self, method, target, body=None):
        answer = self.daemon_process.request(method, target, body)
        problem = None
        if answer.status >= 400:
            problem = answer.json()["code"]
        elif target.startswith("/v1/operations"):
            pass
        elif "operations" in answer.headers.get("location", "") or "kind" in answer.json():
            operation = answer.json()
            if operation.get("state") in ("failed", "cancelled"):
                problem = operation["error"]["code"]
        if problem is not None and problem not in EXPLAINED:
            self.mistakes.append(f"{method} {target}: {problem}: {answer!r}")
        self.answers[problem or "fine"] += 1
        return answer

    def act(self):
        names = [f"vm-{number}" for number in range(VMS_MAX)]
        name = self.random.choice(names)
        # The first few are never deleted: there are always VMS_MIN at least.
        may_delete = names.index(name) >= VMS_MIN
        wait = self.random.choice(["", "?wait=60"])
        kind = self.random.choice(["create", "start", "start", "stop", "stop", "pause", "resume",
                                   "reset", "update", "list", "get", "delete", "cancel"])
        if kind == "create":
            self.call("POST", "/v1/vms", {"name": name, "kernel": self.kernel, "memory_mb": 64,
                                          "cpu_count": 1})
        elif kind == "stop":
            self.call("POST", f"/v1/vms/{name}:stop{wait}",
                      {"force": self.random.random() < 0.7, "timeout": 1})
        elif kind in ("start", "pause", "resume", "reset"):
            self.call("POST", f"/v1/vms/{name}:{kind}{wait}")
        elif kind == "update":
            self.call("PATCH", f"/v1/vms/{name}", {"description": str(self.random.random())})
        elif kind == "list":
            count = len(self.call("GET", "/v1/vms").json()["items"])
            if not VMS_MIN <= count <= VMS_MAX:
                self.mistakes.append(f"{count} VMs are listed")
        elif kind == "get":
            self.call("GET", f"/v1/vms/{name}")
        elif kind == "delete" and may_delete:
            force = self.random.choice(["true", "false"])
            # Few into the trash: it is emptied in the end only, and what it took is not given back at once.
            purge = "false" if self.random.random() < 0.1 else "true"
            self.call("DELETE", f"/v1/vms/{name}?force={force}&purge={purge}&wait=60")
        elif kind == "cancel":
            running = [operation["id"] for operation in self.call("GET", "/v1/operations").json()["items"]
                       if operation["state"] == "running"]
            if running:
                self.call("DELETE", f"/v1/operations/{self.random.choice(running)}")


def runtimes_of(daemon):
    """Processes whose parent is the daemon."""
    found = subprocess.run(["pgrep", "-P", str(daemon.process.pid)], check=False,
                           capture_output=True, text=True)
    return found.stdout.split()


def delete_all(daemon):
    """For good, and what is in the trash, too: it is kept in memory as VMs are."""
    for query in ("", "?deleted=true"):
        for vm in daemon.request("GET", f"/v1/vms{query}").json()["items"]:
            equal(daemon.request("DELETE", f"/v1/vms/{vm['id']}?force=true&purge=true&wait=60").status, 200,
                  f"deleting {vm['name']}")


def turmoil(daemon, kernel, seconds):
    """One time of it. Returns what the clients' answers were and what was done wrong."""
    for number in range(VMS_MIN):
        equal(daemon.request("POST", "/v1/vms", {"name": f"vm-{number}", "kernel": kernel,
                                                 "memory_mb": 64, "cpu_count": 1}).status, 201)
    clients = [Client(daemon, kernel, number, time.monotonic() + seconds) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return (sum((client.answers for client in clients), collections.Counter()),
            [mistake for client in clients for mistake in client.mistakes])


@TAP.test
def soak():
    """twenty clients, ten VMs at most: right answers, a whole journal, nothing left"""
    print(f"# TENBOX_TEST_SEED={SEED}, {SECONDS} s")
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        kernel = os.path.join(daemon.folder, "kernel")
        with open(kernel, "wb") as file:
            file.write(b"not really a kernel")
        # The first turn fills what is filled once: caches, the history of operations, the ring.
        turmoil(daemon, kernel, SECONDS / 3)
        delete_all(daemon)
        descriptors, memory = daemon.descriptor_count(), daemon.rss_kib()

        followers = [Follower(daemon), Follower(daemon)]
        for follower in followers:
            follower.start()
        answers, mistakes = turmoil(daemon, kernel, SECONDS * 2 / 3)
        print(f"# answers: {dict(answers.most_common())}")
        equal(mistakes[:10], [], f"{len(mistakes)} mistakes")
        delete_all(daemon)
        equal(daemon.request("POST", "/v1/vms", {"name": "last", "kernel": kernel}).status, 201)
        delete_all(daemon)
        for follower in followers:
            follower.join()
            follower.client.close()
            print(f"# events: {dict(follower.types.most_common())}")
            equal(follower.mistakes[:10], [], f"{len(follower.mistakes)} mistakes")
            equal(follower.vms, {}, "VMs that the journal says exist")
            first = follower.sequences[0][1]
            equal([sequence for _, sequence in follower.sequences],
                  list(range(first, first + len(follower.sequences))), "sequence numbers")
            equal(len({epoch for epoch, _ in follower.sequences}), 1, "epochs")
        equal(followers[0].sequences, followers[1].sequences, "what two followers heard")

        equal(runtimes_of(daemon), [], "processes left")
        equal([operation for operation in daemon.request("GET", "/v1/operations").json()["items"]
               if operation["state"] == "running"], [], "operations left")
        for folder in ("vms", "trash"):
            equal(os.listdir(os.path.join(daemon.folder, "data", folder)), [], f"{folder}: folders left")
        # The daemon notices that a client has left when its loop comes to it: a request is answered
        # after that, but its own connection is still counted.
        while daemon.descriptor_count() > descriptors:
            daemon.request("GET", "/v1/vms")
        if SANITIZED:
            print("# memory is not compared: the sanitizer keeps what was freed")
        else:
            grown = daemon.rss_kib() - memory
            print(f"# memory: {memory} KiB after the first turn, {grown:+d} KiB after the second")
            assert grown < 4096, f"{grown} KiB more than after the first turn"


sys.exit(TAP.main())
