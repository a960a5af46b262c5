# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory images of what runs: of a guest by its QEMU, and of a process."""
