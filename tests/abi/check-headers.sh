#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each public header compiles alone, strictly, as C and as C++: programs may include it first, with
# warnings of their own. The one that includes them all does in every standard that compilers still have
# users of. Usage: check-headers.sh SOURCE-ROOT "CFLAGS" HEADER… ; TAP.
set -u
root=$1
flags=$2
shift 2
cc=${CC:-cc}
cxx=${CXX:-c++}
strict="-fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror"

number=0
status=0
# check TITLE COMMAND…, the header on standard input
check() {
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

# A program sees GLib's own headers as the system's, ours as its own.
system=$(echo "$flags" | sed 's/-I/-isystem /g')
include='#include "libtenbox/tenbox.h"'

echo "1..$(($# * 2 + 8))"
for standard in c99 c11 c17 c2x; do
    check "tenbox.h as $standard" \
        sh -c "echo '$include' | $cc -x c -std=$standard $strict -Wstrict-prototypes $system -I'$root' -"
done
for standard in c++11 c++14 c++17 c++20; do
    if command -v "$cxx" >/dev/null; then
        check "tenbox.h as $standard" \
            sh -c "echo '$include' | $cxx -x c++ -std=$standard $strict $system -I'$root' -"
    else
        number=$((number + 1))
        echo "ok $number tenbox.h as $standard # SKIP there is no C++ compiler ($cxx)"
    fi
done
for header; do
    line="#include \"libtenbox/$(basename "$header")\""
    check "$(basename "$header") as C" \
        sh -c "echo '$line' | $cc -x c -std=c11 $strict -Wstrict-prototypes -Wmissing-prototypes $system -I'$root' -"
    if command -v "$cxx" >/dev/null; then
        check "$(basename "$header") as C++" \
            sh -c "echo '$line' | $cxx -x c++ -std=c++17 $strict $system -I'$root' -"
    else
        number=$((number + 1))
        echo "ok $number $(basename "$header") as C++ # SKIP there is no C++ compiler ($cxx)"
    fi
done
exit $status
