"""One update of the parameters, and what is said about it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hrkd.data.collate import Batch
from hrkd.distributed import average_gradients, world_size
from hrkd.errors import HrkdError
from hrkd.training.gradients import with_fewer_at_once
from hrkd.training.observer import StepReport
from hrkd.training.optimization import learning_rate_factor, set_learning_rate
from hrkd.training.stage_plan import Stage
from hrkd.training.state import Progress
from hrkd.training.step import Objective, StepResult


class Updates:
    """The updates of one training, whose memory of earlier ones is the optimizer's and the progress's.

    Args:
        objective: What to minimise; its modules stand on the stage's device.
        stage: Of as many processes as began the training.
        optimizer: Holds every trainable parameter.
        message: Told when a step has to be done in more parts.
    """

    def __init__(
        self, objective: Objective, stage: Stage, optimizer: torch.optim.Optimizer, message: Callable[[str], None]
    ) -> None:
        self.objective = objective
        self.stage = stage
        self.optimizer = optimizer
        self.message = message
        self.speed = Speed()

    def __call__(self, batch: Batch, progress: Progress) -> StepReport:
        """Do the step that ``progress`` has come to, and describe it; counting it is left to the caller.

        Raises:
            HrkdError: The loss became NaN or infinite, or one text of each domain does not fit into memory.
        """
        stage, step = self.stage, progress.step
        learning_rate = self._set_learning_rate(step)
        self.objective.trainable.train()
        result, progress.micro_batches = with_fewer_at_once(
            self.objective,
            batch,
            step / stage.total_steps,
            stage.device,
            stage.batches.num_domains,
            progress.micro_batches,
            lambda result: _check_finite(result, stage.name, step),
            self.message,
        )
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, stage.config.max_grad_norm)
        self._apply()
        terms = {"loss": result.loss, **result.terms, **self._outer_step(batch, step, learning_rate)}
        return StepReport(
            step=step + 1,
            total_steps=stage.total_steps,
            terms={name: value.item() for name, value in terms.items()},
            learning_rate=learning_rate,
            examples_per_second=self.speed.count(len(batch.labels) * world_size()),
            domain_names=stage.domain_names,
            domain_ratios={} if result.domain_ratios is None else _by_level(result.domain_ratios),
            hierarchical_ratios=[level.tolist() for level in result.hierarchical_ratios],
        )

    def _set_learning_rate(self, step: int) -> float:
        config = self.stage.config
        factor = learning_rate_factor(step, self.stage.total_steps, config.warmup_fraction)
        set_learning_rate(self.optimizer, config.learning_rate * factor)
        return config.learning_rate * factor

    def _apply(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _outer_step(self, batch: Batch, step: int, learning_rate: float) -> dict[str, Tensor]:
        """Update the parameters of the outer schedule when it is their turn; AdamW passes over the others."""
        stage = self.stage
        if stage.outer is None or (step + 1) % stage.outer.every:
            return {}
        held_out = stage.batch(stage.outer.batches, step).to(stage.device.device)
        with stage.device.autocast():
            terms = stage.outer.update(batch, held_out, step / stage.total_steps, learning_rate)
        self._apply()
        return terms


def _check_finite(result: StepResult, stage: str, step: int) -> None:
    if not math.isfinite(loss := result.loss.item()):
        raise HrkdError(
            f"the loss became {loss} in step {step + 1} of the {stage}",
            hint="lower `learning_rate`, or use `precision: fp32`; the last checkpoint is kept",
        )


def _by_level(domain_ratios: Tensor) -> dict[str, list[float]]:
    return {f"level_{level}": ratios for level, ratios in enumerate(domain_ratios.tolist())}


class Speed:
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
