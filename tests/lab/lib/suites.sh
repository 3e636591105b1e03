# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# `./dev test`: runs suites, counts, and says how it went. Sourced by `dev` after lab.sh.
#
# A suite is either one of meson's (lint, unit, http, ...), or a function suite_NAME below. Each test
# point is counted, not each program: tally.py reads what meson or a TAP script left.

suites_usage() {
    cat <<'END'
usage: ./dev test [--long] [SUITE...]

Without SUITE: all of them. The last line says "N passed, N failed" and how many were skipped.

  lint, unit, ...   the suites of `meson test`, each by its name
  sanitizers        the same suites under AddressSanitizer and UndefinedBehaviorSanitizer, and those
                    below GLib under ThreadSanitizer
  clients           clients that share no code with TenBox: a linter and a TypeScript client from npm, curl
  fuzz              the corpora, and libFuzzer for a short while (--long: ten minutes a target)
  lab               stock guests in the emulated x86_64 host
  lab-arm           stock guests in emulated aarch64 hosts: GICv2, GICv3, 16 KiB pages
  fresh             builds and runs the unit suites in a fresh Debian 12 and 13 (only with --long
                    or by name)

--long runs more cases of what is run. Results and logs stay in build/test/.
END
}

test_verb() {
    test_long=
    wanted=
    while [ $# -gt 0 ]; do
        case $1 in
            --long) test_long=1 ;;
            --help | -h)
                suites_usage
                return
                ;;
            -*) usage_error "test has no option $1; see: ./dev test --help" ;;
            *) wanted="$wanted $1" ;;
        esac
        shift
    done
    test_results=$build/test/results
    rm -rf "$build/test"
    mkdir -p "$build/test"
    : >"$test_results"

    case " $wanted " in
        "  " | *" lab "* | *" lab-arm "*) install_packages build test lab fuzz cross ;;
        *" fuzz "*) install_packages build test fuzz ;;
        *" fresh "*) install_packages build test system ;;
        *) install_packages build test ;;
    esac
    test_start=$(uptime_now)
    say "Building TenBox"
    build_tree "$machine" || fail "the build failed: nothing was tested"
    say "Built in $(elapsed_since "$test_start") s"
    meson_suites=$(list_meson_suites) || fail "meson does not list its tests"
    other_suites="clients sanitizers fuzz lab lab-arm"
    if [ -z "$wanted" ]; then
        wanted="$meson_suites $other_suites"
        [ -z "$test_long" ] || wanted="$wanted fresh"
        # The corpora are a suite of meson's too: the fuzz suite here runs them and more.
        wanted=$(echo "$wanted" | tr ' ' '\n' | awk '!seen[$0]++')
    fi
    for suite in $wanted; do
        case " $(echo $meson_suites) $other_suites fresh " in
            *" $suite "*) ;;
            *) usage_error "there is no suite \"$suite\"; there are: $(echo $meson_suites) $other_suites fresh" ;;
        esac
    done
    for suite in $wanted; do
        suite_start=$(uptime_now)
        say "== $suite"
        case $suite in
            sanitizers) suite_sanitizers || true ;;
            clients) suite_clients ;;
            fuzz) suite_fuzz ;;
            lab) suite_lab ;;
            lab-arm) suite_lab_arm ;;
            fresh) suite_fresh ;;
            *) run_meson "$build/native" "$suite" "$suite" ;;
        esac
        say "== $suite took $(elapsed_since "$suite_start") s"
    done
    "$python" "$root/tests/lab/lib/tally.py" sum "$test_results"
}

list_meson_suites() {
    "$meson" introspect --tests "$build/native" | "$python" -c '
import json, sys
seen = []
for test in json.load(sys.stdin):
    for suite in test["suite"]:
        name = suite.split(":")[-1]
        if name not in seen:
            seen.append(name)
# Quick and telling ones first.
order = ["lint", "unit"]
print("\n".join([s for s in order if s in seen] + [s for s in seen if s not in order and s != "fuzz"]))'
}

