#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that share no code with TenBox, against the real daemon with a runtime that plays a guest:
an OpenAPI linter, a TypeScript client generated from the schema, the npm package `ws`, and curl.

    run.py TENBOXD FAKE_RUNTIME FOLDER

FOLDER is where npm installed package.json of this folder. Prints TAP.
"""
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "http"))
from harness import SOURCE_ROOT, Daemon, Tap, equal  # pylint: disable=wrong-import-position

TENBOXD, FAKE_RUNTIME, FOLDER = (os.path.abspath(path) for path in sys.argv[1:4])
SCHEMA = os.path.join(SOURCE_ROOT, "data/openapi/tenbox-v1.yaml")
TAP = Tap()


def run(*command, **options):
    """Shows what it says as comments; fails as it fails."""
    done = subprocess.run(command, cwd=FOLDER, check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    for line in done.stdout.splitlines():
        print(f"#   {line}")
    equal(done.returncode, 0, f"exit status of {' '.join(command[:3])}")
    assert "not ok" not in done.stdout
    return done.stdout


def tool(name):
    return os.path.join(FOLDER, "node_modules/.bin", name)


def kernel(daemon):
    path = os.path.join(daemon.folder, "kernel")
    with open(path, "wb") as file:
        file.write(b"not really a kernel")
    return path


@TAP.test
def linter():
    """an OpenAPI linter finds nothing, and does find a mistake"""
    copy = os.path.join(FOLDER, "tenbox-v1.yaml")
    shutil.copy(SCHEMA, copy)
    lint = [tool("spectral"), "lint", "--fail-severity=warn", "--ruleset", ".spectral.yaml"]
    run(*lint, copy)
    with open(SCHEMA, encoding="utf-8") as file:
        broken = file.read().replace("operationId: getVm\n", "operationId: listVms\n", 1)
    path = os.path.join(FOLDER, "broken.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(broken)
    done = subprocess.run([*lint, path], cwd=FOLDER, check=False, capture_output=True, text=True)
    assert done.returncode != 0 and "operation-operationId-unique" in done.stdout, done.stdout


@TAP.test
def compiled():
    """types are generated from the schema, and the clients compile with them"""
    run(tool("openapi-typescript"), SCHEMA, "--output", "tenbox-v1.ts",
        "--default-non-nullable=false")
    run(tool("tsc"), "--project", ".")


@TAP.test
def typescript():
    """a generated TypeScript client leads a VM through its life"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        run("node", "api-client.js", daemon.socket_path, kernel(daemon))


@TAP.test
def websocket():
    """npm's ws: console and journal over one socket"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        daemon.request("POST", "/v1/vms", {"name": "ws", "kernel": kernel(daemon)})
        equal(daemon.request("POST", "/v1/vms/ws:start?wait=60").json()["state"], "done")
        client = subprocess.Popen(["node", "ws-client.js", daemon.socket_path, "ws"], cwd=FOLDER,
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for line in client.stdout:
            print(f"#   {line.rstrip()}")
            if line.startswith("# changing"):
                equal(daemon.request("PATCH", "/v1/vms/ws", {"description": "changed"}).status, 200)
        equal(client.wait(), 0, "exit status of ws-client")
        daemon.request("POST", "/v1/vms/ws:stop?wait=60", {"force": True})


@TAP.test
def curl():
    """curl: create, start, list, delete"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        def call(*arguments):
            return run("curl", "--silent", "--show-error", "--fail-with-body", "--unix-socket",
                       daemon.socket_path, *arguments)
        call("http://localhost/v1/vms", "--json", json.dumps({"name": "c", "kernel": kernel(daemon)}))
        call("-X", "POST", "http://localhost/v1/vms/c:start?wait=60")
        equal(json.loads(call("http://localhost/v1/vms"))["items"][0]["state"], "running")
        call("-X", "DELETE", "http://localhost/v1/vms/c?force=true&wait=60")


if __name__ == "__main__":
    sys.exit(TAP.main())
