"""The third-party files of the page: fetched once with npm, checked against pinned hashes every time they are used.

Nothing of a package is executed or unpacked as a tree: the few files that are needed are read out of its archive by
name. The cache has the layout of a `node_modules` folder, so that either can be given as the source.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hrkd.artifact import read_json, sha256_file
from hrkd.errors import BenchError
from hrkd.output_file import new_file

FETCH_TIMEOUT_SECONDS = 300
_STDERR_LINES = 4


@dataclass(frozen=True, slots=True)
class AssetFile:
    """One file of a package.

    Attributes:
        member: Its path in the package.
        name: Its name in the page's `vendor` folder; never `.mjs`, which some servers send without a type.
        sha256: Hash of its bytes.
        size_bytes: Its size.
    """

    member: str
    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned npm package.

    Attributes:
        name: Name in the registry.
        version: Exact version.
        license: SPDX identifier.
        integrity: SHA-512 of the archive, as npm writes it.
        files: What the page needs of it.
    """

    name: str
    version: str
    license: str
    integrity: str
    files: tuple[AssetFile, ...]

    @property
    def pin(self) -> str:
        """What `npm pack` is asked for."""
        return f"{self.name}@{self.version}"


@cache
def packages() -> tuple[Package, ...]:
    """Return the pinned packages."""
    value = read_json(Path(str(files("hrkd_bench.web") / "packages.json")))
    return tuple(_package(entry) for entry in value)


def default_cache() -> Path:
    """Return where fetched files are kept: `$XDG_CACHE_HOME/hrkd/npm`, or the same under `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME")
    root = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return root / "hrkd" / "npm"


def find_assets(assets: Path | None = None, npm_cache: Path | None = None) -> dict[str, Path]:
    """Return where each third-party file stands, checked; fetch those that are not in the cache.

    Args:
        assets: A folder with the layout of `node_modules`; given, nothing is fetched.
        npm_cache: Where fetched files are kept; :func:`default_cache` if left out.

    Returns:
        Paths by the files' names in `vendor`.

    Raises:
        BenchError: A given file is missing or another, npm is missing or fails, or an archive is not the pinned one.
    """
    if assets is not None:
        return {file.name: _given(assets, package, file) for package in packages() for file in package.files}
    root = npm_cache or default_cache()
    found: dict[str, Path] = {}
    for package in packages():
        places = {file.name: root / package.name / file.member for file in package.files}
        if not all(_is_pinned(places[file.name], file) for file in package.files):
            _fetch(package, places)
        found |= places
    return found


def check_archive(archive: Path, package: Package) -> None:
    """Check a package's archive before anything reads it.

    Raises:
        BenchError: Its SHA-512 is not the pinned one.
    """
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    actual = f"sha512-{base64.b64encode(digest).decode()}"
    if actual != package.integrity:
        raise BenchError(
            f"npm delivered another `{package.pin}`: {actual[:20]}..., pinned is {package.integrity[:20]}...",
            hint="do not use it; ask whoever runs the registry or the proxy before it",
        )


def read_member(archive: Path, file: AssetFile) -> bytes:
    """Read one regular file out of a package's archive, at most of its pinned size.

    Raises:
        BenchError: It is missing, no regular file, or not the pinned one.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.getmember(f"package/{file.member}")
            stream = tar.extractfile(member) if member.isreg() else None
            content = b"" if stream is None else stream.read(file.size_bytes + 1)
    except (KeyError, tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BenchError(f"`{archive.name}` holds no readable `{file.member}`: {error}") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise BenchError(f"`{file.member}` of `{archive.name}` is not the pinned file", hint="do not use it")
    return content


def _fetch(package: Package, places: dict[str, Path]) -> None:
    with TemporaryDirectory(prefix="hrkd-npm-") as folder:
        archive = _npm_pack(package, Path(folder))
        check_archive(archive, package)
        contents = {file.name: read_member(archive, file) for file in package.files}
    for name, content in contents.items():
        with new_file(places[name], replace=True) as stream:
            stream.write(content)


def _npm_pack(package: Package, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("`npm` is not installed, and the page's libraries are not in the cache", hint=_by_hand())
    command = [npm, "pack", package.pin, "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and all words are ours
            command,
            cwd=folder,
            capture_output=True,
            timeout=FETCH_TIMEOUT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"npm did not deliver `{package.pin}` within {FETCH_TIMEOUT_SECONDS} s", hint=_by_hand()
        ) from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        lines = done.stderr.decode(errors="replace").strip().splitlines()[-_STDERR_LINES:]
        said = ": " + " / ".join(lines) if lines else f" (exit code {done.returncode})"
        raise BenchError(f"npm cannot deliver `{package.pin}`{said}", hint=_by_hand())
    return archives[0]


def _given(assets: Path, package: Package, file: AssetFile) -> Path:
    place = assets / package.name / file.member
    if not place.is_file():
        raise BenchError(f"`{place}` is missing", hint=_by_hand())
    if not _is_pinned(place, file):
        raise BenchError(f"`{place}` is not the file of `{package.pin}`", hint=_by_hand())
    return place


def _is_pinned(place: Path, file: AssetFile) -> bool:
    return place.is_file() and place.stat().st_size == file.size_bytes and sha256_file(place) == file.sha256


def _by_hand() -> str:
    pins = " ".join(package.pin for package in packages())
    return f"where npm and a network are: npm install --ignore-scripts {pins}; then --assets node_modules"


def _package(entry: dict[str, Any]) -> Package:
    return Package(**{**entry, "files": tuple(AssetFile(**file) for file in entry["files"])})
