#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answers of tenboxd that are written as they come to be: /v1/events and logs that are followed; clients
that leave, that do not read, and a daemon that ends meanwhile.

    test-streams.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import socket
import sys

from harness import Answer, Connection, Daemon, Host, Schema, Tap, WebSocket, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP, SCHEMA = Tap(), Schema()
JOURNAL_BYTES, JOURNAL_ENTRIES = 4 * 1024 * 1024, 4096
LOG_BYTES = 1024 * 1024


class Stream(Connection):
    """An answer in chunks that is read as it comes."""

    def __init__(self, daemon, target, headers=(), template=None, version="1.1", window=None):
        self.template = template
        super().__init__(daemon.socket_path)
        if window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        lines = [f"GET {target} HTTP/{version}", "Host: localhost", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.text, self.is_over, self.answer = b"", False, None

    def read_head(self):
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
        self.answer = Answer(int(lines[0].split()[1]), headers, b"")
        if self.answer.status != 200:
            self.answer.body = self.read_exactly(int(headers["content-length"]))
            if self.template:
                SCHEMA.check_answer(self.template, "GET", self.answer)
            return self.answer
        equal(headers["transfer-encoding"], "chunked")
        assert "x-request-id" in headers and headers["cache-control"] == "no-store", headers
        if self.template:
            SCHEMA.seen.add((self.template, "get", True))
        return self.answer

    def read_chunk(self):
        """The next chunk; nothing at the end, which must be one in order."""
        if self.answer is None:
            equal(self.read_head().status, 200, "status")
        size = int(self.read_until(b"\r\n"), 16)
        data = self.read_exactly(size)
        equal(self.read_exactly(2), b"\r\n", "the end of a chunk")
        self.is_over = size == 0
        return data

    def read_text_until(self, mark):
        while mark not in self.text:
            chunk = self.read_chunk()
            if not chunk:
                raise EOFError(f"the answer ended after {self.text[-200:]!r}")
            self.text += chunk
        head, _, self.text = self.text.partition(mark)
        return head

    def read_rest(self):
        while not self.is_over:
            self.text += self.read_chunk()
        rest, self.text = self.text, b""
        return rest

    def event(self):
        """The next entry, JSON lines."""
        event = json.loads(self.read_text_until(b"\n"))
        SCHEMA.validate(event, "Event")
        return event

    def events_to_heartbeat(self):
        found = []
        while not found or found[-1]["type"] != "heartbeat":
            found.append(self.event())
        return found[:-1]


class StreamHost(Host):
    def __init__(self):
        super().__init__(Daemon(TENBOXD, FAKE_RUNTIME))

    def describe(self, name, text):
        self.ask("PATCH", f"/v1/vms/{name}", {"description": text})

    def events(self, query="", **options):
        return Stream(self.daemon, f"/v1/events{query}", template="/v1/events", **options)

    def logs(self, name, query="", **options):
        return Stream(self.daemon, f"/v1/vms/{name}/logs?follow=true{query}", template="/v1/vms/{vm}/logs",
                      **options)


@TAP.test
def replay():
    """/v1/events: what is kept, since a position, by type and by VM"""
    with StreamHost() as host:
        follower = host.events("?follow=true")
        beat = follower.event()
        equal((beat["type"], beat["sequence"]), ("heartbeat", 0))
        first, second = host.create("a"), host.create("b")
        for index in range(3):
            host.describe("a", str(index))
            host.describe("b", str(index))
        lived = [follower.event() for _ in range(8)]
        equal([event["sequence"] for event in lived], list(range(1, 9)))
        epoch = lived[0]["epoch"]

        def ask(query="", **options):
            stream = host.events(query, **options)
            text = stream.read_rest()
            equal(stream.answer.headers["content-type"], "application/jsonl")
            stream.close()
            return [json.loads(line) for line in text.splitlines()]

        equal(ask(), lived, "all that is kept")
        for seen in range(9):
            equal(ask(f"?since={epoch}:{seen}"), lived[seen:], seen)
        equal(ask(headers=[f"Last-Event-ID: {epoch}:6"]), lived[6:], "Last-Event-ID")
        equal(ask("?vm=a"), [e for e in lived if e["vm_id"] == first["id"]], "by name")
        equal(ask(f"?vm={second['id']}"), [e for e in lived if e["vm_id"] == second["id"]], "by id")
        equal(ask("?type=vm.created"), [e for e in lived if e["type"] == "vm.created"])
        equal(ask("?type=operation.changed,vm.created&vm=b"),
              [e for e in lived if e["type"] == "vm.created" and e["vm_id"] == second["id"]])
        equal(ask("?type=vm.*"), lived)
        equal(ask("?type=operation.*"), [])
        for position in (f"{epoch}:9", "11111111-1111-4111-8111-111111111111:3"):
            [resync] = ask(f"?since={position}")
            equal((resync["type"], resync["sequence"], resync["epoch"], resync["vm_id"], resync["data"]),
                  ("resync", 8, epoch, None, None))
        for query, field in [("since=5", "since"), ("since=", "since"), (f"since={epoch}:x", "since"),
                             ("type=", "type"), ("type=VM", "type"), ("type=a,,b", "type"), ("type=.*", "type"),
                             ("follow=yes", "follow"), ("heartbeat=0", "heartbeat"),
                             ("heartbeat=3601", "heartbeat"), ("force=true", "force")]:
            answer = host.daemon.request("GET", f"/v1/events?{query}")
            SCHEMA.check_answer("/v1/events", "GET", answer)
            equal((answer.status, answer.json()["field"]), (422, field), query)
        answer = host.daemon.request("GET", "/v1/events?vm=nobody")
        equal((answer.status, answer.json()["code"]), (404, "vm-not-found"))
        follower.close()


@TAP.test
def following():
    """/v1/events?follow: events as they happen, heartbeats, and server-sent events"""
    with StreamHost() as host:
        host.create("a")
        stream = host.events("?follow=true&heartbeat=1")
        equal(stream.events_to_heartbeat(), [], "from now on")
        host.describe("a", "one")
        while (event := stream.event())["type"] == "heartbeat":
            pass
        equal((event["type"], event["data"]["description"]), ("vm.changed", "one"))
        beat = stream.event()
        equal((beat["type"], beat["sequence"], beat["epoch"]), ("heartbeat", event["sequence"], event["epoch"]))
        other = host.events(f"?follow=true&since={event['epoch']}:0")
        equal([entry["sequence"] for entry in other.events_to_heartbeat()], [1, 2])
        sse = host.events(f"?follow=true&since={event['epoch']}:1", headers=["Accept: text/event-stream"])
        fields = dict(line.split(b": ", 1) for line in sse.read_text_until(b"\n\n").splitlines())
        equal(sse.answer.headers["content-type"], "text/event-stream")
        equal(fields[b"id"].decode(), f"{event['epoch']}:2")
        equal(fields[b"event"], b"vm.changed")
        equal(json.loads(fields[b"data"]), event)
        assert b"event: heartbeat" in sse.read_text_until(b"\n\n")
        # Only what is asked for, but the heartbeat tells where the journal stands.
        narrow = host.events("?follow=true&type=vm.deleted&heartbeat=1")
        equal(narrow.events_to_heartbeat(), [])
        host.describe("a", "two")
        while (entry := narrow.event())["sequence"] != 3:
            equal((entry["type"], entry["sequence"]), ("heartbeat", 2))
        host.ask("DELETE", "/v1/vms/a?wait=60")
        while (entry := narrow.event())["type"] == "heartbeat":
            pass
        equal(entry["type"], "vm.deleted")
        for each in (stream, other, sse, narrow):
            each.close()
        answer = host.daemon.request("HEAD", "/v1/events?follow=true")
        equal((answer.status, answer.headers["content-type"]), (200, "application/jsonl"))


@TAP.test
def old_http():
    """an answer in HTTP/1.0 has no chunks and ends with the connection"""
    with StreamHost() as host:
        host.create("a")
        connection = host.daemon.connect()
        connection.send(b"GET /v1/events HTTP/1.0\r\n\r\n")
        head = connection.read_until(b"\r\n\r\n")
        if b" 200 " in head.split(b"\r\n")[0]:
            assert b"chunked" not in head.lower(), head
            connection.is_ended()
            equal(json.loads(connection.buffer)["type"], "vm.created")
        connection.close()


@TAP.test
def slow_events():
    """/v1/events: a client that does not read costs nothing and is told slow-consumer"""
    with StreamHost() as host:
        host.create("a")
        slow = host.events("?follow=true", window=4096)
        slow.read_head()
        fast = host.events("?follow=true")
        fast.events_to_heartbeat()
        crowd = [host.events("?follow=true", window=4096) for _ in range(20)]
        for each in crowd:
            each.read_head()
        sizes, before = [], 0
        while sum(sizes) < 2 * JOURNAL_BYTES:
            host.describe("a", str(len(sizes) % 10) * 4000)
            sizes.append(len(json.dumps(fast.event())))
            if before == 0 and sum(sizes) >= JOURNAL_BYTES:
                before = host.daemon.rss_kib()
        grown = host.daemon.rss_kib() - before
        print(f"# 21 clients that do not read, {sum(sizes)} bytes of events: grew by {grown} KiB")
        assert grown < 3 * 1024 * (8 if SANITIZED else 1), grown
        # Whoever comes back to read finds what was on its way, and then why there is no more.
        for each in [slow, *crowd]:
            lines = each.read_rest().splitlines()
            each.close()
            entries = [json.loads(line) for line in lines]
            numbers = [entry["sequence"] for entry in entries if entry["type"] == "vm.changed"]
            equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "a gap before the cut")
            equal((entries[-1]["type"], entries[-1]["data"]["code"]), ("closed", "slow-consumer"))
            SCHEMA.validate(entries[-1], "Event")
            assert len(numbers) * max(sizes) < 1024 * 1024, f"{len(numbers)} events were kept for it"
            # It may go on from there: as far as the journal goes back, which is too far by now.
            again = host.events(f"?since={entries[-1]['epoch']}:{numbers[-1]}")
            equal(json.loads(again.read_rest())["type"], "resync")
            again.close()
        host.describe("a", "end")
        equal(fast.event()["data"]["description"], "end")
        fast.close()


