#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the places that say what libtenbox exports.

Public headers (with their availability mark and Since line), libtenbox.map, the dynamic symbols of the
library and the GIR must agree, so that no function is forgotten, exported by accident, given to the wrong
release, or out of the reach of bindings. Usage: check-symbols.py [--gir=FILE] LIBRARY MAP HEADER… ; TAP on
standard output.
"""
import re
import subprocess
import sys

import api

PRIVATE = re.compile(r"TENBOX_PRIVATE_\d+\.\d+\.\d+")


def read_headers(paths):
    """{function: (release of the mark, release of the Since line)}; a list of complaints."""
    functions, complaints = {}, []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        declaration = re.compile(
            r"(/\*\*(?:(?!\*/).)*?\*/\s*)?^TENBOX_AVAILABLE_IN_(\d+)_(\d+)\n(G_DECLARE[^)]*\)|[^;{]*?;)",
            re.S | re.M)
        for match in declaration.finditer(text):
            comment, major, minor, body = match.groups()
            release = f"{major}.{minor}"
            declared = re.match(r"G_DECLARE_FINAL_TYPE\(\s*(\w+),\s*(\w+)", body)
            name = declared[2] + "_get_type" if declared else re.search(r"(\w+)\(", body)[1]
            title = declared[1] if declared else name
            since = re.search(r"Since: (\d+\.\d+)", comment or "")
            if not comment or not re.match(r"/\*\*\s*\* " + title + r":\s", comment):
                complaints.append(f"{path}: {title} has no comment that begins with its name")
            functions[name] = (release, since[1] if since else None)
        bare = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        marked = len(re.findall(r"^TENBOX_AVAILABLE_IN_\d", bare, re.M))
        prototypes = len(re.findall(r"^[A-Za-z][^\n#;{}()]*?\btenbox_\w+\(", bare, re.M))
        prototypes += bare.count("G_DECLARE_FINAL_TYPE")
        if marked != prototypes:
            complaints.append(f"{path}: {prototypes} functions but {marked} availability marks")
    return functions, complaints


def read_map(path):
    """{node: [patterns]} of a linker version script."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    nodes = {}
    for name, body in re.findall(r"(\S+) \{(.*?)\}[^;]*;", text, re.S):
        body = body.split("local:")[0].replace("global:", "")
        nodes[name] = [word.strip() for word in body.split(";") if word.strip()]
    return nodes


def read_library(path):
    """{symbol: node} of what the library defines."""
    lines = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", path], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    symbols = {}
    for line in lines:
        kind, name = line.split()[-2:]
        if kind == "A":
            continue  # the nodes themselves
        symbol, _, node = name.partition("@@")
        symbols[symbol] = node
    return symbols


def main():
    library, map_path, *headers = [argument for argument in sys.argv[1:] if not argument.startswith("--gir=")]
    gir = next((argument[6:] for argument in sys.argv if argument.startswith("--gir=")), None)
    functions, complaints = read_headers(headers)
    nodes = read_map(map_path)
    symbols = read_library(library)
    dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    private = [node for node in nodes if PRIVATE.fullmatch(node)]
    public = {symbol: node for node in nodes if node not in private for symbol in nodes[node]}

    def differences(left, right, words):
        return [f"{name}: {words}" for name in sorted(set(left) - set(right))]

    checks = [
        ("headers are marked and commented", complaints),
        ("Since lines agree with the marks",
         [f"{name}: Since {since}, marked {release}" for name, (release, since) in functions.items()
          if since != release]),
        ("every public function is in the map, in the node of its release",
         [f"{name}: in {public.get(name)}" for name, (release, _) in functions.items()
          if public.get(name) != f"TENBOX_{release}"]),
        ("the map names only functions of the headers",
         differences(public, functions, "in no public header")),
        ("the map of a release has no patterns",
         [f"{name}: a pattern" for name in public if "*" in name]),
        ("the library exports what the map says",
         [f"{name}: {symbols.get(name, 'missing')}" for name, node in public.items()
          if symbols.get(name) != node]),
        ("everything else is private, in the one private node",
         [f"{name}@{node}" for name, node in symbols.items()
          if name not in public and (node not in private or not name.startswith("tbx_"))]),
        ("one private node, named with the exact version",
         [] if len(private) == 1 else [f"nodes: {', '.join(private) or 'none'}"]),
        ("lists are sorted",
         [f"{node}: not sorted" for node, names in nodes.items() if names != sorted(names)]),
        ("the soname", [] if "[libtenbox.so.0]" in dynamic else ["is not libtenbox.so.0"]),
        ("functions were found at all", [] if len(functions) > 50 else [f"only {len(functions)}"]),
    ]
    if gir:
        described = api.lines_of(gir)[1]
        checks += [
            ("every public function is in the GIR, with its release",
             [f"{name}: {described.get(name, ('missing',))[0]}; is its .c in libtenbox_public_sources?"
              for name, (release, _) in functions.items() if described.get(name, (None,))[0] != release]),
            ("the GIR has no other function",
             differences(described, functions, "in no public header")),
            ("bindings can call every function",
             [f"{name}: not introspectable, see its annotations" for name, (_, usable) in described.items()
              if not usable]),
        ]
    print(f"1..{len(checks)}")
    failed = False
    for number, (title, problems) in enumerate(checks, 1):
        print(f"{'not ok' if problems else 'ok'} {number} {title}")
        for problem in problems:
            print(f"# {problem}")
        failed |= bool(problems)
    return 1 if failed else 0


sys.exit(main())
