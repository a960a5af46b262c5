# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hosts are emptied of their guests: many migrations that share links and CPUs."""
