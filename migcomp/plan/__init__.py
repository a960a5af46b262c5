# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of QEMU's ways of migrating serves a guest best, before it is migrated."""
