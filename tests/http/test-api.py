#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every route of tenboxd, held against data/openapi/tenbox-v1.yaml: what is documented is served, what is
served is documented, answers are what the schema says, and nothing is left behind.

    test-api.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import json
import os
import re
import socket
import sys
import urllib.parse

from harness import SOURCE_ROOT, Daemon, Schema, Tap, equal

TENBOXD, FAKE_RUNTIME = sys.argv[1], sys.argv[2]
TAP, SCHEMA = Tap(), Schema()
NIL = "00000000-0000-4000-8000-000000000000"


class Api:
    """A daemon, and requests whose answers are checked against the schema."""

    def __init__(self):
        self.daemon = Daemon(TENBOXD, FAKE_RUNTIME)

    def __enter__(self):
        self.daemon.start()
        self.kernel = self.file("kernel", b"not really a kernel")
        self.initrd = self.file("initrd", b"not really an initrd")
        return self

    def __exit__(self, *arguments):
        if arguments[0] is None:
            self.delete_all()
        self.daemon.__exit__(*arguments)

    def file(self, name, content):
        path = os.path.join(self.daemon.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def call(self, method, template, *parameters, body=None, status=None, query="", **options):
        target = template
        for parameter in parameters:
            start, end = target.index("{"), target.index("}")
            target = target[:start] + urllib.parse.quote(parameter, safe="") + target[end + 1:]
        answer = self.daemon.request(method, target + query, body, **options)
        SCHEMA.check_answer(template, method, answer)
        if status is not None:
            equal(answer.status, status, f"{method} {target}{query} {body}: {answer}")
        return answer

    def refused(self, status, code, field, method, template, *parameters, **options):
        answer = self.call(method, template, *parameters, status=status, **options)
        problem = answer.json()
        equal((problem["code"], problem.get("field")), (code, field), answer)
        return problem

    def create(self, name, **members):
        body = {"name": name, "kernel": self.kernel, "memory_mb": 64, "cpu_count": 1, **members}
        SCHEMA.validate(body, "VmCreate")
        answer = self.call("POST", "/v1/vms", body=body, status=201)
        vm = answer.json()
        equal(answer.headers["location"], "/v1/vms/" + vm["id"])
        return vm

    def act(self, name, verb, state="done", body=None):
        """Begins @verb and waits for its end; returns the operation."""
        answer = self.call("POST", "/v1/vms/{vm}:" + verb, name, body=body, query="?wait=60", status=200)
        operation = answer.json()
        equal((operation["state"], operation["kind"]), (state, verb), operation)
        equal(answer.headers["location"], "/v1/operations/" + operation["id"])
        return operation

    def hold(self, request, body=None):
        """Sends a request whose answer will take a while."""
        connection = self.daemon.connect()
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{request} HTTP/1.1\r\nHost: x\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        connection.send(head.encode() + b"\r\n" + text)
        return connection

    def get(self, name):
        return self.call("GET", "/v1/vms/{vm}", name, status=200).json()

    def items(self):
        return self.call("GET", "/v1/vms", status=200).json()["items"]

    def delete_all(self):
        for vm in self.items():
            self.call("DELETE", "/v1/vms/{vm}", vm["id"], query="?force=true&wait=60", status=200)
        folder = os.path.join(self.daemon.folder, "data", "vms")
        equal(os.listdir(folder) if os.path.isdir(folder) else [], [], "left behind")


@TAP.test
def documented_is_served():
    """every path and method of the schema is routed, and no other method"""
    with Api() as api:
        methods = {}
        for template, method in SCHEMA.operations():
            methods.setdefault(template, set()).add(method.upper())
        for template, known in methods.items():
            target = template.replace("{vm}", "nobody").replace("{operation}", NIL)
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"]:
                answer = api.daemon.request(method, target, {} if method in ("POST", "PATCH") else None)
                code = answer.json().get("code") if answer.status >= 400 else None
                if method in known:
                    assert code not in ("not-found", "method-not-allowed"), (method, target, answer)
                    SCHEMA.check_answer(template, method, answer)
                else:
                    equal((answer.status, code), (405, "method-not-allowed"), f"{method} {target}")
                    SCHEMA.validate(answer.json(), "Problem")
                    allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
                    equal(allowed, known, f"Allow of {target}")


def routes():
    """The daemon's route table: (method, path with {} for parameters) → (query parameters, body)."""
    with open(os.path.join(SOURCE_ROOT, "tenboxd/http-router.c"), encoding="utf-8") as file:
        table = file.read().partition("static const Route routes[] = {")[2].partition("\n};")[0]
    rows = re.findall(r'\{\s*"([A-Z]+)",\s*"([^"]+)",\s*\w+,\s*([^,]+),\s*TBD_BODY_(\w+),\s*\w+\s*\}', table)
    equal(len(rows), table.count('", "/'), "rows understood")
    return {(method, path): (set(re.findall(r"TBD_QUERY_(\w+)", query)), body)
            for method, path, query, body in rows}


@TAP.test
def served_is_documented():
    """the route table and the schema have the same paths, methods, query parameters and bodies"""
    documented = {}
    for template, method in SCHEMA.operations():
        item = SCHEMA.document["paths"][template]
        operation = item[method]
        parameters = [SCHEMA.resolve(p) for p in item.get("parameters", []) + operation.get("parameters", [])]
        query = {p["name"].upper() for p in parameters if p["in"] == "query"}
        body = SCHEMA.resolve(operation["requestBody"]) if "requestBody" in operation else None
        kind = "NONE" if body is None else "OPTIONAL" if not body.get("required") else "REQUIRED"
        if body and "application/merge-patch+json" in body["content"]:
            kind = "PATCH"
        documented[method.upper(), re.sub(r"\{\w+\}", "{}", template)] = (query, kind)
    served = routes()
    equal(sorted(served.keys() - documented.keys()), [], "served but not documented")
    equal(sorted(documented.keys() - served.keys()), [], "documented but not served")
    for key, value in served.items():
        equal(value, documented[key], f"query parameters and body of {key}")


@TAP.test
def system():
    """the system, the doctor, the schema itself"""
    with Api() as api:
        system_document = api.call("GET", "/v1/system", status=200).json()
        equal(system_document["pid"], api.daemon.process.pid)
        equal(system_document["vm_count"], {"total": 0, "running": 0})
        doctor = api.call("GET", "/v1/system/doctor", status=200).json()
        assert doctor["checks"], doctor
        answer = api.call("GET", "/v1/openapi.yaml", status=200)
        with open(SCHEMA.path, "rb") as file:
            equal(answer.body == file.read(), True, "the schema served")
        equal(api.call("GET", "/v1/openapi.json", status=200).json(), SCHEMA.document)
        extensions = system_document["extensions"]
        equal(len(extensions), len(set(extensions)), extensions)
        assert {"health", "limits", "configuration", "openapi-json"} <= set(extensions), extensions


@TAP.test
def audit_and_metrics():
    """the audit log and the metrics (test-audit.py looks closer)"""
    with Api() as api:
        vm = api.create("a")
        entries = api.call("GET", "/v1/audit", query="?limit=1", status=200).json()["items"]
        equal([(entry["verb"], entry["subject"]) for entry in entries], [("POST /v1/vms", vm["id"])])
        for query, field in [("?limit=0", "limit"), ("?limit=1001", "limit"), ("?since=yesterday", "since")]:
            api.refused(422, "field-invalid", field, "GET", "/v1/audit", query=query)
        answer = api.call("GET", "/v1/metrics", status=200)
        assert answer.body.endswith(b"# EOF\n"), answer


@TAP.test
def configuration():
    """the knobs in force are shown, and nothing over the socket changes them"""
    with Api() as api:
        shown = api.call("GET", "/v1/system", status=200).json()["configuration"]
        equal(shown["file"], os.path.join(api.daemon.folder, "config/tenbox/tenboxd.conf"))
        equal(shown["values"]["socket"], api.daemon.socket_path)
        equal(shown["values"]["data_folder"], os.path.join(api.daemon.folder, "data"))
        equal(shown["values"]["head_timeout"], 10)
        for method in ("PUT", "PATCH", "POST"):
            equal(api.daemon.request(method, "/v1/system", {"configuration": {}}).status, 405)


@TAP.test
def health():
    """/healthz and /readyz: 204 without a body; while the daemon ends it is alive and not ready"""
    with Api() as api:
        for template in ("/healthz", "/readyz"):
            answer = api.call("GET", template, status=204)
            equal(answer.headers.get("content-length", "0"), "0")
            equal(api.daemon.request("HEAD", template).status, 204)
        # A request under way holds the end up. Connections that were made before it are still served.
        held = api.daemon.connect()
        held.send(b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        alive, ready = api.daemon.connect(), api.daemon.connect()
        # The daemon has seen both when it answers a later one.
        equal(api.daemon.request("GET", "/healthz").status, 204)
        api.daemon.process.terminate()
        while os.path.exists(api.daemon.socket_path):
            pass
        answer = alive.request("GET", "/healthz")
        SCHEMA.check_answer("/healthz", "GET", answer)
        equal(answer.status, 204)
        answer = ready.request("GET", "/readyz")
        SCHEMA.check_answer("/readyz", "GET", answer)
        equal((answer.status, answer.json()["code"]), (503, "shutting-down"))
        for connection in (held, alive, ready):
            connection.close()
        equal(api.daemon.process.wait(), 0)
        api.daemon.start()


@TAP.test
def create():
    """creating: the answer, the list, names, defaults, what is kept"""
    with Api() as api:
        equal(api.items(), [])
        vm = api.create("zebra", initrd=api.initrd, description="die \u00dcbung", cmdline="quiet")
        equal((vm["name"], vm["state"], vm["memory_mb"], vm["cmdline"], vm["description"], vm["kernel"],
               vm["initrd"], vm["pid"]),
              ("zebra", "stopped", 64, "quiet", "die \u00dcbung", "kernel", "initrd", None))
        other = api.create("ant")
        equal(other["initrd"], None)
        equal([item["name"] for item in api.items()], ["ant", "zebra"])
        equal(api.get("zebra"), vm)
        equal(api.get(vm["id"]), vm)
        for name in ["nobody", "ZEBRA", vm["id"][:8], "a b", "%", "\u00fc", "a/../b", "x" * 300]:
            api.refused(404, "vm-not-found", None, "GET", "/v1/vms/{vm}", name)
        minimal = api.call("POST", "/v1/vms", body={"name": "m", "kernel": api.kernel}, status=201).json()
        assert 1 <= minimal["cpu_count"] <= 4, minimal


@TAP.test
def create_refused():
    """creating: each wrong member is named, and nothing is left behind"""
    with Api() as api:
        api.create("taken")
        empty, folder = api.file("empty", b""), api.daemon.folder
        good = {"name": "new", "kernel": api.kernel}
        for body, status, code, field in [
                ({}, 422, "field-invalid", "name"),
                ({"name": "new"}, 422, "field-invalid", "kernel"),
                ({**good, "frob": 1}, 422, "field-unknown", "frob"),
                ({**good, "id": NIL}, 422, "field-unknown", "id"),
                ({**good, "state": "running"}, 422, "field-unknown", "state"),
                ({**good, "name": "taken"}, 409, "vm-exists", "name"),
                ({**good, "name": 7}, 422, "field-invalid", "name"),
                ({**good, "name": None}, 422, "field-invalid", "name"),
                ({**good, "name": ""}, 422, "name-invalid", "name"),
                ({**good, "name": "7up"}, 422, "name-invalid", "name"),
                ({**good, "name": "a_b"}, 422, "name-invalid", "name"),
                ({**good, "name": "a-"}, 422, "name-invalid", "name"),
                ({**good, "name": "\u00e4"}, 422, "name-invalid", "name"),
                ({**good, "name": "a" * 64}, 422, "name-invalid", "name"),
                ({**good, "kernel": 7}, 422, "field-invalid", "kernel"),
                ({**good, "kernel": "vmlinuz"}, 422, "field-invalid", "kernel"),
                ({**good, "kernel": "/nonexistent"}, 422, "file-unreadable", "kernel"),
                ({**good, "kernel": folder}, 422, "file-unreadable", "kernel"),
                ({**good, "kernel": empty}, 422, "file-unreadable", "kernel"),
                ({**good, "kernel": "/dev/zero"}, 422, "file-unreadable", "kernel"),
                ({**good, "initrd": "/nonexistent"}, 422, "file-unreadable", "initrd"),
                ({**good, "initrd": []}, 422, "field-invalid", "initrd"),
                ({**good, "memory_mb": 0}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": 15}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": -4096}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": 1 << 40}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": "4096"}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": 64.5}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": True}, 422, "field-invalid", "memory_mb"),
                ({**good, "memory_mb": {}}, 422, "field-invalid", "memory_mb"),
                ({**good, "cpu_count": 0}, 422, "field-invalid", "cpu_count"),
                ({**good, "cpu_count": 65}, 422, "field-invalid", "cpu_count"),
                ({**good, "cpu_count": [1]}, 422, "field-invalid", "cpu_count"),
                ({**good, "cmdline": "x" * 2048}, 422, "field-invalid", "cmdline"),
                ({**good, "cmdline": "a\nb"}, 422, "field-invalid", "cmdline"),
                ({**good, "cmdline": "\u00e4"}, 422, "field-invalid", "cmdline"),
                ({**good, "cmdline": 7}, 422, "field-invalid", "cmdline"),
                ({**good, "description": "x" * 4097}, 422, "field-invalid", "description"),
                ({**good, "description": False}, 422, "field-invalid", "description")]:
            problem = api.refused(status, code, field, "POST", "/v1/vms", body=body)
            assert field in problem["detail"] or "name" == field, problem
        equal([item["name"] for item in api.items()], ["taken"])
        equal(len(os.listdir(os.path.join(folder, "data", "vms"))), 1, "folders")
        assert "16" in api.refused(422, "field-invalid", "memory_mb", "POST", "/v1/vms",
                                   body={**good, "memory_mb": 1})["detail"]


