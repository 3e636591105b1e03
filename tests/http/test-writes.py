#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that change something, made by several clients at once, repeated, or cut off by a daemon that
dies: entity tags, merge patches, idempotency keys, and operations that are remembered.

    test-writes.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import sys

from harness import Daemon, Schema, Skip, Tap, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP, SCHEMA = Tap(), Schema()
VM = "/v1/vms/{vm}"


class Host:
    """A daemon with helpers around VMs."""

    def __init__(self, **options):
        self.daemon = Daemon(TENBOXD, FAKE_RUNTIME, **options)
        self.kernel = os.path.join(self.daemon.folder, "kernel")
        with open(self.kernel, "wb") as file:
            file.write(b"not really a kernel")

    def __enter__(self):
        self.daemon.start()
        return self

    def __exit__(self, *arguments):
        if arguments[0] is None and self.daemon.process.poll() is None:
            for vm in self.items("/v1/vms"):
                self.daemon.request("DELETE", f"/v1/vms/{vm['id']}?force=true&wait=60")
        self.daemon.__exit__(*arguments)

    def items(self, target):
        return self.daemon.request("GET", target).json()["items"]

    def body(self, name, **members):
        return {"name": name, "kernel": self.kernel, "memory_mb": 64, "cpu_count": 1, **members}

    def create(self, name, **members):
        answer = self.daemon.request("POST", "/v1/vms", self.body(name, **members))
        equal(answer.status, 201, answer)
        return answer.json()

    def ask(self, method, target, body=None, status=200, code=None, template=None, **options):
        answer = self.daemon.request(method, target, body, **options)
        equal(answer.status, status, f"{method} {target}: {answer}")
        if template is not None:
            SCHEMA.check_answer(template, method, answer)
        if code is not None:
            equal(answer.json()["code"], code, answer)
        return answer

    def restart(self, kill=False):
        if kill:
            self.daemon.process.kill()
            self.daemon.process.wait()
        else:
            equal(self.daemon.stop(), 0)
        self.daemon.start()


def tag(answer):
    equal(answer.headers["etag"], f'"{answer.json()["etag"]}"', "header and member")
    return answer.headers["etag"]


@TAP.test
def tags():
    """an entity tag names what is stored, not how the VM runs"""
    with Host() as host:
        host.create("a")
        first = tag(host.ask("GET", "/v1/vms/a", template=VM))
        equal(host.items("/v1/vms")[0]["etag"], first.strip('"'))
        host.ask("POST", "/v1/vms/a:start?wait=60")
        equal(tag(host.ask("GET", "/v1/vms/a")), first, "a VM that runs")
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True})
        equal(tag(host.ask("GET", "/v1/vms/a")), first, "a VM that ran")
        host.restart()
        equal(tag(host.ask("GET", "/v1/vms/a")), first, "another daemon")
        seen = {first}
        for patch in ({"description": "x"}, {"labels": {"a": "b"}}, {"memory_mb": 65}, {"name": "b"},
                      {"kernel": host.kernel}, {"name": "a"}):
            name = host.items("/v1/vms")[0]["name"]
            now = tag(host.ask("PATCH", f"/v1/vms/{name}", patch, template=VM))
            assert now not in seen, (patch, now)
            seen.add(now)
            equal(tag(host.ask("GET", f"/v1/vms/{patch.get('name', name)}")), now)
        other = host.create("other")
        assert other["etag"] not in {each.strip('"') for each in seen}

        # 304 for who knows it already.
        for known in (now, f'"x", {now}', f"W/{now}", "*"):
            answer = host.ask("GET", "/v1/vms/a", headers=[f"If-None-Match: {known}"], status=304)
            equal((answer.body, answer.headers["etag"]), (b"", now))
        host.ask("HEAD", "/v1/vms/a", headers=[f"If-None-Match: {now}"], status=304)
        for known in ('"x"', first):
            host.ask("GET", "/v1/vms/a", headers=[f"If-None-Match: {known}"])


