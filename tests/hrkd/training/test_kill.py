"""A run that is killed without warning goes on, and ends like one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hrkd.artifact import read_stage
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher

SCRIPT = """
import sys, torch
from pathlib import Path
from hrkd.recipe_file import load_recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill
torch.set_num_threads(1)
distill(load_recipe(Path(sys.argv[1])), RunFolder(Path(sys.argv[2])), teacher=Path(sys.argv[3]))
"""
DEADLINE_SECONDS = 120


def test_kill_9_during_distillation_loses_nothing(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """SIGKILL runs no handler: only what is on disk counts, and a half-written state must not be used."""
    recipe = make_recipe(training={"epochs": 40, "checkpoint_steps": 5})
    teacher_run = RunFolder.create(tmp_path / "teacher", make_recipe(teacher={"training": {"epochs": 0.2}}))
    train_teacher(make_recipe(teacher={"training": {"epochs": 0.2}}), teacher_run)
    killed, undisturbed = (RunFolder.create(tmp_path / name, recipe) for name in ("killed", "undisturbed"))
    command = [sys.executable, "-c", SCRIPT, str(killed.recipe), str(killed.root), str(teacher_run.teacher)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(list(killed.training_state("student").glob("step-*/progress.json"))) == 0:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "no state was saved in time"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert read_stage(killed.student) is None
    resumed = distill(recipe, killed, teacher=teacher_run.teacher)
    assert resumed.files == distill(recipe, undisturbed, teacher=teacher_run.teacher).files
    assert not list(killed.root.glob(".*.tmp"))
