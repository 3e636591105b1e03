#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Memory of the process besides guest RAM, with an idle guest: resident and proportional set size of
# every mapping that is not guest memory. A table goes to standard error, JSON to standard output.
set -eu
. "$TENBOX_SOURCE/tests/bench/vmms.sh"
results=$(mktemp -d)

# KiB of all mappings smaller than half of guest RAM: "RSS PSS".
besides_guest() {
    awk -v limit=$((guest_memory * 512)) '
        $1 == "Size:" { counted = $2 < limit }
        $1 == "Rss:" && counted { rss += $2 }
        $1 == "Pss:" && counted { pss += $2 }
        END { print rss + 0, pss + 0 }' "/proc/$1/smaps"
}

for vmm in $vmms; do
    mkfifo "$results/in" "$results/out"
    (exec_vmm "$vmm" "console=$console quiet hello=idle" TENBOX-HELLO) <"$results/in" \
        >"$results/out" 2>"$results/log" &
    parent=$!
    exec 3>"$results/in"
    if ! timeout 180 grep -q -m 1 TENBOX-HELLO <"$results/out"; then
        echo "$vmm: the guest did not come up:" >&2
        cat "$results/log" >&2
        exit 1
    fi
    process=$parent
    [ "$vmm" != tenbox ] || process=$(pgrep -P "$parent")
    besides_guest "$process" >"$results/$vmm"
    exec 3>&-
    kill "$parent" 2>/dev/null || true
    { wait "$parent" || true; } 2>/dev/null
    rm "$results/in" "$results/out"
done

printf '\n%-10s %14s %14s\n' memory 'RSS besides' 'PSS besides' >&2
read -r ours _ <"$results/tenbox"
printf '{"benchmark":"memory","arch":"%s","contenders":{' "$TENBOX_LAB_ARCH"
comma=
for vmm in $vmms; do
    read -r rss pss <"$results/$vmm"
    ratio=$(awk -v a="$ours" -v b="$rss" 'BEGIN { printf "%.3f", a / b }')
    printf '%-10s %10s KiB %10s KiB   tenbox = %s x\n' "$vmm" "$rss" "$pss" "$ratio" >&2
    printf '%s"%s":{"rss_kib":%s,"pss_kib":%s,"tenbox_ratio":%s}' "$comma" "$vmm" "$rss" "$pss" "$ratio"
    comma=,
done
printf '}}\n'
