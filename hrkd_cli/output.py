"""The output sink: stdout is data, stderr is words. Words may come from a bundle or a device, so none is obeyed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrkd.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

PIPE_WIDTH = 160
"""Columns of a table that goes to a file or pipe, where rich would cut it at 80."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's result and its words go.

    Attributes:
        as_json: Whether the result is one JSON document instead of text for a person.
        quiet: Whether notes and progress are left out; warnings never are.
    """

    as_json: bool = False
    quiet: bool = False

    def result(self, document: Any, *renderables: RenderableType) -> None:
        """Print a command's result; call once.

        Args:
            document: JSON-serialisable, printed with ``--json``.
            renderables: rich tables or strings for a person, printed otherwise.
        """
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        else:
            self._show(renderables)
        # A full disk or a closed pipe shall be noticed here, where it is reported, not when Python exits.
        sys.stdout.flush()

    @staticmethod
    def _show(renderables: Sequence[RenderableType]) -> None:
        """Draw tables; text goes out as it is, so that no path is broken into lines."""
        from rich.console import Console

        console = Console(markup=False, emoji=False)
        if not console.is_terminal:
            console = Console(width=PIPE_WIDTH, markup=False, emoji=False)
        for renderable in renderables:
            if isinstance(renderable, str):
                sys.stdout.write(f"{printable(renderable)}\n")
            else:
                console.print(_Printable(renderable))

    def note(self, text: str) -> None:
        """Say what goes on, on stderr."""
        if not self.quiet:
            sys.stderr.write(f"{printable(text)}\n")

    def warning(self, text: str) -> None:
        """Say what the user should look at, on stderr."""
        sys.stderr.write(f"warning: {printable(text)}\n")


class _Printable:
    """Something that rich draws, without what a terminal would obey in its cells; rich's own colours stay."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def print_error(message: str, hint: str | None = None) -> None:
    """Print an error, and on a line of its own what to do about it, on stderr."""
    sys.stderr.write(printable(f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")))