@TAP.test
def update():
    """changing: merge patch, refusals, what a running VM allows"""
    with Api() as api:
        vm = api.create("a", cmdline="quiet", description="old", initrd=api.initrd)
        api.create("b")
        patched = api.call("PATCH", "/v1/vms/{vm}", "a", status=200,
                           body={"memory_mb": 128, "description": None, "initrd": None}).json()
        equal((patched["memory_mb"], patched["description"], patched["initrd"], patched["cmdline"]),
              (128, "", None, "quiet"))
        assert patched["generation"] > vm["generation"]
        equal(api.get("a"), patched)
        renamed = api.call("PATCH", "/v1/vms/{vm}", "a", body={"name": "c"}, status=200,
                           content_type="application/merge-patch+json").json()
        equal((renamed["id"], renamed["name"]), (vm["id"], "c"))
        api.refused(404, "vm-not-found", None, "PATCH", "/v1/vms/{vm}", "a", body={})
        for body, status, code, field in [
                ({"name": "b"}, 409, "vm-exists", "name"), ({"name": None}, 422, "field-invalid", "name"),
                ({"kernel": None}, 422, "field-invalid", "kernel"),
                ({"memory_mb": "1"}, 422, "field-invalid", "memory_mb"),
                ({"cpu_count": 65}, 422, "field-invalid", "cpu_count"),
                ({"state": "running"}, 422, "field-unknown", "state"),
                ({"kernel": "/nonexistent"}, 422, "file-unreadable", "kernel")]:
            api.refused(status, code, field, "PATCH", "/v1/vms/{vm}", "c", body=body)
        api.act("c", "start")
        for memory, pending in [(256, ["memory_mb"]), (128, [])]:
            vm = api.call("PATCH", "/v1/vms/{vm}", "c", body={"memory_mb": memory}, status=200).json()
            equal((vm["memory_mb"], vm["pending"]), (memory, pending))
        equal(api.call("PATCH", "/v1/vms/{vm}", "c", body={"description": "new"}, status=200)
              .json()["description"], "new")


