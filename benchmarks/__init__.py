# SPDX-License-Identifier: LGPL-2.1-or-later
"""migcomp against the bare loop and against its peers; see README.md."""
