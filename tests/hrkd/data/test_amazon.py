"""Review files that look like XML, and their split file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.load import load_dataset
from hrkd.data.sources.amazon import read_reviews
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

RECORD = b"<review>\n<title>\nTitle %d\n</title>\n<review_text>\n%s\n</review_text>\n</review>\n"
DOMAINS = ("kitchen", "books")
LABELS = ("negative", "positive")


def records(*texts: bytes) -> bytes:
    return b"<reviews>\n" + b"".join(RECORD % (index, text) for index, text in enumerate(texts)) + b"</reviews>\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains, ten reviews per label."""
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
        for label in LABELS:
            texts = [f"{domain} {label} {index}".encode() for index in range(10)]
            (tmp_path / domain / f"{label}.review").write_bytes(records(*texts))
        (tmp_path / domain / "unlabeled.review").write_bytes(records(b"neither"))
    (tmp_path / "summary").mkdir()
    return tmp_path


def split_lines(parts: tuple[str, ...] = ("test", "validation", *["train"] * 8)) -> list[str]:
    places = [(domain, label, position) for domain in DOMAINS for label in LABELS for position in range(10)]
    return ["domain,label,position,split", *(f"{d},{lab},{pos},{parts[pos]}" for d, lab, pos in places)]


def load(folder: Path, **values: object) -> DomainDataset:
    return load_dataset(DataConfig.model_validate({"source": "amazon_reviews", "path": str(folder), **values}))


def test_each_record_is_decoded_by_itself(tmp_path: Path) -> None:
    """Silent failure: one Windows-1252 review turns the UTF-8 ones of its file into mojibake, or stops the loading."""
    path = tmp_path / "positive.review"
    path.write_bytes(records("café".encode(), b"caf\xe9 \x93quoted\x94", b"odd \x81 byte", b"a < b & c"))
    assert read_reviews(path) == ["café", "café “quoted”", "odd \x81 byte", "a < b & c"]


def test_bodies_without_titles(folder: Path) -> None:
    """Silent failure: the title in the text, or reviews of `unlabeled.review` as a label."""
    dataset = load(folder)
    assert dataset.domain_names == ("books", "kitchen")
    assert dataset.label_names == ("negative", "positive")
    texts = {text for examples in dataset.splits.values() for text in examples.texts}
    assert texts == {f"{d} {label} {index}" for d in DOMAINS for label in LABELS for index in range(10)}
    for text, label in zip(dataset.train.texts, dataset.train.labels, strict=True):
        assert text.split()[1] == dataset.label_names[label]


def test_split_file_decides(folder: Path, tmp_path: Path) -> None:
    """Silent failure: positions counted from 1, or the published split ignored."""
    elsewhere = tmp_path / "mine.csv"
    elsewhere.write_text("\n".join(split_lines()) + "\n")
    for name in (str(elsewhere), "mine.csv"):
        dataset = load(folder, split_file=name)
        assert set(dataset.test.texts) == {f"{domain} {label} 0" for domain in DOMAINS for label in LABELS}
        assert {text.split()[-1] for text in dataset.validation.texts} == {"1"}
        assert len(dataset.train) == 32


def test_unused_split_file_is_mentioned(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Silent failure: numbers from a seeded split compared with published ones."""
    (folder / "splits.csv").write_text("\n".join(split_lines()) + "\n")
    with caplog.at_level(logging.WARNING):
        dataset = load(folder)
    assert "data.split_file: splits.csv" in caplog.text
    assert len(dataset.splits[Split.TEST]) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "39 of 40 reviews; the first one left out is books, positive, position 9"),
        (lambda lines: [*lines, lines[-1]], "line 42 names a review again: books, positive, position 9"),
        (lambda lines: [*lines, "dvd,positive,0,test"], "line 42 names a review that does not exist: dvd"),
        (lambda lines: [*lines[:-1], "books,positive,9,tset"], "line 41: split is 'tset'"),
        (lambda lines: [*lines[:-1], "books,positive,x,test"], "line 41: position is 'x'"),
        (lambda lines: [*lines[:-1], f"books,positive,{'9' * 5001},test"], "line 41: position is '99"),
        (lambda lines: ["domain,label,split", *lines[1:]], "no column `position`"),
    ],
)
def test_split_file_that_does_not_fit(folder: Path, change: object, words: str) -> None:
    """Silent failure: a split file of another copy of the data assigns the wrong reviews."""
    assert callable(change)
    (folder / "mine.csv").write_text("\n".join(change(split_lines())) + "\n")
    with pytest.raises(DataError, match=words):
        load(folder, split_file="mine.csv")


def test_missing_split_file_and_folder(folder: Path) -> None:
    """Silent failure: a seeded split in place of a misspelt file."""
    with pytest.raises(DataError, match=r"split file `none.csv` does not exist"):
        load(folder, split_file="none.csv")
    with pytest.raises(DataError, match="is not a folder"):
        load(folder / "nowhere")
    with pytest.raises(DataError, match=r"no sub-folder with positive.review"):
        load(folder / "summary")
    (folder / "books" / "positive.review").unlink()
    with pytest.raises(DataError, match=r"positive.review` does not exist"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (records(b"fine", b" "), "line 10, review 2: no text"),
        (b"<review>\nno body\n</review>\n", "line 1, review 1: 0 <review_text> parts"),
        (records(b"fine") + b"<review>\n<review_text>\ncut", "opens 2 reviews and closes 1"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, words: str) -> None:
    """Silent failure: a cut download loses reviews and shifts every position of the split file."""
    path = tmp_path / "positive.review"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_reviews(path)
