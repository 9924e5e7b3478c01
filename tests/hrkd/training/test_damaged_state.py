"""Checkpoints that a bad disk, a full one or a cut cable has damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hrkd.errors import Interrupted
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.observer import Observer, StepReport
from hrkd.training.state import HASHES, KEPT, PROGRESS, TENSORS


class StopAt(Observer):
    """Raises after a step, as Ctrl-C between two checkpoints does, and remembers what it was told."""

    def __init__(self, step: int | None) -> None:
        self.last_step = step
        self.first_step = 0
        self.messages: list[str] = []

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        self.first_step = first_step

    def step(self, report: StepReport) -> None:
        if report.step == self.last_step:
            raise Interrupted("stopped by the test")

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(scope="module")
def teacher(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = make_recipe(teacher={"training": {"epochs": 0.2}})
    run = RunFolder.create(tmp_path_factory.mktemp("teacher") / "run", recipe)
    train_teacher(recipe, run)
    return run.teacher


@pytest.fixture
def stopped(make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path) -> tuple[Recipe, RunFolder]:
    """Return a run that was stopped with checkpoints of steps 3 and 6."""
    recipe = make_recipe()
    run = RunFolder.create(tmp_path / "run", recipe)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=StopAt(8))
    states = sorted(run.training_state("student").glob("step-*"))
    assert [state.name for state in states] == ["step-000000003", "step-000000006"]
    assert len(states) == KEPT
    return recipe, run


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("name", [TENSORS, PROGRESS, HASHES])
@pytest.mark.parametrize("damage", [flip_byte, cut_off, Path.unlink])
def test_the_checkpoint_before_a_damaged_one_is_used(name, damage, stopped, teacher) -> None:
    """Prevents a flipped bit in the newest checkpoint from being trained on, or from costing the whole run."""
    recipe, run = stopped
    damage(run.training_state("student") / "step-000000006" / name)
    observer = StopAt(5)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 3
    assert any("damaged checkpoint step-000000006" in message for message in observer.messages)


def test_a_run_whose_checkpoints_are_all_damaged_starts_over(stopped, teacher) -> None:
    """Prevents a run that can never be started again, or a traceback, when nothing usable is left."""
    recipe, run = stopped
    for state in run.training_state("student").glob("step-*"):
        flip_byte(state / TENSORS)
    observer = StopAt(1)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 0
    assert sum("damaged checkpoint" in message for message in observer.messages) == KEPT
