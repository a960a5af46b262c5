# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory images from one format into another, one file for each to write."""
