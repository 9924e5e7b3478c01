"""The teacher's outputs for all training texts, computed once and kept on disk.

One array per output, token after token without padding, memory-mapped: a batch reads its own rows only, so the cache
may be larger than memory. Values are bfloat16, the format in which a teacher runs anyway where the device has it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrkd.artifact import hash_of, new_folder, read_json, write_json
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.distributed import barrier, is_main
from hrkd.errors import ArtifactError
from hrkd.evaluation import EVALUATION_BATCH
from hrkd.models import Teacher
from hrkd.models.attention_scores import AttentionRecord
from hrkd.training.observer import Observer
from hrkd.training.stage import not_shared
from hrkd.training.teacher_outputs import LiveTeacher, TeacherOutput, Wanted

INDEX = "index.json"
_HALF = np.dtype(np.int16)  # numpy has no bfloat16; the bits are stored


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
    """Open the cache of a teacher's outputs, or make it; where several processes train, the main one does.

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
    key = hash_of(
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
    folder = root / key[:16]
    if is_main() and not _is_complete(folder, key):
        _check_space(root, cache_bytes(teacher, wanted, examples), observer)
        with new_folder(folder, replace=True) as temporary:
            _fill(temporary, LiveTeacher(teacher, wanted), teacher.hidden_size, examples, device)
            write_json(temporary / INDEX, {"schema_version": 1, "key": key})
    barrier()
    if not _is_complete(folder, key):
        raise not_shared(folder)
    return CachedTeacher(folder, wanted, examples.offsets)


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


def _fill(folder: Path, teacher: LiveTeacher, width: int, examples: TokenizedExamples, device: Device) -> None:
    """Run the teacher over all examples and write one array per output."""
    wanted, tokens = teacher.wanted, len(examples.flat_ids)
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=_HALF, shape=(tokens, width))
        for name in _array_names(wanted)
    }
    logits = np.empty((len(examples), len(teacher.model.config.label_names)), dtype=np.float32)
    for indices, batch in examples.iterate_in_order(EVALUATION_BATCH):
        with device.autocast():
            output = teacher(batch.to(device.device))
        mask = batch.attention_mask.bool()
        rows = _token_rows(examples.offsets, indices, mask.numpy())
        for name, values in _named(output):
            arrays[name][rows] = values.cpu()[mask].to(torch.bfloat16).view(torch.int16).numpy()
        logits[indices] = output.logits.float().cpu().numpy()
    for array in arrays.values():
        array.flush()
    np.save(folder / "logits.npy", logits)


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
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ArtifactError(
            f"the teacher's outputs take {needed / 1e9:.1f} GB, `{root}` has {free / 1e9:.1f} GB free",
            hint="set `training.cache_teacher: false`, or free space",
        )
    observer.message(f"keeping the teacher's outputs on disk: {needed / 1e9:.2f} GB below `{root}`")
