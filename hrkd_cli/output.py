"""The output sink: stdout is data, stderr is words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

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

        console = Console()
        if not console.is_terminal:
            console = Console(width=PIPE_WIDTH)
        for renderable in renderables:
            if isinstance(renderable, str):
                sys.stdout.write(f"{renderable}\n")
            else:
                console.print(renderable)

    def note(self, text: str) -> None:
        """Say what goes on, on stderr."""
        if not self.quiet:
            sys.stderr.write(f"{text}\n")

    def warning(self, text: str) -> None:
        """Say what the user should look at, on stderr."""
        sys.stderr.write(f"warning: {text}\n")


def print_error(message: str, hint: str | None = None) -> None:
    """Print an error, and on a line of its own what to do about it, on stderr."""
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
