#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The lab's only network: a port of this machine leads to one of a lab host, and nothing leads out of it.
# Runs on this machine, not in the lab; starts one lab host and ends it.
#
#   forward.sh [LAB-OPTION...]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A port that was free a moment ago.
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# In there: an answer for the one connection, then a try to get out, by an address and by every route.
# shellcheck disable=SC2016
in_there='
    echo listening
    socat -T 60 TCP-LISTEN:8080,reuseaddr SYSTEM:"echo hello from the lab"
    ip route show default | grep -q . && echo "a default route"
    socat -u -T 5 OPEN:/dev/null TCP:192.168.76.2:'$port',connect-timeout=5 2>/dev/null && echo "a way back"
    echo done'

mkfifo "$work/said"
"$root/dev" lab --time-out 120 --forward "$port:8080" "$@" -- sh -c "$in_there" >"$work/said" 2>"$work/log" &
lab=$!
exec 3<"$work/said"
said=
while IFS= read -r line <&3; do
    case $line in
        listening)
            tries=0
            # The port is connected to before anybody listens behind it: the emulator accepts, and hangs up.
            while [ -z "$said" ] && [ $tries -lt 100 ]; do
                said=$(socat -u -T 20 "TCP:127.0.0.1:$port" - 2>>"$work/log")
                tries=$((tries + 1))
            done
            ;;
    esac
    echo "$line" >>"$work/lines"
done
status=0
wait "$lab" || status=$?

if [ "$said" = "hello from the lab" ]; then
    echo "ok 1 - a forwarded port leads into the lab host"
else
    echo "not ok 1 - a forwarded port leads into the lab host"
    sed 's/^/# /' "$work/log"
fi
if [ "$status" -eq 0 ] && [ "$(tail -n 1 "$work/lines")" = "done" ] && [ "$(grep -c . "$work/lines")" -eq 2 ]; then
    echo "ok 2 - nothing leads out of it"
else
    echo "not ok 2 - nothing leads out of it"
    sed 's/^/# /' "$work/lines" "$work/log"
fi
echo 1..2
