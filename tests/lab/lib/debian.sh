# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian: installs packages on this machine, and fetches packages of another release or another
# architecture without installing them. Sourced by `dev` after common.sh.
#
# Mirrors are never named here: they are taken from this machine's own apt configuration.

# Packages of this machine

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\"$*\" needs root: run it as root, or install sudo"
    fi
}

machine_release() {
    # shellcheck disable=SC1091
    (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
}

package_is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The entries of a group, one a line.
# packages_of GROUP DEBIAN-ARCH
packages_of() {
    awk -v group="$1" -v arch="$2" '$1 == group && ($3 == "" || $3 == arch) { print $2 }' \
        "$root/data/packages.list"
}

# Prints the entries of the groups of which nothing is installed.
missing_packages() {
    for group in "$@"; do
        packages_of "$group" "$(dpkg --print-architecture)"
    done | while IFS= read -r entry; do
        found=
        for package in $(echo "$entry" | tr '|' ' '); do
            package_is_installed "$package" && found=1
        done
        [ -n "$found" ] || echo "$entry"
    done
}

package_is_known() {
    [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null)" ]
}

# Of "a|b", the first that apt knows.
choose_package() {
    for package in $(echo "$1" | tr '|' ' '); do
        if package_is_known "$package"; then
            echo "$package"
            return
        fi
    done
    return 1
}

apt_updated=
update_package_lists() {
    [ -z "$apt_updated" ] || return 0
    apt_updated=1
    say "Reading Debian's package lists"
    as_root apt-get -qq update >&2 || fail "apt-get update failed: are the mirrors in reach?"
}

# Installs what is missing of the groups.
install_packages() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "missing, and there is no apt-get: $missing"
    chosen=
    for entry in $missing; do
        if ! package=$(choose_package "$entry"); then
            update_package_lists
            package=$(choose_package "$entry") || fail "this Debian has no package $entry"
        fi
        chosen="$chosen $package"
    done
    say "Installing$chosen"
    # shellcheck disable=SC2086
    if ! apt_install $chosen; then
        # The lists may be older than the mirror.
        update_package_lists
        apt_install $chosen || fail "could not install:$chosen"
    fi
}

apt_install() {
    mkdir -p "$build"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
        --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >"$build/install.log" 2>&1 || {
        tail -n 20 "$build/install.log" >&2
        return 1
    }
}

# Packages of elsewhere

# The indexes of Debian's own that this machine's apt has read: site and release, one a line.
package_indexes() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian'
}

# Prints source lines for another release: this machine's mirrors, with the release's name put in
# the place of this machine's.
sources_for() {
    release=$1
    here=$(machine_release)
    indexes=$(package_indexes)
    if [ -z "$indexes" ]; then
        update_package_lists
        indexes=$(package_indexes)
    fi
    echo "$indexes" | sort -u | awk -v here="$here" -v release="$release" '
        $2 == here || $2 ~ "^" here "-(updates|security)$" {
            sub("^" here, release, $2)
            print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, $2, "main"
        }'
}

# apt with a state of its own, which knows the packages of one release and one architecture and
# believes that nothing is installed but what $state/status says.
# apt_of RELEASE ARCH {get|cache} ARGUMENT...
apt_of() {
    state=$cache/apt/$1-$2
    apt_arch=$(debian_arch "$2")
    apt_tool=apt-$3
    if [ ! -e "$state/ready" ]; then
        mkdir -p "$state/lists/partial" "$state/archives/partial"
        chmod -R a+rX "$cache" 2>/dev/null || true
        sources_for "$1" >"$state/sources.list"
        [ -s "$state/sources.list" ] ||
            fail "apt on this machine knows no Debian mirror to take $1 from"
        : >>"$state/status"
        say "Reading the package lists of Debian $1 for $2"
        apt_run "$state" "$apt_arch" apt-get -qq update >&2 ||
            fail "the package lists of Debian $1 for $2 cannot be had"
        touch "$state/ready"
    fi
    shift 3
    apt_run "$state" "$apt_arch" "$apt_tool" "$@"
}

apt_run() {
    apt_state=$1
    apt_for=$2
    apt_program=$3
    shift 3
    "$apt_program" -o Dir::Etc::sourcelist="$apt_state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$apt_state/lists" \
        -o Dir::State::status="$apt_state/status" -o Dir::Cache::archives="$apt_state/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Architecture="$apt_for" -o APT::Architectures::="$apt_for" \
        -o Acquire::Languages=none -o APT::Sandbox::User=root -o Debug::NoLocking=true \
        -o APT::Install-Recommends=false "$@"
}

