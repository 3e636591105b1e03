#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tenboxd.conf and the flags: what is taken, refused, warned of, and taken again by SIGHUP.

    test-settings.py TENBOXD FAKE_RUNTIME SANITIZED
"""
import os
import re
import signal
import subprocess
import sys

from harness import SOURCE_ROOT, Daemon, Tap, equal

TENBOXD, FAKE_RUNTIME, SANITIZED = sys.argv[1], sys.argv[2], sys.argv[3] == "true"
TAP = Tap()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def refused(daemon, *extra):
    """Runs a daemon that does not start; returns what it says."""
    run = subprocess.run([*daemon.command(), *extra], env=daemon.environment(), capture_output=True,
                         text=True, check=False)
    equal(run.returncode, 2, run.stderr)
    return run.stderr


def hang_up_until(daemon, text):
    """SIGHUP; returns when the log has @text, which is written before anything else is done."""
    daemon.process.send_signal(signal.SIGHUP)
    while text not in daemon.read_log():
        equal(daemon.request("GET", "/v1/vms").status, 200)


def rows():
    """The table of knobs: (key, flag, kind, takes, minimum, maximum, standard)."""
    with open(os.path.join(SOURCE_ROOT, "tenboxd/settings.c"), encoding="utf-8") as file:
        table = file.read().partition("static const Row rows[] = {")[2].partition("\n};")[0]
    found = re.findall(r'\{"(\w+)",\s*"([\w-]+)",\s*PLACE\((\w+)\),\s*KIND_(\w+),\s*TAKES_(\w+),\s*([^,]+),'
                       r'\s*([^,]+),\s*([^,]+),\s*"', table)
    equal(len(found), table.count("PLACE("), "rows understood")
    return found


@TAP.test
def documented():
    """each knob is in docs/tenboxd.conf.md and the manual pages with its range and default, and nothing else is"""
    with open(os.path.join(SOURCE_ROOT, "docs/tenboxd.conf.md"), encoding="utf-8") as file:
        page = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", file.read(), re.M))
    with open(os.path.join(SOURCE_ROOT, "tenboxd/http-limits.h"), encoding="utf-8") as file:
        constants = dict(re.findall(r"#define (TBD_\w+)\s+(\d+)", file.read()))
    equal(sorted(page), sorted(row[0] for row in rows()))
    man5, man8 = (open(os.path.join(SOURCE_ROOT, "data/man", name), encoding="utf-8").read()
                  for name in ("tenboxd.conf.5", "tenboxd.8"))
    for key, flag, member, kind, takes, minimum, maximum, standard in rows():
        equal((flag, member), (key.replace("_", "-"), key))
        cells = [cell.strip() for cell in page[key].split("|")]
        equal(cells[3], "SIGHUP" if takes == "RELOAD" else "a restart", key)
        assert f"\n.B {key}{' (SIGHUP)' if takes == 'RELOAD' else ''}\n" in man5, f"{key} in tenboxd.conf(5)"
        assert "\\-\\-" + flag.replace("-", "\\-") in man8, f"--{flag} in tenboxd(8)"
        if kind == "NUMBER":
            low, high, default = [eval(constants.get(text.strip(), text))  # pylint: disable=eval-used
                                  for text in (minimum, maximum, standard)]
            assert cells[0].startswith(f"{low} to {high}"), (key, cells)
            equal(cells[1], str(default), key)
            entry = man5.partition(f"\n.B {key}")[2].partition("\n.TP")[0]
            assert f"{low} to {high}" in entry and f"default {default}." in entry, f"{key} in tenboxd.conf(5): {entry}"


@TAP.test
def bad_values():
    """a value that does not fit is refused, naming key, value and range, from the file and as a flag"""
    daemon = Daemon(TENBOXD, FAKE_RUNTIME)
    for key, flag, _, kind, _, minimum, maximum, _ in rows():
        if kind == "NUMBER":
            low, high = eval(minimum), eval(maximum)  # pylint: disable=eval-used
            bad = [str(low - 1), str(high + 1), "", "x", "1x", "1.5", "0x10", "99999999999999999999"]
            wanted = f"a number from {low} to {high}"
        elif kind == "TEXT":
            bad, wanted = [""], "a name"
        else:
            bad, wanted = ["relative/path"], "an absolute path"
        for value in bad:
            path = write(os.path.join(daemon.folder, "bad.conf"), f"[daemon]\n{key}={value}\n")
            # A flag would win.
            run = subprocess.run([TENBOXD, "--config", path], env=daemon.environment(), capture_output=True,
                                 text=True, check=False)
            equal(run.returncode, 2, f"{key}={value}: {run.stderr}")
            for part in (path, key, f'"{value}"', wanted):
                assert part in run.stderr, (part, run.stderr)
            if kind == "NUMBER":
                text = refused(daemon, f"--{flag}={value}")
                assert key in text and wanted in text, text
    assert "there is no group of that name" in refused(daemon, "--socket-group", "no-such-group")
    for text in ["[daemon", "garbage\n", "[daemon]\nno equals sign\n", "\0"]:
        path = write(os.path.join(daemon.folder, "bad.conf"), text)
        assert path in refused(daemon, "--config", path), text
    assert "missing.conf" in refused(daemon, "--config", os.path.join(daemon.folder, "missing.conf"))
    path = write(os.path.join(daemon.folder, "bad.conf"), "[daemon]\nconnections=100\n")
    assert "connections_per_user" in refused(daemon, "--config", path)
    path = write(os.path.join(daemon.folder, "open.conf"), "[daemon]\n")
    os.chmod(path, 0o666)
    assert "must not be able to write" in refused(daemon, "--config", path)
    path = write(os.path.join(daemon.folder, "bad.conf"), "#" * 300000)
    assert "262144 bytes" in refused(daemon, "--config", path)


@TAP.test
def unknown_keys():
    """what is not known is named by a warning and changes nothing"""
    with Daemon(TENBOXD, FAKE_RUNTIME) as daemon:
        equal(daemon.stop(), 0)
        write(os.path.join(daemon.folder, "config/tenbox/tenboxd.conf"),
              "[daemon]\nhead_timeout=11\nfrobnicate=1\n[other]\nhead_timeout=12\n")
        daemon.start()
        log = daemon.read_log()
        assert "the key frobnicate is not known" in log and "the group [other] is not known" in log, log


@TAP.test
def reload():
    """SIGHUP: new limits hold at once; what needs a restart is named; a bad file changes nothing"""
    with Daemon(TENBOXD, FAKE_RUNTIME, extra=["--head-timeout", "50"]) as daemon:
        path = os.path.join(daemon.folder, "config/tenbox/tenboxd.conf")
        connections = [daemon.connect() for _ in range(10)]
        equal(daemon.request("GET", "/v1/vms").status, 200)
        write(path, "[daemon]\nconnections=8\nconnections_per_user=8\nhead_timeout=1\ntrash_days=3\n")
        daemon.process.send_signal(signal.SIGHUP)
        while True:
            answer = daemon.request("GET", "/v1/vms")
            if answer.status == 503:
                break
        equal(answer.json()["code"], "too-many-connections")
        log = daemon.read_log()
        assert "connections has a new value" in log, log
        assert "trash_days has a new value, which takes effect when tenboxd is started again" in log, log
        assert "head_timeout has a new value" not in log, "a flag was overruled"
        for connection in connections:
            connection.close()
        while daemon.request("GET", "/v1/vms").status != 200:
            pass
        write(path, "[daemon]\nconnections=nonsense\n")
        hang_up_until(daemon, 'connections is "nonsense"')
        equal(daemon.request("GET", "/v1/vms").status, 200)


sys.exit(TAP.main())
