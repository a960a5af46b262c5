# SPDX-License-Identifier: LGPL-2.1-or-later
"""By what an image's format is told: its first bytes, and the names of files with
raw memory that others lay out.

They stand apart from the readers, which are many and take long to import: only the
one that is needed is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

QEMU = b"QEVM"
MIGCOMP = b"\x89MIGC\r\n\x1a"
VIRSH, VIRSH_PARTIAL = b"LibvirtQemudSave", b"LibvirtQemudPart"
ELF = b"\x7fELF"
KDUMP, FLATTENED = b"KDUMP   ", b"makedumpfile\0\0\0\0"
LIME = b"EMiL"
AVML = b"AVML"
#: A checkpoint, restored, not to be restored, partial.
VMWARE = (
    b"\xd2\xbe\xd2\xbe",
    b"\xd1\xba\xd1\xba",
    b"\xd2\xba\xd2\xba",
    b"\xd3\xbe\xd3\xbe",
)
#: Old versions', with fields of 32 bits.
VMWARE_32 = (b"\xd0\xbe\xd0\xbe", b"\xd0\xbe\xd2\xbe")
CRIU = b"\x19\x43\x56\x54\x25\x40\x08\x56"
WINDOWS_32, WINDOWS_64 = b"PAGEDUMP", b"PAGEDU64"
ZSTD = b"\x28\xb5\x2f\xfd"
LZOP = b"\x89LZO\0\r\n\x1a\n"

#: Suffix of the file with VMware's memory; name of that with Cloud Hypervisor's.
VMWARE_MEMORY = ".vmem"
CLOUD_HYPERVISOR_MEMORY = "memory-ranges"

_VMWARE_HEADER = 12


@dataclass(frozen=True)
class Signature:
    """``reader``: the module of this package that opens what ``recognises`` is told
    to be the first bytes of, at most file.HEAD_SIZE."""

    format: str
    reader: str
    recognises: Callable[[bytes], bool]


def _begins(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def is_vmware(head: bytes) -> bool:
    return len(head) >= _VMWARE_HEADER and head.startswith((*VMWARE, *VMWARE_32))


def is_lime(head: bytes) -> bool:
    """As it is, or as a whole compressed by zlib."""
    if head[:1] != b"\x78":
        return head.startswith(LIME)
    import zlib

    try:
        return zlib.decompressobj().decompress(head, len(LIME)) == LIME
    except zlib.error:
        return False


SIGNATURES = (
    Signature("qemu", "qemu", _begins(QEMU)),
    Signature("migcomp", "migcomp_stream", _begins(MIGCOMP)),
    Signature("virsh-save", "virsh", _begins(VIRSH, VIRSH_PARTIAL)),
    Signature("elf", "elf", _begins(ELF)),
    Signature("kdump", "kdump", _begins(KDUMP, FLATTENED)),
    Signature("lime", "lime", is_lime),
    Signature("avml", "avml", _begins(AVML)),
    Signature("vmware", "vmware", is_vmware),
    Signature("criu", "criu", _begins(CRIU)),
    Signature("windows-dump", "windows", _begins(WINDOWS_32, WINDOWS_64)),
    Signature("seekable-zstd", "seekable_zstd", _begins(ZSTD)),
)

_FIRECRACKER = "the state of a Firecracker guest; give its memory file"

#: First bytes of what is no image that is read, and what to say.
OTHERS = (
    (b"\x1f\x8b\x08", "compressed by gzip; decompress it with gzip -d first"),
    (b"BZh", "compressed by bzip2; decompress it with bzip2 -d first"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it with xz -d first"),
    (LZOP, "compressed by lzop; decompress it with lzop -d first"),
    (b"QFI\xfb", "a qcow2 disk image, which holds no guest memory of its own"),
    (b"KDMV", "a VMware disk image; give the .vmem file"),
    (b"\0\0\x64\x86\x84\x19\x10\x07", _FIRECRACKER),
    (b"\0\0\xaa\xaa\x84\x19\x10\x07", _FIRECRACKER),
)
