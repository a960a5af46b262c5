# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports: each file renders the same result objects for another reader."""
