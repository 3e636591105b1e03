#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules of the house that a program can hold: who includes whom, what a library may not do, and
what every file carries. Prints TAP; a failing rule lists each place as file:line.

    lint.py SOURCE_ROOT [BUILD_ROOT]

Without BUILD_ROOT the rules that look at object files are skipped, with that reason. The list is kept
short on purpose: formatting belongs to clang-format (which is one of the rules), taste to review.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Who may include what, by the first match of the including file's path. A prefix ends in "/" or names a
# file. "public" stands for libtenbox's public headers.
PUBLIC = "public"
INCLUDE_MATRIX = [
    ("hypervisor/base/", ["hypervisor/base/"]),
    ("hypervisor/memory/", ["hypervisor/base/", "hypervisor/memory/"]),
    ("hypervisor/kvm/", ["hypervisor/base/", "hypervisor/memory/", "hypervisor/kvm/"]),
    ("hypervisor/devices/", ["hypervisor/base/", "hypervisor/machine/bus.h", "hypervisor/devices/"]),
    ("hypervisor/pci/", ["hypervisor/base/", "hypervisor/memory/", "hypervisor/machine/bus.h",
                         "hypervisor/pci/"]),
    ("hypervisor/probe/", ["hypervisor/base/", "hypervisor/kvm/", "hypervisor/arch/arch.h",
                           "hypervisor/probe/"]),
    ("hypervisor/", ["hypervisor/"]),
    ("tenbox-runtime/control-protocol.h", []),
    ("tenbox-runtime/", ["hypervisor/", "tenbox-runtime/"]),
    ("libtenbox/wire/", ["libtenbox/wire/", "libtenbox/tenbox-enums.h", "libtenbox/tenbox-error.h",
                         "libtenbox/tenbox-types.h", "libtenbox/tenbox-version.h"]),
    ("libtenbox/driver/", ["libtenbox/driver/", "libtenbox/wire/", PUBLIC]),
    ("libtenbox/local/", ["libtenbox/local/", "libtenbox/driver/", "libtenbox/wire/",
                          "libtenbox/tenbox-enums.h", "libtenbox/tenbox-error.h",
                          "libtenbox/tenbox-types.h", "libtenbox/tenbox-version.h",
                          "tenbox-runtime/control-protocol.h"]),
    ("libtenbox/remote/", ["libtenbox/remote/", "libtenbox/driver/", "libtenbox/wire/",
                           "libtenbox/tenbox-enums.h", "libtenbox/tenbox-error.h",
                           "libtenbox/tenbox-types.h", "libtenbox/tenbox-version.h"]),
    ("libtenbox/test/", ["libtenbox/test/", "libtenbox/driver/", "libtenbox/wire/",
                         "libtenbox/local/operations.h", "libtenbox/local/sources.h",
                         "libtenbox/local/vm-state.h", "libtenbox/tenbox-enums.h",
                         "libtenbox/tenbox-error.h", "libtenbox/tenbox-types.h",
                         "libtenbox/tenbox-version.h"]),
    ("libtenbox/", ["libtenbox/driver/", "libtenbox/wire/", PUBLIC, "libtenbox/tenbox-internal.h",
                    "libtenbox/tenbox-private.h", "libtenbox/tenbox-task.h"]),
    ("tenboxd/", ["tenboxd/", "libtenbox/wire/", "libtenbox/driver/", "libtenbox/local/line-log.h", PUBLIC]),
    ("tenbox-cli/", ["tenbox-cli/", PUBLIC]),
]
# What the folders below GLib may not see at all.
FOREIGN_BELOW_GLIB = re.compile(r"<(glib|gio|gobject|json-glib|libsoup|gnutls)[/.-]")

SOURCE_FOLDERS = ["hypervisor", "tenbox-runtime", "libtenbox", "tenboxd", "tenbox-cli", "tests", "data",
                  "po", "docs"]
C_FOLDERS = ["hypervisor", "tenbox-runtime", "libtenbox", "tenboxd", "tenbox-cli", "tests"]
LIBRARIES = {
    "hypervisor/libhypervisor.a": "plain",
    "tenbox-runtime/libtenbox-runtime.a": "plain",
    "libtenbox/libtenbox-objects.a": "gobject",
}
# Data that GObject's own macros make: type ids, parent classes, offsets, signal and property tables.
GOBJECT_DATA = re.compile(r"(static_g_define_type_id|_parent_class|_private_offset|_type_id|g_define_type_id"
                          r"|signals|properties|_once|quark|_resource|^static_resource|_init_done|^type|^initialized)(\.\d+)?$|^q\.\d+$")
