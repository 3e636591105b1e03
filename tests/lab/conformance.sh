#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The conformance suite and the examples on what they are for: stock guests, the real runtime, real KVM. In
# process (local:///) and through a daemon.
#
#   ./dev lab -- tests/lab/conformance.sh [TEST-PATH...]      those below, unless told otherwise
set -u
. "$TENBOX_SOURCE/tests/lab/lib/tap.sh"
build=$TENBOX_BUILD
kernel=$(guest)/vmlinux
[ -e "$kernel" ] || kernel=$(guest)/vmlinuz
initrd=$(guest)/initrd
export TENBOX_TEST_DRIVER=uri TENBOX_TEST_KERNEL="$kernel" TENBOX_TEST_INITRD="$initrd"
export TENBOX_TEST_CMDLINE="console=$console quiet $faster"
export TENBOX_NO_AUTOSTART=1
# The cancellation of calls makes more VMs than the memory of this host has room for, and its cases, like the
# faults, ask nothing of a guest.
[ $# -gt 0 ] || set -- /vm /system /order /console /events

# Runs the suite and shows its points as they come, as comments.
# conformance URI PATH...
conformance() {
    conformance_uri=$1
    shift
    conformance_paths=
    for path; do
        conformance_paths="$conformance_paths -p $path"
    done
    # shellcheck disable=SC2086
    { TENBOX_TEST_URI=$conformance_uri "$build/tests/conformance/test-conformance" $conformance_paths 2>&1
        echo $? >"$work/conformance.status"; } | grep --line-buffered -vE 'DEBUG|^# (Start|End)' |
        sed -u 's/^/#   /' >&3
    [ "$(cat "$work/conformance.status")" -eq 0 ]
}
exec 3>&1

check "the suite in process, on a real guest" conformance "local://$work/local" "$@"

tenboxd --socket "$work/tenbox.sock" --data-folder "$work/served" 2>"$work/tenboxd.log" &
daemon=$!
tries=0
until TENBOX_HOST=unix://$work/tenbox.sock tenbox vm ls >/dev/null 2>&1 || [ $tries -ge 600 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
check "the suite through a daemon, on a real guest" conformance "unix://$work/tenbox.sock" "$@"
kill "$daemon"
wait "$daemon"

examples() {
    "$TENBOX_SOURCE/tests/examples/test-examples.py" --kernel "$(guest)/vmlinuz" --initrd "$(guest)/initrd" \
        "$TENBOX_SOURCE/docs/examples" "$build/libtenbox" "$build/tenboxd/tenboxd" \
        "$build/tenbox-runtime/tenbox-runtime" "$build/tests/examples/example-hello"
}
check "the examples boot the hello guest, on local:/// and a daemon" examples
sed -n 's/^\(not \)\{0,1\}ok/#   &/p' "$work/check.log"
finish
