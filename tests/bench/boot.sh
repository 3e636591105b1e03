#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# From exec to the guest's first program: time and exits. The guest switches itself off as the first
# thing it does (hello=signal), so that the life of the process is what is measured. Exits to user
# space are counted by the kernel's kvm_userspace_exit tracepoint, the same for all contenders.
# A table goes to standard error, JSON to standard output.
set -eu
. "$TENBOX_SOURCE/tests/bench/vmms.sh"
rounds=${1:-3}
results=$(mktemp -d)
tracing=/sys/kernel/tracing/events/kvm

start_counting() {
    echo 'hist:keys=reason if errno == 0' >"$tracing/kvm_userspace_exit/trigger"
    echo 'hist:keys=common_pid' >"$tracing/kvm_exit/trigger"
}

stop_counting() {
    echo '!hist:keys=reason if errno == 0' >"$tracing/kvm_userspace_exit/trigger"
    echo '!hist:keys=common_pid' >"$tracing/kvm_exit/trigger"
}

# How often KVM_RUN returned for that reason (a number of enum KVM_EXIT_*).
exits_for() {
    sed -n "s/^{ reason: *$1 } hitcount: *\([0-9]*\).*/\1/p" "$tracing/kvm_userspace_exit/hist" |
        grep . || echo 0
}

total_hits() {
    sed -n 's/^ *Hits: *\([0-9]*\)/\1/p' "$1"
}

round=1
while [ "$round" -le "$rounds" ]; do
    for vmm in $vmms; do
        start_counting
        begin=$(date +%s%N)
        (exec_vmm "$vmm" "console=$console quiet hello=signal") </dev/null \
            >"$results/$vmm.console" 2>"$results/$vmm.log" || {
            echo "$vmm failed:" >&2
            cat "$results/$vmm.log" >&2
            exit 1
        }
        end=$(date +%s%N)
        echo $(((end - begin) / 1000000)) >>"$results/$vmm.ms"
        echo $(($(exits_for 2) + $(exits_for 6))) >>"$results/$vmm.userspace"
        total_hits "$tracing/kvm_exit/hist" >>"$results/$vmm.exits"
        wc -c <"$results/$vmm.console" >>"$results/$vmm.bytes"
        sed -n 's/^exits \(.*\)/\1/p' "$results/$vmm.log" >"$results/$vmm.by-device"
        stop_counting
    done
    round=$((round + 1))
done

printf '\n%-10s %10s %16s %12s %14s\n' boot 'ms (median)' 'PIO+MMIO exits' 'all exits' 'console bytes' >&2
ours=$(median <"$results/tenbox.ms")
printf '{"benchmark":"boot","arch":"%s","rounds":%d,"contenders":{' "$TENBOX_LAB_ARCH" "$rounds"
comma=
for vmm in $vmms; do
    ms=$(median <"$results/$vmm.ms")
    userspace=$(median <"$results/$vmm.userspace")
    exits=$(median <"$results/$vmm.exits")
    bytes=$(median <"$results/$vmm.bytes")
    ratio=$(awk -v a="$ours" -v b="$ms" 'BEGIN { printf "%.2f", a / b }')
    printf '%-10s %10s %16s %12s %14s   tenbox = %s x\n' "$vmm" "$ms" "$userspace" "$exits" "$bytes" \
        "$ratio" >&2
    printf '%s"%s":{"ms":[%s],"userspace_exits":%s,"exits":%s,"console_bytes":%s,"tenbox_ratio":%s}' \
        "$comma" "$vmm" "$(paste -sd, "$results/$vmm.ms")" "$userspace" "$exits" "$bytes" "$ratio"
    comma=,
done
printf '}}\n'
echo >&2
echo 'Where the exits of tenbox come from:' >&2
sed 's/^/  /' "$results/tenbox.by-device" >&2
