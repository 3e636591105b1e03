#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Stock Debian kernels in TenBox, as a user runs them: the command line, the daemon that it starts, the
# runtime, real KVM. Runs in the lab host (./dev lab -- tests/lab/hello.sh) and prints TAP.
#
#   hello.sh [CASE...]    the cases below, by name; all of them unless told otherwise
#
# TENBOX_TEST_LONG=1 does more of everything.
set -u
. "$TENBOX_SOURCE/tests/lab/lib/tap.sh"
long=${TENBOX_TEST_LONG:+1}
case $TENBOX_LAB_ARCH in
    x86_64) kernels=${long:+12-cloud }'13-cloud 12 13' ;;
    aarch64) kernels=${long:+12 13-cloud }'12-cloud 13' ;;
esac

# One hello and power-off of a stock kernel.
boots_to_hello() { # KERNEL
    create_stock "kernel-$1" "$1" poweroff --memory 512 --cpus 1 && tenbox vm start "kernel-$1" &&
        hello_line "kernel-$1" && wait_state "kernel-$1" stopped &&
        equals guest-power-off "$(field "kernel-$1" .last_exit.reason)"
}

host_memory() { # in MiB
    awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo
}

case_first() {
    memory=4096
    [ "$(host_memory)" -ge 4500 ] || memory=512
    check "the first VM, as the handbook says" tenbox vm create --name foo \
        --kernel "$(guest)/vmlinuz" --initrd "$(guest)/initrd" --memory $memory
    check "it starts" tenbox vm start foo
    check "it says hello" hello_line foo
    check "its shell answers on the console" shell_answers foo
    check "it is removed while it runs" tenbox vm rm --force foo
    check "nothing of it is left" nothing_left
}

# Types into the shell of the guest and reads what it says.
shell_answers() {
    mkfifo "$work/typed" "$work/shown"
    tenbox vm console "$1" <"$work/typed" >"$work/shown" 2>/dev/null &
    exec 4>"$work/typed"
    # The answer differs from what is typed, for the console echoes that.
    # shellcheck disable=SC2016
    echo 'echo answer-$((6 * 7))' >&4
    answered=0
    timeout 120 grep -q -m 1 answer-42 <"$work/shown" || answered=1
    exec 4>&-
    kill $! 2>/dev/null
    rm "$work/typed" "$work/shown"
    return $answered
}

nothing_left() {
    equals '' "$(pgrep -x tenbox-runtime)" && equals '' "$(find "$vms" -mindepth 1 2>/dev/null)"
}

case_kernels() {
    for kernel in $kernels; do
        check "Debian $kernel boots and switches itself off" boots_to_hello "$kernel"
        remove "kernel-$kernel" >/dev/null 2>&1
    done
}

# Kernels as other distributions wrap them, made from the stock one.
case_formats() {
    [ "$TENBOX_LAB_ARCH" = aarch64 ] || return 0
    wrapped=$TENBOX_SOURCE/build/guest/aarch64/wrapped
    for format in gz zboot; do
        tenbox vm create --name "format-$format" --memory 512 --kernel "$wrapped/vmlinuz.$format" \
            --initrd "$(guest 12-cloud)/initrd" --cmdline "console=$console quiet hello=idle" >/dev/null 2>&1
        check "a kernel as $format starts" tenbox vm start "format-$format"
        check "and says hello" hello_line "format-$format"
        remove "format-$format" >/dev/null 2>&1
    done
}

case_cpus() {
    for cpus in 1 4 8; do
        create "cpus-$cpus" idle --memory 512 --cpus "$cpus" >/dev/null 2>&1
        tenbox vm start "cpus-$cpus" >/dev/null 2>&1
        check "$cpus virtual CPUs are online" equals "$cpus" "$(hello_value "cpus-$cpus" cpus)"
        remove "cpus-$cpus" >/dev/null 2>&1
    done
}

