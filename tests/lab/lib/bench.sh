# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# `./dev bench`: compares with the peer in the same run: QEMU in the lab, libvirtd on this machine. Sourced by `dev` after lab.sh.

bench_usage() {
    cat <<'END'
usage: ./dev bench [--arch x86_64|aarch64] [NAME...]

Prints ratios and keeps JSON in build/bench/ARCH-NAME.json. Without NAME: all that compare with QEMU.

  boot      time and exits from exec to the guest's first program
  memory    memory of the process besides guest RAM
  api       tenboxd and the command line beside libvirtd and virsh, on this machine; no guest runs
END
}

bench_verb() {
    bench_arch=$machine
    bench_names=
    bench_build=
    bench_api=
    while [ $# -gt 0 ]; do
        case $1 in
            --arch | --build)
                [ $# -ge 2 ] || usage_error "$1 needs a value; see: ./dev bench --help"
                if [ "$1" = --arch ]; then
                    bench_arch=$2
                else
                    bench_build=$2
                fi
                shift
                ;;
            --help | -h)
                bench_usage
                return
                ;;
            boot | memory) bench_names="$bench_names $1" ;;
            api) bench_api=1 ;;
            *) usage_error "there is no benchmark \"$1\"; see: ./dev bench --help" ;;
        esac
        shift
    done
    if [ -n "$bench_api" ]; then
        bench_the_api
        [ -n "$bench_names" ] || return 0
    fi
    bench_names=${bench_names:-boot memory}
    debian_arch "$bench_arch" >/dev/null || exit
    install_packages build lab
    if [ "$bench_arch" != "$machine" ]; then
        install_packages cross
        foreign_root "$bench_arch" root-bench >/dev/null || exit
    fi
    hello_guest "$bench_arch" >/dev/null || exit
    mkdir -p "$build/bench/bin"
    "$(compiler_for "$bench_arch")" -std=gnu11 -D_GNU_SOURCE -O2 -static -I "$root" \
        -o "$build/bench/bin/launch-$bench_arch" "$root/tests/bench/launch.c" ||
        fail "tests/bench/launch.c does not compile"
    # shellcheck disable=SC2086
    "$root/dev" lab --arch "$bench_arch" --memory 3072 ${bench_build:+--build "$bench_build"} \
        --time-out 3600 -- "$root/tests/bench/run.sh" $bench_names >"$build/bench/results.json"
    while IFS= read -r line; do
        keep_result "$bench_arch" "$line"
    done <"$build/bench/results.json"
    rm "$build/bench/results.json"
}

# keep_result ARCH JSON
keep_result() {
    name=$(expr "$2" : '{"benchmark": *"\([a-z]*\)"')
    echo "$2" >"$build/bench/$1-$name.json"
    say "kept build/bench/$1-$name.json"
}

# Python's bindings of libvirt are the system's, hence its Python.
bench_the_api() {
    install_packages build lab bench
    build_tree "$machine" || fail "the build failed"
    mkdir -p "$build/bench"
    api_result=$(/usr/bin/python3 "$root/tests/bench/api.py" --build "$build/native") || exit
    keep_result "$machine" "$api_result"
}
