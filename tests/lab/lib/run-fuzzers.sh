#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs every libFuzzer program of a build folder for a while, from its corpus. Prints TAP.
#
#   run-fuzzers.sh BUILD-FOLDER SOURCE-FOLDER OUTPUT-FOLDER SECONDS
#
# What is found stays in OUTPUT-FOLDER: new inputs in NAME.corpus, an input that fails in NAME.crash-*.
set -u
count=0
failed=0
mkdir -p "$3"
for program in "$1"/tests/fuzz/fuzz-*; do
    if [ ! -f "$program" ] || [ ! -x "$program" ]; then
        continue
    fi
    name=$(basename "$program")
    count=$((count + 1))
    mkdir -p "$3/$name.corpus"
    seeds=
    for folder in "$2/corpus/$name" "$2/corpus/${name#fuzz-}" "$2/$name.corpus"; do
        [ ! -d "$folder" ] || seeds=$folder
    done
    # shellcheck disable=SC2086
    if "$program" -max_total_time="$4" -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$3/$name." "$3/$name.corpus" $seeds >"$3/$name.log" 2>&1; then
        echo "ok $count - $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$3/$name.log") inputs"
    else
        failed=1
        echo "not ok $count - $name"
        tail -n 40 "$3/$name.log" | sed 's/^/# /'
    fi
done
if [ "$count" -eq 0 ]; then
    echo "1..0 # SKIP the build has no fuzzers"
else
    echo "1..$count"
fi
exit $failed