# 64 of them are more than an emulated host can run: the guest knows of all, and brings up four.
case_many_cpus() {
    if [ "$TENBOX_LAB_ARCH" = aarch64 ] && [ "$TENBOX_LAB_GIC" = 2 ]; then
        check "9 virtual CPUs are too many for a GICv2" nine_cpus
        remove many >/dev/null 2>&1
        return
    fi
    faster="$faster maxcpus=4" create many idle --memory 1024 --cpus 64 >/dev/null 2>&1
    tenbox vm start many >/dev/null 2>&1
    line=$(hello_line many)
    check "64 virtual CPUs are possible" equals 0-63 \
        "$(echo "$line" | sed -n 's/.* possible=\([^ ]*\).*/\1/p')"
    check "four of them are online" equals 4 "$(echo "$line" | sed -n 's/.* cpus=\([^ ]*\).*/\1/p')"
    remove many >/dev/null 2>&1
}

nine_cpus() {
    create many idle --memory 512 --cpus 9 && fails 2 cpu_count tenbox vm start many &&
        equals stopped "$(field many .state)"
}

case_memory() {
    create small idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start small >/dev/null 2>&1
    memory=$(hello_value small memory_kib)
    check "512 MiB are there" test "${memory:-0}" -gt 430000 -a "${memory:-0}" -le 524288
    remove small >/dev/null 2>&1
    if [ "$(host_memory)" -lt 5500 ]; then
        skip "5 GiB are there" "the lab host has less; give it --memory 7168"
        return
    fi
    create large idle --memory 5GiB --cpus 1 >/dev/null 2>&1
    tenbox vm start large >/dev/null 2>&1
    memory=$(hello_value large memory_kib)
    check "5 GiB are there, on both sides of the hole" test "${memory:-0}" -gt 4900000
    remove large >/dev/null 2>&1
}

case_reboot() {
    times=10
    create again reboot --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start again >/dev/null 2>&1
    process=$(field again .pid)
    check "a guest reboots itself $times times" console_lines again TENBOX-HELLO $((times + 1))
    check "it is the same process" equals "$process" "$(field again .pid)"
    check "it runs all the time" equals running "$(field again .state)"
    remove again >/dev/null 2>&1
}

case_reset() {
    create reset idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start reset >/dev/null 2>&1
    hello_line reset >/dev/null
    check "reset is accepted" tenbox vm reset reset
    check "the guest says hello again" console_lines reset TENBOX-HELLO 2
    remove reset >/dev/null 2>&1
}

case_power_button() {
    create button idle --memory 512 --cpus 2 >/dev/null 2>&1
    tenbox vm start button >/dev/null 2>&1
    check "a guest to switch off" hello_line button
    check "the power button is pressed" tenbox vm shutdown button
    check "the guest switches itself off" wait_state button stopped
    check "that is the reason given" equals guest-power-off "$(field button .last_exit.reason)"
    tenbox vm start button >/dev/null 2>&1
    hello_line button >/dev/null
    check "stop presses it too, and waits" tenbox vm stop --timeout 120 button
    check "the guest did it" equals guest-power-off "$(field button .last_exit.reason)"
    tenbox vm start button >/dev/null 2>&1
    hello_line button >/dev/null
    check "reboot is the button and a start" tenbox vm reboot button
    check "it runs again" wait_state button running
    check "a forced stop" tenbox vm stop --force button
    check "has its own reason" equals host-power-off "$(field button .last_exit.reason)"
    remove button >/dev/null 2>&1
}

case_pause() {
    create still '' --memory 512 --cpus 2 >/dev/null 2>&1
    tenbox vm start still >/dev/null 2>&1
    hello_line still >/dev/null
    check "pause" tenbox vm pause still
    check "the state says so" equals paused "$(field still .state)"
    check "a paused VM does not take the power button" fails 4 paused tenbox vm shutdown still
    before=$(processor_time "$(field still .pid)")
    sleep 2
    check "its CPUs stand still" at_most $((before + 10)) "$(processor_time "$(field still .pid)")"
    check "resume" tenbox vm resume still
    check "it runs" equals running "$(field still .state)"
    check "its shell answers" shell_answers still
    remove still >/dev/null 2>&1
}

