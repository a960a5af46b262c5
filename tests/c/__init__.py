# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of the C core by C programs, which hammer it under sanitizers."""
