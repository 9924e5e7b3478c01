"""The folder of one run: where every stage finds what the stages before it made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hrkd.artifact import clear_leftover, write_text
from hrkd.errors import ArtifactError
from hrkd.recipe import Recipe

TEACHER_OUTPUTS = ".teacher_outputs"
"""Folder beside a teacher with its answers; other runs fill it too, and each cache in it has a lock of its own."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside ``runs/NAME``; see docs/notation.md for the layout."""

    root: Path

    @classmethod
    def create(cls, runs_dir: Path, recipe: Recipe) -> RunFolder:
        """Make the folder if it is new, and write the resolved recipe into it."""
        run = cls(runs_dir / recipe.name)
        write_text(run.recipe, recipe.to_yaml())
        return run

    @property
    def recipe(self) -> Path:
        """The resolved recipe of the latest command."""
        return self.root / "recipe.yaml"

    @property
    def teacher(self) -> Path:
        """Model folder of the teacher."""
        return self.root / "teacher"

    @property
    def student(self) -> Path:
        """Model folder of the student."""
        return self.root / "student"

    @property
    def bundles(self) -> Path:
        """Folder of all bundles."""
        return self.root / "bundles"

    @property
    def bench(self) -> Path:
        """The measurement document."""
        return self.root / "bench.json"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    @property
    def events(self) -> Path:
        """TensorBoard events, one sub-folder per stage."""
        return self.root / "events"

    def training_state(self, stage: str) -> Path:
        """Where an unfinished training stage keeps its checkpoint."""
        return self.root / f".{stage}.state"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one process, and clear what a killed predecessor left half-written.

        Raises:
            ArtifactError: Another process works in this folder.
        """
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(
                f"another process works in `{self.root}`", hint="wait for it, or choose another `name` in the recipe"
            ) from error
        try:
            self._clear_leftovers()
            yield
        finally:
            lock.release()

    def _clear_leftovers(self) -> None:
        """Clear temporary siblings that `hrkd.artifact` had no time to rename or remove, but for other runs' own."""
        for parent, folders, files in os.walk(self.root):
            leftovers = [name for name in (*folders, *files) if name.startswith(".") and name.endswith(".tmp")]
            folders[:] = [name for name in folders if name not in (TEACHER_OUTPUTS, *leftovers)]
            for name in leftovers:
                clear_leftover(Path(parent, name))
