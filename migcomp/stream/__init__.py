# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ordered streams of compressed pages, one file per wire format."""
