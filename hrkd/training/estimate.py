"""What a training will take, from a few of its own steps: time and disk. Nothing of it is kept."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hrkd.data.batches import WINDOW_STEPS
from hrkd.data.collate import Batch
from hrkd.device import Device
from hrkd.distributed import average_over_ranks, world_size
from hrkd.training.observer import Observer
from hrkd.training.optimization import build_optimizer
from hrkd.training.shares import own_rows
from hrkd.training.stage_plan import Stage
from hrkd.training.state import KEPT, Progress, find_state, read_progress, save_state
from hrkd.training.step import Objective
from hrkd.training.teacher_outputs import TeacherOutput, TeacherOutputs
from hrkd.training.update import Updates

PLACES = 3
"""Evenly spread parts of the training from which steps are tried."""
STEPS_AT_A_PLACE = 6
"""At least so many; more where a graph is updated less often than that."""
_WINDOWS = 64
"""Windows of which the lengths of the batches are counted: all of a training of 2,000 steps."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one stage will take.

    Attributes:
        stage: Its name.
        device: Where it runs, and in which number format.
        steps: Optimisation steps, all of them.
        done_steps: Of these, what a checkpoint has; seconds and evaluations are of the others.
        texts_per_step: Of all processes.
        tried_steps: Steps that were timed.
        step_seconds: Mean of the training's steps.
        seconds: Lower end, middle and upper end of the whole stage: what comes before the first step, steps,
            evaluations, checkpoints. The ends are what the tried steps leave open (95 %).
        evaluations: On the validation split.
        evaluation_seconds: Of one.
        checkpoint_bytes: Largest size of all checkpoints on disk together; they go when the stage is finished.
        model_bytes: Of the weights that stay.
        cache_bytes: Of the teacher's answers on disk.
        micro_batches: Parts into which a step had to be divided to fit into memory.
    """

    stage: str
    device: str
    steps: int
    done_steps: int
    texts_per_step: int
    tried_steps: int
    step_seconds: float
    seconds: tuple[float, float, float]
    evaluations: int
    evaluation_seconds: float
    checkpoint_bytes: int
    model_bytes: int
    cache_bytes: int
    micro_batches: int


class TimedTeacher:
    """Answers as another does, and keeps the time.

    Args:
        outputs: Who answers.
        device: Where.
        passes_before: How often the teacher runs over all training texts before the first step.
        cache_bytes: What it then leaves on disk; with it, no step has to wait for the teacher.
    """

    def __init__(
        self, outputs: TeacherOutputs, device: Device, *, passes_before: int = 0, cache_bytes: int = 0
    ) -> None:
        self.outputs = outputs
        self.device = device
        self.passes_before = passes_before
        self.cache_bytes = cache_bytes
        self.seconds = 0.0
        self.tokens = 0

    def __call__(self, batch: Batch) -> TeacherOutput:
        """Return the answers."""
        answers: list[TeacherOutput] = []
        self.seconds += _timed(self.device, lambda: answers.append(self.outputs(batch)))
        self.tokens += batch.input_ids.numel()
        return answers[0]


def estimate(
    objective: Objective,
    stage: Stage,
    observer: Observer,
    teacher: TimedTeacher | None = None,
    *,
    scored_after: float = 0.0,
    resume: bool = True,
) -> Estimate:
    """Try the longest step, then steps of some places of the training, one evaluation and one checkpoint.

    The time of a step is taken to grow with its padded tokens. The weights are changed: throw the model away.

    Args:
        objective: Of the stage, on its device.
        stage: As :func:`hrkd.training.loop.run_training` takes it.
        observer: Told what is tried.
        teacher: What the objective asks.
        scored_after: Texts that are scored at the end, as a multiple of the validation split.
        resume: Whether to count what a checkpoint of the same inputs has as done.

    Raises:
        HrkdError: As the training itself would, e.g. where one text of each domain does not fit into memory.
    """
    stage = stage.of_processes(world_size())
    longest, mean_tokens = _lengths(stage)
    trial = _try(objective, stage, observer, teacher, longest)
    done = _done(stage) if resume else 0
    left = stage.total_steps - done
    evaluations = sum(
        stage.config.is_evaluation(step + 1, stage.total_steps) for step in range(done, stage.total_steps)
    )
    checkpoints = math.ceil(left / stage.config.checkpoint_steps)
    waiting, passes = _of_teacher(teacher, float(trial.seconds.sum()), mean_tokens * stage.batches.steps_per_epoch)
    around = passes + (evaluations + scored_after) * trial.evaluation + checkpoints * trial.checkpoint
    step_seconds = [(1.0 - waiting) * mean_tokens * rate for rate in _seconds_per_token(trial.seconds, trial.tokens)]
    low, middle, high = (left * each + around for each in step_seconds)
    return Estimate(
        stage=stage.name,
        device=stage.device.describe(),
        steps=stage.total_steps,
        done_steps=done,
        texts_per_step=len(stage.batches.indices(0)),
        tried_steps=len(trial.seconds),
        step_seconds=step_seconds[1],
        seconds=(low, middle, high),
        evaluations=evaluations,
        evaluation_seconds=trial.evaluation,
        checkpoint_bytes=trial.checkpoint_bytes * (KEPT + 1),  # a new one is whole before the oldest goes
        model_bytes=trial.model_bytes,
        cache_bytes=teacher.cache_bytes if teacher else 0,
        micro_batches=trial.micro_batches,
    )


class _Trial(NamedTuple):
    """What was tried of a training, and what it took.

    Attributes:
        seconds: Of each step.
        tokens: Padded ones of each step.
        evaluation: Seconds of one.
        checkpoint: Seconds of one.
        checkpoint_bytes: Of one.
        model_bytes: Of the weights.
        micro_batches: Parts into which a step had to be divided.
    """

    seconds: NDArray[np.float64]
    tokens: NDArray[np.float64]
    evaluation: float
    checkpoint: float
    checkpoint_bytes: int
    model_bytes: int
    micro_batches: int


def _try(objective: Objective, stage: Stage, observer: Observer, teacher: TimedTeacher | None, longest: int) -> _Trial:
    places = _places(stage)
    observer.message(f"{stage.name}: trying {1 + len(places)} of {stage.total_steps} steps")
    optimizer = build_optimizer(objective.trainable, stage.config, stage.outer)
    progress = Progress(stage.input_hash, micro_batches=stage.config.micro_batches, processes=world_size())
    update = Updates(objective, stage, optimizer, observer.message)
    # Held while the steps run, as in the training: the best weights so far are part of its peak.
    best = {name: tensor.detach().clone() for name, tensor in objective.model.state_dict().items()}
    _try_steps(update, stage, progress, [longest])  # the first one of all is slow; it only shows whether it fits
    if teacher is not None:
        teacher.seconds, teacher.tokens = 0.0, 0
    seconds, tokens = _try_steps(update, stage, progress, places)
    evaluation = _timed(stage.device, lambda: _evaluate(objective, stage))
    size, checkpoint = _checkpoint(lambda folder: save_state(folder, progress, objective.trainable, optimizer, best))
    model_bytes = sum(tensor.nbytes for tensor in best.values())
    return _Trial(seconds, tokens, evaluation, checkpoint, size, model_bytes, progress.micro_batches)


def _done(stage: Stage) -> int:
    """Return the steps of the newest checkpoint of the same inputs."""
    state = find_state(stage.state_folder, stage.input_hash, lambda _: None)
    return 0 if state is None else read_progress(state).step


def _of_teacher(teacher: TimedTeacher | None, seconds: float, tokens_of_a_pass: float) -> tuple[float, float]:
    """Return the part of the tried seconds that a cache saves, and the seconds that the teacher needs before."""
    if teacher is None or not teacher.tokens:
        return 0.0, 0.0
    before = teacher.passes_before * tokens_of_a_pass * teacher.seconds / teacher.tokens
    return (teacher.seconds / seconds if teacher.cache_bytes else 0.0), before


def _lengths(stage: Stage) -> tuple[int, float]:
    """Return the step with the most padded tokens of all processes, and this one's mean over steps."""
    windows = math.ceil(stage.total_steps / WINDOW_STEPS)
    chosen = np.unique(np.linspace(0, windows - 1, min(windows, _WINDOWS)).astype(int))
    steps = [step for window in chosen for step in range(window * WINDOW_STEPS, (window + 1) * WINDOW_STEPS)]
    steps = [step for step in steps if step < stage.total_steps]
    lengths = stage.examples.lengths
    tokens = []
    for step in steps:
        rows = own_rows(stage.batches.indices(step), stage.batches.num_domains)
        tokens.append(len(rows) * int(lengths[rows].max()))
    # All try one step: its number decides the phase and the turn of the graph, and so who asks whom for what.
    (shared,) = average_over_ranks([torch.tensor(tokens, dtype=torch.float64)])
    return steps[int(shared.argmax())], float(np.mean(tokens))


