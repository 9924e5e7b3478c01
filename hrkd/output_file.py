"""A single output file that is either complete or absent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hrkd.artifact import WRITE_ELSEWHERE, refusals_told
from hrkd.errors import ArtifactError


@contextmanager
def new_file(target: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream for writing; ``target`` gets its content when the block ends without an exception.

    Args:
        target: Where the finished file shall stand.
        replace: Whether an existing file is replaced. Without it, an existing target is an error.

    Raises:
        ArtifactError: ``target`` exists and ``replace`` is false, is no file at all, or stands where nothing can be
            written; raised before the block runs, or after it when that came to be meanwhile.
    """
    check_target(target, replace=replace)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with refusals_told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(temporary, target) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        check_target(target, replace=replace)
        with refusals_told(target):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _opened(temporary: Path, target: Path) -> BinaryIO:
    with refusals_told(target):
        return temporary.open("xb")


def check_target(target: Path, *, replace: bool) -> None:
    """Refuse to write to what exists and may not be replaced, is no file, or stands where nothing can be written.

    Raises:
        ArtifactError: That is so.
    """
    if target.exists() or target.is_symlink():
        if not target.is_file():
            raise ArtifactError(f"`{target}` is not a file, so it is not replaced", hint="choose another name")
        if not replace:
            raise ArtifactError(f"`{target}` exists already", hint="choose another name, or pass --overwrite")
    folder = next((folder for folder in target.parents if os.path.lexists(folder)), None)
    if folder is None:
        return
    if not folder.is_dir():
        raise ArtifactError(f"`{target}` cannot be written: `{folder}` is not a folder", hint=WRITE_ELSEWHERE)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArtifactError(f"`{target}` cannot be written: the folder `{folder}` is read-only", hint=WRITE_ELSEWHERE)
