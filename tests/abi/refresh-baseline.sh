#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the baselines of tests/abi anew, from what build/native holds: after a change of the public API that
# is meant. Usage: tests/abi/refresh-baseline.sh [BUILD-FOLDER]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd -P)
build=${1:-$root/build/native}
PATH=/usr/bin:$PATH ninja -C "$build" --quiet libtenbox/Tenbox-0.gir libtenbox/libtenbox-objects.a
headers=
for header in "$root"/libtenbox/tenbox*.h; do
    case $header in
        *-internal.h | *-private.h | *-task.h) ;;
        *) headers="$headers $header" ;;
    esac
done
# shellcheck disable=SC2086
exec python3 "$root/tests/abi/check-baseline.py" --write "$build/libtenbox/libtenbox-objects.a" \
    "$root/libtenbox/libtenbox.map" "$build/libtenbox/Tenbox-0.gir" $headers
