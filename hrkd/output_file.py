"""A single output file that is either complete or absent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hrkd.errors import ArtifactError


@contextmanager
def new_file(target: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream for writing; ``target`` gets its content when the block ends without an exception.

    Args:
        target: Where the finished file shall stand.
        replace: Whether an existing file is replaced. Without it, an existing target is an error.

    Raises:
        ArtifactError: ``target`` exists and ``replace`` is false, or is no file at all; raised before the block runs,
            or after it when the target came into being meanwhile.
    """
    check_target(target, replace=replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        check_target(target, replace=replace)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(target: Path, *, replace: bool) -> None:
    """Refuse to write to what exists and may not be replaced, or is no file.

    Raises:
        ArtifactError: That is so.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_file():
        raise ArtifactError(f"`{target}` is not a file, so it is not replaced", hint="choose another name")
    if not replace:
        raise ArtifactError(f"`{target}` exists already", hint="choose another name, or pass --overwrite")
