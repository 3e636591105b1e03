# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# `./dev up` and `./dev down`: a daemon and a first virtual machine to play with. Sourced by `dev`
# after lab.sh.
#
# Everything it starts keeps to build/up/ (or, in the lab, to the lab's memory): the daemon that the
# user may have for real is not touched. build/up/state says what runs:
#   place=native|lab   pid=...   started=... (of the process, so that a reused pid is never killed)

up_usage() {
    cat <<'END'
usage: ./dev up [--lab]
       ./dev down

`up` builds, starts the daemon, creates a virtual machine named "hello" and shows its console until it
says hello; then it returns and all goes on running. Where this machine's /dev/kvm cannot run a stock
kernel, or with --lab, the same happens in the emulated host. `down` ends everything `up` started.
Without a terminal `up` ends everything by itself after the hello.
END
}

up_state=$build/up/state
up_vm=hello

up_verb() {
    up_place=
    case ${1-} in
        '') ;;
        --lab) up_place=lab ;;
        --help | -h)
            up_usage
            return
            ;;
        *) usage_error "up has no option $1" ;;
    esac
    install_packages build lab
    up_start=$(uptime_now)
    say "Building TenBox"
    build_tree "$machine" tenbox-runtime/tenbox-runtime tenboxd/tenboxd tenbox-cli/tenbox ||
        fail "the build failed"
    say "Built in $(elapsed_since "$up_start") s"
    up_guest=$(hello_guest "$machine") || exit
    up_tenbox=$build/native/tenbox-cli/tenbox

    if up_is_running; then
        up_place=$(up_value place)
        up_socket=$(up_value socket)
        say "The daemon still runs ($up_place)"
    else
        mkdir -p "$build/up"
        rm -f "$up_state"
        trap 'down_verb; exit 130' INT TERM HUP
        [ -n "$up_place" ] || up_try_native || up_place=lab
        [ "$up_place" = native ] || up_start_lab
    fi
    TENBOX_HOST=unix://$up_socket
    TENBOX_NO_AUTOSTART=1
    export TENBOX_HOST TENBOX_NO_AUTOSTART
    if ! "$up_tenbox" vm inspect "$up_vm" >/dev/null 2>&1; then
        "$up_tenbox" --quiet vm create --name "$up_vm" --kernel "$up_guest/vmlinuz" \
            --initrd "$up_guest/initrd" --memory 512 --cpus 1 >/dev/null ||
            up_failed "creating the VM"
    fi
    up_show_console || up_failed "the first boot"
    trap - INT TERM HUP
    if [ -t 0 ] && [ -t 1 ]; then
        up_next_steps
    else
        down_verb
    fi
}

up_value() {
    sed -n "s/^$1=//p" "$up_state"
}

# When the process began, in the kernel's ticks: with the pid it names one process for good.
process_start() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

up_is_running() {
    [ -e "$up_state" ] || return 1
    up_pid=$(up_value pid)
    [ -n "$up_pid" ] && [ "$(process_start "$up_pid")" = "$(up_value started)" ] || return 1
    TENBOX_NO_AUTOSTART=1 "$up_tenbox" -H "unix://$(up_value socket)" vm ls >/dev/null 2>&1
}

# up_note PLACE PID SOCKET
up_note() {
    printf '%s\n' "place=$1" "pid=$2" "started=$(process_start "$2")" "socket=$3" >"$up_state"
}

up_failed() {
    say "dev: $1 failed; the daemon's log is $build/up/log"
    tail -n 20 "$build/up/log" >&2 || true
    trap - INT TERM HUP
    down_verb
    exit 1
}

# Waits for a line in a file that a process writes, as long as the process lives.
# up_wait FILE TEXT PID SECONDS
up_wait() {
    waited=0
    while ! grep -qs -- "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || return 1
        [ "$waited" -lt $(($4 * 10)) ] || return 1
        sleep 0.1
        waited=$((waited + 1))
    done
}

