"""Texts and tokens on disk: the same data set, the same student, and memory that does not grow with the texts."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrkd.artifact import hash_of
from hrkd.data import row_store, token_store
from hrkd.data.collate import Collator
from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.fetch import cache_root
from hrkd.data.load import load_dataset
from hrkd.data.stored import StoredTexts, join_texts, select_texts
from hrkd.errors import DataError
from hrkd.models import load_classifier, load_tokenizer
from hrkd.recipe import DataConfig, GeneralConfig, Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.general_texts import general_texts, hash_of_texts
from several_processes import results_of
from tiny import make_rows, write_jsonl

pyarrow = pytest.importorskip("pyarrow")
Config = Callable[..., DataConfig]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_store, "PIECE_ROWS", 32)


def config(path: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"source": "files", "path": str(path), **values})


def both(path: Path, **values: object) -> tuple[DomainDataset, DomainDataset]:
    return load_dataset(config(path, **values)), load_dataset(config(path, **values, on_disk=True))


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_shards(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Write Parquet files of different sizes, one folder per domain."""
    import pyarrow.parquet

    for domain in dict.fromkeys(row["domain"] for row in rows):
        own = [{key: row[key] for key in ("text", "label")} for row in rows if row["domain"] == domain]
        (folder / domain).mkdir(parents=True)
        for number, part in enumerate((own[:7], own[7:50], own[50:])):
            table = pyarrow.Table.from_pylist(part)
            pyarrow.parquet.write_table(table, folder / domain / f"part-{number}.parquet")
    return folder


def assert_same(first: DomainDataset, second: DomainDataset) -> None:
    assert second.fingerprint() == first.fingerprint()
    for split in Split:
        assert second.splits[split].texts == first.splits[split].texts
        assert np.array_equal(second.splits[split].labels, first.splits[split].labels)
        assert np.array_equal(second.splits[split].domains, first.splits[split].domains)


