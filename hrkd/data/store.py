"""Folders in the user's cache that whoever comes first makes, once, and that all others wait for and only read."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from hrkd.artifact import hash_files, hash_of, new_folder, read_json, verify_files, write_json
from hrkd.data.fetch import cache_root
from hrkd.errors import ArtifactError, DataError, MissingExtraError

logger = logging.getLogger(__name__)

_RECORD = "record.json"


def stored(kind: str, identity: object, write: Callable[[Path], None]) -> Path:
    """Return the folder of what ``identity`` decides, written now or by an earlier call of this or another process.

    Args:
        kind: What is kept, for messages; also the name of the folder above.
        identity: JSON values that decide the content.
        write: Fills an empty folder; called only when there is no undamaged one.

    Raises:
        DataError: It cannot be written; nothing is kept then.
        MissingExtraError: The ``train`` extra is not installed.
    """
    key = hash_of(identity)
    folder = cache_root() / kind / key[:16]
    if _is_intact(folder, key):
        return folder
    try:
        from filelock import FileLock
    except ImportError as error:
        raise MissingExtraError("`data.on_disk`", "train") from error
    try:
        lock = cache_root() / "locks" / f"{kind}-{folder.name}"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not _is_intact(folder, key):
                _make(folder, key, write)
                logger.info("kept %s in %s, which may be deleted at any time", kind, folder)
    except OSError as error:
        raise DataError(
            f"the {kind} cannot be kept in `{folder}`: {error}",
            hint="free some space, or set HRKD_CACHE to another folder",
        ) from error
    return folder


def _make(folder: Path, key: str, write: Callable[[Path], None]) -> None:
    """Write the folder; what a killed process left of it goes first, since it may fill the disk."""
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    with new_folder(folder, replace=True) as temporary:
        write(temporary)
        write_json(temporary / _RECORD, {"key": key, "files": hash_files(temporary)})


def _is_intact(folder: Path, key: str) -> bool:
    try:
        record = read_json(folder / _RECORD)
        verify_files(folder, record["files"])
    except (ArtifactError, OSError, TypeError, KeyError, AttributeError):
        return False
    return bool(record["key"] == key)
