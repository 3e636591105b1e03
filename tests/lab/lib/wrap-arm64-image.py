#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Wraps a plain arm64 kernel as others ship it: wrap-arm64-image.py IMAGE GZIP ZBOOT

GZIP becomes the gzip file of it, ZBOOT an EFI zboot file with that inside. Debian ships neither. The
zboot header is that of the kernel's drivers/firmware/efi/libstub/zboot-header.S: the DOS magic, "zimg",
where the payload lies and how long it is, and how it is compressed.
"""
import gzip
import struct
import sys

PAYLOAD_OFFSET = 4096


def main():
    image, gzip_path, zboot_path = sys.argv[1:]
    with open(image, "rb") as stream:
        packed = gzip.compress(stream.read(), 1, mtime=0)
    with open(gzip_path, "wb") as stream:
        stream.write(packed)
    header = struct.pack("<4s4sIIII8s", b"MZ\0\0", b"zimg", PAYLOAD_OFFSET, len(packed), 0, 0, b"gzip")
    with open(zboot_path, "wb") as stream:
        stream.write(header.ljust(PAYLOAD_OFFSET, b"\0") + packed)


main()
