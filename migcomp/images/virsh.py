# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of ``virsh save``: a header, the guest's XML, and a QEMU migration stream,
which may be compressed as a whole.

Format: libvirt's ``src/qemu/qemu_saveimage.h``; numbers are those of the machine
that wrote it.
"""

from __future__ import annotations

import struct

from migcomp.errors import ImageError
from migcomp.images import qemu
from migcomp.images.file import HEAD_SIZE, ImageFile
from migcomp.images.headers import cut_off, size_of, take
from migcomp.images.packed import unpack
from migcomp.images.signatures import QEMU, VIRSH, VIRSH_PARTIAL

FORMAT = "virsh-save"

#: Magic, version, bytes of XML and cookie, was running, compression, cookie.
_HEADER = "16sIIIII56x"
_VERSION = 2
_RAW, _SPARSE = 0, 6
_METHODS = {1: "gzip", 2: "bzip2", 3: "xz", 4: "lzop", 5: "zstd"}


class FilePart(ImageFile):
    """What lies in a file from ``start`` on; owns the file."""

    def __init__(self, file: ImageFile, start: int) -> None:
        self.path, self.fd, self.watch = file.path, file.fd, file.watch
        self._start = start
        self.size = size_of(file) - start
        self.head, self.taken = file.read_at(start, HEAD_SIZE), b""

    def map(self, size: int | None = None) -> memoryview:
        whole = super().map(self._start + (size or size_of(self)))
        return memoryview(whole)[self._start :]

    def read_at(self, offset: int, size: int) -> bytes:
        return super().read_at(self._start + offset, size)


def open_file(file: ImageFile, page_size: int) -> qemu.QemuImage:
    """Raises ImageError, and CodecUnavailable for lzop without its package."""
    size = struct.calcsize("=" + _HEADER)
    head = take(file, 0, size, "its header")
    if not head.startswith((VIRSH, VIRSH_PARTIAL)):
        raise ImageError(f"{file.path} does not begin as a file of virsh save")
    if head.startswith(VIRSH_PARTIAL):
        raise ImageError(f"{file.path} was not saved to its end")
    order = "<" if int.from_bytes(head[16:20], "little") <= 0xFFFF else ">"
    _, version, length, running, method, _ = struct.unpack(order + _HEADER, head)
    if version != _VERSION:
        raise ImageError(f"{file.path} is of version {version}, which is not known")
    start = size + length
    if start >= size_of(file):
        raise cut_off(file, "the guest's XML")
    if method == _RAW:
        image = qemu.open_file(_part(file, start), page_size)
    else:
        image = _open_packed(file, start, method, page_size)
    compression = _METHODS.get(method, "none")
    image.format = FORMAT
    image.facts = {
        "saved while running": "yes" if running else "no",
        "compression": compression,
        **image.facts,
    }
    return image


def _part(file: ImageFile, start: int) -> ImageFile:
    part = FilePart(file, start)
    if not part.head.startswith(QEMU):
        raise ImageError(
            f"{file.path} is damaged: there is no QEMU stream behind the guest's XML"
        )
    return part


def _open_packed(
    file: ImageFile, start: int, method: int, page_size: int
) -> qemu.QemuImage:
    if method == _SPARSE:
        raise ImageError(
            f"{file.path} is saved in libvirt's sparse format, which is not read; "
            "save it with --image-format raw"
        )
    if method not in _METHODS:
        raise ImageError(f"{file.path} is compressed in a way that is not known")
    copy = unpack(file, start, _METHODS[method], QEMU)
    try:
        image = qemu.open_file(copy, page_size)
    except BaseException:
        copy.close()
        raise
    file.close()
    return image
