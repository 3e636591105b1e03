#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The front of tenboxd: what it refuses, how it bounds clients, how it begins and ends.

    test-front.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

from attacks import HOST, ROWS
from harness import Daemon, Schema, Skip, Tap, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP, SCHEMA = Tap(), Schema()



def outcome(connection):
    """What the daemon has to say until it closes: (status, code, request id), or None."""
    connection.is_ended()
    data, connection.buffer = connection.buffer, b""
    connection.close()
    if not data:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    equal(len(body), length, f"more than one answer: {data}")
    if status < 400 or not body:
        return status, None
    problem = json.loads(body)
    SCHEMA.validate(problem, "Problem")
    equal(problem["status"], status)
    assert problem["request_id"].encode() in head, data
    return status, problem["code"]


@TAP.test
def refusals():
    """more than 60 bad requests: each gets its problem or a closed connection, and none is served"""
    rows = {name: row for name, *row in ROWS}
    equal(len(rows), len(ROWS), "two rows of one name")
    assert len(rows) >= 60, len(rows)
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        before = daemon.descriptor_count()
        for name, (request, status, code) in rows.items():
            connection = daemon.connect()
            connection.send(request.encode("latin-1"))
            connection.shut_down()
            got = outcome(connection)
            if code is not None:
                equal(got, (status, code), name)
            elif got is not None:
                # Some libsoups say a word of their own when a body breaks off.
                assert got[0] >= 400 and got[1] is None, f"{name}: {got}"
        equal(request_when_possible(daemon).json()["items"], [], "afterwards")
        equal(request_when_possible(daemon).status, 200)
        assert daemon.descriptor_count() <= before + 4, daemon.descriptor_count()
        print(f"# {len(rows)} rows, {daemon.rss_kib()} KiB")
        if not SANITIZED:
            assert daemon.rss_kib() <= 64 * 1024, daemon.rss_kib()


@TAP.test
def smuggling():
    """what follows a refused request is not served"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for name, request, status, code in ROWS:
            if code is not None:
                connection = daemon.connect()
                connection.send(request.encode("latin-1") + f"GET /v1/system HTTP/1.1\r\n{HOST}\r\n".encode() * 3)
                got = outcome(connection)
                assert got is not None and got[0] >= 400, f"{name}: {got}"


@TAP.test
def byte_by_byte():
    """the same rows in pieces of one byte have the same outcome"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for name, request, status, code in ROWS:
            if len(request) < 300 and code is not None:
                connection = daemon.connect()
                for byte in request.encode("latin-1"):
                    connection.send(bytes([byte]))
                connection.shut_down()
                equal(outcome(connection), (status, code), name)


@TAP.test
def plain_requests():
    """what is plain is served: names of this machine, fields of all sorts, small chunks, a body in pieces"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for host in ["localhost", "LOCALHOST:80", "tenbox", "x_y-1", "127.0.0.1", "127.0.0.1:8080", "[::1]",
                     "[::1]:1", "localhost:0", "localhost:65535", " localhost\t"]:
            connection = daemon.connect()
            connection.send(f"GET /v1/vms HTTP/1.1\r\nHost:{host}\r\nAccept: */*\r\nX:\r\n"
                            "User-Agent: \xfc\r\nAuthorization: Bearer x\r\n\r\n".encode("latin-1"))
            equal(connection.read_answer().status, 200, host)
            connection.close()
        body = b'{"name":1}'
        for pieces in [[body], [bytes([byte]) for byte in body], [body[:3], body[3:]]]:
            connection = daemon.connect()
            connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                            "Transfer-Encoding: CHUNKED\r\n\r\n".encode())
            for piece in pieces:
                connection.send(f"{len(piece):06X}\r\n".encode() + piece + b"\r\n")
            connection.send(b"00\r\n\r\n")
            equal(connection.read_answer().json()["field"], "name", pieces)
            connection.close()
            connection = daemon.connect()
            connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                            f"Expect: 100-Continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            equal(connection.read_until(b"\r\n\r\n").split()[1], b"100")
            for piece in pieces:
                connection.send(piece)
            equal(connection.read_answer().json()["field"], "name", pieces)
            connection.close()


@TAP.test
def early_refusal():
    """a body that is too large is refused before it is sent, and none of it is swallowed"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for head in ["Content-Length: 104857600", "Content-Length: 104857600\r\nExpect: 100-continue",
                     "Content-Length: 5\r\nOrigin: x", "Transfer-Encoding: chunked\r\nVia: x"]:
            connection = daemon.connect()
            connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}{head}\r\n\r\n".encode())
            # The answer is complete while nothing of the body has been sent.
            assert connection.read_answer().status in (403, 413), head
            sent = 0
            try:
                while sent < 1 << 20:
                    sent += connection.socket.send(b"x" * 4096)
            except (BrokenPipeError, ConnectionResetError):
                pass
            # What went out before the daemon had closed is lost with the socket.
            assert sent < 1 << 20, (head, sent)
            connection.close()


