#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A store of thousands of VMs behind the real daemon, which may have a few hundred files open: a VM that does
not run takes no descriptor, and lists are answered without growth of the daemon.

    test-many.py TENBOXD FAKE_RUNTIME SANITIZED

3,000 VMs; with TENBOX_TEST_LONG=1, 10,000.
"""
import json
import os
import re
import resource
import sys
import urllib.parse

from harness import Daemon, Tap, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
COUNT = 10000 if os.environ.get("TENBOX_TEST_LONG") else 3000
DESCRIPTORS_MAX = 256
TAP = Tap()


def limited(count):
    """For a daemon that may have @count files open, and cannot help it."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def new_store(count, maximum=DESCRIPTORS_MAX):
    daemon = Daemon(TENBOXD, FAKE_RUNTIME, preexec=limited(maximum))
    vms = os.path.join(daemon.folder, "data", "vms")
    os.makedirs(vms, mode=0o700)
    os.chmod(os.path.dirname(vms), 0o700)
    for number in range(count):
        folder = os.path.join(vms, f"{number:08x}-0000-4000-8000-000000000000")
        os.mkdir(folder, mode=0o700)
        with open(os.path.join(folder, "vm.json"), "w", encoding="ascii") as file:
            json.dump({"name": f"vm-{number:05}", "kernel": "kernel", "notes": "n" * 400}, file)
    return daemon


def peak_kib(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))


def call(daemon, method, target, body=None, status=200):
    answer = daemon.request(method, target, body)
    equal(answer.status, status, f"{method} {target}: {answer}")
    return answer.json()


@TAP.test
def thousands():
    """thousands of VMs: listed whole and in pages, without growth of the daemon, within 256 descriptors"""
    with new_store(0) as empty:
        few = empty.descriptor_count()
    with new_store(COUNT) as daemon:
        before = peak_kib(daemon)
        for _ in range(5):
            answer = daemon.request("GET", "/v1/vms")
            items = answer.json()["items"]
            equal([item["name"] for item in items], [f"vm-{number:05}" for number in range(COUNT)])
            equal([item["name"] for item in items if item["broken"] is not None], [])
        paged, token = [], ""
        while token is not None:
            page = daemon.request("GET", "/v1/vms?limit=700" + token).json()
            paged += [item["name"] for item in page["items"]]
            token = page["next_page_token"] and "&page_token=" + urllib.parse.quote(page["next_page_token"], safe="")
        equal(paged, [item["name"] for item in items])
        # A page of the longest kind is answered as one text, of a few hundred KiB.
        grown, size = peak_kib(daemon) - before, len(answer.body) // 1024
        assert size > COUNT * 5 // 6, size
        if SANITIZED:
            print("# memory is not compared: the sanitizer keeps what was freed")
        else:
            assert grown < size // 2, (grown, size)
        assert daemon.descriptor_count() < few + 10, (daemon.descriptor_count(), few)


@TAP.test
def verbs():
    """what is done to VMs opens what it needs and leaves nothing open"""
    count = 40
    with new_store(count) as daemon:
        kernel = os.path.join(daemon.folder, "kernel")
        with open(kernel, "wb") as file:
            file.write(b"not really a kernel")
        names = [f"vm-{number:05}" for number in range(count)]
        call(daemon, "GET", "/v1/vms")
        before = daemon.descriptor_count()
        for name in names:
            call(daemon, "PATCH", f"/v1/vms/{name}", {"kernel": kernel, "initrd": kernel})
            call(daemon, "PATCH", f"/v1/vms/{name}", {"name": name + "-new", "initrd": None})
            equal(daemon.request("GET", f"/v1/vms/{name}-new/logs?source=runtime").status, 200)
            call(daemon, "DELETE", f"/v1/vms/{name}-new?wait=60")
            identifier = call(daemon, "GET", "/v1/vms?deleted=true")["items"][0]["id"]
            equal(call(daemon, "POST", f"/v1/vms/{identifier}:undelete", {})["broken"], None)
        assert daemon.descriptor_count() < before + 10, (before, daemon.descriptor_count())
        for name in names:
            call(daemon, "POST", f"/v1/vms/{name}-new:start?wait=60", {})
            call(daemon, "POST", f"/v1/vms/{name}-new:stop?wait=60", {"force": True})
        # One that has run keeps its console to be read: that alone is a descriptor.
        assert daemon.descriptor_count() < before + count + 10, (before, daemon.descriptor_count())


@TAP.test
def too_few():
    """a daemon that cannot open its VMs says which limit it is, and takes none of them for broken"""
    with new_store(1) as daemon:
        count = daemon.descriptor_count()
    daemon = new_store(1, count + 4)
    try:
        daemon.start()
    except AssertionError as refusal:
        text = str(refusal)
    else:
        text = "it started"
    assert re.search(rf"VM 00000000-\S+ cannot be opened: .*as many files open as it may, {count + 4}\b", text), text
    daemon.preexec = None
    daemon.start()
    try:
        equal([item["broken"] for item in call(daemon, "GET", "/v1/vms")["items"]], [None])
    finally:
        daemon.__exit__(None, None, None)


sys.exit(TAP.main())
