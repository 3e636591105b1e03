# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The lab: runs a command in an emulated Linux host in which /dev/kvm is real. README.md beside the
# folder says what it is made of. Sourced by `dev` after common.sh, debian.sh and guest.sh.

lab_usage() {
    cat <<'END'
usage: ./dev lab [OPTION...] -- COMMAND [ARGUMENT...]

Runs COMMAND as root in an emulated Linux host with KVM. It sees this machine's files (or, for
another architecture, a Debian root of that one), this checkout read-only, and the built programs
first in PATH; whatever it writes goes to memory, except below $TENBOX_LAB_OUT, which is a folder
here. Input, output and exit status pass through; 124: time-out, 125: the host did not come up.

  --arch x86_64|aarch64       the host's architecture (this machine's)
  --cpus N --memory MiB       its size (1; 2048); more than one is not stable, see README.md
  --time-out SECONDS          ends the command (none)
  --gic 2|3                   aarch64: interrupt controller (2, as a Raspberry Pi 5)
  --pages 4k|16k              aarch64: page size of the host's kernel (4k)
  --device-tree VARIANT       aarch64 with --gic 2: no-vgic, KVM without interrupt controller;
                              trapped-gicv, the Raspberry Pi 5's unaligned GICV
  --host plain|systemd        systemd: a Debian 13 that booted systemd and keeps its disk when it
                              reboots; the command then runs again, with TENBOX_LAB_BOOT=2, 3, ...
  --forward HOSTPORT:PORT     127.0.0.1:HOSTPORT here leads to PORT there; no other network exists
  --listen PATH:/PATH         a Unix socket here leads to one there
  --build FOLDER              programs from this build folder, as it is (default: builds first)
  --keep                      keeps the run's folder (it is kept anyway when the host died)
END
}

# Sets lab_* from the options; what is left is the command.
lab_parse() {
    lab_arch=$machine lab_cpus= lab_memory=2048 lab_time_out=0 lab_gic=2 lab_pages=4k
    lab_device_tree= lab_host=plain lab_build= lab_keep= lab_forwards= lab_listens= lab_consumed=0
    while [ $# -gt 0 ]; do
        case $1 in
            --)
                lab_consumed=$((lab_consumed + 1))
                return
                ;;
            --help | -h)
                lab_usage
                exit 0
                ;;
            --keep)
                lab_keep=1
                lab_consumed=$((lab_consumed + 1))
                shift
                continue
                ;;
            -*) [ $# -ge 2 ] || usage_error "$1 needs a value; see: ./dev lab --help" ;;
            *) usage_error "put -- before the command; see: ./dev lab --help" ;;
        esac
        case $1 in
            --arch) lab_arch=$2 ;;
            --cpus) lab_cpus=$(whole_number "$1" "$2") || exit ;;
            --memory) lab_memory=$(whole_number "$1" "$2") || exit ;;
            --time-out) lab_time_out=$(whole_number "$1" "$2") || exit ;;
            --gic) lab_gic=$(one_of "$1" "$2" 2 3) || exit ;;
            --pages) lab_pages=$(one_of "$1" "$2" 4k 16k) || exit ;;
            --device-tree) lab_device_tree=$(one_of "$1" "$2" no-vgic trapped-gicv) || exit ;;
            --host) lab_host=$(one_of "$1" "$2" plain systemd) || exit ;;
            --forward) lab_forwards="$lab_forwards $(port_pair "$2")" || exit ;;
            --listen) lab_listens="$lab_listens $2" ;;
            --build) lab_build=$(cd "$2" && pwd) || exit ;;
            *) usage_error "the lab has no option $1; see: ./dev lab --help" ;;
        esac
        shift 2
        lab_consumed=$((lab_consumed + 2))
    done
}

whole_number() {
    case $2 in
        '' | *[!0-9]* | 0*) usage_error "$1: \"$2\" is not a number above 0" ;;
    esac
    echo "$2"
}

one_of() {
    one_of_option=$1 one_of_value=$2
    shift 2
    for allowed in "$@"; do
        if [ "$one_of_value" = "$allowed" ]; then
            echo "$allowed"
            return
        fi
    done
    usage_error "$one_of_option: \"$one_of_value\" is none of: $*"
}

port_pair() {
    case $1 in
        *[!0-9:]* | *:*:* | :* | *:) ;;
        *:*)
            echo "$1"
            return
            ;;
    esac
    usage_error "--forward: \"$1\" is not HOSTPORT:PORT"
}

