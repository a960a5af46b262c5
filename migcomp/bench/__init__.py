# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks: repeated measurements and what they say."""