# Runs tests of meson's in one build folder and tallies them as SUITE.
# run_meson FOLDER SUITE {MESON-SUITE|--all} [MESON-OPTION...]
run_meson() {
    meson_folder=$1
    meson_tally=$2
    meson_suite=$3
    shift 3
    [ "$meson_suite" = --all ] || set -- --suite "$meson_suite" "$@"
    log=$build/test/$meson_tally
    meson_status=0
    TENBOX_TEST_LONG=${test_long:-${TENBOX_TEST_LONG-}} PATH=/usr/bin:$PATH \
        "$meson" test -C "$meson_folder" --no-rebuild --num-processes 2 --logbase "$meson_tally" \
        "$@" >"$log.log" 2>&1 || meson_status=$?
    "$python" "$root/tests/lab/lib/tally.py" meson "$meson_tally" \
        "$meson_folder/meson-logs/$meson_tally.json" "$meson_status" >>"$test_results" ||
        cat "$log.log" >&2
}

# Runs a command that prints TAP, shows it, and tallies it.
# run_tap NAME COMMAND...
run_tap() {
    tap_name=$1
    shift
    tap_log=$build/test/$tap_name.tap
    # The exit status of the command, not of tee.
    { tap_status=$({ { "$@" 2>&1 3>&-; echo $? >&3; } | tee "$tap_log" >&2; } 3>&1); } || true
    "$python" "$root/tests/lab/lib/tally.py" tap "$tap_name" "$tap_log" "${tap_status:-1}" \
        >>"$test_results" || true
}

# Everything that meson tests under AddressSanitizer and UndefinedBehaviorSanitizer, then what is below
# GLib under ThreadSanitizer, to which GLib's own locks would be races. What is checked by its object
# files is left out: they are other ones.
suite_sanitizers() {
    build_sanitized sanitizers asan -Db_sanitize=address,undefined &&
        ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:halt_on_error=1 \
            UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
            run_meson "$build/asan" sanitizers --all --no-suite lint --no-suite abi --timeout-multiplier 5
    build_sanitized thread-sanitizer tsan -Db_sanitize=thread -Dlibrary=disabled &&
        TSAN_OPTIONS=halt_on_error=1 run_meson "$build/tsan" thread-sanitizer --all --no-suite lint \
            --timeout-multiplier 5
}

# build_sanitized TALLY FOLDER MESON-OPTION...: false, and a failure on record, when it does not build
build_sanitized() {
    sanitized_tally=$1
    sanitized=$2
    shift 2
    with_lock "build-$sanitized" build_in "$build/$sanitized" "$machine" -Dwerror=true -Db_lundef=false \
        "$@" >"$build/test/$sanitized-build.log" 2>&1 && return
    cat "$build/test/$sanitized-build.log" >&2
    echo "$sanitized_tally 0 1 0" >>"$test_results"
    say "not ok - the build with $sanitized failed"
    return 1
}

