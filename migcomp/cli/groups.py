# SPDX-License-Identifier: LGPL-2.1-or-later
"""Groups of commands, each imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click


class LazyGroup(click.Group):
    """Finds the command NAME as ``command`` in the module ``package.NAME``."""

    def __init__(
        self, *args: Any, package: str, names: Sequence[str], **extra: Any
    ) -> None:
        super().__init__(*args, **extra)
        self._package = package
        self._names = names

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self._names)

    def get_command(
        self, _context: click.Context, cmd_name: str
    ) -> click.Command | None:
        if cmd_name not in self._names:
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name}")
        command: click.Command = module.command
        return command
