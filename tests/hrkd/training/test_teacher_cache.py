"""The teacher's outputs on disk must be what the teacher would have answered."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing

from hrkd.data.load import load_dataset
from hrkd.device import Device
from hrkd.errors import ArtifactError
from hrkd.models import load_teacher, load_tokenizer
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, teacher_cache, train_teacher
from hrkd.training.connect import CACHE
from hrkd.training.prepare import PreparedData, prepare_data
from hrkd.training.teacher_cache import cache_bytes, cached_teacher
from hrkd.training.teacher_outputs import LiveTeacher, Wanted

CPU = Device(torch.device("cpu"), torch.float32)
ALL = Wanted((2, 4))


class Messages(Observer):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_recipe: Callable[..., Recipe]) -> RunFolder:
    """A barely trained teacher."""
    recipe = make_recipe(teacher={"training": {"epochs": 0.2, "precision": "fp32"}})
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), recipe)
    train_teacher(recipe, folder)
    return folder


@pytest.fixture
def data(run: RunFolder, make_recipe: Callable[..., Recipe]) -> PreparedData:
    """The tiny texts as the teacher reads them."""
    return prepare_data(load_dataset(make_recipe().data), load_tokenizer(run.teacher), 24)


def test_the_cache_answers_like_the_teacher(run: RunFolder, data: PreparedData, tmp_path: Path) -> None:
    """Rows shifted by one token or one text would still be finite numbers of the right shape."""
    teacher = load_teacher(run.teacher)
    live = LiveTeacher(teacher, ALL)
    cache = cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, Observer())
    batch = data.train.batch(np.array([3, 60, 7, 101, 8, 150]))
    expected, actual = live(batch), cache(batch)
    mask = batch.attention_mask.bool()
    torch.testing.assert_close(actual.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert len(actual.hidden_states) == len(expected.hidden_states) == 3
    pairs = list(zip(actual.hidden_states, expected.hidden_states, strict=True))
    for own, theirs in zip(actual.attention, expected.attention, strict=True):
        pairs += zip(own, theirs, strict=True)
    assert len(pairs) == 3 + 2 * 3
    for own, theirs in pairs:
        torch.testing.assert_close(own.float()[mask], theirs[mask], rtol=0.01, atol=0.01)  # bfloat16 on disk
        assert bool((own[~mask] == 0).all())


def test_the_announced_size_is_the_size(run: RunFolder, data: PreparedData, tmp_path: Path) -> None:
    """A user decides by this number whether the cache fits."""
    teacher = load_teacher(run.teacher)
    for wanted in (ALL, Wanted((2, 4), attention=False), Wanted((), hidden_states=False, attention=False)):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        cached_teacher(teacher, "x", wanted, data.train, CPU, root, Observer())
        arrays = [np.load(path) for path in root.rglob("*.npy")]
        assert sum(array.nbytes for array in arrays) == cache_bytes(teacher, wanted, data.train)


def test_the_cache_is_used_again_and_never_for_another_teacher(
    run: RunFolder, data: PreparedData, tmp_path: Path
) -> None:
    """Answers of yesterday's teacher would train today's student without any sign."""
    teacher = load_teacher(run.teacher)
    first, again, other, damaged = (Messages() for _ in range(4))
    cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, first)
    cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, again)
    cached_teacher(teacher, "y", ALL, data.train, CPU, tmp_path, other)
    assert (len(first.texts), len(again.texts), len(other.texts)) == (1, 0, 1)
    for index in tmp_path.rglob("index.json"):
        index.write_text("{", encoding="utf-8")
    cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, damaged)
    assert len(damaged.texts) == 1


def test_a_cache_larger_than_the_disk_is_refused_first(
    run: RunFolder, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up after an hour takes the checkpoint with it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10})())
    with pytest.raises(ArtifactError, match="GB free") as caught:
        cached_teacher(load_teacher(run.teacher), "x", ALL, data.train, CPU, tmp_path, Observer())
    assert "cache_teacher" in str(caught.value.hint)
    assert not list(tmp_path.rglob("*.npy"))


def test_runs_that_know_nothing_of_each_other_make_one_cache(
    run: RunFolder, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten students of one teacher would fill the disk ten times, and swap the files out that another one opens."""
    context = torch.multiprocessing.get_context("fork")
    together, answers = context.Barrier(2), context.Queue()
    batch = data.train.batch(np.array([3, 60, 7]))
    monkeypatch.setattr(teacher_cache, "_check_space", lambda *_: time.sleep(0.3))  # time for the other to come

    def make() -> None:
        seen, opened = Messages(), LiveTeacher(load_teacher(run.teacher), ALL)
        together.wait(30)
        made: list[Path] = []
        create = teacher_cache.new_folder
        monkeypatch.setattr(teacher_cache, "new_folder", lambda path, **keys: made.append(path) or create(path, **keys))
        logits = cached_teacher(opened.model, "x", ALL, data.train, CPU, tmp_path, seen)(batch).logits
        answers.put((len(made), seen.texts, logits.tolist()))

    processes = [context.Process(target=make) for _ in range(2)]
    for process in processes:
        process.start()
    (first, second), expected = (
        [answers.get(timeout=30) for _ in processes],
        LiveTeacher(load_teacher(run.teacher), ALL),
    )
    for process in processes:
        process.join()
    assert first[0] + second[0] == 1
    assert sum("waiting for another process" in text for text in (*first[1], *second[1])) == 1
    for _, _, logits in (first, second):
        torch.testing.assert_close(torch.tensor(logits), expected(batch).logits, rtol=1e-4, atol=1e-5)


def test_a_disk_that_fills_up_is_an_error_with_words_and_leaves_nothing(
    run: RunFolder, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing to a mapped file without space behind it kills the process, and what was written stays for ever."""

    def full(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    teacher = load_teacher(run.teacher)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match="No space left") as caught:
        cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, Observer())
    assert "cache_teacher" in str(caught.value.hint)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    (lock,) = tmp_path.iterdir()
    killed = lock.with_name(f"{lock.stem}.0123abcd.tmp")
    other = lock.with_name(".0123456789abcdef.0123abcd.tmp")
    killed.mkdir()
    other.mkdir()
    monkeypatch.undo()
    cached_teacher(teacher, "x", ALL, data.train, CPU, tmp_path, Observer())
    assert not killed.exists()
    assert other.exists(), "somebody may be writing it"


def test_a_student_distilled_from_the_cache_is_as_good(
    run: RunFolder, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """The two ways must be one method: same batches, same order, nearly the same loss."""
    losses = []
    for cached in (False, True):
        recipe = make_recipe(training={"epochs": 0.5, "cache_teacher": cached})
        student = RunFolder(tmp_path / str(cached))
        reports: list[float] = []
        observer = Observer()
        observer.step = lambda report, reports=reports: reports.append(report.terms["loss"])  # type: ignore[method-assign]
        distill(recipe, student, teacher=run.teacher, observer=observer)
        losses.append(reports)
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert (run.teacher.parent / CACHE).is_dir()