lab_verb() {
    lab_parse "$@"
    shift "$lab_consumed"
    [ $# -gt 0 ] || usage_error "which command? See: ./dev lab --help"
    debian_arch "$lab_arch" >/dev/null || exit
    install_packages build lab
    [ "$lab_arch" = "$machine" ] || install_packages cross
    [ -z "$lab_device_tree" ] || install_packages cross
    if [ -z "$lab_build" ]; then
        lab_build=$(build_folder "$lab_arch")
        build_tree "$lab_arch" || fail "the build failed"
    fi
    case $1 in
        # Tests find their guests ready made: the checkout is read-only in there.
        tests/lab/* | "$root"/tests/lab/*) lab_test_guests "$lab_arch" "${TENBOX_TEST_LONG-}" ;;
    esac
    lab_run "$@"
}

# Compiles lab-link for an architecture: static, for it also runs before there is a root.
lab_link() {
    link=$build/lab/bin/lab-link-$1
    if ! is_fresh "$link" "$root/tests/lab/link.c"; then
        mkdir -p "$build/lab/bin"
        "$(compiler_for "$1")" -std=gnu11 -D_GNU_SOURCE -O2 -static -o "$link.$$" \
            "$root/tests/lab/link.c" >&2 || fail "lab-link does not compile"
        mv "$link.$$" "$link"
    fi
    echo "$link"
}

compiler_for() {
    if [ "$1" = "$machine" ]; then
        echo gcc
    else
        echo "$1-linux-gnu-gcc"
    fi
}

# The initial RAM file system of a lab host; made again when what it is made of has changed.
# lab_initrd ARCH KERNEL
lab_initrd() {
    initrd=$build/lab/images/$1-$2.cpio
    kernel=$(kernel_folder "$1" "$2") || exit
    link=$(lab_link "$1") || exit
    busybox=$(busybox_program "$1") || exit
    if ! is_fresh "$initrd" "$kernel/release" "$link" "$busybox" "$root/tests/lab/init" \
        "$root/tests/lab/lib/lab.sh"; then
        folder=$(mktemp -d "$build/lab/initrd.XXXXXX")
        mkdir -p "$folder/bin" "$build/lab/images"
        cp "$busybox" "$folder/bin/busybox"
        cp "$link" "$folder/lab-link"
        cp "$root/tests/lab/init" "$folder/init"
        echo "$kernel/lib/modules/$(cat "$kernel/release")" >"$folder/modules-folder"
        lab_modules="virtio_pci virtio_console 9pnet_virtio 9p overlay"
        [ "$1" != x86_64 ] || lab_modules="$lab_modules kvm-amd"
        # shellcheck disable=SC2086
        copy_modules "$kernel" "$folder" list $lab_modules
        copy_modules "$kernel" "$folder" disk virtio_blk ext4
        copy_modules "$kernel" "$folder" network virtio_net
        pack_initramfs "$folder" "$initrd"
        rm -rf "$folder"
    fi
    echo "$initrd"
}

# The folder that is the lab host's root.
lab_root() {
    if [ "$1" = "$machine" ]; then
        echo /
    else
        foreign_root "$1"
    fi
}

# Runs the command: lab_parse() has set the options, lab_build names the programs.
lab_run() {
    lab_kernel=13
    [ "$lab_pages" = 4k ] || lab_kernel=13-16k
    [ "$lab_arch" = aarch64 ] || [ "$lab_pages$lab_gic$lab_device_tree" = 4k2 ] ||
        usage_error "--gic, --pages and --device-tree are for --arch aarch64"
    kernel=$(kernel_folder "$lab_arch" "$lab_kernel") || exit
    initrd=$(with_lock lab-images lab_initrd "$lab_arch" "$lab_kernel") || exit
    link=$(lab_link "$machine") || exit
    lab_disk=
    if [ "$lab_host" = systemd ]; then
        [ "$lab_arch" = "$machine" ] ||
            usage_error "--host systemd is for --arch $machine: its packages must run here to be installed"
        case $root/ in
            /tmp/* | /run/*) fail "systemd covers /tmp and /run: --host systemd needs the checkout elsewhere" ;;
        esac
        install_packages system
        lab_disk=$(systemd_disk) || exit
    else
        lab_root_folder=$(lab_root "$lab_arch") || exit
    fi

    mkdir -p "$build/lab/runs"
    run=$(mktemp -d "$build/lab/runs/$(date +%H%M%S).XXXXXX")
    chmod 0755 "$run"
    mkdir "$run/out"
    case $PWD/ in
        "$root"/*) directory=$PWD ;;
        *) directory=$root ;;
    esac
    case $root$lab_build in
        *[,[:space:]]*) fail "the lab cannot work below a folder with a comma or space in its name" ;;
    esac

    lab_emulator >"$run/emulator.sh" || exit
    set -- --emulator "$run/emulator.sh" --console "$run/console.log" --directory "$directory" \
        --time-out "$lab_time_out" -- "$@"
    [ "$lab_host" = plain ] || set -- --orderly "$@"
    for listen in $lab_listens; do
        set -- --listen "$listen" "$@"
    done
    lab_status=0
    lab_environment "$link" host "$@" || lab_status=$?
    if [ "$lab_status" -eq 125 ]; then
        [ ! -s "$run/emulator.log" ] || cat "$run/emulator.log" >&2
        say "lab: kept $run"
    elif [ -z "$lab_keep" ]; then
        if [ -n "$(ls -A "$run/out")" ]; then
            # What the command left stays.
            rm -f "$run/emulator.sh" "$run/emulator.log" "$run/console.log"
        else
            rm -rf "$run"
        fi
    fi
    return "$lab_status"
}

# Runs lab-link with the environment that the command is to have, and with nothing else.
lab_environment() {
    lab_path=$lab_build/tenbox-cli:$lab_build/tenboxd:$lab_build/tenbox-runtime
    kept=$(env | sed -n 's/^\(\(TENBOX\|G\|TERM\|COLORTERM\|CI\|[A-Z]*SAN\)\(_[A-Z0-9_]*\)*\)=.*/\1/p')
    for name in $kept; do
        eval "set -- \"$name=\$$name\" \"\$@\""
    done
    # The command line now reads: variables, then lab-link and its arguments.
    env -i PATH="$lab_path:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        HOME=/run/lab/home XDG_RUNTIME_DIR=/run/user/0 LANG=C.UTF-8 USER=root LOGNAME=root \
        SHELL=/bin/sh TENBOX_LAB=1 TENBOX_LAB_ARCH="$lab_arch" TENBOX_LAB_OUT="$run/out" \
        TENBOX_LAB_GIC="$lab_gic" TENBOX_LAB_PAGES="$lab_pages" TENBOX_SOURCE="$root" \
        TENBOX_BUILD="$lab_build" TENBOX_RUNTIME="$lab_build/tenbox-runtime/tenbox-runtime" "$@"
}

# What an emulated processor does slowly and this host does not need: self-tests and checks of the
# kernel's own, and defences against a real processor's faults.
lab_faster="mitigations=off nokaslr rodata=off audit=0 cryptomgr.notests"
lab_faster="$lab_faster initcall_blacklist=jent_mod_init,load_system_certificate_list"

# Prints the script that starts the emulator.
lab_emulator() {
    case $lab_arch in
        x86_64)
            console=ttyS0
            image=$(kernel_elf "$lab_kernel") || exit
            set -- qemu-system-x86_64 -M q35,usb=off,vmport=off -cpu EPYC,+svm,+npt
            ;;
        aarch64)
            console=ttyAMA0
            image=$kernel/vmlinuz
            set -- qemu-system-aarch64 \
                -M "virt,virtualization=on,gic-version=$lab_gic" -cpu cortex-a76
            ;;
    esac
    if [ -z "$lab_cpus" ]; then
        lab_cpus=1
    fi
    if [ -n "$lab_device_tree" ]; then
        [ "$lab_gic" = 2 ] && [ "$lab_cpus" = 1 ] ||
            usage_error "--device-tree goes with --gic 2 and one CPU"
        lab_edit_device_tree "$run/edited.dtb" "$@" || exit
        set -- "$@" -dtb "$run/edited.dtb"
    fi
    # A panic ends the emulator; without -no-reboot it would start again, for ever: it stands still.
    lab_panic=-1
    [ "$lab_host" = plain ] || lab_panic=0
    network=none
    for pair in $lab_forwards; do
        [ "$network" != none ] || network=user,restrict=on,net=192.168.76.0/24
        network=$network,hostfwd=tcp:127.0.0.1:${pair%:*}-:${pair#*:}
    done
    lab_address=
    if [ "$network" != none ]; then
        network=$network,model=virtio-net-pci
        # Where the emulator sends what it forwards.
        lab_address=192.168.76.15/24
    fi
    share=security_model=none,multidevs=remap
    if [ -n "$lab_disk" ]; then
        # Changes live as long as the emulator: over reboots of the lab host, not beyond.
        set -- "$@" -drive "file=$lab_disk,format=raw,if=virtio,snapshot=on"
    else
        set -- "$@" -no-reboot -virtfs "local,path=$lab_root_folder,mount_tag=root,readonly=on,$share"
    fi
    set -- "$@" -accel tcg,thread=multi -smp "$lab_cpus" -m "$lab_memory" \
        -nodefaults -display none -monitor none -serial "file:$run/console.log" \
        -kernel "$image" -initrd "$initrd" \
        -append "console=$console quiet panic=$lab_panic $lab_faster lab.host=$lab_host lab.checkout=$root lab.share=$run/out${lab_address:+ lab.address=$lab_address}" \
        -nic "$network" \
        -virtfs "local,path=$root,mount_tag=checkout,readonly=on,$share" \
        -virtfs "local,path=$run/out,mount_tag=share,$share" \
        -chardev socket,id=link,fd=3 -device virtio-serial-pci \
        -device virtserialport,chardev=link,name=tenbox.lab.0
    echo '# Starts the emulator of this run; descriptor 3 is the line to lab-link.'
    echo "exec $(quoted "$@") 2>$(quoted "$run/emulator.log")"
}

