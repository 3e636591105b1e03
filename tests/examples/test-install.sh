#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs the build into a folder and builds an example against what is there, as a program of somebody else is
# built: headers, pkg-config file, library and typelib. Usage: test-install.sh MESON BUILD EXAMPLES ; TAP.
set -u
meson=$1
build=$2
examples=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

number=0
status=0
# report TITLE COMMAND...
report() {
    title=$1
    shift
    number=$((number + 1))
    if output=$("$@" 2>&1); then
        echo "ok $number $title"
    else
        echo "not ok $number $title"
        echo "$output" | sed 's/^/# /'
        status=1
    fi
}

report "it can be installed" "$meson" install -C "$build" --no-rebuild --quiet --destdir "$scratch"
file=$(find "$scratch" -name tenbox-0.pc)
prefix=$(sed -n 's/^prefix=//p' "$file")
# What was installed for PREFIX lies below the scratch folder: the copy says so.
mkdir "$scratch/pkgconfig"
sed "s,^prefix=.*,prefix=$scratch$prefix," "$file" >"$scratch/pkgconfig/tenbox-0.pc"
export PKG_CONFIG_PATH="$scratch/pkgconfig"
library=$(pkg-config --variable=libdir tenbox-0)
report "pkg-config finds it" pkg-config --exists --print-errors 'tenbox-0 >= 0.1'
# shellcheck disable=SC2046
report "an example builds against it" "${CC:-cc}" -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror \
    "$examples/hello.c" -o "$scratch/hello" $(pkg-config --cflags --libs tenbox-0)
report "and runs with it" env LD_LIBRARY_PATH="$library" "$scratch/hello" /dev/null /dev/null test:///empty
if [ -e "$library/girepository-1.0/Tenbox-0.typelib" ] && /usr/bin/python3 -c 'import gi' 2>/dev/null; then
    report "Python finds its typelib" env LD_LIBRARY_PATH="$library" \
        GI_TYPELIB_PATH="$library/girepository-1.0" /usr/bin/python3 "$examples/hello.py" /dev/null /dev/null \
        test:///empty
else
    number=$((number + 1))
    echo "ok $number Python finds its typelib # SKIP there is no typelib, or no PyGObject"
fi
report "the GIR is there" test -e "$scratch$prefix/share/gir-1.0/Tenbox-0.gir"
echo "1..$number"
exit $status
