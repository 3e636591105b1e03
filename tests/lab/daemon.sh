#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The life of the daemon: killed, ended, upgraded, and its VMs go on; what it starts and stops by itself.
#
#   ./dev lab -- tests/lab/daemon.sh [CASE...]
#   ./dev lab --host systemd -- tests/lab/daemon.sh      the same under systemd, and a host that goes down
#
# With systemd the programs are installed as a package would, and the host is restarted once in between:
# the script runs again, see TENBOX_LAB_BOOT. Its cases there are `system` and `user`: those units alone.
set -u
. "$TENBOX_SOURCE/tests/lab/lib/tap.sh"

export TENBOX_NO_AUTOSTART=1
small="--memory 256 --cpus 1"

# ---- what both hosts do --------------------------------------------------------------------------------

# Types a sum into the shell of the guest and waits for its result, which differs from what is typed: the
# console echoes that.
# shell_adds VM A B
shell_adds() {
    mkfifo "$work/typed" "$work/shown"
    tenbox vm console "$1" <"$work/typed" >"$work/shown" 2>/dev/null &
    exec 4>"$work/typed"
    echo "echo sum-\$(($2 + $3))" >&4
    answered=0
    timeout 120 grep -q -m 1 "sum-$(($2 + $3))" <"$work/shown" || answered=1
    exec 4>&-
    kill $! 2>/dev/null
    rm "$work/typed" "$work/shown"
    return $answered
}

# Waits until the daemon answers; the VMs that run have been adopted then.
wait_daemon() {
    answer_tries=0
    until tenbox vm ls >/dev/null 2>&1; do
        answer_tries=$((answer_tries + 1))
        [ "$answer_tries" -lt 600 ] || return 1
        sleep 0.1
    done
}

# What a VM must keep while daemons come and go.
identity() { # VM
    field "$1" '"\(.pid) \(.started_at) \(.state)"'
}

# Replaces an installed file by one of the next version, as a package manager does: a new file in its place.
# Its version is the same but for the middle number.
put_next_version() { # FILE
    perl -pe 's/(?<![\w.])0\.1\.0(?=\0)/0.2.0/g' "$1" >"$1.next" && chmod 0755 "$1.next" &&
        mv "$1.next" "$1"
}

server_version() {
    tenbox system version -o json | jq -r .server.version
}

wait_restart_count() { # VM COUNT
    count_tries=0
    while [ "$(field "$1" .restart_count)" != "$2" ] || [ "$(field "$1" .state)" != running ]; do
        count_tries=$((count_tries + 1))
        [ "$count_tries" -lt 240 ] || return 1
        sleep 0.25
    done
}

# after DESCRIPTION: the VMs "talks" and "idle" are what they were before, and can be spoken with.
after() {
    check "$1: the daemon answers" wait_daemon
    check "$1: processes, starts and states are the same" \
        equals "$talks / $idle" "$(identity talks) / $(identity idle)"
    check "$1: the console still shows what was there before" console_lines talks sum-1042
    check "$1: and the shell on it answers" shell_adds talks 2000 "$2"
}

make_vms() {
    # shellcheck disable=SC2086
    {
        create talks '' $small
        create idle idle $small
    } >/dev/null 2>&1
    tenbox vm start talks idle >/dev/null 2>&1
    check "two guests say hello" both_say_hello
    check "a shell answers" shell_adds talks 1000 42
    talks=$(identity talks) idle=$(identity idle)
}

both_say_hello() {
    hello_line talks && hello_line idle
}

# ---- without systemd -----------------------------------------------------------------------------------

# A copy of the programs that can be upgraded, laid out as they find each other.
install_copy() {
    installed=$work/installed
    for program in tenboxd/tenboxd tenbox-cli/tenbox tenbox-runtime/tenbox-runtime libtenbox/libtenbox.so.0; do
        mkdir -p "$installed/$(dirname $program)"
        cp -L "$TENBOX_BUILD/$program" "$installed/$program"
    done
    PATH=$installed/tenbox-cli:$PATH
    export TENBOX_RUNTIME="$installed/tenbox-runtime/tenbox-runtime"
}

start_daemon() {
    "$installed/tenboxd/tenboxd" >>"$work/tenboxd.log" 2>&1 &
    daemon=$!
}

