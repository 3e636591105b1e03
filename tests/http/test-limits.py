#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each limit of GET /v1/system: up to it things work, and one further they are refused.

    test-limits.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import select
import socket
import struct
import sys

from attacks import HOST
from harness import BINARY, BYTES, TEXT, Daemon, Schema, Skip, Tap, WebSocket, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP, SCHEMA = Tap(), Schema()
LIMITS = {}
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
           "Sec-WebSocket-Version: 13"]


def limit(*flags):
    """Marks the test of the limit that has the function's name, on a daemon with @flags."""
    def mark(function):
        LIMITS[function.__name__] = (flags, function)
        return function
    return mark


def code(answer):
    return answer.json()["code"]


def send(daemon, data):
    connection = daemon.connect()
    connection.send(data.encode() if isinstance(data, str) else data)
    answer = connection.read_answer()
    connection.close()
    return answer


def fill(daemon, value):
    """Opens @value connections; the next is refused. Then lets them go."""
    held = [daemon.connect() for _ in range(value)]
    extra = daemon.connect()
    equal(code(extra.read_answer()), "too-many-connections")
    held[0].send(f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode())
    equal(held[0].read_answer().status, 200)
    for connection in (extra, *held):
        connection.close()


def as_member(daemon):
    """A connection of the user nobody with the group 4242: the kernel says who connected."""
    os.setegid(4242)
    os.seteuid(65534)
    try:
        return daemon.connect()
    finally:
        os.seteuid(0)
        os.setegid(0)


def vm(daemon, name="a", start=False, **members):
    kernel = os.path.join(daemon.folder, "kernel")
    with open(kernel, "wb") as file:
        file.write(b"not really a kernel")
    answer = daemon.request("POST", "/v1/vms", {"name": name, "kernel": kernel, "memory_mb": 64,
                                                "cpu_count": 1, **members})
    equal(answer.status, 201, answer)
    if start:
        equal(daemon.request("POST", f"/v1/vms/{name}:start?wait=60").json()["state"], "done")


@limit("--connections", "8", "--connections-per-user", "8", "--head-timeout", "3600")
def connections(daemon, value):
    equal(value, 8)
    fill(daemon, value)


@limit("--connections-per-user", "6", "--head-timeout", "3600")
def connections_per_user(daemon, value):
    equal(value, 6)
    fill(daemon, value)


@limit()
def requests_per_connection(daemon, value):
    equal(value, 1)
    connection = daemon.connect()
    connection.send(f"GET /healthz HTTP/1.1\r\n{HOST}\r\n".encode() * 10000)
    equal(connection.read_answer().status, 204)
    connection.is_ended()
    equal(connection.buffer, b"")
    connection.close()


@limit("--head-timeout", "1")
def head_seconds(daemon, value):
    equal(value, 1)
    silent, trickling = daemon.connect(), daemon.connect()
    trickling.send(f"GET /v1/vms HTTP/1.1\r\n{HOST}X: ".encode())
    silent.socket.settimeout(0.1)
    while True:
        trickling.send(b"x")
        try:
            equal(silent.socket.recv(1), b"")
            break
        except socket.timeout:
            continue
    trickling.is_ended()
    equal(trickling.buffer, b"")
    silent.close()
    trickling.close()
    # Others go on; one that this machine kept from sending its head for a second is tried again.
    while True:
        try:
            equal(daemon.request("GET", "/v1/vms").status, 200)
            break
        except EOFError:
            continue


@limit("--body-timeout", "1")
def body_seconds(daemon, value):
    equal(value, 1)
    silent, trickling = daemon.connect(), daemon.connect()
    for connection in (silent, trickling):
        connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Length: 1000\r\n\r\n".encode())
    silent.socket.settimeout(0.1)
    while True:
        trickling.send(b" ")
        try:
            equal(silent.socket.recv(1), b"")
            break
        except socket.timeout:
            continue
    trickling.is_ended()
    silent.close()
    trickling.close()


# A second to read a short answer may be too little on a busy machine: 5.
@limit("--answer-timeout", "5")
def answer_seconds(daemon, value):
    equal(value, 5)
    for number in range(60):
        vm(daemon, f"v{number}", notes="x" * 16384)
    stuck = daemon.connect()
    stuck.send(f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode())
    # More than a socket holds: the daemon cannot be done with it. Nothing is read until it has hung up.
    hung_up = select.poll()
    hung_up.register(stuck.socket, select.POLLHUP)
    hung_up.poll()
    stuck.is_ended()
    assert len(stuck.buffer) < 60 * 16384, "all of it came"
    stuck.close()


