# shellcheck shell=sh disable=SC2034
# SPDX-License-Identifier: LGPL-2.1-or-later
# TAP, and what tests in the lab do with TenBox again and again. Sourced in the lab host by the tests
# beside this folder. Sets $work, a folder in memory with the daemon's data and the test's own files.

tap_count=0
tap_failed=0

# check DESCRIPTION COMMAND...: one point. What the command printed is shown when it failed.
check() {
    tap_description=$1
    shift
    tap_count=$((tap_count + 1))
    if "$@" >"$work/check.log" 2>&1; then
        echo "ok $tap_count - $tap_description"
    else
        tap_status=$?
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $tap_description"
        echo "# status $tap_status of: $*"
        tail -n 20 "$work/check.log" | sed 's/^/# /'
    fi
}

skip() { # DESCRIPTION REASON
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

note() {
    echo "# $*"
}

finish() {
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
}

equals() { # EXPECTED ACTUAL
    [ "$1" = "$2" ] || {
        echo "expected \"$1\", got \"$2\""
        return 1
    }
}

at_most() { # LIMIT ACTUAL
    [ "$2" -le "$1" ] || {
        echo "$2 is more than $1"
        return 1
    }
}

work=$(mktemp -d /tmp/lab.XXXXXX)
export XDG_DATA_HOME="$work/data" XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state"
export XDG_RUNTIME_DIR="$work/run"
mkdir -m 0700 "$XDG_DATA_HOME" "$XDG_CONFIG_HOME" "$XDG_STATE_HOME" "$XDG_RUNTIME_DIR"
vms=$XDG_DATA_HOME/tenbox/vms

case $TENBOX_LAB_ARCH in
    x86_64) console=ttyS0 ;;
    aarch64) console=ttyAMA0 ;;
esac

guest() { # [KERNEL]: the folder of the hello guest
    if [ "${1:-13}" = 13 ]; then
        echo "$TENBOX_SOURCE/build/guest/$TENBOX_LAB_ARCH/hello"
    else
        echo "$TENBOX_SOURCE/build/guest/$TENBOX_LAB_ARCH/hello-$1"
    fi
}

# Where it is not the kernel that is tested, the guest is spared what takes an emulated processor
# seconds: unpacking the kernel (x86_64 takes the ELF file), self-tests, defences.
faster="nokaslr mitigations=off rodata=off cryptomgr.notests"
faster="$faster initcall_blacklist=jent_mod_init,load_system_certificate_list"

# Makes a VM of the hello guest, the fast way.
# create NAME WORD [OPTION...]: WORD is what the guest does after its line
create() {
    create_name=$1
    create_word=$2
    shift 2
    create_kernel=$(guest)/vmlinux
    [ -e "$create_kernel" ] || create_kernel=$(guest)/vmlinuz
    tenbox vm create --name "$create_name" --kernel "$create_kernel" --initrd "$(guest)/initrd" \
        --cmdline "console=$console quiet $faster${create_word:+ hello=$create_word}" "$@"
}

# Makes a VM of a stock kernel with nothing added to its command line but WORD.
# create_stock NAME KERNEL WORD [OPTION...]
create_stock() {
    create_name=$1
    create_guest=$(guest "$2")
    create_word=$3
    shift 3
    tenbox vm create --name "$create_name" --kernel "$create_guest/vmlinuz" \
        --initrd "$create_guest/initrd" --cmdline "console=$console quiet hello=$create_word" "$@"
}

field() { # VM JQ-FILTER
    tenbox vm inspect "$1" | jq -r "$2"
}

# Prints the first COUNT lines of the console that contain TEXT; fails when the console ends, or three
# minutes pass, before there are so many.
# console_lines VM TEXT [COUNT]
console_lines() {
    pipe=$(mktemp -u "$work/console.XXXXXX")
    mkfifo "$pipe"
    tenbox vm console "$1" </dev/null >"$pipe" 2>>"$work/console.err" &
    reader=$!
    console_status=0
    # shellcheck disable=SC2016
    timeout "$((180 * ${3:-1}))" sh -c '
        count=0
        while [ $count -lt "$2" ] && IFS= read -r line; do
            case $line in *"$1"*) printf "%s\n" "$line"; count=$((count + 1)) ;; esac
        done
        [ $count -eq "$2" ]' lines "$2" "${3:-1}" <"$pipe" || console_status=1
    kill "$reader" 2>/dev/null || true
    { wait "$reader" || true; } 2>/dev/null
    rm -f "$pipe"
    [ "$console_status" -eq 0 ] || {
        echo "the console of $1 did not show \"$2\" ${3:-1} times; its end:"
        tenbox vm logs -n 15 "$1" || true
        return 1
    }
}

hello_line() {
    said=$(console_lines "$1" TENBOX-HELLO) || {
        echo "$said"
        return 1
    }
    echo "$said" | tr -d '\r'
}

hello_value() { # VM KEY
    hello_line "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p"
}

# Waits until the VM is in the state. The state is polled: what is tested is that it comes to be.
# wait_state VM STATE
wait_state() {
    state_tries=0
    while [ "$(field "$1" .state)" != "$2" ]; do
        state_tries=$((state_tries + 1))
        [ "$state_tries" -lt 240 ] || {
            echo "$1 is \"$(field "$1" .state)\" after a minute and more, not \"$2\""
            return 1
        }
        sleep 0.25
    done
}

remove() {
    tenbox vm rm --force "$@"
}

# fails STATUS TEXT COMMAND...: the command ends with that status and a message that has TEXT in it
fails() {
    fails_status=$1
    fails_text=$2
    shift 2
    status=0
    "$@" >"$work/fails.out" 2>"$work/fails.err" </dev/null || status=$?
    [ "$status" -ne "$fails_status" ] || ! grep -qiF -- "$fails_text" "$work/fails.err" || return 0
    echo "expected status $fails_status and \"$fails_text\"; status $status, standard error:"
    cat "$work/fails.err"
    return 1
}

daemon_pid() {
    pgrep -x tenboxd
}