# Starts the daemon here, and asks it whether this machine can run a VM. False, with one sentence said,
# when it cannot.
up_try_native() {
    up_socket=$build/up/tenbox.sock
    : >"$build/up/ready"
    TENBOX_RUNTIME=$build/native/tenbox-runtime/tenbox-runtime setsid \
        "$build/native/tenboxd/tenboxd" --socket "$up_socket" --data-folder "$build/up/data" \
        --ready-fd 3 3>"$build/up/ready" >"$build/up/log" 2>&1 </dev/null &
    up_note native $! "$up_socket"
    up_wait "$build/up/ready" ready $! 30 || up_failed "starting the daemon"
    if TENBOX_NO_AUTOSTART=1 "$up_tenbox" -H "unix://$up_socket" system doctor \
        >"$build/up/doctor" 2>&1; then
        up_place=native
        return
    fi
    down_quietly
    say "This machine's /dev/kvm cannot run a stock kernel (details: build/up/doctor): using the lab, an emulated host, which is slow."
    return 1
}

up_start_lab() {
    mkdir -p "$build/lab"
    up_socket=$build/lab/tenbox.sock
    : >"$build/up/log"
    # Room for the 4 GiB of the handbook's VM, of which the emulator takes only what is touched.
    up_memory=6144
    [ "$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)" -ge 8000 ] || up_memory=3072
    setsid "$root/dev" lab --memory "$up_memory" --listen "$up_socket:/run/tenbox.sock" -- \
        tenboxd --socket /run/tenbox.sock --data-folder /run/tenbox-data --ready-fd 1 \
        >"$build/up/ready" 2>"$build/up/log" </dev/null &
    up_note lab $! "$up_socket"
    up_wait "$build/up/ready" ready $! 300 || up_failed "starting the lab"
}

# Starts the VM unless it runs, and shows its console up to the hello line.
up_show_console() {
    say "The console of \"$up_vm\":"
    "$up_tenbox" --quiet vm start "$up_vm" >/dev/null 2>&1 || [ "$("$up_tenbox" vm inspect "$up_vm" |
        sed -n 's/.*"state" *: *"\([a-z]*\)".*/\1/p' | head -n 1)" = running ] || return 1
    rm -f "$build/up/console"
    mkfifo "$build/up/console"
    "$up_tenbox" vm console "$up_vm" </dev/null >"$build/up/console" 2>/dev/null &
    up_reader=$!
    up_said=1
    while IFS= read -r up_line; do
        printf '%s\n' "$up_line"
        case $up_line in
            *TENBOX-HELLO*)
                up_said=0
                break
                ;;
        esac
    done <"$build/up/console"
    kill "$up_reader" 2>/dev/null || true
    { wait "$up_reader" || true; } 2>/dev/null
    rm -f "$build/up/console"
    return $up_said
}

up_next_steps() {
    cat <<END

It runs. Next:

  export TENBOX_HOST=unix://$up_socket
  alias tenbox=$up_tenbox
  tenbox vm ls
  tenbox vm console $up_vm        (leave with Ctrl-] .)
  tenbox vm create --name foo --kernel $up_guest/vmlinuz \\
      --initrd $up_guest/initrd --memory 512
  tenbox vm start foo
  ./dev down
END
}

down_verb() {
    if [ ! -e "$up_state" ]; then
        say "Nothing runs that \`./dev up\` started."
        return
    fi
    down_quietly
    say "All that \`./dev up\` started has ended."
}

down_quietly() {
    down_pid=$(up_value pid)
    if [ "$(process_start "$down_pid")" = "$(up_value started)" ]; then
        if [ "$(up_value place)" = native ]; then
            # VMs outlive their daemon: they go first.
            TENBOX_NO_AUTOSTART=1
            export TENBOX_NO_AUTOSTART
            for vm in $("$build/native/tenbox-cli/tenbox" -H "unix://$(up_value socket)" vm ls -q \
                2>/dev/null); do
                "$build/native/tenbox-cli/tenbox" -H "unix://$(up_value socket)" vm stop --force "$vm" \
                    >/dev/null 2>&1 || say "dev: VM $vm could not be stopped"
            done
        fi
        kill -- "-$down_pid" 2>/dev/null || true
        down_waited=0
        while [ "$(process_start "$down_pid")" = "$(up_value started)" ] && [ $down_waited -lt 100 ]; do
            sleep 0.1
            down_waited=$((down_waited + 1))
        done
    fi
    rm -f "$(up_value socket)" "$up_state"
}
