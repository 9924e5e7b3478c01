"""The optimisation loop that teacher and student share: step, validate, keep the best, checkpoint, stop cleanly."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.distributed import average_gradients, largest_over_ranks, rank, world_size
from hrkd.errors import HrkdError, Interrupted
from hrkd.metrics import DomainScores
from hrkd.recipe import TrainingConfig
from hrkd.training.gradients import with_fewer_at_once
from hrkd.training.interrupt import stop_on_signal
from hrkd.training.observer import Observer, StepReport
from hrkd.training.optimization import OuterSchedule, build_optimizer, learning_rate_factor, set_learning_rate
from hrkd.training.shares import own_rows
from hrkd.training.state import (
    Progress,
    check_same_parameters,
    find_common_state,
    load_state,
    read_progress,
    save_state,
)
from hrkd.training.step import Objective, StepResult


@dataclass(frozen=True, slots=True)
class Stage:
    """What the loop needs to know besides the objective.

    Attributes:
        name: ``teacher`` or ``student``.
        input_hash: Of everything that decides the result.
        state_folder: Where the unfinished state is kept.
        examples: Tokenised training split.
        batches: Which examples each step of one process alone would see.
        validate: Scores the present model on the validation split.
        config: Hyperparameters.
        device: Where to run.
        outer: When and how parameters apart from the inner loss are trained; None where there are none.
    """

    name: str
    input_hash: str
    state_folder: Path
    examples: TokenizedExamples
    batches: DomainBatches
    validate: Callable[[], DomainScores]
    config: TrainingConfig
    device: Device
    outer: OuterSchedule | None = None

    @property
    def total_steps(self) -> int:
        """Steps of the whole stage."""
        return max(1, math.ceil(self.batches.steps_per_epoch * self.config.epochs))

    def of_processes(self, number: int) -> Stage:
        """Return the stage with batches for ``number`` processes: as many times larger, and so fewer steps."""
        if number == 1:
            return self
        outer = self.outer and replace(self.outer, batches=self.outer.batches.enlarged(number))
        return replace(self, batches=self.batches.enlarged(number), outer=outer)

    def batch(self, batches: DomainBatches, step: int) -> Batch:
        """Return this process's rows of a step."""
        own = own_rows(batches.indices(step), batches.num_domains)
        return self.examples.batch(own).to(self.device.device)


def run_training(objective: Objective, stage: Stage, observer: Observer, *, resume: bool) -> Progress:
    """Train until the last step and leave the best weights by average validation accuracy in ``objective.model``.

    Args:
        objective: What to minimise; its modules already stand on the device.
        stage: Data, hyperparameters and places.
        observer: Told about every step and evaluation.
        resume: Whether to go on from a saved state of the same inputs.

    Raises:
        Interrupted: A signal asked to stop, this process or another; the state was saved first.
        DistributedError: The processes do not train the same model, or one of them is gone.
        HrkdError: The loss became NaN or infinite.
    """
    optimizer = build_optimizer(objective.trainable, stage.config, stage.outer)
    progress, best = _start(objective, stage, optimizer, observer, resume=resume)
    progress.micro_batches = max(progress.micro_batches, stage.config.micro_batches)
    stage = stage.of_processes(progress.processes)
    observer.started(stage.name, progress.step, stage.total_steps)
    speed = _Speed()
    with stop_on_signal() as stop:
        while progress.step < stage.total_steps:
            batch = stage.batch(stage.batches, progress.step)
            report = _step(objective, stage, optimizer, batch, progress, speed, observer.message)
            progress.step += 1
            progress.graph.record(report)
            observer.step(report)
            if stage.config.is_evaluation(progress.step, stage.total_steps):
                best = _evaluate(objective, stage, progress, best, observer)
                speed.pause()
            due = progress.step % stage.config.checkpoint_steps == 0 or progress.step == stage.total_steps
            signal_number = largest_over_ranks(stop.received or 0)
            if due or signal_number:
                save_state(stage.state_folder, progress, objective.trainable, optimizer, best)
                speed.pause()
            if signal_number:
                raise _interrupted(signal_number, stage, progress)
    objective.model.load_state_dict(best)
    return progress


