#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line in another language: help, tables and errors are translated, what scripts read is not.

    test-translation.py TENBOX CATALOGUES

CATALOGUES is the build folder's po. Prints TAP. Whether the catalogue is whole, a lint rule says.
"""
import json
import os
import subprocess
import sys
import unicodedata

TENBOX, CATALOGUES = sys.argv[1:]
URI = "test:///default"
POINTS = []


def run(*arguments, language="zh_CN"):
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": language, "TENBOX_LOCALE_DIR": CATALOGUES}
    for name in ("TENBOX_HOST", "TENBOX_FORMAT"):
        environment.pop(name, None)
    return subprocess.run([TENBOX, *arguments], env=environment, check=False, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=120, encoding="utf-8")


def is_chinese(text):
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


def width(text):
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def point(function):
    POINTS.append(function)
    return function


@point
def help_is_translated():
    """help is in Chinese, and its columns stand under each other"""
    shown = run("help").stdout
    assert is_chinese(shown), shown[:300]
    rows = [line for line in shown.splitlines() if line.startswith("  ") and is_chinese(line)]
    verbs = [line for line in rows if line.split()[0] in ("ls", "create", "start", "stop", "inspect", "console")]
    columns = {width(line[:len(line) - len(line.split(maxsplit=1)[1])]) for line in verbs}
    assert len(verbs) >= 6 and len(columns) == 1, (columns, verbs)
    for verb in (("help", "vm", "create"), ("help", "vm"), ("help", "events")):
        assert is_chinese(run(*verb).stdout), verb


@point
def errors_are_translated():
    """errors of usage are in Chinese, their status is the same"""
    done = run("vm", "strat", "x")
    assert done.returncode == 2 and is_chinese(done.stderr), done


@point
def tables_stand():
    """a table with headers in Chinese: each column begins at the same width in each row"""
    shown = run("-H", URI, "vm", "ls").stdout.splitlines()
    assert len(shown) == 5 and is_chinese(shown[0]), shown
    state = {width(line[:line.index(word)]) for line, word in
             zip(sorted(shown[1:]), ("running", "stopped", "crashed", "paused"))}
    header = shown[0]
    second = header.split()[1]
    assert state == {width(header[:header.index(second)])}, shown


@point
def scripts_are_not():
    """JSON, CSV and names are the same in every language"""
    for output in ("json", "csv", "name"):
        chinese, english = (run("-H", URI, "vm", "ls", "-o", output, language=language)
                            for language in ("zh_CN", "en"))
        assert chinese.returncode == english.returncode == 0, chinese
        if output == "json":
            assert [set(vm) for vm in json.loads(chinese.stdout)] == [set(vm) for vm in json.loads(english.stdout)]
        else:
            assert not is_chinese(chinese.stdout), chinese.stdout


def main():
    print(f"1..{len(POINTS)}")
    if not is_chinese(run("help").stdout) and subprocess.run(
            ["locale", "-a"], check=False, capture_output=True, text=True).stdout.find("C.utf8") < 0:
        for number, function in enumerate(POINTS, 1):
            print(f"ok {number} - {function.__name__} # SKIP this system has no locale C.UTF-8")
        return 0
    failed = 0
    for number, function in enumerate(POINTS, 1):
        try:
            function()
            print(f"ok {number} - {function.__doc__}")
        except Exception as problem:  # pylint: disable=broad-except
            failed = 1
            print(f"# {problem!r}\nnot ok {number} - {function.__doc__}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
