"""What is kept on disk belongs to what it was made from, is made once, and is cleared up after a killed process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkd.data.dataset import Split
from hrkd.data.fetch import cache_root
from hrkd.data.load import load_dataset
from hrkd.data.store import stored
from hrkd.data.stored import StoredTexts
from hrkd.recipe import DataConfig
from tiny import DOMAINS, make_rows, write_jsonl

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("filelock")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))


def assert_same(**values: object) -> None:
    memory, disk = (
        load_dataset(DataConfig.model_validate({"source": "files", **values, "on_disk": on_disk}))
        for on_disk in (False, True)
    )
    assert isinstance(disk.train.texts, StoredTexts)
    assert disk.fingerprint() == memory.fingerprint()
    assert [disk.splits[split].texts for split in Split] == [memory.splits[split].texts for split in Split]


def test_a_file_and_the_folder_that_holds_it_are_two_data_sets(tmp_path: Path) -> None:
    """Prevents rows kept with a domain column from being taken for rows whose domain is the file's name."""
    (tmp_path / "data").mkdir()
    path = write_jsonl(tmp_path / "data" / "books.jsonl", make_rows())
    assert_same(path=str(path))
    assert_same(path=str(path.parent))


def test_a_file_may_be_read_without_its_labels_first(tmp_path: Path) -> None:
    """Prevents a file that stood without labels in one recipe from losing them in the next."""
    labelled = write_jsonl(tmp_path / "a.jsonl", make_rows())
    other = write_jsonl(tmp_path / "b.jsonl", make_rows(30, seed=9))
    assert_same(path=str(labelled), unlabelled_texts=str(other))
    assert_same(path=str(other))


def test_one_folder_may_be_read_by_two_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents the split of one source (validation) from being that of another (test) for the same rows."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    rows = [
        {"premise": row["text"], "hypothesis": f"{row['text']} too", "label": number % 3, "genre": row["domain"]}
        for number, row in enumerate(make_rows(90))
    ]
    parts = {"train": datasets.Dataset.from_list(rows[::2]), "validation": datasets.Dataset.from_list(rows[1::2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "nli")
    columns = {"text_column": "premise", "text_pair_column": "hypothesis", "domain_column": "genre"}
    assert_same(source="hub", path=str(tmp_path / "nli"), **columns)
    assert_same(source="multi_nli", path=str(tmp_path / "nli"))


def test_numbered_shards_in_one_folder_are_one_file(tmp_path: Path) -> None:
    """Prevents every shard of a large corpus from becoming a domain of its own."""
    import pyarrow.parquet

    (tmp_path / "shards").mkdir()
    for number in range(4):
        table = pyarrow.Table.from_pylist(make_rows()[number * 60 :][:60])
        pyarrow.parquet.write_table(table, tmp_path / "shards" / f"train-{number:05}-of-00004.parquet")
    values = {"source": "files", "path": str(tmp_path / "shards"), "on_disk": True}
    assert load_dataset(DataConfig.model_validate(values)).domain_names == DOMAINS
    assert_same(path=str(tmp_path / "shards"))


def test_processes_that_come_together_build_once(tmp_path: Path) -> None:
    """Prevents a corpus from being built once per process, and one process from removing what another maps."""

    def write(folder: Path) -> None:
        with (tmp_path / "builders").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        (folder / "content").write_text("whole")

    def work() -> None:
        folder = stored("texts", {"same": 1}, write)
        assert (folder / "content").read_text() == "whole"

    assert _exit_codes(work, 3) == [0, 0, 0]
    assert len((tmp_path / "builders").read_text().split()) == 1


def test_a_killed_build_is_started_over_and_leaves_nothing(tmp_path: Path) -> None:
    """Prevents half a corpus from being used, a lock from outliving its process, and a disk full of remains."""

    def die(folder: Path) -> None:
        (folder / "content").write_text("ha")
        os.kill(os.getpid(), signal.SIGKILL)

    def write_whole(folder: Path) -> None:
        (folder / "content").write_text("whole")

    assert _exit_codes(lambda: stored("texts", {"same": 1}, die), 1) == [-signal.SIGKILL]
    assert len(list((cache_root() / "texts").iterdir())) == 1
    folder = stored("texts", {"same": 1}, write_whole)
    assert (folder / "content").read_text() == "whole"
    assert list((cache_root() / "texts").iterdir()) == [folder]


def _exit_codes(work: Callable[[], object], number: int) -> list[int | None]:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]
