"""The optimisation loop that teacher and student share: step, validate, keep the best, checkpoint, stop cleanly."""

from __future__ import annotations

import signal

import torch
from torch import Tensor

from hrkd.distributed import largest_over_ranks, rank, world_size
from hrkd.errors import Interrupted
from hrkd.training.feed import Feed
from hrkd.training.interrupt import stop_on_signal
from hrkd.training.observer import Observer
from hrkd.training.optimization import build_optimizer
from hrkd.training.stage_plan import Stage
from hrkd.training.state import (
    Progress,
    check_same_parameters,
    clear_states,
    find_common_state,
    load_state,
    read_progress,
    save_state,
)
from hrkd.training.step import Objective
from hrkd.training.update import Updates


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
    update = Updates(objective, stage, optimizer, observer.message)
    with stop_on_signal() as stop, Feed(stage, ahead=stage.device.device.type == "cuda") as feed:
        while progress.step < stage.total_steps:
            report = update(feed(progress.step), progress)
            progress.step += 1
            if progress.step == 1:  # it runs: an error before this would have cost what another training had reached
                clear_states(stage.state_folder)
            progress.graph.record(report)
            observer.step(report)
            if stage.config.is_evaluation(progress.step, stage.total_steps):
                best = _evaluate(objective, stage, progress, best, observer)
                update.speed.pause()
            due = progress.step % stage.config.checkpoint_steps == 0 or progress.step == stage.total_steps
            signal_number = largest_over_ranks(stop.received or 0)
            if due or signal_number:
                save_state(stage.state_folder, progress, objective.trainable, optimizer, best)
                update.speed.pause()
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
    device = stage.device.describe()
    if before := progress.moved_to(device):
        observer.message(
            f"{stage.name}: was trained on {before} so far and goes on on {device}; it ends a little otherwise"
        )
    return progress, best


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