# Ends the daemon by a signal; its exit status is the function's.
end_daemon() { # SIGNAL
    kill "-$1" "$daemon"
    wait "$daemon"
}

killed() {
    end_daemon KILL
    equals 137 $?
}

case_restart() {
    check "SIGTERM ends the daemon in order" end_daemon TERM
    check "the runtimes outlive it" kill -0 "${talks%% *}" "${idle%% *}"
    start_daemon
    after "after SIGTERM" 1
    check "SIGKILL ends it, too" killed
    check "the runtimes outlive that" kill -0 "${talks%% *}" "${idle%% *}"
    start_daemon
    after "after SIGKILL" 2
}

case_upgrade() {
    old=$(server_version)
    for program in tenboxd/tenboxd tenbox-cli/tenbox tenbox-runtime/tenbox-runtime libtenbox/libtenbox.so.0; do
        check "the next version of $program is put in place" put_next_version "$installed/$program"
    done
    check "the old daemon goes on" equals "$old" "$(server_version)"
    end_daemon TERM
    start_daemon
    after "after the upgrade" 3
    check "the daemon is the next version" equals 0.2.0 "$(server_version)"
    check "the old runtime runs on from its deleted file" deleted_program "${talks%% *}"
    # shellcheck disable=SC2086
    create new '' $small >/dev/null 2>&1
    check "a VM starts with the next version's runtime" tenbox vm start new
    check "it says hello" hello_line new
    check "its runtime is the new file" equals "$installed/tenbox-runtime/tenbox-runtime" \
        "$(readlink "/proc/$(field new .pid)/exe")"
    remove new >/dev/null 2>&1
}

deleted_program() {
    readlink "/proc/$1/exe" | grep -q 'tenbox-runtime (deleted)$'
}

case_policy() {
    # shellcheck disable=SC2086
    create phoenix idle $small >/dev/null 2>&1
    tenbox vm set phoenix restart=on-failure >/dev/null 2>&1
    tenbox vm start phoenix >/dev/null 2>&1
    first=$(field phoenix .pid)
    kill -9 "$first"
    check "a VM whose runtime was killed is started again" wait_restart_count phoenix 1
    check "its guest boots" hello_line phoenix
    check "it is another process" test "$first" != "$(field phoenix .pid)"
    check "a stop ends it for good" tenbox vm stop --force phoenix
    check "and it is not due again" equals "0 null stopped" \
        "$(field phoenix '"\(.restart_count) \(.restart) \(.state)"')"
    remove phoenix >/dev/null 2>&1
}

# A host without a battery for its clock, or one whose clock was wrong.
case_clock() {
    # shellcheck disable=SC2086
    create gone idle $small >/dev/null 2>&1
    tenbox vm rm --yes gone >/dev/null 2>&1
    check "the clock is set back a year" date -s "1 year ago"
    after "a year ago" 4
    check "nothing has run for less than no time" no_negative_time
    check "SIGKILL ends the daemon" killed
    start_daemon
    after "a daemon that starts a year ago" 5
    check "what was deleted is kept in the trash" trash_has gone
    check "the clock is set right again" date -s "1 year"
    after "today" 6
    check "it is still in the trash" trash_has gone
    check "and comes back" tenbox vm undelete gone
    remove gone >/dev/null 2>&1
}

no_negative_time() {
    tenbox vm ls -o wide >"$work/list" && tenbox vm stats --no-stream >>"$work/list" &&
        ! grep -E '(^|[[:space:]])-[0-9]' "$work/list"
}

trash_has() { # VM
    tenbox vm ls --deleted -o name | grep -qx "$1"
}

# The host goes down: an init script calls this one command, and the next daemon finds another boot id.
case_host() {
    tenbox vm set talks autostart=true start_order=2 >/dev/null 2>&1
    tenbox vm set idle autostart=true start_order=1 >/dev/null 2>&1
    check "all guests are stopped" tenbox system stop-vms --timeout 120
    check "by the power button" equals "guest-power-off guest-power-off" \
        "$(field talks .last_exit.reason) $(field idle .last_exit.reason)"
    check "the higher order first" earlier "$(field talks .last_exit.time)" "$(field idle .last_exit.time)"
    end_daemon TERM
    start_daemon
    wait_daemon
    check "a daemon that is merely started again starts no VM" equals "stopped stopped" \
        "$(field talks .state) $(field idle .state)"
    end_daemon TERM
    sed -i 's/"boot_id"[^,]*,/"boot_id":"another",/' "$XDG_DATA_HOME/tenbox/boot.json"
    start_daemon
    wait_daemon
    check "after another boot both are started" both_say_hello
    check "the lower order first" earlier "$(field idle .started_at)" "$(field talks .started_at)"
}

