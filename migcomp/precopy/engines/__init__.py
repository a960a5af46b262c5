# SPDX-License-Identifier: LGPL-2.1-or-later
"""Engines: ways of sending pages, QEMU's and others."""
