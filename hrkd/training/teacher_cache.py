"""The teacher's outputs for all training texts, computed once and kept on disk.

One array per output, token after token without padding, memory-mapped: a batch reads its own rows only, so the cache
may be larger than memory. Values are bfloat16, the format in which a teacher runs anyway where the device has it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from hrkd.artifact import clear_leftover, hash_of, new_folder, read_json, write_json
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.distributed import barrier, from_main, is_main
from hrkd.errors import ArtifactError
from hrkd.evaluation import EVALUATION_BATCH
from hrkd.models import Teacher
from hrkd.models.attention_scores import AttentionRecord
from hrkd.training.observer import Observer
from hrkd.training.shared_teacher import is_shared
from hrkd.training.stage import not_shared
from hrkd.training.teacher_outputs import LiveTeacher, TeacherOutput, Wanted

INDEX = "index.json"
_HALF = np.dtype(np.int16)  # numpy has no bfloat16; the bits are stored
_NO_SPACE = "set `training.cache_teacher: false`, or free space"
_CANNOT_RESERVE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""How file systems say that they know no reserved space."""


def cache_bytes(teacher: Teacher, wanted: Wanted, examples: TokenizedExamples) -> int:
    """Return the size of the cache before it is made."""
    per_token = (len(wanted.layers) + 1) * wanted.hidden_states + 3 * len(wanted.layers) * wanted.attention
    values = per_token * teacher.hidden_size * len(examples.flat_ids)
    return values * _HALF.itemsize + len(examples) * len(teacher.config.label_names) * 4


def cached_teacher(
    teacher: Teacher,
    teacher_hash: str,
    wanted: Wanted,
    examples: TokenizedExamples,
    device: Device,
    root: Path,
    observer: Observer,
) -> CachedTeacher:
    """Open the cache of a teacher's outputs, or make it, once for all students: others wait until it is complete.

    Where several processes train, the main one makes it, with the help of the others if they share the teacher.

    Args:
        teacher: On ``device``.
        teacher_hash: Of its folder.
        wanted: What to keep.
        examples: The training split as the teacher reads it.
        device: Where the teacher runs, and in which number format.
        root: Folder of the caches; each gets a sub-folder named by what decides its content.
        observer: Told the size before the work starts.

    Raises:
        ArtifactError: The disk has not enough space, or a process does not see the main one's cache.
    """
    key = _key(teacher_hash, wanted, examples, device)
    folder = root / key[:16]
    size, live = cache_bytes(teacher, wanted, examples), LiveTeacher(teacher, wanted)
    with _turn(folder, key, size, observer) if is_main() else nullcontext(enter_result=False) as is_missing:
        missing = from_main(torch.tensor([int(is_missing)])).item() if is_shared(teacher) else is_missing
        answers = _answers(live, examples, device)
        if missing and is_main():
            _make(folder, key, live, examples, answers)
        elif missing:
            deque(answers, maxlen=0)  # to run a shared teacher takes all processes
    barrier()
    if not _is_complete(folder, key):
        raise not_shared(folder)
    return CachedTeacher(folder, wanted, examples.offsets)


def _key(teacher_hash: str, wanted: Wanted, examples: TokenizedExamples, device: Device) -> str:
    """Hash everything that decides the answers."""
    return hash_of(
        {
            "teacher": teacher_hash,
            "wanted": asdict(wanted),
            "tokens": [
                hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
                for array in (examples.flat_ids, examples.offsets, examples.domains)
            ],
            "dtype": str(device.dtype),
        }
    )


class CachedTeacher:
    """Answers batches of the split that the cache was made from.

    Args:
        folder: Made by :func:`cached_teacher`.
        wanted: What it holds.
        offsets: Where each example's tokens start, (n+1,).
    """

    def __init__(self, folder: Path, wanted: Wanted, offsets: NDArray[np.int64]) -> None:
        self.wanted = wanted
        self.offsets = offsets
        self.logits = torch.from_numpy(np.load(folder / "logits.npy"))
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _array_names(wanted)}

    def __call__(self, batch: Batch) -> TeacherOutput:
        """Read a batch's rows; they are padded with zeros to the batch's length."""
        device, indices = batch.input_ids.device, batch.indices.cpu().numpy()
        mask = batch.attention_mask.cpu().numpy().astype(bool)
        rows = _token_rows(self.offsets, indices, mask)

        def read(name: str) -> Tensor:
            padded = np.zeros((*mask.shape, self.arrays[name].shape[1]), dtype=_HALF)
            padded[mask] = self.arrays[name][rows]
            return torch.from_numpy(padded).view(torch.bfloat16).to(device)

        layers, kinds = range(len(self.wanted.layers)), AttentionRecord._fields
        return TeacherOutput(
            self.logits[indices].to(device),
            [read(f"hidden-{level}") for level in range(len(layers) + 1)] if self.wanted.hidden_states else [],
            [AttentionRecord(*(read(f"{kind}-{layer}") for kind in kinds)) for layer in layers]
            if self.wanted.attention
            else [],
        )


