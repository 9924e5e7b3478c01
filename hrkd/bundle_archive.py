"""One zip for one bundle: always the same bytes, and safe to unpack wherever it comes from.

::

    student-int8/manifest.json     first, so that a reader can judge the rest
    student-int8/model.onnx        and all other files of the manifest, by name; nothing else

Entries are stored, not compressed: compressors differ between machines, and the same bundle must give the same bytes.
Archives that were compressed by other tools are read as well.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from hrkd.artifact import new_folder
from hrkd.bundle import MANIFEST, MANIFEST_LIMIT_BYTES, Manifest, open_bundle, read_manifest
from hrkd.bundle_files import check_names
from hrkd.errors import ArtifactError
from hrkd.output_file import new_file

ENTRY_LIMIT = 100
"""Entries of an archive; a bundle has five files."""
EXPANSION_LIMIT = 100
"""How much larger than the archive its content may be. A real bundle shrinks to two thirds when compressed."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX, _FILE_MODE = 3, stat.S_IFREG | 0o644
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_CHUNK_BYTES = 1 << 20
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a compression or a version that zipfile does not know
    RuntimeError,  # an encrypted entry
    ValueError,  # a name that is no UTF-8, a negative position
)
_REFUSED = "do not use it; ask for one made by `hrkd bundle pack`"


def pack_bundle(folder: Path, archive: Path, *, overwrite: bool = False) -> Manifest:
    """Write a verified bundle as one zip. The same bundle gives the same bytes.

    Args:
        folder: The bundle. Files that its manifest does not list are left out.
        archive: File to write; appears complete or not at all.
        overwrite: Whether an existing file is replaced.

    Raises:
        ArtifactError: The bundle is damaged, or ``archive`` exists and ``overwrite`` is false.
    """
    manifest = open_bundle(folder)
    top = _top_folder(manifest)
    with new_file(archive, replace=overwrite) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as target:
        for name in (MANIFEST, *sorted(manifest.files)):
            entry = _entry(f"{top}/{name}", (folder / name).stat().st_size)
            with (folder / name).open("rb") as source, target.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, _CHUNK_BYTES)
    return manifest


def unpack_bundle(archive: Path, folder: Path) -> Manifest:
    """Unpack and verify a bundle; ``folder`` appears when everything is found in order.

    Args:
        archive: The zip, from anywhere.
        folder: Must not exist yet.

    Raises:
        ArtifactError: ``folder`` exists, or the archive is damaged, holds anything but a bundle, or is larger inside
            than it says.
    """
    if folder.exists() or folder.is_symlink():
        raise ArtifactError(f"`{folder}` exists already", hint="choose another folder with --output")
    with _open_archive(archive) as source, new_folder(folder) as temporary, errors_name(archive, temporary):
        entries = _checked_entries(archive, source)
        _extract(archive, source, entries[MANIFEST], temporary / MANIFEST)
        manifest = read_manifest(temporary / MANIFEST)
        _compare(archive, manifest, entries)
        for name in manifest.files:
            _extract(archive, source, entries[name], temporary / name)
        return open_bundle(temporary)


@contextmanager
def errors_name(shown: Path, actual: Path) -> Iterator[None]:
    """Let errors about a temporary folder name what the user gave instead."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(error.message.replace(str(actual), str(shown)), hint=error.hint) from error


def _top_folder(manifest: Manifest) -> str:
    """Return the manifest's name as a plain file name: not the folder's, which is not the bundle's own."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.name).strip("-.")[:60] or "bundle"


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    """Return an entry's header without anything of this machine or hour."""
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = _FILE_MODE << 16
    entry.file_size = size
    return entry


@contextmanager
def _open_archive(archive: Path) -> Iterator[zipfile.ZipFile]:
    if not archive.is_file():
        what = "is a folder, not an archive" if archive.is_dir() else "does not exist"
        raise ArtifactError(f"`{archive}` {what}", hint="`hrkd bundle pack` makes one of a bundle")
    with _damage_is_said(archive):
        source = zipfile.ZipFile(archive)
    with source:
        yield source


