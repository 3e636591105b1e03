# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon's tests share: TAP, a real tenboxd on a folder of its own, HTTP and WebSocket by hand,
and the schema.

HTTP and WebSocket are spoken byte by byte on purpose: a library would not send what a hostile client
sends. Nothing here sleeps; every wait is for a byte, an end of file or a process, and hangs are the
test runner's to end.
"""
import base64
import copy
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback

import jsonschema
import yaml

SOURCE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Skip(Exception):
    """Raised by a test that cannot run here; says why."""


class Tap:
    """Runs functions as tests: each passes unless it raises."""

    def __init__(self):
        self.tests = []

    def test(self, function):
        self.tests.append(function)
        return function

    def main(self):
        failed = 0
        print(f"1..{len(self.tests)}")
        for number, function in enumerate(self.tests, 1):
            name = (function.__doc__ or function.__name__).strip().split("\n")[0]
            try:
                function()
                print(f"ok {number} - {name}")
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}")
            except Exception:  # pylint: disable=broad-except
                failed += 1
                for line in traceback.format_exc().splitlines():
                    print(f"# {line}")
                print(f"not ok {number} - {name}")
            sys.stdout.flush()
        return 1 if failed else 0


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r:.1000}, wanted {wanted!r:.1000}")


class Schema:
    """tenbox-v1.yaml, made strict: what is not in it must not be in an answer either."""

    def __init__(self):
        self.path = os.path.join(SOURCE_ROOT, "data/openapi/tenbox-v1.yaml")
        with open(self.path, encoding="utf-8") as file:
            self.document = yaml.safe_load(file)
        self.strict = copy.deepcopy(self.document)
        self._close(self.strict["components"]["schemas"])
        self.seen = set()    # (path, method, whether it succeeded)
        self.frames = set()  # (schema, type) of control frames

    def _close(self, node):
        if isinstance(node, dict):
            if "properties" in node and "additionalProperties" not in node:
                node["additionalProperties"] = False
            for child in node.values():
                self._close(child)
        elif isinstance(node, list):
            for child in node:
                self._close(child)

    def resolve(self, node):
        while "$ref" in node:
            target = self.strict
            for step in node["$ref"][2:].split("/"):
                target = target[step]
            node = target
        return node

    def validate(self, value, schema):
        if isinstance(schema, str):
            schema = {"$ref": f"#/components/schemas/{schema}"}
        root = {**schema, "components": self.strict["components"]}
        validator = jsonschema.Draft202012Validator(root, format_checker=jsonschema.FormatChecker())
        errors = [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(value)]
        if errors:
            raise AssertionError(f"{json.dumps(value)[:400]} is not what the schema says: {errors[:4]}")

    def validate_frame(self, value, schema):
        self.validate(value, schema)
        self.frames.add((schema, value["type"]))

    def frame_types(self, schema):
        """The types of the control frames that @schema (WsServerFrame, WsClientFrame) has."""
        return {self.resolve(item)["properties"]["type"]["const"]
                for item in self.strict["components"]["schemas"][schema]["oneOf"]}

    def operations(self):
        for path, item in self.document["paths"].items():
            for method in item:
                if method in ("get", "post", "put", "patch", "delete"):
                    yield path, method

    def check_answer(self, template, method, answer):
        """Whether @answer is one that the schema lists for the operation."""
        operation = self.strict["paths"][template][method.lower()]
        responses = operation["responses"]
        response = self.resolve(responses.get(str(answer.status), responses["default"]))
        for name in response.get("headers", {}):
            if name.lower() not in answer.headers:
                raise AssertionError(f"{method} {template}: no {name} with {answer.status}")
        content_type = answer.headers.get("content-type", "").split(";")[0]
        if "content" not in response:
            equal((content_type, answer.body), ("", b""), f"{method} {template} {answer.status}: a body")
            self.seen.add((template, method.lower(), answer.status < 400))
            return
        if content_type not in response["content"]:
            raise AssertionError(f"{method} {template} {answer.status}: content type {content_type}")
        if content_type.endswith("json"):
            self.validate(answer.json(), response["content"][content_type]["schema"])
        if answer.status >= 400:
            equal(answer.json()["status"], answer.status, "status in the problem")
            equal(answer.json()["request_id"], answer.headers["x-request-id"], "request id")
        self.seen.add((template, method.lower(), answer.status < 400))


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Connection:
    """A connection to the daemon, which serves one request on it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        """Sends what the daemon takes: it may have closed already."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self.receive():
                raise EOFError(f"the daemon closed after {self.buffer[:200]!r}")
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def read_exactly(self, length):
        while len(self.buffer) < length:
            if not self.receive():
                raise EOFError(f"the daemon closed within {length} bytes")
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def read_answer(self, method="GET"):
        status = 100
        while status == 100:
            lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = 0 if method == "HEAD" or status == 101 else int(headers.get("content-length", 0))
        # A document that is written as it comes to be; what never ends is of another type.
        if method != "HEAD" and (headers.get("transfer-encoding"), headers.get("content-type")) == (
                "chunked", "application/json"):
            return Answer(status, headers, self.read_chunks())
        return Answer(status, headers, self.read_exactly(length))

    def read_chunks(self):
        body = bytearray()
        while size := int(self.read_until(b"\r\n"), 16):
            body += self.read_exactly(size)
            self.read_exactly(2)
        self.read_exactly(2)
        return bytes(body)

    def shut_down(self):
        """Says that nothing more is sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the daemon has closed already

    def is_ended(self):
        """Waits for the daemon to close, dropping what it still says."""
        while self.receive():
            pass
        return True

    def request(self, method, target, body=None, headers=(), content_type="application/json"):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
        if body is not None:
            lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self.read_answer(method)


