"""The record of the domain ratios over training: which steps it keeps, and that an interruption leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hrkd.artifact import read_json, write_json
from hrkd.errors import Interrupted
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, StepReport, distill, graph_history, train_teacher
from hrkd.training.graph_history import MOST_STEPS, GraphHistory, is_recorded
from hrkd.training.state import PROGRESS, Progress, read_progress
from hrkd_bench.document.graph import read_graph

MakeRecipe = Callable[..., Recipe]
REFERENCE = {"graph": "reference"}


def report(step: int, total: int, **changes: Any) -> StepReport:
    ratios = {"level_0": [1 / 3, 2 / 3], "level_1": [step / total / 2, 1 - step / total / 2]}
    values: dict[str, Any] = {"domain_ratios": ratios, "hierarchical_ratios": [[[0.25, 0.75], [step / total, 0.0]]]}
    return StepReport(step, total, {}, 0.0, 0.0, **values | changes)


class StopAfter(Observer):
    """Asks to stop after a step, as Ctrl-C does."""

    def __init__(self, stop_after: int) -> None:
        self.stop_after = stop_after

    def step(self, report: StepReport) -> None:
        if report.step == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("total", [1, 2, 3, 199, 200, 201, 399, 400, 5000, 12345])
def test_recorded_steps_are_few_and_evenly_spread(total: int) -> None:
    """Prevents a history that grows with the training, or ends before the training does."""
    steps = [step for step in range(1, total + 1) if is_recorded(step, total)]
    assert (steps[0], steps[-1]) == (1, total)
    assert min(total, MOST_STEPS // 2) <= len(steps) <= MOST_STEPS
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert len(set(gaps[:-1])) <= 1
    assert all(gap <= gaps[0] for gap in gaps)


def test_the_latest_weights_and_every_recorded_ratio_are_kept() -> None:
    """Prevents weights of an early step under a caption that says "last"."""
    history = GraphHistory()
    for step in range(1, 1001):
        history.record(report(step, 1000))
    assert len(history.domain_ratios) == len(history.steps) == 168  # every 6th step, and the last
    assert history.domain_ratios[-1] == [[0.333333, 0.666667], [0.5, 0.5]]
    assert history.domain_ratios[1][1] == [0.0035, 0.9965]
    assert history.hierarchical_ratios == [[[0.25, 0.75], [1.0, 0.0]]]


def test_steps_without_a_graph_leave_nothing(tmp_path: Path) -> None:
    """Prevents an empty section in the report of a student that has no graph, and a gap that looks like zeros."""
    history = GraphHistory()
    history.record(report(1, 3, domain_ratios={}))
    history.write(tmp_path, "uniform", ("a", "b"))
    assert not list(tmp_path.iterdir())
    history.record(report(2, 3))
    history.record(report(3, 3, domain_ratios={}))  # a phase without imitation
    assert history.steps == [2]


def test_a_checkpoint_holds_the_history(tmp_path: Path) -> None:
    """Prevents a resumed training whose record begins in the middle; checkpoints from before it can still be read."""
    progress = Progress("hash", step=1)
    progress.graph.record(report(1, 3))
    write_json(tmp_path / PROGRESS, asdict(progress))
    assert read_progress(tmp_path) == progress
    value = read_json(tmp_path / PROGRESS)
    del value["graph"]
    write_json(tmp_path / PROGRESS, value)
    assert read_progress(tmp_path).graph == GraphHistory()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, make_recipe: MakeRecipe) -> Path:
    """A hardly trained teacher."""
    recipe = make_recipe(teacher={"training": {"epochs": 0.1, "batch_size": 4, "precision": "fp32"}})
    run = RunFolder.create(tmp_path_factory.mktemp("teacher"), recipe)
    train_teacher(recipe, run)
    return run.teacher


@pytest.fixture
def run_of(teacher: Path, tmp_path: Path) -> Callable[[str], RunFolder]:
    """Return a maker of run folders with that teacher."""

    def make(name: str) -> RunFolder:
        run = RunFolder(tmp_path / name)
        shutil.copytree(teacher, run.teacher)
        return run

    return make


def test_an_interruption_leaves_no_trace(
    run_of: Callable[[str], RunFolder], make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a figure that silently begins at the last checkpoint, repeats steps, or lacks the weights of the end."""
    monkeypatch.setattr(graph_history, "MOST_STEPS", 6)
    recipe = make_recipe(training={"epochs": 1}, method=REFERENCE)
    whole = run_of("whole")
    distill(recipe, whole)
    expected = (whole.student / "graph.json").read_text(encoding="utf-8")
    total = json.loads(expected)["steps"][-1]
    assert json.loads(expected)["steps"] == [*range(1, total, 3), total]
    for stop_after in (4, 5, total):  # a recorded step, one that is not, and the end, after which no step follows
        run = run_of(f"stopped-{stop_after}")
        with pytest.raises(Interrupted):
            distill(recipe, run, observer=StopAfter(stop_after))
        distill(recipe, run)
        assert (run.student / "graph.json").read_text(encoding="utf-8") == expected


def test_the_report_can_read_what_training_writes(run_of: Callable[[str], RunFolder], make_recipe: MakeRecipe) -> None:
    """Prevents writer and reader from drifting apart: they meet only in the file."""
    for variant, spread in (("reference", True), ("meta", True), ("uniform", False)):
        run = run_of(variant)
        config = {"variant": variant, "update_every": 1}
        record = distill(make_recipe(training={"epochs": 0.5}, method={"graph": config}), run)
        graph = read_graph(read_json(run.student / "graph.json"))
        assert "graph.json" in record.files
        assert (graph.variant, graph.levels, graph.domains) == (variant, 3, ["books", "films", "phones"])
        assert [len(rows[0]) for rows in graph.hierarchical_ratios] == ([2, 3] if spread else [])
        ratios = {ratio for step in graph.domain_ratios for level in step for ratio in level}
        assert (len(ratios) > 1) is spread
