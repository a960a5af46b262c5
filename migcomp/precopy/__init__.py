# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pre-copy live migration, simulated round by round on a virtual clock."""
