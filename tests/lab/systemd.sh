#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The lab host that runs systemd: its disk outlives its own reboots, and TenBox works in it.
# ./dev lab --host systemd -- tests/lab/systemd.sh
set -u
mark=/var/lib/tenbox-lab-mark
if [ "$TENBOX_LAB_BOOT" = 1 ]; then
    cat /proc/sys/kernel/random/boot_id >"$mark"
    sync
    systemctl reboot
    # Ended by the reboot.
    exec sleep infinity
fi
. "$TENBOX_SOURCE/tests/lab/lib/tap.sh"

is_another_boot() {
    [ -s "$mark" ] && [ "$(cat "$mark")" != "$(cat /proc/sys/kernel/random/boot_id)" ]
}

check "this is the second boot" equals 2 "$TENBOX_LAB_BOOT"
check "what the first one wrote is still there" is_another_boot
check "the first process is systemd" equals systemd "$(cat /proc/1/comm)"
create first idle --memory 512 --cpus 1 >/dev/null 2>&1
check "a VM starts" tenbox vm start first
check "and says hello" hello_line first
remove first >/dev/null 2>&1
pkill -x tenboxd
finish
