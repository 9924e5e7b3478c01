"""The real thing: `torchrun` starts two processes of the command line, is stopped, and `accelerate launch` goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hrkd.artifact import read_stage, write_text
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import train_teacher

DEADLINE_SECONDS = 120
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")


def launch(launcher: Sequence[str], recipe: Path, runs: Path, *options: str) -> subprocess.Popen[str]:
    """Start `hrkd distill` in two processes on one machine."""
    command = ["-m", "hrkd_cli.main", "distill", str(recipe), "--runs-dir", str(runs), "--json", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_launcher_stops_with_one_checkpoint_and_another_goes_on(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """A launcher passes signals on in its own way; without a common stop it kills a checkpoint half-written."""
    training = {"epochs": 16, "checkpoint_steps": 2, "evaluations_per_epoch": 0.1}
    recipe = make_recipe(teacher={"training": {"epochs": 0.2}}, training=training)
    run = RunFolder.create(tmp_path / "runs", recipe)
    train_teacher(recipe, run)
    file = tmp_path / "recipe.yaml"
    write_text(file, recipe.to_yaml())

    first = launch(TORCHRUN, file, tmp_path / "runs")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not list(run.training_state("student").glob("step-*")):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline, "no state was saved in time"
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    output, words = first.communicate(timeout=DEADLINE_SECONDS)
    assert first.returncode != 0
    assert output == ""
    assert "stopped by SIGTERM after step" in words
    assert read_stage(run.student) is None

    tried = launch(TORCHRUN, file, tmp_path / "runs", "--dry-run")
    output, words = tried.communicate(timeout=DEADLINE_SECONDS)
    (stage,) = json.loads(output)["stages"]  # one document: the main process alone speaks
    assert 0 < stage["done_steps"] < stage["steps"], words

    second = launch(ACCELERATE, file, tmp_path / "runs")
    output, words = second.communicate(timeout=DEADLINE_SECONDS)
    assert second.returncode == 0, words
    assert "student: going on at step" in words
    assert words.count("student: done") == 1
    assert json.loads(output)["details"]["processes"] == 2
    assert read_stage(run.student) is not None
    assert not run.training_state("student").exists()
