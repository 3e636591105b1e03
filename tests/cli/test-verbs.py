#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real command line against the real daemon: formats, names, and the verbs that look and change.

    test-verbs.py TENBOX TENBOXD FAKE_RUNTIME [WORD…]

WORDs pick test functions by part of their name. Prints TAP.
"""
import csv
import http.server
import io
import json
import os
import select
import signal
import socketserver
import stat
import subprocess
import sys
import threading

import yaml

from harness import HANG_LIMIT, check, contains, equal, main, terminal

WEIRD = "a \"quoted\", 日本 – déjà: #x"


# --- without a daemon -----------------------------------------------------------------------------------


def test_settings(host):
    """An option wins over the environment, that over the file, that over the default; show says which."""
    path = host.path("config/tenbox/cli.json")

    def setting(key, *arguments, **extra):
        shown = host.json("config", "show", "-o", "json", *arguments, **extra)
        [row] = [row for row in shown if row["key"] == key]
        return row["value"], row["origin"]

    equal(setting("progress"), ("auto", "default"), "progress")
    equal(setting("host"), (None, "default"), "host")
    host.run("config", "set", "progress=plain", "timeout=30")
    equal(setting("progress"), ("plain", "user"), "progress")
    equal(setting("timeout"), ("30", "user"), "timeout")
    equal(setting("progress", TENBOX_PROGRESS="none"), ("none", "environment"), "progress")
    equal(setting("progress", "--progress", "json", TENBOX_PROGRESS="none"), ("json", "option"), "progress")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of cli.json")
    equal(host.run("config", "get", "progress")[0], "plain\n", "one value")
    host.run("config", "unset", "progress")
    equal(setting("progress"), ("auto", "default"), "progress")
    equal(setting("no_input", TENBOX_NO_INPUT="1"), ("true", "environment"), "no_input")

    for arguments, part in ((("set", "progress=loud"), "auto|plain|json|none"), (("set", "nothing=1"), "progress"),
                            (("set", "progress"), "KEY=VALUE"), (("get", "nothing"), "output"),
                            (("set", "escape_key=xyz"), "escape_key"), (("set", "output=xml"), "output")):
        _, errors = host.run("config", *arguments, status=2)
        contains(errors, part, "standard error")
    # One that is wrong leaves all as they were.
    host.run("config", "set", "timeout=40", "progress=loud", status=2)
    equal(setting("timeout"), ("30", "user"), "timeout")

    # What this release does not know is kept; what it cannot use is named.
    with open(path, encoding="utf-8") as stream:
        document = json.load(stream)
    document["of_tomorrow"] = {"kept": [1]}
    document["debug"] = False
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(document, stream)
    host.run("config", "set", "color=never")
    with open(path, encoding="utf-8") as stream:
        equal(json.load(stream)["of_tomorrow"], {"kept": [1]}, "what is not known")
    _, errors = host.run("config", "show", status=2, TENBOX_PROGRESS="loud")
    contains(errors, "TENBOX_PROGRESS", "standard error")
    for text in ("[]", "{", '{"timeout": "soon"}', '{"aliases": []}'):
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        _, errors = host.run("config", "show", status=2)
        contains(errors, path, "standard error")
    other = host.path("files/other")
    host.run("config", "set", "color=always", TENBOX_CONFIG_DIR=other)
    check(os.path.exists(os.path.join(other, "cli.json")), "TENBOX_CONFIG_DIR holds cli.json")


def test_alias(host):
    host.run("alias", "add", "conf", "config", "show")
    host.run("alias", "add", "origins", "config show --origin -o json")
    equal({row["name"]: row["words"] for row in host.json("alias", "ls", "-o", "json")},
          {"conf": "'config' 'show'", "origins": "config show --origin -o json"}, "aliases")
    contains(host.run("conf")[0], "KEY")
    check(all("origin" in row for row in host.json("origins")), "options of an alias count")
    contains(host.run("conf", "--origin")[0], "ORIGIN")
    for name in ("vm", "ls", "help", "events", "-x", "a b"):
        host.run("alias", "add", "--", name, "config show", status=2)
    host.run("alias", "add", "bad", "conf", status=2)
    host.run("alias", "rm", "conf")
    host.run("conf", status=2)
    _, errors = host.run("alias", "rm", "conf", status=3)
    contains(errors, "conf", "standard error")


class ForgedDaemon(http.server.BaseHTTPRequestHandler):
    """Says what no daemon of ours says."""

    protocol_version = "HTTP/1.1"
    answers = {
        "/v1/system": {"api_version": "v1"},
        "/v1/system/doctor": {"healthy": False, "checks": [
            {"name": "na\033[2Jme", "status": "sta\033[2Jtus", "detail": "de\rtail", "fix": "fi\bx"},
            {"name": [], "status": {}, "detail": 1}, 5]},
    }

    def do_GET(self):
        text = json.dumps(self.answers[self.path]) if self.path in self.answers else "[" * 120000
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def address_string(self):
        return "a client"

    def log_message(self, *_):
        pass


def test_forged_daemon(host):
    """What a daemon says is foreign too."""
    path = host.path("runtime/forged.sock")
    with socketserver.ThreadingUnixStreamServer(path, ForgedDaemon) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            uri = f"unix://{path}"
            output, errors = host.run("system", "doctor", "--host", uri, status=1)
            check(not set(output + errors) & set("\033\r\b"), f"control characters in {output + errors!r}")
            contains(output, "sta\ufffd[2Jtus")
            output, _ = host.run("api", "GET", "/v1/deep", "--host", uri)
            equal(output, "[" * 120000, "what is too deep is shown as it came")
            _, errors = host.run("audit", "--host", uri, status=1)
            contains(errors, "deep", "standard error")
        finally:
            server.shutdown()
            thread.join()


def test_usage_as_document(host):
    for arguments in (("vm", "strat", "-o", "json"), ("-o", "json", "vm", "ls", "--nonsense"),
                      ("vm", "wait", "-ojson", "foo")):
        output, errors = host.run(*arguments, status=2)
        error = json.loads(output)["error"]
        equal((error["code"], error["exit_status"]), ("usage", 2), "error")
        contains(errors, "tenbox: ", "standard error")


def test_wait_ready(host):
    host.run("system", "wait-ready", "--timeout", "1", status=6)
    process = subprocess.Popen([host.tenbox, "system", "wait-ready"], env=host.environment, stdin=subprocess.DEVNULL)
    host.start_daemon()
    equal(process.wait(HANG_LIMIT), 0, "status")


# --- with a daemon --------------------------------------------------------------------------------------


def test_formats(host):
    equal(json.loads(host.run("vm", "ls", "-o", "json")[0]), [], "an empty list")
    equal(yaml.safe_load(host.run("vm", "ls", "-o", "yaml")[0]), [], "an empty list")
    equal(host.run("vm", "ls", "-o", "jsonl")[0], "", "an empty list")
    host.create("one", "--description", WEIRD)
    host.create("two")
    vms = host.json("vm", "ls", "-o", "json")
    equal([vm["description"] for vm in vms], [WEIRD, ""], "descriptions")
    lines = host.run("vm", "ls", "--format", "jsonl")[0].splitlines()
    equal([json.loads(line) for line in lines], vms, "JSON lines")
    equal(yaml.safe_load(host.run("vm", "ls", "-o", "yaml")[0]), vms, "YAML")
    equal(yaml.safe_load(host.run("vm", "inspect", "one", "-o", "yaml")[0])["description"], WEIRD, "YAML")
    rows = list(csv.DictReader(io.StringIO(host.run("vm", "ls", "-o", "csv", "--columns", "name,memory,description")[0],
                                           newline="")))
    equal(rows, [{"name": "one", "memory_mb": "64", "description": WEIRD},
                 {"name": "two", "memory_mb": "64", "description": ""}], "CSV")
    check("\r\n" in subprocess.run([host.tenbox, "vm", "ls", "-o", "csv"], env=host.environment, check=True,
                                   capture_output=True).stdout.decode(), "lines of CSV end with CR LF")
    equal(host.run("vm", "ls", "-o", "csv", "--no-headers", "--columns", "name")[0].split(), ["one", "two"], "CSV")
    equal(host.run("vm", "ls", "-o", "name")[0], "one\ntwo\n", "names")
    equal(host.run("vm", "ls", "-o", "template={{.name}}:{{.memory_mb}}")[0], "one:64\ntwo:64\n", "template")
    equal(host.run("ps", "--format", "table {{.name}}\\t{{.state}}")[0],
          "NAME  STATE\none   stopped\ntwo   stopped\n", "table by a template")
    equal(host.run("vm", "ls", "--columns", "id,name", "-o", "wide")[0].splitlines()[0].split(), ["ID", "NAME"],
          "headers")
    check("LABELS" in host.run("vm", "ls", "-o", "wide")[0], "wide shows more")
    _, errors = host.run("vm", "ls", "-o", "template={{.nam}}", status=2)
    contains(errors, "memory_mb", "the fields there are")
    _, errors = host.run("vm", "ls", "--columns", "nam", status=2)
    contains(errors, "uptime", "the columns there are")
    equal(host.run("vm", "ls", TENBOX_FORMAT="name")[0], "one\ntwo\n", "format of the environment")
    equal(len(host.json("vm", "ls", "-o", "json", TENBOX_FORMAT="name")), 2, "the option wins")
    error = yaml.safe_load(host.run("vm", "inspect", "nope", "-o", "yaml", status=3)[0])["error"]
    equal((error["code"], error["exit_status"]), ("vm-not-found", 3), "error as YAML")
    results = [json.loads(line) for line in
               host.run("vm", "start", "one", "two", "nope", "-o", "jsonl", status=3)[0].splitlines()]
    equal([(result["name"], result["state"]) for result in results],
          [("one", "running"), ("two", "running"), ("nope", None)], "results")


def test_terminal(host):
    """What a terminal is sent: colours if it wants them, never what a name or a guest chose."""
    host.create("one")
    host.run("vm", "start", "one")
    for extra, arguments, is_colored in (({}, (), True), ({"NO_COLOR": "1"}, (), False), ({"NO_COLOR": ""}, (), True),
                                         ({"TERM": "dumb"}, (), False),
                                         ({"NO_COLOR": "1"}, ("--color", "always"), True),
                                         ({}, ("--color=never",), False)):
        with terminal(host, "vm", "ls", *arguments, **dict({"TERM": "xterm"}, **extra)) as shown:
            equal(shown.wait(), 0, "status")
            equal(b"\033[32mrunning\033[0m" in shown.shown, is_colored, f"colours with {extra} {arguments}")
    host.run("vm", "set", "one", "description=" + "long " * 40, "label.environment=production")
    for columns in (20, 40, 80, 110):
        with terminal(host, "vm", "ls", "-o", "wide", columns=columns, TERM="dumb") as shown:
            equal(shown.wait(), 0, "status")
            lines = shown.shown.decode().replace("\r", "").splitlines()
            equal(len(lines), 2, f"lines in {columns} columns")
            check(max(map(len, lines)) <= columns, f"{columns} columns: {lines}")
    check("\033" not in host.run("vm", "ls")[0], "no colours in a pipe")
    check("\033[32m" in host.run("vm", "ls", "--color", "always")[0], "colours in a pipe when they are wanted")


def test_names(host):
    ids = {}
    while len({vm_id[:1] for vm_id in ids.values()}) == len(ids) or len(ids) < 2:
        ids[f"vm{len(ids)}"] = host.create(f"vm{len(ids)}")
    name = "vm0"
    for word in (name, ids[name], ids[name][:12]):
        equal(host.json("vm", "inspect", word)["name"], name, f"found by {word}")
    host.run("vm", "inspect", ids[name][:2], status=3)
    for word, status in ((name, 0), ("nope", 1), (ids[name], 0)):
        output, errors = host.run("vm", "exists", word, status=status)
        equal((output, errors), ("", ""), "output of exists")
    host.run("vm", "exists", name, "-H", "unix:///nonexistent", status=125)


def test_filters(host):
    for name in ("web1", "web2", "db"):
        host.create(name)
    host.run("vm", "set", "web1", "label.env=test", "label.tier=front")
    host.run("vm", "set", "web2", "label.env=live")
    host.run("vm", "start", "web1")

    def names(*conditions):
        arguments = [word for condition in conditions for word in ("--filter", condition)]
        return host.run("vm", "ls", "-q", *arguments)[0].split()

    equal(names("state=running"), ["web1"], "by state")
    equal(names("name=web*"), ["web1", "web2"], "by pattern")
    equal(names("label=env"), ["web1", "web2"], "by key")
    equal(names("label=env=test"), ["web1"], "by label")
    equal(names("label=env=test", "label=env=live"), ["web1", "web2"], "one of two")
    equal(names("label=env", "state=stopped"), ["web2"], "both")
    equal(names("memory_mb=64", "name=db"), ["db"], "by a field")
    equal(names("labels.tier=front"), ["web1"], "by a field below")
    for condition in ("state", "=x", "nothing=1"):
        _, errors = host.run("vm", "ls", "--filter", condition, status=2)
        contains(errors, "--filter", "standard error")
    host.run("vm", "start", "--all", "--filter", "name=web*")
    equal(names("state=running"), ["web1", "web2"], "what was started")
    host.run("vm", "stop", "--all", "web1", status=2)
    host.run("vm", "stop", "--filter", "name=web*", status=2)
    host.run("vm", "stop", status=2)
    host.run("vm", "stop", "--all")
    equal(names("state=running"), [], "what runs")
    _, errors = host.run("vm", "stop", "--all")
    contains(errors, "nothing was done", "standard error")
    host.run("vm", "rm", "--all", status=2)
    host.run("vm", "rm", "--all", "--yes", "--filter", "name=web*")
    equal(names(), ["db"], "what is left")


def test_confirm(host):
    """Nobody is asked where nobody can answer."""
    host.create("one")
    with terminal(host, "vm", "rm", "--no-input", "one") as asked:
        equal(asked.wait(), 2, "status")
        contains(asked.shown.decode(), "--yes", "terminal")
    with terminal(host, "vm", "rm", "one", TENBOX_NO_INPUT="true") as asked:
        equal(asked.wait(), 2, "status")
    with terminal(host, "vm", "rm", "--all") as asked:
        asked.expect(b"ALL VMs")
        asked.expect(b"[y/N]")
        asked.type(b"n\r")
        equal(asked.wait(), 9, "status")
    host.run("vm", "rm", "-y", "one")
    equal(host.json("vm", "ls", "-o", "json"), [], "list")


def test_set(host):
    host.create("foo")
    host.run("vm", "set", "foo", "memory=128MiB", "cpus=2", f"description={WEIRD}", "label.env=a=b", "autostart=yes",
             "restart=on-failure", "start_order=5")
    foo = host.json("vm", "inspect", "foo")
    equal((foo["memory_mb"], foo["cpu_count"], foo["description"], foo["labels"], foo["autostart"],
           foo["restart_policy"], foo["start_order"]),
          (128, 2, WEIRD, {"env": "a=b"}, True, "on-failure", 5), "what was set")
    host.run("vm", "unset", "foo", "description", "label.env", "start_order")
    foo = host.json("vm", "inspect", "foo")
    equal((foo["description"], foo["labels"], foo["start_order"]), ("", {}, 100), "what was unset")
    patch = host.json("vm", "set", "--dry-run", "foo", "memory=256", "-o", "json")
    equal(patch, {"memory_mb": 256}, "what would be sent")
    equal(host.json("vm", "inspect", "foo")["memory_mb"], 128, "memory after a dry run")
    changed = host.json("vm", "set", "foo", "memory=64", "-o", "json")
    equal(changed["memory_mb"], 64, "the document")
    for change, status, part in (("memory=4GB", 2, "4GB"), ("memory=1", 2, "memory_mb"), ("nothing=1", 2, "cmdline"),
                                 ("cpus=two", 2, "cpu_count"), ("memory", 2, "KEY=VALUE"), ("name=-", 2, "-"),
                                 ("autostart=perhaps", 2, "true|false"), ("labels=x", 2, "label.env"),
                                 ("restart=sometimes", 2, "restart_policy"), ("label.BAD KEY=1", 2, "label")):
        _, errors = host.run("vm", "set", "foo", change, status=status)
        contains(errors, part, "standard error")
    _, errors = host.run("vm", "set", "--dry-run", "foo", "memory=1", status=2)
    contains(errors, "memory_mb", "standard error")
    host.run("vm", "set", "nope", "memory=64", status=3)
    host.run("vm", "unset", "foo", "name", status=2)
    host.create("bar")
    host.run("vm", "rename", "foo", "bar", status=4)
    contains(host.run("vm", "rename", "foo", "baz")[1], "foo is called baz now.", "standard error")
    equal(host.run("vm", "ls", "-q")[0], "bar\nbaz\n", "names")
    host.run("vm", "autostart", "enable", "bar", "nope", status=3)
    equal([vm["autostart"] for vm in host.json("vm", "ls", "-o", "json")], [True, True], "autostart")
    host.run("vm", "autostart", "disable", "bar", "baz")
    equal([vm["autostart"] for vm in host.json("vm", "ls", "-o", "json")], [False, False], "autostart")
    host.run("vm", "autostart", "perhaps", "bar", status=2)


def editor(host, name, script):
    path = host.path(f"files/{name}")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)
    return path


def test_edit(host):
    host.create("foo", "--description", "before")
    change = editor(host, "change", "sed -i 's/before/after/; s/\"memory_mb\" : [0-9]*/\"memory_mb\" : 96/' \"$1\"\n")
    host.run("vm", "edit", "foo", VISUAL=change, EDITOR="false")
    foo = host.json("vm", "inspect", "foo")
    equal((foo["description"], foo["memory_mb"]), ("after", 96), "what was edited")
    _, errors = host.run("vm", "edit", "foo", EDITOR="true")
    contains(errors, "Nothing was changed", "standard error")
    _, errors = host.run("vm", "edit", "foo", EDITOR="false", status=1)
    contains(errors, "false", "standard error")
    # Where nobody can mend it, what is wrong is told; where somebody can, the editor opens again.
    wrong = editor(host, "wrong", "sed -i 's/after/\"/' \"$1\"\n")
    host.run("vm", "edit", "foo", EDITOR=wrong, status=1)
    refused = editor(host, "refused", "sed -i 's/\"memory_mb\" : [0-9]*/\"memory_mb\" : 1/' \"$1\"\n")
    _, errors = host.run("vm", "edit", "foo", EDITOR=refused, status=2)
    contains(errors, "memory_mb", "standard error")
    again = editor(host, "again", "if [ -e seen ]; then cp \"$1\" shown; sed -i 's/: 1,/: 80,/' \"$1\"; else : >seen; "
                                  "sed -i 's/\"memory_mb\" : [0-9]*/\"memory_mb\" : 1/' \"$1\"; fi\n")
    with terminal(host, "vm", "edit", "foo", EDITOR=again) as edited:
        equal(edited.wait(), 0, f"status ({edited.shown!r})")
    with open(host.path("files/shown"), encoding="utf-8") as stream:
        contains(stream.read(), "memory_mb", "what the editor shows")
    equal(host.json("vm", "inspect", "foo")["memory_mb"], 80, "memory")
    # Somebody else was faster: both versions are shown, and nothing of his is lost.
    late = editor(host, "late", f"if [ -e late-seen ]; then cp \"$1\" both; else : >late-seen; "
                                f"{host.tenbox} vm set foo notes=theirs label.by=them; "
                                "sed -i 's/\"memory_mb\" : [0-9]*/\"memory_mb\" : 72/' \"$1\"; exit; fi\n")
    host.run("vm", "edit", "foo", EDITOR=late)
    with open(host.path("files/both"), encoding="utf-8") as stream:
        both = stream.read()
    contains(both, '#   "notes" : "theirs"', "their version")
    contains(both, '"memory_mb" : 72', "one's own")
    foo = host.json("vm", "inspect", "foo")
    equal((foo["memory_mb"], foo["notes"], foo["labels"]), (72, "theirs", {"by": "them"}), "both")
    # Nobody is asked again where nobody is: the pipe gets the error.
    host.run("vm", "edit", "foo", EDITOR=editor(host, "stale", f"{host.tenbox} vm set foo notes=$$\n"
                                                "sed -i 's/72/73/' \"$1\"\n"), TENBOX_NO_INPUT="1", status=4)


def test_wait(host):
    host.create("foo")
    host.create("bar")

    def waiting(*arguments):
        """Returns when it waits: what happens from now on it sees."""
        process = subprocess.Popen([host.tenbox, "vm", "wait", "--debug", *arguments], env=host.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while b"waiting for" not in (said := process.stderr.readline()):
            check(said, "it waits")
        return process

    host.run("vm", "wait", "--for", "stopped", "foo", "bar")
    # A console that is refused is told; one that there is not any more may come again.
    refused = ("vm", "wait", "--for", "log:never", "alpha", "--host")
    _, errors = host.run(*refused, "test:///default?fault=console-open:internal", status=1)
    contains(errors, "console-open", "standard error")
    host.run(*refused, "test:///default?fault=console-open:vm-not-running", "--timeout", "1", status=6)
    # Nor one that opens and cannot be read.
    _, errors = host.run(*refused, "test:///default?fault=console-read:internal", status=1)
    contains(errors, "console-read", "standard error")
    for arguments, part in ((("foo",), "--for"), (("--for", "happy", "foo"), "running|paused"),
                            (("--for", "log:[", "foo"), "--for")):
        _, errors = host.run("vm", "wait", *arguments, status=2)
        contains(errors, part, "standard error")
    host.run("vm", "wait", "--for", "running", "nope", status=3)
    _, errors = host.run("vm", "wait", "--for", "running", "--timeout", "1", "foo", status=6)
    contains(errors, "1 s", "standard error")

    both = waiting("--for", "running", "--for", "crashed", "-o", "json", "foo", "bar")
    prompt = waiting("--for", "log:^the (prompt|end)>", "foo")
    every = waiting("--all", "--for", "log:prompt", "--for", "paused", "foo")
    host.run("vm", "start", "foo")
    equal(both.poll(), None, "one of two is not enough")
    host.run("vm", "start", "bar")
    output, errors = both.communicate(timeout=HANG_LIMIT)
    equal((both.returncode, [row["met"] for row in json.loads(output)]), (0, ["running", "running"]), "result")
    equal(prompt.poll(), None, "nothing was printed yet")
    host.run("vm", "console", "foo", text=b"the prompt>\n\x1d.")
    equal(prompt.wait(HANG_LIMIT), 0, f"status ({prompt.stderr.read()!r})")
    equal(every.poll(), None, "it is not paused")
    host.run("vm", "pause", "foo")
    equal(every.wait(HANG_LIMIT), 0, "status")
    # What the console showed before counts too.
    host.run("vm", "wait", "--for", "log:the prompt", "foo")
    gone = waiting("--for", "stopped", "bar")
    deleted = waiting("--for", "deleted", "bar")
    stuck = waiting("--for", "paused", "bar")
    host.run("vm", "rm", "--force", "bar")
    equal(deleted.wait(HANG_LIMIT), 0, "status")
    equal(gone.wait(HANG_LIMIT), 0, "it was stopped on its way")
    equal(stuck.wait(HANG_LIMIT), 3, "status")
    contains(stuck.stderr.read().decode(), "deleted", "standard error")
    interrupted = waiting("--for", "stopped", "foo")
    interrupted.send_signal(signal.SIGINT)
    equal(interrupted.wait(HANG_LIMIT), 9, "status of who is interrupted")
    for process in (both, prompt, every, gone, deleted, stuck, interrupted):
        process.stdout.close()
        process.stderr.close()


def test_stats(host):
    host.create("foo")
    host.create("idle")
    equal(host.json("vm", "stats", "--no-stream", "-o", "json"), [], "figures of what does not run")
    host.run("vm", "start", "foo")
    [row] = host.json("vm", "stats", "--no-stream", "-o", "json")
    equal((row["name"], row["cpu_percent"]), ("foo", None), "figures")
    equal(row["exit_count"], sum(row["exits"].values()), "exits")
    contains(host.run("vm", "stats", "--no-stream")[0], "foo")
    host.run("vm", "stats", "--no-stream", "nope", status=3)
    process = subprocess.Popen([host.tenbox, "vm", "stats", "-o", "jsonl"], env=host.environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    process.stdout.readline()
    second = json.loads(process.stdout.readline())
    check(second["cpu_percent"] is not None and second["cpu_percent"] >= 0, "the second look knows the share")
    process.send_signal(signal.SIGINT)
    equal(process.wait(HANG_LIMIT), 0, "status")
    process.stdout.close()


def test_watch(host):
    host.create("foo")
    host.run("vm", "ls", "--watch", "-o", "json", status=2)
    process = subprocess.Popen([host.tenbox, "vm", "ls", "--watch", "--no-headers", "--columns", "name,state"],
                               env=host.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    equal(process.stdout.readline(), b"foo  stopped\n", "the first table")
    host.run("vm", "start", "foo")
    while b"running" not in (line := process.stdout.readline()):
        check(line, "the table is shown anew")
    process.send_signal(signal.SIGINT)
    equal(process.wait(HANG_LIMIT), 0, "status")
    process.stdout.close()


def test_broken(host):
    """A VM whose definition cannot be read is shown as such, and every verb says why it does nothing."""
    broken_id = host.create("bad")
    host.create("good")
    host.daemon.terminate()
    equal(host.daemon.wait(HANG_LIMIT), 0, "the daemon's end")
    with open(host.path(f"data/tenbox/vms/{broken_id}/vm.json"), "w", encoding="utf-8") as stream:
        stream.write('{"name": "bad", "memory_mb": [')
    host.start_daemon()
    states = {row["id"]: row for row in host.json("vm", "ls", "-o", "json")}
    check(states[broken_id]["broken"], "the list tells")
    contains(host.run("vm", "ls")[0], "broken")
    _, errors = host.run("vm", "start", broken_id[:13], status=4)
    contains(errors, "Mend its vm.json", "the way out")
    check(host.json("vm", "inspect", broken_id)["broken"]["detail"], "what is wrong is told")
    host.run("vm", "start", "--all")
    equal(host.state("good"), "running", "state")


def test_no_wait(host):
    """What has begun goes on without who asked for it."""
    for name in ("one", "deaf"):
        host.create(name, "--label", "env=a=b", "--label", "plain", "--autostart", "--restart", "no",
                    *(("--cmdline", "ignore-button") if name == "deaf" else ()))
    one = host.json("vm", "inspect", "one")
    equal((one["labels"], one["autostart"], one["restart_policy"]), ({"env": "a=b", "plain": ""}, True, "no"), "made")
    rows = host.json("vm", "start", "--no-wait", "one", "deaf", "nope", "-o", "json", status=3)
    equal([bool(row["operation"]) for row in rows], [True, True, False], "operations")
    host.run("operation", "wait", *[row["operation"] for row in rows[:2]])
    equal(host.state("one"), "running", "state")
    _, errors = host.run("vm", "stop", "--no-wait", "--timeout", "3600", "deaf")
    [row] = host.json("operation", "ls", "-o", "json")
    contains(errors, row["id"], "standard error")
    host.run("operation", "cancel", row["id"])
    host.run("vm", "start", "--console", "--no-wait", "one", status=2)
    host.run("vm", "create", "bad", "--kernel", "kernel", "--label", "BAD KEY=1", status=2)


def test_operations(host):
    host.create("deaf", "--cmdline", "ignore-button")
    host.run("vm", "start", "deaf")
    stopping = subprocess.Popen([host.tenbox, "vm", "stop", "--timeout", "3600", "deaf"], env=host.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (rows := host.json("operation", "ls", "-o", "json")):
        check(stopping.poll() is None, "it is being stopped")
    [row] = rows
    equal((row["kind"], row["state"]), ("stop", "running"), "operation")
    equal(host.json("operation", "show", row["id"][:8], "-o", "json")["id"], row["id"], "by its beginning")
    contains(host.run("operation", "show", row["id"])[0], "stop")
    host.run("operation", "show", "nope", status=3)
    host.run("operation", "show", row["id"][:2], status=3)
    host.run("operation", "wait", "--timeout", "1", row["id"], status=6)
    waiting = subprocess.Popen([host.tenbox, "operation", "wait", "--progress", "json", row["id"][:8]],
                               env=host.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    equal(json.loads(waiting.stderr.readline())["stage"] != "", True, "progress")
    host.run("operation", "cancel", row["id"])
    _, errors = waiting.communicate(timeout=HANG_LIMIT)
    equal(waiting.returncode, 9, f"status ({errors!r})")
    stopping.communicate(timeout=HANG_LIMIT)
    equal(stopping.returncode, 9, "status of who asked for it")
    equal(host.json("operation", "ls", "-o", "json"), [], "what runs")
    check(row["id"] in host.run("operation", "ls", "--all", "-q")[0], "it has ended lately")


def test_events(host):
    def follow(*arguments):
        return subprocess.Popen([host.tenbox, "events", *arguments], env=host.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    everything = follow("--no-headers", "--columns", "position,type")
    # The header is printed once the list begins; the watch is on when the first event comes.
    lines = []
    number = 0
    while True:
        host.create(f"vm{number}")
        number += 1
        lines.append(host.json("operation", "ls", "--all", "-o", "json"))
        if select.select([everything.stdout], [], [], 0.2)[0]:
            break
    first = everything.stdout.readline().decode().split()
    position = first[0]
    host.create("late")
    host.run("vm", "start", "late")
    output, _ = host.run("events", "--since", position, "--no-follow", "-o", "json", "--filter", "vm=late")
    events = json.loads(output)
    equal(events[0]["type"], "vm.created", "the first event about it")
    check(any(event["type"] == "vm.state" for event in events), "its states")
    check(any(event["type"] == "operation.changed" for event in events), "what is done to it, by its name")
    sequences = [event["sequence"] for event in events]
    equal(sequences, sorted(set(sequences)), "numbers")
    only = host.run("events", "--since", position, "--no-follow", "-o", "jsonl", "--filter", "type=vm.created")[0]
    equal({json.loads(line)["type"] for line in only.splitlines()}, {"vm.created"}, "types")
    other = host.run("events", "--since", "0123456789abcdef:1", "--no-follow", "-o", "jsonl")[0].splitlines()
    equal(json.loads(other[0])["type"], "resync", "a position of another daemon")
    host.run("events", "--no-follow", status=2)
    host.run("events", "--since", "nonsense", status=2)
    everything.send_signal(signal.SIGINT)
    _, errors = everything.communicate(timeout=HANG_LIMIT)
    equal((everything.returncode, errors), (0, b""), "the end")


def test_follow(host):
    host.create("foo")
    host.run("vm", "start", "foo")
    host.run("vm", "console", "foo", text=b"first\nsecond\n\x1d.")
    host.run("vm", "wait", "--for", "log:second", "foo")

    def follow(*arguments):
        return subprocess.Popen([host.tenbox, "vm", "logs", "-f", *arguments, "foo"], env=host.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    plain, lines, timed = follow("-n", "1"), follow("-n", "0", "-o", "jsonl"), follow("-t", "-n", "1")
    equal(plain.stdout.readline().strip(), b"second", "the last line")
    contains(timed.stdout.readline().decode().strip(), "  second", "the last line with its time")
    number = 0
    while not select.select([lines.stdout], [], [], 0.2)[0]:  # it may not follow yet
        host.run("vm", "console", "foo", text=b"later %d\n\x1d." % number)
        number += 1
    document = json.loads(lines.stdout.readline())
    contains(document["line"], "later ", "line")
    equal(document["source"], "console", "source")
    contains(plain.stdout.readline().decode(), "later ", "what is added")
    plain.send_signal(signal.SIGINT)
    equal(plain.wait(HANG_LIMIT), 0, "status of who was interrupted")
    # A line that does not end is shown in pieces.
    host.run("vm", "console", "foo", text="ä".encode() * 150000 + b"\x1d.")
    pieces = [json.loads(lines.stdout.readline())["line"] for _ in range(4)]
    check(all(len(piece.encode()) <= 65536 for piece in pieces), "the size of pieces")
    check("\ufffd" not in "".join(pieces), "a character is cut")
    host.run("vm", "rm", "--force", "foo")
    for process in (lines, timed):
        _, errors = process.communicate(timeout=HANG_LIMIT)
        equal((process.returncode, errors), (0, b""), "the end with the VM")
    plain.stdout.close()
    plain.stderr.close()
    host.create("bar")
    host.run("vm", "logs", "-t", "bar", status=2)


def test_console_writer(host):
    """Any number watches; at a terminal one types, and who that is is told to others."""
    host.create("foo")
    host.run("vm", "start", "foo")
    with terminal(host, "vm", "console", "foo") as first, terminal(host, "vm", "console", "-r", "foo") as watcher:
        first.expect(b"Ctrl-]")
        first.type(b"from the first\r")
        first.expect(b"from the first")
        watcher.expect(b"read only")
        watcher.expect(b"from the first")
        watcher.type(b"never seen\r")
        with terminal(host, "vm", "console", "foo") as second:
            equal(second.wait(), 4, "status")
            contains(second.shown.decode(), f"process {first.process.pid} of user {os.getuid()}", "terminal")
            contains(second.shown.decode(), "--force", "the way out")
            second.check_restored()
        _, errors = host.run("vm", "console", "foo", text=b"from a pipe\n", status=4)
        contains(errors, f"process {first.process.pid}", "standard error")
        with terminal(host, "vm", "console", "--force", "foo") as taker:
            taker.expect(b"Ctrl-]")
            equal(first.wait(), 4, "status of the one it was taken from")
            contains(first.shown.decode(), f"process {taker.process.pid}", "terminal")
            first.check_restored()
            taker.type(b"from the taker\r")
            shown = watcher.expect(b"from the taker")
            check(b"never seen" not in shown and b"pipe" not in shown, "what a watcher types reaches nobody")
            taker.type(b"\x1d.")
            equal(taker.wait(), 0, "status")
        watcher.type(b"\x1d.")
        equal(watcher.wait(), 0, "status")
        watcher.check_restored()
    host.run("vm", "console", "--read-only", "--force", "foo", status=2)


def test_send_key(host):
    host.create("foo")
    host.run("vm", "send-key", "foo", "break", status=4)
    host.run("vm", "start", "foo")
    host.run("vm", "send-key", "foo", "break")
    host.run("vm", "wait", "--for", "log:fake: break", "foo")
    _, errors = host.run("vm", "send-key", "foo", "f13", status=2)
    contains(errors, "break", "the keys there are")
    host.run("vm", "send-key", "nope", "break", status=3)
    host.create("deaf", "--cmdline", "busy-break")
    host.run("vm", "start", "deaf")
    _, errors = host.run("vm", "send-key", "deaf", "break", status=4)
    contains(errors, "has not read", "standard error")
    # One that waits can be given up, and is then in nobody's way.
    host.create("mute", "--cmdline", "ignore-break")
    host.run("vm", "start", "mute")
    for _ in range(2):
        host.run("vm", "send-key", "mute", "break", "--timeout", "1", status=6)


def test_trash(host):
    first = host.create("foo", "--description", "the first")
    host.create("bar")
    host.run("vm", "rm", "-y", "foo")
    equal(host.run("vm", "ls", "-q")[0], "bar\n", "names")
    [row] = host.json("vm", "ls", "--deleted", "-o", "json")
    equal((row["name"], row["id"], row["description"]), ("foo", first, "the first"), "the trash")
    check(row["purge_at"] > row["deleted_at"], "it will be gone later")
    contains(host.run("vm", "ls", "--deleted")[0], "GONE AFTER")
    equal(host.run("__complete", "vm", "undelete", "f")[0].split("\t")[0], "foo", "completion")
    # The name is free again, and then taken.
    second = host.create("foo")
    _, errors = host.run("vm", "undelete", "foo", status=4)
    contains(errors, "foo", "standard error")
    host.run("vm", "undelete", "--name", "old", "foo")
    equal(host.json("vm", "inspect", "old")["id"], first, "id")
    host.run("vm", "rm", "-y", "foo", "old")
    host.run("vm", "rename", "bar", "foo")
    host.run("vm", "rm", "-y", "foo")
    # Two of one name: the id tells.
    _, errors = host.run("vm", "undelete", "foo", status=4)
    contains(errors, second, "standard error")
    [back] = host.json("vm", "undelete", second[:13], "-o", "json")
    equal((back["name"], back["state"]), ("foo", "stopped"), "what is back")
    for name, status in (("nope", 3), (second, 3)):
        host.run("vm", "undelete", name, status=status)
    host.run("vm", "undelete", "--name", "x", "old", "foo", status=2)
    host.run("vm", "ls", "--deleted", "--watch", status=2)
    # For good: from the list, and from the trash.
    with terminal(host, "vm", "rm", "--purge", "old") as asked:
        asked.expect(b"for good?")
        asked.type(b"y\r")
        equal(asked.wait(), 0, "status")
    equal(sorted(vm["name"] for vm in host.json("vm", "ls", "--deleted", "-o", "json")), ["foo"], "the trash")
    host.run("vm", "rm", "--purge", "--yes", "foo")
    equal(len(host.json("vm", "ls", "--deleted", "-o", "json")), 1, "what was in the trash is still there")
    host.run("vm", "rm", "--purge", "--yes", "foo")
    equal(host.json("vm", "ls", "--deleted", "-o", "json"), [], "the trash")
    host.run("vm", "rm", "--purge", "--yes", "foo", status=3)
    host.run("vm", "inspect", "old", status=3)


def test_console_options(host):
    host.create("foo")
    host.run("vm", "start", "foo")
    host.run("vm", "console", "foo", text=b"one\ntwo\nthree\n\x1d.")
    host.run("vm", "wait", "--for", "log:three", "foo")
    output, _ = host.run("vm", "console", "foo", "--log", "2", text=b"\x1d.")
    check("two" in output and "three" in output and "one" not in output, f"two lines: {output!r}")
    output, _ = host.run("vm", "console", "foo", "--log", "0", text=b"\x1d.")
    equal(output, "", "no lines")
    for key, typed in (("ctrl-a", b"\x01"), ("~", b"~")):
        with terminal(host, "vm", "console", "--escape-key", key, "foo") as console:
            console.expect(b"Leave with")
            console.type(b"\x1d.still here" + typed + typed + b"\r")
            console.expect(b"\x1d.still here" + typed)
            console.type(typed + b".")
            equal(console.wait(), 0, f"status of {key}")
            console.check_restored()
    with terminal(host, "vm", "console", "--escape-key", "none", "foo") as console:
        console.expect(b"No key leaves")
        console.type(b"\x1d.\r")
        console.expect(b"\x1d.")
        console.process.send_signal(signal.SIGTERM)
        console.wait()
        console.check_restored()
    host.run("vm", "console", "--escape-key", "both", "foo", status=2)
    host.run("config", "set", "escape_key=ctrl-t")
    with terminal(host, "vm", "console", "foo") as console:
        console.expect(b"Ctrl-t")
        console.type(b"\x14.")
        equal(console.wait(), 0, "status")


def test_one_request(host):
    """A list is one request."""
    host.create("foo")
    _, errors = host.run("vm", "ls", "--debug")
    equal([line.split(":")[1] for line in errors.splitlines()], [" GET /v1/vms"], "requests")


def test_api(host):
    host.create("foo")
    listed = host.json("api", "GET", "/v1/vms")
    equal([vm["name"] for vm in listed["items"]], ["foo"], "list")
    changed = host.json("api", "PATCH", "/v1/vms/foo", "-d", '{"description": "by hand"}')
    equal(changed["description"], "by hand", "description")
    host.run("api", "PATCH", "/v1/vms/foo", "-d", "-", text=b'{"description": "by a pipe"}')
    with open(host.path("files/body"), "w", encoding="utf-8") as stream:
        stream.write('{"notes": "by a file"}')
    host.run("api", "PATCH", "/v1/vms/foo", "--data", "@body")
    foo = host.json("vm", "inspect", "foo")
    equal((foo["description"], foo["notes"]), ("by a pipe", "by a file"), "what was changed")
    equal(host.run("api", "GET", "/v1/vms/foo", "-o", "template={{.name}}")[0], "foo\n", "template")
    equal(host.run("api", "GET", "/healthz")[0], "", "no body")
    error = host.json("api", "GET", "/v1/vms/nope", "-o", "json", status=3)["error"]
    equal(error["code"], "vm-not-found", "code")
    for arguments in (("get", "/v1/vms"), ("GET", "v1/vms"), ("GET", "//x/v1/vms"), ("GET", "/v1/v ms"),
                      ("PATCH", "/v1/vms/foo", "-d", "[]"), ("PATCH", "/v1/vms/foo", "-d", "{")):
        check(host.run("api", *arguments, status=None)[1].startswith("tenbox: "), f"{arguments} is refused")
    contains(host.run("system", "metrics")[0], "# EOF")
    # What a guest writes is text, also where it looks like a document or would take all of the stack.
    host.run("vm", "start", "foo")
    host.run("vm", "console", "foo", text=b'{"a":1}\n' + b"[" * 120000 + b"\nthe end\n\x1d.")
    host.run("vm", "wait", "--for", "log:the end", "foo")
    shown = host.run("api", "GET", "/v1/vms/foo/logs?lines=2")[0]
    check(shown.count("[") >= 120000 and "the end" in shown, f"the log ends {shown[-100:]!r}")
    contains(host.run("api", "GET", "/v1/vms/foo/logs")[0], '{"a":1}')
    host.run("vm", "rm", "--force", "foo")
    host.create("foo")
    host.run("vm", "start", "foo")
    host.run("vm", "console", "foo", text=b'{"a":1}\n\x1d.')
    host.run("vm", "wait", "--for", 'log:"a":1', "foo")
    equal(host.run("api", "GET", "/v1/vms/foo/logs?lines=1", "-o", "yaml")[0].strip(), '{"a":1}', "a guest's line")
    _, errors = host.run("vm", "inspect", "foo", "--debug")
    contains(errors, "debug: GET /v1/vms/foo: status 200, request ", "standard error")


def test_audit(host):
    host.create("foo")
    host.run("vm", "pause", "foo", status=4)
    rows = host.json("audit", "-o", "json")
    equal([row["verb"] for row in rows], ["POST /v1/vms", "POST /v1/vms/{}:pause"], "verbs")
    equal({row["actor"]["uid"] for row in rows}, {os.getuid()}, "actors")
    equal([row["code"] for row in host.json("audit", "--failed", "-o", "json")], ["vm-not-running"], "failures")
    equal(len(host.json("audit", "-n", "1", "-o", "json")), 1, "entries")
    equal(host.json("audit", "--since", "2200-01-01T00:00:00Z", "-o", "json"), [], "entries of the future")
    host.run("audit", "--since", "yesterday", status=2)
    equal(len(host.json("audit", "--actor", str(os.getuid()), "-o", "json")), 2, "entries of a user")
    equal(host.json("audit", "--actor", str(os.getuid() + 1), "-o", "json"), [], "entries of another user")
    host.run("audit", "--actor", "no such user", status=2)
    equal(len(host.json("audit", "--filter", "code=vm-not-running", "-o", "json")), 1, "filtered")
    contains(host.run("audit")[0], "vm-not-running")


def complete(host, *words, **extra):
    return [line.split("\t")[0] for line in host.run("__complete", *words, **extra)[0].splitlines()]


def test_complete(host):
    for name in ("web1", "web2", "db"):
        host.create(name)
    check({"vm", "system", "ls", "events", "help"} <= set(complete(host, "")), "first words")
    equal(complete(host, "vm", "sta"), ["start", "stats"], "commands")
    equal(complete(host, "vm", "start", "we"), ["web1", "web2"], "names")
    equal(complete(host, "start", "-q", "--timeout", "3", "d"), ["db"], "names behind options")
    equal(complete(host, "vm", "autostart", "e"), ["enable"], "choices")
    equal(complete(host, "vm", "autostart", "enable", "w"), ["web1", "web2"], "names behind choices")
    equal(complete(host, "vm", "ls", "--out"), ["--output"], "options")
    check({"json", "yaml", "csv"} <= set(complete(host, "vm", "ls", "-o", "")), "formats")
    equal(complete(host, "vm", "logs", "--source", "r"), ["runtime"], "words of an option")
    equal(complete(host, "vm", "create", "--kernel", ""), [":files"], "files")
    equal(complete(host, "config", "get", "esc"), ["escape_key"], "settings")
    equal(complete(host, "help", "vm", "ren"), ["rename"], "help")
    equal(complete(host, "nonsense", ""), [], "nothing")
    equal(complete(host, "vm", "nonsense", ""), [], "nothing")
    equal(complete(host, "vm", "console", "web1", ""), [], "one argument only")
    host.run("alias", "add", "wake", "vm start")
    check("wake" in complete(host, "wa"), "aliases")
    # A daemon that is not there is nothing to tell about, and none is started.
    equal(complete(host, "vm", "start", "", TENBOX_HOST="unix:///nonexistent"), [], "names without a daemon")
    host.run("config", "set", "host=unix:///nonexistent")
    equal(complete(host, "vm", "start", ""), [], "names at the address of the settings")


WITHOUT_DAEMON = [test_settings, test_alias, test_forged_daemon, test_usage_as_document, test_wait_ready]
WITH_DAEMON = [test_formats, test_terminal, test_names, test_filters, test_confirm, test_set, test_edit, test_wait,
               test_stats, test_watch, test_operations, test_no_wait, test_broken, test_events, test_follow, test_one_request,
               test_api, test_audit, test_console_writer, test_console_options, test_send_key, test_trash,
               test_complete]

if __name__ == "__main__":
    sys.exit(main(WITHOUT_DAEMON, WITH_DAEMON))
