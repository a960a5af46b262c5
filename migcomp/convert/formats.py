# SPDX-License-Identifier: LGPL-2.1-or-later
"""The formats that are written.  Their writers are not imported by naming them."""

FORMATS = ("raw", "qemu", "migcomp", "seekable-zstd", "lime", "elf", "kdump")
