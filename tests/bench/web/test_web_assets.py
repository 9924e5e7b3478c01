"""The third-party files of the page: pinned, checked, fetched once, or brought by the user."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd_bench.web import assets
from hrkd_bench.web.assets import AssetFile, Package, check_archive, find_assets, packages, read_member

CONTENT = b"export const answer = 42;\n"


def write_archive(path: Path, content: bytes = CONTENT, *, link: str | None = None) -> None:
    """Write an npm archive with one file, or with a link in its place."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("package/dist/library.mjs")
        member.size = 0 if link else len(content)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        tar.addfile(member, None if link else io.BytesIO(content))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A small package, the only pinned one, and an `npm` that delivers it and writes down that it was called."""
    archive, npm = tmp_path / "library-1.0.0.tgz", tmp_path / "bin" / "npm"
    write_archive(archive)
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}"
    file = AssetFile("dist/library.mjs", "library.js", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    package = Package("@maker/library", "1.0.0", "MIT", integrity, (file,))
    monkeypatch.setattr(assets, "packages", lambda: (package,))
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\ncp "{archive}" .\n', encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    return package


def test_the_pins_are_exact_and_name_no_address() -> None:
    """Prevents a range that brings another library tomorrow, and an address of one machine's package source."""
    text = json.dumps([repr(package) for package in packages()])
    assert not re.search(r"://|\bwww\.|\.(com|org|io|net)\b", text)
    assert {package.name for package in packages()} == {"onnxruntime-web", "@huggingface/tokenizers"}
    for package in packages():
        assert re.fullmatch(r"\d+\.\d+\.\d+", package.version)
        assert len(base64.b64decode(package.integrity.removeprefix("sha512-"))) == 64
        assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in package.files)
        assert not [file.name for file in package.files if file.name.endswith(".mjs")]


def test_a_package_is_fetched_once_without_running_its_scripts(package: Package, tmp_path: Path) -> None:
    """Prevents 33 MB of download for every page, and code of a package that runs while it is fetched."""
    for _ in range(2):
        found = find_assets(npm_cache=tmp_path / "cache")
    assert found["library.js"].read_bytes() == CONTENT
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert len(calls) == 1
    assert calls[0].startswith("pack @maker/library@1.0.0 --ignore-scripts")


def test_a_damaged_cache_is_fetched_again(package: Package, tmp_path: Path) -> None:
    """Prevents a cut-off file in the cache from breaking every page that is written from then on."""
    place = find_assets(npm_cache=tmp_path / "cache")["library.js"]
    place.write_bytes(CONTENT[:-1])
    assert find_assets(npm_cache=tmp_path / "cache")["library.js"].read_bytes() == CONTENT


def test_the_cache_serves_as_a_brought_folder(package: Package, tmp_path: Path) -> None:
    """Prevents a machine without a network from needing another layout than the one that a machine with one writes."""
    found = find_assets(npm_cache=tmp_path / "cache")
    assert find_assets(tmp_path / "cache") == found


def test_another_archive_than_the_pinned_one_is_not_read(package: Package, tmp_path: Path) -> None:
    """Prevents an exchanged library from reaching the visitors of a page; nothing of it stays in the cache."""
    write_archive(tmp_path / "library-1.0.0.tgz", CONTENT + b"steal();\n")
    with pytest.raises(BenchError, match=r"delivered another `@maker/library@1.0.0`"):
        find_assets(npm_cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(BenchError):
        check_archive(tmp_path / "library-1.0.0.tgz", package)


@pytest.mark.parametrize("damage", ["content", "link", "missing", "cut"])
def test_a_member_that_is_not_the_pinned_file_is_refused(damage: str, package: Package, tmp_path: Path) -> None:
    """Prevents a link out of the archive, or another version's file, from being copied into the page."""
    archive = tmp_path / "odd.tgz"
    write_archive(
        archive, b"other" if damage == "content" else CONTENT, link="/etc/passwd" if damage == "link" else None
    )
    file = package.files[0]
    if damage == "missing":
        file = AssetFile("dist/other.mjs", "other.js", file.sha256, file.size_bytes)
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(BenchError, match=r"holds no readable|is not the pinned file"):
        read_member(archive, file)


@pytest.mark.parametrize("content", [None, b"export const answer = 43;\n"])
def test_a_brought_file_must_be_the_pinned_one(content: bytes | None, package: Package, tmp_path: Path) -> None:
    """Prevents a page with a library against which nothing was tested; the hint says what to install."""
    place = tmp_path / "node_modules" / "@maker" / "library" / "dist" / "library.mjs"
    if content is not None:
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        find_assets(tmp_path / "node_modules")
    assert str(place) in caught.value.message
    assert "@maker/library@1.0.0; then --assets node_modules" in (caught.value.hint or "")


def test_without_npm_the_error_says_what_to_do(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a traceback on a machine that has never seen npm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="`npm` is not installed") as caught:
        find_assets(npm_cache=tmp_path / "cache")
    assert "npm install --ignore-scripts @maker/library@1.0.0" in (caught.value.hint or "")


def test_what_npm_says_is_shown(package: Package, tmp_path: Path) -> None:
    """Prevents "npm failed" without a reason, where there is no network or no such version."""
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(BenchError, match="npm error code ENOTFOUND"):
        find_assets(npm_cache=tmp_path / "cache")