@TAP.test
def one_request():
    """a connection serves one request and says so; what is pipelined behind it is not served"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        connection = daemon.connect()
        connection.send(f"GET /v1/vms HTTP/1.1\r\n{HOST}Connection: keep-alive\r\n\r\n".encode() * 3)
        answer = connection.read_answer()
        equal((answer.status, answer.headers["connection"]), (200, "close"))
        connection.is_ended()
        equal(connection.buffer, b"", "behind the answer")
        connection.close()
        # Also not where everything behind the head comes through, for a WebSocket that is none.
        for target, status in (("/v1/vms", 200), ("/v1/ws", 400), ("/nowhere", 404)):
            connection = daemon.connect()
            connection.send((f"GET {target} HTTP/1.1\r\n{HOST}Upgrade: h2c\r\nConnection: Upgrade, keep-alive\r\n"
                             "\r\n" + f"DELETE /v1/vms/x HTTP/1.1\r\n{HOST}\r\n" * 3).encode())
            connection.shut_down()
            equal(outcome(connection)[0], status, target)
        equal(daemon.request("GET", "/v1/audit").json()["items"], [])


@TAP.test
def heads():
    """HEAD, Range, request ids"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        connection = daemon.connect()
        answer = connection.request("HEAD", "/v1/vms")
        equal(answer.status, 200)
        connection.is_ended()
        equal(connection.buffer, b"", "body of a HEAD")
        connection.close()
        whole = daemon.request("GET", "/v1/vms")
        for ranges in ["0-1", ",".join(["0-"] * 2000), "0-99999"]:
            answer = daemon.request("GET", "/v1/vms", headers=["Range: bytes=" + ranges])
            equal((answer.status, answer.body), (200, whole.body), "Range")
        answer = daemon.request("GET", "/v1/vms", headers=["X-Request-Id: my_id-1"])
        equal(answer.headers["x-request-id"], "my_id-1")
        for bad in ["my id", "x" * 65, "<b>", ""]:
            answer = daemon.request("GET", "/v1/vms", headers=["X-Request-Id: " + bad])
            equal(len(answer.headers["x-request-id"]), 16, bad)


