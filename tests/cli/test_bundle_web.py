"""`hrkd bundle web`, as a user types it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hrkd_bench.web import assets
from hrkd_bench.web.assets import AssetFile, Package
from tiny_bundle import make_bundle

LIBRARY = b"export class Tokenizer {}\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "int8", name="student-int8", precision="int8")
    return tmp_path / "int8"


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a library that stands for the real ones, which need a network."""
    file = AssetFile("library.mjs", "library.js", hashlib.sha256(LIBRARY).hexdigest(), len(LIBRARY))
    monkeypatch.setattr(assets, "packages", lambda: (Package("library", "1.0.0", "MIT", "sha512-", (file,)),))
    (tmp_path / "node_modules" / "library").mkdir(parents=True)
    (tmp_path / "node_modules" / "library" / "library.mjs").write_bytes(LIBRARY)
    return tmp_path / "node_modules"


def test_says_how_to_try_the_page_and_what_becomes_public(bundle: Path, libraries: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a page that nobody knows how to open, and evaluation texts that are published unnoticed."""
    result = hrkd("bundle", "web", bundle, "--output", tmp_path / "page", "--assets", libraries)
    assert result.code == 0, result.err
    assert f"http.server --bind 127.0.0.1 --directory {tmp_path / 'page'}" in result.out
    assert "Cross-Origin-Opener-Policy: same-origin" in result.out
    assert "carries 40 evaluation texts, which become public with it" in result.err
    assert (tmp_path / "page" / "index.html").is_file()


def test_json_says_what_a_visitor_loads(bundle: Path, libraries: Path, tmp_path: Path, hrkd) -> None:
    """Prevents scripts from having to read the words."""
    page = tmp_path / "page"
    document = hrkd(
        "bundle", "web", bundle, "-o", page, "--assets", libraries, "--without-texts", "--json", "--quiet"
    ).document
    assert document["page"] == str(page)
    assert document["eval_texts"] == 0
    assert 0 < document["download_bytes"] <= document["size_bytes"]
    assert document["size_bytes"] == sum(path.stat().st_size for path in page.rglob("*") if path.is_file())


def test_an_existing_folder_is_refused_before_anything_is_fetched(
    bundle: Path, tmp_path: Path, hrkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents 33 MB of download that end in "exists already", and a folder that is replaced unasked."""
    monkeypatch.setattr(assets, "_fetch", lambda *arguments: pytest.fail("fetched"))
    (tmp_path / "page").mkdir()
    result = hrkd("bundle", "web", bundle, "-o", tmp_path / "page", "--npm-cache", tmp_path / "cache")
    assert result.code == 2
    assert "exists already" in result.err


def test_a_missing_library_says_what_to_install(bundle: Path, libraries: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a machine without a network from a dead end."""
    (libraries / "library" / "library.mjs").unlink()
    result = hrkd("bundle", "web", bundle, "-o", tmp_path / "page", "--assets", libraries)
    assert result.code == 2
    assert "npm install --ignore-scripts library@1.0.0" in result.err
    assert not (tmp_path / "page").exists()