def _start(
    objective: Objective, stage: Stage, optimizer: torch.optim.Optimizer, observer: Observer, *, resume: bool
) -> tuple[Progress, dict[str, Tensor]]:
    """Return where to go on and the best weights so far; all processes then hold one model and noise of their own."""
    if rank():
        torch.manual_seed(torch.initial_seed() + rank())
    progress, best = Progress(stage.input_hash, processes=world_size()), dict[str, Tensor]()
    state = find_common_state(stage.state_folder, stage.input_hash, observer.message) if resume else None
    if state is not None:
        progress, best = read_progress(state), load_state(state, objective.trainable, optimizer)
    check_same_parameters(objective.trainable)
    if progress.processes != world_size():
        texts = stage.config.batch_size * progress.processes
        observer.message(
            f"{stage.name}: was begun by {progress.processes} process(es), {world_size()} go(es) on with the same "
            f"{texts} texts per domain in each step; only the noise of dropout differs"
        )
    return progress, best


def _step(
    objective: Objective,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    speed: _Speed,
    message: Callable[[str], None],
) -> StepReport:
    """Do one optimisation step and describe it."""
    step = progress.step
    config, done = stage.config, step / stage.total_steps
    learning_rate = config.learning_rate * learning_rate_factor(step, stage.total_steps, config.warmup_fraction)
    set_learning_rate(optimizer, learning_rate)
    objective.trainable.train()

    def check(result: StepResult) -> None:
        if not math.isfinite(loss := result.loss.item()):
            raise HrkdError(
                f"the loss became {loss} in step {step + 1} of the {stage.name}",
                hint="lower `learning_rate`, or use `precision: fp32`; the last checkpoint is kept",
            )

    device, num_domains = stage.device, stage.batches.num_domains
    result, progress.micro_batches = with_fewer_at_once(
        objective, batch, done, device, num_domains, progress.micro_batches, check, message
    )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    outer = _outer_step(stage, optimizer, batch, step, learning_rate)
    terms = {"loss": result.loss.item(), **{name: value.item() for name, value in {**result.terms, **outer}.items()}}
    ratios = {} if result.domain_ratios is None else _by_level(result.domain_ratios)
    speed_now = speed.count(len(batch.labels) * world_size())
    history = [level.tolist() for level in result.hierarchical_ratios]
    return StepReport(step + 1, stage.total_steps, terms, learning_rate, speed_now, ratios, history)


def _outer_step(
    stage: Stage, optimizer: torch.optim.Optimizer, batch: Batch, step: int, learning_rate: float
) -> dict[str, Tensor]:
    """Update the parameters of the outer schedule when it is their turn; AdamW passes over those without a gradient."""
    if stage.outer is None or (step + 1) % stage.outer.every:
        return {}
    held_out = stage.batch(stage.outer.batches, step)
    with stage.device.autocast():
        terms = stage.outer.update(batch, held_out, step / stage.total_steps, learning_rate)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return terms


def _evaluate(
    objective: Objective, stage: Stage, progress: Progress, best: dict[str, Tensor], observer: Observer
) -> dict[str, Tensor]:
    """Score the present model; return its weights if it is the best so far, else the earlier best."""
    objective.model.eval()
    scores = stage.validate()
    progress.history.append((progress.step, scores.average))
    is_best = scores.average > progress.best_score
    observer.evaluated(progress.step, scores, is_best)
    if not is_best:
        return best
    progress.best_score, progress.best_step, progress.best_domains = scores.average, progress.step, scores.domains
    return {name: tensor.detach().clone() for name, tensor in objective.model.state_dict().items()}


def _interrupted(signal_number: int, stage: Stage, progress: Progress) -> Interrupted:
    name = signal.Signals(signal_number).name
    return Interrupted(
        f"stopped by {name} after step {progress.step} of {stage.total_steps} of the {stage.name}",
        hint="run the same command again to go on from there",
    )


def _by_level(domain_ratios: Tensor) -> dict[str, list[float]]:
    return {f"level_{level}": ratios for level, ratios in enumerate(domain_ratios.tolist())}


class _Speed:
    """Examples per second over the last steps, time for evaluation and checkpoints left out."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self.marks: list[tuple[float, int]] = [(time.perf_counter(), 0)]

    def count(self, examples: int) -> float:
        """Note a finished step and return the present speed."""
        self.marks = [*self.marks[-self.window :], (time.perf_counter(), examples)]
        return sum(count for _, count in self.marks[1:]) / (self.marks[-1][0] - self.marks[0][0])

    def pause(self) -> None:
        """Leave out the time since the last step."""
        self.marks = [(time.perf_counter(), 0)]