@TAP.test
def life():
    """every verb on a running VM, its documents on the way"""
    with Api() as api:
        vm = api.create("a")
        for verb in ["shutdown", "reboot", "reset", "pause", "resume"]:
            api.refused(409, "vm-not-running", None, "POST", "/v1/vms/{vm}:" + verb, "a")
        api.act("a", "stop")
        api.refused(409, "vm-not-running", None, "GET", "/v1/vms/{vm}/statistics", "a")
        api.refused(409, "vm-not-running", None, "POST", "/v1/vms/{vm}:send-key", "a", body={"key": "break"})

        operation = api.act("a", "start", body={})
        equal((operation["vm_id"], operation["error"]), (vm["id"], None))
        running = api.get("a")
        equal((running["state"], running["operation"], running["last_exit"]), ("running", None, None))
        os.kill(running["pid"], 0)
        assert running["started_at"] and running["last_boot_time"]
        api.refused(409, "vm-not-stopped", None, "POST", "/v1/vms/{vm}:start", "a")
        equal(api.call("GET", "/v1/system", status=200).json()["vm_count"], {"total": 1, "running": 1})
        statistics = api.call("GET", "/v1/vms/{vm}/statistics", "a", status=200).json()
        equal(statistics["vm_id"], vm["id"])

        api.call("POST", "/v1/vms/{vm}:send-key", "a", body={"key": "break"}, status=204)
        api.refused(422, "field-invalid", "key", "POST", "/v1/vms/{vm}:send-key", "a", body={"key": "f13"})
        api.refused(422, "field-invalid", "key", "POST", "/v1/vms/{vm}:send-key", "a", body={"key": 1})
        api.refused(422, "field-invalid", "key", "POST", "/v1/vms/{vm}:send-key", "a", body={})
        api.refused(422, "field-unknown", "keys", "POST", "/v1/vms/{vm}:send-key", "a",
                    body={"key": "break", "keys": []})
        api.act("a", "pause")
        equal(api.get("a")["state"], "paused")
        for verb in ["shutdown", "reboot"]:
            api.refused(409, "vm-paused", None, "POST", "/v1/vms/{vm}:" + verb, "a")
        api.act("a", "resume")
        equal(api.get("a")["state"], "running")
        api.act("a", "reset")
        api.act("a", "reboot")
        equal(api.get("a")["state"], "running")
        api.refused(409, "vm-not-stopped", None, "DELETE", "/v1/vms/{vm}", "a")
        for source in ["", "?source=console", "?source=runtime", "?source=console&lines=1"]:
            answer = api.call("GET", "/v1/vms/{vm}/logs", "a", query=source, status=200)
            answer.body.decode()
        api.act("a", "stop", body={"force": False, "timeout": 30})
        stopped = api.get("a")
        equal((stopped["state"], stopped["pid"], stopped["started_at"]), ("stopped", None, None))
        assert stopped["last_exit"]["reason"], stopped

        listed = api.call("GET", "/v1/operations", status=200).json()["items"]
        kinds = [item["kind"] for item in listed if item["vm_id"] == vm["id"]]
        for kind in ["start", "pause", "resume", "reset", "reboot", "stop"]:
            assert kind in kinds, kinds
        equal(api.call("GET", "/v1/operations/{operation}", operation["id"], status=200).json(), operation)
        equal(api.call("DELETE", "/v1/operations/{operation}", operation["id"], status=200).json(), operation)
        api.refused(404, "operation-not-found", None, "GET", "/v1/operations/{operation}", NIL)
        api.refused(404, "operation-not-found", None, "DELETE", "/v1/operations/{operation}", NIL)