@TAP.test
def preconditions():
    """If-Match on changes, deletion and verbs: 412, and nothing was done"""
    with Host() as host:
        host.create("a")
        old = tag(host.ask("GET", "/v1/vms/a"))
        new = tag(host.ask("PATCH", "/v1/vms/a", {"description": "1"}, headers=[f"If-Match: {old}"]))
        for method, target, body in [("PATCH", "/v1/vms/a", {"description": "2"}),
                                     ("DELETE", "/v1/vms/a", None), ("POST", "/v1/vms/a:start", None),
                                     ("POST", "/v1/vms/a:stop", {"force": True}), ("POST", "/v1/vms/a:reset", None)]:
            for wrong in (old, '"x"', f"W/{new}", f'{old},"{"y" * 100}"'):
                answer = host.ask(method, target, body, headers=[f"If-Match: {wrong}"], status=412,
                                  code="precondition-failed")
                equal(answer.json()["field"], "If-Match")
            for malformed in ("x", '"x', 'x"', "", '""x', '"a" "b"', "*, *", '"\u00e4"', "W/", 'w/"x"'):
                if malformed == "":
                    continue
                host.ask(method, target, body, headers=[f"If-Match: {malformed}"], status=400,
                         code="header-invalid")
            host.ask(method, target, body, headers=[f"If-Match: {new}", f"If-Match: {new}"], status=400,
                     code="header-invalid")
        vm = host.ask("GET", "/v1/vms/a").json()
        equal((vm["description"], vm["state"], vm["etag"]), ("1", "stopped", new.strip('"')))
        host.ask("POST", "/v1/vms/a:start?wait=60", headers=[f'If-Match: "x" , {new}'])
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True}, headers=["If-Match: *"])
        host.ask("DELETE", "/v1/vms/a?wait=60", headers=[f"If-Match: {new}"])
        equal(host.items("/v1/vms"), [])


@TAP.test
def race():
    """of many who change one version of a VM at the same time, one does"""
    with Host() as host:
        host.create("a")
        for turn in range(10):
            seen = tag(host.ask("GET", "/v1/vms/a"))
            clients = [host.daemon.connect() for _ in range(8)]
            for number, client in enumerate(clients):
                body = json.dumps({"description": f"{turn} {number}"}).encode()
                client.send(f"PATCH /v1/vms/a HTTP/1.1\r\nHost: x\r\nIf-Match: {seen}\r\n"
                            f"Content-Type: application/merge-patch+json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answers = [client.read_answer() for client in clients]
            for client in clients:
                client.close()
            won = [number for number, answer in enumerate(answers) if answer.status == 200]
            equal(len(won), 1, [answer.status for answer in answers])
            # The others were too late, or there at the very moment when the first was being written.
            lost = {answer.json()["code"] for answer in answers if answer.status != 200}
            assert lost <= {"precondition-failed", "vm-busy"}, lost
            vm = host.ask("GET", "/v1/vms/a").json()
            equal(vm["description"], f"{turn} {won[0]}")
            equal(vm["etag"], answers[won[0]].json()["etag"])


@TAP.test
def merge_patch():
    """merge patches: null, absent members, both content types, and a pointer to what is wrong"""
    with Host() as host:
        host.create("a", description="d", labels={"x": "1", "y": "2"})
        for kind in ("application/merge-patch+json", "application/json", "application/json; charset=utf-8"):
            vm = host.ask("PATCH", "/v1/vms/a", {"description": None, "labels": {"x": None, "z": "3"}},
                          content_type=kind, template=VM).json()
            equal((vm["description"], vm["labels"]), ("", {"y": "2", "z": "3"}))
        host.ask("PATCH", "/v1/vms/a", {}, content_type="text/json", status=400)
        host.ask("PATCH", "/v1/vms/a", {}, content_type="application/json-patch+json", status=400)
        for patch, pointer in [({"colour": 1}, "/colour"), ({"memory_mb": "x"}, "/memory_mb"),
                               ({"memory_mb": 1}, "/memory_mb"), ({"name": None}, "/name"),
                               ({"labels": {"a/b": "\x01"}}, "/labels/a~1b"), ({"cpu_count": 0}, "/cpu_count")]:
            answer = host.ask("PATCH", "/v1/vms/a", patch, status=422, template=VM)
            equal([error["pointer"] for error in answer.json()["errors"]], [pointer])
        answer = host.ask("POST", "/v1/vms", {"name": "b"}, status=422, template="/v1/vms")
        equal(answer.json()["errors"][0]["pointer"], "/kernel")
        # What is wrong elsewhere has no place in the body.
        answer = host.ask("PATCH", "/v1/vms/a?force=true", {"description": "x"}, status=422, template=VM)
        assert "errors" not in answer.json(), answer


@TAP.test
def operations():
    """operations say how far they are, and are remembered when the daemon is killed"""
    with Host() as host:
        vm = host.create("a", cmdline="ignore-button")
        start = host.ask("POST", "/v1/vms/a:start?wait=60", template="/v1/vms/{vm}:start").json()
        equal((start["state"], start["progress"]["stage"]), ("done", "launching"))
        assert start["created_at"] <= start["begun_at"] <= start["ended_at"], start
        # A guest that does not hear: the stop waits for it, and says so.
        stop = host.ask("POST", "/v1/vms/a:stop", {"timeout": 3600}, status=202).json()
        target = f"/v1/operations/{stop['id']}"
        while (document := host.ask("GET", target, template="/v1/operations/{operation}").json())["progress"] is None:
            pass
        equal((document["state"], document["progress"]["stage"]), ("running", "asking-guest"))
        host.restart(kill=True)
        document = host.ask("GET", target, template="/v1/operations/{operation}").json()
        equal((document["state"], document["error"]["code"], document["vm_id"]),
              ("interrupted", "operation-interrupted", vm["id"]))
        assert document["ended_at"] >= document["created_at"], document
        equal(host.ask("GET", f"{target}?wait=60").json(), document, "it has ended")
        equal(host.ask("DELETE", target).json(), document, "cancelled too late")
        equal(host.ask("GET", f"/v1/operations/{start['id']}").json(), start, "what was done before")
        equal([each["id"] for each in host.items("/v1/operations")], [start["id"], stop["id"]])
        # The VM went on, and takes the next one.
        equal(host.ask("GET", "/v1/vms/a").json()["state"], "running")
        equal(host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True}).json()["state"], "done")
        for _ in range(2):
            host.restart()
            equal([each["state"] for each in host.items("/v1/operations")], ["done", "interrupted", "done"])


