#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes the ELF kernel out of a bzImage: extract-vmlinux.py BZIMAGE ELF

The setup header of the x86 boot protocol (version 2.08, kernel documentation "The Linux/x86 Boot
Protocol") says where the compressed kernel begins and how long it is; its last four bytes are the
size of what it unpacks to.
"""
import lzma
import struct
import subprocess
import sys


def unpack(payload):
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        command = ["zstd", "-dc", "--long=31"]
    elif payload.startswith(b"\x02\x21\x4c\x18"):
        command = ["lz4", "-dc"]
    elif payload.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(payload)
    else:
        sys.exit("extract-vmlinux: compression %r is not known" % payload[:6])
    return subprocess.run(command, input=payload, stdout=subprocess.PIPE, check=True).stdout


def main():
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    if image[0x202:0x206] != b"HdrS":
        sys.exit("extract-vmlinux: %s is no bzImage" % sys.argv[1])
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    elf = unpack(payload[:-4])
    if not elf.startswith(b"\x7fELF"):
        sys.exit("extract-vmlinux: what came out is no ELF file")
    (size,) = struct.unpack("<I", payload[-4:])
    if len(elf) != size:
        sys.exit("extract-vmlinux: %d bytes came out instead of %d" % (len(elf), size))
    with open(sys.argv[2], "wb") as file:
        file.write(elf)


main()
