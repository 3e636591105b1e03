# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Build folders. Sourced by `dev`.

build_folder() {
    if [ "$1" = "$machine" ]; then
        echo "$build/native"
    else
        echo "$build/$1"
    fi
}

# Brings the build folder of an architecture up to date. Warnings are errors.
# build_tree ARCH [TARGET...]: these only, as tenboxd/tenboxd
build_tree() {
    with_lock "build-$1" build_tree_locked "$@" >&2
}

build_tree_locked() {
    targets=$*
    targets=${targets#"$1"}
    set -- "$1" -Dwerror=true
    if [ "$1" = "$machine" ]; then
        set -- "$@" -Dintrospection=enabled
    else
        cross=$(cross_file "$1") || exit
        set -- "$@" --cross-file "$cross"
    fi
    configure_in "$(build_folder "$1")" "$@" || return 1
    # shellcheck disable=SC2086
    compile_in "$(build_folder "$1")" $targets
}

# build_in FOLDER ARCH MESON-OPTION...
build_in() {
    configure_in "$@" && compile_in "$1"
}

configure_in() {
    configured=$1
    shift 2
    if [ ! -e "$configured/build.ninja" ]; then
        rm -rf "$configured"
        mkdir -p "$build"
        PATH=/usr/bin:$PATH "$meson" setup "$@" "$configured" "$root" >"$configured.setup.log" 2>&1 || {
            tail -n 30 "$configured.setup.log"
            return 1
        }
    fi
}

# Ninja with one line that moves on a terminal, and only what went wrong elsewhere.
# compile_in FOLDER [TARGET...]
compile_in() {
    compiled=$1
    shift
    [ -t 1 ] || set -- --quiet "$@"
    PATH=/usr/bin:$PATH ninja -C "$compiled" "$@"
}

# Builds the fuzzers, and no program that is not one: clang links its sanitizers to programs only, and
# libtenbox.so does not link without them.
build_fuzzers() {
    CC=clang configure_in "$1" "$machine" -Dfuzzers=true -Db_sanitize=address,undefined \
        -Db_lundef=false || return 1
    fuzzers=$(ninja -C "$1" -t targets all | sed -n 's,^\(tests/fuzz/fuzz-[^/]*\): .*,\1,p')
    [ -n "$fuzzers" ] || return 0
    # shellcheck disable=SC2086
    compile_in "$1" $fuzzers
}

# Writes the file that tells meson how to build for another architecture, and prints its name.
cross_file() {
    sysroot=$(foreign_root "$1") || exit
    file=$build/cross-$1.ini
    mkdir -p "$build"
    # The C library comes from Debian's cross compiler, which looks there before the sysroot; both
    # are of one release.
    cat >"$file.$$" <<END
[binaries]
c = ['$1-linux-gnu-gcc', '--sysroot=$sysroot']
ar = '$1-linux-gnu-gcc-ar'
strip = '$1-linux-gnu-strip'
objcopy = '$1-linux-gnu-objcopy'
nm = '$1-linux-gnu-nm'
pkgconfig = '/usr/bin/pkg-config'

[properties]
sys_root = '$sysroot'
pkg_config_libdir = ['$sysroot/usr/lib/$1-linux-gnu/pkgconfig', '$sysroot/usr/share/pkgconfig']
needs_exe_wrapper = true

[host_machine]
system = 'linux'
cpu_family = '$1'
cpu = '$1'
endian = 'little'
END
    if cmp -s "$file.$$" "$file"; then
        rm "$file.$$"
    else
        mv "$file.$$" "$file"
    fi
    echo "$file"
}
