"""Data sets through `datasets`, from small made folders; nothing leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.errors import DataError
from hrkd.recipe import DataConfig
from tiny import make_rows, write_jsonl

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the prepared copies of `datasets` out of the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def load(source: str, path: Path | str, **values: object) -> DomainDataset:
    return load_dataset(DataConfig.model_validate({"source": source, "path": str(path), **values}))


def labelled(count: int, *, features: bool = True, unlabelled: int = 0) -> object:
    rows = [
        {"body": f"{row['text']} {index}", "stars": -1 if index < unlabelled else int(row["label"] == "neg")}
        | {"topic": row["domain"]}
        for index, row in enumerate(make_rows(count))
    ]
    made = datasets.Dataset.from_list(rows)
    return made.cast_column("stars", datasets.ClassLabel(names=["pos", "neg"])) if features else made


COLUMNS = {"text_column": "body", "label_column": "stars", "domain_column": "topic"}


def test_class_names_and_their_order_are_kept(tmp_path: Path) -> None:
    """Silent failure: labels called 0 and 1, or sorted so that they no longer match the source's ids."""
    made = datasets.DatasetDict({"train": labelled(40), "test": labelled(20), "unsupervised": labelled(8)})
    made.save_to_disk(tmp_path / "set")
    dataset = load("hub", tmp_path / "set", **COLUMNS)
    assert dataset.label_names == ("pos", "neg")
    assert dataset.domain_names == ("books", "films", "phones")
    assert len(dataset.test) == 60
    assert len(dataset.train) + len(dataset.validation) == 120
    first = dataset.train.texts[int(dataset.train.labels.argmax())]
    assert any(word in first for word in ("bad", "awful", "poor", "sad", "broken"))


def test_plain_files_in_a_folder(tmp_path: Path) -> None:
    """Silent failure: a folder of files taken for a Hub id."""
    write_jsonl(tmp_path / "train.jsonl", make_rows(40))
    write_jsonl(tmp_path / "validation.jsonl", make_rows(10, seed=1))
    write_jsonl(tmp_path / "test.jsonl", make_rows(12, seed=2))
    dataset = load("hub", tmp_path)
    assert [len(examples) for examples in dataset.splits.values()] == [120, 30, 36]


def test_unlabelled_rows_are_refused(tmp_path: Path) -> None:
    """Silent failure: -1 indexes the last class name."""
    datasets.DatasetDict({"train": labelled(40, unlabelled=2)}).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=r"\[train\], row 1, 2: `stars` is missing"):
        load("hub", tmp_path / "set", **COLUMNS)


def test_split_column_of_a_single_part(tmp_path: Path) -> None:
    """Silent failure: the user's split column ignored because the Hub calls every row train."""
    rows = [
        {**row, "fold": ("train", "train", "dev", "dev", "test", "test")[i % 6]} for i, row in enumerate(make_rows(36))
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load("hub", tmp_path, split_column="fold")
    assert [len(examples) for examples in dataset.splits.values()] == [36, 36, 36]


def test_wrong_column_and_missing_part(tmp_path: Path) -> None:
    """Silent failure: none; both must name what exists."""
    datasets.DatasetDict({"test": labelled(10)}).save_to_disk(tmp_path / "no-train")
    with pytest.raises(DataError, match="no training part"):
        load("hub", tmp_path / "no-train", **COLUMNS)
    datasets.DatasetDict({"train": labelled(10)}).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match="no column `text`") as caught:
        load("hub", tmp_path / "set")
    assert "body, stars, topic" in str(caught.value.hint)


def test_no_network_and_no_data(tmp_path: Path) -> None:
    """Silent failure: none; without a network the hint must name the local way."""
    with pytest.raises(DataError, match="`someone/something` cannot be loaded") as caught:
        load("hub", "someone/something")
    assert "folder" in str(caught.value.hint)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty` cannot be"):
        load("hub", tmp_path / "empty")


def nli_rows(count: int, genres: tuple[str, ...], start: int, *, names: bool) -> list[dict[str, object]]:
    labels = ("entailment", "neutral", "contradiction")
    return [
        {
            "premise": f"premise {start + index} {genre}",
            "hypothesis": f"hypothesis {start + index}",
            "label": labels[index % 3] if names else index % 3,
            "genre": genre,
        }
        for genre in genres
        for index in range(count)
    ]


@pytest.mark.parametrize("names", [True, False])
def test_multi_nli_preset(tmp_path: Path, names: bool) -> None:
    """Silent failure: hypothesis dropped, labels in another order, or mismatched genres scored by untrained heads."""
    parts = {
        "train": nli_rows(60, ("fiction", "travel"), 0, names=names),
        "validation_matched": nli_rows(9, ("fiction", "travel", "verbatim"), 100, names=names),
        "validation_mismatched": nli_rows(9, ("letters",), 200, names=names),
    }
    made = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    made.save_to_disk(tmp_path / "nli")
    dataset = load("multi_nli", tmp_path / "nli")
    assert dataset.domain_names == ("fiction", "travel")
    assert dataset.label_names == ("entailment", "neutral", "contradiction")
    assert dataset.has_pairs
    assert len(dataset.test) == 18
    assert [len(dataset.train), len(dataset.validation)] == [108, 12]
    for text, pair in zip(dataset.test.texts, dataset.test.text_pairs or (), strict=True):
        assert text.split()[1] == pair.split()[1]
        assert int(text.split()[1]) >= 100
    made.pop("validation_matched")
    made.save_to_disk(tmp_path / "half")
    with pytest.raises(DataError, match="MultiNLI needs train and validation_matched"):
        load("multi_nli", tmp_path / "half")
