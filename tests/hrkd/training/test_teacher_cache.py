"""The teacher's outputs on disk must be what the teacher would have answered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hrkd.data.load import load_dataset
from hrkd.device import Device
from hrkd.errors import ArtifactError
from hrkd.models import load_teacher, load_tokenizer
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, train_teacher
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
