# SPDX-License-Identifier: LGPL-2.1-or-later
"""Models of the workqueue for Spin, and the test that runs them."""