@TAP.test
def operations_lost():
    """a history that cannot be read or written costs the history only"""
    with Host() as host:
        host.create("a")
        path = os.path.join(host.daemon.folder, "data", "operations.jsonl")
        equal(os.stat(path).st_mode & 0o777, 0o600)
        host.ask("POST", "/v1/vms/a:start?wait=60")
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True})
        equal(host.daemon.stop(), 0)
        with open(path, "ab") as file:
            file.write(b'{"id":"' + os.urandom(64).hex().encode())
        host.daemon.start()
        equal(len(host.items("/v1/operations")), 2)
        equal(host.daemon.stop(), 0)
        os.unlink(path)
        os.mkdir(path)
        host.daemon.start()
        equal(host.items("/v1/operations"), [])
        host.ask("POST", "/v1/vms/a:start?wait=60")
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True})
        equal(len(host.items("/v1/operations")), 2)


def keyed(key):
    return {"headers": [f"Idempotency-Key: {key}"]}


def replayed(answer):
    return answer.headers.get("idempotency-replayed") == "true"


@TAP.test
def keys():
    """a POST that is sent again with its key is done once, and answered the same"""
    with Host() as host:
        first = host.ask("POST", "/v1/vms", host.body("a"), status=201, **keyed("one"))
        assert not replayed(first)
        for _ in range(3):
            again = host.ask("POST", "/v1/vms", host.body("a"), status=201, template="/v1/vms", **keyed("one"))
            assert replayed(again)
            equal(again.body, first.body)
            equal([again.headers[name] for name in ("location", "etag")],
                  [first.headers[name] for name in ("location", "etag")])
        host.ask("POST", "/v1/vms", host.body("a"), status=409, code="vm-exists")
        equal(len(host.items("/v1/vms")), 1)

        # A verb: the operation that it began, as it is now.
        begun = host.ask("POST", "/v1/vms/a:start?wait=60", **keyed("start"))
        again = host.ask("POST", "/v1/vms/a:start", template="/v1/vms/{vm}:start", **keyed("start"))
        equal((again.json(), replayed(again)), (begun.json(), True))
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True}, **keyed("stop"))
        again = host.ask("POST", "/v1/vms/a:start?wait=60", **keyed("start"))
        equal(again.json(), begun.json())
        equal(host.ask("GET", "/v1/vms/a").json()["state"], "stopped", "a second start")
        equal(len(host.items("/v1/operations")), 2)

        # The stop of all VMs, which may join one that is under way: it is that operation for ever.
        host.ask("POST", "/v1/vms/a:start?wait=60")
        for key in ("all-1", "all-2"):
            begun = host.ask("POST", "/v1/system:stop-vms?wait=60", **keyed(key)).json()
            again = host.ask("POST", "/v1/system:stop-vms", template="/v1/system:stop-vms", **keyed(key))
            equal((again.json(), replayed(again), begun["state"]), (begun, True, "done"))
        host.create("deaf", cmdline="ignore-button")
        host.ask("POST", "/v1/vms/deaf:start?wait=60")
        for key in ("all-3", "all-4"):
            host.ask("POST", "/v1/system:stop-vms", {"timeout": 3600}, status=202, **keyed(key))
        ended = host.ask("POST", "/v1/system:stop-vms?wait=60", {"force": True}).json()
        for key in ("all-3", "all-4"):
            again = host.ask("POST", "/v1/system:stop-vms", {"timeout": 3600}, **keyed(key))
            equal((again.json(), replayed(again)), (ended, True))
        host.ask("DELETE", "/v1/vms/deaf?wait=60")

        # A key that is pressed is no request that is done once.
        host.ask("POST", "/v1/vms/a:send-key", {"key": "break"}, status=400, code="header-invalid",
                 **keyed("key"))

        # The same key for something else.
        for target, body in [("/v1/vms", host.body("b")), ("/v1/vms/a:start", None), ("/v1/vms/a:stop", None),
                             ("/v1/vms/a:stop", {"force": False})]:
            answer = host.ask("POST", target, body, status=422, code="idempotency-mismatch", **keyed("one"))
            equal(answer.json()["field"], "Idempotency-Key")
        host.ask("POST", "/v1/vms/a:stop", {"timeout": 5}, status=422, code="idempotency-mismatch",
                 **keyed("stop"))
        # What is refused has changed nothing, and the key with it.
        host.ask("POST", "/v1/vms", host.body("a"), status=409, code="vm-exists", **keyed("two"))
        host.ask("POST", "/v1/vms", {**host.body("c"), "memory_mb": 1}, status=422, **keyed("two"))
        host.ask("POST", "/v1/vms", host.body("c"), status=201, **keyed("two"))
        host.ask("DELETE", "/v1/vms/c?wait=60")
        assert replayed(host.ask("POST", "/v1/vms", host.body("c"), status=201, **keyed("two")))
        equal([vm["name"] for vm in host.items("/v1/vms")], ["a"])
        # No keys.
        for wrong in ("x" * 256, "a b", "\u00e4"):
            answer = host.ask("POST", "/v1/vms/a:start", status=400, headers=[f"Idempotency-Key: {wrong}"])
            assert answer.json()["code"] in ("header-invalid", "request-invalid"), answer
        host.ask("POST", "/v1/vms/a:start", status=400,
                 headers=["Idempotency-Key: x", "Idempotency-Key: x"])
        equal(host.ask("GET", "/v1/vms/a").json()["state"], "stopped")


