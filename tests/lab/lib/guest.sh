# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds guests for tests and first steps. Sourced by `dev` after debian.sh.

guest_usage() {
    cat <<'END'
usage: ./dev guest hello [--arch x86_64|aarch64] [--kernel 12|12-cloud|13|13-cloud]

Builds build/guest/ARCH/hello/{vmlinuz,initrd}: a stock Debian kernel (13 unless told otherwise, in
which case the folder is called hello-KERNEL) and an initramfs that says hello. For x86_64 there is
vmlinux too, the same kernel as an ELF file.
END
}

guest_verb() {
    [ $# -gt 0 ] || usage_error "which guest? See: ./dev guest --help"
    guest_name=$1
    shift
    case $guest_name in
        hello) ;;
        system | desktop) usage_error "the $guest_name guest is not part of TenBox yet: it comes with disks and displays" ;;
        --help | -h)
            guest_usage
            return
            ;;
        *) usage_error "there is no guest \"$guest_name\"; see: ./dev guest --help" ;;
    esac
    guest_arch=$machine guest_kernel=13
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || usage_error "$1 needs a value; see: ./dev guest --help"
        case $1 in
            --arch) guest_arch=$2 ;;
            --kernel) guest_kernel=$2 ;;
            *) usage_error "guest has no option $1; see: ./dev guest --help" ;;
        esac
        shift 2
    done
    install_packages lab
    guest_folder=$(hello_guest "$guest_arch" "$guest_kernel") || exit
    printf '%s\n' "$guest_folder/vmlinuz" "$guest_folder/initrd"
}

# Builds the hello guest unless it is there, and prints its folder.
# hello_guest ARCH [KERNEL]
hello_guest() {
    folder=$build/guest/$1/hello
    [ "${2:-13}" = 13 ] || folder=$folder-$2
    kernel=$(kernel_folder "$1" "${2:-13}") || exit
    busybox=$(busybox_program "$1") || exit
    is_fresh "$folder/initrd" "$kernel/release" "$busybox" "$root"/data/guest/hello/* \
        "$root/tests/lab/lib/guest.sh" ||
        with_lock "guest-$1-${2:-13}" make_hello_guest "$1" "${2:-13}" "$kernel" "$busybox" "$folder" || exit
    echo "$folder"
}

# make_hello_guest ARCH KERNEL KERNEL-FOLDER BUSYBOX FOLDER
make_hello_guest() {
    mkdir -p "$5"
    files=$(mktemp -d "$5/files.XXXXXX")
    chmod 0755 "$files"
    recipe=$root/data/guest/hello
    mkdir -p "$files/bin" "$files/etc/acpi/PWRF"
    cp "$4" "$files/bin/busybox"
    cp "$recipe/init" "$files/init"
    cp "$recipe/power-button" "$files/etc/acpi/PWRF/00000080"
    for name in poweroff reboot halt; do
        cp "$recipe/poweroff" "$files/bin/$name"
    done
    case $1-$2 in
        x86_64-*) buttons="evdev button" ;;
        aarch64-*-cloud) buttons=evdev ;; # its kernel has no gpio_keys
        aarch64-*) buttons="evdev gpio_keys" ;;
    esac
    # shellcheck disable=SC2086
    copy_modules "$3" "$files" button $buttons
    copy_modules "$3" "$files" virtio virtio_pci virtio_blk virtio_net virtio_console virtio-rng \
        virtio_balloon
    pack_initramfs "$files" "$5/initrd"
    if [ "$1" = x86_64 ]; then
        # The same kernel without its wrapping: an emulated processor takes long to unpack it.
        elf=$(kernel_elf "$2") || exit
        ln -f "$elf" "$5/vmlinux" 2>/dev/null || cp "$elf" "$5/vmlinux"
    fi
    cp "$3/vmlinuz" "$5/vmlinuz.new"
    mv "$5/vmlinuz.new" "$5/vmlinuz"
    rm -rf "$files"
}

# Builds what the tests in tests/lab boot; with LONG not empty, all kernels that there are.
# lab_test_guests ARCH LONG
lab_test_guests() {
    case $1 in
        x86_64) test_kernels='13 12 13-cloud' ;;
        aarch64) test_kernels='13 12-cloud' ;;
    esac
    [ -z "$2" ] || test_kernels='13 12 13-cloud 12-cloud'
    for test_kernel in $test_kernels; do
        hello_guest "$1" "$test_kernel" >/dev/null || exit
    done
    [ "$1" = aarch64 ] || return 0
    plain=$build/guest/aarch64/hello-12-cloud/vmlinuz
    wrapped=$build/guest/aarch64/wrapped
    if ! is_fresh "$wrapped/vmlinuz.zboot" "$plain" "$root/tests/lab/lib/wrap-arm64-image.py"; then
        mkdir -p "$wrapped"
        "$python" "$root/tests/lab/lib/wrap-arm64-image.py" "$plain" "$wrapped/vmlinuz.gz" \
            "$wrapped/vmlinuz.zboot" || exit
    fi
}
