# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What every part of `dev` uses. Sourced; expects $root, the top of this checkout.

# Debian's own Python: another one may come first in PATH, and meson runs on this one.
python=/usr/bin/python3
meson=/usr/bin/meson

build=$root/build
cache=$root/.cache

case $(uname -m) in
    x86_64) machine=x86_64 ;;
    aarch64) machine=aarch64 ;;
    *) machine=unsupported ;;
esac

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

usage_error() {
    printf 'dev: %s\n' "$*" >&2
    exit 2
}

# Debian's name for one of our architectures.
debian_arch() {
    case $1 in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) usage_error "architecture \"$1\" is neither x86_64 nor aarch64" ;;
    esac
}

# The arguments as one line that a shell reads back as the same arguments.
quoted() {
    for quoted_word in "$@"; do
        printf "'%s' " "$(printf '%s' "$quoted_word" | sed "s/'/'\\\\''/g")"
    done
}

# Runs a command with only one `dev` at a time in it; NAME says what the lock guards.
# with_lock NAME COMMAND...
with_lock() {
    mkdir -p "$cache/locks"
    (
        lock_name=$1
        shift
        flock 9 || exit 1
        "$@" 9>&-
    ) 9>"$cache/locks/$1"
}

# Seconds of a clock that nobody sets, with one digit.
uptime_now() {
    cut -d ' ' -f 1 </proc/uptime
}

elapsed_since() {
    awk -v start="$1" '{ printf "%.1f", $1 - start }' /proc/uptime
}

# True when FILE exists and none of INPUT... has changed after it was made.
# is_fresh FILE INPUT...
is_fresh() {
    fresh_file=$1
    shift
    [ -e "$fresh_file" ] && [ -z "$(find "$@" -prune -newer "$fresh_file")" ]
}
