#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manual pages, docs/cli.md, help and completion scripts, held against the command table. Prints TAP.

    test-manual.py TENBOX TENBOX_MANUAL TENBOXD SOURCE_ROOT

What a person looks up must be there, and be clean for those who typeset it (mandoc, groff) and for the shells that
source it; a tool that is not installed is a skip with that reason.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIMIT = 60


def output_of(*arguments, status=0, **extra):
    environment = dict(os.environ, LC_ALL="C.UTF-8", **extra)
    done = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT)
    text = done.stdout.decode()
    if done.returncode != status:
        raise AssertionError(f"{' '.join(arguments)} ends with {done.returncode}: {text}")
    return text


class Skip(Exception):
    pass


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")


class Manual:
    def __init__(self, tenbox, generator, tenboxd, root, folder):
        self.tenbox, self.generator, self.tenboxd, self.root, self.folder = tenbox, generator, tenboxd, root, folder
        output_of(generator, "man", folder)
        self.made = sorted(os.listdir(folder))
        for name in ("tenboxd.8", "tenboxd.conf.5"):
            shutil.copy(os.path.join(root, "data/man", name), folder)
        self.pages = sorted(os.listdir(folder))
        # First words and groups as completion offers them: the table, seen from outside.
        self.groups, self.top = [], []
        with tempfile.TemporaryDirectory() as home:
            self.quiet = {"TENBOX_CONFIG_DIR": home, "TENBOX_HOST": "unix:///nonexistent"}
            for group in self.words(""):
                inside = self.words(group, "")
                if group == "help":
                    continue
                if f"tenbox {group}:" in output_of(tenbox, "help"):
                    self.groups.append((group, inside))
                elif f"Usage: tenbox {group} " in output_of(tenbox, "help", group) or \
                        f"Usage: tenbox {group}\n" in output_of(tenbox, "help", group):
                    self.top.append(group)

    def words(self, *typed):
        return [line.split("\t")[0] for line in output_of(self.tenbox, "__complete", *typed, **self.quiet).splitlines()]

    def commands(self):
        return [f"{group} {name}" for group, names in self.groups for name in names] + self.top

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as stream:
            return stream.read()


def plain(text):
    """Roff escapes of a page undone, as far as these pages use them."""
    return text.replace("\\-", "-").replace("\\e", "\\").replace("\\(lq", "“").replace("\\(rq", "”")


def test_complete(manual):
    """Every command has its entry, with all its options and examples, in a page and in docs/cli.md."""
    pages = {name: plain(manual.read(name)) for name in manual.made}
    document = output_of(manual.generator, "markdown")
    commands = manual.commands()
    with open(os.path.join(manual.root, "data/man/meson.build"), encoding="utf-8") as stream:
        installed = set(re.findall(r"'(tenbox[a-z-]*\.1)'", stream.read()))
    assert installed == set(manual.made), f"data/man/meson.build installs {installed}, there are {manual.made}"
    assert len(commands) >= 38, f"only {len(commands)} commands are known: {commands}"
    for command in commands:
        help_text = output_of(manual.tenbox, "help", *command.split())
        group = command.split()[0]
        page = pages.get(f"tenbox-{group}.1", pages["tenbox.1"]) if " " in command else pages["tenbox.1"]
        assert f".SS tenbox {command}\n" in page, f"{command} has no entry in the manual"
        assert f"### tenbox {command} " in document, f"{command} has no entry in docs/cli.md"
        entry = page.split(f".SS tenbox {command}\n", 1)[1].split("\n.S", 1)[0]
        summary = help_text.split("\n\n")[1].split("\n")[0]
        assert len(summary) > 5 and summary in entry, f"{command}: its summary is not in the manual: {summary}"
        own = help_text.split("Options of all commands:")[0]
        for option in re.findall(r"--([a-z-]+)", own.split("Options:")[1] if "Options:" in own else ""):
            assert f"--{option}" in entry, f"{command} --{option} is not in the manual"
        examples = re.findall(r"^  (tenbox .*)$", help_text.split("Examples:")[1], re.M)
        assert examples, f"{command} has no example"
        for example in examples:
            assert example in entry.replace("\\&", "").replace("\\(ti", "~"), f"{example} is not in the manual"
    for option in re.findall(r"--([a-z-]+)", output_of(manual.tenbox, "help").split("Options of all commands:")[1]):
        assert f"--{option}" in pages["tenbox.1"], f"--{option} is not in tenbox.1"
    for name in re.findall(r"TENBOX_[A-Z_]+", document):
        assert name in pages["tenbox.1"], f"{name} is not in tenbox.1"


def test_current(manual):
    path = os.path.join(manual.root, "docs/cli.md")
    with open(path, encoding="utf-8") as stream:
        current = stream.read()
    assert output_of(manual.generator, "markdown") == current, \
        "docs/cli.md is not what the table says: tenbox-manual markdown >docs/cli.md"


