# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line: one file per command, nothing but options and calls."""
