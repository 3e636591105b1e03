#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tenboxd keeps about what happens at its socket: the audit log and the metrics.

    test-audit.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import re
import stat
import sys
import tempfile

from attacks import HOST
from harness import Daemon, Schema, Tap, WebSocket, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP, SCHEMA = Tap(), Schema()


def entries(daemon, query="?limit=1000"):
    answer = daemon.request("GET", "/v1/audit" + query)
    equal(answer.status, 200, answer)
    SCHEMA.check_answer("/v1/audit", "GET", answer)
    return answer.json()["items"]


def create(daemon, name, **members):
    kernel = os.path.join(daemon.folder, "kernel")
    with open(kernel, "wb") as file:
        file.write(b"not really a kernel")
    answer = daemon.request("POST", "/v1/vms", {"name": name, "kernel": kernel, "memory_mb": 64,
                                                "cpu_count": 1, **members})
    equal(answer.status, 201, answer)
    return answer.json()


def remove(daemon, name):
    equal(daemon.request("DELETE", f"/v1/vms/{name}?force=true&wait=60").status, 200)


def path(daemon, name="audit.jsonl"):
    return os.path.join(daemon.folder, "data/audit", name)


def read(daemon, name="audit.jsonl"):
    with open(path(daemon, name), "rb") as file:
        return file.read()