# Writes the emulated machine's device tree, changed as lab_device_tree says.
# lab_edit_device_tree FILE QEMU-ARGUMENT...
lab_edit_device_tree() {
    tree=$1
    shift
    "$@" -machine "dumpdtb=$tree" -smp 1 -m "$lab_memory" -nodefaults -display none -nic none \
        >/dev/null 2>&1 || true
    [ -s "$tree" ] || fail "the emulator did not write its device tree"
    interrupt_controller=/$(fdtget -l "$tree" / | grep '^intc@')
    case $lab_device_tree in
        no-vgic)
            # Without the maintenance interrupt KVM starts, but has no interrupt controller for guests.
            fdtput -d "$tree" "$interrupt_controller" interrupts
            ;;
        trapped-gicv)
            # The fourth region is GICV. At 8 KiB it is no whole page of a 16 KiB kernel, as on a
            # Raspberry Pi 5, and KVM traps each access to it.
            # shellcheck disable=SC2046
            fdtput -t x "$tree" "$interrupt_controller" reg \
                $(fdtget -t x "$tree" "$interrupt_controller" reg | awk '{ $16 = 2000; print }')
            ;;
    esac || fail "the device tree cannot be edited"
}

# The disk of the lab host that runs systemd: a Debian 13 with what our programs link to and what
# tests call, otherwise as Debian ships it. Made once.
systemd_disk() {
    disk=$cache/hosts/$machine-systemd.img
    is_fresh "$disk" "$root/data/packages.list" || with_lock systemd-disk make_systemd_disk >&2 || exit
    echo "$disk"
}

make_systemd_disk() {
    ! is_fresh "$disk" "$root/data/packages.list" || return 0
    say "Making the disk of a lab host with systemd"
    mkdir -p "$cache/hosts"
    sources_for trixie >"$cache/hosts/trixie.list"
    packages=$(packages_of host "$(debian_arch "$machine")" | paste -sd, -)
    mmdebstrap --quiet --variant=apt --include="$packages" trixie "$disk.tar" \
        "$cache/hosts/trixie.list" || fail "the packages of the disk could not be installed"
    scratch=$(mktemp -d "$cache/tmp.XXXXXX")
    rm -f "$disk.new"
    # shellcheck disable=SC2016
    fakeroot sh -euc '
        tar -x -C "$1" -f "$2"
        echo lab >"$1/etc/hostname"
        : >"$1/etc/machine-id"
        mke2fs -q -t ext4 -L lab -d "$1" "$3" 2G' disk "$scratch" "$disk.tar" "$disk.new" ||
        fail "the disk could not be made"
    rm -rf "$scratch" "$disk.tar"
    mv "$disk.new" "$disk"
}