FORBIDDEN_CALLS = {"exit", "_exit", "_Exit", "quick_exit", "abort", "g_abort", "system", "popen", "gets",
                   "strcpy", "strcat", "sprintf", "vsprintf", "mktemp", "tmpnam"}


class Report:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def rule(self, name, problems):
        self.count += 1
        if problems:
            self.failed += 1
            print(f"not ok {self.count} - {name}")
            for problem in problems:
                print(f"# {problem}")
        else:
            print(f"ok {self.count} - {name}")

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}")


def tracked_files(root):
    """What git knows or would take; every file in a tree without git."""
    git = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, text=True)
    if git.returncode == 0:
        return sorted(f for f in git.stdout.splitlines() if os.path.isfile(os.path.join(root, f)))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", "build", ".cache")]
        found += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(found)


def lines_of(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
        return stream.read().split("\n")


def is_public_header(path):
    return re.fullmatch(r"libtenbox/tenbox(-[a-z-]+)?\.h", path) is not None and "private" not in path


def allowed(target, rules):
    for rule in rules:
        if rule == PUBLIC:
            if is_public_header(target):
                return True
        elif isinstance(rule, re.Pattern):
            if rule.fullmatch(target):
                return True
        elif target == rule or (rule.endswith("/") and target.startswith(rule)):
            return True
    return False


def check_includes(root, c_files):
    problems = []
    for path in c_files:
        rules = next((r for prefix, r in INCLUDE_MATRIX if path.startswith(prefix)), None)
        below_glib = path.startswith(("hypervisor/", "tenbox-runtime/"))
        if rules is None:
            continue
        for number, line in enumerate(lines_of(root, path), 1):
            quoted = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if quoted:
                target = quoted.group(1)
                # Generated headers have no place in the tree and hold no layer.
                if "/" not in target and not os.path.exists(os.path.join(root, os.path.dirname(path), target)):
                    continue
                if "/" not in target:
                    problems.append(f"{path}:{number}: \"{target}\" is not named from the top of the tree")
                elif not allowed(target, rules):
                    problems.append(f"{path}:{number}: may not include \"{target}\"")
            elif below_glib and FOREIGN_BELOW_GLIB.search(line) and line.lstrip().startswith("#"):
                problems.append(f"{path}:{number}: {line.strip()} below GLib's line")
    return problems


def check_spdx(root, files):
    wanted = re.compile(r"SPDX-License-Identifier: (LGPL-2\.1-or-later|MIT|CC0-1\.0)")
    needs = re.compile(r"(\.(c|h|S|py|sh|yaml|ts|map|lds|in)|meson\.build|meson_options\.txt|(^|/)(dev|run))$")
    return [f"{path}: no SPDX line in its first five" for path in files
            if needs.search(path) and not any(wanted.search(line) for line in lines_of(root, path)[:5])]


def check_readmes(root, files):
    """Each folder with programs in it says what it may use and who uses it. A folder two levels below a
    README of its own kind (one architecture, one library's tests) is spoken for by that one."""
    folders = {os.path.dirname(f) for f in files if f.endswith((".c", ".py", ".sh", ".yaml")) and "/" in f}
    folders |= {top for top in SOURCE_FOLDERS if top != "docs" and os.path.isdir(os.path.join(root, top))}
    problems = []
    for folder in sorted(folders):
        place = "/".join(folder.split("/")[:2])
        path = os.path.join(place, "README.md")
        if not os.path.exists(os.path.join(root, path)):
            problems.append(f"{folder}: no {path}")
            continue
        text = "\n".join(lines_of(root, path)[:8]).lower()
        if "may use" not in text or "used by" not in text:
            problems.append(f"{path}: does not begin with \"may use\" and \"used by\"")
    return problems


def check_text(root, files):
    """What a reader of another machine cannot use, and white space that only makes diffs."""
    problems = []
    for path in files:
        if path.startswith("LICENSES/") or \
                not re.search(r"\.(c|h|S|py|sh|md|yaml|build|txt|list|map)$|(^|/)(dev|run)$", path):
            continue
        lines = lines_of(root, path)
        for number, line in enumerate(lines, 1):
            if line != line.rstrip() and not path.endswith(".md"):
                problems.append(f"{path}:{number}: trailing white space")
            if "\t" in line and path.endswith((".c", ".h", ".py")):
                problems.append(f"{path}:{number}: tab")
            # Written in two halves, so that the rule does not find itself.
            if re.search("/wo" r"rk/|\.\./sha" "red|deb\\.deb" "ian\\.org", line):
                problems.append(f"{path}:{number}: names a place that is only on one machine")
        if lines and lines[-1] != "":
            problems.append(f"{path}: no newline at its end")
    return problems


def check_format(root, c_files):
    clang_format = shutil.which("clang-format-14") or shutil.which("clang-format")
    if clang_format is None:
        return None, "clang-format is not installed"
    version = subprocess.run([clang_format, "--version"], capture_output=True, text=True).stdout
    if not re.search(r"version 14\.", version):
        return None, f"the format is that of clang-format 14, here is: {version.strip()}"
    run = subprocess.run([clang_format, "--dry-run", "-Werror"] + c_files, cwd=root, capture_output=True,
                         text=True)
    places = re.findall(r"^(\S+:\d+):\d+: error", run.stderr, re.M)
    problems = sorted(set(places), key=places.index)
    if run.returncode != 0 and not problems:
        problems = [run.stderr.strip()]
    return [f"{p}: not formatted (clang-format -i)" for p in problems[:40]], None


def symbols(library):
    run = subprocess.run(["objdump", "-t", library], capture_output=True, text=True, check=True)
    member = "?"
    for line in run.stdout.splitlines():
        header = re.match(r"(\S+\.o):\s+file format", line)
        if header:
            member = header.group(1)
            continue
        row = re.match(r"[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(\S+)$", line)
        if row:
            yield member, row.group(1), row.group(2), int(row.group(3), 16), row.group(4)


def check_file_scope_data(library, kind):
    problems = []
    for member, flags, section, size, name in symbols(library):
        if "O" not in flags or size == 0:
            continue
        if not re.match(r"\.(data|bss|tdata|tbss)($|\.)", section) or section.startswith(".data.rel.ro"):
            continue
        if kind == "gobject" and GOBJECT_DATA.search(name):
            continue
        if name.startswith(("__asan", "__ubsan", "__gcov", "_ubsan", ".L")):
            continue
        problems.append(f"{member}: {name} ({size} bytes in {section}) is not const")
    return problems


def check_calls(library):
    return sorted({f"{member}: calls {name}" for member, _, section, _, name in symbols(library)
                   if section == "*UND*" and name in FORBIDDEN_CALLS})


def check_fatal_logs(root, c_files):
    """g_error() ends the process, but as a symbol it is g_log() like any other message."""
    return [f"{path}:{number}: g_error() ends the process" for path in c_files
            if path.startswith("libtenbox/") for number, line in enumerate(lines_of(root, path), 1)
            if re.search(r"\bg_error ?\(", line)]


def check_runtime_libraries(runtime):
    run = subprocess.run(["ldd", runtime], capture_output=True, text=True)
    if run.returncode != 0:
        return [f"ldd: {run.stderr.strip()}"]
    return [line.strip() for line in run.stdout.splitlines()
            if re.search(r"lib(glib|gobject|gio|gmodule|soup|json-glib|gnutls)", line)]


def check_shell(root, files):
    scripts = [f for f in files if re.match(r"#!/bin/(busybox )?sh|# shellcheck shell=sh", lines_of(root, f)[0])]
    if shutil.which("shellcheck") is None:
        return None, "shellcheck is not installed"
    # Left out: variables that the sourcing script sets or reads, and NAME= without quotes.
    run = subprocess.run(["shellcheck", "-s", "dash", "-S", "warning", "-e", "SC2034,SC2154,SC1007", "-f", "gcc"] +
                         scripts, cwd=root, capture_output=True, text=True)
    return run.stdout.splitlines() + run.stderr.splitlines(), None


def check_filter(root, c_files):
    """A request that the filters let through and that nobody makes is surface for nothing."""
    text = "\n".join("\n".join(lines_of(root, f)) for f in c_files
                     if f.startswith("hypervisor/") and f.endswith(".c"))
    path = "tenbox-runtime/syscalls.c"
    return [f"{path}:{number}: nothing in hypervisor/ issues {name}"
            for number, line in enumerate(lines_of(root, path), 1)
            for name in re.findall(r"\bKVM_[A-Z0-9_]+", line.split("/*")[0])
            if not re.search(rf"\b{name}\b", text)]


def check_translations(root, c_files):
    path = os.path.join(root, "po/POTFILES.in")
    if not os.path.exists(path):
        return ["po/POTFILES.in is missing"]
    listed = {line for line in lines_of(root, "po/POTFILES.in") if line and not line.startswith("#")}
    marked = {f for f in c_files if f.endswith(".c") and not f.startswith("tests/") and
              re.search(r"\b(_|N_|ngettext|C_)\(\"", "\n".join(lines_of(root, f)))}
    return [f"{f}: has translatable text but is not in po/POTFILES.in" for f in sorted(marked - listed)] + \
           [f"po/POTFILES.in: {f} has no translatable text" for f in sorted(listed - marked)]


def check_catalogues(root):
    """Problems, or None and the reason why they cannot be known."""
    if not shutil.which("xgettext") or not shutil.which("msgcmp"):
        return None, "there is no gettext"
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        template = os.path.join(folder, "tenbox.pot")
        # What meson's preset "glib" asks for.
        subprocess.run(["xgettext", "--directory=" + root, "--files-from=" + os.path.join(root, "po/POTFILES.in"),
                        "--output=" + template, "--from-code=UTF-8", "--keyword=_", "--keyword=N_",
                        "--keyword=C_:1c,2", "--keyword=NC_:1c,2", "--keyword=g_dngettext:2,3",
                        "--keyword=ngettext:1,2", "--keyword=g_dcgettext:2", "--keyword=g_dpgettext2:2c,3"],
                       check=True)
        for language in (line for line in lines_of(root, "po/LINGUAS") if line and not line.startswith("#")):
            catalogue = f"po/{language}.po"
            for command in (["msgfmt", "--check", "--output-file=" + os.devnull],
                            ["msgcmp", "--no-fuzzy-matching"]):
                last = [template] if command[0] == "msgcmp" else []
                done = subprocess.run([*command, os.path.join(root, catalogue), *last], check=False,
                                      capture_output=True, text=True)
                if done.returncode != 0:
                    problems += [f"{catalogue}: {line}" for line in done.stderr.splitlines()]
            if any(line.startswith("#~") for line in lines_of(root, catalogue)):
                problems.append(f"{catalogue}: has messages that no source has any more")
    return problems, None


def main():
    root = os.path.abspath(sys.argv[1])
    build = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
    files = tracked_files(root)
    c_files = [f for f in files if f.endswith((".c", ".h")) and f.startswith(tuple(d + "/" for d in C_FOLDERS))]
    report = Report()

    report.rule("includes follow the layers", check_includes(root, c_files))
    report.rule("every source file has an SPDX line", check_spdx(root, files))
    report.rule("every folder is explained by a README", check_readmes(root, files))
    report.rule("text files are clean and name no machine", check_text(root, files))
    problems, reason = check_format(root, c_files)
    if problems is None:
        report.skip("C is formatted", reason)
    else:
        report.rule("C is formatted", problems)
    problems, reason = check_shell(root, files)
    if problems is None:
        report.skip("shell scripts pass shellcheck", reason)
    else:
        report.rule("shell scripts pass shellcheck", problems)
    report.rule("libtenbox logs nothing that ends the process", check_fatal_logs(root, c_files))
    report.rule("translatable files are listed", check_translations(root, c_files))
    problems, reason = check_catalogues(root)
    if problems is None:
        report.skip("translations are complete", reason)
    else:
        report.rule("translations are complete", problems)
    report.rule("the system-call filters allow no KVM request that nobody makes", check_filter(root, c_files))

    for library, kind in LIBRARIES.items():
        path = os.path.join(build, library) if build else None
        data_rule = f"{library}: no file-scope data that is not const"
        calls_rule = f"{library}: calls nothing that ends the process or overruns a buffer"
        if path is None or not os.path.exists(path):
            report.skip(data_rule, "not built")
            report.skip(calls_rule, "not built")
            continue
        report.rule(data_rule, check_file_scope_data(path, kind))
        report.rule(calls_rule, check_calls(path))
    runtime = os.path.join(build, "tenbox-runtime/tenbox-runtime") if build else None
    if runtime and os.path.exists(runtime):
        report.rule("tenbox-runtime loads no GLib, GObject or soup", check_runtime_libraries(runtime))
    else:
        report.skip("tenbox-runtime loads no GLib, GObject or soup", "not built")
    print(f"1..{report.count}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