def test_daemon(manual):
    help_text = output_of(manual.tenboxd, "--help")
    page, keys = plain(manual.read("tenboxd.8")), plain(manual.read("tenboxd.conf.5"))
    for option in re.findall(r"--([a-z-]+)", help_text):
        if option.startswith("help-"):
            continue
        assert f"--{option}" in page, f"--{option} is not in tenboxd.8"
    with open(os.path.join(manual.root, "docs/tenboxd.conf.md"), encoding="utf-8") as stream:
        rows = re.findall(r"^\| `([a-z_]+)` \|[^|]*\| ([^|]*) \|", stream.read(), re.M)
    assert rows, "docs/tenboxd.conf.md has no keys"
    for key, default in rows:
        assert f".B {key}" in keys, f"{key} is not in tenboxd.conf.5"
        if default.isdigit():
            entry = keys.split(f".B {key}")[1].split(".TP")[0]
            assert f"default {default}." in entry, f"{key}: the default in tenboxd.conf.5 is not {default}"


def test_mandoc(manual):
    need("mandoc")
    for name in manual.pages:
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", os.path.join(manual.folder, name)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, check=False)
        said = [line for line in done.stdout.decode().splitlines() if "missing date" not in line]
        assert not said, f"{name}: {said[:5]}"


def test_groff(manual):
    need("groff")
    for name in manual.pages:
        said = output_of("groff", "-man", "-ww", "-z", "-Tutf8", os.path.join(manual.folder, name))
        assert not said, f"{name}: {said}"


def test_man(manual):
    """As a person sees it: what the table says is on the screen, and no line runs out of it."""
    need("man")
    text = output_of("man", os.path.join(manual.folder, "tenbox.1"), MANWIDTH="80", MAN_KEEP_FORMATTING="",
                     MANPAGER="cat", PAGER="cat")
    assert "NAME" in text and "EXIT STATUS" in text and "--output" in text, text[:500]
    long = [line for line in text.splitlines() if len(line) > 80]
    assert not long, f"lines that are too long: {long[:3]}"


def complete_in_bash(manual, line):
    script = (f"source /usr/share/bash-completion/bash_completion 2>/dev/null; PATH={os.path.dirname(manual.tenbox)}:$PATH; "
              f"source <(tenbox completion bash); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; "
              f"COMP_WORDS=({line}{' ' * line.endswith(' ')}{chr(34) * 2 if line.endswith(' ') else ''}); "
              "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tenbox; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return output_of("bash", "-c", script, **manual.quiet).split()


def test_bash(manual):
    need("bash")
    assert {"start", "stats"} <= set(complete_in_bash(manual, "tenbox vm sta")), "commands"
    assert "--read-only" in complete_in_bash(manual, "tenbox vm console --rea"), "options"
    assert "yaml" in complete_in_bash(manual, "tenbox vm ls -o "), "words"
    here = os.getcwd()
    try:
        os.chdir(manual.root)
        assert "meson.build" in complete_in_bash(manual, "tenbox vm create --kernel meson.b"), "files"
        os.chdir(manual.folder)
        for name in ("star*", "starlet"):
            open(name, "wb").close()
        assert sorted(complete_in_bash(manual, "tenbox vm create --kernel sta")) == ["star*", "starlet"], "a pattern"
    finally:
        os.chdir(here)


def test_zsh(manual):
    need("zsh")
    script = os.path.join(manual.root, "data/completions/_tenbox")
    output_of("zsh", "-n", script)
    # What the function would hand to the shell, without a terminal to complete on.
    code = (f"PATH={os.path.dirname(manual.tenbox)}:$PATH; compdef() {{ : }}; _files() {{ print FILES }}; "
            "_describe() { print -l -- ${(P)2} }; "
            f"source {script}; words=(tenbox vm sta); CURRENT=3; _tenbox; "
            "words=(tenbox vm create --kernel ''); CURRENT=5; _tenbox; true")
    said = output_of("zsh", "-f", "-c", code, **manual.quiet).splitlines()
    assert any(line.startswith("start:") for line in said), said
    assert said[-1] == "FILES", said


def test_fish(manual):
    need("fish")
    script = os.path.join(manual.root, "data/completions/tenbox.fish")
    code = (f"set -x PATH {os.path.dirname(manual.tenbox)} $PATH; source {script}; "
            "complete -C 'tenbox vm sta'; complete -C 'tenbox vm ls -o y'")
    said = output_of("fish", "--no-config", "-c", code, HOME=manual.folder, **manual.quiet).splitlines()
    words = [line.split("\t")[0] for line in said]
    assert {"start", "stats", "yaml"} <= set(words), said


TESTS = [test_complete, test_current, test_daemon, test_mandoc, test_groff, test_man, test_bash, test_zsh, test_fish]


def main():
    tenbox, generator, tenboxd = [os.path.abspath(path) for path in sys.argv[1:4]]
    failed = 0
    print(f"1..{len(TESTS)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tenbox-manual-") as folder:
        manual = Manual(tenbox, generator, tenboxd, os.path.abspath(sys.argv[4]), folder)
        for number, test in enumerate(TESTS, 1):
            name = test.__name__[len("test_"):]
            try:
                test(manual)
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            except (AssertionError, OSError, IndexError, subprocess.TimeoutExpired) as problem:
                failed += 1
                print(f"not ok {number} - {name}")
                for line in f"{type(problem).__name__}: {problem}".splitlines()[:20]:
                    print(f"# {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