@TAP.test
def operations():
    """operations: 202, waiting, busy, pre-emption, cancelling, failing"""
    with Api() as api:
        vm = api.create("a", cmdline="ignore-button")
        api.act("a", "start")
        answer = api.call("POST", "/v1/vms/{vm}:stop", "a", body={"timeout": 3600}, status=202)
        stop = answer.json()
        equal((stop["state"], stop["ended_at"], stop["error"]), ("running", None, None))
        equal(answer.headers["location"], "/v1/operations/" + stop["id"])
        document = api.get("a")
        equal((document["state"], document["operation"]), ("stopping", {"id": stop["id"], "kind": "stop"}))
        equal(api.call("GET", "/v1/operations/{operation}", stop["id"], query="?wait=1", status=200)
              .json()["state"], "running")
        problem = api.refused(409, "vm-busy", None, "POST", "/v1/vms/{vm}:pause", "a")
        assert "stop" in problem["detail"], problem

        cancelled = api.call("DELETE", "/v1/operations/{operation}", stop["id"], status=200).json()
        equal(cancelled["id"], stop["id"])
        ended = api.call("GET", "/v1/operations/{operation}", stop["id"], query="?wait=60", status=200).json()
        equal((ended["state"], ended["error"]["code"]), ("cancelled", "operation-cancelled"))
        equal(api.get("a")["state"], "running")

        api.act("a", "shutdown")
        document = api.get("a")
        equal(document["state"], "running")
        assert document["shutdown_requested_at"], document

        stop = api.call("POST", "/v1/vms/{vm}:stop", "a", body={"timeout": 3600}, status=202).json()
        api.act("a", "stop", body={"force": True})
        ended = api.call("GET", "/v1/operations/{operation}", stop["id"], query="?wait=60", status=200).json()
        equal(ended["state"], "cancelled")
        equal(api.get("a")["state"], "stopped")

        api.call("PATCH", "/v1/vms/{vm}", "a", status=200,
                 body={"cmdline": "refuse=kernel,22,no_kernel_at_all"})
        failed = api.act("a", "start", state="failed")
        equal((failed["error"]["code"], failed["error"]["field"]), ("kernel-invalid", "kernel"))
        document = api.get("a")
        assert document["state"] in ("stopped", "crashed"), document
        equal(document["last_error"]["field"], "kernel")

        api.call("PATCH", "/v1/vms/{vm}", "a", body={"cmdline": "start-signal=9"}, status=200)
        api.call("POST", "/v1/vms/{vm}:start", "a", query="?wait=60")
        while api.get("a")["state"] != "crashed":
            pass
        equal(api.get("a")["last_exit"]["signal"], "SIGKILL")
        api.call("DELETE", "/v1/vms/{vm}", vm["id"], query="?wait=60", status=200)
        api.refused(404, "vm-not-found", None, "DELETE", "/v1/vms/{vm}", vm["id"])


