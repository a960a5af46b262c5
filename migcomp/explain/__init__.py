# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a guest's memory goes, and what would help: measured on its image."""
