"""A run that is killed again and again, anywhere, ends with the student of a run that was left alone."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import hrkd
from hrkd.artifact import read_stage
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher

KILLS, SEED = 20, 20261123
SOURCES = str(Path(hrkd.__file__).parent)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def count_calls(work: Callable[[], object], kill_at: int | None = None) -> int:
    """Return how many functions of hrkd ``work`` calls; at ``kill_at``, the process kills itself as `kill -9` does."""
    calls = 0

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(SOURCES):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def killed_at(work: Callable[[], object], call: int) -> bool:
    """Run ``work`` in a copy of this process that dies at a call; return whether it died there."""
    child = os.fork()
    if child == 0:
        try:
            count_calls(work, call)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_twenty_kills_change_no_bit(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Prevents a resumed run from training on other batches, with other noise, or on half a checkpoint.

    A point is a call of any function of hrkd, so kills fall into steps, evaluations, writing and renaming alike.
    """
    recipe = make_recipe(
        teacher={"training": {"epochs": 0.2}},
        student={"dropout": 0.1},
        training={"epochs": 16, "checkpoint_steps": 2},
    )
    teacher = RunFolder.create(tmp_path / "teacher", recipe)
    train_teacher(recipe, teacher)
    undisturbed, disturbed = (RunFolder.create(tmp_path / name, recipe) for name in ("undisturbed", "disturbed"))

    def run() -> object:
        return distill(recipe, disturbed, teacher=teacher.teacher)

    calls = count_calls(lambda: distill(recipe, undisturbed, teacher=teacher.teacher))
    points = random.Random(SEED)
    kills = sum(killed_at(run, points.randrange(1, calls // 8)) for _ in range(KILLS))
    assert kills == KILLS, "the run was done before the last kill: the test shows less than it says"
    run()
    expected, actual = read_stage(undisturbed.student), read_stage(disturbed.student)
    assert expected is not None
    assert actual is not None
    assert actual.files == expected.files
