#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs the named benchmarks one after the other in one lab host; each line of JSON on standard output
# is one result.
set -eu
for name in "$@"; do
    "$TENBOX_SOURCE/tests/bench/$name.sh"
done