@TAP.test
def old_http():
    """HTTP/1.0 is answered and closed"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for head, status in [("Host: x\r\n", 200), ("", 400)]:
            connection = daemon.connect()
            connection.send(f"GET /v1/vms HTTP/1.0\r\n{head}\r\n".encode())
            equal(connection.read_answer().status, status)
            connection.is_ended()
            connection.close()


BODIES = [
    ("10 MiB", b'{"name":"' + b"x" * (10 << 20) + b'"}', 413, "body-too-large"),
    ("1 MiB and one", b" " * (1 << 20) + b"1", 413, "body-too-large"),
    ("1 MiB that is JSON", b'"' + b"x" * ((1 << 20) - 2) + b'"', 400, "json-invalid"),
    ("100,000 brackets", b"[" * 100000, 400, "json-invalid"),
    ("100,000 nested objects", b'{"a":' * 100000 + b"1" + b"}" * 100000, 400, "json-invalid"),
    ("65 levels", b'{"a":' * 65 + b"1" + b"}" * 65, 400, "json-invalid"),
    ("empty", b"", 400, "json-invalid"),
    ("an array", b"[]", 400, "json-invalid"),
    ("a comment", b'/* */ {"name":"a"}', 400, "json-invalid"),
    ("single quotes", b"{'name':'a'}", 400, "json-invalid"),
    ("a key twice", b'{"name":"a","name":"b"}', 400, "json-invalid"),
    ("escaped NUL", b'{"name":"a\\u0000b"}', 400, "json-invalid"),
    ("not UTF-8", b'{"name":"\xff"}', 400, "json-invalid"),
    ("2^63", b'{"memory_mb":9223372036854775808}', 400, "json-invalid"),
    ("octal", b'{"memory_mb":010}', 400, "json-invalid"),
    ("trailing garbage", b'{"name":"a"} x', 400, "json-invalid"),
]


@TAP.test
def bodies():
    """bodies that are too large, too deep or no strict JSON, with a length and in chunks"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for name, body, status, code in BODIES:
            answer = daemon.request("POST", "/v1/vms", body)
            equal((answer.status, answer.json()["code"]), (status, code), f"{name}: {answer}")
            SCHEMA.check_answer("/v1/vms", "POST", answer)
            connection = daemon.connect()
            connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n".encode())
            for start in range(0, len(body), 65536):
                piece = body[start:start + 65536]
                connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")
            answer = connection.read_answer()
            equal((answer.status, answer.json()["code"]), (status, code), f"{name}, in chunks: {answer}")
            connection.close()
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"]:
            answer = daemon.request("POST", "/v1/vms", b"{}", content_type=content_type)
            equal((answer.status, answer.json()["field"]), (400, "Content-Type"), content_type)
        answer = daemon.request("POST", "/v1/vms", b"{}", content_type="application/json; charset=utf-8")
        equal(answer.json()["field"], "name", "with a charset")
        if not SANITIZED:
            assert daemon.rss_kib() < 64 * 1024, daemon.rss_kib()


def request_when_possible(daemon):
    """A request that may be turned away until the daemon has seen others leave."""
    while True:
        answer = daemon.request("GET", "/v1/vms")
        if answer.status != 503:
            return answer
        equal(answer.json()["code"], "too-many-connections")


@TAP.test
def too_many():
    """connections beyond the limit are turned away in words, and room comes back"""
    with Daemon(TENBOXD, FAKE_RUNTIME, extra=["--head-timeout", "3600"]) as daemon:
        before = daemon.descriptor_count()
        connections = [daemon.connect() for _ in range(256)]
        # Whether the request comes before the answer or behind it: nobody is just cut off.
        early, late = daemon.connect(), daemon.connect()
        equal(late.socket.recv(9, socket.MSG_PEEK), b"HTTP/1.1 ")
        for extra in (early, late):
            answer = extra.request("GET", "/v1/vms")
            equal((answer.status, answer.json()["code"]), (503, "too-many-connections"))
            SCHEMA.check_answer("/v1/vms", "GET", answer)
            extra.is_ended()
            extra.close()
        # Those who do not leave are not kept for ever either, and do not count.
        rest = [daemon.connect() for _ in range(40)]
        for extra in rest:
            equal(extra.read_answer().status, 503)
        assert daemon.descriptor_count() <= before + 256 + 20, daemon.descriptor_count()
        for extra in rest:
            extra.close()
        connections[0].send(f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode())
        equal(connections[0].read_answer().status, 200)
        for connection in connections:
            connection.close()
        equal(request_when_possible(daemon).status, 200)
        for _ in range(1000):
            equal(request_when_possible(daemon).status, 200)
        # At most 16 of those who were turned away are kept for a moment, so that they can read why.
        assert daemon.descriptor_count() <= before + 20, daemon.descriptor_count()


