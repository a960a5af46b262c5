# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoilt images: whatever a file holds, a reader says so in one sentence."""
