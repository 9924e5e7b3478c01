"""The arithmetic of a dry run, on a clock that only the played work moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.data.dataset import Examples
from hrkd.device import Device
from hrkd.metrics import DomainScores
from hrkd.recipe import TrainingConfig
from hrkd.training.estimate import TimedTeacher, estimate
from hrkd.training.observer import Observer
from hrkd.training.optimization import OuterSchedule, build_optimizer
from hrkd.training.stage_plan import Stage
from hrkd.training.state import Progress, save_state
from hrkd.training.step import StepResult
from hrkd.training.teacher_outputs import TeacherOutput
from several_processes import results_of

STUDENT, TEACHER, EVALUATION = 1e-3, 5e-4, 2.0
"""Seconds per padded token, and of an evaluation."""
CPU = Device(torch.device("cpu"), torch.float32)
DOMAINS, PER_DOMAIN, BATCH = 3, 80, 4


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Played:
    """An objective whose steps take as long as their tokens say."""

    def __init__(self, clock: Clock, teacher: TimedTeacher | None = None) -> None:
        self.clock = clock
        self.teacher = teacher
        self.trainable: nn.Module = nn.Linear(3, 1)

    @property
    def model(self) -> nn.Module:
        return self.trainable

    def __call__(self, batch: Batch, progress: float) -> StepResult:
        if self.teacher is not None:
            self.teacher(batch)
        self.clock.now += STUDENT * batch.input_ids.numel()
        return StepResult(self.trainable(torch.ones(3)).sum())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("hrkd.training.estimate.time.perf_counter", clock)
    return clock


def make_stage(clock: Clock, epochs: float, outer: OuterSchedule | None = None) -> Stage:
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 60, DOMAINS * PER_DOMAIN)
    domains = np.repeat(np.arange(DOMAINS), PER_DOMAIN)
    ids = np.zeros(lengths.sum(), dtype=np.int32)
    examples = TokenizedExamples(ids, np.concatenate([[0], np.cumsum(lengths)]), domains * 0, domains, 0)
    texts = Examples(("",) * len(examples), None, examples.labels, examples.domains)

    def validate() -> DomainScores:
        clock.now += EVALUATION
        return DomainScores({"all": 0.5})

    return Stage(
        name="student",
        input_hash="test",
        state_folder=Path("nowhere"),
        domain_names=("a", "b", "c"),
        examples=examples,
        batches=DomainBatches(texts, lengths, BATCH, DOMAINS, 1),
        validate=validate,
        config=TrainingConfig(epochs=epochs, evaluations_per_epoch=0.5, checkpoint_steps=7),
        device=CPU,
        outer=outer,
    )


def tokens_of(stage: Stage) -> float:
    return float(sum(stage.batch(stage.batches, step).input_ids.numel() for step in range(stage.total_steps)))


def test_all_steps_of_all_lengths_are_counted(clock: Clock) -> None:
    """Prevents the time of the few tried steps, short or long by chance, from being that of all."""
    stage = make_stage(clock, epochs=40)
    found = estimate(Played(clock), stage, Observer(), scored_after=1.5)
    expected = STUDENT * tokens_of(stage) + (20 + 1.5) * EVALUATION
    assert found.evaluations == 20
    assert found.seconds == pytest.approx((expected,) * 3)
    assert found.step_seconds == pytest.approx(STUDENT * tokens_of(stage) / stage.total_steps)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_cache_takes_the_teacher_out_of_the_steps(clock: Clock, passes: int) -> None:
    """Prevents an estimate in which the teacher answers every step although its answers are on disk."""
    stage = make_stage(clock, epochs=40)

    def answer(batch: Batch) -> TeacherOutput:
        clock.now += TEACHER * batch.input_ids.numel()
        return TeacherOutput(torch.zeros(len(batch), 2))

    live = estimate(Played(clock, TimedTeacher(answer, CPU)), stage, Observer())
    played = Played(clock)
    kept = TimedTeacher(answer, CPU, passes_before=passes, cache_bytes=1000)
    played.teacher = kept
    cached = estimate(played, stage, Observer(), kept)
    assert live.seconds[1] == pytest.approx((STUDENT + TEACHER) * tokens_of(stage) + 20 * EVALUATION)
    before = passes * TEACHER * tokens_of(stage) / 40
    assert cached.seconds[1] == pytest.approx(before + STUDENT * tokens_of(stage) + 20 * EVALUATION)
    assert cached.cache_bytes == 1000


def test_updates_of_the_graph_are_tried_as_often_as_they_come(clock: Clock) -> None:
    """Prevents the dearest step of ten from being left out, or from standing for all ten."""
    outer = OuterSchedule((), 0.1, 10, make_stage(clock, 1).batches, lambda *_: _wait(clock))
    stage = make_stage(clock, epochs=40, outer=outer)
    found = estimate(Played(clock), stage, Observer())
    updates = stage.total_steps // 10
    assert found.tried_steps == 30
    expected = STUDENT * tokens_of(stage) + updates * 3.0 + 20 * EVALUATION
    assert found.seconds[1] == pytest.approx(expected, rel=0.2)  # the tried steps' share of long texts decides the rest


def _wait(clock: Clock) -> dict[str, torch.Tensor]:
    clock.now += 3.0
    return {}


def test_a_training_of_few_steps_is_tried_whole(clock: Clock) -> None:
    """Prevents steps behind the end of a short training from being asked for."""
    stage = make_stage(clock, epochs=0.3)
    found = estimate(Played(clock), stage, Observer())
    assert found.tried_steps == found.steps == stage.total_steps == 6
    assert found.seconds[1] == pytest.approx(STUDENT * tokens_of(stage) + EVALUATION)


def test_what_a_checkpoint_has_is_not_counted(clock: Clock, tmp_path: Path) -> None:
    """Prevents a training in its last hour from being announced as two days."""
    stage = replace(make_stage(clock, epochs=40), state_folder=tmp_path)
    played, done = Played(clock), 600
    optimizer = build_optimizer(played.trainable, stage.config)
    save_state(tmp_path, Progress(stage.input_hash, step=done), played.trainable, optimizer, {})
    found = estimate(played, stage, Observer())
    whole = estimate(played, stage, Observer(), resume=False)
    assert (found.done_steps, whole.done_steps) == (done, 0)
    assert found.evaluations == 5
    left = (stage.total_steps - done) / stage.total_steps
    assert found.seconds[1] == pytest.approx(left * STUDENT * tokens_of(stage) + 5 * EVALUATION)
    assert whole.evaluations == 20
    other = replace(stage, input_hash="of other inputs")
    assert estimate(played, other, Observer()).done_steps == 0


def test_all_processes_try_the_same_steps(clock: Clock) -> None:
    """A step's number decides whether the graph has its turn: one process would wait for others elsewhere."""

    class Noting(Played):
        def __init__(self) -> None:
            super().__init__(clock)
            self.seen: list[float] = []

        def __call__(self, batch: Batch, progress: float) -> StepResult:
            self.seen.append(progress)
            return super().__call__(batch, progress)

    def tried() -> list[float]:
        torch.manual_seed(0)
        objective = Noting()
        estimate(objective, make_stage(clock, 4.0), Observer())
        return objective.seen

    first, second, third = results_of(tried, number=3)
    assert first == second == third
