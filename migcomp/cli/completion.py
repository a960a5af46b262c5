# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp completion``: the script that a shell completes our commands with."""

from __future__ import annotations

import click

_HINTS = {
    "bash": 'eval "$(migcomp completion bash)"  in ~/.bashrc',
    "zsh": 'eval "$(migcomp completion zsh)"  in ~/.zshrc',
    "fish": "migcomp completion fish | source  in ~/.config/fish/config.fish",
}


@click.command(
    short_help="Print a shell's completion script.",
    epilog="\b\n" + "\n".join(_HINTS.values()),
)
@click.argument("shell", type=click.Choice(list(_HINTS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell; one of these lines loads it."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    group = context.find_root().command
    click.echo(completion(group, {}, "migcomp", "_MIGCOMP_COMPLETE").source())