# Hundredths of a second that a process has used.
processor_time() {
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

case_console() {
    create talk idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start talk >/dev/null 2>&1
    (console_lines talk TENBOX-HELLO >"$work/first"; echo $? >"$work/first.status") &
    other=$!
    console_lines talk TENBOX-HELLO >"$work/second"
    wait $other
    check "two readers of one console see the same" \
        equals "$(cat "$work/first")" "$(cat "$work/second")"
    check "and see something" grep -q TENBOX-HELLO "$work/first"
    check "the log has it too" sh -c 'tenbox vm logs talk | grep -q TENBOX-HELLO'
    remove talk >/dev/null 2>&1
}

# A break of the serial line is the SysRq key of a guest; the next letter says what it shall do.
case_break() {
    faster="$faster sysrq_always_enabled" create sysrq idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start sysrq >/dev/null 2>&1
    check "a guest that knows the SysRq key" hello_line sysrq
    check "a break, and h for help" ask_for_help sysrq
    check "the guest's kernel helps" tenbox vm wait --timeout 60 --for 'log:sysrq: HELP' sysrq
    remove sysrq >/dev/null 2>&1
}

# The window in which a kernel takes the letter is five seconds of the guest.
ask_for_help() {
    tenbox vm send-key "$1" break && printf 'h\035.' | tenbox vm console "$1" >/dev/null
}

case_three() {
    for number in 1 2 3; do
        create "three-$number" idle --memory 384 --cpus 1 >/dev/null 2>&1
        tenbox vm start "three-$number" >/dev/null 2>&1
    done
    for number in 1 2 3; do
        check "VM $number of three at once says hello" hello_line "three-$number"
    done
    check "three are listed as running" equals 3 \
        "$(tenbox vm ls -o json | jq '[.[] | select(.state == "running")] | length')"
    remove three-1 three-2 three-3 >/dev/null 2>&1
}

case_crash() {
    create doomed idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start doomed >/dev/null 2>&1
    hello_line doomed >/dev/null
    kill -9 "$(field doomed .pid)"
    check "a killed runtime is a crashed VM" wait_state doomed crashed
    check "the signal is named" equals SIGKILL "$(field doomed .last_exit.signal)"
    check "it starts again" tenbox vm start doomed
    check "and says hello" hello_line doomed
    remove doomed >/dev/null 2>&1
}

# Virtual machines outlive the daemon, however it ends.
case_daemon() {
    create survivor idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start survivor >/dev/null 2>&1
    hello_line survivor >/dev/null
    process=$(field survivor .pid)
    kill -9 "$(daemon_pid)"
    check "the runtime outlives its daemon" kill -0 "$process"
    check "the next daemon finds it running" wait_state survivor running
    check "it is the same process" equals "$process" "$(field survivor .pid)"
    check "its console is still there" hello_line survivor
    check "it obeys the new daemon" tenbox vm stop --timeout 120 survivor
    remove survivor >/dev/null 2>&1
}

# Create, start, stop, delete again and again: the daemon ends as it was.
case_leaks() {
    cycles=${long:+50}
    cycles=${cycles:-10}
    one_cycle warm-up >/dev/null 2>&1
    descriptors=$(daemon_descriptors)
    memory=$(daemon_memory)
    done_cycles=0
    while [ "$done_cycles" -lt "$cycles" ] && one_cycle "cycle-$done_cycles" >"$work/cycle.log" 2>&1; do
        done_cycles=$((done_cycles + 1))
    done
    [ "$done_cycles" -eq "$cycles" ] || sed 's/^/# /' "$work/cycle.log"
    check "$cycles cycles" equals "$cycles" "$done_cycles"
    check "no descriptor is left open" equals "$descriptors" "$(daemon_descriptors)"
    # Caches may still fill; 50 KiB a cycle would be a leak.
    check "no memory is lost" at_most $((memory + 500)) "$(daemon_memory)"
    check "no process and no file is left" nothing_left
}

one_cycle() {
    create "$1" idle --memory 128 --cpus 1 && tenbox vm start "$1" && tenbox vm stop --force "$1" &&
        tenbox vm rm --force "$1"
}

daemon_descriptors() {
    find "/proc/$(daemon_pid)/fd" -mindepth 1 | wc -l
}

daemon_memory() { # KiB that only the daemon has
    awk '$1 == "Private_Dirty:" { sum += $2 } END { print sum }' "/proc/$(daemon_pid)/smaps_rollup"
}

# How often the guest leaves to user space on its way to init, the bytes of the console apart.
case_exits() {
    create_stock exits 13 idle --memory 512 --cpus 1 >/dev/null 2>&1
    tenbox vm start exits >/dev/null 2>&1
    hello_line exits >/dev/null
    field exits '.statistics.exits | to_entries[] | "\(.key) \(.value)"' >"$work/exits"
    sed 's/^/# exits: /' "$work/exits"
    check "the exits are counted" grep -q '^serial-data [1-9]' "$work/exits"
    check "at most 500 exits to init" at_most 500 \
        "$(awk '$1 != "serial-data" { sum += $2 } END { print sum + 0 }' "$work/exits")"
    remove exits >/dev/null 2>&1
}

case_doctor() {
    check "the doctor finds a KVM that works" tenbox system doctor
}

# Wrong input: a message that names the field or the file, the right status, and nothing left behind.
case_bad_input() {
    good=$(guest)
    : >"$work/empty"
    head -c 100000 /dev/urandom >"$work/garbage"
    head -c 200000 "$good/vmlinuz" >"$work/truncated"
    set -- tenbox vm create --name bad --memory 512
    check "a kernel that is not there" fails 1 nowhere "$@" --kernel /nowhere
    check "an empty kernel" fails 1 kernel "$@" --kernel "$work/empty"
    check "a folder for a kernel" fails 1 kernel "$@" --kernel /tmp
    check "an initrd that is not there" fails 1 nowhere "$@" --kernel "$good/vmlinuz" --initrd /nowhere
    check "memory 0" fails 2 memory tenbox vm create --name bad --kernel "$good/vmlinuz" --memory 0
    check "more memory than there is" fails 1 memory tenbox vm create --name bad \
        --kernel "$good/vmlinuz" --memory 4TiB
    check "0 virtual CPUs" fails 2 cpu "$@" --kernel "$good/vmlinuz" --cpus 0
    check "65 virtual CPUs" fails 2 cpu "$@" --kernel "$good/vmlinuz" --cpus 65
    check "an over-long command line" fails 2 cmdline "$@" --kernel "$good/vmlinuz" \
        --cmdline "$(head -c 2100 /dev/zero | tr '\0' x)"
    check "a name with a blank" fails 2 name tenbox vm create --name 'b d' --kernel "$good/vmlinuz"
    check "nothing was left behind" nothing_left
    for file in garbage truncated; do
        tenbox vm create --name bad --kernel "$work/$file" --memory 512 >/dev/null 2>&1
        check "a $file kernel is refused by its name" fails 1 kernel tenbox vm start bad
        check "the VM with the $file kernel is stopped" wait_state bad stopped
        remove bad >/dev/null 2>&1
    done
    # Each has less than its kernel says that it needs before it can say anything itself.
    case $TENBOX_LAB_ARCH in
        x86_64) little=64 enough=128 ;;
        aarch64) little=32 enough=64 ;;
    esac
    tenbox vm create --name bad --kernel "$good/vmlinuz" --memory $little >/dev/null 2>&1
    check "$little MiB are refused, and enough is named" \
        fails 2 "memory_mb: is too small for this kernel: give it $enough MiB" tenbox vm start bad
    check "the VM with $little MiB is stopped" wait_state bad stopped
    remove bad >/dev/null 2>&1
    tenbox vm create --name taken --kernel "$good/vmlinuz" --memory 512 >/dev/null 2>&1
    check "a name that is taken" fails 4 taken tenbox vm create --name taken \
        --kernel "$good/vmlinuz" --memory 512
    remove taken >/dev/null 2>&1
    check "a VM that is not there" fails 3 absent tenbox vm start absent
    check "nothing is left behind" nothing_left
}

cases="first doctor kernels formats cpus many_cpus memory power_button reset pause console break three crash daemon
    exits bad_input reboot leaks"
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $cases
check "the command line starts the daemon" tenbox vm ls
if [ "$tap_failed" -ne 0 ]; then
    echo "Bail out! Without a daemon there is nothing to test."
    exit 1
fi
for name in "$@"; do
    note "case $name, $(cut -d ' ' -f 1 /proc/uptime) s since the lab host started"
    "case_$name"
done
pkill -x tenboxd
finish
