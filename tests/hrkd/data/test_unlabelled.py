"""Texts without a label: read, filtered, and learned from by the student only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrkd.data.dataset import NO_LABEL
from hrkd.data.load import load_dataset
from hrkd.errors import DataError
from hrkd.recipe import DataConfig
from tiny import make_rows, write_jsonl


@pytest.fixture
def make_config(tiny_data: Path) -> Callable[[Path], DataConfig]:
    """Return a builder of the data section with unlabelled texts."""
    return lambda path: DataConfig(source="files", path=str(tiny_data), unlabelled_texts=str(path))  # type: ignore[arg-type]


def test_only_new_texts_of_known_domains_are_taken(tmp_path: Path, make_config: Callable[[Path], DataConfig]) -> None:
    """A test text among the unlabelled ones is a leak, however the teacher answers it."""
    rows = [{"text": row["text"], "domain": row["domain"]} for row in make_rows(20, seed=99)]
    dataset = load_dataset(make_config(write_jsonl(tmp_path / "a.jsonl", rows)))
    tests = [{"text": text, "domain": "books"} for text in dataset.test.texts[:5]]
    again = load_dataset(make_config(write_jsonl(tmp_path / "b.jsonl", rows + rows + tests)))
    assert dataset.unlabelled is not None
    assert again.unlabelled is not None
    assert again.unlabelled.texts == dataset.unlabelled.texts
    assert not set(again.unlabelled.texts) & set(dataset.test.texts)
    assert np.all(again.unlabelled.labels == NO_LABEL)
    assert set(again.train.labels) == {0, 1}


def test_problems_are_named(tmp_path: Path, make_config: Callable[[Path], DataConfig]) -> None:
    """A misspelt domain would silently lose all its texts."""
    with pytest.raises(DataError, match="is no file"):
        load_dataset(make_config(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="lack: boks"):
        load_dataset(make_config(write_jsonl(tmp_path / "a.jsonl", [{"text": "a b", "domain": "boks"}])))
    known = load_dataset(make_config(write_jsonl(tmp_path / "b.jsonl", [{"text": "new text", "domain": "books"}])))
    copies = [{"text": f"  {known.train.texts[0]} ", "domain": "books"}]
    with pytest.raises(DataError, match="holds no text"):
        load_dataset(make_config(write_jsonl(tmp_path / "c.jsonl", copies)))