@TAP.test
def clients_that_leave():
    """clients that leave in the middle of a request leave nothing behind"""
    pieces = [b"", b"GET /v1", f"GET /v1/vms HTTP/1.1\r\n{HOST}".encode(),
              f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode(),
              f"POST /v1/vms HTTP/1.1\r\n{HOST}Content-Length: 50\r\n\r\nabc".encode(),
              f"POST /v1/vms HTTP/1.1\r\n{HOST}Origin: x\r\nContent-Length: 50\r\n\r\nabc".encode(),
              f"POST /v1/vms HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode()]
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        before = daemon.descriptor_count()
        for piece in pieces * 30:
            connection = daemon.connect()
            connection.send(piece)
            connection.close()
        equal(request_when_possible(daemon).status, 200)
        equal(request_when_possible(daemon).status, 200)
        assert daemon.descriptor_count() <= before + 4, daemon.descriptor_count()


@TAP.test
def no_descriptors():
    """running out of descriptors pauses accepting, it does not end it"""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
    with Daemon(TENBOXD, FAKE_RUNTIME, preexec=limit, extra=["--head-timeout", "3600"]) as daemon:
        connections = [daemon.connect() for _ in range(100)]
        connections[0].send(f"GET /v1/vms HTTP/1.1\r\n{HOST}\r\n".encode())
        equal(connections[0].read_answer().status, 200)
        while "no connection can be accepted for now" not in daemon.read_log():
            pass
        for connection in connections:
            connection.close()
        equal(request_when_possible(daemon).status, 200)


@TAP.test
def socket_file():
    """the socket has mode 0600, a stale one is replaced, a living daemon is named, ours is removed"""
    with tempfile.TemporaryDirectory(prefix="tenbox-http-") as folder:
        first = Daemon(TENBOXD, FAKE_RUNTIME, folder=folder)
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(first.socket_path)
        stale.close()
        with first:
            equal(stat.S_IMODE(os.stat(first.socket_path).st_mode), 0o600, "mode")
            second = subprocess.run(first.command(), env=first.environment(), capture_output=True,
                                    text=True, check=False)
            equal(second.returncode, 4, second.stderr)
            assert first.socket_path in second.stderr, second.stderr
            other = Daemon(TENBOXD, FAKE_RUNTIME, folder=folder, socket_path=os.path.join(folder, "other"))
            third = subprocess.run(other.command(), env=other.environment(), capture_output=True,
                                   text=True, check=False)
            equal(third.returncode, 4, third.stderr)
            assert str(first.process.pid) in third.stderr and first.socket_path in third.stderr, third.stderr
            assert not os.path.exists(other.socket_path)
            equal(first.request("GET", "/v1/vms").status, 200)
            first.process.kill()
            first.process.wait()
            assert os.path.exists(first.socket_path)
        with first:
            equal(first.request("GET", "/v1/vms").status, 200, "after a kill -9")
            first.process.send_signal(signal.SIGHUP)
            equal(first.request("GET", "/v1/vms").status, 200, "after SIGHUP")
            equal(first.stop(), 0)
            assert not os.path.exists(first.socket_path)
        with first:
            os.unlink(first.socket_path)
            with open(first.socket_path, "w", encoding="ascii"):
                pass
            equal(first.stop(), 0)
            assert os.path.exists(first.socket_path), "a file that is not ours was removed"
        refused = subprocess.run(first.command(), env=first.environment(), capture_output=True, text=True,
                                 check=False)
        equal(refused.returncode, 2, refused.stderr)
        assert "is no socket" in refused.stderr


@TAP.test
def long_socket_path():
    """a socket path longer than an address holds"""
    with tempfile.TemporaryDirectory(prefix="tenbox-http-") as folder:
        deep = os.path.join(folder, *["x" * 60] * 4)
        daemon = Daemon(TENBOXD, FAKE_RUNTIME, folder=folder, socket_path=os.path.join(deep, "s"))
        with daemon:
            equal(stat.S_IMODE(os.stat(deep).st_mode), 0o700, "mode of the folder")
            descriptor = os.open(deep, os.O_PATH | os.O_DIRECTORY)
            daemon.socket_path = f"/proc/self/fd/{descriptor}/s"
            equal(daemon.request("GET", "/v1/vms").status, 200)
            os.close(descriptor)


AS_OTHER = """
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode())
data = b""
while piece := client.recv(65536):
    data += piece
head, _, body = data.partition(b"\\r\\n\\r\\n")
print(json.dumps([int(head.split()[1]), json.loads(body)]))
"""


def as_other(daemon, method, target, body=None, groups=()):
    """A request of the user nobody, with @groups besides; (status, document)."""
    text = "" if body is None else json.dumps(body)
    request = (f"{method} {target} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
               f"Content-Length: {len(text)}\r\n\r\n{text}")
    run = subprocess.run([sys.executable, "-c", AS_OTHER, daemon.socket_path, request], user=65534, group=65534,
                         extra_groups=list(groups), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise PermissionError(run.stderr)
    return json.loads(run.stdout)


@TAP.test
def other_users():
    """other users are refused by name, whatever the file's mode is; members of socket_group come in"""
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    group = 4242
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        os.chmod(daemon.folder, 0o711)
        os.chmod(daemon.socket_path, 0o666)
        status, problem = as_other(daemon, "GET", "/v1/vms", groups=[group])
        equal((status, problem["code"]), (403, "forbidden"))
        assert "not user 65534" in problem["detail"], problem
        entry = daemon.request("GET", "/v1/audit?limit=1").json()["items"][0]
        equal((entry["verb"], entry["code"], entry["actor"]["uid"]), ("CONNECTION", "forbidden", 65534))
    with Daemon(TENBOXD, FAKE_RUNTIME, extra=["--socket-group", str(group)]) as daemon:
        os.chmod(daemon.folder, 0o711)
        status = os.stat(daemon.socket_path)
        equal((stat.S_IMODE(status.st_mode), status.st_gid), (0o660, group))
        equal(as_other(daemon, "GET", "/v1/vms", groups=[1, group, 2])[0], 200)
        try:
            as_other(daemon, "GET", "/v1/vms", groups=[1])
            raise AssertionError("the socket's mode lets others in")
        except PermissionError:
            pass
        os.chmod(daemon.socket_path, 0o666)
        equal(as_other(daemon, "GET", "/v1/vms", groups=[1])[0], 403)
        equal(as_other(daemon, "GET", "/v1/vms")[0], 403)
        equal(daemon.request("GET", "/v1/vms").status, 200)


@TAP.test
def path_roots():
    """members of socket_group name files beneath path_roots only, by no link and no dots; owners any"""
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    group = 4242
    with tempfile.TemporaryDirectory(prefix="tenbox-http-") as folder:
        root, outside = os.path.join(folder, "root"), os.path.join(folder, "outside")
        os.makedirs(os.path.join(root, "sub"))
        for name in (os.path.join(root, "kernel"), os.path.join(root, "sub/kernel"), outside):
            with open(name, "wb") as file:
                file.write(b"not really a kernel")
        os.symlink(outside, os.path.join(root, "link"))
        os.symlink("../outside", os.path.join(root, "dots"))
        os.symlink(folder, os.path.join(root, "folder"))
        os.symlink("sub/kernel", os.path.join(root, "inside"))
        os.symlink(f"/proc/self/root{outside}", os.path.join(root, "magic"))
        for roots, rows in [
                ([], [(os.path.join(root, "kernel"), "forbidden")]),
                (["--path-roots", f"/nowhere;{root}/"], [
                    (outside, "forbidden"), (f"{root}/../outside", "forbidden"), (f"{root}x", "forbidden"),
                    (root, "forbidden"), (f"{root}/link", "forbidden"), (f"{root}/dots", "forbidden"),
                    (f"{root}/folder/outside", "forbidden"), (f"{root}/magic", "forbidden"),
                    (f"{root}/missing", "file-unreadable"), (f"{root}/sub", "file-unreadable"),
                    (f"{root}/kernel", None), (f"{root}/inside", None), (f"{root}//sub/./kernel", None)])]:
            with Daemon(TENBOXD, FAKE_RUNTIME, extra=["--socket-group", str(group), *roots]) as daemon:
                os.chmod(daemon.folder, 0o711)
                for number, (kernel, code) in enumerate(rows):
                    status, document = as_other(daemon, "POST", "/v1/vms", {"name": f"v{number}", "kernel": kernel},
                                                groups=[group])
                    if code is None:
                        equal(status, 201, (kernel, document))
                        status, document = as_other(daemon, "PATCH", f"/v1/vms/v{number}", {"initrd": outside},
                                                    groups=[group])
                        equal((document["code"], document["field"]), ("forbidden", "initrd"))
                    else:
                        equal((document["code"], document["field"]), (code, "kernel"), kernel)
                        assert kernel in document["detail"] and "/proc/self" not in document["detail"].replace(
                            kernel, ""), document
                equal(daemon.request("POST", "/v1/vms", {"name": "owner", "kernel": outside}).status, 201)
                equal(daemon.request("GET", "/v1/vms").status, 200)
                links = f"/proc/{daemon.process.pid}/fd"
                equal([name for name in map(os.readlink, (os.path.join(links, fd) for fd in os.listdir(links)))
                       if name.startswith(root)], [], "files that are left open")


@TAP.test
def options():
    """--version, --help, wrong options, readiness for a service manager"""
    run = subprocess.run([TENBOXD, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("tenboxd 0."), run.stdout
    subprocess.run([TENBOXD, "--help"], capture_output=True, check=True)
    for arguments in [["--no-such"], ["extra"], ["--ready-fd", "x"]]:
        equal(subprocess.run([TENBOXD, *arguments], capture_output=True, check=False).returncode, 2)
    with tempfile.TemporaryDirectory(prefix="tenbox-http-") as folder:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(os.path.join(folder, "notify"))
        daemon = Daemon(TENBOXD, FAKE_RUNTIME, folder=folder)
        environment = {**daemon.environment(), "NOTIFY_SOCKET": os.path.join(folder, "notify")}
        process = subprocess.Popen(daemon.command(), env=environment, stderr=subprocess.DEVNULL)
        equal(manager.recv(100), b"READY=1")
        equal(daemon.request("GET", "/v1/vms").status, 200)
        process.send_signal(signal.SIGINT)
        equal(manager.recv(100), b"STOPPING=1")
        equal(process.wait(), 0)


class Activated:
    """tenboxd started as a service manager does it: with a socket that is listened on already."""

    def __init__(self, kind=socket.SOCK_STREAM, listens=True):
        self.daemon = Daemon(TENBOXD, FAKE_RUNTIME)
        self.process = None
        self.unused = self.daemon.socket_path
        self.path = os.path.join(self.daemon.folder, "activated.sock")
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(self.path)
        if listens:
            self.socket.listen(10)

    def start(self, variables, sockets="3<&0"):
        """The shell becomes the daemon, so that it knows the pid; its standard input is the socket."""
        script = f'{variables} exec "$@" {sockets} </dev/null'
        self.process = subprocess.Popen(["sh", "-c", script, "sh", *self.daemon.command()], stdin=self.socket,
                                        env=self.daemon.environment(), stderr=subprocess.PIPE, text=True)
        return self.process

    def request(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.sendall(b"GET /v1/vms HTTP/1.1\r\nHost: tenbox\r\nConnection: close\r\n\r\n")
        return client

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        # One that outlives a failed test keeps the runner's pipe open.
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        shutil.rmtree(self.daemon.folder, ignore_errors=True)


@TAP.test
def activation():
    """a socket that a service manager opened: served, never removed, the next daemon gets it too"""
    with Activated() as activated:
        for variables, sockets in [("LISTEN_FDS=1", "3<&0"),
                                   ("LISTEN_FDS=1 LISTEN_FDNAMES=local", "3<&0"),
                                   ("LISTEN_FDS=2 LISTEN_FDNAMES=later:local", "3</dev/null 4<&0")]:
            # Who connects before there is a daemon waits for it.
            with activated.request() as early, early.makefile("rb") as answer:
                process = activated.start("LISTEN_PID=$$ " + variables, sockets)
                head = answer.read()
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            assert not os.path.exists(activated.unused), "there is a second socket"
            process.send_signal(signal.SIGTERM)
            log = process.communicate()[1]
            equal(process.returncode, 0, log)
            equal("named \"later\"" in log, "later" in variables, log)
            assert os.path.exists(activated.path), "the manager's socket was removed"


@TAP.test
def activation_for_a_group():
    """a service manager's socket that its group may write to lets the group's members in"""
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    with Activated() as activated:
        activated.daemon.socket_path = activated.path
        os.chmod(activated.daemon.folder, 0o711)
        os.chown(activated.path, -1, 4242)
        for mode, status in ((0o660, 200), (0o604, 403)):
            os.chmod(activated.path, mode)
            with activated.request() as early, early.makefile("rb") as answer:
                process = activated.start("LISTEN_PID=$$ LISTEN_FDS=1")
                assert answer.read().startswith(b"HTTP/1.1 200")
            # That is what the daemon has found; what the file becomes later makes no difference.
            os.chmod(activated.path, 0o666)
            equal(as_other(activated.daemon, "GET", "/v1/vms", groups=[4242])[0], status)
            equal(as_other(activated.daemon, "GET", "/v1/vms", groups=[1])[0], 403)
            process.terminate()
            equal(process.wait(), 0)
            process.stderr.close()


@TAP.test
def activation_of_others():
    """variables that are for another process are none of ours"""
    with Activated() as activated:
        reader, writer = os.pipe()
        activated.daemon.extra = ["--ready-fd", "5"]
        process = activated.start("LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=local",
                                  f"3<&0 5>/proc/{os.getpid()}/fd/{writer}")
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            equal(pipe.read(6), b"ready\n")
        os.close(writer)
        assert os.path.exists(activated.unused), "its own socket is missing"
        process.terminate()
        equal(process.wait(), 0)
        process.stderr.close()


@TAP.test
def bad_activation():
    """what a service manager cannot mean is refused by its name"""
    for variables, text in [("LISTEN_PID=x LISTEN_FDS=1", "LISTEN_PID"),
                            ("LISTEN_PID=$$", "LISTEN_FDS"),
                            ("LISTEN_PID=$$ LISTEN_FDS=-1", "LISTEN_FDS"),
                            ("LISTEN_PID=$$ LISTEN_FDS=17", "LISTEN_FDS"),
                            ("LISTEN_PID=$$ LISTEN_FDS=9 LISTEN_FDNAMES=a:b:c:d:e:f:g:h:local",
                             "not open"),
                            ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES")]:
        with Activated() as activated:
            process = activated.start(variables)
            log = process.communicate()[1]
            equal(process.returncode, 2, log)
            assert text in log, log
    for options in [{"kind": socket.SOCK_DGRAM, "listens": False}, {"listens": False}]:
        with Activated(**options) as activated:
            process = activated.start("LISTEN_PID=$$ LISTEN_FDS=1")
            log = process.communicate()[1]
            equal(process.returncode, 2, log)
            assert "inherited" in log, log


@TAP.test
def idle_memory():
    """an idle daemon takes at most 25 MiB"""
    if SANITIZED:
        raise Skip("a sanitizer takes memory of its own")
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        equal(daemon.request("GET", "/v1/vms").status, 200)
        print(f"# {daemon.rss_kib()} KiB")
        assert daemon.rss_kib() <= 25 * 1024, daemon.rss_kib()


sys.exit(TAP.main())