class Daemon:
    """tenboxd on a temporary folder. Use as a context."""

    def __init__(self, program, fake_runtime, folder=None, extra=(), preexec=None, socket_path=None):
        self.program, self.fake_runtime = os.path.abspath(program), os.path.abspath(fake_runtime)
        self.extra, self.preexec = extra, preexec
        self.owns_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="tenbox-http-")
        self.socket_path = socket_path or os.path.join(self.folder, "tenbox.sock")
        self.process = None

    def command(self):
        return [self.program, "--socket", self.socket_path, "--data-folder",
                os.path.join(self.folder, "data"), *self.extra]

    def environment(self):
        environment = {**os.environ, "G_DEBUG": "", "LC_ALL": "C.UTF-8"}
        for name in ("NOTIFY_SOCKET", "CONFIGURATION_DIRECTORY"):
            environment.pop(name, None)
        environment["XDG_CONFIG_HOME"] = os.path.join(self.folder, "config")
        # Memory that was freed shall not count.
        environment["ASAN_OPTIONS"] = "quarantine_size_mb=1"
        environment["TENBOX_RUNTIME"] = self.fake_runtime
        environment["TENBOX_KVM_DEVICE"] = "/dev/null"
        return environment

    def start(self):
        reader, writer = os.pipe()
        self.log = open(os.path.join(self.folder, "daemon.log"), "ab")
        self.process = subprocess.Popen([*self.command(), "--ready-fd", str(writer)],
                                        pass_fds=[writer], env=self.environment(), stderr=self.log,
                                        stdin=subprocess.DEVNULL, preexec_fn=self.preexec)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            ready = pipe.read()
        if ready != b"ready\n":
            self.process.wait()
            raise AssertionError(f"tenboxd did not start: {self.read_log()}")
        return self

    def read_log(self):
        with open(os.path.join(self.folder, "daemon.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            status = self.stop()
            if kind is None:
                equal(status, 0, f"exit status of tenboxd; log: {self.read_log()[-2000:]}")
        log = self.read_log()
        self.log.close()
        if kind is not None:
            for line in log.splitlines()[-120:]:
                print(f"# tenboxd: {line}")
        if self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None:
            bad = re.findall(r".*(?:CRITICAL|runtime error:|ERROR: AddressSanitizer|LeakSanitizer).*", log)
            equal(bad, [], "the daemon's log")

    def connect(self):
        return Connection(self.socket_path)

    def request(self, method, target, body=None, **options):
        connection = self.connect()
        try:
            return connection.request(method, target, body, **options)
        finally:
            connection.close()

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Host:
    """A daemon with helpers around VMs. Use as a context."""

    def __init__(self, daemon):
        self.daemon = daemon

    def __enter__(self):
        self.daemon.start()
        return self

    def __exit__(self, *arguments):
        if arguments[0] is None and self.daemon.process.poll() is None:
            for vm in self.daemon.request("GET", "/v1/vms").json()["items"]:
                self.ask("DELETE", f"/v1/vms/{vm['id']}?force=true&wait=60")
        self.daemon.__exit__(*arguments)

    def ask(self, method, target, body=None):
        answer = self.daemon.request(method, target, body)
        assert answer.status < 300, (method, target, answer)
        return answer.json()

    def act(self, name, verb, body=None):
        return self.ask("POST", f"/v1/vms/{name}:{verb}?wait=60", body)

    def create(self, name, cmdline="", start=False):
        kernel = os.path.join(self.daemon.folder, "kernel")
        with open(kernel, "wb") as file:
            file.write(b"not really a kernel")
        vm = self.ask("POST", "/v1/vms", {"name": name, "kernel": kernel, "memory_mb": 64, "cpu_count": 1,
                                          "cmdline": cmdline})
        if start:
            equal(self.act(name, "start")["state"], "done")
        return vm


BYTES, DOCUMENT = 1, 2
MORE = 1
CLOSE, PING, PONG, TEXT, BINARY = 8, 9, 10, 1, 2


class Payload(tuple):
    """(channel, kind, data) of a message, and how many bytes of credit it took."""

    size = 0


class WebSocket(Connection):
    """A client of /v1/ws. Every control frame that arrives is validated."""

    def __init__(self, daemon, schema, init=True):
        super().__init__(daemon.socket_path)
        self.schema, self.sequences, self.received, self.partial = schema, {}, {}, {}
        key = base64.b64encode(os.urandom(16)).decode()
        answer = self.request("GET", "/v1/ws", headers=[
            "Upgrade: websocket", "Connection: keep-alive, Upgrade", f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13"])
        equal(answer.status, 101, "handshake")
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        equal(answer.headers["sec-websocket-accept"], base64.b64encode(digest).decode(), "accept")
        if init:
            self.control({"type": "init", "version": 1, "extensions": [], "max_frame": 65536,
                          "window": 262144})
            equal(self.read_control()["type"], "init", "first frame")

    @staticmethod
    def frame(opcode, payload=b"", final=True, masked=True):
        head = bytes([(0x80 if final else 0) | opcode])
        mask = 0x80 if masked else 0
        if len(payload) < 126:
            head += bytes([mask | len(payload)])
        elif len(payload) < 65536:
            head += bytes([mask | 126]) + struct.pack(">H", len(payload))
        else:
            head += bytes([mask | 127]) + struct.pack(">Q", len(payload))
        return head + (b"\0\0\0\0" if masked else b"") + payload

    def control(self, value, check=True):
        if check:
            self.schema.validate_frame(value, "WsClientFrame")
        self.send(self.frame(TEXT, json.dumps(value).encode()))

    def payload(self, channel, data, kind=BYTES):
        sequence = self.sequences.get(channel, 0)
        self.sequences[channel] = sequence + 1
        self.send(self.frame(BINARY, struct.pack("<BBHI", kind, 0, channel, sequence) + data))

    def read_frame(self):
        first, second = self.read_exactly(2)
        equal(first & 0x70, 0, "reserved bits")
        equal(second & 0x80, 0, "mask of a server")
        length = second & 0x7f
        if length == 126:
            length = struct.unpack(">H", self.read_exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.read_exactly(8))[0]
        assert length <= 65536, length
        return first & 0x0f, self.read_exactly(length)

    def read_message(self):
        """The next message: a control frame (dict) or (channel, kind, data). Pings are answered."""
        while True:
            opcode, data = self.read_frame()
            if opcode == PING:
                self.send(self.frame(PONG, data))
            elif opcode == TEXT:
                value = json.loads(data)
                self.schema.validate_frame(value, "WsServerFrame")
                return value
            elif opcode == BINARY:
                kind, flags, channel, sequence = struct.unpack("<BBHI", data[:8])
                equal(sequence, self.received.get(channel, 0), "sequence")
                self.received[channel] = sequence + 1
                assert len(data) > 8
                whole = self.partial.pop(channel, b"") + data[8:]
                if flags == MORE and kind == DOCUMENT:
                    self.partial[channel] = whole
                    continue
                equal(flags, 0, "flags")
                payload = Payload((channel, kind, whole))
                payload.size = len(whole)
                return payload
            elif opcode == CLOSE:
                raise EOFError(struct.unpack(">H", data[:2])[0] if data else 1005)

    def read_control(self):
        value = self.read_message()
        assert isinstance(value, dict), f"payload {value!r} instead of a control frame"
        return value

    def read_close_status(self):
        """Waits for the close frame, passing over everything else."""
        while True:
            opcode, data = self.read_frame()
            if opcode == CLOSE:
                return struct.unpack(">H", data[:2])[0] if data else 1005

    def subscribe(self, identifier, channel, vm=None, **options):
        frame = {"type": "subscribe", "id": identifier, "channel": channel}
        if vm is not None:
            frame["vm_id"] = vm
        if options:
            frame["options"] = options
        # The id may have been used before: it counts anew.
        self.sequences.pop(identifier, None)
        self.received.pop(identifier, None)
        self.control(frame)
