# shellcheck shell=sh disable=SC2034
# SPDX-License-Identifier: LGPL-2.1-or-later
# What every benchmark of a virtual machine monitor uses: the contenders, each started the same way.
# Sourced in the lab host. Sets $vmms, $guest (folder of kernel and initrd) and $console.
#
# The contenders get the same kernel, initrd, command line, memory and one vCPU; no disk, network or
# display. QEMU's options leave out what it can leave out.

guest=$TENBOX_SOURCE/build/guest/$TENBOX_LAB_ARCH/hello
launcher=$TENBOX_SOURCE/build/bench/bin/launch-$TENBOX_LAB_ARCH
guest_memory=512

case $TENBOX_LAB_ARCH in
    x86_64)
        vmms="tenbox microvm q35"
        console=ttyS0
        ;;
    aarch64)
        vmms="tenbox virt"
        console=ttyAMA0
        ;;
esac

# Replaces this shell by a VMM that runs the hello guest; the console is standard output.
# exec_vmm VMM COMMAND-LINE [UNTIL]
exec_vmm() {
    if [ "$1" = tenbox ]; then
        exec "$launcher" "$TENBOX_RUNTIME" "$guest/vmlinuz" "$guest/initrd" "$guest_memory" 1 "$2" \
            ${3:+"$3"}
    fi
    set -- "$1" -accel kvm -cpu host -smp 1 -m "$guest_memory" -no-user-config -nodefaults \
        -display none -monitor none -no-reboot -serial stdio \
        -kernel "$guest/vmlinuz" -initrd "$guest/initrd" -append "$2"
    case $1 in
        microvm)
            shift
            exec qemu-system-x86_64 -M microvm,pit=off,pic=off,rtc=on,isa-serial=on "$@"
            ;;
        q35)
            shift
            exec qemu-system-x86_64 -M q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off "$@"
            ;;
        virt)
            shift
            exec qemu-system-aarch64 -M virt,gic-version=host "$@"
            ;;
    esac
}

# The first of the numbers on standard input in the middle of their order.
median() {
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}
