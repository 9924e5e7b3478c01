"""A group of commands whose first one needs no name: `hrkd bench BUNDLE` beside `hrkd bench compare OLD NEW`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """Takes whatever is not the name of one of its commands as arguments of the first one.

    A file that is called like a command is given with its folder: `hrkd bench ./compare`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first command's name before arguments that name none; without arguments, show its help."""
        default = next(iter(self.commands))
        if not args or args[0] not in self.commands:
            args = [default, *args] if args else [default, "--help"]
        return super().parse_args(ctx, args)
