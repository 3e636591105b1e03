#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing that programs rest on goes away or changes: compares with what landed last.

Two baselines lie in baseline/: what bindings see (the GIR as text, see api.py), and what the linker and the
compiler see (the ABI of the public symbols, as abidw writes it). What is new is allowed and only printed;
what is gone or differs is a failure. Doctored baselines show that each kind of change is noticed.

    check-baseline.py [--write] OBJECTS MAP GIR HEADER...

OBJECTS is libtenbox's static library. With --write the baselines are made anew: refresh-baseline.sh.
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import api

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "baseline")
API = os.path.join(FOLDER, "tenbox-0.api")
ABI = os.path.join(FOLDER, f"libtenbox-{platform.machine()}.abi")
ADVICE = "a change of what has landed breaks programs; if it was never released and is meant: tests/abi/refresh-baseline.sh"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def public_map(path):
    """The version script without its private node."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    nodes = [node for node in re.findall(r"\S+ \{.*?\}[^;]*;", text, re.S)
             if not node.startswith("TENBOX_PRIVATE")]
    return "\n".join(nodes) + "\n"


def write_abi(scratch, objects, map_text, headers, target):
    """The ABI of the public symbols of OBJECTS. A library of its own, so that nothing private is in it."""
    version_script = os.path.join(scratch, "public.map")
    library = os.path.join(scratch, "libtenbox.so.0")
    folder = os.path.join(scratch, "headers")
    os.makedirs(folder, exist_ok=True)
    with open(version_script, "w", encoding="utf-8") as file:
        file.write(map_text)
    for header in headers:
        shutil.copy(header, folder)
    link = run(*os.environ.get("CC", "cc").split(), "-shared", "-o", library, "-Wl,-soname,libtenbox.so.0",
               f"-Wl,--version-script={version_script}", "-Wl,--whole-archive", objects, "-Wl,--no-whole-archive")
    if link.returncode:
        return link.stderr
    dump = run("abidw", "--headers-dir", folder, "--drop-private-types", "--exported-interfaces-only",
               "--drop-undefined-syms", "--no-show-locs", "--no-comp-dir-path", "--no-corpus-path",
               "--no-elf-needed", "--no-write-default-sizes", "--no-parameter-names", "--type-id-style", "hash",
               "--out-file", target, library)
    return dump.stderr if dump.returncode else None


def abi_changes(before, after):
    """What abidiff has to say against AFTER; additions are nothing to it."""
    difference = run("abidiff", "--no-added-syms", "--no-show-locs", before, after)
    return difference.stdout.splitlines() + difference.stderr.splitlines() if difference.returncode else []


def api_changes(before, after):
    return [f"- {line}" for line in sorted(set(before) - set(after))]


def doctored(path, scratch, change):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed = change(text)
    assert changed != text, "the self-test changes nothing"
    target = os.path.join(scratch, "doctored.abi")
    with open(target, "w", encoding="utf-8") as file:
        file.write(changed)
    return target


def cut_parameter(text):
    """tenbox_vm_pause_async() without its last parameter."""
    head, tail = text.split("<function-decl name='tenbox_vm_pause_async'", 1)
    body, rest = tail.split("</function-decl>", 1)
    lines = body.split("\n")
    last = max(number for number, line in enumerate(lines) if "<parameter" in line)
    del lines[last]
    return head + "<function-decl name='tenbox_vm_pause_async'" + "\n".join(lines) + "</function-decl>" + rest


class Report:
    def __init__(self):
        self.count = 0
        self.failed = False

    def check(self, title, problems):
        self.count += 1
        print(f"{'not ok' if problems else 'ok'} {self.count} {title}")
        for problem in problems:
            print(f"# {problem}")
        self.failed |= bool(problems)

    def skip(self, title, reason):
        self.count += 1
        print(f"ok {self.count} {title} # SKIP {reason}")


def check_api(report, now):
    with open(API, encoding="utf-8") as file:
        before = file.read().splitlines()
    gone = api_changes(before, now)
    report.check("nothing that bindings see is gone or changed", gone + ([ADVICE] if gone else []))
    for line in sorted(set(now) - set(before)):
        print(f"# new: {line}")
    some = next(line for line in now if line.startswith("method tenbox_vm_pause_async"))
    removed = [line for line in now if line != some]
    changed = removed + [some.replace("VmActionFlags", "gint")]
    report.check("self-test: a removed method is noticed",
                 [] if api_changes(now, removed) == [f"- {some}"] else ["it was not"])
    report.check("self-test: a changed signature is noticed",
                 [] if api_changes(now, changed) == [f"- {some}"] else ["it was not"])
    report.check("self-test: a new method is welcome", api_changes(removed, now))


def check_abi(report, scratch, objects, map_path, headers):
    title = "no symbol, type or value that programs were compiled with is gone or changed"
    if shutil.which("abidw") is None or shutil.which("abidiff") is None:
        report.skip(title, "there is no abidw (package abigail-tools)")
        return
    if not os.path.exists(ABI):
        report.skip(title, f"there is no baseline for {platform.machine()}")
        return
    with open(ABI, encoding="utf-8") as file:
        written = re.search(r"version='([^']*)'", file.readline())[1]
    reads = run("abidw", "--abixml-version").stdout.split()[-1]
    if written != reads:
        report.skip(title, f"the baseline is of another abidw (it writes {reads}, not {written})")
        return
    now = os.path.join(scratch, "now.abi")
    trouble = write_abi(scratch, objects, public_map(map_path), headers, now)
    if trouble:
        report.check(title, trouble.splitlines())
        return
    changes = abi_changes(ABI, now)
    report.check(title, changes + ([ADVICE] if changes else []))

    without = os.path.join(scratch, "without.abi")
    write_abi(scratch, objects, public_map(map_path).replace("tenbox_vm_pause_async;", ""), headers, without)
    report.check("self-test: a removed symbol is noticed",
                 [] if any("tenbox_vm_pause_async" in line for line in abi_changes(now, without)) else ["it was not"])
    report.check("self-test: a new symbol is welcome", abi_changes(without, now))
    newer = doctored(now, scratch, lambda text: text.replace(
        "<enumerator name='TENBOX_VM_STATE_CRASHED'",
        "<enumerator name='TENBOX_VM_STATE_NEW' value='7'/><enumerator name='TENBOX_VM_STATE_CRASHED'"))
    report.check("self-test: a new enumerator is welcome", abi_changes(now, newer))
    for what, change in (
            ("a parameter less", cut_parameter),
            ("another value of an enumerator",
             lambda text: text.replace("'TENBOX_VM_STATE_PAUSED' value='4'", "'TENBOX_VM_STATE_PAUSED' value='9'"))):
        report.check(f"self-test: {what} is noticed",
                     [] if abi_changes(now, doctored(now, scratch, change)) else ["it was not"])


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    objects, map_path, gir, *headers = arguments
    now, _ = api.lines_of(gir)
    with tempfile.TemporaryDirectory() as scratch:
        if "--write" in sys.argv:
            os.makedirs(FOLDER, exist_ok=True)
            with open(API, "w", encoding="utf-8") as file:
                file.write("\n".join(now) + "\n")
            trouble = write_abi(scratch, objects, public_map(map_path), headers, ABI)
            if trouble:
                sys.exit(trouble)
            print(f"wrote {API}\nwrote {ABI}")
            return 0
        report = Report()
        check_api(report, now)
        check_abi(report, scratch, objects, map_path, headers)
        print(f"1..{report.count}")
        return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
