# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports as pages that need nothing but themselves, and as pictures."""
