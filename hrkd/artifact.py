"""Files and folders that are either complete or absent, and the hashes that tie them together.

Every stage writes through :func:`write_json`, :func:`write_text` or :func:`new_folder`: the content goes to a
temporary sibling first and is renamed into place, so a crash, a full disk or Ctrl-C leaves the old state untouched.
A stage folder carries a :class:`StageRecord`; equal ``input_hash`` means the stage need not run again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError

STAGE_RECORD = "stage.json"
STAGE_SCHEMA_VERSION = 1
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT})
"""What the system says about a place that cannot be written; a full disk is no matter of the place."""
WRITE_ELSEWHERE = "write to another place, or change its permissions"
_RETIRED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.retired\.tmp")
"""Name of an old folder while the new one takes its place; unlike other temporary folders it is complete."""


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def refusals_told(target: Path) -> Iterator[None]:
    """Let the block's refusal by the system to write ``target`` be an error that names it and says what to do.

    Raises:
        ArtifactError: The place is read-only, no folder, or not there.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise ArtifactError(f"`{target}` cannot be written: {error.strerror}", hint=WRITE_ELSEWHERE) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Raises:
        ArtifactError: Nothing can be written there.
    """
    temporary = _temporary_sibling(path)
    with refusals_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused because no reader agrees on them.

    Raises:
        ArtifactError: Nothing can be written there.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by this project.

    Raises:
        ArtifactError: The file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"`{path}` does not exist") from error
    except OSError as error:
        raise ArtifactError(f"`{path}` cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, nested too deep, or a number of 5000 digits
        raise ArtifactError(
            f"`{path}` is not valid JSON: {error}", hint="it was changed or damaged; make it again"
        ) from error


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``target`` when the block ends without an exception.

    Args:
        target: Where the finished folder shall stand.
        replace: Whether an existing ``target`` is swapped out. Without it, an existing target is an error.

    Raises:
        ArtifactError: ``target`` exists and ``replace`` is false, is named by ``.`` or ``..``, or stands where nothing
            can be written; raised before the block runs, or after it when the target came into being meanwhile.
    """
    _check_absent(target, replace)
    temporary = _temporary_sibling(target)
    with refusals_told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        _check_absent(target, replace)
        _swap_in(temporary, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_absent(target: Path, replace: bool) -> None:
    if target.name in ("", ".."):
        raise ArtifactError(f"`{target}` has no name that a new folder could get", hint="give the folder's name")
    if target.exists() and not replace:
        raise ArtifactError(f"`{target}` exists already", hint="choose another name, or pass --overwrite")


def _swap_in(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``; an old target goes only when the new one stands."""
    if not target.exists():
        temporary.rename(target)
        return
    retired = _temporary_sibling(target, "retired.tmp")
    target.rename(retired)
    try:
        temporary.rename(target)
    except OSError:
        retired.rename(target)
        raise
    _drop_retired(retired, target)


def _drop_retired(retired: Path, target: Path) -> None:
    """Remove an old folder; under another name first, because what is half removed must not be restored."""
    with suppress(OSError):
        shutil.rmtree(retired.rename(_temporary_sibling(target)))


def clear_leftover(path: Path) -> None:
    """Remove a temporary file or folder of a killed process, or put it back where it is the only complete one.

    Args:
        path: Named by this module; nobody may be working on it.
    """
    name = _RETIRED.fullmatch(path.name)
    if name is not None and path.is_dir():
        target = path.with_name(name[1])
        if target.exists():
            _drop_retired(path, target)
        else:
            path.rename(target)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    """Wait until all files below a folder are on the disk: else a power cut may leave their names without content."""
    for parent, _, names in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in names):
            if path.is_file():
                _sync(path)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk, where the system can say so."""
    if os.name == "nt":  # it syncs neither folders nor what is open for reading alone
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some network file systems refuse folders, and keep names by themselves
            raise
    finally:
        os.close(descriptor)


def _temporary_sibling(path: Path, ending: str = "tmp") -> Path:
    """Name a hidden path beside ``path``: the same file system, so that renaming is atomic."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a finished stage was made from.

    Attributes:
        stage: Name of the stage (``teacher``, ``student``, ...).
        input_hash: Hash of everything that decides the stage's result.
        files: SHA-256 of each file of the folder, by relative path.
        details: Anything a reader may want to see (metrics, versions); not part of any hash.
    """

    stage: str
    input_hash: str
    files: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = STAGE_SCHEMA_VERSION

    @property
    def output_hash(self) -> str:
        """Hash over the files' contents: what a later stage names as its parent."""
        return hash_of(dict(self.files))


def finish_stage(folder: Path, stage: str, input_hash: str, details: Mapping[str, Any]) -> StageRecord:
    """Hash every file of ``folder`` and write its :class:`StageRecord`; call as the last act inside `new_folder`."""
    record = StageRecord(stage, input_hash, hash_files(folder), details)
    write_json(folder / STAGE_RECORD, asdict(record))
    return record


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below ``folder`` by relative POSIX path, the stage record left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != STAGE_RECORD)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def folder_hash(folder: Path) -> str:
    """Return what identifies a model folder's content: its stage's output hash, or a hash over its files."""
    record = read_stage(folder)
    return hash_of(hash_files(folder)) if record is None else record.output_hash


def read_stage(folder: Path) -> StageRecord | None:
    """Return the record of a finished stage, or None when ``folder`` holds none.

    Raises:
        ArtifactError: The record is damaged, or of a schema that this version does not know.
    """
    path = folder / STAGE_RECORD
    if not path.exists():
        return None
    value = read_json(path)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != STAGE_SCHEMA_VERSION:
        raise ArtifactError(
            f"`{path}` has schema version {version!r}, this hrkd reads {STAGE_SCHEMA_VERSION}",
            hint="upgrade hrkd, or make the stage again with --overwrite",
        )
    try:
        record = StageRecord(**value)
    except TypeError as error:
        raise ArtifactError(f"`{path}` is not a stage record: {error}") from error
    if not isinstance(record.files, dict) or not all(isinstance(sha256, str) for sha256 in record.files.values()):
        raise ArtifactError(f"`{path}` is not a stage record: `files` names no hashes")
    return record


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Check that every listed file stands in ``folder`` with the recorded SHA-256.

    Raises:
        ArtifactError: A file is missing, differs, or its name points outside the folder.
    """
    root = folder.resolve()
    for name, expected in files.items():
        try:
            path = (folder / name).resolve()
            is_file = path.is_file()
        except (OSError, ValueError) as error:  # a name too long, or with a null byte
            raise ArtifactError(f"`{folder}` names the file {name[:40]!r}, which cannot exist: {error}") from error
        if not path.is_relative_to(root):
            raise ArtifactError(f"`{folder}` names the file `{name}`, which lies outside the folder")
        if not is_file:
            raise ArtifactError(f"`{folder / name}` is missing", hint="the folder is incomplete; make or copy it again")
        actual = sha256_file(path)
        if actual != expected:
            raise ArtifactError(
                f"`{folder / name}` was changed: SHA-256 is {actual[:12]}..., recorded {expected[:12]}...",
                hint="the folder is damaged; make or copy it again",
            )