@limit()
def wait_seconds(daemon, value):
    equal(code(daemon.request("GET", f"/v1/operations/x?wait={value}")), "operation-not-found")
    equal(code(daemon.request("GET", f"/v1/operations/x?wait={value + 1}")), "field-invalid")


@limit()
def head_bytes(daemon, value):
    head = f"GET /healthz HTTP/1.1\r\n{HOST}X: "
    room = value - len(head) - 4
    equal(send(daemon, head + "x" * room + "\r\n\r\n").status, 204)
    equal(code(send(daemon, head + "x" * (room + 1) + "\r\n\r\n")), "request-invalid")


@limit()
def head_fields(daemon, value):
    for count, status in ((value, 204), (value + 1, 400)):
        fields = "".join(f"X-{number}: x\r\n" for number in range(count - 1))
        equal(send(daemon, f"GET /healthz HTTP/1.1\r\n{HOST}{fields}\r\n").status, status, count)


@limit()
def target_bytes(daemon, value):
    equal(daemon.request("GET", "/" + "x" * (value - 1)).status, 404)
    equal(daemon.request("GET", "/" + "x" * value).status, 400)
    equal(daemon.request("GET", "/healthz?x=" + "x" * (value - 11)).status, 422)
    equal(daemon.request("GET", "/healthz?x=" + "x" * (value - 10)).status, 400)


@limit()
def body_bytes(daemon, value):
    body = b'{"frob":"' + b"x" * (value - 11) + b'"}'
    equal(len(body), value)
    equal(code(daemon.request("POST", "/v1/vms", body)), "field-unknown")
    equal(code(daemon.request("POST", "/v1/vms", body + b" ")), "body-too-large")
    for text, wanted in ((body, "field-unknown"), (body + b" ", "body-too-large")):
        connection = daemon.connect()
        connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                        f"Transfer-Encoding: chunked\r\n\r\n{len(text):x}\r\n".encode() + text +
                        b"\r\n0\r\n\r\n")
        equal(code(connection.read_answer()), wanted, "in chunks")
        connection.close()