release_name() {
    case $1 in
        12*) echo bookworm ;;
        13*) echo trixie ;;
        *) usage_error "kernel \"$1\" is none of 12, 12-cloud, 13, 13-cloud (13-16k for aarch64)" ;;
    esac
}

# Downloads one package, without what it depends on, and unpacks it.
# unpack_package RELEASE ARCH PACKAGE FOLDER
unpack_package() {
    (
        mkdir -p "$4"
        scratch=$(mktemp -d "$cache/tmp.XXXXXX")
        chmod a+rx "$scratch"
        trap 'rm -rf "$scratch"' EXIT
        cd "$scratch" || exit
        apt_of "$1" "$2" get -qq download "$3" >&2 || fail "package $3 cannot be had"
        dpkg-deb -x ./*.deb "$4"
    )
}

# Fetches a Debian kernel: vmlinuz, release (its name) and lib/modules below the folder printed.
# KERNEL is 12, 12-cloud, 13, 13-cloud or 13-16k.
# kernel_folder ARCH KERNEL
kernel_folder() {
    folder=$cache/kernels/$1/$2
    [ -e "$folder/release" ] || with_lock "kernel-$1-$2" fetch_kernel "$1" "$2" "$folder" >&2
    [ -e "$folder/release" ] || exit 1
    echo "$folder"
}

fetch_kernel() {
    [ ! -e "$3/release" ] || return 0
    codename=$(release_name "$2") || exit
    case $1-$2 in
        *-1[23]) flavour=$(debian_arch "$1") ;;
        *-1[23]-cloud) flavour=cloud-$(debian_arch "$1") ;;
        aarch64-13-16k) flavour=arm64-16k ;;
        *) usage_error "there is no kernel \"$2\" for $1" ;;
    esac
    package=$(apt_of "$codename" "$1" cache depends --important "linux-image-$flavour" |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || fail "Debian $codename has no kernel linux-image-$flavour"
    say "Fetching $package ($codename)"
    rm -rf "$3"
    unpack_package "$codename" "$1" "$package" "$3/unpacked"
    mv "$3"/unpacked/boot/vmlinuz-* "$3/vmlinuz"
    mv "$3"/unpacked/boot/config-* "$3/config"
    mkdir -p "$3/lib"
    if [ -d "$3/unpacked/usr/lib/modules" ]; then
        mv "$3/unpacked/usr/lib/modules" "$3/lib/modules"
    else
        mv "$3/unpacked/lib/modules" "$3/lib/modules"
    fi
    rm -rf "$3/unpacked"
    kernel_name=$(basename "$3"/lib/modules/*)
    PATH=$PATH:/sbin:/usr/sbin depmod -b "$3" "$kernel_name" ||
        fail "depmod failed for $kernel_name"
    echo "$kernel_name" >"$3/release.new"
    mv "$3/release.new" "$3/release"
}

# The same kernel as an ELF file, which starts through the PVH entry and unpacks nothing. x86_64 only.
# kernel_elf KERNEL
kernel_elf() {
    folder=$(kernel_folder x86_64 "$1") || exit
    if [ ! -e "$folder/vmlinux" ]; then
        install_packages lab
        "$python" "$root/tests/lab/lib/extract-vmlinux.py" "$folder/vmlinuz" "$folder/vmlinux.$$" ||
            fail "no ELF kernel in $folder/vmlinuz"
        mv "$folder/vmlinux.$$" "$folder/vmlinux"
    fi
    echo "$folder/vmlinux"
}

# A static busybox of an architecture.
busybox_program() {
    program=$cache/busybox/$1/bin/busybox
    [ -x "$program" ] ||
        with_lock "busybox-$1" unpack_package trixie "$1" busybox-static "$cache/busybox/$1" >&2
    [ -x "$program" ] || program=$cache/busybox/$1/usr/bin/busybox
    [ -x "$program" ] || fail "Debian's busybox-static holds no busybox"
    echo "$program"
}

# Roots of another architecture

# The unpacked root of another architecture, of this machine's release; what the groups name is in it.
# foreign_root ARCH [GROUP...]
foreign_root() {
    foreign_arch=$1
    shift
    foreign_folder=$cache/roots/$foreign_arch-$(machine_release)
    for group in root "$@"; do
        is_fresh "$foreign_folder/.has-$group" "$root/data/packages.list" ||
            with_lock "root-$foreign_arch" fill_root "$foreign_arch" "$foreign_folder" "$group" >&2 ||
            exit
    done
    echo "$foreign_folder"
}

fill_root() {
    ! is_fresh "$2/.has-$3" "$root/data/packages.list" || return 0
    release=$(machine_release)
    say "Fetching a Debian root for $1 ($release, group $3)"
    state=$cache/apt/$release-$1
    apt_of "$release" "$1" cache policy >/dev/null
    # Debian 12's libsoup-3.0-dev needs a package that only another one provides, which brings all
    # of GTK 4's development files. What is really needed of it is one .pc file.
    if ! apt_of "$release" "$1" cache policy libsysprof-capture-4-dev | grep -q 'Candidate: [0-9]'; then
        printf '%s\n' 'Package: libsysprof-capture-4-dev' 'Status: install ok installed' \
            "Architecture: $(debian_arch "$1")" 'Multi-Arch: same' 'Version: 3.46' \
            'Maintainer: nobody' 'Description: stands for the real one' >"$state/status"
    fi
    rm -f "$state"/archives/*.deb
    # shellcheck disable=SC2046
    apt_of "$release" "$1" get -qq install --yes --download-only \
        $(packages_of "$3" "$(debian_arch "$1")") || fail "the packages of the root cannot be had"
    mkdir -p "$2"
    # As on every Debian: these are links before the first package comes.
    for name in bin sbin lib; do
        mkdir -p "$2/usr/$name"
        [ -e "$2/$name" ] || ln -s "usr/$name" "$2/$name"
    done
    for package in "$state"/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --no-same-owner \
            -C "$2" || fail "$package cannot be unpacked"
    done
    rm -f "$state"/archives/*.deb
    settle_root "$1" "$2"
    touch "$2/.has-$3"
}

# Does by hand what the packages' own scripts would have done, as far as it matters here.
settle_root() {
    (
        cd "$2" || exit
        # A cross compiler follows absolute links to this machine's files.
        find . -type l -lname '/*' | while read -r link; do
            ln -sfn "$(realpath -ms --relative-to="$(dirname "$link")" "./$(readlink "$link")")" "$link"
        done
        [ -e usr/bin/sh ] || ln -s dash usr/bin/sh
        [ -e usr/bin/awk ] || ln -s mawk usr/bin/awk
        mkdir -p proc sys dev run tmp root home var/lib/dbus "usr/lib/$1-linux-gnu/pkgconfig"
        echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
        echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >>etc/passwd
        printf '%s\n' root:x:0: tty:x:5: kvm:x:104: nogroup:x:65534: >etc/group
        echo '127.0.0.1 localhost lab' >etc/hosts
        echo 'passwd: files' >etc/nsswitch.conf
        [ -e "usr/lib/$1-linux-gnu/pkgconfig/sysprof-capture-4.pc" ] ||
            printf '%s\n' 'Name: sysprof-capture-4' 'Description: stands for the real one' \
                'Version: 3.46' >"usr/lib/$1-linux-gnu/pkgconfig/sysprof-capture-4.pc"
    )
}

# Initial RAM file systems

# Copies kernel modules and what they depend on into FOLDER/modules, uncompressed, and appends
# their file names, in loading order, to FOLDER/modules/LIST. A module that is built in adds none.
# copy_modules KERNEL-FOLDER FOLDER LIST MODULE...
copy_modules() {
    kernel=$1
    target=$2/modules
    list=$3
    shift 3
    mkdir -p "$target"
    kernel_name=$(cat "$kernel/release")
    for module in "$@"; do
        steps=$(PATH=$PATH:/sbin:/usr/sbin modprobe -d "$kernel" -S "$kernel_name" \
            --show-depends "$module") || fail "kernel $kernel_name has no module $module"
        for file in $(echo "$steps" | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
            name=$(basename "${file%.xz}")
            grep -qsx "$name" "$target/$list" && continue
            case $file in
                *.xz) xz -dc "$file" >"$target/$name" ;;
                *) cp "$file" "$target/$name" ;;
            esac
            echo "$name" >>"$target/$list"
        done
    done
    : >>"$target/$list"
}

# Makes an archive that the kernel takes as initrd; the same folder gives the same bytes.
# pack_initramfs FOLDER FILE
pack_initramfs() {
    (
        cd "$1" || exit
        find . -exec touch -h -d @0 {} +
        find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible
    ) >"$2.new"
    mv "$2.new" "$2"
}