@TAP.test
def changes():
    """each request that would change something: who, what, which, how it ended; no secret, no reading"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        vm = create(daemon, "a", description="s3cret-in-a-body", cmdline="token=s3cret")
        for method, target, body, headers in [
                ("POST", "/v1/vms/a:start?wait=60", None, ["X-Request-Id: mine-1"]),
                ("POST", "/v1/vms/nobody:stop", None, ["Authorization: Bearer s3cret"]),
                ("PATCH", "/v1/vms/a", {"frob": "s3cret"}, []),
                ("POST", "/v1/vms/a:stop?wait=60", {"force": True}, []),
                ("GET", "/v1/vms/nobody", None, ["X-Request-Id: reading"]),
                ("GET", "/v1/vms?x=s3cret", None, []),
                ("POST", "/v1/s3cret-in-a-path", {}, []),
                ("PUT", "/v1/vms/a", None, []),
                ("DELETE", "/v1/vms/" + "%c3%bc" * 300, None, [])]:
            daemon.request(method, target, body, headers=headers)
        remove(daemon, "a")
        found = entries(daemon)
        equal([(e["verb"], e["subject"], e["result"], e["status"], e["code"]) for e in found], [
            ("POST /v1/vms", vm["id"], "done", 201, None),
            ("POST /v1/vms/{}:start", "a", "done", 200, None),
            ("POST /v1/vms/{}:stop", "nobody", "failed", 404, "vm-not-found"),
            ("PATCH /v1/vms/{}", "a", "failed", 422, "field-unknown"),
            ("POST /v1/vms/{}:stop", "a", "done", 200, None),
            ("POST", None, "failed", 404, "not-found"),
            ("PUT", None, "failed", 405, "method-not-allowed"),
            ("DELETE /v1/vms/{}", "\u00fc" * 64, "failed", 404, "vm-not-found"),
            ("DELETE /v1/vms/{}", "a", "done", 200, None)])
        equal(found[1]["request_id"], "mine-1")
        for entry in found:
            equal(entry["actor"], {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()})
        text = read(daemon)
        equal([json.loads(line) for line in text.splitlines()], found, "the file")
        assert b"s3cret" not in text, text
        equal(stat.S_IMODE(os.stat(path(daemon)).st_mode), 0o600)
        equal(stat.S_IMODE(os.stat(path(daemon, "")).st_mode), 0o700)


@TAP.test
def clients_that_leave():
    """what was done is not called failed because the client did not stay for the answer"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        vm = create(daemon, "a")
        for number in range(20):
            connection = daemon.connect()
            body = json.dumps({"description": f"number {number}"})
            connection.send(f"PATCH /v1/vms/a HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
            connection.close()
            while daemon.request("GET", "/v1/vms/a").json()["description"] != f"number {number}":
                pass
        connection = daemon.connect()
        connection.send(f"POST /v1/vms/a:start?wait=60 HTTP/1.1\r\n{HOST}X-Request-Id: start\r\n\r\n".encode())
        connection.close()
        while daemon.request("GET", "/v1/vms/a").json()["state"] != "running":
            pass
        found = entries(daemon)
        equal([(e["verb"], e["result"], e["status"], e["code"]) for e in found[1:21]],
              [("PATCH /v1/vms/{}", "done", 200, None)] * 20)
        # It was begun, or done even before the client had left.
        equal([(e["verb"], e["subject"], e["request_id"]) for e in found[21:]],
              [("POST /v1/vms/{}:start", "a", "start")])
        assert found[21]["result"] in ("begun", "done"), found[21]
        operation = daemon.request("GET", f"/v1/operations/{found[21]['operation']}").json()
        equal((operation["kind"], operation["vm_id"]), ("start", vm["id"]))
        remove(daemon, "a")


@TAP.test
def operations():
    """the entry of what begins an operation tells how that ended, or that it still runs"""
    with Daemon(TENBOXD, "/nonexistent/tenbox-runtime") as daemon:
        create(daemon, "a")
        ended = daemon.request("POST", "/v1/vms/a:start?wait=60").json()
        equal(ended["state"], "failed")
        entry = entries(daemon)[-1]
        equal((entry["result"], entry["status"], entry["code"], entry["operation"]),
              ("failed", 200, ended["error"]["code"], ended["id"]))
        remove(daemon, "a")
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        create(daemon, "a")
        begun = daemon.request("POST", "/v1/vms/a:start")
        entry = entries(daemon)[-1]
        equal((entry["result"], entry["status"], entry["code"], entry["operation"]),
              ("begun", 202, None, begun.json()["id"]))
        equal(daemon.request("GET", f"/v1/operations/{begun.json()['id']}?wait=60").json()["state"], "done")
        remove(daemon, "a")


@TAP.test
def consoles():
    """a console that is asked for is in the log: who has one may type into the VM"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        client = WebSocket(daemon, SCHEMA)
        client.subscribe(1, "console", "nobody")
        equal(client.read_control()["code"], "vm-not-found")
        client.subscribe(2, "events")
        equal(client.read_control()["type"], "ready")
        create(daemon, "a")
        equal(daemon.request("POST", "/v1/vms/a:start?wait=60").json()["state"], "done")
        client.subscribe(3, "console", "a", read_only=True)
        client.subscribe(4, "console", "a")
        while (message := client.read_message()) != {"type": "ready", "id": 4, "credit": 262144}:
            assert not isinstance(message, dict) or message["type"] != "close", message
        equal([(e["subject"], e["actor"]["pid"], e["status"], e["result"], e["code"])
               for e in entries(daemon) if e["verb"] == "SUBSCRIBE console"],
              [("nobody", os.getpid(), None, "failed", "vm-not-found"), ("a", os.getpid(), None, "done", None)])
        # A flood of them pushes nothing out.
        for _ in range(300):
            client.subscribe(5, "console", "nobody")
            while not isinstance(message := client.read_message(), dict) or message.get("id") != 5:
                pass
            client.control({"type": "close", "id": 5})
        equal(len([e for e in entries(daemon) if e["verb"] == "SUBSCRIBE console"]), 100)
        client.close()
        remove(daemon, "a")


@TAP.test
def refusals():
    """what is refused at the door is in the log, and a flood of it is a number"""
    with Daemon(TENBOXD, FAKE_RUNTIME, extra=["--connections-per-user", "4"]) as daemon:
        def last():
            return {key: entries(daemon)[-1][key] for key in ("verb", "subject", "result", "status", "code")}

        for headers, code, status in [(["Origin: http://x", "X-Request-Id: bad-1"], "forbidden", 403),
                                      (["Content-Length: 99999999"], "body-too-large", 413),
                                      (["Host: x"], "request-invalid", 400)]:
            equal(daemon.request("GET", "/v1/vms", headers=headers).status, status)
            equal(last(), {"verb": "GET", "subject": None, "result": "refused", "status": status,
                           "code": code})
        equal(entries(daemon)[0]["request_id"], "bad-1")
        held = [daemon.connect() for _ in range(4)]
        extra = daemon.connect()
        equal(extra.read_answer().status, 503)
        for connection in (extra, *held):
            connection.close()
        while daemon.request("GET", "/v1/vms").status == 503:
            pass
        assert ("CONNECTION", "too-many-connections") in {(e["verb"], e["code"]) for e in entries(daemon)}
        for _ in range(300):
            daemon.request("GET", "/v1/vms", headers=["Via: x"])
        for _ in range(10):
            equal(daemon.request("DELETE", "/v1/vms/nobody").status, 404, "what comes to nothing is the same")
        equal(len(entries(daemon)), 100)
        # Changes have their place all the same.
        create(daemon, "a")
        equal(last()["verb"], "POST /v1/vms")
        kept = len(entries(daemon))
        equal(daemon.stop(), 0)
        end = json.loads(read(daemon).splitlines()[kept])
        equal((end["verb"], end["actor"]["uid"], end["result"]), ("REFUSALS", os.getuid(), "refused"))
        assert int(end["subject"].split()[0]) >= 210, end


@TAP.test
def a_flood_of_a_body():
    """a body in chunks that grows too large, or is not framed as it should be: in the log, too"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        connection = daemon.connect()
        connection.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode() +
                        (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17)
        equal(connection.read_answer().json()["code"], "body-too-large")
        connection.close()
        broken = daemon.connect()
        broken.send(f"POST /v1/vms HTTP/1.1\r\n{HOST}X-Request-Id: broken\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "x\r\n".encode())
        broken.is_ended()
        broken.close()
        equal([(e["verb"], e["code"], e["result"]) for e in entries(daemon)],
              [("POST", "body-too-large", "refused"), ("POST", "request-invalid", "refused")])
        equal(entries(daemon)[1]["request_id"], "broken")


@TAP.test
def reading():
    """limit and since; the log goes on in the next daemon; a torn line spoils nothing"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        for number in range(20):
            daemon.request("DELETE", f"/v1/vms/x{number}")
        everything = entries(daemon)
        equal([e["subject"] for e in everything], [f"x{number}" for number in range(20)])
        equal(entries(daemon, "?limit=3"), everything[-3:])
        equal(entries(daemon, f"?since={everything[5]['time']}")[0]["time"], everything[5]["time"])
        equal(entries(daemon, "?since=2999-01-01T00:00:00Z"), [])
        equal(entries(daemon, "?since=2000-01-01T00:00:00Z"), everything)
        # Many at once wait for each other; one that leaves is not in the way.
        many = [daemon.connect() for _ in range(60)]
        for connection in many:
            connection.send(f"GET /v1/audit HTTP/1.1\r\n{HOST}\r\n".encode())
        for connection in many[::2]:
            connection.close()
        for connection in many[1::2]:
            equal(connection.read_answer().json()["items"], everything)
            connection.close()
        daemon.process.kill()
        daemon.process.wait()
        with open(path(daemon), "ab") as file:
            file.write(b'{"time":"2026-01-01T00:00:00Z","torn')
        daemon.start()
        daemon.request("DELETE", "/v1/vms/behind")
        equal(entries(daemon), [*everything, entries(daemon, "?limit=1")[0]])
        equal(entries(daemon, "?limit=1")[0]["subject"], "behind")
        # What somebody else wrote is no entry.
        with open(path(daemon), "ab") as file:
            file.write(b"x" * 1000000 + b"\n[]\n{}\n" + b'{"time":7}\n\n\0\n')
        equal(len(entries(daemon)), 21)


@TAP.test
def rotation():
    """the log is bounded: so many files, so many bytes, the oldest goes, the order stays"""
    with Daemon(TENBOXD, FAKE_RUNTIME,
                extra=["--audit-max-bytes", "65536", "--audit-files", "3"]) as daemon:
        create(daemon, "a")
        for number in range(500):
            daemon.request("PATCH", "/v1/vms/a", {"description": "x"}, headers=[f"X-Request-Id: x{number}"])
        names = sorted(os.listdir(path(daemon, "")))
        equal(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"])
        assert sum(os.path.getsize(path(daemon, name)) for name in names) <= 65536
        for name in names:
            equal(stat.S_IMODE(os.stat(path(daemon, name)).st_mode), 0o600, name)
        kept = [e["request_id"] for e in entries(daemon)]
        assert 100 < len(kept) < 500, len(kept)
        equal(kept, [f"x{number}" for number in range(500 - len(kept), 500)])


@TAP.test
def no_log():
    """where there can be no log the daemon says so and works"""
    with tempfile.TemporaryDirectory(prefix="tenbox-http-") as folder:
        os.makedirs(os.path.join(folder, "data/audit"), mode=0o700)
        os.chmod(os.path.join(folder, "data"), 0o700)
        victim = os.path.join(folder, "victim")
        with open(victim, "wb"):
            pass
        os.symlink(victim, os.path.join(folder, "data/audit/audit.jsonl"))
        with Daemon(TENBOXD, FAKE_RUNTIME, folder=folder) as daemon:
            equal(daemon.request("DELETE", "/v1/vms/x").status, 404)
            answer = daemon.request("GET", "/v1/audit")
            SCHEMA.check_answer("/v1/audit", "GET", answer)
            equal((answer.status, answer.json()["code"]), (501, "unsupported"))
            assert "there is no audit log" in daemon.read_log(), daemon.read_log()
        equal(os.path.getsize(victim), 0, "a link was followed")


def metrics(daemon):
    """{sample with labels: value}; the text is held against the rules of OpenMetrics."""
    answer = daemon.request("GET", "/v1/metrics")
    equal((answer.status, answer.headers["content-type"]),
          (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
    lines = answer.body.decode().split("\n")
    equal(lines[-2:], ["# EOF", ""])
    samples, family, kind, seen = {}, None, None, set()
    for line in lines[:-2]:
        if line.startswith("# TYPE "):
            family, kind = line.split()[2:]
            assert family not in seen, f"{family} comes twice"
            assert kind in ("gauge", "counter", "info"), line
            seen.add(family)
        elif line.startswith("# HELP "):
            equal(line.split()[2], family)
            assert len(line.split()) > 3, line
        else:
            match = re.fullmatch(r'([a-z_]+)((?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})?) ([0-9.]+)', line)
            assert match, line
            equal(match.group(1), family + {"counter": "_total", "info": "_info"}.get(kind, ""), line)
            assert match.group(1) + match.group(2) not in samples, f"{line} comes twice"
            samples[match.group(1) + match.group(2)] = float(match.group(3))
    return samples


@TAP.test
def figures():
    """metrics: the daemon, its VMs, what was refused; asked for at most every five seconds"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        runs, rests = create(daemon, "runs"), create(daemon, "rests")
        equal(daemon.request("POST", "/v1/vms/runs:start?wait=60").json()["state"], "done")
        daemon.request("GET", "/v1/vms", headers=["Origin: x"])
        daemon.request("GET", "/v1/vms/nobody")
        client = WebSocket(daemon, SCHEMA)
        client.subscribe(1, "events")
        equal(client.read_control()["type"], "ready")
        first = metrics(daemon)
        running, resting = (f'{{vm="{vm["id"]}",name="{vm["name"]}"' for vm in (runs, rests))
        for name, value in [
                (f'tenbox_vm_state{running},state="running"}}', 1),
                (f'tenbox_vm_state{resting},state="stopped"}}', 1),
                (f"tenbox_vm_restarts{running}}}", 0), (f"tenbox_vm_vcpus{running}}}", 1),
                (f"tenbox_vm_memory_bytes{running}}}", 64 << 20),
                ('tenboxd_refused_total{code="forbidden"}', 1), ("tenboxd_streams", 1),
                ("tenboxd_channels", 1), ("tenboxd_streams_opened_total", 1), ("tenboxd_overruns_total", 0),
                ("tenboxd_audit_lost_total", 0), ('tenboxd_operations{state="done"}', 1)]:
            equal(first.get(name), value, f"{name} of {first}")
        for name in (f"tenbox_vm_cpu_seconds_total{running}}}", f"tenbox_vm_uptime_seconds{running}}}",
                     "tenboxd_cpu_seconds_total", "tenboxd_resident_bytes", "tenboxd_connections",
                     "tenboxd_connections_accepted_total", "tenboxd_start_time_seconds"):
            assert name in first, (name, first)
        assert f"tenbox_vm_memory_bytes{resting}}}" not in first, "figures of a VM without a process"
        equal([first[f'tenboxd_answers_total{{status="{digit}xx"}}'] for digit in (1, 3, 5)], [1, 0, 0])
        equal(first['tenboxd_answers_total{status="4xx"}'], 2)
        # A VM's name in the text is what it is called; between two rounds everybody gets the same.
        while (second := metrics(daemon)) != first:
            first = second  # a new round began between the two
        client.close()
        for vm in ("runs", "rests"):
            remove(daemon, vm)


sys.exit(TAP.main())
