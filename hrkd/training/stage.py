"""What every training stage does around its training: skip, refuse to replace, and write the result whole.

Where several processes train together the main one holds the folder and writes; the others wait for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hrkd.artifact import StageRecord, finish_stage, new_folder, read_stage
from hrkd.distributed import barrier, check_equal, is_main
from hrkd.errors import ArtifactError
from hrkd.run_folder import RunFolder
from hrkd.training.observer import Observer


@contextmanager
def held_run(run: RunFolder) -> Iterator[None]:
    """Hold a run folder, by the main process for all.

    Raises:
        ArtifactError: Another run works in it.
    """
    with run.locked() if is_main() else nullcontext():
        barrier()
        yield


def observer_of_main(observer: Observer | None) -> Observer:
    """Return the observer in the main process, and one that is silent in the others."""
    return observer if observer is not None and is_main() else Observer()


def finished_before(folder: Path, input_hash: str, observer: Observer, *, overwrite: bool) -> StageRecord | None:
    """Return the record of a stage that was already made from the same inputs, or None when it must run.

    Raises:
        DistributedError: The processes do not have the same inputs.
        ArtifactError: The folder holds something else and ``overwrite`` is false; trained weights are never replaced
            unasked.
    """
    check_equal(
        input_hash,
        "inputs",
        hint="give all processes the same recipe, data and pretrained models, in the same versions",
    )
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
    """Let ``write`` fill the stage's folder and return its details, then drop the unfinished state.

    Raises:
        ArtifactError: A process does not see what the main one wrote.
    """
    if is_main():
        with new_folder(run.root / stage, replace=True) as folder:
            finish_stage(folder, stage, input_hash, write(folder))
        shutil.rmtree(run.training_state(stage), ignore_errors=True)
    barrier()
    record = read_stage(run.root / stage)
    if record is None:
        raise not_shared(run.root / stage)
    observer.finished(record, skipped=False)
    return record


def not_shared(path: Path) -> ArtifactError:
    """Return the error of a process that does not see what the main one has just written."""
    return ArtifactError(
        f"`{path}` was written by the main process and cannot be seen from here",
        hint="put the runs on a file system that all machines share (--runs-dir)",
    )
