# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# `./dev bench`: compares with QEMU in the same lab run. Sourced by `dev` after lab.sh.

bench_usage() {
    cat <<'END'
usage: ./dev bench [--arch x86_64|aarch64] [NAME...]

Prints ratios and keeps JSON in build/bench/ARCH-NAME.json. Without NAME: all.

  boot      time and exits from exec to the guest's first program
  memory    memory of the process besides guest RAM
END
}

bench_verb() {
    bench_arch=$machine
    bench_names=
    bench_build=
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
            *) usage_error "there is no benchmark \"$1\"; see: ./dev bench --help" ;;
        esac
        shift
    done
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
        name=$(expr "$line" : '{"benchmark":"\([a-z]*\)"')
        echo "$line" >"$build/bench/$bench_arch-$name.json"
        say "kept build/bench/$bench_arch-$name.json"
    done <"$build/bench/results.json"
    rm "$build/bench/results.json"
}