@given(
    parts=st.lists(st.lists(st.text(max_size=4), max_size=5), min_size=1, max_size=4),
    data=st.data(),
)
def test_stored_texts_are_a_tuple(parts: list[list[str]], data: st.DataObject) -> None:
    """Prevents a text that belongs to another row: chunks, selections of selections, and joins of both kinds."""
    plain = tuple(text for part in parts for text in part)
    stored = StoredTexts([pyarrow.array(part, pyarrow.string()) for part in parts])
    places = st.lists(st.integers(0, len(plain) - 1), max_size=6) if plain else st.just([])
    first, second = (np.asarray(data.draw(places), dtype=np.int64) for _ in range(2))
    for texts, wanted in (
        (stored, plain),
        (select_texts(stored, first), select_texts(plain, first)),
        (join_texts(stored.select(first), plain), (*select_texts(plain, first), *plain)),
        (join_texts(plain, stored.select(second)), (*plain, *select_texts(plain, second))),
    ):
        assert tuple(texts) == tuple(wanted)
        assert texts == wanted
        assert wanted == texts
        assert len(texts) == len(wanted)
        begin, end = data.draw(st.integers(-3, 9)), data.draw(st.integers(-3, 9))
        assert texts[begin:end] == tuple(wanted)[begin:end]
        assert all(texts[index] == wanted[index] for index in range(-len(wanted), len(wanted)))
        with pytest.raises(IndexError):
            texts[len(wanted)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet shards"])
def test_the_data_set_is_the_same(tmp_path: Path, kind: str) -> None:
    """Prevents another split, another order or a lost piece: copies of a text stand in different pieces here."""
    rows = [*make_rows(), *make_rows()[:40]]
    if kind == "csv":
        path = write_csv(tmp_path / "a.csv", rows)
    elif kind == "jsonl":
        path = write_jsonl(tmp_path / "a.jsonl", rows)
    else:
        path = write_shards(tmp_path / "shards", rows)
    memory, disk = both(path, domains=("phones", "books"))
    assert isinstance(disk.train.texts, StoredTexts)
    assert_same(memory, disk)


def test_a_split_column_and_pairs_are_kept(tmp_path: Path) -> None:
    """Prevents second texts that are lost or paired with other first ones, and a split that is made anew."""
    names = ("train", "dev", "test")
    rows = [
        {**row, "other": f"pair {number}", "part": names[number // 2 % 3]} for number, row in enumerate(make_rows(30))
    ]
    memory, disk = both(
        write_jsonl(tmp_path / "a.jsonl", rows), text_pair_column="other", split_column="part", train_fraction=0.5
    )
    assert_same(memory, disk)
    assert memory.train.text_pairs == disk.train.text_pairs
    assert len(disk.train) < len(disk.test)


def test_unlabelled_texts_stay_on_disk_too(tmp_path: Path) -> None:
    """Prevents the largest file of all from being read into memory, and a test text from being learned."""
    path = write_jsonl(tmp_path / "a.jsonl", make_rows())
    known = load_dataset(config(path)).test.texts[:5]
    more = [*make_rows(20, seed=5), *make_rows(20, seed=5), *({"text": text, "domain": "books"} for text in known)]
    plain = [{"text": row["text"], "domain": row["domain"]} for row in more]
    memory, disk = both(path, unlabelled_texts=str(write_jsonl(tmp_path / "b.jsonl", plain)))
    assert memory.unlabelled is not None
    assert disk.unlabelled is not None
    assert isinstance(disk.unlabelled.texts, StoredTexts)
    assert disk.unlabelled.texts == memory.unlabelled.texts
    assert not set(disk.unlabelled.texts) & set(known)
    assert disk.fingerprint() == memory.fingerprint()


def test_a_hub_data_set_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents `on_disk` from doing nothing, or something else, for what `datasets` loads."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    made = datasets.Dataset.from_list(make_rows())
    datasets.DatasetDict({"train": made, "test": made.select(range(0, 240, 3))}).save_to_disk(tmp_path / "set")
    memory, disk = both(tmp_path / "set", source="hub")
    assert isinstance(disk.train.texts, StoredTexts)
    assert_same(memory, disk)


def test_the_fingerprint_is_that_of_one_document(tmp_path: Path) -> None:
    """Prevents finished students from becoming stale because the hash is now taken in parts."""
    import hashlib

    dataset = load_dataset(config(write_jsonl(tmp_path / "a.jsonl", make_rows())))
    digest = hashlib.sha256(json.dumps([dataset.domain_names, dataset.label_names]).encode())
    for split in Split:
        part = dataset.splits[split]
        content = [tuple(part.texts), part.text_pairs, part.labels.tolist(), part.domains.tolist()]
        digest.update(json.dumps([split, content]).encode())
    assert dataset.fingerprint() == digest.hexdigest()


def test_tokens_are_the_same_and_read_from_a_file(tmp_path: Path, tiny_encoder: Path) -> None:
    """Prevents tokens of another text, of another length limit, or in memory after all."""
    memory, disk = both(write_jsonl(tmp_path / "a.jsonl", make_rows()))
    collator = Collator(load_tokenizer(tiny_encoder), 12)
    wanted, found = collator.encode(memory.train), collator.encode(disk.train)
    assert isinstance(found.flat_ids, np.memmap)
    assert np.array_equal(found.flat_ids, wanted.flat_ids)
    assert np.array_equal(found.offsets, wanted.offsets)
    shorter = Collator(load_tokenizer(tiny_encoder), 8).encode(disk.train)
    assert shorter.lengths.max() == 8
    [*_, last] = sorted((cache_root() / "tokens").glob("*/ids.bin"))
    last.write_bytes(last.read_bytes()[:-4])
    again = [Collator(load_tokenizer(tiny_encoder), limit).encode(disk.train) for limit in (12, 8)]
    assert np.array_equal(again[0].flat_ids, wanted.flat_ids)
    assert np.array_equal(again[1].flat_ids, shorter.flat_ids)


def test_a_second_call_reads_nothing_and_a_damaged_store_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents hours of reading at every start, and a student of half a corpus after a crash or a changed file."""
    path = write_jsonl(tmp_path / "a.jsonl", make_rows())
    first = load_dataset(config(path, on_disk=True)).fingerprint()
    [stored] = (cache_root() / "texts").glob("*/rows.arrow")
    with monkeypatch.context() as patch:
        patch.setattr(row_store, "_write", lambda *_: pytest.fail("written again"))
        assert load_dataset(config(path, on_disk=True)).fingerprint() == first
    content = stored.read_bytes()
    stored.write_bytes(content[:-100] + bytes(100))
    assert load_dataset(config(path, on_disk=True)).fingerprint() == first
    assert stored.read_bytes() == content
    write_jsonl(path, make_rows(seed=3))
    assert load_dataset(config(path, on_disk=True)).fingerprint() != first


def test_what_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents half a store from being taken for a whole one, and a full disk from ending in a traceback."""
    rows = make_rows()
    rows[100]["text"] = " "
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match="line 101: `text` is empty"):
        load_dataset(config(path, on_disk=True))
    assert not list((cache_root() / "texts").glob("*"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    write_jsonl(path, make_rows())
    for module, name in ((row_store, "texts"), (token_store, "tokens")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "_write", full)
            with pytest.raises(DataError, match=f"the {name} cannot be kept"):
                load_dataset(config(path, on_disk=True)) if name == "texts" else token_store.stored_tokens({}, [])
        assert not list((cache_root() / name).glob("*"))
    with pytest.raises(ValueError, match="`vader` is small"):
        DataConfig.model_validate({"source": "vader", "on_disk": True})


def test_plain_texts_of_the_general_stage(tmp_path: Path) -> None:
    """Prevents a general stage of other texts, in another order, or of another hash, from disk."""
    lines = [*(row["text"] for row in make_rows(60)), "", "  ", *(row["text"] for row in make_rows(6))]
    path = tmp_path / "plain.txt"
    path.write_text("\r\n".join(lines) + "\x0cone more\n", encoding="utf-8")
    dataset = load_dataset(config(write_jsonl(tmp_path / "a.jsonl", make_rows())))
    for general in (GeneralConfig(texts=str(path)), GeneralConfig()):
        memory = general_texts(general, dataset)
        disk = general_texts(general, load_dataset(config(tmp_path / "a.jsonl", on_disk=True)), on_disk=True)
        assert isinstance(disk, StoredTexts)
        assert disk == memory
        assert hash_of_texts(disk) == hash_of(list(memory))
        assert len(set(memory)) == len(memory)
        assert all(text.strip() for text in memory)


def test_the_student_is_the_same(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    """Prevents `on_disk` from changing a result, or from making a finished one stale."""
    states = []
    for on_disk in (False, True):
        recipe = make_recipe(data={"on_disk": on_disk}, training={"epochs": 0.5})
        folder = RunFolder.create(tmp_path / str(on_disk), recipe)
        train_teacher(recipe, folder)
        record = distill(recipe, folder)
        states.append((load_classifier(folder.student).state_dict(), record.input_hash))
    (first, first_hash), (second, second_hash) = states
    assert first_hash == second_hash
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_processes_that_train_together_share_one_store(
    tmp_path: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents every process from tokenising the whole corpus, and one from reading what another is replacing."""
    write = token_store._write

    def noted(folder: Path, parts: Iterable[list[NDArray[np.int32]]]) -> None:
        with (tmp_path / "builders").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        write(folder, parts)

    monkeypatch.setattr(token_store, "_write", noted)
    states = []
    for on_disk in (False, True):
        recipe = make_recipe(data={"on_disk": on_disk})
        folder = RunFolder.create(tmp_path / str(on_disk), recipe)
        results_of(partial(train_teacher, recipe, folder))
        states.append(load_classifier(folder.teacher).state_dict())
    first, second = states
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len((tmp_path / "builders").read_text().split()) == len(Split)


def with_quick_tokenizer(encoder: Path, folder: Path) -> Path:
    """Copy an encoder; its tokenizer only cuts at white space, which takes a third of BERT's time for long texts."""
    shutil.copytree(encoder, folder)
    changes = {
        "tokenizer.json": {"normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    for name, values in changes.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**content, **values}), encoding="utf-8")
    return folder


def test_a_corpus_larger_than_the_memory_that_may_be_added(tmp_path: Path, tiny_encoder: Path) -> None:
    """Prevents `on_disk` from reading everything after all; the same texts in memory do not fit under the limit."""
    if not sys.platform.startswith("linux"):
        pytest.skip("RLIMIT_DATA counts private memory on Linux only")
    script = ROOT / "tests" / "train_under_limit.py"
    encoder = with_quick_tokenizer(tiny_encoder, tmp_path / "encoder")
    command = [sys.executable, str(script), str(tmp_path), str(encoder)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))),
        "HRKD_CACHE": str(tmp_path / "cache"),
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # others reserve more than they use
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["corpus_bytes"] > said["allowance_bytes"]
    assert said["on_disk"] == "trained"
    assert said["in_memory"] == "MemoryError"
