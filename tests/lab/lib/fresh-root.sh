#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds and tests a copy of this checkout in a fresh Debian, as a newcomer would. Prints TAP.
#
#   fresh-root.sh bookworm|trixie [SUITE...]     (unit by default)
#
# mmdebstrap makes the root, runs `./dev test` in it as root of that root, and throws it away. Without
# root rights it uses a user namespace.
set -u
release=$1
shift
[ $# -gt 0 ] || set -- unit
root=$(cd "$(dirname "$0")/../../.." && pwd -P)
# shellcheck source=tests/lab/lib/common.sh
. "$root/tests/lab/lib/common.sh"
# shellcheck source=tests/lab/lib/debian.sh
. "$root/tests/lab/lib/debian.sh"

folder=$build/fresh
mkdir -p "$folder"
sources_for "$release" >"$folder/$release.list"
(cd "$root" && git ls-files -z --cached --others --exclude-standard |
    tar --null --no-recursion --ignore-failed-read --transform 's,^,tenbox/,' -T - -c) \
    >"$folder/checkout.tar"

# shellcheck disable=SC2016
if mmdebstrap --quiet --variant=apt --format=null \
    --customize-hook="tar-in $folder/checkout.tar /root" \
    --customize-hook="chroot \"\$1\" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        /root/tenbox/dev test $*" \
    "$release" - "$folder/$release.list" >"$folder/$release.log" 2>&1; then
    echo "ok 1 - a fresh $release passes \"$*\": $(grep -E '^[0-9]+ passed' "$folder/$release.log" | tail -n 1)"
    status=0
else
    echo "not ok 1 - a fresh $release passes \"$*\""
    tail -n 40 "$folder/$release.log" | sed 's/^/# /'
    status=1
fi
echo 1..1
exit $status
