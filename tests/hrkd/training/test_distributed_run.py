"""Whole stages in several processes: one folder, one checkpoint, one end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hrkd.artifact import StageRecord, read_json, read_stage
from hrkd.data.collate import Batch
from hrkd.distributed import rank
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.feed import Feed
from hrkd.training.observer import Observer, StepReport
from several_processes import results_of, run_in_processes

SHORT = {"epochs": 1, "checkpoint_steps": 3}


@dataclass
class Memory(Observer):
    """Remembers what it was told."""

    first_step: int = -1
    total_steps: int = -1
    steps: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    kept: int = 0

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        self.first_step, self.total_steps = first_step, total_steps

    def step(self, report: StepReport) -> None:
        self.steps.append(report.step)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        self.kept += skipped

    def message(self, text: str) -> None:
        self.messages.append(text)


def at_batch(number: int, act: Callable[[], Any], *, process: int) -> None:
    """Let one process act when it fetches its ``number``-th batch."""
    if rank() != process:
        return
    fetched = 0
    fetch = Feed.__call__

    def counted(feed: Feed, step: int) -> Batch:
        nonlocal fetched
        fetched += 1
        if fetched == number:
            act()
        return fetch(feed, step)

    Feed.__call__ = counted  # type: ignore[method-assign]  # this process is a fork of the test's


def fail() -> None:
    raise ZeroDivisionError("planted")


def terminate_oneself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def files_of(run: RunFolder) -> dict[str, str]:
    record = read_stage(run.student)
    assert record is not None
    return dict(record.files)


@pytest.fixture(scope="module")
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    return make_recipe(teacher={"training": {"epochs": 0.2}}, student={"dropout": 0.1}, training=SHORT)


@pytest.fixture(scope="module")
def teacher(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = RunFolder.create(tmp_path_factory.mktemp("teacher"), recipe)
    train_teacher(recipe, run)
    return run.teacher


def test_stopping_one_process_stops_all_and_resuming_changes_no_bit(
    recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """A signal reaches one process of several; the others would wait for it, or go on without its texts."""
    undisturbed, stopped = (RunFolder.create(tmp_path / name, recipe) for name in ("undisturbed", "stopped"))
    results_of(lambda: distill(recipe, undisturbed, teacher=teacher).files)

    def disturbed() -> None:
        at_batch(2, terminate_oneself, process=1)
        distill(recipe, stopped, teacher=teacher)

    outcomes = run_in_processes(disturbed)
    assert [error for error, _ in outcomes] == ["Interrupted", "Interrupted"]
    assert "stopped by SIGTERM after step 2 of 7" in outcomes[0][1]
    states = [path.name for path in stopped.training_state("student").iterdir()]
    assert states == ["step-000000002"]
    assert read_stage(stopped.student) is None

    memories = results_of(lambda: vars(_resumed(recipe, stopped, teacher)))
    assert memories[0]["first_step"] == 2
    assert memories[0]["steps"] == [3, 4, 5, 6, 7]
    assert memories[1] == vars(Memory()), "a process that is not the main one spoke"
    assert files_of(stopped) == files_of(undisturbed)


def _resumed(recipe: Recipe, run: RunFolder, teacher: Path) -> Memory:
    memory = Memory()
    distill(recipe, run, teacher=teacher, observer=memory)
    return memory


def test_fewer_processes_go_on_with_the_same_batches(make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path):
    """Half the machines lost must not mean half the batch and twice the steps in the middle of a training."""
    recipe = make_recipe(training=SHORT)  # without dropout, so that both ends are the same but for rounding
    undisturbed, stopped = (RunFolder.create(tmp_path / name, recipe) for name in ("undisturbed", "stopped"))
    results_of(lambda: distill(recipe, undisturbed, teacher=teacher).files)

    def disturbed() -> None:
        at_batch(5, terminate_oneself, process=0)
        distill(recipe, stopped, teacher=teacher)

    run_in_processes(disturbed)
    memory = _resumed(recipe, stopped, teacher)
    assert (memory.first_step, memory.total_steps) == (5, 7)
    assert any("begun by 2 process(es), 1 go(es) on with the same 8 texts" in text for text in memory.messages)
    records = [read_stage(run.student) for run in (undisturbed, stopped)]
    for record in records:
        assert record is not None
        assert (record.details["processes"], record.details["total_steps"]) == (2, 7)
    ratios = [torch.tensor(read_json(run.student / "graph.json")["domain_ratios"]) for run in (undisturbed, stopped)]
    torch.testing.assert_close(*ratios, rtol=0.0, atol=1e-3)


def test_several_processes_leave_the_checkpoints_of_another_recipe_behind(
    make_recipe: Callable[..., Recipe], recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """Cleared by each process at a moment of its own, new states would go with the old ones, and hours with them."""
    other = make_recipe(training={**SHORT, "learning_rate": 1e-3})
    run = RunFolder.create(tmp_path, recipe)

    def disturbed(chosen: Recipe, batches: int) -> None:
        at_batch(batches, terminate_oneself, process=1)
        distill(chosen, run, teacher=teacher)

    for chosen, batches, expected in ((recipe, 5, [3, 5]), (other, 2, [2]), (other, 1, [2, 3])):
        outcomes = run_in_processes(partial(disturbed, chosen, batches))
        assert [error for error, _ in outcomes] == ["Interrupted", "Interrupted"], outcomes
        states = sorted(path.name for path in run.training_state("student").iterdir())
        assert states == [f"step-{step:09d}" for step in expected]


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_that_fails_ends_all(process: int, recipe: Recipe, teacher: Path, tmp_path: Path) -> None:
    """The others wait for hours for messages that never come, and the bill runs on."""
    run = RunFolder.create(tmp_path, recipe)

    def failing() -> None:
        at_batch(2, fail, process=process)
        distill(recipe, run, teacher=teacher)

    outcomes = run_in_processes(failing)
    assert outcomes[process][0] == "ZeroDivisionError"
    assert outcomes[1 - process][0] == "DistributedError"
    assert f"process {1 - process} of 2 lost the others" in outcomes[1 - process][1]
    assert read_stage(run.student) is None


def test_a_loss_that_is_no_number_ends_all_with_its_own_message(
    make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path
) -> None:
    """If one process alone saw it, the others would blame the network."""
    recipe = make_recipe(training={**SHORT, "learning_rate": 1e30})
    run = RunFolder.create(tmp_path, recipe)
    outcomes = run_in_processes(lambda: distill(recipe, run, teacher=teacher))
    assert [error for error, _ in outcomes] == ["HrkdError", "HrkdError"]
    assert all("the loss became nan" in text for _, text in outcomes)


def test_a_held_run_folder_and_other_inputs_are_refused_by_all(
    make_recipe: Callable[..., Recipe], recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """A second run in one folder mixes checkpoints; a process with other data trains something nobody asked for."""
    run = RunFolder.create(tmp_path, recipe)
    with run.locked():
        outcomes = run_in_processes(lambda: distill(recipe, run, teacher=teacher))
    assert [error for error, _ in outcomes] == ["ArtifactError", "DistributedError"]
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": 1e-3})})
    outcomes = run_in_processes(lambda: distill((recipe, other)[rank()], run, teacher=teacher))
    assert [error for error, _ in outcomes] == ["DistributedError", "DistributedError"]
    assert all("process 1 has other inputs than process 0" in text for _, text in outcomes)
    assert not run.training_state("student").exists()


def test_every_stage_of_the_largest_recipe_keeps_the_processes_together(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """A message that one process sends and another does not wait for shows only where all stages run."""
    recipe = make_recipe(
        teacher={"training": {"epochs": 0.2}},
        student={"general": {"epochs": 0.3, "batch_size": 8}},
        method={"graph": {"variant": "meta"}, "example_weights": "meta_kd", "attention_weight": 1.0},
        training={"epochs": 0.5, "cache_teacher": True},
    )
    run = RunFolder.create(tmp_path, recipe)

    def both() -> tuple[list[dict[str, str]], int]:
        memory = Memory()
        records = [stage(recipe, run, observer=memory) for stage in (train_teacher, distill)]
        return [dict(record.files) for record in records], memory.kept

    first, second = results_of(both)
    assert first == second
    assert first[0][1] == files_of(run)
    assert (run.root / "general" / "stage.json").is_file()
    assert len(list((run.root / ".teacher_outputs").glob("*/index.json"))) == 1
    files, _ = first
    assert results_of(both) == [(files, 2), (files, 0)], "finished stages were not kept, or both processes spoke"