# npm may have come with a Node.js that is not Debian's; only where there is none is Debian's installed.
suite_clients() {
    command -v npm >/dev/null || install_packages clients
    clients_folder=$build/clients
    mkdir -p "$clients_folder"
    cp "$root"/tests/clients/*.ts "$root"/tests/clients/*.json "$root/tests/clients/.npmrc" \
        "$root/tests/clients/.spectral.yaml" "$clients_folder/"
    if ! is_fresh "$clients_folder/.installed" "$root/tests/clients/package-lock.json"; then
        (cd "$clients_folder" && npm ci) >"$build/test/clients-npm.log" 2>&1 || {
            cat "$build/test/clients-npm.log" >&2
            echo "clients 0 1 0" >>"$test_results"
            say "not ok - npm could not install tests/clients/package.json"
            return
        }
        touch "$clients_folder/.installed"
    fi
    run_tap clients "$python" "$root/tests/clients/run.py" "$build/native/tenboxd/tenboxd" \
        "$build/native/tests/fakes/fake-runtime" "$clients_folder"
}

# The corpora as plain tests, then libFuzzer for its share of time on each target.
suite_fuzz() {
    run_meson "$build/native" fuzz fuzz
    if ! command -v clang >/dev/null; then
        say "skipped: libFuzzer (there is no clang)"
        return
    fi
    with_lock build-fuzz build_fuzzers "$build/fuzz" >"$build/test/fuzz-build.log" 2>&1 || {
        cat "$build/test/fuzz-build.log" >&2
        echo "libfuzzer 0 1 0" >>"$test_results"
        say "not ok - the build of the fuzzers failed"
        return
    }
    fuzz_seconds=12
    [ -z "$test_long" ] || fuzz_seconds=600
    run_tap libfuzzer "$root/tests/lab/lib/run-fuzzers.sh" "$build/fuzz" "$root/tests/fuzz" \
        "$build/test/fuzz" "$fuzz_seconds"
}

# One start of the emulated host serves many cases.
# run_lab NAME LAB-OPTION... -- SCRIPT [ARGUMENT...]
run_lab() {
    lab_suite=$1
    shift
    # Seconds after which a host that hangs is given up: twice what the longest of them takes.
    lab_limit=900
    [ -z "$test_long" ] || lab_limit=3600
    # In a process of its own: it sets many variables.
    TENBOX_TEST_LONG=$test_long run_tap "$lab_suite" "$root/dev" lab --time-out "$lab_limit" "$@"
}

suite_lab() {
    lab_test_guests "$machine" "$test_long"
    # What hello.sh shows through all layers is repeated below them with --long only.
    set -- console_and_controllers crash abandoned
    [ -z "$test_long" ] || set --
    run_lab lab-runtime -- tests/lab/runtime.py "$@"
    run_lab lab --memory 7168 -- tests/lab/hello.sh
    run_lab lab-daemon -- tests/lab/daemon.sh
    run_lab lab-conformance -- tests/lab/conformance.sh
    run_tap lab-forward "$root/tests/lab/forward.sh"
    [ -n "$test_long" ] || return 0
    run_lab lab-systemd --host systemd -- tests/lab/systemd.sh
    run_lab lab-daemon-systemd --host systemd -- tests/lab/daemon.sh
}

suite_lab_arm() {
    lab_test_guests aarch64 "$test_long"
    # Each host runs what differs on it; with --long every host runs every case.
    gic2_cases='first doctor kernels many_cpus power_button pause reset exits bad_input'
    gic3_cases='first cpus many_cpus reset formats'
    pages_cases='first memory reset'
    [ -z "$test_long" ] || gic2_cases='' gic3_cases='' pages_cases=''
    # shellcheck disable=SC2086
    {
        run_lab lab-arm-gic2 --arch aarch64 --gic 2 -- tests/lab/hello.sh $gic2_cases
        run_lab lab-arm-gic3 --arch aarch64 --gic 3 -- tests/lab/hello.sh $gic3_cases
        run_lab lab-arm-16k --arch aarch64 --pages 16k -- tests/lab/hello.sh $pages_cases
    }
    # The one program of the hypervisor suite that differs here; its KVM is played.
    run_lab lab-arm-exits --arch aarch64 -- build/aarch64/tests/hypervisor/test-machine-exits
    run_lab lab-arm-no-vgic --arch aarch64 --device-tree no-vgic -- tests/lab/no-vgic.sh
    [ -z "$test_long" ] || run_lab lab-arm-trapped-gicv --arch aarch64 --pages 16k \
        --device-tree trapped-gicv -- tests/lab/hello.sh first cpus power_button
}

suite_fresh() {
    install_packages system
    for release in bookworm trixie; do
        run_tap "fresh-$release" "$root/tests/lab/lib/fresh-root.sh" "$release"
    done
}
