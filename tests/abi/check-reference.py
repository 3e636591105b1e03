#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every public symbol is documented, what the texts refer to exists, and gi-docgen makes the reference
without a warning.

A getter is documented by its "Returns:" line and a setter by its parameter, so that nobody has to say the same
twice. Usage: check-reference.py GIR CONFIG CONTENT-FOLDER ; TAP.
"""
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

from api import C, CORE, GLIB

NAMED = {CORE + word for word in ("class", "enumeration", "bitfield", "constant", "function", "method",
                                  "constructor", "property", "member", "function-macro", "record")} | {GLIB + "signal"}


def text_of(node):
    doc = node.find(CORE + "doc")
    return (doc.text or "").strip() if doc is not None else ""


def is_documented(node):
    if text_of(node):
        return True
    result = node.find(CORE + "return-value")
    if result is not None and text_of(result):
        return True
    parameters = node.findall(f"{CORE}parameters/{CORE}parameter")
    return bool(parameters) and all(text_of(each) for each in parameters)


def name_of(node):
    return node.get(C + "identifier") or node.get(C + "type") or node.get("name")


def walk(node, owner=""):
    for each in node:
        if each.tag in NAMED and each.get(GLIB + "is-gtype-struct-for") is None:
            yield each, f"{owner}{name_of(each)}"
        yield from walk(each, f"{name_of(each)}:" if each.tag == CORE + "class" else owner)


def dangling(root, symbols):
    """References of the texts, as gtk-doc writes them, to what is not there."""
    wanted = re.compile(r"\b(tenbox_\w+)\(\)|%(TENBOX_\w+)|#(Tenbox\w+)")
    problems = set()
    for doc in root.iter(CORE + "doc"):
        for match in wanted.finditer(doc.text or ""):
            name = match[1] or match[2] or match[3]
            if name not in symbols:
                problems.add(f"{doc.get('filename')}:{doc.get('line')}: {name}")
    return sorted(problems)


def main():
    gir, config, content = sys.argv[1:]
    root = ElementTree.parse(gir).getroot()
    symbols = {"TENBOX_ERROR"}  # a macro that stands for a call: no symbol of a GIR
    for node in root.iter():
        symbols.update(value for value in (node.get(C + "identifier"), node.get(C + "type"),
                                           node.get(GLIB + "get-type")) if value)
    found = list(walk(root.find(CORE + "namespace")))
    checks = [
        ("every public symbol is documented", [f"{name}: no comment" for node, name in found if not is_documented(node)]),
        ("what the texts refer to exists", dangling(root, symbols)),
        ("symbols were found at all", [] if len(found) > 200 else [f"only {len(found)}"]),
    ]
    print("1..4")
    failed = False
    for number, (title, problems) in enumerate(checks, 1):
        print(f"{'not ok' if problems else 'ok'} {number} {title}")
        for problem in problems:
            print(f"# {problem}")
        failed |= bool(problems)
    if shutil.which("gi-docgen") is None:
        print("ok 4 gi-docgen has no warning # SKIP there is no gi-docgen")
        return 1 if failed else 0
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["gi-docgen", "generate", "--quiet", "--fatal-warnings", "--config", config,
                               "--content-dir", content, "--output-dir", folder, gir],
                              capture_output=True, text=True, check=False)
    print(f"{'not ok' if made.returncode else 'ok'} 4 gi-docgen has no warning")
    for line in (made.stdout + made.stderr).splitlines():
        print(f"# {line}")
    return 1 if failed or made.returncode else 0


sys.exit(main())
