#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A host whose kernel has KVM but no interrupt controller for guests, as some Raspberry Pi 5 kernels:
# ./dev lab --arch aarch64 --device-tree no-vgic -- tests/lab/no-vgic.sh
set -u
. "$TENBOX_SOURCE/tests/lab/lib/tap.sh"

doctor_explains() {
    status=0
    tenbox system doctor >"$work/doctor" 2>&1 || status=$?
    cat "$work/doctor"
    equals 1 "$status" && grep -qi 'interrupt controller' "$work/doctor"
}

check "this host is one of that kind" sh -c '[ -c /dev/kvm ] && ! grep -q vgic /proc/interrupts'
check "the doctor names the interrupt controller" doctor_explains
create none idle --memory 512 >/dev/null 2>&1
check "a start is refused in the same words" fails 1 'interrupt controller' tenbox vm start none
check "the VM is stopped" equals stopped "$(field none .state)"
pkill -x tenboxd
finish
