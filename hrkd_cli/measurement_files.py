"""The files that measuring writes and reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrkd.artifact import read_json
from hrkd.errors import ArtifactError
from hrkd.output_file import check_target


@dataclass(frozen=True, slots=True)
class Files:
    """What shall be written; None for what nobody asked for.

    Attributes:
        document: The bench document.
        report: The report page.
        junit: Findings for a build server.
        markdown: Findings for a pull request.
        overwrite: Whether existing files are replaced.
    """

    document: Path | None = None
    report: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    overwrite: bool = False

    @property
    def wanted(self) -> list[Path]:
        """All of them."""
        paths = (self.document, self.report, self.junit, self.markdown)
        return [path for path in paths if path is not None]

    def check_targets(self) -> None:
        """Refuse to replace a file unasked, to write two into one, and what cannot be written.

        Raises:
            ArtifactError: One exists and ``overwrite`` is false, two are the same, or one cannot be written.
        """
        for path in self.wanted:
            refuse_existing(path, overwrite=self.overwrite)
        places = [os.path.realpath(path) for path in self.wanted]
        twice = next((path for path, place in zip(self.wanted, places, strict=True) if places.count(place) > 1), None)
        if twice is not None:
            raise ArtifactError(f"`{twice}` is to hold two outputs", hint="give each a name of its own")


def refuse_existing(path: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace a file unasked, a folder at all, and what cannot be written.

    Raises:
        ArtifactError: ``path`` exists and ``overwrite`` is false, it is no file, or it cannot be written.
    """
    if path is not None:
        check_target(path, replace=overwrite)


def read_measurement(path: Path) -> dict[str, Any]:
    """Read a bench.json, given itself or the run folder that holds it.

    Raises:
        ArtifactError: It does not exist or is no JSON object.
    """
    file = path / "bench.json" if path.is_dir() else path
    value = read_json(file)
    if not isinstance(value, dict):
        raise ArtifactError(f"`{file}` is not a bench document", hint="`hrkd bench` makes one")
    return value