@TAP.test
def too_many():
    """streams of one user are counted, whichever door they came by"""
    with StreamHost() as host:
        most = host.ask("GET", "/v1/system")["limits"]["streams_per_user"]
        streams = [host.events("?follow=true") for _ in range(most - 1)]
        for stream in streams:
            stream.read_head()
        socket_client = WebSocket(host.daemon, SCHEMA)
        refused = host.events("?follow=true").read_head()
        equal((refused.status, refused.json()["code"]), (503, "too-many-streams"))
        equal(host.daemon.request("GET", "/v1/vms").status, 200)
        streams.pop().close()
        while host.events().read_head().status != 200:
            pass
        for each in [*streams, socket_client]:
            each.close()


@TAP.test
def leaving():
    """clients that leave in the middle leave nothing"""
    with StreamHost() as host:
        host.create("a", start=True)
        host.daemon.request("GET", "/v1/vms")
        before = host.daemon.descriptor_count()
        for number in range(40):
            streams = [host.events("?follow=true"), host.logs("a"), host.logs("a", "&source=runtime")]
            for stream in streams:
                if number % 2:
                    stream.read_head()
                stream.close()
        while host.daemon.descriptor_count() > before:
            host.daemon.request("GET", "/v1/vms")


@TAP.test
def shutting_down():
    """the daemon's end is told in the stream, and not held up by those who do not read"""
    with StreamHost() as host:
        host.create("a", start=True)
        stream, silent, log = host.events("?follow=true"), host.events("?follow=true"), host.logs("a")
        stream.events_to_heartbeat()
        silent.read_head()
        log.read_head()
        host.daemon.process.terminate()
        last = stream.event()
        equal((last["type"], last["data"]["code"], last["data"]["status"]), ("closed", "shutting-down", 503))
        equal(stream.read_rest(), b"")
        log.read_rest()
        equal(host.daemon.process.wait(), 0)
        for each in (stream, silent, log):
            each.close()
        host.daemon.start()