def _array_names(wanted: Wanted) -> list[str]:
    names = [f"hidden-{level}" for level in range(len(wanted.layers) + 1)] if wanted.hidden_states else []
    if wanted.attention:
        names += [f"{kind}-{layer}" for layer in range(len(wanted.layers)) for kind in AttentionRecord._fields]
    return names


@contextmanager
def _turn(folder: Path, key: str, size: int, observer: Observer) -> Iterator[bool]:
    """Yield whether a cache has to be made; then nobody else makes it until the block ends.

    Raises:
        ArtifactError: There is no space for it, or it cannot be written in the block.
    """
    if _is_complete(folder, key):
        yield False
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, observer):
            for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
                clear_leftover(leftover)
            missing = not _is_complete(folder, key)
            if missing:
                _check_space(folder.parent, size, observer)
            yield missing
    except OSError as error:
        raise ArtifactError(f"the teacher's outputs cannot be kept in `{folder}`: {error}", hint=_NO_SPACE) from error


@contextmanager
def _locked(folder: Path, observer: Observer) -> Iterator[None]:
    """Hold a file lock, which the kernel frees when this process is killed; say so before waiting for another one's."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        observer.message("waiting for another process that keeps this teacher's outputs on disk")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_Answers = Iterator[tuple[NDArray[np.int64], Batch, TeacherOutput]]


def _answers(teacher: LiveTeacher, examples: TokenizedExamples, device: Device) -> _Answers:
    """Run the teacher over all examples."""
    for indices, batch in examples.iterate_in_order(EVALUATION_BATCH):
        with device.autocast():
            output = teacher(batch.to(device.device))
        yield indices, batch, output


def _make(folder: Path, key: str, teacher: LiveTeacher, examples: TokenizedExamples, answers: _Answers) -> None:
    """Write one array per output."""
    shape = (len(examples.flat_ids), teacher.model.hidden_size)
    logits = np.empty((len(examples), len(teacher.model.config.label_names)), dtype=np.float32)
    with new_folder(folder, replace=True) as temporary:
        arrays = {name: _new_array(temporary / f"{name}.npy", shape) for name in _array_names(teacher.wanted)}
        for indices, batch, output in answers:
            mask = batch.attention_mask.bool()
            rows = _token_rows(examples.offsets, indices, mask.numpy())
            for name, values in _named(output):
                arrays[name][rows] = values.cpu()[mask].to(torch.bfloat16).view(torch.int16).numpy()
            logits[indices] = output.logits.float().cpu().numpy()
        for array in arrays.values():
            array.flush()
        np.save(temporary / "logits.npy", logits)
        write_json(temporary / INDEX, {"schema_version": 1, "key": key})


def _new_array(path: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.int16]]:
    """Make a mapped array with all its space: writing into one without, on a full disk, kills the process wordlessly.

    Raises:
        OSError: The disk is full.
    """
    array: np.memmap[Any, np.dtype[np.int16]] = np.lib.format.open_memmap(path, mode="w+", dtype=_HALF, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in _CANNOT_RESERVE:
                    raise
    return array


def _token_rows(offsets: NDArray[np.int64], indices: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where the real tokens of a padded batch stand in the arrays, row after row."""
    rows: NDArray[np.int64] = (offsets[indices][:, None] + np.arange(mask.shape[1]))[mask]
    return rows


def _named(output: TeacherOutput) -> Iterator[tuple[str, Tensor]]:
    for level, state in enumerate(output.hidden_states):
        yield f"hidden-{level}", state
    for layer, record in enumerate(output.attention):
        for kind, values in zip(AttentionRecord._fields, record, strict=True):
            yield f"{kind}-{layer}", values


def _is_complete(folder: Path, key: str) -> bool:
    try:
        return bool(read_json(folder / INDEX)["key"] == key)
    except (ArtifactError, KeyError, TypeError):
        return False


def _check_space(root: Path, needed: int, observer: Observer) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ArtifactError(
            f"the teacher's outputs take {needed / 1e9:.1f} GB, `{root}` has {free / 1e9:.1f} GB free",
            hint=_NO_SPACE,
        )
    observer.message(f"keeping the teacher's outputs on disk: {needed / 1e9:.2f} GB below `{root}`")