earlier() { # TIME TIME
    if [ "$1" = "$2" ] || [ "$(printf '%s\n' "$1" "$2" | LC_ALL=C sort | head -n 1)" != "$1" ]; then
        echo "\"$1\" is not earlier than \"$2\""
        return 1
    fi
}

without_systemd() {
    install_copy
    start_daemon
    check "a daemon" wait_daemon
    make_vms
    [ $# -gt 0 ] || set -- restart upgrade policy clock host
    for name in "$@"; do
        note "case $name, $(cut -d ' ' -f 1 /proc/uptime) s since the lab host started"
        "case_$name"
    done
    tenbox system stop-vms --force >/dev/null 2>&1
    remove talks idle >/dev/null 2>&1
    end_daemon TERM
    [ "$tap_failed" -eq 0 ] || sed 's/^/# tenboxd: /' "$work/tenboxd.log"
}

# ---- under systemd -------------------------------------------------------------------------------------

programs="/usr/local/bin/tenboxd /usr/local/bin/tenbox /usr/local/libexec/tenbox/tenbox-runtime"
library=/usr/local/lib/$(uname -m)-linux-gnu/libtenbox.so.0
saved=/var/lib/tenbox-lab

# As a package does, below /usr/local.
install_package() {
    install -D -m 0755 -t /usr/local/bin "$TENBOX_BUILD/tenboxd/tenboxd" "$TENBOX_BUILD/tenbox-cli/tenbox"
    install -D -m 0755 -t /usr/local/libexec/tenbox "$TENBOX_BUILD/tenbox-runtime/tenbox-runtime"
    install -D -m 0755 "$TENBOX_BUILD/libtenbox/libtenbox.so.0" "$library"
    for manager in system user; do
        folder=/usr/local/lib/systemd/$manager
        install -D -m 0644 -t "$folder" "$TENBOX_SOURCE/data/systemd/$manager/tenboxd.socket"
        for unit in tenboxd tenbox-guests; do
            install -m 0644 "$TENBOX_BUILD/data/systemd/$manager-$unit.service" "$folder/$unit.service"
        done
    done
    install -D -m 0644 "$TENBOX_SOURCE/data/sysusers.d/tenbox.conf" /usr/local/lib/sysusers.d/tenbox.conf
    install -D -m 0644 "$TENBOX_SOURCE/data/tmpfiles.d/tenbox.conf" /usr/local/lib/tmpfiles.d/tenbox.conf
    # Where the daemon's user may read it.
    install -D -m 0644 -t /srv/guest "$(guest)/vmlinux" "$(guest)/initrd"
    ldconfig
    systemd-sysusers
    systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/tenbox.conf
    systemctl daemon-reload
}

# create_here NAME WORD KEY=VALUE...
create_here() {
    create_name=$1 create_word=$2
    shift 2
    tenbox vm create --name "$create_name" --kernel /srv/guest/vmlinux --initrd /srv/guest/initrd \
        --cmdline "console=$console quiet $faster${create_word:+ hello=$create_word}" --memory 256 --cpus 1 \
        >/dev/null 2>&1
    [ $# -eq 0 ] || tenbox vm set "$create_name" "$@" >/dev/null 2>&1
}

main_pid() {
    systemctl show -P MainPID tenboxd.service
}

# The runtime is the unit's user, without rights, and has filters of its own on top of the unit's.
is_confined() { # PID
    grep -E '^(Uid|NoNewPrivs|Seccomp|Seccomp_filters|CapEff|CapBnd):' "/proc/$1/status"
    [ "$(value_in "$1" Uid)" = "$(id -u tenbox)" ] && [ "$(value_in "$1" NoNewPrivs)" = 1 ] &&
        [ "$(value_in "$1" Seccomp)" = 2 ] && [ -z "$(value_in "$1" CapBnd | tr -d 0)" ] &&
        [ "$(value_in "$1" Seccomp_filters)" -gt "$(value_in "$(main_pid)" Seccomp_filters)" ]
}

value_in() { # PID KEY
    awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"
}

killed_main() {
    killed_pid=$(main_pid)
    kill -9 "$killed_pid"
    kill_tries=0
    while [ "$(main_pid)" = "$killed_pid" ] || [ "$(main_pid)" = 0 ]; do
        kill_tries=$((kill_tries + 1))
        [ "$kill_tries" -lt 600 ] || return 1
        sleep 0.1
    done
}

print_security() { # MANAGER
    systemd-analyze security --no-pager --offline=yes "--$1" \
        "/usr/local/lib/systemd/$1/tenboxd.service" >"$work/security" 2>&1
    grep -E '^(✗|→)' "$work/security" | sed "s/^/# $1: /"
    exposure=$(sed -n 's/.*exposure level for tenboxd.service: \([0-9.]*\) .*/\1/p' "$work/security")
}

as_alice() {
    setpriv --reuid alice --regid alice --init-groups env HOME=/home/alice USER=alice LOGNAME=alice \
        XDG_RUNTIME_DIR="/run/user/$(id -u alice)" TENBOX_HOST= TENBOX_NO_AUTOSTART=1 \
        PATH="/usr/local/bin:$PATH" "$@"
}

alices() { # JQ-FILTER
    as_alice tenbox vm inspect own | jq -r "$1"
}

alice_says_hello() {
    hello_tries=0
    until as_alice tenbox vm logs own | grep -q TENBOX-HELLO; do
        hello_tries=$((hello_tries + 1))
        [ "$hello_tries" -lt 240 ] || return 1
        sleep 0.5
    done
}

# A user's own daemon, under the user's session manager, which goes on after the log-out.
user_units() {
    unset XDG_DATA_HOME XDG_CONFIG_HOME XDG_STATE_HOME
    systemd-sysusers --inline 'u alice 1000 "Alice" /home/alice /bin/sh' 'm alice kvm'
    install -d -m 0700 -o alice -g alice /home/alice
    check "a user lingers" loginctl enable-linger alice
    manager=user@$(id -u alice).service
    systemctl start "$manager"
    check "the user's units are enabled" as_alice systemctl --user enable --now tenboxd.service \
        tenbox-guests.service
    as_alice tenbox vm create --name own --kernel /srv/guest/vmlinux --initrd /srv/guest/initrd \
        --cmdline "console=$console quiet $faster hello=idle" --memory 256 --cpus 1 >/dev/null 2>&1
    check "the user's VM starts" as_alice tenbox vm start own
    check "its guest says hello" alice_says_hello
    own=$(alices '"\(.pid) \(.started_at) \(.state)"')
    check "its process is the user's" equals "$(id -u alice)" "$(value_in "${own%% *}" Uid)"
    check "the user's daemon is started again" as_alice systemctl --user restart tenboxd.service
    check "its VM is the same" equals "$own" "$(alices '"\(.pid) \(.started_at) \(.state)"')"
    check "the session manager ends" systemctl stop "$manager"
    systemctl start "$manager"
    check "the guest was asked before" equals "stopped guest-power-off" \
        "$(alices '"\(.state) \(.last_exit.reason)"')"
}

# The system's units, started by their socket.
system_units() {
    check "the socket comes first" systemctl enable --now tenboxd.socket
    check "a client starts the daemon" tenbox vm ls
    check "it is the unit's" systemctl is-active tenboxd.service
    check "the units are enabled" systemctl enable --now tenboxd.service tenbox-guests.service
    check "the socket is for the group" equals "tenbox tenbox 660" \
        "$(stat -c '%U %G %a' /run/tenbox/tenbox.sock)"
    check "others may not use it" equals 000 "$(status_for_nobody --clear-groups)"
    check "members of the group may" equals 200 "$(status_for_nobody --groups "$(id -g tenbox)")"
}

first_boot() {
    install_package
    export PATH="/usr/local/bin:$PATH"
    check "the units are well-formed" systemd-analyze verify --man=no \
        /usr/local/lib/systemd/system/tenboxd.service /usr/local/lib/systemd/system/tenbox-guests.service
    print_security system
    check "the exposure of the system's unit is at most 2.5" \
        awk -v level="$exposure" 'BEGIN { exit !(level != "" && level <= 2.5) }'
    print_security user
    check "a level is known for the user's unit" test -n "$exposure"

    system_units
    check "the doctor finds a KVM that works" tenbox system doctor
    create_here talks '' autostart=true start_order=2
    create_here idle idle autostart=true start_order=1
    create_here stays idle start_order=3
    tenbox vm start talks idle stays >/dev/null 2>&1
    check "two guests say hello" both_say_hello
    check "a shell answers" shell_adds talks 1000 42
    talks=$(identity talks) idle=$(identity idle)
    check "a runtime is confined further than its unit" is_confined "$(field talks .pid)"

    check "systemctl restart" systemctl restart tenboxd.service
    after "after the restart" 1
    check "kill -9: the unit starts another daemon" killed_main
    after "after SIGKILL" 2
    for program in $programs $library; do
        check "the next version of $(basename "$program") is put in place" put_next_version "$program"
    done
    check "the upgrade's restart" systemctl restart tenboxd.service
    after "after the upgrade" 3
    check "the daemon is the next version" equals 0.2.0 "$(server_version)"
    create_here new ''
    check "a VM starts with the next version's runtime" tenbox vm start new
    check "it says hello" hello_line new
    check "tenbox-guests is not stopped by hand" not systemctl stop tenbox-guests.service
    tenbox vm rm --force new >/dev/null 2>&1
    (user_units; echo "$tap_count $tap_failed" >"$work/tap")
    read -r tap_count tap_failed <"$work/tap"

    mkdir -p "$saved"
    echo "$tap_count $tap_failed" >"$saved/tap"
    cat /proc/sys/kernel/random/boot_id >"$saved/boot"
    sync
    note "the host goes down, $(cut -d ' ' -f 1 /proc/uptime) s since it started"
    systemctl reboot
    # Ended by the reboot.
    exec sleep infinity
}

not() {
    ! "$@"
}

# The HTTP status that a stranger gets from the system's daemon; 000: he cannot even connect.
status_for_nobody() { # GROUPS
    setpriv --reuid nobody --regid nogroup "$@" curl -s -o /dev/null -w '%{http_code}' \
        --unix-socket /run/tenbox/tenbox.sock http://tenbox/v1/vms
}

second_boot() {
    read -r tap_count tap_failed <"$saved/tap"
    export PATH="/usr/local/bin:$PATH"
    check "it is another boot" not equals "$(cat "$saved/boot")" "$(cat /proc/sys/kernel/random/boot_id)"
    check "the daemon was started with its host" wait_daemon
    wait_state talks running >/dev/null
    check "the guests were shut down by the power button" \
        equals "guest-power-off guest-power-off guest-power-off" \
        "$(field stays .last_exit.reason) $(field talks .last_exit.reason) $(field idle .last_exit.reason)"
    check "the highest order first" earlier "$(field stays .last_exit.time)" "$(field talks .last_exit.time)"
    check "the lowest last" earlier "$(field talks .last_exit.time)" "$(field idle .last_exit.time)"
    check "autostart brought back those that have it" both_say_hello
    check "in their order" earlier "$(field idle .started_at)" "$(field talks .started_at)"
    check "and no other" equals stopped "$(field stays .state)"
    if [ "$tap_failed" -ne 0 ]; then
        journalctl --no-pager -b -u 'tenbox*' | tail -n 60 | sed 's/^/# /'
    fi
    tenbox system stop-vms --force >/dev/null 2>&1
}

if [ "$(cat /proc/1/comm)" != systemd ]; then
    without_systemd "$@"
elif [ $# -gt 0 ]; then
    export TENBOX_HOST=unix:///run/tenbox/tenbox.sock
    unset TENBOX_RUNTIME
    install_package
    for name in "$@"; do
        "${name}_units"
    done
elif [ "$TENBOX_LAB_BOOT" = 1 ]; then
    export TENBOX_HOST=unix:///run/tenbox/tenbox.sock
    unset TENBOX_RUNTIME
    first_boot
else
    export TENBOX_HOST=unix:///run/tenbox/tenbox.sock
    second_boot
fi
finish
