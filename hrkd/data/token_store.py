"""Token ids on disk: written once, then mapped into memory, so that a batch reads its own rows only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.data.store import stored

_IDS, _OFFSETS = "ids.bin", "offsets.npy"


def stored_tokens(
    identity: Mapping[str, Any], parts: Iterable[list[NDArray[np.int32]]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of all examples in one mapped array, and where each example starts, shape (n+1,).

    Args:
        identity: JSON values that decide the ids.
        parts: Ids of some examples at a time; read only when they are not stored yet.

    Raises:
        DataError: They cannot be written.
    """
    folder = stored("tokens", identity, lambda folder: _write(folder, parts))
    offsets = np.load(folder / _OFFSETS, allow_pickle=False)
    if not offsets[-1]:
        return np.zeros(0, dtype=np.int32), offsets
    return np.memmap(folder / _IDS, dtype=np.int32, mode="r", shape=(int(offsets[-1]),)), offsets


def _write(folder: Path, parts: Iterable[list[NDArray[np.int32]]]) -> None:
    lengths = [np.zeros(1, dtype=np.int64)]
    with (folder / _IDS).open("wb") as stream:
        for rows in parts:
            stream.write(np.concatenate(rows).tobytes())
            lengths.append(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
    np.save(folder / _OFFSETS, np.cumsum(np.concatenate(lengths)), allow_pickle=False)