@TAP.test
def logs():
    """a log that is followed: its end, what comes, over two runs, and its end with the VM"""
    with StreamHost() as host:
        vm = host.create("a", cmdline="burst=100", start=True)
        stream = host.logs("a", "&lines=0")
        stream.read_head()
        equal(stream.answer.headers["content-type"], "text/plain; charset=utf-8")
        console = WebSocket(host.daemon, SCHEMA)
        console.subscribe(1, "console", "a", replay=False)
        equal(console.read_control()["type"], "ready")
        # The head comes before the place in the file is known; from the first line on it is.
        number, text = 0, b""
        while not text:
            console.payload(1, f"try {number}\n".encode())
            number += 1
            text = stream.read_chunk()
        console.payload(1, b"a second line\n")
        while b"a second line" not in text:
            text += stream.read_chunk()
        console.payload(1, "\u00fcber \u20ac and \xff".encode() + b"\xff\n")
        while "\u00fcber \u20ac".encode() not in text:
            text += stream.read_chunk()
        text.decode()
        console.close()
        # What the log had is what comes first; the last lines are whole ones.
        all_of_it = host.logs("a")
        kept = host.daemon.request("GET", "/v1/vms/a/logs").body
        seen = b""
        while len(seen) < len(kept):
            seen += all_of_it.read_chunk()
        equal(seen[:len(kept)], kept)
        few = host.logs("a", "&lines=2")
        equal(few.read_text_until(b"\n").strip() in [line.strip() for line in kept.splitlines()], True)
        # Another run goes into the same log.
        host.ask("POST", "/v1/vms/a:stop?wait=60", {"force": True})
        host.ask("POST", "/v1/vms/a:start?wait=60")
        while seen.count(b"x" * 50) < 2 and len(seen) < len(kept) + 100:
            seen += all_of_it.read_chunk()
        host.ask("DELETE", f"/v1/vms/{vm['id']}?force=true&wait=60")
        stream.read_rest()
        all_of_it.read_rest()
        few.read_rest()
        for each in (stream, all_of_it, few):
            each.close()
        for query, field in [("lines=0", "lines"), ("follow=true&lines=-1", "lines"),
                             ("follow=true&source=guest", "source"), ("follow=1", "follow")]:
            host.create("b") if field == "lines" and "&" not in query else None
            answer = host.daemon.request("GET", f"/v1/vms/b/logs?{query}")
            equal((answer.status, answer.json()["field"]), (422, field), query)
        answer = host.daemon.request("GET", "/v1/vms/nobody/logs?follow=true")
        equal((answer.status, answer.json()["code"]), (404, "vm-not-found"))


