#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts test points.

  tally.py meson SUITE LOG.json STATUS   what `meson test` left
  tally.py tap SUITE LOG STATUS          what a program that prints TAP wrote
  tally.py sum RESULTS                   all that the two above printed

The first two print "SUITE PASSED FAILED SKIPPED" on standard output, and each failure and each
reason for a skip on standard error; their exit status is 1 when something failed. A program that
prints TAP counts with its points, any other as one. A program that ends badly, or that does not run
all the points it planned, has failed even when all the points it did print are "ok".
"""
import json
import re
import sys

POINT = re.compile(r"^(not )?ok\b\s*\d*\s*-?\s*(.*?)(?:\s*#\s*(skip|todo)\S*\s*(.*))?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*skip\S*\s*(.*))?", re.I)


class Tally:
    def __init__(self, suite):
        self.suite = suite
        self.passed = self.failed = self.skipped = 0

    def fail(self, name, why):
        self.failed += 1
        print(f"not ok - {self.suite}: {name}{': ' + why if why else ''}", file=sys.stderr)

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped - {self.suite}: {name}: {why or 'no reason given'}", file=sys.stderr)

    def tap(self, name, text, bad_end):
        """Counts one TAP stream. False when it is none."""
        planned, points, failed_before = None, 0, self.failed
        explained = 0  # how many more lines of comment belong to a failure
        for line in text.splitlines():
            if line.startswith("#") and explained > 0:
                explained -= 1
                print(f"  {line}", file=sys.stderr)
                continue
            explained = 0
            plan = PLAN.match(line)
            point = POINT.match(line)
            if plan and planned is None:
                planned = int(plan.group(1))
                if planned == 0:
                    self.skip(name, plan.group(2))
            elif line.startswith("Bail out!"):
                self.fail(name, line)
            elif point:
                points += 1
                label = f"{name}: {point.group(2)}"
                directive = (point.group(3) or "").lower()
                if directive == "skip":
                    self.skip(label, point.group(4))
                elif point.group(1):
                    self.fail(label, "")
                    explained = 40
                else:
                    self.passed += 1
        if planned is None and points == 0:
            return False
        if planned is None:
            self.fail(name, "it printed no plan: it did not get to its end")
        elif planned != points:
            self.fail(name, f"{planned} points planned, {points} printed")
        elif bad_end and self.failed == failed_before:
            self.fail(name, bad_end)
        return True

    def finish(self):
        print(self.suite, self.passed, self.failed, self.skipped)
        return 1 if self.failed else 0


def tally_meson(suite, path, status):
    tally = Tally(suite)
    try:
        with open(path, encoding="utf-8") as file:
            tests = [json.loads(line) for line in file if line.strip()]
    except OSError as error:
        tally.fail("meson test", f"left no log: {error}")
        return tally.finish()
    for test in tests:
        name, result = test["name"].split(" / ")[-1], test["result"]
        bad_end = "" if result in ("OK", "SKIP", "EXPECTEDFAIL") else result.lower()
        if tally.tap(name, test.get("stdout", ""), bad_end):
            pass
        elif result == "SKIP":
            tally.skip(name, (test.get("stdout", "").strip().splitlines() or [""])[-1])
        elif bad_end:
            tally.fail(name, bad_end)
        else:
            tally.passed += 1
    if int(status) != 0 and tally.failed == 0:
        tally.fail("meson test", f"ended with status {status}")
    return tally.finish()


def tally_tap(suite, path, status):
    tally = Tally(suite)
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    bad_end = f"ended with status {status}" if int(status) != 0 else ""
    if not tally.tap(suite, text, bad_end):
        tally.fail(suite, bad_end or "it printed no test point")
    return tally.finish()


def tally_sum(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, *numbers = line.split()
            print(f"{name}: {numbers[0]} passed, {numbers[1]} failed, {numbers[2]} skipped")
            passed += int(numbers[0])
            failed += int(numbers[1])
            skipped += int(numbers[2])
    if passed + failed == 0:
        print("nothing was tested")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


def main():
    verb, arguments = sys.argv[1], sys.argv[2:]
    sys.exit({"meson": tally_meson, "tap": tally_tap, "sum": tally_sum}[verb](*arguments))


main()
