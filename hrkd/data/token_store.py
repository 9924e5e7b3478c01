"""Token ids on disk: written once, then mapped into memory, so that a batch reads its own rows only."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.artifact import hash_files, hash_of, new_folder, read_json, verify_files, write_json
from hrkd.data.fetch import cache_root
from hrkd.errors import ArtifactError, DataError

logger = logging.getLogger(__name__)

_IDS, _OFFSETS, _RECORD = "ids.bin", "offsets.npy", "record.json"


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
    key = hash_of(identity)
    folder = cache_root() / "tokens" / key[:16]
    if not _is_intact(folder, key):
        try:
            with new_folder(folder, replace=True) as temporary:
                _write(temporary, parts)
                write_json(temporary / _RECORD, {"key": key, "files": hash_files(temporary)})
        except OSError as error:
            raise DataError(
                f"the tokens cannot be kept in `{folder}`: {error}",
                hint="free some space, or set HRKD_CACHE to another folder",
            ) from error
        logger.info("kept tokens in %s, which may be deleted at any time", folder)
    offsets = np.load(folder / _OFFSETS, allow_pickle=False)
    if not offsets[-1]:
        return np.zeros(0, dtype=np.int32), offsets
    return np.memmap(folder / _IDS, dtype=np.int32, mode="r", shape=(int(offsets[-1]),)), offsets


def _is_intact(folder: Path, key: str) -> bool:
    try:
        record = read_json(folder / _RECORD)
        verify_files(folder, record["files"])
    except (ArtifactError, OSError, TypeError, KeyError):
        return False
    return bool(record["key"] == key)


def _write(folder: Path, parts: Iterable[list[NDArray[np.int32]]]) -> None:
    lengths = [np.zeros(1, dtype=np.int64)]
    with (folder / _IDS).open("wb") as stream:
        for rows in parts:
            stream.write(np.concatenate(rows).tobytes())
            lengths.append(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
    np.save(folder / _OFFSETS, np.cumsum(np.concatenate(lengths)), allow_pickle=False)
