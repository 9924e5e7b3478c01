"""Which files a bundle may consist of: plain names, real files, of the listed sizes."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from hrkd.errors import ArtifactError

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""Names that mean the same on every file system: no separators, drives, hidden files or spaces."""
_DAMAGED = "the folder is damaged; make or copy it again"


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse file names that could leave the folder, or that two systems read differently.

    Raises:
        ArtifactError: A name is not plain, or two differ only in upper and lower case.
    """
    seen: set[str] = set()
    for name in names:
        if not PLAIN_NAME.fullmatch(name):
            raise ArtifactError(
                f"{where} names the file {name[:60]!a}, which is not a plain file name",
                hint="a bundle's files stand side by side in one folder; do not use it",
            )
        if name.lower() in seen:
            raise ArtifactError(f"{where} names the file `{name}` twice", hint="do not use it")
        seen.add(name.lower())


def check_files(folder: Path, sizes: Mapping[str, int]) -> None:
    """Check that every listed file is a real one of the recorded size; contents are compared elsewhere.

    Raises:
        ArtifactError: A file is missing, a link or device, or of another size.
    """
    for name, size in sizes.items():
        found = real_size(folder / name)
        if found != size:
            raise ArtifactError(
                f"`{folder / name}` was changed: it has {found} bytes, recorded are {size}", hint=_DAMAGED
            )


def real_size(path: Path) -> int:
    """Return the size of a file that is neither a link nor a device.

    Raises:
        ArtifactError: It is missing, or not such a file.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise ArtifactError(f"`{path}` is missing", hint=_DAMAGED) from error
    if stat.S_ISLNK(status.st_mode):
        raise ArtifactError(
            f"`{path}` is a symbolic link", hint="a bundle holds its files itself; copy it with links resolved (cp -L)"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"`{path}` is not a regular file", hint=_DAMAGED)
    return status.st_size


def unlisted_files(folder: Path, listed: Iterable[str]) -> list[str]:
    """Return what else stands in a bundle's folder; hidden names, which tools leave there, do not count."""
    known = set(listed)
    return sorted(path.name for path in folder.iterdir() if path.name not in known and not path.name.startswith("."))