@contextmanager
def _damage_is_said(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGES, OSError) as error:
        if (
            isinstance(error, OSError) and error.errno != errno.EINVAL
        ):  # a negative position again, past zipfile's check
            raise
        raise ArtifactError(f"`{archive}` is not an intact zip: {error}", hint="copy or download it again") from error


def _checked_entries(archive: Path, source: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the files of the one top-level folder by name, after judging all that the archive says of them."""
    entries = source.infolist()
    if len(entries) > ENTRY_LIMIT:
        raise ArtifactError(f"`{archive}` has {len(entries)} entries, so it is not a bundle", hint=_REFUSED)
    for entry in entries:
        _check_kind(archive, entry)
    files = [entry for entry in entries if not entry.is_dir()]
    tops = {PurePosixPath(entry.orig_filename).parts[0] for entry in entries}
    if len(tops) != 1 or any(len(PurePosixPath(entry.orig_filename).parts) != 2 for entry in files):
        raise ArtifactError(f"`{archive}` does not hold one folder of files, so it is not a bundle", hint=_REFUSED)
    named = {PurePosixPath(entry.orig_filename).name: entry for entry in files}
    check_names((PurePosixPath(entry.orig_filename).name for entry in files), f"`{archive}`")
    if MANIFEST not in named:
        raise ArtifactError(f"`{archive}` has no {MANIFEST}, so it is not a bundle", hint=_REFUSED)
    size, limit = sum(entry.file_size for entry in files), EXPANSION_LIMIT * archive.stat().st_size
    if size > limit:
        raise ArtifactError(f"`{archive}` would grow to {size} bytes, more than {EXPANSION_LIMIT} times", hint=_REFUSED)
    if named[MANIFEST].file_size > MANIFEST_LIMIT_BYTES:
        raise ArtifactError(f"`{archive}`: {MANIFEST} has more than {MANIFEST_LIMIT_BYTES} bytes", hint=_REFUSED)
    return named


def _check_kind(archive: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse names that leave the folder, links, devices, and what cannot be read safely."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\x00-\x1f\x7f]", name):
        raise ArtifactError(f"`{archive}` holds {name[:60]!a}, which points outside its folder", hint=_REFUSED)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):  # 0: made on a system without such kinds
        raise ArtifactError(f"`{archive}` holds {name[:60]!a}, which is a link or device", hint=_REFUSED)
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _COMPRESSIONS:
        raise ArtifactError(f"`{archive}`: {name[:60]!a} is encrypted or compressed in a way of its own", hint=_REFUSED)


def _compare(archive: Path, manifest: Manifest, entries: dict[str, zipfile.ZipInfo]) -> None:
    """Refuse an archive whose entries are not exactly the manifest's files."""
    present, listed = set(entries) - {MANIFEST}, set(manifest.files)
    if listed - present:
        raise ArtifactError(
            f"`{archive}` lacks {', '.join(sorted(listed - present))}", hint="copy or download it again"
        )
    if present - listed:
        names = ", ".join(sorted(present - listed))
        raise ArtifactError(f"`{archive}` holds {names}, which its manifest does not list", hint=_REFUSED)
    for name, file in manifest.files.items():
        if entries[name].file_size != file.size_bytes:
            raise ArtifactError(
                f"`{archive}`: {name} has {entries[name].file_size} bytes, its manifest says {file.size_bytes}",
                hint=_REFUSED,
            )


def _extract(archive: Path, source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    with _damage_is_said(archive), source.open(entry) as packed, path.open("xb") as target:
        if _copy(packed, target, entry.file_size) != entry.file_size:
            raise ArtifactError(f"`{archive}`: {path.name} has not the size that the archive says", hint=_REFUSED)


def _copy(source: IO[bytes], target: IO[bytes], limit: int) -> int:
    """Copy until the end or just beyond ``limit``, whatever a header claims; return the number of bytes."""
    copied = 0
    while copied <= limit and (chunk := source.read(min(_CHUNK_BYTES, limit + 1 - copied))):
        target.write(chunk)
        copied += len(chunk)
    return copied
