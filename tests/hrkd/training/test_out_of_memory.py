"""A step that does not fit into memory is done in parts, and its result is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hrkd.data.collate import Batch
from hrkd.errors import HrkdError
from hrkd.losses import Parts
from hrkd.models import load_classifier
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, train_teacher
from hrkd.training.objective import DistillationObjective
from hrkd.training.state import find_state, read_progress

FULL = {
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
}


class Messages(Observer):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def teacher(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> Path:
    folder = RunFolder.create(tmp_path / "teacher", make_recipe())
    train_teacher(make_recipe(teacher={"training": {"epochs": 0.2, "precision": "fp32"}}), folder)
    return folder.teacher


def fill_memory(monkeypatch: pytest.MonkeyPatch, most_rows: int, error: Callable[[], Exception]) -> None:
    """Let no batch of more rows through; what a try has drawn and added until then must not remain."""
    real = DistillationObjective.__call__

    def limited(self: DistillationObjective, batch: object, progress: float) -> object:
        result = real(self, batch, progress)  # type: ignore[arg-type]
        if len(batch) > most_rows:  # type: ignore[arg-type]
            if result.loss.requires_grad:
                result.loss.backward()
            raise error()
        return result

    monkeypatch.setattr(DistillationObjective, "__call__", limited)


def student_of(recipe: Recipe, teacher: Path, root: Path, observer: Observer | None = None) -> dict[str, torch.Tensor]:
    folder = RunFolder.create(root, recipe)
    distill(recipe, folder, teacher=teacher, observer=observer or Observer())
    return load_classifier(folder.student).state_dict()


@pytest.mark.parametrize("kind", FULL)
def test_the_step_is_repeated_in_parts_with_the_same_noise(
    kind: str,
    tmp_path: Path,
    teacher: Path,
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prevents gradients or random numbers of the failed try from staying, and a silently smaller batch."""
    short = {"epochs": 0.3, "batch_size": 4}
    recipe = make_recipe(student={"layers": 2, "dropout": 0.1}, training=short | {"micro_batches": 4})
    expected = student_of(recipe, teacher, tmp_path / "asked")
    monkeypatch.setattr("hrkd.training.gradients.torch.cuda.empty_cache", lambda: None)
    fill_memory(monkeypatch, 3, FULL[kind])
    messages = Messages()
    recipe = make_recipe(student={"layers": 2, "dropout": 0.1}, training=short)
    found = student_of(recipe, teacher, tmp_path / "fell back", messages)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert [text for text in messages.said if "out of memory" in text] == [
        f"out of memory: a step is done in {parts} parts from here on, with the same result" for parts in (2, 4)
    ]


def test_dropout_draws_the_same_numbers_in_both_passes(
    tmp_path: Path, teacher: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a part whose gradient belongs to other sums than it handed in."""
    real, apart = Parts.sum, []

    def compared(self: Parts, own: torch.Tensor) -> torch.Tensor:
        if self._sums is not None:
            apart.append(float((own.detach() - self._seen[self._part][self._call]).abs().max()))
        return real(self, own)

    monkeypatch.setattr(Parts, "sum", compared)
    recipe = make_recipe(
        student={"layers": 2, "dropout": 0.3}, training={"epochs": 0.2, "batch_size": 4, "micro_batches": 2}
    )
    student_of(recipe, teacher, tmp_path / "parts")
    assert len(apart) > 4
    assert max(apart) == 0.0


def test_the_found_number_is_kept_in_the_checkpoint(
    tmp_path: Path, teacher: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents every resumed run from running out of memory again first."""
    fill_memory(monkeypatch, 6, FULL["cpu"])
    recipe = make_recipe(training={"epochs": 6, "batch_size": 4, "checkpoint_steps": 1})
    folder = RunFolder.create(tmp_path, recipe)
    steps = []

    class Stops(Observer):
        def step(self, report: object) -> None:
            steps.append(report)
            if len(steps) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(recipe, folder, teacher=teacher, observer=Stops())
    [state] = sorted(folder.training_state("student").glob("step-*"))[-1:]
    assert find_state(state.parent, read_progress(state).input_hash, print) == state
    assert read_progress(state).micro_batches == 2


def test_the_outer_step_is_repeated_in_parts_too(
    tmp_path: Path, teacher: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a training that runs for nine steps and ends with a traceback in the tenth."""
    real, rows = DistillationObjective._prediction, list[int]()

    def limited(self: DistillationObjective, batch: Batch) -> torch.Tensor:
        rows.append(len(batch))
        if len(batch) > 6:
            raise FULL["cpu"]()
        return real(self, batch)

    recipe = make_recipe(
        student={"layers": 2, "dropout": 0.0},
        method={"graph": {"variant": "meta", "update_every": 2}},
        training={"epochs": 0.4, "batch_size": 4},
    )
    expected = student_of(recipe, teacher, tmp_path / "whole")
    monkeypatch.setattr(DistillationObjective, "_prediction", limited)
    messages = Messages()
    found = student_of(recipe, teacher, tmp_path / "fell back", messages)
    assert rows[0] == 12
    assert set(rows[1:]) == {6}, "the number is kept for later steps"
    assert [text for text in messages.said if "out of memory" in text] == [
        "out of memory: a step is done in 2 parts from here on, with the same result"
    ]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_what_never_fits_is_said(
    tmp_path: Path, teacher: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents an endless loop of ever smaller parts, and a traceback."""
    fill_memory(monkeypatch, 0, FULL["gpu"])
    recipe = make_recipe(training={"epochs": 1, "batch_size": 4})
    with pytest.raises(HrkdError, match=r"out of memory with 3 texts of \d+ tokens at once"):
        student_of(recipe, teacher, tmp_path / "never")


def test_other_errors_are_not_repeated(
    tmp_path: Path, teacher: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a mistake in a shape from being retried and reported as memory."""
    fill_memory(monkeypatch, 0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        student_of(make_recipe(training={"epochs": 1}), teacher, tmp_path / "wrong")