@TAP.test
def keys_at_once():
    """many clients with one key at the same time: one VM, one operation"""
    with Host() as host:
        def burst(target, body):
            text = json.dumps(body).encode() if body is not None else b""
            clients = [host.daemon.connect() for _ in range(12)]
            for client in clients:
                kind = "Content-Type: application/json\r\n" if text else ""
                client.send(f"POST {target} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {target}\r\n{kind}"
                            f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
            answers = [client.read_answer() for client in clients]
            for client in clients:
                client.close()
            return answers

        answers = burst("/v1/vms", host.body("a"))
        equal({answer.status for answer in answers}, {201})
        equal(len({answer.body for answer in answers}), 1)
        equal(sum(not replayed(answer) for answer in answers), 1)
        answers = burst("/v1/vms/a:start?wait=60", None)
        equal({(answer.status, answer.json()["id"], answer.json()["state"]) for answer in answers},
              {(200, answers[0].json()["id"], "done")})
        equal(len(host.items("/v1/operations")), 1)


@TAP.test
def keys_of_many():
    """who uses many keys loses the own ones, not those of others"""
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    with Host(extra=["--socket-group", "4242"]) as host:
        os.chmod(host.daemon.folder, 0o711)
        host.create("a")
        first = host.ask("POST", "/v1/vms/a:stop", **keyed("mine")).json()
        os.setegid(4242)
        os.seteuid(65534)
        try:
            for number in range(1001):
                host.ask("POST", "/v1/vms/a:stop", **keyed(f"theirs-{number}"))
            assert not replayed(host.ask("POST", "/v1/vms/a:stop", **keyed("theirs-0")))
        finally:
            os.seteuid(0)
            os.setegid(0)
        again = host.ask("POST", "/v1/vms/a:stop", **keyed("mine"))
        equal((again.json()["id"], replayed(again)), (first["id"], True))


@TAP.test
def keys_at_the_end():
    """a daemon that ends answers those who wait for somebody else's request"""
    with Host() as host:
        vms = os.path.join(host.daemon.folder, "data", "vms")
        large = os.path.join(host.daemon.folder, "large")
        with open(large, "wb") as file:
            file.truncate(1 << 30)
        body = json.dumps({**host.body("a"), "kernel": large}).encode()
        clients = [host.daemon.connect() for _ in range(4)]
        for client in clients:
            client.send(f"POST /v1/vms HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Type: application/json"
                        f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            while not os.listdir(vms):
                pass
        host.ask("GET", "/v1/vms")
        equal(host.daemon.stop(), 0)
        for client in clients:
            client.is_ended()
            client.close()


@TAP.test
def keys_withdrawn():
    """the client of a creation leaves, another one with its key waits: the VM is made once"""
    with Host() as host:
        vms = os.path.join(host.daemon.folder, "data", "vms")
        large = os.path.join(host.daemon.folder, "large")
        with open(large, "wb") as file:
            file.truncate(1 << 30)
        body = json.dumps({**host.body("a"), "kernel": large}).encode()
        head = (f"POST /v1/vms HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Type: application/json"
                f"\r\nContent-Length: {len(body)}\r\n\r\n").encode()
        first, second = host.daemon.connect(), host.daemon.connect()
        first.send(head + body)
        while not os.listdir(vms):
            pass
        second.send(head + body)
        # Served behind the second one's head.
        host.ask("GET", "/v1/vms")
        first.close()
        answer = second.read_answer()
        equal(answer.status, 201)
        second.close()
        equal([vm["id"] for vm in host.items("/v1/vms")], [answer.json()["id"]])
        assert replayed(host.ask("POST", "/v1/vms", json.loads(body), status=201, **keyed("k")))


@TAP.test
def keys_restart():
    """keys outlive the daemon, also one that is killed at any moment of a creation"""
    with Host() as host:
        made = host.ask("POST", "/v1/vms", host.body("a"), status=201, **keyed("a"))
        start = host.ask("POST", "/v1/vms/a:start?wait=60", **keyed("start"))
        for kill in (False, True):
            host.restart(kill=kill)
            again = host.ask("POST", "/v1/vms", host.body("a"), status=201, **keyed("a"))
            equal((again.body, again.headers["location"], replayed(again)),
                  (made.body, made.headers["location"], True))
            equal(host.ask("POST", "/v1/vms/a:start", **keyed("start")).json(), start.json())
            host.ask("POST", "/v1/vms", host.body("b"), status=422, code="idempotency-mismatch", **keyed("a"))
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True})

        # The reply is lost with the daemon: what was being made tells whether it was made.
        path = os.path.join(host.daemon.folder, "data", "idempotency.jsonl")
        equal(os.stat(path).st_mode & 0o777, 0o600)
        for turn in range(20):
            name, key = f"vm-{turn}", f"key-{turn}"
            body = json.dumps(host.body(name)).encode()
            connection = host.daemon.connect()
            connection.send((f"POST /v1/vms HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\n"
                             f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode()
                            + body)
            # At some moment: the key is written down before anything else is done.
            while f'"0:{key}"' not in (text := read(path)) and f':{key}"' not in text:
                pass
            for _ in range(turn * 3):
                os.listdir("/proc/self")
            host.restart(kill=True)
            connection.close()
            answer = host.ask("POST", "/v1/vms", host.body(name), status=201, **keyed(key))
            equal([vm["id"] for vm in host.items("/v1/vms") if vm["name"] == name], [answer.json()["id"]])
            host.ask("DELETE", f"/v1/vms/{name}?wait=60")
        equal([vm["name"] for vm in host.items("/v1/vms")], ["a"])


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


@TAP.test
def keys_bounded():
    """a thousand keys are kept, the newest ones, and memory with them"""
    with Host() as host:
        host.create("a")
        host.ask("POST", "/v1/vms/a:stop", **keyed("first"))
        # Until the journal and the history of operations are full, so that what grows is the keys.
        for _ in range(1500):
            host.ask("POST", "/v1/vms/a:stop")
        before = host.daemon.rss_kib()
        for number in range(1100):
            host.ask("POST", "/v1/vms/a:stop", **keyed(f"k{number}"))
        assert replayed(host.ask("POST", "/v1/vms/a:stop", **keyed("k1099")))
        assert replayed(host.ask("POST", "/v1/vms/a:stop", **keyed("k200")))
        assert not replayed(host.ask("POST", "/v1/vms/a:stop", **keyed("first")))
        grown = host.daemon.rss_kib() - before
        print(f"# 1,100 keys: grew by {grown} KiB")
        assert grown < 4 * 1024 * (8 if SANITIZED else 1), grown


sys.exit(TAP.main())