def _places(stage: Stage) -> list[int]:
    """Return the steps to try: runs of consecutive ones, as long as it takes until a graph is updated once."""
    run = max(STEPS_AT_A_PLACE, stage.outer.every if stage.outer else 0)
    if stage.total_steps <= PLACES * run:
        return list(range(stage.total_steps))
    starts = np.linspace(0, stage.total_steps - run, PLACES).astype(int)
    return [int(start) + offset for start in starts for offset in range(run)]


def _try_steps(
    update: Updates, stage: Stage, progress: Progress, steps: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do these steps and return the seconds and the padded tokens of each."""
    seconds, tokens = [], []
    for progress.step in steps:
        batch = stage.batch(stage.batches, progress.step).to(stage.device.device)
        seconds.append(_timed(stage.device, partial(update, batch, progress)))
        tokens.append(batch.input_ids.numel())
    return np.asarray(seconds), np.asarray(tokens, dtype=np.float64)


def _seconds_per_token(seconds: NDArray[np.float64], tokens: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return lower end, middle and upper end (95 %, bootstrap over steps) of the ratio of the two sums."""
    picks = np.random.default_rng(0).integers(0, len(seconds), (2000, len(seconds)))
    ratios = seconds[picks].sum(axis=1) / tokens[picks].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(seconds.sum() / tokens.sum()), float(high)


def _evaluate(objective: Objective, stage: Stage) -> None:
    objective.model.eval()
    stage.validate()


def _checkpoint(save: Callable[[Path], None]) -> tuple[int, float]:
    """Return the bytes and the seconds of one checkpoint."""
    folder = Path(tempfile.mkdtemp(prefix="hrkd-dry-run-"))
    try:
        started = time.perf_counter()
        save(folder)
        seconds = time.perf_counter() - started
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _timed(device: Device, work: Callable[[], object]) -> float:
    """Return the seconds that something takes until its device is done."""

    def finish() -> None:
        if device.device.type == "cuda":
            torch.cuda.synchronize(device.device)

    finish()
    started = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - started