@limit()
def bodies_bytes(daemon, value):
    largest = 1 << 20
    head = f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n"
    large = f"{head}Content-Length: 65537\r\n\r\n".encode() + b"x" * 65537
    large_in_chunks = f"{chunked}10001\r\n".encode() + b"x" * 65537 + b"\r\n0\r\n\r\n"
    held = [daemon.connect() for _ in range(value // largest)]
    silent = [daemon.connect() for _ in range(100)]
    for connection in silent:
        connection.send(f"{chunked}10000\r\n{{".encode())  # what has not come holds nothing
    for connection in held:
        connection.send(f"{head}Content-Length: {largest}\r\n\r\n".encode())
    while code(answer := send(daemon, large)) == "json-invalid":
        pass  # not all of them have been seen yet
    equal((answer.status, code(answer)), (503, "too-many-connections"))
    answer = send(daemon, large_in_chunks)
    equal((answer.status, code(answer)), (503, "too-many-connections"), "in chunks")
    # What is usual goes on.
    equal(daemon.request("GET", "/v1/vms").status, 200, "what has no body")
    small = b"x" * 65536
    for text in (f"{head}Content-Length: {len(small)}\r\n\r\n".encode() + small,
                 f"{chunked}{len(small):x}\r\n".encode() + small + b"\r\n0\r\n\r\n"):
        equal(code(send(daemon, text)), "json-invalid")
    held.pop().close()
    for text in (large, large_in_chunks):
        while code(send(daemon, text)) != "json-invalid":
            pass
    for connection in held + silent:
        connection.close()
    # A body that was read and parsed counts no more, however long its request waits.
    vm(daemon, start=True, cmdline="ignore-button")
    waiting = [daemon.connect() for _ in range(value // largest + 1)]
    body = (b'{"timeout":3600' + b" " * largest)[:largest - 1] + b"}"
    for connection in waiting:
        connection.send(f"POST /v1/system:stop-vms?wait=60 HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    equal(code(send(daemon, large)), "json-invalid")
    equal(daemon.request("DELETE", "/v1/vms/a?force=true&wait=60").status, 200)
    for connection in waiting:
        connection.close()


@limit()
def request_id_bytes(daemon, value):
    for length, kept in ((value, True), (value + 1, False)):
        name = "x" * length
        answer = daemon.request("GET", "/v1/vms", headers=["X-Request-Id: " + name])
        equal(answer.headers["x-request-id"] == name, kept, length)


@limit()
def json_depth(daemon, value):
    for depth, wanted in ((value, "field-unknown"), (value + 1, "json-invalid")):
        body = b'{"frob":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        equal(code(daemon.request("POST", "/v1/vms", body)), wanted, depth)


@limit()
def json_values(daemon, value):
    # The object and the array are values, too.
    for count, wanted in ((value - 2, "field-unknown"), (value - 1, "json-invalid")):
        body = b'{"frob":[' + b",".join([b"0"] * count) + b"]}"
        equal(code(daemon.request("POST", "/v1/vms", body)), wanted, count)


@limit()
def json_members(daemon, value):
    for count, wanted in ((value, "field-unknown"), (value + 1, "json-invalid")):
        body = {f"m{number}": 0 for number in range(count)}
        equal(code(daemon.request("POST", "/v1/vms", body)), wanted, count)


@limit()
def log_lines(daemon, value):
    equal(code(daemon.request("GET", f"/v1/vms/nobody/logs?lines={value}")), "vm-not-found")
    equal(code(daemon.request("GET", f"/v1/vms/nobody/logs?lines={value + 1}")), "field-invalid")


@limit()
def audit_entries(daemon, value):
    equal(daemon.request("GET", f"/v1/audit?limit={value}").status, 200)
    equal(code(daemon.request("GET", f"/v1/audit?limit={value + 1}")), "field-invalid")


@limit("--connections-per-user", "24")
def streams_per_user(daemon, value):
    equal(value, 12, "half of the connections")
    following = daemon.connect()
    following.send(f"GET /v1/events?follow=true HTTP/1.1\r\n{HOST}\r\n".encode())
    following.read_until(b"\r\n\r\n")
    clients = [WebSocket(daemon, SCHEMA) for _ in range(value - 1)]
    for target, headers in (("/v1/ws", UPGRADE), ("/v1/events?follow=true", [])):
        answer = daemon.request("GET", target, headers=headers)
        equal((answer.status, code(answer)), (503, "too-many-streams"), target)
    equal(daemon.request("GET", "/v1/vms").status, 200)
    following.close()
    while (answer := daemon.request("GET", "/v1/ws", headers=UPGRADE)).status != 101:
        equal(code(answer), "too-many-streams")
    for client in clients:
        client.close()


@limit()
def channels_per_stream(daemon, value):
    client = WebSocket(daemon, SCHEMA)
    for identifier in range(1, value + 1):
        client.subscribe(identifier, "events")
        equal(client.read_control()["type"], "ready")
    client.subscribe(value + 1, "events")
    equal(client.read_control()["code"], "unsupported")
    client.close()


@limit()
def message_bytes(daemon, value):
    text = json.dumps({"type": "ping", "nonce": "x"}).encode()
    client = WebSocket(daemon, SCHEMA)
    client.send(WebSocket.frame(TEXT, text.ljust(value)))
    equal(client.read_control()["type"], "pong")
    client.send(WebSocket.frame(TEXT, text.ljust(value + 1)))
    equal(client.read_close_status(), 1009)
    client.close()


@limit()
def window_bytes(daemon, value):
    vm(daemon, start=True, cmdline="no-credit no-echo")
    client = WebSocket(daemon, SCHEMA)
    client.subscribe(7, "console", "a")
    equal(client.read_control(), {"type": "ready", "id": 7, "credit": value})
    for _ in range(value // 32768):
        client.payload(7, b"x" * 32768)
    client.control({"type": "ping", "nonce": "all"})
    message = client.read_message()
    while not isinstance(message, dict) or message["type"] != "pong":
        message = client.read_message()
    # More than there is credit for; what came back of it is not more than the guest took.
    sequence = client.sequences[7]
    client.send(WebSocket.frame(BINARY, struct.pack("<BBHI", BYTES, 0, 7, sequence) + b"x" * 32768))
    while not isinstance(message, dict) or message["type"] != "error":
        message = client.read_message()
    equal(message["code"], "protocol-error")
    client.close()
    equal(daemon.request("DELETE", "/v1/vms/a?force=true&wait=60").status, 200)


def journal(daemon):
    connection = daemon.connect()
    connection.send(f"GET /v1/events HTTP/1.0\r\n{HOST}\r\n".encode())
    connection.read_until(b"\r\n\r\n")
    while connection.receive():
        pass
    connection.close()
    return connection.buffer.splitlines()


@limit()
def events_queued(daemon, value):
    vm(daemon)
    # Stopping what is stopped is done at once: an operation that began and one that ended.
    count = 0
    while count < value + 50:
        equal(daemon.request("POST", "/v1/vms/a:stop").status, 200)
        count += 2
    kept = journal(daemon)
    equal(len(kept), value)
    assert json.loads(kept[0])["sequence"] > 1, "the first is still there"


@limit()
def events_queued_bytes(daemon, value):
    vm(daemon)
    for number in range(value // 4096 + 20):
        answer = daemon.request("PATCH", "/v1/vms/a", {"description": str(number % 2) * 4096})
        equal(answer.status, 200, answer)
    kept = journal(daemon)
    size = sum(len(line) for line in kept)
    assert value - 8192 < size <= value, (size, value)
    assert json.loads(kept[0])["sequence"] > 1, "the first is still there"


@TAP.test
def all_limits():
    """each limit that the daemon tells: up to it things work, one further they are refused"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        told = daemon.request("GET", "/v1/system").json()["limits"]
    equal(sorted(told), sorted(LIMITS), "limits and their tests")
    for name in told:
        flags, function = LIMITS[name]
        with Daemon(TENBOXD, FAKE_RUNTIME, extra=flags) as daemon:
            value = daemon.request("GET", "/v1/system").json()["limits"][name]
            try:
                function(daemon, value)
            except Exception as problem:
                raise AssertionError(f"{name}, {value}: {problem!r}") from problem
            if not SANITIZED:
                assert daemon.rss_kib() <= 64 * 1024, (name, daemon.rss_kib())


@TAP.test
def members():
    """members of the socket's group cannot take what the daemon's own user needs: connections, room for bodies"""
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    flags = ["--socket-group", "4242", "--connections", "64", "--connections-per-user", "64",
             "--head-timeout", "3600", "--body-timeout", "3600"]
    head = f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
    with Daemon(TENBOXD, FAKE_RUNTIME, extra=flags) as daemon:
        os.chmod(daemon.folder, 0o711)
        held = [as_member(daemon) for _ in range(48)]
        extra = as_member(daemon)
        equal(code(extra.read_answer()), "too-many-connections")
        extra.close()
        own = [daemon.connect() for _ in range(16)]
        equal(own[-1].request("GET", "/v1/vms").status, 200)
        # A quarter of the room for bodies, which is 16 of the largest, for one member.
        for connection in held[:4]:
            connection.send(f"{head}Content-Length: 1048576\r\n\r\n".encode())
        held[4].send(f"{head}Content-Length: 1048576\r\n\r\n".encode())
        equal(code(held[4].read_answer()), "too-many-connections")
        own[0].send(f"{head}Content-Length: 1048576\r\n\r\n".encode() + b"x" * 1048576)
        equal(code(own[0].read_answer()), "json-invalid")
        for connection in held + own:
            connection.close()


@TAP.test
def memory():
    """bodies that never end and answers that nobody reads, on every connection that may be: 64 MiB"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for number in range(60):
            vm(daemon, f"v{number}", notes="x" * 16384)
        equal(daemon.request("GET", "/v1/vms").status, 200)
        before = daemon.rss_kib()
        held = [daemon.connect() for _ in range(240)]
        for connection in held[:120]:
            connection.send(f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode())
        body = b'{"' + b"x" * 1000000
        for connection in held[120:]:
            connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Length: 1048576\r\n\r\n".encode())
        for connection in held[120:]:
            connection.socket.settimeout(0.05)
            try:
                connection.send(body)
            except TimeoutError:
                pass
        equal(daemon.request("GET", "/healthz").status, 204)
        print(f"# {before} KiB before, {daemon.rss_kib()} KiB with all of them")
        if not SANITIZED:
            assert daemon.rss_kib() <= 64 * 1024, daemon.rss_kib()
        for connection in held:
            connection.close()


@TAP.test
def bursts():
    """200 connections at once are all served, none waits for a second of the kernel's back-off"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        request = f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode()
        for _ in range(3):
            sockets = []
            for _ in range(200):
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                client.connect(daemon.socket_path)  # a full backlog would be EAGAIN
                client.send(request)
                sockets.append(client)
            for client in sockets:
                client.setblocking(True)
                data = b""
                while piece := client.recv(65536):
                    data += piece
                assert data.startswith(b"HTTP/1.1 200 "), data
                client.close()


sys.exit(TAP.main())
