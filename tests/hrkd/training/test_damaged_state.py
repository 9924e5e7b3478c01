"""Checkpoints that something has damaged, that another training has left, or that were made on another device."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkd.artifact import hash_files, write_json
from hrkd.device import Device
from hrkd.errors import HrkdError, Interrupted
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


class SignalAt(StopAt):
    """Sends Ctrl-C after a step, so that its state is saved."""

    def step(self, report: StepReport) -> None:
        if report.step == self.last_step:
            os.kill(os.getpid(), signal.SIGINT)


def states_of(run: RunFolder) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in run.training_state("student").iterdir())


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
    assert states_of(run) == [3, 6]
    assert KEPT == 2
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


def test_a_damaged_checkpoint_takes_no_place_of_a_whole_one(stopped, teacher) -> None:
    """Prevents the only checkpoint that could be used from being removed as the oldest, and the damaged one kept."""
    recipe, run = stopped
    flip_byte(run.training_state("student") / "step-000000006" / TENSORS)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=SignalAt(4))
    assert states_of(run) == [3, 4]


def test_checkpoints_of_another_recipe_do_not_push_out_new_ones(stopped, teacher, make_recipe) -> None:
    """Prevents a new training under an old name from losing each checkpoint in the moment it is written."""
    _, run = stopped
    other = make_recipe(training={"checkpoint_steps": 2, "learning_rate": 1e-3})
    with pytest.raises(Interrupted):
        distill(other, run, teacher=teacher, observer=StopAt(3))
    assert states_of(run) == [2]
    observer = StopAt(3)
    with pytest.raises(Interrupted):
        distill(other, run, teacher=teacher, observer=observer)
    assert observer.first_step == 2


def test_what_no_resume_gave_up_does_not_come_back(stopped, teacher) -> None:
    """Prevents the next plain run from going on with the state that the user had asked to be rid of."""
    recipe, run = stopped
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=StopAt(2), resume=False)
    observer = StopAt(1)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 0


def test_an_error_before_the_first_step_costs_no_checkpoint(stopped, teacher, make_recipe, monkeypatch) -> None:
    """Prevents a recipe that cannot even begin (memory, a learning rate) from costing the hours of the one before."""
    recipe, run = stopped

    def fail(*_arguments: object) -> None:
        raise HrkdError("no step could be done")

    with monkeypatch.context() as patch:
        patch.setattr("hrkd.training.update.Updates.__call__", fail)
        with pytest.raises(HrkdError, match="no step"):
            distill(make_recipe(training={"learning_rate": 1e-3}), run, teacher=teacher)
    assert states_of(run) == [3, 6]
    observer = StopAt(7)
    with pytest.raises(Interrupted):
        distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 6


def test_going_on_with_another_number_format_is_said_and_recorded(make_recipe, teacher, tmp_path, monkeypatch) -> None:
    """Prevents a training that was half bfloat16 and half float32 from being published as one of them."""
    recipe = make_recipe(training={"epochs": 1})
    run = RunFolder.create(tmp_path / "run", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(Device, "describe", lambda _device: "a GPU, bfloat16")
        with pytest.raises(Interrupted):
            distill(recipe, run, teacher=teacher, observer=StopAt(4))
    observer = StopAt(None)
    record = distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 3
    assert any(
        "was trained on a GPU, bfloat16 so far and goes on on CPU, float32; it ends a little otherwise" in text
        for text in observer.messages
    )
    assert record.details["device"] == "a GPU, bfloat16; then CPU, float32"


def test_a_checkpoint_of_before_devices_were_noted_is_used(stopped, teacher) -> None:
    """Prevents an update of hrkd from costing an unfinished training, or from claiming a move that nobody knows of."""
    recipe, run = stopped
    for state in run.training_state("student").iterdir():
        value = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
        assert value.pop("devices") == ["CPU, float32"]
        write_json(state / PROGRESS, value)
        (state / HASHES).unlink()
        write_json(state / HASHES, hash_files(state))
    observer = StopAt(None)
    record = distill(recipe, run, teacher=teacher, observer=observer)
    assert observer.first_step == 6
    assert not any("goes on on" in text or "damaged" in text for text in observer.messages)
    assert record.details["device"] == "CPU, float32"