@TAP.test
def wrong_parameters():
    """queries and bodies of verbs: each wrong member is named"""
    with Api() as api:
        api.create("a")
        for method, template, query, body, code, field in [
                ("POST", "/v1/vms/{vm}:start", "?wait=61", None, "field-invalid", "wait"),
                ("POST", "/v1/vms/{vm}:start", "?wait=-1", None, "field-invalid", "wait"),
                ("POST", "/v1/vms/{vm}:start", "?wait=1.5", None, "field-invalid", "wait"),
                ("POST", "/v1/vms/{vm}:start", "?wait=", None, "field-invalid", "wait"),
                ("POST", "/v1/vms/{vm}:start", "?force=true", None, "field-unknown", "force"),
                ("POST", "/v1/vms/{vm}:start", "", {"force": True}, "field-unknown", "force"),
                ("POST", "/v1/vms/{vm}:pause", "", {"timeout": 1}, "field-unknown", "timeout"),
                ("POST", "/v1/vms/{vm}:stop", "", {"force": 1}, "field-invalid", "force"),
                ("POST", "/v1/vms/{vm}:stop", "", {"timeout": -1}, "field-invalid", "timeout"),
                ("POST", "/v1/vms/{vm}:stop", "", {"timeout": 3601}, "field-invalid", "timeout"),
                ("POST", "/v1/vms/{vm}:stop", "", {"timeout": "30"}, "field-invalid", "timeout"),
                ("POST", "/v1/vms/{vm}:stop", "", {"mode": "now"}, "field-unknown", "mode"),
                ("DELETE", "/v1/vms/{vm}", "?force=1", None, "field-invalid", "force"),
                ("DELETE", "/v1/vms/{vm}", "?force=TRUE", None, "field-invalid", "force"),
                ("DELETE", "/v1/vms/{vm}", "?wiat=1", None, "field-unknown", "wiat"),
                ("GET", "/v1/vms/{vm}/logs", "?source=kernel", None, "field-invalid", "source"),
                ("GET", "/v1/vms/{vm}/logs", "?lines=0", None, "field-invalid", "lines"),
                ("GET", "/v1/vms/{vm}/logs", "?lines=100001", None, "field-invalid", "lines")]:
            detail = api.refused(422, code, field, method, template, "a", query=query, body=body)["detail"]
            if template.endswith(":start") and body:
                assert "no members" in detail, detail
        equal(api.get("a")["state"], "stopped")


