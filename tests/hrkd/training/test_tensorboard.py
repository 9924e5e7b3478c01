"""The curves of a stage that is interrupted: each point once, from the steps that the model has behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hrkd.training.observer import StepReport
from hrkd.training.tensorboard import TensorBoardObserver


def draw(folder: Path, first_step: int, last_step: int, loss: float) -> None:
    """Play a start of the stage: every step has this loss."""
    observer = TensorBoardObserver(folder)
    observer.started("student", first_step, 10)
    for step in range(first_step + 1, last_step + 1):
        observer.step(StepReport(step, 10, {"loss": loss}, 0.1, 1.0))
    assert observer.writer is not None
    observer.writer.close()


def curve(folder: Path) -> list[tuple[int, float]]:
    """Return what TensorBoard would draw."""
    events = EventAccumulator(str(folder / "student"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("loss/loss")]


@pytest.mark.parametrize("checkpoint", [0, 4])
def test_steps_after_the_checkpoint_are_drawn_once(checkpoint: int, tmp_path: Path) -> None:
    """A point too many mixes two trainings into one curve; the checkpoint's own is of neither if it is dropped."""
    draw(tmp_path, 0, 7, loss=1.0)
    draw(tmp_path, checkpoint, 9, loss=2.0)
    assert curve(tmp_path) == [(step, 1.0 if step <= checkpoint else 2.0) for step in range(1, 10)]
