# SPDX-License-Identifier: LGPL-2.1-or-later
"""What migcomp reads and writes, against the programs of others."""
