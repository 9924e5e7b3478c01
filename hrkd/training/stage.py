"""What every training stage does around its training: skip, refuse to replace, and write the result whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hrkd.artifact import StageRecord, finish_stage, new_folder, read_stage
from hrkd.errors import ArtifactError
from hrkd.run_folder import RunFolder
from hrkd.training.observer import Observer


def finished_before(folder: Path, input_hash: str, observer: Observer, *, overwrite: bool) -> StageRecord | None:
    """Return the record of a stage that was already made from the same inputs, or None when it must run.

    Raises:
        ArtifactError: The folder holds something else and ``overwrite`` is false; trained weights are never replaced
            unasked.
    """
    record = read_stage(folder)
    if record is not None and record.input_hash == input_hash:
        observer.finished(record, skipped=True)
        return record
    if folder.exists() and not overwrite:
        raise ArtifactError(
            f"`{folder}` was made from other inputs (recipe, data or teacher changed)",
            hint="choose another `name` in the recipe, or pass --overwrite to replace it",
        )
    return None


def write_stage(
    run: RunFolder,
    stage: str,
    input_hash: str,
    write: Callable[[Path], Mapping[str, Any]],
    observer: Observer,
) -> StageRecord:
    """Let ``write`` fill the stage's folder and return its details, then drop the unfinished state."""
    with new_folder(run.root / stage, replace=True) as folder:
        record = finish_stage(folder, stage, input_hash, write(folder))
    shutil.rmtree(run.training_state(stage), ignore_errors=True)
    observer.finished(record, skipped=False)
    return record