@TAP.test
def restart():
    """VMs go on while the daemon is away, and are taken up by the next"""
    with Api() as api:
        api.create("a")
        api.act("a", "start")
        pid = api.get("a")["pid"]
        equal(api.daemon.stop(), 0)
        os.kill(pid, 0)
        api.daemon.start()
        equal((api.get("a")["state"], api.get("a")["pid"]), ("running", pid))
        api.daemon.process.kill()
        api.daemon.process.wait()
        os.kill(pid, 0)
        api.daemon.start()
        equal((api.get("a")["state"], api.get("a")["pid"]), ("running", pid))
        api.act("a", "stop", body={"force": True})


@TAP.test
def ending():
    """the daemon ends in order with requests that wait, and with bodies and verbs on their way"""
    with Api() as api:
        api.create("a", cmdline="ignore-button")
        api.act("a", "start")
        stop = api.call("POST", "/v1/vms/{vm}:stop", "a", body={"timeout": 3600}, status=202).json()
        held = []
        for target in ["GET /v1/operations/" + stop["id"] + "?wait=60", "GET /v1/system/doctor",
                       "POST /v1/vms/a:reset?wait=60", "DELETE /v1/vms/a?force=true&wait=60",
                       "GET /v1/vms", "GET /v1/system"]:
            connection = api.daemon.connect()
            connection.send(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            held.append(connection)
        half = api.daemon.connect()
        half.send(b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 5\r\n\r\n{")
        equal(api.daemon.stop(), 0)
        for connection in [*held, half]:
            connection.is_ended()
            connection.close()
        api.daemon.start()


@TAP.test
def stop_all():
    """all VMs are stopped by one operation of no VM, a guest that does not follow by force"""
    with Api() as api:
        api.refused(422, "field-invalid", "timeout", "POST", "/v1/system:stop-vms", body={"timeout": -2})
        api.refused(422, "field-unknown", "order", "POST", "/v1/system:stop-vms", body={"order": 1})
        equal(api.call("POST", "/v1/system:stop-vms", query="?wait=60", status=200).json()["state"], "done")
        api.create("first", start_order=1)
        api.create("last", start_order=2)
        api.create("deaf", cmdline="ignore-button", start_order=2)
        for name in ("first", "last", "deaf"):
            api.act(name, "start")
        begun = api.call("POST", "/v1/system:stop-vms", body={"timeout": 3600}, status=202).json()
        equal((begun["kind"], begun["vm_id"], begun["state"]), ("stop-vms", None, "running"))
        # The same again is the same operation, with more haste.
        ended = api.call("POST", "/v1/system:stop-vms", query="?wait=60", body={"force": True},
                         status=200).json()
        equal((ended["id"], ended["state"]), (begun["id"], "done"))
        for vm in api.items():
            equal(vm["state"], "stopped", vm)


@TAP.test
def ending_waits():
    """requests that only wait are told that the daemon ends, and do not hold it up"""
    with Api() as api:
        api.create("a", cmdline="ignore-button")
        api.act("a", "start")
        stop = api.call("POST", "/v1/vms/{vm}:stop", "a", body={"timeout": 3600}, status=202).json()
        held = []
        for _ in range(3):
            held.append(api.hold(f"GET /v1/operations/{stop['id']}?wait=60"))
        api.get("a")  # whoever came before this has been heard
        api.daemon.process.terminate()
        for connection in held:
            answer = connection.read_answer()
            equal((answer.status, answer.json()["code"]), (503, "shutting-down"))
            SCHEMA.check_answer("/v1/operations/{operation}", "GET", answer)
            connection.close()
        equal(api.daemon.process.wait(), 0)
        api.daemon.start()


@TAP.test
def clients_that_leave():
    """a client that leaves ends its wait, not the operation; one that only says no more is answered"""
    with Api() as api:
        api.create("a", cmdline="ignore-button")
        api.act("a", "start")
        stop = api.call("POST", "/v1/vms/{vm}:stop", "a", body={"timeout": 3600}, status=202).json()
        wait = f"GET /v1/operations/{stop['id']}?wait=60"
        before = api.daemon.descriptor_count()
        patient = api.hold(wait)
        patient.socket.shutdown(socket.SHUT_WR)
        # As many as one user may have, of which each would be kept for a minute.
        leaving = [api.hold(wait) for _ in range(255)]
        for connection in leaving:
            connection.close()
        # Until the daemon has seen them leave.
        while api.daemon.request("GET", "/v1/system").status == 503:
            pass
        while api.daemon.descriptor_count() > before + 2:
            equal(api.daemon.request("GET", "/v1/system").status, 200)
        equal(api.call("GET", "/v1/operations/{operation}", stop["id"], status=200).json()["state"], "running")
        api.call("DELETE", "/v1/operations/{operation}", stop["id"], status=200)
        answer = patient.read_answer()
        equal((answer.status, answer.json()["state"]), (200, "cancelled"))
        patient.close()


@TAP.test
def create_withdrawn():
    """a client that leaves while its VM is made leaves nothing behind"""
    with Api() as api:
        vms = os.path.join(api.daemon.folder, "data", "vms")
        kernel = api.file("large", b"x")
        os.truncate(kernel, 1 << 30)
        api.create("other")
        connection = api.hold("POST /v1/vms", {"name": "late", "kernel": kernel, "memory_mb": 64})
        while len(os.listdir(vms)) < 2:
            pass
        connection.close()
        while len(os.listdir(vms)) > 1:
            pass
        equal([item["name"] for item in api.items()], ["other"])
        # The name is free, as soon as the daemon has heard that the folder is gone.
        body = {"name": "late", "kernel": api.kernel, "memory_mb": 64}
        while (answer := api.call("POST", "/v1/vms", body=body)).status != 201:
            equal(answer.json()["code"], "vm-exists", answer)


@TAP.test
def trash():
    """deleting, having back under the old name or another, purging; what is refused"""
    with Api() as api:
        vm = api.create("a", labels={"env": "test"})
        equal(api.call("DELETE", "/v1/vms/{vm}", "a", query="?wait=60", status=200).json()["state"], "done")
        equal(api.items(), [])
        deleted = api.call("GET", "/v1/vms", query="?deleted=true", status=200).json()["items"]
        equal([(item["id"], item["name"], item["labels"]) for item in deleted], [(vm["id"], "a", {"env": "test"})])
        assert deleted[0]["deleted_at"] < deleted[0]["purge_at"], deleted
        equal(api.call("GET", "/v1/vms", query="?deleted=true&label=env=other", status=200).json()["items"], [])
        api.refused(404, "vm-not-found", None, "GET", "/v1/vms/{vm}", "a")
        api.refused(404, "vm-not-found", None, "DELETE", "/v1/vms/{vm}", vm["id"])
        undelete = "/v1/vms/{vm}:undelete"
        api.create("a")
        api.refused(409, "vm-exists", "name", "POST", undelete, vm["id"])
        api.refused(422, "name-invalid", "name", "POST", undelete, vm["id"], body={"name": "1"})
        api.refused(422, "field-unknown", None, "POST", undelete, vm["id"], body={"memory_mb": 64})
        api.refused(422, "field-unknown", "force", "POST", undelete, vm["id"], body={"force": True})
        api.refused(404, "vm-not-found", None, "POST", undelete, "b")
        back = api.call("POST", undelete, vm["id"], body={"name": "b"}, status=200).json()
        equal((back["id"], back["name"], back["state"], "deleted_at" in back), (vm["id"], "b", "stopped", False))
        equal([item["name"] for item in api.items()], ["a", "b"])
        for name in ["b", "a"]:
            api.call("DELETE", "/v1/vms/{vm}", name, query="?wait=60", status=200)
        equal(api.call("POST", undelete, "a", status=200).json()["name"], "a")
        api.call("DELETE", "/v1/vms/{vm}", "b", query="?purge=true&wait=60", status=200)
        api.call("DELETE", "/v1/vms/{vm}", "a", query="?purge=true&wait=60", status=200)
        equal(api.call("GET", "/v1/vms", query="?deleted=true", status=200).json(),
              {"items": [], "next_page_token": None})
        for folder in ["vms", "trash"]:
            equal(os.listdir(os.path.join(api.daemon.folder, "data", folder)), [])


@TAP.test
def filters():
    """lists: by state, label and name, in pages that nothing shifts"""
    with Api() as api:
        for number in range(7):
            api.create(f"vm-{number}", labels={"parity": "odd" if number % 2 else "even", f"n{number}": ""})
        api.act("vm-3", "start")

        def names(query):
            answer = api.call("GET", "/v1/vms", query=query, status=200).json()
            return [item["name"][3:] for item in answer["items"]], answer["next_page_token"]

        for query, expected in [
                ("?state=running", "3"), ("?state=stopped,crashed", "012456"), ("?label=parity=odd", "135"),
                ("?label=parity", "0123456"), ("?label=parity=even&label=n4", "4"), ("?label=parity=", ""),
                ("?name=vm-5", "5"), ("?name=vm-*&state=running", "3"), ("?name=VM-5", ""), ("?name=*-?", "0123456"),
                ("?label=parity%3Dodd&state=stopped", "15"), ("?deleted=true", ""), ("?deleted=false", "0123456")]:
            equal((query, "".join(names(query)[0])), (query, expected))
        pages, token = [], None
        while True:
            page, token = names("?limit=3" + ("&page_token=" + urllib.parse.quote(token, safe="") if token else ""))
            pages.append("".join(page))
            if token is None:
                break
            if len(pages) == 1:
                # The VM that the token is about goes, and one comes before it.
                api.call("DELETE", "/v1/vms/{vm}", "vm-2", query="?wait=60", status=200)
                api.create("vm-1a")
        equal(pages, ["012", "345", "6"])
        equal(names("?limit=7")[1], None)
        for query, field in [("?state=asleep", "state"), ("?state=", "state"), ("?limit=0", "limit"),
                             ("?limit=1001", "limit"), ("?deleted=maybe", "deleted"), ("?name=a&name=b", "name")]:
            api.refused(422, "field-invalid", field, "GET", "/v1/vms", query=query)
        api.refused(422, "field-unknown", "colour", "GET", "/v1/vms", query="?colour=red")
        api.refused(422, "field-invalid", "label", "GET", "/v1/vms", query="?" + "&".join(["label=a"] * 17))


@TAP.test
def name_pages():
    """pages have every VM once, whatever its name is to its neighbour's"""
    with Api() as api:
        expected = ["web", "web-1", "web-2", "web1", "zeta"]
        for name in reversed(expected):
            api.create(name)
        seen, token = [], None
        while True:
            query = "?limit=1" + ("&page_token=" + urllib.parse.quote(token, safe="") if token else "")
            answer = api.call("GET", "/v1/vms", query=query, status=200).json()
            seen += [item["name"] for item in answer["items"]]
            token = answer["next_page_token"]
            if token is None:
                break
        equal(seen, expected)
        # Of the trash, too.
        for name in expected:
            api.call("DELETE", "/v1/vms/{vm}", name, query="?wait=60", status=200)
        seen, token = set(), None
        for _ in expected:
            query = "?deleted=true&limit=1" + ("&page_token=" + urllib.parse.quote(token, safe="") if token else "")
            answer = api.call("GET", "/v1/vms", query=query, status=200).json()
            seen |= {item["name"] for item in answer["items"]}
            token = answer["next_page_token"]
        equal((sorted(seen), token), (expected, None))


@TAP.test
def many():
    """100 VMs in one list, in order"""
    with Api() as api:
        for number in range(100):
            api.create(f"vm-{number:03}")
        equal([item["name"] for item in api.items()], [f"vm-{number:03}" for number in range(100)])


@TAP.test
def coverage():
    """every operation of the schema was seen succeeding and, where it can, failing"""
    cannot_fail = {("/v1/vms", "get"), ("/v1/operations", "get"), ("/v1/system", "get"),
                   ("/v1/system/doctor", "get"), ("/v1/openapi.yaml", "get"), ("/v1/openapi.json", "get"),
                   ("/healthz", "get"), ("/v1/metrics", "get")}
    elsewhere = {("/v1/ws", "get"), ("/v1/events", "get")}  # test-ws.py, test-streams.py
    missing = []
    for template, method in SCHEMA.operations():
        for success in (True, False):
            if (template, method, success) in SCHEMA.seen or (template, method) in elsewhere:
                continue
            if success or (template, method) not in cannot_fail:
                missing.append((template, method, "success" if success else "failure"))
    equal(missing, [])


sys.exit(TAP.main())