@TAP.test
def log_cut():
    """a log that is followed while it is cut: every line once, in order; a slow reader costs nothing"""
    with StreamHost() as host:
        vm = host.create("a", start=True)
        path = os.path.join(host.daemon.folder, "data", "vms", vm["id"], "logs", "console.log")
        console = WebSocket(host.daemon, SCHEMA)
        console.subscribe(1, "console", "a", replay=False)
        equal(console.read_control()["type"], "ready")
        follower = host.logs("a")
        follower.read_head()
        slow = host.logs("a", window=4096)
        slow.read_head()
        before = host.daemon.rss_kib()
        line, expected, text, credit, untaken = 0, 0, b"", 262144, 0
        inode, cuts = None, 0
        # The fake guest echoes what it is told. A line at a time, each is followed before the next block.
        while cuts < 2:
            block = b"".join(b"%08d %s\n" % (line + index, b"." * 54) for index in range(512))
            line += 512
            untaken += len(block)
            console.payload(1, block)
            while untaken > 0:
                message = console.read_message()
                if isinstance(message, dict):
                    equal(message["type"], "credit")
                    untaken -= message["bytes"]
                else:
                    console.control({"type": "credit", "id": 1, "bytes": len(message[2])})
            while expected < line:
                text += follower.read_chunk().replace(b"\r", b"")
                *whole, text = text.split(b"\n")
                for each in whole:
                    if len(each) == 63 and each[:8].isdigit():
                        equal(int(each[:8]), expected, "a line was lost or came twice")
                        expected += 1
            now = os.stat(path).st_ino
            cuts += inode is not None and now != inode
            inode = now
        grown = host.daemon.rss_kib() - before
        print(f"# {line * 64} bytes through the log, {cuts} cuts: grew by {grown} KiB")
        assert line * 64 > LOG_BYTES
        assert grown < 4 * 1024 * (8 if SANITIZED else 1), grown
        for each in (console, follower, slow):
            each.close()


sys.exit(TAP.main())
